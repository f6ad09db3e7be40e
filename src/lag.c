/*-------------------------------------------------------------------------
 * lag.c
 *		How long after its modify time a change becomes visible, and settle, which follows from it.
 *
 * A window proves nothing before all that is stamped within it can be seen.  How long that takes nobody tells, but
 * it can be measured: a change, whose modify time its detail states, was visible when an answer
 * showed it first, and was not when the run before asked for the same modify times.  So its lag
 * lies between two bounds.  The upper one holds the interval between runs, too; the lower
 * one is a fact that settle must not be shorter than.
 *
 *	modify time | ... not shown ... | ... shown
 *				  at least -------->
 *				  at most  ----------------->
 *
 * Both are by the service's clock alone, and its Date has whole seconds, as modify times mostly have: each bound gives one away.  What
 * changed once more between list and detail, or may have been listed before, is not measured (queue.c).
 *
 * settle is kept at twice the longest lag seen, never made shorter.  A record that is dated back by less than settle and
 * overlap looks the same, and needs the same.  So does one that enters a narrowed list without a new modify time, as often as that
 * happens: there settle has an end soon, since each run lists again what was modified meanwhile.  What is proven too early by then is
 * taken back, and read again by the windows to come.
 *
 * Called by detail.c, listing.c, pull.c and missed.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "coverage.h"
#include "fmgr.h"
#include "incident.h"
#include "lag.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "window.h"

#define ROUGH_US USECS_PER_SEC	/* what whole seconds may hide */
#define FINE_STEP_US USECS_PER_SEC	/* settle is raised to a whole one, */
#define STEP_US (30 * USECS_PER_SEC)	/* from a minute on to a whole one of these, */
#define MAX_SETTLE_US USECS_PER_DAY /* and no further than this, */
#define MAX_NARROWED_SETTLE_US USECS_PER_HOUR	/* of a narrowed list this */

/* Ends of the buckets, as jdy_lag has them; beyond the last one there is one more. */
static const int64 bounds_us[] = {
	1 * USECS_PER_SEC, 2 * USECS_PER_SEC, 5 * USECS_PER_SEC, 10 * USECS_PER_SEC, 30 * USECS_PER_SEC,
	1 * USECS_PER_MINUTE, 2 * USECS_PER_MINUTE, 5 * USECS_PER_MINUTE, 10 * USECS_PER_MINUTE, 30 * USECS_PER_MINUTE,
	1 * USECS_PER_HOUR, 6 * USECS_PER_HOUR, 1 * USECS_PER_DAY
};

#define BUCKETS (lengthof(bounds_us) + 1)

/* Of one batch. */
typedef struct Measured
{
	int64		at_most[BUCKETS];
	int64		at_least[BUCKETS];
	int64		most_us;		/* sum of the upper bounds */
	int			n;
	int64		highest_us;		/* of the lower ones; 0 = none was late */
	const LagSample *latest;	/* the sample that has it */
} Measured;

static void measure(Measured *measured, const LagSample *sample);
static int	bucket_of(int64 us);
static void count(Pull *pull, const Measured *measured);
static Datum counts_datum(const int64 *counts);
static int64 round_up(int64 us);
static const char *interval_text(int64 us);

void
jdy_lag_note(Pull *pull, const LagSample *samples, int n)
{
	Measured	measured = {0};
	const LagSample *latest;

	for (int i = 0; i < n; i++)
		measure(&measured, &samples[i]);
	if (measured.n == 0)
		return;
	count(pull, &measured);
	if (measured.highest_us > pull->new_lag_us && (latest = measured.latest) != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(pull->context);
		char	   *modified_at = pstrdup(timestamptz_to_str(latest->modified_at));
		char	   *unseen_at = pstrdup(timestamptz_to_str(latest->first_shown.unseen_at));

		pull->new_lag_us = measured.highest_us;
		pull->new_lag_detail = psprintf("Record \"%s\" was modified at %s. A list that was asked at %s did not show that, one that came at %s did.",
										latest->id, modified_at, unseen_at, timestamptz_to_str(latest->first_shown.shown_at));
		MemoryContextSwitchTo(caller);
	}
}

void
jdy_lag_note_rows(Pull *pull, Row **rows, int nrows, const Sighting *sighting)
{
	const Stream *stream = pull->stream;
	FirstShown	first_shown = {sighting->shown_at, sighting->unseen_at, sighting->unseen_from};
	LagSample	samples[JDY_LAND_ROWS];
	char	   *ids[JDY_LAND_ROWS];
	int			n = 0;
	JdyStatement read;
	Datum		values[1];

	if (stream->details || stream->modified_field == NULL || sighting->shown_at == 0 || sighting->unseen_at == 0)
		return;
	for (int i = 0; i < nrows; i++)
	{
		const char *problem;
		Jsonb	   *data = jdy_row_jsonb(rows[i], &problem);

		if (data == NULL)
			continue;
		ids[n] = rows[i]->id;
		samples[n++] = (LagSample) {rows[i]->id, jdy_stream_modified_at(stream, data), first_shown};
	}
	if (n == 0)
		return;

	/* What is here with that modify time was listed before. */
	read = (JdyStatement) {
		.sql = psprintf("SELECT s.id::text, s.modified_at::timestamptz FROM %s AS s WHERE s.id = ANY ($1)", stream->staging_name),
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.by_index = true
	};
	values[0] = jdy_text_array(ids, n);
	jdy_execute_as_user(&read, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		int			i = jdy_find_row(rows, nrows, jdy_spi_text(r, 1));
		bool		isnull;
		TimestampTz modified_at = DatumGetTimestampTz(jdy_spi_datum(r, 2, &isnull));

		for (int k = 0; k < n && i >= 0 && !isnull; k++)
			if (samples[k].id == rows[i]->id && samples[k].modified_at == modified_at)
				samples[k].modified_at = 0;
	}
	SPI_freeplan(read.plan);
	jdy_lag_note(pull, samples, n);
}

void
jdy_lag_settle(Pull *pull)
{
	if (pull->new_lag_us > 0)
		jdy_lag_raise_settle(pull, pull->new_lag_us, 0, pull->new_lag_detail);
	pull->new_lag_us = 0;
}

static void
measure(Measured *measured, const LagSample *sample)
{
	const FirstShown *first = &sample->first_shown;
	int64		most_us = first->shown_at - sample->modified_at + ROUGH_US;
	int64		least_us = first->unseen_at - sample->modified_at - ROUGH_US;

	/* The clock went back in between: which answer was the earlier one is not known. */
	if (first->unseen_at > first->shown_at + ROUGH_US)
		return;

	/* Changed once more since, or nothing is known of changes so old. */
	if (first->shown_at == 0 || sample->modified_at == 0 || sample->modified_at > first->shown_at ||
		sample->modified_at < first->unseen_from)
		return;
	measured->n++;
	measured->most_us += most_us;
	measured->at_most[bucket_of(most_us)]++;
	if (least_us <= 0)
		return;
	measured->at_least[bucket_of(least_us)]++;
	if (least_us > measured->highest_us)
	{
		measured->highest_us = least_us;
		measured->latest = sample;
	}
}

static int
bucket_of(int64 us)
{
	int			bucket = 0;

	while (bucket < lengthof(bounds_us) && us > bounds_us[bucket])
		bucket++;
	return bucket;
}

#define ADDED_UP(column) \
	column " = ARRAY(SELECT u.a + u.b FROM unnest(l." column ", EXCLUDED." column ") WITH ORDINALITY AS u (a, b, n) ORDER BY u.n)"

static void
count(Pull *pull, const Measured *measured)
{
	static JdyStatement add = {
		.sql = "INSERT INTO jdysync.lag AS l (stream_id, at_most, at_least, seconds, highest, highest_at)"
		" VALUES ($1, $2, $3, $4, $5, CASE WHEN $5 IS NOT NULL THEN clock_timestamp() END)"
		" ON CONFLICT (stream_id) DO UPDATE SET " ADDED_UP("at_most") ", " ADDED_UP("at_least") ","
		"  seconds = l.seconds + EXCLUDED.seconds, highest = GREATEST(l.highest, EXCLUDED.highest),"
		"  highest_at = CASE WHEN EXCLUDED.highest <= l.highest THEN l.highest_at ELSE COALESCE(EXCLUDED.highest_at, l.highest_at) END",
		.nargs = 5,
		.argtypes = {INT4OID, INT8ARRAYOID, INT8ARRAYOID, FLOAT8OID, INTERVALOID},
		.by_index = true
	};
	Interval	highest = {.time = measured->highest_us};
	Datum		values[5];

	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = counts_datum(measured->at_most);
	values[2] = counts_datum(measured->at_least);
	values[3] = Float8GetDatum((double) measured->most_us / USECS_PER_SEC);
	values[4] = IntervalPGetDatum(&highest);
	jdy_execute(&add, values, measured->highest_us > 0 ? NULL : "    n");
}

static Datum
counts_datum(const int64 *counts)
{
	Datum		values[BUCKETS];
	bool		nulls[BUCKETS] = {false};

	for (int i = 0; i < BUCKETS; i++)
		values[i] = Int64GetDatum(counts[i]);
	return jdy_make_array(values, nulls, BUCKETS, INT8OID);
}

void
jdy_lag_raise_settle(Pull *pull, int64 later_than_us, TimestampTz missed_at, const char *detail)
{
	static JdyStatement raise = {
		.sql = "UPDATE jdysync.stream s SET settle = $2, overlap = $3 WHERE s.stream_id = $1",
		.nargs = 3,
		.argtypes = {INT4OID, INTERVALOID, INTERVALOID}
	};
	Stream	   *stream = pull->stream;
	int64		most_us = stream->narrowing != NULL ? MAX_NARROWED_SETTLE_US : MAX_SETTLE_US;
	int64		settle_us = Max(Min(round_up(2 * later_than_us), most_us), stream->settle_us);
	int64		overlap_us = Max(stream->overlap_us, settle_us);
	Interval	settle = {.time = settle_us};
	Interval	overlap = {.time = overlap_us};
	TimestampTz proven_until;
	Datum		values[3];
	const char *change;

	pull->longest_lag_us = Max(pull->longest_lag_us, later_than_us);
	if (settle_us == stream->settle_us && missed_at == 0)
		return;
	proven_until = stream->tail_until - settle_us;
	if (missed_at != 0)
		proven_until = Min(proven_until, Max(missed_at, stream->tail_until - MAX_SETTLE_US));
	if (stream->tail_until != 0)
		jdy_ledger_cut(pull, jdy_tick_floor(pull, proven_until));
	if (settle_us == stream->settle_us)
		return;

	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = IntervalPGetDatum(&settle);
	values[2] = IntervalPGetDatum(&overlap);
	jdy_execute(&raise, values, NULL);
	change = psprintf("settle was raised from %s to %s, overlap is %s.",
					  interval_text(stream->settle_us), interval_text(settle_us), interval_text(overlap_us));
	stream->settle_us = settle_us;
	stream->overlap_us = overlap_us;

	/* Each is told: one that is open was about less. */
	jdy_incident_close(stream->name, JDY_SETTLE_RAISED);
	jdy_incident_open(stream->name, "info", JDY_SETTLE_RAISED, psprintf("%s %s", detail, change),
					  psprintf("Nothing must be done: what is proven is so much later from here on, and complete_until in jdy_coverage went back for what was proven too early. SELECT * FROM jdy_lag WHERE name = %s; shows what was measured. When it was an accident of the service, lower it: SELECT jdy_alter_stream(%s, settle => '...', overlap => '...');",
							   quote_literal_cstr(stream->name), quote_literal_cstr(stream->name)));
}

static int64
round_up(int64 us)
{
	int64		step = us <= USECS_PER_MINUTE ? FINE_STEP_US : STEP_US;

	return (us + step - 1) / step * step;
}

static const char *
interval_text(int64 us)
{
	Interval	interval = {.time = us};

	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(&interval)));
}
