"""``sipua bench flood``: a call on real sockets under random datagrams. Counted are packets, not times."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import orjson
import pytest

BENCH = [sys.executable, "-m", "sipua", "bench", "flood"]


def flooded(*options: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(
        subprocess.check_output([*BENCH, *options, "--json"], timeout=100)
    )
    return document


@pytest.mark.parametrize(
    ("rate", "seconds"), [(10_000, 2), (65_536, 1)], ids=["10,000 a second", "65,536 in one second"]
)
def test_a_flooded_call_goes_on_and_nothing_foreign_is_heard(rate: int, seconds: int) -> None:
    document = flooded("--rate", str(rate), "--seconds", str(seconds))
    assert document["flooded"] > rate * seconds / 4  # as fast as this machine is
    assert document["foreign"] == 0
    assert document["lost_percent"] <= 1
    assert document["callback_errors"] == 0
    assert document["heard"] >= document["talked"] * 0.9  # the phone hears us, too
    assert document["dropped"]["kernel"] > document["flooded"] / 2
    assert sum(document["dropped"].values()) >= document["flooded"]


def test_a_run_tells_in_words_what_was_lost() -> None:
    text = subprocess.check_output([*BENCH, "--rate", "100", "--seconds", "0.1"], timeout=60).decode()
    assert "0 lost (0.0 %), 0 of others heard" in text
