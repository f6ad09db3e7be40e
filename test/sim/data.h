/*-------------------------------------------------------------------------
 * data.h
 *		The records, their changes, and what a reader may see of them.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_DATA_H
#define SIM_DATA_H

#include "view.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

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

/* The next of a fixed sequence that data_reset() starts again. */
extern uint64_t data_random(void);

#endif
