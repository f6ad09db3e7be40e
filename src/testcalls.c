/*-------------------------------------------------------------------------
 * testcalls.c
 *		Doors to internals for the regression tests: servers, calls, and what a reply means.
 *
 * The install script declares none of these: a test that needs one creates it
 * (CREATE FUNCTION … AS '$libdir/jdysync', 'jdy_test_…'), which only a superuser can.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <sys/resource.h>

#include "address.h"
#include "budget.h"
#include "catalog/pg_type_d.h"
#include "client.h"
#include "compat.h"
#include "endpoint.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "http.h"
#include "kingdee.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "options.h"
#include "percent.h"
#include "pgtime.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "verdict.h"

PG_FUNCTION_INFO_V1(jdy_test_percent_encode);
PG_FUNCTION_INFO_V1(jdy_test_host_listed);
PG_FUNCTION_INFO_V1(jdy_test_address_class);
PG_FUNCTION_INFO_V1(jdy_test_endpoint);
PG_FUNCTION_INFO_V1(jdy_test_http);
PG_FUNCTION_INFO_V1(jdy_test_http_twice);
PG_FUNCTION_INFO_V1(jdy_test_http_pair);
PG_FUNCTION_INFO_V1(jdy_test_calls);
PG_FUNCTION_INFO_V1(jdy_test_verdict);
PG_FUNCTION_INFO_V1(jdy_test_signature);
PG_FUNCTION_INFO_V1(jdy_test_app_signature);
PG_FUNCTION_INFO_V1(jdy_test_decrypt_text);
PG_FUNCTION_INFO_V1(jdy_test_decrypt);
PG_FUNCTION_INFO_V1(jdy_test_budget);

/* (text, keep_slash boolean) returns text */
Datum
jdy_test_percent_encode(PG_FUNCTION_ARGS)
{
	char	   *plain = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(jdy_percent_encode(plain, PG_GETARG_BOOL(1))));
}

/* (patterns text, host text) returns no | pattern | literal */
Datum
jdy_test_host_listed(PG_FUNCTION_ARGS)
{
	char	   *patterns = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *host = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		literal;
	bool		listed = jdy_host_listed(patterns, host, &literal);

	PG_RETURN_TEXT_P(cstring_to_text(!listed ? "no" : literal ? "literal" : "pattern"));
}

/* (address text) returns public | private | never */
Datum
jdy_test_address_class(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"public", "private", "never"};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr *address = (struct sockaddr *) &in4;

	if (inet_pton(AF_INET, name, &in4.sin_addr) != 1)
	{
		address = (struct sockaddr *) &in6;
		if (inet_pton(AF_INET6, name, &in6.sin6_addr) != 1)
			elog(ERROR, "not an address: %s", name);
	}
	PG_RETURN_TEXT_P(cstring_to_text(names[jdy_address_class(address)]));
}

/* (server text, complete boolean) returns what a load reads; errors as jdy_endpoint_require_complete when complete */
Datum
jdy_test_endpoint(PG_FUNCTION_ARGS)
{
	Endpoint   *e = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	StringInfoData line;

	if (PG_GETARG_BOOL(1))
		jdy_endpoint_require_complete(e);

	initStringInfo(&line);
	appendStringInfo(&line, "url=%s host=%s auth=%s calls_per_minute=%d rate_window=%dms backfill_share=%d%% "
					 "concurrency=%d connect_timeout=%dms timeout=%dms max_attempts=%d max_response=" INT64_FORMAT
					 " time_zone=%s private=%s client_secret=%s digest=",
					 e->url, e->host, jdy_auth_name(e->auth), e->calls_per_minute, e->rate_window_ms, e->backfill_share,
					 e->concurrency, e->connect_timeout_ms, e->timeout_ms, e->max_attempts, e->max_response,
					 pg_get_timezone_name(e->time_zone), e->private_allowed ? "yes" : "no",
					 e->client_secret ? e->client_secret : "-");
	for (int i = 0; i < JDY_DIGEST_LENGTH; i++)
		appendStringInfo(&line, "%02x", e->digest[i]);
	PG_RETURN_TEXT_P(cstring_to_text(line.data));
}

static const char *const failure_names[] = {
	"complete", "resolve", "connect", "tls", "timeout", "broken", "too large", "forbidden address", "other"
};

static HttpReply *
wait_for_reply(HttpPool *pool)
{
	HttpReply  *reply;

	while ((reply = jdy_http_receive(pool, -1)) == NULL)
		;
	return reply;
}

/* (server text, path text, method text, body text) returns the reply as JSON text; path is appended to the url */
Datum
jdy_test_http(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	HttpHeader	headers[] = {{"X-Secret", endpoint->token ? endpoint->token : ""}, {"Content-Type", "text/plain"}};
	HttpRequest request = {
		.method = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.url = psprintf("%s%s", endpoint->url, text_to_cstring(PG_GETARG_TEXT_PP(1))),
		.headers = headers,
		.nheaders = lengthof(headers),
	};
	HttpPool   *pool = jdy_http_open(endpoint, 1, CurrentMemoryContext);
	HttpReply  *reply;
	StringInfoData json;

	if (!PG_ARGISNULL(3))
	{
		request.body = text_to_cstring(PG_GETARG_TEXT_PP(3));
		request.body_length = strlen(request.body);
	}
	jdy_http_start(pool, &request);
	reply = wait_for_reply(pool);

	initStringInfo(&json);
	appendStringInfo(&json, "{\"failure\": \"%s\", \"status\": %d, \"length\": %zu, \"truncated\": %s, \"sent\": %s, "
					 "\"wire_bytes\": " INT64_FORMAT ", \"retry_after_ms\": " INT64_FORMAT ", \"elapsed_ms\": " INT64_FORMAT
					 ", \"date\": \"%s\", \"error\": ",
					 failure_names[reply->failure], reply->status, reply->body_length, reply->truncated ? "true" : "false",
					 reply->sent ? "true" : "false", reply->wire_bytes, reply->retry_after_ms, reply->elapsed_us / 1000,
					 reply->date == 0 ? "" : timestamptz_to_str(reply->date));
	escape_json(&json, reply->error ? reply->error : "");
	appendStringInfoString(&json, ", \"content_type\": ");
	escape_json(&json, reply->content_type ? reply->content_type : "");
	appendStringInfoString(&json, ", \"router\": ");
	escape_json(&json, reply->router ? reply->router : "");
	appendStringInfoString(&json, ", \"body\": ");
	escape_json(&json, reply->body_length <= 1000 ? reply->body : "");
	appendStringInfoChar(&json, '}');
	jdy_http_release(pool, reply);
	jdy_http_close(pool);
	PG_RETURN_TEXT_P(cstring_to_text(json.data));
}

/* (server text, path text, method text) returns how two requests on one connection ended */
Datum
jdy_test_http_twice(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	HttpRequest request = {
		.method = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.url = psprintf("%s%s", endpoint->url, text_to_cstring(PG_GETARG_TEXT_PP(1))),
	};
	HttpPool   *pool = jdy_http_open(endpoint, 1, CurrentMemoryContext);
	StringInfoData line;

	initStringInfo(&line);
	for (int i = 0; i < 2; i++)
	{
		HttpReply  *reply;

		jdy_http_start(pool, &request);
		reply = wait_for_reply(pool);
		appendStringInfo(&line, "%s%s", i == 0 ? "" : ", ", failure_names[reply->failure]);
		if (reply->error != NULL)
			appendStringInfo(&line, ": %s", reply->error);
		jdy_http_release(pool, reply);
	}
	jdy_http_close(pool);
	PG_RETURN_TEXT_P(cstring_to_text(line.data));
}

/* (server text, path text, other_path text) returns how much CPU, in ms, waiting for two replies at once took */
Datum
jdy_test_http_pair(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());
	HttpPool   *pool = jdy_http_open(endpoint, 2, CurrentMemoryContext);
	struct rusage before;
	struct rusage after;

	for (int i = 1; i <= 2; i++)
	{
		HttpRequest request = {
			.method = "GET",
			.url = psprintf("%s%s", endpoint->url, text_to_cstring(PG_GETARG_TEXT_PP(i))),
		};

		jdy_http_start(pool, &request);
	}
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 2; i++)
	{
		HttpReply  *reply = wait_for_reply(pool);

		if (reply->failure != HTTP_COMPLETE)
			elog(ERROR, "%s", failure_names[reply->failure]);
		jdy_http_release(pool, reply);
	}
	getrusage(RUSAGE_SELF, &after);
	jdy_http_close(pool);
	PG_RETURN_INT32((after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
					(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000);
}

/*
 * (server name, path text, n integer, concurrency integer) returns float8: calls a second.  Each call
 * has another id, as details have.
 */
Datum
jdy_test_calls(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int			n = PG_GETARG_INT32(2);
	Client	   *client = jdy_client_open(endpoint, PG_GETARG_INT32(3), false, CurrentMemoryContext, NULL, NULL);
	instr_time	start;
	instr_time	elapsed;
	int			submitted = 0;
	int			done = 0;

	jdy_client_release(client, jdy_client_run(client, jdy_call_create(client, CALL_OTHER, LANE_TAIL, "GET", path)));
	INSTR_TIME_SET_CURRENT(start);
	while (done < n)
	{
		Call	   *call;

		for (; submitted < n && jdy_client_pending(client) < 4 * PG_GETARG_INT32(3); submitted++)
		{
			call = jdy_call_create(client, CALL_OTHER, LANE_TAIL, "GET", path);
			jdy_call_param(call, "id", psprintf("%d", submitted));
			jdy_client_submit(client, call);
		}
		call = jdy_client_next(client, -1);
		if (call == NULL)
			continue;
		if (call->outcome != OUTCOME_OK)
			jdy_call_raise(call);
		jdy_client_release(client, call);
		done++;
	}
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, start);
	jdy_client_close(client);
	PG_RETURN_FLOAT8(n / INSTR_TIME_GET_DOUBLE(elapsed));
}

/* Position of `name` in a list. */
static int
position_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(name, names[i]) == 0)
			return i;
	}
	elog(ERROR, "no such name: %s", name);
	return -1;
}

/* (kind text, failure text, http_status int, errcode bigint, facts text[]) returns "verdict: reason" */
Datum
jdy_test_verdict(PG_FUNCTION_ARGS)
{
	static const char *const kinds[] = {"token", "list", "detail", "push", "other"};
	static const char *const failures[] = {
		"complete", "resolve", "connect", "tls", "timeout", "broken", "too large", "forbidden", "other"
	};
	static const char *const names[] = {"malformed", "no route", "router", "no record", "batch"};
	ReplyFacts	facts = {.well_formed = true};
	const char *reason;
	Verdict		verdict;
	Datum	   *holds;
	int			nholds;

	facts.failure = position_of(text_to_cstring(PG_GETARG_TEXT_PP(1)), failures, lengthof(failures));
	facts.http_status = PG_GETARG_INT32(2);
	facts.errcode = PG_GETARG_INT64(3);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, &holds, NULL, &nholds);
	for (int i = 0; i < nholds; i++)
	{
		switch (position_of(TextDatumGetCString(holds[i]), names, lengthof(names)))
		{
			case 0:
				facts.well_formed = false;
				break;
			case 1:
				facts.no_route = true;
				break;
			case 2:
				facts.router_sent = true;
				break;
			case 3:
				facts.no_record = true;
				break;
			case 4:
				facts.batch = true;
				break;
		}
	}
	verdict = jdy_judge(position_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), kinds, lengthof(kinds)), &facts, &reason);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: %s", jdy_verdict_name(verdict), reason)));
}

/* (secret text, method text, path text, names text[], values text[], nonce text, timestamp text) returns text */
Datum
jdy_test_signature(PG_FUNCTION_ARGS)
{
	List	   *params = NIL;
	Datum	   *names;
	Datum	   *values;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		CallParam  *param = palloc(sizeof(CallParam));

		param->name = TextDatumGetCString(names[i]);
		param->value = TextDatumGetCString(values[i]);
		params = lappend(params, param);
	}
	PG_RETURN_TEXT_P(cstring_to_text(jdy_kingdee_signature(text_to_cstring(PG_GETARG_TEXT_PP(0)),
														   text_to_cstring(PG_GETARG_TEXT_PP(1)),
														   text_to_cstring(PG_GETARG_TEXT_PP(2)), params,
														   text_to_cstring(PG_GETARG_TEXT_PP(5)),
														   text_to_cstring(PG_GETARG_TEXT_PP(6)))));
}

/* (app_key text, app_secret text) returns text */
Datum
jdy_test_app_signature(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(jdy_kingdee_app_signature(text_to_cstring(PG_GETARG_TEXT_PP(0)),
															   text_to_cstring(PG_GETARG_TEXT_PP(1)))));
}

/* (secret text, value text) returns text, NULL = not ciphertext */
Datum
jdy_test_decrypt_text(PG_FUNCTION_ARGS)
{
	char	   *plain = jdy_kingdee_decrypt_text(text_to_cstring(PG_GETARG_TEXT_PP(0)),
												 text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (plain == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(plain));
}

/* (data jsonb, paths text[], secret text) returns jsonb, NULL = `data` itself was given back */
Datum
jdy_test_decrypt(PG_FUNCTION_ARGS)
{
	Jsonb	   *data = PG_GETARG_JSONB_P(0);
	Jsonb	   *result;
	List	   *paths = NIL;
	Datum	   *names;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	for (int i = 0; i < n; i++)
		paths = lappend(paths, TextDatumGetCString(names[i]));
	result = jdy_kingdee_decrypt(data, paths, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (result == data)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/* One step of a budget's script; what it says, or NULL. */
static char *
budget_step(const char *step, Endpoint *endpoint, Budget **budget)
{
	char		word[32] = "";
	char		arg[64] = "";
	int			n[3] = {0};
	int64		wait;

	if (sscanf(step, "open %63s %d %d %d", arg, &n[0], &n[1], &n[2]) == 4)
	{
		/* Another host for each run of a test: budgets outlive it. */
		endpoint->url = psprintf("http://%s.%d." INT64_FORMAT, arg, MyProcPid, GetCurrentStatementStartTimestamp());
		endpoint->auth = AUTH_NONE;
		endpoint->calls_per_minute = n[0];
		endpoint->rate_window_ms = n[1];
		endpoint->backfill_share = n[2];
		endpoint->timeout_ms = endpoint->connect_timeout_ms = 10 * n[1];
		*budget = jdy_budget_open(endpoint);
		return NULL;
	}
	sscanf(step, "%31s %63s", word, arg);
	if (strcmp(word, "join") == 0)
		jdy_budget_join(*budget, arg);
	else if (strcmp(word, "refuse") == 0)
		jdy_budget_refused(*budget, atoi(arg));
	else if (strcmp(word, "sleep") == 0)
		pg_usleep(atoi(arg) * 1000L);
	else if (strcmp(word, "left") == 0)
		return psprintf("%d", jdy_budget_left(*budget));
	else if (strcmp(word, "take") == 0 || strcmp(word, "keep") == 0)
	{
		/* keep: the call stays under way; take: it is answered at once. */
		wait = strcmp(arg, "token") == 0 ? jdy_budget_take_token(*budget) :
			jdy_budget_take(*budget, strcmp(arg, "backfill") == 0 ? LANE_BACKFILL :
							strcmp(arg, "audit") == 0 ? LANE_AUDIT : LANE_TAIL);
		if (wait == 0 && word[0] == 't')
			jdy_budget_answered(*budget, jdy_budget_ticket(*budget));
		return psprintf("%s", wait == 0 ? "granted" :
						wait > (int64) endpoint->rate_window_ms * 1020 + 3000 ? "wait longer than a window" : "wait");
	}
	else
		elog(ERROR, "no such step: %s", step);
	return NULL;
}

/* (script text[]) returns text[]: what each step says; "4 take tail" repeats and says how often it was granted */
Datum
jdy_test_budget(PG_FUNCTION_ARGS)
{
	Endpoint	endpoint = {0};
	Budget	   *budget = NULL;
	MemoryContext context = CurrentMemoryContext;
	ArrayBuildState *said = initArrayResult(TEXTOID, context, false);
	Datum	   *steps;
	int			nsteps;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &steps, NULL, &nsteps);
	SPI_connect();
	MemoryContextSwitchTo(context);
	for (int i = 0; i < nsteps; i++)
	{
		char	   *step = TextDatumGetCString(steps[i]);
		int			times = strtol(step, &step, 10);
		int			granted = 0;
		char	   *says = NULL;

		step += strspn(step, " ");
		for (int k = 0; k < Max(times, 1); k++)
		{
			says = budget_step(step, &endpoint, &budget);
			granted += says != NULL && strcmp(says, "granted") == 0;
		}
		if (times > 0)
			says = psprintf("%d granted, then %s", granted, says);
		if (says != NULL)
			said = accumArrayResult(said, CStringGetTextDatum(says), false, TEXTOID, context);
	}
	SPI_finish();
	MemoryContextSwitchTo(context);
	PG_RETURN_DATUM(makeArrayResult(said, context));
}
