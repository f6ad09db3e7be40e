-- Statements on the extension's own tables run with its owner's rights, and nobody can slip anything of his into them.

CREATE FUNCTION pg_temp.as_owner(fail boolean) RETURNS text
AS '$libdir/jdysync', 'jdy_test_as_owner' LANGUAGE C STRICT;

-- One who would like to be asked: his operator instead of PostgreSQL's.
CREATE ROLE regress_jdy_evil;
CREATE SCHEMA regress_evil AUTHORIZATION regress_jdy_evil;
SET ROLE regress_jdy_evil;
CREATE FUNCTION regress_evil.spy(text, text) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN RETURN concat('evil, as ', current_user); END $$;
CREATE OPERATOR regress_evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_evil.spy);
SET search_path = regress_evil, pg_catalog;
SELECT 'a'::text || 'b'::text;
SELECT pg_catalog.replace(pg_temp.as_owner(false), (SELECT extowner::regrole::text FROM pg_extension WHERE extname = 'jdysync'), 'owner');

-- Afterwards he is himself again, and after an error too.
SELECT current_user, current_setting('search_path');
DO $$ BEGIN PERFORM pg_temp.as_owner(true); EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'as expected'; END $$;
SELECT current_user, current_setting('search_path');
SELECT pg_temp.as_owner(true);
SELECT current_user, current_setting('search_path');
SELECT * FROM jdysync.run;

-- A plan made before is used again when the extension was dropped and came back.
RESET ROLE;
RESET search_path;
BEGIN;
DROP EXTENSION jdysync;
SELECT pg_temp.as_owner(false);
ROLLBACK;
SELECT pg_temp.as_owner(false) LIKE '%: ab' AS here_again;

DROP OWNED BY regress_jdy_evil;
DROP ROLE regress_jdy_evil;
