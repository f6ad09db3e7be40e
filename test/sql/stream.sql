/* A stream is checked when it is added and when it is changed: name, schedule, definition. */

CREATE SERVER stream_server FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER stream_server
	OPTIONS (client_id 'i', client_secret 's', outer_instance_id '1');
CREATE SERVER stream_plain FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1', auth 'bearer');
CREATE USER MAPPING FOR CURRENT_USER SERVER stream_plain OPTIONS (token 't');
CREATE FUNCTION pg_temp.shown(name text) RETURNS text AS '$libdir/jdysync', 'jdy_test_stream' LANGUAGE C STRICT;

/* "accepted", or what it is refused with: SQLSTATE, message, detail, hint. */
CREATE FUNCTION pg_temp.answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
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

CREATE FUNCTION pg_temp.name_answer(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN pg_temp.answer(format('SELECT jdy_add_stream(%L, ''stream_server'', entry => ''customer'')', name));
END $$;
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

-- Names: letters of any script, digits, underscore
SELECT name, pg_temp.name_answer(name) FROM unnest(ARRAY['客户', 'kunden_2', 'Größe', 'клиент', '고객', '時々', '二〇二六', U&'\+020000\+030000',
	'_', '9', 'ＡＢ１', 'ガス', U&'\0928\093F']) AS name;

-- Nothing that is no letter, seen or unseen
SELECT ascii(substr(name, 2, 1)), pg_temp.name_answer(name) FROM unnest(ARRAY['a b', 'a-b', 'a"b', 'a.b',
	U&'a\00A0b', U&'a\0085b', U&'a\1680b', U&'a\2003b', U&'a\200Bb', U&'a\200Db', U&'a\2026b', U&'a\2028b', U&'a\202Eb', U&'a\3000b',
	'a，b', 'a。b', 'a、b', 'a（b', 'a：b', 'a？b', 'a［b', 'a＿b', 'a｛b', 'a｡b', 'a【b', 'a·b', 'a—b', 'a￥b', 'a→b',
	U&'a\E000b', U&'a\+0F0000b', U&'a\+100000b', U&'a\+01F600b', U&'a\+01F1E8b', U&'a\+0E0001b', U&'a\FEFFb', U&'a\FE0Fb', 'a☎b']) AS name;
SELECT pg_temp.name_answer('');
SELECT pg_temp.name_answer(repeat('a', 51));
SELECT pg_temp.name_answer(repeat('a', 50));

-- A stream without a schedule says so; one with a schedule is due, unless it is paused
SET client_min_messages = notice;
SELECT jdy_add_stream('by_hand', 'stream_server', entry => 'customer');
BEGIN;
SELECT jdy_add_stream('timed', 'stream_server', entry => 'customer', schedule => '5 min');
SELECT count(*) FROM jdysync.agenda WHERE due_at = next_at AND due_at <= clock_timestamp();
SELECT jdy_pause('timed');
SELECT jdy_pause('timed');
SELECT count(*) FROM jdysync.agenda;
COMMIT;
SET client_min_messages = warning;

-- Schedules: intervals of at least a second, ten years at most, of however many words, and cron of five or six fields
SELECT s, pg_temp.answer(format('SELECT jdy_alter_stream(''timed'', schedule => %L)', s)) FROM unnest(ARRAY['5 min', '5', '1 second', '00:05', 'PT5M', '@ 1 hour',
	'1 day 2 hours 30 minutes', '1 mon 2 days 3 hours', '1 year 2 mons 3 days', '1 day 2 hours 5', '@ 1 day 2 hours',
	'* * * * *', '*/5 * * * *', '0 0 1 1 0', '0 8-18/2 * jan-mar mon,wed,fri', '5,10 * * * SUN', '30 */5 * * * *', '0 0 2 * * 7', '1 2 3 4 5 6']) AS s;
SELECT s, pg_temp.answer(format('SELECT jdy_alter_stream(''timed'', schedule => %L)', s)) FROM unnest(ARRAY['', 'never', 'every five minutes', 'every 5 minutes of the day', '0 s',
	'500 ms', '-1 day', '1 day 2 hours ago', '5 min and 3 seconds more', 'infinity', '11 years', '0 0 30 2 *',
	'60 * * * *', '* 24 * * *', '* * 0 * *', '* * * 13 *', '* * * * 8', '* * * foo *', '* * * * monday', '* * mon * *', '*/0 * * * *', '*/ * * * *',
	'5-1 * * * *', '1-2-3 * * * *', ', * * * *', '1,,2 * * * *', '* * L * *', '? * * * *', '60 * * * * *', '* * * *', '* * * * * * *']) AS s;

-- Metadata that fills only part: the catalogue fills the rest; whether rows keep their order
CREATE FUNCTION pg_temp.defined(metadata text, server text DEFAULT 'stream_server', detail boolean DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	shown text;
BEGIN
	PERFORM jdy_add_stream('defined', server, metadata::jsonb, detail => detail);
	shown := pg_temp.shown('defined');
	PERFORM jdy_drop_stream('defined', false);
	RETURN shown;
END $$;
SELECT pg_temp.defined('{"api":"/jdy/v2/bd/customer"}');
SELECT pg_temp.defined('{"api":"/jdy/v2/bd/customer","id":"number","number":"name"}');
SELECT pg_temp.defined('{"api":"/jdy/v2/scm/sal_order"}');
SELECT pg_temp.defined('{"api":"/jdy/v2/scm/sal_order","id":["bill_no","seq"],"number":"bill_no"}');
SELECT pg_temp.defined('{"api":"/elsewhere"}');
SELECT pg_temp.defined('{"api":"/elsewhere","number":"number"}');
SELECT pg_temp.defined('{"api":"/jdy/v2/bd/customer","request":[{"field":"order_by","value":"number desc"}]}');
SELECT pg_temp.defined('{"api":"/jdy/v2/bd/customer","request":[{"field":"order_by","value":"name asc"}]}');
SELECT pg_temp.defined('{"api":"/jdy/v2/bd/customer","request":[{"field":"order_by","value":"numbers"}]}');
SELECT pg_temp.defined('{"api":"/jdy/v2/bd/customer","request":[{"field":"search","value":"x"}]}');
SELECT pg_temp.shown('by_hand');

-- A table that was moved is named where it is
ALTER TABLE jdysync.staging_by_hand SET SCHEMA public;
SELECT jdy_alter_stream('by_hand', metadata => '{"api":"/jdy/v2/bd/customer","condition":[[{"field":"a","logic":"eq","value":"1"}]]}');
ALTER TABLE public.staging_by_hand SET SCHEMA jdysync;
SELECT jdy_alter_stream('by_hand', entry => 'customer');

-- Parts of metadata that are not acted on say so, and what to do instead
SELECT jdy_add_stream('pasted', 'stream_server', '{"api":"/jdy/v2/bd/customer","otherRequest":[],"condition":[],"omissionRemedy":{}}');
SELECT jdy_alter_stream('pasted', metadata => '{"api":"/jdy/v2/bd/customer",
 "otherRequest":[{"field":"search","value":"x"},{"field":"group","value":"y"}],
 "condition":[[{"field":"enable","logic":"eq","value":"1"}]],
 "omissionRemedy":{"crontab":"2 */2 * * *","takeOverRequest":[]}}');
SELECT jdy_add_stream('pasted_too', 'stream_server', '{"api":"/jdy/v2/bd/customer","otherRequest":[{"field":"search","value":"x"}]}');
SELECT jdy_alter_stream('pasted_too', settle => '1 min');

-- A changed definition is checked before it is stored
SELECT jdy_add_stream('plain', 'stream_plain', '{"api":"/elsewhere"}');
SELECT pg_temp.answer('SELECT jdy_alter_stream(''plain'', detail => true)');
SELECT pg_temp.shown('plain');
SELECT pg_temp.answer('SELECT jdy_alter_stream(''plain'', entry => ''nowhere'')');
SELECT pg_temp.answer('SELECT jdy_alter_stream(''plain'', server => ''nowhere'')');
SELECT pg_temp.answer('SELECT jdy_alter_stream(''plain'', server => ''nowhere'', schedule => ''5 min'')');
SELECT pg_temp.answer('SELECT jdy_alter_stream(''plain'', metadata => ''{"api":"/x","request":[{"field":"a","value":"_function nothing()"}]}'')');
SELECT pg_temp.shown('plain');
-- An entry replaces the metadata, metadata the entry
SELECT jdy_alter_stream('plain', entry => 'supplier');
SELECT pg_temp.shown('plain');
SELECT jdy_alter_stream('plain', metadata => '{"api":"/other"}');
SELECT pg_temp.shown('plain');
-- What cannot be used any more can be repaired
CREATE FUNCTION public.jdy_test_gone() RETURNS text LANGUAGE sql AS $$ SELECT '1' $$;
SELECT jdy_alter_stream('plain', metadata => '{"api":"/x","request":[{"field":"a","value":"_function public.jdy_test_gone()"}]}');
DROP FUNCTION public.jdy_test_gone();
SELECT pg_temp.answer('SELECT pg_temp.shown(''plain'')');
SELECT jdy_pause('plain');
SELECT jdy_alter_stream('plain', schedule => '5 min', settle => '1 min');
SELECT jdy_alter_stream('plain', entry => 'supplier');
SELECT pg_temp.shown('plain');
DROP SERVER stream_plain CASCADE;
SELECT pg_temp.answer('SELECT pg_temp.shown(''plain'')');
SELECT jdy_alter_stream('plain', schedule => '10 min');
SELECT jdy_alter_stream('plain', server => 'stream_server');
SELECT pg_temp.shown('plain');

-- Only what changes the filter opens a new epoch
SET client_min_messages = notice;
CREATE FUNCTION pg_temp.epoch() RETURNS int LANGUAGE sql AS $$ SELECT epoch FROM jdysync.stream WHERE name = 'by_hand' $$;
UPDATE jdysync.stream SET epoch = 1;
SELECT jdy_alter_stream('by_hand', server => 'stream_server', entry => 'customer', detail => true, decrypt => true, settle => '1 min', overlap => '1 h'), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', detail => false), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', detail => false), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', start_from => '2026-01-01 00:00+0'), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', start_from => '2026-01-01 00:00+0'), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', decrypt => false), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', metadata => '{"api":"/jdy/v2/bd/customer"}'), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', metadata => '{"api":"/jdy/v2/bd/customer"}'), pg_temp.epoch();
SELECT jdy_alter_stream('by_hand', metadata => '{"api":"/elsewhere"}'), pg_temp.epoch();
SET client_min_messages = warning;

-- With the filter go notes of what is due and what was set aside
CREATE FUNCTION pg_temp.noted() RETURNS text LANGUAGE sql AS $$
	SELECT concat((SELECT count(*) FROM jdysync.listing), ' ', (SELECT count(*) FROM jdysync.reject)) $$;
INSERT INTO jdysync.listing (stream_id, id, due) SELECT stream_id, '1', true FROM jdysync.stream WHERE name IN ('by_hand', 'timed');
INSERT INTO jdysync.incident (name, severity, what, advice) VALUES ('by_hand', 'warning', 'count not trusted', '?');
INSERT INTO jdysync.reject (stream_id, run_id, reason, digest, raw) SELECT stream_id, 1, '?', '', '' FROM jdysync.stream WHERE name IN ('by_hand', 'timed');
SELECT jdy_alter_stream('by_hand', settle => '2 min'), pg_temp.noted();
SELECT jdy_alter_stream('by_hand', decrypt => true), pg_temp.noted();
-- A gap in the ledger is over with the ledger
SELECT what, closed_at IS NOT NULL FROM jdy_incidents;
DELETE FROM jdysync.incident;

-- Nothing of it is left to other tests
SELECT count(jdy_drop_stream(name, false)::text) FROM jdysync.stream;
DROP SERVER stream_server CASCADE;
