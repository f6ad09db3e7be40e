/*-------------------------------------------------------------------------
 * certificate.h
 *		What an attempt to certify a list knows, and how it is written down.
 *
 * certify.c makes the attempt, certificate.c writes what came of it.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CERTIFICATE_H
#define JDY_CERTIFICATE_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "presence.h"
#include "pull.h"

/* An instant whose count is known. */
typedef struct Instant
{
	TimestampTz at;				/* by the service's clock, if it tells it */
	int64		count;
	int64		present;		/* ids seen before and after it */
} Instant;

typedef struct Texts
{
	char	  **texts;
	int			n;
	int			size;
} Texts;

typedef struct Certify
{
	Pull	   *pull;
	bool		(*keep_up) (Pull *pull, bool look);
	int64		settle_us;		/* as it was when this began: what is waited for */
	MemoryContext context;
	Presences  *ids;
	int64		known;			/* ids on record when the run began to certify */
	Texts		newcomers;		/* ids that passes showed first */
	TimestampTz from;			/* of the list, as asked; DT_NOBEGIN = all of it */
	TimestampTz to;
	int			pass;			/* the last one begun, from 1 */
	Instant		instants[JDY_MAX_PASSES + 1];	/* before each pass */
	int			size;			/* rows of a page */
	int64		shown;			/* rows of the last pass */
	int			calls;
	StringInfoData evidence;	/* JSON array of calls, not closed */
	bool		gave_way;
	const char *why;			/* there can be no certificate; NULL = so far there can */

	/* When there is one. */
	int			proven;			/* the pass behind its instant */
	Texts		gone;
	Texts		added;			/* not written yet */
	int64		nadded;			/* written */
	Texts		later;
} Certify;

/* Appends a copy of `text`, in the attempt's memory. */
extern void jdy_certify_add_text(Certify *c, Texts *texts, const char *text);

/* certificate.c: writes what came of it (c->proven or c->why), in one transaction. */
extern void jdy_certificate_write(Certify *c);

#endif							/* JDY_CERTIFICATE_H */
