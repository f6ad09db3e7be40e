/*-------------------------------------------------------------------------
 * saveapi.h
 *		Kingdee's save calls: their payloads and replies, and how a record is looked up.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SAVEAPI_H
#define JDY_SAVEAPI_H

#include "postgres.h"

#include "push.h"

/*
 * Fills push->lookup_api and what goes with it from metadata's "lookup" and what is known of
 * its api; NULL when its records are not looked up.  Raises an error when metadata asks
 * for what cannot be done.
 */
extern void jdy_save_plan(Push *push);

/* Warns when the target creates records and nothing is known that would find them there. */
extern void jdy_save_warn(const Push *push);

/*
 * id and number of a payload as text, in the current memory context: NULL when it has none, or an
 * empty one.  False: it is no object, so no id can be put into it.
 */
extern bool jdy_save_read(const char *payload, const char *number_member, char **id, char **number);

/*
 * A payload that is an object, with this text as its first member, in place of any that it had of this name;
 * NULL: without any.  In the current memory context.
 */
extern char *jdy_save_put(const char *payload, const char *member, const char *text);

/* The id that the reply to a save names, in the current memory context; NULL = it does not.  Never raises for anything in it. */
extern char *jdy_save_reply(const char *body, size_t length);

#endif							/* JDY_SAVEAPI_H */
