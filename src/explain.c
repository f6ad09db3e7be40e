/*-------------------------------------------------------------------------
 * explain.c
 *		jdy_explain: what a stream or push will ask, how long it takes, what proves it.
 *
 * As EXPLAIN does it says what would be done, before anything is: which calls, how
 * many, how many minutes they take under the server's budget, by which rule a run is
 * known to be complete, and what waits already.  Of a catalogue entry that is no stream
 * yet it says the same, with the defaults of a server.
 *
 * It makes no call and writes nothing.  Numbers are what a run of that size takes with a
 * service that behaves; they are said to be about right, and are.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "client.h"
#include "clock.h"
#include "fmgr.h"
#include "funcapi.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "name.h"
#include "push.h"
#include "schedule.h"
#include "spi.h"
#include "stream.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define CALLS_BEFORE 7			/* sign in, learn the clock, try the filter, find the pages' order, list what changed meanwhile */
#define CALLS_CONTRACT 14		/* of the first run, beyond the filter: probe.c */
#define ROWS_A_PAGE 0.88		/* of its size: pages overlap, so that each shows where the last one ended */
#define ROWS_A_WINDOW 0.40		/* windows are split until each is one answer */
#define EXAMPLE_ROWS 10000
#define YEAR_DAYS 365
#define CRON_TIMES 3000			/* looked at to see how often they come */
#define DEFAULT_CALLS 500		/* a minute: of servers that name none */
#define DEFAULT_SHARE 80
#define DEFAULT_SETTLE_US (5 * USECS_PER_MINUTE)
#define DEFAULT_OVERLAP_US (10 * USECS_PER_MINUTE)

static JdyStatement find_kind = {
	.sql = "SELECT EXISTS (SELECT FROM jdysync.subject j WHERE j.name = $1), EXISTS (SELECT FROM jdysync.catalog c WHERE c.entry = $1)",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

static JdyStatement all_entries = {
	.sql = "SELECT c.entry FROM jdysync.catalog c",
	.nargs = 0
};

/* What is known of a stream besides its definition. */
static JdyStatement stream_state = {
	.sql = "SELECT s.schedule, s.enabled, to_char(s.loaded_at, 'YYYY-MM-DD HH24:MI'), s.given_up_until::text,"
	" COALESCE((SELECT w.\"rows\" FROM jdysync.\"window\" w WHERE w.stream_id = s.stream_id AND w.rule = 'load'"
	"  ORDER BY w.proven_at DESC LIMIT 1), NULLIF(k.reltuples, -1)::bigint, 0),"
	" (SELECT count(*) FROM jdysync.listing l WHERE l.stream_id = s.stream_id AND l.due AND l.problem IS NULL),"
	" (SELECT count(*) FROM jdysync.listing l WHERE l.stream_id = s.stream_id AND l.due AND l.problem IS NOT NULL)"
	"  + (SELECT count(*) FROM jdysync.reject j WHERE j.stream_id = s.stream_id AND j.next_try IS NOT NULL),"
	" CASE WHEN s.coverage = '{}' OR s.start_from > upper(s.coverage) THEN 0"
	"  ELSE (SELECT count(*) FROM unnest(tstzmultirange(tstzrange(s.start_from, upper(s.coverage))) - s.coverage)) END"
	" FROM jdysync.stream s LEFT JOIN pg_catalog.pg_class k ON k.oid = s.staging WHERE s.stream_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement push_state = {
	.sql = "SELECT p.schedule, p.enabled, r.listed, r.pending,"
	" (SELECT count(*) FROM (SELECT FROM jdysync.delivery d WHERE d.push_id = p.push_id AND d.status <> 'delivered' AND d.discarded IS NULL"
	"  LIMIT 1001) AS k), (SELECT count(*) FROM jdysync.batch b WHERE b.push_id = p.push_id)"
	" FROM jdysync.push p LEFT JOIN LATERAL (SELECT * FROM jdysync.run o WHERE o.stream_id = p.push_id AND o.status = 'ok'"
	"  ORDER BY o.run_id DESC LIMIT 1) AS r ON true WHERE p.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

/* Where the lines go, and what they are about. */
typedef struct Outline
{
	ReturnSetInfo *rsinfo;
	bool		of_entry;		/* no stream yet */
	const Stream *stream;
	const Endpoint *endpoint;
	int64		rows;			/* of the list; 0 = not known */
	const char *schedule;		/* NULL = none */
	const char *filter;			/* what the contract says; NULL = not tried yet */
	bool		windowed;		/* as far as known */
} Outline;

PG_FUNCTION_INFO_V1(jdy_explain);

static void explain_entry(Outline *outline, char *entry);
static void explain_stream(Outline *outline, int stream_id);
static void explain_push(Outline *outline, int push_id);
static void say_list(const Outline *outline, const char *loaded_at);
static void say_every_run(const Outline *outline);
static void say_window(const Outline *outline);
static void say_proof(const Outline *outline);
static void say_contract(const Outline *outline);
static void say_how_to_add(const Outline *outline, const char *entry);
static void say_schedule(const Outline *outline, double calls, const char *what);
static double list_calls(const Outline *outline, double rows);
static char *duration_of(const Endpoint *endpoint, double calls, int share);
static double runs_a_day(const char *schedule, pg_tz *zone);
static const char *format_name(const Outline *outline, WindowFormat format);
static char *interval_text(int64 us);
static char *number(double n);
static void line(const Outline *outline, const char *format,...) pg_attribute_printf(2, 3);
static const char *closest_entry(const char *name);

Datum
jdy_explain(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Outline		outline = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	Datum		values[1] = {PG_GETARG_DATUM(0)};
	bool		isnull;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	jdy_execute(&find_kind, values, NULL);
	if (DatumGetBool(jdy_spi_datum(0, 1, &isnull)))
	{
		StreamRef  *ref = jdy_stream_ref(name);

		if (ref->is_push)
			explain_push(&outline, ref->stream_id);
		else
			explain_stream(&outline, ref->stream_id);
	}
	else if (DatumGetBool(jdy_spi_datum(0, 2, &isnull)))
		explain_entry(&outline, name);
	else
	{
		const char *closest = closest_entry(name);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no stream, push or catalogue entry is called \"%s\"", name),
				 closest != NULL ? errhint("Perhaps you meant \"%s\".", closest) :
				 errhint("SELECT entry, title FROM jdy_catalog lists what can be added by name.")));
	}
	SPI_finish();
	return (Datum) 0;
}

/* As it would be for a server and a stream that leave everything at its default. */
static void
explain_entry(Outline *outline, char *entry)
{
	Endpoint   *endpoint = palloc0(sizeof(Endpoint));
	Stream	   *stream = palloc0(sizeof(Stream));

	endpoint->auth = AUTH_KINGDEE;
	endpoint->calls_per_minute = DEFAULT_CALLS;
	endpoint->backfill_share = DEFAULT_SHARE;
	endpoint->time_zone_name = JDY_TIME_ZONE;
	endpoint->time_zone = pg_tzset(JDY_TIME_ZONE);
	stream->endpoint = endpoint;
	stream->name = entry;
	stream->owner = GetUserId();
	stream->settle_us = DEFAULT_SETTLE_US;
	stream->overlap_us = DEFAULT_OVERLAP_US;
	jdy_stream_resolve(stream, entry, NULL, false, false);
	outline->of_entry = true;
	outline->stream = stream;
	outline->endpoint = endpoint;
	outline->windowed = stream->plan->start_param != NULL && stream->plan->end_param != NULL;

	line(outline, "Catalogue entry \"%s\", no stream yet: %s %s", entry, stream->method, stream->api);
	say_list(outline, NULL);
	say_every_run(outline);
	say_window(outline);
	say_proof(outline);
	say_how_to_add(outline, entry);
}

static void
explain_stream(Outline *outline, int stream_id)
{
	Stream	   *stream = jdy_stream_load(stream_id);
	Datum		values[1] = {Int32GetDatum(stream_id)};
	bool		isnull;
	bool		enabled;
	char	   *loaded_at;
	char	   *given_up;
	int64		due;
	int64		set_aside;
	int64		gaps;

	jdy_execute(&stream_state, values, NULL);
	outline->stream = stream;
	outline->endpoint = stream->endpoint;
	outline->schedule = jdy_spi_text(0, 1);
	enabled = DatumGetBool(jdy_spi_datum(0, 2, &isnull));
	loaded_at = jdy_spi_text(0, 3);
	given_up = jdy_spi_text(0, 4);
	outline->rows = jdy_spi_int64(0, 5, 0);
	due = jdy_spi_int64(0, 6, 0);
	set_aside = jdy_spi_int64(0, 7, 0);
	gaps = jdy_spi_int64(0, 8, 0);
	outline->filter = stream->contract->of[Q_FILTER].answer;
	outline->windowed = stream->plan->start_param != NULL && stream->plan->end_param != NULL &&
		(outline->filter == NULL || strcmp(outline->filter, "honoured") == 0);

	line(outline, "Stream \"%s\" from server \"%s\": %s %s%s", stream->name, stream->endpoint->server_name, stream->method, stream->api,
		 enabled ? "" : " (paused)");
	say_list(outline, loaded_at);
	say_every_run(outline);
	say_window(outline);
	say_proof(outline);
	if (stream->range_param != NULL)
		line(outline, "  Contract: nothing to find out, a report is asked for its months");
	else
		say_contract(outline);
	line(outline, "  Pending: details %s%s, set aside %s, gaps in the ledger %s", number(due),
		 due > 0 ? psprintf(" (%s)", duration_of(outline->endpoint, due, loaded_at != NULL ? 100 : outline->endpoint->backfill_share)) : "",
		 number(set_aside), number(gaps));
	if (given_up != NULL)
		line(outline, "  Given up: what was modified before %s and is a gap is read by jdy_resync only", given_up);
}

static void
explain_push(Outline *outline, int push_id)
{
	Push	   *push = jdy_push_load(push_id);
	Datum		values[1] = {Int32GetDatum(push_id)};
	int			records = push->batched ? push->batch_rows : 1;
	bool		isnull;
	bool		enabled;
	bool		ran;
	int64		dead;
	int64		open;
	int64		listed;
	int64		pending;

	jdy_execute(&push_state, values, NULL);
	outline->endpoint = push->endpoint;
	outline->schedule = jdy_spi_text(0, 1);
	enabled = DatumGetBool(jdy_spi_datum(0, 2, &isnull));
	(void) jdy_spi_datum(0, 3, &isnull);
	ran = !isnull;
	listed = jdy_spi_int64(0, 3, 0);
	pending = jdy_spi_int64(0, 4, 0);
	dead = jdy_spi_int64(0, 5, 0);
	open = jdy_spi_int64(0, 6, 0);

	line(outline, "Push \"%s\" to server \"%s\": %s %s%s", push->name, push->endpoint->server_name, push->meta->method,
		 jdy_call_url(push->endpoint, push->meta->api), enabled ? "" : " (paused)");
	line(outline, "  Source: %s, key %s; of a record is sent: %s", push->source_name, push->id_column,
		 push->fields != NIL ? "what request makes of it" : strcmp(push->payload, "v.payload") == 0 ? "its column payload" : "its whole row");
	if (push->batched)
		line(outline, "  Requests: up to %s records and %s bytes each, up to %d at the same time", number(records), number(push->batch_bytes),
			 push->endpoint->concurrency);
	else
		line(outline, "  Requests: one record each, up to %d at the same time", push->endpoint->concurrency);
	if (push->lookup_api != NULL)
		line(outline, "  Look-ups: a record that has no id there yet is looked for first, one more call: GET %s", push->lookup_api);
	line(outline, "  Each %s records: %s calls, %s", number(EXAMPLE_ROWS), number(ceil(EXAMPLE_ROWS / (double) records)),
		 duration_of(push->endpoint, ceil(EXAMPLE_ROWS / (double) records), 100));
	say_schedule(outline, 0, "");
	line(outline, "  Proof: a request is on record before it is sent, and keeps its key until it is answered");
	line(outline, "  No answer: %s", push->endpoint->auth == AUTH_QEASY ? "what the target has is read back, then the same bytes are sent again" :
		 "the same bytes are sent again");
	line(outline, "  Gone from the source: %s", push->meta->delete_rule != NULL ? "deleted at the target, too" : "left at the target");
	if (ran)
		line(outline, "  Last run: looked at %s records, of which %s were to be sent", number(listed), number(pending));
	else
		line(outline, "  Last run: none; the first one sends every record of the source");
	line(outline, "  Pending: %s%s dead letters or replays, %s requests without an answer", number(Min(dead, 1000)), dead > 1000 ? "+" : "",
		 number(open));
	line(outline, "  What a run would send: SELECT * FROM jdy_preview(%s);", quote_literal_cstr(push->name));
}

/* Rows, and what it costs to read all of them. */
static void
say_list(const Outline *outline, const char *loaded_at)
{
	const Stream *stream = outline->stream;
	int			share = outline->endpoint->backfill_share;
	double		rows = outline->rows > 0 ? outline->rows : EXAMPLE_ROWS;
	double		list = list_calls(outline, rows) + (loaded_at == NULL ? CALLS_CONTRACT : 0);
	double		details = stream->details ? rows : 0;
	const char *cost;

	if (outline->rows > 0)
		line(outline, "  Rows: about %s, by pages of up to %d", number(outline->rows), stream->plan->page_size);
	else
		line(outline, "  Rows: not known before the first run; a page holds up to %d", stream->plan->page_size);
	if (stream->range_param != NULL)
	{
		line(outline, "  First load: %s1 call for each month%s, more where a month has more rows: these are read twice",
			 loaded_at != NULL ? psprintf("done %s; mode full: ", loaded_at) : "",
			 stream->start_from != 0 ? psprintf(" since %s", jdy_window_value(WINDOW_DATE, stream->start_from, outline->endpoint->time_zone)) : " since start_from");
		return;
	}
	if (stream->details)
		line(outline, "  Details: one call each, GET %s?%s=…", stream->detail_api, stream->detail_param);
	cost = psprintf("about %s list calls%s%s", number(list),
					stream->details ? psprintf(" and %s detail calls", number(details)) : "",
					outline->rows > 0 ? "" : psprintf(" for each %s rows", number(EXAMPLE_ROWS)));
	if (loaded_at != NULL)
		line(outline, "  First load: done %s; mode full: %s", loaded_at, cost);
	else if (stream->load_began != 0)
		line(outline, "  First load: begun; in all %s", cost);
	else
		line(outline, "  First load: %s", cost);
	line(outline, "    Time: %s", duration_of(outline->endpoint, list + details, share));
}

static void
say_every_run(const Outline *outline)
{
	const Stream *stream = outline->stream;
	double		rows = outline->rows > 0 ? outline->rows : EXAMPLE_ROWS;
	double		all = list_calls(outline, rows) + (stream->details ? rows : 0);

	if (stream->range_param != NULL)
	{
		line(outline, "  Every run: this month and those that ended within overlap before it, 1 call for each %d rows of each", stream->plan->page_size);
		say_schedule(outline, 2, " while a month's rows fit into one answer");
		return;
	}
	if (!outline->windowed)
	{
		line(outline, "  Every run: the whole list%s again: about %s calls%s", stream->details ? " and every detail" : "", number(all),
			 outline->rows > 0 ? "" : psprintf(" for each %s rows", number(EXAMPLE_ROWS)));
		say_schedule(outline, all, "");
		return;
	}
	line(outline, "  Every run: 1 list call when nothing changed, else up to 5 for each %d changed rows", stream->plan->page_size);
	if (stream->details)
		line(outline, "    Details: 1 or 2 calls for each changed row");
	say_schedule(outline, 1, " when nothing changes");
}

static void
say_window(const Outline *outline)
{
	const RequestPlan *request = outline->stream->plan;
	const List *ends = outline->stream->range_end_params;

	if (outline->stream->range_param != NULL)
		line(outline, "  Window: a month each by %s%s%s, in %s", outline->stream->range_param, ends != NIL ? " and " : "",
			 ends != NIL ? (char *) linitial(ends) : "", format_name(outline, outline->stream->range_format));
	else if (request->start_param == NULL && request->end_param == NULL)
		line(outline, "  Window: none, the list has no time filter");
	else if (request->start_param == NULL || request->end_param == NULL)
		line(outline, "  Window: none, the list can be asked with one bound only (%s)",
			 request->start_param != NULL ? request->start_param : request->end_param);
	else
	{
		line(outline, "  Window: %s and %s, in %s%s", request->start_param, request->end_param, format_name(outline, request->start_format),
			 request->no_edge != NULL ? psprintf("; %s leaves a side open", request->no_edge) : "");
		line(outline, "    It settles after %s, and the next one overlaps it by %s", interval_text(outline->stream->settle_us),
			 interval_text(outline->stream->overlap_us));
	}
}

static void
say_proof(const Outline *outline)
{
	const Stream *stream = outline->stream;
	bool		by_time = outline->windowed && stream->start_from != 0;

	if (stream->range_param != NULL)
	{
		line(outline, "  Proof of a month: one answer that holds all the service counts, else a scan that shows again what was known and all that is counted");
		line(outline, "  Proof of every run: that of its months; no certificate, complete_until stays empty");
		return;
	}
	if (by_time)
		line(outline, "  Proof of the first load: windows of modify time, each one answer, from %s on",
			 timestamptz_to_str(stream->start_from));
	else if (stream->order_holds)
		line(outline, "  Proof of the first load: anchored pages by %s, each shows the last row of the one before",
			 stream->shape.number_field);
	else if (outline->windowed)
		line(outline, "  Proof of the first load: windows of modify time; pages prove nothing where the order is not known");
	else
		line(outline, "  Proof of the first load: none; its order is not known, and there is no time filter");
	if (outline->windowed)
		line(outline, "  Proof of every run: windows of modify time, each one answer that holds all the service counts");
	else if (outline->filter != NULL)
		line(outline, "  Proof of every run: none, the filter is of no use; complete_until is what certificates prove");
	else
		line(outline, "  Proof of every run: none, there is no time filter; complete_until is what certificates prove");
	if (stream->narrowing != NULL)
		line(outline, "  Narrowed by %s: what is proven is what that leaves, and it cannot be certified", stream->narrowing);
}

/* How the service answers, as it was asked last. */
static void
say_contract(const Outline *outline)
{
	const Contract *contract = outline->stream->contract;
	StringInfoData known;
	StringInfoData unknown;

	initStringInfo(&known);
	initStringInfo(&unknown);
	for (int q = 0; q < QUESTIONS; q++)
	{
		const char *answer = contract->of[q].answer;
		StringInfo	text = answer != NULL && strcmp(answer, A_UNKNOWN) != 0 ? &known : &unknown;

		if (answer != NULL)
			appendStringInfo(text, "%s%s%s%s", text->len > 0 ? ", " : "", jdy_contract_question(q), text == &known ? " " : "",
							 text == &known ? answer : "");
	}
	if (known.len == 0 && unknown.len == 0)
		line(outline, "  Contract: not known yet; the first run asks the service about itself, about 15 calls, and so does one a week");
	else
		line(outline, "  Contract: %s%s", known.len > 0 ? known.data : "nothing is known", known.len > 0 ? " (asked once a week)" : "");
	if (unknown.len > 0)
		line(outline, "    Not known: %s; see jdy_contract", unknown.data);
}

static void
say_how_to_add(const Outline *outline, const char *entry)
{
	StringInfoData names;
	ListCell   *cell;

	if (outline->stream->lacking == NIL)
	{
		line(outline, "  To add it: SELECT jdy_add_stream(%s, '<server>', schedule => '5 min');", quote_literal_cstr(entry));
		return;
	}
	initStringInfo(&names);
	foreach(cell, outline->stream->lacking)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", (char *) lfirst(cell));
	line(outline, "  To add it: SELECT jdy_add_stream(%s, '<server>', metadata => '…'), with values for %s in its request", quote_literal_cstr(entry),
		 names.data);
}

/* What a day costs.  calls: of a run; 0 = not known.  what: when it is so many. */
static void
say_schedule(const Outline *outline, double calls, const char *what)
{
	double		budget = (double) outline->endpoint->calls_per_minute * MINS_PER_HOUR * HOURS_PER_DAY;
	double		runs;
	double		used;

	if (outline->of_entry)
		return;
	if (outline->schedule == NULL)
	{
		line(outline, "  Schedule: none, it runs only by hand");
		return;
	}
	runs = runs_a_day(outline->schedule, outline->endpoint->time_zone);
	used = budget > 0 ? 100 * runs * calls / budget : 0;
	line(outline, "  Schedule: %s, about %s runs a %s%s%s", outline->schedule, number(rint(runs >= 1 ? runs : runs * YEAR_DAYS)),
		 runs >= 1 ? "day" : "year",
		 used <= 0 ? "" : used < 0.01 ? ", less than 0.01 % of the budget" : psprintf(", %.*f %% of the budget", used < 1 ? 2 : 0, used), what);
}

/* Of a whole list, with all that comes before. */
static double
list_calls(const Outline *outline, double rows)
{
	double		share = outline->windowed && outline->stream->start_from != 0 ? ROWS_A_WINDOW : ROWS_A_PAGE;

	return ceil(rows / (outline->stream->plan->page_size * share)) + CALLS_BEFORE;
}

static char *
duration_of(const Endpoint *endpoint, double calls, int share)
{
	double		a_minute = endpoint->calls_per_minute * share / 100.0;
	double		minutes;

	if (endpoint->calls_per_minute == 0)
		return pstrdup("as fast as the service answers (calls_per_minute is 0)");
	minutes = ceil(calls / a_minute);
	return psprintf("about %s at %s calls a minute%s",
					minutes < 120 ? psprintf("%.0f min", minutes) : psprintf("%.1f h", minutes / MINS_PER_HOUR),
					number(a_minute), share < 100 ? psprintf(" (%d %% of the budget)", share) : "");
}

/* Cron has its times of day and days of week: so many of them tell. */
static double
runs_a_day(const char *schedule, pg_tz *zone)
{
	TimestampTz begin = jdy_clock_now();
	TimestampTz at = begin;
	int			n = 0;

	do
	{
		at = jdy_schedule_next(schedule, at, at, zone);
		n++;
	} while (jdy_schedule_is_cron(schedule) && n < CRON_TIMES && at < begin + YEAR_DAYS * USECS_PER_DAY);
	return n / ((at - begin) / (double) USECS_PER_DAY);
}

static const char *
format_name(const Outline *outline, WindowFormat format)
{
	switch (format)
	{
		case WINDOW_MS:
			return "milliseconds since 1970";
		case WINDOW_SECONDS:
			return "seconds since 1970";
		case WINDOW_DATETIME:
			return psprintf("times of %s (2026-01-31 23:59:59)", outline->endpoint->time_zone_name);
		case WINDOW_DATE:
			return psprintf("days of %s (2026-01-31)", outline->endpoint->time_zone_name);
		case WINDOW_PERIOD:
			return pstrdup("accounting periods (202601)");
		case WINDOW_NONE:
			break;
	}
	return "in no known format";
}

static char *
interval_text(int64 us)
{
	if (us % USECS_PER_MINUTE == 0)
		return psprintf("%lld min", (long long) (us / USECS_PER_MINUTE));
	return psprintf("%g s", us / (double) USECS_PER_SEC);
}

/* 12,300 */
static char *
number(double n)
{
	char	   *digits = psprintf("%.0f", n);
	int			length = strlen(digits);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoChar(&text, digits[i]);
	}
	return text.data;
}

static void
line(const Outline *outline, const char *format,...)
{
	StringInfoData text;
	Datum		values[1];
	bool		nulls[1] = {false};

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	values[0] = CStringGetTextDatum(text.data);
	tuplestore_putvalues(outline->rsinfo->setResult, outline->rsinfo->setDesc, values, nulls);
}

static const char *
closest_entry(const char *name)
{
	Closest		closest = {.word = name};
	ListCell   *cell;

	foreach(cell, list_concat(jdy_stream_refs_enabled(false), jdy_stream_refs_enabled(true)))
		jdy_closest(&closest, ((StreamRef *) lfirst(cell))->name);
	jdy_execute(&all_entries, NULL, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		jdy_closest(&closest, jdy_spi_text(r, 1));
	return closest.best;
}
