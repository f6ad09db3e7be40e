/*-------------------------------------------------------------------------
 * listing.h
 *		The ordered rows a list request is about, before it is cut in pages.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_LISTING_H
#define SIM_LISTING_H

#include "data.h"

typedef enum ListOrder
{
	BY_NUMBER,
	BY_NUMBER_DESC,
	BY_NAME,
	BY_NAME_DESC,
	BY_CREATE_DESC				/* documents: newest first */
} ListOrder;

/*
 * What is asked for.  Both bounds of a time belong to it; an open one is
 * INT64_MIN or INT64_MAX.  Zero every byte first: filters are compared as
 * memory.
 */
typedef struct Filter
{
	int64_t		modify_from;
	int64_t		modify_to;
	int64_t		create_from;
	int64_t		create_to;
	int32_t		order;
	int32_t		enable;			/* 1, 0, or -1 for any */
	uint64_t	groups;			/* bit per group; 0 = any */
	char		search[120];	/* part of the name */
	char		number[NUMBER_MAX];	/* the whole number */
} Filter;

typedef struct Listing
{
	Filter		filter;
	uint64_t	generation;		/* of the view when it was made */
	uint64_t	used;			/* 0 = free place of the cache */
	Version   **rows;			/* NULL: the whole of index */
	Index	   *index;
	size_t		n;
	bool		backwards;
} Listing;

/* The listing as the view shows it; good until the view changes. */
extern const Listing *listing_get(View *view, const Filter *filter);
extern Version *listing_at(const Listing *listing, size_t position);

/* Its number of rows, cheaper than the listing where an index can tell. */
extern size_t listing_count(View *view, const Filter *filter);

/* Frees what listing_get() keeps in the view. */
extern void listing_forget(View *view);

#endif
