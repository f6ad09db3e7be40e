/*-------------------------------------------------------------------------
 * build.c
 *		A record's text as jsonb, the quick way.
 *
 * Before PostgreSQL 16 its JSON lexer copies strings byte by byte through a
 * function call, and that alone is a sixth of what landing a record costs.
 * Here strings without escapes are used where they stand in the text and
 * passed over eight bytes at a time.
 *
 * It need not understand everything: whatever is rare (numbers with exponents,
 * deep nesting) or wrong is left to jsonb_in.  So all that must be right is
 * what is accepted: the grammar of RFC 8259, as jsonb_in has it.
 *
 * Called by row.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "build.h"
#include "fmgr.h"
#include "scan.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define MAX_DEPTH 64			/* levels; deeper goes the long way */
#define MAX_DIGITS 18			/* of an integer that fits int64 for certain */
#define MAX_NUMBER 40			/* characters of a number without exponent */

typedef struct Builder
{
	const char *at;
	const char *end;
	JsonbParseState *state;
	int			depth;
} Builder;

static bool build_value(Builder *builder, JsonbIteratorToken as, JsonbValue **result);
static bool build_object(Builder *builder, JsonbValue **result);
static bool build_array(Builder *builder, JsonbValue **result);
static bool read_scalar(Builder *builder, JsonbValue *value);
static bool read_string(Builder *builder, JsonbValue *value);
static const char *string_end(const char *at, const char *end);
static bool read_number(Builder *builder, JsonbValue *value);
static bool read_word(Builder *builder, const char *word);

static inline char
peek(Builder *builder)
{
	while (builder->at < builder->end &&
		   (*builder->at == ' ' || *builder->at == '\n' || *builder->at == '\r' || *builder->at == '\t'))
		builder->at++;
	return builder->at < builder->end ? *builder->at : '\0';
}

Jsonb *
jdy_build_jsonb(const char *text, size_t length)
{
	Builder		builder = {text, text + length};
	JsonbValue *result = NULL;

	if (peek(&builder) != '{' || !build_object(&builder, &result))
		return NULL;
	if (peek(&builder) != '\0' || builder.at < builder.end)
		return NULL;
	return JsonbValueToJsonb(result);
}

/* One value, as a member's (WJB_VALUE) or an element (WJB_ELEM). */
static bool
build_value(Builder *builder, JsonbIteratorToken as, JsonbValue **result)
{
	JsonbValue	scalar;
	char		first = peek(builder);

	if (first == '{')
		return build_object(builder, result);
	if (first == '[')
		return build_array(builder, result);
	if (!read_scalar(builder, &scalar))
		return false;
	*result = pushJsonbValue(&builder->state, as, &scalar);
	return true;
}

static bool
build_object(Builder *builder, JsonbValue **result)
{
	JsonbValue	key;

	if (++builder->depth > MAX_DEPTH)
		return false;
	builder->at++;
	pushJsonbValue(&builder->state, WJB_BEGIN_OBJECT, NULL);
	if (peek(builder) == '}')
		builder->at++;
	else
		for (;;)
		{
			char		next;

			if (peek(builder) != '"' || !read_string(builder, &key) || peek(builder) != ':')
				return false;
			builder->at++;
			pushJsonbValue(&builder->state, WJB_KEY, &key);
			if (!build_value(builder, WJB_VALUE, result))
				return false;
			next = peek(builder);
			builder->at++;
			if (next == '}')
				break;
			if (next != ',')
				return false;
		}
	*result = pushJsonbValue(&builder->state, WJB_END_OBJECT, NULL);
	builder->depth--;
	return true;
}

static bool
build_array(Builder *builder, JsonbValue **result)
{
	if (++builder->depth > MAX_DEPTH)
		return false;
	builder->at++;
	pushJsonbValue(&builder->state, WJB_BEGIN_ARRAY, NULL);
	if (peek(builder) == ']')
		builder->at++;
	else
		for (;;)
		{
			char		next;

			if (!build_value(builder, WJB_ELEM, result))
				return false;
			next = peek(builder);
			builder->at++;
			if (next == ']')
				break;
			if (next != ',')
				return false;
		}
	*result = pushJsonbValue(&builder->state, WJB_END_ARRAY, NULL);
	builder->depth--;
	return true;
}

static bool
read_scalar(Builder *builder, JsonbValue *value)
{
	switch (peek(builder))
	{
		case '"':
			return read_string(builder, value);
		case 't':
			value->type = jbvBool;
			value->val.boolean = true;
			return read_word(builder, "true");
		case 'f':
			value->type = jbvBool;
			value->val.boolean = false;
			return read_word(builder, "false");
		case 'n':
			value->type = jbvNull;
			return read_word(builder, "null");
		default:
			return read_number(builder, value);
	}
}

/* The builder stands at the opening quote. */
static bool
read_string(Builder *builder, JsonbValue *value)
{
	const char *from = builder->at + 1;
	const char *at = string_end(from, builder->end);
	bool		escapes = false;
	Slice		inside;
	size_t		length;

	while (at != NULL && *at == '\\')
	{
		escapes = true;
		if (builder->end - at < 2)
			return false;
		at = string_end(at + 2, builder->end);
	}
	/* A control character must be escaped. */
	if (at == NULL || *at != '"')
		return false;
	builder->at = at + 1;

	value->type = jbvString;
	value->val.string.val = unconstify(char *, from);
	value->val.string.len = at - from;
	if (escapes)
	{
		inside = (Slice) {from, at - from};
		value->val.string.val = jdy_scan_decode(&inside, &length);
		if (value->val.string.val == NULL)
			return false;
		value->val.string.len = length;
	}
	return true;
}

/* The first quote, backslash or control character; NULL = none.  Of eight bytes at a time only the first find is exact. */
static const char *
string_end(const char *at, const char *end)
{
#ifndef WORDS_BIGENDIAN
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 tops = UINT64CONST(0x8080808080808080);

	while (end - at >= 8)
	{
		uint64		bytes;
		uint64		quotes;
		uint64		backslashes;

		memcpy(&bytes, at, 8);
		quotes = bytes ^ (ones * '"');
		backslashes = bytes ^ (ones * '\\');
		if ((((bytes - ones * ' ') & ~bytes) | ((quotes - ones) & ~quotes) | ((backslashes - ones) & ~backslashes)) & tops)
			break;
		at += 8;
	}
#endif
	for (; at < end; at++)
	{
		if (*at == '"' || *at == '\\' || (unsigned char) *at < ' ')
			return at;
	}
	return NULL;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?, and nothing that would go on as a number. */
static bool
read_number(Builder *builder, JsonbValue *value)
{
	const char *from = builder->at;
	const char *at = from;
	const char *end = builder->end;
	const char *digits;
	bool		negative = at < end && *at == '-';
	int64		number = 0;
	char		text[MAX_NUMBER + 1];

	if (negative)
		at++;
	digits = at;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
	{
		if (at - digits < MAX_DIGITS)
			number = number * 10 + (*at - '0');
	}
	if (at == digits || (*digits == '0' && at - digits > 1))
		return false;

	value->type = jbvNumeric;
	if (at - digits <= MAX_DIGITS && at < end && (*at == ',' || *at == '}' || *at == ']'))
	{
		value->val.numeric = int64_to_numeric(negative ? -number : number);
		builder->at = at;
		return true;
	}
	if (at < end && *at == '.')
	{
		digits = ++at;
		while (at < end && *at >= '0' && *at <= '9')
			at++;
		if (at == digits)
			return false;
	}
	if (at - from > MAX_NUMBER || at >= end || strchr(",}] \t\r\n", *at) == NULL || *at == '\0')
		return false;
	memcpy(text, from, at - from);
	text[at - from] = '\0';
	value->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
															 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	builder->at = at;
	return true;
}

static bool
read_word(Builder *builder, const char *word)
{
	size_t		length = strlen(word);

	if (builder->end - builder->at < length || memcmp(builder->at, word, length) != 0)
		return false;
	builder->at += length;
	return true;
}
