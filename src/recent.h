/*-------------------------------------------------------------------------
 * recent.h
 *		What was modified since the watermark, listed.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RECENT_H
#define JDY_RECENT_H

#include "postgres.h"

#include "pull.h"

/*
 * Lists it, landing rows and proving what is settled.  false: windows say nothing of it, since the time filter has no effect any
 * more, or nothing that they proved is left: the whole list must be read.
 */
extern bool jdy_recent_list(Pull *pull);

/* What windows listed that end before this is noted no more, once the run is over (jdy_queue_prune). */
extern TimestampTz jdy_recent_noted_since(const Pull *pull);

#endif							/* JDY_RECENT_H */
