CREATE FUNCTION @extschema@.stripe_sync_money(amount bigint, currency text) RETURNS numeric
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'stripe_sync_money';
COMMENT ON FUNCTION @extschema@.stripe_sync_money(bigint, text) IS 'An amount in Stripe''s smallest unit as a number of the currency itself: 1250, usd = 12.50; 1250, jpy = 1250';

-- Whether Stripe was last seen to sell a row's code, and nothing of the row says that it shall not.
CREATE FUNCTION stripe_sync.unsold_because(s stripe_sync.promo_state) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  RETURN CASE
    WHEN s.state IN ('conflict', 'missing', 'excluded') THEN 'unavailable'
    WHEN s.off OR (s.observed #>> '{coupon,valid}')::boolean IS FALSE
      -- what the row went through last and the worker has not taken over yet
      OR (SELECT c.off OR c.change NOT IN ('changed', 'attached', 'retried') FROM stripe_sync.promo_change c
          WHERE c.promo_table = s.promo_table AND c.key = s.key ORDER BY c.change = 'retried', c.number DESC LIMIT 1) THEN 'inactive'
    WHEN s.state = 'scheduled' THEN 'not started'
    WHEN s.state = 'expired' OR to_timestamp((s.observed #>> '{promotion_code,expires_at}')::bigint) <= now() THEN 'expired'
    WHEN s.state = 'exhausted' OR (s.observed #>> '{promotion_code,times_redeemed}')::bigint
      >= (s.observed #>> '{promotion_code,max_redemptions}')::bigint THEN 'used up'
    WHEN stripe_sync.code_key(s.observed #>> '{promotion_code,code}') IS DISTINCT FROM s.code_key THEN 'unavailable'
    WHEN (s.observed #>> '{promotion_code,active}')::boolean IS NOT TRUE THEN 'inactive'
    WHEN s.observed #>> '{promotion_code,customer}' <> '' THEN 'restricted'
  END;
COMMENT ON FUNCTION stripe_sync.unsold_because(stripe_sync.promo_state) IS 'Why a code can''t be used by a customer now; NULL = it can';

CREATE FUNCTION @extschema@.stripe_sync_promo_valid(code text)
RETURNS TABLE (valid boolean, reason text, promotion_code_id text, kind text, amount numeric, currency text,
  duration text, duration_in_months integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT coalesce(c.found AND c.reason IS NULL, false), CASE WHEN c.found THEN c.reason ELSE 'unknown' END, c.promotion_code_id,
    CASE WHEN c.coupon ? 'percent_off' THEN 'percentage' WHEN c.coupon ? 'amount_off' THEN 'fixed' END,
    coalesce((c.coupon ->> 'percent_off')::numeric,
      @extschema@.stripe_sync_money((c.coupon ->> 'amount_off')::bigint, c.coupon ->> 'currency')),
    c.coupon ->> 'currency', c.coupon ->> 'duration', (c.coupon ->> 'duration_in_months')::integer
  FROM (SELECT) one
  LEFT JOIN LATERAL (
    SELECT true AS found, r.reason,
      CASE WHEN r.reason IS NULL THEN s.promotion_code_id END AS promotion_code_id,
      CASE WHEN r.reason IS NULL THEN s.observed -> 'coupon' END AS coupon
    FROM stripe_sync.promo_state s
    CROSS JOIN LATERAL (SELECT stripe_sync.unsold_because(s)) r(reason)
    WHERE s.code_key = stripe_sync.code_key(stripe_sync_promo_valid.code) AND NOT s.deleted
    ORDER BY r.reason NULLS FIRST LIMIT 1) c ON true;
END;
COMMENT ON FUNCTION @extschema@.stripe_sync_promo_valid(text) IS 'Whether a customer can use a code now, always one row; for application code: GRANT EXECUTE to whom may ask. reason: unknown, inactive, not started, expired, used up, restricted (to one customer), unavailable; amount in percent or of the currency itself';
