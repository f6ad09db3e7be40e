# What the tests of runs share: sessions that go on in the background, and waiting for a run's status.
package JdyRuns;

use strict;
use warnings;

use Exporter qw(import);
use IPC::Run ();
use JdyTest;
use Test::More;

our @EXPORT = qw(background_sql session_pid says finish_session poll_sql wait_until_running wait_for_status value_of forget_calls push_row push_ok
  clock step_clock switch_jdysync);

my $sessions = 0;

# Runs each of @sql by itself in one psql and returns at once.
sub background_sql
{
	my ($node, @sql) = @_;
	my $name = 'session ' . ++$sessions;
	my $self = { name => $name, node => $node, out => '', err => '' };
	my $url = $node->connstr('postgres') . " application_name='$name'";

	$self->{harness} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', $url, map { ('-c', $_) } @sql ],
		'<', \undef, '>', \$self->{out}, '2>', \$self->{err});
	return $self;
}

sub session_pid
{
	my ($session) = @_;
	my $pid;

	poll_until(
		sub {
			$pid = $session->{node}->safe_psql('postgres',
				"SELECT pid FROM pg_stat_activity WHERE application_name = '$session->{name}' AND leader_pid IS NULL");
		},
		"$session->{name} is connected");
	return $pid;
}

# Whether the session has said something like this so far.
sub says
{
	my ($session, $pattern) = @_;

	IPC::Run::pump_nb($session->{harness});
	return $session->{err} =~ $pattern;
}

# Waits for the end; true when psql succeeded.
sub finish_session
{
	my ($session) = @_;

	return IPC::Run::finish($session->{harness});
}

sub value_of
{
	my ($node, $sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# A push's run: its row, and its error when it failed.
sub push_row
{
	my ($node, $name) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM jdy_push('$name')");
	my %run;

	@run{qw(run_id push status pending delivered verified failed dead calls retries elapsed error)} = split /\|/, $out, -1 if $status == 0;
	return { %run, err => $err, ok => $status == 0 };
}

sub push_ok
{
	my ($node, $name, $what) = @_;
	my $run = push_row($node, $name);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($run->{ok} && $run->{status} eq 'ok', $what) or diag($run->{err});
	return $run;
}

# Lets the next run call at once although the server restarts: without this note of
# the last calls the budget does not count as spent.
sub forget_calls
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'DELETE FROM jdysync.account');
}

# The clock of schedules, as text.  It goes at the pace of time from wherever it was set.
sub clock
{
	my ($node, $sql) = @_;

	value_of($node, q{CREATE OR REPLACE FUNCTION jdy_test_clock(timestamptz) RETURNS timestamptz AS '$libdir/jdysync' LANGUAGE C});
	return value_of($node, 'SELECT jdy_test_clock(' . ($sql // 'NULL') . ')');
}

# Forward by an interval; returns what it shows then.
sub step_clock
{
	my ($node, $interval) = @_;

	clock($node);
	return clock($node, "jdy_test_clock(NULL) + interval '$interval'");
}

# jdysync.enabled, by a reload.
sub switch_jdysync
{
	my ($node, $value) = @_;

	value_of($node, "ALTER SYSTEM SET jdysync.enabled = $value");
	$node->reload;
	return poll_sql($node, "SELECT current_setting('jdysync.enabled') = '$value'");
}

# Until $sql says t.
sub poll_sql
{
	my ($node, $sql, $what) = @_;

	return poll_until(sub { value_of($node, $sql) eq 't' }, $what // $sql);
}

# The run_id of the open run of stream $name.
sub wait_until_running
{
	my ($node, $name) = @_;
	my $run_id;

	poll_until(sub { $run_id = value_of($node, "SELECT run_id FROM jdy_progress WHERE name = '$name'") }, "$name runs");
	return $run_id;
}

sub wait_for_status
{
	my ($node, $run_id, $status, $what) = @_;
	my $seen = '';

	poll_until(sub { ($seen = value_of($node, "SELECT status FROM jdy_runs WHERE run_id = $run_id")) eq $status }, $what, 60);
	return is($seen, $status, $what);
}

1;
