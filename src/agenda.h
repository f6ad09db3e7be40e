/*-------------------------------------------------------------------------
 * agenda.h
 *		When each stream and push is due.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_AGENDA_H
#define JDY_AGENDA_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef enum RunEnd
{
	RUN_WENT_WELL,				/* or somebody cancelled it: due again by the schedule */
	RUN_FAILED,					/* is tried again soon */
	RUN_PUT_BACK				/* jdysync was switched off: as if it had not begun */
} RunEnd;

/*
 * All in a transaction with SPI.  remedy: by the second schedule of a stream (remedy.c).
 * enter: a stream or push was added, its schedule changed, or it is to run by itself
 * again; takes it off when it has no schedule or is paused.  leave: by neither schedule any more.
 */
extern void jdy_agenda_enter(int subject_id, bool remedy);
extern void jdy_agenda_leave(int subject_id);

/* A run that began then is over: when the next one is due. */
extern void jdy_agenda_run_ended(int subject_id, bool remedy, TimestampTz began, RunEnd end);

/* Queues runs of what is due.  Returns when something is due next, DT_NOEND = never. */
extern TimestampTz jdy_agenda_queue_due(void);

/* The first time that something is due, maybe past, as of what waits for another run; DT_NOEND = never. */
extern TimestampTz jdy_agenda_first(void);

#endif							/* JDY_AGENDA_H */
