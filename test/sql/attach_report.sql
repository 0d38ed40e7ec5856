-- What stripe_sync_attach() finds, inherits and misses, and what it makes of the table.
\set ECHO none
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
\set ECHO all

CREATE VIEW pg_temp.columns AS
  SELECT attrelid::regclass AS "table", attname AS "column", format_type(atttypid, atttypmod) AS type,
    pg_get_expr(adbin, adrelid) AS "default"
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
  WHERE attnum > 0 AND NOT attisdropped ORDER BY attnum;
CREATE VIEW pg_temp.triggers AS
  SELECT tgrelid::regclass AS "table", tgname AS trigger, tgenabled AS enabled,
    EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
      AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x') AS goes_with_the_extension
  FROM pg_trigger t WHERE NOT tgisinternal ORDER BY 1, tgname COLLATE "C";
CREATE FUNCTION pg_temp.see_state() RETURNS TABLE (promo_table regclass, key text, code text, state text, off boolean, deleted boolean, due boolean)
LANGUAGE plpgsql AS $$
BEGIN
  CALL pg_temp.take_over();
  RETURN QUERY SELECT s.promo_table, s.key, s.code, s.state, s.off, s.deleted, s.next_attempt <= clock_timestamp()
    FROM stripe_sync.promo_state s ORDER BY s.promo_table::text COLLATE "C", s.key COLLATE "C";
END
$$;
CREATE VIEW pg_temp.state AS SELECT * FROM pg_temp.see_state();

-- The least that a table must have. A dry run says what would be done, and does nothing.
CREATE TABLE least (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
INSERT INTO least VALUES (1, 'ONE', 'percentage', 10), (2, NULL, 'percentage', NULL);
SELECT * FROM stripe_sync_attach('least', duration => 'once', dry_run => true);
SELECT "column" FROM pg_temp.columns WHERE "table" = 'least'::regclass;
SELECT count(*) AS triggers FROM pg_temp.triggers;
SELECT (SELECT count(*) FROM stripe_sync.attachment) AS attachments,
  (SELECT count(*) FROM stripe_sync.installation) AS installations, (SELECT count(*) FROM pg_temp.state) AS codes;

-- attached: the sync columns are added, the rows are queued
SELECT item, status, source FROM stripe_sync_attach('least', duration => 'once') WHERE status <> 'missing';
SELECT "column", type, "default" FROM pg_temp.columns WHERE "table" = 'least'::regclass;
SELECT trigger, enabled, goes_with_the_extension FROM pg_temp.triggers;
SELECT key_columns, currency, duration, duration_in_months, monthly_price, yearly_price, products FROM stripe_sync.attachment;
SELECT * FROM pg_temp.state;
SELECT id, sync_status, sync_error FROM least ORDER BY id;

-- add_columns: first said, then done
SELECT item, status, source, note FROM stripe_sync_attach('least', add_columns => true, dry_run => true)
WHERE item IN ('currency', 'duration', 'duration_in_months', 'stripe_product_id', 'stripe_price_id');
SELECT item, status, source, note FROM stripe_sync_attach('least', add_columns => true)
WHERE item IN ('currency', 'duration', 'duration_in_months', 'stripe_product_id', 'stripe_price_id');
SELECT "column", type FROM pg_temp.columns WHERE "table" = 'least'::regclass OFFSET 9;

-- attached again: other settings, the same triggers once, every row looked at again
UPDATE stripe_sync.promo_state SET state = 'synced', next_attempt = NULL;
SELECT item, status, source FROM stripe_sync_attach('least', currency => ' EUR ', duration => 'repeating', duration_in_months => 3,
  monthly_price => 'price_month', yearly_price => 'price_year', products => '{prod_a,prod_b}')
WHERE item IN ('currency', 'duration', 'duration_in_months', 'stripe_product_id', 'stripe_price_id');
SELECT currency, duration, duration_in_months, monthly_price, yearly_price, products FROM stripe_sync.attachment;
SELECT count(*) AS triggers FROM pg_temp.triggers;
SELECT * FROM pg_temp.state;

-- what only the arguments say is inherited
CREATE TABLE inheriting (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT item, status, source, note FROM stripe_sync_attach('inheriting', currency => 'usd', duration => 'repeating', duration_in_months => 3,
  monthly_price => 'price_month', yearly_price => 'price_year', products => '{prod_a,prod_b}')
WHERE item IN ('currency', 'duration', 'duration_in_months', 'stripe_product_id', 'stripe_price_id');

-- other names, by a map; a sync column that does not exist is added under the name given
CREATE TABLE mapped (voucher_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, voucher varchar(30), kind text, value numeric(10,2),
  "for" text, enabled boolean, state varchar(10), how_long text);
INSERT INTO mapped (voucher, kind, value, enabled) VALUES ('V1', 'fixed', 5, true), ('V2', 'fixed', 5, false), ('V3', 'fixed', 5, NULL);
SELECT item, status, source FROM stripe_sync_attach('mapped', map => '{"code": "voucher", "discount_type": "kind", "discount_value": "value",
  "description": "for", "is_active": "enabled", "sync_status": "state", "sync_error": "Why Not", "duration": "how_long"}')
WHERE status <> 'missing';
SELECT columns FROM stripe_sync.attachment WHERE promo_table = 'mapped'::regclass;
SELECT "column", type, "default" FROM pg_temp.columns WHERE "table" = 'mapped'::regclass OFFSET 8;
SELECT * FROM pg_temp.state WHERE promo_table = 'mapped'::regclass;

-- keys of other kinds
CREATE TABLE composite (shop text, number int, code text, discount_type text, discount_value numeric, PRIMARY KEY (number, shop));
INSERT INTO composite VALUES ('north', 1, 'N1', 'percentage', 10), ('so,"u''th', 1, 'S1', 'percentage', 10);
CREATE TABLE by_bigint (id bigint PRIMARY KEY, code text, discount_type text, discount_value numeric);
INSERT INTO by_bigint VALUES (9223372036854775807, 'MOST', 'percentage', 10), (-1, 'MINUS', 'percentage', 10);
CREATE TABLE by_varchar (code varchar(20) PRIMARY KEY, discount_type text, discount_value numeric);
INSERT INTO by_varchar VALUES ('ITSELF', 'percentage', 10), (' blanks ', 'percentage', 10);
SELECT count(*) > 0 AS reported FROM stripe_sync_attach('composite', duration => 'once');
SELECT count(*) > 0 AS reported FROM stripe_sync_attach('by_bigint', duration => 'once');
SELECT count(*) > 0 AS reported FROM stripe_sync_attach('by_varchar', duration => 'once');
SELECT promo_table, key_columns FROM stripe_sync.attachment WHERE promo_table IN ('composite'::regclass, 'by_bigint'::regclass, 'by_varchar'::regclass) ORDER BY 1;
SELECT promo_table, key, code FROM pg_temp.state WHERE promo_table IN ('composite'::regclass, 'by_bigint'::regclass, 'by_varchar'::regclass);
UPDATE composite SET discount_value = 20 WHERE shop LIKE 'so%';
DELETE FROM by_varchar WHERE code = ' blanks ';
SELECT promo_table, key, code, state, off, deleted FROM pg_temp.state WHERE promo_table IN ('composite'::regclass, 'by_varchar'::regclass);

-- names that need quotes, in a schema that no search_path has
CREATE SCHEMA "The Shop's";
CREATE TABLE "The Shop's"."Promo ""Codes""" ("Id" int PRIMARY KEY, "Code" text, "discount Type" text, "Wert" numeric, "IsActive" boolean, duration text);
INSERT INTO "The Shop's"."Promo ""Codes""" VALUES (1, 'QUOTED', 'percentage', 10, false, 'once');
SELECT item, status, source FROM stripe_sync_attach('"The Shop''s"."Promo ""Codes"""', map => '{"code": "Code", "discount_type": "discount Type",
  "discount_value": "Wert", "is_active": "IsActive", "sync_status": "Sync \"Status\""}') WHERE status <> 'missing';
INSERT INTO "The Shop's"."Promo ""Codes""" VALUES (2, 'SECOND', 'percentage', 10, true, 'once');
UPDATE "The Shop's"."Promo ""Codes""" SET "Wert" = 11 WHERE "Id" = 2;
SELECT "Id", "Sync ""Status""" FROM "The Shop's"."Promo ""Codes""" ORDER BY 1;
SELECT key, code, state, off FROM pg_temp.state WHERE promo_table = '"The Shop''s"."Promo ""Codes"""'::regclass;
SELECT object, codes, pending FROM stripe_sync_status WHERE object LIKE '%Shop%';
SELECT stripe_sync_detach('"The Shop''s"."Promo ""Codes"""');

-- a partitioned table: row triggers on each partition, also on later ones
CREATE TABLE parted (region text, id int, code text, discount_type text, discount_value numeric, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parted_eu PARTITION OF parted FOR VALUES IN ('eu');
INSERT INTO parted VALUES ('eu', 1, 'EU1', 'percentage', 10);
SELECT item, status, source FROM stripe_sync_attach('parted', duration => 'once') WHERE item IN ('code', 'sync_status');
CREATE TABLE parted_us PARTITION OF parted FOR VALUES IN ('us');
SELECT "table", trigger FROM pg_temp.triggers WHERE "table"::text LIKE 'parted%';
SELECT "table", "column" FROM pg_temp.columns WHERE "table"::text LIKE 'parted_eu' AND "column" LIKE 'sync%';
SELECT key, code, state FROM pg_temp.state WHERE promo_table = 'parted'::regclass;

-- generated columns are found like any other
CREATE TABLE computed (id int PRIMARY KEY, campaign text, code text GENERATED ALWAYS AS (upper(campaign) || '-' || id) STORED,
  discount_type text, cents int, discount_value numeric GENERATED ALWAYS AS (cents / 100.0) STORED);
INSERT INTO computed (id, campaign, discount_type, cents) VALUES (1, 'fall', 'fixed', 250);
SELECT item, status, source FROM stripe_sync_attach('computed', currency => 'usd', duration => 'once') WHERE item IN ('code', 'discount_value');
SELECT key, code, state FROM pg_temp.state WHERE promo_table = 'computed'::regclass;

-- a trigger that fires after ours is named
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER zzzz_zz_late BEFORE UPDATE ON computed FOR EACH ROW EXECUTE FUNCTION late();
CREATE TRIGGER early BEFORE UPDATE ON computed FOR EACH ROW EXECUTE FUNCTION late();
CREATE TRIGGER zzzz_zz_after AFTER UPDATE ON computed FOR EACH ROW EXECUTE FUNCTION late();
SELECT * FROM stripe_sync_attach('computed', currency => 'usd', duration => 'once', dry_run => true) WHERE item LIKE 'trigger%';

-- sync columns of the user's own types stay as they are
CREATE TYPE sync_state AS ENUM ('pending', 'synced', 'error', 'manual', 'other');
CREATE DOMAIN reason AS varchar(60);
CREATE TABLE typed (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), code char(8), discount_type text, discount_value int, starts_at timestamp, expires_at date,
  sync_status sync_state, sync_error reason, synced_at timestamp, stripe_coupon_id varchar(30), duration text DEFAULT 'once');
INSERT INTO typed (code, discount_type, discount_value) VALUES ('CHARS', 'percentage', 10);
SELECT item, status, source FROM stripe_sync_attach('typed') WHERE item LIKE 'sync%' OR item LIKE '%_id' OR item LIKE '%s_at';
INSERT INTO typed (code, discount_type, discount_value) VALUES ('CHAR2', 'percentage', 10);
SELECT code, sync_status, sync_error FROM typed ORDER BY code;

-- row level security alone does not matter: the worker reads as the owner
CREATE TABLE secured (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
SELECT item, status FROM stripe_sync_attach('secured', duration => 'once') WHERE item = 'code';

-- tables of our own making are attached at once, and take what Stripe takes
CREATE SCHEMA "New Shop";
SELECT stripe_sync_create_promo_tables('New Shop');
SELECT "column", type, "default" FROM pg_temp.columns WHERE "table" = '"New Shop".promo_codes'::regclass;
SELECT "column", type, "default" FROM pg_temp.columns WHERE "table" = '"New Shop".promo_code_usage'::regclass;
SELECT columns ->> 'currency' AS currency, columns ->> 'stripe_price_id' AS price, duration FROM stripe_sync.attachment
WHERE promo_table = '"New Shop".promo_codes'::regclass;
SELECT grantee::regrole, privilege_type FROM pg_class c, aclexplode(relacl) WHERE relnamespace = '"New Shop"'::regnamespace AND grantee <> relowner;
SET search_path = "New Shop";
\set VERBOSITY terse
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('TEN', 'percentage', 10, 'once');
SELECT code, sync_status FROM promo_codes;
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('ten', 'percentage', 10, 'once');
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('A B', 'percentage', 10, 'once');
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('P0', 'percentage', 0, 'once');
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('P101', 'percentage', 101, 'once');
INSERT INTO promo_codes (code, discount_type, duration) VALUES ('PNULL', 'percentage', 'once');
INSERT INTO promo_codes (code, discount_type, discount_value) VALUES ('NODURATION', 'percentage', 10);
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('NOCURRENCY', 'fixed', 10, 'once');
INSERT INTO promo_codes (code, discount_type, duration, currency) VALUES ('FNULL', 'fixed', 'once', 'usd');
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('NOMONTHS', 'percentage', 10, 'repeating');
INSERT INTO promo_codes (code, discount_type, discount_value) VALUES ('NOPRICE', 'custom_price', 10);
INSERT INTO promo_codes (code, discount_type, discount_value, duration) VALUES ('TYPE', 'free', 10, 'once');
RESET search_path;
\set VERBOSITY default

-- detached: our triggers and state go, the columns stay
SELECT stripe_sync_detach('least');
SELECT count(*) AS triggers FROM pg_temp.triggers WHERE "table" = 'least'::regclass;
SELECT count(*) AS codes FROM pg_temp.state WHERE promo_table = 'least'::regclass;
SELECT "column" FROM pg_temp.columns WHERE "table" = 'least'::regclass AND "column" LIKE 'sync%';
SELECT stripe_sync_detach('parted');
SELECT "table", trigger FROM pg_temp.triggers WHERE "table"::text LIKE 'parted%';

-- DROP EXTENSION takes our triggers along and leaves everything else
DROP VIEW pg_temp.state;
DROP EXTENSION stripe_sync;
SELECT "table", trigger FROM pg_temp.triggers;
SELECT "column" FROM pg_temp.columns WHERE "table" = 'mapped'::regclass AND "column" IN ('state', 'Why Not', 'synced_at');
SELECT count(*) FROM "New Shop".promo_codes;

\set ECHO none
DROP SCHEMA "The Shop's", "New Shop" CASCADE;
DROP TABLE least, inheriting, mapped, composite, by_bigint, by_varchar, parted, computed, typed, secured;
DROP TYPE sync_state;
DROP DOMAIN reason;
DROP FUNCTION late;
