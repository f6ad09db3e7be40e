/*-------------------------------------------------------------------------
 * source.c
 *		The records of a push's source, as they would be sent.
 *
 * A source is any relation with an id.  Its rows are read once, with the owner's
 * rights, and taken as the executor hands them out: a chunk ends when it has
 * enough records or bytes, so neither their number nor their size makes memory grow.
 * Nothing is sent meanwhile.
 *
 * Two rows with one id would make each other "changed" in every run, so they are an
 * error.  A hash of each id is remembered, eight bytes of it; where one comes again, and once there
 * are too many of them, the database is asked for the truth.
 *
 * Called by pushscan.c, preview.c, and pushdef.c for a baseline; what it seals, by all
 * that make requests.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "page.h"
#include "payload.h"
#include "push.h"
#include "saveapi.h"
#include "spi.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define SHA256_BYTES 32
#define MOST_IDS 3000000		/* that are remembered to find one that comes twice */
#define CHUNK_BYTES (4 * 1024 * 1024)	/* of payloads, beyond which a chunk ends */

/* As in a runner (jdy_pin_settings): a payload must be the same text wherever it is made. */
static const char *const formats[][2] = {
	{"search_path", JDY_SAFE_SEARCH_PATH},
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"}
};

/* Takes the rows of the source from the executor. */
typedef struct Source
{
	DestReceiver receiver;		/* first, so that one is the other */
	const Push *push;
	SourceVisitor visit;
	void	   *arg;
	Oid			user_id;		/* who reads it, to be so again afterwards */
	int			sec_context;
	int			guc_level;
	MemoryContext caller;
	MemoryContext context;
	MemoryContext chunk;		/* of records; reset after each visit */
	Outgoing   *records;
	int			n;
	Size		bytes;
	HashMap    *ids;			/* so far; NULL: too many, the database has said that they are distinct */
} Source;

/* A payload in the making. */
typedef struct Filling
{
	const Push *push;
	Jsonb	   *row;
	Outgoing   *record;
} Filling;

static const char *select_records(const Push *push);
static void open_source(Source *source);
static void close_source(Source *source);
static void read_source(Source *source, const char *sql, char **ids, int n);
static bool take_row(TupleTableSlot *slot, DestReceiver *receiver);
static void fill_template(void *arg);
static void make_payload(const Push *push, Jsonb *row, Outgoing *record);
static void visit_chunk(Source *source);
static void note_id(Source *source, const char *id, Size length);
static void check_ids(const Push *push);
static void check_length(const Push *push, const char *id, Size length);
static void sha256(EVP_MD_CTX *context, uint8 *digest);
static EVP_MD_CTX *begin_sha256(void);
static void add_text(EVP_MD_CTX *context, const char *text);
static void record_key(const Push *push, const Outgoing *record, uint8 *key);

void
jdy_source_scan(const Push *push, SourceVisitor visit, HashMap *present, void *arg)
{
	Source		source = {.push = push,.visit = visit,.arg = arg,.ids = present};

	open_source(&source);
	read_source(&source, psprintf("%s%s", select_records(push), push->marks_deleted ? " WHERE v.deleted_at IS NULL" : ""), NULL, 0);
	close_source(&source);
}

void
jdy_source_scan_ids(const Push *push, char **ids, int n, const char *id_array, SourceVisitor visit, void *arg)
{
	Source		source = {.push = push,.visit = visit,.arg = arg};

	open_source(&source);
	read_source(&source, psprintf("%s WHERE v.%s = ANY (CAST($1 AS %s))%s", select_records(push), push->id_column, id_array,
								  push->marks_deleted ? " AND v.deleted_at IS NULL" : ""), ids, n);
	close_source(&source);
}

static const char *
select_records(const Push *push)
{
	return psprintf("SELECT v.%s::text, (%s)%s FROM %s AS v", push->id_column, push->payload,
					push->fields != NIL ? "" : "::text", push->source_name);
}

static void
open_source(Source *source)
{
	source->caller = CurrentMemoryContext;
	source->context = AllocSetContextCreate(source->caller, "jdysync source", ALLOCSET_DEFAULT_SIZES);
	source->receiver = *None_Receiver;
	source->receiver.receiveSlot = take_row;
	source->chunk = AllocSetContextCreate(source->context, "jdysync records of a source", 0, 1024 * 1024, ALLOCSET_DEFAULT_MAXSIZE);
	source->records = MemoryContextAlloc(source->context, sizeof(Outgoing) * JDY_SOURCE_CHUNK);
	if (source->ids == NULL)
		source->ids = jdy_hashmap_create(source->context, false, MOST_IDS);

	/* What the source calls is its owner's code: whoever asks for a preview must not run it with his own rights. */
	GetUserIdAndSecContext(&source->user_id, &source->sec_context);
	if (source->user_id != source->push->owner)
		SetUserIdAndSecContext(source->push->owner,
							   source->sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);

	/* An error's abort puts these back, too. */
	source->guc_level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(formats); i++)
		(void) set_config_option(formats[i][0], formats[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
close_source(Source *source)
{
	AtEOXact_GUC(true, source->guc_level);
	SetUserIdAndSecContext(source->user_id, source->sec_context);
	MemoryContextSwitchTo(source->caller);
	MemoryContextDelete(source->context);
}

/* ids: parameter $1, some at a time; NULL = there is none. */
static void
read_source(Source *source, const char *sql, char **ids, int n)
{
	Oid			type = TEXTARRAYOID;
	SPIPlanPtr	plan = SPI_prepare(sql, ids != NULL ? 1 : 0, &type);
	int			done = 0;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	do
	{
		int			some = Min(n - done, JDY_SOURCE_CHUNK);
		Portal		portal;
		Datum		values[1];

		MemoryContextSwitchTo(source->context);
		values[0] = ids != NULL ? jdy_text_array(&ids[done], some) : (Datum) 0;
		portal = SPI_cursor_open(NULL, plan, values, NULL, true);
		MemoryContextSwitchTo(source->caller);
		PortalRunFetch(portal, FETCH_FORWARD, FETCH_ALL, &source->receiver);
		visit_chunk(source);
		SPI_cursor_close(portal);
		done += some;
	} while (done < n);
	SPI_freeplan(plan);
}

void
jdy_payload_digest(const char *payload, uint8 *digest)
{
	EVP_MD_CTX *context = begin_sha256();
	uint8		full[SHA256_BYTES];

	if (EVP_DigestUpdate(context, payload, strlen(payload)) != 1)
		elog(ERROR, "OpenSSL refused data for SHA-256");
	sha256(context, full);
	memcpy(digest, full, JDY_PUSH_DIGEST);
}

/*
 * The key of one record's request is that of the record; of a batch it is the
 * digest of its members' keys in order.  So a batch that is composed anew of the
 * same contents has another key only if it is another request.
 */
void
jdy_batch_seal(const Push *push, Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	EVP_MD_CTX *keys = NULL;
	uint8		key[SHA256_BYTES];
	StringInfoData body;

	initStringInfo(&body);
	if (push->batched && push->rows_key != NULL)
	{
		appendStringInfoChar(&body, '{');
		escape_json(&body, push->rows_key);
		appendStringInfoChar(&body, ':');
	}
	if (push->batched)
		appendStringInfoChar(&body, '[');
	for (int i = 0; i < batch->n; i++)
	{
		if (i > 0)
			appendStringInfoChar(&body, ',');
		appendStringInfoString(&body, jdy_record_text(push, &batch->records[i]));
	}
	if (push->batched)
		appendStringInfoChar(&body, ']');
	if (push->batched && push->rows_key != NULL)
		appendStringInfoChar(&body, '}');
	batch->body = body.data;

	for (int i = 0; i < batch->n; i++)
	{
		record_key(push, &batch->records[i], key);
		if (!push->batched)
			break;
		if (keys == NULL)
			keys = EVP_MD_CTX_new();
		if (keys == NULL || (i == 0 && EVP_DigestInit_ex(keys, EVP_sha256(), NULL) != 1) ||
			EVP_DigestUpdate(keys, key, sizeof(key)) != 1)
			elog(ERROR, "OpenSSL refused SHA-256");
	}
	if (keys != NULL)
	{
		if (EVP_DigestFinal_ex(keys, key, NULL) != 1)
			elog(ERROR, "OpenSSL refused SHA-256");
		EVP_MD_CTX_free(keys);
	}
	hex_encode((char *) key, sizeof(key), batch->key);
	batch->key[2 * sizeof(key)] = '\0';
	MemoryContextSwitchTo(caller);
}

/* What a target has is known by that key even when it comes again in another batch, under another key. */
const char *
jdy_record_text(const Push *push, const Outgoing *record)
{
	uint8		key[SHA256_BYTES];
	char		text[JDY_PUSH_KEY];

	if (push->key_field == NULL || record->payload[strspn(record->payload, " \t\r\n")] != '{')
		return record->payload;
	record_key(push, record, key);
	hex_encode((char *) key, sizeof(key), text);
	text[2 * sizeof(key)] = '\0';
	return jdy_save_put(record->payload, push->key_field, text);
}

void
jdy_deletion_seal(const Push *push, Batch *batch)
{
	Outgoing   *record = &batch->records[0];
	uint8		key[SHA256_BYTES];

	record->gone = true;
	memset(record->digest, 0, JDY_PUSH_DIGEST);
	record->payload = push->meta->delete_body == NULL ? "" :
		jdy_payload_deletion(push->meta->delete_body, record->id, push->endpoint->time_zone);
	batch->body = record->payload;
	record_key(push, record, key);
	hex_encode((char *) key, sizeof(key), batch->key);
	batch->key[2 * sizeof(key)] = '\0';
}

/* Called by the executor for each row: id, payload.  The visit runs inside, with statements of its own, as a loop of PL/pgSQL would. */
static bool
take_row(TupleTableSlot *slot, DestReceiver *receiver)
{
	Source	   *source = (Source *) receiver;
	Outgoing   *record = &source->records[source->n];
	MemoryContext caller = MemoryContextSwitchTo(source->chunk);

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	memset(record, 0, sizeof(Outgoing));
	record->id = slot->tts_isnull[0] ? pstrdup("") : TextDatumGetCString(slot->tts_values[0]);
	note_id(source, record->id, strlen(record->id));

	/* A row without a payload is not to be sent. */
	if (!slot->tts_isnull[1])
	{
		if (source->push->fields == NIL)
			record->payload = TextDatumGetCString(slot->tts_values[1]);
		else
			make_payload(source->push, DatumGetJsonbP(slot->tts_values[1]), record);
		jdy_payload_digest(record->payload, record->digest);
		source->bytes += strlen(record->payload);
		source->n++;
	}
	MemoryContextSwitchTo(caller);
	if (source->n == JDY_SOURCE_CHUNK || source->bytes >= CHUNK_BYTES)
		visit_chunk(source);
	return true;
}

static void
fill_template(void *arg)
{
	const Filling *filling = arg;

	filling->record->payload = jdy_payload_text(filling->push->fields, filling->row, filling->record->id,
												filling->push->endpoint->time_zone);
}

/* A record that the template cannot be filled with must not keep the others from being sent. */
static void
make_payload(const Push *push, Jsonb *row, Outgoing *record)
{
	Filling		filling = {.push = push,.row = row,.record = record};
	ErrorData  *error = jdy_try(fill_template, &filling);

	if (error == NULL)
		return;
	if (jdy_error_is_the_servers(error))
		ReThrowError(error);
	record->problem = error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) : error->message;
	record->payload = JsonbToCString(NULL, &row->root, VARSIZE(row));
}

static void
visit_chunk(Source *source)
{
	MemoryContext caller = MemoryContextSwitchTo(source->chunk);

	if (source->n > 0)
		source->visit(source->arg, source->records, source->n);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(source->chunk);
	source->n = 0;
	source->bytes = 0;
}

/* Raises when the id stands in another row, is empty, or is too long to be looked up. */
static void
note_id(Source *source, const char *id, Size length)
{
	if (length == 0)
		check_ids(source->push);
	if (length > JDY_MAX_ID_BYTES)
		check_length(source->push, id, length);
	if (source->ids == NULL)
		return;
	if (!jdy_hashmap_add(source->ids, jdy_id_hash(id, length)))
		check_ids(source->push);
	if (jdy_hashmap_is_full(source->ids))
	{
		check_ids(source->push);
		source->ids = NULL;
	}
}

/* The whole truth about the ids, from the database: an error, or they are fine. */
static void
check_ids(const Push *push)
{
	char	   *sql = psprintf("SELECT v.%s::text, pg_catalog.count(*) FROM %s AS v GROUP BY v.%s::text"
							   " HAVING pg_catalog.count(*) > 1 OR v.%s::text IS NULL OR v.%s::text = '' LIMIT 1",
							   push->id_column, push->source_name, push->id_column, push->id_column, push->id_column);
	MemoryContext caller = CurrentMemoryContext;
	char	   *id;

	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
	MemoryContextSwitchTo(caller);
	if (SPI_processed == 0)
		return;
	id = jdy_spi_text(0, 1);
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("the source of the push has no key"),
			 id != NULL && id[0] != '\0' ?
			 errdetail("Id \"%s\" stands in %lld rows of %s.", id, (long long) jdy_spi_int64(0, 2, 0), push->source_name) :
			 errdetail("%lld rows of %s have no id.", (long long) jdy_spi_int64(0, 2, 0), push->source_name),
			 errhint("Each row needs an id of its own: change the view, or name another column as \"id\" in the metadata.")));
}

static void
check_length(const Push *push, const char *id, Size length)
{
	ereport(ERROR,
			(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
			 errmsg("an id in the source of the push is too long"),
			 errdetail("\"%s…\" in %s has %zu bytes.", pnstrdup(id, pg_mbcliplen(id, (int) length, 40)), push->source_name, length),
			 errhint("An id has up to %d bytes; a digest of it would do: md5(…) AS id.", JDY_MAX_ID_BYTES)));
}

/*
 * One context for the whole process: to make one costs more than a payload's digest,
 * and so does naming the algorithm again, which OpenSSL 3 looks up each time.
 */
static EVP_MD_CTX *
begin_sha256(void)
{
	static EVP_MD_CTX *context = NULL;
	const EVP_MD *algorithm = NULL;

	if (context == NULL)
	{
		context = EVP_MD_CTX_new();
		algorithm = EVP_sha256();
	}
	if (context == NULL || EVP_DigestInit_ex(context, algorithm, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a digest"),
				 errdetail("OpenSSL refused SHA-256.")));
	return context;
}

static void
sha256(EVP_MD_CTX *context, uint8 *digest)
{
	if (EVP_DigestFinal_ex(context, digest, NULL) != 1)
		elog(ERROR, "OpenSSL refused SHA-256");
}

/* With its length, so that no two lists of texts look alike. */
static void
add_text(EVP_MD_CTX *context, const char *text)
{
	uint32		length = strlen(text);

	if (EVP_DigestUpdate(context, &length, sizeof(length)) != 1 || EVP_DigestUpdate(context, text, length) != 1)
		elog(ERROR, "OpenSSL refused data for SHA-256");
}

static void
record_key(const Push *push, const Outgoing *record, uint8 *key)
{
	EVP_MD_CTX *context = begin_sha256();
	int32		version = record->version;

	add_text(context, push->identity);
	add_text(context, record->id);
	if (EVP_DigestUpdate(context, &version, sizeof(version)) != 1 ||
		EVP_DigestUpdate(context, record->digest, JDY_PUSH_DIGEST) != 1)
		elog(ERROR, "OpenSSL refused data for SHA-256");
	sha256(context, key);
}

