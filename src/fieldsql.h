/*-------------------------------------------------------------------------
 * fieldsql.h
 *		A field of a record as a SQL expression.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_FIELDSQL_H
#define JDY_FIELDSQL_H

#include "postgres.h"

/*
 * What a view selects from: a staging table s and, with flat, the elements e of an
 * array of its records.  With record, fields of the record are columns of d, which takes a large
 * record apart once instead of once a column.
 */
typedef struct FieldSource
{
	const char *staging;		/* quoted and qualified */
	const char *flat;			/* path of the array; NULL = one row a record */
	const char *record;			/* column definitions of d: text, jsonb for what is no scalar; NULL = no d */
	const char *time_zone;		/* of times without zone */
} FieldSource;

/*
 * Expressions for the field at `path` (jdy_is_path), which may be a column of the
 * staging table (id, number, modified_at, synced_at), inside of the array that is
 * unrolled, or anywhere in the record.  They name nothing but PostgreSQL's own functions, so that
 * whoever may read a view made of them needs no other right.  Palloc'ed.
 */
extern char *jdy_field_json(const FieldSource *source, const char *path);
extern char *jdy_field_text(const FieldSource *source, const char *path);

/* As the column of a view by default: text; what the staging table has as a column keeps its type; with [*] jsonb. */
extern char *jdy_field_plain(const FieldSource *source, const char *path);

/* Of one of the types below; NULL where the field is empty or no such value: never an error at run time. */
extern char *jdy_field_typed(const FieldSource *source, const char *path, const char *type);

/* As jdy_render's filters give it: a text, a bigint; NULL where the field is no time. */
extern char *jdy_field_filtered(const FieldSource *source, const char *path, const char *filter);

/* text, numeric, integer, bigint, boolean, date, timestamp, timestamptz, jsonb; NULL-terminated. */
extern const char *const jdy_field_types[];

/* Whether the path names a text column of the staging table: id or number. */
extern bool jdy_field_is_key(const char *path);

/* Whether numeric (jdy_field_typed) takes the text; an SQL literal of it then. */
extern bool jdy_is_number(const char *text, char **literal);

/*
 * The sensitive field's text with most of it hidden: of a phone the first three and
 * last two characters stay; NULL where it is empty.
 */
extern char *jdy_field_masked(const FieldSource *source, const char *path, bool phone);

/* The elements of `flat` as a table e (entry, place). */
extern char *jdy_field_elements(const FieldSource *source);

/* The FROM clause, without the word; and the id of a view's rows. */
extern char *jdy_field_from(const FieldSource *source);
extern char *jdy_field_id(const FieldSource *source);

#endif							/* JDY_FIELDSQL_H */
