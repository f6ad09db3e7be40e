/*-------------------------------------------------------------------------
 * session.h
 *		What signing in gave: authorisation, token, clock, for all processes.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SESSION_H
#define JDY_SESSION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "endpoint.h"
#include "shmem.h"

typedef struct SessionRef SessionRef;

/* What is missing before a call can be signed and sent. */
typedef enum SessionNeed
{
	SESSION_READY,
	SESSION_RENEW,				/* usable, but the token is old: renew it when that costs no waiting */
	SESSION_TOKEN,
	SESSION_AUTHORISATION
} SessionNeed;

/* One row of push_app_authorize. */
typedef struct Authorisation
{
	const char *account_id;
	const char *account_name;
	const char *app_key;
	const char *app_secret;
	const char *domain;
	int64		licence_expires_ms; /* epoch; 0 = not known */
} Authorisation;

/*
 * The session of everybody with this endpoint's digest, in the current memory
 * context; its end gives back the lease.  Without shared memory: this process's own.
 */
extern SessionRef *jdy_session_open(const Endpoint *endpoint);

/* The session as it is now: valid until the next call of this module with this ref. */
extern const Session *jdy_session_get(SessionRef *ref);

extern SessionNeed jdy_session_need(SessionRef *ref, TimestampTz server_time);

/*
 * Makes this process the one that signs in (true), unless another that is alive
 * does (false).  Ask again at each step: that also says that we are still at it.
 */
extern bool jdy_session_lease(SessionRef *ref);
extern void jdy_session_unlease(SessionRef *ref);

/* Between them the process latch is set when any session changes. */
extern void jdy_session_prepare_to_wait(void);
extern void jdy_session_cancel_wait(void);

/* Stores what the service gave.  False: a value is longer than we keep. */
extern bool jdy_session_authorised(SessionRef *ref, const Authorisation *authorisation);
extern bool jdy_session_token(SessionRef *ref, const char *token, TimestampTz server_time, TimestampTz expires);

/* A call with the token of `generation` was refused: it is no longer used.  False when it is another's turn already. */
extern bool jdy_session_refuse_token(SessionRef *ref, uint64 generation);

/* A call started at `started_us` shows that the authorisation is out of date.  False when there is a newer one. */
extern bool jdy_session_refuse_authorisation(SessionRef *ref, int64 started_us);

/* Server time minus ours, in microseconds. */
extern void jdy_session_set_clock(SessionRef *ref, int64 offset_us);

#endif							/* JDY_SESSION_H */
