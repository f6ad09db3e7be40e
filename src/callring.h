/*-------------------------------------------------------------------------
 * callring.h
 *		The log of calls: a ring of segments, the oldest of which is emptied.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CALLRING_H
#define JDY_CALLRING_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* The segment that calls are written to, as an SQL expression. */
#define JDY_CALL_SEGMENT \
	"COALESCE((SELECT s.segment FROM jdysync.call_segment s ORDER BY s.turn DESC LIMIT 1), 1)"

/* What a turn of the ring did. */
typedef struct RingTurn
{
	bool		cut;			/* calls were removed for their size, not for their age */
	TimestampTz kept_from;		/* calls made since then are there */
} RingTurn;

/*
 * In a transaction with SPI, which should end soon: removes calls made before `before`, and older
 * ones as long as all take more than max_bytes.  A segment that somebody reads stays for now.
 */
extern RingTurn jdy_callring_turn(TimestampTz now, TimestampTz before, int64 max_bytes);

#endif							/* JDY_CALLRING_H */
