# Targets differ: in what their replies say of each record, in the form of a payload, in how one signs
# in, in how a record is deleted.  Metadata and the server say how; what arrives is what was meant.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64);
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
my $OPTIONS = "max_attempts '3', rate_window '100 ms', timeout '5 s'";

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', $OPTIONS)");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
query($node, q{CREATE TABLE source (id text PRIMARY KEY, name text);
	INSERT INTO source SELECT 'c' || i, '客户' || i FROM generate_series(1, 250) AS i});

# The error of a statement that must fail.
sub refusal
{
	my ($sql) = @_;
	my ($status, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	isnt($status, 0, 'refused');
	return $err;
}

# What the target holds: its last payload of each id.
sub arrived { return map { ($_->{id} => $_) } $sim->lines('/_sim/target/latest'); }
sub stats { return $sim->get('/_sim/stats'); }
sub chinese { return JSON::PP->new->utf8->decode("[\"$_[0]\"]")->[0]; }
sub deliveries { return query($node, "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jdy_deliveries WHERE push = '$_[0]' GROUP BY 1) s"); }
sub batch_of { return qq({"api":"$_[0]","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}$_[1]}); }

# ---------------------------------------------------------------------------
# The service says which items failed.
# ---------------------------------------------------------------------------
{
	$sim->post('/_sim/config', { target_poison => 'item' });
	$sim->post('/_sim/target/poison', { ids => [qw(c7 c20 c101)] });
	query($node, "SELECT jdy_add_push('items', 'target', 'source', '" . batch_of('items', ',"response":{"failed":"data.failed","id":"id","message":"message"}') . "')");
	my $run = push_ok($node, 'items', 'a push to a target that names the records it does not take');
	is("$run->{delivered} $run->{dead} $run->{calls}", '247 3 3', 'makes no call more');
	is(query($node, q{SELECT string_agg(id, ' ' ORDER BY id) FROM jdy_deliveries WHERE push = 'items' AND status = 'dead'}), 'c101 c20 c7', 'those are dead letters');
	is(query($node, q{SELECT request::jsonb = '{"id":"c20","name":"客户20"}', last_error, reply ~ 'failed', http_status FROM jdy_deliveries WHERE push = 'items' AND id = 'c20'}),
		't|the target did not take the record: 客户不存在|t|200', 'each with its own payload and the target\'s words');
	is(scalar(keys %{ { arrived() } }), 247, 'the others arrived');
	is(push_ok($node, 'items', 'another push')->{calls}, 0, 'leaves them alone');
	$sim->post('/_sim/target/poison', { ids => ['c101'] });
	is(query($node, "SELECT jdy_replay('items')"), '3', 'jdy_replay');
	$run = push_ok($node, 'items', 'a push after that');
	is("$run->{delivered} $run->{dead} $run->{calls}", '2 1 1', 'sends them again');

	# The reply of all: nothing is left to be accepted.
	$sim->post('/_sim/target/poison', { ids => [qw(c1 c2 c101)] });
	query($node, q{UPDATE source SET name = 'all' WHERE id IN ('c1', 'c2')});
	$run = push_ok($node, 'items', 'a batch of which every record fails');
	is("$run->{delivered} $run->{dead} $run->{calls}", '0 2 1', 'becomes dead letters');
	is(query($node, q{SELECT count(*) FROM jdysync.batch}), '0', 'nothing stays open');

	# A lost answer: the request of an earlier run, of which only the body is known.
	$sim->post('/_sim/target/poison', { ids => ['c3'] });
	query($node, q{UPDATE source SET name = 'lost' WHERE id IN ('c3', 'c4')});
	$sim->post('/_sim/fault', { kind => 'reset', path => '/target/', times => -1 });
	ok(!push_row($node, 'items')->{ok}, 'answers that stay away');
	$sim->delete('/_sim/fault');
	$run = push_ok($node, 'items', 'the next run');
	is("$run->{delivered} $run->{dead}", '1 1', 'sends them again and reads the reply');
	is(query($node, q{SELECT request::jsonb FROM jdy_deliveries WHERE push = 'items' AND id = 'c3'}), '{"id": "c3", "name": "lost"}', 'with the payload of the one that failed');
	query($node, "SELECT jdy_drop_push('items')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# It says only how many.
# ---------------------------------------------------------------------------
{
	$sim->post('/_sim/config', { target_poison => 'counts' });
	$sim->post('/_sim/target/poison', { ids => [qw(c7 c101)] });
	query($node, "SELECT jdy_add_push('counts', 'target', 'source', '" . batch_of('counts', ',"response":{"failed_count":"failed"}') . "')");
	my $run = push_ok($node, 'counts', 'a push to a target that only counts');
	is("$run->{delivered} $run->{dead}", '248 2', 'finds the records that it does not take');
	cmp_ok($run->{calls}, '<=', 3 + 2 * 15, 'by cutting batches');
	is(query($node, q{SELECT string_agg(id, ' ' ORDER BY id) FROM jdy_deliveries WHERE push = 'counts' AND status = 'dead'}), 'c101 c7', 'the right ones');
	is(scalar(keys %{ { arrived() } }), 248, 'the others arrived');
	cmp_ok(stats()->{target_duplicates}, '>', 0, 'some of them more than once');
	is(push_ok($node, 'counts', 'another push')->{calls}, 0, 'leaves them alone');

	# Some of a batch arrived, nobody knows which, and the run fails before that is found out: going back to
	# the old content is then a change.
	$sim->post('/_sim/target/poison', { ids => ['c30'] });
	query($node, q{UPDATE source SET name = 'B' WHERE id IN ('c30', 'c31')});
	$sim->post('/_sim/fault', { kind => 'status', status => 401, path => '/target/', after => 1, times => -1 });
	ok(!push_row($node, 'counts')->{ok}, 'a batch taken in part, then no right to send');
	$sim->delete('/_sim/fault');
	is({ arrived() }->{c31}{payload}{name}, 'B', 'one of its records arrived');
	query($node, q{UPDATE source SET name = '客户' || substr(id, 2) WHERE id IN ('c30', 'c31')});
	push_ok($node, 'counts', 'a push of the old contents');
	is({ arrived() }->{c31}{payload}{name}, chinese('客户31'), 'puts it right');
	query($node, "SELECT jdy_drop_push('counts')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# Each record's own key in its payload: the same in whatever batch it comes.
# ---------------------------------------------------------------------------
{
	$sim->post('/_sim/target/poison', { ids => [qw(c7 c101)] });
	query($node, "SELECT jdy_add_push('keyed', 'target', 'source', '" . (batch_of('keyed', ',"response":{"failed_count":"failed"}') =~ s/"array"/"array","key":"request_no"/r) . "')");
	like(query($node, q{SELECT body FROM jdy_preview('keyed', 1)}), qr/^\{"array":\[\{"request_no":"[0-9a-f]{64}","id":/, 'a preview shows the keys');
	my $run = push_ok($node, 'keyed', 'a push whose batches are cut');
	is("$run->{delivered} $run->{dead}", '248 2', 'arrives');
	my %keys;
	$keys{ $_->{id} }{ $_->{payload}{request_no} }++ for $sim->lines('/_sim/target?path=/target/keyed');
	is(scalar(grep { keys %$_ != 1 } values %keys), 0, 'each record has one key');
	cmp_ok(scalar(grep { (values %$_)[0] > 1 } values %keys), '>', 0, 'though some came more than once');
	is(scalar(keys %{ { map { ((keys %$_)[0] => 1) } values %keys } }), 248, 'of its own');
	is(push_ok($node, 'keyed', 'another push')->{calls}, 0, 'a key is no change');

	# In doubt, then cut by a later run, which has only the body.
	my %before = map { ($_->{id} => $_->{payload}) } $sim->lines('/_sim/target/latest?path=/target/keyed');
	query($node, q{UPDATE source SET name = 'keyed ' || id WHERE id IN ('c1', 'c2', 'c7')});
	$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => -1 });
	ok(!push_row($node, 'keyed')->{ok}, 'answers that stay away');
	$sim->delete('/_sim/fault');
	my ($there) = grep { $_->{id} eq 'c1' } $sim->lines('/_sim/target/latest?path=/target/keyed');
	$run = push_ok($node, 'keyed', 'the next run');
	is("$run->{delivered} $run->{dead}", '2 1', 'cuts what it sends again');
	my %after = map { ($_->{id} => $_->{payload}) } $sim->lines('/_sim/target/latest?path=/target/keyed');
	is($after{c1}{request_no}, $there->{payload}{request_no}, 'sends it under the same key');
	isnt($after{c1}{request_no}, $before{c1}{request_no}, 'which is not that of the content before');
	is($after{c1}{name}, 'keyed c1', 'with the new content');
	query($node, "SELECT jdy_drop_push('keyed')");
	$sim->delete('/_sim/target');
}
like(refusal("SELECT jdy_add_push('bad', 'target', 'source', '" . batch_of('bad', ',"response":{"failed":"a..b"}') . "')"),
	qr/22023: "failed" in "response" is not a path.*DETAIL:.*a\.\.b.*HINT/s, 'a path that is none');
$sim->post('/_sim/target/poison', { ids => [] });
$sim->post('/_sim/config', { target_poison => 'batch' });

# ---------------------------------------------------------------------------
# What counts as a success: any reply, unless the metadata asks for a sign of it.
# ---------------------------------------------------------------------------
{
	my $target = sub { return "SELECT jdy_$_[0]_push('signs', " . ($_[0] eq 'add' ? "'target', 'few', " : 'metadata => ') . "'{\"api\":\"signs\",\"effect\":\"EXECUTE\",\"delete\":{\"method\":\"DELETE\"}$_[1]}')"; };
	my $change = sub { return query($node, "UPDATE few SET name = name || '!' WHERE id = 's1'"); };
	my $answer = sub { return $sim->post('/_sim/fault', { kind => 'status', status => 200, path => '/target/', times => 3, body => $_[0] }); };
	my $standing = sub { return query($node, "SELECT status FROM jdy_deliveries WHERE push = 'signs' AND id = 's1'"); };

	query($node, q{CREATE TABLE few (id text PRIMARY KEY, name text); INSERT INTO few VALUES ('s1', 'A'), ('s2', 'A')});
	query($node, $target->('add', ''));
	$sim->post('/_sim/fault', { kind => 'empty', path => '/target/' });
	$answer->('{"hello":"world"}');
	is(push_ok($node, 'signs', 'HTTP 200 with an empty body, or a foreign one')->{delivered}, 2, 'counts as accepted by default');
	$sim->delete('/_sim/fault');

	query($node, $target->('alter', ',"response":{"success":"data.accepted"}'));
	for my $foreign ('', '{"hello":"world"}', '{"data":null}', '{"data":{"accepted":null}}', '{"data":[1]}', '[]', '{"data":{"accepted":}}')
	{
		$change->();
		$foreign eq '' ? $sim->post('/_sim/fault', { kind => 'empty', path => '/target/', times => 3 }) : $answer->($foreign);
		like(push_row($node, 'signs')->{err}, qr/08006: the target does not answer.*the reply is not what was asked for/s, "'$foreign' where \"success\" must be there");
		is($standing->(), 'in_doubt', 'is no answer');
		$sim->delete('/_sim/fault');
		is(push_ok($node, 'signs', 'the next run')->{delivered}, 1, 'sends it again');
	}
	for my $refusal ('{"data":{"accepted":false},"message":"not today"}', '{"errcode":4711,"description":"not today"}')
	{
		$change->();
		$answer->($refusal);
		is(push_ok($node, 'signs', "'$refusal'")->{dead}, 1, 'is a refusal');
		like(query($node, "SELECT last_error FROM jdy_deliveries WHERE push = 'signs' AND status = 'dead'"), qr/the service reported an error \(HTTP 200.*not today/, 'in the words of the target');
		$sim->delete('/_sim/fault');
	}
	query($node, $target->('alter', ',"response":{"success":"code","success_value":1}'));
	for my $yes ('{"code":1}', '{ "code" : "1" , "data" : 17}')
	{
		$change->();
		$answer->($yes);
		is(push_ok($node, 'signs', "'$yes' where success is code 1")->{delivered}, 1, 'is one');
		$sim->delete('/_sim/fault');
	}
	$change->();
	is(push_ok($node, 'signs', 'code 200 there')->{dead}, 1, 'is a refusal');
	query($node, $target->('alter', ',"response":{"success":"code","success_value":"SUCCESS"}'));
	for my $case ([ '{"code":"SUCCESS"}', '1 0' ], [ '{"code":"FAIL","msg":"not today"}', '0 1' ])
	{
		$change->();
		$answer->($case->[0]);
		my $run = push_ok($node, 'signs', "$case->[0] where success is a word");
		is("$run->{delivered} $run->{dead}", $case->[1], 'says it by that');
		$sim->delete('/_sim/fault');
	}
	query($node, q{DELETE FROM few WHERE id = 's2'});
	is(push_ok($node, 'signs', 'a deletion')->{delivered}, 1, 'needs no sign');
	like(refusal($target->('alter', ',"response":{"success_value":1}')), qr/22023: "success_value" in "response" has no place.*HINT:.*"success"/s, 'a value without a place');
	query($node, "SELECT jdy_drop_push('signs')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# A payload of the metadata's making.
# ---------------------------------------------------------------------------
my $ORDER = <<'END';
{"api":"orders","effect":"EXECUTE","id":"bill","request":[
 {"field":"id","value":"{{bill}}"},
 {"field":"amount","type":"float","value":"{{amount}}"},
 {"field":"title","value":"{{bill}} of {{customer}}"},
 {"field":"remark","value":""},
 {"field":"deep","type":"object","children":[{"field":"no","type":"int","value":"_function {{amount}} * 100"}]},
 {"field":"entries","type":"array","value":"lines","children":[
  {"field":"sku","value":"{{lines.sku}}"},{"field":"bill","value":"{{bill}}"},{"field":"qty","type":"int","value":"{{lines.qty}}"}]}]}
END
{
	query($node, q{CREATE TABLE bills (bill text, customer text, amount numeric, lines jsonb, payload jsonb);
		INSERT INTO bills VALUES ('b1', '客户', 12.50, '[{"sku":"A","qty":2},{"sku":"B","qty":"3"}]'), ('b2', NULL, NULL, NULL)});
	query($node, "SELECT jdy_add_push('orders', 'target', 'bills', '$ORDER')");
	my $run = push_ok($node, 'orders', 'a push with request[] as its template');
	is("$run->{delivered} $run->{calls}", '2 2', 'sends each record');
	my %there = arrived();
	is_deeply($there{b1}{payload}, { id => 'b1', amount => 12.5, title => chinese('b1 of 客户'), deep => { no => 1250 },
		entries => [ { sku => 'A', bill => 'b1', qty => 2 }, { sku => 'B', bill => 'b1', qty => 3 } ] }, 'in the form that it gives');
	is_deeply($there{b2}{payload}, { id => 'b2', amount => undef, title => 'b2 of ', deep => { no => undef }, entries => undef }, 'what is missing is null');
	is(query($node, q{SELECT body FROM jdy_preview('orders', 1)}), '', 'nothing is left to be sent');
	is(push_ok($node, 'orders', 'another push')->{calls}, 0, 'sends nothing: the same record makes the same payload');
	# A record that does not fit the template keeps no other from being sent.
	query($node, q{UPDATE bills SET lines = '[{"sku":"A","qty":"many"}]' WHERE bill = 'b1'; UPDATE bills SET amount = 3 WHERE bill = 'b2';
		INSERT INTO bills VALUES ('b3', 'x', 1, '[]')});
	$run = push_ok($node, 'orders', 'a push with a record that does not fit');
	is("$run->{delivered} $run->{dead}", '2 1', 'sends all others');
	like(query($node, q{SELECT id, status, last_error, request::jsonb ->> 'bill' FROM jdy_deliveries WHERE push = 'orders' AND status = 'dead'}),
		qr/^b1\|dead\|a field of the payload is not of its type: .*"qty" of record "b1" is "many", not of type int\.\|b1$/, 'it is a dead letter that names field and record');
	is(push_ok($node, 'orders', 'another push')->{dead}, 0, 'says so once');
	query($node, q{UPDATE bills SET lines = '[]' WHERE bill = 'b1'});
	is(push_ok($node, 'orders', 'a push when it was mended')->{delivered}, 1, 'sends it');
	query($node, "SELECT jdy_alter_push('orders', metadata => '" . ($ORDER =~ s/\{\{amount\}\} \* 100/{{lines}}::int/r) . "'); UPDATE bills SET lines = '[]'");
	like(push_row($node, 'orders')->{err}, qr/22023: no payload can be made of any record.*DETAIL:.*_function cannot be evaluated.*"no" of record "b\d".*HINT/s, 'when no record fits the run fails');
	is(deliveries('orders'), 'delivered 3', 'and none is a dead letter');
	query($node, "SELECT jdy_alter_push('orders', metadata => '" . ($ORDER =~ s/\{\{amount\}\} \* 100/{{amount}} \/ {{amount}}/r) . "'); UPDATE bills SET amount = 0 WHERE bill = 'b1'");
	$run = push_ok($node, 'orders', 'an expression that fails for one record');
	is("$run->{delivered} $run->{dead}", '2 1', 'is that record\'s trouble');
	query($node, "SELECT jdy_drop_push('orders'); SELECT jdy_add_push('orders', 'target', 'bills', '" . ($ORDER =~ s/\{\{amount\}\} \* 100/{{amount}} \/ {{amount}}/r) . "', baseline => true)");
	is(deliveries('orders'), 'delivered 2', 'a baseline leaves it out');
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_alter_push('orders', metadata => '" . ($ORDER =~ s/\{\{customer\}\}/{{custmer}}/r) . "')");
	like($err, qr/WARNING:  01000: .*names no column.*DETAIL:.*\{\{custmer\}\} in "title".*HINT/s, 'a path that leads nowhere is warned of');
	like(refusal("SELECT jdy_alter_push('orders', metadata => '" . ($ORDER =~ s/\{\{customer\}\}/{{CURRENT_TIME}}/r) . "')"),
		qr/0A000: a payload cannot hold the current time.*DETAIL:.*"title".*HINT/s, 'a payload that changes by itself is refused');
	query($node, "SELECT jdy_drop_push('orders')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# Qeasy: a token for all, an envelope of its own, counts in the reply.
# ---------------------------------------------------------------------------
my $STORE = '/v2/open-api/business/64a023bf-17a5-34b3-a05a-124131122ede/store';
my $QEASY = qq({"api":"$STORE","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"content"},"response":{"failed_count":"content.failed"}});
{
	$sim->post('/_sim/config', { qeasy_rate_limit => 0 });
	query($node, "CREATE SERVER qeasy FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', auth 'qeasy', calls_per_minute '0', $OPTIONS)");
	query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER qeasy OPTIONS (app_key 'qeasyapp0001', app_secret 'qeasysecret000000001')");
	query($node, "SELECT jdy_add_push('qeasy', 'qeasy', 'source', '$QEASY'); SELECT jdy_add_push('qeasy2', 'qeasy', 'source', '" . ($QEASY =~ s/64a0/75b1/r) . "')");
	is(query($node, q{SELECT headers ~ 'Authorization: \*\*\*' AND headers !~ 'PSJ' FROM jdy_preview('qeasy', 1)}), 't', 'a preview masks the token');
	my $run = push_ok($node, 'qeasy', 'a push to Qeasy');
	is("$run->{delivered} $run->{calls}", '250 4', 'signs in and sends three batches');
	push_ok($node, 'qeasy2', 'another push, in another process');
	is(stats()->{qeasy_token_calls}, 1, 'uses the same token');
	is(scalar($sim->lines("/_sim/target/latest?path=$STORE")), 250, 'all arrived');
	is(query($node, q{SELECT bool_and(ok) FROM jdy_check('qeasy')}), 't', 'jdy_check');

	for my $errors (qw(http 200))
	{
		$sim->post('/_sim/config', { qeasy_errors => $errors });
		$sim->post('/_sim/expire_tokens');
		query($node, "UPDATE source SET name = 'renewed $errors ' || id WHERE id IN ('c1', 'c2')");
		$run = push_ok($node, 'qeasy', "errors as $errors: a push with a token that has ended");
		is("$run->{delivered} $run->{dead} $run->{calls}", '2 0 3', 'gets a new one and goes on');
	}
	is(stats()->{qeasy_token_calls}, 3, 'once each');
	$sim->post('/_sim/fault', { kind => 'status', status => 401, path => '/store', times => -1 });
	query($node, "UPDATE source SET name = 'refused ' || id WHERE id = 'c1'");
	like(push_row($node, 'qeasy')->{err}, qr/28000: call to the service failed: access token refused.*HINT/s, 'a token that is refused for ever fails the run');
	is(stats()->{qeasy_token_calls}, 4, 'after one more');
	$sim->delete('/_sim/fault');
	push_ok($node, 'qeasy', 'the next run');

	$sim->post('/_sim/target/poison', { ids => ['c2'] });
	query($node, "UPDATE source SET name = 'counted ' || id WHERE id IN ('c1', 'c2', 'c3')");
	$run = push_ok($node, 'qeasy', 'a record that Qeasy does not store');
	is("$run->{delivered} $run->{dead}", '2 1', 'is found by the counts');
	$sim->post('/_sim/target/poison', { ids => [] });

	$sim->post('/_sim/config', { qeasy_rate_limit => 2, qeasy_rate_window_ms => 900, retry_after => 1 });
	query($node, "UPDATE source SET name = 'waited ' || id");
	$run = push_ok($node, 'qeasy', 'more calls than Qeasy allows');
	is("$run->{delivered} $run->{dead}", '250 0', 'wait and arrive');
	$sim->post('/_sim/config', { qeasy_rate_limit => 0, retry_after => 'none' });

	for my $errors (qw(http 200))
	{
		$sim->post('/_sim/config', { qeasy_errors => $errors });
		query($node, "CREATE SERVER wrong$errors FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', auth 'qeasy', $OPTIONS)");
		query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER wrong$errors OPTIONS (app_key 'qeasyapp0001', app_secret 'wr0ngsecret000000001')");
		query($node, "SELECT jdy_alter_push('qeasy2', server => 'wrong$errors')");
		my $err = push_row($node, 'qeasy2')->{err};
		like($err, qr/28000: call to the service failed.*40101.*HINT:.*app_secret/s, "errors as $errors: a wrong secret says so");
		unlike($err, qr/wr0ngsecret/, 'and is not shown');
		is(query($node, "SELECT string_agg(step, ' ') FROM jdy_check('wrong$errors') WHERE NOT ok"), 'credentials', 'jdy_check finds it, too');
	}
	is(query($node, q{SELECT count(*) FROM jdy_calls WHERE concat(url, error) ~ 'secret0000'}), '0', 'no call shows a secret');
	is(query($node, q{SELECT count(*) > 0 FROM jdy_calls WHERE url LIKE '%/v2/oauth'}), 't', 'though token calls are there');
	query($node, "SELECT jdy_drop_push('qeasy'); SELECT jdy_drop_push('qeasy2')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# A webhook: its url is the secret.
# ---------------------------------------------------------------------------
{
	$sim->post('/_sim/config', { target_auth => 'none' });
	query($node, "CREATE SERVER hook FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "', auth 'webhook', $OPTIONS)");
	query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (path '/target/r0bot/a%20b', query 'access_token=t0ken%2Fx1234567890&v=1', secret 'SECh00k')");
	query($node, q{CREATE VIEW message AS SELECT id, jsonb_build_object('id', id, 'msgtype', 'text', 'text', jsonb_build_object('content', name)) AS payload FROM source WHERE id = 'c1'});
	query($node, q{SELECT jdy_add_push('hook', 'hook', 'message', '{"api":"robot","effect":"EXECUTE"}')});
	is(query($node, "SELECT url, headers ~ 'Authorization' FROM jdy_preview('hook')"), $sim->url . '/***?***|f', 'a preview masks path and query');
	is(push_ok($node, 'hook', 'a push to a webhook')->{delivered}, 1, 'arrives');
	my %there = arrived();
	is($there{c1}{path}, '/target/r0bot/a b', 'at the path of the mapping');
	my ($request) = grep { ($_->{url} // '') =~ /r0bot/ } @{ as_list($sim->get('/_sim/requests?n=50')) };
	my ($token, $at, $sign) = $request->{url} =~ /\/a%20b\?access_token=([^&]*)&v=1&timestamp=(\d{13})&sign=([^&]*)$/;
	is($token, 't0ken%2Fx1234567890', 'with its query, as it was given');
	cmp_ok(abs($at / 1000 - time), '<', 60, 'the time in milliseconds');
	is($sign =~ s/%([0-9A-F]{2})/chr hex $1/ger, hmac_sha256_base64("$at\nSECh00k", 'SECh00k') . '=', 'and the signature of time and secret');
	is(query($node, q{SELECT string_agg(DISTINCT url, ' ') FROM jdy_calls c JOIN jdy_runs r USING (run_id) WHERE r.name = 'hook'}), $sim->url . '/***?***', 'no call shows them');

	# A refusal that quotes the url, a url that cannot be reached, a mapping with a query alone.
	$sim->post('/_sim/fault', { kind => 'status', status => 400, path => '/target/r0bot', body => '{"code":400,"message":"no robot at /target/r0bot/a%20b?access_token=t0ken%2Fx1234567890&v=1 with SECh00k, that is t0ken%2Fx1234567890"}' });
	query($node, q{UPDATE source SET name = 'refused' WHERE id = 'c1'});
	is(push_ok($node, 'hook', 'a refusal')->{dead}, 1, 'is a dead letter');
	unlike(query($node, q{SELECT concat(last_error, reply, request) FROM jdy_deliveries WHERE push = 'hook'}), qr/r0bot|t0ken|SECh00k/, 'that shows no secret');
	query($node, q{ALTER USER MAPPING FOR CURRENT_USER SERVER hook OPTIONS (DROP path, DROP secret)});
	query($node, q{SELECT jdy_alter_push('hook', metadata => '{"api":"target/robot","effect":"EXECUTE"}'); UPDATE source SET name = 'query' WHERE id = 'c1'});
	is(query($node, "SELECT url FROM jdy_preview('hook')"), $sim->url . '/target/robot?***', 'without a path in the mapping the api counts');
	is(push_ok($node, 'hook', 'a push there')->{delivered}, 1, 'arrives');
	query($node, q{SELECT jdy_drop_push('hook')});
	$sim->post('/_sim/config', { target_auth => 'bearer' });
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# What is gone from the source is deleted at the target, once, where the metadata says how.
# ---------------------------------------------------------------------------
sub deleted { return join ' ', sort map { $_->{id} } grep { $_->{method} eq 'DELETE' || $_->{path} =~ /remove/ } $sim->lines('/_sim/target'); }
{
	query($node, q{CREATE TABLE shop (id text PRIMARY KEY, name text, deleted_at timestamptz);
		INSERT INTO shop SELECT 's' || lpad(i::text, 3, '0'), 'shop ' || i FROM generate_series(1, 600) AS i});
	query($node, "SELECT jdy_add_push('keep', 'target', 'shop', '" . batch_of('keep', '') . "')");
	push_ok($node, 'keep', 'a push without "delete"');
	query($node, q{DELETE FROM shop WHERE id = 's001'});
	is(push_ok($node, 'keep', 'a record that is gone')->{pending}, 0, 'is no business of it');
	query($node, "SELECT jdy_drop_push('keep')");
	$sim->delete('/_sim/target');

	my $delete = ',"delete":{"api":"shops/remove","method":"POST","body":{"id":"{{id}}","why":"{{id}} is gone","n":1}}';
	query($node, "SELECT jdy_add_push('shop', 'target', 'shop', '" . batch_of('shops', $delete) . "')");
	is(push_ok($node, 'shop', 'a push with "delete"')->{delivered}, 599, 'sends what is there');
	query($node, q{DELETE FROM shop WHERE id IN ('s002', 's600'); UPDATE shop SET deleted_at = now() WHERE id = 's300'; UPDATE shop SET name = 'changed' WHERE id = 's003'});
	is(query($node, q{SELECT string_agg(concat_ws(' ', method, regexp_replace(url, '.*/target/', ''), body::jsonb ->> 'why'), ', ' ORDER BY body COLLATE "C" DESC) FROM jdy_preview('shop')}),
		'POST shops/remove s600 is gone, POST shops/remove s300 is gone, POST shops/remove s002 is gone, POST shops', 'a preview shows the deletions');
	my $run = push_ok($node, 'shop', 'a push after records are gone, or marked as deleted');
	is("$run->{pending} $run->{delivered} $run->{calls}", '4 4 4', 'sends their deletions');
	is(deleted(), 's002 s300 s600', 'once each');
	is(query($node, "SELECT string_agg(id || ' ' || status, ', ' ORDER BY id) FROM jdy_deliveries WHERE push = 'shop' AND deletion"), 's002 delivered, s300 delivered, s600 delivered', 'which can be seen');
	is(query($node, "SELECT deleted FROM jdy_runs WHERE name = 'shop' ORDER BY run_id DESC LIMIT 1"), '3', 'and is counted');
	is(push_ok($node, 'shop', 'another push')->{calls}, 0, 'sends nothing');
	query($node, q{INSERT INTO shop VALUES ('s002', 'shop 2'); UPDATE shop SET deleted_at = NULL WHERE id = 's300'});
	is(push_ok($node, 'shop', 'records that come back')->{delivered}, 2, 'are sent again, although their content is the same');
	query($node, q{DELETE FROM shop WHERE id = 's002'});
	push_ok($node, 'shop', 'one that goes again');
	is(deleted(), 's002 s002 s300 s600', 'is deleted again');

	# A deletion that the target refuses.
	$sim->post('/_sim/target/poison', { ids => ['s010'] });
	query($node, q{DELETE FROM shop WHERE id IN ('s010', 's011')});
	$run = push_ok($node, 'shop', 'a deletion that the target refuses');
	is("$run->{delivered} $run->{dead}", '1 1', 'is a dead letter');
	is(query($node, "SELECT id, deletion, request::jsonb ->> 'why' FROM jdy_deliveries WHERE push = 'shop' AND status = 'dead'"), 's010|t|s010 is gone', 'with its request');
	is(push_ok($node, 'shop', 'another push')->{calls}, 0, 'leaves it alone');
	$sim->post('/_sim/target/poison', { ids => [] });
	is(query($node, "SELECT jdy_replay('shop')"), '1', 'jdy_replay');
	is(push_ok($node, 'shop', 'a push after that')->{delivered}, 1, 'sends it again');

	# One without an answer is sent again under the same key; one that is there no more is done.
	query($node, q{DELETE FROM shop WHERE id = 's020'});
	$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => -1 });
	ok(!push_row($node, 'shop')->{ok}, 'an answer that stays away');
	is(query($node, "SELECT id, status, deletion FROM jdy_deliveries WHERE push = 'shop' AND status <> 'delivered'"), 's020|in_doubt|t', 'leaves a doubt');
	$sim->delete('/_sim/fault');
	push_ok($node, 'shop', 'the next run');
	is(scalar(grep { $_ eq 's020' } split / /, deleted()), 1, 'the target deletes once');
	$sim->post('/_sim/fault', { kind => 'status', status => 410, path => '/target/', body => '{"code":410}' });
	query($node, q{DELETE FROM shop WHERE id = 's021'});
	is(push_ok($node, 'shop', 'HTTP 410')->{delivered}, 1, 'says that it is deleted already');

	# One in doubt when the metadata stops saying how to delete.
	query($node, q{DELETE FROM shop WHERE id = 's022'});
	$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => -1 });
	ok(!push_row($node, 'shop')->{ok}, 'another answer that stays away');
	$sim->delete('/_sim/fault');
	query($node, "SELECT jdy_alter_push('shop', metadata => '" . batch_of('shops', '') . "')");
	is(push_ok($node, 'shop', 'without "delete" in the metadata')->{calls}, 0, 'it cannot be sent again');
	like(query($node, "SELECT status, last_error FROM jdy_deliveries WHERE push = 'shop' AND id = 's022'"), qr/^dead\|its deletion got no answer/, 'and is a dead letter');
	query($node, q{INSERT INTO shop VALUES ('s022', 'shop 22')});
	is(push_ok($node, 'shop', 'when it comes back')->{delivered}, 1, 'it is sent, though the content is the same');

	# By the parameter id, with the method of its own.
	query($node, "SELECT jdy_alter_push('shop', metadata => '" . batch_of('shops', ',"delete":{"method":"DELETE"}') . "')");
	query($node, q{DELETE FROM shop WHERE id = 's030'});
	is(query($node, "SELECT method || ' ' || url || ' ' || body FROM jdy_preview('shop')"), "DELETE $url/shops?id=s030 ", 'without a body');
	push_ok($node, 'shop', 'a deletion without a body');
	like(deleted(), qr/s030/, 'arrives');

	# The brake.
	query($node, q{CREATE TABLE aside AS SELECT * FROM shop; DELETE FROM shop});
	my $before = stats()->{target_requests};
	like(push_row($node, 'shop')->{err}, qr/55000: the push is held: too many records are gone from its source at once.*DETAIL:.*would be deleted.*HINT:.*jdy_resume/s, 'a source that is empty all of a sudden is held');
	is(stats()->{target_requests}, $before, 'and nothing is sent');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = 'shop' AND what = 'push held' AND closed_at IS NULL"), '1', 'an incident says so');
	query($node, q{INSERT INTO shop SELECT * FROM aside WHERE id > 's050'});
	like(push_row($node, 'shop')->{err}, qr/DETAIL:  \d\d of 599 records would be deleted/, 'more than a twentieth, too');
	query($node, q{INSERT INTO shop SELECT * FROM aside ON CONFLICT DO NOTHING});
	is(push_ok($node, 'shop', 'when it is back')->{calls}, 0, 'nothing was changed');
	query($node, q{DELETE FROM shop WHERE id > 's100'});
	query($node, "SELECT jdy_resume('shop', force => true)");
	$run = push_ok($node, 'shop', 'jdy_resume with force');
	cmp_ok($run->{delivered}, '>', 400, 'lets them go');
	is(query($node, "SELECT count(*) FROM jdy_deliveries d WHERE push = 'shop' AND deletion AND id > 's100'"), $run->{delivered} + 1, 'all of them');

	# Rows without a payload are there, though they are not sent.
	query($node, q{CREATE VIEW quiet AS SELECT id, CASE WHEN name <> 'hush' THEN to_jsonb(s) END AS payload FROM shop s});
	query($node, "SELECT jdy_add_push('quiet', 'target', 'quiet', '" . batch_of('quiet', ',"delete":{"method":"DELETE"}') . "')");
	push_ok($node, 'quiet', 'a source with payloads');
	query($node, q{UPDATE shop SET name = 'hush' WHERE id = 's040'});
	is(push_ok($node, 'quiet', 'a row whose payload is null')->{pending}, 0, 'is neither sent nor deleted');

	like(refusal("SELECT jdy_alter_push('quiet', metadata => '" . batch_of('quiet', ',"delete":{"body":{"name":"{{name}}"}}') . "')"), qr/22023: a deletion knows nothing of the record but its id.*DETAIL:.*\{\{name\}\}.*HINT/s, 'a deletion by another field');
	like(refusal("SELECT jdy_alter_push('quiet', metadata => '" . batch_of('quiet', ',"delete":{"api":"x/{{id}}"}') . "')"), qr/0A000: a path cannot hold a field.*DETAIL:.*x\/\{\{id\}\}.*HINT/s, 'a deletion with the id in its path');
	query($node, "SELECT jdy_drop_push('quiet'); SELECT jdy_drop_push('shop')");
	$sim->delete('/_sim/target');
}

# Kill -9 of the runner while deletions are on the wire.
{
	query($node, q{CREATE TABLE crash AS SELECT 'k' || i AS id FROM generate_series(1, 1000) AS i});
	query($node, "SELECT jdy_add_push('crash', 'target', 'crash', '" . batch_of('crash', ',"delete":{"method":"DELETE"}') . "')");
	push_ok($node, 'crash', 'a thousand records');
	query($node, q{DELETE FROM crash WHERE id IN (SELECT 'k' || i FROM generate_series(1, 45) AS i)});
	$sim->post('/_sim/config', { latency_ms => 30 });
	query($node, "SELECT jdy_start('crash')");
	poll_until(sub { (split / /, deleted()) >= 10 }, 'some are deleted');
	my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'");
	kill 'KILL', $pid if $pid;
	poll_until(sub { !$pid || !kill(0, $pid) }, 'the runner is dead');
	poll_until(sub { (eval { ($node->psql('postgres', 'SELECT 1', timeout => 10))[0] } // 1) == 0 }, 'the server is back');
	$sim->post('/_sim/config', { latency_ms => 0 });
	forget_calls($node);
	query($node, q{INSERT INTO crash VALUES ('k1'), ('k45')});
	push_ok($node, 'crash', 'a push after kill -9');
	my %times;
	$times{$_}++ for split / /, deleted();
	is(scalar(grep { !/^k(1|45)$/ } keys %times), 43, 'all that is gone is deleted');
	is(join(' ', grep { $times{$_} > 1 } keys %times), '', 'once each');
	my %there = arrived();
	is(join(' ', map { $there{$_}{method} } qw(k1 k45)), 'POST POST', 'what came back is there');
	is(query($node, q{SELECT count(*) FROM jdysync.batch}), '0', 'nothing stays open');
	query($node, "SELECT jdy_drop_push('crash')");
	$sim->delete('/_sim/target');
}

# ---------------------------------------------------------------------------
# Kingdee itself: customers are saved by request[] and deleted by their numbers.
# ---------------------------------------------------------------------------
my $SAVE = <<'END';
{"api":"/jdy/v2/bd/customer","effect":"EXECUTE","method":"POST","id":"number","request":[
 {"field":"number","value":"{{number}}"},{"field":"name","value":"{{name}}"},{"field":"rate","type":"float","value":"{{rate}}"},
 {"field":"contact_persons","type":"array","value":"people","children":[{"field":"contact_person","value":"{{people.who}}"},{"field":"mobile","value":"{{people.tel}}"}]}],
 "delete":{"api":"/jdy/v2/sys/common_operate","method":"POST","body":{"entity_number":"bd_customer","numbers":["{{id}}"],"operate_type":"delete"}}}
END
sub customers { return map { ($_->{number} => $_) } $sim->lines("/_sim/truth?entity=customer$_[0]"); }
{
	query($node, q{CREATE TABLE fresh (number text, name text, rate text, people jsonb);
		INSERT INTO fresh VALUES ('N1', '新客户一', '1.5', '[{"who":"张三","tel":"13800000000"},{"who":"李四","tel":"13900000000"}]'), ('N2', '新客户二', NULL, NULL), ('N3', '', NULL, NULL)});
	query($node, "SELECT jdy_add_push('saves', 'kingdee', 'fresh', '$SAVE')");
	my $run = push_ok($node, 'saves', 'a push of customers into Kingdee');
	is("$run->{delivered} $run->{dead}", '2 1', 'saves them, but for one without a name');
	like(query($node, "SELECT last_error FROM jdy_deliveries WHERE push = 'saves' AND id = 'N3'"), qr/errcode 1030002000/, 'which has the service\'s code');
	my %there = customers('');
	is($there{N1}{data}{bomentity}[1]{mobile}, '13900000000', 'with their contacts');
	ok($there{N2}, 'and without');
	query($node, q{DELETE FROM fresh WHERE number = 'N1'});
	is(push_ok($node, 'saves', 'one that is gone')->{delivered}, 1, 'is deleted');
	%there = customers('');
	ok(!$there{N1} && $there{N2}, 'it and no other');
	$sim->post('/_sim/change', { entity => 'customer', op => 'delete', ids => [ $there{N2}{id} ] });
	query($node, q{DELETE FROM fresh WHERE number = 'N2'});
	$run = push_ok($node, 'saves', 'one that was deleted there by hand');
	is("$run->{delivered} $run->{dead}", '1 0', 'is done');
	query($node, "SELECT jdy_drop_push('saves')");
}

# ---------------------------------------------------------------------------
# Nothing of it is in the log.
# ---------------------------------------------------------------------------
unlike(join("\n", grep { !/statement: .*USER MAPPING/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile)), qr/PSJ[0-9a-f]{8}|wr0ngsecret|qeasysecret|r0bot|t0ken|SECh00k|push-token/, 'the log shows no secret');
done_testing();

sub as_list
{
	my ($value) = @_;

	return ref $value eq 'ARRAY' ? $value : $value->{requests};
}
