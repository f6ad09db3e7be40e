/*-------------------------------------------------------------------------
 * trim.h
 *		Logs that do not grow for ever.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_TRIM_H
#define JDY_TRIM_H

#include "postgres.h"

/* Whether some time has passed since the last time in this database; not known = yes. */
extern bool jdy_trim_is_due(void);

/*
 * In a transaction with SPI: removes runs and calls older than jdysync.log_retention, some
 * at a time; true when there may be more.
 */
extern bool jdy_trim(void);

#endif							/* JDY_TRIM_H */
