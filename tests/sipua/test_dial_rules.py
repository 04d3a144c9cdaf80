"""Who may be called, and how often."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sipua.calling_hours import CallingHours
from sipua.dial_request import dial_request
from sipua.dial_rules import DialRefused, DialRules, DoNotCall, OnTheList, OutsideHours, TooOften
from sipua.errors import ConfigError

NUMBER, OTHER = "+250788123456", "+250788999888"
DAY = datetime(2026, 11, 23, 10, tzinfo=UTC)  # a Monday
NIGHT = datetime(2026, 11, 23, 20, tzinfo=UTC)
HOURS = CallingHours.of(("Mon-Fri 08:00-20:00",), (), None)
NO_LIST = DoNotCall("")


class Ledger:
    """Calls that are written down already."""

    def __init__(self, calls: int | None = 0) -> None:
        self.calls = calls
        self.since: datetime | None = None

    async def __call__(self, number: str, since: datetime) -> int | None:
        self.since = since
        return self.calls


def rules(calls: int | None = 0, most: int = 0, do_not_call: DoNotCall = NO_LIST) -> DialRules:
    return DialRules(HOURS, do_not_call, most, Ledger(calls))


def listed(folder: Path, text: str) -> DoNotCall:
    (folder / "list").write_text(text)
    return DoNotCall(str(folder / "list"))


async def test_hours_and_force() -> None:
    assert await rules().check(NUMBER, DAY, force=False) == ""
    assert await rules().check(NUMBER, DAY, force=True) == ""
    with pytest.raises(OutsideHours, match=r"\+250\*\*\*\*\*3456: outside .* open again on Tuesday.*--force"):
        await rules().check(NUMBER, NIGHT, force=False)
    assert (await rules().check(NUMBER, NIGHT, force=True)).startswith("outside the calling hours")


@pytest.mark.parametrize(
    ("written", "own", "is_refused"),
    [
        (2, 0, False),
        (3, 0, True),
        (0, 3, True),
        (None, 3, True),
        (None, 2, False),
    ],
)
async def test_attempts_of_the_ledger_and_of_ours(written: int | None, own: int, is_refused: bool) -> None:
    each = rules(written, most=3)
    for _ in range(own):
        each.began(NUMBER, DAY)
    each.began(OTHER, DAY)
    if not is_refused:
        assert await each.check(NUMBER, DAY, force=False) == ""
        return
    with pytest.raises(TooOften, match="called 3 times today, allowed are 3"):
        await each.check(NUMBER, DAY, force=False)
    assert "called 3 times" in await each.check(NUMBER, DAY, force=True)


async def test_the_day_begins_anew_where_the_number_is() -> None:
    each = DialRules(CallingHours(), NO_LIST, 1, Ledger())
    each.began(NUMBER, datetime(2026, 11, 23, 21, 59, tzinfo=UTC))  # 23:59 in Kigali
    with pytest.raises(TooOften):
        await each.check(NUMBER, datetime(2026, 11, 23, 21, 59, 30, tzinfo=UTC), force=False)
    assert await each.check(NUMBER, datetime(2026, 11, 23, 22, tzinfo=UTC), force=False) == ""


async def test_the_ledger_is_asked_since_midnight_there() -> None:
    ledger = Ledger()
    await DialRules(HOURS, NO_LIST, 1, ledger).check(NUMBER, DAY, force=False)
    assert ledger.since == datetime(2026, 11, 22, 22, tzinfo=UTC)


async def test_a_ledger_that_never_answers() -> None:
    async def stuck(number: str, since: datetime) -> int | None:
        await asyncio.Event().wait()
        return None

    each = DialRules(HOURS, NO_LIST, 1, stuck, read_timeout_s=0.01)
    assert await each.check(NUMBER, DAY, force=False) == ""


async def test_the_list_overrides_force(tmp_path: Path) -> None:
    each = rules(do_not_call=listed(tmp_path, f"# asked us\n{NUMBER}  # on Monday\n\n+88*\n"))
    for number in (NUMBER, "+88312345678"):
        with pytest.raises(OnTheList, match="do-not-call"):
            await each.check(number, DAY, force=True)
    assert await each.check(OTHER, DAY, force=False) == ""


def test_the_list_is_read_again_when_it_changes(tmp_path: Path) -> None:
    each = listed(tmp_path, f"{NUMBER}\n")
    assert (each.includes(NUMBER), each.includes(OTHER)) == (True, False)
    (tmp_path / "list").write_text(f"{OTHER}\n")
    os.utime(tmp_path / "list", ns=(1, 1))
    assert (each.includes(NUMBER), each.includes(OTHER)) == (False, True)
    (tmp_path / "list").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):  # rather nobody than the wrong one
        each.includes(OTHER)


@pytest.mark.parametrize(
    ("text", "fault"), [("+250788123456\n0788\n", ":2: '0788' is no number"), ("\xff", "UTF-8")]
)
def test_a_list_with_a_fault_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=fault):
        DoNotCall(str(tmp_path / "list"))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "dial: the key 'to' is missing"),
        ({"to": ""}, "dial: to = '': "),
        ({"to": NUMBER, "language": "english"}, "dial: language = 'english'"),
        ({"to": NUMBER, "answering_machine": "shout"}, "dial: answering_machine = 'shout'"),
        ({"to": NUMBER, "purpose": "x" * 1501}, "dial: purpose"),
        ({"to": NUMBER, "number": NUMBER}, "dial: unknown key 'number'"),
        ({"to": NUMBER, "id": "seven"}, "dial: id = 'seven'"),
        ({"to": 7}, "dial: to = 7"),
    ],
)
def test_a_request_with_a_fault_names_it(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dial_request(values)
    assert str(caught.value).startswith(fault)


def test_every_refusal_is_one() -> None:
    assert {each.reason for each in (OutsideHours, OnTheList, TooOften)} == {
        "outside_calling_hours", "do_not_call", "too_many_attempts",
    }  # fmt: skip
    assert all(issubclass(each, DialRefused) for each in (OutsideHours, OnTheList, TooOften))
