"""What the voice service tells us, as frozen values. Imports nothing but the severity table.

Theory: only what a call, its ledger or its metrics needs becomes a field; the rest of the wire event is
dropped at the border. ``raw_type`` is the name on the wire; events that stand for several wire types
(`OtherEvent`, `UnknownEvent`, `ProtocolFault`) carry it in ``type``. Ids are the service's. ``audio_*_ms`` of
the input side count milliseconds of audio *appended since the session began*, not wall time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sipua.realtime.severity import Severity, severity_of


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; ``raw_type`` as on the wire."""

    raw_type: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class SessionCreated(Event):
    raw_type: ClassVar[str] = "session.created"
    session_id: str
    session: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionUpdated(Event):
    raw_type: ClassVar[str] = "session.updated"
    session: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    raw_type: ClassVar[str] = "input_audio_buffer.speech_started"
    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped(Event):
    """``audio_end_ms`` includes the VAD's silence tail."""

    raw_type: ClassVar[str] = "input_audio_buffer.speech_stopped"
    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class InputCommitted(Event):
    raw_type: ClassVar[str] = "input_audio_buffer.committed"
    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class InputCleared(Event):
    raw_type: ClassVar[str] = "input_audio_buffer.cleared"


@dataclass(frozen=True, slots=True)
class KeyReceived(Event):
    """A key of the caller's telephone, of a call that the service terminates itself."""

    raw_type: ClassVar[str] = "input_audio_buffer.dtmf_event_received"
    key: str


@dataclass(frozen=True, slots=True)
class IdleTimeout(Event):
    raw_type: ClassVar[str] = "input_audio_buffer.timeout_triggered"
    item_id: str
    audio_start_ms: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ItemAdded(Event):
    """An item stands in the conversation. ``role`` is None for function calls and their outputs."""

    raw_type: ClassVar[str] = "conversation.item.added"
    item_id: str
    role: str | None
    type: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDone(Event):
    raw_type: ClassVar[str] = "conversation.item.done"
    item_id: str
    role: str | None
    type: str
    previous_item_id: str | None
    status: str | None


@dataclass(frozen=True, slots=True)
class ItemDeleted(Event):
    raw_type: ClassVar[str] = "conversation.item.deleted"
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated(Event):
    raw_type: ClassVar[str] = "conversation.item.truncated"
    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class UserTranscriptDelta(Event):
    raw_type: ClassVar[str] = "conversation.item.input_audio_transcription.delta"
    item_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserTranscript(Event):
    """May come before, during or after the response to it: order by item, never by arrival."""

    raw_type: ClassVar[str] = "conversation.item.input_audio_transcription.completed"
    item_id: str
    text: str = field(repr=False)
    languages: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class UserTranscriptFailed(Event):
    raw_type: ClassVar[str] = "conversation.item.input_audio_transcription.failed"
    item_id: str
    code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ResponseCreated(Event):
    raw_type: ClassVar[str] = "response.created"
    response_id: str


@dataclass(frozen=True, slots=True)
class ResponseDone(Event):
    """``reason``: turn_detected, client_cancelled, max_output_tokens or content_filter.

    A failure has a code instead.
    """

    raw_type: ClassVar[str] = "response.done"
    response_id: str
    status: str
    reason: str | None
    error_code: str | None
    error_message: str | None
    usage: Mapping[str, Any] | None

    @property
    def severity(self) -> Severity:
        """What a failed response means; BENIGN for every other status."""
        return severity_of(self.error_code) if self.status == "failed" else Severity.BENIGN


@dataclass(frozen=True, slots=True)
class OutputItemAdded(Event):
    """``phase``: commentary or final_answer on 2.x models (on the wire, not in the SDK's types)."""

    raw_type: ClassVar[str] = "response.output_item.added"
    response_id: str
    item_id: str
    type: str
    phase: str | None


@dataclass(frozen=True, slots=True)
class OutputItemDone(Event):
    raw_type: ClassVar[str] = "response.output_item.done"
    response_id: str
    item_id: str
    type: str
    phase: str | None


@dataclass(frozen=True, slots=True)
class AudioDelta(Event):
    """About 250 ms of speech in the session's output format, decoded."""

    raw_type: ClassVar[str] = "response.output_audio.delta"
    response_id: str
    item_id: str
    content_index: int
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlayoutBegan(Event):
    """The service plays a response to the caller: of a call that it terminates itself."""

    raw_type: ClassVar[str] = "output_audio_buffer.started"
    response_id: str


@dataclass(frozen=True, slots=True)
class PlayoutEnded(Event):
    """All of it has been played."""

    raw_type: ClassVar[str] = "output_audio_buffer.stopped"
    response_id: str


@dataclass(frozen=True, slots=True)
class PlayoutCleared(Event):
    """The rest of it was thrown away: the caller has interrupted."""

    raw_type: ClassVar[str] = "output_audio_buffer.cleared"
    response_id: str


@dataclass(frozen=True, slots=True)
class LateAudio(Event):
    """An audio delta of a response that was interrupted: dropped, and so not heard by anybody."""

    raw_type: ClassVar[str] = "response.output_audio.delta"
    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class AudioDone(Event):
    raw_type: ClassVar[str] = "response.output_audio.done"
    response_id: str
    item_id: str
    content_index: int


@dataclass(frozen=True, slots=True)
class AssistantTranscriptDelta(Event):
    raw_type: ClassVar[str] = "response.output_audio_transcript.delta"
    item_id: str
    response_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AssistantTranscript(Event):
    raw_type: ClassVar[str] = "response.output_audio_transcript.done"
    item_id: str
    response_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TextDelta(Event):
    raw_type: ClassVar[str] = "response.output_text.delta"
    item_id: str
    response_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TextDone(Event):
    raw_type: ClassVar[str] = "response.output_text.done"
    item_id: str
    response_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionCall(Event):
    """A complete call; ``arguments`` is the model's JSON text, unchecked. Answer after ResponseDone."""

    raw_type: ClassVar[str] = "response.function_call_arguments.done"
    response_id: str
    item_id: str
    call_id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class McpCall(Event):
    """The service calls a tool of a remote server; its arguments follow."""

    raw_type: ClassVar[str] = "response.output_item.added"
    response_id: str
    item_id: str
    server: str
    name: str


@dataclass(frozen=True, slots=True)
class McpArguments(Event):
    raw_type: ClassVar[str] = "response.mcp_call_arguments.done"
    item_id: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class McpCallDone(Event):
    """``error`` is None where it went well."""

    raw_type: ClassVar[str] = "response.output_item.done"
    response_id: str
    item_id: str
    server: str
    name: str
    arguments: str = field(repr=False)
    output: str = field(repr=False)
    error: str | None


@dataclass(frozen=True, slots=True)
class McpApproval(Event):
    """The service asks whether it may call; ``item_id`` is what the answer names."""

    raw_type: ClassVar[str] = "response.output_item.done"
    response_id: str
    item_id: str
    server: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RateLimits(Event):
    raw_type: ClassVar[str] = "rate_limits.updated"
    limits: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ServiceError(Event):
    """An ``error`` event that did not end the session; ``event_id`` is ours, of the event it answers."""

    raw_type: ClassVar[str] = "error"
    code: str | None
    message: str
    param: str | None
    event_id: str | None
    severity: Severity


@dataclass(frozen=True, slots=True)
class OtherEvent(Event):
    """A known type that nobody here needs (content parts, argument deltas, MCP progress)."""

    type: str


@dataclass(frozen=True, slots=True)
class UnknownEvent(Event):
    """A type that the GA interface of this client's day did not have."""

    type: str


@dataclass(frozen=True, slots=True)
class ProtocolFault(Event):
    """The peer sent something unusable: no JSON, a field missing or of the wrong type. Never its content."""

    type: str
    detail: str
