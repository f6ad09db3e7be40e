/*-------------------------------------------------------------------------
 * database.h
 *		When each database is due next, in shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_DATABASE_H
#define JDY_DATABASE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "shmem.h"

/* Something in `database` is due at `at` (or earlier): the launcher sends a scheduler then. Never raises. */
extern void jdy_database_due(Oid database, TimestampTz at);

/* The launcher looks at once whether something is due.  Never raises. */
extern void jdy_launcher_wake(void);

/* A worker is free again: due now if a scheduler left work behind in `database`, or in the one that is first in line. */
extern void jdy_database_worker_freed(Oid database);

/* Whether the server had a worker for the work of a database: one line in the log whenever that changes. */
extern void jdy_database_note_worker(Oid database, bool had);

/* Terminates our workers in `database`, which somebody is about to drop, copy, move or rename, and marks it as due. */
extern void jdy_database_stop(Oid database);

/*
 * A scheduler's visit.  visit notes its pid (0: takes its own away again) and
 * returns the database's generation; visited says when the next visit is due, unless
 * something became due from outside since that generation.
 */
extern uint64 jdy_database_visit(Oid database, int scheduler_pid);
extern void jdy_database_visited(Oid database, uint64 generation, TimestampTz next_due);

/* What is known of a database, as a copy; all zero when nothing is. */
extern DatabaseSlot jdy_database_slot(Oid database);

/*
 * The slot itself, locked until jdy_database_unlock, which is to follow soon and also when
 * there is none: nothing in between may raise an error.  `create`: makes one where
 * there is none; NULL then only when work is left in all databases that have one.
 */
extern DatabaseSlot *jdy_database_lock(Oid database, bool create);
extern void jdy_database_unlock(void);

/* Between these two: something became due from outside, at `at`. */
extern void jdy_database_mark_due(DatabaseSlot *slot, TimestampTz at);

#endif							/* JDY_DATABASE_H */
