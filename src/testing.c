/*-------------------------------------------------------------------------
 * testing.c
 *		Doors to internals for the regression tests.
 *
 * The install script declares none of these: a test that needs one creates it
 * (CREATE FUNCTION … AS '$libdir/jdysync', 'jdy_test_…'), which only a superuser can.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <sys/resource.h>

#include "access/xact.h"
#include "address.h"
#include "budget.h"
#include "catalog/pg_type_d.h"
#include "client.h"
#include "clock.h"
#include "compat.h"
#include "endpoint.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "http.h"
#include "jdysync.h"
#include "kingdee.h"
#include "lib/stringinfo.h"
#include "metadata.h"
#include "miscadmin.h"
#include "options.h"
#include "page.h"
#include "payload.h"
#include "payloadplan.h"
#include "percent.h"
#include "pgtime.h"
#include "portability/instr_time.h"
#include "progress.h"
#include "runlog.h"
#include "runner.h"
#include "schedule.h"
#include "spi.h"
#include "stream.h"
#include "trim.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "value.h"
#include "verdict.h"

/*
 * Servers and transfers.
 */

PG_FUNCTION_INFO_V1(jdy_test_percent_encode);
PG_FUNCTION_INFO_V1(jdy_test_host_listed);
PG_FUNCTION_INFO_V1(jdy_test_address_class);
PG_FUNCTION_INFO_V1(jdy_test_endpoint);
PG_FUNCTION_INFO_V1(jdy_test_http);
PG_FUNCTION_INFO_V1(jdy_test_http_twice);
PG_FUNCTION_INFO_V1(jdy_test_http_pair);
PG_FUNCTION_INFO_V1(jdy_test_as_owner);
PG_FUNCTION_INFO_V1(jdy_test_stream);

/* (text, keep_slash boolean) returns text */
Datum
jdy_test_percent_encode(PG_FUNCTION_ARGS)
{
	char	   *plain = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(jdy_percent_encode(plain, PG_GETARG_BOOL(1))));
}

/* (patterns text, host text) returns no | pattern | literal */
Datum
jdy_test_host_listed(PG_FUNCTION_ARGS)
{
	char	   *patterns = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *host = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		literal;
	bool		listed = jdy_host_listed(patterns, host, &literal);

	PG_RETURN_TEXT_P(cstring_to_text(!listed ? "no" : literal ? "literal" : "pattern"));
}

/* (address text) returns public | private | never */
Datum
jdy_test_address_class(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"public", "private", "never"};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr *address = (struct sockaddr *) &in4;

	if (inet_pton(AF_INET, name, &in4.sin_addr) != 1)
	{
		address = (struct sockaddr *) &in6;
		if (inet_pton(AF_INET6, name, &in6.sin6_addr) != 1)
			elog(ERROR, "not an address: %s", name);
	}
	PG_RETURN_TEXT_P(cstring_to_text(names[jdy_address_class(address)]));
}

/* (server text, complete boolean) returns what a load reads; errors as jdy_endpoint_require_complete when complete */
Datum
jdy_test_endpoint(PG_FUNCTION_ARGS)
{
	Endpoint   *e = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	StringInfoData line;

	if (PG_GETARG_BOOL(1))
		jdy_endpoint_require_complete(e);

	initStringInfo(&line);
	appendStringInfo(&line, "url=%s host=%s auth=%s calls_per_minute=%d rate_window=%dms backfill_share=%d%% "
					 "concurrency=%d connect_timeout=%dms timeout=%dms max_attempts=%d max_response=" INT64_FORMAT
					 " time_zone=%s private=%s client_secret=%s digest=",
					 e->url, e->host, jdy_auth_name(e->auth), e->calls_per_minute, e->rate_window_ms, e->backfill_share,
					 e->concurrency, e->connect_timeout_ms, e->timeout_ms, e->max_attempts, e->max_response,
					 pg_get_timezone_name(e->time_zone), e->private_allowed ? "yes" : "no",
					 e->client_secret ? e->client_secret : "-");
	for (int i = 0; i < JDY_DIGEST_LENGTH; i++)
		appendStringInfo(&line, "%02x", e->digest[i]);
	PG_RETURN_TEXT_P(cstring_to_text(line.data));
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

static const char *const failure_names[] = {
	"complete", "resolve", "connect", "tls", "timeout", "broken", "too large", "forbidden address", "other"
};

static HttpReply *
wait_for_reply(HttpPool *pool)
{
	HttpReply  *reply;

	while ((reply = jdy_http_receive(pool, -1)) == NULL)
		;
	return reply;
}

/* (server text, path text, method text, body text) returns the reply as JSON text; path is appended to the url */
Datum
jdy_test_http(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	HttpHeader	headers[] = {{"X-Secret", endpoint->token ? endpoint->token : ""}, {"Content-Type", "text/plain"}};
	HttpRequest request = {
		.method = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.url = psprintf("%s%s", endpoint->url, text_to_cstring(PG_GETARG_TEXT_PP(1))),
		.headers = headers,
		.nheaders = lengthof(headers),
	};
	HttpPool   *pool = jdy_http_open(endpoint, 1, CurrentMemoryContext);
	HttpReply  *reply;
	StringInfoData json;

	if (!PG_ARGISNULL(3))
	{
		request.body = text_to_cstring(PG_GETARG_TEXT_PP(3));
		request.body_length = strlen(request.body);
	}
	jdy_http_start(pool, &request);
	reply = wait_for_reply(pool);

	initStringInfo(&json);
	appendStringInfo(&json, "{\"failure\": \"%s\", \"status\": %d, \"length\": %zu, \"truncated\": %s, \"sent\": %s, "
					 "\"wire_bytes\": " INT64_FORMAT ", \"retry_after_ms\": " INT64_FORMAT ", \"elapsed_ms\": " INT64_FORMAT
					 ", \"date\": \"%s\", \"error\": ",
					 failure_names[reply->failure], reply->status, reply->body_length, reply->truncated ? "true" : "false",
					 reply->sent ? "true" : "false", reply->wire_bytes, reply->retry_after_ms, reply->elapsed_us / 1000,
					 reply->date == 0 ? "" : timestamptz_to_str(reply->date));
	escape_json(&json, reply->error ? reply->error : "");
	appendStringInfoString(&json, ", \"content_type\": ");
	escape_json(&json, reply->content_type ? reply->content_type : "");
	appendStringInfoString(&json, ", \"router\": ");
	escape_json(&json, reply->router ? reply->router : "");
	appendStringInfoString(&json, ", \"body\": ");
	escape_json(&json, reply->body_length <= 1000 ? reply->body : "");
	appendStringInfoChar(&json, '}');
	jdy_http_release(pool, reply);
	jdy_http_close(pool);
	PG_RETURN_TEXT_P(cstring_to_text(json.data));
}

/* (server text, path text, method text) returns how two requests on one connection ended */
Datum
jdy_test_http_twice(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	HttpRequest request = {
		.method = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.url = psprintf("%s%s", endpoint->url, text_to_cstring(PG_GETARG_TEXT_PP(1))),
	};
	HttpPool   *pool = jdy_http_open(endpoint, 1, CurrentMemoryContext);
	StringInfoData line;

	initStringInfo(&line);
	for (int i = 0; i < 2; i++)
	{
		HttpReply  *reply;

		jdy_http_start(pool, &request);
		reply = wait_for_reply(pool);
		appendStringInfo(&line, "%s%s", i == 0 ? "" : ", ", failure_names[reply->failure]);
		if (reply->error != NULL)
			appendStringInfo(&line, ": %s", reply->error);
		jdy_http_release(pool, reply);
	}
	jdy_http_close(pool);
	PG_RETURN_TEXT_P(cstring_to_text(line.data));
}

/* (server text, path text, other_path text) returns how much CPU, in ms, waiting for two replies at once took */
Datum
jdy_test_http_pair(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	HttpPool   *pool = jdy_http_open(endpoint, 2, CurrentMemoryContext);
	struct rusage before;
	struct rusage after;

	for (int i = 1; i <= 2; i++)
	{
		HttpRequest request = {
			.method = "GET",
			.url = psprintf("%s%s", endpoint->url, text_to_cstring(PG_GETARG_TEXT_PP(i))),
		};

		jdy_http_start(pool, &request);
	}
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 2; i++)
	{
		HttpReply  *reply = wait_for_reply(pool);

		if (reply->failure != HTTP_COMPLETE)
			elog(ERROR, "%s", failure_names[reply->failure]);
		jdy_http_release(pool, reply);
	}
	getrusage(RUSAGE_SELF, &after);
	jdy_http_close(pool);
	PG_RETURN_INT32((after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
					(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000);
}

/*
 * jdy_test_page(body bytea, id_fields text[], number_field text, rows_path text, count_path text, single bool)
 * returns the envelope; jdy_test_page_rows, with the same arguments, its rows.
 */
PG_FUNCTION_INFO_V1(jdy_test_page);
PG_FUNCTION_INFO_V1(jdy_test_page_rows);

static ListPage *
parse_page_arguments(FunctionCallInfo fcinfo)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	PageShape	shape = {NIL};
	Datum	   *names;
	int			nnames;
	char	   *exact;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &nnames);
	for (int i = 0; i < nnames; i++)
		shape.id_fields = lappend(shape.id_fields, TextDatumGetCString(names[i]));
	if (!PG_ARGISNULL(2))
		shape.number_field = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
		shape.rows_path = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		shape.count_path = text_to_cstring(PG_GETARG_TEXT_PP(4));
	shape.single = PG_GETARG_BOOL(5);

	exact = palloc_extended(VARSIZE_ANY_EXHDR(body) + 1, MCXT_ALLOC_HUGE);
	memcpy(exact, VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body));
	exact[VARSIZE_ANY_EXHDR(body)] = '\0';
	return jdy_page_parse(exact, VARSIZE_ANY_EXHDR(body), &shape);
}

Datum
jdy_test_page(PG_FUNCTION_ARGS)
{
	ListPage	 *  page = parse_page_arguments(fcinfo);
	TupleDesc	tupdesc;
	Datum		values[9];
	bool		nulls[9] = {false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = page->problem == NULL;
	nulls[2] = page->description == NULL;
	values[0] = nulls[0] ? 0 : CStringGetTextDatum(page->problem);
	values[1] = Int64GetDatum(page->errcode);
	values[2] = nulls[2] ? 0 : CStringGetTextDatum(page->description);
	values[3] = BoolGetDatum(page->no_record);
	values[4] = Int32GetDatum(page->nrows);
	values[5] = Int64GetDatum(page->count);
	values[6] = Int64GetDatum(page->page);
	values[7] = Int64GetDatum(page->page_size);
	values[8] = Int64GetDatum(page->total_page);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

Datum
jdy_test_page_rows(PG_FUNCTION_ARGS)
{
	ListPage	 *  page = parse_page_arguments(fcinfo);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < page->nrows; i++)
	{
		Row		   *row = &page->rows[i];
		const char *problem;
		Jsonb	   *data = jdy_row_jsonb(row, &problem);
		Datum		values[5];
		bool		nulls[5] = {row->id == NULL, row->number == NULL, problem == NULL, data == NULL, false};

		values[0] = nulls[0] ? 0 : CStringGetTextDatum(row->id);
		values[1] = nulls[1] ? 0 : CStringGetTextDatum(row->number);
		values[2] = nulls[2] ? 0 : CStringGetTextDatum(problem);
		values[3] = nulls[3] ? 0 : JsonbPGetDatum(data);
		values[4] = Int64GetDatum((int64) row->digest);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jdy_test_page_time(body bytea, times int, build bool) returns microseconds per
 * row, cut into rows only or turned into jsonb too, with a page context that is reset.
 */
PG_FUNCTION_INFO_V1(jdy_test_page_time);

Datum
jdy_test_page_time(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	int			times = PG_GETARG_INT32(1);
	bool		build = PG_GETARG_BOOL(2);
	PageShape	shape = {list_make1("id"), "number"};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "page", 8 * 1024 * 1024,
												  8 * 1024 * 1024, 64 * 1024 * 1024);
	MemoryContext old = MemoryContextSwitchTo(context);
	instr_time	from;
	instr_time	until;
	int64		rows = 0;

	INSTR_TIME_SET_CURRENT(from);
	for (int i = 0; i < times; i++)
	{
		ListPage   *page = jdy_page_parse(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), &shape);
		const char *problem;

		rows += page->nrows;
		for (int row = 0; build && row < page->nrows; row++)
			jdy_row_jsonb(&page->rows[row], &problem);
		MemoryContextReset(context);
	}
	INSTR_TIME_SET_CURRENT(until);
	MemoryContextSwitchTo(old);
	INSTR_TIME_SUBTRACT(until, from);
	PG_RETURN_FLOAT8(INSTR_TIME_GET_DOUBLE(until) * 1e6 / Max(rows, 1));
}

/* jdy_test_metadata(metadata jsonb, effect text) returns what was read from it, a line for each key. */
PG_FUNCTION_INFO_V1(jdy_test_metadata);

static void
show_text(StringInfo out, const char *key, const char *value)
{
	if (value != NULL)
		appendStringInfo(out, "%s: %s\n", key, value);
}

static void
show_jsonb(StringInfo out, const char *key, Jsonb *value)
{
	if (value != NULL)
		show_text(out, key, JsonbToCString(NULL, &value->root, VARSIZE(value)));
}

static void
show_fields(StringInfo out, const char *key, List *fields, int indent)
{
	ListCell   *cell;

	foreach(cell, fields)
	{
		Field	   *field = lfirst(cell);

		appendStringInfo(out, "%*s%s: %s (%s) %s%s = %s\n", indent * 2, "", key, field->field,
						 field->type ? field->type : "", field->label ? field->label : "",
						 field->parent ? psprintf(" in %s", field->parent) : "",
						 field->value ? JsonbToCString(NULL, &field->value->root, VARSIZE(field->value)) : "nothing");
		show_fields(out, "child", field->children, indent + 1);
	}
}

Datum
jdy_test_metadata(PG_FUNCTION_ARGS)
{
	bool		query = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(1)), "QUERY") == 0;
	Metadata   *metadata = jdy_metadata_parse(PG_GETARG_JSONB_P(0), query ? EFFECT_QUERY : EFFECT_EXECUTE);
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	show_text(&out, "api", metadata->api);
	show_text(&out, "effect", metadata->effect == EFFECT_QUERY ? "QUERY" : "EXECUTE");
	show_text(&out, "method", metadata->method);
	foreach(cell, metadata->id_fields)
		show_text(&out, "id", lfirst(cell));
	show_text(&out, "number", metadata->number_field);
	show_text(&out, "name", metadata->name_field);
	show_text(&out, "idCheck", metadata->id_check ? "true" : "false");
	show_fields(&out, "request", metadata->request, 0);
	show_fields(&out, "otherRequest", metadata->other_request, 0);
	show_jsonb(&out, "operation", metadata->operation);
	show_jsonb(&out, "condition", metadata->condition);
	show_jsonb(&out, "delete", metadata->delete_rule);
	show_text(&out, "rows", metadata->rows_path);
	show_text(&out, "count", metadata->count_path);
	show_text(&out, "failed", metadata->failed_path);
	show_text(&out, "failed_count", metadata->failed_count_path);
	show_text(&out, "crontab", metadata->remedy_crontab);
	show_fields(&out, "takeOverRequest", metadata->remedy_request, 0);
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}

/* jdy_test_payload(request jsonb, record jsonb) returns the payload of one record. */
PG_FUNCTION_INFO_V1(jdy_test_payload);

Datum
jdy_test_payload(PG_FUNCTION_ARGS)
{
	static const char form[] = "{\"api\":\"/x\",\"request\":%s}";
	Jsonb	   *request = PG_GETARG_JSONB_P(0);
	char	   *text = psprintf(form, JsonbToCString(NULL, &request->root, VARSIZE(request)));
	Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	List	   *fields = jdy_payload_plan(jdy_metadata_parse(json, EFFECT_EXECUTE)->request);
	MemoryContext context = CurrentMemoryContext;

	SPI_connect();
	MemoryContextSwitchTo(context);
	text = jdy_payload_text(fields, PG_GETARG_JSONB_P(1), "1", pg_tzset("Asia/Shanghai"));
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* jdy_test_plan(metadata jsonb, zone text) returns how its list is asked. */
PG_FUNCTION_INFO_V1(jdy_test_plan);

Datum
jdy_test_plan(PG_FUNCTION_ARGS)
{
	static const char *const formats[] = {"none", "ms", "s", "datetime", "date"};
	ValueTimes	times = {GetCurrentTimestamp(), GetCurrentTimestamp(), pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(1)))};
	Metadata   *metadata = jdy_metadata_parse(PG_GETARG_JSONB_P(0), EFFECT_QUERY);
	RequestPlan *plan;
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	SPI_connect();
	plan = jdy_request_plan(metadata, &times);
	if (plan->start_param)
		appendStringInfo(&out, "start: %s in %s\n", plan->start_param, formats[plan->start_format]);
	if (plan->end_param)
		appendStringInfo(&out, "end: %s in %s\n", plan->end_param, formats[plan->end_format]);
	appendStringInfo(&out, "paging: %s, %s %d\n", plan->page_param ? plan->page_param : "page",
					 plan->size_param ? plan->size_param : "page_size", plan->page_size);
	foreach(cell, plan->fixed)
		appendStringInfo(&out, "fixed: %s=%s\n", ((CallParam *) lfirst(cell))->name, ((CallParam *) lfirst(cell))->value);
	foreach(cell, plan->untouched)
		appendStringInfo(&out, "does not narrow: %s\n", (char *) lfirst(cell));
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}

/* jdy_test_value(value jsonb, record jsonb, now timestamptz, last timestamptz, zone text) returns its text. */
PG_FUNCTION_INFO_V1(jdy_test_value);

Datum
jdy_test_value(PG_FUNCTION_ARGS)
{
	ValueTimes	times = {PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_TIMESTAMPTZ(3),
	pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(4)))};
	Jsonb	   *record = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	MemoryContext context = CurrentMemoryContext;
	char	   *text;

	SPI_connect();
	MemoryContextSwitchTo(context);
	text = jdy_value_text(PG_GETARG_JSONB_P(0), record, &times);
	SPI_finish();
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* jdy_test_window_value(format int, at timestamptz, zone text) returns an edge of a window as it is sent. */
PG_FUNCTION_INFO_V1(jdy_test_window_value);

Datum
jdy_test_window_value(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(jdy_window_value(PG_GETARG_INT32(0), PG_GETARG_TIMESTAMPTZ(1),
													  pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(2))))));
}

/*
 * Verdicts, signatures, decryption, budgets.
 */

PG_FUNCTION_INFO_V1(jdy_test_verdict);
PG_FUNCTION_INFO_V1(jdy_test_signature);
PG_FUNCTION_INFO_V1(jdy_test_app_signature);
PG_FUNCTION_INFO_V1(jdy_test_decrypt_text);
PG_FUNCTION_INFO_V1(jdy_test_decrypt);
PG_FUNCTION_INFO_V1(jdy_test_budget);

/* Position of `name` in a list. */
static int
position_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(name, names[i]) == 0)
			return i;
	}
	elog(ERROR, "no such name: %s", name);
	return -1;
}

/* (kind text, failure text, http_status int, errcode bigint, facts text[]) returns "verdict: reason" */
Datum
jdy_test_verdict(PG_FUNCTION_ARGS)
{
	static const char *const kinds[] = {"token", "list", "detail", "push", "other"};
	static const char *const failures[] = {
		"complete", "resolve", "connect", "tls", "timeout", "broken", "too large", "forbidden", "other"
	};
	static const char *const names[] = {"malformed", "no route", "router", "no record", "batch"};
	ReplyFacts	facts = {.well_formed = true};
	const char *reason;
	Verdict		verdict;
	Datum	   *holds;
	int			nholds;

	facts.failure = position_of(text_to_cstring(PG_GETARG_TEXT_PP(1)), failures, lengthof(failures));
	facts.http_status = PG_GETARG_INT32(2);
	facts.errcode = PG_GETARG_INT64(3);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, &holds, NULL, &nholds);
	for (int i = 0; i < nholds; i++)
	{
		switch (position_of(TextDatumGetCString(holds[i]), names, lengthof(names)))
		{
			case 0:
				facts.well_formed = false;
				break;
			case 1:
				facts.no_route = true;
				break;
			case 2:
				facts.router_sent = true;
				break;
			case 3:
				facts.no_record = true;
				break;
			case 4:
				facts.batch = true;
				break;
		}
	}
	verdict = jdy_judge(position_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), kinds, lengthof(kinds)), &facts, &reason);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: %s", jdy_verdict_name(verdict), reason)));
}

/* (secret text, method text, path text, names text[], values text[], nonce text, timestamp text) returns text */
Datum
jdy_test_signature(PG_FUNCTION_ARGS)
{
	List	   *params = NIL;
	Datum	   *names;
	Datum	   *values;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		CallParam  *param = palloc(sizeof(CallParam));

		param->name = TextDatumGetCString(names[i]);
		param->value = TextDatumGetCString(values[i]);
		params = lappend(params, param);
	}
	PG_RETURN_TEXT_P(cstring_to_text(jdy_kingdee_signature(text_to_cstring(PG_GETARG_TEXT_PP(0)),
														   text_to_cstring(PG_GETARG_TEXT_PP(1)),
														   text_to_cstring(PG_GETARG_TEXT_PP(2)), params,
														   text_to_cstring(PG_GETARG_TEXT_PP(5)),
														   text_to_cstring(PG_GETARG_TEXT_PP(6)))));
}

/* (app_key text, app_secret text) returns text */
Datum
jdy_test_app_signature(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(jdy_kingdee_app_signature(text_to_cstring(PG_GETARG_TEXT_PP(0)),
															   text_to_cstring(PG_GETARG_TEXT_PP(1)))));
}

/* (secret text, value text) returns text, NULL = not ciphertext */
Datum
jdy_test_decrypt_text(PG_FUNCTION_ARGS)
{
	char	   *plain = jdy_kingdee_decrypt_text(text_to_cstring(PG_GETARG_TEXT_PP(0)),
												 text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (plain == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(plain));
}

/* (data jsonb, paths text[], secret text) returns jsonb, NULL = `data` itself was given back */
Datum
jdy_test_decrypt(PG_FUNCTION_ARGS)
{
	Jsonb	   *data = PG_GETARG_JSONB_P(0);
	Jsonb	   *result;
	List	   *paths = NIL;
	Datum	   *names;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	for (int i = 0; i < n; i++)
		paths = lappend(paths, TextDatumGetCString(names[i]));
	result = jdy_kingdee_decrypt(data, paths, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (result == data)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/* One step of a budget's script; what it says, or NULL. */
static char *
budget_step(const char *step, Endpoint *endpoint, Budget **budget)
{
	char		word[32] = "";
	char		arg[64] = "";
	int			n[3] = {0};
	int64		wait;

	if (sscanf(step, "open %63s %d %d %d", arg, &n[0], &n[1], &n[2]) == 4)
	{
		/* Another host for each run of a test: budgets outlive it. */
		endpoint->url = psprintf("http://%s.%d." INT64_FORMAT, arg, MyProcPid, GetCurrentStatementStartTimestamp());
		endpoint->auth = AUTH_NONE;
		endpoint->calls_per_minute = n[0];
		endpoint->rate_window_ms = n[1];
		endpoint->backfill_share = n[2];
		endpoint->timeout_ms = endpoint->connect_timeout_ms = 10 * n[1];
		*budget = jdy_budget_open(endpoint);
		return NULL;
	}
	sscanf(step, "%31s %63s", word, arg);
	if (strcmp(word, "join") == 0)
		jdy_budget_join(*budget, arg);
	else if (strcmp(word, "refuse") == 0)
		jdy_budget_refused(*budget, atoi(arg));
	else if (strcmp(word, "sleep") == 0)
		pg_usleep(atoi(arg) * 1000L);
	else if (strcmp(word, "left") == 0)
		return psprintf("%d", jdy_budget_left(*budget));
	else if (strcmp(word, "take") == 0 || strcmp(word, "keep") == 0)
	{
		/* keep: the call stays under way; take: it is answered at once. */
		wait = strcmp(arg, "token") == 0 ? jdy_budget_take_token(*budget) :
			jdy_budget_take(*budget, strcmp(arg, "backfill") == 0 ? LANE_BACKFILL : LANE_TAIL);
		if (wait == 0 && word[0] == 't')
			jdy_budget_answered(*budget, jdy_budget_ticket(*budget));
		return psprintf("%s", wait == 0 ? "granted" :
						wait > (int64) endpoint->rate_window_ms * 1020 + 3000 ? "wait longer than a window" : "wait");
	}
	else
		elog(ERROR, "no such step: %s", step);
	return NULL;
}

/* (script text[]) returns text[]: what each step says; "4 take tail" repeats and says how often it was granted */
Datum
jdy_test_budget(PG_FUNCTION_ARGS)
{
	Endpoint	endpoint = {0};
	Budget	   *budget = NULL;
	MemoryContext context = CurrentMemoryContext;
	ArrayBuildState *said = initArrayResult(TEXTOID, context, false);
	Datum	   *steps;
	int			nsteps;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &steps, NULL, &nsteps);
	SPI_connect();
	MemoryContextSwitchTo(context);
	for (int i = 0; i < nsteps; i++)
	{
		char	   *step = TextDatumGetCString(steps[i]);
		int			times = strtol(step, &step, 10);
		int			granted = 0;
		char	   *says = NULL;

		step += strspn(step, " ");
		for (int k = 0; k < Max(times, 1); k++)
		{
			says = budget_step(step, &endpoint, &budget);
			granted += says != NULL && strcmp(says, "granted") == 0;
		}
		if (times > 0)
			says = psprintf("%d granted, then %s", granted, says);
		if (says != NULL)
			said = accumArrayResult(said, CStringGetTextDatum(says), false, TEXTOID, context);
	}
	SPI_finish();
	MemoryContextSwitchTo(context);
	PG_RETURN_DATUM(makeArrayResult(said, context));
}

/*
 * Runs.
 */

PG_FUNCTION_INFO_V1(jdy_test_progress_line);
PG_FUNCTION_INFO_V1(jdy_test_run_log);
PG_FUNCTION_INFO_V1(jdy_test_stream_lock);

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

/* (stream_id int, lock boolean) returns boolean */
Datum
jdy_test_stream_lock(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_BOOL(1))
		PG_RETURN_BOOL(jdy_stream_lock(PG_GETARG_INT32(0), false));
	jdy_stream_unlock(PG_GETARG_INT32(0));
	PG_RETURN_BOOL(true);
}

/*
 * (server name, path text, n integer, concurrency integer) returns float8: calls a second.  Each call
 * has another id, as details have.
 */
PG_FUNCTION_INFO_V1(jdy_test_calls);

Datum
jdy_test_calls(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int			n = PG_GETARG_INT32(2);
	Client	   *client = jdy_client_open(endpoint, PG_GETARG_INT32(3), false, CurrentMemoryContext, NULL, NULL);
	instr_time	start;
	instr_time	elapsed;
	int			submitted = 0;
	int			done = 0;

	jdy_client_release(client, jdy_client_run(client, jdy_call_create(client, CALL_OTHER, LANE_TAIL, "GET", path)));
	INSTR_TIME_SET_CURRENT(start);
	while (done < n)
	{
		Call	   *call;

		for (; submitted < n && jdy_client_pending(client) < 4 * PG_GETARG_INT32(3); submitted++)
		{
			call = jdy_call_create(client, CALL_OTHER, LANE_TAIL, "GET", path);
			jdy_call_param(call, "id", psprintf("%d", submitted));
			jdy_client_submit(client, call);
		}
		call = jdy_client_next(client, -1);
		if (call == NULL)
			continue;
		if (call->outcome != OUTCOME_OK)
			jdy_call_raise(call);
		jdy_client_release(client, call);
		done++;
	}
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, start);
	jdy_client_close(client);
	PG_RETURN_FLOAT8(n / INSTR_TIME_GET_DOUBLE(elapsed));
}

/* jdy_test_schedule_next(schedule text, due timestamptz, now timestamptz, zone text) returns when it is due next. */
PG_FUNCTION_INFO_V1(jdy_test_schedule_next);

Datum
jdy_test_schedule_next(PG_FUNCTION_ARGS)
{
	char	   *schedule = text_to_cstring(PG_GETARG_TEXT_PP(0));

	jdy_schedule_check(schedule);
	PG_RETURN_TIMESTAMPTZ(jdy_schedule_next(schedule, PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_TIMESTAMPTZ(2),
											pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(3)))));
}

/* jdy_test_clock(at timestamptz) returns what the clock of schedules shows, after it was set to `at` unless that is null. */
PG_FUNCTION_INFO_V1(jdy_test_clock);

Datum
jdy_test_clock(PG_FUNCTION_ARGS)
{
	if (!PG_ARGISNULL(0))
		jdy_clock_set(PG_GETARG_TIMESTAMPTZ(0));
	PG_RETURN_TIMESTAMPTZ(jdy_clock_now());
}

/*
 * Logs.
 */

PG_FUNCTION_INFO_V1(jdy_test_trim);

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
