/*-------------------------------------------------------------------------
 * streamref.c
 *		A stream or push, found by name or number, and who may do what with it.
 *
 * Streams and pushes share their names and numbers, so whoever is given one of these asks
 * here.  Rights follow the owner of the staging table, or of the push's source; jdy_grant may
 * have added to them.
 *
 * Called by all functions that take a name, and by workers, which know numbers.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "grant.h"
#include "miscadmin.h"
#include "name.h"
#include "spi.h"
#include "streamlock.h"
#include "streamref.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#define REF_COLUMNS "j.stream_id, j.name, j.owner, j.server::text, j.enabled, j.loaded, j.relation::oid, j.is_push"

static JdyStatement find_ref = {
	.sql = "SELECT " REF_COLUMNS " FROM jdysync.subject j WHERE j.name = $1 OR j.stream_id = $2",
	.nargs = 2,
	.argtypes = {TEXTOID, INT4OID}
};

static JdyStatement all_refs = {
	.sql = "SELECT " REF_COLUMNS " FROM jdysync.subject j ORDER BY j.name",
	.nargs = 0
};

static StreamRef *find_by_name(const char *name);
static StreamRef *read_ref(uint64 row);
static const char *closest_stream(const char *name);
static void require_member(const StreamRef *ref);

StreamRef *
jdy_stream_ref(const char *name)
{
	StreamRef  *ref = find_by_name(name);

	require_member(ref);
	return ref;
}

StreamRef *
jdy_stream_ref_to_run(const char *name)
{
	StreamRef  *ref = find_by_name(name);

	if (!jdy_may_run(ref, GetUserId()))
		require_member(ref);
	return ref;
}

StreamRef *
jdy_stream_ref_to_drop(const char *name)
{
	StreamRef  *ref = find_by_name(name);

	if (OidIsValid(ref->owner) || !superuser())
		require_member(ref);
	return ref;
}

StreamRef *
jdy_stream_ref_by_id(int stream_id)
{
	Datum		values[2] = {(Datum) 0, Int32GetDatum(stream_id)};

	jdy_execute(&find_ref, values, "n ");
	return SPI_processed == 0 ? NULL : read_ref(0);
}

List *
jdy_stream_refs_enabled(bool pushes)
{
	List	   *refs = NIL;

	jdy_execute(&all_refs, NULL, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		StreamRef  *ref = read_ref(r);

		if (ref->is_push == pushes && ref->enabled && jdy_may_run(ref, GetUserId()))
			refs = lappend(refs, ref);
	}
	return refs;
}

/* Nothing is changed under a run: the runner holds the same lock for its session. */
void
jdy_stream_lock_or_raise(const StreamRef *ref)
{
	if (!jdy_stream_lock_for_change(ref->stream_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("stream \"%s\" has an open run", ref->name),
				 errhint("Wait for it, or stop it: SELECT jdy_cancel(run_id) FROM jdy_progress WHERE name = '%s'.", ref->name)));
}

void
jdy_check_is_new(const char *name)
{
	Datum		values[2] = {CStringGetTextDatum(name), (Datum) 0};

	jdy_execute(&find_ref, values, " n");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("%s \"%s\" exists already", read_ref(0)->is_push ? "push" : "stream", name),
				 read_ref(0)->is_push ?
				 errhint("Change it with jdy_alter_push, or choose another name: streams and pushes share theirs.") :
				 errhint("Change it with jdy_alter_stream, or choose another name: the catalogue's entry can be given as entry => '...'.")));
}

static StreamRef *
find_by_name(const char *name)
{
	Datum		values[2] = {CStringGetTextDatum(name), (Datum) 0};

	jdy_execute(&find_ref, values, " n");
	if (SPI_processed == 0)
	{
		const char *closest = closest_stream(name);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" does not exist", name),
				 closest ? errhint("Perhaps you meant \"%s\".", closest) :
				 errhint("Add it with jdy_add_stream('%s', '<server>').", name)));
	}
	return read_ref(0);
}

static StreamRef *
read_ref(uint64 row)
{
	StreamRef  *ref = palloc(sizeof(StreamRef));
	bool		isnull;
	Datum		owner;

	ref->stream_id = (int) jdy_spi_int64(row, 1, 0);
	ref->name = jdy_spi_text(row, 2);
	owner = jdy_spi_datum(row, 3, &isnull);
	ref->owner = isnull ? InvalidOid : DatumGetObjectId(owner);
	ref->server = jdy_spi_text(row, 4);
	ref->enabled = DatumGetBool(jdy_spi_datum(row, 5, &isnull));
	ref->loaded = DatumGetBool(jdy_spi_datum(row, 6, &isnull));
	ref->staging = DatumGetObjectId(jdy_spi_datum(row, 7, &isnull));
	ref->is_push = DatumGetBool(jdy_spi_datum(row, 8, &isnull));
	return ref;
}

/* NULL when nothing is near.  Only what the caller may run is named. */
static const char *
closest_stream(const char *name)
{
	Closest		closest = {.word = name};
	ListCell   *cell;

	foreach(cell, list_concat(jdy_stream_refs_enabled(false), jdy_stream_refs_enabled(true)))
		jdy_closest(&closest, ((StreamRef *) lfirst(cell))->name);
	return closest.best;
}

static void
require_member(const StreamRef *ref)
{
	if (!OidIsValid(ref->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("staging table of stream \"%s\" is gone", ref->name),
				 errhint("A superuser can forget the stream with jdy_drop_stream('%s').", ref->name)));
	if (!has_privs_of_role(GetUserId(), ref->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of stream \"%s\"", ref->name)));
}
