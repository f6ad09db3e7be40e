/*-------------------------------------------------------------------------
 * streamload.c
 *		A stream as a run needs it: loaded, and begun anew when its source is another.
 *
 * What is proven holds of a filter and of a source.  Where either is another than it was,
 * a new epoch begins: nothing that was proven, due or set aside before counts any more, and
 * the next run loads the whole list.
 *
 * Called by pull.c at the start of a run, by stream.c for a changed definition, and by whoever
 * wants to know all of a stream.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "incident.h"
#include "jsonbtext.h"
#include "sighted.h"
#include "spi.h"
#include "stagingtable.h"
#include "stream.h"
#include "utils/timestamp.h"

static JdyStatement load_stream = {
	.sql = "SELECT s.name, k.relowner, s.staging, s.server::text, s.entry, s.metadata, s.start_from, s.detail, s.decrypt,"
	" pg_catalog.date_part('epoch', s.settle), pg_catalog.date_part('epoch', s.overlap), s.epoch, s.load_began,"
	" s.load_state, s.loaded_at IS NOT NULL, s.watermark, s.tail_until, s.source, s.tail_from, s.unproven, s.unplaced, s.listed_at"
	" FROM jdysync.stream s JOIN pg_catalog.pg_class k ON " JDY_IS_STAGING " WHERE s.stream_id = $1",
	.nargs = 1,
	.argtypes = {INT4OID}
};

Stream *
jdy_stream_load(int stream_id)
{
	Datum		values[1] = {Int32GetDatum(stream_id)};
	Stream	   *stream = palloc0(sizeof(Stream));
	bool		isnull;
	Datum		value;
	char	   *server;
	char	   *entry;
	Jsonb	   *metadata;
	bool		detail_given;
	bool		detail;
	bytea	   *source;

	jdy_execute(&load_stream, values, NULL);
	if (SPI_processed == 0)
		jdy_staging_table_is_gone();

	stream->stream_id = stream_id;
	stream->name = jdy_spi_text(0, 1);
	stream->owner = DatumGetObjectId(jdy_spi_datum(0, 2, &isnull));
	stream->staging = DatumGetObjectId(jdy_spi_datum(0, 3, &isnull));
	stream->staging_name = jdy_staging_table_name(stream->staging);
	server = jdy_spi_text(0, 4);
	entry = jdy_spi_text(0, 5);
	value = jdy_spi_datum(0, 6, &isnull);
	metadata = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = jdy_spi_datum(0, 7, &isnull);
	stream->start_from = isnull ? 0 : DatumGetTimestampTz(value);
	value = jdy_spi_datum(0, 8, &isnull);
	detail_given = !isnull;
	detail = !isnull && DatumGetBool(value);
	stream->decrypt = DatumGetBool(jdy_spi_datum(0, 9, &isnull));
	stream->settle_us = (int64) (DatumGetFloat8(jdy_spi_datum(0, 10, &isnull)) * USECS_PER_SEC);
	stream->overlap_us = (int64) (DatumGetFloat8(jdy_spi_datum(0, 11, &isnull)) * USECS_PER_SEC);
	stream->epoch = (int) jdy_spi_int64(0, 12, 1);
	value = jdy_spi_datum(0, 13, &isnull);
	stream->load_began = isnull ? 0 : DatumGetTimestampTz(value);
	value = jdy_spi_datum(0, 14, &isnull);
	stream->load_state = isnull ? NULL : DatumGetJsonbPCopy(value);
	stream->loaded = DatumGetBool(jdy_spi_datum(0, 15, &isnull));
	value = jdy_spi_datum(0, 16, &isnull);
	stream->watermark = isnull ? 0 : DatumGetTimestampTz(value);
	value = jdy_spi_datum(0, 17, &isnull);
	stream->tail_until = isnull ? 0 : DatumGetTimestampTz(value);
	value = jdy_spi_datum(0, 18, &isnull);
	source = isnull ? NULL : DatumGetByteaPCopy(value);
	value = jdy_spi_datum(0, 19, &isnull);
	stream->tail_from = isnull ? 0 : DatumGetTimestampTz(value);
	stream->unproven = jdy_spi_text(0, 20);
	stream->unplaced = jdy_spi_int64(0, 21, 0);
	value = jdy_spi_datum(0, 22, &isnull);
	stream->listed_at = isnull ? 0 : DatumGetTimestampTz(value);
	stream->contract = jdy_contract_read(stream_id);

	stream->endpoint = jdy_endpoint_load(server, stream->owner);
	jdy_endpoint_require_complete(stream->endpoint);
	stream->source_changed = source != NULL &&
		(VARSIZE(source) != VARHDRSZ + JDY_DIGEST_LENGTH ||
		 memcmp(VARDATA(source), stream->endpoint->source, JDY_DIGEST_LENGTH) != 0);
	jdy_stream_resolve(stream, entry, metadata, detail_given, detail);
	jdy_stream_require(stream);
	return stream;
}

void
jdy_stream_note_source(Stream *stream)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.stream s SET source = $2 WHERE s.stream_id = $1 AND s.source IS NULL",
		.nargs = 2,
		.argtypes = {INT4OID, BYTEAOID}
	};

	if (!stream->source_changed)
	{
		Datum		values[2] = {Int32GetDatum(stream->stream_id), jdy_make_bytea(stream->endpoint->source, JDY_DIGEST_LENGTH)};

		jdy_execute(&note, values, NULL);
		return;
	}
	jdy_stream_start_anew(stream->stream_id, stream->name, stream->endpoint->source);
	stream->epoch++;
	stream->load_began = stream->watermark = stream->tail_from = stream->tail_until = stream->listed_at = 0;
	stream->load_state = NULL;
	stream->loaded = false;
	stream->unproven = NULL;
	stream->unplaced = 0;
	stream->contract = jdy_contract_read(stream->stream_id);
	stream->source_changed = false;
	ereport(LOG,
			(errmsg("a stream is read from another source than before"),
			 errdetail("Address or account of server \"%s\" changed, so the whole list of stream \"%s\" is read again.",
					   stream->endpoint->server_name, stream->name),
			 errhint("Records of the earlier source stay in %s.", stream->staging_name)));
}

void
jdy_stream_start_anew(int stream_id, const char *name, const uint8 *source)
{
	static JdyStatement statements[] = {
		{.sql = "UPDATE jdysync.stream s SET epoch = s.epoch + 1, load_began = NULL, load_state = NULL, loaded_at = NULL,"
			" coverage = '{}', watermark = NULL, listed_until = NULL, tail_from = NULL, tail_until = NULL, listed_at = NULL, verify_at = NULL, audit_at = NULL,"
			" given_up_until = NULL, unproven = NULL, unplaced = 0, source = $2"
			" WHERE s.stream_id = $1",.nargs = 2,.argtypes = {INT4OID, BYTEAOID}},
		{.sql = "DELETE FROM jdysync.listing l WHERE l.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.reject j WHERE j.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.absent a WHERE a.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.lag l WHERE l.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
		{.sql = "DELETE FROM jdysync.missed m WHERE m.stream_id = $1",.nargs = 1,.argtypes = {INT4OID}},
	};
	Datum		values[2] = {Int32GetDatum(stream_id), source ? jdy_make_bytea(source, JDY_DIGEST_LENGTH) : (Datum) 0};

	for (int i = 0; i < lengthof(statements); i++)
		jdy_execute(&statements[i], values, source ? NULL : " n");
	jdy_sighted_forget(stream_id);
	jdy_contract_forget(stream_id);

	/* Its gap went with the ledger, and what was held with the list that lacked it. */
	jdy_incident_close(name, "count not trusted");
	jdy_incident_close(name, "mass delete");
}

/* As the service writes it: no zone, seconds. */
TimestampTz
jdy_stream_modified_at(const Stream *stream, Jsonb *record)
{
	char	   *text = stream->modified_field ? jdy_jsonb_text(record, stream->modified_field) : NULL;
	TimestampTz at;

	return text != NULL && jdy_datetime_parse(text, stream->endpoint->time_zone, &at) ? at : 0;
}
