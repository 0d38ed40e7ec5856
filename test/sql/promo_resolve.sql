-- stripe_sync_resolve(): what becomes of codes whose rows are missing, and who decides.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
SET client_min_messages = notice;
\set ECHO all

CREATE VIEW pg_temp.state AS
  SELECT code, state, deleted, off, next_attempt <= clock_timestamp() AS due, reason, warnings
  FROM stripe_sync.promo_state ORDER BY promo_table::text COLLATE "C", key COLLATE "C";

CREATE TABLE t (id text PRIMARY KEY, code text, discount_type text DEFAULT 'percentage', discount_value numeric DEFAULT 10);
INSERT INTO t (id, code) SELECT n, 'C' || n FROM generate_series(1, 6) n;
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('t', duration => 'once');
CALL pg_temp.take_over();
UPDATE stripe_sync.promo_state SET state = 'synced', next_attempt = NULL, promotion_code_id = 'promo_' || key, coupon_id = code || '-abcdef',
  observed = jsonb_build_object('promotion_code', jsonb_build_object('id', 'promo_' || key, 'active', true));

-- nothing is held
SELECT * FROM stripe_sync_resolve(NULL, 'db');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C1'', ''db'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''NONE'', ''db'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C1'', ''database'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C1'', NULL)');

-- rows vanish unseen
SET session_replication_role = replica;
DELETE FROM t WHERE id <> '6';
RESET session_replication_role;
UPDATE stripe_sync.promo_state SET state = 'missing', reason = 'vanished' WHERE key <> '6';
SELECT code, state, sync_status, next FROM stripe_sync_promo_status ORDER BY code;

-- one at a time: as the table says, as Stripe stands; blanks and case do not matter
SELECT * FROM stripe_sync_resolve(' c1 ', 'db');
SELECT * FROM stripe_sync_resolve('C2', 'stripe');
SELECT * FROM pg_temp.state;
-- what was decided is decided
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C1'', ''stripe'')') ~ '^SY004: there is nothing to decide' AS refused;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C2'', ''db'')') ~ '^SY004: there is nothing to decide' AS refused;
-- and a code that was let go is left alone
SELECT stripe_sync_retry('C2');
SELECT code, state, sync_status, warning, next FROM stripe_sync_promo_status WHERE code = 'C2';

-- who may update the table decides; a row that is back needs no decision
CREATE ROLE regress_stripe_sync_clerk;
GRANT EXECUTE ON FUNCTION stripe_sync_resolve TO regress_stripe_sync_clerk;
GRANT SELECT, INSERT, DELETE ON t TO regress_stripe_sync_clerk;
SET ROLE regress_stripe_sync_clerk;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C3'', ''db'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(NULL, ''db'')');
RESET ROLE;
GRANT UPDATE ON t TO regress_stripe_sync_clerk;
SET session_replication_role = replica;
INSERT INTO t (id, code) VALUES ('4', 'C4');
RESET session_replication_role;
SET ROLE regress_stripe_sync_clerk;
SELECT * FROM stripe_sync_resolve(NULL, 'db');
RESET ROLE;
SELECT * FROM pg_temp.state;

-- a promotion code that another row holds is that row's: neither way touches it
CREATE TABLE u (LIKE t INCLUDING ALL);
INSERT INTO u (id, code) VALUES ('one', 'C1'), ('six', 'C6');
SELECT count(*) > 0 AS attached FROM stripe_sync_attach('u', duration => 'once');
CALL pg_temp.take_over();
UPDATE stripe_sync.promo_state SET promotion_code_id = 'promo_6' WHERE key = 'six';
DROP TABLE t;
UPDATE stripe_sync.promo_state SET state = 'missing' WHERE NOT deleted AND key <> 'six' AND key <> 'one';
-- of a dropped table nobody has rights: the extension's owner decides
SET ROLE regress_stripe_sync_clerk;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(NULL, ''db'')') ~ '^42501' AS refused;
RESET ROLE;
SELECT pg_temp.tried('SELECT * FROM stripe_sync_resolve(''C6'', ''db'')') ~ '^SY004: there is nothing to decide' AS refused;
SELECT promo_code, key, promotion_code_id, outcome FROM stripe_sync_resolve(NULL, 'stripe');
SELECT code, key, state, deleted FROM stripe_sync.promo_state ORDER BY code, key;

\set ECHO none
DROP OWNED BY regress_stripe_sync_clerk;
DROP ROLE regress_stripe_sync_clerk;
\i :end
DROP TABLE u;
