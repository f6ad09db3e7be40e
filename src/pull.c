/*-------------------------------------------------------------------------
 * pull.c
 *		A stream's run.
 *
 * What one run does, in order:
 *
 *	1. find out how the service answers, the list's time filter first (once a week, probe.c);
 *	2. the first run: read the whole list (load.c), landing list rows;
 *	3. every run: list what was modified since the watermark (recent.c);
 *	   a list without a time filter is read whole instead, a report by months (range.c);
 *	4. by a second schedule, or when asked to: read a wider window once more;
 *	5. fetch the details that became due (detail.c), listing the tail again once a minute;
 *	6. mode verify: try to certify the list (certify.c); mode audit: compare what was read long
 *	   ago with the service (audit.c); while 3 and 5 go on.
 *
 * Each step lands what it read in short transactions of its own: rows, marks,
 * ledger and watermark together.  None is open while anything is waited for.  So
 * a run may die at any instruction, and the next goes on where it stopped.
 *
 * Called by runner.c, in a worker that is the stream's owner and holds its lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "absent.h"
#include "audit.h"
#include "catalog/pg_type.h"
#include "certify.h"
#include "clock.h"
#include "coverage.h"
#include "incident.h"
#include "probe.h"
#include "progress.h"
#include "pull.h"
#include "range.h"
#include "recent.h"
#include "remedy.h"
#include "spi.h"
#include "sweep.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch.h"
#include "window.h"

#define MIN_RELIST_US USECS_PER_SEC

static Pull *open_pull(int stream_id, int64 run_id, RunMode mode, RunCounters *counters, MemoryContext context);
static void make_run(Pull *pull, TimestampTz from_time, TimestampTz to_time);
static void first_load(Pull *pull);
static void load_range(Pull *pull, TimestampTz from, TimestampTz settled, TimestampTz to, TimestampTz fresh_since);
static bool load_everything(Pull *pull);
static void read_whole(Pull *pull, const Sighting *sighting, bool resume);
static void read_report(Pull *pull, TimestampTz from, TimestampTz to);
static void settle_doubt(Pull *pull, TimestampTz fresh_since);
static TimestampTz load_may_begin(Pull *pull);
static TimestampTz promised_until(Pull *pull);
static void begin_load(Pull *pull, TimestampTz began);
static void end_load(Pull *pull, bool prove);
static void note_learned(Pull *pull);
static void list_changes(Pull *pull);
static bool relist(Pull *pull, bool look);
static void settle_absent(Pull *pull, bool anew);
static void fetch_details(Pull *pull);
static bool keep_up(Pull *pull, bool look);
static void read_range(Pull *pull, TimestampTz from, TimestampTz to, bool prove);
static void read_remedy(Pull *pull);
static void read_rejected(Pull *pull, bool loaded_all);
static void finish_run(Pull *pull);

void
jdy_pull_run(int stream_id, int64 run_id, RunMode mode, TimestampTz from_time, TimestampTz to_time,
			 RunCounters *counters)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "jdysync run", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Pull	   *pull = open_pull(stream_id, run_id, mode, counters, context);

	PG_TRY();
	{
		make_run(pull, from_time, to_time);
	}
	PG_FINALLY();
	{
		counters->calls = jdy_client_calls(pull->client);
		counters->retries = jdy_client_retries(pull->client);

		/* Closes the client too, and with it its connections. */
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
	}
	PG_END_TRY();
}

static void
make_run(Pull *pull, TimestampTz from_time, TimestampTz to_time)
{
	Stream	   *stream = pull->stream;
	bool		loaded_all = false;

	if (stream->range_param != NULL)
	{
		read_report(pull, from_time, to_time);
		return;
	}

	/* With one bound alone no window can be split. */
	pull->by_day = stream->plan->start_format == WINDOW_DATE || stream->plan->end_format == WINDOW_DATE;
	pull->windowed = stream->plan->start_param != NULL && stream->plan->end_param != NULL && jdy_probe_filter(pull, false);
	if (pull->mode == MODE_RANGE && !pull->windowed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("list \"%s\" cannot be read by modify time", stream->api),
				 errdetail("It has no time filter, or the service ignores it."),
				 errhint("SELECT * FROM jdy_sync('%s', 'full') reads all of it.", stream->name)));
	jdy_probe_list(pull);

	if (!stream->loaded && stream->start_from != 0 && pull->windowed)
		first_load(pull);
	else if (!stream->loaded || pull->mode == MODE_FULL || !pull->windowed || pull->cursor == DT_NOBEGIN)
	{
		bool		windowed = pull->windowed;

		/* What changed is due because it did: of what a full load merely reads again the promise need not wait. */
		if (windowed && stream->loaded && pull->cursor != DT_NOBEGIN)
			list_changes(pull);
		loaded_all = pull->windowed != windowed || load_everything(pull);
	}
	if (pull->windowed)
		list_changes(pull);
	if (pull->mode == MODE_RANGE && pull->windowed)
		read_range(pull, from_time, to_time, true);
	if (pull->mode == MODE_REMEDY && pull->windowed)
		read_remedy(pull);
	read_rejected(pull, loaded_all);
	settle_absent(pull, false);
	fetch_details(pull);
	jdy_probe_records(pull);
	if (pull->mode == MODE_VERIFY)
	{
		jdy_certify(pull, keep_up);
		settle_absent(pull, true);
		fetch_details(pull);
	}
	else if (pull->mode == MODE_AUDIT)
	{
		jdy_audit(pull, keep_up);
		fetch_details(pull);
	}
	finish_run(pull);
}

static Pull *
open_pull(int stream_id, int64 run_id, RunMode mode, RunCounters *counters, MemoryContext context)
{
	static JdyStatement cursor = {
		.sql = "SELECT greatest(upper(s.coverage), s.given_up_until,"
		"  CASE WHEN s.loaded_at IS NOT NULL THEN s.start_from END) FROM jdysync.stream s WHERE s.stream_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Pull	   *pull = palloc0(sizeof(Pull));
	Datum		values[1] = {Int32GetDatum(stream_id)};
	bool		isnull;
	Datum		value;

	pull->run_id = run_id;
	pull->mode = mode;
	pull->counters = counters;
	pull->context = context;
	pull->landing = AllocSetContextCreate(context, "jdysync landing", 0, 8 * 1024 * 1024, 8 * 1024 * 1024);

	jdy_tx_begin("reading the stream");
	MemoryContextSwitchTo(context);
	pull->stream = jdy_stream_load(stream_id);
	jdy_stream_note_source(pull->stream);
	MemoryContextSwitchTo(context);
	jdy_execute(&cursor, values, NULL);
	value = jdy_spi_datum(0, 1, &isnull);
	pull->cursor = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
	jdy_absent_begin(pull);
	jdy_tx_commit();
	MemoryContextSwitchTo(context);

	pull->cap = jdy_contract_cap(pull->stream->contract, pull->stream->plan->page_size);
	pull->given = jdy_contract_given(pull->stream->contract);
	pull->log = jdy_runlog_open(run_id, stream_id, TopMemoryContext);
	pull->staging = jdy_staging_open(pull->stream, run_id, mode == MODE_FULL, context);
	jdy_progress_limits(pull->stream->endpoint, pull->stream->details);
	pull->client = jdy_client_open(pull->stream->endpoint, pull->stream->endpoint->concurrency, true, context,
								   jdy_runlog_attempt, pull->log);
	return pull;
}

/* Modify times from start_from on: by windows, which need no order and can be resumed at the watermark. */
static void
first_load(Pull *pull)
{
	TimestampTz start = jdy_tick_floor(pull, pull->stream->start_from);
	TimestampTz from = start;
	TimestampTz began = pull->stream->load_began;

	if (began == 0)
	{
		began = load_may_begin(pull);
		begin_load(pull, began);
	}
	if (pull->stream->watermark > from)
		from = pull->stream->watermark;
	began = Max(from, began);
	load_range(pull, from, began, began, began + pull->stream->settle_us);
	end_load(pull, false);

	/* Nothing was proven: it began a moment ago, or a count is wrong. */
	pull->cursor = Max(pull->cursor, start);
}

/* What is settled is proven by it; what is not is read as well. */
static void
load_range(Pull *pull, TimestampTz from, TimestampTz settled, TimestampTz to, TimestampTz fresh_since)
{
	Window	   *window = jdy_pull_window(pull, SEEN_IN_LOAD, from, settled);
	Window	   *tail = jdy_pull_window(pull, SEEN_IN_LOAD, Max(from, settled), to);

	window->prove = true;
	window->lane = tail->lane = LANE_BACKFILL;
	window->sighting.fresh_since = tail->sighting.fresh_since = fresh_since;
	window->sighting.due_since = tail->sighting.due_since = promised_until(pull);
	jdy_progress_phase(PHASE_LOADING);
	jdy_windows_read(pull, list_make2(window, tail));
}

/* false: it went on where an interrupted load had stopped, so what that set aside was not read again. */
static bool
load_everything(Pull *pull)
{
	Stream	   *stream = pull->stream;
	bool		resume = !stream->loaded && stream->load_state != NULL && stream->load_began != 0 &&
		pull->mode != MODE_FULL;
	Sighting	sighting = {SEEN_IN_LOAD};
	TimestampTz now = jdy_server_now(pull);

	if (!resume)
		begin_load(pull, load_may_begin(pull));

	/* A full load reads every detail again, a first one those that windows would. */
	sighting.fresh_since = stream->loaded ? now : stream->load_began + stream->settle_us;
	sighting.due_since = promised_until(pull);
	jdy_progress_phase(PHASE_LOADING);
	if (stream->start_from != 0 && pull->windowed && stream->loaded)
		load_range(pull, jdy_tick_floor(pull, stream->start_from), stream->load_began,
				   jdy_tick_floor(pull, now) + (pull->by_day ? USECS_PER_DAY : CLOCK_ERROR_US), sighting.fresh_since);
	else
	{
		read_whole(pull, &sighting, resume);
		settle_doubt(pull, sighting.fresh_since);
		end_load(pull, pull->doubt == NO_DOUBT);
	}
	return !resume;
}

/* Where rows are their own keys, those that the list does not show any more are looked for each time; what that proves needs no order. */
static void
read_whole(Pull *pull, const Sighting *sighting, bool resume)
{
	int64		news;

	if (!pull->stream->keyless || resume)
	{
		jdy_load_list(pull, sighting, resume);
		return;
	}
	jdy_sweep_begin(pull, "");
	jdy_load_list(pull, sighting, false);
	if (jdy_sweep_end(pull, &news))
		pull->doubt = NO_DOUBT;
	jdy_sweep_judge(pull);
}

/*
 * A report, by months.  Its rows have no details, and a certificate of a moment would say nothing of figures
 * that are worked out anew: what a month held is proven when it is read.  The first answer tells the service's
 * clock; before it ours says which month it is.
 */
static void
read_report(Pull *pull, TimestampTz from, TimestampTz to)
{
	bool		known;
	TimestampTz now = jdy_client_server_time(pull->client, &known);
	bool		resume = !pull->stream->loaded && pull->stream->load_state != NULL && pull->stream->load_began != 0;

	if (pull->mode == MODE_VERIFY || pull->mode == MODE_AUDIT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("report \"%s\" cannot be %s", pull->stream->api, pull->mode == MODE_AUDIT ? "audited" : "certified"),
				 errdetail("Its rows are figures of months, not records."),
				 errhint("SELECT * FROM jdy_sync('%s', 'full') reads all its months again; what one does not show any more is marked then.",
						 pull->stream->name)));
	if (!resume)
		begin_load(pull, now);
	jdy_ranges_read(pull, from, to, now);
	end_load(pull, false);
	read_rejected(pull, true);
	settle_absent(pull, false);
	finish_run(pull);
}

/*
 * What is stamped later is found by windows: so early enough, whatever the service's clock says, and
 * not behind what they listed already, because what they did not is promised only with its detail.
 */
static TimestampTz
load_may_begin(Pull *pull)
{
	TimestampTz now = jdy_server_now(pull);
	TimestampTz began = jdy_tick_floor(pull, now - pull->stream->settle_us - (pull->timeless ? OUR_CLOCK_ERROR_US : 0));

	return pull->windowed && pull->stream->loaded && pull->cursor != DT_NOBEGIN ? Min(began, pull->cursor) : began;
}

/*
 * Where the promise stops until a detail that is read again by a load has come; DT_NOEND = nowhere, because
 * windows have listed all changes up to the load.
 */
static TimestampTz
promised_until(Pull *pull)
{
	const Stream *stream = pull->stream;

	if (!pull->windowed || (stream->watermark != 0 && stream->watermark >= stream->load_began))
		return DT_NOEND;
	return stream->watermark != 0 ? stream->watermark : DT_NOBEGIN;
}

/* Where pages prove nothing, windows do: each is one answer. */
static void
settle_doubt(Pull *pull, TimestampTz fresh_since)
{
	static const struct
	{
		Doubt		doubt;
		const char *what;
		const char *detail;
		const char *advice;
	}			doubts[] = {
		{DOUBT_ORDER, "no stable order",
			"Two answers showed the same rows of the list in different order.",
		"Ask for a list with a stable order (order_by in the metadata)."},
		{DOUBT_SORT_KEY, "sort key not known",
			"What the list is sorted by is not known, so a row that moved cannot be told from one that stayed.",
		"Name the field that the list is sorted by as \"number\" in the metadata."},
		{DOUBT_END, "end of the list not trusted",
			"The service stopped giving rows although its count says that there are more.",
		"Ask the service's support how far a list can be read."},
		{DOUBT_ORDER_UNSEEN, "order not seen",
			"Too few rows of the list were seen twice to tell whether its order is stable.",
		"Load it again at a quieter time."}
	};

	jdy_pull_begin(pull);
	for (int i = 0; i < lengthof(doubts); i++)
	{
		if (doubts[i].doubt != pull->doubt)
			jdy_incident_close(pull->stream->name, doubts[i].what);
		else if (pull->windowed)
			jdy_incident_open(pull->stream->name, "info", doubts[i].what, doubts[i].detail,
							  psprintf("Nothing must be done: the list was read once more by windows of modify time; records without one may be missing. %s",
									   doubts[i].advice));
		else
			jdy_incident_open(pull->stream->name, "warning", doubts[i].what, doubts[i].detail,
							  psprintf("Records may be missing, and the list cannot be read by modify time. %s", doubts[i].advice));
	}
	jdy_pull_commit(pull);
	if (pull->doubt != NO_DOUBT && pull->windowed)
		load_range(pull, jdy_tick_floor(pull, JDY_FIRST_TICK), pull->stream->load_began, pull->stream->load_began, fresh_since);
}

/* Committed before the first page is asked: what changes from here on is found by windows. */
static void
begin_load(Pull *pull, TimestampTz began)
{
	static JdyStatement begin = {
		.sql = "UPDATE jdysync.stream s SET load_began = $2, load_state = NULL WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(pull->stream->stream_id), TimestampTzGetDatum(began)};

	jdy_pull_begin(pull);
	jdy_execute(&begin, values, NULL);
	jdy_pull_commit(pull);
	pull->stream->load_began = began;
}

/* prove: the whole list was read by pages that prove it (windows prove themselves). */
static void
end_load(Pull *pull, bool prove)
{
	static JdyStatement end = {
		.sql = "UPDATE jdysync.stream s SET loaded_at = COALESCE(s.loaded_at, clock_timestamp()), load_state = NULL,"
		" verify_at = COALESCE(s.verify_at, $3 + interval '1 hour'), audit_at = COALESCE(s.audit_at, $3 + interval '1 day'),"
		" listed_until = CASE WHEN $2 THEN s.listed_until ELSE s.load_began END WHERE s.stream_id = $1",
		.nargs = 3,
		.argtypes = {INT4OID, BOOLOID, TIMESTAMPTZOID}
	};
	Stream	   *stream = pull->stream;
	Datum		values[3];

	jdy_pull_begin(pull);
	if (prove && pull->windowed)
	{
		Proof		proof = {"load", (int) jdy_client_calls(pull->client), pull->counters->listed, -1};

		jdy_ledger_prove(pull, stream->start_from != 0 ? stream->start_from : DT_NOBEGIN, stream->load_began, &proof);
	}
	else if (stream->start_from == 0 && pull->windowed && pull->cursor < stream->load_began)
		jdy_ledger_skip(pull, stream->load_began);
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = BoolGetDatum(pull->windowed);
	values[2] = TimestampTzGetDatum(jdy_clock_now());
	jdy_execute(&end, values, stream->range_param != NULL ? "  n" : NULL);
	note_learned(pull);
	jdy_pull_commit(pull);
	stream->loaded = true;
}

/* What the load learned of the service goes on record like any other answer; in a transaction. */
static void
note_learned(Pull *pull)
{
	Stream	   *stream = pull->stream;
	int			asked = stream->plan->page_size;

	if (pull->cap < jdy_contract_cap(stream->contract, asked))
		jdy_contract_note(stream->contract, stream->stream_id, stream->name, Q_PAGE_SIZE, psprintf("%d", pull->cap),
						  psprintf("a load was given %d rows where %d were asked for", pull->cap, asked));
	if (pull->doubt == DOUBT_ORDER && !jdy_contract_says(stream->contract, Q_ORDER, A_UNSTABLE))
		jdy_contract_note(stream->contract, stream->stream_id, stream->name, Q_ORDER, A_UNSTABLE,
						  "a load saw the same rows in different order");
}

/* What was modified since the watermark; all of it, where windows say nothing of it any more. */
static void
list_changes(Pull *pull)
{
	if (jdy_recent_list(pull))
		return;
	(void) load_everything(pull);
	if (pull->windowed)
		(void) jdy_recent_list(pull);
}

/* While details take long, new changes are listed in between, once in a window of the budget: they go first. */
static bool
relist(Pull *pull, bool look)
{
	int64		every_us = Max((int64) pull->stream->endpoint->rate_window_ms * 1000, MIN_RELIST_US);

	if (!look)
		list_changes(pull);
	return pull->windowed && jdy_monotonic_us() - pull->listed_at_us >= every_us;
}

/* What a certificate did not find, and the brake does not hold. */
static void
settle_absent(Pull *pull, bool anew)
{
	if (!pull->absent)
		return;
	jdy_pull_begin(pull);
	jdy_absent_settle(pull, anew);
	jdy_pull_commit(pull);
}

static void
fetch_details(Pull *pull)
{
	if (pull->stream->details)
		jdy_details_fetch(pull, pull->windowed && !pull->by_day ? relist : NULL);
}

/* While a certificate or an audit takes long: what relist does, and the details that follow from it. */
static bool
keep_up(Pull *pull, bool look)
{
	if (look)
		return !pull->by_day && relist(pull, true);
	if (pull->windowed)
		list_changes(pull);
	fetch_details(pull);
	return false;
}

/*
 * jdy_resync: everything modified in a range, every detail again.  What the
 * ledger may hold enters it: not what lies behind its end, since the next run begins there.
 */
static void
read_range(Pull *pull, TimestampTz from, TimestampTz to, bool prove)
{
	TimestampTz settled = pull->cursor;
	TimestampTz begin = jdy_tick_floor(pull, Max(from, JDY_FIRST_TICK));
	TimestampTz end = jdy_tick_floor(pull, to + jdy_tick_us(pull) - 1);
	Window	   *proven = jdy_pull_window(pull, SEEN_IN_RANGE, begin, Min(end, settled));
	Window	   *tail = jdy_pull_window(pull, SEEN_IN_RANGE, Max(begin, Min(end, settled)), end);

	jdy_progress_phase(PHASE_LISTING);
	proven->prove = prove;
	jdy_windows_read(pull, list_make2(proven, tail));
}

/* The second schedule: such a range, as the metadata say it is now; with their other parameters for that range only. */
static void
read_remedy(Pull *pull)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.run r SET from_time = $2, to_time = $3 WHERE r.run_id = $1",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	TimestampTz now = jdy_server_now(pull);
	RequestPlan *plan = pull->stream->plan;
	const char *narrowing = pull->stream->narrowing;
	Remedy		remedy;
	Datum		values[3];

	jdy_pull_begin(pull);
	MemoryContextSwitchTo(pull->context);
	jdy_remedy_read(pull->stream, now, pull->cursor != DT_NOBEGIN ? pull->cursor : now, &remedy);
	values[0] = Int64GetDatum(pull->run_id);
	values[1] = TimestampTzGetDatum(remedy.from);
	values[2] = TimestampTzGetDatum(remedy.to);
	jdy_execute(&note, values, NULL);
	jdy_pull_commit(pull);

	if (remedy.from >= remedy.to)
		return;
	pull->stream->plan = remedy.plan;
	if (!remedy.proves)
		pull->stream->narrowing = "takeOverRequest";	/* what another list shows was not seen in this one */
	read_range(pull, remedy.from, remedy.to, remedy.proves);
	pull->stream->plan = plan;
	pull->stream->narrowing = narrowing;
}

/*
 * Windows, or the whole list, that held rows which were set aside: once more,
 * because they may have come right without being modified.  What comes wrong
 * again gets a later time to be tried, what does not is settled.
 */
static void
read_rejected(Pull *pull, bool loaded_all)
{
	static JdyStatement read = {
		.sql = "SELECT lower(s.span), upper(s.span) FROM (SELECT DISTINCT j.span FROM jdysync.reject j"
		" WHERE j.stream_id = $1 AND j.next_try <= $2) AS s",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	static JdyStatement settle = {
		.sql = "UPDATE jdysync.reject j SET next_try = NULL WHERE j.stream_id = $1 AND j.next_try <= $2",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(pull->stream->stream_id), TimestampTzGetDatum(jdy_runlog_began(pull->log))};
	Sighting	anything = {SEEN_IN_LOAD};
	List	   *windows = NIL;
	bool		whole_list = false;

	jdy_pull_begin(pull);
	jdy_execute(&read, values, NULL);
	MemoryContextSwitchTo(pull->context);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		bool		isnull;
		TimestampTz from = DatumGetTimestampTz(jdy_spi_datum(r, 1, &isnull));

		if (isnull || !pull->windowed)
			whole_list = true;
		else
		{
			TimestampTz to = DatumGetTimestampTz(jdy_spi_datum(r, 2, &isnull));
			Window	   *window = jdy_pull_window(pull, SEEN_SETTLED, from, Min(to, pull->cursor));

			/* What lies behind the ledger's end is listed by the windows to come. */

			window->prove = true;
			windows = lappend(windows, window);
		}
	}
	jdy_pull_commit(pull);
	if (windows == NIL && !whole_list)
		return;

	/* Only what has no detail yet is due; what was modified since then was listed by a window. */
	anything.fresh_since = PG_INT64_MIN;
	if (whole_list && !loaded_all)
		jdy_load_list(pull, &anything, false);
	jdy_windows_read(pull, windows);
	jdy_pull_begin(pull);
	jdy_execute(&settle, values, NULL);
	jdy_pull_commit(pull);
}

static void
finish_run(Pull *pull)
{
	Stream	   *stream = pull->stream;

	jdy_progress_phase(PHASE_FINISHING);
	jdy_pull_begin(pull);

	/* Shorter answers need not be looked behind any more. */
	if (pull->windowed && pull->given > jdy_contract_given(stream->contract))
		jdy_contract_note(stream->contract, stream->stream_id, stream->name, Q_PAGE_SIZE, psprintf(A_LEAST "%d", pull->given),
						  psprintf("an answer held %d rows", pull->given));
	if (stream->details && pull->cursor != DT_NOBEGIN)
		jdy_queue_prune(stream, jdy_recent_noted_since(pull));
	jdy_client_persist(pull->client);
	if (jdy_client_licence_ends(pull->client) != 0)
		jdy_watch_licence(stream->endpoint->server_name, stream->owner, jdy_client_licence_ends(pull->client));
	jdy_pull_commit(pull);
}

Window *
jdy_pull_window(Pull *pull, SightingKind kind, TimestampTz from, TimestampTz to)
{
	Window	   *window = palloc0(sizeof(Window));

	window->from = from;
	window->to = to;
	window->sighting.kind = kind;
	window->lane = LANE_TAIL;
	return window;
}
