"""``sipua bench ledger`` as a user runs it. No times asserted, but nothing lost."""

from __future__ import annotations

import subprocess
import sys

import orjson


def test_the_figures_of_a_short_run() -> None:
    options = ["--seconds", "1", "--calls", "4", "--rows-per-s", "20", "--rows", "300"]
    command = [sys.executable, "-m", "sipua", "bench", "ledger", *options]
    document = orjson.loads(subprocess.check_output([*command, "--json"], timeout=100))
    outage = document["outage"]
    assert (outage["lost"], outage["doubled"], outage["dropped"]) == (0, 0, 0)
    assert outage["waiting_rows"] > 20
    assert outage["spool_bytes"] > 0
    assert document["flat_out"]["rows_per_s"] > 0
    assert 0 < document["with_spool"]["append_us_p50"] <= document["with_spool"]["append_us_p99"]
