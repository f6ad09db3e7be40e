/*-------------------------------------------------------------------------
 * view.c
 *		Views over staging tables: made, replaced, remembered.
 *
 * A view is made again as long as it still is what was made: jdysync.mapped_view
 * keeps the definition as PostgreSQL wrote it then, and a view that differs is
 * somebody's work.
 *
 * Where the new columns go on from the old ones it is replaced in place, with everything
 * that depends on it.  Else it is dropped and made again, with the same owner and
 * GRANTs, unless something depends on it.
 *
 * Called by mapping.c and streamview.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "view.h"

/* With whose right: jdy_execute_utility or jdy_execute_utility_as_user. */
typedef void (*Execute) (const char *sql);

typedef struct Attempt
{
	const char *sql;
	Execute		execute;
} Attempt;

static bool replace(const char *quoted, const char *select, Execute execute);
static void drop(const char *quoted, Execute execute);
static ErrorData *attempt(const char *sql, Execute execute);
static void make_attempt(void *arg);
static void comment(const char *quoted, const ViewText *view, Execute execute);
static void execute_with_wording(JdyStatement *statement, Datum *values, const char *nulls);

/* Options (security_barrier …), rules and triggers are changes, too. */
ViewState *
jdy_view_state(Oid view, const char *quoted)
{
	static JdyStatement look = {
		.sql = "SELECT m.view IS NOT NULL, m.mapping IS NULL, c.relkind = 'v' AND c.reloptions IS NULL"
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

	execute_with_wording(&look, values, NULL);
	if (SPI_processed == 0)
		return state;
	state->made_here = DatumGetBool(jdy_spi_datum(0, 1, &isnull));
	state->of_stream = state->made_here && DatumGetBool(jdy_spi_datum(0, 2, &isnull));
	unchanged = jdy_spi_datum(0, 3, &isnull);
	state->unchanged = !isnull && DatumGetBool(unchanged);
	state->owner = DatumGetObjectId(jdy_spi_datum(0, 4, &isnull));
	state->grants = jdy_spi_text(0, 5);
	return state;
}

void
jdy_view_make(const char *quoted, const ViewState *state, const ViewText *view, Oid owner)
{
	Execute		execute = OidIsValid(owner) ? jdy_execute_utility : jdy_execute_utility_as_user;
	char	   *select = jdy_view_select(view);

	if (state == NULL || !replace(quoted, select, execute))
	{
		execute(psprintf("CREATE VIEW %s AS %s", quoted, select));
		if (state != NULL && state->grants != NULL)
			execute(state->grants);
		if (!OidIsValid(owner) && state != NULL && state->owner != GetUserId())
			owner = state->owner;
	}
	else if (owner == state->owner)
		owner = InvalidOid;		/* else the table has changed hands, and its views follow */
	if (OidIsValid(owner))
		execute(psprintf("ALTER VIEW %s OWNER TO %s", quoted, quote_identifier(GetUserNameFromId(owner, false))));
	comment(quoted, view, execute);
}

void
jdy_view_drop(const char *quoted)
{
	drop(quoted, jdy_execute_utility);
}

void
jdy_view_remember(Oid view, int stream_id, const Jsonb *mapping)
{
	/* Nothing tells when views are dropped. */
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
	Datum		values[3] = {ObjectIdGetDatum(view), Int32GetDatum(stream_id), JsonbPGetDatum(mapping)};

	jdy_execute(&forget, NULL, NULL);
	execute_with_wording(&note, values, mapping == NULL ? "  n" : NULL);
}

/* True when it could be replaced in place; else it is dropped then. */
static bool
replace(const char *quoted, const char *select, Execute execute)
{
	ErrorData  *error = attempt(psprintf("CREATE OR REPLACE VIEW %s AS %s", quoted, select), execute);

	if (error == NULL)
		return true;
	/* Other columns, or in another order. */
	if (error->sqlerrcode != ERRCODE_INVALID_TABLE_DEFINITION)
		ReThrowError(error);
	drop(quoted, execute);
	return false;
}

static void
drop(const char *quoted, Execute execute)
{
	ErrorData  *error = attempt(psprintf("DROP VIEW %s RESTRICT", quoted), execute);

	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("view %s must be dropped, and other objects depend on it", quoted),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("Drop these first.")));
}

/* Runs it in a subtransaction; the error it ended with, or NULL. */
static ErrorData *
attempt(const char *sql, Execute execute)
{
	Attempt		attempted = {.sql = sql,.execute = execute};

	return jdy_try(make_attempt, &attempted);
}

static void
make_attempt(void *arg)
{
	const Attempt *attempted = arg;

	attempted->execute(attempted->sql);
}

static void
comment(const char *quoted, const ViewText *view, Execute execute)
{
	ListCell   *cell;

	execute(psprintf("COMMENT ON VIEW %s IS %s", quoted, quote_literal_cstr(view->comment)));
	foreach(cell, view->columns)
	{
		ViewColumn *column = lfirst(cell);

		execute(psprintf("COMMENT ON COLUMN %s.%s IS %s", quoted,
						 quote_identifier(column->name), quote_literal_cstr(column->comment)));
	}
}

/*
 * As the extension's owner, with all that the wording of pg_get_viewdef depends on
 * as it was the last time: search_path (jdy_execute pins it), quoting, dates.
 */
static void
execute_with_wording(JdyStatement *statement, Datum *values, const char *nulls)
{
	int			guc_level = NewGUCNestLevel();

	(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	jdy_execute(statement, values, nulls);
	AtEOXact_GUC(true, guc_level);
}
