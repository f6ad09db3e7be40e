/*-------------------------------------------------------------------------
 * presence.c
 *		When each id of a list was shown, in 16 bytes an id.
 *
 * A certificate must know for each id of a list, of which there may be a million, by which
 * answers it was shown.  Nearly all of them are known before the scan begins.  So
 * these lie in a sorted array of the right size, and those that a scan shows
 * first in a hash table beside it.  A hash table alone would take up to three times as much.
 *
 * Called by certify.c and certificate.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "presence.h"
#include "utils/memutils.h"

#define HASH_B_BITS 57

typedef struct IdHash
{
	uint64		a;
	uint64		b;
} IdHash;

typedef struct Newcomer
{
	IdHash		id;				/* as in the presence, where it is packed */
	Presence	presence;
	char		status;
} Newcomer;

#define SH_PREFIX newcomers
#define SH_ELEMENT_TYPE Newcomer
#define SH_KEY_TYPE IdHash
#define SH_KEY id
#define SH_HASH_KEY(table, key) ((uint32) (key).a)
#define SH_EQUAL(table, x, y) ((x).a == (y).a && (x).b == (y).b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct Presences
{
	Presence   *known;			/* in order, once sorted */
	int64		nknown;
	int64		room;
	newcomers_hash *newcomers;
};

static Presence hashed(const char *id);
static int	compare(const void *a, const void *b);

Presences *
jdy_presences_create(MemoryContext context, int64 known)
{
	Presences  *set = MemoryContextAllocZero(context, sizeof(Presences));

	StaticAssertStmt(sizeof(Presence) == 16, "what is said of the memory that a certificate takes holds");
	set->known = MemoryContextAllocHuge(context, Max(known, 1) * sizeof(Presence));
	set->room = known;
	set->newcomers = newcomers_create(context, 64, NULL);
	return set;
}

void
jdy_presences_know(Presences *set, const char *id, bool certified)
{
	Presence   *presence;

	if (set->nknown >= set->room)
		elog(ERROR, "more ids are known than were counted");
	presence = &set->known[set->nknown++];
	*presence = hashed(id);
	presence->certified = certified;
}

int64
jdy_presences_sort(Presences *set)
{
	int64		n = 0;

	qsort(set->known, set->nknown, sizeof(Presence), compare);
	for (int64 i = 0; i < set->nknown; i++)
	{
		if (n > 0 && compare(&set->known[n - 1], &set->known[i]) == 0)
			set->known[n - 1].certified |= set->known[i].certified;
		else
			set->known[n++] = set->known[i];
	}
	set->nknown = n;
	return n;
}

Presence *
jdy_presences_find(const Presences *set, const char *id)
{
	Presence	wanted = hashed(id);
	Newcomer   *newcomer;
	int64		low = 0;
	int64		high = set->nknown;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;
		int			order = compare(&set->known[middle], &wanted);

		if (order == 0)
			return &set->known[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	newcomer = newcomers_lookup(set->newcomers, (IdHash) {wanted.a, wanted.b});
	return newcomer != NULL ? &newcomer->presence : NULL;
}

void
jdy_presences_add(Presences *set, const char *id, int pass)
{
	Presence	presence = hashed(id);
	bool		found;

	presence.first = presence.last = pass;
	newcomers_insert(set->newcomers, (IdHash) {presence.a, presence.b}, &found)->presence = presence;
}

const Presence *
jdy_presences_next(const Presences *set, int64 *place)
{
	if (*place < set->nknown)
		return &set->known[(*place)++];
	for (uint64 i; (i = *place - set->nknown) < set->newcomers->size;)
	{
		Newcomer   *newcomer = &set->newcomers->data[i];

		(*place)++;
		if (newcomer->status == newcomers_SH_IN_USE)
			return &newcomer->presence;
	}
	return NULL;
}

/* Not shown yet, and nothing else known of it. */
static Presence
hashed(const char *id)
{
	int			length = strlen(id);
	Presence	presence = {0};

	presence.a = hash_bytes_extended((const unsigned char *) id, length, 0);
	presence.b = hash_bytes_extended((const unsigned char *) id, length, UINT64CONST(0x9e3779b97f4a7c15)) >> (64 - HASH_B_BITS);
	return presence;
}

static int
compare(const void *a, const void *b)
{
	const Presence *x = a;
	const Presence *y = b;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}
