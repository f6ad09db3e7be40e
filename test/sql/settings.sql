-- Settings: defaults, what is refused, and who may change them.
LOAD 'jdysync';
SELECT name, boot_val, unit, context FROM pg_settings WHERE name LIKE 'jdysync.%' ORDER BY name COLLATE "C";

-- Refused values change nothing.
ALTER SYSTEM SET jdysync.log_retention = 'soon';
ALTER SYSTEM SET jdysync.log_retention = '-1 day';
ALTER SYSTEM SET jdysync.log_retention = '';
\set VERBOSITY sqlstate
ALTER SYSTEM SET jdysync.log_size = '0';
\set VERBOSITY default
ALTER SYSTEM SET jdysync.log_calls = 'some';
ALTER SYSTEM SET jdysync.max_workers = 0;
ALTER SYSTEM SET jdysync.databases = 'a,,b';
ALTER SYSTEM SET jdysync.allowed_hosts = 'https://api.kingdee.com';
ALTER SYSTEM SET jdysync.allowed_hosts = 'api.*.com';
ALTER SYSTEM SET jdysync.allowed_hosts = 'a.example', '*b.example';
SET jdysync.no_such_setting = 1;

-- Not for a session, whoever it is.
SET jdysync.enabled = off;
SET jdysync.allowed_hosts = '*';
