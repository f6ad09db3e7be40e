/*-------------------------------------------------------------------------
 * missed.c
 *		Changes that an audit found and no window had listed: why, and what follows.
 *
 * What an audit finds has been read by then, so nothing is missing any more; but windows promised that nothing would
 * be, so each find is written down with its cause, and where the cause is lateness, settle is raised.
 *
 *	late			it became visible later than settle and overlap allow
 *	dated back		its modify time lies far before a time at which the service surely did not have it: it was given, and no
 *					settle would find it
 *	not stamped		it changed, and its modify time did not
 *	edge			its modify time is where one window ends and the next begins, and both are long enough for that to be no accident
 *	paging			by its modify time it was there before the first load, which read past it; or it is dated back, and no
 *					certificate has been made since by which to tell
 *	unknown			it states no modify time; or a window set a row aside that may have been it
 *
 * Which of late and dated back it is cannot be known where nothing tells since when it is there: then it counts as late by as
 * much as windows would have found, and no more.
 *
 * Called by certificate.c and finding.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "incident.h"
#include "lag.h"
#include "lib/stringinfo.h"
#include "missed.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "window.h"

#define MISSED "missed by windows"
#define KEPT_MISSED "1000"		/* of a stream */
#define NAMED 5					/* in the incident, with the fields that changed */
#define FAR 4					/* times settle and overlap is too long for lateness, */
#define FAR_US USECS_PER_MINUTE /* if it is this much at least */
#define LONG_WINDOW_TICKS 30	/* that a modify time lies on its edge is no accident */

/* In the order in which they are told. */
typedef enum Cause
{
	LATE,
	DATED_BACK,
	NOT_STAMPED,
	EDGE,
	PAGING,
	UNKNOWN
} Cause;

static const char *const causes[] = {"late", "dated back", "not stamped", "edge", "paging", "unknown"};

static int	drop_set_aside(Pull *pull, char **ids, int n);
static void find_edges(Pull *pull, const Missed *missed, int n, bool *on_edge);
static void find_set_aside(Pull *pull, const Missed *missed, int n, bool *set_aside);
static Cause judge(const Pull *pull, const Missed *missed, bool on_edge, bool set_aside, int64 *later_than_us);
static void write_down(Pull *pull, const char *found_by, const Missed *missed, const Cause *cause, const int64 *later_than_us, int n);
static void open_incident(Pull *pull, const char *found_by, const Missed *missed, const Cause *cause, int n, int64 total);

void
jdy_missed_note(Pull *pull, const char *found_by, Missed *missed, int n, int64 total)
{
	bool		on_edge[JDY_JUDGED_MISSED] = {false};
	bool		set_aside[JDY_JUDGED_MISSED] = {false};
	Cause		cause[JDY_JUDGED_MISSED];
	int64		later_than_us[JDY_JUDGED_MISSED];
	int			latest = -1;
	TimestampTz since = 0;

	jdy_incident_close(pull->stream->name, MISSED);
	if (total == 0)
		return;
	n = Min(n, JDY_JUDGED_MISSED);
	find_edges(pull, missed, n, on_edge);
	find_set_aside(pull, missed, n, set_aside);
	for (int i = 0; i < n; i++)
	{
		later_than_us[i] = 0;
		cause[i] = judge(pull, &missed[i], on_edge[i], set_aside[i], &later_than_us[i]);
		if (cause[i] != LATE)
			continue;
		if (latest < 0 || later_than_us[i] > later_than_us[latest])
			latest = i;
		since = since == 0 ? missed[i].modified_at : Min(since, missed[i].modified_at);
	}
	write_down(pull, found_by, missed, cause, later_than_us, n);
	open_incident(pull, found_by, missed, cause, n, total);
	if (latest >= 0)
	{
		char	   *modified_at = pstrdup(timestamptz_to_str(missed[latest].modified_at));

		jdy_lag_raise_settle(pull, later_than_us[latest], since,
							 psprintf("Record \"%s\" was modified at %s. No window showed that in time, the %s did.",
									  missed[latest].id, modified_at, found_by));
	}
}

int
jdy_missed_records(Pull *pull, const char *found_by, char **ids, int n, TimestampTz shown_at)
{
	static JdyStatement last_certificate = {
		.sql = "SELECT c.instant FROM jdysync.certificate c WHERE c.stream_id = $1 AND c.epoch = $2 AND c.proven"
		" ORDER BY c.certificate_id DESC LIMIT 1",
		.nargs = 2,
		.argtypes = {INT4OID, INT4OID}
	};
	const Stream *stream = pull->stream;
	JdyStatement read = {
		.sql = psprintf("SELECT s.id::text, s.modified_at::timestamptz, s.detailed_at IS NOT NULL FROM %s AS s WHERE s.id = ANY ($1)",
						stream->staging_name),
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.by_index = true
	};
	bool		came[JDY_JUDGED_MISSED] = {false};
	Missed		missed[JDY_JUDGED_MISSED] = {{0}};
	int			njudged;
	int			nmissed = 0;
	int			nleft = 0;
	Datum		values[2] = {Int32GetDatum(stream->stream_id), Int32GetDatum(stream->epoch)};
	TimestampTz unseen_at = 0;

	if (n > 0)
		n = drop_set_aside(pull, ids, n);
	njudged = Min(n, JDY_JUDGED_MISSED);
	if (n == 0)
	{
		jdy_missed_note(pull, found_by, NULL, 0, 0);
		return 0;
	}
	jdy_execute(&last_certificate, values, NULL);
	if (SPI_processed > 0)
	{
		bool		isnull;

		unseen_at = DatumGetTimestampTz(jdy_spi_datum(0, 1, &isnull));
	}
	for (int i = 0; i < njudged; i++)
		missed[i] = (Missed) {.id = ids[i],.unseen_at = unseen_at,.shown_at = shown_at};

	values[0] = jdy_text_array(ids, njudged);
	jdy_execute_as_user(&read, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		char	   *id = jdy_spi_text(r, 1);
		bool		isnull;
		bool		never;
		TimestampTz modified_at = DatumGetTimestampTz(jdy_spi_datum(r, 2, &isnull));
		bool		detailed = DatumGetBool(jdy_spi_datum(r, 3, &never));

		for (int i = 0; i < njudged; i++)
		{
			if (strcmp(missed[i].id, id) != 0)
				continue;
			came[i] = detailed || !stream->details;
			if (!isnull && !TIMESTAMP_NOT_FINITE(modified_at))
				missed[i].modified_at = modified_at;
		}
	}
	SPI_freeplan(read.plan);

	/* Gone before its detail came, or so young that windows are still to list it: then nothing was missed. */
	for (int i = 0; i < n; i++)
	{
		if (i < njudged && (!came[i] || missed[i].modified_at >= pull->cursor))
			continue;
		if (i < njudged)
			missed[nmissed++] = missed[i];
		ids[nleft++] = ids[i];
	}
	jdy_missed_note(pull, found_by, missed, nmissed, nleft);
	return nleft;
}

/* Leaves those whose row was not set aside: one that was has been listed, and its record was named as an exception. */
static int
drop_set_aside(Pull *pull, char **ids, int n)
{
	static JdyStatement look = {
		.sql = "SELECT u.n FROM unnest($2::text[]) WITH ORDINALITY AS u (id, n) WHERE NOT EXISTS"
		" (SELECT FROM jdysync.reject j WHERE j.stream_id = $1 AND j.id = u.id AND (j.next_try IS NOT NULL OR j.run_id = $3))"
		" ORDER BY u.n",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTARRAYOID, INT8OID}
	};
	Datum		values[3] = {Int32GetDatum(pull->stream->stream_id), jdy_text_array(ids, n), Int64GetDatum(pull->run_id)};
	int			left;

	jdy_execute(&look, values, NULL);
	left = (int) SPI_processed;
	for (int i = 0; i < left; i++)
		ids[i] = ids[jdy_spi_int64(i, 1, 1) - 1];
	return left;
}

static void
find_edges(Pull *pull, const Missed *missed, int n, bool *on_edge)
{
	static JdyStatement look = {
		.sql = "SELECT u.n FROM unnest($2) WITH ORDINALITY AS u (at, n)"
		" WHERE EXISTS (SELECT FROM jdysync.\"window\" w WHERE w.stream_id = $1 AND w.epoch = $3 AND upper(w.span) = u.at"
		"  AND (lower_inf(w.span) OR upper(w.span) - lower(w.span) >= $4))"
		" AND EXISTS (SELECT FROM jdysync.\"window\" w WHERE w.stream_id = $1 AND w.epoch = $3 AND lower(w.span) = u.at"
		"  AND upper(w.span) - lower(w.span) >= $4)",
		.nargs = 4,
		.argtypes = {INT4OID, TIMESTAMPTZARRAYOID, INT4OID, INTERVALOID}
	};
	Interval	is_long = {.time = LONG_WINDOW_TICKS * jdy_tick_us(pull)};
	Datum		times[JDY_JUDGED_MISSED];
	bool		nulls[JDY_JUDGED_MISSED] = {false};
	Datum		values[4];

	for (int i = 0; i < n; i++)
		times[i] = TimestampTzGetDatum(missed[i].modified_at - missed[i].modified_at % USECS_PER_SEC);
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = jdy_make_array(times, nulls, n, TIMESTAMPTZOID);
	values[2] = Int32GetDatum(pull->stream->epoch);
	values[3] = IntervalPGetDatum(&is_long);
	jdy_execute(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		on_edge[jdy_spi_int64(r, 1, 1) - 1] = true;
}

/* A window listed it, perhaps: as a row that did not tell its id, and that is waited for, or came in this run. */
static void
find_set_aside(Pull *pull, const Missed *missed, int n, bool *set_aside)
{
	static JdyStatement look = {
		.sql = "SELECT u.n FROM unnest($2::text[], $3::timestamptz[]) WITH ORDINALITY AS u (id, at, n)"
		" WHERE EXISTS (SELECT FROM jdysync.reject j WHERE j.stream_id = $1 AND (j.next_try IS NOT NULL OR j.run_id = $4)"
		"  AND (j.id IS NULL OR j.id = u.id) AND j.span && tstzrange(u.at - $5, u.at + $5, '[]'))",
		.nargs = 5,
		.argtypes = {INT4OID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8OID, INTERVALOID}
	};
	Interval	asked_wider = {.time = jdy_tick_us(pull)};
	Datum		columns[2][JDY_JUDGED_MISSED];
	bool		nulls[JDY_JUDGED_MISSED] = {false};
	Datum		values[5];

	for (int i = 0; i < n; i++)
	{
		columns[0][i] = CStringGetTextDatum(missed[i].id);
		columns[1][i] = TimestampTzGetDatum(missed[i].modified_at);
	}
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = jdy_make_array(columns[0], nulls, n, TEXTOID);
	values[2] = jdy_make_array(columns[1], nulls, n, TIMESTAMPTZOID);
	values[3] = Int64GetDatum(pull->run_id);
	values[4] = IntervalPGetDatum(&asked_wider);
	jdy_execute(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		set_aside[jdy_spi_int64(r, 1, 1) - 1] = true;
}

/* One case a line, the surest first. */
static Cause
judge(const Pull *pull, const Missed *missed, bool on_edge, bool set_aside, int64 *later_than_us)
{
	const Stream *stream = pull->stream;
	int64		by_windows_us = stream->settle_us + stream->overlap_us; /* windows find all that is not later */
	int64		away_us = missed->unseen_at - missed->modified_at;
	TimestampTz listed_from = stream->tail_from != 0 ? stream->tail_from : stream->tail_until - by_windows_us;

	if (missed->modified_at == 0 || !pull->windowed)
		return UNKNOWN;
	if (missed->modified_at == missed->modified_before)
		return NOT_STAMPED;
	if (set_aside)
		return UNKNOWN;
	if (missed->unseen_at != 0 && away_us > Max(FAR * by_windows_us, FAR_US))
		return DATED_BACK;
	if (missed->unseen_at == 0 && missed->modified_at < stream->load_began)
		return PAGING;
	if (on_edge && (missed->unseen_at == 0 || away_us <= 0))
		return EDGE;

	/* The last run that asked for it did so when it was older than that, or is the last one there was. */
	if (stream->tail_until != 0 && missed->modified_at < listed_from)
		*later_than_us = by_windows_us;
	else if (stream->tail_until > missed->modified_at)
		*later_than_us = stream->tail_until - missed->modified_at;
	if (missed->unseen_at != 0)
		*later_than_us = Max(*later_than_us, away_us);
	return *later_than_us > 0 ? LATE : UNKNOWN;
}

static void
write_down(Pull *pull, const char *found_by, const Missed *missed, const Cause *cause, const int64 *later_than_us, int n)
{
	static JdyStatement insert = {
		.sql = "INSERT INTO jdysync.missed (stream_id, run_id, found_by, id, cause, modified_at, unseen_at, shown_at, later_than)"
		" SELECT $1, $2, $3, u.id, u.cause, u.modified_at, u.unseen_at, u.shown_at, u.later_than * interval '1 microsecond'"
		" FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::bigint[])"
		"  AS u (id, cause, modified_at, unseen_at, shown_at, later_than)"
		" ON CONFLICT (stream_id, id, run_id) DO NOTHING",
		.nargs = 9,
		.argtypes = {INT4OID, INT8OID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID}
	};
	static JdyStatement trim = {
		.sql = "DELETE FROM jdysync.missed m WHERE m.stream_id = $1 AND m.found_at <"
		" (SELECT o.found_at FROM jdysync.missed o WHERE o.stream_id = $1 ORDER BY o.found_at DESC OFFSET " KEPT_MISSED " LIMIT 1)",
		.nargs = 1,
		.argtypes = {INT4OID},
		.by_index = true
	};
	Datum		columns[6][JDY_JUDGED_MISSED];
	bool		nulls[6][JDY_JUDGED_MISSED];
	Oid			types[6] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	Datum		values[9];

	for (int i = 0; i < n; i++)
	{
		columns[0][i] = CStringGetTextDatum(missed[i].id);
		columns[1][i] = CStringGetTextDatum(causes[cause[i]]);
		columns[2][i] = TimestampTzGetDatum(missed[i].modified_at);
		columns[3][i] = TimestampTzGetDatum(missed[i].unseen_at);
		columns[4][i] = TimestampTzGetDatum(missed[i].shown_at);
		columns[5][i] = Int64GetDatum(later_than_us[i]);
		nulls[0][i] = nulls[1][i] = false;
		nulls[2][i] = missed[i].modified_at == 0;
		nulls[3][i] = missed[i].unseen_at == 0;
		nulls[4][i] = missed[i].shown_at == 0;
		nulls[5][i] = cause[i] != LATE;
	}
	values[0] = Int32GetDatum(pull->stream->stream_id);
	values[1] = Int64GetDatum(pull->run_id);
	values[2] = CStringGetTextDatum(found_by);
	for (int i = 0; i < lengthof(types); i++)
		values[i + 3] = jdy_make_array(columns[i], nulls[i], n, types[i]);
	jdy_execute(&insert, values, NULL);
	jdy_execute(&trim, values, NULL);
}

static void
open_incident(Pull *pull, const char *found_by, const Missed *missed, const Cause *cause, int n, int64 total)
{
	const char *name = quote_literal_cstr(pull->stream->name);
	int			times[lengthof(causes)] = {0};
	const char *between = " ";
	int			named = 0;
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfo(&detail, "%lld %s in the list that no window of modify time had listed; %s here now. By cause:",
					 (long long) total, total == 1 ? "record was" : "records were", total == 1 ? "it is" : "they are");
	for (int i = 0; i < n; i++)
		times[cause[i]]++;
	for (int i = 0; i < lengthof(causes); i++)
		if (times[i] > 0)
		{
			appendStringInfo(&detail, "%s%d %s", between, times[i], causes[i]);
			between = ", ";
		}
	if (n < total)
		appendStringInfo(&detail, "%s%lld not looked at", between, (long long) (total - n));
	appendStringInfo(&detail, ". Found by the %s.", found_by);
	for (int i = 0; i < n && named < NAMED; i++)
		if (missed[i].fields != NULL)
			appendStringInfo(&detail, "%s%s (%s)", named++ == 0 ? " What changed: " : "; ", missed[i].id, missed[i].fields);
	jdy_incident_open(pull->stream->name, "warning", MISSED, detail.data,
					  psprintf("Nothing is missing now. SELECT * FROM jdy_missed WHERE name = %s ORDER BY found_at DESC; names them, each with its cause. For those that were late settle was raised; what is dated back or not stamped only audits find, or SELECT * FROM jdy_sync(%s, 'full');",
							   name, name));
}
