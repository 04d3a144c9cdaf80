-- Rows of S-Oct: statuses of everybody's spelling, NULL wherever the columns allow it, texts of length 0, JSON of all
-- kinds, the same number remembered three times.
INSERT INTO public.voice_calls (id, direction, status, channel, started_at, ended_at, metadata, twilio_call_sid, lead_name) VALUES
  ('00000000-0000-0000-0000-000000000001', 'inbound', 'In-Progress', 'voice', '2025-10-01', NULL, NULL, 'CA1', ''),
  ('00000000-0000-0000-0000-000000000002', 'inbound', NULL, NULL, '2025-10-02', '2025-10-02', '{"a": 1}', 'CA2', 'A'),
  ('00000000-0000-0000-0000-000000000003', 'sideways', 'weird', '', '2025-10-03', NULL, '{}', '', NULL),
  ('00000000-0000-0000-0000-000000000004', 'outbound', 'completed', 'whatsapp', '2025-10-04', '2025-10-04', NULL, NULL, NULL),
  ('00000000-0000-0000-0000-000000000005', 'outbound', '', 'voice', NULL, NULL, '[1]', NULL, NULL),
  ('00000000-0000-0000-0000-000000000006', 'inbound', 'CANCELED', 'voice', '2025-10-05', '2025-10-05', '"x"', 'CA6', '');
INSERT INTO public.voice_events (call_id, type, t, payload) VALUES
  ('00000000-0000-0000-0000-000000000001', 'response.done', '2025-10-01', '[]'),
  ('00000000-0000-0000-0000-000000000001', 'call_started', '2025-10-01', NULL),
  ('00000000-0000-0000-0000-000000000001', 'it''s "odd"', NULL, '{}'), (NULL, NULL, NULL, NULL);
INSERT INTO public.transcripts (call_id, role, content, t) VALUES
  ('00000000-0000-0000-0000-000000000001', 'user', NULL, '2025-10-01 08:00:00'),
  ('00000000-0000-0000-0000-000000000001', 'user', '', NULL),
  ('00000000-0000-0000-0000-000000000001', 'assistant', 'yes', '2025-10-01 08:00:02');
INSERT INTO public.call_consents (call_id, consent_text, consent_result) VALUES
  ('00000000-0000-0000-0000-000000000001', NULL, NULL), (NULL, '', true);
INSERT INTO public.mcp_tool_calls (call_id, tool, args, result) VALUES
  ('00000000-0000-0000-0000-000000000001', NULL, '[1]', '3'), (NULL, '', NULL, '{"ok": true}');
INSERT INTO public.wa_threads (call_id, customer_msisdn, last_message_at, metadata) VALUES
  ('00000000-0000-0000-0000-000000000001', '+250700000001', '2025-10-01', '[]'), (NULL, NULL, NULL, NULL);
INSERT INTO public.voice_memories (msisdn, country, prefs, last_seen_at) VALUES
  ('+250700000001', 'RW', '{"name": "old"}', '2025-09-01'), ('+250700000001', 'RW', '{"name": "new"}', '2025-10-01'),
  ('+250700000001', NULL, NULL, NULL), (NULL, 'KE', '[]', NULL), (NULL, NULL, '"x"', NULL), ('', NULL, '{}', NULL);
INSERT INTO public.voice_segments (id, call_id, sequence, speaker, text, confidence, started_at) VALUES
  ('00000000-0000-0000-0001-000000000001', '00000000-0000-0000-0000-000000000001', 1, 'caller', 'hello', 0.9, '2025-10-01 08:00:00'),
  ('00000000-0000-0000-0001-000000000002', '00000000-0000-0000-0000-000000000001', 2, 'assistant', 'good day', NULL, '2025-10-01 08:00:01'),
  ('00000000-0000-0000-0001-000000000003', '00000000-0000-0000-0000-000000000001', 2, 'caller', 'twice the number', 1, '2025-10-01 08:00:01'),
  ('00000000-0000-0000-0001-000000000004', '00000000-0000-0000-0000-000000000001', NULL, 'system', '', NULL, NULL),
  ('00000000-0000-0000-0001-000000000005', '00000000-0000-0000-0000-000000000001', 3, NULL, 'nobody', NULL, '2025-10-01 08:00:03'),
  ('00000000-0000-0000-0001-000000000006', '00000000-0000-0000-0000-000000000001', 4, 'assistant', 'yes', NULL, '2025-10-01 08:00:02'),
  ('00000000-0000-0000-0001-000000000007', '00000000-0000-0000-0000-00000000dead', 1, 'caller', 'no such call', NULL, '2025-10-01'),
  ('00000000-0000-0000-0001-000000000008', NULL, 1, 'caller', 'no call', NULL, '2025-10-01');
INSERT INTO public.voice_call_outcomes (call_id, outcome) VALUES ('00000000-0000-0000-0000-000000000001', 'sold');
INSERT INTO public.voice_followups (note) VALUES (NULL);
INSERT INTO public.wa_messages (body) VALUES ('');
