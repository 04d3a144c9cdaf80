"""Values of ours as the storage package's facts. No state; ``sipua.ledger`` says when.

Only the event types of the shared schema's CHECK list are written to ``voice_events``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sipua.outcome import Ending, Status
from sipua.ports import CallOpening, Moment, SessionOpening
from storage.facts import CallChanged, CallCreated, Event, Group, SessionOpened
from storage.webhook_facts import WebhookCame
from storage.words import EventType

# Names on the wire → the CHECK list of voice_events.type (shared schema, rule 4).
EVENT_TYPES: dict[str, EventType] = {
    "session.created": "openai_session_created",
    "session.updated": "openai_session_updated",
    "response.created": "openai_response_created",
    "response.done": "openai_response_done",
    "input_audio_buffer.committed": "openai_audio_buffer_committed",
    "input_audio_buffer.speech_started": "openai_input_audio_buffer_speech_started",
    "input_audio_buffer.speech_stopped": "openai_input_audio_buffer_speech_stopped",
    "conversation.item.added": "openai_conversation_item_created",
}

ORIGIN = ("from_uri", "to_uri", "source")  # of a call; a chat has none


def call_started(
    opening: CallOpening, at: Moment, identity: Mapping[str, Any], project_id: str = ""
) -> Group:
    """Its row and its first event."""
    began = {"direction": opening.direction, "trunk": opening.trunk, **_errand(opening)}
    group: Group = (
        _created(opening, at, identity, project_id),
        call_event(opening.id, "call_started", at.wall, began),
    )
    if not opening.openai_call_id:
        return group
    return *group, CallChanged(call_id=opening.id, at=at.wall, openai_call_id=opening.openai_call_id)


def _created(opening: CallOpening, at: Moment, identity: Mapping[str, Any], project_id: str) -> CallCreated:
    return CallCreated(
        id=opening.id,
        direction=opening.direction,
        from_e164=opening.from_number,
        to_e164=opening.to_number,
        **carrier_ids(opening.provider, opening.carrier_sid or opening.sip_call_id),
        sip_session_id=opening.sip_call_id,
        provider=opening.provider,
        trunk=opening.trunk,
        channel=opening.channel,
        locale=opening.locale,
        country=opening.country,
        status=Status.INITIATED.value,
        started_at=at.wall,
        project_id=project_id or None,
        lead_phone=opening.to_number if opening.direction == "outbound" else opening.from_number,
        metadata={
            **identity,
            **{name: value for name in ORIGIN if (value := getattr(opening, name))},
            **_errand(opening),
        },
    )


def _errand(opening: CallOpening) -> dict[str, str]:
    """Why a call of ours was placed, and which rules it was placed against."""
    return opening.errand.as_dict() if opening.errand is not None else {}


def carrier_ids(provider: str, sid: str) -> dict[str, Any]:
    """Rule 1 of the shared schema: the carrier's id in its own column, the SIP Call-ID where it gave none."""
    return {
        "twilio_call_sid": sid if provider == "twilio" else None,
        "mtn_call_sid": sid if provider == "mtn" else None,
    }


def opened_session(id: UUID, call_id: UUID, at: datetime, session: SessionOpening) -> SessionOpened:
    """The echo is the service's: a value of another type is left out, it must not cost the call."""
    echoed = session.echoed
    audio = _mapping(echoed.get("audio"))
    source, sink = _mapping(audio.get("input")), _mapping(audio.get("output"))
    limit = echoed.get("max_output_tokens")
    voice = sink.get("voice")
    tools = echoed.get("tools")
    return SessionOpened(
        id=id,
        call_id=call_id,
        session_id=session.session_id,
        model=session.model,
        voice=_text(_mapping(voice).get("id") or voice),
        instructions=_text(echoed.get("instructions")),
        modalities=_texts(echoed.get("output_modalities")),
        input_audio_format=_text(_mapping(source.get("format")).get("type")),
        output_audio_format=_text(_mapping(sink.get("format")).get("type")),
        turn_detection=_mapping(source.get("turn_detection")) or None,
        tools=tuple(map(_without_secrets, tools)) if isinstance(tools, list) else (),
        temperature=None,
        max_response_output_tokens=limit if type(limit) is int and 0 <= limit < 2**31 else None,
        started_at=at,
        metadata={"opened_for": session.why, "connect_seconds": round(session.connect_s, 3)},
    )


def _without_secrets(tool: object) -> Mapping[str, Any]:
    """A tool as the service echoed it: that of a remote server may hold the token that it was given."""
    return {key: value for key, value in _mapping(tool).items() if key not in ("authorization", "headers")}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    """A list of strings, or nothing: neither the letters of one nor a part of a list."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return ()
    return tuple(value)


def call_event(call_id: UUID, type: EventType, t: datetime, payload: Mapping[str, Any]) -> Event:
    return Event(id=uuid4(), call_id=call_id, type=type, t=t, payload=dict(payload))


def webhook_came(
    id: str, source: str, type: str, at: datetime, *, object_id: str, call_id: UUID | None, outcome: str
) -> WebhookCame:
    """What became of a signed webhook."""
    return WebhookCame(id, source, type, at, object_id or None, call_id, outcome)


def ending_metadata(ending: Ending) -> dict[str, Any]:
    metadata: dict[str, Any] = {"end_reason": ending.reason}
    if ending.detail:
        metadata["end_detail"] = ending.detail
    if ending.sip_code:
        metadata["sip_code"] = ending.sip_code
    return metadata
