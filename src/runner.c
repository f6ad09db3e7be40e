/*-------------------------------------------------------------------------
 * runner.c
 *		The background worker that makes a run, as the owner of the stream.
 *
 * Order of a run:
 *
 *	attach		take the slot that the starter filled in; void: exit
 *	connect		as the owner, never with more rights; pin the settings
 *	lock		the stream's lock: one run per stream; may wait for another run
 *	begin		tx1: the run's row says "running" (committed, so that a crash shows)
 *	pull		jdy_pull_run, many short transactions, none while bytes are awaited
 *	end			tx2: the run's row gets its status, counters and error
 *	unlock, finish the slot, exit
 *
 * How it can end instead:
 *
 *	error			caught once, at the top; the work is rolled back, tx2 tells
 *	cancel			SIGINT: an error like any other, status "cancelled"
 *	jdysync.enabled	off: the launcher cancels it; what was due is due again
 *	SIGTERM, FATAL	no tx2: an exit callback tells the waiters; the row goes on
 *					saying "running", and as nobody holds the lock everybody
 *					reads that as "interrupted"; the next runner writes it
 *	kill -9			the cluster restarts; the row as above
 *
 * Every transaction of a run looks whether its lock (streamlock.c) is still held, and
 * whether the extension is still the one that the run was asked of (jdy_tx_guard).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "agenda.h"
#include "clock.h"
#include "compat.h"
#include "database.h"
#include "grant.h"
#include "home.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "progress.h"
#include "pull.h"
#include "push.h"
#include "runlog.h"
#include "runner.h"
#include "runslot.h"
#include "spi.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "stream.h"
#include "streamlock.h"
#include "tcop/tcopprot.h"
#include "trim.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "watch.h"
#include "worker.h"

#define RETRY_MS 30000			/* a queued run whose runner died before it began */
#define KEPT_BYTES (16 * 1024 * 1024)	/* of freed memory */

/* The one run of this process. */
static struct
{
	SlotTicket	ticket;
	RunRequest	request;
	bool		is_push;
	bool		begun;			/* tx1 is committed */
	bool		finished;		/* the slot was told */
	bool		switched_off;	/* that is why it ends */
	int64		began_us;
	TimestampTz began_at;		/* by the clock of schedules */
	const char *status;
	RunCounters counters;
	RunError	error;
	RunError	last_words;		/* of a FATAL error */
}			job;

static volatile sig_atomic_t cancel_signalled = false;
static emit_log_hook_type previous_emit_log_hook = NULL;

static void handle_cancel(SIGNAL_ARGS);
static void keep_memory(void);
static void connect_as_owner(void);
static void make_run(MemoryContext context);
static void begin_run(void);
static bool may_be_run_by(const char *requester, const StreamRef *stream);
static void end_run(MemoryContext context);
static void log_failure(void);
static void note_error(MemoryContext context, bool row_tells);
static bool was_cancelled(const ErrorData *edata);
static bool was_switched_off(const ErrorData *edata);
static void roll_back(void);
static void explain_error(void);
static void blame(const char *message, int sqlstate, const char *hint);
static void finish(void);
static void finish_at_exit(int code, Datum arg);
static void keep_last_words(ErrorData *edata);

void
jdy_runner_main(Datum slot)
{
	MemoryContext context;

	job.ticket.index = DatumGetInt32(slot);
	memcpy(&job.ticket.ticket, MyBgworkerEntry->bgw_extra, sizeof(job.ticket.ticket));

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, handle_cancel);
	if (!jdy_slot_attach(&job.ticket, &job.request))
		proc_exit(0);
	before_shmem_exit(finish_at_exit, (Datum) 0);
	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = keep_last_words;
	BackgroundWorkerUnblockSignals();

	keep_memory();
	connect_as_owner();
	context = AllocSetContextCreate(TopMemoryContext, "jdysync run", ALLOCSET_DEFAULT_SIZES);
	make_run(context);
	if (job.begun)
		end_run(context);
	finish();
	proc_exit(0);
}

bool
jdy_runner_register(const SlotTicket *ticket, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	jdy_worker_describe(&worker, "runner");
	worker.bgw_main_arg = Int32GetDatum(ticket->index);
	memcpy(worker.bgw_extra, &ticket->ticket, sizeof(ticket->ticket));
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

StartResult
jdy_runner_start_queued(const RunRequest *request)
{
	SlotTicket	ticket;
	RunError	error;
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	if (!jdy_slot_take_queued(request, jdy_max_workers, &ticket))
		return START_LATER;
	if (jdy_runner_register(&ticket, &handle) &&
		WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_STARTED)
		return START_OK;

	/* It never started, unless it was so quick that it is over already. */
	jdy_run_error(&error, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, "no worker could be started", NULL,
				  "Raise max_worker_processes, or try again when other workers have ended.");
	return jdy_slot_abandon(&ticket, &error) ? START_NO_WORKER : START_OK;
}

bool
jdy_runner_cancel(int64 run_id)
{
	return jdy_slot_cancel(run_id);
}

/* pg_cancel_backend, or jdy_cancel. */
static void
handle_cancel(SIGNAL_ARGS)
{
	cancel_signalled = true;
	StatementCancelHandler(postgres_signal_arg);
}

/*
 * As it comes, glibc returns every large block to the system when it is freed, and
 * takes a new one, page fault by page fault, for the next batch of rows: a fifth
 * of what it costs to compare unchanged records.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, KEPT_BYTES);
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
#endif
}

static void
connect_as_owner(void)
{
	BackgroundWorkerInitializeConnectionByOid(job.request.database, job.request.owner,
											  JDY_BGWORKER_FLAGS);
	jdy_pin_settings();
}

/* Leaves status, counters and error in job; job.begun says whether there is a row to end. */
static void
make_run(MemoryContext context)
{
	job.began_us = jdy_monotonic_us();
	job.status = "failed";

	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		begin_run();
		if (job.begun)
		{
			MemoryContextSwitchTo(context);
			jdy_progress_attach(jdy_slot_own(&job.ticket));
			if (job.is_push)
				jdy_push_run(job.request.stream_id, job.request.run_id, &job.counters);
			else
				jdy_pull_run(job.request.stream_id, job.request.run_id, job.request.mode,
							 job.request.from_time, job.request.to_time, &job.counters);
			job.status = "ok";
		}
	}
	PG_CATCH();
	{
		note_error(context, job.begun);
	}
	PG_END_TRY();
	jdy_progress_attach(NULL);
}

/*
 * From the lock on nobody can join: what a caller changed before it called must be seen by the run.
 *
 * A queued run was asked for by one who might run the stream then, to be made with
 * its owner's rights.  Once the stream is another's, that must not become a way to
 * the new owner's rights, a superuser's maybe.
 */
static void
begin_run(void)
{
	StreamRef  *stream;
	int64		run_id;
	const char *requester = NULL;
	bool		permitted = true;

	jdy_stream_lock(job.request.stream_id, true);
	jdy_tx_guard(job.request.extension, jdy_stream_lock_tag());
	jdy_slot_running(&job.ticket);
	job.began_us = jdy_monotonic_us();
	job.began_at = jdy_clock_now();

	if (jdy_slot_cancelled(&job.ticket))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the run was cancelled")));
	if (!jdy_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jdysync is switched off"),
				 errhint("Set jdysync.enabled to on and reload the server's configuration.")));

	jdy_tx_begin("begin a run");
	stream = jdy_stream_ref_by_id(job.request.stream_id);
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the stream was dropped before its run began")));
	if (stream->owner != job.request.owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the stream got another owner before its run began"),
				 errhint("Run it again.")));
	job.is_push = stream->is_push;
	jdy_home_check();
	run_id = jdy_run_begin(job.request.run_id, job.request.stream_id, stream->name, job.request.mode,
						   job.request.from_time, job.request.to_time);
	if (job.request.run_id != 0 && run_id != 0)
	{
		requester = jdy_run_requested_by(run_id, TopMemoryContext);
		permitted = may_be_run_by(requester, stream);
	}
	jdy_tx_commit();

	job.begun = run_id != 0;
	if (job.begun)
	{
		job.request.run_id = run_id;
		jdy_slot_set_run_id(&job.ticket, run_id);
	}
	else
	{
		job.status = "cancelled";
		jdy_run_error(&job.error, ERRCODE_QUERY_CANCELED, "the run was cancelled", NULL, NULL);
	}
	if (!permitted)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("who queued the run may not run the stream any more"),
				 requester != NULL ?
				 errdetail("Role \"%s\" queued it, and is neither a member of the role that owns the stream nor has jdy_grant said so.", requester) :
				 errdetail("It is not on record who queued it."),
				 errhint("A member of the stream's owner can queue it again with jdy_start.")));
}

static bool
may_be_run_by(const char *requester, const StreamRef *stream)
{
	Oid			role = requester != NULL ? get_role_oid(requester, true) : InvalidOid;

	return OidIsValid(role) && jdy_may_run(stream, role);
}

/*
 * A cancel that comes now is too late: the row must get its end.  If even that
 * fails (the extension is gone, the disk is full), the waiters are told, and the
 * row stays for the next runner.  The guard would only say again what ended the
 * run: the row is its own, with or without the stream's lock, as long as it is
 * in the tables of the run's own extension.
 */
static void
end_run(MemoryContext context)
{
	HOLD_CANCEL_INTERRUPTS();
	jdy_tx_guard(InvalidOid, NULL);
	PG_TRY();
	{
		bool		there;
		TimestampTz next_due = DT_NOEND;

		jdy_tx_begin("end a run");
		there = jdy_extension_hold(job.request.extension);
		if (!there && strcmp(job.status, "cancelled") != 0)
			blame("the extension was dropped while the run was open", ERRCODE_UNDEFINED_OBJECT,
				  "After CREATE EXTENSION jdysync add the stream again.");
		else if (strcmp(job.status, "failed") == 0)
			explain_error();
		if (there)
		{
			jdy_run_end(job.request.run_id, job.status, &job.counters, &job.error);
			log_failure();
			jdy_watch_run_ended(job.request.stream_id, job.request.run_id, job.status, job.error.sqlstate);
			jdy_agenda_run_ended(job.request.stream_id, job.request.mode == MODE_REMEDY, job.began_at,
								 job.switched_off ? RUN_PUT_BACK : strcmp(job.status, "failed") == 0 ? RUN_FAILED : RUN_WENT_WELL);
			next_due = jdy_trim_is_due() ? DT_NOBEGIN : jdy_agenda_first();
		}
		jdy_tx_commit();
		jdy_database_due(job.request.database, next_due);
	}
	PG_CATCH();
	{
		note_error(context, false);
	}
	PG_END_TRY();
}

/* For whoever reads the log, when nobody waits for the run: a stream that fails for days does not fill it. */
static void
log_failure(void)
{
	const char *name;

	if (strcmp(job.status, "failed") != 0 || jdy_slot_own(&job.ticket)->waited_for)
		return;
	name = jdy_run_failed_anew(job.request.run_id);
	if (name != NULL)
		ereport(LOG,
				(errcode(job.error.sqlstate),
				 errmsg("run %lld of \"%s\" failed: %s", (long long) job.request.run_id, name, job.error.message),
				 job.error.detail[0] != '\0' ? errdetail("%s", job.error.detail) : 0,
				 job.error.hint[0] != '\0' ? errhint("%s", job.error.hint) : 0));
}

/* The error is the run's result.  What no row will tell, and what cannot happen, goes to the log at once. */
static void
note_error(MemoryContext context, bool row_tells)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	job.status = "failed";
	if (was_switched_off(edata))
	{
		job.switched_off = true;
		job.status = "cancelled";
		jdy_run_error(&job.error, ERRCODE_OPERATOR_INTERVENTION, "jdysync was switched off",
					  "What was landed or acknowledged stays; the next run goes on from there.",
					  "Set jdysync.enabled to on and reload the server's configuration.");
	}
	else if (was_cancelled(edata))
	{
		job.status = "cancelled";
		jdy_run_error(&job.error, ERRCODE_QUERY_CANCELED, "the run was cancelled", NULL, NULL);
	}
	else
	{
		jdy_run_error(&job.error, edata->sqlerrcode, edata->message, edata->detail, edata->hint);
		if (!jdy_slot_own(&job.ticket)->waited_for &&
			(!row_tells || ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_INTERNAL_ERROR))
			EmitErrorReport();
	}
	FlushErrorState();
	roll_back();
	MemoryContextSwitchTo(context);
	RESUME_INTERRUPTS();
}

/* The owner's code may raise the same SQLSTATE, as for a statement that some other server cancelled. */
static bool
was_cancelled(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		(cancel_signalled || jdy_slot_cancelled(&job.ticket));
}

/* Told by the launcher, or seen by the run itself in the midst of a call. */
static bool
was_switched_off(const ErrorData *edata)
{
	return (edata->sqlerrcode == ERRCODE_QUERY_CANCELED && jdy_slot_switched_off(&job.ticket)) ||
		(edata->sqlerrcode == ERRCODE_OPERATOR_INTERVENTION && !jdy_enabled);
}

/* As PostgresMain does it; much of a run happens outside of transactions. */
static void
roll_back(void)
{
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	QueryCancelPending = false;
	debug_query_string = NULL;
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * "permission denied" or "relation does not exist" is no answer when somebody
 * took the ground from under the run.
 */
static void
explain_error(void)
{
	StreamRef  *stream;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(job.request.owner)))
		blame("the run's role was dropped while the run was open", ERRCODE_UNDEFINED_OBJECT,
			  "The next run works as the owner that the stream has then.");
	else if ((stream = jdy_stream_ref_by_id(job.request.stream_id)) == NULL)
		blame("the stream was dropped while the run was open", ERRCODE_UNDEFINED_OBJECT,
			  "Add the stream again; a kept staging table is adopted.");
	else if (!OidIsValid(stream->owner))
		blame("the staging table was dropped while the run was open", ERRCODE_UNDEFINED_TABLE,
			  "Forget the stream with jdy_drop_stream and add it again: it loads anew.");
	else if (stream->owner != job.request.owner)
		blame("the stream got another owner while the run was open", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			  "The next run works as the owner that the stream has then.");
}

static void
blame(const char *message, int sqlstate, const char *hint)
{
	char	   *consequence = job.error.message[0] == '\0' ? NULL :
		psprintf("What failed then: %s", job.error.message);

	job.status = "failed";
	jdy_run_error(&job.error, sqlstate, message, consequence, hint);
}

/* In this order: whoever gets the lock next finds the row ended, whoever waits finds the lock free. */
static void
finish(void)
{
	int64		elapsed_us = jdy_monotonic_us() - job.began_us;

	jdy_stream_unlock();
	job.finished = true;
	jdy_slot_finish(&job.ticket, job.status, &job.counters, &job.error, elapsed_us);

	if (job.request.run_id != 0 && !job.begun && strcmp(job.status, "cancelled") != 0)
		jdy_database_due(job.request.database,
						 TimestampTzPlusMilliseconds(jdy_clock_now(), RETRY_MS));
	else
		jdy_database_worker_freed(job.request.database);
}

/* After the transaction was aborted and its locks released: it was set up before the connection. */
static void
finish_at_exit(int code, Datum arg)
{
	bool		cancelled;

	if (job.finished)
		return;
	job.finished = true;
	cancelled = jdy_slot_cancelled(&job.ticket);
	job.status = cancelled ? "cancelled" : "failed";
	if (cancelled)
		jdy_run_error(&job.error, ERRCODE_QUERY_CANCELED, "the run was cancelled", NULL, NULL);
	else
		jdy_run_error(&job.error,
					  job.last_words.sqlstate != 0 ? job.last_words.sqlstate : ERRCODE_ADMIN_SHUTDOWN,
					  job.begun ? "the runner was stopped" : "the runner was stopped before the run began",
					  job.last_words.sqlstate != 0 ? job.last_words.message : NULL,
					  job.last_words.hint[0] != '\0' ? job.last_words.hint :
					  job.last_words.sqlstate == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION ?
					  "ALTER ROLE … LOGIN for the owner of the stream, or give the stream another owner." :
					  job.last_words.sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE && !job.begun ? JDY_GRANT_CONNECT_HINT :
					  "What was landed stays; the next run goes on from there.");
	jdy_slot_finish(&job.ticket, job.status, &job.counters, &job.error,
					job.began_us != 0 ? jdy_monotonic_us() - job.began_us : 0);
	if (job.request.run_id != 0 && !job.begun)
		jdy_database_due(job.request.database,
						 TimestampTzPlusMilliseconds(jdy_clock_now(), RETRY_MS));
	jdy_database_worker_freed(job.request.database);
}

/* A FATAL error passes no PG_CATCH; its text is the waiters' only clue (no such role, too many connections …). */
static void
keep_last_words(ErrorData *edata)
{
	if (edata->elevel >= FATAL)
		jdy_run_error(&job.last_words, edata->sqlerrcode, edata->message, NULL, edata->hint);
	if (previous_emit_log_hook)
		previous_emit_log_hook(edata);
}
