/*-------------------------------------------------------------------------
 * shape.h
 *		What a record looks like in a list row, a detail and the plain form.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SHAPE_H
#define SIM_SHAPE_H

#include "buf.h"
#include "data.h"

typedef enum Form
{
	FORM_LIST,
	FORM_CONTACTS,				/* a list row with contacts */
	FORM_DETAIL,
	FORM_UNION,					/* both key sets, the detail wins */
	FORM_PLAIN					/* id, number, name */
} Form;

typedef enum IdForm
{
	ID_NORMAL,
	ID_NUMBER,
	ID_NULL,
	ID_MISSING
} IdForm;

/* How a fault bends one row. */
typedef struct Twist
{
	IdForm		id_form;
	const char *name_raw;		/* raw bytes put inside the name's quotes */
	Buf			tail;			/* raw members put before the closing brace */
} Twist;

/* About how many bytes a list row has; 0 = as it comes. */
extern size_t shape_pad;

/*
 * Adds the record as one JSON object.  cipher: sensitive fields as the
 * service sends them, else in plain text.  twist may be NULL.
 */
extern void shape_row(Buf *out, const Version *v, Form form, bool cipher,
					  const Twist *twist);

extern void shape_name(Buf *out, const Version *v);
extern unsigned shape_group(const Version *v);
extern int	shape_group_of(int64_t id); /* -1 = no group's id */
extern const char *shape_group_id(const Version *v);	/* good until the next call */

extern void shape_cleanup(void);

#define N_GROUPS 8

#endif
