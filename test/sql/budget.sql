/* A call is granted only if fewer than the limit can have been counted within the last window. */

CREATE FUNCTION budget(VARIADIC script text[])
RETURNS text[] AS '$libdir/jdysync', 'jdy_test_budget' LANGUAGE C STRICT;

/* The limit, and after the window again; "12 take" tries twelve times. */
SELECT budget('open plain 10 250 80', 'left', '12 take tail', 'left', 'sleep 260', '12 take tail');
/* It slides: what was taken late is given back late. */
SELECT budget('open slides 4 400 80', '2 take tail', 'sleep 250', '4 take tail', 'sleep 200', '4 take tail', 'sleep 210', '4 take tail');
/* First loads and audits leave a share to fresh data. */
SELECT budget('open share 10 250 80', '12 take backfill', '12 take tail');
SELECT budget('open all 10 250 100', '12 take backfill', '12 take tail');
SELECT budget('open small 1 250 10', '2 take backfill', '2 take tail');
/* An audit that must wait goes before first loads for a window more, also while it asks for nothing. */
SELECT budget('open audit 10 500 80', '9 take audit', 'take backfill', 'sleep 510', '4 take audit', 'take backfill', '12 take tail', 'sleep 510', '9 take backfill');
/* Also of a limit beyond the ring's size, where a call joins the last one. */
SELECT budget('open audit_joins 5000 500 80', '4001 take audit', 'sleep 510', 'take audit', 'take backfill', 'take audit');
/* One that need not wait leaves the rest. */
SELECT budget('open audit_leaves 10 250 80', '4 take audit', '12 take backfill');
/* A call under way may reach the service any moment, so it counts until a window after its end. */
SELECT budget('open way 2 200 80', '2 keep tail', 'sleep 250', 'take tail');
/* No limit. */
SELECT budget('open none 0 200 80', 'left', '5000 take tail', '5000 take backfill', 'left');
/* A limit beyond the ring's size is kept too; what an entry stands for is counted whole. */
SELECT budget('open large 5000 300 80', '6000 take tail', 'take backfill', 'sleep 320', '6000 take backfill', '6000 take tail');
SELECT budget('open larger 1500 300 80', '2000 take tail');

/* A refusal pauses everything and halves the budget; each clean window brings 10 % back. */
SELECT budget('open refused 20 200 80', '3 take tail', 'refuse 100', 'take tail', 'take backfill', 'left', 'sleep 110', 'sleep 210', '30 take tail');
/* Without Retry-After until a window has passed. */
SELECT budget('open window 20 400 80', 'refuse -1', 'sleep 250', 'take tail', 'sleep 160', 'take tail');
/* Refusals of calls that were under way together are one. */
SELECT budget('open together 20 150 80', 'refuse 50', 'refuse 50', 'refuse 50', 'sleep 60', '30 take tail');
SELECT budget('open again 20 150 80', 'refuse 0', 'refuse 0', 'sleep 10', '30 take tail');
SELECT budget('open recovers 20 50 80', 'refuse 0', 'sleep 150', 'sleep 200', '30 take tail');
/* Without a limit there is nothing to halve, but the pause is kept. */
SELECT budget('open pause 0 200 80', 'refuse 100', 'take tail', 'sleep 110', '100 take tail');

/* Two tokens a minute, or a window where that is shorter, besides the budget itself. */
SELECT budget('open tokens 10 200 80', '4 take token', 'take tail', 'sleep 210', 'take token', 'take tail');
SELECT budget('open tokens_count 2 200 80', 'take token', '3 take tail');
SELECT budget('open tokens_wait 1 200 80', 'take tail', 'take token');

/* What was counted before the account was known counts for the account, and the smallest limit wins. */
SELECT budget('open credentials 10 250 80', '6 take tail', 'join 4711', '6 take tail');
SELECT budget('open shared 10 250 80', '2 take tail', 'open shared 5 250 80', '10 take tail', 'open shared 10 250 80', '10 take tail');
/* Two windows after the last call under it a smaller limit is forgotten, so that a limit can be raised. */
SELECT budget('open raised 5 100 80', '10 take tail', 'open raised 10 100 80', 'sleep 220', '12 take tail');
/* A server without a limit keeps to the limit that another has for the account. */
SELECT budget('open mixed 5 400 80', '2 take tail', 'open mixed 0 400 80', '10 take tail');
