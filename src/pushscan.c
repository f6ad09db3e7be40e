/*-------------------------------------------------------------------------
 * pushscan.c
 *		What a push is to send: its source against what was acknowledged.
 *
 * Compares digests, so a record that was sent and acknowledged as it is costs
 * nothing more, and one that was not is found again after any crash.  Where it is known what may
 * have changed since the last run that dealt with all it saw, nothing else is read.  What differs is
 * kept aside, in order, and on disk if there is much of it.  A view that suddenly
 * differs in a large part is more likely a mistake than news: such a flood is held.
 *
 * Called by push.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "changes.h"
#include "incident.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "page.h"
#include "progress.h"
#include "pushrun.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define FLOOD_RECORDS 1000		/* so many changed payloads at once, */
#define FLOOD_SHARE 5			/* and more than a fifth of all: held */
#define GONE_FREELY 10			/* so many deletions are never held; */
#define GONE_RECORDS 100		/* more than these always, */
#define GONE_SHARE 20			/* and more than a twentieth of all */

/* What a scan of the source fills. */
typedef struct Look
{
	PushRun    *run;
	Standings  *standings;
	int64		found;
	int64		changed;
	int64		gone;
	int64		unmade;			/* no payload could be made of them */
	char	   *problem;		/* the first of these */
} Look;

static void look(Look *scan, XLogRecPtr begin);
static void add_replayed(const Push *push, Changes *changes);
static void look_at_all(Look *scan);
static void settle_absent(const Look *scan, const HashMap *present);
static void take_pending(void *arg, Outgoing *records, int n);
static void take_unmade(Look *scan, Outgoing *record, const Standing *standing);
static void check_unmade(const Look *scan);
static void take_gone(void *arg, const char *id, int version);
static void keep_pending(Look *scan, const Outgoing *record, int version);
static void hold(PushRun *run, const Batch *batch);
static bool is_held(PushRun *run, const char *id);
static void check_flood(PushRun *run, const Look *scan);

/* One transaction; nothing is sent meanwhile. */
void
jdy_pushrun_scan(PushRun *run)
{
	Look		scan = {.run = run};
	MemoryContext caller = CurrentMemoryContext;
	XLogRecPtr	begin = GetXLogInsertRecPtr();
	ListCell   *cell;

	jdy_progress_phase(PHASE_SCANNING);
	foreach(cell, run->doubtful)
		hold(run, lfirst(cell));
	foreach(cell, run->suspects)
		hold(run, ((Suspect *) lfirst(cell))->batch);

	/* It outlives the transaction: rows beyond work_mem lie in a temporary file. */
	MemoryContextSwitchTo(run->context);
	run->pending = tuplestore_begin_heap(false, true, work_mem);
	MemoryContextSwitchTo(caller);
	jdy_pushrun_begin(run);
	look(&scan, begin);
	check_flood(run, &scan);
	jdy_pushrun_commit(run);
}

/* At what may have changed, where that is known, else at everything. */
static void
look(Look *scan, XLogRecPtr begin)
{
	PushRun    *run = scan->run;
	Push	   *push = run->push;
	static const ChangeMark nothing = {NULL};
	Changes		changes;

	jdy_changes_find(push, begin, &changes);
	if (changes.known)
		add_replayed(push, &changes);
	if (!changes.known)
	{
		/* What is sent now comes from another view, or from one that changes by itself: the old mark says nothing of it. */
		if (push->seen.source != NULL)
			jdy_delivery_seen(push, &nothing);
		look_at_all(scan);
	}
	else if (changes.n > 0)
	{
		scan->standings = jdy_standings_load(push, changes.ids, changes.n, run->chunk);
		jdy_source_scan_ids(push, changes.ids, changes.n, changes.id_array, take_pending, scan);
	}

	/* A record that is held back has to be looked at again, changed or not. */
	if (changes.mark.source != NULL && run->held == NULL && (changes.looked || !changes.known))
	{
		run->mark = changes.mark;
		run->mark.source = MemoryContextStrdup(run->context, changes.mark.source);
	}
}

/* Records that are to be sent again count as changed, each once; a deletion among them is found only by reading all. */
static void
add_replayed(const Push *push, Changes *changes)
{
	char	  **ids;
	int			n = jdy_delivery_replayed(push, false, &ids);

	if (n > 0 && push->meta->delete_rule != NULL)
		changes->known = false;
	if (n == 0 || !changes->known)
		return;
	changes->ids = repalloc(changes->ids, sizeof(char *) * (changes->n + n));
	memcpy(&changes->ids[changes->n], ids, sizeof(char *) * n);
	changes->n += n;
	qsort(changes->ids, changes->n, sizeof(char *), pg_qsort_strcmp);
	changes->n = (int) qunique(changes->ids, changes->n, sizeof(char *), pg_qsort_strcmp);
}

static void
look_at_all(Look *scan)
{
	Push	   *push = scan->run->push;
	HashMap    *present = NULL;

	scan->standings = jdy_standings_load(push, NULL, 0, scan->run->chunk);
	if (push->meta->delete_rule != NULL)
		present = jdy_hashmap_create(scan->run->chunk, false, PG_UINT32_MAX);
	jdy_source_scan(push, take_pending, present, scan);
	check_unmade(scan);
	if (present != NULL)
	{
		jdy_standings_gone(scan->standings, present, take_gone, scan);
		settle_absent(scan, present);
	}
}

/* What was replayed, and is neither in the source any more nor was ever at the target: nothing is to be done. */
static void
settle_absent(const Look *scan, const HashMap *present)
{
	const Push *push = scan->run->push;
	char	  **ids;
	int			n = jdy_delivery_replayed(push, true, &ids);
	int			absent = 0;

	for (int i = 0; i < n; i++)
		if (!jdy_hashmap_has(present, jdy_id_hash(ids[i], strlen(ids[i]))) && !is_held(scan->run, ids[i]))
			ids[absent++] = ids[i];
	if (absent > 0)
		jdy_delivery_revived(push, ids, absent);
}

static void
take_pending(void *arg, Outgoing *records, int n)
{
	Look	   *scan = arg;
	PushRun    *run = scan->run;
	Standing	standings[JDY_SOURCE_CHUNK];
	char	   *revived[JDY_SOURCE_CHUNK];
	int			nrevived = 0;

	scan->found += n;
	run->counters->listed += n;
	n = jdy_standings_ask(scan->standings, records, n, standings);
	for (int i = 0; i < n; i++)
	{
		const Standing *standing = &standings[i];

		if (is_held(run, records[i].id))
			continue;
		if (records[i].problem != NULL)
		{
			take_unmade(scan, &records[i], standing);
			continue;
		}
		if (standing->delivered && memcmp(standing->digest, records[i].digest, JDY_PUSH_DIGEST) == 0)
		{
			if (standing->refused || !standing->settled)
				revived[nrevived++] = records[i].id;
			continue;
		}
		/* What was refused is refused again, until it changes or somebody asks for it. */
		if (standing->refused && memcmp(standing->refused_digest, records[i].digest, JDY_PUSH_DIGEST) == 0)
			continue;
		keep_pending(scan, &records[i], standing->version + 1);
		scan->changed++;
	}
	if (nrevived > 0)
		jdy_delivery_revived(run->push, revived, nrevived);
	jdy_progress_counters(run->counters);
}

/* A dead letter, once: its digest is that of its row, so it is looked at again when that changes, or the template does. */
static void
take_unmade(Look *scan, Outgoing *record, const Standing *standing)
{
	Batch		batch = {.n = 1,.records = record,.body = record->payload};

	if (scan->unmade++ == 0)
		scan->problem = MemoryContextStrdup(scan->run->context, record->problem);
	if (standing->refused && memcmp(standing->refused_digest, record->digest, JDY_PUSH_DIGEST) == 0)
		return;
	record->version = standing->version + 1;
	jdy_delivery_dead(scan->run->push, &batch, 0, 0, record->problem, NULL);
	scan->run->counters->dead++;
}

/* When it is all of them, the template is at fault and not the records. */
static void
check_unmade(const Look *scan)
{
	if (scan->unmade > 0 && scan->unmade == scan->found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no payload can be made of any record"),
				 errdetail_internal("%s", scan->problem),
				 errhint("Mend \"request\" with jdy_alter_push, or the view.")));
}

/* What the target has and the source has not. */
static void
take_gone(void *arg, const char *id, int version)
{
	Look	   *scan = arg;
	Outgoing	record = {.id = unconstify(char *, id)};

	if (is_held(scan->run, id))
		return;
	keep_pending(scan, &record, version + 1);
	scan->gone++;
}

/* No payload: it is to be deleted. */
static void
keep_pending(Look *scan, const Outgoing *record, int version)
{
	PushRun    *run = scan->run;
	bool		gone = record->payload == NULL;
	Datum		values[4] = {CStringGetTextDatum(record->id), (Datum) 0, Int32GetDatum(version), (Datum) 0};
	bool		nulls[4] = {false, gone, false, gone};

	if (!gone)
	{
		values[1] = CStringGetTextDatum(record->payload);
		values[3] = PointerGetDatum(record->digest);
	}
	tuplestore_putvalues(run->pending, run->desc, values, nulls);
	run->counters->pending++;
}

static void
hold(PushRun *run, const Batch *batch)
{
	if (run->held == NULL)
	{
		HASHCTL		control = {.keysize = JDY_MAX_ID_BYTES + 1, .entrysize = JDY_MAX_ID_BYTES + 1, .hcxt = run->context};

		run->held = hash_create("jdysync held ids", 256, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	for (int i = 0; i < batch->n; i++)
		hash_search(run->held, batch->records[i].id, HASH_ENTER, NULL);
}

static bool
is_held(PushRun *run, const char *id)
{
	return run->held != NULL && hash_search(run->held, id, HASH_FIND, NULL) != NULL;
}

/*
 * A changed view, or a spoiled table, would else be sent out before anybody sees it;
 * and an empty one would empty the target, so fewer deletions are a flood.
 */
static void
check_flood(PushRun *run, const Look *scan)
{
	static const char *const what = "push held";
	int64		known = 0;
	bool		flood;
	bool		gone;
	char	   *detail;

	if (!run->push->released && (scan->gone > GONE_FREELY || scan->changed > FLOOD_RECORDS))
		known = jdy_delivery_count(run->push);
	gone = known > 0 && scan->gone > GONE_FREELY && (scan->gone > GONE_RECORDS || scan->gone * GONE_SHARE > known);
	flood = known > 0 && run->push->pushed && scan->changed > FLOOD_RECORDS && scan->changed * FLOOD_SHARE > known;
	if (!gone && !flood)
	{
		jdy_incident_close(run->push->name, what);
		return;
	}
	detail = MemoryContextAlloc(run->context, 200);
	if (gone)
		snprintf(detail, 200, "%lld of %lld records would be deleted, and %lld of %lld sent.", (long long) scan->gone,
				 (long long) known, (long long) scan->changed, (long long) Max(known, scan->found));
	else
		snprintf(detail, 200, "%lld of %lld records would be sent.", (long long) scan->changed, (long long) Max(known, scan->found));
	jdy_incident_open(run->push->name, "warning", what, detail,
					  psprintf("If that is meant: SELECT jdy_resume(%s, force => true); then push again.",
							   quote_literal_cstr(run->push->name)));
	jdy_pushrun_commit(run);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 gone ? errmsg("the push is held: too many records are gone from its source at once") :
			 errmsg("the push is held: too many records changed at once"),
			 errdetail_internal("%s", detail),
			 errhint("Look with jdy_preview. If it is meant: SELECT jdy_resume(%s, force => true), then push again.",
					 quote_literal_cstr(run->push->name))));
}
