/*-------------------------------------------------------------------------
 * certify.h
 *		Certificates: proof of which records a list held at an instant.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CERTIFY_H
#define JDY_CERTIFY_H

#include "postgres.h"

#include "pull.h"

/*
 * Tries to certify the list of a run that has done all else.  keep_up(pull, true)
 * says whether the tail is to be listed again; keep_up(pull, false) does that, and fetches the details
 * that became due.  Whether there is a certificate, and if not, why, becomes a row of
 * jdysync.certificate; an error is raised only for calls that failed.
 */
extern void jdy_certify(Pull *pull, bool (*keep_up) (Pull *pull, bool look));

#endif							/* JDY_CERTIFY_H */
