/*-------------------------------------------------------------------------
 * accepted.c
 *		What the targets of pushes accepted, in order.
 *
 * This is the witness of every test of pushes: it judges nothing, it keeps
 * each record that a target took, and counts what a careful client never
 * does: send the same again, or an old version after a newer one.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "accepted.h"

#include "config.h"
#include "data.h"
#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Accepted *all;
static size_t n_all;
static Subject *subjects;
static size_t n_subjects;
static json_t *subject_of;		/* length of path, path, id → place in subjects */

/* Layout and the order of members do not matter. */
static uint64_t
digest_of(json_t *value)
{
	char	   *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
	uint64_t	h = hash_bytes(text, strlen(text));

	free(text);
	return h;
}

static size_t
find_subject(const char *path, const char *id)
{
	Buf			name = {0};
	json_t	   *place;
	size_t		found = n_subjects;

	buf_printf(&name, "%zu %s%s", strlen(path), path, id);
	if (subject_of == NULL)
		subject_of = json_object();
	place = json_object_get(subject_of, name.data);
	if (place != NULL)
		found = (size_t) json_integer_value(place);
	else
	{
		json_object_set_new(subject_of, name.data, json_integer((json_int_t) found));
		subjects = sim_realloc(subjects, (n_subjects + 1) * sizeof(Subject));
		subjects[n_subjects++] = (Subject) {sim_strdup(path), sim_strdup(id), NONE, 0};
	}
	buf_free(&name);
	return found;
}

/* Whether the id had this payload before its last one. */
static bool
is_older_version(size_t last, uint64_t digest)
{
	size_t		i;

	for (i = all[last].earlier; i != NONE; i = all[i].earlier)
		if (all[i].digest == digest)
			return true;
	return false;
}

static Accepted *
new_place(void)
{
	/* Grows by doubling: n_all is a power of two whenever it is full. */
	if ((n_all & (n_all - 1)) == 0)
		all = sim_realloc(all, (n_all ? n_all * 2 : 1) * sizeof(Accepted));
	return &all[n_all];
}

void
accepted_add(const Request *req, const char *path, const Record *record)
{
	const char *key = request_header(req, "Idempotency-Key");
	Accepted   *a = new_place();
	Subject    *s;

	memset(a, 0, sizeof(*a));
	a->seq = (int64_t) n_all + 1;
	a->at_ms = sim_now_ms();
	a->digest = digest_of(record->value);
	a->subject = find_subject(path, record->id);
	a->payload = sim_alloc(record->len + 1);
	memcpy(a->payload, record->text, record->len);
	a->key = key ? sim_strdup(key) : NULL;
	snprintf(a->method, sizeof(a->method), "%s", req->method);

	s = &subjects[a->subject];
	a->earlier = s->last;
	tally.target_accepted++;
	if (s->last != NONE && all[s->last].digest == a->digest)
		tally.target_duplicates++;
	else if (s->last != NONE && is_older_version(s->last, a->digest))
		tally.target_out_of_order++;
	s->last = n_all++;
	s->times++;
}

size_t
accepted_count(void)
{
	return n_all;
}

const Accepted *
accepted_at(size_t i)
{
	return &all[i];
}

const Subject *
accepted_subject(const Accepted *a)
{
	return &subjects[a->subject];
}

static void
put_text(Buf *out, const char *name, const char *text)
{
	buf_printf(out, ",\"%s\":", name);
	if (text == NULL)
		buf_text(out, "null");
	else
		buf_json(out, text, strlen(text));
}

/* A line feed in the payload would end the line: outside texts it is a blank. */
static void
put_payload(Buf *out, const char *payload)
{
	size_t		start = out->len;
	size_t		i;

	buf_text(out, payload);
	for (i = start; i < out->len; i++)
		if (out->data[i] == '\n' || out->data[i] == '\r')
			out->data[i] = ' ';
}

static void
put_line(Buf *out, const Accepted *a, int64_t times)
{
	const Subject *s = accepted_subject(a);

	buf_printf(out, "{\"seq\":%" PRId64, a->seq);
	put_text(out, "id", s->id);
	buf_text(out, ",\"payload\":");
	put_payload(out, a->payload);
	put_text(out, "key", a->key);
	put_text(out, "method", a->method);
	put_text(out, "path", s->path);
	buf_printf(out, ",\"at_ms\":%" PRId64, a->at_ms);
	if (times > 0)
		buf_printf(out, ",\"times\":%" PRId64, times);
	buf_text(out, "}\n");
}

void
accepted_show(Buf *out, const char *path)
{
	size_t		i;

	for (i = 0; i < n_all; i++)
		if (path == NULL || strcmp(accepted_subject(&all[i])->path, path) == 0)
			put_line(out, &all[i], 0);
}

void
accepted_latest(Buf *out, const char *path)
{
	size_t		i;

	for (i = 0; i < n_subjects; i++)
		if (path == NULL || strcmp(subjects[i].path, path) == 0)
			put_line(out, &all[subjects[i].last], subjects[i].times);
}

void
accepted_forget(void)
{
	size_t		i;

	for (i = 0; i < n_all; i++)
	{
		free(all[i].payload);
		free(all[i].key);
	}
	for (i = 0; i < n_subjects; i++)
	{
		free(subjects[i].path);
		free(subjects[i].id);
	}
	free(all);
	free(subjects);
	json_decref(subject_of);
	all = NULL;
	subjects = NULL;
	subject_of = NULL;
	n_all = n_subjects = 0;
}
