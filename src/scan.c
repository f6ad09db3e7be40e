/*-------------------------------------------------------------------------
 * scan.c
 *		JSON bytes: where a value ends, what a string says.
 *
 * PostgreSQL's own parser recurses, builds and raises errors, and one bad
 * record would take its whole page along.  This scanner only finds the ends
 * of values: it keeps strings and brackets apart and leaves the rest of the
 * grammar to jsonb_in, which sees every record before it is stored.
 *
 * It works on bytes.  All that it looks for is ASCII, and no byte of a multibyte
 * UTF-8 character is, so broken UTF-8 in one string cannot hide the end of
 * that string.  Open brackets are kept as bits in memory that grows, so
 * nesting of any depth is passed over without recursion.
 *
 * Called by page.c and row.c, and by whoever looks into JSON text for a little of it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"
#include "scan.h"

static const char cut_off[] = "JSON ends too early";
static const char not_json[] = "not JSON";
static const char mismatch[] = "brackets of JSON do not match";

/* Bytes that mean something between strings. */
enum
{
	PLAIN,
	QUOTE,
	OPEN,
	CLOSE,
	COLON,
	COMMA
};

static const uint8 meaning[256] = {
	['"'] = QUOTE,
	['{'] = OPEN,
	['['] = OPEN,
	['}'] = CLOSE,
	[']'] = CLOSE,
	[':'] = COLON,
	[','] = COMMA
};

static const char *pass_string(JsonScan *scan, const char *at);
static const char *pass_escape(JsonScan *scan, const char *at);
static bool pass_scalar(JsonScan *scan, Slice *value);
static bool is_number(const char *at, const char *end);
static bool next_item(JsonScan *scan, bool *first, char closing);
static inline void push_bracket(JsonScan *scan, size_t depth, bool object);
static inline void note_member(ScanMember *members, int nmembers, const Slice *name, const char *from, const char *until);
static inline const char *find_quote_or_backslash(const char *at, const char *end);
static int	hex4(const char *at, const char *end);
static pg_wchar escaped_character(const char **at, const char *end);

static inline bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool
fail(JsonScan *scan, const char *problem)
{
	if (scan->problem == NULL)
		scan->problem = problem;
	return false;
}

void
jdy_scan_begin(JsonScan *scan, const char *text, size_t length)
{
	memset(scan, 0, sizeof(*scan));
	scan->at = text;
	scan->end = text + length;
	if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		scan->at += 3;
}

char
jdy_scan_peek(JsonScan *scan)
{
	while (scan->at < scan->end && is_space(*scan->at))
		scan->at++;
	return scan->at < scan->end ? *scan->at : '\0';
}

bool
jdy_scan_value(JsonScan *scan, Slice *value, ScanMember *members, int nmembers)
{
	char		first = jdy_scan_peek(scan);
	const char *at = scan->at;
	const char *end = scan->end;
	const char *from = NULL;	/* start of the value of a top-level member */
	Slice		name = {NULL, 0};
	size_t		depth = 0;
	bool		watching = (first == '{' && nmembers > 0);

	scan->depth = 0;
	value->text = at;
	for (int i = 0; i < nmembers; i++)
		members[i].value.text = NULL;
	if (first != '{' && first != '[')
		return pass_scalar(scan, value);

	for (; at < end; at++)
	{
		const char *string;

		switch (meaning[(unsigned char) *at])
		{
			case PLAIN:
				break;
			case QUOTE:
				string = at;
				at = pass_string(scan, at);
				if (at == NULL)
					return fail(scan, cut_off);
				if (watching && depth == 1 && from == NULL)
				{
					name.text = string + 1;
					name.length = at - string - 1;
				}
				break;
			case OPEN:
				push_bracket(scan, depth, *at == '{');
				depth++;
				if (depth > scan->depth)
					scan->depth = depth;
				break;
			case COLON:
				if (watching && depth == 1 && from == NULL)
					from = at + 1;
				break;
			case COMMA:
				if (watching && depth == 1 && from != NULL)
				{
					note_member(members, nmembers, &name, from, at);
					from = NULL;
					name.text = NULL;
				}
				break;
			case CLOSE:
				depth--;
				if (((scan->open[depth / 64] >> (depth % 64)) & 1) != (*at == '}'))
					return fail(scan, mismatch);
				if (depth > 0)
					break;
				if (from != NULL)
					note_member(members, nmembers, &name, from, at);
				scan->at = at + 1;
				value->length = scan->at - value->text;
				return true;
		}
	}
	return fail(scan, cut_off);
}

bool
jdy_scan_next_member(JsonScan *scan, bool *first, Slice *name)
{
	const char *string;
	const char *closing;

	if (!next_item(scan, first, '}'))
		return false;
	if (*scan->at != '"')
		return fail(scan, not_json);
	string = scan->at;
	closing = pass_string(scan, string);
	if (closing == NULL)
		return fail(scan, cut_off);
	name->text = string + 1;
	name->length = closing - string - 1;
	scan->at = closing + 1;
	if (jdy_scan_peek(scan) != ':')
		return fail(scan, scan->at < scan->end ? not_json : cut_off);
	scan->at++;
	if (jdy_scan_peek(scan) == '\0')
		return fail(scan, scan->at < scan->end ? not_json : cut_off);
	return true;
}

bool
jdy_scan_next_element(JsonScan *scan, bool *first)
{
	return next_item(scan, first, ']');
}

char *
jdy_scan_decode(const Slice *string, size_t *length)
{
	const char *at = string->text;
	const char *end = at + string->length;
	char	   *text = palloc(string->length + 1);
	char	   *out = text;

	while (at < end)
	{
		const char *backslash = memchr(at, '\\', end - at);
		size_t		plain = (backslash ? backslash : end) - at;
		pg_wchar	character;

		memcpy(out, at, plain);
		out += plain;
		at += plain;
		if (backslash == NULL)
			break;
		character = escaped_character(&at, end);
		if (character == 0)
		{
			pfree(text);
			return NULL;
		}
		/* Never longer than the escape: \uXXXX is at most 3 bytes, a pair 4. */
		unicode_to_utf8(character, (unsigned char *) out);
		out += pg_utf_mblen((unsigned char *) out);
	}
	*out = '\0';
	if (length)
		*length = out - text;
	return text;
}

bool
jdy_scan_is(const Slice *string, const char *name, size_t name_length)
{
	char	   *text;
	size_t		length;
	bool		same;

	if (string->length == name_length)
		return memcmp(string->text, name, name_length) == 0;
	/* Escapes only ever make it longer. */
	if (string->length < name_length || memchr(string->text, '\\', string->length) == NULL)
		return false;
	text = jdy_scan_decode(string, &length);
	if (text == NULL)
		return false;
	same = length == name_length && memcmp(text, name, length) == 0;
	pfree(text);
	return same;
}

/* Past the opening bracket or a comma to the next item; false at the closing bracket. */
static bool
next_item(JsonScan *scan, bool *first, char closing)
{
	char		next;

	if (*first)
		scan->at++;
	next = jdy_scan_peek(scan);
	if (scan->at < scan->end && next == closing)
	{
		scan->at++;
		return false;
	}
	if (scan->at < scan->end && !*first)
	{
		if (next != ',')
			return fail(scan, meaning[(unsigned char) next] == CLOSE ? mismatch : not_json);
		scan->at++;
		if (jdy_scan_peek(scan) == closing)
			return fail(scan, not_json);
	}
	*first = false;
	return scan->at < scan->end || fail(scan, cut_off);
}

/* From an opening quote to the closing one; NULL when there is none. */
static const char *
pass_string(JsonScan *scan, const char *at)
{
	at++;
	for (;;)
	{
		at = find_quote_or_backslash(at, scan->end);
		if (at == NULL || *at == '"')
			return at;
		at = pass_escape(scan, at);
		if (at == NULL)
			return NULL;
	}
}

/* From a backslash to what follows its escape; marks what PostgreSQL cannot hold. */
static const char *
pass_escape(JsonScan *scan, const char *at)
{
	int			unit;
	int			low;

	if (scan->end - at < 2)
		return NULL;
	if (at[1] != 'u')
		return at + 2;
	unit = hex4(at + 2, scan->end);
	if (unit < 0)
		return at + 2;			/* no escape at all: jsonb_in will say so */
	if (unit == 0)
		scan->marks |= SCAN_ZERO;
	else if (unit >= 0xDC00 && unit <= 0xDFFF)
		scan->marks |= SCAN_SURROGATE;
	else if (unit >= 0xD800 && unit <= 0xDBFF)
	{
		low = -1;
		if (scan->end - at >= 8 && at[6] == '\\' && at[7] == 'u')
			low = hex4(at + 8, scan->end);
		if (low >= 0xDC00 && low <= 0xDFFF)
			return at + 12;
		scan->marks |= SCAN_SURROGATE;
	}
	return at + 6;
}

static bool
pass_scalar(JsonScan *scan, Slice *value)
{
	const char *at = scan->at;

	if (at >= scan->end)
		return fail(scan, cut_off);
	if (*at == '"')
	{
		at = pass_string(scan, at);
		if (at == NULL)
			return fail(scan, cut_off);
		scan->at = at + 1;
		value->length = scan->at - value->text;
		return true;
	}
	while (at < scan->end && !is_space(*at) && meaning[(unsigned char) *at] == PLAIN)
		at++;
	value->length = at - value->text;
	scan->at = at;
	if ((value->length == 4 && memcmp(value->text, "true", 4) == 0) ||
		(value->length == 5 && memcmp(value->text, "false", 5) == 0) ||
		(value->length == 4 && memcmp(value->text, "null", 4) == 0) ||
		is_number(value->text, at))
		return true;
	return fail(scan, at < scan->end ? not_json : cut_off);
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool
is_number(const char *at, const char *end)
{
	const char *digits;

	if (at < end && *at == '-')
		at++;
	digits = at;
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	if (at == digits || (*digits == '0' && at - digits > 1))
		return false;
	if (at < end && *at == '.')
	{
		digits = ++at;
		while (at < end && *at >= '0' && *at <= '9')
			at++;
		if (at == digits)
			return false;
	}
	if (at < end && (*at == 'e' || *at == 'E'))
	{
		at++;
		if (at < end && (*at == '+' || *at == '-'))
			at++;
		digits = at;
		while (at < end && *at >= '0' && *at <= '9')
			at++;
		if (at == digits)
			return false;
	}
	return at == end;
}

/* Remembers which bracket opens level `depth`.  At most length / 8 bytes in all. */
static inline void
push_bracket(JsonScan *scan, size_t depth, bool object)
{
	size_t		word = depth / 64;
	uint64		bit = UINT64CONST(1) << (depth % 64);

	if (word >= scan->open_words)
	{
		size_t		words = Max(scan->open_words * 2, 16);

		if (scan->open == NULL)
			scan->open = palloc(words * sizeof(uint64));
		else
			scan->open = repalloc(scan->open, words * sizeof(uint64));
		scan->open_words = words;
	}
	if (object)
		scan->open[word] |= bit;
	else
		scan->open[word] &= ~bit;
}

static inline void
note_member(ScanMember *members, int nmembers, const Slice *name, const char *from, const char *until)
{
	if (name->text == NULL)
		return;
	for (int i = 0; i < nmembers; i++)
	{
		if (!jdy_scan_is(name, members[i].name, members[i].name_length))
			continue;
		while (from < until && is_space(*from))
			from++;
		while (until > from && is_space(until[-1]))
			until--;
		members[i].value.text = from;
		members[i].value.length = until - from;
	}
}

/* Eight bytes at a time: a byte of x is zero exactly where (x - 01…) & ~x has its top bit set first. */
static inline const char *
find_quote_or_backslash(const char *at, const char *end)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 tops = UINT64CONST(0x8080808080808080);

	while (end - at >= 8)
	{
		uint64		bytes;
		uint64		quotes;
		uint64		backslashes;
		uint64		found;

		memcpy(&bytes, at, 8);
		quotes = bytes ^ (ones * '"');
		backslashes = bytes ^ (ones * '\\');
		found = (((quotes - ones) & ~quotes) | ((backslashes - ones) & ~backslashes)) & tops;
		if (found != 0)
		{
#ifdef WORDS_BIGENDIAN
			break;				/* the loop below finds which */
#else
			return at + pg_rightmost_one_pos64(found) / 8;
#endif
		}
		at += 8;
	}
	for (; at < end; at++)
	{
		if (*at == '"' || *at == '\\')
			return at;
	}
	return NULL;
}

/* Four hex digits as a number, or -1. */
static int
hex4(const char *at, const char *end)
{
	int			number = 0;

	if (end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = at[i];

		if (c >= '0' && c <= '9')
			number = number * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			number = number * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return number;
}

/* The character that the escape at *at stands for, *at moved past it; 0 when it is none that text can hold. */
static pg_wchar
escaped_character(const char **at, const char *end)
{
	const char *escape = *at;
	int			unit;
	int			low;

	if (end - escape < 2)
		return 0;
	*at += 2;
	switch (escape[1])
	{
		case '"':
		case '\\':
		case '/':
			return escape[1];
		case 'b':
			return '\b';
		case 'f':
			return '\f';
		case 'n':
			return '\n';
		case 'r':
			return '\r';
		case 't':
			return '\t';
		case 'u':
			break;
		default:
			return 0;
	}
	unit = hex4(escape + 2, end);
	if (unit <= 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
		return 0;
	*at += 4;
	if (unit < 0xD800 || unit > 0xDBFF)
		return unit;
	if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
		return 0;
	low = hex4(*at + 2, end);
	if (low < 0xDC00 || low > 0xDFFF)
		return 0;
	*at += 6;
	return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}
