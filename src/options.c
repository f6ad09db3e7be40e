/*-------------------------------------------------------------------------
 * options.c
 *		The options of servers and user mappings: their names, and what each may say.
 *
 * One table names every option.  The validator reads a value exactly as a
 * load does (into an Endpoint that is thrown away), so what CREATE SERVER accepts
 * is what a run can use.  A dump restores servers before anything else works, so
 * the validator asks for no completeness and reads no file; that is left to the
 * load and to jdy_endpoint_require_complete.
 *
 * Secrets: no value of a user mapping and no url (it may hold a password by
 * mistake) is ever quoted, and every error of the validator keeps the statement
 * out of the log.
 *
 * Called by PostgreSQL (the validator) and by endpoint.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "name.h"
#include "options.h"
#include "storage/fd.h"
#include "url.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

/* Caps. */
#define MAX_CREDENTIAL_BYTES 8192	/* a token may be a long JWT */

#define MINUTE_MS (60 * 1000)
#define HOUR_MS (60 * MINUTE_MS)
#define MAX_RESPONSE (INT64CONST(1024) * 1024 * 1024 - 1)	/* what one palloc can hold */

/* Families of credentials, for Option.families. */
#define KINGDEE (1 << AUTH_KINGDEE)
#define BEARER (1 << AUTH_BEARER)
#define QEASY (1 << AUTH_QEASY)
#define BASIC (1 << AUTH_BASIC)
#define WEBHOOK (1 << AUTH_WEBHOOK)
#define ALL_FAMILIES (KINGDEE | BEARER | QEASY | BASIC | WEBHOOK)

typedef enum OptionKind
{
	OPTION_URL,
	OPTION_AUTH,
	OPTION_COUNT,
	OPTION_PERCENT,
	OPTION_DURATION,			/* int, ms */
	OPTION_BYTES,				/* int64 */
	OPTION_TIME_ZONE,
	OPTION_CREDENTIAL,
	OPTION_SECRET				/* a credential that may also come as <name>_file */
} OptionKind;

typedef struct Option
{
	const char *name;
	OptionKind	kind;
	size_t		offset;			/* in Endpoint */
	int64		low;			/* of numbers */
	int64		high;
	const char *allowed;		/* of numbers: what a person may write */
	int			families;		/* of credentials */
} Option;

#define FIELD(name) offsetof(Endpoint, name)

static const Option server_options[] = {
	{"url", OPTION_URL, FIELD(url)},
	{"auth", OPTION_AUTH, FIELD(auth)},
	{"calls_per_minute", OPTION_COUNT, FIELD(calls_per_minute), 0, 1000000,
	"a whole number from 0 (no limit) to 1000000"},
	{"rate_window", OPTION_DURATION, FIELD(rate_window_ms), 10, HOUR_MS,
	"a time from 10 ms to 1 h with its unit, like '60 s'"},
	{"backfill_share", OPTION_PERCENT, FIELD(backfill_share), 1, 100,
	"a percentage from 1 to 100, like '80 %'"},
	{"concurrency", OPTION_COUNT, FIELD(concurrency), 1, 64,
	"a whole number from 1 to 64"},
	{"connect_timeout", OPTION_DURATION, FIELD(connect_timeout_ms), 1, 10 * MINUTE_MS,
	"a time from 1 ms to 10 min with its unit, like '10 s'"},
	{"timeout", OPTION_DURATION, FIELD(timeout_ms), 1, HOUR_MS,
	"a time from 1 ms to 1 h with its unit, like '30 s' or '500 ms'"},
	{"max_attempts", OPTION_COUNT, FIELD(max_attempts), 1, 100,
	"a whole number from 1 to 100"},
	{"max_response", OPTION_BYTES, FIELD(max_response), 1024, MAX_RESPONSE,
	"a size from 1 kB to less than 1 GB, like '64 MB'"},
	{"time_zone", OPTION_TIME_ZONE, FIELD(time_zone_name)},
};

static const Option mapping_options[] = {
	{"client_id", OPTION_CREDENTIAL, FIELD(client_id), .families = KINGDEE},
	{"client_secret", OPTION_SECRET, FIELD(client_secret), .families = KINGDEE},
	{"outer_instance_id", OPTION_CREDENTIAL, FIELD(outer_instance_id), .families = KINGDEE},
	{"account_id", OPTION_CREDENTIAL, FIELD(account_id), .families = KINGDEE},
	{"app_key", OPTION_CREDENTIAL, FIELD(app_key), .families = KINGDEE | QEASY},
	{"app_secret", OPTION_SECRET, FIELD(app_secret), .families = KINGDEE | QEASY},
	{"domain", OPTION_CREDENTIAL, FIELD(domain), .families = KINGDEE},
	{"token", OPTION_SECRET, FIELD(token), .families = BEARER},
	{"user", OPTION_CREDENTIAL, FIELD(user), .families = BASIC},
	{"password", OPTION_SECRET, FIELD(password), .families = BASIC},
	{"path", OPTION_SECRET, FIELD(path), .families = WEBHOOK},
	{"query", OPTION_SECRET, FIELD(query), .families = WEBHOOK},
	{"secret", OPTION_SECRET, FIELD(secret), .families = WEBHOOK},
	{"body_secret", OPTION_SECRET, FIELD(body_secret), .families = WEBHOOK},
};

static const char *const auth_names[] = {
	[AUTH_KINGDEE] = "kingdee",
	[AUTH_BEARER] = "bearer",
	[AUTH_QEASY] = "qeasy",
	[AUTH_BASIC] = "basic",
	[AUTH_WEBHOOK] = "webhook",
	[AUTH_NONE] = "none",
};

/* What the options of one object are checked against. */
typedef struct OptionSet
{
	const char *what;			/* for people */
	const Option *options;
	int			count;
	bool		files;			/* <name>_file exists for secrets */
} OptionSet;

static const OptionSet server_set = {"server", server_options, lengthof(server_options), false};
static const OptionSet mapping_set = {"user mapping", mapping_options, lengthof(mapping_options), true};
static const OptionSet empty_set = {"foreign data wrapper", NULL, 0, false};

static void check_families(List *options);
static const Option *find_option(const OptionSet *set, const char *name, bool *is_file);
static void unknown_option(const OptionSet *set, const char *name);
static const char *closest_name(const OptionSet *set, const char *name);
static void read_option(Endpoint *endpoint, const Option *option, char *value);
static void bad_value(const Option *option, const char *rule);
static bool read_number(const Option *option, const char *value, double *number);
static const char *check_credential(const Option *option, const char *value);
static void check_secret_file(const char *path, Oid user_id);
static char *read_secret_file(const Option *option, const char *path);

PG_FUNCTION_INFO_V1(jdy_fdw_validator);

/* jdy_fdw_validator(options text[], catalog oid): the wrapper's validator. */
Datum
jdy_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	Endpoint	scratch = {0};

	jdy_options_read(&scratch, catalog, options, GetUserId(), false);
	if (catalog == UserMappingRelationId)
		check_families(options);

	PG_RETURN_VOID();
}

void
jdy_options_read(Endpoint *endpoint, Oid catalog, List *options, Oid user_id, bool read_files)
{
	const OptionSet *set =
		catalog == ForeignServerRelationId ? &server_set :
		catalog == UserMappingRelationId ? &mapping_set : &empty_set;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst(lc);
		bool		is_file;
		const Option *option = find_option(set, def->defname, &is_file);
		char	   *value;

		if (option == NULL)
			unknown_option(set, def->defname);
		value = defGetString(def);
		if (is_file)
		{
			check_secret_file(value, user_id);
			if (!read_files)
				continue;
			value = read_secret_file(option, value);
		}
		read_option(endpoint, option, value);
	}
}

const char *
jdy_credential(const Endpoint *endpoint, int i, const char **value)
{
	if (i >= lengthof(mapping_options))
		return NULL;
	*value = *(char *const *) ((const char *) endpoint + mapping_options[i].offset);
	return mapping_options[i].name;
}

const char *
jdy_auth_name(AuthKind auth)
{
	return auth_names[auth];
}

/*
 * The given credentials must all belong to one kind of authentication, so that a
 * mapping says by itself what it is for.  No value twice, as text and as file.
 */
static void
check_families(List *options)
{
	int			families = ALL_FAMILIES;
	bool		short_lived = false;
	bool		renewable = false;
	const Option *first = NULL;
	Bitmapset  *seen = NULL;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst(lc);
		bool		is_file;
		const Option *option = find_option(&mapping_set, def->defname, &is_file);
		int			number = option - mapping_options;

		if (bms_is_member(number, seen))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
					 errmsg("user mapping options contradict each other"),
					 errdetail("Both \"%s\" and \"%s_file\" are given.", option->name, option->name),
					 errhidestmt(true), errhidecontext(true)));
		seen = bms_add_member(seen, number);

		if ((families & option->families) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
					 errmsg("user mapping mixes kinds of authentication"),
					 errdetail("Options \"%s\" and \"%s\" never go together.", first->name, option->name),
					 errhint("kingdee: client_id, client_secret, outer_instance_id (account_id), or app_key, app_secret, domain; "
							 "bearer: token; qeasy: app_key, app_secret; basic: user, password; webhook: path, query, secret or body_secret."),
					 errhidestmt(true), errhidecontext(true)));
		/* The one that narrowed the choice most is named in the error. */
		if (first == NULL || (families & option->families) != families)
			first = option;
		families &= option->families;

		if (option->offset == FIELD(outer_instance_id))
			renewable = true;
		if (option->offset == FIELD(app_key) || option->offset == FIELD(app_secret) || option->offset == FIELD(domain))
			short_lived = true;
	}

	if (families == KINGDEE && short_lived && !renewable)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("app_key, app_secret and domain die within 24 h and cannot renew themselves"),
				 errhint("Give outer_instance_id instead: jdysync then fetches them whenever it needs to."),
				 errhidestmt(true), errhidecontext(true)));
}

static const Option *
find_option(const OptionSet *set, const char *name, bool *is_file)
{
	*is_file = false;
	for (int i = 0; i < set->count; i++)
	{
		const Option *option = &set->options[i];
		size_t		length = strlen(option->name);

		if (strncmp(name, option->name, length) != 0)
			continue;
		if (name[length] == '\0')
			return option;
		if (option->kind == OPTION_SECRET && strcmp(name + length, "_file") == 0)
		{
			*is_file = true;
			return option;
		}
	}
	return NULL;
}

static void
unknown_option(const OptionSet *set, const char *name)
{
	const OptionSet *other = set == &server_set ? &mapping_set : &server_set;
	const char *closest = closest_name(set, name);
	bool		is_file;

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("unknown %s option", set->what),
			 errdetail("There is no %s option \"%s\".", set->what, name),
			 set->count == 0 ? errhint("Options belong to the server and to the user mapping.") :
			 find_option(other, name, &is_file) != NULL ? errhint("It is an option of the %s.", other->what) :
			 closest != NULL ? errhint("Perhaps you meant \"%s\".", closest) : 0,
			 errhidestmt(true), errhidecontext(true)));
}

/* The option whose name differs by the fewest letters, or NULL when none is near. */
static const char *
closest_name(const OptionSet *set, const char *name)
{
	Closest		closest = {.word = name};

	for (int i = 0; i < set->count; i++)
	{
		jdy_closest(&closest, set->options[i].name);
		if (set->options[i].kind == OPTION_SECRET)
			jdy_closest(&closest, psprintf("%s_file", set->options[i].name));
	}
	return closest.best;
}

/* Checks a value and puts it into its field; raises an error that says what is allowed. */
static void
read_option(Endpoint *endpoint, const Option *option, char *value)
{
	void	   *field = (char *) endpoint + option->offset;
	const char *rule = NULL;
	double		number;

	switch (option->kind)
	{
		case OPTION_URL:
			rule = jdy_url_parse(value, &endpoint->url, &endpoint->host);
			break;

		case OPTION_AUTH:
			rule = "kingdee, bearer, qeasy, basic, webhook or none";
			for (int auth = 0; auth < lengthof(auth_names); auth++)
			{
				if (strcmp(value, auth_names[auth]) == 0)
				{
					endpoint->auth = auth;
					rule = NULL;
				}
			}
			break;

		case OPTION_COUNT:
		case OPTION_PERCENT:
		case OPTION_DURATION:
		case OPTION_BYTES:
			if (!read_number(option, value, &number))
				rule = option->allowed;
			else if (option->kind == OPTION_BYTES)
				*(int64 *) field = (int64) number;
			else
				*(int *) field = (int) number;
			break;

		case OPTION_TIME_ZONE:
			endpoint->time_zone = pg_tzset(value);
			if (endpoint->time_zone == NULL || !pg_tz_acceptable(endpoint->time_zone))
				rule = "a time zone of pg_timezone_names, like 'Asia/Shanghai'";
			endpoint->time_zone_name = pstrdup(value);
			break;

		case OPTION_CREDENTIAL:
		case OPTION_SECRET:
			rule = check_credential(option, value);
			*(char **) field = pstrdup(value);
			break;
	}
	if (rule != NULL)
		bad_value(option, rule);
}

static void
bad_value(const Option *option, const char *rule)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid option value"),
			 errdetail("Option \"%s\" must be %s.", option->name, rule),
			 errhidestmt(true), errhidecontext(true)));
}

/* Numbers with PostgreSQL's own units, in the unit of the field, rounded; false when not of the form or out of range. */
static bool
read_number(const Option *option, const char *value, double *number)
{
	char	   *text = pstrdup(value);
	size_t		length = strlen(text);
	int			flags = 0;

	while (length > 0 && text[length - 1] == ' ')
		text[--length] = '\0';
	if (length == 0)
		return false;

	if (option->kind == OPTION_PERCENT && text[length - 1] == '%')
		text[length - 1] = '\0';
	if (option->kind == OPTION_BYTES)
		flags = GUC_UNIT_BYTE;
	if (option->kind == OPTION_DURATION)
	{
		/* Without a unit nobody can tell seconds from milliseconds. */
		if (strchr("0123456789.", text[length - 1]) != NULL)
			return false;
		flags = GUC_UNIT_MS;
	}

	if (!parse_real(text, number, flags, NULL) || isnan(*number))
		return false;
	if (option->kind == OPTION_COUNT && *number != rint(*number))
		return false;
	*number = rint(*number);
	return *number >= option->low && *number <= option->high;
}

/* Credentials become header values and parts of URLs: nothing in them may end a line. */
static const char *
check_credential(const Option *option, const char *value)
{
	if (*value == '\0')
		return "not empty";
	if (strlen(value) > MAX_CREDENTIAL_BYTES)
		return "shorter than 8 kB";
	for (const char *c = value; *c; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			return "free of control characters";
	}
	if (option->offset == FIELD(user) && strchr(value, ':') != NULL)
		return "free of colons";
	if (option->offset == FIELD(path) && strpbrk(value, "?#") != NULL)
		return "free of \"?\" and \"#\"";
	if (option->offset == FIELD(query) && (*value == '?' || strchr(value, '#') != NULL))
		return "the part after the \"?\", free of \"#\"";
	return NULL;
}

/* Reading files of the server through a mapping takes the right to read files of the server. */
static void
check_secret_file(const char *path, Oid user_id)
{
	if (!has_privs_of_role(user_id, ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read a secret from a file"),
				 errdetail("Role \"%s\" does not have the privileges of role \"pg_read_server_files\".",
						   GetUserNameFromId(user_id, false)),
				 errhidestmt(true), errhidecontext(true)));
	if (!is_absolute_path(path))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid option value"),
				 errdetail("The file of a secret must be given with its absolute path."),
				 errhidestmt(true), errhidecontext(true)));
}

/* The file's content without the newline at its end. */
static char *
read_secret_file(const Option *option, const char *path)
{
	char	   *content = palloc0(MAX_CREDENTIAL_BYTES + 3);
	struct stat st;
	int			length = 0;
	int			fd;

	/* O_NONBLOCK: a FIFO that nobody writes to must not hang us. */
	fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open the file of a secret"),
				 errdetail("Option \"%s_file\" names \"%s\": %m.", option->name, path)));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the file of a secret is not a regular file"),
				 errdetail("Option \"%s_file\" names \"%s\".", option->name, path)));
	while (length < MAX_CREDENTIAL_BYTES + 2)
	{
		int			n = read(fd, content + length, MAX_CREDENTIAL_BYTES + 2 - length);

		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read the file of a secret"),
					 errdetail("Option \"%s_file\" names \"%s\": %m.", option->name, path)));
		if (n == 0)
			break;
		length += n;
	}
	CloseTransientFile(fd);

	if (memchr(content, '\0', length) != NULL)
		bad_value(option, "text");
	if (length > 0 && content[length - 1] == '\n')
		content[--length] = '\0';
	if (length > 0 && content[length - 1] == '\r')
		content[--length] = '\0';
	return content;
}
