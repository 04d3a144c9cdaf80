-- Rows of S-v1 and S-v2: NULL status, texts of length 0, all kinds of JSON, repeated numbers of no sequence.
INSERT INTO public.voice_calls (id, SID, direction, status, transcript_status, metadata, ended_at, created_at) VALUES
  ('00000000-0000-0000-0000-000000000001', 'CA1', 'inbound', 'completed', 'completed', '{"a": 1}', '2025-11-21', '2025-11-20'),
  ('00000000-0000-0000-0000-000000000002', NULL, 'outbound', NULL, NULL, NULL, NULL, '2025-11-21'),
  ('00000000-0000-0000-0000-000000000003', '', 'inbound', 'no_answer', 'pending', '[1, 2]', '2025-11-22', '2025-11-22'),
  ('00000000-0000-0000-0000-000000000004', 'CA4', 'inbound', 'in_progress', 'failed', '"text"', NULL, '2025-11-23');
INSERT INTO public.openai_sessions (call_id, session_id, status, ended_at) VALUES
  ('00000000-0000-0000-0000-000000000001', 'sess_1', 'completed', '2025-11-21'),
  (NULL, 'sess_2', NULL, NULL);
INSERT INTO public.transcripts (call_id, sequence, role, content, t) VALUES
  ('00000000-0000-0000-0000-000000000001', 1, 'caller', 'hello', '2025-11-20 10:00:00'),
  ('00000000-0000-0000-0000-000000000001', 2, 'assistant', '', '2025-11-20 10:00:01'),
  ('00000000-0000-0000-0000-000000000001', NULL, 'system', 'x', NULL),
  ('00000000-0000-0000-0000-000000000001', NULL, 'user', 'x', NULL);
INSERT INTO public.voice_events (call_id, type, payload) VALUES
  ('00000000-0000-0000-0000-000000000001', 'call_started', '{}'), (NULL, 'webhook', NULL),
  ('00000000-0000-0000-0000-000000000001', 'error', '"boom"');
INSERT INTO public.mcp_tool_calls (call_id, tool, args, result) VALUES
  ('00000000-0000-0000-0000-000000000001', 'search_services', '{"query": "moto"}', '[1]'),
  (NULL, '', '"moto"', NULL);
INSERT INTO public.call_consents (call_id, consent_text, consent_result) VALUES
  ('00000000-0000-0000-0000-000000000001', 'do you agree?', true), (NULL, '', NULL);
INSERT INTO public.wa_threads (call_id, customer_msisdn, state) VALUES
  ('00000000-0000-0000-0000-000000000001', '+250700000001', 'initiated'), (NULL, NULL, '');
INSERT INTO public.voice_memories (msisdn, prefs, last_seen_at) VALUES
  ('+250700000001', '{"name": "A"}', '2025-11-21'), ('+250700000002', '[]', NULL), ('', NULL, NULL);
