/*-------------------------------------------------------------------------
 * stats.h
 *		What the simulator counted, and the last requests it saw.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_STATS_H
#define SIM_STATS_H

#include "request.h"

/* The times of the calls within a sliding window. */
typedef struct Rate
{
	int64_t    *times;			/* a ring, oldest first */
	size_t		head;
	size_t		n;
	size_t		cap;
} Rate;

/* Calls in (now - window, now]; older ones are forgotten. */
extern size_t rate_count(Rate *rate, int64_t now_us, int64_t window_ms);
extern void rate_add(Rate *rate, int64_t now_us);
extern void rate_clear(Rate *rate);

/* Tallies kept by others. */
typedef struct Tally
{
	int64_t		bad_signatures;
	int64_t		refused_by_rate;
	int64_t		refused_by_concurrency;
	int64_t		token_calls;
	int64_t		connections;
	int64_t		faults_fired;
	int64_t		target_accepted;
	int64_t		target_duplicates;
	int64_t		target_out_of_order;
	int64_t		qeasy_token_calls;
	int64_t		key_conflicts;
	int64_t		key_replays;
} Tally;

extern Tally tally;

/* A request came in; its reply is ready; it is over. */
extern void stats_arrived(const Request *req);
extern void stats_answered(const Request *req);
extern void stats_over(const Request *req);

/* Requests that came in and are not over, this one among them. */
extern int64_t stats_in_flight(void);

extern void stats_show(Buf *out);
extern void stats_requests(Buf *out, int n);
extern void stats_reset(void);
extern void stats_free(void);

#endif
