/*-------------------------------------------------------------------------
 * tally.c
 *		What runs did, added up: by day, and for ever.
 *
 * The log of runs is cut by age and size, so a sum over it shrinks: no counter that a
 * monitoring system could trust, no chart of a month.  Each run is therefore added to
 * two rows of its stream as it ends, in the same transaction: that of the day and that
 * without a day.  Days older than KEPT_DAYS go as later runs end.
 *
 * A row has one writer at a time: who ends a run holds its stream's lock.
 *
 * Called by runlog.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "spi.h"
#include "tally.h"

#define KEPT_DAYS "40"
#define ITS_DAY "(r.finished_at AT TIME ZONE pg_catalog.current_setting('log_timezone'))::date"

void
jdy_tally(int64 run_id)
{
	static JdyStatement add = {
		.sql = "INSERT INTO jdysync.tally AS t (stream_id, day, status, runs, seconds, listed, details, inserted, updated, deleted, rejected, delivered, dead, calls, retries)"
		" SELECT r.stream_id, d.day, r.status, 1,"
		"  CASE r.status WHEN 'interrupted' THEN 0 ELSE pg_catalog.date_part('epoch', r.finished_at - r.started_at) END,"
		"  r.listed, r.details, r.inserted, r.updated, r.deleted, r.rejected, r.delivered, r.dead, r.calls, r.retries"
		" FROM jdysync.run r CROSS JOIN LATERAL (VALUES (date '-infinity'), (" ITS_DAY ")) AS d (day)"
		" WHERE r.run_id = $1 AND r.started_at IS NOT NULL"
		" ON CONFLICT (stream_id, day, status) DO UPDATE SET runs = t.runs + 1, seconds = t.seconds + excluded.seconds,"
		"  listed = t.listed + excluded.listed, details = t.details + excluded.details,"
		"  inserted = t.inserted + excluded.inserted, updated = t.updated + excluded.updated,"
		"  deleted = t.deleted + excluded.deleted, rejected = t.rejected + excluded.rejected,"
		"  delivered = t.delivered + excluded.delivered, dead = t.dead + excluded.dead,"
		"  calls = t.calls + excluded.calls, retries = t.retries + excluded.retries",
		.nargs = 1,
		.argtypes = {INT8OID},
		.by_index = true
	};
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.tally t USING jdysync.run r"
		" WHERE r.run_id = $1 AND t.stream_id = r.stream_id AND t.day > '-infinity' AND t.day < " ITS_DAY " - " KEPT_DAYS,
		.nargs = 1,
		.argtypes = {INT8OID},
		.by_index = true
	};
	Datum		values[1] = {Int64GetDatum(run_id)};

	jdy_execute(&add, values, NULL);
	jdy_execute(&forget, values, NULL);
}
