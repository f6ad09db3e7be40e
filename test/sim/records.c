/*-------------------------------------------------------------------------
 * records.c
 *		The records in the body of a push, each with the bytes it came in.
 *
 * A test compares what arrived with what it sent, so a payload must not pass
 * through the JSON library's numbers: 0.1 would come back with 17 digits.
 * The body is parsed as a whole first; that it is sound lets the walk to the
 * records be simple, and the library itself says where each value ends.
 *-------------------------------------------------------------------------
 */
#include "records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRICT (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)

static const char *
skip_blanks(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Where the value that begins at p ends, in a text known to be sound. */
static const char *
value_end(const char *p, const char *end)
{
	json_error_t error;
	json_t	   *value = json_loadb(p, (size_t) (end - p),
								   STRICT | JSON_DISABLE_EOF_CHECK, &error);

	json_decref(value);
	return p + error.position;
}

/* Where the object's member begins that has this name. */
static const char *
find_member(const char *p, const char *end, const char *name)
{
	for (p = skip_blanks(p + 1); *p != '}'; p = skip_blanks(p + 1))
	{
		json_error_t error;
		json_t	   *key = json_loadb(p, (size_t) (end - p),
									 STRICT | JSON_DISABLE_EOF_CHECK, &error);
		bool		found = strcmp(json_string_value(key), name) == 0;

		json_decref(key);
		p = skip_blanks(p + error.position);
		p = skip_blanks(p + 1);	/* the colon */
		if (found)
			return p;
		p = skip_blanks(value_end(p, end));
		if (*p == '}')
			break;
	}
	return NULL;
}

/* Marks the bytes of every element of the array at p. */
static void
mark_elements(Batch *batch, const char *p, const char *end)
{
	size_t		i;

	for (i = 0; i < batch->n; i++)
	{
		p = skip_blanks(p + 1); /* the bracket, or the comma */
		batch->records[i].text = p;
		p = value_end(p, end);
		batch->records[i].len = (size_t) (p - batch->records[i].text);
		p = skip_blanks(p);
	}
}

char *
id_text(json_t *value)
{
	if (json_is_string(value) && json_string_length(value) > 0)
		return sim_strdup(json_string_value(value));
	if (json_is_number(value))
		return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	return NULL;
}

static bool
read_ids(Batch *batch, const char *id_name, char *error, size_t error_size)
{
	size_t		i;

	for (i = 0; i < batch->n; i++)
	{
		Record	   *r = &batch->records[i];

		if (!json_is_object(r->value))
		{
			snprintf(error, error_size, "record %zu is not an object", i);
			return false;
		}
		r->id = id_text(json_object_get(r->value, id_name));
		if (r->id == NULL)
			r->id = id_text(json_object_get(r->value, "number"));
		if (r->id == NULL)
		{
			snprintf(error, error_size, "record %zu has neither %s nor number",
					 i, id_name);
			return false;
		}
	}
	return true;
}

bool
batch_read(Batch *batch, const Buf *body, const char *rows_key,
		   const char *id_name, char *error, size_t error_size)
{
	json_error_t why;
	json_t	   *rows;
	const char *start;
	const char *end = body->data + body->len;
	size_t		i;

	memset(batch, 0, sizeof(*batch));
	batch->body = body->len == 0 ? NULL :
		json_loadb(body->data, body->len, JSON_REJECT_DUPLICATES, &why);
	if (batch->body == NULL)
	{
		snprintf(error, error_size, "the body is not JSON: %s",
				 body->len == 0 ? "it is empty" : why.text);
		return false;
	}
	start = skip_blanks(body->data);
	rows = json_object_get(batch->body, rows_key);
	batch->wrapped = json_is_array(rows);
	if (batch->wrapped)
		start = find_member(start, end, rows_key);
	else
		rows = batch->body;

	batch->n = json_is_array(rows) ? json_array_size(rows) : 1;
	batch->records = sim_alloc((batch->n + 1) * sizeof(Record));
	for (i = 0; i < batch->n; i++)
		batch->records[i].value = json_is_array(rows) ? json_array_get(rows, i) : rows;
	if (json_is_array(rows))
		mark_elements(batch, start, end);
	else
	{
		batch->records[0].text = start;
		batch->records[0].len = (size_t) (value_end(start, end) - start);
	}
	return read_ids(batch, id_name, error, error_size);
}

void
batch_free(Batch *batch)
{
	size_t		i;

	for (i = 0; i < batch->n; i++)
		free(batch->records[i].id);
	free(batch->records);
	json_decref(batch->body);
	memset(batch, 0, sizeof(*batch));
}

bool
member_is(json_t *object, const char *name, const char *text)
{
	const char *given = json_string_value(json_object_get(object, name));

	return given != NULL && strcmp(given, text) == 0;
}
