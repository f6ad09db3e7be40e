/*-------------------------------------------------------------------------
 * page.h
 *		A reply's body as rows: one pass over the bytes, nothing copied.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PAGE_H
#define JDY_PAGE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "jsonbtext.h"
#include "row.h"

#define JDY_MAX_PATH 8			/* names in rows_path and count_path */

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

#endif							/* JDY_PAGE_H */
