/*-------------------------------------------------------------------------
 * worker.c
 *		What launcher, schedulers and runners have in common.
 *
 * Called by launcher.c, scheduler.c and runner.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "spi.h"
#include "utils/guc.h"
#include "worker.h"

void
jdy_worker_describe(BackgroundWorker *worker, const char *kind)
{
	MemSet(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "jdysync", sizeof(worker->bgw_library_name));
	snprintf(worker->bgw_function_name, sizeof(worker->bgw_function_name), "jdy_%s_main", kind);
	snprintf(worker->bgw_name, sizeof(worker->bgw_name), "jdysync %s", kind);
	snprintf(worker->bgw_type, sizeof(worker->bgw_type), "jdysync %s", kind);
}

/*
 * What roles and databases may have set for their sessions must not change what
 * a worker does.  Off for synchronous_commit would let a crash take back what
 * the service was already told or what a certificate already says.
 */
void
jdy_pin_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			pins[] = {
		{"role", "none"},
		{"search_path", JDY_SAFE_SEARCH_PATH},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},	/* since PostgreSQL 17 */
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
		{"jit", "off"},
		{"zero_damaged_pages", "off"}
	};

	for (int i = 0; i < lengthof(pins); i++)
		if (GetConfigOption(pins[i].name, true, false) != NULL)
			SetConfigOption(pins[i].name, pins[i].value, PGC_SUSET, PGC_S_OVERRIDE);

	SetConfigOption("synchronous_commit",
					synchronous_commit == SYNCHRONOUS_COMMIT_OFF ? "local" :
					GetConfigOption("synchronous_commit", false, false),
					PGC_SUSET, PGC_S_OVERRIDE);
}
