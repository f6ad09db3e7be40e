# How long after its modify time a change becomes visible is measured, between two bounds. Where that comes near
# settle, settle is raised by itself and says so; what windows missed all the same has a cause.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $DETAIL = '/jdy/v2/bd/customer_detail';
my $sim = start_sim(customers => 60, set => {%NO_LIMITS});
my $node = pull_node('main');
$node->safe_psql('postgres', q{ALTER ROLE CURRENT_USER SET statement_timeout = '3 min'});	# settle may be raised to more than anybody waits for

# Each change is another record's: what was listed before is not measured.
my @untouched = @{ $sim->get('/_sim/ids?entity=customer&seq=1000000000')->{ids} };
sub change { return @{ $sim->post('/_sim/change', { entity => 'customer', @_ })->{ids} }; }
sub update { my ($n, @more) = @_; return change(op => 'update', ids => [ splice(@untouched, 0, $n) ], @more); }

# What a stream's row says, as text.
sub of_stream { my ($name, $columns) = @_; return query($node, "SELECT $columns FROM jdysync.stream WHERE name = '$name'"); }
sub settle { return of_stream($_[0], 'settle, overlap'); }

# Milliseconds: when its last run listed.
sub last_list { return of_stream($_[0], 'extract(epoch FROM tail_until)::bigint * 1000'); }

# How many changes were measured, how many of them were late, and the longest lag.
sub measured
{
	my ($name) = @_;

	return query($node, "SELECT sum(changes), sum(late), max(highest) FROM jdy_lag WHERE name = '$name'");
}

sub incidents
{
	my ($name, $what) = @_;

	return query($node, "SELECT string_agg(severity || CASE WHEN closed_at IS NULL THEN '' ELSE ', over' END, '; ' ORDER BY id) FROM jdy_incidents WHERE name = '$name' AND what = '$what'");
}

sub detail_of { my ($name, $what) = @_; return query($node, "SELECT detail FROM jdy_incidents WHERE name = '$name' AND what = '$what' ORDER BY id DESC LIMIT 1"); }

# ---------------------------------------------------------------------------
# Nothing is late.
# ---------------------------------------------------------------------------
update(4, at_ms => $sim->get('/_sim/now')->{now_ms} - 600_000);	# before the load: no run of windows asked for these
add_stream($node, 'quick', entry => "'customer'", settle => "'0'");
subtest 'a service that shows at once what is changed' => sub {
	sync_ok($node, 'quick', 'first load');
	is(measured('quick'), '||', 'a load measures nothing');
	update(5);
	change(op => 'insert', count => 2);
	is(sync_ok($node, 'quick', 'a run')->{details}, 7, 'the details of what changed');
	is(measured('quick'), '7|0|', 'each change is measured, none was late');
	is(query($node, q{SELECT string_agg(up_to::text, ' ' ORDER BY up_to) FROM jdy_lag WHERE name = 'quick' AND changes > 0 AND up_to > '30 s'}), '', 'they were visible soon');
	wait_settled($sim, 0);
	is(sync_ok($node, 'quick', 'a run when that has settled')->{details}, 7, 'asks once more');
	is(measured('quick'), '7|0|', 'which measures nothing: they had been listed');
	query($node, q{SELECT jdy_alter_stream('quick', overlap => '1 hour')});
	isnt(sync_ok($node, 'quick', 'a run that looks back further')->{details}, 0, 'finds changes from before the load, too');
	sync_ok($node, 'quick', 'a range again', "jdy_resync('quick', now() - interval '1 hour', now())");
	is(measured('quick'), '7|0|', 'they had not been asked for before: nothing is known of them');
	is(settle('quick'), '00:00:00|01:00:00', 'settle stays');
	is(incidents('quick', 'settle raised'), '', 'no incident');
};

subtest 'a change between list and detail' => sub {
	my ($id) = update(1);
	wait_out($sim, 2);			# else the next run asks for that second again
	$sim->post('/_sim/fault', { kind => 'status', path => $DETAIL, id => $id, times => -1 });
	sync_ok($node, 'quick', 'its detail cannot be had');
	calm($sim, late_visibility_ms => 3600_000);
	wait_out($sim, 1);
	change(op => 'update', ids => [$id]);
	sync_ok($node, 'quick', 'it changes, which only its detail shows yet');
	is_true($node, 'quick', 'staging is true', entity => 'customer', extra => 1);
	is(measured('quick'), '7|0|', 'is not measured: the list was asked before it');
	calm($sim, late_visibility_ms => 0);
	drop_stream($node, 'quick');
	is(query($node, 'SELECT count(*) FROM jdysync.lag'), '0', 'a dropped stream leaves nothing');
};

# ---------------------------------------------------------------------------
# Late, found by windows.  Whatever is stamped before the last run's list and was not in it is late.
# ---------------------------------------------------------------------------
add_stream($node, 'late', entry => "'customer'", settle => "'30 s'", overlap => "'1 min'");
subtest 'a change that comes too late for settle' => sub {
	sync_ok($node, 'late', 'first load');
	update(1, at_ms => last_list('late') - 15_000);
	sync_ok($node, 'late', 'a run, after a change came that is 14 s late');
	is(measured('late'), '1|1|00:00:14', 'it is measured');
	is(settle('late'), '00:00:30|00:01:00', 'settle is more than twice as long');

	my ($id) = update(1, at_ms => last_list('late') - 41_000);
	sync_ok($node, 'late', 'a run, after a change came that is 40 s late');
	is(measured('late'), '2|2|00:00:40', 'it is measured');
	is(query($node, q{SELECT late FROM jdy_lag WHERE name = 'late' AND up_to = '1 min'}), '1', 'in its bucket');
	is(settle('late'), '00:01:30|00:01:30', 'settle is raised to twice that, by whole half minutes, and overlap to no less');
	is(incidents('late', 'settle raised'), 'info', 'an incident says so');
	like(detail_of('late', 'settle raised'), qr/^Record "$id" was modified at .*settle was raised from 00:00:30 to 00:01:30, overlap is 00:01:30\.$/, 'and why');
	is(of_stream('late', q{upper(coverage) = tail_until - interval '90 s' AND watermark = upper(coverage)}), 't', 'what was proven too early is not proven any more');
	is_true($node, 'late', 'staging is true', entity => 'customer', extra => 1);
};

subtest 'from then on' => sub {
	update(2, at_ms => last_list('late') - 41_000);
	sync_ok($node, 'late', 'a run, after others came as late');
	is(settle('late'), '00:01:30|00:01:30', 'settle stays');
	is(incidents('late', 'settle raised'), 'info', 'nothing more is said');
	is(of_stream('late', q{upper(coverage) <= tail_until - interval '90 s' AND upper(coverage) > tail_until - interval '100 s'}), 't', 'nothing is proven too early');
	is(query($node, q{SELECT gaps FROM jdy_coverage WHERE name = 'late'}), '{}', 'and nothing is left out');

	update(1, at_ms => last_list('late') - 101_000);
	sync_ok($node, 'late', 'a run, after one came that was proven not to be there');
	is(settle('late'), '00:03:30|00:03:30', 'settle is raised again');
	is(incidents('late', 'settle raised'), 'info, over; info', 'which is told');
	is(of_stream('late', q{upper(coverage) = tail_until - interval '210 s'}), 't', 'the ledger ends before');
	sync_ok($node, 'late', 'the next run');
	is(of_stream('late', q{upper(coverage) >= tail_until - interval '211 s'}), 't', 'goes on from there');

	query($node, q{UPDATE jdysync.incident SET opened_at = opened_at - interval '8 days' WHERE what = 'settle raised'});
	sync_ok($node, 'late', 'a run after a quiet week');
	is(incidents('late', 'settle raised'), 'info, over; info, over', 'it is over');
};

subtest 'the user has the last word' => sub {
	update(1, at_ms => last_list('late') - 151_000);
	sync_ok($node, 'late', 'a run, after another late one came');
	is(settle('late'), '00:05:00|00:05:00', 'settle is raised');
	query($node, q{SELECT jdy_alter_stream('late', settle => '30 s', overlap => '1 min')});
	is(settle('late'), '00:00:30|00:01:00', 'he may lower it');
	is(incidents('late', 'settle raised'), 'info, over; info, over; info, over', 'and has seen to it');
	sync_ok($node, 'late', 'a run');
	is(settle('late'), '00:00:30|00:01:00', 'believes him');

	my $before = query($node, q{SELECT array_agg(l ORDER BY name, up_to) FROM jdy_lag l});
	$node->restart;
	is(query($node, q{SELECT array_agg(l ORDER BY name, up_to) FROM jdy_lag l}), $before, 'what was measured survives a restart');
	query($node, 'DELETE FROM jdysync.account');
	my $row = query($node, q{SELECT xmin, ctid FROM jdysync.lag});
	sync_ok($node, 'late', 'a run when nothing changed');
	is(query($node, q{SELECT xmin, ctid FROM jdysync.lag}), $row, 'writes nothing');
	drop_stream($node, 'late');
};

subtest 'where list rows state the modify time' => sub {
	calm($sim, row_modify_time => 'on');
	add_stream($node, 'rows', entry => "'customer'", detail => 'false', settle => "'30 s'", overlap => "'1 min'");
	sync_ok($node, 'rows', 'first load');
	update(2);
	change(op => 'insert', count => 1);
	sync_ok($node, 'rows', 'a run');
	is(measured('rows'), '3|0|', 'they are measured');
	sync_ok($node, 'rows', 'another, which lists them again');
	is(measured('rows'), '3|0|', 'once');
	update(1, at_ms => last_list('rows') - 41_000);
	sync_ok($node, 'rows', 'a run, after a change came that is 40 s late');
	is(measured('rows'), '4|1|00:00:40', 'it is measured');
	is(settle('rows'), '00:01:30|00:01:30', 'settle is raised');
	is(of_stream('rows', q{upper(coverage) = tail_until - interval '90 s'}), 't', 'and nothing is proven by the old one');
	drop_stream($node, 'rows');
};

subtest 'a list that a parameter narrows' => sub {
	add_stream($node, 'narrow', metadata => q{'{"api":"/jdy/v2/bd/customer","request":[{"field":"modify_start_time","value":"_function {LAST_SYNC_TIME}*1000"},
		{"field":"modify_end_time","value":"_function {CURRENT_TIME}*1000"},{"field":"enable","value":"1"}]}'}, settle => "'50 min'", overlap => "'1 hour'");
	sync_ok($node, 'narrow', 'first load');
	update(1, at_ms => last_list('narrow') - 3601_000);
	sync_ok($node, 'narrow', 'a run, after a record came in that was modified an hour ago');
	is(settle('narrow'), '01:00:00|01:00:00', 'settle is an hour at most');
	drop_stream($node, 'narrow');
};

# ---------------------------------------------------------------------------
# Too late for windows: a certificate finds it.
# ---------------------------------------------------------------------------
sub missed { my ($name) = @_; return query($node, "SELECT string_agg(concat_ws(' ', cause, later_than), '; ' ORDER BY modified_at) FROM jdy_missed WHERE name = '$name'"); }

add_stream($node, 'audited', entry => "'customer'", settle => "'100 ms'");
subtest 'what a certificate finds' => sub {
	sync_ok($node, 'audited', 'first load');
	sync_ok($node, 'audited', 'a certificate', q{jdy_sync('audited', 'verify')});
	my $certified = query($node, q{SELECT extract(epoch FROM instant)::bigint * 1000 FROM jdy_certificates WHERE name = 'audited' AND proven});

	change(op => 'insert', count => 1, at_ms => $certified - 3600_000);
	sync_ok($node, 'audited', 'a certificate after one came that is dated back an hour', q{jdy_sync('audited', 'verify')});
	is(missed('audited'), 'dated back', 'is found by it, with its cause');
	is(settle('audited'), '00:00:00.1|00:00:02', 'settle stays');
	like(detail_of('audited', 'missed by windows'), qr/^1 record was in the list .* By cause: 1 dated back\. Found by the certificate\.$/, 'an incident says so');

	$certified = query($node, q{SELECT extract(epoch FROM max(instant)) * 1000 FROM jdy_certificates WHERE name = 'audited' AND proven});
	my ($late) = change(op => 'insert', count => 1, at_ms => int($certified / 1000) * 1000 - 20_000);
	change(op => 'insert', count => 1, at_ms => int($certified) - 7200_000);
	sync_ok($node, 'audited', 'a run of windows');
	is(query($node, "SELECT count(*) FROM jdysync.staging_audited WHERE id = '$late'"), '0', 'does not find one that is 20 s late');
	sync_ok($node, 'audited', 'a certificate', q{jdy_sync('audited', 'verify')});
	is(missed('audited'), "dated back; dated back; late @{[ query($node, 'SELECT later_than FROM jdy_missed WHERE cause = \'late\'') ]}", 'does, with the cause');
	is(query($node, "SELECT later_than = unseen_at - modified_at AND later_than >= '20 s' AND later_than < '21 s' FROM jdy_missed WHERE id = '$late'"), 't', 'and how late it was');
	is(settle('audited'), query($node, "SELECT format('%s|%s', s, s) FROM (SELECT make_interval(secs => ceil(extract(epoch FROM 2 * later_than))) AS s FROM jdy_missed WHERE id = '$late') x"),
		'settle is raised to twice that');
	like(detail_of('audited', 'missed by windows'), qr/^2 records were .* By cause: 1 late, 1 dated back\./, 'one incident names both');
	is(incidents('audited', 'missed by windows'), 'warning, over; warning', 'the one before is over');
	is(incidents('audited', 'settle raised'), 'info', 'that settle was raised is told');
	is(of_stream('audited', "upper(coverage) <= (SELECT modified_at FROM jdy_missed WHERE id = '$late')"), 't', 'from where it was missed on nothing is proven');
	my ($around) = update(1, at_ms => int($certified / 1000) * 1000 - 15_000);
	sync_ok($node, 'audited', 'the next run');
	is(query($node, "SELECT detailed_at > modified_at + interval '15 s' FROM jdysync.staging_audited WHERE id = '$around'"), 't', 'reads that again');
	like(query($node, "SELECT detail->>'cause' FROM jdy_trace('audited', '$late') WHERE what = 'missed by windows'"), qr/^late$/, 'jdy_trace tells it, too');
	is_true($node, 'audited', 'staging is true', entity => 'customer', extra => 1);
	drop_stream($node, 'audited');
	is(query($node, 'SELECT count(*) FROM jdysync.missed'), '0', 'a dropped stream leaves nothing');
};

subtest 'other causes' => sub {
	add_stream($node, 'causes', entry => "'customer'", settle => "'100 ms'");
	sync_ok($node, 'causes', 'first load');
	query($node, q{UPDATE jdysync.stream SET load_began = load_began - interval '1 day' WHERE name = 'causes';
		INSERT INTO jdysync."window" (stream_id, epoch, span, rule, calls, "rows", run_id)
		SELECT stream_id, epoch, tstzrange(e.at + i * interval '1 min', e.at + (i + 1) * interval '1 min'), 'one answer', 1, 0, 1
		FROM jdysync.stream, generate_series(-1, 0) AS i, date_trunc('second', now() - interval '10 min') AS e (at) WHERE name = 'causes'});
	my $edge = query($node, q{SELECT extract(epoch FROM max(lower(span)))::bigint * 1000 FROM jdysync."window"});
	change(op => 'insert', count => 1, at_ms => $edge + 0);
	change(op => 'insert', count => 1, at_ms => $edge - 48 * 3600_000);
	my ($late) = change(op => 'insert', count => 1, at_ms => $edge + 7_000);
	sync_ok($node, 'causes', 'a certificate, the first', q{jdy_sync('causes', 'verify')});
	is(missed('causes'), 'paging; edge; late 00:00:02.1', 'finds what a load by pages should have shown, what lies on an edge, and what is late');
	is(settle('causes'), '00:00:05|00:00:05', 'which is all that settle follows, as far as windows would have found it');
	is(of_stream('causes', "upper(coverage) = date_trunc('second', (SELECT modified_at FROM jdysync.staging_causes WHERE id = '$late'))"), 't', 'what was stamped since is to be read again');
	drop_stream($node, 'causes');
};

done_testing();
