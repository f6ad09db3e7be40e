/*-------------------------------------------------------------------------
 * control.h
 *		The control API: what a test tells the simulator and asks of it.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "request.h"

#include <sys/types.h>

/* Answers a request under /_sim/.  Called with the lock held. */
extern void control_answer(Request *req);

/*
 * The truth is streamed, since it may be gigabytes.  These two have the form
 * of libmicrohttpd's content reader; they take the lock themselves.
 */
extern ssize_t truth_read(void *reader, uint64_t pos, char *out, size_t max);
extern void truth_free(void *reader);

#endif
