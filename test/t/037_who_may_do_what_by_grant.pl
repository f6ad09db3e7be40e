# jdy_grant lets a role read a stream or push, or run it, and nothing beyond: each function and view of the
# extension as owner, the owner's colleague, reader, runner, pg_monitor and stranger.  What is granted is PostgreSQL's own
# privilege: it is dumped, it goes with DROP OWNED, and no later role inherits it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 5, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "jdysync.allowed_hosts = '127.0.0.1'\n");
my @roles = qw(etl colleague reader runner doctor stranger);

sub as { my ($role, $sql) = @_; return query($node, "SET SESSION AUTHORIZATION $role;\n$sql"); }

# What it says: ok, or the SQLSTATE.
sub outcome
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET SESSION AUTHORIZATION $role;\n$sql", on_error_stop => 1);

	return $status == 0 ? 'ok' : $err =~ /ERROR:  (\w{5})/ ? $1 : $err;
}

query($node, 'CREATE ROLE etl LOGIN; CREATE ROLE colleague LOGIN IN ROLE etl; CREATE ROLE reader LOGIN; CREATE ROLE runner LOGIN; CREATE ROLE doctor LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN');
query($node, "GRANT USAGE, CREATE ON SCHEMA public TO " . join(', ', @roles));
query($node, "GRANT USAGE ON SCHEMA jdysync TO " . join(', ', @roles));
query($node, 'GRANT USAGE ON FOREIGN SERVER kingdee TO etl');
query($node, 'CREATE USER MAPPING FOR etl SERVER kingdee OPTIONS (' . join(', ', map { "$_ '$JdyTest::CREDENTIALS{$_}'" } sort keys %JdyTest::CREDENTIALS) . ')');
query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer', max_attempts '1', rate_window '100 ms', timeout '2 s')");
query($node, "GRANT USAGE ON FOREIGN SERVER target TO etl; CREATE USER MAPPING FOR etl SERVER target OPTIONS (token 'push-token')");
# All that belongs to the extension, to all: what they may do is then for it to say.
query($node, qq{DO \$\$
DECLARE o text;
BEGIN
	FOR o IN SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc p WHERE p.proname LIKE 'jdy\\_%' AND p.pronamespace = 'public'::regnamespace OR p.pronamespace = 'jdysync'::regnamespace
		UNION ALL SELECT format('TABLE %s', c.oid::regclass) FROM pg_class c WHERE c.relname LIKE 'jdy\\_%' AND c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace
	LOOP EXECUTE format('GRANT ALL ON %s TO @{[ join ', ', @roles ]}', o); END LOOP;
END \$\$});

as('etl', "SELECT jdy_add_stream('customer', 'kingdee', settle => '2 s', overlap => '2 s')");
as('etl', q{CREATE TABLE source (id text PRIMARY KEY, name text); INSERT INTO source SELECT 'c' || i, 'A' FROM generate_series(1, 5) AS i});
as('etl', q{SELECT jdy_add_push('out', 'target', 'source', '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":10,"rowsKey":"array"}}')});
as('etl', q{SELECT * FROM jdy_sync('customer')});
as('etl', q{SELECT * FROM jdy_sync('customer', 'verify')});
$sim->post('/_sim/target/poison', { ids => ['c1'] });
as('etl', q{SELECT * FROM jdy_push('out')});
query($node, q{INSERT INTO jdysync.reject (stream_id, run_id, id, reason, digest, raw, next_try) SELECT stream_id, 1, 'x', 'broken', 'x', 'x', 'infinity' FROM jdysync.stream});
query($node, q{INSERT INTO jdysync.lag SELECT stream_id, array_fill(1, '{14}'), array_fill(0, '{14}'), 7, NULL, NULL FROM jdysync.stream});
query($node, q{INSERT INTO jdysync.missed (stream_id, id, run_id, found_by, cause) SELECT stream_id, 'c1', 1, 'certificate', 'late' FROM jdysync.stream});
query($node, q{INSERT INTO jdysync.audit (stream_id, epoch, run_id, began_at, findings) SELECT stream_id, epoch, 1, now(), '[{"id": "c1"}]' FROM jdysync.stream});
query($node, q{INSERT INTO jdysync.run (stream_id, name, kind, mode, status, started_at, finished_at, sqlstate, error) SELECT stream_id, name, 'pull', 'auto', 'failed', now(), now(), '22P02', 'record c1 says' FROM jdysync.stream});
query($node, q{INSERT INTO jdysync.incident (name, severity, what, detail, advice) VALUES ('customer', 'warning', 'a test', 'record c1', 'none'), ('server kingdee of etl', 'warning', 'a test', NULL, 'none'), ('server kingdee', 'warning', 'a test', NULL, 'none')});

# Before anything is granted, reader and runner are strangers.
sub rows_seen { my ($role, $from) = @_; return as($role, "SELECT count(*) > 0 FROM $from"); }
is(rows_seen($_, 'jdy_status'), 'f', "$_ sees nothing yet") for qw(reader runner);

# Who may grant.
is(outcome($_, q{SELECT jdy_grant('customer', 'reader', 'read')}), '42501', "$_ may not grant") for qw(reader runner doctor stranger);
is(outcome('etl', q{SELECT jdy_grant('customer', 'etl', 'read')}), '0LP01', 'an owner needs none');
is(outcome('etl', q{SELECT jdy_grant('customer', 'reader', 'write')}), '22023', 'an unknown privilege');
is(outcome('etl', q{SELECT jdy_grant('nobody', 'reader', 'read')}), '42704', 'an unknown stream');
query($node, 'ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO stranger');
as('etl', "SELECT jdy_grant('$_', 'reader', 'read')") for qw(customer out);
as('colleague', "SELECT jdy_grant('$_', 'runner', 'run')") for qw(customer out);
query($node, 'ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM stranger');

# ---------------------------------------------------------------------------
# Views.  Who sees a row.
# ---------------------------------------------------------------------------
my %all = map { $_ => 1 } qw(etl colleague reader);
my %owner = map { $_ => 1 } qw(etl colleague);
my %health = (%all, doctor => 1);
my @views = (
	[ 'jdy_runs', "jdy_runs WHERE name = 'customer'", \%health ],
	[ 'jdy_runs', "jdy_runs WHERE name = 'out'", \%health ],
	[ 'jdy_runs', 'jdy_runs WHERE error IS NOT NULL', \%all ],
	[ 'jdy_calls', 'jdy_calls', \%all ],
	[ 'jdy_rejects', 'jdy_rejects', \%all ],
	[ 'jdy_rejects', 'jdy_rejects WHERE raw IS NOT NULL', \%owner ],
	[ 'jdy_incidents', "jdy_incidents WHERE name = 'customer'", \%health ],
	[ 'jdy_incidents', "jdy_incidents WHERE name = 'server kingdee of etl'", \%health ],
	[ 'jdy_incidents', "jdy_incidents WHERE name = 'server kingdee'", \%health ],
	[ 'jdy_incidents', "jdy_incidents WHERE detail IS NOT NULL", \%all ],
	[ 'jdy_status', "jdy_status WHERE name = 'customer'", \%health ],
	[ 'jdy_status', "jdy_status WHERE why LIKE '%record c1%'", \%all ],
	[ 'jdy_health', 'jdy_health', \%health ],
	[ 'jdy_totals', 'jdy_totals', \%health ],
	[ 'jdy_coverage', 'jdy_coverage', \%health ],
	[ 'jdy_coverage', 'jdy_coverage WHERE exceptions IS NOT NULL', \%all ],
	[ 'jdy_certificates', 'jdy_certificates', \%health ],
	[ 'jdy_certified', 'jdy_certified', \%all ],
	[ 'jdy_lag', 'jdy_lag', \%health ],
	[ 'jdy_missed', 'jdy_missed', \%all ],
	[ 'jdy_contract', 'jdy_contract', \%health ],
	[ 'jdy_contract', 'jdy_contract WHERE evidence IS NOT NULL', \%all ],
	[ 'jdy_audits', 'jdy_audits', \%health ],
	[ 'jdy_audits', 'jdy_audits WHERE findings IS NOT NULL', \%all ],
	[ 'jdy_progress', 'jdy_progress', \%health, 1 ],
	[ 'jdy_deliveries', "jdy_deliveries WHERE status = 'dead'", \%all ],
	[ 'jdy_deliveries', 'jdy_deliveries WHERE request IS NOT NULL OR reply IS NOT NULL', \%owner ],
	[ 'jdy_budgets', 'jdy_budgets', undef ],
	(map { [ "jdy_incidents_$_", "jdy_incidents_$_", \%health ] } qw(dingtalk wecom feishu)),
	[ 'jdy_catalog', 'jdy_catalog', { map { $_ => 1 } @roles } ],
	[ 'staging', 'jdysync.staging_customer', \%all ],
	[ 'view', 'jdy_customer', \%all ],
	[ 'view', 'jdy_customer_masked', \%all ]);
my %known = map { $_->[0] => 1 } @views;

sub look
{
	my @looks = grep { ($_->[3] // 0) == $_[0] && defined $_->[2] } @views;
	my @ours = grep { $_->[1] !~ /^(jdysync\.|jdy_customer)/ } @looks;

	for my $role (@roles)
	{
		my @seen = split /\n/, as($role, join ' UNION ALL ', map { "SELECT EXISTS (SELECT FROM $_->[1])" } @ours);

		is(shift @seen, $_->[2]->{$role} ? 't' : 'f', "$role: $_->[1]") for @ours;
	}
	for my $view (grep { $_->[1] =~ /^(jdysync\.|jdy_customer)/ } @looks)
	{
		is(outcome($_, "SELECT FROM $view->[1]"), $view->[2]->{$_} ? 'ok' : '42501', "$_: $view->[1]") for @roles;
	}
	return;
}
look(0);
$sim->post('/_sim/fault', { kind => 'stall', path => '/jdy/v2/bd/customer', times => -1 });
my $run_id = as('etl', q{SELECT jdy_start('customer')});
wait_until_running($node, 'customer');
look(1);
$sim->delete('/_sim/fault');
is(as('runner', "SELECT jdy_cancel($run_id)"), 't', 'the runner cancels it');
wait_for_status($node, $run_id, 'cancelled', 'cancelled');
is(query($node, q{SELECT string_agg(c.relname, ' ') FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
	WHERE c.relkind = 'v' AND c.relname LIKE 'jdy\_%' AND c.relname <> ALL ('} . '{' . join(',', keys %known) . '}' . q{')}), '', 'every view was looked at');

# ---------------------------------------------------------------------------
# Functions.  What each says to each.
# ---------------------------------------------------------------------------
my %own = map { $_ => ($owner{$_} ? 'ok' : '42501') } @roles;
my %run = (%own, runner => 'ok');
my @functions = (
	[ q{SELECT * FROM jdy_sync('customer')}, \%run ],
	[ q{SELECT * FROM jdy_resync('customer', now() - interval '1 min', now())}, \%run ],
	[ q{SELECT * FROM jdy_push('out')}, \%run ],
	[ q{SELECT jdy_start('out')}, \%run ],
	[ q{SELECT jdy_pause('out')}, \%run ],
	[ q{SELECT jdy_resume('out')}, \%run ],
	[ q{SELECT jdy_resume('out', force => true)}, \%own ],
	[ q{SELECT jdy_cancel(1)}, \%run ],
	[ q{SELECT jdy_alter_stream('customer', settle => '2 s')}, \%own ],
	[ q{SELECT jdy_alter_push('out', batch_rows => 9)}, \%own ],
	[ q{SELECT * FROM jdy_preview('out')}, \%own ],
	[ q{SELECT jdy_replay('out')}, \%own ],
	[ q{SELECT jdy_discard('out', '{c1}', 'known')}, \%own ],
	[ q{SELECT jdy_grant('customer', 'stranger', 'none')}, \%own ],
	[ q{SELECT jdy_accept_deletes('customer')}, \%own ],
	[ q{SELECT jdy_create_view('v', 'customer', '{"number":"number"}'); DROP VIEW v}, \%own ],
	[ q{SELECT * FROM jdy_trace('customer', 'x')}, \%own ],
	[ q{SELECT * FROM jdy_explain('customer')}, \%own ],
	[ q{SELECT jdy_add_stream('mine', 'kingdee', entry => 'customer'); SELECT jdy_drop_stream('mine', false)}, { %own, colleague => undef } ],
	[ q{SELECT jdy_add_push('mine', 'target', 'source', '{"api":"x","effect":"EXECUTE"}'); SELECT jdy_drop_push('mine')}, { %own, colleague => undef } ],
	[ q{SELECT * FROM jdy_check('kingdee')}, { %own, colleague => undef } ],
	[ q{SELECT jdy_fetch('kingdee', '/jdy/v2/bd/customer')}, { %own, colleague => undef } ],
	[ q{SELECT jdy_decrypt('kingdee', 'x')}, { %own, colleague => undef } ],
	[ q{SELECT jdy_adopt()}, { map { $_ => '42501' } @roles } ],
	[ q{SELECT jdy_drop_stream('customer')}, { reader => '42501', runner => '42501', doctor => '42501', stranger => '42501' } ],
	[ q{SELECT jdy_drop_push('out')}, { reader => '42501', runner => '42501', doctor => '42501', stranger => '42501' } ]);
for my $function (@functions)
{
	my ($sql, $says) = @$function;

	is(outcome($_, $sql), $says->{$_}, "$_: $sql") for grep { defined $says->{$_} } @roles;
}
# What says nothing of streams, or only what its views show.
my %of_no_stream = map { $_ => 1 } qw(jdy_render jdy_fdw_validator jdy_metrics jdy_report);
my $called = join ' ', map { $_->[0] } @functions;
is(join(' ', grep { !$of_no_stream{$_} && $called !~ /\b$_\(/ } split /\n/, query($node, q{SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid
	AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' WHERE p.proname LIKE 'jdy\_%'})), '', 'every function was called');

# ---------------------------------------------------------------------------
# A runner works as the owner, and tells who only may run it nothing of the records.
# ---------------------------------------------------------------------------
poll_sql($node, q{SELECT count(*) = 0 FROM jdysync.run WHERE status IN ('queued', 'running')}, 'all runs are over');
as('etl', q{CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% saw %', current_user, NEW.data; END $$;
	CREATE TRIGGER tell BEFORE INSERT OR UPDATE ON jdysync.staging_customer FOR EACH ROW EXECUTE FUNCTION tell()});
$sim->post('/_sim/change', { op => 'update', count => 1 });
my ($status, $out, $err) = $node->psql('postgres', q{SET SESSION AUTHORIZATION runner; SELECT * FROM jdy_sync('customer', 'full')});
like($err, qr/ERROR:  the run failed\nHINT:  Its owner sees in jdy_runs why/, 'the runner learns that it failed');
unlike($err, qr/saw/, 'and nothing of the record');
like(as('reader', q{SELECT error FROM jdy_runs ORDER BY run_id DESC LIMIT 1}), qr/^etl saw/, 'the reader, who may read the record, does');
as('etl', 'DROP TRIGGER tell ON jdysync.staging_customer');
is(as('runner', q{SELECT status, error FROM jdy_sync()}), 'ok|', 'without a name: what one may run');

# ---------------------------------------------------------------------------
# A grant ends with the owner, with the role, and with "none".
# ---------------------------------------------------------------------------
as('etl', q{SELECT jdy_alter_stream('customer', metadata => '{"api":"/jdy/v2/bd/customer","effect":"QUERY","id":"id"}')});
is(outcome('reader', 'SELECT FROM jdy_customer'), 'ok', 'views that are made anew can be read as before');
query($node, 'ALTER TABLE jdysync.staging_customer OWNER TO CURRENT_USER');
is(outcome('runner', q{SELECT * FROM jdy_sync('customer')}), '42501', 'another owner: what the old one granted is void');
query($node, 'ALTER TABLE jdysync.staging_customer OWNER TO etl');
like(outcome(query($node, 'SELECT current_user'), 'DROP ROLE runner'), qr/^2BP01$/, 'a role that was granted something is not dropped');
query($node, 'DROP OWNED BY runner; DROP ROLE runner; CREATE ROLE runner LOGIN; GRANT EXECUTE ON FUNCTION jdy_sync(text, text) TO runner');
is(outcome('runner', q{SELECT * FROM jdy_sync('customer')}), '42501', 'who is called so later has none of it');
as('etl', q{SELECT jdy_grant('customer', 'reader', 'none')});
is(rows_seen('reader', q{jdy_runs WHERE name = 'customer'}), 'f', 'taken back: the lines');
is(outcome('reader', $_), '42501', "taken back: $_") for 'SELECT FROM jdysync.staging_customer', 'SELECT FROM jdy_customer';
is(rows_seen('reader', q{jdy_runs WHERE name = 'out'}), 't', 'of that stream only');

# A queued run whose requester may not run it any more.
as('etl', q{SELECT jdy_grant('out', 'runner', 'run')});
query($node, 'GRANT EXECUTE ON FUNCTION jdy_start(text, text) TO runner; ALTER SYSTEM SET jdysync.enabled = off');
query($node, 'SELECT pg_reload_conf()');
poll_sql($node, "SELECT current_setting('jdysync.enabled') = 'off'");
$run_id = as('runner', q{SELECT jdy_start('out')});
as('etl', q{SELECT jdy_grant('out', 'runner', 'none')});
query($node, 'ALTER SYSTEM RESET jdysync.enabled');
query($node, 'SELECT pg_reload_conf()');
wait_for_status($node, $run_id, 'failed', 'the run');
is(query($node, "SELECT error FROM jdy_runs WHERE run_id = $run_id"), 'who queued the run may not run the stream any more', 'is not made');

# ---------------------------------------------------------------------------
# A dump holds them, and can be restored where the role is missing.
# ---------------------------------------------------------------------------
as('etl', q{SELECT jdy_grant('customer', 'reader', 'read'); SELECT jdy_grant('customer', 'stranger', 'run')});
my $dump = $node->basedir . '/dump';
$node->run_log([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ]);
query($node, 'CREATE DATABASE copy');
$node->run_log([ 'pg_restore', '-d', $node->connstr('copy'), $dump ]);
is($node->safe_psql('copy', q{SET SESSION AUTHORIZATION reader; SELECT count(*) > 0 FROM jdy_runs WHERE name = 'customer'}), 't', 'who may read it may read the copy');
$node->safe_psql('copy', 'SELECT jdy_adopt()');
like($node->safe_psql('copy', q{SET SESSION AUTHORIZATION stranger; SELECT jdy_start('customer')}), qr/^\d+$/, 'who may run it may run the copy');
query($node, 'DROP DATABASE copy WITH (FORCE)');
query($node, 'DROP OWNED BY stranger; DROP ROLE stranger; CREATE DATABASE copy');
$node->run_log([ 'pg_restore', '-d', $node->connstr('copy'), $dump ]);
is($node->safe_psql('copy', q{SELECT count(*) FROM jdy_status}), '2', 'a role that is missing is in the way of nothing');

done_testing();
