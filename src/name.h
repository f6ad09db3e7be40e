/*-------------------------------------------------------------------------
 * name.h
 *		What a stream may be called, and what somebody may have meant.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_NAME_H
#define JDY_NAME_H

#include "postgres.h"

/*
 * Raises an error unless `name` has 1 to 50 bytes, all of them letters of any
 * script, digits or _, and the views that are to be called after it are not
 * taken.  In a transaction.
 */
extern void jdy_name_check(const char *name);

/* The search for the name that somebody meant: for a HINT. */
typedef struct Closest
{
	const char *word;			/* what he wrote */
	const char *best;			/* NULL = nothing is near */
	int			distance;
} Closest;

/* Takes `candidate` (kept, not copied) for the best when it is nearer to the word than those before. */
extern void jdy_closest(Closest *closest, const char *candidate);

#endif							/* JDY_NAME_H */
