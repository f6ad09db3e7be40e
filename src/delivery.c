/*-------------------------------------------------------------------------
 * delivery.c
 *		Where each record stands toward a push.
 *
 * Two tables.  jdysync.batch holds requests whose outcome is open: their composition and
 * bytes are committed before they are sent, so that after a crash or a lost answer
 * the same bytes can be sent again under the same key.  jdysync.delivery holds what was settled,
 * a row a record: the digest of the payload that was acknowledged last, and of one
 * that is dead.  A record is written once when it is delivered, not when it is sent.
 *
 * Both are the extension's: no owner can make a delivery up.
 *
 * Called by push.c and pushdef.c, inside their transactions.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "hashset.h"
#include "push.h"
#include "spi.h"
#include "staging.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static JdyStatement look = {
	.sql = "SELECT k.* FROM unnest($2) AS u (id) CROSS JOIN LATERAL"
	" (SELECT d.id, d.version, d.digest, d.refused_digest, d.status = 'delivered' AS settled FROM jdysync.delivery d"
	"  WHERE d.push_id = $1 AND d.id = u.id OFFSET 0) AS k",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

/*
 * An empty refused_digest stands for a deletion that was refused.  What is pending was replayed: a deletion that
 * may have arrived has no digest any more.
 */
static JdyStatement find_gone = {
	.sql = "SELECT d.id, d.version FROM jdysync.delivery d WHERE d.push_id = $1 AND d.id > $2 AND ($3 IS NULL OR d.id <= $3)"
	" AND ((d.digest IS NOT NULL AND d.refused_digest IS DISTINCT FROM ''::bytea) OR d.status = 'pending')"
	" AND d.id <> ALL ($4) ORDER BY d.id LIMIT $5",
	.nargs = 5,
	.argtypes = {INT4OID, TEXTOID, TEXTOID, TEXTARRAYOID, INT4OID},
	.by_index = true
};

static JdyStatement delivered_ones = {
	.sql = "SELECT d.id, d.digest FROM jdysync.delivery d WHERE d.push_id = $1 AND d.status = 'delivered'"
	" AND d.digest IS NOT NULL AND d.refused_digest IS NULL",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement unresolved = {
	.sql = "SELECT b.batch_id, b.key, b.body, b.ids, b.versions, b.digests, b.sent_at FROM jdysync.batch b"
	" WHERE b.push_id = $1 ORDER BY b.attempts, b.batch_id",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement intend = {
	.sql = "INSERT INTO jdysync.batch (push_id, run_id, key, body, ids, versions, digests)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING batch_id",
	.nargs = 7,
	.argtypes = {INT4OID, INT8OID, TEXTOID, TEXTOID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID}
};

/* Requests of one record each: several in one statement, since a push one by one has many of them. */
static JdyStatement intend_singles = {
	.sql = "INSERT INTO jdysync.batch (push_id, run_id, key, body, ids, versions, digests)"
	" SELECT $1, $2, u.key, u.body, ARRAY[u.id], ARRAY[u.version], ARRAY[u.digest]"
	" FROM unnest($3, $4, $5, $6, $7) AS u (key, body, id, version, digest) RETURNING batch_id",
	.nargs = 7,
	.argtypes = {INT4OID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID}
};

static JdyStatement forget = {
	.sql = "DELETE FROM jdysync.batch b WHERE b.batch_id = ANY ($1)",
	.nargs = 1,
	.argtypes = {INT8ARRAYOID},
	.by_index = true
};

static JdyStatement doubt = {
	.sql = "UPDATE jdysync.batch b SET status = 'in_doubt', attempts = b.attempts + 1, http_status = $2, last_error = $3"
	" WHERE b.batch_id = $1",
	.nargs = 3,
	.argtypes = {INT8OID, INT4OID, TEXTOID}
};

/* A first version has no row yet, and without ON CONFLICT it costs less: nothing need be inserted on trial and confirmed. */
static JdyStatement note_first = {
	.sql = "INSERT INTO jdysync.delivery (push_id, id, version, digest)"
	" SELECT $1, u.id, u.version, u.digest FROM unnest($2, $3, $4) AS u (id, version, digest)",
	.nargs = 4,
	.argtypes = {INT4OID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID}
};

static JdyStatement note_accepted = {
	.sql = "INSERT INTO jdysync.delivery AS d (push_id, id, version, digest)"
	" SELECT $1, u.id, u.version, u.digest FROM unnest($2, $3, $4) AS u (id, version, digest)"
	" ON CONFLICT (push_id, id) DO UPDATE SET version = EXCLUDED.version, digest = EXCLUDED.digest, status = 'delivered',"
	"  refused_digest = NULL, attempts = 0, http_status = NULL, errcode = NULL, last_error = NULL, request = NULL,"
	"  reply = NULL, discarded = NULL, changed_at = pg_catalog.clock_timestamp()",
	.nargs = 4,
	.argtypes = {INT4OID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID}
};

static JdyStatement bury = {
	.sql = "INSERT INTO jdysync.delivery AS d (push_id, id, version, status, refused_digest, attempts, http_status, errcode,"
	"  last_error, request, reply) VALUES ($1, $2, $3, 'dead', $4, 1, $5, $6, $7, $8, $9)"
	" ON CONFLICT (push_id, id) DO UPDATE SET version = EXCLUDED.version, status = 'dead',"
	"  refused_digest = EXCLUDED.refused_digest, attempts = d.attempts + 1, http_status = EXCLUDED.http_status,"
	"  errcode = EXCLUDED.errcode, last_error = EXCLUDED.last_error, request = EXCLUDED.request, reply = EXCLUDED.reply,"
	"  digest = CASE WHEN $10 THEN NULL ELSE d.digest END, discarded = NULL, changed_at = pg_catalog.clock_timestamp()",
	.nargs = 10,
	.argtypes = {INT4OID, TEXTOID, INT4OID, BYTEAOID, INT4OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, BOOLOID},
	.by_index = true
};

static JdyStatement revive = {
	.sql = "UPDATE jdysync.delivery d SET status = 'delivered', refused_digest = NULL, attempts = 0, http_status = NULL,"
	" errcode = NULL, last_error = NULL, request = NULL, reply = NULL, discarded = NULL"
	" WHERE d.push_id = $1 AND d.id = ANY ($2) AND d.digest IS NOT NULL",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

static JdyStatement count = {
	.sql = "SELECT pg_catalog.count(*) FROM jdysync.delivery d WHERE d.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

/* Ids and digests of all that is delivered, as far as the set has room: the others are looked up. */
struct Delivered
{
	DestReceiver receiver;		/* first, so that one is the other */
	HashSet    *set;
};

static bool take_delivered(TupleTableSlot *slot, DestReceiver *receiver);
static uint64 record_hash(const char *id, int length, const void *digest);
static void intend_each(const Push *push, int64 run_id, Batch **batches, int n);
static void note(const Push *push, JdyStatement *statement, Outgoing *records, int n);
static void forget_batches(Datum *ids, bool *nulls, int n);
static Datum digest_datum(const uint8 *digest);
static bool read_digest(uint64 row, int column, uint8 *digest);
static Datum id_array(const Outgoing *records, int n);
static void fill_arrays(const Outgoing *records, int n, Datum *arrays);
static Batch *read_batch(uint64 row, MemoryContext context);
static int	compare_records(const void *a, const void *b);

/*
 * Most records of most scans are unchanged.  To find them one by one in the index
 * takes as long as all else that the scan does; to read them all once takes a third of that.
 */
Delivered *
jdy_delivered_load(const Push *push, MemoryContext context)
{
	Delivered  *delivered = MemoryContextAlloc(context, sizeof(Delivered));
	Datum		values[1] = {Int32GetDatum(push->push_id)};

	delivered->receiver = *None_Receiver;
	delivered->receiver.receiveSlot = take_delivered;
	delivered->set = jdy_hashset_create(context);
	jdy_execute_into(&delivered_ones, values, &delivered->receiver);
	return delivered;
}

bool
jdy_delivered_has(const Delivered *delivered, const Outgoing *record)
{
	return jdy_hashset_has(delivered->set, record_hash(record->id, (int) strlen(record->id), record->digest));
}

void
jdy_delivery_look(const Push *push, Outgoing *records, int n, Standing *standings)
{
	Datum		values[2];

	/* Sorted by id, so that each answer is found at once. */
	qsort(records, n, sizeof(Outgoing), compare_records);
	memset(standings, 0, sizeof(Standing) * n);
	values[0] = Int32GetDatum(push->push_id);
	values[1] = id_array(records, n);
	jdy_execute(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		Outgoing	key = {.id = jdy_spi_text(r, 1)};
		Outgoing   *found = bsearch(&key, records, n, sizeof(Outgoing), compare_records);
		Standing   *standing;
		bool		isnull;

		if (found == NULL)
			continue;
		standing = &standings[found - records];
		standing->known = true;
		standing->version = (int) jdy_spi_int64(r, 2, 0);
		standing->delivered = read_digest(r, 3, standing->digest);
		standing->refused = read_digest(r, 4, standing->refused_digest);
		standing->settled = DatumGetBool(jdy_spi_datum(r, 5, &isnull));
	}

	/* A scan asks this many times in one transaction, at whose end only SPI would free the answers. */
	SPI_freetuptable(SPI_tuptable);
}

int
jdy_delivery_gone(const Push *push, const char *after, const char *upto, char **present, int n, Outgoing *gone, int most)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc0(sizeof(bool) * Max(n, 1));
	Datum		values[5];
	int			found;

	for (int i = 0; i < n; i++)
		ids[i] = CStringGetTextDatum(present[i]);
	values[0] = Int32GetDatum(push->push_id);
	values[1] = CStringGetTextDatum(after);
	values[2] = upto != NULL ? CStringGetTextDatum(upto) : (Datum) 0;
	values[3] = jdy_make_array(ids, nulls, n, TEXTOID);
	values[4] = Int32GetDatum(most);
	jdy_execute(&find_gone, values, upto != NULL ? NULL : "  n  ");
	found = (int) SPI_processed;
	memset(gone, 0, sizeof(Outgoing) * found);
	for (int i = 0; i < found; i++)
	{
		gone[i].id = jdy_spi_text(i, 1);
		gone[i].version = (int) jdy_spi_int64(i, 2, 0);
		gone[i].gone = true;
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

List *
jdy_delivery_unresolved(const Push *push, MemoryContext context)
{
	Datum		values[1] = {Int32GetDatum(push->push_id)};
	List	   *batches = NIL;

	jdy_execute(&unresolved, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		Batch	   *batch = read_batch(r, context);
		MemoryContext caller = MemoryContextSwitchTo(context);

		batches = lappend(batches, batch);
		MemoryContextSwitchTo(caller);
	}
	return batches;
}

void
jdy_delivery_intend(const Push *push, int64 run_id, List *batches)
{
	Batch	  **singles = palloc(sizeof(Batch *) * Max(list_length(batches), 1));
	int			nsingles = 0;
	ListCell   *cell;

	foreach(cell, batches)
	{
		Batch	   *batch = lfirst(cell);
		Datum		values[7];

		if (batch->n == 1)
		{
			singles[nsingles++] = batch;
			continue;
		}
		values[0] = Int32GetDatum(push->push_id);
		values[1] = Int64GetDatum(run_id);
		values[2] = CStringGetTextDatum(batch->key);
		values[3] = CStringGetTextDatum(batch->body);
		fill_arrays(batch->records, batch->n, &values[4]);
		jdy_execute(&intend, values, NULL);
		batch->batch_id = jdy_spi_int64(0, 1, 0);
	}
	if (nsingles > 0)
		intend_each(push, run_id, singles, nsingles);
}

void
jdy_delivery_accepted(const Push *push, List *batches)
{
	Outgoing   *first;
	Outgoing   *later;
	Datum	   *ids = palloc(sizeof(Datum) * list_length(batches));
	bool	   *nulls = palloc0(sizeof(bool) * list_length(batches));
	int			nfirst = 0;
	int			nlater = 0;
	int			most = 0;
	ListCell   *cell;

	foreach(cell, batches)
		most += ((Batch *) lfirst(cell))->n;
	first = palloc(sizeof(Outgoing) * most);
	later = palloc(sizeof(Outgoing) * most);
	foreach(cell, batches)
	{
		const Batch *batch = lfirst(cell);

		for (int i = 0; i < batch->n; i++)
		{
			if (batch->records[i].version == 1)
				first[nfirst++] = batch->records[i];
			else
				later[nlater++] = batch->records[i];
		}
		ids[foreach_current_index(cell)] = Int64GetDatum(batch->batch_id);
	}
	note(push, &note_first, first, nfirst);
	note(push, &note_accepted, later, nlater);
	forget_batches(ids, nulls, list_length(batches));
}

void
jdy_delivery_doubtful(const Batch *batch, int http_status, const char *problem)
{
	Datum		values[3];

	values[0] = Int64GetDatum(batch->batch_id);
	values[1] = Int32GetDatum(http_status);
	values[2] = CStringGetTextDatum(problem);
	jdy_execute(&doubt, values, http_status == 0 ? " n " : NULL);
}

void
jdy_delivery_forget(const Batch *batch)
{
	Datum		id = Int64GetDatum(batch->batch_id);
	bool		null = false;

	forget_batches(&id, &null, 1);
}

void
jdy_delivery_dead(const Push *push, const Batch *batch, int http_status, int64 errcode,
				  const char *problem, const char *reply)
{
	const Outgoing *record = &batch->records[0];
	Datum		values[10];
	char		nulls[11] = "          ";

	Assert(batch->n == 1);
	values[0] = Int32GetDatum(push->push_id);
	values[1] = CStringGetTextDatum(record->id);
	values[2] = Int32GetDatum(record->version);
	values[3] = record->gone ? DirectFunctionCall1(byteain, CStringGetDatum("")) : digest_datum(record->digest);
	values[4] = Int32GetDatum(http_status);
	nulls[4] = http_status == 0 ? 'n' : ' ';
	values[5] = Int64GetDatum(errcode);
	nulls[5] = errcode == 0 ? 'n' : ' ';
	values[6] = CStringGetTextDatum(problem);
	values[7] = CStringGetTextDatum(batch->body);
	values[8] = reply != NULL ? CStringGetTextDatum(reply) : (Datum) 0;
	nulls[8] = reply != NULL ? ' ' : 'n';
	values[9] = BoolGetDatum(batch->maybe_arrived);
	jdy_execute(&bury, values, nulls);
	jdy_delivery_forget(batch);
}

void
jdy_delivery_baseline(const Push *push, Outgoing *records, int n)
{
	for (int i = 0; i < n; i++)
		records[i].version = 1;
	note(push, &note_first, records, n);
}

void
jdy_delivery_revived(const Push *push, char **ids, int n)
{
	Datum		values[2];
	Datum	   *texts = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
		texts[i] = CStringGetTextDatum(ids[i]);
	values[0] = Int32GetDatum(push->push_id);
	values[1] = jdy_make_array(texts, nulls, n, TEXTOID);
	jdy_execute(&revive, values, NULL);
}

int64
jdy_delivery_count(const Push *push)
{
	Datum		values[1] = {Int32GetDatum(push->push_id)};

	jdy_execute(&count, values, NULL);
	return jdy_spi_int64(0, 1, 0);
}

static bool
take_delivered(TupleTableSlot *slot, DestReceiver *receiver)
{
	Delivered  *delivered = (Delivered *) receiver;
	text	   *id;
	bytea	   *digest;

	slot_getallattrs(slot);
	id = DatumGetTextPP(slot->tts_values[0]);
	digest = DatumGetByteaPP(slot->tts_values[1]);
	if (!jdy_hashset_is_full(delivered->set) && VARSIZE_ANY_EXHDR(digest) == JDY_PUSH_DIGEST)
		(void) jdy_hashset_add(delivered->set, record_hash(VARDATA_ANY(id), (int) VARSIZE_ANY_EXHDR(id), VARDATA_ANY(digest)));
	return true;
}

/* Eight bytes of the digest are as good as any 64-bit hash of it. */
static uint64
record_hash(const char *id, int length, const void *digest)
{
	uint64		part;

	memcpy(&part, digest, sizeof(part));
	return hash_combine64(hash_bytes_extended((const unsigned char *) id, length, 0), part);
}

static void
intend_each(const Push *push, int64 run_id, Batch **batches, int n)
{
	Datum	   *keys = palloc(sizeof(Datum) * n);
	Datum	   *bodies = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	Outgoing   *records = palloc(sizeof(Outgoing) * n);
	Datum		values[7];

	for (int i = 0; i < n; i++)
	{
		keys[i] = CStringGetTextDatum(batches[i]->key);
		bodies[i] = CStringGetTextDatum(batches[i]->body);
		records[i] = batches[i]->records[0];
	}
	values[0] = Int32GetDatum(push->push_id);
	values[1] = Int64GetDatum(run_id);
	values[2] = jdy_make_array(keys, nulls, n, TEXTOID);
	values[3] = jdy_make_array(bodies, nulls, n, TEXTOID);
	fill_arrays(records, n, &values[4]);
	jdy_execute(&intend_singles, values, NULL);
	for (int i = 0; i < n; i++)
		batches[i]->batch_id = jdy_spi_int64(i, 1, 0);
}

static void
note(const Push *push, JdyStatement *statement, Outgoing *records, int n)
{
	Datum		values[4];

	if (n == 0)
		return;
	values[0] = Int32GetDatum(push->push_id);
	fill_arrays(records, n, &values[1]);
	jdy_execute(statement, values, NULL);
}

static void
forget_batches(Datum *ids, bool *nulls, int n)
{
	Datum		values[1] = {jdy_make_array(ids, nulls, n, INT8OID)};

	jdy_execute(&forget, values, NULL);
}

static Datum
digest_datum(const uint8 *digest)
{
	bytea	   *bytes = palloc(VARHDRSZ + JDY_PUSH_DIGEST);

	SET_VARSIZE(bytes, VARHDRSZ + JDY_PUSH_DIGEST);
	memcpy(VARDATA(bytes), digest, JDY_PUSH_DIGEST);
	return PointerGetDatum(bytes);
}

/* false when it is null. */
static bool
read_digest(uint64 row, int column, uint8 *digest)
{
	bool		isnull;
	Datum		value = jdy_spi_datum(row, column, &isnull);
	bytea	   *bytes;

	if (isnull)
		return false;
	bytes = DatumGetByteaPP(value);
	memcpy(digest, VARDATA_ANY(bytes), Min(VARSIZE_ANY_EXHDR(bytes), JDY_PUSH_DIGEST));
	return true;
}

static Datum
id_array(const Outgoing *records, int n)
{
	Datum	   *ids = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
		ids[i] = CStringGetTextDatum(records[i].id);
	return jdy_make_array(ids, nulls, n, TEXTOID);
}

/* ids, versions, digests: null of what is to be deleted. */
static void
fill_arrays(const Outgoing *records, int n, Datum *arrays)
{
	Datum	   *versions = palloc(sizeof(Datum) * n);
	Datum	   *digests = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	bool	   *gone = palloc(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
	{
		versions[i] = Int32GetDatum(records[i].version);
		digests[i] = digest_datum(records[i].digest);
		gone[i] = records[i].gone;
	}
	arrays[0] = id_array(records, n);
	arrays[1] = jdy_make_array(versions, nulls, n, INT4OID);
	arrays[2] = jdy_make_array(digests, gone, n, BYTEAOID);
}

static Batch *
read_batch(uint64 row, MemoryContext context)
{
	MemoryContext own = AllocSetContextCreate(context, "jdysync batch of records", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(own);
	Batch	   *batch = palloc0(sizeof(Batch));
	Datum	   *ids;
	Datum	   *versions;
	Datum	   *digests;
	bool	   *gone;
	bool		isnull;
	int			n;

	batch->context = own;
	batch->batch_id = jdy_spi_int64(row, 1, 0);
	strlcpy(batch->key, jdy_spi_text(row, 2), sizeof(batch->key));
	batch->body = pstrdup(jdy_spi_text(row, 3));
	batch->maybe_arrived = true;
	batch->sent_at = DatumGetTimestampTz(jdy_spi_datum(row, 7, &isnull));
	deconstruct_array(DatumGetArrayTypeP(jdy_spi_datum(row, 4, &isnull)), TEXTOID, -1, false, TYPALIGN_INT, &ids, NULL, &batch->n);
	deconstruct_array(DatumGetArrayTypeP(jdy_spi_datum(row, 5, &isnull)), INT4OID, 4, true, TYPALIGN_INT, &versions, NULL, &n);
	deconstruct_array(DatumGetArrayTypeP(jdy_spi_datum(row, 6, &isnull)), BYTEAOID, -1, false, TYPALIGN_INT, &digests, &gone, &n);
	batch->records = palloc0(sizeof(Outgoing) * batch->n);
	for (int i = 0; i < batch->n; i++)
	{
		batch->records[i].id = TextDatumGetCString(ids[i]);
		batch->records[i].version = DatumGetInt32(versions[i]);
		batch->records[i].gone = gone[i];
		if (!gone[i])
		{
			bytea	   *digest = DatumGetByteaPP(digests[i]);

			memcpy(batch->records[i].digest, VARDATA_ANY(digest), Min(VARSIZE_ANY_EXHDR(digest), JDY_PUSH_DIGEST));
		}
	}
	MemoryContextSwitchTo(caller);
	return batch;
}

static int
compare_records(const void *a, const void *b)
{
	return strcmp(((const Outgoing *) a)->id, ((const Outgoing *) b)->id);
}
