"""Finished recordings on their way to their store, and out of it after so many days.

The folder is the queue: a file ``DATE/CALL_CONSENT.wav.part`` that nobody has locked is finished, also one whose writer
was killed. ``Keeper`` gives it to the store and says so in the ledger. A store that refuses is asked again, later and
later; what waits is bounded (``Keeper.refusal``): nothing more is recorded then, rather than anything lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID

from sipua.recorder import PART
from sipua.recording_store import Store, StoreRefused, consent_of, delete_files

log = logging.getLogger(__name__)

HEADER_BYTES = 44  # a file of so many holds no sound
BEGUN_S = 3600.0  # a file that nobody has locked for so long is not about to be
BACKOFF_MIN_S, BACKOFF_MAX_S = 1.0, 300.0
SWEEP_S = 3600.0


class KeptLedger(Protocol):
    """Where it is said which recordings can be fetched."""

    def recording_kept(self, consent_id: UUID, url: str) -> None: ...
    def recording_deleted(self, consent_id: UUID) -> None: ...


@dataclass(slots=True)
class Backoff:
    """How long to wait after how many refusals in a row."""

    refused: int = 0

    def next_s(self) -> float:
        self.refused += 1
        return min(BACKOFF_MIN_S * 2.0 ** (self.refused - 1), BACKOFF_MAX_S)


@dataclass(slots=True)
class Keeper:
    """``woken`` whenever a recording is closed; ``run`` until cancelled, then ``settle`` for what is left."""

    folder: Path
    store: Store
    ledger: KeptLedger
    keep_days: int
    spool_bytes: int
    now: Callable[[], datetime]
    on_refused: Callable[[str], None] = lambda reason: None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    waiting_bytes: int = 0
    _backoff: Backoff = field(default_factory=Backoff)
    _moving: asyncio.Task[bool] | None = None

    def refusal(self) -> str:
        """Why nothing more should be recorded now, or ""."""
        if self.waiting_bytes < self.spool_bytes:
            return ""
        return f"{self.waiting_bytes >> 20} MB of recordings wait for their store (recording.spool_mb)"

    async def run(self) -> None:
        """Moves what is finished, and sweeps once an hour."""
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while True:
            self.woken.clear()
            wait_s = SWEEP_S
            if not await self.settle():
                wait_s = self._backoff.next_s()
            if loop.time() >= sweep_at:
                await self.sweep()
                sweep_at = loop.time() + SWEEP_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, max(0.0, sweep_at - loop.time()))):
                    if self._backoff.refused:
                        await asyncio.sleep(wait_s)  # a new file does not make a store well
                    else:
                        await self.woken.wait()

    async def settle(self) -> bool:
        """All that is finished goes to the store; False: it refused one, the rest was not tried."""
        if self._moving is not None:  # by a run that was cancelled
            await asyncio.wait((self._moving,))
        files = await asyncio.to_thread(_parts, self.folder)
        self.waiting_bytes = sum(size for _, size in files)
        for file, size in files:
            try:
                if not await self._settle(file):
                    continue
            except OSError as error:  # its own fault: the others are moved all the same
                self.on_refused("unreadable")
                log.error("a recording cannot be moved: %s", error)
                continue
            except StoreRefused as error:
                self.on_refused(StoreRefused.reason)
                log.error("a recording waits for its store (%d times): %s", self._backoff.refused + 1, error)
                return False
            self.waiting_bytes -= size  # as it was counted
            self._backoff.refused = 0
        self._backoff.refused = 0  # what was refused may have been taken away by somebody else
        return True

    async def _settle(self, file: Path) -> bool:
        """Once begun it is not cancelled between the move and the word of it."""
        self._moving = asyncio.create_task(self._move(file), name="recording-move")
        return await asyncio.shield(self._moving)

    async def _move(self, file: Path) -> bool:
        name = f"{file.parent.name}/{file.name.removesuffix('.part')}"
        consent_id = consent_of(name)
        with _locked(file) as size:
            if size is None or consent_id is None:  # it is being written, or none of our files
                return False
            if size <= HEADER_BYTES:
                if not size and not self._is_left(file):
                    return False
                await asyncio.to_thread(file.unlink, missing_ok=True)
            else:
                self.ledger.recording_kept(consent_id, await self.store.keep(file, name))
        return True

    def _is_left(self, file: Path) -> bool:
        """An empty file is that of a writer who was killed before its header, or of one who is about to lock it."""
        with contextlib.suppress(FileNotFoundError):
            return self.now().timestamp() - file.stat().st_mtime > BEGUN_S
        return False

    async def sweep(self) -> None:
        """Deletes what is older than it may be, here and in the store."""
        if not self.keep_days:
            return
        then = self.now() - timedelta(days=self.keep_days)
        try:
            names = await self.store.delete_before(then)
            names += await asyncio.to_thread(delete_files, self.folder, then, f"*{PART}")
        except (StoreRefused, OSError) as error:
            self.on_refused(StoreRefused.reason)
            log.error("old recordings were not deleted, once more in an hour: %s", error)
            return
        for name in names:
            if (consent_id := consent_of(name)) is not None:
                self.ledger.recording_deleted(consent_id)
        if names:
            log.info("%d recordings older than %d days deleted", len(names), self.keep_days)


def _parts(folder: Path) -> list[tuple[Path, int]]:
    """Oldest first."""
    found = []
    for file in folder.glob(f"*/*{PART}"):
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            found.append((status.st_mtime, file, status.st_size))
    return [(file, size) for _, file, size in sorted(found)]


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[int | None]:
    """Bytes of a file that nobody else writes or moves; None: somebody does.

    Only now they are known: when the files were listed, this one may just have been begun.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        status = os.fstat(descriptor)
        yield status.st_size if status.st_nlink else None
    finally:
        os.close(descriptor)
