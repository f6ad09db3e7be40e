/*-------------------------------------------------------------------------
 * client.h
 *		Calls to an endpoint: signed, budgeted, judged, tried again.
 *
 * Callers hand in Calls and get each back once, with an outcome.  Everything
 * between (tokens, clock offset, back-off, Retry-After, the attempt limit) is
 * the client's business.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CLIENT_H
#define JDY_CLIENT_H

#include "postgres.h"

#include "budget.h"
#include "compat.h"
#include "endpoint.h"
#include "http.h"
#include "nodes/pg_list.h"
#include "verdict.h"

typedef struct Client Client;

typedef struct CallParam
{
	char	   *name;
	char	   *value;
} CallParam;

typedef enum CallOutcome
{
	OUTCOME_NONE,				/* not finished */
	OUTCOME_OK,					/* parse() accepted the body */
	OUTCOME_GONE,				/* the record does not exist */
	OUTCOME_SET_ASIDE,			/* this record cannot be had; reason says why */
	OUTCOME_REFUSED,			/* push refused by the service */
	OUTCOME_IN_DOUBT,			/* push: attempts used up, the service may have acted */
	OUTCOME_FAILED				/* the run cannot go on */
} CallOutcome;

typedef struct Call Call;

struct Call
{
	/* Set by the caller. */
	CallKind	kind;
	Lane		lane;
	const char *method;
	const char *path;			/* appended to the base url, percent-encoded by the client (UTF-8) */
	List	   *params;			/* of CallParam *, unencoded; empty names are dropped, empty values kept */
	const char *body;			/* JSON text or NULL */
	const char *idempotency_key;	/* header Idempotency-Key, or NULL */
	const char *record;			/* id of the one record that it asks for, for the log; NULL = not one */
	bool		batch;			/* push: more than one record in the request */
	bool		once;			/* push: never repeated once the service may have acted: OUTCOME_IN_DOUBT then */
	int64		not_before_us;	/* monotonic: when it may start; 0 = at once */

	/*
	 * Looks at a complete reply (call->reply) and fills facts->errcode,
	 * well_formed, no_record, no_route and, if the service said something,
	 * call->service_text.  Must not raise an error for anything in the body.
	 * Runs with call->context current.  NULL: any JSON object or array is well
	 * formed and its errcode/code is read.
	 */
	void		(*parse) (Call *call, ReplyFacts *facts);
	const void *parse_arg;		/* the caller's, for parse */
	void	   *owner;			/* the caller's */

	/* Filled by the client. */
	MemoryContext context;		/* reset for each attempt, deleted by jdy_client_release */
	HttpReply  *reply;			/* of the last attempt; NULL when none came */
	CallOutcome outcome;
	Verdict		verdict;
	const char *reason;			/* constant */
	const char *service_text;	/* the service's own words, in context; may be NULL */
	int64		errcode;
	int			attempt;		/* 1 = first */
	TimestampTz asked_at;		/* server time at which the last attempt left: Date minus elapsed; 0 = unknown */
	TimestampTz answered_at;	/* server time of the reply (Date); 0 = unknown */
	int64		left_us;		/* monotonic: when the last attempt left */
	int64		failed_us;		/* monotonic: when the first attempt ended that failed on the way; 0 = none did */
	bool		maybe_acted;	/* an attempt without an answer had left whole: the service may have acted */

	/* Private to the client. */
	int			clock_fixes;
	int			token_renewals;
	int			authorisations;
	uint64		token_generation;
};

/* One attempt, for the log: everything in it may be shown to people. */
typedef struct Attempt
{
	TimestampTz at;
	const char *method;
	const char *url;			/* values other than times and paging masked */
	int			attempt;
	int			http_status;	/* 0 = no reply */
	int64		errcode;
	int			elapsed_ms;
	int64		bytes;
	const char *error;			/* NULL = fine */
	const char *record;			/* id of the record that was asked for; NULL = not one */
} Attempt;

typedef void (*AttemptLogger) (void *arg, const Attempt *attempt);

/* What the client is waiting for, told to the caller for its progress. */
typedef enum ClientWait
{
	CLIENT_WAITS_FOR_REPLY,
	CLIENT_WAITS_FOR_BUDGET,
	CLIENT_WAITS_AFTER_REFUSAL, /* for the budget, which a 429 to one of our own calls has stopped */
	CLIENT_WAITS_FOR_BACKOFF,
	CLIENT_WAITS_FOR_TOKEN
} ClientWait;

/*
 * Opens a client whose pool runs `concurrency` calls at once, in `context`
 * (reset or deletion of it closes everything).  logger may be NULL.  Must not be
 * in a transaction when called by a worker; inside it short transactions of
 * its own read and write the account's row when in_worker is true, else the
 * caller's transaction is used.
 */
extern Client *jdy_client_open(const Endpoint *endpoint, int concurrency, bool in_worker,
							   MemoryContext context, AttemptLogger logger, void *logger_arg);

/* A new call with a context of its own; fill it and submit it. */
extern Call *jdy_call_create(Client *client, CallKind kind, Lane lane, const char *method, const char *path);
extern void jdy_call_param(Call *call, const char *name, const char *value);

/* Queues a call.  Calls start in order of submission, but those with a back-off later. */
extern void jdy_client_submit(Client *client, Call *call);

/* How long to wait after so many failures (1 = the first). */
extern int64 jdy_client_backoff_us(const Client *client, int failures);

/* Calls submitted and not yet returned by jdy_client_next. */
extern int	jdy_client_pending(Client *client);

/*
 * The next finished call, or NULL after timeout_ms (-1: until one ends; NULL at
 * once when none is pending).  Serves interrupts.  A call with OUTCOME_FAILED is
 * returned like any other: jdy_call_raise turns it into an error.
 * NULL may come early too (latch set).
 */
extern Call *jdy_client_next(Client *client, long timeout_ms);

/* What it waits for right now, for progress; *until_us tells how long in the two cases of waiting for time. */
extern ClientWait jdy_client_waits_for(Client *client, int64 *until_us);

/* Raises the error of a failed call: SQLSTATE by cause, service text in DETAIL, advice in HINT. */
pg_noreturn extern void jdy_call_raise(const Call *call);

/* One line for a person about a call that did not succeed (reason, status, errcode, service text); palloc'ed. */
extern char *jdy_call_problem(const Call *call);

/* `text` with every secret of the endpoint and its session replaced; text itself when it holds none. */
extern const char *jdy_client_mask(Client *client, const char *text);

extern void jdy_client_release(Client *client, Call *call);

/* Submit, wait, return: for one call at a time. */
extern Call *jdy_client_run(Client *client, Call *call);

/* The url that a call of this path goes to, without parameters, secrets masked; palloc'ed. */
extern char *jdy_call_url(const Endpoint *endpoint, const char *path);

/* Counters for the run: attempts made, and those beyond each call's first. */
extern int64 jdy_client_calls(Client *client);
extern int64 jdy_client_retries(Client *client);

/* Server time now, by the last Date seen (own clock until one was). *known tells which. */
extern TimestampTz jdy_client_server_time(Client *client, bool *known);

/* Before the end of a run: writes the account's last call time (in the caller's transaction with SPI). */
extern void jdy_client_persist(Client *client);

/* When the account's licence ends, as the service said when it last signed us in; 0 = it did not. */
extern TimestampTz jdy_client_licence_ends(Client *client);

/* Calls left in the account's running window; -1 = no limit. */
extern int	jdy_client_calls_left(Client *client);

extern void jdy_client_close(Client *client);

#endif							/* JDY_CLIENT_H */
