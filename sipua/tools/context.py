"""What a tool is told of the call that it works for, and what it may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sipua.ports import CallRecord


class Control(Protocol):
    """What a call can be asked to do. Each raises ``ToolError`` with words for the model where it cannot."""

    def hang_up(self) -> None:
        """The call ends when the agent's last words have been heard; the caller's voice before that keeps it."""

    def set_language(self, wanted: str) -> str:
        """Goes on in another language; gives its English name."""

    def wrap_up(self, intent: str, outcome: str, note: str) -> None:
        """What the caller wanted and what became of it, for the ledger; the last word counts."""

    async def record_consent(self, agreed: bool, words: str) -> Mapping[str, Any]:
        """The caller's answer to the consent question, in ``words`` of theirs."""

    async def transfer(self, department: str, reason: str) -> Mapping[str, Any]:
        """To a person. Returns once it is known whether it goes on."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """One call of a tool. ``id`` is its row's in the ledger: the key by which a repetition is known."""

    id: UUID
    call_id: UUID
    direction: str
    caller: str | None  # E.164; the person we talk with is ``caller`` inbound and ``called`` outbound
    called: str | None
    trunk: str
    country: str | None
    locale: str
    ledger: CallRecord
    control: Control
    traceparent: str = ""  # for who does the work elsewhere; "": nobody traces

    @property
    def person(self) -> str | None:
        """The number of who talks with the agent."""
        return self.called if self.direction == "outbound" else self.caller
