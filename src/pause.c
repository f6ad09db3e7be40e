/*-------------------------------------------------------------------------
 * pause.c
 *		Streams and pushes that are not to run by themselves for a while.
 *
 * A paused one has no rows in the agenda, and is left out by jdy_sync() and jdy_push() without a
 * name.  Who names it runs it all the same.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "agenda.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "spi.h"
#include "stream.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(jdy_pause);
PG_FUNCTION_INFO_V1(jdy_resume);

static bool set_enabled(const StreamRef *ref, bool enabled);

/* Open runs go on: jdy_cancel ends them. */
Datum
jdy_pause(PG_FUNCTION_ARGS)
{
	StreamRef  *ref;
	bool		changed;

	SPI_connect();
	ref = jdy_stream_ref_to_run(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	changed = set_enabled(ref, false);
	SPI_finish();
	PG_RETURN_BOOL(changed);
}

/* force: what a push holds may go once; that is for its owner to say. */
Datum
jdy_resume(PG_FUNCTION_ARGS)
{
	static JdyStatement release = {
		.sql = "UPDATE jdysync.push p SET released = $2 WHERE p.push_id = $1 AND p.released <> $2",
		.nargs = 2,
		.argtypes = {INT4OID, BOOLOID}
	};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StreamRef  *ref;
	Datum		values[2];
	bool		changed;

	SPI_connect();
	ref = PG_GETARG_BOOL(1) ? jdy_stream_ref(name) : jdy_stream_ref_to_run(name);
	values[0] = Int32GetDatum(ref->stream_id);
	values[1] = PG_GETARG_DATUM(1);
	jdy_execute(&release, values, NULL);
	changed = SPI_processed > 0;
	changed |= set_enabled(ref, true);
	SPI_finish();
	PG_RETURN_BOOL(changed);
}

/* false when it was so. */
static bool
set_enabled(const StreamRef *ref, bool enabled)
{
	static JdyStatement streams = {
		.sql = "UPDATE jdysync.stream s SET enabled = $2 WHERE s.stream_id = $1 AND s.enabled <> $2",
		.nargs = 2,
		.argtypes = {INT4OID, BOOLOID}
	};
	static JdyStatement pushes = {
		.sql = "UPDATE jdysync.push p SET enabled = $2 WHERE p.push_id = $1 AND p.enabled <> $2",
		.nargs = 2,
		.argtypes = {INT4OID, BOOLOID}
	};
	Datum		values[2] = {Int32GetDatum(ref->stream_id), BoolGetDatum(enabled)};

	jdy_execute(ref->is_push ? &pushes : &streams, values, NULL);
	if (SPI_processed == 0)
		return false;
	for (int remedy = 0; remedy < 2; remedy++)
		jdy_agenda_enter(ref->stream_id, remedy);
	return true;
}
