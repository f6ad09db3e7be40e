/*-------------------------------------------------------------------------
 * stagingtable.c
 *		A stream's staging table as an SQL object: found, created, dropped.
 *
 * It lies in schema jdysync, where nobody else may create anything, and belongs to the
 * stream's owner: indexes, triggers and rights on it are his to add.  What is
 * written into it is staging.c's.
 *
 * Called by stream.c and streamload.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_tablespace.h"
#include "commands/tablespace.h"
#include "compat.h"
#include "miscadmin.h"
#include "spi.h"
#include "stagingtable.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* A detail is often over 2 kB, so it is compressed: lz4 takes a fifth of the time, where PostgreSQL was built with it. */
#ifdef USE_LZ4
#define DATA_COMPRESSION " COMPRESSION lz4"
#else
#define DATA_COMPRESSION ""
#endif

static void check_tablespace(Oid owner);

Oid
jdy_staging_table_find(const char *name, Oid *owner)
{
	char	   *relname = psprintf("staging_%s", name);
	const char *quoted = quote_qualified_identifier("jdysync", relname);
	Oid			staging = get_relname_relid(relname, get_namespace_oid("jdysync", false));
	HeapTuple	tuple = OidIsValid(staging) ? SearchSysCache1(RELOID, ObjectIdGetDatum(staging)) : NULL;
	char		kind;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	*owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	kind = ((Form_pg_class) GETSTRUCT(tuple))->relkind;
	ReleaseSysCache(tuple);
	if (!has_privs_of_role(GetUserId(), *owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("staging table of stream \"%s\" belongs to somebody else", name),
				 errdetail("Table %s was kept when an earlier stream of that name was dropped.", quoted)));
	if ((kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) ||
		get_attnum(staging, "row_digest") == InvalidAttrNumber ||
		get_attnum(staging, "detailed_at") == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is not a staging table", quoted)));
	return staging;
}

Oid
jdy_staging_table_create(const char *name, Oid owner)
{
	char	   *relname = psprintf("staging_%s", name);
	const char *quoted = quote_qualified_identifier("jdysync", relname);

	check_tablespace(owner);
	jdy_execute_utility(psprintf("CREATE TABLE %s ("
								 " id text COLLATE \"C\" PRIMARY KEY,"
								 " number text,"
								 " data jsonb" DATA_COMPRESSION " NOT NULL,"
								 " modified_at timestamptz,"
								 " detailed_at timestamptz,"
								 " synced_at timestamptz NOT NULL,"
								 " deleted_at timestamptz,"
								 " out_of_scope_at timestamptz,"
								 " run_id bigint NOT NULL,"
								 " row_digest bigint)", quoted));
	jdy_execute_utility(psprintf("COMMENT ON TABLE %s IS 'records of stream %s, one row each; made and kept by jdysync'",
								 quoted, name));
	jdy_execute_utility(psprintf("COMMENT ON COLUMN %s.data IS 'list row and detail joined, the detail wins; sensitive fields decrypted'", quoted));
	jdy_execute_utility(psprintf("COMMENT ON COLUMN %s.detailed_at IS 'service time at which data was asked: its list row, and later its detail; NULL = list row only so far'", quoted));
	jdy_execute_utility(psprintf("COMMENT ON COLUMN %s.deleted_at IS 'proven to be gone at the source; the row stays'", quoted));
	jdy_execute_utility(psprintf("ALTER TABLE %s OWNER TO %s", quoted,
								 quote_identifier(GetUserNameFromId(owner, false))));
	return get_relname_relid(relname, get_namespace_oid("jdysync", false));
}

void
jdy_staging_table_drop(Oid staging)
{
	ObjectAddress object = {RelationRelationId, staging, 0};

	LockRelationOid(staging, AccessExclusiveLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(staging)))
		return;
	if (!object_ownercheck(RelationRelationId, staging, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(staging));
	performDeletion(&object, DROP_RESTRICT, 0);
}

char *
jdy_staging_table_name(Oid relation)
{
	char	   *name = get_rel_name(relation);
	char	   *schema = get_namespace_name(get_rel_namespace(relation));

	if (name == NULL || schema == NULL)
		jdy_staging_table_is_gone();
	return quote_qualified_identifier(schema, name);
}

void
jdy_staging_table_is_gone(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("stream was dropped, or its staging table was"),
			 errhint("Add the stream again; a kept staging table is adopted.")));
}

/* The extension's right must not open a tablespace that default_tablespace names and the owner may not use. */
static void
check_tablespace(Oid owner)
{
	Oid			tablespace = GetDefaultTablespace(RELPERSISTENCE_PERMANENT, false);
	AclResult	aclresult;

	if (!OidIsValid(tablespace) || tablespace == MyDatabaseTableSpace)
		return;
	aclresult = object_aclcheck(TableSpaceRelationId, tablespace, owner, ACL_CREATE);
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_TABLESPACE, get_tablespace_name(tablespace));
}
