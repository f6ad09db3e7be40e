# Whatever goes wrong around a run says what it was and what to do; and when
# it is over, the next run makes staging equal to the truth.
use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Socket;
use Test::More;
use Time::HiRes qw(time);

my $LIST = '/jdy/v2/bd/customer';
my $DETAIL = '/jdy/v2/bd/customer_detail';
my $sim = start_sim(customers => 220, set => {%NO_LIMITS});
my $node = pull_node('main', server => { max_attempts => 2, timeout => '1 s', connect_timeout => '1 s' });
my $case = 0;

sub fault { $sim->post('/_sim/fault', { @_ }); return; }

# The stream's run fails so; after $mend it goes well and nothing is missing.
sub fails_then_mends
{
	my ($what, $sqlstate, $text, $mend, %options) = @_;
	my $name = $options{name} // 'customer';

	subtest $what => sub {
		my $start = time;
		sync_fails($node, $name, $sqlstate, $text, 'a clear error');
		cmp_ok(time - $start, '<', 20, 'soon');
		like(query($node, "SELECT status || ' ' || sqlstate || ' ' || error || ' ' || hint FROM jdy_runs WHERE name = '$name' ORDER BY run_id DESC LIMIT 1"),
			qr/^failed $sqlstate ./, 'is on record, with its hint');
		$mend->();
		sync_ok($node, $name, 'a run when it is over');
		is_true($node, $name, 'nothing is missing', entity => 'customer');
	};
	return;
}

# ---------------------------------------------------------------------------
# Where and as whom.
# ---------------------------------------------------------------------------
add_stream($node, 'customer', settle => "'500 ms'");

sub with_server
{
	my ($what, $sqlstate, $text, $url) = @_;

	query($node, "ALTER SERVER kingdee OPTIONS (SET url '$url')");
	fails_then_mends($what, $sqlstate, $text, sub { query($node, "ALTER SERVER kingdee OPTIONS (SET url '" . $sim->url . "')") });
	return;
}

sub with_mapping
{
	my ($what, $sqlstate, $text, $option, $value) = @_;

	query($node, "ALTER USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS (SET $option '$value')");
	fails_then_mends($what, $sqlstate, $text, sub {
			query($node, "ALTER USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS (SET $option '$JdyTest::CREDENTIALS{$option}')");
		});
	return;
}

sub free_port
{
	socket(my $socket, PF_INET, SOCK_STREAM, 0) or die;
	bind($socket, sockaddr_in(0, INADDR_LOOPBACK)) or die;
	return (sockaddr_in(getsockname($socket)))[0];
}

with_server('an unknown host', '08001', qr/host/i, 'http://no-such-host.invalid');
with_server('nobody listens', '08001', qr/reached|refused|connect/i, 'http://127.0.0.1:' . free_port());
with_server('https where only http is spoken', '08001', qr/TLS|SSL/i, $sim->url =~ s/^http:/https:/r);
with_mapping('an unknown client', '28000', qr/4003|clientID/, client_id => '999999');
with_mapping('a wrong client secret', '28000', qr/4008|[Ss]ignature/, client_secret => 'x' x 32);
with_mapping('an unknown instance', '28000', qr/no account is authorised/, outer_instance_id => '1');

SKIP:
{
	my $directory = tempdir(CLEANUP => 1);
	skip 'no openssl', 1 if system("openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout $directory/key -out $directory/cert >/dev/null 2>&1") != 0;
	my $secure = start_sim(customers => 5, set => {%NO_LIMITS}, 'tls-cert' => "$directory/cert", 'tls-key' => "$directory/key");
	$JdyTest::current = $sim;

	with_server('a certificate that nobody vouches for', '08001', qr/certificate|TLS/i, $secure->url);
	$secure->stop;
}

# The application is revoked and authorised again.
$sim->post('/_sim/revoke');
$sim->post('/_sim/expire_tokens');
fails_then_mends('the authorisation is revoked', '28000', qr/authoris|授权/, sub { $sim->post('/_sim/config', { authorised => 'on' }) });

# ---------------------------------------------------------------------------
# What the service answers.
# ---------------------------------------------------------------------------
for my $reply (
	[ 'HTTP 401', '28000', 'status', status => 401 ], [ 'HTTP 403', '28000', 'status', status => 403 ], [ 'HTTP 404', 'HV000', 'status', status => 404 ],
	[ 'HTTP 429', '53400', 'status', status => 429, retry_after => 0 ],
	[ 'HTTP 500', 'HV00M', 'status', status => 500 ], [ 'HTTP 502', 'HV000', 'status', status => 502 ], [ 'HTTP 503', 'HV00M', 'status', status => 503 ],
	[ 'the gateway is down', 'HV00M', 'status', status => 519, errcode => 5006 ], [ 'the gateway refuses', '28000', 'status', status => 519, errcode => 4012 ],
	[ 'a business error', 'HV000', 'errcode', errcode => 1030002000 ], [ 'a system error', 'HV00M', 'errcode', errcode => 1000002001 ],
	[ 'a redirect', 'HV000', 'redirect' ], [ 'a reset', '08006', 'reset' ], [ 'silence', '08006', 'stall' ])
{
	my ($what, $sqlstate, $kind, %more) = @$reply;

	fault(kind => $kind, path => $LIST, times => -1, description => 'so it is', %more);
	fails_then_mends("$what for lists", $sqlstate,
		$kind eq 'redirect' ? qr/redirect/ : $kind =~ /reset|stall/ ? qr/broke|no reply|timeout|in time/i : qr/$more{status}|so it is/,
		sub { $sim->delete('/_sim/fault') });
}

# Once is no trouble: the call is made again.
subtest 'each of them once' => sub {
	for my $fault (
		{ kind => 'status', status => 401 }, { kind => 'status', status => 429, retry_after => 0 }, { kind => 'status', status => 500 },
		{ kind => 'status', status => 519, errcode => 5006 }, { kind => 'status', status => 519, errcode => 4010 }, { kind => 'errcode', errcode => 1000002001 },
		{ kind => 'reset' }, { kind => 'reset_after' }, { kind => 'stall' })
	{
		fault(%$fault, path => $LIST, times => 1);
		my $run = sync_ok($node, 'customer', join ' ', 'once', map { "$_ $fault->{$_}" } sort keys %$fault);
		cmp_ok($run->{retries}, '>=', 1, 'tried again');
	}
	is_true($node, 'customer', 'nothing is missing');
};

# ---------------------------------------------------------------------------
# What happens while a run is open.
# ---------------------------------------------------------------------------
sub slow { $sim->post('/_sim/config', { latency_ms => 40 }); return; }
sub fast { $sim->post('/_sim/config', { latency_ms => 0 }); return; }

# Adds a stream, starts its first load, and waits until details arrive.
sub under_way
{
	my ($name, %options) = @_;
	my $before = paths($sim)->{$DETAIL} // 0;

	add_stream($node, $name, entry => "'customer'", settle => "'500 ms'", %options);
	slow();
	my $run_id = query($node, "SELECT jdy_start('$name')");
	poll_until(sub { (paths($sim)->{$DETAIL} // 0) > $before + 20 }, 'details') or diag('no detail is asked');
	return $run_id;
}

sub over
{
	my ($run_id) = @_;

	poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the end of the run');
	fast();
	return query($node, "SELECT concat_ws('|', status, sqlstate, error, detail, hint) FROM jdy_runs WHERE run_id = $run_id");
}

subtest 'cancelled' => sub {
	my $run_id = under_way('cancelled');
	my $start = time;
	is(query($node, "SELECT jdy_cancel($run_id)"), 't', 'jdy_cancel');
	like(over($run_id), qr/^cancelled\|57014\|the run was cancelled/, 'ends the run');
	cmp_ok(time - $start, '<', 2, 'at once');
	sync_ok($node, 'cancelled', 'the next run');
	is_true($node, 'cancelled', 'goes on', entity => 'customer');
	drop_stream($node, 'cancelled');
};

subtest 'statement_timeout' => sub {
	add_stream($node, 'impatient', entry => "'customer'");
	slow();
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '700 ms'; SELECT * FROM jdy_sync('impatient')");
	like($err, qr/57014: .*statement timeout/, 'ends the caller');
	ok(poll_until(sub { query($node, "SELECT status FROM jdy_runs WHERE name = 'impatient' ORDER BY run_id DESC LIMIT 1") eq 'cancelled' }, 'cancel'), 'and its run');
	fast();
	sync_ok($node, 'impatient', 'the next run');
	is_true($node, 'impatient', 'goes on', entity => 'customer');
	drop_stream($node, 'impatient');
};

subtest 'the server is dropped' => sub {
	pull_server($node, 'shaky');
	my $run_id = under_way('homeless', server => "'shaky'");
	query($node, 'DROP SERVER shaky CASCADE');
	my $result = over($run_id);
	like($result, qr/^(ok$|failed\|42704\|)/, 'the open run ends');
	sync_fails($node, 'homeless', '42704', qr/server does not exist.*shaky/s, 'the next one says why it cannot begin');
	pull_server($node, 'shaky');
	sync_ok($node, 'homeless', 'a run when the server is there again');
	is_true($node, 'homeless', 'goes on', entity => 'customer');
	drop_stream($node, 'homeless');
};

subtest 'the staging table is dropped' => sub {
	my $run_id = under_way('groundless');
	query($node, 'DROP TABLE jdysync.staging_groundless CASCADE');
	like(over($run_id), qr/^failed\|42P01\|the staging table was dropped while the run was open\|.*jdy_drop_stream/, 'the run says so');
	sync_fails($node, 'groundless', '42P01', qr/staging table of stream "groundless" is gone.*HINT:.*jdy_drop_stream/s, 'and so does the next');
	query($node, "SELECT jdy_drop_stream('groundless')");
	add_stream($node, 'groundless', entry => "'customer'");
	sync_ok($node, 'groundless', 'added again');
	is_true($node, 'groundless', 'it is complete', entity => 'customer');
	drop_stream($node, 'groundless');
};

subtest 'the owner is dropped' => sub {
	query($node, q{
		CREATE ROLE passing LOGIN;
		GRANT passing TO CURRENT_USER;
		GRANT USAGE ON SCHEMA jdysync TO passing});
	query($node, "GRANT USAGE ON FOREIGN SERVER kingdee TO passing; CREATE USER MAPPING FOR passing SERVER kingdee OPTIONS ("
		. join(', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS) . ')');
	add_stream($node, 'orphan', entry => "'customer'");
	query($node, 'ALTER TABLE jdysync.staging_orphan OWNER TO passing');
	slow();
	my $before = paths($sim)->{$DETAIL};
	my $run_id = query($node, "SELECT jdy_start('orphan')");
	poll_until(sub { paths($sim)->{$DETAIL} > $before + 20 }, 'details');
	query($node, 'REASSIGN OWNED BY passing TO CURRENT_USER; DROP OWNED BY passing; DROP ROLE passing');
	like(over($run_id), qr/^failed\|(?:42704\|the run's role was dropped|55000\|the stream got another owner)/, 'the run says so');
	sync_ok($node, 'orphan', 'the next run works as the new owner');
	is_true($node, 'orphan', 'and goes on', entity => 'customer');
	drop_stream($node, 'orphan');
};

subtest 'switched off' => sub {
	query($node, $_) for 'ALTER SYSTEM SET jdysync.enabled = off', 'SELECT pg_reload_conf()';
	poll_until(sub { query($node, 'SHOW jdysync.enabled') eq 'off' }, 'reload');
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM jdy_sync('customer')");
	like($err, qr/55000: jdysync is switched off.*HINT:.*jdysync\.enabled/s, 'a clear error');
	query($node, $_) for 'ALTER SYSTEM RESET jdysync.enabled', 'SELECT pg_reload_conf()';
	poll_until(sub { query($node, 'SHOW jdysync.enabled') eq 'on' }, 'reload');
	sync_ok($node, 'customer', 'switched on again');
};

subtest 'switched off while a run is open' => sub {
	my $run_id = under_way('killed');
	query($node, $_) for 'ALTER SYSTEM SET jdysync.enabled = off', 'SELECT pg_reload_conf()';
	like(over($run_id), qr/^cancelled\|57000\|jdysync was switched off\|.*jdysync\.enabled/, 'the run ends, whoever saw it first');
	cmp_ok(query($node, "SELECT count(*) FROM jdysync.staging_killed WHERE detailed_at IS NULL"), '>', 0, 'before it is done');
	query($node, $_) for 'ALTER SYSTEM RESET jdysync.enabled', 'SELECT pg_reload_conf()';
	poll_until(sub { query($node, 'SHOW jdysync.enabled') eq 'on' }, 'reload');
	sync_ok($node, 'killed', 'switched on again');
	is_true($node, 'killed', 'it goes on', entity => 'customer');
	drop_stream($node, 'killed');
};

# The owner's own table says no.
subtest 'a trigger of the owner refuses a row' => sub {
	add_stream($node, 'guarded', entry => "'customer'");
	query($node, q{
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table' USING ERRCODE = '23514'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON jdysync.staging_guarded FOR EACH ROW EXECUTE FUNCTION refuse()});
	sync_fails($node, 'guarded', '23514', qr/not in my table/, 'the run says so', no_hint => "the owner's trigger says what it likes");
	query($node, 'DROP FUNCTION refuse() CASCADE');
	sync_ok($node, 'guarded', 'a run without the trigger');
	is_true($node, 'guarded', 'nothing is missing', entity => 'customer');
	drop_stream($node, 'guarded');
};

# ---------------------------------------------------------------------------
# What is wrong from the start is said at the start.
# ---------------------------------------------------------------------------
for my $wrong (
	[ 'metadata without api', '{"effect":"QUERY","request":[]}', qr/api/ ],
	[ 'metadata that pushes', '{"api":"/jdy/v2/bd/customer","effect":"EXECUTE","request":[]}', qr/effect/ ],
	[ '_function that does not parse', '{"api":"/jdy/v2/bd/customer","effect":"QUERY","id":"id","request":[{"field":"modify_start_time","value":"_function {LAST_SYNC_TIME}*(1000"}]}', qr/LAST_SYNC_TIME/ ],
	[ '_function that is not SQL', '{"api":"/jdy/v2/bd/customer","effect":"QUERY","id":"id","request":[{"field":"search","value":"_function no_such_function(1)"}]}', qr/no_such_function/ ])
{
	my ($what, $metadata, $text) = @$wrong;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jdy_add_stream('wrong', 'kingdee', metadata => '$metadata')");

	isnt($status, 0, "$what is refused");
	like($err, qr/ERROR:  22023: /, 'with a SQLSTATE');
	like($err, $text, 'a reason');
	like($err, qr/^HINT:  \S/m, 'and what to do');
}

done_testing();
