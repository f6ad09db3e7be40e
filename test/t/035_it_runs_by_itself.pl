# With a schedule a stream runs by itself, and the push behind it after it: over restarts, crashes and
# failures, over hours, months and changes of the clocks, never twice at once; not while it is paused, and not in a
# copy of the database.  The clock of schedules is stepped, so nothing waits for it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 60, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\nautovacuum = off\n");
my $url = $sim->url . '/target';

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', max_attempts '1', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");

# The same while the server may be coming back.
sub patient { my ($sql) = @_; my ($status, $out) = $node->psql('postgres', $sql); return $status == 0 ? $out : ''; }
sub becomes { my ($sql, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(poll_until(sub { patient("SELECT ($sql)") eq 't' }, $sql, 60), $what); }
sub runs { return patient("SELECT count(*) FROM jdy_runs WHERE name = '$_[0]'" . ($_[1] ? " AND $_[1]" : '')); }
sub arrived { return scalar($sim->lines('/_sim/target/latest?path=/target/out')); }
sub agenda { my ($name, $column) = @_; return query($node, "SELECT $column FROM jdysync.agenda JOIN jdysync.subject ON stream_id = subject_id WHERE name = '$name'"); }
sub due { my ($name, $zone) = @_; return agenda($name, "to_char(due_at AT TIME ZONE '" . ($zone // 'Asia/Shanghai') . "', 'YYYY-MM-DD HH24:MI')"); }

# All that is due by the clock was done.
sub quiet
{
	return poll_until(sub { patient("SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE status IN ('queued', 'running'))
		AND NOT EXISTS (SELECT FROM jdysync.agenda WHERE next_at <= jdy_test_clock(NULL))") eq 't' }, 'nothing is due', 60);
}

# The clock goes on, and what comes due is done: which good runs these were, as "name number, …".
sub after
{
	my ($set, $to) = @_;
	my $before = query($node, 'SELECT COALESCE(max(run_id), 0) FROM jdysync.run');

	$set->($node, $to);
	quiet();
	return query($node, "SELECT string_agg(name || ' ' || n, ', ' ORDER BY name) FROM (SELECT name, count(*) AS n FROM jdysync.run WHERE run_id > $before AND status = 'ok' GROUP BY name) r");
}
sub step { return after(\&step_clock, $_[0]); }
sub at { return after(\&clock, "'$_[0]'"); }

# The step lies in shared memory, so a restart or a crash takes it away.
sub back_at { my ($time) = @_; poll_until(sub { patient('SELECT 1') eq '1' }, 'the server is back', 60); forget_calls($node); return at($time); }

clock($node, "'2031-01-10 09:00:00+08'");

subtest 'a stream, and the push behind it' => sub {
	switch_jdysync($node, 'off');
	add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 hour'");
	query($node, 'CREATE VIEW low AS SELECT * FROM jdysync.staging_customer; CREATE VIEW out AS SELECT id, number, data FROM low WHERE detailed_at IS NOT NULL');
	query($node, q{SELECT jdy_add_push('out', 'target', 'out', '{"api":"out","effect":"EXECUTE","operation":{"method":"batchArraySave","rowsKey":"array"}}', schedule => '1 hour')});
	switch_jdysync($node, 'on');
	ok(poll_until(sub { arrived() == 60 }, 'arrived'), 'all arrives at the target, and nobody called anything');
	quiet();
	is_true($node, 'customer', 'staging equals the truth');
	$sim->post('/_sim/change', { op => 'insert', count => 3 });
	is(step('58 min'), '', 'nothing runs before its time');
	is(step('2 min'), 'customer 1, out 1', 'an hour later both do');
	is(arrived(), 63, 'so what is new arrives');
	is(query($node, "SELECT next_run BETWEEN jdy_test_clock(NULL) + interval '50 min' AND jdy_test_clock(NULL) + interval '1 hour' FROM jdy_status WHERE name = 'customer'"), 't', 'jdy_status says when it runs next');
	is(query($node, "SELECT string_agg(status, ',') FROM jdy_status"), 'ok,ok', 'and that all is well');
	is(step('5 hours'), 'customer 1, out 1', 'what was missed runs once');
	is(due('customer'), '2031-01-10 16:00', 'and the pace is kept');
	is(query($node, q{SELECT count(*) FROM jdysync.run p, jdysync.run s WHERE p.name = 'out' AND s.name = 'customer'
		AND p.started_at > s.started_at AND p.started_at < s.finished_at}), '0', 'the push never began while its stream ran');

	# Whenever a run of the stream ends, it is due again.
	$sim->post('/_sim/config', { latency_ms => 200 });
	my $n = runs('out', "status = 'ok'");
	ok(poll_until(sub { step_clock($node, '1 hour'); runs('out', "status = 'ok'") > $n + 1 }, 'pushes', 60), 'a stream that never rests does not hold up the push');
	$sim->post('/_sim/config', { latency_ms => 0 });
	quiet();
	is(query($node, "SELECT count(*) FROM jdysync.run WHERE requested_by IS NULL OR requested_by <> current_user"), '0', 'runs are asked for by the owner');
};

subtest 'late' => sub {
	at('2031-02-01 00:00:00+08');
	query($node, "UPDATE jdysync.agenda SET next_at = next_at + interval '1 day' WHERE subject_id = (SELECT stream_id FROM jdysync.stream)");
	my $due = due('customer', 'UTC');
	is(step('1 hour 2 min'), 'out 1', 'a stream that is due and does not run');
	like(query($node, "SET TimeZone = 'UTC'; SELECT status, why FROM jdy_status WHERE name = 'customer'"), qr/^late\|late: due since $due:00; last ok/, 'is late');
	sync_ok($node, 'customer', 'until it runs');
	is(query($node, "SELECT string_agg(status, ',') FROM jdy_status"), 'ok,ok', 'then all is well');
};

subtest 'restarts and crashes' => sub {
	$node->restart;
	is(back_at('2031-03-01 00:30:00+08'), 'customer 1, out 1', 'after a restart it goes on');
	$node->stop('immediate');
	$node->start;
	is(back_at('2031-04-01 00:30:00+08'), 'customer 1, out 1', 'after an immediate stop, too');

	# The runner is killed in the middle of its run.
	$sim->post('/_sim/fault', { kind => 'stall', path => '/bd/customer', times => 1 });
	step_clock($node, '1 hour');
	becomes("SELECT count(*) = 1 FROM jdy_progress WHERE name = 'customer' AND waiting_for IS NOT NULL", 'a run that waits');
	my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner' LIMIT 1");
	kill 'KILL', $pid;
	poll_until(sub { !kill(0, $pid) }, 'it is dead');
	$sim->delete('/_sim/fault');
	is(back_at('2031-04-01 01:45:00+08'), 'customer 1, out 1', 'one that died is tried again');
	is(runs('customer', "status = 'interrupted'"), 1, 'and said to be interrupted');
	is(query($node, q{SELECT count(*) FROM jdysync.run a JOIN jdysync.run b ON a.stream_id = b.stream_id AND a.run_id < b.run_id
		AND a.finished_at > b.started_at}), '0', 'no two runs of one at once');
};

subtest 'what fails backs off alone' => sub {
	add_stream($node, 'supplier', settle => "'500 ms'", overlap => "'0'", schedule => "'1 hour'");
	quiet();
	my $first = query($node, 'SELECT max(run_id) FROM jdysync.run');
	$sim->post('/_sim/fault', { kind => 'status', status => 403, path => '/bd/supplier', times => -1 });
	step_clock($node, '1 hour');

	# Whenever the last try is over, the clock goes on to the next one.
	my @pauses;
	ok(poll_until(sub {
		my ($failures, $pause, $at) = split /\|/, query($node, "SELECT a.failures, extract(epoch FROM a.next_at - r.finished_at), a.next_at FROM jdysync.agenda a JOIN jdysync.stream s ON s.stream_id = a.subject_id
			JOIN jdysync.run r USING (stream_id) WHERE s.name = 'supplier' AND r.run_id = (SELECT max(l.run_id) FROM jdysync.run l WHERE l.stream_id = s.stream_id) AND r.status = 'failed'") or return 0;
		$failures = $failures ? $failures : 0;
		$pauses[$failures] = $pause if $failures > 0;
		clock($node, "GREATEST(jdy_test_clock(NULL), '$at'::timestamptz + interval '1 ms')") if $failures > 0;
		return $failures == 12;
	}, 'twelve failures', 60), 'it fails, and is tried again, twelve times');
	my @wrong = grep { defined $pauses[$_] && ($pauses[$_] < 0.74 * ($_ > 9 ? 300 : 2**($_ - 1)) || $pauses[$_] > ($_ > 9 ? 300 : 2**($_ - 1)) + 1) } 1 .. 12;
	is("@wrong", '', 'after one second, two, four … and never more than five minutes') or diag(join ' ', map { $_ // '-' } @pauses);
	is(query($node, "SELECT count(*) FROM (SELECT started_at - lag(finished_at) OVER (ORDER BY run_id) AS pause, row_number() OVER (ORDER BY run_id) - 1 AS n FROM jdysync.run WHERE run_id > $first AND name = 'supplier') r
		WHERE pause < make_interval(secs => 0.74 * LEAST(300, 2 ^ (n - 1)))"), '0', 'and not before');
	quiet();
	becomes("SELECT status = 'failing' AND why ~ 'next try .*last ok' FROM jdy_status WHERE name = 'supplier'", 'jdy_status says so, and when it is tried again');
	cmp_ok(runs('customer', "run_id > $first AND status = 'ok'"), '>=', 1, 'the others went on');
	is(runs('customer', "run_id > $first AND status <> 'ok'"), 0, 'and well');
	$sim->delete('/_sim/fault');
	sync_ok($node, 'supplier', 'somebody runs it by hand, which goes well');
	is(agenda('supplier', 'failures, due_at > jdy_test_clock(NULL)'), '0|t', 'so it has its pace again');
	like(step('1 hour'), qr/supplier 1/, 'and runs by itself');
	drop_stream($node, 'supplier');
	is(query($node, 'SELECT count(*) FROM jdysync.agenda'), '2', 'what is dropped is not due any more');
};

subtest 'paused' => sub {
	is(query($node, "SELECT jdy_pause('customer'), jdy_pause('out')"), 't|t', 'both are paused');
	is(query($node, "SELECT string_agg(DISTINCT status, ',') FROM jdy_status"), 'paused', 'jdy_status says so');
	add_stream($node, 'material', settle => "'500 ms'", overlap => "'0'", schedule => "'1 hour'");
	quiet();
	is(step('1 hour'), 'material 1', 'another stream runs') for 1 .. 3;
	is(query($node, "SELECT jdy_resume('customer'), jdy_resume('out'), jdy_resume('out')"), 't|t|f', 'resumed');
	quiet();
	is(step('1 hour'), 'customer 1, material 1, out 1', 'they run again');
	drop_stream($node, 'material');
};

subtest 'cron, and another schedule' => sub {
	query($node, "SELECT jdy_pause('out'), jdy_pause('customer'), jdy_alter_stream('customer', schedule => '*/20 8-9 * * mon-fri')");
	is(agenda('customer', 'count(*)'), '0', 'a paused stream gets no time');
	query($node, "SELECT jdy_resume('customer')");
	at('2031-06-06 07:59:00+08');	# a Friday
	is(at($_->[0]), $_->[1], "$_->[0]: $_->[2]")
	  for [ '2031-06-06 08:00:01+08', 'customer 1', 'runs' ], [ '2031-06-06 08:19:30+08', '', 'not yet' ], [ '2031-06-06 08:20:01+08', 'customer 1', 'runs' ],
	  [ '2031-06-06 23:00:00+08', 'customer 1', 'what was missed runs once' ], [ '2031-06-08 12:00:00+08', '', 'not on Sunday' ], [ '2031-06-09 08:00:01+08', 'customer 1', 'on Monday' ];
	is(due('customer'), '2031-06-09 08:20', 'and next');
};

# Clocks are put forward on 9 March 2031 at 2 o'clock, back on 2 November.
subtest 'clocks that are put forward and back' => sub {
	pull_server($node, 'overseas', server => { time_zone => 'America/New_York' });
	query($node, "SELECT jdy_pause('customer')");
	clock($node, "'2031-03-08 12:00:00-05'");
	add_stream($node, 'night', server => "'overseas'", entry => "'supplier'", detail => 'false', schedule => "'30 2 * * *'");
	is(at($_->[0]), $_->[1], "$_->[0]: $_->[2]")
	  for [ '2031-03-09 01:59:59-05', '', 'not yet' ], [ '2031-03-09 03:29:00-04', '', 'half past two is skipped' ], [ '2031-03-09 03:30:01-04', 'night 1', 'and counts as much later' ],
	  [ '2031-03-10 02:30:01-04', 'night 1', 'the next night as ever' ];
	query($node, "SELECT jdy_alter_stream('night', schedule => '30 1 * * *')");
	is(at($_->[0]), $_->[1], "$_->[0]: $_->[2]")
	  for [ '2031-11-01 12:00:00-04', 'night 1', 'what was missed all summer runs once' ], [ '2031-11-02 01:30:01-04', '', 'not when a time comes for the first time that comes twice' ],
	  [ '2031-11-02 01:30:01-05', 'night 1', 'but for the second' ], [ '2031-11-03 01:30:01-05', 'night 1', 'the next night as ever' ];
	drop_stream($node, 'night');
	query($node, "SELECT jdy_resume('customer'), jdy_resume('out')");
};

subtest 'logs' => sub {
	query($node, "SELECT jdy_alter_stream('customer', schedule => '1 hour')");
	quiet();
	my $old = query($node, "SELECT max(run_id) FROM jdysync.run WHERE name = 'customer' AND status = 'ok'");
	my $kept = query($node, 'SELECT count(DISTINCT (stream_id, status)) FROM jdysync.run JOIN jdysync.subject USING (stream_id)');
	my $all = query($node, "SELECT count(*) FROM jdysync.run WHERE run_id <= $old");
	step($_) for '40 days', '10 min';
	becomes("SELECT count(*) < $all FROM jdysync.run WHERE run_id <= $old", 'runs older than jdysync.log_retention go')
	  or diag(query($node, "SELECT run_id, name, status, finished_at FROM jdysync.run"));
	is(query($node, 'SELECT count(DISTINCT (stream_id, status)) FROM jdysync.run JOIN jdysync.subject USING (stream_id)'), $kept, 'but for the last of each status');
	is(query($node, "SELECT count(*) FROM jdy_calls WHERE run_id <= $old AND run_id NOT IN (SELECT run_id FROM jdysync.run)"), '0', 'nobody sees their calls');
	cmp_ok(query($node, "SELECT count(*) FROM jdy_calls WHERE run_id > $old"), '>', 0, 'what is newer stays');
};

subtest 'a copy of the database' => sub {
	query($node, "SELECT jdy_pause('customer'), jdy_pause('out')");
	becomes("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^jdysync (runner|scheduler)')", 'nobody of ours is there');
	$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
	query($node, "SELECT jdy_resume('customer')");
	my $copy = sub { return $node->safe_psql('copy', $_[0]) };
	$copy->("UPDATE jdysync.stream SET enabled = true");
	is($copy->("SELECT status, why FROM jdy_status WHERE name = 'customer'"), 'held|held: this database is a copy; SELECT jdy_adopt() when the original does not run any more', 'it is held, and says so');
	my (undef, undef, $err) = $node->psql('copy', "SELECT jdy_sync('customer')");
	like($err, qr/ERROR:  this database is a copy: nothing runs here.*HINT.*jdy_adopt/s, 'nothing runs there by hand');
	$copy->("INSERT INTO jdysync.agenda SELECT stream_id, now(), now() FROM jdysync.stream");
	like(step('1 hour'), qr/^customer 1/, 'while the original goes on') for 1 .. 2;
	is($copy->('SELECT count(*) FROM jdysync.run WHERE started_at > (SELECT max(finished_at) FROM jdysync.run) '), '0', 'nor by itself');
	query($node, "SELECT jdy_pause('customer')");
	my $max = $copy->('SELECT max(run_id) FROM jdysync.run');
	is($copy->('SELECT jdy_adopt()'), '2', 'jdy_adopt');
	ok(poll_until(sub { $copy->("SELECT count(*) FROM jdysync.run WHERE run_id > $max AND status = 'ok'") > 0 }, 'runs in the copy', 60), 'and it runs');
	is($copy->('SELECT jdy_adopt()'), '0', 'once is enough');
};

done_testing();
