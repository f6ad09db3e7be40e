/*-------------------------------------------------------------------------
 * shape_partner.c
 *		Customers and suppliers: names, contacts and field tables.
 *
 * The customer's keys are exactly the documented ones: 7 in a row, 52 in a
 * detail.  A supplier's row has the bank, rate and group number that its
 * detail lacks, and no form of it shows a modify time, so the union of both
 * forms is more than either.
 *-------------------------------------------------------------------------
 */
#include "shape_fields.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef struct City
{
	const char *name;
	const char *province;
	int			id;
	int			province_id;
} City;

static const City cities[] = {
	{"福州市", "福建省", 396, 382}, {"厦门市", "福建省", 397, 382},
	{"泉州市", "福建省", 400, 382}, {"深圳市", "广东省", 77, 66},
	{"广州市", "广东省", 76, 66}, {"杭州市", "浙江省", 175, 166},
	{"宁波市", "浙江省", 176, 166}, {"上海市", "上海", 321, 320},
	{"成都市", "四川省", 322, 310}, {"西安市", "陕西省", 311, 300},
	{"武汉市", "湖北省", 180, 179}, {"南京市", "江苏省", 220, 219},
};

static const City *
city_of(const Out *o)
{
	return &cities[hash_of(o->v, 110) % COUNT(cities)];
}

/*
 * A few names carry what breaks careless code: quotes, a backslash, a
 * character outside the first plane, a full-width bracket, a trailing blank.
 */
void
company_name(Buf *text, uint64_t h)
{
	static const char *const places[] = {
		"福州", "厦门", "泉州", "深圳", "广州", "杭州", "宁波", "上海", "成都",
		"西安", "武汉", "南京", "莆田", "漳州", "温州", "义乌"
	};
	static const char *const brands[] = {
		"闽康", "益佳", "华润", "安信", "同心", "康源", "百草", "瑞泰", "天合",
		"润丰", "金桥", "海蓝", "嘉禾", "永盛", "新晨", "博雅", "正和", "宏达",
		"万家", "众邦", "民生", "德馨", "和顺", "优加"
	};
	static const char *const trades[] = {
		"益生菌", "生物科技", "医药", "食品", "母婴用品", "健康管理", "商贸",
		"供应链", "电子商务", "乳业", "保健品", "连锁药房"
	};
	static const char *const ends[] = {
		"有限公司", "股份有限公司", "（福建）有限公司", "有限责任公司",
		"经营部", "第一分公司", "旗舰店", "（个体工商户）"
	};

	buf_text(text, places[h % 16]);
	buf_text(text, brands[(h >> 8) % 24]);
	buf_text(text, trades[(h >> 16) % 12]);
	buf_text(text, ends[(h >> 24) % 8]);
	if ((h >> 32) % 97 == 0)
		buf_text(text, "\"老店\"\\A&B");
	else if ((h >> 32) % 97 == 1)
		buf_text(text, "\xf0\xa0\xae\xb7\xf0\x9f\x90\xbb");	/* U+20BB7, U+1F43B */
	else if ((h >> 32) % 97 == 2)
		buf_text(text, "'; --");
	else if ((h >> 32) % 97 == 3)
		buf_text(text, "　");
}

void
text_person(Buf *text, const Out *o)
{
	static const char *const families[] = {
		"陈", "林", "黄", "张", "李", "王", "吴", "刘", "蔡", "杨", "欧阳", "郑"
	};
	static const char *const given[] = {
		"志强", "丽华", "建国", "晓燕", "伟", "敏", "秀英", "俊杰", "思远", "雨桐"
	};
	uint64_t	h = hash_of_contact(o->v, 111 + o->line);

	buf_text(text, families[h % 12]);
	buf_text(text, given[(h >> 8) % 10]);
}

void
text_mobile(Buf *text, const Out *o)
{
	buf_printf(text, "13%09u",
			   (unsigned) (hash_of_contact(o->v, 120 + o->line) % 1000000000));
}

void
text_phone(Buf *text, const Out *o)
{
	buf_printf(text, "0591-8%07u",
			   (unsigned) (hash_of_contact(o->v, 130 + o->line) % 10000000));
}

void
text_address(Buf *text, const Out *o)
{
	static const char *const roads[] = {
		"五四路", "人民路", "解放大道", "滨江东路", "科技园路", "中山路"
	};
	uint64_t	h = hash_of(o->v, 140 + o->line);

	buf_text(text, city_of(o)->name);
	buf_text(text, roads[h % 6]);
	buf_printf(text, "%u号%u室", (unsigned) (h >> 8) % 900 + 1,
			   (unsigned) (h >> 20) % 30 * 100 + 101);
}

void
text_city_id(Buf *text, const Out *o)
{
	buf_int(text, city_of(o)->id);
}

void
text_city_name(Buf *text, const Out *o)
{
	buf_text(text, city_of(o)->name);
}

void
text_city_number(Buf *text, const Out *o)
{
	buf_printf(text, "%05d", city_of(o)->id);
}

void
text_province_id(Buf *text, const Out *o)
{
	buf_int(text, city_of(o)->province_id);
}

void
text_province_name(Buf *text, const Out *o)
{
	buf_text(text, city_of(o)->province);
}

void
text_province_number(Buf *text, const Out *o)
{
	buf_printf(text, "%05d", city_of(o)->province_id);
}

void
text_bank(Buf *text, const Out *o)
{
	static const char *const banks[] = {
		"中国工商银行", "中国建设银行", "招商银行", "兴业银行", ""
	};

	buf_text(text, banks[hash_of(o->v, 150) % 5]);
}

void
text_bank_account(Buf *text, const Out *o)
{
	uint64_t	h = hash_of(o->v, 151);

	if (hash_of(o->v, 150) % 5 == 4)
		return;
	buf_printf(text, "6222%015llu",
			   (unsigned long long) (h % UINT64_C(1000000000000000)));
}

void
text_taxpayer(Buf *text, const Out *o)
{
	uint64_t	h = hash_of(o->v, 152);

	if (h % 3 == 0)
		return;
	buf_printf(text, "91350100MA%08llX", (unsigned long long) (h >> 32));
}

static void
text_email(Buf *text, const Out *o)
{
	uint64_t	h = hash_of_contact(o->v, 153 + o->line);

	if (h % 4 != 0)
		buf_printf(text, "user%u@example.com", (unsigned) (h >> 8) % 1000000);
}

static void
text_birthday(Buf *text, const Out *o)
{
	uint64_t	h = hash_of(o->v, 160 + o->line);

	if (h % 3 != 0)
		buf_printf(text, "%u-%02u-%02u", (unsigned) (1960 + (h >> 8) % 45),
				   (unsigned) (h >> 16) % 12 + 1, (unsigned) (h >> 24) % 28 + 1);
}

static void
text_qq(Buf *text, const Out *o)
{
	uint64_t	h = hash_of(o->v, 165 + o->line);

	if (h % 5 == 0)
		buf_printf(text, "%u", (unsigned) (h >> 8) % 900000000 + 100000000);
}

static void
text_wechat(Buf *text, const Out *o)
{
	uint64_t	h = hash_of(o->v, 170 + o->line);

	if (h % 4 == 0)
		buf_printf(text, "wx_%u", (unsigned) (h >> 8) % 1000000);
}

static void
text_gender(Buf *text, const Out *o)
{
	buf_char(text, hash_of(o->v, 175 + o->line) % 2 ? '1' : '0');
}

static void
text_contact_id(Buf *text, const Out *o)
{
	buf_int(text, data_id(o->v) + INT64_C(500000000000000000) + o->line);
}

static void
text_line_number(Buf *text, const Out *o)
{
	buf_int(text, o->line + 1);
}

static void
raw_first_line(Out *o)
{
	buf_text(o->b, o->line == 0 ? "true" : "false");
}

static const Field contact_fields[] = {
	TEXT("birthday", IN_BOTH | SECRET, text_birthday),
	TEXT("contact_address", IN_BOTH | SECRET, text_address),
	TEXT("contact_city_id", IN_BOTH, text_city_id),
	TEXT("contact_city_name", IN_BOTH, text_city_name),
	TEXT("contact_city_number", IN_BOTH, text_city_number),
	CONST("contact_country_id", IN_BOTH, "1000001"),
	CONST("contact_country_name", IN_BOTH, "中国"),
	CONST("contact_country_number", IN_BOTH, "001"),
	CONST("contact_district_id", IN_BOTH, ""),
	CONST("contact_district_name", IN_BOTH, ""),
	CONST("contact_district_number", IN_BOTH, ""),
	TEXT("contact_person", IN_BOTH, text_person),
	TEXT("contact_province_id", IN_BOTH, text_province_id),
	TEXT("contact_province_name", IN_BOTH, text_province_name),
	TEXT("contact_province_number", IN_BOTH, text_province_number),
	TEXT("create_time_contact", IN_BOTH | OF_SERVICE, text_create_time),
	TEXT("email", IN_BOTH | SECRET, text_email),
	TEXT("gender", IN_BOTH, text_gender),
	TEXT("id", IN_BOTH | OF_SERVICE, text_contact_id),
	RAW("is_default_linkman", IN_BOTH | OF_SERVICE, raw_first_line),
	TEXT("mobile", IN_BOTH | SECRET, text_mobile),
	TEXT("phone", IN_BOTH | SECRET, text_phone),
	TEXT("qq", IN_BOTH | SECRET, text_qq),
	TEXT("seq", IN_BOTH | OF_SERVICE, text_line_number),
	TEXT("wechat", IN_BOTH | SECRET, text_wechat),
};

/* One contact mostly, sometimes none or two; or those that a save gave. */
void
raw_contacts(Out *o)
{
	static const unsigned counts[] = {1, 1, 1, 1, 2, 1, 1, 0};
	json_t	   *given = given_value(o, "contact_persons");
	unsigned	n = given ? (unsigned) json_array_size(given) :
		counts[hash_of(o->v, 180) % 8];
	unsigned	i;

	buf_char(o->b, '[');
	for (i = 0; i < n; i++)
	{
		if (i > 0)
			buf_char(o->b, ',');
		o->given_line = json_array_get(given, i);
		put_object(o, contact_fields, COUNT(contact_fields), "bomentity.", i);
	}
	o->given_line = NULL;
	buf_char(o->b, ']');
}

static void
raw_credit(Out *o)
{
	uint64_t	h = hash_of(o->v, 181);

	if (h % 4 == 0)
		buf_printf(o->b, "%u.5", (unsigned) (h >> 8) % 100000);
	else if (h % 4 == 1)
		buf_int(o->b, (int64_t) ((h >> 8) % 20) * 5000);
	else
		buf_char(o->b, '0');
}

static void
raw_false(Out *o)
{
	buf_text(o->b, "false");
}

static void
raw_custom(Out *o)
{
	static const char *const grades[] = {"A", "B", "C", ""};

	buf_printf(o->b, "{\"custom_field__1__demo\":\"%s\"}",
			   grades[hash_of(o->v, 182) % 4]);
}

static void
raw_accounts(Out *o)
{
	static const Field account[] = {
		TEXT("income_acc_no", IN_BOTH | SECRET, text_bank_account),
		TEXT("income_acc_name", IN_BOTH, text_name),
		TEXT("income_bank_code", IN_BOTH | SECRET, text_taxpayer),
		TEXT("income_bank_name", IN_BOTH, text_bank),
	};

	buf_char(o->b, '[');
	put_object(o, account, COUNT(account), "accountentity.", 0);
	buf_char(o->b, ']');
}

static const Field customer_fields[] = {
	CONST("account_open_addr", IN_DETAIL, ""),
	TEXT("addr", IN_DETAIL | SECRET, text_address),
	TEXT("bank", IN_DETAIL, text_bank),
	TEXT("bank_account", IN_DETAIL | SECRET, text_bank_account),
	RAW("bomentity", IN_DETAIL | CONTACTS, raw_contacts),
	CONST("c_level_id", IN_BOTH, ""),
	CONST("c_level_name", IN_DETAIL, ""),
	CONST("c_level_number", IN_DETAIL, ""),
	TEXT("city_id", IN_DETAIL, text_city_id),
	TEXT("city_name", IN_DETAIL, text_city_name),
	TEXT("city_number", IN_DETAIL, text_city_number),
	CONST("country_id", IN_DETAIL, "1000001"),
	CONST("country_name", IN_DETAIL, "中国"),
	CONST("country_number", IN_DETAIL, "001"),
	TEXT("create_time", IN_DETAIL, text_create_time),
	CONST("creater_field_name", IN_DETAIL, "用户甲"),
	RAW("credit_limit", IN_DETAIL, raw_credit),
	RAW("custom_field", IN_DETAIL, raw_custom),
	RAW("deduct", IN_DETAIL, raw_false),
	CONST("district_id", IN_DETAIL, ""),
	CONST("district_name", IN_DETAIL, ""),
	CONST("district_number", IN_DETAIL, ""),
	TEXT("enable", IN_BOTH, text_enable),
	TEXT("group_id", IN_DETAIL, text_group_id),
	TEXT("group_name", IN_BOTH, text_group_name),
	TEXT("group_number", IN_DETAIL, text_group_number),
	TEXT("id", IN_BOTH | IS_ID, text_id),
	CONST("invoice_email", IN_DETAIL, ""),
	CONST("invoice_name", IN_DETAIL, ""),
	TEXT("invoice_phone", IN_DETAIL | SECRET, text_phone),
	CONST("invoice_type", IN_DETAIL, ""),
	TEXT("modify_time", IN_DETAIL | ROW_TIME, text_modify_time),
	TEXT("name", IN_BOTH | IS_NAME, text_name),
	TEXT("number", IN_BOTH, text_number),
	TEXT("province_id", IN_DETAIL, text_province_id),
	TEXT("province_name", IN_DETAIL, text_province_name),
	TEXT("province_number", IN_DETAIL, text_province_number),
	CONST("rate", IN_DETAIL, "13"),
	TEXT("remark", IN_BOTH, text_remark),
	CONST("sale_dept_id", IN_DETAIL, ""),
	CONST("sale_dept_name", IN_DETAIL, ""),
	CONST("sale_dept_number", IN_DETAIL, ""),
	CONST("saler_id", IN_DETAIL, ""),
	CONST("saler_name", IN_DETAIL, ""),
	CONST("saler_number", IN_DETAIL, ""),
	CONST("setting_term_id", IN_DETAIL, ""),
	CONST("setting_term_name", IN_DETAIL, ""),
	CONST("setting_term_number", IN_DETAIL, ""),
	CONST("settle_customer_id", IN_DETAIL, ""),
	CONST("settle_customer_name", IN_DETAIL, ""),
	CONST("settle_customer_number", IN_DETAIL, ""),
	TEXT("taxpayer_no", IN_DETAIL, text_taxpayer),
};

const Shape shape_customer = {customer_fields, COUNT(customer_fields)};

static const Field supplier_fields[] = {
	CONST("account_open_addr", IN_LIST, ""),
	RAW("accountentity", IN_DETAIL, raw_accounts),
	TEXT("addr", IN_DETAIL, text_address),
	TEXT("bank", IN_LIST, text_bank),
	TEXT("bank_account", IN_LIST | SECRET, text_bank_account),
	RAW("bomentity", IN_BOTH, raw_contacts),
	RAW("custom_field", IN_DETAIL, raw_custom),
	TEXT("enable", IN_BOTH, text_enable),
	TEXT("group_id", IN_BOTH, text_group_id),
	TEXT("group_name", IN_BOTH, text_group_name),
	TEXT("group_number", IN_LIST, text_group_number),
	TEXT("id", IN_BOTH | IS_ID, text_id),
	TEXT("modify_time", ROW_TIME, text_modify_time),
	TEXT("name", IN_BOTH | IS_NAME, text_name),
	TEXT("number", IN_BOTH, text_number),
	CONST("purchaser_id", IN_DETAIL, ""),
	CONST("rate", IN_LIST, "13"),
	TEXT("remark", IN_BOTH, text_remark),
	CONST("setting_term_id", IN_DETAIL, ""),
	TEXT("taxpayer_no", IN_LIST, text_taxpayer),
};

const Shape shape_supplier = {supplier_fields, COUNT(supplier_fields)};
