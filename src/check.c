/*-------------------------------------------------------------------------
 * check.c
 *		A look around: is a server usable, what does it answer, what is in a field.
 *
 * These run in the caller's own backend and transaction, with the caller's own
 * user mapping, and need no worker: they are what one reaches for before
 * anything else works, so they also work without shared_preload_libraries.
 *
 * jdy_check goes step by step and stops at the first that fails, because
 * everything after it would fail for the same reason.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "fmgr.h"
#include "funcapi.h"
#include "jdysync.h"
#include "kingdee.h"
#include "miscadmin.h"
#include "page.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CLOCK_TOLERANCE_US INT64CONST(300000000)	/* 星辰 refuses times more than 5 min off */
#define LICENCE_WARNING_DAYS 30
#define CHECK_LIST "/jdy/v2/bd/customer"

PG_FUNCTION_INFO_V1(jdy_check);
PG_FUNCTION_INFO_V1(jdy_fetch);
PG_FUNCTION_INFO_V1(jdy_decrypt);

typedef struct Report
{
	ReturnSetInfo *result;
	const Endpoint *endpoint;
	MemoryContext context;
} Report;

static void report(Report *to, const char *step, bool ok, const char *detail);
static bool check_reach(Report *to);
static bool check_call(Report *to, Client *client);
static void check_account(Report *to, Client *client);
static void add_params(Call *call, Jsonb *params);

Datum
jdy_check(PG_FUNCTION_ARGS)
{
	Report		to;
	Client	   *client;

	InitMaterializedSRF(fcinfo, 0);
	to.result = (ReturnSetInfo *) fcinfo->resultinfo;
	to.context = AllocSetContextCreate(CurrentMemoryContext, "jdysync check", ALLOCSET_DEFAULT_SIZES);
	to.endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	jdy_endpoint_require_complete(to.endpoint);
	report(&to, "options", true, psprintf("auth %s, %s", jdy_auth_name(to.endpoint->auth), to.endpoint->url));

	if (!check_reach(&to))
		return (Datum) 0;
	client = jdy_client_open(to.endpoint, 1, false, to.context, NULL, NULL);
	if (check_call(&to, client))
		check_account(&to, client);
	jdy_client_close(client);
	MemoryContextDelete(to.context);
	return (Datum) 0;
}

Datum
jdy_fetch(PG_FUNCTION_ARGS)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	const Endpoint *endpoint;
	const char *method = NULL;
	char	   *asked;
	Client	   *client;
	Call	   *call;
	Row			row = {0};
	Jsonb	   *answer = NULL;
	const char *problem = NULL;
	MemoryContext context;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server, path and method must be given")));
	asked = text_to_cstring(PG_GETARG_TEXT_PP(3));
	for (int i = 0; i < lengthof(methods); i++)
		if (pg_strcasecmp(asked, methods[i]) == 0)
			method = methods[i];
	if (method == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown HTTP method \"%s\"", asked),
				 errhint("GET, POST, PUT, PATCH or DELETE.")));

	endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	jdy_endpoint_require_complete(endpoint);
	context = AllocSetContextCreate(CurrentMemoryContext, "jdysync fetch", ALLOCSET_DEFAULT_SIZES);
	client = jdy_client_open(endpoint, 1, false, context, NULL, NULL);
	call = jdy_call_create(client, CALL_OTHER, LANE_TAIL, method, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(2))
		add_params(call, PG_GETARG_JSONB_P(2));
	if (!PG_ARGISNULL(4))
	{
		Jsonb	   *body = PG_GETARG_JSONB_P(4);

		call->body = JsonbToCString(NULL, &body->root, VARSIZE(body));
	}
	call = jdy_client_run(client, call);

	/* The service's own complaints are an answer too; trouble on the way is not. */
	if (call->reply != NULL && call->reply->failure == HTTP_COMPLETE && call->reply->status / 100 == 2)
	{
		row.text = call->reply->body;
		row.length = (int) call->reply->body_length;
		answer = jdy_row_jsonb(&row, &problem);
	}
	if (answer == NULL && call->outcome == OUTCOME_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_JSON_TEXT),
				 errmsg("the reply cannot be held as jsonb"),
				 errdetail_internal("%s.", problem)));
	if (answer == NULL)
		jdy_call_raise(call);
	jdy_client_persist_now(client);
	jdy_client_close(client);
	PG_RETURN_JSONB_P(answer);
}

Datum
jdy_decrypt(PG_FUNCTION_ARGS)
{
	const Endpoint *endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	char	   *plain;

	if (endpoint->client_secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("user mapping has no client_secret"),
				 errdetail("Sensitive fields are encrypted with it."),
				 errhint("ALTER USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (ADD client_secret '…').",
						 quote_identifier(endpoint->server_name))));
	plain = jdy_kingdee_decrypt_text(endpoint->client_secret, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (plain == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	PG_RETURN_TEXT_P(cstring_to_text(plain));
}

static void
report(Report *to, const char *step, bool ok, const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, detail == NULL};

	values[0] = CStringGetTextDatum(step);
	values[1] = BoolGetDatum(ok);
	values[2] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	tuplestore_putvalues(to->result->setResult, to->result->setDesc, values, nulls);
}

/* Name, connection, TLS and clock: any reply will do. */
static bool
check_reach(Report *to)
{
	const Endpoint *endpoint = to->endpoint;
	HttpPool   *pool = jdy_http_open(endpoint, 1, to->context);
	HttpRequest request = {.method = "GET",.url = psprintf("%s/", endpoint->url)};
	HttpReply  *reply;
	bool		tls = strncmp(endpoint->url, "https:", 6) == 0;
	bool		reached;

	jdy_http_start(pool, &request);
	while ((reply = jdy_http_receive(pool, 1000)) == NULL)
		;
	reached = reply->status != 0;
	report(to, "name", reply->failure != HTTP_RESOLVE,
		   reply->failure == HTTP_RESOLVE ? reply->error : endpoint->host);
	if (reached || (reply->failure != HTTP_RESOLVE))
		report(to, tls ? "connection and TLS" : "connection", reached,
			   reached ? psprintf("answers in %lld ms", (long long) (reply->elapsed_us / 1000)) : reply->error);
	if (reached && reply->date != 0)
	{
		int64		difference = reply->date - GetCurrentTimestamp();

		/* A wrong clock is corrected for, so it is worth telling but no failure. */
		report(to, "clock", true, Abs(difference) < 2 * USECS_PER_SEC ? "as the service's" :
			   psprintf("%lld s %s the service's%s", (long long) (Abs(difference) / USECS_PER_SEC),
						difference > 0 ? "behind" : "ahead of",
						Abs(difference) > CLOCK_TOLERANCE_US ? "; jdysync corrects for it, but set this machine's clock" : ""));
	}
	jdy_http_release(pool, reply);
	jdy_http_close(pool);
	return reached;
}

/* For a service we know: sign in and ask for one row.  Else what was reached is all there is to try. */
static bool
check_call(Report *to, Client *client)
{
	Call	   *call;

	if (to->endpoint->auth != AUTH_KINGDEE)
		return true;
	call = jdy_call_create(client, CALL_LIST, LANE_TAIL, "GET", CHECK_LIST);
	jdy_call_param(call, "page", "1");
	jdy_call_param(call, "page_size", "1");
	call = jdy_client_run(client, call);
	if (call->outcome != OUTCOME_OK)
	{
		report(to, ((PrivateCall *) call)->step == SIGN_IN_AUTHORISE ? "signature and authorisation" :
			   ((PrivateCall *) call)->step == SIGN_IN_TOKEN ? "token" : "signed call", false,
			   jdy_call_problem(call));
		jdy_client_persist_now(client);
		return false;
	}
	report(to, "signature and authorisation", true, NULL);
	report(to, "token", true, psprintf("valid until %s", timestamptz_to_str(jdy_client_session(client)->token_expires)));
	report(to, "signed call", true, CHECK_LIST);
	jdy_client_persist_now(client);
	return true;
}

static void
check_account(Report *to, Client *client)
{
	const Session *session = jdy_client_session(client);
	int			left = jdy_client_calls_left(client);

	if (session != NULL)
		report(to, "account", true, session->account_name[0] != '\0' ?
			   psprintf("%s (%s)", session->account_name, session->account_id) : session->account_id);
	report(to, "calls left", true, left < 0 ? "no limit set" :
		   psprintf("%d of %d a minute", left, to->endpoint->calls_per_minute));
	if (session != NULL && session->licence_expires_ms > 0)
	{
		int64		days = (session->licence_expires_ms / 1000 - (int64) timestamptz_to_time_t(GetCurrentTimestamp())) / SECS_PER_DAY;

		report(to, "licence", days >= 0, days < 0 ? "it has expired" :
			   psprintf("%lld days left%s", (long long) days, days <= LICENCE_WARNING_DAYS ? ": renew it" : ""));
	}
}

static void
add_params(Call *call, Jsonb *params)
{
	JsonbIterator *it = JsonbIteratorInit(&params->root);
	JsonbValue	key;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(params))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("params must be a JSON object"),
				 errhint("Such as '{\"page\": 1}'.")));
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		char	   *name;
		char	   *value;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		value = jdy_jsonb_text(params, name);
		jdy_call_param(call, name, value ? value : "");
	}
}
