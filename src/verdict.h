/*-------------------------------------------------------------------------
 * verdict.h
 *		What to do with a reply.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_VERDICT_H
#define JDY_VERDICT_H

#include "postgres.h"

#include "endpoint.h"
#include "http.h"

typedef enum CallKind
{
	CALL_TOKEN,					/* authorisation and token calls */
	CALL_LIST,
	CALL_DETAIL,
	CALL_PUSH,
	CALL_OTHER					/* jdy_fetch */
} CallKind;

typedef enum Verdict
{
	VERDICT_USE,				/* the reply is what was asked for */
	VERDICT_FIX_CLOCK,			/* set the clock offset from Date, sign again */
	VERDICT_NEW_TOKEN,			/* new token, once */
	VERDICT_NEW_AUTHORISATION,	/* app secret rotated or tenant moved: authorise again, once */
	VERDICT_WAIT,				/* rate limit: wait Retry-After or a window */
	VERDICT_RETRY,				/* trouble on the way: back off and try again */
	VERDICT_GONE,				/* the record does not exist (any more) */
	VERDICT_SET_ASIDE,			/* this record cannot be had: note the reason, go on */
	VERDICT_REFUSED,			/* a push was refused: bisect */
	VERDICT_STOP				/* the run cannot go on */
} Verdict;

/* What is known of a reply, whoever parsed it. */
typedef struct ReplyFacts
{
	HttpFailure failure;
	int			http_status;
	int64		errcode;		/* 0 = success or none given */
	bool		well_formed;	/* the body is what was asked for (a page, a record, an envelope) */
	bool		no_route;		/* body says "404 No Route" or the like */
	bool		router_sent;	/* the request carried X-GW-Router-Addr */
	bool		no_record;		/* success, but the record in it is null or empty */
	bool		denied;			/* the body says where metadata looks for it that it is no success */
	bool		batch;			/* a push of several records: none of them can be set aside for all */
} ReplyFacts;

/*
 * Judges one reply; *reason is constant text for logs and people.  Pure.  Whether what
 * may be done once was done already is the caller's business.
 */
extern Verdict jdy_judge(CallKind kind, const ReplyFacts *facts, const char **reason);

extern const char *jdy_verdict_name(Verdict verdict);

#endif							/* JDY_VERDICT_H */
