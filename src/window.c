/*-------------------------------------------------------------------------
 * window.c
 *		Windows of modify time, read completely.
 *
 * An answer that holds fewer rows than it may is one snapshot: complete,
 * whatever the order and whatever changes meanwhile.  So a window is asked as
 * one page; when it does not fit it is split in time, where it should be (stamps.c), and its parts are asked, in
 * parallel.  Only a single tick with more rows than a page (a bulk import) is read
 * by pages, last to first, and believed only when the counts agree.
 *
 * How many rows an answer may hold is known by what answers held.  One that holds as many as any did may have been
 * cut there, and that its count agrees proves nothing, since rows may come from an older replica than the
 * count: what is behind its last row is asked.
 *
 * Whether the service's bounds are inclusive is not documented, so a window is
 * asked one tick wider on both sides; only the window itself enters the ledger.  Where the service was seen
 * to have both edges inside (probe.c), a tick that is too full is asked by itself: nothing else rests on
 * that, since it may change without a word.  Where stamps were seen to be finer than a second, such a second
 * is asked a millisecond wider only, and then split into windows of milliseconds.
 *
 * Rows, ledger and watermark are committed together.  Parts are read in any
 * order, but enter the ledger in order of time: the next run begins at the
 * ledger's end, so a part that a crash left out must not lie before it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "coverage.h"
#include "incident.h"
#include "miscadmin.h"
#include "progress.h"
#include "spi.h"
#include "stamps.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define MAX_MISMATCHES 3		/* answers whose rows differ from their count before it is found out why */
#define MAX_TICK_ROUNDS 5		/* readings of an overfull tick before it is left unproven */
#define GIVE_UP_US USECS_PER_HOUR	/* a count that is wrong for so long stays so */
#define MAX_TICK_PAGES 10000	/* of an overfull tick: a count that says more is wrong */

/* What is being asked of a window. */
typedef enum Stage
{
	STAGE_FIRST,				/* page 1 */
	STAGE_LAST_ROW,				/* no count, or one that proves nothing: the page that begins at the last row must hold just that */
	STAGE_AGAIN,				/* then page 1 again must show the same ids */
	STAGE_WHOLE					/* a wrong count: page 1 again, to be landed but not proven */
} Stage;

/* A window as a whole: how far its parts have entered the ledger. */
typedef struct Span
{
	MemoryContext context;
	TimestampTz until;			/* everything before it was entered or given up */
	List	   *ahead;			/* of Part *: landed, but an earlier one is missing; by time */
} Span;

/* A part that was landed. */
typedef struct Part
{
	TimestampTz from;
	TimestampTz to;
	Proof		proof;			/* rule NULL = none: a gap stays in the ledger */
} Part;

typedef struct Reading
{
	Window		window;
	Span	   *span;			/* NULL = not to be proven */
	Stage		stage;
	int			calls;
	int			mismatches;
	int			first_rows;		/* rows of the first answer, */
	uint64		first_ids;		/* and their ids, added up */
	int64		tick_us;		/* what it is split down to, and asked wider by */
	bool		alone;			/* asked without that: a full tick between edges that are inside */
} Reading;

/* What an answer says of its window. */
typedef enum Finding
{
	FOUND_ALL,
	FOUND_FULL,					/* more rows than one answer holds */
	FOUND_MISMATCH,				/* rows and count differ */
	FOUND_MAYBE					/* to be confirmed: no count, or a cut may hide behind it */
} Finding;

static Reading *make_reading(Pull *pull, const Window *window, Span *span, TimestampTz from, TimestampTz to);
static TimestampTz asked_from(const Reading *reading);
static void ask(Pull *pull, Reading *reading);
static void take_answer(Pull *pull, Call *call);
static void note_time(Sighting *sighting, const Call *call);
static void release(Pull *pull, Call *call);
static Finding examine(Pull *pull, ListPage *page, int size, bool prove, int *distinct);
static void split(Pull *pull, Reading *reading, int64 count);
static List *cut(Pull *pull, const Window *window, Span *span, int64 tick_us, int64 expected);
static bool narrow(Pull *pull, Reading *reading);
static void land(Pull *pull, const Window *window, Row **rows, int nrows);
static void finish(Pull *pull, Reading *reading, ListPage *page, int distinct, const char *rule);
static void read_tick(Pull *pull, Reading *reading);
static void enter(Pull *pull, Reading *reading, const Proof *proof);
static void give_up(Pull *pull, TimestampTz until);
static int	compare_parts(const ListCell *a, const ListCell *b);
static void distrust_count(Pull *pull, const Reading *reading, int64 rows, int64 count);
static uint64 sum_of_ids(ListPage *page);
static int	compare_hashes(const void *a, const void *b);

void
jdy_windows_read(Pull *pull, List *windows)
{
	MemoryContext context = AllocSetContextCreate(pull->context, "jdysync windows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	ListCell   *cell;

	pull->full_ticks = pull->to_read = NIL;
	foreach(cell, windows)
	{
		Window	   *window = lfirst(cell);
		Span	   *span = NULL;

		if (window->from >= window->to)
			continue;
		if (window->prove)
		{
			span = palloc0(sizeof(Span));
			span->context = context;
			span->until = window->from;
		}
		pull->to_read = list_concat(pull->to_read, cut(pull, window, span, jdy_tick_us(pull), window->expected));
	}
	for (;;)
	{
		Call	   *call;

		while (pull->to_read != NIL &&
			   jdy_client_pending(pull->client) < 2 * pull->stream->endpoint->concurrency)
		{
			Reading    *next = linitial(pull->to_read);

			pull->to_read = list_delete_first(pull->to_read);
			ask(pull, next);
		}
		if (jdy_client_pending(pull->client) == 0)
			break;
		call = jdy_client_next(pull->client, 200);
		jdy_pull_progress(pull);
		if (call != NULL)
			take_answer(pull, call);
		MemoryContextSwitchTo(context);
	}
	/* Pages of one tick depend on each other, so they are read one by one. */
	foreach(cell, pull->full_ticks)
		read_tick(pull, lfirst(cell));

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

int64
jdy_tick_us(const Pull *pull)
{
	return pull->by_day ? USECS_PER_DAY : USECS_PER_SEC;
}

TimestampTz
jdy_tick_floor(const Pull *pull, TimestampTz at)
{
	pg_tz	   *zone = pull->stream->endpoint->time_zone;
	TimestampTz rest = at % USECS_PER_SEC;
	struct pg_tm tm;
	fsec_t		fraction;
	int			offset;
	TimestampTz midnight;

	if (!pull->by_day)
		return at - (rest < 0 ? rest + USECS_PER_SEC : rest);
	if (timestamp2tm(at, &offset, &tm, &fraction, NULL, zone) != 0)
		return at;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	offset = DetermineTimeZoneOffset(&tm, zone);
	return tm2timestamp(&tm, 0, &offset, &midnight) == 0 ? midnight : at;
}

static Reading *
make_reading(Pull *pull, const Window *window, Span *span, TimestampTz from, TimestampTz to)
{
	Reading    *reading = palloc0(sizeof(Reading));

	reading->window = *window;
	reading->span = span;
	reading->window.from = from;
	reading->window.to = to;
	reading->window.sighting.from = from;
	reading->window.sighting.to = to;
	reading->tick_us = jdy_tick_us(pull);

	/* Details show whole ticks. */
	reading->window.sighting.asked_from = jdy_tick_floor(pull, from) - reading->tick_us;
	if (window->sighting.kind == SEEN_SETTLED)
		reading->window.sighting.fresh_since = to + pull->stream->settle_us;
	return reading;
}

/* Whether the service's bounds are inclusive is not known for certain. */
static TimestampTz
asked_from(const Reading *reading)
{
	return reading->window.from - (reading->alone ? 0 : reading->tick_us);
}

static void
ask(Pull *pull, Reading *reading)
{
	const Window *window = &reading->window;
	int			page = 1;
	int			size = pull->cap;
	Call	   *call;

	if (reading->stage == STAGE_LAST_ROW)
	{
		page = 2;
		size = reading->first_rows - 1;
	}
	reading->calls++;
	call = jdy_list_submit(pull, window->lane, asked_from(reading), window->to, page, size, reading);
	((ListAsk *) call->owner)->proves = true;
}

static void
take_answer(Pull *pull, Call *call)
{
	ListAsk    *list_ask = call->owner;
	Reading    *reading = list_ask->owner;
	bool		past_end = jdy_list_past_end(call);
	ListPage   *page = past_end ? NULL : jdy_list_answer(call);
	int			distinct = 0;
	Finding		finding;

	note_time(&reading->window.sighting, call);

	if (reading->stage == STAGE_LAST_ROW)
	{
		/* More rows than the last one: the first answer was cut, so its size is what one answer holds. */
		if (!past_end && page->nrows > 1)
		{
			pull->cap = reading->first_rows;
			reading->stage = STAGE_FIRST;
			split(pull, reading, page->count);
		}
		else
		{
			reading->stage = reading->mismatches > MAX_MISMATCHES ? STAGE_WHOLE : STAGE_AGAIN;
			ask(pull, reading);
		}
		release(pull, call);
		return;
	}

	finding = examine(pull, page, list_ask->size, reading->window.prove, &distinct);
	if (reading->stage != STAGE_FIRST && finding == FOUND_MAYBE)
	{
		if (page->nrows == reading->first_rows && sum_of_ids(page) == reading->first_ids &&
			(reading->stage == STAGE_AGAIN || page->count >= 0))
			finding = FOUND_ALL;
		else if (reading->stage == STAGE_AGAIN && ++reading->mismatches <= MAX_MISMATCHES)
			reading->stage = STAGE_FIRST;	/* it changed meanwhile: begin again */
		else
			finding = FOUND_MISMATCH;
	}

	switch (finding)
	{
		case FOUND_ALL:
			finish(pull, reading, page, distinct, page->count >= 0 ? "one answer" : "one answer, no count");
			break;
		case FOUND_MAYBE:
			if (!reading->window.prove || page->nrows <= 1)
			{
				finish(pull, reading, page, distinct, "one answer, no count");
				break;
			}
			reading->stage = STAGE_LAST_ROW;
			reading->first_rows = page->nrows;
			reading->first_ids = sum_of_ids(page);
			ask(pull, reading);
			break;
		case FOUND_FULL:
			split(pull, reading, page->count);
			break;
		case FOUND_MISMATCH:
			/* Count and rows may come from replicas a moment apart. */
			if (reading->stage != STAGE_WHOLE && ++reading->mismatches <= MAX_MISMATCHES)
			{
				reading->stage = STAGE_FIRST;
				ask(pull, reading);
			}
			else if (reading->stage != STAGE_WHOLE && page->nrows > 2)
			{
				/* The service may give less than was asked for: is there anything after the last row? */
				reading->stage = STAGE_LAST_ROW;
				reading->first_rows = page->nrows;
				reading->first_ids = sum_of_ids(page);
				ask(pull, reading);
			}
			else
			{
				/* Not cut, so splitting would not help: the count is wrong.  Land it, but prove nothing. */
				if (reading->span != NULL)
					distrust_count(pull, reading, page->nrows, page->count);
				finish(pull, reading, page, distinct, NULL);
			}
			break;
	}
	release(pull, call);
}

static void
note_time(Sighting *sighting, const Call *call)
{
	sighting->shown_at = call->answered_at;
	sighting->asked_at = jdy_asked_at(call);
}

/* A window may be split into many: what each call leaves behind would add up. */
static void
release(Pull *pull, Call *call)
{
	pfree(call->owner);
	jdy_client_release(pull->client, call);
}

static Finding
examine(Pull *pull, ListPage *page, int size, bool prove, int *distinct)
{
	Row		  **rows;
	int			n;

	n = jdy_page_rows(page, &rows);
	*distinct = jdy_sort_rows(rows, n, pull->stream) + (page->nrows - n);
	pfree(rows);
	if (page->nrows >= size)
		return FOUND_FULL;
	if (page->nrows == 0 && page->count < 0)
		return FOUND_ALL;

	/* Not as many rows: one that came twice may stand where another should.  Without a count that cannot be told. */
	if (page->count < 0 ? prove && *distinct < page->nrows && !pull->stream->keyless : page->count != *distinct)
		return FOUND_MISMATCH;
	if (page->count < 0)
		return FOUND_MAYBE;
	return prove && jdy_list_may_be_cut(pull, page) ? FOUND_MAYBE : FOUND_ALL;
}

/* Asks the parts of a window instead; a single tick that cannot be asked more narrowly is left for its pages to be read. */
static void
split(Pull *pull, Reading *reading, int64 count)
{
	const Window *window = &reading->window;
	List	   *split_off;
	List	   *later;

	if (window->to - window->from <= reading->tick_us)
	{
		/* Perhaps what it was asked wider by is what is crowded. */
		if (narrow(pull, reading))
		{
			reading->stage = STAGE_FIRST;
			ask(pull, reading);
		}
		else
			pull->full_ticks = lappend(pull->full_ticks, reading);
		return;
	}
	/* It was full, whatever the count says. */
	split_off = cut(pull, window, reading->span, reading->tick_us, count > 0 ? Max(count, pull->cap + 1) : 2 * pull->cap);

	/* The earliest first: the watermark moves as soon as it can, and no more than a split of each depth waits. */
	later = pull->to_read;
	pull->to_read = list_concat(split_off, later);
	list_free(later);
	pfree(reading);
}

/*
 * Readings for the parts of a window.  Begun ticks count, too: an interrupted run may have proven a part of a second, and
 * the next begins or ends there.
 */
static List *
cut(Pull *pull, const Window *window, Span *span, int64 tick_us, int64 expected)
{
	TimestampTz from = window->from;
	TimestampTz *ends;
	int			n = jdy_stamps_cut(pull, from, window->to, tick_us, expected, &ends);
	List	   *readings = NIL;

	for (int i = 0; i < n; i++)
	{
		Reading    *part = make_reading(pull, window, span, from, ends[i]);

		part->tick_us = tick_us;
		readings = lappend(readings, part);
		from = ends[i];
	}
	pfree(ends);
	return readings;
}

/* A tick with too many rows: what the service was seen to do may help.  false: nothing does. */
static bool
narrow(Pull *pull, Reading *reading)
{
	const Contract *contract = pull->stream->contract;

	if (reading->tick_us > JDY_FINEST_US && jdy_contract_says(contract, Q_GRAIN, A_MILLISECOND))
		reading->tick_us = JDY_FINEST_US;
	else if (!reading->alone && jdy_contract_says(contract, Q_START_EDGE, A_INCLUSIVE) &&
			 jdy_contract_says(contract, Q_END_EDGE, A_INCLUSIVE))
		reading->alone = true;
	else
		return false;
	return true;
}

static void
finish(Pull *pull, Reading *reading, ListPage *page, int distinct, const char *rule)
{
	const Window *window = &reading->window;
	Row		  **rows;
	int			n;

	n = jdy_page_rows(page, &rows);

	/* What it did not show may have been there all the same. */
	if (rule == NULL || n < page->nrows || (page->count < 0 && distinct < page->nrows))
		pull->hidden = true;
	if (page->nrows > 0 || window->prove)
	{
		jdy_pull_begin(pull);
		land(pull, window, rows, n);
		jdy_pull_reject(pull, page, &window->sighting);
		if (reading->span != NULL)
		{
			Proof		proof = {rule, reading->calls, distinct, page->count};

			enter(pull, reading, &proof);
		}
		jdy_pull_commit(pull);
	}
	pfree(rows);
	pfree(reading);
}

static void
land(Pull *pull, const Window *window, Row **rows, int nrows)
{
	if (window->land != NULL)
		window->land(window->land_arg, window, rows, nrows);
	else
		jdy_pull_land(pull, rows, nrows, &window->sighting);
}

/* Enters a part that was landed, and those that waited for it, into the ledger; in a transaction. */
static void
enter(Pull *pull, Reading *reading, const Proof *proof)
{
	Span	   *span = reading->span;
	MemoryContext caller = MemoryContextSwitchTo(span->context);
	Part	   *part = palloc(sizeof(Part));

	part->from = reading->window.from;
	part->to = reading->window.to;
	part->proof = *proof;
	span->ahead = lappend(span->ahead, part);
	list_sort(span->ahead, compare_parts);
	while (span->ahead != NIL && ((Part *) linitial(span->ahead))->from == span->until)
	{
		part = linitial(span->ahead);
		span->ahead = list_delete_first(span->ahead);
		if (part->proof.rule != NULL)
			jdy_ledger_prove(pull, part->from <= JDY_FIRST_TICK ? DT_NOBEGIN : part->from, part->to, &part->proof);
		else if (part->to > pull->cursor)
			give_up(pull, part->to);
		span->until = part->to;
		pfree(part);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * A wrong count is asked again for a while: it may come right.  After that the next
 * runs begin behind it, else they would read ever more; the ledger keeps the gap.
 */
static void
give_up(Pull *pull, TimestampTz until)
{
	bool		known;

	if (until <= jdy_client_server_time(pull->client, &known) - GIVE_UP_US)
		jdy_ledger_skip(pull, until);
}

static int
compare_parts(const ListCell *a, const ListCell *b)
{
	const Part *left = lfirst(a);
	const Part *right = lfirst(b);

	return left->from < right->from ? -1 : left->from > right->from ? 1 : 0;
}

/*
 * More rows on one tick than an answer holds.  Read its pages from the last
 * to the first: a row of a settled tick can only leave it, so no row moves to a
 * page that was read already.  Proven when the first and the last count agree
 * with the distinct ids; else landed and left open in the ledger.
 */
static void
read_tick(Pull *pull, Reading *reading)
{
	Window		window = reading->window;
	bool		proven = false;
	Proof		proof = {"last page to first", reading->calls, 0, -1};

	for (int round = 0; round < MAX_TICK_ROUNDS && !proven; round++)
	{
		int64		first_count = -1;
		int64		last_count = -1;
		int			pages = 1;
		int			nids = 0;
		uint64	   *hashes = NULL;
		int			page_number;
		bool		counted;
		uint64		shown = 0;	/* ids of the page before, added up */
		Call	   *call;
		ListPage   *page;

		call = jdy_list_ask(pull, window.lane, asked_from(reading), window.to, 1, pull->cap);
		page = jdy_list_answer(call);
		proof.calls++;
		first_count = page->count;
		counted = first_count >= 0;

		/*
		 * The last page has room for more than is counted, because rows may come from an older replica than the count.
		 * Where rows come twice, the last ones lie further behind it.
		 */
		if (counted)
			pages = (int) Min(first_count / pull->cap + 1 + round, MAX_TICK_PAGES);
		jdy_client_release(pull->client, call);

		hashes = MemoryContextAllocHuge(pull->context, sizeof(uint64) * ((Size) pages + 1) * pull->cap);
		/* Without a count: forward until a page is not full, never proven. */
		for (page_number = counted ? Max(pages, 1) : 1; page_number >= 1; page_number += counted ? -1 : 1)
		{
			Row		  **rows;
			int			n;
			bool		full;

			call = jdy_list_ask(pull, window.lane, asked_from(reading), window.to, page_number, pull->cap);
			proof.calls++;
			if (jdy_list_past_end(call))
			{
				/* Rows left the tick, or without a count: this was the end. */
				jdy_client_release(pull->client, call);
				if (!counted)
					break;
				continue;
			}
			page = jdy_list_answer(call);
			note_time(&window.sighting, call);
			last_count = page->count;
			full = page->nrows >= pull->cap;
			n = jdy_page_rows(page, &rows);
			if (n < page->nrows)
				pull->hidden = true;
			n = jdy_sort_rows(rows, n, pull->stream);
			for (int i = 0; i < page->nrows && counted && nids < (pages + 1) * pull->cap; i++)
				hashes[nids++] = page->rows[i].id == NULL ? page->rows[i].digest :
					hash_bytes_extended((unsigned char *) page->rows[i].id, strlen(page->rows[i].id), 0);
			jdy_pull_begin(pull);
			land(pull, &window, rows, n);
			jdy_pull_reject(pull, page, &window.sighting);
			jdy_pull_commit(pull);
			pfree(rows);
			/* A full page that comes again is the last one. */
			if (page_number > 1 && sum_of_ids(page) == shown)
				full = false;
			shown = sum_of_ids(page);
			jdy_client_release(pull->client, call);
			if (!counted && (!full || page_number > MAX_TICK_PAGES))
				break;
		}
		if (counted)
		{
			int64		distinct = 0;

			qsort(hashes, nids, sizeof(uint64), compare_hashes);
			for (int i = 0; i < nids; i++)
				if (i == 0 || hashes[i] != hashes[i - 1])
					distinct++;
			proof.rows = distinct;
			proof.count = last_count;
			proven = distinct == first_count && first_count == last_count;
		}
		pfree(hashes);
		if (!counted)
			break;
	}

	if (!proven)
		pull->hidden = true;
	if (reading->span == NULL)
		return;
	if (!proven)
	{
		proof.rule = NULL;
		distrust_count(pull, reading, proof.rows, proof.count);
	}
	jdy_pull_begin(pull);
	enter(pull, reading, &proof);
	jdy_pull_commit(pull);
}

static void
distrust_count(Pull *pull, const Reading *reading, int64 rows, int64 count)
{
	char	   *from = pstrdup(timestamptz_to_str(reading->window.from));
	char	   *to = pstrdup(timestamptz_to_str(reading->window.to));
	char	   *detail = count >= 0 ?
		psprintf("What was modified from %s to %s was read and landed, but it came as %lld records while the service counts %lld.",
				 from, to, (long long) rows, (long long) count) :
		psprintf("What was modified from %s to %s was read and landed as %lld records, but some came twice, and the service does not count them.",
				 from, to, (long long) rows);

	jdy_pull_begin(pull);
	jdy_incident_open(pull->stream->name, "warning", JDY_COUNT_NOT_TRUSTED, detail,
					  psprintf("complete_until stays before it; SELECT * FROM jdy_resync('%s', '%s', '%s') proves it once the counts agree.",
							   pull->stream->name, from, to));
	jdy_pull_commit(pull);
}

/* Order does not matter, so the sum will do. */
static uint64
sum_of_ids(ListPage *page)
{
	uint64		sum = 0;

	for (int i = 0; i < page->nrows; i++)
		if (page->rows[i].id != NULL)
			sum += hash_bytes_extended((unsigned char *) page->rows[i].id, strlen(page->rows[i].id), 0);
	return sum;
}

static int
compare_hashes(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right ? 1 : 0;
}
