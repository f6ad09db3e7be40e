/*-------------------------------------------------------------------------
 * callcount.h
 *		The calls of an account, counted in a sliding window.
 *
 * All under accounts_lock, or of a copy.  Times are of jdy_monotonic_us().
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CALLCOUNT_H
#define JDY_CALLCOUNT_H

#include "postgres.h"

#include "shmem.h"

typedef enum Lane
{
	LANE_TAIL,					/* fresh data, pushes, token calls: the whole budget */
	LANE_AUDIT,					/* audits: backfill_share of it, before first loads */
	LANE_BACKFILL				/* first loads and certificates: what audits leave of that, but a tenth at least */
} Lane;

#define JDY_NEVER (PG_INT64_MIN / 4)	/* a time before all others */

/* A new account, whose slot is all zero but for its key. */
extern void jdy_count_begin(Account *account, int limit, int64 window_us);

/*
 * Somebody calls under `limit` calls in window_us.  The smallest limit wins as long as somebody
 * calls under it; two windows after the last such call it is forgotten, so that a limit can be raised.
 */
extern void jdy_count_adopt(Account *account, int limit, int64 window_us, int64 now);

/*
 * Microseconds until a call may be counted, 0 = now.  A lower bound: whoever waited asks
 * again.  backfill_share: percent of the limit that is not for the tail alone.
 */
extern int64 jdy_count_wait(const Account *account, Lane lane, int backfill_share, int64 now);

/* The same of a token call: at most two in a minute, or in window_us if that is shorter. */
extern int64 jdy_count_token_wait(const Account *account, int64 window_us, int64 now);

/* Counts a call that may be under way for timeout_us; returns its ticket, 0 = there is no limit. */
extern uint64 jdy_count_call(Account *account, Lane lane, int64 timeout_us, int64 now);

/* Its reply came, or it failed: it reached the service by now. */
extern void jdy_count_answered(Account *account, uint64 ticket, int64 now);

/* The service refused a call: none is granted before `until`, and fewer from then on. */
extern void jdy_count_refused(Account *account, int64 until, int64 now);

/* Counts a call that another account had counted at this time. */
extern void jdy_count_entry(Account *account, Lane lane, int64 at);

/* Time of the account's last call, JDY_NEVER when it made none. */
extern int64 jdy_count_last(const Account *account, int64 now);

/* Calls left in the running window of an account with a limit; *calls: those counted in it. */
extern int	jdy_account_left(const Account *account, int64 now, int *calls);

#endif							/* JDY_CALLCOUNT_H */
