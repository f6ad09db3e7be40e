/*-------------------------------------------------------------------------
 * listing.c
 *		What the parts of a run share: list requests, landing, progress.
 *
 * load.c and window.c ask the same list in different ways, and what they get
 * lands in the same way: rows into staging, marks into the queue, bad rows
 * among the rejects, in one short transaction.
 *
 * Called by pull.c, probe.c, load.c, window.c and detail.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "absent.h"
#include "lag.h"
#include "miscadmin.h"
#include "progress.h"
#include "pull.h"
#include "sighted.h"
#include "spi.h"
#include "sweep.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

static void add_edge(Call *call, const Stream *stream, const char *param, WindowFormat format, TimestampTz at, bool open);
static void parse_list(Call *call, ReplyFacts *facts);
static void note_found(Pull *pull, const char *id, bool known_there, SightingKind kind);
static List *without(List *ids, const char *id);

Call *
jdy_list_submit(Pull *pull, Lane lane, TimestampTz from, TimestampTz to, int page, int size, void *owner)
{
	const Stream *stream = pull->stream;
	const RequestPlan *plan = stream->plan;
	Call	   *call = jdy_call_create(pull->client, CALL_LIST, lane, stream->method, stream->api);
	ListAsk    *ask = palloc0(sizeof(ListAsk));
	char		number[16];
	ListCell   *cell;

	ask->pull = pull;
	ask->from = from;
	ask->to = to;
	ask->page = page;
	ask->size = stream->whole ? INT_MAX : size;
	ask->owner = owner;
	call->owner = ask;
	call->parse = parse_list;

	foreach(cell, plan->fixed)
	{
		CallParam  *param = lfirst(cell);

		jdy_call_param(call, param->name, param->value);
	}
	add_edge(call, stream, plan->start_param, plan->start_format, from, from == DT_NOBEGIN);
	add_edge(call, stream, plan->end_param, plan->end_format, to, to == DT_NOEND);
	if (!stream->whole)
	{
		snprintf(number, sizeof(number), "%d", page);
		jdy_call_param(call, plan->page_param, number);
		snprintf(number, sizeof(number), "%d", size);
		jdy_call_param(call, plan->size_param, number);
	}
	jdy_client_submit(pull->client, call);
	jdy_progress_asked(from, to);
	return call;
}

static void
add_edge(Call *call, const Stream *stream, const char *param, WindowFormat format, TimestampTz at, bool open)
{
	if (param != NULL && !open)
		jdy_call_param(call, param, jdy_window_value(format, at, stream->endpoint->time_zone));
	else if (param != NULL && stream->plan->no_edge != NULL)
		jdy_call_param(call, param, stream->plan->no_edge);
}

Call *
jdy_list_ask(Pull *pull, Lane lane, TimestampTz from, TimestampTz to, int page, int size)
{
	Call	   *call = jdy_list_try(pull, lane, from, to, page, size);

	if (!jdy_list_past_end(call))
		(void) jdy_list_answer(call);
	return call;
}

Call *
jdy_list_try(Pull *pull, Lane lane, TimestampTz from, TimestampTz to, int page, int size)
{
	Call	   *call;

	Assert(jdy_client_pending(pull->client) == 0);
	jdy_list_submit(pull, lane, from, to, page, size, NULL);
	do
	{
		call = jdy_client_next(pull->client, 200);
		jdy_pull_progress(pull);
	} while (call == NULL);
	return call;
}

TimestampTz
jdy_asked_at(const Call *call)
{
	return call->asked_at != 0 ? call->asked_at : GetCurrentTimestamp() - OUR_CLOCK_ERROR_US;
}

ListPage *
jdy_list_answer(Call *call)
{
	if (call->outcome != OUTCOME_OK)
		jdy_call_raise(call);
	return ((ListAsk *) call->owner)->answer;
}

static void
parse_list(Call *call, ReplyFacts *facts)
{
	ListAsk    *ask = call->owner;
	ListPage   *page = jdy_page_parse(call->reply->body, call->reply->body_length, &ask->pull->stream->shape);

	ask->answer = page;
	facts->errcode = page->errcode;
	call->service_text = page->problem ? page->problem : page->description;

	/*
	 * Past the end some services show the last page again: the page that was asked
	 * is empty.  Without a count that is believed only where nothing is proven by it.
	 */
	if (page->problem == NULL && page->page >= 1 && page->page < ask->page &&
		(page->count >= 0 ? page->page * ask->size >= page->count : !ask->proves))
		page->nrows = 0;

	/* A page that was not asked for is trouble on the way, never an empty page. */
	facts->well_formed = page->problem == NULL && page->nrows <= ask->size &&
		(page->page < 0 || page->page == ask->page || (page->page < ask->page && page->nrows == 0));
	if (facts->well_formed)
		ask->pull->given = Max(ask->pull->given, page->nrows);
	else if (page->problem == NULL)
		call->service_text = page->nrows > ask->size ? "more rows than the page was asked to hold" : "another page than asked came back";
}

bool
jdy_list_may_be_cut(const Pull *pull, const ListPage *page)
{
	return page->nrows > 1 && page->nrows >= pull->given && !pull->stream->whole;
}

bool
jdy_list_past_end(const Call *call)
{
	const ListAsk *ask = call->owner;

	if (ask->page == 1)
		return false;
	if (call->outcome == OUTCOME_FAILED)
		return call->verdict == VERDICT_STOP && call->errcode > 0;
	return call->outcome == OUTCOME_OK && ask->answer->nrows == 0 && ask->answer->page < ask->page;
}

TimestampTz
jdy_server_now(Pull *pull)
{
	bool		known;
	TimestampTz now = jdy_client_server_time(pull->client, &known);

	if (!known)
	{
		jdy_client_release(pull->client, jdy_list_ask(pull, LANE_TAIL, DT_NOBEGIN, DT_NOEND, 1, 1));
		now = jdy_client_server_time(pull->client, &known);
		pull->timeless = !known;
	}
	return now;
}

void
jdy_pull_land(Pull *pull, Row **rows, int nrows, const Sighting *sighting)
{
	Known		known[JDY_LAND_ROWS];
	char	  **shown = palloc(sizeof(char *) * (nrows + 1));
	int			nshown = 0;
	List	   *marked = NIL;
	bool		clock_known;
	TimestampTz now = jdy_client_server_time(pull->client, &clock_known) + CLOCK_ERROR_US;
	ListCell   *cell;

	nrows = jdy_sort_rows(rows, nrows, NULL);
	for (int first = 0; first < nrows; first += JDY_LAND_ROWS)
	{
		int			n = Min(nrows - first, JDY_LAND_ROWS);

		jdy_lag_note_rows(pull, rows + first, n, sighting);
		jdy_staging_land_list(pull->staging, rows + first, n, known, pull->counters);
		if (pull->stream->details)
			jdy_queue_note(pull->stream, pull->staging, rows + first, n, known, sighting, now, &marked);
		for (int i = 0; i < n; i++)
		{
			bool		known_there = known[i].exists && !known[i].gone;

			if (!known_there || (sighting->kind == SEEN_IN_LOAD && !pull->stream->loaded))
				shown[nshown++] = rows[first + i]->id;
			note_found(pull, rows[first + i]->id, known_there, sighting->kind);
			pull->shown = without(pull->shown, rows[first + i]->id);
			jdy_sweep_note(pull, rows[first + i]->id, known_there);
		}
	}
	if (pull->stream->narrowing == NULL)
		jdy_sighted_note(pull->stream->stream_id, shown, nshown);
	if (pull->absent)
	{
		for (int i = 0; i < nrows; i++)
			shown[i] = rows[i]->id;
		jdy_absent_listed(pull, shown, nrows);
	}

	/* A record listed again while its detail is on the wire must not count as done when that lands. */
	foreach(cell, marked)
	{
		ListCell   *flying;

		foreach(flying, pull->in_flight)
			if (strcmp(lfirst(flying), lfirst(cell)) == 0)
			{
				MemoryContext caller = MemoryContextSwitchTo(pull->context);

				pull->listed_again = lappend(pull->listed_again, pstrdup(lfirst(cell)));
				MemoryContextSwitchTo(caller);
			}
	}
}

/* What an audit shows and staging does not have; until a window lists it. */
static void
note_found(Pull *pull, const char *id, bool known_there, SightingKind kind)
{
	if (kind == SEEN_IN_AUDIT && !known_there)
	{
		MemoryContext caller = MemoryContextSwitchTo(pull->context);

		pull->found = lappend(pull->found, pstrdup(id));
		MemoryContextSwitchTo(caller);
	}
	else if (kind != SEEN_IN_AUDIT)
		pull->found = without(pull->found, id);
}

static List *
without(List *ids, const char *id)
{
	ListCell   *cell;

	foreach(cell, ids)
		if (strcmp(lfirst(cell), id) == 0)
			ids = foreach_delete_current(ids, cell);
	return ids;
}

void
jdy_pull_reject(Pull *pull, ListPage *page, const Sighting *sighting)
{
	TimestampTz to = 0;

	/* A tail is listed again anyway. */
	if ((sighting->kind == SEEN_IN_LOAD && sighting->to == 0) || sighting->kind == SEEN_IN_AUDIT)
		to = pull->stream->load_began;
	else if (sighting->kind != SEEN_IN_OLD_TAIL && sighting->kind != SEEN_IN_NEW_TAIL)
		to = sighting->to;

	for (int i = 0; i < page->nrows; i++)
		if (page->rows[i].problem != NULL)
		{
			jdy_runlog_reject(pull->log, page->rows[i].id, page->rows[i].text, page->rows[i].length,
							  page->rows[i].problem, sighting->from, to);
			pull->counters->rejected++;
			jdy_sweep_spoil(pull);
		}
}

int
jdy_page_rows(ListPage *page, Row ***rows)
{
	int			n = 0;

	*rows = palloc(sizeof(Row *) * (page->nrows + 1));
	for (int i = 0; i < page->nrows; i++)
		if (page->rows[i].problem == NULL)
			(*rows)[n++] = &page->rows[i];
	return n;
}

void
jdy_pull_begin(Pull *pull)
{
	jdy_tx_begin("landing what was read");
	MemoryContextSwitchTo(pull->landing);
}

void
jdy_pull_commit(Pull *pull)
{
	jdy_runlog_flush(pull->log);
	jdy_tx_commit();
	MemoryContextSwitchTo(pull->context);
	MemoryContextReset(pull->landing);
}

void
jdy_pull_progress(Pull *pull)
{
	if (jdy_runlog_is_full(pull->log))
	{
		MemoryContext caller = CurrentMemoryContext;

		jdy_pull_begin(pull);
		jdy_pull_commit(pull);
		MemoryContextSwitchTo(caller);
	}
	pull->counters->calls = jdy_client_calls(pull->client);
	pull->counters->retries = jdy_client_retries(pull->client);
	jdy_progress_counters(pull->counters);
	jdy_progress_client(pull->client);
}

void
jdy_pull_wait(Pull *pull, int64 us)
{
	int64		until = jdy_monotonic_us() + us;
	int64		left;

	jdy_progress_waiting(WAITING_BACKOFF, us);
	while ((left = until - jdy_monotonic_us()) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left / 1000 + 1,
						 JDY_WAIT_EVENT("JdysyncBackoff"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
