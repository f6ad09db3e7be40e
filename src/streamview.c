/*-------------------------------------------------------------------------
 * streamview.c
 *		The views that a stream comes with.
 *
 * Where the documents name the fields of a list, nobody should have to write the
 * view that everybody writes: jdy_<stream> with each field in its type,
 * jdy_<stream>_entry with a row for each line item, and jdy_<stream>_masked, in which what the
 * service encrypts is hidden, so that it can be granted alone.  Which fields
 * there are, jdysync.catalog_field says.
 *
 * Of an array with sensitive members the masked view shows the members that the documents
 * name and no others: a new one may be sensitive, too.
 *
 * Their owner may change, rename, move and drop them.  A changed one is
 * left as it is; all of them end with the stream, wherever they are.
 *
 * Called by stream.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compile.h"
#include "lib/stringinfo.h"
#include "spi.h"
#include "streamview.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "view.h"

/* A row of jdysync.catalog_field. */
typedef struct CatalogField
{
	char	   *array;			/* NULL = a field of the record */
	char	   *name;
	char	   *type;
	char	   *label;
	char	   *sensitive;		/* phone | other; NULL = it is not */
} CatalogField;

static JdyStatement find_fields = {
	.sql = "SELECT f.entry_of, f.field, f.\"as\", f.label, f.sensitive FROM jdysync.catalog_field f WHERE f.entry = $1 ORDER BY f.place",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

static JdyStatement find_line_items = {
	.sql = "SELECT c.line_items FROM jdysync.catalog c WHERE c.entry = $1",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

/* Not by number alone: their owner may have dropped one, and the number may be another relation's after a dump was restored. */
static JdyStatement find_views = {
	.sql = "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(k.relname), k.relname::text"
	" FROM jdysync.mapped_view m JOIN jdysync.stream s ON s.stream_id = m.stream_id JOIN pg_catalog.pg_class t ON t.oid = s.staging"
	" JOIN pg_catalog.pg_class k ON k.oid = m.view JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace"
	" WHERE m.stream_id = $1 AND m.mapping IS NULL AND " JDY_IS_VIEW_OVER("k", "t"),
	.nargs = 1,
	.argtypes = {INT4OID}
};

/* What a dump of the schema alone brought. */
static JdyStatement find_leftover = {
	.sql = "SELECT true FROM pg_catalog.pg_class k, pg_catalog.pg_class t WHERE k.oid = $1 AND t.oid = $2"
	" AND k.relowner = t.relowner AND " JDY_IS_VIEW_OVER("k", "t") " AND NOT EXISTS (SELECT FROM jdysync.mapped_view m WHERE m.view = k.oid)",
	.nargs = 2,
	.argtypes = {OIDOID, OIDOID}
};

static bool has_own_types(Oid staging);
static List *read_fields(const char *entry);
static char *read_line_items(const char *entry);
static ViewText *new_view(const Stream *stream, const char *flat, const char *record, const char *comment);
static char *record_columns(List *fields);
static ViewText *typed_view(const Stream *stream, List *fields);
static ViewText *entry_view(const Stream *stream, List *fields, const char *array);
static ViewText *masked_view(const Stream *stream, List *fields);
static void add(ViewText *view, const char *name, char *expression, const char *comment);
static char *typed(const FieldSource *source, const char *path, const char *type);
static char *masked_array(const FieldSource *source, List *fields, const char *array);
static void make(const Stream *stream, const char *suffix, const ViewText *view);
static bool is_leftover(Oid view, Oid staging);
static void drop_views(int stream_id, const char *only);

void
jdy_stream_views_make(const Stream *stream)
{
	List	   *fields = stream->entry ? read_fields(stream->entry) : NIL;
	char	   *array = stream->entry ? read_line_items(stream->entry) : NULL;

	if (fields == NIL)
	{
		drop_views(stream->stream_id, NULL);
		return;
	}
	if (!has_own_types(stream->staging))
	{
		ereport(NOTICE,
				(errmsg("stream \"%s\" has no views of its fields", stream->name),
				 errdetail("Columns of table %s have other types than they were made with.", stream->staging_name),
				 errhint("Write views that fit it.")));
		return;
	}
	make(stream, "", typed_view(stream, fields));
	make(stream, "_masked", masked_view(stream, fields));
	if (array != NULL)
		make(stream, "_entry", entry_view(stream, fields, array));
	else
		drop_views(stream->stream_id, psprintf("jdy_%s_entry", stream->name));
}

void
jdy_stream_views_drop(int stream_id)
{
	drop_views(stream_id, NULL);
}

/*
 * Its owner may change the types of its columns.  What operators mean for other types is
 * nothing to find out with the extension's right.
 */
static bool
has_own_types(Oid staging)
{
	static const struct
	{
		const char *column;
		Oid			type;
	}			columns[] = {
		{"id", TEXTOID},
		{"number", TEXTOID},
		{"data", JSONBOID},
		{"detailed_at", TIMESTAMPTZOID},
		{"synced_at", TIMESTAMPTZOID},
		{"deleted_at", TIMESTAMPTZOID},
	};

	for (int i = 0; i < lengthof(columns); i++)
	{
		AttrNumber	attnum = get_attnum(staging, columns[i].column);

		if (attnum == InvalidAttrNumber || get_atttype(staging, attnum) != columns[i].type)
			return false;
	}
	return true;
}

static List *
read_fields(const char *entry)
{
	Datum		values[1] = {CStringGetTextDatum(entry)};
	List	   *fields = NIL;

	jdy_execute(&find_fields, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		CatalogField *field = palloc(sizeof(CatalogField));

		field->array = jdy_spi_text(r, 1);
		field->name = jdy_spi_text(r, 2);
		field->type = jdy_spi_text(r, 3);
		field->label = jdy_spi_text(r, 4);
		field->sensitive = jdy_spi_text(r, 5);
		fields = lappend(fields, field);
	}
	return fields;
}

/* NULL = its records have none. */
static char *
read_line_items(const char *entry)
{
	Datum		values[1] = {CStringGetTextDatum(entry)};

	jdy_execute(&find_line_items, values, NULL);
	return SPI_processed == 0 ? NULL : jdy_spi_text(0, 1);
}

static ViewText *
new_view(const Stream *stream, const char *flat, const char *record, const char *comment)
{
	ViewText   *view = palloc0(sizeof(ViewText));

	view->source = (FieldSource) {stream->staging_name, flat, record, pg_get_timezone_name(stream->endpoint->time_zone)};
	view->comment = psprintf(comment, stream->name);
	jdy_view_leave_out(view, true, stream->details);
	return view;
}

/* What a record is taken apart into. */
static char *
record_columns(List *fields)
{
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, fields)
	{
		CatalogField *field = lfirst(cell);

		if (field->array == NULL && !jdy_field_is_key(field->name))
			appendStringInfo(&columns, "%s%s %s", columns.len > 0 ? ", " : "", quote_identifier(field->name),
							 strcmp(field->type, "jsonb") == 0 ? "jsonb" : "text");
	}
	return columns.data;
}

static ViewText *
typed_view(const Stream *stream, List *fields)
{
	ViewText   *view = new_view(stream, NULL, record_columns(fields), "records of stream %s, each field in its type; NULL = empty or no such value");
	ListCell   *cell;

	foreach(cell, fields)
	{
		CatalogField *field = lfirst(cell);

		if (field->array == NULL)
			add(view, field->name, typed(&view->source, field->name, field->type), field->label);
	}
	add(view, "synced_at", "s.synced_at", "when it was last written here");
	return view;
}

static ViewText *
entry_view(const Stream *stream, List *fields, const char *array)
{
	ViewText   *view = new_view(stream, array, NULL, "line items of the records of stream %s, one row each");
	ListCell   *cell;

	add(view, "id", jdy_field_id(&view->source), "id of the record, -, and id of the line or, where it has none, its place");
	add(view, "record_id", "s.id", "id of the record");
	add(view, "record_number", "s.number", "number of the record");
	foreach(cell, fields)
	{
		CatalogField *field = lfirst(cell);

		if (field->array != NULL && strcmp(field->array, array) == 0)
			add(view, strcmp(field->name, "id") == 0 ? "entry_id" : field->name,
				typed(&view->source, psprintf("%s.%s", array, field->name), field->type), field->label);
	}
	return view;
}

static ViewText *
masked_view(const Stream *stream, List *fields)
{
	ViewText   *view = new_view(stream, NULL, record_columns(fields), "records of stream %s with sensitive fields hidden: it can be granted alone");
	ListCell   *cell;

	foreach(cell, fields)
	{
		CatalogField *field = lfirst(cell);
		char	   *array = field->array == NULL && strcmp(field->type, "jsonb") == 0 ?
			masked_array(&view->source, fields, field->name) : NULL;

		if (field->array != NULL)
			continue;
		if (field->sensitive != NULL)
			add(view, field->name, jdy_field_masked(&view->source, field->name, strcmp(field->sensitive, "phone") == 0),
				psprintf("%s (***)", field->label));
		else if (array != NULL)
			add(view, field->name, array, psprintf("%s (***)", field->label));
		else
			add(view, field->name, typed(&view->source, field->name, field->type), field->label);
	}
	add(view, "synced_at", "s.synced_at", "when it was last written here");
	return view;
}

static void
add(ViewText *view, const char *name, char *expression, const char *comment)
{
	ViewColumn *column = palloc(sizeof(ViewColumn));

	column->name = name;
	column->expression = expression;
	column->comment = unconstify(char *, comment);
	view->columns = lappend(view->columns, column);
}

/* What is unset comes as "", objects and arrays included. */
static char *
typed(const FieldSource *source, const char *path, const char *type)
{
	if (strcmp(path, "id") == 0)
		return jdy_field_plain(source, path);
	if (strcmp(type, "text") == 0)
		return psprintf("NULLIF(%s, '')", jdy_field_text(source, path));
	if (strcmp(type, "jsonb") == 0)
		return psprintf("NULLIF(%s, '\"\"'::jsonb)", source->record ? psprintf("d.%s", quote_identifier(path)) :
						jdy_field_json(source, path));
	return jdy_field_typed(source, path, type);
}

/* The array with its sensitive members hidden; NULL = it has none. */
static char *
masked_array(const FieldSource *source, List *fields, const char *array)
{
	FieldSource elements = {source->staging, array, source->record, source->time_zone};
	StringInfoData members;
	bool		sensitive = false;
	ListCell   *cell;

	initStringInfo(&members);
	foreach(cell, fields)
	{
		CatalogField *field = lfirst(cell);
		char	   *path = psprintf("%s.%s", array, field->name);

		if (field->array == NULL || strcmp(field->array, array) != 0)
			continue;
		sensitive = sensitive || field->sensitive != NULL;
		appendStringInfo(&members, "%s%s, %s", members.len > 0 ? ", " : "", quote_literal_cstr(field->name),
						 field->sensitive ? jdy_field_masked(&elements, path, strcmp(field->sensitive, "phone") == 0) :
						 jdy_field_json(&elements, path));
	}
	return !sensitive ? NULL :
		psprintf("(SELECT jsonb_agg(jsonb_build_object(%s) ORDER BY e.place) FROM %s)", members.data,
				 jdy_field_elements(&elements));
}

static void
make(const Stream *stream, const char *suffix, const ViewText *view)
{
	const char *schema = jdy_extension_schema();
	char	   *name = psprintf("jdy_%s%s", stream->name, suffix);
	const char *quoted = quote_qualified_identifier(schema, name);
	Oid			existing = get_relname_relid(name, get_namespace_oid(schema, false));
	ViewState  *state = OidIsValid(existing) ? jdy_view_state(existing, quoted) : NULL;

	if (state != NULL && !(state->made_here && state->of_stream && state->unchanged) && !is_leftover(existing, stream->staging))
	{
		ereport(NOTICE,
				(errmsg("view %s is left as it is", quoted),
				 errdetail("It was changed since it was made, or jdysync did not make it."),
				 errhint("To have it made anew, drop or rename it and call jdy_alter_stream with what the stream has.")));
		return;
	}
	jdy_view_make(quoted, state, view, stream->owner);
	jdy_view_remember(get_relname_relid(name, get_namespace_oid(schema, false)), stream->stream_id, NULL);
}

static bool
is_leftover(Oid view, Oid staging)
{
	Datum		values[2] = {ObjectIdGetDatum(view), ObjectIdGetDatum(staging)};

	jdy_execute(&find_leftover, values, NULL);
	return SPI_processed > 0;
}

/* only: the one called so; NULL = all. */
static void
drop_views(int stream_id, const char *only)
{
	Datum		values[1] = {Int32GetDatum(stream_id)};
	List	   *names = NIL;
	ListCell   *cell;

	jdy_execute(&find_views, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		if (only == NULL || strcmp(jdy_spi_text(r, 2), only) == 0)
			names = lappend(names, jdy_spi_text(r, 1));
	foreach(cell, names)
		jdy_view_drop(lfirst(cell));
}
