/*-------------------------------------------------------------------------
 * request.c
 *		A call as a request: url, headers, signature.
 *
 * Nonce, timestamp and token are fresh at each attempt, so everything is built
 * anew each time.  The path is appended to the server's url behind exactly one
 * slash and percent-encoded whole, so that no path can change the host or smuggle
 * in a query.  The query goes out in the order in which it is signed.  A webhook's
 * url is the user mapping's (webhook.c), and a secret as a whole.
 *
 * Called by client.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "jdysync.h"
#include "kingdee.h"
#include "lib/stringinfo.h"
#include "percent.h"
#include "utils/timestamp.h"
#include "webhook.h"

#define MAX_HEADERS 14

static char *full_path(const Endpoint *endpoint, const char *path);
static char *with_path(const char *base, const char *path);
static const char *base_path(const Endpoint *endpoint);
static const List *wire_params(const PrivateCall *call);
static void append_query(StringInfo url, const List *params);
static void add_header(HttpRequest *request, const char *name, const char *value);
static void sign_kingdee(PrivateCall *call, const Session *session, TimestampTz server_time, HttpRequest *request);
static void add_authorization(const Endpoint *endpoint, const Session *session, HttpRequest *request);
static bool may_show(const char *name);
static bool ends_with(const char *name, const char *end);

void
jdy_request_build(PrivateCall *call, const Session *session, TimestampTz server_time, HttpRequest *request)
{
	const Endpoint *endpoint = call->endpoint;
	StringInfoData url;

	memset(request, 0, sizeof(*request));
	request->method = call->call.method;
	request->headers = palloc(MAX_HEADERS * sizeof(HttpHeader));
	request->body = call->call.body;
	if (endpoint->auth == AUTH_WEBHOOK)
	{
		/* It is read until the call is answered, longer than the rest of the request. */
		MemoryContext caller = MemoryContextSwitchTo(call->call.context);

		request->body = jdy_webhook_body(endpoint, call->call.body, call->started_at);
		MemoryContextSwitchTo(caller);
	}
	request->body_length = request->body ? strlen(request->body) : 0;
	request->owner = call;

	initStringInfo(&url);
	appendBinaryStringInfo(&url, endpoint->url, base_path(endpoint) - endpoint->url);
	appendStringInfoString(&url, full_path(call->endpoint, call->call.path));
	if (endpoint->auth == AUTH_WEBHOOK)
		appendStringInfoString(&url, jdy_webhook_query(endpoint, call->started_at));
	append_query(&url, wire_params(call));
	request->url = url.data;

	if (call->call.body != NULL || endpoint->auth == AUTH_KINGDEE)
		add_header(request, "Content-Type", "application/json");
	if (call->call.idempotency_key != NULL)
		add_header(request, "Idempotency-Key", call->call.idempotency_key);
	if (endpoint->auth == AUTH_KINGDEE)
		sign_kingdee(call, session, server_time, request);
	else if (call->step == NOT_SIGN_IN)
		add_authorization(endpoint, session, request);
}

char *
jdy_request_masked_url(const PrivateCall *call)
{
	StringInfoData url;
	ListCell   *cell;
	char		separator;

	initStringInfo(&url);
	appendStringInfoString(&url, jdy_call_url(call->endpoint, call->call.path));
	separator = strchr(url.data, '?') != NULL ? '&' : '?';
	foreach(cell, wire_params(call))
	{
		CallParam  *param = lfirst(cell);

		if (param->name[0] == '\0')
			continue;
		appendStringInfoChar(&url, separator);
		appendStringInfoString(&url, jdy_percent_encode(param->name, false));
		appendStringInfoChar(&url, '=');
		appendStringInfoString(&url, may_show(param->name) ? jdy_percent_encode(param->value, false) : "***");
		separator = '&';
	}
	return url.data;
}

char *
jdy_call_url(const Endpoint *endpoint, const char *path)
{
	int			length = (int) (base_path(endpoint) - endpoint->url);

	if (endpoint->auth != AUTH_WEBHOOK)
		return with_path(endpoint->url, path);
	return psprintf("%.*s%s%s", length, endpoint->url,
					endpoint->path != NULL ? psprintf("%s/***", base_path(endpoint)) : full_path(endpoint, path),
					endpoint->query != NULL || endpoint->secret != NULL ? "?***" : "");
}

/* Path of the server's url and of the call, as on the wire. */
static char *
full_path(const Endpoint *endpoint, const char *path)
{
	char	   *hook = endpoint->auth == AUTH_WEBHOOK ? jdy_webhook_path(endpoint) : NULL;

	if (hook != NULL)
		return psprintf("%s/%s", base_path(endpoint), hook);
	return with_path(base_path(endpoint), path);
}

static char *
with_path(const char *base, const char *path)
{
	StringInfoData joined;

	while (*path == '/')
		path++;
	initStringInfo(&joined);
	appendStringInfoString(&joined, base);
	appendStringInfoChar(&joined, '/');
	appendStringInfoString(&joined, jdy_percent_encode(path, true));
	return joined.data;
}

/* What follows scheme, host and port in the server's url; it has no slash at its end. */
static const char *
base_path(const Endpoint *endpoint)
{
	const char *authority = strstr(endpoint->url, "://") + 3;

	return authority + strcspn(authority, "/");
}

static const List *
wire_params(const PrivateCall *call)
{
	if (call->endpoint->auth == AUTH_KINGDEE)
		return jdy_kingdee_sorted(call->call.params);
	return call->call.params;
}

static void
append_query(StringInfo url, const List *params)
{
	ListCell   *cell;
	char		separator = strchr(url->data, '?') != NULL ? '&' : '?';

	foreach(cell, params)
	{
		CallParam  *param = lfirst(cell);

		if (param->name[0] == '\0')
			continue;
		appendStringInfoChar(url, separator);
		appendStringInfoString(url, jdy_percent_encode(param->name, false));
		appendStringInfoChar(url, '=');
		appendStringInfoString(url, jdy_percent_encode(param->value, false));
		separator = '&';
	}
}

static void
add_header(HttpRequest *request, const char *name, const char *value)
{
	HttpHeader *header = unconstify(HttpHeader *, &request->headers[request->nheaders]);

	if (request->nheaders == MAX_HEADERS)
		elog(ERROR, "too many headers");

	/* A line break would begin another header. */
	if (strpbrk(value, "\r\n") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("a header's value has a line break"),
				 errdetail("Header %s cannot be sent.", name),
				 errhint("Check the options of the user mapping.")));
	header->name = name;
	header->value = value;
	request->nheaders++;
}

static void
sign_kingdee(PrivateCall *call, const Session *session, TimestampTz server_time, HttpRequest *request)
{
	const Endpoint *endpoint = call->endpoint;
	char	   *nonce = jdy_kingdee_nonce();
	char	   *timestamp = psprintf(INT64_FORMAT,
									 server_time / 1000 +
									 (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000);

	add_header(request, "X-Api-ClientID", endpoint->client_id);
	add_header(request, "X-Api-Auth-Version", "2.0");
	add_header(request, "X-Api-TimeStamp", timestamp);
	add_header(request, "X-Api-SignHeaders", "X-Api-TimeStamp,X-Api-Nonce");
	add_header(request, "X-Api-Nonce", nonce);
	add_header(request, "X-Api-Signature",
			   jdy_kingdee_signature(endpoint->client_secret, call->call.method, full_path(call->endpoint, call->call.path),
									 call->call.params, nonce, timestamp));
	call->router_sent = call->step == NOT_SIGN_IN && session->domain[0] != '\0';
	if (call->step == NOT_SIGN_IN)
		add_header(request, "app-token", pstrdup(session->token));
	if (call->router_sent)
		add_header(request, "X-GW-Router-Addr", pstrdup(session->domain));
}

static void
add_authorization(const Endpoint *endpoint, const Session *session, HttpRequest *request)
{
	if (endpoint->auth == AUTH_BEARER)
		add_header(request, "Authorization", psprintf("Bearer %s", endpoint->token));
	else if (endpoint->auth == AUTH_QEASY)
		add_header(request, "Authorization", psprintf("Bearer %s", session->token));
	else if (endpoint->auth == AUTH_BASIC)
		add_header(request, "Authorization",
				   psprintf("Basic %s", jdy_base64(psprintf("%s:%s", endpoint->user, endpoint->password))));
}

/* Times and paging say how far a run is; anything else may be somebody's data or a secret. */
static bool
may_show(const char *name)
{
	static const char *const names[] = {"page", "page_size", "pagesize", "pageSize"};
	static const char *const ends[] = {"_time", "_date", "_modified"};
	int			i;

	for (i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	for (i = 0; i < lengthof(ends); i++)
	{
		if (ends_with(name, ends[i]))
			return true;
	}
	return false;
}

static bool
ends_with(const char *name, const char *end)
{
	size_t		length = strlen(name);
	size_t		end_length = strlen(end);

	return length >= end_length && strcmp(name + length - end_length, end) == 0;
}
