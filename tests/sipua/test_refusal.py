"""What a caller hears whom the voice service refuses to serve, and how the call ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sipua.call_leg import CallOver
from sipua.clock import SystemClock
from sipua.errors import RealtimeRefused
from sipua.metrics import Metrics
from sipua.outcome import TRANSFERRED, Ending, Status
from sipua.refusal import REASON, apologise
from sipua.tools.schema import ToolError

PERSON_LEFT = Ending(Status.COMPLETED, "transferred", "the person hung up")


@dataclass
class Call:
    """Its announcer, its transfer and its record, each as far as they are used."""

    outcome: dict[str, str] | ToolError
    said: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    has_agent: bool = True
    is_joined: bool = False  # with the person, through us

    async def close_with(self, phrase: str) -> None:
        self.said.append(phrase)

    async def to(self, department: str, reason: str) -> dict[str, str]:
        self.asked.append((department, reason))
        if isinstance(self.outcome, ToolError):
            raise self.outcome
        return self.outcome

    async def follow(self) -> None:
        raise CallOver(PERSON_LEFT)

    @property
    def record(self) -> Any:
        return SimpleNamespace(id="1", error=lambda at, reason, message: self.errors.append(reason))


@pytest.mark.parametrize(
    ("department", "outcome", "said", "is_over"),
    [
        ("", {"status": "connected"}, ["service_error"], False),
        ("support", {"status": "connected"}, ["assistant_away"], True),
        ("support", {"status": "closed"}, ["assistant_away", "closed"], False),
        ("support", ToolError("nobody answered"), ["assistant_away", "goodbye"], False),
        ("gone", ToolError("there is no department 'gone'"), ["assistant_away", "goodbye"], False),
    ],
)
async def test_an_apology_then_a_person_or_the_end(
    department: str,
    outcome: dict[str, str] | ToolError,
    said: list[str],
    is_over: bool,
) -> None:
    call, error = Call(outcome), RealtimeRefused("HTTP 401")
    metrics = Metrics(node="", worker=0, instance="", version="")
    ended = None
    try:
        await apologise(
            error,
            cast(Any, call),
            cast(Any, call),
            department,
            call.record,
            metrics,
            SystemClock(),
            bye_s=0.0,
        )
    except CallOver as over:
        ended = over.ending
    assert ended is (TRANSFERRED if is_over else None)
    assert call.said == said
    assert call.asked == ([(department, REASON)] if department else [])
    assert call.has_agent == (not department)  # "I am still here to help" would not be true
    assert call.errors == ["realtime_refused"]
    assert error.is_recorded


async def test_who_was_joined_with_a_person_stays_as_long_as_they_talk() -> None:
    call, metrics = (
        Call({"status": "connected"}, is_joined=True),
        Metrics(node="", worker=0, instance="", version=""),
    )
    with pytest.raises(CallOver) as over:
        await apologise(
            RealtimeRefused("HTTP 401"), cast(Any, call), cast(Any, call), "support", call.record, metrics,
            SystemClock(),
        )  # fmt: skip
    assert over.value.ending is PERSON_LEFT
