/*-------------------------------------------------------------------------
 * mapping.c
 *		jdy_create_view: a mapping becomes a plain SQL view.
 *
 * The view is an ordinary one of the caller's: made with his own rights, read
 * with them too, his to grant, change and drop.  It is made again from another
 * mapping as long as it still is what was made: jdysync.mapped_view keeps the
 * definition as PostgreSQL wrote it then, and a view that differs is somebody's work.
 *
 * Where the new columns go on from the old ones it is replaced in place, with
 * everything that depends on it.  Else it is dropped and made again, with the same owner and
 * GRANTs, unless something depends on it.
 *
 * What a mapping means is compile.c's; here is what becomes of the view.
 *
 * Called from SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "fmgr.h"
#include "mapping.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "spi.h"
#include "stream.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/varlena.h"

/* Before DROP, so that GRANTs can be made again, and the owner. */
typedef struct ViewState
{
	bool		made_here;		/* jdysync.mapped_view has it */
	bool		unchanged;		/* it still is what was made */
	Oid			owner;
	char	   *grants;			/* GRANT statements; NULL = none */
} ViewState;

PG_FUNCTION_INFO_V1(jdy_create_view);

static Oid	target_schema(text *view, char **name);
static Oid	first_creatable_schema(void);
static ViewState *state_of(Oid view, const char *quoted);
static void replace(Oid view, const char *quoted, const ViewState *state, const char *select);
static ErrorData *attempt(const char *sql);
static void comment(const char *quoted, const ViewText *view);
static void remember(Oid view, int stream_id, Datum mapping);
static void execute_with_wording(JdyStatement *statement, Datum *values);

Datum
jdy_create_view(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			schema;
	Oid			existing;
	char	   *quoted;
	char	   *select;
	StreamRef  *ref;
	Stream	   *stream;
	ViewText   *view;

	SPI_connect();
	schema = target_schema(PG_GETARG_TEXT_PP(0), &name);
	quoted = quote_qualified_identifier(get_namespace_name(schema), name);
	ref = jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	stream = jdy_stream_load(ref->stream_id);
	view = jdy_compile_mapping(PG_GETARG_JSONB_P(2), stream->staging_name,
							   pg_get_timezone_name(stream->endpoint->time_zone), stream->details);
	view->comment = psprintf("records of stream %s as a mapping has them; made by jdy_create_view", stream->name);
	select = jdy_view_select(view);

	existing = get_relname_relid(name, schema);
	if (OidIsValid(existing))
	{
		ViewState  *state = state_of(existing, quoted);

		if (!state->made_here || !state->unchanged)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("relation %s exists already", quoted),
					 state->made_here ? errdetail("It was made by jdy_create_view and changed since.") :
					 errdetail("It was not made by jdy_create_view."),
					 errhint("Choose another name, or drop it first.")));
		replace(existing, quoted, state, select);
	}
	else
		jdy_execute_utility_as_user(psprintf("CREATE VIEW %s AS %s", quoted, select));
	existing = get_relname_relid(name, schema);
	comment(quoted, view);
	remember(existing, stream->stream_id, PG_GETARG_DATUM(2));
	SPI_finish();
	PG_RETURN_OID(existing);
}

/* As everywhere in PostgreSQL names are folded to lower case unless quoted. */
static Oid
target_schema(text *view, char **name)
{
	RangeVar   *given = makeRangeVarFromNameList(textToQualifiedNameList(view));

	*name = given->relname;
	if (given->catalogname != NULL && strcmp(given->catalogname, get_database_name(MyDatabaseId)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("view must be in this database"),
				 errdetail("Its name is \"%s\".", text_to_cstring(view)),
				 errhint("Write schema.name, or the name alone.")));
	return given->schemaname ? get_namespace_oid(given->schemaname, false) : first_creatable_schema();
}

/*
 * The caller's search_path may begin with a schema that is not his to create in,
 * such as the extension's.
 */
static Oid
first_creatable_schema(void)
{
	List	   *path = fetch_search_path(false);
	ListCell   *cell;

	foreach(cell, path)
	{
		Oid			schema = lfirst_oid(cell);

		if (!isTempNamespace(schema) && object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_CREATE) == ACLCHECK_OK)
			return schema;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_SCHEMA),
			 errmsg("no schema has been selected to create in"),
			 errdetail("Role \"%s\" may create nothing in any schema of its search_path.", GetUserNameFromId(GetUserId(), false)),
			 errhint("CREATE SCHEMA ... AUTHORIZATION \"%s\", and name the view with it: schema.name.",
					 GetUserNameFromId(GetUserId(), false))));
	return InvalidOid;			/* not reached */
}

/* Options (security_barrier …), rules and triggers are changes, too. */
static ViewState *
state_of(Oid view, const char *quoted)
{
	static JdyStatement look = {
		.sql = "SELECT m.view IS NOT NULL, c.relkind = 'v' AND c.reloptions IS NULL"
		" AND pg_catalog.pg_get_viewdef(c.oid) = m.definition"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid)"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'),"
		" c.relowner,"
		" (SELECT pg_catalog.string_agg(pg_catalog.concat('GRANT ', a.privilege_type, ' ON ', $2, ' TO ',"
		"   CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,"
		"   CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END), '; ')"
		"  FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)"
		" FROM pg_catalog.pg_class c LEFT JOIN jdysync.mapped_view m ON m.view = c.oid WHERE c.oid = $1",
		.nargs = 2,
		.argtypes = {OIDOID, TEXTOID}
	};
	Datum		values[2] = {ObjectIdGetDatum(view), CStringGetTextDatum(quoted)};
	ViewState  *state = palloc0(sizeof(ViewState));
	bool		isnull;
	Datum		unchanged;

	execute_with_wording(&look, values);
	if (SPI_processed == 0)
		return state;
	state->made_here = DatumGetBool(jdy_spi_datum(0, 1, &isnull));
	unchanged = jdy_spi_datum(0, 2, &isnull);
	state->unchanged = !isnull && DatumGetBool(unchanged);
	state->owner = DatumGetObjectId(jdy_spi_datum(0, 3, &isnull));
	state->grants = jdy_spi_text(0, 4);
	return state;
}

static void
replace(Oid view, const char *quoted, const ViewState *state, const char *select)
{
	ErrorData  *error = attempt(psprintf("CREATE OR REPLACE VIEW %s AS %s", quoted, select));

	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_INVALID_TABLE_DEFINITION)
		ReThrowError(error);

	/* Other columns, or in another order. */
	error = attempt(psprintf("DROP VIEW %s RESTRICT", quoted));
	if (error != NULL && error->sqlerrcode == ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("view %s is to have other columns, and other objects depend on it", quoted),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Drop these first, or choose another name; columns added at the end need no drop.")));
	if (error != NULL)
		ReThrowError(error);
	jdy_execute_utility_as_user(psprintf("CREATE VIEW %s AS %s", quoted, select));
	if (state->grants != NULL)
		jdy_execute_utility_as_user(state->grants);
	if (state->owner != GetUserId())
		jdy_execute_utility_as_user(psprintf("ALTER VIEW %s OWNER TO %s", quoted,
											 quote_identifier(GetUserNameFromId(state->owner, false))));
}

/* Runs it as the caller in a subtransaction; the error it ended with, or NULL. */
static ErrorData *
attempt(const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		jdy_execute_utility_as_user(sql);
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

static void
comment(const char *quoted, const ViewText *view)
{
	ListCell   *cell;

	jdy_execute_utility_as_user(psprintf("COMMENT ON VIEW %s IS %s", quoted, quote_literal_cstr(view->comment)));
	foreach(cell, view->columns)
	{
		ViewColumn *column = lfirst(cell);

		jdy_execute_utility_as_user(psprintf("COMMENT ON COLUMN %s.%s IS %s", quoted,
											 quote_identifier(column->name), quote_literal_cstr(column->comment)));
	}
}

/* And forgets views that are gone: nothing tells when they are dropped. */
static void
remember(Oid view, int stream_id, Datum mapping)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.mapped_view m WHERE NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_class c WHERE c.oid = m.view AND c.relkind = 'v')",
		.nargs = 0
	};
	static JdyStatement note = {
		.sql = "INSERT INTO jdysync.mapped_view (view, stream_id, mapping, definition)"
		" VALUES ($1, $2, $3, pg_catalog.pg_get_viewdef($1::oid)) ON CONFLICT (view) DO UPDATE"
		" SET stream_id = EXCLUDED.stream_id, mapping = EXCLUDED.mapping, definition = EXCLUDED.definition",
		.nargs = 3,
		.argtypes = {REGCLASSOID, INT4OID, JSONBOID}
	};
	Datum		values[3] = {ObjectIdGetDatum(view), Int32GetDatum(stream_id), mapping};

	jdy_execute(&forget, NULL, NULL);
	execute_with_wording(&note, values);
}

/*
 * As the extension's owner, with all that the wording of pg_get_viewdef depends on
 * as it was the last time: search_path (jdy_execute pins it), quoting, dates.
 */
static void
execute_with_wording(JdyStatement *statement, Datum *values)
{
	int			guc_level = NewGUCNestLevel();

	(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	jdy_execute(statement, values, NULL);
	AtEOXact_GUC(true, guc_level);
}
