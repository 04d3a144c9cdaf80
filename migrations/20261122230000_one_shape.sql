-- One shape, whichever the first file found: defaults, what may be NULL, keys, lists, triggers, the view of the readers.
--
-- Keeps every row. Where old rows hold what a newer database would refuse, the database learns to hold it; where readers
-- break on a value, it is brought into form and what was written stays beside it. May run again. PostgreSQL 15 to 18.
-- Never edit this file once released: add another.

-- What is written -> one of the seven words -------------------------------------------------------------------

CREATE OR REPLACE FUNCTION sipua.status_of(written text, ended boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
  SELECT CASE
    WHEN word IN ('initiated', 'ringing', 'in_progress', 'completed', 'failed', 'busy', 'no_answer') THEN word
    WHEN word IN ('queued', 'pending', 'created', 'started') THEN 'initiated'
    WHEN word IN ('active', 'answered', 'connected', 'live', 'handoff', 'inprogress') THEN 'in_progress'
    WHEN word IN ('noanswer', 'missed', 'canceled', 'cancelled', 'unanswered', 'timeout') THEN 'no_answer'
    WHEN word IN ('error', 'rejected') THEN 'failed'
    WHEN word IN ('ended', 'done', 'finished', 'complete', 'success', 'closed') THEN 'completed'
    WHEN ended THEN 'completed'
    ELSE 'initiated'
  END FROM (SELECT replace(replace(lower(btrim(written)), '-', '_'), ' ', '_') AS word) AS w
$$;

-- The words of the CHECK lists that stand on a column.
CREATE OR REPLACE FUNCTION sipua.listed(tab regclass, col name) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT coalesce(array_agg(DISTINCT replace(m[1], '''''', '''')), '{}')
  FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum],
       regexp_matches(pg_get_constraintdef(c.oid), '''((?:[^'']|'''')*)''', 'g') AS m
  WHERE c.conrelid = tab AND c.contype = 'c' AND a.attname = col
$$;

-- As before, but a word that somebody put on the table's own list is left alone, and metadata is an object. With its
-- owner's rights: other writers need none on our schema.
CREATE OR REPLACE FUNCTION sipua.normalise_voice_call() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  NEW.channel := coalesce(nullif(NEW.channel, ''), 'voice');
  IF jsonb_typeof(NEW.metadata) IS DISTINCT FROM 'object' THEN
    NEW.metadata := CASE WHEN coalesce(NEW.metadata, 'null') = 'null' THEN '{}'::jsonb
                         ELSE jsonb_build_object('metadata_as_written', NEW.metadata) END;
  END IF;
  IF (NEW.status IS NULL OR NEW.status NOT IN
      ('initiated', 'ringing', 'in_progress', 'completed', 'failed', 'busy', 'no_answer'))
     AND coalesce(NEW.status, '') <> ALL (sipua.listed(TG_RELID, 'status')) THEN
    IF btrim(NEW.status) <> '' THEN
      NEW.metadata := NEW.metadata || jsonb_build_object('status_as_written', NEW.status);
    END IF;
    NEW.status := sipua.status_of(NEW.status, NEW.ended_at IS NOT NULL);
  END IF;
  RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION sipua.set_updated_at() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;

-- Defaults, and where NULL may stand ------------------------------------------------------------------------------

ALTER TABLE public.voice_calls
  ALTER COLUMN locale SET DEFAULT 'en',
  ALTER COLUMN consent_obtained SET DEFAULT false,
  ALTER COLUMN transcript_locale SET DEFAULT 'en',
  ALTER COLUMN transcript_status SET DEFAULT 'pending',
  ALTER COLUMN handoff SET DEFAULT false,
  ALTER COLUMN metadata SET DEFAULT '{}'::jsonb,
  ALTER COLUMN created_at SET DEFAULT now(),
  ALTER COLUMN updated_at SET DEFAULT now();
ALTER TABLE public.openai_sessions
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN voice SET DEFAULT 'alloy',
  ALTER COLUMN modalities SET DEFAULT '{text,audio}'::text[],
  ALTER COLUMN input_audio_format SET DEFAULT 'pcm16',
  ALTER COLUMN output_audio_format SET DEFAULT 'pcm16',
  ALTER COLUMN temperature SET DEFAULT 0.8,
  ALTER COLUMN started_at SET DEFAULT now(),
  ALTER COLUMN status SET DEFAULT 'active',
  ALTER COLUMN metadata SET DEFAULT '{}'::jsonb,
  ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE public.transcripts
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN content DROP NOT NULL,
  ALTER COLUMN t SET DEFAULT now(),
  ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE public.voice_events
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN type DROP NOT NULL,
  ALTER COLUMN t SET DEFAULT now(),
  ALTER COLUMN payload SET DEFAULT '{}'::jsonb,
  ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE public.mcp_tool_calls
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN tool DROP NOT NULL,
  ALTER COLUMN t SET DEFAULT now(),
  ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE public.call_consents
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN t SET DEFAULT now(),
  ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE public.wa_threads
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN metadata SET DEFAULT '{}'::jsonb,
  ALTER COLUMN last_message_at SET DEFAULT now(),
  ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE public.voice_memories
  ALTER COLUMN id SET DEFAULT gen_random_uuid(),
  ALTER COLUMN msisdn DROP NOT NULL,
  ALTER COLUMN prefs SET DEFAULT '{}'::jsonb,
  ALTER COLUMN last_seen_at SET DEFAULT now(),
  ALTER COLUMN created_at SET DEFAULT now(),
  ALTER COLUMN updated_at SET DEFAULT now();

DO $$
DECLARE
  item record;
  empty boolean;
BEGIN
  FOR item IN SELECT * FROM (VALUES ('voice_calls', 'direction'), ('transcripts', 'call_id'), ('transcripts', 'role'),
                                    ('openai_sessions', 'session_id')) AS v (tab, col) LOOP
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM public.%I WHERE %I IS NULL)', item.tab, item.col) INTO empty;
    IF empty THEN
      RAISE WARNING '%.% is NULL in old rows and stays nullable', item.tab, item.col;
    ELSE
      EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET NOT NULL', item.tab, item.col);
    END IF;
  END LOOP;
END
$$;

-- Rows go with their call; a row of a call that is not there stays (the key then holds for new rows only).
DO $$
DECLARE
  tab text;
  orphans boolean;
BEGIN
  FOREACH tab IN ARRAY ARRAY['openai_sessions', 'transcripts', 'voice_events', 'mcp_tool_calls', 'call_consents',
                             'wa_threads'] LOOP
    CONTINUE WHEN EXISTS (
      SELECT 1 FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
      WHERE c.conrelid = format('public.%I', tab)::regclass AND c.contype = 'f' AND a.attname = 'call_id'
        AND c.confrelid = 'public.voice_calls'::regclass AND c.confdeltype = 'c');
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM public.%I x WHERE call_id IS NOT NULL AND NOT EXISTS '
                   '(SELECT 1 FROM public.voice_calls c WHERE c.id = x.call_id))', tab) INTO orphans;
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT IF EXISTS %I, ADD CONSTRAINT %2$I FOREIGN KEY (call_id) '
                   'REFERENCES public.voice_calls (id) ON DELETE CASCADE%s',
                   tab, tab || '_call_id_fkey', CASE WHEN orphans THEN ' NOT VALID' ELSE '' END);
  END LOOP;
END
$$;

-- Lists ----------------------------------------------------------------------------------------------------------------

-- Words of old rows that the first file found on no list are put on it: a row that its own table refuses could not be
-- changed any more, and whoever writes such a word goes on as before. A hundred of them are no list: they stay as they are.
DO $$
DECLARE
  item record;
  con name;
  words text[];
BEGIN
  FOR item IN SELECT * FROM (VALUES
      ('voice_calls', 'direction'), ('voice_calls', 'status'), ('voice_calls', 'transcript_status'),
      ('openai_sessions', 'status'), ('transcripts', 'role'), ('voice_events', 'type')) AS v (tab, col) LOOP
    SELECT c.conname INTO con FROM pg_constraint c
    WHERE c.conrelid = format('public.%I', item.tab)::regclass AND c.contype = 'c' AND NOT c.convalidated
      AND c.conname = item.tab || '_' || item.col || '_check';
    CONTINUE WHEN NOT FOUND;
    EXECUTE format('SELECT array_agg(w) FROM (SELECT unnest($1) UNION SELECT * FROM ('
                   'SELECT DISTINCT %I FROM public.%I WHERE %1$I <> ALL ($1) LIMIT 101) AS found) AS all_of_them (w)',
                   item.col, item.tab)
      USING sipua.listed(format('public.%I', item.tab)::regclass, item.col::name) INTO words;
    IF cardinality(words) > 100 THEN
      RAISE WARNING '%.% holds too many words of its own for a list', item.tab, item.col;
      CONTINUE;
    END IF;
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I, ADD CONSTRAINT %2$I CHECK (%I IN (%s))',
                   item.tab, con, item.col, (SELECT string_agg(quote_literal(w), ', ' ORDER BY w) FROM unnest(words) AS w));
  END LOOP;
END
$$;

-- Values that readers break on -------------------------------------------------------------------------------------------

-- The first file also took words that stood on the table's own list for misspelt ones: they are given back.
UPDATE public.voice_calls AS c
SET status = c.metadata ->> 'status_as_written', metadata = c.metadata - 'status_as_written'
WHERE jsonb_typeof(c.metadata) = 'object' AND c.metadata ? 'status_as_written'
  AND c.metadata ->> 'status_as_written' = ANY (sipua.listed('public.voice_calls', 'status'))
  AND c.status = sipua.status_of(c.metadata ->> 'status_as_written', c.ended_at IS NOT NULL);

-- It also put the word as written behind metadata that was no object.
UPDATE public.voice_calls
SET metadata = (metadata -> -1) || jsonb_build_object('metadata_as_written', metadata - -1)
WHERE jsonb_typeof(metadata) = 'array' AND jsonb_typeof(metadata -> -1) = 'object'
  AND (metadata -> -1) ? 'status_as_written' AND (metadata -> -1) - 'status_as_written' = '{}';

-- '' is illegal in the shared DTOs, and metadata is an object (the trigger sees to the latter).
UPDATE public.voice_calls SET
  from_e164 = nullif(from_e164, ''), to_e164 = nullif(to_e164, ''), twilio_call_sid = nullif(twilio_call_sid, ''),
  mtn_call_sid = nullif(mtn_call_sid, ''), sip_session_id = nullif(sip_session_id, ''),
  openai_call_id = nullif(openai_call_id, ''), project_id = nullif(project_id, ''), locale = nullif(locale, ''),
  country = nullif(country, ''), outcome = nullif(outcome, ''), intent = nullif(intent, ''),
  transcript = nullif(transcript, ''), handoff_target = nullif(handoff_target, ''), lead_name = nullif(lead_name, ''),
  lead_phone = nullif(lead_phone, ''), last_note = nullif(last_note, '')
WHERE jsonb_typeof(metadata) IS DISTINCT FROM 'object'
  OR '' IN (from_e164, to_e164, twilio_call_sid, mtn_call_sid, sip_session_id, openai_call_id, project_id, locale, country,
            outcome, intent, transcript, handoff_target, lead_name, lead_phone, last_note);

-- Whose call it was stood in the name of a column only.
UPDATE public.voice_calls SET provider = CASE WHEN twilio_call_sid IS NOT NULL THEN 'twilio' ELSE 'mtn' END
WHERE provider IS NULL AND coalesce(twilio_call_sid, mtn_call_sid) IS NOT NULL;

-- Arguments and results of tools are objects or NULL, what is remembered of a caller is an object.
UPDATE public.mcp_tool_calls SET
  args = CASE WHEN jsonb_typeof(args) IN ('object', 'null') THEN nullif(args, 'null')
              WHEN args IS NOT NULL THEN jsonb_build_object('as_written', args) END,
  result = CASE WHEN jsonb_typeof(result) IN ('object', 'null') THEN nullif(result, 'null')
                WHEN result IS NOT NULL THEN jsonb_build_object('as_written', result) END
WHERE jsonb_typeof(args) <> 'object' OR jsonb_typeof(result) <> 'object';
UPDATE public.voice_memories
SET prefs = CASE WHEN coalesce(prefs, 'null') = 'null' THEN '{}'::jsonb ELSE jsonb_build_object('as_written', prefs) END
WHERE jsonb_typeof(prefs) IS DISTINCT FROM 'object';

-- One row a caller: the one seen last keeps the number, the others stay as rows and say in their prefs whose they were.
UPDATE public.voice_memories AS m SET msisdn = NULL, prefs = m.prefs || jsonb_build_object('msisdn_as_written', m.msisdn)
FROM (SELECT id, row_number() OVER (PARTITION BY msisdn ORDER BY last_seen_at DESC NULLS LAST, created_at DESC, id) AS nr
      FROM public.voice_memories WHERE msisdn IS NOT NULL) AS seen
WHERE m.id = seen.id AND seen.nr > 1;
DO $$
DECLARE
  item record;
  twice boolean;
BEGIN
  FOR item IN SELECT * FROM (VALUES ('voice_memories', 'msisdn'), ('voice_calls', 'twilio_call_sid'),
      ('voice_calls', 'mtn_call_sid'), ('openai_sessions', 'session_id')) AS v (tab, col) LOOP
    CONTINUE WHEN EXISTS (
      SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = item.col
      WHERE i.indrelid = format('public.%I', item.tab)::regclass AND i.indisunique AND i.indpred IS NULL
        AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum);
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM public.%I WHERE %I IS NOT NULL GROUP BY %2$I HAVING count(*) > 1)',
                   item.tab, item.col) INTO twice;
    IF twice THEN
      RAISE WARNING '%.% holds repeated values: no unique index', item.tab, item.col;
    ELSE
      EXECUTE format('CREATE UNIQUE INDEX %I ON public.%I (%I)', item.tab || '_' || item.col || '_key', item.tab, item.col);
    END IF;
  END LOOP;
END
$$;

-- What was said, out of voice_segments -----------------------------------------------------------------------------------

-- Under ids made of theirs, so that a copy is made once. A line that both tables hold (same call, words and time) is the same
-- line. Times of a call strictly increase: a segment that begins with another comes so many microseconds later. A number that
-- is taken is left out; a segment of no call that is there stays where it is.
DO $$
BEGIN
  IF to_regclass('public.voice_segments') IS NULL THEN
    RETURN;
  END IF;
  INSERT INTO public.transcripts (id, call_id, sequence, role, content, confidence, t, created_at)
  SELECT s.key, s.call_id,
    CASE WHEN s.same_number = 1 AND NOT EXISTS (
           SELECT 1 FROM public.transcripts x WHERE x.call_id = s.call_id AND x.sequence = s.sequence) THEN s.sequence END,
    s.role, s.text, s.confidence,
    s.at + make_interval(secs => 0.000001 * (s.same_time - 1 + (
      SELECT count(*) FROM public.transcripts x WHERE x.call_id = s.call_id AND x.t = s.at))),
    s.at
  FROM (
    SELECT v.*, row_number() OVER (PARTITION BY v.call_id, v.at ORDER BY v.sequence, v.key) AS same_time,
      CASE WHEN v.sequence IS NOT NULL THEN row_number() OVER (PARTITION BY v.call_id, v.sequence ORDER BY v.at, v.key)
      END AS same_number
    FROM (
      SELECT md5('voice_segments ' || coalesce(to_jsonb(g) ->> 'id', to_jsonb(g)::text))::uuid AS key, g.call_id, g.sequence,
        coalesce(g.speaker, 'system') AS role, nullif(g.text, '') AS text, g.confidence,
        coalesce(g.started_at, g.ended_at, c.started_at, c.created_at) AS at
      FROM public.voice_segments AS g JOIN public.voice_calls AS c ON c.id = g.call_id
    ) AS v
    WHERE NOT EXISTS (SELECT 1 FROM public.transcripts x WHERE x.id = v.key)
      AND NOT EXISTS (SELECT 1 FROM public.transcripts x WHERE x.call_id = v.call_id AND x.content = v.text AND x.t = v.at)
  ) AS s
  ON CONFLICT (id) DO NOTHING;
END
$$;
UPDATE public.voice_calls AS c SET last_transcript_segment_at = s.t
FROM (SELECT call_id, max(t) AS t FROM public.transcripts GROUP BY call_id) AS s
WHERE c.id = s.call_id AND c.last_transcript_segment_at IS NULL AND s.t IS NOT NULL;

-- updated_at moves by itself; last, so that none of the above moves it -----------------------------------------------------

CREATE OR REPLACE TRIGGER sipua_updated_at BEFORE UPDATE ON public.voice_calls
  FOR EACH ROW EXECUTE FUNCTION sipua.set_updated_at();
CREATE OR REPLACE TRIGGER sipua_updated_at BEFORE UPDATE ON public.voice_memories
  FOR EACH ROW EXECUTE FUNCTION sipua.set_updated_at();
CREATE OR REPLACE TRIGGER sipua_updated_at BEFORE UPDATE ON sipua.catalogue
  FOR EACH ROW EXECUTE FUNCTION sipua.set_updated_at();
CREATE OR REPLACE TRIGGER sipua_updated_at BEFORE UPDATE ON sipua.faq
  FOR EACH ROW EXECUTE FUNCTION sipua.set_updated_at();
CREATE OR REPLACE TRIGGER sipua_updated_at BEFORE UPDATE ON sipua.service_requests
  FOR EACH ROW EXECUTE FUNCTION sipua.set_updated_at();
CREATE OR REPLACE TRIGGER sipua_updated_at BEFORE UPDATE ON sipua.callback_requests
  FOR EACH ROW EXECUTE FUNCTION sipua.set_updated_at();

-- The readers' view, where it is not there ------------------------------------------------------------------------------------

DO $$
BEGIN
  IF to_regclass('public.voice_call_kpis') IS NULL THEN
    CREATE VIEW public.voice_call_kpis WITH (security_invoker = true) AS
    SELECT date_trunc('day', started_at) AS day, channel, count(*) AS total_calls,
      count(*) FILTER (WHERE status = 'completed') AS completed_calls,
      count(*) FILTER (WHERE status = 'failed') AS failed_calls,
      avg(duration_seconds) AS average_duration_seconds,
      percentile_cont(0.95) WITHIN GROUP (ORDER BY first_time_to_assistant_seconds) AS p95_assistant_seconds
    FROM public.voice_calls GROUP BY 1, 2;
  END IF;
END
$$;
