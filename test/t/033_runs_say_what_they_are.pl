# A run works for the stream, the lock and the person that it was started for, or says why it does
# not; how it ended is told to those who may know.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $CUSTOMER = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 60, suppliers => 5, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "jdysync.allowed_hosts = '127.0.0.1'\n", server => { timeout => '2 s', max_attempts => 100 });
my $server_sql = sprintf q{CREATE SERVER kingdee FOREIGN DATA WRAPPER jdysync OPTIONS (url '%s', calls_per_minute '0', rate_window '100 ms', timeout '2 s', max_attempts '100');
	CREATE USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS (%s);}, $sim->url, mapping();

sub mapping { return join ', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS; }
sub stall { $sim->post('/_sim/fault', { kind => 'stall', path => $CUSTOMER, times => -1 }); return; }
sub go_on { $sim->delete('/_sim/fault'); return; }
sub no_runner { return poll_sql($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jdysync runner'}); }

sub set_for_all
{
	my ($setting, $value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET $setting = $value");
	$node->reload;
	return poll_sql($node, "SELECT current_setting('$setting') = '$value'");
}

# Runs the trigger function's body whenever a row of stream $name is to be stored.
sub add_trigger
{
	my ($name, $body) = @_;

	$node->safe_psql('postgres', qq{
		CREATE OR REPLACE FUNCTION public.of_the_owner() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $body RETURN NEW; END \$\$;
		CREATE TRIGGER of_the_owner BEFORE INSERT ON jdysync.staging_$name FOR EACH ROW EXECUTE FUNCTION public.of_the_owner()});
	return;
}

# ---------------------------------------------------------------------------
# The extension is dropped and made again while a run is open.
# ---------------------------------------------------------------------------
{
	add_stream($node, 'customer');
	stall();
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	wait_until_running($node, 'customer');
	$node->safe_psql('postgres', "BEGIN; DROP EXTENSION jdysync CASCADE; CREATE EXTENSION jdysync; $server_sql
		SELECT jdy_add_stream('customer', 'kingdee'); COMMIT");
	is(value_of($node, "SELECT stream_id FROM jdysync.stream WHERE name = 'customer'"), '1', 'another stream has the number and the name');
	is(value_of($node, 'SELECT count(*) FROM jdy_progress'), '0', 'it has no run');
	go_on();
	ok(!finish_session($caller), 'the run of the one that was dropped fails');
	like($caller->{err}, qr/ERROR:  42704: the extension was dropped while the run was open/, 'and says why');
	no_runner();
	is(value_of($node, 'SELECT count(*) FROM jdysync.staging_customer'), '0', 'none of its rows is landed in the new one');
	is(value_of($node, 'SELECT load_began, loaded_at, coverage FROM jdysync.stream'), '||{}', 'nor does its coverage count for it');
	is(value_of($node, 'SELECT count(*) FROM jdysync.run'), '0', 'nor is it a run of it');
	sync_ok($node, 'customer', 'the new stream');
	is_true($node, 'customer', 'reads everything');
}

# The same before its first transaction, while it waits for its stream.
{
	stall();
	my $open = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	wait_until_running($node, 'customer');
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer', 'full')");
	poll_sql($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'object' AND classid = 'jdysync.stream'::regclass AND NOT granted});
	$node->safe_psql('postgres', "BEGIN; DROP EXTENSION jdysync CASCADE; CREATE EXTENSION jdysync; $server_sql
		SELECT jdy_add_stream('customer', 'kingdee'); COMMIT");
	go_on();
	ok(!finish_session($_), 'a run fails') for $open, $caller;
	like($caller->{err}, qr/ERROR:  42704: extension jdysync was dropped while it was used/, 'because it was asked for before');
	no_runner();
	is(value_of($node, 'SELECT count(*) FROM jdysync.run'), '0', 'it did not begin');
}

# ---------------------------------------------------------------------------
# A trigger releases the stream's lock.
# ---------------------------------------------------------------------------
add_stream($node, 'supplier', detail => 'false');
add_trigger('supplier', 'PERFORM pg_advisory_unlock_all();');
{
	my $run = sync_fails($node, 'supplier', '55000', qr/the lock of the run's stream was released.*HINT:.*pg_advisory_unlock_all/s,
		'a run whose lock was released fails');
	is(value_of($node, q{SELECT status, sqlstate, detail IS NOT NULL FROM jdy_runs ORDER BY run_id DESC LIMIT 1}), 'failed|55000|t', 'which is on record');
	is(value_of($node, 'SELECT count(*) FROM jdysync.staging_supplier'), '0', 'and lands nothing without it');
	unlike(slurp_file($node->logfile), qr/you don't own a lock/, 'it does not release what it has not');
}

# ---------------------------------------------------------------------------
# Cancelled is a run that somebody cancelled.
# ---------------------------------------------------------------------------
add_stream($node, 'remote', entry => "'material'", detail => 'false');
$node->safe_psql('postgres', 'DROP TRIGGER of_the_owner ON jdysync.staging_supplier');
add_trigger('supplier', q{RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = '57014', DETAIL = 'remote';});
sync_fails($node, 'supplier', '57014', qr/canceling statement due to statement timeout/, 'a statement that timed out elsewhere', no_hint => 'it is the words of a trigger');
is(value_of($node, q{SELECT status, sqlstate, error FROM jdy_runs ORDER BY run_id DESC LIMIT 1}),
	'failed|57014|canceling statement due to statement timeout', 'makes a run that failed');
$node->safe_psql('postgres', 'DROP TRIGGER of_the_owner ON jdysync.staging_supplier');
sync_ok($node, 'supplier', 'without the trigger');
is_true($node, 'supplier', 'all of it comes', form => 'list');

# ---------------------------------------------------------------------------
# A queued run is his who queued it.
# ---------------------------------------------------------------------------
$node->safe_psql('postgres', sprintf q{
	CREATE ROLE alice LOGIN; CREATE ROLE deputy LOGIN IN ROLE alice; CREATE TABLE public.seen (who text);
	GRANT INSERT ON public.seen TO PUBLIC; GRANT CREATE ON SCHEMA public TO alice;
	GRANT USAGE ON SCHEMA jdysync TO alice; GRANT USAGE ON FOREIGN SERVER kingdee TO alice;
	GRANT EXECUTE ON FUNCTION jdy_add_stream, jdy_sync, jdy_start TO alice; GRANT SELECT ON jdy_runs TO alice;
	CREATE USER MAPPING FOR alice SERVER kingdee OPTIONS (%s);
	SET ROLE alice;
	SELECT jdy_add_stream('hers', 'kingdee', entry => 'customer', detail => false);
	CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NEW; END';
	CREATE TRIGGER note BEFORE INSERT ON jdysync.staging_hers FOR EACH ROW EXECUTE FUNCTION public.note()}, mapping());
sub start_as { my ($role) = @_; return value_of($node, "SET ROLE $role; SELECT jdy_start('hers', 'full')"); }
{
	wait_for_status($node, start_as('alice'), 'ok', 'a run that its owner queued');
	wait_for_status($node, start_as('deputy'), 'ok', 'or a member of its owner');
	is(value_of($node, 'SELECT DISTINCT who FROM public.seen'), 'alice', 'works as its owner');

	$node->safe_psql('postgres', 'DELETE FROM jdysync.staging_hers; DELETE FROM public.seen');
	set_for_all('jdysync.enabled', 'off');
	my @queued = map { start_as($_) } qw(alice deputy);
	$node->safe_psql('postgres', 'REVOKE alice FROM deputy');
	push @queued, value_of($node, "SELECT jdy_start('hers', 'full')");
	$node->safe_psql('postgres', 'REASSIGN OWNED BY alice TO CURRENT_USER; ALTER FUNCTION public.note() OWNER TO alice; DROP ROLE deputy');
	set_for_all('jdysync.enabled', 'on');
	for my $run_id (@queued[ 0, 1 ])
	{
		wait_for_status($node, $run_id, 'failed', 'queued by one who may not run it any more');
		like(value_of($node, "SELECT concat_ws('|', sqlstate, error, detail, hint) FROM jdy_runs WHERE run_id = $run_id"),
			qr/^42501\|who queued the run may not run the stream any more\|.*(alice|deputy).*\|.*jdy_start/, 'it says so');
	}
	wait_for_status($node, $queued[2], 'ok', 'the new owner\'s own is made');
	is(value_of($node, "SELECT DISTINCT who = current_user FROM public.seen"), 't', 'with his rights');
	is(value_of($node, "SELECT count(*) FROM public.seen"), '60', 'once');

	# A dump holds who queued what, and is restored where there is no such role.
	my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
	set_for_all('jdysync.enabled', 'off');
	value_of($node, "GRANT alice TO CURRENT_USER; ALTER TABLE jdysync.staging_hers OWNER TO alice");
	my $kept = start_as('alice');
	value_of($node, 'ALTER TABLE jdysync.staging_hers OWNER TO CURRENT_USER; DROP OWNED BY alice CASCADE; DROP USER MAPPING IF EXISTS FOR alice SERVER kingdee');
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'a dump');
	value_of($node, 'DROP ROLE alice');
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $file ], 'is restored without the role');
	is($node->safe_psql('copy', "SELECT status, requested_by FROM jdysync.run WHERE run_id = $kept"), 'queued|alice', 'with the run that it queued');
	set_for_all('jdysync.enabled', 'on');
	wait_for_status($node, $kept, 'failed', 'a role that is gone may run nothing');
	$node->safe_psql('postgres', 'DROP DATABASE copy');
}

# ---------------------------------------------------------------------------
# What an error says may hold records: its owner's members read it, pg_monitor its SQLSTATE.
# ---------------------------------------------------------------------------
{
	$node->safe_psql('postgres', q{CREATE ROLE doctor LOGIN IN ROLE pg_monitor; GRANT SELECT ON jdy_runs TO doctor});
	add_trigger('remote', q{RAISE EXCEPTION 'no place for %', NEW.data USING ERRCODE = 'P0042', DETAIL = NEW.id, HINT = NEW.number;});
	sync_fails($node, 'remote', 'P0042', qr/no place for/, 'a trigger that names a record');
	my $sql = q{SELECT status, sqlstate, error IS NULL, detail IS NULL, hint IS NULL FROM jdy_runs WHERE name = 'remote' ORDER BY run_id DESC LIMIT 1};
	is(value_of($node, $sql), 'failed|P0042|f|f|f', 'its owner sees all of the error');
	is(value_of($node, "SET ROLE doctor; $sql"), 'failed|P0042|t|t|t', 'pg_monitor no contents');
}

# ---------------------------------------------------------------------------
# The calls of a run that failed are kept.
# ---------------------------------------------------------------------------
{
	$sim->post('/_sim/fault', { kind => 'status', status => 403, path => $CUSTOMER, times => -1 });
	my $run = sync_fails($node, 'hers', '28000', qr/403/, 'a run that the service refuses');
	go_on();
	my $run_id = value_of($node, q{SELECT max(run_id) FROM jdy_runs WHERE name = 'hers' AND status = 'failed'});
	is(value_of($node, "SELECT calls = (SELECT count(*) FROM jdy_calls c WHERE c.run_id = r.run_id) AND calls > 0 FROM jdy_runs r WHERE run_id = $run_id"),
		't', 'each of its calls is in jdy_calls');
	is(value_of($node, "SELECT method, split_part(split_part(url, '?', 1), '/', 7), http_status, error IS NOT NULL, attempt FROM jdy_calls WHERE run_id = $run_id ORDER BY at DESC LIMIT 1"),
		'GET|customer|403|t|1', 'the one that ended it with its status and reason');
}

# ---------------------------------------------------------------------------
# Only the databases that jdysync.databases names are worked in.
# ---------------------------------------------------------------------------
{
	$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
	$node->safe_psql('elsewhere', 'CREATE EXTENSION jdysync');
	pull_server($node, 'kingdee', database => 'elsewhere');
	$node->safe_psql('elsewhere', q{SELECT jdy_add_stream('supplier', 'kingdee', detail => false)});
	set_for_all('jdysync.databases', 'elsewhere');
	my $queued = value_of($node, q{SELECT jdy_start('supplier')});
	forget_calls($node);
	$node->restart;
	for (1 .. 2)
	{
		my $other = $node->safe_psql('elsewhere', q{SELECT jdy_start('supplier')});

		ok(poll_until(sub { $node->safe_psql('elsewhere', "SELECT status FROM jdy_runs WHERE run_id = $other") eq 'ok' }, 'the run'), 'a run where they are made');
	}
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $queued"), 'queued', 'in a database that is left out it stays queued');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET jdysync.databases');
	$node->reload;
	wait_for_status($node, $queued, 'ok', 'until the database is served again');
}

unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no process of the server crashed');
done_testing();
