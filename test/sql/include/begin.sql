-- Included by every test: no worker, so that nothing depends on what one has done yet; take_over(),
-- which takes changes over from the inbox in its stead; and tried(), which shows an error in its parts.
SET client_min_messages = warning;
SELECT stripe_sync_stop() \g /dev/null

CREATE PROCEDURE pg_temp.take_over() LANGUAGE plpgsql AS $$
BEGIN
  WHILE (SELECT bool_or(stripe_sync.take_changes(a.promo_table, 10000)) FROM stripe_sync.attachment a) LOOP
  END LOOP;
END
$$;

CREATE FUNCTION pg_temp.tried(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  code text;
  message text;
  detail text;
  hint text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
    hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(E'\n', code || ': ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END
$$;
