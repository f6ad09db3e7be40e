/*-------------------------------------------------------------------------
 * hashmap.c
 *		A map from 64-bit hashes to 64-bit values, or a set of hashes, of bounded size.
 *
 * For questions of the kind "was this one there before?" about millions of records:
 * a no is certain, a yes is as certain as 64 bits are.  PostgreSQL's own hash
 * tables need three times the memory for it.
 *
 * Open addressing with linear probing; 0 marks a free slot, so hash 0 is kept as 1.
 * Called by source.c and standing.c; pushscan.c and preview.c make the set of what a source has.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hashmap.h"
#include "utils/memutils.h"

#define FIRST_SLOTS 1024

struct HashMap
{
	MemoryContext context;
	uint64	   *slots;
	uint64	   *values;			/* NULL = a set */
	uint32		size;			/* a power of two */
	uint32		count;
	uint32		most;
};

static uint32 find(const HashMap *map, uint64 hash);
static void insert(HashMap *map, uint64 hash, uint64 value);
static uint64 *make_slots(HashMap *map);
static void grow(HashMap *map);

HashMap *
jdy_hashmap_create(MemoryContext context, bool with_values, uint32 most)
{
	HashMap    *map = MemoryContextAllocZero(context, sizeof(HashMap));

	map->context = context;
	map->size = FIRST_SLOTS;
	map->most = most;
	map->slots = make_slots(map);
	if (with_values)
		map->values = make_slots(map);
	return map;
}

bool
jdy_hashmap_add(HashMap *set, uint64 hash)
{
	Assert(set->values == NULL && !jdy_hashmap_is_full(set));
	if (set->slots[find(set, hash)] != 0)
		return false;
	insert(set, hash, 0);
	return true;
}

bool
jdy_hashmap_has(const HashMap *map, uint64 hash)
{
	return map->slots[find(map, hash)] != 0;
}

bool
jdy_hashmap_put(HashMap *map, uint64 hash, uint64 value)
{
	uint32		place = find(map, hash);

	if (map->slots[place] != 0)
		map->values[place] = value;
	else if (jdy_hashmap_is_full(map))
		return false;
	else
		insert(map, hash, value);
	return true;
}

bool
jdy_hashmap_get(const HashMap *map, uint64 hash, uint64 *value)
{
	uint32		place = find(map, hash);

	if (map->slots[place] == 0)
		return false;
	*value = map->values[place];
	return true;
}

bool
jdy_hashmap_is_full(const HashMap *map)
{
	return map->count >= map->most;
}

/* Where the hash is, or the free slot where it belongs. */
static uint32
find(const HashMap *map, uint64 hash)
{
	uint32		place;

	hash = Max(hash, 1);
	place = hash & (map->size - 1);
	while (map->slots[place] != 0 && map->slots[place] != hash)
		place = (place + 1) & (map->size - 1);
	return place;
}

static void
insert(HashMap *map, uint64 hash, uint64 value)
{
	uint32		place;

	if (map->count >= map->size / 4 * 3)
		grow(map);
	place = find(map, hash);
	map->slots[place] = Max(hash, 1);
	if (map->values != NULL)
		map->values[place] = value;
	map->count++;
}

static uint64 *
make_slots(HashMap *map)
{
	return MemoryContextAllocExtended(map->context, sizeof(uint64) * map->size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static void
grow(HashMap *map)
{
	HashMap		old = *map;

	map->size *= 2;
	map->slots = make_slots(map);
	if (map->values != NULL)
		map->values = make_slots(map);
	for (uint32 i = 0; i < old.size; i++)
	{
		uint32		place;

		if (old.slots[i] == 0)
			continue;
		place = find(map, old.slots[i]);
		map->slots[place] = old.slots[i];
		if (map->values != NULL)
			map->values[place] = old.values[i];
	}
	pfree(old.slots);
	if (old.values != NULL)
		pfree(old.values);
}
