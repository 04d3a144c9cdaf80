"""``sipua bench turns``: the judge can say no, and a short run tells all figures. No times asserted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import pytest

from sipua.bench.code import CELL_BYTES, FRAME_BYTES, encode_item
from sipua.bench.evaluate import Heard
from sipua.bench.turns import Interruption, judge

ITEM = 7
LENGTH = 100  # cells of 2 ms


def packets(item: int, frames: int, start: float = 0.0) -> list[Heard]:
    data = encode_item(item, frames)
    return [
        Heard(start + 0.02 * n, 160 * n, data[n * FRAME_BYTES : (n + 1) * FRAME_BYTES]) for n in range(frames)
    ]


@pytest.mark.parametrize(
    ("frames", "claims", "expected"),
    [
        (4, [80], ([0.0], 0, 0)),
        (4, [60], ([20.0], 0, 0)),
        (4, [200], ([120.0], 0, 0)),
        (4, [], ([], 1, 0)),
        (4, [80, 80], ([0.0], 0, 1)),
        (10, [], ([], 0, 0)),  # all of it was heard
        (10, [200], ([], 0, 1)),
        (0, [0], ([0.0], 0, 0)),
    ],
)
def test_claims_beside_what_was_heard(
    frames: int, claims: list[int], expected: tuple[list[float], int, int]
) -> None:
    judged = judge([Interruption(0.05, {ITEM: LENGTH})], packets(ITEM, frames), {ITEM: claims})
    assert (judged.errors_ms, judged.missing, judged.unwanted) == expected


def test_items_may_share_a_packet() -> None:
    """The first ends 4 ms after a border."""
    sound = encode_item(1, 3)[: 22 * CELL_BYTES] + encode_item(2, 2)
    heard = [
        Heard(0.02 * n, 160 * n, sound[n * FRAME_BYTES : (n + 1) * FRAME_BYTES])
        for n in range(len(sound) // 160)
    ]
    judged = judge([Interruption(0.01, {1: 22, 2: LENGTH})], heard, {2: [36]})
    assert (judged.errors_ms, judged.missing, judged.unwanted) == ([0.0], 0, 0)


def test_the_time_to_silence_is_that_of_the_last_packet_of_any_of_its_items() -> None:
    heard = packets(1, 2) + packets(2, 2, 0.04) + packets(3, 1, 5.0)
    first, second = Interruption(0.01, {1: 30, 2: 30}), Interruption(0.5, {1: 30})
    assert judge([first, second], heard, {}).stop == pytest.approx([0.05, 0.0])


def test_the_figures_of_a_short_run() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-test-") as name:
        Path(name).chmod(0o755)
        run = subprocess.run(
            [sys.executable, "-m", "sipua", "bench", "turns", "--json", "--interruptions", "8"],
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": name, "HOME": name},
            timeout=90,
            check=False,
        )
    assert run.returncode == 0, run.stderr.decode()
    found = orjson.loads(run.stdout)
    assert (found["interruptions"], found["two_items"]) == (8, 4)
    assert found["truncate_error_ms"]["max"] <= found["targets"]["truncate_error_ms"]["max"]
    assert found["truncations"]["unwanted"] == 0
    assert set(found["stop_ms"]) == set(found["uplink_ms"]) == set(found["downlink_ms"]) == {"p50", "p95"}
