"""What the model is told of a department, before any REFER."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from sipua.call_transfer import CallTransfer
from sipua.departments import load_departments
from sipua.errors import LocalError
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.ports import Moment
from sipua.tools.schema import ToolError

FILE = """
timezone = "Africa/Kigali"
[departments.support]
target = "+250788000001"
hours = ["Mon-Fri 08:00-17:00"]
[departments.desk]
targets = { other = "sip:desk@pbx.example.org" }
[departments.night]
target = "sip:night@pbx.example.org"
"""
SUNDAY, MONDAY = datetime(2026, 11, 22, 10, tzinfo=UTC), datetime(2026, 11, 23, 10, tzinfo=UTC)


@dataclass
class Clock:
    wall: datetime

    def now(self) -> Moment:
        return Moment(asyncio.get_running_loop().time(), self.wall)


class Legs:
    """A SIP side that cannot send the REFER."""

    def __init__(self) -> None:
        self.targets: list[str] = []

    async def refer(self, key: UUID, target_uri: str) -> None:
        self.targets.append(target_uri)
        raise LocalError("the call is gone")


def ask(folder: Path, department: str, wall: datetime) -> tuple[Any, list[str], list[bool]]:
    """The result or the error's text, where a REFER would have gone, and when the conversation was held."""
    (folder / "departments.toml").write_text(FILE)
    legs, held = Legs(), list[bool]()
    opening = SimpleNamespace(direction="inbound", from_uri="sip:+250788000009@carrier.test", to_uri="")
    leg = SimpleNamespace(
        key=uuid4(),
        trunk=SimpleNamespace(name="plain", transfer_by="auto"),
        media=SimpleNamespace(playout=SimpleNamespace(queued_ms=0)),
        is_held=False,
    )
    transfer = CallTransfer(
        load_departments(folder),
        cast(Any, leg),
        cast(Any, legs),
        cast(Any, SimpleNamespace(held=lambda is_held, now: held.append(is_held))),
        cast(Any, SimpleNamespace(say=lambda phrase: "")),
        cast(Any, SimpleNamespace(id=uuid4(), opening=opening, transfer=lambda *_, **__: None)),
        Clock(wall),
        Keypad(KeyRules(), Clock(wall)),
    )
    try:
        result: Any = asyncio.run(transfer.to(department, "a complaint"))
    except ToolError as error:
        result = str(error)
    return result, legs.targets, held


def test_a_closed_department_is_not_called_and_says_when_it_opens(tmp_path: Path) -> None:
    result, targets, held = ask(tmp_path, "support", SUNDAY)
    assert (result["status"], result["opens"]) == ("closed", "tomorrow at 08:00")
    assert (targets, held) == ([], [])


@pytest.mark.parametrize("department", ["desk", "nobody"])
def test_a_department_that_this_call_cannot_reach_is_told_with_those_it_can(
    tmp_path: Path, department: str
) -> None:
    result, targets, _ = ask(tmp_path, department, MONDAY)
    assert result == f"there is no department {department!r}; departments: support, night"
    assert targets == []


@pytest.mark.parametrize(
    ("department", "target"),
    [("support", "sip:+250788000001@carrier.test"), ("night", "sip:night@pbx.example.org")],
)
def test_a_refer_that_cannot_be_sent_brings_the_caller_back(
    tmp_path: Path, department: str, target: str
) -> None:
    result, targets, held = ask(tmp_path, department, MONDAY)
    assert targets == [target]
    assert result.startswith("the transfer could not be started; the caller has been told so")
    assert held == [True, False]
