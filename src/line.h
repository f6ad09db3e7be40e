/*-------------------------------------------------------------------------
 * line.h
 *		The line for workers: whose turn it is.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_LINE_H
#define JDY_LINE_H

#include "postgres.h"

#include "shmem.h"

/*
 * All with runs_lock held.  may_start: whether who has this place in line may have one of
 * `limit` workers; heavy as in RunSlot.
 */
extern uint64 jdy_line_new_place(void);
extern bool jdy_line_may_start(uint64 place, bool heavy, int limit);

/*
 * The place of a database's queued runs, one for the heavy and one for the others: asked
 * for again it stays, served it goes, so that the next one is behind everybody else's.
 */
extern uint64 jdy_line_ask(Oid database, bool heavy);
extern void jdy_line_served(Oid database, bool heavy);

/* The database whose queued runs wait longest; InvalidOid = none does. */
extern Oid	jdy_line_first(bool heavy);

#endif							/* JDY_LINE_H */
