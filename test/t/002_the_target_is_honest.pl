# The simulator's targets of pushes take what a real one takes and refuse the
# rest, fail in every way they are told to, and keep an exact account of what
# they accepted.  Every test of pushes believes that account.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use FindBin;
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../perl";
use JdyWire;

binmode(Test::More->builder->$_, ':utf8') for qw(output failure_output todo_output);
start_simulator('--customers', 252, '--suppliers', 5, '--materials', 5, '--orders', 12);

my $empty_path = '/target/' . percent(encode('UTF-8', '写入空操作'));

# One push.  The body may be JSON text.  Options: method, key, path, wait, headers (undef leaves one out).
sub push_to
{
	my ($body, %o) = @_;
	my %headers = ('Content-Type' => 'application/json', Authorization => 'Bearer push-token', %{ $o{headers} // {} });

	$headers{'Idempotency-Key'} = $o{key} if defined $o{key};
	delete $headers{$_} for grep { !defined $headers{$_} } keys %headers;
	return http($o{method} // 'POST', $o{path} // '/target/customer', \%headers,
		ref $body ? $json->encode($body) : $body, $o{wait});
}

# Its HTTP status and body, for one comparison.
sub said
{
	my $reply = push_to(@_);

	return "$reply->{status} $reply->{body}";
}

sub accepted_n { return qq(200 {"code":200,"message":"success","data":{"accepted":$_[0]}}); }

# What the target accepted, each line decoded.
sub account { return map { $json->decode($_) } split(/\n/, control('GET', 'target' . ($_[0] // ''))); }

sub account_ids { return join(' ', map { $_->{id} } account(@_)); }

sub counted { my $stats = control('GET', 'stats'); return join(' ', map { $stats->{$_} } @_); }

# ---------------------------------------------------------------------------

subtest 'an object, an array and a wrapped array are records' => sub {
	fresh();
	my $before = control('GET', 'now')->{now_ms};

	is(said({ id => '1', name => '甲' }), accepted_n(1), 'an object is one record');
	is(said([ { id => 2 }, { number => 'KH3', name => 'c' } ], method => 'PUT'), accepted_n(2), 'an array is many');
	is(said({ array => [ { id => 'x' }, { id => 'y' } ], more => 1 }, method => 'PATCH', key => 'k1'), accepted_n(2), 'so is a member that is an array');
	is(said([]), accepted_n(0), 'an empty array is none');
	my @all = account();
	is(join(' ', map { "$_->{seq}:$_->{id}" } @all), '1:1 2:2 3:KH3 4:x 5:y', 'in order, by id or else by number');
	is_deeply($all[0]{payload}, { id => '1', name => '甲' }, 'with the payload');
	is(join(' ', map { $_->{method} } @all), 'POST PUT PUT PATCH PATCH', 'and the method');
	is($json->encode([ map { $_->{key} } @all ]), '[null,null,null,"k1","k1"]', 'and the key');
	ok($all[0]{at_ms} >= $before && $all[4]{at_ms} <= control('GET', 'now')->{now_ms}, 'and the time');

	config(target_rows_key => 'rows', target_id => 'bill_no');
	is(said({ rows => [ { bill_no => 7, id => 'no' } ] }), accepted_n(1), 'other names by switch');
	is(said({ array => [], number => 'n' }), accepted_n(1), 'an array under another name is a member');
	is((account())[5]{id} . (account())[6]{id}, '7n', 'and the id is what the switch says');
	is(control('DELETE', 'target')->{ok}, JSON::PP::true, 'all can be forgotten');
	is(account_ids(), '', 'and is');
	push_to({ bill_no => 1 });
	is((account())[0]{seq}, 1, 'the count begins anew');
};

subtest 'a payload is kept byte for byte' => sub {
	fresh();
	my $text = qq({ "id" : "a" ,\n\t"x":0.10,"y":1e2,"z":"\\u00e9\\n\\"", "w":9007199254740993,"e":{},"l":[ ]});

	push_to($text);
	push_to("[ 1e0 ]");
	push_to("[$text , {\"id\":\"b\",\"v\":0.1}\n]");
	push_to(qq({"first":{"array":[1]},"s":"]}","array" : [{"id":"c","v":1.50},$text]}));
	my @lines = split(/\n/, control('GET', 'target'));
	(my $flat = $text) =~ s/\n(?=\t)/ /;
	is(scalar(@lines), 5, 'each record is a line');
	like($lines[$_], qr/"payload":\Q$flat\E,"key"/, "line $_") for 0, 1, 4;
	like($lines[2], qr/"payload":\{"id":"b","v":0\.1\},/, 'the second of an array');
	like($lines[3], qr/"payload":\{"id":"c","v":1\.50\},/, 'the first under the rows key');
};

subtest 'what is no record is refused whole' => sub {
	fresh();
	for my $case (
		[ 'no JSON', '{"id":1' ],
		[ 'nothing', '' ],
		[ 'bytes behind it', '{"id":1}x' ],
		[ 'a text', '"id"' ],
		[ 'two members of one name', '{"id":1,"id":2}' ],
		[ 'invalid UTF-8', "{\"id\":\"\xc3\x28\"}" ],
		[ 'an element that is no object', '[{"id":1},2]' ],
		[ 'a record without an id', '[{"id":1},{"name":"x"}]' ],
		[ 'an empty id', '{"id":""}' ],
		[ 'an id that is an object', '{"id":{}}' ])
	{
		my ($name, $body) = @$case;
		my $reply = push_to($body);
		is("$reply->{status} " . $json->decode($reply->{body})->{code}, '400 400', $name);
	}
	is(push_to('{"id":1}', headers => { 'Content-Type' => 'application/x-www-form-urlencoded' })->{status}, 415, 'another type');
	is(push_to('{"id":1}', headers => { 'Content-Type' => undef })->{status}, 415, 'no type');
	is(push_to('{"id":1}', headers => { 'Content-Type' => 'application/json; charset=utf-8' })->{status}, 200, 'a character set may follow');
	is(http('GET', '/target/customer', { Authorization => 'Bearer push-token' })->{status}, 405, 'GET is no push');
	is(account_ids(), '1', 'only the good one was stored');
	is(counted('target_requests'), 14, 'all were counted');
};

subtest 'any UTF-8 path, when it is percent-encoded' => sub {
	fresh();
	is(said({ id => 1 }, path => $empty_path), accepted_n(1), 'Chinese');
	is(said({ id => 2 }, path => '/target/a/b%20c+d?x=1'), accepted_n(1), 'deeper, with a query');
	is(join(' ', map { $_->{path} } account()), '/target/写入空操作 /target/a/b c+d', 'stored as it is meant');
	is(account_ids('?path=' . percent(encode('UTF-8', '/target/写入空操作'))), '1', 'and asked for by that');
	is(account_ids('?path=/target/nothing'), '', 'another one holds nothing');
	is(push_to({ id => 3 }, path => encode('UTF-8', '/target/写入空操作'))->{status}, 400, 'raw bytes are refused');
	is(push_to({ id => 3 }, path => '/target/%c3%28')->{status}, 400, 'and invalid UTF-8');
	is(push_to({ id => 3 }, path => '/target/a%00b')->{status}, 400, 'and a NUL');
	is(push_to({ id => 3 }, path => '/target/')->{status}, 400, 'and no path at all');
	isnt(push_to({ id => 3 }, path => '/target')->{status}, 200, 'nor is the base itself a target');
	is(account_ids(), '1 2', 'nothing of that was stored');
};

subtest 'a DELETE may name its record outside a body' => sub {
	fresh();
	is(said(undef, method => 'DELETE', path => '/target/customer/4711'), accepted_n(1), 'as the last part of the path');
	is(said(undef, method => 'DELETE', path => '/target/customer?id=4712'), accepted_n(1), 'as a parameter');
	is(said({ id => 4713 }, method => 'DELETE'), accepted_n(1), 'or in a body after all');
	is(push_to(undef, method => 'DELETE', path => '/target/customer/')->{status}, 400, 'but it must');
	is($json->encode([ map { [ $_->{id}, $_->{path}, $_->{payload} ] } account() ]),
		'[["4711","/target/customer",null],["4712","/target/customer",null],["4713","/target/customer",{"id":4713}]]', 'the account');
};

subtest 'callers sign in as the switch says' => sub {
	fresh();
	my $try = sub { return push_to({ id => 1 }, headers => { Authorization => $_[0] })->{status}; };
	my $basic = 'Basic ' . encode_base64('push-user:push-password', '');

	is($try->($_), 401, 'bearer: not ' . ($_ // 'nothing')) for undef, 'Bearer wrong', 'Bearer push-token ', 'push-token', $basic, 'Bearer plain-token';
	is($try->('bearer push-token'), 200, 'bearer: the token');
	is(push_to({ id => 1 }, headers => { Authorization => undef })->{headers}{'www-authenticate'}, 'Bearer', 'and says what it wants');
	config(target_token => 'other');
	is($try->('Bearer push-token') . $try->('Bearer other'), '401200', 'bearer: another token');

	config(target_auth => 'basic');
	is($try->($_), 401, 'basic: not ' . ($_ // 'nothing'))
	  for undef, 'Bearer other', 'Basic ' . encode_base64('push-user:wrong', ''), "${basic}x", 'Basic ';
	is($try->($basic), 200, 'basic: user and password');
	config(target_user => '用户', target_password => 'a:b');
	is($try->('Basic ' . encode_base64(encode('UTF-8', '用户:a:b'), '')), 200, 'basic: others');

	config(target_auth => 'none');
	is($try->($_), 200, 'none: ' . ($_ // 'nothing')) for undef, 'Bearer wrong';
	is(scalar(account()), 6, 'only those were stored');
};

subtest 'a key is answered once and stored once' => sub {
	fresh();
	my $a = { id => 'a', v => 1 };

	is(said($a, key => 'k1'), accepted_n(1), 'a key');
	is(said($a, key => 'k1'), accepted_n(1), 'again: the same answer');
	is(account_ids(), 'a', 'stored once');
	is(push_to({ id => 'a', v => 2 }, key => 'k1')->{status}, 422, 'another body under that key');
	is(push_to($a, key => 'k1', method => 'PUT')->{status}, 422, 'another method');
	is(push_to($a, key => 'k1', path => '/target/other')->{status}, 422, 'another path');
	is(push_to('{"id":"a", "v":1}', key => 'k1')->{status}, 422, 'not byte for byte');
	is(said($a, key => 'k2'), accepted_n(1), 'another key');
	is(counted(qw(key_replays key_conflicts target_accepted target_duplicates)), '1 4 2 1', 'all that is counted');

	is(push_to('{', key => 'k3')->{status}, 400, 'a refusal');
	is(said($a, key => 'k3'), accepted_n(1), 'is forgotten with its key');
	config(target_remembers_refusals => JSON::PP::true);
	is(push_to('{"v":1}', key => 'k4')->{status}, 400, 'unless it is to be remembered');
	is(push_to($a, key => 'k4')->{status}, 422, 'then the key is used up');
	control('POST', 'target/poison', { ids => ['bad'] });
	is(push_to({ id => 'bad' }, key => 'k5')->{status}, 400, 'poison');
	control('POST', 'target/poison', { ids => [] });
	is(push_to({ id => 'bad' }, key => 'k5')->{status}, 400, 'the same answer though it is poison no more');
	is(push_to({ id => 'bad' }, key => 'k6')->{status}, 200, 'a new key is a new try');

	fresh(target_dedupe => JSON::PP::false);
	push_to($a, key => 'k1') for 1 .. 3;
	is(push_to({ id => 'a', v => 2 }, key => 'k1')->{status}, 200, 'without the switch keys decide nothing');
	is(counted(qw(target_accepted key_replays key_conflicts)), '4 2 1', 'but are counted');

	fresh(target_requires_key => JSON::PP::true);
	is(push_to($a)->{status} . push_to($a, key => '')->{status} . push_to($a, key => 'x' x 256)->{status}, '400400400', 'a key that is missing, empty or too long');
	is(push_to($a, key => 'k')->{status}, 200, 'a key that is there');
	control('DELETE', 'target');
	is(push_to({ id => 'b' }, key => 'k')->{status}, 200, 'keys are forgotten with the rest');
};

subtest 'repetitions and relapses are counted, each id and path for itself' => sub {
	fresh();
	my %v = map { $_ => { id => 'r', v => $_, w => { x => 0.5 } } } 1 .. 3;

	push_to($v{1});
	is(counted(qw(target_duplicates target_out_of_order)), '0 0', 'the first');
	push_to('{"w":{"x":0.50},"v":1,"id":"r"}');
	is(counted(qw(target_duplicates target_out_of_order)), '1 0', 'the same in another layout');
	push_to($v{2});
	push_to($v{3});
	is(counted(qw(target_duplicates target_out_of_order)), '1 0', 'newer ones');
	push_to($v{2});
	is(counted(qw(target_duplicates target_out_of_order)), '1 1', 'an older one after a newer one');
	push_to($v{2});
	is(counted(qw(target_duplicates target_out_of_order)), '2 1', 'and the same again');
	push_to([ { id => 'r', v => 4 }, { id => 's', v => 1, w => { x => 0.5 } } ]);
	push_to($v{1}, path => '/target/other');
	is(counted(qw(target_duplicates target_out_of_order)), '2 1', 'another id or path is none of them');

	my @latest = account('/latest');
	is(join(' ', map { "$_->{path}:$_->{id}:$_->{payload}{v}:$_->{times}" } @latest),
		'/target/customer:r:4:7 /target/customer:s:1:1 /target/other:r:1:1', 'the latest of each');
	is($latest[0]{seq}, 7, 'with its place in the account');
	is(scalar(account('/latest?path=/target/other')), 1, 'or of one path');
	control('POST', 'stats/reset');
	is(counted(qw(target_requests target_accepted target_duplicates target_out_of_order)), '0 0 0 0', 'counters begin anew');
	is(scalar(account()), 9, 'the account does not');
};

subtest 'poison is refused in four ways' => sub {
	my @batch = map { { id => $_ } } 'a', 'bad', 'c', 4;

	fresh();
	control('POST', 'target/poison', { ids => [ 'bad', 4 ] });
	is(push_to(\@batch)->{status} . push_to({ id => 'bad' })->{status} . push_to([ { id => '4' } ])->{status}, '400400400', 'batch: HTTP 400');
	is(account_ids(), '', 'batch: nothing is stored');
	is(said([ @batch[ 0, 2 ] ]), accepted_n(2), 'batch: without poison');

	fresh(target_poison => 'errcode');
	control('POST', 'target/poison', { ids => [ 'bad', 4 ] });
	my $reply = push_to(\@batch);
	is("$reply->{status} " . errcode($reply), '200 2016012099', 'errcode: HTTP 200');
	is(account_ids(), '', 'errcode: nothing is stored');
	is(said($batch[0]), accepted_n(1), 'errcode: without poison');

	fresh(target_poison => 'item');
	control('POST', 'target/poison', { ids => [ 'bad', 4 ] });
	$reply = $json->decode(push_to(\@batch, key => 'k')->{body});
	is("$reply->{code} $reply->{data}{accepted} " . join(' ', map { $_->{id} } @{ $reply->{data}{failed} }), '200 2 bad 4', 'item: which failed');
	ok(length($reply->{data}{failed}[0]{message}), 'item: and why');
	is(account_ids(), 'a c', 'item: the good ones are stored');
	is_deeply($json->decode(push_to(\@batch, key => 'k')->{body}), $reply, 'item: the same under its key');
	is(account_ids(), 'a c', 'item: and not stored again');

	fresh(target_poison => 'counts');
	control('POST', 'target/poison', { ids => [ 'bad', 4 ] });
	is(said(\@batch), '200 {"inserted":2,"failed":2}', 'counts: only numbers');
	is(said($batch[0]), '200 {"inserted":1,"failed":0}', 'counts: also when all is well');
	is(account_ids(), 'a c a', 'counts: the good ones are stored');
	control('POST', 'target/poison', { ids => [] });
	is(said($batch[1]), '200 {"inserted":1,"failed":0}', 'poison can be cleared');
	is(http('POST', '/_sim/target/poison', {}, '{"ids":"bad"}')->{status}, 400, 'ids must be an array');
	is(http('POST', '/_sim/target/poison', {}, '{"ids":[{}]}')->{status}, 400, 'of ids');
};

subtest 'limits of rows, bytes and requests' => sub {
	fresh(target_max_rows => 2, target_max_bytes => 40);
	is(push_to([ map { { id => $_ } } 1 .. 2 ])->{status}, 200, 'as many rows as allowed');
	is(push_to([ map { { id => $_ } } 1 .. 3 ])->{status}, 400, 'one more');
	is(push_to('{"id":"' . 'x' x 31 . '"}')->{status}, 200, 'as many bytes as allowed');
	is(push_to('{"id":"' . 'x' x 32 . '"}')->{status}, 413, 'one more');

	fresh(target_rate_limit => 3, retry_after => 7);
	is(push_to({ id => $_ })->{status}, 200, "request $_") for 1 .. 3;
	is(push_to({ id => 4 }, headers => { Authorization => 'Bearer wrong' })->{status}, 401, 'strangers do not count');
	my $reply = push_to({ id => 4 });
	is("$reply->{status} $reply->{headers}{'retry-after'}", '429 7', 'request 4 is refused, with Retry-After');
	is(errcode(business($list, 'page=1')), 0, 'the lists have a rate of their own');
	is(counted(qw(refused_by_rate target_max_requests_in_window max_calls_in_window)), '1 5 1', 'and are counted apart');
	config(target_rate_window_ms => 50);
	ok(poll(sub { push_to({ id => 4 })->{status} == 200 }), 'requests pass again when the window moved on');
	is(account_ids(), '1 2 3 4', 'what was refused was not stored');
};

subtest 'every fault can be seen, and what it leaves behind' => sub {
	my $right = accepted_n(1);
	my %faults = (
		status => [ sub { $_[0]{status} == 503 && $_[0]{headers}{'retry-after'} eq '9' }, 0, status => 503, retry_after => 9 ],
		errcode => [ sub { $_[0]{status} == 200 && errcode($_[0]) == 2011002000 }, 0, errcode => 2011002000 ],
		reset => [ sub { $_[0]{ended} eq 'reset' }, 0 ],
		reset_after => [ sub { $_[0]{ended} eq 'reset' }, 1 ],
		cut => [ sub { $_[0]{ended} eq 'cut' }, 1 ],
		drip => [ sub { "$_[0]{status} $_[0]{body}" eq $right && $_[0]{first_pieces} > 20 }, 1, interval_ms => 1 ],
		stall => [ sub { $_[0]{ended} eq 'silent' }, 0 ],
		html => [ sub { $_[0]{body} =~ /^<!DOCTYPE html>/ }, 0 ],
		empty => [ sub { $_[0]{status} == 200 && $_[0]{body} eq '' }, 0 ],
		json => [ sub { $_[0]{ended} eq 'whole' && !eval { $json->decode($_[0]{body}); 1 } }, 1 ],
		redirect => [ sub { $_[0]{status} == 302 && $_[0]{headers}{location} eq 'http://127.0.0.1:9/' }, 0 ],
	);

	fresh();
	for my $kind (sort keys %faults)
	{
		my ($seen, $stored, %extra) = @{ $faults{$kind} };

		control('DELETE', 'target');
		control('POST', 'fault', { kind => $kind, path => '/target/', %extra });
		is(push_to({ id => 1 }, headers => { Authorization => undef })->{status}, 401, "$kind: not used up by a stranger");
		ok($seen->(push_to({ id => 1 }, key => $kind, wait => $kind eq 'stall' ? 0.3 : 60)), $kind);
		is(scalar(account()), $stored, "$kind: " . ($stored ? 'stored' : 'not stored'));
		is(said({ id => 1 }, key => $kind), $right, "$kind: sent again, it succeeds");
		is(scalar(account()), 1, "$kind: and is there once");
	}
	is(counted('key_replays'), 4, 'those that had been stored were answered from memory');

	control('POST', 'fault', { kind => 'empty', path => '写入', method => 'PUT', after => 1, times => 2 });
	my $statuses = sub { return join(' ', map { length(push_to({ id => 1 }, @_)->{body}) > 0 ? 1 : 0 } 1 .. 4); };
	is($statuses->(path => $empty_path), '1 1 1 1', 'only with the method given');
	is($statuses->(method => 'PUT'), '1 1 1 1', 'only at the path given');
	is($statuses->(method => 'PUT', path => $empty_path), '1 0 0 1', 'after and times');
};

subtest 'latency and reset' => sub {
	fresh(latency_ms => 200);
	my $start = time();
	push_to({ id => 1 });
	ok(time() - $start >= 0.2, 'a reply may be held back');
	control('POST', 'target/poison', { ids => ['bad'] });
	config(target_rate_limit => 1);
	push_to({ id => 1 });

	fresh(target_rate_limit => 1);
	is(account_ids(), '', 'a reset forgets what was accepted');
	is(push_to({ id => 'bad' })->{status}, 200, 'and the poison and the rates');
};

# ---------------------------------------------------------------------------

my $scheme = '/v2/open-api/business/0166a725-2b9a-30e4-91c5-3529176302c4';
my $qeasy_token;

# A call of the Qeasy API: {status, success, code, content …}.
sub qeasy
{
	my ($path, $body, %o) = @_;
	my %headers = ('Content-Type' => 'application/json', %{ $o{headers} // {} });

	$headers{Authorization} //= "Bearer $qeasy_token" if defined $qeasy_token;
	my $reply = http($o{method} // 'POST', $path, \%headers, ref $body ? $json->encode($body) : $body);
	return { %$reply, %{ $json->decode($reply->{body}) } };
}

sub sign_in
{
	my %app = (app_key => 'qeasyapp0001', app_secret => 'qeasysecret000000001', @_);

	return qeasy('/v2/oauth', \%app);
}

sub fresh_qeasy
{
	fresh(@_);
	undef $qeasy_token;
	$qeasy_token = sign_in()->{content}{access_token};
	return;
}

# A query over all times, unless these are given.
sub ask { return qeasy("$scheme/query", { page => 1, pageSize => 100, begin_at => 0, end_at => 9_999_999_999, @_ }); }

sub asked_ids { return join(' ', map { $_->{content}{id} } @{ ask(@_)->{content}{rows} }); }

sub verdict { return "$_[0]->{status} $_[0]->{code}"; }

subtest 'qeasy: tokens are asked for and end' => sub {
	fresh();
	undef $qeasy_token;
	my $reply = sign_in();

	is(length('qeasyapp0001') . ' ' . length('qeasysecret000000001'), '12 20', 'key and secret are as long as real ones');
	is_deeply([ @$reply{qw(status success code)}, $reply->{content}{expires_in} ], [ 200, JSON::PP::true, 0, 7200 ], 'a token');
	is(verdict(sign_in(app_secret => 'wrong')), '401 40101', 'another secret');
	is(verdict(sign_in(app_key => undef)), '401 40101', 'no key');
	is(verdict(qeasy('/v2/oauth', '{}', method => 'GET')), '405 40501', 'another method');
	is(verdict(qeasy('/v2/oauth', 'app_key=1', headers => { 'Content-Type' => 'text/plain' })), '400 40001', 'another type');

	my $store = { content => [ { id => 1 } ] };
	is(verdict(qeasy("$scheme/store", $store)), '401 40102', 'a store without a token');
	$qeasy_token = 'PSJ';
	is(verdict(qeasy("$scheme/store", $store)), '401 40102', 'with another one');
	$qeasy_token = $reply->{content}{access_token};
	is(verdict(qeasy("$scheme/store", $store)), '200 0', 'with the token');
	my $second = sign_in()->{content}{access_token};
	isnt($second, $qeasy_token, 'the next token differs');
	is(verdict(ask()), '200 0', 'and leaves the first alone');
	control('POST', 'expire_tokens');
	is(verdict(ask()), '401 40102', 'an expired token');
	config(qeasy_errors => '200');
	is(verdict(ask()), '200 40102', 'or HTTP 200 with the code only');
	is(verdict(sign_in(app_secret => 'wrong')), '200 40101', 'as with a wrong secret');
	config(qeasy_token_lifetime_s => 0, qeasy_errors => 'http', qeasy_app_key => 'k');
	$qeasy_token = sign_in(app_key => 'k')->{content}{access_token};
	is(verdict(ask()), '401 40102', 'a lifetime of nothing');
	is(account_ids(), '1', 'one was stored');
	is(counted(qw(qeasy_token_calls qeasy_calls target_requests)), '6 7 0', 'all that could count were counted');
};

subtest 'qeasy: a store tells only how many failed' => sub {
	fresh_qeasy();
	control('POST', 'target/poison', { ids => [ 'bad', 4 ] });
	my $reply = qeasy("$scheme/store", '{"content":[{"id":"a","v":0.10},{"id":"bad"},{"number":"c"},{"id":4}]}', headers => { 'Idempotency-Key' => 'k' });
	is_deeply($reply->{content}, { inserted => 2, failed => 2 }, 'two of four');
	my @all = account("?path=$scheme/store");
	is(join(' ', map { "$_->{id} $_->{key}" } @all), 'a k c k', 'the account holds the good ones');
	like(control('GET', 'target'), qr/"payload":\{"id":"a","v":0\.10\}/, 'byte for byte');
	$reply = qeasy("$scheme/store", { content => [ { id => 'bad' } ] });
	is(verdict($reply) . $json->encode([ @$reply{qw(success content)} ]), '200 0[true,{"failed":1,"inserted":0}]', 'even when all failed');
	qeasy("$scheme/store", { content => [ { id => 'a', v => 0.1 } ] });
	is(counted(qw(target_accepted target_duplicates)), '3 1', 'repetitions are counted here too');

	is(verdict(qeasy("$scheme/store", $_)), '400 40001', "refused: $_") for '{"content":{"id":1}}', '{"id":1}', '[{"id":1}]', '{"content":[{"v":1}]}', '{', '';
	is(verdict(qeasy("$scheme/nothing", {})), '404 40402', 'another verb');
	is(verdict(qeasy('/v2/open-api/business//store', {})), '404 40402', 'no scheme');
	is(verdict(qeasy('/v2/open-api/business/%c3%28/store', { content => [ { id => 1 } ] })), '404 40402', 'a scheme that is no word');
	is(scalar(account()), 3, 'nothing of that was stored');
};

subtest 'qeasy: what was stored can be read back' => sub {
	fresh_qeasy();
	qeasy("$scheme/store", { content => [ map { { id => "n$_", v => $_, even => $_ % 2 ? JSON::PP::false : JSON::PP::true } } 1 .. 120 ] });
	qeasy('/v2/open-api/business/other/store', { content => [ { id => 'x' } ] });
	my $reply = ask();
	my @rows = @{ $reply->{content}{rows} };
	is(scalar(@rows) . " of $reply->{content}{total}", '100 of 120', 'a page, and how many there are');
	is(join(' ', sort keys %{ $rows[0] }), 'content created_at id', 'a row');
	like($rows[0]{id}, qr/^[0-9a-f]{24}$/, 'has an id of the platform');
	is_deeply($rows[0]{content}, { id => 'n1', v => 1, even => JSON::PP::false }, 'and what was sent');
	is(scalar(keys %{ { map { $_->{id} => 1 } @rows } }), 100, 'each its own');
	is(asked_ids(page => 12, pageSize => 10), join(' ', map { "n$_" } 111 .. 120), 'the last page');
	is(asked_ids(page => 13, pageSize => 10), '', 'beyond it');

	is(asked_ids(CONTENT_id => 'n11'), 'n11 n110 n111 n112 n113 n114 n115 n116 n117 n118 n119', 'a text is looked for within');
	is(asked_ids(CONTENT_id => { '$eq' => 'n11' }), 'n11', '$eq is exact');
	is(asked_ids(CONTENT_id => { '$in' => [ 'n7', 'n120', 'none' ] }), 'n7 n120', '$in takes a list');
	is(asked_ids(CONTENT_v => 7), 'n7', 'a number');
	is(asked_ids(CONTENT_v => '7'), '', 'which is no text');
	is(asked_ids(CONTENT_id => 'n11', CONTENT_even => JSON::PP::true), 'n110 n112 n114 n116 n118', 'all conditions must hold');
	is(ask(CONTENT_id => 'n11')->{content}{total}, 11, 'the total follows them');
	config(qeasy_text_match => 'exact');
	is(asked_ids(CONTENT_id => 'n11'), 'n11', 'or a text is exact');
	config(qeasy_text_match => 'anything');
	is(ask(CONTENT_id => 'n11')->{content}{total} . ' ' . ask(CONTENT_id => { '$in' => ['n7'] })->{content}{total}, '120 120', 'or conditions are not heeded');
	config(qeasy_text_match => 'exact');

	my $at = $rows[0]{created_at};
	is(ask(begin_at => $at, end_at => $rows[99]{created_at})->{content}{total} > 0, 1, 'both ends of the time belong to it');
	is(ask(end_at => $at - 1)->{content}{total}, 0, 'none earlier');
	is(ask(begin_at => $at + 3600)->{content}{total}, 0, 'none later');
	is(verdict(ask(begin_at => undef)), '400 40001', 'times are required');
	is(verdict(qeasy("$scheme/query", { page => 1, pageSize => 10 })), '400 40001', 'both of them');
	config(qeasy_requires_times => JSON::PP::false);
	is(qeasy("$scheme/query", { page => 1, pageSize => 10 })->{content}{total}, 120, 'or not');
	is(verdict(ask(pageSize => $_)), '400 40003', "$_ rows a page") for 0, 101;
	is(verdict(ask(page => 0)), '400 40003', 'page 0');
	is(verdict(ask(page => '1')), '400 40001', 'a page that is a text');
	is(verdict(ask(CONTENT_v => { '$gt' => 1 })), '400 40001', 'an operator that is not simulated');
	is(verdict(qeasy("$scheme/query", '[]')), '400 40001', 'no object');

	qeasy("$scheme/store", { content => [ { id => 'n7', v => 700 } ] });
	is(join(' ', map { $_->{content}{v} } @{ ask(CONTENT_id => { '$eq' => 'n7' })->{content}{rows} }), '7 700', 'a second version is a row of its own');
	config(qeasy_upsert => JSON::PP::true);
	$reply = ask(CONTENT_id => { '$eq' => 'n7' });
	is("$reply->{content}{total} $reply->{content}{rows}[0]{content}{v}", '1 700', 'or takes the place of the first');
	my $id = $reply->{content}{rows}[0]{id};
	qeasy("$scheme/store", { content => [ { id => 'n7', v => 701 } ] });
	is(ask(CONTENT_id => { '$eq' => 'n7' })->{content}{rows}[0]{id}, $id, 'and then keeps its id');
};

subtest 'qeasy: 60 calls a minute, and a penalty' => sub {
	fresh_qeasy(retry_after => 60);
	is(verdict(ask()), '200 0', "call $_") for 1 .. 60;
	my $reply = ask();
	is(verdict($reply) . " $reply->{headers}{'retry-after'}", '429 42901 60', 'call 61');
	is(verdict(sign_in()), '200 0', 'signing in is not counted');
	is(said({ id => 1 }), accepted_n(1), 'nor is another target');
	is(counted(qw(qeasy_max_calls_in_window refused_by_rate)), '61 1', 'the busiest window');
	config(qeasy_rate_window_ms => 20);
	ok(poll(sub { verdict(ask()) eq '200 0' }), 'it moves on');

	fresh_qeasy(qeasy_rate_limit => 1, qeasy_rate_window_ms => 100, qeasy_penalty_ms => 600_000, qeasy_errors => '200');
	ok(poll(sub { verdict(ask()) eq '429 42901' }), 'the limit is exceeded once');
	my $until = time() + 0.15;
	my %verdicts;
	$verdicts{ verdict(ask()) }++ until time() > $until;
	is(join(',', keys %verdicts), '429 42901', 'which costs more than the window');
	fresh_qeasy(qeasy_rate_limit => 0);
	is(verdict(ask()), '200 0', 'until a reset');
};

subtest 'qeasy: faults' => sub {
	fresh_qeasy();
	my $store = { content => [ { id => 1 } ] };
	my %headers = ('Content-Type' => 'application/json', Authorization => "Bearer $qeasy_token");

	control('POST', 'fault', { kind => 'reset_after', path => '/store' });
	is(http('POST', "$scheme/store", \%headers, $json->encode($store))->{ended}, 'reset', 'a lost answer');
	is(asked_ids(), '1', 'can be read back');
	control('POST', 'fault', { kind => 'status', status => 503, path => '/v2/oauth' });
	is(http('POST', '/v2/oauth', { 'Content-Type' => 'application/json' }, '{}')->{status}, 503, 'signing in may fail');
	is(verdict(sign_in()), '200 0', 'once');
};

# ---------------------------------------------------------------------------

# One save; {status, errcode, description, ids, map}.
sub save_customer
{
	my ($body, $path) = @_;
	my $reply = business($path // $list, '', method => 'POST', body => ref $body ? $json->encode($body) : $body);
	my $said = $json->decode($reply->{body});

	return { %$said, status => $reply->{status}, ids => $said->{data}{ids}, map => $said->{data}{id_number_map} };
}

sub operate { return save_customer({ entity_number => 'bd_customer', operate_type => 'delete', @_ }, '/jdy/v2/sys/common_operate'); }

sub detail_of { return $json->decode(business($detail, "id=$_[0]")->{body})->{data}; }

# The truth, by id; data in plain text.
sub truth_of { my ($id) = @_; return { map { $_->{id} => $_ } map { $json->decode($_) } split(/\n/, control('GET', 'truth')) }->{$id}; }

subtest 'kingdee: a customer can be inserted' => sub {
	fresh();
	my $now = control('GET', 'now')->{now_ms};
	my $reply = save_customer({
		name => '示例客户004', number => 'KH00004X', group_id => '1500000000000001801', remark => '备注', addr => '五四路1号',
		credit_limit => 12.5, invoice_type => 0, custom_field => { custom_field__1__demo => 'B' }, ignore_warn => JSON::PP::true, enable => 0,
		contact_persons => [
			{ contact_person => '联系人乙', gender => 2, mobile => '13800000002', birthday => '1990-01-01 00:00:00', is_default_linkman => JSON::PP::false },
			{ contact_person => '丙', qq => 12345 } ] });
	my $id = $reply->{ids}[0];

	is("$reply->{status} $reply->{errcode} $reply->{description}", '200 0 success', 'the reply');
	like($id, qr/^15\d{17}$/, 'tells the new id');
	is_deeply($reply->{map}, {}, 'and an empty map');
	my $d = detail_of($id);
	is(scalar(keys %$d), 52, 'its detail has the documented keys and no others');
	is(join(' ', @$d{qw(number name group_id group_number group_name remark enable invoice_type credit_limit)}),
		'KH00004X 示例客户004 1500000000000001801 02 连锁药店 备注 1 0 12.5', 'with what was given');
	is_deeply($d->{custom_field}, { custom_field__1__demo => 'B' }, 'custom fields too');
	is(join('', @$d{qw(bank bank_account invoice_phone taxpayer_no city_name province_name)}), '', 'and nothing made up');
	isnt($d->{addr}, '五四路1号', 'sensitive fields are encrypted');
	my $t = truth_of($id);
	is($t->{data}{addr}, '五四路1号', 'the truth tells them');
	ok($t->{create_ms} >= $now && $t->{modify_ms} == $t->{create_ms}, 'it was made now');
	my @contacts = @{ $t->{data}{bomentity} };
	is(scalar(@contacts), 2, 'both contacts');
	is(join('|', map { "$_->{contact_person},$_->{gender},$_->{mobile},$_->{birthday},$_->{qq},$_->{is_default_linkman},$_->{seq}" } @contacts),
		'联系人乙,0,13800000002,1990-01-01,,0,1|丙,,,,12345,0,2', 'as a detail shows them');
	is(scalar(keys %{ $contacts[0] }), 25, 'with all keys');
	isnt($d->{bomentity}[0]{mobile}, '13800000002', 'encrypted where they are');

	my $p = page('modify_start_time=' . $t->{modify_ms});
	is("$p->{count} $p->{rows}[0]{id} $p->{rows}[0]{group_name}", "1 $id 连锁药店", 'the list shows it');
	is(page('search=' . percent(encode('UTF-8', '示例客户004')))->{count}, 1, 'by name');
	is(page('group=1500000000000001801&search=' . percent(encode('UTF-8', '示例客户004')))->{count}, 1, 'and group');
	is(page('group=1500000000000000777&search=' . percent(encode('UTF-8', '示例客户004')))->{count}, 0, 'not under another');
	is(truth_count(), 253, 'one more than before');

	config(save_map => 'filled');
	$reply = save_customer({ name => '只有名字' });
	is_deeply($reply->{map}, { $reply->{ids}[0] => detail_of($reply->{ids}[0])->{number} }, 'without a number it is given one');
	is_deeply(detail_of($reply->{ids}[0])->{bomentity}, [], 'without contacts it has none');
	config(coding_rule => JSON::PP::false);
	is(save_customer({ name => '另一个' })->{errcode}, 1030002000, 'or a number is required');
};

subtest 'kingdee: a customer can be updated' => sub {
	fresh();
	my $old = $json->decode((split(/\n/, control('GET', 'truth')))[5]);
	my $id = $old->{id};
	my $reply = save_customer({ id => $id, name => '新名字' });
	my $new = truth_of($id);

	is($reply->{errcode} . " $reply->{ids}[0]", "0 $id", 'the reply tells its id');
	is($new->{data}{name}, '新名字', 'the name is new');
	ok($new->{modify_ms} > $old->{modify_ms}, 'and its time');
	is($new->{create_ms}, $old->{create_ms}, 'it was made when it was made');
	is_deeply({ %{ $new->{data} }, name => 0, modify_time => 0 }, { %{ $old->{data} }, name => 0, modify_time => 0 }, 'what was not given stays');
	is(save_customer({ id => $id + 0, name => '新名字', number => 'NEW-1', group_id => 1500000000000000777, contact_persons => [ { contact_person => '丁' } ] })->{errcode}, 0, 'an id as a number, and other fields');
	$new = truth_of($id);
	is(join(' ', $new->{number}, $new->{data}{group_id}, map { $_->{contact_person} } @{ $new->{data}{bomentity} }), 'NEW-1 1500000000000000777 丁', 'are there');
	is(save_customer({ id => $id, name => '新名字', number => 'NEW-1' })->{errcode}, 0, 'its own name and number are no obstacle');
	is(truth_count(), 252, 'none was added');
};

subtest 'kingdee: what a save is refused for' => sub {
	fresh();
	my @rows = @{ page('page_size=100')->{rows} };
	my ($first, $second) = @rows;
	my $before = control('GET', 'truth');

	for my $case (
		[ 1030002000, 'no name', { number => 'N1' } ],
		[ 1030002000, 'an empty name', { number => 'N1', name => '' } ],
		[ 1030002001, 'a name that is no text', { name => 1 } ],
		[ 1030002001, 'a number that is no text', { name => 'n', number => 1 } ],
		[ 1030002006, 'a number that is too long', { name => 'n', number => 'x' x 40 } ],
		[ 1030002002, 'an existing number without an id', { name => 'n', number => $first->{number}, ignore_warn => JSON::PP::true } ],
		[ 1030002002, "another one's number", { id => $second->{id}, name => 'n', number => $first->{number} } ],
		[ 1030002003, 'an id that is nobody\'s', { id => '1', name => 'n' } ],
		[ 1030002003, 'a group that is none', { name => 'n', group_id => '1' } ],
		[ 1030002001, 'a credit limit that is no number', { name => 'n', credit_limit => '5' } ],
		[ 1030002001, 'custom fields that are no object', { name => 'n', custom_field => [] } ],
		[ 1030002001, 'a remark that is no text', { name => 'n', remark => {} } ],
		[ 1030002001, 'contacts that are no array', { name => 'n', contact_persons => {} } ],
		[ 1030002001, 'a contact that is no object', { name => 'n', contact_persons => [1] } ],
		[ 1030002006, 'no object', '[]' ],
		[ 1030002006, 'no JSON', '{' ])
	{
		my ($errcode, $name, $body) = @$case;
		my $reply = save_customer($body);
		is("$reply->{status} $reply->{errcode}", "200 $errcode", $name);
	}
	config(name_warning_code => 77);
	my $twin = { name => $first->{name}, number => 'TWIN' };
	is(save_customer($twin)->{errcode}, 77, 'a name that another has: a warning');
	is(save_customer({ %$twin, id => $second->{id} })->{errcode}, 77, 'for an update too');
	control('POST', 'target/poison', { ids => [ 'TWIN', $second->{id} ] });
	is(save_customer({ name => 'n', number => 'TWIN' })->{errcode}, 2016003063, 'poison by number');
	is(save_customer({ name => 'n', id => $second->{id} })->{errcode}, 2016003063, 'or by id');
	is(control('GET', 'truth'), $before, 'nothing has changed');

	control('POST', 'target/poison', { ids => [] });
	is(save_customer({ %$twin, ignore_warn => JSON::PP::true })->{errcode}, 0, 'ignore_warn passes the warning');
	is(save_customer({ %$twin, ignore_warn => JSON::PP::true })->{errcode}, 1030002002, 'a second time the number exists');
	delete $twin->{number};
	is(save_customer({ %$twin, ignore_warn => JSON::PP::true })->{errcode}, 0, 'without a number a repeated insert') for 1 .. 2;
	is(truth_count(), 255, 'makes one more each time');
	control('POST', 'change', { op => 'delete', id => $first->{id} });
	is(save_customer({ name => 'n', id => $first->{id} })->{errcode}, 1030002003, 'a deleted customer cannot be updated');
	is(save_customer({ name => 'n', number => $first->{number} })->{errcode}, 0, 'but its number is free');
};

subtest 'kingdee: saves pass the gateway like all calls' => sub {
	fresh();
	is(business($list, '', method => 'POST', body => '{}', secret => 'x' x 32)->{status}, 519, 'the signature');
	is(errcode(business($list, '', method => 'POST', body => '{}', headers => { 'app-token' => undef })), 4009, 'the token');
	is(http('POST', $list, { Authorization => 'Bearer plain-token' }, '{}')->{status}, 404, 'no plain form');
	is(errcode(business('/jdy/v2/sys/common_operate', '')), 5002, 'an operation is a POST');
	config(rate_limit => 1);
	save_customer({ name => 'n' });
	is(save_customer({ name => 'm' })->{status}, 429, 'and the rate of the lists');
	config(rate_limit => 0);

	control('POST', 'fault', { kind => 'reset_after', path => $list, method => 'POST' });
	page('');
	is(business($list, '', method => 'POST', body => $json->encode({ name => 'lost', number => 'LOST' }))->{ended}, 'reset', 'an answer may be lost');
	is(detail_of(control('GET', 'truth') =~ /"id":"(\d+)","number":"LOST"/)->{name}, 'lost', 'of a save that was done');
	config(rows_lag_ms => 600_000);
	save_customer({ name => 'late', number => 'LATE' });
	is(page('search=late')->{rows}[0], undef, 'a list that lags does not show it');
	is(save_customer({ name => 'x', number => 'LATE' })->{errcode}, 1030002002, 'a save knows it all the same');
};

subtest 'kingdee: customers can be deleted' => sub {
	fresh();
	my @rows = @{ page('page_size=10')->{rows} };
	my @ids = map { $_->{id} } @rows;
	my $reply = operate(ids => [ @ids[ 0, 1, 0 ] ], numbers => [ $rows[2]{number} ], ignore_warn => JSON::PP::true);

	is("$reply->{status} $reply->{errcode} @{ $reply->{ids} }", "200 0 @ids[0, 1, 2]", 'by id and number, each once');
	is(page('')->{count}, 249, 'the list does not show them');
	is(truth_count(), 249, 'nor does the truth');
	is(errcode(business($detail, "id=$ids[0]")), 1030002003, 'nor a detail');
	is(operate(ids => [ $ids[3], $ids[0] ])->{errcode}, 1030002003, 'one that is gone');
	is(save_customer({ name => $rows[0]{name}, number => $rows[0]{number} })->{errcode}, 0, 'whose name and number are free');
	is(operate(numbers => [ $rows[0]{number} ])->{errcode}, 0, 'until they are used again');
	is(operate(numbers => ['none'])->{errcode}, 1030002003, 'a number that is nobody\'s');
	is(operate()->{errcode}, 1030002000, 'none at all');
	is(operate(ids => [ $ids[3] ], operate_type => 'audit')->{errcode}, 1030002006, 'another operation');
	is(operate(ids => [ $ids[3] ], entity_number => 'bd_supplier')->{errcode}, 1030002006, 'another entity');
	control('POST', 'target/poison', { ids => [ $ids[4] ] });
	is(operate(ids => [ @ids[ 3, 4 ] ])->{errcode}, 1030002004, 'one that is used elsewhere');
	is(truth_count(), 249, 'keeps the others');
	config(save_map => 'filled');
	is_deeply(operate(ids => [ $ids[3] ])->{map}, { $ids[3] => $rows[3]{number} }, 'the map, when wished');
};

subtest 'two runs with one seed agree' => sub {
	my @seen;

	for (1 .. 2)
	{
		fresh_qeasy();
		my $ids = join(',', map { @{ save_customer({ name => "n$_" })->{ids} } } 1 .. 3);
		qeasy("$scheme/store", { content => [ { id => 1 }, { id => 2 } ] });
		push @seen, join(' ', $qeasy_token, $ids, map { $_->{id} } @{ ask()->{content}{rows} });
	}
	is($seen[0], $seen[1], 'tokens, ids and rows');
};

stop_simulator();
done_testing();
