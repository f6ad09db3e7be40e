/*-------------------------------------------------------------------------
 * jsonbtext.c
 *		What jsonb says, as text.
 *
 * For metadata, settings and answers, which are looked into at a few known places.
 * Records go to staging as they came.
 *
 * Pure.  Called by whoever reads a member of a jsonb object.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonbtext.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

char *
jdy_jsonb_text(Jsonb *object, const char *key)
{
	if (!JB_ROOT_IS_OBJECT(object))
		return NULL;
	return jdy_jsonb_value_text(getKeyJsonValueFromContainer(&object->root, key, strlen(key), NULL));
}

char *
jdy_jsonb_value_text(const JsonbValue *value)
{
	if (value == NULL)
		return NULL;
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "unexpected kind of jsonb value: %d", (int) value->type);
	}
	return NULL;				/* not reached */
}

List *
jdy_jsonb_texts(Jsonb *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	part;
	List	   *texts = NIL;

	if (value == NULL)
		return NIL;
	iterator = JsonbIteratorInit(&value->root);
	while ((token = JsonbIteratorNext(&iterator, &part, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && part.type == jbvString)
			texts = lappend(texts, pnstrdup(part.val.string.val, part.val.string.len));
	}
	return texts;
}

bool
jdy_jsonb_is_empty(Jsonb *value)
{
	JsonbValue	scalar;

	if (value == NULL)
		return true;
	if (!JsonbExtractScalar(&value->root, &scalar))
		return JB_ROOT_COUNT(value) == 0;
	return scalar.type == jbvNull || (scalar.type == jbvString && scalar.val.string.len == 0);
}
