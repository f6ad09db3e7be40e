/*-------------------------------------------------------------------------
 * detail.c
 *		The details that are due, until none is.
 *
 * A detail is one call for one record, so details are nearly all the calls
 * there are: they use whatever the budget leaves, several at once, newest records
 * first, and land in batches.  What is due stands in a table, so that nothing
 * is lost with the process; what is on the wire is only remembered here.
 *
 * A detail that cannot be had is tried again a few times, then set aside with
 * the reason: it no longer holds up the promise (jdy_coverage names it as an exception) and
 * later runs try it again, ever less often.  Ten in a row are no accident: the run fails.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "absent.h"
#include "lag.h"
#include "miscadmin.h"
#include "progress.h"
#include "pull.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FETCH_DUE 256			/* details taken from the queue at once */
#define LAND_DETAILS 100		/* landed together while replies keep coming */
#define LAND_AFTER_US INT64CONST(1000000)	/* or after this long */
#define MAX_PATIENCE 5			/* tries of a detail that is older than its window, or not there yet */
#define BACKOFF_US INT64CONST(1000000)	/* before the second of them, at most; doubled each time */
#define BACKOFFS 15				/* of the first length: what all of them take together */
#define MAX_SET_ASIDE_IN_A_ROW 10
#define SET_ASIDE_MINUTES_MAX (24 * 60)

/* One detail on its way. */
typedef struct Job
{
	Due		   *due;
	Call	   *call;
	MemoryContext context;
} Job;

typedef struct Fetch
{
	Pull	   *pull;
	MemoryContext context;
	TimestampTz began;
	List	   *ready;			/* of Job: read from the queue, not sent */
	DuePlace	place;			/* how far the queue was read */
	bool		exhausted;		/* it had no more when it was read last */
	List	   *landing;		/* of Job: have come, not landed */
	int64		landed_at_us;
	int64		due;			/* as far as known */
	int			set_aside_in_a_row;
	bool		any_landed;
	int			doubtful;		/* in landing: those that could not be had */
	int			under_way;
} Fetch;

static void submit_more(Fetch *fetch);
static bool read_ready(Fetch *fetch);
static void drop_ready(Fetch *fetch);
static bool wait_for_next_try(Fetch *fetch);
static void submit(Fetch *fetch, Job *job);
static void parse_detail(Call *call, ReplyFacts *facts);
static void land(Fetch *fetch);
static List *take_absent(Fetch *fetch);
static bool holds(const List *ids, const char *id);
static void postpone(Fetch *fetch, Job *job, const char *problem, bool for_good);
static void forget_in_flight(Pull *pull, const char *id);
static bool was_listed_again(Pull *pull, const char *id);
static void drop_job(Fetch *fetch, Job *job);

void
jdy_details_fetch(Pull *pull, bool (*relist) (Pull *pull, bool look))
{
	Fetch		fetch = {0};

	fetch.pull = pull;
	fetch.context = AllocSetContextCreate(pull->context, "jdysync details", ALLOCSET_DEFAULT_SIZES);
	fetch.landed_at_us = jdy_monotonic_us();
	fetch.began = GetCurrentTimestamp();
	jdy_progress_phase(PHASE_DETAILS);

	for (;;)
	{
		bool		listing_due = relist != NULL && relist(pull, true);
		Call	   *call;

		/* The tail is listed when the wire is empty: so nothing new is sent once that is due. */
		if (!listing_due)
			submit_more(&fetch);
		call = jdy_client_next(pull->client, fetch.under_way > 0 ? 100 : 0);
		if (call != NULL)
		{
			fetch.landing = lappend(fetch.landing, ((DetailAsk *) call->owner)->owner);
			fetch.under_way--;
			if (call->outcome != OUTCOME_OK)
				fetch.doubtful++;
		}
		/* Several that could not be had: see soon whether it is all of them. */
		if (list_length(fetch.landing) >= LAND_DETAILS || fetch.doubtful >= MAX_SET_ASIDE_IN_A_ROW ||
			(fetch.landing != NIL && (fetch.under_way == 0 ||
									  jdy_monotonic_us() - fetch.landed_at_us > LAND_AFTER_US)))
			land(&fetch);
		jdy_pull_progress(pull);

		if (fetch.under_way > 0)
			continue;
		if (listing_due)
		{
			drop_ready(&fetch);
			(void) relist(pull, false);
			jdy_progress_phase(PHASE_DETAILS);
		}
		else if (fetch.ready == NIL && !read_ready(&fetch) && !wait_for_next_try(&fetch))
			break;
	}
	MemoryContextDelete(fetch.context);
}

/* Keeps the wire busy: twice as many calls as may run at once. */
static void
submit_more(Fetch *fetch)
{
	int			most = 2 * fetch->pull->stream->endpoint->concurrency;

	while (fetch->under_way < most)
	{
		Job		   *job;
		MemoryContext caller;

		if (fetch->ready == NIL && !read_ready(fetch))
			break;
		job = linitial(fetch->ready);
		fetch->ready = list_delete_first(fetch->ready);
		caller = MemoryContextSwitchTo(job->context);
		submit(fetch, job);
		MemoryContextSwitchTo(caller);
	}
}

/* Reads what is due next from the queue; false when there is nothing that may be tried now. */
static bool
read_ready(Fetch *fetch)
{
	Pull	   *pull = fetch->pull;
	List	   *due;
	bool		from_top;
	ListCell   *cell;

	if (fetch->exhausted && fetch->under_way > 0)
		return false;
	jdy_pull_begin(pull);
	do
	{
		from_top = fetch->place.id[0] == '\0';
		due = jdy_queue_due(pull->stream, pull->in_flight, fetch->began, FETCH_DUE, &fetch->place);
	} while (due == NIL && !from_top);
	foreach(cell, due)
	{
		Due		   *source = lfirst(cell);
		MemoryContext context = AllocSetContextCreate(fetch->context, "jdysync detail", ALLOCSET_SMALL_SIZES);
		MemoryContext landing = MemoryContextSwitchTo(context);
		Job		   *job = palloc0(sizeof(Job));

		job->context = context;
		job->due = palloc(sizeof(Due));
		*job->due = *source;
		job->due->id = pstrdup(source->id);
		if (source->list_row != NULL)
		{
			job->due->list_row = palloc(VARSIZE(source->list_row));
			memcpy(job->due->list_row, source->list_row, VARSIZE(source->list_row));
		}
		MemoryContextSwitchTo(fetch->context);
		fetch->ready = lappend(fetch->ready, job);
		MemoryContextSwitchTo(landing);
	}
	if (fetch->due < FETCH_DUE)
		fetch->due = jdy_queue_count(pull->stream);
	fetch->exhausted = list_length(due) < FETCH_DUE && from_top;
	jdy_progress_totals(-1, fetch->due);
	jdy_pull_commit(pull);
	return due != NIL;
}

/* Not sent yet; the queue still has them. */
static void
drop_ready(Fetch *fetch)
{
	ListCell   *cell;

	foreach(cell, fetch->ready)
		MemoryContextDelete(((Job *) lfirst(cell))->context);
	list_free(fetch->ready);
	fetch->ready = NIL;
	fetch->place.id[0] = '\0';
	fetch->exhausted = false;
}

/* Some wait out a back-off: false when none does. */
static bool
wait_for_next_try(Fetch *fetch)
{
	TimestampTz next_try;

	jdy_pull_begin(fetch->pull);
	next_try = jdy_queue_next_try(fetch->pull->stream);
	jdy_pull_commit(fetch->pull);
	if (next_try == 0)
		return false;

	/* Our clock may have been set back since. */
	jdy_pull_wait(fetch->pull, Min(Max(next_try - GetCurrentTimestamp(), 0), BACKOFF_US << MAX_PATIENCE) + 1000);
	return true;
}

/* In the job's own context. */
static void
submit(Fetch *fetch, Job *job)
{
	Pull	   *pull = fetch->pull;
	MemoryContext caller = MemoryContextSwitchTo(pull->context);

	pull->in_flight = lappend(pull->in_flight, job->due->id);
	MemoryContextSwitchTo(caller);
	job->call = jdy_detail_submit(pull, job->due->due_from == DT_NOBEGIN ? LANE_BACKFILL : LANE_TAIL, job->due->id, job);
	fetch->under_way++;
}

Call *
jdy_detail_submit(Pull *pull, Lane lane, const char *id, void *owner)
{
	const Stream *stream = pull->stream;
	Call	   *call = jdy_call_create(pull->client, CALL_DETAIL, lane, "GET", stream->detail_api);
	DetailAsk  *ask = palloc0(sizeof(DetailAsk));

	ask->id = id;
	ask->owner = owner;
	call->owner = ask;
	call->parse = parse_detail;
	call->record = id;
	jdy_call_param(call, stream->detail_param, id);
	jdy_client_submit(pull->client, call);
	return call;
}

static void
parse_detail(Call *call, ReplyFacts *facts)
{
	DetailAsk  *ask = call->owner;
	PageShape	shape = {.single = true};
	ListPage   *page;
	static List *id_field = NIL;

	if (id_field == NIL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		id_field = list_make1("id");
		MemoryContextSwitchTo(caller);
	}
	shape.id_fields = id_field;
	page = jdy_page_parse(call->reply->body, call->reply->body_length, &shape);
	ask->answer = page;
	facts->errcode = page->errcode;
	facts->no_record = page->no_record;
	facts->well_formed = page->problem == NULL;
	call->service_text = page->problem ? page->problem : page->description;

	/* A detail of another record must never be stored as this one's. */
	if (page->problem == NULL && page->errcode == 0 && !page->no_record &&
		(page->nrows != 1 || (page->rows[0].id != NULL && strcmp(page->rows[0].id, ask->id) != 0)))
	{
		facts->well_formed = false;
		call->service_text = "the detail of another record came back";
	}
}

/* Everything that has come, in one transaction. */
static void
land(Fetch *fetch)
{
	Pull	   *pull = fetch->pull;
	const Stream *stream = pull->stream;
	Detail		details[JDY_LAND_ROWS];
	LagSample	samples[JDY_LAND_ROWS];
	char	   *ids[JDY_LAND_ROWS];
	TimestampTz asked_at[JDY_LAND_ROWS];
	char	   *deleted[JDY_LAND_ROWS];
	char	   *out_of_scope[JDY_LAND_ROWS];
	int			n = 0;
	int			ndone = 0;
	int			ndeleted = 0;
	int			nout = 0;
	List	   *absent;
	ListCell   *cell;

	/* What stops the run is raised before a transaction begins. */
	foreach(cell, fetch->landing)
	{
		Job		   *job = lfirst(cell);

		if (job->call->outcome == OUTCOME_FAILED)
			jdy_call_raise(job->call);
	}

	jdy_pull_begin(pull);
	absent = take_absent(fetch);
	foreach(cell, fetch->landing)
	{
		Job		   *job = lfirst(cell);
		Detail	   *detail = &details[n];
		const char *problem = NULL;

		if (job->call->outcome != OUTCOME_OK)
		{
			bool		gone = job->call->outcome == OUTCOME_GONE;
			bool		counts = true;

			/* A certificate does not have it, and now its detail is gone, too. */
			if (gone && holds(absent, job->due->id))
			{
				deleted[ndeleted++] = job->due->id;
				continue;
			}

			/* Records that were deleted meanwhile are no accident, unless nothing else has come so far. */
			if (gone)
				counts = !fetch->any_landed && job->due->attempts + 1 == MAX_PATIENCE;
			problem = gone ? "the service says that it does not exist" : jdy_call_problem(job->call);
			postpone(fetch, job, problem, !gone);
			if (counts && ++fetch->set_aside_in_a_row >= MAX_SET_ASIDE_IN_A_ROW)
			{
				jdy_pull_commit(pull);
				ereport(ERROR,
						(errcode(ERRCODE_FDW_ERROR),
						 errmsg("too many details in a row could not be had"),
						 errdetail("The last of %d: %s.", MAX_SET_ASIDE_IN_A_ROW, problem),
						 errhint("They are tried again by the next run; jdy_coverage names them.")));
			}
			continue;
		}

		memset(detail, 0, sizeof(Detail));
		detail->id = job->due->id;
		detail->list_row = job->due->list_row;
		detail->row = &((DetailAsk *) job->call->owner)->answer->rows[0];
		detail->asked_at = jdy_asked_at(job->call);
		if (job->due->row_asked_at != 0)
			detail->asked_at = Min(detail->asked_at, job->due->row_asked_at);
		detail->body = jdy_row_jsonb(detail->row, &problem);
		if (detail->body == NULL)
		{
			jdy_runlog_reject(pull->log, detail->id, detail->row->text, detail->row->length, problem, 0, 0);
			pull->counters->rejected++;
			postpone(fetch, job, problem, true);
			continue;
		}
		detail->modified_at = jdy_stream_modified_at(stream, detail->body);

		/* Listed by a window it is older than: another replica answered. */
		if (job->due->due_from != DT_NOBEGIN && detail->modified_at != 0 &&
			detail->modified_at < job->due->due_from && !holds(absent, detail->id))
		{
			postpone(fetch, job, "its detail is older than the window that listed it (is the server's time_zone right?)", false);

			/* Or the window meant nothing: an empty list could not tell, and what is heeded today may be ignored tomorrow. */
			if (job->due->attempts + 1 >= MAX_PATIENCE)
				jdy_contract_doubt(stream->stream_id, Q_FILTER);
			continue;
		}
		fetch->set_aside_in_a_row = 0;
		fetch->any_landed = true;
		samples[n] = (LagSample) {detail->id, detail->modified_at, job->due->first_shown};
		n++;
	}

	jdy_staging_land_details(pull->staging, details, n, pull->counters);
	for (int i = 0; i < n; i++)
	{
		if (!was_listed_again(pull, details[i].id))
		{
			ids[ndone] = unconstify(char *, details[i].id);
			asked_at[ndone++] = details[i].asked_at;
		}
		if (holds(absent, details[i].id))
			out_of_scope[nout++] = unconstify(char *, details[i].id);
	}
	for (int i = 0; i < ndeleted; i++)
	{
		ids[ndone] = deleted[i];
		asked_at[ndone++] = GetCurrentTimestamp();
	}
	jdy_absent_mark(pull, deleted, ndeleted, true);
	jdy_absent_mark(pull, out_of_scope, nout, false);
	jdy_queue_done(stream, ids, asked_at, ndone);
	jdy_lag_note(pull, samples, n);
	jdy_lag_settle(pull);
	fetch->due = Max(fetch->due - ndone, 0);
	jdy_progress_totals(-1, fetch->due);
	jdy_pull_commit(pull);

	foreach(cell, fetch->landing)
		drop_job(fetch, lfirst(cell));
	list_free(fetch->landing);
	fetch->landing = NIL;
	fetch->doubtful = 0;
	fetch->landed_at_us = jdy_monotonic_us();
}

/* Of what is to be landed: the ids of records that a certificate did not find. */
static List *
take_absent(Fetch *fetch)
{
	char	   *ids[JDY_LAND_ROWS];
	int			n = 0;
	ListCell   *cell;

	foreach(cell, fetch->landing)
	{
		Job		   *job = lfirst(cell);

		if (job->call->outcome == OUTCOME_OK || job->call->outcome == OUTCOME_GONE)
			ids[n++] = job->due->id;
	}
	return jdy_absent_take(fetch->pull, ids, n);
}

static bool
holds(const List *ids, const char *id)
{
	ListCell   *cell;

	foreach(cell, ids)
		if (strcmp(lfirst(cell), id) == 0)
			return true;
	return false;
}

/* In the landing transaction.  for_good: the client has tried often enough already. */
static void
postpone(Fetch *fetch, Job *job, const char *problem, bool for_good)
{
	int			attempts = job->due->attempts + 1;
	bool		set_aside = for_good || attempts >= MAX_PATIENCE;
	TimestampTz next_try;

	/* What is visible later than settle is not waited for. */
	if (!set_aside)
		next_try = GetCurrentTimestamp() +
			(Min(BACKOFF_US, fetch->pull->stream->settle_us / BACKOFFS) << (attempts - 1));
	else
	{
		/* The next run tries it again at once, later ones ever less often. */
		int			times = for_good ? attempts - 1 : attempts - MAX_PATIENCE;
		int64		minutes = times <= 0 ? 0 : Min(INT64CONST(1) << Min(times - 1, 20), SET_ASIDE_MINUTES_MAX);

		next_try = GetCurrentTimestamp() + minutes * USECS_PER_MINUTE;
	}
	jdy_queue_postpone(fetch->pull->stream, job->due->id, attempts, next_try, set_aside, problem);
}

static void
drop_job(Fetch *fetch, Job *job)
{
	forget_in_flight(fetch->pull, job->due->id);
	jdy_client_release(fetch->pull->client, job->call);
	MemoryContextDelete(job->context);
}

static void
forget_in_flight(Pull *pull, const char *id)
{
	ListCell   *cell;

	foreach(cell, pull->in_flight)
		if (lfirst(cell) == id)
		{
			pull->in_flight = foreach_delete_current(pull->in_flight, cell);
			break;
		}
	foreach(cell, pull->listed_again)
		if (strcmp(lfirst(cell), id) == 0)
			pull->listed_again = foreach_delete_current(pull->listed_again, cell);
}

static bool
was_listed_again(Pull *pull, const char *id)
{
	ListCell   *cell;

	foreach(cell, pull->listed_again)
		if (strcmp(lfirst(cell), id) == 0)
			return true;
	return false;
}
