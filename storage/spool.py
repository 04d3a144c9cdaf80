"""The durable spool of one process: what was put and is not in the database yet, in files of its own.

    SPOOL_DIR/<instance>/lock            flock of the living process; free means that it is dead
    SPOOL_DIR/<instance>/00000001.log    header and records (``storage.spool_file``); deleted when the database has
                                         them all

``append`` and ``acknowledge`` hand over to one thread and never wait for the disk. What the thread could not write yet
(disk full, cap, a slow disk) waits in memory, in order, and is bounded by the caller (``backlog_facts``).

A write(2) survives the end of the process however that comes; it follows ``append`` within ``GATHER_S``. A power cut
costs what is younger than ``SYNC_S``: fdatasync is called when something not in the database yet has waited so long, so
a working database means none at all.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from uuid import UUID

from storage import codec
from storage.errors import SpoolError
from storage.spool_file import HEADER_SIZE, Record, header, record
from storage.spool_folder import READ_BYTES, SUFFIX, Segments, make_folder

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 2**20
SYNC_S = 1.0
GATHER_S = 0.005  # between writes: what a kill may cost, for a fifth of the wake-ups at 1,000 groups a second
RETRY_S = 1.0  # after the disk refused
BACKLOG_BYTES = 8 * 2**20  # handed over and not written: beyond it the disk does not keep up


class SpoolState(Enum):
    """What stands between a group and the disk."""

    OK = "ok"
    CAPPED = "capped"  # spool_max_mb
    NO_SPACE = "no_space"
    FAILED = "failed"  # another error of the disk


@dataclass(slots=True)
class _Segment:
    path: Path
    size: int
    last: int = 0  # its last sequence
    is_torn: bool = False  # and could not be mended: nothing more goes into it


class Spool:
    """One per process; ``append``, ``acknowledge`` and the properties belong to the loop's thread."""

    def __init__(
        self,
        directory: Path,
        instance: UUID,
        *,
        max_bytes: int,
        segment_bytes: int = SEGMENT_BYTES,
        sync_s: float = SYNC_S,
    ) -> None:
        """Makes its folder. Raises SpoolError."""
        self.instance = instance
        self.folder = directory / str(instance)
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._sync_s = sync_s
        self._condition = threading.Condition()  # never held over I/O
        self._backlog: deque[tuple[int, int, bytes]] = deque()  # sequence, facts, payload
        self._backlog_bytes = 0
        self._acked = self._written = 0
        self._closing = self._is_idle = False
        self._state = SpoolState.OK
        self._segments: list[_Segment] = []
        self._unsynced: tuple[float, int] | None = None  # since when, and the last sequence of then
        self.backlog_facts = 0
        self.bytes = 0  # of all files
        self._fd = -1
        try:
            self._lock = make_folder(self.folder)
            self._new_segment()
        except OSError as error:
            raise SpoolError(f"ledger.spool_dir: {directory}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._run, name="ledger-spool", daemon=True)
        self._thread.start()

    @property
    def state(self) -> SpoolState:
        return self._state

    @property
    def keeps_up(self) -> bool:
        """Whether a group put now gets to the disk soon."""
        return self._state is SpoolState.OK and self._backlog_bytes < BACKLOG_BYTES

    @property
    def groups(self) -> int:
        """On disk and not in the database."""
        return max(0, self._written - self._acked)

    @property
    def written(self) -> int:
        """The last sequence on disk."""
        return self._written

    def reader(self) -> Segments:
        """For ``read``. What the disk is taking now may yet be cut off again: it is not read."""
        return Segments(self.folder, self._is_written_of)

    def _is_written_of(self, path: Path) -> int | None:
        segment = self._segments[-1]
        return segment.size if segment.path == path else None

    def append(self, seq: int, facts: int, payload: bytes) -> None:
        """Sequences rise. 8 µs at the median with a thread to wake, else 0.4 µs."""
        with self._condition:
            self._backlog.append((seq, facts, payload))
            self._backlog_bytes += len(payload)
            self.backlog_facts += facts
            if self._is_idle:
                self._condition.notify()

    def acknowledge(self, seq: int) -> None:
        """All up to here is in the database: it need not be written, and no longer be kept."""
        with self._condition:
            self._acked = seq
            self._drop(seq)
            if self._unsynced is None and seq >= self._written and self._segments[-1].size > HEADER_SIZE:
                self._unsynced = time.monotonic(), seq  # to be looked at again: the last file can go
                self._condition.notify()
            if self._state is not SpoolState.OK or self._is_done(self._segments[0]):
                self._condition.notify()

    def read(self, reader: Segments, after: int) -> list[Record]:
        """The next records above ``after``, from the disk, else those that did not get there. For another thread."""
        with self._condition:
            if after >= self._written:
                return self._waiting(after)
        return reader.read(after)

    def _waiting(self, after: int) -> list[Record]:
        waiting: list[Record] = []
        size = 0
        for seq, _, payload in self._backlog:
            if seq > after and size < READ_BYTES:
                waiting.append((seq, payload))
                size += len(payload)
        return waiting

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left; a folder with nothing left in it goes. Blocks: the disk may be slow."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout)
        if self._fd < 0:
            return
        if self._thread.is_alive():
            log.error("the ledger's spool %s does not end: the disk hangs", self.folder)
            return
        os.close(self._fd)
        self._fd = -1
        if not self._backlog and self._written <= self._acked:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    # -- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._condition:
                self._await_work()
                batch = self._take()
                closing = self._closing
            self._delete()
            self._sync(now=closing)
            if batch and not self._store(batch):
                with self._condition:
                    if self._closing:
                        return
                    self._condition.wait(RETRY_S)
            elif closing and not self._backlog:
                self._sync(now=True)
                return
            elif not closing and self._backlog_bytes < READ_BYTES:
                time.sleep(GATHER_S)

    def _await_work(self) -> None:
        while not (self._backlog or self._closing or self._has_work()):
            self._is_idle = True
            self._condition.wait(self._sync_in())
            self._is_idle = False
            if self._sync_in() == 0:
                return

    def _has_work(self) -> bool:
        return len(self._segments) > 1 and self._is_done(self._segments[0])

    def _is_done(self, segment: _Segment) -> bool:
        return segment is not self._segments[-1] and segment.last <= self._acked

    def _take(self) -> list[tuple[int, int, bytes]]:
        """Some of the backlog; it stays there until it is written."""
        batch: list[tuple[int, int, bytes]] = []
        size = 0
        for each in self._backlog:
            if batch and size > READ_BYTES:
                break
            batch.append(each)
            size += len(each[2])
        return batch

    def _drop(self, seq: int) -> None:
        while self._backlog and self._backlog[0][0] <= seq:
            _, facts, payload = self._backlog.popleft()
            self._backlog_bytes -= len(payload)
            self.backlog_facts -= facts

    def _store(self, batch: list[tuple[int, int, bytes]]) -> bool:
        data = b"".join(record(seq, payload) for seq, _, payload in batch)
        try:
            if self.bytes + len(data) > self._max_bytes and self._segments[-1].last <= self._acked:
                self._rotate_if(over=HEADER_SIZE)  # what fills it is in the database already
            if self.bytes + len(data) > self._max_bytes:
                self._is_in(SpoolState.CAPPED, f"{self._max_bytes >> 20} MB (ledger.spool_max_mb) are used")
                return False
            self._rotate_if(over=self._segment_bytes)
            self._write(data)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._is_in(SpoolState.NO_SPACE if full else SpoolState.FAILED, error.strerror or str(error))
            return False
        last = batch[-1][0]
        with self._condition:
            self._segments[-1].last = self._written = last
            self._drop(last)
        if self._unsynced is None:
            self._unsynced = time.monotonic(), last
        self._is_in(SpoolState.OK, "")
        return True

    def _write(self, data: bytes) -> None:
        """All of it or nothing."""
        segment = self._segments[-1]
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            segment.is_torn = True
            os.ftruncate(self._fd, segment.size)
            os.lseek(self._fd, segment.size, os.SEEK_SET)
            segment.is_torn = False
            raise
        segment.size += len(data)
        self.bytes += len(data)

    def _rotate_if(self, over: int) -> None:
        if self._segments[-1].size > over or self._segments[-1].is_torn:
            self._sync(now=True)
            self._new_segment()
            self._delete()

    def _new_segment(self) -> None:
        number = int(self._segments[-1].path.stem) + 1 if self._segments else 1
        path = self.folder / f"{number:08}{SUFFIX}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, header(self.instance, codec.VERSION)) != HEADER_SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._segments.append(_Segment(path, HEADER_SIZE))
        self.bytes += HEADER_SIZE

    def _delete(self) -> None:
        while self._has_work():
            segment = self._segments.pop(0)
            self.bytes -= segment.size
            with contextlib.suppress(OSError):
                segment.path.unlink()

    def _sync_in(self) -> float | None:
        """Seconds; None: nothing to do."""
        if self._unsynced is None:
            return None
        return max(0.0, self._unsynced[0] + self._sync_s - time.monotonic())

    def _sync(self, *, now: bool = False) -> None:
        if self._unsynced is None or (self._sync_in() and not now):
            return
        if self._unsynced[1] <= self._acked < self._written and not now:
            # what has waited is in the database; the rest has not yet
            self._unsynced = time.monotonic(), self._written
            return
        self._unsynced = None
        try:
            if self._written > self._acked:
                os.fdatasync(self._fd)
            elif not now:  # callers' numbers and words stay no longer than they must
                self._rotate_if(over=HEADER_SIZE)
                self._delete()
        except OSError as error:
            log.error("the ledger's spool cannot be synced: %s", error.strerror)

    def _is_in(self, state: SpoolState, why: str) -> None:
        if state is self._state:
            return
        self._state = state
        if state is SpoolState.OK:
            log.warning("the ledger's spool %s takes again", self.folder.parent)
        else:
            log.error("the ledger's spool %s takes nothing: %s; calls go on", self.folder.parent, why)
