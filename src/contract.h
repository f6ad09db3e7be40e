/*-------------------------------------------------------------------------
 * contract.h
 *		What is known of how the service answers a stream's questions.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CONTRACT_H
#define JDY_CONTRACT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* In the order in which they are shown. */
typedef enum Question
{
	Q_FILTER,					/* is a window of the future empty? */
	Q_START_EDGE,				/* does a window hold what is stamped at its start? */
	Q_END_EDGE,					/* and at its end? */
	Q_GRAIN,					/* what is the finest difference of stamps that the filter tells apart? */
	Q_PAGE_SIZE,				/* how many rows does an answer hold? */
	Q_ECHO,						/* which page size does an answer to an oversized request name? */
	Q_OFFSET,					/* by which size are the rows before a page counted? */
	Q_ORDER,					/* do two answers show the same rows in the same order? */
	Q_PAST_END,					/* what comes behind the last page? */
	Q_COUNT,					/* is there a count, and does it add up? */
	Q_CLOCK,					/* how far is its clock from ours? */
	Q_LIST_ROWS,				/* do list rows carry all that details have, when asked to? */
	QUESTIONS
} Question;

/* Answers that rules look at; others are text for people. */
#define A_UNKNOWN "unknown"
#define A_HONOURED "honoured"
#define A_IGNORED "ignored"
#define A_SHOWS_NOTHING "shows nothing"
#define A_INCLUSIVE "inclusive"
#define A_EXCLUSIVE "exclusive"
#define A_MILLISECOND "millisecond"
#define A_LEAST "at least "		/* so many rows */
#define A_ASKED_SIZE "asked size"
#define A_GIVEN_SIZE "given size"
#define A_UNSTABLE "unstable"
#define A_ADDS_UP "adds up"
#define A_GIVEN "given"
#define A_WRONG "does not add up"
#define A_NONE "none"

typedef struct Contract
{
	struct
	{
		char	   *answer;		/* NULL = never asked */
		TimestampTz asked_at;	/* by the clock of schedules */
	}			of[QUESTIONS];
} Contract;

/* What is on record of a stream, in the current memory context; in a transaction with SPI. */
extern Contract *jdy_contract_read(int stream_id);

/* Whether the answer to `question` is on record and is this one. */
extern bool jdy_contract_says(const Contract *contract, Question question, const char *answer);

/* Whether it was never asked, or a week ago. */
extern bool jdy_contract_is_due(const Contract *contract, Question question);

/* Rows that an answer holds, as far as is known: at most `asked`. */
extern int	jdy_contract_cap(const Contract *contract, int asked);

/* Rows that one answer was seen to hold: "100" and "at least 100" both say so; 0 = not known. */
extern int	jdy_contract_given(const Contract *contract);

/* Its name, as jdy_contract shows it. */
extern const char *jdy_contract_question(Question question);

/*
 * Puts an answer on record, in a transaction, and in *contract, in whose memory context
 * this allocates.  evidence: what was seen, in a few words, without anything of a record.
 * Where the last answer that could be had was another one, an incident says so.
 */
extern void jdy_contract_note(Contract *contract, int stream_id, const char *name, Question question,
							  const char *answer, const char *evidence);

/* Something contradicts the answer on record: the next run asks again; in a transaction. */
extern void jdy_contract_doubt(int stream_id, Question question);

/* The stream begins anew: nothing is known; in a transaction. */
extern void jdy_contract_forget(int stream_id);

#endif							/* JDY_CONTRACT_H */
