/*-------------------------------------------------------------------------
 * listing.c
 *		The ordered rows a list request is about, before it is cut in pages.
 *
 * A list without filter is an index read by position.  A time window is cut
 * out of the index of that time and sorted once; the result is kept until the
 * view changes, so the pages of one window cost one sort together.  A window
 * that holds most of the records is filtered along the order instead.
 *-------------------------------------------------------------------------
 */
#include "listing.h"

#include "buf.h"
#include "shape.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_LISTINGS 8

static uint64_t use_counter;

static bool
same_filter(const Filter *a, const Filter *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Rows of an index of times that lie in [from, to], as positions. */
static void
time_range(Index *index, int64_t from, int64_t to,
		   size_t *first, size_t *end)
{
	Version		probe = {0};

	*first = 0;
	*end = index->n;
	if (from != INT64_MIN)
	{
		probe.modify_ms = probe.create_ms = from;
		*first = index_rank(index, &probe);
	}
	if (to != INT64_MAX)
	{
		probe.modify_ms = probe.create_ms = to;
		probe.recno = UINT32_MAX;
		*end = index_rank(index, &probe);
	}
	if (*end < *first)
		*end = *first;
}

static bool
only_times(const Filter *f)
{
	return f->enable == -1 && f->groups == 0 &&
		f->search[0] == '\0' && f->number[0] == '\0';
}

static bool
matches(const Version *v, const Filter *f)
{
	if (v->modify_ms < f->modify_from || v->modify_ms > f->modify_to ||
		v->create_ms < f->create_from || v->create_ms > f->create_to)
		return false;
	if (f->enable != -1 && v->enabled != f->enable)
		return false;
	if (f->number[0] != '\0' && strcmp(f->number, v->number) != 0)
		return false;
	if (f->groups != 0 && (f->groups >> shape_group(v) & 1) == 0)
		return false;
	if (f->search[0] != '\0')
	{
		Buf			name = {0};
		bool		found;

		shape_name(&name, v);
		found = strstr(name.data, f->search) != NULL;
		buf_free(&name);
		return found;
	}
	return true;
}

static int
compare_number(const void *a, const void *b)
{
	return order_number(*(Version *const *) a, *(Version *const *) b);
}

static int
compare_create(const void *a, const void *b)
{
	return order_create(*(Version *const *) a, *(Version *const *) b);
}

typedef struct Named
{
	char	   *name;
	Version    *v;
} Named;

static int
compare_name(const void *a, const void *b)
{
	int			c = strcmp(((const Named *) a)->name, ((const Named *) b)->name);

	return c != 0 ? c : order_number(((const Named *) a)->v, ((const Named *) b)->v);
}

static void
sort_by_name(Version **rows, size_t n)
{
	Named	   *named = sim_alloc(n * sizeof(Named));
	size_t		i;

	for (i = 0; i < n; i++)
	{
		Buf			name = {0};

		shape_name(&name, rows[i]);
		named[i] = (Named) {name.data, rows[i]};
	}
	qsort(named, n, sizeof(Named), compare_name);
	for (i = 0; i < n; i++)
	{
		rows[i] = named[i].v;
		free(named[i].name);
	}
	free(named);
}

static bool
is_backwards(int32_t order)
{
	return order == BY_NUMBER_DESC || order == BY_NAME_DESC ||
		order == BY_CREATE_DESC;
}

/* The index that already has the wanted order, or NULL. */
static Index *
index_of_order(View *view, int32_t order)
{
	if (order == BY_NUMBER || order == BY_NUMBER_DESC)
		return &view->by_number;
	if (order == BY_CREATE_DESC)
		return &view->by_create;
	return NULL;
}

/* Takes the matching rows from a stretch of an index. */
static void
collect(Listing *l, Index *from, size_t first, size_t end)
{
	size_t		i;

	l->rows = sim_alloc((end - first) * sizeof(Version *));
	for (i = first; i < end; i++)
	{
		Version    *v = index_at(from, i);

		if (matches(v, &l->filter))
			l->rows[l->n++] = v;
	}
}

/* Fills l from the cheapest index; see the top of the file. */
static void
make_listing(View *view, Listing *l)
{
	const Filter *f = &l->filter;
	Index	   *ordered = index_of_order(view, f->order);
	Index	   *from = &view->by_modify;
	size_t		first;
	size_t		end;
	size_t		create_first;
	size_t		create_end;

	l->n = 0;
	l->rows = NULL;
	l->index = NULL;
	l->backwards = is_backwards(f->order);
	time_range(&view->by_modify, f->modify_from, f->modify_to,
			   &first, &end);
	time_range(&view->by_create, f->create_from, f->create_to,
			   &create_first, &create_end);
	if (only_times(f) && ordered != NULL && end - first == ordered->n &&
		create_end - create_first == ordered->n)
	{
		l->index = ordered;
		l->n = ordered->n;
		return;
	}
	if (create_end - create_first < end - first)
	{
		from = &view->by_create;
		first = create_first;
		end = create_end;
	}
	if (ordered != NULL && (end - first) * 8 > ordered->n)
	{
		collect(l, ordered, 0, ordered->n);
		return;
	}
	collect(l, from, first, end);
	if (ordered == NULL)
		sort_by_name(l->rows, l->n);
	else
		qsort(l->rows, l->n, sizeof(Version *),
			  ordered == &view->by_create ? compare_create : compare_number);
}

const Listing *
listing_get(View *view, const Filter *filter)
{
	Listing    *oldest = NULL;
	int			i;

	if (view->listings == NULL)
		view->listings = sim_alloc(KEPT_LISTINGS * sizeof(Listing));
	for (i = 0; i < KEPT_LISTINGS; i++)
	{
		Listing    *l = &view->listings[i];

		if (l->used > 0 && l->generation == view->generation &&
			same_filter(&l->filter, filter))
		{
			l->used = ++use_counter;
			return l;
		}
		if (oldest == NULL || l->used < oldest->used)
			oldest = l;
	}
	free(oldest->rows);
	oldest->filter = *filter;
	oldest->generation = view->generation;
	oldest->used = ++use_counter;
	make_listing(view, oldest);
	return oldest;
}

Version *
listing_at(const Listing *l, size_t position)
{
	if (l->backwards)
		position = l->n - 1 - position;
	return l->rows ? l->rows[position] : index_at(l->index, position);
}

size_t
listing_count(View *view, const Filter *f)
{
	bool		any_modify = f->modify_from == INT64_MIN && f->modify_to == INT64_MAX;
	bool		any_create = f->create_from == INT64_MIN && f->create_to == INT64_MAX;
	size_t		first;
	size_t		end;

	if (!only_times(f) || (!any_modify && !any_create))
		return listing_get(view, f)->n;
	if (any_modify)
		time_range(&view->by_create, f->create_from, f->create_to,
				   &first, &end);
	else
		time_range(&view->by_modify, f->modify_from, f->modify_to,
				   &first, &end);
	return end - first;
}

void
listing_forget(View *view)
{
	int			i;

	for (i = 0; view->listings != NULL && i < KEPT_LISTINGS; i++)
		free(view->listings[i].rows);
	free(view->listings);
	view->listings = NULL;
}
