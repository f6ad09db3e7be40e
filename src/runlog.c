/*-------------------------------------------------------------------------
 * runlog.c
 *		Runs, calls and rejects: what happened, for people.
 *
 * Calls are made while no transaction is open, so they are kept in memory and
 * written with the next transaction of the run, whatever it is about: up to BATCH
 * of them in one statement.  What is still kept when a run ends, with an error
 * or without, is written with its end.
 *
 * Texts that come from outside may not be valid in the database's encoding; a log
 * that fails would hide what it is there to tell, so such bytes become '?'.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "callring.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "database.h"
#include "incident.h"
#include "jdysync.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "runlog.h"
#include "spi.h"
#include "tally.h"
#include "trim.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch.h"

#define BATCH 256
#define KIND "CASE WHEN EXISTS (SELECT FROM jdysync.push p WHERE p.push_id = $1) THEN 'push' ELSE 'pull' END"

struct RunLog
{
	int64		run_id;
	int			stream_id;
	TimestampTz began;
	MemoryContext kept;			/* of what follows; reset when all is written */
	Attempt    *attempts;
	int			nattempts;
	int			size;			/* of attempts */
	MemoryContextCallback closing;
};

/* A process makes one run at a time. */
static RunLog *open_log = NULL;

static void ask_for_trim(void);
static void forget_log(void *log);
static void write_attempts(int64 run_id, const Attempt *attempts, int count);
static Datum array_of(Datum *values, bool *nulls, int count, Oid type);
static Datum text_or_null(const char *text, bool *isnull);
static char *storable(const char *text);
static void copy_clipped(char *to, int size, const char *from);
static void interrupt_dead_runs(int stream_id, Datum now);
static const char *mode_name(RunMode mode);

RunLog *
jdy_runlog_open(int64 run_id, int stream_id, MemoryContext context)
{
	RunLog	   *log = MemoryContextAllocZero(context, sizeof(RunLog));

	log->run_id = run_id;
	log->stream_id = stream_id;
	log->began = GetCurrentTimestamp();
	log->kept = AllocSetContextCreate(context, "jdysync call log", ALLOCSET_DEFAULT_SIZES);
	log->closing.func = forget_log;
	log->closing.arg = log;
	MemoryContextRegisterResetCallback(context, &log->closing);
	open_log = log;
	return log;
}

void
jdy_runlog_attempt(void *arg, const Attempt *attempt)
{
	RunLog	   *log = arg;
	MemoryContext caller;
	Attempt    *copy;

	if (jdy_log_calls == LOG_CALLS_OFF ||
		(jdy_log_calls == LOG_CALLS_ERRORS && attempt->error == NULL))
		return;

	caller = MemoryContextSwitchTo(log->kept);
	if (log->attempts == NULL)
	{
		log->size = BATCH;
		log->attempts = palloc(log->size * sizeof(Attempt));
	}
	else if (log->nattempts == log->size)
	{
		log->size *= 2;
		log->attempts = repalloc(log->attempts, log->size * sizeof(Attempt));
	}
	copy = &log->attempts[log->nattempts++];
	*copy = *attempt;
	copy->method = storable(attempt->method);
	copy->url = storable(attempt->url);
	copy->error = attempt->error != NULL ? storable(attempt->error) : NULL;
	copy->record = attempt->record != NULL ? storable(attempt->record) : NULL;
	MemoryContextSwitchTo(caller);
}

bool
jdy_runlog_is_full(const RunLog *log)
{
	return log->nattempts >= BATCH;
}

void
jdy_runlog_flush(RunLog *log)
{
	for (int i = 0; i < log->nattempts; i += BATCH)
		write_attempts(log->run_id, &log->attempts[i], Min(BATCH, log->nattempts - i));
	log->nattempts = 0;
	log->attempts = NULL;
	MemoryContextReset(log->kept);

	ask_for_trim();
}

TimestampTz
jdy_runlog_began(const RunLog *log)
{
	return log->began;
}

void
jdy_runlog_reject(RunLog *log, const char *id, const char *raw, int length, const char *reason,
				  TimestampTz from, TimestampTz to)
{
	/*
	 * Windows overlap: a run may list a row several times, and before its time
	 * has come.  It was tried again in vain once for each run that was to try it.
	 */
	static JdyStatement statement = {
		"INSERT INTO jdysync.reject AS j (stream_id, run_id, id, reason, digest, raw, span, next_try) "
		"VALUES ($1, $2, $3, $4, pg_catalog.sha256($5), $5, pg_catalog.tstzrange($6, $7), "
		"CASE WHEN $7 IS NOT NULL THEN pg_catalog.clock_timestamp() END) "
		"ON CONFLICT (stream_id, digest) DO UPDATE SET span = excluded.span, "
		"tries = j.tries + CASE WHEN j.next_try <= $8 THEN 1 ELSE 0 END, "
		"next_try = CASE WHEN j.next_try > $8 THEN j.next_try "
		"WHEN j.next_try IS NULL AND j.tries = 0 THEN excluded.next_try "
		"ELSE excluded.next_try + interval '1 min' * least(2 ^ j.tries, 1440) END "
		"WHERE excluded.next_try IS NOT NULL",
		8, {INT4OID, INT8OID, TEXTOID, TEXTOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[8];
	char		nulls[8] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
	bool		isnull;

	values[0] = Int32GetDatum(log->stream_id);
	values[1] = Int64GetDatum(log->run_id);
	values[2] = text_or_null(id, &isnull);
	nulls[2] = isnull ? 'n' : ' ';
	values[3] = CStringGetTextDatum(storable(reason));
	values[4] = jdy_make_bytea(raw, length);
	values[5] = TimestampTzGetDatum(from);
	nulls[5] = from == 0 ? 'n' : ' ';
	values[6] = TimestampTzGetDatum(to);
	nulls[6] = to == 0 ? 'n' : ' ';
	values[7] = TimestampTzGetDatum(log->began);
	jdy_execute(&statement, values, nulls);
}

int64
jdy_run_queue(int stream_id, const char *name, RunMode mode)
{
	static JdyStatement statement = {
		"INSERT INTO jdysync.run (stream_id, name, kind, mode, status, requested_by, queued_at) "
		"SELECT $1, $2, " KIND ", $3, 'queued', $4, $5 RETURNING run_id",
		5, {INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[5] = {
		Int32GetDatum(stream_id), CStringGetTextDatum(name), CStringGetTextDatum(mode_name(mode)),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)), TimestampTzGetDatum(jdy_clock_now())
	};

	jdy_execute(&statement, values, NULL);
	return jdy_spi_int64(0, 1, 0);
}

int64
jdy_run_begin(int64 run_id, int stream_id, const char *name, RunMode mode,
			  TimestampTz from_time, TimestampTz to_time)
{
	static JdyStatement insert = {
		"INSERT INTO jdysync.run (stream_id, name, kind, mode, status, from_time, to_time, queued_at, started_at) "
		"SELECT $1, $2, " KIND ", $3, 'running', $4, $5, $6, $6 RETURNING run_id",
		6, {INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	static JdyStatement claim = {
		"UPDATE jdysync.run SET status = 'running', started_at = $2 "
		"WHERE run_id = $1 AND status = 'queued' RETURNING run_id",
		2, {INT8OID, TIMESTAMPTZOID}
	};
	Datum		now = TimestampTzGetDatum(jdy_clock_now());
	Datum		values[6] = {
		Int32GetDatum(stream_id), CStringGetTextDatum(name), CStringGetTextDatum(mode_name(mode)),
		TimestampTzGetDatum(from_time), TimestampTzGetDatum(to_time), now
	};
	Datum		queued[2] = {Int64GetDatum(run_id), now};

	interrupt_dead_runs(stream_id, now);
	if (run_id != 0)
		jdy_execute(&claim, queued, NULL);
	else
		jdy_execute(&insert, values, mode == MODE_RANGE ? NULL : "   nn ");
	return SPI_processed > 0 ? jdy_spi_int64(0, 1, 0) : 0;
}

const char *
jdy_run_requested_by(int64 run_id, MemoryContext context)
{
	static JdyStatement statement = {
		"SELECT r.requested_by FROM jdysync.run r WHERE r.run_id = $1",
		1, {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(run_id)};
	char	   *name;

	jdy_execute(&statement, values, NULL);
	name = SPI_processed > 0 ? jdy_spi_text(0, 1) : NULL;
	return name != NULL ? MemoryContextStrdup(context, name) : NULL;
}

const char *
jdy_run_failed_anew(int64 run_id)
{
	static JdyStatement statement = {
		"SELECT r.name FROM jdysync.run r LEFT JOIN LATERAL ("
		" SELECT b.run_id, b.sqlstate, b.error FROM jdysync.run b"
		" WHERE b.stream_id = r.stream_id AND b.status = 'failed' AND b.run_id < r.run_id ORDER BY b.run_id DESC LIMIT 1) f ON true"
		" WHERE r.run_id = $1 AND ((f.sqlstate, f.error) IS DISTINCT FROM (r.sqlstate, r.error)"
		"  OR EXISTS (SELECT FROM jdysync.run o WHERE o.stream_id = r.stream_id AND o.status = 'ok' AND o.run_id > f.run_id))",
		1, {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(run_id)};

	jdy_execute(&statement, values, NULL);
	return SPI_processed > 0 ? jdy_spi_text(0, 1) : NULL;
}

void
jdy_run_end(int64 run_id, const char *status, const RunCounters *counters, const RunError *error)
{
	static JdyStatement statement = {
		"UPDATE jdysync.run SET status = $2, finished_at = $21, "
		"listed = $3, details = $4, inserted = $5, updated = $6, unchanged = $7, deleted = $8, "
		"rejected = $9, calls = $10, retries = $11, "
		"sqlstate = $12, error = $13, detail = $14, hint = $15, "
		"pending = $16, delivered = $17, verified = $18, failed = $19, dead = $20 "
		"WHERE run_id = $1",
		21, {
			INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
			INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
			INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID
		}
	};
	bool		failed = error != NULL && error->sqlstate != 0;
	const char *texts[4] = {NULL, NULL, NULL, NULL};
	Datum		values[21] = {
		Int64GetDatum(run_id), CStringGetTextDatum(status),
		Int64GetDatum(counters->listed), Int64GetDatum(counters->details),
		Int64GetDatum(counters->inserted), Int64GetDatum(counters->updated),
		Int64GetDatum(counters->unchanged), Int64GetDatum(counters->deleted),
		Int64GetDatum(counters->rejected), Int64GetDatum(counters->calls),
		Int64GetDatum(counters->retries)
	};
	char		nulls[21];

	if (open_log != NULL && open_log->run_id == run_id)
		jdy_runlog_flush(open_log);

	if (failed)
	{
		texts[0] = unpack_sql_state(error->sqlstate);
		texts[1] = error->message;
		texts[2] = error->detail[0] != '\0' ? error->detail : NULL;
		texts[3] = error->hint[0] != '\0' ? error->hint : NULL;
	}
	memset(nulls, ' ', sizeof(nulls));
	for (int i = 0; i < 4; i++)
	{
		bool		isnull;

		values[11 + i] = text_or_null(texts[i], &isnull);
		nulls[11 + i] = isnull ? 'n' : ' ';
	}
	values[15] = Int64GetDatum(counters->pending);
	values[16] = Int64GetDatum(counters->delivered);
	values[17] = Int64GetDatum(counters->verified);
	values[18] = Int64GetDatum(counters->failed);
	values[19] = Int64GetDatum(counters->dead);
	values[20] = TimestampTzGetDatum(jdy_clock_now());
	jdy_execute(&statement, values, nulls);
	jdy_tally(run_id);
	jdy_notify_run(run_id, status);
}

void
jdy_run_error(RunError *error, int sqlstate, const char *message, const char *detail, const char *hint)
{
	RunError	result;

	/* The new texts may be made of the old ones. */
	result.sqlstate = sqlstate;
	copy_clipped(result.message, sizeof(result.message), message);
	copy_clipped(result.detail, sizeof(result.detail), detail);
	copy_clipped(result.hint, sizeof(result.hint), hint);
	*error = result;
}

static const char *
mode_name(RunMode mode)
{
	switch (mode)
	{
		case MODE_AUTO:
			return "auto";
		case MODE_FULL:
			return "full";
		case MODE_VERIFY:
			return "verify";
		case MODE_AUDIT:
			return "audit";
		case MODE_RANGE:
			return "range";
		case MODE_REMEDY:
			return "remedy";
	}
	elog(ERROR, "unknown run mode %d", mode);
	return NULL;				/* not reached */
}

RunMode
jdy_mode_parse(const char *mode)
{
	for (RunMode known = MODE_AUTO; known <= MODE_REMEDY; known++)
		if (strcmp(mode, mode_name(known)) == 0)
			return known;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown mode"),
			 errdetail("\"%s\" is not a mode of a run.", mode),
			 errhint("Modes are auto, full, verify and audit.")));
	return MODE_AUTO;			/* not reached */
}

/* A long run would otherwise write as much as it likes.  It asks once a minute: there may be no worker to be had. */
static void
ask_for_trim(void)
{
	static TimestampTz asked_at = 0;
	TimestampTz now = jdy_clock_now();

	if (now - asked_at < USECS_PER_MINUTE || !jdy_trim_is_due())
		return;
	asked_at = now;
	jdy_database_due(MyDatabaseId, DT_NOBEGIN);
}

static void
forget_log(void *log)
{
	if (open_log == log)
		open_log = NULL;
}

static void
write_attempts(int64 run_id, const Attempt *attempts, int count)
{
	static JdyStatement statement = {
		"INSERT INTO jdysync.call (segment, run_id, at, method, url, attempt, http_status, errcode, ms, bytes, error, id) "
		"SELECT " JDY_CALL_SEGMENT ", $1, u.at, u.method, u.url, u.attempt, u.http_status, u.errcode, u.ms, u.bytes, u.error, u.id "
		"FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
		"AS u (at, method, url, attempt, http_status, errcode, ms, bytes, error, id)",
		11, {
			INT8OID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT2ARRAYOID,
			INT2ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID
		}
	};
	static const Oid types[] = {
		TIMESTAMPTZOID, TEXTOID, TEXTOID, INT2OID, INT2OID, INT8OID, INT4OID, INT8OID, TEXTOID, TEXTOID
	};
	Datum		columns[lengthof(types)][BATCH];
	bool		nulls[lengthof(types)][BATCH] = {{false}};
	Datum		values[1 + lengthof(types)];

	for (int i = 0; i < count; i++)
	{
		const Attempt *attempt = &attempts[i];

		columns[0][i] = TimestampTzGetDatum(attempt->at);
		columns[1][i] = CStringGetTextDatum(attempt->method);
		columns[2][i] = CStringGetTextDatum(attempt->url);
		columns[3][i] = Int16GetDatum(attempt->attempt);
		columns[4][i] = Int16GetDatum(attempt->http_status);
		nulls[4][i] = attempt->http_status == 0;
		columns[5][i] = Int64GetDatum(attempt->errcode);
		nulls[5][i] = attempt->http_status == 0;
		columns[6][i] = Int32GetDatum(attempt->elapsed_ms);
		columns[7][i] = Int64GetDatum(attempt->bytes);
		columns[8][i] = text_or_null(attempt->error, &nulls[8][i]);
		columns[9][i] = text_or_null(attempt->record, &nulls[9][i]);
	}
	values[0] = Int64GetDatum(run_id);
	for (int c = 0; c < lengthof(types); c++)
		values[1 + c] = array_of(columns[c], nulls[c], count, types[c]);
	jdy_execute(&statement, values, NULL);
}

static Datum
array_of(Datum *values, bool *nulls, int count, Oid type)
{
	int			dims[1] = {count};
	int			lower[1] = {1};
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lower, type, length, by_value, align));
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(storable(text));
}

/* A copy with what is not valid in the database's encoding replaced. */
static char *
storable(const char *text)
{
	char	   *copy = pstrdup(text);

	if (!pg_verifymbstr(copy, strlen(copy), true))
		for (char *c = copy; *c != '\0'; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	return copy;
}

/* Half a character at the end would be refused by the table that it goes to. */
static void
copy_clipped(char *to, int size, const char *from)
{
	int			length = 0;

	if (from != NULL)
	{
		length = pg_mbcliplen(from, strlen(from), size - 1);
		memcpy(to, from, length);
	}
	to[length] = '\0';
}

static void
interrupt_dead_runs(int stream_id, Datum now)
{
	static JdyStatement statement = {
		"UPDATE jdysync.run SET status = 'interrupted', finished_at = $2, "
		"error = 'the runner ended without a word', "
		"hint = 'What was landed stays; the next run goes on from there.' "
		"WHERE stream_id = $1 AND status = 'running' RETURNING run_id",
		2, {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(stream_id), now};
	int64		run_id;

	jdy_execute(&statement, values, NULL);
	if (SPI_processed == 0)
		return;
	/* One at most: whoever begins a run interrupts the one before. */
	run_id = jdy_spi_int64(0, 1, 0);
	jdy_tally(run_id);
	jdy_notify_run(run_id, "interrupted");
	jdy_watch_run_ended(stream_id, run_id, "interrupted", ERRCODE_CRASH_SHUTDOWN);
}
