/* A record becomes the same jsonb whether it is built the quick way or by jsonb_in. */

CREATE FUNCTION built(body bytea, id_fields text[] DEFAULT '{id}', number_field text DEFAULT 'number',
	rows_path text DEFAULT NULL, count_path text DEFAULT NULL, single boolean DEFAULT false)
RETURNS TABLE (id text, number text, problem text, data jsonb, digest bigint)
AS '$libdir/jdysync', 'jdy_test_page_rows' LANGUAGE C;

/* What becomes of {"id":"1","v":<value>}: "same" as jsonb_in, or both refuse it. */
CREATE FUNCTION compare(value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	record text := '{"id":"1","v":' || value || '}';
	built record;
	cast_text text;
BEGIN
	SELECT b.data::text AS data, b.problem INTO built
	FROM built(convert_to('{"errcode":0,"data":{"rows":[' || record || ']}}', 'UTF8')) b;
	BEGIN
		cast_text := record::jsonb::text;
	EXCEPTION WHEN data_exception THEN
		RETURN CASE WHEN built.data IS NULL THEN 'both refuse' ELSE 'taken though wrong: ' || built.data END;
	END;
	RETURN CASE WHEN built.data = cast_text THEN 'same' ELSE coalesce(built.data, 'refused') || ' is not ' || cast_text END;
END $$;

-- Words, numbers, strings
SELECT left(v, 50) AS value, compare(v) FROM unnest(ARRAY['true', 'false', 'null', 'truE', 'tru', 'nulll', 'True', '',
	'0', '-0', '7', '-7', '007', '00', '-', '+1', '.5', '5.', '1.50', '-0.0', '1.5.2', '1e3', '1E+3', '1e', '0x1', '1_0', '12a', '1 ', '1 2', 'NaN', 'Infinity',
	'999999999999999999', '9999999999999999999', '-999999999999999999', '123456789012345678901234567890.5',
	'0.1234567890123456789012345678901234567890123456789', '1e131072',
	'""', '" "', '"a', 'a"', '"中文"', '"\u4e2d\u6587"', '"\ud83d\ude00"', '"a\"b\\c\/d\b\f\n\r\t"', '"\x"', '"\u12"', '"\', '"1234567\""', '"12345678\u0041"',
	E'"a\tb"', E'"1234567\n"', E'"12345678\x01"', E'"\x7f"', '"1234567', '"12345678']) v;

-- Containers
SELECT left(v, 50) AS value, compare(v) FROM unnest(ARRAY['[]', '{}', '[ ]', '{ }', '[1]', '[1,]', '[,1]', '[1 2]', '[1,2', '{"a"}', '{"a":}', '{"a":1,}', '{"a" 1}', '{a:1}', '{1:1}',
	'{"a":1,"a":2}', '{"b":1,"a":{"c":[1,{"d":null}]}}', ' [ 1 , { "a" : [ ] } , "x" ] ', '{"":0}', '{"\u0061":1,"a":2}', '[[[[[[]]]]]]', '{"a":1]', '[1}',
	repeat('[', 63) || repeat(']', 63), repeat('[', 64) || repeat(']', 64), repeat('[', 400) || repeat(']', 400),
	repeat('{"a":', 62) || '1' || repeat('}', 62), repeat('{"a":', 70) || '1' || repeat('}', 70)]) v;

-- Strings of every length around the eight bytes, with what ends them at every place
SELECT c, outcome, count(*)
FROM generate_series(0, 20) n, unnest(ARRAY['\"', '\\', '\u0041', '中', '😀', E'\t']) c,
	LATERAL (SELECT compare('"' || repeat('x', n) || c || repeat('y', m) || '"') AS outcome FROM generate_series(0, 9) m) x
GROUP BY c, outcome ORDER BY 1;

-- Whatever PostgreSQL itself writes
SELECT count(*) > 100 AS many, min(outcome), max(outcome)
FROM (SELECT compare(to_jsonb(c)::text) AS outcome FROM pg_catalog.pg_class c) x;
SELECT count(*) > 100 AS many, min(outcome), max(outcome)
FROM (SELECT compare(jsonb_pretty(jsonb_build_array(row_to_json(p), p.prosrc))) AS outcome FROM pg_catalog.pg_proc p WHERE p.oid < 2000) x;
