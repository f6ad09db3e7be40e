/*-------------------------------------------------------------------------
 * probe.c
 *		Questions to the service about itself.
 *
 * What the documents leave open, and what may change without a word, is asked at the first run and
 * once a week: is the time filter heeded, are a window's edges inside, how many rows does an answer
 * hold and from where does the next page count, is the order one, what comes behind the end, does the
 * count add up.  The rules that prove something follow the answers (contract.c); where one cannot be
 * had it is "unknown", with the reason, and what holds in any case is done.
 *
 * No answer is taken from an answer that something else explains as well: a list that changed
 * meanwhile, one that is too short, a filter that is not heeded.  Only the filter
 * must be known before anything can be read.  How it is asked is inquiry.c's; what
 * takes a record, proberecord.c's.
 *
 * Called by pull.c: the filter and the list at the start of a run, records at its end, the
 * count before a certificate.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "incident.h"
#include "inquiry.h"
#include "probe.h"
#include "proberecord.h"
#include "progress.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define RIGHT_CLOCK_US (5 * USECS_PER_SEC)	/* Date has whole seconds, and calls take time */
#define MAX_COUNTS 3			/* times a list that changes is counted */

static void judge_order(Probe *probe, const Answer *first, const Answer *again);
static void judge_page_size(Probe *probe, const Answer *first, const Answer *again, int asked);
static void judge_offset(Probe *probe, const Answer *first, int asked);
static void judge_past_end(Probe *probe, const Answer *first, const Answer *again);
static void judge_end_uncounted(Probe *probe, const Answer *first, const Answer *again, int asked);
static const char *what_is_behind(const Answer *behind, const Answer *last, int page);
static void ask_count(Probe *probe, const Answer *first, Answer **again, int asked);
static void judge_count(Probe *probe, const Answer *first, const Answer *again, const Answer *enabled, const Answer *disabled);
static bool takes_enable(const Pull *pull);
static void judge_clock(Probe *probe);

/*
 * A misspelt or unsupported filter is ignored by the service without a word and
 * reads like success, so a window in the future is asked: it must be empty.  One that never shows anything
 * (start and end changed places, the wrong unit) is found out once records are known (proberecord.c).
 */
bool
jdy_probe_filter(Pull *pull, bool again)
{
	static const char *const what = "time filter ignored";
	Stream	   *stream = pull->stream;
	TimestampTz tomorrow;
	Call	   *call;
	const char *answer = A_IGNORED;
	const char *evidence = "a window of tomorrow returned rows";

	if (!again && !jdy_contract_is_due(stream->contract, Q_FILTER))
		return jdy_contract_says(stream->contract, Q_FILTER, A_HONOURED);
	jdy_progress_phase(PHASE_STARTING);
	tomorrow = jdy_tick_floor(pull, jdy_server_now(pull)) + USECS_PER_DAY;
	call = jdy_list_ask(pull, LANE_TAIL, tomorrow, tomorrow + USECS_PER_DAY, 1, 1);
	if (jdy_list_answer(call)->nrows == 0)
	{
		answer = A_HONOURED;
		evidence = "a window of tomorrow was empty";
	}
	jdy_client_release(pull->client, call);

	/* As long as it shows nothing at all, tomorrow's is empty, too. */
	if (strcmp(answer, A_HONOURED) == 0 && jdy_contract_says(stream->contract, Q_FILTER, A_SHOWS_NOTHING))
	{
		call = jdy_list_ask(pull, LANE_TAIL, JDY_FIRST_TICK, tomorrow, 1, 1);
		if (jdy_list_answer(call)->nrows == 0)
		{
			answer = A_SHOWS_NOTHING;
			evidence = "a window of all time is still empty";
		}
		jdy_client_release(pull->client, call);
	}

	jdy_pull_begin(pull);
	jdy_contract_note(stream->contract, stream->stream_id, stream->name, Q_FILTER, answer, evidence);
	if (strcmp(answer, A_IGNORED) != 0)
		jdy_incident_close(stream->name, what);
	else
		jdy_incident_open(stream->name, "warning", what,
						  psprintf("A window of tomorrow returned rows, so %s and %s have no effect.",
								   stream->plan->start_param, stream->plan->end_param),
						  "Every run reads the whole list and every detail. Check the names of the time parameters in the metadata.");
	jdy_pull_commit(pull);
	return strcmp(answer, A_HONOURED) == 0;
}

void
jdy_probe_list(Pull *pull)
{
	Probe	   *probe;
	Answer	   *first;
	Answer	   *again;
	int			asked = 2 * pull->stream->plan->page_size;

	/* The count may be asked more often. */
	if (!jdy_contract_is_due(pull->stream->contract, Q_CLOCK))
		return;
	jdy_progress_phase(PHASE_STARTING);
	probe = jdy_inquiry_begin(pull);
	first = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 1, asked);
	judge_clock(probe);
	ask_count(probe, first, &again, asked);
	if (!pull->stream->whole)
	{
		judge_order(probe, first, again);
		judge_page_size(probe, first, again, asked);
		judge_offset(probe, first, asked);
		if (again->count >= 0 || !again->came)
			judge_past_end(probe, first, again);
		else
			judge_end_uncounted(probe, first, again, asked);
	}
	jdy_inquiry_end(probe);
	pull->cap = jdy_contract_cap(pull->stream->contract, pull->stream->plan->page_size);
	pull->given = jdy_contract_given(pull->stream->contract);
}

void
jdy_probe_records(Pull *pull)
{
	const Stream *stream = pull->stream;
	bool		edges = pull->windowed && jdy_contract_is_due(stream->contract, Q_START_EDGE);
	bool		rows = stream->rich_rows != NULL && stream->details && jdy_contract_is_due(stream->contract, Q_LIST_ROWS);
	Probe	   *probe;

	if (!edges && !rows)
		return;
	probe = jdy_inquiry_begin(pull);
	if (edges)
		jdy_probe_edges(probe);
	if (rows)
		jdy_probe_list_rows(probe);
	jdy_inquiry_end(probe);
}

const char *
jdy_probe_count(Pull *pull)
{
	Contract   *contract = pull->stream->contract;
	Probe	   *probe;
	Answer	   *again;
	int			asked = 2 * pull->stream->plan->page_size;
	const char *evidence;

	if (jdy_contract_says(contract, Q_COUNT, A_ADDS_UP) || jdy_contract_says(contract, Q_COUNT, A_GIVEN))
		return NULL;
	probe = jdy_inquiry_begin(pull);
	ask_count(probe, jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 1, asked), &again, asked);
	evidence = MemoryContextStrdup(pull->context, probe->evidence[Q_COUNT]);
	jdy_inquiry_end(probe);
	if (jdy_contract_says(contract, Q_COUNT, A_ADDS_UP) || jdy_contract_says(contract, Q_COUNT, A_GIVEN))
		return NULL;
	if (jdy_contract_says(contract, Q_COUNT, A_NONE))
		return "the service does not count the records of this list";
	return MemoryContextStrdup(pull->context, jdy_contract_says(contract, Q_COUNT, A_UNKNOWN) ?
							   psprintf("whether the service's counts add up is not known: %s", evidence) :
							   psprintf("the service's counts do not add up: %s", evidence));
}

/* Rows that stayed as they were must stand as they stood. */
static void
judge_order(Probe *probe, const Answer *first, const Answer *again)
{
	int			last = -1;
	int			same = 0;

	if (!first->came || !again->came)
	{
		jdy_inquiry_say(probe, Q_ORDER, A_UNKNOWN, "%s", first->came ? again->problem : first->problem);
		return;
	}
	if (first->n > 1 && first->n == again->n && memcmp(first->keys, again->keys, sizeof(uint64) * first->n) == 0)
	{
		jdy_inquiry_say(probe, Q_ORDER, "stable", "two answers showed the same %d rows in the same order", first->n);
		return;
	}
	for (int i = 0; i < again->n; i++)
		for (int place = 0; place < first->n; place++)
			if (first->ids[place] == again->ids[i] && first->keys[place] == again->keys[i])
			{
				if (place < last)
				{
					jdy_inquiry_say(probe, Q_ORDER, A_UNSTABLE, "two answers showed the same rows in different order");
					return;
				}
				last = place;
				same++;
				break;
			}
	if (same < 2)
		jdy_inquiry_say(probe, Q_ORDER, A_UNKNOWN, "two answers had %d rows in common", same);
	else
		jdy_inquiry_say(probe, Q_ORDER, "stable", "two answers showed %d rows that were the same in the same order", same);
}

static void
judge_page_size(Probe *probe, const Answer *first, const Answer *again, int asked)
{
	if (!first->came || !again->came)
	{
		jdy_inquiry_say(probe, Q_PAGE_SIZE, A_UNKNOWN, "%s", first->came ? again->problem : first->problem);
		jdy_inquiry_say(probe, Q_ECHO, A_UNKNOWN, "%s", probe->evidence[Q_PAGE_SIZE]);
		return;
	}
	if (first->n >= asked)
		jdy_inquiry_say(probe, Q_PAGE_SIZE, psprintf(A_LEAST "%d", asked), "%d rows came where %d were asked for", first->n, asked);
	else if (first->count < 0)
		jdy_inquiry_say(probe, Q_PAGE_SIZE, A_UNKNOWN, "%d rows came where %d were asked for, and there is no count", first->n, asked);
	else if (first->count <= first->n)
		jdy_inquiry_say(probe, Q_PAGE_SIZE, first->n > 0 ? psprintf(A_LEAST "%d", first->n) : A_UNKNOWN,
			"the list is too short: %d rows came where %d were asked for", first->n, asked);
	else if (first->n != again->n || first->n == 0)
		jdy_inquiry_say(probe, Q_PAGE_SIZE, A_UNKNOWN, "%d rows came, then %d, where %d were asked for", first->n, again->n, asked);
	else
		jdy_inquiry_say(probe, Q_PAGE_SIZE, psprintf("%d", first->n), "%d rows came where %d were asked for and the service counts %lld",
			first->n, asked, (long long) first->count);

	if (first->page_size < 0)
		jdy_inquiry_say(probe, Q_ECHO, A_NONE, "no page size was named where %d rows were asked for", asked);
	else if (first->page_size == asked)
		jdy_inquiry_say(probe, Q_ECHO, "asked", "page size %d was named where %d rows were asked for and %d came", asked, asked, first->n);
	else if (first->page_size >= first->n)
		jdy_inquiry_say(probe, Q_ECHO, "given", "page size %lld was named where %d rows were asked for and %d came",
			(long long) first->page_size, asked, first->n);
	else
		jdy_inquiry_say(probe, Q_ECHO, A_UNKNOWN, "page size %lld was named where %d rows came", (long long) first->page_size, first->n);
}

/*
 * Does page 2 of what was cut begin where page 1 ended, or where it would have ended?  It is compared with the
 * page 2 that does begin there; without any row it lies behind the end.
 */
static void
judge_offset(Probe *probe, const Answer *first, int asked)
{
	Answer	   *over;
	Answer	   *next;
	int			common;

	if (jdy_inquiry_said(probe, Q_PAGE_SIZE, A_UNKNOWN))
	{
		jdy_inquiry_say(probe, Q_OFFSET, A_UNKNOWN, "%s", probe->evidence[Q_PAGE_SIZE]);
		return;
	}
	if (first->n >= asked || (first->count >= 0 && first->count <= first->n))
	{
		jdy_inquiry_say(probe, Q_OFFSET, A_UNKNOWN, "no answer was cut: %s", probe->evidence[Q_PAGE_SIZE]);
		return;
	}
	over = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 2, asked);
	next = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 2, first->n);
	if (!next->came || (!over->came && !over->refused))
	{
		jdy_inquiry_say(probe, Q_OFFSET, A_UNKNOWN, "%s", next->came ? over->problem : next->problem);
		return;
	}
	common = jdy_answers_in_common(next, over);
	if (next->n == 0 || jdy_answers_in_common(first, next) > next->n / 2)
		jdy_inquiry_say(probe, Q_OFFSET, A_UNKNOWN, "page 2 of %d rows each showed no more rows", first->n);
	else if (over->refused || over->n == 0 || (over->page >= 0 && over->page < 2) || jdy_answers_in_common(first, over) > over->n / 2)
		jdy_inquiry_say(probe, Q_OFFSET, A_ASKED_SIZE, "page 2 of %d rows each lies behind the end, page 2 of %d does not", asked, first->n);
	else if (common == 0)
		jdy_inquiry_say(probe, Q_OFFSET, A_ASKED_SIZE, "page 2 of %d rows each passes over rows that page 2 of %d shows", asked, first->n);
	else if (common > over->n / 2)
		jdy_inquiry_say(probe, Q_OFFSET, A_GIVEN_SIZE, "page 2 of %d rows each shows the rows that page 2 of %d shows", asked, first->n);
	else
		jdy_inquiry_say(probe, Q_OFFSET, A_UNKNOWN, "page 2 of %d rows each and page 2 of %d have %d rows in common: the list changed", asked, first->n, common);
}

/* The page behind the last one, as the service counts. */
static void
judge_past_end(Probe *probe, const Answer *first, const Answer *again)
{
	int			size = probe->pull->stream->plan->page_size;
	int64		pages;
	Answer	   *behind;
	const char *what;

	if (!again->came || first->n == 0 || again->count <= 0)
	{
		jdy_inquiry_say(probe, Q_PAST_END, A_UNKNOWN, "%s", again->came ? "the list is empty" : again->problem);
		return;
	}
	if (!jdy_inquiry_said(probe, Q_PAGE_SIZE, A_UNKNOWN))
		size = Min(size, first->n);
	pages = again->count / size + (again->count % size > 0);
	if (pages >= INT_MAX)
	{
		jdy_inquiry_say(probe, Q_PAST_END, A_UNKNOWN, "the service counts %lld rows", (long long) again->count);
		return;
	}
	behind = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, (int) pages + 1, size);
	what = what_is_behind(behind, NULL, (int) pages + 1);
	if (what == NULL && behind->came)
		what = what_is_behind(behind, jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, (int) pages, size), (int) pages + 1);
	if (what != NULL)
		jdy_inquiry_say(probe, Q_PAST_END, what, "page %lld of %lld", (long long) pages + 1, (long long) pages);
	else
		jdy_inquiry_say(probe, Q_PAST_END, A_UNKNOWN, "%s", behind->came ? "rows came behind the end that the service counts" : behind->problem);
}

/* Without a count: what follows on all that came at once is the end, or more rows. */
static void
judge_end_uncounted(Probe *probe, const Answer *first, const Answer *again, int asked)
{
	Answer	   *behind;
	const char *what;

	if (first->n == 0 || first->n >= asked || first->n != again->n)
	{
		jdy_inquiry_say(probe, Q_PAST_END, A_UNKNOWN, "%s", first->n == 0 ? "the list is empty" : "without a count the end of the list is not known");
		return;
	}
	behind = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 2, first->n);
	what = what_is_behind(behind, first, 2);
	if (what != NULL)
	{
		jdy_inquiry_say(probe, Q_PAST_END, what, "page 2, where page 1 held all %d rows", first->n);
		return;
	}
	jdy_inquiry_say(probe, Q_PAST_END, A_UNKNOWN, "%s", behind->came ? "without a count the end of the list is not known" : behind->problem);
	if (!behind->came)
		return;
	jdy_inquiry_say(probe, Q_PAGE_SIZE, psprintf("%d", first->n), "%d rows came where %d were asked for, and there are more", first->n, asked);
	judge_offset(probe, first, asked);
}

/* What an answer to a page behind the end shows; NULL = no answer, or rows.  last: the last page, NULL = not asked for. */
static const char *
what_is_behind(const Answer *behind, const Answer *last, int page)
{
	if (behind->refused)
		return "refused";
	if (!behind->came)
		return NULL;
	if (behind->n == 0)
		return "empty";
	if ((behind->page >= 0 && behind->page < page) ||
		(last != NULL && last->came && last->n > 0 && jdy_answers_in_common(last, behind) > behind->n / 2))
		return "last page again";
	return NULL;
}

/*
 * One answer that holds the whole list has as many rows as the service counts; and with and without `enable`
 * there are as many as in all.  Where the counts before and after are equal, nothing came or went; but count and
 * rows may come from replicas a moment apart, so what does not add up must not do so twice.
 */
static void
ask_count(Probe *probe, const Answer *first, Answer **again, int asked)
{
	int			differed = 0;

	for (int i = 0; i < MAX_COUNTS; i++)
	{
		Answer	   *enabled = NULL;
		Answer	   *disabled = NULL;

		if (first->count >= 0 && takes_enable(probe->pull))
		{
			enabled = jdy_inquiry_ask_with(probe, "enable", "1", 1, 1);
			disabled = jdy_inquiry_ask_with(probe, "enable", "0", 1, 1);
		}
		*again = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 1, asked);
		judge_count(probe, first, *again, enabled, disabled);
		if (!jdy_inquiry_said(probe, Q_COUNT, A_WRONG) && !jdy_inquiry_said(probe, Q_COUNT, A_UNKNOWN))
			return;
		if (jdy_inquiry_said(probe, Q_COUNT, A_WRONG))
		{
			if (++differed > 1)
				return;
			probe->answers[Q_COUNT] = A_UNKNOWN;
		}
		if (probe->silence != NULL)
			return;
		first = *again;
	}
}

static void
judge_count(Probe *probe, const Answer *first, const Answer *again, const Answer *enabled, const Answer *disabled)
{
	if (!first->came || !again->came)
		jdy_inquiry_say(probe, Q_COUNT, A_UNKNOWN, "%s", first->came ? again->problem : first->problem);
	else if (enabled != NULL && (!enabled->came || !disabled->came))
		jdy_inquiry_say(probe, Q_COUNT, A_UNKNOWN, "%s", enabled->came ? disabled->problem : enabled->problem);
	else if (first->count != again->count || first->n != again->n)
		jdy_inquiry_say(probe, Q_COUNT, A_UNKNOWN, "the list changed while it was counted: %lld, then %lld", (long long) first->count,
			(long long) again->count);
	else if (first->count < 0)
		jdy_inquiry_say(probe, Q_COUNT, A_NONE, "%d rows came without a count", first->n);
	else if (first->count < first->distinct || (first->count > first->n && probe->pull->stream->whole))
		jdy_inquiry_say(probe, Q_COUNT, A_WRONG, "the service counts %lld records where it shows %d", (long long) first->count, first->distinct);
	else if (enabled != NULL && enabled->count >= 0 && enabled->count + disabled->count == first->count)
		jdy_inquiry_say(probe, Q_COUNT, A_ADDS_UP, "%lld enabled and %lld disabled records are %lld", (long long) enabled->count,
			(long long) disabled->count, (long long) first->count);
	else if (enabled != NULL && (enabled->count != first->count || disabled->count != first->count))
		jdy_inquiry_say(probe, Q_COUNT, A_WRONG, "%lld enabled and %lld disabled records, but %lld in all", (long long) enabled->count,
			(long long) disabled->count, (long long) first->count);
	else if (first->count == first->n || first->count == first->distinct)
		jdy_inquiry_say(probe, Q_COUNT, A_ADDS_UP, "all %d rows came in one answer", first->n);
	else
		jdy_inquiry_say(probe, Q_COUNT, A_GIVEN, "the service counts %lld; the list has nothing to check it by", (long long) first->count);
}

/* Whether the list is asked for all records, whether they are enabled or not. */
static bool
takes_enable(const Pull *pull)
{
	ListCell   *cell;

	foreach(cell, pull->stream->plan->fixed)
	{
		const CallParam *param = lfirst(cell);

		if (strcmp(param->name, "enable") == 0 && strcmp(param->value, "-1") == 0)
			return true;
	}
	return false;
}

static void
judge_clock(Probe *probe)
{
	int64		ahead_us = probe->clock_ahead_us;

	if (!probe->clock_asked)
		jdy_inquiry_say(probe, Q_CLOCK, A_UNKNOWN, "%s", probe->silence);
	else if (!probe->tells_time)
		jdy_inquiry_say(probe, Q_CLOCK, "not told", "a reply had no header Date");
	else
		jdy_inquiry_say(probe, Q_CLOCK, ahead_us > RIGHT_CLOCK_US ? "ahead" : ahead_us < -RIGHT_CLOCK_US ? "behind" : "right",
			"%.0f s %s this server's, within a second", rint(fabs((double) ahead_us / USECS_PER_SEC)), ahead_us >= 0 ? "ahead of" : "behind");
}
