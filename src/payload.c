/*-------------------------------------------------------------------------
 * payload.c
 *		The JSON that is sent of a record: a plan, filled.
 *
 * A value that is one {{path}} keeps the type that it has in the source's row, so
 * numbers stay numbers and objects objects; anything else is text, unless the
 * field's type says what it must become.  A field of type array with children
 * makes one object for each element of the array that it names; for its children
 * the array's path then leads into that element, and all other paths stay what they
 * are, so {{lines.qty}} and {{bill_no}} stand side by side.
 *
 * The text is built in the order of the metadata and depends on nothing but the record:
 * that is what tells whether it changed.
 *
 * Pure but for _function.  Called by source.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "metadata.h"
#include "miscadmin.h"
#include "page.h"
#include "payload.h"
#include "payloadplan.h"
#include "template.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "value.h"

/* What one payload is made with. */
typedef struct Filling
{
	const char *id;				/* of the record, for errors */
	ValueTimes	times;			/* no time is ever asked for: only the zone counts */
} Filling;

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

	if (field->children != NIL && jdy_payload_type(field) == TYPE_ARRAY)
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
	char	   *path = field->value != NULL ? jdy_payload_array_path(field) : NULL;
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
	ValueType	type = jdy_payload_type(field);
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
