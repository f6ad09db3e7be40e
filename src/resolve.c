/*-------------------------------------------------------------------------
 * resolve.c
 *		What a stream asks of its service.
 *
 * It comes from three places, the later filling what the earlier left open: the
 * metadata that the user gave, the catalogue entry for its api, and the usual
 * names (page, page_size).  They meet here, when a stream is added and at the
 * start of each run.
 *
 * Called by stream.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "client.h"
#include "miscadmin.h"
#include "spi.h"
#include "stream.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_PAGE_SIZE 100		/* 星辰 cuts larger pages without saying so */

/* What the catalogue says of a list. */
typedef struct Entry
{
	char	   *entry;
	char	   *api;
	char	   *method;
	List	   *id_fields;
	char	   *number_field;
	char	   *detail_api;
	char	   *detail_param;
	char	   *start_param;
	char	   *end_param;
	WindowFormat format;
	char	   *no_edge;
	char	   *page_param;		/* NULL = the list takes no pages */
	char	   *size_param;
	List	   *required;
	char	   *range_param;	/* NULL = its rows belong to no span of time */
	List	   *range_end_params;
	WindowFormat range_format;
	Jsonb	   *fixed;
	char	   *modified_field;
	char	   *rich_rows;
	List	   *list_secrets;
	List	   *detail_secrets;
} Entry;

static JdyStatement find_entry = {
	.sql = "SELECT c.entry, c.api, c.method, c.id_fields, c.number_field, c.detail_api, c.detail_param,"
	" c.start_param, c.end_param, c.window_format, c.fixed, c.modified_field, c.list_secrets, c.detail_secrets,"
	" c.window_off, c.page_param, c.size_param, c.required, c.range_param, c.range_end_params, c.range_format, c.rich_rows"
	" FROM jdysync.catalog c WHERE c.entry = $1 OR c.api = $2",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}
};

static RequestPlan *plan_as_owner(const Stream *stream, const Metadata *meta);
static void find_lacking(Stream *stream, const Entry *entry);
static void take_range(Stream *stream, const Entry *entry);
static bool is_given(const Stream *stream, const char *name);
static void add_entry_params(Stream *stream, const Entry *entry);
static const char *narrowing(const Stream *stream, const Entry *entry);
static bool order_holds(const Stream *stream, const Entry *entry);
static Entry *read_entry(const char *entry, const char *api);
static List *text_array_list(Datum array);

/* Metadata, catalogue and usual names, in that order. */
void
jdy_stream_resolve(Stream *stream, const char *entry_name, Jsonb *metadata, bool detail_given, bool detail)
{
	Metadata   *meta = metadata ? jdy_metadata_parse(metadata, EFFECT_QUERY) : NULL;
	Entry	   *entry = read_entry(meta ? NULL : entry_name, meta ? meta->api : NULL);
	bool		kingdee = stream->endpoint->auth == AUTH_KINGDEE;

	if (meta == NULL && entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the catalogue has no entry \"%s\"", entry_name),
				 errhint("SELECT entry, title FROM jdy_catalog lists them; anything else needs metadata.")));

	stream->entry = entry ? entry->entry : NULL;
	stream->api = meta ? meta->api : entry->api;
	stream->method = meta ? meta->method : entry->method;
	stream->shape.id_fields = meta && meta->id_fields != NIL ? meta->id_fields :
		entry ? entry->id_fields : list_make1("id");
	stream->keyless = list_length(stream->shape.id_fields) == 1 && strcmp(linitial(stream->shape.id_fields), "*") == 0;
	stream->shape.number_field = meta && meta->number_field ? meta->number_field :
		entry ? entry->number_field : NULL;
	if (meta != NULL)
	{
		stream->shape.rows_path = meta->rows_path;
		stream->shape.count_path = meta->count_path;
		stream->plan = plan_as_owner(stream, meta);
		stream->remedy_crontab = meta->remedy_crontab;
		stream->remedy_request = meta->remedy_request;
	}
	else
		stream->plan = palloc0(sizeof(RequestPlan));

	stream->narrowing = narrowing(stream, entry);
	if (entry != NULL)
	{
		take_range(stream, entry);
		find_lacking(stream, entry);
		add_entry_params(stream, entry);
	}
	stream->order_holds = order_holds(stream, entry);
	stream->whole = entry != NULL && entry->page_param == NULL && stream->plan->page_param == NULL;
	if (stream->plan->page_param == NULL)
		stream->plan->page_param = stream->whole || entry == NULL ? "page" : entry->page_param;
	if (stream->plan->size_param == NULL)
		stream->plan->size_param = stream->whole || entry == NULL ? "page_size" : entry->size_param;
	if (entry != NULL || stream->plan->page_size <= 0 || stream->plan->page_size > MAX_PAGE_SIZE)
		stream->plan->page_size = MAX_PAGE_SIZE;

	stream->details = detail_given ? detail : kingdee && entry != NULL && entry->detail_api != NULL;
	if (stream->details && (entry == NULL || entry->detail_api == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the catalogue knows no details for \"%s\"", stream->api),
				 errhint("Leave detail out, or give detail => false.")));
	if (entry != NULL)
	{
		stream->detail_api = entry->detail_api;
		stream->detail_param = entry->detail_param;
		stream->modified_field = entry->modified_field;
		stream->rich_rows = entry->rich_rows;
		if (kingdee)
		{
			stream->list_secrets = entry->list_secrets;
			stream->detail_secrets = entry->detail_secrets;
		}
	}
}

/*
 * _function expressions are code of whoever wrote the metadata.  A superuser
 * who changes a stream's schedule must not run it with his own rights, nor leave
 * it a way back to them.
 */
static RequestPlan *
plan_as_owner(const Stream *stream, const Metadata *meta)
{
	ValueTimes	times;
	RequestPlan *plan;
	Oid			user_id;
	int			sec_context;

	times.current_time = GetCurrentTimestamp();
	times.last_sync_time = times.current_time;
	times.time_zone = stream->endpoint->time_zone;

	/* An error puts them back at the end of the (sub)transaction. */
	GetUserIdAndSecContext(&user_id, &sec_context);
	SetUserIdAndSecContext(stream->owner,
						   sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	plan = jdy_request_plan(meta, &times);
	SetUserIdAndSecContext(user_id, sec_context);
	return plan;
}

void
jdy_stream_require(const Stream *stream)
{
	StringInfoData request;
	ListCell   *cell;

	if (stream->lacking == NIL)
		return;
	initStringInfo(&request);
	foreach(cell, stream->lacking)
		appendStringInfo(&request, "%s{\"field\": \"%s\", \"value\": \"…\"}", request.len > 0 ? ", " : "", (char *) lfirst(cell));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the list \"%s\" needs a value for \"%s\"", stream->entry, (char *) linitial(stream->lacking)),
			 errhint("Give metadata with it: '{\"api\": \"%s\", \"effect\": \"QUERY\", \"request\": [%s]}'.",
					 stream->api, request.data)));
}

static void
find_lacking(Stream *stream, const Entry *entry)
{
	ListCell   *cell;

	foreach(cell, entry->required)
		if (!is_given(stream, lfirst(cell)))
			stream->lacking = lappend(stream->lacking, lfirst(cell));
}

/* Where the metadata names the span itself, its rows are the list; else the runs go through the months. */
static void
take_range(Stream *stream, const Entry *entry)
{
	List	   *params = entry->range_param ? lcons(entry->range_param, list_copy(entry->range_end_params)) : NIL;
	bool		given = false;
	ListCell   *cell;

	foreach(cell, params)
		given = given || is_given(stream, lfirst(cell));
	if (given)
	{
		/* Of an end with two names one will do. */
		if (!is_given(stream, entry->range_param))
			stream->lacking = lappend(stream->lacking, entry->range_param);
		given = entry->range_end_params == NIL;
		foreach(cell, entry->range_end_params)
			given = given || is_given(stream, lfirst(cell));
		if (!given)
			stream->lacking = lappend(stream->lacking, linitial(entry->range_end_params));
		return;
	}
	stream->range_param = entry->range_param;
	stream->range_end_params = entry->range_end_params;
	stream->range_format = entry->range_format;
}

static bool
is_given(const Stream *stream, const char *name)
{
	ListCell   *cell;

	foreach(cell, stream->plan->fixed)
		if (strcmp(((CallParam *) lfirst(cell))->name, name) == 0)
			return true;
	return false;
}

/* What the catalogue adds to metadata: the window, and parameters that widen the list. */
static void
add_entry_params(Stream *stream, const Entry *entry)
{
	RequestPlan *plan = stream->plan;
	bool		window_given = plan->start_param != NULL || plan->end_param != NULL;
	JsonbIterator *it = JsonbIteratorInit(&entry->fixed->root);
	JsonbValue	key;
	JsonbIteratorToken token;
	ListCell   *cell;

	foreach(cell, plan->fixed)
	{
		CallParam  *param = lfirst(cell);

		if ((entry->start_param && strcmp(param->name, entry->start_param) == 0) ||
			(entry->end_param && strcmp(param->name, entry->end_param) == 0))
			window_given = true;
	}
	if (!window_given)
	{
		plan->start_param = entry->start_param;
		plan->end_param = entry->end_param;
		plan->start_format = plan->end_format = entry->format;
		plan->no_edge = entry->no_edge;
	}
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		CallParam  *param;
		bool		given = false;

		if (token != WJB_KEY)
			continue;
		param = palloc(sizeof(CallParam));
		param->name = pnstrdup(key.val.string.val, key.val.string.len);
		param->value = jdy_jsonb_text(entry->fixed, param->name);
		foreach(cell, plan->fixed)
			given = given || strcmp(((CallParam *) lfirst(cell))->name, param->name) == 0;
		if (!given)
			plan->fixed = lappend(plan->fixed, param);
	}
}

/* The first parameter of the metadata that may narrow the list: all but empty ones, the order, and what the catalogue says itself. */
static const char *
narrowing(const Stream *stream, const Entry *entry)
{
	ListCell   *cell;

	foreach(cell, stream->plan->fixed)
	{
		CallParam  *param = lfirst(cell);
		char	   *widest = entry ? jdy_jsonb_text(entry->fixed, param->name) : NULL;

		if (param->name[0] != '\0' && param->value[0] != '\0' && strcmp(param->name, "order_by") != 0 &&
			(widest == NULL || strcmp(param->value, widest) != 0))
			return param->name;
	}
	return NULL;
}

/*
 * Master data are sorted by number, documents by create time, which never changes
 * (reference/kingdee-api.md §2.1, §3.8); order_by may ask for something else.
 */
static bool
order_holds(const Stream *stream, const Entry *entry)
{
	const char *number = stream->shape.number_field;
	ListCell   *cell;

	if (number == NULL || (entry != NULL && entry->number_field != NULL && strcmp(number, entry->number_field) != 0))
		return false;
	foreach(cell, stream->plan->fixed)
	{
		CallParam  *param = lfirst(cell);
		size_t		length = strcspn(param->value, " ,");

		if (strcmp(param->name, "order_by") == 0 &&
			(length != strlen(number) || strncmp(param->value, number, length) != 0))
			return false;
	}
	return true;
}

static Entry *
read_entry(const char *name, const char *api)
{
	Datum		values[2];
	char		nulls[3] = "  ";
	Entry	   *entry;
	char	   *format;
	bool		isnull;

	values[0] = name ? CStringGetTextDatum(name) : (Datum) 0;
	values[1] = api ? CStringGetTextDatum(api) : (Datum) 0;
	nulls[0] = name ? ' ' : 'n';
	nulls[1] = api ? ' ' : 'n';
	jdy_execute(&find_entry, values, nulls);
	if (SPI_processed == 0)
		return NULL;

	entry = palloc0(sizeof(Entry));
	entry->entry = jdy_spi_text(0, 1);
	entry->api = jdy_spi_text(0, 2);
	entry->method = jdy_spi_text(0, 3);
	entry->id_fields = text_array_list(jdy_spi_datum(0, 4, &isnull));
	entry->number_field = jdy_spi_text(0, 5);
	entry->detail_api = jdy_spi_text(0, 6);
	entry->detail_param = jdy_spi_text(0, 7);
	entry->start_param = jdy_spi_text(0, 8);
	entry->end_param = jdy_spi_text(0, 9);
	format = jdy_spi_text(0, 10);
	entry->format = format == NULL ? WINDOW_NONE : strcmp(format, "ms") == 0 ? WINDOW_MS :
		strcmp(format, "s") == 0 ? WINDOW_SECONDS : strcmp(format, "datetime") == 0 ? WINDOW_DATETIME : WINDOW_DATE;
	entry->fixed = DatumGetJsonbPCopy(jdy_spi_datum(0, 11, &isnull));
	entry->modified_field = jdy_spi_text(0, 12);
	entry->list_secrets = text_array_list(jdy_spi_datum(0, 13, &isnull));
	entry->detail_secrets = text_array_list(jdy_spi_datum(0, 14, &isnull));
	entry->no_edge = jdy_spi_text(0, 15);
	entry->page_param = jdy_spi_text(0, 16);
	entry->size_param = jdy_spi_text(0, 17);
	entry->required = text_array_list(jdy_spi_datum(0, 18, &isnull));
	entry->range_param = jdy_spi_text(0, 19);
	entry->range_end_params = text_array_list(jdy_spi_datum(0, 20, &isnull));
	format = jdy_spi_text(0, 21);
	entry->range_format = format != NULL && strcmp(format, "period") == 0 ? WINDOW_PERIOD : WINDOW_DATE;
	entry->rich_rows = jdy_spi_text(0, 22);
	return entry;
}

static List *
text_array_list(Datum array)
{
	Datum	   *elements;
	int			n;
	List	   *list = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}
