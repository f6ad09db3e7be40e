/*-------------------------------------------------------------------------
 * absent.c
 *		Records that a certificate did not find: deleted, out of the list, or held.
 *
 * The service tells nobody of a delete. A certificate proves that a record is not in the
 * list; whether it still exists is for its detail to say:
 *
 *	not in the list, no detail		deleted_at is set, the row stays
 *	not in the list, a detail		it was taken out of the list (say by un-auditing): refreshed, out_of_scope_at
 *	the list has no details			deleted_at once two certificates, at least settle apart, lacked it
 *	listed again					it is back: both are NULL, its detail is due
 *
 * Much that is gone at once is more likely an accident, at the source or in the rights of
 * the account, than what somebody wants carried on.  So more than 5 % (but 10 may always
 * go), and more than 100 in any case, are held: nothing is marked, and an incident asks for
 * jdy_accept_deletes, which lets go exactly those that are held then.
 *
 * Called by pull.c, certify.c, detail.c and listing.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "absent.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "incident.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define FREE_TO_GO 10			/* of a small list */
#define MOST_TO_GO 100			/* of a large one */
#define SHARE_TO_GO 20			/* a twentieth in between */
#define HELD "mass delete"

PG_FUNCTION_INFO_V1(jdy_accept_deletes);

static void demand_details(Pull *pull, bool anew);
static void mark_confirmed(Pull *pull);
static int	collect_ids(char ***ids);

void
jdy_absent_begin(Pull *pull)
{
	static JdyStatement look = {
		.sql = "SELECT 1 FROM jdysync.absent a WHERE a.stream_id = $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(pull->stream->stream_id)};

	jdy_execute(&look, values, NULL);
	pull->absent = SPI_processed > 0;
}

void
jdy_absent_judge(Pull *pull, char **ids, int n, int nclaimed, int64 known, int64 came, TimestampTz instant, bool certified)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.absent a WHERE a.stream_id = $1 AND a.id <> ALL ($2)",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID}
	};
	static JdyStatement confirm = {
		.sql = "UPDATE jdysync.absent a SET confirmed = true WHERE a.stream_id = $1 AND a.id = ANY ($2) AND NOT a.confirmed AND a.absent_at <= $3",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTARRAYOID, TIMESTAMPTZOID}
	};
	static JdyStatement enter = {
		.sql = "INSERT INTO jdysync.absent (stream_id, id, absent_at, run_id) SELECT $1, u.id, $3, $4 FROM unnest(($2)[:$5]) AS u (id)"
		" ON CONFLICT (stream_id, id) DO NOTHING",
		.nargs = 5,
		.argtypes = {INT4OID, TEXTARRAYOID, TIMESTAMPTZOID, INT8OID, INT4OID}
	};

	/* What is new, and what was held before: what was let go once is not held again. */
	static JdyStatement count = {
		.sql = "SELECT count(*) FROM jdysync.absent a WHERE a.stream_id = $1 AND a.id = ANY ($2) AND (a.held OR a.run_id = $3)",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTARRAYOID, INT8OID}
	};
	static JdyStatement hold = {
		.sql = "UPDATE jdysync.absent a SET held = $4 WHERE a.stream_id = $1 AND a.id = ANY ($2) AND (a.held OR a.run_id = $3) AND a.held <> $4",
		.nargs = 4,
		.argtypes = {INT4OID, TEXTARRAYOID, INT8OID, BOOLOID}
	};
	static JdyStatement look = {
		.sql = "SELECT 1 FROM jdysync.absent a WHERE a.stream_id = $1 AND a.held LIMIT 1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	const Stream *stream = pull->stream;
	int64		most = Min(MOST_TO_GO, Max(FREE_TO_GO, (known + n) / SHARE_TO_GO));
	int64		going;
	bool		held;
	Datum		values[5];

	pull->absent = pull->absent || nclaimed > 0;
	if (!pull->absent)
		return;
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = jdy_text_array(ids, n);
	if (certified)
		jdy_execute(&forget, values, NULL);

	/* Runs wait longer than settle before they count, so it is that long since the last certificate's instant. */
	values[2] = TimestampTzGetDatum(certified ? DT_NOEND : instant - stream->settle_us);
	jdy_execute(&confirm, values, NULL);
	values[2] = TimestampTzGetDatum(instant);
	values[3] = Int64GetDatum(pull->run_id);
	values[4] = Int32GetDatum(nclaimed);
	jdy_execute(&enter, values, NULL);

	/* A row that is its own key and changed went and came: that is no less than there was. */
	values[2] = Int64GetDatum(pull->run_id);
	jdy_execute(&count, values, NULL);
	going = jdy_spi_int64(0, 1, 0) - (stream->keyless ? came : 0);
	held = going > most;
	values[3] = BoolGetDatum(held);
	jdy_execute(&hold, values, NULL);
	jdy_execute(&look, values, NULL);
	if (SPI_processed == 0)
		jdy_incident_close(stream->name, HELD);
	else if (held)
		jdy_incident_open(stream->name, "critical", HELD,
						  psprintf("%lld of %lld records are not in the list any more. At most %lld are marked deleted at once, so none of these is.",
								   (long long) going, (long long) known + n, (long long) most),
						  psprintf("If they are really gone: SELECT jdy_accept_deletes('%s'). Else find out why the service does not list them: rights of the account, a wrong tenant, an accident.",
								   stream->name));
}

void
jdy_absent_settle(Pull *pull, bool anew)
{
	if (!pull->absent)
		return;
	if (pull->stream->details)
		demand_details(pull, anew);
	else
		mark_confirmed(pull);
}

void
jdy_absent_listed(Pull *pull, char **ids, int n)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.absent a WHERE a.stream_id = $1 AND a.id = ANY ($2)",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID},
		.by_index = true
	};
	Datum		values[2];

	if (!pull->absent || n == 0)
		return;
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = jdy_text_array(ids, n);
	jdy_execute(&forget, values, NULL);
}

List *
jdy_absent_take(Pull *pull, char **ids, int n)
{
	static JdyStatement take = {
		.sql = "DELETE FROM jdysync.absent a WHERE a.stream_id = $1 AND a.id = ANY ($2) AND NOT a.held RETURNING a.id",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID},
		.by_index = true
	};
	Datum		values[2];
	List	   *taken = NIL;

	if (!pull->absent || n == 0)
		return NIL;
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = jdy_text_array(ids, n);
	jdy_execute(&take, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		taken = lappend(taken, jdy_spi_text(r, 1));
	return taken;
}

void
jdy_absent_mark(Pull *pull, char **ids, int n, bool deleted)
{
	JdyStatement mark = {
		.sql = psprintf("UPDATE %s SET %s = clock_timestamp(), synced_at = clock_timestamp(), run_id = $2"
						" WHERE id = ANY ($1) AND %s IS NULL", pull->stream->staging_name,
						deleted ? "deleted_at" : "out_of_scope_at", deleted ? "deleted_at" : "out_of_scope_at"),
		.nargs = 2,
		.argtypes = {TEXTARRAYOID, INT8OID},
		.by_index = true
	};
	Datum		values[2];

	if (n == 0)
		return;
	values[0] = jdy_text_array(ids, n);
	values[1] = Int64GetDatum(pull->run_id);
	jdy_execute_as_user(&mark, values, NULL);
	SPI_freeplan(mark.plan);
	if (deleted)
		pull->counters->deleted += SPI_processed;
}

/* Releases exactly what is held now; the next run deals with it, also with what was put off because its detail was not there. */
Datum
jdy_accept_deletes(PG_FUNCTION_ARGS)
{
	static JdyStatement hasten = {
		.sql = "UPDATE jdysync.listing l SET next_try = clock_timestamp() FROM jdysync.absent a"
		" WHERE a.stream_id = $1 AND a.held AND l.stream_id = a.stream_id AND l.id = a.id AND l.next_try > clock_timestamp()",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	static JdyStatement release = {
		.sql = "UPDATE jdysync.absent a SET held = false WHERE a.stream_id = $1 AND a.held",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	StreamRef  *stream;
	Datum		values[1];
	int64		released;

	SPI_connect();
	stream = jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[0] = Int32GetDatum(stream->stream_id);
	jdy_execute(&hasten, values, NULL);
	jdy_execute(&release, values, NULL);
	released = (int64) SPI_processed;
	jdy_incident_close(stream->name, HELD);
	SPI_finish();
	PG_RETURN_INT64(released);
}

/* Their details become due; whatever happens to this run, the next one asks for them. */
static void
demand_details(Pull *pull, bool anew)
{
	static JdyStatement demand = {
		.sql = "INSERT INTO jdysync.listing AS l (stream_id, id, due, due_from, due_since)"
		" SELECT a.stream_id, a.id, true, '-infinity', 'infinity' FROM jdysync.absent a WHERE a.stream_id = $1 AND NOT a.held"
		" ON CONFLICT (stream_id, id) DO UPDATE SET due = true, attempts = 0, next_try = NULL, problem = NULL,"
		"  due_from = CASE WHEN l.due THEN l.due_from ELSE '-infinity' END,"
		"  due_since = CASE WHEN l.due THEN l.due_since ELSE 'infinity' END WHERE NOT l.due OR (l.problem IS NOT NULL AND $2)",
		.nargs = 2,
		.argtypes = {INT4OID, BOOLOID}
	};
	Datum		values[2] = {Int32GetDatum(pull->stream->stream_id), BoolGetDatum(anew)};

	jdy_execute(&demand, values, NULL);
}

static void
mark_confirmed(Pull *pull)
{
	static JdyStatement take = {
		.sql = "DELETE FROM jdysync.absent a WHERE a.stream_id = $1 AND a.confirmed AND NOT a.held RETURNING a.id",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(pull->stream->stream_id)};
	char	  **ids;
	int			n;

	jdy_execute(&take, values, NULL);
	n = collect_ids(&ids);
	jdy_absent_mark(pull, ids, n, true);
}

static int
collect_ids(char ***ids)
{
	int			n = (int) SPI_processed;

	*ids = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*ids)[i] = jdy_spi_text(i, 1);
	return n;
}
