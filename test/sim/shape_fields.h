/*-------------------------------------------------------------------------
 * shape_fields.h
 *		The field tables, shared by shape.c and the shape_*.c files only.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SHAPE_FIELDS_H
#define SIM_SHAPE_FIELDS_H

#include "shape.h"

enum
{
	IN_LIST = 1,
	IN_DETAIL = 2,
	IN_BOTH = 3,
	SECRET = 4,					/* encrypted where it is sent */
	IS_ID = 8,
	IS_NAME = 16,
	ROW_TIME = 32,				/* in list rows when row_modify_time is on */
	LIST_TWIN = 64,				/* the list's form of a key the detail has too */
	CONTACTS = 256,				/* in list rows that were asked for with contacts */
	OF_SERVICE = 128			/* made by the service though the line was given */
};

typedef struct Out
{
	Buf		   *b;
	const Version *v;
	Form		form;
	bool		cipher;
	const Twist *twist;
	const char *prefix;			/* of nested keys in "set", or "" */
	unsigned	line;			/* which line item */
	json_t	   *given_line;		/* what a save gave for it, or NULL */
	bool		first;			/* no member was written yet */
	json_t	   *used;			/* keys of v->fields that were written */
} Out;

/* Writes the text of a field, unquoted; or its JSON value. */
typedef void (*TextFn) (Buf *text, const Out *o);
typedef void (*RawFn) (Out *o);

typedef struct Field
{
	const char *name;
	unsigned	where;
	const char *constant;
	TextFn		text;
	RawFn		raw;
} Field;

#define CONST(name, where, text)	{name, where, text, NULL, NULL}
#define TEXT(name, where, fn)		{name, where, NULL, fn, NULL}
#define RAW(name, where, fn)		{name, where, NULL, NULL, fn}

typedef struct Shape
{
	const Field *fields;
	size_t		n;
} Shape;

extern const Shape shape_customer;
extern const Shape shape_supplier;
extern const Shape shape_material;
extern const Shape shape_order;

/* Writes one nested object; its keys may be set as prefix + key. */
extern void put_object(Out *o, const Field *fields, size_t n,
					   const char *prefix, unsigned line);

/* The value that a "set" or a save gave to a field, or NULL. */
extern json_t *given_value(Out *o, const char *name);

/* Values that follow from the record: stable, or changed by an update. */
extern uint64_t hash_of(const Version *v, unsigned salt);
extern uint64_t hash_of_contact(const Version *v, unsigned salt);

/* Fields that every entity has. */
extern void text_id(Buf *text, const Out *o);
extern void text_number(Buf *text, const Out *o);
extern void text_name(Buf *text, const Out *o);
extern void text_enable(Buf *text, const Out *o);
extern void text_remark(Buf *text, const Out *o);
extern void text_create_time(Buf *text, const Out *o);
extern void text_modify_time(Buf *text, const Out *o);
extern void text_group_id(Buf *text, const Out *o);
extern void text_group_name(Buf *text, const Out *o);
extern void text_group_number(Buf *text, const Out *o);

extern void text_person(Buf *text, const Out *o);
extern void text_mobile(Buf *text, const Out *o);
extern void text_phone(Buf *text, const Out *o);
extern void text_address(Buf *text, const Out *o);
extern void text_city_id(Buf *text, const Out *o);
extern void text_city_name(Buf *text, const Out *o);
extern void text_city_number(Buf *text, const Out *o);
extern void text_province_id(Buf *text, const Out *o);
extern void text_province_name(Buf *text, const Out *o);
extern void text_province_number(Buf *text, const Out *o);
extern void text_bank(Buf *text, const Out *o);
extern void text_bank_account(Buf *text, const Out *o);
extern void text_taxpayer(Buf *text, const Out *o);
extern void raw_contacts(Out *o);

/* A company's and a product's name. */
extern void company_name(Buf *text, uint64_t h);
extern void product_name(Buf *text, uint64_t h);

/* China time as yyyy-MM-dd HH:mm:ss. */
extern void china_time(Buf *text, int64_t ms);

#endif
