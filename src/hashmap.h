/*-------------------------------------------------------------------------
 * hashmap.h
 *		A map from 64-bit hashes to 64-bit values, or a set of hashes, of bounded size.
 *
 * A member of a full set takes 11 bytes, of one that has just grown 21; of a map twice as much.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_HASHMAP_H
#define JDY_HASHMAP_H

#include "postgres.h"

typedef struct HashMap HashMap;

/* with_values false: a set.  It is full at `most` members. */
extern HashMap *jdy_hashmap_create(MemoryContext context, bool with_values, uint32 most);

/* Sets: false when it is there already.  Not to be called when the set is full. */
extern bool jdy_hashmap_add(HashMap *set, uint64 hash);

extern bool jdy_hashmap_has(const HashMap *map, uint64 hash);

/* Maps: takes the place of the value that is there.  false: it is not there and the map is full. */
extern bool jdy_hashmap_put(HashMap *map, uint64 hash, uint64 value);

/* Maps: false when it is not there. */
extern bool jdy_hashmap_get(const HashMap *map, uint64 hash, uint64 *value);

extern bool jdy_hashmap_is_full(const HashMap *map);

#endif							/* JDY_HASHMAP_H */
