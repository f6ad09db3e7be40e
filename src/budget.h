/*-------------------------------------------------------------------------
 * budget.h
 *		The shared call budget of an account.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_BUDGET_H
#define JDY_BUDGET_H

#include "postgres.h"

#include "callcount.h"
#include "endpoint.h"

#define JDY_LANES (LANE_BACKFILL + 1)

typedef struct Budget Budget;

/*
 * The budget of `endpoint` known so far: keyed by url, auth and credentials until
 * jdy_budget_join.  Allocated in the current memory context.  In a transaction
 * with SPI (it reads the account's row, so that a restart does not burst).
 * Without shared memory (no preload) every call is granted by a private budget
 * of this process.
 */
extern Budget *jdy_budget_open(const Endpoint *endpoint);

/* After a successful authorisation: from here on the budget of the account itself. In a transaction with SPI. */
extern void jdy_budget_join(Budget *budget, const char *account_id);

/* 0: one call is granted and counted.  Else: microseconds to wait before asking again. */
extern int64 jdy_budget_take(Budget *budget, Lane lane);

/* The same for a call to a token endpoint: at most 2 a minute besides the budget itself. */
extern int64 jdy_budget_take_token(Budget *budget);

/*
 * The ticket of the call granted last; hand it to jdy_budget_answered when the
 * call's reply came or the call failed.  Until then the call is counted as if
 * it reached the service only at its time-out.  0 = nothing to hand back.
 */
extern uint64 jdy_budget_ticket(const Budget *budget);
extern void jdy_budget_answered(Budget *budget, uint64 ticket);

/* A 429 came: everything on the account pauses; retry_after_ms < 0 = not said, until the window has passed. */
extern void jdy_budget_refused(Budget *budget, int64 retry_after_ms);

/* Calls left in the running window; -1 = no limit. */
extern int	jdy_budget_left(Budget *budget);

/*
 * True when the account's row must be written before the next call (at most once
 * a window); jdy_budget_persist writes that calls may be made until a window from
 * now; final: at the end of a run, the true time of the last call.  In a
 * transaction with SPI.  Writes nothing where it cannot (read-only transaction) or
 * would wait for another's open transaction.
 */
extern bool jdy_budget_must_persist(const Budget *budget);
extern void jdy_budget_persist(Budget *budget, bool final);

#endif							/* JDY_BUDGET_H */
