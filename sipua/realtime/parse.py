"""From one decoded wire object to one event: a table of wire type → parser. No state, no I/O.

Theory: the peer is trusted to mean well and not to be right. A parser asks for a field by name and type; what
is missing or of the wrong type raises `BadFieldError`, which the core turns into a counted `ProtocolFault`.
Unknown fields are ignored (``obfuscation``, ``phase`` and the next ones arrive without notice).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

import pybase64

from sipua.realtime import events as ev
from sipua.realtime.severity import severity_of

MESSAGE_MAX_CHARS = 500  # of an error text that is shown and logged

Wire = Mapping[str, Any]


class BadFieldError(Exception):
    """A field is missing or has the wrong type; names the field, never its content."""


def text(wire: Wire, key: str) -> str:
    value = wire.get(key)
    if not isinstance(value, str):
        raise BadFieldError(f"{key}: expected a string, got {type(value).__name__}")
    return value


def optional_text(wire: Wire, key: str) -> str | None:
    value = wire.get(key)
    return value if isinstance(value, str) else None


def integer(wire: Wire, key: str) -> int:
    value = wire.get(key)
    if isinstance(value, float) and value.is_integer():  # some compatible servers write 1460.0
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadFieldError(f"{key}: expected an integer, got {type(value).__name__}")
    return value


def mapping(wire: Wire, key: str) -> Wire:
    value = wire.get(key)
    if not isinstance(value, dict):
        raise BadFieldError(f"{key}: expected an object, got {type(value).__name__}")
    return value


def optional_mapping(wire: Wire, key: str) -> Wire | None:
    value = wire.get(key)
    return value if isinstance(value, dict) else None


def audio_delta(wire: Wire) -> ev.AudioDelta:
    try:
        audio = pybase64.b64decode(text(wire, "delta"), validate=True)
    except (binascii.Error, ValueError) as exc:  # ValueError: characters outside ASCII
        raise BadFieldError("delta: not base64") from exc
    index = integer(wire, "content_index")
    return ev.AudioDelta(text(wire, "response_id"), text(wire, "item_id"), index, audio)


def error(wire: Wire, *, about_update: bool = False) -> ev.ServiceError:
    """Tolerant on purpose: an error in an unexpected shape is still an error."""
    detail = optional_mapping(wire, "error") or {}
    code = optional_text(detail, "code")
    kind = optional_text(detail, "type") or ""
    message = (optional_text(detail, "message") or "")[:MESSAGE_MAX_CHARS]
    severity = severity_of(code, kind, message, about_update=about_update)
    param, event_id = optional_text(detail, "param"), optional_text(detail, "event_id")
    return ev.ServiceError(code or kind or None, message, param, event_id, severity)


def _session_created(wire: Wire) -> ev.Event:
    session = mapping(wire, "session")
    return ev.SessionCreated(text(session, "id"), session)


def _item_added(wire: Wire) -> ev.Event:
    item = mapping(wire, "item")
    previous = optional_text(wire, "previous_item_id")
    return ev.ItemAdded(text(item, "id"), optional_text(item, "role"), text(item, "type"), previous)


def _item_done(wire: Wire) -> ev.Event:
    item = mapping(wire, "item")
    previous, status = optional_text(wire, "previous_item_id"), optional_text(item, "status")
    return ev.ItemDone(text(item, "id"), optional_text(item, "role"), text(item, "type"), previous, status)


def _output_item(kind: type[ev.OutputItemAdded] | type[ev.OutputItemDone]) -> Callable[[Wire], ev.Event]:
    remote = {
        (ev.OutputItemAdded, "mcp_call"): _mcp_call,
        (ev.OutputItemDone, "mcp_call"): _mcp_call_done,
        (ev.OutputItemDone, "mcp_approval_request"): _mcp_approval,
    }

    def parse(wire: Wire) -> ev.Event:
        item = mapping(wire, "item")
        response_id, type = text(wire, "response_id"), text(item, "type")
        if (of_mcp := remote.get((kind, type))) is not None:
            return of_mcp(response_id, item)
        return kind(response_id, text(item, "id"), type, optional_text(item, "phase"))

    return parse


def _mcp_call(response_id: str, item: Wire) -> ev.Event:
    return ev.McpCall(response_id, text(item, "id"), text(item, "server_label"), text(item, "name"))


def _mcp_call_done(response_id: str, item: Wire) -> ev.Event:
    failure = optional_mapping(item, "error")
    error = None
    if failure is not None:
        error = optional_text(failure, "message") or optional_text(failure, "type") or "error"
    return ev.McpCallDone(
        response_id,
        text(item, "id"),
        text(item, "server_label"),
        text(item, "name"),
        text(item, "arguments"),
        optional_text(item, "output") or "",
        error and error[:MESSAGE_MAX_CHARS],
    )


def _mcp_approval(response_id: str, item: Wire) -> ev.Event:
    names = (text(item, name) for name in ("id", "server_label", "name", "arguments"))
    return ev.McpApproval(response_id, *names)


def _user_transcript(wire: Wire) -> ev.Event:
    languages = (code for entry in _objects(wire, "languages") if (code := optional_text(entry, "code")))
    logprobs = (entry.get("logprob") for entry in _objects(wire, "logprobs"))
    return ev.UserTranscript(
        text(wire, "item_id"),
        text(wire, "transcript"),
        tuple(languages),
        tuple(float(value) for value in logprobs if isinstance(value, int | float)),
        optional_mapping(wire, "usage"),
    )


def _user_transcript_failed(wire: Wire) -> ev.Event:
    failure = error(wire)
    return ev.UserTranscriptFailed(text(wire, "item_id"), failure.code, failure.message)


def _response_done(wire: Wire) -> ev.Event:
    response = mapping(wire, "response")
    details = optional_mapping(response, "status_details") or {}
    failure = error(details) if optional_mapping(details, "error") is not None else None
    return ev.ResponseDone(
        text(response, "id"),
        text(response, "status"),
        optional_text(details, "reason"),
        failure.code if failure else None,
        failure.message if failure else None,
        optional_mapping(response, "usage"),
    )


def _spoken(
    kind: type[ev.AssistantTranscriptDelta | ev.AssistantTranscript | ev.TextDelta | ev.TextDone], key: str
) -> Callable[[Wire], ev.Event]:
    return lambda wire: kind(text(wire, "item_id"), text(wire, "response_id"), text(wire, key))


def _function_call(wire: Wire) -> ev.Event:
    names = ("response_id", "item_id", "call_id", "name", "arguments")
    return ev.FunctionCall(*(text(wire, name) for name in names))


def _objects(wire: Wire, key: str) -> list[Wire]:
    value = wire.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


PARSERS: dict[str, Callable[[Wire], ev.Event]] = {
    "session.created": _session_created,
    "session.updated": lambda w: ev.SessionUpdated(mapping(w, "session")),
    "input_audio_buffer.speech_started": lambda w: ev.SpeechStarted(
        text(w, "item_id"), integer(w, "audio_start_ms")
    ),
    "input_audio_buffer.speech_stopped": lambda w: ev.SpeechStopped(
        text(w, "item_id"), integer(w, "audio_end_ms")
    ),
    "input_audio_buffer.committed": lambda w: ev.InputCommitted(
        text(w, "item_id"), optional_text(w, "previous_item_id")
    ),
    "input_audio_buffer.cleared": lambda _: ev.InputCleared(),
    "input_audio_buffer.dtmf_event_received": lambda w: ev.KeyReceived(text(w, "event")),
    "output_audio_buffer.started": lambda w: ev.PlayoutBegan(text(w, "response_id")),
    "output_audio_buffer.stopped": lambda w: ev.PlayoutEnded(text(w, "response_id")),
    "output_audio_buffer.cleared": lambda w: ev.PlayoutCleared(text(w, "response_id")),
    "input_audio_buffer.timeout_triggered": lambda w: ev.IdleTimeout(
        text(w, "item_id"), integer(w, "audio_start_ms"), integer(w, "audio_end_ms")
    ),
    "conversation.item.added": _item_added,
    "conversation.item.done": _item_done,
    "conversation.item.deleted": lambda w: ev.ItemDeleted(text(w, "item_id")),
    "conversation.item.truncated": lambda w: ev.ItemTruncated(text(w, "item_id"), integer(w, "audio_end_ms")),
    "conversation.item.input_audio_transcription.delta": lambda w: ev.UserTranscriptDelta(
        text(w, "item_id"), optional_text(w, "delta") or ""
    ),
    "conversation.item.input_audio_transcription.completed": _user_transcript,
    "conversation.item.input_audio_transcription.failed": _user_transcript_failed,
    "response.created": lambda w: ev.ResponseCreated(text(mapping(w, "response"), "id")),
    "response.done": _response_done,
    "response.output_item.added": _output_item(ev.OutputItemAdded),
    "response.output_item.done": _output_item(ev.OutputItemDone),
    "response.output_audio.delta": audio_delta,
    "response.output_audio.done": lambda w: ev.AudioDone(
        text(w, "response_id"), text(w, "item_id"), integer(w, "content_index")
    ),
    "response.output_audio_transcript.delta": _spoken(ev.AssistantTranscriptDelta, "delta"),
    "response.output_audio_transcript.done": _spoken(ev.AssistantTranscript, "transcript"),
    "response.output_text.delta": _spoken(ev.TextDelta, "delta"),
    "response.output_text.done": _spoken(ev.TextDone, "text"),
    "response.function_call_arguments.done": _function_call,
    "response.mcp_call_arguments.done": lambda w: ev.McpArguments(text(w, "item_id"), text(w, "arguments")),
    "rate_limits.updated": lambda w: ev.RateLimits(tuple(_objects(w, "rate_limits"))),
    "error": error,
}

# In the interface, of no use to a phone call (yet): neither parsed nor counted as unknown.
OTHER_TYPES = frozenset(
    {
        "conversation.created",
        "conversation.item.created",
        "conversation.item.retrieved",
        "conversation.item.input_audio_transcription.segment",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.mcp_call_arguments.delta",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
    }
)
