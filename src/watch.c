/*-------------------------------------------------------------------------
 * watch.c
 *		Which incidents the end of a run, or what does not begin, opens and closes.
 *
 *	failing					three runs in a row failed or died, or the only one where nothing tries again by itself; over with
 *							the first good run.  One failure is no incident: each call in it was tried several times, and the
 *							run is made again within seconds.  So it does not come and go with every hiccup
 *	authorisation refused	the same, but the service does not let us in: somebody has to act there
 *	late					queued runs have not begun for five minutes because no worker is to be had: one for the whole
 *							database, whose cause it is, not one for each that waits; over when none waits so long
 *	dead letters			the target refuses records of a push; over when all are delivered or discarded
 *	rows set aside			PostgreSQL cannot hold rows of a stream; over when none is left
 *	licence ends			within 30 days; what the service said when it last signed us in, which is once a day
 *	settle raised			lag.c opened it; over when it stayed as it is for a week
 *	held					the database is a copy; over with jdy_adopt()
 *
 * What has an incident of its own is not told as "failing" as well: a push that is held, a target that is away.
 *
 * One statement reads all that the end of a run needs to know, and nothing is written while nothing changes.
 * Called by runlog.c, runner.c, scheduler.c, pushdef.c, pull.c, push.c and home.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "incident.h"
#include "jdysync.h"
#include "lag.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "watch.h"

#define FAILING "failing"
#define REFUSED "authorisation refused"
#define LATE "late"
#define DEAD_LETTERS "dead letters"
#define SET_ASIDE "rows set aside"
#define LICENCE "licence ends"
#define HELD "held"
#define FAILURES "3"			/* in a row */
#define QUIET "interval '7 days'"	/* after settle was raised */
#define LICENCE_DAYS 30

/* What the end of a run needs to know; is_open tells whether an incident of that kind is. */
typedef struct Facts
{
	char	   *name;
	char	   *server;
	bool		is_push;
	bool		tried_again;	/* it has a schedule */
	bool		failed_often;
	bool		has_its_own;	/* incident that says why it fails */
	bool		dead_letters;
	bool		set_aside;
	bool		was_failing;
	bool		was_refused;
	bool		had_dead_letters;
	bool		had_set_aside;
	bool		settle_stayed;
} Facts;

#define IS_OPEN(what) "EXISTS (SELECT FROM jdysync.incident i WHERE i.name = j.name AND i.what = '" what "' AND i.closed_at IS NULL)"

static JdyStatement look = {
	.sql = "SELECT j.name, j.server::text, j.is_push,"
	" EXISTS (SELECT FROM jdysync.agenda a WHERE a.subject_id = j.stream_id),"
	" (SELECT pg_catalog.count(*) FROM (SELECT FROM jdysync.run r WHERE r.stream_id = j.stream_id AND r.status IN ('failed', 'interrupted')"
	"  AND r.run_id > COALESCE((SELECT pg_catalog.max(o.run_id) FROM jdysync.run o WHERE o.stream_id = j.stream_id AND o.status = 'ok'), 0)"
	"  LIMIT " FAILURES ") AS f) = " FAILURES ","
	" " IS_OPEN("push held") " OR j.is_push AND EXISTS (SELECT FROM jdysync.breaker b WHERE b.server = j.server::text AND b.next_try IS NOT NULL),"
	" EXISTS (SELECT FROM jdysync.delivery d WHERE d.push_id = j.stream_id AND d.status = 'dead' AND d.discarded IS NULL),"
	" EXISTS (SELECT FROM jdysync.reject x WHERE x.stream_id = j.stream_id AND x.next_try IS NOT NULL),"
	" " IS_OPEN(FAILING) ", " IS_OPEN(REFUSED) ", " IS_OPEN(DEAD_LETTERS) ", " IS_OPEN(SET_ASIDE) ","
	" EXISTS (SELECT FROM jdysync.incident i WHERE i.name = j.name AND i.what = '" JDY_SETTLE_RAISED "' AND i.closed_at IS NULL"
	"  AND i.opened_at < pg_catalog.clock_timestamp() - " QUIET ")"
	" FROM jdysync.subject j WHERE j.stream_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static bool read_facts(int subject_id, Facts *facts);
static void judge_failure(const Facts *facts, int64 run_id, int sqlstate);
static void judge_dead_letters(const Facts *facts);

void
jdy_watch_run_ended(int subject_id, int64 run_id, const char *status, int sqlstate)
{
	Facts		facts;

	if (!read_facts(subject_id, &facts))
		return;
	if (strcmp(status, "failed") == 0 || (strcmp(status, "interrupted") == 0 && facts.failed_often))
		judge_failure(&facts, run_id, sqlstate);
	else if (strcmp(status, "ok") == 0)
	{
		if (facts.was_failing)
			jdy_incident_close(facts.name, FAILING);
		if (facts.was_refused)
			jdy_incident_close(facts.name, REFUSED);
	}
	judge_dead_letters(&facts);
	if (facts.set_aside && !facts.had_set_aside)
		jdy_incident_open(facts.name, "warning", SET_ASIDE, NULL,
						  psprintf("SELECT id, reason FROM jdy_rejects WHERE name = %s; says which rows PostgreSQL cannot hold, and why. Mend them at the source; they are read again by themselves.",
								   quote_literal_cstr(facts.name)));
	else if (!facts.set_aside && facts.had_set_aside)
		jdy_incident_close(facts.name, SET_ASIDE);
	if (facts.settle_stayed)
		jdy_incident_close(facts.name, JDY_SETTLE_RAISED);
}

void
jdy_watch_dead_letters(int push_id)
{
	Facts		facts;

	if (read_facts(push_id, &facts))
		judge_dead_letters(&facts);
}

void
jdy_watch_queue(int late)
{
	static JdyStatement look_late = {
		.sql = "SELECT FROM jdysync.incident i WHERE i.name = '" JDY_THIS_DATABASE "' AND i.what = '" LATE "' AND i.closed_at IS NULL"
	};

	jdy_execute(&look_late, NULL, NULL);
	if (late > 0 && SPI_processed == 0)
		jdy_incident_open(JDY_THIS_DATABASE, "warning", LATE,
						  psprintf("%d runs have been waiting for over %d minutes, since no worker is to be had; jdysync.max_workers is %d.",
								   late, JDY_LATE_MS / 60000, jdy_max_workers),
						  "SELECT * FROM jdy_progress; shows what the workers do. Raise jdysync.max_workers and, to a few more, max_worker_processes, or let schedules be further apart.");
	else if (late == 0 && SPI_processed > 0)
		jdy_incident_close(JDY_THIS_DATABASE, LATE);
}

void
jdy_watch_home(bool is_here)
{
	if (is_here)
		jdy_incident_close(JDY_THIS_DATABASE, HELD);
	else
		jdy_incident_open(JDY_THIS_DATABASE, "warning", HELD, "It is a copy of another database: nothing runs here.",
						  "When the original does not run any more: SELECT jdy_adopt();");
}

void
jdy_watch_licence(const char *server, Oid owner, TimestampTz ends)
{
	static JdyStatement look_licence = {
		.sql = "SELECT FROM jdysync.incident i WHERE i.name = $1 AND i.what = '" LICENCE "' AND i.closed_at IS NULL",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	char	   *name = jdy_incident_mapping(server, owner);
	Datum		values[1] = {CStringGetTextDatum(name)};
	bool		ends_soon = ends < GetCurrentTimestamp() + LICENCE_DAYS * USECS_PER_DAY;

	jdy_execute(&look_licence, values, NULL);
	if (ends_soon && SPI_processed == 0)
		jdy_incident_open(name, "warning", LICENCE,
						  psprintf("The licence of the account ends at %s.", timestamptz_to_str(ends)),
						  psprintf("Let the customer renew it before; then no call is answered any more. SELECT * FROM jdy_check(%s); tells the account.",
								   quote_literal_cstr(server)));
	else if (!ends_soon && SPI_processed > 0)
		jdy_incident_close(name, LICENCE);
}

static bool
read_facts(int subject_id, Facts *facts)
{
	Datum		values[1] = {Int32GetDatum(subject_id)};
	bool	   *flags[] = {
		&facts->is_push, &facts->tried_again, &facts->failed_often, &facts->has_its_own, &facts->dead_letters,
		&facts->set_aside, &facts->was_failing, &facts->was_refused, &facts->had_dead_letters, &facts->had_set_aside, &facts->settle_stayed
	};

	jdy_execute(&look, values, NULL);
	if (SPI_processed == 0)
		return false;
	facts->name = jdy_spi_text(0, 1);
	facts->server = jdy_spi_text(0, 2);
	for (int i = 0; i < lengthof(flags); i++)
	{
		bool		isnull;

		*flags[i] = DatumGetBool(jdy_spi_datum(0, 3 + i, &isnull));
	}
	return true;
}

/* The error's own words may quote a record: jdy_runs shows them to who may read it. */
static void
judge_failure(const Facts *facts, int64 run_id, int sqlstate)
{
	bool		refused = sqlstate == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	char	   *detail;

	if (facts->has_its_own && facts->was_failing)
		jdy_incident_close(facts->name, FAILING);
	if (facts->has_its_own || facts->was_failing || facts->was_refused || (facts->tried_again && !facts->failed_often))
		return;
	detail = psprintf("Run %lld failed with SQLSTATE %s.", (long long) run_id, unpack_sql_state(sqlstate));
	if (refused)
		jdy_incident_open(facts->name, "critical", REFUSED, detail,
						  psprintf("SELECT * FROM jdy_check(%s); shows which step is refused. Let the customer's administrator authorise the application again, or correct the user mapping.%s",
								   quote_literal_cstr(facts->server), facts->tried_again ? " The runs go on by themselves." : ""));
	else
		jdy_incident_open(facts->name, "critical", FAILING, detail,
						  psprintf("SELECT error, detail, hint FROM jdy_runs WHERE run_id = %lld; says why. %s",
								   (long long) run_id, facts->tried_again ? "It is tried again by itself, at least every five minutes." :
								   psprintf("Then run it again: SELECT * FROM %s(%s);", facts->is_push ? "jdy_push" : "jdy_sync", quote_literal_cstr(facts->name))));
}

static void
judge_dead_letters(const Facts *facts)
{
	if (facts->dead_letters && !facts->had_dead_letters)
		jdy_incident_open(facts->name, "warning", DEAD_LETTERS, NULL,
						  psprintf("SELECT id, last_error FROM jdy_deliveries WHERE push = %s AND status = 'dead'; says which records the target refuses, and why. Mend them at the source, or after mending the target SELECT jdy_replay(%s); jdy_discard gives them up.",
								   quote_literal_cstr(facts->name), quote_literal_cstr(facts->name)));
	else if (!facts->dead_letters && facts->had_dead_letters)
		jdy_incident_close(facts->name, DEAD_LETTERS);
}
