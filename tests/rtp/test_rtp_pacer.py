"""The schedule by table, the guard around senders, and the real ticker on both event loops."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
import uvloop

from rtp.bell import Bell, KernelBell, LoopBell, hang
from rtp.pacer import LatenessHistogram, Pacer, Schedule

NewLoop = Callable[[], asyncio.AbstractEventLoop]
NewBell = type[KernelBell] | type[LoopBell]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
BELLS = [KernelBell, LoopBell]


class Counter:
    """A sender that notes its ticks, and raises or acts on request."""

    def __init__(self, act: Callable[[int], None] | None = None) -> None:
        self.ticks: list[float] = []
        self._act = act

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        if self._act is not None:
            self._act(len(self.ticks))


class Silent:
    """A bell that somebody else rings."""

    def cancel(self) -> None: ...


@pytest.mark.parametrize(
    ("asked_at_ms", "ticks_ms", "skipped"),
    [
        ([0, 20, 40], [[0], [20], [40]], 0),
        ([3, 27, 41], [[0], [20], [40]], 0),  # lateness does not move the schedule
        ([0, 19.5], [[0], [20]], 0),  # a timer that rings early
        ([0, 10, 18.5], [[0], [], []], 0),
        ([0, 65], [[0], [20, 40, 60]], 0),  # made good at once
        ([0, 1005], [[0], [940, 960, 980, 1000]], 46),  # a stall: the newest 80 ms, the rest skipped
    ],
)
def test_schedule(asked_at_ms: list[float], ticks_ms: list[list[float]], skipped: int) -> None:
    schedule = Schedule(5.0)
    done = [[round((t - 5.0) * 1000) for t in schedule.due(5.0 + at / 1000)] for at in asked_at_ms]
    assert done == ticks_ms
    assert schedule.skipped == skipped
    assert schedule.next_due == pytest.approx(
        5.0 + (max(tick for ticks in done for tick in ticks) + 20) / 1000
    )


@pytest.mark.parametrize(("ptime_ms", "made_good"), [(10, 8), (20, 4), (30, 2), (40, 2), (60, 1)])
def test_a_stall_is_made_good_by_as_much_sound_whatever_the_ptime(ptime_ms: int, made_good: int) -> None:
    schedule = Schedule(0.0, ptime_ms)
    assert len(schedule.due(1.2)) == made_good
    assert schedule.skipped == 1200 // ptime_ms + 1 - made_good


@pytest.mark.parametrize(
    ("ptime_ms", "asked_at_ms", "gaps"),
    [
        (20, [0, 20, 40, 60], [False] * 4),
        (20, [0, 19, 58, 60], [False, False, False, False]),  # 39 ms
        (
            20,
            [0, 20, 61, 80],
            [False, False, True, False],
        ),  # 41 ms; what is made good at once is no second one
        (20, [0, 20, 1020, 1040], [False, False, True, False]),
        (60, [0, 60, 120, 185], [False] * 4),
        (60, [0, 60, 141], [False, False, True]),
    ],
)
def test_a_gap_is_what_a_jitter_buffer_feels(ptime_ms: int, asked_at_ms: list[int], gaps: list[bool]) -> None:
    schedule, found = Schedule(5.0, ptime_ms), []
    for at in asked_at_ms:
        assert schedule.due(5.0 + at / 1000) or not schedule.is_after_gap
        found.append(schedule.is_after_gap)
    assert found == gaps


def test_a_gap_counts_for_every_call() -> None:
    rings: list[Callable[[], None]] = []

    def hung(
        loop: asyncio.AbstractEventLoop, start: float, interval_s: float, ring: Callable[[], None]
    ) -> Bell:
        rings.append(ring)
        return Silent()

    async def stall() -> int:
        pacer = Pacer(hang=hung)
        for _ in range(3):
            pacer.add(Counter())
        pacer.start()
        due = time.monotonic() + 0.07  # the first tick was due 50 ms ago then
        while time.monotonic() < due:
            pass
        rings[0]()
        return pacer.gaps

    assert asyncio.run(stall()) == 3


def test_the_schedule_does_not_drift_in_a_day() -> None:
    schedule = Schedule(1000.0)
    now = 1000.0
    for n in range(100_000):
        (tick,) = schedule.due(now + 0.003)
        assert tick == pytest.approx(1000.0 + n * 0.02, abs=1e-9)
        now = schedule.next_due


def test_one_bad_sender_is_removed_and_its_owner_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError("a bug")

    pacer = Pacer()
    good, bad, also_good = Counter(), Counter(fail), Counter()
    told: list[Exception] = []
    pacer.add(good)
    pacer.add(bad, told.append)
    pacer.add(also_good)
    with caplog.at_level(logging.ERROR):
        pacer.tick(0.0)
        pacer.tick(0.02)
    assert (len(good.ticks), len(bad.ticks), len(also_good.ticks)) == (2, 1, 2)
    assert [type(exc) for exc in told] == [ZeroDivisionError]
    assert (len(pacer), pacer.failed) == (2, 1)
    assert "a bug" in caplog.text


def test_an_owner_that_raises_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("a bug")

    pacer = Pacer()
    good = Counter()
    pacer.add(Counter(fail), fail)
    pacer.add(good)
    with caplog.at_level(logging.ERROR):
        pacer.tick(0.0)
    assert len(good.ticks) == 1


def test_a_sender_may_be_removed_from_within_a_tick() -> None:
    pacer = Pacer()
    other = Counter()
    pacer.add(Counter(lambda _: pacer.remove(other)))
    pacer.add(other)
    pacer.tick(0.0)
    assert other.ticks == []


def test_lateness_is_ready_for_a_histogram() -> None:
    histogram = LatenessHistogram()
    for late_ms in (-0.3, 0.5, 0.7, 30.0, 500.0):
        histogram.add(late_ms)
    rows = dict(histogram.cumulative())
    assert (rows[0.5], rows[1.0], rows[20.0], rows[40.0], rows[float("inf")]) == (2, 3, 3, 4, 5)
    assert histogram.max_ms == 500.0


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("bell", BELLS)
def test_each_sender_has_its_own_ptime_and_may_change_it(new_loop: NewLoop, bell: NewBell) -> None:
    async def main() -> tuple[Counter, Counter, list[float]]:
        done = asyncio.Event()
        pacer = Pacer(hang=bell)
        slow, quick = Counter(lambda count: done.set() if count == 12 else None), Counter()
        pacer.add(slow, ptime_ms=6)
        pacer.start()
        pacer.add(quick, ptime_ms=3)
        changing = Counter(lambda count: pacer.add(changing, ptime_ms=6) if count == 4 else None)
        pacer.add(changing, ptime_ms=3)
        assert len(pacer) == 3
        async with asyncio.timeout(10):
            await done.wait()
        for sender in (slow, quick, changing):
            pacer.remove(sender)
        assert len(pacer) == 0
        pacer.stop()
        return slow, quick, changing.ticks

    with asyncio.Runner(loop_factory=new_loop) as runner:
        slow, quick, changed = runner.run(main())
    assert all(on_the_grid(sender.ticks, 0.003 * n) for sender, n in ((slow, 2), (quick, 1)))
    assert on_the_grid(changed[:4], 0.003)
    assert set(changed[4:]) <= set(slow.ticks), "one ticker for all of a ptime"


def on_the_grid(ticks: list[float], interval: float) -> bool:
    steps = [(b - a) / interval for a, b in pairwise(ticks)]
    return all(abs(step - round(step)) < 1e-6 and round(step) >= 1 for step in steps)


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("bell", BELLS)
def test_it_ticks_on_a_real_loop_and_stops(new_loop: NewLoop, bell: NewBell) -> None:
    async def main() -> list[float]:
        done = asyncio.Event()
        pacer = Pacer(hang=bell)
        sender = Counter(lambda count: done.set() if count == 20 else None)
        pacer.add(sender, ptime_ms=5)
        pacer.start()
        pacer.start()  # twice is once
        async with asyncio.timeout(10):
            await done.wait()
        pacer.stop()
        ticks = list(sender.ticks)
        await asyncio.sleep(0.02)
        assert sender.ticks == ticks
        assert pacer.lateness.count > 0
        return ticks

    with asyncio.Runner(loop_factory=new_loop) as runner:
        ticks = runner.run(main())
    assert on_the_grid(ticks, 0.005)


@pytest.mark.parametrize("bell", BELLS)
def test_a_stall_of_the_loop_is_made_good_and_the_ticks_stay_on_the_grid(bell: NewBell) -> None:
    async def main() -> tuple[list[float], int]:
        done = asyncio.Event()
        pacer = Pacer(hang=bell)

        def act(count: int) -> None:
            if count == 3:
                time.sleep(0.032)  # of the loop: six ticks and a part of one
            if count == 20:
                done.set()

        sender = Counter(act)
        pacer.add(sender, ptime_ms=5)
        pacer.start()
        async with asyncio.timeout(10):
            await done.wait()
        pacer.stop()
        return sender.ticks, pacer.skipped

    ticks, skipped = asyncio.run(main())
    assert on_the_grid(ticks, 0.005)
    assert round((ticks[-1] - ticks[0]) / 0.005) == len(ticks) - 1 + skipped


def test_without_a_file_descriptor_the_loop_rings() -> None:
    async def main() -> None:
        done = asyncio.Event()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        loop = asyncio.get_running_loop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            bell = hang(loop, time.monotonic(), 0.001, done.set)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert isinstance(bell, LoopBell)
        async with asyncio.timeout(10):
            await done.wait()
        bell.cancel()

    asyncio.run(main())


def test_a_bell_gives_its_file_descriptor_back() -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        bell = hang(asyncio.get_running_loop(), time.monotonic(), 0.001, lambda: None)
        assert isinstance(bell, KernelBell)
        bell.cancel()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())
