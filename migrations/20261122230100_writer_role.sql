-- A role that may do what our writer does and no more, with policies of its own; and one function that closes every door.
--
-- sipua.secure() is also what `sipua migrate` calls when something stands open again (somebody granted to anon, a table of
-- ours came without policies). May run again. PostgreSQL 15 to 18. Never edit this file once released: add another.
--
--   CREATE ROLE sipua LOGIN PASSWORD '…' IN ROLE sipua_writer;   -- then DATABASE_URL=postgresql://sipua:…@…

CREATE OR REPLACE FUNCTION sipua.secure() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  shared constant name[] := ARRAY['voice_calls', 'openai_sessions', 'transcripts', 'voice_events', 'mcp_tool_calls',
                                  'call_consents', 'wa_threads', 'voice_memories'];
  service constant text := '(auth.role() = ''service_role''::text)';
  rel record;
  rolname name;
  writer boolean;
BEGIN
  IF to_regrole('sipua_writer') IS NULL THEN
    BEGIN
      CREATE ROLE sipua_writer NOLOGIN;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was quicker
      WHEN insufficient_privilege THEN RAISE WARNING 'role sipua_writer is missing and may not be created';
    END;
  END IF;
  writer := to_regrole('sipua_writer') IS NOT NULL;

  FOR rel IN
    SELECT c.oid, c.relname AS name, n.nspname || '.' || c.relname AS path, format('%I.%I', n.nspname, c.relname) AS quoted,
           c.relkind IN ('r', 'p') AS is_table, c.relrowsecurity AS secured
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (n.nspname = 'sipua' AND c.relkind IN ('r', 'p', 'v', 'm'))
       OR (n.nspname = 'public' AND c.relkind IN ('r', 'p') AND c.relname = ANY (shared))
       OR (n.nspname = 'public' AND c.relkind = 'v' AND c.relname = 'voice_call_kpis')
    ORDER BY 3
  LOOP
    IF rel.is_table AND NOT rel.secured THEN
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rel.quoted);
    END IF;
    -- of the name that the platform's own file looks for, with a WITH CHECK that means it
    IF rel.is_table AND NOT EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = rel.oid AND polname = 'svc_rw_' || rel.name
                                    AND polcmd = '*' AND pg_get_expr(polqual, polrelid) = service
                                    AND pg_get_expr(polwithcheck, polrelid) = service) THEN
      EXECUTE format('DROP POLICY IF EXISTS %I ON %s', 'svc_rw_' || rel.name, rel.quoted);
      EXECUTE format('CREATE POLICY %I ON %s FOR ALL USING (auth.role() = ''service_role'') '
                     'WITH CHECK (auth.role() = ''service_role'')', 'svc_rw_' || rel.name, rel.quoted);
    END IF;
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', rel.quoted);
    FOREACH rolname IN ARRAY ARRAY['anon', 'authenticated'] LOOP
      IF to_regrole(rolname) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON %s FROM %I', rel.quoted, rolname);
      END IF;
    END LOOP;
    IF to_regrole('service_role') IS NOT NULL THEN
      EXECUTE format('GRANT %s ON %s TO service_role', CASE WHEN rel.is_table THEN 'ALL' ELSE 'SELECT' END, rel.quoted);
    END IF;
    CONTINUE WHEN NOT writer;
    IF rel.is_table AND NOT EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = rel.oid AND polname = 'sipua_rw_' || rel.name) THEN
      EXECUTE format('CREATE POLICY %I ON %s FOR ALL TO sipua_writer USING (true) WITH CHECK (true)',
                     'sipua_rw_' || rel.name, rel.quoted);
    END IF;
    -- what others read is written but not deleted; only who asks to be forgotten is
    EXECUTE format('GRANT %s ON %s TO sipua_writer', CASE
      WHEN NOT rel.is_table OR rel.path = 'sipua.migrations' THEN 'SELECT'
      WHEN rel.path LIKE 'sipua.%' OR rel.path = 'public.voice_memories' THEN 'SELECT, INSERT, UPDATE, DELETE'
      ELSE 'SELECT, INSERT, UPDATE' END, rel.quoted);
  END LOOP;

  IF to_regrole('service_role') IS NOT NULL THEN
    GRANT USAGE ON SCHEMA sipua TO service_role;
  END IF;
  IF writer THEN
    GRANT USAGE ON SCHEMA sipua TO sipua_writer;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA sipua TO sipua_writer;
    GRANT USAGE ON SCHEMA public TO sipua_writer;
    BEGIN
      GRANT USAGE ON SCHEMA supabase_migrations TO sipua_writer;
      GRANT SELECT ON supabase_migrations.schema_migrations TO sipua_writer;
    EXCEPTION
      WHEN insufficient_privilege OR undefined_table OR invalid_schema_name THEN
        RAISE WARNING 'sipua_writer cannot be shown the history of migrations: %', SQLERRM;
    END;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION sipua.secure() FROM PUBLIC;
SELECT sipua.secure();
