# jdy_status: one line a stream and push says whether all is well and, if not, why and what to do; it says
# no more than a reader may know, and stays quick however long the history is.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 10, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\n");
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":500,"rowsKey":"array"}}';
my $TIME = '(?:20\d\d-\d\d-\d\d )?\d\d:\d\d:\d\d';

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer', max_attempts '2', rate_window '100 ms', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
query($node, q{CREATE TABLE source (id text PRIMARY KEY, name text); INSERT INTO source SELECT 'c' || i, 'A' FROM generate_series(1, 3000) AS i});
add_stream($node, 'customer');
query($node, "SELECT jdy_add_push('out', 'target', 'source', '$BATCH', batch_rows => 500)");

sub status { return query($node, "SELECT status, why FROM jdy_status WHERE name = '$_[0]'"); }
sub fault { return $sim->post('/_sim/fault', {@_}); }

is(query($node, q{SELECT name, kind, status, why, last_run_id, last_run, lag, next_run FROM jdy_status ORDER BY name}),
	"customer|pull|never ran|never ran||||\nout|push|never ran|never ran||||", 'before the first run');

# Pulls.
fault(kind => 'stall', path => '/jdy/v2/bd/customer');
my $run_id = query($node, q{SELECT jdy_start('customer')});
wait_until_running($node, 'customer');
like(status('customer'), qr/^never ran\|never ran: a run goes on since $TIME, see jdy_progress$/, 'while the first run goes on');
query($node, "SELECT jdy_cancel($run_id)");
wait_for_status($node, $run_id, 'cancelled', 'a cancelled run');
is(status('customer'), 'never ran|never ran', 'does not count');
sync_ok($node, 'customer', 'a good run');
is(status('customer'), 'ok|ok', 'ok');
is(query($node, q{SELECT last_run_id = (SELECT max(run_id) FROM jdy_runs), last_run > now() - interval '1 min', lag BETWEEN '0' AND '1 min', next_run IS NULL FROM jdy_status WHERE name = 'customer'}),
	't|t|t|t', 'with its run and its lag');
fault(kind => 'status', status => 403, path => '/jdy/v2/bd/customer', times => -1);
sync_stream($node, 'customer');
like(status('customer'), qr/^failing\|failing: call to the service failed: the service reported an error: .*403.*; last ok $TIME$/, 'a failed run, with the error');
$sim->delete('/_sim/fault');
sync_ok($node, 'customer', 'the next run');
is(status('customer'), 'ok|ok', 'ends that');
query($node, q{INSERT INTO jdysync.reject (stream_id, run_id, reason, digest, raw, next_try) SELECT stream_id, 1, 'x', 'x', 'x', now() FROM jdysync.stream;
	INSERT INTO jdysync.incident (name, severity, what, advice) VALUES ('customer', 'warning', 'a', 'b'), ('customer', 'info', 'c', 'd')});
like(status('customer'), qr/^ok\|ok: 1 row set aside, see jdy_rejects; 1 incident, see jdy_incidents$/, 'what else there is to look at');
query($node, q{UPDATE jdysync.incident SET closed_at = now(); DELETE FROM jdysync.reject});
query($node, q{INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at) SELECT stream_id, name, 'pull', 'auto', 'running', now() FROM jdysync.stream});
like(status('customer'), qr/^failing\|failing: the process of its run died; last ok/, 'a run whose process died');
sync_ok($node, 'customer', 'the next run');
like(status('customer'), qr/^ok/, 'ends that');

# Pushes.
is(push_ok($node, 'out', 'a push')->{delivered}, 3000, 'delivers');
is(status('out'), 'ok|ok', 'ok');
query($node, q{UPDATE source SET name = 'B' WHERE substr(id, 2)::int <= 1204});
push_row($node, 'out');
is(status('out'), q{held|held: 1204 of 3000 records would be sent; jdy_resume('out', force => true)}, 'held');
query($node, q{SELECT jdy_resume('out', force => true)});
is(status('out'), q{held|held: 1204 of 3000 records would be sent; jdy_resume was called, the next run lets it go}, 'released');
push_ok($node, 'out', 'the next run');
is(status('out'), 'ok|ok', 'ok again');
$sim->post('/_sim/target/poison', { ids => [qw(c1 c2 c3)] });
query($node, q{UPDATE source SET name = 'C' WHERE id IN ('c1', 'c2', 'c3', 'c4')});
push_ok($node, 'out', 'three refused records');
is(status('out'), 'ok|ok: 3 dead letters, see jdy_deliveries', 'dead letters');
query($node, q{SELECT jdy_discard('out', '{c1,c2}', 'known')});
is(status('out'), 'ok|ok: 1 dead letter, see jdy_deliveries', 'those that need nobody are left out');
fault(kind => 'status', status => 503, path => '/target/', times => -1);
query($node, q{UPDATE source SET name = 'D' WHERE id > 'c9'});
push_row($node, 'out');
like(status('out'), qr/^failing\|failing: the target does not answer: Whether \d+ records.*; last ok $TIME; 1 dead letter/, 'a request without an answer');
push_row($node, 'out') for 1 .. 5;
query($node, q{UPDATE jdysync.breaker SET next_try = now() + interval '5 min'});
like(status('out'), qr/^failing\|failing: the target has not answered since $TIME \(the service failed, HTTP 503\), next try $TIME; last ok $TIME; 1 dead letter, see jdy_deliveries$/, 'a target that is away');
query($node, q{UPDATE jdysync.breaker SET since = '2026-01-02 03:04:05', next_try = now()});
like(status('out'), qr/since 2026-01-02 03:04:05 .*, next try with the next run;/, 'and may be asked again');

# No more than one may know.
query($node, q{CREATE ROLE doctor LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN; GRANT SELECT ON jdy_status TO doctor, stranger});
is(query($node, 'SET ROLE stranger; SELECT count(*) FROM jdy_status'), '0', 'a stranger sees nothing');
is(query($node, 'SET ROLE doctor; SELECT count(*) FROM jdy_status'), '2', 'pg_monitor sees all');
query($node, q{INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at, finished_at, sqlstate, error, detail)
	SELECT stream_id, name, 'pull', 'auto', 'failed', now(), now(), '22P02', 'record c1 says', 'who he is' FROM jdysync.stream});
like(status('customer'), qr/^failing\|failing: record c1 says: who he is;/, 'the owner reads the error');
like(query($node, q{SET ROLE doctor; SELECT why FROM jdy_status WHERE name = 'customer'}), qr/^failing: run \d+ failed with SQLSTATE 22P02; last ok/, 'the doctor its kind');

# Switched off, gone.
query($node, q{UPDATE jdysync.push SET enabled = false});
like(status('out'), qr/^paused\|paused: runs only when it is named/, 'not enabled');
query($node, q{ALTER SYSTEM SET jdysync.enabled = off});
query($node, 'SELECT pg_reload_conf()');
poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'off'");
like(status('customer'), qr/^paused\|paused: jdysync\.enabled is off/, 'switched off');
query($node, q{ALTER SYSTEM RESET jdysync.enabled});
query($node, 'SELECT pg_reload_conf()');
poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'on'");
query($node, q{UPDATE jdysync.push SET enabled = true; DROP TABLE source});
like(status('out'), qr/^failing\|failing: its source is gone/, 'without its source');

# A long history: a million runs, rejects, deliveries, most of them of no use.
query($node, q{
	INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at, finished_at, sqlstate, error)
		SELECT s.stream_id, s.name, 'pull', 'auto', CASE WHEN i % 2 = 0 THEN 'failed' ELSE 'cancelled' END, now(), now(), '08006', 'no'
		FROM jdysync.subject s, generate_series(1, 500000) AS i;
	INSERT INTO jdysync.delivery (push_id, id, version, status) SELECT p.push_id, 'x' || i, 1, CASE WHEN i % 2 = 0 THEN 'delivered' ELSE 'dead' END FROM jdysync.push p, generate_series(1, 200000) AS i});
query($node, 'VACUUM ANALYZE jdysync.run, jdysync.delivery');
query($node, 'SELECT * FROM jdy_status');
my ($blocks, $ms) = query($node, q{EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF) SELECT * FROM jdy_status}) =~
  /\A.*?Buffers: shared hit=(\d+)(?! read).*Execution Time: ([\d.]+)/s;
diag("jdy_status with a million runs: $blocks blocks, $ms ms");
cmp_ok($blocks, '<', 1500, 'a million runs and many dead letters: some blocks of indexes are looked at, not the history');
like(status('out'), qr/more than 1000 dead letters/, 'so many are not counted');

done_testing();
