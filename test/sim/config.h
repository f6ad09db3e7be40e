/*-------------------------------------------------------------------------
 * config.h
 *		Every switch of the simulator, and its clock.
 *
 * A fact of the service that no public source settles is a switch here, with
 * the likelier answer as default.  README.md lists them with their meaning.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_CONFIG_H
#define SIM_CONFIG_H

#include "buf.h"

#include <jansson.h>
#include <stdbool.h>

/* Values of the switches with names; the order is that of config.c's lists. */
enum {SIZE_ASKED, SIZE_CAP};
enum {EDGE_INCLUSIVE, EDGE_EXCLUSIVE};
enum {PAST_EMPTY, PAST_LAST, PAST_ERROR};
enum {ECHO_ASKED, ECHO_LAST};
enum {ENABLE_ALL, ENABLE_ENABLED};
enum {WINDOW_ALL, WINDOW_NOTHING};
enum {COUNT_DOC, COUNT_STRING, COUNT_INT, COUNT_MISSING};
enum {EXPIRED_4011, EXPIRED_401, EXPIRED_BUSINESS};
enum {MISSING_ERRCODE, MISSING_NULL_DATA, MISSING_EMPTY_DATA, MISSING_HTTP404};
enum {DUPLICATES_EXTRA, DUPLICATES_DISPLACE};
enum {ROUTER_502, ROUTER_404, ROUTER_5001};
enum {CONCURRENCY_429, CONCURRENCY_5007};
enum {GRAIN_MS, GRAIN_S};
enum {CONTACTS_IGNORED, CONTACTS_ONLY, CONTACTS_AND_ALL};
enum {FORMAT_MS, FORMAT_S, FORMAT_DATETIME, FORMAT_DATE, FORMAT_PERIOD};
enum {TARGET_BEARER, TARGET_BASIC, TARGET_NONE};
enum {MAP_EMPTY, MAP_FILLED};
enum {QEASY_HTTP, QEASY_200};
enum {QEASY_CONTAINS, QEASY_EXACT, QEASY_ANYTHING};
enum {POISON_BATCH, POISON_BY_ERRCODE, POISON_ITEM, POISON_COUNTS};

typedef struct Config
{
	/* credentials */
	char		client_id[64];
	char		client_secret[64];
	char		outer_instance_id[64];
	char		app_key[64];
	char		app_secret[64];
	char		account_id[64];
	char		domain[128];
	char		plain_token[128];
	int64_t		authorised;
	int64_t		other_accounts;
	int64_t		licence_days;

	/* tokens and signatures */
	int64_t		token_lifetime_s;
	int64_t		new_token_kills_old;
	int64_t		nonce_replay_refused;
	int64_t		expired_code;
	int64_t		router_mode;

	/* rates and time */
	int64_t		rate_limit;
	int64_t		rate_window_ms;
	int64_t		token_limit;
	int64_t		token_window_ms;
	int64_t		retry_after;
	int64_t		concurrency_limit;
	int64_t		concurrency_code;
	int64_t		clock_offset_ms;
	int64_t		latency_ms;

	/* pages */
	int64_t		cap;
	int64_t		cap_wrong_total_page;
	int64_t		echo_page_size;
	int64_t		offset_rule;
	int64_t		lower_edge;
	int64_t		upper_edge;
	int64_t		past_end;
	int64_t		past_end_echo;
	int64_t		enable_default;
	int64_t		window_default;
	int64_t		count_type;
	int64_t		count_lie;
	int64_t		filter_ignored;
	int64_t		window_format;
	double		duplicates;
	int64_t		duplicates_mode;
	int64_t		unstable_order;

	/* what is seen, and when */
	int64_t		count_lag_ms;
	int64_t		rows_lag_ms;
	int64_t		details_lag_ms;
	int64_t		late_visibility_ms;
	int64_t		stamp_granularity;

	/* rows and details */
	int64_t		not_found;
	int64_t		ids_as_numbers;
	int64_t		row_modify_time;
	int64_t		contact_detail;
	int64_t		tells_time;
	int64_t		has_details;
	int64_t		description_cn;
	int64_t		gzip;

	/* saves */
	int64_t		coding_rule;
	int64_t		name_warning_code;
	int64_t		save_map;

	/* targets of pushes */
	int64_t		target_auth;
	char		target_token[128];
	char		target_user[64];
	char		target_password[64];
	char		target_rows_key[64];
	char		target_id[64];
	int64_t		target_keeps;
	int64_t		target_dedupe;
	int64_t		target_requires_key;
	int64_t		target_remembers_refusals;
	int64_t		target_poison;
	int64_t		target_max_rows;
	int64_t		target_max_bytes;
	int64_t		target_rate_limit;
	int64_t		target_rate_window_ms;
	char		robot_key[64];
	char		robot_secret[64];
	char		robot_keyword[64];
	int64_t		robot_rate_limit;
	char		qeasy_app_key[64];
	char		qeasy_app_secret[64];
	int64_t		qeasy_token_lifetime_s;
	int64_t		qeasy_rate_limit;
	int64_t		qeasy_rate_window_ms;
	int64_t		qeasy_penalty_ms;
	int64_t		qeasy_errors;
	int64_t		qeasy_upsert;
	int64_t		qeasy_text_match;
	int64_t		qeasy_requires_times;
} Config;

extern Config config;

/*
 * Sets one switch from its text form.  On failure returns false and writes a
 * sentence to error.
 */
extern bool config_set(const char *name, const char *value,
					   char *error, size_t error_size);

/* The same for every member of a JSON object; stops at the first failure. */
extern bool config_set_object(json_t *object, char *error, size_t error_size);

/* Back to the defaults, then to what the command line had set. */
extern void config_reset(void);

/* Remembers the present values as the ones config_reset() goes back to. */
extern void config_keep(void);

/* All switches as one JSON object. */
extern void config_show(Buf *out);

/* The service's own clock: real time plus clock_offset_ms. */
extern int64_t sim_now_ms(void);

/* A clock that never steps, for rates and timers. */
extern int64_t steady_us(void);

#endif
