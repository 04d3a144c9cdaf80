"""What can be said about a call, as values. The writer takes tuples of them (a ``Group`` is written whole or not).

The maker of a fact makes its id; writing the same fact twice changes nothing. Words of closed lists are checked
here (``storage.words``). Times are aware datetimes. ``metadata`` of a call should carry ``node``, ``worker`` and
``instance``: they tell ``close_orphans`` whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.desk_facts import DeskFact
from storage.trunk_facts import CallAttempt, CallCarried, DrillRun, TargetsWatched, TrunkChange, TrunkState
from storage.webhook_facts import WebhookCame
from storage.words import (
    FINAL_RANK,
    STATUS_RANK,
    STATUSES,
    ConsentChannel,
    Direction,
    EventType,
    Role,
    SessionStatus,
    Status,
    one_of,
)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallCreated:
    """The call exists (at the INVITE). Where a row has its carrier id already, that row is the call's.

    What is said of ``id`` is then written under the id of that row. A row that another SIP leg of ours has, or that
    ended before this one began, stays as it is: the new one goes without the carrier id, which stands in its metadata.
    ``without_leg``: somebody told us of the call by HTTP, no SIP leg of ours carries it; it has no ``instance`` then.
    """

    id: UUID
    direction: Direction
    from_e164: str | None = None
    to_e164: str | None = None
    twilio_call_sid: str | None = None
    mtn_call_sid: str | None = None
    sip_session_id: str | None = None
    provider: str | None = None
    trunk: str | None = None
    locale: str | None = None
    country: str | None = None
    status: Status = "initiated"
    started_at: datetime | None = None
    metadata: Json = field(default_factory=dict)
    project_id: str | None = None
    channel: str | None = None  # None: voice
    lead_phone: str | None = None  # who talks with us
    without_leg: bool | None = None

    def __post_init__(self) -> None:
        one_of(self.direction, Direction, "direction")
        one_of(self.status, Status, "status")

    @property
    def call_id(self) -> UUID:
        return self.id


@dataclass(frozen=True, slots=True)
class CallChanged:
    """Something about a call became known: None leaves a column as it is, ``metadata`` is merged.

    ``status`` only moves forward and never on a call that has ended; ``first_time_to_assistant_seconds`` keeps
    its first value.
    """

    call_id: UUID
    at: datetime
    status: Status | None = None
    outcome: str | None = None
    metadata: Json = field(default_factory=dict)
    openai_call_id: str | None = None
    first_time_to_assistant_seconds: float | None = None
    intent: str | None = None
    handoff: bool | None = None
    handoff_target: str | None = None
    last_note: str | None = None
    lead_name: str | None = None
    lead_phone: str | None = None
    locale: str | None = None
    agent_profile: str | None = None
    transcript: str | None = None
    transcript_locale: str | None = None
    transcript_status: str | None = None

    def __post_init__(self) -> None:
        one_of(self.status, Status, "status")
        if self.transcript_status not in (None, "pending", "processing", "completed", "failed"):
            raise ValueError(f"transcript_status {self.transcript_status!r}")


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The end, in one statement. The first end of a call counts; ``failed`` never becomes ``completed``.

    ``without_leg``: as somebody else has it. Of a call that a SIP leg of ours carries that leg has the word.
    """

    call_id: UUID
    ended_at: datetime
    duration_seconds: int
    status: Status
    outcome: str | None = None
    metadata: Json = field(default_factory=dict)
    without_leg: bool | None = None

    def __post_init__(self) -> None:
        if STATUS_RANK.get(self.status) != FINAL_RANK:
            raise ValueError(
                f"status {self.status!r} of an ended call: allowed are {', '.join(STATUSES[3:])}"
            )


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A Realtime session of a call, as configured. ``max_response_output_tokens`` None means no limit."""

    id: UUID
    call_id: UUID
    session_id: str
    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    modalities: tuple[str, ...] = ("text", "audio")
    input_audio_format: str | None = None
    output_audio_format: str | None = None
    turn_detection: Json | None = None
    tools: tuple[Json, ...] | None = None
    temperature: float | None = None
    max_response_output_tokens: int | None = None
    started_at: datetime | None = None
    metadata: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """``id`` is that of its ``SessionOpened``."""

    id: UUID
    call_id: UUID
    ended_at: datetime
    status: SessionStatus = "completed"

    def __post_init__(self) -> None:
        one_of(self.status, SessionStatus, "session status")


@dataclass(frozen=True, slots=True)
class Transcript:
    """One utterance; ``t`` is the time of speech, strictly increasing within a call. Empty text is not stored."""

    id: UUID
    call_id: UUID
    sequence: int | None
    role: Role
    content: str
    lang: str | None = None
    confidence: float | None = None
    t: datetime | None = None

    def __post_init__(self) -> None:
        one_of(self.role, Role, "role")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the call's history. Audio never belongs into a payload."""

    id: UUID
    call_id: UUID
    type: EventType
    t: datetime
    payload: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of(self.type, EventType, "event type")


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model has called a tool. ``args`` None: they were no JSON object, or too long to be kept."""

    id: UUID
    call_id: UUID
    server: str | None
    tool: str
    args: Json | None
    t: datetime


@dataclass(frozen=True, slots=True)
class ToolDone:
    """What came of it; ``id`` is that of its ``ToolCalled``. The first word counts."""

    id: UUID
    call_id: UUID
    success: bool
    result: Json | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """A process that writes: its row in ``sipua.processes``."""

    instance: UUID
    node: str
    worker: int
    started_at: datetime
    pid: int | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """Its orderly end."""

    instance: UUID
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class ConsentAnswered:
    """What a caller said about being recorded; ``granted`` None: nothing. A later answer of the call replaces it.

    ``channel`` is how: voice, dtmf or text; None where nobody answered. ``text`` is the question as it was asked.
    """

    id: UUID
    call_id: UUID
    at: datetime
    text: str
    granted: bool | None
    channel: ConsentChannel | None = None

    def __post_init__(self) -> None:
        one_of(self.channel, ConsentChannel, "channel of a consent")


@dataclass(frozen=True, slots=True)
class RecordingKept:
    """The recording that an answer allowed can be fetched from ``url`` now."""

    consent_id: UUID
    url: str


@dataclass(frozen=True, slots=True)
class RecordingDeleted:
    """It can no longer: withdrawn, or older than recordings are kept."""

    consent_id: UUID


Fact = (
    CallCreated
    | CallChanged
    | CallEnded
    | SessionOpened
    | SessionEnded
    | Transcript
    | Event
    | ToolCalled
    | ToolDone
    | ProcessStarted
    | ProcessEnded
    | CallCarried
    | CallAttempt
    | TrunkState
    | TrunkChange
    | TargetsWatched
    | DrillRun
    | ConsentAnswered
    | RecordingKept
    | RecordingDeleted
    | DeskFact
    | WebhookCame
)
Group = tuple[Fact, ...]
