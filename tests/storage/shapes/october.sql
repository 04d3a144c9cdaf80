-- S-Oct: older columns, free texts where later lists stand, no openai_sessions, tables of its own besides.
CREATE TABLE public.voice_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), direction text, from_e164 text, to_e164 text,
  twilio_call_sid text UNIQUE, sip_session_id text, project_id text, locale text, started_at timestamptz,
  ended_at timestamptz, duration_seconds int, consent_obtained boolean, outcome text, handoff boolean,
  handoff_target text, country text, metadata jsonb, agent_profile text, agent_profile_confidence text,
  channel text DEFAULT 'voice', lead_name text, lead_phone text, status text, last_note text,
  first_time_to_assistant_seconds numeric);
CREATE TABLE public.voice_events (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  t timestamptz DEFAULT now(), type text, payload jsonb);
CREATE TABLE public.transcripts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  role text CHECK (role IN ('user', 'assistant', 'system')), content text, lang text, t timestamptz);
CREATE TABLE public.call_consents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  consent_text text, consent_result boolean, audio_url text, t timestamptz DEFAULT now());
CREATE TABLE public.mcp_tool_calls (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  server text, tool text, args jsonb, result jsonb, success boolean, t timestamptz DEFAULT now());
CREATE TABLE public.wa_threads (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  wa_conversation_id text, customer_msisdn text, state text, last_message_at timestamptz, agent_profile text,
  agent_display_name text, metadata jsonb);
CREATE TABLE public.voice_memories (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), msisdn text, country text, prefs jsonb, last_seen_at timestamptz);
CREATE VIEW public.voice_call_kpis AS
SELECT date_trunc('day', started_at) AS day, channel, count(*) AS total_calls,
  count(*) FILTER (WHERE status = 'completed') AS completed_calls,
  count(*) FILTER (WHERE status = 'failed') AS failed_calls,
  avg(duration_seconds) AS average_duration_seconds,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY first_time_to_assistant_seconds) AS p95_assistant_seconds
FROM public.voice_calls GROUP BY 1, 2;
-- not ours; in some databases
CREATE TABLE public.voice_segments (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid, sequence integer,
  speaker text CHECK (speaker IN ('caller', 'assistant', 'system')), text text, confidence numeric,
  started_at timestamptz, ended_at timestamptz);
CREATE TABLE public.voice_call_outcomes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid, outcome text);
CREATE TABLE public.voice_followups (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), call_id uuid, note text);
CREATE TABLE public.wa_messages (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), thread_id uuid, body text);
