-- Servers and user mappings: what is accepted, what is refused and how, and who may do what.

CREATE FUNCTION pg_temp.endpoint(server text, complete boolean) RETURNS text
AS '$libdir/jdysync', 'jdy_test_endpoint' LANGUAGE C STRICT;

-- Tries one statement and tells how it ended: SQLSTATE, message, detail, hint.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	more text;
	advice text;
BEGIN
	BEGIN
		EXECUTE statement;
		RAISE SQLSTATE 'OK000';
	EXCEPTION
		WHEN SQLSTATE 'OK000' THEN RETURN 'ok';
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
			RETURN SQLSTATE || ': ' || message || ' | ' || more || CASE WHEN advice <> '' THEN ' | ' || advice ELSE '' END;
	END;
END $$;
CREATE FUNCTION pg_temp.server(options text) RETURNS text LANGUAGE sql AS
$$ SELECT pg_temp.try('CREATE SERVER regress_x FOREIGN DATA WRAPPER jdysync OPTIONS (' || options || ')') $$;
CREATE FUNCTION pg_temp.mapping(options text) RETURNS text LANGUAGE sql AS
$$ SELECT pg_temp.try('CREATE USER MAPPING FOR CURRENT_USER SERVER regress_s OPTIONS (' || options || ')') $$;

-- Defaults.
CREATE SERVER regress_s FOREIGN DATA WRAPPER jdysync;
SELECT regexp_replace(pg_temp.endpoint('regress_s', false), 'digest=.*', '');
CREATE SERVER regress_all FOREIGN DATA WRAPPER jdysync OPTIONS (url 'HTTPS://Store.Example:8443/api/v1//', auth 'qeasy',
	rate_window '2 s', backfill_share '50 %', concurrency '8', connect_timeout '500ms', timeout '1 min', max_attempts '3',
	max_response '1 MB', time_zone 'Europe/Berlin');
SELECT regexp_replace(pg_temp.endpoint('regress_all', false), 'digest=.*', '');

-- url
SELECT value, pg_temp.server(format('url %L', value)) FROM unnest(ARRAY[
	'https://api.kingdee.com', 'http://127.0.0.1:8080', 'https://[2001:db8::1]:443/x', 'https://a.example/a%20b/', 'https://a_b.example',
	'', 'api.kingdee.com', 'ftp://a.example', 'file:///etc/passwd', 'https://', 'https:///x', 'https://a.example:0', 'https://a.example:65536',
	'https://a.example:', 'https://user:s3cret@a.example', 'https://a.example?key=s3cret', 'https://a.example/#x', 'https://a b.example',
	'https://a.example/写', 'https://写.example', 'https://a.example/%2', 'https://[::1', 'https://.', 'https://a.example\@b.example',
	E'https://a.example/\n']) value;
SELECT pg_temp.server(format('url %L', 'https://' || repeat('a', 1100)));
-- auth
SELECT value, pg_temp.server(format('auth %L', value)) FROM unnest(ARRAY[
	'kingdee', 'bearer', 'qeasy', 'basic', 'webhook', 'none', 'Kingdee', 'oauth', '']) value;
-- counts
SELECT option, value, pg_temp.server(format('%s %L', option, value)) FROM
	unnest(ARRAY['calls_per_minute', 'concurrency', 'max_attempts']) option,
	unnest(ARRAY['0', '1', '64', '100', '1000000', '1000001', '-1', '1.5', 'ten', '', '5 s', 'NaN']) value;
-- percentages
SELECT value, pg_temp.server(format('backfill_share %L', value)) FROM unnest(ARRAY[
	'80', '80%', '80 %', '1', '100', '0', '101', '%', '80 % %', 'most']) value;
-- times: never without a unit
SELECT option, value, pg_temp.server(format('%s %L', option, value)) FROM
	unnest(ARRAY['rate_window', 'connect_timeout', 'timeout']) option,
	unnest(ARRAY['10 s', '500ms', '1 min', '1.5 s', '0 s', '30', '1 h', '2 h', '-1 s', 's', '', 'soon']) value;
-- sizes
SELECT value, pg_temp.server(format('max_response %L', value)) FROM unnest(ARRAY[
	'64 MB', '64MB', '1024', '1 kB', '1023', '64', '1 GB', '1 TB', 'big', '']) value;
-- time zones
SELECT value, pg_temp.server(format('time_zone %L', value)) FROM unnest(ARRAY[
	'Asia/Shanghai', 'UTC', 'Asia/Nowhere', '']) value;

-- Unknown names: the nearest one, or where it belongs.
SELECT name, pg_temp.server(format('%I %L', name, 'x')) FROM unnest(ARRAY[
	'timout', 'conect_timeout', 'uri', 'calls_per_minut', 'completely_different', 'client_secret', 'token_file', 'x', repeat('timeout', 10)]) name;
SELECT name, pg_temp.mapping(format('%I %L', name, 's3cret')) FROM unnest(ARRAY[
	'clientid', 'client_secrets', 'outer_instanceid', 'app_secret_fil', 'tokne', 'user_file', 'url', 'client_id_file', 'Token']) name;
SELECT pg_temp.try($$ALTER FOREIGN DATA WRAPPER jdysync OPTIONS (url 'https://a.example')$$);

-- Any subset of one family, the empty one too: a dump restores mappings bit by bit.
SELECT options, pg_temp.mapping(options) FROM unnest(ARRAY[
	$$client_id 'a'$$,
	$$client_id 'a', client_secret 'b', outer_instance_id 'c', account_id 'd'$$,
	$$account_id 'd'$$,
	$$token 'a'$$,
	$$app_key 'a', app_secret 'b'$$,
	$$user 'a', password 'b'$$,
	$$path '/a', query 'b=c', secret 'd'$$,
	$$client_secret_file '/a'$$,
	-- mixes
	$$client_id 'a', token 'b'$$,
	$$token 'b', client_id 'a'$$,
	$$app_key 'a', token 'b'$$,
	$$app_key 'a', client_id 'b', password 'c'$$,
	$$user 'a', path 'b'$$,
	$$client_secret_file '/a', token_file '/b'$$,
	$$token 'a', token_file '/b'$$,
	-- values
	$$token ''$$,
	$$token E'a\r\nX-Evil: 1'$$,
	$$user 'a:b'$$,
	$$path '/a?b'$$,
	$$query '?a=b'$$,
	$$query 'a=b#c'$$,
	$$client_secret_file 'relative'$$]) options;
SELECT pg_temp.mapping(format('token %L', repeat('s3cret', 2000)));
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_s;

-- Credentials that cannot renew themselves are accepted with a warning.
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_s OPTIONS
	(client_id 'a', client_secret 's3cret', app_key 'b', app_secret 'c', domain 'https://tf.jdy.com');
SELECT pg_temp.endpoint('regress_s', true) LIKE '%client_secret=s3cret%' AS complete;
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_s OPTIONS (ADD outer_instance_id 'd');

-- Completeness is asked when it is needed.
CREATE FUNCTION pg_temp.complete(auth text, options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('CREATE SERVER regress_m FOREIGN DATA WRAPPER jdysync OPTIONS (url ''https://a.example'', auth %L)', auth);
	EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER regress_m %s', 'OPTIONS (' || NULLIF(options, '') || ')');
	result := pg_temp.try('SELECT pg_temp.endpoint(''regress_m'', true)');
	DROP SERVER regress_m CASCADE;
	RETURN replace(result, current_user, 'me');
END $$;
SET client_min_messages = error;
SELECT auth, options, pg_temp.complete(auth, options) FROM (VALUES
	('kingdee', ''),
	('kingdee', $$client_id 'a'$$),
	('kingdee', $$client_id 'a', client_secret 'b'$$),
	('kingdee', $$client_id 'a', client_secret 'b', outer_instance_id 'c'$$),
	('kingdee', $$client_id 'a', client_secret 'b', app_key 'c'$$),
	('kingdee', $$client_id 'a', client_secret 'b', app_key 'c', app_secret 'd'$$),
	('kingdee', $$client_id 'a', client_secret 'b', app_key 'c', app_secret 'd', domain 'https://e'$$),
	('kingdee', $$token 'a'$$),
	('bearer', ''), ('bearer', $$token 'a'$$),
	('qeasy', $$app_key 'a'$$), ('qeasy', $$app_key 'a', app_secret 'b'$$),
	('basic', $$user 'a'$$), ('basic', $$user 'a', password 'b'$$),
	('webhook', $$secret 'a'$$), ('webhook', $$path 'a'$$), ('webhook', $$query 'a'$$),
	('none', '')) AS v(auth, options);
RESET client_min_messages;
SELECT pg_temp.endpoint('regress_nowhere', false);
CREATE SERVER regress_no_url FOREIGN DATA WRAPPER jdysync OPTIONS (auth 'bearer');
SELECT pg_temp.endpoint('regress_no_url', false);
CREATE FOREIGN DATA WRAPPER regress_other;
CREATE SERVER regress_foreign FOREIGN DATA WRAPPER regress_other;
SELECT pg_temp.endpoint('regress_foreign', false);

-- Tokens are shared by equal mappings only: url, auth and every value count, their order does not.
CREATE FUNCTION pg_temp.digest(url text, options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('CREATE SERVER regress_m FOREIGN DATA WRAPPER jdysync OPTIONS (url %L, auth ''basic'')', url);
	EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER regress_m OPTIONS (%s)', options);
	result := substring(pg_temp.endpoint('regress_m', true) FROM 'digest=(.*)');
	DROP SERVER regress_m CASCADE;
	RETURN result;
END $$;
SET client_min_messages = warning;
SELECT url, options, length(digest), dense_rank() OVER (ORDER BY first) AS same FROM (
	SELECT n, url, options, digest, min(n) OVER (PARTITION BY digest) AS first
	FROM (SELECT n, url, options, pg_temp.digest(url, options) AS digest FROM (VALUES
		(1, 'https://a.example', $$user 'a', password 'b'$$),
		(2, 'https://a.example/', $$password 'b', user 'a'$$),
		(3, 'https://b.example', $$user 'a', password 'b'$$),
		(4, 'https://a.example', $$user 'a', password 'c'$$),
		(5, 'https://a.example', $$user 'ab', password 'c'$$),
		(6, 'https://a.example', $$user 'a', password 'bc'$$)) AS v(n, url, options)) d) f
ORDER BY n;

-- A secret from a file of the server: the newline at its end does not count.
SELECT current_setting('data_directory') || '/regress_jdy_secret' AS secret_file \gset
COPY (SELECT 's3cret from a file') TO :'secret_file';
CREATE SERVER regress_file FOREIGN DATA WRAPPER jdysync;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_file OPTIONS (client_secret_file :'secret_file');
SELECT substring(pg_temp.endpoint('regress_file', false) FROM 'client_secret=(.*) digest');
COPY (SELECT '') TO :'secret_file';
SELECT pg_temp.endpoint('regress_file', false);
COPY (SELECT 'two' UNION ALL SELECT 'lines') TO :'secret_file';
SELECT pg_temp.endpoint('regress_file', false);
COPY (SELECT repeat('x', 9000)) TO :'secret_file';
SELECT pg_temp.endpoint('regress_file', false);
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_file OPTIONS (SET client_secret_file '/nonexistent/regress_jdy');
SELECT pg_temp.endpoint('regress_file', false);
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_file OPTIONS (SET client_secret_file '/dev/zero');
SELECT pg_temp.endpoint('regress_file', false);

-- Nothing of the extension is for PUBLIC.
SELECT 'function' AS kind, p.oid::regprocedure::text AS name
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
	CROSS JOIN LATERAL aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) a
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND a.grantee = 0
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jdysync')
UNION ALL
SELECT 'relation', c.oid::regclass::text
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
	CROSS JOIN LATERAL aclexplode(COALESCE(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND a.grantee = 0
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jdysync')
UNION ALL
SELECT 'schema', n.nspname
FROM pg_depend d JOIN pg_namespace n ON n.oid = d.objid
	CROSS JOIN LATERAL aclexplode(COALESCE(n.nspacl, acldefault('n', n.nspowner))) a
WHERE d.classid = 'pg_namespace'::regclass AND d.deptype = 'e' AND a.grantee = 0
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jdysync')
UNION ALL
SELECT 'wrapper', w.fdwname
FROM pg_foreign_data_wrapper w CROSS JOIN LATERAL aclexplode(COALESCE(w.fdwacl, acldefault('F', w.fdwowner))) a
WHERE w.fdwname = 'jdysync' AND a.grantee = 0;

-- What a role that is no superuser needs for a server of its own, and that it is enough.
CREATE ROLE regress_jdy_user;
CREATE ROLE regress_jdy_other;
SET ROLE regress_jdy_user;
CREATE SERVER regress_mine FOREIGN DATA WRAPPER jdysync;
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER jdysync TO regress_jdy_user;
SET ROLE regress_jdy_user;
CREATE SERVER regress_mine FOREIGN DATA WRAPPER jdysync;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_mine OPTIONS (client_id 'a', client_secret 's3cret', outer_instance_id 'c');
SELECT pg_temp.endpoint('regress_mine', true) LIKE '%private=no client_secret=s3cret%' AS mine;

-- Files of the server are out of its reach, and so are others' servers.
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_mine OPTIONS (ADD app_secret_file '/etc/passwd');
SELECT pg_temp.endpoint('regress_all', false);

-- Another role may use the server when it is granted, with a mapping of its own, and sees no other's secrets.
GRANT USAGE ON FOREIGN SERVER regress_mine TO regress_jdy_other;
SET ROLE regress_jdy_other;
SELECT pg_temp.endpoint('regress_mine', true);
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'regress_mine';
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_mine OPTIONS (client_id 'x');
SELECT pg_temp.endpoint('regress_mine', false) LIKE '%client_secret=-%' AS own_mapping;
DROP USER MAPPING FOR CURRENT_USER SERVER regress_mine;
RESET ROLE;

-- A file named by a superuser is read only for a role that may read files.
CREATE USER MAPPING FOR regress_jdy_other SERVER regress_mine OPTIONS (client_secret_file '/etc/passwd');
SET ROLE regress_jdy_other;
SELECT pg_temp.endpoint('regress_mine', false);
RESET ROLE;

-- PUBLIC's mapping serves who has none.
DROP USER MAPPING FOR regress_jdy_other SERVER regress_mine;
CREATE USER MAPPING FOR PUBLIC SERVER regress_mine OPTIONS (client_secret 'everybody''s');
SET ROLE regress_jdy_other;
SELECT substring(pg_temp.endpoint('regress_mine', false) FROM 'client_secret=(.*) digest');
RESET ROLE;

DROP SERVER regress_s, regress_all, regress_no_url, regress_foreign, regress_file, regress_mine CASCADE;
DROP FOREIGN DATA WRAPPER regress_other;
DROP OWNED BY regress_jdy_user, regress_jdy_other;
DROP ROLE regress_jdy_user, regress_jdy_other;
