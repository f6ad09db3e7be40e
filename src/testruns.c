/*-------------------------------------------------------------------------
 * testruns.c
 *		Doors to internals for the regression tests: streams, runs, schedules, logs, reports.
 *
 * The install script declares none of these: a test that needs one creates it
 * (CREATE FUNCTION … AS '$libdir/jdysync', 'jdy_test_…'), which only a superuser can.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "clock.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "jdysync.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "phrasebook.h"
#include "progress.h"
#include "runlog.h"
#include "schedule.h"
#include "spi.h"
#include "stream.h"
#include "streamlock.h"
#include "trim.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jdy_test_stream);
PG_FUNCTION_INFO_V1(jdy_test_as_owner);
PG_FUNCTION_INFO_V1(jdy_test_stream_lock);
PG_FUNCTION_INFO_V1(jdy_test_run_log);
PG_FUNCTION_INFO_V1(jdy_test_progress_line);
PG_FUNCTION_INFO_V1(jdy_test_schedule_next);
PG_FUNCTION_INFO_V1(jdy_test_clock);
PG_FUNCTION_INFO_V1(jdy_test_trim);
PG_FUNCTION_INFO_V1(jdy_test_chinese);

/* (name text [, note boolean]) returns what a run would know of a stream; note: as a run begins by doing */
Datum
jdy_test_stream(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Stream	   *stream;
	StringInfoData out;
	ListCell   *cell;

	SPI_connect();
	stream = jdy_stream_load(jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)))->stream_id);
	if (PG_NARGS() > 1 && PG_GETARG_BOOL(1))
		jdy_stream_note_source(stream);
	MemoryContextSwitchTo(caller);
	initStringInfo(&out);
	appendStringInfo(&out, "%s on %s, id", stream->api, stream->endpoint->server_name);
	foreach(cell, stream->shape.id_fields)
		appendStringInfo(&out, " %s", (char *) lfirst(cell));
	appendStringInfo(&out, ", number %s", stream->shape.number_field ? stream->shape.number_field : "unknown");
	appendStringInfoString(&out, stream->order_holds ? ", order holds" : "");
	appendStringInfoString(&out, stream->details ? ", details" : ", no details");
	appendStringInfoString(&out, stream->source_changed ? ", source changed" : "");
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}

/* (fail boolean) returns who a statement of ours runs as, and with which operators */
Datum
jdy_test_as_owner(PG_FUNCTION_ARGS)
{
	static JdyStatement statement = {
		.sql = "SELECT current_user::text, 'a'::text || 'b'::text, 1 / $1, (SELECT count(*) FROM jdysync.run WHERE false)",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[1] = {Int32GetDatum(PG_GETARG_BOOL(0) ? 0 : 1)};
	char	   *line;

	SPI_connect();
	jdy_execute(&statement, values, NULL);
	MemoryContextSwitchTo(caller);
	line = psprintf("%s: %s", jdy_spi_text(0, 1), jdy_spi_text(0, 2));
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(line));
}

/* (stream_id int, lock boolean) returns boolean */
Datum
jdy_test_stream_lock(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_BOOL(1))
		PG_RETURN_BOOL(jdy_stream_lock(PG_GETARG_INT32(0), false));
	jdy_stream_unlock();
	PG_RETURN_BOOL(true);
}

/* (stream_id int, calls int, error bytea, log_calls int) returns bigint: a failed run of so many calls, every third bad, and a reject twice */
Datum
jdy_test_run_log(PG_FUNCTION_ARGS)
{
	int			stream_id = PG_GETARG_INT32(0);
	char	   *words = text_to_cstring((text *) PG_GETARG_BYTEA_PP(2));
	RunCounters counters = {.calls = PG_GETARG_INT32(1)};
	RunError	error;
	RunLog	   *log;
	int64		run_id;
	int			log_calls = jdy_log_calls;

	jdy_log_calls = PG_GETARG_INT32(3);
	SPI_connect();
	run_id = jdy_run_begin(0, stream_id, "logged", MODE_AUTO, 0, 0);
	log = jdy_runlog_open(run_id, stream_id, CurrentMemoryContext);
	for (int i = 0; i < counters.calls; i++)
	{
		Attempt		attempt = {
			.at = GetCurrentTimestamp(), .method = "GET", .url = "http://host/path?page=1", .attempt = 1,
			.http_status = i % 3 == 1 ? 0 : 200, .elapsed_ms = i, .bytes = 10,
			.error = i % 3 == 1 ? words : NULL
		};

		jdy_runlog_attempt(log, &attempt);
	}
	jdy_runlog_reject(log, NULL, "\0\377", 2, "not text", 0, 0);
	jdy_runlog_reject(log, words, "\0\377", 2, "not text", 0, 0);
	jdy_runlog_reject(log, words, "\0\377\0", 3, "not text", 0, 0);
	jdy_run_error(&error, ERRCODE_CONNECTION_FAILURE, words, NULL, words);
	jdy_run_end(run_id, "failed", &counters, &error);
	SPI_finish();
	jdy_log_calls = log_calls;
	PG_RETURN_INT64(run_id);
}

/*
 * (name text, phase text, listed, total, details, due, calls bigint, seconds, calls_per_minute int, with_details boolean,
 * loaded boolean) returns text; phase: loading, listing or details; loaded: the run reads, or has read, the whole list
 */
Datum
jdy_test_progress_line(PG_FUNCTION_ARGS)
{
	RunCounters counters = {
		.listed = PG_GETARG_INT64(2), .details = PG_GETARG_INT64(4), .calls = PG_GETARG_INT64(6)
	};
	char	   *phase = text_to_cstring(PG_GETARG_TEXT_PP(1));
	RunProgress progress = {
		.phase = strcmp(phase, "loading") == 0 ? PHASE_LOADING :
		strcmp(phase, "details") == 0 ? PHASE_DETAILS : PHASE_LISTING,
		.limits = {.calls_per_minute = PG_GETARG_INT32(8),.backfill_share = 80,.details = PG_GETARG_BOOL(9)},
		.backfill = PG_GETARG_BOOL(10),
		.list_total = PG_GETARG_INT64(3), .details_due = PG_GETARG_INT64(5),
		.updated_at = PG_GETARG_INT32(7) * USECS_PER_SEC
	};

	PG_RETURN_TEXT_P(cstring_to_text(jdy_progress_line(text_to_cstring(PG_GETARG_TEXT_PP(0)), &counters,
													   &progress)));
}

/* (schedule text, due timestamptz, now timestamptz, zone text) returns when it is due next. */
Datum
jdy_test_schedule_next(PG_FUNCTION_ARGS)
{
	char	   *schedule = text_to_cstring(PG_GETARG_TEXT_PP(0));

	jdy_schedule_check(schedule);
	PG_RETURN_TIMESTAMPTZ(jdy_schedule_next(schedule, PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_TIMESTAMPTZ(2),
											pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(3)))));
}

/* (at timestamptz) returns what the clock of schedules shows, after it was set to `at` unless that is null. */
Datum
jdy_test_clock(PG_FUNCTION_ARGS)
{
	if (!PG_ARGISNULL(0))
		jdy_clock_set(PG_GETARG_TIMESTAMPTZ(0));
	PG_RETURN_TIMESTAMPTZ(jdy_clock_now());
}

/* (now timestamptz) returns whether there may be more: trims the logs as a scheduler would at that time */
Datum
jdy_test_trim(PG_FUNCTION_ARGS)
{
	bool		more;

	SPI_connect();
	more = jdy_trim(PG_GETARG_TIMESTAMPTZ(0));
	SPI_finish();
	PG_RETURN_BOOL(more);
}

/* (text text) returns text, NULL = nothing in it is known */
Datum
jdy_test_chinese(PG_FUNCTION_ARGS)
{
	char	   *chinese = jdy_in_chinese(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (chinese == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(chinese));
}
