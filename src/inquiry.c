/*-------------------------------------------------------------------------
 * inquiry.c
 *		A series of questions to the service: asked, and put on record together.
 *
 * A service that refuses a question, or does not answer, fails no run: then nothing more
 * is asked, and what was not found out is "unknown", with the reason.
 *
 * Called by probe.c and proberecord.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "inquiry.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static void read_answer(Probe *probe, Call *call, Answer *answer);
static int	compare_ids(const void *a, const void *b);

Probe *
jdy_inquiry_begin(Pull *pull)
{
	MemoryContext context = AllocSetContextCreate(pull->context, "jdysync probe", ALLOCSET_DEFAULT_SIZES);
	Probe	   *probe = MemoryContextAllocZero(context, sizeof(Probe));

	probe->pull = pull;
	probe->context = context;
	probe->caller = MemoryContextSwitchTo(context);
	return probe;
}

void
jdy_inquiry_end(Probe *probe)
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

void
jdy_inquiry_say(Probe *probe, Question question, const char *answer, const char *format,...)
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

bool
jdy_inquiry_said(const Probe *probe, Question question, const char *answer)
{
	return probe->answers[question] != NULL && strcmp(probe->answers[question], answer) == 0;
}

Answer *
jdy_inquiry_ask(Probe *probe, TimestampTz from, TimestampTz to, int page, int size)
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

Answer *
jdy_inquiry_ask_with(Probe *probe, const char *param, const char *value, int page, int size)
{
	RequestPlan *plan = probe->pull->stream->plan;
	Answer	   *answer;

	probe->pull->stream->plan = jdy_inquiry_plan(plan, param, value);
	answer = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, page, size);
	probe->pull->stream->plan = plan;
	return answer;
}

RequestPlan *
jdy_inquiry_plan(const RequestPlan *plan, const char *param, const char *value)
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

int
jdy_answers_in_common(const Answer *a, const Answer *b)
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
