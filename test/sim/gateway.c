/*-------------------------------------------------------------------------
 * gateway.c
 *		Who may call: signatures, tokens, routing, rates.
 *
 * Refusals have the order in which the real gateway can know them: the client
 * and its clock, the signature, then (business calls only) the token, the
 * router and the rate.  The signature is made from the query as it came on
 * the wire, encoded once more: that is what makes both "%20" and "+" clients
 * right, and an encoding that differs from the wire wrong.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "gateway.h"

#include "config.h"
#include "crypt.h"
#include "data.h"
#include "stats.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GATEWAY_ERROR 519
#define CLOCK_TOLERANCE_MS (5 * 60 * 1000)
#define NONCES 100000

static Tokens tokens;
static Rate call_rate;
static Rate token_rate;
static uint64_t secret_turn;
static uint64_t *nonces;		/* hashes of the last nonces, a ring */
static size_t n_nonces;

/* Always false, so that a check can end with it. */
static bool
refuse(Request *req, int64_t errcode, const char *description)
{
	reply_error(&req->reply, GATEWAY_ERROR, errcode, description, false);
	return false;
}

static const char *
header_or_empty(const Request *req, const char *name)
{
	const char *value = request_header(req, name);

	return value ? value : "";
}

static bool
sign_headers_are_right(const char *list)
{
	return strcasecmp(list, "X-Api-TimeStamp,X-Api-Nonce") == 0 ||
		strcasecmp(list, "X-Api-Nonce,X-Api-TimeStamp") == 0;
}

static bool
timestamp_is_right(const char *text)
{
	int64_t		stamp;
	int64_t		off;

	if (strlen(text) != 13 || strspn(text, "0123456789") != 13)
		return false;
	stamp = strtoll(text, NULL, 10);
	off = stamp - sim_now_ms();
	return off <= CLOCK_TOLERANCE_MS && off >= -CLOCK_TOLERANCE_MS;
}

static int
compare_params(const void *a, const void *b)
{
	const Param *x = *(const Param *const *) a;
	const Param *y = *(const Param *const *) b;
	int			c = strcmp(x->raw_name, y->raw_name);

	return c != 0 ? c : strcmp(x->raw_value, y->raw_value);
}

/* The text a client must have signed for this request. */
static void
string_to_sign(Buf *out, const Request *req, const char *nonce,
			   const char *stamp)
{
	const Param *sorted[MAX_PARAMS];
	int			i;

	for (i = 0; i < req->n_params; i++)
		sorted[i] = &req->params[i];
	qsort(sorted, (size_t) req->n_params, sizeof(sorted[0]), compare_params);
	buf_text(out, req->method);
	buf_char(out, '\n');
	encode_once(out, req->path);
	buf_char(out, '\n');
	for (i = 0; i < req->n_params; i++)
	{
		if (i > 0)
			buf_char(out, '&');
		encode_once(out, sorted[i]->raw_name);
		buf_char(out, '=');
		encode_once(out, sorted[i]->raw_value);
	}
	buf_printf(out, "\nx-api-nonce:%s\nx-api-timestamp:%s\n", nonce, stamp);
}

static bool
nonce_was_used(const char *nonce)
{
	uint64_t	h = hash_bytes(nonce, strlen(nonce));
	size_t		i;

	if (nonces == NULL)
		nonces = sim_alloc(NONCES * sizeof(uint64_t));
	for (i = 0; i < n_nonces && i < NONCES; i++)
		if (nonces[i] == h)
			return true;
	nonces[n_nonces++ % NONCES] = h;
	return false;
}

bool
gateway_signed(Request *req)
{
	const char *client = header_or_empty(req, "X-Api-ClientID");
	const char *nonce = header_or_empty(req, "X-Api-Nonce");
	const char *stamp = header_or_empty(req, "X-Api-TimeStamp");
	const char *given = header_or_empty(req, "X-Api-Signature");
	char		right[SIGNATURE_LEN + 1];
	Buf			text = {0};

	if (strcmp(header_or_empty(req, "X-Api-Auth-Version"), "2.0") != 0)
		return refuse(req, 4001, "auth type is unsupported");
	if (client[0] == '\0')
		return refuse(req, 4002, "clientID is empty");
	if (strcmp(client, config.client_id) != 0)
		return refuse(req, 4003, "clientID is invalid");
	if (!timestamp_is_right(stamp))
		return refuse(req, 4006, "X-Api-TimeStamp is invalid");
	if (!sign_headers_are_right(header_or_empty(req, "X-Api-SignHeaders")))
		return refuse(req, 4007, "X-Api-SignHeaders is invalid");
	string_to_sign(&text, req, nonce, stamp);
	crypt_signature(config.client_secret, text.data, text.len, right);
	buf_free(&text);
	if (nonce[0] == '\0' || strcmp(given, right) != 0)
	{
		tally.bad_signatures++;
		return refuse(req, 4008, "X-Api-Signature is invalid");
	}
	if (config.nonce_replay_refused && nonce_was_used(nonce))
		return refuse(req, 4008, "X-Api-Nonce was used before");
	return true;
}

static bool
refuse_expired(Request *req)
{
	if (config.expired_code == EXPIRED_4011)
		return refuse(req, 4011, "access token is expired");
	if (config.expired_code == EXPIRED_401)
		reply_error(&req->reply, 401, 401, "token invalid", true);
	else
		reply_error(&req->reply, 200, 1020002008, "用户授权信息有误", true);
	return false;
}

static bool
token_is_right(Request *req)
{
	const char *given = header_or_empty(req, "app-token");
	const Token *token = tokens_find(&tokens, given);

	if (given[0] == '\0')
		return refuse(req, 4009, "access token is empty");
	if (token == NULL || token->killed)
		return refuse(req, 4010, "access token is invalid");
	return !token_is_expired(token) || refuse_expired(req);
}

static bool
router_is_right(Request *req)
{
	if (strcmp(header_or_empty(req, "X-GW-Router-Addr"), config.domain) == 0)
		return true;
	if (config.router_mode == ROUTER_5001)
		return refuse(req, 5001, "API Not Found");
	req->reply.status = config.router_mode == ROUTER_404 ? 404 : 502;
	req->reply.content_type = "text/html";
	buf_text(&req->reply.body, config.router_mode == ROUTER_404 ?
			 "404 No Route" :
			 "<html><head><title>502 Bad Gateway</title></head>"
			 "<body><h1>502 Bad Gateway</h1></body></html>");
	return false;
}

/* HTTP 429, with Retry-After when wished. */
static void
refuse_too_many(Request *req)
{
	char		seconds[24];

	reply_error(&req->reply, 429, 429, "API 被限流", false);
	if (config.retry_after >= 0)
	{
		snprintf(seconds, sizeof(seconds), "%lld", (long long) config.retry_after);
		reply_header(&req->reply, "Retry-After", seconds);
	}
}

void
gateway_refuse_rate(Request *req)
{
	tally.refused_by_rate++;
	refuse_too_many(req);
}

/* A request is under way until its reply was sent, however long that is held back. */
static bool
within_concurrency(Request *req)
{
	if (config.concurrency_limit <= 0 || stats_in_flight() <= config.concurrency_limit)
		return true;
	tally.refused_by_concurrency++;
	if (config.concurrency_code == CONCURRENCY_5007)
		return refuse(req, 5007, "too many concurrent requests");
	refuse_too_many(req);
	return false;
}

bool
gateway_within_rate(Request *req, Rate *rate, int64_t limit, int64_t window_ms)
{
	if (limit <= 0)
		return true;
	if ((int64_t) rate_count(rate, req->arrived_us, window_ms) < limit)
	{
		rate_add(rate, req->arrived_us);
		return true;
	}
	gateway_refuse_rate(req);
	return false;
}

bool
gateway_may_call(Request *req)
{
	req->is_call = true;
	if (!token_is_right(req))
		return false;
	if (!config.authorised)
	{
		reply_error(&req->reply, 200, 1020002008, "用户授权信息有误", true);
		return false;
	}
	return router_is_right(req) && within_concurrency(req) &&
		gateway_within_rate(req, &call_rate, config.rate_limit, config.rate_window_ms);
}

bool
gateway_plain(Request *req)
{
	const char *given = request_bearer(req);

	req->is_call = true;
	if (given != NULL && strcmp(given, config.plain_token) == 0)
		return true;
	reply_json(&req->reply, 401, "{\"code\":401,\"msg\":\"unauthorized\",\"data\":null}");
	return false;
}

/* One row of push_app_authorize. */
static void
authorization_row(Buf *out, const char *account, int64_t status)
{
	buf_printf(out, "{\"serviceId\":\"1000000000000000001\",\"accountId\":\"%s\","
			   "\"accountName\":\"示例账套\",\"agreementCompanyName\":\"示例有限公司\","
			   "\"groupName\":\"ns-demo1\",\"status\":%lld,", account,
			   (long long) status);
	buf_printf(out, "\"outerInstanceId\":\"%s\",\"tid\":10000001,\"clientId\":\"%s\","
			   "\"appKey\":\"%s\",\"appSecret\":\"%s\",\"domain\":\"%s\","
			   "\"instanceExpiresTime\":%lld}",
			   config.outer_instance_id, config.client_id,
			   status ? config.app_key : "Revoked0",
			   status ? config.app_secret : "ffffffffffffffffffffffffffffffffffffffff",
			   config.domain, (long long) sim_now_ms() + config.licence_days * INT64_C(86400000));
}

/* Other accounts come first, so that taking row 0 is a visible mistake. */
void
gateway_authorize(Request *req)
{
	const char *instance = request_param(req, "outerInstanceId");
	Buf		   *out = &req->reply.body;
	int64_t		i;

	reply_json(&req->reply, 200, "{\"code\":200,\"msg\":\"推送用户授权成功\",\"data\":[");
	if (instance != NULL && strcmp(instance, config.outer_instance_id) == 0)
	{
		for (i = 0; i < config.other_accounts; i++)
		{
			char		account[32];

			snprintf(account, sizeof(account), "%lld",
					 INT64_C(1900000000000000000) + (long long) i);
			authorization_row(out, account, 0);
			buf_char(out, ',');
		}
		authorization_row(out, config.account_id, config.authorised);
	}
	buf_text(out, "]}");
}

static const Token *
issue_token(void)
{
	uint64_t	h = mix64(data_seed + tokens.n + 1);
	Token	   *token;

	if (config.new_token_kills_old)
		tokens_kill(&tokens);
	token = tokens_add(&tokens, config.token_lifetime_s);
	snprintf(token->text, sizeof(token->text),
			 "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.%016llx%016llx.%016llx",
			 (unsigned long long) h, (unsigned long long) mix64(h),
			 (unsigned long long) mix64(h + 1));
	return token;
}

void
gateway_token(Request *req)
{
	const char *key = request_param(req, "app_key");
	const char *given = request_param(req, "app_signature");
	char		right[SIGNATURE_LEN + 1];
	const Token *token;

	req->is_token = true;
	if (!gateway_within_rate(req, &token_rate, config.token_limit, config.token_window_ms))
		return;
	crypt_signature(config.app_secret, config.app_key, strlen(config.app_key), right);
	if (key == NULL || given == NULL)
		reply_error(&req->reply, 200, 1030002000, "app_key、app_signature不能为空", true);
	else if (strcmp(key, config.app_key) != 0 || !config.authorised)
		reply_error(&req->reply, 200, 1020002008, "用户授权信息有误", true);
	else if (strcmp(given, right) != 0)
		reply_error(&req->reply, 200, 1030002006,
					"授权密钥校验失败，请获取最新密钥加密", true);
	else
	{
		token = issue_token();
		reply_json(&req->reply, 200, "{\"errcode\":0,\"description\":\"成功\",\"data\":{");
		buf_printf(&req->reply.body, "\"uid\":100000001,\"access_token\":\"%032llx\","
				   "\"app-token\":\"%s\",\"expires\":%lld}}",
				   (unsigned long long) mix64(tokens.n), token->text,
				   (long long) token->expires_ms);
	}
}

void
gateway_expire_tokens(void)
{
	tokens_expire(&tokens);
}

void
gateway_rotate_app_secret(void)
{
	uint64_t	h = mix64(data_seed + ++secret_turn);

	snprintf(config.app_secret, sizeof(config.app_secret), "%016llx%016llx%08x",
			 (unsigned long long) h, (unsigned long long) mix64(h),
			 (unsigned) mix64(h + 2));
}

void
gateway_reset(void)
{
	tokens_clear(&tokens);
	secret_turn = 0;
	n_nonces = 0;
	rate_clear(&call_rate);
	rate_clear(&token_rate);
}

void
gateway_free(void)
{
	gateway_reset();
	free(nonces);
	nonces = NULL;
}
