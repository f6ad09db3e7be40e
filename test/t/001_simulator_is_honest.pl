# The simulator refuses what the real gateway refuses, answers as the real
# lists do, and fails in every way it is told to.  All other tests lean on
# this one: what the simulator lets pass by mistake, no test would notice.

use strict;
use warnings;

use Encode qw(decode encode);
use FindBin;
use IO::Socket::INET;
use IPC::Open2;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../perl";
use JdyWire;

start_simulator('--customers', 252, '--suppliers', 5, '--materials', 5, '--orders', 12);

# ---------------------------------------------------------------------------

subtest 'the published signature is accepted, one byte off is not' => sub {
	my $stamp = '1670305063559';
	my $wire = 'app_key=bVZgAZOv1&app_signature=MzZlYTk0ODk4MWZlNjdiODNmNWU4YzViNzYxNGM5MTFlOGJkN2NjMzk0MTJkZGNhZGM0NzZhN2YxZDJmOTlkZA%3D%3D';
	my %published = (
		'X-Api-ClientID' => '200421',
		'X-Api-Auth-Version' => '2.0',
		'X-Api-TimeStamp' => $stamp,
		'X-Api-Nonce' => '4427456950',
		'X-Api-SignHeaders' => 'X-Api-Nonce,X-Api-TimeStamp',
		'X-Api-Signature' => 'OTFiZTliNDFiMjNkYTI3YzVhNzg4MDI4ZGU3MWY1ZTA5ZTk1NjVlNGM1YTI1ZjIxY2Y5YTA3ZGY2OGI1MGQ1MQ==');

	config(clock_offset_ms => $stamp - int(time() * 1000), app_key => 'bVZgAZOv1', token_limit => 0);
	my $reply = http('GET', "$token_path?$wire", \%published);
	is(errcode($reply), 1030002006, 'past the gateway: only its app_signature is of another secret');
	is($reply->{status}, 200, 'a business failure is HTTP 200');
	like($reply->{headers}{date}, qr/ Dec 2022 /, 'the Date header follows the simulated clock');

	(my $other = $wire) =~ s/bVZgAZOv1/bVZgAZOv2/;
	$reply = http('GET', "$token_path?$other", \%published);
	is($reply->{status}, 519, 'another query: HTTP 519');
	is(errcode($reply), 4008, 'another query: 4008');
	$published{'X-Api-Signature'} =~ s/^OTF/OTG/;
	is(errcode(http('GET', "$token_path?$wire", \%published)), 4008, 'another signature: 4008');
	is(control('GET', 'stats')->{bad_signatures}, 2, 'and both are counted');
};

subtest 'the signature covers the query as it is on the wire' => sub {
	fresh();
	my $chinese = percent(encode('UTF-8', decode('UTF-8', '益生菌')));

	is(errcode(business($list, "page=1&search=$chinese")), 0, 'Chinese text');
	is(errcode(business($list, 'search=a%20b')), 0, 'a blank as %20');
	is(errcode(business($list, 'search=a+b')), 0, 'a blank as +');
	is(errcode(business($list, 'page_size=5&page=1')), 0, 'parameters in any order');
	my $headers = signed_headers('GET', $list, 'search=a%20b',
		headers => { 'app-token' => $token, 'X-GW-Router-Addr' => 'https://tf.jdy.com' });
	is(errcode(http('GET', "$list?search=a+b", $headers)), 4008, 'one signed, the other sent');
	$headers = signed_headers('GET', $list, 'page=1',
		headers => { 'app-token' => $token, 'X-GW-Router-Addr' => 'https://tf.jdy.com' });
	is(errcode(http('GET', "$list?page=2", $headers)), 4008, 'another page than signed');
	is(errcode(http('GET', "$list\_detail?page=1", $headers)), 4008, 'another path than signed');
};

subtest 'the gateway knows its clients and their clocks' => sub {
	fresh();
	my $now = int(time() * 1000);

	for my $case (
		[ 4006, 'five minutes late', stamp => $now - 301_000 ],
		[ 4006, 'five minutes early', stamp => $now + 301_000 ],
		[ 4006, 'seconds instead of milliseconds', stamp => int($now / 1000) ],
		[ 4001, 'another version', headers => { 'X-Api-Auth-Version' => '1.0' } ],
		[ 4002, 'no client', headers => { 'X-Api-ClientID' => '' } ],
		[ 4003, 'another client', headers => { 'X-Api-ClientID' => '200422' } ],
		[ 4007, 'no list of signed headers', headers => { 'X-Api-SignHeaders' => 'X-Api-Nonce' } ],
		[ 4008, 'another secret', secret => 'x' x 32 ],
		[ 4009, 'no token', headers => { 'app-token' => undef } ],
		[ 4010, 'another token', headers => { 'app-token' => 'eyJ0' } ])
	{
		my ($code, $name, %o) = @$case;
		my $reply = business($list, 'page=1', %o);
		is("$reply->{status} " . errcode($reply), "519 $code", $name);
	}
	is(errcode(business($list, 'page=1', stamp => $now - 290_000)), 0, 'not quite five minutes');
	is(errcode(signed('GET', '/jdy/v2/bd/nothing', '')), 5001, 'an unknown API');
	is(errcode(signed('PUT', $list, '')), 5002, 'another method');
	is($json->decode(business($list, 'page=x')->{body})->{description_cn}, undef, 'an error has one description');
	config(description_cn => JSON::PP::true);
	like($json->decode(business($list, 'page=x')->{body})->{description_cn}, qr/\S/, 'or a Chinese one beside it');
	config(description_cn => JSON::PP::false);
	is(business($list, 'search=' . 'x' x 2048)->{status}, 414, 'a URL of more than 2048 characters');

	is(errcode(business($list, 'page=1', nonce => 77)), 0, 'a nonce');
	is(errcode(business($list, 'page=1', nonce => 77)), 0, 'the same again');
	config(nonce_replay_refused => JSON::PP::true);
	is(errcode(business($list, 'page=1', nonce => 78)), 0, 'with the switch: once');
	is(errcode(business($list, 'page=1', nonce => 78)), 4008, 'with the switch: not twice');
};

subtest 'tokens end, and secrets rotate' => sub {
	fresh();
	my $old = $token;

	control('POST', 'expire_tokens');
	is(errcode(business($list, 'page=1')), 4011, 'an expired token');
	config(expired_code => '401');
	is(business($list, 'page=1')->{status}, 401, 'or HTTP 401');
	config(expired_code => '1020002008');
	is(errcode(business($list, 'page=1')), 1020002008, 'or a business code');
	new_token();
	isnt($token, $old, 'a new token differs');
	is(errcode(business($list, 'page=1')), 0, 'and works');

	$old = $token;
	config(new_token_kills_old => JSON::PP::true);
	new_token();
	is(errcode(business($list, 'page=1', headers => { 'app-token' => $old })), 4010, 'a new token may kill the old one');

	my $new_secret = control('POST', 'rotate_app_secret')->{app_secret};
	my $reply = ask_token();
	is(errcode($reply), 1030002006, 'the old app secret is refused');
	like(decode('UTF-8', $reply->{body}), qr/\Q@{[decode('UTF-8', '授权密钥校验失败')]}\E/, 'in the words of the service');
	my $row = $json->decode(signed('POST', $authorize_path, 'outerInstanceId=200421001')->{body})->{data}[0];
	is($row->{appSecret}, $new_secret, 'the authorisation tells the new one');
	is($row->{status}, 1, 'and is valid');
	$reply = ask_token($new_secret);
	is(errcode($reply), 0, 'which is accepted');
	$token = $json->decode($reply->{body})->{data}{'app-token'};

	control('POST', 'revoke');
	is(errcode(business($list, 'page=1')), 1020002008, 'a revoked authorisation stops calls');
	$row = $json->decode(signed('POST', $authorize_path, 'outerInstanceId=200421001')->{body})->{data}[0];
	is($row->{status}, 0, 'and says so');
};

subtest 'a moved account answers at its new router address only' => sub {
	fresh();
	control('POST', 'move', { domain => 'https://vip1-gd.jdy.com' });
	is(business($list, 'page=1')->{status}, 502, 'HTTP 502');
	config(router_mode => '404');
	is(business($list, 'page=1')->{body}, '404 No Route', 'or no route');
	config(router_mode => '5001');
	is(errcode(business($list, 'page=1')), 5001, 'or 5001');
	is(errcode(business($list, 'page=1', headers => { 'X-GW-Router-Addr' => 'https://vip1-gd.jdy.com' })), 0, 'the new address works');
};

subtest 'rates are limited over every sliding window' => sub {
	fresh(token_limit => 2);
	ask_token();
	my $reply = ask_token();
	is($reply->{status}, 429, 'the third token within a minute is refused');

	fresh(rate_limit => 5, retry_after => 7);
	is(business($list, 'page=1')->{status}, 200, "call $_") for 1 .. 5;
	$reply = business($list, 'page=1');
	is($reply->{status}, 429, 'call 6 is refused');
	is(errcode($reply), 429, 'with its errcode');
	is($reply->{headers}{'retry-after'}, 7, 'and Retry-After when wished');
	my $stats = control('GET', 'stats');
	is($stats->{max_calls_in_window}, 6, 'the busiest window held six');
	is($stats->{refused_by_rate}, 1, 'one was refused');
	config(rate_window_ms => 50);
	ok(poll(sub { business($list, 'page=1')->{status} == 200 }), 'calls pass again when the window moved on');
};

subtest 'so many calls at once, and no more' => sub {
	fresh();
	# Sends a call on a connection of its own; the reply is read later.
	my $call = sub {
		my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die "connect: $@";
		my $headers = signed_headers('GET', $list, 'page_size=1', headers => { 'app-token' => $token, 'X-GW-Router-Addr' => 'https://tf.jdy.com' });
		syswrite($socket, "GET $list?page_size=1 HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n"
			  . join('', map { "$_: $headers->{$_}\r\n" } keys %$headers) . "\r\n");
		return $socket;
	};
	my $refusal = sub {
		my ($socket) = @_;
		local $/;
		my $text = <$socket>;
		return join(' ', $text =~ m{^HTTP/1\.1 (\d+)}, $text =~ /"errcode":(\d+)/);
	};

	for my $case ([ '429', '429 429' ], [ '5007', '519 5007' ])
	{
		my ($code, $expected) = @$case;

		config(concurrency_limit => 3, concurrency_code => $code, latency_ms => 1000);
		my @sockets = map { $call->() } 1 .. 5;
		is_deeply([ sort map { $refusal->($_) } @sockets ], [ sort(('200 0') x 3, ($expected) x 2) ], "three of five calls pass, two get $expected");
		config(latency_ms => 0);
		ok(poll(sub { errcode(business($list, 'page_size=1')) == 0 }), 'calls pass again when those are over');
	}
	is(control('GET', 'stats')->{refused_by_concurrency} >= 4, 1, 'they are counted');
	is(control('GET', 'stats')->{refused_by_rate}, 0, 'apart from the rate');
	config(concurrency_limit => 0, latency_ms => 200);
	is_deeply([ map { $refusal->($_) } map { $call->() } 1 .. 8 ], [ ('200 0') x 8 ], 'without a limit all pass');
};

subtest 'pages are cut at 100 rows while total_page follows the asked size' => sub {
	fresh();
	my $p = page('page=1&page_size=200');

	is(scalar(@{ $p->{rows} }), 100, 'rows');
	is($p->{current_page_size}, 100, 'current_page_size');
	is($p->{page_size}, 200, 'page_size as asked');
	is($p->{total_page}, 2, 'total_page is too small');
	ok(!ref $p->{count} && $json->encode([ $p->{count} ]) eq '["252"]', 'count is a string');
	is_deeply([ sort keys %{ $p->{rows}[0] } ],
		[qw(c_level_id enable group_name id name number remark)], 'seven keys, no modify time');
	is(scalar(@{ page('page=2&page_size=200')->{rows} }), 52, 'page 2 begins after the asked size');
	config(offset_rule => 'cap');
	is(scalar(@{ page('page=2&page_size=200')->{rows} }), 100, 'or after the cap');
	config(cap_wrong_total_page => JSON::PP::false, echo_page_size => 'cap');
	$p = page('page=1&page_size=200');
	is("$p->{page_size} $p->{total_page}", '100 3', 'or all of it honest');

	my %seen;
	for my $number (1 .. 3)
	{
		$seen{ $_->{id} }++ for @{ page("page=$number&page_size=100")->{rows} };
	}
	is(scalar(keys %seen), 252, 'three pages of 100 hold all');
	is(scalar(@{ page('')->{rows} }), 10, 'ten rows when nothing is asked');
	my @numbers = map { $_->{number} } @{ page('page_size=100')->{rows} };
	is_deeply(\@numbers, [ sort @numbers ], 'ordered by number');
	my @down = map { $_->{number} } @{ page('page_size=100&page=3&order_by=number%20desc')->{rows} };
	is($down[-1], $numbers[0], 'or the other way');
	is(page('no_such_filter=1')->{count}, 252, 'an unknown parameter is ignored');
};

subtest 'beyond the last page' => sub {
	fresh();
	my $p = page('page=4&page_size=100');
	is(scalar(@{ $p->{rows} }) . " $p->{page}", '0 4', 'an empty page');
	config(past_end => 'last');
	$p = page('page=9&page_size=100');
	is(scalar(@{ $p->{rows} }) . " $p->{page}", '52 9', 'or the last page again');
	config(past_end_echo => 'last');
	is(page('page=9&page_size=100')->{page}, 3, 'with its own number');
	config(past_end => 'error');
	is(errcode(business($list, 'page=9&page_size=100')), 1030002001, 'or an error');
};

subtest 'windows of modify and create time, and their edges' => sub {
	fresh();
	my $t = 1_765_000_000_000;
	control('POST', 'change', { entity => 'customer', op => 'touch', count => 1, at_ms => $t });
	my $window = "modify_start_time=$t&modify_end_time=$t";

	is(page($window)->{count}, 1, 'both edges belong to it');
	config(lower_edge => 'exclusive');
	is(page($window)->{count}, 0, 'without the lower one');
	is(page('modify_start_time=' . ($t - 1) . "&modify_end_time=$t")->{count}, 1, 'one tick earlier');
	config(lower_edge => 'inclusive', upper_edge => 'exclusive');
	is(page($window)->{count}, 0, 'without the upper one');
	is(page("create_start_time=$t")->{count}, 0, 'created: none');
	control('POST', 'change', { entity => 'customer', op => 'insert', count => 3, at_ms => $t });
	is(page("create_start_time=$t")->{count}, 3, 'created: three');
	is(page('modify_start_time=' . ($t + 1000))->{count}, 0, 'a window without changes');
	config(filter_ignored => JSON::PP::true);
	is(page('modify_start_time=' . ($t + 1000))->{count}, 255, 'or the filter is ignored');
	config(filter_ignored => JSON::PP::false);
	is(page('modify_start_time=' . ($t + 1000))->{count}, 0, 'and not again');

	my $all = page('enable=-1')->{count};
	my ($on, $off) = (page('enable=1')->{count}, page('enable=0')->{count});
	ok($off > 0, 'some are disabled');
	is($on + $off, $all, 'enabled + disabled = all');
	is(page('')->{count}, $all, 'all by default');
	config(enable_default => 'enabled');
	is(page('')->{count}, $on, 'or the enabled only');
};

subtest 'the formats of times in filters' => sub {
	fresh();
	# Three records on 2025-12-06 in China: its first and its last millisecond, and 13:46:40.
	my %at = (first => 1_764_950_400_000, noon => 1_765_000_000_000, last => 1_765_036_799_999);

	control('POST', 'change', { entity => 'customer', op => 'insert', count => 1, at_ms => $_ }) for values %at;
	is(china_time($at{first}) . ' ' . china_time($at{last}), '2025-12-06 00:00:00 2025-12-06 23:59:59', 'a day in China');

	my $changed = sub {
		my ($start, $end) = @_;
		my @bounds = ($start ? "modify_start_time=$start" : (), $end ? "modify_end_time=$end" : ());
		return page(join('&', @bounds, 'create_start_time=' . $start))->{count};
	};

	is($changed->($at{first}, $at{last}), 3, 'ms: the whole day');
	is($changed->($at{noon}, $at{noon}), 1, 'ms: one instant');
	is($changed->($_, $_), 255, "ms: $_ is ignored") for '2025-12-06', '2025-12-06%2013:46:40', 'x', '-1';

	config(window_format => 's');
	is($changed->('1764950400', '1765000000'), 2, 's: the second itself belongs to it');
	is($changed->('1765000001', '1765036799'), 0, 's: a bound is the beginning of its second');
	is($changed->('1765036799', '1765036800'), 1, 's: so the next one is after all of it');
	is($changed->($_, $_), 255, "s: $_ is ignored") for $at{noon}, '2025-12-06', '2025-12-06%2013:46:40';
	config(upper_edge => 'exclusive');
	is($changed->('1764950400', '1765000000'), 1, 's: an exclusive end');
	config(lower_edge => 'exclusive', upper_edge => 'inclusive');
	is($changed->('1764950400', '1765000000'), 1, 's: an exclusive start');

	config(window_format => 'datetime', lower_edge => 'inclusive');
	is($changed->('2025-12-06%2000:00:00', '2025-12-06%2013:46:40'), 2, 'datetime: China time');
	is($changed->('2025-12-06+13:46:41', '2025-12-07+00:00:00'), 1, 'datetime: blanks either way');
	is($changed->($_, $_), 255, "datetime: $_ is ignored")
	  for $at{noon}, '1765000000', '2025-12-06', '2025-12-06T13:46:40', '2025-13-06%2013:46:40', '2025-12-06%2013:46:40Z', '2025-12-6%2013:46:40';

	config(window_format => 'date');
	is($changed->('2025-12-06', '2025-12-06'), 3, 'date: from its first to its last millisecond');
	is($changed->('2025-12-07', '2025-12-07'), 0, 'date: none on the next day');
	is($changed->($_, $_), 255, "date: $_ is ignored") for $at{noon}, '1765000000', '2025-12-06%2013:46:40', '2025-02-30', '20251206';
	config(upper_edge => 'exclusive');
	is($changed->('2025-12-06', '2025-12-06'), 0, 'date: an exclusive end leaves the day out');
	is($changed->('2025-12-06', '2025-12-07'), 3, 'date: but not the day before');
	config(lower_edge => 'exclusive', upper_edge => 'inclusive');
	is($changed->('2025-12-06', '2025-12-06'), 0, 'date: an exclusive start does too');
	is($changed->('2025-12-05', '2025-12-06'), 3, 'date: but not the day after');
};

subtest 'list rows show more when they are asked to, if the service does' => sub {
	fresh();
	my $keys = sub { return scalar(keys %{ rows(business($list, "page_size=1$_[0]"))->{rows}[0] }); };

	is($keys->('&show_contact_detail=true'), 7, 'as it is, they do not');
	config(contact_detail => 'contacts');
	is($keys->('&show_contact_detail=true'), 8, 'with contacts');
	is($keys->('&show_contact_detail=false'), 7, 'when asked to');
	is($keys->(''), 7, 'and only then');
	config(contact_detail => 'all');
	is($keys->('&show_contact_detail=true'), 52, 'with all that a detail has');
	my $row = rows(business($list, 'page_size=1&show_contact_detail=true'))->{rows}[0];
	is($row->{addr} eq decrypted($row->{addr}, $client_secret), '', 'encrypted as there') if $row->{addr} ne '';
};

subtest 'sensitive fields are encrypted with the client secret' => sub {
	fresh();
	my ($truth) = control('GET', 'truth?entity=customer') =~ /^(.*"birthday":"[^"]+.*)$/m;
	my $record = $json->decode($truth);
	my $sent = $json->decode(business($detail, "id=$record->{id}")->{body})->{data};

	is(scalar(keys %$sent), 52, 'a detail has 52 keys');
	is($sent->{name}, $record->{data}{name}, 'a name is plain');
	my $address = encode('UTF-8', $record->{data}{addr});
	is(decrypted($sent->{addr}, $client_secret), $address, 'an address');
	is(decrypted($sent->{bomentity}[0]{mobile}, $client_secret), $record->{data}{bomentity}[0]{mobile}, 'a mobile number');
	like($sent->{modify_time}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/, 'a time without zone');
	is($sent->{modify_time}, china_time($record->{modify_ms}), 'which is China time');

	my $new = '75eb3c7cd5974c3018d6934e142b5f81';
	control('POST', 'rotate_client_secret', { client_secret => $new });
	is(errcode(business($detail, "id=$record->{id}")), 4008, 'the old secret no longer signs');
	my $again = $json->decode(business($detail, "id=$record->{id}", secret => $new)->{body})->{data};
	isnt($again->{addr}, $sent->{addr}, 'the ciphertext changed');
	is(decrypted($again->{addr}, $new), $address, 'the text did not');

	config(client_secret => $new);
	control('POST', 'change', { op => 'set', id => $record->{id}, fields => { addr => '', bank_account => '18599999999' } });
	$again = $json->decode(business($detail, "id=$record->{id}", secret => $new)->{body})->{data};
	is($again->{addr}, '', 'nothing stays nothing');
	is($again->{bank_account}, 'bsiV0ZrykeIH/5ZZ65lX5A==', 'the published vector');
};

subtest 'records change, vanish and come late' => sub {
	fresh();
	my $id = page('page_size=1')->{rows}[0]{id};
	my $before = $json->decode(business($detail, "id=$id")->{body})->{data};

	control('POST', 'change', { op => 'contact', ids => [$id] });
	my $after = $json->decode(business($detail, "id=$id")->{body})->{data};
	is($after->{name}, $before->{name}, 'a contact change leaves the row as it was');
	isnt($after->{invoice_phone}, $before->{invoice_phone}, 'but not the detail');
	control('POST', 'change', { op => 'update', ids => [$id] });
	isnt($json->decode(business($detail, "id=$id")->{body})->{data}{name}, $before->{name}, 'an update renames');
	control('POST', 'change', { op => 'set', id => $id, fields => { name => '新名字', custom => { a => 1 } } });
	$after = $json->decode(business($detail, "id=$id")->{body})->{data};
	is($after->{name}, '新名字', 'set sets');
	is_deeply($after->{custom}, { a => 1 }, 'and adds');

	control('POST', 'change', { op => 'delete', ids => [$id] });
	is(errcode(business($detail, "id=$id")), 1030002003, 'a deleted record is not found');
	is(page('')->{count}, 251, 'and leaves no trace in the list');
	is(truth_count(), 251, 'nor in the truth');
	like(control('GET', 'truth?deleted=1'), qr/"deleted":true/, 'unless deleted ones are asked for');
	for my $case ([ null_data => qr/"data":null/ ], [ empty_data => qr/"data":\{\}/ ], [ http404 => qr/404/ ])
	{
		config(not_found => $case->[0]);
		like(business($detail, "id=$id")->{body}, $case->[1], "or $case->[0]");
	}
	control('POST', 'change', { op => 'restore', ids => [$id] });
	is(page('')->{count}, 252, 'restored');

	config(count_lag_ms => 600_000);
	control('POST', 'change', { op => 'insert', count => 2 });
	my $p = page('page=3&page_size=100');
	is("$p->{count} " . @{ $p->{rows} }, '252 54', 'a count that lags');
	config(count_lag_ms => 0, rows_lag_ms => 600_000);
	$id = control('POST', 'change', { op => 'insert', count => 1 })->{ids}[0];
	$p = page('page=3&page_size=100');
	is("$p->{count} " . @{ $p->{rows} }, '255 54', 'rows that lag');
	is(errcode(business($detail, "id=$id")), 0, 'details do not');
	config(rows_lag_ms => 0, late_visibility_ms => 600_000);
	my $now = control('GET', 'now')->{now_ms};
	control('POST', 'change', { op => 'insert', count => 1 });
	is(page('')->{count}, 255, 'a new row is not visible yet');
	control('POST', 'change', { op => 'insert', count => 1, at_ms => $now - 600_001 });
	ok(poll(sub { page('')->{count} == 256 }), 'one stamped longer ago is');
	config(late_visibility_ms => 0, rows_lag_ms => 20);
	control('POST', 'change', { op => 'insert', count => 1 });
	ok(poll(sub { @{ page('page=3&page_size=100')->{rows} } == 58 }), 'what lags arrives in the end');
};

subtest 'churn changes records before each call, the same way each time' => sub {
	my @truths;

	for (1 .. 2)
	{
		fresh();
		control('POST', 'churn', { entity => 'customer', insert => 1, delete => 0.5, update => 1 });
		page('') for 1 .. 20;
		control('POST', 'churn', {});
		page('') for 1 .. 5;
		push @truths, join(',', map { $_->{id} . $_->{data}{name} }
			  map { $json->decode($_) } split(/\n/, control('GET', 'truth')));
	}
	is($truths[0], $truths[1], 'two runs agree');
	my $n = truth_count();
	ok($n > 252 && $n < 272, "20 were inserted, some deleted ($n are left)");
	is(page('')->{count}, $n, 'the list agrees with the truth');
};

subtest 'listings may repeat rows or lose their order' => sub {
	fresh(duplicates => 5);
	my @ids = map { $_->{id} } map { @{ page("page=$_&page_size=100")->{rows} } } 1 .. 3;
	my %distinct = map { $_ => 1 } @ids;
	is(@ids . ' ' . keys %distinct, '257 252', 'five rows more than there are');

	config(duplicates_mode => 'displace');
	@ids = map { $_->{id} } map { @{ page("page=$_&page_size=100")->{rows} } } 1 .. 3;
	%distinct = map { $_ => 1 } @ids;
	is(@ids . ' ' . keys %distinct, '252 247', 'or in the place of others');

	config(duplicates => 0, unstable_order => JSON::PP::true);
	isnt(join(',', map { $_->{id} } @{ page('page_size=100')->{rows} }),
		join(',', map { $_->{id} } @{ page('page_size=100')->{rows} }), 'two equal requests differ');
};

subtest 'the other entities keep to their own documents' => sub {
	fresh();
	for my $case (
		[ 'bd/supplier', 14, 13, 'number' ],
		[ 'bd/material', 35, 77, 'number' ],
		[ 'scm/sal_order', 26, 92, 'bill_no' ])
	{
		my ($name, $row_keys, $detail_keys, $number) = @$case;
		my $p = page('page_size=100', "/jdy/v2/$name");
		my $row = $p->{rows}[0];
		my $d = $json->decode(business("/jdy/v2/${name}_detail", "id=$row->{id}")->{body})->{data};

		is(scalar(keys %$row), $row_keys, "$name: keys of a row");
		is(scalar(keys %$d), $detail_keys, "$name: keys of a detail");
		is($d->{$number}, $row->{$number}, "$name: $number");
	}
	my $orders = page('page_size=100', '/jdy/v2/scm/sal_order');
	is($json->encode([ $orders->{count} ]), '[12]', 'the count of orders is a number');
	my @dates = map { $_->{bill_date} } @{ $orders->{rows} };
	is_deeply(\@dates, [ reverse sort @dates ], 'newest first');
	my $order = $json->decode(business('/jdy/v2/scm/sal_order_detail', "id=$orders->{rows}[0]{id}")->{body})->{data};
	ok(@{ $order->{material_entity} } >= 1, 'with lines');
};

subtest 'the plain form' => sub {
	fresh();
	my $reply = http('GET', "$list?page_size=3", { Authorization => 'Bearer plain-token' });
	my $body = $json->decode($reply->{body});
	is_deeply([ sort keys %$body ], [qw(code data)], 'code and data only');
	is_deeply([ sort keys %{ $body->{data}[0] } ], [qw(id name number)], 'three keys a row');
	is(http('GET', $list, { Authorization => 'Bearer wrong' })->{status}, 401, 'another token');
	is(http('GET', $detail, { Authorization => 'Bearer plain-token' })->{status}, 404, 'no details');
};

subtest 'every fault can be seen' => sub {
	my %faults = (
		status => sub { $_[0]{status} == 503 && $_[0]{headers}{'retry-after'} eq '9' },
		errcode => sub { $_[0]{status} == 200 && errcode($_[0]) == 2011002000 },
		reset => sub { $_[0]{ended} eq 'reset' },
		reset_after => sub { $_[0]{ended} eq 'reset' },
		cut => sub { $_[0]{ended} eq 'cut' && length($_[0]{body}) == 50 },
		drip => sub { $_[0]{ended} eq 'whole' && $_[0]{first_pieces} > 100 },
		stall => sub { $_[0]{ended} eq 'silent' },
		html => sub { $_[0]{body} =~ /^<!DOCTYPE html>/ && $_[0]{headers}{'content-type'} =~ /html/ },
		empty => sub { $_[0]{status} == 200 && $_[0]{body} eq '' },
		json => sub { !eval { $json->decode($_[0]{body}); 1 } && $_[0]{ended} eq 'whole' },
		nul => sub { $_[0]{body} =~ /\\u0000/ },
		surrogate => sub { $_[0]{body} =~ /\\ud83d"/ },
		bad_utf8 => sub { $_[0]{body} =~ /\xc3\x28/ },
		deep => sub { $_[0]{body} =~ /\[{500}\]{500}/ },
		huge => sub { length($_[0]{body}) > 3_000_000 },
		redirect => sub { $_[0]{status} == 302 && $_[0]{headers}{location} eq 'http://127.0.0.1:1/x' },
		wrong_page => sub { rows($_[0])->{page} == 7 },
		no_rows => sub { my $d = rows($_[0]); !exists $d->{rows} && exists $d->{count} },
		no_count => sub { my $d = rows($_[0]); exists $d->{rows} && !exists $d->{count} },
		count_lie => sub { rows($_[0])->{count} == 257 },
		id_missing => sub { !exists rows($_[0])->{rows}[1]{id} && exists rows($_[0])->{rows}[0]{id} },
		id_null => sub { my $r = rows($_[0])->{rows}; exists $r->[1]{id} && !defined $r->[1]{id} },
		id_number => sub { $_[0]{body} =~ /"id":15\d{17},/ },
		dup_keys => sub { () = $_[0]{body} =~ /"name":/g; my $n = () = $_[0]{body} =~ /"name":/g; $n == 4 },
		dup_row => sub { my $r = rows($_[0])->{rows}; @$r == 4 && $json->encode($r->[1]) eq $json->encode($r->[2]) },
		conflict_row => sub { my $r = rows($_[0])->{rows}; @$r == 4 && $r->[1]{id} eq $r->[2]{id} && $r->[1]{name} ne $r->[2]{name} },
		gzip_bomb => sub { $_[0]{headers}{'content-encoding'} eq 'gzip' && length($_[0]{body}) < 20_000 },
	);
	my %extra = (
		status => { status => 503, retry_after => 9 },
		errcode => { errcode => 2011002000 },
		cut => { bytes => 50 },
		drip => { interval_ms => 1 },
		deep => { depth => 500 },
		huge => { bytes => 3_000_000 },
		redirect => { location => 'http://127.0.0.1:1/x' },
		wrong_page => { echo => 7 },
		count_lie => { add => 5 },
		gzip_bomb => { bytes => 5_000_000 },
	);

	fresh();
	for my $kind (sort keys %faults)
	{
		control('POST', 'fault', { kind => $kind, path => 'customer', row => 1, %{ $extra{$kind} // {} } });
		my $reply = business($list, 'page=1&page_size=3', wait => $kind eq 'stall' ? 0.3 : 60);
		ok($faults{$kind}->($reply), $kind);
		my $after = business($list, 'page=1&page_size=3');
		is($json->encode(rows($after)), $json->encode(page('page=1&page_size=3')), "$kind: once only");
	}
	is(control('GET', 'stats')->{faults_fired}, scalar(keys %faults), 'each fired once');

	control('POST', 'fault', { kind => 'empty', path => 'customer_detail', after => 1, times => 2 });
	my $id = page('')->{rows}[0]{id};
	is(join(' ', map { length(business($detail, "id=$id")->{body}) > 0 ? 1 : 0 } 1 .. 4), '1 0 0 1', 'after and times');
	control('POST', 'fault', { kind => 'empty', id => '1', times => -1 });
	isnt(business($detail, "id=$id")->{body}, '', 'only for the id given');
	control('DELETE', 'fault');
	control('POST', 'fault', { kind => 'empty', page => 2, times => -1 });
	isnt(business($list, 'page=1')->{body}, '', 'only for the page given');
	is(business($list, 'page=2')->{body}, '', 'but for that');
	is(http('POST', '/_sim/fault', {}, '{"kind":"nonsense"}')->{status}, 400, 'an unknown fault is an error');
	is(http('POST', '/_sim/config', {}, '{"nonsense":1}')->{status}, 400, 'an unknown switch is an error');
};

subtest 'latency holds replies back without holding others up' => sub {
	fresh(latency_ms => 300);
	my $start = time();
	my @sockets = map {
		my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die;
		syswrite($s, "GET $list?page_size=1 HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nAuthorization: Bearer plain-token\r\n\r\n");
		$s;
	} 1 .. 20;
	local $/;
	like(scalar(<$_>), qr/^HTTP.* 200/, 'a reply') for @sockets;
	my $took = time() - $start;
	ok($took >= 0.3, 'not before its time');
	ok($took < 20 * 0.3, 'all wait together');
};

subtest 'gzip for those who take it' => sub {
	fresh(gzip => JSON::PP::true);
	my $plain = business($list, 'page_size=100');
	is($plain->{headers}{'content-encoding'}, undef, 'not unasked');
	my $small = business($list, 'page_size=100', headers => { 'Accept-Encoding' => 'gzip' });
	is($small->{headers}{'content-encoding'}, 'gzip', 'asked');
	ok(length($small->{body}) < length($plain->{body}) / 2, 'smaller');
	my ($out, $in);
	my $child = open2($out, $in, 'gzip', '-dc');
	print $in $small->{body};
	close($in);
	my $unpacked = do { local $/; <$out> };
	waitpid($child, 0);
	is($unpacked, $plain->{body}, 'and the same');
};

subtest 'requests are remembered' => sub {
	fresh();
	business($list, 'page=1', headers => { 'User-Agent' => 'jdysync-test' });
	my $last = control('GET', 'requests?n=1')->[0];
	is("$last->{method} $last->{url} $last->{status} $last->{user_agent}", "GET $list?page=1 200 jdysync-test", 'the last one');
	ok($last->{app_token}, 'with a token');
};

subtest 'a script says what happens between two requests' => sub {
	fresh();
	my $before = truth_count();
	control('POST', 'script', { events => [
			{ at => 2, post => '/_sim/change', body => { op => 'insert', count => 3 } },
			{ at => 2, post => '/_sim/fault', body => { kind => 'html' } },
			{ at => 4, post => '/_sim/nonsense' },
			{ at => 9, post => '/_sim/revoke' } ] });
	is(page('page=1&page_size=1')->{count}, $before, 'nothing before the first request');
	is(business($list, 'page=1')->{body} =~ /html/i, 1, 'a fault before the second');
	is(page('page=1&page_size=1')->{count}, $before + 3, 'a change, too');
	business($list, 'page=1');
	my $script = control('GET', 'script');
	is("$script->{requests} $script->{done} $script->{left}", '4 3 1', 'how far it is');
	like($script->{trouble}, qr/nonsense.*no such control path/, 'what went wrong');
	is(http('POST', '/_sim/script', {}, $json->encode({ events => [ { at => 3, halt => 1 }, { at => 2, halt => 1 } ] }))->{status}, 400, 'events are in order');
};

subtest 'a script has a request wait' => sub {
	fresh();
	control('POST', 'script', { events => [ { at => 2, halt => 1 } ] });
	business($list, 'page=1');
	my $pid = fork() // die $!;
	if ($pid == 0)
	{
		business($list, 'page=2');
		POSIX::_exit(0);
	}
	ok(poll(sub { control('GET', 'script')->{halted} }), 'it waits');
	is(control('GET', 'requests?n=1')->[0]{url}, "$list?page=1", 'and was not carried out yet');
	is(errcode(business($list, 'page=3')), 0, 'others do not wait');
	control('POST', 'script/go_on');
	waitpid($pid, 0);
	is(control('GET', 'requests?n=1')->[0]{url}, "$list?page=2", 'then it is');
	ok(!control('GET', 'script')->{halted}, 'and nothing waits');
};

subtest 'the history of all changes' => sub {
	fresh();
	my ($id) = @{ control('POST', 'change', { op => 'insert' })->{ids} };
	control('POST', 'change', { op => $_, id => $id }) for qw(update hide restore delete);
	my @lines = map { $json->decode($_) } split /\n/, control('GET', 'history?entity=customer');
	is(scalar @lines, 252 + 5, 'initial records are changes, too');
	is(join(' ', map { $_->{state} } grep { $_->{id} eq $id } @lines), 'listed listed hidden listed deleted', 'what each left the record as');
	ok($lines[-1]{made_us} >= $lines[0]{made_us} && abs($lines[-1]{made_us} / 1e6 - time()) < 60, "when, by the machine's clock");
	is_deeply(control('POST', 'change', { op => 'restore' })->{ids}, [$id], 'restore takes any that is gone');
};

subtest 'the clock goes on, and what is late is that much older' => sub {
	fresh(late_visibility_ms => 240_000);
	my $count = page('page=1&page_size=1')->{count};
	my $now = control('GET', 'now')->{now_ms};
	control('POST', 'change', { op => 'insert' });
	control('POST', 'pass', { ms => 120_000 });
	is(page('page=1&page_size=1')->{count}, $count, 'half of the time');
	ok(control('POST', 'pass', { ms => 120_001 })->{now_ms} - $now > 240_000, 'the other half');
	is(page('page=1&page_size=1')->{count}, $count + 1, 'and it is to be seen');
	control('POST', 'pass', { ms => -240_001 });
};

subtest 'another world' => sub {
	control('POST', 'reset', { seed => 9, customers => 3, orders => 0 });
	my $other = control('GET', 'truth?entity=customer');
	is(scalar(() = $other =~ /\n/g), 3, 'of another size');
	my ($one) = control('GET', 'truth?list=/jdy/v2/bd/emp&form=list') =~ /"data":(\{.*?\})\}/;
	is(join(' ', sort keys %{ $json->decode($one) }), 'id name number', 'rows as another list shows them');
	control('POST', 'reset', { seed => 1, customers => 252, orders => 12 });
	isnt(control('GET', 'truth?entity=customer'), $other, 'and back');
};

stop_simulator();
done_testing();

# ---------------------------------------------------------------------------

sub rows { return $json->decode($_[0]{body})->{data}; }

# Decrypts with the openssl program, so that the simulator is not asked.
sub decrypted
{
	my ($text, $secret) = @_;
	my $iv = unpack('H*', '5e8y6w45ju8w9jq8');
	my $pid_of_openssl = open2(my $out, my $in, 'openssl', 'enc', '-d', '-aes-256-cbc',
		'-K', unpack('H*', $secret), '-iv', $iv);

	print $in decode_base64($text);
	close($in);
	my $plain = do { local $/; <$out> };
	waitpid($pid_of_openssl, 0);
	return $plain;
}

sub china_time
{
	my @t = gmtime(int($_[0] / 1000) + 8 * 3600);

	return sprintf('%04d-%02d-%02d %02d:%02d:%02d', $t[5] + 1900, $t[4] + 1, @t[ 3, 2, 1, 0 ]);
}
