# Whoever calls, in however many processes and through whatever server object: the account's
# calls never exceed its budget in any window that the service could look at, and while there
# is work the budget is used.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $LIMIT = 100;
my $WINDOW = 2;

# The simulator refuses nothing: what it counts is what was sent.
my $sim = start_sim(customers => 10, set => { rate_limit => 0, rate_window_ms => $WINDOW * 1000 });
my %server = (calls_per_minute => $LIMIT, rate_window => "$WINDOW s");
my $node = new_node('main', server => \%server);

# The same account behind another server object with another mapping: only after the
# authorisation can that be known.
create_server($node, 'again', server => \%server, mapping => { %JdyTest::CREDENTIALS, account_id => '1000000000000000002' });

# A backend that calls for $seconds as fast as it can, each call in a transaction of its own.
sub hammer
{
	my ($server, $seconds) = @_;
	my $sql = "CALL fetch_until('$server', clock_timestamp() + '$seconds s')";

	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ],
		'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null', IPC::Run::timeout(180));
}

$node->safe_psql('postgres', q{
	CREATE PROCEDURE fetch_until(server name, until timestamptz) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE clock_timestamp() < until LOOP
			PERFORM jdy_fetch(server, '/jdy/v2/bd/customer', '{"page": 1, "page_size": 1}');
			COMMIT;
		END LOOP;
	END $$;
});

my @hammers = map { hammer($_, 5.5 * $WINDOW) } 'kingdee', 'again', 'kingdee';
$_->finish for @hammers;
my $stats = sim_get('/_sim/stats');
my $calls = $stats->{paths}->{'/jdy/v2/bd/customer'};

cmp_ok($stats->{max_calls_in_window}, '<=', $LIMIT, 'no window has more calls than the budget');
cmp_ok($calls, '>=', 0.97 * 6 * $LIMIT, "at least 97 % of the budget is used ($calls calls)");
cmp_ok($calls, '<=', 6 * $LIMIT, 'and not more');

# A stop, orderly or not, loses the log of calls; the account's row makes up for it.
create_server($node, 'plain', server => { %server, auth => 'bearer' }, mapping => { token => 'plain-token' });
for my $how ('fast', 'immediate')
{
	sim_post('/_sim/stats/reset');
	my $row_is_written = 'SELECT count(*) FROM jdysync.account WHERE last_call_at >= '
		. $node->safe_psql('postgres', "SELECT quote_literal(clock_timestamp() + '$WINDOW s')");
	@hammers = map { hammer('plain', 60) } 1, 2;
	ok(poll_until(sub { sim_get('/_sim/stats')->{total} >= $LIMIT / 2 && $node->safe_psql('postgres', $row_is_written) },
		'calls are made and the row is committed'), "calls before stop $how");
	$node->stop($how);
	$node->start;
	eval { $_->finish } for @hammers;
	my $before = sim_get('/_sim/stats')->{total};
	$_->finish for map { hammer('plain', 2.5 * $WINDOW) } 1, 2;
	$stats = sim_get('/_sim/stats');
	cmp_ok($stats->{max_calls_in_window}, '<=', $LIMIT, 'there is no burst afterwards');
	cmp_ok($stats->{total}, '>', $before, 'and calls go on');
}

# Another program uses the account too: the service refuses, and we pause and slow down.
# Waiting for the budget can be cancelled at once.
$sim = start_sim(customers => 10, set => { rate_limit => 40, rate_window_ms => $WINDOW * 1000, retry_after => 1 });
create_server($node, 'crowded', server => \%server);
$_->finish for map { hammer('crowded', 4 * $WINDOW) } 1, 2;
$stats = sim_get('/_sim/stats');
cmp_ok($stats->{refused_by_rate}, '>', 0, 'the service refused calls');
cmp_ok($stats->{refused_by_rate}, '<=', 20, "but few: refusals slow everybody down ($stats->{refused_by_rate})");

$node->safe_psql('postgres', "ALTER SERVER plain OPTIONS (SET calls_per_minute '1', SET rate_window '1 h')");
my $started = time;
my ($ret, $out, $err) = $node->psql('postgres', q{
	SET statement_timeout = '1 s';
	SELECT jdy_fetch('plain', '/jdy/v2/bd/customer') FROM generate_series(1, 3);
});
like($err, qr/canceling statement due to statement timeout/, 'waiting for the budget can be cancelled');
cmp_ok(time - $started, '<', 1.5, 'at once');

# ---------------------------------------------------------------------------
# jdy_sync: while there is work, the budget is used; a first load leaves a fifth of it to others.
# ---------------------------------------------------------------------------

# When the simulator got each list and detail call lately, in seconds, in order.
sub call_times
{
	return sort { $a <=> $b } map { $_->{at_ms} / 1000 } grep { $_->{url} =~ m{^/jdy/v2/bd/customer} } @{ sim_get('/_sim/requests?n=1000') };
}

# A share of the budget is used when the next call after so many calls comes a window later, soon.
sub uses_the_budget
{
	my ($what, $share) = @_;
	my $per_window = $share * $LIMIT;
	my @at = call_times();
	my $windows = int($#at / $per_window);
	my $took = $at[ $windows * $per_window ] - $at[0];
	my @stretches = sort { $a <=> $b } map { $at[ $_ + $per_window ] - $at[$_] } 0 .. $#at - $per_window;

	cmp_ok(sim_get('/_sim/stats')->{max_calls_in_window}, '<=', $LIMIT, "$what: no window has more calls than the budget");
	cmp_ok($windows, '>=', 3, "$what: there is work for three windows and more (" . @at . ' calls)');
	cmp_ok($took, '<=', $windows * $WINDOW / 0.97, "$what: at least 97 % of " . 100 * $share . " % of the budget is used ($took s)");
	cmp_ok($stretches[ @stretches / 2 ], '<=', $WINDOW / 0.97, "$what: and so it is in most sliding windows ($stretches[@stretches / 2] s)");
	cmp_ok($stretches[-1], '<=', $WINDOW / 0.75, "$what: and nearly in all ($stretches[-1] s)");
	return @stretches;
}

$sim = start_sim(customers => 330, set => { rate_limit => 0, rate_window_ms => $WINDOW * 1000, latency_ms => 20 });
create_server($node, 'work', server => \%server);
add_stream($node, 'customer', server => "'work'");
sync_ok($node, 'customer', 'a first load');
uses_the_budget('a first load', 0.8);
$sim->post('/_sim/change', { op => 'update', ids => [ split /\n/, query($node, 'SELECT id FROM jdysync.staging_customer') ] });
$sim->post('/_sim/stats/reset');
sync_ok($node, 'customer', 'a run after changes');
my @stretches = uses_the_budget('changes', 1);
cmp_ok($stretches[0], '>=', $WINDOW - 0.002, "changes: so many calls take a window, wherever it begins ($stretches[0] s)");
is_true($node, 'customer', 'nothing is missing');

$node->stop;
$sim->stop;
done_testing();
