# What windows missed, and can never see, an audit finds: each record with its cause, landed, once. A
# sound list gives no finding, and nothing is written but the audit's row. It costs a call for ninety records and
# a quarter of the details; it goes on where it stopped, gives way, and takes its calls before first loads do.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use JSON::PP;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $sim = start_sim(customers => 330, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\n");

sub change { return $sim->post('/_sim/change', { @_ })->{ids}; }
# A change that the list does not show.
sub remark { return change(op => 'set', fields => { remark => 'as it was not' }, @_); }
sub now_ms { return $sim->get('/_sim/now')->{now_ms}; }
sub audit { my ($name, $what) = @_; return sync_ok($node, $name, $what, "jdy_sync('$name', 'audit')"); }
sub last_audit { my ($name, $columns) = @_; return query($node, "SELECT $columns FROM jdy_audits WHERE name = '$name' ORDER BY audit_id DESC LIMIT 1"); }
sub findings { return last_audit($_[0], q{(SELECT string_agg(concat_ws(': ', f->>'id', f->>'cause', f->>'fields'), E'\n' ORDER BY f->>'id') FROM jsonb_array_elements(findings) f)}); }
sub incidents { return query($node, "SELECT COALESCE(string_agg(what, ',' ORDER BY what), '') FROM jdy_incidents WHERE name = '$_[0]' AND closed_at IS NULL"); }
sub ids { return split /\n/, query($node, "SELECT id FROM jdysync.staging_$_[0] ORDER BY id"); }

# Every version of every row that says something of records.
sub versions
{
	my ($name) = @_;

	return query($node, join ' UNION ALL ', map { "SELECT md5(string_agg(xmin::text || ctid::text, ',' ORDER BY ctid)) FROM jdysync.$_" } "staging_$name", qw(listing sighted absent reject incident));
}

add_stream($node, 'customer', settle => "'0'", overlap => "'1 s'");
sync_ok($node, 'customer', 'first load');

# ---------------------------------------------------------------------------
# A sound list.
# ---------------------------------------------------------------------------
subtest 'a sound list' => sub {
	my $before = versions('customer');
	$sim->post('/_sim/stats/reset', {});
	my $run = audit('customer', 'audit');
	is(last_audit('customer', 'windows, details, calls, found, findings, why, ended_at IS NOT NULL, run_id'), "5|83|88|0|[]||t|$run->{run_id}",
		'a call for ninety records, one for the time since, and a quarter of the details');
	is(paths($sim)->{"${LIST}_detail"}, 83, 'as the service saw them');
	is($run->{details} - $run->{unchanged}, 0, 'they are as they were');
	is(versions('customer'), $before, 'nothing is written');
	is(last_audit('customer', "now() - compared_until < interval '1 min'"), 't', 'all modify times were compared');
	is(incidents('customer'), '', 'no incident');
	$run = audit('customer', "audit $_") for 2 .. 4;
	is(query($node, q{SELECT sum(details) FROM jdy_audits}), 330 + 2, 'four of them read all details');
	is(query($node, q{SELECT count(DISTINCT c.id) FROM jdysync.call c JOIN jdysync.run r USING (run_id) WHERE r.mode = 'audit' AND c.id IS NOT NULL}), '330', 'each once');
	is(incidents('customer'), '', 'and nothing is found');
};

# ---------------------------------------------------------------------------
# What can go wrong: each found by the audit that can see it, with its cause.
# ---------------------------------------------------------------------------
my $hour_ago = now_ms() - 3600_000;
my @ids = ids('customer');

subtest 'what windows missed' => sub {
	# The first quarter was read again lately: so all of it is due only for its modify times.
	my $inserted = change(op => 'insert', count => 1, at_ms => $hour_ago)->[0];
	my $updated = remark(id => $ids[200], at_ms => $hour_ago + 60_000)->[0];
	my $restamped = remark(id => $ids[201], at_ms => 1_672_600_000_000)->[0];
	query($node, "DELETE FROM jdysync.staging_customer WHERE id = '$ids[202]'");
	change(op => 'hide', id => $ids[203]);
	query($node, "UPDATE jdysync.staging_customer SET deleted_at = now() WHERE id = '$ids[203]'");
	change(op => 'restore', id => $ids[203], keep_stamp => JSON::PP::true);
	sync_ok($node, 'customer', 'a run that cannot see it');
	isnt(differences($node, 'customer'), '', 'staging is not the truth');
	audit('customer', 'audit');
	is(findings('customer'), join("\n", sort "$inserted: no window listed it", "$updated: no window listed its change: [\"remark\"]",
			"$restamped: no window listed its change: [\"remark\"]", "$ids[202]: removed from staging by somebody",
			"$ids[203]: listed again, modify time not set by the service"), 'is found, with its cause');
	is(last_audit('customer', 'windows, found'), '5|5', 'by its modify times');
	is_true($node, 'customer', 'and landed, details included');
	is(query($node, q{SELECT string_agg(concat(id, ': ', cause), E'\n' ORDER BY id) FROM jdy_missed WHERE name = 'customer' AND found_by = 'audit'}), join("\n", sort "$inserted: paging",
			"$updated: dated back", "$restamped: dated back", "$ids[203]: not stamped"), 'it is judged why');
	is(incidents('customer'), 'missed by windows,rows removed from staging', 'it is two incidents');
	like(query($node, q{SELECT detail FROM jdy_incidents WHERE what = 'missed by windows'}), qr/What changed: .*\b$restamped \(remark\)/, 'which name ids and fields');
	unlike(query($node, q{SELECT string_agg(advice, ' ') FROM jdy_incidents}), qr/$restamped/, 'the advice, which monitors read, does not');
};

subtest 'what became visible too late' => sub {
	# One that windows listed, and whose detail cannot be had, is known.
	$sim->post('/_sim/fault', { kind => 'errcode', errcode => 1000003001, path => "${LIST}_detail", id => $ids[211], times => -1 });
	remark(id => $ids[211]);
	sync_ok($node, 'customer', 'a run that sets a record aside');
	is(query($node, q{SELECT exceptions FROM jdy_coverage WHERE name = 'customer'}), "{$ids[211]}", 'which is named');
	$sim->post('/_sim/config', { late_visibility_ms => 600_000 });
	my $id = remark(id => $ids[210])->[0];
	wait_settled($sim, 2);
	sync_ok($node, 'customer', 'a run goes by');
	$sim->post('/_sim/config', { late_visibility_ms => 0 });
	sync_ok($node, 'customer', 'and another');
	isnt(differences($node, 'customer'), '', 'and have not seen it');
	audit('customer', 'audit');
	is(findings('customer'), "$id: no window listed its change: [\"remark\"]", 'an audit has');
	is(last_audit('customer', 'calls - windows - details'), '1', 'by one call more than a sound list needs');
	calm($sim);
	sync_ok($node, 'customer', 'what was set aside comes right');
	is(query($node, "SELECT cause FROM jdy_missed WHERE id = '$id'"), 'late', 'knows that it was late');
	is(query($node, q{SELECT settle > '0' FROM jdysync.stream WHERE name = 'customer'}), 't', 'and raises settle');
	query($node, q{SELECT jdy_alter_stream('customer', settle => '0', overlap => '1 s')});
	sync_ok($node, 'customer', 'which is set back for this test');
	is_true($node, 'customer', 'and it is here');
};

subtest 'changes without a modify time' => sub {
	my ($after) = split /\|/, query($node, 'SELECT after_id FROM jdysync.audit ORDER BY audit_id DESC LIMIT 1');
	my ($next) = grep { $_ gt $after } @ids;
	remark(id => $next, keep_stamp => JSON::PP::true);
	audit('customer', 'audit');
	is(findings('customer'), "$next: modify time not set by the service: [\"remark\"]", 'are found by reading details again');
	is_true($node, 'customer', 'and landed');
	is(query($node, "SELECT cause FROM jdy_missed WHERE id = '$next'"), 'not stamped', 'no window could have');
	audit('customer', 'an audit that finds nothing');
	is(last_audit('customer', 'found'), '0', 'is the next');
	unlike(incidents('customer'), qr/missed|removed/, 'and closes what is over');
};

subtest 'more of one second than an answer holds' => sub {
	change(op => 'insert', count => 150, same_stamp => JSON::PP::true, at_ms => $hour_ago);
	audit('customer', 'an audit after an import that was dated back');
	is(last_audit('customer', 'found'), 150, 'finds all of it');
	is_true($node, 'customer', 'and it is here');
	audit('customer', 'another');
	is(last_audit('customer', 'found, why'), '0|', 'finds nothing more');
};

subtest 'what is not for audits' => sub {
	my $before = query($node, q{SELECT count(*) FROM jdy_incidents});

	# Changes that windows will list; deletes; and what the owner writes.
	my ($after) = split /\|/, query($node, 'SELECT after_id FROM jdysync.audit ORDER BY audit_id DESC LIMIT 1');
	my ($next, $gone, $edited) = grep { $_ gt $after } @ids;
	change(op => 'delete', ids => [$gone]);
	query($node, "UPDATE jdysync.staging_customer SET modified_at = modified_at - interval '100 days' WHERE id IN ('$edited', '$ids[3]')");
	query($node, "UPDATE jdysync.staging_customer SET modified_at = NULL WHERE id = '$ids[5]'");
	$sim->post('/_sim/churn', { entity => 'customer', update => 0.3 });
	audit('customer', 'an audit while the list changes');
	calm($sim);
	is(last_audit('customer', 'found, findings, why'), '0|[]|', 'is no finding');
	is(query($node, q{SELECT count(*) FROM jdy_incidents}), $before, 'and no incident');
	sync_ok($node, 'customer', 'a run');
	is(query($node, "SELECT deleted_at IS NULL FROM jdysync.staging_customer WHERE id = '$gone'"), 't', 'a delete is for certificates to prove');
	sync_ok($node, 'customer', 'a certificate', q{jdy_sync('customer', 'verify')});
	is_true($node, 'customer', 'which does');

	query($node, q{UPDATE jdysync.staging_customer SET modified_at = modified_at - interval '400 days'});
	audit('customer', 'an audit of a table whose times were all changed');
	like(last_audit('customer', 'found, why'), qr/^0\|modify times were not compared to their end/, 'gives up, and says why');
	cmp_ok(last_audit('customer', 'calls'), '<', 450, 'soon');
};

# ---------------------------------------------------------------------------
# Without details a row tells its modify time, and is all that there is.
# ---------------------------------------------------------------------------
subtest 'a list without details' => sub {
	$sim->stop;
	$sim = start_sim(customers => 230, set => { %NO_LIMITS, row_modify_time => 'on' });
	pull_server($node, 'rows');
	add_stream($node, 'rows', server => "'rows'", entry => "'customer'", detail => 'false', settle => "'0'", overlap => "'0'");
	sync_ok($node, 'rows', 'first load');
	audit('rows', 'audit');
	is(last_audit('rows', 'windows, details, calls, found'), '4|0|4|0', 'a call for ninety records');
	my @some = ids('rows');
	change(op => 'set', id => $some[0], fields => { name => 'renamed' }, keep_stamp => JSON::PP::true);
	change(op => 'set', id => $some[1], fields => { name => 'renamed, too' }, at_ms => $hour_ago);
	sync_ok($node, 'rows', 'a run that cannot see it');
	audit('rows', 'audit');
	is(findings('rows'), qq($some[0]: modify time not set by the service: ["name"]\n$some[1]: no window listed its change: ["name"]), 'finds what changed, with its cause');
	is_true($node, 'rows', 'and it is here', entity => 'customer', form => 'list');
	change(op => 'set', ids => \@some, fields => { name => 'all renamed' }, keep_stamp => JSON::PP::true);
	audit('rows', 'an audit of a list that changed throughout');
	is(last_audit('rows', 'found, jsonb_array_length(findings)'), '230|100', 'counts all, and names a hundred');
	drop_stream($node, 'rows');
};

# ---------------------------------------------------------------------------
# It goes on where it stopped.
# ---------------------------------------------------------------------------
sub audit_until
{
	my ($path, $what, $after) = @_;

	$sim->post('/_sim/fault', { kind => 'stall', path => $path, after => $after, times => -1 });
	my $run_id = query($node, q{SELECT jdy_start('big', 'audit')});
	poll_until(sub { ($sim->get('/_sim/stats')->{paths}->{$path} // 0) > $after + 3 }, $what);
	poll_sql($node, q{SELECT phase = 'auditing' AND percent BETWEEN 1 AND 99 FROM jdy_progress}, 'progress');
	return $run_id;
}

subtest 'killed in the middle' => sub {
	$sim->stop;
	$sim = start_sim(customers => 1800, set => {%NO_LIMITS});
	pull_server($node, 'big', server => { timeout => '60 s' });
	add_stream($node, 'big', server => "'big'", entry => "'customer'", settle => "'0'", overlap => "'0'");
	sync_ok($node, 'big', 'first load');
	my @stops = ([ $LIST, 'among modify times', 18 ], [ "${LIST}_detail", 'among details', 220 ]);
	my $calls = 0;
	for my $stop (@stops)
	{
		$sim->post('/_sim/stats/reset', {});
		my $run_id = audit_until($stop->[0], $stop->[1], $stop->[2]);
		kill 'KILL', query($node, q{SELECT pid FROM jdy_progress});
		poll_until(sub { eval { query($node, 'SELECT 1'); 1 } && query($node, "SELECT status = 'interrupted' FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the restart');
		calm($sim);
		forget_calls($node);
	}
	$sim->post('/_sim/stats/reset', {});
	audit('big', 'the next audit');
	is(last_audit('big', 'windows, details, found, why'), '21|450|0|', 'is the same, gone on with');
	is(query($node, q{SELECT count(*) FROM jdy_audits WHERE name = 'big'}), 1, 'and no other');
	cmp_ok(paths($sim)->{"${LIST}_detail"}, '<=', 450 - 200, 'details that were read are not read again');
	is(paths($sim)->{$LIST}, 1, 'nor are modify times compared again');
	query($node, q{SELECT jdy_pause('big')});
};

# ---------------------------------------------------------------------------
# By itself.
# ---------------------------------------------------------------------------
subtest 'once a week' => sub {
	my $audits = sub { return query($node, q{SELECT count(*) FROM jdy_runs WHERE name = 'weekly' AND mode = 'audit' AND status = 'ok'}); };
	my $quiet = sub { poll_sql($node, q{SELECT NOT EXISTS (SELECT FROM jdysync.run WHERE status IN ('queued', 'running')) AND NOT EXISTS (SELECT FROM jdysync.agenda WHERE next_at <= jdy_test_clock(NULL))}, 'nothing is due') };
	my $after = sub { step_clock($node, $_[0]); $quiet->(); return $audits->(); };

	$sim->stop;
	$sim = start_sim(customers => 30, set => {%NO_LIMITS});
	pull_server($node, 'weekly');
	clock($node);
	add_stream($node, 'weekly', server => "'weekly'", entry => "'customer'", settle => "'0'", overlap => "'0'", schedule => "'1 hour'");
	ok(poll_sql($node, q{SELECT loaded_at IS NOT NULL FROM jdysync.stream WHERE name = 'weekly'}), 'a stream runs by itself');
	query($node, q{UPDATE jdysync.stream SET verify_at = 'infinity'});
	$quiet->();
	is($after->('23 hours'), '0', 'it is not audited on the first day');
	is($after->('2 hours'), '1', 'it is on the second');
	is($after->('5 days'), '1', 'not for some days then');
	is($after->('2 days'), '2', 'and again after a week');
	is(query($node, q{SELECT count(*) FROM jdy_audits WHERE name = 'weekly' AND ended_at IS NOT NULL}), 2, 'that is two audits');

	# Who runs it meanwhile need not wait.
	$sim->post('/_sim/config', { latency_ms => 300 });
	query($node, q{UPDATE jdysync.stream SET audit_at = jdy_test_clock(NULL) WHERE name = 'weekly'});
	step_clock($node, '1 hour');
	ok(poll_sql($node, q{SELECT EXISTS (SELECT FROM jdy_progress WHERE name = 'weekly' AND phase = 'auditing')}), 'another one');
	sync_ok($node, 'weekly', 'somebody runs it');
	is(last_audit('weekly', 'ended_at IS NULL'), 't', 'and it gives way');
	$sim->post('/_sim/config', { latency_ms => 0 });
	is(query($node, q{SELECT audit_at BETWEEN jdy_test_clock(NULL) AND jdy_test_clock(NULL) + interval '1 hour' FROM jdysync.stream WHERE name = 'weekly'}), 't', 'for an hour at most');
	$after->('1 hour');
	is(last_audit('weekly', 'ended_at IS NULL, windows, details'), 'f|2|8', 'then it is done');
	drop_stream($node, 'weekly');
};

# ---------------------------------------------------------------------------
# Spare budget: after the tail, before first loads.
# ---------------------------------------------------------------------------
subtest 'tail before audit before backfill' => sub {
	my $share = 30;

	$sim->stop;
	$sim = start_sim(customers => 200, suppliers => 600, set => { %NO_LIMITS, rate_window_ms => 2000 });
	pull_server($node, 'shared', server => { calls_per_minute => 50, rate_window => '2 s', backfill_share => 100 * $share / 50 });
	query($node, q{ALTER SERVER shared OPTIONS (SET calls_per_minute '0')});
	add_stream($node, 'audited', server => "'shared'", entry => "'customer'", settle => "'0'", overlap => "'0'");
	sync_ok($node, 'audited', 'a stream');
	add_stream($node, 'loaded', server => "'shared'", entry => "'supplier'", settle => "'0'", overlap => "'0'");
	query($node, q{ALTER SERVER shared OPTIONS (SET calls_per_minute '50')});

	# Replies take their time: so the audit has calls under way, and asks for no more, when the budget lets others go.
	$sim->post('/_sim/config', { latency_ms => 30 });
	$sim->post('/_sim/stats/reset', {});
	query($node, q{SELECT jdy_start('loaded')});
	poll_until(sub { ($sim->get('/_sim/stats')->{paths}->{'/jdy/v2/bd/supplier_detail'} // 0) > $share / 2 }, 'a first load');
	my $from = now_ms();
	my $changed = change(op => 'update', ids => [ (ids('audited'))[ -10 .. -1 ] ]);
	audit('audited', 'an audit at the same time');
	my $loaded = query($node, q{SELECT details FROM jdy_progress WHERE name = 'loaded'});
	cmp_ok($sim->get('/_sim/stats')->{max_calls_in_window}, '<=', 50, 'no window has more calls than the budget');

	# Whose calls they were.  What changed lately, and so the tail, is not among the first quarter of the details.
	my @calls = sort { $a->{at_ms} <=> $b->{at_ms} } grep { $_->{at_ms} > $from && $_->{url} =~ m{/bd/} } @{ $sim->get('/_sim/requests?n=1000') };
	my $changed_ids = join '|', @$changed;
	my $lane = sub {
		my ($url) = @_;

		return 'load' if $url =~ m{/supplier};
		return 'tail' if $url =~ /_detail\?id=(?:$changed_ids)\b/ || ($url =~ /start_time=(\d+)/ && $1 > $from - 60_000);
		return 'audit';
	};
	my @lanes = map { $lane->($_->{url}) } @calls;
	my @audit = grep { $lanes[$_] eq 'audit' } 0 .. $#lanes;
	my %before = map { $_ => 1 } grep { /_detail/ } map { $_->{url} } @calls[ grep { $lanes[$_] eq 'tail' } 0 .. $audit[0] ];
	is(scalar(keys %before), 10, 'what changed is read before anything is compared');

	# Once the share was used up it is the audit's, but for calls that were under way then.
	cmp_ok(scalar(@audit), '>', 1.5 * $share, 'the audit needs several windows');
	cmp_ok(scalar(grep { $_ eq 'load' } @lanes[ $audit[$share] .. $audit[-1] ]), '<=', 4, 'and takes all that first loads may have');
	my @at = map { $calls[$_]->{at_ms} } @audit;
	is(scalar(grep { $at[$_] - $at[ $_ - $share ] < 1990 } $share .. $#at), 0, 'and no more');
	ok(poll_sql($node, qq{SELECT details > $loaded + $share FROM jdy_progress WHERE name = 'loaded'}), 'then they go on');
	query($node, q{SELECT jdy_cancel(run_id) FROM jdy_progress});
};

done_testing();
