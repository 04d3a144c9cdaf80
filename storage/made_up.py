"""Made-up calls by the million, for measurements: a year of them, as a busy agent would have written them.

One in ``TALK_EVERY`` has its transcripts, events, sessions, tools and consents, and so have all that go on now. Rows
are made in the server by generate_series; secondary indexes are dropped before and built again after, and triggers and
foreign keys rest meanwhile (only the owner of the server may).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from storage.dsn import connect_options, mapped_errors

CHUNK = 50_000
TALK_EVERY = 20
LIVE = 100
BYTES_A_CALL = 3000  # on disk, with its share of what was said and the indexes

_TABLES = (
    "voice_calls", "transcripts", "voice_events", "openai_sessions", "mcp_tool_calls", "call_consents",
)  # fmt: skip
_SERIES = "generate_series(%(first)s::bigint, %(last)s::bigint) AS n"
_ID = "md5('call ' || n)::uuid"
# Calls are evenly spread over a year; n = 1 is the latest.
_STARTED = "date_trunc('second', now()) - n * interval '365 days' / %(calls)s - interval '5 s'"
_CALLS = f"""
INSERT INTO public.voice_calls (id, twilio_call_sid, sip_session_id, direction, from_e164, to_e164, locale, country,
  provider, trunk, channel, started_at, ended_at, duration_seconds, status, outcome, intent,
  first_time_to_assistant_seconds, metadata)
SELECT {_ID}, CASE WHEN n %% 3 = 0 THEN 'CA' || md5(n::text) END, md5('leg ' || n) || '@192.0.2.9',
  CASE WHEN n %% 5 = 0 THEN 'outbound' ELSE 'inbound' END, caller, '+2507880990' || lpad((n %% 50)::text, 2, '0'),
  (ARRAY['en', 'rw', 'rw', 'sw', 'fr'])[1 + n %% 5], 'RW', CASE WHEN n %% 3 = 0 THEN 'twilio' ELSE 'mtn' END,
  (ARRAY['twilio', 'mtn', 'mtn-backup'])[1 + n %% 3], 'voice', started, CASE WHEN n > {LIVE} THEN started + length END,
  CASE WHEN n > {LIVE} THEN extract(epoch FROM length)::int END,
  CASE WHEN n <= {LIVE} THEN 'in_progress' ELSE (ARRAY['completed', 'completed', 'completed', 'completed', 'completed',
    'completed', 'completed', 'no_answer', 'busy', 'failed'])[1 + n %% 10] END,
  CASE WHEN n > {LIVE} THEN (ARRAY['caller_hangup', 'caller_hangup', 'agent_hangup', 'caller_silent', 'caller_hangup',
    'transferred', 'resolved', 'caller_cancelled', 'busy', 'service_unavailable'])[1 + n %% 10] END,
  (ARRAY['transport', 'food', 'question'])[1 + n %% 3], 0.8 + n %% 9 / 10.0,
  jsonb_build_object('node', 'made-up', 'worker', 0, 'instance', md5('process')::uuid, 'codec', 'PCMU',
    'from_uri', 'sip:' || caller || '@192.0.2.9', 'source', '192.0.2.9:5060',
    'usage', jsonb_build_object('cost_usd', n %% 90 / 100.0, 'audio_in', 5000, 'audio_out', 7000, 'text_in', 2000),
    'rtp', jsonb_build_object('sent', 3000, 'received', 2990, 'lost', n %% 12, 'late', n %% 3,
      'jitter_ms', n %% 200 / 10.0, 'concealed_frames', n %% 7, 'dropped', 0,
      'quality', jsonb_build_object('r', 90, 'mos', 4.4 - n %% 14 / 10.0, 'loss_percent', n %% 12 / 10.0),
      'far_end', jsonb_build_object('lost', 3, 'lost_percent', 0.1, 'jitter_ms', 2.5, 'rtt_ms', 42.1)))
FROM (SELECT n, '+25078' || lpad((n * 7919 %% 50000 + 1000000)::text, 7, '0') AS caller,
        {_STARTED} AS started, (20 + n %% 180) * interval '1 s' AS length
      FROM {_SERIES}) AS made
"""
_OF_TALKS = f"""
FROM (SELECT n, {_ID} AS id, {_STARTED} AS started FROM {_SERIES}
      WHERE n <= {LIVE} OR n %% {TALK_EVERY} = 0) AS call
"""
_TALKS = (
    f"""
INSERT INTO public.transcripts (call_id, sequence, role, content, lang, t)
SELECT id, k, CASE WHEN k %% 2 = 0 THEN 'user' ELSE 'assistant' END,
  'Muraho, ndashaka moto kuri Kimironko saa tatu n''igice. ' || md5(n || ' ' || k), 'rw', started + k * interval '6 s'
{_OF_TALKS} CROSS JOIN generate_series(1, 16) AS k
""",
    f"""
INSERT INTO public.voice_events (call_id, type, t, payload)
SELECT id, (ARRAY['call_started', 'ringing', 'answered', 'openai_session_created',
    'openai_input_audio_buffer_speech_started', 'openai_input_audio_buffer_speech_stopped',
    'openai_audio_buffer_committed', 'openai_response_created', 'transcript_segment',
    'openai_response_done'])[CASE WHEN k < 5 THEN k ELSE 5 + k %% 6 END],
  started + k * interval '2 s', jsonb_build_object('item_id', md5(n || ' ' || k), 'sequence', k, 'role', 'assistant')
{_OF_TALKS} CROSS JOIN generate_series(1, 40) AS k
""",
    f"""
INSERT INTO public.openai_sessions (call_id, session_id, model, voice, instructions, started_at, ended_at, status)
SELECT id, 'sess_' || n, 'gpt-realtime', 'marin', repeat('You answer the telephone. ', 60), started,
  CASE WHEN n > {LIVE} THEN started + interval '2 min' END, CASE WHEN n > {LIVE} THEN 'completed' ELSE 'active' END
{_OF_TALKS}
""",
    f"""
INSERT INTO public.mcp_tool_calls (call_id, tool, args, result, success, t)
SELECT id, 'search_services', '{{"query": "moto"}}', '{{"found": 3}}', true, started + interval '20 s' {_OF_TALKS}
""",
    f"""
INSERT INTO public.call_consents (call_id, consent_text, consent_result, t)
SELECT id, 'May this call be recorded?', n %% 4 > 0, started + interval '4 s' {_OF_TALKS}
""",
)
_INDEXES = """
SELECT format('%%I.%%I', i.schemaname, i.indexname) AS name, i.indexdef FROM pg_indexes AS i
WHERE i.schemaname = 'public' AND i.tablename = ANY (%s)
  AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conname = i.indexname)
  AND i.indexdef NOT LIKE 'CREATE UNIQUE%%'
"""


def make_up(dsn: str, calls: int, told: Callable[[int], None]) -> None:
    """``told`` hears how many are there; what it raises ends it. For an empty migrated database of one's own server."""
    with (
        mapped_errors(dsn),
        psycopg.connect(
            dsn, autocommit=True, prepare_threshold=None, **connect_options("sipua-bench")
        ) as connection,
    ):
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        indexes = connection.execute(_INDEXES, (list(_TABLES),)).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        for first in range(1, calls + 1, CHUNK):
            values: Mapping[str, Any] = {
                "calls": calls,
                "first": first,
                "last": min(first + CHUNK - 1, calls),
            }
            for query in (_CALLS, *_TALKS):
                connection.execute(query.encode(), values)
            told(values["last"])
        for _, definition in indexes:
            connection.execute(str(definition).encode())
        for table in _TABLES:
            connection.execute(sql.SQL("VACUUM ANALYZE public.{}").format(sql.Identifier(table)))


def call_id(number: int) -> UUID:
    """Of the n-th call; 1 is the latest."""
    return UUID(_digest(f"call {number}"))


def sip_session_id(number: int) -> str:
    """Its SIP Call-ID."""
    return _digest(f"leg {number}") + "@192.0.2.9"


def _digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
