/*-------------------------------------------------------------------------
 * queue.c
 *		The durable queue of details: what was listed, and what is due for it.
 *
 * List rows carry no modify time, so whether a record's detail must be fetched
 * (again) follows from which windows listed it, and when its detail was asked.
 * Both are kept in jdysync.listing for as long as a later window can ask: one
 * small row a recent record, committed together with the window that listed
 * it, so a crash loses no mark.
 *
 * The table is the extension's, not the owner's: whoever may write a staging
 * table cannot make a detail disappear from the queue.
 *
 * Called by pull.c, inside its transactions.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "queue.h"
#include "spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define SCHEDULE_ERROR_US (2 * USECS_PER_SEC)	/* runs come not quite so far apart as they should */

/* What jdysync.listing says of a record. */
typedef struct Note
{
	bool		exists;
	bool		due;
	bool		set_aside;
	TimestampTz due_from;
	TimestampTz due_since;
	TimestampTz listed_until;	/* 0 = by no proven window */
	TimestampTz tail_until;		/* 0 = by no tail */
	TimestampTz detail_asked_at;	/* 0 = not known here */
	TimestampTz row_asked_at;	/* of the list row that the detail which is due will be joined with */
	FirstShown	first_shown;
} Note;

/*
 * Where several notes are wanted, each is found by the whole key: LATERAL and
 * OFFSET leave the planner no other way.  Else, with the table empty when the plan
 * is made, it would go through all notes of the stream for every batch.
 */
#define EACH_NOTE(columns, of, condition) \
	" FROM " of " CROSS JOIN LATERAL (SELECT " columns \
	" FROM jdysync.listing n WHERE n.stream_id = $1 AND n.id = u.id" condition " OFFSET 0) AS k"

static JdyStatement read_notes = {
	.sql = "SELECT k.*"
	EACH_NOTE("n.id, n.due, n.problem IS NOT NULL, n.due_from, n.due_since, n.listed_until, n.tail_until, n.detail_asked_at,"
			  " n.shown_at, n.unseen_at, n.unseen_from, n.row_asked_at",
			  "unnest($2) AS u (id)", ""),
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

static JdyStatement read_places = {
	.sql = "SELECT k.listed_until, k.tail_until FROM unnest($2) AS u (id) LEFT JOIN LATERAL"
	" (SELECT n.listed_until, n.tail_until FROM jdysync.listing n WHERE n.stream_id = $1 AND n.id = u.id OFFSET 0) AS k ON true",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

static JdyStatement write_notes = {
	.sql = "INSERT INTO jdysync.listing AS l (stream_id, id, due, due_from, due_since, listed_until, tail_until, list_row,"
	"  shown_at, unseen_at, unseen_from, row_asked_at)"
	" SELECT $1, u.id, u.due, u.due_from, u.due_since, u.listed_until, u.tail_until, u.list_row,"
	"  u.shown_at, u.unseen_at, u.unseen_from, u.row_asked_at"
	" FROM unnest($2::text[], $3::bool[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],"
	"  $8::jsonb[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[])"
	"  AS u (id, due, due_from, due_since, listed_until, tail_until, list_row, shown_at, unseen_at, unseen_from, row_asked_at)"
	" ON CONFLICT (stream_id, id) DO UPDATE SET due = EXCLUDED.due, due_from = EXCLUDED.due_from,"
	"  due_since = EXCLUDED.due_since, listed_until = EXCLUDED.listed_until, tail_until = EXCLUDED.tail_until,"
	"  list_row = CASE WHEN EXCLUDED.row_asked_at IS DISTINCT FROM l.row_asked_at THEN EXCLUDED.list_row"
	"   ELSE COALESCE(EXCLUDED.list_row, l.list_row) END,"
	"  shown_at = EXCLUDED.shown_at, unseen_at = EXCLUDED.unseen_at, unseen_from = EXCLUDED.unseen_from,"
	"  row_asked_at = EXCLUDED.row_asked_at,"
	"  attempts = 0, next_try = NULL, problem = NULL",
	.nargs = 12,
	.argtypes = {INT4OID, TEXTARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	TIMESTAMPTZARRAYOID}
};

/* One select for each of the two parts of the queue, each with an index of its own. */
#define READ_DUE(part) \
	"SELECT l.id, l.due_from, l.list_row, l.attempts, l.shown_at, l.unseen_at, l.unseen_from, l.row_asked_at FROM jdysync.listing l" \
	" WHERE l.stream_id = $1 AND l.due AND l.due_from " part " AND l.id <> ALL ($2)" \
	"  AND (l.next_try IS NULL OR l.next_try <=" \
	"   CASE WHEN l.problem IS NULL THEN pg_catalog.clock_timestamp() ELSE $3 END)"
#define DUE_ORDER " ORDER BY pg_catalog.length(l.id) DESC, l.id DESC LIMIT $4"

static JdyStatement read_due_window = {
	.sql = READ_DUE("> '-infinity'") DUE_ORDER,
	.nargs = 4,
	.argtypes = {INT4OID, TEXTARRAYOID, TIMESTAMPTZOID, INT8OID},
	.by_index = true
};

static JdyStatement read_due_load = {
	.sql = READ_DUE("= '-infinity'") " AND (pg_catalog.length(l.id), l.id) < ($5, $6)" DUE_ORDER,
	.nargs = 6,
	.argtypes = {INT4OID, TEXTARRAYOID, TIMESTAMPTZOID, INT8OID, INT4OID, TEXTOID},
	.by_index = true
};

static JdyStatement count_due = {
	.sql = "SELECT pg_catalog.count(*) FROM jdysync.listing l WHERE l.stream_id = $1 AND l.due AND l.problem IS NULL",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement read_next_try = {
	.sql = "SELECT pg_catalog.min(l.next_try) FROM jdysync.listing l"
	" WHERE l.stream_id = $1 AND l.due AND l.problem IS NULL AND l.next_try IS NOT NULL",
	.nargs = 1,
	.argtypes = {INT4OID}
};

/* A record that only the first load listed needs no note once its detail is there. */
static JdyStatement drop_done = {
	.sql = "DELETE FROM jdysync.listing l WHERE l.ctid = ANY (ARRAY (SELECT k.ctid"
	EACH_NOTE("n.ctid", "unnest($2) AS u (id)", " AND n.listed_until IS NULL AND n.tail_until IS NULL") "))",
	.nargs = 2,
	.argtypes = {INT4OID, TEXTARRAYOID},
	.by_index = true
};

static JdyStatement note_done = {
	.sql = "UPDATE jdysync.listing l SET due = false, due_from = NULL, due_since = NULL, list_row = NULL, attempts = 0,"
	" next_try = NULL, problem = NULL, detail_asked_at = d.asked_at"
	" FROM (SELECT k.ctid, u.asked_at"
	EACH_NOTE("n.ctid", "unnest($2, $3) AS u (id, asked_at)", "") ") AS d WHERE l.ctid = d.ctid",
	.nargs = 3,
	.argtypes = {INT4OID, TEXTARRAYOID, TIMESTAMPTZARRAYOID},
	.by_index = true
};

static JdyStatement note_postponed = {
	.sql = "UPDATE jdysync.listing l SET attempts = $3, next_try = $4,"
	" problem = CASE WHEN $5 THEN $6 ELSE l.problem END"
	" WHERE l.stream_id = $1 AND l.id = $2",
	.nargs = 6,
	.argtypes = {INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, BOOLOID, TEXTOID},
	.by_index = true
};

static JdyStatement prune = {
	.sql = "DELETE FROM jdysync.listing l WHERE l.stream_id = $1 AND NOT l.due"
	" AND (l.listed_until IS NULL OR l.listed_until < $2) AND (l.tail_until IS NULL OR l.tail_until < $2)",
	.nargs = 2,
	.argtypes = {INT4OID, TIMESTAMPTZOID}
};

static void read_note_rows(const Stream *stream, Row **rows, int nrows, Note *notes);
static bool is_due(const Note *note, const Known *known, const Sighting *sighting, TimestampTz now);
static void append_due(List **result);
static Datum text_list_array(const List *texts);
static TimestampTz timestamp_or_zero(uint64 row, int column);
static FirstShown first_shown(const Note *note, const Sighting *sighting);
static FirstShown read_first_shown(uint64 row, int column);
static TimestampTz later(TimestampTz a, TimestampTz b);

void
jdy_queue_note(const Stream *stream, Staging *staging, Row **rows, int nrows, const Known *known,
			   const Sighting *sighting, TimestampTz now, List **marked)
{
	Note		notes[JDY_LAND_ROWS];
	Datum		columns[11][JDY_LAND_ROWS];
	bool		nulls[11][JDY_LAND_ROWS];
	Datum		values[12];
	int			n = 0;

	if (nrows == 0)
		return;
	read_note_rows(stream, rows, nrows, notes);
	for (int i = 0; i < nrows; i++)
	{
		Note		note = notes[i];
		bool		due = is_due(&notes[i], &known[i], sighting, now);
		Jsonb	   *list_row = NULL;

		if (rows[i]->problem != NULL)
			continue;			/* set aside: it stands among the rejects */
		if (sighting->kind == SEEN_SETTLED || sighting->kind == SEEN_IN_RANGE ||
			(sighting->kind == SEEN_IN_OVERLAP && due))
			note.listed_until = later(note.listed_until, sighting->to);
		else if (sighting->kind == SEEN_IN_NEW_TAIL || (sighting->kind == SEEN_IN_OLD_TAIL && due))
			note.tail_until = later(note.tail_until, sighting->to);

		if (due)
		{
			bool		whole_list = sighting->kind == SEEN_IN_LOAD || sighting->kind == SEEN_IN_AUDIT;
			TimestampTz from = whole_list ? DT_NOBEGIN : sighting->asked_from;
			TimestampTz since = from;

			/* What a full load reads again is promised already, as far as windows list what changes. */
			if (sighting->kind == SEEN_IN_LOAD && known[i].detailed && stream->loaded)
				since = sighting->due_since;

			/* What an audit finds is new: no more can be said of it than that windows did not list it up to here. */
			if (sighting->kind == SEEN_IN_AUDIT)
				since = known[i].detailed && sighting->to != DT_NOBEGIN ? DT_NOEND : sighting->to;

			/*
			 * The latest window says how fresh the detail must be, the first one
			 * from where on a change is missing.
			 */
			note.due_from = !note.due || note.set_aside ? from : Max(note.due_from, from);
			note.due_since = !note.due ? since : Min(note.due_since, since);
			note.first_shown = first_shown(&notes[i], sighting);
			note.row_asked_at = sighting->asked_at;
			if (known[i].exists && known[i].detailed)
				list_row = jdy_staging_list_row(staging, rows[i]);
			*marked = lappend(*marked, pstrdup(rows[i]->id));
		}
		else if (notes[i].exists ? (note.listed_until == notes[i].listed_until && note.tail_until == notes[i].tail_until)
				 : note.listed_until == 0 && note.tail_until == 0)
			continue;			/* nothing new to note */

		columns[0][n] = CStringGetTextDatum(rows[i]->id);
		columns[1][n] = BoolGetDatum(due || note.due);
		columns[2][n] = TimestampTzGetDatum(note.due_from);
		columns[3][n] = TimestampTzGetDatum(note.due_since);
		columns[4][n] = TimestampTzGetDatum(note.listed_until);
		columns[5][n] = TimestampTzGetDatum(note.tail_until);
		columns[6][n] = list_row ? JsonbPGetDatum(list_row) : (Datum) 0;
		nulls[0][n] = nulls[1][n] = false;
		nulls[2][n] = nulls[3][n] = !(due || note.due);
		nulls[4][n] = note.listed_until == 0;
		nulls[5][n] = note.tail_until == 0;
		nulls[6][n] = list_row == NULL;
		columns[7][n] = TimestampTzGetDatum(note.first_shown.shown_at);
		columns[8][n] = TimestampTzGetDatum(note.first_shown.unseen_at);
		columns[9][n] = TimestampTzGetDatum(note.first_shown.unseen_from);
		nulls[7][n] = nulls[8][n] = nulls[9][n] = note.first_shown.shown_at == 0;
		columns[10][n] = TimestampTzGetDatum(note.row_asked_at);
		nulls[10][n] = note.row_asked_at == 0;
		n++;
	}
	if (n == 0)
		return;
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = jdy_make_array(columns[0], nulls[0], n, TEXTOID);
	values[2] = jdy_make_array(columns[1], nulls[1], n, BOOLOID);
	values[3] = jdy_make_array(columns[2], nulls[2], n, TIMESTAMPTZOID);
	values[4] = jdy_make_array(columns[3], nulls[3], n, TIMESTAMPTZOID);
	values[5] = jdy_make_array(columns[4], nulls[4], n, TIMESTAMPTZOID);
	values[6] = jdy_make_array(columns[5], nulls[5], n, TIMESTAMPTZOID);
	values[7] = jdy_make_array(columns[6], nulls[6], n, JSONBOID);
	for (int i = 7; i < 11; i++)
		values[i + 1] = jdy_make_array(columns[i], nulls[i], n, TIMESTAMPTZOID);
	jdy_execute(&write_notes, values, NULL);
}

int
jdy_queue_guess(const Stream *stream, const List *ids, TimestampTz settled_until, int64 tail_ahead_us)
{
	Datum		values[2];
	int			guess = 0;

	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = text_list_array(ids);
	jdy_execute(&read_places, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		TimestampTz listed_until = timestamp_or_zero(r, 1);
		TimestampTz tail_until = timestamp_or_zero(r, 2);

		if (listed_until == 0 && tail_until == 0)
			guess |= 1 << SEEN_IN_NEW_TAIL;
		else if (listed_until != 0 && tail_until <= listed_until + stream->settle_us + tail_ahead_us)
			guess |= 1 << SEEN_IN_OVERLAP;
		else if (tail_until <= settled_until + SCHEDULE_ERROR_US)
			guess |= 1 << SEEN_SETTLED;
		else
			guess |= 1 << SEEN_IN_OLD_TAIL;
	}
	return guess;
}

List *
jdy_queue_due(const Stream *stream, const List *in_flight, TimestampTz run_began, int limit, DuePlace *place)
{
	Datum		values[6];
	List	   *result = NIL;

	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = text_list_array(in_flight);
	values[2] = TimestampTzGetDatum(run_began);
	values[3] = Int64GetDatum(limit);
	jdy_execute(&read_due_window, values, NULL);
	append_due(&result);
	if (list_length(result) < limit)
	{
		values[3] = Int64GetDatum(limit - list_length(result));
		values[4] = Int32GetDatum(place->id[0] == '\0' ? PG_INT32_MAX : pg_mbstrlen(place->id));
		values[5] = CStringGetTextDatum(place->id);
		jdy_execute(&read_due_load, values, NULL);
		append_due(&result);
	}

	if (list_length(result) < limit)
		place->id[0] = '\0';
	else if (((Due *) llast(result))->due_from == DT_NOBEGIN)
		strlcpy(place->id, ((Due *) llast(result))->id, sizeof(place->id));
	return result;
}

static void
append_due(List **result)
{
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		Due		   *due = palloc0(sizeof(Due));
		bool		isnull;
		Datum		value;

		due->id = jdy_spi_text(r, 1);
		due->due_from = DatumGetTimestampTz(jdy_spi_datum(r, 2, &isnull));
		value = jdy_spi_datum(r, 3, &isnull);
		due->list_row = isnull ? NULL : DatumGetJsonbPCopy(value);
		due->attempts = (int) jdy_spi_int64(r, 4, 0);
		due->first_shown = read_first_shown(r, 5);
		due->row_asked_at = timestamp_or_zero(r, 8);
		*result = lappend(*result, due);
	}
}

int64
jdy_queue_count(const Stream *stream)
{
	Datum		values[1] = {Int32GetDatum(stream->stream_id)};

	jdy_execute(&count_due, values, NULL);
	return jdy_spi_int64(0, 1, 0);
}

TimestampTz
jdy_queue_next_try(const Stream *stream)
{
	Datum		values[1] = {Int32GetDatum(stream->stream_id)};
	bool		isnull;
	Datum		at;

	jdy_execute(&read_next_try, values, NULL);
	at = jdy_spi_datum(0, 1, &isnull);
	return isnull ? 0 : DatumGetTimestampTz(at);
}

void
jdy_queue_done(const Stream *stream, char **ids, const TimestampTz *asked_at, int n)
{
	Datum	   *id_values = palloc(sizeof(Datum) * n);
	Datum	   *asked_values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	Datum		values[3];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		id_values[i] = CStringGetTextDatum(ids[i]);
		asked_values[i] = TimestampTzGetDatum(asked_at[i]);
	}
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = jdy_make_array(id_values, nulls, n, TEXTOID);
	values[2] = jdy_make_array(asked_values, nulls, n, TIMESTAMPTZOID);
	jdy_execute(&drop_done, values, NULL);
	if (SPI_processed < n)
		jdy_execute(&note_done, values, NULL);
}

void
jdy_queue_postpone(const Stream *stream, const char *id, int attempts, TimestampTz next_try,
				   bool set_aside, const char *problem)
{
	Datum		values[6];
	char		nulls[7] = "      ";

	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = CStringGetTextDatum(id);
	values[2] = Int32GetDatum(attempts);
	values[3] = TimestampTzGetDatum(next_try);
	if (next_try == 0)
		nulls[3] = 'n';
	values[4] = BoolGetDatum(set_aside);
	values[5] = CStringGetTextDatum(problem);
	jdy_execute(&note_postponed, values, nulls);
}

void
jdy_queue_prune(const Stream *stream, TimestampTz before)
{
	Datum		values[2] = {Int32GetDatum(stream->stream_id), TimestampTzGetDatum(before)};

	jdy_execute(&prune, values, NULL);
}

void
jdy_queue_take_back(const Stream *stream, TimestampTz until)
{
	static JdyStatement forget = {
		.sql = "UPDATE jdysync.listing l SET listed_until = NULL, tail_until = NULL"
		" WHERE l.stream_id = $1 AND (l.listed_until > $2 OR l.tail_until > $2)",
		.nargs = 2,
		.argtypes = {INT4OID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {Int32GetDatum(stream->stream_id), TimestampTzGetDatum(until)};

	jdy_execute(&forget, values, NULL);
}

static TimestampTz
timestamp_or_zero(uint64 row, int column)
{
	bool		isnull;
	Datum		value = jdy_spi_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/* In three columns. */
static FirstShown
read_first_shown(uint64 row, int column)
{
	return (FirstShown) {
		timestamp_or_zero(row, column), timestamp_or_zero(row, column + 1), timestamp_or_zero(row, column + 2)
	};
}

static void
read_note_rows(const Stream *stream, Row **rows, int nrows, Note *notes)
{
	Datum		ids[JDY_LAND_ROWS];
	bool		nulls[JDY_LAND_ROWS];
	Datum		values[2];

	memset(notes, 0, sizeof(Note) * nrows);
	for (int i = 0; i < nrows; i++)
	{
		ids[i] = CStringGetTextDatum(rows[i]->id);
		nulls[i] = false;
	}
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = jdy_make_array(ids, nulls, nrows, TEXTOID);
	jdy_execute(&read_notes, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		int			i = jdy_find_row(rows, nrows, jdy_spi_text(r, 1));
		bool		isnull;

		if (i < 0)
			continue;
		notes[i].exists = true;
		notes[i].due = DatumGetBool(jdy_spi_datum(r, 2, &isnull));
		notes[i].set_aside = DatumGetBool(jdy_spi_datum(r, 3, &isnull));
		notes[i].due_from = timestamp_or_zero(r, 4);
		notes[i].due_since = timestamp_or_zero(r, 5);
		notes[i].listed_until = timestamp_or_zero(r, 6);
		notes[i].tail_until = timestamp_or_zero(r, 7);
		notes[i].detail_asked_at = timestamp_or_zero(r, 8);
		notes[i].first_shown = read_first_shown(r, 9);
		notes[i].row_asked_at = timestamp_or_zero(r, 12);
	}
}

/*
 * The rule of the design, one case a line.  asked_at: by the service's clock, when
 * what is stored was asked: its detail and the list row it landed with, which may be older.
 */
static bool
is_due(const Note *note, const Known *known, const Sighting *sighting, TimestampTz now)
{
	TimestampTz asked_at = later(note->detail_asked_at, known->detailed_at);

	/* By a clock that was wrong, or written by the table's owner. */
	if (asked_at > now)
		asked_at = PG_INT64_MIN;
	if ((!known->detailed || known->gone) && !note->due)
		return true;
	switch (sighting->kind)
	{
		case SEEN_IN_LOAD:
			return (!note->due || note->set_aside) && asked_at < sighting->fresh_since;
		case SEEN_SETTLED:
			return asked_at < sighting->fresh_since;
		case SEEN_IN_OVERLAP:
			/* When its detail was asked says nothing: the change may have shown later than its stamp. */
			return note->listed_until == 0 || note->listed_until <= sighting->overlap_from;
		case SEEN_IN_OLD_TAIL:
			return note->tail_until == 0;
		case SEEN_IN_NEW_TAIL:
		case SEEN_IN_RANGE:
			return true;
		case SEEN_IN_AUDIT:
			return (!note->due || note->set_aside) && asked_at < sighting->fresh_since;
	}
	return true;
}

/*
 * What is due because of this sighting: when it was shown first.  The run before asked for these modify
 * times, too.  What it listed then was noted; only of what an earlier tail had listed, a later listing in the tail is
 * not.  What stood in a window that ended after its modify time may have been this change already.
 */
static FirstShown
first_shown(const Note *note, const Sighting *sighting)
{
	FirstShown	none = {0};
	bool		noted = sighting->kind == SEEN_IN_NEW_TAIL || sighting->kind == SEEN_IN_OVERLAP ||
		((sighting->kind == SEEN_IN_OLD_TAIL || sighting->kind == SEEN_SETTLED) && note->tail_until == 0);
	TimestampTz listed_until = later(note->listed_until, note->tail_until);

	if (!noted || sighting->shown_at == 0 || sighting->unseen_at == 0)
		return note->due ? note->first_shown : none;
	return (FirstShown) {
		sighting->shown_at, sighting->unseen_at,
		listed_until == 0 ? sighting->unseen_from : Max(sighting->unseen_from, listed_until + 1)
	};
}

static TimestampTz
later(TimestampTz a, TimestampTz b)
{
	return a == 0 ? b : b == 0 ? a : Max(a, b);
}

static Datum
text_list_array(const List *texts)
{
	char	  **array = palloc(sizeof(char *) * Max(list_length(texts), 1));
	ListCell   *cell;

	foreach(cell, texts)
		array[foreach_current_index(cell)] = lfirst(cell);
	return jdy_text_array(array, list_length(texts));
}
