# Whatever of a stream is changed, the next run makes staging what the new definition says: server, entry,
# metadata, detail, start_from; a kept table that is adopted; another account behind the same server.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 230, suppliers => 40, orders => 60, set => {%NO_LIMITS});
my $node = pull_node('main');

sub alter { my ($name, $what) = @_; return query($node, "SELECT jdy_alter_stream('$name', $what)"); }

sub changed_at_source { return $sim->post('/_sim/change', {@_})->{ids}; }

sub epoch { return query($node, "SELECT epoch FROM jdysync.stream WHERE name = '$_[0]'"); }

# What a statement says besides its result.
sub said
{
	my ($sql) = @_;
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	return $err;
}

# ---------------------------------------------------------------------------
# detail: list rows only and back, and what changes meanwhile.
# ---------------------------------------------------------------------------
{
	add_stream($node, 'customer');
	sync_ok($node, 'customer', 'a stream with details');

	alter('customer', 'detail => false');
	my $run = sync_ok($node, 'customer', 'detail => false');
	is_true($node, 'customer', 'leaves the list rows', form => 'list');
	is("$run->{inserted} $run->{updated} $run->{details}", '0 230 0', 'as it says');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_customer WHERE detailed_at IS NOT NULL OR modified_at IS NOT NULL'), '0',
		'no record claims to have its detail');
	$run = sync_ok($node, 'customer', 'a full run without changes', "jdy_sync('customer', 'full')");
	is("$run->{inserted} $run->{updated} $run->{unchanged}", '0 0 230', 'writes nothing');

	changed_at_source(op => 'update', count => 5);
	changed_at_source(op => 'insert', count => 2);
	$run = sync_ok($node, 'customer', 'a run after changes');
	is_true($node, 'customer', 'brings them', form => 'list');
	is("$run->{inserted} $run->{updated}", '2 5', 'as it says');

	alter('customer', 'detail => true');
	$run = sync_ok($node, 'customer', 'detail => true');
	is_true($node, 'customer', 'brings the details');
	is("$run->{inserted} $run->{details}", '0 232', 'of all records');
}

# ---------------------------------------------------------------------------
# A kept table is adopted with its data.
# ---------------------------------------------------------------------------
{
	query($node, "SELECT jdy_drop_stream('customer')");
	is(query($node, 'SELECT count(*) FROM jdysync.staging_customer'), '232', 'a dropped stream keeps its table');
	changed_at_source(op => 'update', count => 4);
	changed_at_source(op => 'insert', count => 3);
	add_stream($node, 'customer');
	my $run = sync_ok($node, 'customer', 'the name added again');
	is_true($node, 'customer', 'adopts it and brings it up to date');
	is("$run->{inserted} $run->{updated} $run->{unchanged}", '3 4 228', 'writing only what changed');

	query($node, "SELECT jdy_drop_stream('customer')");
	add_stream($node, 'customer', detail => 'false');
	sync_ok($node, 'customer', 'added again without details');
	is_true($node, 'customer', 'the table with details becomes one of list rows', form => 'list');
	changed_at_source(op => 'update', count => 4);
	sync_ok($node, 'customer', 'a later run');
	is_true($node, 'customer', 'and later changes are written', form => 'list');

	query($node, "SELECT jdy_drop_stream('customer')");
	add_stream($node, 'customer');
	sync_ok($node, 'customer', 'and with details');
	is_true($node, 'customer', 'it is what it was');
}

# ---------------------------------------------------------------------------
# schedule: nothing to load again.
# ---------------------------------------------------------------------------
{
	my $state = "SELECT coverage, watermark, loaded_at, epoch FROM jdysync.stream WHERE name = 'customer'";
	my $before = query($node, $state);

	# In one transaction: once it has committed, the schedule's first run may be there at any moment.
	is(query($node, "BEGIN; SELECT jdy_alter_stream('customer', schedule => '5 min', settle => '1 s'); $state; COMMIT") =~ s/^\n//r, $before,
		'a new schedule leaves the proofs alone');
	is(query($node, "SELECT schedule, settle FROM jdysync.stream WHERE name = 'customer'"), '5 min|00:00:01', 'and is stored');
	changed_at_source(op => 'update', count => 2);
	my $run = sync_ok($node, 'customer', 'a run after it');
	cmp_ok($run->{listed}, '<', 50, 'reads only what changed');
	is_true($node, 'customer', 'staging equals the truth');
}

# ---------------------------------------------------------------------------
# start_from: coverage begins there.
# ---------------------------------------------------------------------------
{
	my $from = query($node, q{SELECT date_trunc('second', percentile_disc(0.5) WITHIN GROUP (ORDER BY modified_at)) FROM jdysync.staging_customer});

	alter('customer', "start_from => '$from'");
	changed_at_source(op => 'update', count => 3);
	sync_ok($node, 'customer', 'start_from');
	is_true($node, 'customer', 'staging equals the truth');
	is(query($node, "SELECT lower(windows) = '$from' AND gaps = '{}' AND complete_until IS NOT NULL FROM jdy_coverage WHERE name = 'customer'"), 't',
		'what is older is not claimed');
}

# ---------------------------------------------------------------------------
# entry and metadata.
# ---------------------------------------------------------------------------
{
	add_stream($node, 'changing', entry => "'customer'");
	sync_ok($node, 'changing', 'customers');
	alter('changing', "entry => 'supplier'");
	sync_ok($node, 'changing', 'entry => supplier');
	is_true($node, 'changing', 'every supplier is there, in plain text', entity => 'supplier', extra => 1);
	is(query($node, 'SELECT count(*) FROM jdysync.staging_changing'), query($node, 'SELECT 40 + count(*) FROM jdysync.staging_customer'),
		'beside what was read before');

	alter('changing', q{metadata => '{"api":"/jdy/v2/scm/sal_order","request":[{"field":"bill_status","value":""}]}'});
	sync_ok($node, 'changing', 'metadata');
	is_true($node, 'changing', 'every order is there, with its number', entity => 'sal_order', extra => 1);
	alter('changing', "entry => 'customer'");
	sync_ok($node, 'changing', 'entry => customer replaces the metadata');
	is_true($node, 'changing', 'every customer is there', entity => 'customer', extra => 1);
	changed_at_source(op => 'update', count => 3);
	sync_ok($node, 'changing', 'a later run');
	is_true($node, 'changing', 'with later changes', entity => 'customer', extra => 1);
	drop_stream($node, 'changing');
}

# ---------------------------------------------------------------------------
# A definition that cannot be loaded any more: server gone, expression broken.
# ---------------------------------------------------------------------------
{
	pull_server($node, 'old');
	add_stream($node, 'supplier', server => "'old'");
	sync_ok($node, 'supplier', 'a stream on a server');
	query($node, 'DROP SERVER old CASCADE');
	sync_fails($node, 'supplier', '42704', qr/server does not exist/, 'which is gone');
	alter('supplier', "server => 'kingdee'");
	changed_at_source(entity => 'supplier', op => 'insert', count => 2);
	sync_ok($node, 'supplier', 'another server');
	is_true($node, 'supplier', 'staging equals the truth');

	query($node, q{CREATE FUNCTION public.status() RETURNS text LANGUAGE sql AS $$ SELECT 'C' $$});
	alter('supplier', q{metadata => '{"api":"/jdy/v2/bd/supplier","request":[{"field":"x","value":"_function public.status()"}]}'});
	query($node, 'DROP FUNCTION public.status()');
	sync_fails($node, 'supplier', '22023', qr/_function/, 'an expression that cannot be evaluated any more');
	alter('supplier', q{metadata => '{"api":"/jdy/v2/bd/supplier"}'});
	sync_ok($node, 'supplier', 'metadata without it');
	is_true($node, 'supplier', 'staging equals the truth');
}

# ---------------------------------------------------------------------------
# What was set aside or due is forgotten with the filter.
# ---------------------------------------------------------------------------
{
	my $id = query($node, "SELECT max(id) FROM jdysync.staging_supplier");

	$sim->post('/_sim/fault', { kind => 'nul', path => '/jdy/v2/bd/supplier', page => 1, times => -1 });
	$sim->post('/_sim/fault', { kind => 'errcode', errcode => 1030003001, path => 'supplier_detail', id => $id, times => -1 });
	changed_at_source(entity => 'supplier', op => 'update', ids => [$id]);
	sync_ok($node, 'supplier', 'bad input', "jdy_sync('supplier', 'full')");
	my $noted = q{SELECT (SELECT count(*) FROM jdysync.reject j WHERE j.stream_id = s.stream_id) > 0,
		(SELECT count(*) FROM jdysync.listing l WHERE l.stream_id = s.stream_id AND l.due) > 0 FROM jdysync.stream s WHERE s.name = 'supplier'};
	is(query($node, $noted), 't|t', 'a row was set aside, a detail is due');
	calm($sim);
	alter('supplier', 'detail => false');
	is(query($node, $noted), 'f|f', 'a changed filter forgets both');
	sync_ok($node, 'supplier', 'the next run');
	is_true($node, 'supplier', 'staging equals the truth', form => 'list');
	is(query($node, "SELECT details_due, set_aside, complete_until IS NOT NULL FROM jdy_coverage WHERE name = 'supplier'"), '0|0|t',
		'and the promise is made');
	drop_stream($node, 'supplier');
}

# ---------------------------------------------------------------------------
# What a server is belongs to the proof: another account has other books.
# ---------------------------------------------------------------------------
query($node, q{CREATE FUNCTION stream(name text, note boolean DEFAULT false) RETURNS text
	AS '$libdir/jdysync', 'jdy_test_stream' LANGUAGE C STRICT});
{
	my $mapping = join ', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS;
	my $here = $sim->url;

	add_stream($node, 'books', entry => "'customer'");
	query($node, "SELECT stream('books', true)");
	sync_ok($node, 'books', 'a stream');
	is(epoch('books'), 1, 'in its first epoch');

	# The same account, otherwise reached: nothing is read again.
	my $state = "SELECT coverage, watermark, loaded_at, epoch, source IS NOT NULL FROM jdysync.stream WHERE name = 'books'";
	my $before = query($node, $state);
	like($before, qr/\|t$/, 'the source is remembered');
	query($node, "ALTER SERVER kingdee OPTIONS (SET concurrency '3', SET url '" . uc($here) . "/')");
	query($node, "ALTER USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS (SET client_secret 'another')");
	is(said("SELECT stream('books', true)"), '', 'the url spelt otherwise, a new secret');
	query($node, "ALTER SERVER kingdee RENAME TO renamed; CREATE SERVER kingdee FOREIGN DATA WRAPPER jdysync OPTIONS (url '$here', calls_per_minute '0');
		CREATE USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS ($mapping)");
	is(said("SELECT stream('books', true)"), '', 'another server of the same name that is the same source');
	is(query($node, $state), $before, 'leave the proofs as they are');

	# Another account at the same address.
	for my $change ("ADD account_id '7'", "SET outer_instance_id '200421002'")
	{
		my $epoch = epoch('books');
		query($node, "ALTER USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS ($change)");
		like(query($node, "SELECT stream('books')"), qr/source changed/, "$change: the stream sees it");
		like(said("SET client_min_messages = log; SELECT stream('books', true)"), qr/LOG:.*another source.*DETAIL:.*"books"/s, 'and says so');
		is(epoch('books'), $epoch + 1, 'a new epoch');
		is(query($node, "SELECT coverage, watermark, loaded_at, load_began, listed_until, tail_until,
			(SELECT count(*) FROM jdysync.contract c WHERE c.stream_id = s.stream_id) FROM jdysync.stream s WHERE name = 'books'"),
			'{}||||||0', 'proves nothing yet');
		unlike(query($node, "SELECT stream('books')"), qr/source changed/, 'and is noted once');
	}
	query($node, "ALTER USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS (DROP account_id, SET outer_instance_id '200421001')");
	query($node, "SELECT stream('books', true)");
	sync_ok($node, 'books', 'back again');

	# Another address: older records of the new books arrive, too.
	my $other = start_sim(customers => 90, seed => 7, set => {%NO_LIMITS});
	query($node, "ALTER SERVER kingdee OPTIONS (SET url '" . $other->url . "')");
	query($node, "INSERT INTO jdysync.listing (stream_id, id, due, due_from) SELECT stream_id, '1', true, now() FROM jdysync.stream WHERE name = 'books'");
	query($node, "SELECT stream('books', true)");
	is(query($node, "SELECT count(*) FROM jdysync.listing l JOIN jdysync.stream s USING (stream_id) WHERE s.name = 'books'"), '0',
		"what was due at the old address is not asked at the new one");
	sync_ok($node, 'books', 'another address');
	is_true($node, 'books', 'everything of the new books is there', entity => 'customer', sim => $other, extra => 1);
	drop_stream($node, 'books');
	query($node, "ALTER SERVER kingdee OPTIONS (SET url '$here')");
	$other->stop;
	$JdyTest::current = $sim;
}

# ---------------------------------------------------------------------------
# Sensitive fields: a reset secret changes every ciphertext and no content.
# ---------------------------------------------------------------------------
{
	add_stream($node, 'raw', entry => "'customer'", decrypt => 'false');
	sync_ok($node, 'raw', 'decrypt => false');
	alter('customer', "start_from => '2000-01-01'");
	sync_ok($node, 'customer', 'the same in plain text');
	is( query($node, q{SELECT count(*) FROM jdysync.staging_raw r JOIN jdysync.staging_customer c USING (id)
		WHERE jdy_decrypt('kingdee', r.data->>'addr') IS DISTINCT FROM c.data->>'addr'}), '0', 'jdy_decrypt makes one of the other');
	cmp_ok(query($node, q{SELECT count(*) FROM jdysync.staging_raw r JOIN jdysync.staging_customer c USING (id) WHERE r.data->>'addr' <> c.data->>'addr'}),
		'>', 100, 'which differ');

	wait_settled($sim, 2);
	sync_ok($node, 'customer', 'what has settled');
	my $look = q{SELECT md5(string_agg(xmin::text || ctid::text, ',' ORDER BY id)) FROM jdysync.staging_customer};
	my $before = query($node, $look);
	my $ciphers = query($node, q{SELECT md5(string_agg(data->>'addr', ',' ORDER BY id)) FROM jdysync.staging_raw});
	my $new = '75eb3c7cd5974c3018d6934e142b5f81';

	$sim->post('/_sim/rotate_client_secret', { client_secret => $new });
	query($node, "ALTER USER MAPPING FOR CURRENT_USER SERVER kingdee OPTIONS (SET client_secret '$new')");
	my $run = sync_ok($node, 'customer', 'a full run after the secret was reset', "jdy_sync('customer', 'full')");
	is(query($node, $look), $before, 'writes no row');
	is("$run->{inserted} $run->{updated} $run->{details}", "0 0 $run->{unchanged}", 'though it read every detail');
	is_true($node, 'customer', 'staging equals the truth');
	sync_ok($node, 'raw', 'the ciphertexts again', "jdy_sync('raw', 'full')");
	isnt(query($node, q{SELECT md5(string_agg(data->>'addr', ',' ORDER BY id)) FROM jdysync.staging_raw}), $ciphers, 'they did change');
	is( query($node, q{SELECT count(*) FROM jdysync.staging_raw r JOIN jdysync.staging_customer c USING (id)
		WHERE jdy_decrypt('kingdee', r.data->>'addr') IS DISTINCT FROM c.data->>'addr'}), '0', 'and can be read with the new secret');
	drop_stream($node, 'raw');
}

# ---------------------------------------------------------------------------
# A list without a time filter.
# ---------------------------------------------------------------------------
{
	# The catalogue does not know this api, so nothing tells of a time filter.
	query($node, "CREATE SERVER below FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/jdy', calls_per_minute '0')");
	query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER below OPTIONS (client_id '200421', client_secret '75eb3c7cd5974c3018d6934e142b5f81', outer_instance_id '200421001')");
	pull_server($node, 'plain', server => { auth => 'bearer', url => $sim->url . '/jdy' }, mapping => { token => 'plain-token' });
	like(said(q{SELECT jdy_add_stream('whole', 'plain', '{"api":"/v2/bd/customer","number":"number"}')}),
		qr{NOTICE:.*list "/v2/bd/customer" has no time filter}, 'a list without a time filter says so when it is added');
	like(said(q{SELECT jdy_alter_stream('whole', metadata => '{"api":"/v2/bd/customer","number":"number","request":[{"field":"a","value":"b"}]}')}),
		qr{NOTICE:.*list "/v2/bd/customer" has no time filter}, 'and when it is changed');
	sync_ok($node, 'whole', 'it is read whole');
	is(query($node, 'SELECT count(*) FROM jdysync.staging_whole'), query($node, 'SELECT count(*) FROM jdysync.staging_customer'), 'all of it');
	changed_at_source(op => 'insert', count => 2);
	my $run = sync_ok($node, 'whole', 'each time');
	is($run->{inserted}, 2, 'with what is new');
	is(query($node, "SELECT complete_until IS NULL AND listed_until IS NOT NULL FROM jdy_coverage WHERE name = 'whole'"), 't', 'and nothing is promised');
	sync_fails($node, 'whole', '0A000', qr/cannot be read by modify time.*DETAIL.*HINT.*jdy_sync/s, 'jdy_resync of it is refused',
		call => "jdy_resync('whole', now() - interval '1 h', now())");
}

done_testing();
