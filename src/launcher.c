/*-------------------------------------------------------------------------
 * launcher.c
 *		The one static worker: knows when each database is due, sends schedulers.
 *
 * It is connected to no database, so it blocks no DROP DATABASE, and it can read
 * only the shared catalogs: what is due in a database is found out by a
 * scheduler, a worker that visits it and leaves.
 *
 *	server start, promotion		every database is visited once
 *	jdy_start commits			the session marks its database as due, sets the latch
 *	a scheduler left work		it says when to come back
 *	a runner ends				marks its database as due if work was left there,
 *								and the one that waits longest for a worker
 *	the clock is stepped		it looks again what is due (tests only)
 *	configuration reload		every database is visited (settings of ours may
 *								have changed); with jdysync.enabled off none is,
 *								and open runs are cancelled
 *	a scheduler fails			its database is due again after FIRST_RETRY_MS, and later
 *								with each failure, unless something became due meanwhile
 *	nobody may connect			looked at again, without a worker, after CLOSED_MS
 *	it is not in our setting	forgotten until it is renamed, or the setting reloaded
 *	somebody drops, copies,		giveway.c stops our workers there; looked at again
 *	moves or renames it			every LOCKED_MS until that is over
 *	launcher dies				restarted after RESTART_S; visits all again
 *	standby, pg_upgrade			it does not exist
 *
 * Each round compares what is due with the schedulers that are out: a lost
 * signal delays work, it never stops it.  What is due where is kept by database.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "clock.h"
#include "database.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runner.h"
#include "runslot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"
#include "worker.h"

#define RESTART_S 5
#define ROUND_MS 60000			/* longest sleep */
#define FIRST_RETRY_MS 5000		/* after a scheduler that failed; doubled by each */
#define LONGEST_RETRY_MS 300000
#define CLOSED_MS 5000			/* nobody may connect */
#define LOCKED_MS 1000			/* somebody holds the lock that who connects needs */
#define NO_WORKER_MS 5000		/* when the server has no worker left */
#define MAX_VISITS 2			/* schedulers out at once: one may be stuck */

/* A scheduler that is out. */
typedef struct Visit
{
	Oid			database;		/* InvalidOid = none */
	uint64		visits;			/* of the database when it was sent */
	uint64		generation;		/* then, too */
	BackgroundWorkerHandle *handle;
} Visit;

typedef struct Database
{
	Oid			oid;
	NameData	name;
	bool		closed;			/* nobody may connect */
} Database;

static Visit visits[MAX_VISITS];
static Oid	last_visited = InvalidOid;

/* Databases up to this one were marked as due since the start, or the last reload; the others wait for slots. */
static Oid	marked_up_to = OID_MAX;

/* Nesting level of the outermost (sub)transaction that wants a wake-up; 0 = none. */
static int	wake_level = 0;

static void announce(void);
static void withdraw(int code, Datum arg);
static void mark_every_database(void);
static void end_visits(void);
static long send_schedulers(void);
static List *due_databases(long *wait_ms);
static List *in_turn(List *databases);
static bool send_scheduler(Oid database);
static Visit *find_visit(Oid database);
static void forget(Oid database);
static void put_off(Oid database, int ms);
static bool is_locked(Oid database);
static List *list_databases(void);
static int	compare_databases(const ListCell *a, const ListCell *b);
static bool is_allowed(const char *database);
static void wake_at_commit(XactEvent event, void *arg);
static void wake_at_subcommit(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);

void
jdy_launcher_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;

	jdy_worker_describe(&worker, "launcher");
	worker.bgw_restart_time = RESTART_S;
	RegisterBackgroundWorker(&worker);
}

void
jdy_launcher_main(Datum arg)
{
	MemoryContext round;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	announce();
	round = AllocSetContextCreate(TopMemoryContext, "jdysync launcher round", ALLOCSET_SMALL_SIZES);
	marked_up_to = InvalidOid;
	for (;;)
	{
		long		wait_ms;

		MemoryContextReset(round);
		MemoryContextSwitchTo(round);
		end_visits();
		if (!jdy_enabled)
			jdy_slot_switch_off();
		mark_every_database();
		wait_ms = jdy_enabled ? send_schedulers() : ROUND_MS;

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait_ms, JDY_WAIT_EVENT("JdysyncLauncher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			marked_up_to = InvalidOid;
		}
	}
}

void
jdy_wake_launcher_at_commit(void)
{
	static bool registered = false;
	int			level = GetCurrentTransactionNestLevel();

	if (!registered)
	{
		RegisterXactCallback(wake_at_commit, NULL);
		RegisterSubXactCallback(wake_at_subcommit, NULL);
		registered = true;
	}
	if (wake_level == 0 || level < wake_level)
		wake_level = level;
}

static void
announce(void)
{
	before_shmem_exit(withdraw, (Datum) 0);
	LWLockAcquire(jdy_shared->databases_lock, LW_EXCLUSIVE);
	jdy_shared->launcher_pid = MyProcPid;
	jdy_shared->launcher_procno = MyProc - &ProcGlobal->allProcs[0];
	LWLockRelease(jdy_shared->databases_lock);
}

static void
withdraw(int code, Datum arg)
{
	LWLockAcquire(jdy_shared->databases_lock, LW_EXCLUSIVE);
	jdy_shared->launcher_pid = 0;
	jdy_shared->launcher_procno = -1;
	LWLockRelease(jdy_shared->databases_lock);
}

/* Where there are more databases than slots, those without anything to do make room. */
static void
mark_every_database(void)
{
	List	   *databases;
	ListCell   *lc;
	bool		full = false;

	if (marked_up_to == OID_MAX)
		return;
	databases = list_databases();
	foreach(lc, databases)
	{
		Database   *database = lfirst(lc);
		DatabaseSlot *slot;

		/* template0 is closed for ever. */
		if (database->oid <= marked_up_to || !is_allowed(NameStr(database->name)) ||
			(database->closed && database->oid < FirstNormalObjectId))
			continue;
		slot = jdy_database_lock(database->oid, true);
		full = slot == NULL;
		if (!full)
			jdy_database_mark_due(slot, DT_NOBEGIN);
		jdy_database_unlock();
		if (full)
			break;
		marked_up_to = database->oid;
	}
	if (!full)
		marked_up_to = OID_MAX;
}

/* A visit that did not do its work: without a pause it would fail for ever, many times a second. */
static void
end_visits(void)
{
	for (int i = 0; i < MAX_VISITS; i++)
	{
		Visit	   *visit = &visits[i];
		DatabaseSlot *slot;
		pid_t		pid;

		if (!OidIsValid(visit->database) ||
			GetBackgroundWorkerPid(visit->handle, &pid) != BGWH_STOPPED)
			continue;

		slot = jdy_database_lock(visit->database, false);
		if (slot != NULL && slot->visits == visit->visits && slot->generation == visit->generation)
		{
			int			pause = LONGEST_RETRY_MS;

			if (slot->failures < 10)
				pause = Min(pause, FIRST_RETRY_MS << slot->failures);
			slot->failures++;
			slot->next_due = TimestampTzPlusMilliseconds(jdy_clock_now(), pause);
		}
		jdy_database_unlock();

		pfree(visit->handle);
		visit->database = InvalidOid;
	}
}

/* Returns how long nothing more is to be done, unless the latch is set. */
static long
send_schedulers(void)
{
	long		wait_ms = ROUND_MS;
	List	   *due = due_databases(&wait_ms);
	List	   *databases;
	ListCell   *lc;
	ListCell   *lc2;

	/* Before the list is read: whoever holds the lock may be about to change a name in it. */
	foreach(lc, due)
		if (is_locked(lfirst_oid(lc)))
		{
			put_off(lfirst_oid(lc), LOCKED_MS);
			wait_ms = Min(wait_ms, LOCKED_MS);
			due = foreach_delete_current(due, lc);
		}

	databases = due == NIL ? NIL : list_databases();
	foreach(lc, due)
	{
		Oid			oid = lfirst_oid(lc);
		Database   *database = NULL;

		foreach(lc2, databases)
			if (((Database *) lfirst(lc2))->oid == oid)
				database = (Database *) lfirst(lc2);

		if (database == NULL || !is_allowed(NameStr(database->name)))
			forget(oid);
		else if (database->closed)
		{
			put_off(oid, CLOSED_MS);
			wait_ms = Min(wait_ms, CLOSED_MS);
		}
		else if (find_visit(InvalidOid) == NULL)
			break;				/* the end of a visit sets the latch */
		else if (!send_scheduler(oid))
			return Min(wait_ms, NO_WORKER_MS);
	}
	return wait_ms;
}

/* Databases to be visited at once; *wait_ms is lowered to the time until the next one. */
static List *
due_databases(long *wait_ms)
{
	List	   *due = NIL;
	TimestampTz now = jdy_clock_now();

	LWLockAcquire(jdy_shared->databases_lock, LW_SHARED);
	for (int i = 0; i < JDY_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &jdy_shared->databases[i];

		if (!OidIsValid(slot->database) || slot->scheduler_pid != 0 ||
			slot->next_due == DT_NOEND || find_visit(slot->database) != NULL)
			continue;
		if (slot->next_due <= now)
			due = lappend_oid(due, slot->database);
		else
			*wait_ms = Min(*wait_ms, TimestampDifferenceMilliseconds(now, slot->next_due) + 1);
	}
	LWLockRelease(jdy_shared->databases_lock);
	return in_turn(due);
}

/* By their oids, but first those behind the one that was visited last: some are due again at once, for long. */
static List *
in_turn(List *databases)
{
	List	   *behind = NIL;
	List	   *others = NIL;
	ListCell   *lc;

	list_sort(databases, list_oid_cmp);
	foreach(lc, databases)
	{
		if (lfirst_oid(lc) > last_visited)
			behind = lappend_oid(behind, lfirst_oid(lc));
		else
			others = lappend_oid(others, lfirst_oid(lc));
	}
	return list_concat(behind, others);
}

static bool
send_scheduler(Oid database)
{
	Visit	   *visit = find_visit(InvalidOid);
	DatabaseSlot slot;
	BackgroundWorker worker;
	MemoryContext round;
	bool		sent;

	jdy_worker_describe(&worker, "scheduler");
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;

	slot = jdy_database_slot(database);
	visit->visits = slot.visits;
	visit->generation = slot.generation;
	round = MemoryContextSwitchTo(TopMemoryContext);
	sent = RegisterDynamicBackgroundWorker(&worker, &visit->handle);
	MemoryContextSwitchTo(round);
	if (sent)
		visit->database = last_visited = database;
	else
		jdy_database_note_worker(database, false);
	return sent;
}

static Visit *
find_visit(Oid database)
{
	for (int i = 0; i < MAX_VISITS; i++)
		if (visits[i].database == database)
			return &visits[i];
	return NULL;
}

static void
forget(Oid database)
{
	DatabaseSlot *slot;

	slot = jdy_database_lock(database, false);
	if (slot != NULL)
		slot->database = InvalidOid;
	jdy_database_unlock();
}

static void
put_off(Oid database, int ms)
{
	DatabaseSlot *slot;

	slot = jdy_database_lock(database, false);
	if (slot != NULL)
		slot->next_due = TimestampTzPlusMilliseconds(jdy_clock_now(), ms);
	jdy_database_unlock();
}

/* A scheduler would wait for it, maybe long, and another database for the scheduler. */
static bool
is_locked(Oid database)
{
	MemoryContext caller = CurrentMemoryContext;
	LOCKTAG		tag;
	bool		got;

	StartTransactionCommand();
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	got = LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return !got;
}

/* By oid, in the caller's memory context. */
static List *
list_databases(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *databases = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext transaction;
		Database   *database;

		/* -2 marks a database whose DROP was interrupted. */
		if (form->datconnlimit == -2)
			continue;
		transaction = MemoryContextSwitchTo(caller);
		database = palloc(sizeof(Database));
		database->oid = form->oid;
		database->name = form->datname;
		database->closed = !form->datallowconn;
		databases = lappend(databases, database);
		MemoryContextSwitchTo(transaction);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	list_sort(databases, compare_databases);
	return databases;
}

static int
compare_databases(const ListCell *a, const ListCell *b)
{
	Oid			left = ((Database *) lfirst(a))->oid;
	Oid			right = ((Database *) lfirst(b))->oid;

	return left < right ? -1 : left > right ? 1 : 0;
}

static bool
is_allowed(const char *database)
{
	List	   *names;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(jdy_databases), ',', &names))
		return false;
	foreach(lc, names)
		if (strcmp(lfirst(lc), database) == 0 || strcmp(lfirst(lc), "all") == 0)
			return true;
	return false;
}

/* Nothing tells us of COMMIT PREPARED, so a queued run could wait for long. */
static void
wake_at_commit(XactEvent event, void *arg)
{
	if (wake_level == 0)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot prepare a transaction that has called jdy_start")));
	if (event == XACT_EVENT_COMMIT)
		jdy_database_due(MyDatabaseId, DT_NOBEGIN);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		wake_level = 0;
}

static void
wake_at_subcommit(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (wake_level < level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		wake_level = level - 1;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		wake_level = 0;
}
