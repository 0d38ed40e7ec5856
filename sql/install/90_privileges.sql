-- Default privileges of the database may have granted things to roles by name (Supabase does):
-- everything goes back to the owner alone.
CREATE FUNCTION stripe_sync.revoke_all() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  member record;
BEGIN
  FOR member IN
    SELECT o.kind, o.name, x.grantee
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    CROSS JOIN LATERAL (
      SELECT 'FUNCTION' AS kind, p.oid::regprocedure::text AS name, p.proowner AS owner, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
      FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
      UNION ALL
      SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, c.relowner, c.relacl
      FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid
      UNION ALL
      SELECT 'SCHEMA', quote_ident(n.nspname), n.nspowner, n.nspacl
      FROM pg_namespace n WHERE d.classid = 'pg_namespace'::regclass AND n.oid = d.objid) o
    CROSS JOIN LATERAL aclexplode(o.acl) x
    WHERE e.extname = 'stripe_sync' AND x.grantee <> o.owner
    GROUP BY o.kind, o.name, x.grantee
  LOOP
    EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', member.kind, member.name,
      CASE WHEN member.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(member.grantee)) END);
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.revoke_all() IS 'Takes every right on the extension''s objects from everybody but their owner';
SELECT stripe_sync.revoke_all();

-- CREATE EXTENSION hides notices of its script unless asked not to.
SET LOCAL client_min_messages = notice;
DO $$
BEGIN
  RAISE NOTICE USING MESSAGE = 'stripe_sync is installed and dormant. Next: (1) give the server the Stripe key: environment STRIPE_SECRET_KEY, or setting stripe_sync.api_key_file; '
    || '(2) SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once''); (3) SELECT * FROM stripe_sync_check();';
END
$$;
