/*-------------------------------------------------------------------------
 * ledger.h
 *		The ledger of windows in the long run: neighbours become one row.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_LEDGER_H
#define JDY_LEDGER_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * In a transaction with SPI: merges what was proven before `before`, some at a time; true when there is
 * more.  What the ledger proves is the same afterwards, or an error is raised.
 */
extern bool jdy_ledger_merge(TimestampTz before);

#endif							/* JDY_LEDGER_H */
