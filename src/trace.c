/*-------------------------------------------------------------------------
 * trace.c
 *		jdy_trace: a record's whole life, as far as it is kept.
 *
 * Nothing is written for it: what is known of one record already stands in its row of
 * staging, in the queue, the ledger, the logs and the deliveries, each found by a key.
 * What follows from two of them (the window that holds the record's modify time has
 * listed it; the run that was open when it was delivered has sent it) is said to be
 * "derived".  What the views and pushes over the stream make of the record
 * is looked up while the caller waits.
 *
 * Staging table, views and sources are their owners' code: they are read with their
 * owners' rights, never with the caller's, and what fails is a line like any other.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "push.h"
#include "spi.h"
#include "stream.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define SHORT_DIGEST 4			/* bytes shown of a digest */

/*
 * Each statement gives (at, what, detail).  $1 is the stream or push, $2 the id; the ledger's $3 the
 * modify time.  Times that are the service's say so.
 */
static JdyStatement of_queue = {
	.sql = "SELECT e.at, e.what, jsonb_strip_nulls(e.detail) FROM jdysync.listing l CROSS JOIN LATERAL (VALUES"
	" (l.listed_until, 'listed', jsonb_build_object('by', 'a proven window, the last of which ended then', 'clock', 'the service''s')),"
	" (l.tail_until, 'listed', jsonb_build_object('by', 'an unsettled tail, the last of which ended then', 'clock', 'the service''s')),"
	" (l.shown_at, 'change visible', jsonb_build_object('at', 'the latest', 'not_shown_at', l.unseen_at,"
	"  'if_modified_since', l.unseen_from, 'clock', 'the service''s')),"
	" (CASE WHEN l.due THEN COALESCE(NULLIF(NULLIF(l.due_since, '-infinity'), 'infinity'), now()) END, 'detail due',"
	"  jsonb_build_object('first_detail', l.due_since = '-infinity' OR NULL, 'attempts', l.attempts, 'next_try', l.next_try,"
	"   'list_row_waits', l.list_row IS NOT NULL, 'clock', 'the service''s')),"
	" (CASE WHEN l.problem IS NOT NULL THEN l.next_try END, 'set aside until then',"
	"  jsonb_build_object('problem', l.problem, 'attempts', l.attempts))) AS e (at, what, detail)"
	" WHERE l.stream_id = $1 AND l.id = $2 AND e.at IS NOT NULL",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

/* A window is proven after it ended, give or take two clocks: nothing before the modify time need be looked at. */
static JdyStatement of_ledger = {
	.sql = "SELECT w.proven_at, 'listed', jsonb_strip_nulls(jsonb_build_object('by', 'a window that holds its modify time', 'known', 'derived',"
	" 'from', lower(w.span), 'to', upper(w.span), 'rule', w.rule, 'calls', w.calls, 'rows', w.\"rows\", 'count', w.\"count\","
	" 'windows', NULLIF(w.windows, 1), 'first_run_id', w.first_run_id, 'run_id', w.run_id, 'mode', r.mode))"
	" FROM jdysync.\"window\" w LEFT JOIN jdysync.run r ON r.run_id = w.run_id"
	" WHERE w.stream_id = $1 AND w.span @> $3 AND w.proven_at >= $3 - interval '2 days' AND $2 IS NOT NULL ORDER BY w.proven_at LIMIT 100",
	.nargs = 3,
	.argtypes = {INT4OID, TEXTOID, TIMESTAMPTZOID},
	.by_index = true
};

static JdyStatement of_calls = {
	.sql = "SELECT k.at, 'detail call', jsonb_strip_nulls(jsonb_build_object('run_id', k.run_id, 'method', k.method, 'url', k.url,"
	" 'attempt', k.attempt, 'http_status', k.http_status, 'errcode', NULLIF(k.errcode, 0), 'ms', k.ms, 'bytes', k.bytes, 'error', k.error))"
	" FROM jdysync.call k JOIN jdysync.run r ON r.run_id = k.run_id WHERE k.id = $2 AND r.stream_id = $1",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

static JdyStatement of_rejects = {
	.sql = "SELECT j.at, 'rejected', jsonb_strip_nulls(jsonb_build_object('reject_id', j.reject_id, 'run_id', j.run_id, 'reason', j.reason,"
	" 'bytes', octet_length(j.raw), 'digest', encode(substr(j.digest, 1, 4), 'hex'), 'tries', j.tries, 'next_try', j.next_try,"
	" 'settled', j.next_try IS NULL OR NULL))"
	" FROM jdysync.reject j WHERE j.id = $2 AND j.stream_id = $1",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

static JdyStatement of_audits = {
	.sql = "SELECT m.found_at, 'missed by windows', jsonb_strip_nulls(jsonb_build_object('found_by', m.found_by, 'cause', m.cause,"
	" 'modified_at', m.modified_at, 'unseen_at', m.unseen_at, 'shown_at', m.shown_at, 'later_than', m.later_than, 'run_id', m.run_id))"
	" FROM jdysync.missed m WHERE m.id = $2 AND m.stream_id = $1",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

static JdyStatement of_run = {
	.sql = "SELECT r.started_at, 'run began', jsonb_strip_nulls(jsonb_build_object('run_id', r.run_id, 'mode', r.mode, 'status', r.status,"
	" 'finished_at', r.finished_at, 'listed', r.listed, 'details', r.details, 'calls', r.calls, 'note', 'the last one that changed the record'))"
	" FROM jdysync.run r WHERE r.run_id = $2 AND r.stream_id = $1 AND r.started_at IS NOT NULL",
	.nargs = 2,
	.argtypes = {INT4OID, INT8OID},
	.by_index = true
};

/* Not in staging: how far the list is known tells whether that means something. */
static JdyStatement of_absence = {
	.sql = "SELECT clock_timestamp(), 'not in staging', jsonb_strip_nulls(jsonb_build_object('loaded_at', s.loaded_at,"
	" 'listed_until', s.listed_until, 'note', CASE WHEN s.loaded_at IS NULL THEN 'the first load is not over'"
	" ELSE 'the service did not list it, or not under this id' END))"
	" FROM jdysync.stream s WHERE s.stream_id = $1 AND $2 IS NOT NULL",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

/* A push has one run at a time. */
#define RUN_AT(at) \
	"(SELECT r.run_id FROM jdysync.run r WHERE r.stream_id = $1 AND r.started_at <= " at \
	" AND (r.finished_at IS NULL OR r.finished_at >= " at ") ORDER BY r.started_at DESC LIMIT 1)"
#define TARGET_ID "(SELECT c.target_id FROM jdysync.counterpart c WHERE c.push_id = $1 AND c.id = $2)"
#define PUSH_NAME "(SELECT p.name FROM jdysync.push p WHERE p.push_id = $1)"

static JdyStatement of_delivery = {
	.sql = "SELECT d.changed_at, CASE d.status WHEN 'pending' THEN 'replayed'"
	" WHEN 'dead' THEN CASE WHEN d.discarded IS NULL THEN 'refused' ELSE 'discarded' END"
	" ELSE CASE WHEN d.digest IS NULL THEN 'deletion delivered' ELSE 'delivered' END END,"
	" jsonb_strip_nulls(jsonb_build_object('push', " PUSH_NAME ", 'version', d.version, 'digest', encode(substr(d.digest, 1, 4), 'hex'),"
	" 'refused_digest', encode(substr(d.refused_digest, 1, 4), 'hex'), 'refusals', NULLIF(d.attempts, 0),"
	" 'http_status', d.http_status, 'errcode', d.errcode, 'error', d.last_error, 'reason', d.discarded,"
	" 'request_bytes', octet_length(d.request), 'reply', \"left\"(d.reply, 1000),"
	" 'target_id', " TARGET_ID ", 'run_id', k.run_id,"
	" 'known', CASE WHEN k.run_id IS NOT NULL THEN 'run_id is derived: the run that was open then' END))"
	" FROM jdysync.delivery d CROSS JOIN LATERAL (SELECT CASE WHEN d.status <> 'pending' AND d.discarded IS NULL THEN "
	RUN_AT("d.changed_at") " END AS run_id) AS k WHERE d.push_id = $1 AND d.id = $2",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

static JdyStatement of_groups = {
	.sql = "SELECT g.delivered_at, 'delivered', jsonb_strip_nulls(jsonb_build_object('push', " PUSH_NAME ", 'version', 1,"
	" 'digest', encode(substr(g.digests, 16 * array_position(g.ids, $2) - 15, 4), 'hex'),"
	" 'target_id', " TARGET_ID ", 'run_id', k.run_id,"
	" 'known', CASE WHEN k.run_id IS NOT NULL THEN 'run_id is derived: the run that was open then' END))"
	" FROM jdysync.delivered g CROSS JOIN LATERAL (SELECT " RUN_AT("g.delivered_at") " AS run_id) AS k"
	" WHERE g.push_id = $1 AND g.first_id <= $2 AND g.last_id >= $2 AND $2 = ANY (g.ids)",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

static JdyStatement of_batches = {
	.sql = "SELECT b.sent_at, CASE b.status WHEN 'sent' THEN 'sent, no answer yet' ELSE 'in doubt' END,"
	" jsonb_strip_nulls(jsonb_build_object('push', " PUSH_NAME ", 'batch_id', b.batch_id, 'run_id', b.run_id,"
	" 'records', cardinality(b.ids), 'version', b.versions[array_position(b.ids, $2)],"
	" 'digest', NULLIF(encode(substr(b.digests, 16 * array_position(b.ids, $2) - 15, 4), 'hex'), ''),"
	" 'deletion', b.digests = '' OR NULL, 'key', \"left\"(b.key, 8), 'runs_without_answer', NULLIF(b.attempts, 0),"
	" 'http_status', b.http_status, 'error', b.last_error))"
	" FROM jdysync.batch b WHERE b.push_id = $1 AND $2 = ANY (b.ids)",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTOID},
	.by_index = true
};

/* All that is made of a relation by views over it, and views over those. */
#define MADE_OF \
	"WITH RECURSIVE made (relation) AS (SELECT $1::oid UNION SELECT w.ev_class FROM made m" \
	" JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = m.relation" \
	"  AND d.classid = 'pg_catalog.pg_rewrite'::regclass" \
	" JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid) "

static JdyStatement views_over = {
	.sql = MADE_OF "SELECT c.oid, c.relowner, a.atttypid IN ('text'::regtype, 'varchar'::regtype) FROM made m"
	" JOIN pg_catalog.pg_class c ON c.oid = m.relation AND c.relkind IN ('v', 'm')"
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id' AND NOT a.attisdropped"
	" WHERE pg_catalog.pg_has_role($2, c.relowner, 'USAGE') ORDER BY c.oid LIMIT 100",
	.nargs = 2,
	.argtypes = {OIDOID, OIDOID},
	.by_index = true
};

static JdyStatement pushes_over = {
	.sql = MADE_OF "SELECT p.push_id FROM made m JOIN jdysync.push p ON p.source = m.relation"
	" JOIN pg_catalog.pg_class c ON c.oid = m.relation WHERE pg_catalog.pg_has_role($2, c.relowner, 'USAGE') ORDER BY p.name",
	.nargs = 2,
	.argtypes = {OIDOID, OIDOID}
};

typedef struct Line
{
	TimestampTz at;
	int			place;			/* of equal times the first that was found comes first */
	char	   *what;
	Jsonb	   *detail;
} Line;

typedef struct Trace
{
	MemoryContext context;		/* what is found in a subtransaction must outlive it */
	char	   *id;
	List	   *lines;			/* of Line * */
} Trace;

/* A relation of somebody's, to be asked for the record. */
typedef struct Asked
{
	Trace	   *trace;
	Oid			relation;
	Oid			owner;
	char	   *name;			/* quoted and qualified */
	bool		id_is_text;
	int			push_id;

	/* From staging. */
	bool		there;
	TimestampTz modified_at;	/* 0 = not known */
	int64		run_id;

	/* From a push's source. */
	Push	   *push;
	bool		in_source;
	Outgoing	record;
	int64		payload_bytes;
} Asked;

PG_FUNCTION_INFO_V1(jdy_trace);

static void trace_stream(Trace *trace, const StreamRef *ref);
static void trace_views(Trace *trace, Oid staging);
static void trace_push(Trace *trace, int push_id);
static void ask(Asked *asked, void (*work) (void *arg), const char *what);
static void read_staging(void *arg);
static void read_view(void *arg);
static void read_source(void *arg);
static void take_record(void *arg, Outgoing *records, int n);
static void say_source(Asked *asked);
static void execute_as(Oid owner, JdyStatement *statement, Datum *values);
static void collect(Trace *trace, JdyStatement *statement, int subject);
static void collect_result(Trace *trace);
static void add(Trace *trace, TimestampTz at, const char *what, Datum detail);
static void say(StringInfo detail, const char *name, const char *text);
static void say_number(StringInfo detail, const char *name, int64 number);
static Datum said(StringInfo detail);
static char *name_of(Oid relation);
static int	compare_lines(const ListCell *a, const ListCell *b);

Datum
jdy_trace(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Trace		trace = {0};
	StreamRef  *ref;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	ref = jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	trace.context = CurrentMemoryContext;
	trace.id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (ref->is_push)
		trace_push(&trace, ref->stream_id);
	else
		trace_stream(&trace, ref);

	list_sort(trace.lines, compare_lines);
	foreach(cell, trace.lines)
	{
		Line	   *line = lfirst(cell);
		Datum		values[3] = {TimestampTzGetDatum(line->at), CStringGetTextDatum(line->what), JsonbPGetDatum(line->detail)};
		bool		nulls[3] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

static void
trace_stream(Trace *trace, const StreamRef *ref)
{
	Asked		staging = {.trace = trace,.relation = ref->staging,.owner = ref->owner,.name = name_of(ref->staging)};
	Datum		values[3] = {Int32GetDatum(ref->stream_id), CStringGetTextDatum(trace->id), (Datum) 0};
	int		   *pushes;
	int			npushes;

	collect(trace, &of_queue, ref->stream_id);
	collect(trace, &of_calls, ref->stream_id);
	collect(trace, &of_rejects, ref->stream_id);
	collect(trace, &of_audits, ref->stream_id);
	ask(&staging, read_staging, "staging cannot be read");
	if (!staging.there)
		collect(trace, &of_absence, ref->stream_id);
	if (staging.modified_at != 0)
	{
		values[2] = TimestampTzGetDatum(staging.modified_at);
		jdy_execute(&of_ledger, values, NULL);
		collect_result(trace);
	}
	if (staging.run_id != 0)
	{
		values[1] = Int64GetDatum(staging.run_id);
		jdy_execute(&of_run, values, NULL);
		collect_result(trace);
	}
	trace_views(trace, ref->staging);

	values[0] = ObjectIdGetDatum(ref->staging);
	values[1] = ObjectIdGetDatum(GetUserId());
	jdy_execute(&pushes_over, values, NULL);
	npushes = (int) SPI_processed;
	pushes = palloc(sizeof(int) * Max(npushes, 1));
	for (int i = 0; i < npushes; i++)
		pushes[i] = (int) jdy_spi_int64(i, 1, 0);
	for (int i = 0; i < npushes; i++)
		trace_push(trace, pushes[i]);
}

/* Which views show the record. */
static void
trace_views(Trace *trace, Oid staging)
{
	Datum		values[2] = {ObjectIdGetDatum(staging), ObjectIdGetDatum(GetUserId())};
	Asked	   *views;
	int			n;

	jdy_execute(&views_over, values, NULL);
	n = (int) SPI_processed;
	views = palloc0(sizeof(Asked) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		views[i].trace = trace;
		views[i].relation = DatumGetObjectId(jdy_spi_datum(i, 1, &isnull));
		views[i].owner = DatumGetObjectId(jdy_spi_datum(i, 2, &isnull));
		views[i].id_is_text = DatumGetBool(jdy_spi_datum(i, 3, &isnull));
	}
	for (int i = 0; i < n; i++)
	{
		views[i].name = name_of(views[i].relation);
		ask(&views[i], read_view, "view cannot be read");
	}
}

static void
trace_push(Trace *trace, int push_id)
{
	Asked		source = {.trace = trace,.push_id = push_id};

	collect(trace, &of_groups, push_id);
	collect(trace, &of_delivery, push_id);
	collect(trace, &of_batches, push_id);
	ask(&source, read_source, "source of the push cannot be read");
}

/* What fails is somebody's view or type, and no reason to show nothing. */
static void
ask(Asked *asked, void (*work) (void *arg), const char *what)
{
	ErrorData  *error = jdy_try(work, asked);
	StringInfoData detail;

	if (error == NULL)
		return;
	if (jdy_error_is_the_servers(error))
		ReThrowError(error);
	initStringInfo(&detail);
	say(&detail, "relation", asked->name);
	say(&detail, "error", error->message);
	say(&detail, "sqlstate", unpack_sql_state(error->sqlerrcode));
	add(asked->trace, GetCurrentTimestamp(), what, said(&detail));
}

/* Columns are cast: their types are the owner's to change. */
static void
read_staging(void *arg)
{
	Asked	   *asked = arg;
	JdyStatement statement = {
		.sql = psprintf("WITH s AS MATERIALIZED (SELECT t.number::text, t.modified_at::timestamptz, t.detailed_at::timestamptz, t.synced_at::timestamptz,"
						" t.deleted_at::timestamptz, t.out_of_scope_at::timestamptz, t.run_id::bigint, t.row_digest::bigint FROM %s AS t WHERE t.id = $1)"
						" SELECT e.at, e.what, jsonb_strip_nulls(e.detail), s.modified_at, s.run_id FROM s CROSS JOIN LATERAL (VALUES"
						" (s.modified_at, 'modified', jsonb_build_object('where', 'at the service', 'clock', 'the service''s',"
						"  'age', date_trunc('second', now() - s.modified_at)::text)),"
						" (s.detailed_at, 'detail asked', jsonb_build_object('note', 'the one in staging', 'clock', 'the service''s')),"
						" (s.synced_at, 'written', jsonb_build_object('where', 'staging, when it changed last', 'number', s.number, 'run_id', s.run_id,"
						"  'digest', \"left\"(lpad(to_hex(s.row_digest), 16, '0'), 8), 'holds', CASE WHEN s.detailed_at IS NULL THEN 'list row' ELSE 'list row and detail' END)),"
						" (s.deleted_at, 'deleted', jsonb_build_object('where', 'at the service')),"
						" (s.out_of_scope_at, 'out of scope', jsonb_build_object('note', 'it exists, and the list shows it no more'))) AS e (at, what, detail)"
						" WHERE e.at IS NOT NULL", asked->name),
		.nargs = 1,
		.argtypes = {TEXTOID},
		.by_index = true
	};
	Datum		values[1] = {CStringGetTextDatum(asked->trace->id)};
	bool		isnull;
	Datum		modified_at;

	execute_as(asked->owner, &statement, values);
	if (SPI_processed > 0)
	{
		asked->there = true;
		modified_at = jdy_spi_datum(0, 4, &isnull);
		if (!isnull && !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(modified_at)))
			asked->modified_at = DatumGetTimestampTz(modified_at);
		asked->run_id = jdy_spi_int64(0, 5, 0);
		collect_result(asked->trace);
	}
	SPI_freeplan(statement.plan);
}

static void
read_view(void *arg)
{
	Asked	   *asked = arg;
	StringInfoData detail;
	JdyStatement statement = {
		.sql = psprintf("SELECT count(*) FROM (SELECT FROM %s AS v WHERE v.id%s = $1 LIMIT 1000) AS k",
						asked->name, asked->id_is_text ? "" : "::text"),
		.nargs = 1,
		.argtypes = {TEXTOID},
		.by_index = true
	};
	Datum		values[1] = {CStringGetTextDatum(asked->trace->id)};

	execute_as(asked->owner, &statement, values);
	SPI_freeplan(statement.plan);
	if (jdy_spi_int64(0, 1, 0) == 0)
		return;
	initStringInfo(&detail);
	say(&detail, "view", asked->name);
	say_number(&detail, "rows", jdy_spi_int64(0, 1, 0));
	add(asked->trace, GetCurrentTimestamp(), "mapped", said(&detail));
}

/* As a run of the push would read this one record; source.c does that with its owner's rights. */
static void
read_source(void *arg)
{
	Asked	   *asked = arg;
	Push	   *push = jdy_push_load(asked->push_id);
	char	   *ids[1] = {asked->trace->id};
	Oid			type = get_atttype(push->source, get_attnum(push->source, push->id_name));

	asked->push = push;
	asked->name = push->source_name;
	jdy_source_scan_ids(push, ids, 1, psprintf("%s[]", format_type_be_qualified(type)), take_record, asked);
	say_source(asked);
}

static void
take_record(void *arg, Outgoing *records, int n)
{
	Asked	   *asked = arg;
	MemoryContext caller = MemoryContextSwitchTo(asked->trace->context);

	asked->in_source = true;
	asked->record = records[0];
	asked->record.id = asked->trace->id;
	asked->record.payload = NULL;
	asked->record.problem = records[0].problem != NULL ? pstrdup(records[0].problem) : NULL;
	asked->payload_bytes = strlen(records[0].payload);
	MemoryContextSwitchTo(caller);
}

/* What the source shows of the record, against what was acknowledged. */
static void
say_source(Asked *asked)
{
	char	   *ids[1] = {asked->trace->id};
	Standing	standing = {0};
	StringInfoData detail;
	const char *state;
	char		digest[2 * SHORT_DIGEST + 1] = "";

	initStringInfo(&detail);
	say(&detail, "push", asked->push->name);
	say(&detail, "source", asked->name);
	if (!asked->in_source)
	{
		add(asked->trace, GetCurrentTimestamp(), "not in the source", said(&detail));
		return;
	}
	hex_encode((const char *) asked->record.digest, SHORT_DIGEST, digest);
	if (asked->record.problem != NULL)
		state = "no payload can be made of it";
	else if (jdy_standings_ask(jdy_standings_load(asked->push, ids, 1, CurrentMemoryContext), &asked->record, 1, &standing) == 0 ||
			 (standing.delivered && memcmp(standing.digest, asked->record.digest, JDY_PUSH_DIGEST) == 0))
		state = "the target has it";
	else if (standing.refused && memcmp(standing.refused_digest, asked->record.digest, JDY_PUSH_DIGEST) == 0)
		state = "refused, until it changes or jdy_replay";
	else
		state = "to be sent by the next run";
	say(&detail, "state", state);
	say(&detail, "digest", digest);
	say_number(&detail, "payload_bytes", asked->payload_bytes);
	say(&detail, "problem", asked->record.problem);
	add(asked->trace, GetCurrentTimestamp(), "in the source", said(&detail));
}

/* What it calls is the owner's code: whoever asks must not run it with his own rights. */
static void
execute_as(Oid owner, JdyStatement *statement, Datum *values)
{
	Oid			user_id;
	int			sec_context;

	/* An error's abort puts these back, too. */
	GetUserIdAndSecContext(&user_id, &sec_context);
	SetUserIdAndSecContext(owner, sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	jdy_execute_as_user(statement, values, NULL);
	SetUserIdAndSecContext(user_id, sec_context);
}

/* Of a stream's or push's statement about the record. */
static void
collect(Trace *trace, JdyStatement *statement, int subject)
{
	Datum		values[2] = {Int32GetDatum(subject), CStringGetTextDatum(trace->id)};

	jdy_execute(statement, values, NULL);
	collect_result(trace);
}

static void
collect_result(Trace *trace)
{
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		bool		isnull;
		TimestampTz at = DatumGetTimestampTz(jdy_spi_datum(r, 1, &isnull));

		if (!isnull)
			add(trace, at, jdy_spi_text(r, 2), jdy_spi_datum(r, 3, &isnull));
	}
}

static void
add(Trace *trace, TimestampTz at, const char *what, Datum detail)
{
	MemoryContext caller = MemoryContextSwitchTo(trace->context);
	Line	   *line = palloc(sizeof(Line));

	line->at = at;
	line->place = list_length(trace->lines);
	line->what = pstrdup(what);
	line->detail = DatumGetJsonbPCopy(detail);
	trace->lines = lappend(trace->lines, line);
	MemoryContextSwitchTo(caller);
}

/* One member more of an object; text NULL: none. */
static void
say(StringInfo detail, const char *name, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfo(detail, "%c\"%s\":", detail->len == 0 ? '{' : ',', name);
	escape_json(detail, text);
}

static void
say_number(StringInfo detail, const char *name, int64 number)
{
	appendStringInfo(detail, "%c\"%s\":%lld", detail->len == 0 ? '{' : ',', name, (long long) number);
}

static Datum
said(StringInfo detail)
{
	appendStringInfoChar(detail, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(detail->data));
}

static char *
name_of(Oid relation)
{
	char	   *name = get_rel_name(relation);

	return name == NULL ? pstrdup("?") : quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), name);
}

static int
compare_lines(const ListCell *a, const ListCell *b)
{
	const Line *left = lfirst(a);
	const Line *right = lfirst(b);

	if (left->at != right->at)
		return left->at < right->at ? -1 : 1;
	return left->place - right->place;
}
