# The GRANTs that the README documents are all that a role without superuser needs; a
# stranger sees nothing and may do nothing; pg_monitor sees health without contents.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 60, set => {%NO_LIMITS});
# A server of a role without superuser may call the loopback only when it is listed literally.
my $node = pull_node('main', conf => "jdysync.allowed_hosts = '127.0.0.1'\n");
my $version = query($node, "SELECT current_setting('server_version_num')::int");
my $mapping = join ', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS;

sub as { my ($role, $sql) = @_; return query($node, "SET SESSION AUTHORIZATION $role;\n$sql"); }

# Expects an error with this SQLSTATE.
sub refused
{
	my ($role, $sql, $sqlstate, $what) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET SESSION AUTHORIZATION $role;\n$sql", on_error_stop => 1);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like($err, qr/ERROR:  $sqlstate/, $what);
}

# The statements of the README's chapter, so that both stay the same.
sub documented_grants
{
	my $readme = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../README.md");
	my ($rights) = $readme =~ /^## Rights\n(.*?)^## /ms or die 'the README has no chapter about rights';

	return join "\n", $rights =~ /^(GRANT [^;]*TO etl;)/mg;
}

query($node, "CREATE ROLE etl LOGIN; CREATE ROLE colleague LOGIN IN ROLE etl; CREATE ROLE stranger LOGIN; CREATE ROLE doctor LOGIN IN ROLE pg_monitor; CREATE ROLE reader LOGIN");

# ---------------------------------------------------------------------------
# Nothing for PUBLIC.
# ---------------------------------------------------------------------------
is(query($node, q{
	SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
	JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
	WHERE e.extname = 'jdysync' AND has_function_privilege('stranger', p.oid, 'EXECUTE')}), '',
	'no function is for PUBLIC');
is(query($node, q{
	SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
	JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
	WHERE e.extname = 'jdysync' AND c.relkind IN ('r', 'v', 'S')
	AND (CASE c.relkind WHEN 'S' THEN has_sequence_privilege('stranger', c.oid, 'USAGE,SELECT,UPDATE') ELSE has_any_column_privilege('stranger', c.oid, 'SELECT,INSERT,UPDATE,REFERENCES') OR has_table_privilege('stranger', c.oid, 'DELETE,TRUNCATE,TRIGGER') END)}),
	'', 'no table, view or sequence is for PUBLIC');
is(query($node, q{SELECT string_agg(n.nspname, ', ') FROM pg_namespace n WHERE n.nspname LIKE 'jdysync%' AND has_schema_privilege('stranger', n.oid, 'USAGE,CREATE')}), '', 'no schema is for PUBLIC');
is(query($node, q{SELECT has_foreign_data_wrapper_privilege('stranger', 'jdysync', 'USAGE')}), 'f', 'the wrapper is not for PUBLIC');

# ---------------------------------------------------------------------------
# An owner without superuser.
# ---------------------------------------------------------------------------
refused('etl', "CREATE SERVER books FOREIGN DATA WRAPPER jdysync", 42501, 'before the GRANTs: no server');
query($node, documented_grants());
as('etl', "CREATE SERVER books FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', calls_per_minute '0', rate_window '100 ms');
	CREATE USER MAPPING FOR CURRENT_USER SERVER books OPTIONS ($mapping)");
as('etl', "SELECT jdy_add_stream('customer', 'books', settle => '500 ms')");
is(as('etl', "SELECT status, error FROM jdy_sync('customer')"), 'ok|', 'the documented GRANTs are enough to sync');
is_true($node, 'customer', 'everything arrived');
is(as('etl', 'SELECT count(*) FROM jdysync.staging_customer'), '60', 'its owner reads it');
is(as('etl', q{SELECT bool_and(ok) FROM jdy_check('books')}), 't', 'jdy_check');
like(as('etl', q{SELECT jdy_fetch('books', '/jdy/v2/bd/customer', '{"page_size": 1}')->>'errcode'}), qr/^0$/, 'jdy_fetch');
is(as('etl', "SELECT jdy_decrypt('books', 'plain')"), 'plain', 'jdy_decrypt');
like(as('etl', "SELECT jdy_start('customer')"), qr/^\d+$/, 'jdy_start');
ok(poll_until(sub { as('etl', "SELECT count(*) FROM jdy_runs WHERE status = 'ok'") eq '2' }, 'the run'), 'and its run');
is(as('etl', "SELECT status FROM jdy_resync('customer', now() - interval '1 min', now())"), 'ok', 'jdy_resync');
as('etl', "SELECT jdy_alter_stream('customer', settle => '400 ms')");
is(as('etl', "SELECT jdy_cancel((SELECT max(run_id) FROM jdy_runs))"), 'f', 'jdy_cancel of a run that is over');
cmp_ok(as('etl', "SELECT count(*) FROM $_"), '>=', 0, "reads $_") for qw(jdy_runs jdy_calls jdy_coverage jdy_progress jdy_rejects jdy_incidents jdy_catalog);
cmp_ok(as('etl', 'SELECT count(*) FROM jdy_calls'), '>', 60, 'its calls are there');
refused('etl', 'UPDATE jdysync.stream SET watermark = now()', 42501, 'nobody forges the ledger');
refused('etl', "INSERT INTO jdysync.\"window\" SELECT 1, 1, tstzrange(NULL, now()), 'load', 1, 1, 1, 1", 42501, 'or its windows');
refused('etl', "DELETE FROM jdysync.listing", 42501, 'or the queue of details');
refused('etl', "SELECT raw FROM jdysync.reject", 42501, 'or reads the tables behind the views');

# The runner has the owner's rights, never more.
query($node, "CREATE TABLE secret (x int); INSERT INTO secret VALUES (1)");
as('etl', q{CREATE FUNCTION pg_temp.nothing() RETURNS int LANGUAGE sql AS 'SELECT 1'});
query($node, 'GRANT CREATE ON SCHEMA public TO etl');
as('etl', q{CREATE FUNCTION public.peep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM public.secret; RETURN NEW; END $$;
	CREATE TRIGGER peep BEFORE UPDATE ON jdysync.staging_customer FOR EACH ROW EXECUTE FUNCTION public.peep()});
$sim->post('/_sim/change', { op => 'update', count => 1 });
refused('etl', "SELECT * FROM jdy_sync('customer')", 42501, "a trigger works with the owner's rights");
refused('postgres', "SELECT * FROM jdy_sync('customer')", 42501, 'even when a superuser calls') if query($node, "SELECT count(*) FROM pg_roles WHERE rolname = 'postgres'");
as('etl', 'DROP TRIGGER peep ON jdysync.staging_customer');
is(as('etl', "SELECT status FROM jdy_sync('customer')"), 'ok', 'without it the run goes well');

# ---------------------------------------------------------------------------
# A member of the owner may run it.
# ---------------------------------------------------------------------------
is(as('colleague', "SELECT status FROM jdy_sync('customer')"), 'ok', 'a member of the owner may sync');
is(as('colleague', 'SELECT count(DISTINCT name) FROM jdy_runs'), '1', 'and sees its runs');

# ---------------------------------------------------------------------------
# A stranger, without GRANTs and with them.
# ---------------------------------------------------------------------------
my @calls = (
	"jdy_sync('customer')", "jdy_start('customer')", "jdy_alter_stream('customer', settle => '1 s')", "jdy_drop_stream('customer')",
	"jdy_resync('customer', now() - interval '1 s', now())", "jdy_cancel(1)", "jdy_check('books')", "jdy_decrypt('books', 'x')",
	"jdy_fetch('books', '/x')", "jdy_add_stream('other', 'books', entry => 'customer')");
my @views = qw(jdy_runs jdy_calls jdy_coverage jdy_progress jdy_rejects jdy_incidents);

refused('stranger', "SELECT * FROM $_", 42501, "a stranger may not call $_") for @calls;
refused('stranger', "SELECT * FROM $_", 42501, "nor read $_") for @views, 'jdysync.staging_customer', 'jdysync.stream', 'jdysync.run';

(my $for_stranger = documented_grants()) =~ s/TO etl;/TO stranger;/g;
query($node, $for_stranger);
refused('stranger', "SELECT * FROM $_", 42501, "even with the GRANTs not $_") for @calls[0 .. 7];
is(as('stranger', "SELECT count(*) FROM $_"), '0', "and $_ shows nothing") for @views;
$sim->post('/_sim/fault', { kind => 'stall', path => '/jdy/v2/bd/customer', times => 1 });
my $open = as('etl', "SELECT jdy_start('customer')");
ok(poll_until(sub { as('etl', "SELECT count(*) FROM jdy_progress WHERE run_id = $open") eq '1' }, 'the run'), 'an open run of the owner');
is(as('stranger', 'SELECT count(*) FROM jdysync.progress()'), '0', 'is none to a stranger');
refused('stranger', "SELECT jdy_cancel($open)", 42501, 'who may not cancel it');
is(as('colleague', "SELECT jdy_cancel($open)"), 't', 'a member may');
is(as('stranger', 'SELECT count(*) FROM jdy_sync()'), '0', 'to sync all is to sync nothing');
refused('stranger', 'SELECT * FROM jdysync.staging_customer', 42501, 'the records stay hidden');

# ---------------------------------------------------------------------------
# pg_monitor: health without contents; a reader: one table.
# ---------------------------------------------------------------------------
query($node, 'GRANT SELECT ON ' . join(', ', @views) . ' TO doctor');
is(as('doctor', 'SELECT count(DISTINCT name) FROM jdy_runs'), '1', 'pg_monitor sees runs');
is(as('doctor', 'SELECT count(*) FROM jdy_coverage'), '1', 'and coverage');
is(as('doctor', 'SELECT count(*) FROM jdy_calls'), '0', 'but no calls');
is(as('doctor', 'SELECT count(*) FROM jdy_rejects'), '0', 'no bytes');
refused('doctor', 'SELECT * FROM jdysync.staging_customer', 42501, 'no records');
refused('doctor', "SELECT * FROM jdy_sync('customer')", 42501, 'and runs nothing');
query($node, 'GRANT USAGE ON SCHEMA jdysync TO reader; GRANT SELECT ON jdysync.staging_customer TO reader');
is(as('reader', 'SELECT count(*) FROM jdysync.staging_customer'), '60', 'a reader reads what was granted');

# ---------------------------------------------------------------------------
# Owners change.
# ---------------------------------------------------------------------------
query($node, "CREATE ROLE heir LOGIN; " . documented_grants() =~ s/TO etl;/TO heir;/gr);
query($node, 'REASSIGN OWNED BY etl TO heir');
refused('etl', "SELECT * FROM jdy_sync('customer')", 42501, 'REASSIGN OWNED: it is not the old owner\'s any more');
is(as('etl', 'SELECT count(*) FROM jdy_runs'), '0', 'who sees nothing of it');
refused('heir', "SELECT * FROM jdy_sync('customer')", 'HV002', 'the new owner needs a mapping');
as('heir', "CREATE USER MAPPING FOR CURRENT_USER SERVER books OPTIONS ($mapping)");
is(as('heir', "SELECT status FROM jdy_sync('customer')"), 'ok', 'and goes on where the old one stopped');
$sim->post('/_sim/change', { op => 'update', count => 5 });
is(as('heir', "SELECT status, inserted FROM jdy_sync('customer')"), 'ok|0', 'with later changes');
is_true($node, 'customer', 'nothing is missing');

# Before PostgreSQL 17 a worker cannot be a role without LOGIN.
query($node, "CREATE ROLE nologin; " . documented_grants() =~ s/TO etl;/TO nologin;/gr);
query($node, "GRANT USAGE ON FOREIGN SERVER books TO nologin; CREATE USER MAPPING FOR nologin SERVER books OPTIONS ($mapping)");
if ($version < 170000)
{
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET ROLE nologin; SELECT jdy_add_stream('shut', 'books', entry => 'customer')");
	like($err, qr/28000: role "nologin" cannot own a stream.*HINT:.*LOGIN/s, 'an owner without LOGIN is refused');
	is(query($node, "SELECT to_regclass('jdysync.staging_shut')"), '', 'and nothing is left behind');
}
else
{
	query($node, "SET ROLE nologin; SELECT jdy_add_stream('shut', 'books', entry => 'customer')");
	is(query($node, "SET ROLE nologin; SELECT status FROM jdy_sync('shut')"), 'ok', 'an owner without LOGIN');
}

# LOGIN taken away later.
if ($version < 170000)
{
	query($node, 'ALTER ROLE heir NOLOGIN');
	sync_fails($node, 'customer', '28000', qr/role "heir" is not permitted to log in.*HINT:.*LOGIN/s, 'LOGIN taken away: a clear error');
	query($node, 'ALTER ROLE heir LOGIN');
	sync_ok($node, 'customer', 'and given back: it goes on');
}

as('heir', "SELECT jdy_drop_stream('customer', false)");
is(query($node, "SELECT to_regclass('jdysync.staging_customer')"), '', 'its owner drops it with its data');

done_testing();
