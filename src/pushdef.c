/*-------------------------------------------------------------------------
 * pushdef.c
 *		Pushes as objects: added, altered, dropped, loaded for a run.
 *
 * A push is a row of jdysync.push.  Its owner is the owner of its source, so REASSIGN
 * OWNED and ALTER VIEW … OWNER do what one expects, and a run reads the source with
 * the rights of whoever made it.  Numbers of pushes and streams come from one
 * sequence, so that runs, locks and slots need not know which of the two they serve.
 *
 * Here are its row and its rights, and what people say to its dead letters; what is sent
 * of it is push.c's.  Called from SQL; jdy_push_load by every run.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "agenda.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "counterpart.h"
#include "fmgr.h"
#include "grant.h"
#include "home.h"
#include "incident.h"
#include "jdysync.h"
#include "jsonbtext.h"
#include "miscadmin.h"
#include "name.h"
#include "payloadplan.h"
#include "push.h"
#include "saveapi.h"
#include "schedule.h"
#include "spi.h"
#include "stream.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/syscache.h"
#include "utils/xid8.h"
#include "watch.h"

#define MAX_BATCH_ROWS 10000
#define MAX_BATCH_BYTES (64 * 1024 * 1024)

static JdyStatement insert_push = {
	.sql = "INSERT INTO jdysync.push (name, server, source, metadata, schedule, batch_rows, batch_bytes)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING push_id",
	.nargs = 7,
	.argtypes = {TEXTOID, NAMEOID, REGCLASSOID, JSONBOID, TEXTOID, INT4OID, INT4OID}
};

static JdyStatement load_push = {
	.sql = "SELECT p.name, p.server::text, p.source, k.relowner, p.metadata, p.batch_rows, p.batch_bytes, p.identity::text,"
	" p.pushed, p.released, p.proven, p.seen_source, p.seen_lsn, p.seen_xmin FROM jdysync.push p JOIN pg_catalog.pg_class k ON k.oid = p.source WHERE p.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement update_push = {
	.sql = "UPDATE jdysync.push p SET server = COALESCE($2, p.server), source = COALESCE($3, p.source),"
	" metadata = COALESCE($4, p.metadata), schedule = COALESCE($5, p.schedule), batch_rows = COALESCE($6, p.batch_rows),"
	" batch_bytes = COALESCE($7, p.batch_bytes), seen_source = NULL, proven = p.proven AND COALESCE($2 = p.server, true)"
	" AND COALESCE($4 = p.metadata, true) FROM jdysync.push o WHERE p.push_id = $1 AND o.push_id = p.push_id"
	" RETURNING o.server <> p.server, o.server::text, p.server::text,"
	" o.server = p.server AND o.pushed AND o.metadata ->> 'api' <> p.metadata ->> 'api',"
	" o.metadata ->> 'api' <> p.metadata ->> 'api' OR o.metadata -> 'lookup' IS DISTINCT FROM p.metadata -> 'lookup'",
	.nargs = 7,
	.argtypes = {INT4OID, NAMEOID, REGCLASSOID, JSONBOID, TEXTOID, INT4OID, INT4OID}
};

static JdyStatement forget_batches = {
	.sql = "DELETE FROM jdysync.batch b WHERE b.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement forget_deliveries = {
	.sql = "DELETE FROM jdysync.delivery d WHERE d.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

static JdyStatement forget_first_deliveries = {
	.sql = "DELETE FROM jdysync.delivered g WHERE g.push_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

PG_FUNCTION_INFO_V1(jdy_add_push);
PG_FUNCTION_INFO_V1(jdy_alter_push);
PG_FUNCTION_INFO_V1(jdy_drop_push);
PG_FUNCTION_INFO_V1(jdy_replay);
PG_FUNCTION_INFO_V1(jdy_discard);

static void check_sizes(FunctionCallInfo fcinfo, int rows, int bytes);
static void begin_anew(const StreamRef *ref, const char *old_server, const char *server);
static Oid	source_owner(Oid source);
static void take_operation(Push *push, Jsonb *operation);
static void find_payload(Push *push, Oid source);
static void find_deletion(Push *push);
static void baseline_chunk(void *arg, Outgoing *records, int n);
static Datum optional_array(FunctionCallInfo fcinfo, int arg, char *null);

Datum
jdy_add_push(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			source;
	Oid			owner;
	Push	   *push;
	Datum		values[7];
	char		nulls[8] = "       ";

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name, server, source and metadata of a push must be given")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	source = PG_GETARG_OID(2);
	check_sizes(fcinfo, 5, 6);
	if (!PG_ARGISNULL(4))
		jdy_schedule_check(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	owner = source_owner(source);
	jdy_check_owner_can_log_in(owner);

	SPI_connect();
	jdy_home_note();
	jdy_check_is_new(name);
	jdy_name_check(name);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = ObjectIdGetDatum(source);
	values[3] = PG_GETARG_DATUM(3);
	values[4] = PG_GETARG_DATUM(4);
	nulls[4] = PG_ARGISNULL(4) ? 'n' : ' ';
	values[5] = PG_ARGISNULL(5) ? Int32GetDatum(100) : PG_GETARG_DATUM(5);
	values[6] = PG_ARGISNULL(6) ? Int32GetDatum(1024 * 1024) : PG_GETARG_DATUM(6);
	jdy_execute(&insert_push, values, nulls);

	/* Everything a run would trip over is said here. */
	push = jdy_push_load((int) jdy_spi_int64(0, 1, 0));
	jdy_endpoint_require_complete(push->endpoint);
	jdy_payload_warn(push->fields, source);
	jdy_save_warn(push);
	if (!PG_ARGISNULL(7) && PG_GETARG_BOOL(7))
		jdy_source_scan(push, baseline_chunk, NULL, push);
	if (PG_ARGISNULL(4))
		ereport(NOTICE,
				(errmsg("push \"%s\" has no schedule: it runs only by hand", name)));
	else
		jdy_agenda_enter(push->push_id, false);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
jdy_alter_push(PG_FUNCTION_ARGS)
{
	StreamRef  *ref;
	Push	   *push;
	Datum		values[7];
	char		nulls[8] = "       ";
	bool		isnull;
	bool		elsewhere;		/* the ids of its records at the target are others now */

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a push must be given")));
	check_sizes(fcinfo, 5, 6);
	if (!PG_ARGISNULL(4))
		jdy_schedule_check(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	if (!PG_ARGISNULL(2))
		jdy_check_owner_can_log_in(source_owner(PG_GETARG_OID(2)));
	SPI_connect();
	ref = jdy_push_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	jdy_stream_lock_or_raise(ref);
	values[0] = Int32GetDatum(ref->stream_id);
	for (int i = 1; i < 7; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	jdy_execute(&update_push, values, nulls);
	elsewhere = DatumGetBool(jdy_spi_datum(0, 5, &isnull));
	if (DatumGetBool(jdy_spi_datum(0, 1, &isnull)))
		begin_anew(ref, jdy_spi_text(0, 2), jdy_spi_text(0, 3));
	else if (DatumGetBool(jdy_spi_datum(0, 4, &isnull)))
		ereport(NOTICE,
				(errmsg("what push \"%s\" delivered under its old api counts as delivered under the new one", ref->name),
				 errhint("If nothing is there yet: jdy_drop_push, then jdy_add_push, which sends everything.")));
	if (elsewhere)
		jdy_counterpart_forget_all(ref->stream_id);
	if (!PG_ARGISNULL(4))
		jdy_agenda_enter(ref->stream_id, false);
	push = jdy_push_load(ref->stream_id);
	jdy_endpoint_require_complete(push->endpoint);
	jdy_payload_warn(push->fields, push->source);
	jdy_save_warn(push);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * What one server has acknowledged, refused or left in doubt says nothing of another.
 * Versions begin anew, so keys must differ: two servers may lead to one target.
 */
static void
begin_anew(const StreamRef *ref, const char *old_server, const char *server)
{
	static JdyStatement reset = {
		.sql = "UPDATE jdysync.push p SET pushed = false, released = false, seen_source = NULL, identity = pg_catalog.gen_random_uuid()"
		" WHERE p.push_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(ref->stream_id)};
	uint64		known;

	jdy_execute(&forget_batches, values, NULL);
	known = SPI_processed;
	jdy_execute(&forget_deliveries, values, NULL);
	known += SPI_processed;
	jdy_execute(&forget_first_deliveries, values, NULL);
	known += SPI_processed;
	jdy_counterpart_forget_all(ref->stream_id);
	jdy_execute(&reset, values, NULL);
	if (known > 0)
		ereport(NOTICE,
				(errmsg("push \"%s\" begins anew", ref->name),
				 errdetail("The next run sends every record to server \"%s\": what server \"%s\" took does not count there.",
						   server, old_server),
				 errhint("If the same target only has another address: ROLLBACK, and ALTER SERVER %s OPTIONS (SET url '…').",
						 quote_identifier(old_server))));
}

Datum
jdy_drop_push(PG_FUNCTION_ARGS)
{
	static JdyStatement drops[] = {
		{.sql = "DELETE FROM jdysync.run r WHERE r.stream_id = $1 AND r.status = 'queued'",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.tally t WHERE t.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.push p WHERE p.push_id = $1",.nargs = 1,.argtypes = {INT4OID}},
	};
	StreamRef  *ref;
	Datum		values[1];

	SPI_connect();
	ref = jdy_push_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	jdy_stream_lock_or_raise(ref);
	values[0] = Int32GetDatum(ref->stream_id);
	jdy_execute(&forget_batches, values, NULL);
	jdy_execute(&forget_deliveries, values, NULL);
	jdy_execute(&forget_first_deliveries, values, NULL);
	jdy_counterpart_forget_all(ref->stream_id);
	jdy_agenda_leave(ref->stream_id);
	for (int i = 0; i < lengthof(drops); i++)
		jdy_execute(&drops[i], values, NULL);
	jdy_incident_close_orphans();
	jdy_grants_drop(ref->name);
	SPI_finish();
	PG_RETURN_VOID();
}

/* Dead letters count as never sent; the next run gives them a new version, and so a new key. */
Datum
jdy_replay(PG_FUNCTION_ARGS)
{
	static JdyStatement replay = {
		.sql = "UPDATE jdysync.delivery d SET status = 'pending', refused_digest = NULL, discarded = NULL,"
		" changed_at = pg_catalog.clock_timestamp()"
		" WHERE d.push_id = $1 AND d.status = 'dead' AND ($2 IS NULL OR d.id = ANY ($2))",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID}
	};
	StreamRef  *ref;
	Datum		values[2];
	char		nulls[3] = "  ";
	int64		n;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a push must be given")));
	SPI_connect();
	ref = jdy_push_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[0] = Int32GetDatum(ref->stream_id);
	values[1] = optional_array(fcinfo, 1, &nulls[1]);
	jdy_execute(&replay, values, nulls);
	n = SPI_processed;
	jdy_watch_dead_letters(ref->stream_id);
	SPI_finish();
	PG_RETURN_INT64(n);
}

/* They stay dead until their content changes, and need nobody's attention any more. */
Datum
jdy_discard(PG_FUNCTION_ARGS)
{
	static JdyStatement discard = {
		.sql = "UPDATE jdysync.delivery d SET discarded = $3, changed_at = pg_catalog.clock_timestamp()"
		" WHERE d.push_id = $1 AND d.status = 'dead' AND d.discarded IS NULL AND d.id = ANY ($2)",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTARRAYOID, TEXTOID}
	};
	StreamRef  *ref;
	Datum		values[3];
	int64		n;

	SPI_connect();
	ref = jdy_push_ref(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[0] = Int32GetDatum(ref->stream_id);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = PG_GETARG_DATUM(2);
	jdy_execute(&discard, values, NULL);
	n = SPI_processed;
	jdy_watch_dead_letters(ref->stream_id);
	SPI_finish();
	PG_RETURN_INT64(n);
}

StreamRef *
jdy_push_ref(const char *name)
{
	StreamRef  *ref = jdy_stream_ref(name);

	if (!ref->is_push)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a stream, not a push", name)));
	return ref;
}

Push *
jdy_push_load(int push_id)
{
	Datum		values[1] = {Int32GetDatum(push_id)};
	Push	   *push = palloc0(sizeof(Push));
	bool		isnull;
	char	   *server;

	jdy_execute(&load_push, values, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("push was dropped, or its source was"),
				 errhint("Add the push again.")));
	push->push_id = push_id;
	push->source = DatumGetObjectId(jdy_spi_datum(0, 3, &isnull));
	push->name = jdy_spi_text(0, 1);
	server = jdy_spi_text(0, 2);
	push->owner = DatumGetObjectId(jdy_spi_datum(0, 4, &isnull));
	push->source_name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(push->source)),
												   get_rel_name(push->source));
	push->batch_rows = (int) jdy_spi_int64(0, 6, 100);
	push->batch_bytes = jdy_spi_int64(0, 7, 1024 * 1024);
	push->identity = jdy_spi_text(0, 8);
	push->pushed = DatumGetBool(jdy_spi_datum(0, 9, &isnull));
	push->released = DatumGetBool(jdy_spi_datum(0, 10, &isnull));
	push->proven = DatumGetBool(jdy_spi_datum(0, 11, &isnull));
	push->seen.source = jdy_spi_text(0, 12);
	push->seen.lsn = DatumGetLSN(jdy_spi_datum(0, 13, &isnull));
	push->seen.xmin = DatumGetFullTransactionId(jdy_spi_datum(0, 14, &isnull));
	push->meta = jdy_metadata_parse(DatumGetJsonbPCopy(jdy_spi_datum(0, 5, &isnull)), EFFECT_EXECUTE);
	take_operation(push, push->meta->operation);
	find_payload(push, push->source);
	find_deletion(push);
	push->endpoint = jdy_endpoint_load(server, push->owner);
	jdy_save_plan(push);

	/* Qeasy says it in one form only. */
	if (push->endpoint->auth == AUTH_QEASY && push->meta->failed_path == NULL && push->meta->failed_count_path == NULL)
		push->meta->failed_count_path = pstrdup("content.failed");
	return push;
}

static void
check_sizes(FunctionCallInfo fcinfo, int rows, int bytes)
{
	if ((!PG_ARGISNULL(rows) && (PG_GETARG_INT32(rows) < 1 || PG_GETARG_INT32(rows) > MAX_BATCH_ROWS)) ||
		(!PG_ARGISNULL(bytes) && (PG_GETARG_INT32(bytes) < 1 || PG_GETARG_INT32(bytes) > MAX_BATCH_BYTES)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_rows or batch_bytes is out of range"),
				 errhint("batch_rows is 1 to %d, batch_bytes 1 to %d.", MAX_BATCH_ROWS, MAX_BATCH_BYTES)));
}

/* The caller must be one: a push sends what only the owner may read. */
static Oid
source_owner(Oid source)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(source));
	Form_pg_class form;
	Oid			owner;
	char		kind;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("source of the push does not exist")));
	form = (Form_pg_class) GETSTRUCT(tuple);
	owner = form->relowner;
	kind = form->relkind;
	ReleaseSysCache(tuple);
	if (kind != RELKIND_VIEW && kind != RELKIND_RELATION && kind != RELKIND_MATVIEW && kind != RELKIND_PARTITIONED_TABLE &&
		kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("source of the push has no rows"),
				 errdetail("\"%s\" is no view or table.", get_rel_name(source))));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the push's source"),
				 errdetail("\"%s\" belongs to role \"%s\".", get_rel_name(source), GetUserNameFromId(owner, false)),
				 errhint("Make a view of your own over it, and push that.")));
	return owner;
}

/* {"method":"batchArraySave","rows":100,"rowsKey":"array","key":"key"}; none, or "none": one by one. */
static void
take_operation(Push *push, Jsonb *operation)
{
	char	   *method = operation != NULL ? jdy_jsonb_text(operation, "method") : NULL;
	char	   *rows;
	char	   *end;
	long		most;

	if (method == NULL || strcmp(method, "none") == 0)
		return;
	if (strcmp(method, "batchArraySave") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("operation of a push is not supported"),
				 errdetail("Its method is \"%s\".", method),
				 errhint("Methods are \"none\" (one record a request) and \"batchArraySave\" (\"rows\" records in \"rowsKey\").")));
	push->batched = true;
	push->rows_key = jdy_jsonb_text(operation, "rowsKey");
	if (push->rows_key != NULL && push->rows_key[0] == '\0')
		push->rows_key = NULL;
	push->key_field = jdy_jsonb_text(operation, "key");
	if (push->key_field != NULL && push->key_field[0] == '\0')
		push->key_field = NULL;
	rows = jdy_jsonb_text(operation, "rows");
	if (rows == NULL)
		return;
	most = strtol(rows, &end, 10);
	if (*end != '\0' || most < 1 || most > MAX_BATCH_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operation has a bad number of rows"),
				 errdetail("\"rows\" is \"%s\".", rows),
				 errhint("It is 1 to %d.", MAX_BATCH_ROWS)));
	push->batch_rows = Min(push->batch_rows, (int) most);
}

/* The template of metadata's "request", else column "payload", else the whole row. */
static void
find_payload(Push *push, Oid source)
{
	const char *id = push->meta->id_fields != NIL ? linitial(push->meta->id_fields) : "id";
	AttrNumber	payload = get_attnum(source, "payload");

	if (list_length(push->meta->id_fields) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a push has one id column"),
				 errhint("Join the fields in the view, such as bill_no || '|' || seq AS id.")));
	if (get_attnum(source, id) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the source of the push has no column \"%s\"", id),
				 errdetail("Each record needs a key."),
				 errhint("Name the column \"id\" in the view, or name it as \"id\" in the metadata.")));
	push->id_name = id;
	push->id_column = pstrdup(quote_identifier(id));
	push->fields = jdy_payload_plan(push->meta->request);
	if (push->fields != NIL)
		push->payload = "pg_catalog.to_jsonb(v.*)";
	else
		push->payload = payload != InvalidAttrNumber && get_atttype(source, payload) == JSONBOID ?
			"v.payload" : "pg_catalog.row_to_json(v.*)";
}

/* What is deleted at the target: what the source lacks, and what it marks. */
static void
find_deletion(Push *push)
{
	if (push->meta->delete_rule == NULL)
		return;
	push->marks_deleted = get_attnum(push->source, "deleted_at") != InvalidAttrNumber;
	if (push->meta->delete_body != NULL)
		jdy_payload_check_deletion(push->meta->delete_body);
}

static void
baseline_chunk(void *arg, Outgoing *records, int n)
{
	int			made = 0;

	for (int i = 0; i < n; i++)
	{
		if (records[i].problem == NULL)
			records[made++] = records[i];
	}
	jdy_delivery_baseline(arg, records, made);
}

static Datum
optional_array(FunctionCallInfo fcinfo, int arg, char *null)
{
	*null = PG_ARGISNULL(arg) ? 'n' : ' ';
	return PG_ARGISNULL(arg) ? (Datum) 0 : PG_GETARG_DATUM(arg);
}
