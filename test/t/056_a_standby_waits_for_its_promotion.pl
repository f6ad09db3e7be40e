# On a standby everything can be read and nothing runs: what would write says that this is one.  When it is
# promoted, schedules go on by themselves.
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

my $sim = start_sim(customers => 30, set => {%NO_LIMITS});
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jdysync'\nmax_worker_processes = 20\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION jdysync');
pull_server($node, 'kingdee');
query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
query($node, q{SELECT jdy_add_push('out', 'target', 'jdysync.staging_customer', '{"api":"out","effect":"EXECUTE"}', schedule => '1 s')});

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

sub last_ok { my ($on) = @_; return $on->safe_psql('postgres', "SELECT COALESCE(max(run_id) FILTER (WHERE status = 'ok'), 0) FROM jdy_runs WHERE name = 'customer'"); }

# Streams that run every second on the primary are seen to run.
my $seen = last_ok($standby);
ok(poll_until(sub { last_ok($standby) > $seen + 1 }, 'runs'), 'the standby sees the runs of its primary');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%'}), '0', 'no worker of ours is there');

subtest 'what can be read' => sub {
	for my $view (split /\n/, $standby->safe_psql('postgres', q{SELECT oid::regclass FROM pg_class WHERE relkind = 'v' AND relname LIKE 'jdy\_%' ORDER BY 1}))
	{
		my ($status, undef, $error) = $standby->psql('postgres', "SELECT * FROM $view");
		is($error, '', $view);
	}
	for my $call (q{jdy_render('{"a":"{{b}}"}', '{"b":1}')}, "jdy_explain('customer')", "jdy_preview('out')", "jdy_metrics()", "jdy_report()")
	{
		my ($name) = $call =~ /(\w+)/;
		next if $standby->safe_psql('postgres', "SELECT count(*) FROM pg_proc WHERE proname = '$name'") eq '0';
		my ($status, undef, $error) = $standby->psql('postgres', "SELECT $call");
		is($error, '', $call);
	}
};

subtest 'what cannot be done' => sub {
	for my $call (
		"jdy_sync('customer')", "jdy_sync()", "jdy_push('out')", "jdy_start('customer')", "jdy_cancel(1)", "jdy_pause('customer')", "jdy_resume('customer')",
		"jdy_resync('customer', now() - interval '1 hour', now())", "jdy_check('kingdee')", "jdy_fetch('kingdee', '/')",
		"jdy_add_stream('supplier', 'kingdee')", "jdy_alter_stream('customer', settle => '1 s')", "jdy_drop_stream('customer')",
		"jdy_create_view('v', 'customer', '{\"id\":\"id\"}')", "jdy_adopt()",
		q{jdy_add_push('two', 'target', 'jdysync.staging_customer', '{"api":"out","effect":"EXECUTE"}')},
		"jdy_alter_push('out', batch_rows => 7)", "jdy_grant('customer', 'pg_monitor', 'read')", "jdy_drop_push('out')", "jdy_replay('out')", "jdy_discard('out', '{1}', 'no')")
	{
		my ($status, undef, $error) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM $call");
		like($error, qr/ERROR:  25006: this server is a standby\nDETAIL:  .*\nHINT:  Use the primary/, $call);
	}
};

$node->stop('immediate');
my $before = last_ok($standby);
$standby->promote;
ok(poll_until(sub { last_ok($standby) > $before + 1 }, 'runs'), 'after the promotion the schedule goes on by itself');
is_true($standby, 'customer', 'staging equals the truth');
ok(poll_until(sub { scalar($sim->lines('/_sim/target/latest?path=/target/out')) == 30 }, 'arrived'), 'so does the push');
unlike(slurp_file($node->logfile) . slurp_file($standby->logfile), qr/terminated by signal/, 'no process crashed');
done_testing();
