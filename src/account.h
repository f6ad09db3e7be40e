/*-------------------------------------------------------------------------
 * account.h
 *		An account's row: until when calls may have been made.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ACCOUNT_H
#define JDY_ACCOUNT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Both in a transaction with SPI; a time of 0 = none.  load: false when there is no row. */
extern bool jdy_account_load(const uint8 *key, TimestampTz *last_call_at, TimestampTz *last_token_at);

/*
 * Writes the row, unless that is not possible (read-only transaction) or would
 * make somebody wait for another's open transaction: then false.
 */
extern bool jdy_account_save(const uint8 *key, TimestampTz last_call_at, TimestampTz last_token_at);

#endif							/* JDY_ACCOUNT_H */
