/*-------------------------------------------------------------------------
 * shape.c
 *		What a record looks like in a list row, a detail and the plain form.
 *
 * Nothing of a row is stored: every field is computed from the seed, the
 * record's place and its revision, so a million records fit in memory and two
 * runs with one seed agree.  A field is a row of a table that says in which
 * forms it appears and whether it is sensitive; the tables are in
 * shape_partner.c and shape_trade.c.
 *
 * Guarded by the simulator's lock (the cipher and the scratch buffer).
 *-------------------------------------------------------------------------
 */
#include "shape_fields.h"

#include "config.h"
#include "crypt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_GROUP_ID INT64_C(1500000000000000777)
#define GROUP_STEP 1024

size_t		shape_pad;
static Buf	scratch;			/* one field's text at a time */

static const Shape *const shapes[N_ENTITIES] = {
	&shape_customer, &shape_supplier, &shape_material, &shape_order
};

/* Whether a field belongs to the form asked for. */
static bool
in_form(const Out *o, const Field *f)
{
	switch (o->form)
	{
		case FORM_LIST:
		case FORM_CONTACTS:
			return (f->where & IN_LIST) ||
				((f->where & CONTACTS) && o->form == FORM_CONTACTS) ||
				((f->where & ROW_TIME) && config.row_modify_time);
		case FORM_DETAIL:
			return (f->where & IN_DETAIL) != 0;
		case FORM_UNION:
			return !(f->where & LIST_TWIN) &&
				((f->where & IN_BOTH) || config.row_modify_time);
		default:
			return (f->where & (IS_ID | IS_NAME)) != 0 || f->text == text_number;
	}
}

json_t *
given_value(Out *o, const char *name)
{
	char		key[128];
	json_t	   *value;

	if (o->v->fields == NULL)
		return NULL;
	if (o->given_line != NULL)
		return json_object_get(o->given_line, name);
	snprintf(key, sizeof(key), "%s%s", o->prefix, name);
	value = json_object_get(o->v->fields, key);
	if (value != NULL)
	{
		if (o->used == NULL)
			o->used = json_object();
		json_object_set_new(o->used, key, json_true());
	}
	return value;
}

static void
put_key(Out *o, const char *name, size_t n)
{
	if (!o->first)
		buf_char(o->b, ',');
	o->first = false;
	buf_json(o->b, name, n);
	buf_char(o->b, ':');
}

static void
put_text(Out *o, unsigned where, const char *text, size_t n)
{
	if ((where & SECRET) && o->cipher)
	{
		buf_char(o->b, '"');
		crypt_field(o->b, config.client_secret, text, n);
		buf_char(o->b, '"');
		return;
	}
	buf_json(o->b, text, n);
	if ((where & IS_NAME) && o->twist != NULL && o->twist->name_raw != NULL)
	{
		o->b->len--;			/* back inside the quotes */
		buf_text(o->b, o->twist->name_raw);
		buf_char(o->b, '"');
	}
}

static void
put_value(Out *o, unsigned where, json_t *value)
{
	char	   *text;

	if (json_is_string(value))
	{
		put_text(o, where, json_string_value(value),
				 json_string_length(value));
		return;
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	buf_text(o->b, text);
	free(text);
}

/* The id, in the form a fault or switch wants it; perhaps not at all. */
static void
put_id(Out *o, const Field *f)
{
	IdForm		form = o->twist ? o->twist->id_form : ID_NORMAL;
	Buf			text = {0};

	if (form == ID_NORMAL && config.ids_as_numbers)
		form = ID_NUMBER;
	if (form == ID_MISSING)
		return;
	put_key(o, f->name, strlen(f->name));
	f->text(&text, o);
	if (form == ID_NULL)
		buf_text(o->b, "null");
	else if (form == ID_NUMBER)
		buf_text(o->b, text.data);
	else
		buf_json(o->b, text.data, text.len);
	buf_free(&text);
}

static void
put_field(Out *o, const Field *f)
{
	json_t	   *given;

	if (f->where & IS_ID)
	{
		put_id(o, f);
		return;
	}
	put_key(o, f->name, strlen(f->name));
	given = given_value(o, f->name);
	if (given != NULL)
		put_value(o, f->where, given);
	else if (o->given_line != NULL && !(f->where & OF_SERVICE))
		put_text(o, f->where, "", 0);
	else if (f->constant != NULL)
		put_text(o, f->where, f->constant, strlen(f->constant));
	else if (f->raw != NULL)
		f->raw(o);
	else
	{
		scratch.len = 0;
		buf_bytes(&scratch, "", 0);
		f->text(&scratch, o);
		put_text(o, f->where, scratch.data, scratch.len);
	}
}

void
put_object(Out *o, const Field *fields, size_t n, const char *prefix,
		   unsigned line)
{
	Out			inner = *o;
	size_t		i;

	inner.prefix = prefix;
	inner.line = line;
	inner.first = true;
	inner.twist = NULL;
	buf_char(o->b, '{');
	for (i = 0; i < n; i++)
		if (in_form(&inner, &fields[i]))
			put_field(&inner, &fields[i]);
	buf_char(o->b, '}');
	o->used = inner.used;
}

/* Keys a "set" gave that the table does not know: custom or new fields. */
static void
put_unknown(Out *o)
{
	const char *key;
	json_t	   *value;

	json_object_foreach(o->v->fields, key, value)
	{
		if (json_object_get(o->used, key) != NULL)
			continue;
		put_key(o, key, strlen(key));
		put_value(o, 0, value);
	}
}

void
shape_row(Buf *out, const Version *v, Form form, bool cipher,
		  const Twist *twist)
{
	const Shape *shape = shapes[v->entity];
	Out			o = {.b = out,.v = v,.form = form,.cipher = cipher,
		.twist = twist,.prefix = "",.first = true};
	size_t		i;

	buf_char(out, '{');
	for (i = 0; i < shape->n; i++)
		if (in_form(&o, &shape->fields[i]))
			put_field(&o, &shape->fields[i]);
	if (v->fields != NULL && (form == FORM_DETAIL || form == FORM_UNION))
		put_unknown(&o);
	if (twist != NULL && twist->tail.len > 0)
		buf_bytes(out, twist->tail.data, twist->tail.len);
	buf_char(out, '}');
	json_decref(o.used);
}

void
shape_cleanup(void)
{
	buf_free(&scratch);
}

uint64_t
hash_of(const Version *v, unsigned salt)
{
	return mix64(mix64(data_seed ^ ((uint64_t) v->entity << 56 | v->recno)) + salt);
}

uint64_t
hash_of_contact(const Version *v, unsigned salt)
{
	return mix64(hash_of(v, salt) + v->contact_rev);
}

void
shape_name(Buf *out, const Version *v)
{
	json_t	   *given = v->fields ? json_object_get(v->fields, "name") : NULL;
	uint64_t	h = hash_of(v, 100);

	if (json_is_string(given))
	{
		buf_text(out, json_string_value(given));
		return;
	}
	if (v->rev > 0)
		h = mix64(h + v->rev);
	if (v->entity == MATERIAL)
		product_name(out, h);
	else
		company_name(out, h);
}

int
shape_group_of(int64_t id)
{
	int64_t		place = id - FIRST_GROUP_ID;

	return place >= 0 && place % GROUP_STEP == 0 && place / GROUP_STEP < N_GROUPS ?
		(int) (place / GROUP_STEP) : -1;
}

unsigned
shape_group(const Version *v)
{
	const char *given = json_string_value(json_object_get(v->fields, "group_id"));
	int			group = given ? shape_group_of(strtoll(given, NULL, 10)) : -1;

	return group >= 0 ? (unsigned) group : (unsigned) (hash_of(v, 101) % N_GROUPS);
}

const char *
shape_group_id(const Version *v)
{
	static char id[24];

	snprintf(id, sizeof(id), "%lld",
			 (long long) FIRST_GROUP_ID + (long long) shape_group(v) * GROUP_STEP);
	return id;
}

void
china_time(Buf *text, int64_t ms)
{
	time_t		seconds = (time_t) (ms / 1000 + 8 * 3600);
	struct tm	tm;
	char		out[32];

	gmtime_r(&seconds, &tm);
	strftime(out, sizeof(out), "%Y-%m-%d %H:%M:%S", &tm);
	buf_text(text, out);
}

void
text_id(Buf *text, const Out *o)
{
	buf_int(text, data_id(o->v));
}

void
text_number(Buf *text, const Out *o)
{
	buf_text(text, o->v->number);
}

void
text_name(Buf *text, const Out *o)
{
	shape_name(text, o->v);
}

void
text_enable(Buf *text, const Out *o)
{
	buf_char(text, o->v->enabled ? '1' : '0');
}

void
text_create_time(Buf *text, const Out *o)
{
	china_time(text, o->v->create_ms);
}

void
text_modify_time(Buf *text, const Out *o)
{
	china_time(text, o->v->modify_ms);
}

void
text_group_id(Buf *text, const Out *o)
{
	buf_text(text, shape_group_id(o->v));
}

void
text_group_number(Buf *text, const Out *o)
{
	buf_printf(text, "%02u", shape_group(o->v) + 1);
}

void
text_group_name(Buf *text, const Out *o)
{
	static const char *const names[N_GROUPS] = {
		"经销商", "连锁药店", "商超", "电商平台", "母婴门店", "医院", "团购客户", "其他"
	};

	buf_text(text, names[shape_group(o->v)]);
}

/*
 * Mostly empty, sometimes a short note; with --pad long enough to give list
 * rows the size wanted.
 */
void
text_remark(Buf *text, const Out *o)
{
	static const char *const notes[] = {
		"月结30天，发货前请先电话确认收货人；", "每周二、周五送货，需提供随货同行单；",
		"冷链运输2-8℃，签收后请立即入库；", "开票资料以最新邮件为准，老资料作废；",
		"大促期间优先配货，按合同价执行；", "收货时间上午9点至下午5点，节假日除外；",
		"退换货须在七日内提出，并附检验报告；", "对账日为每月25日，逾期顺延至次月；"
	};
	uint64_t	h = hash_of(o->v, 102);
	size_t		start = text->len;
	size_t		want = shape_pad > 230 ? shape_pad - 230 : 0;

	if (want == 0 && h % 5 == 0)
		want = 1;
	while (text->len - start < want)
	{
		buf_text(text, notes[h % 8]);
		h = mix64(h);
	}
}
