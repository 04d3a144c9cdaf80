"""A simulated agent whose times are known is measured as what it is."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from sipua.bench.code import FRAME_BYTES, encode_frame, encode_item
from sipua.bench.evaluate import Appended, Heard, downlink, first_heard, uplink
from sipua.bench.figures import machine, machine_line, mean_ms, percentile, spread
from sipua.bench.grid import SAMPLES_PER_TICK, TICK_S

SILENCE = CODECS["PCMU"].silence * FRAME_BYTES


def simulated(
    needs_s: float, late_s: float, *, items: int, lost: frozenset[int] = frozenset()
) -> tuple[dict[int, float], list[Heard]]:
    """An agent that takes a delta ``needs_s`` before a tick and whose packets leave ``late_s`` after it."""
    chance = random.Random(1)
    sent = {item: 500.0 + item * 0.16 + chance.random() * TICK_S for item in range(1, items + 1)}
    carried = {math.ceil((at + needs_s) / TICK_S): item for item, at in sent.items() if item not in lost}
    first, last = round(499 / TICK_S), round((501 + items * 0.16) / TICK_S)
    return sent, [
        Heard(
            tick * TICK_S + late_s,
            (tick * SAMPLES_PER_TICK) & 0xFFFFFFFF,
            encode_frame(carried[tick], 0) if tick in carried else SILENCE,
        )
        for tick in range(first, last)
    ]


@pytest.mark.parametrize("needs_ms", [0.5, 2, 8, 15, 30])
@pytest.mark.parametrize("late_ms", [0.0, 0.4])
def test_the_mean_of_own_is_what_the_agent_needs(needs_ms: float, late_ms: float) -> None:
    sent, packets = simulated(needs_ms / 1000, late_ms / 1000, items=400)
    found = downlink(sent, packets)
    assert found.lost == 0
    # a lateness common to all packets is, from outside, where the grid is
    assert mean_ms(found.own) == pytest.approx(needs_ms + late_ms, abs=1.5)
    assert mean_ms(found.tick_wait) == pytest.approx(10, abs=1)
    for own, whole, wait in zip(found.own, found.seconds, found.tick_wait, strict=True):
        assert own == pytest.approx(whole - wait)
        assert 0 <= wait <= TICK_S + 1e-9
        assert own > -0.003


def test_an_agent_without_own_time_only_waits() -> None:
    sent, packets = simulated(0.0, 0.0, items=100)
    found = downlink(sent, packets)
    assert max(abs(own) for own in found.own) < 1e-6
    assert spread(found.seconds) == spread(found.tick_wait)


def test_an_item_that_is_never_heard_is_lost() -> None:
    sent, packets = simulated(0.001, 0.0, items=10, lost=frozenset({3, 7}))
    found = downlink(sent, packets)
    assert (len(found.seconds), found.lost) == (8, 2)


def test_the_first_packet_of_an_item_counts_also_where_items_share_a_frame() -> None:
    sound = SILENCE[:100] + encode_item(5, 2) + encode_item(6, 1)
    packets = [
        Heard(10.0 + n * TICK_S, n * SAMPLES_PER_TICK, sound[n * FRAME_BYTES : (n + 1) * FRAME_BYTES])
        for n in range(4)
    ]
    assert first_heard(packets) == {5: packets[0].at, 6: packets[2].at}


def test_a_frame_has_arrived_with_the_append_that_holds_its_end() -> None:
    frames = [encode_frame(0, n) for n in range(4)]
    sound = b"".join(frames)
    appends = [
        Appended(1.0, sound[:320]),  # two at once
        Appended(2.0, sound[320:400]),  # half of the third
        Appended(3.0, sound[384:480]),  # its end, from a cell border
        Appended(4.0, frames[0]),  # again: counts once
        Appended(5.0, encode_frame(9, 3)),  # another item
    ]
    found = uplink({0: 0.5, 1: 0.75, 2: 0.5, 3: 0.5}, appends, item=0)
    assert found.seconds == [0.5, 0.25, 2.5]
    assert found.lost == 1


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), abs=1e-6)


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_figures_are_milliseconds() -> None:
    assert spread([0.001, 0.002, 0.003]) == {"p50": 2.0, "p95": 2.9}
    assert mean_ms([0.001, 0.002]) == 1.5


def test_the_machine_in_one_line() -> None:
    facts = machine()
    line = machine_line(facts)
    assert "\n" not in line
    for name in ("python", "kernel", "arch"):
        assert facts[name] in line
