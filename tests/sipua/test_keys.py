"""Keys become entries: a table of presses with the clock in hand, then the same with a real one."""

from __future__ import annotations

import asyncio

import pytest

from sipua.clock import SystemClock
from sipua.keypad import Keypad
from sipua.keys import FASTEST, Entry, EntryBegun, KeyCollector, KeyNews, KeyRules

SLOW = 9.0  # beyond every time-out here


def collected(presses: list[tuple[float, str]], **rules: object) -> list[str]:
    """The entries of (time, key), after all time is over."""
    collector = KeyCollector(KeyRules(**rules))  # type: ignore[arg-type]
    news: list[KeyNews] = []
    for now, key in presses:
        news += collector.press(key, now)
    news += collector.expire(presses[-1][0] + SLOW)
    return [each.keys for each in news if isinstance(each, Entry)]


@pytest.mark.parametrize(
    ("presses", "rules", "entries"),
    [
        ([(0, "1"), (1, "2"), (2, "#")], {}, ["12#"]),
        ([(0, "1"), (1, "2")], {}, ["12"]),
        ([(0, "1"), (2.49, "2")], {}, ["12"]),
        ([(0, "1"), (2.5, "2")], {}, ["1", "2"]),
        ([(0, "1"), (1.0, "2")], {"timeout_s": 0.5}, ["1", "2"]),
        ([(0, "#"), (1, "#")], {}, ["#", "#"]),
        ([(0, "1"), (1, "#"), (2, "2")], {"end": ""}, ["1#2"]),
        ([(0, "1"), (1, "*"), (2, "2")], {"end": "*"}, ["1*", "2"]),
        ([(n, "7") for n in range(5)], {"most": 2}, ["77", "77", "7"]),
        ([(0, "A"), (1, "D")], {}, ["AD"]),
    ],
    ids=[
        "end key", "pause", "just in time", "too late", "time-out", "end keys alone", "no end key", "other end key",
        "full", "letters",
    ],
)  # fmt: skip
def test_entries(presses: list[tuple[float, str]], rules: dict[str, object], entries: list[str]) -> None:
    assert collected(presses, **rules) == entries


def test_the_first_key_is_told_at_once_and_the_deadline_moves_with_each() -> None:
    collector = KeyCollector(KeyRules())
    assert collector.deadline() is None
    assert collector.press("1", 10.0) == [EntryBegun()]
    assert collector.deadline() == 12.5
    assert collector.press("2", 11.0) == []
    assert collector.deadline() == 13.5
    assert collector.expire(13.49) == []
    assert collector.expire(13.5) == [Entry("12")]
    assert collector.deadline() is None


def test_who_waits_for_one_key_has_it_at_once_and_no_entry_has_it() -> None:
    collector = KeyCollector(KeyRules())
    answers: list[str] = []

    def claim(key: str) -> bool:
        answers.append(key)
        return key in "12"

    collector.claim = claim
    assert collector.press("1", 0.0) == []
    assert collector.press("9", 0.1) == [EntryBegun()]  # not what was asked for
    assert answers == ["1", "9"]
    assert collector.expire(SLOW) == [Entry("9")]


def test_keys_faster_than_anybody_presses_are_dropped_and_counted() -> None:
    collector = KeyCollector(KeyRules(end="", most=64))
    for n in range(100):
        collector.press("1", n * 0.005)
    assert collector.dropped == 100 - FASTEST
    assert collector.expire(SLOW) == [Entry("1" * FASTEST)]
    assert collector.press("2", SLOW) == [EntryBegun()]


async def test_a_pause_ends_an_entry_in_real_time() -> None:
    pad = Keypad(KeyRules(timeout_s=0.05), SystemClock())
    heard: list[KeyNews] = []

    async def read() -> None:
        async for news in pad.news():
            heard.append(news)
            if len(heard) == 4:
                return

    reading = asyncio.create_task(read())
    pad.press("1")
    pad.press("2")
    async with asyncio.timeout(5):
        while len(heard) < 2:  # noqa: ASYNC110 - no event of ours comes with it
            await asyncio.sleep(0.005)
        pad.press("#")
        await reading
    assert heard == [EntryBegun(), Entry("12"), EntryBegun(), Entry("#")]


def test_at_the_end_of_a_call_nothing_that_was_keyed_in_is_lost() -> None:
    pad = Keypad(KeyRules(), SystemClock())
    for key in "1#7":  # and the line is dead before anybody reads
        pad.press(key)
    assert pad.rest() == [EntryBegun(), Entry("1#"), EntryBegun(), Entry("7")]
    assert pad.rest() == []
