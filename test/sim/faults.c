/*-------------------------------------------------------------------------
 * faults.c
 *		Replies that go wrong on demand.
 *
 * A fault waits in a list until a request matches; it then replaces the
 * reply, spoils its bytes, bends its page or bends one row.  Faults fire only
 * on requests that the gateway let pass, so a test of a broken reply is not
 * used up by a refused call.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "faults.h"

#include "crypt.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct KindRow
{
	const char *name;
	const char *n_name;			/* what the number "n" is called, or NULL */
	int64_t		n_default;
} KindRow;

static const KindRow kinds[N_FAULT_KINDS] = {
	[FAULT_STATUS] = {"status", "status", 500},
	[FAULT_ERRCODE] = {"errcode", "errcode", 1000002001},
	[FAULT_RESET] = {"reset", NULL, 0},
	[FAULT_RESET_AFTER] = {"reset_after", NULL, 0},
	[FAULT_CUT] = {"cut", "bytes", 100},
	[FAULT_DRIP] = {"drip", "interval_ms", 100},
	[FAULT_STALL] = {"stall", NULL, 0},
	[FAULT_HTML] = {"html", NULL, 0},
	[FAULT_EMPTY] = {"empty", NULL, 0},
	[FAULT_JSON] = {"json", NULL, 0},
	[FAULT_NUL] = {"nul", NULL, 0},
	[FAULT_SURROGATE] = {"surrogate", NULL, 0},
	[FAULT_BAD_UTF8] = {"bad_utf8", NULL, 0},
	[FAULT_DEEP] = {"deep", "depth", 20000},
	[FAULT_HUGE] = {"huge", "bytes", 50000000},
	[FAULT_REDIRECT] = {"redirect", NULL, 0},
	[FAULT_WRONG_PAGE] = {"wrong_page", "echo", 0},
	[FAULT_NO_ROWS] = {"no_rows", NULL, 0},
	[FAULT_NO_COUNT] = {"no_count", NULL, 0},
	[FAULT_COUNT_LIE] = {"count_lie", "add", 1},
	[FAULT_ID_MISSING] = {"id_missing", NULL, 0},
	[FAULT_ID_NULL] = {"id_null", NULL, 0},
	[FAULT_ID_NUMBER] = {"id_number", NULL, 0},
	[FAULT_DUP_KEYS] = {"dup_keys", NULL, 0},
	[FAULT_DUP_ROW] = {"dup_row", NULL, 0},
	[FAULT_CONFLICT_ROW] = {"conflict_row", NULL, 0},
	[FAULT_GZIP_BOMB] = {"gzip_bomb", "bytes", 100000000},
};

static Fault *first_fault;

/* An integer member, or the default. */
static int64_t
number_in(json_t *spec, const char *name, int64_t standard)
{
	json_t	   *value = name ? json_object_get(spec, name) : NULL;

	return json_is_integer(value) ? (int64_t) json_integer_value(value) : standard;
}

static const char *
text_in(json_t *spec, const char *name)
{
	return json_string_value(json_object_get(spec, name));
}

bool
fault_add(json_t *spec, char *error, size_t error_size)
{
	const char *name = text_in(spec, "kind");
	Fault	  **end = &first_fault;
	Fault	   *f;
	int			kind = 0;

	while (kind < N_FAULT_KINDS && (name == NULL || strcmp(kinds[kind].name, name) != 0))
		kind++;
	if (kind == N_FAULT_KINDS)
	{
		snprintf(error, error_size, "no fault is called \"%s\"", name ? name : "");
		return false;
	}
	f = sim_alloc(sizeof(Fault));
	f->refs = 1;
	f->kind = (FaultKind) kind;
	f->spec = json_incref(spec);
	f->path = text_in(spec, "path");
	f->method = text_in(spec, "method");
	f->id = text_in(spec, "id");
	f->page = number_in(spec, "page", -1);
	f->after = number_in(spec, "after", 0);
	f->times = number_in(spec, "times", 1);
	f->row = number_in(spec, "row", 0);
	f->n = number_in(spec, "n", kinds[kind].n_default);
	f->n = number_in(spec, kinds[kind].n_name, f->n);
	while (*end != NULL)
		end = &(*end)->next;
	*end = f;
	return true;
}

void
fault_free(Fault *f)
{
	if (f == NULL || --f->refs > 0)
		return;
	json_decref(f->spec);
	free(f);
}

void
fault_clear(void)
{
	while (first_fault != NULL)
	{
		Fault	   *f = first_fault;

		first_fault = f->next;
		fault_free(f);
	}
}

void
fault_show(Buf *out)
{
	const Fault *f;

	buf_char(out, '[');
	for (f = first_fault; f != NULL; f = f->next)
	{
		buf_printf(out, "%s{\"kind\":\"%s\",\"after\":%lld,\"times\":%lld}",
				   f == first_fault ? "" : ",", kinds[f->kind].name,
				   (long long) f->after, (long long) f->times);
	}
	buf_text(out, "]\n");
}

static bool
matches(const Fault *f, const Request *req)
{
	const char *id = request_param(req, "id");
	const char *page = request_param(req, "page");

	if (f->times == 0)
		return false;
	if (f->path != NULL && strstr(req->path, f->path) == NULL &&
		strstr(req->plain_path, f->path) == NULL)
		return false;
	if (f->method != NULL && strcmp(req->method, f->method) != 0)
		return false;
	if (f->id != NULL && (id == NULL || strcmp(id, f->id) != 0))
		return false;
	if (f->page != -1 && (page ? atoll(page) : 1) != f->page)
		return false;
	return true;
}

/* A fault that is used up leaves the list; the request keeps it alive. */
void
fault_take(Request *req)
{
	Fault	  **link = &first_fault;

	for (; *link != NULL; link = &(*link)->next)
	{
		Fault	   *f = *link;

		if (!matches(f, req))
			continue;
		if (f->after > 0)
		{
			f->after--;
			continue;
		}
		req->fault = f;
		f->refs++;
		tally.faults_fired++;
		if (f->times > 0 && --f->times == 0)
		{
			*link = f->next;
			fault_free(f);
		}
		return;
	}
}

bool
fault_is(const Request *req, FaultKind kind)
{
	return req->fault != NULL && req->fault->kind == kind;
}

/* HTTP status, optional errcode body, own body and headers. */
static void
status_reply(Request *req, const Fault *f)
{
	Reply	   *reply = &req->reply;
	int64_t		errcode = number_in(f->spec, "errcode", f->n);
	int64_t		retry_after = number_in(f->spec, "retry_after", -1);
	const char *text = text_in(f->spec, "description");
	const char *body = text_in(f->spec, "body");
	json_t	   *headers = json_object_get(f->spec, "headers");
	const char *name;
	json_t	   *value;
	char		seconds[24];

	reply_error(reply, (int) f->n, errcode, text ? text : "simulated failure", false);
	if (body != NULL)
		reply_json(reply, (int) f->n, body);
	if (retry_after >= 0)
	{
		snprintf(seconds, sizeof(seconds), "%lld", (long long) retry_after);
		reply_header(reply, "Retry-After", seconds);
	}
	json_object_foreach(headers, name, value)
		if (json_is_string(value))
		reply_header(reply, name, json_string_value(value));
}

bool
fault_before(Request *req)
{
	const Fault *f = req->fault;
	Reply	   *reply = &req->reply;
	const char *text;

	if (f == NULL)
		return false;
	switch (f->kind)
	{
		case FAULT_STATUS:
			status_reply(req, f);
			return true;
		case FAULT_ERRCODE:
			text = text_in(f->spec, "description");
			reply_error(reply, 200, f->n, text ? text : "simulated failure", true);
			return true;
		case FAULT_RESET:
			reply->ending = END_RESET;
			return true;
		case FAULT_STALL:
			reply->ending = END_STALL;
			return true;
		case FAULT_HTML:
			reply_json(reply, 200, "<!DOCTYPE html><html><head><title>系统维护</title>"
					   "</head><body>系统维护中，请稍后再试</body></html>");
			reply->content_type = "text/html;charset=UTF-8";
			return true;
		case FAULT_EMPTY:
			reply_json(reply, 200, "");
			return true;
		case FAULT_REDIRECT:
			text = text_in(f->spec, "location");
			reply_json(reply, 302, "");
			reply_header(reply, "Location", text ? text : "http://127.0.0.1:9/");
			return true;
		case FAULT_GZIP_BOMB:
			reply_json(reply, 200, "");
			crypt_gzip_bomb(&reply->body, "{\"errcode\":0,\"description\":\"", 'A',
							(size_t) f->n, "\"}");
			reply->gzipped = true;
			return true;
		default:
			return false;
	}
}

void
fault_after(Request *req)
{
	const Fault *f = req->fault;
	Reply	   *reply = &req->reply;

	if (f == NULL)
		return;
	if (f->kind == FAULT_RESET_AFTER)
		reply->ending = END_RESET;
	else if (f->kind == FAULT_CUT)
		reply->ending = END_CUT;
	else if (f->kind == FAULT_DRIP)
		reply->ending = END_DRIP;
	else if (f->kind == FAULT_JSON && reply->body.len > 2)
		reply->body.len -= 2;
	reply->end_at = f->n;
	if (f->kind == FAULT_CUT && f->n >= (int64_t) reply->body.len)
		reply->end_at = (int64_t) reply->body.len / 2;	/* or it would be whole */
}

static void
deep_member(Buf *tail, int64_t depth)
{
	buf_text(tail, ",\"extra\":");
	buf_fill(tail, '[', (size_t) depth);
	buf_fill(tail, ']', (size_t) depth);
}

bool
fault_twist(const Request *req, int64_t row, Twist *twist)
{
	const Fault *f = req->fault;

	memset(twist, 0, sizeof(*twist));
	if (f == NULL || f->row != row)
		return false;
	switch (f->kind)
	{
		case FAULT_NUL:
			twist->name_raw = "\\u0000尾";
			return true;
		case FAULT_SURROGATE:
			twist->name_raw = "\\ud83d";
			return true;
		case FAULT_BAD_UTF8:
			twist->name_raw = "\xc3\x28";
			return true;
		case FAULT_DEEP:
			deep_member(&twist->tail, f->n);
			return true;
		case FAULT_HUGE:
			buf_text(&twist->tail, ",\"filler\":\"");
			buf_fill(&twist->tail, 'x', (size_t) f->n);
			buf_char(&twist->tail, '"');
			return true;
		case FAULT_ID_MISSING:
			twist->id_form = ID_MISSING;
			return true;
		case FAULT_ID_NULL:
			twist->id_form = ID_NULL;
			return true;
		case FAULT_ID_NUMBER:
			twist->id_form = ID_NUMBER;
			return true;
		case FAULT_DUP_KEYS:
			buf_text(&twist->tail, ",\"name\":\"重复键\"");
			return true;
		default:
			return false;
	}
}
