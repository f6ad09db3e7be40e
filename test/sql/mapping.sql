/* A mapping becomes the view that a careful person would have written. */

CREATE SERVER mapping_server FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER mapping_server
	OPTIONS (client_id 'i', client_secret 's', outer_instance_id '1');
SET client_min_messages = warning;
CREATE SCHEMA regress_mapping;
SET search_path = regress_mapping, public;
SELECT public.jdy_add_stream('map_customer', 'mapping_server', entry => 'customer');
SELECT public.jdy_add_stream('map_order', 'mapping_server', entry => 'sal_order');
SELECT public.jdy_add_stream('map_names', 'mapping_server', entry => 'customer', detail => false);
INSERT INTO jdysync.staging_map_customer (id, number, data, modified_at, detailed_at, synced_at, run_id, deleted_at)
SELECT d->>'id', d->>'number', d, '2025-12-01 10:20:30+08', CASE WHEN d->>'number' <> 'KH04' THEN '2025-12-01 10:30+08'::timestamptz END, '2025-12-01 10:30+08', 1,
	CASE WHEN d->>'number' = 'KH05' THEN '2025-12-01 11:00+08'::timestamptz END
FROM jsonb_array_elements($$[
	{"id": "1", "number": "KH01", "name": "示例 \"一\" \\ '; --", "enable": "1", "credit_limit": 0, "rate": "13", "province_name": "福建省", "deduct": false, "modify_time": "2025-12-01 10:20:30", "birthday": "2025-02-30", "remark": "",
	 "bomentity": [{"id": "11", "mobile": "13800000001", "email": "a@x"}, {"id": "12", "mobile": "13800000002"}], "custom_field": {"custom_field__1__demo": "A"}},
	{"id": "2", "number": "KH02", "name": "plain", "enable": 1, "credit_limit": "1000.50", "rate": "", "province_name": "", "deduct": "1", "modify_time": "2025-12-31", "birthday": "1999-12-31", "remark": "a_b%", "bomentity": ""},
	{"id": "3", "number": "KH03", "name": null, "enable": "0", "credit_limit": "n/a", "rate": "9223372036854775808", "deduct": {}, "modify_time": "10:20:30", "birthday": 5, "bomentity": [5, "x", {"id": "31"}]},
	{"id": "4", "number": "KH04", "name": "list row only"},
	{"id": "5", "number": "KH05", "name": "deleted"}]$$) d;
INSERT INTO jdysync.staging_map_order (id, number, data, detailed_at, synced_at, run_id)
VALUES ('100', 'XS1', '{"id": "100", "bill_no": "XS1", "total": 30, "customer": {"name": "一"}, "entries": [{"id": "7", "qty": 1, "price": "2.5", "tags": ["a", "b"]}, {"qty": "2"}, {"entry_id": 9, "qty": ""}, {"detail_id": "8", "id": ""}]}', now(), now(), 1),
	('101', 'XS2', '{"id": "101", "bill_no": "XS2", "total": "200", "entries": ""}', now(), now(), 1), ('102', 'XS3', '{"id": "102", "bill_no": "XS3", "entries": [5]}', now(), now(), 1);

/* As \d+ has it; from PostgreSQL 16 on a lone table's columns are not prefixed, so that is left out here. */
CREATE FUNCTION shown(view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s -- %s', attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)) FROM pg_attribute WHERE attrelid = view AND attnum > 0
	UNION ALL SELECT regexp_replace(pg_get_viewdef(view, true), '\ms\.', '', 'g') $$;
/* Makes view v of a mapping and shows it. */
CREATE FUNCTION made(mapping jsonb, stream text DEFAULT 'map_customer') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	DROP VIEW IF EXISTS v;
	PERFORM public.jdy_create_view('v', stream, mapping);
	RETURN QUERY SELECT shown('v');
END $$;
/* "accepted", or what the statement is refused with. */
CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n  ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE FUNCTION refused(mapping text) RETURNS text LANGUAGE sql AS $$
	SELECT regress_mapping.answer(format('SELECT public.jdy_create_view(''v'', ''map_customer'', %L)', mapping)) $$;
\pset format unaligned
\pset tuples_only on
SET TimeZone = 'America/New_York';
SET DateStyle = 'German';

-- The two of the manual
SELECT made('{"customer_id":"id","customer_number":"number","customer_name":"name"}');
SELECT * FROM v ORDER BY id;
SELECT made('{"id":"{{id}}","location":{"province":"{{province_name}}"}}');
SELECT * FROM v ORDER BY id;

-- Paths
SELECT made('{"id":"id","name":"name","mobile":"bomentity.0.mobile","mobiles":"bomentity[*].mobile","grade":"custom_field.custom_field__1__demo","modified_at":"modified_at","synced":"synced_at","省份":"province_name","Mixed Case":"remark","odd\"''\\":"name","nothing":"a.null.b","whole":"{{bomentity}}"}');
SELECT id, name, mobile, mobiles, grade, modified_at, "省份", "odd""'\" FROM v ORDER BY id;

-- Text of several parts, constants, nested JSON
SELECT made('{"title":"{{number}} {{name}}","quoted":"''{{name}}'' \\ \"{{id}}\"","at":"{{modify_time|datetime}}","ms":"{{modify_time|timestamp_ms}}","mixed":"at {{modified_at|timestamp_ms}} {modify_time|datetime}.",
	"c_text":{"value":"it''s \\ {{name}}"},"c_number":{"value":1.50},"c_bool":{"value":true},"c_null":{"value":null},"c_json":{"value":{"a":[1]}},
	"doc":{"id":"{{id}}","name":"{{name}}","label":"{{number}}/{{missing}}","list":["{{bomentity.0.id}}",1,2.50,true,null,"text",[],{"k":"v"}],"all":"{{bomentity[*].id}}","constant":{"a":1},"when":"{{modify_time|timestamp_ms}}"},"arr":["{{rate}}","x"],"const":{"a":1,"b":[]}}');
SELECT to_jsonb(v) FROM v ORDER BY id;
-- Nested templates give what jdy_render gives
SELECT made('{"doc":{"name":"{{name}}","rate":"{{rate}}","credit":"{{credit_limit}}","text":"<{{credit_limit}}|{{deduct}}|{{missing}}>","list":["{{bomentity}}","{{bomentity.0}}","{{bomentity[*].mobile}}",null,1.50],"plain":{"a":"b"},"custom":{"grade":"{{custom_field.custom_field__1__demo}}"}}}');
SELECT count(*), bool_and(v.doc = public.jdy_render('{"name":"{{name}}","rate":"{{rate}}","credit":"{{credit_limit}}","text":"<{{credit_limit}}|{{deduct}}|{{missing}}>","list":["{{bomentity}}","{{bomentity.0}}","{{bomentity[*].mobile}}",null,1.50],"plain":{"a":"b"},"custom":{"grade":"{{custom_field.custom_field__1__demo}}"}}', s.data))
FROM v JOIN jdysync.staging_map_customer s USING (id);
-- More members than one function takes
SELECT public.jdy_create_view('wide', 'map_customer', jsonb_build_object('doc', jsonb_object_agg('k' || n, '{{f' || n || '}}'), 'arr', jsonb_agg('{{f' || n || '}}'))) FROM generate_series(1, 240) n;
SELECT count(*), min(jsonb_array_length(arr)) FROM wide, jsonb_object_keys(doc) WHERE id = '1';

-- Types: whatever stands there, a value or NULL, never an error
SELECT made('{"t":{"column":"name"},"n":{"column":"credit_limit","as":"numeric"},"i":{"column":"rate","as":"integer","default":0},"b":{"column":"rate","as":"bigint"},"f":{"column":"deduct","as":"boolean","default":false},"d":{"column":"birthday","as":"date","default":"1900-01-01"},
	"ts":{"column":"modify_time","as":"timestamp"},"tz":{"column":"modify_time","as":"timestamptz","default":"2000-01-01 00:00:00"},"j":{"column":"bomentity","as":"jsonb","default":[]},"r":{"column":"remark","as":"text","default":"-"},"m":{"column":"modified_at","as":"date"},"k":{"column":"number","as":"numeric"},"e":{"column":"bomentity.0.id","as":"integer"}}');
SELECT t, n, i, b, f, d, ts, tz, j, r, m, k, e FROM v ORDER BY id;
SELECT public.jdy_create_view('typed', 'map_names', '{"n":{"column":"x","as":"numeric"},"i":{"column":"x","as":"integer"},"b":{"column":"x","as":"bigint"},"f":{"column":"x","as":"boolean"},"d":{"column":"x","as":"date"},"ts":{"column":"x","as":"timestamp"},"tz":{"column":"x","as":"timestamptz"}}');
INSERT INTO jdysync.staging_map_names (id, data, synced_at, run_id)
SELECT row_number() OVER (), jsonb_build_object('x', x), now(), 1 FROM (SELECT to_jsonb(x) AS x FROM unnest(ARRAY['', ' ', '0', '-1', '+7', ' 42 ', '1.0', '1.50', '.5', '5.', '1e3', '1,000', 'NaN', 'Infinity', '0x10', '１２', E'1\n', U&'\30001', '2147483647', '2147483648', '-2147483648', '-2147483649',
	'9223372036854775807', '9223372036854775808', repeat('9', 100), repeat('9', 101), '0.' || repeat('1', 100), repeat('9', 200000), 'true', 'FALSE', 'Yes', 'off', 'maybe',
	'2025-12-01', '2025-12-01 10:20:30', '2025-12-01T10:20:30', '2025-12-01 10:20:30.5', '2025-12-01 24:00:00', '2025-12-01 10:20', '2025-12-01 10:20:30+09', '2025-02-29', '2024-02-29', '2025-13-01', '0000-01-01', '9999-12-31 23:59:59', '10:20:30', '12/01/2025', '1764555630', '1986-05-04 00:30:00', 'now', 'today', 'epoch', 'infinity']) x
	UNION ALL SELECT * FROM unnest('{1,-1.5,1e400,true,null,"{}","[]","[\"2025-01-01\"]","{\"a\":1}"}'::jsonb[])) y;
SELECT left(s.data->>'x', 30) AS x, length(s.data->>'x') > 30 AS long, left(t.n::text, 30) AS n, i, b, f, d, ts, tz FROM typed t JOIN jdysync.staging_map_names s USING (id) ORDER BY id::int;
-- The same through every path through which a value can come
SELECT public.jdy_create_view('typed_too', 'map_names', '{"$flat":"all","n":{"column":"all.x","as":"numeric"},"d":{"column":"all.x","as":"date"},"i":{"column":"all","as":"integer"},"z":{"column":"all","as":"timestamptz"}}');
INSERT INTO jdysync.staging_map_names (id, data, synced_at, run_id) SELECT 'all', jsonb_build_object('all', jsonb_agg(jsonb_build_object('x', data->'x')) || jsonb_agg(data->'x')), now(), 1 FROM jdysync.staging_map_names WHERE data->>'x' IS DISTINCT FROM repeat('9', 200000);
SELECT count(*), count(n), count(d), count(i), count(z) FROM typed_too;

-- Conditions
CREATE FUNCTION found(condition text, stream text DEFAULT 'map_customer') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ids text;
BEGIN
	DROP VIEW IF EXISTS v;
	PERFORM public.jdy_create_view('v', stream, jsonb_build_object('$where', condition::jsonb));
	SELECT string_agg(id, ',' ORDER BY id) INTO ids FROM v;
	RETURN concat(ids, ' WHERE ', regexp_replace(regexp_replace(pg_get_viewdef('v', true), '^.*\mWHERE\s+', ''), '\ms\.', '', 'g'));
END $$;
SELECT c, found('[[' || c || ']]') FROM unnest(ARRAY['{"field":"enable","logic":"eq","value":"1"}', '{"field":"enable","logic":"eq","value":1}', '{"field":"enable","logic":"eq","value":"1","strictMode":true}', '{"field":"{{enable}}","logic":"eq","value":1,"strictMode":true}',
	'{"field":"name","logic":"eq","value":"示例 \"一\" \\ ''; --"}', '{"field":"number","logic":"eq","value":"KH02"}', '{"field":"id","logic":"eq","value":"1"}', '{"field":"id","logic":"eq","value":1}', '{"field":"enable","logic":"neq","value":"1"}', '{"field":"name","logic":"neq","value":"plain"}',
	'{"field":"credit_limit","logic":"gt","value":"100"}', '{"field":"credit_limit","logic":"egt","value":0}', '{"field":"credit_limit","logic":"lt","value":1000.51}', '{"field":"credit_limit","logic":"elt","value":"0"}', '{"field":"birthday","logic":"gt","value":"1999-12-31"}', '{"field":"deduct","logic":"eq","value":false}',
	'{"field":"credit_limit","logic":"between","value":"100,5000"}', '{"field":"credit_limit","logic":"between","value":[-1,0]}', '{"field":"modify_time","logic":"between","value":"2025-12-01, 2025-12-02"}',
	'{"field":"name","logic":"like","value":"一"}', '{"field":"name","logic":"like","value":"pl%"}', '{"field":"remark","logic":"like","value":"a_b"}', '{"field":"name","logic":"like","value":"p_ain"}', '{"field":"name","logic":"notlike","value":"pl%"}',
	'{"field":"number","logic":"in","value":"KH01,KH03"}', '{"field":"enable","logic":"in","value":[1,2]}', '{"field":"number","logic":"notin","value":["KH01","x''y"]}', '{"field":"rate","logic":"notin","value":"13,14"}', '{"field":"remark","logic":"isnull"}', '{"field":"remark","logic":"notnull"}', '{"field":"bomentity.0.email","logic":"notnull"}']) c;
SELECT found('[[{"field":"enable","logic":"eq","value":"1"},{"field":"province_name","logic":"isnull"}],[{"field":"number","logic":"eq","value":"KH03"}]]');
SELECT found('[]');
-- What a value holds is a value, whatever it looks like
SELECT found(jsonb_build_array(jsonb_build_array(jsonb_build_object('field', 'name', 'logic', l, 'value', $$x' OR true; DROP TABLE jdysync.stream; --$$)))::text) FROM unnest(ARRAY['eq', 'gt', 'like', 'in', 'notin']) l;

-- One row per element: its own id, and its place only where it has none
SELECT made('{"$flat":"entries","bill":"bill_no","number":"number","order_id":"id","id":"{{id}}","qty":{"column":"entries.qty","as":"numeric"},"price":"entries.price","tag":"entries.tags.0","tags":"entries.tags[*]","element":{"column":"entries","as":"jsonb"},"customer":"customer.name","line":{"q":"{{entries.qty}}","o":"{{number}}"}}', 'map_order');
SELECT * FROM v ORDER BY order_id, id;
SELECT made('{"$flat":["entries"],"$where":[[{"field":"entries.qty","logic":"egt","value":1},{"field":"total","logic":"gt","value":10}]],"qty":"entries.qty","id":"bill_no"}', 'map_order');
SELECT * FROM v ORDER BY 1, 2;

-- Deleted records, and streams without details
SELECT made('{"$deleted":true,"number":"number"}');
SELECT string_agg(id, ',' ORDER BY id) FROM v;
SELECT made('{"number":"number"}', 'map_names');

-- Mistakes
SELECT m, refused(m) FROM unnest(ARRAY['[]', '"x"', '{"a":"not a path"}', '{"a":""}', '{"a":"a..b"}', '{"a":"{{a..b}}"}', '{"a":"a[*"}', '{"a":"{{a b}}"}', '{"a":"_function {{id}}"}', '{"a":"{{CURRENT_TIME}}"}', '{"a":"{{id|upper}}"}', '{"a":5}', '{"a":null}', '{"":"id"}',
	'{"a":{"column":"x","as":"numerc"}}', '{"a":{"column":"x","as":"money"}}', '{"a":{"column":"x","as":5}}', '{"a":{"column":"x y","as":"text"}}', '{"a":{"column":5,"as":"text"}}', '{"a":{"column":"x","as":"text","defualt":1}}', '{"a":{"column":"x[*]","as":"numeric"}}',
	'{"a":{"column":"x","as":"numeric","default":"many"}}', '{"a":{"column":"x","as":"integer","default":1.5}}', '{"a":{"column":"x","as":"boolean","default":"yes"}}', '{"a":{"column":"x","as":"date","default":"2025-02-29"}}', '{"a":{"column":"x","as":"text","default":[]}}',
	'{"$were":[]}', '{"$x":1}', '{"$flat":"a[*]"}', '{"$flat":["a","b"]}', '{"$flat":5}', '{"$deleted":"true"}', '{"a":["_findCollection find a from b"]}',
	'{"$where":{}}', '{"$where":[{}]}', '{"$where":[[]]}', '{"$where":[["x"]]}', '{"$where":[[{}]]}', '{"$where":[[{"field":"a b","logic":"eq","value":1}]]}', '{"$where":[[{"field":"a[*].b","logic":"eq","value":1}]]}', '{"$where":[[{"field":"a","logic":"equals","value":1}]]}', '{"$where":[[{"field":"a","logic":"notlik","value":1}]]}',
	'{"$where":[[{"field":"a","value":1}]]}', '{"$where":[[{"field":"a","logic":"eq"}]]}', '{"$where":[[{"field":"a","logic":"eq","value":null}]]}', '{"$where":[[{"field":"a","logic":"between","value":"1"}]]}', '{"$where":[[{"field":"a","logic":"between","value":[1,2,3]}]]}', '{"$where":[[{"field":"a","logic":"in","value":[]}]]}']) m;
SELECT answer($$SELECT public.jdy_create_view('v', 'map_costumer', '{}')$$);
SELECT answer($$SELECT public.jdy_create_view('a.b.c', 'map_customer', '{}')$$);
SELECT answer($$SELECT public.jdy_create_view('nowhere.v', 'map_customer', '{}')$$);
SELECT answer($$SELECT public.jdy_create_view('', 'map_customer', '{}')$$);
SELECT answer(format($$SELECT public.jdy_create_view('v', 'map_customer', %L)$$, jsonb_build_object(repeat('x', 64), 'id')));

-- Made again: in place where columns go on, else anew with owner and GRANTs; never over somebody's work
CREATE ROLE regress_map_reader;
SELECT public.jdy_create_view('regress_mapping.kept', 'map_customer', '{"b":"name"}');
CREATE VIEW on_top AS SELECT id, b FROM kept;
GRANT SELECT ON kept TO regress_map_reader;
SELECT public.jdy_create_view('kept', 'map_customer', '{"b":"name"}');
SELECT public.jdy_create_view('kept', 'map_customer', '{"b":"number","cc":"name"}');
SELECT b FROM on_top WHERE id = '1';
SELECT answer($$SELECT public.jdy_create_view('kept', 'map_customer', '{"a":"name"}')$$);
SELECT count(*) FROM kept;
DROP VIEW on_top;
SELECT public.jdy_create_view('kept', 'map_order', '{"a":{"column":"total","as":"numeric"}}');
SELECT has_table_privilege('regress_map_reader', 'kept', 'SELECT'), count(a) FROM kept;
SELECT public.jdy_create_view('kept', 'map_order', '{"a":"total"}');
SELECT has_table_privilege('regress_map_reader', 'kept', 'SELECT'), count(a) FROM kept;
ALTER VIEW kept SET (security_barrier);
SELECT answer($$SELECT public.jdy_create_view('kept', 'map_order', '{"a":"total"}')$$);
ALTER VIEW kept RESET (security_barrier);
SELECT answer($$SELECT public.jdy_create_view('kept', 'map_order', '{"a":"total"}')$$);
-- The session's way to write dates and names is no change
SELECT public.jdy_create_view('kept', 'map_order', '{"a":"total","day":{"column":"day","as":"date","default":"2025-12-31"}}');
SET DateStyle = 'SQL, DMY'; SET quote_all_identifiers = on; SET search_path = public;
SELECT regress_mapping.answer($$SELECT public.jdy_create_view('regress_mapping.kept', 'map_order', '{"a":"total"}')$$);
SET DateStyle = 'German'; RESET quote_all_identifiers; SET search_path = regress_mapping, public;
ALTER VIEW kept RENAME a TO aa;
SELECT answer($$SELECT public.jdy_create_view('kept', 'map_order', '{"a":"total"}')$$);
CREATE OR REPLACE VIEW v AS SELECT * FROM v;
CREATE TABLE taken ();
CREATE VIEW by_hand AS SELECT 1 AS id;
SELECT answer(format('SELECT public.jdy_create_view(%L, ''map_customer'', ''{}'')', n)) FROM unnest(ARRAY['taken', 'by_hand', 'kept']) n;
DROP VIEW kept;
SELECT public.jdy_create_view('kept', 'map_customer', '{}');
SELECT view, mapping FROM jdysync.mapped_view WHERE view = 'kept'::regclass OR NOT EXISTS (SELECT FROM pg_class WHERE oid = view);
-- A moved table is followed
ALTER TABLE jdysync.staging_map_customer SET SCHEMA regress_mapping;
SELECT made('{}');
ALTER TABLE regress_mapping.staging_map_customer SET SCHEMA jdysync;
-- What stands in the caller's search_path cannot slip in
CREATE FUNCTION evil(jsonb, text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
CREATE OPERATOR regress_mapping.->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = evil);
SET search_path = regress_mapping, public, pg_catalog;
SELECT public.jdy_create_view('honest', 'map_customer', '{"name":"name"}');
SELECT name FROM honest WHERE id = '2';
SET search_path = regress_mapping, public;
DROP FUNCTION evil CASCADE;

-- Rights: the caller's own, in a schema of his, for streams of his; readers need nothing but SELECT
CREATE ROLE regress_map_owner LOGIN;
CREATE ROLE regress_map_other;
CREATE SCHEMA regress_map_owner AUTHORIZATION regress_map_owner;
GRANT USAGE ON SCHEMA jdysync, public, regress_mapping TO regress_map_owner, regress_map_other;
GRANT EXECUTE ON FUNCTION public.jdy_create_view TO regress_map_owner, regress_map_other;
ALTER TABLE jdysync.staging_map_order OWNER TO regress_map_owner;
GRANT USAGE ON FOREIGN SERVER mapping_server TO regress_map_owner;
CREATE USER MAPPING FOR regress_map_owner SERVER mapping_server OPTIONS (client_id 'i', client_secret 's', outer_instance_id '1');
SET SESSION AUTHORIZATION regress_map_owner;
SET search_path = public, regress_map_owner;
SELECT public.jdy_create_view('mine', 'map_order', '{"bill":"bill_no","total":{"column":"total","as":"numeric"},"when":{"column":"audit_time","as":"timestamptz"},"doc":{"no":"{{bill_no}}"}}');
SELECT regress_mapping.answer($$SELECT public.jdy_create_view('regress_mapping.mine', 'map_order', '{}')$$);
SELECT regress_mapping.answer($$SELECT public.jdy_create_view('mine', 'map_customer', '{}')$$);
SET search_path = public;
SELECT regress_mapping.answer($$SELECT public.jdy_create_view('mine', 'map_order', '{}')$$);
SELECT regress_mapping.answer('INSERT INTO jdysync.mapped_view SELECT ''pg_class'', 1, ''{}'', ''''');
SELECT relowner::regrole FROM pg_class WHERE oid = 'regress_map_owner.mine'::regclass;
GRANT USAGE ON SCHEMA regress_map_owner TO regress_map_reader;
GRANT SELECT ON regress_map_owner.mine TO regress_map_reader;
SET SESSION AUTHORIZATION regress_map_other;
SELECT regress_mapping.answer($$SELECT public.jdy_create_view('mine', 'map_order', '{}')$$);
RESET SESSION AUTHORIZATION;
SET ROLE regress_map_reader;
SELECT * FROM regress_map_owner.mine ORDER BY id;
RESET ROLE;

-- Nothing of it is left to other tests
RESET search_path;
DROP SCHEMA regress_mapping, regress_map_owner CASCADE;
SELECT count(jdy_drop_stream(name, false)::text) FROM jdysync.stream;
DROP SERVER mapping_server CASCADE;
DROP OWNED BY regress_map_owner, regress_map_other, regress_map_reader;
DROP ROLE regress_map_owner, regress_map_other, regress_map_reader;
