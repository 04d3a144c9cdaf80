"""Tools for what callers let us remember: ``remember`` and ``forget``. Both go into the ledger's queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import BaseModel, Field, StringConstraints

from sipua.memory import LANGUAGE, VALUE_MAX_CHARS, fault_of
from sipua.ports import Clock
from sipua.tools.context import ToolContext
from sipua.tools.registry import Result
from sipua.tools.schema import ToolError

TIMEOUT_S = 5.0
WITHHELD = "the caller's number is withheld: nothing can be remembered"
FULL = "it is not remembered: too much is known of this caller already; something has to be forgotten first"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=VALUE_MAX_CHARS)]


class Memories(Protocol):
    """Keeps and drops memories. Never blocks."""

    def remember(
        self, msisdn: str, *, prefs: Mapping[str, str | None], country: str | None, at: datetime
    ) -> bool:
        """False: there is no room for more of that caller."""

    def forget(self, msisdn: str) -> None: ...


class RememberArguments(BaseModel):
    topic: Text = Field(description="One English word, such as vehicle, home_area, name or language")
    value: Text = Field(description="In a few words")
    agreed: bool = Field(description="true only if the caller has clearly said yes to being remembered")


class Remember:
    """One preference of a caller who agrees."""

    name = "remember"
    description = (
        "Remembers one preference of the caller for their next calls, such as a usual vehicle or their part of town. "
        "Ask first whether you may, and say that it can be deleted at any time. With it the caller's language, "
        "country and the dates of their calls are remembered. Never for numbers of cards, accounts or papers, nor "
        "for health, religion or politics."
    )
    Arguments = RememberArguments
    timeout_s = TIMEOUT_S

    def __init__(self, memories: Memories, clock: Clock) -> None:
        self._memories = memories
        self._clock = clock

    async def run(self, arguments: RememberArguments, context: ToolContext) -> Result:
        if context.person is None:
            raise ToolError(WITHHELD)
        if not arguments.agreed:
            raise ToolError("nothing is remembered without the caller's yes: ask, or leave it")
        topic = arguments.topic.lower().replace(" ", "_")
        if fault := fault_of(topic, arguments.value):
            raise ToolError(fault)
        if not self._memories.remember(
            context.person,
            prefs={LANGUAGE: context.locale} | {topic: arguments.value},
            country=context.country,
            at=self._clock.now().wall,
        ):
            raise ToolError(FULL)
        return {"status": "remembered", "topic": topic}


class ForgetArguments(BaseModel):
    topic: Text | None = Field(default=None, description="Leave out to forget everything")


class Forget:
    """What is remembered goes: one preference, or all."""

    name = "forget"
    description = (
        "Deletes what is remembered of the caller, one preference or everything, when they ask for it."
    )
    Arguments = ForgetArguments
    timeout_s = TIMEOUT_S

    def __init__(self, memories: Memories, clock: Clock) -> None:
        self._memories = memories
        self._clock = clock

    async def run(self, arguments: ForgetArguments, context: ToolContext) -> Result:
        if context.person is None:
            raise ToolError(WITHHELD)
        if arguments.topic is None:
            self._memories.forget(context.person)
            return {"status": "everything is forgotten"}
        topic = arguments.topic.lower().replace(" ", "_")
        self._memories.remember(context.person, prefs={topic: None}, country=None, at=self._clock.now().wall)
        return {"status": "forgotten", "topic": topic}
