/*-------------------------------------------------------------------------
 * jsonbtext.h
 *		What jsonb says, as text.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_JSONBTEXT_H
#define JDY_JSONBTEXT_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* A top-level key of a jsonb object as text; NULL when missing or null. */
extern char *jdy_jsonb_text(Jsonb *object, const char *key);

/* A value's text: strings as they are, everything else as JSON writes it; NULL for null. */
extern char *jdy_jsonb_value_text(const JsonbValue *value);

/* Of char *: the strings in a jsonb value, at any depth, names apart.  NIL of NULL. */
extern List *jdy_jsonb_texts(Jsonb *value);

/* True of nothing, null, "", [] and {}. */
extern bool jdy_jsonb_is_empty(Jsonb *value);

#endif							/* JDY_JSONBTEXT_H */
