"""``sipua bench outage``: its arithmetic by table, and as a user runs it. No times asserted, but nothing lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import orjson
import pytest

from sipua.bench.outage.count import Count, counted
from storage.rehearsal import Told

KINDS = ("transcript", "transcript_segment", "openai_conversation_item_created")


def told(*counts: tuple[int, int, int]) -> Sequence[Told]:
    """Rows, different ones and the last, of each kind."""
    return [Told("a", kind, *each) for kind, each in zip(KINDS, counts, strict=False)]


@pytest.mark.parametrize(
    ("found", "was_killed", "count"),
    [
        (told((5, 5, 5), (5, 5, 5), (5, 5, 5)), False, Count(15, 0, 0, 0)),
        (told((5, 5, 5), (6, 5, 5), (5, 5, 5)), False, Count(15, 0, 1, 0)),
        (told((4, 4, 5), (5, 5, 5), (5, 5, 5)), False, Count(15, 1, 0, 0)),  # a gap
        (told((4, 4, 4), (4, 4, 4), (4, 4, 4)), False, Count(15, 3, 0, 0)),  # the end is missing
        (told((4, 4, 4), (4, 4, 4), (4, 4, 4)), True, Count(15, 0, 0, 3)),  # … which never came there
        (told((3, 3, 3), (3, 3, 3), (4, 4, 4)), True, Count(15, 0, 0, 3)),  # killed amid an utterance
        (told((3, 3, 4), (4, 4, 4), (4, 4, 4)), True, Count(15, 0, 0, 3)),  # … the gap may be its own
        (told((2, 2, 4), (4, 4, 4), (4, 4, 4)), True, Count(15, 1, 0, 3)),
        (told((5, 5, 5), (5, 5, 5)), False, Count(15, 5, 0, 0)),  # a kind of row that is not there at all
        (told(), True, Count(15, 0, 0, 15)),
        ([*told((5, 5, 5), (5, 5, 5), (5, 5, 5)), Told("b", "transcript", 9, 1, 1)], False, Count(15, 0, 0, 0)),
    ],
)  # fmt: skip
def test_rows_are_counted(found: Sequence[Told], was_killed: bool, count: Count) -> None:
    assert counted(found, {"a": 5}, was_killed=was_killed) == count


def test_the_figures_of_a_short_run() -> None:
    options = ["--seconds", "1", "--calls", "2", "--rows-per-s", "30", "--json"]
    command = [sys.executable, "-m", "sipua", "bench", "outage", *options]
    document = orjson.loads(subprocess.check_output(command, timeout=100))
    for part in (document["outage"], document["kill"]):
        assert (part["lost"], part["doubled"]) == (0, 0)
        assert (part["calls"], part["open"]) == (2, 0)
        assert part["said"] > 60
    assert document["outage"]["under_way"] == 0
    assert document["outage"]["packets"] > 100
