/*-------------------------------------------------------------------------
 * scheduler.c
 *		A short visit to one database: starts what is due there, and leaves.
 *
 * It queues runs of what is due, reads the queued runs, starts runners for them as far as workers may be
 * had, tells the launcher when to send the next scheduler, and exits, so that no
 * idle connection of ours is in anybody's way.
 *
 * A queued run's row is not touched here: its runner, holding the stream's
 * lock, turns it into a running one, and does nothing when it is not queued any
 * more.  So two schedulers at once, or one that dies in the middle, start no run
 * twice and lose none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "agenda.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "commands/dbcommands.h"
#include "database.h"
#include "home.h"
#include "incident.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runlog.h"
#include "runner.h"
#include "runslot.h"
#include "spi.h"
#include "stream.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "trim.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch.h"
#include "worker.h"

#define MAX_STREAMS "1000"		/* whose queued runs are looked at in one visit */
#define BUSY_MS 60000			/* the stream has an open run, whose end marks us due anyway */
#define AGAIN_MS 1000			/* there is more of what was just ended */
#define FULL_MS 5000			/* no worker to be had: others' may end unseen; and our place in line must be kept (runslot.c) */

typedef struct QueuedRun
{
	RunRequest	request;
	bool		can_log_in;
	bool		can_connect;	/* to this database */
	bool		more;			/* of the same stream are queued behind it */
	bool		late;			/* it waits for long */
} QueuedRun;

static void leave(int code, Datum database);
static TimestampTz start_queued_runs(void);
static bool trim_logs(void);
static void trim(void *more);
static void watch_queue(int late);
static List *read_queued_runs(MemoryContext context);
static Datum open_owners(void);
static void set_last_owner(Oid owner);
static void end_hopeless_runs(List *runs);
static void end_runs_without_stream(void);
static TimestampTz in_ms(int ms);

void
jdy_scheduler_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);
	uint64		generation;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	before_shmem_exit(leave, arg);
	generation = jdy_database_visit(database, MyProcPid);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	jdy_pin_settings();

	/* Whoever locks our tables must not keep us here for long. */
	SetConfigOption("lock_timeout", "5s", PGC_SUSET, PGC_S_OVERRIDE);

	jdy_database_visited(database, generation, jdy_enabled ? start_queued_runs() : DT_NOEND);
	proc_exit(0);
}

static void
leave(int code, Datum database)
{
	jdy_database_visit(DatumGetObjectId(database), 0);
}

/* Returns when the next visit is due. */
static TimestampTz
start_queued_runs(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "jdysync queued runs", ALLOCSET_DEFAULT_SIZES);
	List	   *runs = NIL;
	ListCell   *lc;
	TimestampTz next_due = DT_NOEND;
	bool		busy = false;
	bool		again = false;
	bool		full[2] = {false, false};
	bool		no_worker = false;
	int			late = 0;
	Oid			extension;

	jdy_tx_begin("read what is due");
	extension = jdy_extension_oid();
	if (OidIsValid(extension) && !jdy_home_is_here())
	{
		jdy_watch_home(false);
		extension = InvalidOid;
	}
	else if (OidIsValid(extension) && !jdy_home_fits())
		extension = InvalidOid;
	if (OidIsValid(extension))
	{
		end_runs_without_stream();
		next_due = jdy_agenda_queue_due();
		runs = read_queued_runs(context);
		end_hopeless_runs(runs);
	}
	jdy_tx_commit();
	if (OidIsValid(extension) && jdy_trim_is_due())
		again = trim_logs();

	foreach(lc, runs)
	{
		QueuedRun  *run = lfirst(lc);
		StartResult result;

		CHECK_FOR_INTERRUPTS();
		busy = busy || run->more;
		if (!run->can_log_in || !run->can_connect)
		{
			again = again || run->more;
			continue;
		}
		if (jdy_slot_stream_open(run->request.stream_id))
		{
			busy = true;
			continue;
		}
		/* Heavy runs leave a worker to the others, so one kind may go on when the other cannot. */
		if (full[run->request.heavy])
		{
			late += run->late;
			continue;
		}
		result = jdy_runner_start_queued(&run->request);
		if (result == START_OK)
			set_last_owner(run->request.owner);
		full[run->request.heavy] = result != START_OK;
		no_worker = no_worker || result == START_NO_WORKER;
		late += result != START_OK && run->late;
	}
	for (int heavy = 0; heavy < 2; heavy++)
		if (!full[heavy])
			jdy_slot_leave_line(MyDatabaseId, heavy);
	jdy_database_note_worker(MyDatabaseId, !no_worker);
	if (OidIsValid(extension))
		watch_queue(late);
	if (full[0] || full[1])
		return Min(next_due, in_ms(FULL_MS));
	if (again)
		return Min(next_due, in_ms(AGAIN_MS));
	return busy || list_length(runs) == atoi(MAX_STREAMS) ? Min(next_due, in_ms(BUSY_MS)) : next_due;
}

/* Whatever is wrong with the logs must not keep runs from being started. */
static bool
trim_logs(void)
{
	bool		more = false;
	ErrorData  *error;

	jdy_tx_begin("trim the logs");
	error = jdy_try(trim, &more);
	if (error != NULL)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("the logs of database \"%s\" could not be trimmed", get_database_name(MyDatabaseId)),
				 errdetail("%s", error->message),
				 errhint("It is tried again in an hour.")));
	jdy_incident_close_orphans();
	jdy_tx_commit();
	if (error != NULL || !more)
		jdy_trim_done(error != NULL);
	return more;
}

static void
trim(void *more)
{
	*(bool *) more = jdy_trim(jdy_clock_now());
}

static void
watch_queue(int late)
{
	jdy_tx_begin("note what is late");
	jdy_watch_queue(late);
	jdy_tx_commit();
}

/*
 * The first of each stream: no stream runs twice at once, and nobody's thousand runs stand before
 * another's.  Those of owners who have the fewest open runs come first, and of these owners
 * each in turn, by their oids.
 */
static List *
read_queued_runs(MemoryContext context)
{
	static JdyStatement statement = {
		.sql = "SELECT r.run_id, r.stream_id, r.mode, r.from_time, r.to_time, j.owner, a.rolcanlogin, r.more, "
		" j.is_push OR NOT j.loaded OR r.mode <> 'auto', pg_catalog.has_database_privilege(j.owner, d.oid, 'CONNECT'), r.queued_at < $3 "
		"FROM (SELECT DISTINCT ON (q.stream_id) q.run_id, q.stream_id, q.mode, q.from_time, q.to_time, q.queued_at, "
		"  pg_catalog.count(*) OVER (PARTITION BY q.stream_id) > 1 AS more "
		" FROM jdysync.run q WHERE q.status = 'queued' ORDER BY q.stream_id, q.run_id) AS r "
		"CROSS JOIN LATERAL (SELECT s.owner, s.is_push, s.loaded FROM jdysync.subject s WHERE s.stream_id = r.stream_id OFFSET 0) AS j "
		"JOIN pg_catalog.pg_authid a ON a.oid = j.owner "
		"JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() "
		"ORDER BY pg_catalog.row_number() OVER (PARTITION BY j.owner ORDER BY r.run_id) "
		" + (SELECT pg_catalog.count(*) FROM unnest($1) AS o (owner) WHERE o.owner = j.owner::bigint), "
		" j.owner <= $2, j.owner, r.run_id LIMIT " MAX_STREAMS,
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, OIDOID, TIMESTAMPTZOID},
		.by_index = true
	};
	Datum		values[3] = {
		open_owners(), ObjectIdGetDatum(jdy_database_slot(MyDatabaseId).last_owner),
		TimestampTzGetDatum(TimestampTzPlusMilliseconds(jdy_clock_now(), -JDY_LATE_MS))
	};
	List	   *runs = NIL;

	jdy_execute(&statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(context);
		QueuedRun  *run = palloc(sizeof(QueuedRun));
		bool		isnull;

		run->request.database = MyDatabaseId;
		run->request.extension = jdy_extension_oid();
		run->request.run_id = jdy_spi_int64(i, 1, 0);
		run->request.stream_id = (int) jdy_spi_int64(i, 2, 0);
		run->request.mode = jdy_mode_parse(jdy_spi_text(i, 3));
		run->request.from_time = DatumGetTimestampTz(jdy_spi_datum(i, 4, &isnull));
		run->request.to_time = DatumGetTimestampTz(jdy_spi_datum(i, 5, &isnull));
		run->request.owner = (Oid) jdy_spi_int64(i, 6, InvalidOid);
		run->can_log_in = JDY_SERVES_NOLOGIN || DatumGetBool(jdy_spi_datum(i, 7, &isnull));
		run->more = DatumGetBool(jdy_spi_datum(i, 8, &isnull));
		run->request.heavy = DatumGetBool(jdy_spi_datum(i, 9, &isnull));
		run->can_connect = DatumGetBool(jdy_spi_datum(i, 10, &isnull));
		run->late = DatumGetBool(jdy_spi_datum(i, 11, &isnull));
		runs = lappend(runs, run);
		MemoryContextSwitchTo(caller);
	}
	return runs;
}

/* An element for each open run. */
static Datum
open_owners(void)
{
	Oid			owners[JDY_MAX_RUNS];
	Datum		elements[JDY_MAX_RUNS];
	bool		nulls[JDY_MAX_RUNS] = {false};
	int			n = jdy_slot_owners(owners);

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum((int64) owners[i]);
	return jdy_make_array(elements, nulls, n, INT8OID);
}

/* The next queued run that is started is another's, if there is one. */
static void
set_last_owner(Oid owner)
{
	DatabaseSlot *slot = jdy_database_lock(MyDatabaseId, false);

	if (slot != NULL)
		slot->last_owner = owner;
	jdy_database_unlock();
}

/* Their runner could not even connect, and nobody would ever learn why. */
static void
end_hopeless_runs(List *runs)
{
	RunCounters none = {0};
	RunError	no_login;
	RunError	no_connect;
	ListCell   *lc;

	jdy_run_error(&no_login, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
				  "the stream's owner is not permitted to log in", NULL,
				  "Give the role LOGIN (a password is not needed), or use PostgreSQL 17 or later.");
	jdy_run_error(&no_connect, ERRCODE_INSUFFICIENT_PRIVILEGE,
				  "the stream's owner is not permitted to connect to this database", NULL,
				  JDY_GRANT_CONNECT_HINT);
	foreach(lc, runs)
	{
		QueuedRun  *run = lfirst(lc);

		if (!run->can_log_in)
			jdy_run_end(run->request.run_id, "failed", &none, &no_login);
		else if (!run->can_connect)
			jdy_run_end(run->request.run_id, "failed", &none, &no_connect);
		else
			continue;
		jdy_watch_run_ended(run->request.stream_id, run->request.run_id, "failed", ERRCODE_INSUFFICIENT_PRIVILEGE);
	}
}

static void
end_runs_without_stream(void)
{
	static JdyStatement statement = {
		.sql = "UPDATE jdysync.run r SET status = 'cancelled', finished_at = $1, "
		"error = CASE r.kind WHEN 'pull' THEN 'the stream was dropped before its run began, or its staging table was' "
		" ELSE 'the push was dropped before its run began, or its source was' END "
		"WHERE r.status = 'queued' AND NOT EXISTS ("
		" SELECT FROM jdysync.subject j WHERE j.stream_id = r.stream_id AND j.owner IS NOT NULL OFFSET 0) RETURNING r.run_id",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
		.by_index = true
	};
	Datum		values[1] = {TimestampTzGetDatum(jdy_clock_now())};

	jdy_execute(&statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		jdy_notify_run(jdy_spi_int64(i, 1, 0), "cancelled");
}

static TimestampTz
in_ms(int ms)
{
	return TimestampTzPlusMilliseconds(jdy_clock_now(), ms);
}
