/*-------------------------------------------------------------------------
 * compare.c
 *		An audit of modify times: is each record where the service says it is?
 *
 * All modify times that windows have proven are cut into spans, by the times that the records here
 * have, so that a span holds a little fewer rows than an answer may.  Each is asked once.  A record of the
 * answer that is not here was missed.  One that is here under a time outside of the span was changed since
 * it was read, and no window has listed that: its detail is read again, and says what changed.  A record that is
 * here and not in the answer was changed later, and is in a later span or in the windows to come; or it was deleted, which is
 * for certificates to prove.
 *
 * So nothing need be held of the records but the spans' edges.  What the owner of the staging table writes into it
 * leads to details that are read once more, and to no finding.
 *
 * Not seen: a change whose old and new time lie in one span.
 *
 * Called by audit.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit.h"
#include "catalog/pg_type.h"
#include "spi.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define TOGETHER 16				/* spans between two looks at what is more urgent */
#define FULL_PERCENT 90			/* of what an answer may hold: neighbours' rows come along with it */

/* Spans that are asked together. */
typedef struct Batch
{
	Audit	   *audit;
	MemoryContext context;
	List	   *suspects;		/* of char *: ids */
} Batch;

static int	find_edges(Audit *audit, TimestampTz **edges);
static void compare_spans(Audit *audit, const TimestampTz *edges, int n);
static void land_answer(void *arg, const Window *window, Row **rows, int nrows);
static void land_rows(Batch *batch, const Window *window, Row **rows, int nrows);
static bool is_elsewhere(const Audit *audit, const Window *window, TimestampTz modified_at);

void
jdy_audit_compare(Audit *audit)
{
	TimestampTz *edges;
	int			n;

	if (audit->compared_until >= audit->compare_until)
		return;
	n = find_edges(audit, &edges);
	for (int first = 0; first < n && jdy_audit_goes_on(audit); first += TOGETHER)
	{
		jdy_audit_progress(audit, (int64) (n - first) * audit->pull->cap);
		compare_spans(audit, edges + first, Min(TOGETHER, n - first));
		if (audit->unfounded > JDY_MOST_UNFOUNDED)
		{
			audit->why = "modify times were not compared to their end: too many records have another in the list than in their details, or here";
			break;
		}
	}
}

/* Where spans end, from compared_until on. */
static int
find_edges(Audit *audit, TimestampTz **edges)
{
	Pull	   *pull = audit->pull;
	JdyStatement cut = {
		.sql = psprintf("SELECT max(e.at) FROM (SELECT m.at, (row_number() OVER (ORDER BY m.at) - 1) / $3 AS span"
						" FROM (SELECT s.modified_at::timestamptz AS at FROM %s AS s WHERE s.deleted_at IS NULL AND s.out_of_scope_at IS NULL) AS m"
						" WHERE m.at >= $1 AND m.at < $2) AS e GROUP BY e.span ORDER BY 1", pull->stream->staging_name),
		.nargs = 3,
		.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}
	};
	Datum		values[3] = {
		TimestampTzGetDatum(audit->compared_until), TimestampTzGetDatum(audit->compare_until),
		Int32GetDatum(Max(pull->cap * FULL_PERCENT / 100, 1))
	};
	TimestampTz last = audit->compared_until;
	int			n = 0;

	jdy_pull_begin(pull);
	jdy_execute_as_user(&cut, values, NULL);
	*edges = MemoryContextAllocHuge(audit->context, sizeof(TimestampTz) * (SPI_processed + 1));
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		bool		isnull;
		TimestampTz tick = jdy_tick_floor(pull, DatumGetTimestampTz(jdy_spi_datum(r, 1, &isnull)));

		/* Behind that tick; days are not all of the same length. */
		tick = jdy_tick_floor(pull, tick + jdy_tick_us(pull) / 2 * 3);
		if (tick > last && tick < audit->compare_until)
			last = (*edges)[n++] = tick;
	}
	SPI_freeplan(cut.plan);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(audit->context);

	/* Behind the last of them nothing is known to be: whatever changed there unseen shows. */
	(*edges)[n++] = audit->compare_until;
	return n;
}

static void
compare_spans(Audit *audit, const TimestampTz *edges, int n)
{
	Pull	   *pull = audit->pull;
	Batch		batch = {audit};
	int64		calls = jdy_client_calls(pull->client);
	TimestampTz from = audit->compared_until;
	List	   *windows = NIL;

	batch.context = AllocSetContextCreate(audit->context, "jdysync spans", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(batch.context);
	for (int i = 0; i < n; i++)
	{
		Window	   *window = palloc0(sizeof(Window));

		window->from = from;
		window->to = from = edges[i];
		window->sighting.kind = SEEN_IN_AUDIT;
		window->sighting.fresh_since = PG_INT64_MIN;
		window->lane = LANE_AUDIT;
		window->land = land_answer;
		window->land_arg = &batch;
		windows = lappend(windows, window);
	}
	jdy_windows_read(pull, windows);
	audit->calls += jdy_client_calls(pull->client) - calls;
	jdy_audit_reread_ids(audit, batch.suspects);

	if (audit->unfounded <= JDY_MOST_UNFOUNDED)
	{
		audit->compared_until = edges[n - 1];
		audit->windows += n;
	}
	jdy_pull_begin(pull);
	jdy_audit_note(audit);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(audit->context);
	MemoryContextDelete(batch.context);
}

static void
land_answer(void *arg, const Window *window, Row **rows, int nrows)
{
	Batch	   *batch = arg;

	nrows = jdy_sort_rows(rows, nrows, NULL);
	for (int first = 0; first < nrows; first += JDY_LAND_ROWS)
		land_rows(batch, window, rows + first, Min(nrows - first, JDY_LAND_ROWS));
	jdy_finding_write(batch->audit);
}

static void
land_rows(Batch *batch, const Window *window, Row **rows, int nrows)
{
	Audit	   *audit = batch->audit;
	Pull	   *pull = audit->pull;
	char	   *ids[JDY_LAND_ROWS];
	Here	   *here;

	for (int i = 0; i < nrows; i++)
		ids[i] = rows[i]->id;
	here = jdy_finding_here(audit, ids, nrows);
	jdy_pull_land(pull, rows, nrows, &window->sighting);
	for (int i = 0; i < nrows; i++)
	{
		if (here[i].waits || rows[i]->problem != NULL)
			continue;
		if (!here[i].exists || here[i].gone)
			jdy_finding_listed(audit, &here[i]);
		else if (pull->stream->details && here[i].detailed_at != 0 && is_elsewhere(audit, window, here[i].modified_at))
		{
			MemoryContext caller = MemoryContextSwitchTo(batch->context);

			batch->suspects = lappend(batch->suspects, pstrdup(here[i].id));
			MemoryContextSwitchTo(caller);
		}
	}

	/* Without details a row is all that there is, and has landed. */
	if (!pull->stream->details)
		(void) jdy_finding_landed(audit, here, nrows);
}

/*
 * Outside of what was asked, which was wider by a tick.  A record that was changed since windows were
 * proven that far may still be shown by an answer that is behind.
 */
static bool
is_elsewhere(const Audit *audit, const Window *window, TimestampTz modified_at)
{
	int64		tick = jdy_tick_us(audit->pull);

	return modified_at != 0 && modified_at < audit->compare_until &&
		(modified_at < window->from - tick || modified_at >= window->to + tick);
}
