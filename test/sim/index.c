/*-------------------------------------------------------------------------
 * index.c
 *		An ordered set of record versions that knows positions.
 *
 * A sorted list of blocks of up to 512 pointers: page N is found by a binary
 * search over the blocks' starts, a change moves at most one block and marks
 * the starts behind it stale.  With a million records that is about 2,600
 * blocks, so even the worst change costs microseconds, and the whole index
 * costs about ten bytes a record.
 *-------------------------------------------------------------------------
 */
#include "index.h"

#include "buf.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_FILL 384			/* room for inserts after a bulk load */

/* Opens a gap for a new block at place i. */
static Block *
add_block(Index *index, size_t i)
{
	Block	   *block = sim_alloc(sizeof(Block));

	if (index->n_blocks == index->cap_blocks)
	{
		index->cap_blocks = index->cap_blocks ? index->cap_blocks * 2 : 16;
		index->blocks = sim_realloc(index->blocks,
									index->cap_blocks * sizeof(Block *));
		index->start = sim_realloc(index->start,
								   index->cap_blocks * sizeof(size_t));
	}
	memmove(index->blocks + i + 1, index->blocks + i,
			(index->n_blocks - i) * sizeof(Block *));
	index->blocks[i] = block;
	index->n_blocks++;
	if (index->n_clean > i)
		index->n_clean = i;
	return block;
}

void
index_build(Index *index, Order order, struct Version **items, size_t n)
{
	size_t		done = 0;

	memset(index, 0, sizeof(*index));
	index->order = order;
	while (done < n)
	{
		Block	   *block = add_block(index, index->n_blocks);

		block->n = n - done < BLOCK_FILL ? n - done : BLOCK_FILL;
		memcpy(block->items, items + done, block->n * sizeof(items[0]));
		done += block->n;
	}
	index->n = n;
}

/* Brings start[] up to date. */
static void
clean(Index *index)
{
	size_t		i = index->n_clean;

	for (; i < index->n_blocks; i++)
		index->start[i] = i == 0 ? 0 :
			index->start[i - 1] + index->blocks[i - 1]->n;
	index->n_clean = index->n_blocks;
}

/* First block whose last item does not come before the probe. */
static size_t
block_of(const Index *index, const struct Version *probe)
{
	size_t		lo = 0;
	size_t		hi = index->n_blocks;

	while (lo < hi)
	{
		size_t		mid = (lo + hi) / 2;
		const Block *block = index->blocks[mid];

		if (index->order(block->items[block->n - 1], probe) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* First place in a block whose item does not come before the probe. */
static size_t
place_in(const Index *index, const Block *block, const struct Version *probe)
{
	size_t		lo = 0;
	size_t		hi = block->n;

	while (lo < hi)
	{
		size_t		mid = (lo + hi) / 2;

		if (index->order(block->items[mid], probe) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void
split(Index *index, size_t i)
{
	Block	   *right = add_block(index, i + 1);
	Block	   *left = index->blocks[i];

	right->n = left->n / 2;
	left->n -= right->n;
	memcpy(right->items, left->items + left->n,
		   right->n * sizeof(left->items[0]));
}

void
index_insert(Index *index, struct Version *item)
{
	size_t		i;
	size_t		place;
	Block	   *block;

	if (index->n_blocks == 0)
		add_block(index, 0)->n = 0;
	i = index->n == 0 ? 0 : block_of(index, item);
	if (i == index->n_blocks)
		i--;
	if (index->blocks[i]->n == BLOCK_MAX)
	{
		split(index, i);
		block = index->blocks[i];
		if (index->order(block->items[block->n - 1], item) < 0)
			i++;
	}
	block = index->blocks[i];
	place = place_in(index, block, item);
	memmove(block->items + place + 1, block->items + place,
			(block->n - place) * sizeof(block->items[0]));
	block->items[place] = item;
	block->n++;
	index->n++;
	if (index->n_clean > i + 1)
		index->n_clean = i + 1;
}

void
index_remove(Index *index, const struct Version *item)
{
	size_t		i = block_of(index, item);
	Block	   *block = index->blocks[i];
	size_t		place = place_in(index, block, item);

	block->n--;
	index->n--;
	memmove(block->items + place, block->items + place + 1,
			(block->n - place) * sizeof(block->items[0]));
	if (index->n_clean > i + 1)
		index->n_clean = i + 1;
	if (block->n > 0)
		return;
	free(block);
	index->n_blocks--;
	memmove(index->blocks + i, index->blocks + i + 1,
			(index->n_blocks - i) * sizeof(Block *));
	if (index->n_clean > i)
		index->n_clean = i;
}

struct Version *
index_at(Index *index, size_t position)
{
	size_t		lo = 0;
	size_t		hi;

	clean(index);
	hi = index->n_blocks;
	while (hi - lo > 1)
	{
		size_t		mid = (lo + hi) / 2;

		if (index->start[mid] <= position)
			lo = mid;
		else
			hi = mid;
	}
	return index->blocks[lo]->items[position - index->start[lo]];
}

size_t
index_rank(Index *index, const struct Version *probe)
{
	size_t		i;

	clean(index);
	i = block_of(index, probe);
	if (i == index->n_blocks)
		return index->n;
	return index->start[i] + place_in(index, index->blocks[i], probe);
}

void
index_free(Index *index)
{
	size_t		i;

	for (i = 0; i < index->n_blocks; i++)
		free(index->blocks[i]);
	free(index->blocks);
	free(index->start);
	memset(index, 0, sizeof(*index));
}
