/*-------------------------------------------------------------------------
 * payloadplan.h
 *		request[] of a push as a template: the fields that are sent, and what each becomes.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PAYLOADPLAN_H
#define JDY_PAYLOADPLAN_H

#include "postgres.h"

#include "metadata.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum ValueType
{
	TYPE_AS_IT_IS,				/* string and all others: JSON has no more types */
	TYPE_INTEGER,
	TYPE_NUMBER,
	TYPE_BOOLEAN,
	TYPE_OBJECT,
	TYPE_ARRAY
} ValueType;

/*
 * The fields (Field *) that are sent, in the current memory context: those without
 * a value are left out, those that name a "parent" stand among its children.  Raises an
 * error that names the field when it cannot be filled.
 */
extern List *jdy_payload_plan(const List *request);

/* Warns of paths that begin with no column of `source`: they would be null in every record. */
extern void jdy_payload_warn(const List *fields, Oid source);

/* Whether the same record always gives the same payload: no field has a _function. */
extern bool jdy_payload_is_steady(const List *fields);

/* Raises an error when the body of a deletion, a template, asks for more than the id: a record that is gone has nothing else. */
extern void jdy_payload_check_deletion(Jsonb *body);

/* What a value of the field must become. */
extern ValueType jdy_payload_type(const Field *field);

/* The array that a field with children is made of: "lines" or "{{lines}}" as lines; NULL when its value is anything else. */
extern char *jdy_payload_array_path(const Field *field);

#endif							/* JDY_PAYLOADPLAN_H */
