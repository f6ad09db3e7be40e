/*-------------------------------------------------------------------------
 * window.h
 *		Windows of modify time: read completely, and the ledger that says so.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_WINDOW_H
#define JDY_WINDOW_H

#include "postgres.h"

#include "pull.h"

/* A span to be read. */
typedef struct Window
{
	TimestampTz from;			/* whole ticks, half-open */
	TimestampTz to;
	Sighting	sighting;		/* from, to are filled in per window read */
	bool		prove;			/* settled: enters the ledger */
	Lane		lane;

	/* Lands the rows of an answer, in its transaction, in place of jdy_pull_land; NULL = nobody does. */
	void		(*land) (void *arg, const struct Window *window, Row **rows, int nrows);
	void	   *land_arg;
} Window;

/* What a ledger row says besides its span. */
typedef struct Proof
{
	const char *rule;
	int			calls;
	int64		rows;
	int64		count;			/* -1 = the service gives none */
} Proof;

/* Reads windows (Window *) in parallel, splitting what one answer cannot hold, and lands them. */
extern void jdy_windows_read(Pull *pull, List *windows);

/* The incident of a count that stays wrong. */
#define JDY_COUNT_NOT_TRUSTED "count not trusted"

/* No stamp is older (1970-01-02): a window from here on counts as one since ever. */
#define JDY_FIRST_TICK ((UNIX_EPOCH_JDATE + 1 - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* Modify times count in whole seconds, as details show them; dates do in days. */
extern int64 jdy_tick_us(const Pull *pull);

/* What windows in milliseconds are split down to where stamps were seen to be finer than a second. */
#define JDY_FINEST_US INT64CONST(1000)

/* The start of the tick that `at` lies in: a whole second, or midnight in the server's time zone. */
extern TimestampTz jdy_tick_floor(const Pull *pull, TimestampTz at);

/* Enters [from, to) into the ledger (DT_NOBEGIN = since ever) and moves the watermark; in a transaction. */
extern void jdy_ledger_prove(Pull *pull, TimestampTz from, TimestampTz to, const Proof *proof);

/*
 * What was proven up to later than `until` is not: it leaves ledger and coverage, and the cursor goes back to
 * the end of what is left (DT_NOBEGIN = nothing is).  In a transaction.
 */
extern void jdy_ledger_take_back(Pull *pull, TimestampTz until);

/* The same, but windows that reach beyond `until` count up to there, and stay in the ledger as they were. */
extern void jdy_ledger_cut(Pull *pull, TimestampTz until);

/* The next windows begin at `until`, although not all before it is proven: the ledger keeps the gap.  In a transaction. */
extern void jdy_ledger_skip(Pull *pull, TimestampTz until);

#endif							/* JDY_WINDOW_H */
