/*-------------------------------------------------------------------------
 * runslot.h
 *		Slots of open runs in shared memory: where callers and runners meet.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RUNSLOT_H
#define JDY_RUNSLOT_H

#include "postgres.h"

#include "shmem.h"

/* One use of a slot. */
typedef struct SlotTicket
{
	int			index;
	uint64		ticket;
} SlotTicket;

/* What a runner is to do. */
typedef struct RunRequest
{
	Oid			database;
	Oid			extension;		/* that stream_id is a number of */
	Oid			owner;
	int			stream_id;
	RunMode		mode;
	TimestampTz from_time;
	TimestampTz to_time;
	bool		heavy;			/* as in RunSlot */
	int64		run_id;			/* of a queued run, else 0 */
} RunRequest;

/*
 * A caller's way in: joins a slot with the same request that has not begun, else
 * takes a free one, which waits for a worker.  false: all are in use.
 */
extern bool jdy_slot_enter(const RunRequest *request, SlotTicket *ticket);

/*
 * Asks for a worker for a slot that waits for one; to be asked again and again.
 * true once, when fewer than `limit` workers are out and it is the slot's turn:
 * the caller then registers it.
 */
extern bool jdy_slot_claim(const SlotTicket *ticket, int limit);

/*
 * A slot for a queued run, whose worker the caller then registers; false when all
 * are in use, or it is not its turn to have one of `limit` workers (line.h).
 */
extern bool jdy_slot_take_queued(const RunRequest *request, int limit, SlotTicket *ticket);

/* The queued runs of `database` that are so heavy, or not, want no worker at present. */
extern void jdy_slot_leave_line(Oid database, bool heavy);

/* A caller's way out.  The last waiter of a run that was started for waiters cancels it. */
extern void jdy_slot_leave(const SlotTicket *ticket);

/* Whether a run, or a caller in line, has the slot.  With runs_lock held. */
extern bool jdy_slot_is_open(const RunSlot *slot);

/* A copy of the slot; false when it is another's by now. */
extern bool jdy_slot_read(const SlotTicket *ticket, RunSlot *copy);

/* True when its runner should have come long ago. */
extern bool jdy_slot_overdue(const RunSlot *copy);

/* The condition variable to wait on. */
extern ConditionVariable *jdy_slot_changed(const SlotTicket *ticket);

/* No worker ever came: ends the run with an error.  false when one came after all. */
extern bool jdy_slot_abandon(const SlotTicket *ticket, const RunError *error);

/* The runner's side.  attach: false when nobody wants the run any more. */
extern bool jdy_slot_attach(const SlotTicket *ticket, RunRequest *request);
extern void jdy_slot_running(const SlotTicket *ticket);
extern void jdy_slot_set_run_id(const SlotTicket *ticket, int64 run_id);
extern bool jdy_slot_cancelled(const SlotTicket *ticket);
extern RunSlot *jdy_slot_own(const SlotTicket *ticket);

/* The result, for whoever waits; frees the slot when nobody does.  Once. */
extern void jdy_slot_finish(const SlotTicket *ticket, const char *status, const RunCounters *counters,
							const RunError *error, int64 elapsed_us);

/* Asks an open run to stop; false when none is open under this number in this database. */
extern bool jdy_slot_cancel(int64 run_id);

/* True when the stream has an open run in this database, callers in line for a worker not counted. */
extern bool jdy_slot_stream_open(int stream_id);

/* True when that run is to certify the stream's list, or to audit it, and has done all else. */
extern bool jdy_slot_stream_looks_back(int stream_id);

/* Owners of the open runs of this database, one for each run; returns how many, at most JDY_MAX_RUNS. */
extern int	jdy_slot_owners(Oid *owners);

/* Cancels every open run: jdysync.enabled is off. */
extern void jdy_slot_switch_off(void);

/* Whether that is why a run ends. */
extern bool jdy_slot_switched_off(const SlotTicket *ticket);

/* Terminates every runner of a database, and turns away those that are on their way. */
extern void jdy_slot_stop_database(Oid database);

#endif							/* JDY_RUNSLOT_H */
