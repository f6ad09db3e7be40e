/*-------------------------------------------------------------------------
 * progress.c
 *		Live progress of a run, in shared memory and as a line for psql.
 *
 * The runner writes into its slot as it goes, before anything is committed; the
 * waiting caller and the view jdy_progress read it.  Everything under runs_lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_authid.h"
#include "client.h"
#include "fmgr.h"
#include "funcapi.h"
#include "grant.h"
#include "jdysync.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "progress.h"
#include "spi.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "usage.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define ROWS_PER_PAGE 100		/* the service's cap */
#define PACE_CALLS 20			/* a pace is believed after so many calls … */
#define PACE_US (2 * USECS_PER_SEC) /* … and so long */
#define SAME_TIME_US INT64CONST(500000)	/* of two times to wait for */
#define MOST_MINUTES (60.0 * 24 * 366)	/* an estimate beyond is none */
#define WAIT_CLASS 0xFF000000U	/* of wait_event_info */
#define COLUMNS 27

static RunSlot *own = NULL;

static bool may_see(const RunSlot *slot);
static void changed(RunSlot *slot);
static double pages_done(const RunCounters *counters);
static double pages_left(const RunCounters *counters, const RunProgress *progress);
static double details_left(const RunCounters *counters, const RunProgress *progress);
static double calls_left(const RunCounters *counters, const RunProgress *progress);
static double minutes_left(const RunCounters *counters, const RunProgress *progress);
static double push_left(const RunCounters *counters, const RunProgress *progress, double *done);
static double pace(const RunCounters *counters, const RunProgress *progress, double limit);
static void append_count(StringInfo line, int64 count);
static void put_slot(ReturnSetInfo *rsinfo, const RunSlot *slot);
static const char *phase_name(RunPhase phase);
static const char *waiting_name(const RunSlot *slot, bool is_push);
static bool waits_for_lock(int pid);

PG_FUNCTION_INFO_V1(jdy_progress_rows);

void
jdy_progress_attach(RunSlot *slot)
{
	own = slot;
}

bool
jdy_progress_is_awaited(void)
{
	bool		awaited;

	if (own == NULL)
		return false;
	LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
	awaited = own->waiters > 0;
	LWLockRelease(jdy_shared->runs_lock);
	return awaited;
}

void
jdy_progress_phase(RunPhase phase)
{
	if (own == NULL || own->progress.phase == phase)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->progress.phase = phase;
	own->progress.phase_since = GetCurrentTimestamp();
	if (phase == PHASE_LOADING)
		own->progress.backfill = true;
	changed(own);
	LWLockRelease(jdy_shared->runs_lock);
}

void
jdy_progress_limits(const Endpoint *endpoint, bool details)
{
	PaceLimits	limits = {
		.calls_per_minute = endpoint->calls_per_minute,
		.backfill_share = endpoint->backfill_share,
		.details = details
	};

	if (own == NULL)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->progress.limits = limits;
	own->progress.server_id = endpoint->server_id;
	own->progress.mapping_role = endpoint->user_id;
	LWLockRelease(jdy_shared->runs_lock);
}

/* Often called, and mostly with nothing new: so it is looked at without the lock, by the only process that writes it. */
void
jdy_progress_waiting(RunWaiting waiting, int64 us)
{
	TimestampTz until = us > 0 ? GetCurrentTimestamp() + us : 0;

	if (own == NULL || (own->progress.waiting == waiting && llabs(own->progress.waiting_until - until) < SAME_TIME_US))
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->progress.waiting = waiting;
	own->progress.waiting_until = until;
	changed(own);
	LWLockRelease(jdy_shared->runs_lock);
}

void
jdy_progress_client(Client *client)
{
	int64		us;

	switch (jdy_client_waits_for(client, &us))
	{
		case CLIENT_WAITS_FOR_REPLY:
			jdy_progress_waiting(WAITING_HTTP, 0);
			break;
		case CLIENT_WAITS_FOR_BUDGET:
			jdy_progress_waiting(WAITING_BUDGET, us);
			break;
		case CLIENT_WAITS_AFTER_REFUSAL:
			jdy_progress_waiting(WAITING_REFUSED, us);
			break;
		case CLIENT_WAITS_FOR_BACKOFF:
			jdy_progress_waiting(WAITING_BACKOFF, us);
			break;
		case CLIENT_WAITS_FOR_TOKEN:
			jdy_progress_waiting(WAITING_TOKEN, 0);
			break;
	}
}

void
jdy_progress_asked(TimestampTz from, TimestampTz to)
{
	if (own == NULL)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->progress.window_from = from;
	own->progress.window_to = to;
	own->progress.pages++;
	LWLockRelease(jdy_shared->runs_lock);
}

void
jdy_progress_totals(int64 list_total, int64 details_due)
{
	if (own == NULL)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	if (list_total >= 0)
		own->progress.list_total = list_total;
	if (details_due >= 0)
		own->progress.details_due = details_due;
	changed(own);
	LWLockRelease(jdy_shared->runs_lock);
}

void
jdy_progress_counters(const RunCounters *counters)
{
	if (own == NULL)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->counters = *counters;
	changed(own);
	LWLockRelease(jdy_shared->runs_lock);
}

int
jdy_progress_minutes_left(const RunCounters *counters, const RunProgress *progress)
{
	double		minutes = minutes_left(counters, progress);

	return minutes <= 0 ? -1 : (int) Min(Max(ceil(minutes), 1), INT_MAX / 2);
}

char *
jdy_progress_line(const char *name, const RunCounters *counters, const RunProgress *progress)
{
	StringInfoData line;
	int			minutes = jdy_progress_minutes_left(counters, progress);

	initStringInfo(&line);
	appendStringInfo(&line, "%s: ", name);
	append_count(&line, counters->listed);
	if (progress->list_total >= 0)
	{
		/* What changes meanwhile is listed twice. */
		appendStringInfoString(&line, " of ");
		append_count(&line, Max(progress->list_total, counters->listed));
	}
	appendStringInfoString(&line, " listed, ");
	if (progress->limits.details || counters->details > 0 || progress->details_due > 0)
	{
		append_count(&line, counters->details);
		appendStringInfoString(&line, " details, ");
	}
	append_count(&line, counters->calls);
	appendStringInfoString(&line, " calls");
	if (minutes > 0)
		appendStringInfo(&line, ", about %d min left", minutes);
	return line.data;
}

/*
 * Runs that have begun; those that wait for their stream's lock are no runs yet.
 * A view's functions are called by whoever reads it, so it is decided here whose runs are shown.
 */
Datum
jdy_progress_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (jdy_shared == NULL)
		return (Datum) 0;

	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot		slot;

		LWLockAcquire(jdy_shared->runs_lock, LW_SHARED);
		memcpy(&slot, &jdy_shared->runs[i], sizeof(RunSlot));
		LWLockRelease(jdy_shared->runs_lock);
		if (slot.state == RUN_RUNNING && slot.database == MyDatabaseId && slot.run_id != 0 &&
			slot.extension == jdy_extension_oid() && may_see(&slot))
			put_slot(rsinfo, &slot);
	}
	return (Datum) 0;
}

static bool
may_see(const RunSlot *slot)
{
	StreamRef  *ref;
	bool		may;

	if (has_privs_of_role(GetUserId(), slot->owner) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return true;
	SPI_connect();
	ref = jdy_stream_ref_by_id(slot->stream_id);
	may = ref != NULL && jdy_may_read(ref, GetUserId());
	SPI_finish();
	return may;
}

static void
changed(RunSlot *slot)
{
	slot->progress.updated_at = GetCurrentTimestamp();
}

static double
pages_done(const RunCounters *counters)
{
	return ceil(counters->listed / (double) ROWS_PER_PAGE);
}

static double
pages_left(const RunCounters *counters, const RunProgress *progress)
{
	return ceil(Max(progress->list_total - counters->listed, 0) / (double) ROWS_PER_PAGE);
}

/* When the whole list was or is being read, all records that are known will want their details. */
static double
details_left(const RunCounters *counters, const RunProgress *progress)
{
	bool		due_known = progress->details_due >= 0 && progress->phase != PHASE_LOADING;

	if (!due_known && progress->backfill && progress->limits.details)
		return Max(Max(progress->list_total, counters->listed) - counters->details, 0);
	return Max(progress->details_due, 0);
}

/* -1 = not known. */
static double
calls_left(const RunCounters *counters, const RunProgress *progress)
{
	bool		known = progress->phase == PHASE_LOADING ? progress->list_total >= 0 :
		progress->phase == PHASE_DETAILS || progress->phase == PHASE_AUDITING ? progress->details_due >= 0 :
		progress->phase == PHASE_FINISHING;

	return known ? pages_left(counters, progress) + details_left(counters, progress) : -1;
}

/* Not positive: not known, or nothing is left. */
static double
minutes_left(const RunCounters *counters, const RunProgress *progress)
{
	double		pages = pages_left(counters, progress);
	double		details = details_left(counters, progress);
	double		limit = progress->limits.calls_per_minute * (progress->backfill ? progress->limits.backfill_share / 100.0 : 1.0);
	double		per_minute = pace(counters, progress, limit);

	if (pages + details <= 0 || per_minute <= 0)
		return -1;
	/* Pages come one after another, details several at once: the pace of the former says nothing of the latter. */
	if (progress->phase != PHASE_DETAILS && limit > 0)
		return pages / per_minute + details / limit;
	return (pages + details) / per_minute;
}

/* Records that a push has still to send, -1 = not known; *done: those that were. */
static double
push_left(const RunCounters *counters, const RunProgress *progress, double *done)
{
	*done = counters->delivered + counters->deleted + counters->dead;
	return progress->phase == PHASE_PUSHING || progress->phase == PHASE_FINISHING ? Max(counters->pending - *done, 0) : -1;
}

/* Calls a minute: as observed, but what a burst at the start shows cannot last beyond the limit (0 = none). */
static double
pace(const RunCounters *counters, const RunProgress *progress, double limit)
{
	int64		elapsed_us = progress->updated_at - progress->started_at;
	double		observed;

	if (counters->calls < PACE_CALLS || elapsed_us < PACE_US)
		return limit;
	observed = counters->calls * ((double) USECS_PER_MINUTE / elapsed_us);
	return limit > 0 ? Min(observed, limit) : observed;
}

/* 12,300 */
static void
append_count(StringInfo line, int64 count)
{
	char		digits[32];
	int			length = snprintf(digits, sizeof(digits), INT64_FORMAT, count);

	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0)
			appendStringInfoChar(line, ',');
		appendStringInfoChar(line, digits[i]);
	}
}

static void
put_slot(ReturnSetInfo *rsinfo, const RunSlot *slot)
{
	const RunCounters *counters = &slot->counters;
	const RunProgress *progress = &slot->progress;
	bool		is_push = progress->phase == PHASE_SCANNING || progress->phase == PHASE_PUSHING || counters->pending > 0;
	const char *waiting = waiting_name(slot, is_push);
	double		done = pages_done(counters) + counters->details;
	double		left = is_push ? push_left(counters, progress, &done) : calls_left(counters, progress);
	double		minutes = is_push ? left * (progress->updated_at - progress->phase_since) / (Max(done, 1) * USECS_PER_MINUTE) :
		minutes_left(counters, progress);
	bool		eta_known = left > 0 && minutes > 0 && (!is_push || done > 0);
	int			budget = jdy_usage_left(progress->server_id, progress->mapping_role);
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {0};
	int			n = 0;

#define PUT(datum, isnull) (nulls[n] = (isnull), values[n++] = (datum))
	PUT(Int64GetDatum(slot->run_id), false);
	PUT(Int32GetDatum(slot->stream_id), false);
	PUT(Int32GetDatum(slot->runner_pid), false);
	PUT(CStringGetTextDatum(phase_name(progress->phase)), false);
	PUT(Int32GetDatum(left + done > 0 ? (int) (100 * done / (left + done)) : 100), left < 0);
	PUT(TimestampTzGetDatum(progress->updated_at + (int64) (eta_known ? Min(minutes, MOST_MINUTES) * USECS_PER_MINUTE : 0)), !eta_known);
	PUT(waiting == NULL ? (Datum) 0 : CStringGetTextDatum(waiting), waiting == NULL);
	PUT(TimestampTzGetDatum(progress->waiting_until), progress->waiting_until == 0);
	PUT(Int64GetDatum(counters->listed), false);
	PUT(Int64GetDatum(progress->list_total), progress->list_total < 0);
	PUT(Int64GetDatum(progress->pages), false);
	PUT(TimestampTzGetDatum(progress->window_from), progress->window_from == 0 || progress->window_from == DT_NOBEGIN);
	PUT(TimestampTzGetDatum(progress->window_to), progress->window_to == 0 || progress->window_to == DT_NOEND);
	PUT(Int64GetDatum(counters->details), false);
	PUT(Int64GetDatum(progress->details_due), progress->details_due < 0);
	PUT(Int64GetDatum(counters->inserted), false);
	PUT(Int64GetDatum(counters->updated), false);
	PUT(Int64GetDatum(counters->unchanged), false);
	PUT(Int64GetDatum(counters->rejected), false);
	PUT(Int64GetDatum(counters->pending), false);
	PUT(Int64GetDatum(counters->delivered), false);
	PUT(Int64GetDatum(counters->dead), false);
	PUT(Int64GetDatum(counters->calls), false);
	PUT(Int64GetDatum(counters->retries), false);
	PUT(Int32GetDatum(budget), budget < 0);
	PUT(TimestampTzGetDatum(progress->started_at), false);
	PUT(TimestampTzGetDatum(progress->updated_at), false);
#undef PUT
	Assert(n == COLUMNS);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static const char *
phase_name(RunPhase phase)
{
	switch (phase)
	{
		case PHASE_STARTING:
			return "starting";
		case PHASE_LOADING:
			return "loading";
		case PHASE_LISTING:
			return "listing";
		case PHASE_DETAILS:
			return "details";
		case PHASE_VERIFYING:
			return "verifying";
		case PHASE_AUDITING:
			return "auditing";
		case PHASE_SCANNING:
			return "scanning";
		case PHASE_PUSHING:
			return "pushing";
		case PHASE_FINISHING:
			return "finishing";
	}
	return "unknown";
}

/* The database before the service: who waits for a lock has nothing on the wire. */
static const char *
waiting_name(const RunSlot *slot, bool is_push)
{
	if (waits_for_lock(slot->runner_pid))
		return "lock";
	switch (slot->progress.waiting)
	{
		case WAITING_NOTHING:
			return NULL;
		case WAITING_HTTP:
			return is_push ? "target" : "service";
		case WAITING_BUDGET:
			return "budget";
		case WAITING_REFUSED:
			return "Retry-After";
		case WAITING_BACKOFF:
			return "back-off";
		case WAITING_TOKEN:
			return "token";
		case WAITING_SETTLE:
			return "settle";
	}
	return NULL;
}

static bool
waits_for_lock(int pid)
{
	PGPROC	   *process = pid != 0 ? BackendPidGetProc(pid) : NULL;

	return process != NULL && (process->wait_event_info & WAIT_CLASS) == PG_WAIT_LOCK;
}
