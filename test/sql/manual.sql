-- \d+ and \df+ are the manual: every object of the extension says what it means,
-- every column of its tables and views too.
SELECT pg_describe_object(d.classid, d.objid, 0) AS speechless
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jdysync')
	AND d.classid <> 'pg_type'::regclass	/* row types are members since PostgreSQL 18 */
	AND obj_description(d.objid, (SELECT relname FROM pg_class WHERE oid = d.classid)) IS NULL
ORDER BY 1;

SELECT a.attrelid::regclass AS speechless, a.attname
FROM pg_attribute a
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AND d.deptype = 'e'
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'v')
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jdysync')
	AND a.attnum > 0 AND NOT a.attisdropped AND col_description(a.attrelid, a.attnum) IS NULL
ORDER BY 1, 2;
