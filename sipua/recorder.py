"""Recordings on their way to disk: one writer thread for all calls, so that audio never waits for a file.

A ``Tape`` is one recording on the event loop: it gives its core the sound, and the core's blocks to the thread's queue,
which is bounded; a block that finds it full is silence in the file. The thread decodes, interleaves and writes; each
file is ``DATE/CALL_CONSENT.wav.part`` (``sipua.recording_store`` takes it from there), locked while it is written and
valid at any time but for its last second. A file that cannot be written ends its recording, never the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

import numpy as np

from rtp.codec import Codec
from rtp.errors import RtpError
from rtp.flac import FlacWriter
from rtp.wav import WavWriter
from sipua.errors import LocalError
from sipua.recording import Block, Recording
from sipua.recording_settings import Format

log = logging.getLogger(__name__)

QUEUE_BLOCKS = 2048  # one a second and call: two seconds of a thousand calls
STOP_TIMEOUT_S = 10.0
PART = ".part"
WRITERS: dict[Format, type[WavWriter] | type[FlacWriter]] = {"wav": WavWriter, "flac": FlacWriter}


class Meter(Protocol):
    """What is counted (``sipua.metrics``)."""

    def recording_began(self) -> None: ...
    def recording_ended(self, outcome: str) -> None: ...
    def recording_failed(self, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no recording, or not all of it; ``reason`` is one word."""

    reason: str
    message: str


class DiskFull(LocalError):
    reason = "disk_full"


class Tape:
    """One recording. The media leg calls ``sent`` and ``heard``; neither waits."""

    def __init__(self, core: Recording, file: _File, recorder: Recorder) -> None:
        self._core = core
        self._file = file
        self._recorder = recorder
        self._is_over = False

    def heard(self, now: float, payload: bytes, *, made_up: bool) -> None:
        self._put(self._core.heard(now, payload, made_up=made_up))

    def sent(self, now: float, payload: bytes) -> None:
        self._put(self._core.sent(now, payload))

    def finish(self, now: float) -> None:
        """The end: what is there stays. May be called twice."""
        if not self._is_over:
            self._is_over = True
            block, end = self._core.finish(now)
            self._recorder.put(self._file, block)
            self._recorder.close(self._file, end)

    def discard(self) -> None:
        """The end: nothing stays."""
        if not self._is_over:
            self._is_over = True
            self._recorder.close(self._file, None)

    def _put(self, block: Block | None) -> None:
        if block is not None and not self._is_over:
            self._recorder.put(self._file, block)


class Recorder:
    """Of one process. ``refusal`` says why nothing more may be recorded, "" if it may."""

    def __init__(
        self,
        folder: Path,
        meter: Meter,
        *,
        min_free_mb: int = 0,
        refusal: Callable[[], str] = lambda: "",
        queue_blocks: int = QUEUE_BLOCKS,
        format: Format = "wav",
    ) -> None:
        self._format = format
        self.on_closed: Callable[[], None] = lambda: None
        self._folder = folder
        self._meter = meter
        self._min_free = min_free_mb << 20
        self._refusal = refusal
        self._queue_blocks = queue_blocks
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Within the event loop that is told of troubles."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="recordings", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Writes what was handed over; bounded."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)
            self._thread = None

    @property
    def waiting(self) -> int:
        """Blocks (a second each) that the disk has not got."""
        return self._jobs.qsize()

    def record(
        self,
        call_id: UUID,
        consent_id: UUID,
        codec: Codec,
        now: float,
        day: datetime,
        on_trouble: Callable[[Trouble], None],
    ) -> Tape | None:
        """Begins one at ``now``, if it may; ``on_trouble`` is told on the loop, once of each kind."""
        if refusal := self._refusal():
            self._meter.recording_failed("spool_full")
            on_trouble(Trouble("spool_full", refusal))
            return None
        path = self._folder / f"{day:%Y-%m-%d}" / f"{call_id}_{consent_id}.{self._format}{PART}"
        file = _File(path, WRITERS[self._format], codec, self._min_free, on_trouble)
        self._meter.recording_began()
        self._jobs.put(lambda: self._guarded(file, file.open))
        return Tape(Recording(codec, now), file, self)

    def put(self, file: _File, block: Block | None) -> None:
        """A block that finds the queue full is lost: silence of its length."""
        if block is None:
            return
        if self._jobs.qsize() >= self._queue_blocks:
            self._trouble(file, Trouble("disk_slow", f"{file.path.name}: the disk is slower than the calls"))
            return
        self._jobs.put(lambda: self._guarded(file, lambda: file.write(block)))

    def close(self, file: _File, end: int | None) -> None:
        """``end`` None: it is deleted. Never refused, else the file would stay open."""

        def work() -> None:
            self._guarded(file, lambda: file.close(end))
            self._tell(self._closed, "deleted" if end is None else "failed" if file.has_failed else "kept")

        self._jobs.put(work)

    def _closed(self, outcome: str) -> None:
        self._meter.recording_ended(outcome)
        self.on_closed()

    # ---- in the thread -----------------------------------------------------------------------------------

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _guarded(self, file: _File, work: Callable[[], None]) -> None:
        """A file that fails once is let alone from then on."""
        try:
            work()
        except Exception as error:
            if not isinstance(error, OSError | RtpError | LocalError):
                log.exception("a bug of ours ends a recording; the thread goes on for the others")
            file.fail()
            is_full = isinstance(error, DiskFull) or "No space left" in str(error)
            message = f"recording ended early: {error}"
            self._tell(self._trouble, file, Trouble("disk_full" if is_full else "write_failed", message))

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what, *arguments)

    def _trouble(self, file: _File, trouble: Trouble) -> None:
        self._meter.recording_failed(trouble.reason)
        if trouble.reason not in file.told:
            file.told.add(trouble.reason)
            log.error("%s", trouble.message)
            file.on_trouble(trouble)


class _File:
    """Used by the thread only, but for ``on_trouble`` and ``told``."""

    def __init__(
        self,
        path: Path,
        writer: type[WavWriter | FlacWriter],
        codec: Codec,
        min_free: int,
        on_trouble: Callable[[Trouble], None],
    ) -> None:
        self._writer = writer
        self.path = path
        self.on_trouble = on_trouble
        self.told: set[str] = set()
        self.has_failed = False
        self._codec = codec
        self._min_free = min_free
        self._lock = -1
        self._sound: WavWriter | FlacWriter | None = None
        self._decoders = codec.new_decoder(), codec.new_decoder()  # anew after a pause of both
        self._at = 0  # written up to here, in ticks

    def open(self) -> None:
        self._check_room(self.path.parent.parent)
        for folder in (self.path.parent.parent, self.path.parent):  # ``mode`` is that of the last one only
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_room(self.path.parent)
        self._lock = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._sound = self._writer(self.path, self._codec.sample_rate, channels=2)

    def write(self, block: Block) -> None:
        if self._sound is None:
            return
        self._check_room(self.path.parent)
        if block.at > self._at:
            self._silence(block.at)
            self._decoders = self._codec.new_decoder(), self._codec.new_decoder()
        left, right = (
            decode(side) for decode, side in zip(self._decoders, (block.caller, block.agent), strict=True)
        )
        self._sound.write(np.stack((left, right), axis=1).reshape(-1))
        self._at = block.at + len(block.caller)

    def close(self, end: int | None) -> None:
        """With ``end`` as its length, or deleted."""
        try:
            if end is None:
                self.path.unlink(missing_ok=True)  # before anybody else may have it
            elif self._sound is not None:
                self._silence(end)
        finally:
            try:
                self._end_sound()
            finally:
                lock, self._lock = self._lock, -1
                if lock >= 0:
                    os.close(lock)

    def fail(self) -> None:
        """What is there stays as it is, and stays ours until ``close``."""
        self.has_failed = True
        with contextlib.suppress(OSError, RtpError):
            self._end_sound()

    def _end_sound(self) -> None:
        sound, self._sound = self._sound, None
        if sound is not None:
            sound.close()

    def _silence(self, until: int) -> None:
        """Up to there, a second at a time."""
        assert self._sound is not None
        rate, ticks = self._codec.sample_rate, self._codec.clock_rate
        samples = max(0, until - self._at) * rate // ticks
        for begin in range(0, samples, rate):
            self._sound.write(np.zeros(2 * min(rate, samples - begin), np.int16))
        self._at = max(self._at, until)

    def _check_room(self, folder: Path) -> None:
        if self._min_free and folder.exists() and shutil.disk_usage(folder).free < self._min_free:
            raise DiskFull(f"{folder}: less than recording.min_free_mb = {self._min_free >> 20} MB is free")
