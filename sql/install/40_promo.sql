CREATE FUNCTION stripe_sync.require_code(code text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF NOT EXISTS (SELECT FROM stripe_sync.promo_current c WHERE c.code_key = stripe_sync.code_key(code)) THEN
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
  due text[];
BEGIN
  IF code IS NOT NULL THEN
    PERFORM stripe_sync.require_code(code);
  END IF;
  due := ARRAY(
    SELECT c.promo_table::oid || '/' || c.key FROM stripe_sync.promo_current c
    WHERE (code IS NULL OR c.code_key = wanted) AND c.state IN ('pending', 'sending', 'retrying') AND NOT c.at_commit);
  IF due <> '{}' THEN
    PERFORM stripe_sync.ask_worker('stripe_sync.push_request', 'pushes_done');
    -- every row is attempted, or none can be: then the worker says why
    WHILE EXISTS (
      SELECT FROM stripe_sync.promo_current c
      WHERE c.state IN ('pending', 'sending', 'retrying') AND c.changed_at <= began
        AND (c.attempted_at < began) IS NOT FALSE
        AND (code IS NULL OR c.code_key = wanted) AND NOT c.at_commit
        AND c.promo_table::oid || '/' || c.key = ANY (due)
        AND NOT EXISTS (SELECT FROM stripe_sync.worker w WHERE w.blocked_since IS NOT NULL))
    LOOP
      PERFORM stripe_sync.require_worker();
      PERFORM stripe_sync.nap(20);
    END LOOP;
  END IF;
  RETURN QUERY
    SELECT c.code,
      CASE WHEN c.at_commit THEN NULL
           WHEN c.state IN ('pending', 'sending', 'retrying') THEN 'waiting'
           ELSE coalesce(c.action, 'none') END,
      CASE WHEN c.at_commit THEN 'at commit' ELSE c.state END,
      c.coupon_id, c.promotion_code_id,
      CASE WHEN c.state = 'pending' THEN w.blocked_message ELSE c.reason END,
      CASE WHEN c.state = 'pending' THEN w.blocked_hint ELSE c.hint END
    FROM stripe_sync.promo_current c, stripe_sync.worker w
    WHERE c.code_key = wanted
       OR code IS NULL AND (c.promo_table::oid || '/' || c.key = ANY (due) OR c.at_commit)
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
  asked boolean := false;
BEGIN
  LOOP
    IF NOT EXISTS (SELECT FROM stripe_sync.promo_current c
                   WHERE c.state IN ('pending', 'sending', 'retrying') AND NOT c.at_commit) THEN
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
    PERFORM stripe_sync.nap(20);
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
  INSERT INTO stripe_sync.promo_inbox (number, promo_table, change, key)
  SELECT (SELECT stripe_sync.change_number()), c.promo_table, 'retried', c.key
  FROM stripe_sync.promo_current c WHERE c.code_key = stripe_sync.code_key(code) AND c.state <> 'missing'
    AND NOT (c.deleted AND c.state = 'excluded');
  GET DIAGNOSTICS changed = ROW_COUNT;
  PERFORM stripe_sync.wake_worker(at_commit => true);
  RETURN changed;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_retry(text) IS 'Makes a code due now, whatever kept it back, and looks at it in Stripe first; returns how many rows that are';
