-- How stripe_sync.promo_inbox gets into stripe_sync.promo_state, and what both say together.

CREATE FUNCTION stripe_sync.code_key(code text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN left(lower(btrim(code COLLATE "C", E' \t\r\n\f\x0b')), 500);
COMMENT ON FUNCTION stripe_sync.code_key(text) IS 'The normalised code: what Stripe compares, without case';

-- A TRUNCATE is a change of every row that is known.
CREATE VIEW stripe_sync.promo_change AS
  SELECT i.number, i.promo_table, i.key, i.change, i.code, i.off, i.promotion_code_id, i.together, i.changed_at, i.changed_by
  FROM stripe_sync.promo_inbox i WHERE i.key IS NOT NULL
  UNION ALL
  SELECT i.number, i.promo_table, s.key, i.change, NULL, NULL, NULL, NULL, i.changed_at, i.changed_by
  FROM stripe_sync.promo_inbox i JOIN stripe_sync.promo_state s ON s.promo_table = i.promo_table
  WHERE i.key IS NULL AND NOT s.deleted AND s.state <> 'excluded';
COMMENT ON VIEW stripe_sync.promo_change IS 'The inbox, row by row';

-- A retry says nothing of the row, and holds no lock that would order it: it never has the last word.
-- What an application's trigger does to a row of the statement that it runs in is appended before
-- that statement, though it happened after it: of a row that it deleted, a change is the last.
CREATE FUNCTION stripe_sync.last_changes(promo_table regclass, numbers bigint[], xids xid8[])
RETURNS TABLE (key text, change text, code text, off boolean, promotion_code_id text, together bigint, changed_at timestamptz, again boolean,
  retried boolean, seen_gone text)
LANGUAGE sql STABLE  -- no search_path, so that it becomes a part of the statements that use it
BEGIN ATOMIC
  SELECT DISTINCT ON (c.key) c.key, c.change, c.code, c.off, c.promotion_code_id, c.together, c.changed_at,
    bool_or(c.change IN ('attached', 'retried')) OVER (PARTITION BY c.key), bool_or(c.change = 'retried') OVER (PARTITION BY c.key),
    max(c.change) FILTER (WHERE c.change IN ('deleted', 'left') AND (c.together > 10) IS NOT TRUE) OVER (PARTITION BY c.key, c.changed_by)
  FROM stripe_sync.promo_change c
  WHERE c.promo_table = last_changes.promo_table AND (c.changed_by IN (SELECT unnest(xids))) IS TRUE  -- so a hash finds them, not a search
    AND c.number = ANY (numbers) AND c.number <= numbers[cardinality(numbers)]  -- what waits behind them is not read
  ORDER BY c.key, c.change = 'retried', c.number DESC;
END;
COMMENT ON FUNCTION stripe_sync.last_changes(regclass, bigint[], xid8[]) IS 'What some changes come to for each key';

-- A row that shows the code of a state whose own row is gone, or shows another, is that row under a
-- new key: its state goes along, or a code that works would be switched off and made anew. Keys may
-- be exchanged: what stands in the way makes place first, as a row that is gone, and the others pass
-- through names that no key has. A transaction that was open while the code was replaced shows the one
-- before it.
CREATE FUNCTION stripe_sync.carry_states(promo_table regclass, numbers bigint[], xids xid8[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  old_keys text[];
  new_keys text[];
  key text;
BEGIN
  WITH last AS MATERIALIZED (SELECT * FROM stripe_sync.last_changes(promo_table, numbers, xids)),
  shown AS (SELECT DISTINCT ON (l.promotion_code_id) l.key, l.promotion_code_id FROM last l
    WHERE l.promotion_code_id IS NOT NULL ORDER BY l.promotion_code_id, l.key),
  moves AS (SELECT DISTINCT ON (s.promotion_code_id) s.key AS old_key, n.key AS new_key
    FROM shown n CROSS JOIN LATERAL
      (SELECT * FROM stripe_sync.promo_state s WHERE s.promotion_code_id = n.promotion_code_id OFFSET 0) s
    WHERE s.promo_table = promo_table AND s.key <> n.key
      AND (s.key, s.promotion_code_id) NOT IN (SELECT l.key, l.promotion_code_id FROM last l WHERE l.promotion_code_id IS NOT NULL)
      AND (s.deleted OR s.state = 'missing' OR s.key IN (SELECT l.key FROM last l
        WHERE l.change IN ('deleted', 'left', 'truncated') OR l.promotion_code_id IS NOT NULL))
    ORDER BY s.promotion_code_id, s.key),
  replaced AS (SELECT DISTINCT ON (s.key) s.key AS old_key, n.key AS new_key
    FROM last l CROSS JOIN LATERAL
      (SELECT * FROM stripe_sync.promo_state s WHERE s.promo_table = promo_table AND s.key = l.key OFFSET 0) s
    CROSS JOIN LATERAL jsonb_array_elements(s.observed -> 'predecessors') p(one)
    JOIN shown n ON n.promotion_code_id = p.one ->> 'id' AND n.key <> s.key
    WHERE l.change IN ('deleted', 'left')
      AND s.key NOT IN (SELECT m.old_key FROM moves m) AND n.key NOT IN (SELECT m.new_key FROM moves m)
    ORDER BY s.key, n.key)
  SELECT array_agg(m.old_key), array_agg(m.new_key) INTO old_keys, new_keys
  FROM (TABLE moves UNION ALL SELECT DISTINCT ON (r.new_key) r.old_key, r.new_key FROM replaced r) m;
  IF old_keys IS NULL THEN
    RETURN;
  END IF;
  FOR key IN SELECT unnest(new_keys) EXCEPT SELECT unnest(old_keys) LOOP
    UPDATE stripe_sync.promo_state s SET key = s.key || ' before ' || nextval('stripe_sync.lease_number'),
      off = true, lease = NULL, settled = NULL, attempts = 0, changed_at = clock_timestamp(), generation = s.generation + 1,
      (state, deleted, next_attempt) = (
        SELECT h.state, h.state <> 'missing', CASE WHEN h.state = 'pending' THEN clock_timestamp() END
        FROM (SELECT CASE WHEN s.state IN ('excluded', 'missing') THEN s.state
          WHEN EXISTS (SELECT FROM stripe_sync.promo_inbox i
            WHERE i.promo_table = promo_table AND i.number = ANY (numbers) AND i.changed_by = ANY (xids) AND i.key = s.key AND i.change = 'left')
          THEN 'excluded' ELSE 'pending' END) h(state))
    WHERE s.promo_table = promo_table AND s.key = key;
  END LOOP;
  FOR n IN 1 .. cardinality(old_keys) LOOP
    UPDATE stripe_sync.promo_state s SET key = chr(1) || new_keys[n], lease = NULL, settled = NULL
    WHERE s.promo_table = promo_table AND s.key = old_keys[n];
  END LOOP;
  FOREACH key IN ARRAY new_keys LOOP
    UPDATE stripe_sync.promo_state s SET key = key WHERE s.promo_table = promo_table AND s.key = chr(1) || key;
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.carry_states(regclass, bigint[], xid8[]) IS 'Moves states along with rows that go on under another key';

-- More than ten rows and a fifth of the table gone at once may be a mistake, as is a TRUNCATE: held
-- until confirmed. Rows left to the user stay so.
CREATE FUNCTION stripe_sync.merge_changes(promo_table regclass, numbers bigint[], xids xid8[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  l record;
BEGIN
  FOR l IN
    WITH last AS MATERIALIZED (
      SELECT c.*, c.change IN ('changed', 'attached') AS there, k.known,
        CASE WHEN c.change = 'left' THEN 'excluded'
             WHEN c.change = 'truncated' THEN 'missing'
             WHEN c.change = 'deleted' AND (c.together > 10) IS TRUE AND c.together * 5 > (SELECT count(*)
               FROM stripe_sync.promo_state a WHERE a.promo_table = promo_table AND NOT a.deleted) THEN 'missing'
             ELSE 'pending' END AS state
      FROM stripe_sync.last_changes(promo_table, numbers, xids) c LEFT JOIN LATERAL (SELECT true AS known
        FROM stripe_sync.promo_state s WHERE s.promo_table = promo_table AND s.key = c.key LIMIT 1) k ON true),
    new AS (
      INSERT INTO stripe_sync.promo_state (promo_table, key, code, off, changed_at, seen_gone)
      SELECT promo_table, c.key, c.code, c.off, c.changed_at, c.seen_gone FROM last c WHERE c.there AND c.known IS NULL)
    SELECT c.* FROM last c WHERE c.known
  LOOP
    UPDATE stripe_sync.promo_state s SET
      code = coalesce(l.code, s.code),
      off = CASE WHEN l.there THEN l.off WHEN l.change = 'retried' THEN s.off ELSE true END,
      deleted = CASE WHEN l.there THEN false WHEN l.change = 'retried' THEN s.deleted ELSE l.state <> 'missing' END,
      state = l.state,
      look = s.look OR l.retried,
      attempts = 0,
      next_attempt = CASE WHEN l.state = 'pending' THEN clock_timestamp() END,
      changed_at = l.changed_at,
      seen_gone = CASE WHEN l.there
        THEN coalesce(l.seen_gone, CASE WHEN s.deleted THEN CASE s.state WHEN 'excluded' THEN 'left' ELSE 'deleted' END END) END,
      generation = s.generation + 1,
      -- what a row led to holds if it was only touched
      (settled, sqlstate, reason, detail, hint, warnings) = (
        SELECT s.settled, s.sqlstate, s.reason, s.detail, s.hint, s.warnings
        WHERE l.there AND NOT l.again AND NOT s.deleted AND s.state <> 'missing'
        UNION ALL
        SELECT NULL, 'SY004',
          CASE l.change WHEN 'truncated' THEN 'the table was truncated' ELSE 'deleted together with a large part of its table' END,
          'Its code in Stripe is left as it is.',
          'Insert the row again; if all that is missing is meant to be gone: SELECT * FROM stripe_sync_resolve(NULL, ''db'');', NULL
        WHERE l.state = 'missing'
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL,
          ARRAY['the row is deleted, its promotion code ' || s.promotion_code_id || ' is still active in Stripe: sync_status was manual']
        WHERE l.change = 'left' AND s.observed #>> '{promotion_code,active}' = 'true')
    WHERE s.promo_table = promo_table AND s.key = l.key
      AND NOT (l.change = 'retried' AND (s.state = 'missing' OR s.deleted AND s.state = 'excluded'));
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.merge_changes(regclass, bigint[], xid8[]) IS 'Takes some changes of a table over into promo_state';

-- Whole statements, so that what they did together stays together. Transactions whose rows were seen
-- name the same rows whatever is committed meanwhile: a number may be that of two sessions'
-- statements. A mass deletion comes first in its batch: what it is a large part
-- of is what is known by then.
-- Planned once, and to find all by index: what the planner knows of these tables is of a while ago,
-- and by a join of its choice each change may cost as much as all states.
CREATE FUNCTION stripe_sync.take_changes(promo_table regclass, most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_variable
DECLARE
  numbers bigint[];
  xids xid8[];
  shown boolean;
  cut_off boolean;  -- rows of the same statements may lie behind
BEGIN
  WITH waiting AS MATERIALIZED (
    SELECT i.number, i.changed_by, i.promotion_code_id, i.change = 'truncated' OR i.together > 10 AS mass
    FROM stripe_sync.promo_inbox i WHERE i.promo_table = promo_table ORDER BY i.number LIMIT most),
  cut (number) AS MATERIALIZED (
    SELECT min(m.number) FROM waiting m WHERE m.mass AND m.number > (SELECT min(f.number) FROM waiting f))
  SELECT array_agg(DISTINCT w.number ORDER BY w.number), array_agg(DISTINCT w.changed_by), bool_or(w.promotion_code_id IS NOT NULL), count(*) = most
  INTO numbers, xids, shown, cut_off FROM waiting w CROSS JOIN cut WHERE (w.number < cut.number) IS NOT FALSE;
  IF shown OR cut_off THEN
    PERFORM stripe_sync.carry_states(promo_table, numbers, xids);
  END IF;
  PERFORM stripe_sync.merge_changes(promo_table, numbers, xids);
  DELETE FROM stripe_sync.promo_inbox i WHERE i.promo_table = promo_table AND (i.changed_by IN (SELECT unnest(xids))) IS TRUE
    AND i.number = ANY (numbers) AND i.number <= numbers[cardinality(numbers)];
  RETURN EXISTS (SELECT FROM stripe_sync.promo_inbox i WHERE i.promo_table = promo_table);
END
$$;
COMMENT ON FUNCTION stripe_sync.take_changes(regclass, integer) IS 'Takes the oldest changes of a table over into promo_state, about that many rows; returns whether more wait';

-- Columns as in promo_state; at_commit: the calling transaction has changed it.
CREATE VIEW stripe_sync.promo_current AS
  SELECT s.promo_table, s.key, s.code, s.code_key, s.state, s.off, s.deleted, s.changed_at, s.observed, s.coupon_id, s.promotion_code_id,
    s.attempts, s.next_attempt, s.attempted_at, s.synced_at, s.action, s.sqlstate, s.reason, s.detail, s.hint, s.warnings, false AS at_commit
  FROM stripe_sync.promo_state s
  WHERE NOT EXISTS (SELECT FROM stripe_sync.promo_change c WHERE c.promo_table = s.promo_table AND c.key = s.key)
  UNION ALL
  SELECT c.promo_table, c.key, coalesce(c.code, s.code), stripe_sync.code_key(coalesce(c.code, s.code)), 'pending', coalesce(c.off, c.gone OR s.off),
    CASE c.change WHEN 'retried' THEN s.deleted ELSE c.gone END, c.since,
    s.observed, s.coupon_id, s.promotion_code_id, 0, c.since, s.attempted_at, s.synced_at, s.action, NULL, NULL, NULL, NULL, NULL, c.at_commit
  FROM (
    SELECT DISTINCT ON (i.promo_table, i.key) i.promo_table, i.key, i.change, i.code, i.off, i.change IN ('deleted', 'left', 'truncated') AS gone,
      min(i.changed_at) OVER w AS since,
      coalesce(bool_or(i.changed_by = pg_current_xact_id_if_assigned()) OVER w, false) AS at_commit
    FROM stripe_sync.promo_change i
    WINDOW w AS (PARTITION BY i.promo_table, i.key)
    ORDER BY i.promo_table, i.key, i.change = 'retried', i.number DESC) c
  LEFT JOIN stripe_sync.promo_state s ON s.promo_table = c.promo_table AND s.key = c.key
  WHERE (s.key IS NOT NULL OR NOT c.gone)
    AND EXISTS (SELECT FROM stripe_sync.attachment a WHERE a.promo_table = c.promo_table);
COMMENT ON VIEW stripe_sync.promo_current IS 'Every promo code as promo_state and what waits in the inbox say together: a change that waits is pending';
