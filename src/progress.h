/*-------------------------------------------------------------------------
 * progress.h
 *		Live progress of a run, in shared memory and as a line for psql.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PROGRESS_H
#define JDY_PROGRESS_H

#include "postgres.h"

#include "endpoint.h"
#include "shmem.h"

/* The run of this process: set by the runner before it works, NULL elsewhere (then these do nothing). */
extern void jdy_progress_attach(RunSlot *slot);

struct Client;

/* What estimates need to know of the run's server, and whether its records have details. */
extern void jdy_progress_limits(const Endpoint *endpoint, bool details);

/* Whether a caller waits for the run of this process. */
extern bool jdy_progress_is_awaited(void);

extern void jdy_progress_phase(RunPhase phase);

/* us: for so long; 0 = it is not known how long. */
extern void jdy_progress_waiting(RunWaiting waiting, int64 us);

/* The same, as a client's calls wait. */
extern void jdy_progress_client(struct Client *client);

/* A page of a list was asked for, of what was modified from … to; DT_NOBEGIN, DT_NOEND = without a bound. */
extern void jdy_progress_asked(TimestampTz from, TimestampTz to);

/* -1 = what was known before. */
extern void jdy_progress_totals(int64 list_total, int64 details_due);
extern void jdy_progress_counters(const RunCounters *counters);

/* Minutes until the run ends, rounded up, by the calls left and the pace so far; -1 = not known. */
extern int	jdy_progress_minutes_left(const RunCounters *counters, const RunProgress *progress);

/* "customer: 12,300 of 48,211 listed, 3,050 details, 214 calls, about 4 min left"; palloc'ed. */
extern char *jdy_progress_line(const char *name, const RunCounters *counters, const RunProgress *progress);

#endif							/* JDY_PROGRESS_H */
