# Whatever dies, and however: afterwards the schedule goes on by itself, and nothing is lost.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 30, set => {%NO_LIMITS});
my $node = pull_node('main', server => { timeout => '2 s', max_attempts => 100 }, conf => "restart_after_crash = on\nautovacuum = off\n");

add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");

# While the server may be coming back: psql may even end before it has read its statement.
sub patient { my ($sql) = @_; my ($status, $out) = eval { $node->psql('postgres', $sql) }; return defined $status && $status == 0 ? $out : ''; }
sub becomes { my ($sql, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(poll_until(sub { patient("SELECT ($sql)") eq 't' }, $sql, 90), $what); }
sub pid_of { my ($type) = @_; my $pid = ''; poll_until(sub { $pid = patient("SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' LIMIT 1") }, $type); return $pid; }
sub postmaster { return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0]; }
sub go_on { $sim->delete('/_sim/fault'); return; }

# Another run succeeds, and nobody asked for it.  The clock of schedules is stepped meanwhile.
sub goes_on
{
	my ($what) = @_;
	my $last;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	go_on();
	poll_until(sub { $last = patient('SELECT COALESCE(max(run_id), 0) FROM jdysync.run') }, 'the server is back');
	becomes("jdy_test_clock(jdy_test_clock(NULL) + interval '1 s') IS NOT NULL AND (SELECT count(*) > 0 FROM jdysync.run WHERE run_id > $last AND status = 'ok')", $what);
	is_true($node, 'customer', 'and staging equals the truth');
	return;
}

# A run is in the middle of a call that is not answered, with something to bring.
sub hang
{
	$sim->post('/_sim/change', { op => $_, count => 2 }) for 'insert', 'update';
	$sim->post('/_sim/fault', { kind => 'stall', path => '/bd/customer', times => -1 });
	poll_until(sub { patient('SELECT count(*) FROM jdy_progress WHERE waiting_for IS NOT NULL') eq '1' }, 'a run hangs');
	return query($node, 'SELECT run_id FROM jdy_progress');
}

# A scheduler is in the middle of its work: it waits for a table.
sub hold_scheduler
{
	my $session = $node->background_psql('postgres');

	$session->query_safe('BEGIN; LOCK jdysync.agenda');
	return ($session, pid_of('jdysync scheduler'));
}

query($node, q{CREATE FUNCTION jdy_test_clock(timestamptz) RETURNS timestamptz AS 'jdysync' LANGUAGE C});
goes_on('it runs by itself');

subtest 'the launcher' => sub {
	my $launcher = pid_of('jdysync launcher');
	my $run_id = hang();

	query($node, "SELECT pg_terminate_backend($launcher)");
	go_on();
	becomes("SELECT status = 'ok' FROM jdysync.run WHERE run_id = $run_id", 'terminated: what runs is not disturbed');
	becomes("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jdysync launcher' AND pid <> $launcher", 'another comes');
	goes_on('and the schedule goes on');
	kill 'KILL', pid_of('jdysync launcher');
	goes_on('kill -9: the schedule goes on');
};

subtest 'a scheduler' => sub {
	my ($session, $pid) = hold_scheduler();

	query($node, "SELECT pg_terminate_backend($pid)");
	$session->quit;
	goes_on('terminated: the schedule goes on');
	($session, $pid) = hold_scheduler();
	kill 'KILL', $pid;
	eval { $session->quit };
	goes_on('kill -9: the schedule goes on');
};

subtest 'a runner' => sub {
	my $run_id = hang();

	query($node, 'SELECT pg_terminate_backend(' . pid_of('jdysync runner') . ')');
	goes_on('terminated: the schedule goes on');
	is(query($node, "SELECT status FROM jdysync.run WHERE run_id = $run_id"), 'interrupted', 'the run says what became of it');
};

subtest 'a process that is not ours' => sub {
	hang();
	kill 'KILL', pid_of('checkpointer');
	goes_on('all restart, and the schedule goes on');
};

# Nobody tells the workers: they must see it, and leave, or the server could not start again.
subtest 'the postmaster' => sub {
	hang();
	my @pids = split /\n/, query($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%'});

	cmp_ok(scalar @pids, '>=', 2, 'launcher and runner are there');
	$node->kill9;
	ok(poll_until(sub { !grep { kill 0, $_ } @pids }, 'they leave', 30), 'they leave');
	$node->start;
	goes_on('started again, the schedule goes on');
};

is(query($node, "SELECT gaps = '{}' FROM jdy_coverage"), 't', 'no gap in the ledger');
done_testing();
