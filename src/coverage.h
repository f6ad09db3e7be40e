/*-------------------------------------------------------------------------
 * coverage.h
 *		What is proven of a stream: the ledger's entries, and the coverage and watermark that follow from them.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_COVERAGE_H
#define JDY_COVERAGE_H

#include "postgres.h"

#include "pull.h"

/* What a ledger row says besides its span. */
typedef struct Proof
{
	const char *rule;
	int			calls;
	int64		rows;
	int64		count;			/* -1 = the service gives none */
} Proof;

/* The incident of a count that stays wrong. */
#define JDY_COUNT_NOT_TRUSTED "count not trusted"

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

#endif							/* JDY_COVERAGE_H */
