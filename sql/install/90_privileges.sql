-- Who may use what: the one list that stripe_sync_grant() goes by. Nothing is granted by itself, and
-- no level gives a right on a table of ours.
CREATE FUNCTION stripe_sync.access_levels(OUT name text, OUT level text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  VALUES
    -- looks on
    ('stripe_sync_health', 'reader'),
    ('stripe_sync_status', 'reader'),
    ('stripe_sync_promo_status', 'reader'),
    ('stripe_sync_errors', 'reader'),
    ('stripe_sync_money', 'reader'),
    -- keeps things going; what changes a row needs UPDATE on its table, too
    ('stripe_sync_promo', 'operator'),
    ('stripe_sync_wait', 'operator'),
    ('stripe_sync_retry', 'operator'),
    ('stripe_sync_check', 'operator'),
    ('stripe_sync_start', 'operator'),
    ('stripe_sync_pause', 'operator'),
    ('stripe_sync_resume', 'operator'),
    ('stripe_sync_stop', 'operator'),
    ('stripe_sync_inspect', 'operator'),
    ('stripe_sync_diff', 'operator'),
    ('stripe_sync_fix', 'operator'),
    ('stripe_sync_resolve', 'operator'),
    -- of no level: EXECUTE is granted by name, to the owners of promo tables ...
    ('stripe_sync_attach', NULL),
    ('stripe_sync_detach', NULL),
    ('stripe_sync_create_promo_tables', NULL),
    -- ... and to the application's role
    ('stripe_sync_promo_valid', NULL),
    -- for the extension's owner: decides who sends, to which account, and who may what
    ('stripe_sync_rebind', NULL),
    ('stripe_sync_grant', NULL),
    ('stripe_sync_revoke', NULL);
END;
COMMENT ON FUNCTION stripe_sync.access_levels() IS 'Which level a public function or view belongs to: reader, operator (which is a reader, too), or none';

CREATE FUNCTION stripe_sync.require_grantor(role regrole) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT pg_has_role((SELECT e.extowner FROM pg_extension e WHERE e.extname = 'stripe_sync'), 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'must be owner of extension stripe_sync',
      HINT = 'Call it as a superuser, or as the role that created the extension.';
  END IF;
  IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'rights are given to a role and taken from one, by its name',
      HINT = 'SELECT stripe_sync_grant(''dashboard'', ''reader'');';
  END IF;
END
$$;
COMMENT ON FUNCTION stripe_sync.require_grantor(regrole) IS 'Raises unless the caller may give and take rights on the extension, and the role exists';

-- By what pg_depend says: somebody else's function of one of our names is not ours.
CREATE FUNCTION stripe_sync.members(OUT name text, OUT target text, OUT owner oid, OUT acl aclitem[])
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT o.name, o.target, o.owner, o.acl
  FROM pg_extension e
  JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
  CROSS JOIN LATERAL (
    SELECT p.proname::text AS name, 'FUNCTION ' || p.oid::regprocedure AS target, p.proowner AS owner,
      coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
    FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    UNION ALL
    SELECT c.relname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, c.relowner,
      c.relacl || (SELECT array_agg(x) FROM pg_attribute a, unnest(a.attacl) x WHERE a.attrelid = c.oid)
    FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid
    UNION ALL
    SELECT n.nspname, 'SCHEMA ' || n.oid::regnamespace, n.nspowner, n.nspacl
    FROM pg_namespace n WHERE d.classid = 'pg_namespace'::regclass AND n.oid = d.objid) o
  WHERE e.extname = 'stripe_sync';
END;
COMMENT ON FUNCTION stripe_sync.members() IS 'The extension''s objects that rights can be held on, as GRANT and REVOKE name them';

CREATE FUNCTION stripe_sync.revoke_all(role oid DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  held record;
BEGIN
  FOR held IN
    SELECT DISTINCT m.target, x.grantee FROM stripe_sync.members() m CROSS JOIN LATERAL aclexplode(m.acl) x
    WHERE x.grantee <> m.owner AND x.grantee = coalesce(role, x.grantee)
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', held.target,
      CASE WHEN held.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(held.grantee)) END);
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.revoke_all(oid) IS 'Takes every right on the extension''s objects from everybody but their owner, or from one role';

CREATE FUNCTION @extschema@.stripe_sync_grant(role regrole, level text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  levels text[] := CASE level WHEN 'reader' THEN '{reader}' WHEN 'operator' THEN '{reader,operator}' END;
  granted record;
BEGIN
  PERFORM stripe_sync.require_grantor(role);
  IF levels IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('level must be ''reader'' or ''operator'', not %L', level),
      DETAIL = 'reader: the views. operator: also the functions that push, look and repair. Webhooks are received by nobody in this version.',
      HINT = format('SELECT stripe_sync_grant(%L, ''reader'');', role::text);
  END IF;
  IF NOT has_schema_privilege(role, '@extschema@'::regnamespace, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('%s may not use the schema that stripe_sync is in', role),
      DETAIL = 'What else that schema holds is not for stripe_sync to give away.',
      HINT = format('GRANT USAGE ON SCHEMA %s TO %s;', '@extschema@'::regnamespace, role);
  END IF;
  FOR granted IN
    SELECT m.target, CASE WHEN starts_with(m.target, 'FUNCTION') THEN 'EXECUTE' ELSE 'SELECT' END AS right
    FROM stripe_sync.access_levels() l JOIN stripe_sync.members() m USING (name) WHERE l.level = ANY (levels)
  LOOP
    EXECUTE format('GRANT %s ON %s TO %s', granted.right, granted.target, role);
  END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_grant(regrole, text) IS 'Lets a role look on (reader: the views) or keep things going (operator: also the functions that push, look and repair). No level gives a right on a table. Only for the extension''s owner';

CREATE FUNCTION @extschema@.stripe_sync_revoke(role regrole) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM stripe_sync.require_grantor(role);
  PERFORM stripe_sync.revoke_all(role);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_revoke(regrole) IS 'Takes from a role all it may do with the extension, whatever it was granted by; then it can be dropped. Only for the extension''s owner';

-- Default privileges of the database may have granted things to roles by name (Supabase does):
-- everything goes back to the owner alone.
SELECT stripe_sync.revoke_all();

-- CREATE EXTENSION hides notices of its script unless asked not to.
SET LOCAL client_min_messages = notice;
DO $$
BEGIN
  RAISE NOTICE USING MESSAGE = 'stripe_sync is installed and dormant. Next: (1) give the server the Stripe key: environment STRIPE_SECRET_KEY, or setting stripe_sync.api_key_file; '
    || '(2) SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once''); (3) SELECT * FROM stripe_sync_check();';
END
$$;
