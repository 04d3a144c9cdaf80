"""The time zone that this machine is set to, by its name: what a database and a browser can be told."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

LOCALTIME = Path("/etc/localtime")


def machine_zone(link: Path = LOCALTIME) -> ZoneInfo:
    """UTC where the machine has none, or one without a name."""
    _, found, name = str(link.resolve()).partition("/zoneinfo/")
    try:
        return ZoneInfo(name.removeprefix("posix/").removeprefix("right/")) if found else ZoneInfo("UTC")
    except (LookupError, ValueError, OSError):
        return ZoneInfo("UTC")
