/*-------------------------------------------------------------------------
 * delivery.c
 *		What is written of where each record stands toward a push.
 *
 * jdysync.batch holds requests whose outcome is open: their composition and bytes are
 * committed before they are sent, so that after a crash or a lost answer the same
 * bytes can be sent again under the same key.  What was settled is the digest of the payload
 * that was acknowledged last, and of one that is dead: in jdysync.delivery, a row a record, or
 * in jdysync.delivered, a row for many records that were delivered for the first time
 * (standing.c).  A record is written once when it is delivered, not when it is sent.
 *
 * All three are the extension's: no owner can make a delivery up.
 *
 * Called by all parts of a run (pushrun.h) and by pushdef.c, inside their transactions.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "push.h"
#include "spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/xid8.h"
#include "utils/memutils.h"

#define LEAST_GROUPED 16		/* fewer first deliveries get a row each */
#define GROUP_RECORDS 512
#define MOST_GROUPED 2000000	/* of a push: standing.c has them all in memory */

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
	.argtypes = {INT4OID, INT8OID, TEXTOID, TEXTOID, TEXTARRAYOID, INT4ARRAYOID, BYTEAOID}
};

/* Requests of one record each: several in one statement, since a push one by one has many of them. */
static JdyStatement intend_singles = {
	.sql = "INSERT INTO jdysync.batch (push_id, run_id, key, body, ids, versions, digests)"
	" SELECT $1, $2, u.key, u.body, ARRAY[u.id], ARRAY[u.version], COALESCE(u.digest, '')"
	" FROM unnest($3, $4, $5, $6, $7) AS u (key, body, id, version, digest) RETURNING batch_id",
	.nargs = 7,
	.argtypes = {INT4OID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID}
};

static JdyStatement forget = {
	.sql = "DELETE FROM jdysync.batch b WHERE b.push_id = $1 AND b.batch_id = ANY ($2)",
	.nargs = 2,
	.argtypes = {INT4OID, INT8ARRAYOID},
	.by_index = true
};

static JdyStatement doubt = {
	.sql = "UPDATE jdysync.batch b SET status = 'in_doubt', attempts = b.attempts + 1, http_status = $2, last_error = $3"
	" WHERE b.batch_id = $1 AND b.push_id = $4",
	.nargs = 4,
	.argtypes = {INT8OID, INT4OID, TEXTOID, INT4OID}
};

static JdyStatement note_group = {
	.sql = "INSERT INTO jdysync.delivered (push_id, first_id, last_id, ids, digests) VALUES ($1, $2, $3, $4, $5)",
	.nargs = 5,
	.argtypes = {INT4OID, TEXTOID, TEXTOID, TEXTARRAYOID, BYTEAOID}
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

/*
 * What was acknowledged last stays known: of a record that had no row yet it stands in its group.  An empty digest: what
 * the target has is not known, but it may have something.
 */
static JdyStatement bury = {
	.sql = "INSERT INTO jdysync.delivery AS d (push_id, id, version, status, refused_digest, attempts, http_status, errcode,"
	"  last_error, request, reply, digest) VALUES ($1, $2, $3, 'dead', $4, 1, $5, $6, $7, $8, $9,"
	"  CASE WHEN $10 THEN ''::bytea ELSE (SELECT pg_catalog.substr(g.digests, 16 * pg_catalog.array_position(g.ids, $2) - 15, 16) FROM jdysync.delivered g"
	"   WHERE $3 > 1 AND NOT EXISTS (SELECT FROM jdysync.delivery o WHERE o.push_id = $1 AND o.id = $2)"
	"   AND g.push_id = $1 AND g.first_id <= $2 AND g.last_id >= $2 AND $2 = ANY (g.ids)) END)"
	" ON CONFLICT (push_id, id) DO UPDATE SET version = EXCLUDED.version, status = 'dead',"
	"  refused_digest = EXCLUDED.refused_digest, attempts = d.attempts + 1, http_status = EXCLUDED.http_status,"
	"  errcode = EXCLUDED.errcode, last_error = EXCLUDED.last_error, request = EXCLUDED.request, reply = EXCLUDED.reply,"
	"  digest = CASE WHEN $10 THEN ''::bytea ELSE d.digest END, discarded = NULL, changed_at = pg_catalog.clock_timestamp()",
	.nargs = 10,
	.argtypes = {INT4OID, TEXTOID, INT4OID, BYTEAOID, INT4OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, BOOLOID},
	.by_index = true
};

static JdyStatement revive = {
	.sql = "UPDATE jdysync.delivery d SET status = 'delivered', refused_digest = NULL, attempts = 0, http_status = NULL,"
	" errcode = NULL, last_error = NULL, request = NULL, reply = NULL, discarded = NULL"
	" WHERE d.push_id = $1 AND d.id = ANY ($2)",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

static JdyStatement replayed = {
	.sql = "SELECT d.id FROM jdysync.delivery d WHERE d.push_id = $1 AND d.status = 'pending' AND NOT ($2 AND d.digest IS NOT NULL)",
	.nargs = 2,
	.argtypes = {INT4OID, BOOLOID},
	.by_index = true
};

static JdyStatement note_seen = {
	.sql = "UPDATE jdysync.push p SET seen_source = $2, seen_lsn = $3, seen_xmin = $4 WHERE p.push_id = $1",
	.nargs = 4,
	.argtypes = {INT4OID, TEXTOID, PG_LSNOID, XID8OID}
};

static JdyStatement count = {
	.sql = "SELECT pg_catalog.count(*) FROM (SELECT d.id FROM jdysync.delivery d WHERE d.push_id = $1"
	" UNION SELECT u.id FROM jdysync.delivered g, unnest(g.ids) AS u (id) WHERE g.push_id = $1) AS k",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static void intend_each(const Push *push, int64 run_id, Batch **batches, int n);
static void note(const Push *push, JdyStatement *statement, Outgoing *records, int n);
static void note_firsts(Push *push, Outgoing *records, int n);
static void note_one_group(const Push *push, Outgoing *records, int n);
static void forget_batches(const Push *push, Datum *ids, bool *nulls, int n);
static Datum digests_datum(const Outgoing *records, int n);
static Datum id_array(const Outgoing *records, int n);
static Datum version_array(const Outgoing *records, int n);
static void fill_arrays(const Outgoing *records, int n, Datum *arrays);
static Batch *read_batch(uint64 row, MemoryContext context);

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
		values[4] = id_array(batch->records, batch->n);
		values[5] = version_array(batch->records, batch->n);
		values[6] = digests_datum(batch->records, batch->n);
		jdy_execute(&intend, values, NULL);
		batch->batch_id = jdy_spi_int64(0, 1, 0);
	}
	if (nsingles > 0)
		intend_each(push, run_id, singles, nsingles);
}

void
jdy_delivery_accepted(Push *push, List *batches)
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
	note_firsts(push, first, nfirst);
	note(push, &note_accepted, later, nlater);
	forget_batches(push, ids, nulls, list_length(batches));
}

void
jdy_delivery_doubtful(const Push *push, const Batch *batch, int http_status, const char *problem)
{
	Datum		values[4];

	values[0] = Int64GetDatum(batch->batch_id);
	values[1] = Int32GetDatum(http_status);
	values[2] = CStringGetTextDatum(problem);
	values[3] = Int32GetDatum(push->push_id);
	jdy_execute(&doubt, values, http_status == 0 ? " n  " : NULL);
}

void
jdy_delivery_forget(const Push *push, const Batch *batch)
{
	Datum		id = Int64GetDatum(batch->batch_id);
	bool		null = false;

	forget_batches(push, &id, &null, 1);
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
	values[3] = digests_datum(record, 1);
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
	jdy_delivery_forget(push, batch);
}

void
jdy_delivery_baseline(Push *push, Outgoing *records, int n)
{
	for (int i = 0; i < n; i++)
		records[i].version = 1;
	note_firsts(push, records, n);
}

void
jdy_delivery_revived(const Push *push, char **ids, int n)
{
	Datum		values[2] = {Int32GetDatum(push->push_id), jdy_text_array(ids, n)};

	jdy_execute(&revive, values, NULL);
}

int
jdy_delivery_replayed(const Push *push, bool absent, char ***ids)
{
	Datum		values[2] = {Int32GetDatum(push->push_id), BoolGetDatum(absent)};

	jdy_execute(&replayed, values, NULL);
	*ids = palloc(sizeof(char *) * Max(SPI_processed, 1));
	for (uint64 r = 0; r < SPI_processed; r++)
		(*ids)[r] = jdy_spi_text(r, 1);
	return (int) SPI_processed;
}

void
jdy_delivery_seen(const Push *push, const ChangeMark *mark)
{
	Datum		values[4];

	values[0] = Int32GetDatum(push->push_id);
	values[1] = mark->source != NULL ? CStringGetTextDatum(mark->source) : (Datum) 0;
	values[2] = LSNGetDatum(mark->lsn);
	values[3] = FullTransactionIdGetDatum(mark->xmin);
	jdy_execute(&note_seen, values, mark->source != NULL ? NULL : " nnn");
}

int64
jdy_delivery_count(const Push *push)
{
	Datum		values[1] = {Int32GetDatum(push->push_id)};

	jdy_execute(&count, values, NULL);
	return jdy_spi_int64(0, 1, 0);
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
forget_batches(const Push *push, Datum *ids, bool *nulls, int n)
{
	Datum		values[2] = {Int32GetDatum(push->push_id), jdy_make_array(ids, nulls, n, INT8OID)};

	jdy_execute(&forget, values, NULL);
}

/* Records without a row: many of them share one. */
static void
note_firsts(Push *push, Outgoing *records, int n)
{
	if (n < LEAST_GROUPED || push->grouped + n > MOST_GROUPED)
	{
		note(push, &note_first, records, n);
		return;
	}
	for (int from = 0; from < n; from += GROUP_RECORDS)
		note_one_group(push, &records[from], Min(GROUP_RECORDS, n - from));
	push->grouped += n;
}

static void
note_one_group(const Push *push, Outgoing *records, int n)
{
	const char *first = records[0].id;
	const char *last = first;
	Datum		values[5];

	for (int i = 1; i < n; i++)
	{
		first = strcmp(records[i].id, first) < 0 ? records[i].id : first;
		last = strcmp(records[i].id, last) > 0 ? records[i].id : last;
	}
	values[0] = Int32GetDatum(push->push_id);
	values[1] = CStringGetTextDatum(first);
	values[2] = CStringGetTextDatum(last);
	values[3] = id_array(records, n);
	values[4] = digests_datum(records, n);
	jdy_execute(&note_group, values, NULL);
}

/* One after the other; empty for a deletion, which is alone. */
static Datum
digests_datum(const Outgoing *records, int n)
{
	Size		length = n == 1 && records[0].gone ? 0 : n * JDY_PUSH_DIGEST;
	bytea	   *bytes = palloc(VARHDRSZ + length);

	SET_VARSIZE(bytes, VARHDRSZ + length);
	for (int i = 0; i * JDY_PUSH_DIGEST < length; i++)
		memcpy(VARDATA(bytes) + i * JDY_PUSH_DIGEST, records[i].digest, JDY_PUSH_DIGEST);
	return PointerGetDatum(bytes);
}

static Datum
id_array(const Outgoing *records, int n)
{
	char	  **ids = palloc(sizeof(char *) * n);

	for (int i = 0; i < n; i++)
		ids[i] = records[i].id;
	return jdy_text_array(ids, n);
}

static Datum
version_array(const Outgoing *records, int n)
{
	Datum	   *versions = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
		versions[i] = Int32GetDatum(records[i].version);
	return jdy_make_array(versions, nulls, n, INT4OID);
}

/* ids, versions, digests: null of what is to be deleted. */
static void
fill_arrays(const Outgoing *records, int n, Datum *arrays)
{
	Datum	   *digests = palloc(sizeof(Datum) * n);
	bool	   *gone = palloc(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
	{
		digests[i] = digests_datum(&records[i], 1);
		gone[i] = records[i].gone;
	}
	arrays[0] = id_array(records, n);
	arrays[1] = version_array(records, n);
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
	bytea	   *digests;
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
	digests = DatumGetByteaPP(jdy_spi_datum(row, 6, &isnull));
	batch->records = palloc0(sizeof(Outgoing) * batch->n);
	for (int i = 0; i < batch->n; i++)
	{
		Outgoing   *record = &batch->records[i];

		record->id = TextDatumGetCString(ids[i]);
		record->version = DatumGetInt32(versions[i]);
		record->gone = VARSIZE_ANY_EXHDR(digests) == 0;
		if (VARSIZE_ANY_EXHDR(digests) >= (i + 1) * JDY_PUSH_DIGEST)
			memcpy(record->digest, VARDATA_ANY(digests) + i * JDY_PUSH_DIGEST, JDY_PUSH_DIGEST);
	}
	MemoryContextSwitchTo(caller);
	return batch;
}
