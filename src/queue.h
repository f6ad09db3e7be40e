/*-------------------------------------------------------------------------
 * queue.h
 *		The durable queue of details: what was listed, and what is due for it.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_QUEUE_H
#define JDY_QUEUE_H

#include "postgres.h"

#include "page.h"
#include "staging.h"
#include "stream.h"

/* In which part of a run a record was listed. */
typedef enum SightingKind
{
	SEEN_IN_LOAD,				/* the whole list: due unless its detail was asked after the load began */
	SEEN_IN_OVERLAP,			/* proven before: due only if it came late */
	SEEN_SETTLED,				/* newly proven: due unless it was asked after this listing could change */
	SEEN_IN_OLD_TAIL,			/* unsettled, listed before: due only if no earlier tail listed it */
	SEEN_IN_NEW_TAIL,			/* unsettled and new: always due */
	SEEN_IN_RANGE,				/* read again on request: always due */
	SEEN_IN_AUDIT				/* a certificate's scan: due if it has no detail, or one that was asked before the whole list was read */
} SightingKind;

typedef struct Sighting
{
	SightingKind kind;
	TimestampTz from;			/* start of the window (0 in a load) */
	TimestampTz asked_from;		/* the same as it was asked: a tick wider */
	TimestampTz to;				/* its end, half-open */
	TimestampTz fresh_since;	/* load, settled, audit: a detail asked at or after this server time will do */
	TimestampTz due_since;		/* load: where the promise stops while a detail that was there is read again; DT_NOEND = nowhere */
	TimestampTz overlap_from;	/* overlap: a proven window that ended after this and listed the row makes it known */
	TimestampTz asked_at;		/* server time at which this answer was asked, at the earliest */

	/* For the visibility lag, where the service tells its time. */
	TimestampTz shown_at;		/* server time of this answer, cut to seconds; 0 = not known */
	TimestampTz unseen_at;		/* server time at which the run of windows before this one was asked; 0 = there was none */
	TimestampTz unseen_from;	/* that one asked for modify times from here on */
} Sighting;

/*
 * When a change that is due became visible, as far as that is known: an answer of `shown_at` showed it; if its modify
 * time is not before unseen_from, no answer asked by unseen_at had, although they covered it.  shown_at 0 = nothing is known.
 */
typedef struct FirstShown
{
	TimestampTz shown_at;
	TimestampTz unseen_at;
	TimestampTz unseen_from;
} FirstShown;

/*
 * In which parts of the next listing `ids` (char *) should stand, by what is noted of them: a bit 1 << SightingKind for each.
 * What no tail listed is new.  What the tail that ended at settled_until or before listed has settled.  tail_ahead: a tail ends
 * so far behind its listing.
 */
extern int	jdy_queue_guess(const Stream *stream, const List *ids, TimestampTz settled_until, int64 tail_ahead_us);

/* A detail to be fetched. */
typedef struct Due
{
	char	   *id;
	TimestampTz due_from;		/* DT_NOBEGIN in a load */
	Jsonb	   *list_row;		/* NULL = it stands in staging */
	TimestampTz row_asked_at;	/* server time at which the list row was asked; 0 = not known */
	int			attempts;		/* that failed so far */
	FirstShown	first_shown;
} Due;

/*
 * Notes that `rows` (sorted, at most JDY_LAND_ROWS) were seen and marks what is due.
 * known[] as jdy_staging_land_list left it; `now` by the service's clock.  Ids newly marked due are appended
 * to *marked (char *, in the current context).  Writes nothing that is noted already.
 */
extern void jdy_queue_note(const Stream *stream, Staging *staging, Row **rows, int nrows, const Known *known,
						   const Sighting *sighting, TimestampTz now, List **marked);

/*
 * How far a run has come through what loads made due: below this id.  Without it each look would pass all that is done already, which stays in
 * the index as long as somebody's snapshot is older than the run.
 */
typedef struct DuePlace
{
	char		id[JDY_MAX_ID_BYTES + 1];	/* "" = at the top */
} DuePlace;

/*
 * Up to `limit` details to be fetched now, but those in `in_flight` (char *): first
 * what windows listed, then what loads did below `place`, which moves on; highest
 * id first in each.  Those set aside come again when their time had come before this
 * run began.  Fewer than `limit`: place is at the top again, where what was put off stands.
 */
extern List *jdy_queue_due(const Stream *stream, const List *in_flight, TimestampTz run_began, int limit,
						   DuePlace *place);

/* Details due and not set aside: all of them, whenever they may be tried. */
extern int64 jdy_queue_count(const Stream *stream);

/* When the next detail that is waiting out a back-off may be tried; 0 = none waits. */
extern TimestampTz jdy_queue_next_try(const Stream *stream);

/* Details landed, asked with their list rows at these server times or later: no longer due. */
extern void jdy_queue_done(const Stream *stream, char **ids, const TimestampTz *asked_at, int n);

/*
 * One detail could not be had (or was older than its window).  set_aside false:
 * it stays due and is tried again at next_try.  true: it no longer holds up
 * complete_until, is named as an exception and tried again by later runs.
 */
extern void jdy_queue_postpone(const Stream *stream, const char *id, int attempts, TimestampTz next_try,
							   bool set_aside, const char *problem);

/* The service's clock went back: what was listed up to later than `until` counts as not listed. */
extern void jdy_queue_take_back(const Stream *stream, TimestampTz until);

/* Drops notes that no later run can ask for. */
extern void jdy_queue_prune(const Stream *stream, TimestampTz before);

#endif							/* JDY_QUEUE_H */
