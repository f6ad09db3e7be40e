# What other programs read: jdy_metrics() is OpenMetrics to its reference parser, Debian's PostgreSQL
# exporter gives the same numbers with the configuration in doc/, every query of the Grafana
# dashboard runs, and counters never go down.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use HTTP::Tiny;
use IO::Socket::INET;
use JdyRuns;
use JdyTest;
use JdyTruth;
use Encode ();
use IPC::Run ();
use JSON::PP;
use POSIX ();
use Test::More;

my $doc = "$FindBin::RealBin/../../doc";
my $PARSER = <<'END';
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(json.dumps([[f.name, f.type, f.unit, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]]
	for f in parse(sys.stdin.buffer.read().decode())]))
END
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';

my $sim = start_sim(customers => 60, set => {%NO_LIMITS});
my $node = pull_node('main', server => { calls_per_minute => 5000, rate_window => '60 s' });
my %mapping = %JdyTest::CREDENTIALS;

# Names with all that a label must escape: a server's, a role's.
query($node, q{ALTER SERVER kingdee RENAME TO "king\dee ""金蝶""} . "\n" . q{line 2"});
query($node, q{CREATE ROLE "the \ ""owner""" SUPERUSER LOGIN});
query($node, "CREATE USER MAPPING FOR PUBLIC SERVER \"king\\dee \"\"金蝶\"\"\nline 2\" OPTIONS (client_id '$mapping{client_id}', client_secret '$mapping{client_secret}', outer_instance_id '$mapping{outer_instance_id}')");
query($node, qq{SET SESSION AUTHORIZATION "the \\ ""owner"""; SELECT jdy_add_stream('客户', E'king\\\\dee "金蝶"\\nline 2', entry => 'customer')});
query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer', calls_per_minute '0')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
query($node, "CREATE TABLE source (id text PRIMARY KEY, name text); INSERT INTO source SELECT 'c' || i, 'A' FROM generate_series(1, 200) AS i");
query($node, "SELECT jdy_add_push('out', 'target', 'source', '$BATCH'); SELECT jdy_add_push('idle', 'target', 'source', '$BATCH')");

# The role that doc/watching.md makes.
my ($grants) = PostgreSQL::Test::Utils::slurp_file("$doc/watching.md") =~ /^(CREATE ROLE watcher.*?)^```/ms;
query($node, $grants);
query($node, 'CREATE ROLE stranger LOGIN');
(my $for_stranger = $grants) =~ s/^CREATE ROLE.*$//m;
query($node, $for_stranger =~ s/TO watcher/TO stranger/gr);
sub as { return query($node, "SET SESSION AUTHORIZATION $_[0];\n$_[1]"); }

# ---------------------------------------------------------------------------
# The text.
# ---------------------------------------------------------------------------
is(query($node, 'SELECT count(*) FROM jdy_sync()'), '1', 'a pull');
$sim->post('/_sim/target/poison', { ids => [qw(c1 c2 c3)] });
push_ok($node, 'out', 'a push with three refused records');
query($node, "INSERT INTO jdysync.incident (name, severity, what, advice) VALUES ('out', 'critical', 'x', 'y'), ('out', 'critical', 'z', 'y'), ('out', 'info', 'w', 'y')");

query($node, q{INSERT INTO jdysync.lag SELECT stream_id, '{5,0,2,0,0,0,0,0,0,0,0,0,0,1}', '{0,0,1,0,0,0,0,0,0,0,0,0,0,0}', 90011.5, '3.5 s', now() FROM jdysync.stream});
my $text = as('watcher', 'SELECT jdy_metrics()');
like($text, qr/\n# EOF$/, 'it ends as OpenMetrics ends');
my (%unit, %type, %value);

SKIP:
{
	system("/usr/bin/python3 -c 'import prometheus_client.openmetrics' 2>/dev/null") == 0
	  or skip 'no python3-prometheus-client', 6;
	my ($out, $err) = ('', '');

	IPC::Run::run([ '/usr/bin/python3', '-c', $PARSER ], '<', \$text, '>', \$out, '2>', \$err);
	is($err, '', 'the reference parser reads it');
	my $families = JSON::PP->new->utf8->decode($out);
	my ($label_of) = map { $_->[1] } map { @{ $_->[4] } } grep { $_->[0] eq 'jdysync_budget_limit' } @$families;
	is_deeply($label_of, { foreign_server => Encode::decode('UTF-8', "king\\dee \"金蝶\"\nline 2"), role => 'the \\ "owner"' }, 'labels come back as they were');
	is(join(' ', grep { !/^jdysync_/ } map { $_->[0] } @$families), '', 'names have one prefix');
	is(join(' ', map { $_->[0] } grep { $_->[2] ne '' && $_->[0] !~ /_$_->[2]$/ } @$families), '', 'and end with their unit');
	is(join(' ', map { $_->[0] } grep { $_->[3] eq '' } @$families), '', 'all say what they mean');
	is(join(' ', map { $_->[0] } grep { $_->[1] !~ /^(gauge|counter|histogram)$/ } @$families), '', 'and are of types that Prometheus\' older format has');
}

# Samples of a text, ours or the exporter's, without what only the exporter says.
sub samples
{
	my ($from) = @_;
	my %found;

	for (split /\n/, $from)
	{
		/^(jdysync_\w+)\{(.*)\} (\S+)$/ or next;
		my ($name, $labels, $number) = ($1, $2, $3);
		$labels =~ s/le="(\d+)\.0"/le="$1"/;	# as the exporter writes it
		my @labels = sort grep { !/^server=/ } $labels =~ /(\w+="(?:[^"\\]|\\.)*")/g;

		$found{"${name}{" . join(',', @labels) . '}'} = $number + 0 unless $number eq 'NaN';
	}
	return %found;
}

my %ours = samples($text);
my $owner = 'role="the \\\\ \"owner\""';
my %expected = (
	'jdysync_status{kind="pull",name="客户"}' => 0,
	'jdysync_status{kind="push",name="idle"}' => 1,
	'jdysync_last_run_records{kind="pull",name="客户"}' => 60,
	'jdysync_last_run_records{kind="push",name="out"}' => 197,
	'jdysync_details_due{kind="pull",name="客户"}' => 0,
	'jdysync_deliveries_dead{kind="push",name="out"}' => 3,
	'jdysync_deliveries_dead{kind="push",name="idle"}' => 0,
	'jdysync_coverage_gaps{kind="pull",name="客户"}' => 0,
	(map { (qq{jdysync_visibility_lag_seconds_bucket{kind="pull",le="$_->[0]",name="客户"}} => $_->[1]) } [ 1, 5 ], [ 2, 5 ], [ 5, 7 ], [ 86400, 7 ], [ '+Inf', 8 ]),
	'jdysync_visibility_lag_seconds_count{kind="pull",name="客户"}' => 8,
	'jdysync_visibility_lag_seconds_sum{kind="pull",name="客户"}' => 90011.5,
	'jdysync_visibility_lag_highest_seconds{kind="pull",name="客户"}' => 3.5,
	'jdysync_open_incidents{name="out",severity="critical"}' => 2,
	'jdysync_open_incidents{name="out",severity="info"}' => 1,
	'jdysync_runs_total{kind="pull",name="客户",status="ok"}' => 1,
	'jdysync_runs_total{kind="push",name="out",status="ok"}' => 1,
	'jdysync_records_total{kind="pull",name="客户",outcome="inserted"}' => 60,
	'jdysync_records_total{kind="push",name="out",outcome="dead"}' => 3,
	'jdysync_calls_total{kind="pull",name="客户"}' => query($node, q{SELECT calls FROM jdy_runs WHERE kind = 'pull'}),
	"jdysync_budget_limit{foreign_server=\"king\\\\dee \\\"金蝶\\\"\\nline 2\",$owner}" => 5000,
);
is_deeply({ map { $_ => $ours{$_} } keys %expected }, \%expected, 'the numbers are right');
ok(!exists $ours{'jdysync_last_success_timestamp_seconds{kind="push",name="idle"}'}, 'what never happened has no sample');
cmp_ok(abs($ours{'jdysync_last_success_timestamp_seconds{kind="pull",name="客户"}'} - query($node, q{SELECT extract(epoch FROM finished_at) FROM jdy_runs WHERE kind = 'pull'})), '<', 0.001, 'times are in seconds');
my ($calls, $left) = map { my $which = $_; (map { $ours{$_} } grep { /^jdysync_budget_${which}\{/ } keys %ours)[0] } qw(calls left);
is($calls + $left, 5000, 'calls made and left are the budget');
cmp_ok($calls, '>=', 60, 'each detail was a call');

# No more than one may know.
is(as('stranger', 'SELECT jdy_metrics()'), '# EOF', 'a stranger sees nothing');
is(as('stranger', 'SELECT (SELECT count(*) FROM jdy_health) + (SELECT count(*) FROM jdy_totals) + (SELECT count(*) FROM jdy_budgets)'), '0', 'nor in the views behind it');
like(as('watcher', q{SELECT count(*) || ' ' || count(last_error) FROM jdy_deliveries}), qr/^0 0$/, 'who watches sees no records');

# ---------------------------------------------------------------------------
# The exporter.
# ---------------------------------------------------------------------------
sub free_port { my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!; return $socket->sockport; }

my ($exporter) = grep { -x } map { "$_/prometheus-postgres-exporter" } split(/:/, $ENV{PATH}), '/usr/bin';
SKIP:
{
	$exporter or skip 'no prometheus-postgres-exporter', 4;
	my $port = free_port();
	my $log = "$PostgreSQL::Test::Utils::log_path/exporter.log";
	my $pid = fork() // die $!;

	if ($pid == 0)
	{
		$ENV{DATA_SOURCE_NAME} = 'postgresql://watcher@/postgres?host=' . $node->host . '&port=' . $node->port;
		open STDOUT, '>', $log;
		open STDERR, '>&', \*STDOUT;
		exec $exporter, '--disable-default-metrics', '--disable-settings-metrics',
		  "--extend.query-path=$doc/prometheus/postgres_exporter.yaml", "--web.listen-address=127.0.0.1:$port" or POSIX::_exit(127);
	}
	my $reply;
	my $http = HTTP::Tiny->new(timeout => 60, no_proxy => ['127.0.0.1']);
	ok(poll_until(sub { ($reply = $http->get("http://127.0.0.1:$port/metrics"))->{success} || waitpid($pid, POSIX::WNOHANG()) != 0 }, 'the exporter answers')
		  && $reply->{success}, 'the exporter runs with our configuration')
	  or diag(PostgreSQL::Test::Utils::slurp_file($log));
	like($reply->{content}, qr/^pg_exporter_last_scrape_error 0$/m, 'and finds no error in it');
	kill 'TERM', $pid;
	waitpid $pid, 0;

	my %theirs = samples($reply->{content});
	my %mine = samples(as('watcher', 'SELECT jdy_metrics()'));
	is(join("\n", sort keys %theirs), join("\n", sort keys %mine), 'it gives the same metrics as jdy_metrics()');
	my $moving = qr/^jdysync_(lag_seconds|budget_(calls|left))\{/;
	is_deeply([ grep { !/$moving/ && abs($theirs{$_} - $mine{$_}) > 1e-6 * abs($mine{$_}) } sort keys %mine ], [], 'with the same values');
}

# ---------------------------------------------------------------------------
# Grafana.
# ---------------------------------------------------------------------------
my $dashboard = JSON::PP->new->utf8->decode(PostgreSQL::Test::Utils::slurp_file("$doc/grafana-dashboard.json"));
my @panels = map { ($_, @{ $_->{panels} // [] }) } @{ $dashboard->{panels} };
my %ids = map { $_->{id} => 1 } @panels;
is(scalar(keys %ids), scalar(@panels), 'panels have ids of their own');
ok($dashboard->{schemaVersion} >= 36, 'a schema that Grafana 9 and later know');
my ($source) = grep { $_->{type} eq 'datasource' } @{ $dashboard->{templating}{list} };
is(join(' ', grep { $_->{type} ne 'row' && $_->{datasource}{uid} ne "\${$source->{name}}" } @panels), '', 'all panels use the data source that was chosen');

# Macros as Grafana's PostgreSQL data source replaces them.
sub grafana
{
	my ($sql) = @_;
	my ($from, $to) = ("'2020-01-01T00:00:00Z'", "'2099-01-01T00:00:00Z'");

	$sql =~ s/\$__interval_ms/60000/g;
	$sql =~ s/\$__interval/1m/g;
	$sql =~ s/\$stream/'客户','out','idle'/g;
	$sql =~ s/\$__timeGroupAlias\(([^,]+), *'?1m'?\)/floor(extract(epoch from $1)\/60)*60 AS "time"/g;
	$sql =~ s/\$__timeFilter(\((?:[^()]|(?1))*\))/substr($1, 1, -1) . " BETWEEN $from AND $to"/ge;
	return $sql;
}

query($node, q{INSERT INTO jdysync.reject (stream_id, run_id, reason, digest, raw, next_try) SELECT stream_id, 1, 'x', 'x', 'x', now() FROM jdysync.stream;
	INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at, finished_at, sqlstate, error)
	SELECT stream_id, name, 'pull', 'auto', 'failed', now(), now(), '08006', 'no' FROM jdysync.stream});
my $sql_of = sub { map { [ Encode::encode('UTF-8', $_[0]), grafana($_->{rawSql}) ] } @{ $_[1] } };
my @queries = (map { $sql_of->($_->{title}, $_->{targets}) } grep { $_->{targets} } @panels);
push @queries, map { $sql_of->($_->{name}, [ $_->{target} ]) } grep { $_->{target}{rawSql} } @{ $dashboard->{annotations}{list} };
cmp_ok(scalar(@queries), '>=', 15, 'the dashboard has queries');
for my $role ('postgres', 'watcher')
{
	for (@queries)
	{
		my ($title, $sql) = @$_;
		my ($status, $out, $err) = $node->psql('postgres', "SET SESSION AUTHORIZATION " . ($role eq 'watcher' ? $role : 'DEFAULT') . ";\n$sql");

		unlike($sql, qr/\$/, "$title: all macros and variables are known") if $role eq 'postgres';
		ok($status == 0 && $err eq '' && ($role eq 'watcher' || $out ne ''), "$title: runs as $role, and finds something") or diag("$sql\n$err");
	}
}

# ---------------------------------------------------------------------------
# Counters never go down, whatever becomes of the log.
# ---------------------------------------------------------------------------
my %before = samples(as('watcher', 'SELECT jdy_metrics()'));
query($node, 'TRUNCATE jdysync.run, jdysync.call');
my %after = samples(as('watcher', 'SELECT jdy_metrics()'));
my @counters = grep { /_total\{/ } sort keys %before;
cmp_ok(scalar(@counters), '>', 20, 'counters');
is_deeply([ @after{@counters} ], [ @before{@counters} ], 'stay when the log of runs is gone');
push_ok($node, 'out', 'the next run');
%after = samples(as('watcher', 'SELECT jdy_metrics()'));
is($after{'jdysync_runs_total{kind="push",name="out",status="ok"}'}, 2, 'counts on');
is_deeply([ grep { $after{$_} < $before{$_} } @counters ], [], 'and no counter falls');

query($node, q{INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at) SELECT push_id, name, 'push', 'auto', 'running', now() - interval '1 day' FROM jdysync.push WHERE name = 'out'});
push_ok($node, 'out', 'a run after one whose process died');
is(query($node, q{SELECT runs, seconds FROM jdy_totals WHERE name = 'out' AND status = 'interrupted' AND day IS NULL}), '1|0', 'that counts as interrupted, once, and without its time');
$sim->post('/_sim/fault', { kind => 'status', status => 403, path => '/target/', times => -1 });
query($node, q{UPDATE source SET name = 'B' WHERE id = 'c9'});
push_row($node, 'out');
$sim->delete('/_sim/fault');
is(query($node, q{SELECT sum(runs) FROM jdy_totals WHERE name = 'out' AND day IS NULL}), '5', 'each run counts once');
is(query($node, q{SELECT sum(runs) FROM jdy_totals WHERE name = 'out' AND day IS NOT NULL}), '5', 'in its day, too');

# Days go after a while, the totals stay.
query($node, q{UPDATE jdysync.tally SET day = day - 41 WHERE day > '-infinity'});
is(query($node, q{SELECT count(*) > 0 FROM jdy_totals WHERE name = 'out' AND day < current_date - 30}), 't', 'old days');
push_ok($node, 'out', 'one more run');
is(query($node, q{SELECT count(*) FROM jdy_totals WHERE name = 'out' AND day < current_date - 30}), '0', 'go');
is(query($node, q{SELECT sum(runs) FROM jdy_totals WHERE name = 'out' AND day IS NULL}), '6', 'and the totals stay');
query($node, q{SELECT jdy_drop_push('idle'); SELECT jdy_drop_push('out')});
is(query($node, q{SELECT count(*) FROM jdysync.tally t WHERE NOT EXISTS (SELECT FROM jdysync.stream s WHERE s.stream_id = t.stream_id)}), '0', 'a push that is dropped takes its totals with it');

# The last certificate, not the last attempt, and none of a filter that was changed since.
query($node, q{INSERT INTO jdysync.certificate (stream_id, epoch, run_id, proven, instant, "count", digest, calls, missed, absent, why, assumptions, evidence)
	SELECT stream_id, epoch + e, 1, i IS NOT NULL, i, 1, 'x', 1, 0, 0, CASE WHEN i IS NULL THEN 'no' END, '{}', '{}' FROM jdysync.stream,
	(VALUES (0, timestamptz '2026-01-01'), (0, '2026-01-02'), (0, NULL), (-1, '2026-01-03')) AS v (e, i)});
like(as('watcher', 'SELECT jdy_metrics()'), qr/^jdysync_certified_timestamp_seconds\{name="客户",kind="pull"\} @{[query($node, q{SELECT extract(epoch FROM timestamptz '2026-01-02')})]}$/m, 'the last certificate that counts');

# However much waits, it is not counted.
query($node, q{INSERT INTO jdysync.listing (stream_id, id, due, due_from, due_since) SELECT s.stream_id, 'x' || i, true, '-infinity', '-infinity' FROM jdysync.stream s, generate_series(1, 12000) AS i});
is(query($node, q{SELECT details_due, complete_until IS NULL FROM jdy_health WHERE name = '客户'}), '10000|t', 'counts stop at 10,000');
is(query($node, q{SELECT complete_until IS NULL FROM jdy_coverage WHERE name = '客户'}), 't', 'and the promise is the same as that of jdy_coverage');
query($node, q{UPDATE jdysync.listing SET due_from = now() - interval '1 day', due_since = CASE id WHEN 'x9' THEN timestamptz '2026-01-01' ELSE timestamptz '2026-01-02' END});
is(query($node, q{SELECT h.complete_until = c.complete_until, h.complete_until = '2026-01-01' FROM jdy_health h JOIN jdy_coverage c USING (name)}), 't|t', 'with many changes at once as well');
query($node, q{DELETE FROM jdysync.listing WHERE id NOT IN ('x7', 'x8')});
is(query($node, q{SELECT h.complete_until = c.complete_until, h.details_due = c.details_due, h.details_due FROM jdy_health h JOIN jdy_coverage c USING (name)}), 't|t|2', 'and with few');

done_testing();
