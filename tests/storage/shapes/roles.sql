-- The roles that a hosted database has.
DO $$
DECLARE
  item record;
BEGIN
  FOR item IN SELECT * FROM (VALUES ('postgres', ''), ('anon', ''), ('authenticated', ''), ('service_role', 'BYPASSRLS'))
              AS v (name, more) LOOP
    IF to_regrole(item.name) IS NULL THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT %s', item.name, item.more);
    END IF;
  END LOOP;
END
$$;
