/*-------------------------------------------------------------------------
 * sync.c
 *		What people call to run a stream: jdy_sync and its relatives.
 *
 * jdy_sync starts a runner as soon as jdysync.max_workers lets it (or joins a run
 * that has not begun), and waits for it with the latch: it can be cancelled, timed
 * out, terminated or left by its client at any moment, and leaves the run's slot in
 * whatever way it ends.  The run belongs to those who wait; the last one's leaving
 * cancels it.
 *
 * The waiting session's own transaction stays open.  It must not have written
 * anything, since the runner could neither see it nor get past its locks, so
 * jdy_sync refuses to run in a transaction block or after writes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "breaker.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "funcapi.h"
#include "grant.h"
#include "home.h"
#include "incident.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "progress.h"
#include "runlog.h"
#include "runner.h"
#include "runslot.h"
#include "spi.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "stream.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define LONG_RUN_MINUTES 5		/* who waits longer, as for a first load, gets a hint */
#define TICK_MS 1000

/* Of libpq/libpq.h, which takes in headers of GSSAPI that need not be there. */
extern bool pq_check_connection(void);

/* What a caller learns of a finished run. */
typedef struct RunResult
{
	int64		run_id;			/* 0 = it did not begin */
	char		status[16];
	RunCounters counters;
	RunError	error;
	int64		elapsed_us;
} RunResult;

/* A caller's side of a run. */
typedef struct Waiter
{
	SlotTicket	ticket;
	BackgroundWorkerHandle *handle; /* NULL when another started the worker, or none is started yet */
	const char *name;
	int64		told_us;		/* when the last NOTICE went out */
	char	   *told;			/* what it said */
	bool		told_long;
} Waiter;

/* What is read of our tables before the wait, and what was found. */
typedef struct Lookup
{
	const char *name;
	bool		pushes;			/* not streams */
	int			stream_id;
	MemoryContext memory;		/* of streams */
	List	   *streams;		/* of StreamRef */
	Oid			extension;		/* that they belong to */
	const char *server;
	Breaker		breaker;		/* of that */
} Lookup;

static void require_can_wait(void);
static RunMode requested_mode(const char *mode);
static void run_stream(const StreamRef *stream, Oid extension, RunMode mode, TimestampTz from_time, TimestampTz to_time,
					   bool raise, ReturnSetInfo *rsinfo);
static List *streams_of(const char *name, bool pushes, Oid *extension);
static void find_streams(Lookup *lookup);
static void run_and_wait(const RunRequest *request, const char *name, RunResult *result);
static bool target_is_away(const StreamRef *push, RunResult *result);
static void find_breaker(Lookup *lookup);
static void without_locks(void (*look) (Lookup *), Lookup *lookup);
static void hide_error(const StreamRef *stream, RunResult *result);
static void raise_result(const StreamRef *stream, const RunResult *result);
static void put_result(ReturnSetInfo *rsinfo, const StreamRef *stream, const RunResult *result);
static void wait_for_run(Waiter *waiter, RunResult *result);
static bool starts_worker(Waiter *waiter, const RunSlot *slot);
static bool never_starts(Waiter *waiter, const RunSlot *slot);
static void tell_progress(Waiter *waiter, const RunSlot *slot);
static void tell(Waiter *waiter, char *line);
static void check_client(void);
static void leave_at_error(int code, Datum ticket);
static void no_worker(RunError *error);

PG_FUNCTION_INFO_V1(jdy_sync);
PG_FUNCTION_INFO_V1(jdy_push);
PG_FUNCTION_INFO_V1(jdy_resync);
PG_FUNCTION_INFO_V1(jdy_start);
PG_FUNCTION_INFO_V1(jdy_cancel);

Datum
jdy_sync(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	RunMode		mode = PG_ARGISNULL(1) ? MODE_AUTO : requested_mode(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Oid			extension;
	ListCell   *lc;

	require_can_wait();
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, streams_of(name, false, &extension))
		run_stream(lfirst(lc), extension, mode, 0, 0, name != NULL, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

Datum
jdy_push(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			extension;
	ListCell   *lc;

	require_can_wait();
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, streams_of(name, true, &extension))
	{
		RunResult	result;

		if (name == NULL && target_is_away(lfirst(lc), &result))
			put_result((ReturnSetInfo *) fcinfo->resultinfo, lfirst(lc), &result);
		else
			run_stream(lfirst(lc), extension, MODE_AUTO, 0, 0, name != NULL, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	return (Datum) 0;
}

Datum
jdy_resync(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz from_time = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz to_time = PG_GETARG_TIMESTAMPTZ(2);
	Oid			extension;
	StreamRef  *stream;

	require_can_wait();
	if (TIMESTAMP_IS_NOEND(from_time) || TIMESTAMP_NOT_FINITE(to_time) || from_time >= to_time)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from_time must be before to_time, and to_time finite"),
				 errhint("To read everything again use jdy_sync with mode full.")));
	InitMaterializedSRF(fcinfo, 0);
	stream = linitial(streams_of(name, false, &extension));
	run_stream(stream, extension, MODE_RANGE, from_time, to_time, true,
			   (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

Datum
jdy_start(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	RunMode		mode = requested_mode(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	StreamRef  *stream;
	int64		run_id;

	jdy_require_preload();
	jdy_require_primary();
	PreventCommandIfReadOnly("jdy_start()");
	SPI_connect();
	jdy_home_check();
	stream = jdy_stream_ref_to_run(name);
	if (stream->is_push && (mode == MODE_VERIFY || mode == MODE_AUDIT))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a push: only streams can be verified and audited", name),
				 errhint("SELECT jdy_start('%s') runs it.", name)));
	run_id = jdy_run_queue(stream->stream_id, stream->name, mode);
	SPI_finish();
	jdy_wake_launcher_at_commit();
	PG_RETURN_INT64(run_id);
}

/* A queued run ends with the caller's transaction, a running one at once. */
Datum
jdy_cancel(PG_FUNCTION_ARGS)
{
	static JdyStatement look = {
		"SELECT r.stream_id, r.status FROM jdysync.run r WHERE r.run_id = $1",
		1, {INT8OID}
	};
	static JdyStatement cancel = {
		"UPDATE jdysync.run SET status = 'cancelled', finished_at = $2, "
		"error = 'the run was cancelled' WHERE run_id = $1 AND status = 'queued'",
		2, {INT8OID, TIMESTAMPTZOID}
	};
	int64		run_id = PG_GETARG_INT64(0);
	Datum		values[2] = {Int64GetDatum(run_id), TimestampTzGetDatum(jdy_clock_now())};
	StreamRef  *stream;
	bool		cancelled;

	jdy_require_preload();
	jdy_require_primary();
	PreventCommandIfReadOnly("jdy_cancel()");
	SPI_connect();
	jdy_execute(&look, values, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run does not exist"),
				 errdetail("There is no run %lld.", (long long) run_id)));
	stream = jdy_stream_ref_by_id((int) jdy_spi_int64(0, 1, 0));
	if (!(stream != NULL ? jdy_may_run(stream, GetUserId()) : superuser()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the run"),
				 errdetail("Only who may run the stream may cancel its runs.")));

	jdy_execute(&cancel, values, NULL);
	cancelled = SPI_processed > 0;
	if (cancelled)
		jdy_notify_run(run_id, "cancelled");
	SPI_finish();
	if (!cancelled)
		cancelled = jdy_runner_cancel(run_id);
	PG_RETURN_BOOL(cancelled);
}

/*
 * Makes the run in a worker and waits, with progress as NOTICEs about stream
 * `name`.  Joins a run of the same mode that has not begun; waits for
 * a worker when jdysync.max_workers are out.  Cancels the run when the caller is
 * cancelled, ends or loses its client, and nobody else waits.  What goes wrong with the run, or with starting it, is in the
 * result; only what goes wrong with the caller is raised.
 */
static void
run_and_wait(const RunRequest *request, const char *name, RunResult *result)
{
	Waiter		waiter = {.name = name};

	MemSet(result, 0, sizeof(RunResult));
	if (!jdy_slot_enter(request, &waiter.ticket))
	{
		strlcpy(result->status, "failed", sizeof(result->status));
		jdy_run_error(&result->error, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, "too many runs are open",
					  NULL, "Wait for one of them to end.");
		return;
	}

	PG_ENSURE_ERROR_CLEANUP(leave_at_error, PointerGetDatum(&waiter.ticket));
	{
		wait_for_run(&waiter, result);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_at_error, PointerGetDatum(&waiter.ticket));
	jdy_slot_leave(&waiter.ticket);
}

static void
require_can_wait(void)
{
	jdy_require_preload();
	jdy_require_primary();
	if (!jdy_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jdysync is switched off"),
				 errhint("Set jdysync.enabled to on and reload the server's configuration.")));
	if (IsTransactionBlock() || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a stream cannot be run inside a transaction block"),
				 errdetail("The run is made by a worker that cannot see what this transaction did, and locks could block each other."),
				 errhint("Call it by itself, or use jdy_start, which runs the stream after the commit.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a stream cannot be run after writes in the same transaction"),
				 errdetail("The run is made by a worker that cannot see what this transaction did, and locks could block each other."),
				 errhint("Call it by itself, or use jdy_start, which runs the stream after the commit.")));
}

/* A range is asked for by jdy_resync only, and nobody but the clock asks for a remedy. */
static RunMode
requested_mode(const char *word)
{
	bool		other = strcmp(word, "range") == 0 || strcmp(word, "remedy") == 0;

	return jdy_mode_parse(other ? "" : word);
}

static void
run_stream(const StreamRef *stream, Oid extension, RunMode mode, TimestampTz from_time, TimestampTz to_time,
		   bool raise, ReturnSetInfo *rsinfo)
{
	RunRequest	request = {
		.database = MyDatabaseId, .extension = extension, .owner = stream->owner, .stream_id = stream->stream_id,
		.mode = mode, .from_time = from_time, .to_time = to_time,
		.heavy = stream->is_push || !stream->loaded || mode != MODE_AUTO
	};
	RunResult	result;

	run_and_wait(&request, stream->name, &result);
	hide_error(stream, &result);
	if (raise && strcmp(result.status, "ok") != 0)
		raise_result(stream, &result);
	put_result(rsinfo, stream, &result);
}

/* The stream called `name`, or all that are enabled; in the caller's memory, which outlives SPI's. */
static List *
streams_of(const char *name, bool pushes, Oid *extension)
{
	Lookup		lookup = {.name = name, .pushes = pushes, .memory = CurrentMemoryContext};

	without_locks(find_streams, &lookup);
	*extension = lookup.extension;
	return lookup.streams;
}

static void
find_streams(Lookup *lookup)
{
	List	   *found = lookup->name != NULL ? list_make1(jdy_stream_ref_to_run(lookup->name)) : jdy_stream_refs_enabled(lookup->pushes);
	ListCell   *lc;

	/* The locks on its tables, held until here, keep it as it is. */
	lookup->extension = jdy_extension_oid();
	MemoryContextSwitchTo(lookup->memory);
	foreach(lc, found)
	{
		StreamRef  *stream = palloc(sizeof(StreamRef));

		*stream = *(StreamRef *) lfirst(lc);
		if (stream->is_push != lookup->pushes)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is a %s, not a %s", stream->name, lookup->pushes ? "stream" : "push", lookup->pushes ? "push" : "stream"),
					 errhint("SELECT * FROM %s(%s) runs it.", lookup->pushes ? "jdy_sync" : "jdy_push", quote_literal_cstr(stream->name))));
		stream->name = pstrdup(stream->name);
		stream->server = pstrdup(stream->server);
		lookup->streams = lappend(lookup->streams, stream);
	}
}

/* Who names no push does not know better than the breaker of its server: there is no run before the pause is over. */
static bool
target_is_away(const StreamRef *push, RunResult *result)
{
	Lookup		lookup = {.server = push->server};

	without_locks(find_breaker, &lookup);
	if (lookup.breaker.next_try <= GetCurrentTimestamp())
		return false;
	MemSet(result, 0, sizeof(RunResult));
	strlcpy(result->status, "failed", sizeof(result->status));
	jdy_run_error(&result->error, ERRCODE_CONNECTION_FAILURE, "the target does not answer", NULL, NULL);
	return true;
}

static void
find_breaker(Lookup *lookup)
{
	jdy_breaker_load(&lookup->breaker, lookup->server);
}

/*
 * Reads our tables in a subtransaction that is then rolled back, for the sake of
 * its locks.  Kept until the end of the run, they would close a ring that no
 * deadlock detector sees: DROP EXTENSION waits for us, the runner queues up behind
 * it, and we wait for the runner.
 */
static void
without_locks(void (*look) (Lookup *), Lookup *lookup)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		SPI_connect();
		look(lookup);
		SPI_finish();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

/* Its words may quote a record: who may run a stream need not be one who may read it. */
static void
hide_error(const StreamRef *stream, RunResult *result)
{
	if (result->error.sqlstate != 0 && strcmp(result->status, "cancelled") != 0 && !jdy_may_read(stream, GetUserId()))
		jdy_run_error(&result->error, result->error.sqlstate, "the run failed", NULL, "Its owner sees in jdy_runs why.");
}

static void
raise_result(const StreamRef *stream, const RunResult *result)
{
	const RunError *error = &result->error;

	ereport(ERROR,
			(errcode(error->sqlstate != 0 ? error->sqlstate : ERRCODE_INTERNAL_ERROR),
			 errmsg_internal("%s", error->message[0] != '\0' ? error->message : "the run failed"),
			 error->detail[0] != '\0' ? errdetail_internal("%s", error->detail) : 0,
			 error->hint[0] != '\0' ? errhint("%s", error->hint) : 0,
			 errcontext("%s", result->run_id != 0 ? psprintf("run %lld of stream \"%s\"", (long long) result->run_id, stream->name) :
						psprintf("a run of stream \"%s\" that did not begin", stream->name))));
}

static void
put_result(ReturnSetInfo *rsinfo, const StreamRef *stream, const RunResult *result)
{
	const RunCounters *counters = &result->counters;
	Interval   *elapsed = palloc0(sizeof(Interval));
	Datum		values[14];
	bool		nulls[14] = {0};

	elapsed->time = result->elapsed_us;
	nulls[0] = result->run_id == 0;
	values[0] = Int64GetDatum(result->run_id);
	values[1] = CStringGetTextDatum(stream->name);
	values[2] = CStringGetTextDatum(result->status);
	if (stream->is_push)
	{
		values[3] = Int64GetDatum(counters->pending);
		values[4] = Int64GetDatum(counters->delivered);
		values[5] = Int64GetDatum(counters->verified);
		values[6] = Int64GetDatum(counters->failed);
		values[7] = Int64GetDatum(counters->dead);
		values[8] = Int64GetDatum(counters->calls);
		values[9] = Int64GetDatum(counters->retries);
		values[10] = IntervalPGetDatum(elapsed);
		nulls[11] = result->error.sqlstate == 0;
		values[11] = CStringGetTextDatum(result->error.message);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		return;
	}
	values[3] = Int64GetDatum(counters->listed);
	values[4] = Int64GetDatum(counters->details);
	values[5] = Int64GetDatum(counters->inserted);
	values[6] = Int64GetDatum(counters->updated);
	values[7] = Int64GetDatum(counters->unchanged);
	values[8] = Int64GetDatum(counters->deleted);
	values[9] = Int64GetDatum(counters->rejected);
	values[10] = Int64GetDatum(counters->calls);
	values[11] = Int64GetDatum(counters->retries);
	values[12] = IntervalPGetDatum(elapsed);
	nulls[13] = result->error.sqlstate == 0;
	values[13] = CStringGetTextDatum(result->error.message);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Interrupts are served inside the sleep.  The client is looked at before the slot
 * is read: that may take a wake-up from the latch, which the reading makes good.
 */
static void
wait_for_run(Waiter *waiter, RunResult *result)
{
	RunSlot		slot;

	for (;;)
	{
		check_client();
		if (!jdy_slot_read(&waiter->ticket, &slot))
			elog(ERROR, "slot of the run is gone");
		if (slot.state == RUN_DONE)
			break;
		if (starts_worker(waiter, &slot) || never_starts(waiter, &slot))
			continue;
		tell_progress(waiter, &slot);
		ConditionVariableTimedSleep(jdy_slot_changed(&waiter->ticket), TICK_MS, JDY_WAIT_EVENT("JdysyncRun"));
	}
	ConditionVariableCancelSleep();

	result->run_id = slot.run_id;
	result->counters = slot.counters;
	result->error = slot.error;
	result->elapsed_us = slot.elapsed_us;
	strlcpy(result->status, slot.status, sizeof(result->status));
}

/* When it is the run's turn.  Of several who wait for it, the first to look starts the worker. */
static bool
starts_worker(Waiter *waiter, const RunSlot *slot)
{
	RunError	error;

	if (slot->state != RUN_WAITING || !jdy_slot_claim(&waiter->ticket, jdy_max_workers))
		return false;
	if (!jdy_runner_register(&waiter->ticket, &waiter->handle))
	{
		no_worker(&error);
		jdy_slot_abandon(&waiter->ticket, &error);
	}
	return true;
}

/* Who started the worker can ask the postmaster; who joined, or lost the one who did, must go by the clock. */
static bool
never_starts(Waiter *waiter, const RunSlot *slot)
{
	RunError	error;
	pid_t		pid;

	if (slot->state != RUN_STARTING || slot->runner_pid != 0)
		return false;
	if (!jdy_slot_overdue(slot) &&
		(waiter->handle == NULL || GetBackgroundWorkerPid(waiter->handle, &pid) != BGWH_STOPPED))
		return false;
	no_worker(&error);
	return jdy_slot_abandon(&waiter->ticket, &error);
}

/* At most one NOTICE a second, and only when there is something new to say. */
static void
tell_progress(Waiter *waiter, const RunSlot *slot)
{
	int64		now_us = jdy_monotonic_us();
	int			minutes;

	if (waiter->told_us == 0)
		waiter->told_us = now_us;
	if (now_us - waiter->told_us < TICK_MS * 1000)
		return;
	waiter->told_us = now_us;

	if (slot->state == RUN_WAITING)
	{
		tell(waiter, slot->heavy && jdy_max_workers > 1 ?
			 psprintf("%s: waiting for a worker, all but the one of jdysync.max_workers (%d) that is kept for changes are busy",
					  waiter->name, jdy_max_workers) :
			 psprintf("%s: waiting for a worker, all %d of jdysync.max_workers are busy", waiter->name, jdy_max_workers));
		return;
	}
	if (slot->state == RUN_STARTING)
	{
		if (slot->runner_pid != 0)
			tell(waiter, psprintf("%s: waiting for the open run to end", waiter->name));
		return;
	}
	tell(waiter, jdy_progress_line(waiter->name, &slot->counters, &slot->progress));

	minutes = jdy_progress_minutes_left(&slot->counters, &slot->progress);
	if (minutes > LONG_RUN_MINUTES && !waiter->told_long)
	{
		waiter->told_long = true;
		ereport(NOTICE,
				(errmsg("the run of \"%s\" takes about %d more minutes", waiter->name, minutes),
				 errhint("jdy_start does the same without waiting.")));
	}
}

static void
tell(Waiter *waiter, char *line)
{
	if (waiter->told == NULL || strcmp(line, waiter->told) != 0)
		ereport(NOTICE, (errmsg_internal("%s", line)));
	if (waiter->told != NULL)
		pfree(waiter->told);
	waiter->told = line;
}

/* Nothing is sent for long, so a client that is gone would not be noticed. */
static void
check_client(void)
{
	if (MyProcPort != NULL && whereToSendOutput == DestRemote && !pq_check_connection())
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
	CHECK_FOR_INTERRUPTS();
}

static void
leave_at_error(int code, Datum ticket)
{
	jdy_slot_leave((SlotTicket *) DatumGetPointer(ticket));
}

static void
no_worker(RunError *error)
{
	jdy_run_error(error, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, "no worker could be started",
				  "All background worker slots of the server are in use.",
				  "Raise max_worker_processes, or try again when other workers have ended.");
}
