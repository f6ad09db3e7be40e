# What the simulator's own tests share: its process, an HTTP client that sees how
# a reply ended on the wire, and the client's side of the signature.  None of it
# uses the extension or PostgreSQL: it is what they are measured with.
#
#	start_simulator('--customers', 252);
#	fresh(rate_limit => 5);						# reset, switches, a token
#	business($list, 'page=1');					# {status, headers, body, ended}
#	control('POST', 'fault', { kind => 'reset' });
#	stop_simulator();
package JdyWire;

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha256_hex);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw($json $port $token $client_secret $token_path $authorize_path $list $detail
  start_simulator stop_simulator http control config percent hmac88 signed_headers signed ask_token
  new_token business page errcode fresh truth_count poll);

our $json = JSON::PP->new->utf8->canonical;
our $port;
our $token;
our $client_secret = 'f2adcfef73369bfc4e1384677d38a0ff';
our $token_path = '/jdyconnector/app_management/kingdee_auth_token';
our $authorize_path = '/jdyconnector/app_management/push_app_authorize';
our $list = '/jdy/v2/bd/customer';
our $detail = '/jdy/v2/bd/customer_detail';

my $app_secret = '0123456789abcdef0123456789abcdef01234567';
my $sim_dir = dirname(abs_path(__FILE__)) . '/../sim';
my $dir = tempdir(CLEANUP => 1);
my $pid;

# ---------------------------------------------------------------------------
# The simulator's process.  JDYSIM_WRAPPER may put valgrind in front of it.
# ---------------------------------------------------------------------------
# Builds and starts it: a test must not pass with the program of yesterday.
sub start_simulator
{
	is(system('make', '-s', '-C', $sim_dir, 'jdysim'), 0, 'the simulator builds');
	my @command = (
		split(' ', $ENV{JDYSIM_WRAPPER} // ''),
		"$sim_dir/jdysim", '--port-file', "$dir/port", @_);

	$pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open(STDOUT, '>', "$dir/out") or die;
		exec(@command) or die "exec: $!";
	}
	my $end = time() + 60;
	sleep(0.01) until -s "$dir/port" || time() > $end;
	open(my $f, '<', "$dir/port") or die "the simulator did not start";
	chomp($port = <$f>);
	return;
}

# It stops when asked to, and has said nothing else but where it listens.
sub stop_simulator
{
	kill('TERM', $pid);
	waitpid($pid, 0);
	is($?, 0, 'the simulator stops when asked to');
	undef $pid;
	open(my $said, '<', "$dir/out") or die;
	is(join('', <$said>), "jdysim: listening on http://127.0.0.1:$port\n", 'it printed one line');
	return;
}

END
{
	my $status = $?;
	if ($pid)
	{
		kill('TERM', $pid);
		waitpid($pid, 0);
	}
	$? = $status;
}

# ---------------------------------------------------------------------------
# A small HTTP client that reports how the reply ended.
# ---------------------------------------------------------------------------

# Returns {status, headers, body, ended}; ended is 'whole', 'cut', 'reset',
# 'closed' (before a reply) or 'silent' (nothing within wait seconds).
sub http
{
	my ($method, $target, $headers, $body, $wait) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port")
	  or die "connect: $@";
	my $request = "$method $target HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n";
	$request .= "$_: $headers->{$_}\r\n" for sort keys %{ $headers // {} };
	$request .= 'Content-Length: ' . length($body) . "\r\n" if defined $body;
	$request .= "\r\n" . ($body // '');
	syswrite($socket, $request);

	my $data = '';
	my $select = IO::Select->new($socket);
	my $reset = 0;
	my %reply = (ended => 'whole', first_pieces => 0);
	while (1)
	{
		if (!$select->can_read($wait // 60))
		{
			$reply{ended} = 'silent';
			return \%reply;
		}
		my $n = sysread($socket, $data, 1 << 20, length($data));
		$reset = 1 if !defined $n;
		last if !$n;
		$reply{first_pieces}++;
	}
	if ($data eq '')
	{
		$reply{ended} = $reset ? 'reset' : 'closed';
		return \%reply;
	}
	my ($head, $rest) = split(/\r\n\r\n/, $data, 2);
	my ($first, @lines) = split(/\r\n/, $head);
	($reply{status}) = $first =~ m{^HTTP/1\.1 (\d+)};
	$reply{headers} = { map { /^([^:]+): (.*)$/ ? (lc($1), $2) : () } @lines };
	$reply{body} = $rest;
	$reply{body} = joined_chunks($rest)
	  if ($reply{headers}{'transfer-encoding'} // '') eq 'chunked';
	my $length = $reply{headers}{'content-length'};
	$reply{ended} = 'cut' if defined $length && length($rest) < $length;
	return \%reply;
}

sub joined_chunks
{
	my ($rest) = @_;
	my $body = '';

	while ($rest =~ s/^([0-9a-fA-F]+)\r\n//)
	{
		my $n = hex($1);
		last if $n == 0;
		$body .= substr($rest, 0, $n);
		substr($rest, 0, $n + 2) = '';
	}
	return $body;
}

sub control
{
	my ($method, $path, $body) = @_;
	my $reply = http($method, "/_sim/$path", {}, defined $body ? $json->encode($body) : undef);

	die "control $path: $reply->{body}" if $reply->{status} != 200;
	return ($reply->{headers}{'content-type'} // '') =~ /ndjson/ ? $reply->{body} : $json->decode($reply->{body});
}

sub config { return control('POST', 'config', {@_}); }

# ---------------------------------------------------------------------------
# The client's side of the signature.
# ---------------------------------------------------------------------------
sub percent
{
	my ($text) = @_;

	$text =~ s/([^A-Za-z0-9\-_.~])/sprintf('%%%02X', ord($1))/ge;
	return $text;
}

sub hmac88 { return encode_base64(hmac_sha256_hex($_[1], $_[0]), ''); }

# Signs what is on the wire, encoded once more.
sub signed_headers
{
	my ($method, $path, $wire, %o) = @_;
	my $stamp = $o{stamp} // int(time() * 1000);
	my $nonce = $o{nonce} // int(rand(1e10));
	my @pairs = sort { $a->[0] cmp $b->[0] }
	  map { my ($n, $v) = split(/=/, $_, 2); [ $n, $v // '' ] } split(/&/, $wire);
	my $query = join('&', map { percent($_->[0]) . '=' . percent($_->[1]) } @pairs);
	my $text = join("\n", $method, percent($path), $query,
		"x-api-nonce:$nonce", "x-api-timestamp:$stamp", '');

	return {
		'X-Api-ClientID' => '200421',
		'X-Api-Auth-Version' => '2.0',
		'X-Api-TimeStamp' => $stamp,
		'X-Api-Nonce' => $nonce,
		'X-Api-SignHeaders' => 'X-Api-TimeStamp,X-Api-Nonce',
		'X-Api-Signature' => hmac88($o{secret} // $client_secret, $text),
		%{ $o{headers} // {} }
	};
}

sub signed
{
	my ($method, $path, $wire, %o) = @_;
	my $headers = signed_headers($method, $path, $wire, %o);

	return http($method, $path . ($wire ne '' ? "?$wire" : ''), $headers, $o{body}, $o{wait});
}

sub ask_token
{
	my ($secret) = @_;
	my $wire = 'app_key=AbCdEf12&app_signature=' . percent(hmac88($secret // $app_secret, 'AbCdEf12'));

	return signed('GET', $token_path, $wire);
}

sub new_token
{
	$token = $json->decode(ask_token()->{body})->{data}{'app-token'};
	return;
}

sub business
{
	my ($path, $wire, %o) = @_;
	my %headers = ('app-token' => $token, 'X-GW-Router-Addr' => 'https://tf.jdy.com',
		%{ $o{headers} // {} });

	delete $headers{$_} for grep { !defined $headers{$_} } keys %headers;
	return signed($o{method} // 'GET', $path, $wire, %o, headers => \%headers);
}

# The data of a list page; dies when the reply is no page.
sub page
{
	my ($wire, $path) = @_;
	my $reply = business($path // $list, $wire);

	return $json->decode($reply->{body})->{data} // die "no page: $reply->{body}";
}

sub errcode { return $json->decode($_[0]->{body})->{errcode}; }

# Back to the start, with the rates off unless a test is about them.
sub fresh
{
	control('POST', 'reset');
	config(token_limit => 0, rate_limit => 0, gzip => JSON::PP::false, @_);
	new_token();
	return;
}

sub truth_count
{
	return scalar(() = control('GET', 'truth?entity=customer') =~ /\n/g);
}

sub poll
{
	my ($what) = @_;
	my $end = time() + 30;

	while (time() < $end)
	{
		return 1 if $what->();
		select(undef, undef, undef, 0.01);
	}
	return 0;
}

1;
