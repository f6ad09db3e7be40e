/*-------------------------------------------------------------------------
 * verdict.c
 *		What to do with a reply: use it, try again, sign in again, or stop.
 *
 * The service reports trouble in three layers: the transport (a cut body), the
 * gateway (HTTP 519 with codes of its own) and the business API (HTTP 200 with
 * errcode > 0).  Callers should not know that: they ask for a verdict.  The table
 * is the policy; a new code is a new row, never a new branch.
 *
 * One code may mean two things: 1030002006 is "wrong format" of a field, but on
 * the token call it says that the app secret was rotated.  So a row may be for
 * some kinds of call only, and it may ask for more than a status and a code.
 *
 * Pure: no SPI, no clock, no allocation, so it is tested from SQL alone.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "verdict.h"

/* Kinds of call that a row is for. */
#define TOKEN	(1 << CALL_TOKEN)
#define LIST	(1 << CALL_LIST)
#define DETAIL	(1 << CALL_DETAIL)
#define PUSH	(1 << CALL_PUSH)
#define OTHER	(1 << CALL_OTHER)
#define ANY		(TOKEN | LIST | DETAIL | PUSH | OTHER)

/* What a row may ask for besides kind, status and errcode; all of its bits must hold. */
#define ROUTER		0x01		/* the request carried the router header */
#define NO_ROUTE	0x02		/* the body says that there is no route */
#define NO_RECORD	0x04		/* success without a record in it */
#define MALFORMED	0x08		/* the body is not what was asked for */
#define CUSTOMER	0x10		/* errcode says that the customer's data is to blame */
#define SINGLE		0x20		/* a detail, or a push of one record */
#define WELL_FORMED	0x40		/* the service itself says so, not some web server's page */
#define DENIED		0x80		/* the body says that it is no success */

typedef struct Rule
{
	int			kinds;
	HttpFailure failure;		/* HTTP_COMPLETE: there is a whole reply */
	int			status_from;	/* 0 to 0 = any */
	int			status_to;
	int64		errcode_from;	/* 0 to 0 = any */
	int64		errcode_to;
	int			needs;
	Verdict		verdict;
	const char *reason;			/* constant text, for logs and alerts */
} Rule;

#define FAILURE(kinds, failure, verdict, reason) \
	{kinds, failure, 0, 0, 0, 0, 0, verdict, reason}
#define REPLY(kinds, ...) \
	{kinds, HTTP_COMPLETE, __VA_ARGS__}

#define ANY_STATUS	0, 0
#define ANY_CODE	0, 0
#define SOME_CODE	1, PG_INT64_MAX

/*
 * First match wins.  Gateway codes are 4001-4012 and 5000-5007 with HTTP 519;
 * business codes have ten digits AABBCCDEEE, D = 3 when only the customer can
 * mend it; 400-504 as errcode are the gateway's standard codes.  The Qeasy platform's
 * have five digits, an HTTP status and two more.
 */
static const Rule rules[] = {
	/* The transport. */
	FAILURE(ANY, HTTP_FORBIDDEN_ADDRESS, VERDICT_STOP, "the host's address may not be called"),
	FAILURE(DETAIL, HTTP_TOO_LARGE, VERDICT_SET_ASIDE, "the reply is too large"),
	FAILURE(PUSH, HTTP_TOO_LARGE, VERDICT_RETRY, "the reply is too large"),
	FAILURE(ANY, HTTP_TOO_LARGE, VERDICT_STOP, "the reply is too large"),
	FAILURE(ANY, HTTP_RESOLVE, VERDICT_RETRY, "the host name could not be resolved"),
	FAILURE(ANY, HTTP_CONNECT, VERDICT_RETRY, "the host could not be reached"),
	FAILURE(ANY, HTTP_TLS, VERDICT_RETRY, "the TLS handshake failed"),
	FAILURE(ANY, HTTP_TIMEOUT, VERDICT_RETRY, "no reply in time"),
	FAILURE(ANY, HTTP_BROKEN, VERDICT_RETRY, "the connection broke"),
	FAILURE(ANY, HTTP_OTHER, VERDICT_RETRY, "the transfer failed"),

	/* Limits, clock, credentials: whatever the call was for. */
	REPLY(ANY, 429, 429, ANY_CODE, 0, VERDICT_WAIT, "call budget exceeded"),
	REPLY(ANY, ANY_STATUS, 429, 429, 0, VERDICT_WAIT, "call budget exceeded"),
	REPLY(ANY, ANY_STATUS, 42901, 42999, 0, VERDICT_WAIT, "call budget exceeded"),
	REPLY(PUSH, ANY_STATUS, 130101, 130101, 0, VERDICT_WAIT, "call budget exceeded"),	/* DingTalk */
	REPLY(PUSH, ANY_STATUS, 45009, 45009, 0, VERDICT_WAIT, "call budget exceeded"), /* WeCom */
	REPLY(PUSH, ANY_STATUS, 11232, 11232, 0, VERDICT_WAIT, "call budget exceeded"), /* Feishu */
	REPLY(ANY, 519, 519, 4006, 4006, 0, VERDICT_FIX_CLOCK, "request time refused"),
	REPLY(TOKEN, ANY_STATUS, 1030002006, 1030002006, 0, VERDICT_NEW_AUTHORISATION, "app secret rotated"),
	REPLY(TOKEN, ANY_STATUS, 1020002008, 1020002008, 0, VERDICT_NEW_AUTHORISATION, "authorisation refused"),
	REPLY(LIST | DETAIL | PUSH | OTHER, 519, 519, 4010, 4011, 0, VERDICT_NEW_TOKEN, "access token refused"),
	REPLY(LIST | DETAIL | PUSH | OTHER, 401, 401, ANY_CODE, 0, VERDICT_NEW_TOKEN, "access token refused"),
	REPLY(LIST | DETAIL | PUSH | OTHER, ANY_STATUS, 401, 401, 0, VERDICT_NEW_TOKEN, "access token refused"),
	REPLY(LIST | DETAIL | PUSH | OTHER, ANY_STATUS, 40101, 40199, 0, VERDICT_NEW_TOKEN, "access token refused"),
	REPLY(LIST | DETAIL | PUSH | OTHER, ANY_STATUS, 1020002008, 1020002008, 0, VERDICT_NEW_TOKEN, "authorisation refused"),

	/* The tenant was moved: the router header sends calls to where it no longer is. */
	REPLY(ANY, 502, 502, ANY_CODE, ROUTER, VERDICT_NEW_AUTHORISATION, "no such tenant behind the router"),
	REPLY(ANY, ANY_STATUS, ANY_CODE, ROUTER | NO_ROUTE, VERDICT_NEW_AUTHORISATION, "no such tenant behind the router"),
	REPLY(ANY, 519, 519, 5001, 5001, ROUTER, VERDICT_NEW_AUTHORISATION, "no such tenant behind the router"),
	REPLY(ANY, ANY_STATUS, ANY_CODE, NO_ROUTE, VERDICT_STOP, "the gateway has no route for the call"),

	/* The gateway and the servers behind it. */
	REPLY(ANY, 519, 519, 5000, 5000, 0, VERDICT_RETRY, "the gateway failed"),
	REPLY(ANY, 519, 519, 5003, 5007, 0, VERDICT_RETRY, "the gateway is overloaded or the service is away"),
	REPLY(ANY, 519, 519, SOME_CODE, 0, VERDICT_STOP, "the gateway refused the call"),
	REPLY(ANY, 500, 599, ANY_CODE, 0, VERDICT_RETRY, "the service failed"),
	REPLY(ANY, ANY_STATUS, 1000002001, 1000002001, 0, VERDICT_RETRY, "the service failed"),
	REPLY(ANY, ANY_STATUS, 500, 504, 0, VERDICT_RETRY, "the service failed"),
	REPLY(ANY, 408, 408, ANY_CODE, 0, VERDICT_RETRY, "the service waited too long for the request"),

	/* One record. */
	REPLY(DETAIL, ANY_STATUS, 1030002003, 1030002003, 0, VERDICT_GONE, "the record does not exist"),
	REPLY(DETAIL, ANY_STATUS, ANY_CODE, NO_RECORD, VERDICT_GONE, "the record does not exist"),
	REPLY(DETAIL, 404, 404, ANY_CODE, WELL_FORMED, VERDICT_GONE, "the record does not exist"),
	REPLY(DETAIL | PUSH, ANY_STATUS, SOME_CODE, SINGLE | CUSTOMER, VERDICT_SET_ASIDE, "the customer's data must be mended"),

	/* Refusals. */
	REPLY(PUSH, 400, 499, ANY_CODE, 0, VERDICT_REFUSED, "the request was refused"),
	REPLY(PUSH, ANY_STATUS, SOME_CODE, 0, VERDICT_REFUSED, "the service reported an error"),
	REPLY(PUSH, 200, 299, ANY_CODE, DENIED, VERDICT_REFUSED, "the service reported an error"),
	REPLY(OTHER, 200, 299, SOME_CODE, 0, VERDICT_USE, "the service reported an error"),
	REPLY(ANY, ANY_STATUS, SOME_CODE, 0, VERDICT_STOP, "the service reported an error"),
	REPLY(ANY, 300, 399, ANY_CODE, 0, VERDICT_STOP, "the service answered with a redirect"),
	REPLY(ANY, 400, 499, ANY_CODE, 0, VERDICT_STOP, "the request was refused"),

	/* Success in name is not enough: the body must be what was asked for. */
	REPLY(ANY, ANY_STATUS, ANY_CODE, MALFORMED, VERDICT_RETRY, "the reply is not what was asked for"),
	REPLY(ANY, 200, 299, ANY_CODE, 0, VERDICT_USE, "fine"),
	REPLY(ANY, ANY_STATUS, ANY_CODE, 0, VERDICT_RETRY, "the reply is not what was asked for"),
};

/* In the order of Verdict. */
static const char *const verdict_names[] = {
	"use", "fix clock", "new token", "new authorisation", "wait", "retry",
	"gone", "set aside", "refused", "stop",
};

static int	conditions_of(CallKind kind, const ReplyFacts *facts);
static bool customer_can_mend(int64 errcode);

Verdict
jdy_judge(CallKind kind, const ReplyFacts *facts, const char **reason)
{
	int			holds = conditions_of(kind, facts);
	int64		errcode = facts->errcode < 0 ? PG_INT64_MAX : facts->errcode;
	const Rule *rule;

	for (rule = rules; rule < rules + lengthof(rules) - 1; rule++)
	{
		if ((rule->kinds & (1 << kind)) == 0 || rule->failure != facts->failure)
			continue;
		if (rule->status_to != 0 &&
			(facts->http_status < rule->status_from || facts->http_status > rule->status_to))
			continue;
		if (rule->errcode_to != 0 &&
			(errcode < rule->errcode_from || errcode > rule->errcode_to))
			continue;
		if ((rule->needs & holds) == rule->needs)
			break;
	}

	/* The last row is for whatever no other row knows. */
	*reason = rule->reason;
	return rule->verdict;
}

const char *
jdy_verdict_name(Verdict verdict)
{
	StaticAssertStmt(lengthof(verdict_names) == VERDICT_STOP + 1, "a verdict has no name");
	return verdict_names[verdict];
}

static int
conditions_of(CallKind kind, const ReplyFacts *facts)
{
	int			holds = 0;

	if (facts->router_sent)
		holds |= ROUTER;
	if (facts->no_route)
		holds |= NO_ROUTE;
	if (facts->no_record)
		holds |= NO_RECORD;
	holds |= facts->well_formed ? WELL_FORMED : MALFORMED;
	if (facts->denied)
		holds |= DENIED;
	if (customer_can_mend(facts->errcode))
		holds |= CUSTOMER;
	if (kind == CALL_DETAIL || !facts->batch)
		holds |= SINGLE;
	return holds;
}

/* Ten digits AABBCCDEEE with D = 3: neither the operator nor the developer can mend it. */
static bool
customer_can_mend(int64 errcode)
{
	return errcode >= INT64CONST(1000000000) && errcode <= INT64CONST(9999999999) &&
		errcode / 1000 % 10 == 3;
}
