/*-------------------------------------------------------------------------
 * runlog.h
 *		Runs, calls, rejects and incidents: what happened, for people.
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

/* A row of input that could not be stored, with its raw bytes.  In a transaction with SPI. */
extern void jdy_runlog_reject(RunLog *log, const char *id, const char *raw, int length, const char *reason);

/*
 * Begin and end of a run.  In a transaction with SPI.  begin: inserts a row in
 * state running (or turns the queued row run_id into it) and returns its id;
 * rows of this stream left "running" by a dead runner become "interrupted": the
 * caller holds the stream's lock.  end: final state with counters and error.
 */
extern int64 jdy_run_begin(int64 run_id, int stream_id, const char *name, RunMode mode);
extern void jdy_run_end(int64 run_id, const char *status, const RunCounters *counters, const RunError *error);

/*
 * Opens incident `what` for stream/push `name` unless it is open, or closes it.
 * what is constant text per kind; advice tells a person what to do.
 */
extern void jdy_incident_open(const char *name, const char *severity, const char *what, const char *detail, const char *advice);
extern void jdy_incident_close(const char *name, const char *what);

/* "full", "auto", … */
extern const char *jdy_mode_name(RunMode mode);
extern RunMode jdy_mode_parse(const char *mode);

#endif							/* JDY_RUNLOG_H */
