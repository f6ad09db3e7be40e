# Qeasy neither heeds Idempotency-Keys nor says which records of a batch it did not take.  But it can be asked
# what it has: so a lost answer leads to no second copy, a record that is not taken is found at once, and what
# cannot be asked for costs no record and makes none up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;

my $sim = start_sim(customers => 1, set => { %NO_LIMITS, qeasy_rate_limit => 0, target_poison => 'counts' });
my $node = pull_node('main', conf => "restart_after_crash = on\n");
my $OPTIONS = "url '" . $sim->url . "', auth 'qeasy', rate_window '100 ms', timeout '5 s'";
my $SCHEME = '/v2/open-api/business/64a023bf-17a5-34b3-a05a-124131122ede';
my $BATCH = qq({"api":"$SCHEME/store","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"content"}});

# As it is by default; one call at a time, so that they can be counted; a budget of its own.
query($node, "CREATE SERVER qeasy FOREIGN DATA WRAPPER jdysync OPTIONS ($OPTIONS, calls_per_minute '0', max_attempts '3', concurrency '4')");
query($node, "CREATE SERVER single FOREIGN DATA WRAPPER jdysync OPTIONS ($OPTIONS, calls_per_minute '0', max_attempts '2', concurrency '1')");
query($node, "CREATE SERVER counted FOREIGN DATA WRAPPER jdysync OPTIONS (" . ($OPTIONS =~ s/100 ms/1 s/r) . ", calls_per_minute '4', max_attempts '2')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER $_ OPTIONS (app_key 'qeasyapp0001', app_secret 'qeasysecret000000001')") for qw(qeasy single counted);

sub config { return $sim->post('/_sim/config', {@_}); }
sub fault { return $sim->post('/_sim/fault', {@_}); }
sub poison { return $sim->post('/_sim/target/poison', { ids => [@_] }); }
sub stats { return $sim->get('/_sim/stats'); }
sub standings { return query($node, "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jdy_deliveries WHERE push = '$_[0]' GROUP BY 1) s"); }
sub dead { return query($node, "SELECT string_agg(id, ' ' ORDER BY id) FROM jdy_deliveries WHERE push = '$_[0]' AND status = 'dead'"); }
sub calls { return scalar(grep { ($_->{url} // '') =~ /$_[0]/ } @{ $sim->get('/_sim/requests?n=1000') }); }

# What the target holds: how often each id was stored, and its last content.
sub copies
{
	my %copies;

	$copies{ $_->{id} }++ for $sim->lines('/_sim/target');
	return %copies;
}
sub twice { my %copies = copies(); return join ' ', grep { $copies{$_} > 1 } sort keys %copies; }
sub latest { return map { ($_->{id} => $_->{payload}) } $sim->lines('/_sim/target/latest'); }

# A push of its own: table, push; the target empty and calm.
sub fresh
{
	my ($name, $rows, %options) = @_;
	my $metadata = $options{metadata} // $BATCH;

	$metadata =~ s/"rows":100/"rows":$options{batch}/ if $options{batch};
	calm($sim, latency_ms => 0, clock_offset_ms => 0, qeasy_rate_limit => 0, retry_after => 'none', qeasy_errors => 'http', qeasy_upsert => JSON::PP::false,
		qeasy_text_match => 'contains', qeasy_requires_times => JSON::PP::true, tells_time => JSON::PP::true);
	poison();
	$sim->delete('/_sim/target');
	query($node, "CREATE TABLE $name (id text PRIMARY KEY, name text); INSERT INTO $name SELECT 'c' || i, 'A' FROM generate_series(1, $rows) AS i");
	query($node, "SELECT jdy_add_push('$name', '" . ($options{server} // 'qeasy') . "', '$name', '$metadata', batch_rows => " . ($options{batch} // 100) . ')');
	$sim->post('/_sim/stats/reset', {});
	return;
}

subtest 'a lost answer, whatever the platform is like' => sub {
	my $n = 0;

	for my $errors (qw(http 200))
	{
		for my $match (qw(contains exact anything))
		{
			for my $bits (0 .. 3)
			{
				my $name = 'switch' . ++$n;

				fresh($name, 250, server => 'single');
				config(qeasy_errors => $errors, qeasy_text_match => $match, qeasy_upsert => $bits & 1 ? JSON::PP::true : JSON::PP::false,
					qeasy_requires_times => $bits & 2 ? JSON::PP::true : JSON::PP::false);
				fault(kind => 'reset_after', path => '/store', after => 1);
				my $run = push_ok($node, $name, "errors $errors, texts $match, switches $bits: a push of which one answer is lost");
				is("$run->{delivered} $run->{verified} $run->{dead}", '250 100 0', 'finds the batch at the target');
				is(twice(), '', 'and stores nothing twice');
				is(calls('/store'), 3, 'nor sends anything again');
			}
		}
	}
};

subtest 'every answer lost' => sub {
	fresh('always', 250);
	fault(kind => 'reset_after', path => '/store', times => -1);
	my $run = push_ok($node, 'always', 'a target that never answers to what it stores');
	is("$run->{delivered} $run->{verified} $run->{failed}", '250 250 0', 'says what it has when it is asked');
	is(twice(), '', 'and has it once');
	is(query($node, "SELECT verified FROM jdy_runs WHERE name = 'always'"), '250', 'jdy_runs counts what was read back');
	is(query($node, 'SELECT count(*) FROM jdysync.batch'), '0', 'nothing stays open');
	is(push_ok($node, 'always', 'another push')->{calls}, 0, 'sends nothing');
};

subtest 'lost before it arrived' => sub {
	fresh('before', 250);
	fault(kind => 'reset', path => '/store', times => 2);
	my $run = push_ok($node, 'before', 'requests that never arrived');
	is("$run->{delivered} $run->{verified}", '250 0', 'are sent again: the target has none of it');
	is(twice(), '', 'once');
	$sim->delete('/_sim/fault');
	fault(kind => 'status', status => 503, path => '/store', times => -1);
	query($node, "UPDATE before SET name = 'B' WHERE id IN ('c1', 'c2')");
	like(push_row($node, 'before')->{err}, qr/08006.*does not answer.*2 records.*503/s, 'to the end of all attempts');
	is(standings('before'), 'delivered 248, in_doubt 2', 'the doubt remains');
	$sim->delete('/_sim/fault');
	$run = push_ok($node, 'before', 'until the next run');
	is("$run->{delivered} $run->{verified}", '2 0', 'sends them');
	is({ latest() }->{c2}{name}, 'B', 'as they are');
};

subtest 'killed, cancelled, switched off while answers are awaited' => sub {
	for my $how (qw(kill cancel off))
	{
		fresh("cut_$how", 1000);
		config(latency_ms => 400);
		my $run_id = query($node, "SELECT jdy_start('cut_$how')");
		poll_until(sub { stats()->{target_accepted} >= 200 }, 'some have arrived');
		my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'");
		if ($how eq 'kill')
		{
			kill 'KILL', $pid if $pid;
			poll_until(sub { !$pid || !kill(0, $pid) }, 'the runner is dead');
			poll_until(sub { (eval { ($node->psql('postgres', 'SELECT 1', timeout => 10))[0] } // 1) == 0 }, 'the server is back');
			forget_calls($node);
		}
		elsif ($how eq 'cancel') { query($node, "SELECT jdy_cancel($run_id)"); }
		else
		{
			query($node, 'ALTER SYSTEM SET jdysync.enabled = off');
			query($node, 'SELECT pg_reload_conf()');
		}
		poll_sql($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") if $how ne 'kill';
		config(latency_ms => 0);
		query($node, 'ALTER SYSTEM RESET jdysync.enabled');
		query($node, 'SELECT pg_reload_conf()');
		poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'on'");
		my %before = copies();
		my $run = push_ok($node, "cut_$how", "$how: the next run");
		is(standings("cut_$how"), 'delivered 1000', 'delivers all');
		is(twice(), '', 'once');
		cmp_ok($run->{verified}, '>=', 100, 'what was under way is read back');
		cmp_ok($run->{verified}, '<=', scalar(keys %before), 'and nothing else');
	}
};

subtest 'killed and cancelled while it reads back' => sub {
	for my $how (qw(kill cancel))
	{
		fresh("reading_$how", 3000, batch => 3000);
		fault(kind => 'reset_after', path => '/store');
		fault(kind => 'stall', path => '/query', after => 2);
		my $run_id = query($node, "SELECT jdy_start('reading_$how')");
		poll_until(sub { calls('/query') >= 2 }, 'it asks');
		my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'");
		is(query($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jdysync runner' AND xact_start IS NOT NULL"), '0', 'in no transaction');
		if ($how eq 'kill')
		{
			kill 'KILL', $pid;
			poll_until(sub { !kill(0, $pid) }, 'the runner is dead');
			poll_until(sub { (eval { ($node->psql('postgres', 'SELECT 1', timeout => 10))[0] } // 1) == 0 }, 'the server is back');
			forget_calls($node);
		}
		else
		{
			query($node, "SELECT jdy_cancel($run_id)");
			wait_for_status($node, $run_id, 'cancelled', 'it stops');
		}
		$sim->delete('/_sim/fault');
		my $run = push_ok($node, "reading_$how", "$how: the next run");
		is("$run->{delivered} $run->{verified}", '3000 3000', 'begins to read back anew');
		is(twice(), '', 'and stores nothing twice');
	}
};

subtest 'one record that is not taken' => sub {
	fresh('one', 250, server => 'single');
	poison('c120');
	my $run = push_ok($node, 'one', 'counts that say that one failed');
	is("$run->{delivered} $run->{verified} $run->{dead}", '249 99 1', 'are looked into');
	is(calls('/store') . ' ' . calls('/query'), '3 1', 'with one query, and nothing is sent again');
	is(twice(), '', 'nothing is stored twice');
	is(query($node, q{SELECT id, request::jsonb, last_error, reply ~ '"failed":1', http_status FROM jdy_deliveries WHERE push = 'one' AND status = 'dead'}),
		'c120|{"id": "c120", "name": "A"}|the target did not take the record|t|200', 'the record is dead, with its own payload and the target\'s words');
	is(push_ok($node, 'one', 'another push')->{calls}, 0, 'leaves it alone');
	query($node, "UPDATE one SET name = 'B' WHERE id IN ('c120', 'c121')");
	$run = push_ok($node, 'one', 'changed');
	is("$run->{delivered} $run->{verified} $run->{dead}", '1 1 1', 'it is tried again, and what is there of the other counts by its new content');
	poison();
	query($node, "SELECT jdy_replay('one')");
	is(push_ok($node, 'one', 'mended')->{delivered}, 1, 'it arrives');

	# An earlier content may be there already: going back to it after a refusal is a change as ever.
	poison('c1');
	query($node, "UPDATE one SET name = 'C' WHERE id IN ('c1', 'c2')");
	push_ok($node, 'one', 'a change that is refused');
	query($node, "UPDATE one SET name = 'A' WHERE id = 'c1'");
	is(push_ok($node, 'one', 'back to what the target has')->{calls}, 0, 'is nothing to be sent: it never arrived');
	is(standings('one'), 'delivered 250', 'and delivered');
};

subtest 'several that are not taken' => sub {
	fresh('several', 1000, batch => 500);
	my @poison = qw(c7 c8 c55 c101 c499 c501 c777);
	poison(@poison);
	my $run = push_ok($node, 'several', 'counts that say that several failed');
	is("$run->{delivered} $run->{dead}", '993 7', 'leave those as dead letters');
	is(dead('several'), join(' ', sort @poison), 'and no others');
	is(twice(), '', 'nothing that was taken is sent again');
	is($run->{verified}, 993, 'it was found at the target');
	cmp_ok(calls('/query'), '<=', 10 + 4, 'by pages of 100, the pieces that fail as a whole are not asked for');

	fresh('none_taken', 10);
	poison(map { "c$_" } 1 .. 10);
	is(push_ok($node, 'none_taken', 'all of them')->{dead}, 10, 'are dead');
	is(calls('/query'), 0, 'without a query');

	fresh('counts_say_otherwise', 10, metadata => $BATCH =~ s/\}$/,"response":{"failed_count":"content.none"}}/r);
	poison('c3');
	is(push_ok($node, 'counts_say_otherwise', 'where metadata says to look elsewhere')->{delivered}, 10, 'that is done');
};

subtest 'a lost answer and one that is not taken' => sub {
	fresh('mixed', 100, server => 'single');
	poison('c50');
	fault(kind => 'reset_after', path => '/store');
	my $run = push_ok($node, 'mixed', 'a batch of which one is missing after a lost answer');
	is("$run->{delivered} $run->{verified} $run->{dead} " . dead('mixed'), '99 99 1 c50', 'is found to be there but for that one, which is sent again and dead');
	is(calls('/store') . ' ' . twice(), '2 ', 'alone');
};

subtest 'many ids, many versions' => sub {
	fresh('many', 10000, batch => 10000);
	fault(kind => 'reset_after', path => '/store');
	my $run = push_ok($node, 'many', '10,000 records in one batch whose answer is lost');
	is("$run->{delivered} $run->{verified}", '10000 10000', 'are found');
	is(calls('/query'), 100, 'a hundred a query');
	is(twice(), '', 'once');

	for my $upsert (JSON::PP::false, JSON::PP::true)
	{
		my $name = $upsert ? 'upserted' : 'versions';

		fresh($name, 100, server => 'single');
		config(qeasy_upsert => $upsert);
		push_ok($node, $name, 'A');
		for my $version (qw(B C))
		{
			query($node, "UPDATE $name SET name = '$version'");
			push_ok($node, $name, $version);
		}
		query($node, "UPDATE $name SET name = 'A'");
		fault(kind => 'reset', path => '/store');
		$run = push_ok($node, $name, 'A again, which does not arrive at first');
		is("$run->{delivered} $run->{verified}", '100 0', 'is sent again, though the target has seen A before');
		is(calls('/query'), $upsert ? 1 : 3, 'as far pages as there are rows');
		is(scalar(grep { $_->{name} ne 'A' } values %{ { latest() } }), 0, 'the target ends with A');
		query($node, "UPDATE $name SET name = 'C'");
		fault(kind => 'reset_after', path => '/store');
		$run = push_ok($node, $name, 'C again, which does arrive');
		is("$run->{delivered} $run->{verified}", '100 100', 'is found behind all others');
	}
};

subtest 'what the query does not say, or says otherwise' => sub {
	my %faults = (
		'HTTP 503' => { kind => 'status', status => 503 },
		'no such verb' => { kind => 'status', status => 404, body => '{"success":false,"code":40402,"message":"none","content":null}' },
		'no such verb, as HTTP 200' => { kind => 'status', status => 200, body => '{"success":false,"code":40402,"message":"none","content":null}' },
		'a refusal' => { kind => 'status', status => 400, body => '{"success":false,"code":40001,"message":"wrong","content":null}' },
		'no right' => { kind => 'status', status => 401 },
		'a lost answer' => { kind => 'reset' },
		'an HTML page' => { kind => 'html' },
		'half an answer' => { kind => 'cut', bytes => 40 },
		'no rows' => { kind => 'status', status => 200, body => '{"success":true,"code":0,"content":{"total":5}}' },
		'rows that are none' => { kind => 'status', status => 200, body => '{"success":true,"code":0,"content":{"rows":[{"id":"1","content":7}],"total":1}}' },
		'another page' => { kind => 'status', status => 200, body => '{"success":true,"code":0,"content":{"rows":[{"id":"1","content":{"id":"c1","name":"A"}}],"total":1,"page":2}}' });
	my $n = 0;

	for my $what (sort keys %faults)
	{
		my $name = 'fallback' . ++$n;

		fresh($name, 250, server => 'single');
		fault(path => '/query', times => -1, %{ $faults{$what} });
		poison('c120');
		fault(kind => 'reset_after', path => '/store', after => 2);
		my $run = push_ok($node, $name, "$what instead of an answer to the query");
		is(standings($name), 'dead 1, delivered 249', 'every record is delivered all the same, but for the one at fault');
		is("$run->{verified} " . dead($name), '0 c120', 'nothing counts as read back');
		is(scalar(keys %{ { latest() } }), 249, 'they are all there');
		cmp_ok(calls('/query'), '<=', 2, 'a refusal is asked for no more often than requests wait in line') if $what =~ /verb|refusal/;
		$sim->delete('/_sim/fault');
	}

	fresh('empty', 100, server => 'single');
	fault(kind => 'status', status => 200, path => '/query', body => '{"success":true,"code":0,"content":{"rows":[],"total":0}}');
	fault(kind => 'reset_after', path => '/store');
	my $run = push_ok($node, 'empty', 'a query that finds nothing');
	is("$run->{delivered} $run->{verified}", '100 0', 'means that all is sent again');

	fresh('strange', 2, server => 'single');
	fault(kind => 'status', status => 200, path => '/query', body => '{"success":true,"code":0,"content":{"rows":[{"content":{"id":"c1","name":"B"}},{"content":{"name":"A","id":"c2"}},{"content":{"id":"c9","name":"A"}}]}}');
	fault(kind => 'reset', path => '/store');
	$run = push_ok($node, 'strange', 'rows of other contents and ids');
	is("$run->{delivered} $run->{verified}", '2 1', 'do not count');
	is(join(' ', sort keys %{ { copies() } }), 'c1', 'only what is missing is sent');

	fresh('broken', 2, server => 'single');
	fault(kind => 'status', status => 200, path => '/query', body => '{"success":true,"code":0,"content":{"rows":[{"content":{"id":"c1","name":"A"}},{"content":[1]}]}}');
	fault(kind => 'reset', path => '/store');
	$run = push_ok($node, 'broken', 'a row that cannot be understood');
	is("$run->{delivered} $run->{verified}", '2 0', 'may be the newest of any record: none of them counts');

	fresh('equal', 2, server => 'single');
	query($node, "CREATE VIEW equals AS SELECT id, jsonb_build_object('id', id, 'n', 1.0, 'deep', jsonb_build_object('a', 1, 'b', NULL)) AS payload FROM equal; SELECT jdy_add_push('equals', 'single', 'equals', '$BATCH')");
	fault(kind => 'status', status => 200, path => '/query', body => '{"success":true,"code":0,"content":{"rows":[{"content":{"n":1,"deep":{"b":null,"a":1.00},"id":"c1"}},{"content":{"n":"1.0","deep":{"b":null,"a":1},"id":"c2"}}]}}');
	fault(kind => 'reset', path => '/store');
	is(push_ok($node, 'equals', '1 is 1.0, and "1.0" is not')->{verified}, 1, 'contents are compared as jsonb');
};

subtest 'clocks' => sub {
	for my $hours (-30, -2, 2, 30)
	{
		fresh('clock' . abs($hours) . ($hours < 0 ? 'behind' : 'ahead'), 100);
		my $name = 'clock' . abs($hours) . ($hours < 0 ? 'behind' : 'ahead');
		config(clock_offset_ms => $hours * 3_600_000);
		$sim->post('/_sim/expire_tokens');
		push_ok($node, $name, "a service whose clock is off by $hours hours");
		query($node, "UPDATE $name SET name = 'B'");
		config(latency_ms => 300);
		my $run_id = query($node, "SELECT jdy_start('$name')");
		poll_until(sub { stats()->{target_accepted} >= 200 }, 'a second version arrives');
		query($node, "SELECT jdy_cancel($run_id)");
		poll_sql($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id");
		config(latency_ms => 0);
		my $run = push_ok($node, $name, 'the next run');
		is($run->{verified}, 100, 'finds it: times are the service\'s');
		is(stats()->{target_accepted}, 200, 'once');
	}
	fresh('timeless', 100);
	config(clock_offset_ms => 2 * 3_600_000, tells_time => JSON::PP::false);
	$sim->post('/_sim/expire_tokens');
	fault(kind => 'reset_after', path => '/store');
	is(push_ok($node, 'timeless', 'a service that does not tell its time, and whose clock is off by two hours')->{verified}, 100, 'is asked for a wider window');
};

subtest 'token and rate' => sub {
	for my $errors (qw(http 200))
	{
		fresh("token$errors", 500, batch => 500);
		config(qeasy_errors => $errors);
		fault(kind => 'reset_after', path => '/store');
		fault(kind => 'status', status => $errors eq 'http' ? 401 : 200, path => '/query', after => 2,
			body => '{"success":false,"code":40102,"message":"expired","content":null}');
		my $before = stats()->{qeasy_token_calls};
		my $run = push_ok($node, "token$errors", "errors as $errors: a token that ends while it is read back");
		is("$run->{delivered} $run->{verified}", '500 500', 'is renewed, and it goes on');
		is(stats()->{qeasy_token_calls} - $before, 1, 'once');
		is(twice(), '', 'nothing is stored twice');
	}
	fresh('limited', 300);
	config(qeasy_rate_limit => 3, qeasy_rate_window_ms => 500, retry_after => 1);
	fault(kind => 'reset_after', path => '/store', times => -1);
	my $run = push_ok($node, 'limited', 'queries that the platform refuses for a while');
	is("$run->{delivered} $run->{verified}", '300 300', 'wait');
	is(twice(), '', 'nothing is stored twice');

	fresh('budget', 300, server => 'counted');
	wait_out($sim, 1);			# the platform remembers the calls of the last push
	config(qeasy_rate_limit => 4, qeasy_rate_window_ms => 950);
	fault(kind => 'reset_after', path => '/store', times => -1);
	$run = push_ok($node, 'budget', 'a budget of calls');
	is("$run->{delivered} $run->{verified}", '300 300', 'is kept');
	is(stats()->{refused_by_rate}, 0, 'by queries, too');
};

subtest 'payloads of all kinds' => sub {
	my %metadata = (
		singles => $BATCH =~ s/100/1/r,
		renamed => $BATCH =~ s/\}$/,"request":[{"field":"客户.名","value":"{{name}}"},{"field":"number","value":"{{id}}"}]}/r,
		bare => $BATCH =~ s/,"operation".*/,"request":[{"field":"content","type":"array","value":"lines","children":[{"field":"id","value":"{{lines.id}}"}]}]}/r);

	for my $name (sort keys %metadata)
	{
		fresh($name, 5, server => 'single', metadata => '{"api":"x","effect":"EXECUTE"}');
		query($node, "ALTER TABLE $name ADD lines jsonb; UPDATE $name SET lines = jsonb_build_array(jsonb_build_object('id', id)); SELECT jdy_alter_push('$name', metadata => '$metadata{$name}')");
		fault(kind => 'reset_after', path => '/store');
		my $run = push_ok($node, $name, "a push of $name records");
		is("$run->{delivered} $run->{verified}", $name eq 'bare' ? '5 0' : $name eq 'singles' ? '5 1' : '5 5', $name eq 'bare' ? 'whose id does not stand in it: sent again' : 'is read back');
		is(twice(), $name eq 'bare' ? 'c1' : '', 'as it can');
	}
	fresh('numbers', 1, server => 'single');
	query($node, q{CREATE TABLE numbered AS SELECT i AS id, repeat('长"\\', 1000) AS text, NULL::int AS nothing, i / 7.0 AS fraction FROM generate_series(1, 30) AS i});
	query($node, q{INSERT INTO numbered VALUES (-1), (2000000000)});
	query($node, "SELECT jdy_add_push('numbered', 'single', 'numbered', '$BATCH')");
	fault(kind => 'reset_after', path => '/store');
	my $run = push_ok($node, 'numbered', 'ids that are numbers');
	is("$run->{delivered} $run->{verified}", '32 32', 'are asked for as numbers');
	query($node, q{CREATE TABLE large AS SELECT 'l' || i AS id, repeat(chr(97 + i % 26), 1000000) AS text FROM generate_series(1, 12) AS i});
	query($node, "ALTER SERVER single OPTIONS (ADD max_response '5 MB'); SELECT jdy_add_push('large', 'single', 'large', '$BATCH', batch_bytes => 50000000)");
	push_ok($node, 'large', 'records of a megabyte');
	query($node, q{UPDATE large SET text = repeat('z', 1000000)});
	fault(kind => 'reset_after', path => '/store');
	is(push_ok($node, 'large', 'another version of them')->{verified}, 12, 'are asked for in smaller pages');
	query($node, q{CREATE TABLE odd (id text, n int); INSERT INTO odd VALUES ('a''b', 1), ('x"y', 2), ('{1,2}', 3), ('NULL', 4), (E'a\nb', 5), ('\\', 6), (' ', 7), ('客😀', 8), (repeat('长', 300), 9), ('true', 10), ('1', 1), ('$in', 12)});
	query($node, "SELECT jdy_add_push('odd', 'single', 'odd', '$BATCH')");
	fault(kind => 'reset_after', path => '/store');
	is(push_ok($node, 'odd', 'odd ids')->{verified}, 12, 'are found');
};

# Everything at once, again and again: as long as the platform can be asked, each version is stored once.
subtest 'bad luck of all kinds' => sub {
	srand($ENV{JDY_SEED} // 7);
	fresh('torture', 300, batch => 40);
	for my $round (1 .. 12)
	{
		my @poison = map { 'c' . (1 + int(rand 300)) } 1 .. int(rand 6);

		poison(@poison);
		query($node, "UPDATE torture SET name = 'v$round' WHERE random() < 0.5");
		query($node, "SELECT jdy_resume('torture', force => true)");
		fault(kind => (qw(reset reset_after reset_after status cut))[ int(rand 5) ], path => '/store', after => int(rand 6), times => 1 + int(rand 2)) for 1 .. 3;
		fault(kind => (qw(status reset))[ int(rand 2) ], path => '/query', after => int(rand 4), times => 1) if rand() < 0.5;
		push_row($node, 'torture');
		$sim->delete('/_sim/fault');
	}
	poison();
	query($node, "SELECT jdy_replay('torture'); SELECT jdy_resume('torture', force => true)");
	push_ok($node, 'torture', 'a run without trouble after all that');
	is(standings('torture'), 'delivered 300', 'all is delivered');
	my %there = latest();
	my %wanted = map { split /\|/ } split /\n/, query($node, 'SELECT id, name FROM torture');
	is(join(' ', grep { ($there{$_}{name} // '') ne $wanted{$_} } sort keys %wanted), '', 'as it is');
	is(stats()->{target_duplicates}, 0, 'nothing was stored twice in a row');
};

# That the platform can be asked does not mean that it stores anything; but nothing else may be there to be tried.
subtest 'away for long, with nothing but doubts' => sub {
	fresh('away', 250, batch => 125);
	push_ok($node, 'away', 'all is well');
	$_->() for
		sub { query($node, "UPDATE away SET name = 'B'"); },
		sub { fault(kind => 'status', status => 503, path => '/store', times => -1); };
	push_row($node, 'away');
	is(standings('away'), 'in_doubt 250', 'the platform goes away');
	for my $trials (0, 1)
	{
		query($node, "INSERT INTO jdysync.breaker VALUES ('qeasy', 9, now(), 'no reply in time', $trials, now() + interval '1 h') ON CONFLICT (server) DO UPDATE SET trials = $trials, next_try = now() + interval '1 h'");
		my $before = calls('/store');
		push_row($node, 'away');
		is(calls('/store') - $before, 1, "trial $trials: it is asked, and gets one request");
		is(query($node, "SELECT next_try > now() FROM jdysync.breaker"), 't', 'that it can be asked is no sign that it is back');
	}
	fault(kind => 'status', status => 503, path => '/query', times => -1);
	my $before = calls('/store');
	is(push_row($node, 'away')->{status} // 'error', 'error', 'it cannot even be asked');
	is(calls('/store') - $before, 0, 'so nothing is risked');
	$sim->delete('/_sim/fault');
	my $run = push_ok($node, 'away', 'when it is back');
	is($run->{delivered}, 250, 'all is delivered');
	is(query($node, 'SELECT count(*) FROM jdysync.breaker'), '0', 'and it counts as being there');
};

subtest 'records with keys of their own' => sub {
	fresh('keyed', 250, metadata => $BATCH =~ s/"rowsKey":"content"/"rowsKey":"content","key":"request_no"/r);
	fault(kind => 'reset_after', path => '/store', after => 1);
	my $run = push_ok($node, 'keyed', 'an answer is lost');
	is("$run->{delivered} $run->{verified} $run->{dead}", '250 100 0', 'they are found, keys and all');
	is(twice(), '', 'and stored once');
	query($node, "UPDATE keyed SET name = 'B' WHERE id IN ('c1', 'c2', 'c3')");
	poison('c2');
	$run = push_ok($node, 'keyed', 'one of three is not taken');
	is("$run->{delivered} $run->{dead}", '2 1', 'only that one is dead');
	is(twice(), 'c1 c3', 'the others were sent once more, with what changed');
	is({ latest() }->{c2}{name}, 'A', 'the dead one stays as it was');
	poison();
};

done_testing();
