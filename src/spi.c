/*-------------------------------------------------------------------------
 * spi.c
 *		Fixed SQL on the extension's own tables, and transactions of workers.
 *
 * Nobody has DML on the tables in schema jdysync, so that no owner of a stream
 * can forge a certificate.  Our own statements therefore run with the id of the
 * extension's owner, a superuser: what they name must not be anybody else's to
 * redefine.  Tables are written qualified; operators and functions are made safe
 * by search_path, which is pinned here unless it is pinned already.
 *
 * This is the hot path of landing rows.  Switching the user id is two
 * assignments; a new level of settings costs some microseconds and a search
 * path recomputed, so workers pin search_path once (to JDY_SAFE_SEARCH_PATH) and
 * each statement only compares strings.  Errors need no clean-up here: the end of the
 * (sub)transaction puts user id and settings back.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "spi.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* What a statement as the owner changes, and how it was before. */
typedef struct OwnerScope
{
	Oid			user_id;
	int			sec_context;
	int			guc_level;		/* 0 = search_path was pinned already */
} OwnerScope;

/* pg_extension's row, or "not here".  Emptied by extension_changed. */
static struct
{
	bool		known;
	Oid			oid;
	Oid			owner;
	Oid			schema;
}			extension;

/* What a unit of work of this process relies on. */
static struct
{
	Oid			extension;		/* InvalidOid = any */
	bool		locked;
	LOCKTAG		lock;			/* if locked */
}			guard;

static void check_lock(void);
static void execute_plan(JdyStatement *statement, Datum *values, const char *nulls, DestReceiver *receiver);
static bool reads_only(const char *sql);
static int	run_into(JdyStatement *statement, Datum *values, DestReceiver *receiver);
static void execute_text(const char *sql);
static int	plan_by_index(void);
static void enter_owner(OwnerScope *scope);
static int	pin_search_path(void);
static void leave_owner(const OwnerScope *scope);
static void look_up_extension(void);
static void extension_changed(Datum arg, int cacheid, uint32 hashvalue);

void
jdy_execute(JdyStatement *statement, Datum *values, const char *nulls)
{
	OwnerScope	scope;

	enter_owner(&scope);
	execute_plan(statement, values, nulls, NULL);
	leave_owner(&scope);
}

void
jdy_execute_into(JdyStatement *statement, Datum *values, DestReceiver *receiver)
{
	OwnerScope	scope;

	enter_owner(&scope);
	execute_plan(statement, values, NULL, receiver);
	leave_owner(&scope);
}

void
jdy_execute_as_user(JdyStatement *statement, Datum *values, const char *nulls)
{
	execute_plan(statement, values, nulls, NULL);
}

void
jdy_execute_utility(const char *sql)
{
	OwnerScope	scope;

	enter_owner(&scope);
	execute_text(sql);
	leave_owner(&scope);
}

void
jdy_execute_utility_as_user(const char *sql)
{
	int			guc_level = pin_search_path();

	execute_text(sql);
	if (guc_level != 0)
		AtEOXact_GUC(true, guc_level);
}

static void
execute_text(const char *sql)
{
	MemoryContext caller = CurrentMemoryContext;
	int			rc;

	jdy_require_primary();
	rc = SPI_execute(sql, false, 0);
	MemoryContextSwitchTo(caller);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
}

Oid
jdy_extension_oid(void)
{
	look_up_extension();
	return extension.oid;
}

Oid
jdy_extension_owner(void)
{
	look_up_extension();
	return extension.owner;
}

/* The schema may be renamed without the extension's row changing, so the name is asked each time. */
const char *
jdy_extension_schema(void)
{
	look_up_extension();
	return OidIsValid(extension.schema) ? get_namespace_name(extension.schema) : NULL;
}

/* Whoever drops the extension begins with this lock; taking it takes in what was done before. */
bool
jdy_extension_hold(Oid extension)
{
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return jdy_extension_oid() == extension;
}

void
jdy_tx_guard(Oid extension, const LOCKTAG *lock)
{
	guard.extension = extension;
	guard.locked = lock != NULL;
	if (lock != NULL)
		guard.lock = *lock;
}

bool
jdy_tx_lock_is_wanted(void)
{
	return guard.locked && LockHeldByMe(&guard.lock, ExclusiveLock, false) &&
		LockHasWaiters(&guard.lock, ExclusiveLock, true);
}

/*
 * The guard is asked before the snapshot.  Without it plans and names would find
 * the tables of another extension, made under the same name since: the streams there
 * have the numbers of those that were dropped.
 */
void
jdy_tx_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (OidIsValid(guard.extension) && !jdy_extension_hold(guard.extension))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension jdysync was dropped while it was used"),
				 errdetail("Its streams went with it; one that has the same name now is another."),
				 errhint("Run the new stream, if there is one.")));
	check_lock();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	debug_query_string = activity;
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* What was done without the lock must not stay. */
void
jdy_tx_commit(void)
{
	check_lock();
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	debug_query_string = NULL;

	/* Without it autovacuum never learns of the worker's writes. */
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

ErrorData *
jdy_try(void (*work) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

bool
jdy_error_is_the_servers(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return false;
	}
}

char *
jdy_spi_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

int64
jdy_spi_int64(uint64 row, int column, int64 when_null)
{
	bool		isnull;
	Datum		value = jdy_spi_datum(row, column, &isnull);

	if (isnull)
		return when_null;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, column))
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case OIDOID:
		case REGCLASSOID:
			return DatumGetObjectId(value);
		case INT8OID:
			return DatumGetInt64(value);
	}
	elog(ERROR, "column %d of the result is not an integer", column);
	return 0;					/* not reached */
}

Datum
jdy_spi_datum(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

Datum
jdy_make_array(Datum *values, bool *nulls, int n, Oid type)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};
	int			length = type == BOOLOID ? 1 : type == INT4OID ? 4 : type == INT8OID || type == TIMESTAMPTZOID ? 8 : -1;

	if (n == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, type, length, length > 0,
											  length == 1 ? TYPALIGN_CHAR : length == 8 ? TYPALIGN_DOUBLE : TYPALIGN_INT));
}

Datum
jdy_text_array(char **texts, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc0(sizeof(bool) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(texts[i]);
	return jdy_make_array(values, nulls, n, TEXTOID);
}

Datum
jdy_make_bytea(const void *bytes, size_t length)
{
	bytea	   *copy = palloc(VARHDRSZ + length);

	SET_VARSIZE(copy, VARHDRSZ + length);
	memcpy(VARDATA(copy), bytes, length);
	return PointerGetDatum(copy);
}

/* The lock is of the manager's method that advisory locks use, so that it outlives errors (runner.c). */
static void
check_lock(void)
{
	if (guard.locked && !LockHeldByMe(&guard.lock, ExclusiveLock, false))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the lock of the run's stream was released"),
				 errdetail("Without it a second run could work on the stream at the same time, so nothing more is written."),
				 errhint("A trigger of the staging table, or a function that one uses, calls pg_advisory_unlock_all(): let it release its own locks one by one.")));
}

/*
 * The plan is made at first use and kept as long as the process; the plan cache
 * looks after changes of tables.  SPI leaves its own context current, whose
 * contents die with the transaction: callers go on in theirs.
 */
static void
execute_plan(JdyStatement *statement, Datum *values, const char *nulls, DestReceiver *receiver)
{
	MemoryContext caller = CurrentMemoryContext;
	int			guc_level = 0;
	int			rc;

	if (!reads_only(statement->sql))
		jdy_require_primary();
	if (statement->by_index)
		guc_level = plan_by_index();
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs, statement->argtypes);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	rc = receiver != NULL ? run_into(statement, values, receiver) :
		SPI_execute_plan(statement->plan, values, nulls, false, 0);
	MemoryContextSwitchTo(caller);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	if (guc_level != 0)
		AtEOXact_GUC(true, guc_level);

	/* SPI leaves its own context current, which ends with the transaction. */
	MemoryContextSwitchTo(caller);
}

/* By its first word, for a clear error on a standby: what this takes for a reader PostgreSQL itself refuses. */
static bool
reads_only(const char *sql)
{
	return strncmp(sql, "SELECT", 6) == 0 || strncmp(sql, "WITH", 4) == 0;
}

static int
run_into(JdyStatement *statement, Datum *values, DestReceiver *receiver)
{
	SPIExecuteOptions options = {.params = makeParamList(statement->nargs),.dest = receiver};

	for (int i = 0; i < statement->nargs; i++)
	{
		ParamExternData *param = &options.params->params[i];

		param->value = values[i];
		param->isnull = false;
		param->pflags = PARAM_FLAG_CONST;
		param->ptype = statement->argtypes[i];
	}
	return SPI_execute_plan_extended(statement->plan, &options);
}

/*
 * Plans are made while a table is empty, and would read all of it once it is
 * large; statistics come late.  An error's abort puts the settings back.
 */
static int
plan_by_index(void)
{
	static const char *const settings[] = {
		"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort", "jit"
	};
	int			guc_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

static void
enter_owner(OwnerScope *scope)
{
	Oid			owner = jdy_extension_owner();

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension jdysync does not exist in this database"),
				 errhint("Run CREATE EXTENSION jdysync.")));

	GetUserIdAndSecContext(&scope->user_id, &scope->sec_context);
	SetUserIdAndSecContext(owner, scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);

	scope->guc_level = pin_search_path();
}

/* 0 = it was pinned already; else the level to go back to. */
static int
pin_search_path(void)
{
	int			guc_level;

	if (strcmp(namespace_search_path, JDY_SAFE_SEARCH_PATH) == 0)
		return 0;
	guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", JDY_SAFE_SEARCH_PATH,
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return guc_level;
}

static void
leave_owner(const OwnerScope *scope)
{
	if (scope->guc_level != 0)
		AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user_id, scope->sec_context);
}

/*
 * pg_extension has no syscache, so nothing tells when its row changes.  But
 * whatever creates or drops the extension or changes its owner does the same to
 * the foreign data wrapper, which has one.
 */
static void
look_up_extension(void)
{
	static bool registered = false;
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, extension_changed, (Datum) 0);
		registered = true;
	}
	if (extension.known)
		return;

	/* Opening the table takes in pending invalidations; one that comes later is seen next time. */
	rel = table_open(ExtensionRelationId, AccessShareLock);
	memset(&extension, 0, sizeof(extension));
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("jdysync"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		extension.oid = form->oid;
		extension.owner = form->extowner;
		extension.schema = form->extnamespace;
	}
	extension.known = true;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
extension_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	extension.known = false;
}
