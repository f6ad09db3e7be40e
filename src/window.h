/*-------------------------------------------------------------------------
 * window.h
 *		Windows of modify time, read completely.
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
	int64		expected;		/* rows that should be in it, beside those whose time is known; 0 = none */

	/* Lands the rows of an answer, in its transaction, in place of jdy_pull_land; NULL = nobody does. */
	void		(*land) (void *arg, const struct Window *window, Row **rows, int nrows);
	void	   *land_arg;
} Window;

/* Reads windows (Window *) in parallel, splitting what one answer cannot, or should not be able to hold (stamps.h), and lands them. */
extern void jdy_windows_read(Pull *pull, List *windows);

/* No stamp is older (1970-01-02): a window from here on counts as one since ever. */
#define JDY_FIRST_TICK ((UNIX_EPOCH_JDATE + 1 - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* A span that is not to be proven, in the lane of tails (pull.c). */
extern Window *jdy_pull_window(Pull *pull, SightingKind kind, TimestampTz from, TimestampTz to);

/* Modify times count in whole seconds, as details show them; dates do in days. */
extern int64 jdy_tick_us(const Pull *pull);

/* What windows in milliseconds are split down to where stamps were seen to be finer than a second. */
#define JDY_FINEST_US INT64CONST(1000)

/* The start of the tick that `at` lies in: a whole second, or midnight in the server's time zone. */
extern TimestampTz jdy_tick_floor(const Pull *pull, TimestampTz at);

#endif							/* JDY_WINDOW_H */
