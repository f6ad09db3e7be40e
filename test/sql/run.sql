-- What is kept of a run, and what is said of it while it goes.

CREATE FUNCTION pg_temp.progress_line(name text, phase text, listed bigint, total bigint, details bigint,
	due bigint, calls bigint, seconds int, calls_per_minute int, with_details boolean, loaded boolean DEFAULT false) RETURNS text
AS '$libdir/jdysync', 'jdy_test_progress_line' LANGUAGE C STRICT;
CREATE FUNCTION pg_temp.run_log(stream_id int, calls int, error bytea, log_calls int DEFAULT 2) RETURNS bigint
AS '$libdir/jdysync', 'jdy_test_run_log' LANGUAGE C STRICT;
CREATE FUNCTION pg_temp.stream_lock(stream_id int, lock boolean) RETURNS boolean
AS '$libdir/jdysync', 'jdy_test_stream_lock' LANGUAGE C STRICT;

-- Everything known; nothing but the calls; no details; about to end; no limit.
SELECT pg_temp.progress_line('customer', 'details', 12300, 48211, 3050, 1500, 214, 60, 500, true);
SELECT pg_temp.progress_line('customer', 'listing', 0, -1, 0, -1, 1, 0, 500, false);
SELECT pg_temp.progress_line('客户', 'listing', 999, 1000, 0, -1, 10, 1, 0, false);
SELECT pg_temp.progress_line('customer', 'details', 1000, 1000, 1000, 0, 1010, 120, 500, true);
SELECT pg_temp.progress_line('customer', 'details', 1234567, 1234567, 1000000, 600, 1200, 60, 0, true);
-- What was listed again while the run went on.
SELECT pg_temp.progress_line('customer', 'details', 1010, 1000, 10, 990, 30, 1, 500, true);
-- A burst at the start does not promise more than the limit; a slow service does not reach it.
SELECT pg_temp.progress_line('customer', 'listing', 0, 100000, 0, -1, 500, 3, 500, false);
SELECT pg_temp.progress_line('customer', 'listing', 0, 100000, 0, -1, 50, 60, 500, false);
-- The details of a list that is being loaded are still to come, at a first load's share of the limit (400 calls):
-- all of its records' where their number is known, else of those known so far.  Without details only pages are.
SELECT pg_temp.progress_line('customer', 'loading', 12300, 48211, 0, -1, 214, 60, 500, true, true);
SELECT pg_temp.progress_line('customer', 'loading', 12300, -1, 0, -1, 214, 60, 500, true, true);
SELECT pg_temp.progress_line('customer', 'loading', 12300, 48211, 0, -1, 214, 60, 500, false, true);
-- The same between the list and its details; from then on those that are due, at the pace seen.
SELECT pg_temp.progress_line('customer', 'listing', 48211, 48211, 0, -1, 600, 90, 500, true, true);
SELECT pg_temp.progress_line('customer', 'details', 48211, 48211, 8211, 40000, 9000, 1350, 500, true, true);
SELECT pg_temp.progress_line('customer', 'details', 48211, 48211, 8211, 40000, 9000, 2700, 500, true, true);

-- Calls are written in whatever number; texts that the database cannot hold are made to fit.
SELECT pg_temp.run_log(-1, 600, '\xe5aea2e688b720ff20e5aea2') AS run_id \gset
SELECT count(*), count(error), count(http_status), sum(ms), max(error) FROM jdysync.call WHERE run_id = :run_id;
SELECT status, mode, calls, sqlstate, error, detail, hint, finished_at >= started_at AS ended FROM jdysync.run WHERE run_id = :run_id;
SELECT id, reason, raw FROM jdysync.reject WHERE run_id = :run_id ORDER BY reject_id;
-- A message that is too long ends at the end of a character.
SELECT pg_temp.run_log(-1, 0, convert_to(repeat('客', 400), 'UTF8')) AS run_id \gset
SELECT char_length(error), octet_length(error) FROM jdysync.run WHERE run_id = :run_id;
-- Only what jdysync.log_calls says: off, errors.
SELECT pg_temp.run_log(-1, 6, 'bad', 0) AS run_id \gset
SELECT count(*), count(error) FROM jdysync.call WHERE run_id = :run_id;
SELECT pg_temp.run_log(-1, 6, 'bad', 1) AS run_id \gset
SELECT count(*), count(error) FROM jdysync.call WHERE run_id = :run_id;

-- A run that is "running" is interrupted exactly when nobody holds its stream's lock, errors or not.
INSERT INTO jdysync.run (stream_id, name, mode, status) VALUES (-1, 'dead', 'auto', 'running') RETURNING run_id \gset
SELECT status FROM jdy_runs WHERE run_id = :run_id;
SELECT pg_temp.stream_lock(-1, true);
SELECT status FROM jdy_runs WHERE run_id = :run_id;
SELECT 1 / 0;
SELECT status FROM jdy_runs WHERE run_id = :run_id;
SELECT pg_temp.stream_lock(-1, false);
SELECT status FROM jdy_runs WHERE run_id = :run_id;
-- The next run of the stream writes it down.
SELECT pg_temp.run_log(-1, 0, 'bad') > :run_id AS next;
SELECT status, error, hint FROM jdysync.run WHERE run_id = :run_id;

DELETE FROM jdysync.call;
DELETE FROM jdysync.reject;
DELETE FROM jdysync.run;
