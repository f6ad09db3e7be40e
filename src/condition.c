/*-------------------------------------------------------------------------
 * condition.c
 *		Conditions of a mapping as SQL.
 *
 * The words are the Qeasy platform's.  They come from a language in which "1"
 * and 1 are equal, and the service indeed writes both, so fields are compared by their
 * text, which is the same; by their JSON value only with strictMode.  As numbers
 * they are compared with a JSON number, and by words that ask for an order also with
 * text that looks like one.  id and number are keys: always text, found by their index.
 *
 * A negative word (neq, notin, notlike) holds for a record that has no such field.
 *
 * Pure text: values become quoted literals, nothing is looked up.  Called by compile.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "condition.h"
#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "name.h"
#include "nodes/pg_list.h"
#include "template.h"
#include "utils/builtins.h"

/* What kind of value a word takes. */
typedef enum Takes
{
	TAKES_ONE,
	TAKES_TWO,					/* "100,500" or [100, 500] */
	TAKES_LIST,					/* "a,b,c" or ["a", "b", "c"] */
	TAKES_PATTERN,
	TAKES_NOTHING
} Takes;

typedef struct Logic
{
	const char *word;
	Takes		takes;
	bool		order;			/* it asks for more than equality */
	const char *sql;			/* field, value(s) */
} Logic;

static const Logic logics[] = {
	{"eq", TAKES_ONE, false, "%s = %s"},
	{"neq", TAKES_ONE, false, "%s IS DISTINCT FROM %s"},
	{"gt", TAKES_ONE, true, "%s > %s"},
	{"egt", TAKES_ONE, true, "%s >= %s"},
	{"lt", TAKES_ONE, true, "%s < %s"},
	{"elt", TAKES_ONE, true, "%s <= %s"},
	{"like", TAKES_PATTERN, false, "%s LIKE %s"},
	{"notlike", TAKES_PATTERN, false, "COALESCE(%s, '') NOT LIKE %s"},
	{"between", TAKES_TWO, true, "%s BETWEEN %s"},
	{"in", TAKES_LIST, false, "%s IN (%s)"},
	{"notin", TAKES_LIST, false, "(%s IN (%s)) IS NOT TRUE"},
	{"notnull", TAKES_NOTHING, false, "NULLIF(%s, '') IS NOT NULL"},
	{"isnull", TAKES_NOTHING, false, "NULLIF(%s, '') IS NULL"},
};

#define WORDS "eq, neq, gt, egt, lt, elt, like, notlike, between, in, notin, notnull and isnull"

static char *all_of(const FieldSource *source, JsonbContainer *conditions);
static char *one(const FieldSource *source, const JsonbValue *condition);
static const char *field_of(JsonbContainer *condition);
static const Logic *logic_of(JsonbContainer *condition, const char *field);
static bool is_strict(JsonbContainer *condition);
static char *compare(const FieldSource *source, const char *field, const Logic *logic, List *values, bool strict);
static List *values_of(const JsonbValue *value, Takes takes);
static char *like_pattern(const char *text);
static JsonbValue *element(const JsonbValue *array, int i, const char *what);
static int	array_size(const JsonbValue *value);
pg_noreturn static void wrong_value(const char *field, const Logic *logic);

char *
jdy_condition_sql(const FieldSource *source, const JsonbValue *condition)
{
	StringInfoData sql;
	int			n = array_size(condition);

	if (n < 0)
		element(condition, 0, "$where");
	initStringInfo(&sql);
	for (int i = 0; i < n; i++)
	{
		JsonbValue *group = element(condition, i, "$where");
		char	   *conditions = array_size(group) < 0 ? NULL : all_of(source, group->val.binary.data);

		if (conditions == NULL)
			element(group, 0, "a part of $where");
		appendStringInfo(&sql, n > 1 ? "%s(%s)" : "%s%s", i > 0 ? " OR " : "", conditions);
	}
	return n == 0 ? NULL : n > 1 ? psprintf("(%s)", sql.data) : sql.data;
}

/* NULL = there is none; all of no conditions is no condition at all, which is not what anybody means. */
static char *
all_of(const FieldSource *source, JsonbContainer *conditions)
{
	StringInfoData sql;

	if (JsonContainerSize(conditions) == 0)
		return NULL;
	initStringInfo(&sql);
	for (uint32 i = 0; i < JsonContainerSize(conditions); i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? " AND " : "", one(source, getIthJsonbValueFromContainer(conditions, i)));
	return sql.data;
}

static char *
one(const FieldSource *source, const JsonbValue *condition)
{
	JsonbContainer *object;
	const char *field;
	const Logic *logic;
	JsonbValue *value;
	List	   *values;

	if (condition->type != jbvBinary || !JsonContainerIsObject(condition->val.binary.data))
		element(NULL, 0, "a condition in $where");
	object = condition->val.binary.data;
	field = field_of(object);
	logic = logic_of(object, field);
	if (logic->takes == TAKES_NOTHING)
		return psprintf(logic->sql, jdy_field_text(source, field));

	value = getKeyJsonValueFromContainer(object, "value", 5, NULL);
	values = value ? values_of(value, logic->takes) : NIL;
	if (values == NIL)
		wrong_value(field, logic);
	return compare(source, field, logic, values, is_strict(object));
}

/* "x" or "{{x}}". */
static const char *
field_of(JsonbContainer *condition)
{
	JsonbValue *value = getKeyJsonValueFromContainer(condition, "field", 5, NULL);
	char	   *field = value ? jdy_jsonb_value_text(value) : NULL;
	Placeholder placeholder;

	if (field == NULL || value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a condition names no field"),
				 errdetail("It is %s.", JsonbToCString(NULL, condition, 0)),
				 errhint("It looks like {\"field\": \"enable\", \"logic\": \"eq\", \"value\": \"1\"}.")));
	if (jdy_placeholder_next(field, &placeholder) && placeholder.start == field && *placeholder.end == '\0' &&
		placeholder.filter == NULL)
		field = placeholder.path;
	if (!jdy_is_path(field) || strchr(field, '[') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a condition's field is no path"),
				 errdetail("It is \"%s\".", field),
				 errhint("A path is a field's name, or several joined by dots such as bomentity.0.mobile; for every element of an array, unroll it with $flat.")));
	return field;
}

static const Logic *
logic_of(JsonbContainer *condition, const char *field)
{
	JsonbValue *value = getKeyJsonValueFromContainer(condition, "logic", 5, NULL);
	char	   *word = value && value->type == jbvString ? jdy_jsonb_value_text(value) : NULL;
	Closest		closest = {.word = word ? word : ""};

	for (int i = 0; i < lengthof(logics); i++)
	{
		if (word != NULL && strcmp(word, logics[i].word) == 0)
			return &logics[i];
		jdy_closest(&closest, logics[i].word);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a condition has an unknown logic"),
			 errdetail("The logic of field \"%s\" is %s.", field, word ? psprintf("\"%s\"", word) : "not given"),
			 closest.best ? errhint("Perhaps you meant \"%s\"; there are " WORDS ".", closest.best) :
			 errhint("There are " WORDS ".")));
}

static bool
is_strict(JsonbContainer *condition)
{
	JsonbValue *value = getKeyJsonValueFromContainer(condition, "strictMode", 10, NULL);

	return value != NULL && value->type == jbvBool && value->val.boolean;
}

/* Fills the logic's SQL: as numbers when all values are, strictly as JSON, else as text. */
static char *
compare(const FieldSource *source, const char *field, const Logic *logic, List *values, bool strict)
{
	bool		key = jdy_field_is_key(field);
	bool		json = strict && !key && logic->takes != TAKES_PATTERN;
	bool		numbers = !json && !key && logic->takes != TAKES_PATTERN;
	const char *between = logic->takes == TAKES_TWO ? " AND " : ", ";
	StringInfoData operands;
	ListCell   *cell;

	foreach(cell, values)
	{
		JsonbValue *value = lfirst(cell);
		char	   *literal;

		numbers = numbers && (value->type == jbvNumeric || logic->order) &&
			jdy_is_number(jdy_jsonb_value_text(value), &literal);
	}
	initStringInfo(&operands);
	foreach(cell, values)
	{
		JsonbValue *value = lfirst(cell);
		char	   *literal = jdy_jsonb_value_text(value);

		if (json)
		{
			Jsonb	   *scalar = JsonbValueToJsonb(value);

			literal = psprintf("%s::jsonb", quote_literal_cstr(JsonbToCString(NULL, &scalar->root, VARSIZE(scalar))));
		}
		else if (logic->takes == TAKES_PATTERN)
			literal = quote_literal_cstr(like_pattern(literal));
		else if (!numbers || !jdy_is_number(literal, &literal))
			literal = quote_literal_cstr(literal);
		appendStringInfo(&operands, "%s%s", operands.len > 0 ? between : "", literal);
	}
	return psprintf(logic->sql, json ? jdy_field_json(source, field) :
					numbers ? jdy_field_typed(source, field, "numeric") : jdy_field_text(source, field), operands.data);
}

/* Scalars other than null; NIL = not what the word takes. */
static List *
values_of(const JsonbValue *value, Takes takes)
{
	List	   *values = NIL;

	if (takes == TAKES_ONE || takes == TAKES_PATTERN)
	{
		if (IsAJsonbScalar(value) && value->type != jbvNull)
			values = list_make1(unconstify(JsonbValue *, value));
	}
	else if (value->type == jbvString)
	{
		char	   *text = jdy_jsonb_value_text(value);

		for (char *at = text; at != NULL;)
		{
			char	   *comma = strchr(at, ',');
			JsonbValue *part = palloc(sizeof(JsonbValue));

			while (*at == ' ')
				at++;
			part->type = jbvString;
			part->val.string.val = at;
			part->val.string.len = comma ? comma - at : strlen(at);
			while (part->val.string.len > 0 && at[part->val.string.len - 1] == ' ')
				part->val.string.len--;
			values = lappend(values, part);
			at = comma ? comma + 1 : NULL;
		}
	}
	else if (array_size(value) > 0)
		for (int i = 0; i < array_size(value); i++)
		{
			JsonbValue *part = getIthJsonbValueFromContainer(value->val.binary.data, i);

			if (!IsAJsonbScalar(part) || part->type == jbvNull)
				return NIL;
			values = lappend(values, part);
		}
	return takes == TAKES_TWO && list_length(values) != 2 ? NIL : values;
}

/* Text without % is looked for anywhere. */
static char *
like_pattern(const char *text)
{
	StringInfoData out;

	if (strchr(text, '%') != NULL)
		return pstrdup(text);
	initStringInfo(&out);
	appendStringInfoChar(&out, '%');
	for (; *text != '\0'; text++)
	{
		if (*text == '_' || *text == '\\')
			appendStringInfoChar(&out, '\\');
		appendStringInfoChar(&out, *text);
	}
	appendStringInfoChar(&out, '%');
	return out.data;
}

/* An error where there is no array or no such element: how conditions are nested. */
static JsonbValue *
element(const JsonbValue *array, int i, const char *what)
{
	JsonbValue *found = array && array_size(array) > 0 ? getIthJsonbValueFromContainer(array->val.binary.data, i) : NULL;

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conditions are wrongly nested"),
				 errdetail("The error is in %s.", what),
				 errhint("Conditions are an array of arrays: [[a, b], [c]] is \"a and b, or c\", each like {\"field\": \"enable\", \"logic\": \"eq\", \"value\": \"1\"}.")));
	return found;
}

/* -1 = no array. */
static int
array_size(const JsonbValue *value)
{
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return -1;
	return JsonContainerSize(value->val.binary.data);
}

static void
wrong_value(const char *field, const Logic *logic)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a condition's value is not what its logic takes"),
			 errdetail("Field \"%s\" has logic \"%s\".", field, logic->word),
			 errhint("%s", logic->takes == TAKES_TWO ? "It takes two values, such as \"100,500\" or [100, 500]." :
					 logic->takes == TAKES_LIST ? "It takes several values, such as \"A,B\" or [\"A\", \"B\"]." :
					 "It takes one text, number or boolean; isnull and notnull ask for what is not there.")));
}
