/*-------------------------------------------------------------------------
 * robot.c
 *		Robots of chat groups: DingTalk, WeCom, Feishu.
 *
 * Who has a robot's url may write to its group.  With robot_secret set, DingTalk's wants in the
 * query, Feishu's in the body, the time and its signature.  All three answer
 * HTTP 200 whatever becomes of a message: their own code says it, in
 * "errcode" or "code".
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "robot.h"

#include "config.h"
#include "crypt.h"
#include "gateway.h"
#include "stats.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES 4096			/* of WeCom's markdown */
#define HOUR_MS INT64_C(3600000)

typedef struct Robot
{
	const char *path;
	const char *name;
	const char *code;			/* member of the answer */
	const char *words;			/* the same */
	const char *success;
	int			wrong_url;
	int			wrong_sign;
	int			wrong_message;
	int			too_fast;
} Robot;

static const Robot robots[] = {
	{ROBOT_DINGTALK, "dingtalk", "errcode", "errmsg", "ok", 300005, 310000, 400, 130101},
	{ROBOT_WECOM, "wecom", "errcode", "errmsg", "ok", 93000, 0, 40058, 45009},
	{ROBOT_FEISHU, "feishu", "code", "msg", "success", 19001, 19021, 9499, 11232},
};

static Buf	messages;
static Rate rates[3];

static void
say(Request *req, const Robot *robot, int code, const char *words)
{
	reply_json(&req->reply, 200, "{");
	buf_printf(&req->reply.body, "\"%s\":%d,\"%s\":\"%s\"%s}", robot->code, code, robot->words, words,
			   robot == &robots[2] ? ",\"data\":{}" : "");
}

static bool
url_is_right(const Request *req, const Robot *robot)
{
	const char *key = robot == &robots[0] ? request_param(req, "access_token") :
		robot == &robots[1] ? request_param(req, "key") : req->path + strlen(robot->path);

	return key != NULL && strcmp(key, config.robot_key) == 0;
}

/* The HMAC of DingTalk's has the secret as its key and signs time and secret; Feishu's has both as its key and signs nothing. */
static bool
sign_is_right(const char *time, int64_t time_ms, const char *sign, bool in_key)
{
	Buf			text = {0};
	Buf			right = {0};
	bool		is_right;

	if (time == NULL || sign == NULL || llabs(time_ms - sim_now_ms()) > HOUR_MS)
		return false;
	buf_printf(&text, "%s\n%s", time, config.robot_secret);
	if (in_key)
		crypt_hmac(&right, text.data, "");
	else
		crypt_hmac(&right, config.robot_secret, text.data);
	is_right = strcmp(sign, right.data) == 0;
	buf_free(&text);
	buf_free(&right);
	return is_right;
}

static bool
is_signed(const Request *req, const Robot *robot, json_t *body)
{
	const char *time;

	if (config.robot_secret[0] == '\0' || robot == &robots[1])
		return true;
	if (robot == &robots[0])
	{
		time = request_param(req, "timestamp");
		return sign_is_right(time, time ? atoll(time) : 0, request_param(req, "sign"), false);
	}
	time = json_string_value(json_object_get(body, "timestamp"));
	return sign_is_right(time, time ? atoll(time) * 1000 : 0, json_string_value(json_object_get(body, "sign")), true);
}

/* The message's text where the service's documents put it, or NULL. */
static const char *
text_of(const Robot *robot, json_t *body)
{
	const char *type = json_string_value(json_object_get(body, robot == &robots[2] ? "msg_type" : "msgtype"));
	json_t	   *part;

	if (type == NULL)
		return NULL;
	if (robot == &robots[2])
		return strcmp(type, "text") != 0 ? NULL : json_string_value(json_object_get(json_object_get(body, "content"), "text"));
	part = json_object_get(body, type);
	if (strcmp(type, "markdown") == 0 && robot == &robots[0])
		return json_string_value(json_object_get(part, "title")) ? json_string_value(json_object_get(part, "text")) : NULL;
	return json_string_value(json_object_get(part, "content"));
}

void
robot_answer(Request *req)
{
	const Robot *robot = robots;
	Rate	   *rate;
	json_t	   *body = json_loadb(req->body.data ? req->body.data : "", req->body.len, 0, NULL);
	const char *text;

	while (strncmp(req->path, robot->path, strlen(robot->path)) != 0)
		robot++;
	rate = &rates[robot - robots];
	text = text_of(robot, body);
	if (!url_is_right(req, robot))
		say(req, robot, robot->wrong_url, "no such robot");
	else if (!is_signed(req, robot, body))
		say(req, robot, robot->wrong_sign, "sign not match");
	else if (config.robot_rate_limit > 0 && (int64_t) rate_count(rate, req->arrived_us, 60000) >= config.robot_rate_limit)
		say(req, robot, robot->too_fast, "send too fast");
	else if (text == NULL || text[0] == '\0' || strlen(text) > MOST_BYTES)
		say(req, robot, robot->wrong_message, "no text where it should be");
	else if (config.robot_keyword[0] != '\0' && strstr(text, config.robot_keyword) == NULL)
		say(req, robot, robot->wrong_message, "keywords not in content");
	else
	{
		rate_add(rate, req->arrived_us);
		buf_printf(&messages, "{\"robot\":\"%s\",\"text\":", robot->name);
		buf_json(&messages, text, strlen(text));
		buf_text(&messages, "}\n");
		say(req, robot, 0, robot->success);
	}
	json_decref(body);
}

void
robot_show(Buf *out)
{
	buf_bytes(out, messages.data, messages.len);
}

void
robot_reset(void)
{
	size_t		i;

	buf_free(&messages);
	memset(&messages, 0, sizeof(messages));
	for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
		rate_clear(&rates[i]);
}
