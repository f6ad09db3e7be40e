# Calls are the scarce good: an account has 500 a minute for all that it does.  A first load, a certificate and a day of
# changes take no more of them than has been said (doc/bench.md has the same at full size).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyLeast;
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $node = pull_node('main');

sub sim_of
{
	my ($name, %options) = @_;

	my $sim = start_sim(%options, set => {%NO_LIMITS});
	pull_server($node, $name);
	return $sim;
}

sub lists { return paths($_[0])->{$LIST} // 0; }
sub details { return paths($_[0])->{"${LIST}_detail"} // 0; }

# The questions by which a first run finds out what the service does: few, however long the list is.
my $QUESTIONS = 20;

subtest 'a first load and its certificate' => sub {
	my $n = 4000;
	my $sim = sim_of('many', customers => $n);

	add_stream($node, 'many', server => "'many'", entry => "'customer'", detail => 'false', settle => "'0'", probe => 1);
	sync_ok($node, 'many', 'a first load');
	my $loaded = lists($sim);
	my @pages = map { $_->{url} } grep { $_->{url} =~ /^\Q$LIST\E\?/ && $_->{url} !~ /_time=/ } @{ $sim->get('/_sim/requests?n=1000') };
	shift @pages while @pages && $pages[0] !~ /[?&]page=1&page_size=100$/;	# the questions
	cmp_ok(@pages, '<=', $n / 99 + 3, 'its pages (' . @pages . ') bring 99 new rows each, where larger ones than are given begin behind what is asked');
	cmp_ok($loaded - @pages, '<=', $QUESTIONS, 'a few questions come on top (' . ($loaded - @pages) . ')');
	sync_ok($node, 'many', 'its certificate', "jdy_sync('many', 'verify')");
	is(query($node, "SELECT proven, calls FROM jdy_certificates WHERE name = 'many'"), 't|' . ($n / 100 + 1), 'takes one count and one scan');
	cmp_ok(lists($sim) - $loaded, '<=', $n / 100 + 3, 'and a look at what changed');

	my $before = lists($sim);
	for my $round (1 .. 3)
	{
		$sim->post('/_sim/change', { op => 'update', count => 30 });
		sync_ok($node, 'many', 'a run after changes');
	}
	is(lists($sim) - $before, 3, 'takes one call where there are no details, however much has changed');
	is_true($node, 'many', 'and nothing is missing', entity => 'customer', form => 'list');
};

# ---------------------------------------------------------------------------
# A run a minute, by the service's clock.
# ---------------------------------------------------------------------------
my $sim = sim_of('steady', customers => 600);
my $minutes = 0;

add_stream($node, 'customer', server => "'steady'", settle => "'5 min'", overlap => "'10 min'");
sync_ok($node, 'customer', 'another first load');
is(details($sim), 600, 'asks for each detail once');
my $least = JdyLeast->new(settle => 300, overlap => 600, loaded => $sim->get('/_sim/now')->{now_ms});
my @ids = split /\n/, query($node, 'SELECT id FROM jdysync.staging_customer ORDER BY id');

# Goes on by so many minutes and changes records in the middle of the last one; then a run.  Returns its calls: lists, least, details.
sub minute
{
	my ($passed, @changed) = @_;

	$minutes += $passed;
	$sim->post('/_sim/config', { clock_offset_ms => 60_000 * $minutes });
	my $now = $sim->get('/_sim/now')->{now_ms};
	if (@changed)
	{
		$sim->post('/_sim/change', { op => 'update', ids => \@changed, at_ms => $now - 30_000 });
		$least->changed($now - 30_000, @changed);
	}
	my @before = (lists($sim), details($sim));
	sync_stream($node, 'customer')->{ok} or fail('a run');
	return (lists($sim) - $before[0], $least->run($now), details($sim) - $before[1]);
}

# Changes in the minutes of %$when (minute => number of records) of so many; quiet minutes follow until all has settled.
sub steady
{
	my ($what, $last, $when, %options) = @_;

	subtest $what => sub {
		my ($lists, $fewest, $details, $changes, $quiet) = (0, 0, 0, 0, 0);

		for my $minute (1 .. $last)
		{
			my @changed = splice @ids, 0, $when->{$minute} // 0;
			my ($l, $f, $d) = minute(1, @changed);
			$lists += $l; $fewest += $f; $details += $d; $changes += @changed;
			$quiet++ if $f == 1 && $l > 1;
			$options{again} ? unshift @ids, @changed : push @ids, @changed;
		}
		cmp_ok($lists, '<=', ($options{most} // 1.3) * $fewest, "$lists list calls, $fewest are the least");
		is($quiet, 0, 'one each where nothing had changed') unless $options{again};
		is($details, 2 * $changes, 'each change asks for its detail once fresh and once settled') unless $options{again};
		is_true($node, 'customer', 'nothing is missing', entity => 'customer');
	};
	return;
}

minute(1) for 1 .. 16;
steady('one change', 20, { 2 => 1 });
steady('now and then one', 36, { map { $_ => 1 } 1, 8, 15, 20 });
steady('several a minute', 36, { map { $_ => 3 } 1 .. 20 });
steady('one record that is edited again and again', 36, { map { 3 * $_ => 1 } 1 .. 6 }, again => 1);
# Bounds may be inclusive: then an answer shows it that makes nothing due, and the next must be asked all the same.
for my $edge ([ 2, 'tail_until', 'what the last run listed' ], [ 9, 'upper(coverage)', 'what is proven' ])
{
	my ($after, $column, $what) = @$edge;

	subtest "a record that changes again on the very edge of $what" => sub {
		minute(1, $ids[7]);
		minute(1) for 1 .. $after;
		my $at = query($node, "SELECT floor(extract(epoch FROM $column) * 1000) FROM jdysync.stream WHERE name = 'customer'");
		$sim->post('/_sim/change', { op => 'update', ids => [ $ids[7] ], at_ms => $at + 0 });
		minute(1);
		is_true($node, 'customer', 'is there', entity => 'customer');
		minute(1) for 1 .. 16;
	};
}

# More than an answer holds.  Once the details are there it is known when each record was modified, and windows are cut by that.
sub import_of
{
	my ($what, $from, $seconds, $most) = @_;

	subtest $what => sub {
		my ($lists, $fewest) = (0, 0);
		my @imported = @ids[0 .. 249];

		$minutes += 2;
		$sim->post('/_sim/config', { clock_offset_ms => 60_000 * $minutes });
		$sim->post('/_sim/change', { op => 'update', ids => \@imported, at_ms => $sim->get('/_sim/now')->{now_ms} - 1000 * $from, stamp_spread_ms => 1000 * $seconds });
		my %is_imported = map { $_ => 1 } @imported;
		$least->changed($_->{modify_ms}, $_->{id}) for grep { $is_imported{ $_->{id} } } $sim->lines('/_sim/truth?entity=customer');
		for my $run (0 .. 9)
		{
			my ($l, $f) = minute($run > 0 ? 2 : 0);
			$lists += $l; $fewest += $f;
		}
		cmp_ok($lists, '<=', $most * $fewest, "$lists list calls, $fewest are the least");
		is_true($node, 'customer', 'nothing is missing', entity => 'customer');
	};
	return;
}

# A certificate says how many records there are, so that a full answer need not be doubted.
query($node, "SELECT jdy_alter_stream('customer', settle => '0')");
sync_ok($node, 'customer', 'a certificate', "jdy_sync('customer', 'verify')");
query($node, "SELECT jdy_alter_stream('customer', settle => '5 min')");
minute(1) for 1 .. 17;
import_of('an import within a minute', 60, 59, 2);
import_of('an import within ten seconds', 30, 10, 3.2);
steady('nine a minute', 36, { map { $_ => 9 } 1 .. 20 }, most => 1.22);

subtest 'times that are wrong in staging' => sub {
	my @changed = @ids[0 .. 149];

	$minutes++;
	$sim->post('/_sim/config', { clock_offset_ms => 60_000 * $minutes });
	$sim->post('/_sim/change', { op => 'update', ids => \@changed, at_ms => $sim->get('/_sim/now')->{now_ms} - 50_000, stamp_spread_ms => 40_000 });
	minute(0);
	for my $wrong ("'infinity'", "'-infinity'", 'NULL', "modified_at - interval '3 minutes'", "date_trunc('hour', modified_at)")
	{
		query($node, "UPDATE jdysync.staging_customer SET modified_at = $wrong");
		$minutes++;
		$sim->post('/_sim/config', { clock_offset_ms => 60_000 * $minutes });
		$sim->post('/_sim/change', { op => 'update', ids => [ splice @changed, 0, 8 ], at_ms => $sim->get('/_sim/now')->{now_ms} - 90_000 });
		minute(0);
	}
	minute(1) for 1 .. 16;
	is_true($node, 'customer', 'cost calls, and nothing is missing', entity => 'customer');
	is(query($node, "SELECT gaps = '{}' FROM jdy_coverage WHERE name = 'customer'"), 't', 'nor unproven');
};

subtest 'a change that had settled when it was first seen' => sub {
	$minutes += 20;
	$sim->post('/_sim/config', { clock_offset_ms => 60_000 * $minutes });
	$sim->post('/_sim/change', { op => 'update', ids => [ $ids[0] ], at_ms => $sim->get('/_sim/now')->{now_ms} - 600_000 });
	my $before = details($sim);
	minute(0) for 1 .. 2;
	minute(1) for 1 .. 3;
	is(details($sim) - $before, 1, 'asks for its detail once');
	is_true($node, 'customer', 'and has it', entity => 'customer');
};

done_testing();
