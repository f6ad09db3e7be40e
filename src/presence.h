/*-------------------------------------------------------------------------
 * presence.h
 *		When each id of a list was shown, in 16 bytes an id.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PRESENCE_H
#define JDY_PRESENCE_H

#include "postgres.h"

/* The id itself is a hash of 121 bits: that two ids have it in common will not happen. */
typedef struct Presence
{
	uint64		a;
	uint64		b:57;
	uint64		first:2;		/* pass; 0 = before the run */
	uint64		last:2;
	uint64		certified:1;	/* the last certificate names it */
	uint64		entered:1;		/* among those that are written down */
} Presence;

#define JDY_MAX_PASSES 3		/* what first and last can hold */

typedef struct Presences Presences;

/* An empty set in `context`, with room for `known` ids that were shown before the run. */
extern Presences *jdy_presences_create(MemoryContext context, int64 known);

/* One of those; an id may come more than once. */
extern void jdy_presences_know(Presences *set, const char *id, bool certified);

/* After the last of those and before anything else: returns how many they are. */
extern int64 jdy_presences_sort(Presences *set);

/* NULL = it is not there.  Good until another is added. */
extern Presence *jdy_presences_find(const Presences *set, const char *id);

/* One that is not there, shown first by `pass`. */
extern void jdy_presences_add(Presences *set, const char *id, int pass);

/* Each of them, in any order; begins with *place = 0, ends with NULL. */
extern const Presence *jdy_presences_next(const Presences *set, int64 *place);

#endif							/* JDY_PRESENCE_H */
