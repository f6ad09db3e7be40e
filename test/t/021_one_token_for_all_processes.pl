# The service allows two token calls a minute and forbids asking often: whatever number of
# processes works, one asks and all use what it gets; and nobody uses another's.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $AUTHORISE = '/jdyconnector/app_management/push_app_authorize';
my $FETCH = q{SELECT jdy_fetch('%s', '/jdy/v2/bd/customer', '{"page_size": 1}') -> 'errcode'};

# The longest that any step may take; they take a second or two.
my $LIMIT_S = 45;

my $sim = start_sim(customers => 10, set => { latency_ms => 100 });
my $node = new_node('main');

# A backend of its own that makes one call; what it says goes to $$out.
sub call_in_background
{
	my ($server, $out, @before) = @_;

	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), @before, '-c', sprintf($FETCH, $server) ],
		'<', '/dev/null', '>', $out, '2>', $out);
}

# Waits for these backends to end.  When one waits for a token that nobody asks for, all that comes
# after would wait as well: the test ends there.
sub all_end
{
	my (@backends) = @_;

	poll_until(sub { !grep { $_->pumpable && do { IPC::Run::pump_nb($_); $_->pumpable } } @backends }, 'the calls end', $LIMIT_S) or do
	{
		$_->kill_kill(grace => 0) for @backends;
		fail("calls end within $LIMIT_S seconds");
		die 'a call waits for ever';
	};
	eval { $_->finish } for @backends;
}

# Runs one fetch in each of $n backends at once; returns how many succeeded.
sub together
{
	my ($n, $server) = @_;
	my @out = ('') x $n;

	all_end(map { call_in_background($server, \$out[$_]) } 0 .. $n - 1);
	return scalar grep { $_ eq "0\n" } @out;
}

is(together(8, 'kingdee'), 8, 'eight backends call at once');
my $stats = $sim->get('/_sim/stats');
is($stats->{token_calls}, 1, 'with one token call');
is($stats->{paths}->{$AUTHORISE}, 1, 'and one authorisation');
is(together(3, 'kingdee'), 3, 'later calls');
is($sim->get('/_sim/stats')->{token_calls}, 1, 'use the same token');

$sim->post('/_sim/expire_tokens');
is(together(8, 'kingdee'), 8, 'eight backends find the token expired');
$stats = $sim->get('/_sim/stats');
is($stats->{token_calls}, 2, 'and one of them asks for a new one');
is($stats->{paths}->{$AUTHORISE}, 1, 'without a new authorisation');

# A third within the minute has to wait, restart or not; and waiting is interruptible.
sub times_out
{
	my ($server, $what) = @_;
	my $started = time;
	my ($ret, $out, $err) = $node->psql('postgres', "SET statement_timeout = '1 s'; " . sprintf($FETCH, $server), timeout => $LIMIT_S);

	like($err, qr/canceling statement due to statement timeout/, "$what waits");
	cmp_ok(time - $started, '<', 10, 'and can be cancelled: the wait is a minute long');
}
$sim->post('/_sim/expire_tokens');
times_out('kingdee', 'a third token');
$node->restart;
times_out('kingdee', 'after a restart it');
is($sim->get('/_sim/stats')->{token_calls}, 2, 'no third token was asked for');

# Whoever has another mapping has another session, even for the same account.
$sim = start_sim(customers => 10);
create_server($node, 'ours');
is(together(1, 'ours'), 1, 'a session');
$node->safe_psql('postgres', q{
	CREATE ROLE thief LOGIN;
	GRANT USAGE ON FOREIGN SERVER ours TO thief;
	GRANT EXECUTE ON FUNCTION jdy_fetch TO thief;
	CREATE USER MAPPING FOR thief SERVER ours OPTIONS (client_id '200421', client_secret 'ffffffffffffffffffffffffffffffff',
		outer_instance_id '200421001');
});
my ($ret, $out, $err) = $node->psql('postgres', sprintf($FETCH, 'ours'), extra_params => [ '-U', 'thief' ], timeout => $LIMIT_S);
like($err, qr/the gateway refused the call.*errcode 4008/s, 'a wrong secret gets nothing, though a session exists');
unlike($err, qr/ffffffff/, 'and the error does not show it');

# The one who asks is stopped in the middle: another takes over.
$sim = start_sim(customers => 10, set => { latency_ms => 3000 });
create_server($node, 'slow');
my ($first_said, $second) = ('', '');
my $first = call_in_background('slow', \$first_said, '-c', "SET application_name = 'asking'");
ok(poll_until(sub { ($sim->get('/_sim/stats')->{paths}->{$AUTHORISE} // 0) == 1 }, 'one asks', $LIMIT_S), 'one asks');
my $waiting = call_in_background('slow', \$second);
ok(poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%jdy_fetch(''slow%' AND state = 'active' AND pid <> pg_backend_pid()") eq '2' },
		'two wait', $LIMIT_S), 'another waits for it');
$sim->post('/_sim/config', { latency_ms => 0 });
my $started = time;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'asking'");
all_end($first, $waiting);
is($second, "0\n", 'when the one who asks is terminated, another goes on');
cmp_ok(time - $started, '<', 10, 'soon');

# A token is renewed before it ends: no call meets an expired one.
$sim = start_sim(customers => 10, set => { token_lifetime_s => 6 });
create_server($node, 'short');
is(together(1, 'short'), 1, 'a short-lived token');
ok(poll_until(sub { together(1, 'short'); $sim->get('/_sim/stats')->{token_calls} == 2 }, 'it is renewed', $LIMIT_S), 'is renewed');
is($sim->get('/_sim/stats')->{statuses}->{519}, undef, 'before it has expired');

# A mapping that holds an authorisation needs no call for one.
$sim = start_sim(customers => 10);
create_server($node, 'given', mapping => { client_id => '200421', client_secret => $JdyTest::CREDENTIALS{client_secret},
	app_key => 'AbCdEf12', app_secret => '0123456789abcdef0123456789abcdef01234567', domain => 'https://tf.jdy.com' });
is(together(4, 'given'), 4, 'a mapping with app_key, app_secret and domain works');
$stats = $sim->get('/_sim/stats');
is($stats->{paths}->{$AUTHORISE}, undef, 'without an authorisation');
is($stats->{token_calls}, 1, 'with one token');
$sim->post('/_sim/rotate_app_secret');
$sim->post('/_sim/expire_tokens');
($ret, $out, $err) = $node->psql('postgres', sprintf($FETCH, 'given'), timeout => $LIMIT_S);
like($err, qr/app secret rotated.*HINT:.*outer_instance_id/s, 'when its secret is rotated the error says what to do');
unlike($err, qr/0123456789abcdef/, 'and shows no secret');
$node->stop;

# Without preload there is no shared memory: each backend has its own session, and things still work.
$sim = start_sim(customers => 10);
my $bare = new_node('bare', preload => 0);
is($bare->safe_psql('postgres', sprintf($FETCH, 'kingdee'), timeout => $LIMIT_S), '0', 'without preload a backend can call');
is($bare->safe_psql('postgres', "SELECT bool_and(ok) FROM jdy_check('kingdee')", timeout => $LIMIT_S), 't', 'and check');
$bare->stop;

done_testing();
