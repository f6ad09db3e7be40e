/*-------------------------------------------------------------------------
 * target.h
 *		A target of pushes: /target/ and any path below it.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_TARGET_H
#define SIM_TARGET_H

#include "request.h"

#include <jansson.h>

#define TARGET_PATH "/target/"

/* Whether the caller may push; else the refusal is written. */
extern bool target_may_call(Request *req);
extern void target_answer(Request *req);

/* Replaces the ids that are refused; false when it is no array of ids. */
extern bool target_set_poison(json_t *ids);
extern bool target_is_poison(const char *id);

/* Forgets what was accepted and the keys, and with reset poison and rates. */
extern void target_forget(void);
extern void target_reset(void);

#endif
