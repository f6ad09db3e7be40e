/*-------------------------------------------------------------------------
 * audit.c
 *		Audits: what was read long ago, compared with what the service says of it.
 *
 * Windows read each change once, when it is young.  If that went wrong (a record became
 * visible too late, was dated back, changed without a new modify time), they never come by
 * again.  So once a week
 *
 *	every modify time is compared, one call for some ninety records		compare.c
 *	a quarter of all details is read again, one call for each			reread.c
 *
 * and whatever is not here as the service has it is landed, and is an incident with its cause (finding.c).
 *
 * An audit has a row of its own, which says how far it has come.  It works for a while at a time: a run
 * that is asked for, or the next by the schedule, should not wait for it.  What is left is gone on with an
 * hour later, and so it is after a crash.  Nothing but that row is written when nothing is found.
 *
 * Called by pull.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "progress.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define TURN_US (10 * INT64CONST(60000000))
#define PARTS 4					/* audits until all details were read again: 28 days */
#define KEPT_AUDITS "100"

static void open_audit(Audit *audit);
static bool find_open(Audit *audit);
static void begin_audit(Audit *audit);
static void count_records(Audit *audit, int64 *detailed, bool *stamped);
static void end_audit(Audit *audit);
static void next_audit(Audit *audit, TimestampTz from, TimestampTz to);
static bool turn_is_over(const Audit *audit);

void
jdy_audit(Pull *pull, bool (*keep_up) (Pull *pull, bool look))
{
	MemoryContext context = AllocSetContextCreate(pull->context, "jdysync audit", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Audit	   *audit = palloc0(sizeof(Audit));

	audit->pull = pull;
	audit->keep_up = keep_up;
	audit->context = context;
	audit->turn_began_us = jdy_monotonic_us();
	jdy_progress_phase(PHASE_AUDITING);
	open_audit(audit);
	jdy_audit_compare(audit);
	jdy_audit_reread(audit);
	end_audit(audit);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

bool
jdy_audit_goes_on(Audit *audit)
{
	Pull	   *pull = audit->pull;

	if (audit->keep_up(pull, true))
	{
		(void) audit->keep_up(pull, false);
		jdy_progress_phase(PHASE_AUDITING);
		if (!pull->windowed)
			audit->why = "the service does not heed the time filter any more";
	}
	audit->gave_way = audit->gave_way || turn_is_over(audit);
	MemoryContextSwitchTo(audit->context);
	return !audit->gave_way && pull->windowed;
}

bool
jdy_audit_is_wanted_elsewhere(Audit *audit)
{
	return audit->keep_up(audit->pull, true) || turn_is_over(audit);
}

/* What is left of the list is asked for in calls of so many rows, as pages are. */
void
jdy_audit_progress(Audit *audit, int64 rows)
{
	jdy_progress_totals(audit->pull->counters->listed + rows, Max(audit->details_due - audit->details, 0));
}

void
jdy_audit_note(Audit *audit)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.audit a SET run_id = $2, compared_until = $3, windows = $4, details = $5, after_id = $6,"
		" calls = a.calls + $7, why = COALESCE($8, a.why) WHERE a.audit_id = $1",
		.nargs = 8,
		.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, INT8OID, TEXTOID, INT8OID, TEXTOID}
	};
	Datum		values[8];
	char		nulls[9] = "        ";

	jdy_finding_write(audit);
	values[0] = Int64GetDatum(audit->audit_id);
	values[1] = Int64GetDatum(audit->pull->run_id);
	values[2] = TimestampTzGetDatum(audit->compared_until);
	nulls[2] = audit->compare_until == 0 ? 'n' : ' ';
	values[3] = Int32GetDatum(audit->windows);
	values[4] = Int64GetDatum(audit->details);
	values[5] = CStringGetTextDatum(audit->after_id);
	values[6] = Int64GetDatum(audit->calls);
	values[7] = audit->why ? CStringGetTextDatum(audit->why) : (Datum) 0;
	nulls[7] = audit->why ? ' ' : 'n';
	jdy_execute(&note, values, nulls);
	audit->calls = 0;
}

static void
open_audit(Audit *audit)
{
	Pull	   *pull = audit->pull;

	if (pull->stream->watermark != 0)
		audit->proven_until = jdy_tick_floor(pull, pull->stream->watermark - pull->stream->overlap_us) - jdy_tick_us(pull);
	jdy_pull_begin(pull);
	if (!find_open(audit))
		begin_audit(audit);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(audit->context);
}

/* One that gave way or died.  Else its place among the details is where this one goes on. */
static bool
find_open(Audit *audit)
{
	static JdyStatement find = {
		.sql = "SELECT a.audit_id, a.ended_at IS NULL, a.compare_until, a.compared_until, a.windows, a.details_due, a.details, a.after_id,"
		"  jsonb_array_length(a.findings)"
		" FROM jdysync.audit a WHERE a.stream_id = $1 AND a.epoch = $2 ORDER BY a.audit_id DESC LIMIT 1",
		.nargs = 2,
		.argtypes = {INT4OID, INT4OID}
	};
	const Stream *stream = audit->pull->stream;
	Datum		values[2] = {Int32GetDatum(stream->stream_id), Int32GetDatum(stream->epoch)};
	bool		isnull;
	Datum		at;

	jdy_execute(&find, values, NULL);
	if (SPI_processed == 0)
		return false;
	strlcpy(audit->after_id, jdy_spi_text(0, 8), sizeof(audit->after_id));
	if (!DatumGetBool(jdy_spi_datum(0, 2, &isnull)))
		return false;
	audit->audit_id = jdy_spi_int64(0, 1, 0);
	at = jdy_spi_datum(0, 3, &isnull);
	audit->compare_until = isnull ? 0 : DatumGetTimestampTz(at);
	at = jdy_spi_datum(0, 4, &isnull);
	audit->compared_until = isnull ? 0 : DatumGetTimestampTz(at);

	/* What was proven may have been taken back since. */
	if (audit->compare_until != 0)
		audit->compare_until = Min(audit->compare_until, Max(audit->proven_until, audit->compared_until));
	audit->windows = (int) jdy_spi_int64(0, 5, 0);
	audit->details_due = jdy_spi_int64(0, 6, 0);
	audit->details = jdy_spi_int64(0, 7, 0);
	audit->kept = (int) jdy_spi_int64(0, 9, 0);
	return true;
}

static void
begin_audit(Audit *audit)
{
	static JdyStatement begin = {
		.sql = "INSERT INTO jdysync.audit (stream_id, epoch, run_id, began_at, compare_until, compared_until, details_due, after_id)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING audit_id",
		.nargs = 8,
		.argtypes = {INT4OID, INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, TEXTOID}
	};
	Pull	   *pull = audit->pull;
	const Stream *stream = pull->stream;
	Datum		values[8];
	char		nulls[9] = "        ";
	int64		detailed;
	bool		stamped;

	count_records(audit, &detailed, &stamped);
	if (!pull->windowed)
		audit->why = "the list cannot be read by modify time: every run reads all of it";
	else if (!stamped)
		audit->why = "the records here tell no modify time that could be compared";
	else if (audit->proven_until == 0)
		audit->why = "nothing is proven that could be compared, see jdy_coverage";
	else
	{
		audit->compare_until = audit->proven_until;
		audit->compared_until = stream->start_from != 0 ? jdy_tick_floor(pull, stream->start_from) : JDY_FIRST_TICK;
	}
	if (pull->windowed && stream->details)
		audit->details_due = (detailed + PARTS - 1) / PARTS;

	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = Int32GetDatum(stream->epoch);
	values[2] = Int64GetDatum(pull->run_id);
	values[3] = TimestampTzGetDatum(jdy_clock_now());
	values[4] = TimestampTzGetDatum(audit->compare_until);
	values[5] = TimestampTzGetDatum(audit->compared_until);
	nulls[4] = nulls[5] = audit->compare_until == 0 ? 'n' : ' ';
	values[6] = Int64GetDatum(audit->details_due);
	values[7] = CStringGetTextDatum(audit->after_id);
	jdy_execute(&begin, values, nulls);
	audit->audit_id = jdy_spi_int64(0, 1, 0);
}

/* stamped: of the records that should have a modify time, if any, some do.  A list row whose detail was never had tells none. */
static void
count_records(Audit *audit, int64 *detailed, bool *stamped)
{
	JdyStatement count = {
		.sql = psprintf("SELECT count(*) FILTER (WHERE l.live), count(l.modified_at), count(*) FILTER (WHERE l.live AND l.detailed_at IS NOT NULL) FROM"
						" (SELECT s.modified_at, s.detailed_at, s.deleted_at IS NULL AND s.out_of_scope_at IS NULL AS live FROM %s AS s) AS l",
						audit->pull->stream->staging_name)
	};

	jdy_execute_as_user(&count, NULL, NULL);
	*detailed = jdy_spi_int64(0, 3, 0);
	*stamped = (audit->pull->stream->details ? *detailed : jdy_spi_int64(0, 1, 0)) == 0 || jdy_spi_int64(0, 2, 0) > 0;
	SPI_freeplan(count.plan);
}

static void
end_audit(Audit *audit)
{
	static JdyStatement end = {
		.sql = "UPDATE jdysync.audit a SET ended_at = $2 WHERE a.audit_id = $1 RETURNING a.found",
		.nargs = 2,
		.argtypes = {INT8OID, TIMESTAMPTZOID}
	};
	static JdyStatement trim = {
		.sql = "DELETE FROM jdysync.audit a WHERE a.stream_id = $1 AND a.audit_id <="
		" (SELECT o.audit_id FROM jdysync.audit o WHERE o.stream_id = $1 ORDER BY o.audit_id DESC OFFSET " KEPT_AUDITS " LIMIT 1)",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Pull	   *pull = audit->pull;
	TimestampTz now = jdy_clock_now();
	Datum		values[2] = {Int64GetDatum(audit->audit_id), TimestampTzGetDatum(now)};

	/* What was not here has its list row only so far. */
	if (audit->any_new)
		(void) audit->keep_up(pull, false);
	jdy_pull_begin(pull);
	jdy_audit_note(audit);
	jdy_finding_tell(audit);
	if (audit->gave_way)
		next_audit(audit, now, now + USECS_PER_HOUR);
	else
	{
		jdy_execute(&end, values, NULL);
		if (jdy_spi_int64(0, 1, 0) == 0)
			jdy_finding_over(audit);
		values[0] = Int32GetDatum(pull->stream->stream_id);
		jdy_execute(&trim, values, NULL);
		next_audit(audit, now + 6 * USECS_PER_DAY, now + 7 * USECS_PER_DAY);
	}
	jdy_pull_commit(pull);
}

/* Some time in between, so that streams that were loaded together are not audited together for ever. */
static void
next_audit(Audit *audit, TimestampTz from, TimestampTz to)
{
	static JdyStatement next = {
		.sql = "UPDATE jdysync.stream s SET audit_at = $2 + random() * ($3 - $2) WHERE s.stream_id = $1",
		.nargs = 3,
		.argtypes = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int32GetDatum(audit->pull->stream->stream_id), TimestampTzGetDatum(from), TimestampTzGetDatum(to)};

	jdy_execute(&next, values, NULL);
}

/* Who wants another run of the stream should not wait for an audit that nobody waits for. */
static bool
turn_is_over(const Audit *audit)
{
	return (jdy_tx_lock_is_wanted() || jdy_monotonic_us() - audit->turn_began_us > TURN_US) && !jdy_progress_is_awaited();
}
