/*-------------------------------------------------------------------------
 * watch.h
 *		Which incidents the end of a run, or what does not begin, opens and closes.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_WATCH_H
#define JDY_WATCH_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* A queued run that has not begun for so long is an incident. */
#define JDY_LATE_MS 300000

/* All in a transaction with SPI.  After jdy_run_end: what the run's end says of its stream or push. */
extern void jdy_watch_run_ended(int subject_id, int64 run_id, const char *status, int sqlstate);

/* Dead letters of a push were discarded or are to be sent again. */
extern void jdy_watch_dead_letters(int push_id);

/* After a look at the queue: how many runs wait for a worker for so long. */
extern void jdy_watch_queue(int late);

/* Whether this database is a copy in which nothing runs. */
extern void jdy_watch_home(bool is_here);

/* When the licence of the account ends that `owner` calls through `server`. */
extern void jdy_watch_licence(const char *server, Oid owner, TimestampTz ends);

#endif							/* JDY_WATCH_H */
