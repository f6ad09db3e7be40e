/*-------------------------------------------------------------------------
 * data.h
 *		The records, their changes, and what a reader may see of them.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_DATA_H
#define SIM_DATA_H

#include "index.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum Entity
{
	CUSTOMER,
	SUPPLIER,
	MATERIAL,
	SAL_ORDER,
	N_ENTITIES
} Entity;

#define NUMBER_MAX 40

/*
 * One state of one record.  A change adds a version and never alters one, so
 * readers that lag behind simply hold an older version.  Everything else a
 * row shows is computed from these few values (shape.c).
 */
typedef struct Version
{
	uint64_t	seq;			/* order of all changes */
	int64_t		create_ms;
	int64_t		modify_ms;
	int64_t		made_us;		/* when it was made, by the machine's clock */
	json_t	   *fields;			/* values put by "set", or NULL */
	uint32_t	recno;			/* 0, 1, 2 … in order of creation */
	uint32_t	rev;			/* what the name and phone follow from */
	uint32_t	contact_rev;	/* what only the contacts follow from */
	uint8_t		entity;
	uint8_t		enabled;		/* orders: audited */
	uint8_t		deleted;
	uint8_t		hidden;			/* lists do not show it, details do */
	char		number[NUMBER_MAX];
} Version;

/* Opaque to all but data.c and listing.c. */
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

/* Whose eyes: count, rows and details may each lag behind the truth. */
typedef enum Sight
{
	SEES_COUNT,
	SEES_ROWS,
	SEES_DETAILS,
	SEES_TRUTH
} Sight;

typedef enum Change
{
	CHANGE_UPDATE,				/* name, contact, phone */
	CHANGE_CONTACT,				/* contact and phone: lists do not show it */
	CHANGE_TOUCH,				/* only the time */
	CHANGE_DELETE,
	CHANGE_HIDE,				/* it leaves the lists, as when a document is un-audited */
	CHANGE_RESTORE,
	CHANGE_SET					/* fields given by the caller */
} Change;

extern uint64_t data_seed;

/* Makes the initial records; data_reset() throws all changes away. */
extern void data_init(uint64_t seed, const size_t counts[N_ENTITIES]);
extern void data_reset(void);
extern void data_free(void);

/* The size that data_reset() makes an entity; below 0: as it is. */
extern void data_resize(Entity entity, int64_t n);

/*
 * Call after switches changed: makes or drops lagging views.  When the clock went
 * forward, what is not seen yet is that much older.
 */
extern void data_apply_lags(void);

/* The order of the last change of all, and ids that lists showed when it was `seq`; the caller frees them. */
extern uint64_t data_seq(void);
extern int64_t *data_ids_at(Entity entity, uint64_t seq, size_t *n);

/* Every version ever made, in order; the caller frees the array. */
extern const Version **data_history(Entity entity, size_t *n);

/* What that reader sees now. */
extern View *data_see(Entity entity, Sight sight);

extern int64_t data_id(const Version *v);

/* Finds an existing record in a view, or NULL. */
extern Version *data_by_id(View *view, int64_t id);
extern Version *data_by_number(View *view, const char *number);

/* Any existing record of the truth, chosen by a random number; or NULL. */
extern Version *data_any(Entity entity, uint64_t random);

/* Any that is deleted or hidden; or NULL. */
extern Version *data_any_absent(Entity entity, uint64_t random);

/* The newest version of a record even when deleted, or NULL. */
extern Version *data_last(Entity entity, int64_t id);

/* Changes the truth now; stamp_ms is the modify time written. */
extern Version *data_insert(Entity entity, int64_t stamp_ms);
extern Version *data_change(Version *old, Change change, int64_t stamp_ms,
							json_t *fields);

/* Order functions, also used to sort listings. */
extern int	order_number(const Version *a, const Version *b);
extern int	order_modify(const Version *a, const Version *b);
extern int	order_create(const Version *a, const Version *b);

/* Names: "customer" and so on; -1 when unknown. */
extern int	data_entity(const char *name);
extern const char *data_entity_name(Entity entity);

/* The next of a fixed sequence that data_reset() starts again. */
extern uint64_t data_random(void);

/* A well-mixed 64-bit value of another, and of bytes. */
extern uint64_t mix64(uint64_t x);
extern uint64_t hash_bytes(const void *bytes, size_t n);

#endif
