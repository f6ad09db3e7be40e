/*-------------------------------------------------------------------------
 * sweep.c
 *		What staging has and a whole read of the source did not show.
 *
 * Two kinds of list are read whole in each run and have rows that go without a word: the
 * months of a report, whose figures are worked out anew each time, and lists whose rows
 * are their own keys, where a row that changed looks like one that went and one that came.
 *
 * A read that took many answers may have passed rows over while the list moved.  So what it did
 * not show is gone only when it is proven to have shown all:
 *
 *	- one answer held all that the service counts: it is a snapshot; or
 *	- the service counted, before the scan, exactly as many rows as the scan showed of those
 *	  that earlier answers had shown.  Each of these was there before the count and after it, so
 *	  they are the list as it was counted (certify.c has the argument; here no settle passes).
 *
 * Where rows came meanwhile the second fails, and one more scan, with those on record, decides.
 * Rows that are equal are one here and several in the count: of them only a single answer
 * proves anything.  Even then a record is marked deleted only when two reads in a row,
 * settle apart, lacked it, and the brake lets it go: that is for absent.c.
 *
 * Called by range.c, pull.c and listing.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "absent.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "hashmap.h"
#include "spi.h"
#include "sweep.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MOST_ROWS 3000000		/* of a scan; of more nothing is proven */
#define STAGING_ROWS "10000"	/* read at once */

struct Sweep
{
	char	   *prefix;
	MemoryContext context;		/* of one scan */
	TimestampTz began;			/* the first of the run, by our clock */
	HashMap    *seen;			/* NULL: no scan is on */
	bool		spoiled;
	int64		before;			/* rows shown that staging had */
	int64		news;			/* and that it had not */
	int64		arrived;		/* news of all scans of this prefix in a row, of which none was proven */

	/* Of the run. */
	List	   *gone;			/* of char *: what proven scans did not show */
	int64		shown;			/* by proven scans */
	int64		came;			/* news of these, and of those of the same prefix that went before them */
	int64		unplaced;		/* news of scans that nothing proved */
	bool		proved;
};

static void note_unplaced(Pull *pull);
static uint64 hash_of(const char *id);
static void gather(Pull *pull);

void
jdy_sweep_begin(Pull *pull, const char *prefix)
{
	Sweep	   *sweep = pull->sweep;

	if (sweep == NULL)
	{
		sweep = pull->sweep = MemoryContextAllocZero(pull->context, sizeof(Sweep));
		sweep->began = GetCurrentTimestamp();
		sweep->context = AllocSetContextCreate(pull->context, "jdysync sweep", ALLOCSET_DEFAULT_SIZES);
	}
	if (sweep->prefix != NULL && strcmp(sweep->prefix, prefix) != 0)
	{
		sweep->unplaced += sweep->arrived;
		sweep->arrived = 0;
	}
	MemoryContextReset(sweep->context);
	sweep->prefix = MemoryContextStrdup(sweep->context, prefix);
	sweep->seen = jdy_hashmap_create(sweep->context, false, MOST_ROWS);
	sweep->spoiled = false;
	sweep->before = sweep->news = 0;
}

void
jdy_sweep_note(Pull *pull, const char *id, bool known_there)
{
	Sweep	   *sweep = pull->sweep;

	if (sweep == NULL || sweep->seen == NULL)
		return;
	if (jdy_hashmap_is_full(sweep->seen))
		sweep->spoiled = true;
	else if (jdy_hashmap_add(sweep->seen, hash_of(id)))
	{
		if (known_there)
			sweep->before++;
		else
			sweep->news++;
	}
}

void
jdy_sweep_spoil(Pull *pull)
{
	if (pull->sweep != NULL)
		pull->sweep->spoiled = true;
}

bool
jdy_sweep_end(Pull *pull, int64 *news)
{
	Sweep	   *sweep = pull->sweep;
	bool		proven = !sweep->spoiled &&
		(pull->one_answer || (pull->counted >= 0 && sweep->before == pull->counted));

	*news = sweep->news;
	sweep->arrived += sweep->news;
	if (proven)
	{
		jdy_pull_begin(pull);
		gather(pull);
		jdy_pull_commit(pull);
		sweep->shown += sweep->before + sweep->news;
		sweep->came += sweep->arrived;
		sweep->arrived = 0;
		sweep->proved = true;
	}
	sweep->seen = NULL;
	return proven;
}

void
jdy_sweep_judge(Pull *pull)
{
	Sweep	   *sweep = pull->sweep;
	char	  **ids;
	ListCell   *cell;
	int			n = 0;

	if (sweep == NULL)
		return;
	if (pull->stream->keyless)
		note_unplaced(pull);
	if (!sweep->proved)
		return;
	jdy_pull_begin(pull);
	ids = palloc(sizeof(char *) * (list_length(sweep->gone) + 1));
	foreach(cell, sweep->gone)
		ids[n++] = lfirst(cell);
	jdy_absent_judge(pull, ids, n, n, sweep->shown, sweep->came, sweep->began, false);
	jdy_pull_commit(pull);
}

/*
 * What a row that is its own key changed to may have come in a read that proved nothing, long before a
 * later one proves what it was to be gone: so the stream remembers how much came.
 */
static void
note_unplaced(Pull *pull)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.stream s SET unplaced = $2 WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, INT8OID}
	};
	Sweep	   *sweep = pull->sweep;
	int64		before = pull->stream->unplaced;
	int64		now = sweep->unplaced + sweep->arrived;
	Datum		values[2];

	if (sweep->proved)
		sweep->came += before;
	else
		now += before;
	/* Of a first load all is new. */
	if (now == before || !pull->stream->loaded)
		return;
	jdy_pull_begin(pull);
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = Int64GetDatum(now);
	jdy_execute(&note, values, NULL);
	jdy_pull_commit(pull);
}

static uint64
hash_of(const char *id)
{
	return hash_bytes_extended((const unsigned char *) id, strlen(id), 0);
}

/* Ids are ordered by their bytes, so those with one prefix stand together. */
static void
gather(Pull *pull)
{
	Sweep	   *sweep = pull->sweep;
	size_t		length = strlen(sweep->prefix);
	JdyStatement read = {
		.sql = psprintf("SELECT s.id::text FROM %s AS s WHERE s.id > $1 AND s.deleted_at IS NULL AND s.out_of_scope_at IS NULL"
						" ORDER BY s.id LIMIT " STAGING_ROWS, pull->stream->staging_name),
		.nargs = 1,
		.argtypes = {TEXTOID},
		.by_index = true
	};
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "jdysync staging ids", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	char	   *after = pstrdup(sweep->prefix);
	bool		more = true;

	while (more)
	{
		Datum		values[1] = {CStringGetTextDatum(after)};
		SPITupleTable *rows;
		uint64		n;

		jdy_execute_as_user(&read, values, NULL);
		rows = SPI_tuptable;
		n = SPI_processed;
		more = n == atoi(STAGING_ROWS);
		MemoryContextSwitchTo(batch);
		for (uint64 r = 0; r < n; r++)
		{
			char	   *id = jdy_spi_text(r, 1);

			if (strncmp(id, sweep->prefix, length) != 0)
			{
				more = false;
				break;
			}
			if (!jdy_hashmap_has(sweep->seen, hash_of(id)))
			{
				MemoryContextSwitchTo(pull->context);
				sweep->gone = lappend(sweep->gone, pstrdup(id));
				MemoryContextSwitchTo(batch);
			}
			if (r == n - 1)
				after = MemoryContextStrdup(caller, id);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(batch);
		SPI_freetuptable(rows);
	}
	SPI_freeplan(read.plan);
	MemoryContextDelete(batch);
}
