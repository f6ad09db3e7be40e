/*-------------------------------------------------------------------------
 * script.c
 *		What happens between two requests, as a test wrote it down beforehand.
 *
 * A change that a test makes while a program works comes at some moment; one that
 * stands in the script comes before exactly the request it names, so a course
 * of events can be told again.  An event is a control request (control.c carries it
 * out), or a halt: the request it names waits until the test says so.
 *
 * Every request counts that is not one of the control API, also one that the gateway refuses.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "script.h"

#include "control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *events;			/* array, in order; NULL = none */
static size_t next_event;
static int64_t requests;		/* since the script was given */
static bool halted;
static char trouble[256];		/* the first control request that went wrong */

bool
script_set(json_t *spec, char *error, size_t error_size)
{
	json_t	   *given = json_object_get(spec, "events");
	json_t	   *event;
	size_t		i;
	int64_t		last = 0;

	if (!json_is_array(given))
	{
		snprintf(error, error_size, "events is no array");
		return false;
	}
	json_array_foreach(given, i, event)
	{
		int64_t		at = (int64_t) json_integer_value(json_object_get(event, "at"));

		if (at < last || at < 1 ||
			(json_object_get(event, "halt") == NULL && !json_is_string(json_object_get(event, "post"))))
		{
			snprintf(error, error_size, "event %zu has no \"at\" that is right, or neither \"post\" nor \"halt\"", i);
			return false;
		}
		last = at;
	}
	script_reset();
	events = json_incref(given);
	return true;
}

void
script_reset(void)
{
	json_decref(events);
	events = NULL;
	next_event = 0;
	requests = 0;
	halted = false;
	trouble[0] = '\0';
}

void
script_show(Buf *out)
{
	buf_printf(out, "{\"requests\":%lld,\"done\":%zu,\"left\":%zu,\"halted\":%s,\"trouble\":",
			   (long long) requests, next_event, json_array_size(events) - next_event, halted ? "true" : "false");
	buf_json(out, trouble, strlen(trouble));
	buf_text(out, "}\n");
}

static void
carry_out(json_t *event)
{
	json_t	   *body = json_object_get(event, "body");
	char	   *text = body ? json_dumps(body, 0) : sim_strdup("{}");
	Request    *req = request_new(json_string_value(json_object_get(event, "post")));

	strcpy(req->method, "POST");
	buf_text(&req->body, text);
	control_answer(req);
	if (req->reply.status != 200 && trouble[0] == '\0')
		snprintf(trouble, sizeof(trouble), "%.80s: %.*s", req->url, (int) (req->reply.body.len < 150 ? req->reply.body.len : 150),
				 req->reply.body.data);
	request_free(req);
	free(text);
}

bool
script_arrived(Request *req)
{
	json_t	   *event;

	if (req->control || events == NULL)
		return false;
	requests++;
	while ((event = json_array_get(events, next_event)) != NULL &&
		   json_integer_value(json_object_get(event, "at")) <= requests && !halted)
	{
		next_event++;
		if (json_object_get(event, "halt") != NULL)
			return halted = true;
		carry_out(event);
		if (events == NULL)		/* a reset was among them */
			break;
	}
	return false;
}

void
script_let_go(void)
{
	halted = false;
}
