/*-------------------------------------------------------------------------
 * fieldsql.c
 *		A field of a record as a SQL expression.
 *
 * The service writes everything as text sooner or later: amounts are text in
 * lists and numbers in details, what is unset is "".  So a typed column must
 * take whatever comes and be NULL where it is no such value; a view that fails at
 * one bad row is of no use to anybody.
 *
 * That is done with PostgreSQL's own functions and no helpers of ours: functions
 * in a view are called with the rights of whoever reads it, so with helpers a
 * GRANT SELECT would not be enough.  A CASE guards the cast of a number; the
 * calendar is jsonpath's datetime(), which gives nothing where it finds no time.
 *
 * Pure text: nothing is looked up.  Called by compile.c, condition.c and
 * streamview.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fieldsql.h"
#include "lib/stringinfo.h"
#include "template.h"
#include "utils/builtins.h"

/* What PostgreSQL casts to numeric for certain; [0-9], since \d means more in some locales. */
#define NUMBER_PATTERN "^ *[-+]?[0-9]{1,100}([.][0-9]{1,100})? *$"
#define MAX_DIGITS 100			/* the same as in the patterns */

/* A date, or a time without zone; jsonpath sees to the calendar. */
#define TIME_PATTERN "^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9:.]+)?$"

/* A path taken apart. */
typedef struct Place
{
	const char *column;			/* of the staging table or of d, as SQL; NULL = none, base and rest count */
	bool		is_time;		/* that column is a timestamptz */
	const char *base;			/* jsonb expression */
	const char *rest;			/* path in it; "" = the base itself */
} Place;

const char *const jdy_field_types[] = {
	"text", "numeric", "integer", "bigint", "boolean", "date", "timestamp", "timestamptz", "jsonb", NULL
};

static Place place_of(const FieldSource *source, const char *path);
static char *place_json(const Place *place);
static char *place_text(const Place *place);
static char *place_time(const FieldSource *source, const Place *place, const char *type);
static char *member_path(const char *path);
static char *json_path(const char *path);
static char *whole_number(const char *text, int digits, const char *type, const char *range);

char *
jdy_field_json(const FieldSource *source, const char *path)
{
	Place		place = place_of(source, path);

	return place_json(&place);
}

char *
jdy_field_text(const FieldSource *source, const char *path)
{
	Place		place = place_of(source, path);

	return place_text(&place);
}

char *
jdy_field_plain(const FieldSource *source, const char *path)
{
	Place		place = place_of(source, path);

	if (place.column != NULL)
		return pstrdup(place.column);
	return strchr(place.rest, '[') != NULL ? place_json(&place) : place_text(&place);
}

char *
jdy_field_typed(const FieldSource *source, const char *path, const char *type)
{
	Place		place = place_of(source, path);
	char	   *text = place_text(&place);

	if (strcmp(type, "text") == 0)
		return text;
	if (strcmp(type, "jsonb") == 0)
		return place_json(&place);
	if (strcmp(type, "numeric") == 0)
		return psprintf("CASE WHEN %s ~ '" NUMBER_PATTERN "' THEN (%s)::numeric END", text, text);
	if (strcmp(type, "integer") == 0)
		return whole_number(text, 10, type, "-2147483648 AND 2147483647");
	if (strcmp(type, "bigint") == 0)
		return whole_number(text, 19, type, "-9223372036854775808 AND 9223372036854775807");
	if (strcmp(type, "boolean") == 0)
		return psprintf("CASE WHEN lower(%s) IN ('true', 't', 'yes', 'y', 'on', '1') THEN true"
						" WHEN lower(%s) IN ('false', 'f', 'no', 'n', 'off', '0') THEN false END", text, text);
	return place_time(source, &place, type);
}

char *
jdy_field_filtered(const FieldSource *source, const char *path, const char *filter)
{
	Place		place = place_of(source, path);

	if (strcmp(filter, "timestamp_ms") == 0)
		return psprintf("floor(EXTRACT(epoch FROM %s) * 1000)::bigint", place_time(source, &place, "timestamptz"));
	return psprintf("to_char(%s, 'YYYY-MM-DD HH24:MI:SS')", place_time(source, &place, "timestamp"));
}

bool
jdy_field_is_key(const char *path)
{
	return strcmp(path, "id") == 0 || strcmp(path, "number") == 0;
}

bool
jdy_is_number(const char *text, char **literal)
{
	const char *from = text + strspn(text, " ");
	const char *digits = from + (*from == '-' || *from == '+');
	size_t		whole = strspn(digits, "0123456789");
	size_t		fraction = digits[whole] == '.' ? strspn(digits + whole + 1, "0123456789") : 0;
	const char *end = digits + whole + (digits[whole] == '.') + fraction;

	if (whole == 0 || whole > MAX_DIGITS || fraction > MAX_DIGITS || (digits[whole] == '.' && fraction == 0) ||
		end[strspn(end, " ")] != '\0')
		return false;
	*literal = psprintf("%s%s", *from == '-' ? "-" : "", pnstrdup(digits, end - digits));
	return true;
}

/* A short text is hidden whole: five characters of seven would give it away. */
char *
jdy_field_masked(const FieldSource *source, const char *path, bool phone)
{
	char	   *text = jdy_field_text(source, path);

	if (phone)
		return psprintf("CASE WHEN length(%s) >= 8 THEN left(%s, 3) || '***' || right(%s, 2) WHEN %s <> '' THEN '***' END",
						text, text, text, text);
	return psprintf("CASE WHEN %s <> '' THEN '***' END", text);
}

/* An array that is none (the service writes "" for an empty one) has no elements. */
char *
jdy_field_elements(const FieldSource *source)
{
	Place		array = {.base = "s.data",.rest = source->flat};
	char	   *json = source->record ? psprintf("d.%s", quote_identifier(source->flat)) : place_json(&array);

	return psprintf("jsonb_array_elements(CASE jsonb_typeof(%s) WHEN 'array' THEN %s END)"
					" WITH ORDINALITY e (entry, place)", json, json);
}

char *
jdy_field_from(const FieldSource *source)
{
	if (source->record != NULL)
		return psprintf("%s s CROSS JOIN LATERAL jsonb_to_record(s.data) d (%s)", source->staging, source->record);
	if (source->flat == NULL)
		return psprintf("%s s", source->staging);
	return psprintf("%s s CROSS JOIN LATERAL %s", source->staging, jdy_field_elements(source));
}

char *
jdy_field_id(const FieldSource *source)
{
	if (source->flat == NULL)
		return pstrdup("s.id");
	return pstrdup("s.id || '-' || COALESCE(NULLIF(e.entry ->> 'id', ''), NULLIF(e.entry ->> 'entry_id', ''),"
				   " NULLIF(e.entry ->> 'detail_id', ''), e.place::text)");
}

static Place
place_of(const FieldSource *source, const char *path)
{
	Place		place = {.base = "s.data",.rest = path};
	size_t		length = source->flat ? strlen(source->flat) : 0;

	place.is_time = strcmp(path, "modified_at") == 0 || strcmp(path, "synced_at") == 0;
	if (place.is_time || jdy_field_is_key(path))
		place.column = psprintf("s.%s", path);
	else if (length > 0 && strncmp(path, source->flat, length) == 0 && (path[length] == '.' || path[length] == '\0'))
	{
		place.base = "e.entry";
		place.rest = path[length] == '.' ? path + length + 1 : "";
	}
	else if (source->record != NULL && strpbrk(path, ".[") == NULL)
		place.column = psprintf("d.%s", quote_identifier(path));
	return place;
}

static char *
place_json(const Place *place)
{
	const char *rest = place->rest;

	if (place->column != NULL)
		return psprintf("to_jsonb(%s)", place->column);
	if (*rest == '\0')
		return pstrdup(place->base);
	if (strchr(rest, '[') != NULL)
		return psprintf("jsonb_path_query_array(%s, %s)", place->base, quote_literal_cstr(json_path(rest)));
	if (strchr(rest, '.') != NULL || (*rest >= '0' && *rest <= '9'))
		return psprintf("(%s #> %s)", place->base, quote_literal_cstr(member_path(rest)));
	return psprintf("(%s -> %s)", place->base, quote_literal_cstr(rest));
}

static char *
place_text(const Place *place)
{
	const char *rest = place->rest;

	if (place->is_time)
		return psprintf("%s::text", place->column);
	if (place->column != NULL)
		return pstrdup(place->column);
	if (strchr(rest, '[') != NULL)
		return psprintf("%s::text", place_json(place));
	if (*rest == '\0' || strchr(rest, '.') != NULL || (*rest >= '0' && *rest <= '9'))
		return psprintf("(%s #>> %s)", place->base, quote_literal_cstr(member_path(rest)));
	return psprintf("(%s ->> %s)", place->base, quote_literal_cstr(rest));
}

/* date, timestamp (both as it is written), or timestamptz (that in the time zone). */
static char *
place_time(const FieldSource *source, const Place *place, const char *type)
{
	char	   *zone = quote_literal_cstr(source->time_zone);
	bool		zoned = strcmp(type, "timestamptz") == 0;
	char	   *local;

	if (place->is_time)
		return zoned ? pstrdup(place->column) : psprintf("(%s AT TIME ZONE %s)::%s", place->column, zone, type);
	local = psprintf("(jsonb_path_query_first(%s, %s, silent => true) #>> '{}')::%s",
					 place->column ? place_json(place) : place->base,
					 quote_literal_cstr(psprintf("%s ? (@ like_regex \"" TIME_PATTERN "\").datetime()",
												 place->column ? "$" : json_path(place->rest))),
					 zoned ? "timestamp" : type);
	return zoned ? psprintf("(%s AT TIME ZONE %s)", local, zone) : local;
}

/* {a,0,b} for #>. */
static char *
member_path(const char *path)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	while (*path != '\0')
	{
		size_t		length = strcspn(path, ".");

		/* An unquoted null would be no name. */
		appendStringInfo(&out, pg_strncasecmp(path, "null", Max(length, 4)) == 0 ? "\"%.*s\"" : "%.*s", (int) length, path);
		path += length;
		if (*path == '.')
		{
			path++;
			appendStringInfoChar(&out, ',');
		}
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* $."a"[0]."b" for jsonpath. */
static char *
json_path(const char *path)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '$');
	while (*path != '\0')
	{
		size_t		length = strcspn(path, ".[");

		if (length == 0)
		{
			appendStringInfoString(&out, "[*]");
			length = 3;
		}
		else if (length < 9 && strspn(path, "0123456789") == length)
			appendStringInfo(&out, "[%.*s]", (int) length, path);
		else
			appendStringInfo(&out, ".\"%.*s\"", (int) length, path);
		path += length;
		if (*path == '.')
			path++;
	}
	return out.data;
}

/* Lists write whole numbers with a fraction of zeros, too.  Of so many digits a value may still be out of range. */
static char *
whole_number(const char *text, int digits, const char *type, const char *range)
{
	return psprintf("CASE WHEN %s ~ '^ *[-+]?[0-9]{1,%d}([.]0{1,100})? *$' THEN"
					" CASE WHEN (%s)::numeric BETWEEN %s THEN (%s)::numeric::%s END END",
					text, digits, text, range, text, type);
}
