# Whatever happens on the way, the target ends with the newest version of every record, and never
# takes an older one after a newer one.  Random changes, faults and crashes; then quiet, and
# the target's own record of what it accepted, in order, is compared with the source.
# Before that, the few courses of events that chance meets too seldom.
# JDY_TEST_ROUNDS says how many rounds (18), JDY_TEST_SEED which.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $ROUNDS_TO_QUIET = 6;
my $rounds = $ENV{JDY_TEST_ROUNDS} // 18;
my $seed = $ENV{JDY_TEST_SEED} // 42;
my $sim = start_sim(customers => 1, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\n");
my $url = $sim->url . '/target';

srand($seed);
local $SIG{PIPE} = 'IGNORE';
diag("rounds: $rounds, seed: $seed");

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', concurrency '4', max_attempts '2', rate_window '100 ms', timeout '1 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");

# A version's content is a number that was never given before, so the order of versions shows.
# Records whose ids begin with f go back and forth between two contents instead: what is there
# must not be taken for what was acknowledged.
query($node, q{CREATE SEQUENCE version;
	CREATE TABLE source (id text PRIMARY KEY, version bigint NOT NULL DEFAULT nextval('version'), text text);
	INSERT INTO source (id, text) SELECT 'c' || i, repeat('客', i % 50) FROM generate_series(1, 400) AS i;
	INSERT INTO source SELECT 'f' || i, 0, 'A' FROM generate_series(1, 40) AS i;
	SELECT jdy_add_push('all', 'target', 'source', '{"api":"all","effect":"EXECUTE"}')});

sub dice { my ($sides) = @_; return int(rand($sides)); }
sub pick { return $_[ dice(scalar @_) ]; }
sub stats { return $sim->get('/_sim/stats'); }

# Status and output; psql may be gone before it has read its input when the server just went down.
sub attempt
{
	my ($sql) = @_;
	my @answer = eval { $node->psql('postgres', $sql, timeout => 20) };

	return @answer ? @answer[0, 1] : (2, '');
}

# SQL that may meet a server which is just coming back.
sub patient
{
	my ($sql) = @_;
	my $answer;

	poll_until(sub { my $status; ($status, $answer) = attempt($sql); return $status == 0; }, $sql, 60)
	  or BAIL_OUT("the server does not come back: $sql");
	return $answer;
}

sub change_records
{
	my ($most) = @_;
	my $n = 1 + dice($most);
	my $from = dice(400);

	patient("UPDATE source SET version = nextval('version') WHERE id LIKE 'c%' AND substr(id, 2)::int BETWEEN $from AND $from + $n");
	patient("UPDATE source SET text = CASE text WHEN 'A' THEN 'B' ELSE 'A' END WHERE id LIKE 'f%' AND substr(id, 2)::int BETWEEN $from / 10 AND $from / 10 + 5");
	patient("INSERT INTO source (id, text) SELECT 'c' || @{[400 + dice(60)]}, 'new' ON CONFLICT DO NOTHING") if dice(4) == 0;
	patient("DELETE FROM source WHERE id = 'c@{[1 + dice(460)]}'") if dice(8) == 0;
	return;
}

# What the target accepted after something newer of the same record.
sub overtaken
{
	my ($path) = @_;
	my (%newest, @overtaken);

	for my $line ($sim->lines("/_sim/target?path=/target/$path"))
	{
		my ($id, $version) = ($line->{id}, $line->{payload}{version});

		push @overtaken, "$id: $version after $newest{$id}" if $version < ($newest{$id} // 0);
		$newest{$id} = $version;
	}
	return join ', ', @overtaken;
}

# ---------------------------------------------------------------------------
# What chance meets too seldom.
# ---------------------------------------------------------------------------
sub directed
{
	my ($what, $course) = @_;
	my $change = sub { return query($node, "UPDATE directed SET version = nextval('version'), text = '$_[0]' WHERE id IN ($_[1])"); };
	my $lost = sub { return $sim->post('/_sim/fault', { kind => $_[0], path => '/target/', times => $_[1] }); };

	subtest $what => sub {
		query($node, q{CREATE TABLE directed AS SELECT 'd' || i AS id, nextval('version') AS version, 'A' AS text FROM generate_series(1, 4) AS i;
			SELECT jdy_add_push('directed', 'target', 'directed', '{"api":"directed","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":10,"rowsKey":"array"}}')});
		push_ok($node, 'directed', 'A is delivered');
		$course->($change, $lost);
		calm($sim);
		push_ok($node, 'directed', 'quiet') for 1 .. 2;
		is(overtaken('directed'), '', 'no version came after a newer one');
		is(join(', ', sort map { "$_->{id} $_->{payload}{version} $_->{payload}{text}" } $sim->lines('/_sim/target/latest?path=/target/directed')),
			query($node, "SELECT string_agg(concat_ws(' ', id, version, text), ', ' ORDER BY id) FROM directed"), 'the target has the newest of every record');
		is(query($node, "SELECT count(*) FROM jdysync.batch"), '0', 'no outcome is open');
		query($node, "SELECT jdy_drop_push('directed'); DROP TABLE directed");
		$sim->delete('/_sim/target');
	};
	return;
}

directed('B did not arrive, then there is C', sub {
	my ($change, $lost) = @_;

	$lost->('reset', -1);
	$change->('B', "'d1', 'd2'");
	ok(!push_row($node, 'directed')->{ok}, 'B is in doubt');
	calm($sim);
	$change->('C', "'d1'");
	push_ok($node, 'directed', 'B is sent before C');
});
directed('B has no answer again while others are accepted, and there is C', sub {
	my ($change, $lost) = @_;

	$lost->('reset', -1);
	$change->('B', "'d1', 'd2'");
	ok(!push_row($node, 'directed')->{ok}, 'B is in doubt');
	calm($sim);
	$lost->('reset', 2);
	$change->('C', "'d1', 'd3'");
	push_ok($node, 'directed', 'C of that record waits');
});
directed('B arrived without an answer, then it is A again', sub {
	my ($change, $lost) = @_;

	$lost->('reset_after', -1);
	query($node, q{UPDATE directed SET text = 'B' WHERE id = 'd1'});
	ok(!push_row($node, 'directed')->{ok}, 'B is in doubt');
	calm($sim);
	query($node, q{UPDATE directed SET text = 'A' WHERE id = 'd1'});
});

# What a stretch of rounds works with: how the push is made, how patient it is, what the target is like.
my %stretch;

sub begin_stretch
{
	my $rows = pick(1, 3, 20, 50);
	my $operation = dice(3) == 0 ? '' : qq{,"operation":{"method":"batchArraySave","rows":$rows,"rowsKey":"array"}};

	%stretch = (attempts => pick(2, 2, 12), dedupe => pick('on', 'on', 'off'), poisoned => 0, log => '');
	$sim->delete('/_sim/target');
	$sim->post('/_sim/config', { target_dedupe => $stretch{dedupe} });
	patient("SELECT jdy_alter_push('all', metadata => '{\"api\":\"all\",\"effect\":\"EXECUTE\"$operation}')");
	patient("ALTER SERVER target OPTIONS (SET max_attempts '$stretch{attempts}', SET concurrency '@{[1 + dice(6)]}')");
	$stretch{first_run} = patient('SELECT COALESCE(max(run_id), 0) + 1 FROM jdy_runs');
	$stretch{text} = "rows $rows" . ($operation ? '' : ' (one by one)') . ", attempts $stretch{attempts}, dedupe $stretch{dedupe}";
	return;
}

sub trouble
{
	my @kinds = qw(reset reset_after reset_after stall cut html json status errcode);

	for (1 .. dice(4))
	{
		my $kind = pick(@kinds);
		my %fault = (kind => $kind, path => '/target/', after => dice(8), times => 1 + dice($kind eq 'stall' ? 2 : 4));

		@fault{qw(status retry_after)} = @{ pick([ 500 ], [ 503 ], [ 429, 0 ]) } if $kind eq 'status';
		delete $fault{retry_after} if !defined $fault{retry_after};
		$sim->post('/_sim/fault', \%fault);
		$stretch{log} .= " $kind";
	}
	my @poison = dice(3) == 0 ? map { 'c' . (1 + dice(400)) } 1 .. 1 + dice(3) : ();
	$stretch{poisoned} ||= @poison > 0;
	$sim->post('/_sim/target/poison', { ids => \@poison });
	$sim->post('/_sim/config', { target_poison => pick('batch', 'errcode'), target_max_rows => pick(0, 0, 0, 7), latency_ms => pick(3, 10, 30) });
	return;
}

sub run_is_over { return query_now("SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $_[0]") eq 't'; }
sub query_now { my ($sql) = @_; return (attempt($sql))[1] // ''; }

my %events;

sub strike
{
	my ($run_id) = @_;
	my $event = pick(qw(none none kill kill stop cancel));

	$event .= ' in vain' if $event ne 'none' && run_is_over($run_id);
	$events{$event}++;
	$stretch{log} .= " [$event]";
	if ($event =~ /in vain/)
	{
		return;
	}
	elsif ($event eq 'kill')
	{
		my $pid = query_now("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner' LIMIT 1");
		return if $pid eq '';
		kill 'KILL', $pid;
		poll_until(sub { !kill(0, $pid) }, 'the runner is dead');
	}
	elsif ($event eq 'stop')
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($event eq 'cancel')
	{
		query_now("SELECT jdy_cancel($run_id)");
	}
	return;
}

# Until nobody works and what the last run did is known.
sub wait_for_end
{
	my ($run_id) = @_;

	return poll_until(
		sub {
			return 1 if run_is_over($run_id);
			return query_now("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jdysync runner'") eq '0'
			  && query_now("SELECT status = 'running' FROM jdy_runs WHERE run_id = $run_id") eq 't';
		}, 'the run ends', 120);
}

sub round
{
	my ($round) = @_;

	trouble();
	change_records(120);
	patient('DELETE FROM jdysync.account');
	patient('DELETE FROM jdysync.breaker') if dice(4);	# most rounds are about runs that go on
	patient("SELECT jdy_resume('all', force => true)");
	my $run_id = patient("SELECT jdy_start('all')");
	my $until = stats()->{target_requests} + dice(30);
	my $changes = dice(4);
	poll_until(sub {
			change_records(20) if $changes-- > 0;
			return stats()->{target_requests} >= $until || run_is_over($run_id);
		}, 'requests', 60);
	strike($run_id);
	change_records(20) if dice(2);
	ok(wait_for_end($run_id), "round $round:$stretch{log}");
	$stretch{log} = '';
	return;
}

# No more trouble: push until there is nothing to push, and compare.
sub quiet
{
	my $last = '';

	calm($sim, target_max_rows => 0, latency_ms => 0);
	$sim->post('/_sim/target/poison', { ids => [] });
	patient('DELETE FROM jdysync.account');
	my $unprovoked = patient("SELECT count(*) FROM jdy_deliveries WHERE push = 'all' AND status = 'dead'");
	for (1 .. 5)
	{
		patient("SELECT jdy_replay('all')");
		patient("SELECT jdy_resume('all', force => true)");
		$last = patient("SELECT pending || ' ' || failed || ' ' || dead FROM jdy_push('all')");
		last if $last eq '0 0 0';
	}
	is($last, '0 0 0', "quiet ($stretch{text}): nothing is left to be sent");
	is(patient("SELECT count(*) FROM jdysync.batch"), '0', 'no outcome is open');
	is($unprovoked, '0', 'nothing was taken for refused') if !$stretch{poisoned} && $stretch{attempts} > 2;

	my (%newest, %keys, @twice);
	for my $line ($sim->lines('/_sim/target?path=/target/all'))
	{
		my ($id, $version, $text) = ($line->{id}, @{ $line->{payload} }{qw(version text)});
		my $key = $line->{key};

		push @twice, "$id: $version" if $id !~ /^f/ && ($keys{"$id $version"} // $key) ne $key;
		$keys{"$id $version"} = $key;
		$newest{$id} = $id =~ /^f/ ? $text : $version;
	}
	is(overtaken('all'), '', 'no version came after a newer one');

	# Under another key only in parts of a batch whose attempts were used up.
	my $used_up = patient("SELECT count(*) FROM jdy_calls WHERE run_id >= $stretch{first_run} AND attempt >= $stretch{attempts} AND error IS NOT NULL");
	is(join(', ', @twice), '', 'no version came twice under two keys') if $used_up == 0;
	is(stats()->{key_conflicts}, 0, 'no key was used for two requests');

	# Records that did not change in this stretch are there since an earlier one.
	our %target;
	@target{ keys %newest } = values %newest;
	my @behind = grep { my ($id, $content) = split /\|/; ($target{$id} // '') ne $content }
	  split /\n/, patient(q{SELECT id, CASE WHEN id LIKE 'f%' THEN text ELSE version::text END FROM source ORDER BY id});
	is(join(', ', @behind), '', 'the target has the newest version of every record');
	return;
}

for my $round (1 .. $rounds)
{
	begin_stretch() if $round % $ROUNDS_TO_QUIET == 1;
	round($round);
	quiet() if $round % $ROUNDS_TO_QUIET == 0 || $round == $rounds;
}
diag('events: ' . join ', ', map { "$_ $events{$_}" } sort keys %events);

done_testing();
