# A small HTTP server that does wrong what servers do wrong, one fault for each path.
#
#	use Misbehaving;
#
#	my $server = Misbehaving->start;
#	… http://127.0.0.1:$server->{port}/drip …
#
# The simulator of the service plays the service; this one plays the network, down to
# single bytes.
package Misbehaving;

use strict;
use warnings;

use IO::Compress::Gzip qw(gzip);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(usleep);

my %running;

# What is sent for each path; called with the socket, the request's number on this
# connection and its head.  False: the connection ends.
my %BEHAVIOUR = (
	'/hello' => sub { reply($_[0], 'hello') },
	'/named' => sub
	{
		reply($_[0], 'hello', "Date: Wed, 21 Oct 2015 07:28:00 GMT", "X-GW-Router-Addr: https://tf.example",
			"Content-Type: application/json");
	},
	# Never a byte, and never the end.
	'/silent' => sub { sleep 600; 0 },
	# A byte a second: no time-out between bytes would help.
	'/drip' => sub { print { $_[0] } head(200, 600); for (1 .. 600) { print { $_[0] } 'x' or last; sleep 1; } 0 },
	# Fewer bytes than promised.
	'/cut' => sub { print { $_[0] } head(200, 1000) . '{"half":'; 0 },
	'/cut-chunk' => sub { print { $_[0] } "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"half\":\r\n"; 0 },
	'/bad-chunk' => sub { print { $_[0] } "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"; 0 },
	'/bad-gzip' => sub { reply($_[0], 'this is not gzip', 'Content-Encoding: gzip') },
	'/no-http' => sub { print { $_[0] } "220 mail.example ESMTP\r\n"; 0 },
	'/reset' => sub { setsockopt($_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)); 0 },
	# 100 MB of zeros in 100 kB.
	'/bomb' => sub { reply($_[0], zipped("\0" x 100_000_000), 'Content-Encoding: gzip') },
	'/zipped' => sub { reply($_[0], zipped('hello'), 'Content-Encoding: gzip') },
	'/exactly-64MB' => sub { reply($_[0], zipped('x' x (64 << 20)), 'Content-Encoding: gzip') },
	# The first request of a connection is answered, the second ends it.
	'/then-gone' => sub { $_[1] == 1 ? reply($_[0], 'hello') : 0 },
	# The connection seems to be kept, and ends while nobody uses it.
	'/and-gone' => sub { reply($_[0], 'hello'); 0 },
	'/late' => sub { sleep 2; reply($_[0], 'hello') },
	'/headers' => sub { reply($_[0], 'hello', map { "X-Padding-$_: " . 'x' x 1000 } 1 .. 100) },
	'/echo' => sub { reply($_[0], $_[2]) },
	'/redirect' => sub { print { $_[0] } "HTTP/1.1 302 Found\r\nLocation: /hello\r\nContent-Length: 0\r\n\r\n" },
	'/wait-7' => sub { print { $_[0] } head(429, 0, 'Retry-After: 7') },
	'/wait-date' => sub
	{
		print { $_[0] } head(429, 0, 'Date: Wed, 21 Oct 2015 07:28:00 GMT', 'Retry-After: Wed, 21 Oct 2015 07:28:09 GMT');
	},
	'/refused/' => sub { print { $_[0] } head(401, 0) },
	# Gives up before the body of the request has come.
	'/no-body-wanted' => sub { setsockopt($_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)); 0 },
);

sub start
{
	my ($class) = @_;
	my $listener = IO::Socket::INET->new(Listen => 128, LocalAddr => '127.0.0.1', ReuseAddr => 1)
	  or die "cannot listen: $!";
	my $pid = fork() // die "cannot fork: $!";

	if ($pid == 0)
	{
		setpgrp 0, 0;
		serve($listener);
		POSIX::_exit(0);
	}
	$running{$pid} = $$;
	return bless { pid => $pid, port => $listener->sockport, url => 'http://127.0.0.1:' . $listener->sockport }, $class;
}

# One process for each connection.
sub serve
{
	my ($listener) = @_;

	local $SIG{CHLD} = 'IGNORE';
	local $SIG{PIPE} = 'IGNORE';
	while (1)
	{
		my $socket = $listener->accept or next;
		my $pid = fork();
		if (defined $pid && $pid == 0)
		{
			talk($socket);
			POSIX::_exit(0);
		}
	}
}

sub talk
{
	my ($socket) = @_;
	my $input = '';

	$socket->autoflush(1);
	for (my $number = 1; ; $number++)
	{
		until ($input =~ /\r\n\r\n/)
		{
			sysread($socket, $input, 65536, length $input) or return;
		}
		my ($head, $rest) = split /\r\n\r\n/, $input, 2;
		my ($path) = $head =~ m{^\S+ ([^ ?]*)};
		my ($length) = $head =~ /^Content-Length: (\d+)/mi;

		while ($path ne '/no-body-wanted' && length($rest) < ($length // 0))
		{
			sysread($socket, $rest, 65536, length $rest) or return;
		}
		my $behaviour = $BEHAVIOUR{$path} // sub { print { $_[0] } head(404, 0) };
		$behaviour->($socket, $number, $head . "\r\n\r\n" . substr($rest, 0, $length // 0)) or return;
		$input = substr($rest, $length // 0);
	}
}

sub head
{
	my ($status, $length, @headers) = @_;

	return join "\r\n", "HTTP/1.1 $status Said", "Content-Length: $length", @headers, '', '';
}

sub reply
{
	my ($socket, $body, @headers) = @_;

	return print { $socket } head(200, length $body, @headers) . $body;
}

sub zipped
{
	my ($plain) = @_;

	gzip(\$plain => \my $zipped);
	return $zipped;
}

# The server and whoever still speaks to somebody are one process group, of which only this process knows.
END
{
	my $status = $?;
	for my $pid (grep { $running{$_} == $$ } keys %running)
	{
		kill 'KILL', -$pid;
		waitpid $pid, 0;
	}
	$? = $status;
}

1;
