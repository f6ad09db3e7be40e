# What pg_dump and pg_upgrade make of a database knows all that the original knew, and does nothing until
# jdy_adopt(): then it goes on where that stood, sends nothing twice, and runs by itself.
use strict;
use warnings;

use Cwd qw(getcwd);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sim = start_sim(customers => 30, suppliers => 5, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "autovacuum = off\n");
my $directory = PostgreSQL::Test::Utils::tempdir();
my $customers = 30;

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '" . $sim->url . "/target', auth 'bearer')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");
add_stream($node, 'customer', settle => "'500 ms'", overlap => "'0'", schedule => "'1 s'");
query($node, 'CREATE VIEW out AS SELECT id, number, data FROM jdysync.staging_customer WHERE detailed_at IS NOT NULL');
query($node, q{SELECT jdy_add_push('out', 'target', 'out', '{"api":"out","effect":"EXECUTE","operation":{"method":"batchArraySave","rowsKey":"array"}}', schedule => '1 s')});

sub in { my ($on, $database, $sql) = @_; return $on->safe_psql($database, $sql); }
sub becomes { my ($on, $database, $sql, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(poll_until(sub { in($on, $database, "SELECT ($sql)") eq 't' }, $sql, 20), $what); }

# Only $database goes on by itself; if that is nobody, all comes to rest, or will in a moment.
sub only
{
	my ($on, $database) = @_;

	in($on, 'postgres', "ALTER SYSTEM SET jdysync.databases = '$database'");
	$on->reload;
	poll_until(sub { in($on, 'postgres', "SELECT current_setting('jdysync.databases') = '$database'") eq 't' }, 'reload');
	return if $database ne 'nobody';
	return poll_until(sub { in($on, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('jdysync runner', 'jdysync scheduler')") eq '0' }, 'rest');
}

# Everything that a promise or a delivery rests on.
sub known
{
	my ($on, $database) = @_;

	return in($on, $database, join ";\n",
		"SELECT md5(string_agg(t::text, ' ' ORDER BY t)) FROM jdysync.staging_customer t",
		map { "SELECT '$_', md5(string_agg(x::text, ' ' ORDER BY x)) FROM jdysync.\"$_\" x" } qw(stream listing window push delivery delivered counterpart batch run));
}

# The copy is held; adopted, it makes one incremental run and delivers what that brought.
sub is_held_until_adopted
{
	my ($on, $database, $known) = @_;

	is(known($on, $database), $known, 'it knows all that the original knew');
	is(in($on, $database, q{SELECT string_agg(DISTINCT status, ',') FROM jdy_status WHERE why ~ 'this database is a copy'}), 'held', 'and is held');
	for my $call ("jdy_sync('customer')", "jdy_push('out')", "jdy_start('customer')")
	{
		my ($status, undef, $error) = $on->psql($database, "SELECT * FROM $call");
		like($error, qr/this database is a copy: nothing runs here.*HINT:  .*jdy_adopt/s, "$call is refused");
	}
	$sim->post('/_sim/change', { op => 'insert', count => 3 });
	$customers += 3;
	$sim->post('/_sim/stats/reset');
	only($on, $database);
	is($sim->get('/_sim/stats')->{total}, 0, 'it calls nobody');

	my $last = in($on, $database, 'SELECT max(run_id) FROM jdysync.run');
	is(in($on, $database, "SELECT jdy_adopt()"), '2', 'adopted');
	becomes($on, $database, "SELECT count(*) > 0 FROM jdysync.run WHERE run_id > $last AND name = 'out' AND status = 'ok' AND delivered > 0", 'it goes on by itself');
	only($on, 'nobody');
	is(in($on, $database, "SELECT sum(inserted), sum(updated), sum(deleted), sum(details) < 30 FROM jdysync.run WHERE run_id > $last AND name = 'customer'"), '3|0|0|t', 'and reads what is new');
	is(in($on, $database, "SELECT sum(delivered) FROM jdysync.run WHERE run_id > $last AND name = 'out'"), '3', 'and delivers what is new');
	is(in($on, $database, "SELECT count(*) FROM jdysync.staging_customer"), $customers, 'nothing is missing');
	is(in($on, $database, "SELECT gaps = '{}' FROM jdy_coverage WHERE name = 'customer'"), 't', 'nor a gap in the ledger');
	return;
}

# Returns what was known when the dump was made: nothing changed meanwhile.
sub dump_and_restore
{
	my ($from, $to, $format, @restore) = @_;
	my $dump = "$directory/$to";
	my $known;

	$node->safe_psql('postgres', "CREATE DATABASE $to") unless $from eq $to;
	do
	{
		PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $dump);
		$known = known($node, $from);
		$node->command_ok([ 'pg_dump', @$format, '-f', $dump, $node->connstr($from) ], 'pg_dump ' . join(' ', @$format));
	} until known($node, $from) eq $known;
	$node->command_ok([ 'pg_restore', '--exit-on-error', @restore, '-d', $node->connstr($to), $dump ], 'pg_restore ' . join(' ', @restore));
	return $known;
}

becomes($node, 'postgres', "SELECT sum(delivered) = 30 FROM jdysync.run WHERE name = 'out' AND status = 'ok'", 'thirty records are pulled and pushed');
only($node, 'nobody');

subtest 'pg_dump -Fc' => sub {
	is_held_until_adopted($node, 'one', dump_and_restore('postgres', 'one', ['-Fc']));
};

subtest 'pg_dump -Fd -j4' => sub {
	is_held_until_adopted($node, 'two', dump_and_restore('one', 'two', [ '-Fd', '-j4' ], '-j4'));
};

# A night's dump into the database that it was made of: what that did since is forgotten.
subtest 'pg_restore --clean where it was made' => sub {
	is_held_until_adopted($node, 'two', dump_and_restore('two', 'two', ['-Fc'], '--clean'));
};

# The owner of a stream, no superuser, takes his data elsewhere.
subtest 'a stream\'s tables and views alone, by their owner' => sub {
	query($node, q{CREATE ROLE clerk LOGIN; GRANT USAGE ON FOREIGN SERVER kingdee TO clerk; GRANT USAGE, CREATE ON SCHEMA public TO clerk; GRANT USAGE ON SCHEMA jdysync TO clerk;
		GRANT EXECUTE ON FUNCTION jdy_add_stream, jdy_sync TO clerk});
	query($node, sprintf(q{CREATE USER MAPPING FOR clerk SERVER kingdee OPTIONS (client_id '%s', client_secret '%s', outer_instance_id '%s')},
			@JdyTest::CREDENTIALS{qw(client_id client_secret outer_instance_id)}));
	query($node, "SET ROLE clerk; SELECT jdy_add_stream('mine', 'kingdee', entry => 'supplier')");
	sync_ok($node, 'mine', 'a stream of his');
	query($node, 'CREATE DATABASE plain OWNER clerk');
	$node->safe_psql('plain', 'CREATE SCHEMA jdysync AUTHORIZATION clerk');
	$node->command_ok([ 'pg_dump', '-Fc', '-U', 'clerk', '-t', 'jdysync.staging_mine', '-t', 'public.jdy_mine*', '-f', "$directory/mine", $node->connstr('postgres') ], 'he dumps them');
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-U', 'clerk', '-d', $node->connstr('plain'), "$directory/mine" ], 'and restores them where the extension is not');
	for my $sql ('SELECT md5(string_agg(t::text, NULL ORDER BY t)) FROM jdysync.staging_mine t', 'SELECT md5(string_agg(t::text, NULL ORDER BY t)) FROM jdy_mine t')
	{
		is($node->safe_psql('plain', "SET ROLE clerk; $sql"), query($node, $sql), "the same: $sql");
	}
	query($node, "SELECT jdy_drop_stream('mine', false); DROP DATABASE plain; DROP OWNED BY clerk; DROP ROLE clerk");
};

# Old and new server run for a while as pg_upgrade starts them: ours must not work then.
subtest 'pg_upgrade' => sub {
	my $new = PostgreSQL::Test::Cluster->new('new');
	my $here = getcwd();
	my $bin = $node->config_data('--bindir');

	query($node, 'DROP DATABASE one; DROP DATABASE two');
	sync_ok($node, 'customer', 'what the copies had read');
	is(push_ok($node, 'out', 'and sent')->{delivered}, $customers - 30, 'the original did not know');
	query($node, 'UPDATE jdysync.agenda SET next_at = now()');
	query($node, 'ALTER SYSTEM RESET jdysync.databases');
	my $known = known($node, 'postgres');
	$node->stop;
	$new->init;
	$new->append_conf('postgresql.conf', "shared_preload_libraries = 'jdysync'\nautovacuum = off\nmax_worker_processes = 20\n");
	$sim->post('/_sim/stats/reset');
	chdir $directory;
	command_ok([ "$bin/pg_upgrade", '-d', $node->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin, '-s', $new->host, '-p', $node->port, '-P', $new->port ],
		'a real pg_upgrade');
	chdir $here;
	is($sim->get('/_sim/stats')->{total}, 0, 'calls nobody, though streams are due');
	$new->start;
	is(known($new, 'postgres'), $known, 'the new server knows what the old one knew');
	is_held_until_adopted($new, 'postgres', $known);
	unlike(slurp_file($new->logfile), qr/terminated by signal|FATAL/, 'no process died');
};

done_testing();
