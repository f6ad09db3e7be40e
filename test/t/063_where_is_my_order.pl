# jdy_trace tells all that is kept of one record, from the service to the target, in order of time: to
# those who may read it, by look-ups alone, with nothing written and nobody's code run with another's rights.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $LIST = '/jdy/v2/bd/customer';
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';
my $sim = start_sim(customers => 300, set => {%NO_LIMITS});
my $node = pull_node('main');

query($node, sprintf q{CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '%s/target', auth 'bearer', max_attempts '2', rate_window '100 ms', timeout '2 s')}, $sim->url);
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
add_stream($node, 'customer', settle => "'500 ms'");

my ($id, $other) = map { /"id":"(\d+)"/ } (split /\n/, truth($sim))[ 7, 8 ];

# What is said of a record, in order of time, repeats left out.
sub story { my ($name, $of) = @_; return query($node, "SELECT string_agg(what, ', ' ORDER BY n) FROM (SELECT what, min(n) AS n FROM (SELECT what, row_number() OVER () AS n FROM jdy_trace('$name', '$of')) t GROUP BY 1) s"); }
sub detail { my ($of, $what, $sql) = @_; return query($node, "SELECT string_agg(($sql)::text, '; ') FROM jdy_trace('customer', '$of') AS t WHERE what = '$what'"); }

# ---------------------------------------------------------------------------
# Before, and of nobody.
# ---------------------------------------------------------------------------
is(story('customer', $id), 'not in staging', 'before the first run nothing is known');
is(detail($id, 'not in staging', q{detail->>'note'}), 'the first load is not over', 'and it says why');

# ---------------------------------------------------------------------------
# From the service to the target.
# ---------------------------------------------------------------------------
my $load = sync_ok($node, 'customer', 'the first load')->{run_id};
# The service's clock is not ours: its times may stand before or behind.
is(join(', ', grep { $_ ne 'detail asked' } split /, /, story('customer', $id)), 'modified, run began, listed, detail call, written, mapped', 'a record that came');
is(query($node, "SELECT bool_and(at >= before) FROM (SELECT at, lag(at, 1, at) OVER () AS before FROM jdy_trace('customer', '$id')) t"), 't', 'in order of time');
is(detail($id, 'written', q{detail->'run_id'}), $load, 'written by that run');
is(detail($id, 'written', q{detail->>'holds'}), 'list row and detail', 'as list row and detail');
is(detail($id, 'listed', q{concat_ws(' ', detail->>'run_id', detail->>'rule', detail->>'known')}), "$load load derived", 'the ledger says which run listed it, and that this is derived');
is(detail($id, 'detail call', q{concat_ws(' ', detail->>'run_id', detail->>'method', detail->>'http_status', detail->>'url' ~ 'customer_detail[?]id=[*]{3}$')}), "$load GET 200 t", 'its detail call, the url masked');
is(detail($id, 'mapped', q{detail->>'view'}), 'public.jdy_customer; public.jdy_customer_masked', 'the views that show it');
is(query($node, "SELECT count(*) FROM jdy_calls WHERE id = '$id'"), '1', 'jdy_calls names the record, too');

# What jdy_explain says that a load takes is what it took.
{
	my ($list, $details) = query($node, q{BEGIN READ ONLY; SELECT l FROM jdy_explain('customer') AS l WHERE l LIKE '%First load%'}) =~ /about (\d+) list calls and (\d+) detail calls/;
	my ($calls, $fetched) = split /\|/, query($node, "SELECT calls, details FROM jdy_runs WHERE run_id = $load");

	is($details, $fetched, 'jdy_explain: the details of a load');
	cmp_ok(abs($list + $details - $calls), '<=', 4, 'and about its calls') or diag("$list and $details, were $calls and $fetched");
}

query($node, q{SELECT jdy_create_view('clean', 'customer', '{"name":"name"}'); CREATE VIEW again AS SELECT id, name FROM clean});
query($node, "SELECT jdy_add_push('shop', 'target', 'again', '$BATCH')");
is(detail($id, 'in the source', q{detail->>'state'}), 'to be sent by the next run', 'a push over a view of a view is found; it has not sent the record');
my $push = push_ok($node, 'shop', 'the push')->{run_id};
is(detail($id, 'delivered', q{concat_ws(' ', detail->>'push', detail->>'version', detail->>'run_id')}), "shop 1 $push", 'delivered, by that run');
is(detail($id, 'in the source', q{detail->>'state'}), 'the target has it', 'the target has what the source shows');
is(detail($id, 'delivered', q{detail->>'digest'}), detail($id, 'in the source', q{detail->>'digest'}), 'by its digest');
is(story('shop', $id), 'delivered, in the source', 'of a push: where the record stands toward it');

# ---------------------------------------------------------------------------
# Changed.
# ---------------------------------------------------------------------------
$sim->post('/_sim/change', { op => 'update', id => $id });
my $change = sync_ok($node, 'customer', 'a change')->{run_id};
is(detail($id, 'written', q{detail->'run_id'}), $change, 'the run that brought it');
is(detail($id, 'detail call', q{detail->>'run_id'}), "$load; $change", 'each detail call');
like(detail($id, 'listed', q{detail->>'by'}), qr/an unsettled tail/, 'listed by the unsettled tail, which proves nothing yet');
wait_settled($sim, 0.5);
my $proof = sync_ok($node, 'customer', 'a run after it settled')->{run_id};
like(detail($id, 'listed', q{concat_ws(' ', detail->>'run_id', detail->>'known')}), qr/\b$proof derived/, 'the window that holds its new modify time');
is(detail($id, 'in the source', q{detail->>'state'}), 'to be sent by the next run', 'the change is to be sent');
push_ok($node, 'shop', 'the push of it');
is(query($node, "SELECT string_agg(detail->>'version', ' ' ORDER BY at) FROM jdy_trace('shop', '$id') WHERE what = 'delivered'"), '1 2', 'both versions');

# ---------------------------------------------------------------------------
# Refused, replayed, discarded; lost on the way.
# ---------------------------------------------------------------------------
$sim->post('/_sim/config', { target_poison => 'batch' });
$sim->post('/_sim/target/poison', { ids => [$id] });
$sim->post('/_sim/change', { op => 'update', id => $id });
sync_ok($node, 'customer', 'another change');
push_ok($node, 'shop', 'which the target refuses');
is(detail($id, 'refused', q{concat_ws(' ', detail->>'version', detail->>'http_status' IS NOT NULL, detail->>'error' <> '', detail->>'run_id' IS NOT NULL)}), '3 t t t', 'refused, with the answer');
is(detail($id, 'in the source', q{detail->>'state'}), 'refused, until it changes or jdy_replay', 'and what that means');
query($node, "SELECT jdy_discard('shop', '{$id}', 'of no use')");
is(detail($id, 'discarded', q{detail->>'reason'}), 'of no use', 'discarded, and why');
query($node, "SELECT jdy_replay('shop')");
like(story('shop', $id), qr/\breplayed\b/, 'replayed');
$sim->post('/_sim/target/poison', { ids => [] });
$sim->post('/_sim/fault', { kind => 'reset_after', path => '/target/', times => -1 });
push_row($node, 'shop');
like(story('shop', $id), qr/in doubt/, 'an answer that did not come');
is(query($node, "SELECT bool_and(detail->>'error' <> '' AND length(detail->>'key') = 8) FROM jdy_trace('shop', '$id') WHERE what = 'in doubt'"), 't', 'with its key and what came instead');
$sim->delete('/_sim/fault');

# ---------------------------------------------------------------------------
# Set aside.
# ---------------------------------------------------------------------------
$sim->post('/_sim/fault', { kind => 'nul', path => $LIST . '_detail', id => $other, times => -1 });
$sim->post('/_sim/change', { op => 'update', id => $other });
sync_ok($node, 'customer', 'a detail that PostgreSQL cannot hold');
like(detail($other, 'rejected', q{detail->>'reason'}), qr/U\+0000/, 'is a reject, with the reason');
like(detail($other, 'set aside until then', q{detail->>'problem'}), qr/U\+0000/, 'set aside');
like(detail($other, 'detail due', q{detail->>'attempts'}), qr/^[1-9]/, 'and still due');
is(detail($other, 'written', q{detail->'run_id'}), $load, 'staging has what came before');
$sim->delete('/_sim/fault');

# ---------------------------------------------------------------------------
# Look-ups, and nothing written.
# ---------------------------------------------------------------------------
{
	my $count = q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND relname NOT IN ('stream', 'push') AND schemaname = 'jdysync'};

	is(query($node, "BEGIN READ ONLY; SELECT count(*) > 10 FROM jdy_trace('customer', '$id'); $count; COMMIT"), "t\n", 'no table of records, calls or runs is read whole, and nothing is written');
}

# ---------------------------------------------------------------------------
# Whose it is, and whose code runs.
# ---------------------------------------------------------------------------
query($node, sprintf q{CREATE ROLE alice LOGIN; CREATE ROLE deputy LOGIN IN ROLE alice; CREATE ROLE bob LOGIN;
	GRANT USAGE ON SCHEMA jdysync TO alice, bob; GRANT CREATE ON SCHEMA public TO alice, bob; GRANT USAGE ON FOREIGN SERVER kingdee, target TO alice, bob;
	GRANT EXECUTE ON FUNCTION jdy_add_stream, jdy_add_push, jdy_trace TO alice, bob;
	CREATE USER MAPPING FOR alice SERVER kingdee OPTIONS (%s); CREATE USER MAPPING FOR bob SERVER target OPTIONS (token 'push-token');
	SET ROLE alice; SELECT jdy_add_stream('hers', 'kingdee', entry => 'customer');
	INSERT INTO jdysync.staging_hers (id, data, synced_at, run_id) VALUES ('7', '{}', now(), 0);
	CREATE FUNCTION public.who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'works as %%', current_user; RETURN current_user; END $$;
	CREATE VIEW public.traps AS SELECT id FROM jdysync.staging_hers WHERE public.who() <> '';
	CREATE VIEW public.broken AS SELECT id FROM jdysync.staging_hers WHERE 1 / (run_id::int) > 0;
	GRANT SELECT ON jdysync.staging_hers TO bob; RESET ROLE;
	SET ROLE bob; CREATE VIEW public.bobs AS SELECT * FROM jdysync.staging_hers; SELECT jdy_add_push('bobs', 'target', 'bobs', '%s')},
	join(', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS), $BATCH);
{
	my ($status, $out, $err) = $node->psql('postgres', "SELECT count(*) FROM jdy_trace('hers', '7')");

	like($err, qr/works as alice/, 'a view is read with its owner\'s rights, whoever asks');
	unlike($err, qr/works as (?!alice)/, 'and with nobody else\'s');
	is(query($node, "SELECT detail->>'sqlstate' FROM jdy_trace('hers', '7') WHERE what = 'view cannot be read'"), '22012', 'one that fails is a line, and no error');
}
my $hers = query($node, "SET SESSION AUTHORIZATION deputy; SELECT string_agg(what || ' ' || (detail::text), ' ') FROM jdy_trace('hers', '7')");
like($hers, qr/public.traps/, 'a member of the owner may ask');
unlike($hers, qr/bobs/, 'and sees nothing of what others make of the record');
for my $asked ([ 'hers', 'stream "hers"' ], [ 'customer', 'stream "customer"' ])
{
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET SESSION AUTHORIZATION bob; SELECT * FROM jdy_trace('$asked->[0]', '7')");

	like($err, qr/ERROR:  42501: must be owner of $asked->[1]/, "others may not: $asked->[0]");
}
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/terminated by signal/, 'no process of the server crashed');
done_testing();
