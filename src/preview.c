/*-------------------------------------------------------------------------
 * preview.c
 *		jdy_preview: the requests that a push would make next, unsent.
 *
 * What a run would send is asked for in the way a run asks, and sealed by the same
 * functions, so what is shown is what would leave, byte for byte; but nothing is
 * written and nothing is called.  Secrets are masked.
 *
 * Called from SQL, by the owner of the source.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client.h"
#include "counterpart.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hashmap.h"
#include "percent.h"
#include "push.h"
#include "saveapi.h"
#include "spi.h"
#include "stream.h"
#include "utils/builtins.h"

/* The first records that a run would send. */
typedef struct Preview
{
	Standings  *standings;
	int			most;
	MemoryContext context;
	List	   *pending;		/* of Outgoing * */
} Preview;

static void take_chunk(void *arg, Outgoing *records, int n);
static void take_gone(void *arg, const char *id, int version);
static void look_for_ids(const Push *push, List *pending);
static void fill_batch(const Push *push, const List *pending, int *taken, Batch *batch);
static void show_request(const Push *push, Batch *batch, ReturnSetInfo *rsinfo);

PG_FUNCTION_INFO_V1(jdy_preview);

/* jdy_preview(push text, n int) returns table(method, url, headers, body) */
Datum
jdy_preview(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	int			requests = Max(PG_GETARG_INT32(1), 0);
	StreamRef  *ref;
	Preview		preview = {.context = context};
	HashMap    *present = NULL;
	Push	   *push;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			taken = 0;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	ref = jdy_push_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	MemoryContextSwitchTo(context);
	push = jdy_push_load(ref->stream_id);
	preview.most = requests * (push->batched ? push->batch_rows : 1);
	preview.standings = jdy_standings_load(push, NULL, 0, context);
	if (push->meta->delete_rule != NULL)
		present = jdy_hashmap_create(context, false, PG_UINT32_MAX);
	jdy_source_scan(push, take_chunk, present, &preview);
	if (present != NULL)
		jdy_standings_gone(preview.standings, present, take_gone, &preview);
	if (push->lookup_api != NULL)
		look_for_ids(push, preview.pending);
	SPI_finish();

	while (taken < list_length(preview.pending) && requests-- > 0)
	{
		Batch		batch = {.context = context};

		fill_batch(push, preview.pending, &taken, &batch);
		show_request(push, &batch, rsinfo);
	}
	return (Datum) 0;
}

static void
take_chunk(void *arg, Outgoing *records, int n)
{
	Preview    *preview = arg;
	Standing	standings[JDY_SOURCE_CHUNK];
	MemoryContext caller;

	if (list_length(preview->pending) >= preview->most)
		return;
	n = jdy_standings_ask(preview->standings, records, n, standings);
	caller = MemoryContextSwitchTo(preview->context);
	for (int i = 0; i < n && list_length(preview->pending) < preview->most; i++)
	{
		Outgoing   *copy;

		if (records[i].problem != NULL || (standings[i].delivered && memcmp(standings[i].digest, records[i].digest, JDY_PUSH_DIGEST) == 0) ||
			(standings[i].refused && memcmp(standings[i].refused_digest, records[i].digest, JDY_PUSH_DIGEST) == 0))
			continue;
		copy = palloc(sizeof(Outgoing));
		*copy = records[i];
		copy->id = pstrdup(records[i].id);
		copy->payload = pstrdup(records[i].payload);
		copy->version = standings[i].version + 1;
		preview->pending = lappend(preview->pending, copy);
	}
	MemoryContextSwitchTo(caller);
}

static void
take_gone(void *arg, const char *id, int version)
{
	Preview    *preview = arg;
	MemoryContext caller = MemoryContextSwitchTo(preview->context);

	if (list_length(preview->pending) < preview->most)
	{
		Outgoing   *gone = palloc0(sizeof(Outgoing));

		gone->id = pstrdup(id);
		gone->version = version + 1;
		gone->gone = true;
		preview->pending = lappend(preview->pending, gone);
	}
	MemoryContextSwitchTo(caller);
}

/* The ids that would be put into the payloads; those that a run would look up are not known. */
static void
look_for_ids(const Push *push, List *pending)
{
	List	   *records = NIL;
	ListCell   *cell;

	foreach(cell, pending)
	{
		Outgoing   *record = lfirst(cell);
		char	   *id;
		char	   *number;

		if (!record->gone && jdy_save_read(record->payload, push->lookup_number, &id, &number) && id == NULL)
			records = lappend(records, record);
	}
	jdy_counterpart_look(push, records);
}

/* As many of the records, from *taken on, as a run would put into one request. */
static void
fill_batch(const Push *push, const List *pending, int *taken, Batch *batch)
{
	int			most = push->batched ? push->batch_rows : 1;
	int64		bytes = 0;

	batch->records = palloc(sizeof(Outgoing) * most);
	while (*taken < list_length(pending) && batch->n < most)
	{
		Outgoing   *record = list_nth(pending, *taken);

		if (record->gone)
		{
			if (batch->n == 0)
			{
				batch->records[batch->n++] = *record;
				(*taken)++;
			}
			break;				/* alone in its request */
		}
		bytes += strlen(record->payload) + 1;
		if (batch->n > 0 && bytes > push->batch_bytes)
			break;
		batch->records[batch->n++] = *record;
		(*taken)++;
	}
}

static void
show_request(const Push *push, Batch *batch, ReturnSetInfo *rsinfo)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (batch->records[0].gone)
	{
		char	   *deletion = jdy_call_url(push->endpoint, push->meta->delete_api);

		jdy_deletion_seal(push, batch);
		values[0] = CStringGetTextDatum(push->meta->delete_method);
		values[1] = CStringGetTextDatum(batch->body[0] != '\0' ? deletion :
										psprintf("%s%cid=%s", deletion, strchr(deletion, '?') != NULL ? '&' : '?',
												 jdy_percent_encode(batch->records[0].id, false)));
	}
	else
	{
		jdy_counterpart_seal(push, batch);
		values[0] = CStringGetTextDatum(push->meta->method);
		values[1] = CStringGetTextDatum(jdy_call_url(push->endpoint, push->meta->api));
	}
	values[2] = CStringGetTextDatum(psprintf("Content-Type: application/json\nIdempotency-Key: %s%s", batch->key,
											 push->endpoint->auth == AUTH_NONE || push->endpoint->auth == AUTH_WEBHOOK ? "" :
											 "\nAuthorization: ***"));
	values[3] = CStringGetTextDatum(batch->body);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
