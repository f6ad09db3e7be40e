/*-------------------------------------------------------------------------
 * trim.c
 *		Logs that do not grow for ever.
 *
 * Once in a while a scheduler removes the runs, and their calls, that are older than
 * jdysync.log_retention, in short transactions.  The last run of each status stays, so that
 * jdy_status knows when all was well and what went wrong last.
 *
 * Called by scheduler.c and runner.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "clock.h"
#include "fmgr.h"
#include "jdysync.h"
#include "launcher.h"
#include "miscadmin.h"
#include "shmem.h"
#include "spi.h"
#include "trim.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define EVERY_US (3600 * INT64CONST(1000000))
#define MOST_ROWS 20000			/* removed in one transaction */
#define MOST_ROWS_TEXT CppAsString2(MOST_ROWS)

static JdyStatement find = {
	.sql = "SELECT pg_catalog.max(r.run_id) FROM jdysync.run r WHERE r.finished_at < $1",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}
};

static JdyStatement remove_calls = {
	.sql = "DELETE FROM jdysync.call k WHERE k.ctid = ANY (ARRAY(SELECT c.ctid FROM jdysync.call c"
	" WHERE c.run_id <= $1 AND c.at < $2 LIMIT " MOST_ROWS_TEXT "))",
	.nargs = 2,
	.argtypes = {INT8OID, TIMESTAMPTZOID}
};

static JdyStatement remove_runs = {
	.sql = "DELETE FROM jdysync.run r WHERE r.run_id = ANY (ARRAY(SELECT o.run_id FROM jdysync.run o"
	" WHERE o.run_id <= $1 AND o.finished_at < $2 AND EXISTS (SELECT FROM jdysync.run l"
	"  WHERE l.stream_id = o.stream_id AND l.status = o.status AND l.run_id > o.run_id) LIMIT " MOST_ROWS_TEXT "))",
	.nargs = 2,
	.argtypes = {INT8OID, TIMESTAMPTZOID}
};

bool
jdy_trim_is_due(void)
{
	TimestampTz trimmed_at = jdy_database_trimmed(MyDatabaseId);
	TimestampTz now = jdy_clock_now();

	return trimmed_at == 0 || now - trimmed_at >= EVERY_US || now < trimmed_at;
}

bool
jdy_trim(void)
{
	Datum		interval = DirectFunctionCall3(interval_in, CStringGetDatum(jdy_log_retention),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	Datum		values[2];
	uint64		calls;
	bool		isnull;

	values[0] = DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(jdy_clock_now()), interval);
	jdy_execute(&find, values, NULL);
	values[1] = values[0];
	values[0] = jdy_spi_datum(0, 1, &isnull);
	if (!isnull)
	{
		jdy_execute(&remove_calls, values, NULL);
		calls = SPI_processed;
		jdy_execute(&remove_runs, values, NULL);
		if (calls == MOST_ROWS || SPI_processed == MOST_ROWS)
			return true;
	}
	jdy_database_set_trimmed(MyDatabaseId, jdy_clock_now());
	return false;
}
