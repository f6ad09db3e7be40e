/*-------------------------------------------------------------------------
 * giveway.c
 *		Our workers leave a database that somebody changes as a whole.
 *
 * PostgreSQL refuses these while anybody is connected to the database, so our
 * workers are stopped when they begin:
 *
 *	DROP DATABASE				an object access hook, which dropdb calls after its checks of privilege
 *								and before it looks who is connected
 *	ALTER DATABASE … RENAME TO,	no such hook there: before the statement, if who calls it may do that
 *	… SET TABLESPACE, CREATE
 *	DATABASE … TEMPLATE
 *
 *	ALTER EXTENSION … UPDATE	stops nobody; but if the objects were ones that the library does not know, the
 *								schedule stands still, and the database is marked as due at commit
 *
 * Who connects takes a lock on the database that these statements hold against him, in a transaction
 * block until that ends: so no worker comes back before.  The launcher looks for that lock instead of
 * sending a scheduler that would wait for it.  The database is marked as due, so it goes on when the
 * statement is over, however it ended: under another name, elsewhere, refused, rolled back.
 *
 * Runs that were stopped are "interrupted"; what is on a schedule is repeated, and nothing that was
 * landed is lost.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "compat.h"
#include "database.h"
#include "giveway.h"
#include "miscadmin.h"
#include "runner.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

static object_access_hook_type previous_object_access_hook = NULL;
static ProcessUtility_hook_type previous_utility_hook = NULL;

static void object_accessed(ObjectAccessType access, Oid class, Oid object, int subid, void *arg);
static void run_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
						ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion);
static void give_way(const char *name, bool copied);
static bool may_do_it(Oid database, bool copied);
static const char *option_of(List *options, const char *name);

void
jdy_giveway_register(void)
{
	previous_object_access_hook = object_access_hook;
	object_access_hook = object_accessed;
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
}

static void
object_accessed(ObjectAccessType access, Oid class, Oid object, int subid, void *arg)
{
	if (access == OAT_DROP && class == DatabaseRelationId)
		jdy_database_stop(object);
	else if (access == OAT_POST_ALTER && class == ExtensionRelationId)
		jdy_wake_launcher_at_commit();
	if (previous_object_access_hook)
		previous_object_access_hook(access, class, object, subid, arg);
}

static void
run_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	Node	   *node = statement->utilityStmt;

	if (IsA(node, CreatedbStmt))
	{
		const char *template = option_of(castNode(CreatedbStmt, node)->options, "template");

		give_way(template != NULL ? template : "template1", true);
	}
	else if (IsA(node, RenameStmt) && castNode(RenameStmt, node)->renameType == OBJECT_DATABASE)
		give_way(castNode(RenameStmt, node)->subname, false);
	else if (IsA(node, AlterDatabaseStmt) && option_of(castNode(AlterDatabaseStmt, node)->options, "tablespace") != NULL)
		give_way(castNode(AlterDatabaseStmt, node)->dbname, false);

	if (previous_utility_hook)
		previous_utility_hook(statement, query, read_only_tree, context, params, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, receiver, completion);
}

/* The lock first, as the statement would take it: what is stopped must not be followed by another. */
static void
give_way(const char *name, bool copied)
{
	Oid			database = get_database_oid(name, true);

	if (!OidIsValid(database) || !may_do_it(database, copied))
		return;
	LockSharedObject(DatabaseRelationId, database, 0, copied ? ShareLock : AccessExclusiveLock);
	jdy_database_stop(database);
}

/* Runs must not be anybody's to stop by a statement that is refused. */
static bool
may_do_it(Oid database, bool copied)
{
	HeapTuple	role;
	HeapTuple	template;
	bool		may;

	if (RecoveryInProgress() || (database == MyDatabaseId && !copied))
		return false;
	if (object_ownercheck(DatabaseRelationId, database, GetUserId()))
		return true;
	if (!copied)
		return false;

	/* Who may create databases may copy any that is marked as a template. */
	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	template = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	may = HeapTupleIsValid(role) && ((Form_pg_authid) GETSTRUCT(role))->rolcreatedb &&
		HeapTupleIsValid(template) && ((Form_pg_database) GETSTRUCT(template))->datistemplate;
	if (HeapTupleIsValid(template))
		ReleaseSysCache(template);
	if (HeapTupleIsValid(role))
		ReleaseSysCache(role);
	return may;
}

/* NULL when it is not there, or is DEFAULT. */
static const char *
option_of(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}
