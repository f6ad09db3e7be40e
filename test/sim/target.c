/*-------------------------------------------------------------------------
 * target.c
 *		A target of pushes: /target/ and any path below it.
 *
 * It stands for every HTTP endpoint that takes records as JSON, so how it
 * signs in callers, wraps rows, tells of failures and what it bears are
 * switches.  An Idempotency-Key is remembered with the whole request it came
 * with: the same request gets the same answer and stores nothing, another
 * request under that key is the caller's error.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "target.h"

#include "accepted.h"
#include "config.h"
#include "crypt.h"
#include "data.h"
#include "gateway.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_KEY 255
#define ERROR_SIZE 256
#define POISON_ERRCODE INT64_C(2016012099)
#define POISON_TEXT "客户不存在"

/* What a key was used for, and how that was answered. */
typedef struct Answer
{
	uint64_t	request;
	int			status;
	char	   *body;
} Answer;

static Answer *answers;
static size_t n_answers;
static json_t *answer_of;		/* key → place in answers */
static json_t *poison;			/* id → true */
static Rate rate;

static bool
refuse(Request *req, int status, const char *message)
{
	reply_json(&req->reply, status, "{\"code\":");
	buf_int(&req->reply.body, status);
	buf_text(&req->reply.body, ",\"message\":");
	buf_json(&req->reply.body, message, strlen(message));
	buf_char(&req->reply.body, '}');
	return false;
}

static bool
method_is_right(const Request *req)
{
	static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE"};
	size_t		i;

	for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(req->method, methods[i]) == 0)
			return true;
	return false;
}

/* Many servers drop a request line with bytes that RFC 3986 does not know. */
static bool
path_is_right(const Request *req)
{
	const char *p = req->path;
	json_t	   *text = json_string(req->plain_path);
	bool		is_utf8 = text != NULL;

	json_decref(text);
	while (*p > ' ' && *p < 0x7f)
		p++;
	return *p == '\0' && is_utf8 && strstr(req->path, "%00") == NULL &&
	 req->plain_path[strlen(TARGET_PATH)] != '\0';
}

static bool
bearer_is_right(const Request *req)
{
	const char *given = request_bearer(req);

	return given != NULL && strcmp(given, config.target_token) == 0;
}

static bool
basic_is_right(const Request *req)
{
	const char *given = request_header(req, "Authorization");
	Buf			pair = {0};
	Buf			right = {0};
	bool		is_right;

	buf_printf(&pair, "%s:%s", config.target_user, config.target_password);
	crypt_base64(&right, pair.data, pair.len);
	is_right = given != NULL && strncasecmp(given, "Basic ", 6) == 0 &&
		strcmp(given + 6, right.data) == 0;
	buf_free(&pair);
	buf_free(&right);
	return is_right;
}

static bool
caller_is_right(const Request *req)
{
	switch (config.target_auth)
	{
		case TARGET_BEARER:
			return bearer_is_right(req);
		case TARGET_BASIC:
			return basic_is_right(req);
		default:
			return true;
	}
}

bool
target_may_call(Request *req)
{
	req->is_push = true;
	if (!method_is_right(req))
	{
		reply_header(&req->reply, "Allow", "POST, PUT, PATCH, DELETE");
		return refuse(req, 405, "method is not allowed");
	}
	if (!path_is_right(req))
		return refuse(req, 400, "the path is not percent-encoded UTF-8");
	if (!caller_is_right(req))
	{
		reply_header(&req->reply, "WWW-Authenticate",
					 config.target_auth == TARGET_BASIC ? "Basic realm=\"target\"" : "Bearer");
		return refuse(req, 401, "unauthorized");
	}
	if (!gateway_within_rate(req, &rate, config.target_rate_limit,
							 config.target_rate_window_ms))
		return refuse(req, 429, "too many requests");
	return true;
}

/* Of all that makes two requests the same one, so that only a true repeat is. */
static uint64_t
request_hash(const Request *req)
{
	Buf			all = {0};
	uint64_t	h;

	buf_printf(&all, "%s %s\n", req->method, req->url);
	buf_bytes(&all, req->body.data, req->body.len);
	h = hash_bytes(all.data, all.len);
	buf_free(&all);
	return h;
}

/* Whether the key settles the answer, which is then written. */
static bool
key_settles(Request *req, const char *key)
{
	json_t	   *place;
	const Answer *a;

	if (key == NULL)
	{
		if (config.target_requires_key)
			refuse(req, 400, "Idempotency-Key is missing");
		return config.target_requires_key;
	}
	place = json_string(key);
	if (place == NULL || key[0] == '\0' || strlen(key) > MAX_KEY)
	{
		json_decref(place);
		refuse(req, 400, "Idempotency-Key is malformed");
		return true;
	}
	json_decref(place);
	place = json_object_get(answer_of, key);
	if (place == NULL)
		return false;
	a = &answers[json_integer_value(place)];
	if (a->request != request_hash(req))
	{
		tally.key_conflicts++;
		if (config.target_dedupe)
			refuse(req, 422, "Idempotency-Key was used for another request");
		return config.target_dedupe;
	}
	tally.key_replays++;
	if (config.target_dedupe)
		reply_json(&req->reply, a->status, a->body);
	return config.target_dedupe;
}

/* A later answer under the same key takes the place of the one before. */
static void
remember(const Request *req, const char *key, bool accepted)
{
	json_t	   *place;
	Answer	   *a;

	if (key == NULL || (!accepted && !config.target_remembers_refusals))
		return;
	if (answer_of == NULL)
		answer_of = json_object();
	place = json_object_get(answer_of, key);
	if (place == NULL)
	{
		json_object_set_new(answer_of, key, json_integer((json_int_t) n_answers));
		answers = sim_realloc(answers, (n_answers + 1) * sizeof(Answer));
		a = &answers[n_answers++];
	}
	else
	{
		a = &answers[json_integer_value(place)];
		free(a->body);
	}
	*a = (Answer) {request_hash(req), req->reply.status, sim_strdup(req->reply.body.data)};
}

bool
target_set_poison(json_t *ids)
{
	json_t	   *fresh = json_object();
	json_t	   *value;
	size_t		i;

	if (!json_is_array(ids))
	{
		json_decref(fresh);
		return false;
	}
	json_array_foreach(ids, i, value)
	{
		char	   *id = id_text(value);

		if (id == NULL)
		{
			json_decref(fresh);
			return false;
		}
		json_object_set_new(fresh, id, json_true());
		free(id);
	}
	json_decref(poison);
	poison = fresh;
	return true;
}

bool
target_is_poison(const char *id)
{
	return json_object_get(poison, id) != NULL;
}

/* The first poison record, or the number of records when there is none. */
static size_t
first_poison(const Batch *batch)
{
	size_t		i = 0;

	while (i < batch->n && !target_is_poison(batch->records[i].id))
		i++;
	return i;
}

/* Stores all but the poison records; returns how many it stored. */
static size_t
store(const Request *req, const char *path, const Batch *batch)
{
	size_t		stored = 0;
	size_t		i;

	for (i = 0; i < batch->n; i++)
		if (!target_is_poison(batch->records[i].id))
		{
			accepted_add(req, path, &batch->records[i]);
			stored++;
		}
	return stored;
}

static void
put_failed(Buf *out, const Batch *batch)
{
	const char *comma = "";
	size_t		i;

	buf_text(out, ",\"failed\":[");
	for (i = 0; i < batch->n; i++)
		if (target_is_poison(batch->records[i].id))
		{
			const char *id = batch->records[i].id;

			buf_printf(out, "%s{\"id\":", comma);
			buf_json(out, id, strlen(id));
			buf_text(out, ",\"message\":\"" POISON_TEXT "\"}");
			comma = ",";
		}
	buf_char(out, ']');
}

/* Takes the batch as far as target_poison says; whether anything was taken. */
static bool
take(Request *req, const char *path, const Batch *batch)
{
	Buf		   *out = &req->reply.body;
	bool		sound = first_poison(batch) == batch->n;
	size_t		stored;

	if (!sound && config.target_poison == POISON_BATCH)
		return refuse(req, 400, POISON_TEXT);
	if (!sound && config.target_poison == POISON_BY_ERRCODE)
	{
		reply_error(&req->reply, 200, POISON_ERRCODE, POISON_TEXT, false);
		return false;
	}
	stored = store(req, path, batch);
	if (config.target_poison == POISON_COUNTS)
	{
		reply_json(&req->reply, 200, "");
		buf_printf(out, "{\"inserted\":%zu,\"failed\":%zu}", stored, batch->n - stored);
		return sound || stored > 0;
	}
	reply_json(&req->reply, 200, "{\"code\":200,\"message\":\"success\",\"data\":{");
	buf_printf(out, "\"accepted\":%zu", stored);
	if (!sound)
		put_failed(out, batch);
	buf_text(out, "}}");
	return sound || stored > 0;
}

/*
 * A DELETE without a body names one record: by the parameter id, or by the
 * last part of the path, which then is no part of the target's name.
 */
static bool
take_bare_delete(Request *req)
{
	const char *id = request_param(req, "id");
	char	   *path = sim_strdup(req->plain_path);
	char	   *slash = strrchr(path, '/');
	Record		record = {.value = json_null(),.text = "null",.len = 4};
	Batch		batch = {.records = &record,.n = 1};
	bool		accepted;

	if (id == NULL)
	{
		*slash = '\0';
		id = slash + 1;
	}
	record.id = sim_strdup(id);
	accepted = id[0] == '\0' ? refuse(req, 400, "no id") : take(req, path, &batch);
	free(record.id);
	free(path);
	return accepted;
}

static bool
take_body(Request *req)
{
	char		error[ERROR_SIZE];
	Batch		batch;
	bool		accepted;

	if (!request_is_json(req))
		return refuse(req, 415, "the body is not application/json");
	if (!batch_read(&batch, &req->body, config.target_rows_key, config.target_id,
					error, sizeof(error)))
		accepted = refuse(req, 400, error);
	else if (config.target_max_rows > 0 && (int64_t) batch.n > config.target_max_rows)
		accepted = refuse(req, 400, "too many records");
	else
		accepted = take(req, req->plain_path, &batch);
	batch_free(&batch);
	return accepted;
}

void
target_answer(Request *req)
{
	const char *key = request_header(req, "Idempotency-Key");
	bool		bare = req->body.len == 0 && strcmp(req->method, "DELETE") == 0;

	if (!config.target_keeps)
		reply_json(&req->reply, 200, "{\"code\":200,\"message\":\"success\"}");
	else if (config.target_max_bytes > 0 && (int64_t) req->body.len > config.target_max_bytes)
		refuse(req, 413, "the body is too large");
	else if (!key_settles(req, key))
		remember(req, key, bare ? take_bare_delete(req) : take_body(req));
}

void
target_forget(void)
{
	size_t		i;

	accepted_forget();
	for (i = 0; i < n_answers; i++)
		free(answers[i].body);
	free(answers);
	json_decref(answer_of);
	answers = NULL;
	answer_of = NULL;
	n_answers = 0;
}

void
target_reset(void)
{
	target_forget();
	json_decref(poison);
	poison = NULL;
	rate_clear(&rate);
}
