/*-------------------------------------------------------------------------
 * lag.h
 *		How long after its modify time a change becomes visible, and settle, which follows from it.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_LAG_H
#define JDY_LAG_H

#include "postgres.h"

#include "pull.h"

/* The incident that says so. */
#define JDY_SETTLE_RAISED "settle raised"

/* No service is later: what is known for longer to be missing is dated back.  Nor does settle get longer by itself. */
#define JDY_LONGEST_LAG_US USECS_PER_DAY

/* A change whose detail has come. */
typedef struct LagSample
{
	const char *id;
	TimestampTz modified_at;	/* as the detail states it; 0 = it does not */
	FirstShown	first_shown;
} LagSample;

/* All in a transaction of the run.  Counts what can be known of these changes, and raises settle when one came too late for it. */
extern void jdy_lag_note(Pull *pull, const LagSample *samples, int n);

/*
 * A change became visible later than `later_than_us` after its modify time: when settle is less than twice as long, it is raised to
 * that, and overlap to no less.  What was proven by the shorter one is not: the ledger ends where the longer one lets it, or,
 * where a change was missed by windows, at its modify time `missed_at` (0 = none was).  `detail` is for the incident.
 */
extern void jdy_lag_raise_settle(Pull *pull, int64 later_than_us, TimestampTz missed_at, const char *detail);

#endif							/* JDY_LAG_H */
