/*-------------------------------------------------------------------------
 * line.c
 *		The line for workers: whose turn it is.
 *
 * No more than jdysync.max_workers workers are out at once, whoever asked for the
 * runs: they would take the server's workers from queued runs and parallel
 * queries.  Who finds none free gets a place in a line: each caller one, and each database
 * one for its queued runs, so that nobody's many runs starve another.  Which of its queued runs a database
 * starts is its scheduler's to choose (scheduler.c).
 *
 * One worker is kept for runs that are not heavy: what changed since a minute ago must
 * not wait for hours of first loads.  Heavy ones in line, when no worker is left for them, are
 * not in the way of the others.  With jdysync.max_workers = 1 there is none to be kept.
 *
 * A place counts as long as it is asked for: a caller whose client does not read its
 * notices, or a scheduler that does not come back, holds up nobody.
 *
 * Called by runslot.c and launcher.c; runs_lock guards everything.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "line.h"
#include "runslot.h"
#include "utils/timestamp.h"

#define LIMIT_MS 10000			/* a place that was not asked for so long does not count */

static bool asked_lately(TimestampTz asked_at);
static QueueLine *find_line(Oid database);

uint64
jdy_line_new_place(void)
{
	return ++jdy_shared->last_place;
}

bool
jdy_line_may_start(uint64 place, bool heavy, int limit)
{
	int			heavy_limit = Max(limit - 1, 1);
	int			out[2] = {0};	/* [1] = heavy ones */
	int			ahead[2] = {0};

	for (int i = 0; i < JDY_MAX_RUNS; i++)
	{
		RunSlot    *slot = &jdy_shared->runs[i];

		if (slot->state == RUN_WAITING)
			ahead[slot->heavy] += slot->place < place && asked_lately(slot->asked_at);
		else
			out[slot->heavy] += jdy_slot_is_open(slot);
	}
	for (int i = 0; i < JDY_MAX_DATABASES; i++)
		for (int kind = 0; kind < 2; kind++)
		{
			QueueLine  *line = &jdy_shared->lines[i];

			ahead[kind] += line->place[kind] != 0 && line->place[kind] < place && asked_lately(line->asked_at[kind]);
		}

	if (heavy && out[1] + ahead[1] >= heavy_limit)
		return false;
	if (!heavy)
		ahead[1] = Min(ahead[1], Max(heavy_limit - out[1], 0));
	return out[0] + out[1] + ahead[0] + ahead[1] < limit;
}

uint64
jdy_line_ask(Oid database, bool heavy)
{
	QueueLine  *line = find_line(database);

	/* More databases than lines: those behind have no place until one is free. */
	if (line == NULL)
		return PG_UINT64_MAX;
	if (line->place[heavy] == 0 || !asked_lately(line->asked_at[heavy]))
		line->place[heavy] = jdy_line_new_place();
	line->asked_at[heavy] = GetCurrentTimestamp();
	return line->place[heavy];
}

void
jdy_line_served(Oid database, bool heavy)
{
	for (int i = 0; i < JDY_MAX_DATABASES; i++)
		if (jdy_shared->lines[i].database == database)
			jdy_shared->lines[i].place[heavy] = 0;
}

Oid
jdy_line_first(bool heavy)
{
	QueueLine  *first = NULL;

	for (int i = 0; i < JDY_MAX_DATABASES; i++)
	{
		QueueLine  *line = &jdy_shared->lines[i];

		if (line->place[heavy] != 0 && asked_lately(line->asked_at[heavy]) &&
			(first == NULL || line->place[heavy] < first->place[heavy]))
			first = line;
	}
	return first != NULL ? first->database : InvalidOid;
}

/* Whether a place that was asked for at this time still counts. */
static bool
asked_lately(TimestampTz asked_at)
{
	return !TimestampDifferenceExceeds(asked_at, GetCurrentTimestamp(), LIMIT_MS);
}

/* One that does not count any more gives way; NULL = there is none. */
static QueueLine *
find_line(Oid database)
{
	QueueLine  *spare = NULL;

	for (int i = 0; i < JDY_MAX_DATABASES; i++)
	{
		QueueLine  *line = &jdy_shared->lines[i];

		if (line->database == database)
			return line;
		if ((line->place[0] == 0 || !asked_lately(line->asked_at[0])) &&
			(line->place[1] == 0 || !asked_lately(line->asked_at[1])))
			spare = line;
	}
	if (spare != NULL)
	{
		memset(spare, 0, sizeof(QueueLine));
		spare->database = database;
	}
	return spare;
}
