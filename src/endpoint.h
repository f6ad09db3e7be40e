/*-------------------------------------------------------------------------
 * endpoint.h
 *		A server with its user mapping: where to call, as whom, how fast.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ENDPOINT_H
#define JDY_ENDPOINT_H

#include "postgres.h"

#include "pgtime.h"

#define JDY_KINGDEE_URL "https://api.kingdee.com"
#define JDY_TIME_ZONE "Asia/Shanghai"	/* of servers that name none */
#define JDY_DIGEST_LENGTH 32	/* SHA-256 */

typedef enum AuthKind
{
	AUTH_KINGDEE,
	AUTH_BEARER,
	AUTH_QEASY,
	AUTH_BASIC,
	AUTH_WEBHOOK,
	AUTH_NONE
} AuthKind;

typedef struct Endpoint
{
	char	   *server_name;
	Oid			server_id;
	Oid			server_owner;
	Oid			user_id;		/* whose mapping */
	bool		private_allowed;	/* a superuser owns the server: loopback and private addresses may be called */

	char	   *url;			/* base without a trailing slash */
	char	   *host;			/* of url, lower case, without brackets and port */
	AuthKind	auth;
	int			calls_per_minute;	/* 0 = no limit; counted over rate_window_ms */
	int			rate_window_ms;
	int			backfill_share;	/* percent */
	int			concurrency;
	int			connect_timeout_ms;
	int			timeout_ms;
	int			max_attempts;
	int64		max_response;	/* bytes, after decompression */
	char	   *time_zone_name;
	pg_tz	   *time_zone;

	/* Credentials; NULL where not given.  <option>_file is read already. */
	char	   *client_id;
	char	   *client_secret;
	char	   *outer_instance_id;
	char	   *account_id;
	char	   *app_key;
	char	   *app_secret;
	char	   *domain;
	char	   *token;
	char	   *user;
	char	   *password;
	char	   *path;
	char	   *query;
	char	   *secret;
	char	   *body_secret;		/* the same, but time and signature go into the body */

	uint8		digest[JDY_DIGEST_LENGTH];	/* of url, auth and all mapping options */

	/*
	 * Whose books are read, of what does not change while they stay the same: url
	 * (as it is meant, not as it is spelt), auth, and for kingdee
	 * outer_instance_id and account_id.  Keys and tokens are renewed, so another
	 * account behind nothing but another token is not seen.
	 */
	uint8		source[JDY_DIGEST_LENGTH];
} Endpoint;

/*
 * Reads server `server` and the mapping of `user_id` (or PUBLIC's) into the
 * current memory context.  In a transaction.  Errors: no such server, wrong
 * wrapper, no USAGE for user_id, unreadable secret file.  A missing mapping is
 * an empty one: ask jdy_endpoint_require_complete.
 */
extern Endpoint *jdy_endpoint_load(const char *server, Oid user_id);

/* Raises an error that names the options still missing for the server's auth, with a HINT. */
extern void jdy_endpoint_require_complete(const Endpoint *endpoint);

#endif							/* JDY_ENDPOINT_H */
