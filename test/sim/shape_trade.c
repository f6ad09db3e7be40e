/*-------------------------------------------------------------------------
 * shape_trade.c
 *		Materials and sales orders: field tables and their values.
 *
 * Both show what a careless typed view stumbles over: amounts are text in
 * list rows and numbers in details, a list has keys its detail lacks
 * (brand_name, stock_name), and an order carries its lines only in the
 * detail.  The number of an order is called bill_no.
 *-------------------------------------------------------------------------
 */
#include "shape_fields.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

void
product_name(Buf *text, uint64_t h)
{
	static const char *const makers[] = {
		"闽康", "益佳", "康源", "百草", "瑞泰", "润丰", "海蓝", "优加"
	};
	static const char *const goods[] = {
		"复合益生菌粉", "儿童益生菌滴剂", "乳酸菌素片", "益生元固体饮料",
		"维生素C咀嚼片", "钙铁锌口服液", "蛋白粉", "DHA藻油软胶囊",
		"叶黄素酯片", "鱼油软胶囊"
	};
	static const char *const packs[] = {
		"2g×20袋", "1.5g*30条", "60片/瓶", "500g/罐", "10ml×12支", "90粒"
	};

	buf_text(text, makers[h % 8]);
	buf_text(text, goods[(h >> 8) % 10]);
	buf_char(text, ' ');
	buf_text(text, packs[(h >> 16) % 6]);
}

static void
text_model(Buf *text, const Out *o)
{
	buf_printf(text, "MK-%u", (unsigned) (hash_of(o->v, 200) % 900) + 100);
}

static void
text_barcode(Buf *text, const Out *o)
{
	buf_printf(text, "69%011llu", (unsigned long long)
			   (hash_of(o->v, 201) % UINT64_C(100000000000)));
}

/* Money as a decimal text; the price follows updates. */
static void
text_price(Buf *text, const Out *o)
{
	uint64_t	h = hash_of_contact(o->v, 202 + o->line) % 50000 + 100;

	buf_printf(text, "%u.%02u", (unsigned) h / 100, (unsigned) h % 100);
}

static void
text_cost(Buf *text, const Out *o)
{
	uint64_t	h = hash_of(o->v, 210 + o->line) % 30000 + 100;

	buf_printf(text, "%u.%02u", (unsigned) h / 100, (unsigned) h % 100);
}

static void
text_quantity(Buf *text, const Out *o)
{
	buf_int(text, (int64_t) (hash_of(o->v, 220 + o->line) % 200) + 1);
}

/* The text form written as a JSON number. */
static void
raw_price(Out *o)
{
	text_price(o->b, o);
}

static void
raw_cost(Out *o)
{
	text_cost(o->b, o);
}

static void
raw_quantity(Out *o)
{
	text_quantity(o->b, o);
}

static void
raw_zero(Out *o)
{
	buf_char(o->b, '0');
}

static void
raw_false(Out *o)
{
	buf_text(o->b, "false");
}

static void
raw_empty_object(Out *o)
{
	buf_text(o->b, "{}");
}

static void
raw_empty_array(Out *o)
{
	buf_text(o->b, "[]");
}

static void
raw_custom(Out *o)
{
	buf_printf(o->b, "{\"custom_field__1__demo\":\"%c\"}",
			   'A' + (char) (hash_of(o->v, 230) % 4));
}

static void
raw_units(Out *o)
{
	buf_printf(o->b, "[{\"unit_id\":\"1500000000000000501\","
			   "\"unit_name\":\"盒\",\"unit_number\":\"01\",\"coefficient\":1,"
			   "\"barcode\":\"\"},{\"unit_id\":\"1500000000000000502\","
			   "\"unit_name\":\"箱\",\"unit_number\":\"02\",\"coefficient\":%u,"
			   "\"barcode\":\"\"}]",
			   (unsigned) (hash_of(o->v, 231) % 4 + 1) * 12);
}

static const Field material_fields[] = {
	CONST("alarm_day", IN_BOTH, "0"),
	CONST("alcohol", IN_DETAIL, ""),
	CONST("area", IN_DETAIL, ""),
	CONST("aux_attr", IN_DETAIL, ""),
	RAW("aux_entity", IN_DETAIL, raw_empty_array),
	TEXT("barcode", IN_BOTH, text_barcode),
	RAW("barcode_entity", IN_DETAIL, raw_units),
	CONST("base_unit_id", IN_BOTH, "1500000000000000501"),
	CONST("base_unit_name", IN_BOTH, "盒"),
	CONST("base_unit_number", IN_DETAIL, "01"),
	CONST("brand_id", IN_BOTH, "1500000000000000601"),
	CONST("brand_name", IN_LIST, "闽康"),
	CONST("brand_number", IN_DETAIL, "01"),
	CONST("check_type", IN_BOTH, "1"),
	TEXT("cost_price", IN_LIST | LIST_TWIN, text_cost),
	RAW("cost_price", IN_DETAIL, raw_cost),
	CONST("cost_method", IN_BOTH, "1"),
	RAW("custom_field", IN_DETAIL, raw_custom),
	CONST("default_stock_id", IN_BOTH, "1500000000000000701"),
	CONST("default_stock_number", IN_DETAIL, "CK001"),
	CONST("default_sp_id", IN_DETAIL, ""),
	CONST("default_sp_name", IN_DETAIL, ""),
	CONST("default_sp_number", IN_DETAIL, ""),
	TEXT("enable", IN_BOTH, text_enable),
	CONST("fetch_category_id", IN_BOTH, ""),
	CONST("fix_unit_id1", IN_DETAIL, ""),
	CONST("fix_unit_id2", IN_DETAIL, ""),
	CONST("fix_unit_id3", IN_DETAIL, ""),
	RAW("gross", IN_DETAIL, raw_zero),
	CONST("height", IN_DETAIL, "0"),
	CONST("help_code", IN_BOTH, ""),
	TEXT("id", IN_BOTH | IS_ID, text_id),
	RAW("images", IN_DETAIL, raw_empty_array),
	RAW("inv_mgr_entity", IN_DETAIL, raw_empty_array),
	RAW("is_asst_attr", IN_BOTH, raw_false),
	RAW("is_batch", IN_BOTH, raw_false),
	RAW("is_float_unit", IN_DETAIL, raw_false),
	RAW("is_kf_period", IN_BOTH, raw_false),
	RAW("is_multi_unit", IN_BOTH, raw_false),
	RAW("is_purchase", IN_DETAIL, raw_false),
	RAW("is_sale", IN_DETAIL, raw_false),
	RAW("is_serial", IN_BOTH, raw_false),
	RAW("is_self_restraint", IN_DETAIL, raw_false),
	RAW("is_subpart", IN_DETAIL, raw_false),
	CONST("kf_period", IN_DETAIL, "0"),
	CONST("kf_period_type", IN_DETAIL, ""),
	CONST("length", IN_DETAIL, "0"),
	CONST("mark_remark", IN_DETAIL, ""),
	CONST("material_type", IN_DETAIL, "1"),
	RAW("max_order_qty", IN_DETAIL, raw_zero),
	RAW("min_order_qty", IN_DETAIL, raw_zero),
	CONST("max_inventory_qty", IN_LIST | LIST_TWIN, "0"),
	RAW("max_inventory_qty", IN_DETAIL, raw_zero),
	CONST("min_inventory_qty", IN_LIST | LIST_TWIN, "0"),
	RAW("min_inventory_qty", IN_DETAIL, raw_zero),
	TEXT("model", IN_BOTH, text_model),
	TEXT("modify_time", ROW_TIME, text_modify_time),
	RAW("mul_label", IN_DETAIL, raw_empty_array),
	TEXT("name", IN_BOTH | IS_NAME, text_name),
	TEXT("number", IN_BOTH, text_number),
	TEXT("parent_id", IN_BOTH, text_group_id),
	TEXT("parent_name", IN_BOTH, text_group_name),
	TEXT("parent_number", IN_DETAIL, text_group_number),
	RAW("price_entity", IN_DETAIL, raw_units),
	CONST("pro_license", IN_BOTH, ""),
	CONST("producing_pace", IN_BOTH, "福建"),
	TEXT("purchase_price", IN_LIST | LIST_TWIN, text_cost),
	RAW("purchase_price", IN_DETAIL, raw_cost),
	CONST("purchase_unit_id", IN_DETAIL, "1500000000000000501"),
	CONST("purchase_unit_name", IN_DETAIL, "盒"),
	CONST("registration_number", IN_BOTH, ""),
	TEXT("remark", IN_BOTH, text_remark),
	TEXT("sales_price", IN_LIST | LIST_TWIN, text_price),
	RAW("sales_price", IN_DETAIL, raw_price),
	CONST("sale_unit_id", IN_DETAIL, "1500000000000000501"),
	CONST("sale_unit_name", IN_DETAIL, "盒"),
	CONST("save_inventory_qty", IN_DETAIL, "0"),
	CONST("sp_id", IN_DETAIL, ""),
	CONST("stock_name", IN_LIST, "成品仓"),
	CONST("tax_type", IN_DETAIL, ""),
	RAW("tax_rate", IN_DETAIL, raw_zero),
	CONST("unit_entity", IN_LIST, ""),
	CONST("unit_type", IN_BOTH, "1"),
	CONST("volume", IN_DETAIL, "0"),
	CONST("weight", IN_DETAIL, "0"),
	CONST("wide", IN_DETAIL, "0"),
};

const Shape shape_material = {material_fields, COUNT(material_fields)};

static void
text_line_id(Buf *text, const Out *o)
{
	buf_int(text, data_id(o->v) + INT64_C(400000000000000000) + o->line);
}

static void
text_line_number(Buf *text, const Out *o)
{
	buf_int(text, o->line + 1);
}

static void
text_line_material(Buf *text, const Out *o)
{
	product_name(text, hash_of(o->v, 240 + o->line));
}

static void
text_line_material_id(Buf *text, const Out *o)
{
	buf_int(text, INT64_C(1520000000000000000) +
			(int64_t) (hash_of(o->v, 240 + o->line) % 200 + 1) * 4096);
}

static void
text_line_material_number(Buf *text, const Out *o)
{
	buf_printf(text, "SP%08u", (unsigned) (hash_of(o->v, 240 + o->line) % 100000000));
}

/* Price times quantity, in cents, kept exact. */
static int64_t
line_cents(const Out *o, unsigned line)
{
	int64_t		price = (int64_t) (hash_of_contact(o->v, 202 + line) % 50000) + 100;
	int64_t		quantity = (int64_t) (hash_of(o->v, 220 + line) % 200) + 1;

	return price * quantity;
}

static unsigned
n_lines(const Out *o)
{
	return (unsigned) (hash_of(o->v, 250) % 5) + 1;
}

static void
raw_line_amount(Out *o)
{
	int64_t		cents = line_cents(o, o->line);

	buf_printf(o->b, "%lld.%02d", (long long) cents / 100, (int) (cents % 100));
}

static void
text_total(Buf *text, const Out *o)
{
	int64_t		cents = 0;
	unsigned	i;

	for (i = 0; i < n_lines(o); i++)
		cents += line_cents(o, i);
	buf_printf(text, "%lld.%02d", (long long) cents / 100, (int) (cents % 100));
}

static void
raw_total(Out *o)
{
	text_total(o->b, o);
}

static const Field line_fields[] = {
	RAW("all_amount", IN_BOTH, raw_line_amount),
	RAW("amount", IN_BOTH, raw_line_amount),
	CONST("aux_prop_id", IN_BOTH, ""),
	CONST("aux_prop_name", IN_BOTH, ""),
	CONST("batch_no", IN_BOTH, ""),
	RAW("cess", IN_BOTH, raw_zero),
	CONST("comment", IN_BOTH, ""),
	RAW("custom_entity_field", IN_BOTH, raw_empty_object),
	RAW("dis_amount", IN_BOTH, raw_zero),
	RAW("dis_rate", IN_BOTH, raw_zero),
	TEXT("id", IN_BOTH, text_line_id),
	RAW("is_free", IN_BOTH, raw_false),
	TEXT("material_id", IN_BOTH, text_line_material_id),
	TEXT("material_model", IN_BOTH, text_model),
	TEXT("material_name", IN_BOTH, text_line_material),
	TEXT("material_number", IN_BOTH, text_line_material_number),
	RAW("price", IN_BOTH, raw_price),
	RAW("qty", IN_BOTH, raw_quantity),
	TEXT("seq", IN_BOTH, text_line_number),
	CONST("stock_id", IN_BOTH, "1500000000000000701"),
	CONST("stock_name", IN_BOTH, "成品仓"),
	CONST("stock_number", IN_BOTH, "CK001"),
	RAW("tax_amount", IN_BOTH, raw_zero),
	RAW("tax_price", IN_BOTH, raw_price),
	CONST("unit_id", IN_BOTH, "1500000000000000501"),
	CONST("unit_name", IN_BOTH, "盒"),
	CONST("unit_number", IN_BOTH, "01"),
};

static void
raw_lines(Out *o)
{
	unsigned	i;

	buf_char(o->b, '[');
	for (i = 0; i < n_lines(o); i++)
	{
		if (i > 0)
			buf_char(o->b, ',');
		put_object(o, line_fields, COUNT(line_fields), "material_entity.", i);
	}
	buf_char(o->b, ']');
}

static void
text_bill_date(Buf *text, const Out *o)
{
	size_t		start = text->len;

	china_time(text, o->v->create_ms);
	text->len = start + 10;
	text->data[text->len] = '\0';
}

static void
text_bill_status(Buf *text, const Out *o)
{
	buf_char(text, o->v->enabled ? 'C' : 'Z');
}

static void
text_close_state(Buf *text, const Out *o)
{
	buf_char(text, "CSH"[hash_of(o->v, 251) % 3]);
}

static void
text_io_status(Buf *text, const Out *o)
{
	buf_char(text, "ABC"[hash_of(o->v, 252) % 3]);
}

static void
text_customer_id(Buf *text, const Out *o)
{
	buf_int(text, INT64_C(1500000000000000000) +
			(int64_t) (hash_of(o->v, 253) % 1000 + 1) * 4096);
}

static void
text_customer_number(Buf *text, const Out *o)
{
	buf_printf(text, "KH%08u", (unsigned) (hash_of(o->v, 253) % 100000000));
}

static const Field order_fields[] = {
	TEXT("all_amount", IN_LIST | LIST_TWIN, text_total),
	RAW("all_amount", IN_DETAIL, raw_total),
	TEXT("audit_time", IN_DETAIL, text_create_time),
	CONST("auditor_id", IN_DETAIL, "100000001"),
	CONST("auditor_name", IN_BOTH, "用户甲"),
	CONST("auditor_number", IN_DETAIL, ""),
	TEXT("bill_close_state", IN_BOTH, text_close_state),
	TEXT("bill_date", IN_BOTH, text_bill_date),
	RAW("bill_dis_amount", IN_DETAIL, raw_zero),
	RAW("bill_dis_rate", IN_DETAIL, raw_zero),
	CONST("bill_lock_state", IN_DETAIL, "0"),
	CONST("bill_label", IN_DETAIL, ""),
	CONST("bill_plan_name", IN_DETAIL, ""),
	TEXT("bill_no", IN_BOTH, text_number),
	CONST("bill_source", IN_DETAIL, "WEB"),
	TEXT("bill_status", IN_BOTH, text_bill_status),
	CONST("bill_type_id", IN_DETAIL, ""),
	CONST("bill_type_name", IN_DETAIL, ""),
	CONST("bill_type_number", IN_DETAIL, ""),
	CONST("check_status", IN_DETAIL, ""),
	CONST("close_time", IN_DETAIL, ""),
	CONST("closer_name", IN_DETAIL, ""),
	TEXT("contact_address", IN_DETAIL | SECRET, text_address),
	TEXT("contact_city_id", IN_DETAIL, text_city_id),
	TEXT("contact_city_name", IN_DETAIL, text_city_name),
	TEXT("contact_city_number", IN_DETAIL, text_city_number),
	CONST("contact_country_id", IN_DETAIL, "1000001"),
	CONST("contact_country_name", IN_DETAIL, "中国"),
	CONST("contact_country_number", IN_DETAIL, "001"),
	CONST("contact_district_id", IN_DETAIL, ""),
	CONST("contact_district_name", IN_DETAIL, ""),
	CONST("contact_district_number", IN_DETAIL, ""),
	TEXT("contact_linkman", IN_DETAIL, text_person),
	TEXT("contact_phone", IN_DETAIL | SECRET, text_mobile),
	TEXT("contact_province_id", IN_DETAIL, text_province_id),
	TEXT("contact_province_name", IN_DETAIL, text_province_name),
	TEXT("contact_province_number", IN_DETAIL, text_province_number),
	TEXT("create_time", IN_DETAIL, text_create_time),
	CONST("creator_id", IN_DETAIL, "100000001"),
	CONST("creator_name", IN_BOTH, "用户甲"),
	CONST("creator_number", IN_DETAIL, ""),
	CONST("currency_id", IN_DETAIL, "1"),
	CONST("currency_name", IN_BOTH, "人民币"),
	CONST("currency_number", IN_DETAIL, "CNY"),
	RAW("custom_field", IN_DETAIL, raw_custom),
	TEXT("customer_id", IN_BOTH, text_customer_id),
	TEXT("customer_name", IN_BOTH | IS_NAME, text_name),
	TEXT("customer_number", IN_BOTH, text_customer_number),
	TEXT("delivery_date", IN_BOTH, text_bill_date),
	CONST("dept_id", IN_BOTH, ""),
	CONST("dept_name", IN_BOTH, ""),
	CONST("dept_number", IN_DETAIL, ""),
	CONST("dispatcher_address", IN_DETAIL | SECRET, ""),
	CONST("dispatcher_city_id", IN_DETAIL, ""),
	CONST("dispatcher_city_name", IN_DETAIL, ""),
	CONST("dispatcher_country_id", IN_DETAIL, ""),
	CONST("dispatcher_country_name", IN_DETAIL, ""),
	CONST("dispatcher_district_id", IN_DETAIL, ""),
	CONST("dispatcher_district_name", IN_DETAIL, ""),
	CONST("dispatcher_linkman", IN_DETAIL, ""),
	CONST("dispatcher_phone", IN_DETAIL | SECRET, ""),
	CONST("dispatcher_province_id", IN_DETAIL, ""),
	CONST("dispatcher_province_name", IN_DETAIL, ""),
	CONST("emp_id", IN_BOTH, ""),
	CONST("emp_name", IN_BOTH, ""),
	CONST("emp_number", IN_DETAIL, ""),
	RAW("exchange_rate", IN_DETAIL, raw_zero),
	TEXT("id", IN_BOTH | IS_ID, text_id),
	TEXT("io_status", IN_BOTH, text_io_status),
	RAW("material_entity", IN_DETAIL, raw_lines),
	CONST("modifier_id", IN_DETAIL, "100000001"),
	CONST("modifier_name", IN_BOTH, "用户甲"),
	CONST("modifier_number", IN_DETAIL, ""),
	TEXT("modify_time", IN_DETAIL | ROW_TIME, text_modify_time),
	CONST("operation_key", IN_DETAIL, "audit"),
	RAW("pay_entity", IN_DETAIL, raw_empty_array),
	CONST("print_count", IN_LIST, "0"),
	TEXT("real_io_status", IN_BOTH, text_io_status),
	RAW("rec_amount", IN_DETAIL, raw_zero),
	CONST("receive_account_id", IN_DETAIL, ""),
	CONST("receive_account_name", IN_DETAIL, ""),
	TEXT("remark", IN_BOTH, text_remark),
	CONST("src_bill_no", IN_BOTH, ""),
	CONST("src_bill_type_id", IN_DETAIL, ""),
	CONST("src_bill_type_name", IN_DETAIL, ""),
	CONST("src_bill_type_number", IN_DETAIL, ""),
	CONST("store_id", IN_DETAIL, ""),
	CONST("store_name", IN_DETAIL, ""),
	CONST("store_number", IN_DETAIL, ""),
	RAW("tag_entity", IN_DETAIL, raw_empty_array),
	TEXT("total_amount", IN_LIST | LIST_TWIN, text_total),
	RAW("total_amount", IN_DETAIL, raw_total),
	CONST("total_tax_amount", IN_LIST | LIST_TWIN, "0"),
	RAW("total_tax_amount", IN_DETAIL, raw_zero),
	RAW("total_qty", IN_DETAIL, raw_zero),
	CONST("tracking_no", IN_DETAIL, ""),
	CONST("total_unsettle_amount", IN_LIST, "0"),
};

const Shape shape_order = {order_fields, COUNT(order_fields)};
