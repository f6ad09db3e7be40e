/*-------------------------------------------------------------------------
 * usage.h
 *		Which server and role calls under which budget.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_USAGE_H
#define JDY_USAGE_H

#include "postgres.h"

/*
 * Notes that the mapping of `role` for server `server_id` in this database calls under the
 * budget with this key.  Does nothing without shared memory.  accounts_lock not held.
 */
extern void jdy_usage_note(Oid server_id, Oid role, const uint8 *key);

#endif							/* JDY_USAGE_H */
