-- What the agent's tools read and write: a catalogue and answers to search in, what callers ordered or asked for, and
-- the messages of WhatsApp threads.
--
-- Adds only; may run again. PostgreSQL 15 to 18. Never edit this file once released: add another.

-- Similar spellings, where the server has pg_trgm and lets us; search does without it.
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA sipua;
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'pg_trgm: % (search goes by beginnings of words only)', SQLERRM;
END
$$;

-- Lower case without accents, in any collation; storage.catalogue does the same with what is searched for.
CREATE OR REPLACE FUNCTION sipua.plain(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog AS $$
  SELECT translate(replace(replace(replace(replace(lower(coalesce(value, '')),
    'œ', 'oe'), 'Œ', 'oe'), 'æ', 'ae'), 'Æ', 'ae'),
    'àáâãäåçèéêëìíîïñòóôõöùúûüýÿÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝ''’-/',
    'aaaaaaceeeeiiiinooooouuuuyyaaaaaaceeeeiiiinooooouuuuy    ')
$$;

-- Services and vendors. ``key`` is the importer's name of a row.
CREATE TABLE IF NOT EXISTS sipua.catalogue (
  key text PRIMARY KEY,
  name text NOT NULL,
  category text NOT NULL CHECK (category IN ('transport', 'marketplace', 'food', 'shopping', 'services')),
  location text,
  text_en text,
  text_sw text,
  text_fr text,
  text_rw text,
  phone text,
  hours text,
  price_note text,
  updated_at timestamptz NOT NULL DEFAULT now(),
  search tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector('simple'::regconfig, sipua.plain(name)), 'A')
    || setweight(to_tsvector('simple'::regconfig, sipua.plain(location) || ' ' || category), 'B')
    || setweight(to_tsvector('simple'::regconfig, sipua.plain(text_en) || ' ' || sipua.plain(text_sw) || ' '
         || sipua.plain(text_fr) || ' ' || sipua.plain(text_rw)), 'C')) STORED
);
CREATE INDEX IF NOT EXISTS catalogue_search_idx ON sipua.catalogue USING gin (search);

-- Questions that callers ask, with their answers.
CREATE TABLE IF NOT EXISTS sipua.faq (
  key text PRIMARY KEY,
  question_en text,
  answer_en text,
  question_sw text,
  answer_sw text,
  question_fr text,
  answer_fr text,
  question_rw text,
  answer_rw text,
  updated_at timestamptz NOT NULL DEFAULT now(),
  search tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector('simple'::regconfig, sipua.plain(question_en) || ' ' || sipua.plain(question_sw) || ' '
      || sipua.plain(question_fr) || ' ' || sipua.plain(question_rw)), 'A')
    || setweight(to_tsvector('simple'::regconfig, sipua.plain(answer_en) || ' ' || sipua.plain(answer_sw) || ' '
      || sipua.plain(answer_fr) || ' ' || sipua.plain(answer_rw)), 'C')) STORED
);
CREATE INDEX IF NOT EXISTS faq_search_idx ON sipua.faq USING gin (search);

-- What a caller ordered. ``reference`` was read out; it is made from ``id``, so two requests may share one (1 in 10^9).
CREATE TABLE IF NOT EXISTS sipua.service_requests (
  id uuid PRIMARY KEY,
  reference text NOT NULL,
  kind text NOT NULL,
  details jsonb NOT NULL DEFAULT '{}'::jsonb,
  caller text,
  call_id uuid REFERENCES public.voice_calls (id) ON DELETE SET NULL,
  locale text,
  status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'confirmed', 'done', 'cancelled')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS service_requests_reference_idx ON sipua.service_requests (reference);
CREATE INDEX IF NOT EXISTS service_requests_created_at_idx ON sipua.service_requests (created_at DESC);
CREATE INDEX IF NOT EXISTS service_requests_caller_idx ON sipua.service_requests (caller, created_at DESC);

-- Who wants to be called back, about what and when, in their own words.
CREATE TABLE IF NOT EXISTS sipua.callback_requests (
  id uuid PRIMARY KEY,
  number text NOT NULL,
  name text,
  department text,
  reason text,
  wanted_at text,
  locale text,
  call_id uuid REFERENCES public.voice_calls (id) ON DELETE SET NULL,
  status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'done', 'cancelled')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS callback_requests_created_at_idx ON sipua.callback_requests (created_at DESC);

-- Messages of WhatsApp, by the service's id; what they say is not kept. ``direction`` is ours to say: out or in.
CREATE TABLE IF NOT EXISTS sipua.wa_messages (
  id text PRIMARY KEY,
  msisdn text NOT NULL,
  direction text NOT NULL CHECK (direction IN ('out', 'in')),
  thread_id uuid REFERENCES public.wa_threads (id) ON DELETE CASCADE,
  status text,
  error text,
  at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS wa_messages_msisdn_idx ON sipua.wa_messages (msisdn, direction, at DESC);

-- As for the shared tables: nobody but the owner and service_role.
DO $$
DECLARE
  tab text;
  rolname text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['catalogue', 'faq', 'service_requests', 'callback_requests', 'wa_messages'] LOOP
    EXECUTE format('ALTER TABLE sipua.%I ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('DROP POLICY IF EXISTS %I ON sipua.%I', 'svc_rw_' || tab, tab);
    EXECUTE format('CREATE POLICY %I ON sipua.%I FOR ALL USING (auth.role() = ''service_role'') '
                   'WITH CHECK (auth.role() = ''service_role'')', 'svc_rw_' || tab, tab);
    EXECUTE format('REVOKE ALL ON sipua.%I FROM PUBLIC', tab);
    FOREACH rolname IN ARRAY ARRAY['anon', 'authenticated'] LOOP
      IF to_regrole(rolname) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON sipua.%I FROM %I', tab, rolname);
      END IF;
    END LOOP;
    IF to_regrole('service_role') IS NOT NULL THEN
      EXECUTE format('GRANT ALL ON sipua.%I TO service_role', tab);
    END IF;
  END LOOP;
END
$$;
