/*-------------------------------------------------------------------------
 * runlog.h
 *		Runs, calls and rejects: what happened, for people.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RUNLOG_H
#define JDY_RUNLOG_H

#include "postgres.h"

#include "client.h"
#include "shmem.h"

typedef struct RunLog RunLog;

/* Opens the log of run `run_id` in `context`; calls are kept in memory until flushed. */
extern RunLog *jdy_runlog_open(int64 run_id, int stream_id, MemoryContext context);

/* An AttemptLogger: arg is the RunLog.  Honours jdysync.log_calls. */
extern void jdy_runlog_attempt(void *arg, const Attempt *attempt);

/* True when enough calls wait that the next transaction should flush them, or that one should be made for it. */
extern bool jdy_runlog_is_full(const RunLog *log);

/* Writes the calls kept so far.  In a transaction with SPI. */
extern void jdy_runlog_flush(RunLog *log);

/* When the log was opened, by our clock: what was to be tried again by then is this run's to try. */
extern TimestampTz jdy_runlog_began(const RunLog *log);

/*
 * A row of input that could not be stored, with its raw bytes.  In a transaction
 * with SPI.  from and to: the window that listed it, to be read again by the
 * next run, later ones ever less often (from 0 = since ever; to 0 = not to be read again).
 * However often a run reports a row, it counts once.
 */
extern void jdy_runlog_reject(RunLog *log, const char *id, const char *raw, int length, const char *reason,
							  TimestampTz from, TimestampTz to);

/*
 * A run from queue to end.  In a transaction with SPI.  queue: inserts a row in
 * state queued and returns its id.  begin: inserts a row in state running (or
 * turns the queued row run_id into it) and returns its id, 0 when the row
 * run_id is not queued any more; rows of this stream left "running" by a dead
 * runner become "interrupted": the caller holds the stream's lock.  end: final
 * state with counters and error (NULL or sqlstate 0: none), and the calls that
 * an open log of the run still keeps.  Who listens is told of every end.
 */
extern int64 jdy_run_queue(int stream_id, const char *name, RunMode mode);
extern int64 jdy_run_begin(int64 run_id, int stream_id, const char *name, RunMode mode,
						   TimestampTz from_time, TimestampTz to_time);
extern void jdy_run_end(int64 run_id, const char *status, const RunCounters *counters, const RunError *error);

/* Name of the stream, unless its run before this one, which failed, failed in the same way: that is no news. */
extern const char *jdy_run_failed_anew(int64 run_id);

/* Name that the role had which queued the run, in `context`; NULL = not on record. */
extern const char *jdy_run_requested_by(int64 run_id, MemoryContext context);

/* Sets an error's fields, cut to their sizes at a character's end; NULL = empty. */
extern void jdy_run_error(RunError *error, int sqlstate, const char *message, const char *detail, const char *hint);

/* Of "auto", "full" and the like; raises an error for any other word. */
extern RunMode jdy_mode_parse(const char *mode);

#endif							/* JDY_RUNLOG_H */
