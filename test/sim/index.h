/*-------------------------------------------------------------------------
 * index.h
 *		An ordered set of record versions that knows positions.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_INDEX_H
#define SIM_INDEX_H

#include <stddef.h>

struct Version;

/* A total order: no two different records may compare equal. */
typedef int (*Order) (const struct Version *a, const struct Version *b);

#define BLOCK_MAX 512

typedef struct Block
{
	size_t		n;
	struct Version *items[BLOCK_MAX];
} Block;

typedef struct Index
{
	Order		order;
	Block	  **blocks;			/* never empty ones */
	size_t	   *start;			/* position of each block's first item */
	size_t		n_blocks;
	size_t		cap_blocks;
	size_t		n_clean;		/* start[] is right for blocks below this */
	size_t		n;				/* items in all */
} Index;

/* Fills an empty index from items already in order. */
extern void index_build(Index *index, Order order,
						struct Version **items, size_t n);
extern void index_insert(Index *index, struct Version *item);

/* Removes an item that is there. */
extern void index_remove(Index *index, const struct Version *item);

/* The item at a position from 0 to n - 1. */
extern struct Version *index_at(Index *index, size_t position);

/* How many items come before the probe. */
extern size_t index_rank(Index *index, const struct Version *probe);

extern void index_free(Index *index);

#endif
