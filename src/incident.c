/*-------------------------------------------------------------------------
 * incident.c
 *		What a person should know: opened once, closed when it is over.
 *
 * A row of jdysync.incident says what is wrong and what to do.  Two processes may find the same at the same
 * moment, and a third may find it again after a restart: an index holds one open row for each name and
 * kind, so whoever comes second does nothing.
 *
 * Each opening and each closing is told to who listens to channel jdysync, and makes one line in
 * the server's log when, and only if, its transaction commits.  Every role can listen: a notification
 * holds numbers only.  The queue of notifications is one for all databases, and who listens and sleeps can fill
 * it: before it is full ours are left out, so that nobody can stop our commits.
 *
 * Called by whoever finds that something is wrong, or right again.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "incident.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define CHANNEL "jdysync"
#define QUEUE_FULL 0.5			/* of the queue of notifications */

/* A line for the log, if the (sub)transaction of this level commits. */
typedef struct LogLine
{
	int			level;
	char	   *text;
} LogLine;

static List *log_lines = NIL;	/* of LogLine *, in TopTransactionContext */

static void announce(bool opened);
static void notify(const char *payload);
static void log_at_commit(char *text);
static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg);

void
jdy_incident_open(const char *name, const char *severity, const char *what, const char *detail, const char *advice)
{
	static JdyStatement statement = {
		.sql = "INSERT INTO jdysync.incident (name, severity, what, detail, advice) SELECT $1, $2, $3, $4, $5"
		" WHERE NOT EXISTS (SELECT FROM jdysync.incident i WHERE i.name = $1 AND i.what = $3 AND i.closed_at IS NULL)"
		" ON CONFLICT (name, what) WHERE closed_at IS NULL DO NOTHING RETURNING id, name, severity, what",
		.nargs = 5,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[5] = {
		CStringGetTextDatum(name), CStringGetTextDatum(severity), CStringGetTextDatum(what),
		detail != NULL ? CStringGetTextDatum(detail) : (Datum) 0, CStringGetTextDatum(advice)
	};

	jdy_execute(&statement, values, detail != NULL ? NULL : "   n ");
	announce(true);
}

void
jdy_incident_close(const char *name, const char *what)
{
	static JdyStatement statement = {
		.sql = "UPDATE jdysync.incident i SET closed_at = pg_catalog.clock_timestamp()"
		" WHERE i.name = $1 AND i.what = $2 AND i.closed_at IS NULL RETURNING i.id, i.name, i.severity, i.what",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(what)};

	jdy_execute(&statement, values, NULL);
	announce(false);
}

void
jdy_incident_close_orphans(void)
{
	static JdyStatement statement = {
		.sql = "UPDATE jdysync.incident i SET closed_at = pg_catalog.clock_timestamp()"
		" WHERE i.closed_at IS NULL AND i.name <> '" JDY_THIS_DATABASE "' AND i.name NOT IN ("
		"  SELECT u.name FROM jdysync.subject j CROSS JOIN LATERAL"
		"   (VALUES (j.name), (pg_catalog.format('server %I', j.server)), (j.mapping)) AS u (name) WHERE u.name IS NOT NULL)"
		" RETURNING i.id, i.name, i.severity, i.what"
	};

	jdy_execute(&statement, NULL, NULL);
	announce(false);
}

char *
jdy_incident_server(const char *server)
{
	return psprintf("server %s", quote_identifier(server));
}

/* As jdysync.subject has it in column mapping: quoted, so that no server can be called like another's. */
char *
jdy_incident_mapping(const char *server, Oid owner)
{
	return psprintf("server %s of %s", quote_identifier(server), quote_identifier(GetUserNameFromId(owner, false)));
}

void
jdy_notify_run(int64 run_id, const char *status)
{
	notify(psprintf("{\"run\":%lld,\"status\":\"%s\"}", (long long) run_id, status));
}

/* The rows that were just written: id, name, severity, what. */
static void
announce(bool opened)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64		id = jdy_spi_int64(i, 1, 0);

		notify(psprintf("{\"incident\":%lld}", (long long) id));
		log_at_commit(psprintf("incident %lld %s: %s: %s (%s)", (long long) id, opened ? "opened" : "closed",
							   jdy_spi_text(i, 2), jdy_spi_text(i, 4), jdy_spi_text(i, 3)));
	}
}

static void
notify(const char *payload)
{
	if (DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) < QUEUE_FULL)
		Async_Notify(CHANNEL, payload);
}

static void
log_at_commit(char *text)
{
	static bool registered = false;
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	LogLine    *line = palloc(sizeof(LogLine));

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	line->level = GetCurrentTransactionNestLevel();
	line->text = pstrdup(text);
	log_lines = lappend(log_lines, line);
	MemoryContextSwitchTo(caller);
}

static void
end_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			foreach(cell, log_lines)
				ereport(LOG, (errmsg("%s", ((LogLine *) lfirst(cell))->text)));
			log_lines = NIL;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			log_lines = NIL;
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	ListCell   *cell;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(cell, log_lines)
	{
		LogLine    *line = lfirst(cell);

		if (line->level < level)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			line->level = level - 1;
		else
			log_lines = foreach_delete_current(log_lines, cell);
	}
}
