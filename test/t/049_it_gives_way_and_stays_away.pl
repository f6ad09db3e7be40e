# Runs give way to DROP DATABASE, DROP EXTENSION and DROP ROLE; nothing runs on a standby, and
# after its promotion it goes on by itself; two databases do not know of each other.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 300, suppliers => 5, set => {%NO_LIMITS});
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jdysync'\nlog_min_messages = info\nmax_worker_processes = 20\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION jdysync');
pull_server($node, 'kingdee');
add_stream($node, 'customer');
sync_ok($node, 'customer', 'a first load');

# ---------------------------------------------------------------------------
# Another database, with streams of the same numbers.
# ---------------------------------------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION jdysync');
pull_server($node, 'kingdee', database => 'other');
$node->safe_psql('other', "SELECT jdy_add_stream('customer', 'kingdee')");
$sim->post('/_sim/config', { latency_ms => 200 });
$node->safe_psql('other', "SELECT jdy_start('customer')");
ok(poll_until(sub { $node->safe_psql('other', 'SELECT count(*) FROM jdy_progress') eq '1' }, 'a run in the other database'), 'a run in the other database');
is(value_of($node, 'SELECT count(*) FROM jdy_progress'), '0', 'is not seen in this one');
my $run_id = $node->safe_psql('other', 'SELECT run_id FROM jdy_progress');
my ($status, undef, $error) = $node->psql('postgres', "SELECT jdy_cancel($run_id)");
is($node->safe_psql('other', "SELECT status FROM jdy_runs WHERE run_id = $run_id"), 'running', 'nor cancelled from it');
$node->safe_psql('postgres', 'DROP DATABASE other');
is(value_of($node, "SELECT count(*) FROM pg_database WHERE datname = 'other'"), '0', 'DROP DATABASE does not wait for it');

# ---------------------------------------------------------------------------
# A standby.
# ---------------------------------------------------------------------------
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $going = background_sql($node, q{SELECT * FROM jdy_sync('customer', mode => 'full')});
$run_id = wait_until_running($node, 'customer');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT status FROM jdy_runs WHERE run_id = $run_id"), 'running', 'a standby shows a run of its primary as running');
# ---------------------------------------------------------------------------
# The extension goes while a run is open.
# ---------------------------------------------------------------------------
value_of($node, "SELECT jdy_cancel($run_id)");
finish_session($going);
$going = background_sql($node, q{SELECT * FROM jdy_sync('customer', mode => 'full')});
wait_until_running($node, 'customer');
($status, undef, $error) = $node->psql('postgres', 'DROP EXTENSION jdysync');
like($error, qr/other objects depend on it/, 'the extension is not dropped under its streams\' tables');
$node->safe_psql('postgres', 'DROP EXTENSION jdysync CASCADE');
ok(!finish_session($going), 'with CASCADE the open run ends');
like($going->{err}, qr/the extension was dropped while the run was open/, 'and says why');
ok(poll_until(sub { value_of($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jdysync runner'}) eq '0' }, 'the runner leaves'), 'its worker leaves');
$node->safe_psql('postgres', 'CREATE EXTENSION jdysync');
is(value_of($node, 'SELECT count(*) FROM jdysync.stream'), '0', 'it comes back empty');
$sim->post('/_sim/config', { latency_ms => 0 });

# ---------------------------------------------------------------------------
# Promotion: what was queued is run.
# ---------------------------------------------------------------------------
pull_server($node, 'kingdee');
add_stream($node, 'supplier');
$node->safe_psql('postgres', 'ALTER SYSTEM SET jdysync.enabled = off');
$node->reload;
poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'off'");
$run_id = value_of($node, "SELECT jdy_start('supplier')");
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT status FROM jdy_runs WHERE run_id = $run_id"), 'queued', 'what is queued stays so on a standby');
$node->stop('immediate');
$standby->promote;
wait_for_status($standby, $run_id, 'ok', 'and is run by itself after the promotion');

unlike(slurp_file($node->logfile) . slurp_file($standby->logfile), qr/terminated by signal/, 'no process crashed');
done_testing();
