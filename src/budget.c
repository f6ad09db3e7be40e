/*-------------------------------------------------------------------------
 * budget.c
 *		The shared call budget of an account.
 *
 * How calls are counted is callcount.c's; here is whose budget it is, and the lock.
 *
 * accounts_lock guards accounts[]; it is held for one pass over at most
 * JDY_ACCOUNT_RING numbers, never while waiting.  Without a limit it is not taken
 * at all.  The account's row in the database is written ahead, so that a restart,
 * which loses the log, begins with the window spent instead of a burst.
 *
 * Called by client.c before each call, and by nobody else.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "account.h"
#include "budget.h"
#include "lib/stringinfo.h"
#include "options.h"
#include "shmem.h"
#include "usage.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PRIVATE_ACCOUNTS 8		/* of a process without shared memory */
#define PERSIST_RETRY_US 1000000

struct Budget
{
	uint8		key[JDY_DIGEST_LENGTH];
	bool		provisional;	/* the account is not known before the authorisation */
	char		authority[300]; /* host:port of the url */
	Oid			server_id;
	Oid			user_id;		/* whose mapping */
	Account    *account;
	int			limit;			/* what this server asks for */
	int64		window_us;
	int			backfill_share; /* percent of the limit that first loads and audits may take */
	int64		timeout_us;		/* the longest that a call can be under way */
	uint64		ticket;			/* of the last call granted */
	uint64		token_ticket;	/* of the last token call granted */
	bool		token_unsaved;	/* a token call was granted that the row does not know */
	bool		audit_waited;	/* an audit's call was not granted at once */
	int64		saved_until;	/* written to the row by a transaction not known to be over; 0 = none */
	int64		save_after;		/* do not try to write the row before */
};

static Account *private_accounts = NULL;

static void provisional_key(const Endpoint *endpoint, Budget *budget);
static void authority_of(const char *url, char *authority, size_t size);
static void digest(const char *const *parts, int nparts, uint8 *key);
static void attach(Budget *budget);
static Account *accounts(int *n);
static Account *find(const uint8 *key);
static Account *create(const Budget *budget);
static void lock(Budget *budget);
static void unlock(void);
static bool is_free(const Budget *budget);
static void adopt_limit(Budget *budget, int64 now);
static bool load_row(const Budget *budget, Account *account);

Budget *
jdy_budget_open(const Endpoint *endpoint)
{
	Budget	   *budget = palloc0(sizeof(Budget));

	authority_of(endpoint->url, budget->authority, sizeof(budget->authority));
	budget->server_id = endpoint->server_id;
	budget->user_id = endpoint->user_id;
	budget->limit = endpoint->calls_per_minute;
	budget->window_us = (int64) endpoint->rate_window_ms * 1000;
	budget->backfill_share = endpoint->backfill_share;
	budget->timeout_us = ((int64) endpoint->timeout_ms + endpoint->connect_timeout_ms) * 1000;
	provisional_key(endpoint, budget);
	attach(budget);
	return budget;
}

void
jdy_budget_join(Budget *budget, const char *account_id)
{
	const char *parts[] = {"account", budget->authority, account_id};
	uint8		key[JDY_DIGEST_LENGTH];
	int64		times[JDY_ACCOUNT_RING];
	uint8		lanes[JDY_ACCOUNT_RING];
	int			n = 0;
	int			i;
	Account    *account;

	digest(parts, lengthof(parts), key);
	if (memcmp(key, budget->key, sizeof(key)) == 0)
		return;

	/* What was counted before the account was known was this account's, too. */
	lock(budget);
	account = budget->account;
	for (i = 0; i < account->used; i++)
	{
		times[n] = account->ring[i];
		lanes[n++] = account->backfill[i];
	}
	account->used = 0;
	unlock();

	memcpy(budget->key, key, sizeof(key));
	budget->provisional = false;
	budget->ticket = budget->token_ticket = 0;
	attach(budget);

	lock(budget);
	for (i = 0; i < n; i++)
		jdy_count_entry(budget->account, lanes[i] ? LANE_BACKFILL : LANE_TAIL, times[i]);
	unlock();
}

int64
jdy_budget_take(Budget *budget, Lane lane)
{
	int64		now;
	int64		wait;

	if (is_free(budget))
	{
		budget->ticket = 0;
		if (budget->account->paused_until == 0)
			return 0;
		return Max(0, budget->account->paused_until - jdy_monotonic_us());
	}

	now = jdy_monotonic_us();
	lock(budget);
	adopt_limit(budget, now);
	wait = jdy_count_wait(budget->account, lane, budget->backfill_share, now);
	if (lane == LANE_AUDIT && wait > 0)
	{
		/*
		 * Not only until its turn: what comes back then is for all of its calls, also
		 * for those that it makes only when others are answered.
		 */
		budget->account->audit_waits_until = now + wait + budget->account->window_us;
		budget->audit_waited = true;
	}
	if (wait == 0)
		budget->ticket = jdy_count_call(budget->account, lane, budget->timeout_us, now);
	unlock();
	return wait;
}

int64
jdy_budget_take_token(Budget *budget)
{
	int64		now = jdy_monotonic_us();
	int64		wait;
	Account    *account;

	lock(budget);
	account = budget->account;
	adopt_limit(budget, now);
	wait = jdy_count_wait(account, LANE_TAIL, budget->backfill_share, now);
	wait = Max(wait, jdy_count_token_wait(account, budget->window_us, now));
	if (wait <= 0)
	{
		wait = 0;
		budget->ticket = jdy_count_call(account, LANE_TAIL, budget->timeout_us, now);
		account->token_calls[0] = account->token_calls[1];
		account->token_calls[1] = now;
		budget->token_ticket = budget->ticket;
		budget->token_unsaved = true;
	}
	unlock();
	return wait;
}

uint64
jdy_budget_ticket(const Budget *budget)
{
	return budget->ticket;
}

void
jdy_budget_answered(Budget *budget, uint64 ticket)
{
	int64		now;
	Account    *account;

	if (ticket == 0)
		return;
	now = jdy_monotonic_us();
	lock(budget);
	account = budget->account;
	jdy_count_answered(account, ticket, now);
	if (ticket == budget->token_ticket)
		account->token_calls[1] = Max(account->token_calls[1], now);
	unlock();
}

void
jdy_budget_refused(Budget *budget, int64 retry_after_ms)
{
	int64		now = jdy_monotonic_us();

	lock(budget);
	jdy_count_refused(budget->account, now + (retry_after_ms >= 0 ? retry_after_ms * 1000 : budget->window_us), now);
	unlock();
}

int
jdy_budget_left(Budget *budget)
{
	int64		now;
	int			calls;
	int			left = -1;

	if (is_free(budget))
		return -1;
	now = jdy_monotonic_us();
	lock(budget);
	adopt_limit(budget, now);
	if (budget->account->limit > 0)
		left = jdy_account_left(budget->account, now, &calls);
	unlock();
	return left;
}

bool
jdy_budget_must_persist(const Budget *budget)
{
	int64		now;

	if (budget->provisional || jdy_shared == NULL)
		return false;
	if (budget->token_unsaved)
		return true;
	if (is_free(budget))
		return false;
	now = jdy_monotonic_us();
	return now >= budget->account->persisted_until && now >= budget->save_after;
}

void
jdy_budget_persist(Budget *budget, bool final)
{
	int64		now = jdy_monotonic_us();
	TimestampTz wall = GetCurrentTimestamp();
	int64		until;
	int64		token_at;

	if (budget->provisional || jdy_shared == NULL)
		return;

	lock(budget);
	token_at = budget->account->token_calls[1];
	until = final ? jdy_count_last(budget->account, now) : now + budget->account->window_us;
	if (final)
		budget->account->persisted_until = Min(budget->account->persisted_until, until);
	if (final && budget->audit_waited)
		budget->account->audit_waits_until = 0;
	unlock();
	if (until == JDY_NEVER)
		return;

	budget->save_after = now + PERSIST_RETRY_US;
	budget->token_unsaved = false;
	if (jdy_account_save(budget->key, wall + (until - now), token_at == JDY_NEVER ? 0 : wall - (now - token_at)) && !final)
		budget->saved_until = until;
}

/*
 * The key before the account is known: whoever signs in with the same
 * credentials at the same place is the same account.  Names alone can be known to
 * strangers, who must not spend another's budget: so secrets count, but for
 * passwords, which may be weak enough to be guessed from a digest that is stored.
 */
static void
provisional_key(const Endpoint *endpoint, Budget *budget)
{
	const char *parts[] = {
		"credentials", jdy_auth_name(endpoint->auth), budget->authority,
		endpoint->client_id, endpoint->outer_instance_id, endpoint->account_id, endpoint->app_key,
		endpoint->token, endpoint->user, endpoint->path, endpoint->query,
		endpoint->client_secret, endpoint->app_secret,
	};

	digest(parts, lengthof(parts), budget->key);
	budget->provisional = endpoint->auth == AUTH_KINGDEE && endpoint->app_key == NULL;
}

/* host:port in lower case, the port always said. */
static void
authority_of(const char *url, char *authority, size_t size)
{
	const char *start = strstr(url, "://");
	bool		https = pg_strncasecmp(url, "https:", 6) == 0;
	size_t		length;
	const char *bracket;
	char	   *host;
	char	   *c;

	start = start ? start + 3 : url;
	length = strcspn(start, "/?#");
	host = pnstrdup(start, length);
	for (c = host; *c; c++)
		*c = pg_tolower((unsigned char) *c);
	bracket = strrchr(host, ']');
	snprintf(authority, size, "%s%s", host,
			 strchr(bracket ? bracket : host, ':') != NULL ? "" : https ? ":443" : ":80");
	pfree(host);
}

/* SHA-256 over parts with their lengths, so that no two lists of parts look alike. */
static void
digest(const char *const *parts, int nparts, uint8 *key)
{
	StringInfoData text;
	int			i;

	initStringInfo(&text);
	for (i = 0; i < nparts; i++)
	{
		const char *part = parts[i];

		appendStringInfo(&text, "%d:%s,", part ? (int) strlen(part) : -1, part ? part : "");
	}
	if (EVP_Digest(text.data, text.len, key, NULL, EVP_sha256(), NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a digest"),
				 errdetail("OpenSSL refused SHA-256.")));
	explicit_bzero(text.data, text.len);
	pfree(text.data);
}

/* Finds the account's slot, or makes it from the account's row. */
static void
attach(Budget *budget)
{
	Account		fresh;

	jdy_usage_note(budget->server_id, budget->user_id, budget->key);
	if (jdy_shared != NULL)
		LWLockAcquire(jdy_shared->accounts_lock, LW_SHARED);
	budget->account = find(budget->key);
	unlock();
	if (budget->account != NULL)
		return;

	/* The row is read without the lock; another process may make the slot meanwhile. */
	memset(&fresh, 0, sizeof(fresh));
	if (!budget->provisional && jdy_shared != NULL && !load_row(budget, &fresh))
		fresh.paused_until = 0;

	lock(budget);
	if (budget->account->last_used == 0)
	{
		budget->account->paused_until = fresh.paused_until;
		if (fresh.in_use)
			memcpy(budget->account->token_calls, fresh.token_calls, sizeof(fresh.token_calls));
		budget->account->last_used = jdy_monotonic_us();
	}
	unlock();
}

static Account *
accounts(int *n)
{
	if (jdy_shared != NULL)
	{
		*n = JDY_MAX_ACCOUNTS;
		return jdy_shared->accounts;
	}
	if (private_accounts == NULL)
		private_accounts = MemoryContextAllocZero(TopMemoryContext, PRIVATE_ACCOUNTS * sizeof(Account));
	*n = PRIVATE_ACCOUNTS;
	return private_accounts;
}

/* Under the lock. */
static Account *
find(const uint8 *key)
{
	int			n;
	Account    *account = accounts(&n);

	for (; n > 0; n--, account++)
	{
		if (account->in_use && memcmp(account->key, key, JDY_DIGEST_LENGTH) == 0)
			return account;
	}
	return NULL;
}

/* Under the lock: a fresh slot, if need be that of the account longest unused. */
static Account *
create(const Budget *budget)
{
	int			n;
	Account    *account = accounts(&n);
	Account    *oldest = account;

	for (; n > 0 && oldest->in_use; n--, account++)
	{
		if (!account->in_use || account->last_used < oldest->last_used)
			oldest = account;
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->in_use = true;
	memcpy(oldest->key, budget->key, JDY_DIGEST_LENGTH);
	jdy_count_begin(oldest, budget->limit, budget->window_us);
	return oldest;
}

/* Takes the lock with budget->account being the account's slot, even if that was given to another meanwhile. */
static void
lock(Budget *budget)
{
	if (jdy_shared != NULL)
		LWLockAcquire(jdy_shared->accounts_lock, LW_EXCLUSIVE);
	if (budget->account == NULL || !budget->account->in_use ||
		memcmp(budget->account->key, budget->key, JDY_DIGEST_LENGTH) != 0)
	{
		budget->account = find(budget->key);
		if (budget->account == NULL)
			budget->account = create(budget);
	}
}

static void
unlock(void)
{
	if (jdy_shared != NULL)
		LWLockRelease(jdy_shared->accounts_lock);
}

/* No limit here and none of anybody else's: read without the lock, a moment's delay does no harm. */
static bool
is_free(const Budget *budget)
{
	return budget->limit == 0 && ((volatile Account *) budget->account)->limit == 0;
}

static void
adopt_limit(Budget *budget, int64 now)
{
	Account    *account = budget->account;

	jdy_count_adopt(account, budget->limit, budget->window_us, now);
	if (budget->saved_until != 0)
	{
		account->persisted_until = Max(account->persisted_until, budget->saved_until);
		budget->saved_until = 0;
	}
}

/*
 * The row says until when calls may have been made: until a window after that
 * everything counts as spent.  False when there is no row.
 */
static bool
load_row(const Budget *budget, Account *account)
{
	int64		now = jdy_monotonic_us();
	TimestampTz wall = GetCurrentTimestamp();
	TimestampTz last_call_at;
	TimestampTz last_token_at;
	int64		rest;

	if (!jdy_account_load(budget->key, &last_call_at, &last_token_at))
		return false;

	/* More than two windows ahead it was another clock's time. */
	rest = Min(last_call_at + budget->window_us - wall, 2 * budget->window_us);
	account->in_use = true;
	account->paused_until = rest > 0 ? now + rest : 0;
	account->token_calls[0] = account->token_calls[1] =
		last_token_at == 0 ? JDY_NEVER : now - Max(0, wall - last_token_at);
	return true;
}
