# jdy_sync waits for the run it asked for; the run lives as long as somebody waits for it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $CUSTOMER = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 60, set => { rate_limit => 0, token_limit => 0 });

# A call that is stalled is given up after two seconds and tried again.
my $node = new_node('main', server => { timeout => '2 s', max_attempts => 100 });
$node->safe_psql('postgres', "SELECT jdy_add_stream('customer', 'kingdee')");

sub stall { $sim->post('/_sim/fault', { kind => 'stall', path => $CUSTOMER, times => -1 }); return; }
sub go_on { $sim->delete('/_sim/fault'); return; }

# Expects an error with this SQLSTATE; returns what psql said.
sub refused
{
	my ($sql, $sqlstate, $what) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);

	isnt($status, 0, "$what: refused");
	like($err, qr/ERROR:  $sqlstate/, "$what: SQLSTATE");
	return $err;
}

# A run that goes well.
is( $node->safe_psql('postgres', "SELECT stream, status, error IS NULL, elapsed > '0' FROM jdy_sync('customer')"),
	'customer|ok|t|t', 'a run that goes well is one row');
is( value_of($node, 'SELECT status, mode, finished_at IS NOT NULL FROM jdy_runs ORDER BY run_id DESC LIMIT 1'),
	'ok|auto|t', 'and is on record');

# Errors of the run are the caller's errors.
{
	$sim->post('/_sim/fault', { kind => 'status', status => 403, path => $CUSTOMER, times => -1 });
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM jdy_sync('customer')");
	my ($run_id) = $err =~ /CONTEXT:  run (\d+) of stream "customer"/;
	ok(defined $run_id, 'the error of a named stream says which run') or diag($err);
	my ($sqlstate, $message) = split /\|/, value_of($node, "SELECT sqlstate, error FROM jdy_runs WHERE run_id = $run_id AND status = 'failed'");
	like($err, qr/ERROR:  $sqlstate: \Q$message\E/, 'with the SQLSTATE and message on record');
	is( $node->safe_psql('postgres', 'SELECT stream, status, error FROM jdy_sync()'),
		"customer|failed|$message", 'without a name it is a row');
	go_on();
}

# Cancel.
{
	stall();
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	my $pid = session_pid($caller);
	my $start = time;
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	ok(!finish_session($caller), 'a cancelled caller fails');
	cmp_ok(time - $start, '<', 1, 'within a second');
	like($caller->{err}, qr/ERROR:  57014/, 'because it was cancelled');
	wait_for_status($node, $run_id, 'cancelled', 'the run of a cancelled caller is cancelled');
}

# statement_timeout.
{
	my $caller = background_sql($node, "SET statement_timeout = '1s'", "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	ok(!finish_session($caller), 'a caller that takes too long fails');
	like($caller->{err}, qr/statement timeout/, 'by statement_timeout');
	wait_for_status($node, $run_id, 'cancelled', 'and its run is cancelled');
}

# pg_terminate_backend.
{
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . session_pid($caller) . ')');
	ok(!finish_session($caller), 'a terminated caller fails');
	wait_for_status($node, $run_id, 'cancelled', 'and its run is cancelled');
}

# The client dies, and there is nothing to tell it.
{
	$node->safe_psql('postgres', "ALTER SERVER kingdee OPTIONS (SET timeout '300 s')");
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	poll_until(sub { says($caller, qr/NOTICE:.*calls/) }, 'it was told all there is');
	IPC::Run::signal($caller->{harness}, 'KILL');
	wait_for_status($node, $run_id, 'cancelled', 'the run of a client that is gone is cancelled');
	poll_sql($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = '$caller->{name}'");
	finish_session($caller);
	$node->safe_psql('postgres', "ALTER SERVER kingdee OPTIONS (SET timeout '2 s')");
}

# jdy_cancel.
{
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	is(value_of($node, "SELECT jdy_cancel($run_id)"), 't', 'jdy_cancel stops an open run');
	ok(!finish_session($caller), 'its caller fails');
	like($caller->{err}, qr/ERROR:  57014: the run was cancelled/, 'and learns why');
	wait_for_status($node, $run_id, 'cancelled', 'the run is cancelled');
	is(value_of($node, "SELECT jdy_cancel($run_id)"), 'f', 'a run that is over cannot be cancelled');
}

# Callers while a run is open: one more run, shared by those of the same mode.
{
	my $first = background_sql($node, "SELECT run_id, status FROM jdy_sync('customer')");
	my $run_id = wait_until_running($node, 'customer');
	my @later = map { background_sql($node, "SELECT run_id, status FROM jdy_sync('customer')") } 1 .. 3;
	my $full = background_sql($node, "SELECT run_id, status FROM jdy_sync('customer', 'full')");
	my $pid = session_pid($later[0]);
	my $waiting = "SELECT count(*) = 4 FROM pg_stat_activity WHERE query LIKE '%jdy_sync%' AND wait_event_type = 'Extension' "
	  . "AND backend_type = 'client backend' AND application_name <> '$first->{name}' AND pid <> pg_backend_pid()";
	poll_sql($node, $waiting, 'four callers wait');
	poll_sql($node, "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'object' AND classid = 'jdysync.stream'::regclass AND NOT granted",
		'two runners wait for the open run');

	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	ok(!finish_session($later[0]), 'one of those who share leaves');
	ok(poll_until(sub { says($later[1], qr/NOTICE:  00000: customer: waiting for the open run to end/) }, 'a NOTICE'),
		'the others are told why nothing happens');
	go_on();
	ok(finish_session($_), "$_->{name} succeeds") or diag($_->{err}) for $first, @later[ 1, 2 ], $full;
	is($first->{out}, "$run_id|ok\n", 'the first gets the open run');
	my ($shared) = $later[1]->{out} =~ /^(\d+)\|ok$/;
	cmp_ok($shared, '>', $run_id, 'who came later gets a run that began later');
	is($later[2]->{out}, "$shared|ok\n", 'and shares it with who wanted the same');
	unlike($full->{out}, qr/^$shared\|/, 'but not with who wanted another mode');
	is(value_of($node, "SELECT count(*) FROM jdy_runs WHERE run_id > $run_id"), '2', 'no other run was made');
}

# Progress.
{
	my $from = -s $node->logfile;
	$sim->post('/_sim/config', { latency_ms => 350 });
	my ($status, $out, $err) = $node->psql('postgres', "SET log_min_messages = notice; SELECT status FROM jdy_sync('customer', 'full')");
	$sim->post('/_sim/config', { latency_ms => 0 });
	is($out, 'ok', 'a slow run');

	# Nothing is known before the first page came; from then on every part is there until nothing is left to do.
	my @lines = $err =~ /NOTICE:  (.*)$/mg;
	shift @lines while @lines && $lines[0] =~ /^customer: 0 listed, 0 details, \d+ calls$/;
	pop @lines if @lines && $lines[-1] =~ /^customer: 60 of 60 listed, 60 details, \d+ calls$/;
	cmp_ok(scalar(@lines), '>=', 2, 'tells its progress');
	is_deeply([ grep { !/^customer: \d+ of 60 listed, \d+ details, \d+ calls, about 1 min left$/ } @lines ], [], 'in full');

	my @times = slurp_file($node->logfile, $from) =~ /^\S+ (\S+) \w+ .*NOTICE:  customer: .* listed/mg;
	my @seconds = map { my ($h, $m, $s) = split /:/; 3600 * $h + 60 * $m + $s } @times;
	cmp_ok(scalar(@seconds), '>=', scalar(@lines), 'the log has them with their times');
	my @pauses = map { $seconds[$_] - $seconds[ $_ - 1 ] } 1 .. $#seconds;
	is_deeply([ grep { ($_ < 0 ? $_ + 86400 : $_) < 0.9 } @pauses ], [], 'at most one a second');
}

# A load that takes long is better left alone; that shows while details are fetched, too.
{
	$sim->post('/_sim/config', { latency_ms => 0 });
	$node->safe_psql('postgres', "SELECT jdy_add_stream('slow', 'kingdee', entry => 'customer')");
	# 60 details at 6 calls a minute, of which a first load may take 80 %: 12.5 minutes.
	$sim->post('/_sim/fault', { kind => 'stall', path => 'customer_detail', times => -1 });
	$node->safe_psql('postgres', "ALTER SERVER kingdee OPTIONS (ADD calls_per_minute '6', ADD rate_window '100 ms')");
	my $caller = background_sql($node, "SELECT * FROM jdy_sync('slow')");
	ok(poll_until(sub { says($caller, qr/NOTICE:  00000: the run of "slow" takes about 13 more minutes\nHINT:  jdy_start does the same without waiting/) }, 'a hint', 20),
		'a hint at jdy_start while details are fetched') or diag($caller->{err});
	like($caller->{err}, qr/slow: 60 of 60 listed, 0 details, \d+ calls, about 13 min left/, 'by what is left to do');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . session_pid($caller) . ')');
	finish_session($caller);
	is(scalar(() = $caller->{err} =~ /more minutes/g), 1, 'once');
	$sim->delete('/_sim/fault');
	$node->safe_psql('postgres', 'ALTER SERVER kingdee OPTIONS (DROP calls_per_minute, DROP rate_window)');
	$node->safe_psql('postgres', "SELECT jdy_drop_stream('slow', false)");
}

# Where nobody could wait.
like(refused("BEGIN; SELECT * FROM jdy_sync('customer')", '25001', 'in a transaction block'), qr/HINT:.*jdy_start/, 'names the other way');
refused(q{DO $$ BEGIN BEGIN PERFORM * FROM jdy_sync('customer'); EXCEPTION WHEN division_by_zero THEN END; END $$},
	'25001', 'in a subtransaction');
refused(q{CREATE TABLE note (t text);
	DO $$ BEGIN INSERT INTO note VALUES ('written'); PERFORM * FROM jdy_sync('customer'); END $$}, '25001', 'after writes');
refused("SELECT * FROM jdy_sync('customer', 'range')", '22023', 'mode range');
refused("SELECT * FROM jdy_sync('customer', 'fast')", '22023', 'unknown mode');
refused("SELECT * FROM jdy_sync('costumer')", '42704', 'unknown stream');
refused("SELECT * FROM jdy_resync('customer', '2026-02-01', '2026-01-01')", '22023', 'a range that ends before it begins');
refused('SELECT jdy_cancel(999999)', '42704', 'unknown run');

# Strangers.
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN; GRANT EXECUTE ON FUNCTION jdy_sync, jdy_start, jdy_cancel TO stranger');
refused("SET ROLE stranger; SELECT * FROM $_", '42501', "$_ by a stranger")
  for "jdy_sync('customer')", "jdy_start('customer')", 'jdy_cancel(1)';
is($node->safe_psql('postgres', 'SET ROLE stranger; SELECT count(*) FROM jdy_sync()'), '0', 'a stranger has no streams to run');

# The kill switch.
$node->append_conf('postgresql.conf', 'jdysync.enabled = off');
$node->reload;
poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'off'");
refused("SELECT * FROM jdy_sync('customer')", '55000', 'when switched off');

# No worker left: the launcher and the server's own one take two of three.
{
	my $full = new_node('full', server => { timeout => '2 s', max_attempts => 100 }, conf => "max_worker_processes = 3\n");
	$full->safe_psql('postgres', "SELECT jdy_add_stream('customer', 'kingdee'); SELECT jdy_add_stream('supplier', 'kingdee')");
	poll_sql($full, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jdysync scheduler'");
	stall();
	my $caller = background_sql($full, "SELECT * FROM jdy_sync('customer')");
	wait_until_running($full, 'customer');
	my (undef, undef, $err) = $full->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM jdy_sync('supplier')");
	like($err, qr/ERROR:  53400: no worker could be started/, 'without a free worker jdy_sync says so');
	like($err, qr/HINT:.*max_worker_processes/, 'and what to do');
	go_on();
	ok(finish_session($caller), 'the other run is not disturbed') or diag($caller->{err});

	# The worker ends a moment after its run.
	my $out = '';
	poll_until(sub { (undef, $out) = $full->psql('postgres', "SELECT status FROM jdy_sync('supplier')"); $out ne '' }, 'a worker is free');
	is($out, 'ok', 'afterwards it works');
}

done_testing();
