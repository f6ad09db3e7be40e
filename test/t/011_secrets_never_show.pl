# No secret shows in what jdysync writes: the server's log at its most talkative, errors, pg_stat_activity,
# its tables and views, notifications.  (What PostgreSQL itself logs of CREATE USER MAPPING when log_statement
# says so is not ours: the mappings here are made with it off.)
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use Misbehaving;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 30, set => { token_window_ms => 2000, rate_window_ms => 2000 });
my $node = new_node('main', server => { rate_window => '2 s' }, conf => "log_statement = none\nlog_min_error_statement = debug5\nlog_error_verbosity = verbose\n");
my $server = Misbehaving->start;
my $settings = $sim->get('/_sim/config');
my @secrets = ('s3cret', map { $settings->{$_} // $JdyTest::CREDENTIALS{$_} } qw(client_secret app_secret));

# What holds a secret in $text, for the message of a failing test.
sub leaks
{
	my ($text) = @_;

	return join "\n", grep { my $line = $_; grep { index($line, $_) >= 0 } @secrets } split /\n/, $text;
}

# Mappings that are refused: the statement stays out of the log, also when it was made by a function.
$node->safe_psql('postgres', "CREATE SERVER faulty FOREIGN DATA WRAPPER jdysync OPTIONS (url '$server->{url}', auth 'bearer', timeout '500 ms')");
my $errors = '';
for my $options ("tokne 's3cret'", "token 's3cret', client_id 's3cret'", "token E's3cret\\n'", "token 's3cret', token_file '/s3cret'",
	"token_file 's3cret'")
{
	my $mapping = "CREATE USER MAPPING FOR CURRENT_USER SERVER faulty OPTIONS ($options)";

	for my $statement ($mapping, "DO \$do\$ BEGIN $mapping; END \$do\$")
	{
		my ($rc, undef, $error) = $node->psql('postgres', $statement);

		is($rc, 3, 'refused');
		# What psql repeats of the statement is the caller's own.
		$errors .= join "\n", grep { /^(psql|ERROR|DETAIL|HINT)/ && !/statement "/ } split /\n/, $error;
	}
}
for my $url ('https://user:s3cret@a.example', 'https://a.example/?key=s3cret', "https://a.example/\ts3cret")
{
	my (undef, undef, $error) = $node->psql('postgres', "CREATE SERVER leaky FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url')");

	$errors .= join "\n", grep { /^(psql|ERROR|DETAIL|HINT)/ } split /\n/, $error;
}
like($errors, qr/invalid option value/, 'errors were collected');
is(leaks($errors), '', 'errors of the validator quote no value');

# A warning quotes nothing either.
$node->psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER faulty OPTIONS (client_id 'a', app_secret 's3cret')");

# From here on PostgreSQL logs every statement: none of ours holds a secret.
$node->append_conf('postgresql.conf', "log_statement = all\nlog_min_messages = debug5\nlog_duration = on\nlog_min_duration_statement = 0\n"
	  . "debug_print_parse = on\ndebug_print_plan = on\n");
$node->safe_psql('postgres', 'DROP USER MAPPING FOR PUBLIC SERVER faulty;');
$node->safe_psql('postgres', "CREATE USER MAPPING FOR CURRENT_USER SERVER faulty OPTIONS (token 's3cret')");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('log_statement') = 'all'");

# Calls that carry a secret in a header, and go wrong in every way.
$node->safe_psql('postgres', q{CREATE FUNCTION http(server text, path text, method text DEFAULT 'GET', body text DEFAULT NULL) RETURNS text
	AS '$libdir/jdysync', 'jdy_test_http' LANGUAGE C});
my $replies = '';
for my $path (qw(/hello /cut /cut-chunk /bad-chunk /bad-gzip /no-http /reset /headers /silent /drip /nowhere))
{
	$replies .= $node->safe_psql('postgres', "SELECT http('faulty', '$path')") . "\n";
}
like($replies, qr/"failure": "timeout"/, 'calls went wrong');
is(leaks($replies), '', 'how a call failed tells no secret');

# Runs, good and bad: signed calls, two tokens (a third would have to wait a minute), a secret that ended.
$node->safe_psql('postgres', "SELECT jdy_add_stream('customer', 'kingdee')");
$node->safe_psql('postgres', "SELECT * FROM jdy_sync('customer')");
$sim->post('/_sim/expire_tokens');
$sim->post('/_sim/change', { entity => 'customer', op => 'update', count => 5 });
$node->safe_psql('postgres', "SELECT * FROM jdy_sync('customer')");
$sim->post('/_sim/fault', { kind => $_, times => 1 }) for qw(reset_after cut html json);
$sim->post('/_sim/change', { entity => 'customer', op => 'update', count => 5 });
$node->safe_psql('postgres', "SELECT * FROM jdy_sync('customer')");
$sim->post('/_sim/rotate_client_secret', { client_secret => '00000000000000000000000000000000' });
my ($failed, undef, $problem) = $node->psql('postgres', "SELECT * FROM jdy_sync('customer')");
is($failed, 3, 'a run with a secret that is no longer valid fails');

# Tokens and signatures are secrets too; the simulator remembers what it was sent.
my @sent = map { ($_->{app_token} // (), ($_->{url} // '') =~ /app_signature=([^&]+)/g) } @{ as_list($sim->get('/_sim/requests?n=1000')) };
push @secrets, grep { length > 8 } @sent;
cmp_ok(scalar(@sent), '>', 10, 'calls carried tokens');
is(leaks($problem), '', 'nor does its error');

my @relations = split /\n/, $node->safe_psql('postgres', q{
	SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'v') AND (n.nspname = 'jdysync' OR c.relname LIKE 'jdy\_%')});
cmp_ok(scalar(@relations), '>', 10, 'there are tables and views to look into');
for my $relation (@relations)
{
	is(leaks($node->safe_psql('postgres', "SELECT t::text FROM $relation t")), '', "$relation holds no secret");
}
like($node->safe_psql('postgres', 'SELECT url FROM jdy_calls'), qr/app_signature/, 'token calls are among the calls');
is(leaks($node->safe_psql('postgres', 'SELECT backend_type, application_name, query FROM pg_stat_activity')), '',
	'pg_stat_activity shows no secret');
unlike($node->safe_psql('postgres', q{SELECT application_name, query FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%'}),
	qr/customer/, 'and no name of a stream');

$node->stop;
my $log = slurp_file($node->logfile);

like($log, qr/jdy_sync/, 'the log has the statements');
is(leaks($log), '', 'the log holds no secret');
done_testing();

sub as_list
{
	my ($value) = @_;

	return ref $value eq 'ARRAY' ? $value : $value->{requests};
}
