"""sipvicious as an attacker runs it: svmap, svwar and svcrack, each a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 6.0  # then Ctrl-C: svcrack never tires of somebody who asks for no password


@dataclass(frozen=True, slots=True)
class Scan:
    """What a tool printed: ``rows`` of its table of finds (none if it found nothing), and what it said."""

    rows: tuple[tuple[str, ...], ...]
    said: str


def scan(folder: Path, tool: str, target: str, arguments: Sequence[str]) -> Scan:
    """Runs ``tool`` against ``target`` (host:port), from 127.0.0.1: only svmap obeys its own -b."""
    host, _, port = target.rpartition(":")
    command = [sys.executable, "-m", f"sipvicious.{tool}", host, "-p", port, "-x", "127.0.0.1", "-vv"]
    process = subprocess.Popen(
        [*command, *arguments], cwd=folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert "Traceback" not in said, said
    # the last thing that a tool says which began its work; its exit code is 30 for many an end
    assert "Total time:" in said, f"{tool} did not scan, exit code {process.returncode}: {said}"
    lines = [line for line in said.splitlines() if line.startswith("|")]
    rows = tuple(tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[1:])
    return Scan(rows, said)
