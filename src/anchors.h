/*-------------------------------------------------------------------------
 * anchors.h
 *		The rows of a list that were read last, by which the next page is known to overlap them.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ANCHORS_H
#define JDY_ANCHORS_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "page.h"
#include "utils/jsonb.h"

#define JDY_ANCHORS 256			/* rows that are remembered */

/* A row that was read: by hashes, 16 bytes. */
typedef struct Anchor
{
	uint64		id;
	uint64		key;			/* sort key */
} Anchor;

/* Zeroed = none. */
typedef struct Anchors
{
	Anchor		ring[JDY_ANCHORS];
	int			n;
	int			head;			/* where the next one goes */
} Anchors;

extern Anchor jdy_anchor_of(const Row *row);
extern bool jdy_anchor_equal(Anchor a, Anchor b);

/* Remembers one more, and forgets the oldest when there are too many. */
extern void jdy_anchors_add(Anchors *anchors, Anchor anchor);
extern void jdy_anchors_clear(Anchors *anchors);

/* The one that was added last, second to last, … (ago 1, 2, …; at most n). */
extern Anchor jdy_anchors_ago(const Anchors *anchors, int ago);

/* The later a row was added, the higher its place; -1 = it is not among those remembered. */
extern int	jdy_anchors_place(const Anchors *anchors, Anchor anchor);

/* Position in the page of its last row that is remembered; -1 = none. */
extern int	jdy_anchors_last_in(const Anchors *anchors, const ListPage *page);

/* The last few as a JSON array, and adds those of such an array, wherever in `state` it stands. */
extern void jdy_anchors_append_json(const Anchors *anchors, StringInfo out);
extern void jdy_anchors_read_json(Anchors *anchors, Jsonb *state);

#endif							/* JDY_ANCHORS_H */
