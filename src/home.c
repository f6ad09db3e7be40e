/*-------------------------------------------------------------------------
 * home.c
 *		Whether runs may be made here: no copy, and SQL objects that the library knows.
 *
 * A restored dump, a CREATE DATABASE … TEMPLATE, a cluster after pg_upgrade has all streams, pushes
 * and schedules of the database that it was made of, which may go on working.  Two that act for one
 * would share no budget, and send everything twice.  So jdysync.home carries the identifier of
 * the cluster and the oids of database and extension (a dump may be restored where it was made);
 * where they differ nothing runs, by schedule or by hand, until a person says with jdy_adopt() that
 * this is the one.
 *
 * Packages are updated under a server that runs: its library stays the old one until it restarts, its SQL
 * objects until ALTER EXTENSION … UPDATE.  Either may come first.  A library knows the versions before its own
 * that it lists; with any other it makes no runs, and says what to do.
 *
 * Called by stream.c, pushdef.c, runner.c and scheduler.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "home.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "runner.h"
#include "spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "watch.h"

static JdyStatement note = {
	.sql = "INSERT INTO jdysync.home (cluster, database, extension) SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM jdysync.home)",
	.nargs = 3,
	.argtypes = {INT8OID, OIDOID, OIDOID}
};

static JdyStatement look = {
	.sql = "SELECT NOT EXISTS (SELECT FROM jdysync.home h WHERE h.cluster <> $1 OR h.database <> $2 OR h.extension <> $3)",
	.nargs = 3,
	.argtypes = {INT8OID, OIDOID, OIDOID}
};

/* Not from what spi.c remembers: nothing tells a session that this changed. */
static JdyStatement look_version = {
	.sql = "SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'jdysync'"
};

/* Of the SQL objects. */
static const char *const known_versions[] = {JDY_VERSION};

PG_FUNCTION_INFO_V1(jdy_adopt);

static bool check_version(int elevel);
static void here(Datum *values);

void
jdy_home_note(void)
{
	Datum		values[3];

	(void) check_version(ERROR);
	here(values);
	jdy_execute(&note, values, NULL);
}

bool
jdy_home_is_here(void)
{
	Datum		values[3];
	bool		isnull;

	here(values);
	jdy_execute(&look, values, NULL);
	return DatumGetBool(jdy_spi_datum(0, 1, &isnull));
}

bool
jdy_home_fits(void)
{
	return check_version(LOG);
}

void
jdy_home_check(void)
{
	if (!jdy_home_is_here())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy: nothing runs here"),
				 errdetail("Its streams and pushes were made in another database or cluster, which may still run them."),
				 errhint("When that one does not run any more, or was this one before pg_upgrade: SELECT jdy_adopt();")));
	(void) check_version(ERROR);
}

/* Takes up what another database began; returns how many streams and pushes run from now on. */
Datum
jdy_adopt(PG_FUNCTION_ARGS)
{
	static JdyStatement move = {
		.sql = "UPDATE jdysync.home h SET cluster = $1, database = $2, extension = $3"
		" WHERE h.cluster <> $1 OR h.database <> $2 OR h.extension <> $3",
		.nargs = 3,
		.argtypes = {INT8OID, OIDOID, OIDOID}
	};

	/* What a push saw last is told by places in the log and transactions of the original. */
	static JdyStatement look_anew = {.sql = "UPDATE jdysync.push p SET seen_source = NULL WHERE p.seen_source IS NOT NULL"};
	static JdyStatement subjects = {.sql = "SELECT pg_catalog.count(*) FROM jdysync.subject j"};
	Datum		values[3];
	int64		n = 0;

	SPI_connect();
	if (!has_privs_of_role(GetUserId(), jdy_extension_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of extension jdysync")));
	here(values);
	jdy_execute(&move, values, NULL);
	if (SPI_processed > 0)
	{
		jdy_execute(&look_anew, NULL, NULL);
		jdy_watch_home(true);
		jdy_execute(&subjects, NULL, NULL);
		n = jdy_spi_int64(0, 1, 0);
		jdy_wake_launcher_at_commit();
	}
	SPI_finish();
	PG_RETURN_INT64(n);
}

/* The hint names both ways: which of the two is older cannot be told from what the other does not know. */
static bool
check_version(int elevel)
{
	const char *version;

	jdy_execute(&look_version, NULL, NULL);
	version = SPI_processed > 0 ? jdy_spi_text(0, 1) : "none";
	for (int i = 0; i < lengthof(known_versions); i++)
		if (strcmp(version, known_versions[i]) == 0)
			return true;
	ereport(elevel,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("jdysync makes no runs in database \"%s\": its SQL objects and the loaded library do not fit",
					get_database_name(MyDatabaseId)),
			 errdetail("The SQL objects are of version %s, the library is of version %s.", version, JDY_VERSION),
			 errhint("Restart PostgreSQL if another version was installed since it started, then ALTER EXTENSION jdysync UPDATE.")));
	return false;
}

static void
here(Datum *values)
{
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = ObjectIdGetDatum(jdy_extension_oid());
}
