/*-------------------------------------------------------------------------
 * certificate.c
 *		What came of an attempt to certify a list, written down.
 *
 * One transaction for all that follows from a certificate: which ids are on record now, the
 * row with its digest and evidence, the records that it does not name (absent.c), and those
 * that no window had listed.  The ids are counted and summed up by SQL where they lie, so what the
 * certificate says holds of what is kept, and not only of what the run had in memory.
 *
 * Without a certificate, what was seen is kept for the next attempt, and the row says why.
 *
 * Called by certify.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "absent.h"
#include "catalog/pg_type.h"
#include "certificate.h"
#include "clock.h"
#include "fmgr.h"
#include "missed.h"
#include "sighted.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define KEPT_CERTIFICATES "100"
#define ADDED_AT_ONCE 65536
#define STAGING_ROWS "10000"	/* read at once */

static void write_proof(Certify *c);
static void sort_out(void *arg, const char *id, bool certified);
static void write_added(Certify *c);
static void place_newcomers(Certify *c, Texts *missed);
static bool was_there(const Certify *c, const Presence *presence);
static void find_absent(Certify *c, Texts *absent, Texts *unclaimed);
static void write_failure(Certify *c);
static void insert_certificate(Certify *c, bool proven, const Instant *instant, Datum digest, const Texts *missed, int64 absent);

void
jdy_certificate_write(Certify *c)
{
	if (c->why == NULL)
		write_proof(c);
	else
		write_failure(c);
}

static void
write_proof(Certify *c)
{
	Pull	   *pull = c->pull;
	const Instant *instant = &c->instants[c->proven];
	Texts		missed = {0};
	Texts		absent = {0};
	Texts		unclaimed = {0};
	int			nabsent;
	int64		named;
	Datum		digest;

	jdy_pull_begin(pull);
	jdy_sighted_read(pull->stream->stream_id, sort_out, c);
	place_newcomers(c, &missed);
	write_added(c);
	named = jdy_sighted_certify(pull->stream->stream_id, c->gone.texts, c->gone.n, c->later.texts, c->later.n, &digest);

	/* What is on record, counted by SQL, has the last word. */
	if (named != instant->count)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the ids on record are not those that were seen"),
				 errdetail("%lld are on record, %lld were seen.", (long long) named, (long long) instant->count),
				 errhint("Verify again; nothing was certified.")));
	find_absent(c, &absent, &unclaimed);
	nabsent = absent.n;
	for (int i = 0; i < unclaimed.n; i++)
		jdy_certify_add_text(c, &absent, unclaimed.texts[i]);
	jdy_absent_judge(pull, absent.texts, absent.n, nabsent, instant->count, c->nadded, instant->at, true);
	missed.n = jdy_missed_records(pull, "certificate", missed.texts, missed.n, instant->at);
	insert_certificate(c, true, instant, digest, &missed, nabsent);
	jdy_pull_commit(pull);
}

/* An id on record: where it belongs now. */
static void
sort_out(void *arg, const char *id, bool certified)
{
	Certify    *c = arg;
	Presence   *presence = jdy_presences_find(c->ids, id);
	bool		there = was_there(c, presence);

	if (certified)
	{
		if (!there)
			jdy_certify_add_text(c, &c->gone, id);
	}
	else if (there)
	{
		if (!presence->certified && !presence->entered)
			jdy_certify_add_text(c, &c->added, id);
		presence->entered = true;
		if (c->added.n >= ADDED_AT_ONCE)
			write_added(c);
	}
	else if (presence == NULL)
		jdy_certify_add_text(c, &c->later, id); /* the tail showed it during this run */
	else if (presence->first >= c->proven && !presence->entered)
	{
		jdy_certify_add_text(c, &c->later, id);
		presence->entered = true;
	}
}

/* The first certificate names all ids for the first time: they do not lie in memory together. */
static void
write_added(Certify *c)
{
	jdy_sighted_add(c->pull->stream->stream_id, c->added.texts, c->added.n);
	c->nadded += c->added.n;
	for (int i = 0; i < c->added.n; i++)
		pfree(c->added.texts[i]);
	c->added.n = 0;
}

/* Ids that passes showed first; those that staging lacked, although they were there before. */
static void
place_newcomers(Certify *c, Texts *missed)
{
	ListCell   *cell;

	for (int i = 0; i < c->newcomers.n; i++)
	{
		const char *id = c->newcomers.texts[i];
		Presence   *presence = jdy_presences_find(c->ids, id);

		if (presence->entered)
			continue;
		presence->entered = true;
		jdy_certify_add_text(c, was_there(c, presence) ? &c->added : &c->later, id);
	}
	foreach(cell, c->pull->found)
	{
		Presence   *presence = jdy_presences_find(c->ids, lfirst(cell));

		if (c->pull->windowed && was_there(c, presence) && presence->first > 0)
			jdy_certify_add_text(c, missed, lfirst(cell));
	}
}

/* At the proven instant. */
static bool
was_there(const Certify *c, const Presence *presence)
{
	return presence != NULL && presence->first < c->proven && presence->last >= c->proven;
}

/*
 * What staging has and the list had not.  Not so what came after its instant, nor what
 * lies before start_from, of which nothing is claimed.  Of a record that does not tell when it was modified, and that
 * was not shown since the last certificate, only the last one can say whether it was claimed.
 */
static void
find_absent(Certify *c, Texts *absent, Texts *unclaimed)
{
	const Stream *stream = c->pull->stream;
	JdyStatement read = {
		.sql = psprintf("SELECT s.id::text, s.run_id::bigint, s.modified_at IS NULL FROM %s AS s WHERE s.id > $1 AND s.deleted_at IS NULL"
						" AND s.out_of_scope_at IS NULL AND ($2 IS NULL OR s.modified_at IS NULL OR s.modified_at::timestamptz >= $2)"
						" ORDER BY s.id LIMIT " STAGING_ROWS, stream->staging_name),
		.nargs = 2,
		.argtypes = {TEXTOID, TIMESTAMPTZOID},
		.by_index = true
	};
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "jdysync staging ids", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	char	   *after = pstrdup("");
	uint64		n;

	do
	{
		Datum		values[2] = {CStringGetTextDatum(after), TimestampTzGetDatum(stream->start_from)};
		SPITupleTable *rows;

		jdy_execute_as_user(&read, values, stream->start_from != 0 ? NULL : " n");
		rows = SPI_tuptable;
		n = SPI_processed;
		MemoryContextSwitchTo(batch);
		for (uint64 r = 0; r < n; r++)
		{
			char	   *id = jdy_spi_text(r, 1);
			Presence   *presence = jdy_presences_find(c->ids, id);
			bool		later = presence != NULL ? presence->first >= c->proven :
				jdy_spi_int64(r, 2, 0) == c->pull->run_id;
			bool		isnull;
			bool		undated = stream->start_from != 0 && DatumGetBool(jdy_spi_datum(r, 3, &isnull));

			if (!later && !was_there(c, presence))
				jdy_certify_add_text(c, undated && presence == NULL ? unclaimed : absent, id);
			if (r == n - 1)
				after = MemoryContextStrdup(caller, id);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(batch);
		SPI_freetuptable(rows);
	} while (n == atoi(STAGING_ROWS));
	SPI_freeplan(read.plan);
	MemoryContextDelete(batch);
}

/* What was seen counts for the next attempt. */
static void
write_failure(Certify *c)
{
	Pull	   *pull = c->pull;

	jdy_pull_begin(pull);
	if (pull->stream->narrowing == NULL)
		jdy_sighted_note(pull->stream->stream_id, c->newcomers.texts, c->newcomers.n);
	insert_certificate(c, false, c->pass > 0 ? &c->instants[c->pass] : NULL, (Datum) 0, NULL, 0);
	jdy_pull_commit(pull);
}

static void
insert_certificate(Certify *c, bool proven, const Instant *instant, Datum digest, const Texts *missed, int64 absent)
{
	static JdyStatement insert = {
		.sql = "INSERT INTO jdysync.certificate (stream_id, epoch, run_id, proven, instant, \"count\", digest, calls, missed, why, absent, content_until, missed_ids,"
		" assumptions, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $15,"
		" (SELECT CASE WHEN $16 THEN s.listed_until ELSE $20 END FROM jdysync.stream s WHERE s.stream_id = $1 AND $4 AND NOT $17), $18,"
		" (SELECT jsonb_build_object('settle', $19::text, 'start_from', s.start_from, 'listed_from', $21, 'known_before', $11, 'passes', $12, 'pass', $14,"
		"  'contract', (SELECT jsonb_object_agg(n.question, jsonb_build_object('answer', n.answer, 'asked_at', n.asked_at))"
		"   FROM jdysync.contract n WHERE n.stream_id = s.stream_id)) FROM jdysync.stream s WHERE s.stream_id = $1), $13)",
		.nargs = 21,
		.argtypes = {INT4OID, INT4OID, INT8OID, BOOLOID, TIMESTAMPTZOID, INT8OID, BYTEAOID, INT4OID, INT8OID, TEXTOID,
		INT8OID, INT4OID, JSONBOID, INT4OID, INT8OID,
		BOOLOID, BOOLOID, TEXTARRAYOID, INTERVALOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};

	/* Not all streams at the same time, and never later than a day. */
	static JdyStatement set_next = {
		.sql = "UPDATE jdysync.stream s SET verify_at = $2 + (0.9 + 0.1 * random()) * interval '1 day' WHERE s.stream_id = $1",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	static JdyStatement trim = {
		.sql = "DELETE FROM jdysync.certificate c WHERE c.stream_id = $1 AND c.certificate_id <="
		" (SELECT o.certificate_id FROM jdysync.certificate o WHERE o.stream_id = $1"
		"  ORDER BY o.certificate_id DESC OFFSET " KEPT_CERTIFICATES " LIMIT 1)",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	const Stream *stream = c->pull->stream;
	Interval	settle = {.time = c->settle_us};
	Datum		values[21];
	char		nulls[22] = "                     ";

	if (c->evidence.len > 0)
		appendStringInfoChar(&c->evidence, ']');
	else
		appendStringInfoString(&c->evidence, "[]");
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = Int32GetDatum(stream->epoch);
	values[2] = Int64GetDatum(c->pull->run_id);
	values[3] = BoolGetDatum(proven);
	values[4] = TimestampTzGetDatum(instant ? instant->at : 0);
	values[5] = Int64GetDatum(instant ? instant->count : 0);
	nulls[4] = instant ? ' ' : 'n';
	nulls[5] = instant && instant->count >= 0 ? ' ' : 'n';
	values[6] = digest;
	nulls[6] = proven ? ' ' : 'n';
	values[7] = Int32GetDatum(c->calls);
	values[8] = Int64GetDatum(missed ? missed->n : 0);
	values[9] = c->why ? CStringGetTextDatum(c->why) : (Datum) 0;
	nulls[9] = c->why ? ' ' : 'n';
	values[10] = Int64GetDatum(c->known);
	values[11] = Int32GetDatum(c->pass);
	values[12] = DirectFunctionCall1(jsonb_in, CStringGetDatum(c->evidence.data));
	values[13] = Int32GetDatum(c->proven);
	nulls[13] = proven ? ' ' : 'n';
	values[14] = Int64GetDatum(absent);

	/*
	 * Details were asked since the load of this run began, list rows after the instant.  The count may be
	 * behind by up to settle: what came in between need not have been counted, nor shown.
	 */
	values[19] = TimestampTzGetDatum(instant ? instant->at - settle.time - (c->pull->timeless ? OUR_CLOCK_ERROR_US : 0) : 0);
	values[15] = BoolGetDatum(stream->details);
	values[16] = BoolGetDatum(c->pull->windowed);
	values[17] = missed && missed->n > 0 ? jdy_text_array(missed->texts, Min(missed->n, JDY_JUDGED_MISSED)) : (Datum) 0;
	nulls[17] = missed && missed->n > 0 ? ' ' : 'n';
	values[18] = IntervalPGetDatum(&settle);
	values[20] = TimestampTzGetDatum(c->from);
	if (c->from == DT_NOBEGIN)
		nulls[20] = 'n';
	jdy_execute(&insert, values, nulls);
	jdy_execute(&trim, values, NULL);
	values[1] = TimestampTzGetDatum(jdy_clock_now());
	if (!c->gave_way)
		jdy_execute(&set_next, values, NULL);
}
