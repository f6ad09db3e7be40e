/*-------------------------------------------------------------------------
 * doubt.c
 *		What is left of a push when all answers are in: doubts, and suspects.
 *
 * No answer to a request says either that the target is away, or that it chokes on
 * something in it; a refusal of a few records like those of a wrong path says either that they are
 * at fault, or that the push is.  No single request can tell; what became of
 * the others can, so nothing is decided before they are over.
 *
 * Called by push.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pushrun.h"
#include "utils/builtins.h"

/* Parts that nobody can have acted on: the next run finds their records, and makes better batches of them. */
void
jdy_pushrun_forget_unsent(PushRun *run)
{
	ListCell   *cell;

	jdy_pushrun_begin(run);
	foreach(cell, run->doubtful)
	{
		Batch	   *batch = lfirst(cell);

		if (!batch->maybe_arrived)
		{
			jdy_delivery_forget(run->push, batch);
			run->counters->failed -= batch->n;
		}
	}
	jdy_pushrun_commit(run);
}

/*
 * Others were accepted in this run: it was these records.  When nothing ever was, the push
 * is at fault: it fails, and they are still to be sent.
 *
 * In between, a few records of a push that once worked, nobody knows.  To keep them would cost
 * most where the records are at fault: each run fails, for ever, and nobody can tell a new
 * trouble from the old one.  To bury them in silence would cost most where the push is: it would
 * look well while all that changes is lost.  So they are buried and the run fails, once: the alarm
 * is given, runs after it mean what they say, and jdy_replay brings back at most MOST_SUSPECTS a run.
 */
void
jdy_pushrun_judge_suspects(PushRun *run)
{
	ListCell   *cell;
	const Suspect *first;

	if (run->suspects == NIL)
		return;
	if (run->accepted_us == 0 && !run->push->proven)
	{
		jdy_pushrun_forget_unsent(run);
		jdy_call_raise(run->suspicion);
	}
	jdy_pushrun_begin(run);
	foreach(cell, run->suspects)
	{
		const Suspect *suspect = lfirst(cell);

		jdy_delivery_dead(run->push, suspect->batch, suspect->http_status, suspect->errcode, suspect->problem, suspect->reply);
		run->counters->dead++;
	}
	jdy_pushrun_commit(run);
	if (run->accepted_us != 0)
		return;
	jdy_pushrun_forget_unsent(run);
	first = linitial(run->suspects);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("the target refused everything"),
			 errdetail_plural("%d record is a dead letter: %s.", "%d records are dead letters, the first: %s.",
							  list_length(run->suspects), list_length(run->suspects), first->problem),
			 errhint("Is it the record, mend it: what changes is sent again. Is it the push, mend its path or rights, then SELECT jdy_replay(%s).",
					 quote_literal_cstr(run->push->name))));
}

/*
 * Requests without an answer although one that left after their first failure was
 * accepted: one of their records may be what the target chokes on, so they are
 * cut, too, and records that stand alone become dead letters.  Those that were not tried are
 * sent now that the target accepts something.  false: there is nothing to be tried.
 */
bool
jdy_pushrun_retry_doubtful(PushRun *run)
{
	List	   *doubtful = run->doubtful;
	List	   *done = NIL;
	int			ndone;
	ListCell   *cell;

	if (doubtful == NIL || run->accepted_us == 0)
		return false;
	run->doubtful = NIL;
	jdy_pushrun_begin(run);
	foreach(cell, doubtful)
	{
		Batch	   *batch = lfirst(cell);
		List	  **fate = &done;

		if (!batch->tried)
			fate = &run->parts;
		else if (batch->failed_us >= run->accepted_us)
			fate = &run->doubtful;
		else if (batch->n > 1)
			jdy_pushrun_cut(run, batch, 2);
		else
		{
			jdy_delivery_dead(run->push, batch, 0, 0, batch->problem, NULL);
			run->counters->dead++;
		}
		MemoryContextSwitchTo(run->context);
		*fate = lappend(*fate, batch);
		MemoryContextSwitchTo(run->chunk);
	}
	run->counters->failed = jdy_pushrun_count_doubtful(run);
	jdy_pushrun_commit(run);
	foreach(cell, done)
		jdy_pushrun_drop(lfirst(cell));
	ndone = list_length(done);
	list_free(done);
	list_free(doubtful);
	return run->parts != NIL || (ndone > 0 && !run->exhausted);
}

int64
jdy_pushrun_count_doubtful(const PushRun *run)
{
	int64		n = 0;
	ListCell   *cell;

	foreach(cell, run->doubtful)
		n += ((Batch *) lfirst(cell))->n;
	return n;
}
