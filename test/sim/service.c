/*-------------------------------------------------------------------------
 * service.c
 *		From a request to its reply: routes, order of checks, churn.
 *
 * The order is: does the path exist, may the caller call, does a change
 * happen just before (churn), is there a fault, the reply itself.  Churn
 * changes records by a fixed sequence of random numbers, so a run with one
 * client can be repeated exactly.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "service.h"

#include "config.h"
#include "control.h"
#include "data.h"
#include "faults.h"
#include "gateway.h"
#include "lists.h"
#include "otherlist.h"
#include "robot.h"
#include "save.h"
#include "stats.h"
#include "target.h"
#include "target_qeasy.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_URL 2048

typedef enum RouteKind
{
	ROUTE_AUTHORIZE,
	ROUTE_TOKEN,
	ROUTE_LIST,
	ROUTE_DETAIL,
	ROUTE_SAVE,
	ROUTE_OPERATE,
	/* those of other services, which have no plain form */
	ROUTE_TARGET,
	ROUTE_QEASY,
	ROUTE_ROBOT
} RouteKind;

typedef struct Route
{
	const char *path;			/* with a slash at its end: all below it */
	const char *method;			/* NULL: the route itself judges it */
	RouteKind	kind;
	Entity		entity;
} Route;

static const Route routes[] = {
	{"/jdyconnector/app_management/push_app_authorize", "POST", ROUTE_AUTHORIZE, 0},
	{"/jdyconnector/app_management/kingdee_auth_token", "GET", ROUTE_TOKEN, 0},
	{"/jdy/v2/bd/customer", "GET", ROUTE_LIST, CUSTOMER},
	{"/jdy/v2/bd/customer", "POST", ROUTE_SAVE, CUSTOMER},
	{"/jdy/v2/bd/customer_detail", "GET", ROUTE_DETAIL, CUSTOMER},
	{"/jdy/v2/bd/supplier", "GET", ROUTE_LIST, SUPPLIER},
	{"/jdy/v2/bd/supplier_detail", "GET", ROUTE_DETAIL, SUPPLIER},
	{"/jdy/v2/bd/material", "GET", ROUTE_LIST, MATERIAL},
	{"/jdy/v2/bd/material_detail", "GET", ROUTE_DETAIL, MATERIAL},
	{"/jdy/v2/scm/sal_order", "GET", ROUTE_LIST, SAL_ORDER},
	{"/jdy/v2/scm/sal_order_detail", "GET", ROUTE_DETAIL, SAL_ORDER},
	{"/jdy/v2/sys/common_operate", "POST", ROUTE_OPERATE, 0},
	{TARGET_PATH, NULL, ROUTE_TARGET, 0},
	{QEASY_TOKEN_PATH, NULL, ROUTE_QEASY, 0},
	{QEASY_PATH, NULL, ROUTE_QEASY, 0},
	{ROBOT_DINGTALK, "POST", ROUTE_ROBOT, 0},
	{ROBOT_WECOM, "POST", ROUTE_ROBOT, 0},
	{ROBOT_FEISHU, "POST", ROUTE_ROBOT, 0},
};

typedef struct Churn
{
	double		insert;
	double		update;
	double		delete;
} Churn;

static Churn churns[N_ENTITIES];

static bool
leads_to(const Route *route, const char *path)
{
	size_t		n = strlen(route->path);

	return route->path[n - 1] == '/' ? strncmp(route->path, path, n) == 0 :
		strcmp(route->path, path) == 0;
}

/* The route of this path and method, else one of the path alone, or NULL. */
static const Route *
find_route(const char *path, const char *method)
{
	const Route *found = NULL;
	size_t		i;

	for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (!leads_to(&routes[i], path))
			continue;
		found = &routes[i];
		if (found->method == NULL || strcmp(found->method, method) == 0)
			break;
	}
	return found;
}

/* The route of a list of lists.tsv or of its detail, made in *route; or NULL. */
static const Route *
find_other(Request *req, Route *route)
{
	bool		is_detail;

	req->list = otherlist_find(req->path, &is_detail);
	if (req->list == NULL)
		return NULL;
	*route = (Route) {req->path, "GET", is_detail ? ROUTE_DETAIL : ROUTE_LIST, req->list->entity};
	return route;
}

bool
service_churn(json_t *spec, char *error, size_t error_size)
{
	const char *name = json_string_value(json_object_get(spec, "entity"));
	int			entity;

	if (json_object_size(spec) == 0)
	{
		memset(churns, 0, sizeof(churns));
		return true;
	}
	entity = data_entity(name ? name : "customer");
	if (entity < 0)
	{
		snprintf(error, error_size, "no entity is called \"%s\"", name);
		return false;
	}
	churns[entity].insert = json_number_value(json_object_get(spec, "insert"));
	churns[entity].update = json_number_value(json_object_get(spec, "update"));
	churns[entity].delete = json_number_value(json_object_get(spec, "delete"));
	return true;
}

void
service_reset(void)
{
	memset(churns, 0, sizeof(churns));
}

static bool
happens(double probability)
{
	return probability > 0 &&
		(double) (data_random() >> 11) / 9007199254740992.0 < probability;
}

/* Changes of every entity, since any call may race with any of them. */
static void
let_it_churn(void)
{
	int			entity;

	for (entity = 0; entity < N_ENTITIES; entity++)
	{
		const Churn *c = &churns[entity];
		Version    *v;

		if (happens(c->insert))
			data_insert(entity, sim_now_ms());
		if (happens(c->update) && (v = data_any(entity, data_random())) != NULL)
			data_change(v, CHANGE_UPDATE, sim_now_ms(), NULL);
		if (happens(c->delete) && (v = data_any(entity, data_random())) != NULL)
			data_change(v, CHANGE_DELETE, sim_now_ms(), NULL);
	}
}

/* Whether the caller may use the route; else the refusal is written. */
static bool
allowed(Request *req, const Route *route, bool plain)
{
	switch (route->kind)
	{
		case ROUTE_TARGET:
			return target_may_call(req);
		case ROUTE_QEASY:
			return qeasy_may_call(req);
		case ROUTE_ROBOT:
			return true;
		case ROUTE_AUTHORIZE:
		case ROUTE_TOKEN:
			return gateway_signed(req);
		default:
			return plain ? gateway_plain(req) :
				gateway_signed(req) && gateway_may_call(req);
	}
}

static void
perform(Request *req, const Route *route, bool plain)
{
	switch (route->kind)
	{
		case ROUTE_AUTHORIZE:
			gateway_authorize(req);
			break;
		case ROUTE_TOKEN:
			gateway_token(req);
			break;
		case ROUTE_LIST:
			lists_page(req, route->entity, plain);
			break;
		case ROUTE_DETAIL:
			lists_detail(req, route->entity);
			break;
		case ROUTE_SAVE:
			save_customer(req);
			break;
		case ROUTE_OPERATE:
			save_operate(req);
			break;
		case ROUTE_TARGET:
			target_answer(req);
			break;
		case ROUTE_QEASY:
			qeasy_answer(req);
			break;
		case ROUTE_ROBOT:
			robot_answer(req);
			break;
	}
}

static void
answer_call(Request *req)
{
	Route		other;
	const Route *route = find_route(req->path, req->method);
	bool		plain = request_header(req, "Authorization") != NULL &&
		(route == NULL || route->kind < ROUTE_TARGET);

	if (route == NULL && !plain)
		route = find_other(req, &other);
	if (strcmp(req->method, "GET") == 0 && strlen(req->url) > MAX_URL)
	{
		reply_error(&req->reply, 414, 414, "URI too long", false);
		return;
	}
	if (plain && (route == NULL || route->kind != ROUTE_LIST))
	{
		reply_json(&req->reply, 404, "{\"code\":404,\"msg\":\"not found\",\"data\":null}");
		return;
	}
	if (route == NULL || (route->kind == ROUTE_DETAIL && !config.has_details))
	{
		reply_error(&req->reply, 519, 5001, "API Not Found", false);
		return;
	}
	if (route->method != NULL && strcmp(req->method, route->method) != 0)
	{
		reply_error(&req->reply, 519, 5002, "method is not allowed", false);
		return;
	}
	if (!allowed(req, route, plain))
		return;
	if (route->kind == ROUTE_LIST || route->kind == ROUTE_DETAIL)
		let_it_churn();
	fault_take(req);
	if (fault_before(req))
		return;
	perform(req, route, plain);
	fault_after(req);
}

static void
put_date(Reply *reply)
{
	time_t		seconds = (time_t) (sim_now_ms() / 1000);
	struct tm	tm;
	char		text[64];

	if (!config.tells_time)
		return;
	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	reply_header(reply, "Date", text);
}

void
service_answer(Request *req)
{
	stats_arrived(req);
	if (req->control)
	{
		control_answer(req);
		return;
	}
	put_date(&req->reply);
	answer_call(req);
	req->reply.delay_ms = config.latency_ms;
	stats_answered(req);
}
