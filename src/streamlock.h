/*-------------------------------------------------------------------------
 * streamlock.h
 *		The lock that says "this stream has a runner".
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STREAMLOCK_H
#define JDY_STREAMLOCK_H

#include "postgres.h"

#include "storage/lock.h"

/*
 * Takes it for this process, which may hold one: session-level, on the row object of the stream,
 * or push.  Kept over errors and ends of transactions until jdy_stream_unlock
 * or the end of the process.  wait: until it is free, interrupts served; outside
 * of a transaction nothing but a virtual transaction id is held meanwhile.  false: another has it.
 */
extern bool jdy_stream_lock(int stream_id, bool wait);

/* Gives back what jdy_stream_lock took; nothing when it took none, or it is lost. */
extern void jdy_stream_unlock(void);

/* What jdy_stream_lock took last: for jdy_tx_guard. */
extern const LOCKTAG *jdy_stream_lock_tag(void);

/* The same lock until the end of the transaction, for who changes the stream; false when a run is open. */
extern bool jdy_stream_lock_for_change(int stream_id);

#endif							/* JDY_STREAMLOCK_H */
