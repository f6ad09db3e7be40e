/*-------------------------------------------------------------------------
 * problem.c
 *		A failed call in words: for errors, for logs, for people.
 *
 * Whatever the service says may quote what it was sent, so its words are shown
 * only with every secret of ours replaced.
 *
 * Called by client.c, and through client.h by whoever gets a failed call back.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "row.h"
#include "scan.h"

#define MIN_SECRET_LENGTH 4		/* shorter ones would tear ordinary words apart */
#define MIN_PARAMETER_LENGTH 16 /* of a webhook's query: names of parameters are shorter */
#define MAX_SERVICE_TEXT 1000	/* bytes kept of the service's words */

/* What kind of error a failure is, and what to do.  First match wins. */
typedef struct Cause
{
	HttpFailure failure;
	int			status;			/* 0 = any */
	int64		errcode_from;	/* 0 to 0 = any */
	int64		errcode_to;
	int			sqlstate;
	const char *hint;			/* NULL: jdy_check */
} Cause;

static const Cause causes[] = {
	{HTTP_RESOLVE, 0, 0, 0, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
	"Check the server's url, and that this machine can resolve its host."},
	{HTTP_CONNECT, 0, 0, 0, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
	"Check the server's url, and that this machine can reach its host."},
	{HTTP_TLS, 0, 0, 0, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
	"Check the host's certificate and this machine's certificate authorities."},
	{HTTP_FORBIDDEN_ADDRESS, 0, 0, 0, ERRCODE_INSUFFICIENT_PRIVILEGE,
	"Loopback and private addresses can be called through servers of a superuser, or when jdysync.allowed_hosts lists the host by name."},
	{HTTP_TOO_LARGE, 0, 0, 0, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Raise the server's max_response."},
	{HTTP_TIMEOUT, 0, 0, 0, ERRCODE_CONNECTION_FAILURE, NULL},
	{HTTP_BROKEN, 0, 0, 0, ERRCODE_CONNECTION_FAILURE, NULL},
	{HTTP_OTHER, 0, 0, 0, ERRCODE_CONNECTION_FAILURE, NULL},
	{HTTP_COMPLETE, 0, 42901, 42999, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
	"Other programs may use the same account; lower the server's calls_per_minute."},
	{HTTP_COMPLETE, 0, 40101, 40199, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Check app_key and app_secret of the user mapping."},
	{HTTP_COMPLETE, 429, 0, 0, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
	"Other programs may use the same account; lower the server's calls_per_minute."},
	{HTTP_COMPLETE, 0, 429, 429, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
	"Other programs may use the same account; lower the server's calls_per_minute."},
	{HTTP_COMPLETE, 519, 4006, 4006, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Set this machine's clock."},
	{HTTP_COMPLETE, 519, 4002, 4008, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Check client_id and client_secret of the user mapping."},
	{HTTP_COMPLETE, 519, 4001, 4012, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, NULL},
	{HTTP_COMPLETE, 401, 0, 0, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Check the credentials in the user mapping."},
	{HTTP_COMPLETE, 403, 0, 0, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, NULL},
	{HTTP_COMPLETE, 0, 401, 401, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Check the credentials in the user mapping."},
	{HTTP_COMPLETE, 0, 1020002008, 1020002008, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	"Let the customer's administrator authorise the application again."},
};

static const Cause *cause_of(const PrivateCall *call);
static int	sqlstate_of(const PrivateCall *call, const Cause *cause);
static void append_facts(StringInfo text, const PrivateCall *call);
static const char *mask(const char *text, const char *secret);
static const char *mask_query(const char *query, const char *text);
static bool read_code(const Slice *value, int64 *code);
static const char *read_words(const Slice *value);

void
jdy_call_raise(const Call *public)
{
	const PrivateCall *call = (const PrivateCall *) public;
	const Cause *cause = cause_of(call);
	const char *hint = call->hint ? call->hint : cause ? cause->hint : NULL;
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfo(&detail, "%s %s on server \"%s\"", public->method, public->path, call->endpoint->server_name);
	append_facts(&detail, call);
	appendStringInfoChar(&detail, '.');

	ereport(ERROR,
			(errcode(sqlstate_of(call, cause)),
			 errmsg("call to the service failed: %s", public->reason),
			 errdetail_internal("%s", detail.data),
			 hint ? errhint("%s", hint) :
			 errhint("SELECT * FROM jdy_check('%s') tries each step on its own.", call->endpoint->server_name)));
}

char *
jdy_call_problem(const Call *public)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, public->reason);
	append_facts(&text, (const PrivateCall *) public);
	return text.data;
}

const char *
jdy_mask_secrets(const Endpoint *endpoint, const Session *session, const char *text)
{
	const char *secrets[] = {
		endpoint->client_secret, endpoint->app_secret, endpoint->token, endpoint->password,
		endpoint->path, endpoint->query, endpoint->secret, endpoint->body_secret,
		session ? session->app_secret : NULL, session ? session->token : NULL,
	};
	int			i;

	for (i = 0; i < lengthof(secrets); i++)
	{
		if (secrets[i] != NULL && strlen(secrets[i]) >= MIN_SECRET_LENGTH)
			text = mask(text, secrets[i]);
	}
	return mask_query(endpoint->query, text);
}

void
jdy_parse_any(Call *call, ReplyFacts *facts)
{
	enum
	{
		ERRCODE, CODE, FIRST_WORDS
	};
	ScanMember	members[] = {
		{"errcode", 7}, {"code", 4}, {"description", 11}, {"msg", 3}, {"message", 7},
	};
	JsonScan	scan;
	Slice		value;
	char		first;
	int			i;

	jdy_scan_begin(&scan, call->reply->body, call->reply->body_length);
	first = jdy_scan_peek(&scan);
	if ((first != '{' && first != '[') || !jdy_scan_value(&scan, &value, members, lengthof(members)))
		return;
	jdy_scan_peek(&scan);
	facts->well_formed = scan.at == scan.end;

	if (!read_code(&members[ERRCODE].value, &facts->errcode) &&
		read_code(&members[CODE].value, &facts->errcode) && facts->errcode == 200)
		facts->errcode = 0;
	for (i = FIRST_WORDS; i < lengthof(members) && call->service_text == NULL; i++)
		call->service_text = read_words(&members[i].value);
}

static const Cause *
cause_of(const PrivateCall *call)
{
	int			i;

	for (i = 0; i < lengthof(causes); i++)
	{
		const Cause *cause = &causes[i];

		if (cause->failure == call->failure &&
			(cause->status == 0 || cause->status == call->http_status) &&
			(cause->errcode_to == 0 ||
			 (call->call.errcode >= cause->errcode_from && call->call.errcode <= cause->errcode_to)))
			return cause;
	}
	return NULL;
}

static int
sqlstate_of(const PrivateCall *call, const Cause *cause)
{
	if (cause != NULL)
		return cause->sqlstate;

	/* Signing in failed though the reply was fine: nothing usable in it. */
	if (call->step != NOT_SIGN_IN)
		return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	if (call->call.verdict == VERDICT_RETRY)
		return ERRCODE_FDW_UNABLE_TO_CREATE_REPLY;
	return ERRCODE_FDW_ERROR;
}

/* " (HTTP 519, errcode 4008, attempt 2): the service's words". */
static void
append_facts(StringInfo text, const PrivateCall *call)
{
	char	   *before = " (";

	if (call->http_status != 0)
	{
		appendStringInfo(text, "%sHTTP %d", before, call->http_status);
		before = ", ";
	}
	if (call->call.errcode != 0)
	{
		appendStringInfo(text, "%serrcode " INT64_FORMAT, before, call->call.errcode);
		before = ", ";
	}
	if (call->call.attempt > 1)
	{
		appendStringInfo(text, "%sattempt %d", before, call->call.attempt);
		before = ", ";
	}
	if (before[0] == ',')
		appendStringInfoChar(text, ')');
	if (call->call.service_text != NULL && call->call.service_text[0] != '\0')
		appendStringInfo(text, ": %s", call->call.service_text);
	else if (call->transport_text != NULL)
		appendStringInfo(text, ": %s", call->transport_text);
}

static const char *
mask(const char *text, const char *secret)
{
	StringInfoData masked;
	const char *found = strstr(text, secret);

	if (found == NULL)
		return text;
	initStringInfo(&masked);
	for (; found != NULL; found = strstr(text, secret))
	{
		appendBinaryStringInfo(&masked, text, found - text);
		appendStringInfoString(&masked, "***");
		text = found + strlen(secret);
	}
	appendStringInfoString(&masked, text);
	return masked.data;
}

/* A webhook may quote a parameter of its url alone. */
static const char *
mask_query(const char *query, const char *text)
{
	while (query != NULL && *query != '\0')
	{
		size_t		length = strcspn(query, "=&");

		if (length >= MIN_PARAMETER_LENGTH)
			text = mask(text, pnstrdup(query, length));
		query += length + (query[length] != '\0');
	}
	return text;
}

/* Codes come as numbers or as strings of digits. */
static bool
read_code(const Slice *value, int64 *code)
{
	const char *digits = value->text;
	char	   *end;

	if (digits == NULL)
		return false;
	digits += *digits == '"';
	*code = strtoll(digits, &end, 10);
	return end != digits;
}

static const char *
read_words(const Slice *value)
{
	char	   *words = value->text != NULL && value->text[0] == '"' ? jdy_scalar_text(value) : NULL;

	if (words != NULL)
		words[pg_mbcliplen(words, strlen(words), MAX_SERVICE_TEXT)] = '\0';
	return words;
}
