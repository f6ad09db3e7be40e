/*-------------------------------------------------------------------------
 * payload.h
 *		request[] of a push as a template: one JSON object for each record.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PAYLOAD_H
#define JDY_PAYLOAD_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/jsonb.h"

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

/*
 * The payload of one record as JSON text, in the current memory context.  _function
 * expressions run as the current role, in a transaction with SPI connected.  Raises an
 * error that names field and record when a value is not what its type says: catch it in a
 * subtransaction.
 */
extern char *jdy_payload_text(const List *fields, Jsonb *record, const char *id, pg_tz *time_zone);

/* The body of a deletion: a template in which {{id}} is the record's id, as JSON text. */
extern char *jdy_payload_deletion(Jsonb *body, const char *id, pg_tz *time_zone);

/* Raises an error when such a template asks for more than the id: a record that is gone has nothing else. */
extern void jdy_payload_check_deletion(Jsonb *body);

#endif							/* JDY_PAYLOAD_H */
