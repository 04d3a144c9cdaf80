"""The closed lists of the schema: a word that is none of them is an error where it was made, not a lost row later."""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

Direction = Literal["inbound", "outbound"]
Status = Literal["initiated", "ringing", "in_progress", "completed", "failed", "busy", "no_answer"]
SessionStatus = Literal["active", "completed", "failed"]
TrunkAspect = Literal["probe", "breaker", "retry_after", "registration"]
ConsentChannel = Literal["voice", "dtmf", "text"]
Role = Literal["user", "assistant", "system", "caller"]
EventType = Literal[
    "call_started",
    "call_ended",
    "ringing",
    "answered",
    "transcript_segment",
    "tool_call",
    "error",
    "webhook",
    "openai_session_created",
    "openai_session_updated",
    "openai_response_created",
    "openai_response_done",
    "openai_audio_buffer_committed",
    "openai_input_audio_buffer_speech_started",
    "openai_input_audio_buffer_speech_stopped",
    "openai_conversation_item_created",
]

STATUSES: tuple[str, ...] = get_args(Status)
EVENT_TYPES: frozenset[str] = frozenset(get_args(EventType))
# A call only moves to a higher rank; the four final words share one, so no final word replaces another.
STATUS_RANK: dict[str, int] = {"initiated": 0, "ringing": 1, "in_progress": 2} | dict.fromkeys(
    STATUSES[3:], 3
)
FINAL_RANK = 3


_words = cache(get_args)


def one_of(value: str | None, allowed: object, what: str) -> None:
    """ValueError unless ``value`` is None or one of the words of the Literal ``allowed``."""
    if value is not None and value not in (words := _words(allowed)):
        raise ValueError(f"{what} {value!r}: allowed are {', '.join(words)}")
