/*-------------------------------------------------------------------------
 * recent.c
 *		What was modified since the watermark, listed.
 *
 * One question covers all of it, from overlap before the watermark up to now.  Most runs get no rows, and are done.  Else
 * the rows stand in four pieces, of which each makes other things due (queue.c):
 *
 *	overlap		before the watermark: what became visible late
 *	settled		up to settle ago: enters the ledger
 *	old tail	what the run before has listed, too
 *	new tail	what is new
 *
 * The service's clock may have gone back since the last run: then what was proven by it is taken back first.
 *
 * Called by pull.c, at the start of a run and again and again while it goes on.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "coverage.h"
#include "incident.h"
#include "jdysync.h"
#include "lag.h"
#include "probe.h"
#include "progress.h"
#include "recent.h"
#include "spi.h"
#include "stamps.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define ANY_CLOCK_US (366 * USECS_PER_DAY)	/* the service's clock is not further ahead of ours, before it is known */
#define ALL_PIECES (1 << SEEN_IN_OVERLAP | 1 << SEEN_SETTLED | 1 << SEEN_IN_OLD_TAIL | 1 << SEEN_IN_NEW_TAIL)
#define CLOCK_DRIFT_US USECS_PER_MINUTE	/* two clocks may differ so much more than the last time they were looked at */
#define CLOCK_WENT_BACK "clock went back"

static int64 clock_went_back(const Pull *pull, TimestampTz asked_at);
static void take_back(Pull *pull, TimestampTz until);
static bool is_few(Pull *pull, int64 count);
static bool holds_all(ListPage *page);
static int	look_where(Pull *pull, ListPage *page, TimestampTz settled);
static void take_whole(Pull *pull, ListPage *page, TimestampTz begin, TimestampTz settled, TimestampTz now, TimestampTz answered_at);
static void list_pieces(Pull *pull, TimestampTz begin, TimestampTz settled, TimestampTz now, int guess, int64 count);
static void note_unseen(const Pull *pull, Sighting *sighting, TimestampTz now);
static void note_tail(Pull *pull, TimestampTz from, TimestampTz until);
static void note_clock(Pull *pull);

/*
 * What was modified since the watermark.  Most runs find nothing, so the whole
 * span is asked at once; only when it holds rows is it read in pieces, because
 * what is due depends on the piece.  Where there are no details, nothing does.
 */
bool
jdy_recent_list(Pull *pull)
{
	Stream	   *stream = pull->stream;
	bool		clock_known;
	TimestampTz now = jdy_client_server_time(pull->client, &clock_known);
	TimestampTz begin = jdy_tick_floor(pull, pull->cursor - stream->overlap_us);
	TimestampTz end = jdy_tick_floor(pull, now) + (!clock_known ? ANY_CLOCK_US : pull->by_day ? USECS_PER_DAY : CLOCK_ERROR_US);
	TimestampTz asked_at;
	TimestampTz settled;
	int64		went_back_us;
	Call	   *call;
	ListPage   *page;
	bool		full;
	bool		cut;			/* that, or as the service counts */
	bool		whole;			/* nothing more must be asked */
	int64		count;
	int			guess = 0;

	jdy_progress_phase(PHASE_LISTING);
	begin = Max(begin, stream->start_from);
	call = jdy_list_ask(pull, LANE_TAIL, begin - jdy_tick_us(pull), end, 1, stream->plan->page_size);
	page = jdy_list_answer(call);
	full = page->nrows >= pull->cap;
	cut = full || page->count > page->nrows;
	pull->cap = Max(pull->cap, page->nrows);
	pull->timeless = call->asked_at == 0;
	asked_at = pull->timeless ? now : call->asked_at;
	pull->asked_at = GetCurrentTimestamp() - (jdy_monotonic_us() - call->left_us);
	settled = jdy_tick_floor(pull, Min(asked_at, end) - stream->settle_us - (pull->timeless ? OUR_CLOCK_ERROR_US : 0));

	went_back_us = clock_went_back(pull, asked_at);
	count = page->count;
	whole = went_back_us == 0 && begin <= settled &&
		(page->nrows == 0 ? page->count <= 0 : !full && !pull->by_day && !jdy_list_may_be_cut(pull, page) && holds_all(page));
	if (whole && page->nrows > 0 && stream->details)
	{
		guess = look_where(pull, page, settled);
		whole = false;
	}
	if (whole)
		take_whole(pull, page, begin, settled, Min(asked_at, end), call->answered_at);
	jdy_client_release(pull->client, call);

	/* To split windows of a filter without effect would never end. */
	if (cut && !is_few(pull, count) && !jdy_probe_filter(pull, true))
	{
		pull->windowed = false;
		return false;
	}
	if (full)
		jdy_stamps_read(pull);
	else
		jdy_stamps_forget(pull);
	if (went_back_us > 0)
	{
		take_back(pull, Min(settled, pull->cursor - went_back_us));
		if (pull->cursor == DT_NOBEGIN)
			return false;
		begin = Max(jdy_tick_floor(pull, pull->cursor - stream->overlap_us), stream->start_from);
	}

	/* More than the ledger's end is not settled any more, so this was the wrong question. */
	if (begin > settled)
		begin = Max(jdy_tick_floor(pull, settled - stream->overlap_us), stream->start_from);
	if (!whole)
		list_pieces(pull, begin, settled, asked_at, guess, full ? count : 0);
	pull->listed_at_us = jdy_monotonic_us();
	return true;
}

/*
 * By how much the service's clock has gone back since the tail was listed; 0 = not so far that it matters.  Either the
 * ledger holds what has not come yet, or more time has passed for us than for the service.
 */
static int64
clock_went_back(const Pull *pull, TimestampTz asked_at)
{
	const Stream *stream = pull->stream;
	int64		ahead_us = pull->cursor - asked_at;
	int64		lost_us = (pull->asked_at - stream->listed_at) - (asked_at - stream->tail_until);

	if (ahead_us > (pull->timeless ? OUR_CLOCK_ERROR_US : CLOCK_ERROR_US))
		return Max(ahead_us, lost_us);
	if (!pull->timeless && stream->listed_at != 0 && lost_us > Max(stream->overlap_us, CLOCK_DRIFT_US))
		return lost_us;
	return 0;
}

/*
 * What was proven by a time that was wrong is not: it is read anew, else all that
 * happens until then would be taken for known.  Where ours went ahead instead, that costs some windows.
 */
static void
take_back(Pull *pull, TimestampTz until)
{
	Stream	   *stream = pull->stream;

	jdy_pull_begin(pull);
	jdy_ledger_take_back(pull, until);
	jdy_queue_take_back(stream, until);
	jdy_incident_open(stream->name, "warning", CLOCK_WENT_BACK,
					  psprintf("Less time has passed by the service's clock than since the last run, or what was proven lies in its future. What was proven up to later than %s is read again.",
							   timestamptz_to_str(until)),
					  "Nothing must be done. If it happens often, look at this server's clock, and ask the service's support which of theirs is wrong.");
	jdy_pull_commit(pull);
	stream->tail_until = stream->tail_from = 0;
}

/* Far less than the last certificate counted: so the time filter has its effect. */
static bool
is_few(Pull *pull, int64 count)
{
	static JdyStatement look = {
		.sql = "SELECT c.\"count\" FROM jdysync.certificate c WHERE c.stream_id = $1 AND c.epoch = $2 AND c.proven"
		" ORDER BY c.certificate_id DESC LIMIT 1",
		.nargs = 2,
		.argtypes = {INT4OID, INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(pull->stream->stream_id), Int32GetDatum(pull->stream->epoch)};
	bool		few;

	jdy_pull_begin(pull);
	jdy_execute(&look, values, NULL);
	few = count >= 0 && SPI_processed > 0 && count < jdy_spi_int64(0, 1, 0) / 2;
	jdy_pull_commit(pull);
	return few;
}

/* All that the service counts, each record once, and each can be landed. */
static bool
holds_all(ListPage *page)
{
	Row		  **rows;
	int			n = jdy_page_rows(page, &rows);
	bool		all = n == page->nrows && n == page->count && jdy_sort_rows(rows, n, NULL) == n;

	pfree(rows);
	return all;
}

/* Notes what an answer shows that holds all there is, and guesses in which pieces it stands: a bit for each SightingKind. */
static int
look_where(Pull *pull, ListPage *page, TimestampTz settled)
{
	int			guess;

	for (int i = 0; i < page->nrows; i++)
		pull->shown = lappend(pull->shown, MemoryContextStrdup(pull->context, page->rows[i].id));
	jdy_pull_begin(pull);
	guess = jdy_queue_guess(pull->stream, pull->shown, settled + CLOCK_ERROR_US, CLOCK_ERROR_US);
	jdy_pull_commit(pull);
	return guess;
}

/* An answer that holds all there is, or that there is nothing. */
static void
take_whole(Pull *pull, ListPage *page, TimestampTz begin, TimestampTz settled, TimestampTz now, TimestampTz answered_at)
{
	Proof		proof = {"one answer", 1, page->nrows, page->nrows};
	Sighting	sighting = {SEEN_IN_NEW_TAIL};
	Row		  **rows;
	int			n;

	pull->hidden = false;
	jdy_pull_begin(pull);
	n = jdy_page_rows(page, &rows);
	sighting.from = begin;
	sighting.asked_from = begin - jdy_tick_us(pull);
	sighting.to = now;
	note_unseen(pull, &sighting, now);
	sighting.shown_at = answered_at;
	jdy_pull_land(pull, rows, n, &sighting);

	/* What turned out unfit while it was landed is listed again, as of any window. */
	sighting.kind = SEEN_SETTLED;
	sighting.to = settled;
	jdy_pull_reject(pull, page, &sighting);
	if (settled > pull->cursor)
		jdy_ledger_prove(pull, pull->cursor, settled, &proof);
	note_tail(pull, begin, jdy_tick_floor(pull, now));
	jdy_lag_settle(pull);
	note_clock(pull);
	jdy_pull_commit(pull);
}

/*
 * Four pieces, each an answer of its own.  With a guess those are asked first where the rows that the
 * whole span showed should stand: when all of them were seen there, the other pieces are known to be
 * empty.  Whether bounds are inclusive is not known, so a row at the end of a piece that makes
 * nothing due may belong to the next, which does: unless that is asked too, it must be seen before
 * the piece's last tick.
 */
static void
list_pieces(Pull *pull, TimestampTz begin, TimestampTz settled, TimestampTz now, int guess, int64 count)
{
	Stream	   *stream = pull->stream;
	TimestampTz cursor = Min(pull->cursor, settled);
	TimestampTz tail = Max(settled, begin);
	TimestampTz old_until = Min(Max(jdy_tick_floor(pull, stream->tail_until), tail), jdy_tick_floor(pull, now));
	TimestampTz end = jdy_tick_floor(pull, now) + (pull->by_day ? USECS_PER_DAY : CLOCK_ERROR_US);
	Window	   *overlap = jdy_pull_window(pull, SEEN_IN_OVERLAP, begin, cursor);
	Window	   *proven = jdy_pull_window(pull, SEEN_SETTLED, cursor, settled);
	Window	   *old_tail = jdy_pull_window(pull, SEEN_IN_OLD_TAIL, tail, old_until);
	Window	   *new_tail = jdy_pull_window(pull, SEEN_IN_NEW_TAIL, Max(tail, old_until), end);
	Window	   *pieces[] = {overlap, proven, old_tail, new_tail};
	int			rounds[] = {guess, guess != 0 ? 1 << SEEN_IN_NEW_TAIL : 0, ALL_PIECES};
	int			asked = 0;
	Proof		nothing = {"one answer, all of it elsewhere", 1, 0, list_length(pull->shown)};

	overlap->sighting.overlap_from = begin - 2 * jdy_tick_us(pull);
	if (pull->nstamps == 0)
		overlap->expected = count * (cursor - begin) / (end - begin);
	proven->prove = true;
	pull->hidden = false;
	for (int i = 0; i < lengthof(pieces); i++)
		note_unseen(pull, &pieces[i]->sighting, now);

	/* The overlap before the watermark moves on: the next run does not look back so far. */
	if (guess & 1 << SEEN_SETTLED)
		rounds[0] |= 1 << SEEN_IN_OVERLAP;
	for (int round = 0; round < lengthof(rounds) && (guess == 0 || pull->shown != NIL); round++)
	{
		List	   *windows = NIL;

		for (int i = 0; i < lengthof(pieces); i++)
		{
			int			piece = 1 << pieces[i]->sighting.kind;
			Window	   *window;

			if ((rounds[round] & ~asked & piece) == 0)
				continue;
			window = palloc(sizeof(Window));
			*window = *pieces[i];
			if ((pieces[i] == overlap || pieces[i] == old_tail) && (rounds[round] & 1 << pieces[i + 1]->sighting.kind) == 0)
				window->to -= jdy_tick_us(pull);
			else
				asked |= piece;
			if (pieces[i] == overlap)
				jdy_windows_read(pull, list_make1(window));
			else
				windows = lappend(windows, window);
		}
		jdy_windows_read(pull, windows);
	}
	list_free_deep(pull->shown);
	pull->shown = NIL;

	jdy_pull_begin(pull);
	if ((asked & 1 << SEEN_SETTLED) == 0 && settled > pull->cursor)
		jdy_ledger_prove(pull, pull->cursor, settled, &nothing);
	note_tail(pull, begin, jdy_tick_floor(pull, now));
	jdy_lag_settle(pull);
	note_clock(pull);
	jdy_pull_commit(pull);
}

/* For the visibility lag: what the run before asked for and was shown all of, unless the service's clock went back since. */
static void
note_unseen(const Pull *pull, Sighting *sighting, TimestampTz now)
{
	const Stream *stream = pull->stream;

	if (stream->tail_from == 0 || stream->tail_until > now)
		return;
	sighting->unseen_at = stream->tail_until;
	sighting->unseen_from = stream->tail_from;
}

TimestampTz
jdy_recent_noted_since(const Pull *pull)
{
	const Stream *stream = pull->stream;

	return pull->cursor == DT_NOBEGIN ? DT_NOBEGIN : pull->cursor - stream->overlap_us - stream->settle_us - 10 * jdy_tick_us(pull);
}

/* In a transaction. */
static void
note_tail(Pull *pull, TimestampTz from, TimestampTz until)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.stream s SET tail_until = $2, tail_from = $3, listed_at = $4 WHERE s.stream_id = $1"
		" AND (s.tail_until, s.tail_from) IS DISTINCT FROM ($2, $3)",
		.nargs = 4,
		.argtypes = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {Int32GetDatum(pull->stream->stream_id), TimestampTzGetDatum(until)};

	/* A later run may look back further, when overlap is widened: of that nothing is known. */
	from = Max(from, jdy_recent_noted_since(pull));
	values[2] = TimestampTzGetDatum(from);

	/* As of a time that is not the service's nothing can be said of its clock; what answers may have hidden was not late. */
	values[3] = TimestampTzGetDatum(pull->asked_at);
	jdy_execute(&note, values, pull->timeless ? "  nn" : pull->hidden ? "  n " : NULL);
	pull->stream->tail_until = until;
	pull->stream->listed_at = pull->timeless ? 0 : pull->asked_at;
	pull->stream->tail_from = pull->timeless || pull->hidden ? 0 : from;
}

/* In a transaction. */
static void
note_clock(Pull *pull)
{
	static const char *const what = "no time told";

	jdy_incident_close(pull->stream->name, CLOCK_WENT_BACK);
	if (!pull->timeless)
		jdy_incident_close(pull->stream->name, what);
	else
		jdy_incident_open(pull->stream->name, "warning", what,
						  "The service's replies have no Date, so its clock is not known.",
						  "Changes are taken for settled only a day later, by this server's clock. Ask who removes the header: the service, or a proxy.");
}
