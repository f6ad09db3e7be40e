/*-------------------------------------------------------------------------
 * ledger.c
 *		The ledger of windows in the long run: neighbours become one row.
 *
 * A stream that runs every minute enters half a million windows a year, each of which
 * begins where the one before ended.  After some days nobody asks for a single one any more, only for
 * what they prove together: so those of one stream that meet or overlap, and were proven under the same epoch and
 * by the same rule, become one row.  It adds up their calls, rows and counts, and names the first and the last
 * run of them.  Spans with a gap between them never meet: gaps stay what they are.
 *
 * A row that was merged before is one of the rows like any other.  It is done when there are FEW
 * of them, not for each: the row that grows would be written anew with each.
 *
 * Whether the ledger proves the same as before is looked at in the same transaction.  The stream's row is
 * locked, so that it is not dropped meanwhile; runs enter younger windows and are in nobody's way.
 *
 * Called by trim.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger.h"
#include "spi.h"
#include "utils/timestamp.h"

#define FEW "64"				/* rows of a stream that may wait */
#define MOST_ROWS 20000			/* of a stream in one transaction */
#define MOST_ROWS_TEXT CppAsString2(MOST_ROWS)

static JdyStatement ripe_streams = {
	.sql = "SELECT s.stream_id FROM jdysync.stream s WHERE (SELECT count(*) FROM ("
	" SELECT FROM jdysync.\"window\" w WHERE w.stream_id = s.stream_id AND w.proven_at < $1 LIMIT " FEW ") AS l) = " FEW
	" FOR KEY SHARE SKIP LOCKED",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID},
	.by_index = true
};

static JdyStatement proven_spans = {
	.sql = "SELECT sum(c.n)::bigint, string_agg(c.epoch || ' ' || c.spans::text, ' ' ORDER BY c.epoch) FROM ("
	" SELECT w.epoch, count(*) AS n, range_agg(w.span) AS spans FROM jdysync.\"window\" w"
	"  WHERE w.stream_id = $1 AND w.proven_at < $2 GROUP BY w.epoch) AS c",
	.nargs = 2,
	.argtypes = {INT4OID, TIMESTAMPTZOID},
	.by_index = true
};

#define KIND_OF_PROOF "PARTITION BY r.epoch, r.rule, r.\"count\" IS NULL ORDER BY COALESCE(lower(r.span), '-infinity'), upper(r.span)"

static JdyStatement merge = {
	.sql = "WITH ripe AS MATERIALIZED (SELECT w.ctid AS place, w.* FROM jdysync.\"window\" w"
	"  WHERE w.stream_id = $1 AND w.proven_at < $2 ORDER BY w.proven_at LIMIT " MOST_ROWS_TEXT " FOR UPDATE SKIP LOCKED),"
	" edges AS (SELECT r.*, COALESCE(COALESCE(lower(r.span), '-infinity') > max(upper(r.span))"
	"   OVER (" KIND_OF_PROOF " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), true) AS opens FROM ripe r),"
	" islands AS (SELECT r.*, count(*) FILTER (WHERE r.opens) OVER (" KIND_OF_PROOF " ROWS UNBOUNDED PRECEDING) AS island FROM edges r),"
	" merged AS (SELECT array_agg(i.place ORDER BY i.proven_at DESC, i.run_id DESC) AS places,"
	"   tstzrange(NULLIF(min(COALESCE(lower(i.span), '-infinity')), '-infinity'), max(upper(i.span))) AS span,"
	"   sum(i.calls) AS calls, sum(i.\"rows\") AS \"rows\", sum(i.\"count\") AS \"count\", sum(i.windows) AS windows,"
	"   min(COALESCE(i.first_run_id, i.run_id)) AS first_run_id, max(i.run_id) AS run_id, max(i.proven_at) AS proven_at"
	"  FROM islands i GROUP BY i.epoch, i.rule, i.\"count\" IS NULL, i.island HAVING count(*) > 1),"
	" removed AS (DELETE FROM jdysync.\"window\" w WHERE w.ctid = ANY (ARRAY(SELECT unnest(m.places[2:]) FROM merged m)))"
	" UPDATE jdysync.\"window\" w SET span = m.span, calls = m.calls, \"rows\" = m.\"rows\", \"count\" = m.\"count\","
	"  windows = m.windows, first_run_id = m.first_run_id, run_id = m.run_id, proven_at = m.proven_at"
	" FROM merged m WHERE w.ctid = m.places[1] AND w.ctid = ANY (ARRAY(SELECT o.places[1] FROM merged o))",
	.nargs = 2,
	.argtypes = {INT4OID, TIMESTAMPTZOID},
	.by_index = true
};

static int64 merge_stream(int stream_id, TimestampTz before);
static char *spans_of(Datum *values, int64 *rows);

bool
jdy_ledger_merge(TimestampTz before)
{
	Datum		values[1] = {TimestampTzGetDatum(before)};
	SPITupleTable *streams;
	uint64		n;
	int64		removed = 0;

	jdy_execute(&ripe_streams, values, NULL);
	streams = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		removed += merge_stream(DatumGetInt32(SPI_getbinval(streams->vals[i], streams->tupdesc, 1, &isnull)), before);
		if (removed >= MOST_ROWS / 2)
			return true;
	}
	return false;
}

/* Returns how many rows there are less. */
static int64
merge_stream(int stream_id, TimestampTz before)
{
	Datum		values[2] = {Int32GetDatum(stream_id), TimestampTzGetDatum(before)};
	int64		rows_then;
	int64		rows;
	char	   *proven = spans_of(values, &rows_then);

	jdy_execute(&merge, values, NULL);
	if (strcmp(spans_of(values, &rows), proven) != 0)
		elog(ERROR, "the ledger of stream %d does not prove the same once it is merged", stream_id);
	return rows_then - rows;
}

static char *
spans_of(Datum *values, int64 *rows)
{
	jdy_execute(&proven_spans, values, NULL);
	*rows = jdy_spi_int64(0, 1, 0);
	return *rows > 0 ? jdy_spi_text(0, 2) : "";
}
