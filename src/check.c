/*-------------------------------------------------------------------------
 * check.c
 *		A server tried by hand: jdy_check, jdy_fetch, jdy_decrypt.
 *
 * They call as the current user with his own mapping, in his own backend and
 * transaction, through the same client, budget and session as the runs do, so
 * what works here works there.  jdy_check raises no error for what it is there to
 * find: the step that fails is its last row.
 *
 * SQL functions only; the right to call them is granted, and the server's
 * USAGE is asked for when it is loaded.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "call.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kingdee.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "options.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* A list that every account has, asked for one row, shows that calls are accepted. */
#define PROBE_PATH "/jdy/v2/bd/customer"

PG_FUNCTION_INFO_V1(jdy_check);
PG_FUNCTION_INFO_V1(jdy_fetch);
PG_FUNCTION_INFO_V1(jdy_decrypt);

static bool check_mapping(ReturnSetInfo *rows, const Endpoint *endpoint);
static Call *probe(Client *client, const Endpoint *endpoint);
static bool check_connection(ReturnSetInfo *rows, const PrivateCall *call);
static void check_plain(ReturnSetInfo *rows, const PrivateCall *call);
static void check_kingdee(ReturnSetInfo *rows, Client *client, const Endpoint *endpoint, const PrivateCall *call);
static bool check_clock(ReturnSetInfo *rows, const Session *session, const PrivateCall *call);
static void check_licence(ReturnSetInfo *rows, Client *client);
static bool step(ReturnSetInfo *rows, const char *name, bool ok, const char *detail);
static const char *time_text(TimestampTz at);
static void add_params(Call *call, Jsonb *params);
static char *scalar_text(const JsonbValue *value);
static const char *checked_method(const char *method);
static char *to_utf8(char *text);

Datum
jdy_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	Endpoint   *endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	MemoryContext context;
	Client	   *client;
	PrivateCall *call;

	InitMaterializedSRF(fcinfo, 0);
	if (!check_mapping(rows, endpoint))
		return (Datum) 0;

	/* What fails is to be seen, not to be overcome. */
	endpoint->max_attempts = 1;
	context = AllocSetContextCreate(CurrentMemoryContext, "jdysync check", ALLOCSET_DEFAULT_SIZES);
	client = jdy_client_open(endpoint, 1, false, context, NULL, NULL);
	call = (PrivateCall *) probe(client, endpoint);
	if (check_connection(rows, call))
	{
		if (endpoint->auth == AUTH_KINGDEE)
			check_kingdee(rows, client, endpoint, call);
		else
			check_plain(rows, call);
	}
	SPI_connect();
	jdy_client_persist(client);
	SPI_finish();
	MemoryContextDelete(context);
	return (Datum) 0;
}

Datum
jdy_fetch(PG_FUNCTION_ARGS)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jdysync fetch", ALLOCSET_DEFAULT_SIZES);
	Endpoint   *endpoint;
	Client	   *client;
	Call	   *call;
	char	   *body;
	Datum		result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server and path must not be null")));

	endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	client = jdy_client_open(endpoint, 1, false, context, NULL, NULL);
	call = jdy_call_create(client, CALL_OTHER, LANE_TAIL,
						   checked_method(PG_ARGISNULL(3) ? "GET" : text_to_cstring(PG_GETARG_TEXT_PP(3))),
						   to_utf8(text_to_cstring(PG_GETARG_TEXT_PP(1))));
	if (!PG_ARGISNULL(2))
		add_params(call, PG_GETARG_JSONB_P(2));
	if (!PG_ARGISNULL(4))
	{
		Jsonb	   *json = PG_GETARG_JSONB_P(4);

		call->body = to_utf8(JsonbToCString(NULL, &json->root, VARSIZE(json)));
	}

	call = jdy_client_run(client, call);
	if (call->outcome != OUTCOME_OK)
		jdy_call_raise(call);
	body = pg_any_to_server(call->reply->body, call->reply->body_length, PG_UTF8);
	result = DirectFunctionCall1(jsonb_in, CStringGetDatum(body));
	MemoryContextDelete(context);
	return result;
}

Datum
jdy_decrypt(PG_FUNCTION_ARGS)
{
	Endpoint   *endpoint = jdy_endpoint_load(NameStr(*PG_GETARG_NAME(0)), GetUserId());
	char	   *plain;

	if (endpoint->client_secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("there is no client secret to decrypt with"),
				 errdetail("The user mapping for server \"%s\" has none.", endpoint->server_name),
				 errhint("ALTER USER MAPPING … OPTIONS (ADD client_secret '…').")));
	plain = jdy_kingdee_decrypt_text(endpoint->client_secret, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (plain == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	PG_RETURN_TEXT_P(cstring_to_text(plain));
}

/* The check of completeness raises an error, which touches nothing but memory: here it is a row. */
static bool
check_mapping(ReturnSetInfo *rows, const Endpoint *endpoint)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		jdy_endpoint_require_complete(endpoint);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ok = step(rows, "mapping", false,
				  psprintf("%s%s%s", error->message, error->detail ? ": " : "", error->detail ? error->detail : ""));
	}
	PG_END_TRY();
	if (ok)
		step(rows, "mapping", true, psprintf("auth %s at %s", jdy_auth_name(endpoint->auth), endpoint->host));
	return ok;
}

static Call *
probe(Client *client, const Endpoint *endpoint)
{
	Call	   *call;

	if (endpoint->auth == AUTH_KINGDEE)
	{
		call = jdy_call_create(client, CALL_LIST, LANE_TAIL, "GET", PROBE_PATH);
		jdy_call_param(call, "page", "1");
		jdy_call_param(call, "page_size", "1");
		call->parse = jdy_parse_any;
	}
	else
		call = jdy_call_create(client, CALL_OTHER, LANE_TAIL, "GET", "");
	return jdy_client_run(client, call);
}

static bool
check_connection(ReturnSetInfo *rows, const PrivateCall *call)
{
	if (call->failure != HTTP_COMPLETE)
		return step(rows, "connection", false, jdy_call_problem(&call->call));
	if (call->call.reply == NULL)
		return step(rows, "connection", true, "the service answers");
	return step(rows, "connection", true,
				psprintf("the service answers in %d ms%s", (int) Max(1, call->call.reply->elapsed_us / 1000),
						 strncmp(call->endpoint->url, "https:", 6) == 0 ? ", certificate verified" : ""));
}

/* Of an unknown service nothing more can be said than that it does not refuse us. */
static void
check_plain(ReturnSetInfo *rows, const PrivateCall *call)
{
	if (call->http_status == 401 || call->http_status == 403 || call->step != NOT_SIGN_IN)
		step(rows, "credentials", false, jdy_call_problem(&call->call));
	else
		step(rows, "credentials", true, psprintf("not refused (HTTP %d)", call->http_status));
}

static void
check_kingdee(ReturnSetInfo *rows, Client *client, const Endpoint *endpoint, const PrivateCall *call)
{
	const Session *session = jdy_client_session(client);
	const Call *public = &call->call;
	bool		ok = public->outcome == OUTCOME_OK;
	int			left;

	if (!check_clock(rows, session, call))
		return;
	if (!step(rows, "signature", !(call->http_status == 519 && public->errcode >= 4001 && public->errcode <= 4008),
			  ok ? "accepted" : jdy_call_problem(public)))
		return;
	if (!ok && call->step == SIGN_IN_AUTHORISE)
	{
		step(rows, "account", false, jdy_call_problem(public));
		return;
	}
	step(rows, "account", true,
		 session->account_id[0] == '\0' ? "authorised by the user mapping" :
		 psprintf("%s (%s)", session->account_name, session->account_id));
	if (!step(rows, "token", ok || call->step != SIGN_IN_TOKEN,
			  !ok && call->step == SIGN_IN_TOKEN ? jdy_call_problem(public) :
			  psprintf("valid until %s", time_text(session->token_expires))))
		return;
	if (!step(rows, "call", ok, ok ? "accepted" : jdy_call_problem(public)))
		return;

	left = jdy_client_calls_left(client);
	step(rows, "calls left", left != 0, left < 0 ? "no limit" :
		 psprintf("%d of %d in %g s", left, endpoint->calls_per_minute, endpoint->rate_window_ms / 1000.0));
	check_licence(rows, client);
}

static bool
check_clock(ReturnSetInfo *rows, const Session *session, const PrivateCall *call)
{
	double		seconds = session->clock_offset_us / 1000000.0;

	if (call->call.verdict == VERDICT_FIX_CLOCK)
		return step(rows, "clock", false, jdy_call_problem(&call->call));
	if (!session->clock_known)
		return step(rows, "clock", true, "the service does not tell its time");
	if (session->clock_offset_us == 0)
		return step(rows, "clock", true, "agrees with the service's");
	return step(rows, "clock", true,
				psprintf("%.0f s %s the service's; allowed for", fabs(seconds), seconds > 0 ? "behind" : "ahead of"));
}

static void
check_licence(ReturnSetInfo *rows, Client *client)
{
	TimestampTz expires = jdy_client_licence_ends(client);
	int64		days = (expires - GetCurrentTimestamp()) / USECS_PER_DAY;

	if (expires == 0)
		step(rows, "licence", true, "the service does not tell its end");
	else
		step(rows, "licence", expires > GetCurrentTimestamp(),
			 psprintf(INT64_FORMAT " days left, until %s", days, time_text(expires)));
}

/* Adds a row and returns its ok. */
static bool
step(ReturnSetInfo *rows, const char *name, bool ok, const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = CStringGetTextDatum(name);
	values[1] = BoolGetDatum(ok);
	values[2] = CStringGetTextDatum(detail);
	tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	return ok;
}

static const char *
time_text(TimestampTz at)
{
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(at)));
}

/* An object's members as parameters; arrays and objects in them as JSON text. */
static void
add_params(Call *call, Jsonb *params)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(params))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("params must be a JSON object"),
				 errhint("Write them as '{\"page\": 1}'.")));
	it = JsonbIteratorInit(&params->root);
	(void) JsonbIteratorNext(&it, &value, true);
	while ((token = JsonbIteratorNext(&it, &value, true)) == WJB_KEY)
	{
		char	   *name = pnstrdup(value.val.string.val, value.val.string.len);

		(void) JsonbIteratorNext(&it, &value, true);
		jdy_call_param(call, to_utf8(name), to_utf8(scalar_text(&value)));
	}
}

static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "";
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		default:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	}
}

static const char *
checked_method(const char *method)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	int			i;

	for (i = 0; i < lengthof(methods); i++)
	{
		if (pg_strcasecmp(method, methods[i]) == 0)
			return methods[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown HTTP method"),
			 errdetail("It is \"%s\".", method),
			 errhint("Use GET, POST, PUT, PATCH or DELETE.")));
	return NULL;				/* not reached */
}

static char *
to_utf8(char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}
