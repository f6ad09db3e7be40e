/*-------------------------------------------------------------------------
 * row.h
 *		One row of a reply: cut out, named by its key, judged, made jsonb.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ROW_H
#define JDY_ROW_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "scan.h"
#include "utils/jsonb.h"

#define JDY_MAX_NESTING 512		/* levels of a row; more is set aside */
#define JDY_MAX_ID_BYTES 1000	/* an index entry holds it */
#define JDY_MAX_ROW_BYTES (16 * 1024 * 1024)	/* of a row's text: keeps every jsonb limit out of reach */

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

/* Which members of a row are its key and its number. */
typedef struct RowKey
{
	ScanMember *members;		/* key fields, then the number field */
	bool	   *optional;		/* key fields that a row may lack */
	int			nkeys;
	int			nmembers;
	bool		whole_row;		/* it is its own key */
	const char *prefix;			/* of every key, and the number of rows that have none; NULL = nothing */
} RowKey;

/* As PageShape says, in the current memory context; the names are not copied. */
extern void jdy_row_key(RowKey *key, const List *id_fields, const char *number_field, const char *prefix);

/*
 * The value that `scan` stands at, as a row in the current memory context; false when
 * there is none: scan->problem says why.  utf8: the whole body is known to be valid.
 */
extern bool jdy_row_take(JsonScan *scan, RowKey *key, bool utf8, Row *row);

/*
 * The row as jsonb in the current memory context, or NULL with *problem set
 * when PostgreSQL cannot hold it (never raises for the row's content).
 */
extern Jsonb *jdy_row_jsonb(const Row *row, const char **problem);

/*
 * A scalar's text in the database's encoding: a string's, or a number's digits as
 * they are written; palloc'ed.  NULL for null, "", objects, arrays, what cannot be text, and
 * what is no scalar at all (members are cut from rows that may be broken).
 */
extern char *jdy_scalar_text(const Slice *value);

#endif							/* JDY_ROW_H */
