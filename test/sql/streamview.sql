/* A stream comes with views of what the documents name: typed, by line item, and masked. */

CREATE SERVER view_server FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:1', time_zone 'Asia/Shanghai');
CREATE USER MAPPING FOR CURRENT_USER SERVER view_server
	OPTIONS (client_id 'i', client_secret 's', outer_instance_id '1');
SET client_min_messages = warning;
SET TimeZone = 'Asia/Shanghai';
SET DateStyle = 'ISO, YMD';
\pset format unaligned
\pset tuples_only on

/* "accepted", or what the statement is refused with. */
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
/* The views there are: name, columns, rows. */
CREATE FUNCTION pg_temp.views() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	v regclass;
	n bigint;
BEGIN
	FOR v IN SELECT view FROM jdysync.mapped_view m JOIN pg_class c ON c.oid = m.view WHERE m.mapping IS NULL ORDER BY c.relname COLLATE "C" LOOP
		EXECUTE format('SELECT count(*) FROM %s', v) INTO n;
		RETURN NEXT concat_ws(' ', v, (SELECT count(*) FROM pg_attribute WHERE attrelid = v AND attnum > 0), n);
	END LOOP;
END $$;

SELECT jdy_add_stream('v_customer', 'view_server', entry => 'customer');
SELECT jdy_add_stream('v_supplier', 'view_server', entry => 'supplier');
SELECT jdy_add_stream('v_order', 'view_server', '{"api":"/jdy/v2/scm/sal_order"}');
SELECT jdy_add_stream('料', 'view_server', entry => 'material', detail => false);
SELECT jdy_add_stream('elsewhere', 'view_server', '{"api":"/elsewhere"}');
SELECT pg_temp.views();

-- Every column says what it is; the catalogue's sensitive fields are those that the service encrypts
SELECT count(*) FROM jdysync.mapped_view m JOIN pg_attribute a ON a.attrelid = m.view AND a.attnum > 0 WHERE col_description(a.attrelid, a.attnum) IS NULL;
SELECT f.entry, f.entry_of, f.field FROM jdysync.catalog_field f JOIN jdysync.catalog c USING (entry)
WHERE f.sensitive IS NOT NULL AND concat_ws('.', f.entry_of, f.field) <> ALL (c.detail_secrets || regexp_replace(c.list_secrets::text, 'Row\.', '', 'g')::text[]);
SELECT c.entry, s FROM jdysync.catalog c, unnest(c.detail_secrets || regexp_replace(c.list_secrets::text, 'Row\.', '', 'g')::text[]) s
WHERE c.entry IN (SELECT f.entry FROM jdysync.catalog_field f) AND NOT EXISTS (SELECT FROM jdysync.catalog_field f WHERE f.entry = c.entry AND f.sensitive IS NOT NULL AND concat_ws('.', f.entry_of, f.field) = s);

-- Values in their types, whatever comes; deleted and undetailed records are left out
INSERT INTO jdysync.staging_v_customer (id, number, data, detailed_at, synced_at, run_id, deleted_at) VALUES
	('1', 'KH1', '{"id": "1", "number": "KH1", "name": "一", "enable": "1", "credit_limit": 1000.50, "rate": "13", "deduct": false, "addr": "秘密路1号", "bank_account": "6222000000000000001", "invoice_phone": "0591-81234567", "remark": "",
		"create_time": "2025-11-30 09:15:02", "modify_time": "2025-12-01 10:20:30", "custom_field": {"custom_field__1__demo": "A"},
		"bomentity": [{"id": "11", "contact_person": "甲", "mobile": "13812345678", "email": "secret@example.com", "birthday": "1990-01-02", "phone": "12345", "qq": "", "new_secret": "secret"}, "odd", {"mobile": 13912345678}]}', now(), '2026-01-01', 1, NULL),
	('2', '', '{"id": "2", "enable": 0, "credit_limit": "n/a", "rate": "", "deduct": 9, "addr": "", "invoice_phone": 123456789, "modify_time": "", "create_time": "2025-02-30 00:00:00", "bomentity": "", "custom_field": null, "name": {"a": 1}}', now(), '2026-01-01', 1, NULL),
	('3', NULL, '{}', now(), '2026-01-01', 1, NULL), ('4', 'KH4', '{"name": "list row"}', NULL, now(), 1, NULL), ('5', 'KH5', '{"name": "gone"}', now(), now(), 1, now());
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM jdy_v_customer v ORDER BY id;
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM jdy_v_customer_masked v ORDER BY id;
SELECT count(*) FROM jdy_v_customer_masked v WHERE v::text ~ '秘密|6222|81234567|12345|secret|1990';
INSERT INTO jdysync.staging_v_supplier (id, number, data, detailed_at, synced_at, run_id) VALUES
	('1', 'GYS1', '{"bank_account": "6222000000000000001", "accountentity": [{"income_acc_no": "6222000000000000002", "income_acc_name": "乙", "income_bank_code": "secret"}], "bomentity": []}', now(), '2026-01-01', 1);
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM jdy_v_supplier_masked v;
INSERT INTO jdysync.staging_v_order (id, number, data, detailed_at, synced_at, run_id) VALUES
	('7', 'XS7', '{"bill_no": "XS7", "bill_date": "2025-12-01", "all_amount": "12.50", "contact_phone": "13812345678", "contact_address": "秘密", "print_count": "2", "material_entity": [{"id": "71", "qty": 2, "price": "1.5", "is_free": false}, {"qty": "", "seq": "2"}, 5], "tag_entity": []}', now(), '2026-01-01', 1),
	('8', 'XS8', '{"bill_no": "XS8", "material_entity": ""}', now(), '2026-01-01', 1);
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM jdy_v_order v ORDER BY id;
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM jdy_v_order_entry v ORDER BY id;
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM jdy_v_order_masked v ORDER BY id;
INSERT INTO jdysync."staging_料" (id, data, synced_at, run_id) VALUES ('1', '{"name": "list row", "cost_price": "5.00", "kf_period": "12.0", "is_batch": true, "unit_entity": ""}', '2026-01-01', 1);
SELECT jsonb_strip_nulls(to_jsonb(v)) FROM "jdy_料" v;
SELECT pg_temp.views();

-- A changed definition has other views, where nobody changed them or depends on them
GRANT SELECT ON "jdy_料" TO pg_monitor;
SELECT jdy_alter_stream('料', detail => true);
SELECT has_table_privilege('pg_monitor', '"jdy_料"', 'SELECT'), count(*) FROM "jdy_料";
SELECT jdy_alter_stream('料', entry => 'sal_order', detail => false);
SELECT has_table_privilege('pg_monitor', '"jdy_料"', 'SELECT');
SELECT pg_temp.views();
CREATE VIEW on_top AS SELECT id FROM "jdy_料_entry";
SELECT pg_temp.answer($$SELECT jdy_alter_stream('料', entry => 'customer')$$);
SELECT pg_temp.answer($$SELECT jdy_drop_stream('料')$$);
SELECT pg_temp.views();
DROP VIEW on_top;
SELECT jdy_alter_stream('料', entry => 'customer');
SELECT pg_temp.views();
ALTER VIEW "jdy_料" SET (security_barrier);
SET client_min_messages = notice;
SELECT jdy_alter_stream('料', detail => true);
SET client_min_messages = warning;
SELECT count(*) FROM "jdy_料";
SELECT jdy_alter_stream('料', metadata => '{"api":"/elsewhere"}', detail => false);
SELECT pg_temp.views();
SELECT pg_temp.answer('SELECT jdy_create_view(''jdy_v_order'', ''v_customer'', ''{}'')');

-- They end with the stream, wherever they are, and come back with it
CREATE SCHEMA regress_views;
ALTER VIEW jdy_v_customer SET SCHEMA regress_views;
ALTER VIEW jdy_v_customer_masked RENAME TO hidden;
SELECT jdy_drop_stream('v_customer');
SELECT to_regclass('regress_views.jdy_v_customer'), to_regclass('hidden'), to_regclass('jdysync.staging_v_customer');
SELECT jdy_add_stream('v_customer', 'view_server', entry => 'customer');
SELECT count(*) FROM jdy_v_customer;
SELECT pg_temp.answer($$SELECT jdy_add_stream('v_customer', 'view_server', entry => 'customer')$$);
DROP VIEW jdy_v_customer;
SELECT jdy_drop_stream('v_customer', false);
SELECT pg_temp.views();
-- What only looks like one of them is not theirs to drop: a number in the table may be another relation's after a restore
CREATE VIEW bystander AS SELECT 1 AS id;
INSERT INTO jdysync.mapped_view SELECT 'bystander', stream_id, NULL, '' FROM jdysync.stream WHERE name = 'v_supplier';
SELECT jdy_drop_stream('v_supplier', false);
SELECT count(*) FROM bystander;
DROP VIEW bystander;

-- A dump of the schema alone brings table and views, but not what jdysync knows of them: they are made again
SELECT jdy_add_stream('dumped', 'view_server', entry => 'sal_order');
CREATE TEMP TABLE kept AS SELECT * FROM jdysync.stream WHERE name = 'dumped';
DELETE FROM jdysync.mapped_view WHERE stream_id = (SELECT stream_id FROM kept);
DELETE FROM jdysync.stream WHERE name = 'dumped';
SELECT jdy_add_stream('dumped', 'view_server', entry => 'supplier', detail => false);
SELECT pg_temp.views();
SELECT to_regclass('jdy_dumped_entry');
DROP VIEW jdy_dumped_entry;
SELECT jdy_drop_stream('dumped', false);
-- Somebody else's view over that table is not taken for one
SELECT jdy_add_stream('dumped', 'view_server', entry => 'supplier');
SELECT jdy_drop_stream('dumped');
CREATE ROLE regress_view_other;
CREATE VIEW jdy_dumped AS SELECT id FROM jdysync.staging_dumped;
ALTER VIEW jdy_dumped OWNER TO regress_view_other;
SELECT pg_temp.answer($$SELECT jdy_add_stream('dumped', 'view_server', entry => 'supplier')$$);
DROP VIEW jdy_dumped;
DROP TABLE jdysync.staging_dumped;
DROP ROLE regress_view_other;

-- A table whose columns have other types than they were made with has none
SELECT jdy_add_stream('odd', 'view_server', entry => 'material');
SELECT jdy_drop_stream('odd');
ALTER TABLE jdysync.staging_odd ALTER data TYPE text;
SET client_min_messages = notice;
SELECT jdy_add_stream('odd', 'view_server', entry => 'material', schedule => '0 0 29 2 *');
SET client_min_messages = warning;
SELECT pg_temp.views();
SELECT jdy_drop_stream('odd', false);

-- The owner's rights, never more; a reader needs a SELECT on the view and no more
CREATE ROLE regress_view_owner LOGIN;
CREATE ROLE regress_view_reader;
GRANT USAGE ON SCHEMA jdysync TO regress_view_owner;
GRANT USAGE ON FOREIGN SERVER view_server TO regress_view_owner;
GRANT EXECUTE ON FUNCTION jdy_add_stream, jdy_drop_stream, jdy_alter_stream TO regress_view_owner;
CREATE USER MAPPING FOR regress_view_owner SERVER view_server OPTIONS (client_id 'i', client_secret 's', outer_instance_id '1');
SET SESSION AUTHORIZATION regress_view_owner;
SELECT jdy_add_stream('owned', 'view_server', entry => 'sal_order');
INSERT INTO jdysync.staging_owned (id, number, data, detailed_at, synced_at, run_id) VALUES ('7', 'XS7', '{"bill_no": "XS7", "contact_phone": "13812345678", "all_amount": 5, "audit_time": "2025-12-01 10:20:30", "material_entity": [{"qty": 5}]}', now(), '2026-01-01', 1);
GRANT SELECT ON jdy_owned_masked, jdy_owned_entry TO regress_view_reader;
RESET SESSION AUTHORIZATION;
SELECT relname, relowner::regrole FROM pg_class WHERE relname LIKE 'jdy\_owned%' ORDER BY relname COLLATE "C";
SET ROLE regress_view_reader;
SELECT bill_no, contact_phone, all_amount, audit_time FROM jdy_owned_masked;
SELECT id, qty FROM jdy_owned_entry;
SELECT * FROM jdy_owned;
RESET ROLE;
SET SESSION AUTHORIZATION regress_view_owner;
SELECT jdy_alter_stream('owned', detail => false);
SELECT count(*) FROM jdy_owned;
RESET SESSION AUTHORIZATION;
ALTER TABLE jdysync.staging_owned OWNER TO CURRENT_USER;
SELECT jdy_alter_stream('owned', server => 'view_server');
SELECT count(*), (SELECT relowner = (SELECT relowner FROM pg_class WHERE oid = 'jdysync.staging_owned'::regclass) FROM pg_class WHERE oid = 'jdy_owned'::regclass) FROM jdy_owned;
ALTER TABLE jdysync.staging_owned OWNER TO regress_view_owner;
SET SESSION AUTHORIZATION regress_view_owner;
SELECT jdy_drop_stream('owned', false);
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM pg_class WHERE relname LIKE 'jdy\_owned%';

-- Nothing of it is left to other tests
SELECT count(jdy_drop_stream(name, false)::text) FROM jdysync.stream;
DROP TABLE IF EXISTS jdysync.staging_v_customer, jdysync."staging_料";
DROP SCHEMA regress_views;
DROP SERVER view_server CASCADE;
DROP OWNED BY regress_view_owner, regress_view_reader;
DROP ROLE regress_view_owner, regress_view_reader;
SELECT pg_temp.views();
