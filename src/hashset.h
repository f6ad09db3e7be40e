/*-------------------------------------------------------------------------
 * hashset.h
 *		A set of 64-bit hashes, of bounded size.
 *
 * Eight bytes a member at best, sixteen on average: a million ids take 16 MB.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_HASHSET_H
#define JDY_HASHSET_H

#include "postgres.h"

typedef struct HashSet HashSet;

extern HashSet *jdy_hashset_create(MemoryContext context);

/* false when it is there already.  Not to be called when the set is full. */
extern bool jdy_hashset_add(HashSet *set, uint64 hash);

extern bool jdy_hashset_has(const HashSet *set, uint64 hash);

/* At 32 MB, three million members. */
extern bool jdy_hashset_is_full(const HashSet *set);

#endif							/* JDY_HASHSET_H */
