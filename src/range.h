/*-------------------------------------------------------------------------
 * range.h
 *		Reports: lists whose rows belong to a month.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RANGE_H
#define JDY_RANGE_H

#include "postgres.h"

#include "pull.h"

/*
 * Reads the months of a report that this run is about: all since start_from in a first load
 * (from where an earlier run stopped) and in mode full; those that [from_time, to_time) touches in
 * mode range; else those that may have changed.  `now`: server time.  In no transaction.
 */
extern void jdy_ranges_read(Pull *pull, TimestampTz from_time, TimestampTz to_time, TimestampTz now);

/* The first instant of the year that `now` lies in: where a report begins unless start_from says. */
extern TimestampTz jdy_range_default_start(const Stream *stream, TimestampTz now);

#endif							/* JDY_RANGE_H */
