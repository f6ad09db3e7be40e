/*-------------------------------------------------------------------------
 * config.c
 *		Every switch of the simulator as one table, and its clock.
 *
 * The table is the only list of switches: the command line, the control API
 * and the listing all read it, so a new fact is a new row.  Guarded by the
 * simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

Config		config;
static Config kept;
static bool has_kept;

typedef enum Kind
{
	SWITCH_INT,
	SWITCH_BOOL,
	SWITCH_NAME,				/* one of a list of names */
	SWITCH_TEXT,
	SWITCH_REAL
} Kind;

typedef struct Switch
{
	const char *name;
	Kind		kind;
	size_t		offset;
	size_t		size;
	const char *standard;		/* default, in text form */
	const char *names;			/* for SWITCH_NAME: "a|b|c" */
} Switch;

#define AT(field)		offsetof(Config, field), sizeof(config.field)
#define INT(field, standard)			{#field, SWITCH_INT, AT(field), standard, NULL}
#define ONOFF(field, standard)			{#field, SWITCH_BOOL, AT(field), standard, NULL}
#define NAME(field, standard, names)	{#field, SWITCH_NAME, AT(field), standard, names}
#define TEXT(field, standard)			{#field, SWITCH_TEXT, AT(field), standard, NULL}
#define REAL(field, standard)			{#field, SWITCH_REAL, AT(field), standard, NULL}

static const Switch switches[] = {
	TEXT(client_id, "200421"),
	TEXT(client_secret, "f2adcfef73369bfc4e1384677d38a0ff"),
	TEXT(outer_instance_id, "200421001"),
	TEXT(app_key, "AbCdEf12"),
	TEXT(app_secret, "0123456789abcdef0123456789abcdef01234567"),
	TEXT(account_id, "1000000000000000002"),
	TEXT(domain, "https://tf.jdy.com"),
	TEXT(plain_token, "plain-token"),
	ONOFF(authorised, "on"),
	INT(other_accounts, "0"),
	INT(licence_days, "365"),

	INT(token_lifetime_s, "86400"),
	ONOFF(new_token_kills_old, "off"),
	ONOFF(nonce_replay_refused, "off"),
	NAME(expired_code, "4011", "4011|401|1020002008"),
	NAME(router_mode, "502", "502|404|5001"),

	INT(rate_limit, "500"),
	INT(rate_window_ms, "60000"),
	INT(token_limit, "2"),
	INT(token_window_ms, "60000"),
	INT(retry_after, "none"),
	INT(concurrency_limit, "0"),
	NAME(concurrency_code, "429", "429|5007"),
	INT(clock_offset_ms, "0"),
	INT(latency_ms, "0"),

	INT(cap, "100"),
	ONOFF(cap_wrong_total_page, "on"),
	NAME(echo_page_size, "asked", "asked|cap"),
	NAME(offset_rule, "asked", "asked|cap"),
	NAME(lower_edge, "inclusive", "inclusive|exclusive"),
	NAME(upper_edge, "inclusive", "inclusive|exclusive"),
	NAME(past_end, "empty", "empty|last|error"),
	NAME(past_end_echo, "asked", "asked|last"),
	NAME(enable_default, "all", "all|enabled"),
	NAME(window_default, "all", "all|nothing"),
	NAME(count_type, "doc", "doc|string|int|missing"),
	INT(count_lie, "0"),
	ONOFF(filter_ignored, "off"),
	NAME(window_format, "ms", "ms|s|datetime|date"),
	REAL(duplicates, "0"),
	NAME(duplicates_mode, "extra", "extra|displace"),
	ONOFF(unstable_order, "off"),

	INT(count_lag_ms, "0"),
	INT(rows_lag_ms, "0"),
	INT(details_lag_ms, "0"),
	INT(late_visibility_ms, "0"),
	NAME(stamp_granularity, "ms", "ms|s"),

	NAME(not_found, "1030002003", "1030002003|null_data|empty_data|http404"),
	ONOFF(ids_as_numbers, "off"),
	ONOFF(row_modify_time, "off"),
	NAME(contact_detail, "ignored", "ignored|contacts|all"),
	ONOFF(tells_time, "on"),
	ONOFF(has_details, "on"),
	ONOFF(description_cn, "off"),
	ONOFF(gzip, "on"),

	ONOFF(coding_rule, "on"),
	INT(name_warning_code, "1030002002"),
	NAME(save_map, "empty", "empty|filled"),

	NAME(target_auth, "bearer", "bearer|basic|none"),
	TEXT(target_token, "push-token"),
	TEXT(target_user, "push-user"),
	TEXT(target_password, "push-password"),
	TEXT(target_rows_key, "array"),
	TEXT(target_id, "id"),
	ONOFF(target_keeps, "on"),
	ONOFF(target_dedupe, "on"),
	ONOFF(target_requires_key, "off"),
	ONOFF(target_remembers_refusals, "off"),
	NAME(target_poison, "batch", "batch|errcode|item|counts"),
	INT(target_max_rows, "0"),
	INT(target_max_bytes, "0"),
	INT(target_rate_limit, "0"),
	INT(target_rate_window_ms, "60000"),
	TEXT(robot_key, "r0b0t"),
	TEXT(robot_secret, ""),
	TEXT(robot_keyword, ""),
	INT(robot_rate_limit, "20"),
	TEXT(qeasy_app_key, "qeasyapp0001"),
	TEXT(qeasy_app_secret, "qeasysecret000000001"),
	INT(qeasy_token_lifetime_s, "7200"),
	INT(qeasy_rate_limit, "60"),
	INT(qeasy_rate_window_ms, "60000"),
	INT(qeasy_penalty_ms, "0"),
	NAME(qeasy_errors, "http", "http|200"),
	ONOFF(qeasy_upsert, "off"),
	NAME(qeasy_text_match, "contains", "contains|exact|anything"),
	ONOFF(qeasy_requires_times, "on"),
};

#define N_SWITCHES (sizeof(switches) / sizeof(switches[0]))

static int64_t *
int_of(const Switch *s)
{
	return (int64_t *) ((char *) &config + s->offset);
}

static const Switch *
find_switch(const char *name)
{
	size_t		i;

	for (i = 0; i < N_SWITCHES; i++)
		if (strcmp(switches[i].name, name) == 0)
			return &switches[i];
	return NULL;
}

/* Which of "a|b|c" the value is, or -1. */
static int
name_index(const char *names, const char *value)
{
	size_t		n = strlen(value);
	int			i = 0;

	for (;; i++)
	{
		size_t		len = strcspn(names, "|");

		if (len == n && strncmp(names, value, n) == 0)
			return i;
		if (names[len] == '\0')
			return -1;
		names += len + 1;
	}
}

static void
show_name(Buf *out, const char *names, int64_t index)
{
	while (index-- > 0)
		names += strcspn(names, "|") + 1;
	buf_json(out, names, strcspn(names, "|"));
}

static bool
parse_bool(const char *value, int64_t *result)
{
	if (name_index("on|true|1|yes", value) >= 0)
		*result = 1;
	else if (name_index("off|false|0|no", value) >= 0)
		*result = 0;
	else
		return false;
	return true;
}

static bool
parse_int(const char *value, int64_t *result)
{
	char	   *end;

	if (strcmp(value, "none") == 0)
	{
		*result = -1;
		return true;
	}
	errno = 0;
	*result = strtoll(value, &end, 10);
	return errno == 0 && end != value && *end == '\0';
}

static bool
set_switch(const Switch *s, const char *value)
{
	char	   *end;
	double		real;
	int			index;

	switch (s->kind)
	{
		case SWITCH_INT:
			return parse_int(value, int_of(s));
		case SWITCH_BOOL:
			return parse_bool(value, int_of(s));
		case SWITCH_NAME:
			index = name_index(s->names, value);
			if (index >= 0)
				*int_of(s) = index;
			return index >= 0;
		case SWITCH_TEXT:
			if (strlen(value) >= s->size)
				return false;
			strcpy((char *) &config + s->offset, value);
			return true;
		case SWITCH_REAL:
			real = strtod(value, &end);
			if (end == value || *end != '\0' || real < 0)
				return false;
			*(double *) ((char *) &config + s->offset) = real;
			return true;
	}
	return false;
}

bool
config_set(const char *name, const char *value, char *error, size_t error_size)
{
	const Switch *s = find_switch(name);

	if (s == NULL)
	{
		snprintf(error, error_size, "no switch is called \"%s\"", name);
		return false;
	}
	if (!set_switch(s, value))
	{
		snprintf(error, error_size, "switch \"%s\" does not take \"%s\"%s%s",
				 name, value, s->names ? "; it takes " : "",
				 s->names ? s->names : "");
		return false;
	}
	return true;
}

/* The text form of a JSON value, as set_switch() reads it. */
static char *
text_of(json_t *value)
{
	if (json_is_string(value))
		return sim_strdup(json_string_value(value));
	if (json_is_null(value))
		return sim_strdup("none");
	return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

bool
config_set_object(json_t *object, char *error, size_t error_size)
{
	const char *name;
	json_t	   *value;

	json_object_foreach(object, name, value)
	{
		char	   *text = text_of(value);
		bool		ok = config_set(name, text, error, error_size);

		free(text);
		if (!ok)
			return false;
	}
	return true;
}

void
config_reset(void)
{
	size_t		i;

	if (has_kept)
	{
		config = kept;
		return;
	}
	for (i = 0; i < N_SWITCHES; i++)
		set_switch(&switches[i], switches[i].standard);
}

void
config_keep(void)
{
	kept = config;
	has_kept = true;
}

void
config_show(Buf *out)
{
	size_t		i;

	for (i = 0; i < N_SWITCHES; i++)
	{
		const Switch *s = &switches[i];
		const char *text = (const char *) &config + s->offset;

		buf_printf(out, "%s\"%s\":", i ? "," : "{", s->name);
		switch (s->kind)
		{
			case SWITCH_INT:
				buf_int(out, *int_of(s));
				break;
			case SWITCH_BOOL:
				buf_text(out, *int_of(s) ? "true" : "false");
				break;
			case SWITCH_NAME:
				show_name(out, s->names, *int_of(s));
				break;
			case SWITCH_TEXT:
				buf_json(out, text, strlen(text));
				break;
			case SWITCH_REAL:
				buf_printf(out, "%g", *(const double *) text);
				break;
		}
	}
	buf_text(out, "}\n");
}

int64_t
sim_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000 + config.clock_offset_ms;
}

int64_t
steady_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
