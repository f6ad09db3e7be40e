/*-------------------------------------------------------------------------
 * loop.c
 *		The yardstick of the benches: signed requests by libcurl, nothing else.
 *
 *		loop URL CONCURRENCY PATH CLIENT_ID CLIENT_SECRET APP_KEY APP_SECRET DOMAIN < queries
 *
 * Reads one query ("id=123") a line, asks for a token, then sends a signed GET
 * of PATH?query for each line, CONCURRENCY of them at a time over as many kept
 * connections, and throws the replies away.  Whatever has to fetch the same
 * records cannot be much faster than this.
 *
 *		loop POST URL CONCURRENCY PATH TOKEN < bodies
 *
 * Reads a key, a tab and a body a line, and posts each body to PATH under its
 * Idempotency-Key, with TOKEN as bearer: the yardstick of a push.
 *
 * Prints: replies, seconds, CPU seconds, bytes, replies other than 200.
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_CONCURRENCY 256
#define MAX_QUERY 1024

typedef struct Transfer
{
	CURL	   *easy;
	struct curl_slist *headers;
	char	   *body;
	size_t		length;
	size_t		size;
	char	   *line;			/* POST: key and body */
	size_t		line_size;
} Transfer;

typedef struct Service
{
	const char *url;
	const char *client_id;
	const char *client_secret;
	const char *app_key;
	const char *app_secret;
	const char *domain;
	char		token[512];
} Service;

static void
fail(const char *what)
{
	fprintf(stderr, "loop: %s\n", what);
	exit(1);
}

static double
now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* base64(hex(HMAC-SHA256(key, text))) */
static void
sign(const char *key, const char *text, char *signature)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	char		hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned int length;
	unsigned int i;

	HMAC(EVP_sha256(), key, (int) strlen(key), (const unsigned char *) text, strlen(text), mac, &length);
	for (i = 0; i < length; i++)
		sprintf(hex + 2 * i, "%02x", mac[i]);
	EVP_EncodeBlock((unsigned char *) signature, (unsigned char *) hex, (int) (2 * length));
}

/* With everything but RFC 3986's unreserved set as %XX. */
static void
encode(const char *from, char *to)
{
	for (; *from; from++)
	{
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *from))
			*to++ = *from;
		else
			to += sprintf(to, "%%%02X", (unsigned char) *from);
	}
	*to = '\0';
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		needed = transfer->length + size * count + 1;

	if (needed > transfer->size)
	{
		transfer->size = needed * 2 > 32768 ? needed * 2 : 32768;
		transfer->body = realloc(transfer->body, transfer->size);
		if (transfer->body == NULL)
			fail("out of memory");
	}
	memcpy(transfer->body + transfer->length, data, size * count);
	transfer->length += size * count;
	transfer->body[transfer->length] = '\0';
	return size * count;
}

static void
add_header(Transfer *transfer, const char *name, const char *value)
{
	char		line[1024];

	snprintf(line, sizeof(line), "%s: %s", name, value);
	transfer->headers = curl_slist_append(transfer->headers, line);
}

/* signed_query: the query with names and values encoded once more. */
static void
prepare(Transfer *transfer, const Service *service, const char *path, const char *query, const char *signed_query)
{
	char		url[4096];
	char		encoded[1024];
	char		text[8192];
	char		signature[256];
	char		nonce[16];
	char		stamp[32];
	unsigned char bytes[10];
	int			i;

	RAND_bytes(bytes, sizeof(bytes));
	nonce[0] = (char) ('1' + bytes[0] % 9);
	for (i = 1; i < 10; i++)
		nonce[i] = (char) ('0' + bytes[i] % 10);
	nonce[10] = '\0';
	snprintf(stamp, sizeof(stamp), "%lld", (long long) (now(CLOCK_REALTIME) * 1000));
	encode(path, encoded);
	snprintf(text, sizeof(text), "GET\n%s\n%s\nx-api-nonce:%s\nx-api-timestamp:%s\n",
			 encoded, signed_query, nonce, stamp);
	sign(service->client_secret, text, signature);

	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
	add_header(transfer, "Content-Type", "application/json");
	add_header(transfer, "X-Api-ClientID", service->client_id);
	add_header(transfer, "X-Api-Auth-Version", "2.0");
	add_header(transfer, "X-Api-TimeStamp", stamp);
	add_header(transfer, "X-Api-SignHeaders", "X-Api-TimeStamp,X-Api-Nonce");
	add_header(transfer, "X-Api-Nonce", nonce);
	add_header(transfer, "X-Api-Signature", signature);
	if (service->token[0] != '\0')
	{
		add_header(transfer, "app-token", service->token);
		add_header(transfer, "X-GW-Router-Addr", service->domain);
	}
	transfer->length = 0;
	snprintf(url, sizeof(url), "%s%s?%s", service->url, path, query);
	curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

static void
open_transfer(Transfer *transfer)
{
	transfer->easy = curl_easy_init();
	curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(transfer->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(transfer->easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, transfer);
}

static void
get_token(Service *service)
{
	Transfer	transfer = {0};
	char		signature[256];
	char		once[1024];
	char		twice[1024];
	char		query[2048];
	char		signed_query[2048];
	const char *found;

	sign(service->app_secret, service->app_key, signature);
	encode(signature, once);
	encode(once, twice);
	snprintf(query, sizeof(query), "app_key=%s&app_signature=%s", service->app_key, once);
	snprintf(signed_query, sizeof(signed_query), "app_key=%s&app_signature=%s", service->app_key, twice);
	open_transfer(&transfer);
	prepare(&transfer, service, "/jdyconnector/app_management/kingdee_auth_token", query, signed_query);
	if (curl_easy_perform(transfer.easy) != CURLE_OK || transfer.body == NULL ||
		(found = strstr(transfer.body, "\"app-token\":\"")) == NULL)
		fail("no token");
	found += strlen("\"app-token\":\"");
	snprintf(service->token, sizeof(service->token), "%.*s", (int) strcspn(found, "\""), found);
	curl_easy_cleanup(transfer.easy);
	curl_slist_free_all(transfer.headers);
	free(transfer.body);
}

/* The next line of the input, without its end; NULL at the end. */
static char *
next_query(void)
{
	static char line[MAX_QUERY];

	if (fgets(line, sizeof(line), stdin) == NULL)
		return NULL;
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

/* Gives the transfer its next request; false when there is none. */
static int
prepare_next(Transfer *transfer, const Service *service, const char *path, int posts)
{
	char		header[1024];
	char		url[4096];
	char	   *query;
	char	   *body;
	ssize_t		length;

	if (!posts)
	{
		if ((query = next_query()) == NULL)
			return 0;
		prepare(transfer, service, path, query, query);
		return 1;
	}
	length = getline(&transfer->line, &transfer->line_size, stdin);
	if (length <= 0)
		return 0;
	if (transfer->line[length - 1] == '\n')
		transfer->line[--length] = '\0';
	if ((body = strchr(transfer->line, '\t')) == NULL)
		fail("a line without a tab");
	*body++ = '\0';
	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
	snprintf(header, sizeof(header), "Bearer %s", service->token);
	add_header(transfer, "Authorization", header);
	add_header(transfer, "Content-Type", "application/json");
	add_header(transfer, "Idempotency-Key", transfer->line);
	snprintf(url, sizeof(url), "%s%s", service->url, path);
	transfer->length = 0;
	curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE, (long) (length - (body - transfer->line)));
	return 1;
}

int
main(int argc, char **argv)
{
	static Transfer transfers[MAX_CONCURRENCY];
	Service		service = {0};
	int			posts = argc > 1 && strcmp(argv[1], "POST") == 0;
	CURLM	   *multi;
	CURLMsg    *message;
	const char *path;
	long long	replies = 0;
	long long	bytes = 0;
	long long	bad = 0;
	int			concurrency;
	int			running = 0;
	int			left;
	int			i;
	double		start;
	double		cpu;

	argv += posts;
	if (argc != (posts ? 6 : 9) || (concurrency = atoi(argv[2])) < 1 || concurrency > MAX_CONCURRENCY)
		fail("usage: loop URL CONCURRENCY PATH CLIENT_ID CLIENT_SECRET APP_KEY APP_SECRET DOMAIN < queries\n"
			 "       loop POST URL CONCURRENCY PATH TOKEN < bodies");
	service.url = argv[1];
	path = argv[3];
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (posts)
		snprintf(service.token, sizeof(service.token), "%s", argv[4]);
	else
	{
		service.client_id = argv[4];
		service.client_secret = argv[5];
		service.app_key = argv[6];
		service.app_secret = argv[7];
		service.domain = argv[8];
		get_token(&service);
	}
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) concurrency);

	start = now(CLOCK_MONOTONIC);
	cpu = cpu_seconds();
	for (i = 0; i < concurrency; i++)
	{
		open_transfer(&transfers[i]);
		if (!prepare_next(&transfers[i], &service, path, posts))
			break;
		curl_multi_add_handle(multi, transfers[i].easy);
		running++;
	}
	while (running > 0)
	{
		int			active;

		if (curl_multi_perform(multi, &active) != CURLM_OK)
			fail("curl_multi_perform");
		while ((message = curl_multi_info_read(multi, &left)) != NULL)
		{
			CURL	   *easy = message->easy_handle;
			CURLcode	code = message->data.result;
			Transfer   *transfer;
			long		status = 0;

			curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
			curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
			replies++;
			bytes += (long long) transfer->length;
			if (code != CURLE_OK || status != 200)
				bad++;
			curl_multi_remove_handle(multi, easy);
			if (prepare_next(transfer, &service, path, posts))
			{
				curl_multi_add_handle(multi, easy);
				active = concurrency;
			}
			else
				running--;
		}
		if (running > 0 && active < running)
			continue;
		if (running > 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
			fail("curl_multi_poll");
	}
	printf("%lld %.6f %.6f %lld %lld\n", replies, now(CLOCK_MONOTONIC) - start, cpu_seconds() - cpu, bytes, bad);
	return 0;
}
