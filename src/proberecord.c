/*-------------------------------------------------------------------------
 * proberecord.c
 *		Questions to the service for which a record must be known.
 *
 * Of a record that is here, with its modify time, windows are asked that end and begin
 * there: what they show tells whether their edges are inside.  And one list row, asked for
 * with all its fields, is compared with the record's detail.
 *
 * Called by probe.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "proberecord.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

#define CANDIDATES "1000"		/* records, the newest, of which one is chosen for the edges */

static bool find_record(Probe *probe, char **id, TimestampTz *at);
static void judge_edges(Probe *probe, const char *id, TimestampTz at);
static void judge_emptiness(Probe *probe, const char *although);
static bool holds(Probe *probe, uint64 id, TimestampTz from, TimestampTz to, const char **problem);
static void say_edges(Probe *probe, const char *start, const char *end, const char *grain, const char *evidence);

void
jdy_probe_edges(Probe *probe)
{
	char	   *id;
	TimestampTz at;

	if (find_record(probe, &id, &at))
		judge_edges(probe, id, at);
	else
	{
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN, "no record is here whose modify time is known and settled");

		/* With start_from windows are all that was read. */
		if (probe->pull->stream->start_from != 0)
			judge_emptiness(probe, "the list has rows");
	}
}

/* Fields that the record's data has, most of them from its detail, and its list row has not even then. */
void
jdy_probe_list_rows(Probe *probe)
{
	Pull	   *pull = probe->pull;
	const Stream *stream = pull->stream;
	JdyStatement compare = {
		.sql = psprintf("SELECT count(*), count(*) FILTER (WHERE NOT $2 ? k.name),"
						" array_to_string((array_agg(k.name ORDER BY k.name) FILTER (WHERE NOT $2 ? k.name))[1:3], ', ')"
						" FROM %s AS s CROSS JOIN LATERAL jsonb_object_keys(s.data::jsonb) AS k (name)"
						" WHERE s.id = $1 AND s.detailed_at IS NOT NULL", stream->staging_name),
		.nargs = 2,
		.argtypes = {TEXTOID, JSONBOID},
		.by_index = true
	};
	RequestPlan *plan = stream->plan;
	Call	   *call;
	ListPage   *page;
	Datum		values[2];
	int64		fields;
	int64		missing;
	const char *problem;
	Jsonb	   *row;

	if (probe->silence != NULL)
	{
		jdy_inquiry_say(probe, Q_LIST_ROWS, A_UNKNOWN, "%s", probe->silence);
		return;
	}
	pull->stream->plan = jdy_inquiry_plan(plan, stream->rich_rows, "true");
	call = jdy_list_try(pull, LANE_TAIL, DT_NOBEGIN, DT_NOEND, 1, 1);
	pull->stream->plan = plan;
	MemoryContextSwitchTo(probe->context);
	page = call->outcome == OUTCOME_OK ? jdy_list_answer(call) : NULL;
	if (page == NULL || page->nrows == 0 || page->rows[0].id == NULL ||
		(row = jdy_row_jsonb(&page->rows[0], &problem)) == NULL || !JB_ROOT_IS_OBJECT(row))
	{
		jdy_inquiry_say(probe, Q_LIST_ROWS, A_UNKNOWN, "%s", page == NULL ? jdy_call_problem(call) : "no row came");
		jdy_client_release(pull->client, call);
		return;
	}
	jdy_pull_begin(pull);
	values[0] = CStringGetTextDatum(page->rows[0].id);
	values[1] = JsonbPGetDatum(row);
	jdy_execute_as_user(&compare, values, NULL);
	MemoryContextSwitchTo(probe->context);
	fields = jdy_spi_int64(0, 1, 0);
	missing = jdy_spi_int64(0, 2, 0);
	if (fields == 0)
		jdy_inquiry_say(probe, Q_LIST_ROWS, A_UNKNOWN, "the detail of the row that came is not here");
	else if (missing > 0)
		jdy_inquiry_say(probe, Q_LIST_ROWS, "less than the detail", "%lld of %lld fields are missing, %s among them", (long long) missing,
			(long long) fields, jdy_spi_text(0, 3));
	else
		jdy_inquiry_say(probe, Q_LIST_ROWS, "as the detail", "all %lld fields came in a list row", (long long) fields);
	SPI_freeplan(compare.plan);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(probe->context);
	jdy_client_release(pull->client, call);
}

/*
 * A record whose tick few others share, among those with the highest ids.  What an owner writes into his table proves
 * nothing here: whatever `at` is, what is concluded from it is what the service shows and does not show.
 */
static bool
find_record(Probe *probe, char **id, TimestampTz *at)
{
	Pull	   *pull = probe->pull;
	const Stream *stream = pull->stream;
	const char *tick = pull->by_day ? "day" : "second";
	JdyStatement find = {
		.sql = psprintf("SELECT (array_agg(r.id))[1], (array_agg(r.at))[1] FROM (SELECT s.id::text AS id, s.modified_at::timestamptz AS at"
						" FROM %s AS s WHERE s.deleted_at IS NULL AND s.out_of_scope_at IS NULL ORDER BY s.id DESC LIMIT " CANDIDATES ") AS r"
						" WHERE r.at < $1 AND r.at > $2 GROUP BY date_trunc('%s', r.at, $3) ORDER BY count(*), max(r.at) DESC LIMIT 1",
						stream->staging_name, tick),
		.nargs = 3,
		.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID},
		.by_index = true
	};
	TimestampTz settled = jdy_tick_floor(pull, jdy_server_now(pull) - stream->settle_us) - jdy_tick_us(pull);
	TimestampTz first = Max(stream->start_from, JDY_FIRST_TICK) + 2 * jdy_tick_us(pull);
	Datum		values[3];
	bool		found;
	bool		isnull;

	jdy_pull_begin(pull);
	values[0] = TimestampTzGetDatum(settled);
	values[1] = TimestampTzGetDatum(first);
	values[2] = CStringGetTextDatum(stream->endpoint->time_zone_name);
	jdy_execute_as_user(&find, values, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		*id = MemoryContextStrdup(probe->context, jdy_spi_text(0, 1));
		*at = jdy_tick_floor(pull, DatumGetTimestampTz(jdy_spi_datum(0, 2, &isnull)));
	}
	SPI_freeplan(find.plan);
	jdy_pull_commit(pull);
	MemoryContextSwitchTo(probe->context);
	return found;
}

/*
 * Details show whole seconds, so the record's stamp lies in [at, at + 1 tick).  A window of one instant that shows
 * it has both edges inside.  Else either an edge is outside, or the stamp is later within its tick.  One around it is asked
 * first: where start and end changed places, a window of one instant is none the worse for it.
 */
static void
judge_edges(Probe *probe, const char *id, TimestampTz at)
{
	const RequestPlan *plan = probe->pull->stream->plan;
	int64		tick = jdy_tick_us(probe->pull);
	bool		by_ms = plan->start_format == WINDOW_MS && plan->end_format == WINDOW_MS;
	const char *grain = probe->pull->by_day ? "day" : "second";
	const char *stamp = pstrdup(timestamptz_to_str(at));
	uint64		hash = hash_bytes_extended((const unsigned char *) id, strlen(id), 0);
	const char *problem = NULL;

	if (!holds(probe, hash, at - tick, at + tick, &problem))
	{
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN,
				  psprintf("a record whose detail says %s is shown by no window around that", stamp));
		judge_emptiness(probe, psprintf("the detail of a record says %s", stamp));
	}
	else if (holds(probe, hash, at, at, &problem))
		say_edges(probe, A_INCLUSIVE, A_INCLUSIVE, grain, psprintf("a window from %s to that same instant shows a record stamped then", stamp));
	else if (holds(probe, hash, at - tick, at, &problem))
		say_edges(probe, A_EXCLUSIVE, A_INCLUSIVE, grain,
				  psprintf("a record stamped %s is shown by a window that ends then, and not by one from then to then", stamp));
	else if (!holds(probe, hash, at, at + tick, &problem))
		say_edges(probe, A_EXCLUSIVE, A_EXCLUSIVE, grain,
				  psprintf("a record stamped %s is shown by a window around that, and not by one that begins or ends there", stamp));
	else if (!by_ms)
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN,
				  psprintf("a record stamped %s is shown by the window from there and not by the one to there: its stamp is later within that %s, or the end is outside",
						   stamp, grain));
	else if (!holds(probe, hash, at + JDY_FINEST_US, at + tick, &problem))
		say_edges(probe, A_INCLUSIVE, A_EXCLUSIVE, grain,
				  psprintf("a record stamped %s is shown by a window from then, and not by one from then to then", stamp));
	else if (holds(probe, hash, at, at + tick - JDY_FINEST_US, &problem))
	{
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_MILLISECOND,
				  psprintf("a record whose detail says %s is stamped between that second and the next", stamp));
	}
	else
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN, psprintf("windows around %s show a record stamped then, but not alike", stamp));
	if (problem != NULL)
		say_edges(probe, A_UNKNOWN, A_UNKNOWN, A_UNKNOWN, problem);
}

/*
 * Where all time is empty, no window can mean anything; but so it is where the list is.  A record may have left it since it was
 * read, and come meanwhile: one must have been there before and after.
 */
static void
judge_emptiness(Probe *probe, const char *although)
{
	int			size = probe->pull->cap;
	Answer	   *before = jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 1, size);
	Answer	   *answer;

	if (before->n == 0)
		return;
	answer = jdy_inquiry_ask(probe, JDY_FIRST_TICK, jdy_server_now(probe->pull) + USECS_PER_DAY, 1, 1);
	if (answer->came && answer->n == 0 && jdy_answers_in_common(before, jdy_inquiry_ask(probe, DT_NOBEGIN, DT_NOEND, 1, size)) > 0)
		jdy_inquiry_say(probe, Q_FILTER, A_SHOWS_NOTHING, "a window of all time is empty, although %s: are the parameters of its start and end what they should be?",
						although);
}

/* false, too, when it cannot be said: then *problem says why. */
static bool
holds(Probe *probe, uint64 id, TimestampTz from, TimestampTz to, const char **problem)
{
	int			size = probe->pull->cap;
	Answer	   *answer;

	if (*problem != NULL)
		return false;
	answer = jdy_inquiry_ask(probe, from, to, 1, size);
	for (int i = 0; i < answer->n; i++)
		if (answer->ids[i] == id)
			return true;
	if (!answer->came)
		*problem = answer->problem;
	else if (answer->n >= size)
		*problem = "so many records share the tick that one answer does not hold them";
	return false;
}

static void
say_edges(Probe *probe, const char *start, const char *end, const char *grain, const char *evidence)
{
	jdy_inquiry_say(probe, Q_START_EDGE, start, "%s", evidence);
	jdy_inquiry_say(probe, Q_END_EDGE, end, "%s", evidence);
	jdy_inquiry_say(probe, Q_GRAIN, grain, "%s", evidence);
}
