/*-------------------------------------------------------------------------
 * percent.h
 *		Percent-encoding of what becomes part of a URL, or of what is signed.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PERCENT_H
#define JDY_PERCENT_H

#include "postgres.h"

/* With RFC 3986's unreserved set and upper-case hex; palloc'ed. keep_slash for paths. */
extern char *jdy_percent_encode(const char *text, bool keep_slash);

#endif							/* JDY_PERCENT_H */
