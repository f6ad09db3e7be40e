# What somebody found who read the code of windows, details and certificates against their proofs: each case once
# promised too much, took a record for gone, or lost one, without a sign.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $DETAIL = '/jdy/v2/bd/customer_detail';
my $node = new_node('main', conf => "restart_after_crash = on\n");
my $cases = 0;
my ($sim, $name);

# A service and a stream of their own for each case.
sub case
{
	my ($what, $test, %options) = @_;

	subtest $what => sub {
		$cases++;
		$name = "case$cases";
		$sim = start_sim(customers => $options{customers} // 60, suppliers => 0, materials => 0, orders => 0,
			set => { %NO_LIMITS, %{ $options{set} // {} } });
		pull_server($node, "server$cases", server => $options{server} // {});
		add_stream($node, $name, server => "'server$cases'", ($options{stream}{metadata} ? () : (entry => "'customer'")),
			settle => "'0'", %{ $options{stream} // {} });
		$test->();
		drop_stream($node, $name);
		$sim->stop;
	};
	return;
}

sub sync { return sync_ok($node, $name, @_); }
sub full { return sync($_[0], "jdy_sync('$name', 'full')"); }
sub verify { return sync($_[0], "jdy_sync('$name', 'verify')"); }
sub change { return $sim->post('/_sim/change', { entity => 'customer', @_ })->{ids}; }
sub fault { return $sim->post('/_sim/fault', { @_ }); }
sub true_now { return is_true($node, $name, $_[0], entity => 'customer', extra => 1); }
sub staged { return query($node, "SELECT $_[1] FROM jdysync.staging_$name WHERE id = '$_[0]'"); }
sub coverage { return query($node, "SELECT $_[0] FROM jdy_coverage WHERE name = '$name'"); }
sub last_attempt { return query($node, "SELECT $_[0] FROM jdy_certificates WHERE name = '$name' ORDER BY certificate_id DESC LIMIT 1"); }
sub certified { return query($node, "SELECT string_agg(id, ',' ORDER BY id) FROM jdy_certified WHERE name = '$name'"); }
sub existing { return join ',', sort @{ $sim->get('/_sim/ids?seq=1000000000')->{ids} }; }
sub marks { return query($node, "SELECT count(*) FILTER (WHERE deleted_at IS NOT NULL) || ' deleted, ' || count(*) FILTER (WHERE out_of_scope_at IS NOT NULL) || ' out of scope' FROM jdysync.staging_$name"); }

# The service's clock, in seconds, for to_timestamp.
sub service_now { return $sim->get('/_sim/now')->{now_ms} / 1000; }

# Lets the service's time pass, at once; backwards, too.
sub later
{
	my ($seconds) = @_;
	my $offset = $sim->get('/_sim/config')->{clock_offset_ms};

	$sim->post('/_sim/config', { clock_offset_ms => $offset + 1000 * $seconds });
	return;
}

# Starts a run, waits until $enough (SQL on jdy_progress p) holds; returns its run_id.
sub begin_run
{
	my ($mode, $enough) = @_;
	my $run_id = query($node, "SELECT jdy_start('$name', '$mode')");

	poll_sql($node, "SELECT EXISTS (SELECT FROM jdy_progress p WHERE name = '$name' AND $enough)", $enough);
	return $run_id;
}

# ---------------------------------------------------------------------------
# What is promised too early.
# ---------------------------------------------------------------------------
case('a full run promises no change before it has its detail' => sub {
	sync('first load');
	later(3600);
	my ($id) = @{ change(op => 'update', count => 1) };
	my $at = service_now();
	later(60);
	fault(kind => 'stall', path => $DETAIL, id => $id, times => -1);
	my $run_id = begin_run('full', "details >= 59");
	is(coverage("complete_until <= to_timestamp($at)"), 't', 'while it is not there');
	query($node, "SELECT jdy_cancel($run_id)");
	wait_for_status($node, $run_id, 'cancelled', 'it is cancelled');
	is(coverage("complete_until <= to_timestamp($at)"), 't', 'nor then');
	calm($sim);
	sync('the next run');
	true_now('brings it');
	is(coverage("complete_until > to_timestamp($at)"), 't', 'and promises it');
});

case('a filter that is honoured only after the first load' => sub {
	sync('first load');
	$sim->post('/_sim/config', { filter_ignored => 'off' });
	change(op => 'update', count => 3);
	later(60);
	query($node, "DELETE FROM jdysync.contract USING jdysync.stream s WHERE contract.stream_id = s.stream_id AND s.name = '$name' AND question = 'filter'");
	sync('the first run that may ask windows');
	true_now('brings what changed');
	is(coverage("lower_inf(windows) AND gaps = '{}' AND complete_until IS NOT NULL"), 't', 'and proves it');
	later(60);
	change(op => 'update', count => 3);
	sync('a later run');
	true_now('goes on from there');
}, set => { filter_ignored => 'on' });

case('a clock that was wrong, and runs that are far between' => sub {
	sync('first load');
	later(7200);
	sync('a run that is told a time two hours from now');
	later(-7200);
	sync('a run when it is right again');
	is(coverage("greatest(upper(windows), listed_until, complete_until) <= to_timestamp(@{[ service_now() ]})"), 't', 'nothing of the two hours is promised');
	later(1800);
	my $ids = change(op => 'update', count => 5);
	later(1800);
	sync('a run an hour later');
	true_now('finds what changed in between');
	for my $minute (1 .. 2)
	{
		later(1200);
		change(op => 'update', ids => $ids);
		later(1200);
		sync('another');
		true_now('finds that, too');
	}
});

case('a list without a time filter: what the load missed' => sub {
	sync('first load');
	verify('a certificate');
	my ($id) = @{ change(op => 'contact', count => 1) };
	my $at = service_now();
	later(60);
	change(op => 'hide', ids => [$id]);
	my $run_id = begin_run('verify', "phase = 'verifying'");
	change(op => 'restore', ids => [$id], keep_stamp => JSON::PP::true);
	wait_for_status($node, $run_id, 'ok', 'it is read when the load is over');
	is(last_attempt('proven'), 't', 'the list is certified');
	is(coverage("complete_until <= to_timestamp($at)") eq 't' || differences($node, $name, entity => 'customer') eq '', 1, 'what is promised is there');
}, set => { filter_ignored => 'on' }, stream => { settle => "'1500 ms'" });

case('a clock that was wrong for a moment between two runs' => sub {
	sync('first load');
	later(7200);
	sync('a run that is told a time two hours from now');
	later(-7200);
	later(3600);
	my $ids = change(op => 'update', count => 5);
	later(2 * 3600);

	# Three hours have passed for us as well.
	query($node, "UPDATE jdysync.stream SET listed_at = listed_at - interval '3 hours' WHERE name = '$name'");
	sync('a run three hours later');
	true_now('finds what changed in between');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = '$name' AND what = 'clock went back'"), '1', 'an incident says so');
	is(coverage("gaps = '{}' AND complete_until > to_timestamp(@{[ service_now() - 60 ]})"), 't', 'all is proven');
	sync('the next run');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = '$name' AND what = 'clock went back' AND closed_at IS NULL"), '0', 'it is over');
});

# ---------------------------------------------------------------------------
# Records that are lost, or taken for gone.
# ---------------------------------------------------------------------------
case('what lies before start_from is not taken for deleted' => sub {
	sync('first load');
	later(3600);
	my $ids = [ (split /,/, existing())[ 0 .. 54 ] ];
	change(op => 'update', ids => $ids);
	query($node, "SELECT jdy_alter_stream('$name', start_from => to_timestamp(@{[ service_now() - 1800 ]}))");
	later(60);
	sync('the load from then on');
	verify("verify, $_") for 1 .. 3;
	is(last_attempt('proven, "count"'), 't|55', 'what was modified since is certified');
	is(marks(), '0 deleted, 0 out of scope', 'older records, of which the table does not tell when they were, are left alone');
	change(op => 'delete', ids => [ $ids->[7] ]);
	verify("verify, $_") for 1 .. 2;
	is(marks(), '1 deleted, 0 out of scope', 'what is claimed is marked when it is gone');
}, stream => { detail => 'false' });

case('a record that shows late, and a run that dies' => sub {
	sync('first load');
	later(60);
	sync('a run');
	change(op => 'insert', count => 1, at_ms => $sim->get('/_sim/now')->{now_ms} - 15_000);
	later(3600);
	change(op => 'update', count => 1);
	later(60);
	$sim->post('/_sim/stats/reset', {});
	fault(kind => 'stall', path => $LIST, after => 1, times => 1);
	my $run_id = begin_run('auto', "phase = 'listing'");
	poll_until(sub { @{ $sim->get('/_sim/requests?n=1000') } >= 2 }, 'the overlap is asked');
	poll_sql($node, "SELECT NOT EXISTS (SELECT FROM jdy_progress WHERE name = '$name') OR upper(coverage) > to_timestamp(@{[ service_now() - 1800 ]}) FROM jdysync.stream WHERE name = '$name'");
	query($node, "SELECT jdy_cancel($run_id)");
	poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the run');
	sync('the next run');
	true_now('looks at what shows late, too');
}, server => { concurrency => 2, timeout => '1 s', max_attempts => 1 }, stream => { overlap => "'1 min'" });

case('a certificate of a list whose count is absurd' => sub {
	sync('first load');
	$sim->post('/_sim/config', { count_lie => 1_000_000 });
	$sim->post('/_sim/stats/reset', {});
	verify('verify');
	is(last_attempt('proven'), 'f', 'is not had');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<', 100, 'and not asked for without end');
});

case('a list that shows some rows twice, and counts them' => sub {
	$sim->post('/_sim/config', { duplicates => 5, duplicates_mode => 'displace' });
	sync('a run');
	verify('verify');
	is(last_attempt('proven'), 'f', 'no certificate');
	like(last_attempt('why'), qr/twice|counts were found wrong/, 'and the reason');
});

# A list without details is taken from one answer; what PostgreSQL cannot hold shows only when it lands.
subtest 'a character that the database lacks' => sub {
	$sim = start_sim(customers => 0, suppliers => 0, materials => 0, orders => 0, set => {%NO_LIMITS});
	$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
	my $latin = sub { return $node->safe_psql('latin', $_[0]); };

	$latin->('CREATE EXTENSION jdysync');
	pull_server($node, 'latin', database => 'latin');
	$latin->(q{SELECT jdy_add_stream('customer', 'latin', detail => false, settle => '0')});
	is($latin->(q{SELECT status FROM jdy_sync('customer')}), 'ok', 'first load');
	my $before = $latin->(q{SELECT set_aside FROM jdy_coverage WHERE name = 'customer'});
	my ($id) = @{ change(op => 'insert', count => 1, fields => { name => "\x{65b0}" }) };
	later(60);
	is($latin->(q{SELECT status FROM jdy_sync('customer')}), 'ok', 'a run after a record came whose name cannot be held');
	is($latin->("SELECT set_aside - $before || ' ' || ('$id' = ANY (exceptions)) FROM jdy_coverage WHERE name = 'customer'"), '1 true', 'it is an exception of the promise');
	$node->safe_psql('latin', q{SELECT jdy_drop_stream('customer')});
	$sim->stop;
};

done_testing();
