/*-------------------------------------------------------------------------
 * proberecord.h
 *		Questions to the service for which a record must be known.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PROBERECORD_H
#define JDY_PROBERECORD_H

#include "inquiry.h"

/* Whether the edges of a window are inside of it, and how fine stamps are: six calls at most. */
extern void jdy_probe_edges(Probe *probe);

/* Whether list rows can hold all that details do: one call. */
extern void jdy_probe_list_rows(Probe *probe);

#endif							/* JDY_PROBERECORD_H */
