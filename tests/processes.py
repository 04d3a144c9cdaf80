"""Which processes belong to a test: found by a mark in their environment, so that only ours are ever counted."""

from __future__ import annotations

import time
from pathlib import Path


def processes_with(mark: str) -> list[str]:
    """Command lines of the living processes whose environment holds ``mark`` (a unique path of the test)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found


def wait_until_gone(mark: str, timeout_s: float = 20.0) -> list[str]:
    """What is still there when the time is up; empty if all have ended."""
    give_up = time.monotonic() + timeout_s
    left = processes_with(mark)
    while left and time.monotonic() < give_up:
        time.sleep(0.05)
        left = processes_with(mark)
    return left
