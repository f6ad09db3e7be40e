/*-------------------------------------------------------------------------
 * trim.c
 *		Logs that do not grow for ever.
 *
 * Every few minutes a scheduler removes what is older than jdysync.log_retention, and what is too much for
 * jdysync.log_size, in short transactions that wait for nobody:
 *
 *	calls			by segments (callring.c), as soon as runs and calls together are too large
 *	runs			row by row, by size only when they alone are too large.  These stay: the last of each
 *					status of each stream and push, by which jdy_status knows when all was well and what went
 *					wrong last; those with requests whose outcome is open; those that the ledger names
 *	windows			neighbours become one row after MERGE_AFTER_US, or when their runs go (ledger.c)
 *	incidents		when they are closed that long
 *	rejects			when they came right
 *
 * Runs are rows that change and of which some stay, so they are deleted, and autovacuum makes
 * the room they took free for later ones: the table does not grow, but does not shrink either.  What it takes is
 * therefore reckoned from the number of runs, which are numbered without gaps worth speaking of, and from the
 * size of the last ones; nothing is read through to be counted.
 *
 * Called by scheduler.c; runner.c and runlog.c ask whether it is due.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "callring.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "commands/dbcommands.h"
#include "database.h"
#include "fmgr.h"
#include "jdysync.h"
#include "ledger.h"
#include "miscadmin.h"
#include "shmem.h"
#include "spi.h"
#include "trim.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define EVERY_US (5 * USECS_PER_MINUTE)
#define AFTER_FAILURE_US USECS_PER_HOUR
#define MERGE_AFTER_US (7 * USECS_PER_DAY)
#define MOST_ROWS 20000			/* removed in one transaction */
#define MOST_ROWS_TEXT CppAsString2(MOST_ROWS)
#define LAST_RUNS "1000"		/* by whose size that of all is reckoned */
#define BESIDES_BYTES "230"		/* a run's entries in indexes, and dead versions of it that wait for vacuum */

/* What of the runs is to go. */
typedef struct Cut
{
	int64		run_id;			/* runs before this one, */
	TimestampTz before;			/* that ended before this */
	bool		for_size;		/* they are too many; else too old */
	int64		bytes_left;		/* for calls */
} Cut;

static JdyStatement first_young = {
	.sql = "SELECT r.run_id, COALESCE(r.finished_at, r.started_at, r.queued_at) FROM jdysync.run r"
	" WHERE r.run_id >= $1 AND COALESCE(r.finished_at, r.started_at, r.queued_at) >= $2 ORDER BY r.run_id LIMIT 1",
	.nargs = 2,
	.argtypes = {INT8OID, TIMESTAMPTZOID},
	.by_index = true
};

static JdyStatement last_runs = {
	.sql = "SELECT COALESCE(max(l.run_id), 0), COALESCE(avg(pg_column_size(l.*)), 0)::bigint + " BESIDES_BYTES
	" FROM (SELECT r.* FROM jdysync.run r ORDER BY r.run_id DESC LIMIT " LAST_RUNS ") AS l",
	.nargs = 0
};

/* Read once: what a merge has just removed stands in the way of each look into the index. */
static JdyStatement ledger_runs = {
	.sql = "SELECT ARRAY(SELECT n.id FROM jdysync.stream s JOIN jdysync.\"window\" w ON w.stream_id = s.stream_id AND w.proven_at < $1"
	" CROSS JOIN LATERAL (VALUES (w.run_id), (w.first_run_id)) AS n (id) WHERE n.id < $2)",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, INT8OID},
	.by_index = true
};

static JdyStatement remove_runs = {
	.sql = "DELETE FROM jdysync.run r WHERE r.run_id = ANY (ARRAY(SELECT o.run_id FROM jdysync.run o"
	" WHERE o.run_id < $1 AND o.finished_at < $2"
	" AND (EXISTS (SELECT FROM jdysync.run l WHERE l.stream_id = o.stream_id AND l.status = o.status AND l.run_id > o.run_id)"
	"  OR NOT EXISTS (SELECT FROM jdysync.stream s WHERE s.stream_id = o.stream_id)"
	"   AND NOT EXISTS (SELECT FROM jdysync.push p WHERE p.push_id = o.stream_id))"
	" AND NOT EXISTS (SELECT FROM jdysync.batch b WHERE b.push_id = o.stream_id AND b.run_id = o.run_id)"
	" AND o.run_id NOT IN (SELECT unnest($3)) LIMIT " MOST_ROWS_TEXT "))",
	.nargs = 3,
	.argtypes = {INT8OID, TIMESTAMPTZOID, INT8ARRAYOID},
	.by_index = true
};

static JdyStatement remove_incidents = {
	.sql = "DELETE FROM jdysync.incident i WHERE i.closed_at < $1",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}
};

/* A detail that was rejected waits in the queue until it can be had. */
static JdyStatement remove_rejects = {
	.sql = "DELETE FROM jdysync.reject j WHERE j.at < $1 AND j.next_try IS NULL AND NOT EXISTS ("
	" SELECT FROM jdysync.listing l WHERE l.stream_id = j.stream_id AND l.id = j.id AND l.due)",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}
};

static Cut find_cut(TimestampTz oldest);
static void warn_once(TimestampTz now, TimestampTz oldest, const Cut *cut, const RingTurn *calls);

bool
jdy_trim_is_due(void)
{
	TimestampTz at = jdy_database_slot(MyDatabaseId).trim_at;
	TimestampTz now = jdy_clock_now();

	return now >= at || at > now + AFTER_FAILURE_US;	/* else the clock was set back */
}

void
jdy_trim_done(bool put_off)
{
	TimestampTz at = jdy_clock_now() + (put_off ? AFTER_FAILURE_US : EVERY_US);
	DatabaseSlot *slot = jdy_database_lock(MyDatabaseId, false);

	if (slot != NULL)
		slot->trim_at = at;
	jdy_database_unlock();
}

bool
jdy_trim(TimestampTz now)
{
	Datum		retention = DirectFunctionCall3(interval_in, CStringGetDatum(jdy_log_retention),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	TimestampTz oldest = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(now), retention));
	Cut			cut = find_cut(oldest);
	TimestampTz merged = Max(cut.before, now - MERGE_AFTER_US);
	Datum		values[3] = {TimestampTzGetDatum(oldest)};
	RingTurn	calls;
	bool		isnull;
	bool		more;

	jdy_execute(&remove_incidents, values, NULL);
	jdy_execute(&remove_rejects, values, NULL);

	/* Before runs go: of those that merged rows stand for only two stay, and few rows need be looked at. */
	more = jdy_ledger_merge(merged);
	if (!more)
	{
		values[0] = TimestampTzGetDatum(merged);
		values[1] = Int64GetDatum(cut.run_id);
		jdy_execute(&ledger_runs, values, NULL);
		values[2] = jdy_spi_datum(0, 1, &isnull);
		values[0] = values[1];
		values[1] = TimestampTzGetDatum(cut.before);
		jdy_execute(&remove_runs, values, NULL);
		more = SPI_processed == MOST_ROWS;
	}

	/* Last: what it locks is locked until the end of the transaction. */
	calls = jdy_callring_turn(now, oldest, cut.bytes_left);
	warn_once(now, oldest, &cut, &calls);
	return more;
}

static Cut
find_cut(TimestampTz oldest)
{
	Datum		values[2] = {Int64GetDatum(0), TimestampTzGetDatum(oldest)};
	int64		log_bytes = (int64) jdy_log_size_mb * 1024 * 1024;
	int64		last;
	int64		run_bytes;
	int64		most;
	Cut			cut = {.before = oldest,.bytes_left = log_bytes};
	bool		isnull;

	jdy_execute(&last_runs, NULL, NULL);
	last = jdy_spi_int64(0, 1, 0);
	run_bytes = jdy_spi_int64(0, 2, 0);
	jdy_execute(&first_young, values, NULL);
	cut.run_id = SPI_processed > 0 ? jdy_spi_int64(0, 1, 0) : last + 1;

	most = log_bytes / run_bytes;
	if (last + 1 - cut.run_id > most)
	{
		cut.run_id = last + 1 - most;
		values[0] = Int64GetDatum(cut.run_id);
		jdy_execute(&first_young, values, NULL);
		if (SPI_processed > 0)
		{
			cut.run_id = jdy_spi_int64(0, 1, 0);
			cut.before = Max(oldest, DatumGetTimestampTz(jdy_spi_datum(0, 2, &isnull)));
			cut.for_size = true;
		}
	}
	cut.bytes_left = Max(0, log_bytes - (last + 1 - cut.run_id) * run_bytes);
	return cut;
}

/* Whoever looks for yesterday's calls should not look in vain without knowing why. */
static void
warn_once(TimestampTz now, TimestampTz oldest, const Cut *cut, const RingTurn *calls)
{
	TimestampTz day_ago = Max(now - USECS_PER_DAY, oldest);
	LogShortage shortage = SHORT_OF_NOTHING;
	LogShortage before = jdy_database_slot(MyDatabaseId).shortage;
	DatabaseSlot *slot;

	if (cut->for_size && cut->before > day_ago)
		shortage = SHORT_OF_RUNS;
	else if (calls->cut ? calls->kept_from > day_ago : before != SHORT_OF_NOTHING && calls->kept_from > day_ago)
		shortage = SHORT_OF_CALLS;
	if (shortage == before)
		return;
	slot = jdy_database_lock(MyDatabaseId, false);
	if (slot != NULL)
		slot->shortage = shortage;
	jdy_database_unlock();
	if (shortage > before)
		ereport(LOG,
				(errmsg("jdysync.log_size is too small for the %s of one day in database \"%s\"",
						shortage == SHORT_OF_RUNS ? "runs" : "calls", get_database_name(MyDatabaseId)),
				 errdetail("With %d MB the oldest that is kept is %lld minutes old.", jdy_log_size_mb,
						   (long long) ((now - (shortage == SHORT_OF_RUNS ? cut->before : calls->kept_from)) / USECS_PER_MINUTE)),
				 errhint("Raise jdysync.log_size, or let jdysync.log_calls keep less.")));
}
