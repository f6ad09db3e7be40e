/*-------------------------------------------------------------------------
 * worker.h
 *		What launcher, schedulers and runners have in common.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_WORKER_H
#define JDY_WORKER_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/*
 * A worker of ours, ready to be registered: it starts when writing is possible and is not
 * restarted.  kind: "launcher", "scheduler" or "runner", whose main function is jdy_<kind>_main.
 */
extern void jdy_worker_describe(BackgroundWorker *worker, const char *kind);

/* Settings that a worker's work relies on, whatever the role or database says. */
extern void jdy_pin_settings(void);

#endif							/* JDY_WORKER_H */
