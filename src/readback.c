/*-------------------------------------------------------------------------
 * readback.c
 *		Which records of a batch the target has, asked of the target itself.
 *
 * The Qeasy platform neither heeds Idempotency-Keys nor says which records of a batch it did
 * not store.  But what it has stored can be asked for: beside …/store there is …/query,
 * with conditions on the stored records and a window over the time of storing
 * (reference/kingdee-api.md §8.6).  So a batch whose answer was lost, or whose
 * answer only counts, is read back before any of it is sent again.
 *
 * A record is there when the newest row of its id holds exactly what was sent, compared
 * as jsonb.  Whatever the query finds beyond that does not count, and whatever it
 * fails to find is sent again: to read back can save a second copy, but never make a
 * delivery up.  What cannot be understood ends it, and the caller goes on without.
 *
 * A batch is asked for in chunks of ids, and each chunk page by page; between two pages
 * it waits in line like any other.  What follows from the end is outcome.c's.
 *
 * Called by push.c and outcome.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "page.h"
#include "pushrun.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define STORE "/store"
#define CHUNK_IDS 100
#define PAGE_ROWS 100			/* the most that Qeasy gives at once; */
#define PAGE_BYTES (4 * 1024 * 1024)	/* fewer where their payloads would make more than this */
#define MOST_PAGES 50			/* of one chunk: so many rows of so few ids are not looked through */
#define MARGIN_S 3600			/* on both sides of the window, when the server tells its time; */
#define WIDE_MARGIN_S (24 * 3600)	/* when it does not */

static List *fields_with_id(const Push *push, const Outgoing *record);
static const char *find_field(const Push *push, const Batch *batch);
static JsonbValue *field_of(JsonbContainer *object, const char *field);
static Jsonb *payload_of(const Push *push, const Outgoing *record);
static void begin_chunk(Batch *batch, int from);
static void compose_query(PushRun *run, Batch *batch);
static void add_ids(StringInfo body, const Push *push, const Batch *batch);
static void parse_rows(Call *call, ReplyFacts *facts);
static bool asked_at_wrong_time(Batch *batch, const Call *call);
static bool note_rows(const Push *push, Batch *batch);
static bool note_row(const Push *push, Batch *batch, const Row *row);
static int64 unix_seconds(TimestampTz at);

bool
jdy_readback_can(const PushRun *run, const Batch *batch)
{
	const char *api = run->push->meta->api;
	size_t		length = strlen(api);

	return run->push->endpoint->auth == AUTH_QEASY && !run->unreadable && !batch->unreadable && !batch->records[0].gone &&
		length > strlen(STORE) && strcmp(api + length - strlen(STORE), STORE) == 0;
}

bool
jdy_readback_begin(PushRun *run, Batch *batch, Suspect *told)
{
	const char *api = run->push->meta->api;
	const char *field = find_field(run->push, batch);
	MemoryContext caller;
	ReadBack   *reading;

	if (field == NULL)
		return false;
	caller = MemoryContextSwitchTo(batch->context);
	reading = palloc0(sizeof(ReadBack));
	reading->told = told;
	reading->path = psprintf("%.*s/query", (int) (strlen(api) - strlen(STORE)), api);
	reading->field = pstrdup(field);
	reading->there = palloc0(sizeof(bool) * batch->n);
	reading->newest = palloc(sizeof(int64) * batch->n);
	for (int i = 0; i < batch->n; i++)
		reading->newest[i] = PG_INT64_MIN;
	batch->reading = reading;
	MemoryContextSwitchTo(caller);
	begin_chunk(batch, 0);
	compose_query(run, batch);
	return true;
}

void
jdy_readback_ask(PushRun *run, Batch *batch)
{
	ReadBack   *reading = batch->reading;
	Call	   *call = jdy_call_create(run->client, CALL_LIST, LANE_TAIL, "POST", reading->path);

	call->owner = batch;
	call->body = reading->body;
	call->parse = parse_rows;

	/* An answer was lost just now: give the target time to come back, and to finish what it may be at. */
	if (batch->lost > 0 && reading->from == 0 && reading->page == 1)
		call->not_before_us = jdy_monotonic_us() + jdy_client_backoff_us(run->client, batch->lost);
	jdy_client_submit(run->client, call);
}

ReadBackEnd
jdy_readback_take(PushRun *run, const Call *call)
{
	Batch	   *batch = call->owner;
	ReadBack   *reading = batch->reading;
	bool		more;

	if (call->outcome != OUTCOME_OK)
	{
		/* It is the query itself that is refused: so it would be for all batches. */
		if (call->verdict == VERDICT_STOP && call->reply != NULL && call->reply->failure == HTTP_COMPLETE)
			run->unreadable = true;
		return READ_FAILED;
	}
	if (asked_at_wrong_time(batch, call))
	{
		compose_query(run, batch);
		return READ_ON;
	}
	if (!note_rows(run->push, batch))
		return READ_FAILED;

	reading->seen += reading->answer->nrows;
	more = reading->answer->nrows > 0 &&
		(reading->answer->count >= 0 ? reading->seen < reading->answer->count : reading->answer->nrows == reading->rows);
	if (more && reading->page == MOST_PAGES)
		return READ_FAILED;
	if (more)
		reading->page++;
	else if (reading->from + reading->n < batch->n)
		begin_chunk(batch, reading->from + reading->n);
	else
		return READ_DONE;
	compose_query(run, batch);
	return READ_ON;
}

/*
 * The payload's member that holds the id, the same in all records of the batch: what it is called is
 * the payload's affair.  Of several the one called like the source's column, or "id", is meant.
 */
static const char *
find_field(const Push *push, const Batch *batch)
{
	const char *column = push->meta->id_fields != NIL ? linitial(push->meta->id_fields) : "id";
	const char *best = NULL;
	List	   *fields = fields_with_id(push, &batch->records[0]);
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "jdysync payload", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(each);
	ListCell   *cell;

	for (int i = 1; i < batch->n && fields != NIL; i++)
	{
		Jsonb	   *payload = payload_of(push, &batch->records[i]);

		foreach(cell, fields)
		{
			JsonbValue *value = payload != NULL ? field_of(&payload->root, lfirst(cell)) : NULL;

			if (value == NULL || value->type == jbvBinary || value->type == jbvNull ||
				strcmp(jdy_jsonb_value_text(value), batch->records[i].id) != 0)
				fields = foreach_delete_current(fields, cell);
		}
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(each);
	foreach(cell, fields)
	{
		const char *field = lfirst(cell);

		if (best == NULL || strcmp(field, column) == 0 || (strcmp(field, "id") == 0 && strcmp(best, column) != 0))
			best = field;
	}
	return best;
}

/* Names of the payload's members whose value is the record's id. */
static List *
fields_with_id(const Push *push, const Outgoing *record)
{
	Jsonb	   *payload = payload_of(push, record);
	List	   *fields = NIL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	part;
	char	   *name = NULL;

	if (payload == NULL || !JB_ROOT_IS_OBJECT(payload))
		return NIL;
	iterator = JsonbIteratorInit(&payload->root);
	(void) JsonbIteratorNext(&iterator, &part, true);
	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = jdy_jsonb_value_text(&part);
		else if (token == WJB_VALUE && part.type != jbvBinary && part.type != jbvNull &&
				 strcmp(jdy_jsonb_value_text(&part), record->id) == 0)
			fields = lappend(fields, name);
	}
	return fields;
}

static JsonbValue *
field_of(JsonbContainer *object, const char *field)
{
	return JsonContainerIsObject(object) ? getKeyJsonValueFromContainer(object, field, strlen(field), NULL) : NULL;
}

/* As it stands in the batch.  NULL when jsonb cannot hold it: then nothing that was read back equals it. */
static Jsonb *
payload_of(const Push *push, const Outgoing *record)
{
	const char *text = jdy_record_text(push, record);
	Row			row = {.text = text,.length = (int) strlen(text)};
	const char *problem;

	return row.length <= JDY_MAX_ROW_BYTES ? jdy_row_jsonb(&row, &problem) : NULL;
}

static void
begin_chunk(Batch *batch, int from)
{
	ReadBack   *reading = batch->reading;
	Size		largest = 1;

	reading->from = from;
	reading->n = Min(batch->n - from, CHUNK_IDS);
	for (int i = from; i < from + reading->n; i++)
		largest = Max(largest, strlen(batch->records[i].payload));
	reading->rows = Min(Max(PAGE_BYTES / largest, 1), PAGE_ROWS);
	reading->page = 1;
	reading->seen = 0;
}

/* Times are the server's, of storing.  Both are always given: some servers ask for them. */
static void
compose_query(PushRun *run, Batch *batch)
{
	ReadBack   *reading = batch->reading;
	bool		known;
	TimestampTz now = jdy_client_server_time(run->client, &known);
	int			margin_s = known ? MARGIN_S : WIDE_MARGIN_S;
	StringInfoData body;

	reading->offset_us = now - GetCurrentTimestamp();
	initStringInfo(&body);
	appendStringInfo(&body, "{\"page\":%d,\"pageSize\":%d,\"begin_at\":" INT64_FORMAT ",\"end_at\":" INT64_FORMAT ",",
					 reading->page, reading->rows, unix_seconds(batch->sent_at + reading->offset_us) - margin_s,
					 unix_seconds(now) + margin_s);
	escape_json(&body, psprintf("CONTENT_%s", reading->field));
	appendStringInfoString(&body, ":{\"$in\":[");
	add_ids(&body, run->push, batch);
	appendStringInfoString(&body, "]}}");
	if (reading->body != NULL)
		pfree(reading->body);
	reading->body = MemoryContextStrdup(batch->context, body.data);
	pfree(body.data);
}

/* With the types that they have in the payloads: 1 is not "1". */
static void
add_ids(StringInfo body, const Push *push, const Batch *batch)
{
	const ReadBack *reading = batch->reading;
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "jdysync payload", ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < reading->n; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(each);
		JsonbValue *id = field_of(&payload_of(push, &batch->records[reading->from + i])->root, reading->field);
		char	   *text = jdy_jsonb_value_text(id);

		if (i > 0)
			appendStringInfoChar(body, ',');
		if (id->type == jbvString)
			escape_json(body, text);
		else
			appendStringInfoString(body, text);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(each);
	}
	MemoryContextDelete(each);
}

static void
parse_rows(Call *call, ReplyFacts *facts)
{
	ReadBack   *reading = ((Batch *) call->owner)->reading;
	PageShape	shape = {.rows_path = "content.rows"};
	ListPage   *page = jdy_page_parse(call->reply->body, call->reply->body_length, &shape);

	reading->answer = page;
	facts->errcode = page->errcode;
	facts->well_formed = page->problem == NULL;
	call->service_text = page->problem != NULL ? page->problem : page->description;
	if (facts->well_formed && page->errcode == 0 && page->page >= 0 && page->page != reading->page)
	{
		facts->well_formed = false;
		call->service_text = "another page than the one asked for";
	}
}

/* The first reply of a run may tell that the server's clock is quite another: the window was not where it should be. */
static bool
asked_at_wrong_time(Batch *batch, const Call *call)
{
	ReadBack   *reading = batch->reading;
	int64		error_us;

	if (call->answered_at == 0 || reading->clock_learned)
		return false;
	reading->clock_learned = true;
	error_us = call->answered_at - (GetCurrentTimestamp() + reading->offset_us);
	return llabs(error_us) > MARGIN_S * USECS_PER_SEC / 2;
}

/* A page's rows; false when one of them is not what was asked for. */
static bool
note_rows(const Push *push, Batch *batch)
{
	const ListPage *page = batch->reading->answer;
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "jdysync row read back", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(each);
	bool		fine = true;

	for (int i = 0; i < page->nrows && fine; i++)
	{
		fine = note_row(push, batch, &page->rows[i]);
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(each);
	return fine;
}

/*
 * The newest row of an id decides: where the target keeps every version, the record has been
 * there before.  Rows come in order of arrival; created_at has whole seconds only.
 */
static bool
note_row(const Push *push, Batch *batch, const Row *row)
{
	ReadBack   *reading = batch->reading;
	const char *problem;
	Jsonb	   *object = jdy_row_jsonb(row, &problem);
	JsonbValue *content = object != NULL ? field_of(&object->root, "content") : NULL;
	char	   *created;
	int64		created_at;
	char	   *id;

	if (content == NULL || content->type != jbvBinary || !JsonContainerIsObject(content->val.binary.data))
		return false;
	id = jdy_jsonb_value_text(field_of(content->val.binary.data, reading->field));
	created = jdy_jsonb_text(object, "created_at");
	created_at = created != NULL ? strtoll(created, NULL, 10) : 0;
	for (int i = reading->from; id != NULL && i < reading->from + reading->n; i++)
	{
		Jsonb	   *payload;

		if (strcmp(batch->records[i].id, id) != 0)
			continue;
		if (created_at < reading->newest[i])
			break;
		payload = payload_of(push, &batch->records[i]);
		reading->newest[i] = created_at;
		reading->there[i] = payload != NULL && compareJsonbContainers(&payload->root, content->val.binary.data) == 0;
		break;
	}
	return true;
}

static int64
unix_seconds(TimestampTz at)
{
	return at / USECS_PER_SEC + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}
