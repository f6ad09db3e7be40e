# The session of a torture round (JdyTorture.pm): one psql for all rounds, since connections cost more than
# the statements do.  It may be lost, and is opened anew.
#
#	$self->sql('SELECT 1');					# what psql says, errors too
#	$self->patient('SELECT 1');				# the same, of a server that may be coming back
#	$self->start($sql); $self->finish(5);	# of a statement that takes its time
#	$self->look($sql);						# by another connection meanwhile; may fail
#
# $self->{node} is the server.
package JdyTortureSession;

use strict;
use warnings;

use Exporter qw(import);
use JdyTest;
use POSIX ();
use Time::HiRes qw(time);

our @EXPORT_OK = qw(literal $HANGS_AFTER);
our $HANGS_AFTER = $ENV{JDY_TORTURE_PATIENCE} // 60;	# seconds

sub open_session
{
	my ($self) = @_;
	my $node = $self->{node};

	$self->close_session;
	pipe(my $in_read, my $in) or die $!;
	pipe(my $out, my $out_write) or die $!;
	my $pid = fork() // die $!;
	if ($pid == 0)
	{
		open STDIN, '<&', $in_read;
		open STDOUT, '>&', $out_write;
		open STDERR, '>&', $out_write;
		close $_ for $in_read, $in, $out, $out_write;
		exec $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres')
		  or POSIX::_exit(127);
	}
	close $_ for $in_read, $out_write;
	$in->autoflush(1);
	$self->{session} = { pid => $pid, in => $in, out => $out, turn => 0 };
	return $self->sql('SET client_min_messages = warning; SELECT 1') eq '1';
}

sub close_session
{
	my ($self) = @_;
	my $session = delete $self->{session} or return;

	close $session->{in};
	close $session->{out};
	kill 'KILL', $session->{pid};
	waitpid $session->{pid}, 0;
	return;
}

# Sends a statement; finish() brings what came of it.
sub start
{
	my ($self, $sql) = @_;
	my $session = $self->{session};

	local $SIG{PIPE} = 'IGNORE';
	@$session{qw(text mark)} = ('', 'mark ' . ++$session->{turn});
	print { $session->{in} } "$sql;\n\\echo $session->{mark}\n";
	return;
}

# undef: not over yet, after so many seconds; else all that psql said, or 'lost' with what it said before.
sub finish
{
	my ($self, $seconds) = @_;
	my $session = $self->{session};
	my $ready = '';

	vec($ready, fileno($session->{out}), 1) = 1;
	my $until = time + $seconds;
	while ((my $left = $until - time) > 0)
	{
		select(my $is_ready = $ready, undef, undef, $left) or last;
		my $n = sysread $session->{out}, $session->{text}, 65536, length $session->{text};
		if (!$n)
		{
			$session->{lost} = 1;
			return "lost: $session->{text}";
		}
		return $session->{text} if $session->{text} =~ s/^\Q$session->{mark}\E\n\z//m;
	}
	return undef;
}

sub sql
{
	my ($self, $sql) = @_;

	$self->start($sql);
	my $text = $self->finish($HANGS_AFTER) // die "no answer in $HANGS_AFTER s: " . substr($sql, 0, 300) . "\n";
	$text =~ s/\n\z//;
	return $text;
}

# The same, of a server that may be coming back.
sub patient
{
	my ($self, $sql) = @_;
	my $text;

	poll_until(
		sub {
			$self->open_session if $self->{session}{lost};
			$text = $self->sql($sql);
			return !$self->{session}{lost} && $text !~ /FATAL|the database system is/;
		}, 'the server', 60) or die "the server does not come back: $text\n";
	return $text;
}

sub look
{
	my ($self, $sql) = @_;
	my @answer = eval { $self->{node}->psql('postgres', $sql, timeout => 20) };

	return $answer[1] // '';
}

sub literal { my ($text) = @_; $text =~ s/'/''/g; return $text =~ /\\/ ? do { $text =~ s/\\/\\\\/g; "E'$text'" } : "'$text'"; }

1;
