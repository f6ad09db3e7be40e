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
 * What a reply means is verdict.c's to say, who may call when is budget.c's;
 * here is only what follows from it.  Called by pull.c and check.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "call.h"
#include "common/pg_prng.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define LANES 2
#define MAX_BACKOFF_US INT64CONST(60000000)
#define OTHERS_POLL_MS 1000		/* at least this often we look whether another's sign-in is over */
#define CLOCK_GRAIN_US 2000000	/* Date has whole seconds, and takes a while to come */
#define TOKEN_REFUSED_MS 60000	/* the token endpoint's own window */

struct Client
{
	MemoryContext context;
	const Endpoint *endpoint;
	int			concurrency;
	bool		in_worker;
	AttemptLogger logger;
	void	   *logger_arg;

	HttpPool   *pool;
	Budget	   *budget;
	bool		joined;			/* the budget is the account's */
	SessionRef *session;		/* NULL: this kind of endpoint needs no signing in */
	int64		backoff_base_us;

	dlist_head	ready[LANES];
	pairingheap *delayed;
	dlist_head	finished;
	dlist_head	spare;
	int			pending;
	int			under_way;
	uint64		submitted;
	uint64	   *tickets;		/* of the calls under way; 0 = free place */

	PrivateCall *sign_in;		/* authorisation or token call; NULL = none */
	bool		sign_in_waits;	/* it is not under way */
	bool		reauthorised;	/* since the last token: once is enough */
	int64		renew_not_before;	/* a renewal ahead of time is not tried before */

	ClientWait	waits_for;
	int64		waits_until;

	int64		calls;
	int64		retries;
	TimestampTz last_date;
	int64		last_date_us;
	MemoryContextCallback at_end;
};

static void give_back_tickets(void *arg);
static void begin_tx(Client *client);
static void end_tx(Client *client);
static PrivateCall *new_call(Client *client);
static int	compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static void pump(Client *client);
static void wake_delayed(Client *client);
static bool can_sign_requests(Client *client);
static bool begin_sign_in(Client *client, bool authorise, bool permitted);
static bool start_sign_in(Client *client);
static PrivateCall *next_ready(Client *client);
static void join_account(Client *client);
static void start(Client *client, PrivateCall *call);
static void note_wait(Client *client, ClientWait what, int64 until);
static long wait_ms(Client *client, int64 deadline);
static void settle(Client *client, HttpReply *reply);
static void read_reply(Client *client, PrivateCall *call, ReplyFacts *facts);
static void learn_clock(Client *client, PrivateCall *call);
static void log_attempt(Client *client, PrivateCall *call);
static void act(Client *client, PrivateCall *call);
static void renew_token(Client *client, PrivateCall *call);
static void renew_authorisation(Client *client, PrivateCall *call);
static void wait_for_limit(Client *client, PrivateCall *call);
static void try_again_later(Client *client, PrivateCall *call);
static void try_again(Client *client, PrivateCall *call, int64 not_before);
static void used_up(Client *client, PrivateCall *call);
static void finish(Client *client, PrivateCall *call, CallOutcome outcome);
static void end_sign_in(Client *client, PrivateCall *call, CallOutcome outcome);
static void fail_all(Client *client, PrivateCall *cause);

Client *
jdy_client_open(const Endpoint *endpoint, int concurrency, bool in_worker,
				MemoryContext context, AttemptLogger logger, void *logger_arg)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Client	   *client = palloc0(sizeof(Client));
	int			i;

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

	begin_tx(client);
	MemoryContextSwitchTo(context);
	client->budget = jdy_budget_open(endpoint);
	end_tx(client);
	join_account(client);

	client->at_end.func = give_back_tickets;
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
	PrivateCall *call = NULL;
	HttpReply  *reply;
	bool		may_wait = true;

	while (client->pending > 0)
	{
		if (!dlist_is_empty(&client->finished))
		{
			call = dlist_container(PrivateCall, node, dlist_pop_head_node(&client->finished));
			client->pending--;
			break;
		}
		if (!may_wait)
			break;

		pump(client);
		if (!dlist_is_empty(&client->finished))
			continue;

		reply = jdy_http_receive(client->pool, wait_ms(client, deadline));
		if (reply != NULL)
			settle(client, reply);
		else if (timeout_ms >= 0)
			may_wait = jdy_monotonic_us() < deadline;
	}
	if (client->session != NULL)
		jdy_session_cancel_wait();
	return call != NULL ? &call->call : NULL;
}

ClientWait
jdy_client_waits_for(Client *client, int64 *until_us)
{
	*until_us = client->waits_until;
	return client->waits_for;
}

void
jdy_client_release(Client *client, Call *public)
{
	PrivateCall *call = (PrivateCall *) public;

	if (public->reply != NULL)
		jdy_http_release(client->pool, public->reply);
	MemoryContextReset(public->context);
	MemoryContextReset(call->home);
	dlist_push_tail(&client->spare, &call->node);
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
	if (client->session != NULL)
	{
		const Session *session = jdy_session_get(client->session);

		if (session->clock_known)
		{
			*known = true;
			return GetCurrentTimestamp() + session->clock_offset_us;
		}
	}
	*known = client->last_date != 0;
	return *known ? client->last_date + (jdy_monotonic_us() - client->last_date_us) : GetCurrentTimestamp();
}

const Session *
jdy_client_session(Client *client)
{
	return client->session ? jdy_session_get(client->session) : NULL;
}

int
jdy_client_calls_left(Client *client)
{
	return jdy_budget_left(client->budget);
}

void
jdy_client_persist(Client *client)
{
	jdy_budget_persist(client->budget, true);
}

void
jdy_client_persist_now(Client *client)
{
	begin_tx(client);
	jdy_budget_persist(client->budget, true);
	end_tx(client);
}

void
jdy_client_close(Client *client)
{
	give_back_tickets(client);
	if (client->session != NULL)
		jdy_session_unlease(client->session);
	jdy_http_close(client->pool);
}

/* Calls cut off by an error are over: their places in the budget are free again after the window. */
static void
give_back_tickets(void *arg)
{
	Client	   *client = arg;

	for (int i = 0; i < client->concurrency; i++)
		if (client->tickets[i] != 0)
		{
			jdy_budget_answered(client->budget, client->tickets[i]);
			client->tickets[i] = 0;
		}
}

static void
begin_tx(Client *client)
{
	if (client->in_worker)
		jdy_tx_begin("keeping the call budget");
	else
		SPI_connect();
}

static void
end_tx(Client *client)
{
	if (client->in_worker)
		jdy_tx_commit();
	else
		SPI_finish();
}

static PrivateCall *
new_call(Client *client)
{
	PrivateCall *call;
	MemoryContext home;
	MemoryContext context;

	if (dlist_is_empty(&client->spare))
	{
		call = MemoryContextAlloc(client->context, sizeof(PrivateCall));
		home = AllocSetContextCreate(client->context, "jdysync call", ALLOCSET_SMALL_SIZES);
		context = AllocSetContextCreate(client->context, "jdysync attempt", ALLOCSET_DEFAULT_SIZES);
	}
	else
	{
		call = dlist_container(PrivateCall, node, dlist_pop_head_node(&client->spare));
		home = call->home;
		context = call->call.context;
	}
	memset(call, 0, sizeof(PrivateCall));
	call->endpoint = client->endpoint;
	call->home = home;
	call->call.context = context;
	return call;
}

/* The heap gives the greatest first: the earliest, and of these the first submitted. */
static int
compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const PrivateCall *left = pairingheap_const_container(PrivateCall, heap_node, a);
	const PrivateCall *right = pairingheap_const_container(PrivateCall, heap_node, b);

	if (left->call.not_before_us != right->call.not_before_us)
		return left->call.not_before_us < right->call.not_before_us ? 1 : -1;
	return left->sequence < right->sequence ? 1 : -1;
}

/* Starts what may be started. */
static void
pump(Client *client)
{
	note_wait(client, CLIENT_WAITS_FOR_REPLY, 0);
	wake_delayed(client);
	while (client->under_way < client->concurrency)
	{
		PrivateCall *call;
		int64		wait_us;

		if (!can_sign_requests(client))
			break;
		call = next_ready(client);
		if (call == NULL)
			break;
		if (!call->permitted)
		{
			wait_us = jdy_budget_take(client->budget, call->call.lane);
			if (wait_us > 0)
			{
				note_wait(client, CLIENT_WAITS_FOR_BUDGET, jdy_monotonic_us() + wait_us);
				break;
			}
		}
		dlist_delete(&call->node);
		start(client, call);
	}
}

static void
wake_delayed(Client *client)
{
	int64		now;

	if (pairingheap_is_empty(client->delayed))
		return;
	now = jdy_monotonic_us();
	while (!pairingheap_is_empty(client->delayed))
	{
		PrivateCall *call = pairingheap_container(PrivateCall, heap_node, pairingheap_first(client->delayed));

		if (call->call.not_before_us > now)
		{
			if (client->under_way == 0)
				note_wait(client, CLIENT_WAITS_FOR_BACKOFF, call->call.not_before_us);
			break;
		}
		(void) pairingheap_remove_first(client->delayed);
		if (call == client->sign_in)
			client->sign_in_waits = true;
		else
			dlist_push_tail(&client->ready[call->call.lane], &call->node);
	}
}

/* True when calls can be signed now; else what is missing is on its way. */
static bool
can_sign_requests(Client *client)
{
	bool		known;
	SessionNeed need;

	if (client->session == NULL)
		return true;
	if (client->sign_in != NULL && client->sign_in_waits)
		(void) start_sign_in(client);

	need = jdy_session_need(client->session, jdy_client_server_time(client, &known));
	if (need == SESSION_READY)
		return true;
	if (client->sign_in == NULL && (need != SESSION_RENEW || jdy_monotonic_us() >= client->renew_not_before))
	{
		if (next_ready(client) == NULL)
			return false;		/* nothing needs it */
		if (!begin_sign_in(client, need == SESSION_AUTHORISATION, need == SESSION_RENEW) &&
			need != SESSION_RENEW)
		{
			/* Another process is at it: its end sets our latch. */
			jdy_session_prepare_to_wait();
			note_wait(client, CLIENT_WAITS_FOR_TOKEN, jdy_monotonic_us() + OTHERS_POLL_MS * 1000);
		}
	}
	if (need == SESSION_RENEW)
		return true;
	if (client->waits_for == CLIENT_WAITS_FOR_REPLY)
		note_wait(client, CLIENT_WAITS_FOR_TOKEN, 0);
	return false;
}

/* False when another process signs in.  ahead: the token still works. */
static bool
begin_sign_in(Client *client, bool authorise, bool ahead)
{
	PrivateCall *call;

	if (!jdy_session_lease(client->session))
		return false;
	call = new_call(client);
	jdy_sign_in_prepare(call, authorise ? SIGN_IN_AUTHORISE : SIGN_IN_TOKEN, jdy_session_get(client->session));
	call->sequence = ++client->submitted;
	call->ahead_of_time = ahead;
	client->sign_in = call;
	client->sign_in_waits = true;
	(void) start_sign_in(client);
	return true;
}

/* Starts the sign-in call if the budget lets it; false when it waits. */
static bool
start_sign_in(Client *client)
{
	PrivateCall *call = client->sign_in;
	int64		wait_us;

	(void) jdy_session_lease(client->session);
	if (client->under_way >= client->concurrency)
		return false;
	wait_us = call->step == SIGN_IN_TOKEN ? jdy_budget_take_token(client->budget) :
		jdy_budget_take(client->budget, LANE_TAIL);
	if (wait_us > 0)
	{
		note_wait(client, CLIENT_WAITS_FOR_TOKEN, jdy_monotonic_us() + wait_us);
		return false;
	}
	client->sign_in_waits = false;
	start(client, call);
	return true;
}

/* Fresh data before backfill; in order of submission within a lane. */
static PrivateCall *
next_ready(Client *client)
{
	for (int lane = 0; lane < LANES; lane++)
		if (!dlist_is_empty(&client->ready[lane]))
			return dlist_container(PrivateCall, node, dlist_head_node(&client->ready[lane]));
	return NULL;
}

/* Once it is known whose calls these are, they count for the account. */
static void
join_account(Client *client)
{
	const Session *session;

	if (client->joined || client->session == NULL)
		return;
	session = jdy_session_get(client->session);
	if (session->account_id[0] == '\0')
		return;
	begin_tx(client);
	jdy_budget_join(client->budget, session->account_id);
	end_tx(client);
	client->joined = true;
}

/* One attempt of a call that the budget has granted. */
static void
start(Client *client, PrivateCall *call)
{
	const Session *session = client->session ? jdy_session_get(client->session) : NULL;
	MemoryContext caller;
	HttpRequest request;
	bool		known;

	call->ticket = jdy_budget_ticket(client->budget);
	if (jdy_budget_must_persist(client->budget))
	{
		begin_tx(client);
		jdy_budget_persist(client->budget, false);
		end_tx(client);
	}

	MemoryContextReset(call->call.context);
	caller = MemoryContextSwitchTo(call->call.context);
	call->call.attempt++;
	call->call.reply = NULL;
	call->call.service_text = NULL;
	call->call.token_generation = session ? session->generation : 0;
	call->started_us = jdy_monotonic_us();
	call->started_at = GetCurrentTimestamp();
	jdy_request_build(call, session, jdy_client_server_time(client, &known), &request);
	jdy_http_start(client->pool, &request);
	MemoryContextSwitchTo(caller);

	for (int i = 0; i < client->concurrency; i++)
		if (client->tickets[i] == 0)
		{
			client->tickets[i] = call->ticket;
			break;
		}
	client->under_way++;
	client->calls++;
	if (call->call.attempt > 1)
		client->retries++;
}

static void
note_wait(Client *client, ClientWait what, int64 until)
{
	client->waits_for = what;
	client->waits_until = until;
}

/* How long to wait for replies before there is something to start. */
static long
wait_ms(Client *client, int64 deadline)
{
	int64		until = deadline;
	int64		now = jdy_monotonic_us();

	if (client->waits_until != 0)
		until = Min(until, client->waits_until);
	if (!pairingheap_is_empty(client->delayed))
		until = Min(until, pairingheap_container(PrivateCall, heap_node,
												 pairingheap_first(client->delayed))->call.not_before_us);
	if (until == PG_INT64_MAX)
		return client->under_way > 0 ? -1 : 1000;
	return until <= now ? 0 : (long) Min((until - now) / 1000 + 1, 3600 * 1000);
}

/* A reply, or the lack of one. */
static void
settle(Client *client, HttpReply *reply)
{
	PrivateCall *call = reply->owner;
	MemoryContext caller = MemoryContextSwitchTo(call->call.context);
	ReplyFacts	facts = {0};

	client->under_way--;
	jdy_budget_answered(client->budget, call->ticket);
	for (int i = 0; i < client->concurrency; i++)
		if (client->tickets[i] == call->ticket && call->ticket != 0)
		{
			client->tickets[i] = 0;
			break;
		}
	call->call.reply = reply;
	read_reply(client, call, &facts);
	learn_clock(client, call);
	call->call.errcode = facts.errcode;
	call->call.verdict = jdy_judge(call->call.kind, &facts, &call->call.reason);
	log_attempt(client, call);
	act(client, call);
	MemoryContextSwitchTo(caller);
}

static void
read_reply(Client *client, PrivateCall *call, ReplyFacts *facts)
{
	HttpReply  *reply = call->call.reply;
	bool		business = reply->status / 100 == 2;

	call->failure = facts->failure = reply->failure;
	call->http_status = facts->http_status = reply->status;
	facts->router_sent = call->router_sent;
	call->transport_text = reply->error ? jdy_mask_secrets(client->endpoint, jdy_client_session(client), reply->error) : NULL;
	call->call.answered_at = reply->date;
	call->call.asked_at = reply->date != 0 ? reply->date - reply->elapsed_us : 0;
	if (reply->failure != HTTP_COMPLETE)
	{
		call->maybe_acted |= reply->sent;
		return;
	}
	facts->no_route = strstr(reply->body, "No Route") != NULL && reply->body_length < 4096;
	if (business && call->call.parse != NULL)
		call->call.parse(&call->call, facts);
	else
		jdy_parse_any(&call->call, facts);
	if (call->call.service_text != NULL)
		call->call.service_text = jdy_mask_secrets(client->endpoint, jdy_client_session(client),
												   call->call.service_text);
}

/* Date is in whole seconds: only a difference beyond that says that the clocks differ. */
static void
learn_clock(Client *client, PrivateCall *call)
{
	HttpReply  *reply = call->call.reply;
	int64		offset;

	if (reply->date == 0 || reply->failure != HTTP_COMPLETE)
		return;
	client->last_date = reply->date;
	client->last_date_us = jdy_monotonic_us();
	if (client->session != NULL)
	{
		const Session *session = jdy_session_get(client->session);

		offset = reply->date - GetCurrentTimestamp();
		if (!session->clock_known || offset - session->clock_offset_us > CLOCK_GRAIN_US ||
			session->clock_offset_us - offset > CLOCK_GRAIN_US)
			jdy_session_set_clock(client->session, offset > -CLOCK_GRAIN_US && offset < CLOCK_GRAIN_US ? 0 : offset);
	}
}

static void
log_attempt(Client *client, PrivateCall *call)
{
	const HttpReply *reply = call->call.reply;
	const char *text = call->call.service_text ? call->call.service_text : call->transport_text;
	Attempt		attempt;

	if (client->logger == NULL)
		return;
	attempt.at = call->started_at;
	attempt.method = call->call.method;
	attempt.url = jdy_request_masked_url(call);
	attempt.attempt = call->call.attempt;
	attempt.http_status = reply->status;
	attempt.errcode = call->call.errcode;
	attempt.elapsed_ms = (int) (reply->elapsed_us / 1000);
	attempt.bytes = reply->wire_bytes;
	attempt.error = call->call.verdict == VERDICT_USE ? NULL :
		text != NULL && text[0] != '\0' ? psprintf("%s: %s", call->call.reason, text) : call->call.reason;
	client->logger(client->logger_arg, &attempt);
}

/* Does what the verdict says; what may be done once is counted in the call. */
static void
act(Client *client, PrivateCall *call)
{
	switch (call->call.verdict)
	{
		case VERDICT_USE:
			finish(client, call, OUTCOME_OK);
			break;
		case VERDICT_FIX_CLOCK:
			if (client->session == NULL || call->call.reply->date == 0 || call->call.clock_fixes++ > 0)
				finish(client, call, OUTCOME_FAILED);
			else
			{
				jdy_session_set_clock(client->session, call->call.reply->date - GetCurrentTimestamp());
				try_again(client, call, 0);
			}
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
			try_again_later(client, call);
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

/* Another process may have got a new one meanwhile: then that is tried, and costs nothing. */
static void
renew_token(Client *client, PrivateCall *call)
{
	if (client->session == NULL || call->step != NOT_SIGN_IN)
		finish(client, call, OUTCOME_FAILED);
	else if (jdy_session_refuse_token(client->session, call->call.token_generation))
	{
		if (call->call.token_renewals++ > 0)
			finish(client, call, OUTCOME_FAILED);
		else
			try_again(client, call, 0);
	}
	else if (++call->borrowed > call->endpoint->max_attempts)
		finish(client, call, OUTCOME_FAILED);
	else
		try_again(client, call, 0);
}

static void
renew_authorisation(Client *client, PrivateCall *call)
{
	/* A mapping that holds the app secret itself cannot get another. */
	bool		possible = client->session != NULL && client->endpoint->outer_instance_id != NULL;
	int		   *times = &call->call.authorisations;

	if (!possible)
	{
		call->hint = "The app key, app secret or domain in the user mapping is out of date; give outer_instance_id instead, so that they are fetched.";
		finish(client, call, OUTCOME_FAILED);
		return;
	}
	if (call->step == SIGN_IN_TOKEN)
	{
		if (client->reauthorised)
		{
			finish(client, call, OUTCOME_FAILED);
			return;
		}
		client->reauthorised = true;
		(void) jdy_session_refuse_authorisation(client->session, call->started_us);
		client->sign_in = NULL;
		jdy_client_release(client, &call->call);
		return;
	}
	if (jdy_session_refuse_authorisation(client->session, call->started_us) && (*times)++ > 0)
		finish(client, call, OUTCOME_FAILED);
	else if (++call->borrowed > call->endpoint->max_attempts)
		finish(client, call, OUTCOME_FAILED);
	else
		try_again(client, call, 0);
}

/* The whole account pauses; a call that meets nothing but refusals gives up in the end. */
static void
wait_for_limit(Client *client, PrivateCall *call)
{
	int64		retry_after_ms = call->call.reply->retry_after_ms;

	if (++call->refusals >= call->endpoint->max_attempts)
	{
		used_up(client, call);
		return;
	}
	if (call->step == SIGN_IN_TOKEN)
	{
		try_again(client, call, jdy_monotonic_us() +
				  (retry_after_ms >= 0 ? retry_after_ms : TOKEN_REFUSED_MS) * INT64CONST(1000));
		return;
	}
	jdy_budget_refused(client->budget, retry_after_ms);
	try_again(client, call, 0);
}

/* Exponential, with full jitter, so that many callers do not come back together. */
static void
try_again_later(Client *client, PrivateCall *call)
{
	int64		most;

	/* What may have acted is not repeated by us: only the caller knows how. */
	if ((call->call.kind == CALL_OTHER && strcmp(call->call.method, "GET") != 0) ||
		++call->failures >= call->endpoint->max_attempts)
	{
		used_up(client, call);
		return;
	}
	most = client->backoff_base_us << Min(call->failures, 20);
	most = Min(most, MAX_BACKOFF_US);
	try_again(client, call, jdy_monotonic_us() + (int64) (pg_prng_double(&pg_global_prng_state) * most));
}

/* not_before 0 = as soon as it may. */
static void
try_again(Client *client, PrivateCall *call, int64 not_before)
{
	jdy_http_release(client->pool, call->call.reply);
	call->call.reply = NULL;
	call->call.not_before_us = not_before;
	if (not_before != 0)
		pairingheap_add(client->delayed, &call->heap_node);
	else if (call == client->sign_in)
		client->sign_in_waits = true;
	else
		dlist_push_head(&client->ready[call->call.lane], &call->node);
}

static void
used_up(Client *client, PrivateCall *call)
{
	CallOutcome outcome = OUTCOME_FAILED;

	if (call->call.kind == CALL_DETAIL)
		outcome = OUTCOME_SET_ASIDE;
	else if (call->call.kind == CALL_PUSH && call->maybe_acted)
		outcome = OUTCOME_IN_DOUBT;
	finish(client, call, outcome);
}

static void
finish(Client *client, PrivateCall *call, CallOutcome outcome)
{
	call->call.outcome = outcome;
	if (call == client->sign_in)
		end_sign_in(client, call, outcome);
	else
		dlist_push_tail(&client->finished, &call->node);
}

static void
end_sign_in(Client *client, PrivateCall *call, CallOutcome outcome)
{
	bool		fine = outcome == OUTCOME_OK;
	bool		known;

	client->sign_in = NULL;
	if (fine && call->step == SIGN_IN_AUTHORISE)
	{
		const Authorisation *chosen = jdy_sign_in_choose(call);

		fine = chosen != NULL && jdy_session_authorised(client->session, chosen);
	}
	else if (fine)
	{
		TimestampTz now = jdy_client_server_time(client, &known);
		TimestampTz expires = call->token_expires > now ? call->token_expires : now + USECS_PER_DAY;

		fine = jdy_session_token(client->session, call->token, now, expires);
		client->reauthorised = false;
	}

	if (!fine && call->ahead_of_time)
		client->renew_not_before = jdy_monotonic_us() + TOKEN_REFUSED_MS * INT64CONST(1000);
	else if (!fine)
	{
		call->call.outcome = OUTCOME_FAILED;
		fail_all(client, call);
	}
	if (!fine || call->step == SIGN_IN_TOKEN)
		jdy_session_unlease(client->session);
	jdy_client_release(client, &call->call);
	if (fine)
		join_account(client);
}

/* Without a session nothing can be sent: every call that waits fails with the cause's words. */
static void
fail_all(Client *client, PrivateCall *cause)
{
	while (!pairingheap_is_empty(client->delayed))
	{
		PrivateCall *call = pairingheap_container(PrivateCall, heap_node, pairingheap_remove_first(client->delayed));

		dlist_push_tail(&client->ready[call->call.lane], &call->node);
	}
	for (int lane = 0; lane < LANES; lane++)
		while (!dlist_is_empty(&client->ready[lane]))
		{
			PrivateCall *call = dlist_container(PrivateCall, node, dlist_pop_head_node(&client->ready[lane]));
			MemoryContext caller = MemoryContextSwitchTo(call->home);

			call->call.method = cause->call.method;
			call->call.path = cause->call.path;
			call->call.verdict = cause->call.verdict;
			call->call.reason = cause->call.reason;
			call->call.errcode = cause->call.errcode;
			call->call.attempt = cause->call.attempt;
			call->call.service_text = cause->call.service_text ? pstrdup(cause->call.service_text) : NULL;
			call->transport_text = cause->transport_text ? pstrdup(cause->transport_text) : NULL;
			call->http_status = cause->http_status;
			call->failure = cause->failure;
			call->hint = cause->hint;
			call->step = cause->step;
			call->call.outcome = OUTCOME_FAILED;
			MemoryContextSwitchTo(caller);
			dlist_push_tail(&client->finished, &call->node);
		}
}
