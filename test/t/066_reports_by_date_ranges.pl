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
is(query($node, q{SELECT DISTINCT number FROM jdysync.staging_ar_report WHERE id LIKE '2025-08|%'}), '2025-08', 'the number says which month');
is(query($node, q{SELECT count(*) FROM jdy_coverage WHERE loaded_at IS NOT NULL AND complete_until IS NULL AND listed_until IS NOT NULL}), 13,
	'they are loaded; that nothing is missed before some time is not promised');

# What a run asks: this month and the last one, and no more.
my $this_month = query($node, q{SELECT to_char(now() AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM')});
my $last_month = query($node, q{SELECT to_char((now() AT TIME ZONE 'Asia/Shanghai') - interval '1 month', 'YYYY-MM')});

sub change
{
	my (%change) = @_;

	return $sim->post('/_sim/change', { entity => 'customer', %change })->{ids};
}

sub asked
{
	my ($name, $call) = @_;

	my $before = @{ $sim->get('/_sim/requests?n=1000') };
	my $run = sync_ok($node, $name, "$name: " . ($call // 'a run'), $call);
	my %months;

	my @requests = @{ $sim->get('/_sim/requests?n=1000') };
	for my $request (@requests[ $before .. $#requests ])
	{
		$months{"$1-$2"}++ if $request->{url} =~ /start_date=(\d{4})-(\d\d)-01/;
	}
	return ($run, join ' ', map { "$_:$months{$_}" } sort keys %months);
}

# Some of those in this month's figures.
sub change_some
{
	my ($op, $n) = @_;
	my @ids = split /\n/, query($node, qq{SELECT split_part(id, '|', 2) FROM jdysync.staging_ar_report WHERE id LIKE '$this_month|%' AND deleted_at IS NULL ORDER BY id LIMIT $n});

	change(op => $op, ids => \@ids);
	return @ids;
}

sub live { my ($name) = @_; return query($node, "SELECT count(*) FROM jdysync.staging_$name WHERE deleted_at IS NULL AND id LIKE '$this_month|%'"); }
sub incident { my ($what) = @_; return query($node, "SELECT count(*) FROM jdy_incidents WHERE what = '$what' AND closed_at IS NULL"); }

subtest 'a run that finds nothing new' => sub {
	my ($run, $months) = asked('ar_report');

	is("$run->{calls} $run->{inserted} $run->{updated} $run->{deleted}", '2 0 0 0', 'two calls');
	is($months, "$last_month:1 $this_month:1", 'for the last month and this one');
	query($node, q{SELECT jdy_alter_stream('ar_report', overlap => '0')});
	is((asked('ar_report'))[1], "$this_month:1", 'overlap 0: this one only');
	query($node, q{SELECT jdy_alter_stream('ar_report', overlap => '10 min')});
	is((asked('ar_report', q{jdy_resync('ar_report', '2025-08-15', '2025-10-01 00:00+08')}))[1], '2025-08:1 2025-09:1', 'jdy_resync asks the months that it touches');
	sync_fails($node, 'ar_report', '0A000', qr/cannot be (?:certified|audited).*jdy_sync\('ar_report', 'full'\)/s, "mode $_", call => qq{jdy_sync('ar_report', '$_')}) for qw(verify audit);
};

subtest 'what leaves a month' => sub {
	# They were modified in July 2025 and are now: in this month's figures, and no more in those of July.
	my @july = split /\n/, query($node, q{SELECT split_part(id, '|', 2) FROM jdysync.staging_ar_report WHERE id LIKE '2025-07|%' ORDER BY id LIMIT 3});

	change(op => 'update', ids => \@july);
	is((asked('ar_report'))[0]->{inserted}, 3, 'this month has them');
	is(query($node, q{SELECT count(*) FROM jdysync.staging_ar_report WHERE id LIKE '2025-07|%' AND deleted_at IS NOT NULL}), 0, 'July is not asked');
	is(sync_ok($node, 'ar_report', 'full', q{jdy_sync('ar_report', 'full')})->{deleted}, 0, 'read once without them proves nothing yet');
	my ($run, $months) = asked('ar_report');
	like($months, qr/^2025-07:1 $last_month:1 $this_month:1$/, 'the next run asks July again');
	is($run->{deleted}, 3, 'they are gone');
	is((asked('ar_report'))[1], "$last_month:1 $this_month:1", 'and July is not asked any more');

	# Twice is not enough, it must be settle apart.
	query($node, q{SELECT jdy_alter_stream('ar_report', settle => '1 day')});
	change(op => 'delete', ids => [ $july[0] ]);
	is(sync_ok($node, 'ar_report', "a run that lacks one, $_")->{deleted}, 0, 'not yet') for 1 .. 2;
	query($node, q{SELECT jdy_alter_stream('ar_report', settle => '0')});
	is(sync_ok($node, 'ar_report', 'a run after that time')->{deleted}, 1, 'now it is gone');
};

subtest 'a month of many pages' => sub {
	change(op => 'insert', count => 240);
	my ($run) = asked('ar_report');
	is("$run->{inserted} $run->{deleted}", '240 0', 'all came');
	is(incident('report not proven'), 0, 'a second scan proves that they are all');
	my @gone = change_some('delete', 4);
	sync_ok($node, 'ar_report', 'a run without some') for 1 .. 2;
	is(query($node, "SELECT count(*) FROM jdysync.staging_ar_report WHERE deleted_at IS NOT NULL AND id IN ('" . join("','", map { "$this_month|$_" } @gone) . "')"), 4,
		'those that were deleted are gone');

	# Where the service counts others than it shows, nothing is gone: not even where the count is a full page.
	query($node, q{SELECT jdy_alter_stream('ar_report', overlap => '0')});
	$sim->post('/_sim/config', { count_lie => 100 - live('ar_report') });
	sync_ok($node, 'ar_report', 'a run with a count that is a full page');
	is(query($node, q{SELECT count(*) FROM jdysync.absent}), 0, 'nothing is taken for absent');
	$sim->post('/_sim/config', { count_lie => 1 });
	change_some('delete', 2);
	is(sync_ok($node, 'ar_report', 'a run with a wrong count')->{deleted}, 0, 'nothing is marked') for 1 .. 2;
	is(incident('report not proven'), 1, 'an incident says so');
	$sim->post('/_sim/config', { count_lie => 0 });
	query($node, q{SELECT jdy_alter_stream('ar_report', overlap => '10 min')});
	sync_ok($node, 'ar_report', 'a run with the right one') for 1 .. 2;
	is(incident('report not proven'), 0, 'it is over');
	is(live('ar_report'), months('customer') =~ /$this_month=(\d+)/ ? $1 : 0, 'now they are gone');
};

subtest 'much that is gone at once' => sub {
	change_some('delete', 60);
	is(sync_ok($node, 'ar_report', 'a run')->{deleted}, 0, 'nothing is marked') for 1 .. 3;
	is(incident('mass delete'), 1, 'it is held');
	is(query($node, q{SELECT jdy_accept_deletes('ar_report')}), 60, 'accepted');
	sync_ok($node, 'ar_report', 'the next runs') for 1 .. 2;
	is(live('ar_report'), months('customer') =~ /$this_month=(\d+)/ ? $1 : 0, 'and gone');
};

# A row that is its own key and changes goes and comes: the brake does not count that.
subtest 'rows that are their own keys' => sub {
	sync_ok($node, 'sal_summary_rpt_ims', 'a run') for 1 .. 3;
	my $live = live('sal_summary_rpt_ims');

	cmp_ok($live, '>', 100, 'many rows');
	change_some('update', 40);
	sync_ok($node, 'sal_summary_rpt_ims', 'a run after forty changed');
	is(live('sal_summary_rpt_ims'), $live + 40, 'they came, those before are not proven to be gone');
	sync_ok($node, 'sal_summary_rpt_ims', 'the next run');
	is(live('sal_summary_rpt_ims'), $live, 'then they are gone');
	is(incident('mass delete'), 0, 'nothing is held');

	# So it is in a list of no month, where the read that shows the new rows is not repeated.
	query($node, q{SELECT jdy_add_stream('integral_record', 'kingdee', settle => '0')});
	sync_ok($node, 'integral_record', 'first load');
	change_some('update', 40);
	is(sync_ok($node, 'integral_record', "run $_ after forty changed")->{deleted}, 0, 'nothing is proven to be gone') for 1 .. 2;
	is(sync_ok($node, 'integral_record', 'run 3')->{deleted}, 40, 'forty are');
	is(incident('sort key not known'), 0, 'and that it was read whole needs no order');
	is(query($node, q{SELECT count(*) FROM jdysync.staging_integral_record WHERE deleted_at IS NULL}), scalar(my @all = $sim->lines('/_sim/truth?entity=customer')),
		'every row is there once');

	# A certificate names rows as they are, and what it lacks is held to be no less.
	sync_ok($node, 'integral_record', 'verify', q{jdy_sync('integral_record', 'verify')});
	change_some('update', 40);
	sync_ok($node, 'integral_record', 'verify after forty changed', q{jdy_sync('integral_record', 'verify')});
	is(query($node, q{SELECT string_agg(format('%s %s %s', proven, "count", absent), ', ' ORDER BY certificate_id) FROM jdy_certificates WHERE name = 'integral_record'}),
		't ' . @all . ' 0, t ' . @all . ' 40', 'both are certified, the second lacks forty');
	is(incident('mass delete'), 0, 'nothing is held');
	is(sync_ok($node, 'integral_record', 'a run')->{deleted}, 40, 'which are gone');
};

subtest 'a load that stops goes on with the month it was at' => sub {
	query($node, q{SELECT jdy_drop_stream('profit_report', false)});
	query($node, qq{SELECT jdy_add_stream('profit_report', 'kingdee', start_from => '$START')});
	$sim->post('/_sim/fault', { kind => 'errcode', errcode => 1030002001, path => 'profit_report', after => 6, times => 1 });
	sync_fails($node, 'profit_report', 'HV000', qr/1030002001/, 'a month is refused');
	my $all = query($node, qq{SELECT (extract(year FROM a) * 12 + extract(month FROM a))::int + 1 FROM age(date_trunc('month', now() AT TIME ZONE 'Asia/Shanghai'), '$START') AS a});
	is(sync_ok($node, 'profit_report', 'the next run')->{calls}, $all - 6, 'six months are not asked again');
	is(query($node, q{SELECT count(*) FROM jdysync.staging_profit_report}), eval { my $n = 0; $n += $_ for months('customer') =~ /=(\d+)/g; $n }, 'and all of them are there');
};

subtest 'a row that cannot be stored' => sub {
	my $september = q{jdy_resync('balancesheet', '2025-09-01 00:00+08', '2025-10-01 00:00+08')};

	$sim->post('/_sim/fault', { kind => 'nul', path => 'balancesheet', row => 1, times => 3 });
	for (1 .. 3)
	{
		my $run = sync_ok($node, 'balancesheet', 'a month with a bad row', $september);

		is("$run->{rejected} $run->{deleted}", '1 0', 'it is set aside, and not gone');
	}
	query($node, q{UPDATE jdysync.reject SET next_try = now() - interval '1 day'});
	is(sync_ok($node, 'balancesheet', 'the next run')->{calls}, 3, 'asks its month again');
	is(query($node, q{SELECT count(*) FROM jdysync.reject WHERE next_try IS NOT NULL}), 0, 'and it came right');
};

# Rows come, go and change between any two calls, and pages are short: what is there is never taken for gone.
subtest 'a month that moves while it is read' => sub {
	my $rounds = $ENV{JDY_TEST_ROUNDS} // 4;
	my $marked = 0;
	my @wrong;

	$sim->post('/_sim/config', { cap => 40 });
	for (1 .. $rounds)
	{
		$sim->post('/_sim/churn', $_ % 4 == 0 ? {} : { entity => 'customer', insert => 0.3, update => 0.3, delete => 0.3 });
		sync_stream($node, 'ar_report');
		my %there = map { $_->{id} => 1 } $sim->lines('/_sim/truth?entity=customer');
		my @gone = split /\n/, query($node, qq{SELECT split_part(id, '|', 2) FROM jdysync.staging_ar_report WHERE id LIKE '$this_month|%' AND deleted_at IS NOT NULL});

		$marked = @gone;
		push @wrong, grep { $there{$_} } @gone;
	}
	$sim->post('/_sim/churn', {});
	sync_ok($node, 'ar_report', 'a run at rest') for 1 .. 2;
	query($node, q{SELECT jdy_accept_deletes('ar_report')});
	sync_ok($node, 'ar_report', 'and two more') for 1 .. 2;
	is(join(', ', @wrong), '', "none of $marked was marked although it was there");
	is(live('ar_report'), months('customer') =~ /$this_month=(\d+)/ ? $1 : 0, 'at rest it is right');
	$sim->post('/_sim/config', { cap => 100 });
};

done_testing();
