/*-------------------------------------------------------------------------
 * push.c
 *		A push's run.
 *
 * What one run does, in order:
 *
 *	1. send again, byte for byte and under the same key, what an earlier run sent
 *	   without learning the outcome: nothing newer of these records may overtake it.  A
 *	   target that can say what it has is asked first, then and whenever an answer is lost;
 *	2. read the source and keep, on disk, what differs from what was acknowledged, and,
 *	   where the metadata says how to delete, what the source has no more;
 *	3. send that in batches, several at once.
 *
 * Every request is committed before it is sent, its outcome after its answer, in
 * short transactions; none is open while an answer is waited for.  So a run may
 * die at any instruction: what it had sent is open in jdysync.batch, everything else is found by
 * comparing digests again.
 *
 * A refused batch is cut in halves until the records that the target refuses stand
 * alone: those become dead letters, the others arrive.  The same is done with a batch whose
 * answers stay away although a request that left after its first failure was
 * accepted.  Nothing else is ever cut: while the target is away, all of it waits, and after a
 * row of requests without an answer, of whatever push to its server, nothing more is sent but
 * one request to see whether it is back (breaker.c).
 *
 * Called by runner.c, in a worker that is the push's owner and holds its lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "page.h"
#include "progress.h"
#include "pushrun.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch.h"

#define SENDS_BETWEEN 8			/* requests made before the wire is looked after again */
#define INTENDED_AT_ONCE 32		/* in one statement, before the wire is looked after again */
#define MOST_LINES 7			/* of requests that wait, each as long as keeps the wire busy: when the target goes away, they are tried in vain */
#define GATHER_MS 10			/* answers are gathered so long, while the wire is busy, to be settled in one transaction */

static PushRun *open_run(int push_id, int64 run_id, RunCounters *counters, MemoryContext context);
static void make_run(PushRun *run);
static void ask_target(PushRun *run);
static void try_one(PushRun *run);
static void give_up(PushRun *run);
static void read_again(PushRun *run);
static void postpone(PushRun *run);
static void drop_deletions(PushRun *run);
static void send_all(PushRun *run);
static bool may_send(const PushRun *run);
static int	busy_wire(const PushRun *run);
static bool has_room(const PushRun *run, int under_way);
static void take_answers(PushRun *run);
static void keep_wire_busy(PushRun *run);
static Call *came_back(PushRun *run, Call *call);
static List *next_batches(PushRun *run);
static Batch *compose(PushRun *run);
static void compose_deletion(PushRun *run, Batch *batch);
static void submit(PushRun *run, Batch *batch);
static void parse_answer(Call *call, ReplyFacts *facts);
static void finish_run(PushRun *run);

void
jdy_push_run(int push_id, int64 run_id, RunCounters *counters)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "jdysync push", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PushRun    *run = open_run(push_id, run_id, counters, context);

	PG_TRY();
	{
		make_run(run);
	}
	PG_FINALLY();
	{
		counters->calls = jdy_client_calls(run->client);
		counters->retries = jdy_client_retries(run->client);
		if (run->pending != NULL)
			tuplestore_end(run->pending);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
	}
	PG_END_TRY();
}

static PushRun *
open_run(int push_id, int64 run_id, RunCounters *counters, MemoryContext context)
{
	PushRun    *run = palloc0(sizeof(PushRun));

	run->run_id = run_id;
	run->counters = counters;
	run->context = context;
	run->chunk = AllocSetContextCreate(context, "jdysync push transaction", ALLOCSET_DEFAULT_SIZES);
	jdy_tx_begin("reading the push");
	MemoryContextSwitchTo(context);
	run->push = jdy_push_load(push_id);
	run->desc = CreateTemplateTupleDesc(4);
	TupleDescInitEntry(run->desc, 1, "id", TEXTOID, -1, 0);
	TupleDescInitEntry(run->desc, 2, "payload", TEXTOID, -1, 0);
	TupleDescInitEntry(run->desc, 3, "version", INT4OID, -1, 0);
	TupleDescInitEntry(run->desc, 4, "digest", UUIDOID, -1, 0);	/* of its size */
	jdy_tx_commit();
	MemoryContextSwitchTo(context);
	run->slot = MakeSingleTupleTableSlot(run->desc, &TTSOpsMinimalTuple);
	run->log = jdy_runlog_open(run_id, push_id, TopMemoryContext);
	jdy_progress_limits(run->push->endpoint, false);
	run->client = jdy_client_open(run->push->endpoint, run->push->endpoint->concurrency, true, context,
								  jdy_runlog_attempt, run->log);
	return run;
}

static void
make_run(PushRun *run)
{
	read_again(run);
	run->exhausted = true;
	if (jdy_breaker_is_open(&run->breaker))
		ask_target(run);
	if (run->again != NIL || run->parts != NIL)
		send_all(run);
	postpone(run);
	if (run->pending == NULL)
		jdy_pushrun_scan(run);
	run->exhausted = false;

	/* What an earlier run left in doubt may be what the target chokes on: only if others fare no better is it away. */
	if (jdy_breaker_is_open(&run->breaker))
		try_one(run);
	send_all(run);
	postpone(run);
	while (!jdy_breaker_is_open(&run->breaker) && jdy_pushrun_retry_doubtful(run))
	{
		int64		before = run->accepted_us;

		send_all(run);
		postpone(run);
		if (run->accepted_us == before)
			break;
	}
	jdy_pushrun_judge_suspects(run);
	if (run->doubtful != NIL)
		give_up(run);
	finish_run(run);
}

/*
 * While the breaker is open: returns when the target answered, or there is nothing to
 * ask it with.  A record in doubt makes the best trial, since nothing more can come to be in doubt by
 * it; but it may be what the target chokes on, so every other time it is one that is pending.
 */
static void
ask_target(PushRun *run)
{
	if (run->again != NIL && run->breaker.trials % 2 == 0)
		try_one(run);
	else
	{
		int64		again = run->counters->pending;

		postpone(run);			/* their newer versions are not for the trial */
		jdy_pushrun_scan(run);
		run->exhausted = false;
		try_one(run);
		run->exhausted = true;
		if (run->tried == 0 && run->doubtful == NIL)
			return;

		/* The scan is made again when those in doubt are settled. */
		ExecClearTuple(run->slot);
		tuplestore_end(run->pending);
		run->pending = NULL;
		if (run->held != NULL)
			hash_destroy(run->held);
		run->held = NULL;
		run->counters->pending = again + run->tried;
		run->counters->listed = 0;
		if (jdy_breaker_is_open(&run->breaker) && run->tried > 0)
			give_up(run);
		run->again = run->doubtful;
		run->doubtful = NIL;
		if (run->tried == 0 && run->again != NIL)
			try_one(run);
	}
	if (jdy_breaker_is_open(&run->breaker) && run->tried > 0)
		give_up(run);
}

/*
 * One request, in one attempt, although the breaker is open.  A target that can be asked what it has of it is asked
 * before, but that is no trial: it may well answer to this and store nothing.
 */
static void
try_one(PushRun *run)
{
	Endpoint   *endpoint = run->push->endpoint; /* the client's, too */
	int			attempts = endpoint->max_attempts;

	endpoint->max_attempts = 1;
	run->trial = true;
	run->tried = 0;
	run->noted = false;
	send_all(run);
	run->trial = false;
	endpoint->max_attempts = attempts;
}

/* The target is away: what it may have got stays in doubt. */
static void
give_up(PushRun *run)
{
	postpone(run);
	jdy_pushrun_forget_unsent(run);
	if (jdy_breaker_is_open(&run->breaker))
		jdy_breaker_raise(&run->breaker, run->push->endpoint, run->push->name, run->counters->failed);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the target does not answer"),
			 errdetail("Whether %lld records arrived is not known: %s.", (long long) run->counters->failed, run->doubt),
			 errhint("The next run sends them again, byte for byte and under the same Idempotency-Key, before anything newer.")));
}

static void
read_again(PushRun *run)
{
	ListCell   *cell;

	jdy_pushrun_begin(run);
	jdy_breaker_load(&run->breaker, run->push->endpoint->server_name);
	run->again = jdy_delivery_unresolved(run->push, run->context);
	drop_deletions(run);
	jdy_pushrun_commit(run);
	foreach(cell, run->again)
	{
		Batch	   *batch = lfirst(cell);

		run->counters->pending += batch->n;
		batch->unread = true;
	}
}

/*
 * What was not sent because the target seemed to be away waits with the doubtful:
 * others are tried first, so that a few requests that the target chokes on do not stand
 * in the way of all.
 */
static void
postpone(PushRun *run)
{
	run->doubtful = list_concat(list_concat(run->doubtful, run->again), run->parts);
	run->again = run->parts = NIL;
	run->counters->failed = jdy_pushrun_count_doubtful(run);
}

/* In a transaction: those in doubt that the metadata says no more how to send; what the target has of them is not known. */
static void
drop_deletions(PushRun *run)
{
	ListCell   *cell;

	if (run->push->meta->delete_rule != NULL)
		return;
	foreach(cell, run->again)
	{
		Batch	   *batch = lfirst(cell);

		if (!batch->records[0].gone)
			continue;
		jdy_delivery_dead(run->push, batch, 0, 0, "its deletion got no answer, and the metadata has no \"delete\" any more", NULL);
		run->counters->dead++;
		run->again = foreach_delete_current(run->again, cell);
		jdy_pushrun_drop(batch);
	}
}

/*
 * Until everything that may be sent was sent and has come back: what stands open,
 * then parts of cut batches, then what is pending.  What is left in again and parts then was
 * not sent, since the target seems to be away.
 */
static void
send_all(PushRun *run)
{
	jdy_progress_phase(PHASE_PUSHING);
	for (;;)
	{
		List	   *fresh = NIL;
		ListCell   *cell;

		if (run->answered != NIL || may_send(run))
		{
			jdy_pushrun_begin(run);
			jdy_pushrun_settle(run);
			keep_wire_busy(run);
			if (may_send(run))
				fresh = next_batches(run);
			jdy_pushrun_commit(run);
		}
		foreach(cell, run->answered)
		{
			Call	   *settled = lfirst(cell);

			jdy_pushrun_drop(settled->owner);
			if (settled != run->failure && settled != run->suspicion)
				jdy_client_release(run->client, settled);
		}
		list_free(run->answered);
		run->answered = run->early;
		run->early = NIL;
		foreach(cell, fresh)
			submit(run, lfirst(cell));
		list_free(fresh);

		if (run->under_way == 0 && run->answered == NIL)
		{
			if (run->failure != NULL)
			{
				postpone(run);
				jdy_pushrun_forget_unsent(run);
				if (run->trial && jdy_breaker_is_open(&run->breaker))
					jdy_breaker_raise(&run->breaker, run->push->endpoint, run->push->name, run->counters->failed);
				jdy_call_raise(run->failure);
			}
			if (!may_send(run))
				break;
			continue;
		}
		take_answers(run);
		run->counters->calls = jdy_client_calls(run->client);
		run->counters->retries = jdy_client_retries(run->client);
		jdy_progress_counters(run->counters);
		jdy_progress_client(run->client);
	}
}

static bool
may_send(const PushRun *run)
{
	bool		open = run->trial ? run->tried > 0 || run->under_way > 0 : jdy_breaker_is_open(&run->breaker);

	return run->failure == NULL && !open && has_room(run, run->under_way) &&
		(run->again != NIL || run->parts != NIL || !run->exhausted);
}

/* So many requests that the wire stays busy while answers are settled. */
static int
busy_wire(const PushRun *run)
{
	return 2 * run->push->endpoint->concurrency;
}

/*
 * Small requests of one record each are cheaper than their transactions, so more of
 * them wait in line for the wire, and share one: as many as a target of this pace answers in no time,
 * since what waits may be out of date before it is sent.  Not where calls are counted: there a line is long.
 */
static bool
has_room(const PushRun *run, int under_way)
{
	const Push *push = run->push;

	return under_way < busy_wire(run) ||
		(!push->batched && push->endpoint->calls_per_minute == 0 &&
		 under_way < busy_wire(run) + Min(2 * run->pace, MOST_LINES * busy_wire(run)) && run->bytes < push->batch_bytes);
}

/* At least one, unless none comes for a while. */
static void
take_answers(PushRun *run)
{
	int64		until = jdy_monotonic_us() + GATHER_MS * 1000;
	Call	   *call = jdy_client_next(run->client, run->answered == NIL ? 200 : 0);

	while (call != NULL)
	{
		long		wait = (long) ((until - jdy_monotonic_us()) / 1000);

		run->answered = lappend(run->answered, came_back(run, call));
		call = jdy_client_next(run->client, run->under_way > busy_wire(run) ? Max(wait, 0) : 0);
	}
	run->pace = list_length(run->answered);
}

/*
 * In a transaction: what waits in line is sent, and answers are taken, as far as that can be
 * done without waiting, so that the wire does not stand still meanwhile.  Not where a budget or a
 * token might have to be written down for it, in a transaction of its own.
 */
static void
keep_wire_busy(PushRun *run)
{
	const Endpoint *endpoint = run->push->endpoint;
	MemoryContext caller;
	Call	   *call;

	if (endpoint->calls_per_minute != 0 || endpoint->auth == AUTH_KINGDEE || endpoint->auth == AUTH_QEASY)
		return;
	caller = MemoryContextSwitchTo(run->context);
	while ((call = jdy_client_next(run->client, 0)) != NULL)
		run->early = lappend(run->early, came_back(run, call));
	MemoryContextSwitchTo(caller);
}

static Call *
came_back(PushRun *run, Call *call)
{
	run->under_way--;
	run->bytes -= ((Batch *) call->owner)->bytes;
	return call;
}

/* In a transaction: as many batches as keep the wire busy, their intents written. */
static List *
next_batches(PushRun *run)
{
	List	   *batches = NIL;
	List	   *fresh = NIL;
	ListCell   *cell;
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	while (has_room(run, run->under_way + list_length(batches)) && !(run->trial && batches != NIL))
	{
		Batch	   *batch = NULL;

		/* A trial's request is that of the batch which was read back for it. */
		if (run->again != NIL && !(run->trial && run->parts != NIL))
		{
			batch = linitial(run->again);
			run->again = list_delete_first(run->again);
		}
		else if (run->parts != NIL)
		{
			batch = linitial(run->parts);
			run->parts = list_delete_first(run->parts);
		}
		else if (!run->exhausted)
			batch = compose(run);
		if (batch == NULL)
			break;
		batches = lappend(batches, batch);
		if (batch->unread)
		{
			MemoryContextSwitchTo(run->chunk);
			(void) jdy_pushrun_read_back(run, batch, NULL);
			MemoryContextSwitchTo(run->context);
		}
		batch->bytes = strlen(batch->body);
		run->bytes += batch->bytes;
		if (list_length(batches) % SENDS_BETWEEN == 0)
			keep_wire_busy(run);
	}
	MemoryContextSwitchTo(run->chunk);
	batches = jdy_lookup_prepare(run, batches);
	foreach(cell, batches)
	{
		Batch	   *batch = lfirst(cell);

		if (batch->batch_id == 0 && !jdy_lookup_comes_first(batch))
			fresh = lappend(fresh, batch);
		if (fresh != NIL && (list_length(fresh) == INTENDED_AT_ONCE || lnext(batches, cell) == NULL))
		{
			jdy_delivery_intend(run->push, run->run_id, fresh);
			list_free(fresh);
			fresh = NIL;
			keep_wire_busy(run);
		}
	}
	if (run->trial && batches != NIL)
	{
		const Batch *batch = linitial(batches);

		if (batch->reading == NULL)
			run->tried = batch->n;
		if (!run->noted)
			jdy_breaker_try(&run->breaker);
		run->noted = true;
	}
	MemoryContextSwitchTo(caller);
	return batches;
}

/* The next batch of what is pending; NULL when there is no more. */
static Batch *
compose(PushRun *run)
{
	int			most = run->push->batched ? run->push->batch_rows : 1;
	Batch	   *batch = jdy_pushrun_batch(run, most);
	int64		bytes = 0;

	while (batch->n < most && bytes < run->push->batch_bytes)
	{
		Outgoing   *record = &batch->records[batch->n];
		MemoryContext caller;
		Datum		value;
		bool		isnull;
		int64		length;

		if (TupIsNull(run->slot) && !tuplestore_gettupleslot(run->pending, true, false, run->slot))
		{
			run->exhausted = true;
			break;
		}
		value = slot_getattr(run->slot, 2, &isnull);
		if (isnull)
		{
			/* A deletion goes alone: it ends this batch, or is the next. */
			if (batch->n == 0)
				compose_deletion(run, batch);
			if (batch->records[0].gone)
				return batch;
			break;
		}
		length = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		if (batch->n > 0 && bytes + length > run->push->batch_bytes)
			break;				/* it begins the next batch */
		caller = MemoryContextSwitchTo(batch->context);
		record->payload = TextDatumGetCString(value);
		record->id = TextDatumGetCString(slot_getattr(run->slot, 1, &isnull));
		record->version = DatumGetInt32(slot_getattr(run->slot, 3, &isnull));
		memcpy(record->digest, DatumGetPointer(slot_getattr(run->slot, 4, &isnull)), JDY_PUSH_DIGEST);
		MemoryContextSwitchTo(caller);
		ExecClearTuple(run->slot);
		bytes += length + 1;
		batch->n++;
	}
	if (batch->n == 0)
	{
		MemoryContextDelete(batch->context);
		return NULL;
	}
	jdy_batch_seal(run->push, batch);
	batch->sent_at = GetCurrentTimestamp();
	return batch;
}

static void
compose_deletion(PushRun *run, Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	bool		isnull;

	batch->records[0].id = TextDatumGetCString(slot_getattr(run->slot, 1, &isnull));
	batch->records[0].version = DatumGetInt32(slot_getattr(run->slot, 3, &isnull));
	batch->n = 1;
	jdy_deletion_seal(run->push, batch);
	ExecClearTuple(run->slot);
	MemoryContextSwitchTo(caller);
}

static void
submit(PushRun *run, Batch *batch)
{
	const Push *push = run->push;
	bool		gone = batch->records[0].gone;
	Call	   *call;

	run->under_way++;
	if (batch->reading != NULL)
	{
		jdy_readback_ask(run, batch);
		return;
	}
	if (jdy_lookup_comes_first(batch))
	{
		jdy_lookup_submit(run, batch);
		return;
	}
	call = jdy_call_create(run->client, CALL_PUSH, LANE_TAIL, gone ? push->meta->delete_method : push->meta->method,
						   gone ? push->meta->delete_api : push->meta->api);
	call->owner = batch;
	if (batch->body[0] != '\0')
		call->body = batch->body;
	else
		jdy_call_param(call, "id", batch->records[0].id);
	call->idempotency_key = batch->key;
	call->parse = parse_answer;
	call->parse_arg = gone ? NULL : push->meta; /* deletions may be answered by another api, in another form */
	call->batch = batch->n > 1;
	call->once = jdy_lookup_creates(batch) || jdy_readback_can(run, batch);
	jdy_client_submit(run->client, call);
}

/*
 * Any reply counts as one, an empty body is what many targets answer with; unless
 * the metadata says where a reply of this target tells of success.
 */
static void
parse_answer(Call *call, ReplyFacts *facts)
{
	PageShape	shape = {.single = true};
	ListPage   *page;
	const Metadata *meta = call->parse_arg;
	bool		sign = meta != NULL && meta->success_path != NULL && call->reply->status / 100 == 2;

	facts->batch = call->batch;
	facts->well_formed = !sign;
	if (call->reply->body_length == 0)
		return;
	page = jdy_page_parse(call->reply->body, call->reply->body_length, &shape);
	facts->errcode = page->errcode;
	call->service_text = page->description;
	if (page->problem != NULL)
	{
		facts->well_formed = false;
		call->service_text = page->problem;
	}
	if (!sign)
		return;

	/* What stands there decides: a target may well say "code":1 or "code":"SUCCESS" of success. */
	switch (jdy_answer_sign(meta, call->reply->body, call->reply->body_length))
	{
		case SIGN_MISSING:
			facts->well_formed = false;
			break;
		case SIGN_OTHER:
			facts->well_formed = facts->denied = true;
			call->service_text = page->description;
			break;
		case SIGN_GIVEN:
			facts->well_formed = true;
			facts->errcode = 0;
			break;
	}
}

static void
finish_run(PushRun *run)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.push p SET pushed = true, released = false WHERE p.push_id = $1 AND (NOT p.pushed OR p.released)",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(run->push->push_id)};

	jdy_progress_phase(PHASE_FINISHING);
	jdy_pushrun_begin(run);
	jdy_execute(&note, values, NULL);
	if (run->mark.source != NULL)
		jdy_delivery_seen(run->push, &run->mark);
	jdy_client_persist(run->client);
	if (jdy_client_licence_ends(run->client) != 0)
		jdy_watch_licence(run->push->endpoint->server_name, run->push->owner, jdy_client_licence_ends(run->client));
	jdy_pushrun_commit(run);
}
