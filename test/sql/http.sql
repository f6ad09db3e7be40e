-- Which hosts and addresses may be called, and how a URL is written.

CREATE FUNCTION pg_temp.percent_encode(plain text, keep_slash boolean) RETURNS text
AS '$libdir/jdysync', 'jdy_test_percent_encode' LANGUAGE C STRICT;
CREATE FUNCTION pg_temp.host_listed(patterns text, host text) RETURNS text
AS '$libdir/jdysync', 'jdy_test_host_listed' LANGUAGE C STRICT;
CREATE FUNCTION pg_temp.address_class(address text) RETURNS text
AS '$libdir/jdysync', 'jdy_test_address_class' LANGUAGE C STRICT;
CREATE FUNCTION pg_temp.http(server text, path text, method text DEFAULT 'GET', body text DEFAULT NULL) RETURNS text
AS '$libdir/jdysync', 'jdy_test_http' LANGUAGE C;

-- Only RFC 3986's unreserved characters stay; hex digits are upper-case; a space is never a plus.
SELECT plain, pg_temp.percent_encode(plain, false), pg_temp.percent_encode(plain, true) AS path
FROM unnest(ARRAY['', 'AZaz09-._~', 'a b+c*d', '/jdy/v2/bd/customer', '写入空操作', '%41', 'a&b=c?d#e', chr(1) || chr(127)]) plain;

-- A star stands for everything, or for everything below a domain; only a name that is listed is literal.
SELECT patterns, host, pg_temp.host_listed(patterns, host)
FROM (VALUES
	('*', 'api.kingdee.com'),
	('*', '127.0.0.1'),
	('', 'api.kingdee.com'),
	('api.kingdee.com', 'api.kingdee.com'),
	('API.Kingdee.COM', 'api.kingdee.com'),
	('api.kingdee.com', 'api.kingdee.com.'),
	('api.kingdee.com.', 'api.kingdee.com'),
	('api.kingdee.com', 'api.kingdee.com.evil.example'),
	('api.kingdee.com', 'xapi.kingdee.com'),
	('*.kingdee.com', 'api.kingdee.com'),
	('*.kingdee.com', 'a.b.kingdee.com'),
	('*.kingdee.com', 'kingdee.com'),
	('*.kingdee.com', 'evilkingdee.com'),
	('*.kingdee.com', '.kingdee.com'),
	('*, 10.0.0.7', '10.0.0.7'),
	('10.0.0.7 , *', '10.0.0.7'),
	('*, 10.0.0.7', '10.0.0.70'),
	(' a.example ,b.example', 'b.example'),
	('::1', '::1')) AS v(patterns, host);

-- Link-local addresses and those where clouds hand out credentials are never
-- called; loopback and private ones only for a superuser's server or by name.
SELECT address, pg_temp.address_class(address)
FROM unnest(ARRAY[
	'8.8.8.8', '1.1.1.1', '223.5.5.5', '2400:3200::1',
	'127.0.0.1', '127.255.255.255', '128.0.0.0', '126.255.255.255',
	'10.0.0.0', '10.255.255.255', '11.0.0.0',
	'172.15.255.255', '172.16.0.0', '172.31.255.255', '172.32.0.0',
	'192.167.255.255', '192.168.0.1', '192.169.0.0',
	'100.63.255.255', '100.64.0.0', '100.127.255.255', '100.128.0.0',
	'169.253.255.255', '169.254.0.0', '169.254.169.254', '169.255.0.0',
	'100.100.100.200', '168.63.129.16', '192.0.0.192',
	'0.0.0.0', '0.1.2.3', '1.0.0.0', '223.255.255.255', '224.0.0.1', '240.0.0.1', '255.255.255.255',
	'::', '::1', '::2', 'fe80::1', 'febf::1', 'fec0::1', 'ff02::1', 'fc00::1', 'fdff::1', 'fe00::1', 'fd00:ec2::254', 'fd20:ce::254', '64:ff9b:1::1',
	'::ffff:127.0.0.1', '::ffff:10.1.2.3', '::ffff:169.254.169.254', '::ffff:8.8.8.8',
	'64:ff9b::a9fe:a9fe', '64:ff9b::808:808', '2002:7f00:1::', '2002:a9fe:a9fe::1', '2002:808:808::1',
	'::7f00:1', '2001:0:4136:e378::1']) WITH ORDINALITY AS a(address, n)
ORDER BY n;

-- Nobody but a superuser makes the database call itself; names and plain addresses alike.
CREATE ROLE regress_jdy_caller;
GRANT USAGE ON FOREIGN DATA WRAPPER jdysync TO regress_jdy_caller;
SET ROLE regress_jdy_caller;
CREATE SERVER regress_loopback FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://127.0.0.1:9', auth 'none');
CREATE SERVER regress_loopback6 FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://[::1]:9', auth 'none');
CREATE SERVER regress_localhost FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://localhost:9', auth 'none');
CREATE SERVER regress_decimal FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://2130706433:9', auth 'none');
CREATE SERVER regress_metadata FOREIGN DATA WRAPPER jdysync OPTIONS (url 'http://169.254.169.254', auth 'none');
SELECT r ->> 'failure' AS failure, r ->> 'sent' AS sent, r ->> 'error' AS error
FROM unnest(ARRAY['regress_loopback', 'regress_loopback6', 'regress_localhost', 'regress_decimal', 'regress_metadata']) s,
	LATERAL (SELECT pg_temp.http(s, '/')::jsonb AS r) q;

-- A superuser's server may be on the same machine (nobody listens here), but never link-local.
RESET ROLE;
ALTER SERVER regress_loopback OWNER TO CURRENT_USER;
ALTER SERVER regress_metadata OWNER TO CURRENT_USER;
SELECT r ->> 'failure' AS failure, r ->> 'sent' AS sent
FROM unnest(ARRAY['regress_loopback', 'regress_metadata']) s, LATERAL (SELECT pg_temp.http(s, '/')::jsonb AS r) q;

-- A path cannot lead to another host.
SELECT pg_temp.http('regress_loopback', '.evil.example/');
SELECT pg_temp.http('regress_loopback', '@evil.example/');
SELECT pg_temp.http('regress_loopback', '0/');

-- An error leaves no connection, file or thread behind.
CREATE FUNCTION pg_temp.open_files() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_ls_dir('/proc/self/fd') $$;
SELECT pg_temp.open_files() AS before \gset
DO $$
BEGIN
	FOR i IN 1..2000 LOOP
		BEGIN
			PERFORM pg_temp.http('regress_loopback', '0/');
		EXCEPTION WHEN internal_error THEN NULL;
		END;
	END LOOP;
END $$;
SELECT pg_temp.open_files() - :before AS more;

DROP SERVER regress_loopback, regress_loopback6, regress_localhost, regress_decimal, regress_metadata;
DROP OWNED BY regress_jdy_caller;
DROP ROLE regress_jdy_caller;
