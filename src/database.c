/*-------------------------------------------------------------------------
 * database.c
 *		When each database is due next, in shared memory.
 *
 * A slot for each database that has, or may have, something to do.  Sessions,
 * runners and schedulers write into it when it is due, the launcher reads it; what is
 * to be remembered of a database from one scheduler to the next lies there, too.
 * It may all be lost: the launcher visits every database after a start.
 *
 * generation counts what became due from outside, so that a scheduler which says when
 * it is to come back cannot undo what was said while it was looking.
 *
 * databases_lock guards the slots, where the launcher is, and starved_database.
 * Called by launcher.c, scheduler.c, runner.c, runlog.c, trim.c, giveway.c and clock.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "database.h"
#include "line.h"
#include "miscadmin.h"
#include "runslot.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

static DatabaseSlot *find_slot(Oid database, bool create);
static void wake_launcher(void);

void
jdy_database_due(Oid database, TimestampTz at)
{
	DatabaseSlot *slot;

	slot = jdy_database_lock(database, true);
	if (slot != NULL)
		jdy_database_mark_due(slot, at);
	wake_launcher();
	jdy_database_unlock();
}

void
jdy_launcher_wake(void)
{
	LWLockAcquire(jdy_shared->databases_lock, LW_SHARED);
	wake_launcher();
	LWLockRelease(jdy_shared->databases_lock);
}

void
jdy_database_worker_freed(Oid database)
{
	DatabaseSlot *slot;
	Oid			first[2];

	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	for (int heavy = 0; heavy < 2; heavy++)
		first[heavy] = jdy_line_first(heavy);
	LWLockRelease(jdy_shared->runs_lock);

	LWLockAcquire(jdy_shared->databases_lock, LW_EXCLUSIVE);
	slot = find_slot(database, false);
	if (slot != NULL && slot->next_due != DT_NOEND)
		jdy_database_mark_due(slot, DT_NOBEGIN);
	for (int heavy = 0; heavy < 2; heavy++)
		if (OidIsValid(first[heavy]) && (slot = find_slot(first[heavy], false)) != NULL)
			jdy_database_mark_due(slot, DT_NOBEGIN);
	wake_launcher();
	LWLockRelease(jdy_shared->databases_lock);
}

void
jdy_database_note_worker(Oid database, bool had)
{
	Oid		   *starved = &jdy_shared->starved_database;
	bool		changed;

	/* Once it was said of one database it holds of all, until that one has what it wants, or is gone. */
	LWLockAcquire(jdy_shared->databases_lock, LW_EXCLUSIVE);
	changed = had == OidIsValid(*starved) && (!had || *starved == database || find_slot(*starved, false) == NULL);
	if (changed)
		*starved = had ? InvalidOid : database;
	LWLockRelease(jdy_shared->databases_lock);

	if (changed && had)
		ereport(LOG,
				(errmsg("jdysync starts its workers again")));
	else if (changed)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("jdysync has work to do, but no worker could be started"),
				 errdetail("It goes on when other workers of the server have ended."),
				 errhint("You might need to increase max_worker_processes.")));
}

void
jdy_database_stop(Oid database)
{
	DatabaseSlot *slot;

	slot = jdy_database_lock(database, true);
	if (slot != NULL)
		jdy_database_mark_due(slot, DT_NOBEGIN);
	if (slot != NULL && slot->scheduler_pid != 0)
		kill(slot->scheduler_pid, SIGTERM);
	wake_launcher();
	jdy_database_unlock();
	jdy_slot_stop_database(database);
}

uint64
jdy_database_visit(Oid database, int scheduler_pid)
{
	DatabaseSlot *slot;
	uint64		generation = 0;

	slot = jdy_database_lock(database, false);
	if (slot != NULL)
	{
		generation = slot->generation;
		if (scheduler_pid != 0 || slot->scheduler_pid == MyProcPid)
			slot->scheduler_pid = scheduler_pid;
	}
	jdy_database_unlock();
	return generation;
}

void
jdy_database_visited(Oid database, uint64 generation, TimestampTz next_due)
{
	DatabaseSlot *slot;

	slot = jdy_database_lock(database, false);
	if (slot != NULL)
	{
		slot->visits++;
		slot->failures = 0;
		if (slot->generation == generation)
			slot->next_due = next_due;
	}
	jdy_database_unlock();
}

DatabaseSlot
jdy_database_slot(Oid database)
{
	DatabaseSlot copy = {0};
	DatabaseSlot *slot;

	LWLockAcquire(jdy_shared->databases_lock, LW_SHARED);
	slot = find_slot(database, false);
	if (slot != NULL)
		copy = *slot;
	LWLockRelease(jdy_shared->databases_lock);
	return copy;
}

DatabaseSlot *
jdy_database_lock(Oid database, bool create)
{
	LWLockAcquire(jdy_shared->databases_lock, LW_EXCLUSIVE);
	return find_slot(database, create);
}

void
jdy_database_unlock(void)
{
	LWLockRelease(jdy_shared->databases_lock);
}

void
jdy_database_mark_due(DatabaseSlot *slot, TimestampTz at)
{
	slot->generation++;
	slot->next_due = Min(slot->next_due, at);
}

/* A database in which nothing is due gives way; NULL only when work is left in all of them. */
static DatabaseSlot *
find_slot(Oid database, bool create)
{
	DatabaseSlot *spare = NULL;

	for (int i = 0; i < JDY_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &jdy_shared->databases[i];

		if (slot->database == database)
			return slot;
		if (!OidIsValid(slot->database))
			spare = slot;
		else if (spare == NULL && slot->next_due == DT_NOEND && slot->scheduler_pid == 0)
			spare = slot;
	}
	if (!create || spare == NULL)
		return NULL;
	spare->database = database;
	spare->next_due = DT_NOEND;
	spare->scheduler_pid = 0;
	spare->failures = 0;
	spare->trim_at = 0;
	spare->shortage = SHORT_OF_NOTHING;
	spare->last_owner = InvalidOid;
	return spare;
}

static void
wake_launcher(void)
{
	if (jdy_shared->launcher_procno >= 0)
		SetLatch(&ProcGlobal->allProcs[jdy_shared->launcher_procno].procLatch);
}
