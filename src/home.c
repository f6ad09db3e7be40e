/*-------------------------------------------------------------------------
 * home.c
 *		Whether this is the database that the state was made in, or a copy of it.
 *
 * A restored dump, a CREATE DATABASE … TEMPLATE, a cluster after pg_upgrade has all streams, pushes
 * and schedules of the database that it was made of, which may go on working.  Two that act for one
 * would share no budget, and send everything twice.  So jdysync.home carries the identifier of
 * the cluster and the oid of the database; where they differ nothing runs, by schedule or
 * by hand, until a person says with jdy_adopt() that this is the one.
 *
 * Called by stream.c, pushdef.c, runner.c and scheduler.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "home.h"
#include "miscadmin.h"
#include "runner.h"
#include "spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "watch.h"

static JdyStatement note = {
	.sql = "INSERT INTO jdysync.home (cluster, database) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM jdysync.home)",
	.nargs = 2,
	.argtypes = {INT8OID, OIDOID}
};

static JdyStatement look = {
	.sql = "SELECT NOT EXISTS (SELECT FROM jdysync.home h WHERE h.cluster <> $1 OR h.database <> $2)",
	.nargs = 2,
	.argtypes = {INT8OID, OIDOID}
};

PG_FUNCTION_INFO_V1(jdy_adopt);

static void here(Datum *values);

void
jdy_home_note(void)
{
	Datum		values[2];

	here(values);
	jdy_execute(&note, values, NULL);
}

bool
jdy_home_is_here(void)
{
	Datum		values[2];
	bool		isnull;

	here(values);
	jdy_execute(&look, values, NULL);
	return DatumGetBool(jdy_spi_datum(0, 1, &isnull));
}

void
jdy_home_check(void)
{
	if (jdy_home_is_here())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this database is a copy: nothing runs here"),
			 errdetail("Its streams and pushes were made in another database or cluster, which may still run them."),
			 errhint("When that one does not run any more, or was this one before pg_upgrade: SELECT jdy_adopt();")));
}

/* Takes up what another database began; returns how many streams and pushes run from now on. */
Datum
jdy_adopt(PG_FUNCTION_ARGS)
{
	static JdyStatement move = {
		.sql = "UPDATE jdysync.home h SET cluster = $1, database = $2 WHERE h.cluster <> $1 OR h.database <> $2",
		.nargs = 2,
		.argtypes = {INT8OID, OIDOID}
	};
	static JdyStatement subjects = {.sql = "SELECT pg_catalog.count(*) FROM jdysync.subject j"};
	Datum		values[2];
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
		jdy_watch_home(true);
		jdy_execute(&subjects, NULL, NULL);
		n = jdy_spi_int64(0, 1, 0);
		jdy_wake_launcher_at_commit();
	}
	SPI_finish();
	PG_RETURN_INT64(n);
}

static void
here(Datum *values)
{
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
}
