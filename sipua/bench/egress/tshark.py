"""What tshark says of the telephones' streams, where it is installed: a judge that nobody here wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

TIMEOUT_S = 120
# Of a line of ``-z rtp,streams``: packets, lost, and the mean of its jitter (RFC 3550).
STREAM = re.compile(r" (\d+)\s+(-?\d+) \([-\d.]+%\)(?:\s+[\d.]+){4}\s+([\d.]+)\s+[\d.]+", re.M)


def tshark_figures(capture: Path) -> dict[str, float] | None:
    """Streams, packets lost, jitter in ms (mean over streams, and of the worst); None without tshark."""
    if shutil.which("tshark") is None:
        return None
    done = subprocess.run(
        ["tshark", "-r", str(capture), "--enable-heuristic", "rtp_udp", "-q", "-z", "rtp,streams"],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return figures_of(done.stdout)


def figures_of(table: str) -> dict[str, float] | None:
    """Of what tshark printed; None if no stream stands there."""
    rows = STREAM.findall(table)
    if not rows:
        return None
    jitters = [float(jitter) for _, _, jitter in rows]
    return {
        "streams": len(rows),
        "packets": sum(int(packets) for packets, _, _ in rows),
        "lost": sum(int(lost) for _, lost, _ in rows),
        "jitter_ms_mean": round(sum(jitters) / len(jitters), 3),
        "jitter_ms_worst": round(max(jitters), 3),
    }
