/*-------------------------------------------------------------------------
 * inquiry.h
 *		A series of questions to the service: asked, and put on record together.
 *
 * Private to the probe: probe.c asks about the list, proberecord.c about its records.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_INQUIRY_H
#define JDY_INQUIRY_H

#include "postgres.h"

#include "contract.h"
#include "pull.h"

/* One answer of the list, as far as the questions go. */
typedef struct Answer
{
	bool		came;			/* and was a page, perhaps an empty one */
	bool		refused;		/* in the service's own words, for this request */
	const char *problem;		/* !came: what happened */
	int			n;
	int			distinct;		/* of n: ids */
	uint64	   *ids;			/* hashes, in order; 0 = a row without an id */
	uint64	   *keys;			/* the same of id and number */
	int64		count;			/* -1 = none */
	int64		page;			/* as echoed, -1 = not */
	int64		page_size;		/* as echoed, -1 = not */
} Answer;

/* Questions asked together: what is to be put on record. */
typedef struct Probe
{
	Pull	   *pull;
	MemoryContext context;
	MemoryContext caller;
	const char *silence;		/* why nothing more is asked; NULL = so far the service has answered */
	bool		clock_asked;
	bool		tells_time;
	int64		clock_ahead_us; /* of the service's, at the first answer */
	const char *answers[QUESTIONS]; /* NULL = not asked */
	char	   *evidence[QUESTIONS];
} Probe;

/* In a memory context of its own, which is current until the end. */
extern Probe *jdy_inquiry_begin(Pull *pull);

/* Puts on record all that was said. */
extern void jdy_inquiry_end(Probe *probe);

/* What is to be put on record: `answer` is constant, or lives as long as the probe. */
extern void jdy_inquiry_say(Probe *probe, Question question, const char *answer, const char *format,...) pg_attribute_printf(4, 5);

/* Whether that is what was said last. */
extern bool jdy_inquiry_said(const Probe *probe, Question question, const char *answer);

/* One request of the list; once the service does not answer, no more is sent.  Never NULL. */
extern Answer *jdy_inquiry_ask(Probe *probe, TimestampTz from, TimestampTz to, int page, int size);

/* The same with one parameter of the metadata, or of the catalogue, given another value, or one more. */
extern Answer *jdy_inquiry_ask_with(Probe *probe, const char *param, const char *value, int page, int size);
extern RequestPlan *jdy_inquiry_plan(const RequestPlan *plan, const char *param, const char *value);

/* Rows of b whose ids a has, too. */
extern int	jdy_answers_in_common(const Answer *a, const Answer *b);

#endif							/* JDY_INQUIRY_H */
