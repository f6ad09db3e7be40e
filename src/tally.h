/*-------------------------------------------------------------------------
 * tally.h
 *		What runs did, added up.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_TALLY_H
#define JDY_TALLY_H

#include "postgres.h"

/*
 * Adds run `run_id`, which has just ended, to its stream's totals.  Once for each run; one that
 * never began does not count.  In a transaction with SPI, the stream's lock held.
 */
extern void jdy_tally(int64 run_id);

#endif							/* JDY_TALLY_H */
