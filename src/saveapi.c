/*-------------------------------------------------------------------------
 * saveapi.c
 *		Kingdee's save calls: their payloads and replies, and how a record is looked up.
 *
 * The documents know 101 save calls.  65 of them have a detail call of the same path
 * that takes a number; of the others four lists take one as a filter.  For the rest
 * nothing is documented that would find a record by its number, so nothing is
 * guessed: metadata's "lookup" may say more.
 *
 * What member of a payload holds the number is documented for customers only; the others
 * are taken to call it what their lists call it.  A payload that calls it something else has no
 * number here, and is handled as one without.
 *
 * Pure.  Called by pushdef.c, preview.c, counterpart.c, lookup.c and source.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "page.h"
#include "saveapi.h"
#include "scan.h"
#include "template.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* Saves of one module; names separated by blanks. */
typedef struct SaveApis
{
	const char *prefix;
	const char *number;			/* of their payloads */
	const char *names;
} SaveApis;

/* By <api>_detail?number=…; reference/kingdee-endpoints.tsv: details whose parameters are id and number. */
static const SaveApis by_detail[] = {
	{"/jdy/v2/bd/", "number",
		"aux_info aux_info_type bom currency customer department emp label logistics_company material material_brand"
	" material_group measure_unit space store store_group supplier"},
	{"/jdy/v2/fi/", "number", "account journal voucher"},
	{"/jdy/v2/fi/", "bill_no", "virtual"},
	{"/jdy/v2/pm/", "bill_no", "subm_prodin subm_workorder"},
	{"/jdy/v2/arap/", "bill_no",
		"ap_credit ap_other_credit ap_pay_ret ap_pre_credit ap_pre_credit_ret ar_credit ar_credit_ret ar_other_credit"
	" ar_other_credit_ret ar_pre_credit ar_pre_credit_ret"},
	{"/jdy/v2/scm/", "bill_no",
		"entrust entrust_rtn entrust_settle entrust_settle_rtn inv_assemble inv_check_gail_bill inv_check_loss_bill"
		" inv_disassemble inv_other_in inv_other_out inv_pick inv_pick_ret inv_product inv_product_ret inv_tfin inv_tfmove"
		" inv_tfout pur_inbound pur_invoice pur_mat_rec_notice pur_order pur_request pur_ret sal_delivery_notice"
	" sal_exchange_request sal_in_bound sal_in_bound_request sal_invoice sal_order sal_out_bound sal_quota"},
	{NULL}
};

/* By the list's own parameter "number". */
static const SaveApis by_list[] = {
	{"/jdy/v2/bd/", "number", "aux_attribute customer_group"},
	{"/jdy/v2/fi/", "number", "virtual_type"},
	{"/jdy/v2/ls/", "number", "store"},
	{NULL}
};

/* By nothing that is documented. */
static const SaveApis by_nothing[] = {
	{"/jdy/v2/bd/", NULL,
		"aux_type income_type label_group material_brand_group material_label payout_type settlement_account settlement_type"
	" settling_term supplier_group"},
	{"/jdy/v2/cust/", NULL, "save"},
	{"/jdy/v2/fi/", NULL,
		"fa_alter_save fa_altermode_save fa_card_save fa_clean_save fa_group_save fa_location_save fa_usestatus_save sa_bill"
	" sa_item"},
	{"/jdy/v2/fp/", NULL, "invoice_kp"},
	{"/jdy/v2/ls/", NULL, "formula member refundSave retail_bill"},
	{"/jdy/v2/pm/", NULL, "mat_issue_order_save mo_task_bill"},
	{"/jdy/v2/scm/", NULL, "inv_check_bill inv_check_task inv_multi_check inv_pick_inspect_save"},
	{NULL}
};

static const SaveApis *find_save(const SaveApis *apis, const char *api);
static bool has_word(const char *words, const char *word);
static char *value_text(const Slice *value);

void
jdy_save_plan(Push *push)
{
	const Metadata *meta = push->meta;
	const SaveApis *save;

	if (meta->lookup_api != NULL && (push->batched || push->endpoint->auth != AUTH_KINGDEE))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("records of this push cannot be looked up"),
				 push->batched ? errdetail("\"lookup\" is for requests of one record; \"operation\" sends batches.") :
				 errdetail("\"lookup\" is for servers with auth kingdee."),
				 errhint("Leave \"lookup\" out.")));
	if (push->batched || push->endpoint->auth != AUTH_KINGDEE || !meta->look_up)
		return;
	if ((save = find_save(by_detail, meta->api)) != NULL)
		push->lookup_api = psprintf("%s_detail", meta->api);
	else if ((save = find_save(by_list, meta->api)) != NULL)
	{
		push->lookup_api = meta->api;
		push->lookup_lists = true;
	}
	if (meta->lookup_api != NULL)
	{
		size_t		length = strlen(meta->lookup_api);

		push->lookup_api = meta->lookup_api;
		push->lookup_lists = length < 7 || strcmp(meta->lookup_api + length - 7, "_detail") != 0;
	}
	push->lookup_number = meta->lookup_number != NULL ? meta->lookup_number : save != NULL ? save->number : "number";
}

void
jdy_save_warn(const Push *push)
{
	if (push->endpoint->auth != AUTH_KINGDEE || push->batched || !push->meta->look_up || push->lookup_api != NULL ||
		find_save(by_nothing, push->meta->api) == NULL)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("records are not looked up at the target before they are saved"),
			 errdetail("No call is known that finds what \"%s\" saves by its number: each save without \"id\" creates.", push->meta->api),
			 errhint("Give the payload its \"id\", or name the call: \"lookup\": {\"api\": …, \"param\": \"number\"}. \"lookup\": false says that it is meant.")));
}

bool
jdy_save_read(const char *payload, const char *number_member, char **id, char **number)
{
	ScanMember	members[] = {{"id", 2}, {number_member, strlen(number_member)}};
	JsonScan	scan;
	Slice		value;

	*id = *number = NULL;
	jdy_scan_begin(&scan, payload, strlen(payload));
	if (jdy_scan_peek(&scan) != '{' || !jdy_scan_value(&scan, &value, members, lengthof(members)))
		return false;
	*id = value_text(&members[0].value);
	*number = value_text(&members[1].value);
	return true;
}

char *
jdy_save_put(const char *payload, const char *member, const char *text)
{
	StringInfoData out;
	JsonScan	scan;
	bool		first = true;
	Slice		name;
	Slice		value;
	const char *before = "";

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	if (text != NULL)
	{
		escape_json(&out, member);
		appendStringInfoChar(&out, ':');
		escape_json(&out, text);
		before = ",";
	}
	jdy_scan_begin(&scan, payload, strlen(payload));
	jdy_scan_peek(&scan);
	while (jdy_scan_next_member(&scan, &first, &name))
	{
		if (!jdy_scan_value(&scan, &value, NULL, 0))
			break;
		if (jdy_scan_is(&name, member, strlen(member)))
			continue;
		appendStringInfo(&out, "%s\"", before);
		appendBinaryStringInfo(&out, name.text, (int) name.length);
		appendStringInfoString(&out, "\":");
		appendBinaryStringInfo(&out, value.text, (int) value.length);
		before = ",";
	}
	if (scan.problem != NULL)
		elog(ERROR, "a payload is not JSON: %s", scan.problem);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* {"data":{"ids":["…"],"id_number_map":{"…":"number"}}}: of one record, so either holds one. */
char *
jdy_save_reply(const char *body, size_t length)
{
	Row			row = {.text = body,.length = (int) Min(length, INT_MAX)};
	const char *problem;
	Jsonb	   *reply = length > 0 && length <= JDY_MAX_ROW_BYTES ? jdy_row_jsonb(&row, &problem) : NULL;
	JsonbValue *value;
	char	   *id = NULL;

	if (reply == NULL)
		return NULL;
	value = jdy_jsonb_at(reply, "data.ids");
	if (value != NULL && value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
		JsonContainerSize(value->val.binary.data) == 1)
	{
		value = getIthJsonbValueFromContainer(value->val.binary.data, 0);
		if (value->type == jbvString || value->type == jbvNumeric)
			id = jdy_jsonb_value_text(value);
	}
	else if ((value = jdy_jsonb_at(reply, "data.id_number_map")) != NULL && value->type == jbvBinary &&
			 JsonContainerIsObject(value->val.binary.data) && JsonContainerSize(value->val.binary.data) == 1)
	{
		JsonbIterator *iterator = JsonbIteratorInit(value->val.binary.data);
		JsonbValue	key;

		(void) JsonbIteratorNext(&iterator, &key, true);
		if (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
			id = pnstrdup(key.val.string.val, key.val.string.len);
	}
	return id != NULL && id[0] != '\0' && strlen(id) <= JDY_MAX_ID_BYTES ? id : NULL;
}

/* A path may be given without its first slash. */
static const SaveApis *
find_save(const SaveApis *apis, const char *api)
{
	for (; apis->prefix != NULL; apis++)
	{
		const char *prefix = apis->prefix + (api[0] != '/');

		if (strncmp(api, prefix, strlen(prefix)) == 0 && has_word(apis->names, api + strlen(prefix)))
			return apis;
	}
	return NULL;
}

static bool
has_word(const char *words, const char *word)
{
	size_t		length = strlen(word);

	while (*words != '\0')
	{
		size_t		n = strcspn(words, " ");

		if (n == length && memcmp(words, word, n) == 0)
			return true;
		words += n + (words[n] == ' ');
	}
	return false;
}

/* Of a string or a number; NULL of anything else, and of an empty string. */
static char *
value_text(const Slice *value)
{
	Slice		inside;
	char	   *text;
	size_t		length;

	if (value->text == NULL || value->length == 0)
		return NULL;
	if (value->text[0] != '"')
		return value->text[0] == '-' || isdigit((unsigned char) value->text[0]) ? pnstrdup(value->text, value->length) : NULL;
	inside = (Slice) {value->text + 1, value->length - 2};
	text = jdy_scan_decode(&inside, &length);
	return text != NULL && length > 0 ? text : NULL;
}
