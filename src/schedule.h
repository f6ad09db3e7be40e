/*-------------------------------------------------------------------------
 * schedule.h
 *		When a stream or push runs by itself.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SCHEDULE_H
#define JDY_SCHEDULE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"

/*
 * Raises an error unless `schedule` is an interval of at least a second ('5 min')
 * or cron with five fields (six with seconds first): lists, ranges and steps, and
 * names of months and days of the week.  What never comes due (30 February) is an error, too.
 */
extern void jdy_schedule_check(const char *schedule);

/* Whether a schedule, which was checked, is cron. */
extern bool jdy_schedule_is_cron(const char *schedule);

/*
 * The first time after `began`, when the run began that stands for all times before, `due` being one
 * of them.  An interval keeps its pace, cron goes by the clocks of `zone`.
 */
extern TimestampTz jdy_schedule_next(const char *schedule, TimestampTz due, TimestampTz began, pg_tz *zone);

#endif							/* JDY_SCHEDULE_H */
