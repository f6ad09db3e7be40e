/*-------------------------------------------------------------------------
 * sighted.c
 *		Which ids a stream's service has shown: what certificates are made of.
 *
 * A certificate needs to know which records were there before an instant.  The
 * staging table cannot say: it is its owner's, who may write what he likes into it.
 * So the ids are kept here, in arrays of some thousands, which take a tenth of
 * the space of rows: those that the last certificate names, and those that
 * were shown for the first time since.  A list that does not change writes nothing.
 *
 * An id that a certificate does not name is not there any more.  When it comes back it is
 * noted anew, so that "seen before" always means: since it was last known to be away.
 *
 * Called by listing.c, certify.c and stream.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/tuptable.h"
#include "sighted.h"
#include "spi.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define CHUNK_IDS 4096

/* A digest as it is made. */
typedef struct Sum
{
	DestReceiver receiver;		/* first, so that one is the other */
	pg_cryptohash_ctx *context;
	int64		n;
} Sum;

static int64 sum_up(int stream_id, Datum *digest);
static bool take_id(TupleTableSlot *slot, DestReceiver *receiver);
static void insert_chunks(int stream_id, bool certified, char **ids, int n);
static int	compare_texts(const void *a, const void *b);

void
jdy_sighted_note(int stream_id, char **ids, int n)
{
	insert_chunks(stream_id, false, ids, n);
}

void
jdy_sighted_add(int stream_id, char **ids, int n)
{
	insert_chunks(stream_id, true, ids, n);
}

int64
jdy_sighted_count(int stream_id)
{
	static JdyStatement count = {
		.sql = "SELECT sum(cardinality(g.ids)) FROM jdysync.sighted g WHERE g.stream_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(stream_id)};

	jdy_execute(&count, values, NULL);
	return jdy_spi_int64(0, 1, 0);
}

void
jdy_sighted_read(int stream_id, void (*visit) (void *arg, const char *id, bool certified), void *arg)
{
	static JdyStatement read = {
		.sql = "SELECT g.certified, g.ids FROM jdysync.sighted g WHERE g.stream_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(stream_id)};
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "jdysync chunk of ids", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	SPITupleTable *rows;
	uint64		nrows;

	jdy_execute(&read, values, NULL);
	rows = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 r = 0; r < nrows; r++)
	{
		bool		isnull;
		bool		certified = DatumGetBool(SPI_getbinval(rows->vals[r], rows->tupdesc, 1, &isnull));
		Datum	   *ids;
		int			n;

		/* As it was read it is compressed, or not here at all. */
		MemoryContextSwitchTo(chunk);
		deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(rows->vals[r], rows->tupdesc, 2, &isnull)),
						  TEXTOID, -1, false, TYPALIGN_INT, &ids, NULL, &n);
		for (int i = 0; i < n; i++)
		{
			char	   *id = TextDatumGetCString(ids[i]);

			MemoryContextSwitchTo(caller);
			visit(arg, id, certified);
			MemoryContextSwitchTo(chunk);
			pfree(id);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(chunk);
	}
	SPI_freetuptable(rows);
	MemoryContextDelete(chunk);
}

int64
jdy_sighted_certify(int stream_id, char **gone, int ngone, char **later, int nlater, Datum *digest)
{
	static JdyStatement remove = {
		.sql = "UPDATE jdysync.sighted g SET ids = ARRAY(SELECT u.id FROM unnest(g.ids) AS u (id) WHERE u.id <> ALL ($2))"
		" WHERE g.stream_id = $1 AND g.certified AND g.ids && $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID}
	};
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.sighted g WHERE g.stream_id = $1 AND (NOT g.certified OR g.ids = '{}')",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(stream_id)};

	if (ngone > 0)
	{
		values[1] = jdy_text_array(gone, ngone);
		jdy_execute(&remove, values, NULL);
	}
	jdy_execute(&forget, values, NULL);
	insert_chunks(stream_id, false, later, nlater);
	return sum_up(stream_id, digest);
}

/* One id after the other: all of them in one text would take more memory than all else. */
static int64
sum_up(int stream_id, Datum *digest)
{
	static JdyStatement read = {
		.sql = "SELECT convert_to(u.id, 'UTF8') FROM (SELECT DISTINCT i.id FROM jdysync.sighted g"
		"  CROSS JOIN LATERAL unnest(g.ids) AS i (id) WHERE g.stream_id = $1 AND g.certified) AS u"
		" ORDER BY u.id COLLATE \"C\"",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(stream_id)};
	uint8		sha256[PG_SHA256_DIGEST_LENGTH];
	Sum			sum = {.receiver = *None_Receiver};

	sum.receiver.receiveSlot = take_id;
	sum.context = pg_cryptohash_create(PG_SHA256);
	if (sum.context == NULL || pg_cryptohash_init(sum.context) < 0)
		elog(ERROR, "SHA-256 cannot be had");
	jdy_execute_into(&read, values, &sum.receiver);
	if (pg_cryptohash_final(sum.context, sha256, sizeof(sha256)) < 0)
		elog(ERROR, "SHA-256 failed");
	pg_cryptohash_free(sum.context);
	*digest = jdy_make_bytea(sha256, sizeof(sha256));
	return sum.n;
}

static bool
take_id(TupleTableSlot *slot, DestReceiver *receiver)
{
	Sum		   *sum = (Sum *) receiver;
	bool		isnull;
	bytea	   *id = DatumGetByteaPP(slot_getattr(slot, 1, &isnull));

	if ((sum->n++ > 0 && pg_cryptohash_update(sum->context, (const uint8 *) "\n", 1) < 0) ||
		pg_cryptohash_update(sum->context, (const uint8 *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)) < 0)
		elog(ERROR, "SHA-256 failed");
	return true;
}

void
jdy_sighted_forget(int stream_id)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.sighted g WHERE g.stream_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(stream_id)};

	jdy_execute(&forget, values, NULL);
}

/* In order: neighbours are alike, and compress well. */
static void
insert_chunks(int stream_id, bool certified, char **ids, int n)
{
	static JdyStatement insert = {
		.sql = "INSERT INTO jdysync.sighted (stream_id, certified, ids) VALUES ($1, $2, $3)",
		.nargs = 3,
		.argtypes = {INT4OID, BOOLOID, TEXTARRAYOID}
	};
	Datum		values[3] = {Int32GetDatum(stream_id), BoolGetDatum(certified)};
	MemoryContext chunk;
	MemoryContext caller;

	if (n == 0)
		return;
	chunk = AllocSetContextCreate(CurrentMemoryContext, "jdysync chunk of ids", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(chunk);
	qsort(ids, n, sizeof(char *), compare_texts);
	for (int i = 0; i < n; i += CHUNK_IDS)
	{
		values[2] = jdy_text_array(ids + i, Min(CHUNK_IDS, n - i));
		jdy_execute(&insert, values, NULL);
		MemoryContextReset(chunk);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(chunk);
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}
