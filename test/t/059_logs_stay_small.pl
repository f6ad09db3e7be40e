# Weeks of runs leave no more than jdysync.log_retention and jdysync.log_size allow, nobody waits for that,
# and what is still needed of them stays: what jdy_status tells, what is open, what the ledger proves.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 20, suppliers => 5, set => {%NO_LIMITS});
# Schedulers keep out of it: time is simulated.
my $node = pull_node('main', conf => "jdysync.enabled = off\njdysync.log_retention = '10 days'\njit = off\n");
my $step = '3 min';
my $now = query($node, "SELECT date_trunc('minute', now())");
my $day = 0;

$node->safe_psql('postgres', PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../bench/day.sql"));
add_stream($node, 'customer');
add_stream($node, 'supplier');
add_stream($node, 'dropped', entry => "'material'");
query($node, q{CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:9', auth 'none')});
query($node, q{CREATE USER MAPPING FOR CURRENT_USER SERVER target});
query($node, q{CREATE VIEW out AS SELECT id, data FROM jdysync.staging_customer});
query($node, q{SELECT jdy_add_push('out', 'target', 'out', '{"api":"out","effect":"EXECUTE"}')});

# Days that end now; after each the logs are trimmed as they would be then.
sub days
{
	my ($count) = @_;

	for (1 .. $count)
	{
		$node->safe_psql('postgres', "CALL simulated.day('$now'::timestamptz - interval '@{[ 24 - $day ]} days', '$step')");
		$day++;
		$node->safe_psql('postgres', "CALL simulated.trim('$now'::timestamptz - interval '@{[ 24 - $day ]} days')");
	}
	return;
}

sub setting
{
	my ($name, $value) = @_;

	query($node, "ALTER SYSTEM SET $name = '$value'");
	query($node, 'SELECT pg_reload_conf()');
	return ok(poll_until(sub { query($node, "SELECT current_setting('$name') = '$value'") eq 't' }, $name), "$name is $value");
}

sub trim { return $node->safe_psql('postgres', "CALL simulated.trim('$now'::timestamptz - interval '@{[ 24 - $day ]} days')"); }
sub oldest { return query($node, "SELECT count(*) FROM jdysync.run WHERE run_id < $_[0]"); }
sub calls_mb { return query($node, q{SELECT sum(pg_total_relation_size(inhrelid)) / 1024.0 / 1024.0 FROM pg_inherits WHERE inhparent = 'jdysync.call'::regclass}); }

# What the first day leaves behind for ever.
days(1);
query($node, q{UPDATE jdysync.run SET status = 'interrupted', sqlstate = NULL, error = NULL, detail = NULL WHERE run_id = (SELECT max(run_id) FROM jdysync.run WHERE name = 'customer')});
query($node, q{INSERT INTO jdysync.batch (push_id, run_id, key, body, ids, versions, digests, status)
	SELECT stream_id, run_id, 'k', '{}', '{1}', '{1}', '\x00112233445566778899aabbccddeeff', 'in_doubt' FROM jdysync.run WHERE name = 'out' AND status = 'ok' ORDER BY run_id LIMIT 1});
query($node, q{INSERT INTO jdysync.delivery (push_id, id, version, status, last_error, changed_at) SELECT push_id, 'dead', 1, 'dead', 'no', now() - interval '24 days' FROM jdysync.push});
query($node, q{INSERT INTO jdysync.incident (name, opened_at, severity, what, advice) VALUES ('customer', now() - interval '24 days', 'warning', 'still so', 'something')});
query($node, q{INSERT INTO jdysync.reject (stream_id, run_id, at, id, reason, digest, raw, span, next_try)
	SELECT stream_id, 1, now() - interval '24 days', 'bad', 'no', '\x00', '\x00', tstzrange(NULL, now()), now() FROM jdysync.stream WHERE name = 'customer'});
query($node, q{INSERT INTO jdysync.reject (stream_id, run_id, at, id, reason, digest, raw)
	SELECT stream_id, 1, now() - interval '24 days', 'waits', 'no', '\x01', '\x01' FROM jdysync.stream WHERE name = 'customer'});
query($node, q{INSERT INTO jdysync.listing (stream_id, id, due, attempts, problem) SELECT stream_id, 'waits', true, 1, 'no' FROM jdysync.stream WHERE name = 'customer'});
# A long run that goes on, and one whose ledger ends with a gap.
query($node, q{INSERT INTO jdysync.run (stream_id, name, mode, status, queued_at, started_at) SELECT stream_id, 'supplier', 'full', 'running', now() - interval '23 days', now() - interval '23 days' FROM jdysync.stream WHERE name = 'supplier'});
my %kept = (
	'the last interrupted run' => q{SELECT string_agg(run_id::text, ',') FROM jdysync.run WHERE status = 'interrupted'},
	'the run of a request in doubt' => q{SELECT string_agg(run_id::text, ',') FROM jdysync.run JOIN jdysync.batch USING (run_id)},
	'a run that goes on' => q{SELECT string_agg(run_id::text, ',') FROM jdysync.run WHERE status = 'running'},
	'a dead letter' => q{SELECT string_agg(id, ',') FROM jdysync.delivery WHERE status = 'dead'},
	'an incident that is open' => q{SELECT string_agg(id::text, ',') FROM jdysync.incident WHERE closed_at IS NULL},
	'input that is still set aside' => q{SELECT string_agg(id, ',' ORDER BY id) FROM jdysync.reject WHERE id <> 'r'});
my %before = map { $_ => query($node, $kept{$_}) } keys %kept;
is(scalar(grep { $_ ne '' } values %before), scalar(keys %kept), 'the first day leaves something of each kind');

sub nothing_needed_is_gone
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	subtest $what => sub {
		is(query($node, $kept{$_}), $before{$_}, "$_ stays") for sort keys %kept;
		is(query($node, q{SELECT count(*) FROM jdy_status WHERE last_run_id IS NULL}), '0', 'jdy_status knows the last run of each');
		is(query($node, q{SELECT count(*) FROM jdysync.subject s WHERE 2 > (SELECT count(DISTINCT r.status) FROM jdysync.run r WHERE r.stream_id = s.stream_id AND r.status IN ('ok', 'failed'))}), '0', 'the last good one, and the last that failed');
		is(query($node, q{SELECT count(*) FROM simulated.total t WHERE (t.windows, t.calls, t.listed, t.spans) IS DISTINCT FROM
			(SELECT (sum(w.windows)::bigint, sum(w.calls)::bigint, sum(w."rows")::bigint, range_agg(w.span)) FROM jdysync."window" w WHERE w.stream_id = t.stream_id)}), '0', 'the ledger adds up to what was proven');
		is(query($node, q{SELECT count(*) FROM jdysync.stream s WHERE s.coverage IS DISTINCT FROM (SELECT range_agg(w.span) FROM jdysync."window" w WHERE w.stream_id = s.stream_id)}), '0', 'and to the coverage of its stream');
		is(query($node, q{SELECT count(*) FROM jdysync."window" w WHERE w.windows > 1 AND 2 <> (SELECT count(*) FROM jdysync.run r WHERE r.run_id IN (w.first_run_id, w.run_id))}), '0', 'the first and the last run of what was merged are there');
	};
	return;
}

subtest 'age' => sub {
	days(13);
	my $first = query($node, "SELECT min(run_id) FROM jdysync.run WHERE finished_at >= '$now'::timestamptz - interval '20 days'");
	my $per_day = 4 * 480;

	is(query($node, "SELECT count(*) FROM jdysync.run WHERE run_id >= $first"), 10 * $per_day, 'all runs of the last ten days are there');
	cmp_ok(oldest($first), '<=', 20, 'and none older, but for those that are needed');
	is(query($node, "SELECT count(DISTINCT run_id) FROM jdy_calls WHERE run_id >= $first"), 10 * $per_day, 'so are all their calls');
	cmp_ok(query($node, "SELECT min(at) >= '$now'::timestamptz - interval '22 days' FROM jdysync.call"), 'eq', 't', 'and few older ones');
	is(query($node, "SELECT count(*), min(closed_at) >= '$now'::timestamptz - interval '20 days' FROM jdysync.incident WHERE closed_at IS NOT NULL"), '30|t', 'closed incidents go');
	is(query($node, q{SELECT count(*) FROM jdysync.reject WHERE id = 'r'}), '30', 'so does what came right');
	cmp_ok(query($node, q{SELECT count(*) FROM jdysync."window" WHERE proven_at < (SELECT max(proven_at) FROM jdysync."window") - interval '7 days 1 hour'}), '<=', 3 * 64, 'windows of more than a week are merged');
	is(query($node, qq{SELECT count(*) FROM jdysync."window" WHERE windows > 1 AND proven_at >= '$now'::timestamptz - interval '17 days'}), '0', 'younger ones are not');
	nothing_needed_is_gone('what is needed');
	my $old = query($node, "SELECT string_agg(run_id::text, ',') FROM jdysync.run WHERE name = 'dropped' AND run_id < $first");
	isnt($old, '', 'a stream has runs that stay');
	query($node, q{SELECT jdy_drop_stream('dropped'); DELETE FROM simulated.total WHERE stream_id NOT IN (SELECT stream_id FROM jdysync.stream)});
	trim();
	is(query($node, "SELECT count(*) FROM jdysync.run WHERE run_id IN ($old)"), '0', 'until it is dropped');
	is(query($node, 'SELECT count(*) FROM jdysync."window" WHERE stream_id NOT IN (SELECT stream_id FROM jdysync.stream)'), '0', 'as do its windows');
};

subtest 'gaps and kinds of proof stay apart' => sub {
	my $ledger = q{SELECT string_agg(concat_ws(' ', epoch, rule, lower(span)::date, upper(span)::date, calls, "rows", "count", windows, first_run_id, run_id), '; ' ORDER BY epoch, rule, "count" IS NULL, span) FROM jdysync."window" WHERE stream_id = 0};

	query($node, q{INSERT INTO jdysync.stream (stream_id, name, server, staging, decrypt, settle, overlap, enabled) OVERRIDING SYSTEM VALUE VALUES (0, 'none', 'kingdee', 'pg_class', true, '0', '0', false)});
	query($node, qq{INSERT INTO jdysync."window" (stream_id, epoch, span, rule, calls, "rows", "count", run_id, proven_at)
		SELECT 0, e, tstzrange(f, u), r, 1, 2, c, n, '$now'::timestamptz - interval '20 days' FROM (VALUES
			(1, NULL::timestamptz, '2000-01-05'::timestamptz, 'load', 2, 1), (1, NULL, '2000-01-06', 'load', 2, 2), (1, '2000-01-05', '2000-01-07', 'one answer', 2, 3),
			(1, '2000-01-07', '2000-01-08', 'one answer', NULL, 4), (1, '2000-01-07', '2000-01-10', 'last page to first', 2, 5), (1, '2000-01-06', '2000-01-09', 'one answer', 2, 6),
			(1, '2000-01-10', '2000-01-11', 'one answer', 2, 7), (1, '2000-01-11', '2000-01-12', 'one answer', 2, 8),
			(2, '2000-01-12', '2000-01-13', 'one answer', 2, 9)) AS v (e, f, u, r, c, n)});
	my $plain = query($node, $ledger);
	trim();
	is(query($node, $ledger), $plain, 'few are left as they are');
	query($node, qq{INSERT INTO jdysync."window" (stream_id, epoch, span, rule, calls, "rows", "count", run_id, proven_at)
		SELECT 0, 2, tstzrange('2000-01-13'::timestamptz + i * interval '1 s', '2000-01-13'::timestamptz + (i + 1) * interval '1 s'), 'one answer', 1, 2, 2, 9 + i, '$now'::timestamptz - interval '20 days' FROM generate_series(0, 86399) AS i});
	trim();
	is(query($node, $ledger), join('; ',
			'1 last page to first 2000-01-07 2000-01-10 1 2 2 1 5',
			'1 load 2000-01-06 2 4 4 2 1 2',
			'1 one answer 2000-01-05 2000-01-09 2 4 4 2 3 6', '1 one answer 2000-01-10 2000-01-12 2 4 4 2 7 8',
			'1 one answer 2000-01-07 2000-01-08 1 2 1 4',
			'2 one answer 2000-01-12 2000-01-14 86401 172802 172802 86401 9 86408'), 'many become one where nothing is between them');
	query($node, 'DELETE FROM jdysync.stream WHERE stream_id = 0');
	query($node, 'DELETE FROM jdysync."window" WHERE stream_id = 0');
};

subtest 'size' => sub {
	my $log = -s $node->logfile;
	my $days = q{SELECT round(extract(epoch FROM max(at) - min(at)) / 86400) FROM jdy_calls};

	setting('jdysync.log_size', '8MB');
	my $runs = query($node, 'SELECT count(*) FROM jdysync.run');
	days(1);
	trim();
	cmp_ok(calls_mb(), '<=', 8, 'calls go as soon as they and the runs are too large');
	cmp_ok(query($node, 'SELECT count(*) FROM jdysync.run'), '>=', $runs - 4 * 480, 'runs stay as long as there are calls to go');
	nothing_needed_is_gone('what is needed');

	setting('jdysync.log_size', '2MB');
	days(3);
	cmp_ok(calls_mb(), '<=', 2, 'then all calls go');
	cmp_ok(query($node, 'SELECT count(*) * 500 FROM jdysync.run') / 1024 / 1024, '<=', 3, 'and runs');
	cmp_ok(query($node, 'SELECT count(*) FROM jdysync.run'), '>', 1500, 'but no more than must');
	nothing_needed_is_gone('what is needed still');

	setting('jdysync.log_size', '1MB');
	setting('jdysync.log_retention', '2 days');
	$step = '1 min';
	days(2);
	my $text = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log);
	is(scalar(() = $text =~ /LOG:  jdysync.log_size is too small for the $_ of one day in database "postgres"/g), 1, "that not even a day's $_ fit is said once") for qw(calls runs);
	$step = '3 min';
	days(1);
	nothing_needed_is_gone('what is needed with next to nothing');
};

subtest 'a reader is given way to, and holds up nobody' => sub {
	setting('jdysync.log_size', '100MB');
	days(1);
	my $reader = background_sql($node, 'BEGIN', 'SELECT count(*) FROM jdy_calls', 'SELECT pg_sleep(3600)');
	my $pid = session_pid($reader);
	ok(poll_until(sub { query($node, "SELECT query LIKE '%pg_sleep%' FROM pg_stat_activity WHERE pid = $pid") eq 't' }, 'it reads'), 'somebody reads all calls');
	my $oldest = query($node, 'SELECT min(run_id) FROM jdysync.call');
	setting('jdysync.log_retention', '12 hours');
	days(2);
	is(query($node, 'SELECT min(run_id) FROM jdysync.call'), $oldest, 'what he reads stays');
	setting('jdysync.enabled', 'on');
	add_stream($node, 'real', entry => "'customer'", detail => 'false', metadata => q{'{"api":"/jdy/v2/bd/customer","effect":"QUERY","id":"id"}'});
	is(sync_ok($node, 'real', 'a run is made meanwhile')->{listed}, 20, 'and does not wait');
	cmp_ok(query($node, q{SELECT count(*) FROM jdysync.call k JOIN jdysync.run r USING (run_id) WHERE r.name = 'real' AND k.segment = (SELECT segment FROM jdysync.call_segment ORDER BY turn DESC LIMIT 1)}), '>', 0, 'its calls are where they belong');
	drop_stream($node, 'real');
	query($node, "SELECT pg_terminate_backend($pid)");
	finish_session($reader);
	trim();
	cmp_ok(query($node, 'SELECT min(run_id) FROM jdysync.call'), '>', $oldest, 'it goes when he is done');
	nothing_needed_is_gone('what is needed, after all');
};

done_testing();
