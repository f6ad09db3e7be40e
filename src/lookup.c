/*-------------------------------------------------------------------------
 * lookup.c
 *		Records looked up at the target before they are saved.
 *
 * Kingdee's save creates without "id" and updates with one, knows no Idempotency-Key, and does
 * the same again when it is sent again.  So what is not known by its id is looked up by
 * its number first:
 *
 *	payload names its id				sent as it is
 *	id is kept from before				it is put into the body, and nothing is looked up
 *	found by its number					likewise, and kept once the save is acknowledged
 *	not found							created; the reply's id is kept
 *	no number							created, once
 *
 * A create whose answer was lost, in this run or an earlier one, is never just repeated: it is
 * looked up again.  Not found, the same bytes go out under the same key.  Found, it has
 * become an update: another request, so its record gets a new version, and the request a
 * key of its own.  That update is sent even where it would change nothing: what is
 * there may be another's record of the same number.  An update is repeated byte for
 * byte, like all that names what it changes.  Either way jdysync.batch says at every
 * instant what may have arrived: the old intent goes in the transaction that writes the new one.
 *
 * Two refusals may not be the record's fault.  "Does not exist" of an id that was kept: the
 * record is looked up, and that id forgotten, unless it is found again: then something else does not
 * exist.  "Exists" of a create: the look-up came too early for what an earlier
 * attempt, or somebody else, has created; it is looked up again, several times with
 * growing pauses where the record may have arrived, else once.
 *
 * The digest that tells whether a record changed is that of the payload as the source
 * makes it.  So of a body from an earlier run it is known whose its id is: the source's, when the
 * body has that digest.
 *
 * Look-ups and saves are calls like any others, none in a transaction.  What waits for its
 * look-up or comes back from it lies in run->parts, and holds no more memory than what
 * is under way.
 *
 * Called by push.c and outcome.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "counterpart.h"
#include "page.h"
#include "pushrun.h"
#include "saveapi.h"
#include "utils/memutils.h"

#define EXISTS 1030002002		/* Kingdee's errcodes */
#define DOES_NOT_EXIST 1030002003
#define LIST_ROWS 100			/* asked of a list that filters by number */
#define MAX_NUMBER_BYTES 500	/* a url has 2048 at most, and each byte may take three */
#define MAX_LOOKS 5				/* for what "exists" and is not found yet */
#define MAX_EXPLAINED 3			/* refusals that look-ups explain, of one record in one run */

/* What is known of one request on its way. */
typedef struct Lookup
{
	char	   *number;			/* of the payload; NULL = none to be looked up by */
	bool		own;			/* the payload names its id itself, or is no object */
	bool		kept;			/* target_id stands in the table */
	bool		ask;			/* before it is sent */
	int64		not_before_us;	/* monotonic: when it is asked */
	int			tries;			/* saves without an answer in this run */
	int			explained;		/* refusals looked into */
	int			looks;			/* since the last of them */
	const Suspect *refusal;		/* what the look-up is to explain; NULL = nothing */
	char	   *found;			/* by the last answer; NULL = it is not there */
	const char *problem;		/* of the last answer; NULL = it is clear */
	const Push *push;
} Lookup;

static void begin(PushRun *run, Batch *batch);
static void begin_fresh(PushRun *run, List *batches);
static void bury(PushRun *run, const Batch *batch, const char *problem);
static void parse_lookup(Call *call, ReplyFacts *facts);
static void take_rows(Batch *batch, const Push *push, const ListPage *page);
static bool is_found(PushRun *run, Batch *batch);
static bool is_not_found(PushRun *run, Batch *batch);
static bool send_as(PushRun *run, Batch *batch, char *target_id);
static bool bury_refused(PushRun *run, const Batch *batch);
static bool queue(PushRun *run, Batch *batch);

bool
jdy_lookup_comes_first(const Batch *batch)
{
	return batch->lookup != NULL && batch->lookup->ask;
}

bool
jdy_lookup_creates(const Batch *batch)
{
	return batch->lookup != NULL && !batch->lookup->own && batch->records[0].target_id == NULL;
}

List *
jdy_lookup_prepare(PushRun *run, List *batches)
{
	List	   *fresh = NIL;
	ListCell   *cell;

	if (run->push->lookup_api == NULL)
		return batches;
	foreach(cell, batches)
	{
		Batch	   *batch = lfirst(cell);

		if (batch->n != 1 || batch->records[0].gone || batch->lookup != NULL)
			continue;
		begin(run, batch);
		if (!jdy_lookup_creates(batch))
			continue;
		if (batch->batch_id == 0)
			fresh = lappend(fresh, batch);
		else if (batch->lookup->number != NULL)
			batch->lookup->ask = true;
		else if (batch->maybe_arrived)
		{
			bury(run, batch, "its answer was lost, and it has no number to be looked up by");
			run->bytes -= batch->bytes;
			MemoryContextDelete(batch->context);
			batches = foreach_delete_current(batches, cell);
		}
	}
	begin_fresh(run, fresh);
	return batches;
}

void
jdy_lookup_submit(PushRun *run, Batch *batch)
{
	const Push *push = run->push;
	Lookup	   *lookup = batch->lookup;
	Call	   *call = jdy_call_create(run->client, CALL_DETAIL, LANE_TAIL, "GET", push->lookup_api);

	if (push->lookup_lists)
	{
		jdy_call_param(call, "page", "1");
		jdy_call_param(call, "page_size", CppAsString2(LIST_ROWS));
		jdy_call_param(call, "enable", "-1");
	}
	jdy_call_param(call, push->meta->lookup_param, lookup->number);
	call->owner = batch;
	call->parse = parse_lookup;
	call->not_before_us = lookup->not_before_us;
	lookup->not_before_us = 0;
	jdy_client_submit(run->client, call);
}

bool
jdy_lookup_settle(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;
	Lookup	   *lookup = batch->lookup;

	switch (call->outcome)
	{
		case OUTCOME_OK:
		case OUTCOME_GONE:
			lookup->ask = false;
			if (call->outcome == OUTCOME_GONE)
				lookup->found = NULL;
			if (lookup->problem != NULL)
				bury(run, batch, lookup->problem);
			else if (lookup->found != NULL ? is_found(run, batch) : is_not_found(run, batch))
				call->owner = NULL;
			return true;
		case OUTCOME_SET_ASIDE:
			if (call->verdict == VERDICT_SET_ASIDE)
			{
				bury(run, batch, psprintf("it could not be looked up at the target: %s", jdy_call_problem(call)));
				return true;
			}
			call->outcome = call->verdict == VERDICT_WAIT ? OUTCOME_FAILED : OUTCOME_IN_DOUBT;
			return false;
		default:
			return false;
	}
}

bool
jdy_lookup_learns(Batch *batch, const Call *call)
{
	Outgoing   *record = &batch->records[0];
	MemoryContext caller;

	if (batch->lookup == NULL || batch->lookup->own || batch->lookup->kept)
		return false;
	if (record->target_id != NULL)
		return true;
	caller = MemoryContextSwitchTo(batch->context);
	record->target_id = jdy_save_reply(call->reply->body, call->reply->body_length);
	MemoryContextSwitchTo(caller);
	return record->target_id != NULL;
}

bool
jdy_lookup_explains(PushRun *run, const Suspect *refusal)
{
	Batch	   *batch = refusal->batch;
	Lookup	   *lookup = batch->lookup;

	if (lookup == NULL || lookup->own || lookup->number == NULL || lookup->explained >= MAX_EXPLAINED ||
		refusal->errcode != (jdy_lookup_creates(batch) ? EXISTS : DOES_NOT_EXIST))
		return false;
	lookup->explained++;
	lookup->looks = 0;
	lookup->refusal = refusal;
	lookup->ask = true;
	return queue(run, batch);
}

bool
jdy_lookup_again(PushRun *run, Call *call)
{
	Batch	   *batch = call->owner;
	Lookup	   *lookup = batch->lookup;

	if (call->kind != CALL_PUSH || call->outcome != OUTCOME_IN_DOUBT || !jdy_lookup_creates(batch))
		return false;
	if (lookup->number == NULL)
	{
		bury(run, batch, psprintf("its answer was lost, and it has no number to be looked up by: %s", jdy_call_problem(call)));
		return true;
	}
	lookup->ask = true;
	if (++lookup->tries >= run->push->endpoint->max_attempts)
		return false;
	if (batch->failed_us == 0)
		batch->failed_us = jdy_monotonic_us();
	lookup->not_before_us = jdy_monotonic_us() + jdy_client_backoff_us(run->client, lookup->tries);
	call->owner = NULL;			/* the batch stays */
	return queue(run, batch);
}

/* What its body says of it. */
static void
begin(PushRun *run, Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	Outgoing   *record = &batch->records[0];
	Lookup	   *lookup = palloc0(sizeof(Lookup));
	char	   *id;
	uint8		digest[JDY_PUSH_DIGEST];

	batch->lookup = lookup;
	lookup->push = run->push;
	lookup->own = !jdy_save_read(batch->body, run->push->lookup_number, &id, &lookup->number);
	if (lookup->number != NULL && strlen(lookup->number) > MAX_NUMBER_BYTES)
		lookup->number = NULL;
	if (id != NULL)
	{
		jdy_payload_digest(batch->body, digest);
		if (memcmp(digest, record->digest, JDY_PUSH_DIGEST) == 0)
			lookup->own = true;
		else
			record->target_id = id;
	}
	if (record->payload == NULL)
		record->payload = record->target_id != NULL ? jdy_save_put(batch->body, "id", NULL) : batch->body;
	MemoryContextSwitchTo(caller);
}

/* Never sent so far: the id is known, or asked for. */
static void
begin_fresh(PushRun *run, List *batches)
{
	List	   *records = NIL;
	ListCell   *cell;

	foreach(cell, batches)
		records = lappend(records, &((Batch *) lfirst(cell))->records[0]);
	jdy_counterpart_look(run->push, records);
	foreach(cell, batches)
	{
		Batch	   *batch = lfirst(cell);
		Outgoing   *record = &batch->records[0];

		if (record->target_id == NULL)
		{
			batch->lookup->ask = batch->lookup->number != NULL;
			continue;
		}
		record->target_id = MemoryContextStrdup(batch->context, record->target_id);
		batch->lookup->kept = true;
		jdy_counterpart_seal(run->push, batch);
	}
}

static void
bury(PushRun *run, const Batch *batch, const char *problem)
{
	jdy_delivery_dead(run->push, batch, 0, 0, problem, NULL);
	run->counters->dead++;
}

static void
parse_lookup(Call *call, ReplyFacts *facts)
{
	Batch	   *batch = call->owner;
	const Push *push = batch->lookup->push;
	PageShape	shape = {.id_fields = list_make1("id"),.number_field = push->lookup_number,.single = !push->lookup_lists};
	ListPage   *page = jdy_page_parse(call->reply->body, call->reply->body_length, &shape);

	facts->errcode = page->errcode;
	facts->no_record = page->no_record;
	facts->well_formed = page->problem == NULL;
	call->service_text = page->problem != NULL ? page->problem : page->description;
	batch->lookup->found = NULL;
	batch->lookup->problem = NULL;
	if (page->problem == NULL && page->errcode == 0 && !page->no_record)
		take_rows(batch, push, page);
}

/*
 * The number is compared here, too: some services ignore a parameter that they do not
 * know, and others find more than what was asked for.
 */
static void
take_rows(Batch *batch, const Push *push, const ListPage *page)
{
	Lookup	   *lookup = batch->lookup;

	for (int i = 0; i < page->nrows; i++)
	{
		const Row  *row = &page->rows[i];

		if (row->number == NULL || strcmp(row->number, lookup->number) != 0)
			continue;
		if (row->id == NULL || row->id[0] == '\0' || strlen(row->id) > JDY_MAX_ID_BYTES)
			lookup->problem = "the target has a record of its number, without an id";
		else if (lookup->found != NULL && strcmp(lookup->found, row->id) != 0)
			lookup->problem = "the target has several records of its number";
		else
			lookup->found = MemoryContextStrdup(batch->context, row->id);
	}
	if (lookup->found != NULL || lookup->problem != NULL)
		return;
	if (!push->lookup_lists)
		lookup->problem = "the target answered with a record of another number when it was looked up";
	else if (page->nrows >= LIST_ROWS || page->count > page->nrows)
		lookup->problem = "the target listed more records than can be looked through when it was looked up";
}

/* These return whether the batch lives on. */
static bool
is_found(PushRun *run, Batch *batch)
{
	const Lookup *lookup = batch->lookup;
	const char *before = batch->records[0].target_id;

	/* The id is right, so something else does not exist. */
	if (lookup->refusal != NULL && before != NULL && strcmp(before, lookup->found) == 0)
		return bury_refused(run, batch);
	return send_as(run, batch, lookup->found);
}

static bool
is_not_found(PushRun *run, Batch *batch)
{
	Lookup	   *lookup = batch->lookup;

	if (lookup->refusal == NULL || batch->records[0].target_id != NULL)
		return send_as(run, batch, NULL);
	if (!batch->maybe_arrived || ++lookup->looks >= MAX_LOOKS)
		return bury_refused(run, batch);
	lookup->ask = true;
	lookup->not_before_us = jdy_monotonic_us() + jdy_client_backoff_us(run->client, lookup->looks);
	return queue(run, batch);
}

/* To be sent with this id, NULL = without: as it is, or as another request in its place. */
static bool
send_as(PushRun *run, Batch *batch, char *target_id)
{
	Outgoing   *record = &batch->records[0];
	bool		same = record->target_id == NULL ? target_id == NULL : target_id != NULL && strcmp(record->target_id, target_id) == 0;

	batch->lookup->refusal = NULL;
	if (!same)
	{
		if (record->target_id != NULL)
			jdy_counterpart_forget(run->push, record->id);
		batch->lookup->kept = false;
		record->target_id = target_id;
		if (batch->batch_id != 0)
			record->version++;
		jdy_counterpart_seal(run->push, batch);
		if (batch->batch_id != 0)
		{
			jdy_delivery_forget(run->push, batch);
			jdy_delivery_intend(run->push, run->run_id, list_make1(batch));
		}
	}
	return queue(run, batch);
}

static bool
bury_refused(PushRun *run, const Batch *batch)
{
	const Suspect *refusal = batch->lookup->refusal;

	jdy_delivery_dead(run->push, batch, refusal->http_status, refusal->errcode, refusal->problem, refusal->reply);
	run->counters->dead++;
	return false;
}

static bool
queue(PushRun *run, Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	run->parts = lappend(run->parts, batch);
	MemoryContextSwitchTo(caller);
	return true;
}
