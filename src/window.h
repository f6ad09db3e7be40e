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

/* Whole ticks. */
extern TimestampTz jdy_tick_floor(TimestampTz at);

/* Enters [from, to) into the ledger (from 0 = since ever) and moves the watermark; in a transaction. */
extern void jdy_ledger_prove(Pull *pull, TimestampTz from, TimestampTz to, const Proof *proof);

#endif							/* JDY_WINDOW_H */
