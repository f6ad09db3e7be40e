/*-------------------------------------------------------------------------
 * page.c
 *		A reply's body as rows: one pass over the bytes, nothing copied.
 *
 * A page is cut into rows, not parsed: each row stays the bytes that came, so
 * that a record PostgreSQL cannot hold is set aside alone with its raw text,
 * and an unchanged one is known by its digest before any jsonb is built.
 *
 * The envelope's keys come in any order and under several names; what they
 * say is collected by level of nesting while the rows are looked for, because
 * which level counts is known only when the rows are found.
 *
 * Parsing needs no transaction, so replies are looked at between transactions.
 * Called by pull.c (pages, details) and by whoever reads a JSON reply.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "build.h"
#include "common/hashfn.h"
#include "common/string.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "page.h"
#include "scan.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define MAX_ROWS 1000000		/* of one page */
#define MAX_DESCRIPTION 1000	/* bytes kept of the service's words */

/* "data.rows" as its names. */
typedef struct Path
{
	int			n;
	Slice		names[JDY_MAX_PATH];
} Path;

/* What the envelope says beside the rows, at one level of nesting. */
typedef struct Beside
{
	int64		count;
	int64		page;
	int64		current_page;
	int64		page_size;
	int64		total_page;
} Beside;

typedef struct Walk
{
	Scan		scan;
	ListPage	 *  page;
	bool		single;
	bool		search;			/* no rows_path: data.rows, else data itself */
	Path		rows_path;
	Path		count_path;
	bool		utf8;			/* the whole body is valid UTF-8 */
	const char *prefix;			/* of every key; NULL = none */
	ScanMember *members;		/* key fields, then the number field */
	bool	   *optional;		/* key fields that a row may lack */
	int			nkeys;
	bool		whole_row_is_key;
	int			nmembers;
	int			capacity;		/* of page->rows */
	int			rows_level;		/* where the rows (or the record) stood; -1 = not seen */
	bool		rows_null;		/* they were null */
	int64		named_count;	/* at count_path */
	int			description_rank;	/* of the best description so far; 0 = none */
	Beside		beside[JDY_MAX_PATH];
} Walk;

static bool begin(Walk *walk, const char *body, size_t length, const PageShape *shape);
static bool split_path(const char *text, Path *path);
static void walk_object(Walk *walk, int level, bool toward_rows, bool toward_count);
static bool walk_member(Walk *walk, int level, bool toward_rows, bool toward_count, const Slice *name);
static bool stands_at(const Path *path, int level, const Slice *name);
static bool is_rows(const Walk *walk, int level, const Slice *name, char first);
static void take_rows(Walk *walk, int level, char first);
static void take_record(Walk *walk, int level, char first);
static void take_envelope(Walk *walk, int level, const Slice *name, const Slice *value);
static void take_errcode(ListPage *page, const Slice *value, bool http_like);
static void take_description(Walk *walk, int rank, const Slice *value);
static void finish(Walk *walk);
static bool add_row(Walk *walk);
static const char *row_problem(const Walk *walk, const Slice *text);
static char *row_id(const Walk *walk);
static char *row_as_id(const Slice *text);
static char *scalar_text(const Slice *value);
static bool slice_integer(const Slice *value, int64 *number);
static char *to_server(char *utf8, size_t length);

ListPage *
jdy_page_parse(const char *body, size_t length, const PageShape *shape)
{
	Walk		walk;
	ListPage	 *  page = palloc0(sizeof(ListPage));

	memset(&walk, 0, sizeof(walk));
	page->count = page->page = page->page_size = page->total_page = -1;
	walk.page = page;
	if (begin(&walk, body, length, shape))
	{
		walk_object(&walk, 0, true, true);
		finish(&walk);
	}
	if (page->problem != NULL)
	{
		/* Half a page must never be taken for one. */
		page->nrows = 0;
		page->no_record = false;
	}
	return page;
}

Jsonb *
jdy_row_jsonb(const Row *row, const char **problem)
{
	ErrorSaveContext soft = {T_ErrorSaveContext};
	Datum		datum;
	char	   *text;

	*problem = row->problem;
	if (row->problem != NULL)
		return NULL;
	if (GetDatabaseEncoding() == PG_UTF8)
	{
		Jsonb	   *quick = jdy_build_jsonb(row->text, row->length);

		if (quick != NULL)
			return quick;
	}
	text = to_server(pnstrdup(row->text, row->length), row->length);
	if (text == NULL)
		*problem = "a character that the database's encoding lacks";
	else if (!DirectInputFunctionCallSafe(jsonb_in, text, InvalidOid, -1, (Node *) &soft, &datum))
		*problem = "not JSON that jsonb can hold";
	if (text != NULL)
		pfree(text);
	return *problem == NULL ? DatumGetJsonbP(datum) : NULL;
}

char *
jdy_jsonb_text(Jsonb *object, const char *key)
{
	if (!JB_ROOT_IS_OBJECT(object))
		return NULL;
	return jdy_jsonb_value_text(getKeyJsonValueFromContainer(&object->root, key, strlen(key), NULL));
}

char *
jdy_jsonb_value_text(const JsonbValue *value)
{
	if (value == NULL)
		return NULL;
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "unexpected kind of jsonb value: %d", (int) value->type);
	}
	return NULL;				/* not reached */
}

List *
jdy_jsonb_texts(Jsonb *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	part;
	List	   *texts = NIL;

	if (value == NULL)
		return NIL;
	iterator = JsonbIteratorInit(&value->root);
	while ((token = JsonbIteratorNext(&iterator, &part, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && part.type == jbvString)
			texts = lappend(texts, pnstrdup(part.val.string.val, part.val.string.len));
	}
	return texts;
}

bool
jdy_jsonb_is_empty(Jsonb *value)
{
	JsonbValue	scalar;

	if (value == NULL)
		return true;
	if (!JsonbExtractScalar(&value->root, &scalar))
		return JB_ROOT_COUNT(value) == 0;
	return scalar.type == jbvNull || (scalar.type == jbvString && scalar.val.string.len == 0);
}

/* Prepares the walk; false with a problem when there is nothing to walk over. */
static bool
begin(Walk *walk, const char *body, size_t length, const PageShape *shape)
{
	ListPage	 *  page = walk->page;
	ListCell   *cell;
	char		first;

	walk->single = shape->single;
	walk->rows_level = -1;
	walk->named_count = -1;
	for (int i = 0; i < JDY_MAX_PATH; i++)
		walk->beside[i] = (Beside) {-1, -1, -1, -1, -1};

	walk->search = shape->rows_path == NULL && !shape->single;
	if (!split_path(shape->rows_path ? shape->rows_path : "data", &walk->rows_path) ||
		!split_path(shape->count_path ? shape->count_path : "", &walk->count_path))
	{
		page->problem = "path to the rows is too long";
		return false;
	}

	walk->prefix = shape->prefix;
	walk->whole_row_is_key = list_length(shape->id_fields) == 1 && strcmp(linitial(shape->id_fields), "*") == 0;
	walk->nkeys = walk->whole_row_is_key ? 0 : list_length(shape->id_fields);
	walk->members = palloc0((walk->nkeys + 1) * sizeof(ScanMember));
	walk->optional = palloc0((walk->nkeys + 1) * sizeof(bool));
	if (walk->nkeys > 0)
		foreach(cell, shape->id_fields)
		{
			const char *name = lfirst(cell);
			size_t		bytes = strlen(name);

			walk->optional[walk->nmembers] = walk->nkeys > 1 && bytes > 1 && name[bytes - 1] == '?';
			walk->members[walk->nmembers].name = name;
			walk->members[walk->nmembers].name_length = bytes - walk->optional[walk->nmembers];
			walk->nmembers++;
		}
	if (shape->number_field)
	{
		walk->members[walk->nmembers].name = shape->number_field;
		walk->members[walk->nmembers++].name_length = strlen(shape->number_field);
	}

	jdy_scan_begin(&walk->scan, body, length);
	first = jdy_scan_peek(&walk->scan);
	if (walk->scan.at == walk->scan.end)
		page->problem = "empty body";
	else if (length > INT_MAX)
		page->problem = "body over 2 GB";
	else if (first == '<')
		page->problem = "HTML or XML instead of JSON";
	else if (first != '{')
		page->problem = "not a JSON object";
	else
		walk->utf8 = pg_encoding_verifymbstr(PG_UTF8, body, length) == length;
	return page->problem == NULL;
}

static bool
split_path(const char *text, Path *path)
{
	path->n = 0;
	while (*text != '\0')
	{
		size_t		length = strcspn(text, ".");

		if (path->n == JDY_MAX_PATH)
			return false;
		path->names[path->n++] = (Slice) {text, length};
		text += length;
		if (*text == '.')
			text++;
	}
	return true;
}

/* An object of the envelope, on the way to the rows or to the count.  Recursion ends at JDY_MAX_PATH. */
static void
walk_object(Walk *walk, int level, bool toward_rows, bool toward_count)
{
	bool		first = true;
	Slice		name;

	while (jdy_scan_next_member(&walk->scan, &first, &name))
	{
		if (!walk_member(walk, level, toward_rows, toward_count, &name))
			return;
	}
}

static bool
walk_member(Walk *walk, int level, bool toward_rows, bool toward_count, const Slice *name)
{
	char		first = jdy_scan_peek(&walk->scan);
	bool		rows_below;
	bool		count_below;
	Slice		value;

	if (toward_rows && is_rows(walk, level, name, first))
	{
		if (walk->single)
			take_record(walk, level, first);
		else
			take_rows(walk, level, first);
		return walk->scan.problem == NULL && walk->page->problem == NULL;
	}

	rows_below = toward_rows && stands_at(&walk->rows_path, level, name) &&
		(walk->search || level + 1 < walk->rows_path.n);
	count_below = toward_count && stands_at(&walk->count_path, level, name) && level + 1 < walk->count_path.n;
	if (first == '{' && (rows_below || count_below) && level + 1 < JDY_MAX_PATH)
	{
		walk_object(walk, level + 1, rows_below, count_below);
		return walk->scan.problem == NULL && walk->page->problem == NULL;
	}

	if (!jdy_scan_value(&walk->scan, &value, NULL, 0))
		return false;
	if (toward_count && level + 1 == walk->count_path.n && stands_at(&walk->count_path, level, name))
		slice_integer(&value, &walk->named_count);
	if (toward_rows)
		take_envelope(walk, level, name, &value);
	return walk->page->problem == NULL;
}

static bool
stands_at(const Path *path, int level, const Slice *name)
{
	return level < path->n && jdy_scan_is(name, path->names[level].text, path->names[level].length);
}

/* Whether this member is the rows.  Without a path: `data` when it is an array, else `rows` in it. */
static bool
is_rows(const Walk *walk, int level, const Slice *name, char first)
{
	if (!walk->search)
		return level + 1 == walk->rows_path.n && stands_at(&walk->rows_path, level, name);
	if (level == 0)
		return first == '[' && jdy_scan_is(name, "data", 4);
	return jdy_scan_is(name, "rows", 4);
}

static void
take_rows(Walk *walk, int level, char first)
{
	bool		first_row = true;
	Slice		value;

	if (walk->rows_level >= 0)
	{
		walk->page->problem = "rows given twice";
		return;
	}
	walk->rows_level = level;
	if (first == '[')
	{
		while (jdy_scan_next_element(&walk->scan, &first_row) && add_row(walk))
			;
		return;
	}
	walk->rows_null = first == 'n';
	if (jdy_scan_value(&walk->scan, &value, NULL, 0) && !walk->rows_null)
		walk->page->problem = "rows are not an array";
}

/* A detail: an object is the record; null, "", {} and [] say that there is none. */
static void
take_record(Walk *walk, int level, char first)
{
	ListPage	 *  page = walk->page;
	Slice		value;
	bool		empty;

	if (walk->rows_level >= 0)
	{
		page->problem = "record given twice";
		return;
	}
	walk->rows_level = level;
	if (first == '{')
	{
		if (!add_row(walk))
			return;
		value = (Slice) {page->rows[0].text, page->rows[0].length};
	}
	else if (!jdy_scan_value(&walk->scan, &value, NULL, 0))
		return;

	empty = true;
	for (size_t i = 1; i + 1 < value.length; i++)
		empty = empty && strchr(" \t\r\n", value.text[i]) != NULL && value.text[i] != '\0';
	if (first == 'n' || ((first == '{' || first == '[' || first == '"') && empty))
	{
		page->no_record = true;
		page->nrows = 0;
	}
	else if (first != '{')
		page->problem = "the record is not an object";
}

/* A member of the envelope that is not the rows. */
static void
take_envelope(Walk *walk, int level, const Slice *name, const Slice *value)
{
	static const struct
	{
		const char *name;
		size_t		field;
	}			numbers[] = {
		{"count", offsetof(Beside, count)},
		{"total", offsetof(Beside, count)},
		{"total_count", offsetof(Beside, count)},
		{"totalCount", offsetof(Beside, count)},
		{"page", offsetof(Beside, page)},
		{"current_page", offsetof(Beside, current_page)},
		{"page_size", offsetof(Beside, page_size)},
		{"pageSize", offsetof(Beside, page_size)},
		{"total_page", offsetof(Beside, total_page)},
		{"totalPage", offsetof(Beside, total_page)}
	};
	static const char *const descriptions[] = {"description_cn", "message", "msg", "errmsg", "description"};

	for (int i = 0; i < lengthof(numbers); i++)
	{
		if (jdy_scan_is(name, numbers[i].name, strlen(numbers[i].name)))
			slice_integer(value, (int64 *) ((char *) &walk->beside[level] + numbers[i].field));
	}
	if (level > 0)
		return;
	if (jdy_scan_is(name, "errcode", 7))
		take_errcode(walk->page, value, false);
	else if (jdy_scan_is(name, "code", 4))
		take_errcode(walk->page, value, true);
	for (int i = 0; i < lengthof(descriptions); i++)
	{
		if (jdy_scan_is(name, descriptions[i], strlen(descriptions[i])))
			take_description(walk, i + 1, value);
	}
}

/* An error is never hidden by a second code that says success. */
static void
take_errcode(ListPage *page, const Slice *value, bool http_like)
{
	int64		code;

	if (value->text[0] == 'n' || (value->text[0] == '"' && value->length == 2))
		return;
	if (!slice_integer(value, &code))
		page->problem = "error code is not a number";
	else if (!(http_like && code == 200) && page->errcode == 0)
		page->errcode = code;
}

static void
take_description(Walk *walk, int rank, const Slice *value)
{
	char	   *text;

	if (rank < walk->description_rank || value->length <= 2 || value->text[0] != '"')
		return;
	text = scalar_text(value);
	if (text == NULL)
		return;
	text[pg_mbcliplen(text, strlen(text), MAX_DESCRIPTION)] = '\0';
	walk->page->description = text;
	walk->description_rank = rank;
}

/* The walk is over: nothing may follow, and a success must have brought what was asked for. */
static void
finish(Walk *walk)
{
	ListPage	 *  page = walk->page;
	const Beside *beside;

	if (page->problem == NULL)
		page->problem = walk->scan.problem;
	if (page->problem == NULL)
	{
		jdy_scan_peek(&walk->scan);
		if (walk->scan.at < walk->scan.end)
			page->problem = "something follows the JSON value";
	}
	if (page->problem != NULL)
		return;

	beside = &walk->beside[Max(walk->rows_level, 0)];
	page->count = walk->count_path.n > 0 ? walk->named_count : beside->count;
	page->page = beside->page >= 0 ? beside->page : beside->current_page;
	page->page_size = beside->page_size;
	page->total_page = beside->total_page;
	if (page->errcode != 0)
		page->no_record = false;
	else if (walk->single)
		page->no_record = page->no_record || walk->rows_level < 0;
	else if (walk->rows_level < 0 || (walk->rows_null && page->count != 0))
		page->problem = "no rows in the reply";
}

/* The value that the scan stands at, as one more row; false when the page is over. */
static bool
add_row(Walk *walk)
{
	ListPage	 *  page = walk->page;
	Slice		text;
	Row		   *row;

	walk->scan.marks = 0;
	if (!jdy_scan_value(&walk->scan, &text, walk->members, walk->nmembers))
		return false;
	if (page->nrows == MAX_ROWS)
	{
		page->problem = "more than a million rows";
		return false;
	}
	if (page->nrows == walk->capacity)
	{
		walk->capacity = walk->capacity ? walk->capacity * 2 : (walk->single ? 1 : 128);
		page->rows = page->rows ? repalloc(page->rows, walk->capacity * sizeof(Row)) :
			palloc(walk->capacity * sizeof(Row));
	}

	row = &page->rows[page->nrows++];
	row->text = text.text;
	row->length = text.length;
	row->digest = hash_bytes_extended((const unsigned char *) text.text, text.length, 0);
	row->problem = row_problem(walk, &text);
	row->id = walk->whole_row_is_key ? row_as_id(&text) : row_id(walk);
	if (row->id != NULL && walk->prefix != NULL)
		row->id = psprintf("%s|%s", walk->prefix, row->id);
	if (row->id == NULL && row->problem == NULL && walk->nkeys > 0)
		row->problem = "no id";
	if (row->id != NULL && strlen(row->id) > JDY_MAX_ID_BYTES)
	{
		row->id = NULL;
		if (row->problem == NULL)
			row->problem = "id over 1000 bytes";
	}
	row->number = walk->nmembers > walk->nkeys ? scalar_text(&walk->members[walk->nkeys].value) : NULL;
	if (row->number == NULL && walk->prefix != NULL)
		row->number = pstrdup(walk->prefix);
	return true;
}

/* What keeps PostgreSQL from holding this row, as far as its bytes tell; NULL = nothing. */
static const char *
row_problem(const Walk *walk, const Slice *text)
{
	if (!walk->utf8 && pg_encoding_verifymbstr(PG_UTF8, text->text, text->length) != text->length)
		return "invalid UTF-8";
	if (walk->scan.marks & SCAN_ZERO)
		return "character U+0000";
	if (walk->scan.marks & SCAN_SURROGATE)
		return "half a surrogate pair";
	if (walk->scan.depth > JDY_MAX_NESTING)
		return "nested too deeply";
	if (text->length > JDY_MAX_ROW_BYTES)
		return "row over 16 MB";
	if (text->text[0] != '{')
		return "not an object";
	return NULL;
}

/*
 * The key fields' values; several are joined by '|', with '\' before a '|' or '\'
 * inside, so that two keys never meet in one id.  NULL when one is missing that must be there.
 */
static char *
row_id(const Walk *walk)
{
	StringInfoData id;

	if (walk->nkeys == 1)
		return scalar_text(&walk->members[0].value);
	initStringInfo(&id);
	for (int i = 0; i < walk->nkeys; i++)
	{
		char	   *part = scalar_text(&walk->members[i].value);

		if (part == NULL && !walk->optional[i])
			return NULL;
		if (i > 0)
			appendStringInfoChar(&id, '|');
		for (const char *c = part ? part : ""; *c != '\0'; c++)
		{
			if (*c == '|' || *c == '\\')
				appendStringInfoChar(&id, '\\');
			appendStringInfoChar(&id, *c);
		}
		if (part != NULL)
			pfree(part);
	}
	return walk->nkeys > 0 ? id.data : NULL;
}

/* Of rows that nothing names: equal ones are one, a changed one is another. */
static char *
row_as_id(const Slice *text)
{
	const unsigned char *bytes = (const unsigned char *) text->text;

	return psprintf("%016llx%016llx", (unsigned long long) hash_bytes_extended(bytes, text->length, 0),
					(unsigned long long) hash_bytes_extended(bytes, text->length, 1));
}

/*
 * A scalar's text in the database's encoding: a string's, or a number's digits as
 * they are written.  NULL for null, "", objects, arrays, what cannot be text, and
 * what is no scalar at all (members are cut from rows that may be broken).
 */
static char *
scalar_text(const Slice *value)
{
	Scan		scan;
	Slice		inside;
	char	   *text;
	size_t		length;

	if (value->text == NULL)
		return NULL;
	jdy_scan_begin(&scan, value->text, value->length);
	if (!jdy_scan_value(&scan, &inside, NULL, 0) || inside.length != value->length)
		return NULL;
	switch (value->text[0])
	{
		case '{':
		case '[':
		case 'n':
			return NULL;
		case '"':
			if (value->length <= 2)
				return NULL;
			inside = (Slice) {value->text + 1, value->length - 2};
			text = jdy_scan_decode(&inside, &length);
			break;
		default:
			length = value->length;
			text = pnstrdup(value->text, length);
	}
	if (text != NULL && pg_encoding_verifymbstr(PG_UTF8, text, length) != length)
	{
		pfree(text);
		return NULL;
	}
	return text ? to_server(text, length) : NULL;
}

/* A number, or a string that is one, into *number; false (and untouched) when it is no non-fractional int64. */
static bool
slice_integer(const Slice *value, int64 *number)
{
	char		digits[24];
	size_t		length = value->length;
	const char *from = value->text;
	char	   *end;
	int64		result;

	if (length >= 2 && from[0] == '"')
	{
		from++;
		length -= 2;
	}
	if (length == 0 || length >= sizeof(digits) || !(from[0] == '-' || (from[0] >= '0' && from[0] <= '9')))
		return false;
	memcpy(digits, from, length);
	digits[length] = '\0';
	errno = 0;
	result = strtoi64(digits, &end, 10);
	if (errno != 0 || *end != '\0' || end == digits)
		return false;
	*number = result;
	return true;
}

/*
 * UTF-8 text in the database's encoding: itself where that is UTF-8 (or none), else
 * a copy; NULL when a character is missing there.  By character because the
 * conversion of whole strings needs a transaction.
 */
static char *
to_server(char *utf8, size_t length)
{
	StringInfoData text;
	unsigned char character[MAX_UNICODE_EQUIVALENT_STRING + 1];
	const unsigned char *at = (const unsigned char *) utf8;
	const unsigned char *end = at + length;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII ||
		pg_is_ascii(utf8))
		return utf8;
	initStringInfo(&text);
	while (at < end)
	{
		if (!pg_unicode_to_server_noerror(utf8_to_unicode(at), character))
		{
			pfree(text.data);
			return NULL;
		}
		appendStringInfoString(&text, (char *) character);
		at += pg_utf_mblen(at);
	}
	return text.data;
}
