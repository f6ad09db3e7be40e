/*-------------------------------------------------------------------------
 * answer.h
 *		What a target's reply says of each record of a batch.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ANSWER_H
#define JDY_ANSWER_H

#include "postgres.h"

#include "metadata.h"

/* One item that failed although the request succeeded. */
typedef struct FailedItem
{
	char	   *id;				/* NULL = the reply does not say */
	char	   *message;		/* the target's words; NULL = none */
} FailedItem;

typedef struct Answer
{
	int64		failed;			/* how many records the target did not take; at least nitems */
	int			nitems;
	FailedItem *items;
} Answer;

/* What a reply says where metadata's "response" asks for a sign of success. */
typedef enum AnswerSign
{
	SIGN_MISSING,				/* empty, not JSON, or nothing stands there: it is no reply of this target */
	SIGN_OTHER,					/* something else stands there: the target says no */
	SIGN_GIVEN
} AnswerSign;

/* Needs no transaction.  metadata->success_path must not be NULL. */
extern AnswerSign jdy_answer_sign(const Metadata *metadata, const char *body, size_t length);

/*
 * Reads a successful reply where metadata's "response" says, in the current memory
 * context.  In a transaction.  Never raises for anything in the body: a member that is not
 * there or is null says that nothing failed, and one that is not what it should be that
 * something did, only not what.
 */
extern void jdy_answer_read(const Metadata *metadata, const char *body, size_t length, Answer *answer);

#endif							/* JDY_ANSWER_H */
