/*-------------------------------------------------------------------------
 * stream.c
 *		Streams as objects: added, altered, dropped.
 *
 * A stream is a row of jdysync.stream and a staging table.  The table's owner is
 * the stream's owner, so REASSIGN OWNED and ALTER TABLE … OWNER do what one expects
 * and no second notion of ownership can differ from it.
 *
 * What a stream asks is resolve.c's, its table stagingtable.c's, who may do what with it
 * streamref.c's, what a run knows of it streamload.c's; here is what people say of it.
 * Called from SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "agenda.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "grant.h"
#include "home.h"
#include "incident.h"
#include "jdysync.h"
#include "lag.h"
#include "miscadmin.h"
#include "name.h"
#include "range.h"
#include "remedy.h"
#include "schedule.h"
#include "sighted.h"
#include "spi.h"
#include "stagingtable.h"
#include "stream.h"
#include "streamview.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define MAX_SPAN_YEARS 100		/* of settle and overlap */

static JdyStatement insert_stream = {
	.sql = "INSERT INTO jdysync.stream (name, server, staging, entry, metadata, schedule, start_from, detail, decrypt,"
	" settle, overlap, remedy) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING stream_id",
	.nargs = 12,
	.argtypes = {TEXTOID, NAMEOID, REGCLASSOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, BOOLOID,
	INTERVALOID, INTERVALOID, TEXTOID}
};

static JdyStatement read_definition = {
	.sql = "SELECT s.server::text, s.entry, s.metadata, s.start_from, s.detail, s.decrypt, s.remedy"
	" FROM jdysync.stream s WHERE s.stream_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement update_stream = {
	.sql = "UPDATE jdysync.stream s SET server = $2, entry = $3, metadata = $4, start_from = $5, detail = $6,"
	" decrypt = $7, schedule = COALESCE($8, s.schedule), settle = COALESCE($9, s.settle),"
	" overlap = COALESCE($10, s.overlap), remedy = $11 WHERE s.stream_id = $1",
	.nargs = 11,
	.argtypes = {INT4OID, NAMEOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, BOOLOID, BOOLOID, TEXTOID, INTERVALOID, INTERVALOID, TEXTOID}
};

/* What a person says a stream is, as far as it decides what its records are. */
typedef struct Definition
{
	char	   *server;
	char	   *entry;			/* may be NULL; not used where there is metadata */
	Jsonb	   *metadata;		/* may be NULL */
	bool		start_given;
	TimestampTz start_from;
	bool		detail_given;	/* false: as the catalogue says */
	bool		detail;
	bool		decrypt;
	char	   *remedy;			/* cron of its omissionRemedy; NULL = none.  Not a part of what the records are */
} Definition;

PG_FUNCTION_INFO_V1(jdy_add_stream);
PG_FUNCTION_INFO_V1(jdy_alter_stream);
PG_FUNCTION_INFO_V1(jdy_drop_stream);

static Stream *resolve(const char *name, Oid owner, const Definition *definition);
static void load_definition(int stream_id, Definition *definition);
static void choose_start(Stream *stream, Definition *definition);
static bool is_another(const Definition *before, const Definition *after, const Stream *stream);
static Jsonb *without_remedy(Jsonb *metadata);
static void make_views(Stream *stream, Oid staging);
static void check_intervals(Interval *settle, Interval *overlap);
static void check_start(TimestampTz start_from);
static void announce_definition(const Stream *stream, Oid staging, Jsonb *metadata);

Datum
jdy_add_stream(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			staging;
	Oid			owner = GetUserId();
	Stream	   *stream;
	Definition	definition = {0};
	Datum		values[12];
	char		nulls[13] = "            ";

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name and server of a stream must be given")));
	if (PG_ARGISNULL(6) || PG_ARGISNULL(7) || PG_ARGISNULL(8))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("decrypt, settle and overlap of a stream must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	definition.server = NameStr(*PG_GETARG_NAME(1));
	definition.metadata = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	definition.detail_given = !PG_ARGISNULL(5);
	definition.detail = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
	definition.entry = !PG_ARGISNULL(9) ? text_to_cstring(PG_GETARG_TEXT_PP(9)) :
		definition.metadata == NULL ? name : NULL;
	check_intervals(PG_GETARG_INTERVAL_P(7), PG_GETARG_INTERVAL_P(8));
	if (!PG_ARGISNULL(4))
	{
		definition.start_given = true;
		definition.start_from = PG_GETARG_TIMESTAMPTZ(4);
		check_start(definition.start_from);
	}
	if (!PG_ARGISNULL(3))
		jdy_schedule_check(text_to_cstring(PG_GETARG_TEXT_PP(3)));

	SPI_connect();
	jdy_home_note();
	jdy_check_is_new(name);
	jdy_name_check(name);
	staging = jdy_staging_table_find(name, &owner);
	jdy_check_owner_can_log_in(owner);

	/* Everything a run would trip over is said here. */
	stream = resolve(name, owner, &definition);
	definition.remedy = jdy_remedy_schedule(stream);
	choose_start(stream, &definition);

	if (!OidIsValid(staging))
		staging = jdy_staging_table_create(name, owner);

	values[0] = CStringGetTextDatum(name);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = ObjectIdGetDatum(staging);
	values[3] = definition.entry ? CStringGetTextDatum(definition.entry) : (Datum) 0;
	nulls[3] = definition.entry ? ' ' : 'n';
	values[4] = PG_GETARG_DATUM(2);
	values[5] = PG_GETARG_DATUM(3);
	values[6] = TimestampTzGetDatum(definition.start_from);
	values[7] = PG_GETARG_DATUM(5);
	values[8] = PG_GETARG_DATUM(6);
	values[9] = PG_GETARG_DATUM(7);
	values[10] = PG_GETARG_DATUM(8);
	values[11] = definition.remedy ? CStringGetTextDatum(definition.remedy) : (Datum) 0;
	nulls[11] = definition.remedy ? ' ' : 'n';
	for (int i = 2; i <= 5; i++)
		nulls[i + 2] = PG_ARGISNULL(i) ? 'n' : ' ';
	nulls[6] = definition.start_given ? ' ' : 'n';
	jdy_execute(&insert_stream, values, nulls);
	stream->stream_id = (int) jdy_spi_int64(0, 1, 0);
	make_views(stream, staging);
	if (PG_ARGISNULL(3))
		ereport(NOTICE,
				(errmsg("stream \"%s\" has no schedule: it runs only by hand", name)));
	else
		jdy_agenda_enter(stream->stream_id, false);
	if (definition.remedy != NULL)
		jdy_agenda_enter(stream->stream_id, true);
	announce_definition(stream, staging, definition.metadata);
	SPI_finish();
	PG_RETURN_OID(staging);
}

/*
 * The definition as it stands may not work any more (its server was dropped, its
 * _function fails), and then this is the way to repair it.  So nothing but the new
 * one is resolved, and that only when a part of it is given.
 */
Datum
jdy_alter_stream(PG_FUNCTION_ARGS)
{
	StreamRef  *ref;
	Definition	before = {0};
	Definition	after;
	Stream	   *stream = NULL;
	bool		filter_changed;
	NameData	server;
	Datum		values[11];
	char		nulls[12] = "           ";

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a stream must be given")));
	if (!PG_ARGISNULL(3))
		jdy_schedule_check(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	check_intervals(PG_ARGISNULL(7) ? NULL : PG_GETARG_INTERVAL_P(7),
					PG_ARGISNULL(8) ? NULL : PG_GETARG_INTERVAL_P(8));
	if (!PG_ARGISNULL(4))
		check_start(PG_GETARG_TIMESTAMPTZ(4));

	SPI_connect();
	ref = jdy_stream_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	jdy_stream_lock_or_raise(ref);
	load_definition(ref->stream_id, &before);
	after = before;
	if (!PG_ARGISNULL(1))
		after.server = NameStr(*PG_GETARG_NAME(1));
	if (!PG_ARGISNULL(9))
	{
		/* An entry takes the place of metadata, unless both are given. */
		after.entry = text_to_cstring(PG_GETARG_TEXT_PP(9));
		after.metadata = NULL;
	}
	if (!PG_ARGISNULL(2))
		after.metadata = PG_GETARG_JSONB_P(2);
	if (!PG_ARGISNULL(4))
	{
		after.start_given = true;
		after.start_from = PG_GETARG_TIMESTAMPTZ(4);
	}
	if (!PG_ARGISNULL(5))
	{
		after.detail_given = true;
		after.detail = PG_GETARG_BOOL(5);
	}
	if (!PG_ARGISNULL(6))
		after.decrypt = PG_GETARG_BOOL(6);

	if (!PG_ARGISNULL(1) || !PG_ARGISNULL(2) || !PG_ARGISNULL(5) || !PG_ARGISNULL(9))
		stream = resolve(ref->name, ref->owner, &after);
	if (stream != NULL)
	{
		after.remedy = jdy_remedy_schedule(stream);
		choose_start(stream, &after);
	}
	filter_changed = is_another(&before, &after, stream);

	namestrcpy(&server, after.server);
	values[0] = Int32GetDatum(ref->stream_id);
	values[1] = NameGetDatum(&server);
	values[2] = after.entry ? CStringGetTextDatum(after.entry) : (Datum) 0;
	nulls[2] = after.entry ? ' ' : 'n';
	values[3] = JsonbPGetDatum(after.metadata);
	nulls[3] = after.metadata ? ' ' : 'n';
	values[4] = TimestampTzGetDatum(after.start_from);
	nulls[4] = after.start_given ? ' ' : 'n';
	values[5] = BoolGetDatum(after.detail);
	nulls[5] = after.detail_given ? ' ' : 'n';
	values[6] = BoolGetDatum(after.decrypt);
	values[7] = PG_GETARG_DATUM(3);
	nulls[7] = PG_ARGISNULL(3) ? 'n' : ' ';
	values[8] = PG_GETARG_DATUM(7);
	nulls[8] = PG_ARGISNULL(7) ? 'n' : ' ';
	values[9] = PG_GETARG_DATUM(8);
	nulls[9] = PG_ARGISNULL(8) ? 'n' : ' ';
	values[10] = after.remedy ? CStringGetTextDatum(after.remedy) : (Datum) 0;
	nulls[10] = after.remedy ? ' ' : 'n';

	/* Before start_from changes: the watermark must lie behind it. */
	if (filter_changed)
		jdy_stream_start_anew(ref->stream_id, ref->name, NULL);
	jdy_execute(&update_stream, values, nulls);
	if (!PG_ARGISNULL(7))
		jdy_incident_close(ref->name, JDY_SETTLE_RAISED);	/* somebody has seen to it */
	if (filter_changed)
		ereport(NOTICE,
				(errmsg("the filter of stream \"%s\" changed: its next run reads the whole list again", ref->name)));
	if (!PG_ARGISNULL(3))
		jdy_agenda_enter(ref->stream_id, false);
	if (strcmp(before.remedy ? before.remedy : "", after.remedy ? after.remedy : "") != 0)
		jdy_agenda_enter(ref->stream_id, true);
	if (stream != NULL)
	{
		stream->stream_id = ref->stream_id;
		make_views(stream, ref->staging);
	}
	if (stream != NULL && (!PG_ARGISNULL(2) || !PG_ARGISNULL(9)))
		announce_definition(stream, ref->staging, after.metadata);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
jdy_drop_stream(PG_FUNCTION_ARGS)
{
	static JdyStatement drops[] = {
		{.sql = "DELETE FROM jdysync.listing l WHERE l.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.\"window\" w WHERE w.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.reject j WHERE j.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.certificate c WHERE c.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.audit a WHERE a.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.absent a WHERE a.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.lag l WHERE l.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.missed m WHERE m.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.contract c WHERE c.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.run r WHERE r.stream_id = $1 AND r.status = 'queued'",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.tally t WHERE t.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.stream s WHERE s.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
	};
	StreamRef  *ref;
	bool		keep_data = PG_GETARG_BOOL(1);

	SPI_connect();
	ref = jdy_stream_ref_to_drop(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	jdy_stream_lock_or_raise(ref);
	jdy_stream_views_drop(ref->stream_id);
	jdy_agenda_leave(ref->stream_id);
	for (int i = 0; i < lengthof(drops); i++)
	{
		Datum		values[1] = {Int32GetDatum(ref->stream_id)};

		jdy_execute(&drops[i], values, NULL);
	}
	jdy_incident_close_orphans();
	jdy_sighted_forget(ref->stream_id);
	jdy_grants_drop(ref->name);
	if (!keep_data && OidIsValid(ref->owner))
		jdy_staging_table_drop(ref->staging);
	SPI_finish();
	PG_RETURN_VOID();
}

/* Everything a run would trip over: server, mapping, metadata, catalogue. */
static Stream *
resolve(const char *name, Oid owner, const Definition *definition)
{
	Stream	   *stream = palloc0(sizeof(Stream));

	stream->name = pstrdup(name);
	stream->owner = owner;
	stream->endpoint = jdy_endpoint_load(definition->server, owner);
	jdy_endpoint_require_complete(stream->endpoint);
	jdy_stream_resolve(stream, definition->entry, definition->metadata, definition->detail_given, definition->detail);
	jdy_stream_require(stream);
	return stream;
}

/* Reports begin somewhere: that it is this year is said, and stays so. */
static void
choose_start(Stream *stream, Definition *definition)
{
	if (stream->range_param != NULL && !definition->start_given)
	{
		definition->start_given = true;
		definition->start_from = jdy_range_default_start(stream, GetCurrentTimestamp());
	}
	stream->start_from = definition->start_from;
}

static void
load_definition(int stream_id, Definition *definition)
{
	Datum		values[1] = {Int32GetDatum(stream_id)};
	Datum		value;
	bool		isnull;

	jdy_execute(&read_definition, values, NULL);
	if (SPI_processed == 0)
		jdy_staging_table_is_gone();
	definition->server = jdy_spi_text(0, 1);
	definition->entry = jdy_spi_text(0, 2);
	value = jdy_spi_datum(0, 3, &isnull);
	definition->metadata = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = jdy_spi_datum(0, 4, &isnull);
	definition->start_given = !isnull;
	definition->start_from = isnull ? 0 : DatumGetTimestampTz(value);
	value = jdy_spi_datum(0, 5, &isnull);
	definition->detail_given = !isnull;
	definition->detail = !isnull && DatumGetBool(value);
	definition->decrypt = DatumGetBool(jdy_spi_datum(0, 6, &isnull));
	definition->remedy = jdy_spi_text(0, 7);
}

/* Whether its records are others.  stream: what `after` was resolved to; NULL = its list is the one before. */
static bool
is_another(const Definition *before, const Definition *after, const Stream *stream)
{
	bool		by_catalogue;

	if (strcmp(before->server, after->server) != 0 || before->decrypt != after->decrypt ||
		before->start_given != after->start_given || before->start_from != after->start_from)
		return true;
	if ((before->metadata == NULL) != (after->metadata == NULL))
		return true;
	if (after->metadata != NULL ?
		compareJsonbContainers(&without_remedy(before->metadata)->root, &without_remedy(after->metadata)->root) != 0 :
		strcmp(before->entry, after->entry) != 0)
		return true;
	if (stream == NULL)
		return false;
	by_catalogue = stream->endpoint->auth == AUTH_KINGDEE && stream->detail_api != NULL;
	return stream->details != (before->detail_given ? before->detail : by_catalogue);
}

/* A second schedule reads the same records. */
static Jsonb *
without_remedy(Jsonb *metadata)
{
	static const char *const keys[] = {"omissionRemedy", "$omissionRemedy$"};
	Datum		rest = JsonbPGetDatum(metadata);

	for (int i = 0; i < lengthof(keys); i++)
		rest = DirectFunctionCall2(jsonb_delete, rest, CStringGetTextDatum(keys[i]));
	return DatumGetJsonbP(rest);
}

static void
make_views(Stream *stream, Oid staging)
{
	stream->staging = staging;
	stream->staging_name = jdy_staging_table_name(staging);
	jdy_stream_views_make(stream);
	jdy_grants_renew(stream->stream_id);
}

static void
check_intervals(Interval *settle, Interval *overlap)
{
	Interval	zero = {0};
	Interval	most = {.month = MAX_SPAN_YEARS * MONTHS_PER_YEAR};
	Interval   *given[] = {settle, overlap};

	for (int i = 0; i < lengthof(given); i++)
	{
		if (given[i] == NULL)
			continue;
		if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(given[i]), IntervalPGetDatum(&zero))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("settle and overlap must not be negative")));
		/* Far beyond any use, and microseconds would overflow somewhere. */
		if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(given[i]), IntervalPGetDatum(&most))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("settle and overlap must not exceed %d years", MAX_SPAN_YEARS)));
	}
}

/* Time arithmetic ends where it would overflow, and -infinity is what "everything" means without it. */
static void
check_start(TimestampTz start_from)
{
	if (TIMESTAMP_NOT_FINITE(start_from))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start_from must be finite"),
				 errhint("Leave it out to read everything.")));
}

/* A background worker works as the owner; before PostgreSQL 17 it can only be one that may log in. */
void
jdy_check_owner_can_log_in(Oid owner)
{
	HeapTuple	tuple;
	bool		can_log_in;

	if (JDY_SERVES_NOLOGIN)
		return;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	if (!HeapTupleIsValid(tuple))
		return;
	can_log_in = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!can_log_in)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" cannot own a stream", GetUserNameFromId(owner, false)),
				 errdetail("Background workers of this PostgreSQL version cannot work as a role without LOGIN."),
				 errhint("ALTER ROLE … LOGIN (a password is not needed), or use PostgreSQL 17 or later.")));
}

/* What a person should know of a new definition. */
static void
announce_definition(const Stream *stream, Oid staging, Jsonb *metadata)
{
	if (metadata != NULL)
		jdy_metadata_warn(jdy_metadata_parse(metadata, EFFECT_QUERY), stream->name, jdy_staging_table_name(staging));
	if (stream->range_param != NULL)
		ereport(NOTICE,
				(errmsg("\"%s\" is read by months, from %s on", stream->api,
						jdy_window_value(WINDOW_DATE, stream->start_from, stream->endpoint->time_zone)),
				 errhint("start_from => '…' begins elsewhere; each run reads this month and the last one again, and those within overlap before.")));
	else if (stream->plan->start_param == NULL)
		ereport(NOTICE,
				(errmsg("list \"%s\" has no time filter: every run reads all of it, and only certificates say how far it is complete",
						stream->api)));
}
