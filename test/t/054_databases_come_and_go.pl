# A database can be dropped, copied, moved, renamed and closed while its streams run: nothing waits for
# our workers, the schedule goes on afterwards, and the log tells it in a few lines.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Utils;
use Test::More;

my $CUSTOMER = '/bd/customer';
my $sim = start_sim(customers => 30, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "autovacuum = off\n");

# ---------------------------------------------------------------------------
# A database with a stream that runs every second.
# ---------------------------------------------------------------------------
sub make
{
	my ($database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION jdysync');
	pull_server($node, 'kingdee', database => $database, server => { timeout => '1 s', max_attempts => 100 });
	$node->safe_psql($database, "SELECT jdy_add_stream('customer', 'kingdee', settle => '500 ms', overlap => '0', schedule => '1 s')");
	goes_on($database, "$database: its stream runs");
	return;
}

sub becomes { my ($database, $sql, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(poll_until(sub { (($node->psql($database, "SELECT ($sql)"))[1] // '') eq 't' }, $sql, 90), $what); }

# Another run succeeds, and nobody asked for it.  The clock of schedules is stepped meanwhile.
sub goes_on
{
	my ($database, $what) = @_;
	my $last = $node->safe_psql($database, "SELECT COALESCE(max(run_id), 0) FROM jdysync.run");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_until(sub {
				value_of($node, q{SELECT jdy_test_clock(jdy_test_clock(NULL) + interval '1 s')});
				(($node->psql($database, "SELECT count(*) > 0 FROM jdysync.run WHERE run_id > $last AND status = 'ok'"))[1] // '') eq 't';
			}, $what, 90), $what);
}

# Returns the pid of a runner in the middle of a call that is not answered.
sub hang
{
	my ($database) = @_;
	my $pid;

	$sim->post('/_sim/fault', { kind => 'stall', path => $CUSTOMER, times => -1 });
	poll_until(sub { $node->safe_psql($database, "SELECT count(*) FROM jdy_progress WHERE waiting_for IS NOT NULL") eq '1' }, "a run in $database hangs");
	return value_of($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jdysync runner' AND datname = '$database'");
}

sub go_on { $sim->delete('/_sim/fault'); return; }
sub runners_of { my ($database) = @_; return value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jdysync%' AND datname = '$database'"); }

# With psql's own wait for an answer only: a statement that waits for our workers fails after 5 s.
sub works
{
	my ($sql, $what) = @_;
	my ($status, undef, $error) = $node->psql('postgres', $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($status == 0, $what) || diag($error);
}

$node->safe_psql('postgres', q{CREATE FUNCTION jdy_test_clock(timestamptz) RETURNS timestamptz AS 'jdysync' LANGUAGE C});
make('books');
$node->safe_psql('postgres', "CREATE ROLE stranger CREATEDB; CREATE ROLE keeper CREATEDB LOGIN");

subtest 'CREATE DATABASE … TEMPLATE' => sub {
	hang('books');
	works('CREATE DATABASE copy TEMPLATE books', 'a database is copied while its stream runs');
	go_on();
	goes_on('books', 'its schedule goes on');
	is($node->safe_psql('copy', 'SELECT status FROM jdy_status'), 'held', 'the copy is held');
	is($node->safe_psql('copy', "SELECT count(*) > 0 FROM jdysync.run WHERE status = 'ok'"), 't', 'with the runs of the original');
	my $runs = $node->safe_psql('copy', 'SELECT max(run_id) FROM jdysync.run');
	$node->reload;
	goes_on('books', 'while the original goes on') for 1 .. 2;
	is($node->safe_psql('copy', 'SELECT max(run_id) FROM jdysync.run'), $runs, 'it makes no run');
	is($node->safe_psql('copy', 'SELECT jdy_adopt()'), '1', 'until it is adopted');
	goes_on('copy', 'then it runs by itself, too');
	is($node->safe_psql('copy', 'SELECT jdy_adopt()'), '0', 'once');
	hang('copy');
	works('DROP DATABASE copy', 'and can be dropped while it does');
	go_on();
	goes_on('books', 'the original goes on');
};

subtest 'RENAME' => sub {
	hang('books');
	works('ALTER DATABASE books RENAME TO ledger', 'a database is renamed while its stream runs');
	go_on();
	goes_on('ledger', 'its schedule goes on under the new name');

	# In a transaction block the lock is kept.
	my $session = $node->background_psql('postgres');
	hang('ledger');
	$session->query_safe('BEGIN');
	$session->query_safe('ALTER DATABASE ledger RENAME TO books');
	go_on();
	is(runners_of('ledger') . runners_of('books'), '00', 'none of our workers is in it before the end of the transaction');
	is(value_of($node, q{SELECT count(*) FROM pg_locks WHERE NOT granted}), '0', 'nor waits for that');
	$session->query_safe('ROLLBACK');
	$session->quit;
	goes_on('ledger', 'rolled back: its schedule goes on');
	works('ALTER DATABASE ledger RENAME TO books', 'it gets its name again');
	goes_on('books', 'and goes on');
};

subtest 'SET TABLESPACE' => sub {
	my $directory = PostgreSQL::Test::Utils::tempdir();

	works("CREATE TABLESPACE elsewhere LOCATION '$directory'", 'another tablespace');
	hang('books');
	works('ALTER DATABASE books SET TABLESPACE elsewhere', 'a database is moved while its stream runs');
	go_on();
	goes_on('books', 'its schedule goes on there');
	works('ALTER DATABASE books SET TABLESPACE pg_default', 'and moved back');
};

subtest 'who may not do it stops nothing' => sub {
	my $pid = hang('books');

	for my $sql ('CREATE DATABASE mine TEMPLATE books', 'ALTER DATABASE books RENAME TO mine', 'ALTER DATABASE books SET TABLESPACE elsewhere', 'DROP DATABASE books')
	{
		my ($status, undef, $error) = $node->psql('postgres', "SET ROLE stranger; $sql");
		like($error, qr/permission denied|must be owner/, "$sql is refused");
	}
	is(value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), '1', 'the run goes on');
	works('ALTER DATABASE books IS_TEMPLATE true', 'what is a template');
	works('SET ROLE stranger; CREATE DATABASE mine TEMPLATE books', 'who may create databases may copy');
	works('ALTER DATABASE books IS_TEMPLATE false; DROP DATABASE mine', 'no more');
	go_on();
	goes_on('books', 'its schedule goes on');
};

subtest 'a DROP that fails' => sub {
	my $session = $node->background_psql('books');

	hang('books');
	my ($status, undef, $error) = $node->psql('postgres', 'DROP DATABASE books');
	like($error, qr/being accessed by other users/, 'somebody else is connected');
	like($error, qr/There is 1 other session/, 'our workers are not');
	go_on();
	$session->quit;
	goes_on('books', 'afterwards its schedule goes on');
};

# A database that nobody may connect to is looked at without connecting.
subtest 'closed, and opened again' => sub {
	make('other');
	works('ALTER DATABASE books ALLOW_CONNECTIONS false', 'nobody may connect');
	poll_until(sub { runners_of('books') eq '0' }, 'what was going on ends');
	my $log = -s $node->logfile;
	goes_on('other', 'while another goes on') for 1 .. 2;
	unlike(substr(slurp_file($node->logfile), $log), qr/not currently accepting/, 'nobody tries');
	works('ALTER DATABASE books ALLOW_CONNECTIONS true', 'opened again');
	goes_on('books', 'it goes on');

	works('ALTER DATABASE books ALLOW_CONNECTIONS false', 'closed');
	$node->restart;
	goes_on('other', 'over a restart');
	works('ALTER DATABASE books ALLOW_CONNECTIONS true', 'opened again');
	goes_on('books', 'it goes on, too');
	works('ALTER DATABASE books CONNECTION LIMIT 0', 'no connections');
	goes_on('books', 'are not ours');
	works('ALTER DATABASE books CONNECTION LIMIT -1', 'as many as you like');
};

subtest 'jdysync.databases' => sub {
	$node->safe_psql('postgres', q{ALTER SYSTEM SET jdysync.databases = 'other, annals'});
	$node->reload;
	becomes('books', "current_setting('jdysync.databases') = 'other, annals' AND NOT EXISTS (SELECT FROM jdysync.run WHERE status IN ('queued', 'running'))", 'one that is not listed comes to rest');
	my $runs = $node->safe_psql('books', 'SELECT max(run_id) FROM jdysync.run');
	goes_on('other', 'one that is listed goes on');
	is($node->safe_psql('books', 'SELECT max(run_id) FROM jdysync.run'), $runs, 'the other stays at rest');
	works('ALTER DATABASE books RENAME TO annals', 'it gets a name that is listed');
	goes_on('annals', 'and goes on');
	works('ALTER DATABASE annals RENAME TO books', 'its old name');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET jdysync.databases');
	$node->reload;
	goes_on('books', 'all are listed');
};

# An owner who is not a superuser needs CONNECT.
subtest 'an owner who may not connect' => sub {
	$node->safe_psql('other', 'REVOKE CONNECT ON DATABASE other FROM PUBLIC; ALTER TABLE jdysync.staging_customer OWNER TO keeper');
	becomes('other', "SELECT status = 'failing' AND why ~ 'not permitted to connect to this database' FROM jdy_status", 'jdy_status says so');
	becomes('other', 'SELECT failures >= 2 FROM jdysync.agenda', 'it backs off');
	my ($status, undef, $error) = $node->psql('other', "SELECT jdy_sync('customer')");
	like($error, qr/permission denied for database.*HINT:  GRANT CONNECT ON DATABASE/s, 'who calls it is told');
	unlike(slurp_file($node->logfile), qr/(?:permission denied for database.*){3}/s, 'the log is not');
	$node->safe_psql('other', 'ALTER TABLE jdysync.staging_customer OWNER TO CURRENT_USER');
	is(($node->psql('other', "SELECT status FROM jdy_sync('customer')"))[1], 'ok', 'another owner may');
	goes_on('other', 'and it goes on');
};

subtest 'nobody crashed, and the log stayed small' => sub {
	my $log = slurp_file($node->logfile);

	works('DROP DATABASE books', 'dropped');
	works('DROP DATABASE other', 'dropped');
	unlike($log, qr/terminated by signal|still waiting|max_worker_processes/, 'nothing bad happened');
	cmp_ok(scalar(() = $log =~ /due to administrator command/g), '<=', 40, 'a line for each worker that was stopped');
};

done_testing();
