/*-------------------------------------------------------------------------
 * source.c
 *		The records of a push's source, as they would be sent.
 *
 * A source is any relation with an id.  Its rows are read with the owner's
 * rights, a chunk at a time through a cursor, so memory does not grow with their
 * number; nothing is sent while the cursor is open.
 *
 * Two rows with one id would make each other "changed" in every run, so they are an
 * error; the database finds them, in as little memory as it may use.
 *
 * Called by push.c, and by pushdef.c for a baseline and previews.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "payload.h"
#include "push.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define SHA256_BYTES 32

static void check_ids(const Push *push);
static void take_chunk(const Push *push, SPITupleTable *rows, int n, SourceVisitor visit, void *arg);
static char *payload_text(const Push *push, const char *id, SPITupleTable *rows, int row);
static void sha256(EVP_MD_CTX *context, uint8 *digest);
static EVP_MD_CTX *begin_sha256(void);
static void add_text(EVP_MD_CTX *context, const char *text);
static void record_key(const Push *push, const Outgoing *record, uint8 *key);

void
jdy_source_scan(const Push *push, SourceVisitor visit, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext chunk = AllocSetContextCreate(caller, "jdysync source", ALLOCSET_DEFAULT_SIZES);
	char	   *sql = psprintf("SELECT v.%s::text, (%s)%s FROM %s AS v", push->id_column, push->payload,
							   push->fields != NIL ? "" : "::text", push->source_name);
	Oid			user_id;
	int			sec_context;
	SPIPlanPtr	plan;
	Portal		portal;

	/* What the source calls is its owner's code: whoever asks for a preview must not run it with his own rights. */
	GetUserIdAndSecContext(&user_id, &sec_context);
	if (user_id != push->owner)
		SetUserIdAndSecContext(push->owner, sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	check_ids(push);
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPITupleTable *rows;
		int			n;

		SPI_cursor_fetch(portal, true, JDY_SOURCE_CHUNK);
		rows = SPI_tuptable;
		n = (int) SPI_processed;
		if (n == 0)
			break;
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(chunk);
		take_chunk(push, rows, n, visit, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(chunk);
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
	SPI_freeplan(plan);
	SetUserIdAndSecContext(user_id, sec_context);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(chunk);
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
		appendStringInfoString(&body, batch->records[i].payload);
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

static void
check_ids(const Push *push)
{
	char	   *sql = psprintf("SELECT v.%s::text, pg_catalog.count(*) FROM %s AS v GROUP BY v.%s::text"
							   " HAVING pg_catalog.count(*) > 1 OR v.%s::text IS NULL OR v.%s::text = '' LIMIT 1",
							   push->id_column, push->source_name, push->id_column, push->id_column, push->id_column);
	char	   *id;

	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
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
take_chunk(const Push *push, SPITupleTable *rows, int n, SourceVisitor visit, void *arg)
{
	Outgoing   *records = palloc0(sizeof(Outgoing) * n);
	int			nrecords = 0;

	for (int i = 0; i < n; i++)
	{
		Outgoing   *record = &records[nrecords];

		record->id = SPI_getvalue(rows->vals[i], rows->tupdesc, 1);
		record->payload = payload_text(push, record->id, rows, i);
		/* A row without a payload is not to be sent. */
		if (record->payload == NULL)
			continue;
		jdy_payload_digest(record->payload, record->digest);
		nrecords++;
	}
	if (nrecords > 0)
		visit(arg, records, nrecords);
}

static char *
payload_text(const Push *push, const char *id, SPITupleTable *rows, int row)
{
	Datum		record;
	bool		isnull;

	if (push->fields == NIL)
		return SPI_getvalue(rows->vals[row], rows->tupdesc, 2);
	record = SPI_getbinval(rows->vals[row], rows->tupdesc, 2, &isnull);
	return isnull ? NULL : jdy_payload_text(push->fields, DatumGetJsonbP(record), id, push->endpoint->time_zone);
}

/* One context for the whole process: to make one costs more than a payload's digest. */
static EVP_MD_CTX *
begin_sha256(void)
{
	static EVP_MD_CTX *context = NULL;

	if (context == NULL)
		context = EVP_MD_CTX_new();
	if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
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
