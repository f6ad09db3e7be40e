/*-------------------------------------------------------------------------
 * breaker.c
 *		Whether a server's target answers pushes: its circuit breaker.
 *
 * A target that is down is not helped by requests, nor are the people whose records
 * pile up in doubt.  So after OPEN_AFTER requests in a row without an answer, each after all
 * its attempts, pushes to that server stop: after a pause one request is tried, once; if it is
 * answered all goes on, else the pause doubles.  Any answer counts, a refusal too: whoever
 * refuses is there.
 *
 * One row a server in jdysync.breaker, shared by all pushes to it and kept over restarts; none
 * while the target answers.  Runs write it in the transactions that settle their requests, and
 * touch no other row of it, so they wait for each other no longer than such a transaction takes.
 * Pulls neither read nor write it: they have back-offs of their own, and a target that is
 * away must never stop them.
 *
 * Who asks by name gets an attempt, whatever the pause: a person who says "now" knows more than
 * we do.  Runs that nobody asked for one by one are not begun before the pause is over (sync.c).
 *
 * Called by push.c, outcome.c and sync.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "breaker.h"
#include "catalog/pg_type.h"
#include "incident.h"
#include "miscadmin.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define OPEN_AFTER 5			/* more than are on the wire at once by default: a target that is restarted is not given up */
#define TARGET_AWAY "target away"
#define MOST_TRIALS 20			/* that are counted; the pause is at its longest long before */

/* From 1 s to 5 min, a quarter of it up to chance, so that servers that failed together do not come back together. */
#define PAUSE(trials) \
	"interval '1 s' * (LEAST(300, 2 ^ (" trials ")) * (1 - pg_catalog.random() / 4))"
#define KNOWN " b.trials, b.since, b.next_try, b.problem"

static void take_row(Breaker *breaker);
static char *moment(TimestampTz at, pg_tz *zone);

void
jdy_breaker_load(Breaker *breaker, const char *server)
{
	static JdyStatement look = {
		.sql = "SELECT" KNOWN " FROM jdysync.breaker b WHERE b.server = $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(server)};

	memset(breaker, 0, sizeof(*breaker));
	breaker->server = server;
	jdy_execute(&look, values, NULL);
	take_row(breaker);
}

bool
jdy_breaker_is_open(const Breaker *breaker)
{
	return breaker->next_try != 0;
}

void
jdy_breaker_answered(Breaker *breaker)
{
	breaker->answered = true;
	breaker->unanswered = 0;
}

/* The service's own words may quote a record, and other owners' pushes share the row: status and reason must do. */
void
jdy_breaker_unanswered(Breaker *breaker, const char *reason, int http_status)
{
	if (http_status != 0)
		snprintf(breaker->problem, sizeof(breaker->problem), "%s, HTTP %d", reason, http_status);
	else
		strlcpy(breaker->problem, reason, sizeof(breaker->problem));
	breaker->unanswered++;
}

void
jdy_breaker_write(Breaker *breaker)
{
	static JdyStatement close = {
		.sql = "DELETE FROM jdysync.breaker b WHERE b.server = $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static JdyStatement count = {
		.sql = "INSERT INTO jdysync.breaker AS b (server, failures, problem, next_try)"
		" VALUES ($1, $2, $3, CASE WHEN $2 >= $4 THEN pg_catalog.clock_timestamp() + " PAUSE("0") " END)"
		" ON CONFLICT (server) DO UPDATE SET failures = b.failures + EXCLUDED.failures, problem = EXCLUDED.problem,"
		"  next_try = CASE WHEN b.next_try IS NOT NULL OR b.failures + EXCLUDED.failures >= $4"
		"   THEN pg_catalog.clock_timestamp() + " PAUSE("b.trials") " END RETURNING" KNOWN,
		.nargs = 4,
		.argtypes = {TEXTOID, INT4OID, TEXTOID, INT4OID}
	};
	Datum		values[4] = {CStringGetTextDatum(breaker->server)};

	/* Even if this run knows of nothing: another push may have counted failures meanwhile. */
	if (breaker->answered)
	{
		jdy_execute(&close, values, NULL);
		if (SPI_processed > 0)
			jdy_incident_close(jdy_incident_server(breaker->server), TARGET_AWAY);
		breaker->trials = 0;
		breaker->since = breaker->next_try = 0;
		breaker->answered = false;
	}
	if (breaker->unanswered > 0)
	{
		values[1] = Int32GetDatum(breaker->unanswered);
		values[2] = CStringGetTextDatum(breaker->problem);
		values[3] = Int32GetDatum(OPEN_AFTER);
		jdy_execute(&count, values, NULL);
		take_row(breaker);
		if (jdy_breaker_is_open(breaker))
			jdy_incident_open(jdy_incident_server(breaker->server), "critical", TARGET_AWAY,
							  psprintf("What came last instead of an answer: %s.", breaker->problem),
							  psprintf("Pushes to it have stopped and go on by themselves when it answers again; one request is tried at least every five minutes. SELECT * FROM jdy_check(%s); tries it now.",
									   quote_literal_cstr(breaker->server)));
		breaker->unanswered = 0;
	}
}

void
jdy_breaker_try(Breaker *breaker)
{
	static JdyStatement claim = {
		.sql = "UPDATE jdysync.breaker b SET trials = LEAST(b.trials + 1, $2),"
		" next_try = pg_catalog.clock_timestamp() + " PAUSE("b.trials + 1")
		" WHERE b.server = $1 AND b.next_try IS NOT NULL RETURNING" KNOWN,
		.nargs = 2,
		.argtypes = {TEXTOID, INT4OID}
	};
	Datum		values[2] = {CStringGetTextDatum(breaker->server), Int32GetDatum(MOST_TRIALS)};

	jdy_execute(&claim, values, NULL);
	take_row(breaker);
}

void
jdy_breaker_raise(const Breaker *breaker, const Endpoint *endpoint, const char *push, int64 in_doubt)
{
	char	   *doubt = in_doubt == 0 ? "" :
		psprintf(" Whether %lld records arrived is not known; they are sent again first, byte for byte and under the same Idempotency-Key.",
				 (long long) in_doubt);

	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the target does not answer"),
			 errdetail("No request to server \"%s\" was answered since %s; what came last: %s.%s", breaker->server,
					   moment(breaker->since, endpoint->time_zone), breaker->problem, doubt),
			 errhint("SELECT * FROM jdy_push(%s) makes one attempt at any time, jdy_push() for all pushes not before %s.",
					 quote_literal_cstr(push), moment(breaker->next_try, endpoint->time_zone))));
}

/* No row: it is closed, and the last request was answered. */
static void
take_row(Breaker *breaker)
{
	bool		isnull;
	Datum		next_try;

	breaker->trials = 0;
	breaker->since = breaker->next_try = 0;
	if (SPI_processed == 0)
		return;
	breaker->trials = (int) jdy_spi_int64(0, 1, 0);
	breaker->since = DatumGetTimestampTz(jdy_spi_datum(0, 2, &isnull));
	next_try = jdy_spi_datum(0, 3, &isnull);
	if (!isnull)
		breaker->next_try = DatumGetTimestampTz(next_try);
	strlcpy(breaker->problem, jdy_spi_text(0, 4), sizeof(breaker->problem));
}

/* In the server's zone: workers know no other that means something to a person. */
static char *
moment(TimestampTz at, pg_tz *zone)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	const char *name;

	if (timestamp2tm(at, &offset, &tm, &fsec, &name, zone) != 0)
		return pstrdup("-");
	EncodeDateTime(&tm, 0, true, offset, name, USE_ISO_DATES, text);
	return pstrdup(text);
}
