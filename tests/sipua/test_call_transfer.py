"""What the model is told of a department, before any REFER."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.call_transfer import NO_LINE, CallTransfer
from sipua.departments import load_departments
from sipua.errors import LocalError
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.outcome import Ending, ending_of_code
from sipua.ports import Moment
from sipua.sip_events import TransferProgress
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


def ask(
    folder: Path, department: str, wall: datetime, caller: str = "sip:+250788000009@carrier.test"
) -> tuple[Any, list[str], list[bool]]:
    """The result or the error's text, where a REFER would have gone, and when the conversation was held."""
    (folder / "departments.toml").write_text(FILE)
    legs, held = Legs(), list[bool]()
    opening = SimpleNamespace(direction="inbound", from_uri=caller, to_uri="")
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


@pytest.mark.parametrize("caller", ["sip:anonymous@anonymous.invalid", "tel:+250788000009", "nobody"])
def test_where_the_caller_names_no_host_the_number_alone_is_referred_to(tmp_path: Path, caller: str) -> None:
    _, targets, _ = ask(tmp_path, "support", MONDAY, caller)
    assert targets == ["tel:+250788000001"]


class Refuses:
    """A SIP side whose peer takes no REFER."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.leg: Any = None

    async def refer(self, key: UUID, target_uri: str) -> None:
        self.targets.append(target_uri)
        self.leg.on_transfer(TransferProgress(key, 405, "Method Not Allowed", True))


class Busy:
    """A second leg that nobody answers."""

    def __init__(self) -> None:
        self.leg = None
        self.news: asyncio.Queue[Ending] = asyncio.Queue()
        self.closed = 0

    def dial(self) -> None:
        self.news.put_nowait(ending_of_code(486))

    async def close(self) -> None:
        self.closed += 1


REFUSED, BUSY = "the caller's line does not allow transfers; the caller", "the line is busy; the caller"


@pytest.mark.parametrize(
    ("trunk", "department", "has_route", "refers", "dials", "told", "phrases"),
    [
        ("auto", "auto", True, 1, 1, BUSY, ["transferring", "transfer_failed"]),
        ("auto", "auto", False, 1, 0, REFUSED, ["transferring", "transfer_failed"]),
        ("auto", "refer", True, 1, 0, REFUSED, ["transferring", "transfer_failed"]),
        ("auto", "bridge", True, 0, 1, BUSY, ["transferring", "transfer_failed"]),
        ("auto", "bridge", False, 0, 0, NO_LINE, []),
        ("bridge", "refer", True, 0, 1, BUSY, ["transferring", "transfer_failed"]),
        ("refer", "bridge", True, 1, 0, REFUSED, ["transferring", "transfer_failed"]),
    ],
)
async def test_which_way_a_caller_goes(
    trunk: str, department: str, has_route: bool, refers: int, dials: int, told: str, phrases: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The trunk of the call says it, then the department."""
    file = f'[departments.a]\ntarget = "+250788000001"\ntransfer_by = "{department}"\ndial_by = "mtn"\n'
    (tmp_path / "departments.toml").write_text(file)
    legs, second, said, asked = Refuses(), Busy(), list[str](), list[tuple[str, ...]]()
    opening = SimpleNamespace(
        direction="inbound", from_uri="sip:+250788000009@carrier.test", to_uri="",
        from_number="+250788000009", to_number="+250788000777",
    )  # fmt: skip
    leg = legs.leg = SimpleNamespace(
        key=uuid4(),
        trunk=SimpleNamespace(name="plain", transfer_by=trunk),
        media=SimpleNamespace(playout=Playout(CODECS["PCMU"]), pass_on=lambda to: None),
        is_held=False,
        on_transfer=None,
    )

    def second_leg(route: object, record: object, ring_s: float, diverted_from: str) -> Busy:
        asked.append((f"{ring_s:g}", diverted_from))
        return second

    def route(*wanted: str) -> object:
        assert wanted == ("+250788000001", "+250788000009", "mtn")
        return SimpleNamespace(targets=["somewhere"] if has_route else [])

    transfer = CallTransfer(
        load_departments(tmp_path),
        cast(Any, leg),
        cast(Any, legs),
        cast(Any, SimpleNamespace(held=lambda is_held, now: None)),
        cast(Any, SimpleNamespace(say=said.append)),
        cast(Any, SimpleNamespace(id=uuid4(), opening=opening, transfer=lambda *_, **__: None)),
        Clock(MONDAY),
        Keypad(KeyRules(), Clock(MONDAY)),
        cast(Any, SimpleNamespace(route=route, leg=second_leg)),
    )
    with pytest.raises(ToolError, match=re.escape(told)):
        await transfer.to("a", "a complaint")
    assert (len(legs.targets), asked) == (refers, [("40", "+250788000777")] * dials)
    assert (said, second.closed, transfer.lets_agent_listen) == (phrases, dials, True)
    await transfer.aclose()
