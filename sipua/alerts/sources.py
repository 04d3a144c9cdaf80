"""What is looked at, and what is trouble: values in, troubles out. Only the disks are asked here."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sipua.alerts.incident import Trouble
from sipua.fleet_view import TrunkView

CLEAR_OF = (
    1.25  # of the least free space: what is open ends beyond it, so that a disk at the limit is one incident
)


def trunks(views: Iterable[TrunkView]) -> list[Trouble]:
    """Those that are enabled and down."""
    todo = "run `sipua trunks` and `sipua doctor`; refused credentials are mended in the trunk file or at the carrier"
    return [
        Trouble(each.trunk.name, f"trunk {each.trunk.name} is down: {each.why.removeprefix('down: ')}", todo)
        for each in views
        if each.state == "down"
    ]


class VoiceService:
    """Refusals (key, quota, account) since the last look; well again once sessions are opened and none is refused."""

    def __init__(self) -> None:
        self._refused: Mapping[str, float] = {}
        self._opened = 0.0
        self._trouble: Trouble | None = None

    def look(self, refused: Mapping[str, float], opened: float) -> list[Trouble]:
        """Both are counts since the start; ``refused`` by reason."""
        risen = [reason for reason, count in refused.items() if count > self._refused.get(reason, 0.0)]
        if risen:
            what = f"the voice service refuses us ({', '.join(sorted(risen))}): callers hear an apology"
            todo = "look at key, quota and billing of its account, then run `sipua doctor`"
            self._trouble = Trouble("", what, todo)
        elif opened > self._opened:
            self._trouble = None
        self._refused, self._opened = dict(refused), opened
        return [self._trouble] if self._trouble else []


def spend(is_reached: bool, cap_usd: str) -> list[Trouble]:
    """The cap of the day."""
    if not is_reached:
        return []
    todo = (
        "raise spend.day_usd and start anew, or wait for the next day; `sipua calls` shows what cost so much"
    )
    return [Trouble("", f"the cap of the day ({cap_usd}) is reached: calls are ended", todo)]


def disks(folders: Mapping[str, Path], min_free_mb: int, is_open: Callable[[str], bool]) -> list[Trouble]:
    """One trouble for each file system; ``folders`` by what they hold. Blocks: a disk may hang."""
    found: dict[int, tuple[int, Path, list[str]]] = {}
    for name, folder in folders.items():
        place = next(each for each in (folder, *folder.parents) if each.exists())
        free_mb = shutil.disk_usage(place).free >> 20
        found.setdefault(place.stat().st_dev, (free_mb, folder, []))[2].append(name)
    troubles = []
    for free_mb, folder, names in found.values():
        limit = min_free_mb * (CLEAR_OF if is_open(str(folder)) else 1)
        if free_mb < limit:
            what = f"{free_mb} MB are free for {' and '.join(names)} ({folder}), less than {min_free_mb}"
            troubles.append(Trouble(str(folder), what, f"make room: `df -h {folder}`, `du -xsh {folder}/*`"))
    return troubles


def why(text: str, what: str, todo: str) -> list[Trouble]:
    """For what says itself why it is not well, "" if it is."""
    return [Trouble("", f"{what}: {text}", todo)] if text else []


def database(text: str) -> list[Trouble]:
    todo = (
        "start it, or mend DATABASE_URL: `sipua doctor` says more; calls go on, their rows wait in the spool"
    )
    return why(text, "the database takes no rows", todo)


def spool(text: str) -> list[Trouble]:
    return why(
        text, "rows are no longer safe", "bring the database back, or make room: `sipua doctor` says more"
    )


class Losses:
    """Rows that are lost are lost; it is over when no more are."""

    def __init__(self, before: int = 0) -> None:
        self._before = before

    def look(self, lost: int) -> list[Trouble]:
        """Since the start."""
        more, self._before = lost - self._before, lost
        if more <= 0:
            return []
        what = f"rows of the ledger are lost: {lost} since the start"
        return [Trouble("", what, "look into the log for `ledger`; bring the database back, or make room")]


Look = Callable[[], Awaitable[Sequence[Trouble]]]


def at_once(look: Callable[[], Sequence[Trouble]]) -> Look:
    """For what does not wait for anything."""

    async def awaited() -> Sequence[Trouble]:
        return look()

    return awaited


def in_thread(look: Callable[[], Sequence[Trouble]]) -> Look:
    """For what may hang: one look at a time, so that it takes one thread of those that all share and not each."""
    running: asyncio.Future[Sequence[Trouble]] | None = None

    async def awaited() -> Sequence[Trouble]:
        nonlocal running
        if running is None or running.done():
            running = asyncio.ensure_future(asyncio.to_thread(look))
        return await asyncio.shield(running)

    return awaited
