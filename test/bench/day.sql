/*
 * A day of runs, written as runs write: for the bench of a year, and for
 * test/t/059_logs_stay_small.pl.  Every stream and push makes one in each step; none of it calls anybody.
 *
 *	CALL simulated.day('2026-01-01', '1 min');
 *	SELECT simulated.trim('2026-01-02');		-- as schedulers would by then
 *
 * simulated.total says what the ledger must still add up to.
 */
CREATE SCHEMA simulated;

CREATE FUNCTION simulated.trim_once(at timestamptz) RETURNS boolean AS '$libdir/jdysync', 'jdy_test_trim' LANGUAGE C STRICT;

CREATE PROCEDURE simulated.trim(at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	WHILE simulated.trim_once(at) LOOP
		COMMIT;
	END LOOP;
END $$;

CREATE TABLE simulated.total (
	stream_id integer PRIMARY KEY,
	windows bigint NOT NULL,
	calls bigint NOT NULL,
	listed bigint NOT NULL,
	spans tstzmultirange NOT NULL
);

CREATE PROCEDURE simulated.day(day timestamptz, step interval) LANGUAGE plpgsql AS $$
DECLARE
	first_run bigint;
	in_segment smallint := COALESCE((SELECT s.segment FROM jdysync.call_segment s ORDER BY s.turn DESC LIMIT 1), 1);
BEGIN
	SELECT COALESCE(max(r.run_id), 0) + 1 INTO first_run FROM jdysync.run r;
	INSERT INTO jdysync.run (stream_id, name, kind, mode, status, requested_by, queued_at)
	SELECT j.stream_id, j.name, CASE WHEN j.is_push THEN 'push' ELSE 'pull' END, 'auto', 'queued', current_user, m.at
	FROM generate_series(day, day + interval '1 day' - step, step) AS m (at) CROSS JOIN jdysync.subject j
	ORDER BY m.at, j.stream_id;
	COMMIT;
	UPDATE jdysync.run r SET status = 'running', started_at = r.queued_at + interval '20 ms' WHERE r.run_id >= first_run;
	COMMIT;
	INSERT INTO jdysync.call (segment, run_id, at, method, url, attempt, http_status, errcode, ms, bytes, error)
	SELECT in_segment, r.run_id, r.started_at + n * interval '40 ms',
		CASE r.kind WHEN 'pull' THEN 'GET' ELSE 'POST' END,
		CASE WHEN r.kind = 'push' THEN 'https://target.example.com/jdy/v2/in/customer'
			ELSE format('https://api.kingdee.com/jdy/v2/bd/customer?enable=***&modify_end_time=%s&modify_start_time=%s&page=1&page_size=100',
				(extract(epoch FROM r.queued_at) * 1000)::bigint, (extract(epoch FROM r.queued_at - step) * 1000)::bigint) END,
		1, 200, 0, 38, 812, NULL
	FROM jdysync.run r CROSS JOIN generate_series(1, 2) AS n WHERE r.run_id >= first_run ORDER BY r.run_id, n;
	INSERT INTO jdysync."window" (stream_id, epoch, span, rule, calls, "rows", "count", run_id, proven_at)
	SELECT s.stream_id, 1, tstzrange(NULL, day - interval '1 hour'), 'load', 50, 5000, 5000, first_run, day
	FROM jdysync.stream s WHERE NOT EXISTS (SELECT FROM simulated.total t WHERE t.stream_id = s.stream_id);
	INSERT INTO jdysync."window" (stream_id, epoch, span, rule, calls, "rows", "count", run_id, proven_at)
	SELECT r.stream_id, 1, tstzrange(r.queued_at - interval '1 hour', r.queued_at + step - interval '1 hour'), 'one answer', 1,
		r.run_id % 4, r.run_id % 4, r.run_id, r.started_at + interval '250 ms'
	FROM jdysync.run r WHERE r.run_id >= first_run AND r.kind = 'pull' ORDER BY r.run_id;
	INSERT INTO simulated.total AS t (stream_id, windows, calls, listed, spans)
	SELECT w.stream_id, count(*), sum(w.calls), sum(w."rows"), range_agg(w.span)
	FROM jdysync."window" w WHERE w.run_id >= first_run AND w.first_run_id IS NULL GROUP BY w.stream_id
	ON CONFLICT (stream_id) DO UPDATE SET windows = t.windows + EXCLUDED.windows, calls = t.calls + EXCLUDED.calls,
		listed = t.listed + EXCLUDED.listed, spans = t.spans + EXCLUDED.spans;
	UPDATE jdysync.stream s SET coverage = s.coverage + t.spans, watermark = upper(t.spans), listed_until = upper(t.spans)
	FROM simulated.total t WHERE t.stream_id = s.stream_id;
	COMMIT;
	/* One in a hundred fails. */
	UPDATE jdysync.run r SET status = CASE WHEN r.run_id % 101 = 0 THEN 'failed' ELSE 'ok' END,
		finished_at = r.started_at + interval '300 ms', listed = r.run_id % 4, unchanged = r.run_id % 4, calls = 2,
		sqlstate = CASE WHEN r.run_id % 101 = 0 THEN '08006' END,
		error = CASE WHEN r.run_id % 101 = 0 THEN 'the service did not answer in time' END,
		detail = CASE WHEN r.run_id % 101 = 0 THEN repeat('GET https://api.kingdee.com/jdy/v2/bd/customer: no answer after 5 tries. ', 3) END
	WHERE r.run_id >= first_run;
	/* An incident that passed, a row that came right. */
	INSERT INTO jdysync.incident (name, opened_at, closed_at, severity, what, advice)
	SELECT s.name, day, day + interval '1 hour', 'warning', 'something passed', 'nothing' FROM jdysync.stream s;
	INSERT INTO jdysync.reject (stream_id, run_id, at, id, reason, digest, raw)
	SELECT s.stream_id, first_run, day, 'r', 'no', sha256(convert_to(day::text, 'UTF8')), '\x00' FROM jdysync.stream s;
END $$;
