/*-------------------------------------------------------------------------
 * schedule.h
 *		When a stream or push runs by itself.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SCHEDULE_H
#define JDY_SCHEDULE_H

#include "postgres.h"

/*
 * Raises an error unless `schedule` is an interval of at least a second ('5 min')
 * or cron with five fields (six with seconds first): lists, ranges and steps, and
 * names of months and days of the week.
 */
extern void jdy_schedule_check(const char *schedule);

#endif							/* JDY_SCHEDULE_H */
