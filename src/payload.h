/*-------------------------------------------------------------------------
 * payload.h
 *		The JSON that is sent of a record: a plan, filled.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PAYLOAD_H
#define JDY_PAYLOAD_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/jsonb.h"

/*
 * The payload of one record by a plan (payloadplan.h) as JSON text, in the current memory context.  _function
 * expressions run as the current role, in a transaction with SPI connected.  Raises an
 * error that names field and record when a value is not what its type says: catch it in a
 * subtransaction.
 */
extern char *jdy_payload_text(const List *fields, Jsonb *record, const char *id, pg_tz *time_zone);

/* The body of a deletion: a template in which {{id}} is the record's id, as JSON text. */
extern char *jdy_payload_deletion(Jsonb *body, const char *id, pg_tz *time_zone);

#endif							/* JDY_PAYLOAD_H */
