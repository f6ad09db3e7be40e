/*-------------------------------------------------------------------------
 * payload.c
 *		request[] of a push as a template: one JSON object for each record.
 *
 * A value that is one {{path}} keeps the type that it has in the source's row, so
 * numbers stay numbers and objects objects; anything else is text, unless the
 * field's type says what it must become.  A field of type array with children
 * makes one object for each element of the array that it names; for its children
 * the array's path then leads into that element, and all other paths stay what they
 * are, so {{lines.qty}} and {{bill_no}} stand side by side.
 *
 * The text is built in the order of the metadata and depends on nothing but the record:
 * that is what tells whether it changed.  So a payload with the current time in it,
 * which would be another one in every run, is refused.
 *
 * Pure but for _function.  Called by pushdef.c (plan), source.c and changes.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "metadata.h"
#include "miscadmin.h"
#include "page.h"
#include "payload.h"
#include "template.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "value.h"

typedef enum ValueType
{
	TYPE_AS_IT_IS,				/* string and all others: JSON has no more types */
	TYPE_INTEGER,
	TYPE_NUMBER,
	TYPE_BOOLEAN,
	TYPE_OBJECT,
	TYPE_ARRAY
} ValueType;

/* What one payload is made with. */
typedef struct Filling
{
	const char *id;				/* of the record, for errors */
	ValueTimes	times;			/* no time is ever asked for: only the zone counts */
} Filling;

/* Called for each text of a template that may hold placeholders. */
typedef void (*TextVisitor) (void *arg, const Field *field, const char *text);

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
static char *array_path(const Field *field);
static ValueType value_type(const Field *field);
static void append_object(StringInfo out, const Filling *filling, const List *fields, Jsonb *record);
static void append_field(StringInfo out, const Filling *filling, const Field *field, Jsonb *record);
static void append_elements(StringInfo out, const Filling *filling, const Field *field, Jsonb *record);
static Jsonb *with_element(Jsonb *record, const char *path, Jsonb *element);
static JsonbValue *evaluate(const Filling *filling, const char *field, Jsonb *value, Jsonb *record);
static JsonbValue *evaluate_text(const Filling *filling, const char *field, const char *text, Jsonb *record);
static JsonbValue *text_value(char *text);
static JsonbValue *container_value(Jsonb *container);
static JsonbValue *coerce(const Filling *filling, const Field *field, JsonbValue *value);
static bool to_number(JsonbValue *value, bool integer);
static bool to_boolean(JsonbValue *value);
static bool to_container(JsonbValue *value, bool array);
static void append_json(StringInfo out, const JsonbValue *value);

List *
jdy_payload_plan(const List *request)
{
	List	   *fields = without_unused(nest(request));

	visit_texts(fields, refuse_time, NULL);
	return fields;
}

/* Columns that paths of the template name and the source lacks. */
typedef struct Unknown
{
	Oid			source;
	StringInfoData names;
} Unknown;

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

char *
jdy_payload_text(const List *fields, Jsonb *record, const char *id, pg_tz *time_zone)
{
	Filling		filling = {id, {0, 0, time_zone}};
	StringInfoData out;

	initStringInfo(&out);
	append_object(&out, &filling, fields, record);
	return out.data;
}

char *
jdy_payload_deletion(Jsonb *body, const char *id, pg_tz *time_zone)
{
	Filling		filling = {id, {0, 0, time_zone}};
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString,.val.string = {2, "id"}};
	Jsonb	   *record;
	StringInfoData out;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, text_value(pstrdup(id)));
	record = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	initStringInfo(&out);
	append_json(&out, evaluate(&filling, "body", body, record));
	return out.data;
}

void
jdy_payload_check_deletion(Jsonb *body)
{
	Field		field = {.field = "body"};

	visit_value(&field, body, refuse_other_than_id, NULL);
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
	if (value_type(field) == TYPE_ARRAY && field->value != NULL && array_path(field) == NULL)
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

		if (field->children != NIL && value_type(field) == TYPE_ARRAY && field->value != NULL)
			visit(arg, field, psprintf("{{%s}}", array_path(field)));
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
find_function(void *arg, const Field *field, const char *text)
{
	*(bool *) arg |= strstr(text, "_function") != NULL;
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

/* "lines" or "{{lines}}" as lines; NULL when the value is anything else. */
static char *
array_path(const Field *field)
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

static ValueType
value_type(const Field *field)
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

static void
append_object(StringInfo out, const Filling *filling, const List *fields, Jsonb *record)
{
	ListCell   *cell;
	char	   *before = "";

	check_stack_depth();
	appendStringInfoChar(out, '{');
	foreach(cell, fields)
	{
		const Field *field = lfirst(cell);

		appendStringInfoString(out, before);
		escape_json(out, field->field);
		appendStringInfoChar(out, ':');
		append_field(out, filling, field, record);
		before = ",";
	}
	appendStringInfoChar(out, '}');
}

static void
append_field(StringInfo out, const Filling *filling, const Field *field, Jsonb *record)
{
	JsonbValue *value = NULL;

	if (field->children != NIL && value_type(field) == TYPE_ARRAY)
	{
		append_elements(out, filling, field, record);
		return;
	}
	if (field->value != NULL)
		value = evaluate(filling, field->field, field->value, record);
	if (field->children == NIL)
		append_json(out, coerce(filling, field, value));
	else if (field->value != NULL && value == NULL)
		appendStringInfoString(out, "null");	/* the object that it is made of is not there */
	else if (value != NULL && value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a field of the payload with children is made of an array"),
				 errdetail("Field \"%s\" of record \"%s\".", field->field, filling->id),
				 errhint("Give it the type \"array\": each element then makes one object of the children.")));
	else
		append_object(out, filling, field->children, record);
}

/* One object for each element of the array that the field names; an object counts as an array of one. */
static void
append_elements(StringInfo out, const Filling *filling, const Field *field, Jsonb *record)
{
	char	   *path = field->value != NULL ? array_path(field) : NULL;
	JsonbValue *source = path != NULL ? jdy_jsonb_at(record, path) : NULL;
	JsonbContainer *elements;
	Jsonb	   *others;

	if (path == NULL)
	{
		appendStringInfoChar(out, '[');
		append_object(out, filling, field->children, record);
		appendStringInfoChar(out, ']');
		return;
	}
	if (source == NULL)
	{
		appendStringInfoString(out, "null");
		return;
	}
	if (source->type != jbvBinary)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an array of the payload is made of something else"),
				 errdetail("Field \"%s\" of record \"%s\": {{%s}} is \"%s\".", field->field, filling->id, path,
						   jdy_jsonb_value_text(source)),
				 errhint("Its value names an array, or an object, in a column of the source.")));
	elements = source->val.binary.data;

	/* The array itself is taken out first: it need not be copied for each of its elements. */
	others = with_element(record, path, NULL);
	appendStringInfoChar(out, '[');
	if (JsonContainerIsObject(elements))
		append_object(out, filling, field->children, record);
	else
	{
		for (uint32 i = 0; i < JsonContainerSize(elements); i++)
		{
			Jsonb	   *element = JsonbValueToJsonb(getIthJsonbValueFromContainer(elements, i));

			if (i > 0)
				appendStringInfoChar(out, ',');
			append_object(out, filling, field->children, with_element(others, path, element));
		}
	}
	appendStringInfoChar(out, ']');
}

/* The record with another value at a path; NULL for null. */
static Jsonb *
with_element(Jsonb *record, const char *path, Jsonb *element)
{
	Datum		names[64];
	int			n = 0;
	JsonbValue	null = {.type = jbvNull};

	while (*path != '\0' && n < lengthof(names))
	{
		size_t		length = strcspn(path, ".");

		names[n++] = PointerGetDatum(cstring_to_text_with_len(path, length));
		path += length + (path[length] == '.');
	}
	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(record),
											  PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT)),
											  JsonbPGetDatum(element != NULL ? element : JsonbValueToJsonb(&null)),
											  BoolGetDatum(true)));
}

/* The value of a template; NULL for null.  Texts inside of objects and arrays are templates, too. */
static JsonbValue *
evaluate(const Filling *filling, const char *field, Jsonb *value, Jsonb *record)
{
	JsonbValue *scalar = palloc(sizeof(JsonbValue));
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	part;

	if (JsonbExtractScalar(&value->root, scalar))
	{
		if (scalar->type == jbvString)
			return evaluate_text(filling, field, pnstrdup(scalar->val.string.val, scalar->val.string.len), record);
		return scalar->type == jbvNull ? NULL : scalar;
	}
	iterator = JsonbIteratorInit(&value->root);
	while ((token = JsonbIteratorNext(&iterator, &part, false)) != WJB_DONE)
	{
		JsonbValue *filled = &part;
		JsonbValue	null = {.type = jbvNull};

		if ((token == WJB_VALUE || token == WJB_ELEM) && part.type == jbvString)
		{
			filled = evaluate_text(filling, field, pnstrdup(part.val.string.val, part.val.string.len), record);
			if (filled == NULL)
				filled = &null;
		}
		result = pushJsonbValue(&state, token, token < WJB_BEGIN_ARRAY ? filled : NULL);
	}
	return container_value(JsonbValueToJsonb(result));
}

static JsonbValue *
evaluate_text(const Filling *filling, const char *field, const char *text, Jsonb *record)
{
	MemoryContext context = CurrentMemoryContext;
	JsonbValue *volatile value = NULL;

	PG_TRY();
	{
		Placeholder placeholder;

		/* One path and nothing else keeps its type. */
		if (*text == '{' && jdy_placeholder_next(text, &placeholder) && placeholder.start == text &&
			*placeholder.end == '\0' && placeholder.filter == NULL)
			value = jdy_jsonb_at(record, placeholder.path);
		else
			value = text_value(jdy_text_value(text, record, &filling->times));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_OPERATOR_INTERVENTION)
			error->detail = psprintf("Field \"%s\" of record \"%s\": %s", field, filling->id,
									 error->detail != NULL ? error->detail : error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
	return value;
}

static JsonbValue *
text_value(char *text)
{
	JsonbValue *value;

	if (text == NULL)
		return NULL;
	value = palloc(sizeof(JsonbValue));
	value->type = jbvString;
	value->val.string.val = text;
	value->val.string.len = strlen(text);
	return value;
}

static JsonbValue *
container_value(Jsonb *container)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	value->type = jbvBinary;
	value->val.binary.data = &container->root;
	value->val.binary.len = VARSIZE(container) - VARHDRSZ;
	return value;
}

/* The value as the field's type; an empty text is no number, and null. */
static JsonbValue *
coerce(const Filling *filling, const Field *field, JsonbValue *value)
{
	ValueType	type = value_type(field);
	JsonbValue *coerced;
	bool		fits = false;

	if (value == NULL || type == TYPE_AS_IT_IS)
		return value;
	if (value->type == jbvString && value->val.string.len == 0)
		return NULL;
	coerced = palloc(sizeof(JsonbValue));
	*coerced = *value;
	switch (type)
	{
		case TYPE_INTEGER:
		case TYPE_NUMBER:
			fits = to_number(coerced, type == TYPE_INTEGER);
			break;
		case TYPE_BOOLEAN:
			fits = to_boolean(coerced);
			break;
		case TYPE_OBJECT:
		case TYPE_ARRAY:
			fits = to_container(coerced, type == TYPE_ARRAY);
			break;
		case TYPE_AS_IT_IS:
			break;
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a field of the payload is not of its type"),
				 errdetail("Field \"%s\" of record \"%s\" is \"%s\", not of type %s.", field->field, filling->id,
						   jdy_jsonb_value_text(value), field->type),
				 errhint("Convert it in the view or with \"_function\", or leave the type out.")));
	return coerced;
}

static bool
to_number(JsonbValue *value, bool integer)
{
	ErrorSaveContext soft = {T_ErrorSaveContext};
	Datum		number;

	if (value->type == jbvBool)
		number = DirectFunctionCall1(int4_numeric, Int32GetDatum(value->val.boolean ? 1 : 0));
	else if (value->type == jbvNumeric)
		number = NumericGetDatum(value->val.numeric);
	else if (value->type == jbvString)
	{
		char	   *text = pnstrdup(value->val.string.val, value->val.string.len);

		/* No NaN, no infinity, no other bases. */
		if (strspn(text, "0123456789+-.eE \t") != strlen(text) ||
			!DirectInputFunctionCallSafe(numeric_in, text, InvalidOid, -1, (Node *) &soft, &number))
			return false;
	}
	else
		return false;
	if (integer)
	{
		Datum		whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));

		if (!DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)))
			return false;
		number = whole;
	}
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(number);
	return true;
}

static bool
to_boolean(JsonbValue *value)
{
	char	   *text = jdy_jsonb_value_text(value);
	bool		result;

	if (value->type == jbvBool)
		return true;
	if (value->type == jbvBinary || !parse_bool(text, &result))
		return false;
	value->type = jbvBool;
	value->val.boolean = result;
	return true;
}

/* Text that holds JSON is taken for what it holds. */
static bool
to_container(JsonbValue *value, bool array)
{
	if (value->type == jbvString)
	{
		Row			row = {.text = pnstrdup(value->val.string.val, value->val.string.len),.length = value->val.string.len};
		const char *problem;
		Jsonb	   *json = jdy_row_jsonb(&row, &problem);

		if (json == NULL || JB_ROOT_IS_SCALAR(json))
			return false;
		*value = *container_value(json);
	}
	return value->type == jbvBinary && (array ? JsonContainerIsArray(value->val.binary.data) :
										JsonContainerIsObject(value->val.binary.data));
}

static void
append_json(StringInfo out, const JsonbValue *value)
{
	if (value == NULL)
		appendStringInfoString(out, "null");
	else if (value->type == jbvString)
		escape_json(out, pnstrdup(value->val.string.val, value->val.string.len));
	else if (value->type == jbvBinary)
		JsonbToCString(out, value->val.binary.data, value->val.binary.len);
	else
		appendStringInfoString(out, jdy_jsonb_value_text(value));
}
