# jdy_start queues a run: it starts at commit, not before, not without, and once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use Test::More;
use Time::HiRes qw(time);

my $sim = start_sim(customers => 30, set => { rate_limit => 0, token_limit => 0 });
my $node = new_node('main', server => { timeout => '2 s', max_attempts => 100 }, conf => "jdysync.max_workers = 1\n");
$node->safe_psql('postgres', "SELECT jdy_add_stream('customer', 'kingdee'); SELECT jdy_add_stream('supplier', 'kingdee'); SELECT jdy_add_stream('material', 'kingdee')");

sub stall { $sim->post('/_sim/fault', { kind => 'stall', path => $_[0], times => -1 }); return; }
sub go_on { $sim->delete('/_sim/fault'); return; }
sub set_enabled
{
	my ($value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET jdysync.enabled = $value");
	$node->reload;
	return poll_sql($node, "SELECT current_setting('jdysync.enabled') = '$value'");
}
sub count_runs { return value_of($node, 'SELECT count(*) FROM jdysync.run'); }

# At commit.
my $run_id = value_of($node, "SELECT jdy_start('customer')");
wait_for_status($node, $run_id, 'ok', 'a queued run is made');

# Not before, and not without.
{
	my $before = count_runs();
	$node->safe_psql('postgres', "BEGIN; SELECT jdy_start('customer'); ROLLBACK");
	$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT jdy_start('customer'); ROLLBACK TO s; COMMIT");
	is(count_runs(), $before, 'what is rolled back queues nothing');

	my $outer = value_of($node, "BEGIN; SELECT jdy_start('customer'); SAVEPOINT s; ROLLBACK TO s; COMMIT");
	wait_for_status($node, $outer, 'ok', 'a savepoint rolled back later takes nothing away');
	my $inner = value_of($node, "BEGIN; SAVEPOINT s; SELECT jdy_start('customer'); RELEASE s; COMMIT");
	wait_for_status($node, $inner, 'ok', 'nor does one that was released');
	is(count_runs(), $before + 2, 'nothing else ran');

	my ($status, $out, $err) = $node->psql('postgres', "BEGIN; SELECT jdy_start('customer'); PREPARE TRANSACTION 'p'");
	like($err, qr/cannot prepare a transaction that has called jdy_start/, 'a prepared transaction could not keep the promise');
	is(count_runs(), $before + 2, 'and queues nothing');
}

# One after another, and no more at once than jdysync.max_workers.
{
	stall('/jdy/v2/bd/customer');
	my @runs = map { value_of($node, "SELECT jdy_start('$_')") } qw(customer customer supplier);
	is(wait_until_running($node, 'customer'), $runs[0], 'the first is made');
	poll_sql($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jdysync scheduler'");
	is( value_of($node, "SELECT string_agg(status, ' ' ORDER BY run_id) FROM jdy_runs WHERE run_id >= $runs[0]"),
		'running queued queued', 'the others wait');
	go_on();
	wait_for_status($node, $_, 'ok', "run $_ of three") for @runs;
	is(value_of($node, "SELECT bool_and(r.started_at >= p.finished_at) FROM jdy_runs r JOIN jdy_runs p ON p.run_id = r.run_id - 1 WHERE r.run_id > $runs[0] AND r.name = p.name"),
		't', 'runs of one stream do not overlap');
}

# A queued run belongs to nobody who waits.
{
	stall('/jdy/v2/bd/customer');
	$run_id = value_of($node, "SELECT jdy_start('customer')");
	wait_until_running($node, 'customer');
	my $caller = background_sql($node, "SELECT run_id, status FROM jdy_sync('customer')");
	ok(poll_until(sub { says($caller, qr/waiting for a worker/) }, 'a NOTICE'), 'a caller waits behind it');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . session_pid($caller) . ')');
	ok(!finish_session($caller), 'a caller that waits for it leaves');
	go_on();
	wait_for_status($node, $run_id, 'ok', 'the queued run goes on');
}

# Callers count, too: they wait in line for a worker, and the queue has its place there.
{
	my $order = value_of($node, 'SELECT max(run_id) FROM jdysync.run');

	stall('/jdy/v2/bd/customer');
	my @callers = background_sql($node, "SELECT status FROM jdy_sync('customer')");
	wait_until_running($node, 'customer');
	for my $name (qw(supplier material))
	{
		push @callers, background_sql($node, "SELECT status FROM jdy_sync('$name')");
		ok(poll_until(sub { says($callers[-1], qr/NOTICE:  00000: $name: waiting for a worker, all 1 of jdysync.max_workers are busy/) }, 'a NOTICE'),
			"who syncs $name is told that there is no worker");
	}
	value_of($node, "SELECT jdy_add_stream('another', 'kingdee', entry => 'supplier', detail => false)");
	my $queued = value_of($node, "SELECT jdy_start('another')");
	push @callers, background_sql($node, "SELECT status FROM jdy_sync('supplier')");
	my $left = background_sql($node, "SELECT status FROM jdy_sync('material', 'full')");
	ok(poll_until(sub { says($left, qr/waiting for a worker/) }, 'a NOTICE'), 'another waits');
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . session_pid($left) . ')');
	ok(!finish_session($left), 'and can be cancelled');
	push @callers, background_sql($node, "SELECT status FROM jdy_sync('customer')");
	ok(poll_until(sub { says($callers[-1], qr/waiting for a worker/) }, 'a NOTICE'), 'and one more');
	is(value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jdysync runner'"), '1', 'one worker is out');
	go_on();
	poll_sql($node, "SELECT count(*) = 5 AND bool_and(status = 'ok') FROM jdysync.run WHERE run_id > $order", 'all runs');
	ok(finish_session($_), "$_->{name} gets its turn") or diag($_->{err}) for @callers;
	wait_for_status($node, $queued, 'ok', 'and so does the queued run');
	is(scalar(() = $callers[1]->{err} =~ /waiting for a worker/g), 1, 'who waits is told so once');
	# A worker that has ended its run may still be seen leaving while the next one works: so their runs are counted.
	is( value_of($node, "SELECT max(at_once) FROM (SELECT (SELECT count(*) FROM jdysync.run o WHERE o.started_at <= r.started_at AND o.finished_at > r.started_at AND o.run_id > $order) AS at_once FROM jdysync.run r WHERE r.run_id > $order) AS c"),
		'1', 'never more than one worker: one run after another');
	is( value_of($node, "SELECT string_agg(name, ' ' ORDER BY started_at) FROM (SELECT name, started_at FROM jdysync.run WHERE run_id > $order ORDER BY started_at) AS r"),
		'customer supplier material another customer', 'in the order in which they were asked for; who wants the same shares a run');
	value_of($node, "SELECT jdy_drop_stream('another', false)");
}

# Queued runs of many streams do not keep a caller waiting for all of them.
{
	my @names = map { "many_$_" } 1 .. 5;
	value_of($node, "SELECT jdy_add_stream('$_', 'kingdee', entry => 'supplier', detail => false)") for @names;
	stall('/jdy/v2/bd/customer');
	my $first = background_sql($node, "SELECT status FROM jdy_sync('customer')");
	wait_until_running($node, 'customer');
	my @queued = split /\|/, value_of($node, 'SELECT ' . join ', ', map { "jdy_start('$_')" } @names);
	my $caller = background_sql($node, "SELECT run_id FROM jdy_sync('material')");
	ok(poll_until(sub { says($caller, qr/waiting for a worker/) }, 'a NOTICE'), 'a caller behind five queued runs');
	go_on();
	ok(finish_session($_), "$_->{name} ends") or diag($_->{err}) for $first, $caller;
	wait_for_status($node, $_, 'ok', 'a queued run') for @queued;
	my ($run_id) = $caller->{out} =~ /^(\d+)$/m;
	cmp_ok(value_of($node, "SELECT count(*) FROM jdysync.run q, jdysync.run c WHERE c.run_id = $run_id AND q.run_id = ANY (ARRAY[" . join(',', @queued) . "]) AND q.started_at < c.started_at"),
		'<=', 1, 'does not wait for all of them');
	value_of($node, "SELECT jdy_drop_stream('$_', false)") for @names;
}

# Cancelled while queued or running.
{
	stall('/jdy/v2/bd/customer');
	my $running = value_of($node, "SELECT jdy_start('customer')");
	is(wait_until_running($node, 'customer'), $running, 'one runs');
	my $queued = value_of($node, "SELECT jdy_start('customer')");
	is(value_of($node, "BEGIN; SELECT jdy_cancel($queued); ROLLBACK"), 't', 'a queued run is cancelled');
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $queued"), 'queued', 'unless that is rolled back');
	is(value_of($node, "SELECT jdy_cancel($queued)"), 't', 'a queued run is cancelled');
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $queued"), 'cancelled', 'at once');
	is(value_of($node, "SELECT jdy_cancel($queued)"), 'f', 'once');
	is(value_of($node, "SELECT jdy_cancel($running)"), 't', 'the running one too');
	wait_for_status($node, $running, 'cancelled', 'and ends');
	go_on();
}

# Over a restart, and with the kill switch.
{
	set_enabled('off');
	my $kept = value_of($node, "SELECT jdy_start('customer')");
	my $dropped = value_of($node, "SELECT jdy_start('supplier')");
	forget_calls($node);
	$node->restart;
	poll_sql($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jdysync launcher'");
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $kept"), 'queued', 'switched off, nothing runs');
	$node->safe_psql('postgres', "SELECT jdy_cancel($dropped)");
	set_enabled('on');
	wait_for_status($node, $kept, 'ok', 'switched on, the queued run is made');
	is(value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $dropped"), 'cancelled', 'the cancelled one is not');

	stall('/jdy/v2/bd/customer');
	my $open = value_of($node, "SELECT jdy_start('customer')");
	wait_until_running($node, 'customer');
	my $next = value_of($node, "SELECT jdy_start('customer')");
	forget_calls($node);
	$node->stop('fast');
	go_on();
	$node->start;
	wait_for_status($node, $next, 'ok', 'a queued run is made after a restart, nobody asking again');
	wait_for_status($node, $open, 'interrupted', 'the one that was open says what happened');
}

# The launcher comes back by itself.
{
	my $old = value_of($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync launcher'");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
	poll_sql($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $old");
	$run_id = value_of($node, "SELECT jdy_start('customer')");
	wait_for_status($node, $run_id, 'ok', 'what is queued while there is no launcher is made when it is back');
}

# DROP DATABASE does not wait for our runs, and the launcher does not mind.
{
	$node->safe_psql('postgres', 'CREATE DATABASE doomed');
	$node->safe_psql('doomed', 'CREATE EXTENSION jdysync');
	create_server($node, 'kingdee', database => 'doomed');
	$node->safe_psql('doomed', "SELECT jdy_add_stream('customer', 'kingdee')");
	stall('/jdy/v2/bd/customer');
	$node->safe_psql('doomed', "SELECT jdy_start('customer')");
	poll_until(sub { $node->safe_psql('doomed', 'SELECT count(*) FROM jdy_progress') eq '1' }, 'a run there');
	my $start = time;
	$node->safe_psql('postgres', 'DROP DATABASE doomed');
	cmp_ok(time - $start, '<', 4, 'a database with an open run is dropped without delay');
	go_on();
	$run_id = value_of($node, "SELECT jdy_start('customer')");
	wait_for_status($node, $run_id, 'ok', 'other databases are served');
}

# Nobody of ours stays connected.
poll_sql($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%' AND datname IS NOT NULL");
is(value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%'"), '1', 'only the launcher is left');

done_testing();
