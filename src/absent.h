/*-------------------------------------------------------------------------
 * absent.h
 *		Records that a certificate did not find: deleted, out of the list, or held.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ABSENT_H
#define JDY_ABSENT_H

#include "postgres.h"

#include "pull.h"

/* All of these are called in a transaction of the run. */

/* At a run's start: whether any record is absent (pull->absent), without which nothing need be asked. */
extern void jdy_absent_begin(Pull *pull);

/*
 * A certificate at `instant` found `known` records, `came` of them for the first time, and these not
 * (distinct ids): one by one they are proven, unless there are so many that the brake holds
 * them.  Those behind the first `nclaimed` count only when they were absent before.  certified false: so did
 * reads of parts of the list, begun at `instant` (sweep.c).
 */
extern void jdy_absent_judge(Pull *pull, char **ids, int n, int nclaimed, int64 known, int64 came, TimestampTz instant,
							 bool certified);

/*
 * What can be done about those that are not held: asks for their details, or, where there are
 * none, marks what is proven.  anew: details that were refused before are asked again at once.
 */
extern void jdy_absent_settle(Pull *pull, bool anew);

/* These were listed again, so they are not absent. */
extern void jdy_absent_listed(Pull *pull, char **ids, int n);

/*
 * Details of these came, or the service said that there are none: returns those (char *) that were
 * asked for because they are absent, which they are no more: now it is known what became of them.
 */
extern List *jdy_absent_take(Pull *pull, char **ids, int n);

/* Marks records in staging: deleted at the source, or (deleted false) still there, but not in the list. */
extern void jdy_absent_mark(Pull *pull, char **ids, int n, bool deleted);

#endif							/* JDY_ABSENT_H */
