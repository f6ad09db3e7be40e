# What exists at the source stands in staging, field by field, in plain text; and
# what did not change is not written again.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 730, suppliers => 120, materials => 60, orders => 130, set => {%NO_LIMITS});
my $node = pull_node('main');

sub changed_at_source { return $sim->post('/_sim/change', { @_ })->{ids}; }

# ---------------------------------------------------------------------------
# The signed form, lists that the catalogue knows.
# ---------------------------------------------------------------------------
my %there = (customer => 730, supplier => 120, material => 60, sal_order => 130);

for my $entity (sort keys %there)
{
	add_stream($node, $entity);
	my $run = sync_ok($node, $entity, "$entity: first load");

	is_true($node, $entity, "$entity: staging equals the truth, in plain text");
	is($run->{inserted}, $there{$entity}, "$entity: each record was inserted once");
	is($run->{details}, $there{$entity}, "$entity: one detail call for each record");
	is( query($node, "SELECT count(*) FROM jdysync.staging_$entity WHERE detailed_at IS NULL OR run_id <> $run->{run_id} OR deleted_at IS NOT NULL"),
		'0', "$entity: every record has its detail");
	is( query($node, "SELECT complete_until IS NOT NULL AND complete_until = listed_until AND details_due = 0 AND set_aside = 0 AND gaps = '{}' FROM jdy_coverage WHERE name = '$entity'"),
		't', "$entity: the promise is made");
}
cmp_ok(query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE data->'bomentity'->0->>'mobile' ~ '^1[0-9]{10}\$'"),
	'>', 300, 'mobiles are readable');
is( query($node, q{SELECT count(*) FROM jdysync.staging_customer
	WHERE modified_at <> (data->>'modify_time')::timestamp AT TIME ZONE 'Asia/Shanghai' OR modified_at IS NULL}),
	'0', 'modified_at is what the record says, in the time zone of the server');
is( query($node, q{SELECT count(*) FROM jdysync.staging_customer WHERE id <> data->>'id' OR number <> data->>'number'}),
	'0', 'id and number are those of the record');

# ---------------------------------------------------------------------------
# Nothing changed: nothing is written.
# ---------------------------------------------------------------------------
{
	wait_settled($sim, 2);		# what the load listed
	sync_ok($node, 'customer', 'a second run');
	my $look = q{SELECT md5(string_agg(xmin::text || ctid::text, ',' ORDER BY id)) FROM jdysync.staging_customer};
	my $before = query($node, $look);

	$sim->post('/_sim/stats/reset');
	my $run = sync_ok($node, 'customer', 'another run without changes');
	is(query($node, $look), $before, 'writes no row of staging');
	is("$run->{inserted} $run->{updated} $run->{details} $run->{listed}", '0 0 0 0', 'and says so');
	cmp_ok($sim->get('/_sim/stats')->{total}, '<=', 3, 'with at most three calls');

	my $lsn = query($node, 'SELECT pg_current_wal_insert_lsn()');
	$run = sync_ok($node, 'customer', 'a full run without changes', "jdy_sync('customer', mode => 'full')");
	is(query($node, $look), $before, 'writes no row of staging either');
	is("$run->{listed} $run->{details} $run->{unchanged} $run->{inserted} $run->{updated}", '730 730 730 0 0',
		'though it read everything');
	is_true($node, 'customer', 'staging still equals the truth');
	diag('WAL of the full run: ' . query($node, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$lsn')"));
}

# ---------------------------------------------------------------------------
# Changes at the source.
# ---------------------------------------------------------------------------
{
	my $new = changed_at_source(op => 'insert', count => 7);
	my $changed = changed_at_source(op => 'update', ids => [ split /\n/, query($node, 'SELECT id FROM jdysync.staging_customer ORDER BY id LIMIT 5') ]);
	my $contact = changed_at_source(op => 'contact', id => query($node, 'SELECT id FROM jdysync.staging_customer ORDER BY id LIMIT 1 OFFSET 9'));
	my $run = sync_ok($node, 'customer', 'a run after changes');

	is_true($node, 'customer', 'a change made a second ago is there');
	is("$run->{inserted} $run->{updated}", '7 6', 'seven new, six changed');
	cmp_ok($run->{details}, '<=', 26, 'a change costs at most two detail calls');
	is( query($node, "SELECT count(*) FROM jdysync.staging_customer WHERE run_id = $run->{run_id}"), '13', 'only those were written');

	wait_settled($sim, 2);
	$run = sync_ok($node, 'customer', 'a run when the changes have settled');
	is("$run->{inserted} $run->{updated}", '0 0', 'has nothing to write');
	cmp_ok($run->{details}, '<=', 13, 'and asks each changed record once more at most');
	is( query($node, q{SELECT count(*) FROM jdysync.staging_customer s LEFT JOIN jdysync.listing l
		ON l.id = s.id AND l.stream_id = (SELECT stream_id FROM jdysync.stream WHERE name = 'customer')
		WHERE s.id IN ('} . join("','", @$new, @$changed, @$contact) . q{')
		AND greatest(s.detailed_at, l.detail_asked_at) >= s.modified_at + interval '2 s'}), '13', 'but each was asked after it had settled');
	$run = sync_ok($node, 'customer', 'the one after');
	is($run->{details}, 0, 'asks none');
}

# A record whose number changes moves in the list.
{
	my $id = query($node, 'SELECT id FROM jdysync.staging_customer ORDER BY number LIMIT 1');
	changed_at_source(op => 'set', id => $id, fields => { number => 'ZZ99', name => "换了号码的客户" });
	sync_ok($node, 'customer', 'a run after a record moved in the list');
	is_true($node, 'customer', 'it has its new number');
}

# ---------------------------------------------------------------------------
# jdy_resync, full.
# ---------------------------------------------------------------------------
{
	# Somebody spoils staging by hand: no change at the source tells of it.
	query($node, q{UPDATE jdysync.staging_customer SET data = data || '{"name": "?"}' WHERE id IN (SELECT id FROM jdysync.staging_customer WHERE modified_at > now() - interval '1 hour' LIMIT 3)});
	query($node, q{DELETE FROM jdysync.staging_customer WHERE id = (SELECT max(id) FROM jdysync.staging_customer WHERE modified_at < now() - interval '1 hour')});
	isnt(differences($node, 'customer'), '', 'staging was spoiled');
	my $run = sync_ok($node, 'customer', 'jdy_resync of the last hour', "jdy_resync('customer', now() - interval '1 hour', now())");
	is(scalar(split /\n/, differences($node, 'customer')), 1, 'mends what was modified then, and only that');
	is($run->{updated}, 3, 'as it says');

	$run = sync_ok($node, 'customer', 'mode full', "jdy_sync('customer', mode => 'full')");
	is_true($node, 'customer', 'mends the rest');
	is("$run->{inserted} $run->{updated}", '1 0', 'as it says');

	add_stream($node, 'behind', entry => "'customer'", settle => "'500 ms'", overlap => "'0'");
	sync_ok($node, 'behind', 'first load');
	changed_at_source(op => 'insert', count => 1);
	wait_out($sim, 4);
	sync_ok($node, 'behind', 'jdy_resync of a range after the last run', "jdy_resync('behind', now() - interval '2 s', now())");
	is_true($node, 'behind', 'skips nothing between that run and the range', entity => 'customer');
	is(query($node, "SELECT gaps FROM jdy_coverage WHERE name = 'behind'"), '{}', 'and leaves no gap');
	drop_stream($node, 'behind');
}

# ---------------------------------------------------------------------------
# decrypt => false.
# ---------------------------------------------------------------------------
{
	add_stream($node, 'raw', entry => "'customer'", decrypt => 'false');
	sync_ok($node, 'raw', 'decrypt => false');
	my $secret = "- '{addr,bank_account,invoice_phone,bomentity}'::text[]";
	is( query($node, qq{SELECT count(*) FROM jdysync.staging_raw r JOIN jdysync.staging_customer c USING (id) WHERE r.data $secret <> c.data $secret}),
		'0', 'leaves everything else as it is');
	is( query($node, q{SELECT count(*) FROM jdysync.staging_raw r JOIN jdysync.staging_customer c USING (id)
		WHERE c.data->>'addr' <> '' AND r.data->>'addr' = c.data->>'addr'}), '0', 'and sensitive fields encrypted');
	query($node, "SELECT jdy_alter_stream('raw', decrypt => true)");
	sync_ok($node, 'raw', 'decrypt => true afterwards');
	is_true($node, 'raw', 'makes all of it readable', entity => 'customer');
	drop_stream($node, 'raw');
}

# ---------------------------------------------------------------------------
# start_from: what is older is not claimed.
# ---------------------------------------------------------------------------
{
	my $from = query($node, q{SELECT date_trunc('second', percentile_disc(0.5) WITHIN GROUP (ORDER BY modified_at)) FROM jdysync.staging_customer});
	add_stream($node, 'recent', entry => "'customer'", start_from => "'$from'");
	my $run = sync_ok($node, 'recent', 'start_from');
	is_true($node, 'recent', 'brings every later record',
		entity => 'customer', where => "(t.data->>'modify_time')::timestamp AT TIME ZONE 'Asia/Shanghai' >= '$from' OR EXISTS (SELECT FROM jdysync.staging_recent r WHERE r.id = t.id)");
	cmp_ok($run->{inserted}, '<', 400, 'and not the older ones');
	is(query($node, "SELECT lower(windows) = '$from' AND gaps = '{}' AND complete_until IS NOT NULL FROM jdy_coverage WHERE name = 'recent'"), 't',
		'coverage begins there, without a gap');
	changed_at_source(op => 'update', count => 3);
	sync_ok($node, 'recent', 'start_from, a later run');
	is_true($node, 'recent', 'finds later changes',
		entity => 'customer', where => "EXISTS (SELECT FROM jdysync.staging_recent r WHERE r.id = t.id) OR (t.data->>'modify_time')::timestamp AT TIME ZONE 'Asia/Shanghai' >= '$from'");
	drop_stream($node, 'recent');
}

# ---------------------------------------------------------------------------
# Metadata as it is pasted from the Qeasy platform, dollar-wrapped key included.
# ---------------------------------------------------------------------------
my $pasted = <<'PASTED';
{"api":"/jdy/v2/bd/customer","effect":"QUERY","method":"GET","number":"number","id":"id","name":"number","idCheck":true,
 "request":[
  {"field":"modify_end_time","label":"修改时间-结束时间的时间戳(毫秒)","type":"string","describe":"修改时间-结束时间的时间戳(毫秒)","value":"_function {CURRENT_TIME}*1000"},
  {"field":"modify_start_time","label":"修改时间-开始时间的时间戳(毫秒)","type":"string","describe":"修改时间-开始时间的时间戳(毫秒)","value":"_function {LAST_SYNC_TIME}*1000"},
  {"field":"page","label":"当前页,默认1","type":"string","describe":"当前页,默认1","value":"1"},
  {"field":"page_size","label":"每页显示条数,默认10","type":"string","describe":"每页显示条数,默认10","$value$":"50"}]}
PASTED
{
	add_stream($node, 'pasted', metadata => "\$json\$$pasted\$json\$");
	sync_ok($node, 'pasted', 'pasted metadata, signed form');
	is_true($node, 'pasted', 'brings the same', entity => 'customer');
	changed_at_source(op => 'update', count => 3);
	changed_at_source(op => 'insert', count => 3);
	sync_ok($node, 'pasted', 'pasted metadata, a later run');
	is_true($node, 'pasted', 'finds changes', entity => 'customer');
	drop_stream($node, 'pasted');
}

# A parameter with a fixed value narrows the pull.
{
	my $name = query($node, q{SELECT substr(data->>'name', 1, 4) FROM jdysync.staging_customer GROUP BY 1 ORDER BY count(*) DESC LIMIT 1});
	(my $narrow = $pasted) =~ s/\]\}\s*\z/,{"field":"search","value":"$name"}]}/;
	add_stream($node, 'narrow', metadata => "\$json\$$narrow\$json\$");
	sync_ok($node, 'narrow', 'a narrowing parameter');
	is_true($node, 'narrow', 'brings those that match, and only those', entity => 'customer', where => "t.data->>'name' LIKE '%$name%'");
	cmp_ok(query($node, 'SELECT count(*) FROM jdysync.staging_narrow'), '>', 0, 'which are some');
	drop_stream($node, 'narrow');
}

# ---------------------------------------------------------------------------
# The plain form: a bearer token, {"code":200,"data":[…]}, no counts, no details.
# ---------------------------------------------------------------------------
{
	pull_server($node, 'plain', server => { auth => 'bearer' }, mapping => { token => 'plain-token' });
	add_stream($node, 'plain', server => "'plain'", metadata => "\$json\$$pasted\$json\$");
	my $run = sync_ok($node, 'plain', 'plain form, first load');
	my %plain = (entity => 'customer', form => 'list',
		data => "s.data || (SELECT jsonb_build_object('c_level_id', t.data->'c_level_id', 'enable', t.data->'enable', 'group_name', t.data->'group_name', 'remark', t.data->'remark') FROM t WHERE t.id = s.id)");
	is_true($node, 'plain', 'every row is there', %plain);
	is($run->{details}, 0, 'no detail is asked');
	is(query($node, q{SELECT count(*) FROM jdysync.staging_plain WHERE (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(data) k) <> '{id,name,number}'}), '0', 'with the fields that the service gives');

	changed_at_source(op => 'update', count => 4);
	changed_at_source(op => 'insert', count => 4);
	$run = sync_ok($node, 'plain', 'plain form, a later run');
	is_true($node, 'plain', 'finds changes', %plain);

	wait_settled($sim, 2);
	sync_ok($node, 'plain', 'plain form, when they have settled');
	is_true($node, 'plain', 'nothing got lost', %plain);
	is(query($node, "SELECT listed_until > now() - interval '1 min' AND gaps = '{}' AND complete_until = listed_until FROM jdy_coverage WHERE name = 'plain'"), 't',
		'windows are proven without counts');
}

# ---------------------------------------------------------------------------
# Keys.
# ---------------------------------------------------------------------------
{
	my $not_key = '{"api":"/jdy/v2/bd/customer","effect":"QUERY","method":"GET","id":"group_name","number":"number","request":[]}';
	add_stream($node, 'groups', metadata => "'$not_key'", detail => 'false');
	sync_fails($node, 'groups', '21000', qr/not a key.*HINT:  Name all fields.*jdy_alter_stream\('groups', metadata => '\{"api": "\/jdy.*"id": \[/s, 'a field that is not unique is no key: an error, never last-wins');

	add_stream($node, 'nameless', metadata => q('{"api":"/jdy/v2/bd/customer","id":"no_such_field"}'));
	$sim->post('/_sim/stats/reset');
	sync_fails($node, 'nameless', 'HV005', qr/no row of the list has its key.*"no_such_field"/s, 'nor is a field that no row has');
	cmp_ok(paths($sim)->{'/jdy/v2/bd/customer'}, '<=', 4, 'which costs a few calls');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_groups'), '0', 'nothing was landed');
	drop_stream($node, 'groups');

	my $composite = '{"api":"/jdy/v2/bd/customer","effect":"QUERY","method":"GET","id":["group_name","number"],"number":"number","request":[]}';
	add_stream($node, 'pairs', metadata => "'$composite'", detail => 'false');
	sync_ok($node, 'customer', 'the present state');
	sync_ok($node, 'pairs', 'several fields together are one');
	is( query($node, q{SELECT count(*), count(DISTINCT data->>'id') FROM jdysync.staging_pairs}),
		query($node, q{SELECT count(*), count(DISTINCT id) FROM jdysync.staging_customer}), 'one row for each record');
	drop_stream($node, 'pairs');
}

# ---------------------------------------------------------------------------
# IPv6.  A machine without it cannot show this; the test says so and fails.
# ---------------------------------------------------------------------------
if (ok((eval { PostgreSQL::Test::Utils::slurp_file('/proc/net/if_inet6') } // '') =~ /^0{31}1 /m, 'this machine has ::1, which the next tests need'))
{
	$sim = start_sim(customers => 120, bind => '::1', set => {%NO_LIMITS});
	like($sim->url, qr{^http://\[::1\]:\d+$}, 'a service at ::1 only');
	pull_server($node, 'six');
	add_stream($node, 'v6', server => "'six'", entry => "'customer'");
	is(sync_ok($node, 'v6', 'a load over IPv6')->{inserted}, 120, 'brings all');
	changed_at_source(op => 'insert', count => 5);
	sync_ok($node, 'v6', 'and a later run');
	is_true($node, 'v6', 'staging equals the truth', entity => 'customer');
	is(query($node, q{SELECT count(*) FILTER (WHERE url LIKE 'http://[::1]:%') = count(*) AND count(*) > 120 FROM jdy_calls c JOIN jdy_runs r USING (run_id) WHERE r.name = 'v6'}),
		't', 'its calls are on record as such');
}

done_testing();
