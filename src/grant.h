/*-------------------------------------------------------------------------
 * grant.h
 *		Who else may read or run a stream or push.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_GRANT_H
#define JDY_GRANT_H

#include "postgres.h"

#include "stream.h"

/* Whether `role` is a member of its owner, or was granted that with jdy_grant.  In a transaction. */
extern bool jdy_may_read(const StreamRef *ref, Oid role);
extern bool jdy_may_run(const StreamRef *ref, Oid role);

/* In a transaction with SPI.  The stream's own views were made anew: who may read it may read them.  It is dropped: nobody may any more. */
extern void jdy_grants_renew(int stream_id);
extern void jdy_grants_drop(const char *name);

#endif							/* JDY_GRANT_H */
