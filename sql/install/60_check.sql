-- Everybody but the owner who may change an attached table decides what is sold at which price.
CREATE FUNCTION stripe_sync.table_findings()
RETURNS TABLE (item text, status text, detail text, fix text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT 'table ' || a.promo_table, 'fail', 'the table no longer exists',
    format('SELECT stripe_sync_detach(%s);', a.promo_table::oid)
  FROM stripe_sync.attachment a
  WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = a.promo_table)
  UNION ALL
  SELECT 'table ' || a.promo_table,
    CASE WHEN t.enabled = 5 THEN 'ok' ELSE 'fail' END,
    CASE WHEN t.enabled = 5 THEN 'attached; owner ' || c.relowner::regrole ELSE 'triggers are missing or disabled: changes are found late' END,
    CASE WHEN t.enabled <> 5 THEN stripe_sync.attach_command(a) END
  FROM stripe_sync.attachment a JOIN pg_class c ON c.oid = a.promo_table
  CROSS JOIN LATERAL (
    SELECT count(*) AS enabled FROM pg_trigger g
    WHERE g.tgrelid = a.promo_table AND starts_with(g.tgname::text, 'zzzz_stripe_sync') AND g.tgenabled IN ('O', 'A')) t
  UNION ALL
  SELECT 'table ' || a.promo_table, 'fail', 'column ' || (m.value) || ' no longer exists',
    'correct map, then: ' || stripe_sync.attach_command(a)
  FROM stripe_sync.attachment a JOIN pg_class c ON c.oid = a.promo_table, LATERAL (
    SELECT e.value FROM jsonb_each_text(a.columns) e UNION SELECT unnest(a.key_columns)) m
  WHERE NOT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = a.promo_table AND t.attname = m.value AND NOT t.attisdropped)
  UNION ALL
  SELECT 'writers of ' || a.promo_table,
    CASE WHEN bool_or(x.grantee = 0 OR r.rolname = 'anon') THEN 'warn' ELSE 'ok' END,
    'may insert, update or delete: ' || string_agg(DISTINCT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, ', ')
      || CASE WHEN c.relrowsecurity THEN ' (row level security is on)' ELSE '' END,
    CASE WHEN bool_or(x.grantee = 0 OR r.rolname = 'anon')
         THEN format('REVOKE INSERT, UPDATE, DELETE ON %s FROM PUBLIC, anon; unless policies keep strangers out', a.promo_table) END
  FROM stripe_sync.attachment a JOIN pg_class c ON c.oid = a.promo_table
  CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x
  LEFT JOIN pg_roles r ON r.oid = x.grantee
  WHERE x.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
  GROUP BY a.promo_table, c.relrowsecurity;
END;
COMMENT ON FUNCTION stripe_sync.table_findings() IS 'What is wrong with the attached tables, and who may write them';

CREATE FUNCTION @extschema@.stripe_sync_check()
RETURNS TABLE (item text, status text, detail text, fix text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  failure text;
  advice text;
BEGIN
  BEGIN
    PERFORM stripe_sync.ask_worker('stripe_sync.check_request', 'checks_done');
    RETURN QUERY SELECT 'worker', 'ok', 'runs as process ' || r.pid, NULL FROM stripe_sync.running_worker r;
    RETURN QUERY SELECT p.item, p.status, p.detail, p.fix FROM stripe_sync.probe p ORDER BY p.checked_at, p.item;
  EXCEPTION WHEN SQLSTATE 'SY004' THEN
    GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT 'worker', 'fail', failure, advice;
  END;
  RETURN QUERY SELECT 'version',
    CASE WHEN e.extversion = stripe_sync.library_version() THEN 'ok' ELSE 'warn' END,
    format('extension %s, library %s', e.extversion, stripe_sync.library_version()),
    CASE WHEN e.extversion <> stripe_sync.library_version() THEN 'ALTER EXTENSION stripe_sync UPDATE; and restart the server' END
  FROM pg_extension e WHERE e.extname = 'stripe_sync';
  IF NOT EXISTS (SELECT FROM stripe_sync.attachment) THEN
    RETURN QUERY SELECT 'tables', 'warn', 'no promo table is attached',
      'SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once'');';
  END IF;
  RETURN QUERY SELECT f.item, f.status, f.detail, f.fix FROM stripe_sync.table_findings() f ORDER BY f.item;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_check() IS 'Checks key, account, mode, permissions, worker and attached tables: ok, warn or fail, each with its fix';
