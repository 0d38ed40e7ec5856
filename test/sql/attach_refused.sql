-- What stripe_sync_attach() and its kin refuse, each with SQLSTATE, message, DETAIL and HINT.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
\pset format unaligned
\pset tuples_only on
CREATE TABLE promo_codes (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
\set ECHO all

-- what is no table to be kept in step
SELECT pg_temp.tried('SELECT stripe_sync_attach(NULL, duration => ''once'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''nowhere'', duration => ''once'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(4294967295::oid::regclass, duration => ''once'')');
CREATE VIEW codes_view AS SELECT * FROM promo_codes;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codes_view'', duration => ''once'')');
CREATE MATERIALIZED VIEW codes_kept AS SELECT * FROM promo_codes;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codes_kept'', duration => ''once'')');
CREATE FOREIGN DATA WRAPPER none;
CREATE SERVER far FOREIGN DATA WRAPPER none;
CREATE FOREIGN TABLE codes_far (id int, code text, discount_type text, discount_value numeric) SERVER far;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codes_far'', duration => ''once'')');
CREATE TEMPORARY TABLE codes_temp (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codes_temp'', duration => ''once'')');
CREATE SEQUENCE codes_numbers;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codes_numbers'', duration => ''once'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes_pkey'', duration => ''once'')');
CREATE TABLE parted (id int PRIMARY KEY, code text, discount_type text, discount_value numeric) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''parted_1'', duration => ''once'')');

-- a row must be found again, and seen
CREATE TABLE keyless (id int UNIQUE NOT NULL, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''keyless'', duration => ''once'')');
CREATE TABLE by_time (code text, valid_from timestamptz, discount_type text, discount_value numeric, PRIMARY KEY (code, valid_from));
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_time'', duration => ''once'')');
CREATE DOMAIN moment AS date;
CREATE TABLE by_day (day moment PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_day'', duration => ''once'')');
CREATE TABLE by_float (id float8 PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_float'', duration => ''once'')');
CREATE TABLE by_bytes (id bytea PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_bytes'', duration => ''once'')');
CREATE TABLE by_interval (id interval PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_interval'', duration => ''once'')');
CREATE TYPE place AS (shop text, day date);
CREATE TABLE by_place (id place PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_place'', duration => ''once'', dry_run => true)') ~ '^SY004: public.by_place can''t be attached: its key column' AS refused;
CREATE TABLE by_days (id date[] PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''by_days'', duration => ''once'', dry_run => true)') ~ '^SY004: public.by_days can''t be attached: its key column' AS refused;
CREATE TABLE forced (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
ALTER TABLE forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''forced'', duration => ''once'')');

-- columns
CREATE TABLE codeless (id int PRIMARY KEY, voucher text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codeless'', duration => ''once'')');
CREATE TABLE "Type Less" (id int PRIMARY KEY, code text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''"Type Less"'', duration => ''once'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codeless'', duration => ''once'', map => ''{"code": "Voucher"}'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''codeless'', duration => ''once'', map => ''{"code": "ctid"}'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"cod": "code"}'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"max_uses": "limit"}'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''["code"]'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''"code"'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''null'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"code": null}'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"code": {"x": 1}}'')');
-- a column that does not exist is not passed over, unless it is to be added
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', map => ''{"duration": "how_long"}'', dry_run => true)') ~ '^SY004: .*no column "how_long" for duration' AS refused;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once'', map => ''{"currency": "curency"}'', dry_run => true)') ~ '^SY004: .*no column "curency" for currency' AS refused;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', map => ''{"duration": "how_long"}'', add_columns => true, dry_run => true)');
-- one column can't be two things: ours would be written over the user's
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"sync_error": "code"}'', dry_run => true)') ~ '^SY004: .*code' AS refused;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"sync_status": "id"}'', dry_run => true)') ~ '^SY004: .*id' AS refused;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', map => ''{"sync_status": "x", "sync_error": "x"}'', dry_run => true)') ~ '^SY004: .*x' AS refused;

-- settings
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', dry_run => true)');
CREATE TABLE "Joe's" (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''"Joe''''s"'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', currency => ''dollars'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'', currency => '''')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''twice'')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => '''')');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''repeating'', duration_in_months => 0)');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''repeating'', duration_in_months => -1)');

-- a status column that can't hold what we write into it, within the application's own statements
CREATE TABLE short_status (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, sync_status varchar(6));
SELECT pg_temp.tried('SELECT stripe_sync_attach(''short_status'', duration => ''once'')');
CREATE TABLE number_status (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, sync_status int);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''number_status'', duration => ''once'')');
CREATE TYPE light AS ENUM ('pending', 'red', 'green');
CREATE TABLE enum_status (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, "Status" light);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''enum_status'', duration => ''once'', map => ''{"sync_status": "Status"}'')');
CREATE DOMAIN phase AS text CHECK (VALUE IN ('new', 'pending', 'synced', 'error'));
CREATE TABLE domain_status (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, sync_status phase);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''domain_status'', duration => ''once'')');
CREATE TABLE checked_status (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, sync_status text CHECK (sync_status IN ('new', 'done')));
SELECT pg_temp.tried('SELECT stripe_sync_attach(''checked_status'', duration => ''once'')') ~ '^SY004: .*sync_status.*pending' AS refused;
CREATE TABLE never_null (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, sync_error text NOT NULL DEFAULT '');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''never_null'', duration => ''once'')') ~ '^SY004: .*sync_error' AS refused;
CREATE TABLE generated_status (id int PRIMARY KEY, code text, discount_type text, discount_value numeric, sync_status text GENERATED ALWAYS AS ('pending') STORED);
SELECT pg_temp.tried('SELECT stripe_sync_attach(''generated_status'', duration => ''once'')') ~ '^SY004: .*sync_status' AS refused;
-- a dry run says so too
SELECT pg_temp.tried('SELECT stripe_sync_attach(''short_status'', duration => ''once'', dry_run => true)');

-- only its owner may attach a table, and let it go
CREATE ROLE regress_stripe_sync_other;
GRANT ALL ON promo_codes TO regress_stripe_sync_other;
GRANT EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_detach TO regress_stripe_sync_other;
SET ROLE regress_stripe_sync_other;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'')');
SELECT pg_temp.tried('SELECT stripe_sync_detach(''promo_codes'')');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION stripe_sync_attach, stripe_sync_detach FROM regress_stripe_sync_other;
SET ROLE regress_stripe_sync_other;
SELECT pg_temp.tried('SELECT stripe_sync_attach(''promo_codes'', duration => ''once'')');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo()');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo_status');
SELECT pg_temp.tried('SELECT * FROM stripe_sync.promo_state');
RESET ROLE;

-- detach
SELECT pg_temp.tried('SELECT stripe_sync_detach(''promo_codes'')');

-- nothing was left by what was refused
SELECT count(*) FROM stripe_sync.attachment;
SELECT count(*) FROM stripe_sync.promo_state;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zzzz%';
SELECT count(*) FROM pg_attribute WHERE attname LIKE 'stripe\_c%' AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r');

-- usage of the other calls
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo(''NONE'')');
SELECT pg_temp.tried('SELECT stripe_sync_retry(''NONE'')');
SELECT pg_temp.tried('SELECT stripe_sync_retry(NULL)');
SELECT pg_temp.tried('SELECT stripe_sync_rebind(''other'')');
SELECT pg_temp.tried('SELECT stripe_sync_rebind(NULL)');
SELECT pg_temp.tried('SELECT stripe_sync_create_promo_tables(''nowhere'')');
SELECT count(*) FROM stripe_sync_promo();
SELECT stripe_sync_wait();

-- the worker is stopped: nobody would come
SELECT count(*) > 0 FROM stripe_sync_attach('promo_codes', duration => 'once');
INSERT INTO promo_codes VALUES (1, 'ONE', 'percentage', 10);
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo()');
SELECT pg_temp.tried('SELECT * FROM stripe_sync_promo('' one '')');
SELECT pg_temp.tried('SELECT stripe_sync_wait()');
SELECT item, status, detail, fix FROM stripe_sync_check() WHERE item = 'worker';
SELECT stripe_sync_retry('one');

\set ECHO none
\i :end
DROP TABLE promo_codes, keyless, by_time, by_day, by_float, by_bytes, by_interval, by_place, by_days, forced, codeless, "Type Less", "Joe's", parted, short_status, number_status, enum_status, domain_status, checked_status, never_null,
  generated_status CASCADE;
DROP TYPE light;
DROP DOMAIN phase, moment;
DROP TYPE place;
DROP SEQUENCE codes_numbers;
DROP FOREIGN DATA WRAPPER none CASCADE;
DROP ROLE regress_stripe_sync_other;
