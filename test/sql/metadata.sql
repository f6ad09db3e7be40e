/* Metadata as people paste it is read; what would change its meaning is refused by name. */

CREATE FUNCTION metadata(metadata jsonb, effect text DEFAULT 'QUERY') RETURNS text
AS '$libdir/jdysync', 'jdy_test_metadata' LANGUAGE C;
\pset format unaligned
\pset tuples_only on

/* What it is refused with: SQLSTATE, message, detail, hint. */
CREATE FUNCTION refusal(bad jsonb, effect text DEFAULT 'QUERY') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM metadata(bad, effect);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n  ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

-- What the Qeasy platform exports for customers, a key wrapped in dollar signs included
SELECT metadata('{"api":"/jdy/v2/bd/customer","effect":"QUERY","method":"GET","number":"number","id":"id","name":"number","idCheck":true,
 "request":[
  {"field":"modify_end_time","label":"修改时间-结束时间的时间戳(毫秒)","type":"string","describe":"修改时间-结束时间的时间戳(毫秒)","value":"_function {CURRENT_TIME}*1000"},
  {"field":"modify_start_time","label":"修改时间-开始时间的时间戳(毫秒)","type":"string","describe":"修改时间-开始时间的时间戳(毫秒)","value":"_function {LAST_SYNC_TIME}*1000"},
  {"field":"page","label":"当前页,默认1","type":"string","describe":"当前页,默认1","value":"1"},
  {"field":"page_size","label":"每页显示条数,默认10","type":"string","describe":"每页显示条数,默认10","$value$":"50"}]}');

-- The page of the platform: response, operation and more keys than are needed
SELECT metadata('{"api":"/jdy/v2/bd/customer","effect":"QUERY","type":"QUERY","method":"GET","id":"id","number":"number","name":"name","idCheck":true,
 "operation":{"method":"none"},"request":[{"field":"page","label":"当前页,默认1","type":"string","value":"1"}],"otherRequest":[],
 "response":[{"field":"id","label":"客户id","type":"string","value":"_autoFillResponse"}],"otherResponse":[],"adapter":"x"}');

-- The empty write and one with lines
SELECT metadata('{"api":"写入空操作","effect":"EXECUTE","type":"EXECUTE","method":"POST","idCheck":true,"request":[],"otherRequest":[],"response":[],"operation":{"method":"none"}}', 'EXECUTE');
SELECT metadata('{"api":"batchSave","effect":"EXECUTE","method":"post","operation":{"rowsKey":"array","$rows$":1,"method":"batchArraySave"},"request":[
  {"field":"FBillNo","label":"单据编号","type":"string","value":"{{tradeNo}}"},
  {"field":"FEntity","label":"明细信息","type":"array","value":"goodsDetail","children":[
   {"field":"FMaterialId","label":"物料编码","type":"string","value":"{{goodsDetail.goodsNo}}","parent":"FEntity"},
   {"field":"FRealQty","label":"实退数量","type":"string","value":"_function {{goodsDetail.sellCount}}*-1","parent":"FEntity"}]}],
 "delete":{"method":"DELETE"},"condition":[[{"field":"enable","logic":"eq","value":"1"}]]}', 'EXECUTE');

-- The shortest; several key fields; paths of the response; a second schedule
SELECT metadata('{"api":"/x"}');
SELECT metadata('{"api":"/x","type":"query","id":["bill_no","seq"],"number":"","idCheck":"false","request":{},"operation":[],"condition":"","$delete$":null,
 "response":{"rows":"result.list","count":"result.total"},
 "omissionRemedy":{"crontab":"2 */2 * * *","takeOverRequest":[{"field":"modify_start_time","value":"{{DAYS_AGO_2|datetime}}"}]}}');
SELECT metadata('{"api":"/x","request":[{"field":"a","value":null},{"field":"b","value":""},{"field":"c","value":7},{"field":"d","value":["1","2"]},{"field":"e"},{"field":"a","parent":"b","value":true}]}');

-- Errors name the key
SELECT refusal('[]');
SELECT refusal('"x"');
SELECT refusal('{}');
SELECT refusal('{"api":""}');
SELECT refusal('{"api":7}');
SELECT refusal('{"api":"/x","effect":"EXECUTE"}');
SELECT refusal('{"api":"/x","effect":"QUERY"}', 'EXECUTE');
SELECT refusal('{"api":"/x","type":"both"}');
SELECT refusal('{"api":"/x","method":"FETCH"}');
SELECT refusal('{"api":"/x","id":[]}');
SELECT refusal('{"api":"/x","id":["a",1]}');
SELECT refusal('{"api":"/x","id":{"a":1}}');
SELECT refusal('{"api":"/x","id":7}');
SELECT refusal('{"api":"/x","number":["a"]}');
SELECT refusal('{"api":"/x","idCheck":"perhaps"}');
SELECT refusal('{"api":"/x","request":"page=1"}');
SELECT refusal('{"api":"/x","request":{"page":1}}');
SELECT refusal('{"api":"/x","request":["page"]}');
SELECT refusal('{"api":"/x","request":[["page"]]}');
SELECT refusal('{"api":"/x","request":[{"label":"page"}]}');
SELECT refusal('{"api":"/x","request":[{"field":"page","value":"1"},{"field":"page","value":"2"}]}');
SELECT refusal('{"api":"/x","operation":["a"]}');
SELECT refusal('{"api":"/x","condition":{"a":1}}');
SELECT refusal('{"api":"/x","effect":"EXECUTE","method":"POST","delete":{}}', 'EXECUTE');
SELECT refusal('{"api":"/x","response":{"rows":"a..b"}}');
SELECT refusal('{"api":"/x","response":{"rows":"a.b.c.d.e.f.g.h.i"}}');
SELECT refusal('{"api":"/x","omissionRemedy":{"takeOverRequest":[]}}');

-- What is not supported is refused, with the way in SQL
SELECT refusal('{"api":"/x","request":[{"field":"a","value":"1","parser":{"name":"StringToArray","params":","}}]}');
SELECT refusal('{"api":"/x","request":[{"field":"a","value":"1","$parser$":{"name":"StringToArray"}}]}');
SELECT refusal('{"api":"/x","request":[{"field":"a","value":"1","parser":[]},{"field":"b","parser":{}},{"field":"c","parser":""}]}');
SELECT refusal('{"api":"/x","request":[{"field":"a","value":"_findCollection find id from 64a0 where a={{x}}"}]}');
SELECT refusal('{"api":"/x","effect":"EXECUTE","request":[{"field":"a","children":[{"field":"b","value":["_mongoQuery 64a0"]}]}]}', 'EXECUTE');
SELECT refusal('{"api":"/x","request":[{"field":"a","value":"_function 1 + _findCollection find id from 64a0 where a=1 _endFind"}]}');
