# What a person should know is said once: one row in jdy_incidents, one line in the log and one notification
# when it begins, the same when it is over, whatever happens in between; with what to do, and without what is in records.
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
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":10,"rowsKey":"array"}}';

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer', max_attempts '1', rate_window '100 ms', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
query($node, q{CREATE TABLE source (id text PRIMARY KEY, name text); INSERT INTO source SELECT 'c' || i, 'A' FROM generate_series(1, 20) AS i});
add_stream($node, 'customer');
query($node, "SELECT jdy_add_push('out', 'target', 'source', '$BATCH', batch_rows => 1)");

sub fault { return $sim->post('/_sim/fault', {@_}); }
sub open_ones { my ($database) = @_; return $node->safe_psql($database // 'postgres', q{SELECT name || ': ' || what || ' ' || severity FROM jdy_incidents WHERE closed_at IS NULL ORDER BY 1}); }
sub advice { my ($what) = @_; return query($node, "SELECT advice FROM jdy_incidents WHERE what = '$what' ORDER BY id DESC LIMIT 1"); }

# One who listens: how often was this said?  What was said comes a moment later, with the next statement.
my ($say, $said) = ("LISTEN jdysync;\n", '');
my $ears = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres') ], '<', \$say, '>', \$said, '2>', \$said);
my $asked = 0;
sub times_heard
{
	my ($payload) = @_;
	my $mark = 'asked ' . ++$asked;

	$say .= "SELECT '$mark';\n";
	IPC::Run::pump($ears) until $said =~ /^$mark$/m;
	return scalar(() = $said =~ /with payload "\Q$payload\E" received/g);
}
sub hears
{
	my ($payload, $times, $what) = @_;
	my $heard;

	poll_until(sub { ($heard = times_heard($payload)) >= $times }, $what);
	return is($heard, $times, $what);
}
times_heard('');

# What nothing runs by itself: the first failure counts.
sync_ok($node, 'customer', 'a good run');
my $run_id = query($node, 'SELECT max(run_id) FROM jdy_runs');
hears(qq({"run":$run_id,"status":"ok"}), 1, 'the end of a run is told, by its number');
is(open_ones(), '', 'all is well: no incident');
$sim->post('/_sim/revoke', {});
$sim->post('/_sim/expire_tokens', {});
sync_stream($node, 'customer');
is(open_ones(), 'customer: authorisation refused critical', 'the service does not let us in');
sync_stream($node, 'customer') for 1 .. 2;
my $id = query($node, 'SELECT max(id) FROM jdy_incidents');
is(query($node, 'SELECT count(*) FROM jdy_incidents'), '1', 'said once, however often it fails');
like(advice('authorisation refused'), qr/^SELECT \* FROM jdy_check\('kingdee'\);/, 'with what to do');
hears(qq({"incident":$id}), 1, 'one notification');
$sim->post('/_sim/config', { authorised => 'on' });
sync_ok($node, 'customer', 'the next good run');
is(open_ones(), '', 'ends it');
is(query($node, 'SELECT count(*), count(closed_at) FROM jdy_incidents'), '1|1', 'and it stays on record');
hears(qq({"incident":$id}), 2, 'one more notification');

# What is tried again by itself: one failure, or two, are none.
fault(kind => 'status', status => 404, path => '/jdy/v2/bd/supplier', times => -1);
add_stream($node, 'supplier', schedule => "'1 hour'");
poll_sql($node, q{SELECT count(*) = 1 FROM jdy_incidents WHERE name = 'supplier'}, 'the third failure in a row');
is(query($node, q{SELECT i.what, i.detail = format('Run %s failed with SQLSTATE HV000.', r.run_id) FROM jdy_incidents i,
	LATERAL (SELECT run_id FROM jdy_runs WHERE name = 'supplier' AND status = 'failed' ORDER BY run_id OFFSET 2 LIMIT 1) r WHERE i.name = 'supplier'}), 'failing|t', 'is one');
like(query($node, q{SELECT why FROM jdy_status WHERE name = 'supplier'}), qr/^failing: (?!.*incident)/, 'and jdy_status says it once');
$sim->delete('/_sim/fault');
poll_sql($node, q{SELECT count(*) = 0 FROM jdy_incidents WHERE name = 'supplier' AND closed_at IS NULL}, 'it goes well again by itself');

# A run that dies thrice.
fault(kind => 'stall', path => '/jdy/v2/bd/supplier', times => -1);
for (1 .. 3)
{
	query($node, q{INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at) SELECT stream_id, name, 'pull', 'auto', 'running', now() FROM jdysync.stream WHERE name = 'supplier'});
}
$run_id = query($node, q{SELECT jdy_start('supplier')});
wait_until_running($node, 'supplier');
is(open_ones(), 'supplier: failing critical', 'three that died');
query($node, "SELECT jdy_cancel($run_id)");
wait_for_status($node, $run_id, 'cancelled', 'a cancelled run');
is(open_ones(), 'supplier: failing critical', 'says nothing');
query($node, q{SELECT jdy_drop_stream('supplier')});
is(open_ones(), '', 'what was dropped has no incident');
$sim->delete('/_sim/fault');

# Records that the target refuses; one that PostgreSQL cannot hold.
$sim->post('/_sim/target/poison', { ids => [qw(c1 c2)] });
push_ok($node, 'out', 'refused records');
is(open_ones(), 'out: dead letters warning', 'are an incident');
query($node, q{SELECT jdy_discard('out', '{c1}', 'known')});
is(open_ones(), 'out: dead letters warning', 'as long as there is one');
query($node, q{SELECT jdy_discard('out', '{c2}', 'known')});
is(open_ones(), '', 'that needs somebody');
query($node, q{INSERT INTO jdysync.reject (stream_id, run_id, reason, digest, raw, next_try) SELECT stream_id, 1, 'x', 'x', 'x', 'infinity' FROM jdysync.stream});
sync_ok($node, 'customer', 'a row set aside');
is(open_ones(), 'customer: rows set aside warning', 'is an incident');
query($node, 'DELETE FROM jdysync.reject');
sync_ok($node, 'customer', 'and it is right again');
is(open_ones(), '', 'which ends it');

$sim->post('/_sim/target/poison', { ids => [] });

# A target that is away: its server's, told once for all pushes to it.
query($node, q{SELECT jdy_add_push('out2', 'target', 'source', '} . $BATCH . q{')});
fault(kind => 'status', status => 503, path => '/target/', times => -1);
query($node, q{UPDATE source SET name = 'B'});
push_row($node, 'out') for 1 .. 2;
push_row($node, 'out2');
is(open_ones(), 'server target: target away critical', 'one for all');
like(query($node, q{SELECT why FROM jdy_status WHERE name = 'out'}), qr/^failing: the target has not answered (?!.*incident)/, 'jdy_status says it once');
$sim->delete('/_sim/fault');
push_row($node, 'out') for 1 .. 2;
push_row($node, 'out2');
is(open_ones(), '', 'over when it answers');

# A licence that ends.
$sim->post('/_sim/config', { licence_days => 10 });
$node->restart;
forget_calls($node);
sync_ok($node, 'customer', 'signed in again');
is(open_ones(), 'server kingdee of ' . query($node, 'SELECT current_user') . ': licence ends warning', 'ten days left');
like(query($node, q{SELECT why FROM jdy_status WHERE name = 'customer'}), qr/^ok: 1 incident, see jdy_incidents/, 'which jdy_status counts');
$sim->post('/_sim/config', { licence_days => 300 });
$node->restart;
forget_calls($node);
sync_ok($node, 'customer', 'and again');
is(open_ones(), '', 'renewed');

# Due, and not run, for want of a worker.
fault(kind => 'stall', path => '/jdy/v2/bd/customer', times => -1);
query($node, 'ALTER SYSTEM SET jdysync.max_workers = 2; ');
query($node, 'SELECT pg_reload_conf()');
add_stream($node, "s$_", metadata => q{'{"api":"/jdy/v2/bd/customer","effect":"QUERY","id":"id"}'}) for 1 .. 3;
query($node, "SELECT jdy_start('s$_')") for 1 .. 3;
poll_sql($node, q{SELECT count(*) BETWEEN 1 AND 2 FROM jdy_progress}, 'the workers are busy');
is(open_ones(), '', 'one that waits is no incident');
query($node, q{UPDATE jdysync.run SET queued_at = now() - interval '10 min' WHERE status = 'queued'});
poll_sql($node, q{SELECT count(*) = 1 FROM jdy_incidents WHERE what = 'late'}, 'one that has waited long');
is(query($node, q{SELECT name, severity, closed_at IS NULL FROM jdy_incidents WHERE what = 'late'}), '(this database)|warning|t', 'is one, of the database');
like(advice('late'), qr/jdysync\.max_workers/, 'with what to do');
query($node, 'ALTER SYSTEM RESET jdysync.max_workers');
query($node, 'SELECT pg_reload_conf()');
query($node, 'SELECT jdy_cancel(run_id) FROM jdy_progress');
$sim->delete('/_sim/fault');
poll_sql($node, q{SELECT count(*) = 0 FROM jdy_incidents WHERE what = 'late' AND closed_at IS NULL}, 'over when none waits');
poll_sql($node, q{SELECT count(*) = 0 FROM jdy_runs WHERE status IN ('queued', 'running')}, 'all have ended');
query($node, "SELECT jdy_drop_stream('s$_')") for 1 .. 3;

# A copy is held.
$node->stop;
$node->start;
poll_until(sub { $node->psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres') == 0 }, 'a copy');
$node->restart;
poll_until(sub { open_ones('copy') eq '(this database): held warning' }, 'a copy is held');
is(open_ones('copy'), '(this database): held warning', 'which is one incident of the database');
is(open_ones(), '', 'of that database alone');
$node->safe_psql('copy', 'SELECT jdy_adopt()');
is(open_ones('copy'), '', 'over when it is adopted');

# Whatever happened: one line for each opening and each closing, and nothing of a record in them.
my @lines = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /LOG:  (incident .*)/g;
my $rows = 0;
$rows += $node->safe_psql($_->[0], "SELECT count(*) + count(closed_at) FROM jdy_incidents WHERE $_->[1]") for [ 'postgres', 'true' ], [ 'copy', q{what = 'held'} ];
is(scalar(@lines), $rows, 'one line in the log for each opening and each closing');
like($lines[0], qr/^incident \d+ opened: customer: authorisation refused \(critical\)$/, 'that says which');
is(scalar(grep { /c\d/ } @lines), 0, 'and nothing of records');

done_testing();
