/* A template takes what a record has: one path keeps its type, text stays text, nothing is ever run. */

\pset format unaligned
\pset tuples_only on
SET TimeZone = 'America/New_York';
SET DateStyle = 'German';

CREATE FUNCTION pg_temp.record() RETURNS jsonb LANGUAGE sql AS $$ SELECT $r${
	"id": "1500000000000001024", "number": "KH00001", "name": "示例\"客户\"\\ 'A'; --\n{{id}}", "empty": "", "nothing": null,
	"credit_limit": 1234567.50, "big": 123456789012345678901234567890.125, "small": 1e-7, "yes": true, "no": false,
	"modify_time": "2025-12-01 10:20:30", "day": "2025-12-01", "seconds": 1764555630, "ms": "1764555630123", "wrong_day": "2025-02-30",
	"custom_field": {"custom_field__1__demo": "A", "leer": {}}, "省份": {"名称": "福建省"},
	"bomentity": [{"id": "9001", "mobile": "13800000001", "tags": ["a", "b"]}, {"id": "9002", "mobile": null, "tags": []}, {"id": "9003"}],
	"list": [1, "two", [3, [4]], null], "one": {"x": {"y": 1}}, "deep": {"a": {"b": {"c": {"d": {"e": {"f": [[["bottom"]]]}}}}}}
}$r$::jsonb $$;
/* What the template gives, or what it is refused with. */
CREATE FUNCTION pg_temp.r(template jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	RETURN jdy_render(template, pg_temp.record());
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n  ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE FUNCTION pg_temp.t(template text) RETURNS text LANGUAGE sql AS $$ SELECT pg_temp.r(to_jsonb(template)) $$;

-- One path: the type of what it finds
SELECT t, pg_temp.t(t) FROM unnest(ARRAY['{{id}}', '{id}', '{{ id }}', '{{credit_limit}}', '{{big}}', '{{small}}', '{{yes}}', '{no}', '{{name}}', '{{empty}}',
	'{{nothing}}', '{{missing}}', '{{custom_field}}', '{{bomentity}}', '{{list}}', '{{custom_field.leer}}', '{{custom_field.custom_field__1__demo}}',
	'{{省份.名称}}', '{省份.名称}', '{{省份}}', '{{deep.a.b.c.d.e.f.0.0.0}}', '{{deep.a.b.c.d.e.f}}']) t;

-- Several parts: text, with numbers as written and nothing where nothing is
SELECT t, pg_temp.t(t) FROM unnest(ARRAY['{{number}}_{{id}}', '{number}-{id}', ' {{id}}', '{{id}} ', '<{{credit_limit}}|{{yes}}|{{no}}>', 'a{{missing}}{{nothing}}{{empty}}b',
	'{{custom_field}}!', '{{list}}!', '{{省份.名称}}/福州', '{{name}}{{name}}', 'plain', '', '中文', '"quoted" \ and ''single''', '{"a": {b c}}', '{{number}}}', '{{{number}}}']) t;

-- Arrays: one element, all elements, what all of them have
SELECT t, pg_temp.t(t) FROM unnest(ARRAY['{{bomentity.0.mobile}}', '{{bomentity.1.mobile}}', '{{bomentity.2.mobile}}', '{{bomentity.9.mobile}}', '{{bomentity.mobile}}', '{{list.0}}', '{{list.2.1.0}}', '{{list.3}}', '{{list.x}}',
	'{{bomentity[*].id}}', '{bomentity[*].mobile}', '{{bomentity[*]}}', '{{list[*]}}', '{{bomentity[*].tags[*]}}', '{{bomentity[*].tags.0}}', '{{bomentity[*].nothing}}', '{{missing[*].id}}', '{{one[*].x.y}}', '{{nothing[*]}}',
	'all: {{bomentity[*].id}}', 'none: {{missing[*].id}}']) t;
-- The same as jsonpath gives
SELECT p, jdy_render(to_jsonb('{{' || p || '}}'), pg_temp.record()) = jsonb_path_query_array(pg_temp.record(), ('$.' || p)::jsonpath)
FROM unnest(ARRAY['bomentity[*].id', 'bomentity[*].mobile', 'bomentity[*]', 'list[*]', 'bomentity[*].tags[*]', 'missing[*].id', 'one[*].x.y', 'nothing[*]', 'id[*]', 'bomentity[*].id.x']) p;

-- Any JSON around them; keys are no templates
SELECT pg_temp.r(t) FROM unnest(ARRAY['{"id":"{{id}}","location":{"province":"{{省份.名称}}","city":null},"tags":["{{yes}}",1,2.50,true,[],{},"x{{number}}"]}',
	'{"{{id}}":"{{number}}"}', '{}', '[]', '5', 'null', '"{{bomentity}}"', '[[["{{custom_field}}"]]]', '{"b":"{{list.2}}","a":{"c":{"d":["{{empty}}","{{missing}}"]}}}']::jsonb[]) t;

-- Times without zone are China's, whatever the session's zone is
SELECT t, pg_temp.t(t) FROM unnest(ARRAY['{{modify_time|timestamp_ms}}', '{{day | timestamp_ms}}', '{{modify_time|datetime}}', '{{seconds|datetime}}', '{{ms|datetime}}', '{{seconds|timestamp_ms}}',
	'at {{modify_time|timestamp_ms}}', '{{missing|datetime}}', '{{empty|timestamp_ms}}', 'at {{empty|datetime}}.', '{{name|datetime}}', '{{wrong_day|datetime}}', '{{id|seconds}}']) t;

-- What it does not do is said, with the SQL way
SELECT pg_temp.t(t) FROM unnest(ARRAY['_function {{id}}*1000', '  _function LEFT({{name}},3)', '_findCollection find name from x where a={{id}}', '_mongoQuery x', '_function (_findCollection … _endFind)', '… _endFind',
	'{{CURRENT_TIME}}', '{{LAST_SYNC_TIME}}000', '{DAYS_AGO_2|datetime}', '{{}}', '{{a b}}', '{{0.a}}', '{{[*]}}', '{{a[0]}}', '{{a[*', '{{id|}}']) t;
SELECT pg_temp.t('the word _function inside of text'), pg_temp.t('_functional');

-- Records of any kind
SELECT jdy_render('["{{a}}", "x{{a}}", "{{a[*]}}"]', r) FROM unnest(ARRAY['{}', '[]', '[{"a":1}]', '"a"', '1', 'null', '{"a":"{{a}}"}']::jsonb[]) r;
SELECT jdy_render(NULL, '{}') IS NULL, jdy_render('{}', NULL) IS NULL;

-- A template per row: the one kept from the row before is not taken for it
SELECT string_agg(jdy_render(t, '{"a":1,"b":2}')::text, ' ') FROM unnest(ARRAY['"{{a}}"', '"{{b}}"', '"{{a}}"', '["{{b}}"]', '"{{a}}{{b}}"', '{"a":"{{b}}"}']::jsonb[]) t;
SELECT count(*) = 1000 AND bool_and(jdy_render('{"n":"{{n}}","t":["x{{n}}y"]}', jsonb_build_object('n', n)) = jsonb_build_object('n', n, 't', jsonb_build_array('x' || n || 'y')))
FROM generate_series(1, 1000) n;

-- Deep and wide
SELECT length(jdy_render((repeat('[', 500) || '"{{a}}"' || repeat(']', 500))::jsonb, '{"a":[1]}')::text);
SELECT jdy_render(jsonb_object_agg('k' || n, '{{v' || n || '}}'), jsonb_object_agg('v' || n, n)) = jsonb_object_agg('k' || n, n) FROM generate_series(1, 1000) n;
SELECT provolatile, proparallel, proisstrict, has_function_privilege('pg_monitor', oid, 'EXECUTE') FROM pg_proc WHERE proname = 'jdy_render';
