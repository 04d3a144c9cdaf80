"""``sipua bench egress``: its arithmetic by table, and as a user runs it. No times asserted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from sipua.bench.egress.agent import Measured
from sipua.bench.egress.core import busy_s
from sipua.bench.egress.gaps import Gap, figures, gaps_of, unexplained
from sipua.bench.egress.run import document
from sipua.bench.egress.tshark import figures_of
from sipua.errors import LocalError
from tests.bench.test_bench_path import processes_below


@pytest.mark.parametrize(
    ("ours", "control", "left"),
    [
        ([], [], 0),
        ([Gap(10.5, 40.0)], [], 0),  # not above
        ([Gap(10.5, 41.0)], [], 1),
        ([Gap(10.5, 41.0)], [Gap(10.9, 39.0)], 1),  # none of the control's own
        ([Gap(10.5, 41.0)], [Gap(10.9, 45.0)], 0),
        ([Gap(10.5, 41.0)], [Gap(11.1, 45.0)], 1),  # of the next second
        ([Gap(10.5, 41.0)], [Gap(11.03, 45.0)], 0),  # began in the same
        ([Gap(11.01, 41.0), Gap(13.5, 90.0)], [Gap(10.2, 60.0)], 1),
    ],
)
def test_a_gap_is_explained_by_one_of_the_control_in_its_second(
    ours: list[Gap], control: list[Gap], left: int
) -> None:
    assert len(unexplained(ours, control)) == left


def test_gaps_are_from_packet_to_packet() -> None:
    gaps = gaps_of([1.0, 1.02, 1.08, 1.1])
    assert [round(gap.ms) for gap in gaps] == [20, 60, 20]
    assert figures(gaps) == {"p50": 20.0, "p99": 59.2, "max": 60.0}


def heard(lost: float = 0.0, last: float = 0.0) -> list[list[tuple[float, int]]]:
    """Two telephones; the first hears the coded item 7 until ``last`` after its flush at 100.5."""
    one = [(100 + 0.02 * n + lost * (n // 30), 7 if n <= 25 + round(last / 0.02) else 0) for n in range(100)]
    return [one, [(at + 0.001, 0) for at, _ in one]]


@pytest.mark.parametrize(
    ("lost", "last", "cost", "noise", "verdicts"),
    [
        (0.0, 0.0, 0.1, 0.0, [True, True, True, True]),
        (0.05, 0.0, 0.1, 0.0, [False, False, True, True]),
        (0.05, 0.0, 0.1, 0.03, [None, True, True, True]),  # the control has as long gaps
        (0.0, 0.0, 0.1, 0.03, [True, True, True, True]),
        (0.0, 0.04, 0.1, 0.0, [True, True, False, True]),
        (0.0, 0.0, 0.2, 0.0, [True, True, True, False]),
        (0.0, 0.0, 0.2, 0.5, [True, True, True, None]),  # others use the core
    ],
)
def test_what_is_not_kept_is_told(
    lost: float, last: float, cost: float, noise: float, verdicts: list[bool | None]
) -> None:
    """``noise``: by so much the control is late, and so much of the core do others use."""
    costs = [(legs, Measured(cost / 100 * legs, cost / 100 * legs + noise, 1.0, {}, 0)) for legs in (10, 50)]
    control = [100 + 0.02 * n + noise * (n // 30) for n in range(100)]
    found = document(costs, Measured(0.2, 0.2, 2.0, {7: 100.5}, 5), heard(lost, last), control)
    assert [each["is_kept"] for each in found["promises"]] == verdicts
    assert found["barge_in_ms"]["max"] == pytest.approx(last * 1000, abs=0.1)
    assert [each["percent_of_a_core_per_call"] for each in found["cost"]] == pytest.approx([cost, cost])


def test_the_use_of_a_core_is_read() -> None:
    stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 100 20 30 4000 500 6 7 8 90 0\ncpu10 1 1 1 1 1 1 1 1 1 1\nintr 1\n"
    ticks = os.sysconf("SC_CLK_TCK")
    assert busy_s(1, stat) * ticks == pytest.approx(100 + 20 + 30 + 6 + 7 + 8)
    assert busy_s(min(os.sched_getaffinity(0))) > 0


def test_a_run_in_which_nothing_came_is_no_measurement() -> None:
    with pytest.raises(LocalError, match="heard nothing"):
        document([], Measured(0.2, 0.2, 2.0, {}, 0), [[]], [])


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A TMPDIR that the database's user can reach."""
    with tempfile.TemporaryDirectory(prefix="bench-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def command(scratch: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sipua", "bench", "egress", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )


def test_what_tshark_prints_is_read() -> None:
    table = (
        "     7.235539     17.236786       192.0.2.1 56302       192.0.2.2 30862 0xA517188C            g711U   489    "
        "11 (2.2%)           0.005          20.494         120.124           1.666          14.062          20.411 X\n"
        "     7.216356     17.213582       192.0.2.2 30862       192.0.2.1 56302 0x98F22F1B            g711U   501     "
        "-1 (-0.2%)          15.614          19.994          24.771           0.173           1.320           1.851\n"
    )
    assert figures_of(table) == {
        "streams": 2, "packets": 990, "lost": 10, "jitter_ms_mean": 7.691, "jitter_ms_worst": 14.062,
    }  # fmt: skip
    assert figures_of("no stream") is None


def test_the_figures_of_a_short_run(scratch: Path) -> None:
    with command(scratch, "--seconds", "2") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    found = orjson.loads(output)
    assert found["calls"] == 50
    assert found["packets"] > 50 * 10  # of 5,000 where the machine is idle
    assert found["busy"]["facts_written"] > 0
    if found["tshark"] is not None:
        judged = found["tshark"]
        assert (judged["streams"], judged["packets"], judged["lost"]) == (50, found["packets"], 0)
    assert found["barge_in_ms"]["count"] >= 5
    assert [each["legs"] for each in found["cost"]] == [10, 50, 100]
    assert all(each["percent_of_a_core_per_call"] > 0 for each in found["cost"])
    assert len(found["promises"]) == 4
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []


def test_ctrl_c_ends_it_in_order(scratch: Path) -> None:
    with command(scratch, "--seconds", "60") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"starting database" in line:
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert orjson.loads(output)["error"]["message"] == "stopped"
    assert b"Traceback" not in errors
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []


@pytest.mark.parametrize("seconds", ["0", "100000"])
def test_bad_options_are_refused(scratch: Path, seconds: str) -> None:
    with command(scratch, "--seconds", seconds) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 78
    assert "allowed" in orjson.loads(output)["error"]["message"]
