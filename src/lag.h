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

/* A change whose detail has come. */
typedef struct LagSample
{
	const char *id;
	TimestampTz modified_at;	/* as the detail states it; 0 = it does not */
	FirstShown	first_shown;
} LagSample;

/* All in a transaction of the run.  Counts what can be known of these changes. */
extern void jdy_lag_note(Pull *pull, const LagSample *samples, int n);

/* The same of list rows that state a modify time, before they land; where there are details, these do. */
extern void jdy_lag_note_rows(Pull *pull, Row **rows, int nrows, const Sighting *sighting);

/* Raises settle when one of these came too late for it.  Not while windows are read: they would prove by the old one. */
extern void jdy_lag_settle(Pull *pull);

/*
 * A change became visible later than `later_than_us` after its modify time: when settle is less than twice as long, it is raised to
 * that, and overlap to no less.  What was proven by the shorter one is not: the ledger ends where the longer one lets it, or,
 * where a change was missed by windows, at its modify time `missed_at` (0 = none was).  `detail` is for the incident.
 */
extern void jdy_lag_raise_settle(Pull *pull, int64 later_than_us, TimestampTz missed_at, const char *detail);

#endif							/* JDY_LAG_H */
