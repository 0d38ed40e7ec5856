-- The views: their columns, what they say in each state, and the command they name next.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
\set ECHO all

SELECT c.relname AS view, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), E'\n' ORDER BY a.attnum) AS columns
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'stripe_sync') AND c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace
GROUP BY c.relname ORDER BY c.relname COLLATE "C";

-- dormant: one row each where there is one, none where there is nothing
SELECT status, reason, mode, account, pending, oldest_unsent, errors, blocked_since, last_contact, next FROM stripe_sync_health;
SELECT count(*) FROM stripe_sync_status;
SELECT count(*) FROM stripe_sync_promo_status;
SELECT count(*) FROM stripe_sync_errors;
SELECT * FROM stripe_sync_check() WHERE item NOT IN ('worker', 'version', 'machine');
SELECT status, fix FROM stripe_sync_check() WHERE item = 'version';

CREATE TABLE t (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, is_active boolean DEFAULT true);
CREATE TABLE u (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
INSERT INTO t (id, code) SELECT n, 'C' || n FROM generate_series(1, 10) n;
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('t', duration => 'once');
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('u', duration => 'once');
CALL pg_temp.take_over();
SELECT status, reason, mode, account, pending, oldest_unsent > '0' AS oldest_unsent, errors, next FROM stripe_sync_health;
SELECT object, codes, synced, pending, retrying, error, manual, oldest_unsent > '0' AS oldest_unsent, last_synced, next FROM stripe_sync_status ORDER BY object;

-- a worker that would be there, and each state a row can be in; no real worker sees any of it
BEGIN;
CREATE OR REPLACE VIEW stripe_sync.running_worker AS SELECT 1 AS pid;
UPDATE stripe_sync.worker SET wanted = true;
UPDATE stripe_sync.promo_state s SET state = v.state, reason = v.reason, detail = v.detail, hint = v.hint, deleted = v.state = 'deleted',
  next_attempt = CASE WHEN v.state IN ('retrying', 'scheduled') THEN now() END, synced_at = CASE WHEN v.state IN ('synced', 'expired') THEN now() END,
  observed = CASE v.state WHEN 'synced' THEN '{"promotion_code": {"active": true, "times_redeemed": 3, "max_redemptions": 10}, "predecessors": [{"id": "promo_0", "redeemed": 4}]}'::jsonb END,
  coupon_id = CASE v.state WHEN 'synced' THEN 'C1-abcdef' END, promotion_code_id = CASE v.state WHEN 'synced' THEN 'promo_1' END,
  warnings = CASE v.state WHEN 'synced' THEN '{one,two}'::text[] END
FROM (VALUES ('1', 'synced', NULL, NULL, NULL), ('2', 'pending', NULL, NULL, NULL), ('3', 'sending', NULL, NULL, NULL),
  ('4', 'retrying', 'Stripe does not answer', 'it says nothing', 'wait'), ('5', 'parked', 'discount_value is empty', 'needs one', 'set it'),
  ('6', 'conflict', 'Stripe holds other terms', NULL, 'put them back'), ('7', 'missing', 'the table was truncated', NULL, NULL),
  ('8', 'excluded', NULL, NULL, NULL), ('9', 'expired', NULL, NULL, NULL), ('10', 'scheduled', NULL, NULL, NULL)) v(key, state, reason, detail, hint)
WHERE s.promo_table = 't'::regclass AND s.key = v.key;
UPDATE stripe_sync.promo_state SET changed_at = now() - interval '1 minute';
SELECT key, state, sync_status, reason, detail, hint, next FROM stripe_sync_promo_status ORDER BY key::int;
SELECT code, warning, coupon_id, promotion_code_id, active_in_stripe, redeemed, remaining, deleted, attempts FROM stripe_sync_promo_status WHERE key = '1';
SELECT object, codes, synced, pending, retrying, error, manual, oldest_unsent >= '1 minute' AS oldest_unsent, last_synced IS NOT NULL AS last_synced, next
FROM stripe_sync_status ORDER BY object;

-- health: the gravest first
SELECT status, reason, pending, errors, next FROM stripe_sync_health;
UPDATE stripe_sync.promo_state SET changed_at = now() - interval '6 minutes';
SELECT status, reason, next FROM stripe_sync_health;
UPDATE stripe_sync.worker SET blocked_since = now(), blocked_until = now(), blocked_sqlstate = 'SY001', blocked_message = 'Stripe refused the key',
  blocked_detail = 'of the key', blocked_hint = 'Set another.';
SELECT status, reason, next FROM stripe_sync_health;
SELECT key, state, reason, detail, hint, next FROM stripe_sync_promo_status WHERE key IN ('2', '3', '4', '5') ORDER BY key;
CREATE OR REPLACE VIEW stripe_sync.running_worker AS SELECT 1 AS pid WHERE false;
SELECT status, reason, next FROM stripe_sync_health;
UPDATE stripe_sync.worker SET wanted = false;
SELECT status, reason, next FROM stripe_sync_health;
CREATE OR REPLACE VIEW stripe_sync.running_worker AS SELECT 1 AS pid;
UPDATE stripe_sync.worker SET wanted = true, blocked_since = NULL, blocked_until = NULL, blocked_message = NULL, blocked_hint = NULL;
UPDATE stripe_sync.promo_state SET state = 'synced';
SELECT status, reason, next FROM stripe_sync_health;
SELECT count(*) FROM stripe_sync_health;

-- each command that a view names can be typed
SET LOCAL session_replication_role = replica;
DELETE FROM t WHERE id = 3;
SET LOCAL session_replication_role = origin;
UPDATE stripe_sync.promo_state SET state = CASE key WHEN '2' THEN 'parked' WHEN '3' THEN 'missing' WHEN '4' THEN 'conflict' ELSE 'synced' END, code = code || '''s';
SAVEPOINT typed;
SELECT stripe_sync_stop(); -- else a comparison would wait for it
SELECT pg_temp.tried(next) AS result, next FROM stripe_sync_promo_status WHERE next IS NOT NULL ORDER BY key;
ROLLBACK TO typed;
SELECT pg_temp.tried(next) AS result, next FROM stripe_sync_status WHERE next IS NOT NULL;
SELECT pg_temp.tried(next) AS result, next FROM stripe_sync_health WHERE next IS NOT NULL;
ROLLBACK;
SELECT stripe_sync_detach('u');
DROP TABLE u;

-- errors: newest first
INSERT INTO stripe_sync.error (subject, sqlstate, message, detail, hint, last_at, times) VALUES ('OLD', 'SY003', 'old', NULL, NULL, now() - interval '2 hours', 1),
  ('NEW', 'SY005', 'new', 'because', 'do', now() - interval '1 hour', 3);
SELECT subject, sqlstate, message, detail, hint, times FROM stripe_sync_errors;

-- what check says of the attached tables
SELECT item, status, regexp_replace(detail, 'owner .*', 'owner ...') AS detail, fix FROM stripe_sync.table_findings() ORDER BY item;
ALTER TABLE t DISABLE TRIGGER zzzz_stripe_sync_update;
ALTER TABLE t RENAME COLUMN code TO voucher;
SELECT item, status, regexp_replace(detail, 'owner .*', 'owner ...') AS detail, fix FROM stripe_sync.table_findings() ORDER BY item, detail;
ALTER TABLE t RENAME COLUMN voucher TO code;
-- the fixes can be typed, and help
SELECT pg_temp.tried(fix) FROM stripe_sync.table_findings() WHERE detail LIKE 'triggers%';
SELECT item, status FROM stripe_sync.table_findings() WHERE item LIKE 'table%';

-- and of who may write them: all of it, some columns, or with triggers
\set ECHO none
CREATE ROLE regress_stripe_sync_owner;
CREATE ROLE regress_stripe_sync_writer;
ALTER TABLE t OWNER TO regress_stripe_sync_owner;
CREATE ROLE "regress_stripe_sync odd";
CREATE VIEW pg_temp.rights AS
  SELECT item, status, detail, fix FROM stripe_sync.rights_findings() WHERE item LIKE '%.t' ORDER BY item;
\set ECHO all
TABLE pg_temp.rights;
GRANT INSERT ON t TO regress_stripe_sync_writer;
GRANT UPDATE (code, "is_active"), INSERT (code), SELECT (id) ON t TO "regress_stripe_sync odd";
TABLE pg_temp.rights;
GRANT TRIGGER ON t TO regress_stripe_sync_writer, "regress_stripe_sync odd";
GRANT UPDATE (discount_value) ON t TO PUBLIC;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
TABLE pg_temp.rights;
SELECT pg_temp.tried(fix) FROM pg_temp.rights WHERE status = 'warn';
TABLE pg_temp.rights;
DROP TABLE t;
SELECT regexp_replace(item, '\d+', 'OID') AS item, status, detail, regexp_replace(fix, '\d+', 'OID') AS fix FROM stripe_sync.table_findings();
SELECT pg_temp.tried(fix) FROM stripe_sync.table_findings();
SELECT count(*) FROM stripe_sync.table_findings();

\set ECHO none
\i :end
DROP ROLE regress_stripe_sync_owner, regress_stripe_sync_writer, "regress_stripe_sync odd";
