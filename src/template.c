/*-------------------------------------------------------------------------
 * template.c
 *		{{path}} in text: found, and looked up.
 *
 * The Qeasy platform writes a field or a time both as {{name}} and as {name}.
 * Text that merely contains braces, such as JSON, must stay what it is, so single
 * braces count only around something that can be a path.
 *
 * Called by value.c for templates and by expression.c for _function; render.c and
 * mapping.c read paths with it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "jsonbtext.h"
#include "miscadmin.h"
#include "template.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

static JsonbValue *member(JsonbContainer *container, const char *name, size_t length);
static JsonbValue *gather(Jsonb *record, const char *path);
static void gather_from(JsonbValue *value, const char *path, JsonbParseState **state);
static bool parse_inside(const char *from, const char *until, Placeholder *placeholder);
static const char *path_end(const char *from, const char *until);
static bool is_path_byte(char c);
static bool time_of(const char *path, const ValueTimes *times, TimestampTz *at);
static char *apply_filter(const Placeholder *placeholder, TimestampTz at, pg_tz *time_zone);
static TimestampTz timestamp_of(const Placeholder *placeholder, const char *text, pg_tz *time_zone);

bool
jdy_placeholder_next(const char *from, Placeholder *placeholder)
{
	for (const char *open = strchr(from, '{'); open != NULL; open = strchr(open + 1, '{'))
	{
		bool		twice = open[1] == '{' && open[2] != '{';
		const char *inside = open + (twice ? 2 : 1);
		const char *close = strstr(inside, twice ? "}}" : "}");

		placeholder->start = open;
		if (close != NULL && parse_inside(inside, close, placeholder))
		{
			placeholder->end = close + (twice ? 2 : 1);
			return true;
		}
		if (twice)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("double braces hold no path"),
					 errdetail("The value is \"%s\".", from),
					 errhint("A path is a field's name such as {{number}} or {{a.b.0.c}}, with a filter such as {{CURRENT_TIME|datetime}}.")));
	}
	return false;
}

bool
jdy_placeholder_is_time(const Placeholder *placeholder)
{
	ValueTimes	times = {0, 0, NULL};
	TimestampTz at;

	return time_of(placeholder->path, &times, &at);
}

char *
jdy_placeholder_text(const Placeholder *placeholder, Jsonb *record, const ValueTimes *times)
{
	TimestampTz at;
	char	   *text;

	if (time_of(placeholder->path, times, &at))
		return placeholder->filter ? apply_filter(placeholder, at, times->time_zone) :
			jdy_window_value(WINDOW_SECONDS, at, times->time_zone);
	text = jdy_jsonb_value_text(jdy_jsonb_at(record, placeholder->path));
	if (text == NULL || placeholder->filter == NULL || *text == '\0')
		return text;
	return apply_filter(placeholder, timestamp_of(placeholder, text, times->time_zone), times->time_zone);
}

bool
jdy_is_path(const char *text)
{
	const char *end = text + strlen(text);
	Placeholder placeholder;

	return parse_inside(text, end, &placeholder) && placeholder.filter == NULL &&
		strcmp(placeholder.path, text) == 0 && end[-1] != '.' && strstr(text, "..") == NULL;
}

JsonbValue *
jdy_jsonb_at(Jsonb *record, const char *path)
{
	JsonbContainer *container = record ? &record->root : NULL;
	JsonbValue *value = NULL;

	if (strchr(path, '[') != NULL)
		return gather(record, path);
	while (container != NULL)
	{
		size_t		length = strcspn(path, ".");

		value = member(container, path, length);
		if (value == NULL || path[length] == '\0')
			break;
		container = value->type == jbvBinary ? value->val.binary.data : NULL;
		value = NULL;
		path += length + 1;
	}
	return value == NULL || value->type == jbvNull ? NULL : value;
}

static JsonbValue *
member(JsonbContainer *container, const char *name, size_t length)
{
	if (JsonContainerIsObject(container))
		return getKeyJsonValueFromContainer(container, name, length, NULL);
	if (JsonContainerIsArray(container) && length > 0 && length < 9 && strspn(name, "0123456789") == length)
		return getIthJsonbValueFromContainer(container, atoi(name));
	return NULL;
}

/* A path with [*] in it: an array of all that it leads to, empty when that is nothing. */
static JsonbValue *
gather(Jsonb *record, const char *path)
{
	JsonbParseState *state = NULL;
	JsonbValue *result = palloc(sizeof(JsonbValue));
	JsonbValue	root = {.type = jbvBinary};
	Jsonb	   *array;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	if (record != NULL)
	{
		root.val.binary.data = &record->root;
		root.val.binary.len = VARSIZE(record) - VARHDRSZ;
		gather_from(&root, path, &state);
	}
	array = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
	result->type = jbvBinary;
	result->val.binary.data = &array->root;
	result->val.binary.len = VARSIZE(array) - VARHDRSZ;
	return result;
}

/* As jsonpath does it: what is no array counts as an array of itself, what has no such member is left out. */
static void
gather_from(JsonbValue *value, const char *path, JsonbParseState **state)
{
	size_t		length;

	check_stack_depth();
	if (*path == '\0')
	{
		pushJsonbValue(state, WJB_ELEM, value);
		return;
	}
	if (*path == '[')
	{
		JsonbContainer *array = value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) ?
			value->val.binary.data : NULL;

		path += path[3] == '.' ? 4 : 3;
		if (array == NULL)
			gather_from(value, path, state);
		else
			for (uint32 i = 0; i < JsonContainerSize(array); i++)
				gather_from(getIthJsonbValueFromContainer(array, i), path, state);
		return;
	}
	length = strcspn(path, ".[");
	if (value->type == jbvBinary)
		value = member(value->val.binary.data, path, length);
	else
		value = NULL;
	if (value != NULL)
		gather_from(value, path[length] == '.' ? path + length + 1 : path + length, state);
}

/* "path" or "path|filter", blanks around either allowed. */
static bool
parse_inside(const char *from, const char *until, Placeholder *placeholder)
{
	const char *path;
	const char *filter;

	while (from < until && *from == ' ')
		from++;
	path = from;
	from = path_end(from, until);
	if (from == path || (*path >= '0' && *path <= '9') || *path == '.' || *path == '-')
		return false;
	placeholder->path = pnstrdup(path, from - path);
	placeholder->filter = NULL;
	while (from < until && *from == ' ')
		from++;
	if (from == until)
		return true;
	if (*from++ != '|')
		return false;
	while (from < until && *from == ' ')
		from++;
	for (filter = from; from < until && is_path_byte(*from); from++)
		;
	placeholder->filter = pnstrdup(filter, from - filter);
	while (from < until && *from == ' ')
		from++;
	return from == until;
}

/* Behind names, dots and, after a name, [*]. */
static const char *
path_end(const char *from, const char *until)
{
	const char *path = from;

	for (;;)
	{
		if (from < until && is_path_byte(*from))
			from++;
		else if (until - from >= 3 && strncmp(from, "[*]", 3) == 0 && from > path && from[-1] != '.' &&
				 (from + 3 == until || from[3] == '.' || !is_path_byte(from[3])))
			from += 3;
		else
			return from;
	}
}

static bool
is_path_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '.' || c == '-' || IS_HIGHBIT_SET(c);
}

static bool
time_of(const char *path, const ValueTimes *times, TimestampTz *at)
{
	if (strcmp(path, "CURRENT_TIME") == 0)
		*at = times->current_time;
	else if (strcmp(path, "LAST_SYNC_TIME") == 0)
		*at = times->last_sync_time;
	else if (strncmp(path, "DAYS_AGO_", 9) == 0 && path[9] != '\0' && strlen(path) < 15 &&
			 strspn(path + 9, "0123456789") == strlen(path + 9))
		*at = times->current_time - atoi(path + 9) * USECS_PER_DAY;
	else
		return false;
	return true;
}

static char *
apply_filter(const Placeholder *placeholder, TimestampTz at, pg_tz *time_zone)
{
	if (strcmp(placeholder->filter, "datetime") == 0)
		return jdy_window_value(WINDOW_DATETIME, at, time_zone);
	if (strcmp(placeholder->filter, "timestamp_ms") == 0)
		return jdy_window_value(WINDOW_MS, at, time_zone);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("filter \"%s\" is not supported", placeholder->filter),
			 errdetail("It stands in {{%s|%s}}.", placeholder->path, placeholder->filter),
			 errhint("Filters are datetime and timestamp_ms; \"_function\" takes any PostgreSQL expression.")));
}

/* A field as a time: seconds or milliseconds since 1970, or yyyy-MM-dd[ HH:mm:ss] in the zone. */
static TimestampTz
timestamp_of(const Placeholder *placeholder, const char *text, pg_tz *time_zone)
{
	struct pg_tm tm;
	Timestamp	local;
	int			zone;
	size_t		length = strlen(text);

	if (length <= 15 && strspn(text, "0123456789") == length)
	{
		int64		number = strtoi64(text, NULL, 10);
		int64		us = length > 11 ? number * 1000 : number * USECS_PER_SEC;

		return us - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	}
	if (jdy_local_time(text, &tm))
	{
		zone = DetermineTimeZoneOffset(&tm, time_zone);
		if (tm2timestamp(&tm, 0, &zone, &local) == 0)
			return local;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
			 errmsg("a field is no time that a filter can take"),
			 errdetail("{{%s}} is \"%s\".", placeholder->path, text),
			 errhint("A time is yyyy-MM-dd HH:mm:ss, yyyy-MM-dd, or seconds or milliseconds since 1970.")));
}

bool
jdy_local_time(const char *text, struct pg_tm *tm)
{
	int			used = 0;

	memset(tm, 0, sizeof(*tm));
	if (sscanf(text, "%4d-%2d-%2d%n", &tm->tm_year, &tm->tm_mon, &tm->tm_mday, &used) != 3)
		return false;
	if (text[used] != '\0')
	{
		const char *time = text + used;

		if (sscanf(time, "%*1[ T]%2d:%2d:%2d%n", &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &used) != 3)
			return false;
		time += used;
		if (*time == '.')
			time += 1 + strspn(time + 1, "0123456789");
		if (*time != '\0')
			return false;
	}
	return tm->tm_year > 0 && tm->tm_mon >= 1 && tm->tm_mon <= 12 && tm->tm_mday >= 1 &&
		tm->tm_mday <= day_tab[isleap(tm->tm_year)][tm->tm_mon - 1] &&
		tm->tm_hour >= 0 && tm->tm_hour < 24 && tm->tm_min >= 0 && tm->tm_min < 60 && tm->tm_sec >= 0 && tm->tm_sec < 60;
}
