# Every list that the documents name can be added by its name alone, loads completely, and is
# kept up to date: whatever its parameters for time and pages, its keys, its envelope.
#
# The simulator serves them as lists.tsv says, which was made from the documents apart from the catalogue.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 130, orders => 120, suppliers => 5, materials => 5, set => { %NO_LIMITS, window_default => 'nothing' });
my $node = pull_node('main');

is(query($node, 'SELECT count(*) FROM jdy_catalog'), 141, 'the catalogue has all of them');
is(query($node, 'SELECT count(*) FROM jdy_catalog WHERE start_param IS NULL'), 47, '47 have no filter for time');

# What must be given is said when the stream is added.
my ($status, $out, $err) = $node->psql('postgres', "SELECT jdy_add_stream('coupons', 'kingdee')");
like($err, qr/the list "coupons" needs a value for "member_id"\nHINT:  Give metadata with it: '\{"api": "\/jdy\/v2\/ls\/coupons"/, 'a parameter that the service wants');

query($node, q{
	SELECT count(jdy_add_stream(entry, 'kingdee', CASE WHEN required <> '{}' THEN jsonb_build_object('api', api, 'effect', 'QUERY',
		'request', (SELECT jsonb_agg(jsonb_build_object('field', field, 'value', '1')) FROM unnest(required) AS field)) END))
	FROM jdy_catalog});

# The lists whose streams do not hold what the records say that they borrow: orders where rows have a bill_no, else customers.
sub wrong
{
	my %truth = map { $_ => [$sim->lines("/_sim/truth?entity=$_")] } qw(customer sal_order);
	my %ids = map { $_ => join(',', sort map { $_->{id} } @{ $truth{$_} }) } keys %truth;
	my $names = join("\n", sort map { $_->{data}->{name} } @{ $truth{customer} });
	my @wrong;

	utf8::encode($names);

	for my $line (split /\n/, query($node, q{
		SELECT c.entry, id_fields = '{*}' OR array_length(id_fields, 1) > 1, number_field IS NOT DISTINCT FROM 'bill_no', detail_api IS NOT NULL
		FROM jdy_catalog c JOIN jdysync.stream s ON s.name = c.entry
		WHERE api NOT IN ('/jdy/v2/bd/customer', '/jdy/v2/bd/supplier', '/jdy/v2/bd/material', '/jdy/v2/scm/sal_order')}))
	{
		my ($name, $no_id, $is_document, $details) = split /\|/, $line;
		my $entity = $is_document eq 't' ? 'sal_order' : 'customer';
		my $count = @{ $truth{$entity} };
		my ($n, $detailed, $same_ids, $same_names) = split /\|/, query($node, qq{
			SELECT count(*), count(detailed_at), string_agg(id, ',' ORDER BY id COLLATE "C") = '$ids{$entity}',
				string_agg(data->>'name', E'\\n' ORDER BY data->>'name' COLLATE "C") = \$names\$$names\$names\$
			FROM jdysync."staging_$name"});

		push @wrong, "$name has $n records, not $count" if $n != $count;
		push @wrong, "$name has other ids" if $no_id eq 'f' && $same_ids ne 't';
		push @wrong, "$name has $detailed details" if $detailed != ($details eq 't' ? $n : 0);
		push @wrong, "$name has other names" if $entity eq 'customer' && $same_names ne 't';
	}
	return join "\n", @wrong;
}

sub run_all
{
	my ($what) = @_;

	is(query($node, q{SELECT stream, status, error FROM jdy_sync() WHERE status <> 'ok'}), '', "$what of all lists");
	is(query($node, q{SELECT name, reason FROM jdy_rejects LIMIT 5}), '', "$what sets nothing aside");
	return;
}

run_all('the first load');
is(wrong(), '', 'all of them hold every record');

# A whole row is its own key where nothing else is: a changed one is another, and the old one stays until
# it is proven to be gone.
is(query($node, q{SELECT count(jdy_drop_stream(entry)) FROM jdy_catalog WHERE id_fields = '{*}'}), 4, 'four lists show no key');

for my $entity (qw(customer sal_order))
{
	$sim->post('/_sim/change', { entity => $entity, op => 'insert', count => 3 });
	$sim->post('/_sim/change', { entity => $entity, op => 'update', count => 4 });
}
run_all('the next run');
is(wrong(), '', 'new records and changed ones are in all of them');

# What takes no pages is certified by one count and one answer.
query($node, q{SELECT jdy_alter_stream('account_type', settle => '1 s')});
is(query($node, q{SELECT status FROM jdy_sync('account_type', 'verify')}), 'ok', 'a list without pages is verified');
is(query($node, q{SELECT proven, "count", calls FROM jdy_certificates WHERE name = 'account_type'}), 't|133|2', 'by two calls');

# What is read by modify time is asked for what is new and not for all of it.
is( query($node, q{SELECT r.name, r.listed FROM jdy_runs r JOIN jdy_catalog c ON c.entry = r.name
	WHERE c.start_param IS NOT NULL AND r.run_id > (SELECT max(run_id) / 2 FROM jdy_runs) AND r.listed > 60 LIMIT 5}), '', 'by modify time where the service has it');

done_testing();
