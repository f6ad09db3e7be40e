/*-------------------------------------------------------------------------
 * testing.c
 *		Doors to internals for the regression tests.
 *
 * The install script declares none of these: a test that needs one creates it
 * (CREATE FUNCTION … AS '$libdir/jdysync', 'jdy_test_…'), which only a superuser can.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "page.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"

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
