INSERT INTO promo_codes (code, description, discount_type, discount_value, max_uses, created_by)
VALUES ('WELCOME20', '$20 off the first month', 'fixed', 20.00, 200, 'dashboard');
