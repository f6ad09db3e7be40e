/*-------------------------------------------------------------------------
 * pull.h
 *		A stream's run.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PULL_H
#define JDY_PULL_H

#include "postgres.h"

#include "shmem.h"

/*
 * Makes one run of stream `stream_id`: the runner holds the stream's lock, works as its owner,
 * and is in no transaction.  run_id is the row that jdy_run_begin made.
 * Fills `counters` as it goes (so that they are true when it raises an error).
 */
extern void jdy_pull_run(int stream_id, int64 run_id, RunMode mode,
						 TimestampTz from_time, TimestampTz to_time, RunCounters *counters);

#endif							/* JDY_PULL_H */
