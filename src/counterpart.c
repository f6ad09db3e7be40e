/*-------------------------------------------------------------------------
 * counterpart.c
 *		The ids that records have at a target which gives its own.
 *
 * Kingdee's save creates a record when the payload has no "id" and updates one when it
 * has, and the id is Kingdee's.  What is known of it is kept, a row a record, in
 * jdysync.counterpart, and put into the request's body.  Not into the payload: that is what
 * tells whether a record changed, and to learn an id is no change.
 *
 * The table is the extension's, like all that says what was delivered.
 *
 * Called by lookup.c and outcome.c in a run, and by pushdef.c and preview.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "counterpart.h"
#include "saveapi.h"
#include "spi.h"
#include "staging.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

void
jdy_counterpart_seal(const Push *push, Batch *batch)
{
	MemoryContext caller;

	jdy_batch_seal(push, batch);
	if (batch->n != 1 || batch->records[0].target_id == NULL)
		return;
	caller = MemoryContextSwitchTo(batch->context);
	batch->body = jdy_save_put(batch->records[0].payload, "id", batch->records[0].target_id);
	MemoryContextSwitchTo(caller);
}

void
jdy_counterpart_look(const Push *push, List *records)
{
	static JdyStatement look = {
		.sql = "SELECT u.place, c.target_id FROM unnest($2) WITH ORDINALITY AS u (id, place)"
		" JOIN jdysync.counterpart c ON c.push_id = $1 AND c.id = u.id",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID},
		.by_index = true
	};
	int			n = list_length(records);
	char	  **ids = palloc(sizeof(char *) * n);
	Datum		values[2];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		ids[i] = ((Outgoing *) list_nth(records, i))->id;
	values[0] = Int32GetDatum(push->push_id);
	values[1] = jdy_text_array(ids, n);
	jdy_execute(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		((Outgoing *) list_nth(records, (int) jdy_spi_int64(r, 1, 0) - 1))->target_id = jdy_spi_text(r, 2);
}

/* records: distinct ids, with their target_id. */
void
jdy_counterpart_keep(const Push *push, List *records)
{
	static JdyStatement keep = {
		.sql = "INSERT INTO jdysync.counterpart AS c (push_id, id, target_id)"
		" SELECT $1, u.id, u.target_id FROM unnest($2, $3) AS u (id, target_id)"
		" ON CONFLICT (push_id, id) DO UPDATE SET target_id = EXCLUDED.target_id",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTARRAYOID, TEXTARRAYOID}
	};
	int			n = list_length(records);
	char	  **ids = palloc(sizeof(char *) * n);
	char	  **targets = palloc(sizeof(char *) * n);
	Datum		values[3];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		const Outgoing *record = list_nth(records, i);

		ids[i] = record->id;
		targets[i] = record->target_id;
	}
	values[0] = Int32GetDatum(push->push_id);
	values[1] = jdy_text_array(ids, n);
	values[2] = jdy_text_array(targets, n);
	jdy_execute(&keep, values, NULL);
}

void
jdy_counterpart_forget(const Push *push, const char *id)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.counterpart c WHERE c.push_id = $1 AND c.id = $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID},
		.by_index = true
	};
	Datum		values[2] = {Int32GetDatum(push->push_id), CStringGetTextDatum(id)};

	jdy_execute(&forget, values, NULL);
}

void
jdy_counterpart_forget_all(int push_id)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.counterpart c WHERE c.push_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(push_id)};

	jdy_execute(&forget, values, NULL);
}
