"""``sipua bench reads`` as a user runs it. No times asserted, but everything measured and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson


def test_the_figures_of_a_short_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = [
        sys.executable,
        "-m",
        "sipua",
        "bench",
        "reads",
        "--calls",
        "1000",
        "--repeats",
        "10",
        "--json",
    ]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    document = orjson.loads(subprocess.check_output(command, timeout=100, env=env))
    assert document["calls"] == 1000
    assert set(document["targets_ms"]) <= set(document["reads_ms"])
    for figures in document["reads_ms"].values():
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
    assert [*tmp_path.glob("sipua-bench-*")] == []
