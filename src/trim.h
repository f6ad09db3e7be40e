/*-------------------------------------------------------------------------
 * trim.h
 *		Logs that do not grow for ever.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_TRIM_H
#define JDY_TRIM_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Whether some time has passed since the last time in this database; not known = yes. */
extern bool jdy_trim_is_due(void);

/*
 * In a transaction with SPI, which should end soon: brings the logs within jdysync.log_retention, counted
 * back from `now`, and jdysync.log_size, some rows at a time; true when there may be more.
 */
extern bool jdy_trim(TimestampTz now);

/* It is not due for some time: what it did is committed, or (put_off) it failed and is left alone for longer. */
extern void jdy_trim_done(bool put_off);

#endif							/* JDY_TRIM_H */
