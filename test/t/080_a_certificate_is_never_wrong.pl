# A certificate names exactly the records that the list held at its instant. A quiet list costs one
# count and one scan; where the list changes, or anything else leaves a doubt, there is a reason instead.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 260, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\n");

sub change { return $sim->post('/_sim/change', { @_ })->{ids}; }
sub fault { return $sim->post('/_sim/fault', { @_ }); }

# The last attempt to certify: one column, or several.
sub last_attempt
{
	my ($name, $columns) = @_;

	return query($node, "SELECT $columns FROM jdy_certificates WHERE name = '$name' ORDER BY certificate_id DESC LIMIT 1");
}

sub verify { my ($name, $what) = @_; return sync_ok($node, $name, $what, "jdy_sync('$name', 'verify')"); }

# A stream of its own that was loaded and has settled.
sub scene
{
	my ($name, %arguments) = @_;

	add_stream($node, $name, entry => "'customer'", settle => "'100 ms'", %arguments);
	sync_ok($node, $name, 'first load');
	return;
}

# Requests of the list as a whole, as the simulator saw them: [ page, size, seq ].
sub whole_list
{
	my @requests = grep { $_->{url} =~ /^\Q$LIST\E\?/ && $_->{url} !~ /_time=/ } @{ $sim->get('/_sim/requests?n=1000') };

	return map { [ $_->{url} =~ /[?&]page=(\d+)/, $_->{url} =~ /page_size=(\d+)/, $_->{seq} ] } @requests;
}

sub incidents { return query($node, "SELECT COALESCE(string_agg(what, ',' ORDER BY what), '') FROM jdy_incidents WHERE name = '$_[0]' AND closed_at IS NULL"); }
sub certified { return query($node, "SELECT string_agg(id, ',' ORDER BY id) FROM jdy_certified WHERE name = '$_[0]'"); }
sub existing { return join ',', sort @{ $sim->get("/_sim/ids?seq=$_[0]")->{ids} }; }

# When there is a certificate, it names what existed when the list was counted: '' or what is wrong.
sub is_wrong
{
	my ($name) = @_;
	my ($proven, $pass, $passes) = split /\|/, last_attempt($name, "proven, assumptions->>'pass', assumptions->>'passes'");

	return '' if $proven ne 't';
	my @counts = grep { $_->[0] == 1 && $_->[1] == 1 } whole_list();
	my $seq = $counts[ @counts - $passes + $pass - 1 ]->[2];
	return certified($name) eq existing($seq) ? '' : "certificate of pass $pass of $passes, change $seq";
}

# ---------------------------------------------------------------------------
# A quiet list.
# ---------------------------------------------------------------------------
scene('customer');
subtest 'a quiet list' => sub {
	$sim->post('/_sim/stats/reset', {});
	my $run = verify('customer', 'verify');
	is(last_attempt('customer', 'proven, "count", calls, missed, why'), 't|260|4|0|', 'there is a certificate');
	is(join(' ', map { "$_->[0]/$_->[1]" } sort { $a->[1] <=> $b->[1] || $a->[0] <=> $b->[0] } whole_list()), '1/1 1/100 2/100 3/100',
		'for one count and one scan');
	is($run->{inserted} + $run->{updated} + $run->{details}, 0, 'nothing had to be fetched');
	is(certified('customer'), existing(1e9), 'it names what exists');
	is(last_attempt('customer', "jsonb_array_length(evidence), evidence->0->>'what', evidence->0->>'count'"), '4|count|260', 'and owns its evidence');
	is(last_attempt('customer', q{abs(extract(epoch FROM instant - at)) < 60}), 't', 'its instant is by the service\'s clock');

	query($node, 'TRUNCATE jdysync.call; DELETE FROM jdysync.run');
	is(query($node, q{SELECT string_agg(concat_ws(' ', e->>'what', e->>'page', e->>'size', e->>'rows', e->>'count'), ', ' ORDER BY e->>'what', e->>'page') FROM jdy_certificates c, jsonb_array_elements(c.evidence) e WHERE c.name = 'customer'}),
		'count 1 1 1 260, page 1 100 100 260, page 2 100 100 260, page 3 100 60 260', 'which needs no log of calls');
	is(query($node, q{SELECT bool_and((e->>'asked_at')::timestamptz <= (e->>'answered_at')::timestamptz) FROM jdy_certificates c, jsonb_array_elements(c.evidence) e}), 't', 'with the times of each');
	is(last_attempt('customer', q{assumptions->>'settle', assumptions->>'known_before', assumptions->'contract'->'filter'->>'answer'}), '00:00:00.1|260|honoured', 'and what was assumed');

	# doc/certificates.md
	my $check = q{SELECT c."count" = count(*) AND c.digest = sha256(convert_to(string_agg(i.id, E'\n' ORDER BY i.id COLLATE "C"), 'UTF8'))
FROM (SELECT * FROM jdy_certificates WHERE proven AND name = 'customer' ORDER BY certificate_id DESC LIMIT 1) c JOIN jdy_certified i USING (name)
GROUP BY c."count", c.digest};
	is(query($node, $check), 't', 'SQL alone can check it');
	query($node, q{UPDATE jdysync.sighted SET ids[7] = 'x'});
	is(query($node, $check), 'f', 'and would see one id that is another');
	my ($seventh) = (split /,/, existing(1e9))[6];
	query($node, "UPDATE jdysync.sighted SET ids[7] = '$seventh'");
};

subtest 'again' => sub {
	my $row = q{SELECT string_agg(xmin::text || ctid::text, ',' ORDER BY ctid) FROM jdysync.sighted};
	my $before = query($node, $row);
	verify('customer', 'verify when nothing has changed');
	is(last_attempt('customer', 'proven, "count", calls'), 't|260|4', 'one count and one scan again');
	is(query($node, $row), $before, 'no id is written');
	query($node, q{INSERT INTO jdysync.sighted (stream_id, certified, ids) SELECT stream_id, false, ids[1:3] FROM jdysync.sighted WHERE certified});
	verify('customer', 'verify when ids were noted twice');
	is(last_attempt('customer', 'proven, "count", calls'), 't|260|4', 'counts them once');
};

subtest 'records that came and went since' => sub {
	my $new = change(op => 'insert', count => 3);
	sync_ok($node, 'customer', 'a run that lists the new ones');
	verify('customer', 'verify');
	is(last_attempt('customer', 'proven, "count", calls'), 't|263|4', 'windows have shown them before: one scan');
	is(certified('customer'), existing(1e9), 'it names them');

	change(op => 'delete', ids => [ $new->[1] ]);
	verify('customer', 'verify when one is gone');
	is(last_attempt('customer', 'proven, "count", calls'), 't|262|4', 'one scan');
	is(certified('customer'), existing(1e9), 'it is not named any more');
};

subtest 'what no window listed' => sub {
	my $id = change(op => 'insert', count => 1, at_ms => $sim->get('/_sim/now')->{now_ms} - 3600_000)->[0];
	sync_ok($node, 'customer', 'a run after a record came that is dated back an hour');
	is(query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE id = '$id'"), '0', 'does not find it');
	verify('customer', 'verify');
	is(last_attempt('customer', 'proven, "count", calls, missed'), 't|263|8|1', 'does, and one pass more certifies the list');
	is(certified('customer'), existing(1e9), 'with that record');
	is(query($node, "SELECT detailed_at IS NOT NULL FROM jdysync.staging_customer WHERE id = '$id'"), 't', 'it is here, detail included');
	like(query($node, "SELECT severity || ': ' || detail FROM jdy_incidents WHERE name = 'customer' AND what = 'missed by windows' AND closed_at IS NULL"),
		qr/^warning: 1 record was in the list/, 'an incident says so');
	is(last_attempt('customer', 'missed_ids'), "{$id}", 'the certificate names it, to its owner');
	isnt(query($node, q{SELECT complete_until FROM jdy_coverage WHERE name = 'customer'}), '', 'the promise stands');
	verify('customer', 'the next time');
	is(query($node, "SELECT count(*) FROM jdy_incidents WHERE what = 'missed by windows' AND closed_at IS NULL"), '0', 'it is closed');
};

subtest 'what the owner writes into staging proves nothing' => sub {
	query($node, q{INSERT INTO jdysync.staging_customer (id, data, synced_at, run_id) VALUES ('forged', '{}', now() - interval '1 year', 1)});
	my $id = (split /,/, certified('customer'))[100];
	query($node, "DELETE FROM jdysync.staging_customer WHERE id = '$id'");
	verify('customer', 'verify');
	is(last_attempt('customer', 'proven, "count", calls, missed'), 't|263|4|0', 'it is certified all the same');
	is(certified('customer'), existing(1e9), 'what the service has');
	is(query($node, "SELECT detailed_at IS NOT NULL FROM jdysync.staging_customer WHERE id = '$id'"), 't', 'and what was missing is here again');
	query($node, q{DELETE FROM jdysync.staging_customer WHERE id = 'forged'});
};

# ---------------------------------------------------------------------------
# Cancel, kill: no row, or a true one.
# ---------------------------------------------------------------------------
subtest 'interrupted' => sub {
	query($node, q{ALTER SERVER kingdee OPTIONS (SET rate_window '3 s'); SELECT jdy_alter_stream('customer', settle => '1 hour')});
	my $before = query($node, 'SELECT count(*) FROM jdysync.certificate');
	my $run_id = query($node, q{SELECT jdy_start('customer', 'verify')});
	ok(poll_sql($node, q{SELECT EXISTS (SELECT FROM jdy_progress WHERE phase = 'verifying' AND waiting_for LIKE 'settle%')}), 'jdy_progress says what it waits for');
	my $id = change(op => 'insert', count => 1)->[0];
	ok(poll_sql($node, "SELECT EXISTS (SELECT FROM jdysync.staging_customer WHERE id = '$id' AND detailed_at IS NOT NULL)"), 'changes arrive meanwhile');
	query($node, "SELECT jdy_cancel($run_id)");
	wait_for_status($node, $run_id, 'cancelled', 'it can be cancelled at once');

	query($node, q{ALTER SERVER kingdee OPTIONS (SET rate_window '100 ms'); SELECT jdy_alter_stream('customer', settle => '100 ms')});
	fault(kind => 'stall', path => $LIST, page => 2, times => -1);
	$run_id = query($node, q{SELECT jdy_start('customer', 'verify')});
	poll_until(sub { grep { $_->[0] == 3 } whole_list() }, 'the scan');
	my $pid = query($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'");
	kill 'KILL', $pid if $pid;
	poll_until(sub { eval { query($node, 'SELECT 1'); 1 } && query($node, "SELECT status = 'interrupted' FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the restart');
	is(query($node, 'SELECT count(*) FROM jdysync.certificate'), $before, 'neither leaves a row');
	calm($sim);
	forget_calls($node);
	verify('customer', 'verify after that');
	is(last_attempt('customer', 'proven'), 't', 'there is a certificate');
	is(certified('customer'), existing(1e9), 'and it is true');
};

# ---------------------------------------------------------------------------
# The network is cut, at each call of a run that needs two passes and would prove a delete.
# ---------------------------------------------------------------------------
subtest 'a cut network' => sub {
	my @kinds = qw(reset reset_after cut);
	my ($cut, @wrong) = (1);

	scene('cut', settle => "'20 ms'");
	verify('cut', 'verify');
	my $had = certified('cut');
	my $state = q{SELECT concat_ws('|', (SELECT count(*) FROM jdy_certificates WHERE name = 'cut'), (SELECT count(deleted_at) + count(out_of_scope_at) FROM jdysync.staging_cut), (SELECT complete_until IS NOT NULL FROM jdy_coverage WHERE name = 'cut'))};
	my $before = query($node, $state);
	my ($gone) = @{ change(op => 'delete', count => 1) };
	while (++$cut < 30)
	{
		# No window lists it: so a second pass is needed.
		change(op => 'insert', count => 1, at_ms => $sim->get('/_sim/now')->{now_ms} - 3600_000);
		$sim->post('/_sim/script', { events => [ { at => $cut, post => '/_sim/fault', body => { kind => $kinds[ $cut % 3 ], times => -1 } } ] });
		my $run = sync_stream($node, 'cut', q{jdy_sync('cut', 'verify')});
		calm($sim);
		last if $run->{ok};
		my ($said) = $run->{err} =~ /ERROR:  (.*)/;
		push @wrong, "call $cut: $said" if $said ne '08006: call to the service failed: the connection broke';
		push @wrong, "call $cut: another certificate, or a delete" if query($node, $state) ne $before || certified('cut') ne $had;
		push @wrong, "call $cut: no incident" if incidents('cut') ne 'failing';
	}
	cmp_ok($cut, '>', 2 * 4, 'cut at every call of two passes');
	is(join("\n", @wrong), '', 'the run fails and says why, and proves nothing');

	verify('cut', 'verify after that');
	is(last_attempt('cut', 'proven'), 't', 'there is a certificate');
	is(certified('cut'), existing(1e9), 'it is true');
	sync_ok($node, 'cut', 'a full run, as the last cut may have set a detail aside', q{jdy_sync('cut', 'full')});
	is_true($node, 'cut', 'nothing is lost', entity => 'customer');
	is(query($node, q{SELECT string_agg(id, ',') FROM jdysync.staging_cut WHERE deleted_at IS NOT NULL}), $gone, 'what is gone is known to be');
	is(incidents('cut'), '', 'and the incident is over');
	drop_stream($node, 'cut');
};

# ---------------------------------------------------------------------------
# Whatever changes, whenever.
# ---------------------------------------------------------------------------
# Options: set => switches, churn, tries; enough => a proof must be had within so many.
sub never_wrong
{
	my ($what, %options) = @_;

	subtest $what => sub {
		$sim->stop;
		$sim = start_sim(customers => 120, seed => $options{seed} // 1, set => { %NO_LIMITS, cap => 20, %{ $options{set} // {} } });
		pull_server($node, 'busy', server => { rate_window => '5 s' });
		add_stream($node, 'busy', server => "'busy'", entry => "'customer'", settle => $options{settle} // "'40 ms'");
		sync_ok($node, 'busy', 'first load');
		my $proven = 0;
		for my $try (1 .. $options{tries} // 4)
		{
			$sim->post('/_sim/churn', { entity => 'customer', %{ $options{churn} } });
			verify('busy', "attempt $try");
			calm($sim);
			my $wrong = is_wrong('busy');
			is($wrong, '', 'is true, or none') or diag(last_attempt('busy', 'evidence'));
			$proven++ if last_attempt('busy', 'proven') eq 't';
			last if $options{enough} && $proven;
			sync_ok($node, 'busy', 'a run in between') if $try % 2;
		}
		ok($proven, 'there was one') if $options{enough};
		is($proven, 0, 'there was none') if $options{none};
		like(last_attempt('busy', 'why'), qr/^the list changed too much/, 'it says why') if $options{none};
		drop_stream($node, 'busy');
		query($node, 'DROP SERVER busy CASCADE');
	};
	return;
}

never_wrong("a list that changes now and then, seed $_", seed => $_, churn => { insert => 0.02, update => 0.1, delete => 0.02 }, tries => 12, enough => 1) for 1 .. 2;
never_wrong('one comes and one goes with every call', churn => { insert => 1, delete => 1 }, tries => 3, none => 1);
never_wrong('records only go', churn => { delete => 0.3 });
never_wrong('no stable order', set => { unstable_order => 'on' }, churn => { insert => 0.1, delete => 0.1 });

subtest 'replicas that are behind' => sub {
	$sim->stop;
	$sim = start_sim(customers => 120, set => {%NO_LIMITS});
	pull_server($node, 'behind', server => { rate_window => '5 s' });
	add_stream($node, 'behind', server => "'behind'", entry => "'customer'", settle => "'1500 ms'");
	sync_ok($node, 'behind', 'first load');
	$sim->post('/_sim/config', { count_lag_ms => 1000 });
	change(op => 'insert', count => 1);
	my $run_id = query($node, q{SELECT jdy_start('behind', 'verify')});
	poll_until(sub { grep { $_->[1] == 1 && $_->[2] > 120 } whole_list() }, 'the count');
	change(op => 'delete', count => 1);
	poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the run');
	is(is_wrong('behind'), '', 'is asked when it has caught up');

	$sim->post('/_sim/config', { count_lag_ms => 0, rows_lag_ms => 1400 });
	$run_id = query($node, q{SELECT jdy_start('behind', 'verify')});
	poll_sql($node, q{SELECT EXISTS (SELECT FROM jdy_progress WHERE name = 'behind' AND phase = 'verifying')});
	change(op => $_, count => 1) for 'insert', 'delete';
	poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the run');
	is(is_wrong('behind'), '', 'nor are pages before they have');
	drop_stream($node, 'behind');
};

# ---------------------------------------------------------------------------
# By itself.
# ---------------------------------------------------------------------------
subtest 'once a day' => sub {
	$sim->stop;
	$sim = start_sim(customers => 30, set => {%NO_LIMITS});
	pull_server($node, 'daily');
	add_stream($node, 'daily', server => "'daily'", entry => "'customer'", settle => "'50 ms'", schedule => "'1 s'");
	my $ok = q{SELECT count(*) FILTER (WHERE mode = 'auto') > 1 AND count(*) FILTER (WHERE mode <> 'auto') = %d FROM jdy_runs WHERE name = 'daily' AND status = 'ok'};
	ok(poll_sql($node, sprintf $ok, 0), 'a stream runs by itself');
	is(query($node, q{SELECT verify_at BETWEEN now() + interval '50 min' AND now() + interval '1 hour' FROM jdysync.stream WHERE name = 'daily'}), 't', 'an hour later it is to be verified');
	query($node, q{UPDATE jdysync.stream SET verify_at = now() WHERE name = 'daily'});
	ok(poll_sql($node, q{SELECT count(*) = 1 FROM jdy_certificates WHERE name = 'daily' AND proven}), 'and is, by one of its runs');
	my $run_id = last_attempt('daily', 'run_id');
	is(query($node, "SELECT mode, status FROM jdy_runs WHERE run_id = $run_id"), 'verify|ok', 'whose mode says so');
	is(query($node, q{SELECT verify_at BETWEEN now() + interval '20 hours' AND now() + interval '24 hours' FROM jdysync.stream WHERE name = 'daily'}), 't', 'the next time is within a day');
	ok(poll_sql($node, "SELECT count(*) > 1 FROM jdy_runs WHERE name = 'daily' AND status = 'ok' AND mode = 'auto' AND run_id > $run_id"), 'later runs are as usual');
	unlike(query($node, q{SELECT why FROM jdy_status WHERE name = 'daily'}), qr/certificate/, 'jdy_status says nothing of it');
	query($node, q{UPDATE jdysync.stream SET loaded_at = now() - interval '3 days'; UPDATE jdysync.certificate SET at = now() - interval '2 days' WHERE run_id = } . $run_id);
	like(query($node, q{SELECT why FROM jdy_status WHERE name = 'daily'}), qr/last certificate 2 days .*ago, see jdy_certificates/, 'until the last one is old');

	query($node, q{SELECT jdy_pause('daily')});
	poll_sql($node, q{SELECT NOT EXISTS (SELECT FROM jdy_progress WHERE name = 'daily')});
	query($node, q{SELECT jdy_alter_stream('daily', settle => '1 hour')});
	query($node, q{SELECT jdy_start('daily', 'verify')});
	poll_sql($node, q{SELECT EXISTS (SELECT FROM jdy_progress WHERE name = 'daily' AND phase = 'verifying')});
	sync_ok($node, 'daily', 'somebody runs it while it is verified');
	is(last_attempt('daily', 'proven, why'), 'f|another run of the stream was asked for meanwhile', 'and need not wait');
	drop_stream($node, 'daily');
};

subtest 'a list without a time filter' => sub {
	$sim->post('/_sim/config', { filter_ignored => 'on' });
	add_stream($node, 'whole', server => "'daily'", entry => "'customer'", detail => 'false', settle => "'50 ms'");
	sync_ok($node, 'whole', 'first load');
	is(query($node, q{SELECT complete_until FROM jdy_coverage WHERE name = 'whole'}), '', 'without a certificate nothing is promised');
	verify('whole', 'verify');
	is(query($node, q{SELECT c.complete_until = (SELECT max(instant) - interval '50 ms' FROM jdy_certificates WHERE name = 'whole') FROM jdy_coverage c WHERE c.name = 'whole'}), 't',
		'with one, all up to its instant but for settle: a count may be so much behind');
	drop_stream($node, 'whole');
};

# ---------------------------------------------------------------------------
# What cannot be certified says why.
# ---------------------------------------------------------------------------
sub refuses
{
	my ($what, $why, %options) = @_;

	subtest $what => sub {
		my $name = 'doubt';
		$sim->stop;
		$sim = start_sim(customers => 230, set => {%NO_LIMITS});
		pull_server($node, $name);
		add_stream($node, $name, server => "'$name'", settle => "'50 ms'", ($options{metadata} ? () : (entry => "'customer'")), %{ $options{stream} // {} },
			$options{metadata} ? (metadata => "'$options{metadata}'") : ());
		sync_ok($node, $name, 'first load');
		$sim->post('/_sim/config', $options{set}) if $options{set};
		fault(%{ $options{fault} }) if $options{fault};
		$sim->post('/_sim/stats/reset', {});
		verify($name, 'verify');
		if (defined $why)
		{
			is(last_attempt($name, 'proven'), 'f', 'gives no certificate');
			like(last_attempt($name, 'why'), $why, 'and says why');
		}
		else
		{
			is(last_attempt($name, 'proven, why'), 't|', 'gives a certificate');
			my $ids = $options{ids} ? $options{ids}->() : existing(1e9);
			is(certified($name), $ids, 'which is true');
		}
		is(last_attempt($name, 'calls'), $options{calls}, 'calls') if defined $options{calls};
		calm($sim);
		drop_stream($node, $name);
		query($node, "DROP SERVER $name CASCADE");
	};
	return;
}

my $window = '{"field":"modify_start_time","value":"{{LAST_SYNC_TIME}}000"},{"field":"modify_end_time","value":"{{CURRENT_TIME}}000"}';
my $metadata = sub { return qq({"api":"$LIST","id":"id","number":"number","request":[$window,$_[0]]}) };

refuses('a count that is one too high', qr/^the list changed too much|counts were found wrong/, set => { count_lie => 1 });
refuses('a count that is one too low', qr/counts are wrong|counts were found wrong/, set => { count_lie => -1 });
refuses('no count', qr/does not count/, set => { count_type => 'missing' }, calls => 1);
refuses('rows without an id', qr/^a row of the list has no id/, fault => { kind => 'id_missing', path => $LIST, page => 2, row => 3, times => -1 });
refuses('a parameter that narrows the list', qr/^parameter "enable" of the metadata narrows/, metadata => $metadata->('{"field":"enable","value":"1"}'), calls => 0);
refuses('another', qr/^parameter "search"/, metadata => $metadata->('{"field":"search","value":"Co"}'), calls => 0);
refuses('parameters that do not', undef, metadata => $metadata->('{"field":"enable","value":"-1"},{"field":"order_by","value":"number desc"},{"field":"group","value":""}'));
refuses('duplicates that hide records', qr/^the service shows rows twice and counts them so: 230 rows of 225 records/, set => { duplicates => 5, duplicates_mode => 'displace' });
refuses('duplicates', undef, set => { duplicates => 5 });
refuses('pages of 7 rows, and more than was asked for is cut', undef, set => { cap => 7 });
refuses('past the end the last page again', undef, set => { past_end => 'last' });
refuses('past the end an error', undef, set => { past_end => 'error' });
refuses('a service that does not tell its time', undef, set => { tells_time => 'off' });
refuses('a time filter that is not heeded', undef, set => { filter_ignored => 'on' });
refuses('start_from', undef, stream => { start_from => "'2025-01-01 +8'" }, ids => sub {
		my @since = grep { /"modify_ms":(\d+)/ && $1 >= 1735660800_000 } split /\n/, truth($sim);
		return join ',', sort map { /"id":"(\d+)"/ } @since;
	});

done_testing();
