/*-------------------------------------------------------------------------
 * reread.c
 *		An audit of details: read again, and compared with what is here.
 *
 * No time filter sees a change that does not set the modify time: a name that is joined from another
 * record, an import, a balance.  So each audit reads a part of all details again, in the order of their ids, and
 * goes on where the last one stopped.
 *
 * The queue of details is not used: it would write a row for each.  A detail that is equal to what is
 * here writes nothing, and the audit's row says how far it has come.  What waits for its detail anyhow is
 * left to the queue, and what cannot be had is passed over.  A record whose detail says that it does not exist is for the
 * next certificate to prove deleted.
 *
 * Called by audit.c and compare.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit.h"
#include "catalog/pg_type.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define READ_IDS 100			/* landed together */
#define MOST_REFUSED 10			/* in a row: no accident */

static int	read_ids(Audit *audit, char **ids, int most);
static int	fetch(Audit *audit, char **ids, int n, bool all, Call **calls);
static int	land(Audit *audit, char **ids, int n, Call **calls, const char *after);
static bool is_older(const Audit *audit, const Here *here, TimestampTz modified_at);

void
jdy_audit_reread(Audit *audit)
{
	MemoryContext context = AllocSetContextCreate(audit->context, "jdysync details read again", ALLOCSET_DEFAULT_SIZES);

	while (audit->details < audit->details_due && audit->refused_in_a_row < MOST_REFUSED && jdy_audit_goes_on(audit))
	{
		char	   *ids[READ_IDS];
		Call	   *calls[READ_IDS];
		int			n;

		MemoryContextSwitchTo(context);
		jdy_audit_progress(audit, 0);
		n = read_ids(audit, ids, (int) Min(READ_IDS, audit->details_due - audit->details));
		if (n == 0 && audit->after_id[0] == '\0')
			break;
		if (n == 0)
			audit->after_id[0] = '\0';	/* from the first one again */
		else
		{
			n = fetch(audit, ids, n, false, calls);
			if (n > 0)
				(void) land(audit, ids, n, calls, ids[n - 1]);
		}
		MemoryContextSwitchTo(audit->context);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

void
jdy_audit_reread_ids(Audit *audit, List *ids)
{
	MemoryContext context = AllocSetContextCreate(audit->context, "jdysync details read again", ALLOCSET_DEFAULT_SIZES);

	while (ids != NIL && audit->unfounded <= JDY_MOST_UNFOUNDED)
	{
		char	   *some[READ_IDS];
		Call	   *calls[READ_IDS];
		int			n = 0;

		MemoryContextSwitchTo(context);
		for (; ids != NIL && n < READ_IDS; ids = list_delete_first(ids))
			some[n++] = linitial(ids);
		(void) fetch(audit, some, n, true, calls);
		audit->unfounded += n - land(audit, some, n, calls, NULL);
		MemoryContextSwitchTo(audit->context);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/* Those that come next, in staging's own order. */
static int
read_ids(Audit *audit, char **ids, int most)
{
	Pull	   *pull = audit->pull;
	JdyStatement read = {
		.sql = psprintf("SELECT s.id::text FROM %s AS s WHERE s.id > $1 AND s.detailed_at IS NOT NULL AND s.deleted_at IS NULL"
						" AND s.out_of_scope_at IS NULL ORDER BY s.id LIMIT $2", pull->stream->staging_name),
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID},
		.by_index = true
	};
	Datum		values[2];
	MemoryContext caller = CurrentMemoryContext;
	int			n;

	jdy_pull_begin(pull);
	values[0] = CStringGetTextDatum(audit->after_id);
	values[1] = Int64GetDatum(most);
	jdy_execute_as_user(&read, values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
		ids[i] = MemoryContextStrdup(caller, jdy_spi_text(i, 1));
	SPI_freeplan(read.plan);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(caller);
	return n;
}

/* Asks for them in order, several at once; all: for each, else until something is more urgent.  Returns for how many. */
static int
fetch(Audit *audit, char **ids, int n, bool all, Call **calls)
{
	Pull	   *pull = audit->pull;
	MemoryContext caller = CurrentMemoryContext;
	int64		calls_before = jdy_client_calls(pull->client);
	int			asked = 0;

	for (;;)
	{
		if (!all && asked < n && jdy_audit_is_wanted_elsewhere(audit))
			n = asked;
		while (asked < n && jdy_client_pending(pull->client) < 2 * pull->stream->endpoint->concurrency)
		{
			calls[asked] = jdy_detail_submit(pull, LANE_AUDIT, ids[asked], NULL);
			asked++;
		}
		if (jdy_client_pending(pull->client) == 0)
			break;
		(void) jdy_client_next(pull->client, 200);
		jdy_pull_progress(pull);
		MemoryContextSwitchTo(caller);
	}
	audit->calls += jdy_client_calls(pull->client) - calls_before;
	return asked;
}

/* Returns how many had changed.  after: how far the audit has come with them; NULL = they were read out of order. */
static int
land(Audit *audit, char **ids, int n, Call **calls, const char *after)
{
	Pull	   *pull = audit->pull;
	MemoryContext caller = CurrentMemoryContext;
	Detail		details[READ_IDS];
	Here	   *here;
	int			ndetails = 0;
	int			changed;

	/* What stops the run is raised before a transaction begins. */
	for (int i = 0; i < n; i++)
		if (calls[i]->outcome == OUTCOME_FAILED)
			jdy_call_raise(calls[i]);

	jdy_pull_begin(pull);
	here = jdy_finding_here(audit, ids, n);
	for (int i = 0; i < n; i++)
	{
		Detail	   *detail = &details[ndetails];
		const char *problem = NULL;

		if (calls[i]->outcome != OUTCOME_OK)
		{
			if (calls[i]->outcome != OUTCOME_GONE && ++audit->refused_in_a_row == MOST_REFUSED)
				audit->why = "details were not read to their end: too many in a row could not be had, see jdy_calls";
			continue;
		}
		audit->refused_in_a_row = 0;
		if (here[i].waits || !here[i].exists || here[i].gone)
			continue;
		memset(detail, 0, sizeof(Detail));
		detail->id = ids[i];
		detail->row = &((DetailAsk *) calls[i]->owner)->answer->rows[0];
		detail->asked_at = here[i].detailed_at; /* its list row is no younger */
		detail->body = jdy_row_jsonb(detail->row, &problem);
		if (detail->body == NULL)
		{
			jdy_runlog_reject(pull->log, detail->id, detail->row->text, detail->row->length, problem, 0, 0);
			pull->counters->rejected++;
			continue;
		}
		detail->modified_at = jdy_stream_modified_at(pull->stream, detail->body);
		if (!is_older(audit, &here[i], detail->modified_at))
			ndetails++;
	}
	jdy_staging_land_details(pull->staging, details, ndetails, pull->counters);
	changed = jdy_finding_landed(audit, here, n);
	if (after != NULL)
	{
		strlcpy(audit->after_id, after, sizeof(audit->after_id));
		audit->details += n;
	}
	jdy_audit_note(audit);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(caller);

	for (int i = 0; i < n; i++)
		jdy_client_release(pull->client, calls[i]);
	return changed;
}

/* What was changed a moment ago another replica may not know yet. */
static bool
is_older(const Audit *audit, const Here *here, TimestampTz modified_at)
{
	return modified_at != 0 && here->modified_at >= audit->proven_until && modified_at < here->modified_at;
}
