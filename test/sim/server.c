/*-------------------------------------------------------------------------
 * server.c
 *		The HTTP side: connections in, bytes out, and replies that wait.
 *
 * libmicrohttpd polls with epoll in its own threads.  A reply that must wait
 * (latency_ms, a dripped body, a stalled call) suspends its connection and a
 * timer thread resumes it, so thousands of slow calls need no thread each.
 *
 * The big lock guards every other module; the timer list has a lock of its
 * own, taken last.  libmicrohttpd is never called with the big lock held.
 *-------------------------------------------------------------------------
 */
#include "server.h"

#include "buf.h"
#include "config.h"
#include "control.h"
#include "crypt.h"
#include "request.h"
#include "script.h"
#include "service.h"
#include "stats.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_BODY (16 * 1024 * 1024)
#define GZIP_FROM 1024
#define GONE_CHECK_US 100000	/* how often stalled callers are looked at */

/* What libmicrohttpd keeps for us with a request. */
typedef struct Call
{
	Request    *req;
	bool		answered;		/* req->reply is made */
	bool		stalled;
	bool		met_script;
	bool		halted;			/* until server_resume(); guarded by timer_lock while in the list */
	int			fd;
	int64_t		due_us;			/* when to resume; in the timer list only */
	struct Call *next;
} Call;

/* A body that is cut or dripped; a copy, since the request may go first. */
typedef struct Body
{
	Buf			bytes;
	Ending		ending;
	int64_t		end_at;
	int64_t		next_us;
	Call	   *call;
} Body;

static struct MHD_Daemon *server;
static pthread_mutex_t big_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t timer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t timer_wake;
static pthread_t timer_thread;
static Call *waiting;			/* by due_us, soonest first */
static bool stopping;			/* guarded by timer_lock, like waiting */

void
server_lock(void)
{
	pthread_mutex_lock(&big_lock);
}

void
server_unlock(void)
{
	pthread_mutex_unlock(&big_lock);
}

/*
 * Suspends the connection until due_us; false when the server is stopping
 * and nobody would resume it any more.
 */
static bool
wait_until(Call *call, int64_t due_us)
{
	Call	  **link = &waiting;

	pthread_mutex_lock(&timer_lock);
	if (stopping)
	{
		pthread_mutex_unlock(&timer_lock);
		return false;
	}
	MHD_suspend_connection(call->req->connection);
	call->due_us = due_us;
	while (*link != NULL && (*link)->due_us <= due_us)
		link = &(*link)->next;
	call->next = *link;
	*link = call;
	if (waiting == call)
		pthread_cond_signal(&timer_wake);
	pthread_mutex_unlock(&timer_lock);
	return true;
}

static bool
caller_is_gone(const Call *call)
{
	struct pollfd p = {.fd = call->fd,.events = POLLRDHUP};

	return poll(&p, 1, 0) > 0;
}

/* The first call to resume now, taken off the list; or NULL. */
static Call *
take_due(int64_t now)
{
	Call	  **link = &waiting;

	for (; *link != NULL; link = &(*link)->next)
	{
		Call	   *call = *link;

		if (stopping || (call->stalled || call->halted ? caller_is_gone(call) : call->due_us <= now))
		{
			*link = call->next;
			return call;
		}
	}
	return NULL;
}

void
server_resume(void)
{
	Call	   *call;

	pthread_mutex_lock(&timer_lock);
	for (call = waiting; call != NULL; call = call->next)
		if (call->halted)
		{
			call->halted = false;
			call->due_us = 0;
		}
	pthread_cond_signal(&timer_wake);
	pthread_mutex_unlock(&timer_lock);
}

static void
sleep_until(int64_t due_us)
{
	struct timespec t = {due_us / 1000000, due_us % 1000000 * 1000};

	pthread_cond_timedwait(&timer_wake, &timer_lock, &t);
}

/* Resumes calls when they are due, and stalled ones when the caller left. */
static void *
timer_main(void *unused)
{
	(void) unused;
	pthread_mutex_lock(&timer_lock);
	while (!stopping || waiting != NULL)
	{
		int64_t		now = steady_us();
		Call	   *call = take_due(now);

		if (call != NULL)
		{
			pthread_mutex_unlock(&timer_lock);
			MHD_resume_connection(call->req->connection);
			pthread_mutex_lock(&timer_lock);
		}
		else if (waiting == NULL)
			pthread_cond_wait(&timer_wake, &timer_lock);
		else if (waiting->due_us > now && waiting->due_us < now + GONE_CHECK_US)
			sleep_until(waiting->due_us);
		else
			sleep_until(now + GONE_CHECK_US);
	}
	pthread_mutex_unlock(&timer_lock);
	return NULL;
}

/* Content reader of cut and dripped bodies. */
static ssize_t
body_read(void *cls, uint64_t pos, char *out, size_t max)
{
	Body	   *body = cls;
	size_t		n = body->bytes.len - (size_t) pos;
	int64_t		now = steady_us();

	if (body->ending == END_CUT)
	{
		if ((int64_t) pos >= body->end_at || n == 0)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if ((int64_t) n > body->end_at - (int64_t) pos)
			n = (size_t) (body->end_at - (int64_t) pos);
	}
	else
	{
		if (now < body->next_us)
			return wait_until(body->call, body->next_us) ? 0 :
				MHD_CONTENT_READER_END_WITH_ERROR;
		body->next_us = now + body->end_at * 1000;
		n = 1;
	}
	if (n > max)
		n = max;
	memcpy(out, body->bytes.data + pos, n);
	return (ssize_t) n;
}

static void
body_free(void *cls)
{
	Body	   *body = cls;

	buf_free(&body->bytes);
	free(body);
}

/* The response object for a reply; takes the reply's body. */
static struct MHD_Response *
make_response(Call *call)
{
	Reply	   *reply = &call->req->reply;
	struct MHD_Response *response;
	Body	   *body;

	if (reply->truth != NULL)
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 65536,
												 truth_read, reply->truth,
												 truth_free);
	if (reply->ending == END_WHOLE)
	{
		response = MHD_create_response_from_buffer(reply->body.len,
												   reply->body.data,
												   MHD_RESPMEM_MUST_FREE);
		memset(&reply->body, 0, sizeof(reply->body));
		return response;
	}
	body = sim_alloc(sizeof(Body));
	body->bytes = reply->body;
	memset(&reply->body, 0, sizeof(reply->body));
	body->ending = reply->ending;
	body->end_at = reply->end_at;
	body->call = call;
	return MHD_create_response_from_callback(body->bytes.len, 4096, body_read,
											 body, body_free);
}

/*
 * Dissolving a TCP association sends an RST at once, where closing the socket
 * would send a FIN and look like an empty reply.
 */
static enum MHD_Result
break_connection(const Call *call)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (connect(call->fd, &none, sizeof(none)) != 0)
		perror("jdysim: reset");
	return MHD_NO;
}

static enum MHD_Result
send_reply(Call *call)
{
	Request    *req = call->req;
	Reply	   *reply = &req->reply;
	struct MHD_Response *response;
	enum MHD_Result rc;
	int			i;

	if (reply->ending == END_RESET)
		return break_connection(call);
	if (reply->ending == END_STALL)
		return MHD_NO;
	response = make_response(call);
	if (reply->content_type != NULL)
		MHD_add_response_header(response, "Content-Type", reply->content_type);
	if (reply->gzipped)
		MHD_add_response_header(response, "Content-Encoding", "gzip");
	for (i = 0; i < reply->n_headers; i++)
		MHD_add_response_header(response, reply->header_names[i],
								reply->header_values[i]);
	rc = MHD_queue_response(req->connection, (unsigned) reply->status, response);
	MHD_destroy_response(response);
	return rc;
}

static bool
wants_gzip(const Request *req)
{
	const char *accepted = request_header(req, "Accept-Encoding");

	return config.gzip && !req->control && !req->reply.gzipped &&
		req->reply.ending == END_WHOLE && req->reply.body.len >= GZIP_FROM &&
		accepted != NULL && strstr(accepted, "gzip") != NULL;
}

/* Whether the script has the call wait; it comes back when it need not any more. */
static bool
halts(Call *call)
{
	bool		halt;

	server_lock();
	if (call->met_script)
	{
		script_let_go();
		halt = false;
	}
	else
		halt = script_arrived(call->req);
	server_unlock();
	if (call->met_script || !halt)
		return false;
	call->met_script = call->halted = true;
	if (wait_until(call, INT64_MAX))
		return true;
	call->halted = false;
	return false;
}

/* Makes the reply, and sends it or has it wait. */
static enum MHD_Result
answer(Call *call)
{
	Request    *req = call->req;
	const union MHD_ConnectionInfo *info;
	bool		pack;

	info = MHD_get_connection_info(req->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	call->fd = info->connect_fd;
	if (halts(call))
		return MHD_YES;
	req->arrived_us = steady_us();
	server_lock();
	service_answer(req);
	pack = wants_gzip(req);
	server_unlock();
	if (pack)
	{
		crypt_gzip(&req->reply.body, 1);
		req->reply.gzipped = true;
	}
	call->answered = true;
	if (req->reply.ending == END_STALL)
	{
		call->stalled = true;
		return wait_until(call, INT64_MAX) ? MHD_YES : MHD_NO;
	}
	if (req->reply.delay_ms > 0 &&
		wait_until(call, req->arrived_us + req->reply.delay_ms * 1000))
		return MHD_YES;
	return send_reply(call);
}

/*
 * libmicrohttpd calls this once when the headers are there, then for every
 * piece of the body, then without one; and again after a resume.
 */
static enum MHD_Result
handle(void *unused, struct MHD_Connection *connection, const char *url,
	   const char *method, const char *version, const char *upload,
	   size_t *upload_size, void **state)
{
	Call	   *call = *state;
	Request    *req = call->req;

	(void) unused;
	(void) url;
	(void) version;
	if (req->connection == NULL)
	{
		req->connection = connection;
		snprintf(req->method, sizeof(req->method), "%.15s", method);
		return MHD_YES;
	}
	if (*upload_size > 0)
	{
		if (req->body.len + *upload_size > MAX_BODY)
			return MHD_NO;
		buf_bytes(&req->body, upload, *upload_size);
		*upload_size = 0;
		return MHD_YES;
	}
	return call->answered ? send_reply(call) : answer(call);
}

/* The only place that sees the URL as it is on the wire. */
static void *
new_call(void *unused, const char *uri, struct MHD_Connection *connection)
{
	Call	   *call = sim_alloc(sizeof(Call));

	(void) unused;
	(void) connection;
	call->req = request_new(uri);
	return call;
}

static void
end_call(void *unused, struct MHD_Connection *connection, void **state,
		 enum MHD_RequestTerminationCode code)
{
	Call	   *call = *state;

	(void) unused;
	(void) connection;
	(void) code;
	if (call == NULL)
		return;
	server_lock();				/* a fault's reference count is shared */
	if (call->answered)
		stats_over(call->req);
	request_free(call->req);
	server_unlock();
	free(call);
	*state = NULL;
}

static void
connection_event(void *unused, struct MHD_Connection *connection,
				 void **state, enum MHD_ConnectionNotificationCode code)
{
	(void) unused;
	(void) connection;
	(void) state;
	if (code != MHD_CONNECTION_NOTIFY_STARTED)
		return;
	server_lock();
	tally.connections++;
	server_unlock();
}

/* The address to listen on: the loopback, nothing else. */
static void
loopback(const ServerOptions *o, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) address;

	memset(address, 0, sizeof(*address));
	if (o->ipv6)
	{
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t) o->port);
		v6->sin6_addr = in6addr_loopback;
	}
	else
	{
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t) o->port);
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
}

static bool
start_timer(void)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&timer_wake, &attributes);
	pthread_condattr_destroy(&attributes);
	return pthread_create(&timer_thread, NULL, timer_main, NULL) == 0;
}

int
server_start(const ServerOptions *o)
{
	unsigned	flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
		MHD_USE_SUPPRESS_DATE_NO_CLOCK;
	struct sockaddr_storage address;
	struct MHD_OptionItem extra[4];
	int			n = 0;

	loopback(o, &address);
	if (o->ipv6)
		flags |= MHD_USE_IPv6;
	if (o->threads > 1)
		extra[n++] = (struct MHD_OptionItem) {MHD_OPTION_THREAD_POOL_SIZE, o->threads, NULL};
	if (o->tls_cert != NULL)
	{
		flags |= MHD_USE_TLS;
		extra[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *) o->tls_cert};
		extra[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *) o->tls_key};
	}
	extra[n] = (struct MHD_OptionItem) {MHD_OPTION_END, 0, NULL};
	if (!start_timer())
		return 0;
	server = MHD_start_daemon(flags, (uint16_t) o->port, NULL, NULL, handle, NULL,
							  MHD_OPTION_SOCK_ADDR, (struct sockaddr *) &address,
							  MHD_OPTION_URI_LOG_CALLBACK, new_call, NULL,
							  MHD_OPTION_NOTIFY_COMPLETED, end_call, NULL,
							  MHD_OPTION_NOTIFY_CONNECTION, connection_event, NULL,
							  MHD_OPTION_CONNECTION_LIMIT, 8000u,
							  MHD_OPTION_LISTEN_BACKLOG_SIZE, 4096u,
							  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) 65536,
							  MHD_OPTION_ARRAY, extra, MHD_OPTION_END);
	if (server == NULL)
	{
		fprintf(stderr, "jdysim: could not listen on port %d\n", o->port);
		return 0;
	}
	return MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void
server_stop(void)
{
	pthread_mutex_lock(&timer_lock);
	stopping = true;
	pthread_cond_signal(&timer_wake);
	pthread_mutex_unlock(&timer_lock);
	pthread_join(timer_thread, NULL);
	MHD_stop_daemon(server);
}
