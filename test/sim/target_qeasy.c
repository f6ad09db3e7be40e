/*-------------------------------------------------------------------------
 * target_qeasy.c
 *		The Qeasy platform's open API: sign in, store, query.
 *
 * What is stored goes to the same account as all pushes; a query reads it
 * there.  The store tells only how many records failed, not which, and a
 * query by a text finds every record that contains it: a client that reads
 * back has to bear both.  The public documents contradict each other, so much
 * of this is a switch.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "target_qeasy.h"

#include "accepted.h"
#include "config.h"
#include "data.h"
#include "gateway.h"
#include "stats.h"
#include "target.h"
#include "tokens.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PAGE_SIZE 100
#define ERROR_SIZE 256
#define CONTENT_PREFIX "CONTENT_"

/* Codes of the platform's own table. */
#define WRONG_PARAMETER 40001
#define OUT_OF_RANGE 40003
#define WRONG_SECRET 40101
#define WRONG_TOKEN 40102
#define NO_SUCH_API 40402
#define WRONG_METHOD 40501
#define TOO_MANY 42901

/* What a query asks for. */
typedef struct Query
{
	int64_t		page;
	int64_t		page_size;
	int64_t		begin_s;		/* both seconds belong to it */
	int64_t		end_s;
	json_t	   *body;			/* its members CONTENT_… are conditions */
	const char *path;			/* where the records were stored */
} Query;

static Tokens tokens;
static Rate rate;
static int64_t refused_until_us;

/* The first three digits of a code are the HTTP status. */
static bool
refuse(Request *req, int code, const char *message)
{
	int			status = config.qeasy_errors == QEASY_HTTP || code == TOO_MANY ?
		code / 100 : 200;

	reply_json(&req->reply, status, "{\"success\":false,\"code\":");
	buf_printf(&req->reply.body, "%d,\"message\":", code);
	buf_json(&req->reply.body, message, strlen(message));
	buf_text(&req->reply.body, ",\"content\":null}");
	return false;
}

static void
begin_success(Request *req)
{
	reply_json(&req->reply, 200,
			   "{\"success\":true,\"code\":0,\"message\":\"success\",\"content\":{");
}

static void
sign_in(Request *req)
{
	json_t	   *body = json_loadb(req->body.data, req->body.len, 0, NULL);
	uint64_t	h = mix64(data_seed ^ mix64(tokens.n));
	Token	   *token;

	tally.qeasy_token_calls++;
	if (!member_is(body, "app_key", config.qeasy_app_key) ||
		!member_is(body, "app_secret", config.qeasy_app_secret))
		refuse(req, WRONG_SECRET, "app_key 或 app_secret 错误");
	else
	{
		token = tokens_add(&tokens, config.qeasy_token_lifetime_s);
		snprintf(token->text, sizeof(token->text), "PSJ%016llx%016llx",
				 (unsigned long long) h, (unsigned long long) mix64(h));
		begin_success(req);
		buf_printf(&req->reply.body, "\"access_token\":\"%s\",\"expires_in\":%lld}}",
				   token->text, (long long) config.qeasy_token_lifetime_s);
	}
	json_decref(body);
}

/* A client that exceeded the limit may have to stay away for a while. */
static bool
within_rate(Request *req)
{
	if (req->arrived_us >= refused_until_us &&
		gateway_within_rate(req, &rate, config.qeasy_rate_limit, config.qeasy_rate_window_ms))
		return true;
	if (req->arrived_us < refused_until_us)
		gateway_refuse_rate(req);
	else
		refused_until_us = req->arrived_us + config.qeasy_penalty_ms * 1000;
	return refuse(req, TOO_MANY, "请求过于频繁，请稍后重试");
}

bool
qeasy_may_call(Request *req)
{
	const char *given = request_bearer(req);
	const Token *token = given ? tokens_find(&tokens, given) : NULL;
	bool		signs_in = strcmp(req->path, QEASY_TOKEN_PATH) == 0;

	req->is_qeasy = !signs_in;
	if (strcmp(req->method, "POST") != 0)
		return refuse(req, WRONG_METHOD, "方法不允许");
	if (signs_in)
		return true;
	if (token == NULL || token_is_expired(token))
		return refuse(req, WRONG_TOKEN, "Token 无效或已过期");
	return within_rate(req);
}

static void
store(Request *req)
{
	char		error[ERROR_SIZE];
	Batch		batch;
	size_t		failed = 0;
	size_t		i;

	if (!batch_read(&batch, &req->body, "content", config.target_id, error, sizeof(error)))
		refuse(req, WRONG_PARAMETER, error);
	else if (!batch.wrapped)
		refuse(req, WRONG_PARAMETER, "必填字段缺失: content");
	else
	{
		for (i = 0; i < batch.n; i++)
			if (target_is_poison(batch.records[i].id))
				failed++;
			else
				accepted_add(req, req->path, &batch.records[i]);
		begin_success(req);
		buf_printf(&req->reply.body, "\"inserted\":%zu,\"failed\":%zu}}",
				   batch.n - failed, failed);
	}
	batch_free(&batch);
}

static bool
contains_equal(json_t *list, json_t *value)
{
	json_t	   *item;
	size_t		i;

	json_array_foreach(list, i, item)
		if (json_equal(item, value))
		return true;
	return false;
}

/* A plain text is looked for within the value unless the switch says exact, or that no condition counts. */
static bool
value_meets(json_t *value, json_t *wanted)
{
	json_t	   *equal = json_object_get(wanted, "$eq");
	json_t	   *in = json_object_get(wanted, "$in");

	if (config.qeasy_text_match == QEASY_ANYTHING)
		return true;
	if (json_is_object(wanted))
		return (equal == NULL || json_equal(value, equal)) &&
			(in == NULL || contains_equal(in, value));
	if (json_is_string(wanted) && json_is_string(value) &&
		config.qeasy_text_match == QEASY_CONTAINS)
		return strstr(json_string_value(value), json_string_value(wanted)) != NULL;
	return json_equal(value, wanted);
}

static bool
record_meets(const Accepted *a, const Query *q)
{
	int64_t		at_s = a->at_ms / 1000;
	json_t	   *record;
	const char *name;
	json_t	   *wanted;
	bool		meets = true;

	if (strcmp(accepted_subject(a)->path, q->path) != 0 ||
		at_s < q->begin_s || at_s > q->end_s)
		return false;
	if (config.qeasy_upsert && accepted_at(accepted_subject(a)->last) != a)
		return false;
	record = json_loads(a->payload, 0, NULL);
	json_object_foreach(q->body, name, wanted)
		if (strncmp(name, CONTENT_PREFIX, strlen(CONTENT_PREFIX)) == 0)
		meets = meets && value_meets(json_object_get(record, name + strlen(CONTENT_PREFIX)), wanted);
	json_decref(record);
	return meets;
}

/* The platform's own id of a row, 24 hexadecimal digits. */
static void
put_row(Buf *out, const Accepted *a)
{
	uint64_t	place = config.qeasy_upsert ? a->subject : (uint64_t) a->seq;
	uint64_t	h = mix64(data_seed + mix64(place));

	buf_printf(out, "{\"id\":\"%016llx%08x\",\"content\":%s,\"created_at\":%lld}",
			   (unsigned long long) h, (unsigned) mix64(h), a->payload,
			   (long long) (a->at_ms / 1000));
}

/* Conditions with operators that are not simulated must not pass unheeded. */
static bool
conditions_are_known(json_t *body)
{
	const char *name;
	const char *operator;
	json_t	   *wanted;
	json_t	   *operand;

	json_object_foreach(body, name, wanted)
	{
		if (strncmp(name, CONTENT_PREFIX, strlen(CONTENT_PREFIX)) != 0)
			continue;
		json_object_foreach(wanted, operator, operand)
			if (strcmp(operator, "$eq") != 0 &&
				(strcmp(operator, "$in") != 0 || !json_is_array(operand)))
			return false;
	}
	return true;
}

/* An integer member; an absent one keeps *value unless it is required. */
static bool
read_integer(json_t *body, const char *name, bool required, int64_t *value)
{
	json_t	   *given = json_object_get(body, name);

	if (json_is_integer(given))
		*value = (int64_t) json_integer_value(given);
	return json_is_integer(given) || (given == NULL && !required);
}

static bool
read_query(Request *req, Query *q)
{
	bool		timed = config.qeasy_requires_times != 0;

	q->end_s = INT64_MAX;
	if (!json_is_object(q->body))
		return refuse(req, WRONG_PARAMETER, "参数格式错误");
	if (!read_integer(q->body, "page", true, &q->page) ||
		!read_integer(q->body, "pageSize", true, &q->page_size))
		return refuse(req, WRONG_PARAMETER, "page、pageSize 为必填整数");
	if (!read_integer(q->body, "begin_at", timed, &q->begin_s) ||
		!read_integer(q->body, "end_at", timed, &q->end_s))
		return refuse(req, WRONG_PARAMETER, "begin_at、end_at 为必填整数（秒）");
	if (q->page < 1 || q->page > INT32_MAX || q->page_size < 1 || q->page_size > MAX_PAGE_SIZE)
		return refuse(req, OUT_OF_RANGE, "page 从 1 开始，pageSize 范围 1~100");
	if (!conditions_are_known(q->body))
		return refuse(req, WRONG_PARAMETER, "不支持的查询操作符");
	return true;
}

static void
put_page(Request *req, const Query *q)
{
	Buf		   *out = &req->reply.body;
	int64_t		first = (q->page - 1) * q->page_size;
	int64_t		total = 0;
	size_t		i;

	begin_success(req);
	buf_text(out, "\"rows\":[");
	for (i = 0; i < accepted_count(); i++)
	{
		const Accepted *a = accepted_at(i);

		if (!record_meets(a, q))
			continue;
		if (total >= first && total < first + q->page_size)
		{
			if (total > first)
				buf_char(out, ',');
			put_row(out, a);
		}
		total++;
	}
	buf_printf(out, "],\"total\":%lld,\"page\":%lld,\"pageSize\":%lld}}",
			   (long long) total, (long long) q->page, (long long) q->page_size);
}

static void
query(Request *req)
{
	Buf			path = {0};
	Query		q = {.body = json_loadb(req->body.data, req->body.len, 0, NULL)};

	buf_bytes(&path, req->path, strlen(req->path) - strlen("/query"));
	buf_text(&path, "/store");
	q.path = path.data;
	if (read_query(req, &q))
		put_page(req, &q);
	buf_free(&path);
	json_decref(q.body);
}

/* What follows a scheme's id, which is a UUID or at least looks like a word. */
static const char *
verb_of(const char *path)
{
	const char *scheme = path + strlen(QEASY_PATH);
	const char *verb = scheme;

	while (isalnum((unsigned char) *verb) || *verb == '-' || *verb == '_')
		verb++;
	return verb > scheme ? verb : "";
}

void
qeasy_answer(Request *req)
{
	bool		signs_in = strcmp(req->path, QEASY_TOKEN_PATH) == 0;
	const char *verb = signs_in ? "" : verb_of(req->path);

	if (!request_is_json(req))
		refuse(req, WRONG_PARAMETER, "Content-Type 必须为 application/json");
	else if (signs_in)
		sign_in(req);
	else if (strcmp(verb, "/store") == 0)
		store(req);
	else if (strcmp(verb, "/query") == 0)
		query(req);
	else
		refuse(req, NO_SUCH_API, "接口不存在");
}

void
qeasy_expire_tokens(void)
{
	tokens_expire(&tokens);
}

void
qeasy_reset(void)
{
	tokens_clear(&tokens);
	rate_clear(&rate);
	refused_until_us = 0;
}
