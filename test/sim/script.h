/*-------------------------------------------------------------------------
 * script.h
 *		What happens between two requests, as a test wrote it down beforehand.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "request.h"

#include <jansson.h>

/* Takes {"events":[…]} in place of the script so far; requests are counted anew.  false: *error says why. */
extern bool script_set(json_t *spec, char *error, size_t error_size);
extern void script_reset(void);

/* How far it is, as JSON. */
extern void script_show(Buf *out);

/*
 * A request came in: carries out what is to happen before it.  true: the request
 * is to wait until script_let_go(), which whoever makes it wait calls then.
 */
extern bool script_arrived(Request *req);
extern void script_let_go(void);

#endif
