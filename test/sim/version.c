/*-------------------------------------------------------------------------
 * version.c
 *		One state of one record: what it is called, and in which order it comes.
 *
 * Ids and numbers follow from the seed and the order of creation, so the same seed
 * gives the same records.  Numbers are spread by a fixed permutation, so a new
 * record lands anywhere in the order by number: that is what makes pages drift.
 *
 * Called by data.c and view.c, and by whoever shows a record.
 *-------------------------------------------------------------------------
 */
#include "version.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ID_STEP		4096

uint64_t	data_seed;

static const char *const entity_names[N_ENTITIES] = {
	"customer", "supplier", "material", "sal_order"
};

static const int64_t first_ids[N_ENTITIES] = {
	INT64_C(1500000000000000000), INT64_C(1510000000000000000),
	INT64_C(1520000000000000000), INT64_C(1530000000000000000)
};

/* Ids grow with creation, with the gaps a snowflake has. */
int64_t
data_id(const Version *v)
{
	return first_ids[v->entity] + (int64_t) (v->recno + 1) * ID_STEP +
		(int64_t) (version_hash(v->entity, v->recno, 1) % ID_STEP);
}

size_t
version_recno(Entity entity, int64_t id)
{
	int64_t		offset = id - first_ids[entity];

	if (offset < ID_STEP)
		return SIZE_MAX;
	return (size_t) (offset / ID_STEP - 1);
}

void
version_number(Version *v)
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

bool
version_is_listed(const Version *v)
{
	return !v->deleted && !v->hidden;
}

uint64_t
version_hash(Entity entity, uint32_t recno, uint64_t salt)
{
	return mix64(data_seed ^ mix64(((uint64_t) entity << 40 | recno) ^
								   (salt << 48)));
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

int
data_entity(const char *name)
{
	int			i;

	for (i = 0; i < N_ENTITIES; i++)
		if (strcmp(name, entity_names[i]) == 0)
			return i;
	return -1;
}

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
