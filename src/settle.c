/*-------------------------------------------------------------------------
 * settle.c
 *		A reply came: what it means, and what follows.
 *
 * What a reply means is verdict.c's to say.  Here each verdict becomes a deed: the
 * call is finished, or waits for another attempt, now, after a back-off or when
 * the limit lets it.  What may be done once is counted in the call, so nothing
 * here can go on for ever.
 *
 * Called by client.c for each transfer that ended.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "common/pg_prng.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_BACKOFF_US INT64CONST(60000000)
#define MAX_BORROWED 3			/* times a call goes on with a token that another asked for */
#define CLOCK_GRAIN_US 2000000	/* Date has whole seconds, and takes a while to come */
#define TOKEN_WINDOW_US INT64CONST(60000000)	/* of the token endpoint */

static HttpReply *own_copy(Client *client, HttpReply *reply);
static void note_answered(Client *client, PrivateCall *call);
static void read_reply(Client *client, PrivateCall *call, ReplyFacts *facts);
static bool looks_like_json(const HttpReply *reply);
static bool says_no_route(const HttpReply *reply);
static void learn_clock(Client *client, PrivateCall *call);
static void log_attempt(Client *client, PrivateCall *call);
static void act(Client *client, PrivateCall *call);
static void renew_token(Client *client, PrivateCall *call);
static void renew_authorisation(Client *client, PrivateCall *call);
static void wait_for_limit(Client *client, PrivateCall *call);
static void back_off(Client *client, PrivateCall *call);
static void try_again(Client *client, PrivateCall *call, int64 not_before);
static void used_up(Client *client, PrivateCall *call);
static void finish(Client *client, PrivateCall *call, CallOutcome outcome);
static void fail_like(Client *client, PrivateCall *call, const PrivateCall *cause);
static bool may_repeat(const PrivateCall *call);

/* A transfer is over: what does its reply mean, and what follows? */
void
jdy_client_settle(Client *client, HttpReply *reply)
{
	PrivateCall *call = reply->owner;
	Call	   *public = &call->call;
	MemoryContext old = MemoryContextSwitchTo(public->context);
	ReplyFacts	facts = {0};

	public->reply = reply->body_length < JDY_SMALL_REPLY ? own_copy(client, reply) : reply;
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
	MemoryContextSwitchTo(old);
	act(client, call);
}

/* Without a session no waiting call can be made; those under way go on. */
void
jdy_client_fail_waiting(Client *client, const PrivateCall *cause)
{
	int			i;

	for (i = 0; i < JDY_LANES; i++)
	{
		while (!dlist_is_empty(&client->ready[i]))
			fail_like(client, dlist_container(PrivateCall, node, dlist_pop_head_node(&client->ready[i])), cause);
	}
	while (!pairingheap_is_empty(client->delayed))
		fail_like(client, pairingheap_container(PrivateCall, heap_node, pairingheap_remove_first(client->delayed)), cause);
}

/* A caller may let answers pile up before it looks at them: so few transfers, with large buffers each, serve many calls. */
static HttpReply *
own_copy(Client *client, HttpReply *reply)
{
	HttpReply  *copy = palloc(sizeof(HttpReply));

	*copy = *reply;
	copy->body = palloc(reply->body_length + 1);
	memcpy(copy->body, reply->body, reply->body_length + 1);
	copy->error = reply->error != NULL ? pstrdup(reply->error) : NULL;
	copy->content_type = reply->content_type != NULL ? pstrdup(reply->content_type) : NULL;
	copy->router = reply->router != NULL ? pstrdup(reply->router) : NULL;
	copy->transfer = NULL;
	jdy_http_release(client->pool, reply);
	return copy;
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

static void
log_attempt(Client *client, PrivateCall *call)
{
	HttpReply  *reply = call->call.reply;
	MemoryContext caller = MemoryContextSwitchTo(client->scratch);
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
	attempt.record = call->call.record;
	client->logger(client->logger_arg, &attempt);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(client->scratch);
}

static void
act(Client *client, PrivateCall *call)
{
	client->refused = call->call.verdict == VERDICT_WAIT;
	if (!client->refused)
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
			jdy_client_recycle(client, call);
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
int64
jdy_client_backoff_us(const Client *client, int failures)
{
	int64		limit = MAX_BACKOFF_US;

	if (failures < 20)
		limit = Min(limit, client->backoff_base_us << (failures - 1));
	return (int64) (limit * pg_prng_double(&pg_global_prng_state));
}

static void
back_off(Client *client, PrivateCall *call)
{
	int64		delay;

	if (call->call.reply->sent)
		call->call.maybe_acted = true;
	if (call->failures++ == 0)
		call->call.failed_us = jdy_monotonic_us();
	if (!may_repeat(call) || call->failures >= client->endpoint->max_attempts)
	{
		used_up(client, call);
		return;
	}
	delay = Max(jdy_client_backoff_us(client, call->failures), Min(call->call.reply->retry_after_ms * 1000, MAX_BACKOFF_US));
	try_again(client, call, jdy_monotonic_us() + delay);
}

static void
try_again(Client *client, PrivateCall *call, int64 not_before)
{
	call->call.not_before_us = not_before;
	if (call == client->sign_in)
	{
		if (call->ahead_of_time && not_before > 0)
			jdy_sign_in_end(client, call, OUTCOME_FAILED);
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
			finish(client, call, call->call.maybe_acted ? OUTCOME_IN_DOUBT : OUTCOME_FAILED);
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
		jdy_sign_in_end(client, call, outcome);
		return;
	}
	call->call.outcome = outcome;
	dlist_push_tail(&client->finished, &call->node);
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

/* A look around may change something: only reading is tried again.  Nor is what must not be done twice. */
static bool
may_repeat(const PrivateCall *call)
{
	if (call->call.once && call->call.maybe_acted)
		return false;
	return call->call.kind != CALL_OTHER || strcmp(call->call.method, "GET") == 0;
}
