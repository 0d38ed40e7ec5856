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
  WHERE NOT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = a.promo_table AND t.attname = m.value AND NOT t.attisdropped);
END;
COMMENT ON FUNCTION stripe_sync.table_findings() IS 'What is wrong with the attached tables';

-- Who may change an attached table decides what is sold at which price; who may put a trigger on it
-- has that run as whoever writes, as the owner in the worker.
CREATE FUNCTION stripe_sync.rights_findings()
RETURNS TABLE (item text, status text, detail text, fix text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH held AS (
    SELECT a.promo_table, x.grantee, x.privilege_type = 'TRIGGER' AS trigger,
      CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS role,
      CASE WHEN NOT bool_or(x."column" IS NULL) THEN ' (only ' || string_agg(DISTINCT quote_ident(x."column"), ', ') || ')' ELSE '' END AS columns
    FROM stripe_sync.attachment a JOIN pg_class c ON c.oid = a.promo_table
    CROSS JOIN LATERAL (
      SELECT t.grantee, t.privilege_type, NULL AS "column" FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) t
      UNION ALL
      SELECT t.grantee, t.privilege_type, f.attname::text
      FROM pg_attribute f CROSS JOIN LATERAL aclexplode(f.attacl) t WHERE f.attrelid = c.oid AND NOT f.attisdropped) x
    WHERE x.privilege_type IN ('INSERT', 'UPDATE', 'DELETE') OR x.privilege_type = 'TRIGGER' AND x.grantee <> c.relowner
    GROUP BY a.promo_table, x.grantee, x.privilege_type = 'TRIGGER')
  SELECT 'writers of ' || h.promo_table,
    CASE WHEN bool_or(h.role IN ('PUBLIC', 'anon')) THEN 'warn' ELSE 'ok' END,
    'may insert, update or delete: ' || string_agg(h.role || h.columns, ', ' ORDER BY h.role COLLATE "C")
      || CASE WHEN c.relrowsecurity THEN ' (as far as row level security lets them)' ELSE '' END,
    CASE WHEN bool_or(h.role IN ('PUBLIC', 'anon'))
         THEN format('REVOKE INSERT, UPDATE, DELETE ON %s FROM %s;', h.promo_table,
           string_agg(h.role, ', ' ORDER BY h.role COLLATE "C") FILTER (WHERE h.role IN ('PUBLIC', 'anon'))) END
  FROM held h JOIN pg_class c ON c.oid = h.promo_table WHERE NOT h.trigger GROUP BY h.promo_table, c.relrowsecurity
  UNION ALL
  SELECT 'triggers on ' || h.promo_table, 'warn',
    'may add a trigger, which the worker runs with the owner''s rights: ' || string_agg(h.role, ', ' ORDER BY h.role COLLATE "C"),
    format('REVOKE TRIGGER ON %s FROM %s;', h.promo_table, string_agg(h.role, ', ' ORDER BY h.role COLLATE "C"))
  FROM held h WHERE h.trigger GROUP BY h.promo_table;
END;
COMMENT ON FUNCTION stripe_sync.rights_findings() IS 'Who may write the attached tables, or add triggers to them';

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
    CASE WHEN m.reason IS NULL THEN 'ok' ELSE 'fail' END,
    format('extension %s, library %s', e.extversion, stripe_sync.library_version()), m.fix
  FROM pg_extension e LEFT JOIN stripe_sync.misfit m ON true WHERE e.extname = 'stripe_sync';
  RETURN QUERY SELECT 'machine', 'warn', 'the machine has no id: a copy of the data directory at the same path on another one is not told from the original',
    'Give it one (systemd-machine-id-setup; for a container mount a file of its own as /etc/machine-id), then SELECT stripe_sync_rebind();'
  WHERE get_byte(stripe_sync.host(), 0) = ascii(E'\n');
  IF NOT EXISTS (SELECT FROM stripe_sync.attachment) THEN
    RETURN QUERY SELECT 'tables', 'warn', 'no promo table is attached',
      'SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once'');';
  END IF;
  RETURN QUERY SELECT f.item, f.status, f.detail, f.fix FROM stripe_sync.table_findings() f ORDER BY f.item;
  RETURN QUERY SELECT f.item, f.status, f.detail, f.fix FROM stripe_sync.rights_findings() f ORDER BY f.item DESC;
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_check() IS 'Checks key, account, mode, permissions, worker and attached tables: ok, warn or fail, each with its fix';
