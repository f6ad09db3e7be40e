/*-------------------------------------------------------------------------
 * standing.c
 *		Where all records stand toward a push, to be asked about each of many.
 *
 * First deliveries lie in jdysync.delivered, a row for each group of them: their ids and
 * the digests of their payloads, as version 1.  From its second version on, and when it was
 * refused at any time, a record has a row of its own in jdysync.delivery, and that row
 * alone counts.  So a first push writes little, later changes find their row by its
 * key, and nothing need ever be merged.
 *
 * A scan of the source compares most records with what was delivered and finds them
 * equal.  To find each in an index takes as long as all else that the scan does, so everything
 * known is read once into a map of hashes, 16 bytes a record; only those that differ are
 * looked up.  The map is bounded, and so is the number of records in
 * groups (delivery.c): rows for which the map has no room are found by their keys.
 *
 * Called by pushscan.c and preview.c, in a transaction with SPI.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "hashmap.h"
#include "push.h"
#include "spi.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MOST_KNOWN 3000000		/* records in the map */

/* What the map says of a record: part of a digest, but for the lowest bits. */
#define STATE_MASK UINT64CONST(3)
#define STATE_GROUPED UINT64CONST(0)	/* delivered as version 1: it has no row */
#define STATE_ROW UINT64CONST(1)	/* delivered; its row knows the version */
#define STATE_OTHER UINT64CONST(2)	/* refused, deleted or to be sent again: its row knows */

static JdyStatement all_groups = {
	.sql = "SELECT g.first_id, g.last_id, g.ids, g.digests FROM jdysync.delivered g WHERE g.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement all_rows = {
	.sql = "SELECT d.id, COALESCE(d.digest, ''), d.status = 'delivered' AND d.digest IS NOT NULL AND d.refused_digest IS NULL"
	" FROM jdysync.delivery d WHERE d.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement some_rows = {
	.sql = "SELECT k.* FROM unnest($2) AS u (id) CROSS JOIN LATERAL"
	" (SELECT d.id, COALESCE(d.digest, ''), d.status = 'delivered' AND d.digest IS NOT NULL AND d.refused_digest IS NULL"
	"  FROM jdysync.delivery d WHERE d.push_id = $1 AND d.id = u.id OFFSET 0) AS k",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

static JdyStatement look = {
	.sql = "SELECT k.* FROM unnest($2) AS u (id) CROSS JOIN LATERAL"
	" (SELECT d.id, d.version, d.digest, d.refused_digest, d.status = 'delivered' AS settled FROM jdysync.delivery d"
	"  WHERE d.push_id = $1 AND d.id = u.id OFFSET 0) AS k",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

/*
 * An empty refused_digest stands for a deletion that was refused.  An empty digest, for what may have arrived: that is
 * deleted when somebody replays it.  What was never there is not: under its id somebody else's record may be.
 */
static JdyStatement rows_there = {
	.sql = "SELECT d.id, d.version FROM jdysync.delivery d WHERE d.push_id = $1"
	" AND d.digest IS NOT NULL AND (d.status = 'pending' OR (d.digest <> ''::bytea AND d.refused_digest IS DISTINCT FROM ''::bytea))",
	.nargs = 1,
	.argtypes = {INT4OID}
};

struct Standings
{
	const Push *push;
	HashMap    *map;
	bool		all_rows;		/* the map has room for them: who is not there has no row */
	char	  **wanted;			/* sorted: nothing else is read; NULL = everything is */
	int			nwanted;
	int64		grouped;		/* records in groups, wanted or not */
};

/* Takes rows from the executor. */
typedef struct Reader
{
	DestReceiver receiver;		/* first, so that one is the other */
	Standings  *standings;
	MemoryContext row;			/* reset after each */
	const HashMap *present;		/* looking for what is gone */
	GoneVisitor visit;
	void	   *arg;
} Reader;

static void read_into(Standings *standings, JdyStatement *statement, Datum *values, Reader *reader);
static bool take_group(TupleTableSlot *slot, DestReceiver *receiver);
static bool take_row(TupleTableSlot *slot, DestReceiver *receiver);
static bool take_gone_group(TupleTableSlot *slot, DestReceiver *receiver);
static bool take_gone_row(TupleTableSlot *slot, DestReceiver *receiver);
static bool is_wanted(const Standings *standings, TupleTableSlot *slot);
static int	open_group(TupleTableSlot *slot, Datum **ids, const char **digests);
static uint64 hash_of(Datum id);
static uint64 value_of(const void *digest, uint64 state);
static void look_up(const Standings *standings, Outgoing *records, int n, Standing *found);
static bool read_digest(uint64 row, int column, uint8 *digest);
static int	compare_records(const void *a, const void *b);

Standings *
jdy_standings_load(Push *push, char **ids, int n, MemoryContext context)
{
	Standings  *standings = MemoryContextAllocZero(context, sizeof(Standings));
	Reader		groups = {.receiver.receiveSlot = take_group};
	Reader		rows = {.receiver.receiveSlot = take_row};
	Datum		values[2] = {Int32GetDatum(push->push_id)};

	standings->push = push;
	standings->map = jdy_hashmap_create(context, true, MOST_KNOWN);
	standings->all_rows = true;
	if (ids != NULL)
	{
		standings->wanted = ids;
		standings->nwanted = n;
		qsort(ids, n, sizeof(char *), pg_qsort_strcmp);
		values[1] = jdy_text_array(ids, n);
	}

	/* Rows after groups: they take their place. */
	read_into(standings, &all_groups, values, &groups);
	read_into(standings, ids != NULL ? &some_rows : &all_rows, values, &rows);
	push->grouped = standings->grouped;
	return standings;
}

int
jdy_standings_ask(const Standings *standings, Outgoing *records, int n, Standing *found)
{
	Outgoing	differing[JDY_SOURCE_CHUNK];
	int			left = 0;
	int			ndiffering = 0;

	/* Those that have no row come first. */
	for (int i = 0; i < n; i++)
	{
		uint64		value;
		bool		known = jdy_hashmap_get(standings->map, jdy_id_hash(records[i].id, strlen(records[i].id)), &value);
		uint64		state = value & STATE_MASK;

		if (known && state != STATE_OTHER && value == value_of(records[i].digest, state))
			continue;
		if (known ? state != STATE_GROUPED : !standings->all_rows)
		{
			differing[ndiffering++] = records[i];
			continue;
		}
		found[left] = (Standing) {.known = known,.version = known ? 1 : 0};
		records[left++] = records[i];
	}
	if (ndiffering > 0)
	{
		memcpy(&records[left], differing, sizeof(Outgoing) * ndiffering);
		look_up(standings, &records[left], ndiffering, &found[left]);
	}
	return left + ndiffering;
}

void
jdy_standings_gone(const Standings *standings, const HashMap *present, GoneVisitor visit, void *arg)
{
	Reader		groups = {.receiver.receiveSlot = take_gone_group,.present = present,.visit = visit,.arg = arg};
	Reader		rows = {.receiver.receiveSlot = take_gone_row,.present = present,.visit = visit,.arg = arg};
	Datum		values[1] = {Int32GetDatum(standings->push->push_id)};

	read_into(unconstify(Standings *, standings), &all_groups, values, &groups);
	read_into(unconstify(Standings *, standings), &rows_there, values, &rows);
}

static void
read_into(Standings *standings, JdyStatement *statement, Datum *values, Reader *reader)
{
	bool		(*receive) (TupleTableSlot *, DestReceiver *) = reader->receiver.receiveSlot;

	reader->receiver = *None_Receiver;
	reader->receiver.receiveSlot = receive;
	reader->standings = standings;
	reader->row = AllocSetContextCreate(CurrentMemoryContext, "jdysync row of deliveries", ALLOCSET_DEFAULT_SIZES);
	jdy_execute_into(statement, values, &reader->receiver);
	MemoryContextDelete(reader->row);
}

static bool
take_group(TupleTableSlot *slot, DestReceiver *receiver)
{
	Reader	   *reader = (Reader *) receiver;
	Standings  *standings = reader->standings;
	MemoryContext caller = MemoryContextSwitchTo(reader->row);

	slot_getallattrs(slot);
	standings->grouped += (toast_raw_datum_size(slot->tts_values[3]) - VARHDRSZ) / JDY_PUSH_DIGEST;
	if (is_wanted(standings, slot))
	{
		Datum	   *ids;
		const char *digests;
		int			n = open_group(slot, &ids, &digests);

		for (int i = 0; i < n; i++)
			(void) jdy_hashmap_put(standings->map, hash_of(ids[i]), value_of(digests + i * JDY_PUSH_DIGEST, STATE_GROUPED));
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reader->row);
	return true;
}

static bool
take_row(TupleTableSlot *slot, DestReceiver *receiver)
{
	Reader	   *reader = (Reader *) receiver;
	Standings  *standings = reader->standings;
	MemoryContext caller = MemoryContextSwitchTo(reader->row);
	bytea	   *digest;
	uint64		value = STATE_OTHER;

	slot_getallattrs(slot);
	digest = DatumGetByteaPP(slot->tts_values[1]);
	if (DatumGetBool(slot->tts_values[2]) && VARSIZE_ANY_EXHDR(digest) == JDY_PUSH_DIGEST)
		value = value_of(VARDATA_ANY(digest), STATE_ROW);
	if (!jdy_hashmap_put(standings->map, hash_of(slot->tts_values[0]), value))
		standings->all_rows = false;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reader->row);
	return true;
}

static bool
take_gone_group(TupleTableSlot *slot, DestReceiver *receiver)
{
	Reader	   *reader = (Reader *) receiver;
	MemoryContext caller = MemoryContextSwitchTo(reader->row);
	Datum	   *ids;
	const char *digests;
	int			n;

	slot_getallattrs(slot);
	n = open_group(slot, &ids, &digests);
	for (int i = 0; i < n; i++)
	{
		uint64		hash = hash_of(ids[i]);
		uint64		value;

		if (!jdy_hashmap_has(reader->present, hash) &&
			jdy_hashmap_get(reader->standings->map, hash, &value) && (value & STATE_MASK) == STATE_GROUPED)
			reader->visit(reader->arg, TextDatumGetCString(ids[i]), 1);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reader->row);
	return true;
}

static bool
take_gone_row(TupleTableSlot *slot, DestReceiver *receiver)
{
	Reader	   *reader = (Reader *) receiver;
	MemoryContext caller = MemoryContextSwitchTo(reader->row);

	slot_getallattrs(slot);
	if (!jdy_hashmap_has(reader->present, hash_of(slot->tts_values[0])))
		reader->visit(reader->arg, TextDatumGetCString(slot->tts_values[0]), DatumGetInt32(slot->tts_values[1]));
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reader->row);
	return true;
}

/* Whether one of the wanted ids may be in the group; its arrays are not even read otherwise. */
static bool
is_wanted(const Standings *standings, TupleTableSlot *slot)
{
	char	   *first;
	int			low = 0;
	int			high = standings->nwanted;

	if (standings->wanted == NULL)
		return true;
	first = TextDatumGetCString(slot->tts_values[0]);
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (strcmp(standings->wanted[middle], first) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < standings->nwanted && strcmp(standings->wanted[low], TextDatumGetCString(slot->tts_values[1])) <= 0;
}

/* How many records a group has; what is returned lives in the current memory context. */
static int
open_group(TupleTableSlot *slot, Datum **ids, const char **digests)
{
	bytea	   *all = DatumGetByteaPP(slot->tts_values[3]);
	int			n;

	deconstruct_array(DatumGetArrayTypeP(slot->tts_values[2]), TEXTOID, -1, false, TYPALIGN_INT, ids, NULL, &n);
	if (VARSIZE_ANY_EXHDR(all) != (Size) n * JDY_PUSH_DIGEST)
		elog(ERROR, "%d ids of deliveries have %zu bytes of digests", n, (Size) VARSIZE_ANY_EXHDR(all));
	*digests = VARDATA_ANY(all);
	return n;
}

static uint64
hash_of(Datum id)
{
	text	   *value = DatumGetTextPP(id);

	return jdy_id_hash(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static uint64
value_of(const void *digest, uint64 state)
{
	uint64		part;

	memcpy(&part, digest, sizeof(part));
	return (part & ~STATE_MASK) | state;
}

/* Sorted by id, so that each answer is found at once. */
static void
look_up(const Standings *standings, Outgoing *records, int n, Standing *found)
{
	Datum		values[2];
	char	  **ids = palloc(sizeof(char *) * n);

	qsort(records, n, sizeof(Outgoing), compare_records);
	memset(found, 0, sizeof(Standing) * n);
	for (int i = 0; i < n; i++)
		ids[i] = records[i].id;
	values[0] = Int32GetDatum(standings->push->push_id);
	values[1] = jdy_text_array(ids, n);
	jdy_execute(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		Outgoing	key = {.id = jdy_spi_text(r, 1)};
		Outgoing   *record = bsearch(&key, records, n, sizeof(Outgoing), compare_records);
		Standing   *standing;
		bool		isnull;

		if (record == NULL)
			continue;
		standing = &found[record - records];
		standing->known = true;
		standing->version = (int) jdy_spi_int64(r, 2, 0);
		standing->delivered = read_digest(r, 3, standing->digest);
		standing->refused = read_digest(r, 4, standing->refused_digest);
		standing->settled = DatumGetBool(jdy_spi_datum(r, 5, &isnull));
	}

	/* A scan asks this many times in one transaction, at whose end only SPI would free the answers. */
	SPI_freetuptable(SPI_tuptable);
}

/* false when it is null or empty. */
static bool
read_digest(uint64 row, int column, uint8 *digest)
{
	bool		isnull;
	Datum		value = jdy_spi_datum(row, column, &isnull);
	bytea	   *bytes;

	if (isnull)
		return false;
	bytes = DatumGetByteaPP(value);
	if (VARSIZE_ANY_EXHDR(bytes) != JDY_PUSH_DIGEST)
		return false;
	memcpy(digest, VARDATA_ANY(bytes), JDY_PUSH_DIGEST);
	return true;
}

static int
compare_records(const void *a, const void *b)
{
	return strcmp(((const Outgoing *) a)->id, ((const Outgoing *) b)->id);
}
