# However much one owner, one database or the first loads want: everybody gets a turn, and a worker
# is always kept for what changed lately. The kill switch and a server without a free worker lose nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 20, suppliers => 3, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "jdysync.max_workers = 2\njdysync.allowed_hosts = '127.0.0.1'\nmax_logical_replication_workers = 0\nautovacuum = off\n");
my $mapping = join ', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS;
my ($grants) = slurp_file("$FindBin::RealBin/../../README.md") =~ /^## Rights\n(.*?)^## /ms;

query($node, 'CREATE ROLE etl LOGIN; ' . join ' ', $grants =~ /^(GRANT [^;]*TO etl;)/mg);
as_etl("CREATE SERVER books FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', calls_per_minute '0', rate_window '100 ms');
	CREATE USER MAPPING FOR CURRENT_USER SERVER books OPTIONS ($mapping)");

sub as_etl { my ($sql) = @_; return query($node, "SET SESSION AUTHORIZATION etl;\n$sql"); }
sub idle { return poll_sql($node, "SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE status IN ('queued', 'running'))", 'no run is open'); }
sub stall { return $sim->post('/_sim/fault', { kind => 'stall', path => $_[0], times => -1 }); }
sub go_on { return $sim->delete('/_sim/fault'); }
sub supplier { my ($name, %more) = @_; return add_stream($node, $name, entry => "'supplier'", detail => 'false', %more); }

# Names of runs in the order in which they began; a list of "database.name" when there are several.
sub order { my ($after) = @_; return split ' ', query($node, "SELECT string_agg(name, ' ' ORDER BY started_at) FROM jdysync.run WHERE run_id > $after AND started_at IS NOT NULL"); }
sub place { my ($name, @order) = @_; my ($i) = grep { $order[$_] eq $name } 0 .. $#order; return $i // 999; }
sub last_run { return query($node, 'SELECT COALESCE(max(run_id), 0) FROM jdysync.run'); }

# First loads: one at a time, since the other worker is kept.
subtest 'an owner of many streams' => sub {
	switch_jdysync($node, 'off');
	supplier("many_$_", schedule => "'10 years'") for 1 .. 12;
	as_etl("SELECT jdy_add_stream('single', 'books', entry => 'supplier', detail => false, schedule => '10 years')");
	switch_jdysync($node, 'on');
	idle();
	my @order = order(0);
	is(scalar(@order), 13, 'all are run');
	cmp_ok(place('single', @order), '<=', 1, 'the only stream of another owner, due last, does not wait for the twelve') or diag("@order");

	# Once loaded both workers are theirs.
	my $before = last_run();
	switch_jdysync($node, 'off');
	query($node, "SELECT jdy_start('many_' || i) FROM generate_series(1, 12) AS i");
	as_etl("SELECT jdy_start('single')");
	switch_jdysync($node, 'on');
	idle();
	@order = order($before);
	cmp_ok(place('single', @order), '<=', 2, 'nor later') or diag("@order");
};

subtest 'a worker is kept for what changed' => sub {
	stall('/jdy/v2/bd/customer');
	add_stream($node, 'customer');
	query($node, "CREATE TABLE source (id text PRIMARY KEY); INSERT INTO source VALUES ('1');
		CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer', rate_window '100 ms');
		CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
	query($node, q{SELECT jdy_add_push('out', 'target', 'source', '{"api":"batch","effect":"EXECUTE"}')});
	supplier('another');
	my $load = query($node, "SELECT jdy_start('customer')");
	wait_until_running($node, 'customer');
	my @heavy = map { query($node, "SELECT jdy_start('$_')") } qw(another out);
	push @heavy, query($node, "SELECT jdy_start('many_1', 'full')");
	my $caller = background_sql($node, q{SELECT status FROM jdy_push('out')});
	ok(poll_until(sub { says($caller, qr/NOTICE:  00000: out: waiting for a worker, all but the one of jdysync\.max_workers \(2\) that is kept for changes are busy/) }, 'a NOTICE'),
		'who calls for a push is told why it waits');
	for my $i (2 .. 4)
	{
		wait_for_status($node, query($node, "SELECT jdy_start('many_$i')"), 'ok', 'a stream that was loaded runs by the queue');
		is(sync_ok($node, "many_$i", 'and at once when called')->{listed}, 0, 'it reads what changed');
	}
	is(query($node, "SELECT string_agg(status, ' ' ORDER BY run_id) FROM jdy_runs WHERE run_id IN ($load, " . join(', ', @heavy) . ')'), 'running queued queued queued',
		'a first load, a push and a full load wait for the one that is open');
	go_on();
	wait_for_status($node, $_, 'ok', 'then each of them runs') for $load, @heavy;
	ok(finish_session($caller), 'and the caller\'s');
};

subtest 'another database' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE second');
	$node->safe_psql('second', 'CREATE EXTENSION jdysync');
	pull_server($node, 'kingdee', database => 'second');
	$sim->post('/_sim/config', { latency_ms => 50 });
	my $before = last_run();
	switch_jdysync($node, 'off');
	query($node, "SELECT jdy_start('many_' || i, 'full') FROM generate_series(1, 12) AS i");
	$node->safe_psql('second', "SELECT jdy_add_stream('second', 'kingdee', entry => 'supplier', detail => false, schedule => '10 years')");
	switch_jdysync($node, 'on');
	ok(poll_until(sub { $node->safe_psql('second', "SELECT count(*) FROM jdysync.run WHERE status = 'ok'") eq '1' }, 'its run'), 'the stream of another database runs');
	my $began = $node->safe_psql('second', 'SELECT min(started_at) FROM jdysync.run');
	cmp_ok(query($node, "SELECT count(*) FROM jdysync.run WHERE run_id > $before AND started_at < '$began'"), '<=', 3, 'before the many of this one');
	idle();
	$sim->post('/_sim/config', { latency_ms => 0 });
	$node->safe_psql('postgres', 'DROP DATABASE second');
};

# Rows that a scheduler's visit reads while ten streams are due.
subtest 'what is not due costs nothing' => sub {
	query($node, q{
		CREATE PROCEDURE more_streams(n int) LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1 .. n LOOP
				EXECUTE format('CREATE TABLE jdysync.%I (LIKE jdysync.staging_customer INCLUDING ALL)', 'staging_s' || n || '_' || i);
				INSERT INTO jdysync.stream (name, server, staging, entry, schedule, decrypt, settle, overlap, loaded_at)
					SELECT format('s%s_%s', n, i), 'kingdee', format('jdysync.staging_s%s_%s', n, i)::regclass, 'customer', '0 3 1 1 *', true, '5 min', '10 min', now();
			END LOOP;
			INSERT INTO jdysync.agenda (subject_id, due_at, next_at) SELECT stream_id, '2100-01-01', '2100-01-01' FROM jdysync.stream WHERE name LIKE format('s%s\_%%', n);
			INSERT INTO jdysync.run (stream_id, name, mode, status, started_at, finished_at) SELECT stream_id, name, 'auto', 'ok', now(), now() FROM jdysync.stream WHERE name LIKE format('s%s\_%%', n);
			ANALYZE;
		END $$});
	query($node, 'ALTER SYSTEM SET jdysync.max_workers = 1');
	$node->reload;
	stall('/jdy/v2/bd/customer');
	my $run_id = query($node, "SELECT jdy_start('customer')");
	wait_until_running($node, 'customer');
	my $n = 1000;
	my $read = sub { return query($node, "SELECT sum($_[0]) FROM pg_stat_all_tables WHERE schemaname = 'jdysync'") };
	my $tuples = 'COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0)';
	query($node, "CALL more_streams($n)");
	query($node, "UPDATE jdysync.agenda SET next_at = now() WHERE subject_id IN (SELECT stream_id FROM jdysync.stream WHERE name LIKE 's$n\\_%' ORDER BY stream_id LIMIT 10); SELECT pg_stat_force_next_flush()");
	my ($before, $queued) = ($read->($tuples), $read->('n_tup_ins'));
	$node->reload;
	poll_until(sub { $read->('n_tup_ins') >= $queued + 10 }, 'ten runs are queued');
	my $rows = $read->($tuples) - $before;
	note("rows read in a visit: $rows");
	cmp_ok($rows, '<', 60 * 10, "a visit to $n streams reads some rows for each that is due, and not all");
	query($node, "DELETE FROM jdysync.run WHERE status = 'queued'; UPDATE jdysync.agenda SET next_at = '2100-01-01' WHERE next_at < now() + interval '1 year'");
	query($node, "SELECT jdy_cancel($run_id)");
	go_on();
	query($node, "DELETE FROM jdysync.agenda WHERE due_at = '2100-01-01'");
	query($node, 'ALTER SYSTEM SET jdysync.max_workers = 2');
	$node->reload;
	idle();
};

subtest 'the kill switch' => sub {
	supplier('daily', schedule => "'0 2 * * *'");
	supplier('hourly', schedule => "'30 * * * *'");
	no_certificates($node);
	sync_ok($node, $_, 'a first load') for qw(daily hourly);
	stall('/jdy/v2/bd/supplier');
	my $before = last_run();
	clock($node, "'2030-05-01 02:00:01+08'");
	my $run_id = wait_until_running($node, 'daily');
	switch_jdysync($node, 'off');
	wait_for_status($node, $run_id, 'cancelled', 'an open run ends');
	like(query($node, "SELECT sqlstate || ' ' || error || ' ' || hint FROM jdy_runs WHERE run_id = $run_id"), qr/^57000 jdysync was switched off .*jdysync\.enabled/, 'and says why');
	go_on();
	$before = last_run();
	clock($node, "'2030-05-01 09:12:00+08'");
	poll_sql($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^jdysync (runner|scheduler)')");
	is(query($node, "SELECT count(*) FROM jdysync.run WHERE run_id > $before"), '0', 'nothing starts');
	like(query($node, "SELECT string_agg(DISTINCT status || ' ' || why, ',') FROM jdy_status"), qr/^paused paused: jdysync\.enabled is off/, 'jdy_status says so');
	switch_jdysync($node, 'on');
	poll_sql($node, "SELECT count(*) = 2 FROM jdysync.run WHERE run_id > $before AND status = 'ok'");
	is(query($node, "SELECT string_agg(name, ' ' ORDER BY name) FROM jdysync.run WHERE run_id > $before"), 'daily hourly', 'on again: what was missed, or cancelled, runs once');
	is(query($node, "SELECT string_agg(to_char(due_at AT TIME ZONE 'Asia/Shanghai', 'DD HH24:MI') || ' ' || failures, ', ' ORDER BY due_at) FROM jdysync.agenda a JOIN jdysync.stream s ON s.stream_id = a.subject_id WHERE s.name IN ('daily', 'hourly')"),
		'01 09:30 0, 02 02:00 0', 'and goes on');
};

# The launcher, a scheduler and five runners are all that this server has room for.
subtest 'max_worker_processes are all in use' => sub {
	query($node, 'ALTER SYSTEM SET max_worker_processes = 6');
	query($node, 'ALTER SYSTEM SET jdysync.max_workers = 32');
	$node->restart;
	forget_calls($node);
	stall('/jdy/v2/bd/supplier');
	my @busy = map { background_sql($node, "SELECT status FROM jdy_sync('many_$_')") } 1 .. 5;
	poll_sql($node, 'SELECT count(*) = 5 FROM jdy_progress');
	my $before = last_run();
	my $from = -s $node->logfile;
	my $said = sub { return slurp_file($node->logfile, $from); };
	clock($node, "'2030-05-03 02:15:00+08'");
	ok(poll_until(sub { $said->() =~ /jdysync has work to do, but no worker could be started/ }, 'a line in the log'), 'the log says that no worker can be had');
	for my $n (1 .. 3)
	{
		$node->reload;
		poll_until(sub { (() = $said->() =~ /received SIGHUP/g) >= $n }, "reload $n");
	}
	is(query($node, "SELECT count(*) FROM jdysync.run WHERE run_id > $before"), '0', 'nothing runs');
	go_on();
	ok(finish_session($_), 'another run ends') for @busy;
	poll_sql($node, "SELECT count(*) = 2 FROM jdysync.run WHERE run_id > $before AND status = 'ok'");
	is(query($node, "SELECT string_agg(name, ' ' ORDER BY name) FROM jdysync.run WHERE run_id > $before"), 'daily hourly', 'then what was due runs by itself, once');
	ok(poll_until(sub { $said->() =~ /jdysync starts its workers again/ }, 'another line'), 'and the log says that, too');
	is(scalar(() = $said->() =~ /no worker could be started/g), 1, 'one line a change, not one a try');
};

done_testing();
