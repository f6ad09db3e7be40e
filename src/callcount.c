/*-------------------------------------------------------------------------
 * callcount.c
 *		The calls of an account, counted in a sliding window.
 *
 * The service counts the calls of an account, whoever makes them, in a sliding
 * window.  So does the budget: a log of call times in shared memory, from which a
 * call is granted only if fewer than `limit` others can have been counted by the
 * service within the last window.  A counter per minute would let twice the
 * limit through around each full minute, and a token bucket bursts after idling.
 *
 * When the service counts a call is known only roughly: after it was started,
 * and before its reply came.  A call is therefore logged at the latest time that
 * is possible, which is its time-out as long as it is under way.  With that, no
 * window of the service's holds more than `limit` calls, however slow the network.
 *
 * Pure: one pass over at most JDY_ACCOUNT_RING numbers.  Called by budget.c, and by usage.c
 * for what is left.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "callcount.h"

#define TOKEN_WINDOW_US INT64CONST(60000000)
#define MARGIN_US 2000			/* the service's clock ticks in ms, and so do waits */
#define MARGIN_DIVISOR 1000		/* two clocks may differ by 0.1 % */
#define MIN_SCALE 0.05

static int	group_for(int limit);
static void recover_scale(Account *account, int64 now);
static int	entries_allowed(const Account *account, int calls);
static int64 counted_window(const Account *account);
static bool joins_newest(const Account *account, Lane lane);

void
jdy_count_begin(Account *account, int limit, int64 window_us)
{
	account->limit = limit;
	account->window_us = window_us;
	account->scale = 1.0;
	account->group = group_for(limit);
	account->persisted_until = JDY_NEVER;
	account->token_calls[0] = account->token_calls[1] = JDY_NEVER;
}

void
jdy_count_adopt(Account *account, int limit, int64 window_us, int64 now)
{
	bool		ours = account->limit == limit && account->window_us == window_us;
	bool		smaller = limit > 0 && (account->limit == 0 || limit < account->limit);
	bool		forgotten = now - account->limit_seen > 2 * account->window_us;
	int			group;

	account->last_used = now;
	if (!ours && (smaller || forgotten))
	{
		/* Entries of larger groups would count for too little. */
		group = group_for(limit);
		if (group < account->group && account->used > 0)
			account->paused_until = Max(account->paused_until, now + account->window_us);
		account->limit = limit;
		account->window_us = window_us;
		account->group = group;
		ours = true;
	}
	if (ours)
		account->limit_seen = now;
	recover_scale(account, now);
}

int64
jdy_count_wait(const Account *account, Lane lane, int backfill_share, int64 now)
{
	int64		window = counted_window(account);
	int64		since = now - window;
	int64		first = PG_INT64_MAX;
	int64		first_backfill = PG_INT64_MAX;
	int			counted = 0;
	int			backfill = 0;
	int			share = (int64) account->limit * backfill_share / 100;
	int			i;

	if (now < account->paused_until)
		return account->paused_until - now;
	if (account->limit == 0)
		return 0;
	if (lane == LANE_BACKFILL && now < account->audit_waits_until)
		return account->audit_waits_until - now;
	if (joins_newest(account, lane))
		return 0;

	for (i = 0; i < account->used; i++)
	{
		int64		at = account->ring[i];

		if (at <= since)
			continue;
		/* One under way may be answered any moment: then it counts for a window from there. */
		at = Min(at, now);
		counted++;
		first = Min(first, at);
		if (account->backfill[i])
		{
			backfill++;
			first_backfill = Min(first_backfill, at);
		}
	}
	if (counted >= entries_allowed(account, account->limit))
		return Max(1, first + window - now);
	if (lane != LANE_TAIL && backfill >= entries_allowed(account, share))
		return Max(1, first_backfill + window - now);
	return 0;
}

int64
jdy_count_token_wait(const Account *account, int64 window_us, int64 now)
{
	window_us = Min(TOKEN_WINDOW_US, window_us);	/* tests shorten it */
	return account->token_calls[0] + window_us + window_us / MARGIN_DIVISOR + MARGIN_US - now;
}

uint64
jdy_count_call(Account *account, Lane lane, int64 timeout_us, int64 now)
{
	if (account->limit == 0)
		return 0;
	if (joins_newest(account, lane))
	{
		account->newest_calls++;
		account->ring[(account->sequence - 1) % JDY_ACCOUNT_RING] = now;
	}
	else
		jdy_count_entry(account, lane, account->group > 1 ? now : now + timeout_us);
	return account->sequence;
}

void
jdy_count_answered(Account *account, uint64 ticket, int64 now)
{
	if (ticket <= account->sequence && account->sequence - ticket < (uint64) account->used)
	{
		int64	   *entry = &account->ring[(ticket - 1) % JDY_ACCOUNT_RING];

		/* Of a group others may still be under way: its time only grows. */
		*entry = account->group > 1 ? Max(*entry, now) : Min(*entry, now);
	}
}

void
jdy_count_refused(Account *account, int64 until, int64 now)
{
	/* Calls that were under way together are refused together: that is one refusal. */
	if (now >= account->paused_until)
	{
		recover_scale(account, now);
		account->scale = Max(MIN_SCALE, account->scale / 2);
	}
	account->paused_until = Max(account->paused_until, until);
	account->scale_changed_at = account->paused_until;
}

void
jdy_count_entry(Account *account, Lane lane, int64 at)
{
	int			place = account->sequence % JDY_ACCOUNT_RING;

	account->ring[place] = at;
	account->backfill[place] = lane != LANE_TAIL;
	account->sequence++;
	account->newest_calls = 1;
	if (account->used < JDY_ACCOUNT_RING)
		account->used++;
}

int64
jdy_count_last(const Account *account, int64 now)
{
	int64		last = JDY_NEVER;
	int			i;

	for (i = 0; i < account->used; i++)
		last = Max(last, Min(account->ring[i], now));
	return Max(last, account->token_calls[1]);
}

int
jdy_account_left(const Account *account, int64 now, int *calls)
{
	int64		since = now - counted_window(account);

	*calls = 0;
	for (int i = 0; i < account->used; i++)
		*calls += account->ring[i] > since ? account->group : 0;
	if (now < account->paused_until)
		return 0;
	return Max(0, entries_allowed(account, account->limit) * account->group - *calls);
}

/* Calls that an entry of the ring stands for. */
static int
group_for(int limit)
{
	return Max(1, (limit + JDY_ACCOUNT_RING - 1) / JDY_ACCOUNT_RING);
}

/* +10 % for each window without a refusal. */
static void
recover_scale(Account *account, int64 now)
{
	while (account->scale < 1.0 && now - account->scale_changed_at >= account->window_us)
	{
		account->scale = Min(1.0, account->scale + 0.1);
		account->scale_changed_at += account->window_us;
	}
}

/* How many entries of the ring `calls` a window make, as the budget stands after refusals; at least one. */
static int
entries_allowed(const Account *account, int calls)
{
	return Max(1, (int) (calls * account->scale) / account->group);
}

/* The window as we count it: a little longer, so that two clocks' differences never show. */
static int64
counted_window(const Account *account)
{
	return account->window_us + account->window_us / MARGIN_DIVISOR + MARGIN_US;
}

/* True when the newest entry has room for one more call of its lane. */
static bool
joins_newest(const Account *account, Lane lane)
{
	return account->used > 0 && account->newest_calls < account->group &&
		(account->backfill[(account->sequence - 1) % JDY_ACCOUNT_RING] != 0) == (lane != LANE_TAIL);
}
