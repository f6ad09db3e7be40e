# A mapping becomes a plain SQL view that holds what is true at the source, follows every
# change, and needs nothing but a SELECT of whoever reads it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JdyTest;
use JdyTruth;
use Test::More;

my $sim = start_sim(customers => 240, suppliers => 60, materials => 60, orders => 60, set => {%NO_LIMITS});
my $node = pull_node('main');

# What differs between a view's rows and what $sql makes of the truth t(id, number, data): '' or up to 3 rows.
sub view_differences
{
	my ($view, $entity, $sql) = @_;
	my $truth = truth($sim, entity => $entity);

	$truth .= "\n" if $truth !~ /\n\z/;
	return query($node, qq{
CREATE TEMP TABLE truth_line (line jsonb);
COPY truth_line FROM STDIN WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');
$truth\\.
WITH t AS (SELECT line->>'id' AS id, line->>'number' AS number, line->'data' AS data FROM truth_line),
	should AS (SELECT to_jsonb(x) AS r FROM ($sql) x), is_there AS (SELECT to_jsonb(v) - 'synced_at' AS r FROM $view v)
SELECT 'missing', r FROM (TABLE should EXCEPT ALL TABLE is_there) a
UNION ALL SELECT 'extra', r FROM (TABLE is_there EXCEPT ALL TABLE should) b LIMIT 3});
}

sub holds_truth
{
	my ($view, $entity, $sql, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(view_differences($view, $entity, $sql), '', $what);
}

for my $entity (qw(customer supplier material sal_order))
{
	add_stream($node, $entity);
	sync_ok($node, $entity, "$entity: first load");
}

# ---------------------------------------------------------------------------
# The two mappings of the manual.
# ---------------------------------------------------------------------------
my %should = (
	customer_clean => q{SELECT id, id AS customer_id, data->>'name' AS customer_name, number AS customer_number FROM t},
	customer_places => q{SELECT id, jsonb_build_object('province', data->'province_name') AS location FROM t});

is(query($node, q{SELECT jdy_create_view('customer_clean', 'customer',
	'{"customer_id":"id","customer_number":"number","customer_name":"name"}')}), 'customer_clean', 'plain columns');
is(query($node, q{SELECT jdy_create_view('customer_places', 'customer',
	'{"id":"{{id}}","location":{"province":"{{province_name}}"}}')}), 'customer_places', 'a nested template');
holds_truth($_, 'customer', $should{$_}, "$_ holds the truth") for sort keys %should;
is(query($node, 'SELECT count(DISTINCT id) FROM customer_clean'), '240', 'every customer is there once');

# ---------------------------------------------------------------------------
# A view is a view: what changes at the source shows in it after the next run.
# ---------------------------------------------------------------------------
$sim->post('/_sim/change', { op => 'insert', count => 3 });
$sim->post('/_sim/change', { op => 'update', count => 5 });
isnt(view_differences('customer_clean', 'customer', $should{customer_clean}), '', 'before the run it is behind');
sync_ok($node, 'customer', 'a run after changes');
holds_truth($_, 'customer', $should{$_}, "$_ follows") for sort keys %should;

# ---------------------------------------------------------------------------
# The views that a stream comes with: every field that the service sends, in its type.
# ---------------------------------------------------------------------------
my %cast = (
	text => q{NULLIF(%s->>'%s', '')},
	jsonb => q{NULLIF(%s->'%s', '""')},
	numeric => q{NULLIF(%s->>'%s', '')::numeric},
	integer => q{NULLIF(%s->>'%s', '')::integer},
	boolean => q{NULLIF(%s->>'%s', '')::boolean},
	date => q{NULLIF(%s->>'%s', '')::date},
	timestamptz => q{NULLIF(%s->>'%s', '')::timestamp AT TIME ZONE 'Asia/Shanghai'});

# The columns of an entry's view as they should be, made of jsonb $from.
sub columns
{
	my ($entry, $array, $from) = @_;
	my $of = $array ? "= '$array'" : 'IS NULL';

	return join ', ', map {
		my ($field, $type) = split /\|/;
		sprintf("$cast{$type} AS \"%s\"", $from, $field, $array && $field eq 'id' ? 'entry_id' : $field);
	} split /\n/, query($node, qq{SELECT field, "as" FROM jdysync.catalog_field WHERE entry = '$entry' AND entry_of $of ORDER BY place});
}

for my $entity (qw(customer supplier material sal_order))
{
	holds_truth("jdy_$entity", $entity, 'SELECT ' . columns($entity, undef, 'data') . ' FROM t', "jdy_$entity holds the truth");
	is( query($node, qq{SELECT string_agg(DISTINCT k, ',') FROM jdysync.staging_$entity s, jsonb_object_keys(data) k
		WHERE NOT EXISTS (SELECT FROM jdysync.catalog_field f WHERE f.entry = '$entity' AND f.entry_of IS NULL AND f.field = k)}),
		'', 'and has every field that came');
	is( query($node, qq{SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 'jdy_$entity'::regclass AND attnum > 0
		AND attname NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = 'jdy_${entity}_masked'::regclass)}), '', 'the masked view has the same columns');
}
holds_truth('jdy_sal_order_entry', 'sal_order',
	q{SELECT concat(t.id, '-', l->>'id') AS id, t.id AS record_id, t.number AS record_number, } . columns('sal_order', 'material_entity', 'l')
	  . q{ FROM t, jsonb_array_elements(data->'material_entity') l}, 'jdy_sal_order_entry holds the truth');
is(query($node, q{SELECT bool_and(o.all_amount = l.amount) FROM jdy_sal_order o JOIN (SELECT record_id, sum(all_amount) AS amount FROM jdy_sal_order_entry GROUP BY 1) l ON l.record_id = o.id}),
	't', 'and lines add up to their order');

# A reader of the masked view alone learns nothing that the service encrypts.
query($node, 'CREATE ROLE reader; GRANT SELECT ON jdy_customer_masked, jdy_supplier_masked, jdy_sal_order_masked TO reader');
my %hidden = (
	customer => q{SELECT unnest(ARRAY[data->>'addr', data->>'bank_account', data->>'invoice_phone']) FROM jdysync.staging_customer
		UNION SELECT b.value FROM jdysync.staging_customer, jsonb_array_elements(data->'bomentity') c, jsonb_each_text(c) b WHERE b.key IN ('birthday', 'contact_address', 'email', 'mobile', 'phone', 'qq', 'wechat')},
	supplier => q{SELECT data->>'bank_account' FROM jdysync.staging_supplier UNION SELECT unnest(ARRAY[a->>'income_acc_no', a->>'income_bank_code']) FROM jdysync.staging_supplier, jsonb_array_elements(data->'accountentity') a
		UNION SELECT b.value FROM jdysync.staging_supplier, jsonb_array_elements(data->'bomentity') c, jsonb_each_text(c) b WHERE b.key IN ('birthday', 'contact_address', 'email', 'mobile', 'phone', 'qq', 'wechat')},
	sal_order => q{SELECT unnest(ARRAY[data->>'contact_address', data->>'contact_phone']) FROM jdysync.staging_sal_order});

for my $entity (sort keys %hidden)
{
	# taxpayer_no and a supplier's addr are not encrypted and may be the same text.
	my $seen = query($node, "SET ROLE reader; SELECT string_agg((to_jsonb(v) - 'taxpayer_no' - '{addr}'::text[])::text, E'\n') FROM jdy_${entity}_masked v");
	my @secrets = grep { length > 4 } split /\n/, query($node, $hidden{$entity});

	cmp_ok(scalar @secrets, '>', 50, "$entity has secrets");
	is(join(' ', grep { index($seen, $_) >= 0 } @secrets), '', 'of which a reader of the masked view sees none');
}
is(query($node, q{SELECT count(*) FROM jdy_customer_masked m JOIN jdy_customer c USING (id)
	WHERE m.bomentity->0->>'mobile' IS DISTINCT FROM left(c.bomentity->0->>'mobile', 3) || '***' || right(c.bomentity->0->>'mobile', 2)}), '0', 'but how a phone begins and ends');
($node->psql('postgres', 'SET ROLE reader; SELECT * FROM jdy_customer'))[0] == 0 and fail('the reader of one view reads another');

# ---------------------------------------------------------------------------
# Conditions, types, nested documents.
# ---------------------------------------------------------------------------
query($node, q{SELECT jdy_create_view('customer_push', 'customer', '{
	"title":"{{number}} {{name}}", "credit":{"column":"credit_limit","as":"numeric"}, "enabled":{"column":"enable","as":"boolean"},
	"modified":{"column":"modify_time","as":"timestamptz"}, "mobiles":"bomentity[*].mobile",
	"doc":{"no":"{{number}}","contact":{"name":"{{bomentity.0.contact_person}}","mobile":"{{bomentity.0.mobile}}"},"tags":["{{group_name}}","x"]},
	"$where":[[{"field":"enable","logic":"eq","value":"1"},{"field":"credit_limit","logic":"gt","value":100}],[{"field":"bomentity.0.mobile","logic":"isnull"}]]}')});
holds_truth('customer_push', 'customer', q{
	SELECT id, concat(number, ' ', data->>'name') AS title, (data->>'credit_limit')::numeric AS credit, data->>'enable' = '1' AS enabled,
		(data->>'modify_time')::timestamp AT TIME ZONE 'Asia/Shanghai' AS modified,
		(SELECT COALESCE(jsonb_agg(b->'mobile' ORDER BY n), '[]') FROM jsonb_array_elements(data->'bomentity') WITH ORDINALITY x(b, n)) AS mobiles,
		jdy_render('{"no":"{{number}}","contact":{"name":"{{bomentity.0.contact_person}}","mobile":"{{bomentity.0.mobile}}"},"tags":["{{group_name}}","x"]}', data) AS doc
	FROM t WHERE (data->>'enable' = '1' AND (data->>'credit_limit')::numeric > 100) OR COALESCE(data->'bomentity'->0->>'mobile', '') = ''},
	'conditions, types and documents');
cmp_ok(query($node, 'SELECT count(*) FROM customer_push'), '>', 10, 'of more than a few customers');

# ---------------------------------------------------------------------------
# Line items: one row each, with ids that stay when lines move.
# ---------------------------------------------------------------------------
query($node, q{SELECT jdy_create_view('order_line', 'sal_order', '{"$flat":"material_entity","order_id":"id","bill_no":"bill_no",
	"material":"material_entity.material_number","qty":{"column":"material_entity.qty","as":"numeric"},"price":{"column":"material_entity.price","as":"numeric"}}')});
holds_truth('order_line', 'sal_order', q{
	SELECT concat(id, '-', l->>'id') AS id, (l->>'qty')::numeric AS qty, (l->>'price')::numeric AS price, data->>'bill_no' AS bill_no, l->>'material_number' AS material, id AS order_id
	FROM t, jsonb_array_elements(data->'material_entity') l}, 'line items');
is(query($node, 'SELECT count(*) = count(DISTINCT id) AND count(DISTINCT order_id) = 60 FROM order_line'), 't', 'each has its own id');

# ---------------------------------------------------------------------------
# Deleted records are left out, those without their detail, too.
# ---------------------------------------------------------------------------
query($node, q{SELECT jdy_create_view('with_deleted', 'customer', '{"$deleted":true,"number":"number"}')});
my ($gone, $bare) = split /\n/, query($node, 'SELECT id FROM customer_clean ORDER BY id LIMIT 2');
query($node, "UPDATE jdysync.staging_customer SET deleted_at = now() WHERE id = '$gone'; UPDATE jdysync.staging_customer SET detailed_at = NULL WHERE id = '$bare'");
is(query($node, "SELECT count(*) FILTER (WHERE id = '$gone'), count(*) FILTER (WHERE id = '$bare') FROM customer_clean"), '0|0', 'neither is in a view');
is(query($node, "SELECT count(*) FILTER (WHERE id = '$gone'), count(*) FILTER (WHERE id = '$bare') FROM with_deleted"), '1|0', '$deleted keeps what was deleted');

# ---------------------------------------------------------------------------
# It is remembered over a dump: the copy can make it again.
# ---------------------------------------------------------------------------
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'a dump');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $file ], 'is restored');
is($node->safe_psql('copy', 'SELECT count(*) FROM customer_push'), query($node, 'SELECT count(*) FROM customer_push'), 'with its views');
is($node->safe_psql('copy', q{SELECT jdy_create_view('customer_clean', 'customer', '{"customer_id":"id","customer_number":"name"}')}), 'customer_clean',
	'and the copy knows which of them it may replace');

# ---------------------------------------------------------------------------
# A stream is not dropped with its table under a view that people read.
# ---------------------------------------------------------------------------
my ($status, $out, $err) = $node->psql('postgres', "SELECT jdy_drop_stream('customer', false)");
like($err, qr/depends on table jdysync.staging_customer/, 'the views are named');
query($node, "SELECT jdy_drop_stream('customer')");
is(query($node, 'SELECT count(*) FROM customer_places'), '241', 'with the table kept they stay');
is(query($node, q{SELECT to_regclass('jdy_customer'), to_regclass('jdy_customer_masked')}), '|', 'and the stream took its own with it');
add_stream($node, 'customer');
is(query($node, q{SELECT jdy_create_view('customer_clean', 'customer', '{"name":"name"}')}), 'customer_clean', 'and can be made again when the stream is back');
is(query($node, 'SELECT count(*) FROM jdy_customer'), '241', 'with its own');

done_testing();
