/*-------------------------------------------------------------------------
 * runner.h
 *		Background workers that make runs.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RUNNER_H
#define JDY_RUNNER_H

#include "postgres.h"

#include "postmaster/bgworker.h"
#include "runslot.h"
#include "shmem.h"

/* Registers a worker for the slot; false when the server has none left. */
extern bool jdy_runner_register(const SlotTicket *ticket, BackgroundWorkerHandle **handle);

typedef enum StartResult
{
	START_OK,
	START_LATER,				/* jdysync.max_workers are out, or others are before it in line */
	START_NO_WORKER				/* the server has none left */
} StartResult;

/* Starts a worker for a queued run (from the scheduler). */
extern StartResult jdy_runner_start_queued(const RunRequest *request);

/* Asks the run to stop; false when it is not open here. */
extern bool jdy_runner_cancel(int64 run_id);

#define JDY_GRANT_CONNECT_HINT "GRANT CONNECT ON DATABASE … TO the role, or give the stream another owner."

/* Tells the launcher that this database has something due, when the transaction commits. */
extern void jdy_wake_launcher_at_commit(void);

PGDLLEXPORT void jdy_runner_main(Datum slot);
PGDLLEXPORT void jdy_launcher_main(Datum arg);
PGDLLEXPORT void jdy_scheduler_main(Datum arg);

/* From _PG_init. */
extern void jdy_launcher_register(void);

#endif							/* JDY_RUNNER_H */
