/*-------------------------------------------------------------------------
 * view.c
 *		What one reader sees: current versions, in every order, and what it will see later.
 *
 * Three indexes hold what lists show, one for each order that a list can have.  What
 * is to be seen later waits in a heap by the time when it is due.
 *
 * Called by data.c, which says who sees what and when; guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "view.h"

#include "buf.h"
#include "config.h"
#include "listing.h"

#include <stdlib.h>
#include <string.h>

typedef struct Pending
{
	int64_t		due_us;
	Version    *version;
} Pending;

static int	compare_number(const void *a, const void *b);
static int	compare_modify(const void *a, const void *b);
static int	compare_create(const void *a, const void *b);
static bool sooner(const Pending *a, const Pending *b);
static Version *pop_pending(View *view);

void
view_build(View *view)
{
	Version   **items = sim_alloc(view->n_current * sizeof(Version *));
	size_t		n = 0;
	size_t		i;

	for (i = 0; i < view->n_current; i++)
		if (view->current[i] != NULL && version_is_listed(view->current[i]))
			items[n++] = view->current[i];
	qsort(items, n, sizeof(items[0]), compare_number);
	index_build(&view->by_number, order_number, items, n);
	qsort(items, n, sizeof(items[0]), compare_modify);
	index_build(&view->by_modify, order_modify, items, n);
	qsort(items, n, sizeof(items[0]), compare_create);
	index_build(&view->by_create, order_create, items, n);
	free(items);
}

void
view_clear(View *view)
{
	free(view->current);
	index_free(&view->by_number);
	index_free(&view->by_modify);
	index_free(&view->by_create);
	free(view->pending);
	listing_forget(view);
	memset(view, 0, sizeof(*view));
}

void
view_show(View *view, Version *v)
{
	Version    *old;

	if (v->recno >= view->n_current)
	{
		size_t		want = view->n_current ? view->n_current : 64;

		while (want <= v->recno)
			want *= 2;
		view->current = sim_realloc(view->current, want * sizeof(Version *));
		memset(view->current + view->n_current, 0,
			   (want - view->n_current) * sizeof(Version *));
		view->n_current = want;
	}
	old = view->current[v->recno];
	if (old != NULL && old->seq >= v->seq)
		return;
	if (old != NULL && version_is_listed(old))
	{
		index_remove(&view->by_number, old);
		index_remove(&view->by_modify, old);
		index_remove(&view->by_create, old);
	}
	view->current[v->recno] = v;
	if (version_is_listed(v))
	{
		index_insert(&view->by_number, v);
		index_insert(&view->by_modify, v);
		index_insert(&view->by_create, v);
	}
	view->generation++;
}

void
view_show_at(View *view, int64_t due_us, Version *v)
{
	size_t		i;

	if (view->n_pending == view->cap_pending)
	{
		view->cap_pending = view->cap_pending ? view->cap_pending * 2 : 64;
		view->pending = sim_realloc(view->pending,
									view->cap_pending * sizeof(Pending));
	}
	i = view->n_pending++;
	view->pending[i] = (Pending) {due_us, v};
	while (i > 0 && sooner(&view->pending[i], &view->pending[(i - 1) / 2]))
	{
		Pending		swap = view->pending[i];

		view->pending[i] = view->pending[(i - 1) / 2];
		view->pending[(i - 1) / 2] = swap;
		i = (i - 1) / 2;
	}
}

void
view_catch_up(View *view)
{
	int64_t		now = steady_us();

	while (view->n_pending > 0 && view->pending[0].due_us <= now)
		view_show(view, pop_pending(view));
}

/* Equal shifts keep the heap in order. */
void
view_age(View *view, int64_t by_us)
{
	size_t		i;

	for (i = 0; i < view->n_pending; i++)
		view->pending[i].due_us -= by_us;
}

Version *
data_by_id(View *view, int64_t id)
{
	size_t		recno = version_recno(view->entity, id);
	Version    *v;

	if (recno >= view->n_current)
		return NULL;
	v = view->current[recno];
	return v != NULL && !v->deleted && data_id(v) == id ? v : NULL;
}

Version *
data_by_number(View *view, const char *number)
{
	Version		probe = {0};
	Version    *v;
	size_t		rank;

	if (strlen(number) >= NUMBER_MAX)
		return NULL;
	strcpy(probe.number, number);
	rank = index_rank(&view->by_number, &probe);
	if (rank == view->by_number.n)
		return NULL;
	v = index_at(&view->by_number, rank);
	return strcmp(v->number, number) == 0 ? v : NULL;
}

static int
compare_number(const void *a, const void *b)
{
	return order_number(*(Version *const *) a, *(Version *const *) b);
}

static int
compare_modify(const void *a, const void *b)
{
	return order_modify(*(Version *const *) a, *(Version *const *) b);
}

static int
compare_create(const void *a, const void *b)
{
	return order_create(*(Version *const *) a, *(Version *const *) b);
}

/* Whether pending a comes due before b; equal times keep the order of changes. */
static bool
sooner(const Pending *a, const Pending *b)
{
	if (a->due_us != b->due_us)
		return a->due_us < b->due_us;
	return a->version->seq < b->version->seq;
}

static Version *
pop_pending(View *view)
{
	Version    *top = view->pending[0].version;
	size_t		i = 0;

	view->pending[0] = view->pending[--view->n_pending];
	for (;;)
	{
		size_t		least = i;
		size_t		child;
		Pending		swap;

		for (child = 2 * i + 1; child <= 2 * i + 2; child++)
			if (child < view->n_pending &&
				sooner(&view->pending[child], &view->pending[least]))
				least = child;
		if (least == i)
			return top;
		swap = view->pending[i];
		view->pending[i] = view->pending[least];
		view->pending[least] = swap;
		i = least;
	}
}
