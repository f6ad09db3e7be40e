/*-------------------------------------------------------------------------
 * progress.h
 *		Live progress of a run, in shared memory and as a line for psql.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PROGRESS_H
#define JDY_PROGRESS_H

#include "postgres.h"

#include "shmem.h"

/* The run of this process: set by the runner before it works, NULL elsewhere (then these do nothing). */
extern void jdy_progress_attach(RunSlot *slot);

/* What an estimate needs to know of the stream and its server. */
typedef struct PaceLimits
{
	int			calls_per_minute;	/* 0 = no limit */
	int			backfill_share; /* percent of it that a first load may take */
	bool		details;		/* the stream's records have details */
} PaceLimits;

/* Whether a caller waits for the run of this process. */
extern bool jdy_progress_is_awaited(void);

extern void jdy_progress_phase(RunPhase phase);
extern void jdy_progress_waiting(RunWaiting waiting);

/* -1 = what was known before. */
extern void jdy_progress_totals(int64 list_total, int64 details_due);
extern void jdy_progress_counters(const RunCounters *counters);

/* Minutes until the run ends, rounded up, by the calls left and the pace so far; -1 = not known. */
extern int	jdy_progress_minutes_left(const RunCounters *counters, const RunProgress *progress, const PaceLimits *limits);

/* "customer: 12,300 of 48,211 listed, 3,050 details, 214 calls, about 4 min left"; palloc'ed. */
extern char *jdy_progress_line(const char *name, const RunCounters *counters, const RunProgress *progress,
							   const PaceLimits *limits);

#endif							/* JDY_PROGRESS_H */
