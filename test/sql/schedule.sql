/* When a schedule is due next. */
CREATE FUNCTION pg_temp.next(schedule text, due timestamptz, at timestamptz, zone text) RETURNS timestamptz
	AS '$libdir/jdysync', 'jdy_test_schedule_next' LANGUAGE C STRICT;
/* The first n times after `at`, by the clocks of `zone`, with what these are ahead of UTC. */
CREATE FUNCTION pg_temp.times(schedule text, at text, zone text, n int DEFAULT 3) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t timestamptz;
BEGIN
	PERFORM set_config('TimeZone', zone, true);
	t := at::timestamptz;
	FOR i IN 1 .. n LOOP
		t := pg_temp.next(schedule, t, t, zone);
		RETURN NEXT to_char(t, 'YYYY-MM-DD HH24:MI:SS OF dy');
	END LOOP;
END $$;

-- Cron: lists, ranges, steps, names, seconds
SELECT pg_temp.times('*/5 * * * *', '2026-11-25 10:02:30', 'Asia/Shanghai');
SELECT pg_temp.times('5/20 * * * *', '2026-11-25 10:05:00', 'Asia/Shanghai');
SELECT pg_temp.times('*/30 8-10,18 * * mon-fri', '2026-11-27 10:15', 'Asia/Shanghai', 5);
SELECT pg_temp.times('15,45 * * * * *', '2026-11-25 10:00:15', 'Asia/Shanghai');
SELECT pg_temp.times('0 0 2 * * 7', '2026-11-25', 'Asia/Shanghai');
SELECT pg_temp.times('59 23 31 12 *', '2026-11-25', 'Asia/Shanghai', 2);
SELECT pg_temp.times('0 0 29 feb *', '2026-11-25', 'Asia/Shanghai', 2);
SELECT pg_temp.times('0 0 29 2 *', '2096-03-01', 'UTC', 1);
-- Days of the month and of the week: either, when both are named; both, when one is "*"
SELECT pg_temp.times('0 0 13 * fri', '2026-11-25', 'Asia/Shanghai', 5);
SELECT pg_temp.times('0 0 13 * *', '2026-11-25', 'Asia/Shanghai');
SELECT pg_temp.times('0 0 */2 * fri', '2026-11-25', 'Asia/Shanghai');
-- The server's time zone decides
SELECT pg_temp.times('0 3 * * *', '2026-11-25 00:00', 'Asia/Shanghai', 1);
SELECT pg_temp.next('0 3 * * *', 'epoch', '2026-11-25 00:00+00', 'Asia/Shanghai') = '2026-11-25 19:00+00';
-- Clocks that are put forward: a time that they skip counts later, once; set back: a time that comes twice counts once
SELECT pg_temp.times('30 2 * * *', '2026-03-07 12:00', 'America/New_York');
SELECT pg_temp.times('30 1 * * *', '2026-10-31 12:00', 'America/New_York');
-- but what runs in every hour runs in the one that comes twice, too
SELECT pg_temp.times('0,30 * * * *', '2026-11-01 00:15', 'America/New_York', 6);
SELECT pg_temp.times('30 * * * *', '2026-03-08 00:45', 'America/New_York');
-- Intervals keep their pace; what was missed before the run began counts once
SELECT s, pg_temp.next(s, '2026-11-25 10:00:00+00', at::timestamptz, 'UTC') AT TIME ZONE 'UTC' FROM (VALUES
	('5 min', '2026-11-25 10:00:01+00'), ('5 min', '2026-11-25 10:04:59+00'), ('5 min', '2026-11-25 10:07:00+00'), ('5 min', '2026-11-25 10:31:00+00'),
	('1 s', '2027-11-25 10:31:00.5+00'), ('1 mon', '2027-01-26 00:00+00'), ('1 day', '2026-11-25 10:00:01+00')) AS v (s, at);
