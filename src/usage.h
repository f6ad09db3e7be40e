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

/* Calls that it may make at once; -1 = it has no limit, or has not called yet.  accounts_lock not held. */
extern int	jdy_usage_left(Oid server_id, Oid role);

#endif							/* JDY_USAGE_H */
