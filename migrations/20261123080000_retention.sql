-- What is old goes, and what is known of one caller, without a login that may delete whatever it likes.
--
-- sipua_writer may not delete rows that others read. It may call these two functions, which delete as their owner does:
-- by age alone, nothing younger than a day, a batch at a time; and of one number alone. May run again. PostgreSQL 15 to 18.
-- Never edit this file once released: add another.

-- One row for each run that deleted something: what and how many, of nobody in particular.
CREATE TABLE IF NOT EXISTS sipua.purges (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  at timestamptz NOT NULL DEFAULT now(),
  kind text NOT NULL CHECK (kind IN ('retention', 'caller')),
  counts jsonb NOT NULL DEFAULT '{}'::jsonb
);
CREATE INDEX IF NOT EXISTS purges_kind_at_idx ON sipua.purges (kind, at DESC);

-- The oldest rows are found without reading the others; a BRIN index of a million rows is a few pages.
CREATE INDEX IF NOT EXISTS transcripts_t_brin ON public.transcripts USING brin (t);
CREATE INDEX IF NOT EXISTS voice_events_t_brin ON public.voice_events USING brin (t);
CREATE INDEX IF NOT EXISTS mcp_tool_calls_t_brin ON public.mcp_tool_calls USING brin (t);

-- At most so many rows of a table that are older; 0: only their number, nothing is deleted. NULL: another process is at
-- it. Rows that somebody holds are left for the next time. With the segments of calls goes their whole text.
CREATE OR REPLACE FUNCTION sipua.purge(tab text, before timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  path text;
  old text;
  done bigint;
BEGIN
  IF before IS NULL OR before > now() - interval '1 day' THEN
    RAISE EXCEPTION 'sipua.purge: rows younger than a day stay' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT v.path, v.old INTO path, old FROM (VALUES
    ('voice_calls', 'public.voice_calls', 'ended_at < $1'),
    ('openai_sessions', 'public.openai_sessions', 'ended_at < $1'),
    ('transcripts', 'public.transcripts', 't < $1'),
    ('voice_calls.transcript', 'public.voice_calls', 'ended_at < $1 AND transcript IS NOT NULL'),
    ('voice_events', 'public.voice_events', 't < $1'),
    ('mcp_tool_calls', 'public.mcp_tool_calls', 't < $1'),
    ('call_consents', 'public.call_consents', 't < $1'),
    ('wa_threads', 'public.wa_threads', 'last_message_at < $1'),
    ('voice_memories', 'public.voice_memories', 'coalesce(last_seen_at, updated_at, created_at) < $1'),
    ('call_attempts', 'sipua.call_attempts', 'started_at < $1'),
    ('service_requests', 'sipua.service_requests', 'created_at < $1'),
    ('callback_requests', 'sipua.callback_requests', 'created_at < $1'),
    ('wa_messages', 'sipua.wa_messages', 'at < $1'),
    ('trunk_changes', 'sipua.trunk_changes', 'at < $1'),
    ('drill_runs', 'sipua.drill_runs', 'started_at < $1'),
    ('webhooks', 'sipua.webhooks', 'received_at < $1'),
    -- the place of a process among its rows is wanted as long as a spool of it may lie somewhere
    ('writers', 'sipua.writers', 'seen_at < $1 AND NOT EXISTS (SELECT FROM sipua.processes p '
      'WHERE p.instance = sipua.writers.instance AND (p.ended_at IS NULL OR p.ended_at >= $1))'),
    ('processes', 'sipua.processes', 'ended_at < $1 AND NOT EXISTS (SELECT FROM sipua.writers w '
      'WHERE w.instance = sipua.processes.instance AND w.seen_at >= $1)')
  ) AS v (name, path, old) WHERE v.name = purge.tab;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'sipua.purge: no table %', tab USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF most <= 0 THEN
    EXECUTE format('SELECT count(*) FROM %s WHERE %s', path, old) INTO done USING before;
    RETURN done;
  END IF;
  IF NOT pg_try_advisory_xact_lock(8315167695441096) THEN
    RETURN NULL;
  END IF;
  EXECUTE format('%s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %s WHERE %s LIMIT $2 FOR UPDATE SKIP LOCKED))',
    CASE tab WHEN 'voice_calls.transcript' THEN 'UPDATE public.voice_calls SET transcript = NULL'
             ELSE 'DELETE FROM ' || path END, path, old) USING before, least(most, 10000);
  GET DIAGNOSTICS done = ROW_COUNT;
  RETURN done;
END
$$;

-- The calls of a number: of who called us, of whom we called, and of who left it as theirs.
CREATE OR REPLACE FUNCTION sipua.calls_of(spellings text[])
RETURNS TABLE (id uuid, started_at timestamptz, ended_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
  SELECT c.id, c.started_at, c.ended_at FROM public.voice_calls AS c
  WHERE (c.direction = 'inbound' AND c.from_e164 = ANY (spellings))
     OR (c.direction = 'outbound' AND c.to_e164 = ANY (spellings)) OR c.lead_phone = ANY (spellings)
$$;

-- Everything that is known of one number, but of calls that are up. What they were for statistics stays: when, how long,
-- by which trunk, how good, what it cost. ``recordings``: how many were deleted before, for the note of it.
CREATE OR REPLACE FUNCTION sipua.forget(spellings text[], dry boolean, recordings integer) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  kept constant text[] := ARRAY['node', 'worker', 'instance', 'end_reason', 'sip_code', 'rtp', 'usage', 'srtp', 'codec',
                                'language', 'answered_by'];
  counts jsonb := '{}';
  calls uuid[];
  item record;
  n bigint;
BEGIN
  IF cardinality(spellings) = 0 OR EXISTS (SELECT FROM unnest(spellings) AS s WHERE length(s) < 7 OR s IS NULL) THEN
    RAISE EXCEPTION 'sipua.forget: no telephone number' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  calls := ARRAY(SELECT f.id FROM sipua.calls_of(spellings) AS f WHERE f.ended_at IS NOT NULL);
  FOR item IN SELECT * FROM (VALUES
      ('transcripts', 'public.transcripts', 'call_id = ANY ($1)', NULL),
      ('voice_segments', 'public.voice_segments', 'call_id = ANY ($1)', NULL),
      ('wa_messages', 'sipua.wa_messages', 'msisdn = ANY ($2) OR thread_id IN (SELECT w.id FROM public.wa_threads w '
        'WHERE w.call_id = ANY ($1) OR w.customer_msisdn = ANY ($2))', NULL),
      ('wa_threads', 'public.wa_threads', 'call_id = ANY ($1) OR customer_msisdn = ANY ($2)', NULL),
      ('voice_memories', 'public.voice_memories', 'msisdn = ANY ($2) OR prefs ->> ''msisdn_as_written'' = ANY ($2)', NULL),
      ('service_requests', 'sipua.service_requests', 'call_id = ANY ($1) OR caller = ANY ($2)', NULL),
      ('callback_requests', 'sipua.callback_requests', 'call_id = ANY ($1) OR number = ANY ($2)', NULL),
      ('mcp_tool_calls', 'public.mcp_tool_calls', 'call_id = ANY ($1)', 'args = NULL, result = NULL, error = NULL'),
      ('voice_events', 'public.voice_events', 'call_id = ANY ($1)', 'payload = ''{}'''),
      ('openai_sessions', 'public.openai_sessions', 'call_id = ANY ($1)',
        'instructions = NULL, tools = NULL, metadata = ''{}'', session_id = ''forgotten-'' || id'),
      ('webhooks', 'sipua.webhooks', 'call_id = ANY ($1)', 'object_id = NULL'),
      ('call_consents', 'public.call_consents', 'call_id = ANY ($1)', 'audio_url = NULL'),
      ('voice_calls', 'public.voice_calls', 'id = ANY ($1)',
        'from_e164 = CASE direction WHEN ''outbound'' THEN from_e164 END, '
        'to_e164 = CASE direction WHEN ''inbound'' THEN to_e164 END, sip_session_id = NULL, twilio_call_sid = NULL, '
        'mtn_call_sid = NULL, openai_call_id = NULL, lead_name = NULL, lead_phone = NULL, last_note = NULL, '
        'intent = NULL, transcript = NULL, consent_media_url = NULL, updated_at = now(), '
        'metadata = (SELECT coalesce(jsonb_object_agg(m.key, m.value), ''{}'') FROM jsonb_each(CASE '
        'WHEN jsonb_typeof(metadata) = ''object'' THEN metadata ELSE ''{}'' END) AS m WHERE m.key = ANY ($3)) '
        '|| ''{"forgotten": true}''')
    ) AS v (name, path, of_caller, blanks)
  LOOP
    CONTINUE WHEN to_regclass(item.path) IS NULL;
    IF dry THEN
      EXECUTE format('SELECT count(*) FROM %s WHERE (%s) AND $3 IS NOT NULL', item.path, item.of_caller)
        INTO n USING calls, spellings, kept;
    ELSE
      EXECUTE format('%s WHERE (%s) AND $3 IS NOT NULL',
        CASE WHEN item.blanks IS NULL THEN 'DELETE FROM ' || item.path
             ELSE 'UPDATE ' || item.path || ' SET ' || item.blanks END, item.of_caller) USING calls, spellings, kept;
      GET DIAGNOSTICS n = ROW_COUNT;
    END IF;
    counts := counts || jsonb_build_object(item.name, n);
  END LOOP;
  counts := counts || jsonb_build_object('recordings', recordings);
  IF NOT dry THEN
    INSERT INTO sipua.purges (kind, counts) VALUES ('caller', counts);
  END IF;
  RETURN counts;
END
$$;

-- Who may call them; `sipua migrate` calls it when somebody else may.
CREATE OR REPLACE FUNCTION sipua.secure_routines() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  routine regprocedure;
  rolname name;
BEGIN
  FOREACH routine IN ARRAY ARRAY['sipua.purge(text, timestamptz, integer)', 'sipua.calls_of(text[])',
                                 'sipua.forget(text[], boolean, integer)']::regprocedure[] LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', routine);
    FOREACH rolname IN ARRAY ARRAY['anon', 'authenticated'] LOOP
      IF to_regrole(rolname) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', routine, rolname);
      END IF;
    END LOOP;
    FOREACH rolname IN ARRAY ARRAY['sipua_writer', 'service_role'] LOOP
      IF to_regrole(rolname) IS NOT NULL THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', routine, rolname);
      END IF;
    END LOOP;
  END LOOP;
END
$$;
REVOKE ALL ON FUNCTION sipua.secure_routines() FROM PUBLIC;
SELECT sipua.secure();
SELECT sipua.secure_routines();
