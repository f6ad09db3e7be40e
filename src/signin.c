/*-------------------------------------------------------------------------
 * signin.c
 *		The two calls of signing in, and what their replies say.
 *
 * push_app_authorize answers which accounts the customer has authorised, each
 * with its app key, app secret and router domain; kingdee_auth_token turns these
 * into a token.  The first has an envelope of its own ({"code":200,"msg":…}),
 * though its documents show the usual one: the page parser takes both.
 *
 * Replies are read before anything is stored; client.c stores.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "kingdee.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "page.h"
#include "scan.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define AUTHORISE_PATH "/jdyconnector/app_management/push_app_authorize"
#define TOKEN_PATH "/jdyconnector/app_management/kingdee_auth_token"
#define MAX_LISTED 10			/* accounts named in an error */

typedef struct OfferedAuthorisation
{
	Authorisation offer;
	bool		valid;
} OfferedAuthorisation;

static void parse_authorisations(Call *public, ReplyFacts *facts);
static void parse_token(Call *public, ReplyFacts *facts);
static ListPage *parse_envelope(Call *public, PageShape *shape, ReplyFacts *facts);
static void read_members(const Row *row, ScanMember *members, int nmembers);
static char *member_text(const ScanMember *member);
static int64 member_number(const ScanMember *member);
static void explain(PrivateCall *call, const char *reason, const char *hint, bool list);

#define MEMBER(name) {name, sizeof(name) - 1}

void
jdy_sign_in_prepare(PrivateCall *call, SignInStep step, const Session *session)
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

const Authorisation *
jdy_sign_in_choose(PrivateCall *call)
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
	Scan		scan;
	Slice		value;

	jdy_scan_begin(&scan, row->text, row->length);
	(void) jdy_scan_value(&scan, &value, members, nmembers);
}

/* A string's text or a number's digits; "" when missing, null or not decodable. */
static char *
member_text(const ScanMember *member)
{
	Slice		inside;
	size_t		length;
	char	   *text;

	if (member->value.text == NULL || member->value.text[0] == 'n')
		return "";
	if (member->value.text[0] != '"')
		return pnstrdup(member->value.text, member->value.length);
	inside.text = member->value.text + 1;
	inside.length = member->value.length - 2;
	text = jdy_scan_decode(&inside, &length);
	if (text == NULL || pg_encoding_verifymbstr(PG_UTF8, text, length) != length)
		return "";
	return pg_any_to_server(text, length, PG_UTF8);
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
