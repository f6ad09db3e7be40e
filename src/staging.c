/*-------------------------------------------------------------------------
 * staging.c
 *		List rows and details into a stream's staging table.
 *
 * Only what changed is written.  A record's source text is remembered by a
 * 64-bit digest beside its data: while it is equal, the row is dropped before any
 * jsonb is built.  Where it differs, contents are compared in SQL before
 * anything is locked, because ciphertexts change with the client secret
 * although nothing changed at the source.  (INSERT … ON CONFLICT DO UPDATE …
 * WHERE alone locks every row it leaves alone and writes WAL for that.)
 *
 * Statements take arrays of up to 256 rows: as fast as COPY, and triggers,
 * constraints and partitions of the owner's table work.  The table is the owner's,
 * so everything here runs with the owner's rights.
 *
 * While every row turns out to be new, as in a first load, rows are inserted
 * without looking for them first; one that is there after all stops that
 * statement alone, and the batch goes the long way.
 *
 * Called by pull.c, always inside its transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "kingdee.h"
#include "spi.h"
#include "staging.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define IS_GONE "(deleted_at IS NOT NULL OR out_of_scope_at IS NOT NULL)"
#define MANY_ROWS 64			/* so many new ones in a row promise more */

struct Staging
{
	const Stream *stream;
	int64		run_id;
	bool		compare_all;
	bool		all_new;		/* the last full batch was: the next one may be, too */
	MemoryContext batch;		/* what one batch needs; reset after each */
	JdyStatement lookup;
	JdyStatement insert_new;
	JdyStatement insert;
	JdyStatement update_list;
	JdyStatement revive;
	JdyStatement lookup_detailed;
	JdyStatement update_detail;
};

/* A column of one statement: values gathered row by row. */
typedef struct Column
{
	Datum		values[JDY_LAND_ROWS];
	bool		nulls[JDY_LAND_ROWS];
} Column;

/* New records of one batch. */
typedef struct Insertion
{
	Staging    *staging;
	Row		  **rows;
	Jsonb	  **data;
	int			n;
} Insertion;

static char *statement_text(const Stream *stream, const char *format, MemoryContext context);
static uint64 stored_digest(const Staging *staging, uint64 digest);
static bool land_as_new(Staging *staging, Row **rows, Jsonb **data, int nrows, Known *known, RunCounters *counters);
static void land_by_look_up(Staging *staging, Row **rows, Jsonb **data, int nrows, Known *known, RunCounters *counters);
static bool make_data(Staging *staging, Row *row, Jsonb **data);
static bool insert_new(Staging *staging, Row **rows, Jsonb **data, int n);
static void insert_batch(void *arg);
static SPITupleTable *look_up(Staging *staging, Row **rows, int nrows, Known *known, int *places);
static void find_by_keys(Staging *staging, Row **rows, int nrows);
static bool is_stored(SPITupleTable *found, int place, const Row *row, Jsonb *data);
static void write_rows(Staging *staging, JdyStatement *statement, Row **rows, Jsonb **data, int n);

Staging *
jdy_staging_open(const Stream *stream, int64 run_id, bool compare_all, MemoryContext context)
{
	Staging    *staging = MemoryContextAllocZero(context, sizeof(Staging));
	const char *columns;

	staging->stream = stream;
	staging->run_id = run_id;
	staging->compare_all = compare_all;
	staging->batch = AllocSetContextCreate(context, "jdysync batch", 0, 4 * 1024 * 1024, 4 * 1024 * 1024);

	/* Columns are cast: their types are the owner's to change, and what is read here is taken for what it must be. */
	columns = compare_all ? "id::text, row_digest::bigint, detailed_at::timestamptz, " IS_GONE ", number::text, data::jsonb" :
		"id::text, row_digest::bigint, detailed_at::timestamptz, " IS_GONE;
	staging->lookup = (JdyStatement) {
		.sql = statement_text(stream, psprintf("SELECT %s FROM %%s WHERE id = ANY ($1)", columns), context),
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.by_index = true
	};
	staging->insert_new = (JdyStatement) {
		.sql = statement_text(stream,
							  "INSERT INTO %s (id, number, data, modified_at, synced_at, run_id, row_digest)"
							  " SELECT u.id, u.number, u.data, u.modified_at, $5, $6, u.digest"
							  " FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[], $7::timestamptz[])"
							  "  AS u (id, number, data, digest, modified_at)", context),
		.nargs = 7,
		.argtypes = {TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, INT8OID,
		TIMESTAMPTZARRAYOID}
	};

	/* A conflict means that the owner inserted the same id a moment ago: the source wins. */
	staging->insert = (JdyStatement) {
		.sql = statement_text(stream,
							  "INSERT INTO %s AS s (id, number, data, modified_at, synced_at, run_id, row_digest)"
							  " SELECT u.id, u.number, u.data, u.modified_at, $5, $6, u.digest"
							  " FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[], $7::timestamptz[])"
							  "  AS u (id, number, data, digest, modified_at)"
							  " ON CONFLICT (id) DO UPDATE SET number = EXCLUDED.number, data = EXCLUDED.data,"
							  "  modified_at = EXCLUDED.modified_at, synced_at = EXCLUDED.synced_at,"
							  "  run_id = EXCLUDED.run_id, row_digest = EXCLUDED.row_digest", context),
		.nargs = 7,
		.argtypes = {TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, INT8OID,
		TIMESTAMPTZARRAYOID}
	};

	/*
	 * Equal contents are left alone before they are locked.  Only a stream that
	 * had details before meets records that have theirs: what it writes are list rows.
	 */
	staging->update_list = (JdyStatement) {
		.sql = statement_text(stream,
							  "UPDATE %s AS s SET number = u.number, data = u.data, modified_at = u.modified_at,"
							  "  detailed_at = NULL, synced_at = $5, run_id = $6, row_digest = u.digest, deleted_at = NULL,"
							  "  out_of_scope_at = NULL"
							  " FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[], $7::timestamptz[])"
							  "  AS u (id, number, data, digest, modified_at)"
							  " WHERE s.id = u.id AND (s.data <> u.data OR s.number IS DISTINCT FROM u.number"
							  "  OR s.detailed_at IS NOT NULL OR s.deleted_at IS NOT NULL OR s.out_of_scope_at IS NOT NULL)", context),
		.nargs = 7,
		.argtypes = {TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, INT8OID,
		TIMESTAMPTZARRAYOID},
		.by_index = true
	};

	staging->revive = (JdyStatement) {
		.sql = statement_text(stream,
							  "UPDATE %s SET deleted_at = NULL, out_of_scope_at = NULL, synced_at = $2, run_id = $3 WHERE id = ANY ($1)",
							  context),
		.nargs = 3,
		.argtypes = {TEXTARRAYOID, TIMESTAMPTZOID, INT8OID},
		.by_index = true
	};

	staging->lookup_detailed = (JdyStatement) {
		.sql = statement_text(stream,
							  "SELECT id::text, row_digest::bigint, detailed_at::timestamptz, data::jsonb"
							  " FROM %s WHERE id = ANY ($1)", context),
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.by_index = true
	};

	staging->update_detail = (JdyStatement) {
		.sql = statement_text(stream,
							  "UPDATE %s AS s SET number = COALESCE(u.number, s.number), data = u.data,"
							  "  modified_at = u.modified_at, detailed_at = u.detailed_at, synced_at = $6,"
							  "  run_id = $7, row_digest = u.digest, deleted_at = NULL, out_of_scope_at = NULL"
							  " FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[], $5::timestamptz[], $8::timestamptz[])"
							  "  AS u (id, number, data, digest, detailed_at, modified_at)"
							  " WHERE s.id = u.id AND (s.detailed_at IS NULL OR s.data <> u.data"
							  "  OR s.deleted_at IS NOT NULL OR s.out_of_scope_at IS NOT NULL)", context),
		.nargs = 8,
		.argtypes = {TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID,
		TIMESTAMPTZOID, INT8OID, TIMESTAMPTZARRAYOID},
		.by_index = true
	};
	return staging;
}

void
jdy_staging_land_list(Staging *staging, Row **rows, int nrows, Known *known, RunCounters *counters)
{
	Jsonb	   *data[JDY_LAND_ROWS] = {NULL};
	MemoryContext caller = MemoryContextSwitchTo(staging->batch);

	Assert(nrows <= JDY_LAND_ROWS);
	if (nrows > 0 && !(staging->all_new && land_as_new(staging, rows, data, nrows, known, counters)))
		land_by_look_up(staging, rows, data, nrows, known, counters);
	counters->listed += nrows;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(staging->batch);
}

void
jdy_staging_land_details(Staging *staging, Detail *details, int ndetails, RunCounters *counters)
{
	static Column ids,
				numbers,
				data,
				digests,
				asked,
				modified;
	const Stream *stream = staging->stream;
	Datum		values[8];
	int			n = 0;
	int			nfirst = 0;		/* records that had no detail before */
	SPITupleTable *stored;
	uint64		nstored;

	Assert(ndetails <= JDY_LAND_ROWS);
	if (ndetails == 0)
		return;

	for (int i = 0; i < ndetails; i++)
	{
		ids.values[i] = CStringGetTextDatum(details[i].id);
		ids.nulls[i] = false;
	}
	values[0] = jdy_make_array(ids.values, ids.nulls, ndetails, TEXTOID);
	jdy_execute_as_user(&staging->lookup_detailed, values, NULL);
	stored = SPI_tuptable;
	nstored = SPI_processed;

	for (int i = 0; i < ndetails; i++)
	{
		Detail	   *detail = &details[i];
		Jsonb	   *base = detail->list_row;
		Jsonb	   *body = detail->body;
		Jsonb	   *joined;
		char	   *number = NULL;
		uint64		digest;
		bool		exists = false;
		bool		detailed = false;
		bool		same = false;

		/* The digest covers both parts: a changed list row changes the data too. */
		digest = stored_digest(staging, detail->row->digest);
		if (base != NULL)
			digest = hash_combine64(digest, hash_bytes_extended((unsigned char *) VARDATA(base),
																VARSIZE(base) - VARHDRSZ, 0));

		for (uint64 j = 0; j < nstored; j++)
		{
			bool		isnull;
			Datum		id = SPI_getbinval(stored->vals[j], stored->tupdesc, 1, &isnull);

			if (isnull || strlen(detail->id) != VARSIZE_ANY_EXHDR(DatumGetPointer(id)) ||
				memcmp(detail->id, VARDATA_ANY(DatumGetPointer(id)), strlen(detail->id)) != 0)
				continue;
			exists = true;
			(void) SPI_getbinval(stored->vals[j], stored->tupdesc, 3, &isnull);
			detailed = !isnull;
			id = SPI_getbinval(stored->vals[j], stored->tupdesc, 2, &isnull);
			same = detailed && !isnull && (uint64) DatumGetInt64(id) == digest && !staging->compare_all;
			if (base == NULL)
			{
				id = SPI_getbinval(stored->vals[j], stored->tupdesc, 4, &isnull);
				base = isnull ? NULL : DatumGetJsonbP(id);
			}
			break;
		}
		counters->details++;
		if (same)
		{
			counters->unchanged++;
			continue;
		}

		if (stream->decrypt && stream->endpoint->client_secret != NULL && stream->detail_secrets != NIL)
			body = jdy_kingdee_decrypt(body, stream->detail_secrets, stream->endpoint->client_secret);

		joined = base == NULL ? body :
			DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(base), JsonbPGetDatum(body)));
		if (!exists)
		{
			/* Its owner deleted it from staging meanwhile; the source still has it. */
			Row			row = *detail->row;
			Row		   *rows = &row;

			row.id = unconstify(char *, detail->id);
			row.number = stream->shape.number_field ? jdy_jsonb_text(joined, stream->shape.number_field) : NULL;
			write_rows(staging, &staging->insert, &rows, &joined, 1);
			counters->inserted++;
		}
		if (stream->shape.number_field != NULL)
			number = jdy_jsonb_text(joined, stream->shape.number_field);
		ids.values[n] = CStringGetTextDatum(detail->id);
		ids.nulls[n] = false;
		numbers.nulls[n] = number == NULL;
		numbers.values[n] = number ? CStringGetTextDatum(number) : (Datum) 0;
		data.values[n] = JsonbPGetDatum(joined);
		data.nulls[n] = false;
		digests.values[n] = Int64GetDatum((int64) digest);
		digests.nulls[n] = false;
		asked.values[n] = TimestampTzGetDatum(detail->asked_at);
		asked.nulls[n] = false;
		modified.values[n] = TimestampTzGetDatum(detail->modified_at);
		modified.nulls[n] = detail->modified_at == 0;
		n++;
		if (!detailed)
			nfirst++;
	}
	if (n == 0)
		return;

	values[0] = jdy_make_array(ids.values, ids.nulls, n, TEXTOID);
	values[1] = jdy_make_array(numbers.values, numbers.nulls, n, TEXTOID);
	values[2] = jdy_make_array(data.values, data.nulls, n, JSONBOID);
	values[3] = jdy_make_array(digests.values, digests.nulls, n, INT8OID);
	values[4] = jdy_make_array(asked.values, asked.nulls, n, TIMESTAMPTZOID);
	values[5] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[6] = Int64GetDatum(staging->run_id);
	values[7] = jdy_make_array(modified.values, modified.nulls, n, TIMESTAMPTZOID);
	jdy_execute_as_user(&staging->update_detail, values, NULL);

	/* A first detail completes a record that was counted when its list row came. */
	counters->updated += (int64) SPI_processed - nfirst;
	counters->unchanged += n - (int64) SPI_processed;
}

Jsonb *
jdy_staging_list_row(Staging *staging, Row *row)
{
	const Stream *stream = staging->stream;
	const char *problem = NULL;
	Jsonb	   *data = jdy_row_jsonb(row, &problem);

	if (data == NULL)
	{
		row->problem = problem;
		return NULL;
	}
	if (stream->decrypt && stream->list_secrets != NIL && stream->endpoint->client_secret != NULL)
		data = jdy_kingdee_decrypt(data, stream->list_secrets, stream->endpoint->client_secret);
	return data;
}

/* A row and where it stood. */
typedef struct Place
{
	Row		   *row;
	int			position;
} Place;

static int
compare_places(const void *a, const void *b)
{
	const Place *left = a;
	const Place *right = b;
	int			order = strcmp(left->row->id, right->row->id);

	return order != 0 ? order : left->position - right->position;
}

int
jdy_sort_rows(Row **rows, int nrows, const Stream *one_answer)
{
	Place	   *places = palloc(sizeof(Place) * (nrows + 1));
	int			n = 0;

	for (int i = 0; i < nrows; i++)
		places[i] = (Place) {rows[i], i};
	qsort(places, nrows, sizeof(Place), compare_places);
	for (int i = 0; i < nrows; i++)
	{
		Row		   *row = places[i].row;

		if (n > 0 && strcmp(rows[n - 1]->id, row->id) == 0)
		{
			if (one_answer != NULL && rows[n - 1]->digest != row->digest)
				ereport(ERROR,
						(errcode(ERRCODE_CARDINALITY_VIOLATION),
						 errmsg("the id field of this list is not a key"),
						 errdetail("One answer holds two different records with the id \"%s\".", row->id),
						 errhint("Name all fields that make a record unique: SELECT jdy_alter_stream('%s', metadata => '{\"api\": \"%s\", \"effect\": \"QUERY\", \"id\": [\"bill_no\", \"seq\"], …}'). [\"*\"] makes the whole row the key.",
								 one_answer->name, one_answer->api)));
			rows[n - 1] = row;
		}
		else
			rows[n++] = row;
	}
	pfree(places);
	return n;
}

int
jdy_find_row(Row **rows, int nrows, const char *id)
{
	int			low = 0;
	int			high = nrows - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			order = strcmp(rows[middle]->id, id);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}

static char *
statement_text(const Stream *stream, const char *format, MemoryContext context)
{
	return MemoryContextStrdup(context, psprintf(format, stream->staging_name));
}

/* Whether fields are decrypted is part of the content: turning it on or off changes every row. */
static uint64
stored_digest(const Staging *staging, uint64 digest)
{
	return hash_combine64(digest, staging->stream->decrypt ? 1 : 2);
}

/* Inserts all rows unseen; false, with nothing done but data[], when one of them was there. */
static bool
land_as_new(Staging *staging, Row **rows, Jsonb **data, int nrows, Known *known, RunCounters *counters)
{
	Row		   *fit[JDY_LAND_ROWS];
	Jsonb	   *fit_data[JDY_LAND_ROWS];
	int			n = 0;

	for (int i = 0; i < nrows; i++)
	{
		if (!make_data(staging, rows[i], &data[i]))
			continue;
		fit[n] = rows[i];
		fit_data[n++] = data[i];
	}
	if (!insert_new(staging, fit, fit_data, n))
		return false;
	memset(known, 0, sizeof(Known) * nrows);
	counters->inserted += n;
	return true;
}

static void
land_by_look_up(Staging *staging, Row **rows, Jsonb **data, int nrows, Known *known, RunCounters *counters)
{
	Row		   *fresh[JDY_LAND_ROWS];
	Jsonb	   *fresh_data[JDY_LAND_ROWS];
	Row		   *changed[JDY_LAND_ROWS];
	Jsonb	   *changed_data[JDY_LAND_ROWS];
	char	   *revived[JDY_LAND_ROWS];
	int			places[JDY_LAND_ROWS];
	SPITupleTable *found = look_up(staging, rows, nrows, known, places);
	int			nfresh = 0;
	int			nchanged = 0;
	int			nrevived = 0;

	for (int i = 0; i < nrows; i++)
	{
		bool		same;

		/* The data of a record that has its detail changes only with its detail, where there are details. */
		if (known[i].exists && known[i].detailed && staging->stream->details)
		{
			if (known[i].gone)
				revived[nrevived++] = rows[i]->id;
			continue;
		}
		same = known[i].exists && !known[i].detailed && known[i].digest == stored_digest(staging, rows[i]->digest);
		if (!same || staging->compare_all)
		{
			if (!make_data(staging, rows[i], &data[i]))
				continue;
			same = same && is_stored(found, places[i], rows[i], data[i]);
		}
		if (same)
		{
			if (!staging->stream->details)
				counters->unchanged++;
		}
		else if (known[i].exists)
		{
			changed[nchanged] = rows[i];
			changed_data[nchanged++] = data[i];
		}
		else
		{
			fresh[nfresh] = rows[i];
			fresh_data[nfresh++] = data[i];
		}
	}

	write_rows(staging, &staging->insert, fresh, fresh_data, nfresh);
	counters->inserted += nfresh;
	staging->all_new = nfresh == nrows && nrows >= MANY_ROWS;
	write_rows(staging, &staging->update_list, changed, changed_data, nchanged);
	if (nchanged > 0 && !staging->stream->details)
	{
		counters->updated += SPI_processed;
		counters->unchanged += nchanged - SPI_processed;
	}
	if (nrevived > 0)
	{
		Datum		values[3];

		values[0] = jdy_text_array(revived, nrevived);
		values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
		values[2] = Int64GetDatum(staging->run_id);
		jdy_execute_as_user(&staging->revive, values, NULL);
	}
}

/* The row's jsonb, made at most once; false when it is unfit. */
static bool
make_data(Staging *staging, Row *row, Jsonb **data)
{
	if (*data == NULL && row->problem == NULL)
		*data = jdy_staging_list_row(staging, row);
	return *data != NULL;
}

/* In a subtransaction: false, and nothing inserted, when a record was there already. */
static bool
insert_new(Staging *staging, Row **rows, Jsonb **data, int n)
{
	Insertion	insertion = {.staging = staging,.rows = rows,.data = data,.n = n};
	ErrorData  *error = jdy_try(insert_batch, &insertion);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ReThrowError(error);
	staging->all_new = false;
	return false;
}

static void
insert_batch(void *arg)
{
	const Insertion *insertion = arg;

	write_rows(insertion->staging, &insertion->staging->insert_new, insertion->rows, insertion->data, insertion->n);
}

/* The result, and in places[i] where record i stands in it. */
static SPITupleTable *
look_up(Staging *staging, Row **rows, int nrows, Known *known, int *places)
{
	int			next = 0;

	memset(known, 0, sizeof(Known) * nrows);
	find_by_keys(staging, rows, nrows);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		bool		isnull;
		char	   *id = jdy_spi_text(r, 1);
		Datum		value;
		int			i;

		/* Rows are sorted, and an index gives them back so. */
		if (id == NULL)
			continue;
		i = next < nrows && strcmp(rows[next]->id, id) == 0 ? next : jdy_find_row(rows, nrows, id);
		if (i < 0)
			continue;
		next = i + 1;
		places[i] = (int) r;
		known[i].exists = true;
		value = jdy_spi_datum(r, 2, &isnull);
		known[i].digest = isnull ? 0 : (uint64) DatumGetInt64(value);
		value = jdy_spi_datum(r, 3, &isnull);
		known[i].detailed = !isnull;
		known[i].detailed_at = isnull ? 0 : DatumGetTimestampTz(value);
		/* A record that was deleted and is listed again must be written, whatever its digest. */
		known[i].gone = DatumGetBool(jdy_spi_datum(r, 4, &isnull));
		if (known[i].gone)
			known[i].digest = 0;
	}
	return SPI_tuptable;
}

static void
find_by_keys(Staging *staging, Row **rows, int nrows)
{
	static Column ids;
	Datum		values[1];

	for (int i = 0; i < nrows; i++)
	{
		ids.values[i] = CStringGetTextDatum(rows[i]->id);
		ids.nulls[i] = false;
	}
	values[0] = jdy_make_array(ids.values, ids.nulls, nrows, TEXTOID);
	jdy_execute_as_user(&staging->lookup, values, NULL);
}

/* Mode full: whether the record in the look-up's result is byte for byte what would be written. */
static bool
is_stored(SPITupleTable *found, int place, const Row *row, Jsonb *data)
{
	HeapTuple	tuple = found->vals[place];
	char	   *number = SPI_getvalue(tuple, found->tupdesc, 5);
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, found->tupdesc, 6, &isnull);
	Jsonb	   *stored;

	if (isnull)
		return false;
	stored = DatumGetJsonbP(datum);
	if (number == NULL || row->number == NULL ? number != row->number : strcmp(number, row->number) != 0)
		return false;
	return VARSIZE(stored) == VARSIZE(data) && memcmp(stored, data, VARSIZE(data)) == 0;
}

static void
write_rows(Staging *staging, JdyStatement *statement, Row **rows, Jsonb **data, int n)
{
	static Column ids,
				numbers,
				contents,
				digests,
				modified;
	const Stream *stream = staging->stream;
	Datum		values[7];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		ids.values[i] = CStringGetTextDatum(rows[i]->id);
		ids.nulls[i] = false;
		numbers.nulls[i] = rows[i]->number == NULL;
		numbers.values[i] = rows[i]->number ? CStringGetTextDatum(rows[i]->number) : (Datum) 0;
		contents.values[i] = JsonbPGetDatum(data[i]);
		contents.nulls[i] = false;
		digests.values[i] = Int64GetDatum((int64) stored_digest(staging, rows[i]->digest));
		digests.nulls[i] = false;
		modified.values[i] = TimestampTzGetDatum(0);
		modified.nulls[i] = true;
		if (stream->modified_field != NULL && !stream->details)
		{
			TimestampTz at = jdy_stream_modified_at(stream, data[i]);

			modified.values[i] = TimestampTzGetDatum(at);
			modified.nulls[i] = at == 0;
		}
	}
	values[0] = jdy_make_array(ids.values, ids.nulls, n, TEXTOID);
	values[1] = jdy_make_array(numbers.values, numbers.nulls, n, TEXTOID);
	values[2] = jdy_make_array(contents.values, contents.nulls, n, JSONBOID);
	values[3] = jdy_make_array(digests.values, digests.nulls, n, INT8OID);
	values[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[5] = Int64GetDatum(staging->run_id);
	values[6] = jdy_make_array(modified.values, modified.nulls, n, TIMESTAMPTZOID);
	jdy_execute_as_user(statement, values, NULL);
}
