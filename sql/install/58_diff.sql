CREATE FUNCTION stripe_sync.diff_lock(installation text, code_key text) RETURNS bigint
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
  RETURN ('x' || left(encode(sha256(convert_to(installation || '/' || code_key, 'UTF8')), 'hex'), 16))::bit(64)::bigint;
COMMENT ON FUNCTION stripe_sync.diff_lock(text, text) IS 'What a call of stripe_sync_diff() locks: pg_locks is everybody''s to read, and must not tell which codes there are';

-- A call of stripe_sync_diff() can't write down what it asks for: what it writes is seen by the
-- worker only when it is over. It holds a lock on the code instead (sql/diff.cpp), which ends with
-- it, however it ends.
CREATE VIEW stripe_sync.diff_wanted AS
  SELECT DISTINCT l.classid::bigint << 32 | l.objid::bigint AS lock
  FROM pg_locks l JOIN pg_database d ON d.oid = l.database
  WHERE l.locktype = 'advisory' AND l.objsubid = 4 AND l.granted AND d.datname = current_database();
COMMENT ON VIEW stripe_sync.diff_wanted IS 'Locks on the codes that calls of stripe_sync_diff() wait for';

CREATE FUNCTION stripe_sync.forget_diffs() RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  DELETE FROM stripe_sync.diff d USING stripe_sync.installation i
  WHERE stripe_sync.diff_lock(i.id, d.code_key) NOT IN (SELECT w.lock FROM stripe_sync.diff_wanted w);
END;
COMMENT ON FUNCTION stripe_sync.forget_diffs() IS 'Removes what was found for calls that no longer wait';

CREATE FUNCTION stripe_sync.store_diffs(request bigint, lines jsonb) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  -- whoever still waits is told what is found now, if anything is
  DELETE FROM stripe_sync.diff;
  INSERT INTO stripe_sync.diff (code_key, line, promo_table, key, step, action, field, database, stripe, why, next, sqlstate, detail)
  SELECT l.code_key, l.line, l.promo_table, l.key, l.step, l.action, l.field, l.database, l.stripe, l.why, l.next, l.sqlstate, l.detail
  FROM ROWS FROM (jsonb_to_recordset(lines) AS (code_key text, promo_table oid, key text, step integer, action text, field text,
    database text, stripe text, why text, next text, sqlstate text, detail text)) WITH ORDINALITY
    l(code_key, promo_table, key, step, action, field, database, stripe, why, next, sqlstate, detail, line)
  CROSS JOIN stripe_sync.installation i
  WHERE stripe_sync.diff_lock(i.id, l.code_key) IN (SELECT w.lock FROM stripe_sync.diff_wanted w);
  UPDATE stripe_sync.worker SET diffs_done = request WHERE diffs_done < request;
END;
COMMENT ON FUNCTION stripe_sync.store_diffs(bigint, jsonb) IS 'Keeps what was found for the calls that wait, up to that request';

CREATE FUNCTION stripe_sync.refuse_diffs(request bigint, sqlstate text, message text, detail text, hint text) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT stripe_sync.store_diffs(request, (
    SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('code_key', c.code_key, 'sqlstate', refuse_diffs.sqlstate,
      'why', refuse_diffs.message, 'detail', refuse_diffs.detail, 'next', refuse_diffs.hint)), '[]')
    FROM stripe_sync.promo_current c CROSS JOIN stripe_sync.installation i
    WHERE stripe_sync.diff_lock(i.id, c.code_key) IN (SELECT w.lock FROM stripe_sync.diff_wanted w)));
END;
COMMENT ON FUNCTION stripe_sync.refuse_diffs(bigint, text, text, text, text) IS 'Tells the calls that wait why nothing can be found';

CREATE FUNCTION @extschema@.stripe_sync_diff(code text)
RETURNS TABLE (step integer, action text, field text, database text, stripe text, why text, next text, promo_table regclass, key text)
LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_diff';
COMMENT ON FUNCTION @extschema@.stripe_sync_diff(text) IS 'What a push of the code would do, against Stripe as it is now, and nothing of it done: each operation field by field, what the database says, what Stripe holds, and why; or why nothing is done';
