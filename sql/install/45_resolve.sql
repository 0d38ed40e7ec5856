CREATE FUNCTION stripe_sync.may_change(caller oid, promo_table oid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  RETURN coalesce(has_table_privilege(caller, promo_table, 'UPDATE'),
    pg_has_role(caller, (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'stripe_sync'), 'USAGE'));
COMMENT ON FUNCTION stripe_sync.may_change(oid, oid) IS 'Whether a role may change a table''s promo codes and decide about them: it may update the table; of a dropped table the extension''s owner decides';

-- The table was copied or restored under another name or oid, the row under another key: the
-- promotion code has a row.
CREATE FUNCTION stripe_sync.forget_replaced() RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  DELETE FROM stripe_sync.promo_state s USING stripe_sync.promo_state h
  WHERE s.state = 'missing' AND h.promotion_code_id = s.promotion_code_id AND NOT h.deleted AND h.state <> 'missing';
END;
COMMENT ON FUNCTION stripe_sync.forget_replaced() IS 'Forgets missing rows whose promotion code another row holds by now';

CREATE FUNCTION stripe_sync.resolve_missing(code_key text, take text, tables oid[])
RETURNS TABLE (promo_code text, promo_table regclass, key text, promotion_code_id text, outcome text)
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH resolved AS (
    UPDATE stripe_sync.promo_state s SET deleted = true, off = true, lease = NULL, settled = NULL, attempts = 0,
      sqlstate = NULL, reason = NULL, detail = NULL, hint = NULL,
      changed_at = clock_timestamp(), generation = s.generation + 1,
      state = CASE take WHEN 'db' THEN 'pending' ELSE 'excluded' END,
      next_attempt = CASE take WHEN 'db' THEN clock_timestamp() END,
      warnings = CASE WHEN take = 'stripe' AND s.promotion_code_id IS NOT NULL
        THEN ARRAY['the row is gone, its promotion code ' || s.promotion_code_id || ' was left as it is in Stripe by stripe_sync_resolve()'] END
    WHERE s.state = 'missing' AND (resolve_missing.code_key IS NULL OR s.code_key = resolve_missing.code_key)
      AND s.promo_table::oid = ANY (tables)
    RETURNING s.code, s.promo_table, s.key, s.promotion_code_id,
      CASE WHEN take = 'db' THEN 'deleted: switched off in Stripe after commit' ELSE 'let go: left as it is in Stripe' END)
  SELECT * FROM resolved ORDER BY 1, 2, 3;
END;
COMMENT ON FUNCTION stripe_sync.resolve_missing(text, text, oid[]) IS 'Ends the holding of rows that vanished: db = they are gone, stripe = their codes are nobody''s any more';

-- Rows whose code is another one in Stripe. 'stripe': the row was written before, as the caller.
CREATE FUNCTION stripe_sync.resolve_conflict(code_key text, take text, caller oid)
RETURNS TABLE (promo_code text, promo_table regclass, key text, promotion_code_id text, outcome text)
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  UPDATE stripe_sync.promo_state s SET take_over = (take = 'db'), state = 'pending', settled = NULL, attempts = 0,
    next_attempt = clock_timestamp(), changed_at = clock_timestamp(),
    generation = s.generation + 1,
    -- What was made for the row before is not its any more: the id it carries now counts.
    observed = CASE take WHEN 'stripe' THEN s.observed - ARRAY['coupon', 'next_coupon'] ELSE s.observed END
  WHERE s.state = 'conflict' AND s.code_key = resolve_conflict.code_key AND stripe_sync.may_change(caller, s.promo_table)
    AND NOT EXISTS (SELECT FROM stripe_sync.promo_state o
      WHERE o.promotion_code_id = s.observed #>> '{rival,id}' AND NOT o.deleted)
  RETURNING s.code, s.promo_table, s.key, s.observed #>> '{rival,id}',
    CASE take WHEN 'db' THEN 'the row is right: replaced in Stripe after commit' ELSE 'Stripe is right: the row was written' END;
END;
COMMENT ON FUNCTION stripe_sync.resolve_conflict(text, text, oid) IS 'Ends a conflict: db = what Stripe sells is replaced, stripe = the row says it now';

CREATE FUNCTION stripe_sync.resolve(code text, take text, caller oid)
RETURNS TABLE (promo_code text, promo_table regclass, key text, promotion_code_id text, outcome text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  wanted text := stripe_sync.code_key(code);
BEGIN
  IF take IS NULL OR take NOT IN ('db', 'stripe') THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('take must be ''db'' or ''stripe'', not %L', take),
      HINT = 'db: the table is right. stripe: Stripe stays as it is.';
  END IF;
  IF code IS NOT NULL THEN
    PERFORM stripe_sync.require_code(code);
  END IF;
  PERFORM stripe_sync.forget_replaced();
  RETURN QUERY SELECT * FROM stripe_sync.resolve_missing(wanted, take, ARRAY(
    SELECT a.promo_table::oid FROM stripe_sync.attachment a WHERE stripe_sync.may_change(caller, a.promo_table)))
    UNION ALL SELECT * FROM stripe_sync.resolve_conflict(wanted, take, caller);
  IF FOUND THEN
    PERFORM stripe_sync.retry_conflicts(ARRAY(SELECT s.code_key FROM stripe_sync.promo_state s
      WHERE s.deleted AND s.state = 'pending' AND (code IS NULL OR s.code_key = wanted)));
    PERFORM stripe_sync.wake_worker(at_commit => true);
  ELSIF EXISTS (SELECT FROM stripe_sync.promo_state s WHERE s.state = 'conflict' AND s.code_key = wanted
                AND stripe_sync.may_change(caller, s.promo_table)) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('promo code "%s" belongs to two rows', code),
      DETAIL = 'Both are attached, and Stripe sells the other one.', HINT = 'Give one of them another code, or switch it off.';
  ELSIF EXISTS (SELECT FROM stripe_sync.promo_state s WHERE (s.state = 'missing' OR s.state = 'conflict' AND code IS NOT NULL) AND (code IS NULL OR s.code_key = wanted)) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'permission denied to decide about this promo code',
      DETAIL = 'It takes the right to update its table; of a table that was dropped, the extension''s owner decides.';
  ELSIF code IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('there is nothing to decide about promo code "%s"', code),
      DETAIL = 'No row of it is missing or in conflict with Stripe.',
      HINT = format('SELECT state, reason, next FROM stripe_sync_promo_status WHERE code = %L;', code);
  END IF;
END
$$;
COMMENT ON FUNCTION stripe_sync.resolve(text, text, oid) IS 'stripe_sync_resolve() on behalf of a role';

CREATE FUNCTION @extschema@.stripe_sync_resolve(code text, take text)
RETURNS TABLE (promo_code text, promo_table regclass, key text, promotion_code_id text, outcome text)
LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_resolve';
COMMENT ON FUNCTION @extschema@.stripe_sync_resolve(text, text) IS 'Decides about a code. In conflict: db = Stripe is made like the row, stripe = the row is written as Stripe is. Its row missing (without a code: all of them): db = the row is gone, its code is switched off; stripe = the code stays as it is and is no longer managed. For who may update the table';
