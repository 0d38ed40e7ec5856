-- What the extension is made of: everything explained, nothing granted, nothing that a search_path can change.
SELECT current_setting('server_version_num')::int >= 150000 AS supported;
CREATE ROLE regress_stripe_sync_anon;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_stripe_sync_anon, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_stripe_sync_anon, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_stripe_sync_anon, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_stripe_sync_anon, PUBLIC;
CREATE EXTENSION stripe_sync;
SET client_min_messages = warning;
SELECT stripe_sync_stop();

-- (newer versions list the types of tables and views, too)
CREATE VIEW pg_temp.member AS
  SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'stripe_sync'
    AND d.classid <> 'pg_type'::regclass;
CREATE VIEW pg_temp.proc AS
  SELECT p.* FROM pg_proc p JOIN pg_temp.member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;

-- nothing else than these kinds of things
SELECT classid::regclass AS kind, count(*) > 0 AS there FROM pg_temp.member GROUP BY classid ORDER BY 1;

-- without a comment
SELECT name FROM pg_temp.member WHERE obj_description(objid, classid::regclass::text) IS NULL ORDER BY name COLLATE "C";

-- granted to anybody but the owner, by name or by default
SELECT m.name, x.grantee::regrole, x.privilege_type
FROM pg_temp.member m
CROSS JOIN LATERAL (
  SELECT coalesce(p.proacl, acldefault('f', p.proowner)) AS acl, p.proowner AS owner FROM pg_proc p WHERE m.classid = 'pg_proc'::regclass AND p.oid = m.objid
  UNION ALL SELECT coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner)), c.relowner FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid
  UNION ALL SELECT coalesce(n.nspacl, acldefault('n', n.nspowner)), n.nspowner FROM pg_namespace n WHERE m.classid = 'pg_namespace'::regclass AND n.oid = m.objid) o
CROSS JOIN LATERAL aclexplode(o.acl) x
WHERE x.grantee <> o.owner ORDER BY 1, 2;
SELECT m.name, a.attname FROM pg_temp.member m JOIN pg_attribute a ON m.classid = 'pg_class'::regclass AND a.attrelid = m.objid WHERE a.attacl IS NOT NULL;
-- also as the extension's tables are used by their names
SELECT n FROM unnest('{installation,worker,probe,diff,diff_wanted,attachment,promo_state,error,operation_number,lease_number,push_request,check_request,diff_request}'::text[]) n
WHERE has_table_privilege('regress_stripe_sync_anon', ('stripe_sync.' || n)::regclass, 'SELECT, INSERT, UPDATE, DELETE');
SELECT has_schema_privilege('regress_stripe_sync_anon', 'stripe_sync', 'USAGE, CREATE');
-- all owned by one
SELECT count(DISTINCT owner) FROM (
  SELECT proowner FROM pg_temp.proc
  UNION SELECT c.relowner FROM pg_class c JOIN pg_temp.member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
  UNION SELECT n.nspowner FROM pg_namespace n JOIN pg_temp.member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid) o(owner);

-- functions that a search_path could change, and those whose names were bound when they were made
SELECT p.oid::regprocedure FROM pg_temp.proc p JOIN pg_language l ON l.oid = p.prolang
WHERE l.lanname <> 'c' AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false) ORDER BY 1;
-- and views' functions and operators outside pg_catalog and our own
SELECT DISTINCT c.oid::regclass, pg_describe_object(d.refclassid, d.refobjid, 0)
FROM pg_temp.member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'v'
JOIN pg_rewrite r ON r.ev_class = c.oid JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
LEFT JOIN pg_temp.member o ON o.classid = d.refclassid AND o.objid = d.refobjid
WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND o.objid IS NULL AND d.refobjid >= 16384;

-- functions of the extension's owner's rights: only public ones, which have nobody's EXECUTE
SELECT p.oid::regprocedure FROM pg_temp.proc p WHERE p.prosecdef AND p.pronamespace = 'stripe_sync'::regnamespace;
\pset footer off
-- the public functions
SELECT p.oid::regprocedure AS function, CASE WHEN p.prosecdef THEN 'definer' ELSE '' END AS rights,
  CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
  CASE WHEN p.proisstrict THEN 'strict' ELSE '' END AS nulls, CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS parallel, l.lanname AS language
FROM pg_temp.proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'public'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
\pset footer on
-- immutable ones look at no table, stable ones write none (of the SQL ones; a C one that is not volatile is named here)
SELECT p.oid::regprocedure FROM pg_temp.proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.provolatile = 'i' AND (l.lanname = 'plpgsql' OR EXISTS (
  SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass));
SELECT p.oid::regprocedure FROM pg_temp.proc p WHERE p.provolatile <> 'v'
  AND pg_get_functiondef(p.oid) ~* '\m(insert into|update stripe_sync|delete from|nextval|setval|wake_worker|ensure_worker|ask_worker)\M';
SELECT p.oid::regprocedure FROM pg_temp.proc p JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname = 'c' AND p.provolatile <> 'v';

-- what a dump keeps, and what it leaves out
SELECT c.oid::regclass AS kept FROM pg_extension e, unnest(e.extconfig) o(oid) JOIN pg_class c ON c.oid = o.oid WHERE e.extname = 'stripe_sync' ORDER BY 1;
-- secrets have no setting
SELECT name, context, boot_val, short_desc <> '' AS explained FROM pg_settings WHERE name LIKE 'stripe_sync.%' AND name !~ '(fault|test)' ORDER BY name COLLATE "C";
SET stripe_sync.api_key = 'sk_test_0123456789';
SET stripe_sync.own_write = 'on';

-- in a schema of its own, with a name that needs quotes, that no search_path has
DROP VIEW pg_temp.proc, pg_temp.member;
DROP EXTENSION stripe_sync;
CREATE SCHEMA "Extra 1";
CREATE EXTENSION stripe_sync SCHEMA "Extra 1";
SELECT "Extra 1".stripe_sync_stop();
CREATE TABLE t (id int PRIMARY KEY, code text, discount_type text, discount_value numeric);
SELECT count(*) > 0 AS attached FROM "Extra 1".stripe_sync_attach('t', duration => 'once');
INSERT INTO t VALUES (1, 'ONE', 'percentage', 10);
SELECT code, state FROM "Extra 1".stripe_sync_promo_status;
SELECT "Extra 1".stripe_sync_retry('one');
SELECT status, pending FROM "Extra 1".stripe_sync_health;
SELECT object, pending FROM "Extra 1".stripe_sync_status;
SELECT item, status FROM "Extra 1".stripe_sync_check() WHERE item LIKE 'table%';
SELECT "Extra 1".stripe_sync_create_promo_tables('Extra 1');
SELECT count(*) FROM stripe_sync.attachment;
SELECT c.oid::regclass, x.grantee::regrole FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x
WHERE c.oid IN ('"Extra 1".promo_codes'::regclass, '"Extra 1".promo_code_usage'::regclass) AND x.grantee <> c.relowner;
SELECT "Extra 1".stripe_sync_detach('t');
ALTER EXTENSION stripe_sync SET SCHEMA public;
-- dropped without CASCADE; the user's tables stay
DROP EXTENSION stripe_sync;
SELECT count(*) AS left_over FROM pg_namespace WHERE nspname = 'stripe_sync';
SELECT count(*) AS left_over FROM pg_proc WHERE proname LIKE 'stripe\_sync%';
SELECT tgname FROM pg_trigger WHERE tgname LIKE 'zzzz%';
SELECT count(*) FROM "Extra 1".promo_codes;
DROP SCHEMA "Extra 1" CASCADE;
DROP TABLE t;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM regress_stripe_sync_anon, PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM regress_stripe_sync_anon, PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM regress_stripe_sync_anon;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM regress_stripe_sync_anon, PUBLIC;
DROP ROLE regress_stripe_sync_anon;
