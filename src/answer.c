/*-------------------------------------------------------------------------
 * answer.c
 *		What a target's reply says of each record of a batch.
 *
 * Many targets answer HTTP 200 and tell in the body which records they did not take,
 * by name or by number only.  There is no common form, so metadata says where to
 * look: {"response":{"failed":"data.failed","id":"id","message":"message"}} or
 * {"response":{"failed_count":"content.failed"}}.
 *
 * What cannot be understood counts as a failure that is not known by name: to
 * take it for a success would lose records in silence.
 *
 * Called by push.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "answer.h"
#include "page.h"
#include "template.h"
#include "utils/builtins.h"

static void read_items(const Metadata *metadata, JsonbValue *list, Answer *answer);
static FailedItem read_item(const Metadata *metadata, JsonbValue *value);
static int64 read_count(const JsonbValue *value);

void
jdy_answer_read(const Metadata *metadata, const char *body, size_t length, Answer *answer)
{
	Row			row = {.text = body,.length = (int) length};
	const char *problem;
	Jsonb	   *reply;
	JsonbValue *list;

	memset(answer, 0, sizeof(*answer));
	if ((metadata->failed_path == NULL && metadata->failed_count_path == NULL) || length == 0)
		return;
	if (length > JDY_MAX_ROW_BYTES || (reply = jdy_row_jsonb(&row, &problem)) == NULL)
	{
		answer->failed = 1;
		return;
	}
	if (metadata->failed_path != NULL && (list = jdy_jsonb_at(reply, metadata->failed_path)) != NULL)
		read_items(metadata, list, answer);
	if (metadata->failed_count_path != NULL)
		answer->failed = Max(answer->failed, read_count(jdy_jsonb_at(reply, metadata->failed_count_path)));
}

static void
read_items(const Metadata *metadata, JsonbValue *list, Answer *answer)
{
	JsonbContainer *items;

	if (list->type != jbvBinary || !JsonContainerIsArray(list->val.binary.data))
	{
		answer->failed = 1;
		return;
	}
	items = list->val.binary.data;
	answer->failed = answer->nitems = JsonContainerSize(items);
	answer->items = palloc(sizeof(FailedItem) * Max(answer->nitems, 1));
	for (int i = 0; i < answer->nitems; i++)
		answer->items[i] = read_item(metadata, getIthJsonbValueFromContainer(items, i));
}

/* An object with id and message, or the bare id. */
static FailedItem
read_item(const Metadata *metadata, JsonbValue *value)
{
	FailedItem	item = {NULL, NULL};

	if (value->type == jbvBinary)
	{
		Jsonb	   *object = JsonbValueToJsonb(value);

		item.id = jdy_jsonb_value_text(jdy_jsonb_at(object, metadata->failed_id));
		item.message = jdy_jsonb_value_text(jdy_jsonb_at(object, metadata->failed_message));
	}
	else
		item.id = jdy_jsonb_value_text(value);
	return item;
}

/* A number, or a text that is one; true and anything else that is there counts as one. */
static int64
read_count(const JsonbValue *value)
{
	char	   *text = jdy_jsonb_value_text(value);
	char	   *end;
	double		number;

	if (text == NULL || *text == '\0' || strcmp(text, "false") == 0)
		return 0;
	number = strtod(text, &end);
	if (*end != '\0' || !(number >= 0 && number < 1e15))
		return 1;
	return (int64) number;
}
