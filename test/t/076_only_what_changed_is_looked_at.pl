# A push looks at records that may have changed since its last run, and at no others,
# where the source allows that; whoever wrote them, and however, none is overlooked.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyRuns;
use JdyTest;
use JdyTruth;
use PostgreSQL::Test::Cluster;
use Test::More;

my $sim = start_sim(customers => 300, set => {%NO_LIMITS});
my $node = pull_node('main', conf => "autovacuum = off\n");
my $url = $sim->url . '/target';
my $BATCH = '{"api":"batch","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":100,"rowsKey":"array"}}';

query($node, "CREATE SERVER target FOREIGN DATA WRAPPER jdysync OPTIONS (url '$url', auth 'bearer', concurrency '4', max_attempts '2', rate_window '100 ms', timeout '2 s')");
query($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER target OPTIONS (token 'push-token')");

# Records of the source that the last run looked at.
sub looked { return query($node, "SELECT listed FROM jdy_runs ORDER BY run_id DESC LIMIT 1"); }

# A push that looks at so many records and delivers so many; undef = however many.
sub pushes
{
	my ($name, $looked, $delivered, $what) = @_;
	my $run = push_ok($node, $name, $what);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(looked(), $looked, "$what: looks at") if defined $looked;
	is($run->{delivered}, $delivered, "$what: delivers") if defined $delivered;
	return $run;
}

# What the target holds is what the source shows.
sub arrived_all
{
	my ($name, $source, $what) = @_;
	my %there = map { ($_->{id} => $_->{payload}{name}) } grep { defined $_->{payload} } $sim->lines("/_sim/target/latest?path=/target/$name");
	my %right = map { split /\|/, $_, 2 } split /\n/, query($node, "SELECT id, name FROM $source");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_deeply(\%there, \%right, $what);
}

query($node, q{CREATE TABLE source (id text PRIMARY KEY, name text, n integer);
	INSERT INTO source SELECT 'c' || i, 'A' || i, i FROM generate_series(1, 10000) AS i;
	CREATE VIEW target AS SELECT id, upper(name) AS name, jsonb_build_object('n', n) AS more FROM source WHERE n IS NOT NULL});
query($node, "SELECT jdy_add_push('batch', 'target', 'target', '$BATCH')");
pushes('batch', 10000, 10000, 'a first push');

subtest 'what was written, by whomever' => sub {
	pushes('batch', 0, 0, 'nothing was written, no page is known to be seen by all');
	query($node, q{UPDATE source SET name = 'B1' WHERE id = 'c1'; INSERT INTO source VALUES ('d1', 'd', 0)});
	pushes('batch', 2, 2, 'an update and an insert');
	query($node, 'VACUUM source');
	pushes('batch', 0, 0, 'after VACUUM');
	query($node, q{UPDATE source SET name = 'C' || n WHERE n IN (7, 5000)});
	pushes('batch', 2, 2, 'two updates');
	query($node, q{UPDATE source SET name = 'C2' || n WHERE n IN (7, 5000)});
	pushes('batch', 2, 2, 'the same again, on pages here and there that have no bit any more');
	query($node, q{UPDATE source SET name = 'D7' WHERE n = 7});
	query($node, 'VACUUM (FREEZE) source');
	pushes('batch', 1, 1, 'an update that was frozen since');
	query($node, q{UPDATE source SET n = n WHERE n = 8});
	pushes('batch', 1, 0, 'an update that changes nothing');
	query($node, q{UPDATE source SET n = NULL WHERE id = 'd1'; DELETE FROM source WHERE id = 'c9'});
	pushes('batch', 0, 0, 'rows that left the view');
	query($node, q{UPDATE source SET n = 0 WHERE id = 'd1'});
	pushes('batch', 1, 0, 'one that came back as it was');
	query($node, q{BEGIN; SAVEPOINT s; UPDATE source SET name = 'E10' WHERE n = 10; RELEASE s; SAVEPOINT s; UPDATE source SET name = 'no' WHERE n = 11; ROLLBACK TO s; COMMIT});
	pushes('batch', 1, 1, 'a savepoint that was kept and one that was not');
	query($node, q{INSERT INTO source SELECT 'e' || i, 'e', i FROM generate_series(1, 1000) i});
	pushes('batch', 1000, 1000, 'a thousand new rows');
	arrived_all('batch', "target WHERE id <> 'c9' UNION ALL SELECT 'c9', 'A9'", 'the target holds what was shown');
};

subtest 'transactions that were open while a push looked' => sub {
	my @open = map { $node->background_psql('postgres') } 1 .. 2;

	$open[0]->query_safe(q{BEGIN; UPDATE source SET name = 'F20' WHERE n = 20 AND id LIKE 'c%'});
	$open[1]->query_safe(q{BEGIN; SAVEPOINT s; UPDATE source SET name = 'F21' WHERE n = 21 AND id LIKE 'c%'; RELEASE s});
	query($node, q{UPDATE source SET name = 'F22' WHERE id = 'c22'});
	pushes('batch', undef, 1, 'while they are open');
	pushes('batch', undef, 0, 'and again');
	query($node, q{UPDATE source SET name = 'F23' WHERE id = 'c23'});
	$open[0]->query_safe('COMMIT');
	pushes('batch', undef, 2, 'when one is committed');
	query($node, 'VACUUM source');
	$open[1]->query_safe('COMMIT');
	query($node, 'VACUUM source');
	pushes('batch', undef, 1, 'when the other is, and VACUUM was faster');
	pushes('batch', 0, 0, 'then');
	$_->quit for @open;
	arrived_all('batch', "target WHERE id <> 'c9' UNION ALL SELECT 'c9', 'A9'", 'the target holds what was shown');
};

subtest 'after a run that failed, after a crash' => sub {
	query($node, q{UPDATE source SET name = 'G30' WHERE id = 'c30'});
	$sim->post('/_sim/fault', { kind => 'status', status => 503, path => '/target/', times => -1 });
	is(push_row($node, 'batch')->{status} // 'error', 'error', 'a push to a target that is down fails');
	query($node, q{UPDATE source SET name = 'G31' WHERE id = 'c31'});
	$node->stop('immediate');
	$node->start;
	$sim->delete('/_sim/fault');
	pushes('batch', undef, 2, 'the next one finds what it did not deliver');
	pushes('batch', 0, 0, 'then');

	$sim->post('/_sim/target/poison', { ids => ['c40'] });
	query($node, q{UPDATE source SET name = 'G40' WHERE id = 'c40'});
	is(pushes('batch', 1, 0, 'a record that is refused')->{dead}, 1, 'is a dead letter');
	pushes('batch', 0, 0, 'it is left alone');
	query($node, q{UPDATE source SET name = 'A40' WHERE id = 'c40'});
	pushes('batch', 1, 0, 'it went back to what was delivered');
	is(query($node, "SELECT count(*) FROM jdy_deliveries WHERE push = 'batch' AND status = 'dead'"), '0', 'nobody need look at it');
	query($node, q{UPDATE source SET name = 'H40' WHERE id = 'c40'});
	pushes('batch', 1, 0, 'refused again');
	$sim->post('/_sim/target/poison', { ids => [] });
	query($node, "SELECT jdy_replay('batch')");
	pushes('batch', 1, 1, 'jdy_replay');
	arrived_all('batch', "target WHERE id <> 'c9' UNION ALL SELECT 'c9', 'A9'", 'the target holds what was shown');
};

# An old version is refused while the newer one waits for it: the newer one must not be forgotten.
subtest 'a record that was held back' => sub {
	query($node, q{CREATE TABLE held (id text PRIMARY KEY, name text); INSERT INTO held SELECT 'h' || i, 'A' FROM generate_series(1, 30) AS i});
	query($node, q{SELECT jdy_add_push('held', 'target', 'held', '{"api":"held","effect":"EXECUTE"}')});
	pushes('held', 30, 30, 'a first push');
	query($node, q{UPDATE held SET name = 'B' WHERE id = 'h1'});
	$sim->post('/_sim/fault', { kind => 'reset', path => '/target/', times => 2 });
	push_row($node, 'held');
	query($node, q{UPDATE held SET name = 'C' WHERE id IN ('h1', 'h2')});
	$sim->post('/_sim/fault', { kind => 'status', status => 404, path => '/target/', times => 1 });
	is(push_row($node, 'held')->{dead}, 1, 'the old version is refused like a wrong path');
	pushes('held', undef, 1, 'the next push');
	arrived_all('held', 'held', 'sends the newer one');
	query($node, "SELECT jdy_drop_push('held')");
};

subtest 'another view, another table, another server' => sub {
	my $all = query($node, 'SELECT count(*) FROM target');

	pushes('batch', 0, 0, 'before');
	query($node, q{CREATE OR REPLACE VIEW target AS SELECT id, lower(name) AS name, jsonb_build_object('n', n) AS more FROM source WHERE n IS NOT NULL});
	query($node, "SELECT jdy_resume('batch', force => true)");
	pushes('batch', $all, $all, 'an expression of the view changed');
	query($node, 'ALTER VIEW target RENAME COLUMN more TO other');
	query($node, "SELECT jdy_resume('batch', force => true)");
	pushes('batch', $all, $all, 'a column got another name');
	pushes('batch', 0, 0, 'nothing changed');
	for my $rewrite ('VACUUM FULL source', 'CLUSTER source USING source_pkey', 'CREATE TABLE copy AS TABLE source; TRUNCATE source; INSERT INTO source TABLE copy')
	{
		query($node, $rewrite);
		query($node, q{UPDATE source SET name = 'i' || clock_timestamp() WHERE id = 'c50'});
		pushes('batch', undef, 1, "after $rewrite");
	}
	pushes('batch', 0, 0, 'nothing changed');
	query($node, "ALTER SERVER target OPTIONS (ADD time_zone 'Asia/Tokyo')");
	pushes('batch', $all, 0, 'the time zone of the server changed');
	query($node, "SELECT jdy_alter_push('batch', batch_rows => 50)");
	pushes('batch', $all, 0, 'the push was altered');

	# A view that anything may change; some of it arrives, then the old one is back, to the letter.
	my $view = q{CREATE OR REPLACE VIEW target AS SELECT id, lower(name) AS name, jsonb_build_object('n', n) AS other FROM source WHERE n IS NOT NULL};
	query($node, $view);
	pushes('batch', $all, 0, 'the same view in other words');
	pushes('batch', 0, 0, 'nothing changed');
	query($node, q{CREATE OR REPLACE VIEW target AS SELECT id, name || (current_user::text COLLATE "default") AS name, jsonb_build_object('n', n) AS other FROM source WHERE n IS NOT NULL});
	query($node, "SELECT jdy_resume('batch', force => true)");
	$sim->post('/_sim/fault', { kind => 'status', status => 503, path => '/target/', after => 20, times => -1 });
	push_row($node, 'batch');
	$sim->delete('/_sim/fault');
	query($node, $view);
	query($node, "SELECT jdy_resume('batch', force => true)");
	push_ok($node, 'batch', 'the old view again');
	arrived_all('batch', "target WHERE id <> 'c9' UNION ALL SELECT 'c9', 'A9'", 'the target holds what the old view shows');
};

# Sources of which one row of one table does not tell all are read as a whole, each time.
my %whole = (
	'the time' => 'SELECT id, name, now() AS at FROM base',
	'a join' => 'SELECT b.id, b.name FROM base b JOIN side s USING (id)',
	'a subquery' => 'SELECT id, (SELECT max(name) FROM side) AS name FROM base',
	'a condition with a subquery' => 'SELECT id, name FROM base WHERE id IN (SELECT id FROM side)',
	'an aggregate' => 'SELECT id, max(name) AS name FROM base GROUP BY id',
	'a window' => 'SELECT id, name, rank() OVER (ORDER BY id) FROM base',
	'a limit' => 'SELECT id, name FROM base ORDER BY id LIMIT 5',
	'an array unrolled' => q{SELECT id || '-' || e AS id, e AS name FROM base, unnest(ARRAY[name]) e},
	'an expression as id' => 'SELECT lower(id) AS id, name FROM base',
	'a column without an index as id' => 'SELECT name AS id, id AS name FROM base',
	'a function of somebody' => 'SELECT id, label(name) AS name FROM base',
	'a setting' => q{SELECT id, current_setting('application_name') AS name FROM base},
	'a type of somebody' => 'SELECT id, name::mood AS name FROM base',
	'names that oids stand for' => q{SELECT id, jsonb_build_object('owner', owner) AS name FROM owned},
	'ids that are cast otherwise than they are printed' => 'SELECT id, name FROM addresses',
	'ids that are blank-padded' => 'SELECT id, name FROM padded',
	'a type of somebody in a function' => 'SELECT id, to_json(mood) AS name FROM base',
	'a constant of such a type' => q{SELECT id, concat(name, 'B'::mood) AS name FROM base},
	'a row with such a type' => 'SELECT id, row_to_json(base) AS name FROM base',
	'such a type in a subquery' => 'SELECT id, (SELECT jsonb_agg(e) FROM (VALUES (mood)) v(e)) AS name FROM base',
	'partitions' => 'SELECT id, name FROM parted',
	'children' => 'SELECT id, name FROM parent',
	'unlogged rows' => 'SELECT id, name FROM unlogged',
	'row security' => 'SELECT id, name FROM secured');
query($node, q{
	CREATE TYPE mood AS ENUM ('A', 'B');
	CREATE TABLE base (id text PRIMARY KEY, name text UNIQUE);
	ALTER TABLE base DROP CONSTRAINT base_name_key;
	INSERT INTO base SELECT 'b' || i, 'A' FROM generate_series(1, 3) AS i;
	CREATE TABLE owned (id text PRIMARY KEY, owner regrole);
	INSERT INTO owned VALUES ('o1', 'pg_monitor'), ('o2', 'pg_monitor');
	CREATE TABLE addresses (id inet PRIMARY KEY, name text);
	INSERT INTO addresses VALUES ('10.0.0.1', 'A'), ('10.0.0.2', 'A');
	CREATE TABLE padded (id char(8) PRIMARY KEY, name text);
	INSERT INTO padded VALUES ('p1', 'A'), ('p2', 'A');
	CREATE TABLE side AS TABLE base;
	CREATE FUNCTION label(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
	CREATE TABLE parted (id text PRIMARY KEY, name text) PARTITION BY HASH (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
	CREATE TABLE parent (id text PRIMARY KEY, name text);
	CREATE TABLE child () INHERITS (parent);
	CREATE UNLOGGED TABLE unlogged (id text PRIMARY KEY, name text);
	CREATE TABLE secured (id text PRIMARY KEY, name text);
	ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
	INSERT INTO parted TABLE base; INSERT INTO child TABLE base; INSERT INTO unlogged TABLE base; INSERT INTO secured TABLE base;
	ALTER TABLE base ADD COLUMN mood mood DEFAULT 'A'});
for my $kind (sort keys %whole)
{
	query($node, "UPDATE base SET name = id" ) if $kind eq 'a column without an index as id';
	query($node, "CREATE VIEW whole AS $whole{$kind}");
	query($node, "SELECT jdy_add_push('whole', 'target', 'whole', '$BATCH')");
	push_ok($node, 'whole', "$kind: a push");
	my $first = looked();
	query($node, 'UPDATE addresses SET name = name || id; UPDATE padded SET name = name || id');
	push_ok($node, 'whole', "$kind: another push");
	is(looked(), $first, "$kind: all of it is read again");
	cmp_ok($first, '>', 0, "$kind: which is something");
	query($node, "SELECT jdy_drop_push('whole'); DROP VIEW whole");
	query($node, "UPDATE base SET name = 'A'") if $kind eq 'a column without an index as id';
}

# Sources that are followed, each in its way.
query($node, q{
	CREATE TABLE numbered (no bigint PRIMARY KEY, name text, at timestamptz DEFAULT now(), born date DEFAULT current_date);
	INSERT INTO numbered SELECT i, 'A' FROM generate_series(1, 30) AS i;
	CREATE VIEW below AS SELECT no, name, at, born FROM numbered WHERE name <> '';
	CREATE VIEW followed AS SELECT no, concat(name, '!') AS name, to_char(at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD') AS day, born::text AS born FROM below ORDER BY name;
	CREATE MATERIALIZED VIEW kept AS SELECT no::text AS id, name FROM numbered;
	CREATE UNIQUE INDEX ON kept (id)});
query($node, q{SELECT jdy_add_push('followed', 'target', 'followed', '{"api":"followed","effect":"EXECUTE","id":"no","request":[
	{"field":"id","value":"{{no}}"},{"field":"name","value":"{{name}} {{day|datetime}}"}]}')});
query($node, q{SELECT jdy_add_push('kept', 'target', 'kept', '{"api":"kept","effect":"EXECUTE"}')});
pushes('followed', 30, 30, 'a view on a view, numbers as ids, a template');
query($node, "UPDATE numbered SET name = 'B' WHERE no = 3");
pushes('followed', 1, 1, 'one change');
query($node, q{SELECT jdy_alter_push('followed', metadata => '{"api":"followed","effect":"EXECUTE","id":"no","request":[{"field":"id","value":"_function {{no}}::int + 0"}]}')});
pushes('followed', 30, 30, 'an expression in the template');
pushes('followed', 30, 0, 'is evaluated each time');
pushes('kept', 30, 30, 'a materialized view');
pushes('kept', 0, 0, 'not refreshed');
query($node, 'REFRESH MATERIALIZED VIEW CONCURRENTLY kept');
pushes('kept', 1, 1, 'refreshed row by row');
query($node, "UPDATE numbered SET name = 'C' WHERE no = 4; REFRESH MATERIALIZED VIEW kept");
pushes('kept', 30, 1, 'refreshed as a whole');

# An enumeration's labels change without any row being written; a domain has no looks of its own.
query($node, q{
	CREATE DOMAIN label AS text CHECK (value <> '');
	CREATE TABLE felt (id text PRIMARY KEY, label label, mood mood);
	INSERT INTO felt SELECT i, 'A', 'A' FROM generate_series(1, 30) AS i;
	CREATE VIEW unfelt AS SELECT id, label::text AS label, jsonb_build_object('label', label) AS more FROM felt;
	CREATE VIEW counted AS SELECT no AS id, row_to_json(numbered)::text AS name,
		(SELECT array_agg(n ORDER BY n) FROM (SELECT count(*) AS n FROM unnest(string_to_array(name, ' ')) w GROUP BY length(w)) c) AS words FROM numbered});
query($node, qq{SELECT jdy_add_push('$_', 'target', '$_', '{"api":"$_","effect":"EXECUTE"}')}) for qw(felt unfelt counted);
pushes($_, 30, 30, "$_: a first push") for qw(felt unfelt counted);
query($node, q{ALTER TYPE mood RENAME VALUE 'A' TO 'a'});
pushes('felt', 30, 30, 'a label got another name');
pushes('felt', 30, 0, 'a table with a type of somebody is read each time');
pushes('unfelt', 0, 0, 'a view without that column');
pushes('counted', 0, 0, 'groups of what the row itself has, a whole row');
query($node, "UPDATE numbered SET name = 'D D' WHERE no = 5");
pushes('counted', 1, 1, 'one change');

SKIP: {
	skip 'columns that are generated when read came with PostgreSQL 18', 1 if $node->pg_version->major < 18;
	query($node, q{CREATE TABLE made (id text PRIMARY KEY, name text, made text GENERATED ALWAYS AS (name || '!') VIRTUAL);
		INSERT INTO made SELECT i, 'A' FROM generate_series(1, 30) AS i});
	query($node, q{SELECT jdy_add_push('made', 'target', 'made', '{"api":"made","effect":"EXECUTE"}')});
	pushes('made', 30, 30, 'a generated column');
	pushes('made', 0, 0, 'nothing was written');
	query($node, q{ALTER TABLE made ALTER COLUMN made SET EXPRESSION AS (name || '?')});
	pushes('made', 30, 30, 'it is generated in another way, which writes to no page');
	pushes('made', 0, 0, 'nothing was written');
}

# A push that deletes must see what is gone.
query($node, q{CREATE TABLE goods (id text PRIMARY KEY, name text); INSERT INTO goods SELECT 'g' || i, 'A' FROM generate_series(1, 40) AS i});
query($node, q{SELECT jdy_add_push('goods', 'target', 'goods', '{"api":"goods","effect":"EXECUTE","operation":{"method":"batchArraySave","rowsKey":"array"},
	"delete":{"method":"POST","api":"gone","body":{"id":"{{id}}"}}}')});
pushes('goods', 40, 40, 'a push that deletes');
query($node, 'VACUUM goods');
pushes('goods', 40, 0, 'VACUUM wrote to the map');
pushes('goods', 0, 0, 'nothing was written');
query($node, q{DELETE FROM goods WHERE id IN ('g3', 'g5')});
pushes('goods', 38, 2, 'two rows are gone');
is_deeply([ sort map { $_->{id} } $sim->lines('/_sim/target/latest?path=/target/gone') ], [qw(g3 g5)], 'they are deleted');
query($node, q{INSERT INTO goods VALUES ('g3', 'A')});
pushes('goods', 39, 1, 'one comes back');
query($node, q{DELETE FROM goods WHERE id = 'g3'});
pushes('goods', 38, 1, 'and goes again');

# 32,672 pages have their bits in one page of the map: rows beyond are gone with the map's second page.
query($node, q{CREATE TABLE wide (id int PRIMARY KEY, name text, pad text) WITH (fillfactor = 10);
	ALTER TABLE wide ALTER pad SET STORAGE PLAIN;
	INSERT INTO wide SELECT i, 'A', repeat('x', 800) FROM generate_series(1, 34000) AS i;
	CREATE VIEW narrow AS SELECT id, name FROM wide});
query($node, 'VACUUM wide');
query($node, q{SELECT jdy_add_push('narrow', 'target', 'narrow', '{"api":"narrow","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":10000,"rowsKey":"array"},
	"delete":{"method":"POST","api":"narrow/gone","body":{"id":"{{id}}"}}}', batch_rows => 10000)});
pushes('narrow', 34000, 34000, 'a large table');
query($node, 'DELETE FROM wide WHERE id > 32672');
query($node, 'VACUUM wide');
is(query($node, "SELECT pg_relation_size('wide') / 8192"), '32672', 'VACUUM cuts off its end');
query($node, "SELECT jdy_resume('narrow', force => true)");
pushes('narrow', 32672, 1328, 'what stood there is deleted at the target');
query($node, "SELECT jdy_drop_push('narrow'); DROP TABLE wide CASCADE");

# Many records share a row of what was delivered first, up to a number that must be known even when few are looked at.
query($node, q{CREATE TABLE many (id text PRIMARY KEY, name text); INSERT INTO many SELECT 'm' || i, 'A' FROM generate_series(1, 20) AS i});
query($node, "SELECT jdy_add_push('many', 'target', 'many', '$BATCH')");
query($node, q{INSERT INTO jdysync.delivered (push_id, first_id, last_id, ids, digests)
	SELECT push_id, 'a', 'b', array_fill('a' || g, ARRAY[512]), decode(repeat('00', 512 * 16), 'hex') FROM jdysync.push, generate_series(1, 4000) g WHERE name = 'many'});
pushes('many', 20, 20, 'a push that has two millions behind it');
query($node, q{INSERT INTO many SELECT 'n' || i, 'A' FROM generate_series(1, 20) AS i});
pushes('many', 20, 20, 'more of them');
is(query($node, q{SELECT count(*) FROM jdysync.delivered JOIN jdysync.push USING (push_id) WHERE name = 'many'}), '4000', 'get rows of their own');
query($node, "SELECT jdy_drop_push('many')");

# From the source to the target, through the views that a stream comes with.
add_stream($node, 'customer', settle => "'500 ms'");
sync_ok($node, 'customer', 'a first load');
query($node, q{SELECT jdy_create_view('clean', 'customer', '{"id":"id","name":"{{number}} {{name}}","city":"{{city_name}}","phones":"bomentity[*].mobile","limit":{"column":"credit_limit","as":"numeric"},"at":{"column":"modify_time","as":"timestamptz"}}')});
query($node, "SELECT jdy_add_push('clean', 'target', 'clean', '$BATCH')");
query($node, "SELECT jdy_add_push('typed', 'target', 'jdy_customer', '$BATCH')");
pushes('clean', 300, 300, 'customers');
pushes('typed', 300, 300, 'customers, typed');
sync_ok($node, 'customer', 'a run without changes');
pushes('clean', 0, 0, 'customers');
$sim->post('/_sim/change', { op => 'update', count => 4 });
$sim->post('/_sim/change', { op => 'insert', count => 2 });
sync_ok($node, 'customer', 'a run after changes');
pushes('clean', 6, 6, 'customers');
pushes('typed', 6, 6, 'customers, typed');
$sim->post('/_sim/change', { op => 'update', count => 3 });
sync_ok($node, 'customer', 'a run after changes');
query($node, 'VACUUM jdysync.staging_customer');
pushes('typed', undef, 3, 'customers, typed, after VACUUM');

done_testing();
