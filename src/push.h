/*-------------------------------------------------------------------------
 * push.h
 *		A push: what is sent where, and what its parts share.
 *
 *	pushdef.c	pushes as objects: added, altered, dropped, loaded for a run
 *	source.c	the records of a source, as they would be sent
 *	changes.c	which of them may have changed since they were read last
 *	standing.c	where all records stand, to be asked
 *	delivery.c	what is written of that: intents before sending, outcomes after
 *	saveapi.c	Kingdee's save calls: payloads, replies, how a record is looked up
 *	counterpart.c	the ids that records have at a target which gives its own
 *	preview.c	the requests that would be made next, for people
 *	breaker.c	whether a server's target answers at all
 *	push.c		a push's run, with its parts of pushrun.h
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PUSH_H
#define JDY_PUSH_H

#include "postgres.h"

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "common/hashfn.h"
#include "endpoint.h"
#include "hashmap.h"
#include "metadata.h"
#include "nodes/pg_list.h"
#include "runlog.h"
#include "shmem.h"

#define JDY_PUSH_DIGEST 16		/* bytes of SHA-256 that tell two payloads apart */
#define JDY_PUSH_KEY 65			/* an Idempotency-Key: SHA-256 in hex, and its end */

/* When its source was read last, and which: only changes.c knows what to make of it. */
typedef struct ChangeMark
{
	char	   *source;			/* NULL = never, or it cannot be told what changes */
	XLogRecPtr	lsn;
	FullTransactionId xmin;
} ChangeMark;

/* Everything a run needs to know of its push. */
typedef struct Push
{
	int			push_id;
	char	   *name;
	Oid			owner;			/* of the source */
	Oid			source;
	char	   *source_name;	/* quoted and qualified */
	Endpoint   *endpoint;
	Metadata   *meta;
	const char *id_name;
	char	   *id_column;		/* the same, quoted */
	char	   *payload;		/* SQL over the source's row v: the payload, or with fields their record as jsonb */
	List	   *fields;			/* of Field *: the payload's template; NIL = none */
	bool		marks_deleted;	/* rows of the source whose deleted_at is not null count as gone */
	bool		batched;		/* false: one record a request, its payload alone */
	char	   *rows_key;		/* batches: member that holds the records; NULL = the body is the array */
	char	   *key_field;		/* batches: member of each record that is its own Idempotency-Key; NULL = none */
	int			batch_rows;
	int64		batch_bytes;
	char	   *identity;		/* goes into every key: no other push, here or elsewhere, has it */
	bool		pushed;			/* a run came to its end once: a flood is held from then on */
	bool		proven;			/* something was accepted under the present metadata */
	bool		released;		/* one flood may pass */
	ChangeMark	seen;
	int64		grouped;		/* records in jdysync.delivered: delivery.c */
	char	   *lookup_api;		/* where a record is looked up before it is saved; NULL = it is not */
	bool		lookup_lists;	/* that is a list, not a detail */
	const char *lookup_number;	/* the payload's member that it is looked up by */
} Push;

/* One record on its way. */
typedef struct Outgoing
{
	char	   *id;
	int			version;		/* per id, +1 for each content sent */
	uint8		digest[JDY_PUSH_DIGEST];
	char	   *payload;		/* NULL: it stands in the batch's body only */
	const char *problem;		/* no payload can be made of it, which holds its row instead; NULL = fine */
	bool		gone;			/* from the source: the target is to delete it; always alone in its request */
	char	   *target_id;		/* its id at the target, put into the body; NULL = none, or the payload names it */
} Outgoing;

struct Lookup;

/* What one request carries; a row of jdysync.batch as long as its outcome is open. */
typedef struct Batch
{
	MemoryContext context;		/* of all of it */
	int64		batch_id;		/* 0 = not committed yet */
	int			n;
	Outgoing   *records;
	char	   *body;
	Size		bytes;			/* of body, once it is under way */
	char		key[JDY_PUSH_KEY];
	bool		maybe_arrived;	/* it, or what it was cut from, was sent without an answer: the target may have acted */
	bool		tried;			/* in this run, and no answer came */
	const char *problem;		/* what came instead; NULL = not tried */
	const char *reason;			/* the same without the target's own words; NULL = it was answered */
	int			http_status;	/* of that; 0 = none */
	struct Lookup *lookup;		/* lookup.c's; NULL = it is sent as it is */
	int64		failed_us;		/* monotonic: since when it, or what it was cut from, gets no answer in this run; 0 = it does */
	TimestampTz sent_at;		/* when it, or what it was cut from, was composed */
	int64		left_us;		/* monotonic: when the request left whose answer was lost last in this run */
	int			lost;			/* answers lost in this run, each followed by a look at what the target has */
	bool		unread;			/* what the target has of it is to be found out before it is sent again */
	bool		unreadable;		/* that failed in this run */
	struct ReadBack *reading;	/* it is under way: no request of its own can be; NULL = it is not */
} Batch;

/* pushdef.c: the push of that name, as jdy_stream_ref finds it; raises an error when it is a stream. */
extern struct StreamRef *jdy_push_ref(const char *name);

/* pushdef.c: loads push `push_id` in a transaction with SPI, into the current context. */
extern Push *jdy_push_load(int push_id);

/*
 * source.c: calls visit for chunks of at most JDY_SOURCE_CHUNK records of the source, as its
 * owner, in a transaction with SPI.  Raises when the source has an id twice or
 * none, maybe after some chunks: nothing is to be done with them before it returns.
 * version is not filled in; payloads live as long as the call of visit.  present: a set that gets
 * every id of the source, with or without a payload; NULL = nobody asks for what is gone.
 */
#define JDY_SOURCE_CHUNK 256
typedef void (*SourceVisitor) (void *arg, Outgoing *records, int n);
extern void jdy_source_scan(const Push *push, SourceVisitor visit, HashMap *present, void *arg);

/* source.c: the same of records with one of these ids only; id_array is the SQL type of an array of them. */
extern void jdy_source_scan_ids(const Push *push, char **ids, int n, const char *id_array, SourceVisitor visit, void *arg);

static inline uint64
jdy_id_hash(const char *id, Size length)
{
	return hash_bytes_extended((const unsigned char *) id, (int) length, 0);
}

/* source.c: the digest of a payload. */
extern void jdy_payload_digest(const char *payload, uint8 *digest);

/* source.c: the request that deletes a record; id and version are given, all lives in the current memory context. */
extern void jdy_deletion_seal(const Push *push, Batch *batch);

/* source.c: body and key of a batch whose records have their payloads, in its context. */
extern void jdy_batch_seal(const Push *push, Batch *batch);

/* source.c: how a record stands in a batch: its payload, with its own key where the metadata has a place for it. */
extern const char *jdy_record_text(const Push *push, const Outgoing *record);

/* Where a record stands, as far as it was settled. */
typedef struct Standing
{
	bool		known;
	int			version;		/* of the last content sent */
	bool		delivered;		/* digest holds */
	uint8		digest[JDY_PUSH_DIGEST];	/* last acknowledged */
	bool		refused;		/* refused_digest holds: that content is dead */
	uint8		refused_digest[JDY_PUSH_DIGEST];
	bool		settled;		/* its status is "delivered" */
} Standing;

/*
 * standing.c, all in a transaction with SPI: everything that is known of the push, or of
 * those ids only (which are sorted).  It lives in `context`.
 */
typedef struct Standings Standings;
extern Standings *jdy_standings_load(Push *push, char **ids, int n, MemoryContext context);

/*
 * Takes out the records whose payload is the one acknowledged last and says of the others
 * where they stand; returns how many they are, in an order of their own.  records: distinct
 * ids, n <= JDY_SOURCE_CHUNK.  What was delivered once and has no row yet is said to be `known` only.
 */
extern int	jdy_standings_ask(const Standings *standings, Outgoing *records, int n, Standing *found);

/* Calls visit with each record that the target has and that is not present, and its last version. */
typedef void (*GoneVisitor) (void *arg, const char *id, int version);
extern void jdy_standings_gone(const Standings *standings, const HashMap *present, GoneVisitor visit, void *arg);

/* delivery.c, all in a transaction with SPI: batches whose outcome is open, the oldest first, each in a context of its own below `context`. */
extern List *jdy_delivery_unresolved(const Push *push, MemoryContext context);

/* The intents, before anything is sent: batch_id of each is set.  batches: of Batch *. */
extern void jdy_delivery_intend(const Push *push, int64 run_id, List *batches);

/*
 * The outcome.  accepted takes a list of Batch *.  A dead record's last acknowledged
 * content is forgotten where the batch may have arrived: what the target has is
 * not known then, so going back to that content is a change to be sent.
 */
extern void jdy_delivery_accepted(Push *push, List *batches);
extern void jdy_delivery_doubtful(const Push *push, const Batch *batch, int http_status, const char *problem);
extern void jdy_delivery_forget(const Push *push, const Batch *batch);
extern void jdy_delivery_dead(const Push *push, const Batch *batch, int http_status, int64 errcode,
							  const char *problem, const char *reply);

/* What is there counts as acknowledged, with nothing sent. */
extern void jdy_delivery_baseline(Push *push, Outgoing *records, int n);

/* Dead letters, replayed or not, whose content went back to what was acknowledged; or to nothing, of what never was there. */
extern void jdy_delivery_revived(const Push *push, char **ids, int n);

/* Records that are to be sent again although nothing changed (jdy_replay), in the current memory context; absent: those that the target surely has not. */
extern int	jdy_delivery_replayed(const Push *push, bool absent, char ***ids);

/* What a run saw of its source: the next one need not look at that again. */
extern void jdy_delivery_seen(const Push *push, const ChangeMark *mark);

/* Records that were acknowledged, or are dead. */
extern int64 jdy_delivery_count(const Push *push);

/*
 * push.c: makes one run of push `push_id`: the runner holds its lock, works as its owner,
 * and is in no transaction.  Fills `counters` as it goes.
 */
extern void jdy_push_run(int push_id, int64 run_id, RunCounters *counters);

#endif							/* JDY_PUSH_H */
