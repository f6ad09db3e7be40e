/*-------------------------------------------------------------------------
 * outcome.c
 *		What follows from the answers to a push, and how it is written down.
 *
 * A request's records were accepted, refused, or it is not known.  Refused batches
 * are cut in halves, until the records that the target refuses stand alone; those become dead
 * letters.  A target that can say which records it has is asked before a batch is cut or sent
 * again for want of that knowledge.  What may have arrived stays open in jdysync.batch.  Each change of that
 * state is one transaction: a run that dies in between loses nothing and doubts no more
 * than it must.
 *
 * Called by push.c, doubt.c and pushscan.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "answer.h"
#include "catalog/pg_type.h"
#include "counterpart.h"
#include "mb/pg_wchar.h"
#include "pushrun.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MAX_REPLY_KEPT (64 * 1024)	/* of a dead letter's */
#define NO_SUCH_RECORD 1030002003	/* Kingdee's errcode */
#define MOST_SUSPECTS 10		/* records refused as if the whole push were at fault, none accepted: it is (doubt.c) */

static Batch *settle_sent(PushRun *run, Call *call);
static void note_unanswered(PushRun *run, const Batch *batch);
static void note_proven(PushRun *run);
static void settle(PushRun *run, Call *call);
static void give_up(PushRun *run, Batch *batch);
static void send_first(PushRun *run, Batch *batch);
static void send_again(PushRun *run, Call *call);
static Batch *settle_read(PushRun *run, Call *call);
static Batch *take_found(Batch *batch);
static void settle_missing(PushRun *run, Call *call, bool some_found);
static void settle_refused(PushRun *run, Call *call);
static bool was_done(const Call *call, const Batch *batch);
static Batch *arrived(PushRun *run, Batch *batch, Call *call);
static bool find_failed(const Batch *batch, const Answer *answer, const FailedItem **failed);
static Batch *arrived_partly(PushRun *run, Batch *batch, const FailedItem **failed, const Call *call);
static void bury_failed(PushRun *run, const Batch *batch, const FailedItem *item, const Suspect *told);
static void restore_payloads(PushRun *run, const Batch *batch);
static Suspect *refused_record(PushRun *run, const Call *call);
static bool may_be_the_push(int http_status);

void
jdy_pushrun_begin(PushRun *run)
{
	jdy_tx_begin("settling deliveries");
	MemoryContextSwitchTo(run->chunk);
}

void
jdy_pushrun_commit(PushRun *run)
{
	jdy_runlog_flush(run->log);
	jdy_tx_commit();
	MemoryContextSwitchTo(run->context);
	MemoryContextReset(run->chunk);
}

Batch *
jdy_pushrun_batch(PushRun *run, int n)
{
	MemoryContext context = AllocSetContextCreate(run->context, "jdysync batch of records", ALLOCSET_DEFAULT_SIZES);
	Batch	   *batch = MemoryContextAllocZero(context, sizeof(Batch));

	batch->context = context;
	batch->records = MemoryContextAllocZero(context, sizeof(Outgoing) * n);
	return batch;
}

/* In a transaction: what was accepted in one go, the others one by one. */
void
jdy_pushrun_settle(PushRun *run)
{
	List	   *accepted = NIL;
	List	   *learned = NIL;
	ListCell   *cell;

	foreach(cell, run->answered)
	{
		Call	   *call = lfirst(cell);
		Batch	   *batch = call->owner;

		if (batch->reading != NULL)
			batch = settle_read(run, call);
		else if (call->kind == CALL_DETAIL)
		{
			if (call->verdict != VERDICT_RETRY)
				jdy_breaker_answered(&run->breaker);
			if (!jdy_lookup_settle(run, call))
				settle(run, call);
			continue;
		}
		else
			batch = settle_sent(run, call);
		if (batch == NULL)
			continue;
		accepted = lappend(accepted, batch);
		if (call->kind == CALL_PUSH && jdy_lookup_learns(batch, call))
			learned = lappend(learned, &batch->records[0]);
		run->counters->delivered += batch->n;
	}
	if (accepted != NIL)
		jdy_delivery_accepted(run->push, accepted);
	jdy_counterpart_keep(run->push, learned);
	if (run->accepted_us != 0 && !run->push->proven)
		note_proven(run);
	jdy_breaker_write(&run->breaker);
}

/*
 * The target does not answer.  But a request that goes without an answer while later ones
 * are accepted says nothing of the target, only something of its records.
 */
static void
note_unanswered(PushRun *run, const Batch *batch)
{
	if (batch->reason != NULL && (batch->failed_us == 0 || batch->failed_us >= run->accepted_us))
		jdy_breaker_unanswered(&run->breaker, batch->reason, batch->http_status);
}

/* From here on path and rights of the push are known to be good, or to have been. */
static void
note_proven(PushRun *run)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.push p SET proven = true WHERE p.push_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(run->push->push_id)};

	jdy_execute(&note, values, NULL);
	run->push->proven = true;
}

/* What was accepted; NULL = nothing is known to have been. */
static Batch *
settle_sent(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;

	batch->maybe_arrived |= call->maybe_acted;
	if (call->verdict != VERDICT_RETRY)
		jdy_breaker_answered(&run->breaker);
	if (!was_done(call, batch))
	{
		settle(run, call);
		return NULL;
	}
	if (call->outcome == OUTCOME_OK)
		run->accepted_us = Max(run->accepted_us, call->left_us);
	if (!batch->records[0].gone)
		return arrived(run, batch, call);
	run->counters->deleted++;
	if (run->push->lookup_api != NULL)
		jdy_counterpart_forget(run->push, batch->records[0].id);
	return batch;
}

static void
settle(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;
	const char *problem = jdy_call_problem(call);

	batch->reason = call->verdict == VERDICT_RETRY ? call->reason : NULL;
	batch->http_status = call->reply != NULL ? call->reply->status : 0;
	switch (call->outcome)
	{
		case OUTCOME_REFUSED:
		case OUTCOME_SET_ASIDE:
			settle_refused(run, call);
			return;
		case OUTCOME_FAILED:
			if (run->failure == NULL)
				run->failure = call;

			/* Nobody can have acted on it: found again by the next scan. */
			if (!batch->maybe_arrived)
			{
				note_unanswered(run, batch);
				jdy_delivery_forget(run->push, batch);
				return;
			}
			break;
		default:
			break;
	}

	if (jdy_lookup_again(run, call))
		return;
	call->owner = NULL;			/* the batch stays */
	if (batch->lost == 0)
		jdy_delivery_doubtful(run->push, batch, batch->http_status, problem);
	batch->problem = MemoryContextStrdup(batch->context, problem);
	if (batch->failed_us == 0)
		batch->failed_us = call->failed_us != 0 ? call->failed_us : jdy_monotonic_us();
	if (call->outcome != OUTCOME_IN_DOUBT || !jdy_readback_can(run, batch))
	{
		give_up(run, batch);
		return;
	}
	batch->left_us = call->left_us;
	batch->lost++;
	batch->unread = true;
	send_first(run, batch);
}

/* For as long as the target seems to be as it is. */
static void
give_up(PushRun *run, Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	note_unanswered(run, batch);
	run->doubt = pstrdup(batch->problem);
	run->doubtful = lappend(run->doubtful, batch);
	batch->tried = true;
	MemoryContextSwitchTo(caller);
}

static void
send_first(PushRun *run, Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	run->parts = lcons(batch, run->parts);
	MemoryContextSwitchTo(caller);
}

/* As it is, unless too many of its answers were lost. */
static void
send_again(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;

	call->owner = NULL;
	if (batch->lost >= run->push->endpoint->max_attempts)
		give_up(run, batch);
	else
		send_first(run, batch);
}

bool
jdy_pushrun_read_back(PushRun *run, Batch *batch, Suspect *told)
{
	batch->unread = false;
	if (!jdy_readback_can(run, batch))
		return false;
	restore_payloads(run, batch);
	batch->unreadable = !jdy_readback_begin(run, batch, told);
	if (batch->unreadable)
		return false;

	/* Until it is known, and if it never will be. */
	batch->reading->may_have_arrived = batch->maybe_arrived;
	batch->maybe_arrived = true;
	return true;
}

/* A page of what the target has.  What it has is delivered, and more than that: verified. */
static Batch *
settle_read(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;
	bool		counted = batch->reading->told != NULL;
	Batch	   *found;

	switch (jdy_readback_take(run, call))
	{
		case READ_ON:
			call->owner = NULL;
			send_first(run, batch);
			return NULL;
		case READ_DONE:
			break;
		case READ_FAILED:

			batch->reading = NULL;
			if (run->trial && call->verdict == VERDICT_RETRY)
			{
				/* A trial that ends here: to send it unread is worth the risk only when the target is there. */
				batch->unread = true;
				run->tried = batch->n;
				call->owner = NULL;
				send_first(run, batch);
				return NULL;
			}

			/* As with a target that cannot be asked. */
			batch->unreadable = true;
			if (counted)
				jdy_pushrun_cut(run, batch, 2);
			else
				send_again(run, call);
			return NULL;
	}
	found = take_found(batch);
	if (batch->n > 0)
		settle_missing(run, call, found->n > 0);
	if (found->n == 0)
		return NULL;
	jdy_breaker_answered(&run->breaker);
	run->accepted_us = Max(run->accepted_us, batch->left_us);
	run->counters->verified += found->n;
	return found;
}

/* Moves the records that are there from the batch to one of their own, which lives as long as the transaction. */
static Batch *
take_found(Batch *batch)
{
	Batch	   *found = palloc(sizeof(Batch));
	int			missing = 0;

	*found = *batch;
	found->n = 0;
	found->records = palloc(sizeof(Outgoing) * batch->n);
	for (int i = 0; i < batch->n; i++)
	{
		if (batch->reading->there[i])
			found->records[found->n++] = batch->records[i];
		else
			batch->records[missing++] = batch->records[i];
	}
	batch->n = missing;
	return found;
}

/*
 * What the target has not.  After a lost answer it is sent again.  Where the target said that it did not take some:
 * a single record is the one at fault, several are cut in halves.
 */
static void
settle_missing(PushRun *run, Call *call, bool some_found)
{
	Batch	   *batch = call->owner;
	Suspect    *told = batch->reading->told;

	if (told != NULL)
		batch->maybe_arrived = batch->reading->may_have_arrived;
	batch->reading = NULL;
	if (told != NULL && batch->n == 1)
	{
		batch->body = batch->records[0].payload;
		bury_failed(run, batch, NULL, told);
	}
	else if (told != NULL || some_found)
	{
		batch->failed_us = 0;	/* it does act */
		jdy_pushrun_cut(run, batch, told != NULL ? 2 : 1);
	}
	else
		send_again(run, call);
}

/*
 * A wrong path or a right that is missing is refused record by record like bad
 * contents.  As long as nothing was accepted in the run such a record is set apart: ten of
 * them say that it is the push that must be mended, and nothing becomes a dead letter.
 */
static void
settle_refused(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;
	Suspect    *suspect;

	batch->failed_us = 0;		/* it does get an answer */
	if (batch->n > 1)
	{
		jdy_pushrun_cut(run, batch, 2);
		return;
	}
	suspect = refused_record(run, call);
	if (jdy_lookup_explains(run, suspect))
	{
		call->owner = NULL;
		return;
	}
	if (run->accepted_us != 0 || !may_be_the_push(suspect->http_status))
	{
		jdy_delivery_dead(run->push, batch, suspect->http_status, suspect->errcode, suspect->problem, suspect->reply);
		run->counters->dead++;
		return;
	}
	if (!batch->maybe_arrived)
		jdy_delivery_forget(run->push, batch);
	call->owner = NULL;
	if (run->suspicion == NULL)
		run->suspicion = call;
	MemoryContextSwitchTo(run->context);
	run->suspects = lappend(run->suspects, suspect);
	MemoryContextSwitchTo(run->chunk);
	if (list_length(run->suspects) >= MOST_SUSPECTS && run->failure == NULL)
		run->failure = run->suspicion;
}

/* Whoever deletes what is not there any more has what he wants.  404 may as well be a wrong path. */
static bool
was_done(const Call *call, const Batch *batch)
{
	return call->outcome == OUTCOME_OK ||
		(batch->records[0].gone && (call->outcome == OUTCOME_REFUSED || call->outcome == OUTCOME_SET_ASIDE) &&
		 ((call->reply != NULL && call->reply->status == 410) || call->errcode == NO_SUCH_RECORD));
}

/*
 * The request succeeded: so did its records, but for those that the reply says
 * failed.  When it says only that some did, the target is asked which it has; where that cannot
 * be done the batch is cut as if it had been refused, and any of them may have arrived.
 * NULL: nothing is known to have.
 */
static Batch *
arrived(PushRun *run, Batch *batch, Call *call)
{
	Answer		answer;
	const FailedItem **failed;

	jdy_answer_read(run->push->meta, call->reply->body, call->reply->body_length, &answer);
	if (answer.failed == 0)
		return batch;
	failed = palloc0(sizeof(FailedItem *) * batch->n);
	if (batch->n == 1)
		bury_failed(run, batch, answer.nitems > 0 ? &answer.items[0] : NULL, refused_record(run, call));
	else if (find_failed(batch, &answer, failed))
		return arrived_partly(run, batch, failed, call);
	else if (answer.failed < batch->n && jdy_pushrun_read_back(run, batch, refused_record(run, call)))
	{
		send_first(run, batch);
		call->owner = NULL;
	}
	else
	{
		batch->maybe_arrived = true;
		jdy_pushrun_cut(run, batch, 2);
	}
	return NULL;
}

/* The item of each record, NULL of one that did not fail; false when they are not all known. */
static bool
find_failed(const Batch *batch, const Answer *answer, const FailedItem **failed)
{
	int64		found = 0;

	for (int i = 0; i < answer->nitems; i++)
	{
		int			r = 0;

		while (r < batch->n && (answer->items[i].id == NULL || strcmp(batch->records[r].id, answer->items[i].id) != 0))
			r++;
		if (r == batch->n)
			return false;
		found += failed[r] == NULL;
		failed[r] = &answer->items[i];
	}
	/* One record may have several faults; a count beyond the names is of others. */
	return found > 0 && answer->failed <= Max(found, answer->nitems);
}

/* The records that failed are dead letters, each with its own payload; the others arrived. */
static Batch *
arrived_partly(PushRun *run, Batch *batch, const FailedItem **failed, const Call *call)
{
	Batch	   *rest = palloc(sizeof(Batch));
	const Suspect *told = refused_record(run, call);

	restore_payloads(run, batch);
	*rest = *batch;
	rest->n = 0;
	rest->records = palloc(sizeof(Outgoing) * batch->n);
	for (int i = 0; i < batch->n; i++)
	{
		Batch		single = {
			.n = 1,.records = &batch->records[i],.body = batch->records[i].payload,.maybe_arrived = batch->maybe_arrived
		};

		if (failed[i] == NULL)
			rest->records[rest->n++] = batch->records[i];
		else
			bury_failed(run, &single, failed[i], told);
	}
	if (rest->n > 0)
		return rest;
	jdy_delivery_forget(run->push, batch);
	return NULL;
}

static void
bury_failed(PushRun *run, const Batch *batch, const FailedItem *item, const Suspect *told)
{
	const char *problem = "the target did not take the record";

	if (item != NULL && item->message != NULL && item->message[0] != '\0')
		problem = jdy_client_mask(run->client, psprintf("%s: %s", problem, item->message));
	jdy_delivery_dead(run->push, batch, told->http_status, told->errcode, problem, told->reply);
	run->counters->dead++;
}

void
jdy_pushrun_cut(PushRun *run, const Batch *batch, int pieces)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	List	   *parts = NIL;
	int			most = run->push->batched ? (batch->n + pieces - 1) / pieces : 1;	/* it may have been composed by other metadata */

	restore_payloads(run, batch);
	for (int from = 0; from < batch->n; from += most)
	{
		int			n = Min(most, batch->n - from);
		Batch	   *part = jdy_pushrun_batch(run, n);

		MemoryContextSwitchTo(part->context);
		for (int i = 0; i < n; i++)
		{
			part->records[i] = batch->records[from + i];
			part->records[i].id = pstrdup(part->records[i].id);
			part->records[i].payload = pstrdup(part->records[i].payload);
		}
		part->n = n;
		part->maybe_arrived = batch->maybe_arrived;
		part->failed_us = batch->failed_us;
		part->sent_at = batch->sent_at;
		part->unreadable = batch->unreadable;
		MemoryContextSwitchTo(run->context);
		jdy_batch_seal(run->push, part);
		parts = lappend(parts, part);
	}

	/* The parts' intents come with the commit that takes this one away: nothing is lost in between. */
	MemoryContextSwitchTo(run->chunk);
	jdy_delivery_forget(run->push, batch);
	jdy_delivery_intend(run->push, run->run_id, parts);
	MemoryContextSwitchTo(run->context);
	run->parts = list_concat(parts, run->parts);
	MemoryContextSwitchTo(caller);
}

/*
 * A batch of an earlier run has only its body: the records' texts are taken from
 * there, byte for byte.  Where in it they stand was said by the metadata of then.
 */
static void
restore_payloads(PushRun *run, const Batch *batch)
{
	static JdyStatement split = {
		.sql = "SELECT e.value::text FROM pg_catalog.json_array_elements(CASE pg_catalog.json_typeof($1::json)"
		" WHEN 'array' THEN $1::json"
		" ELSE (SELECT m.value FROM pg_catalog.json_each($1::json) AS m WHERE pg_catalog.json_typeof(m.value) = 'array'"
		"  AND pg_catalog.json_array_length(m.value) = $2 LIMIT 1) END)"
		" WITH ORDINALITY AS e (value, place) ORDER BY e.place",
		.nargs = 2,
		.argtypes = {TEXTOID, INT4OID}
	};
	uint8		digest[JDY_PUSH_DIGEST];
	Datum		values[2];
	MemoryContext caller;

	if (batch->records[0].payload != NULL)
		return;
	jdy_payload_digest(batch->body, digest);
	if (batch->n == 1 && memcmp(digest, batch->records[0].digest, JDY_PUSH_DIGEST) == 0)
	{
		batch->records[0].payload = batch->body;
		return;
	}
	values[0] = CStringGetTextDatum(batch->body);
	values[1] = Int32GetDatum(batch->n);
	jdy_execute(&split, values, NULL);
	if (SPI_processed != batch->n)
		elog(ERROR, "a batch of %d records has %llu in its body", batch->n, (unsigned long long) SPI_processed);
	caller = MemoryContextSwitchTo(batch->context);
	for (int i = 0; i < batch->n; i++)
		batch->records[i].payload = jdy_spi_text(i, 1);
	MemoryContextSwitchTo(caller);
}

/* What a dead letter says of a refused record; lives as long as its batch. */
static Suspect *
refused_record(PushRun *run, const Call *call)
{
	Batch	   *batch = call->owner;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	Suspect    *suspect = palloc0(sizeof(Suspect));

	suspect->batch = batch;
	suspect->errcode = call->errcode;
	suspect->problem = jdy_call_problem(call);
	if (call->reply != NULL)
	{
		int			length = pg_mbcliplen(call->reply->body, Min(call->reply->body_length, MAX_REPLY_KEPT), MAX_REPLY_KEPT);

		suspect->http_status = call->reply->status;
		if (length > 0 && pg_verifymbstr(call->reply->body, length, true))
			suspect->reply = unconstify(char *, jdy_client_mask(run->client, pnstrdup(call->reply->body, length)));
	}
	MemoryContextSwitchTo(caller);
	return suspect;
}

/* Statuses that speak of who asks, and where, rather than of what was sent. */
static bool
may_be_the_push(int http_status)
{
	switch (http_status)
	{
		case 402:
		case 403:
		case 404:
		case 405:
		case 407:
		case 410:
		case 415:
		case 426:
		case 451:
			return true;
		default:
			return false;
	}
}

void
jdy_pushrun_drop(Batch *batch)
{
	if (batch != NULL)
		MemoryContextDelete(batch->context);
}
