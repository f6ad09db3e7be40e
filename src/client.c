/*-------------------------------------------------------------------------
 * client.c
 *		Calls to an endpoint: signed, budgeted, judged, tried again.
 *
 * A call waits in one of three places: ready (in order of submission, for each
 * lane), delayed (a heap by the time of its next attempt), or under way in the
 * pool.  jdy_client_next moves calls between them until one is finished.
 *
 * Signing in is a call like any other: authorisation and token call go through
 * the same pool, budget, log and verdicts, but at most one at a time and before
 * all others, which stay where they are meanwhile.  Whether this process or
 * another asks is decided by the session's lease.
 *
 * What a reply means is verdict.c's to say, and who may call when is budget.c's;
 * here is only what follows from it.  Called by pull.c and check.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "call.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "spi.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define LANES 2
#define MAX_BACKOFF_US INT64CONST(60000000)
#define MAX_SPARE_CALLS 64		/* calls kept for reuse */
#define MAX_BORROWED 3			/* times a call goes on with a token that another asked for */
#define LOOK_AGAIN_US 10000000	/* at least this often, while anybody signs in */
#define CLOCK_GRAIN_US 2000000	/* Date has whole seconds, and takes a while to come */
#define TOKEN_WINDOW_US INT64CONST(60000000)	/* of the token endpoint */
#define TOKEN_LIFE_US (INT64CONST(24) * 3600 * 1000000)	/* when the service does not say */

struct Client
{
	MemoryContext context;
	const Endpoint *endpoint;
	int			concurrency;
	bool		in_worker;
	AttemptLogger logger;
	void	   *logger_arg;
	int64		backoff_base_us;

	HttpPool   *pool;
	Budget	   *budget;
	bool		joined;			/* the budget is the account's */
	SessionRef *session;		/* NULL: this kind of endpoint needs no signing in */

	dlist_head	ready[LANES];
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

	int64		calls;
	int64		retries;
	TimestampTz last_date;		/* 0 = none seen */
	int64		last_date_us;	/* when it came */
	MemoryContextCallback at_end;
};

static void give_back(void *arg);
static MemoryContext begin_tx(Client *client);
static void end_tx(Client *client, MemoryContext old);
static PrivateCall *new_call(Client *client);
static void recycle(Client *client, PrivateCall *call);
static int	compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static void pump(Client *client);
static void wake_delayed(Client *client);
static PrivateCall *take_ready(Client *client);
static bool can_sign_requests(Client *client);
static bool cannot_authorise(Client *client);
static void begin_sign_in(Client *client, SignInStep step);
static void start_sign_in(Client *client);
static void join_account(Client *client);
static void start(Client *client, PrivateCall *call);
static void note_wait(Client *client, ClientWait what, int64 until);
static long wait_ms(Client *client, int64 deadline);
static void settle(Client *client, HttpReply *reply);
static void note_answered(Client *client, PrivateCall *call);
static void read_reply(Client *client, PrivateCall *call, ReplyFacts *facts);
static bool looks_like_json(const HttpReply *reply);
static bool says_no_route(const HttpReply *reply);
static void learn_clock(Client *client, PrivateCall *call);
static TimestampTz service_time(Client *client);
static void log_attempt(Client *client, PrivateCall *call);
static void act(Client *client, PrivateCall *call);
static void renew_token(Client *client, PrivateCall *call);
static void renew_authorisation(Client *client, PrivateCall *call);
static void wait_for_limit(Client *client, PrivateCall *call);
static void back_off(Client *client, PrivateCall *call);
static void try_again(Client *client, PrivateCall *call, int64 not_before);
static void used_up(Client *client, PrivateCall *call);
static void finish(Client *client, PrivateCall *call, CallOutcome outcome);
static void end_sign_in(Client *client, PrivateCall *call, CallOutcome outcome);
static bool keep_authorisation(Client *client, PrivateCall *call);
static bool keep_token(Client *client, PrivateCall *call);
static void fail_waiting(Client *client, const PrivateCall *cause);
static void fail_like(Client *client, PrivateCall *call, const PrivateCall *cause);
static bool may_repeat(const PrivateCall *call);

Client *
jdy_client_open(const Endpoint *endpoint, int concurrency, bool in_worker,
				MemoryContext context, AttemptLogger logger, void *logger_arg)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	MemoryContext caller;
	Client	   *client = palloc0(sizeof(Client));
	int			i;

	if (!jdy_enabled || RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no calls can be made from this server"),
				 jdy_enabled ? errdetail("It is a standby.") : errdetail("jdysync.enabled is off."),
				 errhint("Ask the primary, or switch jdysync.enabled on.")));
	jdy_endpoint_require_complete(endpoint);
	if (endpoint->auth == AUTH_QEASY || endpoint->auth == AUTH_WEBHOOK)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this kind of server is not supported by this version"),
				 errdetail("Server \"%s\" has auth \"%s\".", endpoint->server_name, jdy_auth_name(endpoint->auth)),
				 errhint("This version calls servers with auth kingdee, bearer, basic and none.")));

	client->context = context;
	client->endpoint = endpoint;
	client->concurrency = concurrency;
	client->in_worker = in_worker;
	client->logger = logger;
	client->logger_arg = logger_arg;
	client->backoff_base_us = Min(1000000, (int64) endpoint->rate_window_ms * 1000 / 60);
	for (i = 0; i < LANES; i++)
		dlist_init(&client->ready[i]);
	dlist_init(&client->finished);
	dlist_init(&client->spare);
	client->delayed = pairingheap_allocate(compare_delayed, NULL);
	client->tickets = palloc0(concurrency * sizeof(uint64));
	client->pool = jdy_http_open(endpoint, concurrency, context);
	if (endpoint->auth == AUTH_KINGDEE)
		client->session = jdy_session_open(endpoint);

	caller = begin_tx(client);
	MemoryContextSwitchTo(context);
	client->budget = jdy_budget_open(endpoint);
	end_tx(client, caller);
	join_account(client);

	client->at_end.func = give_back;
	client->at_end.arg = client;
	MemoryContextRegisterResetCallback(context, &client->at_end);
	MemoryContextSwitchTo(old);
	return client;
}

Call *
jdy_call_create(Client *client, CallKind kind, Lane lane, const char *method, const char *path)
{
	PrivateCall *call = new_call(client);
	MemoryContext old = MemoryContextSwitchTo(call->home);

	call->call.kind = kind;
	call->call.lane = lane;
	call->call.method = pstrdup(method);
	call->call.path = pstrdup(path);
	MemoryContextSwitchTo(old);
	return &call->call;
}

void
jdy_call_param(Call *call, const char *name, const char *value)
{
	MemoryContext old = MemoryContextSwitchTo(((PrivateCall *) call)->home);
	CallParam  *param = palloc(sizeof(CallParam));

	param->name = pstrdup(name);
	param->value = pstrdup(value);
	call->params = lappend(call->params, param);
	MemoryContextSwitchTo(old);
}

void
jdy_client_submit(Client *client, Call *public)
{
	PrivateCall *call = (PrivateCall *) public;

	call->sequence = ++client->submitted;
	dlist_push_tail(&client->ready[public->lane], &call->node);
	client->pending++;
}

int
jdy_client_pending(Client *client)
{
	return client->pending;
}

Call *
jdy_client_next(Client *client, long timeout_ms)
{
	int64		deadline = timeout_ms < 0 ? PG_INT64_MAX : jdy_monotonic_us() + timeout_ms * INT64CONST(1000);
	Call	   *done = NULL;

	while (client->pending > 0)
	{
		HttpReply  *reply;
		int64		until;

		if (!jdy_enabled)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("jdysync was switched off"),
					 errhint("Set jdysync.enabled to on and reload the server's configuration.")));
		if (dlist_is_empty(&client->finished))
			pump(client);
		if (!dlist_is_empty(&client->finished))
		{
			done = &dlist_container(PrivateCall, node, dlist_pop_head_node(&client->finished))->call;
			client->pending--;
			break;
		}

		until = Min(deadline, client->waits_until);
		reply = jdy_http_receive(client->pool, wait_ms(client, until));
		if (reply != NULL)
			settle(client, reply);
		else if (jdy_monotonic_us() < until || until == deadline)
			break;				/* the latch was set, or the time is over */
	}
	if (client->session != NULL)
		jdy_session_cancel_wait();
	return done;
}

ClientWait
jdy_client_waits_for(Client *client, int64 *until_us)
{
	*until_us = client->waits_until == PG_INT64_MAX ? 0 : Max(0, client->waits_until - jdy_monotonic_us());
	return client->waits_for;
}

void
jdy_client_release(Client *client, Call *public)
{
	recycle(client, (PrivateCall *) public);
}

Call *
jdy_client_run(Client *client, Call *call)
{
	Call	   *done;

	jdy_client_submit(client, call);
	while ((done = jdy_client_next(client, -1)) == NULL)
		CHECK_FOR_INTERRUPTS();
	return done;
}

int64
jdy_client_calls(Client *client)
{
	return client->calls;
}

int64
jdy_client_retries(Client *client)
{
	return client->retries;
}

TimestampTz
jdy_client_server_time(Client *client, bool *known)
{
	*known = client->last_date != 0;
	if (!*known)
		return GetCurrentTimestamp();
	return client->last_date + (jdy_monotonic_us() - client->last_date_us);
}

int
jdy_client_calls_left(Client *client)
{
	return jdy_budget_left(client->budget);
}

const Session *
jdy_client_session(Client *client)
{
	return client->session ? jdy_session_get(client->session) : NULL;
}

void
jdy_client_persist(Client *client)
{
	jdy_budget_persist(client->budget, true);
}

void
jdy_client_close(Client *client)
{
	give_back(client);
	if (client->session != NULL)
		jdy_session_unlease(client->session);
	jdy_http_close(client->pool);
}

/* Whatever was under way is stopped: the service cannot get it later than now. */
static void
give_back(void *arg)
{
	Client	   *client = arg;

	while (client->ntickets > 0)
		jdy_budget_answered(client->budget, client->tickets[--client->ntickets]);
}

/* A short transaction of a worker, or SPI in the transaction of a backend. */
static MemoryContext
begin_tx(Client *client)
{
	MemoryContext old = CurrentMemoryContext;

	if (client->in_worker)
		jdy_tx_begin("jdysync: call budget");
	else if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	return old;
}

static void
end_tx(Client *client, MemoryContext old)
{
	if (client->in_worker)
		jdy_tx_commit();
	else
		SPI_finish();
	MemoryContextSwitchTo(old);
}

/* A call with two contexts: what the caller sets, and what an attempt leaves. */
static PrivateCall *
new_call(Client *client)
{
	PrivateCall *call;
	MemoryContext home;
	MemoryContext attempt;

	if (!dlist_is_empty(&client->spare))
	{
		call = dlist_container(PrivateCall, node, dlist_pop_head_node(&client->spare));
		client->nspare--;
		home = call->home;
		attempt = call->call.context;
	}
	else
	{
		call = MemoryContextAlloc(client->context, sizeof(PrivateCall));
		home = AllocSetContextCreate(client->context, "jdysync call", ALLOCSET_SMALL_SIZES);
		attempt = AllocSetContextCreate(client->context, "jdysync attempt", ALLOCSET_DEFAULT_SIZES);
	}
	memset(call, 0, sizeof(*call));
	call->home = home;
	call->call.context = attempt;
	call->endpoint = client->endpoint;
	return call;
}

static void
recycle(Client *client, PrivateCall *call)
{
	if (call->call.reply != NULL)
		jdy_http_release(client->pool, call->call.reply);
	if (client->nspare == MAX_SPARE_CALLS)
	{
		MemoryContextDelete(call->home);
		MemoryContextDelete(call->call.context);
		pfree(call);
		return;
	}
	MemoryContextReset(call->home);
	MemoryContextReset(call->call.context);
	dlist_push_head(&client->spare, &call->node);
	client->nspare++;
}

/* The heap's root is the greatest: so the earliest must be. */
static int
compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		at_a = pairingheap_const_container(PrivateCall, heap_node, a)->call.not_before_us;
	int64		at_b = pairingheap_const_container(PrivateCall, heap_node, b)->call.not_before_us;

	return at_a < at_b ? 1 : at_a > at_b ? -1 : 0;
}

/* Starts whatever may start now, and notes what is waited for. */
static void
pump(Client *client)
{
	client->waits_for = CLIENT_WAITS_FOR_REPLY;
	client->waits_until = PG_INT64_MAX;
	wake_delayed(client);
	while (client->under_way < client->concurrency)
	{
		PrivateCall *call;

		if (client->sign_in != NULL)
		{
			start_sign_in(client);
			break;
		}
		if (dlist_is_empty(&client->ready[0]) && dlist_is_empty(&client->ready[1]))
			break;
		if (client->session != NULL && !can_sign_requests(client))
		{
			/* Either a sign-in call waits to be started now, or another process makes it. */
			if (client->sign_in != NULL)
				continue;
			break;
		}
		call = take_ready(client);
		if (call == NULL)
			break;
		start(client, call);
	}
}

static void
wake_delayed(Client *client)
{
	while (!pairingheap_is_empty(client->delayed))
	{
		PrivateCall *call = pairingheap_container(PrivateCall, heap_node, pairingheap_first(client->delayed));

		if (call->call.not_before_us > jdy_monotonic_us())
		{
			note_wait(client, CLIENT_WAITS_FOR_BACKOFF, call->call.not_before_us);
			break;
		}
		pairingheap_remove_first(client->delayed);
		dlist_push_head(&client->ready[call->call.lane], &call->node);
	}
}

/*
 * The next call that the budget lets go: in order of submission, but one lane
 * does not wait for the other's share.
 */
static PrivateCall *
take_ready(Client *client)
{
	PrivateCall *heads[LANES];
	int			first;
	int			i;

	for (i = 0; i < LANES; i++)
		heads[i] = dlist_is_empty(&client->ready[i]) ? NULL :
			dlist_head_element(PrivateCall, node, &client->ready[i]);
	first = heads[0] == NULL || (heads[1] != NULL && heads[1]->sequence < heads[0]->sequence) ? 1 : 0;

	for (i = 0; i < LANES; i++)
	{
		PrivateCall *call = heads[i == 0 ? first : 1 - first];
		int64		wait;

		if (call == NULL)
			continue;
		wait = jdy_budget_take(client->budget, call->call.lane);
		if (wait == 0)
		{
			dlist_delete(&call->node);
			return call;
		}
		note_wait(client, CLIENT_WAITS_FOR_BUDGET, jdy_monotonic_us() + wait);
	}
	return NULL;
}

/*
 * True when there is a session to sign with.  Else a sign-in call has been made
 * ready, or another process is at it, or all waiting calls have failed.
 */
static bool
can_sign_requests(Client *client)
{
	SessionNeed need = jdy_session_need(client->session, service_time(client));
	int64		wait;

	if (need == SESSION_READY)
	{
		join_account(client);
		return true;
	}
	if (need == SESSION_RENEW && jdy_monotonic_us() < client->renew_not_before)
		return true;

	if (!jdy_session_lease(client->session))
	{
		if (need == SESSION_RENEW)
			return true;

		/* The change that we wait for may have come before we began to wait. */
		jdy_session_prepare_to_wait();
		note_wait(client, CLIENT_WAITS_FOR_TOKEN, jdy_monotonic_us() + LOOK_AGAIN_US);
		if (!jdy_session_lease(client->session))
			return false;
	}

	/* Ours to do, unless another did it just before. */
	need = jdy_session_need(client->session, service_time(client));
	switch (need)
	{
		case SESSION_READY:
			jdy_session_unlease(client->session);
			join_account(client);
			return true;
		case SESSION_RENEW:
			join_account(client);
			wait = jdy_budget_take_token(client->budget);
			if (wait > 0)
			{
				client->renew_not_before = jdy_monotonic_us() + wait;
				jdy_session_unlease(client->session);
				return true;
			}
			begin_sign_in(client, SIGN_IN_TOKEN);
			client->sign_in->permitted = client->sign_in->ahead_of_time = true;
			break;
		case SESSION_TOKEN:
			join_account(client);
			begin_sign_in(client, SIGN_IN_TOKEN);
			break;
		case SESSION_AUTHORISATION:
			if (!cannot_authorise(client))
				begin_sign_in(client, SIGN_IN_AUTHORISE);
			break;
	}
	return false;
}

/* A mapping that holds an authorisation which is out of date, and no means to get another. */
static bool
cannot_authorise(Client *client)
{
	PrivateCall cause;

	if (client->endpoint->outer_instance_id != NULL)
		return false;
	memset(&cause, 0, sizeof(cause));
	cause.step = SIGN_IN_AUTHORISE;
	cause.call.verdict = VERDICT_STOP;
	cause.call.reason = "the authorisation is out of date";
	cause.hint = "app_secret and domain of a user mapping die within a day; set outer_instance_id instead.";
	fail_waiting(client, &cause);
	jdy_session_unlease(client->session);
	return true;
}

static void
begin_sign_in(Client *client, SignInStep step)
{
	client->sign_in = new_call(client);
	client->sign_in_waits = true;
	jdy_sign_in_prepare(client->sign_in, step, jdy_session_get(client->session));
}

static void
start_sign_in(Client *client)
{
	PrivateCall *call = client->sign_in;
	int64		now = jdy_monotonic_us();
	int64		wait;

	/* Says also that we are still at it. */
	(void) jdy_session_lease(client->session);
	note_wait(client, CLIENT_WAITS_FOR_TOKEN, now + LOOK_AGAIN_US);
	if (!client->sign_in_waits)
		return;

	wait = call->call.not_before_us - now;
	if (wait <= 0 && !call->permitted)
		wait = call->step == SIGN_IN_TOKEN ? jdy_budget_take_token(client->budget) :
			jdy_budget_take(client->budget, LANE_TAIL);
	if (wait > 0)
	{
		note_wait(client, CLIENT_WAITS_FOR_TOKEN, now + wait);
		return;
	}
	call->permitted = false;
	client->sign_in_waits = false;
	start(client, call);
}

/* From the authorisation on the budget is the account's. */
static void
join_account(Client *client)
{
	const Session *session;
	const char *account_id;
	MemoryContext old;

	if (client->joined || client->session == NULL)
		return;

	/* A mapping may say any account; only the service's word lets it use up, or slow down, that one's budget. */
	session = jdy_session_get(client->session);
	account_id = session->account_id;
	if (account_id[0] == '\0' || session->authorised_at == PG_INT64_MIN)
		return;
	old = begin_tx(client);
	jdy_budget_join(client->budget, account_id);
	end_tx(client, old);
	client->joined = true;
}

/* The budget has granted the call. */
static void
start(Client *client, PrivateCall *call)
{
	const Session *session = client->session ? jdy_session_get(client->session) : NULL;
	uint64		ticket = jdy_budget_ticket(client->budget);
	HttpRequest request;
	MemoryContext old;

	if (ticket != 0)
		client->tickets[client->ntickets++] = ticket;
	call->ticket = ticket;
	if (jdy_budget_must_persist(client->budget))
	{
		old = begin_tx(client);
		jdy_budget_persist(client->budget, false);
		end_tx(client, old);
	}

	if (call->call.reply != NULL)
		jdy_http_release(client->pool, call->call.reply);
	call->call.reply = NULL;
	call->call.service_text = NULL;
	MemoryContextReset(call->call.context);
	old = MemoryContextSwitchTo(call->call.context);
	call->call.token_generation = session ? session->generation : 0;
	call->started_us = jdy_monotonic_us();
	call->started_at = GetCurrentTimestamp();
	jdy_request_build(call, session, session ? call->started_at + session->clock_offset_us : 0, &request);
	jdy_http_start(client->pool, &request);
	MemoryContextSwitchTo(old);

	client->under_way++;
	client->calls++;
	if (++call->call.attempt > 1)
		client->retries++;
}

/* The earliest of what is waited for counts. */
static void
note_wait(Client *client, ClientWait what, int64 until)
{
	if (until < client->waits_until)
	{
		client->waits_for = what;
		client->waits_until = until;
	}
}

/* Rounded up: to wake before the time would be to ask in vain. */
static long
wait_ms(Client *client, int64 until)
{
	int64		wait;

	if (until == PG_INT64_MAX)
		return -1;
	wait = (until - jdy_monotonic_us() + 999) / 1000;
	return (long) Min(Max(wait, 0), INT_MAX / 2);
}

/* A transfer is over: what does its reply mean, and what follows? */
static void
settle(Client *client, HttpReply *reply)
{
	PrivateCall *call = reply->owner;
	Call	   *public = &call->call;
	MemoryContext old = MemoryContextSwitchTo(public->context);
	ReplyFacts	facts = {0};

	public->reply = reply;
	note_answered(client, call);
	read_reply(client, call, &facts);
	public->errcode = facts.errcode;
	public->verdict = jdy_judge(public->kind, &facts, &public->reason);
	if (public->verdict != VERDICT_USE && public->service_text != NULL)
		public->service_text = jdy_mask_secrets(client->endpoint,
												client->session ? jdy_session_get(client->session) : NULL,
												public->service_text);
	if (client->logger != NULL)
		log_attempt(client, call);
	act(client, call);
	MemoryContextSwitchTo(old);
}

static void
note_answered(Client *client, PrivateCall *call)
{
	HttpReply  *reply = call->call.reply;
	int			i;

	client->under_way--;
	jdy_budget_answered(client->budget, call->ticket);
	for (i = 0; i < client->ntickets; i++)
	{
		if (client->tickets[i] == call->ticket)
		{
			client->tickets[i] = client->tickets[--client->ntickets];
			break;
		}
	}

	call->http_status = reply->status;
	call->failure = reply->failure;
	call->transport_text = reply->error;
	call->call.asked_at = call->call.answered_at = 0;
	if (reply->date != 0)
	{
		call->call.answered_at = reply->date;
		call->call.asked_at = reply->date - reply->elapsed_us;
		client->last_date = reply->date;
		client->last_date_us = jdy_monotonic_us();
		if (client->session != NULL)
			learn_clock(client, call);
	}
}

/* Asks the caller's parse() when there is something to parse. */
static void
read_reply(Client *client, PrivateCall *call, ReplyFacts *facts)
{
	HttpReply  *reply = call->call.reply;

	facts->failure = reply->failure;
	facts->http_status = reply->status;
	facts->router_sent = call->router_sent;
	if (reply->failure != HTTP_COMPLETE)
		return;

	if ((reply->status >= 200 && reply->status < 300) || reply->status == 519 || looks_like_json(reply))
	{
		if (call->call.parse != NULL)
			call->call.parse(&call->call, facts);
		else
			jdy_parse_any(&call->call, facts);
	}
	if (!facts->well_formed || facts->errcode != 0)
		facts->no_route = facts->no_route || says_no_route(reply);
}

static bool
looks_like_json(const HttpReply *reply)
{
	const char *start = reply->body + strspn(reply->body, " \t\r\n");

	return *start == '{' || *start == '[';
}

/* "404 No Route", as text, in HTML or in an envelope. */
static bool
says_no_route(const HttpReply *reply)
{
	static const char words[] = "no route";
	size_t		i;

	for (i = 0; i + sizeof(words) - 1 <= Min(reply->body_length, 1000); i++)
	{
		if (pg_strncasecmp(reply->body + i, words, sizeof(words) - 1) == 0)
			return true;
	}
	return false;
}

/*
 * Date is cut to seconds, so it says half a second less than it is on average;
 * differences within its grain are no reason to doubt our clock.
 */
static void
learn_clock(Client *client, PrivateCall *call)
{
	const HttpReply *reply = call->call.reply;
	const Session *session = jdy_session_get(client->session);
	int64		offset = reply->date + USECS_PER_SEC / 2 - (call->started_at + reply->elapsed_us);

	if (offset > -CLOCK_GRAIN_US && offset < CLOCK_GRAIN_US)
		offset = 0;
	if (!session->clock_known || llabs(offset - session->clock_offset_us) > CLOCK_GRAIN_US)
		jdy_session_set_clock(client->session, offset);
}

/* By our clock and what is known of the service's. */
static TimestampTz
service_time(Client *client)
{
	return GetCurrentTimestamp() + jdy_session_get(client->session)->clock_offset_us;
}

static void
log_attempt(Client *client, PrivateCall *call)
{
	HttpReply  *reply = call->call.reply;
	Attempt		attempt;

	attempt.at = call->started_at;
	attempt.method = call->call.method;
	attempt.url = jdy_request_masked_url(call);
	attempt.attempt = call->call.attempt;
	attempt.http_status = reply->status;
	attempt.errcode = call->call.errcode;
	attempt.elapsed_ms = (int) (reply->elapsed_us / 1000);
	attempt.bytes = reply->wire_bytes;
	attempt.error = call->call.verdict == VERDICT_USE ? NULL : jdy_call_problem(&call->call);
	client->logger(client->logger_arg, &attempt);
}

static void
act(Client *client, PrivateCall *call)
{
	if (call->call.verdict != VERDICT_WAIT)
		call->refusals = 0;
	switch (call->call.verdict)
	{
		case VERDICT_USE:
			finish(client, call, OUTCOME_OK);
			break;
		case VERDICT_FIX_CLOCK:
			/* The offset was learned from this reply's Date already. */
			if (may_repeat(call) && call->call.answered_at != 0 && call->call.clock_fixes++ == 0)
				try_again(client, call, 0);
			else
				finish(client, call, OUTCOME_FAILED);
			break;
		case VERDICT_NEW_TOKEN:
			renew_token(client, call);
			break;
		case VERDICT_NEW_AUTHORISATION:
			renew_authorisation(client, call);
			break;
		case VERDICT_WAIT:
			wait_for_limit(client, call);
			break;
		case VERDICT_RETRY:
			back_off(client, call);
			break;
		case VERDICT_GONE:
			finish(client, call, OUTCOME_GONE);
			break;
		case VERDICT_SET_ASIDE:
			finish(client, call, OUTCOME_SET_ASIDE);
			break;
		case VERDICT_REFUSED:
			finish(client, call, OUTCOME_REFUSED);
			break;
		case VERDICT_STOP:
			finish(client, call, OUTCOME_FAILED);
			break;
	}
}

/* Once for a call; a token that another asked for meanwhile is simply used. */
static void
renew_token(Client *client, PrivateCall *call)
{
	if (client->session == NULL || !may_repeat(call) || call->call.token_renewals > 0)
	{
		finish(client, call, OUTCOME_FAILED);
		return;
	}
	if (jdy_session_refuse_token(client->session, call->call.token_generation))
		call->call.token_renewals++;
	else if (++call->borrowed > MAX_BORROWED)
	{
		finish(client, call, OUTCOME_FAILED);
		return;
	}
	try_again(client, call, 0);
}

/* Once for a call; a 502 that stays afterwards is the gateway's own trouble. */
static void
renew_authorisation(Client *client, PrivateCall *call)
{
	bool		used = call->step == SIGN_IN_TOKEN ? client->authorised : call->call.authorisations > 0;

	if (client->session != NULL && client->endpoint->outer_instance_id != NULL && may_repeat(call) &&
		call->step != SIGN_IN_AUTHORISE && !used)
	{
		call->call.authorisations++;
		(void) jdy_session_refuse_authorisation(client->session, call->started_us);
		if (call == client->sign_in)
		{
			client->sign_in = NULL;
			recycle(client, call);
		}
		else
			try_again(client, call, 0);
	}
	else if (call->http_status == 502)
		back_off(client, call);
	else
	{
		if (client->endpoint->outer_instance_id == NULL)
			call->hint = "app_secret and domain of a user mapping die within a day; set outer_instance_id instead.";
		finish(client, call, OUTCOME_FAILED);
	}
}

/* Waiting is no failure, but it must end: after max_attempts refusals in a row. */
static void
wait_for_limit(Client *client, PrivateCall *call)
{
	int64		retry_after_ms = call->call.reply->retry_after_ms;
	int64		not_before = 0;

	if (call->step == SIGN_IN_TOKEN)
		not_before = jdy_monotonic_us() + (retry_after_ms >= 0 ? retry_after_ms * 1000 : TOKEN_WINDOW_US);
	else
		jdy_budget_refused(client->budget, retry_after_ms);
	if (!may_repeat(call) || ++call->refusals >= client->endpoint->max_attempts)
		used_up(client, call);
	else
		try_again(client, call, not_before);
}

/* Exponential with full jitter: callers that failed together do not come back together. */
static void
back_off(Client *client, PrivateCall *call)
{
	int64		limit = MAX_BACKOFF_US;
	int64		delay;

	if (call->call.reply->sent)
		call->maybe_acted = true;
	call->failures++;
	if (!may_repeat(call) || call->failures >= client->endpoint->max_attempts)
	{
		used_up(client, call);
		return;
	}
	if (call->failures < 20)
		limit = Min(limit, client->backoff_base_us << (call->failures - 1));
	delay = (int64) (limit * pg_prng_double(&pg_global_prng_state));
	delay = Max(delay, Min(call->call.reply->retry_after_ms * 1000, MAX_BACKOFF_US));
	try_again(client, call, jdy_monotonic_us() + delay);
}

static void
try_again(Client *client, PrivateCall *call, int64 not_before)
{
	call->call.not_before_us = not_before;
	if (call == client->sign_in)
	{
		if (call->ahead_of_time && not_before > 0)
			end_sign_in(client, call, OUTCOME_FAILED);
		else
			client->sign_in_waits = true;
	}
	else if (not_before > 0)
		pairingheap_add(client->delayed, &call->heap_node);
	else
		dlist_push_head(&client->ready[call->call.lane], &call->node);
}

static void
used_up(Client *client, PrivateCall *call)
{
	switch (call->call.kind)
	{
		case CALL_DETAIL:
			finish(client, call, OUTCOME_SET_ASIDE);
			break;
		case CALL_PUSH:
			finish(client, call, call->maybe_acted ? OUTCOME_IN_DOUBT : OUTCOME_FAILED);
			break;
		case CALL_TOKEN:
		case CALL_LIST:
		case CALL_OTHER:
			finish(client, call, OUTCOME_FAILED);
			break;
	}
}

static void
finish(Client *client, PrivateCall *call, CallOutcome outcome)
{
	if (call == client->sign_in)
	{
		end_sign_in(client, call, outcome);
		return;
	}
	call->call.outcome = outcome;
	dlist_push_tail(&client->finished, &call->node);
}

/* After an authorisation the lease stays ours: the token call follows. */
static void
end_sign_in(Client *client, PrivateCall *call, CallOutcome outcome)
{
	bool		kept = false;

	client->sign_in = NULL;
	if (outcome == OUTCOME_OK)
		kept = call->step == SIGN_IN_AUTHORISE ? keep_authorisation(client, call) : keep_token(client, call);
	if (!kept)
	{
		if (call->ahead_of_time)
			client->renew_not_before = jdy_monotonic_us() + TOKEN_WINDOW_US;
		else
			fail_waiting(client, call);
	}
	client->authorised = kept && call->step == SIGN_IN_AUTHORISE;
	if (!client->authorised)
		jdy_session_unlease(client->session);
	recycle(client, call);
}

static bool
keep_authorisation(Client *client, PrivateCall *call)
{
	const Authorisation *authorisation = jdy_sign_in_choose(call);

	if (authorisation == NULL)
		return false;
	if (!jdy_session_authorised(client->session, authorisation))
	{
		call->call.reason = "the authorisation is longer than any known";
		return false;
	}
	join_account(client);
	return true;
}

static bool
keep_token(Client *client, PrivateCall *call)
{
	TimestampTz now = service_time(client);
	TimestampTz expires = call->token_expires > now ? call->token_expires : now + TOKEN_LIFE_US;

	if (!jdy_session_token(client->session, call->token, now, expires))
	{
		call->call.reason = "the token is longer than any known";
		return false;
	}
	return true;
}

/* Without a session no waiting call can be made; those under way go on. */
static void
fail_waiting(Client *client, const PrivateCall *cause)
{
	int			i;

	for (i = 0; i < LANES; i++)
	{
		while (!dlist_is_empty(&client->ready[i]))
			fail_like(client, dlist_container(PrivateCall, node, dlist_pop_head_node(&client->ready[i])), cause);
	}
	while (!pairingheap_is_empty(client->delayed))
		fail_like(client, pairingheap_container(PrivateCall, heap_node, pairingheap_remove_first(client->delayed)), cause);
}

static void
fail_like(Client *client, PrivateCall *call, const PrivateCall *cause)
{
	MemoryContext context = call->call.context;

	call->call.verdict = cause->call.verdict;
	call->call.reason = cause->call.reason;
	call->call.errcode = cause->call.errcode;
	call->call.service_text = cause->call.service_text ?
		MemoryContextStrdup(context, cause->call.service_text) : NULL;
	call->transport_text = cause->transport_text ? MemoryContextStrdup(context, cause->transport_text) : NULL;
	call->http_status = cause->http_status;
	call->failure = cause->failure;
	call->hint = cause->hint;
	call->step = cause->step;
	finish(client, call, OUTCOME_FAILED);
}

/* A look around may change something: only reading is tried again. */
static bool
may_repeat(const PrivateCall *call)
{
	return call->call.kind != CALL_OTHER || strcmp(call->call.method, "GET") == 0;
}
