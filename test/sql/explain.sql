/* jdy_explain says before the first call what a stream, a push or a catalogue entry would ask. */

CREATE SERVER explain_books FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER explain_books OPTIONS (client_id 'i', client_secret 's', outer_instance_id '1');
CREATE SERVER explain_shop FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1', auth 'bearer', calls_per_minute '60');
CREATE USER MAPPING FOR CURRENT_USER SERVER explain_shop OPTIONS (token 't');
CREATE SERVER explain_free FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1', auth 'none');
SET TimeZone = 'Asia/Shanghai';
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only on

-- What the catalogue knows, before there is a server
SELECT jdy_explain('sal_order');
SELECT jdy_explain('customer');

-- Neither stream nor entry
SELECT jdy_explain('custmer');
SELECT jdy_explain('etwas ganz anderes');

-- Streams that never ran; nothing is committed, so none of them begins to
BEGIN;
SELECT jdy_add_stream('explained', 'explain_books', entry => 'customer', schedule => '5 min');
SELECT jdy_explain('explained');
SELECT jdy_alter_stream('explained', schedule => '*/30 2 * * *', start_from => '2024-01-01 00:00+8', settle => '90 s', detail => false);
SELECT jdy_explain('explained');
SELECT jdy_pause('explained');
SELECT line FROM jdy_explain('explained') AS line LIMIT 1;
SELECT jdy_add_stream('explained_days', 'explain_free', '{"api":"list","effect":"QUERY","id":"id","number":"code","request":[
	{"field":"from","value":"_function FROM_UNIXTIME({LAST_SYNC_TIME}, ''%Y-%m-%d'')"},
	{"field":"to","value":"_function FROM_UNIXTIME({CURRENT_TIME}, ''%Y-%m-%d'')"},{"field":"shop","value":"7"}]}');
SELECT jdy_explain('explained_days');
SELECT jdy_add_stream('explained_whole', 'explain_shop', '{"api":"list","effect":"QUERY"}', schedule => '1 h');
SELECT jdy_explain('explained_whole');

-- What a run found out, and what waits
INSERT INTO jdysync.contract (stream_id, question, answer, since, asked_at, evidence)
	SELECT s.stream_id, q.question, q.answer, '2026-01-01', '2026-01-01', '' FROM jdysync.stream s
	CROSS JOIN (VALUES ('filter', 'ignored'), ('page size', '50'), ('offset', 'unknown'), ('past the end', 'unknown')) AS q (question, answer) WHERE s.name = 'explained';
UPDATE jdysync.stream SET loaded_at = '2026-01-01 00:00+8',
	coverage = '{(,"2026-01-01 00:00+8"),["2026-01-02 00:00+8","2026-01-03 00:00+8")}', start_from = NULL, detail = NULL WHERE name = 'explained';
INSERT INTO jdysync."window" (stream_id, epoch, span, rule, calls, rows, run_id)
	SELECT stream_id, 1, '(,"2026-01-01 00:00+8")', 'load', 1, 12345, 1 FROM jdysync.stream WHERE name = 'explained';
INSERT INTO jdysync.listing (stream_id, id, due, due_from, due_since, problem)
	SELECT stream_id, i::text, true, '-infinity', '-infinity', CASE WHEN i > 900 THEN 'x' END FROM jdysync.stream, generate_series(1, 1000) AS i WHERE name = 'explained';
SELECT jdy_explain('explained');

-- Pushes
CREATE TABLE explained_source (id text PRIMARY KEY, name text);
SELECT jdy_add_push('explained_push', 'explain_shop', 'explained_source',
	'{"api":"items","effect":"EXECUTE","operation":{"method":"batchArraySave","rows":50,"rowsKey":"rows"},"delete":{"api":"gone"}}', schedule => '7 d');
SELECT jdy_explain('explained_push');
SELECT jdy_add_push('explained_single', 'explain_free', 'explained_source', '{"api":"items","effect":"EXECUTE","request":[{"field":"a","value":"{{name}}"}]}');
SELECT jdy_explain('explained_single');
ROLLBACK;

-- Not for others, but for what the catalogue knows
SELECT jdy_add_stream('explained', 'explain_books', entry => 'customer');
CREATE ROLE explain_stranger;
GRANT EXECUTE ON FUNCTION jdy_explain TO explain_stranger;
SET ROLE explain_stranger;
SELECT jdy_explain('explained');
SELECT count(*) > 5 FROM jdy_explain('material');
RESET ROLE;

SELECT jdy_drop_stream('explained', false);
DROP OWNED BY explain_stranger;
DROP ROLE explain_stranger;
DROP SERVER explain_books CASCADE;
DROP SERVER explain_shop CASCADE;
DROP SERVER explain_free CASCADE;
