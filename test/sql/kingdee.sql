/* Requests are signed as the service checks them, and its encrypted fields are read. */

CREATE FUNCTION signature(secret text, method text, path text, names text[], "values" text[], nonce text, at text)
RETURNS text AS '$libdir/jdysync', 'jdy_test_signature' LANGUAGE C STRICT;
CREATE FUNCTION app_signature(app_key text, app_secret text)
RETURNS text AS '$libdir/jdysync', 'jdy_test_app_signature' LANGUAGE C STRICT;
CREATE FUNCTION decrypt_text(secret text, value text)
RETURNS text AS '$libdir/jdysync', 'jdy_test_decrypt_text' LANGUAGE C STRICT;
CREATE FUNCTION decrypt(data jsonb, paths text[], secret text)
RETURNS jsonb AS '$libdir/jdysync', 'jdy_test_decrypt' LANGUAGE C STRICT;

/* The vendor's own samples. */
SELECT signature('f2adcfef73369bfc4e1384677d38a0ff', 'GET', '/jdyconnector/app_management/kingdee_auth_token',
	'{app_key,app_signature}',
	'{bVZgAZOv1,MzZlYTk0ODk4MWZlNjdiODNmNWU4YzViNzYxNGM5MTFlOGJkN2NjMzk0MTJkZGNhZGM0NzZhN2YxZDJmOTlkZA==}',
	'4427456950', '1670305063559')
	= 'OTFiZTliNDFiMjNkYTI3YzVhNzg4MDI4ZGU3MWY1ZTA5ZTk1NjVlNGM1YTI1ZjIxY2Y5YTA3ZGY2OGI1MGQ1MQ==' AS token_call;
SELECT app_signature('abc', 'abc123')
	= 'ZDljMTI3NGIyNTE1MTRkYzlkNjc1MDNhYjUzMzgzNWMyY2M4YTdjMzdmNmM3YTVlNDkxMTkzNjdiOTFjNzUyZQ==' AS app_signature;
SELECT decrypt_text('75eb3c7cd5974c3018d6934e142b5f81', 'bsiV0ZrykeIH/5ZZ65lX5A==') AS phone;

/* By the rule: parameters sorted by name in whatever order they come, each encoded twice, the body left out. */
CREATE FUNCTION signed(method text, path text, names text[], "values" text[]) RETURNS text
LANGUAGE sql RETURN signature('f2adcfef73369bfc4e1384677d38a0ff', method, path, names, "values", '4427456950', '1670305063559');
SELECT signed('GET', '/jdy/v2/bd/customer', '{page_size,modify_start_time,page,modify_end_time}', '{100,1764518400000,1,1764522000000}')
	= 'MTMyNTNlYjA3Y2QwYTFhZTc3YzE1MzQ2NWY3OGU0Y2E0ZDFiMjE4ZjFlNmNjYzY0YWEwMjdkOGY0NzZkNzY5NA==' AS customer_list;
SELECT signed('GET', '/jdy/v2/bd/customer', '{search,page}', '{云 星*辰+~,1}')
	= 'ZjE3ZWI4ZDIwNGE5MTY0NDFhMGY1ODA2MTU1ZWM0OTQyYTJhYWUyMjM1M2M3OTA2NzY5OTQ1ZjgwYjllMDM1ZQ==' AS odd_characters;
SELECT signed('POST', '/jdyconnector/app_management/push_app_authorize', '{outerInstanceId}', '{200421001}')
	= 'NjAyNTFkZThiYzc1NGNlNWFlZTM4NGYxYzc0YjkwOGRlMzkxNGM4NzdjMzU1ZjJhMWVjMDljYzA0NDFkNzVkYw==' AS post_with_query;
SELECT signed('POST', '/jdy/v2/bd/customer', '{}', '{}')
	= 'MjM3ZTdkNjIyOThmMTczZTc2YWY0YTQ1MjFmNGZiMjhkMzc3MjNiZWQ4ZmI0OTYxZTIyNWQ1Mzk5NzBhOTI3Zg==' AS post_without;
SELECT signed('GET', '/jdy/v2/bd/customer', '{ab,"",a_b,a}', '{3,dropped,"",1}')
	= 'NjU0NDI4YTFhNDRkNmYyN2I4YWJmZDQyMzZkZjAwYTlkZjE5MTRjN2E1ODUyNDVjYjJkNDA3MTljNDUyYzk4ZQ==' AS empty_names_go_empty_values_stay;

/* What is not ciphertext is kept: every step of the decryption must work. */
SELECT what, decrypt_text('75eb3c7cd5974c3018d6934e142b5f81', value) AS plain
FROM (VALUES
	(1, 'synthetic phone', '4T8IXo4yxe+zcFBba7wVyA=='),
	(2, 'synthetic landline', 'q/5cHc7c3wMe6lyYteoQSA=='),
	(3, 'Chinese', 'R5BzycVg7FXx/LI5dTUzG7on9FY9boWgviGfNZMKFus='),
	(4, 'a whole block', '8uYBKGsHHjlrSPo/VWYS2aDFfMDseMXCEKw1URLM5p8='),
	(5, 'nothing, encrypted', 'ibQVNQVVkzGCosicTctBiA=='),
	(6, 'nothing', ''),
	(7, 'plain number', '18599999999'),
	(8, 'plain text', '深圳'),
	(9, 'base64 of too few bytes', 'MTg1OTk5OTk5OTk='),
	(10, 'base64 of 16 bytes that are none', 'MDEyMzQ1Njc4OWFiY2RlZg=='),
	(11, 'blank before', ' bsiV0ZrykeIH/5ZZ65lX5A=='),
	(12, 'line break after', E'bsiV0ZrykeIH/5ZZ65lX5A==\n'),
	(13, 'stray bits in the last letter', 'bsiV0ZrykeIH/5ZZ65lX5B=='),
	(14, 'padding missing', 'bsiV0ZrykeIH/5ZZ65lX5A'),
	(15, 'not UTF-8', 'il14SxOGDPyhH7evxZK9vQ=='),
	(16, 'a NUL inside', 'axjqFYubsx48R1rQ1vQcfg=='))
	AS v(n, what, value) ORDER BY n;
SELECT decrypt_text('another secret of 32 characters!', 'bsiV0ZrykeIH/5ZZ65lX5A==') AS other_secret,
	decrypt_text('short', 'bsiV0ZrykeIH/5ZZ65lX5A==') AS short_secret;

/* Fields by path: in the record, in each element of an array, in objects; NULL says that nothing had to be copied. */
CREATE FUNCTION opened(data jsonb, VARIADIC paths text[]) RETURNS jsonb
LANGUAGE sql RETURN decrypt(replace(data::text, 'CIPHER', 'bsiV0ZrykeIH/5ZZ65lX5A==')::jsonb, paths, '75eb3c7cd5974c3018d6934e142b5f81');
SELECT opened('{"addr": "CIPHER", "name": "CIPHER", "n": 1}', 'addr') AS top;
SELECT opened('{"bomentity": [{"phone": "CIPHER", "name": "a"}, {"phone": "kept", "qq": "CIPHER"}], "phone": "CIPHER"}',
	'bomentity.phone', 'bomentity.qq') AS array_elements;
SELECT opened('{"bomEntity": [{"phone": "CIPHER", "Phone": "CIPHER"}]}', 'bomentity.phone') AS case_of_the_first_part;
SELECT opened('{"Row": {"bank_account": "CIPHER"}, "bank_account": "CIPHER"}', 'Row.bank_account') AS row_is_the_record;
SELECT opened('{"a": {"b": {"c": "CIPHER", "d": "CIPHER"}, "c": "CIPHER"}}', 'a.b.c') AS deeper;
SELECT opened('{"a": [["CIPHER"], "CIPHER", {"a": "CIPHER"}, "CIPHER"], "b": ["CIPHER"]}', 'a') AS strings_in_arrays;
SELECT opened('{"addr": "plain", "n": null, "o": {"addr": "CIPHER"}}', 'addr', 'n', 'o') AS nothing_to_do;
SELECT opened('{}', 'addr') AS empty, opened('[{"addr": "CIPHER"}]', 'addr') AS list_of_records;
SELECT decrypt(jsonb_build_object('f70', 'bsiV0ZrykeIH/5ZZ65lX5A==', 'f1', 'bsiV0ZrykeIH/5ZZ65lX5A=='),
	(SELECT array_agg('f' || i) FROM generate_series(1, 70) i), '75eb3c7cd5974c3018d6934e142b5f81') AS many_paths;
