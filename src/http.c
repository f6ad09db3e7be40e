/*-------------------------------------------------------------------------
 * http.c
 *		Transfers over libcurl's multi interface, waited for with the latch.
 *
 * libcurl tells which sockets it wants watched; all of them sit in one epoll fd,
 * and that fd sits beside the process latch in a WaitEventSet (which has a fixed
 * size and cannot drop members, so sockets cannot stand in it themselves).  One
 * wait therefore ends for bytes, a cancel, a reload, libcurl's timer or the end
 * of the postmaster, whichever is first.  curl_easy_perform could not be
 * interrupted while a name is resolved.  A resolver thread that hangs is left
 * behind by CURLOPT_QUICK_EXIT, else closing the pool would wait for it.
 *
 * libcurl calls back in the middle of its own work: no callback here raises an
 * error or allocates from a memory context.  They note what happened in their
 * Transfer, and finish() makes a reply of it.
 *
 * libcurl retries on its own when a kept connection turns out to be dead.  Such a
 * second request would be unseen by the call budget and the log, and a push
 * could arrive twice, so it is stopped (before_request).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "access/xact.h"
#include "http.h"
#include "jdysync.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Caps. */
#define MAX_HEADER_BYTES (64 * 1024)	/* of one reply */
#define MAX_KEPT_BODY (1024 * 1024)		/* a larger buffer is not kept for the next reply */
#define FIRST_BODY_BYTES (32 * 1024)
#define RECEIVE_BYTES (64 * 1024)		/* libcurl's own buffer */
#define MAX_EPOLL_EVENTS 64
#define MAX_RETRY_AFTER_S (24 * 60 * 60)
#define MAX_CONTENT_TYPE 128
#define MAX_ROUTER 256
#define MAX_DATE 64
#define LEAST_EXPECTED 1024		/* libcurl asks, and waits, before it sends a body that is larger; how much depends on its version */
#define FDS_BESIDE_SOCKETS 4	/* epoll fd, libcurl's wake-up pair, a resolver's */

/*
 * A connection's socket.  It stays in the epoll set while no request uses it: to take it out and
 * put it back would be two system calls a request.
 */
typedef struct Socket
{
	curl_socket_t fd;
	uint32		events;			/* that it is in the epoll set with; 0 = it is not */
	bool		wanted;			/* libcurl wants it watched */
} Socket;

typedef struct Transfer
{
	dlist_node	node;			/* in one of the pool's lists */
	HttpPool   *pool;
	CURL	   *easy;
	StringInfoData lines;		/* of the request's headers, each with its NUL */
	struct curl_slist *headers; /* so many, which libcurl only reads */
	int			max_headers;

	/* Filled by callbacks. */
	char	   *body;			/* malloc'ed */
	size_t		body_size;
	size_t		body_length;
	size_t		header_bytes;
	int			requests;		/* times that libcurl was about to send */
	bool		too_large;
	bool		truncated;
	bool		forbidden;		/* a resolved address was refused */
	bool		out_of_memory;
	char		curl_error[CURL_ERROR_SIZE];

	size_t		request_body_length;
	HttpReply	reply;
	char		error[CURL_ERROR_SIZE];
	char		content_type[MAX_CONTENT_TYPE];
	char		router[MAX_ROUTER];
} Transfer;

struct HttpPool
{
	MemoryContext context;
	MemoryContextCallback callback;
	char	   *host;
	char	   *origin;			/* scheme, host and port of the endpoint */
	bool		private_allowed;	/* the server is a superuser's */
	bool		host_literal;	/* the host is listed by name; as of the last start */
	long		connect_timeout_ms;
	long		timeout_ms;
	size_t		max_response;

	int			concurrency;
	int			active;			/* started, reply not received yet */
	CURLM	   *multi;
	int			epoll_fd;
	int			reserved_fds;
	WaitEventSet *wait_set;
	int64		timer_at_us;	/* libcurl wants to be called then; -1 = never */
	Socket	   *sockets;		/* of connections */
	int			nsockets;
	int			max_sockets;
	dlist_head	idle;			/* transfers free for use */
	dlist_head	running;
	dlist_head	finished;		/* in order, not received yet */
	dlist_head	received;		/* not released yet */
	char		last_date[MAX_DATE];	/* a Date header, and its time: it changes once a second */
	time_t		last_time;
};

/* One line per kind of failure; what is not listed is HTTP_OTHER. */
static const struct
{
	CURLcode	code;
	HttpFailure failure;
}			failures[] = {
	{CURLE_COULDNT_RESOLVE_HOST, HTTP_RESOLVE},
	{CURLE_COULDNT_CONNECT, HTTP_CONNECT},
	{CURLE_SSL_CONNECT_ERROR, HTTP_TLS},
	{CURLE_PEER_FAILED_VERIFICATION, HTTP_TLS},
	{CURLE_SSL_CERTPROBLEM, HTTP_TLS},
	{CURLE_SSL_CIPHER, HTTP_TLS},
	{CURLE_SSL_CACERT_BADFILE, HTTP_TLS},
	{CURLE_SSL_ISSUER_ERROR, HTTP_TLS},
	{CURLE_SSL_INVALIDCERTSTATUS, HTTP_TLS},
	{CURLE_OPERATION_TIMEDOUT, HTTP_TIMEOUT},
	{CURLE_PARTIAL_FILE, HTTP_BROKEN},
	{CURLE_GOT_NOTHING, HTTP_BROKEN},
	{CURLE_SEND_ERROR, HTTP_BROKEN},
	{CURLE_RECV_ERROR, HTTP_BROKEN},
	{CURLE_SEND_FAIL_REWIND, HTTP_BROKEN},
	{CURLE_WEIRD_SERVER_REPLY, HTTP_BROKEN},
	{CURLE_UNSUPPORTED_PROTOCOL, HTTP_BROKEN},
	{CURLE_BAD_CONTENT_ENCODING, HTTP_BROKEN},
	{CURLE_CHUNK_FAILED, HTTP_BROKEN},
	{CURLE_HTTP2, HTTP_BROKEN},
	{CURLE_HTTP2_STREAM, HTTP_BROKEN},
};

static bool is_unreserved(unsigned char c);
static void init_library(void);
static void reserve_fds(HttpPool *pool);
static void close_pool(void *arg);
static Transfer *get_transfer(HttpPool *pool);
static void set_constant_options(Transfer *transfer);
static void set_request(Transfer *transfer, const HttpRequest *request);
static void check_request(HttpPool *pool, const HttpRequest *request);
static void set_headers(Transfer *transfer, const HttpRequest *request, bool with_body);
static void append_header(StringInfo lines, const char *name, const char *value);
static void drive(HttpPool *pool, int wait_ms);
static void act_on_sockets(HttpPool *pool);
static void act_on_timer(HttpPool *pool);
static void collect_finished(HttpPool *pool);
static bool serve_latch(void);
static int	wait_ms_until(HttpPool *pool, int64 deadline_us);
static void finish(Transfer *transfer, CURLcode code);
static HttpFailure failure_of(Transfer *transfer, CURLcode code);
static void set_error(Transfer *transfer, CURLcode code);
static void set_header_facts(Transfer *transfer);
static const char *header_value(Transfer *transfer, const char *name);
static void copy_printable(char *target, size_t size, const char *source);
static void block_signals(sigset_t *old);
static int64 now_us(void);

static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known);
static int	on_timer(CURLM *multi, long timeout_ms, void *arg);
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static int	on_close_socket(void *arg, curl_socket_t fd);
static Socket *find_socket(HttpPool *pool, curl_socket_t fd);
static size_t on_body(char *data, size_t size, size_t count, void *arg);
static size_t on_header(char *data, size_t size, size_t count, void *arg);
static int	before_request(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port);

/* Options are never refused but for bugs and lack of memory; the macro names the option. */
#define SET_EASY(easy, option, value) \
	do { \
		CURLcode	rc_ = curl_easy_setopt(easy, option, value); \
		if (rc_ != CURLE_OK) \
			elog(ERROR, "could not set %s: %s", #option, curl_easy_strerror(rc_)); \
	} while (0)
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

	pool->context = context;
	pool->host = MemoryContextStrdup(context, endpoint->host);
	pool->origin = MemoryContextStrdup(context, endpoint->url);
	pool->origin[authority + strcspn(authority, "/") - endpoint->url] = '\0';
	pool->private_allowed = endpoint->private_allowed;
	pool->connect_timeout_ms = endpoint->connect_timeout_ms;
	pool->timeout_ms = endpoint->timeout_ms;
	pool->max_response = endpoint->max_response;
	pool->concurrency = concurrency;
	pool->epoll_fd = -1;
	pool->timer_at_us = -1;
	pool->max_sockets = 2 * concurrency;	/* one more is tried when the first address does not answer at once */
	pool->sockets = MemoryContextAlloc(context, pool->max_sockets * sizeof(Socket));
	dlist_init(&pool->idle);
	dlist_init(&pool->running);
	dlist_init(&pool->finished);
	dlist_init(&pool->received);

	/* From here on a reset of the context gives back whatever was taken. */
	pool->callback.func = close_pool;
	pool->callback.arg = pool;
	MemoryContextRegisterResetCallback(context, &pool->callback);

	reserve_fds(pool);
	pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (pool->epoll_fd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not watch connections"),
				 errdetail("epoll_create1 failed: %m.")));

	pool->wait_set = JDY_CREATE_WAIT_EVENT_SET(3);
	AddWaitEventToSet(pool->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(pool->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(pool->wait_set, WL_SOCKET_READABLE, pool->epoll_fd, NULL, NULL);

	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
		elog(ERROR, "could not initialise libcurl's multi interface");
	SET_MULTI(pool->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	SET_MULTI(pool->multi, CURLMOPT_SOCKETDATA, pool);
	SET_MULTI(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	SET_MULTI(pool->multi, CURLMOPT_TIMERDATA, pool);
	SET_MULTI(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long) concurrency);
	SET_MULTI(pool->multi, CURLMOPT_MAXCONNECTS, (long) concurrency);
	return pool;
}

void
jdy_http_start(HttpPool *pool, const HttpRequest *request)
{
	Transfer   *transfer;

	check_request(pool, request);
	if (pool->active >= pool->concurrency)
		elog(ERROR, "more than %d transfers at once", pool->concurrency);

	transfer = get_transfer(pool);
	set_request(transfer, request);
	dlist_push_head(&pool->running, &transfer->node);
	pool->active++;
	CHECK_MULTI(curl_multi_add_handle(pool->multi, transfer->easy));
}

void
jdy_http_send(HttpPool *pool)
{
	act_on_timer(pool);
}

int
jdy_http_active(HttpPool *pool)
{
	return pool->active;
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
	if (transfer->body_size > MAX_KEPT_BODY)
	{
		free(transfer->body);
		transfer->body = NULL;
		transfer->body_size = 0;
	}
	dlist_push_head(&pool->idle, &transfer->node);
}

/* The struct itself goes with its context. */
void
jdy_http_close(HttpPool *pool)
{
	close_pool(pool);
}

char *
jdy_percent_encode(const char *text, bool keep_slash)
{
	static const char hex[] = "0123456789ABCDEF";
	char	   *encoded = palloc(strlen(text) * 3 + 1);
	char	   *target = encoded;

	for (const unsigned char *c = (const unsigned char *) text; *c; c++)
	{
		if (is_unreserved(*c) || (keep_slash && *c == '/'))
			*target++ = *c;
		else
		{
			*target++ = '%';
			*target++ = hex[*c >> 4];
			*target++ = hex[*c & 15];
		}
	}
	*target = '\0';
	return encoded;
}

static bool
is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
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
	block_signals(&old);
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

	block_signals(&old);
	for (int i = 0; i < lengthof(lists); i++)
	{
		while (!dlist_is_empty(lists[i]))
		{
			Transfer   *transfer = dlist_container(Transfer, node, dlist_pop_head_node(lists[i]));

			/* No-op for one that is not in the multi handle. */
			if (transfer->easy != NULL)
			{
				curl_multi_remove_handle(pool->multi, transfer->easy);
				curl_easy_cleanup(transfer->easy);
			}
			free(transfer->body);
		}
	}
	if (pool->multi != NULL)
		curl_multi_cleanup(pool->multi);
	pool->multi = NULL;
	sigprocmask(SIG_SETMASK, &old, NULL);

	if (pool->wait_set != NULL)
		FreeWaitEventSet(pool->wait_set);
	pool->wait_set = NULL;
	if (pool->epoll_fd >= 0)
		close(pool->epoll_fd);
	pool->epoll_fd = -1;
	while (pool->reserved_fds > 0)
	{
		ReleaseExternalFD();
		pool->reserved_fds--;
	}
	pool->active = 0;
}

/* An idle transfer with its handle and buffer, or a new one. */
static Transfer *
get_transfer(HttpPool *pool)
{
	Transfer   *transfer;
	MemoryContext caller;

	if (!dlist_is_empty(&pool->idle))
		return dlist_container(Transfer, node, dlist_pop_head_node(&pool->idle));

	transfer = MemoryContextAllocZero(pool->context, sizeof(Transfer));
	transfer->pool = pool;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	caller = MemoryContextSwitchTo(pool->context);
	initStringInfo(&transfer->lines);
	MemoryContextSwitchTo(caller);
	set_constant_options(transfer);
	return transfer;
}

/* What is the same for every request of the pool. */
static void
set_constant_options(Transfer *transfer)
{
	CURL	   *easy = transfer->easy;
	HttpPool   *pool = transfer->pool;

	SET_EASY(easy, CURLOPT_PRIVATE, transfer);
	SET_EASY(easy, CURLOPT_NOSIGNAL, 1L);
	SET_EASY(easy, CURLOPT_QUICK_EXIT, 1L);
	SET_EASY(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);

	/* Where it may go. */
	SET_EASY(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	SET_EASY(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	SET_EASY(easy, CURLOPT_FOLLOWLOCATION, 0L);
	SET_EASY(easy, CURLOPT_PROXY, "");
	SET_EASY(easy, CURLOPT_NOPROXY, "*");
	SET_EASY(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET_EASY(easy, CURLOPT_PATH_AS_IS, 1L);
	SET_EASY(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	SET_EASY(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	SET_EASY(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET_EASY(easy, CURLOPT_OPENSOCKETDATA, transfer);
	SET_EASY(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	SET_EASY(easy, CURLOPT_CLOSESOCKETDATA, pool);

	/* How. */
	SET_EASY(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET_EASY(easy, CURLOPT_ACCEPT_ENCODING, "");
	SET_EASY(easy, CURLOPT_CONNECTTIMEOUT_MS, pool->connect_timeout_ms);
	SET_EASY(easy, CURLOPT_TIMEOUT_MS, pool->timeout_ms);
	SET_EASY(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	SET_EASY(easy, CURLOPT_BUFFERSIZE, (long) RECEIVE_BYTES);
	SET_EASY(easy, CURLOPT_PREREQFUNCTION, before_request);
	SET_EASY(easy, CURLOPT_PREREQDATA, transfer);
	SET_EASY(easy, CURLOPT_WRITEFUNCTION, on_body);
	SET_EASY(easy, CURLOPT_WRITEDATA, transfer);
	SET_EASY(easy, CURLOPT_HEADERFUNCTION, on_header);
	SET_EASY(easy, CURLOPT_HEADERDATA, transfer);
}

static void
set_request(Transfer *transfer, const HttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	bool		get = strcmp(request->method, "GET") == 0;
	bool		post = strcmp(request->method, "POST") == 0;
	bool		with_body = request->body != NULL || post ||
		strcmp(request->method, "PUT") == 0 || strcmp(request->method, "PATCH") == 0;

	transfer->body_length = 0;
	transfer->header_bytes = 0;
	transfer->requests = 0;
	transfer->too_large = transfer->truncated = transfer->forbidden = transfer->out_of_memory = false;
	transfer->curl_error[0] = '\0';
	transfer->request_body_length = with_body ? request->body_length : 0;
	memset(&transfer->reply, 0, sizeof(HttpReply));
	transfer->reply.transfer = transfer;
	transfer->reply.owner = request->owner;

	SET_EASY(easy, CURLOPT_URL, request->url);
	if (with_body)
	{
		/* The size first: else libcurl would look for the end of the text. */
		SET_EASY(easy, CURLOPT_POST, 1L);
		SET_EASY(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->request_body_length);
		SET_EASY(easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
	}
	else
		SET_EASY(easy, CURLOPT_HTTPGET, 1L);
	SET_EASY(easy, CURLOPT_CUSTOMREQUEST, (with_body ? post : get) ? NULL : request->method);

	set_headers(transfer, request, with_body);
}

static void
set_headers(Transfer *transfer, const HttpRequest *request, bool with_body)
{
	StringInfo	lines = &transfer->lines;
	bool		has_type = false;
	int			n = request->nheaders + 1;

	resetStringInfo(lines);
	append_header(lines, "User-Agent", "jdysync/" JDY_VERSION);
	for (int i = 0; i < request->nheaders; i++)
	{
		has_type |= pg_strcasecmp(request->headers[i].name, "Content-Type") == 0;
		append_header(lines, request->headers[i].name, request->headers[i].value);
	}
	/* Not what libcurl would add by itself; an Expect only to what is large. */
	if (with_body && request->body_length >= LEAST_EXPECTED)
	{
		appendBinaryStringInfo(lines, "Expect:", sizeof("Expect:"));
		n++;
	}
	if (with_body && !has_type)
	{
		appendBinaryStringInfo(lines, "Content-Type:", sizeof("Content-Type:"));
		n++;
	}

	if (n > transfer->max_headers)
	{
		transfer->headers = transfer->headers == NULL ?
			MemoryContextAlloc(transfer->pool->context, n * sizeof(struct curl_slist)) :
			repalloc(transfer->headers, n * sizeof(struct curl_slist));
		transfer->max_headers = n;
	}
	for (int i = 0, at = 0; i < n; i++)
	{
		transfer->headers[i].data = &lines->data[at];
		transfer->headers[i].next = i + 1 < n ? &transfer->headers[i + 1] : NULL;
		at += strlen(&lines->data[at]) + 1;
	}
	SET_EASY(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

/* libcurl's way to send a header without value is a semicolon. */
static void
append_header(StringInfo lines, const char *name, const char *value)
{
	appendStringInfoString(lines, name);
	appendStringInfoString(lines, value[0] == '\0' ? ";" : ": ");
	appendBinaryStringInfo(lines, value, strlen(value) + 1);
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

	if (!jdy_host_allowed(pool->host, &pool->host_literal))
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
	act_on_sockets(pool);
	if (pool->timer_at_us >= 0 && pool->timer_at_us <= now_us())
		act_on_timer(pool);
	collect_finished(pool);
}

static void
act_on_sockets(HttpPool *pool)
{
	struct epoll_event events[MAX_EPOLL_EVENTS];
	int			n = epoll_wait(pool->epoll_fd, events, MAX_EPOLL_EVENTS, 0);
	int			running;
	sigset_t	old;
	CURLMcode	rc = CURLM_OK;

	if (n <= 0)
		return;
	block_signals(&old);
	for (int i = 0; i < n && rc == CURLM_OK; i++)
	{
		Socket	   *socket = find_socket(pool, events[i].data.fd);
		int			what = 0;

		if (socket != NULL && !socket->wanted)
		{
			/* The other side hung up: libcurl will see that before it uses the connection. */
			(void) epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, socket->fd, &events[i]);
			socket->events = 0;
			continue;
		}
		if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & EPOLLERR)
			what |= CURL_CSELECT_ERR;
		rc = curl_multi_socket_action(pool->multi, events[i].data.fd, what, &running);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	CHECK_MULTI(rc);
}

static void
act_on_timer(HttpPool *pool)
{
	int			running;
	sigset_t	old;
	CURLMcode	rc;

	pool->timer_at_us = -1;
	block_signals(&old);
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
		finish(transfer, code);
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

/* Makes a reply of what curl and the callbacks noted. */
static void
finish(Transfer *transfer, CURLcode code)
{
	HttpReply  *reply = &transfer->reply;
	long		status = 0;
	long		header_size = 0;
	curl_off_t	uploaded = 0;
	curl_off_t	received = 0;
	curl_off_t	elapsed_us = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_HEADER_SIZE, &header_size);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
	curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &elapsed_us);

	reply->failure = failure_of(transfer, code);
	reply->status = (int) status;
	reply->truncated = transfer->truncated;
	reply->elapsed_us = elapsed_us;
	reply->wire_bytes = received + header_size;

	/*
	 * Unsure means sent: only a body that did not leave whole proves that nobody can have acted on it.  What
	 * libcurl was about to send a second time had left once, and is counted anew.
	 */
	reply->sent = transfer->requests > 1 ||
		(transfer->requests == 1 && uploaded >= (curl_off_t) transfer->request_body_length);

	/* There is a buffer even for an empty body; the writer leaves room for the NUL. */
	if (transfer->body == NULL)
	{
		transfer->body = malloc(1);
		transfer->body_size = 1;
	}
	if (transfer->body == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	transfer->body[transfer->body_length] = '\0';
	reply->body = transfer->body;
	reply->body_length = transfer->body_length;

	set_header_facts(transfer);
	if (reply->failure != HTTP_COMPLETE)
		set_error(transfer, code);
}

static HttpFailure
failure_of(Transfer *transfer, CURLcode code)
{
	if (code == CURLE_OK)
		return HTTP_COMPLETE;
	if (transfer->too_large)
		return HTTP_TOO_LARGE;
	if (transfer->forbidden && code == CURLE_COULDNT_CONNECT)
		return HTTP_FORBIDDEN_ADDRESS;
	/* A second request was about to leave: the connection had been lost. */
	if (transfer->requests > 1)
		return HTTP_BROKEN;
	for (int i = 0; i < lengthof(failures); i++)
	{
		if (failures[i].code == code)
			return failures[i].failure;
	}
	return HTTP_OTHER;
}

/* Our own words where libcurl's would mislead; its words never hold a query or a header of the request. */
static void
set_error(Transfer *transfer, CURLcode code)
{
	HttpReply  *reply = &transfer->reply;
	const char *text = transfer->curl_error[0] != '\0' ? transfer->curl_error : curl_easy_strerror(code);

	if (reply->failure == HTTP_TOO_LARGE)
		text = transfer->truncated ? "the reply is larger than max_response" : "the headers of the reply are larger than 64 kB";
	else if (reply->failure == HTTP_FORBIDDEN_ADDRESS)
		text = "the host's address is link-local, loopback or private and may not be called";
	else if (transfer->requests > 1)
		text = "the connection was lost before the reply";
	else if (transfer->out_of_memory)
		text = "out of memory";
	copy_printable(transfer->error, sizeof(transfer->error), text);

	/* Should a URL ever stand in it, its query would begin here. */
	transfer->error[strcspn(transfer->error, "?")] = '\0';
	reply->error = transfer->error;
}

static void
set_header_facts(Transfer *transfer)
{
	HttpPool   *pool = transfer->pool;
	HttpReply  *reply = &transfer->reply;
	const char *value;
	time_t		date = -1;

	value = header_value(transfer, "Content-Type");
	if (value != NULL)
	{
		copy_printable(transfer->content_type, sizeof(transfer->content_type), value);
		reply->content_type = transfer->content_type;
	}
	value = header_value(transfer, "X-GW-Router-Addr");
	if (value != NULL)
	{
		copy_printable(transfer->router, sizeof(transfer->router), value);
		reply->router = transfer->router;
	}
	value = header_value(transfer, "Date");
	if (value != NULL && strcmp(value, pool->last_date) == 0)
		date = pool->last_time;
	else if (value != NULL)
	{
		date = curl_getdate(value, NULL);
		if (strlen(value) < MAX_DATE)
		{
			strcpy(pool->last_date, value);
			pool->last_time = date;
		}
	}
	if (date > 0)
		reply->date = time_t_to_timestamptz(date);

	/* Seconds, or an instant by the server's clock. */
	reply->retry_after_ms = -1;
	value = header_value(transfer, "Retry-After");
	if (value != NULL)
	{
		int64		seconds = -1;

		if (value[0] != '\0' && value[strspn(value, "0123456789")] == '\0')
			seconds = strlen(value) > 9 ? MAX_RETRY_AFTER_S : atol(value);
		else
		{
			time_t		until = curl_getdate(value, NULL);

			if (until > 0)
				seconds = Max(0, (int64) until - (int64) (date > 0 ? date : time(NULL)));
		}
		if (seconds >= 0)
			reply->retry_after_ms = Min(seconds, MAX_RETRY_AFTER_S) * 1000;
	}
}

/* Of the last reply, NULL when it has none. */
static const char *
header_value(Transfer *transfer, const char *name)
{
	struct curl_header *header;

	if (curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->value;
}

/* What comes from outside may be in any encoding; ASCII is right in all of them. */
static void
copy_printable(char *target, size_t size, const char *source)
{
	size_t		length = 0;

	for (; *source && length < size - 1; source++)
		target[length++] = (*source >= ' ' && *source < 0x7f) ? *source : '.';
	target[length] = '\0';
}

/*
 * Threads that libcurl starts to resolve names inherit the mask: without it they
 * would run PostgreSQL's signal handlers.  Faults of our own are let through.
 */
static void
block_signals(sigset_t *old)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t	all;

	sigfillset(&all);
	for (int i = 0; i < lengthof(faults); i++)
		sigdelset(&all, faults[i]);
	sigprocmask(SIG_BLOCK, &all, old);
}

static int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* Callbacks: nothing below may raise an error or call into PostgreSQL's memory. */

/* `known` is what curl_multi_assign set: not NULL when an fd that is not a connection's is in the epoll set. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	HttpPool   *pool = arg;
	Socket	   *socket = find_socket(pool, fd);
	struct epoll_event event = {.data.fd = fd};
	bool		in_set = socket != NULL ? socket->events != 0 : known != NULL;

	if (socket != NULL)
		socket->wanted = what != CURL_POLL_REMOVE;
	if (what == CURL_POLL_REMOVE)
	{
		if (socket == NULL)
			(void) epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (socket != NULL && socket->events == event.events)
		return 0;
	if (epoll_ctl(pool->epoll_fd, in_set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
		return -1;
	if (socket != NULL)
		socket->events = event.events;
	else if (known == NULL)
		curl_multi_assign(pool->multi, fd, pool);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpPool   *pool = arg;

	pool->timer_at_us = timeout_ms < 0 ? -1 : now_us() + timeout_ms * INT64CONST(1000);
	return 0;
}

/* The address that the name resolved to is judged here; libcurl then tries the next one. */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Transfer   *transfer = arg;
	HttpPool   *pool = transfer->pool;
	AddressClass class = jdy_address_class(&address->addr);
	curl_socket_t fd;

	if (class == ADDRESS_NEVER ||
		(class == ADDRESS_PRIVATE && !pool->private_allowed && !pool->host_literal))
	{
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd != CURL_SOCKET_BAD && pool->nsockets < pool->max_sockets)
		pool->sockets[pool->nsockets++] = (Socket) {.fd = fd};
	return fd;
}

/* Its end takes it out of the epoll set. */
static int
on_close_socket(void *arg, curl_socket_t fd)
{
	HttpPool   *pool = arg;
	Socket	   *socket = find_socket(pool, fd);

	if (socket != NULL)
		*socket = pool->sockets[--pool->nsockets];
	return close(fd);
}

/* NULL: it is not a connection's, or one too many. */
static Socket *
find_socket(HttpPool *pool, curl_socket_t fd)
{
	for (int i = 0; i < pool->nsockets; i++)
	{
		if (pool->sockets[i].fd == fd)
			return &pool->sockets[i];
	}
	return NULL;
}

/* Collects the decoded body, up to the cap: less than was given tells libcurl to stop. */
static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		room = transfer->pool->max_response - transfer->body_length;
	size_t		take = Min(size * count, room);
	size_t		needed = transfer->body_length + take + 1;

	if (needed > transfer->body_size)
	{
		size_t		larger = Max(FIRST_BODY_BYTES, transfer->body_size);
		char	   *body;

		while (larger < needed)
			larger *= 2;
		larger = Min(larger, transfer->pool->max_response + 1);
		body = realloc(transfer->body, larger);
		if (body == NULL)
		{
			transfer->out_of_memory = true;
			return 0;
		}
		transfer->body = body;
		transfer->body_size = larger;
	}
	memcpy(transfer->body + transfer->body_length, data, take);
	transfer->body_length += take;
	if (take < size * count)
		transfer->too_large = transfer->truncated = true;
	return take;
}

/* Only counted here; libcurl keeps them for header_value. */
static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;

	transfer->header_bytes += size * count;
	if (transfer->header_bytes > MAX_HEADER_BYTES)
	{
		transfer->too_large = true;
		return 0;
	}
	return size * count;
}

static int
before_request(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	Transfer   *transfer = arg;

	return ++transfer->requests > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}
