/*-------------------------------------------------------------------------
 * view.h
 *		What one reader sees: current versions, in every order, and what it will see later.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_VIEW_H
#define SIM_VIEW_H

#include "index.h"
#include "version.h"

/* Opaque to all but view.c, data.c and listing.c. */
typedef struct View
{
	Entity		entity;
	Version   **current;		/* by recno; NULL = not seen yet */
	size_t		n_current;
	Index		by_number;
	Index		by_modify;
	Index		by_create;
	uint64_t	generation;		/* grows with every change seen */
	struct Pending *pending;	/* changes not seen yet, a heap by due time */
	size_t		n_pending;
	size_t		cap_pending;
	struct Listing *listings;	/* listing.c's cache */
} View;

/* Makes the indexes of the versions in `current`. */
extern void view_build(View *view);

/* Frees what it holds, but not the versions. */
extern void view_clear(View *view);

/* Shows a version, now or at a time of steady_us(), unless it shows a newer one by then. */
extern void view_show(View *view, Version *v);
extern void view_show_at(View *view, int64_t due_us, Version *v);

/* Shows what is due. */
extern void view_catch_up(View *view);

/* All that it does not show yet is due so much earlier. */
extern void view_age(View *view, int64_t by_us);

/* Finds an existing record in a view, or NULL. */
extern Version *data_by_id(View *view, int64_t id);
extern Version *data_by_number(View *view, const char *number);

#endif
