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
#include "fmgr.h"
#include "funcapi.h"
#include "jdysync.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "progress.h"
#include "spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define ROWS_PER_PAGE 100		/* the service's cap */
#define PACE_CALLS 20			/* a pace is believed after so many calls … */
#define PACE_US (2 * USECS_PER_SEC) /* … and so long */

static RunSlot *own = NULL;

static void changed(RunSlot *slot);
static double pages_left(const RunCounters *counters, const RunProgress *progress);
static double details_left(const RunCounters *counters, const RunProgress *progress, const PaceLimits *limits);
static double pace(const RunCounters *counters, const RunProgress *progress, double limit);
static void append_count(StringInfo line, int64 count);
static void put_slot(ReturnSetInfo *rsinfo, const RunSlot *slot);
static const char *phase_name(RunPhase phase);
static const char *waiting_name(RunWaiting waiting);

PG_FUNCTION_INFO_V1(jdy_progress_rows);

void
jdy_progress_attach(RunSlot *slot)
{
	own = slot;
}

void
jdy_progress_phase(RunPhase phase)
{
	if (own == NULL || own->progress.phase == phase)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->progress.phase = phase;
	if (phase == PHASE_LOADING)
		own->progress.backfill = true;
	changed(own);
	LWLockRelease(jdy_shared->runs_lock);
}

void
jdy_progress_waiting(RunWaiting waiting)
{
	if (own == NULL || own->progress.waiting == waiting)
		return;
	LWLockAcquire(jdy_shared->runs_lock, LW_EXCLUSIVE);
	own->progress.waiting = waiting;
	changed(own);
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
jdy_progress_minutes_left(const RunCounters *counters, const RunProgress *progress, const PaceLimits *limits)
{
	double		pages = pages_left(counters, progress);
	double		details = details_left(counters, progress, limits);
	double		limit = limits->calls_per_minute * (progress->backfill ? limits->backfill_share / 100.0 : 1.0);
	double		per_minute = pace(counters, progress, limit);
	double		minutes;

	if (pages + details <= 0 || per_minute <= 0)
		return -1;
	/* Pages come one after another, details several at once: the pace of the former says nothing of the latter. */
	if (progress->phase != PHASE_DETAILS && limit > 0)
		minutes = pages / per_minute + details / limit;
	else
		minutes = (pages + details) / per_minute;
	return (int) Min(Max(ceil(minutes), 1), INT_MAX / 2);
}

char *
jdy_progress_line(const char *name, const RunCounters *counters, const RunProgress *progress, const PaceLimits *limits)
{
	StringInfoData line;
	int			minutes = jdy_progress_minutes_left(counters, progress, limits);

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
	if (limits->details || counters->details > 0 || progress->details_due > 0)
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
			slot.extension == jdy_extension_oid() &&
			(has_privs_of_role(GetUserId(), slot.owner) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)))
			put_slot(rsinfo, &slot);
	}
	return (Datum) 0;
}

static void
changed(RunSlot *slot)
{
	slot->progress.updated_at = GetCurrentTimestamp();
}

static double
pages_left(const RunCounters *counters, const RunProgress *progress)
{
	return ceil(Max(progress->list_total - counters->listed, 0) / (double) ROWS_PER_PAGE);
}

/* When the whole list was or is being read, all records that are known will want their details. */
static double
details_left(const RunCounters *counters, const RunProgress *progress, const PaceLimits *limits)
{
	bool		due_known = progress->details_due >= 0 && progress->phase != PHASE_LOADING;

	if (!due_known && progress->backfill && limits->details)
		return Max(Max(progress->list_total, counters->listed) - counters->details, 0);
	return Max(progress->details_due, 0);
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
	const char *waiting = waiting_name(progress->waiting);
	Datum		values[19];
	bool		nulls[19] = {0};

	values[0] = Int64GetDatum(slot->run_id);
	values[1] = Int32GetDatum(slot->stream_id);
	values[2] = CStringGetTextDatum(phase_name(progress->phase));
	nulls[3] = waiting == NULL;
	values[3] = waiting == NULL ? (Datum) 0 : CStringGetTextDatum(waiting);
	values[4] = Int64GetDatum(counters->listed);
	nulls[5] = progress->list_total < 0;
	values[5] = Int64GetDatum(progress->list_total);
	values[6] = Int64GetDatum(counters->details);
	nulls[7] = progress->details_due < 0;
	values[7] = Int64GetDatum(progress->details_due);
	values[8] = Int64GetDatum(counters->inserted);
	values[9] = Int64GetDatum(counters->updated);
	values[10] = Int64GetDatum(counters->unchanged);
	values[11] = Int64GetDatum(counters->rejected);
	values[12] = Int64GetDatum(counters->pending);
	values[13] = Int64GetDatum(counters->delivered);
	values[14] = Int64GetDatum(counters->dead);
	values[15] = Int64GetDatum(counters->calls);
	values[16] = Int64GetDatum(counters->retries);
	values[17] = TimestampTzGetDatum(progress->started_at);
	values[18] = TimestampTzGetDatum(progress->updated_at);
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
		case PHASE_SCANNING:
			return "scanning";
		case PHASE_PUSHING:
			return "pushing";
		case PHASE_FINISHING:
			return "finishing";
	}
	return "unknown";
}

static const char *
waiting_name(RunWaiting waiting)
{
	switch (waiting)
	{
		case WAITING_NOTHING:
			return NULL;
		case WAITING_HTTP:
			return "reply";
		case WAITING_BUDGET:
			return "budget";
		case WAITING_BACKOFF:
			return "back-off";
		case WAITING_TOKEN:
			return "token";
		case WAITING_SETTLE:
			return "settle";
	}
	return NULL;
}
