-- The worker holds this lock for as long as it lives (pg/worker_lock.hpp); no SQL function can take it.
CREATE VIEW stripe_sync.running_worker AS
  SELECT l.pid
  FROM pg_locks l JOIN pg_database d ON d.oid = l.database
  WHERE l.locktype = 'advisory' AND l.classid = 1937011321 AND l.objid = 1 AND l.objsubid = 3
    AND l.granted AND d.datname = current_database();
COMMENT ON VIEW stripe_sync.running_worker IS 'Process id of this database''s worker, if one runs';

CREATE VIEW @extschema@.stripe_sync_promo_status AS
  SELECT s.code,
    s.promo_table,
    s.key,
    s.state,
    CASE WHEN s.state IN ('pending', 'sending', 'retrying') THEN 'pending'
         WHEN s.state IN ('synced', 'scheduled', 'exhausted', 'expired') THEN 'synced'
         WHEN s.state = 'excluded' THEN 'manual'
         ELSE 'error' END AS sync_status,
    CASE WHEN s.state = 'pending' THEN w.blocked_message ELSE s.reason END AS reason,
    CASE WHEN s.state = 'pending' THEN w.blocked_detail ELSE s.detail END AS detail,
    CASE WHEN s.state = 'pending' THEN w.blocked_hint ELSE s.hint END AS hint,
    array_to_string(s.warnings, E'\n') AS warning,
    s.coupon_id,
    s.promotion_code_id,
    (s.observed #>> '{promotion_code,active}')::boolean AS active_in_stripe,
    CASE WHEN s.observed ?| '{promotion_code,predecessors}'
         THEN coalesce((s.observed #>> '{promotion_code,times_redeemed}')::bigint, 0)
           + coalesce((SELECT sum((p.code ->> 'redeemed')::bigint) FROM jsonb_array_elements(s.observed -> 'predecessors') p(code)), 0)::bigint
         END AS redeemed,
    CASE WHEN s.state = 'exhausted' THEN 0
         ELSE greatest((s.observed #>> '{promotion_code,max_redemptions}')::bigint
           - (s.observed #>> '{promotion_code,times_redeemed}')::bigint, 0) END AS remaining,
    s.deleted,
    s.attempts,
    s.next_attempt,
    s.changed_at,
    s.synced_at,
    CASE WHEN s.state IN ('pending', 'sending', 'retrying') AND w.blocked_since IS NOT NULL THEN 'SELECT * FROM stripe_sync_health;'
         WHEN s.state IN ('pending', 'sending', 'retrying') AND s.code_key <> ''
           THEN format('SELECT * FROM stripe_sync_promo(%L);', s.code)
         WHEN s.state IN ('pending', 'sending', 'retrying') THEN 'SELECT * FROM stripe_sync_promo();'
         WHEN s.state IN ('parked', 'conflict') THEN format('SELECT * FROM stripe_sync_inspect(%L);', s.code)
         WHEN s.state = 'missing' AND s.code IS NOT NULL
           THEN format('SELECT * FROM stripe_sync_resolve(%L, ''db'');', s.code)
         WHEN s.warnings <> '{}' AND NOT s.deleted THEN format('SELECT * FROM stripe_sync_inspect(%L);', s.code)
    END AS next
  FROM stripe_sync.promo_current s, stripe_sync.worker w;
COMMENT ON VIEW @extschema@.stripe_sync_promo_status IS 'Every promo code: its state, why, what Stripe holds, and the command to type next';

CREATE VIEW @extschema@.stripe_sync_status AS
  SELECT a.promo_table::text AS object,
    count(s.key) FILTER (WHERE NOT s.deleted) AS codes,
    count(*) FILTER (WHERE s.state IN ('synced', 'scheduled', 'exhausted', 'expired') AND NOT s.deleted) AS synced,
    count(*) FILTER (WHERE s.state IN ('pending', 'sending')) AS pending,
    count(*) FILTER (WHERE s.state = 'retrying') AS retrying,
    count(*) FILTER (WHERE s.state IN ('parked', 'conflict', 'missing')) AS error,
    count(*) FILTER (WHERE s.state = 'excluded') AS manual,
    now() - min(s.changed_at) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) AS oldest_unsent,
    max(s.synced_at) AS last_synced,
    CASE WHEN count(*) FILTER (WHERE s.state IN ('parked', 'conflict', 'missing')) > 0
           THEN 'SELECT code, reason, hint FROM stripe_sync_promo_status WHERE sync_status = ''error'';'
         WHEN count(*) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) > 0
           THEN 'SELECT * FROM stripe_sync_promo();'
    END AS next
  FROM stripe_sync.attachment a LEFT JOIN stripe_sync.promo_current s ON s.promo_table = a.promo_table
  GROUP BY a.promo_table;
COMMENT ON VIEW @extschema@.stripe_sync_status IS 'Per attached table: how many codes are in step, waiting, in error, and the command to type next';

CREATE VIEW @extschema@.stripe_sync_health AS
  SELECT h.status, h.reason, h.worker, h.mode, h.account, h.pending, h.oldest_unsent, h.errors,
    h.blocked_since, h.blocked_until, h.last_contact, h.next
  FROM (
    SELECT v.status, v.reason, v.next, r.pid AS worker, i.mode, i.account, q.pending, q.oldest_unsent, q.errors,
      w.blocked_since, w.blocked_until, w.last_contact, v.rank, min(v.rank) OVER () AS first
    FROM stripe_sync.worker w
    LEFT JOIN stripe_sync.installation i ON true
    LEFT JOIN stripe_sync.running_worker r ON true
    CROSS JOIN (
      SELECT count(*) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) AS pending,
        now() - min(s.changed_at) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) AS oldest_unsent,
        count(*) FILTER (WHERE s.state IN ('parked', 'conflict', 'missing')) AS errors
      FROM stripe_sync.promo_current s) q
    CROSS JOIN LATERAL (VALUES
      (1, i.id IS NULL, 'ok', 'dormant: nothing is attached yet',
       'SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once'');'),
      (2, NOT w.wanted, 'down', 'the worker was stopped', 'SELECT stripe_sync_start();'),
      (3, r.pid IS NULL, 'down', 'no worker runs', 'SELECT stripe_sync_start();'),
      (4, w.blocked_since IS NOT NULL, 'down', w.blocked_message, w.blocked_hint),
      (5, q.oldest_unsent > interval '5 minutes', 'degraded', 'changes wait longer than 5 minutes',
       'SELECT code, reason, hint FROM stripe_sync_promo_status WHERE sync_status = ''pending'';'),
      (6, q.errors > 0, 'degraded', q.errors || ' promo codes are in error',
       'SELECT code, reason, hint FROM stripe_sync_promo_status WHERE sync_status = ''error'';'),
      (7, true, 'ok', NULL, NULL)) v(rank, applies, status, reason, next)
    WHERE v.applies) h
  WHERE h.rank = h.first;
COMMENT ON VIEW @extschema@.stripe_sync_health IS 'One row: ok, degraded or down and why, the worker, mode and account, what waits, and the command to type next';

CREATE VIEW @extschema@.stripe_sync_errors AS
  SELECT e.last_at AS at, e.subject, e.sqlstate, e.message, e.detail, e.hint, e.times, e.first_at
  FROM stripe_sync.error e
  ORDER BY e.last_at DESC;
COMMENT ON VIEW @extschema@.stripe_sync_errors IS 'Failures by promo code or worker, newest first: Stripe''s words in detail, what to do in hint';
