/*-------------------------------------------------------------------------
 * finding.c
 *		What it means that a record is not here as the service has it.
 *
 * An audit looks at what staging has of some records, lands what the service says of them, and looks
 * again.  The data of those that changed is compared there, so that what is found is what became of the
 * table, whoever wrote into it.  The modify time says why no window has listed the change:
 *
 *	the record is not here					no window listed it; or it was shown before, and somebody removed it
 *	it has another time, long proven			no window listed its change
 *	it has the same time						the service changed it without setting that
 *	it has another time, not proven yet			nothing: windows will list it
 *
 * Findings are written into the audit's row with the rows that they are of. When the turn is over they are told: what windows
 * should have listed is judged there (missed.c), what somebody removed is an incident of its own.
 *
 * Called by audit.c, compare.c and reread.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit.h"
#include "catalog/pg_type.h"
#include "incident.h"
#include "missed.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define KEPT_FINDINGS 100
#define MOST_FIELDS "20"		/* whose names are kept, */
#define FIELD_LETTERS "60"		/* so much of each */
#define NAMED 5					/* in an incident */
#define REMOVED "rows removed from staging"

typedef struct Finding
{
	const Here *here;
	Cause		cause;
	TimestampTz modified_at;	/* as it landed; 0 = none, or not known yet */
	Datum		fields;			/* text[] of names; 0 = none */
} Finding;

/* As jdy_audits has them. */
static const char *const causes[] = {
	[CAUSE_NEW_MISSED] = "no window listed it",
	[CAUSE_CHANGE_MISSED] = "no window listed its change",
	[CAUSE_NOT_STAMPED] = "modify time not set by the service",
	[CAUSE_RETURNED] = "listed again, modify time not set by the service",
	[CAUSE_REMOVED] = "removed from staging by somebody"
};

static void find_waiting(Audit *audit, Here *here, int n, char **ids);
static bool was_shown(const Audit *audit, const char *id);
static void add(Audit *audit, const Here *here, Cause cause, TimestampTz modified_at, Datum fields);
static int	read_untold(Audit *audit, Missed *missed, StringInfo removed);
static void read_times(Audit *audit, Missed *missed, int n);

Here *
jdy_finding_here(Audit *audit, char **ids, int n)
{
	JdyStatement look = {
		.sql = psprintf("SELECT s.id::text, s.modified_at::timestamptz, s.detailed_at::timestamptz,"
						" s.deleted_at IS NOT NULL OR s.out_of_scope_at IS NOT NULL, s.data::jsonb FROM %s AS s WHERE s.id = ANY ($1)",
						audit->pull->stream->staging_name),
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.by_index = true
	};
	Here	   *here = palloc0(sizeof(Here) * Max(n, 1));
	Datum		values[1] = {jdy_text_array(ids, n)};

	for (int i = 0; i < n; i++)
		here[i].id = ids[i];
	jdy_execute_as_user(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		char	   *id = jdy_spi_text(r, 1);
		bool		isnull;
		Datum		value;

		for (int i = 0; i < n; i++)
		{
			if (strcmp(here[i].id, id) != 0)
				continue;
			here[i].exists = true;
			value = jdy_spi_datum(r, 2, &isnull);
			here[i].modified_at = isnull ? 0 : DatumGetTimestampTz(value);
			value = jdy_spi_datum(r, 3, &isnull);
			here[i].detailed_at = isnull ? 0 : DatumGetTimestampTz(value);
			here[i].gone = DatumGetBool(jdy_spi_datum(r, 4, &isnull));
			value = jdy_spi_datum(r, 5, &isnull);
			here[i].data = isnull ? (Datum) 0 : JsonbPGetDatum(DatumGetJsonbPCopy(value));
			break;
		}
	}
	SPI_freeplan(look.plan);
	find_waiting(audit, here, n, ids);
	for (int i = 0; i < n; i++)
		here[i].shown = !here[i].exists && was_shown(audit, ids[i]);
	return here;
}

/* Records whose data is another than before. */
int
jdy_finding_landed(Audit *audit, const Here *here, int n)
{
	const Stream *stream = audit->pull->stream;
	JdyStatement compare = {
		.sql = psprintf("SELECT u.place, s.modified_at::timestamptz, ARRAY(SELECT \"left\"(k, " FIELD_LETTERS ") FROM jsonb_object_keys("
						"   CASE WHEN jsonb_typeof(u.data) = 'object' AND jsonb_typeof(s.data::jsonb) = 'object' THEN u.data || s.data::jsonb ELSE '{}' END) AS k"
						"  WHERE k <> $4 AND u.data -> k IS DISTINCT FROM s.data::jsonb -> k ORDER BY k LIMIT " MOST_FIELDS ")"
						" FROM unnest($1::text[], $2::jsonb[], $3::integer[]) AS u (id, data, place) JOIN %s AS s ON s.id = u.id"
						" WHERE s.data::jsonb <> u.data", stream->staging_name),
		.nargs = 4,
		.argtypes = {TEXTARRAYOID, JSONBARRAYOID, INT4ARRAYOID, TEXTOID},
		.by_index = true
	};
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *data = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *places = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc0(sizeof(bool) * Max(n, 1));
	Datum		values[4];
	int			there = 0;
	int			changed;

	for (int i = 0; i < n; i++)
	{
		if (!here[i].exists || here[i].gone || here[i].waits || here[i].data == (Datum) 0)
			continue;
		ids[there] = CStringGetTextDatum(here[i].id);
		data[there] = here[i].data;
		places[there++] = Int32GetDatum(i);
	}
	values[0] = jdy_make_array(ids, nulls, there, TEXTOID);
	values[1] = jdy_make_array(data, nulls, there, JSONBOID);
	values[2] = jdy_make_array(places, nulls, there, INT4OID);
	values[3] = CStringGetTextDatum(stream->modified_field != NULL ? stream->modified_field : "");
	jdy_execute_as_user(&compare, values, NULL);
	changed = (int) SPI_processed;
	for (int r = 0; r < changed; r++)
	{
		const Here *before = &here[jdy_spi_int64(r, 1, 0)];
		bool		isnull;
		Datum		value = jdy_spi_datum(r, 2, &isnull);
		TimestampTz modified_at = isnull ? 0 : DatumGetTimestampTz(value);

		/* Windows will list it; and without times nobody can tell whether they will. */
		if (modified_at >= audit->proven_until || stream->modified_field == NULL)
			continue;
		value = jdy_spi_datum(r, 3, &isnull);
		add(audit, before, modified_at != before->modified_at ? CAUSE_CHANGE_MISSED : CAUSE_NOT_STAMPED, modified_at, value);
	}
	SPI_freeplan(compare.plan);
	return changed;
}

/* It was not here, or had been gone, and has landed. */
void
jdy_finding_listed(Audit *audit, const Here *here)
{
	audit->any_new = true;
	add(audit, here, here->exists ? CAUSE_RETURNED : here->shown ? CAUSE_REMOVED : CAUSE_NEW_MISSED, 0, (Datum) 0);
}

void
jdy_finding_write(Audit *audit)
{
	static JdyStatement keep = {
		.sql = "UPDATE jdysync.audit a SET findings = a.findings || jsonb_strip_nulls(jsonb_build_object('id', $2, 'cause', $3,"
		" 'fields', to_jsonb($4), 'modified_at', $5, 'modified_before', $6, 'read_before', $7)) WHERE a.audit_id = $1",
		.nargs = 7,
		.argtypes = {INT8OID, TEXTOID, TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	static JdyStatement count = {
		.sql = "UPDATE jdysync.audit a SET found = a.found + $2 WHERE a.audit_id = $1",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		counted[2] = {Int64GetDatum(audit->audit_id), Int64GetDatum(list_length(audit->findings))};
	ListCell   *cell;

	if (audit->findings == NIL)
		return;
	foreach(cell, audit->findings)
	{
		const Finding *finding = lfirst(cell);
		const Here *here = finding->here;
		Datum		values[7] = {
			Int64GetDatum(audit->audit_id), CStringGetTextDatum(here->id), CStringGetTextDatum(causes[finding->cause]),
			finding->fields, TimestampTzGetDatum(finding->modified_at), TimestampTzGetDatum(here->modified_at),
			TimestampTzGetDatum(here->detailed_at)
		};
		char		nulls[8] = "       ";

		if (audit->kept++ >= KEPT_FINDINGS)
			break;
		nulls[3] = finding->fields != (Datum) 0 ? ' ' : 'n';
		nulls[4] = finding->modified_at != 0 ? ' ' : 'n';
		nulls[5] = here->modified_at != 0 ? ' ' : 'n';
		nulls[6] = here->detailed_at != 0 ? ' ' : 'n';
		jdy_execute(&keep, values, nulls);
	}
	jdy_execute(&count, counted, NULL);
	audit->findings = NIL;
}

void
jdy_finding_tell(Audit *audit)
{
	static JdyStatement note = {
		.sql = "UPDATE jdysync.audit a SET told = a.found WHERE a.audit_id = $1 AND a.told < a.found",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(audit->audit_id)};
	Missed		missed[JDY_JUDGED_MISSED];
	StringInfoData removed;
	int			n;

	initStringInfo(&removed);
	n = read_untold(audit, missed, &removed);
	if (n > 0)
		jdy_missed_note(audit->pull, "audit", missed, n, n);
	if (removed.len > 0)
		jdy_incident_open(audit->pull->stream->name, "warning", REMOVED,
						  psprintf("The service has them, and they had been in the staging table, but are not any more: %s.", removed.data),
						  "They are there again; jdy_audits names them. Find out who deletes from the staging table: what should not be seen is for a view to leave out.");
	jdy_execute(&note, values, NULL);
}

void
jdy_finding_over(Audit *audit)
{
	jdy_missed_note(audit->pull, "audit", NULL, 0, 0);
	jdy_incident_close(audit->pull->stream->name, REMOVED);
}

/* Those that windows should have listed, and the names of the others. */
static int
read_untold(Audit *audit, Missed *missed, StringInfo removed)
{
	static JdyStatement read = {
		.sql = "SELECT f.v->>'id', f.v->>'cause', (SELECT string_agg(e.name, ', ') FROM jsonb_array_elements_text(f.v->'fields') AS e (name)),"
		" (f.v->>'modified_at')::timestamptz, (f.v->>'modified_before')::timestamptz,"
		" COALESCE((f.v->>'read_before')::timestamptz, (SELECT max(c.instant) FROM jdysync.certificate c"
		"  WHERE c.stream_id = a.stream_id AND c.epoch = a.epoch AND c.proven))"
		" FROM jdysync.audit a CROSS JOIN LATERAL jsonb_array_elements(a.findings) WITH ORDINALITY AS f (v, n)"
		" WHERE a.audit_id = $1 AND f.n > a.told ORDER BY f.n",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(audit->audit_id)};
	TimestampTz times[3];
	bool		known;
	int			n = 0;
	int			nremoved = 0;

	jdy_execute(&read, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		char	   *id = jdy_spi_text(r, 1);

		for (int i = 0; i < lengthof(times); i++)
		{
			bool		isnull;
			Datum		value = jdy_spi_datum(r, 4 + i, &isnull);

			times[i] = isnull ? 0 : DatumGetTimestampTz(value);
		}
		if (strcmp(jdy_spi_text(r, 2), causes[CAUSE_REMOVED]) == 0)
		{
			if (nremoved++ <= NAMED)
				appendStringInfo(removed, "%s%s", removed->len > 0 ? ", " : "", nremoved > NAMED ? "…" : id);
		}
		else if (n < JDY_JUDGED_MISSED)
			missed[n++] = (Missed) {
				.id = id,.fields = jdy_spi_text(r, 3),.modified_at = times[0],.modified_before = times[1],.unseen_at = times[2],
				.shown_at = jdy_client_server_time(audit->pull->client, &known)
			};
	}
	read_times(audit, missed, n);
	return n;
}

/* What was not here has its detail by now, which states its modify time. */
static void
read_times(Audit *audit, Missed *missed, int n)
{
	char	   *ids[JDY_JUDGED_MISSED];
	const Here *here;

	for (int i = 0; i < n; i++)
		ids[i] = unconstify(char *, missed[i].id);
	here = jdy_finding_here(audit, ids, n);
	for (int i = 0; i < n; i++)
		if (missed[i].modified_at == 0 && !TIMESTAMP_NOT_FINITE(here[i].modified_at))
			missed[i].modified_at = here[i].modified_at;
}

/* Their detail is due, or they were set aside: a later window, or this one tried again, is responsible for them. */
static void
find_waiting(Audit *audit, Here *here, int n, char **ids)
{
	static JdyStatement look = {
		.sql = "SELECT u.place FROM unnest($2::text[]) WITH ORDINALITY AS u (id, place) WHERE"
		" EXISTS (SELECT FROM jdysync.listing l WHERE l.stream_id = $1 AND l.id = u.id AND l.due OFFSET 0) OR"
		" EXISTS (SELECT FROM jdysync.reject j WHERE j.stream_id = $1 AND j.id = u.id AND j.next_try IS NOT NULL)",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTARRAYOID},
		.by_index = true
	};
	Datum		values[2] = {Int32GetDatum(audit->pull->stream->stream_id), jdy_text_array(ids, n)};

	jdy_execute(&look, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
		here[jdy_spi_int64(r, 1, 0) - 1].waits = true;
}

/* Where nobody notes what was shown (a list that is narrowed), nothing was. */
static bool
was_shown(const Audit *audit, const char *id)
{
	static JdyStatement look = {
		.sql = "SELECT 1 FROM jdysync.sighted g WHERE g.stream_id = $1 AND $2 = ANY (g.ids) LIMIT 1",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID}
	};
	Datum		values[2] = {Int32GetDatum(audit->pull->stream->stream_id), CStringGetTextDatum(id)};

	jdy_execute(&look, values, NULL);
	return SPI_processed > 0;
}

static void
add(Audit *audit, const Here *here, Cause cause, TimestampTz modified_at, Datum fields)
{
	Finding    *finding = palloc(sizeof(Finding));

	finding->here = here;
	finding->cause = cause;
	finding->modified_at = modified_at;
	finding->fields = fields;
	audit->findings = lappend(audit->findings, finding);
}
