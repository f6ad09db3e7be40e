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
 * meanwhile, one that is too short, a filter that is not heeded.  A service that refuses a
 * question, or does not answer, fails no run: then nothing more is asked.  Only the filter
 * must be known before anything can be read.
 *
 * Called by pull.c: the filter and the list at the start of a run, records at its end, the
 * count before a certificate.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "incident.h"
#include "probe.h"
#include "progress.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define RIGHT_CLOCK_US (5 * USECS_PER_SEC)	/* Date has whole seconds, and calls take time */
#define MAX_COUNTS 3			/* times a list that changes is counted */
#define CANDIDATES "1000"		/* records, the newest, of which one is chosen for the edges */

/* One answer of the list, as far as the questions go. */
typedef struct Answer
{
	bool		came;			/* and was a page, perhaps an empty one */
	bool		refused;		/* in the service's own words, for this request */
	const char *problem;		/* !came: what happened */
	int			n;
	int			distinct;		/* of n: ids */
	uint64	   *ids;			/* hashes, in order; 0 = a row without an id */
	uint64	   *keys;			/* the same of id and number */
	int64		count;			/* -1 = none */
	int64		page;			/* as echoed, -1 = not */
	int64		page_size;		/* as echoed, -1 = not */
} Answer;

/* Questions asked together: what is to be put on record. */
typedef struct Probe
{
	Pull	   *pull;
	MemoryContext context;
	MemoryContext caller;
	const char *silence;		/* why nothing more is asked; NULL = so far the service has answered */
	bool		clock_asked;
	bool		tells_time;
	int64		clock_ahead_us; /* of the service's, at the first answer */
	const char *answers[QUESTIONS]; /* NULL = not asked */
	char	   *evidence[QUESTIONS];
} Probe;

static Probe *begin(Pull *pull);
static void say(Probe *probe, Question question, const char *answer, const char *format,...) pg_attribute_printf(4, 5);
static bool said(const Probe *probe, Question question, const char *answer);
static void end(Probe *probe);
static Answer *ask(Probe *probe, TimestampTz from, TimestampTz to, int page, int size);
static Answer *ask_with(Probe *probe, const char *param, const char *value, int page, int size);
static RequestPlan *plan_with(const RequestPlan *plan, const char *param, const char *value);
static void read_answer(Probe *probe, Call *call, Answer *answer);
static int	compare_ids(const void *a, const void *b);
static int	in_common(const Answer *a, const Answer *b);
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
static void ask_edges(Probe *probe);
static bool find_record(Probe *probe, char **id, TimestampTz *at);
static void judge_edges(Probe *probe, const char *id, TimestampTz at);
static bool holds(Probe *probe, uint64 id, TimestampTz from, TimestampTz to, const char **problem);
static void say_edges(Probe *probe, const char *start, const char *end, const char *grain, const char *evidence);
static void ask_list_rows(Probe *probe);

/*
 * A misspelt or unsupported filter is ignored by the service without a word and
 * reads like success, so a window in the future is asked: it must be empty.
 */
bool
jdy_probe_filter(Pull *pull, bool again)
{
	static const char *const what = "time filter ignored";
	Stream	   *stream = pull->stream;
	TimestampTz tomorrow;
	Call	   *call;
	bool		honoured;

	if (!again && !jdy_contract_is_due(stream->contract, Q_FILTER))
		return jdy_contract_says(stream->contract, Q_FILTER, A_HONOURED);
	jdy_progress_phase(PHASE_STARTING);
	tomorrow = jdy_tick_floor(pull, jdy_server_now(pull)) + USECS_PER_DAY;
	call = jdy_list_ask(pull, LANE_TAIL, tomorrow, tomorrow + USECS_PER_DAY, 1, 1);
	honoured = jdy_list_answer(call)->nrows == 0;
	jdy_client_release(pull->client, call);

	jdy_pull_begin(pull);
	jdy_contract_note(stream->contract, stream->stream_id, stream->name, Q_FILTER, honoured ? A_HONOURED : A_IGNORED,
					  honoured ? "a window of tomorrow was empty" : "a window of tomorrow returned rows");
	if (honoured)
		jdy_incident_close(stream->name, what);
	else
		jdy_incident_open(stream->name, "warning", what,
						  psprintf("A window of tomorrow returned rows, so %s and %s have no effect.",
								   stream->plan->start_param, stream->plan->end_param),
						  "Every run reads the whole list and every detail. Check the names of the time parameters in the metadata.");
	jdy_pull_commit(pull);
	return honoured;
}

void
jdy_probe_list(Pull *pull)
{
	Probe	   *probe;
	Answer	   *first;
	Answer	   *again;
	int			asked = 2 * pull->stream->plan->page_size;

	if (!jdy_contract_is_due(pull->stream->contract, Q_COUNT))
		return;
	jdy_progress_phase(PHASE_STARTING);
	probe = begin(pull);
	first = ask(probe, DT_NOBEGIN, DT_NOEND, 1, asked);
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
	end(probe);
	pull->cap = jdy_contract_cap(pull->stream->contract, pull->stream->plan->page_size);
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
	probe = begin(pull);
	if (edges)
		ask_edges(probe);
	if (rows)
		ask_list_rows(probe);
	end(probe);
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
	probe = begin(pull);
	ask_count(probe, ask(probe, DT_NOBEGIN, DT_NOEND, 1, asked), &again, asked);
	evidence = MemoryContextStrdup(pull->context, probe->evidence[Q_COUNT]);
	end(probe);
	if (jdy_contract_says(contract, Q_COUNT, A_ADDS_UP) || jdy_contract_says(contract, Q_COUNT, A_GIVEN))
		return NULL;
	if (jdy_contract_says(contract, Q_COUNT, A_NONE))
		return "the service does not count the records of this list";
	return MemoryContextStrdup(pull->context, jdy_contract_says(contract, Q_COUNT, A_UNKNOWN) ?
							   psprintf("whether the service's counts add up is not known: %s", evidence) :
							   psprintf("the service's counts do not add up: %s", evidence));
}

static Probe *
begin(Pull *pull)
{
	MemoryContext context = AllocSetContextCreate(pull->context, "jdysync probe", ALLOCSET_DEFAULT_SIZES);
	Probe	   *probe = MemoryContextAllocZero(context, sizeof(Probe));

	probe->pull = pull;
	probe->context = context;
	probe->caller = MemoryContextSwitchTo(context);
	return probe;
}

static void
say(Probe *probe, Question question, const char *answer, const char *format,...)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	probe->answers[question] = answer;
	probe->evidence[question] = text.data;
}

static bool
said(const Probe *probe, Question question, const char *answer)
{
	return probe->answers[question] != NULL && strcmp(probe->answers[question], answer) == 0;
}

static void
end(Probe *probe)
{
	Pull	   *pull = probe->pull;
	Stream	   *stream = pull->stream;

	jdy_pull_begin(pull);
	for (int q = 0; q < QUESTIONS; q++)
		if (probe->answers[q] != NULL)
			jdy_contract_note(stream->contract, stream->stream_id, stream->name, q, probe->answers[q], probe->evidence[q]);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(probe->caller);
	MemoryContextDelete(probe->context);
}

/* ---- asking ---- */

static Answer *
ask(Probe *probe, TimestampTz from, TimestampTz to, int page, int size)
{
	Answer	   *answer = palloc0(sizeof(Answer));
	Call	   *call;

	answer->count = answer->page = answer->page_size = -1;
	answer->problem = probe->silence;
	if (probe->silence != NULL)
		return answer;
	call = jdy_list_try(probe->pull, LANE_TAIL, from, to, page, size);
	MemoryContextSwitchTo(probe->context);
	read_answer(probe, call, answer);
	jdy_client_release(probe->pull->client, call);
	return answer;
}

/* With one parameter of the metadata, or of the catalogue, given another value, or one more. */
static Answer *
ask_with(Probe *probe, const char *param, const char *value, int page, int size)
{
	RequestPlan *plan = probe->pull->stream->plan;
	Answer	   *answer;

	probe->pull->stream->plan = plan_with(plan, param, value);
	answer = ask(probe, DT_NOBEGIN, DT_NOEND, page, size);
	probe->pull->stream->plan = plan;
	return answer;
}

static RequestPlan *
plan_with(const RequestPlan *plan, const char *param, const char *value)
{
	RequestPlan *other = palloc(sizeof(RequestPlan));
	CallParam  *changed = palloc(sizeof(CallParam));
	ListCell   *cell;

	*other = *plan;
	other->fixed = NIL;
	foreach(cell, plan->fixed)
		if (strcmp(((CallParam *) lfirst(cell))->name, param) != 0)
			other->fixed = lappend(other->fixed, lfirst(cell));
	changed->name = pstrdup(param);
	changed->value = pstrdup(value);
	other->fixed = lappend(other->fixed, changed);
	return other;
}

/* The page as it came, and not what becomes of one past the end (listing.c). */
static void
read_answer(Probe *probe, Call *call, Answer *answer)
{
	ListPage   *page;
	uint64	   *sorted;

	if (!probe->clock_asked && call->reply != NULL)
	{
		probe->clock_asked = true;
		probe->tells_time = call->answered_at != 0;
		probe->clock_ahead_us = call->answered_at + USECS_PER_SEC / 2 - GetCurrentTimestamp();
	}
	if (call->outcome != OUTCOME_OK)
	{
		answer->problem = jdy_call_problem(call);
		answer->refused = call->outcome == OUTCOME_FAILED && call->verdict == VERDICT_STOP && call->errcode > 0;
		if (!answer->refused)
			probe->silence = answer->problem;
		return;
	}
	page = jdy_page_parse(call->reply->body, call->reply->body_length, &probe->pull->stream->shape);
	answer->came = true;
	answer->n = page->nrows;
	answer->count = page->count;
	answer->page = page->page;
	answer->page_size = page->page_size;
	answer->ids = palloc0(sizeof(uint64) * (page->nrows + 1));
	answer->keys = palloc0(sizeof(uint64) * (page->nrows + 1));
	sorted = palloc(sizeof(uint64) * (page->nrows + 1));
	for (int i = 0; i < page->nrows; i++)
	{
		const Row  *row = &page->rows[i];

		if (row->id != NULL)
			answer->ids[i] = answer->keys[i] = hash_bytes_extended((const unsigned char *) row->id, strlen(row->id), 0);
		if (row->number != NULL)
			answer->keys[i] ^= hash_bytes_extended((const unsigned char *) row->number, strlen(row->number), 1);
	}
	memcpy(sorted, answer->ids, sizeof(uint64) * page->nrows);
	qsort(sorted, page->nrows, sizeof(uint64), compare_ids);
	for (int i = 0; i < page->nrows; i++)
		if (i == 0 || sorted[i] != sorted[i - 1])
			answer->distinct++;
}

static int
compare_ids(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right ? 1 : 0;
}

/* Rows of b whose ids a has, too. */
static int
in_common(const Answer *a, const Answer *b)
{
	int			n = 0;

	for (int i = 0; i < b->n; i++)
		for (int j = 0; j < a->n; j++)
			if (a->ids[j] == b->ids[i])
			{
				n++;
				break;
			}
	return n;
}

/* ---- the list ---- */

/* Rows that stayed as they were must stand as they stood. */
static void
judge_order(Probe *probe, const Answer *first, const Answer *again)
{
	int			last = -1;
	int			same = 0;

	if (!first->came || !again->came)
	{
		say(probe, Q_ORDER, A_UNKNOWN, "%s", first->came ? again->problem : first->problem);
		return;
	}
	for (int i = 0; i < again->n; i++)
		for (int place = 0; place < first->n; place++)
			if (first->ids[place] == again->ids[i] && first->keys[place] == again->keys[i])
			{
				if (place < last)
				{
					say(probe, Q_ORDER, A_UNSTABLE, "two answers showed the same rows in different order");
					return;
				}
				last = place;
				same++;
				break;
			}
	if (same < 2)
		say(probe, Q_ORDER, A_UNKNOWN, "two answers had %d rows in common", same);
	else
		say(probe, Q_ORDER, "stable", "two answers showed the same %d rows in the same order", same);
}

static void
judge_page_size(Probe *probe, const Answer *first, const Answer *again, int asked)
{
	if (!first->came || !again->came)
	{
		say(probe, Q_PAGE_SIZE, A_UNKNOWN, "%s", first->came ? again->problem : first->problem);
		say(probe, Q_ECHO, A_UNKNOWN, "%s", probe->evidence[Q_PAGE_SIZE]);
		return;
	}
	if (first->n >= asked)
		say(probe, Q_PAGE_SIZE, psprintf("at least %d", asked), "%d rows came where %d were asked for", first->n, asked);
	else if (first->count < 0)
		say(probe, Q_PAGE_SIZE, A_UNKNOWN, "%d rows came where %d were asked for, and there is no count", first->n, asked);
	else if (first->count <= first->n)
		say(probe, Q_PAGE_SIZE, A_UNKNOWN, "the list is too short: %d rows came where %d were asked for", first->n, asked);
	else if (first->n != again->n || first->n == 0)
		say(probe, Q_PAGE_SIZE, A_UNKNOWN, "%d rows came, then %d, where %d were asked for", first->n, again->n, asked);
	else
		say(probe, Q_PAGE_SIZE, psprintf("%d", first->n), "%d rows came where %d were asked for and the service counts %lld",
			first->n, asked, (long long) first->count);

	if (first->page_size < 0)
		say(probe, Q_ECHO, A_NONE, "no page size was named where %d rows were asked for", asked);
	else if (first->page_size == asked)
		say(probe, Q_ECHO, "asked", "page size %d was named where %d rows were asked for and %d came", asked, asked, first->n);
	else if (first->page_size >= first->n)
		say(probe, Q_ECHO, "given", "page size %lld was named where %d rows were asked for and %d came",
			(long long) first->page_size, asked, first->n);
	else
		say(probe, Q_ECHO, A_UNKNOWN, "page size %lld was named where %d rows came", (long long) first->page_size, first->n);
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

	if (said(probe, Q_PAGE_SIZE, A_UNKNOWN))
	{
		say(probe, Q_OFFSET, A_UNKNOWN, "%s", probe->evidence[Q_PAGE_SIZE]);
		return;
	}
	if (first->n >= asked)
	{
		say(probe, Q_OFFSET, A_UNKNOWN, "no answer was cut: %s", probe->evidence[Q_PAGE_SIZE]);
		return;
	}
	over = ask(probe, DT_NOBEGIN, DT_NOEND, 2, asked);
	next = ask(probe, DT_NOBEGIN, DT_NOEND, 2, first->n);
	if (!next->came || (!over->came && !over->refused))
	{
		say(probe, Q_OFFSET, A_UNKNOWN, "%s", next->came ? over->problem : next->problem);
		return;
	}
	common = in_common(next, over);
	if (next->n == 0 || in_common(first, next) > next->n / 2)
		say(probe, Q_OFFSET, A_UNKNOWN, "page 2 of %d rows each showed no more rows", first->n);
	else if (over->refused || over->n == 0 || (over->page >= 0 && over->page < 2) || in_common(first, over) > over->n / 2)
		say(probe, Q_OFFSET, "asked size", "page 2 of %d rows each lies behind the end, page 2 of %d does not", asked, first->n);
	else if (common == 0)
		say(probe, Q_OFFSET, "asked size", "page 2 of %d rows each passes over rows that page 2 of %d shows", asked, first->n);
	else if (common > over->n / 2)
		say(probe, Q_OFFSET, A_GIVEN_SIZE, "page 2 of %d rows each shows the rows that page 2 of %d shows", asked, first->n);
	else
		say(probe, Q_OFFSET, A_UNKNOWN, "page 2 of %d rows each and page 2 of %d have %d rows in common: the list changed", asked, first->n, common);
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
		say(probe, Q_PAST_END, A_UNKNOWN, "%s", again->came ? "the list is empty" : again->problem);
		return;
	}
	if (!said(probe, Q_PAGE_SIZE, A_UNKNOWN))
		size = Min(size, first->n);
	pages = again->count / size + (again->count % size > 0);
	if (pages >= INT_MAX)
	{
		say(probe, Q_PAST_END, A_UNKNOWN, "the service counts %lld rows", (long long) again->count);
		return;
	}
	behind = ask(probe, DT_NOBEGIN, DT_NOEND, (int) pages + 1, size);
	what = what_is_behind(behind, NULL, (int) pages + 1);
	if (what == NULL && behind->came)
		what = what_is_behind(behind, ask(probe, DT_NOBEGIN, DT_NOEND, (int) pages, size), (int) pages + 1);
	if (what != NULL)
		say(probe, Q_PAST_END, what, "page %lld of %lld", (long long) pages + 1, (long long) pages);
	else
		say(probe, Q_PAST_END, A_UNKNOWN, "%s", behind->came ? "rows came behind the end that the service counts" : behind->problem);
}

/* Without a count: what follows on all that came at once is the end, or more rows. */
static void
judge_end_uncounted(Probe *probe, const Answer *first, const Answer *again, int asked)
{
	Answer	   *behind;
	const char *what;

	if (first->n == 0 || first->n >= asked || first->n != again->n)
	{
		say(probe, Q_PAST_END, A_UNKNOWN, "%s", first->n == 0 ? "the list is empty" : "without a count the end of the list is not known");
		return;
	}
	behind = ask(probe, DT_NOBEGIN, DT_NOEND, 2, first->n);
	what = what_is_behind(behind, first, 2);
	if (what != NULL)
	{
		say(probe, Q_PAST_END, what, "page 2, where page 1 held all %d rows", first->n);
		return;
	}
	say(probe, Q_PAST_END, A_UNKNOWN, "%s", behind->came ? "without a count the end of the list is not known" : behind->problem);
	if (!behind->came)
		return;
	say(probe, Q_PAGE_SIZE, psprintf("%d", first->n), "%d rows came where %d were asked for, and there are more", first->n, asked);
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
		(last != NULL && last->came && last->n > 0 && in_common(last, behind) > behind->n / 2))
		return "last page again";
	return NULL;
}

/* ---- the count ---- */

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
			enabled = ask_with(probe, "enable", "1", 1, 1);
			disabled = ask_with(probe, "enable", "0", 1, 1);
		}
		*again = ask(probe, DT_NOBEGIN, DT_NOEND, 1, asked);
		judge_count(probe, first, *again, enabled, disabled);
		if (!said(probe, Q_COUNT, A_WRONG) && !said(probe, Q_COUNT, A_UNKNOWN))
			return;
		if (said(probe, Q_COUNT, A_WRONG))
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
		say(probe, Q_COUNT, A_UNKNOWN, "%s", first->came ? again->problem : first->problem);
	else if (enabled != NULL && (!enabled->came || !disabled->came))
		say(probe, Q_COUNT, A_UNKNOWN, "%s", enabled->came ? disabled->problem : enabled->problem);
	else if (first->count != again->count || first->n != again->n)
		say(probe, Q_COUNT, A_UNKNOWN, "the list changed while it was counted: %lld, then %lld", (long long) first->count,
			(long long) again->count);
	else if (first->count < 0)
		say(probe, Q_COUNT, A_NONE, "%d rows came without a count", first->n);
	else if (first->count < first->distinct || (first->count > first->n && probe->pull->stream->whole))
		say(probe, Q_COUNT, A_WRONG, "the service counts %lld records where it shows %d", (long long) first->count, first->distinct);
	else if (enabled != NULL && enabled->count >= 0 && enabled->count + disabled->count == first->count)
		say(probe, Q_COUNT, A_ADDS_UP, "%lld enabled and %lld disabled records are %lld", (long long) enabled->count,
			(long long) disabled->count, (long long) first->count);
	else if (enabled != NULL && (enabled->count != first->count || disabled->count != first->count))
		say(probe, Q_COUNT, A_WRONG, "%lld enabled and %lld disabled records, but %lld in all", (long long) enabled->count,
			(long long) disabled->count, (long long) first->count);
	else if (first->count == first->n || first->count == first->distinct)
		say(probe, Q_COUNT, A_ADDS_UP, "all %d rows came in one answer", first->n);
	else
		say(probe, Q_COUNT, A_GIVEN, "the service counts %lld; the list has nothing to check it by", (long long) first->count);
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
		say(probe, Q_CLOCK, A_UNKNOWN, "%s", probe->silence);
	else if (!probe->tells_time)
		say(probe, Q_CLOCK, "not told", "a reply had no header Date");
	else
		say(probe, Q_CLOCK, ahead_us > RIGHT_CLOCK_US ? "ahead" : ahead_us < -RIGHT_CLOCK_US ? "behind" : "right",
			"%.0f s %s this server's, within a second", rint(fabs((double) ahead_us / USECS_PER_SEC)), ahead_us >= 0 ? "ahead of" : "behind");
}

/* ---- edges ---- */

static void
ask_edges(Probe *probe)
{
	char	   *id;
	TimestampTz at;

	if (find_record(probe, &id, &at))
		judge_edges(probe, id, at);
	else
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN, "no record is here whose modify time is known and settled");
}

/*
 * A record whose tick few others share, among those with the highest ids.  What an owner writes into his table proves
 * nothing here: whatever `at` is, what is concluded from it is what the service shows and does not show.
 */
static bool
find_record(Probe *probe, char **id, TimestampTz *at)
{
	Pull	   *pull = probe->pull;
	const Stream *stream = pull->stream;
	const char *tick = pull->by_day ? "day" : "second";
	JdyStatement find = {
		.sql = psprintf("SELECT (array_agg(r.id))[1], (array_agg(r.at))[1] FROM (SELECT s.id::text AS id, s.modified_at::timestamptz AS at"
						" FROM %s AS s WHERE s.deleted_at IS NULL AND s.out_of_scope_at IS NULL ORDER BY s.id DESC LIMIT " CANDIDATES ") AS r"
						" WHERE r.at < $1 AND r.at > $2 GROUP BY date_trunc('%s', r.at, $3) ORDER BY count(*), max(r.at) DESC LIMIT 1",
						stream->staging_name, tick),
		.nargs = 3,
		.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID},
		.by_index = true
	};
	TimestampTz settled = jdy_tick_floor(pull, jdy_server_now(pull) - stream->settle_us) - jdy_tick_us(pull);
	TimestampTz first = Max(stream->start_from, JDY_FIRST_TICK) + 2 * jdy_tick_us(pull);
	Datum		values[3];
	bool		found;
	bool		isnull;

	jdy_pull_begin(pull);
	values[0] = TimestampTzGetDatum(settled);
	values[1] = TimestampTzGetDatum(first);
	values[2] = CStringGetTextDatum(stream->endpoint->time_zone_name);
	jdy_execute_as_user(&find, values, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		*id = MemoryContextStrdup(probe->context, jdy_spi_text(0, 1));
		*at = jdy_tick_floor(pull, DatumGetTimestampTz(jdy_spi_datum(0, 2, &isnull)));
	}
	SPI_freeplan(find.plan);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(probe->context);
	return found;
}

/*
 * Details show whole seconds, so the record's stamp lies in [at, at + 1 tick).  A window of one instant that shows
 * it has both edges inside.  Else either an edge is outside, or the stamp is later within its tick.
 */
static void
judge_edges(Probe *probe, const char *id, TimestampTz at)
{
	const RequestPlan *plan = probe->pull->stream->plan;
	int64		tick = jdy_tick_us(probe->pull);
	bool		by_ms = plan->start_format == WINDOW_MS && plan->end_format == WINDOW_MS;
	const char *grain = probe->pull->by_day ? "day" : "second";
	const char *stamp = pstrdup(timestamptz_to_str(at));
	uint64		hash = hash_bytes_extended((const unsigned char *) id, strlen(id), 0);
	const char *problem = NULL;

	if (holds(probe, hash, at, at, &problem))
		say_edges(probe, A_INCLUSIVE, A_INCLUSIVE, grain, psprintf("a window from %s to that same instant shows a record stamped then", stamp));
	else if (holds(probe, hash, at - tick, at, &problem))
		say_edges(probe, A_EXCLUSIVE, A_INCLUSIVE, grain,
				  psprintf("a record stamped %s is shown by a window that ends then, and not by one from then to then", stamp));
	else if (!holds(probe, hash, at, at + tick, &problem))
	{
		if (holds(probe, hash, at - tick, at + tick, &problem))
			say_edges(probe, A_EXCLUSIVE, A_EXCLUSIVE, grain,
					  psprintf("a record stamped %s is shown by a window around that, and not by one that begins or ends there", stamp));
		else
			say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN,
					  psprintf("a record whose detail says %s is shown by no window around that", stamp));
	}
	else if (!by_ms)
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN,
				  psprintf("a record stamped %s is shown by the window from there and not by the one to there: its stamp is later within that %s, or the end is outside",
						   stamp, grain));
	else if (!holds(probe, hash, at + JDY_FINEST_US, at + tick, &problem))
		say_edges(probe, A_INCLUSIVE, A_EXCLUSIVE, grain,
				  psprintf("a record stamped %s is shown by a window from then, and not by one from then to then", stamp));
	else if (holds(probe, hash, at, at + tick - JDY_FINEST_US, &problem))
	{
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_MILLISECOND,
				  psprintf("a record whose detail says %s is stamped between that second and the next", stamp));
	}
	else
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN, psprintf("windows around %s show a record stamped then, but not alike", stamp));
	if (problem != NULL)
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN, problem);
}

/* false, too, when it cannot be said: then *problem says why. */
static bool
holds(Probe *probe, uint64 id, TimestampTz from, TimestampTz to, const char **problem)
{
	int			size = probe->pull->cap;
	Answer	   *answer;

	if (*problem != NULL)
		return false;
	answer = ask(probe, from, to, 1, size);
	for (int i = 0; i < answer->n; i++)
		if (answer->ids[i] == id)
			return true;
	if (!answer->came)
		*problem = answer->problem;
	else if (answer->n >= size)
		*problem = "so many records share the tick that one answer does not hold them";
	return false;
}

static void
say_edges(Probe *probe, const char *start, const char *end, const char *grain, const char *evidence)
{
	say(probe, Q_START_EDGE, start, "%s", evidence);
	say(probe, Q_END_EDGE, end, "%s", evidence);
	say(probe, Q_GRAIN, grain, "%s", evidence);
}

/* ---- list rows ---- */

/* Fields that the record's data has, most of them from its detail, and its list row has not even then. */
static void
ask_list_rows(Probe *probe)
{
	Pull	   *pull = probe->pull;
	const Stream *stream = pull->stream;
	JdyStatement compare = {
		.sql = psprintf("SELECT count(*), count(*) FILTER (WHERE NOT $2 ? k.name),"
						" array_to_string((array_agg(k.name ORDER BY k.name) FILTER (WHERE NOT $2 ? k.name))[1:3], ', ')"
						" FROM %s AS s CROSS JOIN LATERAL jsonb_object_keys(s.data::jsonb) AS k (name)"
						" WHERE s.id = $1 AND s.detailed_at IS NOT NULL", stream->staging_name),
		.nargs = 2,
		.argtypes = {TEXTOID, JSONBOID},
		.by_index = true
	};
	RequestPlan *plan = stream->plan;
	Call	   *call;
	ListPage   *page;
	Datum		values[2];
	int64		fields;
	int64		missing;
	const char *problem;
	Jsonb	   *row;

	if (probe->silence != NULL)
	{
		say(probe, Q_LIST_ROWS, A_UNKNOWN, "%s", probe->silence);
		return;
	}
	pull->stream->plan = plan_with(plan, stream->rich_rows, "true");
	call = jdy_list_try(pull, LANE_TAIL, DT_NOBEGIN, DT_NOEND, 1, 1);
	pull->stream->plan = plan;
	MemoryContextSwitchTo(probe->context);
	page = call->outcome == OUTCOME_OK ? jdy_list_answer(call) : NULL;
	if (page == NULL || page->nrows == 0 || page->rows[0].id == NULL ||
		(row = jdy_row_jsonb(&page->rows[0], &problem)) == NULL || !JB_ROOT_IS_OBJECT(row))
	{
		say(probe, Q_LIST_ROWS, A_UNKNOWN, "%s", page == NULL ? jdy_call_problem(call) : "no row came");
		jdy_client_release(pull->client, call);
		return;
	}
	jdy_pull_begin(pull);
	values[0] = CStringGetTextDatum(page->rows[0].id);
	values[1] = JsonbPGetDatum(row);
	jdy_execute_as_user(&compare, values, NULL);
	MemoryContextSwitchTo(probe->context);
	fields = jdy_spi_int64(0, 1, 0);
	missing = jdy_spi_int64(0, 2, 0);
	if (fields == 0)
		say(probe, Q_LIST_ROWS, A_UNKNOWN, "the detail of the row that came is not here");
	else if (missing > 0)
		say(probe, Q_LIST_ROWS, "less than the detail", "%lld of %lld fields are missing, %s among them", (long long) missing,
			(long long) fields, jdy_spi_text(0, 3));
	else
		say(probe, Q_LIST_ROWS, "as the detail", "all %lld fields came in a list row", (long long) fields);
	SPI_freeplan(compare.plan);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(probe->context);
	jdy_client_release(pull->client, call);
}
