/*-------------------------------------------------------------------------
 * page.h
 *		A reply's body as rows: one pass over the bytes, nothing copied.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PAGE_H
#define JDY_PAGE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#define JDY_MAX_NESTING 512		/* levels of a row; more is set aside */

#define JDY_MAX_ID_BYTES 1000	/* an index entry holds it */
#define JDY_MAX_ROW_BYTES (16 * 1024 * 1024)	/* of a row's text: keeps every jsonb limit out of reach */
#define JDY_MAX_PATH 8			/* names in rows_path and count_path */

/* One row: a slice of the body. */
typedef struct Row
{
	const char *text;			/* into the body, not NUL-terminated */
	int			length;
	char	   *id;				/* key fields joined; NULL when problem is set and none was found */
	char	   *number;			/* NULL = none */
	uint64		digest;			/* of the raw text */
	const char *problem;		/* constant: why the row cannot be stored; NULL = fine */
} Row;

/* Where rows and counts stand in the envelope, and what a row's key is. */
typedef struct PageShape
{
	/*
	 * Of char *: top-level keys of a row; NIL = rows need none.  Of several, one with "?"
	 * behind it may be missing; "*" alone makes the whole row its key.
	 */
	List	   *id_fields;
	const char *number_field;	/* may be NULL */
	const char *prefix;			/* put before every key, with a '|' between, and the number of rows that have none; NULL = nothing */
	const char *rows_path;		/* "data.rows", "data", …; NULL = found by itself: data.rows, else data as an array */
	const char *count_path;		/* "data.count"; NULL = found by itself beside the rows */
	bool		single;			/* a detail: `data` is one record, not an array */
} PageShape;

typedef struct ListPage
{
	const char *problem;		/* constant: not JSON, HTML, no rows, cut, …; NULL = well formed */
	int64		errcode;		/* 0 = success (errcode 0, code 0 or 200, or none given) */
	char	   *description;	/* the service's words; NULL = none */
	bool		no_record;		/* single: data is null, empty or missing */
	Row		   *rows;
	int			nrows;
	int64		count;			/* -1 = none given or not a number */
	int64		page;			/* echoed page number, -1 = none */
	int64		page_size;		/* echoed, -1 = none */
	int64		total_page;		/* -1 = none */
} ListPage;

/*
 * Cuts `body` (NUL-terminated at body[length]) into rows in the current memory
 * context.  Never raises an error for anything in the body; a bad row is
 * marked, the others are fine.  Bytes are not changed, and Row.text points into them.
 * Invalid UTF-8, U+0000, lone surrogates, missing or null keys, and nesting beyond
 * JDY_MAX_NESTING are problems of the row, not of the page.  Numbers as keys keep
 * their digits.  Duplicate keys inside a row: the last wins, as in jsonb.
 */
extern ListPage *jdy_page_parse(const char *body, size_t length, const PageShape *shape);

/*
 * The row as jsonb in the current memory context, or NULL with *problem set
 * when PostgreSQL cannot hold it (never raises for the row's content).
 */
extern Jsonb *jdy_row_jsonb(const Row *row, const char **problem);

/* A top-level key of a jsonb object as text; NULL when missing or null. */
extern char *jdy_jsonb_text(Jsonb *object, const char *key);

/* A value's text: strings as they are, everything else as JSON writes it; NULL for null. */
extern char *jdy_jsonb_value_text(const JsonbValue *value);

/* Of char *: the strings in a jsonb value, at any depth, names apart.  NIL of NULL. */
extern List *jdy_jsonb_texts(Jsonb *value);

/* True of nothing, null, "", [] and {}. */
extern bool jdy_jsonb_is_empty(Jsonb *value);

#endif							/* JDY_PAGE_H */
