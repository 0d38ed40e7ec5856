-- Who may do what: nobody anything by itself, whatever default privileges say; a level exactly what it promises.
\set ECHO none
CREATE ROLE regress_stripe_sync_stranger;
CREATE ROLE regress_stripe_sync_reader;
CREATE ROLE regress_stripe_sync_operator;
CREATE ROLE "regress_stripe_sync ""odd'";
-- as Supabase sets them, and more
DO $$
DECLARE
  kind text;
BEGIN
  FOREACH kind IN ARRAY ARRAY['TABLES', 'SEQUENCES', 'FUNCTIONS', 'TYPES', 'SCHEMAS'] LOOP
    EXECUTE format('ALTER DEFAULT PRIVILEGES GRANT ALL ON %s TO PUBLIC', kind);
    EXECUTE format('ALTER DEFAULT PRIVILEGES GRANT ALL ON %s TO regress_stripe_sync_stranger, regress_stripe_sync_reader,
      regress_stripe_sync_operator WITH GRANT OPTION', kind);
    IF kind <> 'SCHEMAS' THEN
      EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON %s TO regress_stripe_sync_stranger', kind);
    END IF;
  END LOOP;
END
$$;
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync;
\set VERBOSITY default
\getenv inputs PG_ABS_SRCDIR
\set begin :inputs '/sql/include/begin.sql'
\set end :inputs '/sql/include/end.sql'
\i :begin
-- what a role holds on the extension's objects
CREATE FUNCTION pg_temp.held(role regrole) RETURNS TABLE (target text, rights text) LANGUAGE sql AS $$
  SELECT m.target, string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', ')
  FROM stripe_sync.members() m, aclexplode(m.acl) x
  WHERE x.grantee IN (role, 0) AND role <> m.owner GROUP BY 1 ORDER BY m.target COLLATE "C"
$$;
-- what it holds or lacks against a list of levels
CREATE FUNCTION pg_temp.differs(role regrole, levels text[]) RETURNS TABLE (target text, holds text, promised text) LANGUAGE sql AS $$
  SELECT target, h.rights, p.rights
  FROM pg_temp.held(role) h FULL JOIN (
    SELECT m.target, CASE split_part(m.target, ' ', 1) WHEN 'FUNCTION' THEN 'EXECUTE' WHEN 'TABLE' THEN 'SELECT' END AS rights
    FROM stripe_sync.members() m JOIN stripe_sync.access_levels() l USING (name) WHERE l.level = ANY (levels)) p USING (target)
  WHERE h.rights IS DISTINCT FROM p.rights
$$;
-- everything that could be done with each member, at least if one may
CREATE TABLE pg_temp.attempt AS
  SELECT m.target, format(a.statement, split_part(m.target, ' ', 2)) AS statement
  FROM stripe_sync.members() m
  JOIN (VALUES ('TABLE', 'TABLE %s'), ('TABLE', 'EXPLAIN SELECT * FROM %s'), ('TABLE', 'SELECT count(*) FROM %s'),
    ('TABLE', 'LOCK TABLE %s IN ACCESS SHARE MODE'), ('TABLE', 'CREATE TEMP TABLE mine (LIKE %s)'),
    ('TABLE', 'SELECT (x).* FROM (SELECT x FROM %s x) y'), ('TABLE', 'LOCK TABLE %s IN ROW EXCLUSIVE MODE'),
    ('TABLE', 'INSERT INTO %s DEFAULT VALUES'), ('TABLE', 'DELETE FROM %s'), ('TABLE', 'TRUNCATE %s'),
    ('TABLE', 'CREATE RULE mine AS ON INSERT TO %s DO NOTHING'),
    ('SEQUENCE', 'TABLE %s'), ('SEQUENCE', 'SELECT nextval(''%s'')'), ('SEQUENCE', 'SELECT setval(''%s'', 1)'),
    ('SEQUENCE', 'ALTER SEQUENCE %s RESTART'), ('SCHEMA', 'CREATE TABLE %s.mine (n int)')) a(kind, statement)
    ON a.kind = split_part(m.target, ' ', 1)
  UNION ALL
  -- a query with two rows: nothing is folded away before rights are looked at
  SELECT 'FUNCTION ' || p.oid::regprocedure,
    CASE WHEN p.prorettype = 'trigger'::regtype
         THEN format('CREATE TRIGGER mine BEFORE INSERT ON pg_temp.hook FOR EACH ROW EXECUTE FUNCTION %s()', p.oid::regproc)
         ELSE format('SELECT %s(%s) FROM (VALUES (NULL), (NULL)) v(n)', p.oid::regproc,
           (SELECT string_agg('v.n::' || t.type::regtype, ', ' ORDER BY t.n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t(type, n))) END
  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid WHERE e.extname = 'stripe_sync';
GRANT SELECT ON pg_temp.attempt TO PUBLIC;
-- What a role gets away with, whatever came of it; undone again.
CREATE FUNCTION pg_temp.allowed(what text DEFAULT '') RETURNS TABLE (target text, statement text) LANGUAGE plpgsql AS $$
DECLARE
  a record;
BEGIN
  CREATE TEMP TABLE hook (n int);
  FOR a IN SELECT * FROM pg_temp.attempt t WHERE t.target ~ what ORDER BY t.statement COLLATE "C" LOOP
    BEGIN
      EXECUTE a.statement;
      RAISE 'undone' USING ERRCODE = 'UNDO1';
    EXCEPTION
      WHEN insufficient_privilege THEN NULL;
      WHEN OTHERS THEN
        -- nobody can write to these views
        CONTINUE WHEN SQLSTATE IN ('42809', '55000') AND a.target LIKE 'TABLE %';
        target := a.target;
        statement := a.statement;
        RETURN NEXT;
    END;
  END LOOP;
  DROP TABLE hook;
END
$$;
\set ECHO all
SELECT count(*) > 100 AS many FROM pg_temp.attempt;

-- every public function and view belongs to a level, or expressly to none
SELECT m.target AS of_no_level FROM stripe_sync.members() m
WHERE m.name LIKE 'stripe\_sync\_%' AND m.name NOT IN (SELECT l.name FROM stripe_sync.access_levels() l) ORDER BY 1;

-- a role with CONNECT only can do and see nothing, even if somebody let it into the schema
SELECT * FROM pg_temp.held('regress_stripe_sync_stranger');
SET ROLE regress_stripe_sync_stranger;
SELECT * FROM pg_temp.allowed();
RESET ROLE;
GRANT USAGE ON SCHEMA stripe_sync TO regress_stripe_sync_stranger;
SET ROLE regress_stripe_sync_stranger;
SELECT * FROM pg_temp.allowed();
RESET ROLE;
SELECT stripe_sync_revoke('regress_stripe_sync_stranger');
SELECT * FROM pg_temp.held('regress_stripe_sync_stranger');

-- reader
SELECT stripe_sync_grant('regress_stripe_sync_reader', 'reader');
SELECT stripe_sync_grant('regress_stripe_sync_reader', 'reader');
SELECT * FROM pg_temp.differs('regress_stripe_sync_reader', '{reader}');
SET ROLE regress_stripe_sync_reader;
SELECT target, count(*) FROM pg_temp.allowed() GROUP BY 1 ORDER BY 1;
SELECT statement FROM pg_temp.allowed() WHERE statement !~ 'TABLE public|SELECT|SHARE MODE|TEMP';
SELECT status, reason FROM stripe_sync_health;
RESET ROLE;

-- operator
SELECT stripe_sync_grant('regress_stripe_sync_operator', 'operator');
SELECT * FROM pg_temp.differs('regress_stripe_sync_operator', '{reader,operator}');
SET ROLE regress_stripe_sync_operator;
SELECT target, count(*) FROM pg_temp.allowed('^(TABLE|SEQUENCE|SCHEMA|FUNCTION stripe_sync[.])') GROUP BY 1 ORDER BY 1;
SELECT pg_temp.tried('SELECT stripe_sync_retry(''NONE'')');
SELECT pg_temp.tried('SELECT stripe_sync_wait()');
SELECT pg_temp.tried('SELECT stripe_sync_rebind()');
SELECT pg_temp.tried('SELECT stripe_sync_attach(''pg_temp.attempt'')');
SELECT pg_temp.tried('SELECT stripe_sync_grant(''regress_stripe_sync_stranger'', ''reader'')');
RESET ROLE;

-- the extension's owner alone grants, also where EXECUTE was given away
GRANT EXECUTE ON FUNCTION stripe_sync_grant, stripe_sync_revoke TO regress_stripe_sync_operator;
GRANT USAGE ON SCHEMA stripe_sync TO regress_stripe_sync_operator;
GRANT EXECUTE ON FUNCTION stripe_sync.require_grantor TO regress_stripe_sync_operator;
SET ROLE regress_stripe_sync_operator;
SELECT pg_temp.tried('SELECT stripe_sync_grant(''regress_stripe_sync_stranger'', ''reader'')');
SELECT pg_temp.tried('SELECT stripe_sync_revoke(''regress_stripe_sync_reader'')');
RESET ROLE;

-- taken back, whatever it was given by; then the role can be dropped
GRANT SELECT (code) ON stripe_sync.promo_state TO regress_stripe_sync_reader;
SELECT stripe_sync_revoke('regress_stripe_sync_operator');
SELECT stripe_sync_revoke('regress_stripe_sync_reader');
SELECT stripe_sync_revoke('regress_stripe_sync_reader');
SELECT * FROM pg_temp.held('regress_stripe_sync_operator');
SELECT * FROM pg_temp.held('regress_stripe_sync_reader');
SELECT attrelid::regclass, attname FROM pg_attribute WHERE attacl::text ~ 'regress_stripe_sync';

-- names that need quotes, things that are no role, no level
SELECT stripe_sync_grant('"regress_stripe_sync ""odd''"', 'operator');
SELECT * FROM pg_temp.differs('"regress_stripe_sync ""odd''"', '{reader,operator}');
SELECT stripe_sync_revoke('"regress_stripe_sync ""odd''"');
SELECT count(*) FROM pg_temp.held('"regress_stripe_sync ""odd''"');
SELECT pg_temp.tried('SELECT stripe_sync_grant(NULL, ''reader'')');
SELECT pg_temp.tried('SELECT stripe_sync_grant(0, ''reader'')');
SELECT pg_temp.tried('SELECT stripe_sync_revoke(0)');
SELECT pg_temp.tried('SELECT stripe_sync_grant(''regress_stripe_sync_reader'', ''webhook'')');
SELECT pg_temp.tried('SELECT stripe_sync_grant(''regress_stripe_sync_reader'', NULL)');

-- somebody else's function and table of our names are not ours to grant
CREATE FUNCTION public.stripe_sync_promo(integer) RETURNS void LANGUAGE sql AS '';
REVOKE ALL ON FUNCTION stripe_sync_promo(integer) FROM PUBLIC, regress_stripe_sync_reader, regress_stripe_sync_operator;
SELECT stripe_sync_grant('regress_stripe_sync_operator', 'operator');
SELECT has_function_privilege('regress_stripe_sync_operator', 'public.stripe_sync_promo(integer)', 'EXECUTE');
DROP FUNCTION public.stripe_sync_promo(integer);

-- in a schema that the role may not use: nothing is given away that is not ours
\set ECHO none
\i :end
DROP OWNED BY regress_stripe_sync_stranger, regress_stripe_sync_reader, regress_stripe_sync_operator;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC;
CREATE SCHEMA "Extra 1";
\set VERBOSITY sqlstate
CREATE EXTENSION stripe_sync SCHEMA "Extra 1";
\set VERBOSITY default
SET search_path = "Extra 1";
\i :begin
\set ECHO all
SELECT pg_temp.tried('SELECT "Extra 1".stripe_sync_grant(''regress_stripe_sync_reader'', ''reader'')');
GRANT USAGE ON SCHEMA "Extra 1" TO regress_stripe_sync_reader;
SELECT "Extra 1".stripe_sync_grant('regress_stripe_sync_reader', 'reader');
SET ROLE regress_stripe_sync_reader;
SELECT status FROM "Extra 1".stripe_sync_health;
RESET ROLE;
\set ECHO none
\i :end
DROP SCHEMA "Extra 1";
DROP ROLE regress_stripe_sync_stranger, regress_stripe_sync_reader, regress_stripe_sync_operator, "regress_stripe_sync ""odd'";
