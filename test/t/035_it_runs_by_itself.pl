# With a schedule a stream runs by itself, and the push behind it after it: over restarts, crashes and
# failures, never twice at once; not while it is paused or switched off, and not in a copy of the database.
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
sub one_more { my ($name, $what) = @_; my $n = runs($name, "status = 'ok'"); local $Test::Builder::Level = $Test::Builder::Level + 1; return becomes("SELECT count(*) > $n FROM jdy_runs WHERE name = '$name' AND status = 'ok'", $what); }
sub arrived { return scalar($sim->lines('/_sim/target/latest?path=/target/out')); }

subtest 'a stream, and the push behind it' => sub {
	add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
	query($node, 'CREATE VIEW low AS SELECT * FROM jdysync.staging_customer; CREATE VIEW out AS SELECT id, number, data FROM low WHERE detailed_at IS NOT NULL');
	query($node, q{SELECT jdy_add_push('out', 'target', 'out', '{"api":"out","effect":"EXECUTE","operation":{"method":"batchArraySave","rowsKey":"array"}}', schedule => '1 s')});
	ok(poll_until(sub { arrived() == 60 }, 'arrived'), 'all arrives at the target, and nobody called anything');
	is_true($node, 'customer', 'staging equals the truth');
	$sim->post('/_sim/change', { op => 'insert', count => 3 });
	ok(poll_until(sub { arrived() == 63 }, 'arrived'), 'so does what is new');
	like(query($node, "SELECT next_run BETWEEN now() - interval '2 s' AND now() + interval '5 s' FROM jdy_status WHERE name = 'customer'"), qr/^t$/, 'jdy_status says when it runs next');
	becomes("SELECT string_agg(status, ',') = 'ok,ok' FROM jdy_status", 'and that all is well');
	is(query($node, q{SELECT count(*) FROM jdysync.run p, jdysync.run s WHERE p.name = 'out' AND s.name = 'customer'
		AND p.started_at > s.started_at AND p.started_at < s.finished_at}), '0', 'the push never began while its stream ran');
	# Calls that take longer than the schedule: the stream is always due or open.
	$sim->post('/_sim/config', { latency_ms => 1500 });
	one_more('out', 'a stream that never rests does not hold up the push') for 1 .. 2;
	$sim->post('/_sim/config', { latency_ms => 0 });
	is(query($node, "SELECT count(*) FROM jdysync.run WHERE requested_by IS NULL OR requested_by <> current_user"), '0', 'runs are asked for by the owner');
};

subtest 'restarts and crashes' => sub {
	$node->restart;
	one_more('customer', 'after a restart it goes on');
	one_more('out', 'and the push');
	$node->stop('immediate');
	$node->start;
	one_more('customer', 'after an immediate stop, too');

	# The runner is killed in the middle of its run.
	$sim->post('/_sim/fault', { kind => 'stall', path => '/bd/customer', times => 1 });
	becomes("SELECT count(*) = 1 FROM jdy_progress WHERE name = 'customer' AND waiting_for IS NOT NULL", 'a run that waits');
	my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner' LIMIT 1");
	kill 'KILL', $pid;
	becomes("SELECT count(*) > 0 FROM jdysync.run WHERE status = 'interrupted' AND name = 'customer'", 'that died is tried again');
	one_more('customer', 'and goes on');
	$sim->delete('/_sim/fault');
	is(query($node, q{SELECT count(*) FROM jdysync.run a JOIN jdysync.run b ON a.stream_id = b.stream_id AND a.run_id < b.run_id
		AND a.finished_at > b.started_at}), '0', 'no two runs of one at once');
};

subtest 'what fails backs off alone' => sub {
	add_stream($node, 'supplier', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
	one_more('supplier', 'another stream runs');
	$sim->post('/_sim/fault', { kind => 'status', status => 403, path => '/bd/supplier', times => -1 });
	becomes("SELECT failures >= 3 FROM jdysync.agenda JOIN jdysync.stream ON stream_id = subject_id WHERE name = 'supplier'", 'it fails, and is counted');
	becomes("SELECT status = 'failing' AND why ~ 'next try .*last ok' FROM jdy_status WHERE name = 'supplier'", 'jdy_status says so, and when it is tried again');
	is(query($node, "SELECT bool_and(next_at < now() + interval '5 min' AND due_at <= now()) FROM jdysync.agenda JOIN jdysync.stream ON stream_id = subject_id WHERE name = 'supplier'"), 't', 'within five minutes');
	one_more('customer', 'the other goes on');
	cmp_ok(query($node, q{SELECT count(*) FROM jdysync.run WHERE name = 'supplier' AND status = 'failed'}), '<=', 6, 'it is not tried at its pace');
	$sim->delete('/_sim/fault');
	is(sync_ok($node, 'supplier', 'somebody runs it by hand')->{status}, 'ok', 'which goes well');
	becomes("SELECT failures = 0 FROM jdysync.agenda JOIN jdysync.stream ON stream_id = subject_id WHERE name = 'supplier'", 'so it has its pace again');
	one_more('supplier', 'and runs by itself');
	drop_stream($node, 'supplier');
	is(query($node, 'SELECT count(*) FROM jdysync.agenda'), '2', 'what is dropped is not due any more');
};

subtest 'paused, and switched off' => sub {
	is(query($node, "SELECT jdy_pause('customer'), jdy_pause('out')"), 't|t', 'both are paused');
	becomes("SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE status IN ('queued', 'running'))", 'open runs come to their end');
	my $n = runs('customer');
	is(query($node, "SELECT string_agg(DISTINCT status, ',') FROM jdy_status"), 'paused', 'jdy_status says so');
	add_stream($node, 'material', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
	one_more('material', 'another stream runs') for 1 .. 3;
	is(runs('customer'), $n, 'the paused one did not');
	is(query($node, "SELECT jdy_resume('customer'), jdy_resume('out'), jdy_resume('out')"), 't|t|f', 'resumed');
	one_more('customer', 'it runs again');

	query($node, 'ALTER SYSTEM SET jdysync.enabled = off');
	query($node, 'SELECT pg_reload_conf()');
	becomes("SELECT NOT EXISTS (SELECT FROM jdy_progress)", 'switched off: open runs end');
	my $all = patient('SELECT max(run_id) FROM jdysync.run');
	query($node, 'ALTER SYSTEM RESET jdysync.enabled');
	query($node, 'SELECT pg_reload_conf()');
	becomes("SELECT count(*) > 0 FROM jdysync.run WHERE run_id > $all + 1 AND status = 'ok'", 'switched on: they go on');
	drop_paused('material');
};

# A stream that may just be running.
sub drop_paused
{
	my ($name) = @_;

	query($node, "SELECT jdy_pause('$name')");
	becomes("SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE name = '$name' AND status IN ('queued', 'running'))", "$name comes to its end");
	drop_stream($node, $name);
	return;
}

subtest 'cron, another schedule, none' => sub {
	query($node, "SELECT jdy_pause('customer')");
	becomes("SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE name = 'customer' AND status IN ('queued', 'running'))", 'it comes to its end');
	query($node, "SELECT jdy_alter_stream('customer', schedule => '*/2 * * * * *')");
	is(query($node, "SELECT count(*) FROM jdysync.agenda a JOIN jdysync.stream s ON stream_id = subject_id WHERE name = 'customer'"), '0', 'a paused stream gets no time');
	query($node, "SELECT jdy_resume('customer')");
	one_more('customer', 'every other second') for 1 .. 2;
	is(query($node, "SELECT bool_and(extract(second FROM due_at)::int % 2 = 0) FROM jdysync.agenda a JOIN jdysync.stream s ON stream_id = subject_id WHERE name = 'customer'"), 't', 'when the clock says so');
	cmp_ok(query($node, q{SELECT max(abs(extract(epoch FROM started_at)::numeric % 2)) FROM (SELECT started_at FROM jdysync.run WHERE name = 'customer' AND status = 'ok' ORDER BY run_id DESC LIMIT 2) r}),
		'<', 1, 'it begins within a second');
};

subtest 'logs' => sub {
	my $old = query($node, "SELECT max(run_id) FROM jdysync.run WHERE name = 'customer' AND status = 'ok'");
	query($node, "UPDATE jdysync.run SET started_at = started_at - interval '40 days', finished_at = finished_at - interval '40 days' WHERE run_id <= $old");
	my $kept = query($node, 'SELECT count(DISTINCT (stream_id, status)) FROM jdysync.run JOIN jdysync.subject USING (stream_id)');
	$node->restart;
	becomes("SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE run_id <= $old AND EXISTS (SELECT FROM jdysync.run l WHERE l.stream_id = run.stream_id AND l.status = run.status AND l.run_id > run.run_id AND l.run_id <= $old))",
		'runs older than jdysync.log_retention go');
	is(query($node, 'SELECT count(DISTINCT (stream_id, status)) FROM jdysync.run JOIN jdysync.subject USING (stream_id)'), $kept, 'but for the last of each status');
	is(query($node, "SELECT count(*) FROM jdy_calls WHERE run_id <= $old AND run_id NOT IN (SELECT run_id FROM jdysync.run)"), '0', 'nobody sees their calls');
	one_more('customer', 'another run');
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
	one_more('customer', 'while the original goes on') for 1 .. 2;
	is($copy->('SELECT count(*) FROM jdysync.run WHERE started_at > (SELECT max(finished_at) FROM jdysync.run) '), '0', 'nor by itself');
	query($node, "SELECT jdy_pause('customer')");
	is($copy->('SELECT jdy_adopt()'), '2', 'jdy_adopt');
	my $max = $copy->('SELECT max(run_id) FROM jdysync.run');
	ok(poll_until(sub { $copy->("SELECT count(*) FROM jdysync.run WHERE run_id > $max AND status = 'ok'") > 0 }, 'runs in the copy', 60), 'and it runs');
	is($copy->('SELECT jdy_adopt()'), '0', 'once is enough');
};

done_testing();
