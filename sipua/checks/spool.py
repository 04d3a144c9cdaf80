"""Where rows wait for the database: writable, with room, and nothing in it that nobody can read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sipua.checks.report import Check
from sipua.settings import Settings
from storage.spool_folder import left_behind

MEND = "make the folder writable for the user of `sipua serve`, or set ledger.spool_dir"


def spool(settings: Settings) -> Check:
    """What dead processes left there is the next start's to write."""
    folder = settings.spool_path
    if folder is None:
        said = "off (ledger.spool_max_mb = 0): a database that is away costs rows"
        return Check("spool", "warn", said, "set ledger.spool_max_mb")
    nearest = _nearest(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Check("spool", "fail", f"{nearest} cannot be written", MEND)
    found = list(left_behind(folder))
    if unread := [why for _, _, why in found if why]:
        return Check("spool", "fail", "; ".join(unread), "until then the rows in it are in no database")
    free_mb, wanted_mb = shutil.disk_usage(nearest).free >> 20, settings.ledger.spool_max_mb
    waiting = sum(size for _, size, _ in found)
    left = f", {waiting / 2**20:.1f} MB of {len(found)} dead processes for the next start" if found else ""
    said = f"{folder}: {free_mb} MB free, up to {wanted_mb} MB used{left}"
    if free_mb < wanted_mb:
        return Check("spool", "warn", said, "make room, or lower ledger.spool_max_mb")
    return Check("spool", "ok", said)


def _nearest(folder: Path) -> Path:
    """The folder, or what it would be made in."""
    return next(path for path in (folder, *folder.parents) if path.exists())
