/*-------------------------------------------------------------------------
 * webhook.h
 *		The url of a webhook, which is a secret itself.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_WEBHOOK_H
#define JDY_WEBHOOK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "endpoint.h"

/*
 * The path that the mapping holds, without a slash before it, palloc'ed: what is
 * percent-encoded stays so.  NULL when the mapping has none: then the call's own counts.
 */
extern char *jdy_webhook_path(const Endpoint *endpoint);

/* "?" and the query that the mapping holds, with timestamp and sign when it has a secret; "" for none; palloc'ed. */
extern char *jdy_webhook_query(const Endpoint *endpoint, TimestampTz now);

/* The body with timestamp and sign when the mapping has a body_secret, else as it is. */
extern const char *jdy_webhook_body(const Endpoint *endpoint, const char *body, TimestampTz now);

#endif							/* JDY_WEBHOOK_H */
