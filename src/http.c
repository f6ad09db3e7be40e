/*-------------------------------------------------------------------------
 * http.c
 *		Transfers over libcurl's multi interface, waited for with the latch.
 *
 * The sockets that libcurl wants watched sit in one epoll fd (sockets.c), and that
 * fd sits beside the process latch in a WaitEventSet (which has a fixed
 * size and cannot drop members, so sockets cannot stand in it themselves).  One
 * wait therefore ends for bytes, a cancel, a reload, libcurl's timer or the end
 * of the postmaster, whichever is first.  curl_easy_perform could not be
 * interrupted while a name is resolved.  A resolver thread that hangs is left
 * behind by CURLOPT_QUICK_EXIT, else closing the pool would wait for it.
 *
 * What one request and its reply are to libcurl is transfer.c's.  Called by client.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>

#include "access/xact.h"
#include "http.h"
#include "jdysync.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "sockets.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "transfer.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define FDS_BESIDE_SOCKETS 4	/* epoll fd, libcurl's wake-up pair, a resolver's */

struct HttpPool
{
	MemoryContextCallback callback;
	char	   *host;
	char	   *origin;			/* scheme, host and port of the endpoint */
	HttpPeer	peer;

	int			concurrency;
	int			active;			/* started, reply not received yet */
	CURLM	   *multi;
	int			reserved_fds;
	WaitEventSet *wait_set;
	int64		timer_at_us;	/* libcurl wants to be called then; -1 = never */
	dlist_head	idle;			/* transfers free for use */
	dlist_head	running;
	dlist_head	finished;		/* in order, not received yet */
	dlist_head	received;		/* not released yet */
};

static void init_library(void);
static void reserve_fds(HttpPool *pool);
static void close_pool(void *arg);
static void check_request(HttpPool *pool, const HttpRequest *request);
static void drive(HttpPool *pool, int wait_ms);
static void act_on_timer(HttpPool *pool);
static void collect_finished(HttpPool *pool);
static bool serve_latch(void);
static int	wait_ms_until(HttpPool *pool, int64 deadline_us);
static int	on_timer(CURLM *multi, long timeout_ms, void *arg);
static int64 now_us(void);

/* As SET_EASY. */
#define SET_MULTI(multi, option, value) \
	do { \
		CURLMcode	rc_ = curl_multi_setopt(multi, option, value); \
		if (rc_ != CURLM_OK) \
			elog(ERROR, "could not set %s: %s", #option, curl_multi_strerror(rc_)); \
	} while (0)
#define CHECK_MULTI(call) \
	do { \
		CURLMcode	rc_ = (call); \
		if (rc_ != CURLM_OK) \
			elog(ERROR, "%s failed: %s", #call, curl_multi_strerror(rc_)); \
	} while (0)

HttpPool *
jdy_http_open(const Endpoint *endpoint, int concurrency, MemoryContext context)
{
	HttpPool   *pool = MemoryContextAllocZero(context, sizeof(HttpPool));
	const char *authority = strstr(endpoint->url, "://") + 3;

	init_library();

	pool->host = MemoryContextStrdup(context, endpoint->host);
	pool->origin = MemoryContextStrdup(context, endpoint->url);
	pool->origin[authority + strcspn(authority, "/") - endpoint->url] = '\0';
	pool->peer.context = context;
	pool->peer.private_allowed = endpoint->private_allowed;
	pool->peer.connect_timeout_ms = endpoint->connect_timeout_ms;
	pool->peer.timeout_ms = endpoint->timeout_ms;
	pool->peer.max_response = endpoint->max_response;
	pool->concurrency = concurrency;
	pool->timer_at_us = -1;
	dlist_init(&pool->idle);
	dlist_init(&pool->running);
	dlist_init(&pool->finished);
	dlist_init(&pool->received);

	/* From here on a reset of the context gives back whatever was taken. */
	pool->callback.func = close_pool;
	pool->callback.arg = pool;
	MemoryContextRegisterResetCallback(context, &pool->callback);

	reserve_fds(pool);
	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
		elog(ERROR, "could not initialise libcurl's multi interface");

	/* Twice as many: one more is tried when the first address does not answer at once. */
	pool->peer.sockets = jdy_sockets_open(pool->multi, 2 * concurrency, context);
	SET_MULTI(pool->multi, CURLMOPT_SOCKETFUNCTION, jdy_sockets_watch);
	SET_MULTI(pool->multi, CURLMOPT_SOCKETDATA, pool->peer.sockets);
	SET_MULTI(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	SET_MULTI(pool->multi, CURLMOPT_TIMERDATA, pool);
	SET_MULTI(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long) concurrency);
	SET_MULTI(pool->multi, CURLMOPT_MAXCONNECTS, (long) concurrency);

	pool->wait_set = JDY_CREATE_WAIT_EVENT_SET(3);
	AddWaitEventToSet(pool->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(pool->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(pool->wait_set, WL_SOCKET_READABLE, jdy_sockets_fd(pool->peer.sockets), NULL, NULL);
	return pool;
}

void
jdy_http_start(HttpPool *pool, const HttpRequest *request)
{
	Transfer   *transfer;

	check_request(pool, request);
	if (pool->active >= pool->concurrency)
		elog(ERROR, "more than %d transfers at once", pool->concurrency);

	transfer = dlist_is_empty(&pool->idle) ? jdy_transfer_create(&pool->peer) :
		dlist_container(Transfer, node, dlist_pop_head_node(&pool->idle));
	jdy_transfer_prepare(transfer, request);
	dlist_push_head(&pool->running, &transfer->node);
	pool->active++;
	CHECK_MULTI(curl_multi_add_handle(pool->multi, transfer->easy));
}

void
jdy_http_send(HttpPool *pool)
{
	act_on_timer(pool);
}

HttpReply *
jdy_http_receive(HttpPool *pool, long timeout_ms)
{
	int64		deadline_us = timeout_ms < 0 ? -1 : now_us() + timeout_ms * INT64CONST(1000);
	bool		looked = false;
	bool		woken = false;
	HttpReply  *reply;

	if (pool->active == 0 && timeout_ms < 0)
		return NULL;

	for (;;)
	{
		woken |= serve_latch();
		reply = jdy_http_finished(pool);
		if (reply != NULL)
			return reply;
		if (looked && (woken || (deadline_us >= 0 && now_us() >= deadline_us)))
			return NULL;

		/* Look before sleeping: while much is going on there is no need to. */
		drive(pool, looked ? wait_ms_until(pool, deadline_us) : 0);
		looked = true;
	}
}

HttpReply *
jdy_http_finished(HttpPool *pool)
{
	Transfer   *transfer;

	if (dlist_is_empty(&pool->finished))
		return NULL;
	transfer = dlist_container(Transfer, node, dlist_pop_head_node(&pool->finished));
	dlist_push_head(&pool->received, &transfer->node);
	pool->active--;
	return &transfer->reply;
}

void
jdy_http_release(HttpPool *pool, HttpReply *reply)
{
	Transfer   *transfer = reply->transfer;

	if (transfer == NULL)
		return;
	dlist_delete(&transfer->node);
	jdy_transfer_release(transfer);
	dlist_push_head(&pool->idle, &transfer->node);
}

/* The struct itself goes with its context. */
void
jdy_http_close(HttpPool *pool)
{
	close_pool(pool);
}

/* Once per process and as late as possible: never in the postmaster, from which everything forks. */
static void
init_library(void)
{
	static bool done = false;
	sigset_t	old;
	CURLcode	rc;

	if (done)
		return;
	jdy_block_signals(&old);
	rc = curl_global_init(CURL_GLOBAL_DEFAULT);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (rc != CURLE_OK)
		elog(ERROR, "could not initialise libcurl: %s", curl_easy_strerror(rc));
	done = true;
}

/* PostgreSQL must know of the fds that others open, or it uses them up for its own files. */
static void
reserve_fds(HttpPool *pool)
{
	for (int i = 0; i < pool->concurrency + FDS_BESIDE_SOCKETS; i++)
	{
		if (!AcquireExternalFD())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("too many open files for the connections"),
					 errdetail("%d connections at once were asked for.", pool->concurrency),
					 errhint("Raise max_files_per_process, or lower the server's concurrency.")));
		pool->reserved_fds++;
	}
}

static void
close_pool(void *arg)
{
	HttpPool   *pool = arg;
	dlist_head *lists[] = {&pool->idle, &pool->running, &pool->finished, &pool->received};
	sigset_t	old;

	jdy_block_signals(&old);
	for (int i = 0; i < lengthof(lists); i++)
	{
		while (!dlist_is_empty(lists[i]))
		{
			Transfer   *transfer = dlist_container(Transfer, node, dlist_pop_head_node(lists[i]));

			/* No-op for one that is not in the multi handle. */
			curl_multi_remove_handle(pool->multi, transfer->easy);
			jdy_transfer_destroy(transfer);
		}
	}
	if (pool->multi != NULL)
		curl_multi_cleanup(pool->multi);
	pool->multi = NULL;
	sigprocmask(SIG_SETMASK, &old, NULL);

	if (pool->wait_set != NULL)
		FreeWaitEventSet(pool->wait_set);
	pool->wait_set = NULL;
	if (pool->peer.sockets != NULL)
		jdy_sockets_close(pool->peer.sockets);
	pool->peer.sockets = NULL;
	while (pool->reserved_fds > 0)
	{
		ReleaseExternalFD();
		pool->reserved_fds--;
	}
	pool->active = 0;
}

/* The fences that stand before anything is resolved or sent. */
static void
check_request(HttpPool *pool, const HttpRequest *request)
{
	size_t		length = strlen(pool->origin);

	/* A path cannot change the host: what follows the origin must not belong to it. */
	if (strncmp(request->url, pool->origin, length) != 0 ||
		strchr("/?", request->url[length]) == NULL)
		elog(ERROR, "a request would leave its server's origin");

	if (!jdy_host_allowed(pool->host, &pool->peer.host_literal))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("host may not be called"),
				 errdetail("Host \"%s\" is not in jdysync.allowed_hosts.", pool->host),
				 errhint("A superuser can add it to that setting.")));

	for (int i = 0; i < request->nheaders; i++)
	{
		/* Else a value that came with a reply, say a token, could add headers of its own. */
		if (strpbrk(request->headers[i].value, "\r\n") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("request header contains a line break"),
					 errdetail("It is header \"%s\".", request->headers[i].name)));
	}
}

/* Waits at most wait_ms (-1: for ever) for bytes, the latch or libcurl's timer, and lets libcurl work. */
static void
drive(HttpPool *pool, int wait_ms)
{
	WaitEvent	event;

	if (wait_ms != 0)
		(void) WaitEventSetWait(pool->wait_set, wait_ms, &event, 1,
								pool->active > 0 ? JDY_WAIT_EVENT("JdysyncHttp") : JDY_WAIT_EVENT("JdysyncPause"));
	CHECK_MULTI(jdy_sockets_act(pool->peer.sockets));
	if (pool->timer_at_us >= 0 && pool->timer_at_us <= now_us())
		act_on_timer(pool);
	collect_finished(pool);
}

static void
act_on_timer(HttpPool *pool)
{
	int			running;
	sigset_t	old;
	CURLMcode	rc;

	pool->timer_at_us = -1;
	jdy_block_signals(&old);
	rc = curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	sigprocmask(SIG_SETMASK, &old, NULL);
	CHECK_MULTI(rc);
}

static void
collect_finished(HttpPool *pool)
{
	CURLMsg    *message;
	int			queued;

	while ((message = curl_multi_info_read(pool->multi, &queued)) != NULL)
	{
		CURLcode	code = message->data.result;
		CURL	   *easy = message->easy_handle;
		Transfer   *transfer;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
		jdy_transfer_finish(transfer, code);
		CHECK_MULTI(curl_multi_remove_handle(pool->multi, easy));
		dlist_delete(&transfer->node);
		dlist_push_tail(&pool->finished, &transfer->node);
	}
}

/* True when somebody set the latch.  May raise an error: cancel, termination. */
static bool
serve_latch(void)
{
	bool		woken = MyLatch->is_set;

	if (woken)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();

	/* In a transaction (jdy_fetch) the backend's own loop reloads after it. */
	if (ConfigReloadPending && !IsTransactionState())
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	return woken;
}

/* Until the deadline or libcurl's timer, in ms, rounded up so that it has passed then. */
static int
wait_ms_until(HttpPool *pool, int64 deadline_us)
{
	int64		until_us = deadline_us;
	int64		wait_us;

	if (pool->timer_at_us >= 0 && (until_us < 0 || pool->timer_at_us < until_us))
		until_us = pool->timer_at_us;
	if (until_us < 0)
		return -1;
	wait_us = until_us - now_us();
	return wait_us <= 0 ? 0 : (int) Min((wait_us + 999) / 1000, 60 * 1000);
}

/* libcurl calls it: it may not raise an error. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpPool   *pool = arg;

	pool->timer_at_us = timeout_ms < 0 ? -1 : now_us() + timeout_ms * INT64CONST(1000);
	return 0;
}

static int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}
