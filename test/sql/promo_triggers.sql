-- What changes of promo rows do to their sync columns and to stripe_sync.promo_state.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
CREATE TABLE t (
  id int PRIMARY KEY, code text, description text, discount_type text, discount_value numeric, custom_monthly_price numeric,
  custom_yearly_price numeric, max_uses int, used_count int DEFAULT 0, starts_at timestamptz, expires_at timestamptz,
  is_active boolean DEFAULT true, currency text, duration text, duration_in_months int, stripe_product_id text, stripe_price_id text,
  first_time_only boolean, minimum_amount numeric, stripe_customer_id text, notes text, updated_at timestamptz,
  stripe_coupon_id text, stripe_promotion_code_id text UNIQUE, sync_status text DEFAULT 'pending'
    CHECK (sync_status IN ('pending', 'synced', 'error', 'manual')), synced_at timestamptz, sync_error text);
SELECT stripe_sync_attach('t', duration => 'once') \g /dev/null

-- each row with its state, as far as that is the triggers' doing, once the worker has taken it over
CREATE FUNCTION pg_temp.see() RETURNS TABLE (id int, code text, sync_status text, sync_error text, key text, state_code text, state text, off boolean,
  deleted boolean, due boolean, reason text) LANGUAGE plpgsql AS $$
BEGIN
  CALL pg_temp.take_over();
  RETURN QUERY SELECT t.id, t.code, t.sync_status, t.sync_error, s.key, s.code AS state_code, s.state, s.off, s.deleted, s.next_attempt IS NOT NULL AS due, s.reason
  FROM t FULL JOIN (SELECT * FROM stripe_sync.promo_state WHERE promo_table = 't'::regclass) s ON s.key = t.id::text
    ORDER BY coalesce(s.key::int, t.id);
END
$$;
CREATE VIEW pg_temp.seen AS SELECT * FROM pg_temp.see();
-- as if the worker had carried out everything
CREATE PROCEDURE pg_temp.settle() LANGUAGE sql AS $$
  CALL pg_temp.take_over();
  DELETE FROM stripe_sync.promo_state WHERE deleted;
  UPDATE t SET sync_status = 'synced', sync_error = NULL WHERE sync_status IN ('pending', 'error');
  UPDATE stripe_sync.promo_state s SET state = CASE t.sync_status WHEN 'manual' THEN 'excluded' ELSE 'synced' END,
    next_attempt = NULL, reason = NULL, detail = NULL, hint = NULL, sqlstate = NULL, generation = 1
  FROM t WHERE s.promo_table = 't'::regclass AND s.key = t.id::text;
$$;
CREATE PROCEDURE pg_temp.fill(rows int) LANGUAGE sql AS $$
  DELETE FROM t;
  CALL pg_temp.take_over();
  DELETE FROM stripe_sync.promo_state;
  INSERT INTO t (id, code, discount_type, discount_value) SELECT n, 'C' || n, 'percentage', 10 FROM generate_series(1, rows) n;
  CALL pg_temp.settle();
$$;
\set ECHO all

-- insert: pending, whatever the row says but manual
INSERT INTO t (id, code, is_active, sync_status, sync_error) VALUES (1, 'ONE', true, DEFAULT, NULL), (2, 'TWO', false, 'synced', 'x'),
  (3, 'THREE', NULL, NULL, NULL), (4, 'FOUR', true, 'manual', 'mine'), (5, NULL, true, 'error', 'x');
SELECT * FROM pg_temp.seen;

-- a change of any watched column, also from and to NULL, is one; of another it is none
CALL pg_temp.fill(1);
DO $$
DECLARE
  part record;
  seen text[];
  change text;
BEGIN
  FOR part IN
    SELECT * FROM (VALUES ('code', '''OTHER'''), ('description', '''x'''), ('discount_type', '''fixed'''), ('discount_value', '11'),
      ('custom_monthly_price', '1'), ('custom_yearly_price', '1'), ('max_uses', '1'), ('starts_at', 'now()'), ('expires_at', 'now()'),
      ('is_active', 'false'), ('currency', '''usd'''), ('duration', '''once'''), ('duration_in_months', '1'), ('stripe_product_id', '''p'''),
      ('stripe_price_id', '''p'''), ('first_time_only', 'true'), ('minimum_amount', '1'), ('stripe_customer_id', '''c'''),
      ('used_count', '7'), ('notes', '''x'''), ('updated_at', 'now()'), ('stripe_coupon_id', '''x'''), ('synced_at', 'now()'),
      ('sync_error', '''x''')) v(name, value)
  LOOP
    seen := '{}';
    FOREACH change IN ARRAY ARRAY['NULL', part.value, part.value, 'NULL'] LOOP
      CALL pg_temp.settle();
      EXECUTE format('UPDATE t SET %I = %s', part.name, change);
      CALL pg_temp.take_over();
      seen := seen || (SELECT t.sync_status || '/' || s.state FROM t, stripe_sync.promo_state s WHERE s.promo_table = 't'::regclass);
    END LOOP;
    RAISE INFO '%: %', rpad(part.name, 20), array_to_string(seen, ' -> ');
  END LOOP;
END
$$;
-- values that are equal but not the same bytes cost a look, at most
CALL pg_temp.fill(1);
UPDATE t SET code = code, discount_value = 10, is_active = is_active;
SELECT sync_status, state FROM pg_temp.seen;
UPDATE t SET discount_value = 10.00;
SELECT sync_status, state FROM pg_temp.seen;

-- what was wrong with the row is not said of the new one
CALL pg_temp.fill(1);
UPDATE t SET sync_status = 'error', sync_error = 'was wrong';
UPDATE stripe_sync.promo_state SET state = 'parked', sqlstate = 'SY005', reason = 'was wrong', detail = 'very', hint = 'fix it', attempts = 3;
UPDATE t SET notes = 'x';
SELECT sync_status, sync_error, state, reason FROM pg_temp.seen;
UPDATE t SET discount_value = 20;
SELECT sync_status, sync_error, state, due FROM pg_temp.seen;
SELECT state, sync_status, reason IS DISTINCT FROM 'was wrong' AS reason, detail IS DISTINCT FROM 'very' AS detail, hint IS DISTINCT FROM 'fix it' AS hint, attempts FROM stripe_sync_promo_status;

-- "look again", by hand
CALL pg_temp.fill(2);
UPDATE t SET sync_status = 'pending' WHERE id = 1;
SELECT id, sync_status, state, due FROM pg_temp.seen;
CALL pg_temp.settle();
UPDATE t SET sync_status = NULL WHERE id = 1;
SELECT id, sync_status, state, due FROM pg_temp.seen;
-- any other value is not ours to argue with
CALL pg_temp.settle();
UPDATE t SET sync_status = 'error' WHERE id = 1;
SELECT id, sync_status, state, due FROM pg_temp.seen;

-- manual: entered, kept over changes, left
CALL pg_temp.fill(1);
UPDATE t SET sync_status = 'manual';
SELECT sync_status, state, due FROM pg_temp.seen;
CALL pg_temp.settle();
SELECT sync_status, state, due FROM pg_temp.seen;
UPDATE t SET discount_value = 30, is_active = false, sync_error = 'mine';
SELECT sync_status, sync_error FROM pg_temp.seen;
CALL pg_temp.settle();
UPDATE t SET sync_status = 'pending';
SELECT sync_status, state, off, due FROM pg_temp.seen;
-- left by a value of the user's own, too
CALL pg_temp.settle();
UPDATE t SET sync_status = 'manual', discount_value = 40;
CALL pg_temp.settle();
UPDATE t SET sync_status = 'synced';
SELECT sync_status, state, due FROM pg_temp.seen;
-- a manual row's code is left as it is, also when the row is deleted, before or after the worker saw it, or gets another key
CALL pg_temp.fill(1);
UPDATE t SET sync_status = 'manual';
CALL pg_temp.settle();
DELETE FROM t;
SELECT key, state, deleted, due FROM pg_temp.seen;
CALL pg_temp.fill(1);
UPDATE t SET sync_status = 'manual';
DELETE FROM t;
SELECT key, state, deleted, due FROM pg_temp.seen;
CALL pg_temp.fill(1);
UPDATE t SET sync_status = 'manual';
CALL pg_temp.settle();
UPDATE t SET id = 2;
SELECT key, state, due FROM pg_temp.seen WHERE key = '1' AND state <> 'excluded';

-- another key: without ids the old one's code is switched off, with them its state goes along
CALL pg_temp.fill(2);
UPDATE t SET id = 10 WHERE id = 1;
SELECT key, state_code, state, off, deleted, due FROM pg_temp.seen;
CALL pg_temp.fill(2);
UPDATE t SET stripe_promotion_code_id = 'promo_1' WHERE id = 1;
UPDATE stripe_sync.promo_state SET promotion_code_id = 'promo_1' WHERE key = '1';
UPDATE t SET id = 10 WHERE id = 1;
CALL pg_temp.take_over();
SELECT s.key, s.state, s.off, s.deleted, s.promotion_code_id FROM stripe_sync.promo_state s ORDER BY key;
-- keys that move up one by one; two keys that swap
CALL pg_temp.fill(3);
CREATE TABLE moving (id int PRIMARY KEY DEFERRABLE, code text, discount_type text, discount_value numeric);
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('moving', duration => 'once');
INSERT INTO moving SELECT id, code, discount_type, discount_value FROM t;
UPDATE moving SET stripe_promotion_code_id = 'promo_' || id;
CALL pg_temp.take_over();
UPDATE stripe_sync.promo_state SET state = 'synced', next_attempt = NULL, promotion_code_id = 'promo_' || key;
CREATE VIEW pg_temp.moved AS SELECT m.id, m.code, m.stripe_promotion_code_id AS promo, s.key, s.promotion_code_id AS state_promo, s.state, s.deleted
  FROM moving m FULL JOIN (SELECT * FROM stripe_sync.promo_state WHERE promo_table = 'moving'::regclass) s ON s.key = m.id::text;
UPDATE moving SET id = id + 1;
CALL pg_temp.take_over();
SELECT id, code, promo, state FROM pg_temp.moved WHERE id IS NOT NULL ORDER BY id;
-- no state holds another row's code, and no code that a row carries is to be switched off
SELECT key, state_promo FROM pg_temp.moved WHERE state_promo <> promo OR deleted AND state_promo IN (SELECT stripe_promotion_code_id FROM moving);
UPDATE moving SET id = 7 - id WHERE id IN (3, 4);
CALL pg_temp.take_over();
SELECT id, code, promo, state FROM pg_temp.moved WHERE id IS NOT NULL ORDER BY id;
SELECT key, state_promo FROM pg_temp.moved WHERE state_promo <> promo OR deleted AND state_promo IN (SELECT stripe_promotion_code_id FROM moving);
-- a key changed by a statement in which the application's own trigger changes other rows
CREATE FUNCTION touch_other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE t SET notes = 'touched' WHERE id = 2 AND NEW.id <> 2 AND OLD.id <> NEW.id;
  RETURN NULL;
END
$$;
CREATE TRIGGER touch_other AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch_other();
CALL pg_temp.fill(2);
UPDATE t SET id = 10 WHERE id = 1;
SELECT id, key, state_code, state, off, deleted, due FROM pg_temp.seen;
DROP TRIGGER touch_other ON t;

-- delete
CALL pg_temp.fill(3);
DELETE FROM t WHERE id IN (1, 3);
SELECT id, key, state, off, deleted, due FROM pg_temp.seen;
-- deleted and inserted again in one transaction
CALL pg_temp.fill(2);
BEGIN;
DELETE FROM t WHERE id = 1;
INSERT INTO t (id, code, is_active) VALUES (1, 'AGAIN', true);
COMMIT;
SELECT id, code, sync_status, key, state_code, state, off, deleted, due FROM pg_temp.seen;
-- under another key
BEGIN;
DELETE FROM t WHERE id = 2;
INSERT INTO t (id, code, is_active) VALUES (20, 'C2', true);
COMMIT;
SELECT id, code, sync_status, key, state_code, state, off, deleted, due FROM pg_temp.seen;

-- many at once: held when more than ten rows and more than a fifth of the table
CALL pg_temp.fill(10);
DELETE FROM t;
SELECT count(*), state, off, deleted, due, reason FROM pg_temp.seen GROUP BY 2, 3, 4, 5, 6;
CALL pg_temp.fill(11);
DELETE FROM t;
SELECT count(*), state, off, deleted, due, reason FROM pg_temp.seen GROUP BY 2, 3, 4, 5, 6;
CALL pg_temp.fill(55);
DELETE FROM t WHERE id <= 11;
SELECT count(*), state, off, deleted, due, reason FROM pg_temp.seen GROUP BY 2, 3, 4, 5, 6 ORDER BY 1;
CALL pg_temp.fill(54);
DELETE FROM t WHERE id <= 11;
SELECT count(*), state, off, deleted, due, reason FROM pg_temp.seen GROUP BY 2, 3, 4, 5, 6 ORDER BY 1;
-- manual rows among them stay what they are; held ones come back with their rows
CALL pg_temp.fill(12);
UPDATE t SET sync_status = 'manual' WHERE id = 1;
CALL pg_temp.settle();
DELETE FROM t;
SELECT count(*), state, due FROM pg_temp.seen GROUP BY 2, 3 ORDER BY 1;
INSERT INTO t (id, code) VALUES (2, 'C2'), (3, 'C3');
SELECT id, state, off, deleted, due FROM pg_temp.seen WHERE id IS NOT NULL;
-- one by one it is nobody's mistake
CALL pg_temp.fill(12);
DO 'BEGIN FOR n IN 1..12 LOOP DELETE FROM t WHERE id = n; END LOOP; END';
SELECT count(*), state, off, deleted, due FROM pg_temp.seen GROUP BY 2, 3, 4, 5;

-- truncate: held
CALL pg_temp.fill(3);
UPDATE t SET sync_status = 'manual' WHERE id = 3;
CALL pg_temp.settle();
UPDATE stripe_sync.promo_state SET detail = 'of something else', hint = 'of something else';
TRUNCATE t;
SELECT key, state, off, deleted, due, reason FROM pg_temp.seen;
SELECT key, state, sync_status, detail IS DISTINCT FROM 'of something else' AS detail, hint IS DISTINCT FROM 'of something else' AS hint
FROM stripe_sync_promo_status WHERE state = 'missing' ORDER BY key;
INSERT INTO t (id, code) VALUES (1, 'C1');
SELECT id, key, state, off, deleted, due FROM pg_temp.seen;
SELECT reason FROM stripe_sync_promo_status WHERE key = '1';

-- upsert, merge, copy, writable CTE, through a view, nothing at all
CALL pg_temp.fill(2);
INSERT INTO t (id, code, discount_value) VALUES (1, 'C1', 10), (3, 'C3', 5) ON CONFLICT (id) DO NOTHING;
SELECT id, sync_status, state FROM pg_temp.seen;
CALL pg_temp.settle();
INSERT INTO t (id, code, discount_value) VALUES (1, 'C1', 10), (4, 'C4', 5) ON CONFLICT (id) DO UPDATE SET notes = 'seen';
SELECT id, sync_status, state FROM pg_temp.seen;
CALL pg_temp.settle();
INSERT INTO t (id, code, discount_value) VALUES (1, 'C1', 20), (5, 'C5', 5) ON CONFLICT (id) DO UPDATE SET discount_value = excluded.discount_value;
SELECT id, sync_status, state FROM pg_temp.seen;
CALL pg_temp.settle();
MERGE INTO t USING (VALUES (1, 'delete'), (2, 'change'), (6, 'insert')) v(id, what) ON t.id = v.id
WHEN MATCHED AND what = 'delete' THEN DELETE
WHEN MATCHED THEN UPDATE SET max_uses = 9
WHEN NOT MATCHED THEN INSERT (id, code) VALUES (v.id, 'MERGED');
SELECT id, sync_status, key, state, off, deleted FROM pg_temp.seen;
CALL pg_temp.settle();
COPY t (id, code, discount_type, discount_value, is_active) FROM STDIN;
7	COPIED	percentage	10	t
8	OFF	percentage	10	f
\.
SELECT id, code, sync_status, state, off FROM pg_temp.seen WHERE id > 6;
CALL pg_temp.settle();
WITH gone AS (DELETE FROM t WHERE id = 8 RETURNING code), changed AS (UPDATE t SET max_uses = 1 WHERE id = 7)
INSERT INTO t (id, code) SELECT 9, code || '-NEW' FROM gone;
SELECT id, code, sync_status, key, state, off, deleted FROM pg_temp.seen WHERE key::int > 6;
CALL pg_temp.settle();
CREATE VIEW through AS SELECT id AS number, code AS text, is_active FROM t WHERE id > 6;
UPDATE through SET is_active = false WHERE number = 7;
SELECT id, sync_status, state, off FROM pg_temp.seen WHERE id > 6;
CALL pg_temp.settle();
UPDATE t SET max_uses = 100 WHERE id = 1000;
DELETE FROM t WHERE id = 1000;
INSERT INTO t SELECT * FROM t WHERE id = 1000;
SELECT count(*) FROM pg_temp.seen WHERE state <> 'synced';
DROP VIEW through;

-- switched off, on, and what says so
CALL pg_temp.fill(1);
UPDATE t SET is_active = false;
SELECT off FROM pg_temp.seen;
UPDATE t SET is_active = NULL;
SELECT off FROM pg_temp.seen;
UPDATE t SET is_active = true;
SELECT off FROM pg_temp.seen;

-- rolled back: nothing is left
CALL pg_temp.fill(2);
BEGIN;
UPDATE t SET max_uses = 5;
DELETE FROM t WHERE id = 1;
INSERT INTO t (id, code) VALUES (3, 'NEVER');
ROLLBACK;
SELECT * FROM pg_temp.seen;
BEGIN;
UPDATE t SET max_uses = 5 WHERE id = 1;
SAVEPOINT s;
UPDATE t SET max_uses = 5 WHERE id = 2;
DELETE FROM t WHERE id = 1;
INSERT INTO t (id, code) VALUES (3, 'NEVER');
ROLLBACK TO s;
INSERT INTO t (id, code) VALUES (4, 'KEPT');
COMMIT;
SELECT id, code, sync_status, key, state, off, deleted FROM pg_temp.seen;
CALL pg_temp.settle();
INSERT INTO t (id, code) VALUES (5, 'FAILS'), (1, 'FAILS');
DO 'BEGIN BEGIN UPDATE t SET max_uses = 6; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END';
SELECT id, sync_status, key, state FROM pg_temp.seen;

-- by a foreign key's cascade
CREATE TABLE campaign (id int PRIMARY KEY);
INSERT INTO campaign VALUES (1), (2);
CREATE TABLE of_campaign (id int PRIMARY KEY, code text, discount_type text, discount_value numeric,
  stripe_product_id int REFERENCES campaign ON DELETE CASCADE ON UPDATE CASCADE);
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('of_campaign', duration => 'once');
INSERT INTO of_campaign VALUES (1, 'A', 'percentage', 10, 1), (2, 'B', 'percentage', 10, 2);
CALL pg_temp.take_over();
UPDATE stripe_sync.promo_state SET state = 'synced';
UPDATE campaign SET id = 3 WHERE id = 1;
DELETE FROM campaign WHERE id = 2;
CALL pg_temp.take_over();
SELECT key, code, state, off, deleted FROM stripe_sync.promo_state WHERE promo_table = 'of_campaign'::regclass ORDER BY key;

-- generated columns: what they are computed from is watched
CREATE TABLE computed (id int PRIMARY KEY, campaign text, code text GENERATED ALWAYS AS (upper(campaign)) STORED, discount_type text, discount_value int);
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('computed', duration => 'once');
INSERT INTO computed VALUES (1, 'fall', DEFAULT, 'percentage', 10);
CALL pg_temp.take_over();
SELECT c.sync_status, s.code, s.state FROM computed c, stripe_sync.promo_state s WHERE s.promo_table = 'computed'::regclass;
UPDATE stripe_sync.promo_state SET state = 'synced';
UPDATE computed SET sync_status = 'synced';
UPDATE computed SET campaign = 'winter';
CALL pg_temp.take_over();
SELECT c.sync_status, s.code, s.state FROM computed c, stripe_sync.promo_state s WHERE s.promo_table = 'computed'::regclass;

-- a partitioned table: rows that move to another partition keep their state
CREATE TABLE parted (id int PRIMARY KEY, code text, discount_type text, discount_value numeric) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
CREATE TABLE parted_by_code (id int, code text, discount_type text, discount_value numeric, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parted_by_code_eu PARTITION OF parted_by_code FOR VALUES IN ('eu');
CREATE TABLE parted_by_code_us PARTITION OF parted_by_code FOR VALUES IN ('us');
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('parted', duration => 'once');
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('parted_by_code', duration => 'once');
INSERT INTO parted VALUES (1, 'P1', 'percentage', 10), (101, 'P101', 'percentage', 10);
INSERT INTO parted_by_code VALUES (1, 'R1', 'percentage', 10, 'eu');
UPDATE parted SET sync_status = 'synced';
UPDATE parted_by_code SET sync_status = 'synced', stripe_promotion_code_id = 'promo_R1';
CALL pg_temp.take_over();
UPDATE stripe_sync.promo_state SET state = 'synced', next_attempt = NULL, promotion_code_id = CASE code WHEN 'R1' THEN 'promo_R1' END;
CREATE VIEW pg_temp.parts AS SELECT promo_table, key, code, state, off, deleted, promotion_code_id AS promo FROM stripe_sync.promo_state
  WHERE promo_table::text LIKE 'parted%' ORDER BY promo_table::text, key;
UPDATE parted SET discount_value = 20;
CALL pg_temp.take_over();
SELECT tableoid::regclass, id, sync_status FROM parted ORDER BY id;
SELECT * FROM pg_temp.parts;
UPDATE parted_by_code SET region = 'us';
CALL pg_temp.take_over();
SELECT tableoid::regclass, id, sync_status, stripe_promotion_code_id AS promo FROM parted_by_code;
SELECT * FROM pg_temp.parts WHERE promo_table = 'parted_by_code'::regclass;
UPDATE parted SET id = 150 WHERE id = 1;
DELETE FROM parted WHERE id = 101;
CALL pg_temp.take_over();
SELECT * FROM pg_temp.parts WHERE promo_table = 'parted'::regclass;
-- a write into a partition marks the row, and is found by the worker's comparison
UPDATE parted SET sync_status = 'synced';
UPDATE stripe_sync.promo_state SET state = 'synced', next_attempt = NULL;
UPDATE parted_high SET discount_value = 30;
CALL pg_temp.take_over();
SELECT p.id, p.sync_status, s.state FROM parted p JOIN stripe_sync.promo_state s ON s.promo_table = 'parted'::regclass AND s.key = p.id::text;

\set ECHO none
\i :end
DROP TABLE t, moving, campaign, of_campaign, computed, parted, parted_by_code CASCADE;
DROP FUNCTION touch_other;
