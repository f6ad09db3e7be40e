/*-------------------------------------------------------------------------
 * grant.c
 *		Who else may read or run a stream or push.
 *
 * Its owner's members may do everything.  Others get with jdy_grant
 *
 *	read	SELECT on its table (or a push's source) and the views it came with, and its lines of the views jdy_…, but no
 *			raw bytes and no bodies of requests
 *	run		to start, cancel, pause and resume its runs, which are made with its owner's rights as ever
 *
 * Where that is kept: in privileges on columns "read" and "run" of a view jdysync.grants_<name> that belongs to
 * the owner and that nobody reads.  So PostgreSQL does what must be done to privileges: it dumps them, a
 * role that has some cannot be dropped before DROP OWNED, a later role of the same number or name gets none, a
 * dump can be restored where a role is missing, \dp shows them.  The privilege is REFERENCES: on a view it permits
 * nothing, and no predefined role has it on everything.  A view that belongs to anybody but the owner of today says nothing.
 *
 * Called by stream.c, pushdef.c, sync.c, pause.c, runner.c and progress.c; jdysync.subject says the same in SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "grant.h"
#include "miscadmin.h"
#include "spi.h"
#include "streamview.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define QUOTED_NAME "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(k.relname)"

/* The views that stream $1 came with and its owner has not given away. */
static JdyStatement find_views = {
	.sql = "SELECT " QUOTED_NAME " FROM jdysync.mapped_view m JOIN jdysync.stream s ON s.stream_id = m.stream_id"
	" JOIN pg_catalog.pg_class t ON t.oid = s.staging JOIN pg_catalog.pg_class k ON k.oid = m.view AND k.relowner = t.relowner"
	" JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace"
	" WHERE m.stream_id = $1 AND m.mapping IS NULL AND " JDY_IS_VIEW_OVER("k", "t"),
	.nargs = 1,
	.argtypes = {INT4OID}
};

/* Who has something on view $1 but its owner. */
static JdyStatement find_grantees = {
	.sql = "SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END"
	" FROM pg_catalog.pg_class k CROSS JOIN LATERAL pg_catalog.aclexplode(k.relacl) AS a WHERE k.oid = $1 AND a.grantee <> k.relowner",
	.nargs = 1,
	.argtypes = {OIDOID}
};

static JdyStatement find_readers = {
	.sql = "SELECT DISTINCT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) FROM pg_catalog.pg_attribute c"
	" CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) AS a WHERE c.attrelid = $1 AND c.attname = 'read' AND a.grantee <> 0",
	.nargs = 1,
	.argtypes = {OIDOID}
};

PG_FUNCTION_INFO_V1(jdy_grant);

static bool may(const StreamRef *ref, Oid role, const char *column);
static Oid	grants_of(const StreamRef *ref);
static const char *view_name(const char *name);
static void make_view(const StreamRef *ref);
static void on_relations(const StreamRef *ref, const char *before, const char *after);
static List *texts(void);

Datum
jdy_grant(PG_FUNCTION_ARGS)
{
	char	   *privilege = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Oid			role = PG_GETARG_OID(1);
	bool		read = strcmp(privilege, "read") == 0;
	bool		run = strcmp(privilege, "run") == 0;
	StreamRef  *ref;
	const char *grantee;
	const char *view;

	if (!read && !run && strcmp(privilege, "none") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown privilege"),
				 errdetail("\"%s\" is not a privilege on a stream or push.", privilege),
				 errhint("Privileges are read and run; none takes back both.")));
	SPI_connect();
	ref = jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	grantee = quote_identifier(GetUserNameFromId(role, false));
	view = view_name(ref->name);
	if (role == ref->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_GRANT_OPERATION),
				 errmsg("role \"%s\" owns \"%s\"", GetUserNameFromId(role, false), ref->name),
				 errdetail("An owner may read and run what is his.")));

	if (!OidIsValid(grants_of(ref)) && (read || run))
		make_view(ref);
	if (read || run)
		jdy_execute_utility(psprintf("GRANT REFERENCES (%s) ON %s TO %s", read ? "\"read\"" : "run", view, grantee));
	else if (OidIsValid(grants_of(ref)))
		jdy_execute_utility(psprintf("REVOKE REFERENCES (\"read\", run) ON %s FROM %s", view, grantee));
	if (read)
		on_relations(ref, "GRANT SELECT ON", psprintf("TO %s", grantee));
	else if (!run)
		on_relations(ref, "REVOKE SELECT ON", psprintf("FROM %s", grantee));
	SPI_finish();
	PG_RETURN_VOID();
}

bool
jdy_may_read(const StreamRef *ref, Oid role)
{
	return may(ref, role, "read");
}

bool
jdy_may_run(const StreamRef *ref, Oid role)
{
	return may(ref, role, "run");
}

void
jdy_grants_renew(int stream_id)
{
	StreamRef  *ref = jdy_stream_ref_by_id(stream_id);
	Datum		values[1] = {ObjectIdGetDatum(grants_of(ref))};
	ListCell   *cell;

	if (DatumGetObjectId(values[0]) == InvalidOid)
		return;
	jdy_execute(&find_readers, values, NULL);
	foreach(cell, texts())
		on_relations(ref, "GRANT SELECT ON", psprintf("TO %s", (char *) lfirst(cell)));
}

void
jdy_grants_drop(const char *name)
{
	/* Not IF EXISTS, which tells its caller that there was none. */
	if (OidIsValid(get_relname_relid(psprintf("grants_%s", name), get_namespace_oid("jdysync", false))))
		jdy_execute_utility(psprintf("DROP VIEW %s", view_name(name)));
}

static bool
may(const StreamRef *ref, Oid role, const char *column)
{
	Oid			view;

	if (!OidIsValid(ref->owner))
		return false;
	if (has_privs_of_role(role, ref->owner))
		return true;
	view = grants_of(ref);
	return OidIsValid(view) &&
		(pg_class_aclcheck(view, role, ACL_REFERENCES) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(view, get_attnum(view, column), role, ACL_REFERENCES) == ACLCHECK_OK);
}

/* InvalidOid: there is none, or it is not the owner's. */
static Oid
grants_of(const StreamRef *ref)
{
	Oid			schema = get_namespace_oid("jdysync", true);
	Oid			view = OidIsValid(schema) ? get_relname_relid(psprintf("grants_%s", ref->name), schema) : InvalidOid;
	HeapTuple	tuple = OidIsValid(view) ? SearchSysCache1(RELOID, ObjectIdGetDatum(view)) : NULL;
	bool		valid = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		valid = form->relkind == RELKIND_VIEW && form->relowner == ref->owner;
		ReleaseSysCache(tuple);
	}
	return valid ? view : InvalidOid;
}

static const char *
view_name(const char *name)
{
	return quote_qualified_identifier("jdysync", psprintf("grants_%s", name));
}

/* One that another owner left is dropped; default privileges must grant nothing. */
static void
make_view(const StreamRef *ref)
{
	const char *view = view_name(ref->name);
	Datum		values[1];
	ListCell   *cell;

	jdy_grants_drop(ref->name);
	jdy_execute_utility(psprintf("CREATE VIEW %s (\"read\", run) AS SELECT NULL::pg_catalog.bool, NULL::pg_catalog.bool", view));
	jdy_execute_utility(psprintf("COMMENT ON VIEW %s IS 'privileges on its columns say who may read and run it besides its owner: jdy_grant'", view));
	jdy_execute_utility(psprintf("ALTER VIEW %s OWNER TO %s", view, quote_identifier(GetUserNameFromId(ref->owner, false))));
	values[0] = ObjectIdGetDatum(grants_of(ref));
	jdy_execute(&find_grantees, values, NULL);
	foreach(cell, texts())
		jdy_execute_utility(psprintf("REVOKE ALL ON %s FROM %s", view, (char *) lfirst(cell)));
}

/* Its table or source, and the views it came with. */
static void
on_relations(const StreamRef *ref, const char *before, const char *after)
{
	Datum		values[1] = {Int32GetDatum(ref->stream_id)};
	List	   *relations;
	ListCell   *cell;

	jdy_execute(&find_views, values, NULL);
	relations = lappend(texts(), quote_qualified_identifier(get_namespace_name(get_rel_namespace(ref->staging)), get_rel_name(ref->staging)));
	foreach(cell, relations)
		jdy_execute_utility(psprintf("%s %s %s", before, (char *) lfirst(cell), after));
}

/* The first column of what a statement found. */
static List *
texts(void)
{
	List	   *found = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
		found = lappend(found, jdy_spi_text(i, 1));
	return found;
}
