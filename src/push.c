/*-------------------------------------------------------------------------
 * push.c
 *		A push's run.
 *
 * What one run does, in order:
 *
 *	1. send again, byte for byte and under the same key, what an earlier run sent
 *	   without learning the outcome: nothing newer of these records may overtake it;
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
 * row of requests without an answer nothing more is sent.
 *
 * Called by runner.c, in a worker that is the push's owner and holds its lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "client.h"
#include "executor/tuptable.h"
#include "jdysync.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "page.h"
#include "progress.h"
#include "push.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#define FLOOD_RECORDS 1000		/* so many changed payloads at once, */
#define FLOOD_SHARE 5			/* and more than a fifth of all: held */
#define GONE_FREELY 10			/* so many deletions are never held; */
#define GONE_RECORDS 100		/* more than these always, */
#define GONE_SHARE 20			/* and more than a twentieth of all */
#define MAX_REPLY_KEPT (64 * 1024)	/* of a dead letter's */
#define NO_SUCH_RECORD 1030002003	/* Kingdee's errcode */
#define GATHER_MS 10			/* answers are gathered so long, while the wire is busy, to be settled in one transaction */
#define MOST_SUSPECTS 10		/* records refused as if the whole push were at fault, none accepted: it is */

/* A record that the target refuses with words that may be about the push as a whole. */
typedef struct Suspect
{
	Batch	   *batch;
	int			http_status;
	int64		errcode;
	char	   *problem;
	char	   *reply;			/* NULL = none that can be kept */
} Suspect;

typedef struct Run
{
	Push	   *push;
	int64		run_id;
	RunCounters *counters;
	Client	   *client;
	RunLog	   *log;
	MemoryContext context;
	MemoryContext chunk;		/* of a transaction; reset after each */
	TupleDesc	desc;
	Tuplestorestate *pending;	/* id, payload, version: what is to be sent, kept on disk if there is much */
	TupleTableSlot *slot;
	bool		exhausted;
	HTAB	   *held;			/* ids in batches that stay open: nothing newer of them may be sent */
	List	   *parts;			/* of Batch *: cut from others, to be sent first */
	List	   *again;			/* of Batch *: open since an earlier run */
	List	   *answered;		/* of Call *: to be settled */
	List	   *doubtful;		/* of Batch *: no answer after all attempts, or not tried since others got none */
	List	   *suspects;		/* of Suspect * */
	int			under_way;
	Size		bytes;			/* of the bodies under way */
	int			silent;			/* requests in a row that got no answer */
	int64		accepted_us;	/* monotonic: when the last request that was accepted had left; 0 = none was */
	Call	   *failure;		/* what ends the run, once all others have come back */
	Call	   *suspicion;		/* the first suspect's */
	char	   *doubt;			/* what came last instead of an answer; NULL = always one did */
} Run;

/* What a scan of the source fills. */
typedef struct Look
{
	Run		   *run;
	Delivered  *delivered;
	int64		found;
	int64		changed;
	int64		gone;
	int64		unmade;			/* no payload could be made of them */
	char	   *problem;		/* the first of these */
} Look;

static Run *open_run(int push_id, int64 run_id, RunCounters *counters, MemoryContext context);
static void begin(Run *run);
static void commit(Run *run);
static void make_run(Run *run);
static void read_again(Run *run);
static void drop_deletions(Run *run);
static void scan_source(Run *run);
static void take_pending(void *arg, Outgoing *records, int n);
static void take_unmade(Look *scan, Outgoing *record, const Standing *standing);
static void check_unmade(const Look *scan);
static void take_gone(void *arg, const char *after, const char *upto, char **present, int n);
static void keep_pending(Look *scan, const char *id, const char *payload, int version);
static int	drop_delivered(const Delivered *delivered, Outgoing *records, int n);
static void postpone(Run *run);
static void forget_unsent(Run *run);
static void hold(Run *run, const Batch *batch);
static bool is_held(Run *run, const char *id);
static void check_flood(Run *run, const Look *scan);
static void send_all(Run *run);
static bool may_send(const Run *run);
static bool has_room(const Run *run, int under_way);
static int	busy_wire(const Run *run);
static bool is_away(const Run *run);
static void take_answers(Run *run);
static List *next_batches(Run *run);
static Batch *compose(Run *run);
static void compose_deletion(Run *run, Batch *batch);
static Batch *new_batch(Run *run, int n);
static void submit(Run *run, Batch *batch);
static void parse_answer(Call *call, ReplyFacts *facts);
static void settle_all(Run *run);
static void settle(Run *run, Call *call);
static bool was_done(const Call *call, const Batch *batch);
static Batch *arrived(Run *run, Batch *batch, const Call *call);
static bool find_failed(const Batch *batch, const Answer *answer, const FailedItem **failed);
static Batch *arrived_partly(Run *run, Batch *batch, const FailedItem **failed, const Call *call);
static void bury_failed(Run *run, const Batch *batch, const FailedItem *item, const Suspect *told);
static void settle_refused(Run *run, Call *call);
static void cut(Run *run, const Batch *batch);
static void restore_payloads(Run *run, const Batch *batch);
static Suspect *refused_record(Run *run, const Call *call);
static bool may_be_the_push(int http_status);
static void judge_suspects(Run *run);
static bool retry_doubtful(Run *run);
static int64 count_doubtful(const Run *run);
static void drop_batch(Batch *batch);
static void finish_run(Run *run);

void
jdy_push_run(int push_id, int64 run_id, RunCounters *counters)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "jdysync push", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Run		   *run = open_run(push_id, run_id, counters, context);

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

static Run *
open_run(int push_id, int64 run_id, RunCounters *counters, MemoryContext context)
{
	Run		   *run = palloc0(sizeof(Run));

	run->run_id = run_id;
	run->counters = counters;
	run->context = context;
	run->chunk = AllocSetContextCreate(context, "jdysync push transaction", ALLOCSET_DEFAULT_SIZES);
	jdy_tx_begin("reading the push");
	MemoryContextSwitchTo(context);
	run->push = jdy_push_load(push_id);
	jdy_tx_commit();
	MemoryContextSwitchTo(context);
	run->desc = CreateTemplateTupleDesc(3);
	TupleDescInitBuiltinEntry(run->desc, 1, "id", TEXTOID, -1, 0);
	TupleDescInitBuiltinEntry(run->desc, 2, "payload", TEXTOID, -1, 0);
	TupleDescInitBuiltinEntry(run->desc, 3, "version", INT4OID, -1, 0);
	run->slot = MakeSingleTupleTableSlot(run->desc, &TTSOpsMinimalTuple);
	run->log = jdy_runlog_open(run_id, push_id, TopMemoryContext);
	run->client = jdy_client_open(run->push->endpoint, run->push->endpoint->concurrency, true, context,
								  jdy_runlog_attempt, run->log);
	return run;
}

static void
begin(Run *run)
{
	jdy_tx_begin("settling deliveries");
	MemoryContextSwitchTo(run->chunk);
}

static void
commit(Run *run)
{
	jdy_runlog_flush(run->log);
	jdy_tx_commit();
	MemoryContextSwitchTo(run->context);
	MemoryContextReset(run->chunk);
}

static void
make_run(Run *run)
{
	read_again(run);
	run->exhausted = true;
	if (run->again != NIL)
		send_all(run);
	postpone(run);
	scan_source(run);
	run->exhausted = false;
	send_all(run);
	postpone(run);
	while (retry_doubtful(run))
	{
		int64		before = run->accepted_us;

		send_all(run);
		postpone(run);
		if (run->accepted_us == before)
			break;
	}
	judge_suspects(run);
	if (is_away(run) || run->doubtful != NIL)
	{
		forget_unsent(run);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the target does not answer"),
				 errdetail("Whether %lld records arrived is not known: %s.", (long long) run->counters->failed, run->doubt),
				 errhint("The next run sends them again, byte for byte and under the same Idempotency-Key, before anything newer.")));
	}
	finish_run(run);
}

static void
read_again(Run *run)
{
	ListCell   *cell;

	begin(run);
	run->again = jdy_delivery_unresolved(run->push, run->context);
	drop_deletions(run);
	commit(run);
	foreach(cell, run->again)
		run->counters->pending += ((Batch *) lfirst(cell))->n;
}

/*
 * What was not sent because the target seemed to be away waits with the doubtful:
 * others are tried first, so that a few requests that the target chokes on do not stand
 * in the way of all.
 */
static void
postpone(Run *run)
{
	run->doubtful = list_concat(list_concat(run->doubtful, run->again), run->parts);
	run->again = run->parts = NIL;
	run->counters->failed = count_doubtful(run);
}

/* Parts that nobody can have acted on: the next run finds their records, and makes better batches of them. */
static void
forget_unsent(Run *run)
{
	ListCell   *cell;

	begin(run);
	foreach(cell, run->doubtful)
	{
		Batch	   *batch = lfirst(cell);

		if (!batch->maybe_arrived)
		{
			jdy_delivery_forget(batch);
			run->counters->failed -= batch->n;
		}
	}
	commit(run);
}

/* In a transaction: those in doubt that the metadata says no more how to send; what the target has of them is not known. */
static void
drop_deletions(Run *run)
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
		drop_batch(batch);
	}
}

/* One transaction; nothing is sent meanwhile. */
static void
scan_source(Run *run)
{
	Look		scan = {.run = run};
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *cell;

	jdy_progress_phase(PHASE_SCANNING);
	foreach(cell, run->doubtful)
		hold(run, lfirst(cell));
	foreach(cell, run->suspects)
		hold(run, ((Suspect *) lfirst(cell))->batch);

	/* It outlives the transaction: rows beyond work_mem lie in a temporary file. */
	MemoryContextSwitchTo(run->context);
	run->pending = tuplestore_begin_heap(false, true, work_mem);
	MemoryContextSwitchTo(caller);
	begin(run);
	scan.delivered = jdy_delivered_load(run->push, run->chunk);
	jdy_source_scan(run->push, take_pending, take_gone, &scan);
	check_unmade(&scan);
	check_flood(run, &scan);
	commit(run);
}

static void
take_pending(void *arg, Outgoing *records, int n)
{
	Look	   *scan = arg;
	Run		   *run = scan->run;
	Standing	standings[JDY_SOURCE_CHUNK];
	char	   *revived[JDY_SOURCE_CHUNK];
	int			nrevived = 0;

	scan->found += n;
	n = drop_delivered(scan->delivered, records, n);
	if (n == 0)
		return;
	jdy_delivery_look(run->push, records, n, standings);
	for (int i = 0; i < n; i++)
	{
		const Standing *standing = &standings[i];

		if (is_held(run, records[i].id))
			continue;
		if (records[i].problem != NULL)
		{
			take_unmade(scan, &records[i], standing);
			continue;
		}
		if (standing->delivered && memcmp(standing->digest, records[i].digest, JDY_PUSH_DIGEST) == 0)
		{
			if (standing->refused || !standing->settled)
				revived[nrevived++] = records[i].id;
			continue;
		}
		/* What was refused is refused again, until it changes or somebody asks for it. */
		if (standing->refused && memcmp(standing->refused_digest, records[i].digest, JDY_PUSH_DIGEST) == 0)
			continue;
		keep_pending(scan, records[i].id, records[i].payload, standing->version + 1);
		scan->changed++;
	}
	if (nrevived > 0)
		jdy_delivery_revived(run->push, revived, nrevived);
	jdy_progress_counters(run->counters);
}

/* A dead letter, once: its digest is that of its row, so it is looked at again when that changes, or the template does. */
static void
take_unmade(Look *scan, Outgoing *record, const Standing *standing)
{
	Batch		batch = {.n = 1,.records = record,.body = record->payload};

	if (scan->unmade++ == 0)
		scan->problem = MemoryContextStrdup(scan->run->context, record->problem);
	if (standing->refused && memcmp(standing->refused_digest, record->digest, JDY_PUSH_DIGEST) == 0)
		return;
	record->version = standing->version + 1;
	jdy_delivery_dead(scan->run->push, &batch, 0, 0, record->problem, NULL);
	scan->run->counters->dead++;
}

/* When it is all of them, the template is at fault and not the records. */
static void
check_unmade(const Look *scan)
{
	if (scan->unmade > 0 && scan->unmade == scan->found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no payload can be made of any record"),
				 errdetail_internal("%s", scan->problem),
				 errhint("Mend \"request\" with jdy_alter_push, or the view.")));
}

/* What the target has and the source has not. */
static void
take_gone(void *arg, const char *after, const char *upto, char **present, int n)
{
	Look	   *scan = arg;
	Outgoing	gone[JDY_SOURCE_CHUNK];
	int			found;

	do
	{
		found = jdy_delivery_gone(scan->run->push, after, upto, present, n, gone, lengthof(gone));
		for (int i = 0; i < found; i++)
		{
			if (is_held(scan->run, gone[i].id))
				continue;
			keep_pending(scan, gone[i].id, NULL, gone[i].version + 1);
			scan->gone++;
		}
		if (found > 0)
			after = gone[found - 1].id;
	} while (found == lengthof(gone));
}

/* payload NULL: it is to be deleted. */
static void
keep_pending(Look *scan, const char *id, const char *payload, int version)
{
	Run		   *run = scan->run;
	Datum		values[3] = {CStringGetTextDatum(id), (Datum) 0, Int32GetDatum(version)};
	bool		nulls[3] = {false, payload == NULL, false};

	if (payload != NULL)
		values[1] = CStringGetTextDatum(payload);
	tuplestore_putvalues(run->pending, run->desc, values, nulls);
	run->counters->pending++;
}

/* How many are left, at the beginning of the array. */
static int
drop_delivered(const Delivered *delivered, Outgoing *records, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
		if (!jdy_delivered_has(delivered, &records[i]))
			records[left++] = records[i];
	return left;
}

static void
hold(Run *run, const Batch *batch)
{
	if (run->held == NULL)
	{
		HASHCTL		control = {.keysize = JDY_MAX_ID_BYTES + 1, .entrysize = JDY_MAX_ID_BYTES + 1, .hcxt = run->context};

		run->held = hash_create("jdysync held ids", 256, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	for (int i = 0; i < batch->n; i++)
		hash_search(run->held, batch->records[i].id, HASH_ENTER, NULL);
}

static bool
is_held(Run *run, const char *id)
{
	return run->held != NULL && hash_search(run->held, id, HASH_FIND, NULL) != NULL;
}

/*
 * A changed view, or a spoiled table, would else be sent out before anybody sees it;
 * and an empty one would empty the target, so fewer deletions are a flood.
 */
static void
check_flood(Run *run, const Look *scan)
{
	static const char *const what = "push held";
	int64		known = 0;
	bool		flood;
	bool		gone;
	char	   *detail;

	if (!run->push->released && (scan->gone > GONE_FREELY || scan->changed > FLOOD_RECORDS))
		known = jdy_delivery_count(run->push);
	gone = known > 0 && scan->gone > GONE_FREELY && (scan->gone > GONE_RECORDS || scan->gone * GONE_SHARE > known);
	flood = known > 0 && run->push->pushed && scan->changed > FLOOD_RECORDS && scan->changed * FLOOD_SHARE > known;
	if (!gone && !flood)
	{
		jdy_incident_close(run->push->name, what);
		return;
	}
	detail = MemoryContextAlloc(run->context, 200);
	if (gone)
		snprintf(detail, 200, "%lld of %lld records would be deleted, and %lld of %lld sent.", (long long) scan->gone,
				 (long long) known, (long long) scan->changed, (long long) scan->found);
	else
		snprintf(detail, 200, "%lld of %lld records would be sent.", (long long) scan->changed, (long long) scan->found);
	jdy_incident_open(run->push->name, "warning", what, detail,
					  psprintf("If that is meant: SELECT jdy_resume(%s, force => true); then push again.",
							   quote_literal_cstr(run->push->name)));
	commit(run);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 gone ? errmsg("the push is held: too many records are gone from its source at once") :
			 errmsg("the push is held: too many records changed at once"),
			 errdetail_internal("%s", detail),
			 errhint("Look with jdy_preview. If it is meant: SELECT jdy_resume(%s, force => true), then push again.",
					 quote_literal_cstr(run->push->name))));
}

/*
 * Until everything that may be sent was sent and has come back: what stands open,
 * then parts of cut batches, then what is pending.  What is left in again and parts then was
 * not sent, since the target seems to be away.
 */
static void
send_all(Run *run)
{
	jdy_progress_phase(PHASE_PUSHING);
	run->silent = 0;
	for (;;)
	{
		List	   *fresh = NIL;
		ListCell   *cell;

		if (run->answered != NIL || may_send(run))
		{
			begin(run);
			settle_all(run);
			if (may_send(run))
				fresh = next_batches(run);
			commit(run);
		}
		foreach(cell, run->answered)
		{
			Call	   *settled = lfirst(cell);

			drop_batch(settled->owner);
			if (settled != run->failure && settled != run->suspicion)
				jdy_client_release(run->client, settled);
		}
		list_free(run->answered);
		run->answered = NIL;
		foreach(cell, fresh)
			submit(run, lfirst(cell));
		list_free(fresh);

		if (run->under_way == 0)
		{
			if (run->failure != NULL)
			{
				postpone(run);
				forget_unsent(run);
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
		if (!jdy_enabled)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("jdysync is switched off"),
					 errdetail("What was sent without an answer is sent again by the next run."),
					 errhint("Set jdysync.enabled to on and reload the server's configuration.")));
	}
}

static bool
may_send(const Run *run)
{
	return run->failure == NULL && !is_away(run) && has_room(run, run->under_way) &&
		(run->again != NIL || run->parts != NIL || !run->exhausted);
}

/* So many requests that the wire stays busy while answers are settled. */
static int
busy_wire(const Run *run)
{
	return 2 * run->push->endpoint->concurrency;
}

/*
 * Small requests of one record each are cheaper than their transactions, so more of
 * them wait in line for the wire, and share one.  Not where calls are counted: there a line
 * is long, and what waits in it may be out of date before it is sent.
 */
static bool
has_room(const Run *run, int under_way)
{
	const Push *push = run->push;

	return under_way < busy_wire(run) ||
		(!push->batched && push->endpoint->calls_per_minute == 0 && under_way < 4 * busy_wire(run) &&
		 run->bytes < push->batch_bytes);
}

/* After so many requests in a row without an answer. */
static bool
is_away(const Run *run)
{
	return run->silent >= busy_wire(run);
}

/* At least one, unless none comes for a while. */
static void
take_answers(Run *run)
{
	Call	   *call = jdy_client_next(run->client, 200);
	int64		until = jdy_monotonic_us() + GATHER_MS * 1000;

	while (call != NULL)
	{
		long		wait = (long) ((until - jdy_monotonic_us()) / 1000);

		run->under_way--;
		run->bytes -= ((Batch *) call->owner)->bytes;
		run->answered = lappend(run->answered, call);
		call = jdy_client_next(run->client, run->under_way > busy_wire(run) ? Max(wait, 0) : 0);
	}
}

/* In a transaction: as many batches as keep the wire busy, their intents written. */
static List *
next_batches(Run *run)
{
	List	   *batches = NIL;
	List	   *fresh = NIL;
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	while (has_room(run, run->under_way + list_length(batches)))
	{
		Batch	   *batch = NULL;

		if (run->again != NIL)
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
		batch->bytes = strlen(batch->body);
		run->bytes += batch->bytes;
		if (batch->batch_id == 0)
			fresh = lappend(fresh, batch);
	}
	MemoryContextSwitchTo(run->chunk);
	if (fresh != NIL)
		jdy_delivery_intend(run->push, run->run_id, fresh);
	list_free(fresh);
	MemoryContextSwitchTo(caller);
	return batches;
}

/* The next batch of what is pending; NULL when there is no more. */
static Batch *
compose(Run *run)
{
	int			most = run->push->batched ? run->push->batch_rows : 1;
	Batch	   *batch = new_batch(run, most);
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
		jdy_payload_digest(record->payload, record->digest);
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
	return batch;
}

static void
compose_deletion(Run *run, Batch *batch)
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

static Batch *
new_batch(Run *run, int n)
{
	MemoryContext context = AllocSetContextCreate(run->context, "jdysync batch of records", ALLOCSET_DEFAULT_SIZES);
	Batch	   *batch = MemoryContextAllocZero(context, sizeof(Batch));

	batch->context = context;
	batch->records = MemoryContextAllocZero(context, sizeof(Outgoing) * n);
	return batch;
}

static void
submit(Run *run, Batch *batch)
{
	const Push *push = run->push;
	bool		gone = batch->records[0].gone;
	Call	   *call = jdy_call_create(run->client, CALL_PUSH, LANE_TAIL, gone ? push->meta->delete_method : push->meta->method,
									   gone ? push->meta->delete_api : push->meta->api);

	call->owner = batch;
	if (batch->body[0] != '\0')
		call->body = batch->body;
	else
		jdy_call_param(call, "id", batch->records[0].id);
	call->idempotency_key = batch->key;
	call->parse = parse_answer;
	call->batch = batch->n > 1;
	jdy_client_submit(run->client, call);
	run->under_way++;
}

/* Any reply counts as one: an empty body is what many targets answer with. */
static void
parse_answer(Call *call, ReplyFacts *facts)
{
	PageShape	shape = {.single = true};
	ListPage   *page;

	facts->batch = call->batch;
	facts->well_formed = true;
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
}

/* In a transaction: what was accepted in one go, the others one by one. */
static void
settle_all(Run *run)
{
	List	   *accepted = NIL;
	ListCell   *cell;

	foreach(cell, run->answered)
	{
		Call	   *call = lfirst(cell);
		Batch	   *batch = call->owner;

		batch->maybe_arrived |= call->maybe_acted;
		if (was_done(call, batch))
		{
			if (call->outcome == OUTCOME_OK)
				run->accepted_us = Max(run->accepted_us, call->left_us);
			run->silent = 0;
			if (batch->records[0].gone)
				run->counters->deleted++;
			else
				batch = arrived(run, batch, call);
			if (batch == NULL)
				continue;
			accepted = lappend(accepted, batch);
			run->counters->delivered += batch->n;
		}
		else
			settle(run, call);
	}
	if (accepted != NIL)
		jdy_delivery_accepted(run->push, accepted);
}

static void
settle(Run *run, Call *call)
{
	Batch	   *batch = call->owner;
	const char *problem = jdy_call_problem(call);
	MemoryContext caller;

	switch (call->outcome)
	{
		case OUTCOME_REFUSED:
		case OUTCOME_SET_ASIDE:
			run->silent = 0;
			settle_refused(run, call);
			return;
		case OUTCOME_FAILED:
			if (run->failure == NULL)
				run->failure = call;

			/* Nobody can have acted on it: found again by the next scan. */
			if (!batch->maybe_arrived)
			{
				jdy_delivery_forget(batch);
				return;
			}
			break;
		default:
			break;
	}

	jdy_delivery_doubtful(batch, call->reply != NULL ? call->reply->status : 0, problem);
	caller = MemoryContextSwitchTo(run->context);
	run->silent++;
	run->doubt = pstrdup(problem);
	run->doubtful = lappend(run->doubtful, batch);
	batch->tried = true;
	batch->problem = MemoryContextStrdup(batch->context, problem);
	if (batch->failed_us == 0)
		batch->failed_us = call->failed_us != 0 ? call->failed_us : jdy_monotonic_us();
	call->owner = NULL;			/* the batch stays */
	MemoryContextSwitchTo(caller);
}

/*
 * A wrong path or a right that is missing is refused record by record like bad
 * contents.  As long as nothing was accepted such a record is set apart: ten of
 * them say that it is the push that must be mended.
 */
static void
settle_refused(Run *run, Call *call)
{
	Batch	   *batch = call->owner;
	Suspect    *suspect;

	batch->failed_us = 0;		/* it does get an answer */
	if (batch->n > 1)
	{
		cut(run, batch);
		return;
	}
	suspect = refused_record(run, call);
	if (run->accepted_us != 0 || !may_be_the_push(suspect->http_status))
	{
		jdy_delivery_dead(run->push, batch, suspect->http_status, suspect->errcode, suspect->problem, suspect->reply);
		run->counters->dead++;
		return;
	}
	if (!batch->maybe_arrived)
		jdy_delivery_forget(batch);
	call->owner = NULL;
	if (run->suspicion == NULL)
		run->suspicion = call;
	MemoryContextSwitchTo(run->context);
	run->suspects = lappend(run->suspects, suspect);
	MemoryContextSwitchTo(run->chunk);
	if (list_length(run->suspects) >= MOST_SUSPECTS && run->failure == NULL)
		run->failure = run->suspicion;
}

/* Whoever deletes what is not there any more has what he wants.  404 may as well be a wrong path. */
static bool
was_done(const Call *call, const Batch *batch)
{
	return call->outcome == OUTCOME_OK ||
		(batch->records[0].gone && (call->outcome == OUTCOME_REFUSED || call->outcome == OUTCOME_SET_ASIDE) &&
		 ((call->reply != NULL && call->reply->status == 410) || call->errcode == NO_SUCH_RECORD));
}

/*
 * The request succeeded: so did its records, but for those that the reply says
 * failed.  When it says only that some did, the batch is cut as if it had been refused, and
 * any of them may have arrived.  NULL: nothing is known to have.
 */
static Batch *
arrived(Run *run, Batch *batch, const Call *call)
{
	Answer		answer;
	const FailedItem **failed;

	jdy_answer_read(run->push->meta, call->reply->body, call->reply->body_length, &answer);
	if (answer.failed == 0)
		return batch;
	failed = palloc0(sizeof(FailedItem *) * batch->n);
	if (batch->n == 1)
		bury_failed(run, batch, answer.nitems > 0 ? &answer.items[0] : NULL, refused_record(run, call));
	else if (find_failed(batch, &answer, failed))
		return arrived_partly(run, batch, failed, call);
	else
	{
		batch->maybe_arrived = true;
		cut(run, batch);
	}
	return NULL;
}

/* The item of each record, NULL of one that did not fail; false when they are not all known. */
static bool
find_failed(const Batch *batch, const Answer *answer, const FailedItem **failed)
{
	int64		found = 0;

	for (int i = 0; i < answer->nitems; i++)
	{
		int			r = 0;

		while (r < batch->n && (answer->items[i].id == NULL || strcmp(batch->records[r].id, answer->items[i].id) != 0))
			r++;
		if (r == batch->n)
			return false;
		found += failed[r] == NULL;
		failed[r] = &answer->items[i];
	}
	/* One record may have several faults; a count beyond the names is of others. */
	return found > 0 && answer->failed <= Max(found, answer->nitems);
}

/* The records that failed are dead letters, each with its own payload; the others arrived. */
static Batch *
arrived_partly(Run *run, Batch *batch, const FailedItem **failed, const Call *call)
{
	Batch	   *rest = palloc(sizeof(Batch));
	const Suspect *told = refused_record(run, call);

	restore_payloads(run, batch);
	*rest = *batch;
	rest->n = 0;
	rest->records = palloc(sizeof(Outgoing) * batch->n);
	for (int i = 0; i < batch->n; i++)
	{
		Batch		single = {
			.n = 1,.records = &batch->records[i],.body = batch->records[i].payload,.maybe_arrived = batch->maybe_arrived
		};

		if (failed[i] == NULL)
			rest->records[rest->n++] = batch->records[i];
		else
			bury_failed(run, &single, failed[i], told);
	}
	if (rest->n > 0)
		return rest;
	jdy_delivery_forget(batch);
	return NULL;
}

static void
bury_failed(Run *run, const Batch *batch, const FailedItem *item, const Suspect *told)
{
	const char *problem = "the target did not take the record";

	if (item != NULL && item->message != NULL && item->message[0] != '\0')
		problem = jdy_client_mask(run->client, psprintf("%s: %s", problem, item->message));
	jdy_delivery_dead(run->push, batch, told->http_status, told->errcode, problem, told->reply);
	run->counters->dead++;
}

/* Two halves instead, sent before anything else; in a transaction. */
static void
cut(Run *run, const Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	List	   *halves = NIL;
	int			middle = run->push->batched ? (batch->n + 1) / 2 : 1;	/* it may have been composed by other metadata */

	restore_payloads(run, batch);
	for (int from = 0; from < batch->n; from += middle)
	{
		int			n = Min(middle, batch->n - from);
		Batch	   *half = new_batch(run, n);

		MemoryContextSwitchTo(half->context);
		for (int i = 0; i < n; i++)
		{
			half->records[i] = batch->records[from + i];
			half->records[i].id = pstrdup(half->records[i].id);
			half->records[i].payload = pstrdup(half->records[i].payload);
		}
		half->n = n;
		half->maybe_arrived = batch->maybe_arrived;
		half->failed_us = batch->failed_us;
		MemoryContextSwitchTo(run->context);
		jdy_batch_seal(run->push, half);
		halves = lappend(halves, half);
	}

	/* The halves' intents come with the commit that takes this one away: nothing is lost in between. */
	MemoryContextSwitchTo(run->chunk);
	jdy_delivery_forget(batch);
	jdy_delivery_intend(run->push, run->run_id, halves);
	MemoryContextSwitchTo(run->context);
	run->parts = list_concat(halves, run->parts);
	MemoryContextSwitchTo(caller);
}

/*
 * A batch of an earlier run has only its body: the records' texts are taken from
 * there, byte for byte.  Where in it they stand was said by the metadata of then.
 */
static void
restore_payloads(Run *run, const Batch *batch)
{
	static JdyStatement split = {
		.sql = "SELECT e.value::text FROM pg_catalog.json_array_elements(CASE pg_catalog.json_typeof($1::json)"
		" WHEN 'array' THEN $1::json"
		" ELSE (SELECT m.value FROM pg_catalog.json_each($1::json) AS m WHERE pg_catalog.json_typeof(m.value) = 'array'"
		"  AND pg_catalog.json_array_length(m.value) = $2 LIMIT 1) END)"
		" WITH ORDINALITY AS e (value, place) ORDER BY e.place",
		.nargs = 2,
		.argtypes = {TEXTOID, INT4OID}
	};
	Datum		values[2];
	MemoryContext caller;

	if (batch->records[0].payload != NULL)
		return;
	values[0] = CStringGetTextDatum(batch->body);
	values[1] = Int32GetDatum(batch->n);
	jdy_execute(&split, values, NULL);
	if (SPI_processed != batch->n)
		elog(ERROR, "a batch of %d records has %llu in its body", batch->n, (unsigned long long) SPI_processed);
	caller = MemoryContextSwitchTo(batch->context);
	for (int i = 0; i < batch->n; i++)
		batch->records[i].payload = jdy_spi_text(i, 1);
	MemoryContextSwitchTo(caller);
}

/* What a dead letter says of a refused record; lives as long as its batch. */
static Suspect *
refused_record(Run *run, const Call *call)
{
	Batch	   *batch = call->owner;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	Suspect    *suspect = palloc0(sizeof(Suspect));

	suspect->batch = batch;
	suspect->errcode = call->errcode;
	suspect->problem = jdy_call_problem(call);
	if (call->reply != NULL)
	{
		int			length = pg_mbcliplen(call->reply->body, Min(call->reply->body_length, MAX_REPLY_KEPT), MAX_REPLY_KEPT);

		suspect->http_status = call->reply->status;
		if (length > 0 && pg_verifymbstr(call->reply->body, length, true))
			suspect->reply = unconstify(char *, jdy_client_mask(run->client, pnstrdup(call->reply->body, length)));
	}
	MemoryContextSwitchTo(caller);
	return suspect;
}

/* Statuses that speak of who asks, and where, rather than of what was sent. */
static bool
may_be_the_push(int http_status)
{
	switch (http_status)
	{
		case 402:
		case 403:
		case 404:
		case 405:
		case 407:
		case 410:
		case 415:
		case 426:
		case 451:
			return true;
		default:
			return false;
	}
}

/* Others were accepted: it was these records.  Else the push fails, and they are still to be sent. */
static void
judge_suspects(Run *run)
{
	ListCell   *cell;

	if (run->suspects == NIL)
		return;
	if (run->accepted_us == 0)
	{
		forget_unsent(run);
		jdy_call_raise(run->suspicion);
	}
	begin(run);
	foreach(cell, run->suspects)
	{
		const Suspect *suspect = lfirst(cell);

		jdy_delivery_dead(run->push, suspect->batch, suspect->http_status, suspect->errcode, suspect->problem, suspect->reply);
		run->counters->dead++;
	}
	commit(run);
}

/*
 * Requests without an answer although one that left after their first failure was
 * accepted: one of their records may be what the target chokes on, so they are
 * cut, too, and records that stand alone become dead letters.  Those that were not tried are
 * sent now that the target accepts something.  false: there is nothing to be tried.
 */
static bool
retry_doubtful(Run *run)
{
	List	   *doubtful = run->doubtful;
	List	   *done = NIL;
	int			ndone;
	ListCell   *cell;

	if (doubtful == NIL || run->accepted_us == 0)
		return false;
	run->doubtful = NIL;
	begin(run);
	foreach(cell, doubtful)
	{
		Batch	   *batch = lfirst(cell);
		List	  **fate = &done;

		if (!batch->tried)
			fate = &run->parts;
		else if (batch->failed_us >= run->accepted_us)
			fate = &run->doubtful;
		else if (batch->n > 1)
			cut(run, batch);
		else
		{
			jdy_delivery_dead(run->push, batch, 0, 0, batch->problem, NULL);
			run->counters->dead++;
		}
		MemoryContextSwitchTo(run->context);
		*fate = lappend(*fate, batch);
		MemoryContextSwitchTo(run->chunk);
	}
	run->counters->failed = count_doubtful(run);
	commit(run);
	foreach(cell, done)
		drop_batch(lfirst(cell));
	ndone = list_length(done);
	list_free(done);
	list_free(doubtful);
	return run->parts != NIL || (ndone > 0 && !run->exhausted);
}

static int64
count_doubtful(const Run *run)
{
	int64		n = 0;
	ListCell   *cell;

	foreach(cell, run->doubtful)
		n += ((Batch *) lfirst(cell))->n;
	return n;
}

static void
drop_batch(Batch *batch)
{
	if (batch != NULL)
		MemoryContextDelete(batch->context);
}

static void
finish_run(Run *run)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.push p SET pushed = true, released = false WHERE p.push_id = $1 AND (NOT p.pushed OR p.released)",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(run->push->push_id)};

	jdy_progress_phase(PHASE_FINISHING);
	begin(run);
	jdy_execute(&note, values, NULL);
	jdy_client_persist(run->client);
	commit(run);
}
