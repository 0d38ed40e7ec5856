CREATE FUNCTION stripe_sync.promo_before_row() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_promo_before_row';
COMMENT ON FUNCTION stripe_sync.promo_before_row() IS 'Marks an inserted or changed promo row pending';
CREATE FUNCTION stripe_sync.promo_after_statement() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_promo_after_statement';
COMMENT ON FUNCTION stripe_sync.promo_after_statement() IS 'Puts a statement''s changes of promo rows into stripe_sync.promo_inbox and wakes the worker at commit';

CREATE FUNCTION stripe_sync.promo_items(
  OUT item text, OUT role text, OUT type text, OUT missing text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  VALUES
    ('code', 'required', NULL, NULL),
    ('discount_type', 'required', NULL, NULL),
    ('discount_value', 'required', NULL, NULL),
    ('description', 'watched', NULL, 'codes get no name'),
    ('custom_monthly_price', 'watched', NULL, 'no monthly custom prices'),
    ('custom_yearly_price', 'watched', NULL, 'no yearly custom prices'),
    ('max_uses', 'watched', NULL, 'codes are unlimited'),
    ('used_count', 'read', NULL, 'uses before the first push are not known'),
    ('starts_at', 'watched', NULL, 'codes start at once'),
    ('expires_at', 'watched', NULL, 'codes never expire'),
    ('is_active', 'watched', NULL, 'codes are always active'),
    ('currency', 'addable', 'text', NULL),
    ('duration', 'addable', 'text', NULL),
    ('duration_in_months', 'addable', 'integer', NULL),
    ('stripe_product_id', 'addable', 'text', NULL),
    ('stripe_price_id', 'addable', 'text', NULL),
    ('first_time_only', 'watched', NULL, 'not restricted to first orders'),
    ('minimum_amount', 'watched', NULL, 'no minimum order amount'),
    ('stripe_customer_id', 'watched', NULL, 'not restricted to one customer'),
    ('stripe_coupon_id', 'sync', 'text', NULL),
    ('stripe_promotion_code_id', 'sync', 'text', NULL),
    ('sync_status', 'sync', 'text DEFAULT ''pending''', NULL),
    ('synced_at', 'sync', 'timestamptz', NULL),
    ('sync_error', 'sync', 'text', NULL);
END;
COMMENT ON FUNCTION stripe_sync.promo_items() IS 'The items of a promo code: required, watched for changes, added on request, or written back';

-- Refuses what can't be kept in step; returns the key's columns.
CREATE FUNCTION stripe_sync.attachable(promo_table regclass) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  class pg_class := (SELECT c FROM pg_class c WHERE c.oid = promo_table);
  keys text[];
  unstable record;
BEGIN
  IF class.oid IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = 'the promo table does not exist';
  END IF;
  IF class.relkind NOT IN ('r', 'p') OR class.relpersistence = 't' THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('%s can''t be attached: it is not a permanent table', promo_table),
      HINT = 'Attach the table that holds the promo codes, not a view of it.';
  END IF;
  IF class.relispartition THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('%s can''t be attached: it is a partition', promo_table),
      HINT = 'Attach the partitioned table.';
  END IF;
  IF class.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE promo_table IN (i.inhparent, i.inhrelid)) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('%s can''t be attached: it inherits, or is inherited from', promo_table),
      HINT = 'Attach a table of its own, or a partitioned table.';
  END IF;
  IF class.relforcerowsecurity THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('%s can''t be attached: it forces row level security on its owner', promo_table),
      DETAIL = 'The worker reads the table as its owner and would see no rows, or not all.',
      HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', promo_table);
  END IF;
  SELECT array_agg(a.attname::text ORDER BY k.n) INTO keys
  FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, n), pg_attribute a
  WHERE i.indrelid = promo_table AND i.indisprimary AND k.n <= i.indnkeyatts
    AND a.attrelid = promo_table AND a.attnum = k.attnum;
  IF keys IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('%s can''t be attached: it has no primary key', promo_table),
      DETAIL = 'A row must be found again after its code was pushed.',
      HINT = format('ALTER TABLE %s ADD PRIMARY KEY (id);', promo_table);
  END IF;
  -- state is kept under the key's text, which must be the same in every session
  FOR unstable IN
    SELECT a.attname, format_type(a.atttypid, NULL) AS type
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = promo_table AND a.attname = ANY (keys)
      AND (t.typcategory IN ('A', 'C', 'D', 'R', 'T') OR coalesce(nullif(t.typbasetype, 0), t.oid) IN
           ('float4'::regtype, 'float8'::regtype, 'bytea'::regtype, 'money'::regtype))
  LOOP
    RAISE EXCEPTION USING ERRCODE = 'SY004',
      MESSAGE = format('%s can''t be attached: its key column "%s" is of type %s', promo_table, unstable.attname, unstable.type),
      DETAIL = 'How such a value is written depends on the session''s settings.',
      HINT = 'Give the table a primary key of uuid, integer or text.';
  END LOOP;
  RETURN keys;
END
$$;
COMMENT ON FUNCTION stripe_sync.attachable(regclass) IS 'Key columns of a table that can be attached; an error says why another can''t';

CREATE FUNCTION stripe_sync.mapping(
  promo_table regclass, map jsonb, add_columns boolean,
  OUT item text, OUT role text, OUT type text, OUT missing text, OUT "column" text, OUT found boolean,
  OUT "position" bigint)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT i.item, i.role, i.type, i.missing,
    CASE WHEN a.attname IS NOT NULL OR i.role = 'sync' OR i.role = 'addable' AND add_columns
         THEN coalesce(map ->> i.item, i.item) END,
    a.attname IS NOT NULL, i."position"
  FROM stripe_sync.promo_items() WITH ORDINALITY i(item, role, type, missing, "position")
  LEFT JOIN pg_attribute a ON a.attrelid = promo_table
    AND a.attname = coalesce(map ->> i.item, i.item) AND a.attnum > 0 AND NOT a.attisdropped;
END;
COMMENT ON FUNCTION stripe_sync.mapping(regclass, jsonb, boolean) IS 'Which column holds each item';

CREATE FUNCTION stripe_sync.check_map(promo_table regclass, map jsonb, add_columns boolean) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry record;
BEGIN
  IF jsonb_typeof(map) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = 'map must be a JSON object of item and column',
      HINT = 'map => ''{"code": "coupon_text"}''';
  END IF;
  FOR entry IN
    SELECT m.key AS item, m.value AS "column", i.item IS NOT NULL AS known,
      a.attname IS NOT NULL OR i.role = 'sync' OR i.role = 'addable' AND add_columns AS found
    FROM jsonb_each_text(map) m
    LEFT JOIN stripe_sync.promo_items() i ON i.item = m.key
    LEFT JOIN pg_attribute a ON a.attrelid = promo_table AND a.attname = m.value
      AND a.attnum > 0 AND NOT a.attisdropped
  LOOP
    IF NOT entry.known THEN
      RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('map names no item of a promo code: "%s"', entry.item),
        HINT = 'Items: ' || (SELECT string_agg(i.item, ', ') FROM stripe_sync.promo_items() i) || '.';
    ELSIF NOT entry.found THEN
      RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('%s has no column "%s" for %s', promo_table, entry."column", entry.item),
        HINT = 'Name an existing column in map, or leave the item out.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.check_map(regclass, jsonb, boolean) IS 'Refuses a map that names an unknown item or a column that does not exist';

-- We write the sync columns, within the application's own statements too.
CREATE FUNCTION stripe_sync.check_mapping(promo_table regclass, keys text[], map jsonb, add_columns boolean) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry record;
BEGIN
  FOR entry IN SELECT m.* FROM stripe_sync.mapping(promo_table, map, add_columns) m WHERE m.role = 'required' AND NOT m.found LOOP
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('%s has no column for %s', promo_table, entry.item),
      HINT = format('Name the column that holds it: map => ''{"%s": "..."}''', entry.item);
  END LOOP;
  FOR entry IN
    SELECT m."column", string_agg(m.item, ' and ' ORDER BY m."position") AS items
    FROM stripe_sync.mapping(promo_table, map, add_columns) m WHERE m."column" IS NOT NULL
    GROUP BY m."column" HAVING count(*) > 1
  LOOP
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('column "%s" of %s is mapped to %s', entry."column", promo_table, entry.items),
      HINT = 'Give each item a column of its own in map.';
  END LOOP;
  FOR entry IN
    SELECT m.item, m."column",
      CASE WHEN m."column" = ANY (keys) THEN 'It belongs to the primary key.'
           WHEN a.attgenerated <> '' OR a.attidentity = 'a' THEN 'Its value is generated.'
           ELSE 'It is NOT NULL, and empties when nothing is wrong.' END AS why
    FROM stripe_sync.mapping(promo_table, map, add_columns) m
    JOIN pg_attribute a ON a.attrelid = promo_table AND a.attname = m."column"
    WHERE m.role = 'sync' AND (m."column" = ANY (keys) OR a.attgenerated <> '' OR a.attidentity = 'a'
      OR m.item = 'sync_error' AND a.attnotnull)
  LOOP
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('column "%s" of %s can''t be written for %s', entry."column", promo_table, entry.item),
      DETAIL = entry.why,
      HINT = format('Name another column: map => ''{"%s": "..."}''; it is added if it does not exist.', entry.item);
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.check_mapping(regclass, text[], jsonb, boolean) IS 'Refuses a mapping that lacks a required item, uses a column twice, or would write what can''t be written';

CREATE FUNCTION stripe_sync.install_triggers(
  promo_table regclass, key_columns text[], watched text[], code_column text, active_column text, sync_columns text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  event record;
  -- as sql/promo_trigger.hpp reads them; few, for every statement copies them
  arguments text := (SELECT string_agg(quote_literal(a.argument), ', ' ORDER BY a.n)
    FROM unnest(ARRAY[code_column, coalesce(active_column, '')] || sync_columns || cardinality(key_columns)::text || key_columns)
      WITH ORDINALITY a(argument, n));
BEGIN
  PERFORM stripe_sync.remove_triggers(promo_table);
  EXECUTE format('CREATE TRIGGER zzzz_stripe_sync BEFORE INSERT OR UPDATE ON %s FOR EACH ROW
    EXECUTE FUNCTION stripe_sync.promo_before_row(%s)', promo_table,
    concat_ws(', ', arguments, (SELECT string_agg(quote_literal(w), ', ') FROM unnest(watched) w)));
  FOR event IN
    SELECT * FROM (VALUES
      ('insert', 'REFERENCING NEW TABLE AS stripe_sync_new'),
      ('update', 'REFERENCING OLD TABLE AS stripe_sync_old NEW TABLE AS stripe_sync_new'),
      ('delete', 'REFERENCING OLD TABLE AS stripe_sync_old'),
      ('truncate', '')) e(name, tables)
  LOOP
    EXECUTE format('CREATE TRIGGER zzzz_stripe_sync_%s AFTER %s ON %s %s FOR EACH STATEMENT
      EXECUTE FUNCTION stripe_sync.promo_after_statement(%s)',
      event.name, event.name, promo_table, event.tables, arguments);
  END LOOP;
  -- DROP EXTENSION then takes the triggers along, and nothing else of the user's
  FOR event IN
    SELECT t.tgname AS name FROM pg_trigger t WHERE t.tgrelid = promo_table AND starts_with(t.tgname::text, 'zzzz_stripe_sync')
  LOOP
    EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION stripe_sync', event.name, promo_table);
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.install_triggers(regclass, text[], text[], text, text, text[]) IS 'Puts our triggers on a promo table, replacing earlier ones';

CREATE FUNCTION stripe_sync.remove_triggers(promo_table regclass) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name name;
BEGIN
  FOR name IN
    SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = promo_table AND t.tgparentid = 0
      AND p.pronamespace = 'stripe_sync'::regnamespace
  LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', name, promo_table);
  END LOOP;
END
$$;
COMMENT ON FUNCTION stripe_sync.remove_triggers(regclass) IS 'Takes our triggers off a promo table';

CREATE FUNCTION stripe_sync.attach_table(
  promo_table regclass, currency text, duration text, duration_in_months integer,
  monthly_price text, yearly_price text, products text[], map jsonb, add_columns boolean, dry_run boolean)
RETURNS TABLE (item text, status text, source text, note text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  keys text[] := stripe_sync.attachable(promo_table);
  entry record;
  columns jsonb;
BEGIN
  map := coalesce(map, '{}');
  PERFORM stripe_sync.check_map(promo_table, map, add_columns);
  PERFORM stripe_sync.check_mapping(promo_table, keys, map, add_columns);
  IF duration IS NULL AND NOT EXISTS (SELECT FROM stripe_sync.mapping(promo_table, map, add_columns) m WHERE m.item = 'duration' AND m."column" IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('nothing says how long the discounts of %s last', promo_table),
      DETAIL = 'Stripe needs a duration for every coupon: once, repeating or forever.',
      HINT = format('SELECT * FROM stripe_sync_attach(%L, duration => ''once''), or add_columns => true and say it per row.', promo_table);
  END IF;

  PERFORM stripe_sync.mirror_schema();

  IF NOT dry_run THEN
    PERFORM stripe_sync.ensure_history();
    FOR entry IN SELECT m.* FROM stripe_sync.mapping(promo_table, map, add_columns) m WHERE m."column" IS NOT NULL AND NOT m.found LOOP
      EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', promo_table, entry."column", entry.type);
    END LOOP;
    columns := (SELECT jsonb_object_agg(m.item, m."column") FROM stripe_sync.mapping(promo_table, map, add_columns) m WHERE m."column" IS NOT NULL);
    INSERT INTO stripe_sync.attachment AS a
      VALUES (promo_table, columns, keys, currency, duration, duration_in_months, monthly_price, yearly_price, products)
      ON CONFLICT ON CONSTRAINT attachment_pkey DO UPDATE SET columns = excluded.columns, key_columns = excluded.key_columns,
        currency = excluded.currency, duration = excluded.duration, duration_in_months = excluded.duration_in_months,
        monthly_price = excluded.monthly_price, yearly_price = excluded.yearly_price, products = excluded.products;
    PERFORM stripe_sync.install_triggers(promo_table, keys,
      (SELECT array_agg(m."column") FROM stripe_sync.mapping(promo_table, map, false) m WHERE m.role IN ('required', 'watched', 'addable') AND m.found),
      columns ->> 'code', columns ->> 'is_active',
      ARRAY[columns ->> 'stripe_coupon_id', columns ->> 'stripe_promotion_code_id', columns ->> 'sync_status', columns ->> 'synced_at', columns ->> 'sync_error']);
    PERFORM stripe_sync.activate();
  END IF;

  RETURN QUERY SELECT * FROM stripe_sync.attach_report(promo_table, map, add_columns, dry_run,
    jsonb_build_object('currency', currency, 'duration', duration, 'duration_in_months', duration_in_months,
      'stripe_price_id', concat_ws(', ', monthly_price, yearly_price), 'stripe_product_id', array_to_string(products, ', ')));
END
$$;
COMMENT ON FUNCTION stripe_sync.attach_table(regclass, text, text, integer, text, text, text[], jsonb, boolean, boolean) IS 'stripe_sync_attach() after its checks, as the extension''s owner';

CREATE FUNCTION stripe_sync.attach_report(promo_table regclass, map jsonb, add_columns boolean, dry_run boolean, arguments jsonb)
RETURNS TABLE (item text, status text, source text, note text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT r.item, r.status, r.source, r.note FROM (
  SELECT m."position", m.item,
    CASE WHEN m.found OR m."column" IS NOT NULL AND NOT dry_run THEN 'found'
         WHEN m."column" IS NOT NULL THEN 'to add'
         WHEN arguments ->> m.item <> '' THEN 'inherited'
         ELSE 'missing' END,
    CASE WHEN m."column" IS NOT NULL THEN 'column ' || m."column"
         WHEN arguments ->> m.item <> '' THEN 'argument: ' || (arguments ->> m.item) END,
    CASE WHEN m."column" IS NOT NULL OR arguments ->> m.item <> '' THEN NULL
         WHEN m.item = 'currency' THEN 'fixed and custom price codes are parked: give currency => ''usd''' || ', or add_columns => true'
         WHEN m.item = 'stripe_price_id' THEN 'custom price codes are parked: give monthly_price => ''price_...'''
         WHEN m.item = 'duration_in_months' THEN 'only needed where duration is repeating'
         WHEN m.item = 'stripe_product_id' THEN 'discounts apply to every product: give products => ARRAY[''prod_...''] to restrict them'
         ELSE m.missing END
  FROM stripe_sync.mapping(promo_table, map, add_columns) m
  UNION ALL
  SELECT NULL, 'trigger ' || t.tgname, 'warning', 'trigger ' || t.tgname,
    'fires after ours and may change what was taken over: rename it to sort before zzzz_stripe_sync'
  FROM pg_trigger t
  WHERE t.tgrelid = promo_table AND t.tgname COLLATE "C" > 'zzzz_stripe_sync' AND NOT t.tgisinternal
    AND t.tgtype & 3 = 3 AND NOT starts_with(t.tgname::text, 'zzzz_stripe_sync')
  ) r("position", item, status, source, note)
  ORDER BY r."position", r.item;
END;
COMMENT ON FUNCTION stripe_sync.attach_report(regclass, jsonb, boolean, boolean, jsonb) IS 'What attaching found, inherits and misses';

CREATE FUNCTION @extschema@.stripe_sync_attach(
  promo_table regclass, currency text DEFAULT NULL, duration text DEFAULT NULL, duration_in_months integer DEFAULT NULL,
  monthly_price text DEFAULT NULL, yearly_price text DEFAULT NULL, products text[] DEFAULT NULL,
  map jsonb DEFAULT NULL, add_columns boolean DEFAULT false, dry_run boolean DEFAULT false)
RETURNS TABLE (item text, status text, source text, note text)
LANGUAGE c AS 'MODULE_PATHNAME', 'stripe_sync_attach';
COMMENT ON FUNCTION @extschema@.stripe_sync_attach(regclass, text, text, integer, text, text, text[], jsonb, boolean, boolean) IS 'Takes a promo table: its codes are pushed to Stripe from now on. Returns what each item is taken from. Again: new settings. Only for the table''s owner';

CREATE FUNCTION stripe_sync.attach_command(a stripe_sync.attachment) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT 'SELECT * FROM stripe_sync_attach(' || concat_ws(', ', quote_literal(a.promo_table),
    'currency => ' || quote_literal(a.currency), 'duration => ' || quote_literal(a.duration),
    'duration_in_months => ' || a.duration_in_months, 'monthly_price => ' || quote_literal(a.monthly_price),
    'yearly_price => ' || quote_literal(a.yearly_price), 'products => ' || quote_literal(a.products),
    'map => ' || quote_literal((SELECT jsonb_object_agg(m.key, m.value) FROM jsonb_each_text(a.columns) m WHERE m.key <> m.value)))
    || ');';
END;
COMMENT ON FUNCTION stripe_sync.attach_command(stripe_sync.attachment) IS 'The command that attaches a table again as it is attached';

CREATE FUNCTION stripe_sync.retry_conflicts(code_keys text[]) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  INSERT INTO stripe_sync.promo_inbox (number, promo_table, change, key)
  SELECT (SELECT stripe_sync.change_number()), s.promo_table, 'retried', s.key
  FROM stripe_sync.promo_state s JOIN (SELECT DISTINCT u.code_key FROM unnest(code_keys) u(code_key)) k ON k.code_key = s.code_key
  WHERE s.state = 'conflict' AND NOT s.deleted;
END;
COMMENT ON FUNCTION stripe_sync.retry_conflicts(text[]) IS 'Looks again at rows that were refused these codes: what stood in their way may be gone';

CREATE FUNCTION stripe_sync.detach_table(promo_table regclass) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  codes text[];
BEGIN
  PERFORM stripe_sync.remove_triggers(promo_table);
  DELETE FROM stripe_sync.promo_inbox i WHERE i.promo_table = promo_table;
  WITH forgotten AS (DELETE FROM stripe_sync.promo_state s WHERE s.promo_table = promo_table RETURNING s.code_key)
  SELECT array_agg(f.code_key) INTO codes FROM forgotten f;
  PERFORM stripe_sync.retry_conflicts(codes);
  PERFORM stripe_sync.wake_worker(at_commit => true);
  DELETE FROM stripe_sync.attachment a WHERE a.promo_table = promo_table;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('%s is not attached', promo_table),
      HINT = 'SELECT * FROM stripe_sync_status;';
  END IF;
END
$$;
COMMENT ON FUNCTION stripe_sync.detach_table(regclass) IS 'stripe_sync_detach() after its checks, as the extension''s owner';

CREATE FUNCTION @extschema@.stripe_sync_detach(promo_table regclass) RETURNS void
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'stripe_sync_detach';
COMMENT ON FUNCTION @extschema@.stripe_sync_detach(regclass) IS 'Lets a promo table go: removes our triggers and state; its columns and Stripe''s objects stay. Only for the table''s owner';

CREATE FUNCTION @extschema@.stripe_sync_create_promo_tables(in_schema name DEFAULT 'public') RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tables text[] := ARRAY[format('%I.promo_codes', in_schema), format('%I.promo_code_usage', in_schema)];
  granted record;
BEGIN
  IF in_schema IS NULL OR NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = in_schema) THEN
    RAISE EXCEPTION USING ERRCODE = 'SY004', MESSAGE = format('there is no schema %L to create the tables in', in_schema),
      HINT = format('CREATE SCHEMA %I; or name another.', coalesce(in_schema, 'shop'));
  END IF;
  EXECUTE format($sql$
    CREATE TABLE %1$I.promo_codes (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      code text NOT NULL CHECK (code ~ '^[A-Za-z0-9-]+$'),
      description text NOT NULL DEFAULT '',
      discount_type text NOT NULL CHECK (discount_type IN ('fixed', 'percentage', 'custom_price')),
      discount_value numeric(12,3),
      custom_monthly_price numeric(12,3) CHECK (custom_monthly_price >= 0),
      custom_yearly_price numeric(12,3) CHECK (custom_yearly_price >= 0),
      currency text,
      duration text CHECK (duration IN ('once', 'repeating', 'forever')),
      duration_in_months integer CHECK (duration_in_months > 0),
      stripe_product_id text,
      stripe_price_id text,
      max_uses integer CHECK (max_uses > 0),
      used_count integer NOT NULL DEFAULT 0,
      starts_at timestamptz DEFAULT now(),
      expires_at timestamptz,
      is_active boolean NOT NULL DEFAULT true,
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now(),
      created_by text,
      notes text,
      target_customer text,
      stripe_coupon_id text,
      stripe_promotion_code_id text UNIQUE,
      sync_status text DEFAULT 'pending' CHECK (sync_status IN ('pending', 'synced', 'error', 'manual')),
      synced_at timestamptz,
      sync_error text,
      CONSTRAINT percentage_value CHECK (discount_type <> 'percentage' OR discount_value IS NOT NULL AND discount_value > 0 AND discount_value <= 100),
      CONSTRAINT fixed_value CHECK (discount_type <> 'fixed' OR discount_value IS NOT NULL AND discount_value > 0 AND currency IS NOT NULL),
      CONSTRAINT custom_price_value CHECK (discount_type <> 'custom_price' OR coalesce(custom_monthly_price, custom_yearly_price) IS NOT NULL),
      CONSTRAINT duration_given CHECK (discount_type = 'custom_price' OR duration IS NOT NULL),
      CONSTRAINT repeating_months CHECK (duration <> 'repeating' OR duration_in_months IS NOT NULL)
    );
    CREATE UNIQUE INDEX promo_codes_code ON %1$I.promo_codes (lower(code));
    CREATE TABLE %1$I.promo_code_usage (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      promo_code_id uuid REFERENCES %1$I.promo_codes (id) ON DELETE CASCADE,
      used_at timestamptz NOT NULL DEFAULT now(),
      used_by_email text,
      order_amount numeric(12,3),
      discount_amount numeric(12,3),
      final_amount numeric(12,3),
      plan_selected text,
      metadata jsonb
    );
    CREATE INDEX promo_code_usage_code ON %1$I.promo_code_usage (promo_code_id);
  $sql$, in_schema);
  -- what default privileges gave away
  FOR granted IN
    SELECT DISTINCT c.oid::regclass AS name,
      CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS role
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x
    WHERE c.oid = ANY (tables::regclass[]::oid[]) AND x.grantee <> c.relowner
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', granted.name, granted.role);
  END LOOP;
  PERFORM @extschema@.stripe_sync_attach(tables[1]::regclass);
END
$$;
COMMENT ON FUNCTION @extschema@.stripe_sync_create_promo_tables(name) IS 'Creates promo_codes and promo_code_usage, owned by the caller, for an application that has none, and attaches promo_codes';
