/*-------------------------------------------------------------------------
 * records.h
 *		The records in the body of a push.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_RECORDS_H
#define SIM_RECORDS_H

#include "buf.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct Record
{
	json_t	   *value;			/* borrowed from the batch's body */
	const char *text;			/* its bytes, within the request's body */
	size_t		len;
	char	   *id;
} Record;

typedef struct Batch
{
	json_t	   *body;
	bool		wrapped;		/* the records stand under the rows key */
	Record	   *records;
	size_t		n;
} Batch;

/*
 * Reads a body: an object is one record, an array is many, and so is an
 * object whose member rows_key is an array.  Each record is an object with an
 * id: its member id_name, else "number", as text or number.  On failure
 * returns false and writes a sentence to error.  The batch points into the
 * body; free it with batch_free() in either case.
 */
extern bool batch_read(Batch *batch, const Buf *body, const char *rows_key,
					   const char *id_name, char *error, size_t error_size);
extern void batch_free(Batch *batch);

/* The text of an id, to be freed; NULL when the value cannot be one. */
extern char *id_text(json_t *value);

/* Whether the object's member is that text. */
extern bool member_is(json_t *object, const char *name, const char *text);

#endif
