/*-------------------------------------------------------------------------
 * call.h
 *		What the client's own parts know of a call, and nobody else.
 *
 *	client.c	calls in their queues: submitted, started, handed back
 *	settle.c	a reply came: what it means, and what follows
 *	signin.c	signing in: when, by whom, and what the replies say
 *	request.c	a call as a request: url, headers, signature
 *	problem.c	a failed call in words
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CALL_H
#define JDY_CALL_H

#include "postgres.h"

#include "client.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "session.h"

typedef enum SignInStep
{
	NOT_SIGN_IN,
	SIGN_IN_AUTHORISE,
	SIGN_IN_TOKEN
} SignInStep;

typedef struct PrivateCall
{
	Call		call;			/* first, so that one is the other */
	const Endpoint *endpoint;
	MemoryContext home;			/* what the caller set: lives as long as the call */
	dlist_node	node;			/* ready, finished or spare */
	pairingheap_node heap_node; /* delayed */
	uint64		sequence;		/* order of submission */
	uint64		ticket;			/* of the budget, while under way */

	/* Attempts so far. */
	int			failures;		/* that count toward max_attempts */
	int			refusals;		/* 429s in a row */
	int			borrowed;		/* times it went on with a token that another call or process asked for */

	/* The last attempt. */
	int64		started_us;		/* monotonic */
	TimestampTz started_at;
	bool		router_sent;
	int			http_status;
	HttpFailure failure;
	const char *transport_text; /* libcurl's; may be NULL */
	const char *hint;			/* what to do; NULL = the usual */

	/* Signing in. */
	SignInStep	step;
	bool		permitted;		/* the budget has been asked already */
	bool		ahead_of_time;	/* a renewal: nothing is lost when it fails */
	List	   *authorisations; /* of OfferedAuthorisation *, in call.context */
	const char *token;
	TimestampTz token_expires;	/* server time, 0 = not said */
	int64		token_life_us;	/* from the reply on, 0 = not said */
} PrivateCall;

#define JDY_SMALL_REPLY 4096	/* bytes; a body that is shorter is copied, so that its transfer is free at once */

struct Client
{
	MemoryContext context;
	const Endpoint *endpoint;
	int			concurrency;
	bool		in_worker;
	AttemptLogger logger;
	void	   *logger_arg;
	int64		backoff_base_us;

	MemoryContext scratch;		/* of what is built and copied at once */
	HttpPool   *pool;
	Budget	   *budget;
	bool		joined;			/* the budget is the account's */
	SessionRef *session;		/* NULL: this kind of endpoint needs no signing in */

	dlist_head	ready[JDY_LANES];
	pairingheap *delayed;
	dlist_head	finished;
	dlist_head	spare;
	int			nspare;
	int			pending;
	int			under_way;
	uint64		submitted;
	uint64	   *tickets;		/* of the calls under way, in no order */
	int			ntickets;

	PrivateCall *sign_in;		/* authorisation or token call; NULL = none */
	bool		sign_in_waits;	/* it is not under way */
	bool		authorised;		/* since the last token */
	int64		renew_not_before;	/* a renewal ahead of time is not tried before */

	ClientWait	waits_for;
	int64		waits_until;	/* PG_INT64_MAX: for no time */
	bool		refused;		/* the last reply was a 429 */

	int64		calls;
	int64		retries;
	TimestampTz last_date;		/* 0 = none seen */
	int64		last_date_us;	/* when it came */
	MemoryContextCallback at_end;
};

/* client.c: a call, from those kept for reuse if there is one; and back. */
extern PrivateCall *jdy_client_new_call(Client *client);
extern void jdy_client_recycle(Client *client, PrivateCall *call);

/* client.c: sends a call that the budget has granted. */
extern void jdy_client_start(Client *client, PrivateCall *call);

/* client.c: nothing need be looked at before `until` (monotonic); the earliest of what is waited for counts. */
extern void jdy_client_note_wait(Client *client, ClientWait what, int64 until);

/* client.c: as soon as the account is known, the budget is the account's. */
extern void jdy_client_join_account(Client *client);

/* settle.c: a transfer is over; its call is finished, waits for its next attempt, or failed. */
extern void jdy_client_settle(Client *client, HttpReply *reply);

/* settle.c: without a session no waiting call can be made: they fail as `cause` did. */
extern void jdy_client_fail_waiting(Client *client, const PrivateCall *cause);

/*
 * signin.c: true when there is a session to sign with.  Else a sign-in call has
 * been made ready, or another process is at it, or all waiting calls have failed.
 */
extern bool jdy_sign_in_ready(Client *client);

/* signin.c: starts the sign-in call, if it is not under way and the budget lets it. */
extern void jdy_sign_in_start(Client *client);

/* signin.c: the sign-in call is over. */
extern void jdy_sign_in_end(Client *client, PrivateCall *call, CallOutcome outcome);

/*
 * request.c: fills *request for the next attempt, in the current memory context.
 * session NULL: the endpoint has none.  server_time goes into the signature.
 */
extern void jdy_request_build(PrivateCall *call, const Session *session, TimestampTz server_time,
							  HttpRequest *request);

/* The call's url with every value masked that is neither a time nor paging; palloc'ed. */
extern char *jdy_request_masked_url(const PrivateCall *call);

/* client.c: the session as it is now; NULL when the endpoint has none. */
extern const Session *jdy_client_session(Client *client);

/* problem.c: replaces every secret of the endpoint and its session in `text`; text itself when there is none. */
extern const char *jdy_mask_secrets(const Endpoint *endpoint, const Session *session, const char *text);

/* The parse of calls that bring none: any JSON value, with errcode or code and the service's words. */
extern void jdy_parse_any(Call *call, ReplyFacts *facts);

#endif							/* JDY_CALL_H */
