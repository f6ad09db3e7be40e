# A run may die at any instruction: what it landed stays, the next one goes on where it
# stopped, and nothing is lost.  JDY_TEST_ROUNDS says how often to kill (6), JDY_TEST_SEED where.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;
use Time::HiRes qw(time);

my $LIST = '/jdy/v2/bd/customer';
my $DETAIL = '/jdy/v2/bd/customer_detail';
my $rounds = $ENV{JDY_TEST_ROUNDS} // 6;
my $seed = $ENV{JDY_TEST_SEED} // 42;
my $sim = start_sim(customers => 400, set => {%NO_LIMITS});
my $node = pull_node('main', server => { max_attempts => 2, timeout => '5 s' },
	conf => "restart_after_crash = on\njdysync.max_workers = 4\n");

srand($seed);
diag("rounds: $rounds, seed: $seed");

sub calls { my ($path) = @_; return paths($sim)->{$path} // 0; }

sub answers
{
	# psql that finds no server is gone before its input is written, which IPC::Run dies of.
	my ($status, $out) = eval { $node->psql('postgres', 'SELECT 1', timeout => 10) };
	return defined $status && $status == 0 && $out eq '1';
}

sub kill_runner
{
	my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner' LIMIT 1");

	return 0 if $pid eq '';
	kill 'KILL', $pid;
	poll_until(sub { !kill(0, $pid) }, 'the runner is dead');
	poll_until(sub { answers() }, 'the server is back');
	return 1;
}

# Waits until the service answered $n more calls, or the run is over.
sub wait_for_calls
{
	my ($run_id, $n) = @_;
	my $until = $sim->get('/_sim/stats')->{total} + $n;

	return poll_until(sub {
			$sim->get('/_sim/stats')->{total} >= $until
			  || query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't';
		}, 'calls');
}

# ---------------------------------------------------------------------------
# kill -9 of the runner, anywhere in first loads and later runs.
# ---------------------------------------------------------------------------
my $killed = 0;

for my $round (1 .. $rounds)
{
	my $name = "round$round";
	my @arguments = $round % 3 == 0 ? (start_from => "'2001-01-01'") : ();

	subtest "round $round" => sub {
		add_stream($node, $name, entry => "'customer'", settle => "'500 ms'", @arguments);
		$sim->post('/_sim/config', { latency_ms => 2 });
		$sim->post('/_sim/churn', { entity => 'customer', insert => 0.03, update => 0.06, delete => 0.02 }) if $round % 2;
		for my $kill (1 .. 3)
		{
			my $after = $kill == 3 ? int(rand(60)) : int(rand($round % 4 ? 300 : 12));
			my $run_id = query($node, "SELECT jdy_start('$name')");
			wait_for_calls($run_id, $after);
			my $hit = kill_runner();
			$killed += $hit;
			note("kill $kill after $after calls: " . ($hit ? 'hit' : 'the run was over'));
			$sim->post('/_sim/change', { op => $_, count => 20 }) for 'insert', 'update';
		}
		calm($sim, latency_ms => 0);
		sync_ok($node, $name, 'the next run');
		is_true($node, $name, 'nothing is lost', entity => 'customer', extra => 1);
		wait_out($sim, 1.7);
		sync_ok($node, $name, 'and the one after');
		is_true($node, $name, 'it stays so', entity => 'customer', extra => 1);
		is(query($node, "SELECT gaps = '{}' AND complete_until > (SELECT max(started_at) FROM jdy_runs r WHERE r.name = c.name) - interval '5 s' FROM jdy_coverage c WHERE name = '$name'"), 't',
			'proven without a gap');
		drop_stream($node, $name);
	};
}
cmp_ok($killed, '>=', $rounds, 'runs were killed');

# The oldest of several windows that are read at once is answered last, and never.
sub older_missing
{
	my ($what, $name, $landed) = @_;

	note($what);
	query($node, "SELECT jdy_start('$name')");
	ok(poll_until(sub { query($node, "SELECT count(*) FROM jdysync.staging_$name") > $landed }, 'windows'), 'later windows landed');
	ok(kill_runner(), 'then the runner is killed');
	isnt(differences($node, $name, entity => 'customer', where => "NOT EXISTS (SELECT FROM jdysync.staging_$name g WHERE g.id = t.id)"), '', 'what is older is missing');
	calm($sim);
	sync_ok($node, $name, 'the next run');
	is_true($node, $name, 'reads it', entity => 'customer', extra => 1);
	is(query($node, "SELECT gaps = '{}' AND complete_until IS NOT NULL FROM jdy_coverage WHERE name = '$name'"), 't', 'proven without a gap');
	return;
}

subtest 'a crash while an older window is missing' => sub {
	my ($oldest) = sort { $a <=> $b } truth($sim) =~ /"modify_ms":(\d+)/g;

	add_stream($node, 'gap', entry => "'customer'", settle => "'500 ms'", overlap => "'0'", start_from => "to_timestamp($oldest / 1000)");
	$sim->post('/_sim/fault', { kind => 'stall', path => $LIST, after => 3, times => 1 });
	older_missing('in a first load by windows', 'gap', 200);

	# Stamps of the next seconds, a part of a window each.
	my $now = $sim->get('/_sim/now')->{now_ms};
	my $before = query($node, 'SELECT count(*) FROM jdysync.staging_gap');
	$sim->post('/_sim/change', { op => 'insert', count => 400, at_ms => $now + 1000, stamp_spread_ms => 5000 });
	wait_out($sim, 8);
	$sim->post('/_sim/fault', { kind => 'stall', path => $LIST, after => 3, times => 3 });
	older_missing('in a later run', 'gap', $before + 100);
	drop_stream($node, 'gap');
};

# ---------------------------------------------------------------------------
# Immediate shutdown in the middle of a first load; it is resumed, not begun again.
# ---------------------------------------------------------------------------
{
	$sim->stop;
	$sim = start_sim(customers => 2000, set => {%NO_LIMITS});
	pull_server($node, 'large', server => { max_attempts => 2, timeout => '1 s' });
}

sub interrupted_load
{
	my ($what, $path, $calls, $stop) = @_;

	subtest $what => sub {
		add_stream($node, 'large', server => "'large'", entry => "'customer'", settle => "'500 ms'");
		my $began = time;
		$sim->post('/_sim/stats/reset');
		$sim->post('/_sim/config', { latency_ms => $path eq $LIST ? 20 : 2 });
		query($node, "SELECT jdy_start('large')");
		ok(poll_until(sub { calls($path) >= $calls }, 'calls'), 'a first load is under way');
		$stop->();
		$sim->post('/_sim/config', { latency_ms => 0 });
		note('details asked: ' . calls($DETAIL) . ', landed: ' . query($node, 'SELECT count(detailed_at) FROM jdysync.staging_large'));
		cmp_ok(query($node, 'SELECT count(*) FROM jdysync.staging_large'), '>', $path eq $LIST ? 300 : 1999, 'what was landed stays');
		cmp_ok(query($node, 'SELECT count(*) FROM jdysync.staging_large WHERE detailed_at IS NOT NULL'), '<', 2000, 'it is not all');
		is(query($node, "SELECT complete_until IS NULL FROM jdy_coverage WHERE name = 'large'"), 't', 'and nothing is promised');
		sync_ok($node, 'large', 'the next run');
		is_true($node, 'large', 'brings the rest', entity => 'customer');
		cmp_ok(calls($LIST), '<', 20 * 1.15 + 15 + (time - $began), 'pages are not read twice (and the tail once a second)');
		cmp_ok(calls($DETAIL), '<', 2000 + 250, 'nor details');
		drop_stream($node, 'large');
	};
	return;
}

sub immediate_restart { $node->stop('immediate'); $node->start; return; }

interrupted_load('immediate shutdown while the list is read', $LIST, 15, \&immediate_restart);
interrupted_load('immediate shutdown while details are read', $DETAIL, 700, \&immediate_restart);
interrupted_load('fast shutdown while details are read', $DETAIL, 700, sub { $node->stop('fast'); $node->start });
interrupted_load('the runner is killed while the list is read', $LIST, 15, \&kill_runner);

# ---------------------------------------------------------------------------
# The network is cut.
# ---------------------------------------------------------------------------
# The tail is listed again once in a rate window; in a short one the list would be the first to get no reply.
query($node, "ALTER SERVER large OPTIONS (SET rate_window '15 s')");
interrupted_load('the service falls silent', $DETAIL, 700, sub {
		kill 'STOP', $sim->{pid};
		ok(poll_until(sub { query($node, "SELECT status FROM jdy_runs WHERE name = 'large' ORDER BY run_id DESC LIMIT 1") eq 'failed' }, 'the run fails'), 'the run fails');
		like(query($node, "SELECT sqlstate || ' ' || error || ' ' || detail FROM jdy_runs WHERE name = 'large' ORDER BY run_id DESC LIMIT 1"),
			qr/^HV000 too many details in a row could not be had .*no reply in time/i, 'with a clear error');
		kill 'CONT', $sim->{pid};
	});

done_testing();
