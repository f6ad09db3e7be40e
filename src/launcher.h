/*-------------------------------------------------------------------------
 * launcher.h
 *		When each database is due next, in shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_LAUNCHER_H
#define JDY_LAUNCHER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "shmem.h"

/* Something in `database` is due at `at` (or earlier): the launcher sends a scheduler then. Never raises. */
extern void jdy_database_due(Oid database, TimestampTz at);

/* A worker is free again: due now if a scheduler left work behind in `database`. */
extern void jdy_database_worker_freed(Oid database);

/*
 * A scheduler's visit.  visit notes its pid (0: takes its own away again) and
 * returns the database's generation; visited says when the next visit is due, unless
 * something became due from outside since that generation.
 */
extern uint64 jdy_database_visit(Oid database, int scheduler_pid);
extern void jdy_database_visited(Oid database, uint64 generation, TimestampTz next_due);

/* When the logs of a database were trimmed last, in us of jdy_monotonic_us(); 0 = not since the server started. */
extern int64 jdy_database_trimmed(Oid database);
extern void jdy_database_set_trimmed(Oid database, int64 trimmed_us);

/* Whether the logs were too small then: the server's log says so when that changes. */
extern LogShortage jdy_database_shortage(Oid database);
extern void jdy_database_set_shortage(Oid database, LogShortage shortage);

#endif							/* JDY_LAUNCHER_H */
