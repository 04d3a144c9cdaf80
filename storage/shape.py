"""What the writer and the readers need of the database, as data, and the queries that compare it.

Columns, not types: a database whose column has another type fails at its first write with a named error.
"""

from __future__ import annotations

import psycopg

TABLES: dict[str, tuple[str, ...]] = {
    "public.voice_calls": (
        *("id", "twilio_call_sid", "mtn_call_sid", "provider", "trunk", "sip_session_id", "openai_call_id"),
        *("direction", "from_e164", "to_e164", "project_id", "locale", "country", "started_at", "ended_at"),
        *("duration_seconds", "status", "outcome", "consent_obtained", "consent_recorded_at"),
        *("consent_channel", "consent_media_url", "transcript", "transcript_locale", "transcript_status"),
        *("last_transcript_segment_at", "intent", "handoff", "handoff_target", "agent_profile"),
        *("agent_profile_confidence", "channel", "lead_name", "lead_phone", "last_note"),
        *("first_time_to_assistant_seconds", "metadata", "created_at", "updated_at"),
    ),
    "public.openai_sessions": (
        *(
            "id",
            "call_id",
            "session_id",
            "model",
            "voice",
            "instructions",
            "modalities",
            "input_audio_format",
        ),
        *("output_audio_format", "turn_detection", "tools", "temperature", "max_response_output_tokens"),
        *("started_at", "ended_at", "status", "metadata", "created_at"),
    ),
    "public.transcripts": (
        *("id", "call_id", "sequence", "role", "content", "confidence", "lang", "t", "created_at"),
    ),
    "public.voice_events": ("id", "call_id", "t", "type", "payload", "created_at"),
    "public.mcp_tool_calls": (
        *("id", "call_id", "server", "tool", "args", "result", "success", "error", "t", "created_at"),
    ),
    "public.call_consents": (
        "id",
        "call_id",
        "consent_text",
        "consent_result",
        "audio_url",
        "t",
        "created_at",
    ),
    "public.wa_threads": (
        *("id", "call_id", "wa_conversation_id", "customer_msisdn", "state", "last_message_at", "created_at"),
    ),
    "public.voice_memories": ("id", "msisdn", "country", "prefs", "last_seen_at", "created_at", "updated_at"),
    "sipua.processes": ("instance", "node", "worker", "pid", "version", "started_at", "seen_at", "ended_at"),
    "sipua.call_attempts": (
        *("id", "call_id", "ordinal", "trunk", "target", "code", "reason", "ms", "decision", "started_at"),
    ),
    "sipua.call_media": (  # a view
        *("call_id", "trunk", "direction", "started_at", "codec", "mos", "r", "loss_percent", "burst_ratio"),
        *("delay_ms", "received", "lost", "late", "jitter_ms", "dropped", "buffer", "sent", "far_end_lost"),
        *("far_end_lost_percent", "far_end_jitter_ms", "rtt_ms"),
    ),
    "sipua.trunk_states": (
        *("node", "worker", "trunk", "target", "what", "state", "why", "changed_at", "seen_at", "latency_ms"),
        "instance",
    ),
    "sipua.trunk_changes": (
        *("id", "at", "node", "worker", "instance", "trunk", "target", "what", "before", "after", "why"),
    ),
    "sipua.drill_runs": (
        *("id", "run_id", "drill", "held", "detect_ms", "attempted", "lost", "extra_pdd_ms"),
        *("attempts_per_call", "recover_ms", "mutate", "live", "version", "node", "started_at", "ended_at"),
        "details",
    ),
    "sipua.catalogue": (
        *(
            "key",
            "name",
            "category",
            "location",
            "text_en",
            "text_sw",
            "text_fr",
            "text_rw",
            "phone",
            "hours",
        ),
        *("price_note", "updated_at", "search"),
    ),
    "sipua.faq": (
        *("key", "question_en", "answer_en", "question_sw", "answer_sw", "question_fr", "answer_fr"),
        *("question_rw", "answer_rw", "updated_at", "search"),
    ),
    "sipua.service_requests": (
        *("id", "reference", "kind", "details", "caller", "call_id", "locale", "status", "created_at"),
        "updated_at",
    ),
    "sipua.callback_requests": (
        *("id", "number", "name", "department", "reason", "wanted_at", "locale", "call_id", "status"),
        *("created_at", "updated_at"),
    ),
    "sipua.wa_messages": ("id", "msisdn", "direction", "thread_id", "status", "error", "at"),
}
SHARED = tuple(name.removeprefix("public.") for name in TABLES if name.startswith("public."))

_COLUMNS = """
SELECT n.nspname || '.' || c.relname, array_agg(a.attname::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname IN ('public', 'sipua') AND c.relkind IN ('r', 'p', 'v') GROUP BY 1
"""
_RLS_OFF = """
SELECT c.relname::text FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s) AND NOT c.relrowsecurity ORDER BY 1
"""
_GRANTED = """
SELECT r.rolname::text, c.relname::text FROM pg_roles r, pg_class c
WHERE r.rolname IN ('anon', 'authenticated') AND c.relnamespace = 'public'::regnamespace
  AND c.relname = ANY (%s)
  AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 2, 1
"""
_LOOSE_POLICIES = """
SELECT policyname::text, tablename::text FROM pg_policies
WHERE schemaname = 'public' AND tablename = ANY (%s) AND permissive = 'PERMISSIVE' AND cmd IN ('ALL', 'INSERT')
  AND coalesce(with_check, qual) = 'true' AND roles && '{public,anon,authenticated}'::name[] ORDER BY 2, 1
"""


async def missing(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> list[str]:
    """Tables, columns and row level security that are not there, one line each."""
    rows = await (await connection.execute(_COLUMNS)).fetchall()
    there = {str(name): set(columns) for name, columns in rows if isinstance(columns, list)}
    lines: list[str] = []
    for table, columns in TABLES.items():
        if table not in there:
            lines.append(f"table {table}")
        else:
            lines += [f"column {table}.{column}" for column in columns if column not in there[table]]
    off = await (await connection.execute(_RLS_OFF, (list(SHARED),))).fetchall()
    return lines + [f"row level security on public.{name}" for (name,) in off]


async def open_doors(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> list[str]:
    """Grants and policies through which anon or authenticated reach the shared tables."""
    shared = (list(SHARED),)
    granted = await (await connection.execute(_GRANTED, shared)).fetchall()
    loose = await (await connection.execute(_LOOSE_POLICIES, shared)).fetchall()
    return [f"role {role} has privileges on public.{table}" for role, table in granted] + [
        f"policy {policy} on public.{table} lets everyone insert" for policy, table in loose
    ]
