/*-------------------------------------------------------------------------
 * agenda.c
 *		When each stream and push is due.
 *
 * jdysync.agenda has a row for each that runs by itself, and one for a stream's second schedule: when it
 * is due by its schedule, and when it is tried, which is later after failures.
 *
 *	due, and no run is open		a run is queued, and in the same transaction the next try is put off, as
 *								if the run had failed: so a crash is counted like any failure
 *	the run goes well			due again by its schedule: what was missed before it began, or while it
 *								went on, counts once
 *	the run fails				tried again after 1 s, 2 s, … 5 min, whatever the schedule says
 *	somebody runs it by hand	the same, but a time that has not come yet stays
 *	jdysync is switched off		the run that is cancelled for it counts as not begun
 *	both schedules are due		two runs are queued, one after the other
 *
 * Once a day a stream's run is to certify the list, too (stream.verify_at), and once a week another to audit it
 * (stream.audit_at).  Either comes back an hour later when it was not done.  Pushes do not wait for them: what they wait
 * for, such a run does first.
 *
 * A queued run is a row, too, so no time is lost when processes die in between.
 *
 * A push whose source reads a stream's table, directly or through views, and that has the same schedule
 * runs after it: while that stream is due or has an open run the push waits, but for one run of it only.  For
 * that it begins in step with the stream.
 *
 * Cost grows with what is due: an index on the time finds that, and what else is asked of each is found by its key.
 *
 * Called by stream.c, pushdef.c, runner.c and scheduler.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "agenda.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "commands/defrem.h"
#include "common/pg_prng.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "options.h"
#include "pgtime.h"
#include "runner.h"
#include "runslot.h"
#include "schedule.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define FIRST_PAUSE_US (1 * USECS_PER_SEC)	/* after a failure; doubled by each */
#define LONGEST_PAUSE_US (300 * USECS_PER_SEC)

/* All streams that a push reads, by way of views, and that have its schedule. */
#define STREAMS_BEFORE(push) \
	"WITH RECURSIVE below (rel) AS (SELECT " push ".source::pg_catalog.oid" \
	" UNION SELECT d.refobjid FROM below b JOIN pg_catalog.pg_rewrite r ON r.ev_class = b.rel" \
	"  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid" \
	"   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> b.rel)" \
	" SELECT s.stream_id FROM jdysync.stream s JOIN below b ON b.rel = s.staging WHERE s.schedule = " push ".schedule AND s.enabled"

/* Whether the last run of stream u with this status ended before a was due. */
#define NOT_RUN_SINCE(status) \
	"COALESCE((SELECT r.finished_at FROM jdysync.run r WHERE r.stream_id = u.id AND r.status = '" status "'" \
	" ORDER BY r.run_id DESC LIMIT 1) < a.due_at, true)"

/* remedy is the last argument of each. */
static JdyStatement find = {
	.sql = "SELECT k.schedule, k.server::text, a.due_at, a.failures,"
	" (SELECT pg_catalog.min(o.due_at) FROM jdysync.agenda o"
	"  WHERE o.subject_id IN (SELECT pg_catalog.unnest(k.before)) AND NOT o.remedy)"
	" FROM (SELECT s.stream_id AS id, CASE WHEN $2 THEN s.remedy ELSE s.schedule END AS schedule, s.server, s.enabled,"
	"   NULL::integer[] AS before FROM jdysync.stream s WHERE s.stream_id = $1"
	"  UNION ALL SELECT p.push_id, p.schedule, p.server, p.enabled, ARRAY(" STREAMS_BEFORE("p") ")"
	"  FROM jdysync.push p WHERE p.push_id = $1 AND NOT $2) AS k"
	" LEFT JOIN jdysync.agenda a ON a.subject_id = k.id AND a.remedy = $2"
	" WHERE k.schedule IS NOT NULL AND k.enabled",
	.nargs = 2,
	.argtypes = {INT4OID, BOOLOID}
};

static JdyStatement enter = {
	.sql = "INSERT INTO jdysync.agenda (subject_id, due_at, next_at, remedy) VALUES ($1, $2, $2, $3)"
	" ON CONFLICT (subject_id, remedy) DO UPDATE SET due_at = EXCLUDED.due_at, next_at = EXCLUDED.next_at, failures = 0",
	.nargs = 3,
	.argtypes = {INT4OID, TIMESTAMPTZOID, BOOLOID}
};

static JdyStatement leave = {
	.sql = "DELETE FROM jdysync.agenda a WHERE a.subject_id = $1 AND a.remedy = $2",
	.nargs = 2,
	.argtypes = {INT4OID, BOOLOID}
};

static JdyStatement put_off = {
	.sql = "UPDATE jdysync.agenda a SET next_at = $2, failures = $3 WHERE a.subject_id = $1 AND a.remedy = $4",
	.nargs = 4,
	.argtypes = {INT4OID, TIMESTAMPTZOID, INT4OID, BOOLOID}
};

static JdyStatement due_ones = {
	.sql = "SELECT a.subject_id, a.failures, b.streams,"
	" EXISTS (SELECT FROM jdysync.run r WHERE r.stream_id = ANY (b.streams) AND r.status = 'queued') OR"
	" EXISTS (SELECT FROM jdysync.agenda o WHERE o.subject_id = ANY (b.streams) AND o.next_at <= $1),"
	" EXISTS (SELECT FROM unnest(b.streams) AS u (id) WHERE " NOT_RUN_SINCE("ok") " AND " NOT_RUN_SINCE("failed") "), a.remedy"
	" FROM jdysync.agenda a"
	" CROSS JOIN LATERAL (SELECT j.is_push FROM jdysync.subject j WHERE j.stream_id = a.subject_id AND j.owner IS NOT NULL OFFSET 0) AS j"
	" LEFT JOIN jdysync.push p ON j.is_push AND p.push_id = a.subject_id"
	" CROSS JOIN LATERAL (SELECT CASE WHEN j.is_push THEN ARRAY(" STREAMS_BEFORE("p") ") END AS streams) AS b"
	" WHERE a.next_at <= $1"
	"  AND NOT EXISTS (SELECT FROM jdysync.run r WHERE r.stream_id = a.subject_id AND r.status = 'queued' OFFSET 0)"
	" ORDER BY a.next_at",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID},
	.by_index = true
};

static JdyStatement queue = {
	.sql = "WITH v AS (UPDATE jdysync.stream s SET verify_at = $2 + interval '1 hour'"
	"  WHERE s.stream_id = $1 AND s.verify_at <= $2 AND s.loaded_at IS NOT NULL AND NOT $3 RETURNING s.stream_id),"
	" u AS (UPDATE jdysync.stream s SET audit_at = $2 + interval '1 hour'"
	"  WHERE s.stream_id = $1 AND s.audit_at <= $2 AND s.loaded_at IS NOT NULL AND NOT $3 AND NOT EXISTS (SELECT FROM v) RETURNING s.stream_id)"
	" INSERT INTO jdysync.run (stream_id, name, kind, mode, status, requested_by, queued_at)"
	" SELECT $1, j.name, CASE WHEN j.is_push THEN 'push' ELSE 'pull' END,"
	"  CASE WHEN $3 THEN 'remedy' WHEN EXISTS (SELECT FROM v) THEN 'verify'"
	"   WHEN EXISTS (SELECT FROM u) THEN 'audit' ELSE 'auto' END, 'queued',"
	"  a.rolname, $2 FROM jdysync.subject j JOIN pg_catalog.pg_authid a ON a.oid = j.owner WHERE j.stream_id = $1",
	.nargs = 3,
	.argtypes = {INT4OID, TIMESTAMPTZOID, BOOLOID},
	.by_index = true
};

static JdyStatement first = {
	.sql = "SELECT pg_catalog.min(a.next_at) FROM jdysync.agenda a WHERE a.next_at > $1",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}
};

static TimestampTz first_after(TimestampTz time);
static pg_tz *server_time_zone(const char *server);
static void try_later(int subject_id, bool remedy, int failures, TimestampTz now);
static void try_at(int subject_id, bool remedy, int failures, TimestampTz at);
static bool is_open(Datum streams);

void
jdy_agenda_enter(int subject_id, bool remedy)
{
	Datum		key[2] = {Int32GetDatum(subject_id), BoolGetDatum(remedy)};
	Datum		values[3] = {key[0], (Datum) 0, key[1]};
	TimestampTz now = jdy_clock_now();
	char	   *schedule;
	TimestampTz due;
	bool		isnull;

	jdy_execute(&find, key, NULL);
	if (SPI_processed == 0)
	{
		jdy_execute(&leave, key, NULL);
		return;
	}
	schedule = jdy_spi_text(0, 1);

	/* An interval begins now; the push that follows a stream, with it. */
	due = jdy_schedule_is_cron(schedule) ? jdy_schedule_next(schedule, now, now, server_time_zone(jdy_spi_text(0, 2))) : now;
	values[1] = jdy_spi_datum(0, 5, &isnull);
	if (isnull)
		values[1] = TimestampTzGetDatum(due);
	jdy_execute(&enter, values, NULL);
	jdy_wake_launcher_at_commit();
}

void
jdy_agenda_leave(int subject_id)
{
	for (int remedy = 0; remedy < 2; remedy++)
	{
		Datum		key[2] = {Int32GetDatum(subject_id), BoolGetDatum(remedy)};

		jdy_execute(&leave, key, NULL);
	}
}

void
jdy_agenda_run_ended(int subject_id, bool remedy, TimestampTz began, RunEnd end)
{
	Datum		key[2] = {Int32GetDatum(subject_id), BoolGetDatum(remedy)};
	Datum		values[3] = {key[0], (Datum) 0, key[1]};
	TimestampTz now = jdy_clock_now();
	TimestampTz due;
	int			failures;
	bool		isnull;

	jdy_execute(&find, key, NULL);
	if (SPI_processed == 0)
		return;
	due = DatumGetTimestampTz(jdy_spi_datum(0, 3, &isnull));
	if (isnull)
		return;
	failures = (int) jdy_spi_int64(0, 4, 0);
	if (end == RUN_FAILED)
		try_later(subject_id, remedy, Max(failures, 1), now);
	else if (end == RUN_PUT_BACK)
		try_at(subject_id, remedy, Max(failures - 1, 0), due);
	else if (failures > 0 || due <= began)
	{
		if (due <= began)
			due = jdy_schedule_next(jdy_spi_text(0, 1), due, began, server_time_zone(jdy_spi_text(0, 2)));
		values[1] = TimestampTzGetDatum(due);
		jdy_execute(&enter, values, NULL);
	}
}

TimestampTz
jdy_agenda_queue_due(void)
{
	TimestampTz now = jdy_clock_now();
	Datum		values[1] = {TimestampTzGetDatum(now)};
	SPITupleTable *rows;
	uint64		n;

	jdy_execute(&due_ones, values, NULL);
	rows = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		int			subject_id = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
		int			failures = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		Datum		streams = SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull);
		bool		waits = !isnull && DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 5, &isnull));
		Datum		remedy = SPI_getbinval(rows->vals[i], rows->tupdesc, 6, &isnull);
		Datum		run[3] = {Int32GetDatum(subject_id), TimestampTzGetDatum(now), remedy};

		/* The end of an open run sets the time of the next one, and brings us back. */
		if (jdy_slot_stream_open(subject_id))
			continue;
		if (waits && (is_open(streams) || DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 4, &isnull))))
			continue;
		jdy_execute(&queue, run, NULL);
		try_later(subject_id, DatumGetBool(remedy), failures + 1, now);
	}
	return first_after(now);
}

TimestampTz
jdy_agenda_first(void)
{
	return first_after(DT_NOBEGIN);
}

static TimestampTz
first_after(TimestampTz time)
{
	Datum		values[1] = {TimestampTzGetDatum(time)};
	TimestampTz at;
	bool		isnull;

	jdy_execute(&first, values, NULL);
	at = DatumGetTimestampTz(jdy_spi_datum(0, 1, &isnull));
	return isnull ? DT_NOEND : at;
}

static pg_tz *
server_time_zone(const char *server)
{
	ForeignServer *foreign = GetForeignServerByName(server, true);
	ListCell   *cell;
	pg_tz	   *zone = NULL;

	if (foreign != NULL)
		foreach(cell, foreign->options)
			if (strcmp(((DefElem *) lfirst(cell))->defname, "time_zone") == 0)
				zone = pg_tzset(defGetString(lfirst(cell)));
	return zone != NULL ? zone : pg_tzset(JDY_TIME_ZONE);
}

/* A quarter of the pause is random, so that what failed together does not come back together. */
static void
try_later(int subject_id, bool remedy, int failures, TimestampTz now)
{
	int64		pause = LONGEST_PAUSE_US;

	if (failures < 20)
		pause = Min(pause, FIRST_PAUSE_US << (failures - 1));
	pause -= (int64) (pause / 4 * pg_prng_double(&pg_global_prng_state));
	try_at(subject_id, remedy, failures, now + pause);
}

static void
try_at(int subject_id, bool remedy, int failures, TimestampTz at)
{
	Datum		values[4] = {Int32GetDatum(subject_id), TimestampTzGetDatum(at), Int32GetDatum(failures), BoolGetDatum(remedy)};

	jdy_execute(&put_off, values, NULL);
}

/* Whether one of the streams has an open run, but for one that certifies or audits its list. */
static bool
is_open(Datum streams)
{
	Datum	   *ids;
	int			n;
	bool		found = false;

	deconstruct_array(DatumGetArrayTypeP(streams), INT4OID, 4, true, TYPALIGN_INT, &ids, NULL, &n);
	for (int i = 0; i < n && !found; i++)
		found = jdy_slot_stream_open(DatumGetInt32(ids[i])) && !jdy_slot_stream_looks_back(DatumGetInt32(ids[i]));
	return found;
}
