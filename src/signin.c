/*-------------------------------------------------------------------------
 * signin.c
 *		Signing in: when, by whom, and what the replies say.
 *
 * Before a call can be signed there must be a session.  The one process that
 * has the session's lease makes the two calls, through the same pool, budget and
 * verdicts as any other; the rest wait until the session changes.
 *
 * push_app_authorize answers which accounts the customer has authorised, each
 * with its app key, app secret and router domain; kingdee_auth_token turns these
 * into a token.  The first has an envelope of its own ({"code":200,"msg":…}),
 * though its documents show the usual one: the page parser takes both.
 *
 * A renewal ahead of time is made only when it costs no waiting, and nothing is
 * lost when it fails.  Called by client.c and settle.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "kingdee.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "page.h"
#include "qeasy.h"
#include "row.h"
#include "scan.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define AUTHORISE_PATH "/jdyconnector/app_management/push_app_authorize"
#define TOKEN_PATH "/jdyconnector/app_management/kingdee_auth_token"
#define MAX_LISTED 10			/* accounts named in an error */
#define LOOK_AGAIN_US 10000000	/* at least this often, while anybody signs in */
#define TOKEN_WINDOW_US INT64CONST(60000000)	/* of the token endpoint */
#define TOKEN_LIFE_US (INT64CONST(24) * 3600 * 1000000)	/* when the service does not say */

typedef struct OfferedAuthorisation
{
	Authorisation offer;
	bool		valid;
} OfferedAuthorisation;

static bool cannot_authorise(Client *client);
static void begin_sign_in(Client *client, SignInStep step);
static bool keep_authorisation(Client *client, PrivateCall *call);
static bool keep_token(Client *client, PrivateCall *call);
static TimestampTz service_time(Client *client);
static void prepare(PrivateCall *call, SignInStep step, const Session *session);
static const Authorisation *choose(PrivateCall *call);
static void parse_authorisations(Call *public, ReplyFacts *facts);
static void parse_token(Call *public, ReplyFacts *facts);
static void parse_qeasy_token(Call *public, ReplyFacts *facts);
static ListPage *parse_envelope(Call *public, PageShape *shape, ReplyFacts *facts);
static void read_members(const Row *row, ScanMember *members, int nmembers);
static char *member_text(const ScanMember *member);
static int64 member_number(const ScanMember *member);
static void explain(PrivateCall *call, const char *reason, const char *hint, bool list);

#define MEMBER(name) {name, sizeof(name) - 1}

/*
 * True when there is a session to sign with.  Else a sign-in call has been made
 * ready, or another process is at it, or all waiting calls have failed.
 */
bool
jdy_sign_in_ready(Client *client)
{
	SessionNeed need = jdy_session_need(client->session, service_time(client));
	int64		wait;

	if (need == SESSION_READY)
	{
		jdy_client_join_account(client);
		return true;
	}
	if (need == SESSION_RENEW && jdy_monotonic_us() < client->renew_not_before)
		return true;

	if (!jdy_session_lease(client->session))
	{
		if (need == SESSION_RENEW)
			return true;

		/* The change that we wait for may have come before we began to wait. */
		jdy_session_prepare_to_wait();
		jdy_client_note_wait(client, CLIENT_WAITS_FOR_TOKEN, jdy_monotonic_us() + LOOK_AGAIN_US);
		if (!jdy_session_lease(client->session))
			return false;
	}

	/* Ours to do, unless another did it just before. */
	need = jdy_session_need(client->session, service_time(client));
	switch (need)
	{
		case SESSION_READY:
			jdy_session_unlease(client->session);
			jdy_client_join_account(client);
			return true;
		case SESSION_RENEW:
			jdy_client_join_account(client);
			wait = jdy_budget_take_token(client->budget);
			if (wait > 0)
			{
				client->renew_not_before = jdy_monotonic_us() + wait;
				jdy_session_unlease(client->session);
				return true;
			}
			begin_sign_in(client, SIGN_IN_TOKEN);
			client->sign_in->permitted = client->sign_in->ahead_of_time = true;
			break;
		case SESSION_TOKEN:
			jdy_client_join_account(client);
			begin_sign_in(client, SIGN_IN_TOKEN);
			break;
		case SESSION_AUTHORISATION:
			if (!cannot_authorise(client))
				begin_sign_in(client, SIGN_IN_AUTHORISE);
			break;
	}
	return false;
}

void
jdy_sign_in_start(Client *client)
{
	PrivateCall *call = client->sign_in;
	int64		now = jdy_monotonic_us();
	int64		wait;

	/* Says also that we are still at it. */
	(void) jdy_session_lease(client->session);
	jdy_client_note_wait(client, CLIENT_WAITS_FOR_TOKEN, now + LOOK_AGAIN_US);
	if (!client->sign_in_waits)
		return;

	wait = call->call.not_before_us - now;
	if (wait <= 0 && !call->permitted)
		wait = call->step == SIGN_IN_TOKEN ? jdy_budget_take_token(client->budget) :
			jdy_budget_take(client->budget, LANE_TAIL);
	if (wait > 0)
	{
		jdy_client_note_wait(client, CLIENT_WAITS_FOR_TOKEN, now + wait);
		return;
	}
	call->permitted = false;
	client->sign_in_waits = false;
	jdy_client_start(client, call);
}

/* After an authorisation the lease stays ours: the token call follows. */
void
jdy_sign_in_end(Client *client, PrivateCall *call, CallOutcome outcome)
{
	bool		kept = false;

	client->sign_in = NULL;
	if (outcome == OUTCOME_OK)
		kept = call->step == SIGN_IN_AUTHORISE ? keep_authorisation(client, call) : keep_token(client, call);
	if (!kept)
	{
		if (call->ahead_of_time)
			client->renew_not_before = jdy_monotonic_us() + TOKEN_WINDOW_US;
		else
			jdy_client_fail_waiting(client, call);
	}
	client->authorised = kept && call->step == SIGN_IN_AUTHORISE;
	if (!client->authorised)
		jdy_session_unlease(client->session);
	jdy_client_recycle(client, call);
}

/* A mapping that holds an authorisation which is out of date, and no means to get another. */
static bool
cannot_authorise(Client *client)
{
	PrivateCall cause;

	if (client->endpoint->outer_instance_id != NULL)
		return false;
	memset(&cause, 0, sizeof(cause));
	cause.step = SIGN_IN_AUTHORISE;
	cause.call.verdict = VERDICT_STOP;
	cause.call.reason = "the authorisation is out of date";
	cause.hint = "app_secret and domain of a user mapping die within a day; set outer_instance_id instead.";
	jdy_client_fail_waiting(client, &cause);
	jdy_session_unlease(client->session);
	return true;
}

static void
begin_sign_in(Client *client, SignInStep step)
{
	client->sign_in = jdy_client_new_call(client);
	client->sign_in_waits = true;
	prepare(client->sign_in, step, jdy_session_get(client->session));
}

static bool
keep_authorisation(Client *client, PrivateCall *call)
{
	const Authorisation *authorisation = choose(call);

	if (authorisation == NULL)
		return false;
	if (!jdy_session_authorised(client->session, authorisation))
	{
		call->call.reason = "the authorisation is longer than any known";
		return false;
	}
	jdy_client_join_account(client);
	return true;
}

static bool
keep_token(Client *client, PrivateCall *call)
{
	TimestampTz now = service_time(client);
	TimestampTz expires = call->token_expires > now ? call->token_expires :
		now + (call->token_life_us > 0 ? call->token_life_us : TOKEN_LIFE_US);

	if (!jdy_session_token(client->session, call->token, now, expires))
	{
		call->call.reason = "the token is longer than any known";
		return false;
	}
	return true;
}

/* By our clock and what is known of the service's. */
static TimestampTz
service_time(Client *client)
{
	return GetCurrentTimestamp() + jdy_session_get(client->session)->clock_offset_us;
}

static void
prepare(PrivateCall *call, SignInStep step, const Session *session)
{
	MemoryContext old = MemoryContextSwitchTo(call->home);

	call->step = step;
	call->call.kind = CALL_TOKEN;
	call->call.lane = LANE_TAIL;
	if (step == SIGN_IN_AUTHORISE)
	{
		call->call.method = "POST";
		call->call.path = AUTHORISE_PATH;
		call->call.parse = parse_authorisations;
		jdy_call_param(&call->call, "outerInstanceId", call->endpoint->outer_instance_id);
	}
	else if (call->endpoint->auth == AUTH_QEASY)
	{
		call->call.method = "POST";
		call->call.path = JDY_QEASY_TOKEN_PATH;
		call->call.body = jdy_qeasy_token_body(call->endpoint->app_key, call->endpoint->app_secret);
		call->call.parse = parse_qeasy_token;
	}
	else
	{
		call->call.method = "GET";
		call->call.path = TOKEN_PATH;
		call->call.parse = parse_token;
		jdy_call_param(&call->call, "app_key", session->app_key);
		jdy_call_param(&call->call, "app_signature",
					   jdy_kingdee_app_signature(session->app_key, session->app_secret));
	}
	MemoryContextSwitchTo(old);
}

static const Authorisation *
choose(PrivateCall *call)
{
	const char *wanted = call->endpoint->account_id;
	const Authorisation *chosen = NULL;
	bool		revoked = false;
	int			valid = 0;
	ListCell   *cell;

	foreach(cell, call->authorisations)
	{
		OfferedAuthorisation *offered = lfirst(cell);

		if (wanted != NULL && strcmp(offered->offer.account_id, wanted) != 0)
			continue;
		if (!offered->valid)
			revoked = true;
		else
		{
			chosen = &offered->offer;
			valid++;
		}
	}

	if (valid == 1)
		return chosen;
	if (valid > 1)
		explain(call, "several accounts are authorised",
				"Set account_id in the user mapping to one of them.", true);
	else if (revoked)
		explain(call, "the authorisation was revoked",
				"Let the customer's administrator enable the application again.", false);
	else if (wanted != NULL && call->authorisations != NIL)
		explain(call, "the account is not among those authorised",
				"Check account_id in the user mapping.", true);
	else
		explain(call, "no account is authorised",
				"Let the customer's administrator authorise the application, and check outer_instance_id in the user mapping.", false);
	return NULL;
}

static void
parse_authorisations(Call *public, ReplyFacts *facts)
{
	PrivateCall *call = (PrivateCall *) public;
	PageShape	shape = {list_make1("accountId")};
	ListPage   *page = parse_envelope(public, &shape, facts);
	int			i;

	call->authorisations = NIL;
	for (i = 0; i < page->nrows; i++)
	{
		enum
		{
			ID, NAME, KEY, SECRET, DOMAIN, STATUS, EXPIRES
		};
		ScanMember	members[] = {
			MEMBER("accountId"), MEMBER("accountName"), MEMBER("appKey"), MEMBER("appSecret"),
			MEMBER("domain"), MEMBER("status"), MEMBER("instanceExpiresTime"),
		};
		OfferedAuthorisation *offered = palloc0(sizeof(OfferedAuthorisation));

		read_members(&page->rows[i], members, lengthof(members));
		offered->offer.account_id = member_text(&members[ID]);
		offered->offer.account_name = member_text(&members[NAME]);
		offered->offer.app_key = member_text(&members[KEY]);
		offered->offer.app_secret = member_text(&members[SECRET]);
		offered->offer.domain = member_text(&members[DOMAIN]);
		offered->offer.licence_expires_ms = member_number(&members[EXPIRES]);
		offered->valid = member_number(&members[STATUS]) == 1;
		if (offered->valid && (offered->offer.app_key[0] == '\0' || offered->offer.app_secret[0] == '\0'))
			facts->well_formed = false;
		call->authorisations = lappend(call->authorisations, offered);
	}
}

static void
parse_token(Call *public, ReplyFacts *facts)
{
	PrivateCall *call = (PrivateCall *) public;
	PageShape	shape = {NIL, .single = true};
	ListPage   *page = parse_envelope(public, &shape, facts);
	ScanMember	members[] = {MEMBER("app-token"), MEMBER("expires")};
	int64		expires_ms;

	call->token = NULL;
	if (facts->errcode != 0 || !facts->well_formed)
		return;
	if (page->nrows == 1)
	{
		read_members(&page->rows[0], members, lengthof(members));
		call->token = member_text(&members[0]);
	}
	if (call->token == NULL || call->token[0] == '\0')
	{
		facts->well_formed = false;
		return;
	}
	expires_ms = member_number(&members[1]);
	call->token_expires = expires_ms <= 0 ? 0 :
		(TimestampTz) expires_ms * 1000 - (TimestampTz) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
parse_qeasy_token(Call *public, ReplyFacts *facts)
{
	PrivateCall *call = (PrivateCall *) public;
	QeasyToken	token;

	jdy_qeasy_read_token(public->reply->body, public->reply->body_length, &token);
	facts->errcode = token.errcode;
	facts->well_formed = token.well_formed;
	public->service_text = token.message;
	call->token = token.token;
	call->token_life_us = token.life_us;
}

static ListPage *
parse_envelope(Call *public, PageShape *shape, ReplyFacts *facts)
{
	ListPage   *page = jdy_page_parse(public->reply->body, public->reply->body_length, shape);

	facts->errcode = page->errcode;
	facts->well_formed = page->problem == NULL;
	public->service_text = page->description;
	return page;
}

static void
read_members(const Row *row, ScanMember *members, int nmembers)
{
	JsonScan	scan;
	Slice		value;

	jdy_scan_begin(&scan, row->text, row->length);
	(void) jdy_scan_value(&scan, &value, members, nmembers);
}

/* A string's text or a number's digits; "" when missing, null or not decodable. */
static char *
member_text(const ScanMember *member)
{
	char	   *text = jdy_scalar_text(&member->value);

	return text != NULL ? text : "";
}

static int64
member_number(const ScanMember *member)
{
	return strtoll(member_text(member), NULL, 10);
}

/* Turns a reply that was fine into a failure with our own words, and the accounts offered. */
static void
explain(PrivateCall *call, const char *reason, const char *hint, bool list)
{
	MemoryContext old = MemoryContextSwitchTo(call->call.context);
	StringInfoData text;
	ListCell   *cell;
	int			n = 0;

	call->call.verdict = VERDICT_STOP;
	call->call.reason = reason;
	call->hint = hint;
	if (list)
	{
		initStringInfo(&text);
		appendStringInfoString(&text, "authorised: ");
		foreach(cell, call->authorisations)
		{
			OfferedAuthorisation *offered = lfirst(cell);

			if (!offered->valid)
				continue;
			if (++n > MAX_LISTED)
			{
				appendStringInfoString(&text, ", …");
				break;
			}
			appendStringInfo(&text, "%s%s (%s)", n > 1 ? ", " : "",
							 offered->offer.account_id, offered->offer.account_name);
		}
		call->call.service_text = n > 0 ? text.data : "none is valid";
	}
	MemoryContextSwitchTo(old);
}
