/*-------------------------------------------------------------------------
 * audit.h
 *		Audits: what was read long ago, compared with what the service says of it.
 *
 * audit.c makes them; compare.c looks at modify times, reread.c at details, and finding.c
 * says what it means that a record is not as it was here.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_AUDIT_H
#define JDY_AUDIT_H

#include "postgres.h"

#include "pull.h"

/* So many details are read again for their modify times and had not changed: then these do not mean what they should. */
#define JDY_MOST_UNFOUNDED 100

typedef struct Audit
{
	Pull	   *pull;
	bool		(*keep_up) (Pull *pull, bool look);
	MemoryContext context;
	int64		audit_id;
	int64		turn_began_us;	/* monotonic */
	bool		gave_way;		/* the next run goes on */
	TimestampTz proven_until;	/* windows have proven all before it, and look at none of it any more; 0 = nothing */

	/* Its row, but for what finding.c writes. */
	TimestampTz compare_until;	/* 0 = modify times are not compared */
	TimestampTz compared_until;
	int			windows;
	int64		details_due;
	int64		details;
	char		after_id[JDY_MAX_ID_BYTES + 1];
	int64		calls;			/* of this turn, to be added */
	const char *why;			/* NULL = as it was */

	int			unfounded;		/* records that were read again for their modify time, and had not changed */
	int			refused_in_a_row;
	int			kept;			/* findings in its row */
	bool		any_new;		/* records were found that were not here */
	List	   *findings;		/* of Finding *: of the transaction that is open */
} Audit;

/* A record as it is in staging, before what the service says of it is landed. */
typedef struct Here
{
	char	   *id;
	bool		exists;
	bool		gone;			/* deleted, or out of scope */
	TimestampTz detailed_at;	/* server time at which its detail was asked; 0 = list row only so far */
	bool		shown;			/* it is not there, though the service showed it once */
	bool		waits;			/* its detail is due, or it is set aside: that is known, and will be dealt with */
	TimestampTz modified_at;	/* 0 = none */
	Datum		data;
} Here;

typedef enum Cause
{
	CAUSE_NEW_MISSED,			/* no window listed it */
	CAUSE_CHANGE_MISSED,		/* no window listed its change */
	CAUSE_NOT_STAMPED,			/* it changed, and its modify time did not */
	CAUSE_RETURNED,				/* it was gone, and is listed again under an old modify time */
	CAUSE_REMOVED				/* somebody removed it from staging */
} Cause;

/*
 * Makes an audit, or goes on with one that gave way or died, and lands what it finds: outside
 * of a transaction, with nothing on the wire.  keep_up as for jdy_certify.
 */
extern void jdy_audit(Pull *pull, bool (*keep_up) (Pull *pull, bool look));

/* audit.c: lets the tail go first if it is due; false when the turn is over.  With nothing on the wire. */
extern bool jdy_audit_goes_on(Audit *audit);

/* Whether that is to be asked now; may be called at any time. */
extern bool jdy_audit_is_wanted_elsewhere(Audit *audit);

/* How much there is left to do, for those who watch. */
extern void jdy_audit_progress(Audit *audit, int64 rows);

/* Writes its row, and what was found; in a transaction. */
extern void jdy_audit_note(Audit *audit);

/* compare.c: all modify times before compare_until. */
extern void jdy_audit_compare(Audit *audit);

/* reread.c: the details that are due for it. */
extern void jdy_audit_reread(Audit *audit);

/* The details of these, whatever the turn, unless too many have not changed. */
extern void jdy_audit_reread_ids(Audit *audit, List *ids);

/*
 * finding.c, in a transaction.  here: what staging has of n records; landed: what changed when what
 * the service says of them was landed, and how many did; listed: a record that was not there, or gone, was listed;
 * write: what was found, into the audit's row; tell: what was not told yet, as incidents.
 */
extern Here *jdy_finding_here(Audit *audit, char **ids, int n);
extern int	jdy_finding_landed(Audit *audit, const Here *here, int n);
extern void jdy_finding_listed(Audit *audit, const Here *here);
extern void jdy_finding_write(Audit *audit);
extern void jdy_finding_tell(Audit *audit);

/* An audit that found nothing: what is said of an earlier one is over. */
extern void jdy_finding_over(Audit *audit);

#endif							/* JDY_AUDIT_H */
