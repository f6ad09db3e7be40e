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
#include "pull.h"

#define JDY_MAX_PASSES 3

/* Two hashes: that two ids have both in common will not happen. */
typedef struct IdHash
{
	uint64		a;
	uint64		b;
} IdHash;

/* When an id was shown. */
typedef struct Presence
{
	IdHash		id;
	uint8		first;			/* pass; 0 = before the run */
	uint8		last;
	bool		certified;		/* the last certificate names it */
	bool		entered;		/* among added or later */
	char		status;
} Presence;

#define SH_PREFIX jdy_presence
#define SH_ELEMENT_TYPE Presence
#define SH_KEY_TYPE IdHash
#define SH_KEY id
#define SH_SCOPE extern
#define SH_DECLARE
#include "lib/simplehash.h"

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
	jdy_presence_hash *ids;
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
	Texts		added;
	Texts		later;
} Certify;

/* certify.c: what is known of an id; NULL = it was not shown. */
extern Presence *jdy_certify_find(const Certify *c, const char *id);

/* Appends a copy of `text`, in the attempt's memory. */
extern void jdy_certify_add_text(Certify *c, Texts *texts, const char *text);

/* certificate.c: writes what came of it (c->proven or c->why), in one transaction. */
extern void jdy_certificate_write(Certify *c);

#endif							/* JDY_CERTIFICATE_H */
