/*-------------------------------------------------------------------------
 * mapping.c
 *		jdy_create_view: a mapping becomes a plain SQL view.
 *
 * The view is an ordinary one of the caller's: made with his own rights, read
 * with them too, his to grant, change and drop.  What a mapping means is compile.c's,
 * how a view is made view.c's; here is whose and where it is.
 *
 * Called from SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "compile.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "spi.h"
#include "stream.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"
#include "view.h"

PG_FUNCTION_INFO_V1(jdy_create_view);

static Oid	target_schema(text *view, char **name);
static Oid	first_creatable_schema(void);

Datum
jdy_create_view(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			schema;
	Oid			existing;
	char	   *quoted;
	StreamRef  *ref;
	Stream	   *stream;
	ViewText   *view;
	ViewState  *state;

	SPI_connect();
	schema = target_schema(PG_GETARG_TEXT_PP(0), &name);
	quoted = quote_qualified_identifier(get_namespace_name(schema), name);
	ref = jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	stream = jdy_stream_load(ref->stream_id);
	view = jdy_compile_mapping(PG_GETARG_JSONB_P(2), stream->staging_name,
							   pg_get_timezone_name(stream->endpoint->time_zone), stream->details);
	view->comment = psprintf("records of stream %s as a mapping has them; made by jdy_create_view", stream->name);

	existing = get_relname_relid(name, schema);
	state = OidIsValid(existing) ? jdy_view_state(existing, quoted) : NULL;
	if (state != NULL && (!state->made_here || state->of_stream || !state->unchanged))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation %s exists already", quoted),
				 state->made_here && !state->of_stream ? errdetail("It was made by jdy_create_view and changed since.") :
				 errdetail("It was not made by jdy_create_view."),
				 errhint("Choose another name, or drop it first.")));
	jdy_view_make(quoted, state, view, InvalidOid);
	existing = get_relname_relid(name, schema);
	jdy_view_remember(existing, stream->stream_id, PG_GETARG_JSONB_P(2));
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

