\echo Use "CREATE EXTENSION stripe_sync" to load this file. \quit

-- Everything below names what it uses: nothing in the schema the extension is created in can be
-- taken for pg_catalog's.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Codes are compared with Stripe's, and texts cut, as UTF-8.
DO $$
BEGIN
  IF getdatabaseencoding() <> 'UTF8' THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('stripe_sync needs a database in encoding UTF8, this one is in %s', getdatabaseencoding()),
      HINT = 'CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0; and move the tables there.';
  END IF;
END
$$;

CREATE SCHEMA stripe_sync;
COMMENT ON SCHEMA stripe_sync IS 'stripe_sync: internal tables; use the functions and views named stripe_sync_*';

CREATE TABLE stripe_sync.installation (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id text NOT NULL,
  system_identifier text NOT NULL,
  database oid NOT NULL,
  host text NOT NULL,
  timeline integer NOT NULL,
  account text,
  mode text CHECK (mode IN ('test', 'live')),
  key_fingerprint text,
  copy_of text,
  rival text,
  newest_event text,
  changed_by xid8,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN stripe_sync.installation.host IS 'Hash of machine id and data directory; may change only where a standby, which the original streamed to, is promoted';
COMMENT ON COLUMN stripe_sync.installation.copy_of IS 'Installation that this database was copied from: its objects in Stripe are never taken over';
COMMENT ON COLUMN stripe_sync.installation.rival IS 'What showed that another database writes as this installation: nothing is sent before stripe_sync_rebind()';
COMMENT ON COLUMN stripe_sync.installation.newest_event IS 'The last of Stripe''s events that was looked at for such writes';
COMMENT ON COLUMN stripe_sync.installation.key_fingerprint IS 'Empty = whichever account the key opens is accepted';
COMMENT ON TABLE stripe_sync.installation IS 'Who we are to Stripe; no row = dormant: nothing is written until the first attach or start';

CREATE TABLE stripe_sync.worker (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  wanted boolean NOT NULL DEFAULT true,
  paused_since timestamptz,
  -- written by libraries of any version: these columns stay
  blocked_sqlstate text,
  blocked_message text,
  blocked_detail text,
  blocked_hint text,
  blocked_since timestamptz,
  blocked_until timestamptz,
  starts integer NOT NULL DEFAULT 0,
  last_contact timestamptz,
  requests_per_second real NOT NULL DEFAULT 10,
  pushes_done bigint NOT NULL DEFAULT 1,
  checks_done bigint NOT NULL DEFAULT 1,
  diffs_done bigint NOT NULL DEFAULT 1,
  comparing boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE stripe_sync.worker IS 'What the worker says of itself: whether it is wanted, why it sends nothing, which requests it has served';
COMMENT ON COLUMN stripe_sync.worker.blocked_until IS 'When it tries again';
COMMENT ON COLUMN stripe_sync.worker.starts IS 'Since it last ended in order, or was well for a minute: after the second, each waits longer before it touches a row';
COMMENT ON COLUMN stripe_sync.worker.requests_per_second IS 'As many requests to Stripe are sent at most: the setting, less after a 429';
COMMENT ON COLUMN stripe_sync.worker.comparing IS 'Many new rows are being compared with all that Stripe holds: whoever is started anew begins again, however few are left';
INSERT INTO stripe_sync.worker DEFAULT VALUES;

CREATE TABLE stripe_sync.probe (
  item text PRIMARY KEY,
  status text NOT NULL CHECK (status IN ('ok', 'warn', 'fail')),
  detail text NOT NULL,
  fix text,
  checked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stripe_sync.probe IS 'What the worker found when stripe_sync_check() last asked it: key, account, permissions';

CREATE TABLE stripe_sync.diff (
  code_key text COLLATE "C" NOT NULL,
  line bigint NOT NULL,
  promo_table regclass,
  key text,
  step integer,
  action text,
  field text,
  database text,
  stripe text,
  why text,
  next text,
  sqlstate text,
  detail text,
  PRIMARY KEY (code_key, line)
);
COMMENT ON TABLE stripe_sync.diff IS 'What the worker found for the calls of stripe_sync_diff() that wait; with a sqlstate: why nothing can be found';

CREATE TABLE stripe_sync.attachment (
  promo_table regclass PRIMARY KEY,
  columns jsonb NOT NULL,
  key_columns text[] NOT NULL,
  currency text,
  duration text,
  duration_in_months integer,
  monthly_price text,
  yearly_price text,
  products text[],
  attached_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stripe_sync.attachment IS 'Attached promo tables: which column holds which item, and what a row that says nothing means';

CREATE TABLE stripe_sync.promo_state (
  promo_table regclass NOT NULL,
  key text COLLATE "C" NOT NULL,
  code text,
  code_key text COLLATE "C" GENERATED ALWAYS AS (left(lower(btrim(code COLLATE "C", E' \t\r\n\f\x0b')), 500)) STORED,
  state text NOT NULL DEFAULT 'pending',
  off boolean NOT NULL DEFAULT false,
  deleted boolean NOT NULL DEFAULT false,
  seen_gone text,
  generation bigint NOT NULL DEFAULT 1,
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  row_hash bigint,
  settled text,
  wake_at timestamptz,
  observed jsonb,
  coupon_id text,
  promotion_code_id text,
  coupon_revision integer NOT NULL DEFAULT 1,
  used_before bigint,
  in_flight jsonb,
  take_over boolean NOT NULL DEFAULT false,
  look boolean NOT NULL DEFAULT false,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt timestamptz DEFAULT clock_timestamp(),
  attempted_at timestamptz,
  synced_at timestamptz,
  lease bigint,
  action text,
  sqlstate text,
  reason text,
  detail text,
  hint text,
  warnings text[],
  PRIMARY KEY (promo_table, key)
);
COMMENT ON TABLE stripe_sync.promo_state IS 'One row per promo code: what it should be, what Stripe was last seen to hold, what comes next. The truth of which the sync columns are a projection';
COMMENT ON COLUMN stripe_sync.promo_state.generation IS 'Counts changes of the promo row; a push that ends under another generation than it began with leaves the row due';
COMMENT ON COLUMN stripe_sync.promo_state.seen_gone IS 'deleted or left: the row''s deletion was seen, but not whether before or after it was changed; if it is not there when it is claimed, that is what happened';
COMMENT ON COLUMN stripe_sync.promo_state.settled IS 'State that the row with this row_hash led to: a row that was touched but not changed goes back to it without a request';
COMMENT ON COLUMN stripe_sync.promo_state.in_flight IS 'The numbered write whose outcome is not known yet, committed before it is sent';
COMMENT ON COLUMN stripe_sync.promo_state.look IS 'The row was retried: what is known of its promotion code is read again first';
COMMENT ON COLUMN stripe_sync.promo_state.take_over IS 'A conflict was decided for the row: the promotion code in its way is replaced';
COMMENT ON COLUMN stripe_sync.promo_state.lease IS 'Fencing token of the push under way; results are taken only under the same token';

CREATE TABLE stripe_sync.original (
  promotion_code_id text PRIMARY KEY
);
COMMENT ON TABLE stripe_sync.original IS 'Promotion codes that the database had which this one was copied from: never taken over, though one that was adopted bears no mark';

-- Claims walk this in order: switching off before anything else, then who waited longest.
CREATE INDEX promo_state_due ON stripe_sync.promo_state (off DESC, next_attempt)
  WHERE next_attempt IS NOT NULL AND lease IS NULL;
CREATE INDEX promo_state_leased ON stripe_sync.promo_state (code_key) WHERE lease IS NOT NULL;
CREATE INDEX promo_state_off ON stripe_sync.promo_state (code_key) WHERE off AND state IN ('pending', 'retrying');
CREATE INDEX promo_state_promotion_code ON stripe_sync.promo_state (promotion_code_id) WHERE promotion_code_id IS NOT NULL;
CREATE INDEX promo_state_code ON stripe_sync.promo_state (code_key);

-- Where the server's log is written to now: it only grows, and asking leaves no trace. A sequence
-- would be what lastval() tells the application next.
CREATE FUNCTION stripe_sync.change_number() RETURNS bigint
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
  RETURN (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint;
COMMENT ON FUNCTION stripe_sync.change_number() IS 'Numbers a statement in promo_inbox, as the triggers do';

-- Appended to by every writer of a promo table and emptied by the worker, so that it is all churn:
-- vacuumed often, and never cut short, which would lock writers out.
CREATE TABLE stripe_sync.promo_inbox (
  number bigint NOT NULL,
  promo_table regclass NOT NULL,
  change text NOT NULL,
  key text COLLATE "C",
  code text,
  off boolean,
  promotion_code_id text,
  together bigint,
  -- the triggers, which go past defaults, set the same
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_by xid8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off);
-- else a publication of all tables would refuse its rows' deletion
ALTER TABLE stripe_sync.promo_inbox REPLICA IDENTITY FULL;
CREATE INDEX promo_inbox_number ON stripe_sync.promo_inbox (promo_table, number);
COMMENT ON TABLE stripe_sync.promo_inbox IS 'What promo rows went through and promo_state does not know yet: only appended to, so that no writer waits or fails; taken over by the worker in the order of the numbers';
COMMENT ON COLUMN stripe_sync.promo_inbox.number IS 'Of a statement, taken while it holds its row locks: changes of one key have the numbers'' order, whoever commits first; but what a trigger does within a statement is numbered before it';
COMMENT ON COLUMN stripe_sync.promo_inbox.change IS 'changed (the row is there), attached (the same, and its table was attached anew), deleted, left (deleted while it was manual), truncated (every row is gone), retried (look again)';
COMMENT ON COLUMN stripe_sync.promo_inbox.key IS 'NULL = all of the table';
COMMENT ON COLUMN stripe_sync.promo_inbox.promotion_code_id IS 'What the row shows: the state that knows this code goes along when the row''s key has changed';
COMMENT ON COLUMN stripe_sync.promo_inbox.together IS 'How many rows the same DELETE took';

CREATE TABLE stripe_sync.error (
  subject text NOT NULL,
  sqlstate text NOT NULL,
  message text NOT NULL,
  detail text,
  hint text,
  first_at timestamptz NOT NULL DEFAULT now(),
  last_at timestamptz NOT NULL DEFAULT now(),
  times bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (subject, sqlstate, message)
);
COMMENT ON TABLE stripe_sync.error IS 'Failures by subject (a promo code, or the worker), counted; forgotten 30 days after the last';
CREATE INDEX error_last_at ON stripe_sync.error (last_at);

-- Numbers that survive any rollback: an operation number is never used twice, a request is seen
-- by the worker although the transaction that asked waits for it.
CREATE SEQUENCE stripe_sync.operation_number;
COMMENT ON SEQUENCE stripe_sync.operation_number IS 'Numbers every write to Stripe; the idempotency key is made from it';
CREATE SEQUENCE stripe_sync.lease_number;
COMMENT ON SEQUENCE stripe_sync.lease_number IS 'Fencing tokens';
CREATE SEQUENCE stripe_sync.push_request;
COMMENT ON SEQUENCE stripe_sync.push_request IS 'Counts calls that want everything due pushed now; the worker reads its last value';
CREATE SEQUENCE stripe_sync.check_request;
COMMENT ON SEQUENCE stripe_sync.check_request IS 'Counts calls that want the key and its permissions probed';
CREATE SEQUENCE stripe_sync.diff_request;
COMMENT ON SEQUENCE stripe_sync.diff_request IS 'Counts calls that want promo codes compared with Stripe; which codes, their locks say';
SELECT setval('stripe_sync.push_request', 1), setval('stripe_sync.check_request', 1), setval('stripe_sync.diff_request', 1);

SELECT pg_extension_config_dump('stripe_sync.installation', '');
SELECT pg_extension_config_dump('stripe_sync.attachment', '');
SELECT pg_extension_config_dump('stripe_sync.promo_state', '');
SELECT pg_extension_config_dump('stripe_sync.original', '');
SELECT pg_extension_config_dump('stripe_sync.promo_inbox', '');
SELECT pg_extension_config_dump('stripe_sync.operation_number', '');
