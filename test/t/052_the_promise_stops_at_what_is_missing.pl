# complete_until never passes a change that is not in staging, and what is not proven
# is not promised: not after a cancel, not when the same record changes twice, not when the
# service's answers leave a doubt.
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
my $sim = start_sim(customers => 230, set => {%NO_LIMITS});
my $node = pull_node('main');

sub change { return $sim->post('/_sim/change', { @_ })->{ids}; }
sub fault { return $sim->post('/_sim/fault', { @_ }); }
sub coverage { my ($column, $name) = @_; return query($node, "SELECT $column FROM jdy_coverage WHERE name = '$name'"); }

# Runs a stream until $enough (SQL on jdy_progress p) holds, then cancels it.
sub run_until
{
	my ($name, $enough, $mode) = @_;
	my $run_id = query($node, "SELECT jdy_start('$name', '" . ($mode // 'auto') . "')");

	poll_until(sub { query($node, "SELECT EXISTS (SELECT FROM jdy_progress p WHERE name = '$name' AND $enough)") eq 't' }, $enough);
	query($node, "SELECT jdy_cancel($run_id)");
	wait_for_status($node, $run_id, 'cancelled', "$name: cancelled when $enough");
	return;
}

subtest 'no watermark beyond a gap, whoever writes it' => sub {
	add_stream($node, 'gap', entry => "'customer'", settle => "'0'");
	sync_ok($node, 'gap', 'first load');
	my ($from, $to) = map { "now() - interval '$_'" } '2 hours', '1 hour';
	my $refused = sub {
		my ($set, $what) = @_;
		my (undef, undef, $err) = $node->psql('postgres', "UPDATE jdysync.stream SET $set WHERE name = 'gap'");

		like($err, qr/violates check constraint "watermark_within_first_range"|range lower bound must be less than/, $what);
	};

	$refused->('watermark = now()', 'not beyond what is proven');
	$refused->("watermark = 'infinity'", 'nor to the end of time');
	$refused->("coverage = '{}'", 'not without anything proven');
	$refused->("coverage = coverage - tstzmultirange(tstzrange($from, $to))", 'nor over a hole');
	$refused->("coverage = coverage - tstzmultirange(tstzrange(NULL, $from))", 'nor before which there is one');
	$refused->("coverage = coverage - tstzmultirange(tstzrange($from, NULL)), start_from = $to", 'nor before the beginning');

	# As a superuser may, with the watermark where it must be then.
	query($node, "UPDATE jdysync.stream SET coverage = coverage - tstzmultirange(tstzrange($from, $to)), watermark = $from WHERE name = 'gap'");
	is(coverage("(SELECT count(*) FROM unnest(gaps)) || ' ' || (complete_until = lower(gaps)) || ' ' || (lower(windows) IS NULL) || ' ' || (upper(windows) > upper(gaps))", 'gap'),
		'1 true true true', 'jdy_coverage shows a gap, and the windows around it');
	wait_out($sim, 2);
	sync_ok($node, 'gap', 'a run');
	is(coverage("complete_until = lower(gaps)", 'gap'), 't', 'does not pass it');
	sync_ok($node, 'gap', 'jdy_resync over half of it', "jdy_resync('gap', now() - interval '2 hours 1 min', now() - interval '90 min')");
	is(coverage("complete_until = lower(gaps) AND lower(gaps) > now() - interval '95 min'", 'gap'), 't', 'closes half');
	sync_ok($node, 'gap', 'jdy_resync', "jdy_resync('gap', now() - interval '2 hours 1 min', now() - interval '59 min')");
	is(coverage("gaps = '{}' AND complete_until = upper(windows)", 'gap'), 't', 'closes it');
	is(query($node, "SELECT bool_and(w.calls > 0 AND w.\"rows\" >= 0 AND w.\"count\" = w.\"rows\" AND w.rule = 'one answer' AND w.run_id > 0)"
		  . " FROM jdysync.\"window\" w JOIN jdysync.stream s USING (stream_id) WHERE s.name = 'gap' AND NOT lower_inf(w.span)"), 't', 'each window with its evidence');
	is(query($node, "SELECT s.coverage = (SELECT range_agg(w.span) FROM jdysync.\"window\" w WHERE w.stream_id = s.stream_id AND w.epoch = s.epoch) FROM jdysync.stream s WHERE s.name = 'gap'"), 't', 'together they are the coverage');
	drop_stream($node, 'gap');
};

subtest 'a record that changes twice before its detail was had' => sub {
	add_stream($node, 'twice', entry => "'customer'", settle => "'500 ms'", overlap => "'0'");
	sync_ok($node, 'twice', 'first load');
	wait_out($sim, 2);
	my $first = $sim->get('/_sim/now')->{now_ms};
	my $id = change(op => 'update', count => 1)->[0];
	wait_settled($sim, 0.5);

	fault(kind => 'stall', path => $DETAIL, times => -1);
	run_until('twice', 'details_due > 0');
	my $stands = coverage("complete_until < to_timestamp($first / 1000.0)", 'twice');
	is($stands, 't', 'the promise stops at the change');

	change(op => 'update', ids => [$id]);
	wait_settled($sim, 0.5);
	run_until('twice', 'details_due > 0');
	is(coverage("complete_until < to_timestamp($first / 1000.0)", 'twice'), 't', 'and stays there when the record changes again');
	is(coverage("listed_until > to_timestamp($first / 1000.0)", 'twice'), 't', 'although both changes were listed');

	calm($sim);
	sync_ok($node, 'twice', 'a run that gets the detail');
	is(coverage("complete_until > to_timestamp($first / 1000.0)", 'twice'), 't', 'moves it on');
	is_true($node, 'twice', 'for the change is there', entity => 'customer');
	drop_stream($node, 'twice');
};

subtest 'mode full takes nothing back' => sub {
	add_stream($node, 'again', entry => "'customer'", settle => "'500 ms'");
	sync_ok($node, 'again', 'first load');
	my $before = coverage('complete_until', 'again');

	fault(kind => 'stall', path => $DETAIL, times => -1, after => 20);
	run_until('again', 'details >= 1 OR details_due > 0', 'full');
	is(coverage("complete_until >= '$before'", 'again'), 't', 'what was promised still is, although every detail is due again');
	cmp_ok(coverage('details_due', 'again'), '>', 0, 'which is so');
	calm($sim);
	sync_ok($node, 'again', 'the next run');
	is(coverage('details_due', 'again'), '0', 'asks them');
	drop_stream($node, 'again');
};

subtest 'a list row that PostgreSQL cannot hold' => sub {
	add_stream($node, 'unfit', entry => "'customer'", settle => "'500 ms'");
	fault(kind => 'nul', path => $LIST, row => 17, times => -1);
	sync_ok($node, 'unfit', 'first load');
	my ($id) = query($node, "SELECT id FROM jdy_rejects WHERE name = 'unfit' LIMIT 1");
	cmp_ok(coverage('set_aside', 'unfit'), '>', 0, 'is set aside');
	is(coverage("'$id' = ANY (exceptions)", 'unfit'), 't', 'and named as an exception of the promise');

	calm($sim);
	query($node, "UPDATE jdysync.reject SET next_try = now() - interval '1 s' WHERE next_try IS NOT NULL");
	sync_ok($node, 'unfit', 'a run when it has come right');
	is(coverage('set_aside, exceptions', 'unfit'), '0|', 'there is no exception any more');
	is_true($node, 'unfit', 'nothing is missing', entity => 'customer');
	drop_stream($node, 'unfit');
};

subtest 'a filter that stops working' => sub {
	add_stream($node, 'blunt', entry => "'customer'", settle => "'500 ms'");
	sync_ok($node, 'blunt', 'first load');
	isnt(coverage('complete_until', 'blunt'), '', 'there is a promise');
	$sim->post('/_sim/config', { filter_ignored => 'on' });
	query($node, "DELETE FROM jdysync.contract WHERE question = 'filter'");
	sync_ok($node, 'blunt', 'a run when the service ignores the filter');
	is(coverage('complete_until', 'blunt'), '', 'there is none any more: pages alone prove nothing');
	calm($sim, filter_ignored => 'off');
	drop_stream($node, 'blunt');
};

subtest 'start_from a moment ago' => sub {
	add_stream($node, 'since', entry => "'customer'", settle => "'3 s'", overlap => "'1 s'", start_from => 'now()');
	my $run = sync_ok($node, 'since', 'first run, before anything can have settled');
	is($run->{details}, 0, 'asks for no older record');
	is(coverage('windows', 'since'), '{}', 'and claims nothing');
	my $ids = change(op => 'insert', count => 4);
	wait_settled($sim, 3);
	sync_ok($node, 'since', 'a run when it has settled');
	is(coverage("lower(windows) >= (SELECT start_from FROM jdysync.stream WHERE name = 'since') - interval '1 s' AND gaps = '{}' AND complete_until IS NOT NULL", 'since'), 't',
		'claims what came since then, and no more');
	is(query($node, "SELECT count(*) FROM jdysync.staging_since WHERE id = ANY ('{" . join(',', @$ids) . "}')"), '4', 'which is there');

	my $until = coverage('listed_until', 'since');
	wait_out($sim, 2);
	sync_ok($node, 'since', 'jdy_resync of a time before', "jdy_resync('since', '2024-01-01', '2024-02-01')");
	is(coverage("listed_until >= '$until' AND complete_until >= '$until'", 'since'), 't', 'does not throw the promise back');
	sync_ok($node, 'since', 'a later run');
	is(coverage("listed_until > '$until'", 'since'), 't', 'nor stop it');
	drop_stream($node, 'since');
};

subtest 'a list without a stable order, interrupted' => sub {
	$sim->post('/_sim/config', { unstable_order => 'on' });
	fault(kind => 'stall', path => $LIST, page => 2, times => -1);
	add_stream($node, 'shaken', entry => "'customer'", settle => "'500 ms'");
	run_until('shaken', "phase = 'loading' AND listed >= 100");
	$sim->delete('/_sim/fault');
	$sim->post('/_sim/config', { unstable_order => 'off' });
	sync_ok($node, 'shaken', 'the next run, which finds the list in order');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = 'shaken' AND what = 'no stable order' AND closed_at IS NULL"), '1',
		'does not forget that its first pages were not');
	like(query($node, "SELECT string_agg(DISTINCT rule, '; ') FROM jdysync.\"window\" JOIN jdysync.stream USING (stream_id) WHERE name = 'shaken'"),
		qr/^one answer/, 'so windows prove what was read, not pages');
	is(coverage("gaps = '{}' AND lower_inf(windows) AND complete_until IS NOT NULL", 'shaken'), 't', 'all of it');
	is_true($node, 'shaken', 'and nothing is missing', entity => 'customer');
	drop_stream($node, 'shaken');
};

subtest 'an order that is not known' => sub {
	my $metadata = '{"api":"/jdy/v2/bd/customer","id":"id","request":[{"field":"order_by","value":"name asc"},'
	  . '{"field":"modify_start_time","value":"{{LAST_SYNC_TIME}}000"},{"field":"modify_end_time","value":"{{CURRENT_TIME}}000"}]}';

	add_stream($node, 'named', metadata => "'$metadata'", settle => "'500 ms'");
	sync_ok($node, 'named', 'first load of a list sorted by a field that rows are not anchored by');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE name = 'named' AND what = 'sort key not known'"), '1', 'an incident says so');
	is(query($node, "SELECT count(*) FROM jdysync.\"window\" JOIN jdysync.stream USING (stream_id) WHERE name = 'named' AND rule = 'load'"), '0',
		'pages prove nothing');
	is(coverage("gaps = '{}' AND complete_until IS NOT NULL", 'named'), 't', 'windows do');
	is_true($node, 'named', 'nothing is missing', entity => 'customer');
	drop_stream($node, 'named');
};

subtest 'a service that does not tell its time' => sub {
	$sim->post('/_sim/config', { tells_time => 'off' });
	add_stream($node, 'timeless', entry => "'customer'", settle => "'500 ms'");
	sync_ok($node, 'timeless', 'first load');
	my $id = change(op => 'update', count => 1)->[0];
	sync_ok($node, 'timeless', 'a run after a change');
	is_true($node, 'timeless', 'brings it', entity => 'customer');
	is(query($node, "SELECT max(detailed_at) < now() - interval '23 hours' FROM jdysync.staging_timeless"), 't', 'and takes no detail for younger than it surely is');
	wait_out($sim, 2);
	sync_ok($node, 'timeless', 'a run when it should have settled');
	is(coverage("complete_until BETWEEN now() - interval '25 hours' AND now() - interval '23 hours'", 'timeless'), 't',
		'promises only what is a day old: our clock may be wrong');
	my $open = "SELECT count(*) FROM jdy_incidents WHERE name = 'timeless' AND what = 'no time told' AND closed_at IS NULL";
	is(query($node, $open), '1', 'an incident says so');
	calm($sim, tells_time => 'on');
	sync_ok($node, 'timeless', 'a run when the header is back');
	is(coverage("complete_until > now() - interval '1 min'", 'timeless'), 't', 'promises the usual');
	is(query($node, $open), '0', 'and closes the incident');
	drop_stream($node, 'timeless');
};

subtest 'a service that says of every record that it does not exist' => sub {
	add_stream($node, 'nobody', entry => "'customer'", settle => "'500 ms'");
	fault(kind => 'errcode', errcode => 1030002003, path => $DETAIL, times => -1);
	sync_fails($node, 'nobody', 'HV000', qr/too many details in a row could not be had/, 'is not believed: the run fails');
	calm($sim);
	sync_ok($node, 'nobody', 'a run when it has come right');
	is_true($node, 'nobody', 'nothing is missing', entity => 'customer');
	is(coverage('details_due + set_aside', 'nobody'), '0', 'nor owed');
	drop_stream($node, 'nobody');
};

subtest 'what changes during a long first load goes first' => sub {
	$sim->stop;
	$sim = start_sim(customers => 4000, set => {%NO_LIMITS});
	pull_server($node, 'slow', server => { concurrency => 1, rate_window => '100 ms' });
	add_stream($node, 'long', server => "'slow'", entry => "'customer'", settle => "'500 ms'");
	$sim->post('/_sim/config', { latency_ms => 5 });
	my $run_id = query($node, "SELECT jdy_start('long')");
	poll_until(sub { query($node, "SELECT EXISTS (SELECT FROM jdy_progress WHERE name = 'long' AND details >= 1)") eq 't' }, 'some details');
	my ($oldest) = truth($sim) =~ /^\{"id":"(\d+)"/m;
	change(op => 'set', id => $oldest, fields => { name => 'first of all' });
	ok(poll_until(
			sub {
				query($node, "SELECT data->>'name' = 'first of all' AND EXISTS (SELECT FROM jdysync.staging_long WHERE detailed_at IS NULL)"
					  . " FROM jdysync.staging_long WHERE id = '$oldest' AND detailed_at IS NOT NULL") eq 't'
					or query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't';
			}, 'the change'), 'the record with the lowest id changes');
	is(query($node, "SELECT count(*) > 0 FROM jdysync.staging_long WHERE detailed_at IS NULL"), 't', 'its detail is there before those of the load');
	calm($sim, latency_ms => 0);
	wait_for_status($node, $run_id, 'ok', 'the load ends well');
	is_true($node, 'long', 'with everything', entity => 'customer');
	drop_stream($node, 'long');
};

# Somebody's old snapshot, that of a caller who waits for the run among them, keeps finished entries in the index.
subtest 'details of a first load are found without passing those that are done' => sub {
	pull_server($node, 'many');
	wait_settled($sim, 2 + 2);	# no window of the load lists what the case before changed: its detail would be asked again
	add_stream($node, 'much', server => "'many'", entry => "'customer'");
	my $read = "SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE indexrelname LIKE 'listing_due%'";
	my $before = query($node, $read);
	my $run = sync_ok($node, 'much', 'a first load of 4,000 records');
	is($run->{details}, 4000, 'asks each detail once');
	query($node, 'SELECT pg_stat_clear_snapshot()');
	# 100,000 and more when it passes what is done; the slower the machine, the more often it looks.
	cmp_ok(query($node, $read) - $before, '<', 12 * 4000, 'and reads a few index entries for each');
	drop_stream($node, 'much');
};

done_testing();
