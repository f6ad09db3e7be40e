/*-------------------------------------------------------------------------
 * pushrun.h
 *		What the parts of a push's run share.
 *
 *	push.c		the run: what is sent when
 *	pushscan.c	what is to be sent: the source against what was acknowledged
 *	doubt.c		what is left when all answers are in
 *	outcome.c	what follows from each answer
 *	lookup.c	records looked up at the target before they are saved
 *	readback.c	which records of a batch the target has
 *
 * Each calls only those below it.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PUSHRUN_H
#define JDY_PUSHRUN_H

#include "postgres.h"

#include "breaker.h"
#include "client.h"
#include "executor/tuptable.h"
#include "page.h"
#include "push.h"
#include "utils/hsearch.h"
#include "utils/tuplestore.h"

/* A record that the target refuses with words that may be about the push as a whole. */
typedef struct Suspect
{
	Batch	   *batch;
	int			http_status;
	int64		errcode;
	char	   *problem;
	char	   *reply;			/* NULL = none that can be kept */
} Suspect;

/* What is known so far of a batch that is read back.  Lives in the batch's context. */
typedef struct ReadBack
{
	bool	   *there;			/* of each record: the target has exactly this content, and nothing newer of its id */
	Suspect    *told;			/* what the target said of records that it did not take; NULL = its answer was lost */
	bool		may_have_arrived;	/* the batch's maybe_arrived, before the target said that */

	/* readback.c's */
	char	   *path;
	char	   *field;			/* of a payload: holds the id */
	char	   *body;			/* of the query */
	int			from;			/* first record of the chunk that is asked for */
	int			n;				/* records in it */
	int			rows;			/* of a page */
	int			page;
	int64		seen;			/* rows of this chunk */
	int64	   *newest;			/* of each record: created_at of its newest row */
	ListPage   *answer;			/* in the call's context */
	int64		offset_us;		/* the server's clock minus ours, as far as it was known */
	bool		clock_learned;
} ReadBack;

typedef enum ReadBackEnd
{
	READ_ON,					/* there is more to be asked for */
	READ_DONE,
	READ_FAILED					/* nothing is known */
} ReadBackEnd;

typedef struct PushRun
{
	Push	   *push;
	int64		run_id;
	RunCounters *counters;
	Client	   *client;
	RunLog	   *log;
	MemoryContext context;
	MemoryContext chunk;		/* of a transaction; reset after each */
	TupleDesc	desc;
	Tuplestorestate *pending;	/* id, payload, version, digest: what is to be sent, kept on disk if there is much */
	TupleTableSlot *slot;
	ChangeMark	mark;			/* of the source as it was read, to be kept when all of it is dealt with; source NULL = not to be */
	bool		exhausted;
	HTAB	   *held;			/* ids in batches that stay open: nothing newer of them may be sent */
	List	   *parts;			/* of Batch *: cut from others, to be sent first */
	List	   *again;			/* of Batch *: open since an earlier run */
	List	   *answered;		/* of Call *: to be settled */
	List	   *early;			/* of Call *: came while others were settled */
	List	   *doubtful;		/* of Batch *: no answer after all attempts, or not tried since others got none */
	List	   *suspects;		/* of Suspect * */
	int			under_way;
	int			pace;			/* answers that came in one go, GATHER_MS at most */
	Size		bytes;			/* of the bodies under way */
	Breaker		breaker;		/* of the server: while it is open nothing is sent but */
	bool		trial;			/* one request, */
	int			tried;			/* of so many records; 0 = it was not made, */
	bool		noted;			/* though the target may have been asked what it has of them: the pause is longer already */
	int64		accepted_us;	/* monotonic: when the last request that was accepted had left; 0 = none was */
	bool		unreadable;		/* the target refuses to be asked what it has */
	Call	   *failure;		/* what ends the run, once all others have come back */
	Call	   *suspicion;		/* the first suspect's */
	char	   *doubt;			/* what came last instead of an answer; NULL = always one did */
} PushRun;

/* pushscan.c: fills pending with what differs; one transaction, and nothing is sent meanwhile.  Raises when a flood is held. */
extern void jdy_pushrun_scan(PushRun *run);

/* outcome.c: the short transactions in which a run writes; run->chunk is the current context in between. */
extern void jdy_pushrun_begin(PushRun *run);
extern void jdy_pushrun_commit(PushRun *run);

/* outcome.c: room for a batch of n records, in a context of its own; NULL may be dropped, too. */
extern Batch *jdy_pushrun_batch(PushRun *run, int n);
extern void jdy_pushrun_drop(Batch *batch);

/*
 * lookup.c.  In a transaction: what is about to be sent, those left out for which nothing can be done;
 * then which of it is to be looked up first, and which would create.
 */
extern List *jdy_lookup_prepare(PushRun *run, List *batches);
extern bool jdy_lookup_comes_first(const Batch *batch);
extern bool jdy_lookup_creates(const Batch *batch);

/* lookup.c: asks instead of sending; no transaction. */
extern void jdy_lookup_submit(PushRun *run, Batch *batch);

/*
 * lookup.c, in a transaction: takes the answer to a look-up, and is done with the call, whose batch goes on
 * where it is taken out of it.  False: there was none, and the call's outcome says so as it would of the request.
 */
extern bool jdy_lookup_settle(PushRun *run, Call *call);

/* lookup.c: the request was acknowledged; true = its target_id is known now, and to be kept. */
extern bool jdy_lookup_learns(Batch *batch, const Call *call);

/* lookup.c, in a transaction: true = the refusal may not be the record's fault: its batch goes on to be looked up. */
extern bool jdy_lookup_explains(PushRun *run, const Suspect *refusal);

/* lookup.c, in a transaction: true = no answer came, and the request is done with, or goes on to be looked up. */
extern bool jdy_lookup_again(PushRun *run, Call *call);

/* outcome.c, in a transaction: writes what the answers in run->answered say. */
extern void jdy_pushrun_settle(PushRun *run);

/*
 * outcome.c, in a transaction: begins to read a batch back before it is sent again; false and unreadable when that
 * cannot be done.
 */
extern bool jdy_pushrun_read_back(PushRun *run, Batch *batch, Suspect *told);

/* readback.c: whether the target can be asked which records of the batch it has. */
extern bool jdy_readback_can(const PushRun *run, const Batch *batch);

/* readback.c: sets batch->reading; false when its payloads show no id.  In a transaction; the payloads must be there. */
extern bool jdy_readback_begin(PushRun *run, Batch *batch, Suspect *told);

/* readback.c: submits the next query; its answer is to be taken by the other, in a transaction. */
extern void jdy_readback_ask(PushRun *run, Batch *batch);
extern ReadBackEnd jdy_readback_take(PushRun *run, const Call *call);

/* outcome.c, in a transaction: so many pieces instead of the batch, sent before anything else. */
extern void jdy_pushrun_cut(PushRun *run, const Batch *batch, int pieces);

/* doubt.c, each but the last in transactions of its own. */
extern void jdy_pushrun_forget_unsent(PushRun *run);
extern void jdy_pushrun_judge_suspects(PushRun *run);
extern bool jdy_pushrun_retry_doubtful(PushRun *run);
extern int64 jdy_pushrun_count_doubtful(const PushRun *run);

#endif							/* JDY_PUSHRUN_H */
