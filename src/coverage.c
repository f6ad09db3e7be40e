/*-------------------------------------------------------------------------
 * coverage.c
 *		What is proven of a stream: the ledger's entries, and the coverage and watermark that follow from them.
 *
 * A window that was read whole enters the ledger with its evidence; the stream's row keeps the union of all of them.  The
 * watermark ends where the first gap begins, which a constraint of the table demands, too.  What turns out to have been
 * proven by a wrong time, or too early, is taken back.
 *
 * Called by all that read windows, and by lag.c; ledger.c merges old entries.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "coverage.h"
#include "incident.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* The watermark is the end of the span that begins where the stream does: it cannot pass a gap. */
#define WATERMARK_OF(coverage, start_from) \
	"(SELECT upper(r) FROM unnest(" coverage ") AS r WHERE (lower_inf(r) OR lower(r) <= " start_from ")" \
	"  AND (" start_from " IS NULL OR upper(r) > " start_from ") ORDER BY r LIMIT 1)"

static void take_watermark(Stream *stream);

void
jdy_ledger_prove(Pull *pull, TimestampTz from, TimestampTz to, const Proof *proof)
{
	static JdyStatement insert = {
		.sql = "INSERT INTO jdysync.\"window\" (stream_id, epoch, span, rule, calls, \"rows\", \"count\", run_id)"
		" VALUES ($1, $2, tstzrange($3, $4), $5, $6, $7, $8, $9)",
		.nargs = 9,
		.argtypes = {INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT8OID, INT8OID, INT8OID}
	};

	static JdyStatement merge = {
		.sql = "UPDATE jdysync.stream s SET coverage = c.coverage, watermark = c.watermark, listed_until = c.watermark"
		" FROM (SELECT n.coverage, " WATERMARK_OF("n.coverage", "n.start_from") " AS watermark"
		"  FROM (SELECT o.coverage + tstzmultirange(tstzrange($2, $3)) AS coverage, o.start_from"
		"   FROM jdysync.stream o WHERE o.stream_id = $1) AS n) AS c"
		" WHERE s.stream_id = $1 RETURNING c.watermark, upper(c.coverage),"
		"  CASE WHEN s.start_from > upper(c.coverage) THEN false"
		"  ELSE tstzmultirange(tstzrange(s.start_from, upper(c.coverage))) - c.coverage = '{}' END",
		.nargs = 3,
		.argtypes = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Stream	   *stream = pull->stream;
	Datum		values[9];
	char		nulls[10] = "         ";
	bool		isnull;

	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = Int32GetDatum(stream->epoch);
	values[2] = TimestampTzGetDatum(from);
	nulls[2] = from == DT_NOBEGIN ? 'n' : ' ';
	values[3] = TimestampTzGetDatum(to);
	values[4] = CStringGetTextDatum(proof->rule);
	values[5] = Int32GetDatum(proof->calls);
	values[6] = Int64GetDatum(proof->rows);
	values[7] = Int64GetDatum(proof->count);
	nulls[7] = proof->count < 0 ? 'n' : ' ';
	values[8] = Int64GetDatum(pull->run_id);
	jdy_execute(&insert, values, nulls);

	values[1] = values[2];
	values[2] = values[3];
	nulls[1] = from == DT_NOBEGIN ? 'n' : ' ';
	nulls[2] = ' ';
	jdy_execute(&merge, values, nulls);
	take_watermark(stream);
	pull->cursor = Max(pull->cursor, DatumGetTimestampTz(jdy_spi_datum(0, 2, &isnull)));
	if (DatumGetBool(jdy_spi_datum(0, 3, &isnull)))
		jdy_incident_close(stream->name, JDY_COUNT_NOT_TRUSTED);
}

void
jdy_ledger_skip(Pull *pull, TimestampTz until)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.stream s SET given_up_until = $2 WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(pull->stream->stream_id), TimestampTzGetDatum(until)};

	jdy_execute(&note, values, NULL);
	pull->cursor = until;
}

void
jdy_ledger_take_back(Pull *pull, TimestampTz until)
{
	static JdyStatement remove = {
		.sql = "DELETE FROM jdysync.\"window\" w WHERE w.stream_id = $1 AND w.epoch = $2 AND upper(w.span) > $3",
		.nargs = 3,
		.argtypes = {INT4OID, INT4OID, TIMESTAMPTZOID}
	};
	static JdyStatement cover = {
		.sql = "UPDATE jdysync.stream s SET coverage = c.coverage, watermark = " WATERMARK_OF("c.coverage", "s.start_from") ","
		" listed_until = " WATERMARK_OF("c.coverage", "s.start_from") ", given_up_until = NULL"
		" FROM (SELECT o.coverage * COALESCE((SELECT range_agg(w.span) FROM jdysync.\"window\" w"
		"   WHERE w.stream_id = $1 AND w.epoch = $2), '{}') AS coverage FROM jdysync.stream o WHERE o.stream_id = $1) AS c"
		" WHERE s.stream_id = $1 RETURNING s.watermark, greatest(upper(c.coverage), s.start_from)",
		.nargs = 2,
		.argtypes = {INT4OID, INT4OID}
	};
	Stream	   *stream = pull->stream;
	Datum		values[3] = {Int32GetDatum(stream->stream_id), Int32GetDatum(stream->epoch), TimestampTzGetDatum(until)};
	Datum		value;
	bool		isnull;

	jdy_execute(&remove, values, NULL);
	jdy_execute(&cover, values, NULL);
	take_watermark(stream);
	value = jdy_spi_datum(0, 2, &isnull);
	pull->cursor = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

void
jdy_ledger_cut(Pull *pull, TimestampTz until)
{
	static JdyStatement cut = {
		.sql = "UPDATE jdysync.stream s SET coverage = c.coverage, watermark = " WATERMARK_OF("c.coverage", "s.start_from") ","
		" listed_until = " WATERMARK_OF("c.coverage", "s.start_from") ", given_up_until = LEAST(s.given_up_until, $2)"
		" FROM (SELECT o.coverage - tstzmultirange(tstzrange($2, NULL)) AS coverage FROM jdysync.stream o WHERE o.stream_id = $1) AS c"
		" WHERE s.stream_id = $1 RETURNING s.watermark",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	Stream	   *stream = pull->stream;
	Datum		values[2] = {Int32GetDatum(stream->stream_id), TimestampTzGetDatum(until)};

	jdy_execute(&cut, values, NULL);
	take_watermark(stream);
	pull->cursor = Min(pull->cursor, until);
	if (stream->start_from != 0)
		pull->cursor = Max(pull->cursor, stream->start_from);
}

/* What the statement that changed the stream's coverage returned first. */
static void
take_watermark(Stream *stream)
{
	Datum		value;
	bool		isnull;

	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" was dropped while it ran", stream->name)));
	value = jdy_spi_datum(0, 1, &isnull);
	stream->watermark = isnull ? 0 : DatumGetTimestampTz(value);
}
