"""What the tools of a call may ask of it (``sipua.tools.context.Control``).

A port that nobody has filled (consent, transfer) says so to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sipua.actions import Action
from sipua.call_language import CallLanguage, Change
from sipua.conversation import Conversation
from sipua.ports import CallRecord, Clock
from sipua.realtime.events import Event
from sipua.tools.schema import ToolError


class ConsentPort(Protocol):
    """Asks for consent (``run`` beside the conversation), and takes the caller's answer."""

    async def run(self, conversation: Conversation, perform: Callable[[list[Action]], None]) -> None: ...
    def on_event(self, event: Event) -> None: ...

    async def answered(self, agreed: bool, words: str) -> Mapping[str, Any]: ...


class TransferPort(Protocol):
    """Hands the caller to a person. ``perform`` is set by who performs the conversation's actions.

    ``has_agent``: somebody listens, whom the caller can come back to. ``is_joined``: the caller talks with the person,
    through us, for as long as ``follow`` does not raise. ``settled``: whether they talk, by whatever way, once that is
    known.
    """

    perform: Callable[[list[Action]], None]
    has_agent: bool

    @property
    def is_joined(self) -> bool: ...
    async def to(self, department: str, reason: str) -> Mapping[str, Any]: ...
    async def follow(self) -> None: ...
    async def settled(self) -> bool: ...


class CallControl:
    """Of one call. ``perform`` and ``follow`` are its adapter's."""

    def __init__(
        self,
        conversation: Conversation,
        language: CallLanguage,
        record: CallRecord,
        clock: Clock,
        *,
        perform: Callable[[list[Action]], None],
        follow: Callable[[list[Change]], None],
        consent: ConsentPort | None = None,
        transfer: TransferPort | None = None,
    ) -> None:
        self._conversation = conversation
        self._language = language
        self._record = record
        self._clock = clock
        self._perform = perform
        self._follow = follow
        self._consent = consent
        self._transfer = transfer

    def hang_up(self) -> None:
        self._perform(self._conversation.hang_up(self._clock.now()))

    def set_language(self, wanted: str) -> str:
        try:
            changes = self._language.asked(wanted)
        except ValueError as error:
            raise ToolError(str(error)) from None
        self._follow(changes)
        return self._language.language.english_name

    def wrap_up(self, intent: str, outcome: str, note: str) -> None:
        self._record.wrapped_up(self._clock.now(), intent=intent, outcome=outcome, note=note)

    async def record_consent(self, agreed: bool, words: str) -> Mapping[str, Any]:
        if self._consent is None:
            raise ToolError("this call asks for no consent, and is not recorded")
        return await self._consent.answered(agreed, words)

    async def transfer(self, department: str, reason: str) -> Mapping[str, Any]:
        if self._transfer is None:
            raise ToolError(
                "nobody can be reached from this call: offer to help, or that somebody calls back (request_callback)"
            )
        return await self._transfer.to(department, reason)
