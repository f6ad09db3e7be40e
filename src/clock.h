/*-------------------------------------------------------------------------
 * clock.h
 *		What time it is for schedules.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CLOCK_H
#define JDY_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Now, for whatever is due, late, put off or dated by a schedule.  Never for budgets and time-outs. */
extern TimestampTz jdy_clock_now(void);

/* How far that is ahead of the system's clock, as an interval ("0 us"): show hook of jdysync.clock_offset. */
extern const char *jdy_clock_show_offset(void);

/* For tests: from here on the clock shows `at` and goes on from there, for the whole cluster. */
extern void jdy_clock_set(TimestampTz at);

#endif							/* JDY_CLOCK_H */
