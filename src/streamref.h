/*-------------------------------------------------------------------------
 * streamref.h
 *		A stream or push, found by name or number, and who may do what with it.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STREAMREF_H
#define JDY_STREAMREF_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* Enough to find a stream and to decide who may run it. */
typedef struct StreamRef
{
	int			stream_id;
	char	   *name;
	Oid			owner;			/* of the staging table */
	char	   *server;
	bool		enabled;
	bool		loaded;			/* the first load is over */
	Oid			staging;		/* its table, or a push's source; may be gone: then owner is InvalidOid */
	bool		is_push;		/* a push: stream_id is its number */
} StreamRef;

/*
 * The stream called `name`; an error with the closest match when there is
 * none, and one when the current role is not a member of its owner.  In a
 * transaction with SPI; result in the caller's context at SPI_connect.
 */
extern StreamRef *jdy_stream_ref(const char *name);

/* The same for who may run it: jdy_grant may have said so. */
extern StreamRef *jdy_stream_ref_to_run(const char *name);

/* The same for jdy_drop_stream: one whose table is gone has no owner, so it is the superusers' to forget. */
extern StreamRef *jdy_stream_ref_to_drop(const char *name);

/* The same by number (no privilege check; NULL when it is gone). */
extern StreamRef *jdy_stream_ref_by_id(int stream_id);

/* All enabled streams (or pushes) that the current role may run, by name. */
extern List *jdy_stream_refs_enabled(bool pushes);

/* Raises an error while the stream or push has an open run; else no run begins before the end of the transaction. */
extern void jdy_stream_lock_or_raise(const StreamRef *ref);

/* Raises an error when there is a stream or push of that name.  With SPI. */
extern void jdy_check_is_new(const char *name);

#endif							/* JDY_STREAMREF_H */
