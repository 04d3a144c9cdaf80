"""The shapes of the schema found in the wild, written from the documented facts, with rows in them."""

from __future__ import annotations

V1 = """
CREATE TABLE public.voice_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), SID text UNIQUE, sip_session_id text, openai_call_id text,
  direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')), from_e164 text, to_e164 text,
  project_id text, locale text DEFAULT 'en', country text, started_at timestamptz DEFAULT now(),
  ended_at timestamptz, duration_seconds int,
  status text DEFAULT 'initiated' CHECK (status IN ('initiated', 'ringing', 'in_progress', 'completed',
    'failed', 'busy', 'no_answer')),
  outcome text, consent_obtained boolean DEFAULT false, consent_recorded_at timestamptz, consent_channel text,
  consent_media_url text, transcript text, transcript_locale text DEFAULT 'en',
  transcript_status text DEFAULT 'pending' CHECK (transcript_status IN ('pending', 'processing', 'completed',
    'failed')),
  last_transcript_segment_at timestamptz, intent text, handoff boolean DEFAULT false, handoff_target text,
  metadata jsonb DEFAULT '{}', created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE public.openai_sessions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  session_id text NOT NULL UNIQUE, model text, voice text DEFAULT 'alloy', instructions text,
  modalities text[] DEFAULT '{text,audio}', input_audio_format text DEFAULT 'pcm16',
  output_audio_format text DEFAULT 'pcm16', turn_detection jsonb, tools jsonb, temperature numeric DEFAULT 0.8,
  max_response_output_tokens integer, started_at timestamptz DEFAULT now(), ended_at timestamptz,
  status text DEFAULT 'active' CHECK (status IN ('active', 'completed', 'failed')), metadata jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now());
CREATE TABLE public.transcripts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  call_id uuid NOT NULL REFERENCES public.voice_calls ON DELETE CASCADE, sequence integer,
  role text NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'caller')), content text NOT NULL,
  confidence numeric, lang text, t timestamptz DEFAULT now(), created_at timestamptz DEFAULT now());
CREATE UNIQUE INDEX ON public.transcripts (call_id, sequence) WHERE sequence IS NOT NULL;
CREATE TABLE public.voice_events (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  t timestamptz DEFAULT now(), type text NOT NULL CHECK (type IN ('call_started', 'call_ended', 'ringing')),
  payload jsonb DEFAULT '{}', created_at timestamptz DEFAULT now());
CREATE TABLE public.mcp_tool_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  server text, tool text NOT NULL, args jsonb, result jsonb, success boolean, error text,
  t timestamptz DEFAULT now(), created_at timestamptz DEFAULT now());
CREATE TABLE public.call_consents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  consent_text text, consent_result boolean, audio_url text, t timestamptz DEFAULT now(),
  created_at timestamptz DEFAULT now());
CREATE TABLE public.wa_threads (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  wa_conversation_id text, customer_msisdn text, state text, last_message_at timestamptz DEFAULT now(),
  created_at timestamptz DEFAULT now());
CREATE TABLE public.voice_memories (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), msisdn text NOT NULL UNIQUE, country text,
  prefs jsonb DEFAULT '{}', last_seen_at timestamptz, created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now());
CREATE ROLE_IF_ABSENT;
ALTER TABLE public.call_consents ENABLE ROW LEVEL SECURITY;
CREATE POLICY svc_rw_call_consents ON public.call_consents FOR ALL USING (current_user = 'service_role')
  WITH CHECK (true);
GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated, service_role;
INSERT INTO public.voice_calls (id, SID, direction, status, ended_at, created_at) VALUES
  ('00000000-0000-0000-0000-000000000001', 'CA1', 'inbound', 'completed', now(), '2025-01-01'),
  ('00000000-0000-0000-0000-000000000002', NULL, 'outbound', NULL, NULL, '2025-01-02');
INSERT INTO public.transcripts (call_id, sequence, role, content)
  VALUES ('00000000-0000-0000-0000-000000000001', 1, 'caller', 'hello');
"""

OCTOBER = """
CREATE TABLE public.voice_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), direction text, from_e164 text, to_e164 text,
  twilio_call_sid text UNIQUE, sip_session_id text, project_id text, locale text, started_at timestamptz,
  ended_at timestamptz, duration_seconds int, consent_obtained boolean, outcome text, handoff boolean,
  handoff_target text, country text, metadata jsonb, agent_profile text, agent_profile_confidence text,
  channel text DEFAULT 'voice', lead_name text, lead_phone text, status text, last_note text,
  first_time_to_assistant_seconds numeric);
CREATE TABLE public.voice_events (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  t timestamptz DEFAULT now(), type text, payload jsonb);
CREATE TABLE public.transcripts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  role text CHECK (role IN ('user', 'assistant', 'system')), content text, lang text, t timestamptz);
CREATE TABLE public.call_consents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  consent_text text, consent_result boolean, audio_url text, t timestamptz DEFAULT now());
CREATE TABLE public.mcp_tool_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  server text, tool text, args jsonb, result jsonb, success boolean, t timestamptz DEFAULT now());
CREATE TABLE public.wa_threads (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls ON DELETE CASCADE,
  wa_conversation_id text, customer_msisdn text, state text, last_message_at timestamptz, agent_profile text,
  agent_display_name text, metadata jsonb);
CREATE TABLE public.voice_memories (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), msisdn text, country text, prefs jsonb,
  last_seen_at timestamptz);
CREATE VIEW public.voice_call_kpis AS SELECT date_trunc('day', started_at) AS day, channel,
  count(*) AS total_calls, count(*) FILTER (WHERE status = 'completed') AS completed_calls,
  count(*) FILTER (WHERE status = 'failed') AS failed_calls, avg(duration_seconds) AS average_duration_seconds,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY first_time_to_assistant_seconds) AS p95_assistant_seconds
  FROM public.voice_calls GROUP BY 1, 2;
INSERT INTO public.voice_calls (id, direction, status, channel, started_at, ended_at, metadata) VALUES
  ('00000000-0000-0000-0000-000000000001', 'inbound', 'In-Progress', 'voice', '2025-10-01', NULL, NULL),
  ('00000000-0000-0000-0000-000000000002', 'inbound', NULL, NULL, '2025-10-02', '2025-10-02', '{"a": 1}'),
  ('00000000-0000-0000-0000-000000000003', 'sideways', 'weird', '', '2025-10-03', NULL, '{}'),
  ('00000000-0000-0000-0000-000000000004', 'outbound', 'completed', 'whatsapp', '2025-10-04', '2025-10-04', NULL);
INSERT INTO public.voice_events (call_id, type, t) VALUES
  ('00000000-0000-0000-0000-000000000001', 'response.done', '2025-10-01'),
  ('00000000-0000-0000-0000-000000000001', NULL, '2025-10-01');
INSERT INTO public.transcripts (call_id, role, content, t) VALUES
  ('00000000-0000-0000-0000-000000000001', 'user', NULL, '2025-10-01'),
  ('00000000-0000-0000-0000-000000000001', 'user', 'yes', '2025-10-01');
INSERT INTO public.voice_memories (msisdn) VALUES ('+250700000001'), ('+250700000001'), (NULL);
"""

ROLES = """
DO $$ DECLARE r text; BEGIN
  FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
    IF to_regrole(r) IS NULL THEN EXECUTE format('CREATE ROLE %I NOLOGIN', r); END IF;
  END LOOP;
END $$
"""


def seed(shape: str) -> str:
    """SQL of ``v1``, ``v2`` or ``october``."""
    if shape == "october":
        return OCTOBER
    sid = "twilio_call_sid" if shape == "v1" else "mtn_call_sid"
    return V1.replace("SID", sid).replace("CREATE ROLE_IF_ABSENT", ROLES)
