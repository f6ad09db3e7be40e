# The role that owns a stream, its server, the extension itself: each can go while a run is open and
# while it is on a schedule.  Nothing waits, the reason is said, and when it is back the schedule goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 30, suppliers => 5, set => {%NO_LIMITS});
my $node = pull_node('main', server => { timeout => '1 s', max_attempts => 100 }, conf => "autovacuum = off\n");

sub becomes { my ($sql, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(poll_until(sub { (($node->psql('postgres', "SELECT ($sql)"))[1] // '') eq 't' }, $sql, 25), $what); }
sub go_on { $sim->delete('/_sim/fault'); return; }

# Another run of the stream succeeds, and nobody asked for it.  The clock of schedules is stepped meanwhile.
sub goes_on
{
	my ($name, $what) = @_;
	my $last = query($node, "SELECT COALESCE(max(run_id), 0) FROM jdysync.run");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return becomes("jdy_test_clock(jdy_test_clock(NULL) + interval '1 s') IS NOT NULL AND (SELECT count(*) > 0 FROM jdysync.run WHERE run_id > $last AND name = '$name' AND status = 'ok')", $what);
}

# Its next run, which has something to bring, is in the middle of a call that is not answered; returns its number.
sub hang
{
	my ($name) = @_;

	$sim->post('/_sim/change', { op => 'update', count => 3 });
	$sim->post('/_sim/fault', { kind => 'stall', path => '/bd/', times => -1 });
	poll_until(sub { query($node, "SELECT count(*) FROM jdy_progress WHERE name = '$name' AND waiting_for IS NOT NULL") eq '1' }, "a run of $name hangs");
	return query($node, "SELECT run_id FROM jdy_progress WHERE name = '$name'");
}

sub log_size { return -s $node->logfile; }
sub log_since { return substr(slurp_file($node->logfile), $_[0]); }

sub hire
{
	my ($role) = @_;

	query($node, "CREATE ROLE $role LOGIN");
	query($node, "GRANT USAGE ON FOREIGN SERVER kingdee TO $role; GRANT USAGE, CREATE ON SCHEMA public TO $role; GRANT USAGE ON SCHEMA jdysync TO $role; GRANT EXECUTE ON FUNCTION jdy_add_stream TO $role");
	query($node, sprintf("CREATE USER MAPPING FOR $role SERVER kingdee OPTIONS (client_id '%s', client_secret '%s', outer_instance_id '%s')",
			@JdyTest::CREDENTIALS{qw(client_id client_secret outer_instance_id)}));
	return;
}

query($node, q{CREATE FUNCTION jdy_test_clock(timestamptz) RETURNS timestamptz AS 'jdysync' LANGUAGE C});
hire($_) for 'clerk', 'successor';
query($node, q{SET ROLE clerk; SELECT jdy_add_stream('customer', 'kingdee', settle => '500 ms', overlap => '0', schedule => '1 s')});
goes_on('customer', 'a stream of a clerk\'s runs by itself');

subtest 'REASSIGN OWNED, DROP OWNED, DROP ROLE' => sub {
	my $run_id = hang('customer');

	like(($node->psql('postgres', 'DROP ROLE clerk'))[2], qr/some objects depend on it/, 'a role that owns a stream is not dropped');
	query($node, 'REASSIGN OWNED BY clerk TO successor');
	query($node, 'DROP OWNED BY clerk');
	query($node, 'DROP ROLE clerk');
	go_on();
	becomes("SELECT status = 'failed' AND error = 'the run''s role was dropped while the run was open' FROM jdysync.run WHERE run_id = $run_id", 'the open run says why it failed');
	goes_on('customer', 'the schedule goes on');
	is(query($node, "SELECT requested_by FROM jdysync.run ORDER BY run_id DESC LIMIT 1"), 'successor', 'with the rights of the new owner');

	$run_id = hang('customer');
	query($node, 'DROP OWNED BY successor');
	go_on();
	becomes("SELECT status = 'failed' AND error = 'the staging table was dropped while the run was open' FROM jdysync.run WHERE run_id = $run_id", 'DROP OWNED takes the table from under a run');
	becomes("SELECT status = 'failing' AND why ~ 'its staging table is gone' FROM jdy_status", 'jdy_status says so');
	query($node, 'DROP ROLE successor');
	is(query($node, "SELECT count(*) FROM jdysync.run WHERE status IN ('queued', 'running')"), '0', 'nothing is tried');
	query($node, "SELECT jdy_drop_stream('customer')");
};

subtest 'DROP SERVER' => sub {
	add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
	goes_on('customer', 'a new stream');
	my $run_id = hang('customer');
	like(($node->psql('postgres', 'DROP SERVER kingdee'))[2], qr/other objects depend on it/, 'with a user mapping it is not dropped');
	my $log = log_size();
	query($node, 'DROP SERVER kingdee CASCADE');
	go_on();
	becomes("SELECT status <> 'running' FROM jdy_runs WHERE run_id = $run_id", 'the open run comes to an end');
	becomes("SELECT status = 'failing' AND why ~ 'There is no server .kingdee.' FROM jdy_status", 'jdy_status says why it fails');
	becomes(q{SELECT jdy_test_clock(jdy_test_clock(NULL) + interval '1 s') IS NOT NULL AND failures >= 3 FROM jdysync.agenda}, 'it backs off');
	is(scalar(() = log_since($log) =~ /LOG:  .*run \d+ of "customer" failed/g), 1, 'the log says it once');
	create_server($node, 'kingdee', server => { timeout => '1 s', max_attempts => 100, calls_per_minute => 0, rate_window => '100 ms' });
	goes_on('customer', 'a server of that name: the schedule goes on');
	is_true($node, 'customer', 'staging equals the truth');
};

subtest 'the configuration is reloaded' => sub {
	my $run_id = hang('customer');

	for my $limit (1 .. 5)
	{
		query($node, "ALTER SYSTEM SET jdysync.log_size = '${limit}00MB'");
		$node->reload;
	}
	go_on();
	becomes("SELECT status = 'ok' FROM jdysync.run WHERE run_id = $run_id", 'an open run goes on');
	goes_on('customer', 'so does the schedule');
};

subtest 'DROP and CREATE EXTENSION' => sub {
	my $session = $node->background_psql('postgres');

	$session->query_safe('SET client_min_messages = warning');
	hang('customer');
	$session->query_safe('BEGIN');
	$session->query_safe('DROP EXTENSION jdysync CASCADE');
	go_on();
	$session->query_safe('ROLLBACK');
	goes_on('customer', 'rolled back: the schedule goes on');

	$session->query_safe('ALTER TABLE jdysync.staging_customer SET SCHEMA public');
	$session->query_safe('DROP VIEW jdy_customer, jdy_customer_masked');
	hang('customer');
	like(($node->psql('postgres', 'DROP EXTENSION jdysync'))[2], qr/server kingdee depends/, 'servers keep it');
	$session->query_safe('DROP SERVER kingdee CASCADE');
	$session->query_safe('DROP EXTENSION jdysync');
	go_on();
	ok(poll_until(sub { query($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jdysync runner'") eq '0' }, 'the runner leaves'), 'without CASCADE: the runner leaves');
	is(query($node, 'SELECT count(*) FROM staging_customer'), '30', 'a table that was moved away stays');
	is(query($node, "SELECT count(*) FROM pg_namespace WHERE nspname = 'jdysync'"), '0', 'nothing else does');

	$session->query_safe('BEGIN');
	$session->query_safe('CREATE EXTENSION jdysync');
	$session->query_safe('ROLLBACK');
	is(query($node, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'jdy\\_%' AND proname <> 'jdy_test_clock'"), '0', 'CREATE EXTENSION rolled back leaves nothing');
	$session->query_safe('CREATE EXTENSION jdysync');
	$session->query_safe('ALTER TABLE staging_customer SET SCHEMA jdysync');
	$session->quit;
	pull_server($node, 'kingdee', server => { timeout => '1 s', max_attempts => 100 });
	add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
	goes_on('customer', 'made again, it adopts the table and runs');
	is_true($node, 'customer', 'staging equals the truth');
};

# As after a package was updated: what is in the database and what the server has loaded are of two versions.
subtest 'SQL objects that the library does not know' => sub {
	my $log = log_size();

	query($node, "UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'jdysync'");
	for my $call ("jdy_sync('customer')", "jdy_start('customer')", "jdy_add_stream('supplier', 'kingdee')")
	{
		my ($status, undef, $error) = $node->psql('postgres', "SELECT * FROM $call");
		like($error, qr/its SQL objects and the loaded library do not fit\nDETAIL:  The SQL objects are of version 0\.9, the library is of version 1\.0\.\nHINT:  Restart PostgreSQL .* ALTER EXTENSION jdysync UPDATE/, "$call is refused");
	}
	is(query($node, 'SELECT count(*) > 0 FROM jdy_runs'), 't', 'what can be read can be read');
	becomes("SELECT jdy_test_clock(jdy_test_clock(NULL) + interval '1 s') > next_at + interval '20 s' AND NOT EXISTS (SELECT FROM jdysync.run WHERE status = 'running') FROM jdysync.agenda", 'the schedule stands still');
	is(scalar(() = log_since($log) =~ /LOG:  jdysync makes no runs in database/g), 1, 'the log says so once');

	# There is no script to update by, so another ALTER EXTENSION stands for it.
	query($node, "UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'jdysync'");
	query($node, 'CREATE FUNCTION nothing() RETURNS integer LANGUAGE sql RETURN 1; ALTER EXTENSION jdysync ADD FUNCTION nothing()');
	goes_on('customer', 'ALTER EXTENSION: it goes on');
};

# The service counts calls of an account, whoever makes them.
subtest 'two databases with the same account' => sub {
	my %limits = (calls_per_minute => 25, rate_window => '1 s', timeout => '10 s', max_attempts => 4);

	$sim->stop;
	$sim = start_sim(customers => 40, set => { rate_limit => 25, rate_window_ms => 1000, token_limit => 0 });
	query($node, 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION jdysync');
	for my $database ('postgres', 'other')
	{
		create_server($node, 'shared', database => $database, server => \%limits);
		$node->safe_psql($database, "SELECT jdy_add_stream('both', 'shared', entry => 'customer', settle => '500 ms', schedule => '1 s')");
	}
	for my $database ('postgres', 'other')
	{
		poll_until(sub { $node->safe_psql($database, "SELECT count(*) FROM jdysync.run WHERE name = 'both' AND status = 'ok'") > 0 }, "$database loads");
		is($node->safe_psql($database, 'SELECT count(detailed_at) FROM jdysync.staging_both'), '40', "$database has all");
	}
	my $stats = $sim->get('/_sim/stats');
	is($stats->{refused_by_rate}, 0, 'the service refused no call');
	cmp_ok($stats->{total}, '>=', 80, 'of all that both made');
	query($node, 'DROP DATABASE other');
};

unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no process crashed');
done_testing();
