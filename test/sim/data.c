/*-------------------------------------------------------------------------
 * data.c
 *		The records, their changes, and what a reader may see of them.
 *
 * The truth is one view per entity and changes at once.  A reader that is
 * told to lag (the switches *_lag_ms and late_visibility_ms) gets a view of
 * its own: a copy of the indexes that applies each change only when it is
 * due.  Without lag all readers share the truth, so the usual case costs
 * nothing: a million customers need about 150 MB.
 *
 * Numbers are spread by a fixed permutation, so a new record lands anywhere
 * in the order by number: that is what makes pages drift.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "data.h"

#include "buf.h"
#include "config.h"
#include "listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Initial records are made between these times (China 2023-01-01, 2025-12-01). */
#define FIRST_MS	INT64_C(1672502400000)
#define LAST_MS		INT64_C(1764518400000)

#define ARENA_CHUNK 4096
#define ID_STEP		4096

typedef struct Pending
{
	int64_t		due_us;
	Version    *version;
} Pending;

typedef struct Chunk
{
	struct Chunk *next;
	size_t		n;
	Version		items[ARENA_CHUNK];
} Chunk;

typedef struct Records
{
	View		truth;
	View	   *lagging[SEES_TRUTH];	/* NULL = sees the truth */
	Chunk	   *chunks;			/* every version ever made */
	size_t		n_initial;
	uint32_t	n_records;		/* ever made: recnos are never used twice */
} Records;

uint64_t	data_seed;
static Records all[N_ENTITIES];
static uint64_t last_seq;
static int64_t applied_lags[SEES_TRUTH][2];	/* what the views were made for */
static int64_t applied_offset_ms;
static uint64_t random_turn;

static const char *const entity_names[N_ENTITIES] = {
	"customer", "supplier", "material", "sal_order"
};

static const int64_t first_ids[N_ENTITIES] = {
	INT64_C(1500000000000000000), INT64_C(1510000000000000000),
	INT64_C(1520000000000000000), INT64_C(1530000000000000000)
};

uint64_t
mix64(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t
hash_bytes(const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	uint64_t	h = n;

	while (n-- > 0)
		h = mix64(h + *p++);
	return h;
}

uint64_t
data_random(void)
{
	return mix64(mix64(data_seed) + ++random_turn);
}

int
data_entity(const char *name)
{
	int			i;

	for (i = 0; i < N_ENTITIES; i++)
		if (strcmp(name, entity_names[i]) == 0)
			return i;
	return -1;
}

const char *
data_entity_name(Entity entity)
{
	return entity_names[entity];
}

int
order_number(const Version *a, const Version *b)
{
	int			c = strcmp(a->number, b->number);

	if (c != 0)
		return c;
	return (a->recno > b->recno) - (a->recno < b->recno);
}

int
order_modify(const Version *a, const Version *b)
{
	if (a->modify_ms != b->modify_ms)
		return a->modify_ms < b->modify_ms ? -1 : 1;
	return (a->recno > b->recno) - (a->recno < b->recno);
}

int
order_create(const Version *a, const Version *b)
{
	if (a->create_ms != b->create_ms)
		return a->create_ms < b->create_ms ? -1 : 1;
	return (a->recno > b->recno) - (a->recno < b->recno);
}

static uint64_t
record_hash(Entity entity, uint32_t recno, uint64_t salt)
{
	return mix64(data_seed ^ mix64(((uint64_t) entity << 40 | recno) ^
								   (salt << 48)));
}

/* Ids grow with creation, with the gaps a snowflake has. */
int64_t
data_id(const Version *v)
{
	return first_ids[v->entity] + (int64_t) (v->recno + 1) * ID_STEP +
		(int64_t) (record_hash(v->entity, v->recno, 1) % ID_STEP);
}

/* The recno an id would have; SIZE_MAX when it cannot be one. */
static size_t
recno_of(Entity entity, int64_t id)
{
	int64_t		offset = id - first_ids[entity];

	if (offset < ID_STEP)
		return SIZE_MAX;
	return (size_t) (offset / ID_STEP - 1);
}

static void
assign_number(Version *v)
{
	uint64_t	spread;
	time_t		day;
	struct tm	tm;

	switch ((Entity) v->entity)
	{
		case CUSTOMER:
			spread = v->recno * UINT64_C(61803399) + data_seed * 7919;
			snprintf(v->number, NUMBER_MAX, "KH%08u", (unsigned) (spread % 99999989));
			break;
		case SUPPLIER:
			spread = v->recno * UINT64_C(618033) + data_seed * 7919;
			snprintf(v->number, NUMBER_MAX, "GYS%07u", (unsigned) (spread % 9999991));
			break;
		case MATERIAL:
			spread = v->recno * UINT64_C(61803399) + data_seed * 104729;
			snprintf(v->number, NUMBER_MAX, "SP%08u", (unsigned) (spread % 99999989));
			break;
		default:
			day = (time_t) (v->create_ms / 1000 + 8 * 3600);
			gmtime_r(&day, &tm);
			snprintf(v->number, NUMBER_MAX, "XSDD-%04d%02d%02d-%07u",
					 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, v->recno + 1);
			break;
	}
}

static int64_t
grain(int64_t stamp_ms)
{
	return config.stamp_granularity == GRAIN_S ?
		stamp_ms - stamp_ms % 1000 : stamp_ms;
}

static int64_t
wall_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A new version in the arena, as a copy of an older one when given. */
static Version *
new_version(Entity entity, const Version *old)
{
	Records    *r = &all[entity];
	Version    *v;

	if (r->chunks == NULL || r->chunks->n == ARENA_CHUNK)
	{
		Chunk	   *chunk = sim_alloc(sizeof(Chunk));

		chunk->next = r->chunks;
		r->chunks = chunk;
	}
	v = &r->chunks->items[r->chunks->n++];
	if (old != NULL)
	{
		*v = *old;
		v->fields = json_incref(old->fields);
	}
	v->entity = (uint8_t) entity;
	v->made_us = wall_us();
	v->seq = ++last_seq;
	return v;
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

static bool
is_listed(const Version *v)
{
	return !v->deleted && !v->hidden;
}

/* (Re)builds the indexes of a view from its current versions. */
static void
build_indexes(View *view)
{
	Version   **items = sim_alloc(view->n_current * sizeof(Version *));
	size_t		n = 0;
	size_t		i;

	for (i = 0; i < view->n_current; i++)
		if (view->current[i] != NULL && is_listed(view->current[i]))
			items[n++] = view->current[i];
	qsort(items, n, sizeof(items[0]), compare_number);
	index_build(&view->by_number, order_number, items, n);
	qsort(items, n, sizeof(items[0]), compare_modify);
	index_build(&view->by_modify, order_modify, items, n);
	qsort(items, n, sizeof(items[0]), compare_create);
	index_build(&view->by_create, order_create, items, n);
	free(items);
}

static void
clear_view(View *view)
{
	free(view->current);
	index_free(&view->by_number);
	index_free(&view->by_modify);
	index_free(&view->by_create);
	free(view->pending);
	listing_forget(view);
	memset(view, 0, sizeof(*view));
}

/* Makes a view show a version, unless it shows a newer one already. */
static void
show(View *view, Version *v)
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
	if (old != NULL && is_listed(old))
	{
		index_remove(&view->by_number, old);
		index_remove(&view->by_modify, old);
		index_remove(&view->by_create, old);
	}
	view->current[v->recno] = v;
	if (is_listed(v))
	{
		index_insert(&view->by_number, v);
		index_insert(&view->by_modify, v);
		index_insert(&view->by_create, v);
	}
	view->generation++;
}

/* Whether pending a comes due before b; equal times keep the order of changes. */
static bool
sooner(const Pending *a, const Pending *b)
{
	if (a->due_us != b->due_us)
		return a->due_us < b->due_us;
	return a->version->seq < b->version->seq;
}

static void
push_pending(View *view, int64_t due_us, Version *v)
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

static int64_t
lag_ms(Sight sight)
{
	switch (sight)
	{
		case SEES_COUNT:
			return config.count_lag_ms;
		case SEES_ROWS:
			return config.rows_lag_ms;
		case SEES_DETAILS:
			return config.details_lag_ms;
		default:
			return 0;
	}
}

/* Late visibility holds for lists only: it is a list that misses a new row. */
static int64_t
late_ms(Sight sight)
{
	return sight == SEES_COUNT || sight == SEES_ROWS ?
		config.late_visibility_ms : 0;
}

/* Publishes a new version: to the truth now, to lagging views when due. */
static Version *
publish(Version *v, int64_t stamp_ms)
{
	Records    *r = &all[v->entity];
	int			sight;

	show(&r->truth, v);
	for (sight = 0; sight < SEES_TRUTH; sight++)
	{
		int64_t		wait = lag_ms(sight);
		int64_t		late = stamp_ms + late_ms(sight) - sim_now_ms();

		if (r->lagging[sight] == NULL)
			continue;
		if (late_ms(sight) > 0 && late > wait)
			wait = late;
		push_pending(r->lagging[sight], steady_us() + wait * 1000, v);
	}
	return v;
}

/* A copy of the truth that will be told of changes later. */
static View *
copy_truth(Records *r)
{
	View	   *view = sim_alloc(sizeof(View));

	view->entity = r->truth.entity;
	view->n_current = r->truth.n_current;
	view->current = sim_alloc(view->n_current * sizeof(Version *));
	memcpy(view->current, r->truth.current,
		   view->n_current * sizeof(Version *));
	build_indexes(view);
	return view;
}

static void
drop_lagging(Records *r, int sight)
{
	if (r->lagging[sight] == NULL)
		return;
	clear_view(r->lagging[sight]);
	free(r->lagging[sight]);
	r->lagging[sight] = NULL;
}

/* All that a reader does not see yet is so much older; equal shifts keep the heap in order. */
static void
let_age(int64_t by_ms)
{
	int			entity;
	int			sight;
	size_t		i;

	for (entity = 0; entity < N_ENTITIES; entity++)
		for (sight = 0; sight < SEES_TRUTH; sight++)
		{
			View	   *view = all[entity].lagging[sight];

			for (i = 0; view != NULL && i < view->n_pending; i++)
				view->pending[i].due_us -= by_ms * 1000;
		}
}

/* A reader whose lag changed starts again from the truth as it is now. */
void
data_apply_lags(void)
{
	int			entity;
	int			sight;

	if (config.clock_offset_ms > applied_offset_ms)
		let_age(config.clock_offset_ms - applied_offset_ms);
	applied_offset_ms = config.clock_offset_ms;

	for (sight = 0; sight < SEES_TRUTH; sight++)
	{
		int64_t		now[2] = {lag_ms(sight), late_ms(sight)};

		if (memcmp(now, applied_lags[sight], sizeof(now)) == 0)
			continue;
		memcpy(applied_lags[sight], now, sizeof(now));
		for (entity = 0; entity < N_ENTITIES; entity++)
		{
			drop_lagging(&all[entity], sight);
			if (now[0] > 0 || now[1] > 0)
				all[entity].lagging[sight] = copy_truth(&all[entity]);
		}
	}
}

View *
data_see(Entity entity, Sight sight)
{
	Records    *r = &all[entity];
	View	   *view = sight == SEES_TRUTH ? NULL : r->lagging[sight];
	int64_t		now;

	if (view == NULL)
		return &r->truth;
	now = steady_us();
	while (view->n_pending > 0 && view->pending[0].due_us <= now)
		show(view, pop_pending(view));
	return view;
}

uint64_t
data_seq(void)
{
	return last_seq;
}

/* Every version ever made is still here: the last one of each record that is not newer tells. */
int64_t *
data_ids_at(Entity entity, uint64_t seq, size_t *n)
{
	Records    *r = &all[entity];
	Version   **latest = sim_alloc((r->n_records + 1) * sizeof(Version *));
	int64_t    *ids = sim_alloc((r->n_records + 1) * sizeof(int64_t));
	Chunk	   *chunk;
	size_t		i;

	memset(latest, 0, (r->n_records + 1) * sizeof(Version *));
	for (chunk = r->chunks; chunk != NULL; chunk = chunk->next)
		for (i = 0; i < chunk->n; i++)
		{
			Version    *v = &chunk->items[i];

			if (v->seq <= seq && (latest[v->recno] == NULL || latest[v->recno]->seq < v->seq))
				latest[v->recno] = v;
		}
	*n = 0;
	for (i = 0; i < r->n_records; i++)
		if (latest[i] != NULL && is_listed(latest[i]))
			ids[(*n)++] = data_id(latest[i]);
	free(latest);
	return ids;
}

static int
compare_seq(const void *a, const void *b)
{
	const Version *x = *(const Version *const *) a;
	const Version *y = *(const Version *const *) b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

const Version **
data_history(Entity entity, size_t *n)
{
	size_t		cap = 0;
	const Version **versions;
	Chunk	   *chunk;
	size_t		i;

	for (chunk = all[entity].chunks; chunk != NULL; chunk = chunk->next)
		cap += chunk->n;
	versions = sim_alloc((cap + 1) * sizeof(Version *));
	*n = 0;
	for (chunk = all[entity].chunks; chunk != NULL; chunk = chunk->next)
		for (i = 0; i < chunk->n; i++)
			versions[(*n)++] = &chunk->items[i];
	qsort(versions, *n, sizeof(versions[0]), compare_seq);
	return versions;
}

static void
make_initial(Entity entity)
{
	Records    *r = &all[entity];
	int64_t		span = (LAST_MS - FIRST_MS) / (int64_t) (r->n_initial + 1);
	size_t		i;

	r->truth.entity = entity;
	r->truth.n_current = r->n_initial;
	r->n_records = (uint32_t) r->n_initial;
	r->truth.current = sim_alloc(r->n_initial * sizeof(Version *));
	for (i = 0; i < r->n_initial; i++)
	{
		Version    *v = new_version(entity, NULL);
		uint64_t	h;

		v->recno = (uint32_t) i;
		h = record_hash(entity, v->recno, 2);
		v->create_ms = grain(FIRST_MS + (int64_t) i * span + (int64_t) (h % (uint64_t) span));
		h = record_hash(entity, v->recno, 3);
		v->modify_ms = v->create_ms;
		if (h % 10 >= 4)
			v->modify_ms = grain(v->create_ms +
								 (int64_t) (mix64(h) % (uint64_t) (LAST_MS - v->create_ms)));
		v->enabled = record_hash(entity, v->recno, 4) % 20 != 0;
		assign_number(v);
		r->truth.current[i] = v;
	}
	build_indexes(&r->truth);
}

void
data_init(uint64_t seed, const size_t counts[N_ENTITIES])
{
	int			entity;

	data_seed = seed;
	last_seq = 0;
	random_turn = 0;
	for (entity = 0; entity < N_ENTITIES; entity++)
	{
		all[entity].n_initial = counts[entity];
		make_initial(entity);
	}
	memset(applied_lags, 0, sizeof(applied_lags));
	applied_offset_ms = config.clock_offset_ms;
	data_apply_lags();
}

void
data_free(void)
{
	int			entity;
	int			sight;

	for (entity = 0; entity < N_ENTITIES; entity++)
	{
		Records    *r = &all[entity];

		for (sight = 0; sight < SEES_TRUTH; sight++)
			drop_lagging(r, sight);
		clear_view(&r->truth);
		while (r->chunks != NULL)
		{
			Chunk	   *chunk = r->chunks;
			size_t		i;

			for (i = 0; i < chunk->n; i++)
				json_decref(chunk->items[i].fields);
			r->chunks = chunk->next;
			free(chunk);
		}
	}
}

void
data_resize(Entity entity, int64_t n)
{
	if (n >= 0)
		all[entity].n_initial = (size_t) n;
}

void
data_reset(void)
{
	size_t		counts[N_ENTITIES];
	int			entity;

	for (entity = 0; entity < N_ENTITIES; entity++)
		counts[entity] = all[entity].n_initial;
	data_free();
	data_init(data_seed, counts);
}

Version *
data_by_id(View *view, int64_t id)
{
	size_t		recno = recno_of(view->entity, id);
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

Version *
data_any(Entity entity, uint64_t random)
{
	Index	   *index = &all[entity].truth.by_number;

	return index->n == 0 ? NULL : index_at(index, random % index->n);
}

Version *
data_any_absent(Entity entity, uint64_t random)
{
	Records    *r = &all[entity];
	size_t		i;

	for (i = 0; i < r->n_records; i++)
	{
		Version    *v = r->truth.current[(random + i) % r->n_records];

		if (v != NULL && !is_listed(v))
			return v;
	}
	return NULL;
}

Version *
data_last(Entity entity, int64_t id)
{
	View	   *truth = &all[entity].truth;
	size_t		recno = recno_of(entity, id);
	Version    *v = recno < truth->n_current ? truth->current[recno] : NULL;

	return v != NULL && data_id(v) == id ? v : NULL;
}

Version *
data_insert(Entity entity, int64_t stamp_ms)
{
	Version    *v = new_version(entity, NULL);

	v->recno = all[entity].n_records++;
	v->create_ms = v->modify_ms = grain(stamp_ms);
	v->enabled = 1;
	assign_number(v);
	return publish(v, v->modify_ms);
}

/* Values given by the caller: three of them are kept outside the object. */
static void
put_fields(Version *v, json_t *fields)
{
	const char *number = json_string_value(json_object_get(fields, "number"));
	json_t	   *enable = json_object_get(fields, "enable");
	json_t	   *merged = v->fields ? json_copy(v->fields) : json_object();

	json_object_update(merged, fields);
	if (number == NULL)
		number = json_string_value(json_object_get(fields, "bill_no"));
	if (number != NULL && strlen(number) < NUMBER_MAX)
	{
		strcpy(v->number, number);
		json_object_del(merged, "number");
		json_object_del(merged, "bill_no");
	}
	if (enable != NULL)
	{
		v->enabled = !(json_is_false(enable) ||
					   (json_is_integer(enable) && json_integer_value(enable) == 0) ||
					   (json_is_string(enable) && strcmp(json_string_value(enable), "0") == 0));
		json_object_del(merged, "enable");
	}
	json_decref(v->fields);
	v->fields = merged;
}

Version *
data_change(Version *old, Change change, int64_t stamp_ms, json_t *fields)
{
	Version    *v = new_version(old->entity, old);

	if (change != CHANGE_DELETE && change != CHANGE_HIDE)
		v->modify_ms = grain(stamp_ms);
	switch (change)
	{
		case CHANGE_UPDATE:
			v->rev++;
			v->contact_rev++;
			break;
		case CHANGE_CONTACT:
			v->contact_rev++;
			break;
		case CHANGE_TOUCH:
			break;
		case CHANGE_DELETE:
			v->deleted = 1;
			break;
		case CHANGE_HIDE:
			v->hidden = 1;
			break;
		case CHANGE_RESTORE:
			v->deleted = v->hidden = 0;
			break;
		case CHANGE_SET:
			put_fields(v, fields);
			break;
	}
	return publish(v, stamp_ms);
}
