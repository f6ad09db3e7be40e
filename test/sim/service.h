/*-------------------------------------------------------------------------
 * service.h
 *		From a request to its reply.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SERVICE_H
#define SIM_SERVICE_H

#include "request.h"

#include <jansson.h>

/* Fills req->reply.  Called once per request, with the lock held. */
extern void service_answer(Request *req);

/* Sets the churn from {"entity","insert","update","delete"}; {} stops it. */
extern bool service_churn(json_t *spec, char *error, size_t error_size);

/* Stops the churn. */
extern void service_reset(void);

#endif
