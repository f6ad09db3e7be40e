# What may happen to a push beside plain sending: targets that answer nothing, the wrong thing or
# too late, metadata and records that change while an outcome is open, sources that fail, and people
# who switch it off.  Nothing is lost, nothing is taken for refused that was not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;

my $sim = start_sim(customers => 1, set => {%NO_LIMITS});
my $node = pull_node('main');
my $url = $sim->url . '/target';
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';
my $SINGLE = '{"api":"single","effect":"EXECUTE"}';

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', concurrency '4', max_attempts '2', rate_window '100 ms', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");

sub push_fails
{
	my ($name, $pattern, $what) = @_;
	my $run = push_row($node, $name);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($run->{err}, $pattern, $what);
	unlike($run->{err}, qr/ERROR:  XX000/, 'an error for people');
	return $run;
}
sub latest
{
	my ($path) = @_;
	return map { ($_->{id} => $_->{payload}) } $sim->lines("/_sim/target/latest?path=/target/$path");
}
sub stats { return $sim->get('/_sim/stats'); }
sub fault { return $sim->post('/_sim/fault', {@_, path => '/target/'}); }
sub standings { return query($node, "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jdy_deliveries WHERE push = '$_[0]' GROUP BY 1) s"); }

# A push of its own: table, push, first run.
sub fresh
{
	my ($name, $rows, $metadata) = @_;

	calm($sim, target_poison => 'batch', target_max_rows => 0, target_max_bytes => 0, latency_ms => 0);
	$sim->post('/_sim/target/poison', { ids => [] });
	$sim->delete('/_sim/target');
	query($node, "CREATE TABLE $name (id text PRIMARY KEY, name text); INSERT INTO $name SELECT 'c' || i, 'A' FROM generate_series(1, $rows) AS i");
	query($node, "SELECT jdy_add_push('$name', 'target', '$name', '$metadata')");
	return;
}

subtest 'an attempt lost, then an answer that ends the run' => sub {
	fresh('moved', 2, $BATCH);
	fault(kind => 'reset_after');
	fault(kind => 'redirect');
	push_fails('moved', qr/redirect/, 'the run fails');
	is(standings('moved'), 'in_doubt 2', 'what may have arrived is in doubt');
	query($node, "UPDATE moved SET name = 'B' WHERE id = 'c1'");
	push_ok($node, 'moved', 'the next run');
	my %there = latest('batch');
	is("$there{c1}{name} $there{c2}{name}", 'B A', 'the newest content is there');
	is(stats()->{target_duplicates}, 0, 'nothing was stored twice');
};

subtest 'an answer lost on a connection that was used before' => sub {
	query($node, "CREATE SERVER kept FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', concurrency '1', max_attempts '1', timeout '2 s')");
	query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER kept OPTIONS (token 'push-token')");
	fresh('kept', 150, $BATCH);
	query($node, "SELECT jdy_alter_push('kept', server => 'kept')");
	push_ok($node, 'kept', 'A is delivered');
	query($node, "UPDATE kept SET name = 'B'");
	fault(kind => 'reset_after', after => 1);
	push_fails('kept', qr/08006.*does not answer/s, 'B arrives, the second answer does not');
	is(standings('kept'), 'delivered 100, in_doubt 50', 'what left whole may have arrived');
	query($node, "UPDATE kept SET name = 'A'");
	push_ok($node, 'kept', 'back to A');
	is(scalar(grep { $_->{name} ne 'A' } values %{ { latest('batch') } }), 0, 'the target ends with A');
};

subtest 'refused after it may have arrived, then back to what was acknowledged' => sub {
	fresh('back', 1, $SINGLE);
	push_ok($node, 'back', 'A is delivered');
	query($node, "UPDATE back SET name = 'B'");
	fault(kind => 'reset_after', times => 2);
	push_fails('back', qr/08006.*does not answer/s, 'B arrives, the answer does not');
	fault(kind => 'status', status => 400);
	push_ok($node, 'back', 'it is refused when it is sent again');
	is(standings('back'), 'dead 1', 'and dead');
	query($node, "UPDATE back SET name = 'A'");
	push_ok($node, 'back', 'the record goes back to A');
	is({ latest('single') }->{c1}{name}, 'A', 'the target ends with A');
	is(standings('back'), 'delivered 1', 'delivered');
};

subtest 'a target that goes away in the middle' => sub {
	fresh('away', 200, $SINGLE);
	fault(kind => 'status', status => 503, after => 20, times => -1);
	my $run = push_fails('away', qr/08006.*does not answer.*HINT/s, 'the run fails');
	is(query($node, "SELECT count(*) FROM jdy_deliveries WHERE push = 'away' AND status = 'dead'"), '0', 'nothing is dead');
	cmp_ok(stats()->{target_requests}, '<=', 120, 'and it is left in peace: what waited in line is tried twice, no more');
	$sim->delete('/_sim/fault');
	push_ok($node, 'away', 'the next run');
	is(standings('away'), 'delivered 200', 'delivers all');
	is(stats()->{target_duplicates}, 0, 'once');
};

subtest 'columns with names that the query might use' => sub {
	for my $metadata ($SINGLE, '{"api":"single","effect":"EXECUTE","request":[{"field":"id","value":"{{id}}"},{"field":"v","value":"{{v}}"}]}')
	{
		calm($sim);
		query($node, q{CREATE TABLE names (id text PRIMARY KEY, v integer, u text, a text); INSERT INTO names VALUES ('n1', 7, 'u', 'a')});
		query($node, "SELECT jdy_add_push('names', 'target', 'names', '$metadata')");
		is(push_ok($node, 'names', 'a push')->{delivered}, 1, 'delivers');
		is({ latest('single') }->{n1}{v}, 7, 'the whole row');
		query($node, "SELECT jdy_drop_push('names'); DROP TABLE names");
	}
};

subtest 'metadata changed while a batch is in doubt' => sub {
	for my $metadata ($SINGLE =~ s/single/batch/r, $BATCH =~ s/"array"/"rows"/r, $BATCH =~ s/,"rowsKey":"array"//r)
	{
		fresh('changed', 5, $BATCH);
		fault(kind => 'reset', times => -1);
		push_fails('changed', qr/does not answer/, 'a batch in doubt');
		$sim->delete('/_sim/fault');
		$sim->post('/_sim/target/poison', { ids => ['c3'] });
		$sim->post('/_sim/config', { target_rows_key => $metadata =~ /rows"\}/ ? 'rows' : 'array' });
		query($node, "SELECT jdy_alter_push('changed', metadata => '$metadata')");
		push_ok($node, 'changed', 'refused under other metadata');
		is(standings('changed'), 'dead 1, delivered 4', 'it is cut, and four arrive');
		is(query($node, "SELECT id FROM jdy_deliveries WHERE push = 'changed' AND status = 'dead'"), 'c3', 'the refused one is named');
		is(join(' ', map { scalar keys %$_ } values %{ { latest('batch') } }), '2 2 2 2', 'as they were');
		query($node, "SELECT jdy_drop_push('changed'); DROP TABLE changed");
		$sim->post('/_sim/config', { target_rows_key => 'array' });
	}
};

subtest 'a path or a right that is wrong' => sub {
	for my $status (403, 404)
	{
		fresh("wrong$status", 300, $BATCH);
		fault(kind => 'status', status => $status, times => -1);
		push_fails("wrong$status", qr/ERROR:  \w{5}: .*$status.*HINT/s, "HTTP $status for everything: the run fails");
		is(standings("wrong$status"), '', 'nothing is dead');
		cmp_ok(query($node, "SELECT calls FROM jdy_runs WHERE name = 'wrong$status'"), '<', 80, 'after some calls');
		$sim->delete('/_sim/fault');
		push_ok($node, "wrong$status", 'when it is mended');
		is(standings("wrong$status"), 'delivered 300', 'all arrive');
	}
	is(query($node, 'SELECT bool_and(proven) FROM jdysync.push'), 't', 'from then on they are known to have been right');

	# A few records of a push that once worked: one alarm, no more.
	for my $n (1, 9, 10)
	{
		fresh("lone$n", 300, $BATCH);
		push_ok($node, "lone$n", 'a push that works');
		query($node, "UPDATE lone$n SET name = 'B' WHERE substr(id, 2)::int <= $n");
		fault(kind => 'status', status => 404, times => -1);
		if ($n == 10)
		{
			push_fails("lone$n", qr/HV000: call to the service failed: the request was refused.*404/s, 'ten records: the push is at fault') for 1 .. 2;
			is(standings("lone$n"), 'delivered 300', 'and nothing is dead');
			next;
		}
		push_fails("lone$n", qr/HV000: the target refused everything\n.*DETAIL:  $n records? (?:is a|are) dead letters?(?:, the first)?: .*HTTP 404.*HINT:.*jdy_replay\('lone$n'\)/s, "$n: the run fails");
		is(standings("lone$n"), "dead $n, delivered @{[300 - $n]}", 'they are dead letters');
		is(push_ok($node, "lone$n", 'the next run')->{calls}, 0, 'leaves them alone');
		$sim->delete('/_sim/fault');
		is(query($node, "SELECT jdy_replay('lone$n')"), $n, 'if it was the push, jdy_replay');
		is(push_ok($node, "lone$n", 'and another run')->{delivered}, $n, 'send them again');
	}
	fresh('unproven', 3, '{"api":"unproven","effect":"EXECUTE","delete":{"method":"DELETE"}}');
	push_ok($node, 'unproven', 'a push that works');
	fault(kind => 'status', status => 404, times => -1);
	query($node, q{SELECT jdy_alter_push('unproven', metadata => '{"api":"unprovem","effect":"EXECUTE","delete":{"method":"DELETE"}}'); UPDATE unproven SET name = 'B' WHERE id = 'c1'});
	push_fails('unproven', qr/HV000: call to the service failed/, 'metadata that never worked: the run fails') for 1 .. 2;
	is(standings('unproven'), 'delivered 3', 'and nothing is dead');
	query($node, q{SELECT jdy_alter_push('unproven', metadata => '{"api":"unproven","effect":"EXECUTE","delete":{"method":"DELETE"}}')});
	$sim->delete('/_sim/fault');
	push_ok($node, 'unproven', 'mended');
	fault(kind => 'status', status => 404, times => -1);
	query($node, q{DELETE FROM unproven WHERE id = 'c2'});
	push_fails('unproven', qr/HV000: the target refused everything\n/, 'a record that was deleted there by hand, alone');
	push_ok($node, 'unproven', 'does not fail the next run');

	fresh('absent', 300, $SINGLE);
	fault(kind => 'status', status => 404, times => 3);
	push_ok($node, 'absent', 'three records that are answered with HTTP 404, before the others');
	is(standings('absent'), 'dead 3, delivered 297', 'are dead, since others are accepted');
};

subtest 'replies that are none' => sub {
	fresh('replies', 250, $BATCH);
	for my $kind (qw(html json cut))
	{
		fault(kind => $kind, times => -1);
		push_fails('replies', qr/08006.*does not answer/s, "$kind with HTTP 200 and nothing else");
		is(query($node, q{SELECT count(*) FROM jdy_deliveries WHERE push = 'replies' AND status <> 'in_doubt'}), '0', 'counts as no answer');
		$sim->delete('/_sim/fault');
	}
	push_ok($node, 'replies', 'until one comes');
	query($node, "UPDATE replies SET name = 'AA'");
	fault(kind => 'html');
	fault(kind => 'cut');
	fault(kind => 'json');
	push_ok($node, 'replies', 'a page, a cut and a broken reply');
	is(stats()->{target_duplicates}, 0, 'were asked for again under the same key');
	$sim->post('/_sim/config', { target_max_rows => 7 });
	query($node, "UPDATE replies SET name = 'B'");
	push_ok($node, 'replies', 'HTTP 413 for more than 7 records');
	is(standings('replies'), 'delivered 250', 'all arrive in smaller batches');
	fault(kind => 'status', status => 429, retry_after => 0, times => 3);
	query($node, "UPDATE replies SET name = 'C' WHERE id = 'c1'");
	push_fails('replies', qr/53400|429/, 'HTTP 429 to the end of all attempts');
	push_ok($node, 'replies', 'later');
	is({ latest('batch') }->{c1}{name}, 'C', 'the record arrives');
};

subtest 'odd ids' => sub {
	fresh('odd', 1, $BATCH);
	query($node, q{INSERT INTO odd VALUES ('a''b', ''), ('x"y', ''), ('{1,2}', ''), ('NULL', ''), (E'a\nb', ''), ('\\', ''), (' ', ''), ('客😀', ''), (repeat('长', 300), '')});
	push_ok($node, 'odd', 'ids of all kinds');
	is(standings('odd'), 'delivered 10', 'are delivered');
	is(push_ok($node, 'odd', 'another push')->{pending}, 0, 'and found again');
	query($node, q{INSERT INTO odd VALUES (repeat('x', 1001), '')});
	push_fails('odd', qr/22001: an id in the source of the push is too long.*1001 bytes.*HINT/s, 'one that is too long');
	query($node, q{DELETE FROM odd WHERE length(id) > 1000; INSERT INTO odd VALUES ('', '')});
	push_fails('odd', qr/21000: the source of the push has no key.*1 rows of .* have no id.*HINT/s, 'an empty one');
	query($node, q{CREATE VIEW nothing AS SELECT NULL::text AS id, 1 AS n; SELECT jdy_add_push('nothing', 'target', 'nothing', '{"api":"batch","effect":"EXECUTE"}')});
	push_fails('nothing', qr/21000: the source of the push has no key/, 'none');
};

subtest 'payloads' => sub {
	calm($sim);
	query($node, q{CREATE TABLE payloads (id text, payload jsonb); INSERT INTO payloads VALUES ('p1', NULL), ('p2', '{"id":"p2","n":1.50}')});
	query($node, "SELECT jdy_add_push('payloads', 'target', 'payloads', '$BATCH')");
	is(push_ok($node, 'payloads', 'a record without a payload')->{pending}, 1, 'is not sent');
	query($node, q{UPDATE payloads SET payload = jsonb_build_object('id', id, 'text', repeat('长', 400000)) WHERE id = 'p1'});
	is(push_ok($node, 'payloads', 'once it has one, of 1.2 MB')->{delivered}, 1, 'it is');
	query($node, "CREATE TABLE large AS SELECT 'l' || i AS id, repeat(chr(97 + i % 26), 1000000) AS text FROM generate_series(1, 400) AS i");
	my ($before, $after) = split /\n/, query($node, "SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\\s+(\\d+)'))[1];"
		  . "SELECT jdy_add_push('large', 'target', 'large', '$BATCH', baseline => true) IS NULL \\g /dev/null\n"
		  . "SELECT (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\\s+(\\d+)'))[1];");
	cmp_ok($after - $before, '<', 150_000, 'reading 400 records of 1 MB takes less than 150 MB');
	query($node, "SELECT jdy_drop_push('large')");
};

subtest 'a source that fails in the middle' => sub {
	fresh('fails', 2000, $BATCH);
	query($node, "ALTER TABLE fails ADD n int; UPDATE fails SET n = substr(id, 2)::int; CREATE VIEW failing AS SELECT id, 1000 / (n - 1500) AS q FROM fails");
	query($node, "SELECT jdy_add_push('failing', 'target', 'failing', '$BATCH')");
	my $before = stats()->{target_requests};
	push_fails('failing', qr/22012: division by zero/, 'the run says why');
	is(stats()->{target_requests}, $before, 'and sends nothing');
	query($node, "DELETE FROM fails WHERE n = 1500");
	push_ok($node, 'failing', 'when it is mended');
	is(standings('failing'), 'delivered 1999', 'all arrive');
};

subtest 'gone while in doubt, replayed when it went back' => sub {
	fresh('gone', 2, $BATCH);
	fault(kind => 'reset_after', times => -1);
	push_fails('gone', qr/does not answer/, 'in doubt');
	$sim->delete('/_sim/fault');
	query($node, "DELETE FROM gone WHERE id = 'c1'");
	push_ok($node, 'gone', 'a record that was deleted meanwhile');
	is(standings('gone'), 'delivered 2', 'has its outcome known all the same');
	$sim->post('/_sim/target/poison', { ids => ['c2'] });
	query($node, "UPDATE gone SET name = 'B'");
	push_ok($node, 'gone', 'a refused change');
	query($node, "UPDATE gone SET name = 'A'; SELECT jdy_replay('gone')");
	is(push_ok($node, 'gone', 'replayed after it went back')->{pending}, 0, 'is nothing to be sent');
	is(standings('gone'), 'delivered 2', 'and does not stay pending');
};

subtest 'switched off, cancelled' => sub {
	fresh('off', 3000, $BATCH);
	for my $how ('off', 'cancel')
	{
		query($node, "UPDATE off SET name = '$how'");
		query($node, "SELECT jdy_resume('off', force => true)");
		$sim->post('/_sim/config', { latency_ms => 100 });
		my $before = stats()->{target_accepted};
		my $run_id = query($node, "SELECT jdy_start('off')");
		poll_until(sub { stats()->{target_accepted} >= $before + 500 }, 'some have arrived');
		query($node, $how eq 'off' ? q{ALTER SYSTEM SET jdysync.enabled = off} : "SELECT jdy_cancel($run_id)");
		query($node, 'SELECT pg_reload_conf()');
		wait_for_status($node, $run_id, 'cancelled', "$how: the run ends");
		$sim->post('/_sim/config', { latency_ms => 0 });
		query($node, 'ALTER SYSTEM RESET jdysync.enabled');
		query($node, 'SELECT pg_reload_conf()');
		poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'on'");
		push_ok($node, 'off', 'the next one');
		is(standings('off'), 'delivered 3000', 'delivers all');
		is(stats()->{target_duplicates}, 0, 'once');
		is(scalar(grep { $_->{name} ne $how } values %{ { latest('batch') } }), 0, 'the newest');
	}
};

done_testing();
