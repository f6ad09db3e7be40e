# A call can be cancelled at any point of it, within 200 ms: while a name is resolved by
# a name server that never answers, in a TLS handshake, before the first byte of
# the reply, between two bytes.  The session (or its end) does not wait for the call either.
#
# A name server can only be replaced for a whole mount namespace, so the test runs itself in
# one of its own, with a network of its own, where the system lets it.
use strict;
use warnings;

# Before anything is loaded that redirects the output.
BEGIN
{
	my @namespace = qw(unshare --map-current-user --mount --net --keep-caps sh -c);
	my $enter = 'ip link set lo up && f=$(mktemp) && echo nameserver 127.0.0.1 > $f'
	  . ' && mount --bind $f /etc/resolv.conf && rm $f';

	if (!$ENV{JDY_OWN_NETWORK})
	{
		$ENV{JDY_OWN_NETWORK} = system(@namespace, "($enter) >/dev/null 2>&1") == 0 ? 'yes' : 'no';
		exec @namespace, "$enter && exec \"\$@\"", 'sh', $^X, (map { "-I$_" } @INC), $0
		  if $ENV{JDY_OWN_NETWORK} eq 'yes';
	}
}

use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Socket::INET;
use IPC::Run ();
use Misbehaving;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Both take what comes and say nothing.
my $name_server = $ENV{JDY_OWN_NETWORK} eq 'yes' && IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => 53);
my $server = Misbehaving->start;
my $node = PostgreSQL::Test::Cluster->new('main');
my $deaf = IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1');

$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = info\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION jdysync;
	CREATE FUNCTION http(server text, path text, method text DEFAULT 'GET', body text DEFAULT NULL) RETURNS text
		AS '$libdir/jdysync', 'jdy_test_http' LANGUAGE C;
});

# Starts a session that calls $path of $url, and waits until the call is under way.
sub start_call
{
	my ($url, $path) = @_;
	my $call = { output => '' };

	$node->safe_psql('postgres', "DROP SERVER IF EXISTS faulty CASCADE;
		CREATE SERVER faulty FOREIGN DATA WRAPPER jdysync
		OPTIONS (url '$url', auth 'none', timeout '30 s', connect_timeout '30 s')");
	$call->{run} = IPC::Run::start(
		[ 'psql', '-XAt', '-d', $node->connstr('postgres') . " application_name=caller",
			'-c', "SELECT http('faulty', '$path')", '-c', "SELECT 'still here'" ],
		'<', \undef, '>&', \$call->{output});
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'caller' AND wait_event_type = 'Extension'")
	  or die 'the call does not begin';
	return $call;
}

# Sends the signal and returns how many ms later the condition holds, by the server's clock.
sub ms_until
{
	my ($signal, $condition) = @_;

	return $node->safe_psql('postgres', qq{
		DO \$\$
		DECLARE
			began timestamptz := clock_timestamp();
		BEGIN
			PERFORM $signal(pid) FROM pg_stat_activity WHERE application_name = 'caller';
			WHILE EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'caller' AND ($condition)) LOOP
				EXIT WHEN clock_timestamp() > began + interval '20 s';
				PERFORM pg_stat_clear_snapshot();
			END LOOP;
			PERFORM set_config('test.ms', (extract(epoch FROM clock_timestamp() - began) * 1000)::int::text, false);
		END \$\$;
		SELECT current_setting('test.ms')});
}

my @points = (
	[ 'the server never answers', $server->{url}, '/silent' ],
	[ 'the server sends a byte a second', $server->{url}, '/drip' ],
	[ 'the TLS handshake is never answered', 'https://127.0.0.1:' . $deaf->sockport, '/' ]);
push @points, [ 'the name server never answers', 'http://resolve-me.example', '/' ] if $name_server;

for my $point (@points)
{
	my ($what, $url, $path) = @$point;

	subtest $what => sub
	{
		my $call = start_call($url, $path);
		my $ms = ms_until('pg_cancel_backend', "state = 'active' AND query LIKE '%http(%'");

		cmp_ok($ms, '<', 200, "cancelled after $ms ms");
		IPC::Run::finish($call->{run});
		like($call->{output}, qr/canceling statement due to user request/, 'the statement says so');
		like($call->{output}, qr/still here/, 'the session goes on');

		$call = start_call($url, $path);
		$ms = ms_until('pg_terminate_backend', 'true');
		cmp_ok($ms, '<', 200, "the session ended after $ms ms");
		IPC::Run::finish($call->{run});
	};
}

SKIP:
{
	skip 'own mount and network namespaces are not allowed here, so no name server can be played', 1 if !$name_server;

	# A name that cannot be resolved in time is a time-out of its own.
	$node->safe_psql('postgres', "CREATE SERVER unresolved FOREIGN DATA WRAPPER jdysync
		OPTIONS (url 'http://resolve-me.example', auth 'none', connect_timeout '300 ms')");
	like($node->safe_psql('postgres', "SELECT http('unresolved', '/')"),
		qr/"failure": "(timeout|resolve)".*"sent": false/, 'a name server that hangs ends the call when its time is up');
}

# Time-outs need no cancel.
$node->safe_psql('postgres', "CREATE SERVER hasty FOREIGN DATA WRAPPER jdysync
	OPTIONS (url '$server->{url}', auth 'none', timeout '300 ms')");
for my $path ('/silent', '/drip')
{
	my ($elapsed) = $node->safe_psql('postgres', "SELECT http('hasty', '$path')") =~ /"failure": "timeout".*"elapsed_ms": (\d+)/;

	ok(defined $elapsed && $elapsed >= 300 && $elapsed < 600, "$path ends at its time-out");
}

# The whole cluster must not wait for a call: DROP DATABASE asks every process to answer.
my $call = start_call($server->{url}, '/silent');
$node->safe_psql('postgres', 'CREATE DATABASE short_lived');
my $timed_out;
is($node->psql('postgres', 'DROP DATABASE short_lived', timeout => 10, timed_out => \$timed_out), 0,
	'DROP DATABASE does not wait for a call');
ms_until('pg_cancel_backend', "state = 'active' AND query LIKE '%http(%'");
IPC::Run::finish($call->{run});

$node->stop;
done_testing();
