CREATE FUNCTION stripe_sync.row_findings(code text)
RETURNS TABLE (promo_table regclass, key text, severity text, column_name text, value text,
  finding text, detail text, remedy text, fixable boolean)
LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_row_findings';
COMMENT ON FUNCTION stripe_sync.row_findings(text) IS 'What is wrong with the rows of a code by themselves, and against what Stripe was last seen to hold';

-- What the worker and its state say of a code, besides.
CREATE FUNCTION stripe_sync.state_findings(code_key text)
RETURNS TABLE (promo_table regclass, key text, severity text, column_name text, value text,
  finding text, detail text, remedy text, fixable boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off  -- compiling it takes longer than running it
BEGIN ATOMIC
  SELECT s.promo_table, s.key, f.severity, f.column_name, f.value, f.finding, f.detail, f.remedy, false
  FROM stripe_sync.promo_current s
  JOIN @extschema@.stripe_sync_promo_status p ON p.promo_table = s.promo_table AND p.key = s.key
  CROSS JOIN @extschema@.stripe_sync_health h
  CROSS JOIN LATERAL (
    SELECT 'error', NULL::text, NULL::text, s.reason, s.detail, s.hint
    WHERE s.state IN ('parked', 'conflict', 'missing') AND s.reason IS NOT NULL
    UNION ALL
    SELECT 'warning', NULL, NULL, coalesce(s.reason, 'the last try failed'), s.detail,
      coalesce(s.hint, 'Nothing to do: it is tried again.')
    WHERE s.state = 'retrying'
    UNION ALL
    SELECT CASE WHEN p.sync_status = 'pending' THEN 'error' ELSE 'warning' END, NULL, NULL, h.reason,
      CASE WHEN p.sync_status = 'pending' THEN 'Changes of this row wait for it.'
           ELSE 'Changes, starts and uses are not carried over meanwhile.' END, h.next
    WHERE h.status = 'down' AND s.state <> 'excluded'
    UNION ALL
    SELECT 'info', NULL, NULL, 'the last change of the row is not in Stripe yet', NULL, p.next
    WHERE s.state IN ('pending', 'sending')
    UNION ALL
    SELECT 'warning', NULL, NULL, w.text, NULL, NULL FROM unnest(s.warnings) w(text) WHERE s.deleted
    UNION ALL
    SELECT 'info', NULL, NULL, 'the row is deleted', NULL, NULL WHERE s.deleted
    UNION ALL
    SELECT 'warning', a.columns ->> 'code', o.code, format('row %s of %s has the same code', o.key, o.promo_table),
      'Stripe compares codes without case, and only one of a text can be active.', 'Give one of the two another code.'
    FROM stripe_sync.promo_current o JOIN stripe_sync.attachment a ON a.promo_table = s.promo_table
    WHERE o.code_key = s.code_key AND NOT (o.deleted OR o.off OR s.deleted OR s.off) AND (o.promo_table, o.key) <> (s.promo_table, s.key)
  ) f(severity, column_name, value, finding, detail, remedy)
  WHERE s.code_key = state_findings.code_key OR state_findings.code_key = '' AND s.code_key IS NULL;
END;
COMMENT ON FUNCTION stripe_sync.state_findings(text) IS 'Why a code is not in step, and what keeps the worker from its work';

CREATE FUNCTION @extschema@.stripe_sync_inspect(code text)
RETURNS TABLE (severity text, promo_table regclass, key text, column_name text, value text,
  finding text, detail text, remedy text, fixable boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  wanted text := coalesce(stripe_sync.code_key(stripe_sync_inspect.code), '');
BEGIN
  IF wanted <> '' THEN
    PERFORM stripe_sync.require_code(stripe_sync_inspect.code);
  ELSIF NOT EXISTS (SELECT FROM stripe_sync.promo_current s WHERE coalesce(s.code_key, '') = '' AND NOT s.deleted) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'which promo code? None was given, and no row lacks one',
      HINT = 'SELECT code FROM stripe_sync_promo_status;';
  END IF;
  RETURN QUERY
    WITH found AS MATERIALIZED (
      SELECT f.*, 1 AS source FROM stripe_sync.row_findings(stripe_sync_inspect.code) f
      UNION ALL
      SELECT f.*, 2 FROM stripe_sync.state_findings(wanted) f),
    said AS (
      -- the row itself and the worker's verdict may say the same
      SELECT DISTINCT ON (f.promo_table, f.key, f.finding) f.* FROM found f
      ORDER BY f.promo_table, f.key, f.finding, f.source),
    in_step AS (
      SELECT 'ok', s.promo_table, s.key, NULL::text, NULL::text,
        'in step with Stripe' || CASE WHEN s.active_in_stripe AND s.state = 'synced'
          THEN format(': sold as promotion code %s, used %s times', s.promotion_code_id, s.redeemed) ELSE '' END,
        NULL::text, NULL::text, false
      FROM @extschema@.stripe_sync_promo_status s
      WHERE s.sync_status = 'synced' AND coalesce(stripe_sync.code_key(s.code), '') = wanted
        AND NOT EXISTS (SELECT FROM said a WHERE a.promo_table = s.promo_table AND a.key = s.key AND a.severity IN ('error', 'warning')))
    SELECT a.severity, a.promo_table, a.key, a.column_name, a.value, a.finding, a.detail,
      CASE WHEN a.fixable THEN concat_ws(' ', a.remedy, format('SELECT * FROM stripe_sync_fix(%L);', stripe_sync_inspect.code))
           ELSE a.remedy END, a.fixable
    FROM (SELECT s.severity, s.promo_table, s.key, s.column_name, s.value, s.finding, s.detail, s.remedy, s.fixable FROM said s
          UNION ALL SELECT * FROM in_step) a
    ORDER BY a.promo_table::text, a.key, array_position('{error,warning,info,ok}', a.severity), a.finding;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_inspect(text) IS 'What is wrong or suspicious about a promo code, gravest first: column, value, why, what to do, and whether stripe_sync_fix() can';

CREATE FUNCTION @extschema@.stripe_sync_fix(code text DEFAULT NULL, apply boolean DEFAULT false)
RETURNS TABLE (promo_code text, promo_table regclass, key text, column_name text, old_value text, new_value text,
  reason text, outcome text, next text)
LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_fix';
COMMENT ON FUNCTION @extschema@.stripe_sync_fix(text, boolean) IS 'Shows how rows can be mended, of one code or all; apply => true mends them, what touches money only if the code is named. For who may update the table';
