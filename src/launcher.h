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

/* It looks at once whether something is due.  Never raises. */
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

/* Whose queued run was started last in a database, so that the next one is another's. */
extern Oid	jdy_database_last_owner(Oid database);
extern void jdy_database_set_last_owner(Oid database, Oid owner);

/* When the logs of a database are to be trimmed next, by jdy_clock_now(); 0 = they were not since the server started. */
extern TimestampTz jdy_database_trim_at(Oid database);
extern void jdy_database_set_trim_at(Oid database, TimestampTz trim_at);

/* Whether the logs were too small then: the server's log says so when that changes. */
extern LogShortage jdy_database_shortage(Oid database);
extern void jdy_database_set_shortage(Oid database, LogShortage shortage);

#endif							/* JDY_LAUNCHER_H */
