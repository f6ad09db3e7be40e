/*-------------------------------------------------------------------------
 * payloadplan.c
 *		request[] of a push as a template: the fields that are sent, and what each becomes.
 *
 * Made once, before any record is looked at: what cannot be filled for any record is
 * an error when the push is added, not in its first run.
 *
 * A payload is compared with the one before to tell whether the record changed.  So one
 * with the current time in it, which would be another one in every run, is refused.
 *
 * Pure but for jdy_payload_warn.  Called by pushdef.c and changes.c, and by payload.c for what a field is.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "payloadplan.h"
#include "template.h"
#include "utils/lsyscache.h"

/* Called for each text of a template that may hold placeholders. */
typedef void (*TextVisitor) (void *arg, const Field *field, const char *text);

/* Columns that paths of the template name and the source lacks. */
typedef struct Unknown
{
	Oid			source;
	StringInfoData names;
} Unknown;

static List *nest(const List *request);
static Field *find_field(const List *fields, const char *name);
static List *without_unused(const List *fields);
static void check_array(const Field *field);
static void visit_texts(const List *fields, TextVisitor visit, void *arg);
static void visit_value(const Field *field, Jsonb *value, TextVisitor visit, void *arg);
static void refuse_time(void *arg, const Field *field, const char *text);
static void refuse_other_than_id(void *arg, const Field *field, const char *text);
static void collect_unknown(void *arg, const Field *field, const char *text);
static void find_function(void *arg, const Field *field, const char *text);

List *
jdy_payload_plan(const List *request)
{
	List	   *fields = without_unused(nest(request));

	visit_texts(fields, refuse_time, NULL);
	return fields;
}

void
jdy_payload_warn(const List *fields, Oid source)
{
	Unknown		unknown = {source};

	initStringInfo(&unknown.names);
	visit_texts(fields, collect_unknown, &unknown);
	if (unknown.names.len > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("a field of the payload names no column of the source"),
				 errdetail("It will always be null: %s.", unknown.names.data),
				 errhint("Paths begin with a column of the view, such as {{number}}, or {{data.name}} for what is inside of a jsonb column.")));
}

bool
jdy_payload_is_steady(const List *fields)
{
	bool		found = false;

	visit_texts(fields, find_function, &found);
	return !found;
}

void
jdy_payload_check_deletion(Jsonb *body)
{
	Field		field = {.field = "body"};

	visit_value(&field, body, refuse_other_than_id, NULL);
}

ValueType
jdy_payload_type(const Field *field)
{
	static const struct
	{
		const char *name;
		ValueType	type;
	}			types[] = {
		{"int", TYPE_INTEGER}, {"integer", TYPE_INTEGER}, {"long", TYPE_INTEGER},
		{"float", TYPE_NUMBER}, {"double", TYPE_NUMBER}, {"decimal", TYPE_NUMBER}, {"number", TYPE_NUMBER},
		{"bool", TYPE_BOOLEAN}, {"boolean", TYPE_BOOLEAN},
		{"object", TYPE_OBJECT}, {"array", TYPE_ARRAY},
	};

	for (int i = 0; field->type != NULL && i < lengthof(types); i++)
	{
		if (pg_strcasecmp(field->type, types[i].name) == 0)
			return types[i].type;
	}
	return TYPE_AS_IT_IS;
}

char *
jdy_payload_array_path(const Field *field)
{
	JsonbValue	scalar;
	char	   *text;
	Placeholder placeholder;

	if (!JsonbExtractScalar(&field->value->root, &scalar) || scalar.type != jbvString)
		return NULL;
	text = pnstrdup(scalar.val.string.val, scalar.val.string.len);
	if (strpbrk(text, "{}") == NULL)
	{
		if (strstr(text, "_function") != NULL)
			return NULL;
		text = psprintf("{{%s}}", text);
	}
	if (!jdy_placeholder_next(text, &placeholder) || placeholder.start != text || *placeholder.end != '\0' ||
		placeholder.filter != NULL)
		return NULL;
	return placeholder.path;
}

/* Copies of the fields, those with a parent below it. */
static List *
nest(const List *request)
{
	List	   *all = NIL;
	List	   *top = NIL;
	ListCell   *cell;

	foreach(cell, request)
	{
		Field	   *copy = palloc(sizeof(Field));

		*copy = *(Field *) lfirst(cell);
		copy->children = list_copy(copy->children);
		all = lappend(all, copy);
	}
	foreach(cell, all)
	{
		Field	   *field = lfirst(cell);
		Field	   *parent = field->parent ? find_field(all, field->parent) : NULL;
		Field	   *above = parent;

		if (field->parent == NULL)
		{
			top = lappend(top, field);
			continue;
		}
		for (int steps = 0; above != NULL && above->parent != NULL && steps <= list_length(all); steps++)
			above = find_field(all, above->parent);
		if (parent == NULL || above == NULL || above->parent != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a field of the payload has no parent"),
					 errdetail("Field \"%s\" has the parent \"%s\".", field->field, field->parent),
					 errhint("The parent is the name of another field of \"request\"; or put the field into its \"children\".")));
		parent->children = lappend(parent->children, field);
	}
	return top;
}

static Field *
find_field(const List *fields, const char *name)
{
	ListCell   *cell;

	foreach(cell, fields)
	{
		if (strcmp(((Field *) lfirst(cell))->field, name) == 0)
			return lfirst(cell);
	}
	return NULL;
}

/* In pasted metadata an empty value means that the field is not used. */
static List *
without_unused(const List *fields)
{
	List	   *used = NIL;
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, fields)
	{
		Field	   *copy = palloc(sizeof(Field));

		*copy = *(Field *) lfirst(cell);
		if (jdy_jsonb_is_empty(copy->value))
			copy->value = NULL;
		if (copy->children != NIL)
		{
			copy->children = without_unused(copy->children);
			if (copy->children != NIL)
				check_array(copy);
		}
		if (copy->value != NULL || copy->children != NIL)
			used = lappend(used, copy);
	}
	return used;
}

static void
check_array(const Field *field)
{
	if (jdy_payload_type(field) == TYPE_ARRAY && field->value != NULL && jdy_payload_array_path(field) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an array of the payload names no array of the source"),
				 errdetail("Field \"%s\" has children, and a value that is not a path.", field->field),
				 errhint("Its value is the path of an array, such as \"lines\"; each element makes one object of the children.")));
}

static void
visit_texts(const List *fields, TextVisitor visit, void *arg)
{
	ListCell   *cell;

	foreach(cell, fields)
	{
		Field	   *field = lfirst(cell);

		if (field->children != NIL && jdy_payload_type(field) == TYPE_ARRAY && field->value != NULL)
			visit(arg, field, psprintf("{{%s}}", jdy_payload_array_path(field)));
		else
			visit_value(field, field->value, visit, arg);
		visit_texts(field->children, visit, arg);
	}
}

static void
visit_value(const Field *field, Jsonb *value, TextVisitor visit, void *arg)
{
	ListCell   *cell;

	foreach(cell, jdy_jsonb_texts(value))
		visit(arg, field, lfirst(cell));
}

static void
refuse_time(void *arg, const Field *field, const char *text)
{
	Placeholder placeholder;

	for (; jdy_placeholder_next(text, &placeholder); text = placeholder.end)
	{
		if (jdy_placeholder_is_time(&placeholder))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a payload cannot hold the current time"),
					 errdetail("Field \"%s\" uses {{%s}}.", field->field, placeholder.path),
					 errhint("Every record would differ in every run and be sent again. Use a time of the record, such as {{modified_at}}.")));
	}
}

static void
refuse_other_than_id(void *arg, const Field *field, const char *text)
{
	Placeholder placeholder;

	for (; jdy_placeholder_next(text, &placeholder); text = placeholder.end)
	{
		if (strcmp(placeholder.path, "id") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a deletion knows nothing of the record but its id"),
					 errdetail("\"%s\" of \"delete\" uses {{%s}}.", field->field, placeholder.path),
					 errhint("The record is gone when it is deleted. {{id}} is what the push calls its id: make that what the target deletes by.")));
	}
}

static void
collect_unknown(void *arg, const Field *field, const char *text)
{
	Unknown    *unknown = arg;
	Placeholder placeholder;

	for (; jdy_placeholder_next(text, &placeholder); text = placeholder.end)
	{
		char	   *column = pnstrdup(placeholder.path, strcspn(placeholder.path, "."));

		if (strlen(column) >= NAMEDATALEN || get_attnum(unknown->source, column) <= 0)
			appendStringInfo(&unknown->names, "%s{{%s}} in \"%s\"", unknown->names.len > 0 ? ", " : "", placeholder.path,
							 field->field);
	}
}

static void
find_function(void *arg, const Field *field, const char *text)
{
	*(bool *) arg |= strstr(text, "_function") != NULL;
}
