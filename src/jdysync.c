/*-------------------------------------------------------------------------
 * jdysync.c
 *		Entry point of the library, and its settings.
 *
 * Everything that can be set is set for the whole cluster (SIGHUP): the workers
 * that obey these settings belong to no session, and what limits a user (hosts,
 * the kill switch) must not be his to change.
 *
 * The check hooks also run in the postmaster, which has no catalogs and must not
 * see an error raised: they only look at the text.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xlog.h"
#include "address.h"
#include "clock.h"
#include "fmgr.h"
#include "giveway.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "runner.h"
#include "shmem.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

PG_MODULE_MAGIC_EXT(.name = "jdysync", .version = JDY_VERSION);

PGDLLEXPORT void _PG_init(void);

bool		jdy_enabled = true;
char	   *jdy_databases = "all";
int			jdy_max_workers = 4;
char	   *jdy_allowed_hosts = "*";
int			jdy_log_calls = LOG_CALLS_ALL;
char	   *jdy_log_retention = "30 days";
int			jdy_log_size_mb = 1024;

bool		jdy_preloaded = false;

static char *clock_offset = "";	/* its show hook knows */

static const struct config_enum_entry log_calls_options[] = {
	{"all", LOG_CALLS_ALL, false},
	{"errors", LOG_CALLS_ERRORS, false},
	{"off", LOG_CALLS_OFF, false},
	{NULL, 0, false}
};

static void define_settings(void);
static bool check_databases(char **newval, void **extra, GucSource source);
static bool check_allowed_hosts(char **newval, void **extra, GucSource source);
static bool check_log_retention(char **newval, void **extra, GucSource source);

void
_PG_init(void)
{
	define_settings();

	/* The server that pg_upgrade starts must run no worker of ours. */
	if (IsBinaryUpgrade)
		return;

	if (process_shared_preload_libraries_in_progress)
	{
		jdy_preloaded = true;
		jdy_shmem_init();
		jdy_launcher_register();
		jdy_giveway_register();
	}
}

void
jdy_require_preload(void)
{
	if (!jdy_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jdysync is not loaded by the server"),
				 errdetail("Its workers and its shared memory exist only when the library is loaded at server start."),
				 errhint("Add jdysync to shared_preload_libraries and restart PostgreSQL.")));
}

void
jdy_require_primary(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("this server is a standby"),
				 errdetail("jdysync changes nothing and calls nobody from here."),
				 errhint("Use the primary. When this server is promoted, streams and pushes go on here by themselves.")));
}

static void
define_settings(void)
{
	DefineCustomBoolVariable("jdysync.enabled",
							 "Lets jdysync work; off stops all runs.",
							 NULL,
							 &jdy_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jdysync.databases",
							   "Databases that jdysync works in: all, or a list of names.",
							   NULL,
							   &jdy_databases, "all",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_databases, NULL, NULL);
	DefineCustomIntVariable("jdysync.max_workers",
							"Most runs at once in the whole cluster.",
							"They count toward max_worker_processes. Who calls jdy_sync when all are busy waits for one.",
							&jdy_max_workers, 4, 1, JDY_MAX_RUNS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jdysync.allowed_hosts",
							   "Hosts that may be called: names, and patterns like * and *.kingdee.com.",
							   "Loopback and private addresses must be listed by name, or the server be a superuser's.",
							   &jdy_allowed_hosts, "*",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_allowed_hosts, NULL, NULL);
	DefineCustomEnumVariable("jdysync.log_calls",
							 "Which HTTP calls are kept in jdy_calls.",
							 NULL,
							 &jdy_log_calls, LOG_CALLS_ALL, log_calls_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jdysync.log_retention",
							   "How long runs, calls, closed incidents and settled rejects are kept, as an interval.",
							   NULL,
							   &jdy_log_retention, "30 days",
							   PGC_SIGHUP, 0, check_log_retention, NULL, NULL);
	DefineCustomIntVariable("jdysync.log_size",
							"How large the log of runs and calls may grow in each database.",
							"When it is reached calls go first, the oldest first.",
							&jdy_log_size_mb, 1024, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);

	DefineCustomStringVariable("jdysync.clock_offset",
							   "How far the clock of schedules is ahead of the system's.",
							   "Not zero in jdysync's own tests only.",
							   &clock_offset, "",
							   PGC_INTERNAL, GUC_NO_SHOW_ALL | GUC_DISALLOW_IN_FILE, NULL, NULL, jdy_clock_show_offset);

	MarkGUCPrefixReserved("jdysync");
}

/* A list of identifiers; "all" is one of that form. */
static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *names = pstrdup(*newval);
	List	   *list;
	bool		ok = SplitIdentifierString(names, ',', &list);

	if (ok)
		list_free(list);
	else
		GUC_check_errdetail("List syntax is invalid.");
	pfree(names);
	return ok;
}

static bool
check_allowed_hosts(char **newval, void **extra, GucSource source)
{
	if (jdy_host_patterns_valid(*newval))
		return true;
	GUC_check_errdetail("It must be a list of host names, addresses, \"*\" and \"*.domain\".");
	return false;
}

/*
 * interval_in would raise an error, so the decoder below it is asked.  Read by
 * the same rules later, when the log is trimmed.
 */
static bool
check_log_retention(char **newval, void **extra, GucSource source)
{
	char		workbuf[256];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nfields;
	int			dtype;
	struct pg_itm_in itm;
	Interval	span;
	int			dterr;

	dterr = ParseDateTime(*newval, workbuf, sizeof(workbuf), field, ftype, MAXDATEFIELDS, &nfields);
	if (dterr == 0)
		dterr = DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE, &dtype, &itm);
	if (dterr == DTERR_BAD_FORMAT)
		dterr = DecodeISO8601Interval(*newval, &dtype, &itm);
	if (dterr == 0 && (dtype != DTK_DELTA || itmin2interval(&itm, &span) != 0))
		dterr = DTERR_INTERVAL_OVERFLOW;
	if (dterr != 0)
	{
		GUC_check_errdetail("It must be an interval, like '30 days'.");
		return false;
	}
	if (span.month < 0 || span.day < 0 || span.time < 0)
	{
		GUC_check_errdetail("It must not be negative.");
		return false;
	}
	return true;
}
