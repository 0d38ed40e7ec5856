-- Default privileges as a database may have them (Supabase's has some such): everything new is
-- granted to everybody, by name and to PUBLIC.
DO $$
DECLARE
  kind text;
  limits text;
BEGIN
  FOREACH kind IN ARRAY ARRAY['TABLES', 'SEQUENCES', 'FUNCTIONS', 'TYPES', 'SCHEMAS'] LOOP
    FOREACH limits IN ARRAY ARRAY['', 'IN SCHEMA public'] LOOP
      CONTINUE WHEN kind = 'SCHEMAS' AND limits <> '';
      EXECUTE format('ALTER DEFAULT PRIVILEGES %s GRANT ALL ON %s TO PUBLIC', limits, kind);
      EXECUTE format('ALTER DEFAULT PRIVILEGES %s GRANT ALL ON %s
        TO anon, "PUBLIC", "we""ird ''role''" WITH GRANT OPTION', limits, kind);
    END LOOP;
  END LOOP;
END
$$;
