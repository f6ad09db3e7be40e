/*-------------------------------------------------------------------------
 * transfer.h
 *		One request and its reply, on a handle of libcurl.
 *
 * Private to http.c, which keeps transfers in its lists and has libcurl drive them.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_TRANSFER_H
#define JDY_TRANSFER_H

#include "postgres.h"

#include <curl/curl.h>

#include "http.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "sockets.h"

#define MAX_CONTENT_TYPE 128
#define MAX_ROUTER 256
#define MAX_DATE 64

/* The other side, for all transfers of a pool: which of its addresses may be called, and how long and how much. */
typedef struct HttpPeer
{
	MemoryContext context;		/* of the pool */
	SocketSet  *sockets;
	bool		private_allowed;	/* the server is a superuser's */
	bool		host_literal;	/* the host is listed by name; as of the last start */
	long		connect_timeout_ms;
	long		timeout_ms;
	size_t		max_response;
	char		last_date[MAX_DATE];	/* a Date header, and its time: it changes once a second */
	time_t		last_time;
} HttpPeer;

typedef struct Transfer
{
	dlist_node	node;			/* in one of the pool's lists */
	HttpPeer   *peer;
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

/* In the peer's context, but for its handle and body: jdy_transfer_destroy gives these back. */
extern Transfer *jdy_transfer_create(HttpPeer *peer);

/* Makes it ready to send `request`, whatever it did before. Strings are copied but for the body. */
extern void jdy_transfer_prepare(Transfer *transfer, const HttpRequest *request);

/* libcurl is done with it, with `code`: fills transfer->reply, which holds until the next prepare. */
extern void jdy_transfer_finish(Transfer *transfer, CURLcode code);

/* Nobody reads its reply any more; a large buffer goes, a usual one stays for the next reply. */
extern void jdy_transfer_release(Transfer *transfer);

/* Not while it is in a multi handle.  Never raises. */
extern void jdy_transfer_destroy(Transfer *transfer);

/* Options are never refused but for bugs and lack of memory; the macro names the option. */
#define SET_EASY(easy, option, value) \
	do { \
		CURLcode	rc_ = curl_easy_setopt(easy, option, value); \
		if (rc_ != CURLE_OK) \
			elog(ERROR, "could not set %s: %s", #option, curl_easy_strerror(rc_)); \
	} while (0)

#endif							/* JDY_TRANSFER_H */
