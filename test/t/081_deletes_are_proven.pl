# A record that was deleted at the source is marked when a certificate lacks it and its detail is gone, or
# two certificates lack it where there are no details; one that left the list is told from it; one that comes
# back is back. Much at once is held until somebody says that it is so.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $DETAIL = '/jdy/v2/bd/customer_detail';
my $sim = start_sim(customers => 200, suppliers => 60, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "restart_after_crash = on\n");

sub change { return $sim->post('/_sim/change', { @_ })->{ids}; }
sub fault { return $sim->post('/_sim/fault', { @_ }); }

sub certify
{
	my ($name, $what) = @_;
	my $run = sync_ok($node, $name, $what, "jdy_sync('$name', 'verify')");

	is(query($node, "SELECT proven, why FROM jdy_certificates WHERE name = '$name' ORDER BY certificate_id DESC LIMIT 1"), 't|', 'there is a certificate');
	return $run;
}

sub marks
{
	my ($name, @ids) = @_;

	return query($node, "SELECT count(*) FILTER (WHERE deleted_at IS NOT NULL) || ' deleted, ' || count(*) FILTER (WHERE out_of_scope_at IS NOT NULL) || ' out of scope' FROM jdysync.staging_$name"
		  . (@ids ? " WHERE id IN ('" . join("','", @ids) . "')" : ''));
}

# How often the detail of one of these was asked since the counters were reset.
sub asked
{
	my $ids = join '|', @_;

	return scalar grep { $_->{url} =~ /^\Q$DETAIL\E\?.*id=(?:$ids)\b/ } @{ $sim->get('/_sim/requests?n=1000') };
}

sub held { return query($node, "SELECT count(*) FROM jdy_incidents WHERE name = '$_[0]' AND what = 'mass delete' AND severity = 'critical' AND closed_at IS NULL"); }

add_stream($node, 'customer', settle => "'60 ms'");
sync_ok($node, 'customer', 'first load');
certify('customer', 'verify');
query($node, q{SELECT jdy_create_view('public.clean', 'customer', '{"customer_id":"id","customer_name":"name"}')});

subtest 'a record is deleted at the source' => sub {
	my ($id) = @{ change(op => 'delete', count => 1) };
	is(sync_ok($node, 'customer', 'a run')->{deleted}, 0, 'cannot know');
	my $run = certify('customer', 'verify');
	is($run->{deleted}, 1, 'the run says so');
	is(marks('customer', $id), '1 deleted, 0 out of scope', 'it is marked');
	is(marks('customer'), '1 deleted, 0 out of scope', 'nothing else is');
	is(query($node, "SELECT (SELECT count(*) FROM public.clean WHERE customer_id = '$id') || ' ' || (SELECT count(*) FROM jdy_customer WHERE id = '$id')"), '0 0', 'views leave it out');
	is_true($node, 'customer', 'staging equals the truth');
	is(query($node, q{SELECT details_due, set_aside FROM jdy_coverage WHERE name = 'customer'}), '0|0', 'nothing is owed');
	is(certify('customer', 'the next time')->{deleted}, 0, 'it is not counted again');

	change(op => 'restore', ids => [$id]);
	fault(kind => 'errcode', errcode => 2016003063, path => $DETAIL, id => $id, times => -1);
	sync_ok($node, 'customer', 'a run after it came back, although its detail cannot be had');
	is(marks('customer'), '0 deleted, 0 out of scope', 'it is back');
	calm($sim);
	query($node, q{UPDATE jdysync.listing SET next_try = now() WHERE problem IS NOT NULL});
	sync_ok($node, 'customer', 'a run when it can');
	is_true($node, 'customer', 'as it is');
	certify('customer', 'verify');
};

subtest 'a deleted record comes back as it was' => sub {
	my ($id) = @{ change(op => 'delete', count => 1) };
	certify('customer', 'verify');
	is(marks('customer', $id), '1 deleted, 0 out of scope', 'it is marked');
	change(op => 'restore', ids => [$id], keep_stamp => JSON::PP::true);
	certify('customer', 'verify when it is back without a new modify time');
	is(marks('customer'), '0 deleted, 0 out of scope', 'it is found');
	is_true($node, 'customer', 'as it is');
};

subtest 'a record leaves the list, its detail is still there' => sub {
	my ($id) = @{ change(op => 'hide', count => 1) };
	my $run = certify('customer', 'verify');
	is($run->{deleted}, 0, 'it is not deleted');
	is(marks('customer', $id), '0 deleted, 1 out of scope', 'but out of scope');
	$sim->post('/_sim/stats/reset', {});
	certify('customer', 'the next time');
	is(asked($id), 0, 'its detail is not asked again');
	is(marks('customer', $id), '0 deleted, 1 out of scope', 'whatever else is verified');
	change(op => 'restore', ids => [$id]);
	sync_ok($node, 'customer', 'a run when it is listed again');
	is(marks('customer'), '0 deleted, 0 out of scope', 'it is in scope');
	is_true($node, 'customer', 'as it is');
	certify('customer', 'verify');
};

subtest 'details that are refused prove nothing' => sub {
	my ($id) = @{ change(op => 'delete', count => 1) };
	fault(kind => 'errcode', errcode => 2016003063, path => $DETAIL, id => $id, times => -1);
	certify('customer', 'verify');
	is(marks('customer'), '0 deleted, 0 out of scope', 'nothing is marked');
	calm($sim);
	certify('customer', 'verify when the service says that it is gone');
	is(marks('customer', $id), '1 deleted, 0 out of scope', 'it is');
	is(query($node, q{SELECT set_aside FROM jdy_coverage WHERE name = 'customer'}), '0', 'and no exception');
};

subtest 'the brake' => sub {
	my @gone = @{ change(op => 'delete', count => 11) };
	$sim->post('/_sim/stats/reset', {});
	my $run = certify('customer', 'verify when 11 of 199 are gone');
	is($run->{deleted}, 0, 'nothing is marked');
	is(asked(@gone), 0, 'nor asked');
	is(held('customer'), '1', 'an incident says so');
	like(query($node, q{SELECT why FROM jdy_status WHERE name = 'customer'}), qr/1 incident/, 'and jdy_status');
	my ($one) = @{ change(op => 'delete', count => 1) };
	certify('customer', 'verify when another is gone');
	is(marks('customer', @gone, $one), '0 deleted, 0 out of scope', 'they are held');
	query($node, qq{INSERT INTO jdysync.listing (stream_id, id, due, due_from, due_since, attempts, next_try, problem)
		SELECT stream_id, '$one', true, '-infinity', '-infinity', 6, now() + interval '1 hour', 'the service says that it does not exist' FROM jdysync.stream WHERE name = 'customer'
		ON CONFLICT (stream_id, id) DO UPDATE SET due = true, attempts = 6, next_try = EXCLUDED.next_try, problem = EXCLUDED.problem});	# put off for an hour
	is(query($node, q{SELECT jdy_accept_deletes('customer')}), '12', 'accepted');
	is(held('customer'), '0', 'the incident is closed');
	is(query($node, q{SELECT jdy_accept_deletes('customer')}), '0', 'there is nothing more to accept');
	my ($other) = @{ change(op => 'delete', count => 1) };
	is(sync_ok($node, 'customer', 'the next run')->{deleted}, 12, 'marks exactly those');
	is(marks('customer', @gone, $one), '12 deleted, 0 out of scope', 'all of them');
	is(marks('customer', $other), '0 deleted, 0 out of scope', 'and no other');
	certify('customer', 'verify');
	is(marks('customer', $other), '1 deleted, 0 out of scope', 'which goes its own way');
	is_true($node, 'customer', 'staging equals the truth');

	my @back = @{ change(op => 'hide', count => 30) };
	certify('customer', 'verify when a right is lost');
	is(held('customer'), '1', 'it is held');
	change(op => 'restore', ids => \@back, keep_stamp => JSON::PP::true);
	certify('customer', 'verify when it is given back');
	is(held('customer'), '0', 'it is over by itself');
	is_true($node, 'customer', 'staging equals the truth');
};

subtest 'a list that is empty all at once' => sub {
	my @all = @{ $sim->get('/_sim/ids')->{ids} };
	change(op => 'hide', ids => \@all);
	certify('customer', 'verify');
	is(query($node, q{SELECT "count", absent FROM jdy_certificates WHERE name = 'customer' ORDER BY certificate_id DESC LIMIT 1}), '0|' . @all, 'it is certified');
	is(held('customer'), '1', 'and held');
	change(op => 'restore', ids => \@all, keep_stamp => JSON::PP::true);
	certify('customer', 'verify when all is back');
	is(held('customer'), '0', 'it is over');
	is_true($node, 'customer', 'nothing was lost');
};

subtest 'what comes while it is verified is not taken for gone' => sub {
	query($node, q{SELECT jdy_alter_stream('customer', settle => '2 s')});
	$sim->post('/_sim/stats/reset', {});
	my $run_id = query($node, q{SELECT jdy_start('customer', 'verify')});
	poll_until(sub { grep { $_->{url} =~ /page_size=1&|page_size=1$/ && $_->{url} !~ /_time=/ } @{ $sim->get('/_sim/requests?n=8')  } }, 'the count');
	change(op => 'insert', count => 3);
	poll_until(sub { query($node, "SELECT status NOT IN ('queued', 'running') FROM jdy_runs WHERE run_id = $run_id") eq 't' }, 'the run');
	is(query($node, "SELECT absent FROM jdy_certificates WHERE run_id = $run_id"), '0', 'no record is absent');
	query($node, q{SELECT jdy_alter_stream('customer', settle => '60 ms')});
};

subtest 'interrupted while it is found out what became of them' => sub {
	my @gone = @{ change(op => 'delete', count => 8) };
	my $absent = q{SELECT count(*) FROM jdysync.absent};
	my $run_id;
	my $begin = sub {
		fault(%{ $_[0] }, path => $DETAIL, id => $_, times => -1) for @gone;
		$run_id = query($node, "SELECT jdy_start('customer', '$_[1]')");
		poll_sql($node, "SELECT count(*) = 1 FROM jdysync.certificate WHERE run_id = $run_id AND proven") if $_[1] eq 'verify';
		poll_until(sub { asked(@gone) >= 4 }, 'their details are asked');
	};

	$sim->post('/_sim/stats/reset', {});
	$begin->({ kind => 'stall' }, 'verify');
	query($node, "SELECT jdy_cancel($run_id)");
	wait_for_status($node, $run_id, 'cancelled', 'a cancel');
	is(marks('customer', @gone) . ', ' . query($node, $absent), '0 deleted, 0 out of scope, 8', 'marks nothing, forgets nothing');

	$sim->post('/_sim/stats/reset', {});
	$begin->({ kind => 'stall' }, 'auto');
	my $pid = query($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner'});
	kill 'KILL', $pid if $pid;
	poll_until(sub { eval { query($node, "SELECT status = 'interrupted' FROM jdy_runs WHERE run_id = $run_id") eq 't' } }, 'the restart');
	is(marks('customer', @gone) . ', ' . query($node, $absent), '0 deleted, 0 out of scope, 8', 'nor does kill -9');

	calm($sim);
	forget_calls($node);
	$sim->post('/_sim/stats/reset', {});
	fault(kind => 'reset', path => $DETAIL, times => -1);
	sync_stream($node, 'customer');
	is(marks('customer', @gone) . ', ' . query($node, $absent), '0 deleted, 0 out of scope, 8', 'nor is a network that is down a proof');
	calm($sim);
	query($node, q{UPDATE jdysync.listing SET next_try = now() WHERE problem IS NOT NULL});
	is(sync_ok($node, 'customer', 'a run when nothing is in its way')->{deleted}, 8, 'marks them');
	is(query($node, $absent), '0', 'and nothing is owed');
	is_true($node, 'customer', 'staging equals the truth');
};

subtest 'a push passes deletes on' => sub {
	create_server($node, 'shop', server => { url => $sim->url . '/target', auth => 'bearer' }, mapping => { token => 'push-token' });
	query($node, q{SELECT jdy_add_push('shop', 'shop', 'jdysync.staging_customer', '{"api":"customers","effect":"EXECUTE","method":"POST",
		"operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"},
		"request":[{"field":"id","value":"{{id}}"},{"field":"name","value":"{{data.name}}"}],
		"delete":{"api":"customers/remove","method":"POST","body":{"id":"{{id}}","gone":true}}}')});
	push_ok($node, 'shop', 'a push');
	my ($id) = @{ change(op => 'delete', count => 1) };
	sync_ok($node, 'customer', 'a run');
	is(push_ok($node, 'shop', 'a push before it is proven')->{delivered}, 0, 'sends nothing');
	certify('customer', 'verify');
	push_ok($node, 'shop', 'a push after it');
	my @last = $sim->lines('/_sim/target/latest?path=/target/customers/remove');
	is(join(' ', map { $_->{id} } @last), $id, 'deletes that record, and no other');
	query($node, q{SELECT jdy_drop_push('shop')});
};

subtest 'a list without details' => sub {
	add_stream($node, 'supplier', detail => 'false', settle => "'60 ms'");
	sync_ok($node, 'supplier', 'first load');
	certify('supplier', 'verify');
	my ($id) = @{ change(entity => 'supplier', op => 'delete', count => 1) };
	is(certify('supplier', 'verify when one is gone')->{deleted}, 0, 'one certificate is not enough');
	is(certify('supplier', 'the next one')->{deleted}, 1, 'two are');
	is(marks('supplier', $id), '1 deleted, 0 out of scope', 'it is marked');
	my ($other) = @{ change(entity => 'supplier', op => 'delete', count => 1) };
	certify('supplier', 'verify');
	change(entity => 'supplier', op => 'restore', ids => [$other], keep_stamp => JSON::PP::true);
	certify('supplier', 'verify when it is back');
	change(entity => 'supplier', op => 'delete', ids => [$other]);
	is(certify('supplier', 'verify when it is gone again')->{deleted}, 0, 'it begins anew');
	change(entity => 'supplier', op => 'restore', ids => [ $id, $other ]);
	sync_ok($node, 'supplier', 'a run when both are back');
	is(marks('supplier'), '0 deleted, 0 out of scope', 'they are');
	is_true($node, 'supplier', 'staging equals the truth', form => 'list');

	my @gone = @{ change(entity => 'supplier', op => 'delete', count => 12) };
	certify('supplier', "verify, $_") for 1 .. 2;
	is(marks('supplier'), '0 deleted, 0 out of scope', 'twelve of sixty are held');
	is(query($node, q{SELECT jdy_accept_deletes('supplier')}), '12', 'accepted');
	is(sync_ok($node, 'supplier', 'the next run')->{deleted}, 12, 'marks them');
	is_true($node, 'supplier', 'staging equals the truth', form => 'list');
};

subtest 'whose deletes they are' => sub {
	query($node, 'CREATE ROLE stranger LOGIN; GRANT EXECUTE ON FUNCTION jdy_accept_deletes(text) TO stranger');
	my ($status, undef, $err) = $node->psql('postgres', q{SELECT jdy_accept_deletes('supplier')}, extra_params => [ '-U', 'stranger' ]);
	isnt($status, 0, 'a stranger may not accept them');
	like($err, qr/must be owner of stream "supplier"/, 'it says why');
};

done_testing();
