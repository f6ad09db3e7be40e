/*-------------------------------------------------------------------------
 * value.c
 *		The value language of metadata: literals, {{…}} and _function.
 *
 * Metadata says by its time variables which parameters carry the window and in
 * which unit; the window itself is the extension's own decision.  So the plan is
 * read off by evaluating each such value at two known times and looking at what
 * comes out, which understands {{LAST_SYNC_TIME}}000, _function {LAST_SYNC_TIME}*1000
 * and whatever else people write, instead of matching spellings.
 *
 * A value that cannot be evaluated is an error that quotes it.  Its own text is
 * never sent in its place: the service would ignore it and answer other rows.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client.h"
#include "compat.h"
#include "expression.h"
#include "page.h"
#include "template.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
#include "value.h"

/* A value is seen at these two times; whole days apart, so that truncation does not matter. */
#define PROBE_TIME			(INT64CONST(7305) * USECS_PER_DAY + INT64CONST(37230) * USECS_PER_SEC)
#define PROBE_DAYS			40

/* What a value's placeholders are. */
typedef struct Uses
{
	bool		current_time;
	bool		last_sync_time;
	bool		days_ago;
	bool		page_size;		/* {{PAGINATION_PAGE_SIZE}} */
	bool		start_row;		/* {{PAGINATION_START_ROW}} */
	char	   *field;			/* any other path; NULL = none */
} Uses;

static void plan_field(RequestPlan *plan, const Metadata *metadata, const Field *field, const ValueTimes *times);
static void plan_window(RequestPlan *plan, const Field *field, const Uses *uses, const ValueTimes *times);
static void plan_page_size(RequestPlan *plan, const char *name, const Field *field, const ValueTimes *times);
static void plan_fixed(RequestPlan *plan, const Field *field, const Uses *uses, const ValueTimes *times);
static WindowFormat window_format(const Field *field, const ValueTimes *times);
static bool looks_like(const char *text, const char *pattern);
static const char *spelling(const Metadata *metadata, const Field *field, bool *is_page, bool *is_size);
static bool narrows(const char *name, const char *value);
static void find_uses(Jsonb *value, Uses *uses);
static void find_uses_in_text(const char *text, Uses *uses);
static const char *function_body(const char *text);
static char *container_value(Jsonb *container, Jsonb *record, const ValueTimes *times);

RequestPlan *
jdy_request_plan(const Metadata *metadata, const ValueTimes *times)
{
	RequestPlan *plan = palloc0(sizeof(RequestPlan));
	ListCell   *cell;

	foreach(cell, metadata->request)
		plan_field(plan, metadata, lfirst(cell), times);
	return plan;
}

char *
jdy_window_value(WindowFormat format, TimestampTz at, pg_tz *time_zone)
{
	int64		us = at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	int64		unit = format == WINDOW_MS ? 1000 : USECS_PER_SEC;
	int64		whole = us >= 0 ? us / unit : -((-us + unit - 1) / unit);
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;

	if (format == WINDOW_MS || format == WINDOW_SECONDS)
		return psprintf(INT64_FORMAT, whole);
	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, &zone, &tm, &fsec, NULL, time_zone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	if (format == WINDOW_DATE)
		return psprintf("%04d-%02d-%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
	if (format == WINDOW_PERIOD)
		return psprintf("%04d%02d", tm.tm_year, tm.tm_mon);
	return psprintf("%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year, tm.tm_mon, tm.tm_mday,
					tm.tm_hour, tm.tm_min, tm.tm_sec);
}

bool
jdy_window_time(const char *text, pg_tz *time_zone, TimestampTz *at)
{
	int			digits = (int) strspn(text, "0123456789");

	if (looks_like(text, "####-##-##"))
		return jdy_datetime_parse(psprintf("%s 00:00:00", text), time_zone, at);
	if (digits < 9 || digits > 15 || strspn(text, "0123456789.") != strlen(text))
		return jdy_datetime_parse(text, time_zone, at);
	*at = strtoi64(text, NULL, 10) * (digits > 11 ? 1000 : USECS_PER_SEC) - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	return true;
}

bool
jdy_datetime_parse(const char *text, pg_tz *time_zone, TimestampTz *at)
{
	struct pg_tm tm = {0};
	int			zone;
	int			used = 0;

	if (sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
			   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6 || text[used] != '\0' ||
		!IS_VALID_JULIAN(tm.tm_year, tm.tm_mon, tm.tm_mday) || tm.tm_mon < 1 || tm.tm_mon > 12 ||
		tm.tm_mday < 1 || tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1] ||
		tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 59)
		return false;
	zone = DetermineTimeZoneOffset(&tm, time_zone);
	return tm2timestamp(&tm, 0, &zone, at) == 0;
}

char *
jdy_value_text(Jsonb *value, Jsonb *record, const ValueTimes *times)
{
	JsonbValue	scalar;

	if (value == NULL)
		return NULL;
	if (!JsonbExtractScalar(&value->root, &scalar))
		return container_value(value, record, times);
	if (scalar.type != jbvString)
		return jdy_jsonb_value_text(&scalar);
	return jdy_text_value(pnstrdup(scalar.val.string.val, scalar.val.string.len), record, times);
}

/* One parameter: of the paging, of the window, or fixed. */
static void
plan_field(RequestPlan *plan, const Metadata *metadata, const Field *field, const ValueTimes *times)
{
	bool		is_page;
	bool		is_size;
	const char *name = spelling(metadata, field, &is_page, &is_size);
	Uses		uses = {0};
	ListCell   *cell;

	foreach(cell, field->children)
	{
		const Field *child = lfirst(cell);

		if (!jdy_jsonb_is_empty(child->value))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a stream's request cannot have nested parameters"),
					 errdetail("\"%s\" has the child \"%s\".", field->field, child->field),
					 errhint("Lists are asked with plain parameters: give \"%s\" itself a value.", field->field)));
	}

	find_uses(field->value, &uses);
	if (uses.start_row)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("paging by row offset is not supported"),
				 errdetail("The parameter is \"%s\".", field->field),
				 errhint("Use the list's page number: {\"field\": \"page\", \"value\": \"1\"}.")));
	if (is_page)
		plan->page_param = pstrdup(name);
	else if (is_size || uses.page_size)
		plan_page_size(plan, name, field, times);
	else if (jdy_jsonb_is_empty(field->value))
		return;					/* in pasted metadata an empty value means that the parameter is not used */
	else if (uses.current_time || uses.last_sync_time || uses.days_ago)
		plan_window(plan, field, &uses, times);
	else
		plan_fixed(plan, field, &uses, times);
}

/* LAST_SYNC_TIME makes a start, CURRENT_TIME an end; n days ago is a start unless its name says otherwise. */
static void
plan_window(RequestPlan *plan, const Field *field, const Uses *uses, const ValueTimes *times)
{
	bool		named_end = strstr(field->field, "end") != NULL || strstr(field->field, "expire") != NULL;
	bool		is_start = uses->last_sync_time || (uses->days_ago && !named_end);
	char	  **param = is_start ? &plan->start_param : &plan->end_param;

	if (*param != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata has two parameters for the same end of the window"),
				 errdetail("\"%s\" and \"%s\" both hold the window's %s.", *param, field->field,
						   is_start ? "start" : "end"),
				 errhint("Keep the pair that filters by modify time; changes are found by it.")));
	*param = pstrdup(field->field);
	if (is_start)
		plan->start_format = window_format(field, times);
	else
		plan->end_format = window_format(field, times);
}

static void
plan_page_size(RequestPlan *plan, const char *name, const Field *field, const ValueTimes *times)
{
	Uses		uses = {0};
	char	   *text;
	int64		size;
	char	   *end;

	plan->size_param = pstrdup(name);
	find_uses(field->value, &uses);
	if (uses.page_size || jdy_jsonb_is_empty(field->value))
		return;
	text = jdy_value_text(field->value, NULL, times);
	size = text ? strtoi64(text, &end, 10) : 0;
	if (text == NULL || *end != '\0' || size < 1 || size > 100000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page size is not a number of rows"),
				 errdetail("\"%s\" is \"%s\".", field->field, text ? text : ""),
				 errhint("The most that Kingdee answers is 100.")));
	plan->page_size = (int) size;
}

static void
plan_fixed(RequestPlan *plan, const Field *field, const Uses *uses, const ValueTimes *times)
{
	CallParam  *param = palloc(sizeof(CallParam));

	if (uses->field != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a stream's request has no record to take a field from"),
				 errdetail("\"%s\" uses {{%s}}.", field->field, uses->field),
				 errhint("The variables of a request are CURRENT_TIME, LAST_SYNC_TIME and DAYS_AGO_n.")));
	param->name = pstrdup(field->field);
	param->value = jdy_value_text(field->value, NULL, times);
	if (param->value == NULL || *param->value == '\0')
		return;
	plan->fixed = lappend(plan->fixed, param);
	if (!narrows(param->name, param->value))
		plan->untouched = lappend(plan->untouched, param->name);
}

/* What the value is at two times tells its unit, whatever was done to it on the way. */
static WindowFormat
window_format(const Field *field, const ValueTimes *times)
{
	ValueTimes	probe = {PROBE_TIME, PROBE_TIME, times->time_zone};
	char	   *early = jdy_value_text(field->value, NULL, &probe);
	char	   *late;
	int64		difference;

	probe.current_time += PROBE_DAYS * USECS_PER_DAY;
	probe.last_sync_time = probe.current_time;
	late = jdy_value_text(field->value, NULL, &probe);

	if (early != NULL && late != NULL && strcmp(early, late) != 0)
	{
		if (looks_like(early, "####-##-## ##:##:##") && looks_like(late, "####-##-## ##:##:##"))
			return WINDOW_DATETIME;
		if (looks_like(early, "####-##-##") && looks_like(late, "####-##-##"))
			return WINDOW_DATE;
		/* A fraction of nothing but zeros comes from expressions that divide. */
		if (strspn(early, "0123456789") >= 9 && strspn(late, "0123456789") >= 9 &&
			strspn(early, "0123456789.") == strlen(early) && strspn(late, "0123456789.") == strlen(late))
		{
			difference = strtoi64(late, NULL, 10) - strtoi64(early, NULL, 10);
			if (difference == PROBE_DAYS * SECS_PER_DAY)
				return WINDOW_SECONDS;
			if (difference == PROBE_DAYS * SECS_PER_DAY * INT64CONST(1000))
				return WINDOW_MS;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a parameter of the window has no unit that is known"),
			 errdetail("\"%s\" gives \"%s\" for one time and \"%s\" for another.", field->field,
					   early ? early : "", late ? late : ""),
			 errhint("A time is sent as milliseconds or seconds since 1970, yyyy-MM-dd HH:mm:ss or yyyy-MM-dd, such as \"_function {CURRENT_TIME}*1000\" or \"{{CURRENT_TIME|datetime}}\".")));
}

/* '#' stands for a digit. */
static bool
looks_like(const char *text, const char *pattern)
{
	for (; *pattern != '\0'; pattern++, text++)
	{
		if (*pattern == '#' ? !(*text >= '0' && *text <= '9') : *text != *pattern)
			return false;
	}
	return *text == '\0';
}

/* The parameter's name as the service knows it, and whether it is one of the paging. */
static const char *
spelling(const Metadata *metadata, const Field *field, bool *is_page, bool *is_size)
{
	static const char *const page_names[] = {"page", "pageNo", "page_no", "pageIndex", "page_index", "pageNum"};
	static const char *const size_names[] = {"page_size", "pagesize", "pageSize"};
	bool		kingdee = strncmp(metadata->api + (metadata->api[0] == '/'), "jdy/v2/", 7) == 0;

	*is_page = *is_size = false;
	for (int i = 0; i < lengthof(page_names); i++)
		*is_page = *is_page || strcmp(field->field, page_names[i]) == 0;
	for (int i = 0; i < lengthof(size_names); i++)
		*is_size = *is_size || strcmp(field->field, size_names[i]) == 0;
	if (!kingdee || !*is_size || strcmp(field->field, "page_size") == 0)
		return field->field;

	/* Published metadata has it wrong; the service then ignores it and answers ten rows a page. */
	ereport(NOTICE,
			(errmsg("parameter \"%s\" is sent as \"%s\"", field->field, "page_size"),
			 errdetail("Kingdee ignores the other spelling.")));
	return "page_size";
}

/* Whether a fixed parameter can leave records out: not one for the order, for more fields, or for "any". */
static bool
narrows(const char *name, const char *value)
{
	return !(strcmp(name, "order_by") == 0 || strncmp(name, "show_", 5) == 0 ||
			 (strcmp(name, "enable") == 0 && strcmp(value, "-1") == 0));
}

static void
find_uses(Jsonb *value, Uses *uses)
{
	ListCell   *cell;

	foreach(cell, jdy_jsonb_texts(value))
		find_uses_in_text(lfirst(cell), uses);
}

static void
find_uses_in_text(const char *text, Uses *uses)
{
	Placeholder placeholder;

	for (; jdy_placeholder_next(text, &placeholder); text = placeholder.end)
	{
		if (strcmp(placeholder.path, "CURRENT_TIME") == 0)
			uses->current_time = true;
		else if (strcmp(placeholder.path, "LAST_SYNC_TIME") == 0)
			uses->last_sync_time = true;
		else if (jdy_placeholder_is_time(&placeholder))
			uses->days_ago = true;
		else if (strcmp(placeholder.path, "PAGINATION_PAGE_SIZE") == 0)
			uses->page_size = true;
		else if (strcmp(placeholder.path, "PAGINATION_START_ROW") == 0)
			uses->start_row = true;
		else
			uses->field = placeholder.path;
	}
}

/* What follows "_function"; NULL when text is none. */
static const char *
function_body(const char *text)
{
	text += strspn(text, " \t\r\n");
	if (strncmp(text, "_function", 9) != 0 || strchr(" \t\r\n", text[9]) == NULL)
		return NULL;
	text += 9;
	return text + strspn(text, " \t\r\n");
}

char *
jdy_text_value(const char *text, Jsonb *record, const ValueTimes *times)
{
	const char *expression = function_body(text);
	Placeholder placeholder;
	StringInfoData result;

	if (expression != NULL)
		return jdy_expression_text(expression, record, times);
	if (!jdy_placeholder_next(text, &placeholder))
		return pstrdup(text);
	/* A template that is one placeholder can be missing; in mixed text a missing part is nothing. */
	if (placeholder.start == text && *placeholder.end == '\0')
		return jdy_placeholder_text(&placeholder, record, times);

	initStringInfo(&result);
	do
	{
		char	   *part = jdy_placeholder_text(&placeholder, record, times);

		appendBinaryStringInfo(&result, text, placeholder.start - text);
		if (part != NULL)
			appendStringInfoString(&result, part);
		text = placeholder.end;
	} while (jdy_placeholder_next(text, &placeholder));
	appendStringInfoString(&result, text);
	return result.data;
}

/* An array or object as JSON text, every string in it evaluated. */
static char *
container_value(Jsonb *container, Jsonb *record, const ValueTimes *times)
{
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbIterator *iterator = JsonbIteratorInit(&container->root);
	JsonbIteratorToken token;
	JsonbValue	part;
	Jsonb	   *filled;

	while ((token = JsonbIteratorNext(&iterator, &part, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && part.type == jbvString)
		{
			char	   *text = jdy_text_value(pnstrdup(part.val.string.val, part.val.string.len), record, times);

			part.type = text ? jbvString : jbvNull;
			part.val.string.val = text;
			part.val.string.len = text ? strlen(text) : 0;
		}
		result = pushJsonbValue(&state, token, token < WJB_BEGIN_ARRAY ? &part : NULL);
	}
	filled = JsonbValueToJsonb(result);
	return JsonbToCString(NULL, &filled->root, VARSIZE(filled));
}
