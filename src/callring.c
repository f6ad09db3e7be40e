/*-------------------------------------------------------------------------
 * callring.c
 *		The log of calls: a ring of segments, the oldest of which is emptied.
 *
 * Calls are by far the most rows that are kept, nothing refers to them and none is ever
 * changed, so they are removed many at a time by TRUNCATE: at once the space is the system's again, no
 * dead row is left and no vacuum is needed.  jdysync.call is partitioned for that, but not by
 * day: partitions made as time goes on would be no members of the extension, so that a dump would hold
 * them without what they are part of, DROP EXTENSION would stop at them, their owner, rights and
 * comments would have to be looked after, and event triggers would fire.  Ten segments made by the
 * install script do the same, and all that changes is which of them is written to.
 *
 *	turn		+1 with each segment begun: the highest is written to, the lowest is the oldest
 *	began_at	when it was begun; all in the one before it is older
 *
 * A segment ends with an eighth of the size, or of the time, that all may have.  So
 * eight full ones and the one being filled hold what is to be kept, and one is empty.
 *
 * TRUNCATE needs the segment for itself.  It is never waited for: behind a waiting lock all
 * readers would queue up.  While somebody reads (a query over jdy_calls, a dump), the segment stays until
 * a later turn, and what is written goes on into the last one.  A transaction that began to write before a
 * turn ends in the segment it found, at worst in the last but one.
 *
 * Called by trim.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "callring.h"
#include "catalog/pg_type.h"
#include "spi.h"
#include "storage/lmgr.h"
#include "utils/timestamp.h"

#define SEGMENTS 10				/* as the install script makes them */
#define SEGMENTS_TEXT CppAsString2(SEGMENTS)
#define PARTS 8					/* of what may be kept, in a full segment */

typedef struct Segment
{
	int			number;			/* of jdysync.call_<number> */
	Oid			relation;
	int64		turn;			/* 0 = never begun */
	TimestampTz began_at;
	int64		bytes;			/* on disk, with its index; some even when it is empty */
	bool		empty;
} Segment;

/* The oldest first, so that the one written to comes last; without any it is the first one. */
static JdyStatement all_segments = {
	.sql = "SELECT n.segment, c.relation::oid, s.turn, s.began_at, pg_catalog.pg_total_relation_size(c.relation),"
	" pg_catalog.pg_relation_size(c.relation) = 0"
	" FROM generate_series(1, " SEGMENTS_TEXT ") AS n (segment) LEFT JOIN jdysync.call_segment s USING (segment)"
	" CROSS JOIN LATERAL (SELECT format('jdysync.call_%s', n.segment)::regclass AS relation) AS c"
	" ORDER BY s.turn NULLS FIRST, n.segment = 1, n.segment",
	.nargs = 0
};

static JdyStatement begin_one = {
	.sql = "INSERT INTO jdysync.call_segment (segment, turn, began_at) VALUES ($1, $2, $3)"
	" ON CONFLICT (segment) DO UPDATE SET turn = EXCLUDED.turn, began_at = EXCLUDED.began_at",
	.nargs = 3,
	.argtypes = {INT2OID, INT8OID, TIMESTAMPTZOID}
};

static int64 read_segments(Segment *segments);
static bool make_empty(Segment *segment, int64 *total);
static void begin_segment(Segment *segment, int64 turn, TimestampTz now);

RingTurn
jdy_callring_turn(TimestampTz now, TimestampTz before, int64 max_bytes)
{
	Segment		segments[SEGMENTS];
	Segment    *last = &segments[SEGMENTS - 1];
	int64		total = read_segments(segments);
	RingTurn	result = {.kept_from = now};
	bool		too_large;

	if (last->turn == 0 && !last->empty)
		begin_segment(last, 1, now);
	for (int i = 0; i < SEGMENTS - 1; i++)
	{
		Segment    *segment = &segments[i];
		bool		cut = total > max_bytes;

		if (segment->empty)
			continue;
		if ((!cut && segments[i + 1].began_at >= before) || !make_empty(segment, &total))
			break;
		result.cut |= cut && segments[i + 1].began_at >= before;
	}

	/* What is left of it is too much alone: it goes, too, once something else is written to. */
	too_large = total > max_bytes;
	if (!last->empty && segments[0].empty &&
		(too_large || last->bytes >= max_bytes / PARTS || now - last->began_at >= (now - before) / PARTS))
	{
		begin_segment(&segments[0], last->turn + 1, now);
		if (too_large && make_empty(last, &total))
			result.cut = true;
	}

	for (int i = SEGMENTS - 1; i >= 0; i--)
		if (!segments[i].empty)
			result.kept_from = segments[i].began_at;
	return result;
}

/* Returns the bytes of all. */
static int64
read_segments(Segment *segments)
{
	int64		total = 0;

	jdy_execute(&all_segments, NULL, NULL);
	for (int i = 0; i < SEGMENTS; i++)
	{
		Segment    *segment = &segments[i];
		Datum		began_at;
		bool		isnull;

		segment->number = (int) jdy_spi_int64(i, 1, 0);
		segment->relation = (Oid) jdy_spi_int64(i, 2, InvalidOid);
		segment->turn = jdy_spi_int64(i, 3, 0);
		began_at = jdy_spi_datum(i, 4, &isnull);
		segment->began_at = isnull ? DT_NOBEGIN : DatumGetTimestampTz(began_at);
		segment->bytes = jdy_spi_int64(i, 5, 0);
		segment->empty = DatumGetBool(jdy_spi_datum(i, 6, &isnull));
		total += segment->bytes;
	}
	return total;
}

static bool
make_empty(Segment *segment, int64 *total)
{
	if (!ConditionalLockRelationOid(segment->relation, AccessExclusiveLock))
		return false;
	jdy_execute_utility(psprintf("TRUNCATE ONLY jdysync.call_%d", segment->number));
	*total -= segment->bytes;
	segment->empty = true;
	return true;
}

static void
begin_segment(Segment *segment, int64 turn, TimestampTz now)
{
	Datum		values[3] = {Int16GetDatum(segment->number), Int64GetDatum(turn), TimestampTzGetDatum(now)};

	jdy_execute(&begin_one, values, NULL);
	segment->turn = turn;
	segment->began_at = now;
}
