/*-------------------------------------------------------------------------
 * save.c
 *		Customers saved and deleted by callers of the signed form.
 *
 * A save is an insert or, with an id, an update of what it names; the lists,
 * details and the truth show it.  It is not idempotent: the same insert again
 * makes a second customer or is refused because its number exists.  Unknown
 * members are ignored in silence, enable among them.
 *
 * What a new customer was not given is empty, so that a detail shows what was
 * saved and nothing made up.  Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "save.h"

#include "config.h"
#include "data.h"
#include "records.h"
#include "shape.h"
#include "target.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_OPERATED 500

/* Codes of the service's table. */
#define IS_REQUIRED 1030002000
#define WRONG_TYPE 1030002001
#define EXISTS 1030002002
#define IS_MISSING 1030002003
#define IS_USED 1030002004
#define TOO_MANY 1030002005
#define WRONG_FORMAT 1030002006
#define POISON 2016003063		/* one that only the customer can mend */

typedef struct Save
{
	json_t	   *body;
	Version    *old;			/* NULL = insert */
	const char *name;
	const char *number;			/* NULL = not given */
	json_t	   *fields;			/* for data_change() */
} Save;

static bool
refuse(Request *req, int64_t errcode, const char *what, const char *text)
{
	char		description[256];

	snprintf(description, sizeof(description), "%s%s", what, text);
	reply_error(&req->reply, 200, errcode, description, true);
	return false;
}

/* A member that must be text; absent, null and "" are the same. */
static bool
read_text(Request *req, json_t *body, const char *name, const char **text)
{
	json_t	   *value = json_object_get(body, name);

	*text = json_is_string(value) && json_string_length(value) > 0 ?
		json_string_value(value) : NULL;
	if (value == NULL || json_is_null(value) || json_is_string(value))
		return true;
	return refuse(req, WRONG_TYPE, name, "类型不正确");
}

/* The existing customer with this id, NULL when there is none. */
static Version *
find_by_id(json_t *value)
{
	char	   *id = id_text(value);
	Version    *v = id ? data_by_id(data_see(CUSTOMER, SEES_TRUTH), strtoll(id, NULL, 10)) : NULL;

	free(id);
	return v;
}

static Version *
find_by_number(const char *number)
{
	return data_by_number(data_see(CUSTOMER, SEES_TRUTH), number);
}

static bool
has_value(json_t *value)
{
	return value != NULL && !json_is_null(value) &&
		!(json_is_string(value) && json_string_length(value) == 0);
}

static bool
group_exists(json_t *value)
{
	char	   *id = id_text(value);
	bool		exists = id != NULL && shape_group_of(strtoll(id, NULL, 10)) >= 0;

	free(id);
	return exists;
}

/* Whom the save is about: the id, and that the number is nobody else's. */
static bool
read_subject(Request *req, Save *s)
{
	json_t	   *id = json_object_get(s->body, "id");
	json_t	   *group = json_object_get(s->body, "group_id");
	Version    *owner;

	if (!read_text(req, s->body, "name", &s->name) ||
		!read_text(req, s->body, "number", &s->number))
		return false;
	if (s->name == NULL)
		return refuse(req, IS_REQUIRED, "name", "不能为空");
	if (s->number != NULL && strlen(s->number) >= NUMBER_MAX)
		return refuse(req, WRONG_FORMAT, "number", "格式不正确");
	if (has_value(id) && (s->old = find_by_id(id)) == NULL)
		return refuse(req, IS_MISSING, "客户", "不存在");
	if (has_value(group) && !group_exists(group))
		return refuse(req, IS_MISSING, "客户类别", "不存在");
	if (s->old == NULL && s->number == NULL && !config.coding_rule)
		return refuse(req, IS_REQUIRED, "number", "不能为空");
	owner = s->number ? find_by_number(s->number) : NULL;
	if (owner != NULL && (s->old == NULL || owner->recno != s->old->recno))
		return refuse(req, EXISTS, "编码", "已存在，不能重复新增");
	return true;
}

/* Whether another customer has the name: a look at each, since none is stored. */
static bool
name_is_taken(const Save *s)
{
	View	   *truth = data_see(CUSTOMER, SEES_TRUTH);
	Buf			name = {0};
	bool		taken = false;
	size_t		i;

	for (i = 0; i < truth->n_current && !taken; i++)
	{
		const Version *v = truth->current[i];

		if (v == NULL || v->deleted || (s->old != NULL && v->recno == s->old->recno))
			continue;
		name.len = 0;
		shape_name(&name, v);
		taken = strcmp(name.data, s->name) == 0;
	}
	buf_free(&name);
	return taken;
}

/* The text form of a value that a detail shows as text; NULL for others. */
static json_t *
as_text(json_t *value)
{
	char	   *number;
	json_t	   *text;

	if (json_is_string(value))
		return json_incref(value);
	if (!json_is_number(value))
		return NULL;
	number = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	text = json_string(number);
	free(number);
	return text;
}

/* Members of a save that a detail shows under the same name. */
static bool
read_texts(Request *req, Save *s)
{
	static const char *const names[] = {
		"remark", "addr", "bank", "bank_account", "account_open_addr",
		"invoice_name", "invoice_phone", "invoice_email", "invoice_type",
		"taxpayer_no", "rate", "group_id", "c_level_id", "country_id",
		"province_id", "city_id", "district_id", "saler_id", "sale_dept_id",
		"setting_term_id", "settle_customer_id"
	};
	size_t		i;

	for (i = 0; i < COUNT(names); i++)
	{
		json_t	   *value = json_object_get(s->body, names[i]);
		json_t	   *text;

		if (value == NULL || json_is_null(value))
			continue;
		text = as_text(value);
		if (text == NULL)
			return refuse(req, WRONG_TYPE, names[i], "类型不正确");
		json_object_set_new(s->fields, names[i], text);
	}
	return true;
}

/*
 * One contact as the detail shows it: 2 is a woman's gender in a save and 0 in
 * a detail, and a birthday has no time of day there.
 */
static json_t *
contact_of(json_t *given)
{
	json_t	   *line = json_object();
	const char *birthday = json_string_value(json_object_get(given, "birthday"));
	const char *gender;
	const char *name;
	json_t	   *value;

	json_object_foreach(given, name, value)
	{
		if (json_is_boolean(value))
			json_object_set(line, name, value);
		else if (!json_is_null(value))
			json_object_set_new(line, name, as_text(value));
	}
	gender = json_string_value(json_object_get(line, "gender"));
	if (gender != NULL && strcmp(gender, "2") == 0)
		json_object_set_new(line, "gender", json_string("0"));
	if (birthday != NULL && strlen(birthday) > 10)
		json_object_set_new(line, "birthday", json_stringn(birthday, 10));
	return line;
}

static bool
read_contacts(Request *req, Save *s)
{
	json_t	   *given = json_object_get(s->body, "contact_persons");
	json_t	   *lines;
	json_t	   *line;
	size_t		i;

	if (given == NULL || json_is_null(given))
		return true;
	lines = json_array();
	json_object_set_new(s->fields, "contact_persons", lines);
	json_array_foreach(given, i, line)
	{
		if (!json_is_object(line))
			return refuse(req, WRONG_TYPE, "contact_persons", "类型不正确");
		json_array_append_new(lines, contact_of(line));
	}
	return json_is_array(given) || refuse(req, WRONG_TYPE, "contact_persons", "类型不正确");
}

/* A member that is shown as it was given, when it has the right type. */
static bool
read_raw(Request *req, Save *s, const char *name, bool is_number)
{
	json_t	   *value = json_object_get(s->body, name);

	if (value == NULL || json_is_null(value))
		return true;
	if (is_number ? !json_is_number(value) : !json_is_object(value))
		return refuse(req, WRONG_TYPE, name, "类型不正确");
	json_object_set(s->fields, name, value);
	return true;
}

/* What a new customer has before anything is given. */
static json_t *
nothing(void)
{
	static const char *const names[] = {
		"remark", "addr", "bank", "bank_account", "invoice_phone", "taxpayer_no",
		"province_id", "province_name", "province_number", "city_id", "city_name",
		"city_number"
	};
	json_t	   *fields = json_pack("{s:[],s:i,s:{}}", "contact_persons",
								   "credit_limit", 0, "custom_field");
	size_t		i;

	for (i = 0; i < COUNT(names); i++)
		json_object_set_new(fields, names[i], json_string(""));
	return fields;
}

static bool
read_fields(Request *req, Save *s)
{
	s->fields = s->old == NULL ? nothing() : json_object();
	json_object_set_new(s->fields, "name", json_string(s->name));
	if (s->number != NULL)
		json_object_set_new(s->fields, "number", json_string(s->number));
	return read_texts(req, s) && read_contacts(req, s) &&
		read_raw(req, s, "credit_limit", true) &&
		read_raw(req, s, "custom_field", false);
}

/* Whether a test wants this customer refused. */
static bool
is_poison(const Save *s)
{
	char		id[24] = "";

	if (s->old != NULL)
		snprintf(id, sizeof(id), "%" PRId64, data_id(s->old));
	return target_is_poison(id) || (s->number != NULL && target_is_poison(s->number));
}

/* The reply to a save and to an operation: ids, and perhaps their numbers. */
static void
reply_ids(Request *req, Version *const *versions, size_t n)
{
	Buf		   *out = &req->reply.body;
	size_t		i;

	reply_json(&req->reply, 200, "{\"data\":{\"id_number_map\":{");
	for (i = 0; i < n && config.save_map == MAP_FILLED; i++)
	{
		buf_printf(out, "%s\"%" PRId64 "\":", i ? "," : "", data_id(versions[i]));
		buf_json(out, versions[i]->number, strlen(versions[i]->number));
	}
	buf_text(out, "},\"ids\":[");
	for (i = 0; i < n; i++)
		buf_printf(out, "%s\"%" PRId64 "\"", i ? "," : "", data_id(versions[i]));
	buf_text(out, "]},\"description\":\"success\",\"errcode\":0}");
}

static void
save(Request *req, Save *s)
{
	int64_t		now = sim_now_ms();
	Version    *v;

	if (!read_subject(req, s) || !read_fields(req, s))
		return;
	if (is_poison(s))
	{
		refuse(req, POISON, "汇率", "不能为零");
		return;
	}
	if (!json_is_true(json_object_get(s->body, "ignore_warn")) && name_is_taken(s))
	{
		refuse(req, config.name_warning_code, "名称", "已存在，是否继续保存");
		return;
	}
	v = s->old ? s->old : data_insert(CUSTOMER, now);
	v = data_change(v, CHANGE_SET, now, s->fields);
	reply_ids(req, &v, 1);
}

void
save_customer(Request *req)
{
	Save		s = {.body = json_loadb(req->body.data, req->body.len, 0, NULL)};

	if (json_is_object(s.body))
		save(req, &s);
	else
		refuse(req, WRONG_FORMAT, "请求参数", "格式不正确");
	json_decref(s.fields);
	json_decref(s.body);
}

/* Adds a customer to the ones operated on, once; false when it is refused. */
static bool
add_operand(Request *req, Version *v, Version **found, size_t *n)
{
	char		id[24];
	size_t		i;

	if (v == NULL)
		return refuse(req, IS_MISSING, "客户", "不存在");
	snprintf(id, sizeof(id), "%" PRId64, data_id(v));
	if (target_is_poison(id) || target_is_poison(v->number))
		return refuse(req, IS_USED, "客户", "已被其他对象使用，无法删除");
	for (i = 0; i < *n; i++)
		if (found[i] == v)
			return true;
	if (*n == MAX_OPERATED)
		return refuse(req, TOO_MANY, "操作对象", "个数超出限制");
	found[(*n)++] = v;
	return true;
}

static bool
find_operands(Request *req, json_t *body, Version **found, size_t *n)
{
	json_t	   *value;
	size_t		i;

	json_array_foreach(json_object_get(body, "ids"), i, value)
		if (!add_operand(req, find_by_id(value), found, n))
		return false;
	json_array_foreach(json_object_get(body, "numbers"), i, value)
	{
		const char *number = json_string_value(value);

		if (!add_operand(req, number ? find_by_number(number) : NULL, found, n))
			return false;
	}
	return *n > 0 || refuse(req, IS_REQUIRED, "ids", "不能为空");
}

/* All or nothing: one that cannot be deleted keeps the others. */
void
save_operate(Request *req)
{
	json_t	   *body = json_loadb(req->body.data, req->body.len, 0, NULL);
	Version    *found[MAX_OPERATED];
	size_t		n = 0;
	size_t		i;

	if (!member_is(body, "entity_number", "bd_customer"))
		refuse(req, WRONG_FORMAT, "entity_number", "格式不正确");
	else if (!member_is(body, "operate_type", "delete"))
		refuse(req, WRONG_FORMAT, "operate_type", "格式不正确");
	else if (find_operands(req, body, found, &n))
	{
		for (i = 0; i < n; i++)
			data_change(found[i], CHANGE_DELETE, sim_now_ms(), NULL);
		reply_ids(req, found, n);
	}
	json_decref(body);
}
