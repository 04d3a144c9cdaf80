"""``sipua bench path`` as a user runs it: its document, its refusals, and that it leaves nothing. No times asserted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest

SAMPLES = 15


def processes_below(directory: Path) -> list[str]:
    """Command lines that name the directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


@pytest.fixture
def scratch() -> Any:
    """A TMPDIR that the database's user can reach (as root it runs as nobody); pytest's own is 0700."""
    with tempfile.TemporaryDirectory(prefix="bench-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def command(scratch: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sipua", "bench", "path", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )


def test_the_figures_of_a_short_run(scratch: Path) -> None:
    with command(scratch, "--samples", str(SAMPLES)) as process:
        output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors.decode()
    assert output.count(b"\n") == 1
    found = orjson.loads(output)
    for key in ("uplink_ms", "downlink_ms", "tick_wait_ms", "own_ms"):
        assert set(found[key]) == {"p50", "p95"}
        assert found[key]["p50"] <= found[key]["p95"]
    assert found["samples"] + found["lost"]["downlink"] == SAMPLES
    assert found["uplink_samples"] > SAMPLES
    assert found["uplink_ms"]["p50"] >= 0
    assert found["own_ms"]["p95"] <= found["downlink_ms"]["p95"]
    assert found["mean_ms"]["own"] <= found["mean_ms"]["downlink"]
    assert found["mean_ms"]["own"] + found["mean_ms"]["tick_wait"] == pytest.approx(
        found["mean_ms"]["downlink"], abs=0.01
    )
    assert 0 <= found["tick_wait_ms"]["p95"] <= 20.001
    assert set(found["floor_ms"]) == {"udp", "websocket"}
    assert found["codec"] == "PCMU"
    assert {"cpus", "python", "kernel", "load"} <= set(found["machine"])
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []


def test_ctrl_c_ends_it_in_order(scratch: Path) -> None:
    with command(scratch, "--seconds", "60") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"calling the agent" in line:
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert orjson.loads(output)["error"]["message"] == "stopped"
    assert b"Traceback" not in errors
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--codec", "G729"), "PCMU, PCMA"),
        (("--samples", "0"), "at least 1"),
        (("--seconds", "0"), "allowed"),
        (("--seconds", "100000"), "allowed"),
        (("--seconds", "1", "--samples", "1"), "only one"),
    ],
)
def test_bad_options_are_refused(scratch: Path, arguments: tuple[str, ...], words: str) -> None:
    with command(scratch, *arguments) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 78
    assert words in orjson.loads(output)["error"]["message"]
