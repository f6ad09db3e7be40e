/*-------------------------------------------------------------------------
 * pushrun.h
 *		What the parts of a push's run share.
 *
 *	push.c		the run: what is sent when
 *	pushscan.c	what is to be sent: the source against what was acknowledged
 *	outcome.c	what follows from the answers
 *	lookup.c	records looked up at the target before they are saved
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
	Size		bytes;			/* of the bodies under way */
	Breaker		breaker;		/* of the server: while it is open nothing is sent but */
	bool		trial;			/* one request, */
	int			tried;			/* of so many records; 0 = it was not made */
	int64		accepted_us;	/* monotonic: when the last request that was accepted had left; 0 = none was */
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

/* outcome.c, each in transactions of its own. */
extern void jdy_pushrun_forget_unsent(PushRun *run);
extern void jdy_pushrun_judge_suspects(PushRun *run);
extern bool jdy_pushrun_retry_doubtful(PushRun *run);
extern int64 jdy_pushrun_count_doubtful(const PushRun *run);

#endif							/* JDY_PUSHRUN_H */
