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
 * Some say in a place of their own whether they did what was asked, and a proxy in between may
 * answer HTTP 200 with nothing at all: {"response":{"success":"data.status","success_value":"done"}}.
 *
 * Called by push.c and outcome.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "answer.h"
#include "jsonbtext.h"
#include "page.h"
#include "scan.h"
#include "template.h"
#include "utils/builtins.h"

static bool step(Slice *value, const char *name, size_t length);
static const char *scalar_text(const Slice *value);
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

AnswerSign
jdy_answer_sign(const Metadata *metadata, const char *body, size_t length)
{
	Slice		value = {body, length};
	const char *text;

	for (const char *name = metadata->success_path; *name != '\0';)
	{
		size_t		name_length = strcspn(name, ".");

		if (!step(&value, name, name_length))
			return SIGN_MISSING;
		name += name_length + (name[name_length] == '.');
	}
	text = scalar_text(&value);
	if (text == NULL)
		return SIGN_MISSING;
	if (metadata->success_value != NULL)
		return strcmp(text, metadata->success_value) == 0 ? SIGN_GIVEN : SIGN_OTHER;
	return strcmp(text, "false") == 0 ? SIGN_OTHER : SIGN_GIVEN;
}

/* From an object to its member; false when it has none, or is none. */
static bool
step(Slice *value, const char *name, size_t length)
{
	ScanMember	member = {.name = name,.name_length = length};
	JsonScan	scan;
	Slice		whole;

	jdy_scan_begin(&scan, value->text, value->length);
	if (!jdy_scan_value(&scan, &whole, &member, 1))
		return false;
	(void) jdy_scan_peek(&scan);
	if (scan.at != scan.end || member.value.text == NULL)
		return false;
	*value = member.value;
	return true;
}

/* A text as it is, all else as it stands there; NULL of null and of what is not JSON. */
static const char *
scalar_text(const Slice *value)
{
	JsonScan	scan;
	Slice		whole;
	Slice		inside = {value->text + 1, value->length - 2};
	size_t		length;

	jdy_scan_begin(&scan, value->text, value->length);
	if (!jdy_scan_value(&scan, &whole, NULL, 0) || scan.at != scan.end || *value->text == 'n')
		return NULL;
	return *value->text == '"' ? jdy_scan_decode(&inside, &length) : pnstrdup(value->text, value->length);
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
