/*-------------------------------------------------------------------------
 * runslot.c
 *		Slots of open runs in shared memory: where callers and runners meet.
 *
 * A caller takes a slot, registers a worker that gets the slot's number when it is
 * the slot's turn, and waits on the slot's condition variable.  Either may vanish at
 * any moment:
 *
 *	last caller leaves the line				the slot is free at once
 *	caller leaves before the runner came	the slot is free at once; the
 *											runner finds its ticket void, exits
 *	last caller leaves later				cancel is set, the runner signalled
 *	a caller of several leaves				the others go on waiting
 *	runner ends, in whatever way			DONE, freed by the last waiter, at
 *											once when there is none
 *	runner never comes						a waiter abandons the slot
 *	its database is dropped, copied …		the runner is signalled; one that did
 *											not come yet finds its ticket void
 *	a process dies hard						the cluster restarts, all is gone
 *
 * A run that was queued outlives its waiters: somebody asked for it who does
 * not wait.  A slot whose runner neither came nor was given up within
 * START_LIMIT_MS does not count any more.
 *
 * Who may have a worker, and when, is the line's to say (line.c).
 *
 * Everything is guarded by runs_lock; signals are sent under it, so that a pid in
 * a slot is always the runner's.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "line.h"
#include "miscadmin.h"
#include "runslot.h"
#include "utils/timestamp.h"

#define START_LIMIT_MS 60000

static RunSlot *find_joinable(const RunRequest *request);
static RunSlot *find_free(void);
static void tell_line(void);
static void take(RunSlot *slot, const RunRequest *request, RunState state);
static RunSlot *valid(const SlotTicket *ticket);
static void note_ticket(const RunSlot *slot, SlotTicket *ticket);
static bool find_open(int stream_id, bool looking_back);
static void request_cancel(RunSlot *slot);

bool
jdy_slot_enter(const RunRequest *request, SlotTicket *ticket)
{
	RunSlot    *slot;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot = find_joinable(request);
	if (slot != NULL)
		slot->waiters++;
	else if ((slot = find_free()) != NULL)
		take(slot, request, RUN_WAITING);
	if (slot != NULL)
		note_ticket(slot, ticket);
	LWLockRelease(jdy_shared->runs_lock);
	return slot != NULL;
}

bool
jdy_slot_claim(const SlotTicket *ticket, int limit)
{
	RunSlot    *slot;
	bool		claimed = false;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot = valid(ticket);
	if (slot != NULL && slot->state == RUN_WAITING)
	{
		slot->asked_at = GetCurrentTimestamp();
		claimed = jdy_line_may_start(slot->place, slot->heavy, limit);
		if (claimed)
		{
			slot->state = RUN_STARTING;
			slot->progress.started_at = slot->progress.updated_at = slot->asked_at;
		}
	}
	LWLockRelease(jdy_shared->runs_lock);
	return claimed;
}

bool
jdy_slot_take_queued(const RunRequest *request, int limit, SlotTicket *ticket)
{
	RunSlot    *slot = NULL;
	uint64		place;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	place = jdy_line_ask(request->database, request->heavy);
	if (jdy_line_may_start(place, request->heavy, limit))
		slot = find_free();
	if (slot != NULL)
	{
		jdy_line_served(request->database, request->heavy);
		take(slot, request, RUN_STARTING);
		note_ticket(slot, ticket);
	}
	LWLockRelease(jdy_shared->runs_lock);
	return slot != NULL;
}

void
jdy_slot_leave_line(Oid database, bool heavy)
{
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	jdy_line_served(database, heavy);
	LWLockRelease(jdy_shared->runs_lock);
}

void
jdy_slot_leave(const SlotTicket *ticket)
{
	RunSlot    *slot;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot = valid(ticket);
	if (slot != NULL && --slot->waiters == 0)
	{
		if (slot->state == RUN_DONE)
			slot->state = RUN_FREE;
		else if (slot->waited_for && slot->runner_pid == 0)
			slot->state = RUN_FREE;
		else if (slot->waited_for)
			request_cancel(slot);
	}
	LWLockRelease(jdy_shared->runs_lock);
	tell_line();
}

bool
jdy_slot_read(const SlotTicket *ticket, RunSlot *copy)
{
	RunSlot    *slot;

	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	slot = valid(ticket);
	if (slot != NULL)
		memcpy(copy, slot, sizeof(RunSlot));
	LWLockRelease(jdy_shared->runs_lock);
	return slot != NULL;
}

ConditionVariable *
jdy_slot_changed(const SlotTicket *ticket)
{
	return &jdy_shared->runs[ticket->index].changed;
}

bool
jdy_slot_abandon(const SlotTicket *ticket, const RunError *error)
{
	RunSlot    *slot;
	bool		abandoned;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot = valid(ticket);
	abandoned = slot != NULL && slot->state == RUN_STARTING && slot->runner_pid == 0;
	if (abandoned)
	{
		slot->error = *error;
		strlcpy(slot->status, "failed", sizeof(slot->status));
		slot->state = slot->waiters > 0 ? RUN_DONE : RUN_FREE;
	}
	LWLockRelease(jdy_shared->runs_lock);

	if (abandoned)
	{
		ConditionVariableBroadcast(jdy_slot_changed(ticket));
		tell_line();
	}
	return abandoned;
}

bool
jdy_slot_attach(const SlotTicket *ticket, RunRequest *request)
{
	RunSlot    *slot;
	bool		wanted;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot = valid(ticket);
	wanted = slot != NULL && slot->state == RUN_STARTING && slot->runner_pid == 0;
	if (wanted)
	{
		slot->runner_pid = MyProcPid;
		request->database = slot->database;
		request->extension = slot->extension;
		request->owner = slot->owner;
		request->stream_id = slot->stream_id;
		request->mode = slot->mode;
		request->from_time = slot->from_time;
		request->to_time = slot->to_time;
		request->run_id = slot->run_id;
	}
	LWLockRelease(jdy_shared->runs_lock);
	return wanted;
}

void
jdy_slot_running(const SlotTicket *ticket)
{
	RunSlot    *slot = jdy_slot_own(ticket);

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot->state = RUN_RUNNING;
	slot->progress.started_at = GetCurrentTimestamp();
	slot->progress.updated_at = slot->progress.started_at;
	LWLockRelease(jdy_shared->runs_lock);
	ConditionVariableBroadcast(&slot->changed);
}

void
jdy_slot_set_run_id(const SlotTicket *ticket, int64 run_id)
{
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	jdy_slot_own(ticket)->run_id = run_id;
	LWLockRelease(jdy_shared->runs_lock);
}

bool
jdy_slot_cancelled(const SlotTicket *ticket)
{
	bool		cancel;

	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	cancel = jdy_slot_own(ticket)->cancel;
	LWLockRelease(jdy_shared->runs_lock);
	return cancel;
}

/* Between attach and finish the slot cannot become another's. */
RunSlot *
jdy_slot_own(const SlotTicket *ticket)
{
	return &jdy_shared->runs[ticket->index];
}

void
jdy_slot_finish(const SlotTicket *ticket, const char *status, const RunCounters *counters,
				const RunError *error, int64 elapsed_us)
{
	RunSlot    *slot;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	slot = valid(ticket);
	if (slot != NULL && slot->runner_pid == MyProcPid)
	{
		slot->runner_pid = 0;
		slot->counters = *counters;
		slot->error = *error;
		slot->elapsed_us = elapsed_us;
		strlcpy(slot->status, status, sizeof(slot->status));
		slot->state = slot->waiters > 0 ? RUN_DONE : RUN_FREE;
	}
	LWLockRelease(jdy_shared->runs_lock);
	ConditionVariableBroadcast(jdy_slot_changed(ticket));
	tell_line();
}

bool
jdy_slot_cancel(int64 run_id)
{
	bool		found = false;

	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	for (int i = 0; i < JDY_MAX_RUNS && !found; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		found = jdy_slot_is_open(slot) && slot->database == MyDatabaseId && slot->run_id == run_id;
		if (found)
			request_cancel(slot);
	}
	LWLockRelease(jdy_shared->runs_lock);
	return found;
}

bool
jdy_slot_is_open(const RunSlot *slot)
{
	if (slot->state == RUN_STARTING && slot->runner_pid == 0)
		return !TimestampDifferenceExceeds(slot->progress.started_at, GetCurrentTimestamp(), START_LIMIT_MS);
	return slot->state == RUN_WAITING || slot->state == RUN_STARTING || slot->state == RUN_RUNNING;
}

bool
jdy_slot_overdue(const RunSlot *copy)
{
	return copy->state == RUN_STARTING && !jdy_slot_is_open(copy);
}

bool
jdy_slot_stream_open(int stream_id)
{
	return find_open(stream_id, false);
}

bool
jdy_slot_stream_looks_back(int stream_id)
{
	return find_open(stream_id, true);
}

static bool
find_open(int stream_id, bool looking_back)
{
	bool		found = false;

	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	for (int i = 0; i < JDY_MAX_RUNS && !found; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		found = jdy_slot_is_open(slot) && slot->state != RUN_WAITING &&
			slot->database == MyDatabaseId && slot->stream_id == stream_id &&
			(!looking_back || slot->progress.phase == PHASE_VERIFYING || slot->progress.phase == PHASE_AUDITING);
	}
	LWLockRelease(jdy_shared->runs_lock);
	return found;
}

int
jdy_slot_owners(Oid *owners)
{
	int			n = 0;

	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		if (jdy_slot_is_open(slot) && slot->state != RUN_WAITING && slot->database == MyDatabaseId)
			owners[n++] = slot->owner;
	}
	LWLockRelease(jdy_shared->runs_lock);
	return n;
}

void
jdy_slot_switch_off(void)
{
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		if (!jdy_slot_is_open(slot) || slot->state == RUN_WAITING)
			continue;
		slot->switched_off = true;
		request_cancel(slot);
	}
	LWLockRelease(jdy_shared->runs_lock);
}

bool
jdy_slot_switched_off(const SlotTicket *ticket)
{
	bool		off;

	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	off = jdy_slot_own(ticket)->switched_off;
	LWLockRelease(jdy_shared->runs_lock);
	return off;
}

void
jdy_slot_stop_database(Oid database)
{
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		if (!jdy_slot_is_open(slot) || slot->database != database)
			continue;
		if (slot->runner_pid != 0)
			kill(slot->runner_pid, SIGTERM);
		else if (slot->waiters == 0)
			slot->state = RUN_FREE;
	}
	LWLockRelease(jdy_shared->runs_lock);
	tell_line();
}

/* A range is never shared: two ranges that look alike are asked for on purpose. */
static RunSlot *
find_joinable(const RunRequest *request)
{
	if (request->mode == MODE_RANGE)
		return NULL;
	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		if (jdy_slot_is_open(slot) && slot->state != RUN_RUNNING && !slot->cancel &&
			slot->database == request->database && slot->extension == request->extension &&
			slot->stream_id == request->stream_id && slot->owner == request->owner &&
			slot->mode == request->mode)
			return slot;
	}
	return NULL;
}

static RunSlot *
find_free(void)
{
	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		if (slot->state == RUN_FREE || (slot->waiters == 0 && !jdy_slot_is_open(slot)))
			return slot;
	}
	return NULL;
}

/* A worker may be had.  Who is overlooked, as nothing is locked here, asks again by the clock. */
static void
tell_line(void)
{
	for (int i = 0; i < JDY_MAX_RUNS; i++)
		if (jdy_shared->runs[i].state == RUN_WAITING)
			ConditionVariableBroadcast(&jdy_shared->runs[i].changed);
}

/* Everything but the condition variable, on which former waiters may still be listed. */
static void
take(RunSlot *slot, const RunRequest *request, RunState state)
{
	bool		waits = state == RUN_WAITING;

	slot->state = state;
	slot->ticket++;
	slot->database = request->database;
	slot->extension = request->extension;
	slot->owner = request->owner;
	slot->stream_id = request->stream_id;
	slot->mode = request->mode;
	slot->from_time = request->from_time;
	slot->to_time = request->to_time;
	slot->run_id = request->run_id;
	slot->runner_pid = 0;
	slot->waiters = waits ? 1 : 0;
	slot->waited_for = waits;
	slot->heavy = request->heavy;
	slot->cancel = false;
	slot->switched_off = false;
	slot->place = waits ? jdy_line_new_place() : 0;
	slot->asked_at = GetCurrentTimestamp();
	slot->elapsed_us = 0;
	slot->status[0] = '\0';
	MemSet(&slot->counters, 0, sizeof(RunCounters));
	MemSet(&slot->error, 0, sizeof(RunError));
	MemSet(&slot->progress, 0, sizeof(RunProgress));
	slot->progress.list_total = -1;
	slot->progress.details_due = -1;
	slot->progress.started_at = GetCurrentTimestamp();
	slot->progress.updated_at = slot->progress.started_at;
}

static RunSlot *
valid(const SlotTicket *ticket)
{
	RunSlot    *slot = &jdy_shared->runs[ticket->index];

	return slot->state != RUN_FREE && slot->ticket == ticket->ticket ? slot : NULL;
}

static void
note_ticket(const RunSlot *slot, SlotTicket *ticket)
{
	ticket->index = slot - jdy_shared->runs;
	ticket->ticket = slot->ticket;
}

/* A runner that has not come yet looks at the flag when it does. */
static void
request_cancel(RunSlot *slot)
{
	slot->cancel = true;
	if (slot->runner_pid != 0)
		kill(slot->runner_pid, SIGINT);
}
