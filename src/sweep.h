/*-------------------------------------------------------------------------
 * sweep.h
 *		What staging has and a whole read of the source did not show.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SWEEP_H
#define JDY_SWEEP_H

#include "postgres.h"

#include "pull.h"

/*
 * Before the rows whose ids begin with `prefix` ("" = all) are read whole, and before each
 * further scan of them: from here on what lands is noted.
 */
extern void jdy_sweep_begin(Pull *pull, const char *prefix);

/* A row of an answer, once it has landed: known_there, staging had it before as one that is there. */
extern void jdy_sweep_note(Pull *pull, const char *id, bool known_there);

/* A row that was set aside: what is not shown is not known. */
extern void jdy_sweep_spoil(Pull *pull);

/*
 * The scan is over (pull->counted and one_answer say how): whether it is proven to have
 * shown all that is there.  Then what it did not show is kept for the judgement.  *news: how many of
 * its rows staging had not.  Not in a transaction.
 */
extern bool jdy_sweep_end(Pull *pull, int64 *news);

/* What the proven scans of this run did not show is absent (absent.c).  Not in a transaction. */
extern void jdy_sweep_judge(Pull *pull);

#endif							/* JDY_SWEEP_H */
