-- stripe_sync.promo_inbox: what it holds, what users see of it, and that taking it over all at once says the same as step by step.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, code text, discount_type text, discount_value numeric, is_active boolean DEFAULT true);
SELECT stripe_sync_attach('t', duration => 'once') \g /dev/null
CREATE VIEW pg_temp.inbox AS SELECT dense_rank() OVER (ORDER BY number) AS statement, change, key, code, off, promotion_code_id, together
  FROM stripe_sync.promo_inbox ORDER BY number, key COLLATE "C";
-- as if the worker had carried out everything, with a code of Stripe's for each row
CREATE PROCEDURE pg_temp.fill(rows int) LANGUAGE sql AS $$
  DELETE FROM t;
  CALL pg_temp.take_over();
  DELETE FROM stripe_sync.promo_state;
  INSERT INTO t (id, code) SELECT n, 'C' || n FROM generate_series(1, rows) n;
  UPDATE t SET sync_status = 'synced', stripe_promotion_code_id = 'promo_' || id;
  CALL pg_temp.take_over();
  UPDATE stripe_sync.promo_state SET state = 'synced', settled = 'synced', next_attempt = NULL, generation = 1, promotion_code_id = 'promo_' || key;
$$;
\set ECHO all

-- what each statement leaves
CALL pg_temp.fill(4);
INSERT INTO t (id, code, is_active) VALUES (5, 'FIVE', false), (6, NULL, NULL);
UPDATE t SET discount_value = 20 WHERE id = 1;
UPDATE t SET sync_status = 'synced' WHERE id = 2;
UPDATE t SET id = 7 - id WHERE id IN (3, 4);
UPDATE t SET id = 10 WHERE id = 2;
UPDATE t SET id = id + 1 WHERE id IN (5, 6);
UPDATE t SET sync_status = 'manual' WHERE id = 1;
DELETE FROM t WHERE id IN (1, 3);
TRUNCATE t;
SELECT * FROM pg_temp.inbox;
-- the TRUNCATE for itself
SELECT stripe_sync.take_changes('t', 10000);
SELECT change FROM pg_temp.inbox;
SELECT stripe_sync.take_changes('t', 10000);
SELECT stripe_sync.take_changes('t', 10000);

-- what waits is seen: no worker runs
CALL pg_temp.fill(4);
UPDATE t SET code = 'NEW' WHERE id = 1;
DELETE FROM t WHERE id = 2;
INSERT INTO t (id, code) VALUES (5, 'C5'), (6, 'C6');
DELETE FROM t WHERE id = 6;
SELECT code, key, state, sync_status, deleted, promotion_code_id, next FROM stripe_sync_promo_status ORDER BY key;
SELECT object, codes, synced, pending, error, oldest_unsent IS NOT NULL AS oldest_unsent, next FROM stripe_sync_status;
SELECT status, pending, oldest_unsent IS NOT NULL AS oldest_unsent FROM stripe_sync_health;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo(''C6'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo(''new'')');
SELECT pg_temp.tried('SELECT stripe_sync_wait()');
-- a TRUNCATE concerns all that is known, but what comes after it
TRUNCATE t;
INSERT INTO t (id, code) VALUES (4, 'C4');
SELECT code, key, state, deleted FROM stripe_sync_promo_status ORDER BY key;
CALL pg_temp.take_over();
SELECT code, key, state, deleted FROM stripe_sync_promo_status ORDER BY key;
-- leftovers of a table that is no longer attached are nobody's
CALL pg_temp.fill(1);
INSERT INTO stripe_sync.promo_inbox (number, promo_table, change, key, code, off) VALUES (1, 'pg_class', 'changed', '1', 'GONE', false);
SELECT code FROM stripe_sync_promo_status;
SELECT stripe_sync_wait();
DELETE FROM stripe_sync.promo_inbox;

-- the transaction's own go at commit, and are not waited for
BEGIN;
UPDATE t SET discount_value = 5 WHERE id = 1;
INSERT INTO t (id, code) VALUES (2, 'C2');
SAVEPOINT s;
INSERT INTO t (id, code) VALUES (3, 'C3');
SELECT * FROM stripe_sync_promo();
SELECT promo_code, status FROM stripe_sync_promo(' c2 ');
SELECT stripe_sync_wait();
SELECT count(*) FROM stripe_sync_attach('t', duration => 'forever') WHERE item = 'code';
SELECT promo_code, status FROM stripe_sync_promo();
ROLLBACK;
SELECT count(*) FROM stripe_sync.promo_inbox;

-- what was only touched keeps where it stood; what was asked for again, or has been away, does not
CALL pg_temp.fill(4);
UPDATE t SET sync_status = 'pending' WHERE id = 1;
SELECT stripe_sync_retry('C2');
UPDATE stripe_sync.promo_state SET deleted = true, off = true WHERE key = '3';
UPDATE t SET sync_status = 'pending' WHERE id = 3;
CALL pg_temp.take_over();
SELECT key, state, settled, deleted, off, generation FROM stripe_sync.promo_state ORDER BY key;
-- a retry says nothing of the row: what happened to it stands, whoever came first
CALL pg_temp.fill(3);
DELETE FROM t WHERE id = 1;
SELECT stripe_sync_retry('C1');
SELECT stripe_sync_retry('C2');
UPDATE t SET is_active = false WHERE id = 2;
CALL pg_temp.take_over();
SELECT key, state, settled, deleted, off FROM stripe_sync.promo_state ORDER BY key;
-- nor what was let go or is held by the time it is taken over
CALL pg_temp.fill(3);
SELECT stripe_sync_retry('C1') + stripe_sync_retry('C2') + stripe_sync_retry('C3');
UPDATE stripe_sync.promo_state SET deleted = true, off = true, state = 'excluded' WHERE key = '1';
UPDATE stripe_sync.promo_state SET state = 'missing' WHERE key = '2';
UPDATE stripe_sync.promo_state SET deleted = true, off = true WHERE key = '3';
SELECT key, state, off, deleted FROM stripe_sync.promo_current ORDER BY key;
CALL pg_temp.take_over();
SELECT key, state, off, deleted, next_attempt IS NOT NULL AS due FROM stripe_sync.promo_state ORDER BY key;

-- many changes of one key are one
CALL pg_temp.fill(2);
DO $$
BEGIN
  FOR n IN 1..500 LOOP
    UPDATE t SET discount_value = n, code = 'TURN-' || n WHERE id = 1;
  END LOOP;
END
$$;
SELECT count(*) FROM stripe_sync.promo_inbox;
CALL pg_temp.take_over();
SELECT key, code, state, generation FROM stripe_sync.promo_state ORDER BY key;
-- whole statements, about as many rows as asked for
CALL pg_temp.fill(1);
INSERT INTO t (id, code) SELECT n, 'C' || n FROM generate_series(2, 30) n;
UPDATE t SET discount_value = 1 WHERE id IN (1, 2);
UPDATE t SET discount_value = 2 WHERE id IN (1, 2);
SELECT stripe_sync.take_changes('t', 10) AS more;
SELECT count(*) AS left FROM stripe_sync.promo_inbox;

-- step by step, each statement taken over by itself, and all at once
CREATE FUNCTION pg_temp.states() RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', regexp_replace(key, 'before \d+', 'before'), code, state, promotion_code_id,
    CASE WHEN off THEN 'off' END, CASE WHEN deleted THEN 'deleted' END, '(' || reason || ')'), '; ' ORDER BY key COLLATE "C"), 'none')
  FROM stripe_sync.promo_state
$$;
CREATE FUNCTION pg_temp.both(rows int, VARIADIC statements text[]) RETURNS TABLE (way text, states text) LANGUAGE plpgsql AS $$
DECLARE
  statement text;
BEGIN
  FOREACH way IN ARRAY ARRAY['step by step', 'all at once'] LOOP
    CALL pg_temp.fill(rows);
    UPDATE stripe_sync.promo_state SET observed = '{"promotion_code": {"active": true}}';
    FOREACH statement IN ARRAY statements LOOP
      EXECUTE statement;
      IF way = 'step by step' THEN
        CALL pg_temp.take_over();
      END IF;
    END LOOP;
    CALL pg_temp.take_over();
    states := pg_temp.states();
    RETURN NEXT;
  END LOOP;
END
$$;
SELECT * FROM pg_temp.both(1, 'UPDATE t SET code = ''A''', 'UPDATE t SET code = ''B'', is_active = false');
SELECT * FROM pg_temp.both(1, 'DELETE FROM t', 'INSERT INTO t (id, code) VALUES (1, ''AGAIN'')');
SELECT * FROM pg_temp.both(1, 'UPDATE t SET is_active = false', 'DELETE FROM t');
SELECT * FROM pg_temp.both(1, 'UPDATE t SET sync_status = ''manual''', 'DELETE FROM t');
SELECT * FROM pg_temp.both(1, 'UPDATE t SET sync_status = ''manual''', 'UPDATE t SET sync_status = ''pending''', 'DELETE FROM t');
-- never pushed: nothing to switch off
SELECT * FROM pg_temp.both(0, 'INSERT INTO t (id, code) VALUES (1, ''A'')', 'DELETE FROM t');
-- keys: changed twice; exchanged; moved up; onto the place of one that is gone, or was the user's; away and back; by DELETE and INSERT
SELECT * FROM pg_temp.both(1, 'UPDATE t SET id = 10', 'UPDATE t SET id = 20');
SELECT * FROM pg_temp.both(2, 'UPDATE t SET id = 3 - id', 'UPDATE t SET discount_value = 7 WHERE id = 1');
SELECT * FROM pg_temp.both(3, 'UPDATE t SET id = id + 1');
SELECT * FROM pg_temp.both(2, 'DELETE FROM t WHERE id = 2', 'UPDATE t SET id = 2');
SELECT * FROM pg_temp.both(2, 'UPDATE t SET sync_status = ''manual'' WHERE id = 2', 'DELETE FROM t WHERE id = 2', 'UPDATE t SET id = 2');
SELECT * FROM pg_temp.both(1, 'UPDATE t SET id = 10', 'UPDATE t SET id = 1');
SELECT * FROM pg_temp.both(1, 'DELETE FROM t', 'INSERT INTO t (id, code, stripe_promotion_code_id) VALUES (10, ''C1'', ''promo_1'')');
SELECT * FROM pg_temp.both(1, 'UPDATE t SET stripe_promotion_code_id = NULL', 'UPDATE t SET id = 10');
-- a copy that shows the original's code does not take its state away
SELECT * FROM pg_temp.both(1, 'INSERT INTO t (id, code, stripe_promotion_code_id) VALUES (10, ''COPY'', ''promo_1'')');
SELECT * FROM pg_temp.both(1, 'INSERT INTO t (id, code, stripe_promotion_code_id) VALUES (10, ''A'', ''promo_1''), (11, ''B'', ''promo_1'')', 'DELETE FROM t WHERE id = 1');
-- masses: what they are a large part of is what was known when they went
SELECT way, left(states, 60) FROM pg_temp.both(12, 'DELETE FROM t WHERE id < 12', 'INSERT INTO t (id, code) VALUES (1, ''C1'')');
SELECT way, regexp_count(states, 'missing') AS missing, regexp_count(states, ' deleted') AS deleted
FROM pg_temp.both(40, 'INSERT INTO t (id, code) SELECT n, ''C'' || n FROM generate_series(41, 55) n', 'DELETE FROM t WHERE id <= 11',
  'DELETE FROM t WHERE id BETWEEN 12 AND 22', 'INSERT INTO t (id, code) VALUES (1, ''C1'')');
SELECT * FROM pg_temp.both(2, 'TRUNCATE t', 'INSERT INTO t (id, code) VALUES (2, ''C2''), (3, ''C3'')');
SELECT * FROM pg_temp.both(2, 'TRUNCATE t', 'INSERT INTO t (id, code, stripe_promotion_code_id) VALUES (5, ''C2'', ''promo_2'')');
SELECT * FROM pg_temp.both(1, 'INSERT INTO t (id, code) VALUES (2, ''C2'')', 'TRUNCATE t');

-- what a change costs does not grow with the table
CALL pg_temp.fill(2000);
UPDATE t SET discount_value = 4 WHERE id = 1000;
UPDATE t SET id = 3000 WHERE id = 1001;
INSERT INTO t (id, code) VALUES (4000, 'NEW');
DELETE FROM t WHERE id = 1002;
CREATE VIEW pg_temp.states_read AS SELECT seq_tup_read + idx_tup_fetch AS n FROM pg_stat_xact_all_tables WHERE relid = 'stripe_sync.promo_state'::regclass;
BEGIN;
SELECT n AS before FROM pg_temp.states_read \gset
SELECT stripe_sync.take_changes('t', 10000);
SELECT n - :before < 100 AS few FROM pg_temp.states_read;
COMMIT;

-- a publication of all tables stands in nobody's way
SET client_min_messages = error;
ALTER TABLE t REPLICA IDENTITY FULL;
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
UPDATE t SET discount_value = 3;
CALL pg_temp.take_over();
SELECT count(*) FROM stripe_sync.promo_inbox;
DROP PUBLICATION everything;

\set ECHO none
\i :end
DROP TABLE t;
