"""What a conversation wants done (``sipua.conversation``): values that the adapter performs in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sipua.errors import SipuaError
from sipua.outcome import Ending
from sipua.transcript import Segment


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """response.create, with instructions of its own for this response."""

    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """response.cancel."""

    response_id: str


@dataclass(frozen=True, slots=True)
class SystemText:
    """conversation.item.create of a message that is nobody's speech; ``item_id`` is ours."""

    item_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserText:
    """conversation.item.create of what somebody wrote; ``item_id`` is ours."""

    item_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IgnoreResponse:
    """Audio of this response is not wanted any more."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Truncate:
    """conversation.item.truncate."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class CallTool:
    """A tool to be run, unless it is ``refused``; its result comes back by ``Conversation.tool_done`` in any case.

    Name and arguments are the model's, unchecked.
    """

    call_id: str
    name: str
    arguments_json: str = field(repr=False)
    response_id: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """conversation.item.create of a function_call_output; ``item_id`` is ours."""

    item_id: str
    call_id: str
    output: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HangUp:
    """The agent wants to, after its last words: ``EndAfterPlayback`` says that they have come."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class RemoteToolCalled:
    """The voice service calls a tool of a remote server by itself: for the ledger."""

    item_id: str
    server: str
    name: str
    arguments_json: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RemoteToolDone:
    """What came of it."""

    item_id: str
    output: str = field(repr=False)
    error: str | None


@dataclass(frozen=True, slots=True)
class AnswerApproval:
    """conversation.item.create of an mcp_approval_response; ``item_id`` is ours."""

    item_id: str
    request_id: str
    approve: bool


@dataclass(frozen=True, slots=True)
class EndAfterPlayback:
    """The call is over when what is queued has been heard; ``CallGoesOn`` takes that back."""


@dataclass(frozen=True, slots=True)
class CallGoesOn:
    """The caller spoke before the end."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A transcript segment for the ledger."""

    segment: Segment
    lang: str | None


@dataclass(frozen=True, slots=True)
class SpokenDelta:
    """Part of a transcript as it comes, for a live view only."""

    role: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Logged:
    """An event for voice_events, under the service's own name."""

    type: str
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StopListening:
    """The model answers nothing any more by itself: a machine is at the other end."""


@dataclass(frozen=True, slots=True)
class PlayPhrase:
    """A recording of ours, by its name in ``sipua.languages.Phrases``."""

    name: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to record as an error; the call goes on."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class EndCall:
    """The conversation cannot go on."""

    error: SipuaError


Action = (
    CreateResponse
    | CancelResponse
    | SystemText
    | UserText
    | IgnoreResponse
    | Truncate
    | CallTool
    | ToolOutput
    | HangUp
    | RemoteToolCalled
    | RemoteToolDone
    | AnswerApproval
    | EndAfterPlayback
    | CallGoesOn
    | Spoken
    | SpokenDelta
    | Logged
    | PlayPhrase
    | StopListening
    | Fault
    | EndCall
)
