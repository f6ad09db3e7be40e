/*-------------------------------------------------------------------------
 * missed.h
 *		Changes that an audit found and no window had listed: why, and what follows.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_MISSED_H
#define JDY_MISSED_H

#include "postgres.h"

#include "pull.h"

/* So many of one audit are judged and named. */
#define JDY_JUDGED_MISSED 100

/* A change that windows should have listed.  Times are the service's. */
typedef struct Missed
{
	const char *id;
	const char *fields;			/* names of those that changed, for people; NULL = not known */
	TimestampTz modified_at;	/* of the change, as its detail states it; 0 = not known */
	TimestampTz modified_before;	/* the same of what was here before; 0 = nothing was, or it stated none */
	TimestampTz unseen_at;		/* the service surely did not have the change then (what was here was asked then); 0 = no such time is known */
	TimestampTz shown_at;		/* when the audit saw it */
} Missed;

/*
 * `total` changes were found by `found_by` ("certificate", or the audit's name), of which missed[] has the first n: each is
 * judged and written down, one incident says so, and settle is raised where they were late.  With none, the incident of an earlier
 * audit is closed.  In a transaction of the run, after their details have landed; distinct ids.
 */
extern void jdy_missed_note(Pull *pull, const char *found_by, Missed *missed, int n, int64 total);

/*
 * The same for records that were not here at all, when their details have landed: modify times are read from staging; the service surely did
 * not have them when the last certificate was made.  Of a list with a time filter.  Nothing was missed of what windows set aside, are still to
 * list, or could not since it is gone again: returns how many are left, which stand first in ids[] then.
 */
extern int	jdy_missed_records(Pull *pull, const char *found_by, char **ids, int n, TimestampTz shown_at);

#endif							/* JDY_MISSED_H */
