/* Every reply has a verdict: the policy of the whole product in one place. */

CREATE FUNCTION verdict(kind text, failure text, http_status integer, errcode bigint, VARIADIC facts text[])
RETURNS text AS '$libdir/jdysync', 'jdy_test_verdict' LANGUAGE C STRICT;
CREATE FUNCTION verdicts(failure text, http_status integer, errcode bigint, facts text[] DEFAULT '{}',
	OUT token text, OUT list text, OUT detail text, OUT push text, OUT other text)
BEGIN ATOMIC
	SELECT split_part(verdict('token', failure, http_status, errcode, VARIADIC facts), ':', 1),
		split_part(verdict('list', failure, http_status, errcode, VARIADIC facts), ':', 1),
		split_part(verdict('detail', failure, http_status, errcode, VARIADIC facts), ':', 1),
		split_part(verdict('push', failure, http_status, errcode, VARIADIC facts), ':', 1),
		split_part(verdict('other', failure, http_status, errcode, VARIADIC facts), ':', 1);
END;

/* The table of verdicts. */
SELECT what, v.* FROM (VALUES
	(1, 'success', 200, 0::bigint, '{}'::text[]),
	(2, 'created', 201, 0, '{}'),
	(3, 'clock', 519, 4006, '{}'),
	(4, 'token invalid', 519, 4010, '{}'),
	(5, 'token expired', 519, 4011, '{}'),
	(6, '401', 401, 0, '{malformed}'),
	(7, 'authorisation wrong', 200, 1020002008, '{}'),
	(8, 'secret rotated', 200, 1030002006, '{}'),
	(9, '502 behind the router', 502, 0, '{malformed,router}'),
	(10, '502 without router', 502, 0, '{malformed}'),
	(11, 'no route behind the router', 404, 0, '{malformed,router,"no route"}'),
	(12, 'no route without router', 404, 0, '{malformed,"no route"}'),
	(13, 'no such API behind the router', 519, 5001, '{router}'),
	(14, 'no such API without router', 519, 5001, '{}'),
	(15, '429', 429, 0, '{malformed}'),
	(16, '429 with errcode', 429, 429, '{}'),
	(17, 'errcode 429', 200, 429, '{}'),
	(18, '500', 500, 0, '{malformed}'),
	(19, '503 behind the router', 503, 0, '{malformed,router}'),
	(20, '519 without code', 519, 0, '{malformed}'),
	(21, 'gateway internal', 519, 5000, '{router}'),
	(22, 'service abnormal', 200, 1000002001, '{}'),
	(23, 'malformed', 200, 0, '{malformed}'),
	(24, 'no such record', 200, 1030002003, '{}'),
	(25, 'success without record', 200, 0, '{"no record"}'),
	(26, 'no such record as 404', 404, 0, '{"no record"}'),
	(27, 'customer data', 200, 1040003000, '{}'),
	(28, 'customer data, batch', 200, 1040003000, '{batch}'),
	(29, 'customer data in a 400', 400, 2016003063, '{}'),
	(30, 'field missing', 200, 1030002000, '{}'),
	(31, '400', 400, 0, '{malformed}'),
	(32, '403', 403, 0, '{}'),
	(33, '404', 404, 0, '{malformed,router}'),
	(33.5, '404, said by the service', 404, 0, '{router}'),
	(34, '408', 408, 0, '{malformed}'),
	(35, 'redirect', 302, 0, '{malformed}'),
	(36, 'negative errcode', 200, -1, '{}'),
	(37, 'strange status', 799, 0, '{}'),
	(38, 'Qeasy, token refused', 401, 40102, '{}'),
	(39, 'Qeasy, token refused in a 200', 200, 40102, '{}'),
	(40, 'Qeasy, secret refused in a 200', 200, 40101, '{}'),
	(41, 'Qeasy, too many calls in a 200', 200, 42901, '{}'))
	AS t(n, what, http_status, errcode, facts), verdicts('complete', http_status, errcode, facts) v ORDER BY n;

/* The transport. */
SELECT f AS failure, v.* FROM unnest('{resolve,connect,tls,timeout,broken,"too large",forbidden,other}'::text[]) WITH ORDINALITY u(f, n),
	verdicts(f, 0, 0, '{malformed,router}') v ORDER BY n;

/* Every code that the gateway documents, behind the router. */
SELECT errcode, v.* FROM generate_series(4001, 5007) errcode, verdicts('complete', 519, errcode, '{router}') v
WHERE errcode <= 4012 OR errcode >= 5000;

/* Every business and standard code that is documented. */
SELECT errcode, v.* FROM unnest('{400,401,403,404,429,500,503,504,1000002001,1020002008,1030002000,1030002001,1030002002,
	1030002003,1030002004,1030002005,1030002006,1040002000,1040003000,2000002000,2011002000,2012002000,2013002000,2014002000,
	2015002000,2016002000,2017002000,2018002000,2016002095,2016002099,2016012098,2016012099,2016022099,2016003063,2016043007,
	2016043025,2018013001,2018013015,2018023005,2018023023}'::bigint[]) errcode, verdicts('complete', 200, errcode) v;

/* The digit that says who can mend it is the seventh of ten, and only of ten. */
SELECT errcode, verdict('detail', 'complete', 200, errcode, VARIADIC '{}') FROM unnest('{1234563890,123456389,3333332333,12345638901}'::bigint[]) errcode;

/* Reasons are for people. */
SELECT verdict('token', 'complete', 200, 1030002006, VARIADIC '{}') AS rotated, verdict('list', 'complete', 200, 1030002006, VARIADIC '{}') AS field,
	verdict('list', 'broken', 0, 0, VARIADIC '{}') AS broken, verdict('detail', 'too large', 200, 0, VARIADIC '{}') AS large;
