SELECT json_agg(json_build_object(
    'code', p.code, 'status', p.sync_status, 'state', s.state,
    'coupon', p.stripe_coupon_id, 'promotion_code', p.stripe_promotion_code_id,
    'reason', s.reason, 'hint', s.hint, 'warning', s.warning) ORDER BY p.created_at, p.code)
FROM promo_codes p LEFT JOIN stripe_sync_promo_status s ON s.code = p.code;
