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

is(query($node, q{SELECT count(*) FROM jdy_catalog WHERE kind = 'list'}), 141, 'the catalogue has all of them');
is(query($node, q{SELECT count(*) FROM jdy_catalog WHERE kind = 'list' AND start_param IS NULL}), 47, '47 have no filter for time');
is(query($node, q{SELECT count(*) FILTER (WHERE count_type = 'string'), count(*) FILTER (WHERE count_type = 'integer') FROM jdy_catalog WHERE kind = 'list'}),
	'64|66', '64 count in text, 66 in numbers, the others not at all');

# Of each it can be asked, before it is a stream, how it is read.
is(query($node, q{
	SELECT c.entry FROM jdy_catalog c CROSS JOIN LATERAL (SELECT string_agg(line, E'\n') AS text FROM jdy_explain(c.entry) AS line) e
	WHERE e.text NOT LIKE '%Proof of every run: %' OR e.text NOT LIKE '%To add it: %' OR CASE
		WHEN c.range_param IS NOT NULL THEN e.text !~ format('Window: a month each by %s.*in (accounting periods|days)', c.range_param)
		WHEN c.start_param IS NULL THEN e.text NOT LIKE '%Window: none%' OR e.text NOT LIKE '%whole list%'
		ELSE e.text NOT LIKE format('%%Window: %s and %s, in %s%%%s%%settles after 5 min%%', c.start_param, c.end_param,
			CASE c.window_format WHEN 'ms' THEN 'milliseconds' WHEN 'datetime' THEN 'times of' ELSE 'days of' END,
			COALESCE(c.window_off || ' leaves a side open', '')) END
	LIMIT 5}), '', 'jdy_explain says dialect and rule of each');

# What must be given is said when the stream is added.
my ($status, $out, $err) = $node->psql('postgres', "SELECT jdy_add_stream('coupons', 'kingdee')");
like($err, qr/the list "coupons" needs a value for "member_id"\nHINT:  Give metadata with it: '\{"api": "\/jdy\/v2\/ls\/coupons"/, 'a parameter that the service wants');

query($node, q{
	SELECT count(jdy_add_stream(entry, 'kingdee', CASE WHEN required <> '{}' THEN jsonb_build_object('api', api, 'effect', 'QUERY',
		'request', (SELECT jsonb_agg(jsonb_build_object('field', field, 'value', '1')) FROM unnest(required) AS field)) END))
	FROM jdy_catalog WHERE range_param IS NULL AND kind = 'list'});

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
			FROM jdysync."staging_$name" WHERE deleted_at IS NULL});

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
# two reads that are proven to have shown all of the list have lacked it.
is(query($node, q{SELECT count(jdy_alter_stream(entry, settle => '0')) FROM jdy_catalog WHERE id_fields = '{*}' AND range_param IS NULL AND kind = 'list'}), 3,
	'three lists show no key');

for my $entity (qw(customer sal_order))
{
	$sim->post('/_sim/change', { entity => $entity, op => 'insert', count => 3 });
	$sim->post('/_sim/change', { entity => $entity, op => 'update', count => 4 });
}
my $before = query($node, 'SELECT max(run_id) FROM jdy_runs');
run_all('the next run');
is(join("\n", grep { !/^(invoice_kp_query|inv_serial_track_bill_list|integral_record) / } split /\n/, wrong()), '', 'new records and changed ones are in all of them');

# In whatever way a window is asked: what changed was found in it, and little else was listed.
is(query($node, qq{
	SELECT concat_ws(' ', c.start_param, c.window_format, c.window_off), bool_and(r.inserted = 3 AND r.updated BETWEEN 1 AND 4 AND r.listed < 60)
	FROM jdy_runs r JOIN jdy_catalog c ON c.entry = r.name WHERE r.run_id > $before AND c.start_param IS NOT NULL AND c.entry NOT IN ('supplier', 'material') GROUP BY 1 ORDER BY 1}),
	join("\n", 'begin_date date|t', 'begin_time ms -1|t', 'data.modify_start_time ms|t', 'modify_start_time datetime|t', 'modify_start_time ms|t',
		'start_modified datetime|t', 'start_time datetime|t'), 'a changed row is found by its window in every dialect');

# The rows that went: three more reads at most.
for (1 .. 3)
{
	is(query($node, q{SELECT s.status FROM unnest('{invoice_kp_query,inv_serial_track_bill_list,integral_record}'::text[]) AS name,
		LATERAL jdy_sync(name) AS s WHERE s.status <> 'ok'}), '', 'one more read');
}
is(wrong(), '', 'rows that are their own keys: those that changed are there once');

# What takes no pages is certified by one count and one answer.
query($node, q{SELECT jdy_alter_stream('account_type', settle => '1 s')});
is(query($node, q{SELECT status FROM jdy_sync('account_type', 'verify')}), 'ok', 'a list without pages is verified');
is(query($node, q{SELECT proven, "count", calls FROM jdy_certificates WHERE name = 'account_type'}), 't|133|2', 'by two calls');

done_testing();
