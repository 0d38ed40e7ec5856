-- stripe_sync_inspect(), _fix() and _promo_valid(): what they say of a row, whatever is wrong with it, without a worker.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
\set ECHO all

CREATE ROLE regress_stripe_sync_shop;
CREATE ROLE regress_stripe_sync_helper;
GRANT ALL ON SCHEMA public TO regress_stripe_sync_shop;
GRANT EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_inspect, stripe_sync_fix TO regress_stripe_sync_shop, regress_stripe_sync_helper;
SET ROLE regress_stripe_sync_shop;
CREATE TABLE promo (id int PRIMARY KEY, voucher text UNIQUE, description text, discount_type text, discount_value numeric(10,2),
  custom_monthly_price numeric(10,2), custom_yearly_price numeric(10,2), max_uses int, used_count int DEFAULT 0, starts_at timestamptz,
  expires_at timestamptz, is_active boolean DEFAULT true, currency text, duration text, duration_in_months int, stripe_product_id text,
  stripe_price_id text, first_time_only text, minimum_amount numeric, stripe_customer_id text);
CREATE TABLE other (code text PRIMARY KEY, discount_type text DEFAULT 'percentage', discount_value numeric DEFAULT 10);
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('promo', currency => 'usd', duration => 'once', map => '{"code": "voucher"}');
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('other', duration => 'once');
RESET ROLE;
SELECT stripe_sync_stop();
-- a worker that would be there and has nothing to complain of; no real one sees any of it
BEGIN;
CREATE OR REPLACE VIEW stripe_sync.running_worker AS SELECT 1 AS pid;
UPDATE stripe_sync.worker SET wanted = true;

CREATE FUNCTION pg_temp.inspected(code text) RETURNS TABLE (severity text, column_name text, value text, says text, fixable boolean)
LANGUAGE sql AS $$
  SELECT severity, column_name, value, concat_ws(E'\n', finding, detail, remedy), fixable FROM stripe_sync_inspect(code) WITH ORDINALITY
  WHERE finding <> 'the last change of the row is not in Stripe yet' ORDER BY ordinality
$$;
-- the worker's part: it has judged all rows as they are
CREATE FUNCTION pg_temp.judged(state text, reason text DEFAULT NULL, warnings text[] DEFAULT NULL, code text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT s.promo_table, s.key FROM stripe_sync.promo_state s WHERE s.code = judged.code OR judged.code IS NULL LOOP
    UPDATE stripe_sync.promo_state s SET state = judged.state, settled = judged.state, next_attempt = NULL, reason = judged.reason,
      detail = CASE WHEN judged.reason <> '' THEN 'its detail' END, hint = CASE WHEN judged.reason <> '' THEN 'its hint' END,
      sqlstate = CASE WHEN judged.reason <> '' THEN 'SY005' END, warnings = judged.warnings
    WHERE s.promo_table = r.promo_table AND s.key = r.key;
  END LOOP;
END
$$;

-- everything at once: each with its column, as the table calls it
INSERT INTO promo VALUES (1, 'A_B', '6 months', 'percentage', 150, NULL, NULL, -1, 0, 'infinity', now() + interval '9 years', true, 'xxx', 'weekly', NULL, NULL, NULL, 'perhaps', 5, 'bob');
SELECT severity, column_name, CASE column_name WHEN 'expires_at' THEN '...' ELSE value END AS value,
  regexp_replace(says, '\d{4}-\d\d-\d\d [\d:]+\+00', 'TIME') AS says, fixable FROM pg_temp.inspected('a_b');

-- each kind of discount
INSERT INTO promo (id, voucher, description, discount_type, discount_value, custom_monthly_price, custom_yearly_price, max_uses, currency, duration, stripe_product_id, stripe_price_id) VALUES
  (10, 'LAUNCH50', '50% off setup fee for launch customers', 'percentage', NULL, 50, NULL, 100, NULL, NULL, NULL, NULL),
  (11, 'PRICE70', 'Special - $70/month', 'percentage', NULL, 70, NULL, NULL, NULL, NULL, NULL, NULL),
  (12, 'BOTH', '', 'percentage', NULL, 50, 500, NULL, NULL, NULL, NULL, NULL),
  (13, 'TOOMUCH', '', 'percentage', NULL, 150, NULL, NULL, NULL, NULL, NULL, NULL),
  (14, 'AMOUNT', '$20 off', 'fixed', NULL, 20, NULL, NULL, NULL, NULL, NULL, NULL),
  (15, 'VALUE', '', 'custom_price', 20, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (16, 'FREE', 'Free access', 'custom_price', NULL, 0, 0, NULL, NULL, NULL, NULL, NULL),
  (17, 'FREE5', 'Free access', 'custom_price', NULL, 0, 0, 5, NULL, NULL, NULL, NULL),
  (18, 'FREEONCE', 'Free month', 'custom_price', NULL, 0, NULL, NULL, NULL, 'once', 'prod_1', NULL),
  (19, 'HUNDRED', '100% off', 'percentage', 100, NULL, NULL, NULL, NULL, 'forever', NULL, NULL),
  (20, 'HALF', '50% off for 6 months', 'percentage', 0.5, 70, NULL, NULL, NULL, 'forever', NULL, NULL),
  (21, 'FEE', '50 % off the setup fee', 'percentage', 50, NULL, NULL, NULL, NULL, 'once', NULL, NULL),
  (22, 'NOLIST', '', 'custom_price', NULL, 70, NULL, NULL, NULL, NULL, NULL, NULL),
  (23, 'LIST', '', 'custom_price', NULL, 70, NULL, NULL, NULL, NULL, NULL, 'price_1'),
  (24, 'GOOD', '10% off', 'percentage', 10, NULL, NULL, NULL, NULL, 'forever', NULL, NULL),
  (25, E' \tBLANKS ', '10% off', 'percentage', 10, NULL, NULL, NULL, NULL, 'forever', NULL, NULL),
  (26, NULL, '10% off', 'percentage', 10, NULL, NULL, NULL, NULL, 'forever', NULL, NULL),
  (27, 'QUO''TED', '10% off', 'percentage', 10, NULL, NULL, NULL, NULL, 'forever', NULL, NULL);
SELECT v.voucher, i.* FROM (SELECT voucher, id FROM promo WHERE id BETWEEN 10 AND 27) v, LATERAL pg_temp.inspected(v.voucher) WITH ORDINALITY i ORDER BY v.id, i.ordinality;

-- times, uses, switched off, left alone
INSERT INTO promo (id, voucher, discount_type, discount_value, duration, starts_at, expires_at, max_uses, used_count, is_active) VALUES
  (30, 'ENDED', 'percentage', 10, 'forever', NULL, '2020-01-01 00:00:00+00', NULL, 0, true), (31, 'AHEAD', 'percentage', 10, 'forever', '2222-01-01 00:00:00+00', NULL, NULL, 0, true),
  (32, 'USED', 'percentage', 10, 'forever', NULL, NULL, 5, 5, true), (33, 'OFF', 'percentage', 10, 'forever', NULL, NULL, NULL, 0, false),
  (34, 'MANUAL', 'percentage', 10, 'forever', NULL, NULL, NULL, 0, true);
UPDATE promo SET sync_status = 'manual' WHERE id = 34;
SELECT v.voucher, i.* FROM (SELECT voucher, id FROM promo WHERE id BETWEEN 30 AND 34) v, LATERAL pg_temp.inspected(v.voucher) WITH ORDINALITY i ORDER BY v.id, i.ordinality;

-- one code in several rows and tables
INSERT INTO promo (id, voucher, discount_type, discount_value, duration) VALUES (40, 'Twice', 'percentage', 10, 'forever'), (41, 'TWICE', 'percentage', 20, 'forever');
INSERT INTO other VALUES ('twice ');
SELECT promo_table, key, severity, column_name, value, finding FROM stripe_sync_inspect('twice') WHERE severity <> 'info';

-- no such code, no code at all
SELECT pg_temp.tried('SELECT * FROM stripe_sync_inspect(''NOSUCH'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_fix(''NOSUCH'')');
DELETE FROM promo WHERE id = 26;
SELECT pg_temp.tried(format('SELECT * FROM stripe_sync_inspect(%L)', code)) FROM (VALUES (NULL), (''), (' ')) v(code);

-- what the worker says
SAVEPOINT worker;
CALL pg_temp.take_over();
SELECT pg_temp.judged('synced');
SELECT severity, finding FROM stripe_sync_inspect('GOOD');
-- not of this version of the row: nothing of it is believed
SELECT pg_temp.judged('parked', 'price price_1 (99.00 usd, per month) would become 70.00 usd', NULL, 'LIST');
SELECT * FROM pg_temp.inspected('LIST');
UPDATE stripe_sync.promo_state SET state = 'retrying', reason = 'Stripe does not answer', detail = 'no route', hint = 'wait' WHERE code = 'GOOD';
SELECT * FROM pg_temp.inspected('GOOD');
UPDATE stripe_sync.promo_state SET state = 'pending' WHERE code = 'GOOD';
SELECT severity, finding, remedy FROM stripe_sync_inspect('GOOD');
UPDATE stripe_sync.worker SET blocked_since = now(), blocked_message = 'Stripe refused the key', blocked_hint = 'Set another.';
SELECT severity, finding, detail, remedy FROM stripe_sync_inspect('GOOD');
UPDATE stripe_sync.worker SET wanted = false;
SELECT severity, finding, detail, remedy FROM stripe_sync_inspect('GOOD');
UPDATE stripe_sync.promo_state SET state = 'missing', reason = 'the table was truncated', detail = 'left as it is', hint = 'insert it' WHERE code = 'GOOD';
UPDATE stripe_sync.worker SET wanted = true, blocked_since = NULL;
SELECT severity, finding, detail, remedy FROM stripe_sync_inspect('GOOD');
UPDATE stripe_sync.promo_state SET state = 'synced', deleted = true, warnings = '{it is still active in Stripe}' WHERE code = 'GOOD';
SELECT severity, finding, detail, remedy FROM stripe_sync_inspect('GOOD');
-- a table that changed since it was attached
ALTER TABLE promo DROP COLUMN max_uses;
SELECT severity, finding, detail, remedy FROM stripe_sync_inspect('FEE');
ROLLBACK TO worker;

-- fix: shows, and does what is harmless; money only by name
SELECT promo_code, promo_table, key, column_name, old_value, new_value, reason, outcome, next FROM stripe_sync_fix();
SELECT promo_code, column_name, outcome FROM stripe_sync_fix(apply => true);
SELECT promo_code, column_name, outcome FROM stripe_sync_fix(apply => true);
SELECT id, voucher, discount_value, custom_monthly_price FROM promo WHERE id IN (10, 25) ORDER BY id;
SELECT promo_code, column_name, old_value, new_value, outcome, next FROM stripe_sync_fix('launch50');
SELECT promo_code, column_name, old_value, new_value, outcome, next FROM stripe_sync_fix('launch50', apply => true);
SELECT id, voucher, discount_value, custom_monthly_price, sync_status FROM promo WHERE id IN (10, 25) ORDER BY id;
SELECT code, state FROM stripe_sync_promo_status WHERE key IN ('10', '25') AND promo_table = 'promo'::regclass ORDER BY key;
SELECT count(*) FROM stripe_sync_fix('LAUNCH50', apply => NULL);
SELECT count(*) FROM stripe_sync_fix('GOOD', apply => true);
-- not taken: the code without its blanks is another row's
INSERT INTO promo (id, voucher, discount_type, discount_value, duration) VALUES (50, ' GOOD', 'percentage', 10, 'forever');
SELECT promo_code, new_value, outcome, next FROM stripe_sync_fix(apply => true);
SELECT voucher FROM promo WHERE id = 50;
-- rights: of the caller to ask, of the owner to write
SET ROLE regress_stripe_sync_helper;
SELECT promo_code, outcome FROM stripe_sync_fix('GOOD');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_fix(''GOOD'', apply => true)');
RESET ROLE;
DELETE FROM promo WHERE voucher = 'GOOD';
GRANT UPDATE ON promo TO regress_stripe_sync_helper;
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.description := current_user; RETURN NEW; END $$;
CREATE TRIGGER who BEFORE UPDATE ON promo FOR EACH ROW EXECUTE FUNCTION who();
SET ROLE regress_stripe_sync_helper;
SELECT promo_code, outcome FROM stripe_sync_fix('GOOD', apply => true);
RESET ROLE;
SELECT voucher, description FROM promo WHERE id = 50;
-- a table that the caller may not write is not in the way of the others
INSERT INTO promo (id, voucher, discount_type, discount_value, duration) VALUES (51, ' FINE', 'percentage', 10, 'forever');
INSERT INTO other VALUES (' ALONE');
SET ROLE regress_stripe_sync_helper;
SELECT promo_code, promo_table, column_name, outcome FROM stripe_sync_fix(apply => true);
RESET ROLE;

-- promo_valid: one row, whatever is asked
GRANT EXECUTE ON FUNCTION stripe_sync_promo_valid TO regress_stripe_sync_helper;
CREATE FUNCTION pg_temp.sold(code text, state text, coupon jsonb, more jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
  INSERT INTO stripe_sync.promo_state (promo_table, key, code, state, next_attempt, promotion_code_id, observed)
  VALUES ('other'::regclass, code, code, state, NULL, 'promo_' || code, jsonb_build_object('coupon', coupon || '{"id": "c", "valid": true}',
    'promotion_code', '{"active": true, "times_redeemed": 0}'::jsonb || jsonb_build_object('id', 'promo_' || code, 'code', code) || more))
$$;
SELECT pg_temp.sold(code, state, coupon::jsonb, more::jsonb) FROM (VALUES
  ('V-PERCENT', 'synced', '{"percent_off": 12.5, "duration": "once"}', '{}'),
  ('V-AMOUNT', 'synced', '{"amount_off": 1250, "currency": "usd", "duration": "repeating", "duration_in_months": 3}', '{"max_redemptions": 5, "times_redeemed": 4}'),
  ('V-YEN', 'parked', '{"amount_off": 1250, "currency": "jpy", "duration": "forever"}', '{"expires_at": 4102444800}'),
  ('V-EXPIRED', 'synced', '{"percent_off": 10, "duration": "once"}', '{"expires_at": 1577836800}'),
  ('V-USED', 'synced', '{"percent_off": 10, "duration": "once"}', '{"max_redemptions": 5, "times_redeemed": 5}'),
  ('V-OFF', 'synced', '{"percent_off": 10, "duration": "once"}', '{"active": false}'),
  ('V-AHEAD', 'scheduled', '{"percent_off": 10, "duration": "once"}', '{"active": false}'),
  ('V-CONFLICT', 'conflict', '{"percent_off": 10, "duration": "once"}', '{}'),
  ('V-MISSING', 'missing', '{"percent_off": 10, "duration": "once"}', '{}'),
  ('V-MANUAL', 'excluded', '{"percent_off": 10, "duration": "once"}', '{}'),
  ('V-BOB', 'synced', '{"percent_off": 10, "duration": "once"}', '{"customer": "cus_1"}'),
  ('V-RENAMED', 'pending', '{"percent_off": 10, "duration": "once"}', '{"code": "V-FORMER"}'),
  ('V-INVALID', 'synced', '{"percent_off": 10, "duration": "once", "valid": false}', '{}'),
  ('V-GONE', 'synced', '{"percent_off": 10, "duration": "once"}', '{}'),
  ('V-SWITCHED', 'pending', '{"percent_off": 10, "duration": "once"}', '{}')) v(code, state, coupon, more);
UPDATE stripe_sync.promo_state SET observed = jsonb_set(observed, '{coupon,valid}', 'false') WHERE code = 'V-INVALID';
UPDATE stripe_sync.promo_state SET deleted = true WHERE code = 'V-GONE';
UPDATE stripe_sync.promo_state SET off = true WHERE code = 'V-SWITCHED';
INSERT INTO stripe_sync.promo_state (promo_table, key, code) VALUES ('other'::regclass, 'V-NEW', 'V-NEW'), ('promo'::regclass, 'V-PERCENT', 'v-percent');
SET ROLE regress_stripe_sync_helper;
SELECT v.asked, p.* FROM unnest('{V-PERCENT," v-Amount ",V-YEN,V-EXPIRED,V-USED,V-OFF,V-AHEAD,V-CONFLICT,V-MISSING,V-MANUAL,V-BOB,V-RENAMED,V-FORMER,V-INVALID,V-GONE,V-SWITCHED,V-NEW,V-,V%,"",NULL}'::text[]) v(asked),
  LATERAL stripe_sync_promo_valid(v.asked) p;
-- and nothing else
SELECT pg_temp.tried('SELECT * FROM stripe_sync.unsold_because(NULL)');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo_status');
RESET ROLE;
SELECT has_function_privilege('regress_stripe_sync_shop', 'stripe_sync_promo_valid(text)', 'EXECUTE') AS granted_by_itself;
-- by the index, however many there are
INSERT INTO stripe_sync.promo_state (promo_table, key, code, next_attempt) SELECT 'other'::regclass, 'N' || n, 'N' || n, NULL FROM generate_series(1, 20000) n;
ANALYZE stripe_sync.promo_state;
SELECT seq_scan AS before FROM pg_stat_xact_user_tables WHERE relid = 'stripe_sync.promo_state'::regclass \gset
SELECT count(*) FILTER (WHERE reason = 'unavailable') AS answered FROM generate_series(1, 1000) n, LATERAL stripe_sync_promo_valid('N' || n);
SELECT seq_scan - :before AS whole_table_read FROM pg_stat_xact_user_tables WHERE relid = 'stripe_sync.promo_state'::regclass;

SELECT stripe_sync_money(amount, currency) FROM (VALUES (1250, 'usd'), (1250, 'JPY'), (1250, 'kwd'), (-5, 'usd'), (0, 'isk'), (NULL, 'usd')) v(amount, currency);
SELECT pg_temp.tried('SELECT stripe_sync_money(1, ''gold'')');
ROLLBACK;

\set ECHO none
DROP TABLE promo, other;
\i :end
REVOKE ALL ON SCHEMA public FROM regress_stripe_sync_shop;
DROP ROLE regress_stripe_sync_shop, regress_stripe_sync_helper;
