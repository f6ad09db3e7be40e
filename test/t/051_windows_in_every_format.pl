# A service may want the times of a window as milliseconds, seconds or date-times.  The
# metadata says which, in whatever spelling: the window itself is jdysync's.  A time
# in another format would be ignored by the service, and the answer would be the whole list.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 330, set => {%NO_LIMITS});

# The session's own zone must not matter: the service's times are those of the server's time_zone.
my $node = pull_node('main', conf => "TimeZone = 'America/New_York'\n");

# What the service reads, what the metadata says of start and end, and how a time looks on the wire.
my %on_the_wire = (ms => qr/^\d{13}$/, s => qr/^\d{10}$/, datetime => qr/^\d{4}-\d\d-\d\d(?:%20|\+)\d\d(?:%3A|:)\d\d(?:%3A|:)\d\d$/i);
my @spellings = (
	[ 'ms', '_function {LAST_SYNC_TIME}*1000', '_function {CURRENT_TIME}*1000' ],
	[ 'ms', '{{LAST_SYNC_TIME}}000', '{{CURRENT_TIME|timestamp_ms}}' ],
	[ 's', '_function {LAST_SYNC_TIME}', '_function {CURRENT_TIME}' ],
	[ 's', '{{LAST_SYNC_TIME}}', '{CURRENT_TIME}' ],
	[ 's', '_function {{LAST_SYNC_TIME}} - 600', '_function {{CURRENT_TIME}} + 60' ],
	[ 'datetime', '{{LAST_SYNC_TIME|datetime}}', '{{CURRENT_TIME|datetime}}' ],
	[ 'datetime', "_function FROM_UNIXTIME({{LAST_SYNC_TIME}} - 600, '%Y-%m-%d %H:%i:%s')", "_function FROM_UNIXTIME({CURRENT_TIME}, '%Y-%m-%d %H:%i:%s')" ],
	[ 'datetime', "_function FROM_UNIXTIME({{LAST_SYNC_TIME}}, '%Y-%m-%d %T')", '{{CURRENT_TIME|datetime}}' ]);

sub metadata
{
	my ($start, $end) = @_;
	my $json = JSON::PP->new->canonical->encode({
		api => $LIST, effect => 'QUERY', method => 'GET', id => 'id', number => 'number', name => 'name', idCheck => JSON::PP::true,
		request => [
			{ field => 'modify_start_time', label => '修改时间起', type => 'string', value => $start },
			{ field => 'modify_end_time', label => '修改时间止', type => 'string', value => $end },
			{ field => 'enable', value => '-1' }, { field => 'page', value => '1' }, { field => 'page_size', value => '50' } ] });

	return $node->safe_psql('postgres', 'SELECT quote_literal($json$' . $json . '$json$)') . '::jsonb';
}

my $clock_offset_ms = 0;
my $minutes = 0;

# The service's clock goes on by so many seconds.
sub later
{
	$clock_offset_ms += 1000 * $_[0];
	$sim->post('/_sim/config', { clock_offset_ms => $clock_offset_ms });
	return;
}

# The bounds of all windows asked lately; both ends of each, or the list was asked as a whole.
sub bounds_on_the_wire
{
	return map { my $url = $_; map { $url =~ /[?&]modify_${_}_time=([^&]*)/ ? $1 : '' } 'start', 'end' }
	  grep { m{^\Q$LIST\E\?} } map { $_->{url} } @{ $sim->get('/_sim/requests?n=1000') };
}

sub wrong_bounds
{
	my ($format) = @_;

	return join ' ', grep { $_ !~ $on_the_wire{$format} } bounds_on_the_wire();
}

sub pulls_by_windows
{
	my ($format, $start, $end) = @_;

	add_stream($node, 'customer', metadata => metadata($start, $end));
	sync_ok($node, 'customer', 'first load');
	is_true($node, 'customer', 'staging equals the truth');

	$sim->post('/_sim/stats/reset');
	my $new = $sim->post('/_sim/change', { op => 'insert', count => 7 })->{ids};
	$sim->post('/_sim/change', { op => 'update', ids => [ split /\n/, query($node, 'SELECT id FROM jdysync.staging_customer ORDER BY id LIMIT 5') ] });
	my $run = sync_ok($node, 'customer', 'a run after changes');
	is_true($node, 'customer', 'a change made a moment ago is there');
	is("$run->{inserted} $run->{updated}", '7 5', 'seven new, five changed');
	cmp_ok(scalar(bounds_on_the_wire()), '>', 2, 'windows were asked');
	is(wrong_bounds($format), '', 'with times as the service reads them');

	# Settled, and then further back than the overlap: by the service's clock, which counts.
	later(10);
	sync_ok($node, 'customer', 'a run when the changes have settled');
	later(10);
	$sim->post('/_sim/stats/reset');
	$run = sync_ok($node, 'customer', 'a quiet run');
	is("$run->{listed} $run->{details}", '0 0', 'finds nothing');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<=', 3, 'with at most three calls');
	is(wrong_bounds($format), '', 'all of them windows');

	# Years, and a minute in which three records came late to each second: windows are split until each
	# fits into an answer, and a record on the edge of one is in it or in its neighbour.
	query($node, q{DELETE FROM jdysync.staging_customer WHERE modified_at < '2026-01-01+8' AND hashtext(id) % 5 = 0});
	my $minute = 1_767_240_000 + 60 * ++$minutes;
	$sim->post('/_sim/change', { op => 'insert', count => 3, at_ms => 1000 * ($minute + $_) }) for 0 .. 59;
	$run = sync_ok($node, 'customer', 'three years again', "jdy_resync('customer', '2023-01-01+8', '2026-01-01+8')");
	cmp_ok($run->{inserted}, '>', 10, 'what was missing is found');
	$run = sync_ok($node, 'customer', 'that minute', "jdy_resync('customer', to_timestamp($minute), to_timestamp($minute + 60))");
	is($run->{inserted}, 180, 'all that came late are found');
	is_true($node, 'customer', 'staging equals the truth');
	is(wrong_bounds($format), '', 'by windows');

	is(query($node, 'SELECT count(*) FROM jdy_incidents WHERE closed_at IS NULL'), '0', 'no incident');
	is(query($node, q{SELECT count(*) FROM jdysync.window WHERE rule LIKE '%one answer%'}) > 0, 1, 'windows were proven');
	drop_stream($node, 'customer');
	return;
}

for my $case (@spellings)
{
	my ($format, $start, $end) = @$case;

	$sim->post('/_sim/config', { window_format => $format });
	subtest "$format: $start … $end" => sub { pulls_by_windows($format, $start, $end) };
}

# Not documented, so it may be either: whether the bounds belong to the window.
for my $format ('s', 'datetime')
{
	my ($case) = grep { $_->[0] eq $format } @spellings;

	$sim->post('/_sim/config', { window_format => $format, lower_edge => 'exclusive', upper_edge => 'exclusive' });
	subtest "$format, bounds not included" => sub { pulls_by_windows(@$case) };
	$sim->post('/_sim/config', { lower_edge => 'inclusive', upper_edge => 'inclusive' });
}

# Metadata that says another format than the service reads: seen, and nothing is lost.
subtest 'seconds for a service that reads date-times' => sub {
	$sim->post('/_sim/config', { window_format => 'datetime' });
	add_stream($node, 'customer', metadata => metadata('{{LAST_SYNC_TIME}}', '{{CURRENT_TIME}}'));
	sync_ok($node, 'customer', 'first load');
	$sim->post('/_sim/change', { op => $_, count => 9 }) for 'insert', 'update';
	sync_ok($node, 'customer', 'a run after changes');
	is_true($node, 'customer', 'staging equals the truth: the whole list was read');
	like(query($node, 'SELECT what || advice FROM jdy_incidents WHERE closed_at IS NULL'), qr/time parameters in the metadata/, 'an incident says what to mend');
	drop_stream($node, 'customer');
};

$node->stop;
done_testing();
