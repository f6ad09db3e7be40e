/* Every spelling of values gives what its author meant, or an error that quotes it; never its own text. */

CREATE FUNCTION value(value jsonb, record jsonb, now timestamptz, last timestamptz, zone text) RETURNS text
AS '$libdir/jdysync', 'jdy_test_value' LANGUAGE C;
CREATE FUNCTION plan(metadata jsonb, zone text) RETURNS text
AS '$libdir/jdysync', 'jdy_test_plan' LANGUAGE C STRICT;
CREATE FUNCTION window_value(format integer, at timestamptz, zone text) RETURNS text
AS '$libdir/jdysync', 'jdy_test_window_value' LANGUAGE C STRICT;

/* A value at 2025-12-01 10:20:30 in China, the last run an hour before; or what it is refused with. */
CREATE FUNCTION v(text text, record jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	RETURN value(to_jsonb(text), record, '2025-12-01 10:20:30+08', '2025-12-01 09:20:30+08', 'Asia/Shanghai');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n  ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
/* The plan of a request with these parameters, or what it is refused with. */
CREATE FUNCTION p(request jsonb, api text DEFAULT '/jdy/v2/bd/customer') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	RETURN plan(jsonb_build_object('api', api, 'request', request), 'Asia/Shanghai');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n  ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
/* One parameter's part in the plan. */
CREATE FUNCTION p1(value text, field text DEFAULT 'x') RETURNS text
LANGUAGE sql RETURN p(jsonb_build_array(jsonb_build_object('field', field, 'value', value)));
\pset format unaligned
\pset tuples_only on
SET TimeZone = 'America/New_York';
SET DateStyle = 'German';
SET standard_conforming_strings = on;

-- Times: seconds, three spellings of milliseconds, filters, days ago
SELECT extract(epoch FROM timestamptz '2025-12-01 10:20:30+08');
SELECT text, v(text) FROM unnest(ARRAY['{{CURRENT_TIME}}', '{CURRENT_TIME}', '{{LAST_SYNC_TIME}}', '{{ CURRENT_TIME }}',
	'{{LAST_SYNC_TIME}}000', '_function {CURRENT_TIME}*1000', '_function {{LAST_SYNC_TIME}}*1000', '_function {{LAST_SYNC_TIME}}000*1',
	'_function  ({{CURRENT_TIME}} - 600) * 1000', '{{CURRENT_TIME|datetime}}', '{{LAST_SYNC_TIME | timestamp_ms}}', '{CURRENT_TIME|datetime}',
	'{{DAYS_AGO_2|datetime}}', '{{DAYS_AGO_0}}', '{{DAYS_AGO_30|timestamp_ms}}', 'from {{LAST_SYNC_TIME|datetime}} to {{CURRENT_TIME|datetime}}',
	'_function FROM_UNIXTIME({{LAST_SYNC_TIME}} - 600, ''%Y-%m-%d %H:%i:%s'')', '_function FROM_UNIXTIME({CURRENT_TIME})',
	'_function from_unixtime({CURRENT_TIME}, ''%Y-%m-%d'')', '_function to_char(to_timestamp({CURRENT_TIME}), ''YYYYMMDD'')',
	'_function {CURRENT_TIME} % 86400', '_function {CURRENT_TIME}/86400', '_function concat(''{{CURRENT_TIME}}'', ''000'')', '_function {{CURRENT_TIME|datetime}}',
	'_function CASE WHEN {LAST_SYNC_TIME} < {CURRENT_TIME} - 86400 THEN ''old'' ELSE ''new'' END', '_function UNIX_TIMESTAMP(''2025-12-01 10:20:30'')']) text;

-- Literals stay what they are, braces that hold no path too
SELECT text, v(text) FROM unnest(ARRAY['', '1', '闽康益生菌', '{"a":1}', '{', '}', '{}', '{ }', '{1,2}', 'a{3}', '{"a":{"b":"c"}}', '_functional', 'x _function 1']) text;
SELECT value(v, '{"id":7}', now(), now(), 'UTC') FROM unnest('{7,1.50,true,"null","[1, \"{{id}}\", \"_function 1+1\", \"{{no}}\"]","{\"a\": {\"b\": \"{{id}}\"}}",[]}'::jsonb[]) v;

-- Fields of a record
SELECT text, coalesce(v(text, '{"id":"15","qty":12.50,"big":12345678901234567890123,"ok":true,"none":null,"empty":"","name":"O''Neil","list":[{"no":"A1"},{"no":"B2"}],"m":{"n":{"o":1}},"客户":"甲","app-token":"t","modify_time":"2025-12-01 10:20:30","day":"2025-12-01","s":"1764555630","ms":1764555630123,"x":"1); DROP TABLE x; --","q":"a''b\\c$1"}'), 'NULL')
FROM unnest(ARRAY['{{id}}', '{id}', '{{{id}}}', '{{qty}}', '{{big}}', '{{ok}}', '{{none}}', '{{empty}}', '{{missing}}', '{{id}}_{{name}}', '<{{missing}}>', '{{list.0.no}}', '{{list.1.no}}', '{{list.2.no}}', '{{list.no}}',
	'{{list}}', '{{m.n.o}}', '{{m.n}}', '{{m.n.o.p}}', '{{客户}}', '{{app-token}}', '{{modify_time|timestamp_ms}}', '{{day|timestamp_ms}}', '{{s|datetime}}', '{{ms|datetime}}', '{{empty|datetime}}',
	'_function {{qty}}*-1', '_function {{qty}} + {m.n.o}', '_function {{id}}::int * 2', '_function {{name}}', '_function ''{{name}}''', '_function concat({{id}}, ''-'', {{name}})', '_function ''<{{id}}|{{name}}|{{missing}}>''',
	'_function IFNULL({{missing}}, ''none'')', '_function IFNULL({{none}}, {{id}})', '_function CASE {{ok}} WHEN ''true'' THEN ''Y'' ELSE ''N'' END', '_function CASE ''{{id}}'' WHEN ''15'' THEN 1 END', '_function LEFT({{name}}, 2)',
	'_function LOCATE(''Neil'', {{name}})', '_function {{missing}}', '_function {{x}}', '_function ''{{x}}''', '_function {{q}} || ''it''''s''', '_function ''{{q}}''', '_function ''a{b'' || ''{1,2}''', '_function {{modify_time|timestamp_ms}}']) text;

-- Broken expressions are errors that quote them
SELECT v('_function ' || text) FROM unnest(ARRAY['', '{{CURRENT_TIME}}*', '1; SELECT 2', '1), (2', '1) FROM pg_class WHERE (true', '1) AS a ORDER BY (1', '1) UNION SELECT (2', 'current_user; --', '1/0',
	'no_such_function(1)', 'no_such_column', '"text"', '''open', '$1', '$$x$$', 'E''a\''b''', '1--1', '1/*x*/', 'U&''x''', '{{id}}*2', '{{CURRENT_TIME|date}}', '{{}}', 'FROM_UNIXTIME({CURRENT_TIME}*1000)', 'FROM_UNIXTIME(1, ''%U'')',
	'generate_series(1,2)', 'x INTO y', 'lower(''X'')) WHERE (true', 'set_config(''jdysync.x'', ''1'', false) OVER ()']) text;
SELECT v(text, '{"id":"15"}') FROM unnest(ARRAY['_function {{id}}*2', '{{a b}}', '{{', '{{id|upper}}', '{{id|datetime}}x{{name']) text;
SELECT v('{{t|datetime}}', jsonb_build_object('t', t)) FROM unnest(ARRAY['2025-13-01', 'soon', '2025-12-01 25:00:00', '1.5']) t;

-- An expression changes nothing, and leaves no setting behind
CREATE TABLE written (n int);
CREATE FUNCTION public.writes() RETURNS int LANGUAGE sql AS 'INSERT INTO public.written VALUES (1) RETURNING n';
SELECT v('_function public.writes()');
SELECT count(*) FROM written;
SELECT v('_function current_setting(''search_path'') || '' '' || current_setting(''TimeZone'') || '' '' || current_setting(''DateStyle'')');
SELECT v('_function set_config(''search_path'', ''public'', false) || set_config(''work_mem'', ''77MB'', false)');
SHOW work_mem;
BEGIN;
SELECT v('_function 1'), v('_function 1/0');
INSERT INTO written VALUES (2);
COMMIT;
SHOW search_path;
SHOW TimeZone;
SHOW DateStyle;
CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'shadowed' $$;
SELECT v('_function lower(''PLAIN'')');
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT v('_function ''' || chr(92) || ''' || {{name}}', '{"name":"x"}');
RESET standard_conforming_strings;
RESET escape_string_warning;

-- With the rights of the current role
CREATE ROLE value_owner;
CREATE TABLE hidden AS SELECT 'secret' AS x;
GRANT USAGE ON SCHEMA public TO value_owner;
SET ROLE value_owner;
SELECT v('_function (SELECT x FROM public.hidden)');
SELECT v('_function session_user <> current_user');
SELECT v('_function IFNULL(NULL, ''x'')');
RESET ROLE;
GRANT USAGE ON SCHEMA jdysync_shim TO value_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jdysync_shim TO value_owner;
SET ROLE value_owner;
SELECT v('_function IFNULL(NULL, ''x'')');
RESET ROLE;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA jdysync_shim FROM value_owner;
REVOKE ALL ON SCHEMA jdysync_shim, public FROM value_owner;
DROP ROLE value_owner;

-- A cancelled expression is cancelled, not broken
SET statement_timeout = '100ms';
DO $$ BEGIN PERFORM value('"_function pg_sleep(10)"', NULL, now(), now(), 'UTC'); EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'cancelled'; END $$;
RESET statement_timeout;

-- How a list is asked: the metadata of the platform
SELECT plan('{"api":"/jdy/v2/bd/customer","effect":"QUERY","method":"GET","number":"number","id":"id","name":"number","idCheck":true,
 "request":[
  {"field":"modify_end_time","label":"修改时间-结束时间的时间戳(毫秒)","type":"string","describe":"修改时间-结束时间的时间戳(毫秒)","value":"_function {CURRENT_TIME}*1000"},
  {"field":"modify_start_time","label":"修改时间-开始时间的时间戳(毫秒)","type":"string","describe":"修改时间-开始时间的时间戳(毫秒)","value":"_function {LAST_SYNC_TIME}*1000"},
  {"field":"page","label":"当前页,默认1","type":"string","describe":"当前页,默认1","value":"1"},
  {"field":"page_size","label":"每页显示条数,默认10","type":"string","describe":"每页显示条数,默认10","$value$":"50"}]}', 'Asia/Shanghai');
SELECT p('[]');

-- The unit of a window is seen, however it is written
SELECT text, split_part(p1(text), E'\npaging', 1) FROM unnest(ARRAY['{{LAST_SYNC_TIME}}', '{{CURRENT_TIME}}', '{{LAST_SYNC_TIME}}000', '_function {{LAST_SYNC_TIME}}*1000', '_function {{CURRENT_TIME}}000*1', '{{LAST_SYNC_TIME|timestamp_ms}}',
	'{{LAST_SYNC_TIME|datetime}}', '_function FROM_UNIXTIME({{LAST_SYNC_TIME}} - 600, ''%Y-%m-%d %H:%i:%s'')', '_function FROM_UNIXTIME({{CURRENT_TIME}}, ''%Y-%m-%d'')', '{{DAYS_AGO_2|datetime}}', '{{DAYS_AGO_3}}000',
	'_function FLOOR({LAST_SYNC_TIME} / 86400) * 86400', '_function {LAST_SYNC_TIME} / 1 * 1000', '_function CASE WHEN {LAST_SYNC_TIME} < 1 THEN {CURRENT_TIME} - 86400 ELSE {LAST_SYNC_TIME} END * 1000']) text;
SELECT p('[{"field":"modify_start_time","value":"{{DAYS_AGO_2|datetime}}"},{"field":"modify_end_time","value":"{{DAYS_AGO_1|datetime}}"}]');
SELECT p1('_function FROM_UNIXTIME({CURRENT_TIME}, ''%Y%m%d'')');
SELECT p1('_function {CURRENT_TIME}*60');
SELECT p1('_function CASE WHEN {CURRENT_TIME} > 0 THEN ''always'' END');
SELECT p1('_function {CURRENT_TIME}*');
SELECT p('[{"field":"modify_start_time","value":"{{LAST_SYNC_TIME}}000"},{"field":"create_start_time","value":"{{LAST_SYNC_TIME}}000"}]');

-- Fixed parameters narrow the pull, but for those that cannot; empty ones are not sent
SELECT p('[{"field":"search","value":"闽康益生菌"},{"field":"number","value":""},{"field":"group","value":["1","2"],"type":"array"},{"field":"enable","value":"-1"},{"field":"c_level"},{"field":"saler_id","value":null},
	{"field":"show_contact_detail","value":true},{"field":"order_by","value":"number asc"},{"field":"x","value":7,"type":"int"},{"field":"y","value":[]},{"field":"z","value":"_function 1+1"}]');
SELECT p('[{"field":"enable","value":"1"}]');
SELECT p1('{{number}}');
SELECT p1('_function {{number}}');
SELECT p('[{"field":"head","children":[{"field":"a","value":"1"}]}]');
SELECT p('[{"field":"head","children":[{"field":"a","value":""}]}]');

-- Paging
SELECT p('[{"field":"page","value":"3"},{"field":"pagesize","value":"100"}]');
SELECT p('[{"field":"pageNo","value":"1"},{"field":"pageSize","value":20}]', '/other/list');
SELECT p('[{"field":"page","value":"1"},{"field":"limit","value":"{{PAGINATION_PAGE_SIZE}}"}]', '/other/list');
SELECT p('[{"field":"offset","value":"{{PAGINATION_START_ROW}}"}]', '/other/list');
SELECT p('[{"field":"page_size","value":""}]');
SELECT p('[{"field":"page_size","value":"many"}]');
SELECT p('[{"field":"page_size","value":"0"}]');

-- An edge of a window as it is sent: 1 ms, 2 s, 3 date and time, 4 date
SELECT at, window_value(1, at, 'Asia/Shanghai'), window_value(2, at, 'Asia/Shanghai'), window_value(3, at, 'Asia/Shanghai'), window_value(4, at, 'Asia/Shanghai')
FROM unnest('{2025-12-01 10:20:30.987654+08,2025-12-01 00:00:00+08,1969-12-31 23:59:59.9995+00,2000-01-01 00:00:00+00}'::timestamptz[]) at;
SELECT window_value(3, '2025-03-30 01:30:00+00', 'Europe/Berlin'), window_value(3, '2025-03-30 00:30:00+00', 'Europe/Berlin');

-- FROM_UNIXTIME's letters
SET TimeZone = 'Asia/Shanghai';
SELECT jdysync_shim.from_unixtime(1764555630.123456, '%Y|%y|%m|%c|%M|%b|%d|%e|%D|%j|%w|%W|%a|%H|%k|%h|%I|%l|%i|%s|%S|%f|%p|%T|%r|%%|%q|客|%');
SELECT jdysync_shim.from_unixtime(0, '%D %h %l %p %k'), jdysync_shim.from_unixtime(1735660800 + 86400 * 11, '%D'), jdysync_shim.from_unixtime(NULL);
SELECT jdysync_shim.from_unixtime(-1);
SELECT jdysync_shim.from_unixtime('NaN');
