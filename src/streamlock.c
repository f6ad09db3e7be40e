/*-------------------------------------------------------------------------
 * streamlock.c
 *		The lock that says "this stream has a runner".
 *
 * The lock must outlive errors: PostgreSQL drops ordinary locks, session-level
 * ones included, whenever a transaction aborts, and a run goes on after that (to
 * write tx2, or because one bad record is not the end).  So the lock has an
 * object's tag, which no SQL function can take, but the manager's method of
 * advisory locks, which keeps it until it is released or the process ends.
 * pg_advisory_unlock_all() releases it, and the owner's triggers may call that: so
 * every transaction of the run looks whether it is still held (jdy_tx_guard).
 *
 * Called by runner.c, and by streamref.c for who changes a stream.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "streamlock.h"
#include "utils/lsyscache.h"

static LOCKTAG held_tag;		/* what this process took last; all zero = nothing */

static void set_tag(LOCKTAG *tag, int stream_id);

bool
jdy_stream_lock(int stream_id, bool wait)
{
	bool		own_transaction = !IsTransactionState();
	LockAcquireResult result;

	if (own_transaction)
		StartTransactionCommand();
	set_tag(&held_tag, stream_id);

	/* A new transaction for the wait: one that read the catalogs would hold back vacuum. */
	if (own_transaction)
	{
		CommitTransactionCommand();
		StartTransactionCommand();
	}
	pgstat_report_activity(STATE_RUNNING, "wait for the stream's lock");
	result = LockAcquire(&held_tag, ExclusiveLock, true, !wait);
	if (own_transaction)
		CommitTransactionCommand();
	return result != LOCKACQUIRE_NOT_AVAIL;
}

void
jdy_stream_unlock(void)
{
	if (held_tag.locktag_field3 != 0 && LockHeldByMe(&held_tag, ExclusiveLock, false))
		LockRelease(&held_tag, ExclusiveLock, true);
}

const LOCKTAG *
jdy_stream_lock_tag(void)
{
	return &held_tag;
}

bool
jdy_stream_lock_for_change(int stream_id)
{
	LOCKTAG		tag;

	jdy_require_primary();
	set_tag(&tag, stream_id);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
set_tag(LOCKTAG *tag, int stream_id)
{
	Oid			schema = get_namespace_oid("jdysync", true);
	Oid			class = OidIsValid(schema) ? get_relname_relid("stream", schema) : InvalidOid;

	if (!OidIsValid(class))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension jdysync does not exist in this database"),
				 errhint("Run CREATE EXTENSION jdysync.")));
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, class, stream_id, 0);
	tag->locktag_lockmethodid = USER_LOCKMETHOD;
}
