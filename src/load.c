/*-------------------------------------------------------------------------
 * load.c
 *		A whole list by anchored pages.
 *
 * The service has no snapshot and counts pages from the list's start, so a row
 * that leaves the part already read moves every later row up, and a loop over
 * pages 1…n skips one without a sign.  Here every page overlaps what was read:
 * it is accepted only if it contains a row already read whose sort key did not change
 * (an anchor).  Rows that stay where they are keep their order, so all of them
 * before the anchor were read, and those after it, up to the end of the page, are in
 * this answer.  What moves or appears meanwhile is found by the windows that
 * follow.  No count is believed where windows rest on it: the end is a page shorter than a page is known to
 * be able to hold.
 *
 * Page size and number are chosen so that the page begins at or just before
 * the anchor: 100 rows a page at most give 87 new ones on average, 99 where the probe saw
 * that the rows before a page are counted by the size that is asked for, even if it is more than is given.
 * What such a page shows is read like any other, but that it is the last one is not believed of it.
 *
 * Several pages are asked ahead; that changes nothing in the argument, because
 * the order of rows that stay does not depend on when a page was asked.
 * Where the load stands (anchors of the last rows) is committed with the rows.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "anchors.h"
#include "catalog/pg_type.h"
#include "progress.h"
#include "pull.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define MAX_AHEAD 4				/* pages asked ahead */
#define LAND_AT_ROWS 1024		/* rows gathered before they are landed while replies keep coming */
#define LAND_AT_BYTES (4 * 1024 * 1024) /* or so much of their text */
#define MAX_LOST_ANCHORS 200	/* pages without an anchor before the run gives up */
#define MAX_BOLD_LOST 10		/* of these, before all are asked as large as they are given */
#define MAX_REFUSED 8			/* pages past the end before the run gives up */
#define MAX_DOUBTS 3			/* ends that the service's count contradicts, before they are believed */
#define ENOUGH_IN_ORDER 32		/* rows seen again behind the one before: so many do not stand so by chance */

/* One page on its way. */
typedef struct PageAsk
{
	Call	   *call;
	int			page;
	int			size;
	bool		bold;			/* larger than what is given, for the sake of where it begins */
	bool		done;
	bool		stale;			/* asked ahead on an expectation that failed */
} PageAsk;

typedef struct Load
{
	Pull	   *pull;
	const Sighting *sighting;
	int			cap;			/* size to ask for at most */
	bool		guessed;		/* that, by a page that may just as well have held all there was */
	int			bold;			/* pages may be asked larger than they are given, until so many had no anchor */
	bool		began_again;	/* with nothing known of pages */
	int64		repeated;		/* rows that stood twice in one answer, or more often */
	int			proven;			/* an answer of this size was seen: the service gives at least as much */
	int64		last;			/* index in the list of the last row read; -1 = none */
	int64		ahead;			/* the same, if all pages asked are as expected */
	int64		count;			/* what the service says; -1 = nothing */
	int64		least;			/* the least that it said; -1 = nothing */
	int64		distinct;		/* rows that were read */
	bool		resumed;		/* a moment ago: few of those read before are known */
	Anchors		read;			/* rows that were read last */
	Anchor		order[JDY_ANCHORS]; /* the first page as it came before the load began */
	int			norder;
	int			in_order;		/* rows that were seen again, each behind one that it was behind before */
	int			first;			/* rows of the first page */
	int			lost;			/* pages without an anchor */
	int			doubts;			/* ends that the count contradicted */
	int			refused;		/* pages past the end */
	int			backs;			/* of them, in a row */
	bool		at_end;
	List	   *asked;			/* of PageAsk, in order */
	List	   *accepted;		/* of PageAsk, to be landed */
	List	   *rows;			/* of Row *, of the accepted */
	int64		bytes;			/* of their text */
	int			stale;			/* stale pages still on the way */
} Load;

static void load_at_once(Pull *pull, const Sighting *sighting);
static void land_answer(Pull *pull, Call *call, const Sighting *as);
static void look_ahead(Load *load);
static bool is_all(const ListPage *page, int full);
static void compare_order(Load *load, ListPage *page);
static void note_place(Load *load, int place, int *last);
static bool choose_page(const Load *load, int64 last, int *page, int *size);
static bool is_list_of_two(Load *load);
static void begin_again(Load *load);
static void consider_page(int64 last, int cap, int z, int64 *best, int *page, int *size);
static void ask_ahead(Load *load);
static void ask_page(Load *load, int page, int size);
static void take(Load *load, Call *call);
static void accept_page(Load *load, PageAsk *ask);
static void check_keys(Load *load, ListPage *page, int full);
static void step_back(Load *load, PageAsk *ask, int64 rows);
static void drop_asked(Load *load);
static void land(Load *load);
static void release(Load *load, Call *call);
static void save(Load *load);
static bool restore(Load *load, Jsonb *state);
static int64 saved(Jsonb *state, const char *name, int64 otherwise);

void
jdy_load_list(Pull *pull, const Sighting *sighting, bool resume)
{
	MemoryContext context;
	MemoryContext caller;
	Load	   *load;

	pull->one_answer = false;
	pull->counted = -1;
	if (pull->stream->whole)
	{
		load_at_once(pull, sighting);
		return;
	}
	context = AllocSetContextCreate(pull->context, "jdysync load", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	load = palloc0(sizeof(Load));
	load->pull = pull;
	load->sighting = sighting;
	load->cap = pull->cap;
	load->last = load->ahead = -1;
	load->bold = jdy_contract_says(pull->stream->contract, Q_OFFSET, A_ASKED_SIZE) ? MAX_BOLD_LOST : 0;
	load->count = load->least = -1;
	pull->doubt = !pull->stream->order_holds ? DOUBT_SORT_KEY :
		jdy_contract_says(pull->stream->contract, Q_ORDER, A_UNSTABLE) ? DOUBT_ORDER : NO_DOUBT;
	if (!resume || !restore(load, pull->stream->load_state))
		look_ahead(load);

	while (!load->at_end)
	{
		Call	   *call;

		ask_ahead(load);
		/* Land when nothing has come: then the wire has all that it can carry, and works while we do. */
		call = jdy_client_next(pull->client, load->accepted != NIL ? 0 : 200);
		if (call != NULL)
			take(load, call);
		if (load->accepted != NIL &&
			(call == NULL || list_length(load->rows) >= LAND_AT_ROWS || load->bytes >= LAND_AT_BYTES || load->at_end))
			land(load);
		jdy_pull_progress(pull);
		MemoryContextSwitchTo(context);
	}
	if (load->accepted != NIL)
		land(load);
	drop_asked(load);
	while (load->stale > 0)
	{
		Call	   *call = jdy_client_next(pull->client, 200);

		if (call != NULL)
			take(load, call);
	}

	/*
	 * As many must have come as there were at least; rows that came twice are counted, so they may stand where others should.
	 * Without a count nothing says that they do not, nor that the few rows that were seen again stood in order by more than chance.
	 */
	if (pull->doubt == NO_DOUBT && !pull->stream->keyless)
	{
		if (load->least > load->distinct - load->repeated ||
			(load->repeated > 0 && (load->count < 0 || load->count > load->last + 1 - load->repeated)))
			pull->doubt = DOUBT_END;
		else if (load->least < 0 && load->last >= load->first && load->in_order < ENOUGH_IN_ORDER)
			pull->doubt = DOUBT_ORDER_UNSEEN;
	}

	/* A list that fits on one page does not tell what a page can hold. */
	if (load->last >= load->cap && !load->guessed)
		pull->cap = load->cap;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* A list that takes no pages: its one answer is a snapshot of all of it. */
static void
load_at_once(Pull *pull, const Sighting *sighting)
{
	Call	   *call = jdy_list_ask(pull, LANE_BACKFILL, DT_NOBEGIN, DT_NOEND, 1, INT_MAX);
	ListPage   *page = jdy_list_answer(call);

	if (page->count > page->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("the list came in part"),
				 errdetail("\"%s\" gave %d rows and counts %lld, and the catalogue says that it takes no pages.",
						   pull->stream->api, page->nrows, (long long) page->count),
				 errhint("Give metadata whose request has page and page_size: then it is asked by pages.")));
	pull->doubt = NO_DOUBT;
	pull->one_answer = true;
	land_answer(pull, call, sighting);
	jdy_client_release(pull->client, call);
}

static void
land_answer(Pull *pull, Call *call, const Sighting *as)
{
	ListPage   *page = jdy_list_answer(call);
	Sighting	sighting = *as;
	Row		  **rows;
	int			nrows = jdy_page_rows(page, &rows);

	/* Raises an error when one id stands for two records. */
	nrows = jdy_sort_rows(rows, nrows, pull->stream);
	sighting.asked_at = jdy_asked_at(call);
	jdy_pull_begin(pull);
	jdy_pull_land(pull, rows, nrows, &sighting);
	jdy_pull_reject(pull, page, &sighting);
	jdy_pull_commit(pull);
}

/*
 * The first page, for its order alone: it is read again, and must show the same rows in the same
 * order.  But most months of a report fit on one: then it is all, and is not asked twice.
 */
static void
look_ahead(Load *load)
{
	Call	   *call = jdy_list_ask(load->pull, LANE_BACKFILL, DT_NOBEGIN, DT_NOEND, 1, load->cap);
	ListPage   *page = jdy_list_answer(call);

	load->pull->counted = load->least = page->count;
	if (load->pull->stream->range_param != NULL && is_all(page, load->cap))
	{
		load->pull->one_answer = true;
		load->at_end = true;
		land_answer(load->pull, call, load->sighting);
	}
	for (int i = 0; i < page->nrows && i < lengthof(load->order); i++)
		load->order[load->norder++] = jdy_anchor_of(&page->rows[i]);
	jdy_client_release(load->pull->client, call);
}

/* Whether a first page shows all that there is.  A full one does not, whatever its count says: there might be a limit. */
static bool
is_all(const ListPage *page, int full)
{
	return page->count == page->nrows && page->nrows < full;
}

static void
compare_order(Load *load, ListPage *page)
{
	int			last = -1;

	for (int i = 0; i < page->nrows; i++)
	{
		Anchor		row = jdy_anchor_of(&page->rows[i]);

		for (int place = 0; place < load->norder; place++)
			if (jdy_anchor_equal(load->order[place], row))
			{
				note_place(load, place, &last);
				break;
			}
	}
	load->norder = 0;
}

/* Rows that stayed must stand as they stood, or what was not read may have moved before them. */
static void
note_place(Load *load, int place, int *last)
{
	if (place < *last)
		load->pull->doubt = DOUBT_ORDER;
	else if (*last >= 0 && place > *last)
		load->in_order++;
	*last = place;
}

/*
 * The page that begins at or before row `last` and brings the most rows after it.
 * Where pages of all sizes end at `last` (row 2520 for sizes up to 10), a larger
 * one is asked, of which the service gives as many rows as it gives: unless it is known to count
 * the rows before a page by what it gives.  false: there is none.
 */
static bool
choose_page(const Load *load, int64 last, int *page, int *size)
{
	int			cap = load->cap;
	bool		larger = !jdy_contract_says(load->pull->stream->contract, Q_OFFSET, A_GIVEN_SIZE);
	int64		best = 0;

	*page = 1;
	*size = cap;
	if (last < 0)
		return true;
	for (int z = cap; z >= 1; z--)
		consider_page(last, cap, z, &best, page, size);
	larger = larger && (best == 0 || (load->bold > 0 && last + 3 * (int64) cap <= load->count));
	for (int z = cap + 1; z <= 2 * cap && larger; z++)
		consider_page(last, cap, z, &best, page, size);
	return best > 0;
}

/*
 * Where a service gives two rows a page, no page could overlap what was read; but more likely two rows are all.
 * They are when nothing stands behind them and both are afterwards where they were before: a row behind
 * them could have moved only if one of them had gone.
 */
static bool
is_list_of_two(Load *load)
{
	Anchor		first = jdy_anchors_ago(&load->read, 2);
	Anchor		second = jdy_anchors_ago(&load->read, 1);
	Call	   *call;
	ListPage   *page;
	bool		all;

	if (load->last != 1)
		return false;
	call = jdy_list_ask(load->pull, LANE_BACKFILL, DT_NOBEGIN, DT_NOEND, 3, 1);
	all = jdy_list_past_end(call);
	if (!all)
	{
		/* Empty, or the last page again. */
		page = jdy_list_answer(call);
		all = page->nrows == 0 || (page->nrows == 1 && jdy_anchor_equal(second, jdy_anchor_of(&page->rows[0])));
	}
	jdy_client_release(load->pull->client, call);
	if (!all)
		return false;
	call = jdy_list_ask(load->pull, LANE_BACKFILL, DT_NOBEGIN, DT_NOEND, 1, load->pull->stream->plan->page_size);
	page = jdy_list_answer(call);
	all = page->nrows == 2 && jdy_anchor_equal(first, jdy_anchor_of(&page->rows[0])) && jdy_anchor_equal(second, jdy_anchor_of(&page->rows[1]));
	if (all && page->count > 2)
		load->pull->doubt = DOUBT_END;
	jdy_client_release(load->pull->client, call);
	return all;
}

/* Once: a page that came short while the list changed may have been taken for all that a page can hold. */
static void
begin_again(Load *load)
{
	if (load->began_again)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the service gives too few rows at a time"),
				 errdetail("With %d rows a page, no page after row %lld overlaps what was read.", load->cap, (long long) load->last + 1),
				 errhint("Set a larger page size in the metadata.")));
	load->began_again = true;
	load->cap = load->pull->stream->plan->page_size;
	load->proven = 0;
	load->last = load->ahead = -1;
	jdy_anchors_clear(&load->read);
}

static void
consider_page(int64 last, int cap, int z, int64 *best, int *page, int *size)
{
	int64		p = last / z + 1;
	int64		news = (p - 1) * z + Min(z, cap) - 1 - last;

	if (news > *best && p <= INT_MAX)
	{
		*best = news;
		*page = (int) p;
		*size = z;
	}
}

/* One page until the service has said how many rows there are; then as many as may be under way. */
static void
ask_ahead(Load *load)
{
	int			most = load->count < 0 || load->last < 0 ? 1 :
		Min(MAX_AHEAD, load->pull->stream->endpoint->concurrency);

	while (list_length(load->asked) < most && !load->at_end)
	{
		int			page;
		int			size;

		if (load->asked == NIL)
			load->ahead = load->last;
		else if (load->ahead >= load->count - 1)
			break;				/* the rest is asked already */
		if (!choose_page(load, load->ahead, &page, &size))
		{
			/* Pages that are of no use any more come first. */
			if (load->asked != NIL || load->stale > 0)
				break;
			if (is_list_of_two(load))
				load->at_end = true;
			else
				begin_again(load);
			continue;
		}
		ask_page(load, page, size);
		load->ahead = (int64) (page - 1) * size + Min(size, load->cap) - 1;
	}
}

static void
ask_page(Load *load, int page, int size)
{
	PageAsk    *ask = palloc0(sizeof(PageAsk));

	ask->page = page;
	ask->size = size;
	ask->bold = load->bold > 0 && size > load->cap;
	ask->call = jdy_list_submit(load->pull, LANE_BACKFILL, DT_NOBEGIN, DT_NOEND, page, size, ask);
	load->asked = lappend(load->asked, ask);
}

static void
take(Load *load, Call *call)
{
	PageAsk    *ask = ((ListAsk *) call->owner)->owner;

	if (ask->stale)
	{
		load->stale--;
		release(load, call);
		return;
	}
	ask->done = true;
	while (load->asked != NIL && !load->at_end && ((PageAsk *) linitial(load->asked))->done)
		accept_page(load, linitial(load->asked));
}

/* The first page asked has come: read it if it has an anchor. */
static void
accept_page(Load *load, PageAsk *ask)
{
	ListPage   *page;
	int64		offset = (int64) (ask->page - 1) * ask->size;
	bool		from_start = ask->page == 1;
	int			anchor;
	int			room;			/* rows that it can hold, as far as is known */
	bool		as_expected;
	bool		looks_behind;	/* count or no count */
	Row		  **rows;
	int			nrows;
	int			last_place = -1;

	/* What is not as it was when the service was asked about it is not relied on. */
	if (ask->bold && (jdy_list_past_end(ask->call) || jdy_list_answer(ask->call)->nrows < load->cap))
	{
		load->bold = 0;
		drop_asked(load);
		return;
	}

	/* Rows left the list, and no anchor is near: look for its end in ever longer steps. */
	if (jdy_list_past_end(ask->call) && ++load->refused <= MAX_REFUSED)
	{
		step_back(load, ask, (int64) ask->size << load->refused);
		return;
	}
	page = jdy_list_answer(ask->call);
	check_keys(load, page, Min(ask->size, load->cap));
	anchor = jdy_anchors_last_in(&load->read, page);
	if (page->count >= 0)
	{
		load->count = page->count;
		load->least = load->least < 0 ? page->count : Min(load->least, page->count);
	}
	if (anchor < 0 && !from_start)
	{
		load->bold -= ask->bold;
		step_back(load, ask, ask->size / 2);
		return;
	}
	if (page->nrows == 0 && page->count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("the list came without rows although it counts some"),
				 errdetail("Page 1 of \"%s\" is empty, its count is %lld.", load->pull->stream->api, (long long) page->count),
				 errhint("Try again; if it stays so, ask the service's support.")));

	/* From the start again: what comes is older than what was read last. */
	if (anchor < 0)
	{
		jdy_anchors_clear(&load->read);
		load->distinct = 0;
	}
	load->backs = 0;
	if (from_start)
	{
		compare_order(load, page);
		load->first = page->nrows;
		load->pull->one_answer = is_all(page, Min(ask->size, load->cap));
	}

	/* Raises an error when one id stands for two records. */
	nrows = jdy_page_rows(page, &rows);
	load->repeated += nrows - jdy_sort_rows(rows, nrows, load->pull->stream);
	pfree(rows);

	for (int i = 0; i < page->nrows; i++)
	{
		Row		   *row = &page->rows[i];
		Anchor		read = jdy_anchor_of(row);
		int			place;

		/* Rows after the last one that was read are new; others, as long as those read before are known. */
		place = i > anchor || row->id == NULL ? -1 : jdy_anchors_place(&load->read, read);
		load->distinct += i > anchor || (place < 0 && row->id != NULL && !load->resumed);
		if (row->problem != NULL && row->id == NULL)
			continue;
		if (place >= 0)
			note_place(load, place, &last_place);
		else if (row->problem == NULL)
		{
			load->rows = lappend(load->rows, row);
			load->bytes += row->length;
		}
		if (i > anchor)
			jdy_anchors_add(&load->read, read);
	}

	load->resumed = false;
	room = Min(ask->size, load->cap);
	as_expected = page->nrows >= room;

	/* Windows rest on it that the load left nothing out. */
	looks_behind = load->pull->windowed && load->count == offset + page->nrows && jdy_list_may_be_cut(load->pull, page);
	load->last = offset + page->nrows - 1;
	load->asked = list_delete_first(load->asked);
	load->accepted = lappend(load->accepted, ask);

	if (as_expected)
		load->proven = Max(load->proven, room);
	else if (page->count >= 0 && offset + page->nrows == page->count && !looks_behind)
		load->at_end = true;
	else if (room <= load->proven || page->nrows <= 1)
	{
		/* The end, but counts and rows may come from replicas a moment apart: look again. */
		if (page->count < offset + page->nrows)
			load->at_end = true;
		else if (++load->doubts > MAX_DOUBTS)
		{
			load->at_end = true;
			load->pull->doubt = DOUBT_END;
		}
	}
	else
	{
		/* Shorter than asked, and the list may go on: the service gives less than we ask for. */
		load->guessed = looks_behind;
		load->cap = page->nrows;
		load->proven = Max(load->proven, page->nrows);
	}
	if (!as_expected)
		drop_asked(load);
	jdy_progress_totals(load->count, -1);
}

/* Where no row has a key, no page could ever be anchored to another. */
static void
check_keys(Load *load, ListPage *page, int full)
{
	StringInfoData names;
	ListCell   *cell;

	if (page->nrows < 2 || page->nrows < full)
		return;
	for (int i = 0; i < page->nrows; i++)
		if (page->rows[i].id != NULL)
			return;
	initStringInfo(&names);
	foreach(cell, load->pull->stream->shape.id_fields)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", (char *) lfirst(cell));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
			 errmsg("no row of the list has its key"),
			 errdetail("%d rows of \"%s\" came, none with a value for \"%s\".", page->nrows, load->pull->stream->api, names.data),
			 errhint("Name as \"id\" in the metadata what every row has: jdy_fetch() shows a page as it comes.")));
}

/* Rows left the part that was read, so this page begins after the last anchor. */
static void
step_back(Load *load, PageAsk *ask, int64 rows)
{
	int64		step;

	if (++load->lost > MAX_LOST_ANCHORS)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the list changes faster than it can be read"),
				 errdetail("%d pages of \"%s\" held no row of the page before.", load->lost, load->pull->stream->api),
				 errhint("What was read is kept; sync again at a quieter time.")));
	/* Further each time: a great part of the list may be gone. */
	step = Max(rows, (int64) (ask->size / 2 + 1) << Min(load->backs++, 30));
	load->last = Max((int64) (ask->page - 1) * ask->size - step, -1);
	drop_asked(load);
}

/* Pages asked ahead are of no use any more; their replies are let go when they come. */
static void
drop_asked(Load *load)
{
	ListCell   *cell;

	foreach(cell, load->asked)
	{
		PageAsk    *ask = lfirst(cell);

		if (ask->done)
			release(load, ask->call);
		else
		{
			ask->stale = true;
			load->stale++;
		}
	}
	load->asked = NIL;
}

static void
land(Load *load)
{
	Pull	   *pull = load->pull;
	Sighting	sighting = *load->sighting;
	int			n = list_length(load->rows);
	Row		  **rows = palloc(sizeof(Row *) * (n + 1));
	ListCell   *cell;
	int			i = 0;

	foreach(cell, load->rows)
		rows[i++] = lfirst(cell);
	sighting.asked_at = PG_INT64_MAX;
	foreach(cell, load->accepted)
		sighting.asked_at = Min(sighting.asked_at, jdy_asked_at(((PageAsk *) lfirst(cell))->call));

	jdy_pull_begin(pull);
	jdy_pull_land(pull, rows, n, &sighting);
	foreach(cell, load->accepted)
		jdy_pull_reject(pull, jdy_list_answer(((PageAsk *) lfirst(cell))->call), &sighting);
	if (!pull->stream->loaded && pull->stream->range_param == NULL)
		save(load);
	jdy_pull_commit(pull);

	foreach(cell, load->accepted)
		release(load, ((PageAsk *) lfirst(cell))->call);
	list_free_deep(load->accepted);
	list_free(load->rows);
	pfree(rows);
	load->accepted = NIL;
	load->rows = NIL;
	load->bytes = 0;
}

/* A load makes many calls: what each leaves behind would add up. */
static void
release(Load *load, Call *call)
{
	pfree(call->owner);
	jdy_client_release(load->pull->client, call);
}

/*
 * {"last": index, "cap": size, "proven": size, "doubt": number, "in_order": rows, "distinct": rows, "repeated": rows,
 * "least": count, "anchors": ["<id hash> <key hash>", …]}; in the landing transaction.
 */
static void
save(Load *load)
{
	static JdyStatement update = {
		.sql = "UPDATE jdysync.stream s SET load_state = $2 WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, JSONBOID}
	};
	StringInfoData state;
	Datum		values[2];

	initStringInfo(&state);
	appendStringInfo(&state, "{\"last\": %lld, \"cap\": %d, \"proven\": %d, \"doubt\": %d, \"in_order\": %d,",
					 (long long) load->last, load->cap, load->proven, load->pull->doubt, load->in_order);
	appendStringInfo(&state, " \"distinct\": %lld, \"repeated\": %lld, \"least\": %lld, \"anchors\": ",
					 (long long) load->distinct, (long long) load->repeated, (long long) load->least);
	jdy_anchors_append_json(&load->read, &state);
	appendStringInfoChar(&state, '}');
	values[0] = Int32GetDatum(load->pull->stream->stream_id);
	values[1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(state.data));
	jdy_execute(&update, values, NULL);
}

/* false: nothing was saved yet. */
static bool
restore(Load *load, Jsonb *state)
{
	int			doubt = (int) saved(state, "doubt", NO_DOUBT);

	load->last = saved(state, "last", -1);
	if (load->last < 0)
		return false;
	load->resumed = true;
	load->cap = Max(Min((int) saved(state, "cap", load->cap), load->cap), 1);
	/* Else a short page at the list's end would be taken for all that a page can hold. */
	load->proven = (int) saved(state, "proven", 0);
	if (load->pull->doubt == NO_DOUBT)
		load->pull->doubt = doubt;
	load->in_order = (int) saved(state, "in_order", 0);
	load->distinct = saved(state, "distinct", 0);
	load->repeated = saved(state, "repeated", 0);
	load->least = saved(state, "least", -1);
	jdy_anchors_read_json(&load->read, state);
	return true;
}

static int64
saved(Jsonb *state, const char *name, int64 otherwise)
{
	char	   *number = jdy_jsonb_text(state, name);

	return number != NULL ? strtoll(number, NULL, 10) : otherwise;
}
