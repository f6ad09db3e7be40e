/*-------------------------------------------------------------------------
 * otherlist.c
 *		The lists that the documents describe beside the four with records of their own.
 *
 * lists.tsv, made from the documents, says how each is asked and what its
 * envelope looks like; the catalogue of the extension is checked against it. The
 * records are borrowed: documents (bill_no) show orders, all others customers,
 * so that changes, churn, faults and switches work for them as well.  A row has
 * little more than its keys: what is in it is not what these lists are here for.
 * A report shows the records that were modified last in the span it is asked for.
 *
 * A key of several fields is spread so that no field alone is unique.  Where nothing is a key, no two
 * rows are equal.
 *-------------------------------------------------------------------------
 */
#include "otherlist.h"

#include "shape.h"
#include "shape_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS 19
#define SHARED_BY 3				/* records whose first key field is the same */

static char *text;				/* the file; every text of lists[] lies in it */
static OtherList *lists;
static size_t n_lists;

/* The whole file beside the program, NUL-terminated; NULL when it is not there. */
static char *
read_beside_program(const char *name)
{
	char		path[4096];
	ssize_t		n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	Buf			content = {0};
	char		piece[4096];
	size_t		got;
	FILE	   *f;

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	*strrchr(path, '/') = '\0';
	strcat(path, "/");
	strcat(path, name);
	f = fopen(path, "r");
	if (f == NULL)
		return NULL;
	while ((got = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_bytes(&content, piece, got);
	fclose(f);
	return content.data;
}

/* "a,b" as its parts. */
static void
split(char *value, const char **parts)
{
	size_t		n = 0;
	char	   *part = strtok(value, ",");

	for (; part != NULL && n < OTHER_FIELDS; part = strtok(NULL, ","))
		parts[n++] = part;
	parts[n] = NULL;
}

static void
read_line(char *line, OtherList *list)
{
	char	   *column[COLUMNS];
	int			i;

	for (i = 0; i < COLUMNS; i++)
	{
		column[i] = strsep(&line, "\t");
		if (column[i] == NULL)
			column[i] = "";
	}
	memset(list, 0, sizeof(*list));
	list->path = column[0];
	split(column[1], list->id);
	list->number = column[2];
	list->detail = column[3];
	list->detail_param = column[4];
	list->start = column[5];
	list->end = column[6];
	list->format = strcmp(column[7], "date") == 0 ? FORMAT_DATE :
		strcmp(column[7], "datetime") == 0 ? FORMAT_DATETIME : FORMAT_MS;
	list->off = column[8];
	list->page = column[9];
	list->size = column[10];
	split(column[11], list->required);
	list->echo = column[12];
	list->count = column[13][0] == '\0' ? "" : column[14];
	list->count_is_text = strcmp(column[13], "string") == 0;
	list->row_time = strcmp(column[15], "1") == 0;
	list->range_start = column[16];
	list->range_end = column[17][0] == '\0' ? column[16] : column[17];
	list->range_format = strcmp(column[18], "period") == 0 ? FORMAT_PERIOD : FORMAT_DATE;
	list->entity = strcmp(list->number, "bill_no") == 0 ? SAL_ORDER : CUSTOMER;
}

bool
otherlist_load(void)
{
	char	   *rest;
	char	   *line;

	text = read_beside_program("lists.tsv");
	if (text == NULL)
		return false;
	rest = text;
	strsep(&rest, "\n");		/* the columns' names */
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		if (line[0] == '\0')
			continue;
		lists = realloc(lists, (n_lists + 1) * sizeof(OtherList));
		read_line(line, &lists[n_lists++]);
	}
	return true;
}

const OtherList *
otherlist_find(const char *path, bool *is_detail)
{
	size_t		i;

	for (i = 0; i < n_lists; i++)
	{
		*is_detail = strcmp(lists[i].detail, path) == 0;
		if (*is_detail || strcmp(lists[i].path, path) == 0)
			return &lists[i];
	}
	return NULL;
}

const char *
otherlist_lacks(const OtherList *list, const Request *req)
{
	size_t		i;

	for (i = 0; list->required[i] != NULL; i++)
	{
		const char *value = request_param(req, list->required[i]);

		if (value == NULL || value[0] == '\0')
			return list->required[i];
	}
	return NULL;
}

static void
put_text_member(Buf *out, const char *name, const char *value)
{
	buf_char(out, out->data[out->len - 1] == '{' ? ' ' : ',');
	buf_json(out, name, strlen(name));
	buf_char(out, ':');
	buf_json(out, value, strlen(value));
}

static void
put_key(Buf *out, const OtherList *list, const Version *v)
{
	bool		alone = list->id[0] != NULL && list->id[1] == NULL;
	char		value[32];
	size_t		i;

	for (i = 0; list->id[i] != NULL; i++)
	{
		if (alone)
			snprintf(value, sizeof(value), "%lld", (long long) data_id(v));
		else if (i == 0)
			snprintf(value, sizeof(value), "%u", 1000 + v->recno / SHARED_BY);
		else if (i == 1)
			snprintf(value, sizeof(value), "%u", 1 + v->recno % SHARED_BY);
		else
			value[0] = '\0';
		put_text_member(out, list->id[i], value);
	}
}

void
otherlist_row(Buf *out, const OtherList *list, const Version *v, bool detail)
{
	Buf			value = {0};
	size_t		i;

	buf_char(out, '{');
	put_key(out, list, v);
	for (i = 0; list->id[i] != NULL && strcmp(list->id[i], list->number) != 0; i++)
		;
	if (list->id[0] == NULL)
	{
		buf_printf(&value, "%u", v->recno + 1);
		put_text_member(out, "line", value.data);
		value.len = 0;
	}
	if (list->number[0] != '\0' && list->id[i] == NULL)
		put_text_member(out, list->number, v->number);
	shape_name(&value, v);
	put_text_member(out, "name", value.data);
	if (detail)
	{
		value.len = 0;
		buf_printf(&value, "contact %u", v->contact_rev);
		put_text_member(out, "contact", value.data);
	}
	if (detail || list->row_time)
	{
		value.len = 0;
		china_time(&value, v->modify_ms);
		put_text_member(out, "modify_time", value.data);
	}
	buf_char(out, '}');
	buf_free(&value);
}

void
otherlist_free(void)
{
	free(lists);
	free(text);
}
