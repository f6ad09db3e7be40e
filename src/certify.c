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
 * Nothing is written before the end, and then all of it together (certificate.c): a run that dies leaves no trace.
 *
 * Called by pull.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "certificate.h"
#include "certify.h"
#include "coverage.h"
#include "miscadmin.h"
#include "probe.h"
#include "progress.h"
#include "sighted.h"
#include "spi.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "window.h"

#define MAX_RESTARTS 2			/* of a pass, because the service gives less than was asked for */
#define WAIT_US INT64CONST(200000)	/* how often the tail is looked at while time passes */
#define FAR_AHEAD_US (366 * USECS_PER_DAY)

/* The scan of one pass. */
typedef struct Pass
{
	int			pages;			/* that there are, as far as known */
	int			next;			/* page to be asked */
	int64		distinct;		/* ids shown */
	bool		more;			/* the last page says that there is another, and showed something new */
	bool		full;			/* the last page held as many rows as were asked for, something new among them */
	int			short_page;		/* rows of a page that should be full; 0 = none was met */
} Pass;

static const char *uncertifiable(Pull *pull);
static void give_way(Certify *c);
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
static const char *why_not(const Certify *c);

void
jdy_certify(Pull *pull, bool (*keep_up) (Pull *pull, bool look))
{
	MemoryContext context = AllocSetContextCreate(pull->context, "jdysync certificate", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Certify    *c = palloc0(sizeof(Certify));
	int64		settled_us;

	c->pull = pull;
	c->keep_up = keep_up;
	c->settle_us = pull->stream->settle_us;
	c->context = context;
	c->size = pull->stream->whole ? INT_MAX : pull->cap;
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

			/* As windows are asked: whether the service's bounds are inclusive is not known. */
			c->from = jdy_tick_floor(pull, pull->stream->start_from) - jdy_tick_us(pull);
			c->to = jdy_tick_floor(pull, jdy_client_server_time(pull->client, &known)) + FAR_AHEAD_US;
		}
		read_known(c);
		settled_us = jdy_monotonic_us();
		while (c->why == NULL && c->proven == 0 && c->pass < JDY_MAX_PASSES)
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
			c->why = why_not(c);

		/* What a pass showed and no window has listed by now is not merely new. */
		if (pull->found != NIL)
			(void) keep_up(pull, false);
		if (c->why == NULL && pull->longest_lag_us > c->settle_us)
			c->why = "meanwhile a change came later than settle, which was raised";
	}
	jdy_certificate_write(c);
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
	return distrusted ? "the service's counts were found wrong, see jdy_incidents" : jdy_probe_count(pull);
}

static void
read_known(Certify *c)
{
	int			stream_id = c->pull->stream->stream_id;

	jdy_pull_begin(c->pull);
	c->ids = jdy_presences_create(c->context, jdy_sighted_count(stream_id));
	jdy_sighted_read(stream_id, know, c);
	jdy_pull_commit(c->pull);
	c->known = jdy_presences_sort(c->ids);
	MemoryContextSwitchTo(c->context);
}

static void
know(void *arg, const char *id, bool certified)
{
	jdy_presences_know(((Certify *) arg)->ids, id, certified);
}

/* Who wants another run of the stream should not wait for a certificate that nobody waits for. */
static void
give_way(Certify *c)
{
	if (c->why != NULL || !jdy_tx_lock_is_wanted() || jdy_progress_is_awaited())
		return;
	c->gave_way = true;
	c->why = "another run of the stream was asked for meanwhile";
}

/* Until settle has passed since then: the run keeps up with its list meanwhile. */
static void
let_settle(Certify *c, int64 since_us)
{
	Pull	   *pull = c->pull;
	int64		until_us = since_us + c->settle_us;
	int64		left_us;

	while (c->why == NULL && (left_us = until_us - jdy_monotonic_us()) > 0)
	{
		give_way(c);
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

	/* One in any case: that there is nothing must be seen, too. */
	pass.pages = (int) Max(Min(c->instants[c->pass].count / c->size + (c->instants[c->pass].count % c->size > 0), INT_MAX - 1), 1);
	pass.next = 1;
	c->shown = 0;
	for (;;)
	{
		bool		tail_due = c->keep_up(pull, true);
		Call	   *call;

		/* The tail is listed when the wire is empty, and goes first. */
		while (!tail_due && pass.next <= pass.pages && pass.short_page == 0 && c->why == NULL &&
			   jdy_client_pending(pull->client) < 2 * pull->stream->endpoint->concurrency)
			jdy_list_submit(pull, LANE_BACKFILL, c->from, c->to, pass.next++, c->size, NULL);
		give_way(c);
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
			else if (pass.more || (pass.full && pass.distinct < c->instants[c->pass].count))
			{
				/* Rows were added, or some came twice, so the list goes on behind its count. */
				pass.more = pass.full = false;
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
		pass->pages = Min(pass->pages, ask->page);
		add_evidence(c, call, "past the end", NULL);
		pfree(ask);
		jdy_client_release(pull->client, call);
		return;
	}
	page = jdy_list_answer(call);
	add_evidence(c, call, "page", page);
	c->shown += page->nrows;
	for (int i = 0; i < page->nrows; i++)
	{
		if (page->rows[i].id != NULL)
		{
			bool		is_new = see(c, page->rows[i].id);

			any_new = any_new || is_new;
			pass->distinct += is_new;
		}
		else
			c->why = "a row of the list has no id";
	}

	/* Whatever the count says: where nothing comes, nothing more is looked for. */
	if (page->nrows == 0)
		pass->pages = Min(pass->pages, ask->page);

	/* Of a list that one page should hold all of, less may be given as of any other page. */
	if (page->nrows > 0 && page->nrows < c->size && !pull->stream->whole &&
		(ask->page < pass->pages ? page->count > (int64) ask->page * c->size : pass->pages == 1 && page->count > page->nrows))
		pass->short_page = page->nrows;
	if (ask->page == pass->pages && any_new)
	{
		pass->more = page->count > (int64) ask->page * c->size;
		pass->full = page->nrows >= c->size;
	}

	/* Raises an error when one id stands for two records. */
	nrows = jdy_page_rows(page, &rows);
	nrows = jdy_sort_rows(rows, nrows, pull->stream);

	/* Without windows the load says how fresh a detail must be, and it may have passed over this record. */
	sighting.asked_at = jdy_asked_at(call);
	sighting.to = pull->windowed ? pull->cursor : DT_NOBEGIN;
	sighting.fresh_since = pull->windowed ? PG_INT64_MIN : pull->stream->load_began + pull->stream->settle_us;
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
	Presence   *presence = jdy_presences_find(c->ids, id);
	bool		shown = presence != NULL && presence->last == c->pass;

	if (presence != NULL)
		presence->last = c->pass;
	else
	{
		jdy_presences_add(c->ids, id, c->pass);
		jdy_certify_add_text(c, &c->newcomers, id);
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
	int64		place = 0;
	const Presence *presence;

	for (int pass = 1; pass <= c->pass; pass++)
		c->instants[pass].present = 0;
	while ((presence = jdy_presences_next(c->ids, &place)) != NULL)
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

/* There were passes enough, and none of their instants is proven. */
static const char *
why_not(const Certify *c)
{
	const Instant *instant = &c->instants[c->pass];
	int64		place = 0;
	const Presence *presence;
	int64		distinct = 0;
	bool		quiet = true;

	while ((presence = jdy_presences_next(c->ids, &place)) != NULL)
		if (presence->last == c->pass)
			distinct++;
	for (int pass = 1; pass <= c->pass; pass++)
		quiet = quiet && c->instants[pass].count == instant->count && c->instants[pass].present == distinct;
	if (quiet && c->shown == instant->count && distinct < c->shown)
		return psprintf("the service shows rows twice and counts them so: %lld rows of %lld records, so its count does not tell how many records there are",
						(long long) c->shown, (long long) distinct);
	return psprintf("the list changed too much while it was read: %lld records were seen before and after %s, the service counted %lld",
					(long long) instant->present, timestamptz_to_str(instant->at), (long long) instant->count);
}

void
jdy_certify_add_text(Certify *c, Texts *texts, const char *text)
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
