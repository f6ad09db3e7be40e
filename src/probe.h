/*-------------------------------------------------------------------------
 * probe.h
 *		Questions to the service about itself.
 *
 * All of them ask in the lane of tails, while nothing else is pending and in no transaction, and put the
 * answers on record (contract.h).
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PROBE_H
#define JDY_PROBE_H

#include "postgres.h"

#include "pull.h"

/* Whether the list's time filter has an effect: asked once a week, and when `again`. */
extern bool jdy_probe_filter(Pull *pull, bool again);

/* What can be asked of a list before anything of it is known, once a week: about nine calls. */
extern void jdy_probe_list(Pull *pull);

/* What can be asked once a record's modify time is known, once a week: seven calls at most. */
extern void jdy_probe_records(Pull *pull);

/* Why the list's count cannot be relied on: asked again unless it can; NULL = it can.  In the run's memory. */
extern const char *jdy_probe_count(Pull *pull);

#endif							/* JDY_PROBE_H */
