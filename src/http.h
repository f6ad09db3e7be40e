/*-------------------------------------------------------------------------
 * http.h
 *		Transfers over libcurl's multi interface, waited for with the latch.
 *
 * A pool belongs to one run: its connections are kept and reused, its sockets
 * sit in one epoll fd, and while it waits interrupts are served within 200 ms.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_HTTP_H
#define JDY_HTTP_H

#include "postgres.h"

#include "address.h"
#include "datatype/timestamp.h"
#include "endpoint.h"
#include "nodes/pg_list.h"

typedef struct HttpPool HttpPool;

/* How a transfer ended before or instead of a complete reply. */
typedef enum HttpFailure
{
	HTTP_COMPLETE,				/* status and body are whole */
	HTTP_RESOLVE,				/* host name unknown or resolver down */
	HTTP_CONNECT,				/* refused, unreachable, connect time-out */
	HTTP_TLS,					/* certificate or handshake */
	HTTP_TIMEOUT,				/* total time-out */
	HTTP_BROKEN,				/* reset, cut body, bad chunk, bad encoding */
	HTTP_TOO_LARGE,				/* body or headers over the cap */
	HTTP_FORBIDDEN_ADDRESS,		/* the resolved address may not be called */
	HTTP_OTHER
} HttpFailure;

typedef struct HttpHeader
{
	const char *name;
	const char *value;
} HttpHeader;

typedef struct HttpRequest
{
	const char *method;			/* GET, POST, PUT, PATCH, DELETE */
	const char *url;			/* complete, already percent-encoded */
	const HttpHeader *headers;
	int			nheaders;
	const char *body;			/* NULL = none; must live until the reply was received */
	size_t		body_length;
	void	   *owner;			/* handed back with the reply */
} HttpRequest;

typedef struct HttpReply
{
	HttpFailure failure;
	const char *error;			/* libcurl's text without secrets; NULL when complete */
	int			status;			/* 0 when no status line came */
	char	   *body;			/* NUL-terminated, owned by the transfer until released; never NULL */
	size_t		body_length;
	bool		truncated;		/* body cut at the cap */
	char	   *content_type;	/* may be NULL */
	char	   *router;			/* X-GW-Router-Addr or other gateway marker of the reply, may be NULL */
	TimestampTz date;			/* Date header, 0 = none */
	int64		retry_after_ms; /* -1 = none */
	int64		elapsed_us;		/* from start of transfer to its end */
	int64		wire_bytes;		/* received, headers included */
	bool		sent;			/* the whole request had left: the other side may have acted on it */
	void	   *owner;			/* of the request */
	void	   *transfer;		/* private; NULL = a copy, which needs no release */
} HttpReply;

/*
 * Opens a pool for at most `concurrency` transfers at once.  Lives in
 * `context`; a reset of the context closes it (callback), so errors leak neither
 * memory nor file descriptors.
 */
extern HttpPool *jdy_http_open(const Endpoint *endpoint, int concurrency, MemoryContext context);

/* Starts a transfer, which leaves with jdy_http_send or jdy_http_receive.  Strings are copied but for the body.  At most `concurrency` may be under way. */
extern void jdy_http_start(HttpPool *pool, const HttpRequest *request);

/* Lets what was started leave: for a caller that has other things to do before it waits. */
extern void jdy_http_send(HttpPool *pool);

/*
 * Drives all transfers and returns the next finished one, or NULL after
 * timeout_ms (0: only look; -1: wait until one ends).  Serves interrupts
 * (so it may raise an error) and returns early with NULL when the process latch
 * was set, so that the caller can look at its own flags.
 */
extern HttpReply *jdy_http_receive(HttpPool *pool, long timeout_ms);

/* The next transfer that has finished already; NULL when there is none.  Does nothing else. */
extern HttpReply *jdy_http_finished(HttpPool *pool);

/* Gives the reply's buffers back to the pool; nothing when its transfer is NULL. */
extern void jdy_http_release(HttpPool *pool, HttpReply *reply);

extern void jdy_http_close(HttpPool *pool);

#endif							/* JDY_HTTP_H */
