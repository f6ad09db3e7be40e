/*-------------------------------------------------------------------------
 * call.h
 *		What the client's own parts know of a call, and nobody else.
 *
 *	client.c	queues, budget, retries
 *	request.c	a call as a request: url, headers, signature
 *	signin.c	the two calls of signing in, and what their replies say
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
	bool		maybe_acted;	/* an attempt without an answer had left whole: the service may have acted */

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
} PrivateCall;

/*
 * request.c: fills *request for the next attempt, in the current memory context.
 * session NULL: the endpoint has none.  server_time goes into the signature.
 */
extern void jdy_request_build(PrivateCall *call, const Session *session, TimestampTz server_time,
							  HttpRequest *request);

/* The call's url with every value masked that is neither a time nor paging; palloc'ed. */
extern char *jdy_request_masked_url(const PrivateCall *call);

/* signin.c: makes `call` the authorisation or token call. */
extern void jdy_sign_in_prepare(PrivateCall *call, SignInStep step, const Session *session);

/*
 * The authorisation to use among those that the reply offers; NULL with
 * call->reason, service_text and hint set when there is none or more than one.
 */
extern const Authorisation *jdy_sign_in_choose(PrivateCall *call);

/* client.c: the session as it is now; NULL when the endpoint has none. */
extern const Session *jdy_client_session(Client *client);

/* problem.c: replaces every secret of the endpoint and its session in `text`; text itself when there is none. */
extern const char *jdy_mask_secrets(const Endpoint *endpoint, const Session *session, const char *text);

/* The parse of calls that bring none: any JSON value, with errcode or code and the service's words. */
extern void jdy_parse_any(Call *call, ReplyFacts *facts);

#endif							/* JDY_CALL_H */
