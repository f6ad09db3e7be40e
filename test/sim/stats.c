/*-------------------------------------------------------------------------
 * stats.c
 *		What the simulator counted, and the last requests it saw.
 *
 * A client's promise about its call rate is checked against the true maximum
 * over every sliding window, not against whole minutes.  Control requests are
 * counted nowhere.  Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "stats.h"

#include "config.h"
#include "data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATHS 64
#define LOG_SIZE 1000
#define LOG_URL 512

typedef struct PathCount
{
	char		path[128];
	int64_t		n;
} PathCount;

typedef struct Entry
{
	int64_t		at_ms;
	uint64_t	seq;			/* of the last change when it was answered */
	int64_t		took_us;
	int			status;
	char		method[8];
	char		url[LOG_URL];
	char		router[96];
	char		encoding[48];
	char		agent[64];
	char		authorization[32];
	bool		app_token;
	bool		cut_url;
} Entry;

Tally		tally;
static int64_t total;
static int64_t pages;
static int64_t rows;
static int64_t bytes;
static int64_t in_flight;
static int64_t max_in_flight;
static int64_t max_in_window;
static int64_t statuses[1000];
static PathCount paths[MAX_PATHS];
static int	n_paths;
static Rate calls;
static int64_t pushes;
static int64_t max_pushes_in_window;
static Rate push_calls;
static int64_t qeasy_total;
static int64_t max_qeasy_in_window;
static Rate qeasy_calls;
static Entry *entries;
static int64_t n_entries;

size_t
rate_count(Rate *rate, int64_t now_us, int64_t window_ms)
{
	while (rate->n > 0 && rate->times[rate->head] <= now_us - window_ms * 1000)
	{
		rate->head = (rate->head + 1) % rate->cap;
		rate->n--;
	}
	return rate->n;
}

void
rate_add(Rate *rate, int64_t now_us)
{
	if (rate->n == rate->cap)
	{
		size_t		cap = rate->cap ? rate->cap * 2 : 1024;
		int64_t    *times = sim_alloc(cap * sizeof(int64_t));
		size_t		i;

		for (i = 0; i < rate->n; i++)
			times[i] = rate->times[(rate->head + i) % rate->cap];
		free(rate->times);
		rate->times = times;
		rate->head = 0;
		rate->cap = cap;
	}
	rate->times[(rate->head + rate->n++) % rate->cap] = now_us;
}

void
rate_clear(Rate *rate)
{
	free(rate->times);
	memset(rate, 0, sizeof(*rate));
}

static void
count_path(const char *path)
{
	int			i;

	for (i = 0; i < n_paths; i++)
		if (strncmp(paths[i].path, path, sizeof(paths[0].path) - 1) == 0)
			break;
	if (i == n_paths)
	{
		if (n_paths == MAX_PATHS)
			i--;				/* the last place takes all others */
		else
			snprintf(paths[n_paths++].path, sizeof(paths[0].path), "%s", path);
	}
	paths[i].n++;
}

void
stats_arrived(const Request *req)
{
	if (req->control)
		return;
	total++;
	if (++in_flight > max_in_flight)
		max_in_flight = in_flight;
	count_path(req->path);
}

static void
copy_header(const Request *req, const char *name, char *out, size_t size)
{
	const char *value = request_header(req, name);

	snprintf(out, size, "%s", value ? value : "");
}

static void
remember(const Request *req)
{
	Entry	   *e;

	if (entries == NULL)
		entries = sim_alloc(LOG_SIZE * sizeof(Entry));
	e = &entries[n_entries++ % LOG_SIZE];
	e->at_ms = req->arrived_ms;
	e->seq = data_seq();
	e->took_us = steady_us() - req->arrived_us;
	e->status = req->reply.ending == END_RESET || req->reply.ending == END_STALL ?
		0 : req->reply.status;
	snprintf(e->method, sizeof(e->method), "%.7s", req->method);
	e->cut_url = strlen(req->url) >= LOG_URL;
	snprintf(e->url, LOG_URL, "%s", req->url);
	copy_header(req, "X-GW-Router-Addr", e->router, sizeof(e->router));
	copy_header(req, "Accept-Encoding", e->encoding, sizeof(e->encoding));
	copy_header(req, "User-Agent", e->agent, sizeof(e->agent));
	copy_header(req, "Authorization", e->authorization, sizeof(e->authorization));
	e->app_token = request_header(req, "app-token") != NULL;
}

/* Keeps the most calls that any window held. */
static void
note_call(const Request *req, Rate *rate, int64_t window_ms, int64_t *most)
{
	rate_add(rate, req->arrived_us);
	if ((int64_t) rate_count(rate, req->arrived_us, window_ms) > *most)
		*most = (int64_t) rate->n;
}

void
stats_answered(const Request *req)
{
	int			status = req->reply.status;

	if (req->control)
		return;
	if (req->reply.ending == END_RESET || req->reply.ending == END_STALL)
		status = 0;
	else
		bytes += (int64_t) req->reply.body.len;
	statuses[status >= 0 && status < 1000 ? status : 0]++;
	if (req->rows_served >= 0)
	{
		pages++;
		rows += req->rows_served;
	}
	if (req->is_token)
		tally.token_calls++;
	if (req->is_call)
		note_call(req, &calls, config.rate_window_ms, &max_in_window);
	if (req->is_push)
	{
		pushes++;
		note_call(req, &push_calls, config.target_rate_window_ms, &max_pushes_in_window);
	}
	if (req->is_qeasy)
	{
		qeasy_total++;
		note_call(req, &qeasy_calls, config.qeasy_rate_window_ms, &max_qeasy_in_window);
	}
	remember(req);
}

void
stats_over(const Request *req)
{
	if (!req->control)
		in_flight--;
}

int64_t
stats_in_flight(void)
{
	return in_flight;
}

void
stats_show(Buf *out)
{
	const char *comma = "";
	int			i;

	buf_printf(out, "{\"total\":%lld,\"pages\":%lld,\"rows\":%lld,\"bytes\":%lld,",
			   (long long) total, (long long) pages, (long long) rows,
			   (long long) bytes);
	buf_printf(out, "\"max_calls_in_window\":%lld,\"window_ms\":%lld,",
			   (long long) max_in_window, (long long) config.rate_window_ms);
	buf_printf(out, "\"token_calls\":%lld,\"bad_signatures\":%lld,\"refused_by_rate\":%lld,",
			   (long long) tally.token_calls, (long long) tally.bad_signatures,
			   (long long) tally.refused_by_rate);
	buf_printf(out, "\"refused_by_concurrency\":%lld,",
			   (long long) tally.refused_by_concurrency);
	buf_printf(out, "\"faults_fired\":%lld,\"connections\":%lld,\"max_concurrent\":%lld,",
			   (long long) tally.faults_fired, (long long) tally.connections,
			   (long long) max_in_flight);
	buf_printf(out, "\"target_requests\":%lld,\"target_max_requests_in_window\":%lld,",
			   (long long) pushes, (long long) max_pushes_in_window);
	buf_printf(out, "\"target_accepted\":%lld,\"target_duplicates\":%lld,\"target_out_of_order\":%lld,",
			   (long long) tally.target_accepted, (long long) tally.target_duplicates,
			   (long long) tally.target_out_of_order);
	buf_printf(out, "\"qeasy_calls\":%lld,\"qeasy_max_calls_in_window\":%lld,\"qeasy_token_calls\":%lld,",
			   (long long) qeasy_total, (long long) max_qeasy_in_window,
			   (long long) tally.qeasy_token_calls);
	buf_printf(out, "\"key_conflicts\":%lld,\"key_replays\":%lld,",
			   (long long) tally.key_conflicts, (long long) tally.key_replays);
	buf_text(out, "\"paths\":{");
	for (i = 0; i < n_paths; i++)
	{
		buf_text(out, comma);
		buf_json(out, paths[i].path, strlen(paths[i].path));
		buf_printf(out, ":%lld", (long long) paths[i].n);
		comma = ",";
	}
	buf_text(out, "},\"statuses\":{");
	comma = "";
	for (i = 0; i < 1000; i++)
		if (statuses[i] > 0)
		{
			buf_printf(out, "%s\"%d\":%lld", comma, i, (long long) statuses[i]);
			comma = ",";
		}
	buf_text(out, "}}\n");
}

static void
show_text(Buf *out, const char *name, const char *value)
{
	buf_printf(out, ",\"%s\":", name);
	if (value[0] == '\0')
		buf_text(out, "null");
	else
		buf_json(out, value, strlen(value));
}

void
stats_requests(Buf *out, int n)
{
	int64_t		i = n_entries - n;

	if (i < 0)
		i = 0;
	if (i < n_entries - LOG_SIZE)
		i = n_entries - LOG_SIZE;
	buf_char(out, '[');
	for (; i < n_entries; i++)
	{
		const Entry *e = &entries[i % LOG_SIZE];

		buf_printf(out, "{\"at_ms\":%lld,\"seq\":%llu,\"took_us\":%lld,\"status\":%d",
				   (long long) e->at_ms, (unsigned long long) e->seq, (long long) e->took_us, e->status);
		show_text(out, "method", e->method);
		show_text(out, "url", e->url);
		show_text(out, "router", e->router);
		show_text(out, "accept_encoding", e->encoding);
		show_text(out, "user_agent", e->agent);
		show_text(out, "authorization", e->authorization);
		buf_printf(out, ",\"app_token\":%s,\"url_cut\":%s}%s",
				   e->app_token ? "true" : "false",
				   e->cut_url ? "true" : "false",
				   i + 1 < n_entries ? ",\n" : "");
	}
	buf_text(out, "]\n");
}

void
stats_reset(void)
{
	memset(&tally, 0, sizeof(tally));
	total = pages = rows = bytes = 0;
	max_in_flight = in_flight;
	max_in_window = 0;
	pushes = max_pushes_in_window = 0;
	qeasy_total = max_qeasy_in_window = 0;
	memset(statuses, 0, sizeof(statuses));
	memset(paths, 0, sizeof(paths));
	n_paths = 0;
	n_entries = 0;
	rate_clear(&calls);
	rate_clear(&push_calls);
	rate_clear(&qeasy_calls);
}

void
stats_free(void)
{
	rate_clear(&calls);
	rate_clear(&push_calls);
	rate_clear(&qeasy_calls);
	free(entries);
	entries = NULL;
}
