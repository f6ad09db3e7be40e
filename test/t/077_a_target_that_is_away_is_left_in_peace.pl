# A target that does not answer is left in peace: after some requests in vain pushes to its server stop,
# whoever's they are, and one request at a time sees whether it is back.  Pulls go on meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $OPEN_AFTER = 5;
my $sim = start_sim(customers => 20, set => { %NO_LIMITS, target_token => 'plain-token' });
my $node = pull_node('main');
my $SINGLE = '{"api":"target/single","effect":"EXECUTE"}';
my $BATCH = '{"api":"target/batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';

# One server for pulls and pushes.
query($node, "CREATE SERVER shared FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', auth 'bearer', concurrency '4', max_attempts '2', rate_window '100 ms', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER shared OPTIONS (token 'plain-token')");
query($node, q{CREATE TABLE one (id text PRIMARY KEY, name text); INSERT INTO one SELECT 'a' || i, 'A' FROM generate_series(1, 60) AS i;
	CREATE TABLE two (id text PRIMARY KEY, name text); INSERT INTO two SELECT 'b' || i, 'A' FROM generate_series(1, 250) AS i});
query($node, "SELECT jdy_add_push('one', 'shared', 'one', '$SINGLE'); SELECT jdy_add_push('two', 'shared', 'two', '$BATCH')");
add_stream($node, 'customer');
add_stream($node, 'plain', server => "'shared'", metadata => q{'{"api":"/jdy/v2/bd/customer","id":"id","number":"number"}'});

sub stats { return $sim->get('/_sim/stats'); }
sub requests { return stats()->{target_requests}; }
sub away { return $sim->post('/_sim/fault', { kind => 'status', status => 503, path => '/target/', times => -1, @_ }); }
sub back { return $sim->delete('/_sim/fault'); }
sub breaker { return query($node, "SELECT $_[0] FROM jdysync.breaker WHERE server = 'shared'"); }
sub set_breaker { return query($node, "UPDATE jdysync.breaker SET $_[0]"); }
sub in_doubt { return query($node, q{SELECT count(*) FROM jdy_deliveries WHERE status = 'in_doubt'}); }

# Requests that reach the target meanwhile.
sub requests_of
{
	my ($what) = @_;
	my $before = requests();

	$what->();
	return requests() - $before;
}

subtest 'it opens' => sub {
	away();
	my $run = push_row($node, 'one');
	like($run->{err}, qr/08006: the target does not answer.*DETAIL:.*server "shared".*since 20\d\d-.*\+08; what came last: the service failed, HTTP 503.*HINT:.*jdy_push\('one'\).*not before 20/s,
		'a run without any answer says since when, what came last and what comes next');
	cmp_ok(breaker('failures'), '>=', $OPEN_AFTER, 'it is open after some requests in a row');
	is(breaker('trials, next_try < clock_timestamp() + interval \'1 s\''), '0|t', 'the first pause is a second at most');
	set_breaker("next_try = now() + interval '1 h'");
};

subtest 'while it is open' => sub {
	is(requests_of(sub { is(query($node, 'SELECT run_id, push, status, error FROM jdy_push()'), "|one|failed|the target does not answer\n|two|failed|the target does not answer", 'jdy_push() of all says so') }), 0, 'and sends nothing');
	is(query($node, q{SELECT count(*) FROM jdy_runs WHERE kind = 'push'}), '1', 'there was no run');
	my $doubts = in_doubt();
	is(requests_of(sub { like(push_row($node, 'one')->{err}, qr/08006: the target does not answer.*DETAIL:.*HTTP 503.*Whether $doubts records.*HINT:.*any time/s, 'who asks by name is told the same') }), 1, 'after one request, in one attempt');
	is(breaker('trials, next_try BETWEEN clock_timestamp() + interval \'1 s\' AND clock_timestamp() + interval \'2 s\''), '1|t', 'the pause doubles');
	is(in_doubt(), $doubts, 'that request was in doubt before');
	is(requests_of(sub { push_row($node, 'two') }), 1, 'another push to the same server: one request');
	is(requests_of(sub { wait_for_status($node, query($node, q{SELECT jdy_start('two')}), 'failed', 'jdy_start') }), 1, 'by jdy_start, too');
	is(breaker('trials'), '3', 'each is counted');
	set_breaker('trials = 15');
	push_row($node, 'one');
	is(breaker('next_try BETWEEN clock_timestamp() + interval \'220 s\' AND clock_timestamp() + interval \'5 min\''), 't', 'the longest pause is five minutes');
	set_breaker('trials = 20');
	push_row($node, 'one');
	is(breaker('trials, next_try > now()'), '20|t', 'however long it takes');
};

subtest 'a trial that nobody lives to tell of counts' => sub {
	back();
	$sim->post('/_sim/fault', { kind => 'stall', path => '/target/' });
	set_breaker("trials = 4");
	my $run_id = query($node, q{SELECT jdy_start('one')});
	ok(poll_until(sub { breaker('trials') eq '5' }, 'the trial'), 'its pause is written before it is sent');
	is(breaker('next_try > clock_timestamp() + interval \'15 s\''), 't', 'and is the longer one');
	wait_for_status($node, $run_id, 'failed', 'the run fails');
	away();
};

subtest 'what is tried' => sub {
	query($node, q{INSERT INTO one VALUES ('new1', 'A')});
	my $doubts = in_doubt();
	set_breaker('trials = 6');
	push_row($node, 'one');
	is(in_doubt(), $doubts, 'what is in doubt');
	is(requests_of(sub { push_row($node, 'one') }), 1, 'every other time');
	is(in_doubt(), $doubts + 1, 'something else, since the target may choke on that');
	query($node, q{UPDATE one SET name = 'B' WHERE id IN (SELECT id FROM jdy_deliveries WHERE push = 'one' AND status = 'in_doubt')});
	set_breaker('trials = 7');
	push_row($node, 'one');
	is(query($node, q{SELECT count(*) FROM (SELECT unnest(ids) FROM jdysync.batch GROUP BY 1 HAVING count(*) > 1) t}), '0', 'but nothing newer of what is in doubt');
	query($node, q{UPDATE one SET name = 'A' WHERE name = 'B'});
	query($node, q{CREATE TABLE empty (id text); SELECT jdy_add_push('empty', 'shared', 'empty', '} . $SINGLE . q{')});
	is(requests_of(sub { push_ok($node, 'empty', 'a push without anything to send') }), 0, 'is no failure');
	is(breaker('trials'), '8', 'and no trial');
	query($node, q{SELECT jdy_drop_push('empty')});
};

subtest 'pulls go on' => sub {
	my $before = breaker('failures, trials, next_try');
	sync_ok($node, 'plain', 'from the same server');
	sync_ok($node, 'customer', 'and from another');
	is_true($node, 'customer', 'nothing is missing');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_plain'), '20', 'here neither');
	is(breaker('failures, trials, next_try'), $before, 'what is pulled says nothing of the target');
};

subtest 'a restart' => sub {
	set_breaker("next_try = now() + interval '1 h'");
	$node->stop('immediate');
	$node->start;
	forget_calls($node);
	is(requests_of(sub { query($node, 'SELECT count(*) FROM jdy_push()') }), 0, 'changes nothing');
};

subtest 'the pause is over' => sub {
	set_breaker("next_try = now()");
	is(requests_of(sub { is(query($node, 'SELECT string_agg(status || (run_id IS NULL), \' \') FROM jdy_push()'), 'failedfalse failedtrue', 'jdy_push() of all') }), 1, 'makes one request, not one a push');
	back();
	set_breaker("next_try = now()");
	is(query($node, 'SELECT string_agg(status, \' \') FROM jdy_push()'), 'ok ok', 'the target is back');
	is(breaker('failures'), '', 'nothing is left to say of it');
	is(query($node, q{SELECT push, status, count(*) FROM jdy_deliveries GROUP BY 1, 2 ORDER BY 1}), "one|delivered|61\ntwo|delivered|250", 'all is delivered');
	is(stats()->{target_duplicates} + stats()->{target_out_of_order}, 0, 'once, in order');
};

subtest 'what closes it, what opens it' => sub {
	my $open = "INSERT INTO jdysync.breaker VALUES ('shared', 9, now(), 'no reply in time', 1, now() + interval '1 h')";

	query($node, "$open; UPDATE one SET name = 'B' WHERE id < 'a2'");
	$sim->post('/_sim/fault', { kind => 'status', status => 400, path => '/target/' });
	my $run = push_ok($node, 'one', 'a refusal is an answer');
	is("$run->{delivered} $run->{dead}", '10 1', 'the run goes on');
	is(breaker('failures'), '', 'it is closed');

	query($node, "$open; UPDATE one SET name = 'C' WHERE id < 'a2'");
	$sim->post('/_sim/fault', { kind => 'status', status => 429, retry_after => 0, path => '/target/' });
	like(push_row($node, 'one')->{err}, qr/53400/, 'HTTP 429');
	is(breaker('failures'), '', 'closes it, too');
	push_ok($node, 'one', 'the next run');

	# Failures are counted over runs, and an answer to any push ends the row.
	away();
	query($node, q{UPDATE one SET name = 'D' WHERE id = 'a1'; UPDATE two SET name = 'D' WHERE id = 'b1'});
	push_row($node, 'one') for 1 .. $OPEN_AFTER - 1;
	is(breaker('failures, next_try IS NULL'), ($OPEN_AFTER - 1) . '|t', 'one failure less than is needed, a run each');
	back();
	push_ok($node, 'two', 'an answer to another push');
	is(breaker('failures'), '', 'begins the count anew');
	away();
	push_row($node, 'one') for 1 .. $OPEN_AFTER;
	is(breaker('next_try IS NOT NULL'), 't', 'as many in a row open it');
	back();
	push_ok($node, 'one', 'until the target is back');

	# A run that began when all was well has answers, too, that count.
	$sim->post('/_sim/config', { latency_ms => 500 });
	query($node, q{UPDATE two SET name = 'E' WHERE id = 'b1'});
	my $before = requests();
	my $run_id = query($node, q{SELECT jdy_start('two')});
	ok(poll_until(sub { requests() > $before }, 'a request'), 'while a request is on its way');
	query($node, "$open");
	wait_for_status($node, $run_id, 'ok', 'another push counts its failures');
	is(breaker('failures'), '', 'its answer ends that');
	$sim->post('/_sim/config', { latency_ms => 0 });

	# After a trial with something else, what is newer than the doubtful goes with the same run.
	away();
	query($node, q{UPDATE one SET name = 'F' WHERE id = 'a1'});
	push_row($node, 'one');
	back();
	query($node, qq{UPDATE one SET name = 'G' WHERE id IN ('a1', 'a2'); DELETE FROM jdysync.breaker; $open});
	$run = push_ok($node, 'one', 'a record in doubt, a newer version of it, and another');
	is("$run->{pending} $run->{delivered} $run->{calls}", '3 3 3', 'all are delivered in one run');

	# No connection at all.
	query($node, q{ALTER SERVER shared OPTIONS (SET url 'http://127.0.0.1:1'); UPDATE one SET name = 'E' WHERE id = 'a1'});
	like(push_row($node, 'one')->{err}, qr/08001: call to the service failed: the host could not be reached.*HINT:.*url/s, 'a host that cannot be reached') for 1 .. $OPEN_AFTER;
	like(push_row($node, 'one')->{err}, qr/08006: the target does not answer.*the host could not be reached\.\n.*HINT/s, 'counts as well');
	query($node, "ALTER SERVER shared OPTIONS (SET url '" . $sim->url . "')");
	push_ok($node, 'one', 'and is tried as soon as somebody asks');
};

# More batches that the target chokes on than open it stand first in line: others show that it is there.
subtest 'it chokes on some' => sub {
	query($node, "SELECT jdy_alter_push('two', metadata => '" . ($BATCH =~ s/100/10/r) . "'); UPDATE two SET name = 'choke' WHERE substr(id, 2)::int <= 60");
	away();
	push_row($node, 'two');
	query($node, q{INSERT INTO two SELECT 'c' || i, 'fine' FROM generate_series(1, 100) AS i});
	query($node, q{DELETE FROM jdysync.breaker});
	back();
	away(times => 2 * query($node, 'SELECT count(*) FROM jdysync.batch'));
	my $run = push_ok($node, 'two', 'the run does not stop at them');
	is("$run->{failed} $run->{dead}", '0 0', 'all is delivered');
	is(query($node, q{SELECT count(*) FROM jdy_deliveries WHERE push = 'two' AND status = 'delivered'}), '350', 'indeed');
	is(breaker('failures'), '', 'and the target counts as being there');
};

done_testing();
