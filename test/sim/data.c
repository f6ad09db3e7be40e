/*-------------------------------------------------------------------------
 * data.c
 *		The records, their changes, and what a reader may see of them.
 *
 * The truth is one view (view.c) per entity and changes at once.  A reader that is
 * told to lag (the switches *_lag_ms and late_visibility_ms) gets a view of
 * its own: a copy of the indexes that applies each change only when it is
 * due.  Without lag all readers share the truth, so the usual case costs
 * nothing: a million customers need about 150 MB.
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

static Records all[N_ENTITIES];
static uint64_t last_seq;
static int64_t applied_lags[SEES_TRUTH][2];	/* what the views were made for */
static int64_t applied_offset_ms;
static uint64_t random_turn;

uint64_t
data_random(void)
{
	return mix64(mix64(data_seed) + ++random_turn);
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

	view_show(&r->truth, v);
	for (sight = 0; sight < SEES_TRUTH; sight++)
	{
		int64_t		wait = lag_ms(sight);
		int64_t		late = stamp_ms + late_ms(sight) - sim_now_ms();

		if (r->lagging[sight] == NULL)
			continue;
		if (late_ms(sight) > 0 && late > wait)
			wait = late;
		view_show_at(r->lagging[sight], steady_us() + wait * 1000, v);
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
	view_build(view);
	return view;
}

static void
drop_lagging(Records *r, int sight)
{
	if (r->lagging[sight] == NULL)
		return;
	view_clear(r->lagging[sight]);
	free(r->lagging[sight]);
	r->lagging[sight] = NULL;
}

/* All that a reader does not see yet is so much older. */
static void
let_age(int64_t by_ms)
{
	int			entity;
	int			sight;

	for (entity = 0; entity < N_ENTITIES; entity++)
		for (sight = 0; sight < SEES_TRUTH; sight++)
			if (all[entity].lagging[sight] != NULL)
				view_age(all[entity].lagging[sight], by_ms * 1000);
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

	if (view == NULL)
		return &r->truth;
	view_catch_up(view);
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
		if (latest[i] != NULL && version_is_listed(latest[i]))
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
		h = version_hash(entity, v->recno, 2);
		v->create_ms = grain(FIRST_MS + (int64_t) i * span + (int64_t) (h % (uint64_t) span));
		h = version_hash(entity, v->recno, 3);
		v->modify_ms = v->create_ms;
		if (h % 10 >= 4)
			v->modify_ms = grain(v->create_ms +
								 (int64_t) (mix64(h) % (uint64_t) (LAST_MS - v->create_ms)));
		v->enabled = version_hash(entity, v->recno, 4) % 20 != 0;
		version_number(v);
		r->truth.current[i] = v;
	}
	view_build(&r->truth);
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
		view_clear(&r->truth);
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

		if (v != NULL && !version_is_listed(v))
			return v;
	}
	return NULL;
}

Version *
data_last(Entity entity, int64_t id)
{
	View	   *truth = &all[entity].truth;
	size_t		recno = version_recno(entity, id);
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
	version_number(v);
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
