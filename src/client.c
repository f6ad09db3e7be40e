/*-------------------------------------------------------------------------
 * client.c
 *		Calls in their queues: submitted, started, handed back.
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
 * Who may call when is budget.c's to say; what follows from a reply, settle.c's.
 * Called by pull.c, push.c and its parts, and check.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "call.h"
#include "executor/spi.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "spi.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_SPARE_CALLS 256		/* calls kept for reuse */

static void give_back(void *arg);
static MemoryContext begin_tx(Client *client);
static void end_tx(Client *client, MemoryContext old);
static int	compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static void pump(Client *client);
static void wake_delayed(Client *client);
static bool none_ready(const Client *client);
static PrivateCall *take_ready(Client *client);
static long wait_ms(Client *client, int64 deadline);

Client *
jdy_client_open(const Endpoint *endpoint, int concurrency, bool in_worker,
				MemoryContext context, AttemptLogger logger, void *logger_arg)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	MemoryContext caller;
	Client	   *client = palloc0(sizeof(Client));
	int			i;

	jdy_require_primary();
	if (!jdy_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no calls can be made from this server"),
				 errdetail("jdysync.enabled is off."),
				 errhint("Switch jdysync.enabled on.")));
	jdy_endpoint_require_complete(endpoint);

	client->context = context;
	client->endpoint = endpoint;
	client->concurrency = concurrency;
	client->in_worker = in_worker;
	client->logger = logger;
	client->logger_arg = logger_arg;
	client->backoff_base_us = Min(1000000, (int64) endpoint->rate_window_ms * 1000 / 60);
	for (i = 0; i < JDY_LANES; i++)
		dlist_init(&client->ready[i]);
	dlist_init(&client->finished);
	dlist_init(&client->spare);
	client->delayed = pairingheap_allocate(compare_delayed, NULL);
	client->scratch = AllocSetContextCreate(context, "jdysync request", ALLOCSET_DEFAULT_SIZES);
	client->tickets = palloc0(concurrency * sizeof(uint64));
	client->pool = jdy_http_open(endpoint, concurrency, context);
	if (endpoint->auth == AUTH_KINGDEE || endpoint->auth == AUTH_QEASY)
		client->session = jdy_session_open(endpoint);

	caller = begin_tx(client);
	MemoryContextSwitchTo(context);
	client->budget = jdy_budget_open(endpoint);
	end_tx(client, caller);
	jdy_client_join_account(client);

	client->at_end.func = give_back;
	client->at_end.arg = client;
	MemoryContextRegisterResetCallback(context, &client->at_end);
	MemoryContextSwitchTo(old);
	return client;
}

Call *
jdy_call_create(Client *client, CallKind kind, Lane lane, const char *method, const char *path)
{
	PrivateCall *call = jdy_client_new_call(client);
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
	if (public->not_before_us > 0)
		pairingheap_add(client->delayed, &call->heap_node);
	else
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
	bool		settled = false;

	while (client->pending > 0)
	{
		HttpReply  *reply;
		int64		until;

		if (!jdy_enabled)
			ereport(ERROR,
					(errcode(ERRCODE_OPERATOR_INTERVENTION),
					 errmsg("jdysync was switched off"),
					 errhint("Set jdysync.enabled to on and reload the server's configuration.")));
		if (settled || dlist_is_empty(&client->finished))
			pump(client);
		settled = false;
		if (!dlist_is_empty(&client->finished))
		{
			done = &dlist_container(PrivateCall, node, dlist_pop_head_node(&client->finished))->call;
			client->pending--;
			break;
		}

		until = Min(deadline, client->waits_until);
		reply = jdy_http_receive(client->pool, wait_ms(client, until));
		settled = reply != NULL;
		while (reply != NULL)
		{
			bool		small = reply->body_length < JDY_SMALL_REPLY;

			/* Small ones that came together, so that the next requests leave together. */
			jdy_client_settle(client, reply);
			reply = small ? jdy_http_finished(client->pool) : NULL;
		}
		if (settled)
			continue;
		if (jdy_monotonic_us() < until || until == deadline)
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
	return client->waits_for == CLIENT_WAITS_FOR_BUDGET && client->refused ? CLIENT_WAITS_AFTER_REFUSAL : client->waits_for;
}

void
jdy_client_release(Client *client, Call *public)
{
	jdy_client_recycle(client, (PrivateCall *) public);
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

const char *
jdy_client_mask(Client *client, const char *text)
{
	return jdy_mask_secrets(client->endpoint, jdy_client_session(client), text);
}

void
jdy_client_persist(Client *client)
{
	jdy_budget_persist(client->budget, true);
}

TimestampTz
jdy_client_licence_ends(Client *client)
{
	const Session *session = jdy_client_session(client);

	if (session == NULL || session->licence_expires_ms <= 0)
		return 0;
	return (TimestampTz) session->licence_expires_ms * 1000 -
		(TimestampTz) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
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
PrivateCall *
jdy_client_new_call(Client *client)
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

void
jdy_client_recycle(Client *client, PrivateCall *call)
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
	int64		calls = client->calls;

	client->waits_for = CLIENT_WAITS_FOR_REPLY;
	client->waits_until = PG_INT64_MAX;
	wake_delayed(client);
	while (client->under_way < client->concurrency)
	{
		PrivateCall *call;

		if (client->sign_in != NULL)
		{
			jdy_sign_in_start(client);
			break;
		}
		if (none_ready(client))
			break;
		if (client->session != NULL && !jdy_sign_in_ready(client))
		{
			/* Either a sign-in call waits to be started now, or another process makes it. */
			if (client->sign_in != NULL)
				continue;
			break;
		}
		call = take_ready(client);
		if (call == NULL)
			break;
		jdy_client_start(client, call);
	}
	if (client->calls > calls)
		jdy_http_send(client->pool);
}

static void
wake_delayed(Client *client)
{
	while (!pairingheap_is_empty(client->delayed))
	{
		PrivateCall *call = pairingheap_container(PrivateCall, heap_node, pairingheap_first(client->delayed));

		if (call->call.not_before_us > jdy_monotonic_us())
		{
			jdy_client_note_wait(client, CLIENT_WAITS_FOR_BACKOFF, call->call.not_before_us);
			break;
		}
		pairingheap_remove_first(client->delayed);
		dlist_push_head(&client->ready[call->call.lane], &call->node);
	}
}

static bool
none_ready(const Client *client)
{
	bool		none = true;

	for (int i = 0; i < JDY_LANES; i++)
		none = none && dlist_is_empty(unconstify(dlist_head *, &client->ready[i]));
	return none;
}

/*
 * The next call that the budget lets go: in order of submission, but one lane
 * does not wait for another's share.
 */
static PrivateCall *
take_ready(Client *client)
{
	PrivateCall *heads[JDY_LANES];

	for (int i = 0; i < JDY_LANES; i++)
		heads[i] = dlist_is_empty(&client->ready[i]) ? NULL :
			dlist_head_element(PrivateCall, node, &client->ready[i]);

	for (;;)
	{
		PrivateCall *call = NULL;
		int64		wait;

		for (int i = 0; i < JDY_LANES; i++)
			if (heads[i] != NULL && (call == NULL || heads[i]->sequence < call->sequence))
				call = heads[i];
		if (call == NULL)
			return NULL;
		heads[call->call.lane] = NULL;
		wait = jdy_budget_take(client->budget, call->call.lane);
		if (wait == 0)
		{
			dlist_delete(&call->node);
			return call;
		}
		jdy_client_note_wait(client, CLIENT_WAITS_FOR_BUDGET, jdy_monotonic_us() + wait);
	}
}

/* From the authorisation on the budget is the account's. */
void
jdy_client_join_account(Client *client)
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
void
jdy_client_start(Client *client, PrivateCall *call)
{
	const Session *session = client->session ? jdy_session_get(client->session) : NULL;
	uint64		ticket = jdy_budget_ticket(client->budget);
	HttpRequest request;
	MemoryContext old;

	if (ticket != 0)
		client->tickets[client->ntickets++] = ticket;
	call->ticket = ticket;

	/* In its caller's transaction it cannot; the next one that is started outside makes up for that. */
	if (jdy_budget_must_persist(client->budget) && !(client->in_worker && IsTransactionState()))
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
	call->call.token_generation = session ? session->generation : 0;
	call->started_us = call->call.left_us = jdy_monotonic_us();
	call->started_at = GetCurrentTimestamp();
	old = MemoryContextSwitchTo(client->scratch);
	jdy_request_build(call, session, session ? call->started_at + session->clock_offset_us : 0, &request);
	jdy_http_start(client->pool, &request);
	MemoryContextSwitchTo(old);
	MemoryContextReset(client->scratch);

	client->under_way++;
	client->calls++;
	if (++call->call.attempt > 1)
		client->retries++;
}

/* The earliest of what is waited for counts. */
void
jdy_client_note_wait(Client *client, ClientWait what, int64 until)
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
