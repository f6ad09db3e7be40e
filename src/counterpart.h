/*-------------------------------------------------------------------------
 * counterpart.h
 *		The ids that records have at a target which gives its own.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_COUNTERPART_H
#define JDY_COUNTERPART_H

#include "postgres.h"

#include "push.h"

/* Body and key of a request for one record, its target_id in the body; for others as jdy_batch_seal. */
extern void jdy_counterpart_seal(const Push *push, Batch *batch);

/* All in a transaction with SPI.  Fills target_id of the records (Outgoing *) whose id is kept, in the current memory context. */
extern void jdy_counterpart_look(const Push *push, List *records);
extern void jdy_counterpart_keep(const Push *push, List *records);
extern void jdy_counterpart_forget(const Push *push, const char *id);
extern void jdy_counterpart_forget_all(int push_id);

#endif							/* JDY_COUNTERPART_H */
