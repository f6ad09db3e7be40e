/*-------------------------------------------------------------------------
 * version.h
 *		One state of one record: what it is called, and in which order it comes.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_VERSION_H
#define SIM_VERSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
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

/* All that seems to be chance follows from it. */
extern uint64_t data_seed;

extern int64_t data_id(const Version *v);

/* The recno that a record of this id would have; SIZE_MAX when it cannot be one. */
extern size_t version_recno(Entity entity, int64_t id);

/* The number of a new record, by its entity, recno and time of creation. */
extern void version_number(Version *v);

/* Lists show it. */
extern bool version_is_listed(const Version *v);

/* A fixed value for each record and salt. */
extern uint64_t version_hash(Entity entity, uint32_t recno, uint64_t salt);

/* Order functions, also used to sort listings. */
extern int	order_number(const Version *a, const Version *b);
extern int	order_modify(const Version *a, const Version *b);
extern int	order_create(const Version *a, const Version *b);

/* "customer" and so on; -1 when unknown. */
extern int	data_entity(const char *name);

/* A well-mixed 64-bit value of another, and of bytes. */
extern uint64_t mix64(uint64_t x);
extern uint64_t hash_bytes(const void *bytes, size_t n);

#endif
