# pg_dump and pg_restore carry a stream with its data, ledger and numbers: the copy goes on where
# the original stood, and the schema alone can be restored too.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 40, suppliers => 5, set => {%NO_LIMITS});
my $node = pull_node('main');
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';

sub dump_and_restore
{
	my ($database, @options) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'pg_dump', '-Fc', @options, '-f', $file, $node->connstr('postgres') ], "a dump for $database");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr($database), $file ], 'is restored');
	return;
}

add_stream($node, '客户', entry => "'customer'");
add_stream($node, 'moved', entry => "'supplier'", detail => 'false');
$node->safe_psql('postgres', 'CREATE SCHEMA elsewhere; ALTER TABLE jdysync.staging_moved SET SCHEMA elsewhere');
sync_ok($node, '客户', 'a stream');
sync_ok($node, 'moved', 'another, whose table stands elsewhere');
sync_ok($node, 'moved', 'a certificate', q{jdy_sync('moved', 'verify')});
sync_ok($node, '客户', 'an audit', q{jdy_sync('客户', 'audit')});

$node->safe_psql('postgres', q{INSERT INTO jdysync.lag SELECT stream_id, array_fill(1, '{14}'), array_fill(0, '{14}'), 7, '2 min', now() FROM jdysync.stream;
INSERT INTO jdysync.missed (stream_id, id, run_id, found_by, cause, later_than) SELECT stream_id, 'c1', 1, 'certificate', 'late', '2 min' FROM jdysync.stream});
$node->safe_psql('postgres', q{INSERT INTO jdysync.breaker VALUES ('kingdee', 7, now(), 'no reply in time', 2, now())});

dump_and_restore('copy');
my @state = (
	'SELECT s FROM jdysync.stream s ORDER BY 1',
	'SELECT l FROM jdysync.listing l ORDER BY 1',
	'SELECT w FROM jdysync."window" w ORDER BY 1',
	'SELECT g FROM jdysync.sighted g ORDER BY 1',
	'SELECT c FROM jdysync.certificate c ORDER BY 1',
	'SELECT l FROM jdysync.lag l ORDER BY 1',
	'SELECT m FROM jdysync.missed m ORDER BY 1',
	'SELECT l FROM jdy_lag l ORDER BY name, up_to',
	'SELECT m FROM jdy_missed m ORDER BY 1',
	'SELECT proven, "count" FROM jdy_certificates',
	'SELECT a FROM jdysync.audit a ORDER BY 1',
	'SELECT name, windows, details FROM jdy_audits',
	'SELECT count(*) FROM jdy_certified',
	'SELECT r FROM jdysync.run r ORDER BY 1',
	'SELECT k FROM jdysync.call k ORDER BY 1',
	'SELECT b FROM jdysync.breaker b ORDER BY 1',
	'SELECT h FROM jdysync.home h',
	'SELECT a FROM jdysync.agenda a ORDER BY 1',
	'SELECT c FROM jdysync.catalog c ORDER BY 1',
	'SELECT c FROM jdy_coverage c ORDER BY 1',
	'SELECT t FROM jdysync."staging_客户" t ORDER BY 1',
	'SELECT t FROM elsewhere.staging_moved t ORDER BY 1',
	(map { "SELECT last_value, is_called FROM jdysync.${_}_seq" } qw(stream_stream_id run_run_id certificate_certificate_id audit_audit_id reject_reject_id incident_id)));
for my $sql (@state)
{
	is($node->safe_psql('copy', $sql), $node->safe_psql('postgres', $sql), "the same: $sql");
}

$sim->post('/_sim/change', { entity => 'customer', op => 'insert', count => 3 });
is($node->safe_psql('copy', q{SELECT string_agg(DISTINCT status, ',') FROM jdy_status}), 'held', 'a copy is held');
is($node->safe_psql('copy', 'SELECT jdy_adopt()'), '2', 'until it is adopted');
is($node->safe_psql('copy', q{SELECT run_id, status, inserted FROM jdy_sync('客户')}), '5|ok|3', 'the copy makes an incremental run');
like($node->safe_psql('copy', q{SELECT jdy_add_stream('material', 'kingdee')}), qr/staging_material/, 'and takes a new stream');

dump_and_restore('bare', '--schema-only');
is($node->safe_psql('bare', 'SELECT count(*) FROM jdysync.stream'), '0', 'the schema alone has no streams');
is($node->safe_psql('bare', q{SELECT jdy_add_stream('客户', 'kingdee', entry => 'customer')}), 'jdysync."staging_客户"',
	'and a table that came with it is adopted');

done_testing();
