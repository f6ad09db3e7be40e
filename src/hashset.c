/*-------------------------------------------------------------------------
 * hashset.c
 *		A set of 64-bit hashes, of bounded size.
 *
 * For questions of the kind "was this one there before?" about millions of records:
 * a no is certain, a yes is as certain as 64 bits are.  PostgreSQL's own hash
 * tables need three times the memory for it.
 *
 * Open addressing with linear probing; 0 marks a free slot, so hash 0 is kept as 1.
 * Called by source.c and delivery.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hashset.h"
#include "utils/memutils.h"

#define FIRST_SLOTS 1024
#define MOST_SLOTS (4 * 1024 * 1024)

struct HashSet
{
	MemoryContext context;
	uint64	   *slots;
	uint32		size;			/* a power of two */
	uint32		count;
};

static uint64 *find(const HashSet *set, uint64 hash);
static void grow(HashSet *set);

HashSet *
jdy_hashset_create(MemoryContext context)
{
	HashSet    *set = MemoryContextAllocZero(context, sizeof(HashSet));

	set->context = context;
	set->size = FIRST_SLOTS;
	set->slots = MemoryContextAllocZero(context, sizeof(uint64) * set->size);
	return set;
}

bool
jdy_hashset_add(HashSet *set, uint64 hash)
{
	uint64	   *slot;

	Assert(!jdy_hashset_is_full(set));
	if (set->count >= set->size / 4 * 3)
		grow(set);
	slot = find(set, Max(hash, 1));
	if (*slot != 0)
		return false;
	*slot = Max(hash, 1);
	set->count++;
	return true;
}

bool
jdy_hashset_has(const HashSet *set, uint64 hash)
{
	return *find(set, Max(hash, 1)) != 0;
}

bool
jdy_hashset_is_full(const HashSet *set)
{
	return set->count >= MOST_SLOTS / 4 * 3;
}

/* Where the hash is, or the free slot where it belongs. */
static uint64 *
find(const HashSet *set, uint64 hash)
{
	uint32		place = hash & (set->size - 1);

	while (set->slots[place] != 0 && set->slots[place] != hash)
		place = (place + 1) & (set->size - 1);
	return &set->slots[place];
}

static void
grow(HashSet *set)
{
	uint64	   *old = set->slots;
	uint32		old_size = set->size;

	set->size *= 2;
	set->slots = MemoryContextAllocZero(set->context, sizeof(uint64) * set->size);
	for (uint32 i = 0; i < old_size; i++)
		if (old[i] != 0)
			*find(set, old[i]) = old[i];
	pfree(old);
}
