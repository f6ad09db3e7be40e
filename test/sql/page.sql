/* A reply is cut into rows; what is bad is named, and never takes good rows along. */

CREATE FUNCTION page(body bytea, id_fields text[] DEFAULT '{id}', number_field text DEFAULT 'number',
	rows_path text DEFAULT NULL, count_path text DEFAULT NULL, single boolean DEFAULT false,
	OUT problem text, OUT errcode bigint, OUT description text, OUT no_record boolean, OUT nrows integer,
	OUT count bigint, OUT page bigint, OUT page_size bigint, OUT total_page bigint)
AS '$libdir/jdysync', 'jdy_test_page' LANGUAGE C;
CREATE FUNCTION page_rows(body bytea, id_fields text[] DEFAULT '{id}', number_field text DEFAULT 'number',
	rows_path text DEFAULT NULL, count_path text DEFAULT NULL, single boolean DEFAULT false)
RETURNS TABLE (id text, number text, problem text, data jsonb, digest bigint)
AS '$libdir/jdysync', 'jdy_test_page_rows' LANGUAGE C;

CREATE FUNCTION page(body text, rows_path text DEFAULT NULL, count_path text DEFAULT NULL, single boolean DEFAULT false,
	OUT problem text, OUT errcode bigint, OUT description text, OUT no_record boolean, OUT nrows integer,
	OUT count bigint, OUT page bigint, OUT page_size bigint, OUT total_page bigint)
LANGUAGE sql RETURN page(convert_to(body, 'UTF8'), '{id}', 'number', rows_path, count_path, single);
/* Rows of a page that holds these. */
CREATE FUNCTION rows(rows bytea, id_fields text[] DEFAULT '{id}')
RETURNS TABLE (id text, number text, problem text, data jsonb)
BEGIN ATOMIC
	SELECT r.id, r.number, r.problem, r.data FROM page_rows('{"errcode":0,"data":{"rows":[' || rows || ']}}', id_fields) r;
END;
CREATE FUNCTION rows(rows text, id_fields text[] DEFAULT '{id}')
RETURNS TABLE (id text, number text, problem text, data jsonb)
BEGIN ATOMIC
	SELECT r.* FROM rows(convert_to(rows, 'UTF8'), id_fields) r;
END;

-- Both envelopes, as they are documented: keys in any order, counts as strings or numbers
SELECT * FROM page('{"data":{"count":"3","current_page":1,"current_page_size":3,"page":1,"page_size":100,
	"rows":[{"id":"1"},{"id":"2"},{"id":"3"}],"total_page":1},"description":"success","errcode":0}');
SELECT * FROM page('{"errcode":0,"data":{"rows":[{"id":"1"}],"total_page":7,"page_size":"50","current_page":"2","total":301}}');
SELECT * FROM page('{"code":200,"data":[{"id":"1","number":"A","name":"甲"},{"id":"2"}]}');
SELECT * FROM page('{"data":[{"id":"1"}],"total":9,"page":3,"code":"200","msg":"好"}');
SELECT * FROM page(' ' || E'\n\t{ "data" : [ ] , "code" : 0 }\r\n ');
SELECT * FROM page(E'\uFEFF{"errcode":0,"data":{"rows":[]}}');

-- The count belongs to the level of the rows; one that is no number is none
SELECT count FROM page('{"count":5,"errcode":0,"data":{"rows":[],"count":"7"}}');
SELECT count FROM page('{"count":5,"errcode":0,"data":{"rows":[]}}');
SELECT c, (page(format('{"errcode":0,"data":{"rows":[],"count":%s}}', c))).count
FROM unnest('{"\"\"",null,"\"many\"",1.5,9223372036854775807,9223372036854775808,-1,"[3]","\"12\""}'::text[]) c;

-- Other places by path
SELECT problem, nrows, count FROM page('{"content":{"total":2,"rows":{"list":[{"id":1},{"id":2}],"n":5}},"success":true}', 'content.rows.list', 'content.total');
SELECT problem, nrows, count FROM page('{"meta":{"n":"2"},"list":[{"id":1}]}', 'list', 'meta.n');
SELECT problem, nrows, count FROM page('{"data":{"rows":[{"id":1}]}}', 'data.list', NULL);
SELECT problem FROM page('{"a":1}', 'a.b.c.d.e.f.g.h.i');

-- Errors of the service need no rows, wherever the code stands
SELECT problem, errcode, description FROM page('{"errcode":1030002002,"description":"编码已存在，不能重复新增","data":null}');
SELECT problem, errcode, description FROM page('{"data":{"rows":[{"id":"1"}]},"message":"no","errcode":"4008"}');
SELECT problem, errcode, description FROM page('{"code":401,"msg":"token \u8fc7\u671f","description":""}');
SELECT problem, errcode FROM page('{"code":200,"errcode":5,"data":[]}');
SELECT problem, errcode FROM page('{"errcode":5,"code":200,"data":[]}');
SELECT problem, errcode FROM page('{"errcode":5,"errcode":0,"data":[]}');
SELECT problem, errcode FROM page('{"errcode":200,"data":[]}');
SELECT problem, errcode FROM page('{"errcode":null,"code":"","data":[]}');
SELECT problem, errcode FROM page('{"errcode":"bad","data":[]}');
SELECT length(description), octet_length(description) FROM page('{"errcode":1,"msg":"' || repeat('长', 5000) || '"}');
SELECT description FROM page('{"errcode":1,"msg":"half \ud800"}');

-- What is no page is never an empty page
SELECT left(body, 40) AS body, (page(body)).problem
FROM unnest(ARRAY['', ' ', '<!DOCTYPE html><html></html>', 'Bad Gateway', '[]', '"x"', 'null', '{', '{}', '{"data"', '{"data":',
	'{"errcode":0}', '{"errcode":0,"data":null}', '{"errcode":0,"data":{}}', '{"errcode":0,"data":""}',
	'{"errcode":0,"data":{"count":3}}', '{"errcode":0,"data":{"rows":null}}', '{"errcode":0,"data":{"count":"0","rows":null}}',
	'{"errcode":0,"data":{"count":3,"rows":null}}', '{"errcode":0,"data":{"rows":""}}', '{"errcode":0,"data":{"rows":{}}}',
	'{"errcode":0,"data":{"rows":[{"id":1}]}', '{"errcode":0,"data":{"rows":[{"id":1}', '{"errcode":0,"data":{"rows":[{"id":"1',
	'{"errcode":0,"data":{"rows":[{"id":"1\', '{"errcode":0,"data":{"rows":[{"id":1}', '{"errcode":0,"data":{"rows":[{"id":1},]}}',
	'{"errcode":0,"data":{"rows":[{"id":1} {"id":2}]}}', '{"errcode":0,"data":{"rows":[{"id":1]}]}}', '{"errcode":0,"data":{"rows":[{"id":1}}}}',
	'{"errcode":0,"data":{"rows":[]]}', '{"errcode":0,"data":{"rows":[]}}}', '{"errcode":0,"data":{"rows":[]}} x', '{"errcode":0,"data":{"rows":[]}}{"errcode":1}',
	'{"errcode":0 "data":{"rows":[]}}', '{"errcode" 0,"data":{"rows":[]}}', '{errcode:0,"data":{"rows":[]}}', '{"errcode":0,,"data":{"rows":[]}}',
	'{"errcode":0,"data":{"rows":[]},}', '{"errcode":0,"x":tru,"data":{"rows":[]}}', '{"errcode":,"data":{"rows":[]}}', '{"errcode":0,"x":01,"data":{"rows":[]}}',
	'{"errcode":0,"data":{"rows":[]},"data":{"rows":[]}}', '{"errcode":0,"data":{"rows":[],"rows":[{"id":1}]}}']) body;
SELECT (page('{"errcode":0,"data":{"rows":[{"id":"1"}],"x":'::bytea || '\x00'::bytea || '}}')).problem;
SELECT (page('\x1f8b0800'::bytea)).problem;

-- Ids: strings, all digits of numbers, escapes resolved; names of keys too
SELECT * FROM rows('{"id":"1500000000000001024","number":"KH00001"},{"id":1500000000000001025,"number":7},{"id":123456789012345678901234567890},
	{"id":"\u4e2d\ud83d\ude00\n\"\\\/x","number":"a\tb"},{"\u0069d":"7","num\u0062er":"n"},{"id":"1","id":"2"},{"x":{"id":"9"},"id":"3"},
	{"id" : "4" , "number" : null},{"id":1.50},{"id":true},{ "a":["id","x"], "id"
	:
	"5"  },{"id":"6","number":""},{"id":"a|b"}');
SELECT * FROM rows('{"name":"x"},{"id":null},{"id":""},{"id":{}},{"id":{"a":1}},{"id":[1]},{},7,"s",null,[1],[{"id":1}],{"id":"8"}');

-- Several key fields: no two keys ever make the same id
SELECT id, problem FROM rows('{"bill_no":"A","seq":1},{"bill_no":"A|1","seq":"2"},{"bill_no":"A","seq":"1|2"},{"bill_no":"A\\","seq":"|"},
	{"bill_no":"A"},{"bill_no":"A","seq":""},{"seq":3,"bill_no":"B"}', '{bill_no,seq}');
-- A part with ? may be missing, the first one not; * makes the whole row its key
SELECT id, problem FROM rows('{"a":"1","b":"2"},{"a":"1"},{"a":"1","b":null},{"b":"2"}', '{a,b?}');
SELECT length(id), count(*), problem FROM rows('{"a":"1"},{"a":"1"},{"a":"2"},{}', '{*}') GROUP BY id, problem ORDER BY 2 DESC;

-- A bad row is set aside alone
SELECT * FROM rows('{"id":"1"},{"id":"2","x":"\u0000"},{"id":"3","x":"\ud800"},{"id":"4","x":"\udc00"},{"id":"5","x":"\ud800\u0041"},{"id":"6","x":"\ude00\ud83d"},
	{"id":"7","x":"\ud83d\ude00"},{"id":"8","x":"\\u0000"},{"id":"\u0000"},{"id":"9","x":"\uZZZZ"},{"id":"10","x":"\q"},{"id":"11","x":01},{"id":"12" "x":1},
	{"id":"13","x":tru},{"id":"14",},{"id":"15","x":1e400000},{"id":"16","x":"' || chr(9) || '"},{"id":"17"}');
SELECT id, problem, data FROM rows('{"id":"1","x":"'::bytea || '\xe4b8'::bytea || '"},{"id":"2","x":"ok"},{"id":"'::bytea || '\xff'::bytea || '"},{"id":"3","x":"'::bytea
	|| convert_to('中文', 'GBK') || '"},{"id":"4","x":"'::bytea || '\xeda080'::bytea || '"},{"id":"5","x":"'::bytea || '\x00'::bytea || '"},{"id":"6","x":"'::bytea || convert_to('中文', 'UTF8') || '"}'::bytea);
SELECT length(id), problem FROM rows('{"id":"' || repeat('x', 1000) || '"},{"id":"' || repeat('x', 1001) || '"},{"id":"' || repeat('客', 334) || '"}');

-- Nesting of any depth is passed over; more than 512 levels are set aside
SELECT id, problem, data IS NOT NULL AS stored FROM rows('{"id":"1","x":' || repeat('[', 511) || repeat(']', 511) || '},{"id":"2","x":' || repeat('[', 512) || repeat(']', 512)
	|| '},{"id":"3","x":' || repeat('{"a":', 20000) || '1' || repeat('}', 20000) || '},{"id":"4"}');
SELECT id, problem FROM rows('{"id":"1","x":' || repeat('[', 2000000) || repeat(']', 2000000) || '},{"id":"2"}');
SELECT problem FROM page('{"errcode":0,"data":{"rows":[{"id":"1","x":' || repeat('[', 2000000) || repeat(']', 1999999) || '}]}}');
SELECT problem, errcode FROM page('{"x":' || repeat('{"data":', 20000) || '1' || repeat('}', 20000) || ',"errcode":1}');
SELECT problem FROM page(repeat('[', 20000));
SELECT problem FROM page(repeat('{"data":', 20000));

-- Large: a row of more than 16 MB is set aside, a body of 50 MB is no trouble
SELECT id, problem, length(data::text) FROM rows('{"id":"1","x":"' || repeat('x', 17000000) || '"},{"id":"2","x":"' || repeat('y', 15000000) || '"},{"id":"3"}');
SELECT nrows, problem FROM page('{"code":200,"data":[' || repeat('{"id":"1","x":"' || repeat('z', 1000) || '"},', 50000) || '{"id":"2"}]}');
SELECT nrows, problem FROM page('{"code":200,"data":[' || repeat('0,', 1000001) || '0]}');

-- A detail is one record
SELECT p.problem, p.no_record, p.nrows, r.id, r.data FROM page('{"data":{"id":"1500000000000001024","bomentity":[{"id":"9"}]},"description":"success","errcode":0}', single => true) p,
	page_rows('{"data":{"id":"1500000000000001024","bomentity":[{"id":"9"}]},"description":"success","errcode":0}'::bytea, single => true) r;
SELECT body, p.problem, p.no_record, p.nrows, p.errcode
FROM unnest(ARRAY['{"errcode":0,"data":null}', '{"errcode":0,"data":""}', '{"errcode":0,"data":" "}', '{"errcode":0,"data":{}}', '{"errcode":0,"data":{ }}', '{"errcode":0,"data":[]}', '{"errcode":0}',
	'{"errcode":0,"data":[{"id":"1"}]}', '{"errcode":0,"data":"gone"}', '{"errcode":0,"data":false}', '{"errcode":1030002003,"data":null}',
	'{"errcode":0,"data":{"id":"1"},"data":{"id":"2"}}', '{"data":{"id":"1"}']) body, page(body, single => true) p;
SELECT nrows, problem FROM page('{"result":{"customer":{"id":"1"}}}', 'result.customer', single => true);

-- Rows say what PostgreSQL reads from the whole body, whatever stands in their strings
WITH made AS (
	SELECT n, jsonb_build_object('id', n, repeat('k', n % 11), left(s, n % 37), 'list', jsonb_build_array(s, jsonb_build_object('id', s), n / 7.0, NULL, true)) AS row
	FROM generate_series(1, 3000) n, LATERAL (SELECT string_agg(substr(E'ab"\\\\"\n\t{}[]:,中😀/é', (n * i * 7919 + i) % 22 + 1, 1), '') AS s FROM generate_series(1, 3 + n % 40) i) q),
page AS (SELECT convert_to(format('{"data":%s,"code":200}', jsonb_agg(row ORDER BY n)), 'UTF8') AS body FROM made)
SELECT count(*), count(*) FILTER (WHERE r.data = m.row) AS same, count(DISTINCT r.id) AS ids
FROM page, page_rows(body) WITH ORDINALITY r(id, number, problem, data, digest, n) JOIN made m ON m.n = r.n AND m.n::text = r.id;

-- The digest follows the bytes, nothing else
SELECT count(DISTINCT digest), count(*) FROM page_rows('{"data":[{"id":"1","x":1},{"id":"1","x":1},{"id":"1","x":2},{"id":"1", "x":1}]}');
