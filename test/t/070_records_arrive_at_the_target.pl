# What a push sends, once: in batches or one by one, what changed and nothing else, with the
# target's refusals cut down to the records that it refuses.
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
my $node = pull_node('main', conf => "restart_after_crash = on\n");
my $url = $sim->url . '/target';
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', concurrency '4', max_attempts '3', rate_window '100 ms', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
query($node, q{CREATE TABLE source (id text PRIMARY KEY, name text, location jsonb);
	INSERT INTO source SELECT 'c' || i, '客户' || i, jsonb_build_object('city', '城市' || i) FROM generate_series(1, 730) AS i;
	CREATE VIEW target AS SELECT id, name, location FROM source});

# What the target holds: its last payload of each id.
sub arrived { return map { my $line = JSON::PP->new->utf8->decode($_); ($line->{id} => $line) } grep { /\S/ } split /\n/, $sim->{http}->get($sim->url . '/_sim/target/latest')->{content}; }
sub stats { return $sim->get('/_sim/stats'); }
sub deliveries { return query($node, "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jdy_deliveries WHERE push = '$_[0]' GROUP BY 1) s"); }

# ---------------------------------------------------------------------------
# One by one, at a path of Chinese letters.
# ---------------------------------------------------------------------------
{
	query($node, q{CREATE VIEW few AS SELECT * FROM target WHERE id IN ('c1', 'c2', 'c3')});
	query($node, q{SELECT jdy_add_push('one', 'target', 'few', '{"api":"写入空操作","effect":"EXECUTE","method":"POST","idCheck":true}')});
	is(query($node, "SELECT count(*), min(method), min(url), bool_and(headers ~ 'Authorization: \\*\\*\\*') FROM jdy_preview('one', 2)"),
		"2|POST|$url/%E5%86%99%E5%85%A5%E7%A9%BA%E6%93%8D%E4%BD%9C|t", 'a preview shows the requests');
	is(query($node, "SELECT body::jsonb = '{\"id\":\"c1\",\"name\":\"客户1\",\"location\":{\"city\":\"城市1\"}}' FROM jdy_preview('one', 1)"), 't', 'with their bodies');
	is(stats()->{target_requests}, 0, 'and sends nothing');
	my $run = push_ok($node, 'one', 'a push');
	is("$run->{pending} $run->{delivered} $run->{dead} $run->{calls}", '3 3 0 3', 'sends each record in a request of its own');
	my %there = arrived();
	is_deeply([ sort keys %there ], [qw(c1 c2 c3)], 'they arrive');
	is($there{c2}{payload}{location}{city}, JSON::PP->new->utf8->decode('["城市2"]')->[0], 'as they are');
	is($there{c1}{path}, JSON::PP->new->utf8->decode('["/target/写入空操作"]')->[0], 'at that path');
	like($there{c1}{key}, qr/^[0-9a-f]{64}$/, 'under a key');
	$run = push_ok($node, 'one', 'another push');
	is("$run->{pending} $run->{calls}", '0 0', 'makes no call: nothing changed');
	is(deliveries('one'), 'delivered 3', 'each is delivered');
	query($node, "SELECT jdy_drop_push('one')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# Batches, changes, A then B then A.
# ---------------------------------------------------------------------------
my $returns;					# contents that came back to what they were, as they should

query($node, "SELECT jdy_add_push('all', 'target', 'target', '$BATCH')");
{
	my $run = push_ok($node, 'all', 'a first push of 730 records');
	is("$run->{pending} $run->{delivered} $run->{calls}", '730 730 8', 'takes eight requests');
	my %there = arrived();
	is(scalar keys %there, 730, 'all of them arrive');

	query($node, q{UPDATE source SET name = 'B' WHERE id IN ('c5', 'c6')});
	$run = push_ok($node, 'all', 'a push after two changes');
	is("$run->{pending} $run->{delivered} $run->{calls}", '2 2 1', 'sends those two');
	query($node, q{UPDATE source SET name = '客户5' WHERE id = 'c5'});
	$run = push_ok($node, 'all', 'a push after one went back');
	is("$run->{pending} $run->{delivered}", '1 1', 'sends that it did');
	%there = arrived();
	is($there{c5}{payload}{name}, JSON::PP->new->utf8->decode('["客户5"]')->[0], 'the target has the last content');
	is(stats()->{target_duplicates}, 0, 'nothing came twice');
	is(query($node, "SELECT version FROM jdysync.delivery WHERE id = 'c5'"), '3', 'it was its third version');
	$returns = stats()->{target_out_of_order};
}

# ---------------------------------------------------------------------------
# Poison.
# ---------------------------------------------------------------------------
for my $way (qw(batch errcode))
{
	$sim->post('/_sim/config', { target_poison => $way });
	$sim->post('/_sim/target/poison', { ids => ['c77'] });
	query($node, "UPDATE source SET name = '$way ' || id");
	my $run = push_ok($node, 'all', "$way: a push with a record that the target refuses");
	is("$run->{delivered} $run->{dead}", '729 1', 'delivers all others');
	cmp_ok($run->{calls}, '<=', 8 + 15, 'with at most 15 more requests');
	is(query($node, "SELECT id, status, request ~ 'c77', reply <> '', last_error <> '' FROM jdy_deliveries WHERE push = 'all' AND status <> 'delivered'"), 'c77|dead|t|t|t', 'that one is a dead letter, with request and reply');
	$run = push_ok($node, 'all', 'another push');
	is($run->{calls}, 0, 'leaves it alone');

	$sim->post('/_sim/target/poison', { ids => [] });
	is(query($node, "SELECT jdy_replay('all')"), '1', 'jdy_replay');
	$run = push_ok($node, 'all', 'a push after that');
	is("$run->{delivered} $run->{dead}", '1 0', 'sends it again');
	is(deliveries('all'), 'delivered 730', 'and it is delivered');
}
{
	$sim->post('/_sim/target/poison', { ids => ['c9'] });
	query($node, q{UPDATE source SET name = 'bad' WHERE id = 'c9'});
	push_ok($node, 'all', 'a refused change');
	is(query($node, "SELECT jdy_discard('all', '{c9}', 'nobody needs it')"), '1', 'jdy_discard');
	is(query($node, "SELECT status, discarded FROM jdy_deliveries WHERE push = 'all' AND id = 'c9'"), 'dead|nobody needs it', 'keeps it, with the reason');
	$sim->post('/_sim/target/poison', { ids => [] });
	is(push_ok($node, 'all', 'another push')->{calls}, 0, 'and it is not sent');
	query($node, q{UPDATE source SET name = 'good' WHERE id = 'c9'});
	is(push_ok($node, 'all', 'a push when it changed again')->{delivered}, 1, 'sends the new content');
}

# ---------------------------------------------------------------------------
# Answers that do not come.
# ---------------------------------------------------------------------------
{
	query($node, q{UPDATE source SET name = 'again ' || id});
	$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => 2 });
	my $run = push_ok($node, 'all', 'two answers lost after the target had accepted');
	is($run->{delivered}, 730, 'all are delivered');
	is(stats()->{target_duplicates}, 0, 'and nothing was stored twice: the same key came again');
	cmp_ok(stats()->{key_replays}, '>=', 2, 'which the target saw');
}
{
	my $before = stats()->{target_accepted};
	query($node, q{UPDATE source SET name = 'lost ' || id WHERE id IN ('c1', 'c2')});
	$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => -1 });
	my $run = push_row($node, 'all');
	ok(!$run->{ok}, 'a target that never answers: the run fails');
	like($run->{err}, qr/08006.*does not answer.*HINT/s, 'with what to do');
	is(query($node, "SELECT id, status FROM jdy_deliveries WHERE push = 'all' AND status <> 'delivered' ORDER BY id"), "c1|in_doubt\nc2|in_doubt", 'its records are in doubt');
	$sim->delete('/_sim/fault');
	query($node, q{UPDATE source SET name = 'newer' WHERE id = 'c1'});
	push_ok($node, 'all', 'the next run');
	my %there = arrived();
	is("$there{c1}{payload}{name} $there{c2}{payload}{name}", 'newer lost c2', 'every record has its newest content');
	is(stats()->{target_out_of_order}, $returns, 'none was overtaken');
	is(stats()->{target_accepted} - $before, 3, 'each version was accepted once');
	is(stats()->{key_conflicts}, 0, 'no key was used for two requests');
	is(deliveries('all'), 'delivered 730', 'all are delivered');
}

# A batch that the target chokes on, while it takes others.
{
	query($node, q{UPDATE source SET name = 'choke ' || id});
	$sim->post('/_sim/config', { target_poison => 'batch' });
	query($node, q{CREATE VIEW choke AS SELECT id, name, location FROM target});
	$sim->post('/_sim/fault', { kind => 'status', status => 500, path => '/target/', times => 6, after => 2 });
	my $run = push_ok($node, 'all', 'some batches fail with HTTP 500 until their attempts are used up');
	is($run->{delivered} + $run->{dead}, 730, 'they are cut and arrive');
	is($run->{failed}, 0, 'none stays in doubt');
}

# ---------------------------------------------------------------------------
# Sources that are none.
# ---------------------------------------------------------------------------
{
	query($node, q{CREATE VIEW twice AS SELECT id, name FROM source UNION ALL SELECT 'c1', 'x'});
	query($node, "SELECT jdy_add_push('twice', 'target', 'twice', '$BATCH')");
	my $run = push_row($node, 'twice');
	like($run->{err}, qr/21000: the source of the push has no key.*DETAIL:.*"c1" stands in 2 rows.*HINT/s, 'an id twice is an error');
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_add_push('none', 'target', 'pg_catalog.pg_class', '$BATCH')");
	like($err, qr/42703: .*no column "id".*HINT/s, 'no id column');
	($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_add_push('none', 'target', 'target', '{\"effect\":\"EXECUTE\"}')");
	like($err, qr/22023: metadata lacks "api".*HINT/s, 'metadata without api');
	($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM jdy_sync('all')");
	like($err, qr/42809: "all" is a push, not a stream.*HINT:.*jdy_push/s, 'jdy_sync of a push');
	query($node, "SELECT jdy_drop_push('twice')");
}

# ---------------------------------------------------------------------------
# What is there now counts as delivered; a flood is held.
# ---------------------------------------------------------------------------
{
	query($node, q{INSERT INTO source SELECT 'd' || i, 'new', '{}' FROM generate_series(1, 2000) AS i});
	my $before = stats()->{target_requests};
	query($node, q{CREATE VIEW dated AS SELECT t.*, to_timestamp(0) AS at, interval '1 day 2 h' AS lasts FROM target t});
	query($node, "SET TimeZone = 'Asia/Shanghai'; SET IntervalStyle = iso_8601; SELECT jdy_add_push('base', 'target', 'dated', '$BATCH', baseline => true)");
	is(push_ok($node, 'base', 'a push with a baseline, whatever the settings of its session')->{pending}, 0, 'has nothing to send');
	is(stats()->{target_requests}, $before, 'and sends nothing');
	query($node, q{UPDATE source SET name = 'flood'});
	my $run = push_row($node, 'base');
	like($run->{err}, qr/55000: the push is held: too many records changed at once.*2730 of 2730.*HINT:.*jdy_resume/s, 'a flood of changes is held');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = 'base' AND what = 'push held' AND closed_at IS NULL"), '1', 'an incident says so');
	is(query($node, "SELECT jdy_resume('base', force => true)"), 't', 'jdy_resume with force');
	is(push_ok($node, 'base', 'lets it go')->{delivered}, 2730, 'all of it');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = 'base' AND closed_at IS NULL"), '0', 'the incident is closed');
	query($node, q{UPDATE source SET name = 'another flood'});
	like(push_row($node, 'base')->{err}, qr/the push is held/, 'once');
	query($node, "SELECT jdy_drop_push('base'); DELETE FROM source WHERE id LIKE 'd%'");
}

# ---------------------------------------------------------------------------
# Kill -9 of the runner while requests are on the wire.
# ---------------------------------------------------------------------------
for my $round (1 .. 4)
{
	query($node, "UPDATE source SET name = 'round $round ' || id");
	$sim->post('/_sim/config', { latency_ms => 30 });
	my $until = stats()->{target_accepted} + 100 * $round;
	query($node, "SELECT jdy_start('all')");
	poll_until(sub { stats()->{target_accepted} >= $until }, 'some have arrived');
	my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'");
	kill 'KILL', $pid if $pid;
	poll_until(sub { !$pid || !kill(0, $pid) }, 'the runner is dead');
	poll_until(sub { (eval { ($node->psql('postgres', 'SELECT 1', timeout => 10))[0] } // 1) == 0 }, 'the server is back');
	$sim->post('/_sim/config', { latency_ms => 0 });
	forget_calls($node);
	query($node, q{UPDATE source SET name = name || '!' WHERE id IN ('c1', 'c700')});
	push_ok($node, 'all', "round $round: a push after kill -9");
	my %there = arrived();
	is(scalar(grep { /^c/ && $there{$_}{payload}{name} !~ /^round $round $_!?$/ } keys %there), 0, 'every record has its newest content');
	is("$there{c1}{payload}{name} $there{c700}{payload}{name}", "round $round c1! round $round c700!", 'those that changed meanwhile, too');
	is(stats()->{target_out_of_order} - $returns + stats()->{key_conflicts}, 0, 'nothing was overtaken');
	is(stats()->{target_duplicates}, 0, 'nothing was stored twice');
}

# ---------------------------------------------------------------------------
# Another server: what the old one acknowledged says nothing of the new one.
# ---------------------------------------------------------------------------
{
	$sim->delete('/_sim/target');
	query($node, "CREATE SERVER elsewhere FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url/elsewhere', auth 'bearer')");
	query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere OPTIONS (token 'push-token')");
	query($node, q{SELECT jdy_add_push('moving', 'target', 'few', '{"api":"moving","effect":"EXECUTE"}')});
	is(push_ok($node, 'moving', 'a push')->{delivered}, 3, 'to the one');
	$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => -1 });
	query($node, q{UPDATE source SET name = 'moves' WHERE id = 'c1'});
	push_row($node, 'moving');
	$sim->delete('/_sim/fault');
	is(deliveries('moving'), 'delivered 2, in_doubt 1', 'whether a change arrived there is in doubt');
	query($node, q{SELECT jdy_alter_push('moving', server => 'target', batch_rows => 7)});
	is(deliveries('moving'), 'delivered 2, in_doubt 1', 'jdy_alter_push to the same server forgets nothing');
	like(($node->psql('postgres', q{SELECT jdy_alter_push('moving', server => 'elsewhere')}))[2],
		qr/NOTICE:  push "moving" begins anew.*DETAIL:.*"elsewhere".*HINT:.*ALTER SERVER target/s, 'to the other it says what follows');
	is(deliveries('moving'), '', 'nothing counts as delivered there');
	is(push_ok($node, 'moving', 'a push')->{delivered}, 3, 'to the other sends everything');
	my %there = arrived();
	is(join(' ', map { $there{$_}{path} } qw(c1 c2 c3)), join(' ', ('/target/elsewhere/moving') x 3), 'it arrives there');
	is($there{c1}{payload}{name}, 'moves', 'as it is now');
	like(($node->psql('postgres', q{SELECT jdy_alter_push('moving', metadata => '{"api":"moved","effect":"EXECUTE"}')}))[2],
		qr/NOTICE:  what push "moving" delivered under its old api counts as delivered.*HINT:.*jdy_add_push/s, 'another api keeps what is delivered, and says so');
	is(push_ok($node, 'moving', 'a push')->{pending}, 0, 'nothing is sent again');
	query($node, "SELECT jdy_drop_push('moving')");
}

done_testing();
