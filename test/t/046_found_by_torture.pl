# What random runs of everything at once found: each case once lost a record,
# promised too much, or asked without end.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $node = new_node('main');
my $cases = 0;
my ($sim, $name);

# A service and a stream of their own for each case.
sub begin_case
{
	my (%options) = @_;

	$cases++;
	$name = "case$cases";
	$sim = start_sim(customers => $options{customers} // 120, suppliers => 0, materials => 0, orders => 0,
		set => { %NO_LIMITS, %{ $options{set} // {} } });
	pull_server($node, "server$cases", server => $options{server} // {});
	add_stream($node, $name, server => "'server$cases'", entry => "'customer'", %{ $options{stream} // {} });
	return;
}

sub end_case
{
	drop_stream($node, $name);
	$sim->stop;
	return;
}

sub sync { return sync_ok($node, $name, @_); }
sub change { return $sim->post('/_sim/change', { entity => 'customer', @_ })->{ids}; }
sub fault { return $sim->post('/_sim/fault', { path => '/bd/customer', @_ }); }
sub true_now { return is_true($node, $name, $_[0], entity => 'customer', extra => 1); }

# The service's clock, in ms.
sub service_now { return $sim->get('/_sim/now')->{now_ms}; }

# Lets the service's time pass, at once.
sub later
{
	my ($seconds) = @_;
	my $offset = $sim->get('/_sim/config')->{clock_offset_ms};

	$sim->post('/_sim/config', { clock_offset_ms => $offset + 1000 * $seconds });
	return;
}

# The coverage's end lies in the service's past, by settle.
sub no_promise_beyond_now
{
	my ($what) = @_;
	my $until = query($node, "SELECT floor(extract(epoch FROM greatest(upper(windows), listed_until)) * 1000) FROM jdy_coverage WHERE name = '$name'");

	return cmp_ok($until, '<=', service_now() - 2000, $what);
}

# ---------------------------------------------------------------------------
# The service's clock is the only one that counts, also before its first Date.
# ---------------------------------------------------------------------------
{
	begin_case(set => { clock_offset_ms => -7_200_000 });
	sync('a service two hours behind');
	sync('a full run of it', "jdy_sync('$name', 'full')");
	no_promise_beyond_now('claims nothing of the two hours to come');
	change(op => 'update', count => 5);
	later(60);
	sync('a run a minute later');
	later(60);
	sync('and another');
	true_now('find what changed in between');
	end_case();

	begin_case(set => { clock_offset_ms => 7_200_000 });
	sync('a service two hours ahead');
	change(op => 'update', count => 5);
	sync('a run later');
	true_now('finds what changed in between');
	end_case();
}

# A clock that was ahead and goes back: what is stamped before the ledger's end is still read.
{
	begin_case(set => { clock_offset_ms => 3_600_000 });
	sync('a service an hour ahead');
	$sim->post('/_sim/config', { clock_offset_ms => 0 });
	my $ids = change(op => 'update', count => 5);
	sync('its clock is set right');
	true_now('what changes then is found');
	for my $again (1, 2)
	{
		change(op => 'update', ids => $ids);
		sync('a run after the same records changed again');
		true_now('finds that too');
		later(10);
	}
	later(7200);
	sync('a run when the hour is over');
	true_now('nothing is missing');
	end_case();
}

# ---------------------------------------------------------------------------
# A row that was set aside from a window which nobody may promise yet.
{
	begin_case();
	sync('a load');
	for my $after (2 .. 8)
	{
		later(10);
		change(op => 'update', count => 3);
		fault(kind => 'nul', row => 0, page => 1, after => $after, times => 1);
		my $range = query($node, "SELECT format('%L, %L', to_timestamp(" . service_now() . " / 1000) - interval '1 min', to_timestamp(" . service_now() . " / 1000) + interval '1 day')");
		sync('jdy_resync up to tomorrow', "jdy_resync('$name', $range)");
		calm($sim);
		sync('a later run');
		no_promise_beyond_now('claims nothing of tomorrow');
	}
	end_case();
}

# An empty page with another number says nothing of the one that was asked.
# ---------------------------------------------------------------------------
{
	begin_case(set => { count_type => 'missing' });
	sync('a service without counts');
	change(op => 'update', count => 3);
	later(60);
	fault(kind => 'wrong_page');
	sync('an empty page 2 comes for page 1');
	later(60);
	sync('the next run');
	true_now('nothing is taken for read that was not');
	end_case();
}

# ---------------------------------------------------------------------------
# The list shrinks below where an interrupted load stood.
# ---------------------------------------------------------------------------
for my $past_end ([ past_end => 'error' ], [ past_end => 'last', past_end_echo => 'last' ],
	[ past_end => 'last', past_end_echo => 'last', count_type => 'missing' ], [ past_end => 'last' ])
{
	begin_case(customers => 1500, set => {@$past_end}, server => { concurrency => 1 });
	fault(kind => 'status', status => 500, after => 14, times => 4);
	ok(!sync_stream($node, $name)->{ok}, "@$past_end: a load stops near the end");
	cmp_ok(query($node, "SELECT count(*) FROM jdysync.staging_$name"), '>', 900, 'when most was read');
	change(op => 'delete', count => 1100);
	sync('the load goes on after most of the list went away');
	true_now('and nothing is missing');
	end_case();
}

# A tick whose rows fill its pages: the next page lies past the end.
for my $past_end ([ past_end => 'error' ], [ past_end => 'last', past_end_echo => 'last' ])
{
	for my $count ('doc', 'missing')
	{
		begin_case(customers => 60, set => { @$past_end, count_type => $count, cap => 50 }, stream => { detail => 'false' });
		sync('a load');
		later(60);
		change(op => 'insert', count => 200, same_stamp => JSON::PP::true);
		later(60);
		sync("@$past_end, count $count: four full pages of one tick");
		is_true($node, $name, 'all is there', entity => 'customer', form => 'list');
		end_case();
	}
}

# A page that cannot be had at all ends the run with the service's own words, soon.
{
	begin_case(customers => 1500, server => { concurrency => 1 });
	fault(kind => 'errcode', errcode => 1030002002, description => 'broken for good', after => 10, times => -1);
	sync_fails($node, $name, 'HV000', qr/broken for good/, 'a page that is refused every time');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<', 40, 'does not cost many calls');
	end_case();
}

# ---------------------------------------------------------------------------
# A time filter that is ignored, although part of the list was left out or it worked before.
# ---------------------------------------------------------------------------
{
	begin_case(set => { filter_ignored => 'on' }, stream => { start_from => "'2024-01-01'" });
	sync('start_from, but the time filter is ignored');
	$sim->post('/_sim/stats/reset', {});
	my $run = sync_stream($node, $name, "jdy_sync('$name')");
	ok($run->{ok}, 'a later run ends') or diag($run->{err});
	cmp_ok($sim->get('/_sim/stats')->{total}, '<', 300, 'and is no more than the list and its details');
	true_now('all is there');
	end_case();

	begin_case(customers => 700);
	sync('a time filter that works');
	later(300);
	change(op => 'update', count => 2);
	$sim->post('/_sim/config', { filter_ignored => 'on' });
	$sim->post('/_sim/stats/reset', {});
	sync('and then is ignored');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<', 1500, 'the list is read whole then');
	true_now('all is there');
	end_case();
}

# ---------------------------------------------------------------------------
# complete_until waits for a record that is due, also when the next window lists it again.
# ---------------------------------------------------------------------------
{
	begin_case(server => { concurrency => 1 });
	sync('a load');
	later(60);
	sync('a quiet run');
	later(60);
	poll_until(sub { service_now() % 1000 < 100 }, 'a second begins');
	my $stamp = int(service_now() / 1000) * 1000 - 2500;
	my ($id) = @{ change(op => 'update', count => 1, at_ms => $stamp) };

	# The window of the first run ends after the stamp; the second's begins within a tick of it.
	fault(path => 'customer_detail', kind => 'errcode', errcode => 1030002003, times => -1);
	for my $run (1, 2)
	{
		my $run_id = query($node, "SELECT jdy_start('$name')");
		my $failed_once = poll_until(sub {
			query($node, "SELECT count(*) FROM jdysync.listing l JOIN jdysync.stream s USING (stream_id) WHERE s.name = '$name' AND l.due AND l.attempts > 0") > 0
		}, 'the detail is not to be had', 10);
		ok($failed_once, 'the detail is not to be had');
		query($node, "SELECT jdy_cancel($run_id)");
		poll_until(sub { query($node, "SELECT count(*) FROM jdy_progress WHERE name = '$name'") == 0 }, 'the run ends');
		is(query($node, "SELECT complete_until <= to_timestamp($stamp / 1000.0) FROM jdy_coverage WHERE name = '$name'"),
			't', 'complete_until stays before it');
		poll_until(sub { service_now() >= $stamp + 3600 + 1000 }, 'two seconds pass') if $run == 1;
	}
	calm($sim);
	sync('then it is there');
	true_now('and all is well');
	end_case();
}

# ---------------------------------------------------------------------------
# What one answer holds is learned anew when it turns out to be more.
# ---------------------------------------------------------------------------
{
	begin_case(customers => 300, set => { cap => 5 });
	sync('a service that gives five rows at a time');
	$sim->post('/_sim/config', { cap => 100 });
	change(op => 'insert', count => 400);
	later(60);
	sync('and later a hundred');
	later(60);
	change(op => 'insert', count => 400, same_stamp => JSON::PP::true);
	later(60);
	$sim->post('/_sim/stats/reset', {});
	my $run = sync('is asked for them');
	cmp_ok($run->{calls} - $run->{details}, '<', 60, 'with few calls');
	true_now('all is there');
	end_case();

	begin_case(customers => 300);
	sync('a service that gives a hundred');
	$sim->post('/_sim/config', { cap => 50 });
	later(60);
	change(op => 'insert', count => 230, same_stamp => JSON::PP::true);
	later(60);
	sync('and later fifty');
	true_now('all is there');
	is(query($node, "SELECT gaps FROM jdy_coverage WHERE name = '$name'"), '{}', 'and proven');
	end_case();
}

# Pages of up to ten rows all end at row 2520: none of them overlaps what was read.
{
	begin_case(customers => 130, set => { cap => 2 });
	sync_fails($node, $name, '0A000', qr/too few rows at a time/, 'pages of two rows cannot overlap: an error, not a loop');
	end_case();
	begin_case(customers => 2600, set => { cap => 10 }, stream => { detail => 'false' });
	sync('pages of ten rows');
	is_true($node, $name, 'bring all', entity => 'customer', form => 'list');
	end_case();
}

# A wrong count of a short list costs a few calls.
{
	begin_case(customers => 7);
	sync('a short list');
	later(600);
	$sim->post('/_sim/config', { count_lie => 1 });
	change(op => 'update', count => 3);
	$sim->post('/_sim/stats/reset', {});
	sync('is miscounted from then on');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<', 100, 'which costs a few calls');
	true_now('all is there');
	end_case();
}

# A count that is wrong for good: what is read again does not grow for ever.
{
	begin_case(customers => 200, stream => { detail => 'false' });
	sync('a load');
	$sim->post('/_sim/config', { count_lie => 50 });
	my @calls;
	for my $round (1 .. 5)
	{
		change(op => 'insert', count => 150, stamp_spread_ms => 3_600_000);
		later(7200);
		push @calls, sync("round $round with wrong counts")->{calls};
	}
	cmp_ok($calls[4], '<', $calls[1] + 40, 'a later run costs no more than an earlier one') or diag("@calls");
	is_true($node, $name, 'all is there', entity => 'customer', form => 'list');
	is(query($node, "SELECT complete_until IS NULL OR complete_until < to_timestamp(" . service_now() . " / 1000) - interval '9 h' FROM jdy_coverage WHERE name = '$name'"),
		't', 'nothing is promised of it');
	$sim->post('/_sim/config', { count_lie => 0 });
	later(60);
	sync('the count comes right');
	my $range = query($node, "SELECT format('%L, %L', to_timestamp(" . service_now() . " / 1000) - interval '12 h', to_timestamp(" . service_now() . " / 1000))");
	sync('jdy_resync', "jdy_resync('$name', $range)");
	is(query($node, "SELECT gaps = '{}' AND complete_until > to_timestamp(" . service_now() . " / 1000) - interval '2 min' FROM jdy_coverage WHERE name = '$name'"),
		't', 'proves it');
	end_case();
}

done_testing();
