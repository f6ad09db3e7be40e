# Customers pulled from one account of Kingdee are pushed into another, which has customers of its own, some of
# the same numbers.  Whatever happens on the way, each is there once: found by its number, else created,
# and known by its id from then on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;

my $SAVE_PATH = '/jdy/v2/bd/customer';
my $DETAIL_PATH = '/jdy/v2/bd/customer_detail';

my $a = start_sim(customers => 120, seed => 1, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\n");
my $b = start_sim(customers => 40, seed => 9, set => { %NO_LIMITS, account_id => '1000000000000000009' });
pull_server($node, 'second', server => { rate_window => '500 ms' });

# Contacts as a save takes them: a detail says 1 for a man and 0 for a woman, a save 1 and 2.
# No contacts are an empty array: null would leave those that are there.
query($node, q{SELECT jdy_add_stream('customer', 'kingdee', settle => '1 s', overlap => '1 s')});
query($node, q{CREATE VIEW customer_out AS
	SELECT s.id, s.number, s.data ->> 'name' AS name, s.data ->> 'remark' AS remark, s.data ->> 'addr' AS addr,
		s.data ->> 'bank_account' AS bank_account, s.data -> 'credit_limit' AS credit_limit,
		(SELECT COALESCE(jsonb_agg(p || jsonb_build_object('gender', CASE p ->> 'gender' WHEN '0' THEN '2' ELSE p ->> 'gender' END)), '[]')
		 FROM jsonb_array_elements(s.data -> 'bomentity') AS p) AS people
	FROM jdysync.staging_customer s WHERE s.detailed_at IS NOT NULL AND s.deleted_at IS NULL});
my $REQUEST = <<'JSON';
"request":[
 {"field":"number","value":"{{number}}"},
 {"field":"name","value":"{{name}}"},
 {"field":"remark","value":"{{remark}}"},
 {"field":"addr","value":"{{addr}}"},
 {"field":"bank_account","value":"{{bank_account}}"},
 {"field":"credit_limit","type":"float","value":"{{credit_limit}}"},
 {"field":"ignore_warn","type":"bool","value":true},
 {"field":"contact_persons","type":"array","value":"people","children":[
  {"field":"contact_person","value":"{{people.contact_person}}"},
  {"field":"gender","type":"int","value":"{{people.gender}}"},
  {"field":"birthday","value":"{{people.birthday}}"},
  {"field":"mobile","value":"{{people.mobile}}"},
  {"field":"phone","value":"{{people.phone}}"},
  {"field":"email","value":"{{people.email}}"}]}]
JSON
my $METADATA = qq({"api":"$SAVE_PATH","effect":"EXECUTE","method":"POST","id":"id",$REQUEST});

sub customers
{
	my ($sim) = @_;
	my %by_number;

	push @{ $by_number{ $_->{number} } }, $_ for $sim->lines('/_sim/truth?entity=customer');
	return \%by_number;
}

# What is sent of a customer, as its detail shows it.
sub shown
{
	my ($customer) = @_;
	my $data = $customer->{data};
	my @people = map { my $p = $_; join '|', map { $p->{$_} // '' } qw(contact_person gender birthday mobile phone email) } @{ $data->{bomentity} };

	return join "\n", (map { $data->{$_} // '' } qw(number name remark addr bank_account)), $data->{credit_limit} + 0, @people;
}

# A test: each customer of A is in B, once, as it is in A; B has $extra more of its own.
sub in_step
{
	my ($what, $extra) = @_;
	my ($there, $here) = (customers($a), customers($b));
	my @faults;

	for my $number (sort keys %$there)
	{
		my $found = $here->{$number} // [];

		push @faults, "$number: " . @$found . ' in B' if @$found != 1;
		push @faults, "$number differs:\n" . shown($there->{$number}[0]) . "\n---\n" . shown($found->[0]) if @$found == 1 && shown($there->{$number}[0]) ne shown($found->[0]);
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", splice @faults, 0, 3), '', $what);
	return is(scalar(keys %$here) - scalar(keys %$there), $extra, 'and nothing more');
}

my ($saves, $looks) = (0, 0);

# "saves look-ups" at B since it was called last.
sub calls
{
	my $paths = paths($b);
	my @now = ($paths->{$SAVE_PATH} // 0, $paths->{$DETAIL_PATH} // 0);
	my $said = join ' ', $now[0] - $saves, $now[1] - $looks;

	($saves, $looks) = @now;
	return $said;
}
sub change { my ($sim, %change) = @_; return @{ $sim->post('/_sim/change', { entity => 'customer', %change })->{ids} }; }
sub fault { return $b->post('/_sim/fault', {@_}); }
sub save_fault { return fault(method => 'POST', path => $SAVE_PATH, @_); }
sub sync_and_push { my ($what) = @_; sync_ok($node, 'customer', "$what: a sync"); return push_row($node, 'step'); }
sub standings { return query($node, "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jdy_deliveries WHERE push = '$_[0]' GROUP BY 1) s"); }

# Twelve of B's own have numbers that A has, too.
my @numbers = sort keys %{ customers($a) };
my @shared = (sort map { $_->{id} } $b->lines('/_sim/truth?entity=customer'))[0 .. 11];
change($b, op => 'set', id => $shared[$_], fields => { number => $numbers[ 5 * $_ ] }) for 0 .. 11;
my $OWN = 40 - 12;

subtest 'the first push' => sub {
	sync_ok($node, 'customer', 'the first load');
	query($node, "SELECT jdy_add_push('step', 'second', 'customer_out', '$METADATA')");
	like(query($node, q{SELECT body FROM jdy_preview('step', 1)}), qr/^\{"number":/, 'a preview knows no ids');
	my $run = push_ok($node, 'step', 'customers of one account, into another');
	is("$run->{delivered} $run->{dead}", '120 0', 'arrive');
	in_step('each once', $OWN);
	is(calls(), '120 120', 'by one look-up and one save each');
	my $here = customers($b);
	is(join(' ', map { $here->{ $numbers[ 5 * $_ ] }[0]{id} } 0 .. 11), join(' ', @shared), 'those that were there before are the same records');
	is(query($node, q{SELECT count(*) FROM jdysync.counterpart}), '120', 'all ids are kept');
	is(query($node, "SELECT target_id FROM jdy_deliveries WHERE push = 'step' AND id = (SELECT id FROM jdysync.staging_customer WHERE number = '$numbers[5]')"), $shared[1], 'and shown');
	is(push_ok($node, 'step', 'another push')->{calls}, 0, 'to have learned an id is no change');
	is(query($node, q{SELECT count(*) FROM jdysync.batch}), '0', 'nothing is open');
};

subtest 'changes' => sub {
	my @ids = (sort map { $_->{id} } $a->lines('/_sim/truth?entity=customer'));
	change($a, op => 'update', ids => [ @ids[ 0 .. 19 ] ]);
	change($a, op => 'contact', ids => [ @ids[ 15 .. 24 ] ]);
	my ($renamed) = change($a, op => 'set', id => $ids[30], fields => { number => 'RENUMBERED-1' });
	sync_ok($node, 'customer', 'a sync');
	like(query($node, q{SELECT body FROM jdy_preview('step', 1)}), qr/^\{"id":"\d+","number":/, 'a preview shows the id that will be sent');
	is(push_ok($node, 'step', 'what changed in A')->{delivered}, 26, 'is sent');
	is(calls(), '26 0', 'by one call each');
	in_step('a changed number included', $OWN);
	change($a, op => 'insert', count => 5);
	is(sync_and_push('new ones')->{delivered}, 5, 'are sent');
	is(calls(), '5 5', 'after a look-up');
	in_step('all are there', $OWN);
};

# The newest records of A.
my $LAST = '(length(id), id) IN (SELECT length(id), id FROM jdysync.staging_customer ORDER BY length(id) DESC, id DESC LIMIT 10)';

subtest 'answers that are lost' => sub {
	change($a, op => 'insert', count => 10);
	save_fault(kind => 'reset_after', times => 10);
	my $run = sync_and_push('each first save without its answer');
	is("$run->{delivered} $run->{dead}", '10 0', 'a push delivers all');
	in_step('nothing is doubled', $OWN);
	my $created = query($node, qq{SELECT count(*) FROM jdy_deliveries WHERE push = 'step' AND version = 2 AND $LAST});
	cmp_ok($created, '>=', 4, 'what was created and is updated is a version of its own');
	is(calls() =~ s/.* //r, 10 + $created, 'each of these was looked up once more');

	change($a, op => 'insert', count => 4);
	save_fault(kind => 'reset', times => 2);
	save_fault(kind => 'status', status => 503, times => 2);
	is(sync_and_push('saves that never arrived')->{delivered}, 4, 'are sent again');
	in_step('once', $OWN);
	like(calls(), qr/^8 [678]$/, 'after they were looked for, unless it is certain that they had not left');
	is(query($node, qq{SELECT count(*) FROM jdy_deliveries WHERE push = 'step' AND version > 1 AND id IN (SELECT id FROM jdysync.staging_customer ORDER BY length(id) DESC, id DESC LIMIT 4)}), '0', 'under the same key');

	# An update names what it changes: it is just repeated.
	my @ids = (sort map { $_->{id} } $a->lines('/_sim/truth?entity=customer'))[ 40 .. 44 ];
	change($a, op => 'update', ids => \@ids);
	save_fault(kind => 'reset_after', times => 5);
	is(sync_and_push('updates without their answers')->{delivered}, 5, 'are delivered');
	is(calls(), '10 0', 'by the same request again');
	in_step('as they are', $OWN);
};

subtest 'answers that are lost until the run ends' => sub {
	# What happened to the saves; whether look-ups are answered afterwards; calls of the next run; version in the end.
	for my $case ([ 'reset_after', 1, '4 0', 2 ], [ 'reset_after', 0, '4 3', 2 ], [ 'reset', 1, '4 3', 1 ])
	{
		my ($kind, $looks_answered, $expected, $version) = @$case;

		change($a, op => 'insert', count => 3);
		save_fault(kind => $kind, times => -1);
		fault(kind => 'reset', path => $DETAIL_PATH, after => 3, times => -1) unless $looks_answered;
		my $run = sync_and_push("$kind for ever");
		like($run->{err}, qr/08006: the target does not answer.*DETAIL:.*3 records/s, 'the run fails');
		is(standings('step') =~ s/delivered \d+, //r, 'in_doubt 3', 'three are in doubt');
		my @open = split /\n/, query($node, q{SELECT key || ' ' || body FROM jdysync.batch ORDER BY 1});
		calm($b);
		calls();

		# One of them changes meanwhile.
		change($a, op => 'update', ids => [ (reverse sort map { $_->{id} } $a->lines('/_sim/truth?entity=customer'))[0] ]);
		$run = sync_and_push('later');
		is("$run->{delivered} $run->{dead}", '4 0', 'the next run delivers them, the newest last');
		is(calls(), $expected, $expected eq '4 0' ? 'updates as they were' : 'after a look-up each');
		in_step('once', $OWN);
		is(query($node, qq{SELECT string_agg(version::text, ' ' ORDER BY version) FROM jdy_deliveries WHERE push = 'step' AND id IN (SELECT id FROM jdysync.staging_customer ORDER BY length(id) DESC, id DESC LIMIT 3)}),
			join(' ', $version, $version, $version + 1), 'under the same key, or one of its own');
		is(scalar(grep { / \{"id":/ } @open), $kind eq 'reset_after' && $looks_answered ? 3 : 0, 'a found one was an update before it was sent');
	}
	is(query($node, q{SELECT count(*) FROM jdysync.batch}), '0', 'nothing is open');
};

subtest 'limits, tokens, trouble on the way' => sub {
	change($a, op => 'insert', count => 30);
	$b->post('/_sim/config', { rate_limit => 20, rate_window_ms => 500 });
	fault(kind => 'status', status => 503, path => $DETAIL_PATH, after => 3, times => 2);
	fault(kind => 'reset', path => $DETAIL_PATH, after => 5, times => 2);
	fault(kind => 'html', path => $DETAIL_PATH, after => 8);
	save_fault(kind => 'cut', after => 4, times => 2);
	save_fault(kind => 'errcode', errcode => 1000002001, after => 9, times => 2);
	$b->post('/_sim/expire_tokens');
	my $run = sync_and_push('429, an expired token, and faults');
	is("$run->{delivered} $run->{dead}", '30 0', 'all arrive') or diag($run->{err});
	in_step('once', $OWN);
	calm($b, rate_limit => 0, rate_window_ms => 60000);

	# A detail of another record.
	change($a, op => 'insert', count => 1);
	fault(kind => 'status', status => 200, path => $DETAIL_PATH, body => '{"errcode":0,"description":"success","data":{"id":"1500000000000001024","number":"ANOTHER"}}');
	is(sync_and_push('a detail of another number')->{dead}, 1, 'finds nothing, and proves nothing');
	like(query($node, q{SELECT last_error FROM jdy_deliveries WHERE push = 'step' AND status = 'dead'}), qr/record of another number/, 'which the dead letter says');
	query($node, q{SELECT jdy_replay('step')});
	is(push_ok($node, 'step', 'a replay')->{delivered}, 1, 'delivers it');
	in_step('once', $OWN);

	# Look-ups that get no answer to the end.
	change($a, op => 'insert', count => 3);
	fault(kind => 'reset', path => $DETAIL_PATH, times => -1);
	calls();
	like(sync_and_push('look-ups without an answer')->{err}, qr/08006/, 'the run fails');
	is(calls() =~ s/ .*//r, '0', 'nothing is created');
	is(query($node, q{SELECT count(*) FROM jdysync.batch}), '0', 'nothing is open');
	calm($b);
	fault(kind => 'status', status => 429, path => $DETAIL_PATH, times => -1);
	like(push_row($node, 'step')->{err}, qr/53400/, 'HTTP 429 to the end, too');
	calm($b);
	is(push_ok($node, 'step', 'later')->{delivered}, 3, 'they are sent');
	in_step('once', $OWN);
};

subtest 'killed in the middle' => sub {
	for my $times (1 .. 2)
	{
		change($a, op => 'insert', count => 60);
		sync_ok($node, 'customer', 'a sync');
		calls();
		$b->post('/_sim/config', { latency_ms => 30 });
		query($node, "SELECT jdy_start('step')");
		poll_until(sub { (paths($b)->{$SAVE_PATH} // 0) >= $saves + 12 }, 'some are saved');
		my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'");
		kill 'KILL', $pid if $pid;
		poll_until(sub { !$pid || !kill(0, $pid) }, 'the runner is dead');
		poll_until(sub { (eval { ($node->psql('postgres', 'SELECT 1', timeout => 10))[0] } // 1) == 0 }, 'the server is back');
		$b->post('/_sim/config', { latency_ms => 0 });
		forget_calls($node);
		cmp_ok(query($node, q{SELECT count(*) FROM jdysync.batch}), '>', 0, 'saves are open after kill -9');
		my $run = push_ok($node, 'step', 'a push after that');
		is($run->{dead}, 0, 'nothing is dead');
		in_step('all are there, once', $OWN);
	}
	is(standings('step') =~ s/ \d+$//r, 'delivered', 'delivered');
};

subtest 'records that B deletes, or makes anew' => sub {
	my ($there, $here) = (customers($a), customers($b));
	my @some = (sort keys %$there)[ 50 .. 53 ];

	change($b, op => 'delete', ids => [ map { $here->{$_}[0]{id} } @some ]);
	my ($again) = change($b, op => 'insert', fields => { number => $some[3] });
	change($a, op => 'update', ids => [ map { $there->{$_}[0]{id} } @some ]);
	calls();
	is(sync_and_push('four whose ids are no more')->{delivered}, 4, 'are delivered');
	in_step('three created anew, one found', $OWN);
	is(customers($b)->{ $some[3] }[0]{id}, $again, 'that which somebody made by hand');
	is(calls(), '8 4', 'by a refused save, a look-up and another save each');
	change($a, op => 'update', ids => [ map { $there->{$_}[0]{id} } @some ]);
	is(sync_and_push('the next change')->{delivered}, 4, 'is delivered');
	is(calls(), '4 0', 'by one call each');

	# It says so, but means something else.
	$here = customers($b);
	save_fault(kind => 'errcode', errcode => 1030002003, description => '客户类别不存在');
	change($a, op => 'update', ids => [ $there->{ $some[0] }[0]{id} ]);
	my $run = sync_and_push('"does not exist" of something else');
	is("$run->{delivered} $run->{dead}", '0 1', 'is a dead letter');
	like(query($node, q{SELECT errcode, last_error FROM jdy_deliveries WHERE push = 'step' AND status = 'dead'}), qr/^1030002003\|.*1030002003/, 'with the words of the save');
	is(calls(), '1 1', 'after the id was looked up and found right');
	query($node, q{SELECT jdy_replay('step')});
	is(push_ok($node, 'step', 'when it was mended')->{delivered}, 1, 'it arrives');
	is(calls(), '1 0', 'the id is still known');
	is(customers($b)->{ $some[0] }[0]{id}, $here->{ $some[0] }[0]{id}, 'and the same');
};

subtest 'forms of a reply' => sub {
	for my $not_found (qw(null_data empty_data http404 1030002003))
	{
		$b->post('/_sim/config', { not_found => $not_found, save_map => $not_found eq 'http404' ? 'filled' : 'empty', ids_as_numbers => $not_found eq 'null_data' ? JSON::PP::true : JSON::PP::false });
		change($a, op => 'insert', count => 2);
		calls();
		is(sync_and_push("not found as $not_found")->{delivered}, 2, 'new ones are created');
		is(calls(), '2 2', 'after one look-up each');
		change($a, op => 'update', ids => [ (reverse sort map { $_->{id} } $a->lines('/_sim/truth?entity=customer'))[ 0, 1 ] ]);
		is(sync_and_push('their change')->{delivered}, 2, 'is delivered');
		is(calls(), '2 0', 'by the ids of the reply');
		in_step('once', $OWN);
	}
	$b->post('/_sim/config', { ids_as_numbers => JSON::PP::false, save_map => 'empty', not_found => '1030002003' });
	query($node, q{DELETE FROM jdysync.counterpart});
	$b->post('/_sim/config', { ids_as_numbers => JSON::PP::true });
	change($a, op => 'update', ids => [ (sort map { $_->{id} } $a->lines('/_sim/truth?entity=customer'))[0] ]);
	is(sync_and_push('ids as numbers')->{delivered}, 1, 'are found, too');
	is(calls(), '1 1', 'by a look-up');
	in_step('once', $OWN);
	$b->post('/_sim/config', { ids_as_numbers => JSON::PP::false });
};

subtest 'a look-up that does not see yet what was saved' => sub {
	pull_server($node, 'patient', server => { rate_window => '60 s' });
	query($node, q{CREATE TABLE late (id text, number text, name text); INSERT INTO late VALUES ('l1', 'LATE-1', 'late 1'), ('l2', 'LATE-2', 'late 2')});
	query($node, qq{SELECT jdy_add_push('late', 'patient', 'late', '{"api":"$SAVE_PATH","effect":"EXECUTE","request":[{"field":"number","value":"{{number}}"},{"field":"name","value":"{{name}}"}]}')});
	$b->post('/_sim/config', { details_lag_ms => 700 });
	save_fault(kind => 'reset_after', times => 2);
	my $run = push_ok($node, 'late', 'answers lost, and details that lag behind');
	is("$run->{delivered} $run->{dead}", '2 0', 'are looked up until they show');
	$b->post('/_sim/config', { details_lag_ms => 0 });
	$OWN += 2;
	in_step('nothing is doubled', $OWN);

	# Refused as known although nothing was lost: a name that another has.
	query($node, q{CREATE TABLE twins (id text, number text, name text)});
	my ($name) = map { $_->{data}{name} } $b->lines('/_sim/truth?entity=customer');
	query($node, qq{INSERT INTO twins VALUES ('t1', 'TWIN-1', '$name'), ('t2', 'TWIN-2', 'nobody else')});
	query($node, qq{SELECT jdy_add_push('twins', 'second', 'twins', '{"api":"$SAVE_PATH","effect":"EXECUTE","request":[{"field":"number","value":"{{number}}"},{"field":"name","value":"{{name}}"}]}')});
	calls();
	$run = push_ok($node, 'twins', 'a name that is taken');
	is("$run->{delivered} $run->{dead}", '1 1', 'is a dead letter');
	is(calls(), '2 3', 'after one more look-up');
	like(query($node, q{SELECT id, errcode, last_error FROM jdy_deliveries WHERE push = 'twins' AND status = 'dead'}), qr/^t1\|1030002002\|.*名称/, 'with the words of the save');
	$OWN++;
};

subtest 'payloads with an id of their own, or without a number' => sub {
	my ($known) = (reverse sort map { $_->{id} } $b->lines('/_sim/truth?entity=customer'));
	query($node, qq{CREATE TABLE named (id text, kingdee_id text, number text, name text);
		INSERT INTO named VALUES ('n1', '$known', NULL, 'by its id'), ('n2', NULL, 'NAMED-2', 'by its number'), ('n3', '', 'NAMED-3', 'an empty id')});
	query($node, qq{SELECT jdy_add_push('named', 'second', 'named', '{"api":"$SAVE_PATH","effect":"EXECUTE","request":[{"field":"id","value":"{{kingdee_id}}"},{"field":"number","value":"{{number}}"},{"field":"name","value":"{{name}}"}]}')});
	calls();
	is(push_ok($node, 'named', 'an id in the payload')->{delivered}, 3, 'is delivered');
	is(calls(), '3 2', 'without a look-up; null and empty ids are none');
	is(query($node, q{SELECT string_agg(id, ' ' ORDER BY id) FROM jdy_deliveries WHERE push = 'named' AND target_id IS NOT NULL}), 'n2 n3', 'the ids of the others are kept');
	query($node, q{UPDATE named SET name = name || '!'});
	is(push_ok($node, 'named', 'their change')->{delivered}, 3, 'is delivered');
	is(calls(), '3 0', 'by one call each');
	my %there = map { ($_->{id} => $_) } $b->lines('/_sim/truth?entity=customer');
	is($there{$known}{data}{name}, 'by its id!', 'where it belongs');
	is(customers($b)->{"NAMED-$_"}[0]{data}{name}, $_ == 2 ? 'by its number!' : 'an empty id!', 'and there') for 2, 3;
	$OWN += 2;

	query($node, q{CREATE TABLE unnumbered (id text, name text); INSERT INTO unnumbered VALUES ('u1', 'the first'), ('u2', 'the second')});
	query($node, qq{SELECT jdy_add_push('unnumbered', 'second', 'unnumbered', '{"api":"$SAVE_PATH","effect":"EXECUTE","request":[{"field":"name","value":"{{name}}"}]}')});
	save_fault(kind => 'reset_after');
	my $before = scalar(keys %{ customers($b) });
	my $run = push_ok($node, 'unnumbered', 'records that the target numbers, one without its answer');
	is("$run->{delivered} $run->{dead}", '1 1', 'which is a dead letter');
	is(calls(), '2 0', 'and not sent twice: it cannot be looked up');
	is(scalar(keys %{ customers($b) }) - $before, 2, 'it is there');
	query($node, q{UPDATE unnumbered SET name = name || '!' WHERE id = (SELECT id FROM jdy_deliveries WHERE push = 'unnumbered' AND status = 'delivered')});
	is(push_ok($node, 'unnumbered', 'a change of the other')->{delivered}, 1, 'is delivered');
	is(scalar(keys %{ customers($b) }) - $before, 2, 'to the same record');
	$OWN += 2;
	in_step('nothing else changed', $OWN);
};

subtest 'look-ups that metadata names, or does not want' => sub {
	query($node, q{CREATE TABLE others (id text, code text, name text); INSERT INTO others VALUES ('o1', 'OTHER-1', 'other')});
	my $request = '"request":[{"field":"number","value":"{{code}}"},{"field":"name","value":"{{name}}"}]';
	query($node, qq{SELECT jdy_add_push('others', 'second', 'others', '{"api":"$SAVE_PATH","effect":"EXECUTE","lookup":false,$request}')});
	calls();
	push_ok($node, 'others', '"lookup": false');
	is(calls(), '1 0', 'saves at once');
	is(query($node, q{SELECT count(*) FROM jdysync.counterpart JOIN jdysync.push USING (push_id) WHERE name = 'others'}), '0', 'and keeps no id');
	query($node, q{UPDATE others SET name = 'changed'});
	is(push_ok($node, 'others', 'a change')->{dead}, 1, 'is refused then');
	# The list, asked for a parameter that it does not know: more comes back than can be looked through.
	query($node, qq{SELECT jdy_alter_push('others', metadata => '{"api":"$SAVE_PATH","effect":"EXECUTE","lookup":{"api":"$SAVE_PATH"},$request}'); SELECT jdy_replay('others')});
	is(push_ok($node, 'others', 'a list that ignores what it is asked for')->{dead}, 1, 'is no answer');
	like(query($node, q{SELECT last_error FROM jdy_deliveries WHERE push = 'others'}), qr/more records than can be looked through/, 'and creates nothing');
	calls();
	query($node, qq{SELECT jdy_alter_push('others', metadata => '{"api":"$SAVE_PATH","effect":"EXECUTE","lookup":{"api":"$DETAIL_PATH"},$request}')});
	query($node, q{UPDATE others SET name = 'found'});
	is(push_ok($node, 'others', 'a detail that is named')->{delivered}, 1, 'finds it');
	is(calls(), '1 1', 'by one call');
	# A list that filters, here by a part of the name: what it finds is compared.
	change($b, op => 'insert', fields => { name => 'found as well' });
	query($node, qq{SELECT jdy_alter_push('others', metadata => '{"api":"$SAVE_PATH","effect":"EXECUTE","lookup":{"api":"$SAVE_PATH","param":"search","number":"name"},$request}')});
	query($node, q{UPDATE others SET code = 'OTHER-2'; INSERT INTO others VALUES ('o2', 'OTHER-3', 'as well')});
	is(push_ok($node, 'others', 'a list that is named')->{delivered}, 2, 'finds one, and not the other');
	is(calls(), '4 0', 'by one call each');
	is(scalar(@{ customers($b)->{'OTHER-1'} // [] }), 0, 'it has another number then');
	is(customers($b)->{'OTHER-2'}[0]{data}{name}, 'found', 'the same record');
	is(customers($b)->{'OTHER-3'}[0]{data}{name}, 'as well', 'and a new one');
	my (undef, undef, $err) = $node->psql('postgres', qq{\\set VERBOSITY verbose\nSELECT jdy_add_push('groups', 'second', 'others', '{"api":"/jdy/v2/bd/supplier_group","effect":"EXECUTE",$request}')});
	like($err, qr/WARNING:  01000: records are not looked up at the target.*DETAIL:.*supplier_group.*HINT/s, 'a save of which no look-up is known is warned of');
	(undef, undef, $err) = $node->psql('postgres', qq{\\set VERBOSITY verbose\nSELECT jdy_add_push('batches', 'second', 'others', '{"api":"$SAVE_PATH","effect":"EXECUTE","lookup":{"api":"$DETAIL_PATH"},"operation":{"method":"batchArraySave","rows":10,"rowsKey":"a"},$request}')});
	like($err, qr/ERROR:  0A000: records of this push cannot be looked up.*DETAIL:.*operation.*HINT/s, 'batches are not looked up');
	is(query($node, q{SELECT jdy_alter_push('others', server => 'kingdee')}), '', 'another server');
	is(query($node, q{SELECT count(*) FROM jdysync.counterpart JOIN jdysync.push USING (push_id) WHERE name = 'others'}), '0', 'has other ids');
	query($node, q{SELECT jdy_drop_push('twins')});
	is(query($node, q{SELECT count(*) FROM jdysync.counterpart c WHERE NOT EXISTS (SELECT FROM jdysync.push p WHERE p.push_id = c.push_id)}), '0', 'ids go with their push');
};

subtest 'deleted, and back' => sub {
	query($node, q{CREATE TABLE coming (number text PRIMARY KEY, name text); INSERT INTO coming VALUES ('GO-1', 'one'), ('GO-2', 'two')});
	query($node, qq{SELECT jdy_add_push('coming', 'second', 'coming', '{"api":"$SAVE_PATH","effect":"EXECUTE","id":"number","delete":{"api":"/jdy/v2/sys/common_operate","method":"POST","body":{"entity_number":"bd_customer","numbers":["{{id}}"],"operate_type":"delete"}}}')});
	push_ok($node, 'coming', 'a source without "request"');
	query($node, q{DELETE FROM coming WHERE number = 'GO-1'});
	is(push_ok($node, 'coming', 'one that is gone')->{delivered}, 1, 'is deleted');
	is(query($node, q{SELECT string_agg(c.id, ' ') FROM jdysync.counterpart c JOIN jdysync.push p USING (push_id) WHERE p.name = 'coming'}), 'GO-2', 'and its id forgotten');
	query($node, q{INSERT INTO coming VALUES ('GO-1', 'again')});
	calls();
	is(push_ok($node, 'coming', 'back again')->{delivered}, 1, 'it is created');
	is(calls(), '1 1', 'after a look-up');
};

unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ s/^.*statement: .*$//mgr, qr/f2adcfef73369bfc4e1384677d38a0ff|0123456789abcdef0123456789abcdef01234567/, 'the log shows no secret');
done_testing();
