/*-------------------------------------------------------------------------
 * page.c
 *		A reply's body as rows: one pass over the bytes, nothing copied.
 *
 * A page is cut into rows (row.c), not parsed: each row stays the bytes that came, so
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

#include "mb/pg_wchar.h"
#include "page.h"
#include "scan.h"

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
	JsonScan	scan;
	ListPage	 *  page;
	bool		single;
	bool		search;			/* no rows_path: data.rows, else data itself */
	Path		rows_path;
	Path		count_path;
	bool		utf8;			/* the whole body is valid UTF-8 */
	RowKey		key;
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
static bool slice_integer(const Slice *value, int64 *number);

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

/* Prepares the walk; false with a problem when there is nothing to walk over. */
static bool
begin(Walk *walk, const char *body, size_t length, const PageShape *shape)
{
	ListPage	 *  page = walk->page;
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

	jdy_row_key(&walk->key, shape->id_fields, shape->number_field, shape->prefix);
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
	text = jdy_scalar_text(value);
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
	Row			row;

	if (!jdy_row_take(&walk->scan, &walk->key, walk->utf8, &row))
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
	page->rows[page->nrows++] = row;
	return true;
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
