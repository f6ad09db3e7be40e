/*-------------------------------------------------------------------------
 * control.c
 *		The control API: what a test tells the simulator and asks of it.
 *
 * Everything under /_sim/, without authentication: the simulator listens on
 * the loopback only.  Answers are JSON; a request that is wrong gets HTTP 400
 * and a sentence.  Control requests are neither counted nor delayed, and no
 * fault touches them.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "control.h"

#include "accepted.h"
#include "config.h"
#include "data.h"
#include "faults.h"
#include "gateway.h"
#include "otherlist.h"
#include "robot.h"
#include "script.h"
#include "server.h"
#include "service.h"
#include "shape.h"
#include "stats.h"
#include "target.h"
#include "target_qeasy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_SIZE 256
#define READ_PIECE 65536

typedef void (*Handler) (Request *req, json_t *body);

typedef struct Command
{
	const char *method;
	const char *path;
	Handler		handler;
} Command;

typedef struct TruthReader
{
	Entity		entity;
	Form		form;
	bool		deleted_too;
	const OtherList *list;		/* rows as that list shows them, or NULL */
	size_t		next;			/* recno */
	Buf			ready;
	size_t		given;			/* of ready */
} TruthReader;

static void
bad_request(Request *req, const char *text)
{
	reply_json(&req->reply, 400, "{\"error\":");
	buf_json(&req->reply.body, text, strlen(text));
	buf_text(&req->reply.body, "}\n");
}

static void
fine(Request *req)
{
	reply_json(&req->reply, 200, "{\"ok\":true}\n");
}

static void
show_config(Request *req, json_t *body)
{
	(void) body;
	reply_json(&req->reply, 200, "");
	config_show(&req->reply.body);
}

static void
set_config(Request *req, json_t *body)
{
	char		error[ERROR_SIZE];
	bool		ok = config_set_object(body, error, sizeof(error));

	data_apply_lags();
	if (ok)
		show_config(req, body);
	else
		bad_request(req, error);
}

static int64_t
integer_in(json_t *body, const char *name, int64_t standard)
{
	json_t	   *value = json_object_get(body, name);

	return json_is_integer(value) ? (int64_t) json_integer_value(value) : standard;
}

/* Of another size, or made of another seed, when the body says so. */
static void
reset(Request *req, json_t *body)
{
	static const char *const names[N_ENTITIES] = {"customers", "suppliers", "materials", "orders"};
	int			entity;

	config_reset();
	fault_clear();
	gateway_reset();
	service_reset();
	target_reset();
	robot_reset();
	qeasy_reset();
	stats_reset();
	script_reset();
	data_seed = (uint64_t) integer_in(body, "seed", (int64_t) data_seed);
	for (entity = 0; entity < N_ENTITIES; entity++)
		data_resize((Entity) entity, integer_in(body, names[entity], -1));
	data_reset();
	fine(req);
}

static void
add_fault(Request *req, json_t *body)
{
	char		error[ERROR_SIZE];

	if (fault_add(body, error, sizeof(error)))
		fine(req);
	else
		bad_request(req, error);
}

static void
show_faults(Request *req, json_t *body)
{
	(void) body;
	reply_json(&req->reply, 200, "");
	fault_show(&req->reply.body);
}

static void
clear_faults(Request *req, json_t *body)
{
	(void) body;
	fault_clear();
	fine(req);
}

static void
set_churn(Request *req, json_t *body)
{
	char		error[ERROR_SIZE];

	if (service_churn(body, error, sizeof(error)))
		fine(req);
	else
		bad_request(req, error);
}

/* What a change request asks for, apart from the records. */
typedef struct Wish
{
	Entity		entity;
	bool		insert;
	Change		change;
	int64_t		at_ms;
	int64_t		spread_ms;
	bool		keep_stamp;
	size_t		n;
	json_t	   *fields;
} Wish;

static bool
read_op(const char *op, Wish *wish)
{
	static const char *const names[] = {
		[CHANGE_UPDATE] = "update",[CHANGE_CONTACT] = "contact",
		[CHANGE_TOUCH] = "touch",[CHANGE_DELETE] = "delete",
		[CHANGE_HIDE] = "hide",[CHANGE_RESTORE] = "restore",[CHANGE_SET] = "set"
	};
	size_t		i;

	wish->insert = op != NULL && strcmp(op, "insert") == 0;
	for (i = 0; op != NULL && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(op, names[i]) == 0)
		{
			wish->change = (Change) i;
			return true;
		}
	return wish->insert;
}

static bool
read_wish(json_t *body, json_t *ids, Wish *wish)
{
	const char *entity = json_string_value(json_object_get(body, "entity"));
	int			found = data_entity(entity ? entity : "customer");

	if (found < 0 || !read_op(json_string_value(json_object_get(body, "op")), wish))
		return false;
	wish->entity = (Entity) found;
	wish->at_ms = integer_in(body, "at_ms", sim_now_ms());
	wish->spread_ms = integer_in(body, "stamp_spread_ms", 0);
	if (json_is_true(json_object_get(body, "same_stamp")))
		wish->spread_ms = 0;
	wish->keep_stamp = json_is_true(json_object_get(body, "keep_stamp"));
	wish->fields = json_object_get(body, "fields");
	wish->n = (size_t) integer_in(body, "count", 1);
	if (json_array_size(ids) > 0)
		wish->n = json_array_size(ids);
	return wish->insert || wish->change != CHANGE_SET || json_is_object(wish->fields);
}

static int64_t
id_of(json_t *value)
{
	if (json_is_integer(value))
		return (int64_t) json_integer_value(value);
	return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10) : 0;
}

/* One change of a given record, or of any; NULL when there is none. */
static Version *
change_one(const Wish *wish, json_t *id, int64_t stamp)
{
	Version    *v;

	if (wish->insert)
	{
		v = data_insert(wish->entity, stamp);
		return json_is_object(wish->fields) ?
			data_change(v, CHANGE_SET, v->modify_ms, wish->fields) : v;
	}
	if (id != NULL)
		v = data_last(wish->entity, id_of(id));
	else if (wish->change == CHANGE_RESTORE)
		v = data_any_absent(wish->entity, data_random());
	else
		v = data_any(wish->entity, data_random());
	if (v == NULL || (v->deleted || v->hidden) != (wish->change == CHANGE_RESTORE))
		return NULL;
	return data_change(v, wish->change,
					   wish->keep_stamp ? v->modify_ms : stamp, wish->fields);
}

static void
change(Request *req, json_t *body)
{
	json_t	   *one = json_object_get(body, "id");
	json_t	   *ids = one ? json_pack("[O]", one) :
		json_incref(json_object_get(body, "ids"));
	Wish		wish = {0};
	const char *comma = "";
	size_t		i;

	if (!read_wish(body, ids, &wish))
	{
		json_decref(ids);
		bad_request(req, "entity, op (insert, update, contact, touch, delete, "
					"hide, restore, set) or fields are wrong");
		return;
	}
	reply_json(&req->reply, 200, "{\"ids\":[");
	for (i = 0; i < wish.n; i++)
	{
		int64_t		stamp = wish.at_ms + (wish.n > 1 ?
										  wish.spread_ms * (int64_t) i / (int64_t) (wish.n - 1) : 0);
		Version    *v = change_one(&wish, json_array_get(ids, i), stamp);

		if (v == NULL)
			continue;
		buf_printf(&req->reply.body, "%s\"%" PRId64 "\"", comma, data_id(v));
		comma = ",";
	}
	buf_text(&req->reply.body, "]}\n");
	json_decref(ids);
}

static void
truth(Request *req, json_t *body)
{
	const char *name = request_param(req, "entity");
	const char *form = request_param(req, "form");
	const char *deleted = request_param(req, "deleted");
	const char *path = request_param(req, "list");
	int			entity = data_entity(name ? name : "customer");
	const OtherList *list = NULL;
	bool		is_detail;
	TruthReader *reader;

	(void) body;
	if (path != NULL && (list = otherlist_find(path, &is_detail)) != NULL)
		entity = list->entity;
	if (entity < 0 || (path != NULL && list == NULL))
	{
		bad_request(req, "no such entity");
		return;
	}
	reader = sim_alloc(sizeof(TruthReader));
	reader->entity = (Entity) entity;
	reader->list = list;
	reader->form = FORM_UNION;
	if (form != NULL && strcmp(form, "list") == 0)
		reader->form = FORM_LIST;
	else if (form != NULL && strcmp(form, "detail") == 0)
		reader->form = FORM_DETAIL;
	reader->deleted_too = deleted != NULL && strcmp(deleted, "1") == 0;
	reply_json(&req->reply, 200, "");
	req->reply.content_type = "application/x-ndjson";
	req->reply.truth = reader;
}

static void
truth_line(Buf *out, const Version *v, Form form, const OtherList *list)
{
	buf_printf(out, "{\"id\":\"%" PRId64 "\",\"number\":", data_id(v));
	buf_json(out, v->number, strlen(v->number));
	buf_printf(out, ",\"create_ms\":%" PRId64 ",\"modify_ms\":%" PRId64,
			   v->create_ms, v->modify_ms);
	if (v->deleted)
		buf_text(out, ",\"deleted\":true");
	buf_text(out, ",\"data\":");
	if (list != NULL)
		otherlist_row(out, list, v, form != FORM_LIST);
	else
		shape_row(out, v, form, false, NULL);
	buf_text(out, "}\n");
}

ssize_t
truth_read(void *cls, uint64_t pos, char *out, size_t max)
{
	TruthReader *r = cls;
	size_t		n;

	(void) pos;
	if (r->given == r->ready.len)
	{
		View	   *view;

		r->given = r->ready.len = 0;
		server_lock();
		view = data_see(r->entity, SEES_TRUTH);
		while (r->ready.len < READ_PIECE && r->next < view->n_current)
		{
			const Version *v = view->current[r->next++];

			if (v != NULL && (!v->deleted || r->deleted_too))
				truth_line(&r->ready, v, r->form, r->list);
		}
		server_unlock();
		if (r->ready.len == 0)
			return -1;			/* MHD_CONTENT_READER_END_OF_STREAM */
	}
	n = r->ready.len - r->given;
	if (n > max)
		n = max;
	memcpy(out, r->ready.data + r->given, n);
	r->given += n;
	return (ssize_t) n;
}

/* Who existed after change `seq`: what a request saw that has it in the log. */
static void
ids_at(Request *req, json_t *body)
{
	const char *name = request_param(req, "entity");
	const char *seq = request_param(req, "seq");
	int			entity = data_entity(name ? name : "customer");
	int64_t    *ids;
	size_t		n;
	size_t		i;

	(void) body;
	if (entity < 0)
	{
		bad_request(req, "no such entity");
		return;
	}
	ids = data_ids_at((Entity) entity, seq ? strtoull(seq, NULL, 10) : UINT64_MAX, &n);
	reply_json(&req->reply, 200, "{\"ids\":[");
	for (i = 0; i < n; i++)
		buf_printf(&req->reply.body, "%s\"%" PRId64 "\"", i > 0 ? "," : "", ids[i]);
	buf_text(&req->reply.body, "]}\n");
	free(ids);
}

/* Every change ever made, in order; initial records are changes, too. */
static void
history(Request *req, json_t *body)
{
	const char *name = request_param(req, "entity");
	int			entity = data_entity(name ? name : "customer");
	const Version **versions;
	size_t		n;
	size_t		i;

	(void) body;
	if (entity < 0)
	{
		bad_request(req, "no such entity");
		return;
	}
	versions = data_history((Entity) entity, &n);
	reply_json(&req->reply, 200, "");
	req->reply.content_type = "application/x-ndjson";
	for (i = 0; i < n; i++)
	{
		const Version *v = versions[i];

		buf_printf(&req->reply.body, "{\"seq\":%" PRIu64 ",\"made_us\":%" PRId64 ",\"id\":\"%" PRId64 "\",\"modify_ms\":%" PRId64 ",\"state\":\"%s\"}\n",
				   v->seq, v->made_us, data_id(v), v->modify_ms, v->deleted ? "deleted" : v->hidden ? "hidden" : "listed");
	}
	free(versions);
}

static void
set_script(Request *req, json_t *body)
{
	char		error[ERROR_SIZE];

	if (script_set(body, error, sizeof(error)))
		fine(req);
	else
		bad_request(req, error);
}

static void
show_script(Request *req, json_t *body)
{
	(void) body;
	reply_json(&req->reply, 200, "");
	script_show(&req->reply.body);
}

static void
go_on(Request *req, json_t *body)
{
	(void) body;
	server_resume();
	fine(req);
}

void
truth_free(void *cls)
{
	TruthReader *r = cls;

	buf_free(&r->ready);
	free(r);
}

static void
stats(Request *req, json_t *body)
{
	(void) body;
	reply_json(&req->reply, 200, "");
	stats_show(&req->reply.body);
}

static void
reset_stats(Request *req, json_t *body)
{
	(void) body;
	stats_reset();
	fine(req);
}

static void
requests(Request *req, json_t *body)
{
	const char *n = request_param(req, "n");

	(void) body;
	reply_json(&req->reply, 200, "");
	stats_requests(&req->reply.body, n ? atoi(n) : 100);
}

static void
rotate_app_secret(Request *req, json_t *body)
{
	(void) body;
	gateway_rotate_app_secret();
	reply_json(&req->reply, 200, "{\"app_secret\":\"");
	buf_printf(&req->reply.body, "%s\"}\n", config.app_secret);
}

/* Sets one text switch from the body's member of the same name. */
static void
set_from_body(Request *req, json_t *body, const char *name)
{
	const char *value = json_string_value(json_object_get(body, name));
	char		error[ERROR_SIZE];

	if (value == NULL)
		bad_request(req, "the body must give a text for the switch");
	else if (!config_set(name, value, error, sizeof(error)))
		bad_request(req, error);
	else
		fine(req);
}

static void
rotate_client_secret(Request *req, json_t *body)
{
	set_from_body(req, body, "client_secret");
}

static void
move(Request *req, json_t *body)
{
	set_from_body(req, body, "domain");
}

static void
revoke(Request *req, json_t *body)
{
	(void) body;
	config.authorised = 0;
	fine(req);
}

static void
expire_tokens(Request *req, json_t *body)
{
	(void) body;
	gateway_expire_tokens();
	qeasy_expire_tokens();
	fine(req);
}

static void
now(Request *req, json_t *body)
{
	(void) body;
	reply_json(&req->reply, 200, "{\"now_ms\":");
	buf_printf(&req->reply.body, "%" PRId64 "}\n", sim_now_ms());
}

/* The service's clock goes on by so much at once, or back. */
static void
pass(Request *req, json_t *body)
{
	config.clock_offset_ms += integer_in(body, "ms", 0);
	data_apply_lags();
	now(req, body);
}

static void
show_lines(Request *req, void (*show) (Buf *out, const char *path))
{
	reply_json(&req->reply, 200, "");
	req->reply.content_type = "application/x-ndjson";
	show(&req->reply.body, request_param(req, "path"));
}

static void
target(Request *req, json_t *body)
{
	(void) body;
	show_lines(req, accepted_show);
}

static void
robot(Request *req, json_t *body)
{
	(void) body;
	reply_json(&req->reply, 200, "");
	req->reply.content_type = "application/x-ndjson";
	robot_show(&req->reply.body);
}

static void
target_latest(Request *req, json_t *body)
{
	(void) body;
	show_lines(req, accepted_latest);
}

static void
forget_target(Request *req, json_t *body)
{
	(void) body;
	target_forget();
	fine(req);
}

static void
set_poison(Request *req, json_t *body)
{
	if (target_set_poison(json_object_get(body, "ids")))
		fine(req);
	else
		bad_request(req, "ids is no array of texts or numbers");
}

static const Command commands[] = {
	{"GET", "/_sim/config", show_config},
	{"POST", "/_sim/config", set_config},
	{"POST", "/_sim/reset", reset},
	{"GET", "/_sim/fault", show_faults},
	{"POST", "/_sim/fault", add_fault},
	{"DELETE", "/_sim/fault", clear_faults},
	{"POST", "/_sim/change", change},
	{"POST", "/_sim/churn", set_churn},
	{"GET", "/_sim/truth", truth},
	{"GET", "/_sim/ids", ids_at},
	{"GET", "/_sim/history", history},
	{"GET", "/_sim/script", show_script},
	{"POST", "/_sim/script", set_script},
	{"POST", "/_sim/script/go_on", go_on},
	{"GET", "/_sim/stats", stats},
	{"POST", "/_sim/stats/reset", reset_stats},
	{"GET", "/_sim/requests", requests},
	{"GET", "/_sim/now", now},
	{"POST", "/_sim/pass", pass},
	{"POST", "/_sim/rotate_app_secret", rotate_app_secret},
	{"POST", "/_sim/rotate_client_secret", rotate_client_secret},
	{"POST", "/_sim/move", move},
	{"POST", "/_sim/revoke", revoke},
	{"POST", "/_sim/expire_tokens", expire_tokens},
	{"GET", "/_sim/target", target},
	{"GET", "/_sim/target/latest", target_latest},
	{"GET", "/_sim/robot", robot},
	{"DELETE", "/_sim/target", forget_target},
	{"POST", "/_sim/target/poison", set_poison},
};

static const Command *
find_command(const Request *req)
{
	size_t		i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].method, req->method) == 0 &&
			strcmp(commands[i].path, req->path) == 0)
			return &commands[i];
	return NULL;
}

void
control_answer(Request *req)
{
	const Command *command = find_command(req);
	json_error_t error;
	json_t	   *body;

	if (command == NULL)
	{
		reply_json(&req->reply, 404, "{\"error\":\"no such control path\"}\n");
		return;
	}
	if (req->body.len > 0)
		body = json_loadb(req->body.data, req->body.len, JSON_ALLOW_NUL, &error);
	else
		body = json_object();
	if (json_is_object(body))
		command->handler(req, body);
	else
		bad_request(req, "the body is not a JSON object");
	json_decref(body);
}
