/*-------------------------------------------------------------------------
 * stamps.c
 *		Modify times that are known here, and where to cut a window by them.
 *
 * A window with more rows than an answer holds must be cut in time, but list rows do not say when they
 * were modified.  Details do: what stands in the overlap or in the tail was mostly listed by
 * an earlier run, which fetched it.  So most windows can be cut right at once, instead of looking for the crowd by
 * halves.
 *
 * All of this is a guess, which saves calls and proves nothing: the staging table is its owner's, records may have changed
 * since, and new ones are not known.  Whatever the cuts are, each part is proven by its own answer, and cut again when it is too full.
 *
 * Called by recent.c, when what is recent does not fit in an answer, and by window.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "spi.h"
#include "stamps.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "window.h"

#define BATCH_IDS 1000
#define MAX_STAMPS 100000		/* that are read: memory does not grow with the list */
#define MAX_PARTS 64			/* of one cut where no times are known */

/* A window that is being cut. */
typedef struct Crowd
{
	const TimestampTz *stamps;
	int			nstamps;
	TimestampTz from;
	TimestampTz to;
	int64		tick_us;
	double		elsewhere;		/* rows whose time is not known, with something to spare */
} Crowd;

static int	read_batch(Pull *pull, JdyStatement *times, char **last, int *room);
static double rows_between(const Crowd *crowd, int64 first, int64 last);
static int	stamps_before(const Crowd *crowd, TimestampTz at);
static int	compare_stamps(const void *a, const void *b);

void
jdy_stamps_read(Pull *pull)
{
	JdyStatement times = {
		.sql = psprintf("SELECT s.modified_at::timestamptz FROM %s AS s WHERE s.id = ANY ($1) AND s.modified_at IS NOT NULL",
						pull->stream->staging_name),
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.by_index = true
	};
	char	   *last = "";
	int			room = 0;

	jdy_stamps_forget(pull);
	jdy_pull_begin(pull);
	while (pull->nstamps < MAX_STAMPS && read_batch(pull, &times, &last, &room) == BATCH_IDS)
		;
	if (times.plan != NULL)
		SPI_freeplan(times.plan);
	jdy_pull_commit(pull);
	if (pull->nstamps > 0)
		qsort(pull->stamps, pull->nstamps, sizeof(TimestampTz), compare_stamps);
}

/* The next ids behind *last; returns how many these are. */
static int
read_batch(Pull *pull, JdyStatement *times, char **last, int *room)
{
	static JdyStatement listed = {
		.sql = "SELECT l.id FROM jdysync.listing l WHERE l.stream_id = $1 AND l.id > $2"
		" AND (l.listed_until IS NOT NULL OR l.tail_until IS NOT NULL) ORDER BY l.id LIMIT $3",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTOID, INT4OID},
		.by_index = true
	};
	Datum		values[3] = {Int32GetDatum(pull->stream->stream_id), CStringGetTextDatum(*last), Int32GetDatum(BATCH_IDS)};
	char	   *ids[BATCH_IDS];
	int			n;

	jdy_execute(&listed, values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
		ids[i] = jdy_spi_text(i, 1);
	if (n == 0)
		return 0;
	*last = ids[n - 1];
	values[0] = jdy_text_array(ids, n);
	jdy_execute_as_user(times, values, NULL);
	if (pull->nstamps + (int) SPI_processed > *room)
	{
		*room = 2 * (pull->nstamps + (int) SPI_processed);
		pull->stamps = pull->stamps == NULL ? MemoryContextAlloc(pull->context, sizeof(TimestampTz) * *room) :
			repalloc_huge(pull->stamps, sizeof(TimestampTz) * *room);
	}
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		bool		isnull;

		pull->stamps[pull->nstamps++] = DatumGetTimestampTz(jdy_spi_datum(r, 1, &isnull));
	}
	return n;
}

void
jdy_stamps_forget(Pull *pull)
{
	if (pull->stamps != NULL)
		pfree(pull->stamps);
	pull->stamps = NULL;
	pull->nstamps = 0;
}

int
jdy_stamps_cut(const Pull *pull, TimestampTz from, TimestampTz to, int64 tick_us, int64 expected, TimestampTz **ends)
{
	Crowd		crowd = {pull->stamps, pull->nstamps, from, to, tick_us};
	int64		ticks = (to - from + tick_us - 1) / tick_us;
	double		fit = Max(pull->cap - 1, 1);	/* a full answer proves nothing */
	int64		begin = 0;
	int			n = 0;
	int			size = 8;

	/* Details show whole seconds. */
	if (tick_us < jdy_tick_us(pull))
		crowd.nstamps = 0;

	/* Not spread so evenly as all that: a quarter more.  A count may be wrong by any number. */
	crowd.elsewhere = Min(Max(expected - rows_between(&crowd, 0, ticks), 0) * 5 / 4, MAX_PARTS * fit);

	*ends = palloc(sizeof(TimestampTz) * size);
	while (begin < ticks)
	{
		double		rest = rows_between(&crowd, begin, ticks);
		int64		low = begin + 1;	/* the next part ends here at the earliest, */
		int64		high = ticks;	/* and here at the latest */
		double		share = fit;

		/* Where times are not known, parts of like size are the best guess. */
		if (crowd.elsewhere > 0 && rest > fit)
			share = rest / ceil(rest / fit);
		while (low < high)
		{
			int64		middle = low + (high - low + 1) / 2;

			if (rows_between(&crowd, begin, middle) <= share)
				low = middle;
			else
				high = middle - 1;
		}
		if (n == size)
			*ends = repalloc(*ends, sizeof(TimestampTz) * (size *= 2));
		(*ends)[n++] = low < ticks ? from + low * tick_us : to;
		begin = low;
	}
	return n;
}

/* Rows that an answer should show of ticks [first, last): it is asked a tick earlier, and its end may be inside. */
static double
rows_between(const Crowd *crowd, int64 first, int64 last)
{
	TimestampTz from = crowd->from + (first - 1) * crowd->tick_us;
	TimestampTz to = Min(crowd->from + last * crowd->tick_us, crowd->to);

	return stamps_before(crowd, to + 1) - stamps_before(crowd, from) +
		crowd->elsewhere * (to - from - crowd->tick_us) / (crowd->to - crowd->from);
}

static int
stamps_before(const Crowd *crowd, TimestampTz at)
{
	int			low = 0;
	int			high = crowd->nstamps;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (crowd->stamps[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
compare_stamps(const void *a, const void *b)
{
	return timestamptz_cmp_internal(*(const TimestampTz *) a, *(const TimestampTz *) b);
}
