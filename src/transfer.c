/*-------------------------------------------------------------------------
 * transfer.c
 *		One request and its reply, on a handle of libcurl.
 *
 * Every option that decides where a request may go, how long it may take and how
 * much may come back is set here, and nowhere else; so is what a reply is made of.
 *
 * libcurl calls back in the middle of its own work: no callback here raises an
 * error or allocates from a memory context.  They note what happened in their
 * Transfer, and jdy_transfer_finish makes a reply of it.
 *
 * libcurl retries on its own when a kept connection turns out to be dead.  Such a
 * second request would be unseen by the call budget and the log, and a push
 * could arrive twice, so it is stopped (before_request).
 *
 * Called by http.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jdysync.h"
#include "transfer.h"
#include "utils/timestamp.h"

/* Caps. */
#define MAX_HEADER_BYTES (64 * 1024)	/* of one reply */
#define MAX_KEPT_BODY (1024 * 1024)		/* a larger buffer is not kept for the next reply */
#define FIRST_BODY_BYTES (32 * 1024)
#define RECEIVE_BYTES (64 * 1024)		/* libcurl's own buffer */
#define MAX_RETRY_AFTER_S (24 * 60 * 60)
#define LEAST_EXPECTED 1024		/* libcurl asks, and waits, before it sends a body that is larger; how much depends on its version */

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

static void set_constant_options(Transfer *transfer);
static void set_headers(Transfer *transfer, const HttpRequest *request, bool with_body);
static void append_header(StringInfo lines, const char *name, const char *value);
static HttpFailure failure_of(Transfer *transfer, CURLcode code);
static void set_error(Transfer *transfer, CURLcode code);
static void set_header_facts(Transfer *transfer);
static const char *header_value(Transfer *transfer, const char *name);
static void copy_printable(char *target, size_t size, const char *source);

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static size_t on_body(char *data, size_t size, size_t count, void *arg);
static size_t on_header(char *data, size_t size, size_t count, void *arg);
static int	before_request(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port);

Transfer *
jdy_transfer_create(HttpPeer *peer)
{
	Transfer   *transfer = MemoryContextAllocZero(peer->context, sizeof(Transfer));
	MemoryContext caller;

	transfer->peer = peer;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	caller = MemoryContextSwitchTo(peer->context);
	initStringInfo(&transfer->lines);
	MemoryContextSwitchTo(caller);
	set_constant_options(transfer);
	return transfer;
}

void
jdy_transfer_prepare(Transfer *transfer, const HttpRequest *request)
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

/* Makes a reply of what curl and the callbacks noted. */
void
jdy_transfer_finish(Transfer *transfer, CURLcode code)
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

void
jdy_transfer_release(Transfer *transfer)
{
	if (transfer->body_size > MAX_KEPT_BODY)
	{
		free(transfer->body);
		transfer->body = NULL;
		transfer->body_size = 0;
	}
}

void
jdy_transfer_destroy(Transfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	free(transfer->body);
}

/* What is the same for every request of the pool. */
static void
set_constant_options(Transfer *transfer)
{
	CURL	   *easy = transfer->easy;
	HttpPeer   *peer = transfer->peer;

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
	SET_EASY(easy, CURLOPT_CLOSESOCKETFUNCTION, jdy_socket_close);
	SET_EASY(easy, CURLOPT_CLOSESOCKETDATA, peer->sockets);

	/* How. */
	SET_EASY(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET_EASY(easy, CURLOPT_ACCEPT_ENCODING, "");
	SET_EASY(easy, CURLOPT_CONNECTTIMEOUT_MS, peer->connect_timeout_ms);
	SET_EASY(easy, CURLOPT_TIMEOUT_MS, peer->timeout_ms);
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
			MemoryContextAlloc(transfer->peer->context, n * sizeof(struct curl_slist)) :
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
	HttpPeer   *peer = transfer->peer;
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
	if (value != NULL && strcmp(value, peer->last_date) == 0)
		date = peer->last_time;
	else if (value != NULL)
	{
		date = curl_getdate(value, NULL);
		if (strlen(value) < MAX_DATE)
		{
			strcpy(peer->last_date, value);
			peer->last_time = date;
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

/* Callbacks: nothing below may raise an error or call into PostgreSQL's memory. */

/* The address that the name resolved to is judged here; libcurl then tries the next one. */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Transfer   *transfer = arg;
	HttpPeer   *peer = transfer->peer;
	AddressClass class = jdy_address_class(&address->addr);

	if (class == ADDRESS_NEVER ||
		(class == ADDRESS_PRIVATE && !peer->private_allowed && !peer->host_literal))
	{
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	return jdy_socket_open(peer->sockets, address);
}

/* Collects the decoded body, up to the cap: less than was given tells libcurl to stop. */
static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		room = transfer->peer->max_response - transfer->body_length;
	size_t		take = Min(size * count, room);
	size_t		needed = transfer->body_length + take + 1;

	if (needed > transfer->body_size)
	{
		size_t		larger = Max(FIRST_BODY_BYTES, transfer->body_size);
		char	   *body;

		while (larger < needed)
			larger *= 2;
		larger = Min(larger, transfer->peer->max_response + 1);
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
