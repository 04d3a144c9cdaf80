"""One ticker for all calls of the process that send with the same ptime, without drift.

Tick n is due at start + n·ptime whatever happened before, so lateness never adds up. Each sender gets the
tick's *scheduled* time as ``now``. After a stall of up to ``MAX_CATCH_UP_MS`` the overdue ticks are made good at once
(the phone's jitter buffer takes a few packets together); what is older is skipped and counted, and the
stream's RTP clock jumps over it. ``Schedule`` is the arithmetic, without a clock; ``Pacer`` hangs one bell per ptime in
use, nearly always one. A sender that raises is logged and removed and its owner told: no call can stop the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from .bell import EARLY_S, Bell, Ring, hang

logger = logging.getLogger(__name__)

DEFAULT_PTIME_MS = 20
MAX_CATCH_UP_MS = 80  # below rtp.sender.SKIP_S
GAP_MS = 20.0  # so much more than its ptime between two packets of a call is a gap: 40 ms at 20
LATENESS_BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 100.0)


class PacedSender(Protocol):
    """Something that sends at most one packet per tick."""

    def tick(self, now: float) -> None:
        """Called once per ptime with the tick's scheduled time in seconds (monotonic)."""


class Schedule:
    """Which ticks are due (no clock: ``now`` in seconds)."""

    __slots__ = ("_before", "_interval", "_max_catch_up", "_next", "_start", "is_after_gap", "skipped")

    def __init__(self, start: float, ptime_ms: float = DEFAULT_PTIME_MS) -> None:
        self.skipped = 0
        self.is_after_gap = False  # before the ticks that ``due`` gave last, see GAP_MS
        self._before = start
        self._start = start
        self._interval = ptime_ms / 1000
        self._max_catch_up = max(1, int(MAX_CATCH_UP_MS // ptime_ms))
        self._next = 0

    @property
    def next_due(self) -> float:
        """When the next tick is due."""
        return self._start + self._next * self._interval

    def due(self, now: float) -> list[float]:
        """The scheduled times of the ticks to perform now, oldest first."""
        last = int((now + EARLY_S - self._start) / self._interval)
        if last < self._next:
            return []
        first = max(self._next, last - self._max_catch_up + 1)
        self.skipped += first - self._next
        self.is_after_gap = now - self._before > self._interval + GAP_MS / 1000
        self._before = now
        self._next = last + 1
        return [self._start + n * self._interval for n in range(first, last + 1)]


class LatenessHistogram:
    """How late ticks were: cumulative buckets as Prometheus wants them, sum and maximum, in milliseconds."""

    __slots__ = ("buckets", "count", "max_ms", "sum_ms")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENESS_BOUNDS_MS) + 1)  # not cumulative; the last is "above"
        self.count = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def add(self, late_ms: float) -> None:
        """Count one tick."""
        late_ms = max(0.0, late_ms)
        self.count += 1
        self.sum_ms += late_ms
        self.max_ms = max(self.max_ms, late_ms)
        for index, bound in enumerate(LATENESS_BOUNDS_MS):
            if late_ms <= bound:
                self.buckets[index] += 1
                return
        self.buckets[-1] += 1

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound in ms, ticks at most so late) with +inf last."""
        total = 0
        rows = []
        for bound, count in zip((*LATENESS_BOUNDS_MS, float("inf")), self.buckets, strict=True):
            total += count
            rows.append((bound, total))
        return rows


class _Beat:
    """The senders of one ptime, their schedule and bell."""

    __slots__ = ("bell", "ptime_ms", "schedule", "senders")

    def __init__(self, ptime_ms: float) -> None:
        self.ptime_ms = ptime_ms
        self.senders: dict[PacedSender, Callable[[Exception], None] | None] = {}
        self.schedule: Schedule | None = None  # None: it does not tick
        self.bell: Bell | None = None


class Pacer:
    """Calls ``tick`` of every registered sender once per its ptime. ``start`` within a running event loop."""

    def __init__(
        self, *, hang: Callable[[asyncio.AbstractEventLoop, float, float, Ring], Bell] = hang
    ) -> None:
        """``hang``: what rings for it, see ``bell``."""
        self.lateness = LatenessHistogram()
        self.failed = 0  # senders removed because they raised
        self.gaps = 0  # of all senders, see GAP_MS
        self._hang = hang
        self._beats: dict[float, _Beat] = {}  # by ptime; one without senders goes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._skipped_before = 0  # of schedules that are gone

    @property
    def skipped(self) -> int:
        """Ticks that were given up after a stall."""
        running = sum(beat.schedule.skipped for beat in self._beats.values() if beat.schedule is not None)
        return self._skipped_before + running

    def __len__(self) -> int:
        return sum(len(beat.senders) for beat in self._beats.values())

    def start(self) -> None:
        """Begin to tick, one ptime from now; nothing happens if it ticks already."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for beat in self._beats.values():
                self._begin(beat)

    def stop(self) -> None:
        """Tick no more; the senders stay registered."""
        self._loop = None
        for beat in self._beats.values():
            self._halt(beat)

    def add(
        self,
        sender: PacedSender,
        on_error: Callable[[Exception], None] | None = None,
        *,
        ptime_ms: float = DEFAULT_PTIME_MS,
    ) -> None:
        """Tick this sender every ``ptime_ms``, no longer as before; ``on_error``: it raised and was removed."""
        beat = self._beats.get(ptime_ms)
        if beat is not None and sender in beat.senders:
            beat.senders[sender] = on_error
            return
        self.remove(sender)
        if beat is None:
            beat = self._beats[ptime_ms] = _Beat(ptime_ms)
            if self._loop is not None:
                self._begin(beat)
        beat.senders[sender] = on_error

    def remove(self, sender: PacedSender) -> None:
        """Tick it no more, from within a tick too; an unknown sender is ignored."""
        for ptime_ms, beat in self._beats.items():
            if sender in beat.senders:
                del beat.senders[sender]
                if not beat.senders:
                    self._halt(beat)
                    del self._beats[ptime_ms]
                return

    def _begin(self, beat: _Beat) -> None:
        assert self._loop is not None
        interval_s = beat.ptime_ms / 1000
        start = time.monotonic() + interval_s
        beat.schedule = Schedule(start, beat.ptime_ms)
        beat.bell = self._hang(self._loop, start, interval_s, partial(self._ring, beat, beat.schedule))

    def _halt(self, beat: _Beat) -> None:
        if beat.bell is not None:
            beat.bell.cancel()
        if beat.schedule is not None:
            self._skipped_before += beat.schedule.skipped
        beat.bell = beat.schedule = None

    def _ring(self, beat: _Beat, schedule: Schedule) -> None:
        now = time.monotonic()
        late_s = now - schedule.next_due
        due = schedule.due(now)
        if due:
            self.lateness.add(late_s * 1000)
            self.gaps += len(beat.senders) * schedule.is_after_gap
        for scheduled in due:
            self._tick(beat, scheduled)

    def tick(self, now: float) -> None:
        """One tick for every sender, each guarded."""
        for beat in list(self._beats.values()):
            self._tick(beat, now)

    def _tick(self, beat: _Beat, now: float) -> None:
        for sender, on_error in list(beat.senders.items()):
            if sender not in beat.senders:  # removed by one before it
                continue
            try:
                sender.tick(now)
            except Exception as exc:
                logger.exception("a call's tick failed, it is paced no more")
                self._give_up(sender, on_error, exc)

    def _give_up(
        self, sender: PacedSender, on_error: Callable[[Exception], None] | None, exc: Exception
    ) -> None:
        self.failed += 1
        self.remove(sender)
        if on_error is None:
            return
        try:
            on_error(exc)
        except Exception:
            logger.exception("telling the owner of a failed sender failed")
