/*-------------------------------------------------------------------------
 * compile.c
 *		A mapping as the SQL of a view.
 *
 * What comes out should be what a careful person would have written: one
 * expression a column, plain operators where they do, and nothing that fails at a
 * bad value.  A nested object or array is filled as jdy_render fills it, but by
 * jsonb_build_object, so that the planner and the reader see which fields it takes.
 *
 * Pure text: nothing is looked up and nothing run.  Called by mapping.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "compile.h"
#include "condition.h"
#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "name.h"
#include "pgtime.h"
#include "render.h"
#include "template.h"
#include "utils/builtins.h"

#define MAX_ARGUMENTS 100		/* that PostgreSQL passes to one function */

#define COLUMN_HINT \
	"A column is a path (\"name\"), a template (\"{{number}} {{name}}\"), an object or array of templates," \
	" {\"value\": constant}, or {\"column\": path, \"as\": type, \"default\": constant}."

/* Keys of a mapping that are no columns. */
typedef struct Specials
{
	JsonbValue *where;
	char	   *flat;
	bool		deleted;
} Specials;

static void read_specials(JsonbContainer *mapping, Specials *specials);
static void add_column(ViewText *view, const char *name, JsonbValue *value);
static char *column_sql(const FieldSource *source, const char *name, JsonbValue *value);
static char *typed_sql(const FieldSource *source, const char *name, JsonbContainer *object);
static char *default_sql(const FieldSource *source, const char *name, const char *type, const JsonbValue *value);
static char *template_sql(const FieldSource *source, const char *text, bool nested);
static char *nested_sql(const FieldSource *source, const JsonbValue *value);
static char *members_sql(const FieldSource *source, JsonbContainer *container);
static bool has_placeholder(const JsonbValue *value);
static char *literal_sql(const JsonbValue *value);
static char *value_as_json(const JsonbValue *value);
static const char *type_of(JsonbContainer *object, const char *name);
static void check_name(const char *name);
pg_noreturn static void bad_column(const char *name, const char *what);

ViewText *
jdy_compile_mapping(const Jsonb *json, const char *staging, const char *time_zone, bool details)
{
	Jsonb	   *mapping = unconstify(Jsonb *, json);
	ViewText   *view = palloc0(sizeof(ViewText));
	Specials	specials = {0};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	part;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(mapping))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping is not a JSON object"),
				 errhint("A mapping looks like {\"customer_id\": \"id\", \"customer_name\": \"name\"}.")));
	read_specials(&mapping->root, &specials);
	view->source = (FieldSource) {staging, specials.flat, NULL, time_zone};

	add_column(view, "id", getKeyJsonValueFromContainer(&mapping->root, "id", 2, NULL));
	iterator = JsonbIteratorInit(&mapping->root);
	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(part.val.string.val, part.val.string.len);
		else if (token == WJB_VALUE && *name != '$' && strcmp(name, "id") != 0)
			add_column(view, name, &part);
	}
	if (specials.where != NULL)
	{
		char	   *condition = jdy_condition_sql(&view->source, specials.where);

		if (condition != NULL)
			view->conditions = lappend(view->conditions, condition);
	}
	jdy_view_leave_out(view, !specials.deleted, details);
	return view;
}

char *
jdy_view_select(const ViewText *view)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	foreach(cell, view->columns)
	{
		ViewColumn *column = lfirst(cell);

		appendStringInfo(&sql, "%s%s AS %s", cell == list_head(view->columns) ? "" : ", ",
						 column->expression, quote_identifier(column->name));
	}
	appendStringInfo(&sql, " FROM %s", jdy_field_from(&view->source));
	foreach(cell, view->conditions)
		appendStringInfo(&sql, "%s%s", cell == list_head(view->conditions) ? " WHERE " : " AND ", (char *) lfirst(cell));
	return sql.data;
}

void
jdy_view_leave_out(ViewText *view, bool deleted, bool undetailed)
{
	if (deleted)
		view->conditions = lappend(view->conditions, "s.deleted_at IS NULL");
	if (undetailed)
		view->conditions = lappend(view->conditions, "s.detailed_at IS NOT NULL");
}

static void
read_specials(JsonbContainer *mapping, Specials *specials)
{
	static const char *const words[] = {"$where", "$flat", "$deleted"};
	JsonbIterator *iterator = JsonbIteratorInit(mapping);
	JsonbIteratorToken token;
	JsonbValue	part;
	JsonbValue *flat = getKeyJsonValueFromContainer(mapping, "$flat", 5, NULL);
	JsonbValue *deleted = getKeyJsonValueFromContainer(mapping, "$deleted", 8, NULL);

	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		char	   *word = token == WJB_KEY ? pnstrdup(part.val.string.val, part.val.string.len) : NULL;
		Closest		closest = {.word = word};
		bool		known = false;

		if (word == NULL || *word != '$')
			continue;
		for (int i = 0; i < lengthof(words); i++)
		{
			known = known || strcmp(word, words[i]) == 0;
			jdy_closest(&closest, words[i]);
		}
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mapping has an unknown key that begins with $"),
					 errdetail("It is \"%s\".", word),
					 closest.best ? errhint("Perhaps you meant \"%s\".", closest.best) :
					 errhint("There are $where, $flat and $deleted; a column cannot be called so.")));
	}

	specials->where = getKeyJsonValueFromContainer(mapping, "$where", 6, NULL);
	if (flat != NULL)
	{
		/* The Qeasy platform's beatFlat is an array of one name. */
		if (flat->type == jbvBinary && JsonContainerIsArray(flat->val.binary.data) &&
			JsonContainerSize(flat->val.binary.data) == 1)
			flat = getIthJsonbValueFromContainer(flat->val.binary.data, 0);
		specials->flat = flat->type == jbvString ? jdy_jsonb_value_text(flat) : NULL;
		if (specials->flat == NULL || !jdy_is_path(specials->flat) || strchr(specials->flat, '[') != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"$flat\" is no path"),
					 errdetail("It is %s.", value_as_json(flat)),
					 errhint("It names the array whose elements become rows, such as \"material_entity\".")));
	}
	if (deleted != NULL && deleted->type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"$deleted\" is neither true nor false"),
				 errdetail("It is %s.", value_as_json(deleted)),
				 errhint("true keeps records that are gone at the source.")));
	specials->deleted = deleted != NULL && deleted->val.boolean;
}

/* value NULL: the id that no mapping names. */
static void
add_column(ViewText *view, const char *name, JsonbValue *value)
{
	ViewColumn *column = palloc(sizeof(ViewColumn));
	char	   *text = value && value->type == jbvString ? jdy_jsonb_value_text(value) : NULL;
	bool		row_id = strcmp(name, "id") == 0 &&
		(value == NULL || (text && (strcmp(text, "id") == 0 || strcmp(text, "{{id}}") == 0)));

	check_name(name);
	column->name = name;
	if (row_id)
	{
		column->expression = jdy_field_id(&view->source);
		column->comment = view->source.flat == NULL ? "the record's id" :
			psprintf("id of the record, -, and id of the element of %s or, where it has none, its place", view->source.flat);
	}
	else
	{
		column->expression = column_sql(&view->source, name, value);
		column->comment = text ? text : value_as_json(value);
	}
	view->columns = lappend(view->columns, column);
}

static char *
column_sql(const FieldSource *source, const char *name, JsonbValue *value)
{
	JsonbContainer *object;
	JsonbValue *constant;
	Placeholder placeholder;
	char	   *text;

	if (value->type == jbvString)
	{
		text = jdy_jsonb_value_text(value);
		jdy_template_check(text);
		if (jdy_is_path(text))
			return jdy_field_plain(source, text);
		if (!jdy_placeholder_next(text, &placeholder))
			bad_column(name, psprintf("\"%s\" is neither a path nor a template", text));
		return template_sql(source, text, false);
	}
	if (value->type != jbvBinary)
		bad_column(name, psprintf("%s is no path", value_as_json(value)));
	object = value->val.binary.data;
	if (!JsonContainerIsObject(object))
		return nested_sql(source, value);
	constant = getKeyJsonValueFromContainer(object, "value", 5, NULL);
	if (constant != NULL && JsonContainerSize(object) == 1)
		return constant->type == jbvNull ? "NULL::text" : literal_sql(constant);
	if (getKeyJsonValueFromContainer(object, "column", 6, NULL) != NULL &&
		(JsonContainerSize(object) == 1 || getKeyJsonValueFromContainer(object, "as", 2, NULL) != NULL ||
		 getKeyJsonValueFromContainer(object, "default", 7, NULL) != NULL))
		return typed_sql(source, name, object);
	return nested_sql(source, value);
}

/* {"column": path, "as": type, "default": constant} */
static char *
typed_sql(const FieldSource *source, const char *name, JsonbContainer *object)
{
	static const char *const keys[] = {"column", "as", "default"};
	JsonbValue *column = getKeyJsonValueFromContainer(object, "column", 6, NULL);
	JsonbValue *otherwise = getKeyJsonValueFromContainer(object, "default", 7, NULL);
	char	   *path = column->type == jbvString ? jdy_jsonb_value_text(column) : NULL;
	const char *type = type_of(object, name);
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	part;
	char	   *sql;

	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		char	   *key = token == WJB_KEY ? pnstrdup(part.val.string.val, part.val.string.len) : NULL;
		Closest		closest = {.word = key};
		bool		known = key == NULL;

		for (int i = 0; key != NULL && i < lengthof(keys); i++)
		{
			known = known || strcmp(key, keys[i]) == 0;
			jdy_closest(&closest, keys[i]);
		}
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a column of the mapping has an unknown key"),
					 errdetail("Column \"%s\" has \"%s\".", name, key),
					 closest.best ? errhint("Perhaps you meant \"%s\".", closest.best) : errhint("%s", COLUMN_HINT)));
	}
	if (path == NULL || !jdy_is_path(path))
		bad_column(name, psprintf("%s is no path", value_as_json(column)));
	if (strchr(path, '[') != NULL && strcmp(type, "text") != 0 && strcmp(type, "jsonb") != 0)
		bad_column(name, psprintf("\"%s\" gives an array, which is no %s", path, type));

	sql = jdy_field_typed(source, path, type);
	if (otherwise == NULL || otherwise->type == jbvNull)
		return sql;
	/* What is unset comes as "", and that is what a default is for. */
	return psprintf(strcmp(type, "text") == 0 ? "COALESCE(NULLIF(%s, ''), %s)" : "COALESCE(%s, %s)",
					sql, default_sql(source, name, type, otherwise));
}

/* A constant of the type; checked here, so that the error names the column. */
static char *
default_sql(const FieldSource *source, const char *name, const char *type, const JsonbValue *value)
{
	struct pg_tm tm;
	char	   *text = jdy_jsonb_value_text(value);
	char	   *literal;

	if (strcmp(type, "jsonb") == 0)
		return psprintf("%s::jsonb", quote_literal_cstr(value_as_json(value)));
	if (strcmp(type, "text") == 0 && IsAJsonbScalar(value))
		return quote_literal_cstr(text);
	if (strcmp(type, "boolean") == 0 && value->type == jbvBool)
		return text;
	if ((strcmp(type, "numeric") == 0 && jdy_is_number(text, &literal)) ||
		((strcmp(type, "integer") == 0 || strcmp(type, "bigint") == 0) && jdy_is_number(text, &literal) &&
		 strchr(literal, '.') == NULL && strlen(literal) <= (*type == 'i' ? 9 : 18)))
		return psprintf("%s::%s", quote_literal_cstr(literal), type);
	/* What jdy_local_time takes means the same under every DateStyle. */
	if ((strcmp(type, "date") == 0 || strncmp(type, "timestamp", 9) == 0) && value->type == jbvString &&
		jdy_local_time(text, &tm))
		return strcmp(type, "timestamptz") != 0 ? psprintf("%s::%s", quote_literal_cstr(text), type) :
			psprintf("(%s::timestamp AT TIME ZONE %s)", quote_literal_cstr(text), quote_literal_cstr(source->time_zone));
	bad_column(name, psprintf("default %s is no %s", value_as_json(value), type));
}

/* Text as it stands between fields; a lone field keeps its type where it is nested in JSON. */
static char *
template_sql(const FieldSource *source, const char *text, bool nested)
{
	Placeholder placeholder;
	StringInfoData sql;
	int			n = 0;
	bool		alone;

	if (!jdy_placeholder_next(text, &placeholder))
		return quote_literal_cstr(text);
	alone = placeholder.start == text && *placeholder.end == '\0';
	if (alone && placeholder.filter == NULL)
		return nested ? jdy_field_json(source, placeholder.path) : jdy_field_plain(source, placeholder.path);
	if (alone)
		return jdy_field_filtered(source, placeholder.path, placeholder.filter);

	initStringInfo(&sql);
	do
	{
		if (placeholder.start > text)
			appendStringInfo(&sql, "%s%s", n++ > 0 ? " || " : "", quote_literal_cstr(pnstrdup(text, placeholder.start - text)));
		appendStringInfo(&sql, "%sCOALESCE(%s, '')", n++ > 0 ? " || " : "",
						 placeholder.filter == NULL ? jdy_field_text(source, placeholder.path) :
						 psprintf("%s::text", jdy_field_filtered(source, placeholder.path, placeholder.filter)));
		text = placeholder.end;
	} while (jdy_placeholder_next(text, &placeholder));
	if (*text != '\0')
		appendStringInfo(&sql, " || %s", quote_literal_cstr(text));
	return sql.data;
}

static char *
nested_sql(const FieldSource *source, const JsonbValue *value)
{
	char	   *text;

	check_stack_depth();
	if (!has_placeholder(value))
		return value->type == jbvNull ? "NULL::jsonb" : literal_sql(value);
	if (value->type == jbvBinary)
		return members_sql(source, value->val.binary.data);
	text = jdy_jsonb_value_text(value);
	return template_sql(source, text, true);
}

/* jsonb_build_object(…) or jsonb_build_array(…), in several pieces when it has very many members. */
static char *
members_sql(const FieldSource *source, JsonbContainer *container)
{
	bool		object = JsonContainerIsObject(container);
	const char *build = object ? "jsonb_build_object(" : "jsonb_build_array(";
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	part;
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfoString(&sql, build);
	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		if (token != WJB_KEY && token != WJB_VALUE && token != WJB_ELEM)
			continue;
		if (n == MAX_ARGUMENTS)
		{
			appendStringInfo(&sql, ") || %s", build);
			n = 0;
		}
		appendStringInfo(&sql, "%s%s", n++ > 0 ? ", " : "", token == WJB_KEY ? literal_sql(&part) : nested_sql(source, &part));
	}
	appendStringInfoChar(&sql, ')');
	return psprintf("(%s)", sql.data);
}

/* Checks its templates on the way. */
static bool
has_placeholder(const JsonbValue *value)
{
	Placeholder placeholder;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	part;
	bool		found = false;
	char	   *text;

	if (value->type == jbvString)
	{
		text = jdy_jsonb_value_text(value);
		jdy_template_check(text);
		return jdy_placeholder_next(text, &placeholder);
	}
	if (value->type != jbvBinary)
		return false;
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &part, false)) != WJB_DONE)
		if ((token == WJB_VALUE || token == WJB_ELEM) && part.type == jbvString && has_placeholder(&part))
			found = true;
	return found;
}

static char *
literal_sql(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNumeric:
		case jbvBool:
			return jdy_jsonb_value_text(value);
		case jbvString:
			return quote_literal_cstr(jdy_jsonb_value_text(value));
		default:
			return psprintf("%s::jsonb", quote_literal_cstr(value_as_json(value)));
	}
}

static char *
value_as_json(const JsonbValue *value)
{
	Jsonb	   *json = JsonbValueToJsonb(unconstify(JsonbValue *, value));

	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/* text where none is given. */
static const char *
type_of(JsonbContainer *object, const char *name)
{
	JsonbValue *as = getKeyJsonValueFromContainer(object, "as", 2, NULL);
	char	   *type = as && as->type == jbvString ? jdy_jsonb_value_text(as) : NULL;
	Closest		closest = {.word = type ? type : ""};

	if (as == NULL)
		return "text";
	for (int i = 0; jdy_field_types[i] != NULL; i++)
	{
		if (type != NULL && strcmp(type, jdy_field_types[i]) == 0)
			return jdy_field_types[i];
		jdy_closest(&closest, jdy_field_types[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a column of the mapping has an unknown type"),
			 errdetail("Column \"%s\" is to be %s.", name, value_as_json(as)),
			 closest.best ? errhint("Perhaps you meant \"%s\".", closest.best) :
			 errhint("Types are text, numeric, integer, bigint, boolean, date, timestamp, timestamptz and jsonb.")));
}

static void
check_name(const char *name)
{
	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("a column of the mapping cannot be called so"),
				 errdetail("Its name is \"%s\".", name),
				 errhint("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

static void
bad_column(const char *name, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a column of the mapping cannot be understood"),
			 errdetail("Column \"%s\": %s.", name, what),
			 errhint("%s", COLUMN_HINT)));
}
