CREATE FUNCTION stripe_sync.code_key(code text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN left(lower(btrim(code COLLATE "C", E' \t\r\n\f\v')), 500);
COMMENT ON FUNCTION stripe_sync.code_key(text) IS 'The normalised code: what Stripe compares, without case';

CREATE FUNCTION stripe_sync.require_code(code text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF NOT EXISTS (SELECT FROM stripe_sync.promo_state s WHERE s.code_key = stripe_sync.code_key(code))
     AND NOT EXISTS (SELECT FROM stripe_sync.promo_inbox i WHERE stripe_sync.code_key(i.code) = stripe_sync.code_key(code)) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('no attached table holds the promo code "%s"', code),
      HINT = 'SELECT code FROM stripe_sync_promo_status;';
  END IF;
END
$$;
COMMENT ON FUNCTION stripe_sync.require_code(text) IS 'Raises unless an attached table holds the code';

CREATE FUNCTION @extschema@.stripe_sync_promo(code text DEFAULT NULL)
RETURNS TABLE (promo_code text, action text, status text, coupon_id text, promotion_code_id text, error text, hint text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  began timestamptz := clock_timestamp();
  wanted text := stripe_sync.code_key(code);
  me xid8 := coalesce(pg_current_xact_id_if_assigned(), '0');  -- 0 is nobody's
  due text[];
BEGIN
  IF code IS NOT NULL THEN
    PERFORM stripe_sync.require_code(code);
  END IF;
  IF EXISTS (SELECT FROM stripe_sync.promo_inbox i WHERE i.changed_by <> me) THEN
    PERFORM stripe_sync.ask_worker('stripe_sync.push_request', 'pushes_done');
  END IF;
  due := ARRAY(
    SELECT s.promo_table::oid || '/' || s.key FROM stripe_sync.promo_state s
    WHERE (code IS NULL OR s.code_key = wanted)
      AND s.state IN ('pending', 'sending', 'retrying') AND s.changed_by IS DISTINCT FROM me);
  IF due <> '{}' THEN
    PERFORM stripe_sync.ask_worker('stripe_sync.push_request', 'pushes_done');
    -- every row is attempted, or none can be: then the worker says why
    WHILE EXISTS (
      SELECT FROM stripe_sync.promo_state s
      WHERE s.state IN ('pending', 'sending', 'retrying') AND s.changed_at <= began
        AND (s.attempted_at < began) IS NOT FALSE
        AND (code IS NULL OR s.code_key = wanted) AND s.changed_by IS DISTINCT FROM me
        AND s.promo_table::oid || '/' || s.key = ANY (due)
        AND NOT EXISTS (SELECT FROM stripe_sync.worker w WHERE w.blocked_since IS NOT NULL))
    LOOP
      PERFORM stripe_sync.require_worker();
      PERFORM stripe_sync.pause(20);
    END LOOP;
  END IF;
  RETURN QUERY
    SELECT s.code,
      CASE WHEN s.changed_by = me THEN NULL
           WHEN s.state IN ('pending', 'sending', 'retrying') THEN 'waiting'
           ELSE coalesce(s.action, 'none') END,
      CASE WHEN s.changed_by = me THEN 'at commit' ELSE s.state END,
      s.coupon_id, s.promotion_code_id,
      CASE WHEN s.state = 'pending' THEN w.blocked_message ELSE s.reason END,
      CASE WHEN s.state = 'pending' THEN w.blocked_hint ELSE s.hint END
    FROM stripe_sync.promo_state s, stripe_sync.worker w
    WHERE s.code_key = wanted
       OR code IS NULL AND (s.promo_table::oid || '/' || s.key = ANY (due) OR s.changed_by = me)
    UNION ALL
    SELECT DISTINCT i.code, NULL, 'at commit', NULL, i.promotion_code_id, NULL, NULL
    FROM stripe_sync.promo_inbox i
    WHERE i.changed_by = me AND NOT i.deleted AND (code IS NULL OR stripe_sync.code_key(i.code) = wanted)
      AND NOT EXISTS (SELECT FROM stripe_sync.promo_state s WHERE s.promo_table = i.promo_table AND s.key = i.key)
    ORDER BY 1;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_promo(text) IS 'Has the worker push all that is pending now, or one code, and waits for it, holding no row lock. Rows of the calling transaction go at its commit';

CREATE FUNCTION @extschema@.stripe_sync_wait(timeout interval DEFAULT '1 minute') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  deadline timestamptz := clock_timestamp() + coalesce(timeout, '1 minute');
  me xid8 := coalesce(pg_current_xact_id_if_assigned(), '0');  -- 0 is nobody's
  asked boolean := false;
BEGIN
  LOOP
    IF NOT EXISTS (SELECT FROM stripe_sync.promo_state s
                   WHERE s.state IN ('pending', 'sending', 'retrying') AND s.changed_by IS DISTINCT FROM me)
       AND NOT EXISTS (SELECT FROM stripe_sync.promo_inbox i WHERE i.changed_by <> me) THEN
      RETURN true;
    END IF;
    IF NOT asked THEN
      PERFORM stripe_sync.ask_worker('stripe_sync.push_request', 'pushes_done');
      asked := true;
    END IF;
    IF clock_timestamp() >= deadline THEN
      RETURN false;
    END IF;
    PERFORM stripe_sync.require_worker();
    PERFORM stripe_sync.pause(20);
  END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_wait(interval) IS 'Waits until nothing is pending (true), or the timeout (false)';

CREATE FUNCTION @extschema@.stripe_sync_retry(code text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  changed integer;
BEGIN
  PERFORM stripe_sync.require_code(code);
  UPDATE stripe_sync.promo_state s
  SET state = 'pending', settled = NULL, attempts = 0, next_attempt = clock_timestamp(), changed_at = clock_timestamp(),
      changed_by = pg_current_xact_id(), generation = s.generation + 1
  WHERE s.code_key = stripe_sync.code_key(code) AND s.state <> 'missing' AND NOT (s.deleted AND s.state = 'excluded');
  GET DIAGNOSTICS changed = ROW_COUNT;
  PERFORM stripe_sync.wake_worker(at_commit => true);
  RETURN changed;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_retry(text) IS 'Makes a code due now, whatever kept it back; returns how many rows that are';
