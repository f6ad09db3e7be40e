# Whoever owns a stream reaches what he may reach anyway, and nothing further: not through the
# metadata, the staging table or its triggers, not through others who work with his stream.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 40, suppliers => 5, set => {%NO_LIMITS});
my $node = pull_node('main');
my $superuser = query($node, 'SELECT CURRENT_USER');	# whoever runs the tests
my $credentials = join ', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS;

# What the README says a role without superuser needs.
$node->safe_psql('postgres', qq{
CREATE ROLE etl NOLOGIN;
GRANT USAGE ON SCHEMA jdysync, jdysync_shim TO etl;
GRANT USAGE ON FOREIGN SERVER kingdee TO etl;
GRANT EXECUTE ON FUNCTION jdy_check, jdy_add_stream, jdy_alter_stream, jdy_drop_stream, jdy_sync, jdy_resync, jdy_start, jdy_cancel,
  jdy_fetch, jdy_decrypt, jdysync.progress TO etl;
GRANT SELECT ON jdy_runs, jdy_calls, jdy_coverage, jdy_progress, jdy_rejects, jdy_incidents, jdy_catalog TO etl;
CREATE ROLE mallory LOGIN IN ROLE etl;
CREATE ROLE victim LOGIN IN ROLE etl;
CREATE ROLE watcher LOGIN IN ROLE etl, pg_monitor;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE USER MAPPING FOR mallory SERVER kingdee OPTIONS ($credentials);
CREATE USER MAPPING FOR victim SERVER kingdee OPTIONS ($credentials)});

sub as_role
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		connstr => $node->connstr('postgres') . " user=$role");

	return { status => $status, out => $out, err => $err };
}

sub fine
{
	my ($role, $sql, $what) = @_;
	my $result = as_role($role, $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($result->{status}, 0, $what) or diag($result->{err});
	return $result;
}

sub refused
{
	my ($role, $sql, $pattern, $what) = @_;
	my $result = as_role($role, $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($result->{status}, 0, $what);
	like($result->{err}, $pattern, "$what: it says so");
	return $result;
}

my $settle = "settle => '2 s', overlap => '2 s'";

# ---------------------------------------------------------------------------
# Whoever alters a stream runs none of its owner's code with his own rights.
# ---------------------------------------------------------------------------
fine('mallory', q{
CREATE FUNCTION mallory.spy() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING 'evaluated as %', current_user;
	BEGIN
		EXECUTE 'RESET ROLE';
		RAISE WARNING 'then as %', current_user;
	EXCEPTION WHEN OTHERS THEN NULL;
	END;
	BEGIN
		EXECUTE 'SET SESSION AUTHORIZATION DEFAULT';
		RAISE WARNING 'then as %', current_user;
	EXCEPTION WHEN OTHERS THEN NULL;
	END;
	RETURN '-1';
END $$}, 'mallory writes a function');
my $metadata = q{{"api":"/jdy/v2/bd/customer","id":"id","number":"number","request":[{"field":"enable","value":"_function mallory.spy()"}]}};
fine('mallory', "SELECT jdy_add_stream('trap', 'kingdee', '$metadata', $settle)", 'and puts it into metadata');
{
	my (undef, undef, $err) = $node->psql('postgres', "SELECT jdy_alter_stream('trap', detail => true)");

	like($err, qr/evaluated as mallory/, 'a superuser who alters the stream has it evaluated as its owner');
	unlike($err, qr/as postgres|as \Q$ENV{USER}\E\b/, 'and never as himself') if defined $ENV{USER};
	unlike($err, qr/as (?!mallory)/, 'nor as anybody else');
	(undef, undef, $err) = $node->psql('postgres', "SELECT jdy_alter_stream('trap', metadata => '$metadata')");
	like($err, qr/evaluated as mallory/, 'so are the metadata that he gives it');
	unlike($err, qr/as (?!mallory)/, 'and by nobody else');
	is($node->safe_psql('postgres', "BEGIN; SELECT jdy_alter_stream('trap', detail => true); SELECT current_user = session_user; COMMIT"),
		"\nt", 'afterwards he is himself again');
}

# ---------------------------------------------------------------------------
# The staging table is its owner's to change; what is in it is not believed to be what it was.
# ---------------------------------------------------------------------------
for my $column ('data TYPE bigint USING 3735928559', 'data TYPE text USING repeat(data::text, 9)',
	q{data TYPE bytea USING '\xffffffffffffffffffffffffffffffff'}, 'data DROP NOT NULL; UPDATE jdysync.staging_odd SET data = NULL',
	'detailed_at TYPE text', 'row_digest TYPE text', 'id TYPE name')
{
	# One record's detail stays due, so that the next run looks into the table for it first.
	$sim->post('/_sim/fault', { kind => 'errcode', errcode => 1030003001, path => 'customer_detail' });
	fine('mallory', "SELECT jdy_add_stream('odd', 'kingdee', entry => 'customer', settle => '0', overlap => '0'); SELECT * FROM jdy_sync('odd')",
		'a stream with a detail that is still due');
	is(query($node, "SELECT set_aside FROM jdy_coverage WHERE name = 'odd'"), '1', 'one is');
	wait_out($sim, 1);
	fine('mallory', "DROP VIEW jdy_odd, jdy_odd_masked; ALTER TABLE jdysync.staging_odd ALTER $column", "staging gets $column");
	as_role('mallory', "SELECT * FROM jdy_sync('odd')");
	$sim->post('/_sim/change', { entity => 'customer', op => 'update', count => 3 });
	as_role('mallory', "SELECT * FROM jdy_sync('odd', mode => 'full')");
	is(query($node, 'SELECT 1'), '1', 'that does not bring the server down') or last;
	fine('mallory', 'DROP TABLE jdysync.staging_odd', 'he drops the table');
	refused('mallory', "SELECT jdy_drop_stream('odd')", qr/staging table of stream "odd" is gone/, 'a stream without its table is nobody\'s');
	fine($superuser, "SELECT jdy_drop_stream('odd')", 'but a superuser can forget it');
}

# Moved and renamed it is still the stream's table, and what takes its place is not.
fine('mallory', "SELECT jdy_add_stream('moved', 'kingdee', entry => 'supplier', detail => false, $settle)", 'a stream');
fine('mallory', 'ALTER TABLE jdysync.staging_moved SET SCHEMA mallory; ALTER TABLE mallory.staging_moved RENAME TO "My suppliers"', 'whose table moves away');
$node->safe_psql('postgres', "CREATE TABLE jdysync.staging_moved AS SELECT 'precious' AS thing");
fine('mallory', "SELECT * FROM jdy_sync('moved')", 'it runs');
is(query($node, 'SELECT count(*) FROM mallory."My suppliers"'), '5', 'into the table that it has');
fine('mallory', "SELECT jdy_drop_stream('moved', keep_data => false)", 'it is dropped');
is(query($node, q{SELECT to_regclass('mallory."My suppliers"') IS NULL, thing FROM jdysync.staging_moved}), 't|precious', 'with that table and no other');
refused('mallory', "SELECT jdy_add_stream('moved', 'kingdee', entry => 'supplier')", qr/belongs to somebody else/, 'a table of another is not adopted');
$node->safe_psql('postgres', "DROP TABLE jdysync.staging_moved");
$node->safe_psql('postgres', "CREATE VIEW jdysync.staging_moved AS SELECT 1 AS row_digest, now() AS detailed_at; ALTER VIEW jdysync.staging_moved OWNER TO mallory");
refused('mallory', "SELECT jdy_add_stream('moved', 'kingdee', entry => 'supplier')", qr/is not a staging table/, 'nor is a view');
$node->safe_psql('postgres', "DROP VIEW jdysync.staging_moved");

# Triggers, dropped and generated columns, partitions: the owner's to add.
fine('mallory', "SELECT jdy_add_stream('busy', 'kingdee', entry => 'supplier', detail => false, $settle)", 'a stream');
fine('mallory', q{
ALTER TABLE jdysync.staging_busy ADD extra int, ADD title text GENERATED ALWAYS AS (data->>'name') STORED;
ALTER TABLE jdysync.staging_busy DROP extra;
CREATE TABLE mallory.seen (who text, owner text, path text);
GRANT INSERT ON mallory.seen TO PUBLIC;
CREATE FUNCTION mallory.tamper() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RESET ROLE;
	SET SESSION AUTHORIZATION DEFAULT;
	SET search_path = mallory;
	SET default_transaction_read_only = on;
	BEGIN
		UPDATE jdysync.stream SET watermark = NULL;
		RAISE WARNING 'tampered';
	EXCEPTION WHEN insufficient_privilege THEN
		INSERT INTO mallory.seen VALUES (current_user, session_user, 'refused');
	END;
	RETURN NEW;
END $$;
CREATE TRIGGER tamper BEFORE INSERT ON jdysync.staging_busy FOR EACH ROW EXECUTE FUNCTION mallory.tamper();
CREATE FUNCTION mallory.length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.seen VALUES (current_user, session_user, 'planted'); RETURN 1; END $$;
CREATE FUNCTION mallory.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.seen VALUES (current_user, session_user, 'planted'); RETURN true; END $$;
CREATE OPERATOR mallory.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mallory.same)}, 'with triggers that try');
as_role('mallory', "SELECT * FROM jdy_sync('busy')");
as_role('mallory', "SELECT * FROM jdy_sync('busy')");
is(query($node, 'SELECT DISTINCT who, owner, path FROM mallory.seen'), 'mallory|mallory|refused', 'what the owner brings into a run stays within his rights');
is(query($node, 'SELECT count(*), count(title) FROM jdysync.staging_busy'), '5|5', 'and the rows land');

# Settings of roles and databases do not make it another's run.
$node->safe_psql('postgres', q{GRANT etl TO victim; ALTER ROLE victim SET role = 'etl'; ALTER ROLE victim SET search_path = mallory});
fine('victim', "SET role = none; SET search_path = public; SELECT jdy_add_stream('pinned', 'kingdee', entry => 'supplier', detail => false, $settle); SELECT * FROM jdy_sync('pinned')",
	'a role whose settings make it another runs as itself');
is(query($node, 'SELECT count(*) FROM jdysync.staging_pinned'), '5', 'with its rows');
$node->safe_psql('postgres', 'ALTER ROLE victim RESET ALL');

# ---------------------------------------------------------------------------
# What is seen of a stream: all by its owner and his members, health without contents by
# pg_monitor, nothing by anybody else.
# ---------------------------------------------------------------------------
my $one_run = q{{"api":"/jdy/v2/bd/customer","id":"group_name","number":"number","request":[]}};
fine('mallory', "SELECT jdy_add_stream('seen', 'kingdee', entry => 'customer', settle => '0', overlap => '0')", 'a stream to look at');
$sim->post('/_sim/fault', { kind => 'errcode', errcode => 1030003001, path => 'customer_detail' });
fine('mallory', "SELECT * FROM jdy_sync('seen')", 'with a record set aside');
fine('mallory', "SELECT jdy_add_stream('groups', 'kingdee', '$one_run', detail => false)", 'and one whose runs fail');
refused('mallory', "SELECT * FROM jdy_sync('groups')", qr/not a key/, 'an error with a record in its detail');
$sim->post('/_sim/config', { latency_ms => 300 });
my $going = background_sql($node, "SET ROLE mallory", "SELECT * FROM jdy_sync('seen', mode => 'full')");
my $run_id = wait_until_running($node, 'seen');
my %sees = (
	mallory => { runs => 't', calls => 't', coverage => 't', progress => 't', detail => 't', exceptions => 't', incidents => 't' },
	watcher => { runs => 't', calls => 'f', coverage => 't', progress => 't', detail => 'f', exceptions => 'f', incidents => 't' },
	victim => { runs => 'f', calls => 'f', coverage => 'f', progress => 'f', detail => 'f', exceptions => 'f', incidents => 'f' });
my %queries = (
	runs => q{SELECT count(*) > 0 FROM jdy_runs WHERE name IN ('seen', 'groups')},
	calls => q{SELECT count(*) > 0 FROM jdy_calls k JOIN (VALUES (RUNS)) v(run_id) USING (run_id)},
	coverage => q{SELECT count(*) > 0 FROM jdy_coverage WHERE name = 'seen'},
	progress => q{SELECT count(*) > 0 FROM jdy_progress WHERE name = 'seen'},
	detail => q{SELECT count(detail) > 0 FROM jdy_runs WHERE name = 'groups'},
	exceptions => q{SELECT count(exceptions) > 0 FROM jdy_coverage WHERE name = 'seen'},
	incidents => q{SELECT count(*) > 0 FROM jdy_incidents WHERE name = 'seen'});

$node->safe_psql('postgres', q{INSERT INTO jdysync.incident (name, severity, what, advice) VALUES ('seen', 'info', 'a test', 'none')});
my $first_run = query($node, q{SELECT min(run_id) FROM jdysync.run WHERE name = 'seen'});
for my $role (sort keys %sees)
{
	for my $what (sort keys %queries)
	{
		(my $sql = $queries{$what}) =~ s/RUNS/$first_run/;
		is(as_role($role, $sql)->{out}, $sees{$role}{$what}, "$role and $what");
	}
}
refused('victim', "SELECT * FROM jdysync.progress()", qr/permission denied for schema/, 'shared memory is nobody\'s to read')
  if query($node, q{SELECT has_schema_privilege('victim', 'jdysync', 'USAGE')}) eq 'f';
is(as_role('victim', 'SELECT count(*) FROM jdysync.progress()')->{out}, '0', 'nor does the function behind a view show more');
refused('victim', "SELECT jdy_cancel($run_id)", qr/permission denied for the run/, 'a run is not a stranger\'s to cancel');
refused('watcher', "SELECT jdy_cancel($run_id)", qr/permission denied for the run/, 'nor a watcher\'s');
for my $call ("jdy_sync('seen')", "jdy_resync('seen', now() - interval '1 day', now())", "jdy_start('seen')",
	"jdy_alter_stream('seen', schedule => '1 h')", "jdy_drop_stream('seen')")
{
	refused('victim', "SELECT $call", qr/must be owner of stream "seen"/, "$call is its owner's");
}
refused('victim', "SELECT * FROM jdysync.$_", qr/permission denied/, "jdysync.$_ is nobody's to read")
  for qw(stream listing run call reject incident account "window");
fine('mallory', "SELECT jdy_cancel($run_id)", 'its owner cancels it');
finish_session($going);
$sim->post('/_sim/config', { latency_ms => 0 });

# ---------------------------------------------------------------------------
# One's calls and runs do not stand in another's way.
# ---------------------------------------------------------------------------
$node->safe_psql('postgres', qq{
CREATE SERVER slow FOREIGN DATA WRAPPER jdysync OPTIONS (url '$sim->{url}', calls_per_minute '1', rate_window '10 s');
GRANT USAGE ON FOREIGN SERVER slow TO mallory;
CREATE USER MAPPING FOR mallory SERVER slow OPTIONS (client_id '$JdyTest::CREDENTIALS{client_id}', client_secret 'x',
	app_key 'AbCdEf12', app_secret 'y', domain 'https://tf.jdy.com', account_id '1000000000000000002');
ALTER SERVER kingdee OPTIONS (SET calls_per_minute '100000', SET rate_window '10 s')});
fine('victim', "SELECT * FROM jdy_sync('pinned', mode => 'full')", 'the victim has a budget');
as_role('mallory', "SELECT * FROM jdy_check('slow')");
as_role('mallory', "SELECT jdy_fetch('slow', '/jdy/v2/bd/customer')");
{
	my $started = time;

	fine('victim', "SELECT * FROM jdy_sync('pinned', mode => 'full')", 'which nobody lowers who only names the account');
	cmp_ok(time - $started, '<', 8, 'and it goes on at once');
}
$node->safe_psql('postgres', q{ALTER SYSTEM SET jdysync.enabled = off; SELECT pg_reload_conf()});
fine('mallory', "SELECT count(jdy_start('seen')) FROM generate_series(1, 1100)", 'a thousand runs are queued');
my $queued = fine('victim', "SELECT jdy_start('pinned')", 'and one of another')->{out};
$node->safe_psql('postgres', q{ALTER SYSTEM RESET jdysync.enabled; SELECT pg_reload_conf()});
wait_for_status($node, $queued, 'ok', 'which does not wait for them');
$node->safe_psql('postgres', q{UPDATE jdysync.run SET status = 'cancelled' WHERE status = 'queued'});

# What a dropped table leaves behind in its stream is no claim to the relation that gets its oid.
fine('mallory', "SELECT jdy_add_stream('stale', 'kingdee', entry => 'supplier', detail => false)", 'a stream');
$node->safe_psql('postgres', q{CREATE TABLE public.another (n int); DROP TABLE jdysync.staging_stale CASCADE;
	UPDATE jdysync.stream SET staging = 'public.another' WHERE name = 'stale'});
refused($superuser, "SELECT * FROM jdy_sync('stale')", qr/is gone/, 'a stream has no table that is no staging table');

refused('mallory', "SELECT * FROM jdy_sync('a' || repeat('客', 200))", qr/stream "a.*" does not exist/, 'a name that is too long is no name');

# The kill switch stops what is under way.
$sim->post('/_sim/config', { latency_ms => 1000 });
$going = background_sql($node, "SET ROLE mallory", "SELECT * FROM jdy_sync('seen', mode => 'full')");
wait_until_running($node, 'seen');
$node->safe_psql('postgres', q{ALTER SYSTEM SET jdysync.enabled = off; SELECT pg_reload_conf()});
ok(!finish_session($going), 'a run ends when jdysync is switched off');
like($going->{err}, qr/switched off/, 'and says why');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET jdysync.enabled; SELECT pg_reload_conf()});
$sim->post('/_sim/config', { latency_ms => 0 });

# ---------------------------------------------------------------------------
# A schema in which somebody planted better matches than PostgreSQL's own.
# ---------------------------------------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE planted');
$node->safe_psql('planted', q{
CREATE SCHEMA planted AUTHORIZATION mallory;
SET ROLE mallory;
DO $do$
DECLARE
	f text;
BEGIN
	FOREACH f IN ARRAY ARRAY['isempty(tstzrange)', 'lower(tstzmultirange)', 'upper(tstzmultirange)', 'range_merge(tstzmultirange)',
		'tstzrange(timestamptz, timestamptz)', 'tstzmultirange(tstzrange)', 'min(timestamptz)', 'unnest(tstzmultirange)', 'jsonb_build_object(text, text)',
		'now()', 'floor(double precision)', 'sha256(bytea)', 'length(text)'] LOOP
		EXECUTE format('CREATE FUNCTION planted.%s RETURNS text LANGUAGE sql AS $$ SELECT NULL $$', f);
	END LOOP;
	CREATE FUNCTION planted.same(tstzmultirange, tstzmultirange) RETURNS boolean LANGUAGE sql AS 'SELECT true';
	CREATE FUNCTION planted.less(tstzmultirange, tstzmultirange) RETURNS tstzmultirange LANGUAGE sql AS 'SELECT $1';
	CREATE OPERATOR planted.= (LEFTARG = tstzmultirange, RIGHTARG = tstzmultirange, FUNCTION = planted.same);
	CREATE OPERATOR planted.- (LEFTARG = tstzmultirange, RIGHTARG = tstzmultirange, FUNCTION = planted.less);
END $do$;
RESET ROLE;
CREATE EXTENSION jdysync SCHEMA planted});
is($node->safe_psql('planted', q{
SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0), pg_describe_object(d.refclassid, d.refobjid, 0)
FROM pg_depend d
WHERE (d.refclassid, d.refobjid) IN (
		SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'planted'::regnamespace AND proowner = 'mallory'::regrole
		UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprnamespace = 'planted'::regnamespace)
	AND (d.classid, d.objid) NOT IN (SELECT 'pg_operator'::regclass, oid FROM pg_operator)}),
	'', 'nothing of the extension calls what was planted');
is($node->safe_psql('planted', "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'jdy_runs'"), 'planted',
	'its views stand in the schema chosen');

unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no process of the server crashed');

done_testing();
