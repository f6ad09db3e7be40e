/*-------------------------------------------------------------------------
 * testjson.c
 *		Doors to internals for the regression tests: pages, metadata, values, payloads.
 *
 * The install script declares none of these: a test that needs one creates it
 * (CREATE FUNCTION … AS '$libdir/jdysync', 'jdy_test_…'), which only a superuser can.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "catalog/pg_type_d.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "metadata.h"
#include "page.h"
#include "payload.h"
#include "payloadplan.h"
#include "pgtime.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "value.h"

PG_FUNCTION_INFO_V1(jdy_test_page);
PG_FUNCTION_INFO_V1(jdy_test_page_rows);
PG_FUNCTION_INFO_V1(jdy_test_page_time);
PG_FUNCTION_INFO_V1(jdy_test_metadata);
PG_FUNCTION_INFO_V1(jdy_test_plan);
PG_FUNCTION_INFO_V1(jdy_test_value);
PG_FUNCTION_INFO_V1(jdy_test_window_value);
PG_FUNCTION_INFO_V1(jdy_test_payload);

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

/*
 * (body bytea, id_fields text[], number_field text, rows_path text, count_path text, single bool)
 * returns the envelope; jdy_test_page_rows, with the same arguments, its rows.
 */
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
 * (body bytea, times int, build bool) returns microseconds per
 * row, cut into rows only or turned into jsonb too, with a page context that is reset.
 */
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

/* (metadata jsonb, effect text) returns what was read from it, a line for each key. */
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

/* (metadata jsonb, zone text) returns how its list is asked. */
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

/* (value jsonb, record jsonb, now timestamptz, last timestamptz, zone text) returns its text. */
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

/* (format int, at timestamptz, zone text) returns an edge of a window as it is sent. */
Datum
jdy_test_window_value(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(jdy_window_value(PG_GETARG_INT32(0), PG_GETARG_TIMESTAMPTZ(1),
													  pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(2))))));
}

/* (request jsonb, record jsonb) returns the payload of one record. */
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
