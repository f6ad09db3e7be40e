/*-------------------------------------------------------------------------
 * remedy.c
 *		The second schedule of a stream, which reads a wider window again.
 *
 * In the language of Qeasy: {"crontab": "2 3 * * *", "takeOverRequest": [{"field": "modify_start_time",
 * "value": "{{DAYS_AGO_3|datetime}}"}]}.  At these times the values of takeOverRequest stand for those that
 * `request` gives the same parameters.  There the second schedule makes good what the first one
 * lost; here nothing is known to be lost, and it guards against a service that shows a change later than settle
 * allows for.
 *
 * The window's two parameters are read as times, since windows are ours to split.  Any other
 * parameter is sent as it stands: then what comes is landed, but proves nothing.
 *
 * Called by stream.c, when a stream is defined, and by pull.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client.h"
#include "jsonbtext.h"
#include "miscadmin.h"
#include "remedy.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void read_values(const Stream *stream, const ValueTimes *times, Remedy *remedy);
static TimestampTz read_time(const Stream *stream, const Field *field, const ValueTimes *times);
static void take_over(const Stream *stream, const Field *field, const ValueTimes *times, Remedy *remedy);
static void replace_param(Remedy *remedy, CallParam *param);
static bool same(const char *name, const char *param);

char *
jdy_remedy_schedule(const Stream *stream)
{
	const char *why = NULL;
	Remedy		remedy;

	if (stream->remedy_crontab == NULL)
		return NULL;
	jdy_schedule_check(stream->remedy_crontab);
	if (!jdy_schedule_is_cron(stream->remedy_crontab))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"crontab\" of \"omissionRemedy\" is not cron"),
				 errdetail("It says \"%s\".", stream->remedy_crontab),
				 errhint("Write five fields, such as \"2 3 * * *\", or six with seconds first.")));

	if (stream->plan->start_param == NULL || stream->plan->end_param == NULL)
		why = "the list has no time filter, so every run reads all of it";
	else
	{
		jdy_remedy_read(stream, GetCurrentTimestamp(), GetCurrentTimestamp(), &remedy);
		if (remedy.from == DT_NOBEGIN)
			why = psprintf("\"takeOverRequest\" gives \"%s\" no value", stream->plan->start_param);
	}
	if (why == NULL)
		return stream->remedy_crontab;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("a part of the metadata has no effect"),
			 errdetail("\"omissionRemedy\" of stream \"%s\" reads no wider window: %s.", stream->name, why),
			 errhint("An entry such as {\"field\": \"modify_start_time\", \"value\": \"_function ({CURRENT_TIME} - 259200) * 1000\"} says where it starts.")));
	return NULL;
}

/* As resolve.c evaluates the request: it is code of whoever wrote the metadata. */
void
jdy_remedy_read(const Stream *stream, TimestampTz now, TimestampTz last_sync, Remedy *remedy)
{
	ValueTimes	times = {now, last_sync, stream->endpoint->time_zone};
	Oid			user_id;
	int			sec_context;

	GetUserIdAndSecContext(&user_id, &sec_context);
	SetUserIdAndSecContext(stream->owner, sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	read_values(stream, &times, remedy);
	SetUserIdAndSecContext(user_id, sec_context);
}

static void
read_values(const Stream *stream, const ValueTimes *times, Remedy *remedy)
{
	ListCell   *cell;

	remedy->from = DT_NOBEGIN;
	remedy->to = times->current_time;
	remedy->proves = true;
	remedy->plan = palloc(sizeof(RequestPlan));
	*remedy->plan = *stream->plan;
	remedy->plan->fixed = list_copy(stream->plan->fixed);
	foreach(cell, stream->remedy_request)
	{
		const Field *field = lfirst(cell);

		if (jdy_jsonb_is_empty(field->value))
			continue;
		if (same(field->field, stream->plan->start_param))
			remedy->from = Max(read_time(stream, field, times), stream->start_from != 0 ? stream->start_from : DT_NOBEGIN);
		else if (same(field->field, stream->plan->end_param))
			remedy->to = read_time(stream, field, times);
		else
			take_over(stream, field, times, remedy);
	}
}

static TimestampTz
read_time(const Stream *stream, const Field *field, const ValueTimes *times)
{
	char	   *text = jdy_value_text(field->value, NULL, times);
	TimestampTz at;

	if (text == NULL || !jdy_window_time(text, times->time_zone, &at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a value of \"takeOverRequest\" is not a time"),
				 errdetail("\"%s\" is \"%s\".", field->field, text ? text : ""),
				 errhint("A time is milliseconds or seconds since 1970, yyyy-MM-dd HH:mm:ss or yyyy-MM-dd, such as \"{{DAYS_AGO_3|datetime}}\".")));
	return at;
}

/* Anything but the window: sent as `request` would send it. */
static void
take_over(const Stream *stream, const Field *field, const ValueTimes *times, Remedy *remedy)
{
	Metadata	alone = {.api = stream->api,.request = list_make1(unconstify(Field *, field))};
	RequestPlan *plan = jdy_request_plan(&alone, times);
	ListCell   *cell;

	if (plan->start_param != NULL || plan->end_param != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"takeOverRequest\" gives a time to a parameter that carries no window"),
				 errdetail("The parameter is \"%s\"; the list of stream \"%s\" is asked with \"%s\" and \"%s\".", field->field,
						   stream->name, stream->plan->start_param, stream->plan->end_param)));
	foreach(cell, plan->fixed)
		replace_param(remedy, lfirst(cell));
}

static void
replace_param(Remedy *remedy, CallParam *param)
{
	ListCell   *cell;

	foreach(cell, remedy->plan->fixed)
	{
		CallParam  *old = lfirst(cell);

		if (strcmp(old->name, param->name) != 0)
			continue;
		remedy->proves = remedy->proves && strcmp(old->value, param->value) == 0;
		lfirst(cell) = param;
		return;
	}
	remedy->proves = false;
	remedy->plan->fixed = lappend(remedy->plan->fixed, param);
}

static bool
same(const char *name, const char *param)
{
	return param != NULL && strcmp(name, param) == 0;
}
