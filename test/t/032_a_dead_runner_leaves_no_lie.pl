# However a runner dies, its run does not go on saying "running", and the next one goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use Test::More;

my $CUSTOMER = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 60, set => { rate_limit => 0, token_limit => 0 });
my $node = new_node('main', server => { timeout => '2 s', max_attempts => 100 }, conf => "restart_after_crash = on\n");
$node->safe_psql('postgres', "SELECT jdy_add_stream('customer', 'kingdee')");

sub stall { $sim->post('/_sim/fault', { kind => 'stall', path => $CUSTOMER, times => -1 }); return; }
sub go_on { $sim->delete('/_sim/fault'); return; }
sub runner_pid { return value_of($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'"); }

sub next_run_heals
{
	my ($run_id, $what) = @_;

	go_on();
	is($node->safe_psql('postgres', "SELECT status FROM jdy_sync('customer')"), 'ok', "$what: the next run succeeds");
	is(value_of($node, "SELECT status, error IS NOT NULL, finished_at IS NOT NULL FROM jdysync.run WHERE run_id = $run_id"),
		'interrupted|t|t', "$what: and writes what it found");
	return;
}

# kill -9: the whole server restarts.
{
	stall();
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $run_id"), 'running', 'an open run is running');
	forget_calls($node);
	kill 'KILL', runner_pid();
	ok(!finish_session($caller), 'kill -9: the caller is told');
	poll_until(sub { (eval { ($node->psql('postgres', 'SELECT 1'))[0] } // 1) == 0 }, 'the server is back');
	is(value_of($node, "SELECT status FROM jdysync.run WHERE run_id = $run_id"), 'running', 'kill -9: the row knows nothing yet');
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $run_id"), 'interrupted', 'kill -9: the view does');
	is(value_of($node, 'SELECT count(*) FROM jdy_progress'), '0', 'kill -9: no progress is shown');
	next_run_heals($run_id, 'kill -9');
}

# The server is stopped the hard way.
{
	stall();
	my $run_id = value_of($node, "SELECT jdy_start('customer')");
	wait_until_running($node, 'customer');
	forget_calls($node);
	$node->stop('immediate');
	$node->start;
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $run_id"), 'interrupted', 'immediate stop: interrupted');
	next_run_heals($run_id, 'immediate stop');
}

# The runner is terminated.
{
	stall();
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . runner_pid() . ')');
	ok(!finish_session($caller), 'terminated: the caller is told');
	like($caller->{err}, qr/ERROR:  57P01: the runner was stopped/, 'terminated: why');
	like($caller->{err}, qr/HINT:  What was landed stays/, 'terminated: and what of it');
	wait_for_status($node, $run_id, 'interrupted', 'terminated: interrupted');
	next_run_heals($run_id, 'terminated');
}

# It is cancelled by hand.
{
	stall();
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . runner_pid() . ')');
	ok(!finish_session($caller), 'pg_cancel_backend: the caller is told');
	like($caller->{err}, qr/ERROR:  57014: the run was cancelled/, 'pg_cancel_backend: why');
	wait_for_status($node, $run_id, 'cancelled', 'pg_cancel_backend: cancelled');
	go_on();
}

# The ground is taken from under it.
{
	$node->safe_psql('postgres', q{
		CREATE ROLE clerk LOGIN;
		GRANT USAGE ON FOREIGN SERVER kingdee TO clerk;
		GRANT USAGE, CREATE ON SCHEMA public TO clerk;
		GRANT EXECUTE ON FUNCTION jdy_add_stream, jdy_sync TO clerk});
	$node->safe_psql('postgres', sprintf(
		q{CREATE USER MAPPING FOR clerk SERVER kingdee OPTIONS (client_id '%s', client_secret '%s', outer_instance_id '%s')},
		@JdyTest::CREDENTIALS{qw(client_id client_secret outer_instance_id)}));
	$node->safe_psql('postgres', "SET ROLE clerk; SELECT jdy_add_stream('mine', 'kingdee', entry => 'customer')");
	stall();
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('mine')");
	my $run_id = wait_until_running($node, 'mine');
	$node->safe_psql('postgres', 'REASSIGN OWNED BY clerk TO CURRENT_USER');
	$node->safe_psql('postgres', 'DROP OWNED BY clerk');
	$node->safe_psql('postgres', 'DROP ROLE clerk');
	go_on();
	ok(!finish_session($caller), 'role dropped: the caller is told');
	like($caller->{err}, qr/ERROR:  42704: the run's role was dropped while the run was open/, 'role dropped: why');
	wait_for_status($node, $run_id, 'failed', 'role dropped: failed');
	is($node->safe_psql('postgres', "SELECT status FROM jdy_sync('mine')"), 'ok', 'the new owner can run it');
}

# A role that may not log in.
SKIP:
{
	skip 'served since PostgreSQL 17', 3 if $node->pg_version->major >= 17;
	$node->safe_psql('postgres', q{CREATE ROLE mute NOLOGIN; ALTER TABLE jdysync.staging_mine OWNER TO mute});
	my ($status, $out, $err) = $node->psql('postgres', "SELECT * FROM jdy_sync('mine')");
	like($err, qr/ERROR:  the runner was stopped before the run began\nDETAIL:  role "mute" is not permitted to log in/,
		'an owner who cannot log in: the caller is told');
	my $run_id = value_of($node, "SELECT jdy_start('mine')");
	wait_for_status($node, $run_id, 'failed', 'a queued run fails, too');
	like(value_of($node, "SELECT error FROM jdy_runs WHERE run_id = $run_id"), qr/not permitted to log in/, 'and says why');
}

done_testing();
