/*-------------------------------------------------------------------------
 * metadata.c
 *		The JSON that says what to call, as a struct.
 *
 * People paste what the Qeasy platform exports, so its habits are accepted:
 * keys wrapped in dollar signs, `type` for `effect`, [] for an empty object and {}
 * for an empty array (PHP knows no difference), keys that mean nothing here.
 * What would change the meaning and is not supported is refused by name, since a
 * parameter silently left out or sent as its own text reads the wrong rows.
 *
 * Pure: no tables.  Called when a stream or push is added, and loaded for a run.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "jsonbtext.h"
#include "metadata.h"
#include "miscadmin.h"
#include "name.h"
#include "page.h"
#include "utils/builtins.h"

static Jsonb *unwrap_keys(Jsonb *json);
static JsonbValue *member(Jsonb *object, const char *key);
static char *text_member(Jsonb *object, const char *key);
static bool bool_member(Jsonb *object, const char *key, bool otherwise);
static Jsonb *container_member(Jsonb *object, const char *key, bool array);
static Effect parse_effect(Jsonb *json, Effect expected);
static char *parse_method(Jsonb *json, Effect effect);
static List *parse_id(Jsonb *json);
static List *parse_fields(Jsonb *object, const char *key);
static Field *parse_field(Jsonb *json, const char *key);
static void parse_delete(Jsonb *json, Metadata *metadata);
static void parse_lookup(Jsonb *json, Metadata *metadata);
static void parse_response(Jsonb *json, Metadata *metadata);
static void parse_remedy(Jsonb *json, Metadata *metadata);
static void check_keys(Jsonb *object, const char *of, const char *const *known, int nknown);
static char *parse_path(Jsonb *object, const char *key);
static void refuse_unsupported(const Field *field);
static bool mentions(Jsonb *value, const char *word);
pg_noreturn static void wrong_kind(const char *key, const char *kind);

Metadata *
jdy_metadata_parse(Jsonb *json, Effect expected)
{
	Metadata   *metadata = palloc0(sizeof(Metadata));

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata is not a JSON object"),
				 errhint("Metadata looks like {\"api\": \"/jdy/v2/bd/customer\", \"effect\": \"QUERY\", \"method\": \"GET\", \"id\": \"id\", \"request\": [...]}.")));
	json = unwrap_keys(json);

	metadata->api = text_member(json, "api");
	if (metadata->api == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata lacks \"%s\"", "api"),
				 errhint("\"api\" is the path to call, such as \"/jdy/v2/bd/customer\".")));
	metadata->effect = parse_effect(json, expected);
	metadata->method = parse_method(json, metadata->effect);
	metadata->id_fields = parse_id(json);
	metadata->number_field = text_member(json, "number");
	metadata->name_field = text_member(json, "name");
	metadata->id_check = bool_member(json, "idCheck", true);
	metadata->request = parse_fields(json, "request");
	metadata->other_request = parse_fields(json, "otherRequest");
	metadata->operation = container_member(json, "operation", false);
	metadata->condition = container_member(json, "condition", true);
	parse_delete(json, metadata);
	parse_lookup(json, metadata);
	parse_response(json, metadata);
	parse_remedy(json, metadata);
	return metadata;
}

void
jdy_metadata_warn(const Metadata *metadata, const char *stream, const char *staging)
{
	static const char unused[] = "a part of the metadata has no effect";
	StringInfoData names;
	ListCell   *cell;

	if (metadata->other_request != NIL)
	{
		initStringInfo(&names);
		foreach(cell, metadata->other_request)
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", ((Field *) lfirst(cell))->field);
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("%s", unused),
				 errdetail("Parameters of \"otherRequest\" are not sent: %s.", names.data),
				 errhint("Move those that the list is to be asked with to \"request\".")));
	}
	if (metadata->condition != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("%s", unused),
				 errdetail("\"condition\" leaves no record of stream \"%s\" out: all are landed.", stream),
				 errhint("Filter in a view: CREATE VIEW ... AS SELECT * FROM %s WHERE ...", staging)));
}

/* A copy in which "$value$" is "value", at any depth. */
static Jsonb *
unwrap_keys(Jsonb *json)
{
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY && value.val.string.len > 2 &&
			value.val.string.val[0] == '$' && value.val.string.val[value.val.string.len - 1] == '$')
		{
			value.val.string.val++;
			value.val.string.len -= 2;
		}
		result = pushJsonbValue(&state, token, token < WJB_BEGIN_ARRAY ? &value : NULL);
	}
	return JsonbValueToJsonb(result);
}

/* NULL when missing or null. */
static JsonbValue *
member(Jsonb *object, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&object->root, key, strlen(key), NULL);

	return value == NULL || value->type == jbvNull ? NULL : value;
}

/* NULL when missing, null or "". */
static char *
text_member(Jsonb *object, const char *key)
{
	JsonbValue *value = member(object, key);

	if (value == NULL)
		return NULL;
	if (value->type != jbvString)
		wrong_kind(key, "text");
	return value->val.string.len > 0 ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

/* true, "true", "1", … */
static bool
bool_member(Jsonb *object, const char *key, bool otherwise)
{
	char	   *text = jdy_jsonb_text(object, key);
	bool		result = otherwise;

	if (text != NULL && *text != '\0' && !parse_bool(text, &result))
		wrong_kind(key, "true or false");
	return result;
}

/* NULL when missing, null, "", or empty of whichever kind. */
static Jsonb *
container_member(Jsonb *object, const char *key, bool array)
{
	JsonbValue *value = member(object, key);
	Jsonb	   *container;

	if (value == NULL || (value->type == jbvString && value->val.string.len == 0))
		return NULL;
	if (value->type != jbvBinary)
		wrong_kind(key, array ? "an array" : "an object");
	container = JsonbValueToJsonb(value);
	if (JB_ROOT_COUNT(container) == 0)
		return NULL;
	if (JB_ROOT_IS_ARRAY(container) != array)
		wrong_kind(key, array ? "an array" : "an object");
	return container;
}

static Effect
parse_effect(Jsonb *json, Effect expected)
{
	static const char *const keys[] = {"effect", "type"};
	const char *wanted = expected == EFFECT_QUERY ? "QUERY" : "EXECUTE";

	for (int i = 0; i < lengthof(keys); i++)
	{
		char	   *effect = text_member(json, keys[i]);

		if (effect != NULL && pg_strcasecmp(effect, wanted) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("metadata has %s \"%s\", a %s needs \"%s\"", keys[i], effect,
							expected == EFFECT_QUERY ? "stream" : "push", wanted),
					 errhint("QUERY metadata is for jdy_add_stream, EXECUTE metadata for jdy_add_push.")));
	}
	return expected;
}

static char *
parse_method(Jsonb *json, Effect effect)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	char	   *method = text_member(json, "method");

	if (method == NULL)
		return pstrdup(effect == EFFECT_QUERY ? "GET" : "POST");
	for (int i = 0; i < lengthof(methods); i++)
	{
		if (pg_strcasecmp(method, methods[i]) == 0)
			return pstrdup(methods[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("metadata has an unknown \"%s\"", "method"),
			 errdetail("It is \"%s\".", method),
			 errhint("Methods are GET, POST, PUT, PATCH and DELETE.")));
}

/* "id", or several names whose values together are the key; NIL when it names none. */
static List *
parse_id(Jsonb *json)
{
	JsonbValue *value = member(json, "id");
	Jsonb	   *names;
	List	   *fields = NIL;

	if (value == NULL || value->type != jbvBinary)
	{
		char	   *name = text_member(json, "id");

		return name ? list_make1(name) : NIL;
	}
	names = JsonbValueToJsonb(value);
	if (!JB_ROOT_IS_ARRAY(names) || JB_ROOT_COUNT(names) == 0)
		wrong_kind("id", "the name of a field, or an array of names");
	for (uint32 i = 0; i < JB_ROOT_COUNT(names); i++)
	{
		JsonbValue *name = getIthJsonbValueFromContainer(&names->root, i);

		if (name->type != jbvString || name->val.string.len == 0)
			wrong_kind("id", "the name of a field, or an array of names");
		fields = lappend(fields, pnstrdup(name->val.string.val, name->val.string.len));
	}
	return fields;
}

static List *
parse_fields(Jsonb *object, const char *key)
{
	Jsonb	   *array = container_member(object, key, true);
	List	   *fields = NIL;

	check_stack_depth();
	for (uint32 i = 0; array != NULL && i < JB_ROOT_COUNT(array); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&array->root, i);
		Field	   *field;
		ListCell   *cell;

		if (value->type != jbvBinary)
			wrong_kind(key, "an array of objects");
		field = parse_field(JsonbValueToJsonb(value), key);
		foreach(cell, fields)
		{
			Field	   *other = lfirst(cell);

			if (strcmp(other->field, field->field) == 0 &&
				strcmp(other->parent ? other->parent : "", field->parent ? field->parent : "") == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("metadata names a parameter twice"),
						 errdetail("\"%s\" has two entries \"%s\".", key, field->field),
						 errhint("Leave out the one that is not meant.")));
		}
		fields = lappend(fields, field);
	}
	return fields;
}

static Field *
parse_field(Jsonb *json, const char *key)
{
	Field	   *field = palloc0(sizeof(Field));
	JsonbValue *value;

	if (!JB_ROOT_IS_OBJECT(json))
		wrong_kind(key, "an array of objects");
	field->field = text_member(json, "field");
	if (field->field == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata lacks \"%s\"", "field"),
				 errdetail("An entry of \"%s\" names no parameter.", key),
				 errhint("An entry looks like {\"field\": \"page_size\", \"value\": \"50\"}.")));
	field->label = text_member(json, "label");
	field->type = text_member(json, "type");
	field->parent = text_member(json, "parent");
	value = member(json, "value");
	field->value = value ? JsonbValueToJsonb(value) : NULL;
	field->children = parse_fields(json, "children");

	value = member(json, "parser");
	if (value != NULL && !(value->type == jbvString && value->val.string.len == 0) &&
		!(value->type == jbvBinary && JsonContainerSize(value->val.binary.data) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("metadata uses \"%s\", which is not supported", "parser"),
				 errdetail("The entry is \"%s\".", field->field),
				 errhint("Convert the value in SQL: in a view over the staging table, or with \"_function\" and a PostgreSQL expression.")));
	refuse_unsupported(field);
	return field;
}

static void
parse_delete(Jsonb *json, Metadata *metadata)
{
	Jsonb	   *rule = container_member(json, "delete", false);
	JsonbValue *body;

	metadata->delete_rule = rule;
	if (rule == NULL)
	{
		JsonbValue *value = member(json, "delete");

		if (metadata->effect == EFFECT_EXECUTE && value != NULL && value->type == jbvBinary &&
			JsonContainerIsObject(value->val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("metadata has an empty \"%s\"", "delete"),
					 errdetail("It says nothing of how records are deleted."),
					 errhint("To delete by DELETE with the id as parameter: {\"method\": \"DELETE\"}. To delete nothing, leave it out.")));
		return;
	}
	metadata->delete_api = text_member(rule, "api");
	if (metadata->delete_api == NULL)
		metadata->delete_api = metadata->api;
	if (strstr(metadata->delete_api, "{{") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a path cannot hold a field"),
				 errdetail("\"api\" of \"delete\" is \"%s\".", metadata->delete_api),
				 errhint("The id goes into \"body\" as {{id}}, or without a body into the parameter \"id\".")));
	metadata->delete_method = text_member(rule, "method") != NULL ? parse_method(rule, EFFECT_EXECUTE) : "DELETE";
	body = member(rule, "body");
	metadata->delete_body = body != NULL ? JsonbValueToJsonb(body) : NULL;
}

/* false, or {"api":"/jdy/v2/bd/customer_detail","param":"number","number":"number"}, each of which may be left out. */
static void
parse_lookup(Jsonb *json, Metadata *metadata)
{
	JsonbValue *value = member(json, "lookup");
	Jsonb	   *rule;

	metadata->look_up = true;
	metadata->lookup_param = "number";
	if (value == NULL)
		return;
	if (value->type == jbvBool)
	{
		metadata->look_up = value->val.boolean;
		return;
	}
	rule = container_member(json, "lookup", false);
	if (rule == NULL)
		return;
	metadata->lookup_api = text_member(rule, "api");
	metadata->lookup_number = text_member(rule, "number");
	if (text_member(rule, "param") != NULL)
		metadata->lookup_param = text_member(rule, "param");
}

/* Where rows and counts, or failed records, stand, when it is an object; Qeasy's array of fields says nothing that is needed. */
static void
parse_response(Jsonb *json, Metadata *metadata)
{
	JsonbValue *value = member(json, "response");
	Jsonb	   *response;

	if (value == NULL || value->type != jbvBinary)
		return;
	response = JsonbValueToJsonb(value);
	if (!JB_ROOT_IS_OBJECT(response))
		return;
	metadata->rows_path = parse_path(response, "rows");
	metadata->count_path = parse_path(response, "count");
	if (metadata->effect == EFFECT_QUERY)
		return;
	metadata->failed_path = parse_path(response, "failed");
	metadata->failed_id = parse_path(response, "id");
	metadata->failed_message = parse_path(response, "message");
	metadata->failed_count_path = parse_path(response, "failed_count");
	metadata->success_path = parse_path(response, "success");
	metadata->success_value = jdy_jsonb_text(response, "success_value");
	if (metadata->success_path == NULL && metadata->success_value != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" in \"response\" has no place", "success_value"),
				 errhint("Name it as \"success\", such as {\"success\": \"data.status\", \"success_value\": \"done\"}.")));
	if (metadata->failed_id == NULL)
		metadata->failed_id = "id";
	if (metadata->failed_message == NULL)
		metadata->failed_message = "message";
}

static void
parse_remedy(Jsonb *json, Metadata *metadata)
{
	/* Which program asks is Qeasy's matter. */
	static const char *const known[] = {"crontab", "takeOverRequest", "adapter"};
	Jsonb	   *remedy = container_member(json, "omissionRemedy", false);

	if (remedy == NULL)
		return;
	check_keys(remedy, "omissionRemedy", known, lengthof(known));
	metadata->remedy_crontab = text_member(remedy, "crontab");
	if (metadata->remedy_crontab == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata lacks \"%s\"", "crontab"),
				 errdetail("\"omissionRemedy\" is a second schedule."),
				 errhint("It looks like {\"crontab\": \"2 */2 * * *\", \"takeOverRequest\": [...]}.")));
	metadata->remedy_request = parse_fields(remedy, "takeOverRequest");
}

/* A misspelt key would go unnoticed until what it asks for is missed. */
static void
check_keys(Jsonb *object, const char *of, const char *const *known, int nknown)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	key;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		Closest		closest = {0};
		bool		found = false;

		if (token != WJB_KEY)
			continue;
		closest.word = pnstrdup(key.val.string.val, key.val.string.len);
		for (int i = 0; i < nknown; i++)
		{
			found = found || strcmp(closest.word, known[i]) == 0;
			jdy_closest(&closest, known[i]);
		}
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" has an unknown key", of),
					 errdetail("It is \"%s\".", closest.word),
					 closest.best ? errhint("Perhaps you meant \"%s\".", closest.best) : 0));
	}
}

/* Names joined by dots, as jdy_page_parse takes them. */
static char *
parse_path(Jsonb *object, const char *key)
{
	char	   *path = text_member(object, key);
	int			names = 1;

	if (path == NULL)
		return NULL;
	for (const char *c = path; *c != '\0'; c++)
		names += *c == '.';
	if (names > JDY_MAX_PATH || path[0] == '.' || path[strlen(path) - 1] == '.' || strstr(path, "..") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" in \"response\" is not a path", key),
				 errdetail("It is \"%s\".", path),
				 errhint("A path is at most %d names joined by dots, such as \"data.rows\".", JDY_MAX_PATH)));
	return path;
}

/* Words of the Qeasy language that would read other collections. */
static void
refuse_unsupported(const Field *field)
{
	static const char *const words[] = {"_findCollection", "_mongoQuery", "_autoFillResponse"};

	for (int i = 0; field->value != NULL && i < lengthof(words); i++)
	{
		if (mentions(field->value, words[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("metadata uses \"%s\", which is not supported", words[i]),
					 errdetail("The entry is \"%s\".", field->field),
					 errhint("Look it up in SQL: a view that joins the staging tables gives the value as a column.")));
	}
}

static bool
mentions(Jsonb *value, const char *word)
{
	JsonbIterator *iterator = JsonbIteratorInit(&value->root);
	JsonbIteratorToken token;
	JsonbValue	part;

	while ((token = JsonbIteratorNext(&iterator, &part, false)) != WJB_DONE)
	{
		if (token < WJB_BEGIN_ARRAY && part.type == jbvString &&
			strstr(pnstrdup(part.val.string.val, part.val.string.len), word) != NULL)
			return true;
	}
	return false;
}

static void
wrong_kind(const char *key, const char *kind)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("metadata has a wrong \"%s\"", key),
			 errdetail("It must be %s.", kind)));
}
