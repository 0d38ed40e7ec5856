UPDATE promo_codes SET stripe_product_id = :'setup_product' WHERE code = 'LAUNCH50';
CREATE EXTENSION stripe_sync;
SELECT * FROM stripe_sync_attach('promo_codes', currency => 'usd', duration => 'once',
                                 monthly_price => :'monthly_price');
