/*-------------------------------------------------------------------------
 * certify.c
 *		Certificates: proof of which records a list held at an instant.
 *
 * The service has no snapshot, but it counts.  Let g be an instant whose count is
 * known, and S the ids that some answer showed which had come before g, and again
 * some answer that was asked after g.  An id is there for one stretch of time (ids are not
 * used twice, the list has no filter by which a record could leave and return), so all
 * of S was there at g; when there are as many as the service counted, S is the list at g.
 * That holds whatever the order, however pages drift.  What changes meanwhile can only
 * prevent a certificate.
 *
 * Answers, and counts, may come from replicas or caches that are behind by up to settle.
 * So that long passes between the last answer "before" and g, and between g and the first answer
 * "after", by the runner's monotonic clock.  Meanwhile the run goes on with the tail and its details.
 *
 * Shown before: the ids on record (sighted.c), all from runs that were over.  Shown
 * after: one scan of the list's pages.  So a quiet list costs one count and one scan.  Where it
 * changed, the scan is "before" for another g: more passes, but not without end.
 *
 *	before the run | g1 | pass 1 | g2 | pass 2 | g3 | pass 3
 *
 * Nothing is written before the end, and then all of it together: a run that dies leaves no trace.
 *
 * Called by pull.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "certify.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "incident.h"
#include "miscadmin.h"
#include "progress.h"
#include "sighted.h"
#include "spi.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "window.h"

#define MAX_PASSES 3
#define MAX_RESTARTS 2			/* of a pass, because the service gives less than was asked for */
#define WAIT_US INT64CONST(200000)	/* how often the tail is looked at while time passes */
#define KEPT_CERTIFICATES "100"
#define FAR_AHEAD_US (366 * USECS_PER_DAY)
#define MISSED "missed by windows"

/* Two hashes: that two ids have both in common will not happen. */
typedef struct IdHash
{
	uint64		a;
	uint64		b;
} IdHash;

/* When an id was shown. */
typedef struct Presence
{
	IdHash		id;
	uint8		first;			/* pass; 0 = before the run */
	uint8		last;
	bool		certified;		/* the last certificate names it */
	bool		entered;		/* among added or later */
	char		status;
} Presence;

#define SH_PREFIX presence
#define SH_ELEMENT_TYPE Presence
#define SH_KEY_TYPE IdHash
#define SH_KEY id
#define SH_HASH_KEY(table, key) ((uint32) (key).a)
#define SH_EQUAL(table, x, y) ((x).a == (y).a && (x).b == (y).b)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

/* An instant whose count is known. */
typedef struct Instant
{
	TimestampTz at;				/* by the service's clock, if it tells it */
	int64		count;
	int64		present;		/* ids seen before and after it */
} Instant;

typedef struct Texts
{
	char	  **texts;
	int			n;
	int			size;
} Texts;

typedef struct Certify
{
	Pull	   *pull;
	bool		(*keep_up) (Pull *pull, bool look);
	MemoryContext context;
	presence_hash *ids;
	int64		known;			/* ids on record when the run began to certify */
	Texts		newcomers;		/* ids that passes showed first */
	TimestampTz from;			/* of the list, as asked; DT_NOBEGIN = all of it */
	TimestampTz to;
	int			pass;			/* the last one begun, from 1 */
	Instant		instants[MAX_PASSES + 1];	/* before each pass */
	int			size;			/* rows of a page */
	int			calls;
	StringInfoData evidence;	/* JSON array of calls, not closed */
	const char *why;			/* there can be no certificate; NULL = so far there can */

	/* When there is one. */
	int			proven;			/* the pass behind its instant */
	Texts		gone;
	Texts		added;
	Texts		later;
} Certify;

/* The scan of one pass. */
typedef struct Pass
{
	int			pages;			/* that there are, as far as known */
	int			next;			/* page to be asked */
	bool		more;			/* the last page says that there is another, and showed something new */
	int			short_page;		/* rows of a page that should be full; 0 = none was met */
} Pass;

static const char *uncertifiable(Pull *pull);
static void read_known(Certify *c);
static void know(void *arg, const char *id, bool certified);
static void let_settle(Certify *c, int64 since_us);
static void count_list(Certify *c);
static void scan_list(Certify *c);
static bool scan_pages(Certify *c);
static void take_page(Certify *c, Pass *pass, Call *call);
static bool see(Certify *c, const char *id);
static void add_evidence(Certify *c, const Call *call, const char *what, const ListPage *page);
static int	find_proof(Certify *c);
static bool was_there(const Certify *c, const Presence *presence);
static Presence *find(const Certify *c, const char *id);
static IdHash hash_of(const char *id);
static void add_text(Certify *c, Texts *texts, const char *text);
static void write_proof(Certify *c);
static void sort_out(void *arg, const char *id, bool certified);
static void place_newcomers(Certify *c, Texts *missed);
static void write_failure(Certify *c);
static void note_missed(Certify *c, const Texts *missed);
static void insert_certificate(Certify *c, bool proven, const Instant *instant, Datum digest, int64 missed);

void
jdy_certify(Pull *pull, bool (*keep_up) (Pull *pull, bool look))
{
	MemoryContext context = AllocSetContextCreate(pull->context, "jdysync certificate", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Certify    *c = palloc0(sizeof(Certify));
	int64		settled_us;

	c->pull = pull;
	c->keep_up = keep_up;
	c->context = context;
	c->size = pull->cap;
	c->from = DT_NOBEGIN;
	c->to = DT_NOEND;
	initStringInfo(&c->evidence);
	jdy_progress_phase(PHASE_VERIFYING);
	c->why = uncertifiable(pull);
	MemoryContextSwitchTo(context);

	if (c->why == NULL)
	{
		if (pull->windowed && pull->stream->start_from != 0)
		{
			bool		known;

			c->from = jdy_tick_floor(pull, pull->stream->start_from);
			c->to = jdy_tick_floor(pull, jdy_client_server_time(pull->client, &known)) + FAR_AHEAD_US;
		}
		read_known(c);
		settled_us = jdy_monotonic_us();
		while (c->why == NULL && c->proven == 0 && c->pass < MAX_PASSES)
		{
			let_settle(c, settled_us);
			if (c->why == NULL)
				count_list(c);
			if (c->why == NULL)
				let_settle(c, jdy_monotonic_us());
			if (c->why == NULL)
				scan_list(c);
			settled_us = jdy_monotonic_us();
			if (c->why == NULL)
				c->proven = find_proof(c);
		}
		if (c->why == NULL && c->proven == 0)
			c->why = psprintf("the list changed too much while it was read: %lld records were seen before and after %s, the service counted %lld",
							  (long long) c->instants[c->pass].present, timestamptz_to_str(c->instants[c->pass].at),
							  (long long) c->instants[c->pass].count);

		/* What a pass showed and no window has listed by now is not merely new. */
		if (pull->found != NIL)
			(void) keep_up(pull, false);
	}
	if (c->why == NULL)
		write_proof(c);
	else
		write_failure(c);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* Why this list cannot be certified at all; NULL = perhaps it can. */
static const char *
uncertifiable(Pull *pull)
{
	static JdyStatement look = {
		.sql = "SELECT 1 FROM jdysync.incident i WHERE i.name = $1 AND i.what = $2 AND i.closed_at IS NULL",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	const Stream *stream = pull->stream;
	Datum		values[2] = {CStringGetTextDatum(stream->name), CStringGetTextDatum(JDY_COUNT_NOT_TRUSTED)};
	bool		distrusted;

	if (stream->narrowing != NULL)
		return psprintf("parameter \"%s\" of the metadata narrows the list, so that records can leave it and come back",
						stream->narrowing);
	jdy_pull_begin(pull);
	jdy_execute(&look, values, NULL);
	distrusted = SPI_processed > 0;
	jdy_pull_commit(pull);
	return distrusted ? "the service's counts were found wrong, see jdy_incidents" : NULL;
}

static void
read_known(Certify *c)
{
	c->ids = presence_create(c->context, 1024, NULL);
	jdy_pull_begin(c->pull);
	jdy_sighted_read(c->pull->stream->stream_id, know, c);
	jdy_pull_commit(c->pull);
	c->known = c->ids->members;
	MemoryContextSwitchTo(c->context);
}

static void
know(void *arg, const char *id, bool certified)
{
	Certify    *c = arg;
	bool		found;
	Presence   *presence = presence_insert(c->ids, hash_of(id), &found);

	if (!found)
	{
		presence->first = presence->last = 0;
		presence->certified = presence->entered = false;
	}
	presence->certified = presence->certified || certified;
}

/* Until settle has passed since then: the run keeps up with its list meanwhile. */
static void
let_settle(Certify *c, int64 since_us)
{
	Pull	   *pull = c->pull;
	int64		until_us = since_us + pull->stream->settle_us;
	int64		left_us;

	while (c->why == NULL && (left_us = until_us - jdy_monotonic_us()) > 0)
	{
		if (c->keep_up(pull, true))
		{
			(void) c->keep_up(pull, false);
			jdy_progress_phase(PHASE_VERIFYING);
			if (c->from != DT_NOBEGIN && !pull->windowed)
				c->why = "the service does not heed the time filter any more";
			continue;
		}
		jdy_pull_progress(pull);
		jdy_progress_waiting(WAITING_SETTLE, left_us);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(left_us, WAIT_US) / 1000 + 1,
						 JDY_WAIT_EVENT("JdysyncSettle"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	jdy_progress_waiting(WAITING_NOTHING, 0);
	MemoryContextSwitchTo(c->context);
}

static void
count_list(Certify *c)
{
	Pull	   *pull = c->pull;
	Call	   *call = jdy_list_ask(pull, LANE_BACKFILL, c->from, c->to, 1, 1);
	ListPage   *page = jdy_list_answer(call);
	Instant    *instant = &c->instants[++c->pass];

	/* Date is cut to seconds, so this is never later than it was. */
	instant->at = call->asked_at != 0 ? call->asked_at : GetCurrentTimestamp() - (jdy_monotonic_us() - call->left_us);
	instant->count = page->count;
	add_evidence(c, call, "count", page);
	if (page->count < 0)
		c->why = "the service does not count the records of this list";
	jdy_client_release(pull->client, call);
	MemoryContextSwitchTo(c->context);
}

static void
scan_list(Certify *c)
{
	int			restarts = 0;

	jdy_progress_totals(c->instants[c->pass].count, -1);
	while (!scan_pages(c) && c->why == NULL)
		if (++restarts > MAX_RESTARTS)
			c->why = "the service gives pages of ever fewer rows";
}

/* All pages, several at once, in any order.  false: the service gives less than was asked for, so pages were passed over. */
static bool
scan_pages(Certify *c)
{
	Pull	   *pull = c->pull;
	Pass		pass = {0};

	pass.pages = (int) Min(c->instants[c->pass].count / c->size + (c->instants[c->pass].count % c->size > 0), INT_MAX - 1);
	pass.next = 1;
	for (;;)
	{
		bool		tail_due = c->keep_up(pull, true);
		Call	   *call;

		/* The tail is listed when the wire is empty, and goes first. */
		while (!tail_due && pass.next <= pass.pages && pass.short_page == 0 && c->why == NULL &&
			   jdy_client_pending(pull->client) < 2 * pull->stream->endpoint->concurrency)
			jdy_list_submit(pull, LANE_BACKFILL, c->from, c->to, pass.next++, c->size, NULL);
		if (jdy_client_pending(pull->client) == 0)
		{
			if (c->why != NULL || pass.short_page > 0)
				break;
			if (tail_due)
			{
				(void) c->keep_up(pull, false);
				jdy_progress_phase(PHASE_VERIFYING);
				if (c->from != DT_NOBEGIN && !pull->windowed)
					c->why = "the service does not heed the time filter any more";
			}
			else if (pass.more)
			{
				/* Rows were added, so the list goes on behind its count. */
				pass.more = false;
				pass.pages++;
			}
			else if (pass.next > pass.pages)
				break;
			continue;
		}
		call = jdy_client_next(pull->client, 200);
		jdy_pull_progress(pull);
		if (call != NULL)
			take_page(c, &pass, call);
		MemoryContextSwitchTo(c->context);
	}
	if (pass.short_page == 0)
		return true;
	c->size = pass.short_page;
	return false;
}

static void
take_page(Certify *c, Pass *pass, Call *call)
{
	Pull	   *pull = c->pull;
	ListAsk    *ask = call->owner;
	Sighting	sighting = {SEEN_IN_AUDIT};
	ListPage   *page;
	Row		  **rows;
	int			nrows;
	bool		any_new = false;

	if (jdy_list_past_end(call))
	{
		add_evidence(c, call, "past the end", NULL);
		pfree(ask);
		jdy_client_release(pull->client, call);
		return;
	}
	page = jdy_list_answer(call);
	add_evidence(c, call, "page", page);
	for (int i = 0; i < page->nrows; i++)
	{
		if (page->rows[i].id != NULL)
			any_new = see(c, page->rows[i].id) || any_new;
		else
			c->why = "a row of the list has no id";
	}
	if (page->nrows > 0 && page->nrows < c->size && page->count > (int64) ask->page * c->size && ask->page < pass->pages)
		pass->short_page = page->nrows;
	if (ask->page == pass->pages && page->count > (int64) ask->page * c->size && any_new)
		pass->more = true;

	/* Raises an error when one id stands for two records. */
	nrows = jdy_page_rows(page, &rows);
	nrows = jdy_sort_rows(rows, nrows, true);
	sighting.to = pull->cursor;
	jdy_pull_begin(pull);
	jdy_pull_land(pull, rows, nrows, &sighting);
	jdy_pull_reject(pull, page, &sighting);
	jdy_pull_commit(pull);
	pfree(rows);
	pfree(ask);
	jdy_client_release(pull->client, call);
}

/* Whether this pass had not shown it yet. */
static bool
see(Certify *c, const char *id)
{
	bool		found;
	Presence   *presence = presence_insert(c->ids, hash_of(id), &found);
	bool		shown = found && presence->last == c->pass;

	presence->last = c->pass;
	if (!found)
	{
		presence->first = c->pass;
		presence->certified = presence->entered = false;
		add_text(c, &c->newcomers, id);
	}
	return !shown;
}

/* By our own clock: where the service does not tell its time, too. */
static void
add_evidence(Certify *c, const Call *call, const char *what, const ListPage *page)
{
	TimestampTz now = GetCurrentTimestamp();
	const ListAsk *ask = call->owner;
	StringInfo	text = &c->evidence;

	c->calls++;
	appendStringInfo(text, "%s{\"call\": %d, \"what\": \"%s\", \"asked_at\": \"%s\"", text->len == 0 ? "[" : ", ", c->calls, what,
					 timestamptz_to_str(now - (jdy_monotonic_us() - call->left_us)));
	appendStringInfo(text, ", \"answered_at\": \"%s\", \"page\": %d, \"size\": %d", timestamptz_to_str(now), ask->page, ask->size);
	if (page != NULL)
		appendStringInfo(text, ", \"rows\": %d, \"count\": %lld", page->nrows, (long long) page->count);
	appendStringInfoChar(text, '}');
}

/* The latest pass whose instant is proven; 0 = none. */
static int
find_proof(Certify *c)
{
	presence_iterator it;
	Presence   *presence;

	for (int pass = 1; pass <= c->pass; pass++)
		c->instants[pass].present = 0;
	presence_start_iterate(c->ids, &it);
	while ((presence = presence_iterate(c->ids, &it)) != NULL)
		for (int pass = presence->first + 1; pass <= presence->last; pass++)
			c->instants[pass].present++;

	/* All of them were there: a count that is less is wrong, and so may be any other. */
	for (int pass = 1; pass <= c->pass; pass++)
		if (c->instants[pass].present > c->instants[pass].count)
		{
			c->why = psprintf("the service's counts are wrong: it counted %lld records where at least %lld were",
							  (long long) c->instants[pass].count, (long long) c->instants[pass].present);
			return 0;
		}
	for (int pass = c->pass; pass >= 1; pass--)
		if (c->instants[pass].present == c->instants[pass].count)
			return pass;
	return 0;
}

/* At the proven instant. */
static bool
was_there(const Certify *c, const Presence *presence)
{
	return presence != NULL && presence->first < c->proven && presence->last >= c->proven;
}

static Presence *
find(const Certify *c, const char *id)
{
	return presence_lookup(c->ids, hash_of(id));
}

static IdHash
hash_of(const char *id)
{
	IdHash		hash;
	int			length = strlen(id);

	hash.a = hash_bytes_extended((const unsigned char *) id, length, 0);
	hash.b = hash_bytes_extended((const unsigned char *) id, length, UINT64CONST(0x9e3779b97f4a7c15));
	return hash;
}

static void
add_text(Certify *c, Texts *texts, const char *text)
{
	MemoryContext caller = MemoryContextSwitchTo(c->context);

	if (texts->n == texts->size)
	{
		texts->size = Max(2 * texts->size, 64);
		texts->texts = texts->texts == NULL ? palloc(texts->size * sizeof(char *)) :
			repalloc_huge(texts->texts, (Size) texts->size * sizeof(char *));
	}
	texts->texts[texts->n++] = pstrdup(text);
	MemoryContextSwitchTo(caller);
}

static void
write_proof(Certify *c)
{
	Pull	   *pull = c->pull;
	const Instant *instant = &c->instants[c->proven];
	Texts		missed = {0};
	int64		named;
	Datum		digest;

	jdy_pull_begin(pull);
	jdy_sighted_read(pull->stream->stream_id, sort_out, c);
	place_newcomers(c, &missed);
	named = jdy_sighted_certify(pull->stream->stream_id, c->gone.texts, c->gone.n, c->added.texts, c->added.n,
								c->later.texts, c->later.n, &digest);

	/* What is on record, counted by SQL, has the last word. */
	if (named != instant->count)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the ids on record are not those that were seen"),
				 errdetail("%lld are on record, %lld were seen.", (long long) named, (long long) instant->count),
				 errhint("Verify again; nothing was certified.")));
	note_missed(c, &missed);
	insert_certificate(c, true, instant, digest, missed.n);
	jdy_pull_commit(pull);
}

/* An id on record: where it belongs now. */
static void
sort_out(void *arg, const char *id, bool certified)
{
	Certify    *c = arg;
	Presence   *presence = find(c, id);
	bool		there = was_there(c, presence);

	if (certified)
	{
		if (!there)
			add_text(c, &c->gone, id);
	}
	else if (there)
	{
		if (!presence->certified && !presence->entered)
			add_text(c, &c->added, id);
		presence->entered = true;
	}
	else if (presence == NULL)
		add_text(c, &c->later, id); /* the tail showed it during this run */
	else if (presence->first >= c->proven && !presence->entered)
	{
		add_text(c, &c->later, id);
		presence->entered = true;
	}
}

/* Ids that passes showed first; those that staging lacked, although they were there before. */
static void
place_newcomers(Certify *c, Texts *missed)
{
	ListCell   *cell;

	for (int i = 0; i < c->newcomers.n; i++)
	{
		const char *id = c->newcomers.texts[i];
		Presence   *presence = find(c, id);

		if (presence->entered)
			continue;
		presence->entered = true;
		add_text(c, was_there(c, presence) ? &c->added : &c->later, id);
	}
	foreach(cell, c->pull->found)
	{
		Presence   *presence = find(c, lfirst(cell));

		if (c->pull->windowed && was_there(c, presence) && presence->first > 0)
			add_text(c, missed, lfirst(cell));
	}
}

/* What was seen counts for the next attempt. */
static void
write_failure(Certify *c)
{
	Pull	   *pull = c->pull;

	jdy_pull_begin(pull);
	if (pull->stream->narrowing == NULL)
		jdy_sighted_note(pull->stream->stream_id, c->newcomers.texts, c->newcomers.n);
	insert_certificate(c, false, c->pass > 0 ? &c->instants[c->pass] : NULL, (Datum) 0, 0);
	jdy_pull_commit(pull);
}

/* Rows that were there, and that no window listed: the promise of windows did not hold for them. */
static void
note_missed(Certify *c, const Texts *missed)
{
	const Stream *stream = c->pull->stream;
	const char *settle = DatumGetCString(DirectFunctionCall1(interval_out, PointerGetDatum(
		&((Interval) {.time = stream->settle_us}))));

	if (missed->n == 0)
	{
		jdy_incident_close(stream->name, MISSED);
		return;
	}
	jdy_incident_open(stream->name, "warning", MISSED,
					  psprintf("%d %s in the list that no window of modify time had listed, such as %s; %s here now.",
							   missed->n, missed->n == 1 ? "record was" : "records were", missed->texts[0],
							   missed->n == 1 ? "it is" : "they are"),
					  psprintf("They became visible later than settle (%s) after their modify time, or were dated back. If it happens again, raise settle: SELECT jdy_alter_stream('%s', settle => '...').",
							   settle, stream->name));
}

static void
insert_certificate(Certify *c, bool proven, const Instant *instant, Datum digest, int64 missed)
{
	static JdyStatement insert = {
		.sql = "INSERT INTO jdysync.certificate (stream_id, epoch, run_id, proven, instant, \"count\", digest, calls, missed, why,"
		" assumptions, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
		" (SELECT jsonb_build_object('settle', s.settle::text, 'start_from', s.start_from, 'known_before', $11, 'passes', $12, 'pass', $14,"
		"  'contract', s.contract) FROM jdysync.stream s WHERE s.stream_id = $1), $13)",
		.nargs = 14,
		.argtypes = {INT4OID, INT4OID, INT8OID, BOOLOID, TIMESTAMPTZOID, INT8OID, BYTEAOID, INT4OID, INT8OID, TEXTOID,
		INT8OID, INT4OID, JSONBOID, INT4OID}
	};
	static JdyStatement trim = {
		.sql = "DELETE FROM jdysync.certificate c WHERE c.stream_id = $1 AND c.certificate_id <="
		" (SELECT o.certificate_id FROM jdysync.certificate o WHERE o.stream_id = $1"
		"  ORDER BY o.certificate_id DESC OFFSET " KEPT_CERTIFICATES " LIMIT 1)",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	const Stream *stream = c->pull->stream;
	Datum		values[14];
	char		nulls[15] = "              ";

	if (c->evidence.len > 0)
		appendStringInfoChar(&c->evidence, ']');
	else
		appendStringInfoString(&c->evidence, "[]");
	values[0] = Int32GetDatum(stream->stream_id);
	values[1] = Int32GetDatum(stream->epoch);
	values[2] = Int64GetDatum(c->pull->run_id);
	values[3] = BoolGetDatum(proven);
	values[4] = TimestampTzGetDatum(instant ? instant->at : 0);
	values[5] = Int64GetDatum(instant ? instant->count : 0);
	nulls[4] = instant ? ' ' : 'n';
	nulls[5] = instant && instant->count >= 0 ? ' ' : 'n';
	values[6] = digest;
	nulls[6] = proven ? ' ' : 'n';
	values[7] = Int32GetDatum(c->calls);
	values[8] = Int64GetDatum(missed);
	values[9] = c->why ? CStringGetTextDatum(c->why) : (Datum) 0;
	nulls[9] = c->why ? ' ' : 'n';
	values[10] = Int64GetDatum(c->known);
	values[11] = Int32GetDatum(c->pass);
	values[12] = DirectFunctionCall1(jsonb_in, CStringGetDatum(c->evidence.data));
	values[13] = Int32GetDatum(c->proven);
	nulls[13] = proven ? ' ' : 'n';
	jdy_execute(&insert, values, nulls);
	jdy_execute(&trim, values, NULL);
}
