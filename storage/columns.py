"""The columns that the writer and the readers need, by their types: what a database must have to fit.

A line is a type and the columns of it; ``any`` is for a view of somebody else's. A database may have more columns, and
a column may have another type that holds every value of the one here (``WIDER``).
"""

from __future__ import annotations

_COLUMNS = {
    "public.voice_calls": """
        uuid: id
        text: twilio_call_sid mtn_call_sid provider trunk sip_session_id openai_call_id direction from_e164
          to_e164 project_id locale country status outcome consent_channel consent_media_url transcript
          transcript_locale transcript_status intent handoff_target agent_profile agent_profile_confidence
          channel lead_name lead_phone last_note
        boolean: consent_obtained handoff
        integer: duration_seconds
        numeric: first_time_to_assistant_seconds
        timestamptz: started_at ended_at consent_recorded_at last_transcript_segment_at created_at
          updated_at
        jsonb: metadata
    """,
    "public.openai_sessions": """
        uuid: id call_id
        text: session_id model voice instructions input_audio_format output_audio_format status
        text[]: modalities
        integer: max_response_output_tokens
        numeric: temperature
        timestamptz: started_at ended_at created_at
        jsonb: turn_detection tools metadata
    """,
    "public.transcripts": """
        uuid: id call_id
        text: role content lang
        integer: sequence
        numeric: confidence
        timestamptz: t created_at
    """,
    "public.voice_events": """
        uuid: id call_id
        text: type
        timestamptz: t created_at
        jsonb: payload
    """,
    "public.mcp_tool_calls": """
        uuid: id call_id
        text: server tool error
        boolean: success
        timestamptz: t created_at
        jsonb: args result
    """,
    "public.call_consents": """
        uuid: id call_id
        text: consent_text audio_url
        boolean: consent_result
        timestamptz: t created_at
    """,
    "public.wa_threads": """
        uuid: id call_id
        text: wa_conversation_id customer_msisdn state
        timestamptz: last_message_at created_at
    """,
    "public.voice_memories": """
        uuid: id
        text: msisdn country
        timestamptz: last_seen_at created_at updated_at
        jsonb: prefs
    """,
    "sipua.writers": """
        uuid: instance
        bigint: seq
        timestamptz: seen_at
    """,
    "sipua.processes": """
        uuid: instance
        text: node version
        integer: worker pid
        timestamptz: started_at seen_at ended_at
    """,
    "sipua.call_aliases": """
        uuid: id call_id
        timestamptz: at
    """,
    "sipua.call_attempts": """
        uuid: id call_id
        text: trunk target reason decision
        integer: ordinal code ms
        timestamptz: started_at
    """,
    "sipua.call_media": """
        uuid: call_id
        text: trunk direction codec
        numeric: mos r loss_percent burst_ratio delay_ms received lost late jitter_ms dropped sent
          far_end_lost far_end_lost_percent far_end_jitter_ms rtt_ms
        timestamptz: started_at
        jsonb: buffer
    """,
    "sipua.trunk_states": """
        uuid: instance
        text: node trunk target what state why
        integer: worker
        numeric: latency_ms
        timestamptz: changed_at seen_at
    """,
    "sipua.trunk_changes": """
        uuid: id instance
        text: node trunk target what before after why
        integer: worker
        timestamptz: at
    """,
    "sipua.drill_runs": """
        uuid: id run_id
        text: drill mutate version node
        boolean: held live
        integer: attempted lost
        numeric: detect_ms extra_pdd_ms attempts_per_call recover_ms
        timestamptz: started_at ended_at
        jsonb: details
    """,
    "sipua.catalogue": """
        text: key name category location text_en text_sw text_fr text_rw phone hours price_note
        timestamptz: updated_at
        tsvector: search
    """,
    "sipua.faq": """
        text: key question_en answer_en question_sw answer_sw question_fr answer_fr question_rw answer_rw
        timestamptz: updated_at
        tsvector: search
    """,
    "sipua.service_requests": """
        uuid: id call_id
        text: reference kind caller locale status
        timestamptz: created_at updated_at
        jsonb: details
    """,
    "sipua.callback_requests": """
        uuid: id call_id
        text: reference number name department reason wanted_at locale status
        timestamptz: created_at updated_at notified_at
    """,
    "sipua.wa_messages": """
        uuid: thread_id
        text: id msisdn direction status error
        timestamptz: at
    """,
    "sipua.purges": """
        uuid: id
        text: kind
        timestamptz: at
        jsonb: counts
    """,
    "sipua.webhooks": """
        uuid: call_id
        text: id source type object_id outcome
        timestamptz: received_at
    """,
    "public.voice_call_kpis": """
        any: day channel total_calls completed_calls failed_calls average_duration_seconds
          p95_assistant_seconds
    """,
}

# By the names that format_type() gives.
WIDER: dict[str, frozenset[str]] = {
    "uuid": frozenset({"uuid"}),
    "text": frozenset({"text", "character varying", "citext"}),
    "text[]": frozenset({"text[]", "character varying[]"}),
    "boolean": frozenset({"boolean"}),
    "integer": frozenset({"integer", "bigint", "numeric"}),
    "numeric": frozenset({"numeric", "double precision", "real"}),
    "timestamptz": frozenset({"timestamp with time zone"}),
    "jsonb": frozenset({"jsonb"}),
    "tsvector": frozenset({"tsvector"}),
}


def _parsed(text: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    kind = ""
    for word in text.split():
        if word.endswith(":"):
            kind = word[:-1]
        else:
            columns[word] = kind
    return columns


TABLES: dict[str, dict[str, str]] = {table: _parsed(text) for table, text in _COLUMNS.items()}
VIEWS = ("public.voice_call_kpis", "sipua.call_media")
SHARED = tuple(
    name.removeprefix("public.") for name in TABLES if name.startswith("public.") and name not in VIEWS
)
