-- What an application's owner, who is no superuser, can put around a promo table to have code run
-- with other people's rights. Run by app_owner, who owns the database. Every trap reports in the
-- server log, which no rollback takes back: EVIL|trap|current user|is superuser|process,
-- and EVIL-WON|... when an attempt to gain something went through.

CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SET search_path = pg_catalog;

-- What runs at commit would run outside of any restriction.
CREATE TABLE evil.bait (n integer);
GRANT ALL ON evil.bait TO PUBLIC;

CREATE FUNCTION evil.mark(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  who text := current_user;
  boss text := (SELECT r.rolname FROM pg_roles r WHERE r.oid = 10);
  attempt text;
BEGIN
  RAISE LOG 'EVIL|%|%|%|%', what, who, (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = who),
    CASE current_setting('application_name') WHEN '' THEN 'worker' ELSE 'session' END;
  IF current_setting('evil.tried', true) = what || who THEN
    RETURN;
  END IF;
  PERFORM set_config('evil.tried', what || who, false);
  FOREACH attempt IN ARRAY ARRAY[
    format('SET SESSION AUTHORIZATION %I', boss), 'RESET SESSION AUTHORIZATION',
    format('SET ROLE %I', boss), 'SET ROLE NONE', 'RESET ROLE']
  LOOP
    BEGIN
      EXECUTE attempt;
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
    IF (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) AND who <> boss THEN
      RAISE LOG 'EVIL-WON|%|%|%', what, who, attempt;
    END IF;
  END LOOP;
  FOREACH attempt IN ARRAY ARRAY[
    'CREATE ROLE evil_superuser SUPERUSER',
    'ALTER ROLE app_owner SUPERUSER',
    'ALTER ROLE app_role SUPERUSER',
    format('GRANT %I TO app_owner', boss),
    'SELECT pg_read_file(''PG_VERSION'')',
    'COPY (SELECT 1) TO PROGRAM ''true''',
    'SET session_replication_role = replica',
    'SET stripe_sync.api_base = ''http://127.0.0.1:1''',
    'SELECT * FROM stripe_sync.installation',
    'UPDATE stripe_sync.worker SET wanted = false',
    'UPDATE stripe_sync.promo_state SET state = ''synced''',
    'SELECT nextval(''stripe_sync.operation_number'')',
    'SELECT stripe_sync.activate()',
    'SELECT stripe_sync.ensure_worker(false)',
    'SELECT public.stripe_sync_stop()',
    'SELECT public.stripe_sync_rebind(''new'')',
    'ALTER FUNCTION public.stripe_sync_start() RESET ALL',
    'CREATE OR REPLACE FUNCTION stripe_sync.activate() RETURNS void LANGUAGE sql AS ''SELECT''',
    'GRANT EXECUTE ON FUNCTION public.stripe_sync_start() TO app_role',
    'CREATE TRIGGER mine BEFORE INSERT ON evil.bait FOR EACH ROW EXECUTE FUNCTION stripe_sync.promo_before_row()',
    'CREATE TABLE stripe_sync.mine (n integer)']
  LOOP
    BEGIN
      EXECUTE attempt;
      RAISE LOG 'EVIL-WON|%|%|%', what, who, attempt;
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
  IF current_setting('application_name') = '' THEN  -- what the worker needs; in a session that is the user's own
    FOREACH attempt IN ARRAY ARRAY['SELECT pg_advisory_unlock_all()', 'SELECT pg_terminate_backend(pg_backend_pid())',
      'DISCARD ALL', 'DEALLOCATE ALL', 'CLOSE ALL', 'UNLISTEN *', 'RESET ALL', 'LISTEN evil']
    LOOP
      BEGIN
        EXECUTE attempt;
      EXCEPTION WHEN OTHERS THEN
        NULL;
      END;
    END LOOP;
  END IF;
  BEGIN
    SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO evil.bait VALUES (1);
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
END
$$;

CREATE FUNCTION evil.yes(what text, value text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN PERFORM evil.mark(what); RETURN true; END $$;
CREATE FUNCTION evil.say(what text, value text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN PERFORM evil.mark(what); RETURN value; END $$;
CREATE FUNCTION evil.twice(value numeric) RETURNS numeric IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN PERFORM evil.mark('generated column'); RETURN value OPERATOR(pg_catalog.*) 2; END $$;

-- Settings made by a trap end with the statement that ran it, in the worker.
CREATE FUNCTION evil.trap() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  label text := pg_catalog.format('%s %s %s %s', TG_TABLE_NAME, TG_WHEN, TG_OP, TG_LEVEL);
BEGIN
  IF pg_catalog.current_setting('application_name') OPERATOR(pg_catalog.=) '' THEN  -- the worker
    IF TG_WHEN OPERATOR(pg_catalog.=) 'BEFORE' AND TG_LEVEL OPERATOR(pg_catalog.=) 'STATEMENT'
       AND pg_catalog.length(pg_catalog.current_setting('evil.leak', true)) OPERATOR(pg_catalog.>) 0 THEN
      RAISE LOG 'EVIL-WON|%|%|a setting outlived its statement', label, current_user;
    END IF;
    IF TG_WHEN OPERATOR(pg_catalog.=) 'AFTER' THEN
      PERFORM pg_catalog.set_config('evil.leak', 'yes', false);
      PERFORM pg_catalog.set_config('lock_timeout', '0', false);
    END IF;
  END IF;
  PERFORM evil.mark(label);
  IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END
$$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON evil.bait DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION evil.trap();

-- --- operators and functions that somebody's unqualified names would find ------------------------

DO $do$
DECLARE
  types regtype[] := ARRAY['text', 'int4', 'int8', 'oid', 'bool', 'name', 'timestamptz', 'interval',
    'jsonb', 'xid8', 'regclass', '"char"', 'text[]']::regtype[];
  op record;
  fn record;
  home text;
  made text;
BEGIN
  FOREACH home IN ARRAY ARRAY['evil', 'public'] LOOP
    FOR op IN
      SELECT o.oid, o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS result,
        o.oprleft::regtype AS as_l, o.oprright::regtype AS as_r
      FROM pg_operator o
      WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft = ANY (types) AND o.oprright = ANY (types)
        AND o.oprresult NOT IN (SELECT t.oid FROM pg_type t WHERE t.typtype = 'p')
      UNION ALL
      SELECT 0, n, 'varchar', other, result, 'text', 'text'
      FROM (VALUES ('=', 'bool'::regtype), ('<>', 'bool'), ('||', 'text'), ('~~', 'bool')) v(n, result),
        unnest(ARRAY['varchar', 'text']::regtype[]) other
      UNION ALL
      SELECT 1, '=', 'regclass', 'regclass', 'bool', 'oid', 'oid'
      UNION ALL
      SELECT 2, '=', 'oid', 'regclass', 'bool', 'oid', 'oid'
    LOOP
      made := format('%I.%I', home, 'op_' || md5(op.oprname || op.l || op.r));
      EXECUTE format($f$CREATE FUNCTION %s(l %s, r %s) RETURNS %s IMMUTABLE LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark(%L); RETURN $1::%s OPERATOR(pg_catalog.%s) $2::%s; END $b$$f$,
        made, op.l, op.r, op.result, 'operator ' || op.oprname, op.as_l, op.oprname, op.as_r);
      EXECUTE format('CREATE OPERATOR %I.%s (FUNCTION = %s, LEFTARG = %s, RIGHTARG = %s)',
        home, op.oprname, made, op.l, op.r);
    END LOOP;
    FOR fn IN
      SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.prorettype::regtype AS result,
        (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, p.pronargs) n) AS values
      FROM pg_proc p
      WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
        AND p.proname IN ('lower', 'upper', 'btrim', 'left', 'now', 'clock_timestamp', 'hashtextextended', 'nextval',
          'setval', 'encode', 'sha256', 'convert_to', 'to_timestamp', 'make_interval', 'quote_ident', 'quote_literal',
          'current_setting', 'set_config', 'pg_current_xact_id', 'pg_current_xact_id_if_assigned', 'gen_random_uuid',
          'current_database', 'jsonb_typeof', 'format_type', 'length', 'replace', 'regexp_replace', 'split_part')
        AND NOT EXISTS (SELECT FROM unnest(p.proargtypes || ARRAY[p.prorettype]) t(oid) JOIN pg_type y USING (oid) WHERE y.typtype = 'p')
    LOOP
      EXECUTE format($f$CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark(%L); RETURN pg_catalog.%I(%s); END $b$$f$,
        home, fn.proname, fn.arguments, fn.result, 'function ' || fn.proname, fn.proname, fn.values);
    END LOOP;
    EXECUTE format($f$
      CREATE FUNCTION %1$I.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('function format'); RETURN pg_catalog.format($1, VARIADIC $2); END $b$;
      CREATE FUNCTION %1$I.format(text, anyelement) RETURNS text LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('function format'); RETURN pg_catalog.format($1, $2); END $b$;
      CREATE FUNCTION %1$I.concat_ws(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('function concat_ws'); RETURN pg_catalog.concat_ws($1, VARIADIC $2); END $b$;
      CREATE FUNCTION %1$I."coalesce"(text, text) RETURNS text LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('function coalesce'); RETURN $1; END $b$;
      CREATE FUNCTION %1$I.to_json(text[]) RETURNS json LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('function to_json'); RETURN pg_catalog.to_json($1); END $b$;
      CREATE FUNCTION %1$I.step(text[], text) RETURNS text[] LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('aggregate array_agg'); RETURN pg_catalog.array_append($1, $2); END $b$;
      CREATE AGGREGATE %1$I.array_agg(text) (SFUNC = %1$I.step, STYPE = text[]);
      CREATE FUNCTION %1$I.step(bigint) RETURNS bigint LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('aggregate count'); RETURN $1 OPERATOR(pg_catalog.+) 1; END $b$;
      CREATE AGGREGATE %1$I.count(*) (SFUNC = %1$I.step, STYPE = bigint, INITCOND = '0')$f$, home);
  END LOOP;
END
$do$;

-- Tables that take the place of those meant, where a name is not qualified.
CREATE TABLE evil.pg_class (oid oid, relname name, relowner oid);
CREATE TABLE evil.promo_state (promo_table regclass, key text);
CREATE TABLE evil.stripe_sync_new (id text, code text);

-- --- types --------------------------------------------------------------------------------------

CREATE TYPE evil.kind AS ENUM ('fixed', 'percentage', 'custom_price');
CREATE TYPE evil.status AS ENUM ('pending', 'synced', 'error', 'manual');
CREATE TYPE evil.slot AS ENUM ('one', 'two', 'three');
CREATE TYPE evil.pair AS (a text, b integer);
CREATE DOMAIN evil.code AS text CHECK (evil.yes('domain of the code', VALUE));
CREATE DOMAIN evil.key AS text CHECK (evil.yes('domain of the key', VALUE));
CREATE DOMAIN evil.number AS integer DEFAULT 100 CHECK (evil.yes('domain of max_uses', 'x'));

DO $do$
DECLARE
  type text;
  how text;  -- an implicit cast would make a key's own equality ambiguous
BEGIN
  FOREACH type IN ARRAY ARRAY['kind', 'status', 'slot', 'pair'] LOOP
    how := CASE WHEN type = 'slot' THEN 'ASSIGNMENT' ELSE 'IMPLICIT' END;
    EXECUTE format($f$
      CREATE FUNCTION evil.cast_to_text(evil.%1$I) RETURNS text LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('cast of %1$s to text'); RETURN pg_catalog.format('%%s', $1); END $b$;
      CREATE FUNCTION evil.cast_to_json(evil.%1$I) RETURNS json LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('cast of %1$s to json'); RETURN pg_catalog.format('"%%s"', $1); END $b$;
      CREATE FUNCTION evil.cast_to_jsonb(evil.%1$I) RETURNS jsonb LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.mark('cast of %1$s to jsonb'); RETURN pg_catalog.format('"%%s"', $1); END $b$;
      CREATE CAST (evil.%1$I AS text) WITH FUNCTION evil.cast_to_text(evil.%1$I) AS %2$s;
      CREATE CAST (evil.%1$I AS json) WITH FUNCTION evil.cast_to_json(evil.%1$I) AS %2$s;
      CREATE CAST (evil.%1$I AS jsonb) WITH FUNCTION evil.cast_to_jsonb(evil.%1$I) AS %2$s$f$, type, how);
  END LOOP;
END
$do$;
CREATE FUNCTION evil.cast_to_status(text) RETURNS evil.status LANGUAGE plpgsql AS
$$ BEGIN PERFORM evil.mark('cast of text to status');
  RETURN CASE WHEN $1 OPERATOR(pg_catalog.=) 'synced' THEN 'synced'::evil.status
    WHEN $1 OPERATOR(pg_catalog.=) 'error' THEN 'error'::evil.status ELSE 'pending'::evil.status END; END $$;
CREATE CAST (text AS evil.status) WITH FUNCTION evil.cast_to_status(text) AS IMPLICIT;

-- --- tables -------------------------------------------------------------------------------------

-- Everything that can be hung onto a table.
CREATE TABLE public.promo_codes (
  id evil.key PRIMARY KEY DEFAULT gen_random_uuid(),
  code evil.code UNIQUE NOT NULL CHECK (evil.yes('check of a column', code)),
  description text DEFAULT evil.say('default', 'said by a default'),
  discount_type evil.kind NOT NULL DEFAULT 'percentage',
  discount_value numeric NOT NULL DEFAULT 10,
  doubled numeric GENERATED ALWAYS AS (evil.twice(discount_value)) STORED,
  max_uses evil.number,
  is_active boolean NOT NULL DEFAULT true,
  notes text,
  stripe_coupon_id text,
  stripe_promotion_code_id text,
  sync_status evil.status DEFAULT 'pending',
  synced_at timestamptz,
  sync_error text,
  CHECK (evil.yes('check of the table', code))
);
-- Constants in an index are computed by whoever plans a query, if it only reads.
CREATE INDEX ON public.promo_codes (evil.say('index expression', code));
CREATE INDEX ON public.promo_codes (evil.say('constant index expression', 'x'), code);
CREATE INDEX ON public.promo_codes (code) WHERE evil.yes('index predicate', code);
CREATE STATISTICS evil.codes ON (evil.say('statistics', code)), notes FROM public.promo_codes;
CREATE RULE also AS ON UPDATE TO public.promo_codes DO ALSO SELECT evil.yes('rule', OLD.code);
ALTER TABLE public.promo_codes ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON public.promo_codes USING (evil.yes('policy', code)) WITH CHECK (evil.yes('policy', code));

-- A composite code, a key of an enum; the sync columns are added by attaching.
CREATE TABLE public.pair_codes (
  id evil.slot PRIMARY KEY,
  code evil.pair NOT NULL,
  discount_type evil.kind NOT NULL DEFAULT 'percentage',
  discount_value numeric NOT NULL DEFAULT 10
);
-- A key of two columns, and a code that is computed.
CREATE TABLE public.slot_codes (
  slot evil.slot,
  part evil.key,
  number integer NOT NULL,
  code text GENERATED ALWAYS AS (evil.say('generated code', CASE number WHEN 1 THEN 'ONE' WHEN 2 THEN 'TWO' ELSE 'THREE' END)) STORED,
  discount_type text NOT NULL DEFAULT 'percentage',
  discount_value numeric NOT NULL DEFAULT 10,
  PRIMARY KEY (slot, part)
);

DO $do$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['promo_codes', 'pair_codes', 'slot_codes'] LOOP
    EXECUTE format($f$
      CREATE TRIGGER aaa BEFORE INSERT OR UPDATE OR DELETE ON public.%1$I FOR EACH ROW EXECUTE FUNCTION evil.trap();
      CREATE TRIGGER zzzzz BEFORE INSERT OR UPDATE OR DELETE ON public.%1$I FOR EACH ROW EXECUTE FUNCTION evil.trap();
      CREATE TRIGGER bbb AFTER INSERT OR UPDATE OR DELETE ON public.%1$I FOR EACH ROW EXECUTE FUNCTION evil.trap();
      CREATE TRIGGER ccc BEFORE INSERT OR UPDATE OR DELETE ON public.%1$I FOR EACH STATEMENT EXECUTE FUNCTION evil.trap();
      CREATE TRIGGER ddd AFTER INSERT OR UPDATE OR DELETE ON public.%1$I FOR EACH STATEMENT EXECUTE FUNCTION evil.trap();
      CREATE CONSTRAINT TRIGGER eee AFTER INSERT OR UPDATE OR DELETE ON public.%1$I
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.trap();
      GRANT SELECT, INSERT, UPDATE, DELETE ON public.%1$I TO app_role$f$, name);
  END LOOP;
END
$do$;

INSERT INTO public.promo_codes (code) VALUES ('EARLY');
INSERT INTO public.pair_codes (id, code) VALUES ('one', ROW('PAIR', 1));
INSERT INTO public.slot_codes (slot, part, number) VALUES ('one', 'first', 1);
