-- An application's write never fails because of us: what goes wrong is a warning, and found later.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
CREATE TABLE t (dropped int, id int PRIMARY KEY, code varchar(20), discount_type text, discount_value numeric, is_active boolean DEFAULT true, notes text);
SELECT stripe_sync_attach('t', duration => 'once') \g /dev/null
-- dynamic, so that the table can be altered
CREATE FUNCTION pg_temp.seen() RETURNS TABLE (id text, code text, sync_status text, key text, state_code text, state text, deleted boolean)
LANGUAGE plpgsql AS $$
BEGIN
  CALL pg_temp.take_over();
  RETURN QUERY EXECUTE 'SELECT t.id::text, t.code::text, t.sync_status, s.key, s.code, s.state, s.deleted
    FROM t FULL JOIN stripe_sync.promo_state s ON s.key = t.id::text ORDER BY coalesce(s.key::int, t.id)';
END
$$;
CREATE PROCEDURE pg_temp.settle() LANGUAGE sql AS $$
  CALL pg_temp.take_over();
  DELETE FROM stripe_sync.promo_state WHERE deleted;
  UPDATE t SET sync_status = 'synced';
  UPDATE stripe_sync.promo_state SET state = 'synced', next_attempt = NULL;
$$;
\set ECHO all

-- a role that may write the table, and nothing of ours
CREATE ROLE regress_stripe_sync_writer;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO regress_stripe_sync_writer;
SELECT has_schema_privilege('regress_stripe_sync_writer', 'stripe_sync', 'USAGE') AS usage,
  has_function_privilege('regress_stripe_sync_writer', 'stripe_sync.promo_before_row()', 'EXECUTE') AS execute,
  has_table_privilege('regress_stripe_sync_writer', 'stripe_sync.promo_state', 'SELECT') AS read;
SET ROLE regress_stripe_sync_writer;
INSERT INTO t (id, code) VALUES (1, 'ONE'), (2, 'TWO'), (3, 'THREE');
UPDATE t SET discount_value = 20 WHERE id = 1;
RESET ROLE;
CALL pg_temp.take_over();
SET ROLE regress_stripe_sync_writer;
DELETE FROM t WHERE id = 2;
RESET ROLE;
SELECT * FROM pg_temp.seen();

-- a role that sees its own rows only, and one whose search_path has things of our names
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t TO regress_stripe_sync_writer USING (id < 10);
SET ROLE regress_stripe_sync_writer;
UPDATE t SET discount_value = 30;
INSERT INTO t (id, code) VALUES (4, 'FOUR');
RESET ROLE;
SELECT id, sync_status, state FROM pg_temp.seen() WHERE id IS NOT NULL;
CREATE SCHEMA taken;
CREATE FUNCTION taken.format(text, VARIADIC "any") RETURNS text LANGUAGE internal IMMUTABLE AS 'text_format';
CREATE FUNCTION taken.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''taken''; END';
CREATE OPERATOR taken.= (FUNCTION = taken.eq, LEFTARG = text, RIGHTARG = text);
GRANT USAGE ON SCHEMA taken TO regress_stripe_sync_writer;
CREATE TEMPORARY TABLE promo_state (x int);
CREATE TEMPORARY TABLE stripe_sync_new (x int);
GRANT ALL ON promo_state, stripe_sync_new TO regress_stripe_sync_writer;
SET search_path = taken, pg_temp, public, pg_catalog;
SET ROLE regress_stripe_sync_writer;
UPDATE t SET discount_value = 31 WHERE id < 4;
RESET ROLE;
RESET search_path;
SELECT id, sync_status, state FROM pg_temp.seen() WHERE id IS NOT NULL;
DROP TABLE pg_temp.promo_state, pg_temp.stripe_sync_new;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
DROP POLICY own ON t;

-- within a read-only function's caller, a deferred constraint, a security definer function, a restricted search_path
CREATE FUNCTION sell(number int) RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_temp AS $$
  UPDATE public.t SET notes = 'sold', discount_value = discount_value + 1 WHERE id = number RETURNING id $$;
CALL pg_temp.settle();
SELECT sell(1);
SELECT id, sync_status, state FROM pg_temp.seen() WHERE id = '1';

-- nested: the application's own triggers write the table again
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE t SET notes = coalesce(notes, '') || TG_OP, discount_value = 1 WHERE id = 3;
  RETURN NULL;
END
$$;
CREATE TRIGGER again AFTER INSERT OR UPDATE OF discount_value ON t FOR EACH STATEMENT WHEN (pg_trigger_depth() < 2) EXECUTE FUNCTION again();
CALL pg_temp.settle();
UPDATE t SET discount_value = 5 WHERE id = 1;
INSERT INTO t (id, code) VALUES (5, 'FIVE');
SELECT id, sync_status, state FROM pg_temp.seen();
DROP TRIGGER again ON t;
-- they suppress rows, or change them back
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CALL pg_temp.settle();
CREATE TRIGGER suppress BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION suppress();
UPDATE t SET discount_value = 6;
SELECT id, sync_status, state FROM pg_temp.seen() WHERE id IN ('1', '3');
DROP TRIGGER suppress ON t;

-- the table changes under a session that has written it before
CALL pg_temp.settle();
ALTER TABLE t DROP COLUMN dropped, ALTER COLUMN code TYPE text, ADD COLUMN more int DEFAULT 7, ALTER COLUMN id TYPE bigint;
INSERT INTO t (id, code) VALUES (6, 'SIX');
UPDATE t SET discount_value = 7 WHERE id = 1;
DELETE FROM t WHERE id = 5;
SELECT key, state_code, sync_status, state, deleted FROM pg_temp.seen() WHERE key IN ('1', '5', '6');
ALTER TABLE t RENAME TO renamed;
UPDATE renamed SET discount_value = 8 WHERE id = 3;
ALTER TABLE renamed RENAME TO t;
CREATE SCHEMA elsewhere;
ALTER TABLE t SET SCHEMA elsewhere;
UPDATE elsewhere.t SET discount_value = 9 WHERE id = 4;
ALTER TABLE elsewhere.t SET SCHEMA public;
SELECT key, sync_status, state FROM pg_temp.seen() WHERE key IN ('3', '4');

-- columns we know by name are renamed or dropped: the write is done, a warning says what was not
CALL pg_temp.settle();
ALTER TABLE t RENAME COLUMN code TO voucher;
INSERT INTO t (id, voucher) VALUES (7, 'SEVEN');
UPDATE t SET voucher = 'EIGHT' WHERE id = 7;
DELETE FROM t WHERE id = 7;
ALTER TABLE t RENAME COLUMN voucher TO code;
ALTER TABLE t RENAME COLUMN sync_status TO status;
INSERT INTO t (id, code) VALUES (8, 'EIGHT');
SELECT id, code, status FROM t WHERE id = 8;
ALTER TABLE t RENAME COLUMN status TO sync_status;
ALTER TABLE t DROP COLUMN discount_value;
UPDATE t SET code = 'TWO AGAIN' WHERE id = 1;
SELECT id, code, sync_status, state_code, state FROM pg_temp.seen() WHERE id = '1';
ALTER TABLE t ADD COLUMN discount_value numeric;
ALTER TABLE t DROP CONSTRAINT t_pkey;
UPDATE t SET code = 'ONE' WHERE id = 1;
ALTER TABLE t ADD PRIMARY KEY (id);
SELECT id, code, sync_status, state_code, state FROM pg_temp.seen() WHERE id = '1';

-- whatever the isolation level: nothing is read or changed that another could have changed since
CALL pg_temp.settle();
CALL pg_temp.take_over();
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO t (id, code, is_active) VALUES (20, 'TWENTY', true), (21, 'MORE', false);
UPDATE t SET code = 'ONE AGAIN' WHERE id = 1;
UPDATE t SET notes = 'nothing' WHERE id = 3;
UPDATE t SET sync_status = 'manual' WHERE id = 6;
DELETE FROM t WHERE id IN (3, 6);
SELECT change, key, code, off FROM stripe_sync.promo_inbox ORDER BY number, key;
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
UPDATE t SET code = 'ONE AGAIN' WHERE id = 1;
SAVEPOINT s;
DELETE FROM t;
ROLLBACK TO s;
COMMIT;
SELECT change, key, code, off FROM stripe_sync.promo_inbox ORDER BY number, key;
SELECT key, state FROM pg_temp.seen() WHERE id = '1';

-- lastval() is the application's
CREATE SEQUENCE theirs;
SELECT nextval('theirs');
INSERT INTO t (id, code) VALUES (30, 'THIRTY');
UPDATE t SET code = 'THIRTIETH' WHERE id = 30;
DELETE FROM t WHERE id = 30;
SELECT lastval() = currval('theirs') AS theirs;

-- our own tables are damaged: even then
CALL pg_temp.settle();
ALTER TABLE stripe_sync.promo_state RENAME TO gone;
INSERT INTO t (id, code) VALUES (9, 'NINE');
UPDATE t SET code = 'NINTH' WHERE id = 9;
DELETE FROM t WHERE id = 4;
SELECT change, key, code, off FROM stripe_sync.promo_inbox ORDER BY number, key;
ALTER TABLE stripe_sync.promo_inbox RENAME TO inbox_gone;
INSERT INTO t (id, code) VALUES (12, 'TWELVE');
UPDATE t SET code = 'TWELFTH' WHERE id = 12;
DELETE FROM t WHERE id = 12;
ALTER TABLE stripe_sync.inbox_gone RENAME TO promo_inbox;
-- or are of another version
ALTER TABLE stripe_sync.promo_inbox ADD COLUMN later text;
INSERT INTO t (id, code) VALUES (13, 'THIRTEEN');
SELECT change, key, code, later FROM stripe_sync.promo_inbox WHERE key = '13';
ALTER TABLE stripe_sync.promo_inbox DROP COLUMN later;
ALTER TABLE stripe_sync.promo_inbox RENAME COLUMN off TO switched_off;
DELETE FROM t WHERE id = 13;
ALTER TABLE stripe_sync.promo_inbox RENAME COLUMN switched_off TO off;
-- or have got something that would be run with the writer's rights
CREATE FUNCTION pg_temp.runs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'runs'; END $$;
CREATE TRIGGER runs BEFORE INSERT ON stripe_sync.promo_inbox FOR EACH ROW EXECUTE FUNCTION pg_temp.runs();
INSERT INTO t (id, code) VALUES (14, 'FOURTEEN');
DROP TRIGGER runs ON stripe_sync.promo_inbox;
DELETE FROM t WHERE id = 14;
ALTER TABLE stripe_sync.gone RENAME TO promo_state;
SELECT key, id, code, sync_status, state_code, state, deleted FROM pg_temp.seen() WHERE key IN ('4', '9');
TRUNCATE t;

-- triggers disabled, replica role: nothing of ours runs
ALTER TABLE t DISABLE TRIGGER USER;
INSERT INTO t (id, code) VALUES (1, 'QUIET');
ALTER TABLE t ENABLE TRIGGER USER;
SET session_replication_role = replica;
INSERT INTO t (id, code) VALUES (2, 'QUIET');
RESET session_replication_role;
SELECT id, code, sync_status, state FROM pg_temp.seen() WHERE id IN ('1', '2');

-- many rows in one statement
TRUNCATE t;
CALL pg_temp.take_over();
DELETE FROM stripe_sync.promo_state;
INSERT INTO t (id, code, discount_type) SELECT n, 'MANY-' || n, 'percentage' FROM generate_series(1, 20000) n;
UPDATE t SET discount_type = 'fixed';
SELECT count(*), count(DISTINCT state_code), min(state), max(state) FROM pg_temp.seen();
DELETE FROM t;
SELECT count(*), min(state), max(state) FROM pg_temp.seen();

-- codes of every kind and length
DELETE FROM stripe_sync.promo_state;
INSERT INTO t (id, code) SELECT 3, string_agg(md5(n::text), '') FROM generate_series(1, 300) n;
INSERT INTO t (id, code) VALUES (1, ''), (2, ' '), (4, E'tab\t"quote"''\\,{}'), (5, 'ÄÖÜ€'), (6, '%s %I %1$s');
SELECT id, key IS NOT NULL AND (id = '3' OR state_code = code) AS taken FROM pg_temp.seen();

-- the extension is dropped, the application goes on
\set ECHO none
\i :end
\set ECHO all
INSERT INTO t (id, code) VALUES (100, 'AFTER');
UPDATE t SET code = 'LATER' WHERE id = 100;
DELETE FROM t WHERE id = 100;

\set ECHO none
DROP TABLE t;
DROP FUNCTION again, suppress, sell;
DROP SCHEMA elsewhere;
DROP SCHEMA taken CASCADE;
DROP ROLE regress_stripe_sync_writer;
