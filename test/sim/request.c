/*-------------------------------------------------------------------------
 * request.c
 *		One request and its reply.
 *
 * The query is kept as it came on the wire, because the signature is made
 * over exactly those bytes, and decoded once for everyone else.
 *-------------------------------------------------------------------------
 */
#include "request.h"

#include "config.h"
#include "faults.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A copy of n bytes with %xx resolved; in a query + is a blank as well. */
static char *
decoded(const char *raw, size_t n, bool in_query)
{
	char	   *out = sim_alloc(n + 1);
	size_t		len = 0;
	size_t		i;

	for (i = 0; i < n; i++)
	{
		if (raw[i] == '%' && i + 2 < n && hex_value(raw[i + 1]) >= 0 &&
			hex_value(raw[i + 2]) >= 0)
		{
			out[len++] = (char) (hex_value(raw[i + 1]) * 16 + hex_value(raw[i + 2]));
			i += 2;
		}
		else
			out[len++] = in_query && raw[i] == '+' ? ' ' : raw[i];
	}
	return out;
}

static char *
piece(const char *text, size_t n)
{
	char	   *out = sim_alloc(n + 1);

	memcpy(out, text, n);
	return out;
}

static void
parse_query(Request *req)
{
	const char *p = req->query;

	while (*p != '\0' && req->n_params < MAX_PARAMS)
	{
		size_t		n = strcspn(p, "&");
		size_t		name = 0;
		Param	   *param = &req->params[req->n_params];

		while (name < n && p[name] != '=')
			name++;
		if (name > 0)			/* pairs with an empty name are dropped */
		{
			const char *value = name < n ? p + name + 1 : p + n;
			size_t		value_len = (size_t) (p + n - value);

			param->raw_name = piece(p, name);
			param->raw_value = piece(value, value_len);
			param->name = decoded(p, name, true);
			param->value = decoded(value, value_len, true);
			req->n_params++;
		}
		p += n;
		if (*p == '&')
			p++;
	}
}

Request *
request_new(const char *url)
{
	Request    *req = sim_alloc(sizeof(Request));
	const char *mark = strchr(url, '?');
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	req->arrived_ms = (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
	req->arrived_us = steady_us();
	req->url = sim_strdup(url);
	req->path = piece(url, mark ? (size_t) (mark - url) : strlen(url));
	req->plain_path = decoded(req->path, strlen(req->path), false);
	req->query = mark ? req->url + (mark - url) + 1 : "";
	req->control = strncmp(req->path, "/_sim/", 6) == 0;
	req->rows_served = -1;
	parse_query(req);
	return req;
}

void
request_free(Request *req)
{
	int			i;

	for (i = 0; i < req->n_params; i++)
	{
		free(req->params[i].raw_name);
		free(req->params[i].raw_value);
		free(req->params[i].name);
		free(req->params[i].value);
	}
	for (i = 0; i < req->reply.n_headers; i++)
	{
		free(req->reply.header_names[i]);
		free(req->reply.header_values[i]);
	}
	fault_free(req->fault);
	buf_free(&req->reply.body);
	buf_free(&req->body);
	free(req->path);
	free(req->plain_path);
	free(req->url);
	free(req);
}

const char *
request_header(const Request *req, const char *name)
{
	return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

const char *
request_bearer(const Request *req)
{
	const char *given = request_header(req, "Authorization");

	return given != NULL && strncasecmp(given, "Bearer ", 7) == 0 ? given + 7 : NULL;
}

bool
request_is_json(const Request *req)
{
	const char *type = request_header(req, "Content-Type");

	return type != NULL && strncasecmp(type, "application/json", 16) == 0;
}

const char *
request_param(const Request *req, const char *name)
{
	int			i;

	for (i = 0; i < req->n_params; i++)
		if (strcmp(req->params[i].name, name) == 0)
			return req->params[i].value;
	return NULL;
}

void
encode_once(Buf *out, const char *text)
{
	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c < 0x80 && (isalnum(c) || strchr("-_.~", c) != NULL))
			buf_char(out, (char) c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

void
reply_header(Reply *reply, const char *name, const char *value)
{
	if (reply->n_headers == MAX_REPLY_HEADERS)
		return;
	reply->header_names[reply->n_headers] = sim_strdup(name);
	reply->header_values[reply->n_headers] = sim_strdup(value);
	reply->n_headers++;
}

void
reply_json(Reply *reply, int status, const char *text)
{
	reply->status = status;
	reply->content_type = "application/json;charset=UTF-8";
	reply->body.len = 0;
	buf_text(&reply->body, text);
}

void
reply_error(Reply *reply, int status, int64_t errcode,
			const char *description, bool with_data)
{
	reply_json(reply, status, "{\"errcode\":");
	buf_int(&reply->body, errcode);
	buf_text(&reply->body, ",\"description\":");
	buf_json(&reply->body, description, strlen(description));
	if (config.description_cn)
	{
		buf_text(&reply->body, ",\"description_cn\":");
		buf_json(&reply->body, description, strlen(description));
	}
	buf_text(&reply->body, with_data ? ",\"data\":null}" : "}");
}
