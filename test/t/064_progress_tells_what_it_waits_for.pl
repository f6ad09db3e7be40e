# An open run says how far it is, what it waits for and until when, and when it will be over; who looks at
# PostgreSQL's own views sees whose process that is and what it waits for, without the name of a stream.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $TIME = qr/\d\d:\d\d:\d\d/;
my $sim = start_sim(customers => 350, set => {%NO_LIMITS});
my $node = pull_node('main', server => { max_attempts => 100, timeout => '60 s', rate_window => '60 s' });
my $named_events = value_of($node, "SELECT current_setting('server_version_num')::int >= 170000") eq 't';

sub progress { my ($name, $column) = @_; return value_of($node, "SELECT $column FROM jdy_progress WHERE name = '$name'"); }
sub shows { my ($name, $sql, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(poll_until(sub { progress($name, $sql) eq 't' }, $what), $what) || diag(value_of($node, 'SELECT to_jsonb(p) FROM jdy_progress p')); }
sub stop_run { my ($name) = @_; value_of($node, "SELECT jdy_cancel(run_id) FROM jdy_progress WHERE name = '$name'"); return poll_until(sub { progress($name, 'true') eq '' }, 'the run ends'); }

# What PostgreSQL says of the process of an open run.
sub activity { my ($name, $column) = @_; return value_of($node, "SELECT $column FROM jdy_progress p JOIN pg_stat_activity a USING (pid) WHERE p.name = '$name'"); }

sub waits_in
{
	my ($name, $event) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
  SKIP: {
		skip 'wait events of extensions have names since PostgreSQL 17', 1 if !$named_events;
		ok(poll_until(sub { activity($name, 'wait_event') eq $event }, $event), "wait event $event");
	}
	is(activity($name, 'wait_event_type'), 'Extension', 'of the type Extension') if activity($name, 'wait_event_type') ne '';
	return;
}

# ---------------------------------------------------------------------------
# The service's answer.
# ---------------------------------------------------------------------------
add_stream($node, 'customer');
$sim->post('/_sim/fault', { kind => 'stall', path => $LIST, after => 4, times => -1 });
my $caller = background_sql($node, "SELECT * FROM jdy_sync('customer')");
shows('customer', "waiting_for = 'service' AND phase = 'loading' AND list_total = 350 AND pages > 2", 'a load that waits for the service');
is(progress('customer', 'reading'), '(,)', 'reads the whole list');
shows('customer', 'percent BETWEEN 0 AND 60', 'says how far it is: of the calls that it will take');
waits_in('customer', 'JdysyncHttp');
is(activity('customer', 'a.backend_type'), 'jdysync runner', 'its process is ours');
unlike(value_of($node, "SELECT to_jsonb(a) FROM pg_stat_activity a WHERE backend_type LIKE 'jdysync%'"), qr/customer/, 'and names no stream');
is(value_of($node, q{SELECT string_agg(DISTINCT backend_type, ', ' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%' AND backend_type <> 'jdysync scheduler'}), 'jdysync launcher, jdysync runner', 'the launcher is there, too');
SKIP: {
	skip 'wait events of extensions have names since PostgreSQL 17', 1 if !$named_events;
	ok(poll_until(sub { value_of($node, q{SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'jdysync launcher'}) eq 'JdysyncLauncher' }, 'the launcher'), 'wait event JdysyncLauncher');
}
SKIP: {
	skip 'wait events of extensions have names since PostgreSQL 17', 1 if !$named_events;
	ok(poll_until(sub { value_of($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = " . session_pid($caller)) eq 'JdysyncRun' }, 'who waits for the run'), 'wait event JdysyncRun');
}
$sim->delete('/_sim/fault');
stop_run('customer');
finish_session($caller);

# ---------------------------------------------------------------------------
# A lock in this database.
# ---------------------------------------------------------------------------
{
	my $lock = $node->background_psql('postgres');

	$lock->query_safe('BEGIN; LOCK TABLE jdysync.staging_customer IN ACCESS EXCLUSIVE MODE');
	value_of($node, "SELECT jdy_start('customer')");
	shows('customer', "waiting_for = 'lock'", 'a run whose table is locked');
	is(progress('customer', 'cardinality(pg_blocking_pids(pid))'), '1', 'its pid tells who holds it');
	$lock->query_safe('COMMIT');
	$lock->quit;
	ok(poll_until(sub { progress('customer', 'true') eq '' }, 'its end'), 'and it goes on');
}

# ---------------------------------------------------------------------------
# A back-off, a 429, and the budget.
# ---------------------------------------------------------------------------
$sim->post('/_sim/fault', { kind => 'status', status => 500, path => $LIST, times => -1 });
value_of($node, "SELECT jdy_start('customer')");
shows('customer', "waiting_for ~ '^back-off until \\d\\d:\\d\\d:\\d\\d\$'", 'one whose calls fail backs off, and says until when');
stop_run('customer');
$sim->delete('/_sim/fault');

$sim->post('/_sim/fault', { kind => 'status', status => 429, retry_after => 3, path => $LIST, times => 1 });
value_of($node, "SELECT jdy_start('customer')");
shows('customer', "waiting_for ~ '^Retry-After until \\d\\d:\\d\\d:\\d\\d\$'", 'one that was told to wait says so');
ok(poll_until(sub { progress('customer', 'true') eq '' }, 'its end'), 'and goes on when that is over');

value_of($node, "ALTER SERVER kingdee OPTIONS (SET calls_per_minute '40')");
value_of($node, "SELECT jdy_start('customer', 'full')");
shows('customer', "waiting_for ~ '^budget until \\d\\d:\\d\\d:\\d\\d\$' AND phase = 'details'", 'one that used up its budget waits for it, and says until when');
shows('customer', 'calls_left <= 8 AND details_due > 100', 'and shows the calls that are left of it, and the details');
shows('customer', 'percent < 100 AND eta > now()', 'and when it will be over');
waits_in('customer', 'JdysyncPause');
stop_run('customer');

# ---------------------------------------------------------------------------
# A push: how many records are left, and the target.
# ---------------------------------------------------------------------------
value_of($node, sprintf q{CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '%s/target', auth 'bearer', concurrency '1', timeout '60 s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')}, $sim->url);
value_of($node, q{CREATE TABLE source (id text PRIMARY KEY); INSERT INTO source SELECT i FROM generate_series(1, 40) AS i});
value_of($node, q{SELECT jdy_add_push('shop', 'target', 'source', '{"api":"items","effect":"EXECUTE"}')});
$sim->post('/_sim/fault', { kind => 'stall', path => '/target/', after => 20, times => -1 });
value_of($node, "SELECT jdy_start('shop')");
shows('shop', "waiting_for = 'target' AND phase = 'pushing' AND pending = 40 AND delivered BETWEEN 1 AND 20 AND percent BETWEEN 1 AND 50", 'a push says how much of it the target has');
shows('shop', 'eta IS NOT NULL AND reading IS NULL', 'and when it will be over');
stop_run('shop');

unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/terminated by signal/, 'no process of the server crashed');
done_testing();
