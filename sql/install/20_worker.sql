CREATE FUNCTION stripe_sync.ensure_worker(after_commit boolean) RETURNS void
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'stripe_sync_ensure_worker';
COMMENT ON FUNCTION stripe_sync.ensure_worker(boolean) IS 'Starts a worker for this database unless one runs; after_commit: it looks at nothing before the calling transaction has ended';

CREATE FUNCTION stripe_sync.wake_worker(at_commit boolean) RETURNS boolean
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'stripe_sync_wake_worker';
COMMENT ON FUNCTION stripe_sync.wake_worker(boolean) IS 'Sets the latch of this database''s worker, now or at commit; false if none runs';

CREATE FUNCTION stripe_sync.nap(milliseconds integer) RETURNS void
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'stripe_sync_nap';
COMMENT ON FUNCTION stripe_sync.nap(integer) IS 'Waits on this backend''s latch, interruptibly; between two looks at what the worker did';

CREATE FUNCTION stripe_sync.library_version() RETURNS text
  LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'stripe_sync_library_version';
COMMENT ON FUNCTION stripe_sync.library_version() IS 'Version of the loaded library';

-- The worker asks this before it looks at any table, in every version: it must not fail.
CREATE VIEW stripe_sync.misfit AS
  SELECT format('library %s does not fit extension %s', v.library, v.extension) AS reason,
    CASE WHEN string_to_array(substring(v.extension FROM '^[0-9]+(?:[.][0-9]+)*'), '.')::integer[]
            < string_to_array(substring(v.library FROM '^[0-9]+(?:[.][0-9]+)*'), '.')::integer[]
         THEN 'ALTER EXTENSION stripe_sync UPDATE;'
         ELSE format('Install version %s of the library, and restart the server.', v.extension) END AS fix
  FROM (SELECT e.extversion, stripe_sync.library_version() FROM pg_extension e WHERE e.extname = 'stripe_sync')
    v(extension, library)
  WHERE v.extension <> v.library;
COMMENT ON VIEW stripe_sync.misfit IS 'Why the loaded library must not serve this extension, and what to do; no row = they fit';

CREATE FUNCTION stripe_sync.require_fit() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  misfit record;
BEGIN
  SELECT m.reason, m.fix INTO misfit FROM stripe_sync.misfit m;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = misfit.reason, HINT = misfit.fix;
  END IF;
END
$$;
COMMENT ON FUNCTION stripe_sync.require_fit() IS 'Raises if the loaded library must not serve this extension';

CREATE FUNCTION stripe_sync.host() RETURNS bytea
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'stripe_sync_host';
COMMENT ON FUNCTION stripe_sync.host() IS 'Machine id (a line, empty if there is none) and data directory';

CREATE FUNCTION stripe_sync.here(
  OUT system_identifier text, OUT database oid, OUT host text, OUT timeline integer)
  RETURNS record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT c.system_identifier::text, d.oid, encode(sha256(stripe_sync.host()), 'hex'),
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
  FROM pg_control_system() c, pg_database d
  WHERE d.datname = current_database();
END;
COMMENT ON FUNCTION stripe_sync.here() IS 'Where this database is: what tells it from a copy of it';

CREATE FUNCTION stripe_sync.activate() RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  INSERT INTO stripe_sync.installation (id, system_identifier, database, host, timeline, changed_by)
  SELECT gen_random_uuid()::text, h.system_identifier, h.database, h.host, h.timeline, pg_current_xact_id()
  FROM stripe_sync.here() h
  ON CONFLICT DO NOTHING;
END;
COMMENT ON FUNCTION stripe_sync.activate() IS 'Ends the dormancy of a new installation';

CREATE FUNCTION stripe_sync.operation_key(installation text, account text, mode text, number bigint) RETURNS text
  LANGUAGE sql STABLE STRICT  -- no search_path, so that it becomes a part of the statement at each number
  RETURN 'stripe_sync-' || number::text || '-'
    || encode(sha256(convert_to(installation || '/' || account || '/' || mode || '/' || number::text, 'UTF8')), 'hex');
COMMENT ON FUNCTION stripe_sync.operation_key(text, text, text, bigint) IS 'The idempotency key of an operation';

CREATE FUNCTION stripe_sync.gave_out(key text) RETURNS boolean
  LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM stripe_sync.installation i CROSS JOIN stripe_sync.operation_number o
    CROSS JOIN LATERAL (SELECT substring(key FROM '^stripe_sync-([0-9]{1,18})-')::bigint) k(number)
    WHERE k.number <= o.last_value
      -- the account is not always known (restricted keys)
      AND key IN (stripe_sync.operation_key(i.id, '', i.mode, k.number),
                  stripe_sync.operation_key(i.id, i.account, i.mode, k.number)));
END;
COMMENT ON FUNCTION stripe_sync.gave_out(text) IS 'Whether an idempotency key is that of one of our operations';

CREATE FUNCTION @extschema@.stripe_sync_start() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM stripe_sync.require_fit();
  PERFORM stripe_sync.activate();
  UPDATE stripe_sync.worker SET wanted = true WHERE NOT wanted;
  PERFORM stripe_sync.ensure_worker(after_commit => true);
  PERFORM stripe_sync.wake_worker(at_commit => true);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_start() IS 'Starts this database''s worker (after stripe_sync_stop(), or where the library is not preloaded)';

CREATE FUNCTION @extschema@.stripe_sync_stop() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE stripe_sync.worker SET wanted = false WHERE wanted;
  PERFORM stripe_sync.wake_worker(at_commit => true);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_stop() IS 'Stops this database''s worker, also over restarts, until stripe_sync_start(); changes go on being collected';

CREATE FUNCTION @extschema@.stripe_sync_pause() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE stripe_sync.worker SET paused_since = clock_timestamp() WHERE paused_since IS NULL;
  PERFORM stripe_sync.wake_worker(at_commit => true);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_pause() IS 'Stops all writes to Stripe, also over restarts, until stripe_sync_resume(); changes go on being collected';

CREATE FUNCTION @extschema@.stripe_sync_resume() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE stripe_sync.worker SET paused_since = NULL WHERE paused_since IS NOT NULL;
  PERFORM stripe_sync.wake_worker(at_commit => true);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_resume() IS 'Ends stripe_sync_pause(): what was collected is sent';

CREATE FUNCTION stripe_sync.require_worker() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM stripe_sync.require_fit();
  IF NOT (SELECT w.wanted FROM stripe_sync.worker w) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'the worker of this database is stopped',
      HINT = 'SELECT stripe_sync_start();';
  END IF;
  PERFORM stripe_sync.ensure_worker(after_commit => false);
END
$$;
COMMENT ON FUNCTION stripe_sync.require_worker() IS 'Starts a worker unless one runs; raises if it was stopped on purpose, or its library does not fit';

-- Asks the running worker for something and waits until it says that it has seen to it.
CREATE FUNCTION stripe_sync.ask_worker(request regclass, served text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  number bigint := nextval(request);
  seen bigint;
  absent_since timestamptz;
  looks integer := 0;
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('can''t wait for the worker in a %s transaction', current_setting('transaction_isolation')),
      DETAIL = 'Its snapshot never sees what the worker commits.',
      HINT = 'Call it in a READ COMMITTED transaction.';
  END IF;
  IF NOT EXISTS (SELECT FROM stripe_sync.installation) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'stripe_sync is dormant: nothing is attached yet',
      HINT = 'SELECT * FROM stripe_sync_attach(''promo_codes'', currency => ''usd'', duration => ''once'');';
  END IF;
  IF EXISTS (SELECT FROM stripe_sync.installation i WHERE i.changed_by = pg_current_xact_id_if_assigned()) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'can''t wait for the worker before this transaction has ended',
      DETAIL = 'The worker does not see yet what was attached, started or rebound in it.', HINT = 'COMMIT; first.';
  END IF;
  PERFORM stripe_sync.require_worker();
  LOOP
    EXECUTE format('SELECT %I FROM stripe_sync.worker', served) INTO seen;
    EXIT WHEN seen >= number;
    -- woken once, and again from time to time: it may have been starting
    IF looks % 50 = 0 THEN
      IF stripe_sync.wake_worker(at_commit => false) THEN
        absent_since := NULL;
      ELSE
        absent_since := coalesce(absent_since, clock_timestamp());
        IF clock_timestamp() > absent_since + interval '10 seconds' THEN
          RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'no worker serves this database',
            DETAIL = 'One was started, but it ended at once; the server log says why.',
            HINT = 'SELECT * FROM stripe_sync_health;';
        END IF;
      END IF;
    END IF;
    looks := looks + 1;
    PERFORM stripe_sync.nap(20);
  END LOOP;
  RETURN number;
END
$$;
COMMENT ON FUNCTION stripe_sync.ask_worker(regclass, text) IS 'Asks the worker by a request sequence and waits until the column named in served has reached it';

CREATE FUNCTION stripe_sync.forget_stripe() RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  DELETE FROM stripe_sync.promo_state WHERE deleted;
  UPDATE stripe_sync.promo_state SET observed = NULL, coupon_id = NULL, promotion_code_id = NULL,
    in_flight = NULL, row_hash = NULL, settled = NULL, used_before = NULL, lease = NULL, attempts = 0,
    state = CASE WHEN state IN ('excluded', 'missing') THEN state ELSE 'pending' END,
    next_attempt = CASE WHEN state NOT IN ('excluded', 'missing') THEN clock_timestamp() END,
    changed_at = clock_timestamp(), generation = generation + 1;
END;
COMMENT ON FUNCTION stripe_sync.forget_stripe() IS 'Forgets what was seen in Stripe: every row is looked up or made anew, but those that are left alone or held';

CREATE FUNCTION @extschema@.stripe_sync_rebind(installation text DEFAULT 'keep') RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF installation IS NULL OR installation NOT IN ('keep', 'new') THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('installation must be ''keep'' or ''new'', not %L', installation),
      HINT = 'keep: the original is gone, this database takes its place. new: this is a copy beside the original.';
  END IF;
  UPDATE stripe_sync.installation i SET
    id = CASE installation WHEN 'new' THEN gen_random_uuid()::text ELSE i.id END,
    copy_of = CASE installation WHEN 'new' THEN i.id ELSE i.copy_of END,
    system_identifier = h.system_identifier, database = h.database, host = h.host, timeline = h.timeline,
    rival = NULL, key_fingerprint = NULL, changed_by = pg_current_xact_id()
  FROM stripe_sync.here() h;
  -- a copy may hold an older number than was used, also for what is under way
  PERFORM setval('stripe_sync.operation_number', nextval('stripe_sync.operation_number') + 1000000);
  UPDATE stripe_sync.promo_state s SET in_flight = s.in_flight || '{"spent": true}' WHERE s.in_flight IS NOT NULL;
  -- a server that this was restored to may be at lower numbers
  UPDATE stripe_sync.promo_inbox i SET number = i.number - (1::bigint << 62) WHERE i.number > 0;
  IF installation = 'new' THEN
    INSERT INTO stripe_sync.original
    SELECT s.promotion_code_id FROM stripe_sync.promo_state s WHERE s.promotion_code_id IS NOT NULL
    UNION SELECT p.one ->> 'id' FROM stripe_sync.promo_state s
      CROSS JOIN LATERAL jsonb_array_elements(s.observed -> 'predecessors') p(one)
    ON CONFLICT DO NOTHING;
    PERFORM stripe_sync.forget_stripe();
  END IF;
  PERFORM stripe_sync.ensure_worker(after_commit => true);
  PERFORM stripe_sync.wake_worker(at_commit => true);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_rebind(text) IS 'Accepts a changed key, account, server or copy: keep = this takes the original''s place, new = another installation';
