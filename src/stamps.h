/*-------------------------------------------------------------------------
 * stamps.h
 *		Modify times that are known here, and where to cut a window by them.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STAMPS_H
#define JDY_STAMPS_H

#include "postgres.h"

#include "pull.h"

/* Reads into pull->stamps when records that recent windows listed were modified, as their details state it. */
extern void jdy_stamps_read(Pull *pull);

/* From here on none are known. */
extern void jdy_stamps_forget(Pull *pull);

/*
 * Cuts [from, to), at multiples of `tick_us` behind its start, into parts that should fit in an answer each when it is
 * asked a tick wider.  `expected` rows are in it; those whose time is not known are taken for spread evenly.  Returns how many
 * parts there are, and their ends in *ends (palloc'ed).  More than one whenever `expected` rows do not fit and there are two ticks.
 */
extern int	jdy_stamps_cut(const Pull *pull, TimestampTz from, TimestampTz to, int64 tick_us, int64 expected,
						   TimestampTz **ends);

#endif							/* JDY_STAMPS_H */
