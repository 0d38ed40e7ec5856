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
         WHEN s.state = 'conflict' THEN format('SELECT * FROM stripe_sync_diff(%L);', s.code)
         WHEN s.state = 'parked' THEN format('SELECT * FROM stripe_sync_inspect(%L);', s.code)
         WHEN s.state = 'missing' AND s.code IS NOT NULL
           THEN format('SELECT * FROM stripe_sync_resolve(%L, ''db'');', s.code)
         WHEN s.warnings <> '{}' AND NOT s.deleted THEN format('SELECT * FROM stripe_sync_inspect(%L);', s.code)
    END AS next
  FROM stripe_sync.promo_current s, stripe_sync.worker w;
COMMENT ON VIEW @extschema@.stripe_sync_promo_status IS 'Every promo code: its state, why, what Stripe holds, and the command to type next';

CREATE VIEW stripe_sync.backlog AS
  SELECT q.waiting, now() - q.since AS oldest, q.failing, q.failure, q.failure_hint, n.next_try,
    CASE WHEN n.next_try IS NOT NULL AND NOT q.needs_somebody AND coalesce(w.blocked_sqlstate, 'SY007') IN ('SY002', 'SY007')
         THEN greatest(n.next_try, q.last_try) + make_interval(secs => 2 * q.waiting / w.requests_per_second) END AS expected_end
  FROM (SELECT * FROM stripe_sync.worker LIMIT 1) w  -- LIMIT: for the planner, which would expect hundreds of rows
  CROSS JOIN (
    SELECT count(*) AS waiting, min(s.changed_at) AS since,
      min(s.next_attempt) AS first_try, max(s.next_attempt) AS last_try,
      count(*) FILTER (WHERE f.failing) AS failing,
      mode() WITHIN GROUP (ORDER BY s.reason) FILTER (WHERE f.failing) AS failure,
      mode() WITHIN GROUP (ORDER BY s.hint) FILTER (WHERE f.failing) AS failure_hint,
      coalesce(bool_or(s.sqlstate = 'SY001'), false) AS needs_somebody
    FROM stripe_sync.promo_current s
    -- what is tried again within a moment needs nobody's attention
    CROSS JOIN LATERAL (VALUES (s.state = 'retrying' AND s.next_attempt > s.attempted_at + interval '2 seconds')) f(failing)
    WHERE s.state IN ('pending', 'sending', 'retrying')) q
  LEFT JOIN LATERAL (
    SELECT greatest(now(), w.blocked_until, q.first_try) AS next_try
    WHERE q.waiting > 0 AND w.wanted AND (w.blocked_since IS NULL OR w.blocked_until IS NOT NULL)
      AND EXISTS (SELECT FROM stripe_sync.running_worker)) n ON true;
COMMENT ON VIEW stripe_sync.backlog IS 'What waits to be pushed: how many codes, why, when it is tried again, and when it is expected to be done';

CREATE VIEW @extschema@.stripe_sync_status AS
  SELECT a.promo_table::text AS object,
    count(s.key) FILTER (WHERE NOT s.deleted) AS codes,
    count(*) FILTER (WHERE s.state IN ('synced', 'scheduled', 'exhausted', 'expired') AND NOT s.deleted) AS synced,
    count(*) FILTER (WHERE s.state IN ('pending', 'sending')) AS pending,
    count(*) FILTER (WHERE s.state = 'retrying') AS retrying,
    count(*) FILTER (WHERE s.state IN ('parked', 'conflict', 'missing')) AS error,
    count(*) FILTER (WHERE s.state = 'excluded') AS manual,
    now() - min(s.changed_at) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) AS oldest_unsent,
    CASE WHEN count(*) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) > 0
         THEN coalesce(w.blocked_message, mode() WITHIN GROUP (ORDER BY s.reason) FILTER (WHERE s.state = 'retrying')) END AS reason,
    CASE WHEN count(*) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) > 0 THEN b.next_try END AS next_try,
    CASE WHEN count(*) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) > 0 THEN b.expected_end END AS expected_end,
    max(s.synced_at) AS last_synced,
    CASE WHEN count(*) FILTER (WHERE s.state IN ('parked', 'conflict', 'missing')) > 0
           THEN 'SELECT code, reason, hint FROM stripe_sync_promo_status WHERE sync_status = ''error'';'
         WHEN count(*) FILTER (WHERE s.state IN ('pending', 'sending', 'retrying')) > 0
           THEN 'SELECT * FROM stripe_sync_promo();'
    END AS next
  FROM stripe_sync.attachment a CROSS JOIN (SELECT * FROM stripe_sync.worker LIMIT 1) w CROSS JOIN stripe_sync.backlog b
    LEFT JOIN stripe_sync.promo_current s ON s.promo_table = a.promo_table
  GROUP BY a.promo_table, w.blocked_message, b.next_try, b.expected_end;
COMMENT ON VIEW @extschema@.stripe_sync_status IS 'Per attached table: how many codes are in step, waiting, in error, and the command to type next';
COMMENT ON COLUMN @extschema@.stripe_sync_status.reason IS 'Why codes wait; if for several reasons, the most frequent';
COMMENT ON COLUMN @extschema@.stripe_sync_status.next_try IS 'When what waits is tried next';
COMMENT ON COLUMN @extschema@.stripe_sync_status.expected_end IS 'When all that waits is expected to be pushed: if the next try succeeds, at two requests a code and the present rate. Empty: nothing waits, or somebody has to act first';

CREATE VIEW @extschema@.stripe_sync_health AS
  SELECT h.status, h.reason, h.worker, h.mode, h.account, h.pending, h.oldest_unsent, h.errors,
    h.blocked_since, h.blocked_until, h.next_try, h.expected_end, h.last_contact, h.next
  FROM (
    SELECT v.status, v.reason, v.next, r.pid AS worker, i.mode, i.account, b.waiting AS pending, b.oldest AS oldest_unsent, q.errors,
      w.blocked_since, w.blocked_until, b.next_try, b.expected_end, w.last_contact, v.rank, min(v.rank) OVER () AS first
    FROM (SELECT * FROM stripe_sync.worker LIMIT 1) w
    LEFT JOIN (SELECT * FROM stripe_sync.installation LIMIT 1) i ON true
    LEFT JOIN (SELECT * FROM stripe_sync.running_worker LIMIT 1) r ON true
    CROSS JOIN stripe_sync.backlog b
    CROSS JOIN (
      SELECT count(*) AS errors FROM stripe_sync.promo_current s WHERE s.state IN ('parked', 'conflict', 'missing')) q
    CROSS JOIN LATERAL (VALUES
      (1, i.id IS NULL, 'ok', 'dormant: nothing is attached yet',
       'SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once'');'),
      (2, NOT w.wanted, 'down', 'the worker was stopped', 'SELECT stripe_sync_start();'),
      (3, r.pid IS NULL, 'down', 'no worker runs', 'SELECT stripe_sync_start();'),
      (4, w.blocked_since IS NOT NULL, CASE w.blocked_sqlstate WHEN 'SY002' THEN 'degraded' ELSE 'down' END,
       w.blocked_message, w.blocked_hint),
      (5, b.failing > 0, 'degraded', format('%s promo codes wait: %s', b.failing, b.failure), b.failure_hint),
      (6, b.oldest > interval '5 minutes', 'degraded', 'changes wait longer than 5 minutes',
       'SELECT code, reason, hint FROM stripe_sync_promo_status WHERE sync_status = ''pending'';'),
      (7, q.errors > 0, 'degraded', q.errors || ' promo codes are in error',
       'SELECT code, reason, hint FROM stripe_sync_promo_status WHERE sync_status = ''error'';'),
      (8, true, 'ok', NULL, NULL)) v(rank, applies, status, reason, next)
    WHERE v.applies) h
  WHERE h.rank = h.first;
COMMENT ON VIEW @extschema@.stripe_sync_health IS 'One row: ok, degraded or down and why, the worker, mode and account, what waits, and the command to type next';
COMMENT ON COLUMN @extschema@.stripe_sync_health.pending IS 'Promo codes whose last change has not reached Stripe yet';
COMMENT ON COLUMN @extschema@.stripe_sync_health.next_try IS 'When what waits is tried next';
COMMENT ON COLUMN @extschema@.stripe_sync_health.expected_end IS 'When all that waits is expected to be pushed: if the next try succeeds, at two requests a code and the present rate. Empty: nothing waits, or somebody has to act first';

CREATE VIEW @extschema@.stripe_sync_errors AS
  SELECT e.last_at AS at, e.subject, e.sqlstate, e.message, e.detail, e.hint, e.times, e.first_at
  FROM stripe_sync.error e
  ORDER BY e.last_at DESC;
COMMENT ON VIEW @extschema@.stripe_sync_errors IS 'Failures by promo code or worker, newest first: Stripe''s words in detail, what to do in hint';
