"""The tick grid is found from late packets, and a wait is what is left of the 20 ms."""

from __future__ import annotations

import random
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.bench.grid import SAMPLES_PER_TICK, TICK_S, NoGridError, TickGrid, at_phase, even_phases

START = 1000.0  # of the first tick, seconds


def packets(late_ms: list[float], *, timestamp: int = 0) -> list[tuple[float, int]]:
    """One packet per tick, each later than its tick by so much."""
    return [
        (START + n * TICK_S + late / 1000, (timestamp + n * SAMPLES_PER_TICK) & 0xFFFFFFFF)
        for n, late in enumerate(late_ms)
    ]


@pytest.mark.parametrize(
    ("sent_ms", "heard_ms", "wait_ms"),
    [
        (1005, 1020.4, 15),  # waited for the next tick, which left 0.4 ms late
        (1019, 1020.4, 1),
        (1019, 1040.4, 1),  # too late for that one: the wait stays what it was, the rest is the agent's
        (1020.2, 1020.6, 0),  # the tick was over, its packet was not out yet
        (1020.2, 1040.6, 19.8),
        (1005, 1019.5, 15),  # a packet a little before its tick
    ],
)
def test_the_wait_for_the_next_tick(sent_ms: float, heard_ms: float, wait_ms: float) -> None:
    grid = TickGrid(packets([0.0] * 100))
    found = grid.wait(START + sent_ms / 1000, START + heard_ms / 1000)
    assert found * 1000 == pytest.approx(wait_ms, abs=1e-6)


@given(st.randoms(use_true_random=False), st.floats(0.5, 1.5), st.floats(0, 0.02))
def test_late_packets_do_not_move_the_grid(chance: random.Random, at: float, lateness: float) -> None:
    late = [0.0 if chance.random() < 0.5 else chance.uniform(0, lateness * 1000) for _ in range(100)]
    phase = TickGrid(packets(late)).phase(START + at)
    ticks = (phase - START) / TICK_S
    assert ticks == pytest.approx(round(ticks), abs=0.05)


@given(st.integers(0, 0xFFFFFFFF), st.floats(0.6, 1.4))
def test_the_timestamp_may_begin_anywhere_and_wrap(timestamp: int, at: float) -> None:
    grid = TickGrid(packets([0.0] * 100, timestamp=timestamp))
    assert 0 <= grid.wait(START + at, START + at + TICK_S) <= TICK_S + 1e-6


def test_a_timestamp_that_lags_after_a_stall_leaves_the_grid_where_it_is() -> None:
    before = packets([0.0] * 50)
    after = [(at + 3 * TICK_S, timestamp) for at, timestamp in packets([0.0] * 100)[50:]]
    grid = TickGrid(before + after)
    for sent_ms in (805, 905, 1005, 1105):  # 55 is in the gap
        found = grid.wait(START + sent_ms / 1000, START + (sent_ms + 15.1) / 1000)
        assert found * 1000 == pytest.approx(15, abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_packets_are_no_grid(count: int) -> None:
    with pytest.raises(NoGridError, match=f"{count} packets"):
        TickGrid(packets([0.0] * count)).wait(START, START + 0.01)


def test_packets_far_away_tell_nothing() -> None:
    with pytest.raises(NoGridError):
        TickGrid(packets([0.0] * 100)).wait(START + 60, START + 60.01)


@given(st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_the_next_moment_at_a_phase(earliest: float, fraction: float) -> None:
    moment = at_phase(earliest, fraction)
    assert earliest - 1e-6 <= moment < earliest + TICK_S + 1e-6
    assert (moment / TICK_S - fraction) % 1 == pytest.approx(0, abs=1e-6) or (
        moment / TICK_S - fraction
    ) % 1 == pytest.approx(1, abs=1e-6)


@given(st.floats(0, 1, exclude_max=True), st.integers(20, 200))
def test_phases_fill_the_tick(start: float, count: int) -> None:
    found = sorted(islice(even_phases(start), count))
    assert all(0 <= phase < 1 for phase in found)
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert max(gaps) < 3 / count
