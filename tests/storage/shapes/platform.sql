-- The platform's queued migration 20251120100500_voice_infrastructure_complete, written from its documented behaviour:
-- CREATE … IF NOT EXISTS only, a policy only where none of that name is, then grants for everybody.
-- SID stands for twilio_call_sid (S-v1) or mtn_call_sid (S-v2).

CREATE TABLE IF NOT EXISTS public.voice_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), SID text UNIQUE, sip_session_id text, openai_call_id text,
  direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')), from_e164 text, to_e164 text,
  project_id text, locale text DEFAULT 'en', country text, started_at timestamptz DEFAULT now(),
  ended_at timestamptz, duration_seconds int,
  status text DEFAULT 'initiated' CHECK (status IN ('initiated', 'ringing', 'in_progress', 'completed', 'failed',
    'busy', 'no_answer')),
  outcome text, consent_obtained boolean DEFAULT false, consent_recorded_at timestamptz, consent_channel text,
  consent_media_url text, transcript text, transcript_locale text DEFAULT 'en',
  transcript_status text DEFAULT 'pending' CHECK (transcript_status IN ('pending', 'processing', 'completed',
    'failed')),
  last_transcript_segment_at timestamptz, intent text, handoff boolean DEFAULT false, handoff_target text,
  metadata jsonb DEFAULT '{}', created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE INDEX IF NOT EXISTS idx_voice_calls_openai_call_id ON public.voice_calls (openai_call_id);
CREATE INDEX IF NOT EXISTS idx_voice_calls_direction ON public.voice_calls (direction);
CREATE INDEX IF NOT EXISTS idx_voice_calls_status ON public.voice_calls (status);
CREATE INDEX IF NOT EXISTS idx_voice_calls_started_at ON public.voice_calls (started_at DESC);
CREATE INDEX IF NOT EXISTS idx_voice_calls_country ON public.voice_calls (country);
CREATE INDEX IF NOT EXISTS idx_voice_calls_from_e164 ON public.voice_calls (from_e164);

CREATE TABLE IF NOT EXISTS public.openai_sessions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  session_id text NOT NULL UNIQUE, model text, voice text DEFAULT 'alloy', instructions text,
  modalities text[] DEFAULT '{text,audio}', input_audio_format text DEFAULT 'pcm16',
  output_audio_format text DEFAULT 'pcm16', turn_detection jsonb, tools jsonb, temperature numeric DEFAULT 0.8,
  max_response_output_tokens integer, started_at timestamptz DEFAULT now(), ended_at timestamptz,
  status text DEFAULT 'active' CHECK (status IN ('active', 'completed', 'failed')), metadata jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now());

CREATE TABLE IF NOT EXISTS public.transcripts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  call_id uuid NOT NULL REFERENCES public.voice_calls (id) ON DELETE CASCADE, sequence integer,
  role text NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'caller')), content text NOT NULL,
  confidence numeric, lang text, t timestamptz DEFAULT now(), created_at timestamptz DEFAULT now());
CREATE UNIQUE INDEX IF NOT EXISTS idx_transcripts_call_sequence ON public.transcripts (call_id, sequence)
  WHERE sequence IS NOT NULL;

CREATE TABLE IF NOT EXISTS public.voice_events (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  t timestamptz DEFAULT now(),
  type text NOT NULL CHECK (type IN ('call_started', 'call_ended', 'ringing', 'answered', 'transcript_segment',
    'tool_call', 'error', 'webhook', 'openai_session_created', 'openai_session_updated', 'openai_response_created',
    'openai_response_done', 'openai_audio_buffer_committed', 'openai_input_audio_buffer_speech_started',
    'openai_input_audio_buffer_speech_stopped', 'openai_conversation_item_created')),
  payload jsonb DEFAULT '{}', created_at timestamptz DEFAULT now());

CREATE TABLE IF NOT EXISTS public.mcp_tool_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  server text, tool text NOT NULL, args jsonb, result jsonb, success boolean, error text,
  t timestamptz DEFAULT now(), created_at timestamptz DEFAULT now());

CREATE TABLE IF NOT EXISTS public.call_consents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  consent_text text, consent_result boolean, audio_url text, t timestamptz DEFAULT now(),
  created_at timestamptz DEFAULT now());

CREATE TABLE IF NOT EXISTS public.wa_threads (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  wa_conversation_id text, customer_msisdn text, state text, last_message_at timestamptz DEFAULT now(),
  created_at timestamptz DEFAULT now());

CREATE TABLE IF NOT EXISTS public.voice_memories (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), msisdn text NOT NULL UNIQUE, country text,
  prefs jsonb DEFAULT '{}', last_seen_at timestamptz, created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now());

DO $$
DECLARE
  tab text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['voice_calls', 'openai_sessions', 'transcripts', 'voice_events', 'mcp_tool_calls',
                             'call_consents', 'wa_threads', 'voice_memories'] LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', tab);
    IF NOT EXISTS (SELECT 1 FROM pg_policies
                   WHERE schemaname = 'public' AND tablename = tab AND policyname = 'svc_rw_' || tab) THEN
      EXECUTE format('CREATE POLICY %I ON public.%I FOR ALL USING (auth.role() = ''service_role'') '
                     'WITH CHECK (true)', 'svc_rw_' || tab, tab);
    END IF;
    EXECUTE format('GRANT ALL ON public.%I TO postgres, anon, authenticated, service_role', tab);
  END LOOP;
END
$$;
