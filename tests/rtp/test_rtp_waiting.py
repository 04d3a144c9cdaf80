"""How long a gap is waited for: the forecast, the delays it is bounded by, and both in the buffer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.arrival import ArrivalDelay, DelayHistogram
from rtp.patience import GapPatience
from rtp.reorder import Frame, Gap, ReorderBuffer

RATE = 8000
PTIME = 160


def taught(*lessons: float | None, max_wait_ms: float = 200) -> GapPatience:
    """τ in milliseconds of packets that came, None for a gap that never closed."""
    patience = GapPatience(max_wait_ms)
    for tau_ms in lessons:
        if tau_ms is None:
            patience.lost()
        else:
            patience.came(tau_ms / 1000)
    return patience


COMES, NEVER = 23.0, None
FORECASTS: list[tuple[str, GapPatience, float, float]] = [
    # what was learnt, at least and at most so many milliseconds are waited
    ("nothing is known", taught(), 50, 60),
    ("nothing ever came", taught(*[NEVER] * 20), 0, 0),
    ("one that was lost decides nothing", taught(NEVER), 40, 60),
    ("all came", taught(*[COMES] * 10), 25, 60),
    ("one in ten comes", taught(*([NEVER] * 9 + [COMES]) * 10), 25, 30),
    ("one in a hundred comes", taught(*([NEVER] * 99 + [COMES]) * 2, *[NEVER] * 60), 0, 0),
    ("the latest that came is waited for", taught(*[20.0, 40.0, 90.0] * 10), 95, 95),
    ("once many came and now none", taught(*[COMES] * 100, *[NEVER] * 400), 0, 0),
    ("once none came and now they do", taught(*[NEVER] * 400, *[COMES] * 8), 25, 30),
    ("beyond the bound nothing is waited for", taught(*[150.0] * 40, *[NEVER] * 40, max_wait_ms=100), 0, 60),
    ("no waiting at all is allowed", taught(max_wait_ms=0), 0, 0),
    ("far and seldom is not worth it", taught(*([NEVER] * 19 + [190.0]) * 10), 0, 0),
]


@pytest.mark.parametrize(("name", "patience", "least", "most"), FORECASTS, ids=[row[0] for row in FORECASTS])
def test_forecast(name: str, patience: GapPatience, least: float, most: float) -> None:
    assert least <= round(patience.wait_s(20) * 1000) <= most


def test_a_late_packet_takes_its_loss_back() -> None:
    patience = taught(*[None] * 20)
    for _ in range(3):
        patience.lost()
        patience.was_late(0.03)
    assert 0.03 < patience.wait_s(20) <= 0.06


def test_short_packets_hold_back_more_and_are_waited_for_less() -> None:
    lessons = ([None] * 9 + [100.0]) * 20
    assert taught(*lessons).wait_s(60) > taught(*lessons).wait_s(10)


@given(st.lists(st.one_of(st.none(), st.floats(0, 2000)), max_size=100), st.floats(0, 500), st.floats(1, 100))
def test_a_forecast_stays_within_the_bound(
    lessons: list[float | None], max_wait_ms: float, ptime: float
) -> None:
    assert 0 <= taught(*lessons, max_wait_ms=max_wait_ms).wait_s(ptime) <= max_wait_ms / 1000


# -- delays --------------------------------------------------------------------------------------------


def test_histogram() -> None:
    delays = DelayHistogram()
    assert delays.quantile_ms(0.5) == 0.0
    for delay_ms in range(100):
        delays.add((delay_ms + 0.5) / 1000)
    delays.add(-1.0)
    delays.add(7.0)
    assert delays.count == 102
    assert delays.quantile_ms(0.5) == 49.0
    assert delays.quantile_ms(0.99) == 99.0
    assert delays.quantile_ms(1.0) == 1000.0


@pytest.mark.parametrize("ppm", [-300, -100, 0, 100, 300])
def test_clock_skew_does_not_accumulate(ppm: float) -> None:
    """Thirty minutes of which the sender's clock is off by half a second in the end."""
    arrival = ArrivalDelay(RATE)
    for n in range(90_000):
        arrival.add((n * PTIME) & 0xFFFFFFFF, n * 0.02 * (1 + ppm / 1e6))
    assert arrival.histogram.quantile_ms(1.0) <= 2.0
    assert arrival.latest(90_000 * PTIME) == pytest.approx(90_000 * 0.02 * (1 + ppm / 1e6), abs=0.005)


def test_the_latest_follows_the_jitter_at_once_and_forgets_it_after_a_minute() -> None:
    arrival = ArrivalDelay(RATE)
    for n in range(100):
        arrival.add(n * PTIME, n * 0.02)
    assert arrival.latest(100 * PTIME) == pytest.approx(2.0)
    arrival.add(100 * PTIME, 2.0 + 0.15)
    assert arrival.latest(101 * PTIME) == pytest.approx(2.02 + 0.15)
    for n in range(101, 4000):
        arrival.add(n * PTIME, n * 0.02)
    assert arrival.latest(4000 * PTIME) == pytest.approx(80.0)


def test_a_longer_way_is_the_new_base_after_some_seconds() -> None:
    arrival = ArrivalDelay(RATE)
    for n in range(1000):
        arrival.add(n * PTIME, n * 0.02 + (0.05 if n >= 500 else 0.0))
    assert arrival.histogram.quantile_ms(0.5) == 0.0
    assert arrival.histogram.quantile_ms(0.95) in (49.0, 50.0)
    before = arrival.histogram.quantile_ms(1.0)
    for n in range(1000, 1100):
        arrival.add(n * PTIME, n * 0.02 + 0.05)
    assert arrival.histogram.quantile_ms(1.0) == before


@pytest.mark.parametrize("jump", [1 << 31, 123_456_789, -9_000_000])
def test_a_clock_that_is_set_is_no_delay(jump: int) -> None:
    arrival = ArrivalDelay(RATE)
    for n in range(200):
        arrival.add((n * PTIME + (jump if n >= 100 else 0)) & 0xFFFFFFFF, n * 0.02)
    assert arrival.histogram.quantile_ms(1.0) == 0.0


# -- in the buffer -------------------------------------------------------------------------------------


class Line:
    """A buffer that is fed a packet every 20 ms; what came out and how long it had been there."""

    def __init__(self) -> None:
        self.buffer = ReorderBuffer()
        self.out: list[Frame | Gap] = []
        self.held_ms: dict[int, float] = {}

    def run(self, first: int, delays_ms: Sequence[float | None]) -> None:
        arrivals = sorted(
            (n * 20 + delay, n) for n, delay in enumerate(delays_ms, first) if delay is not None
        )
        for at, n in arrivals:
            self._expire(at)
            self._note(
                self.buffer.put(n & 0xFFFF, (n * PTIME) & 0xFFFFFFFF, bytes(PTIME), at / 1000), at / 1000
            )
        self._expire(arrivals[-1][0] + 500)

    def _expire(self, until_ms: float) -> None:
        while (deadline := self.buffer.deadline()) is not None and deadline * 1000 <= until_ms:
            self._note(self.buffer.expire(deadline), deadline)

    def _note(self, out: list[Frame | Gap], now: float) -> None:
        self.out += out
        self.held_ms |= {
            each.sequence: (now - each.arrival) * 1000 for each in out if isinstance(each, Frame)
        }


def test_one_lost_of_sixty_costs_nobody_else_anything() -> None:
    line = Line()
    line.run(0, [None if n % 60 == 59 else 0.0 for n in range(6000)] + [0.0])
    assert line.buffer.counters.get == 5901
    assert line.buffer.counters.lost == 100
    assert max(line.held_ms.values()) <= 60
    assert (
        sum(held > 2.1 for held in line.held_ms.values()) <= 3
    )  # of the first second, before the line is known
    assert sum(each.samples for each in line.out) == 6001 * PTIME


def test_what_only_overtakes_is_waited_for_and_used() -> None:
    line = Line()
    line.run(0, [45.0 if n % 40 == 39 else 0.0 for n in range(2000)] + [0.0])
    assert line.buffer.counters.late <= 1
    assert line.buffer.counters.get >= 2000
    assert line.buffer.counters.ooo >= 49


@pytest.mark.parametrize("delay_ms", [45.0, 70.0, 110.0])
def test_what_came_in_time_is_a_lesson_too(delay_ms: float) -> None:
    """Losses between what overtakes: if only the lost and the late counted, it would cease to be waited for."""
    line = Line()
    line.run(0, [None if n % 20 == 10 else delay_ms if n % 20 == 15 else 0.0 for n in range(4000)] + [0.0])
    assert line.buffer.counters.late <= 2
    assert line.buffer.counters.ooo >= 198


def test_when_packets_begin_to_overtake_only_the_first_are_late() -> None:
    line = Line()
    line.run(0, [None if n % 50 == 25 else 0.0 for n in range(2000)])
    assert line.buffer.counters.late == 0
    line.run(2000, [70.0 if n % 20 == 7 else 0.0 for n in range(2000)])
    assert line.buffer.counters.late <= 8
    line.run(4000, [None if n % 10 == 5 else 0.0 for n in range(4000)] + [0.0])
    last = [held for sequence, held in line.held_ms.items() if sequence > 7000]
    assert max(last) <= 2.1  # and when they are lost again it learns that too


def test_a_line_that_stands_still_loses_nothing_and_adds_nothing() -> None:
    line = Line()
    line.run(0, [max(0.0, 300.0 - 20 * (n % 100)) + n % 100 * 0.001 for n in range(3000)])
    assert line.buffer.counters.late == line.buffer.counters.lost == 0
    assert max(line.held_ms.values()) == 0.0
    assert line.buffer.network_delay.quantile_ms(0.99) >= 270
    assert line.buffer.added_delay.quantile_ms(1.0) == 0.0


def test_packets_swapped_back_to_back_are_not_given_up() -> None:
    line = Line()
    line.run(0, [None if n % 50 == 25 else 0.0 for n in range(1000)])
    line.run(1000, [20.5 if n % 10 == 5 else 0.0 for n in range(1000)] + [0.0])
    assert line.buffer.counters.late == 0


def test_a_new_source_keeps_what_was_learnt_of_the_line() -> None:
    line = Line()
    line.run(0, [None if n % 20 == 9 else 0.0 for n in range(1000)])
    line.buffer.restart()
    line.run(30_000, [None if n == 10 else 0.0 for n in range(100)])
    assert max(held for sequence, held in line.held_ms.items() if sequence >= 30_000) <= 2.1


def test_time_passes_over_a_change_of_source_and_of_clock() -> None:
    buffer = ReorderBuffer()
    out = buffer.put(1, 0, bytes(PTIME), 0.0)
    out += buffer.restart()
    out += buffer.put(9000, 77, bytes(PTIME), 0.31)
    out += buffer.put(9001, 4_000_000, bytes(PTIME), 0.53)
    gaps = [each for each in out if isinstance(each, Gap)]
    assert gaps == [Gap(14 * PTIME, 0), Gap(10 * PTIME, 0)]
