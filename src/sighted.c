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
#include "sighted.h"
#include "spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define CHUNK_IDS 4096

static void insert_chunks(int stream_id, bool certified, char **ids, int n);
static int	compare_texts(const void *a, const void *b);

void
jdy_sighted_note(int stream_id, char **ids, int n)
{
	insert_chunks(stream_id, false, ids, n);
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
jdy_sighted_certify(int stream_id, char **gone, int ngone, char **added, int nadded,
					char **later, int nlater, Datum *digest)
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
	static JdyStatement sum_up = {
		.sql = "SELECT count(*), sha256(convert_to(COALESCE(string_agg(u.id, E'\\n' ORDER BY u.id COLLATE \"C\"), ''), 'UTF8'))"
		" FROM (SELECT DISTINCT i.id FROM jdysync.sighted g CROSS JOIN LATERAL unnest(g.ids) AS i (id)"
		"  WHERE g.stream_id = $1 AND g.certified) AS u",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[2] = {Int32GetDatum(stream_id)};
	bool		isnull;

	if (ngone > 0)
	{
		values[1] = jdy_text_array(gone, ngone);
		jdy_execute(&remove, values, NULL);
	}
	jdy_execute(&forget, values, NULL);
	insert_chunks(stream_id, true, added, nadded);
	insert_chunks(stream_id, false, later, nlater);
	jdy_execute(&sum_up, values, NULL);
	*digest = PointerGetDatum(DatumGetByteaPCopy(jdy_spi_datum(0, 2, &isnull)));
	return jdy_spi_int64(0, 1, 0);
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

	qsort(ids, n, sizeof(char *), compare_texts);
	for (int i = 0; i < n; i += CHUNK_IDS)
	{
		values[2] = jdy_text_array(ids + i, Min(CHUNK_IDS, n - i));
		jdy_execute(&insert, values, NULL);
	}
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}
