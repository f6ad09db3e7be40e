# However the source changes while it is read, and whichever of its undocumented
# habits it has, no record is lost: once it is quiet, one more run makes staging equal.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;
use Time::HiRes qw(usleep);

# Rates are per call, and every change asks for calls: below about 0.4 a run catches up.
my %churn = (insert => 0.08, update => 0.15, delete => 0.06);
my $seeds = $ENV{JDY_TEST_SEEDS} // 3;
my $sim = start_sim(customers => 1, set => {%NO_LIMITS});
my $node = pull_node('main');
my $case = 0;

# A simulator, a server and a stream of their own for one case; returns their names.
# Options: those of start_sim; stream => arguments of jdy_add_stream; server => options.
sub scene
{
	my (%options) = @_;
	my $name = 'case' . ++$case;
	my $server = delete $options{server} // {};
	my $stream = delete $options{stream} // {};
	my $mapping = delete $options{mapping};

	$sim->stop;
	$sim = start_sim(customers => 260, seed => 100 + $case, %options, set => { %NO_LIMITS, %{ $options{set} // {} } });
	# Where every call brings changes, a run that lists them each second may not catch up on a slow machine.
	pull_server($node, $name, server => { rate_window => '5 s', %$server }, $mapping ? (mapping => $mapping) : ());
	add_stream($node, $name, server => "'$name'", entry => "'customer'", settle => "'500 ms'", %$stream);
	return $name;
}

sub change { return scalar @{ $sim->post('/_sim/change', { @_ })->{ids} }; }

# A first load and later runs while the list changes, then quiet, then one more run.
sub survives
{
	my ($what, %options) = @_;
	my $quiet = delete $options{quiet} // 0;
	my %truth = (entity => 'customer', extra => 1, %{ delete $options{truth} // {} });
	my $churn = delete $options{churn} // \%churn;
	my $may_fail = delete $options{may_fail};

	subtest $what => sub {
		my $name = scene(%options);
		$sim->post('/_sim/churn', { entity => 'customer', %$churn });
		for my $run ('first load', 'second run')
		{
			my $result = sync_stream($node, $name);
			ok($result->{ok} || ($may_fail && $result->{err} =~ $may_fail), $run) or diag($result->{err});
		}
		calm($sim);
		wait_out($sim, $quiet) if $quiet > 0;
		sync_ok($node, $name, 'a run when it is quiet');
		is_true($node, $name, 'nothing is lost', %truth);
		is(query($node, "SELECT count(*) FROM jdysync.staging_$name s WHERE s.detailed_at IS NULL AND s.id NOT IN (SELECT l.id FROM jdysync.listing l JOIN jdysync.stream USING (stream_id) WHERE name = '$name' AND problem IS NOT NULL)"),
			'0', 'no detail is owed') unless $truth{form};
		is(query($node, "SELECT COALESCE(sum(late), 0) FROM jdy_lag WHERE name = '$name'"), '0', 'no change is taken for a late one') unless $quiet;
		is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = '$name' AND what = 'no stable order'"), ($options{set}->{unstable_order} // '') eq 'on' ? '1' : '0',
			'what moves is not taken for a list without order');
		drop_stream($node, $name);
	};
	return;
}

# ---------------------------------------------------------------------------
# Inserts, updates and deletes between any two requests.
# ---------------------------------------------------------------------------
survives("everything changes, seed $_", seed => $_) for 1 .. $seeds;
survives('only deletes: later rows move up', churn => { delete => 0.8 }, set => { cap => 7 }, customers => 500);
survives('only deletes, one call at a time', churn => { delete => 0.8 }, set => { cap => 7 }, server => { concurrency => 1 });
survives('only inserts: rows move down', churn => { insert => 0.3 }, set => { cap => 7 });
survives('an empty list that fills', customers => 0, churn => { insert => 0.3 });

# ---------------------------------------------------------------------------
# What the documents do not say.
# ---------------------------------------------------------------------------
my @habits = (
	[ 'both edges of a window exclusive', { lower_edge => 'exclusive', upper_edge => 'exclusive' } ],
	[ 'stamps of whole seconds, edges exclusive', { lower_edge => 'exclusive', upper_edge => 'exclusive', stamp_granularity => 's' } ],
	[ 'pages of 7 rows at most', { cap => 7 } ],
	[ 'pages of 50 at most, their offset counted by that', { cap => 50, offset_rule => 'cap' } ],
	[ 'pages of 50 at most, and it says so', { cap => 50, echo_page_size => 'cap', cap_wrong_total_page => 'off' } ],
	[ 'past the end the last page again', { past_end => 'last' } ],
	[ 'past the end the last page again, with its number', { past_end => 'last', past_end_echo => 'last' } ],
	[ 'past the end an error', { past_end => 'error' } ],
	[ 'counts are strings', { count_type => 'string' } ],
	[ 'counts are integers', { count_type => 'int' } ],
	[ 'no counts', { count_type => 'missing' } ],
	[ 'no counts, pages of 50, past the end the last one', { count_type => 'missing', cap => 50, past_end => 'last' } ],
	[ 'only enabled records unless asked for all', { enable_default => 'enabled' } ],
	[ 'not found is null', { not_found => 'null_data' } ],
	[ 'not found is empty', { not_found => 'empty_data' } ],
	[ 'not found is 404', { not_found => 'http404' } ],
	[ 'the time filter is ignored', { filter_ignored => 'on' } ],
	[ 'the list has no stable order', { unstable_order => 'on' } ],
	[ 'duplicates in the list', { duplicates => 5 } ],
	[ 'a used nonce is refused', { nonce_replay_refused => 'on' } ],
	[ 'a clock an hour ahead', { clock_offset_ms => 3600000 } ],
	[ 'a clock an hour behind', { clock_offset_ms => -3600000 } ],
	[ 'list rows with a modify time', { row_modify_time => 'on' } ],
	[ 'no compression', { gzip => 'off' } ]);

survives($_->[0], set => $_->[1]) for @habits;

# What replicas and late rows hide shows when they have caught up, sooner than settle.
for my $lag (
	[ 'counts of a moment ago', { count_lag_ms => 700 } ],
	[ 'rows of a moment ago', { rows_lag_ms => 700 } ],
	[ 'details of a moment ago', { details_lag_ms => 700 } ],
	[ 'each replica another moment', { count_lag_ms => 300, rows_lag_ms => 600, details_lag_ms => 900 } ],
	[ 'rows visible late', { late_visibility_ms => 900 } ])
{
	survives($lag->[0], set => $lag->[1], quiet => 1.2, stream => { settle => "'2 s'" });
}

# Pages are asked larger than they are given once it is known where such a page begins.
for my $change ([ 'counts rows by what it gives', { offset_rule => 'cap' } ], [ 'gives larger pages', { cap => 25 } ], [ 'gives smaller pages', { cap => 6 } ])
{
	subtest "a service that $change->[0] from one load to the next" => sub {
		my $name = scene(customers => 300, set => { cap => 20 }, stream => { probe => 1 });

		sync_ok($node, $name, 'first load');
		is(query($node, "SELECT answer FROM jdy_contract WHERE name = '$name' AND question = 'offset'"), 'asked size', 'a page begins behind the size that is asked');
		$sim->post('/_sim/config', $change->[1]);
		$sim->post('/_sim/churn', { entity => 'customer', delete => 0.3, insert => 0.1 });
		sync_ok($node, $name, 'a full run', "jdy_sync('$name', 'full')");
		calm($sim);
		is(query($node, "SELECT count(*) FROM jdysync.staging_$name s WHERE s.deleted_at IS NOT NULL"), '0', 'which alone deletes nothing');
		sync_ok($node, $name, 'a run when it is quiet');
		is_true($node, $name, 'nothing is lost', entity => 'customer', extra => 1);
		drop_stream($node, $name);
	};
}

subtest 'a change that shows after a later run' => sub {
	my $name = scene(stream => { settle => "'1 min'", overlap => "'0'" });
	sync_ok($node, $name, 'first load');
	$sim->post('/_sim/config', { late_visibility_ms => 3600_000 });
	change(op => $_, count => 3) for 'insert', 'update';
	wait_settled($sim, 0);		# a run that did not wait for more would prove it
	sync_ok($node, $name, 'a run that cannot see it');
	isnt(differences($node, $name, entity => 'customer'), '', 'and does not');
	$sim->post('/_sim/config', { late_visibility_ms => 0 });
	sync_ok($node, $name, 'a run that can');
	is_true($node, $name, 'finds it, because the first one proved only what had settled', entity => 'customer');
	drop_stream($node, $name);
};

subtest 'details older than the list' => sub {
	my $name = scene(stream => { settle => "'2 s'" });
	sync_ok($node, $name, 'first load');
	$sim->post('/_sim/config', { details_lag_ms => 900 });
	change(op => $_, count => 3) for 'insert', 'update';
	sync_ok($node, $name, 'a run');
	is_true($node, $name, 'asks again until they have caught up', entity => 'customer');
	drop_stream($node, $name);
};

# While page 2 is on its way the second half of the list goes.
for my $habit ([ 'empty', {} ], [ 'last', {} ], [ 'last', { past_end_echo => 'last' } ], [ 'error', {} ])
{
	my ($past_end, $more) = @$habit;

	subtest join(' ', 'a list that is cut behind the reader, past the end:', $past_end, values %$more) => sub {
		my $name = scene(customers => 600, server => { concurrency => 1 }, set => { past_end => $past_end, %$more, latency_ms => 150 });
		my @ids = truth($sim) =~ /^\{"id":"(\d+)"/mg;
		my @numbers = truth($sim) =~ /^\{"id":"\d+","number":"([^"]*)"/mg;
		my %number_of;
		@number_of{@ids} = @numbers;
		@ids = sort { $number_of{$a} cmp $number_of{$b} } @ids;

		my $run_id = query($node, "SELECT jdy_start('$name')");
		poll_until(sub { ($sim->get('/_sim/stats')->{paths}->{'/jdy/v2/bd/customer'} // 0) >= 4 }, 'page 3');
		change(op => 'delete', ids => [ @ids[ 60 .. $#ids ] ]);
		calm($sim, latency_ms => 0);
		poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the run');
		is(query($node, "SELECT status, error FROM jdy_runs WHERE run_id = $run_id"), 'ok|', 'the load ends well');
		sync_ok($node, $name, 'another run');
		is_true($node, $name, 'nothing is lost', entity => 'customer', extra => 1);
		drop_stream($node, $name);
	};
}

# ---------------------------------------------------------------------------
# Bulk changes.
# ---------------------------------------------------------------------------
for my $cap (100, 7)
{
	subtest "350 records on one tick, pages of $cap" => sub {
		my $name = scene(set => { cap => $cap });
		sync_ok($node, $name, 'first load');
		is(change(op => 'insert', count => 350, same_stamp => JSON::PP::true), 350, 'an import');
		sync_ok($node, $name, 'the next run');
		is_true($node, $name, 'brings all of it at once', entity => 'customer');
		wait_settled($sim, 0.5);
		sync_ok($node, $name, 'a run when it has settled');
		is(query($node, "SELECT gaps = '{}' AND complete_until > (SELECT max(started_at) FROM jdy_runs r WHERE r.name = c.name) - interval '5 s' AND details_due = 0 FROM jdy_coverage c WHERE name = '$name'"), 't',
			'and it is proven');
		like(query($node, "SELECT string_agg(DISTINCT rule, '; ') FROM jdysync.\"window\" w JOIN jdysync.stream s USING (stream_id) WHERE s.name = '$name'"),
			qr/last page to first/, 'by reading its pages backwards');
		drop_stream($node, $name);
	};
}

subtest 'many changes in one window, which is split' => sub {
	my $name = scene(customers => 900);
	sync_ok($node, $name, 'first load');
	my $now = $sim->get('/_sim/now')->{now_ms};
	change(op => 'update', count => 700, at_ms => $now, stamp_spread_ms => 4_000);
	change(op => 'insert', count => 450, at_ms => $now, stamp_spread_ms => 4_000);
	sync_ok($node, $name, 'the next run');
	wait_settled($sim, 4 + 0.5);
	sync_ok($node, $name, 'the run when all of them have settled');
	is_true($node, $name, 'all of it is there', entity => 'customer');
	is(query($node, "SELECT gaps = '{}' AND details_due = 0 AND complete_until >= to_timestamp($now / 1000.0 + 4) FROM jdy_coverage WHERE name = '$name'"), 't',
		'proven, without a gap');
	cmp_ok(query($node, "SELECT count(*) FROM jdysync.\"window\" w JOIN jdysync.stream s USING (stream_id) WHERE s.name = '$name' AND w.\"rows\" > 90"), '>', 3,
		'by windows of one answer');
	drop_stream($node, $name);
};

# A first load by windows; its parts are read in parallel.
subtest 'start_from with many records' => sub {
	my $name = scene(customers => 800, stream => { start_from => "'2001-01-01'" });
	$sim->post('/_sim/churn', { entity => 'customer', %churn });
	sync_ok($node, $name, 'first load');
	calm($sim);
	sync_ok($node, $name, 'a later run');
	is_true($node, $name, 'nothing is lost', entity => 'customer', extra => 1);
	drop_stream($node, $name);
};

# ---------------------------------------------------------------------------
# Counts that lie: rows arrive, the promise is withheld, and calls stay within reason.
# ---------------------------------------------------------------------------
subtest 'counts that are always one too many' => sub {
	my $name = scene(set => { count_lie => 1 });
	sync_ok($node, $name, 'first load');
	is_true($node, $name, 'everything is there', entity => 'customer');
	change(op => 'update', count => 20);
	wait_out($sim, 6);
	$sim->post('/_sim/stats/reset');
	sync_ok($node, $name, 'the next run');
	is_true($node, $name, 'changes arrive', entity => 'customer');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<', 400, 'the number of calls stays within reason');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = '$name' AND what = 'count not trusted' AND closed_at IS NULL"), '1', 'an incident says so');
	is(query($node, "SELECT complete_until IS NULL FROM jdy_coverage WHERE name = '$name'"), 't',
		'and nothing is promised, not even for what the first load read');

	calm($sim, count_lie => 0);
	change(op => 'update', count => 5);
	wait_out($sim, 3);
	sync_ok($node, $name, 'a run when counts are right again');
	is_true($node, $name, 'changes arrive', entity => 'customer');
	sync_ok($node, $name, 'jdy_resync', "jdy_resync('$name', '-infinity', now())");
	is(query($node, "SELECT gaps = '{}' AND complete_until > now() - interval '1 min' FROM jdy_coverage WHERE name = '$name'"), 't', 'closes the gap');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = '$name' AND what = 'count not trusted' AND closed_at IS NULL"), '0', 'and the incident');
	drop_stream($node, $name);
};

# ---------------------------------------------------------------------------
# Tokens, secrets and routes that change while a run is open.
# ---------------------------------------------------------------------------
sub disturbed
{
	my ($what, $disturb, %options) = @_;

	subtest $what => sub {
		my $name = scene(customers => 200, %options, set => { latency_ms => 4, %{ $options{set} // {} } });
		my $run_id = query($node, "SELECT jdy_start('$name')");
		ok(poll_until(sub { ($sim->get('/_sim/stats')->{paths}->{'/jdy/v2/bd/customer_detail'} // 0) > 40 }, 'the load'), 'a first load is under way');
		$disturb->();
		ok(poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the run'), 'it ends');
		is(query($node, "SELECT status, error FROM jdy_runs WHERE run_id = $run_id"), 'ok|', 'well');
		is_true($node, $name, 'with everything', entity => 'customer');
		drop_stream($node, $name);
	};
	return;
}

disturbed("tokens expire, $_", sub { $sim->post('/_sim/expire_tokens') }, set => { expired_code => $_ }) for ('4011', '401', '1020002008');
disturbed('the app secret is rotated and tokens die', sub { $sim->post('/_sim/rotate_app_secret'); $sim->post('/_sim/expire_tokens') });
disturbed("the tenant moves, $_", sub { $sim->post('/_sim/move', { domain => 'https://vip9.jdy.com' }) }, set => { router_mode => $_ }) for ('502', '404', '5001');
disturbed('another program gets a token, which kills ours', sub {
		$sim->post('/_sim/config', { new_token_kills_old => 'on' });
		pull_server($node, 'rival', mapping => { %JdyTest::CREDENTIALS, account_id => '1000000000000000002' });
		add_stream($node, 'rival', server => "'rival'", entry => "'supplier'");
		sync_ok($node, 'rival', 'the other program');
		drop_stream($node, 'rival');
		query($node, 'DROP SERVER rival CASCADE');
	});

done_testing();
