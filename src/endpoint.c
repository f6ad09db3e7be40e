/*-------------------------------------------------------------------------
 * endpoint.c
 *		A server with its user mapping: where to call, as whom, how fast.
 *
 * An endpoint is loaded anew by every run and every call of a function, so that a
 * changed option holds from the next one on.  Its two digests say, without showing a
 * secret, with whom it may share a token (digest), and whether a stream still reads
 * the same books (source).
 *
 * Called by whoever is about to call a server: stream.c, pushdef.c, check.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "compat.h"
#include "endpoint.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "options.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#define MINUTE_MS (60 * 1000)

static List *mapping_of(Oid server_id, Oid user_id);
static void set_defaults(Endpoint *endpoint);
static void set_default_text(Endpoint *endpoint, const char *option, const char *value);
static void set_digest(Endpoint *endpoint);
static void set_source(Endpoint *endpoint);
static void append_option(StringInfo all, const char *name, const char *value);
static void hash_text(StringInfo all, uint8 *digest);
static void append_terminated(StringInfo all, const char *text);

Endpoint *
jdy_endpoint_load(const char *server, Oid user_id)
{
	Endpoint   *endpoint = palloc0(sizeof(Endpoint));
	ForeignServer *row = GetForeignServerByName(server, true);
	AclResult	aclresult;

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server does not exist"),
				 errdetail("There is no server \"%s\".", server),
				 errhint("Create it: CREATE SERVER ... FOREIGN DATA WRAPPER jdysync.")));
	if (row->fdwid != get_foreign_data_wrapper_oid("jdysync", true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("not a server of jdysync"),
				 errdetail("Server \"%s\" belongs to another foreign data wrapper.", server)));
	aclresult = object_aclcheck(ForeignServerRelationId, row->serverid, user_id, ACL_USAGE);
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_FOREIGN_SERVER, server);

	endpoint->server_name = pstrdup(row->servername);
	endpoint->server_id = row->serverid;
	endpoint->server_owner = row->owner;
	endpoint->user_id = user_id;
	endpoint->private_allowed = superuser_arg(row->owner);
	endpoint->calls_per_minute = -1;

	jdy_options_read(endpoint, ForeignServerRelationId, row->options, user_id, true);
	jdy_options_read(endpoint, UserMappingRelationId, mapping_of(row->serverid, user_id), user_id, true);
	set_defaults(endpoint);
	set_digest(endpoint);
	set_source(endpoint);
	return endpoint;
}

void
jdy_endpoint_require_complete(const Endpoint *endpoint)
{
	const char *missing[4];
	int			nmissing = 0;
	StringInfoData names;

#define REQUIRE(field) \
	do { if (endpoint->field == NULL) missing[nmissing++] = #field; } while (0)

	switch (endpoint->auth)
	{
		case AUTH_KINGDEE:
			REQUIRE(client_id);
			REQUIRE(client_secret);
			if (endpoint->outer_instance_id != NULL)
				break;
			if (endpoint->app_key == NULL && endpoint->app_secret == NULL && endpoint->domain == NULL)
				REQUIRE(outer_instance_id);
			else if (endpoint->app_key == NULL)
				REQUIRE(app_key);
			else if (endpoint->app_secret == NULL)
				REQUIRE(app_secret);
			else
				REQUIRE(domain);
			break;
		case AUTH_BEARER:
			REQUIRE(token);
			break;
		case AUTH_QEASY:
			REQUIRE(app_key);
			REQUIRE(app_secret);
			break;
		case AUTH_BASIC:
			REQUIRE(user);
			REQUIRE(password);
			break;
		case AUTH_WEBHOOK:
			if (endpoint->query == NULL)
				REQUIRE(path);
			break;
		case AUTH_NONE:
			break;
	}
	if (nmissing == 0)
		return;

	initStringInfo(&names);
	for (int i = 0; i < nmissing; i++)
		appendStringInfo(&names, "%s\"%s\"", i == 0 ? "" : ", ", missing[i]);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
			 errmsg("user mapping is not complete"),
			 errdetail("For auth \"%s\" of server \"%s\", role \"%s\" still needs: %s.",
					   jdy_auth_name(endpoint->auth), endpoint->server_name,
					   GetUserNameFromId(endpoint->user_id, false), names.data),
			 errhint("Use CREATE USER MAPPING or ALTER USER MAPPING ... OPTIONS (ADD ...).")));
}

/* Options of the mapping of `user_id`, else of PUBLIC's, else none. */
static List *
mapping_of(Oid server_id, Oid user_id)
{
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
										ObjectIdGetDatum(user_id), ObjectIdGetDatum(server_id));

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server_id));
	if (!HeapTupleIsValid(tuple))
		return NIL;

	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

/* Zero and NULL mean "not given", but for calls_per_minute, where 0 is a choice. */
static void
set_defaults(Endpoint *endpoint)
{
	if (endpoint->url == NULL)
	{
		if (endpoint->auth != AUTH_KINGDEE)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("server has no url"),
					 errdetail("Server \"%s\" with auth \"%s\" has no default for option \"url\".",
							   endpoint->server_name, jdy_auth_name(endpoint->auth)),
					 errhint("Use ALTER SERVER ... OPTIONS (ADD url '...').")));
		set_default_text(endpoint, "url", JDY_KINGDEE_URL);
	}
	if (endpoint->calls_per_minute < 0)
		endpoint->calls_per_minute = endpoint->auth == AUTH_KINGDEE ? 500 : endpoint->auth == AUTH_QEASY ? 60 : 0;

#define DEFAULT(field, value) \
	do { if (endpoint->field == 0) endpoint->field = (value); } while (0)

	DEFAULT(rate_window_ms, MINUTE_MS);
	DEFAULT(backfill_share, 80);
	DEFAULT(concurrency, 4);
	DEFAULT(connect_timeout_ms, 10 * 1000);
	DEFAULT(timeout_ms, 30 * 1000);
	DEFAULT(max_attempts, 5);
	DEFAULT(max_response, 64 * 1024 * 1024);

	if (endpoint->time_zone == NULL)
		set_default_text(endpoint, "time_zone", JDY_TIME_ZONE);
}

static void
set_default_text(Endpoint *endpoint, const char *option, const char *value)
{
	DefElem    *def = makeDefElem(pstrdup(option), (Node *) makeString(pstrdup(value)), -1);

	jdy_options_read(endpoint, ForeignServerRelationId, list_make1(def), InvalidOid, false);
}

/* Two mappings share a token only if they are the same in every value. */
static void
set_digest(Endpoint *endpoint)
{
	StringInfoData all;
	const char *name;
	const char *value;

	initStringInfo(&all);
	append_terminated(&all, endpoint->url);
	append_terminated(&all, jdy_auth_name(endpoint->auth));
	for (int i = 0; (name = jdy_credential(endpoint, i, &value)) != NULL; i++)
		append_option(&all, name, value);
	hash_text(&all, endpoint->digest);
}

/* No oid and nothing that a dump and restore would change: the copy has the same source. */
static void
set_source(Endpoint *endpoint)
{
	bool		secure = pg_strncasecmp(endpoint->url, "https:", 6) == 0;
	const char *authority = strstr(endpoint->url, "://") + 3;
	const char *host_end = *authority == '[' ? strchr(authority, ']') + 1 : authority + strcspn(authority, ":/");
	int			port = *host_end == ':' ? atoi(host_end + 1) : secure ? 443 : 80;
	StringInfoData all;

	initStringInfo(&all);
	append_terminated(&all, psprintf("%s://%s:%d%s", secure ? "https" : "http", endpoint->host, port,
									 authority + strcspn(authority, "/")));
	append_terminated(&all, jdy_auth_name(endpoint->auth));
	if (endpoint->auth == AUTH_KINGDEE)
	{
		append_option(&all, "outer_instance_id", endpoint->outer_instance_id);
		append_option(&all, "account_id", endpoint->account_id);
	}
	hash_text(&all, endpoint->source);
}

static void
append_option(StringInfo all, const char *name, const char *value)
{
	if (value == NULL)
		return;
	append_terminated(all, name);
	append_terminated(all, value);
}

/* SHA-256 of all that was appended, which may hold secrets and is wiped. */
static void
hash_text(StringInfo all, uint8 *digest)
{
	unsigned int length;

	if (!EVP_Digest(all->data, all->len, digest, &length, EVP_sha256(), NULL))
		elog(ERROR, "could not compute a SHA-256 digest");
	explicit_bzero(all->data, all->len);
	pfree(all->data);
}

/* With its NUL, so that no two lists of values look the same. */
static void
append_terminated(StringInfo all, const char *text)
{
	appendBinaryStringInfo(all, text, strlen(text) + 1);
}
