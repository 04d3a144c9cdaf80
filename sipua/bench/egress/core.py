"""Who uses a core, by the kernel's account (proc(5): /proc/stat, in hundredths of a second)."""

from __future__ import annotations

import os
from pathlib import Path

STAT = Path("/proc/stat")
IDLE, IOWAIT, GUEST = 3, 4, 8  # columns; what guests use is in "user" as well


def busy_s(cpu: int, stat: str | None = None) -> float:
    """Seconds that it was used since boot, by whomever: other processes, interrupts, the hypervisor."""
    lines = (STAT.read_text() if stat is None else stat).splitlines()
    ticks = next(line.split()[1:] for line in lines if line.startswith(f"cpu{cpu} "))
    used = sum(int(value) for column, value in enumerate(ticks[:GUEST]) if column not in (IDLE, IOWAIT))
    return used / os.sysconf("SC_CLK_TCK")
