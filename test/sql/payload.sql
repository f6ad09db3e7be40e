/* request[] of a push is a template: one JSON object for each record, in the order of the metadata. */

CREATE FUNCTION payload(request jsonb, record jsonb) RETURNS text
AS '$libdir/jdysync', 'jdy_test_payload' LANGUAGE C;
\pset format unaligned
\pset tuples_only on

/* What it is refused with: SQLSTATE, message, detail, hint. */
CREATE FUNCTION payload_refusal(request jsonb, record jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM payload(request, record);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n  ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

CREATE TABLE record AS SELECT '{"id":"7","no":12,"price":1.50,"on":true,"none":null,"name":"客户\"7\"","tags":["a","b"],"at":"2024-01-02 03:04:05",
 "place":{"city":"深圳","zip":518000},
 "lines":[{"sku":"A","qty":2,"lots":[{"lot":"x"},{"lot":"y"}]},{"sku":"B","qty":"3","lots":[]}]}'::jsonb AS data;

-- One path keeps its type; anything else is text; a missing part is null, or nothing in mixed text
SELECT payload('[{"field":"number","value":"{{no}}"},{"field":"price","type":"string","value":"{{price}}"},{"field":"on","value":"{{on}}"},
 {"field":"none","value":"{{none}}"},{"field":"missing","value":"{{a.b.c}}"},{"field":"name","value":"{{name}}"},{"field":"place","value":"{{place}}"},
 {"field":"tag","value":"{{tags.1}}"},{"field":"mixed","value":"{{no}}-{{place.city}}-{{nowhere}}!"},{"field":"text","value":"as it is"},
 {"field":"seven","value":7},{"field":"yes","value":true},{"field":"at","value":"{{at|timestamp_ms}}"},{"field":"json","value":"{\"a\": 1}"}]', data) FROM record;

-- What has no value is not sent
SELECT payload('[{"field":"a"},{"field":"b","value":""},{"field":"c","value":null},{"field":"d","value":[]},{"field":"e","type":"object","children":[{"field":"f","value":""}]},
 {"field":"g","value":"_function ''''"}]', data) FROM record;
SELECT payload('[]', data) FROM record;

-- Types
SELECT payload('[{"field":"i","type":"int","value":"{{place.zip}}"},{"field":"i2","type":"int","value":"0012"},{"field":"i3","type":"int","value":"3.0"},{"field":"f","type":"float","value":"1.50"},
 {"field":"b","type":"bool","value":"1"},{"field":"b2","type":"bool","value":"{{on}}"},{"field":"e","type":"int","value":"{{none}}"},{"field":"o","type":"object","value":"{\"a\": [1]}"},
 {"field":"a","type":"array","value":"{{tags}}"},{"field":"a2","type":"array","value":"[1, \"{{no}}\"]"},{"field":"a3","type":"array","value":["{{no}}","{{name}}",{"x":"{{lines}}"}]},
 {"field":"fn","type":"int","value":"_function {{no}} * 2"},{"field":"i1","type":"int","value":"{{on}}"}]', data) FROM record;

-- Expressions take fields as parameters: nothing of a record is ever SQL
SELECT payload('[{"field":"x","value":"_function upper({{x}})"},{"field":"y","value":"_function ''{{x}}''"},{"field":"z","value":"_function CASE {{no}} WHEN 1 THEN ''one'' END"}]',
 '{"x":"a''); DROP TABLE record; --","no":2}');

-- Objects and arrays of objects; inside of an array its own path leads to the element
SELECT payload('[{"field":"where","type":"object","children":[{"field":"city","value":"{{place.city}}"},{"field":"deep","children":[{"field":"no","value":"{{no}}"}]}]},
 {"field":"gone","type":"object","value":"{{nowhere}}","children":[{"field":"x","value":"{{no}}"}]},
 {"field":"entries","type":"array","value":"lines","children":[{"field":"sku","value":"{{lines.sku}}"},{"field":"bill","value":"{{id}}"},
  {"field":"qty","type":"int","value":"_function {{lines.qty}}::int * -1"},
  {"field":"lots","type":"array","value":"{{lines.lots}}","children":[{"field":"lot","value":"{{lines.lots.lot}}"},{"field":"of","value":"{{lines.sku}}"}]}]},
 {"field":"tags","type":"array","value":"tags","children":[{"field":"tag","value":"{{tags}}"}]},
 {"field":"one","type":"array","value":"place","children":[{"field":"zip","value":"{{place.zip}}"}]},
 {"field":"fixed","type":"array","children":[{"field":"no","value":"{{no}}"}]},
 {"field":"empty","type":"array","value":"nowhere","children":[{"field":"no","value":"{{no}}"}]}]', data) FROM record;

-- A flat list that names parents
SELECT payload('[{"field":"entry","type":"array","value":"lines"},{"field":"sku","value":"{{lines.sku}}","parent":"entry"},
 {"field":"in","type":"object","parent":"entry"},{"field":"qty","value":"{{lines.qty}}","parent":"in"}]', data) FROM record;

-- Errors name the field
SELECT payload_refusal('[{"field":"n","type":"int","value":"{{name}}"}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","type":"int","value":"1.5"}]');
SELECT payload_refusal('[{"field":"n","type":"float","value":"NaN"}]');
SELECT payload_refusal('[{"field":"n","type":"float","value":"1e"}]');
SELECT payload_refusal('[{"field":"n","type":"bool","value":"{{place}}"}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","type":"object","value":"{{tags}}"}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","type":"array","value":"a,b"}]');
SELECT payload_refusal('[{"field":"n","type":"array","value":"name","children":[{"field":"x","value":"1"}]}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","type":"array","value":"a {{b}}","children":[{"field":"x","value":"1"}]}]');
SELECT payload_refusal('[{"field":"n","type":"object","value":"{{lines}}","children":[{"field":"x","value":"1"}]}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","value":"_function {{name}}::int"}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","value":"{{name|datetime}}"}]', data) FROM record;
SELECT payload_refusal('[{"field":"n","value":"at {{CURRENT_TIME|datetime}}"}]');
SELECT payload_refusal('[{"field":"n","value":"1","parent":"m"}]');
SELECT payload_refusal('[{"field":"n","value":"1","parent":"m"},{"field":"m","value":"1","parent":"n"},{"field":"o","value":"1"}]');
DROP TABLE record;
