-- The application's database as our first user has it, before it knows of stripe_sync. Run as the
-- application's own role, which is no superuser. Three migrations of the application; a fourth is
-- what the user adds for stripe_sync.

-- 1: the table
CREATE TABLE promo_codes (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  code varchar(50) UNIQUE NOT NULL,
  description text NOT NULL,
  discount_type varchar(20) NOT NULL
    CHECK (discount_type IN ('fixed', 'percentage', 'custom_price')),
  discount_value decimal(10,2),
  custom_monthly_price decimal(10,2),
  custom_yearly_price decimal(10,2),
  max_uses integer,
  used_count integer NOT NULL DEFAULT 0,
  starts_at timestamptz DEFAULT now(),
  expires_at timestamptz,
  is_active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  created_by varchar(100),
  notes text,
  target_customer varchar(255)
);
ALTER TABLE promo_codes ENABLE ROW LEVEL SECURITY;

CREATE TABLE promo_code_usage (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  promo_code_id uuid REFERENCES promo_codes (id) ON DELETE CASCADE,
  used_at timestamptz NOT NULL DEFAULT now(),
  used_by_email varchar(255),
  order_amount decimal(10,2),
  discount_amount decimal(10,2),
  final_amount decimal(10,2),
  plan_selected varchar(50),
  metadata jsonb
);

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END $$;
CREATE TRIGGER update_promo_codes_updated_at BEFORE UPDATE ON promo_codes
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

INSERT INTO promo_codes (code, description, discount_type,
  discount_value, custom_monthly_price, custom_yearly_price, max_uses, expires_at)
VALUES
  ('TESTCLIENT70', 'Special pricing for test client - $70/month', 'custom_price',
    NULL, 70.00, 840.00, 1, now() + interval '1 year'),
  ('SOFTWAREOWNER', 'Free access for software owner testing', 'custom_price',
    NULL, 0.00, 0.00, NULL, NULL),
  ('LAUNCH50', '50% off setup fee for launch customers', 'percentage',
    NULL, 50.00, NULL, 100, now() + interval '3 months'),
  ('BETA50', 'Beta testing - 50% off for 6 months', 'percentage',
    50.00, NULL, NULL, 50, now() + interval '6 months'),
  ('FIRSTMONTH', 'First month free for new customers', 'percentage',
    100.00, NULL, NULL, NULL, now() + interval '3 months'),
  ('ENTERPRISE99', 'Special enterprise pricing - $99/month', 'custom_price',
    NULL, 99.00, 1188.00, 5, now() + interval '1 year');

-- 2: its own beginnings of a sync. The comparison misses changes from and to NULL, and fires on
-- every write of the row, ours too, because updated_at has changed by then.
ALTER TABLE promo_codes
  ADD stripe_coupon_id varchar(255) UNIQUE,
  ADD stripe_promotion_code_id varchar(255) UNIQUE,
  ADD synced_at timestamptz,
  ADD sync_status varchar(50) DEFAULT 'pending'
    CHECK (sync_status IN ('pending', 'synced', 'error', 'manual')),
  ADD sync_error text;

CREATE FUNCTION mark_promo_code_for_sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.sync_status = 'pending';
  ELSIF OLD.code != NEW.code OR OLD.description != NEW.description
     OR OLD.discount_type != NEW.discount_type OR OLD.discount_value != NEW.discount_value
     OR OLD.max_uses != NEW.max_uses OR OLD.expires_at != NEW.expires_at
     OR OLD.is_active != NEW.is_active OR OLD.updated_at != NEW.updated_at THEN
    NEW.sync_status = 'pending';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER update_promo_codes_zsync_status BEFORE INSERT OR UPDATE ON promo_codes
  FOR EACH ROW EXECUTE FUNCTION mark_promo_code_for_sync();

-- 3: a summary that only its owner may refresh
CREATE MATERIALIZED VIEW promo_code_stats AS
  SELECT discount_type, count(*) AS codes, sum(used_count) AS used
  FROM promo_codes GROUP BY discount_type;

CREATE FUNCTION refresh_promo_code_stats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  REFRESH MATERIALIZED VIEW promo_code_stats;
  RETURN NULL;
END $$;
CREATE TRIGGER refresh_promo_code_stats AFTER INSERT OR UPDATE OR DELETE ON promo_codes
  FOR EACH STATEMENT EXECUTE FUNCTION refresh_promo_code_stats();

-- 4: what the user says for stripe_sync
ALTER TABLE promo_codes
  ADD duration text, ADD duration_in_months integer, ADD stripe_product_id text;
UPDATE promo_codes SET duration = 'repeating', duration_in_months = 6 WHERE code = 'BETA50';
