-- The schema of what is the user's though we make it: no member of the extension, dumped like any
-- table, there again after DROP EXTENSION.
CREATE FUNCTION stripe_sync.mirror_schema() RETURNS name
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  schema name := coalesce(nullif(current_setting('stripe_sync.mirror_schema', true), ''), 'stripe');
  there record;
  keeper name := (SELECT pg_get_userbyid(e.extowner) FROM pg_extension e WHERE e.extname = 'stripe_sync');
BEGIN
  SELECT n.nspowner AS owner, d.description LIKE 'stripe_sync:%' AS ours INTO there
  FROM pg_namespace n LEFT JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass
  WHERE n.nspname = schema;
  IF FOUND AND there.ours IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('schema "%s" is not stripe_sync''s', schema),
      DETAIL = 'stripe_sync keeps the history of promotion codes in a schema of its own; the comment on it tells.',
      HINT = format('Set stripe_sync.mirror_schema to another name, or give it over: COMMENT ON SCHEMA %I IS ''stripe_sync: yours'';', schema);
  END IF;
  -- Anybody who may create schemas could have made it first. Once it is in use its owner is the user's choice.
  IF FOUND AND NOT (EXISTS (SELECT FROM stripe_sync.attachment) AND to_regclass(format('%I.promo_history', schema)) IS NOT NULL)
    AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = there.owner AND (r.rolsuper OR r.rolname = keeper
      OR r.oid = (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database()))) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('schema "%s" belongs to %s', schema, pg_get_userbyid(there.owner)),
      DETAIL = 'Its owner would read every promo code, and could change what is known of their uses.',
      HINT = format('ALTER SCHEMA %I OWNER TO %I; and look at what is in it. Once a table is attached, any role may own it.', schema, keeper);
  END IF;
  RETURN schema;
END
$$;
COMMENT ON FUNCTION stripe_sync.mirror_schema() IS 'Name of the schema of the user''s own tables that we make; raises if it is somebody else''s';

CREATE FUNCTION stripe_sync.ensure_history() RETURNS regclass
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  schema name := stripe_sync.mirror_schema();
  name text := format('%I.promo_history', schema);
  granted record;
BEGIN
  IF to_regclass(name) IS NOT NULL THEN
    RETURN to_regclass(name);
  END IF;
  IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = schema) THEN
    EXECUTE format($sql$
      CREATE SCHEMA %1$I;
      COMMENT ON SCHEMA %1$I IS 'stripe_sync: yours, kept by DROP EXTENSION and used again; by this comment it is known';
    $sql$, schema);
  END IF;
  EXECUTE format($sql$
    CREATE TABLE %1$s (
      promotion_code_id text PRIMARY KEY,
      coupon_id text NOT NULL,
      promo_table text NOT NULL,
      key text NOT NULL,
      code text NOT NULL,
      revision integer NOT NULL,
      terms jsonb NOT NULL,
      times_redeemed bigint NOT NULL,
      created_at timestamptz NOT NULL,
      replaced_at timestamptz,
      why_replaced text,
      account text,
      mode text
    );
    CREATE INDEX promo_history_row ON %1$s (promo_table, key);
    COMMENT ON TABLE %1$s IS 'Every promotion code that a promo code ever had in Stripe. Yours: stripe_sync adds to it and never deletes';
    COMMENT ON COLUMN %1$s.promotion_code_id IS 'Promotion code in Stripe';
    COMMENT ON COLUMN %1$s.coupon_id IS 'Its coupon';
    COMMENT ON COLUMN %1$s.promo_table IS 'Promo table, with its schema';
    COMMENT ON COLUMN %1$s.key IS 'Primary key of the row in it, as text';
    COMMENT ON COLUMN %1$s.code IS 'Text that customers typed';
    COMMENT ON COLUMN %1$s.revision IS '1 = the first promotion code of the row';
    COMMENT ON COLUMN %1$s.terms IS 'Coupon and promotion code as Stripe held them, amounts in the smallest unit';
    COMMENT ON COLUMN %1$s.times_redeemed IS 'Uses: of a replaced one in all, otherwise when it was written here';
    COMMENT ON COLUMN %1$s.created_at IS 'When it became the row''s: made or adopted';
    COMMENT ON COLUMN %1$s.replaced_at IS 'When another took its place; empty = the row''s present one';
    COMMENT ON COLUMN %1$s.why_replaced IS 'What the row asked for, and what Stripe held';
    COMMENT ON COLUMN %1$s.account IS 'Stripe account';
    COMMENT ON COLUMN %1$s.mode IS 'test or live';
  $sql$, name);
  -- what default privileges gave away
  FOR granted IN
    SELECT format('TABLE %s', c.oid::regclass) AS object, x.grantee
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x
    WHERE c.oid = to_regclass(name) AND x.grantee <> c.relowner
    UNION
    SELECT format('SCHEMA %I', n.nspname), x.grantee
    FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) x
    WHERE n.nspname = schema AND x.grantee <> n.nspowner AND NOT EXISTS
      (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r' AND c.relname <> 'promo_history')
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', granted.object,
      CASE WHEN granted.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END);
  END LOOP;
  RETURN to_regclass(name);
END
$$;
COMMENT ON FUNCTION stripe_sync.ensure_history() IS 'The table of all promotion codes that rows ever had; makes it, and its schema, where it is not there';
