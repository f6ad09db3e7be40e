/*-------------------------------------------------------------------------
 * template.h
 *		{{path}} in text: found, and looked up.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_TEMPLATE_H
#define JDY_TEMPLATE_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "value.h"

/* {{path}}, {{path|filter}}, or the same in single braces. */
typedef struct Placeholder
{
	const char *start;			/* its first brace */
	const char *end;			/* behind its last brace */
	char	   *path;
	char	   *filter;			/* NULL = none */
} Placeholder;

/*
 * The first placeholder from `from` on; false when there is none.  Single braces
 * around anything but a path are text; double braces are an error then.
 */
extern bool jdy_placeholder_next(const char *from, Placeholder *placeholder);

/* True when it stands for a time: CURRENT_TIME, LAST_SYNC_TIME, DAYS_AGO_n. */
extern bool jdy_placeholder_is_time(const Placeholder *placeholder);

/*
 * Its text, filter applied: seconds since 1970 for a time without filter, else what the
 * record (may be NULL) holds.  NULL when the record has nothing there.
 */
extern char *jdy_placeholder_text(const Placeholder *placeholder, Jsonb *record, const ValueTimes *times);

/* True when `text` is one path without filter: names joined by dots, [*] for all elements of an array. */
extern bool jdy_is_path(const char *text);

/*
 * What stands at a.b.0.c in the record; NULL when nothing or null does.  A path
 * with [*], such as a[*].b, gives an array of what all elements have there: always an
 * array, elements without it left out.
 */
extern JsonbValue *jdy_jsonb_at(Jsonb *record, const char *path);

/* Reads yyyy-MM-dd or yyyy-MM-dd HH:mm:ss, a fraction ignored; false when it is no such time. */
extern bool jdy_local_time(const char *text, struct pg_tm *tm);

#endif							/* JDY_TEMPLATE_H */
