-- stripe_sync_diff() as far as it goes without a worker: errors, rights, what it leaves behind.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
CREATE ROLE regress_stripe_sync_viewer;
CREATE ROLE regress_stripe_sync_stranger;
\set ECHO all
CREATE TABLE t (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
INSERT INTO t VALUES (1, 'ONE', 'percentage', 10), (2, 'it''s', 'percentage', 10);
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''ONE'')');
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('t', duration => 'once');
SELECT stripe_sync_stop();
CALL pg_temp.take_over();

SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''NONE'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(NULL)');
-- blanks and case do not matter; the worker is asked, were it there
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff('' one '')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''it''''s'')');

-- nothing is asked for any more, and nothing was found
BEGIN;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''ONE'')') ~ 'stopped' AS failed;
SELECT count(*) AS wanted FROM stripe_sync.diff_wanted;
SELECT count(*) AS found FROM stripe_sync.diff;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''ONE'')');
ROLLBACK;

-- what the own transaction has written is not known to the worker
BEGIN;
UPDATE t SET discount_value = 20 WHERE id = 1;
INSERT INTO t VALUES (3, 'THREE', 'percentage', 10);
SELECT * FROM stripe_sync_diff('ONE');
SELECT action, key FROM stripe_sync_diff('three');
UPDATE t SET code = 'ONE' WHERE id = 3;
SELECT action, key FROM stripe_sync_diff('ONE');
DELETE FROM t WHERE id = 1;
SELECT action, key FROM stripe_sync_diff('ONE');
ROLLBACK;

-- rights: EXECUTE, and none on any table
GRANT USAGE ON SCHEMA public TO regress_stripe_sync_viewer, regress_stripe_sync_stranger;
SELECT stripe_sync_grant('regress_stripe_sync_viewer', 'operator');
SET ROLE regress_stripe_sync_stranger;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''ONE'')');
SET ROLE regress_stripe_sync_viewer;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_diff(''ONE'')');
RESET ROLE;

-- everybody sees the lock: what it says of the code depends on the installation
SELECT stripe_sync.diff_lock('a', 'one') <> stripe_sync.diff_lock('b', 'one') AS salted;
-- what the worker finds is kept for those who wait; here, nobody does
SELECT stripe_sync.store_diffs(7, '[{"code_key": "one", "action": "none"}]');
SELECT stripe_sync.refuse_diffs(6, 'SY001', 'no key', NULL, 'a hint');
SELECT diffs_done FROM stripe_sync.worker;
-- what was found for an earlier call is never told to a later one, also if nothing is found then
INSERT INTO stripe_sync.diff (code_key, line) VALUES ('one', 1);
SELECT stripe_sync.store_diffs(8, '[]');
SELECT count(*) FROM stripe_sync.diff;
INSERT INTO stripe_sync.diff (code_key, line) VALUES ('one', 1);
SELECT stripe_sync.forget_diffs();
SELECT count(*) FROM stripe_sync.diff;

\set ECHO none
SELECT stripe_sync_revoke('regress_stripe_sync_viewer') \g /dev/null
REVOKE ALL ON SCHEMA public FROM regress_stripe_sync_viewer, regress_stripe_sync_stranger;
DROP ROLE regress_stripe_sync_viewer, regress_stripe_sync_stranger;
DROP TABLE t;
\i :end
