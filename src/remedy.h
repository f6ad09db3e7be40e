/*-------------------------------------------------------------------------
 * remedy.h
 *		The second schedule of a stream, which reads a wider window again.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_REMEDY_H
#define JDY_REMEDY_H

#include "postgres.h"

#include "stream.h"

/* What a run by it reads. */
typedef struct Remedy
{
	TimestampTz from;			/* DT_NOBEGIN = takeOverRequest does not say */
	TimestampTz to;
	RequestPlan *plan;			/* how the list is asked then */
	bool		proves;			/* with the same parameters as ever, so that nothing is left out */
} Remedy;

/*
 * Cron of a resolved stream's omissionRemedy; NULL = it has none, or it would do nothing, which a
 * WARNING says.  Raises an error for what cannot be understood.  In a transaction with SPI; values are evaluated with
 * the owner's rights, whoever calls.
 */
extern char *jdy_remedy_schedule(const Stream *stream);

/*
 * What is to be read now, in the current memory context; likewise.  last_sync: until when changes
 * are listed.  Never from before the stream's start_from.
 */
extern void jdy_remedy_read(const Stream *stream, TimestampTz now, TimestampTz last_sync, Remedy *remedy);

#endif							/* JDY_REMEDY_H */
