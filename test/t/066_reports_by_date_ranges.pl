# A report is read by months: each of its rows belongs to one, figures of the open months are asked again
# in each run, and what a month does not show any more is gone once that is proven.
#
# The simulator's reports show, for a month, the records that were modified last in it: so a change moves a row
# from its month into this one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $START = '2025-07-01';
my $sim = start_sim(customers => 300, orders => 200, suppliers => 5, materials => 5, set => { %NO_LIMITS });
my $node = pull_node('main');
my @names = split /\n/, query($node, 'SELECT entry FROM jdy_catalog WHERE range_param IS NOT NULL ORDER BY entry');

is(scalar(@names), 13, 'so many are read by months');
is(query($node, q{SELECT count(*) FROM jdy_catalog WHERE kind = 'report'}), 13, 'and so many are reports: three belong to no month, three lists to one');

# What cannot be guessed is asked for, with an example.
sub complaint
{
	my ($entry, $metadata) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "SELECT jdy_add_stream('$entry', 'kingdee'" . ($metadata ? ", metadata => '$metadata'" : '') . ')');

	return $err;
}

like(complaint('sub_ledger_report'), qr/the list "sub_ledger_report" needs a value for "account_id"\nHINT:  Give metadata with it: '\{"api": "\/jdy\/v2\/fi\/sub_ledger_report"/,
	'a report of one account');
like(complaint('ca_debit_and_credit_trend'), qr/needs a value for "income_type"\nHINT: .*"income_type", "value": "…"\}, \{"field": "trend_type"/, 'all that is needed is named');
like(complaint('ar_report', '{"api":"/jdy/v2/arap/ar_report","request":[{"field":"start_date","value":"2026-01-01"}]}'),
	qr/needs a value for "end_date"/, 'half a span is none');

# Without start_from a report begins with the year.
like(complaint('profit_report'), qr/NOTICE:  "\/jdy\/v2\/fi\/profit_report" is read by months, from \d{4}-01-01 on/, 'it says where it begins');
is(query($node, q{SELECT s.start_from = date_trunc('year', now(), 'Asia/Shanghai') FROM jdysync.stream s WHERE name = 'profit_report'}), 't', 'at the beginning of this year');
drop_stream($node, 'profit_report');

query($node, qq{
	SELECT count(jdy_add_stream(entry, 'kingdee', CASE WHEN required <> '{}' THEN jsonb_build_object('api', api, 'effect', 'QUERY',
		'request', (SELECT jsonb_agg(jsonb_build_object('field', field, 'value', '1')) FROM unnest(required) AS field)) END,
		start_from => '$START', settle => '0'))
	FROM jdy_catalog WHERE range_param IS NOT NULL});

# By month of the last change, China time: how many records, of customers and of orders.
sub months
{
	my ($entity) = @_;
	my %months;

	for my $record ($sim->lines("/_sim/truth?entity=$entity"))
	{
		my $time = $record->{data}->{modify_time} // die 'no time';
		$months{ substr($time, 0, 7) }++ if $time ge $START;
	}
	return join ' ', map { "$_=$months{$_}" } sort keys %months;
}

sub wrong
{
	my ($condition) = @_;
	my %truth = map { $_ => months($_) } qw(customer sal_order);
	my @wrong;

	for my $name (@names)
	{
		my $is = query($node, qq{SELECT string_agg(number || '=' || n, ' ' ORDER BY number) FROM (
			SELECT left(id, 7) AS number, count(*) AS n FROM jdysync.staging_$name WHERE deleted_at IS NULL GROUP BY 1) AS m});
		my $ought = $truth{ $name =~ /order_statement|reconciliation/ ? 'sal_order' : 'customer' };

		push @wrong, "$name: $is, not $ought" if $is ne $ought;
	}
	return join "\n", @wrong;
}

sub run_all
{
	my ($what) = @_;

	is(query($node, q{SELECT stream, status, error FROM jdy_sync() WHERE status <> 'ok'}), '', $what);
	return;
}

run_all('the first load of all');
is(wrong(), '', 'every month has its rows');
is(query($node, q{SELECT number FROM jdysync.staging_ar_report WHERE id LIKE '2025-08|%' LIMIT 1}), '2025-08', 'the number says which month');
done_testing();
