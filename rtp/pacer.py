"""One 20 ms ticker for all calls of the process, without drift.

Tick n is due at start + n·interval whatever happened before, so lateness never adds up. Each sender gets the
tick's *scheduled* time as ``now``. After a stall up to ``max_catch_up`` overdue ticks are made good at once
(the phone's jitter buffer takes a few packets together); what is older is skipped and counted, and the
stream's RTP clock jumps over it. ``Schedule`` is the arithmetic, without a clock; ``Pacer`` asks the event
loop for one timer. A sender that raises is logged and removed and its owner told: no call can stop the
others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

INTERVAL_S = 0.020
MAX_CATCH_UP = 4  # ticks; 80 ms, below rtp.sender.SKIP_TICKS
EARLY_S = 0.001  # uvloop's timers have whole milliseconds and may ring half a one early
LATENESS_BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 100.0)


class PacedSender(Protocol):
    """Something that sends at most one packet per tick."""

    def tick(self, now: float) -> None:
        """Called once per interval with the tick's scheduled time in seconds (monotonic)."""


class Schedule:
    """Which ticks are due (no clock: ``now`` in seconds)."""

    __slots__ = ("_interval", "_max_catch_up", "_next", "_start", "skipped")

    def __init__(self, start: float, interval: float = INTERVAL_S, max_catch_up: int = MAX_CATCH_UP) -> None:
        self.skipped = 0
        self._start = start
        self._interval = interval
        self._max_catch_up = max_catch_up
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


class Pacer:
    """Calls ``tick`` of every registered sender each interval. ``start`` within a running event loop."""

    def __init__(
        self,
        interval: float = INTERVAL_S,
        *,
        max_catch_up: int = MAX_CATCH_UP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lateness = LatenessHistogram()
        self.failed = 0  # senders removed because they raised
        self._interval = interval
        self._max_catch_up = max_catch_up
        self._clock = clock
        self._senders: dict[PacedSender, Callable[[Exception], None] | None] = {}
        self._schedule: Schedule | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._skipped_before = 0

    @property
    def skipped(self) -> int:
        """Ticks that were given up after a stall."""
        return self._skipped_before + (self._schedule.skipped if self._schedule else 0)

    def __len__(self) -> int:
        return len(self._senders)

    def start(self) -> None:
        """Begin to tick, one interval from now; nothing happens if it ticks already."""
        if self._schedule is None:
            self._loop = asyncio.get_running_loop()
            self._schedule = Schedule(self._clock() + self._interval, self._interval, self._max_catch_up)
            self._arm()

    def stop(self) -> None:
        """Tick no more; the senders stay registered."""
        if self._timer is not None:
            self._timer.cancel()
        if self._schedule is not None:
            self._skipped_before += self._schedule.skipped
        self._timer = self._schedule = self._loop = None

    def add(self, sender: PacedSender, on_error: Callable[[Exception], None] | None = None) -> None:
        """Tick this sender too; ``on_error`` is told if it raised and was removed."""
        self._senders[sender] = on_error

    def remove(self, sender: PacedSender) -> None:
        """Tick it no more, from within a tick too; an unknown sender is ignored."""
        self._senders.pop(sender, None)

    def _arm(self) -> None:
        assert self._loop is not None
        assert self._schedule is not None
        self._timer = self._loop.call_later(max(0.0, self._schedule.next_due - self._clock()), self._fire)

    def _fire(self) -> None:
        assert self._schedule is not None
        now = self._clock()
        late_s = now - self._schedule.next_due
        due = self._schedule.due(now)
        if due:
            self.lateness.add(late_s * 1000)
        for scheduled in due:
            self.tick(scheduled)
        if self._schedule is not None:  # a sender may have stopped us
            self._arm()

    def tick(self, now: float) -> None:
        """One tick for every sender, each guarded."""
        for sender, on_error in list(self._senders.items()):
            if sender not in self._senders:  # removed by one before it
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
