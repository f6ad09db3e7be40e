/*-------------------------------------------------------------------------
 * pull.h
 *		A stream's run: what its parts share.
 *
 * pull.c decides what a run does; probe.c asks how the service answers, load.c reads a whole list,
 * window.c spans of modify time, detail.c the details that became due.  They share one Pull.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PULL_H
#define JDY_PULL_H

#include "postgres.h"

#include "client.h"
#include "page.h"
#include "queue.h"
#include "runlog.h"
#include "shmem.h"
#include "staging.h"
#include "stream.h"

#define CLOCK_ERROR_US (5 * USECS_PER_SEC)	/* Date has whole seconds and the clock is learned within two: a tail is asked this far ahead */
#define OUR_CLOCK_ERROR_US USECS_PER_DAY	/* where the service does not tell its time, ours is not further off */

/* Why reading a list by pages, from its start to its end, does not prove that all of it was read. */
typedef enum Doubt
{
	NO_DOUBT,
	DOUBT_ORDER,				/* two answers showed the same rows in different order */
	DOUBT_SORT_KEY,				/* what the list is sorted by is not among what is known of its rows */
	DOUBT_END,					/* no more rows came although the service counts more */
	DOUBT_ORDER_UNSEEN			/* too few rows were seen again to tell whether there is an order */
} Doubt;

typedef struct Sweep Sweep;

typedef struct Pull
{
	Stream	   *stream;
	int64		run_id;
	RunMode		mode;
	RunCounters *counters;
	Client	   *client;
	RunLog	   *log;
	Staging    *staging;
	MemoryContext context;		/* of the run */
	MemoryContext landing;		/* reset after each landing; its first block is kept */
	int			cap;			/* rows that one answer may hold: what we ask for, less where the service gives less */
	int			given;			/* the most rows that one answer was seen to hold: shorter ones were not cut */
	bool		windowed;		/* the list can be asked by modify time */
	bool		by_day;			/* its windows are given as dates: a tick is a day */
	bool		timeless;		/* the service does not tell its time: nothing can be proven */
	Doubt		doubt;			/* about what load.c read */
	bool		one_answer;		/* what load.c read was one answer that held all that the service counts */
	int64		counted;		/* by the service, before load.c asked for what it read; -1 = it tells none */
	Sweep	   *sweep;			/* of sweep.c; NULL = nothing is swept in this run */
	List	   *in_flight;		/* of char *: details asked and not landed; those listed again meanwhile stay due */
	List	   *listed_again;	/* of char *: subset of in_flight */
	bool		absent;			/* there are records that a certificate did not find (absent.c) */
	List	   *found;			/* of char *: ids that an audit showed, staging lacked, and no window has listed since */
	List	   *shown;			/* of char *: ids that the tail as a whole showed, and no piece of it yet */
	TimestampTz *stamps;		/* of stamps.c: when recent records were modified, sorted; NULL = not known */
	int			nstamps;
	List	   *to_read;		/* of window.c: what is not asked yet, the earliest first */
	bool		hidden;			/* an answer about the tail may hide records: it fits no count, or a row came twice or without its id */
	List	   *full_ticks;		/* of window.c: ticks with more rows than an answer holds, to be read by pages */
	TimestampTz cursor;			/* end of the last span that was proven or given up: the next window begins here minus overlap; DT_NOBEGIN = none */
	int64		listed_at_us;	/* monotonic: when the tail was last listed */
	TimestampTz asked_at;		/* by our clock: when that was asked */
	int64		longest_lag_us; /* that this run has seen a change to be late; 0 = none was */
	int64		new_lag_us;		/* the same since settle was seen to last, */
	char	   *new_lag_detail; /* and what it was, for an incident */
} Pull;

/* One request of the list: a page of a window, or of everything. */
typedef struct ListAsk
{
	Pull	   *pull;
	TimestampTz from;			/* as sent; DT_NOBEGIN = no start */
	TimestampTz to;				/* as sent; DT_NOEND = no end */
	int			page;			/* from 1 */
	int			size;
	bool		proves;			/* that it is empty would prove something */
	ListPage   *answer;			/* in the call's context */
	void	   *owner;
} ListAsk;

/* One request of a detail. */
typedef struct DetailAsk
{
	const char *id;
	ListPage   *answer;			/* of one row; in the call's context */
	void	   *owner;
} DetailAsk;

/*
 * Makes one run of stream `stream_id`: the runner holds the stream's lock, works
 * as its owner, and is in no transaction.  run_id is the row that jdy_run_begin made.
 * Fills `counters` as it goes (so that they are true when it raises an error).
 */
extern void jdy_pull_run(int stream_id, int64 run_id, RunMode mode,
						 TimestampTz from_time, TimestampTz to_time, RunCounters *counters);

/* Submits one request of the list; the ListAsk is the call's owner. */
extern Call *jdy_list_submit(Pull *pull, Lane lane, TimestampTz from, TimestampTz to, int page, int size, void *owner);

/*
 * The same, waiting for the answer; raises when it failed, unless the page lies
 * past the end.  Only while nothing else is pending.
 */
extern Call *jdy_list_ask(Pull *pull, Lane lane, TimestampTz from, TimestampTz to, int page, int size);

/* The same, whatever came of it. */
extern Call *jdy_list_try(Pull *pull, Lane lane, TimestampTz from, TimestampTz to, int page, int size);

/* Whether a call that came back asked for a page past the list's end: some services refuse it, some show another. */
extern bool jdy_list_past_end(const Call *call);

/* Submits the request of one record's detail, in the current memory context; the DetailAsk is the call's owner. */
extern Call *jdy_detail_submit(Pull *pull, Lane lane, const char *id, void *owner);

/* The answer of a list call that came back; raises when it failed. */
extern ListPage *jdy_list_answer(Call *call);

/*
 * Whether an answer may have been cut where its rows end, although it holds as many as it counts: rows may come from
 * an older replica than the count, and no answer has held more.
 */
extern bool jdy_list_may_be_cut(const Pull *pull, const ListPage *page);

/* What time it is there: asks for something when the service has not told its time in this run yet, since our clock may be wrong. */
extern TimestampTz jdy_server_now(Pull *pull);

/* Lands rows and marks details due, in the caller's transaction; bad rows go to the rejects. */
extern void jdy_pull_land(Pull *pull, Row **rows, int nrows, const Sighting *sighting);

/*
 * Sets the bad rows of an answer aside, after its good ones were landed, in the
 * caller's transaction.  What a load or a proven window set aside is listed again by later runs.
 */
extern void jdy_pull_reject(Pull *pull, ListPage *page, const Sighting *sighting);

/* All rows of an answer that can be landed, as pointers. */
extern int	jdy_page_rows(ListPage *page, Row ***rows);

/* When a call was asked, by the service's clock; where that is not told it was this late at least. */
extern TimestampTz jdy_asked_at(const Call *call);

/* Waits for time: keeps serving interrupts and progress. */
extern void jdy_pull_wait(Pull *pull, int64 us);

/* A transaction of the run: begin switches to the landing context, end resets it. */
extern void jdy_pull_begin(Pull *pull);
extern void jdy_pull_commit(Pull *pull);

/* Shows how far the run is. */
extern void jdy_pull_progress(Pull *pull);

/*
 * load.c: the whole list by anchored pages, or, of a report, one month of it.  resume: go on
 * where an earlier run stopped.  Sets pull->doubt where pages prove nothing, one_answer and counted.
 */
extern void jdy_load_list(Pull *pull, const Sighting *sighting, bool resume);

/*
 * detail.c: fetches what is due until nothing is.  relist (NULL = never): true when
 * the tail is to be listed again; unless `look`, lists it, with nothing on the wire.
 */
extern void jdy_details_fetch(Pull *pull, bool (*relist) (Pull *pull, bool look));

#endif							/* JDY_PULL_H */
