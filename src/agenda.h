/*-------------------------------------------------------------------------
 * agenda.h
 *		When each stream and push is due.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_AGENDA_H
#define JDY_AGENDA_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * All in a transaction with SPI.  enter: a stream or push was added, its schedule changed, or it
 * is to run by itself again; takes it off when it has no schedule or is paused.
 */
extern void jdy_agenda_enter(int subject_id);
extern void jdy_agenda_leave(int subject_id);

/* A run is over: when the next one is due.  ok: it failed otherwise, and is tried again soon. */
extern void jdy_agenda_run_ended(int subject_id, bool ok);

/* Queues runs of what is due.  Returns when something is due next, DT_NOEND = never. */
extern TimestampTz jdy_agenda_queue_due(void);

/* The first time that something is due, maybe past, as of what waits for another run; DT_NOEND = never. */
extern TimestampTz jdy_agenda_first(void);

#endif							/* JDY_AGENDA_H */
