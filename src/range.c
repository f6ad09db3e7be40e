/*-------------------------------------------------------------------------
 * range.c
 *		Reports: lists whose rows belong to a month.
 *
 * A report has no records: the service works its figures out when it is asked, for a span
 * of time.  Nothing tells which figures changed, and a document of last month that is entered
 * today changes those of last month.  So spans of a fixed length are asked, calendar months of the
 * server's time_zone, and each row belongs to its month: its id begins with that ("2026-03|…"), and
 * so it is not mistaken for the same account's row of another month.
 *
 * Every run asks again the current month and those that ended less than overlap before it
 * began, so by default the last one too; besides, months in which something is absent but not
 * proven to be gone, and those whose bad rows are to be tried again.  Older ones only mode full and
 * jdy_resync ask.  What a month does not show any more is for sweep.c.
 *
 * Called by pull.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "incident.h"
#include "progress.h"
#include "range.h"
#include "spi.h"
#include "sweep.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define MOST_SCANS 2			/* of a month in a run: where rows came, the second proves what the first cannot */
#define NOT_PROVEN "report not proven"

static List *choose_months(Pull *pull, TimestampTz from_time, TimestampTz to_time, TimestampTz now);
static List *open_months(Pull *pull, int current);
static List *asked_for_again(Pull *pull);
static void read_month(Pull *pull, int month);
static RequestPlan *plan_of(const Stream *stream, int month);
static void note_month(Pull *pull, int month);
static void note_proven(Pull *pull, int month, bool proven);
static void report_doubt(Pull *pull);
static int	month_of(const Stream *stream, TimestampTz at);
static TimestampTz month_start(const Stream *stream, int month);
static char *month_text(int month);
static bool parse_month(const char *text, int *month);

void
jdy_ranges_read(Pull *pull, TimestampTz from_time, TimestampTz to_time, TimestampTz now)
{
	bool		first_load = !pull->stream->loaded;
	List	   *months;
	ListCell   *cell;

	jdy_pull_begin(pull);
	MemoryContextSwitchTo(pull->context);
	months = choose_months(pull, from_time, to_time, now);
	jdy_pull_commit(pull);

	jdy_progress_phase(PHASE_LOADING);
	foreach(cell, months)
	{
		read_month(pull, lfirst_int(cell));
		if (first_load)
			note_month(pull, lfirst_int(cell));
	}
	report_doubt(pull);
	jdy_sweep_judge(pull);
}

TimestampTz
jdy_range_default_start(const Stream *stream, TimestampTz now)
{
	int			month = month_of(stream, now);

	return month_start(stream, month - month % MONTHS_PER_YEAR);
}

/* In the order in which they are read: the earliest first. */
static List *
choose_months(Pull *pull, TimestampTz from_time, TimestampTz to_time, TimestampTz now)
{
	const Stream *stream = pull->stream;
	int			current = month_of(stream, now);
	int			first = Min(month_of(stream, stream->start_from), current);
	int			last = current;
	char	   *done = stream->load_state != NULL ? jdy_jsonb_text(stream->load_state, "month") : NULL;
	List	   *months = NIL;

	if (!stream->loaded)
	{
		int			month;

		if (pull->mode != MODE_FULL && done != NULL && parse_month(done, &month))
			first = Max(first, month + 1);
	}
	else if (pull->mode == MODE_RANGE)
	{
		if (from_time > month_start(stream, first))
			first = Min(month_of(stream, from_time), current + 1);
		if (to_time <= month_start(stream, current))
			last = to_time <= month_start(stream, first) ? first - 1 : month_of(stream, to_time - 1);
	}
	else if (pull->mode != MODE_FULL)
	{
		months = list_concat_unique_int(open_months(pull, current), asked_for_again(pull));
		list_sort(months, list_int_cmp);
		return months;
	}
	for (int month = first; month <= last; month++)
		months = lappend_int(months, month);
	return months;
}

static List *
open_months(Pull *pull, int current)
{
	const Stream *stream = pull->stream;
	TimestampTz since = month_start(stream, current) - stream->overlap_us;
	int			month = current;
	List	   *months = list_make1_int(current);

	while (month_start(stream, month) > Max(since, stream->start_from))
		months = lappend_int(months, --month);
	return months;
}

/* Months with records that one more read may prove to be gone, or with rows that were set aside. */
static List *
asked_for_again(Pull *pull)
{
	static JdyStatement absent = {
		.sql = "SELECT DISTINCT left(a.id, 7) FROM jdysync.absent a WHERE a.stream_id = $1 AND NOT a.held AND NOT a.confirmed",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	static JdyStatement rejected = {
		.sql = "SELECT DISTINCT lower(j.span) FROM jdysync.reject j WHERE j.stream_id = $1 AND j.next_try <= $2",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(pull->stream->stream_id), TimestampTzGetDatum(jdy_runlog_began(pull->log))};
	List	   *months = NIL;

	if (pull->absent)
	{
		jdy_execute(&absent, values, NULL);
		for (uint64 r = 0; r < SPI_processed; r++)
		{
			int			month;

			if (parse_month(jdy_spi_text(r, 1), &month))
				months = list_append_unique_int(months, month);
		}
	}
	jdy_execute(&rejected, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		bool		isnull;
		TimestampTz at = DatumGetTimestampTz(jdy_spi_datum(r, 1, &isnull));

		if (!isnull)
			months = list_append_unique_int(months, month_of(pull->stream, at));
	}
	return months;
}

static void
read_month(Pull *pull, int month)
{
	Stream	   *stream = pull->stream;
	RequestPlan *plan = stream->plan;
	Sighting	sighting = {SEEN_IN_LOAD, .from = month_start(stream, month), .to = month_start(stream, month + 1)};
	bool		proven = false;

	stream->plan = plan_of(stream, month);
	stream->shape.prefix = month_text(month);
	for (int scan = 0; scan < MOST_SCANS && !proven; scan++)
	{
		int64		news;

		jdy_sweep_begin(pull, psprintf("%s|", stream->shape.prefix));
		jdy_load_list(pull, &sighting, false);
		proven = jdy_sweep_end(pull, &news);
		if (news == 0)
			break;
	}
	stream->plan = plan;
	stream->shape.prefix = NULL;
	note_proven(pull, month, proven);
}

/* What else the list is asked with, and the month. */
static RequestPlan *
plan_of(const Stream *stream, int month)
{
	RequestPlan *plan = palloc(sizeof(RequestPlan));
	TimestampTz last_day = month_start(stream, month + 1) - USECS_PER_DAY / 2;
	List	   *names = lcons(stream->range_param, list_copy(stream->range_end_params));
	ListCell   *cell;

	*plan = *stream->plan;
	plan->fixed = list_copy(plan->fixed);
	foreach(cell, names)
	{
		CallParam  *param = palloc(sizeof(CallParam));

		param->name = lfirst(cell);
		param->value = jdy_window_value(stream->range_format, foreach_current_index(cell) == 0 ? month_start(stream, month) : last_day,
										stream->endpoint->time_zone);
		plan->fixed = lappend(plan->fixed, param);
	}
	return plan;
}

/* A first load that stops goes on with the next month. */
static void
note_month(Pull *pull, int month)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.stream s SET load_state = jsonb_build_object('month', $2::text) WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID}
	};
	Datum		values[2];

	jdy_pull_begin(pull);
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = CStringGetTextDatum(month_text(month));
	jdy_execute(&note, values, NULL);
	jdy_pull_commit(pull);
}

/* The months of which it is not known whether all of them came. */
static void
note_proven(Pull *pull, int month, bool proven)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.stream s SET unproven = NULLIF($2, '') WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID}
	};
	char	   *unproven = pull->stream->unproven;
	char	   *name = month_text(month);
	StringInfoData others;
	bool		stood = false;
	Datum		values[2];

	initStringInfo(&others);
	for (char *at = unproven; at != NULL && *at != '\0'; at += strspn(at, " "))
	{
		size_t		length = strcspn(at, " ");

		if (length == strlen(name) && strncmp(at, name, length) == 0)
			stood = true;
		else
			appendStringInfo(&others, "%s%.*s", others.len > 0 ? " " : "", (int) length, at);
		at += length;
	}
	if (stood != proven)
		return;
	if (!proven)
		appendStringInfo(&others, "%s%s", others.len > 0 ? " " : "", name);
	jdy_pull_begin(pull);
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = CStringGetTextDatum(others.data);
	jdy_execute(&note, values, NULL);
	pull->stream->unproven = others.len > 0 ? MemoryContextStrdup(pull->context, others.data) : NULL;
	jdy_pull_commit(pull);
}

static void
report_doubt(Pull *pull)
{
	const Stream *stream = pull->stream;
	char	   *unproven = stream->unproven;

	jdy_pull_begin(pull);
	if (unproven == NULL)
		jdy_incident_close(stream->name, NOT_PROVEN);
	else
		jdy_incident_open(stream->name, "warning", NOT_PROVEN,
						  psprintf("What came for %s does not show that it is all there is: rows changed meanwhile, were set aside or are equal, or the service counts others.",
								   unproven),
						  psprintf("Nothing was taken for gone there, and rows may be missing. Ask for these months again at a quieter time: SELECT * FROM jdy_resync('%s', '<first day>', '<day after the last>').",
								   stream->name));
	jdy_pull_commit(pull);
}

/* Months are counted: 0 = January of the year 0. */
static int
month_of(const Stream *stream, TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;

	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, &zone, &tm, &fsec, NULL, stream->endpoint->time_zone) != 0 || tm.tm_year < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1;
}

static TimestampTz
month_start(const Stream *stream, int month)
{
	TimestampTz at;

	if (!jdy_datetime_parse(psprintf("%s-01 00:00:00", month_text(month)), stream->endpoint->time_zone, &at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return at;
}

static char *
month_text(int month)
{
	return psprintf("%04d-%02d", month / MONTHS_PER_YEAR, month % MONTHS_PER_YEAR + 1);
}

static bool
parse_month(const char *text, int *month)
{
	int			year;
	int			number;

	if (strlen(text) != 7 || sscanf(text, "%4d-%2d", &year, &number) != 2 || year < 1 || number < 1 || number > MONTHS_PER_YEAR)
		return false;
	*month = year * MONTHS_PER_YEAR + number - 1;
	return true;
}
