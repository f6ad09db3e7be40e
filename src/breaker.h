/*-------------------------------------------------------------------------
 * breaker.h
 *		Whether a server's target answers pushes: its circuit breaker.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_BREAKER_H
#define JDY_BREAKER_H

#include "postgres.h"

#include "client.h"
#include "datatype/timestamp.h"
#include "endpoint.h"

/* As a run knows it; every write brings it up to date. */
typedef struct Breaker
{
	const char *server;
	int			trials;			/* made since it opened */
	TimestampTz since;			/* when the first of the requests in a row ended that got no answer; 0 = the last one got one */
	TimestampTz next_try;		/* 0 = closed */
	char		problem[160];	/* what came last instead of an answer; nothing of a record is in it */

	/* Noted since it was written last. */
	bool		answered;
	int			unanswered;		/* requests in a row, the answered one before them */
} Breaker;

/* In a transaction with SPI.  server lives as long as the breaker. */
extern void jdy_breaker_load(Breaker *breaker, const char *server);

extern bool jdy_breaker_is_open(const Breaker *breaker);

/* Notes a request's end: it was answered, in whatever words, or it was not, after all its attempts: why, and with which HTTP status, 0 = none. */
extern void jdy_breaker_answered(Breaker *breaker);
extern void jdy_breaker_unanswered(Breaker *breaker, const char *reason, int http_status);

/* In a transaction with SPI: writes what was noted, if that changes anything; the breaker may be open or closed then. */
extern void jdy_breaker_write(Breaker *breaker);

/* The same: one request is about to be tried although it is open.  The next pause is longer, even if nobody comes to tell the outcome. */
extern void jdy_breaker_try(Breaker *breaker);

/* Raises what a person should know when push `push` was not tried further; in_doubt: records of it. */
pg_noreturn extern void jdy_breaker_raise(const Breaker *breaker, const Endpoint *endpoint, const char *push, int64 in_doubt);

#endif							/* JDY_BREAKER_H */
