# Whatever the service does, the call ends as the table of verdicts says: used, tried again,
# signed in again, waited for or given up with the service's own words.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Misbehaving;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $LIST = '/jdy/v2/bd/customer';
my $AUTHORISE = '/jdyconnector/app_management/push_app_authorize';
my $TOKEN = '/jdyconnector/app_management/kingdee_auth_token';

# A short rate_window makes back-off short, and the wait for a token.
my %QUICK = (server => { rate_window => '1 s', calls_per_minute => 1000, timeout => '2 s' });
my $sim = start_sim(customers => 10);
my $node = new_node('main', %QUICK);
my $server = 'kingdee';
my $servers = 0;

# A simulator and a foreign server of its own, which know nothing of what was before.
sub fresh
{
	my (%set) = @_;

	$sim->stop;
	$sim = start_sim(customers => 10, set => { token_window_ms => 1000, %set });
	$server = 'kingdee' . ++$servers;
	create_server($node, $server, %QUICK);
}

# One fetch: its result or its error, and how many calls of this path it took.
sub fetch
{
	my ($arguments) = @_;
	my $before = $sim->get('/_sim/stats')->{paths}->{$LIST} // 0;
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_fetch('$server', '$LIST'" . ($arguments // '') . ") ->> 'errcode'");

	return ($ret == 0 ? $out : $err, ($sim->get('/_sim/stats')->{paths}->{$LIST} // 0) - $before);
}

sub fault { my (%fault) = @_; $sim->post('/_sim/fault', { path => $LIST, %fault }); }

# Signing in once, so that what follows counts only its own calls.
is((fetch())[0], '0', 'a good reply is used');

# Trouble on the way is tried again, and the answer is then as good as any.
for my $fault ({ kind => 'status', status => 500 }, { kind => 'status', status => 503 }, { kind => 'errcode', errcode => 1000002001 },
	{ kind => 'reset' }, { kind => 'reset_after' }, { kind => 'cut' }, { kind => 'html' }, { kind => 'empty' }, { kind => 'json' },
	{ kind => 'stall' },
	(map { { kind => 'status', status => 519, errcode => $_ } } 5000, 5003, 5004, 5005, 5006, 5007))
{
	my $what = join ' ', map { $fault->{$_} } grep { exists $fault->{$_} } qw(kind status errcode);

	fault(%$fault, times => 2);
	is_deeply([ fetch() ], [ '0', 3 ], "$what twice: tried again twice");
}

# But not for ever.
for my $case ([ { kind => 'status', status => 500 }, qr/HV00M/, 'the service failed' ],
	[ { kind => 'reset' }, qr/08006/, 'the connection broke' ],
	[ { kind => 'html' }, qr/HV00M/, 'the reply is not what was asked for' ])
{
	my ($fault, $state, $reason) = @$case;

	fault(%$fault, times => -1);
	my ($error, $calls) = fetch();
	is($calls, 5, "$fault->{kind} for ever: five attempts");
	like($error, qr/ERROR:  ($state): call to the service failed: $reason/, 'then an error that says so');
	like($error, qr/DETAIL:.*attempt 5.*HINT:/s, 'with detail and hint');
	$sim->delete('/_sim/fault');
}

# Only GET is repeated: what else was asked for may have been done.
my $network = Misbehaving->start;
create_server($node, 'broken', server => { %{ $QUICK{server} }, auth => 'none', url => $network->{url} }, mapping => {});
like(($node->psql('postgres', "SELECT jdy_fetch('broken', '/cut')"))[2], qr/GET .*attempt 5/, 'GET is tried again');
my $posted = ($node->psql('postgres', "SELECT jdy_fetch('broken', '/cut', method => 'POST', body => '{}')"))[2];
like($posted, qr/POST .*the connection broke|the connection broke.*POST/s, 'POST fails, too');
unlike($posted, qr/attempt/, 'but is never tried again');

# What the service says about the request is the answer; what it refuses is an error in its words.
fault(kind => 'errcode', errcode => 1030002000, description => 'number不能为空');
is_deeply([ fetch() ], [ '1030002000', 1 ], 'a business error is the answer of jdy_fetch');
fault(kind => 'status', status => 403, body => '{"errcode":403,"description":"no permission for f2adcfef73369bfc4e1384677d38a0ff"}');
my ($error, $calls) = fetch();
like($error, qr/ERROR:  28000: .*HTTP 403, errcode 403\): no permission for \*\*\*/s, 'a refusal is an error in the words of the service, secrets masked');
is($calls, 1, 'and not tried again');
fault(kind => 'redirect', location => 'http://127.0.0.1:9/');
like((fetch())[0], qr/the service answered with a redirect/, 'a redirect is not followed');

# The clocks differ: signed again with the time of the service.
fresh(clock_offset_ms => 3_600_000);
is_deeply([ fetch() ], [ '0', 1 ], 'a service whose clock is an hour ahead');
is($sim->get('/_sim/stats')->{paths}->{$AUTHORISE}, 2, 'costs one call more');
$sim->post('/_sim/config', { clock_offset_ms => -3_600_000 });
$sim->post('/_sim/expire_tokens');
is((fetch())[0], '0', 'and so does one whose clock jumps');
is($node->safe_psql('postgres', "SELECT detail ~ '^3[56]\\d\\d s ahead of the service''s' FROM jdy_check('$server') WHERE step = 'clock'"), 't',
	'jdy_check tells the difference');

# The token has ended, in each of the ways in which the service may say so.
for my $code ('4011', '401', '1020002008')
{
	fresh(expired_code => $code);
	fetch();
	$sim->post('/_sim/expire_tokens');
	is_deeply([ fetch() ], [ '0', 2 ], "expired token ($code): once more with a new one");
	is($sim->get('/_sim/stats')->{token_calls}, 2, 'which took one token call');
}
fresh();
fetch();
fault(kind => 'status', status => 519, errcode => 4011, times => -1);
($error, $calls) = fetch();
is($calls, 2, 'a new token that is refused as well is the end');
like($error, qr/ERROR:  28000: call to the service failed: access token refused/, 'with an error that says so');

# The app secret was rotated.
fresh();
fetch();
$sim->post('/_sim/rotate_app_secret');
$sim->post('/_sim/expire_tokens');
is_deeply([ fetch() ], [ '0', 2 ], 'a rotated app secret');
my $stats = $sim->get('/_sim/stats');
is($stats->{paths}->{$AUTHORISE}, 2, 'is fetched by a new authorisation');
is($stats->{token_calls}, 3, 'and used for the next token');

# The tenant was moved: the router header is out of date.
for my $mode ('502', '404', '5001')
{
	fresh(router_mode => $mode);
	fetch();
	$sim->post('/_sim/move', { domain => 'https://vip1-gd.jdy.com' });
	is_deeply([ fetch() ], [ '0', 2 ], "a moved tenant ($mode): once more for the new domain");
	$stats = $sim->get('/_sim/stats');
	is($stats->{paths}->{$AUTHORISE}, 2, 'after a new authorisation');
	is($stats->{token_calls}, 1, 'with the same token');
}
$sim->post('/_sim/fault', { kind => 'status', status => 519, errcode => 5001, path => $LIST, times => -1 });
is((fetch())[1], 2, 'no route even then: stop');

# The account's limit.
fresh(rate_limit => 3, rate_window_ms => 1000, retry_after => 1);
my $started = time;
is($node->safe_psql('postgres', "SELECT count(jdy_fetch('$server', '$LIST', jsonb_build_object('page', i))) FROM generate_series(1, 5) i"), 5,
	'refused by rate: waited as told, then served');
cmp_ok(time - $started, '>=', 1, 'not before Retry-After');
fault(kind => 'status', status => 429, times => -1, retry_after => 0);
($error, $calls) = fetch();
is($calls, 5, 'refused by rate for ever: five attempts');
like($error, qr/ERROR:  53400: call to the service failed: call budget exceeded/, 'then an error');

# Which account.
sub authorisations
{
	my $rows = join ',', map {
		my ($id, $status) = @$_;
		qq({"accountId":"$id","accountName":"account $id","appKey":"AbCdEf12","appSecret":"0123456789abcdef0123456789abcdef01234567","domain":"https://tf.jdy.com","status":$status})
	} @_;
	$sim->post('/_sim/fault', { kind => 'status', status => 200, path => $AUTHORISE, body => qq({"errcode":"0","description":"ok","data":[$rows]}) });
}
fresh(other_accounts => 3);
is((fetch())[0], '0', 'revoked authorisations beside the valid one do not matter');
fresh();
authorisations([ 1, 1 ], [ 2, 1 ], [ 3, 0 ]);
($error) = fetch();
like($error, qr/ERROR:  28000: .*several accounts are authorised.*1 \(account 1\), 2 \(account 2\).*HINT:.*account_id/s,
	'several valid ones: the error names them and says what to set');
unlike($error, qr/3 \(account 3\)/, 'but not the revoked one');
$node->safe_psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER $server OPTIONS (ADD account_id '2')");
authorisations([ 1, 1 ], [ 2, 1 ], [ 3, 0 ]);
is((fetch())[0], '0', 'with account_id that one is used');
$node->safe_psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER $server OPTIONS (SET account_id '3')");
authorisations([ 1, 1 ], [ 2, 1 ], [ 3, 0 ]);
like((fetch())[0], qr/the authorisation was revoked/, 'a revoked one is not');
$node->safe_psql('postgres', "ALTER USER MAPPING FOR CURRENT_USER SERVER $server OPTIONS (SET account_id '4')");
authorisations([ 1, 1 ], [ 2, 1 ], [ 3, 0 ]);
like((fetch())[0], qr/the account is not among those authorised.*1 \(account 1\), 2 \(account 2\)/s, 'one that is not there neither');
fresh(authorised => 'off');
like((fetch())[0], qr/the authorisation was revoked.*HINT:.*enable/s, 'a revoked authorisation says so');
fresh();
$sim->post('/_sim/fault', { kind => 'html', path => $TOKEN, times => 1 });
is((fetch())[0], '0', 'a token call that fails is tried again');

# jdy_check stops at the step that fails.
sub check
{
	my ($name) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(step || ' ' || ok, ', ') FROM jdy_check('$name')");
}
fresh();
is(check($server), 'mapping true, connection true, clock true, signature true, account true, token true, call true, calls left true, licence true',
	'jdy_check of a server that works');
create_server($node, 'wrong_secret', %QUICK, mapping => { %JdyTest::CREDENTIALS, client_secret => 'e' x 32 });
is(check('wrong_secret'), 'mapping true, connection true, clock true, signature false', 'wrong client_secret');
create_server($node, 'wrong_instance', %QUICK, mapping => { %JdyTest::CREDENTIALS, outer_instance_id => '1' });
is(check('wrong_instance'), 'mapping true, connection true, clock true, signature true, account false', 'unknown outer_instance_id');
create_server($node, 'no_secret', %QUICK, mapping => { client_id => '200421' });
is(check('no_secret'), 'mapping false', 'incomplete mapping');
create_server($node, 'plain', server => { auth => 'bearer' }, mapping => { token => 'plain-token' });
is(check('plain'), 'mapping true, connection true, credentials true', 'a plain service');
create_server($node, 'wrong_token', server => { auth => 'bearer', url => $network->{url} . '/refused' }, mapping => { token => 'another' });
is(check('wrong_token'), 'mapping true, connection true, credentials false', 'and one that refuses us');
create_server($node, 'basic', server => { auth => 'basic' }, mapping => { user => 'u', password => 'p:w' });
check('basic');
is($sim->get('/_sim/requests?n=1')->[0]->{authorization}, 'Basic dTpwOnc=', 'user and password are sent');
$sim->stop;
is(check($server), 'mapping true, connection false', 'nobody listens');
like(($node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_fetch('plain', '/x')"))[2], qr/ERROR:  08001: .*the host could not be reached/,
	'and jdy_fetch says so');

# Calls that failed together do not come back together: each waits some time between none and a
# second, at most twice as long after its second failure, and so on.
{
	my $failing = 80;
	my @delays;
	my (%last, %failures);

	$sim->stop;
	$sim = start_sim(customers => $failing, set => {%NO_LIMITS});
	# On a slow machine the failures last long enough to hit one record five times.
	create_server($node, 'crowd', server => { calls_per_minute => 0, concurrency => 16, max_attempts => 100 });
	add_stream($node, 'customer', server => "'crowd'");
	$sim->post('/_sim/fault', { kind => 'status', status => 500, path => '/customer_detail', times => $failing });
	is(sync_ok($node, 'customer', 'a load in which many calls fail once')->{retries}, $failing, 'each is made again');
	for my $request (@{ $sim->get('/_sim/requests?n=1000') })
	{
		my ($id) = $request->{url} =~ /customer_detail\?.*\bid=(\d+)/ or next;
		push @delays, ($request->{at_ms} - $last{$id}) / 1000 / 2**($failures{$id}++) if exists $last{$id};
		$last{$id} = $request->{at_ms};
	}
	is(scalar(@delays), $failing, 'so many delays');

	# Of 80 numbers drawn evenly from 100, about 55 differ, each quarter has 20, and the mean is 50.
	my %distinct = map { int($_ * 100) => 1 } @delays;
	my @quarters = map { my $q = $_; scalar grep { $_ >= $q / 4 && ($_ < ($q + 1) / 4 || $q == 3) } @delays } 0 .. 3;
	my $mean = eval { my $sum = 0; $sum += $_ for @delays; $sum / @delays };
	cmp_ok(scalar(keys %distinct), '>=', 30, 'they differ (' . keys(%distinct) . ' of 100 possible)');
	cmp_ok((sort { $a <=> $b } @quarters)[0], '>=', 4, "and are spread over all of the time (@quarters)");
	cmp_ok($mean, '>', 0.3, "neither soon ($mean s)");
	cmp_ok($mean, '<', 0.8, 'nor late on the whole');
	is(scalar(grep { $_ > 2 } @delays), 0, 'none much later than the limit, however slow this machine is');
	is_true($node, 'customer', 'nothing is missing');
}

# A service that answers only so many calls at once, as this account's programs do not know: those
# refused are made again, and the run ends with everything.
for my $code ('429', '5007')
{
	$sim->stop;
	$sim = start_sim(customers => 90, set => { %NO_LIMITS, concurrency_limit => 2, concurrency_code => $code, latency_ms => 5 });
	pull_server($node, "narrow$code", server => { max_attempts => 100 });
	add_stream($node, "narrow$code", server => "'narrow$code'", entry => "'customer'");
	sync_ok($node, "narrow$code", "a service that answers two calls at once, others get $code");
	cmp_ok($sim->get('/_sim/stats')->{refused_by_concurrency}, '>', 0, 'calls were refused');
	sync_ok($node, "narrow$code", 'a later run');
	is_true($node, "narrow$code", 'nothing is missing', entity => 'customer');
	is(query($node, "SELECT details_due, set_aside FROM jdy_coverage WHERE name = 'narrow$code'"), '0|0', 'nor set aside');
}

# Nothing is asked where nothing may act.
$node->safe_psql('postgres', "ALTER SYSTEM SET jdysync.enabled = off");
$node->reload;
ok($node->poll_query_until('postgres', "SELECT current_setting('jdysync.enabled') = 'off'"), 'switched off');
like(($node->psql('postgres', "SELECT jdy_fetch('plain', '/x')"))[2], qr/no calls can be made from this server/, 'no call is made');

$node->stop;
done_testing();
