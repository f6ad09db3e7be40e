# What the network does to a reply is told by its failure: a cut, malformed or oversized one is
# never complete, and one request never becomes two.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use Misbehaving;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = Misbehaving->start;
my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
# A proxy of the environment is none of ours.
$ENV{http_proxy} = $ENV{https_proxy} = $ENV{all_proxy} = 'http://127.0.0.1:9';
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION jdysync;
	CREATE FUNCTION http(server text, path text, method text DEFAULT 'GET', body text DEFAULT NULL) RETURNS text
		AS '\$libdir/jdysync', 'jdy_test_http' LANGUAGE C;
	CREATE SERVER faulty FOREIGN DATA WRAPPER jdysync OPTIONS (url '$server->{url}', auth 'bearer');
	CREATE USER MAPPING FOR CURRENT_USER SERVER faulty OPTIONS (token 's3cret');
	CREATE SERVER nobody FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:9', auth 'none');
	CREATE SERVER unknown FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://no-such-host.invalid', auth 'none');
});

# The reply to a request, as a hash.
sub http
{
	my ($path, $method, $body, $name) = @_;
	my $sql = sprintf "SELECT http('%s', '%s', '%s', %s)", $name // 'faulty', $path, $method // 'GET',
	  defined $body ? $body : 'NULL';

	return decode_json($node->safe_psql('postgres', $sql));
}

my $reply = http('/named');
is($reply->{failure}, 'complete', 'a good reply is complete');
is_deeply([ @$reply{qw(status length body content_type router retry_after_ms)} ],
	[ 200, 5, 'hello', 'application/json', 'https://tf.example', -1 ], 'with what its headers say');
like($reply->{date}, qr/^2015-10-21/, 'and the time of the service');
is(http('/zipped')->{body}, 'hello', 'compressed bodies are decoded');
is(http('/redirect')->{status}, 302, 'redirects are not followed');
is(http('/wait-7')->{retry_after_ms}, 7000, 'Retry-After in seconds');
is(http('/wait-date')->{retry_after_ms}, 9000, 'Retry-After as a date, by the clock of the service');

for my $path ('/cut', '/cut-chunk', '/bad-chunk', '/bad-gzip', '/no-http', '/reset')
{
	$reply = http($path);
	is($reply->{failure}, 'broken', "$path is broken");
	ok($reply->{sent} && $reply->{error} ne '', 'the request had left, and there is a reason');
}
is(http('/', 'GET', undef, 'nobody')->{failure}, 'connect', 'nobody listens');
$reply = http('/', 'GET', undef, 'unknown');
is($reply->{failure}, 'resolve', 'an unknown host');
ok(!$reply->{sent}, 'nothing was sent to it');

$reply = http('/bomb');
is_deeply([ @$reply{qw(failure length)} ], [ 'too large', 64 << 20 ], 'a body is cut at the cap, measured after decompression');
ok($reply->{truncated}, 'and says so');
is(http('/exactly-64MB')->{failure}, 'complete', 'the cap itself is allowed');
is(http('/headers')->{failure}, 'too large', 'so are headers capped');

like(http('/echo', 'POST', q{'{"a":1}'})->{body}, qr/^POST .*\r\n\r\n\{"a":1\}$/s, 'a body is sent as it is');
unlike(http('/echo', 'POST', q{repeat('x', 100000)})->{body}, qr/^Expect:/mi, 'without asking first');
like(http('/echo', 'POST')->{body}, qr/^Content-Length: 0\r/mi, 'an empty body has a length');
like(http('/echo', 'DELETE')->{body}, qr/^DELETE /, 'other methods too');
ok(!http('/no-body-wanted', 'POST', q{repeat('x', 50000000)})->{sent}, 'a body that did not leave whole was not sent');

# The connection is kept and then lost: the caller learns it, libcurl does not ask again on its own.
$node->safe_psql('postgres', q{CREATE FUNCTION http_twice(server text, path text, method text) RETURNS text
	AS '$libdir/jdysync', 'jdy_test_http_twice' LANGUAGE C});
for my $method ('GET', 'POST')
{
	is($node->safe_psql('postgres', "SELECT http_twice('faulty', '/then-gone', '$method')"),
		'complete, broken: the connection was lost before the reply', "one $method stays one request");
}

# A kept connection that ends meanwhile is no work for whoever waits for another reply.
$node->safe_psql('postgres', q{CREATE FUNCTION http_pair(server text, path text, other_path text) RETURNS integer
	AS '$libdir/jdysync', 'jdy_test_http_pair' LANGUAGE C});
cmp_ok($node->safe_psql('postgres', "SELECT http_pair('faulty', '/and-gone', '/late')"), '<', 300,
	'two seconds of waiting take next to no CPU');

$node->stop;
done_testing();
