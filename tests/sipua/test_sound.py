"""A person's sound between two clocks: what waits stays bounded, whatever the clocks and the threads do."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS, Codec
from rtp.g711 import Pcm
from rtp.playout import Playout
from sipua.sound.drift import Drift
from sipua.sound.ring import Ring
from sipua.sound.talker import MICROPHONE_LIMIT_MS, SPEAKER_LIMIT_MS, Talker
from tests.sound_device import SkewedDevice


def numbers(first: int, count: int) -> Pcm:
    return np.arange(first, first + count, dtype=np.int16)


# ---- ring ------------------------------------------------------------------------------------------------------


def test_what_is_given_is_taken_in_any_portions() -> None:
    ring = Ring(limit=1000)
    ring.give(numbers(1, 30))
    ring.give(numbers(31, 20))
    assert ring.queued == 50
    assert [ring.take(25).tolist(), ring.take(25).tolist()] == [list(range(1, 26)), list(range(26, 51))]
    assert (ring.queued, ring.underruns) == (0, 0)


def test_the_oldest_give_way() -> None:
    ring = Ring(limit=100)
    for first in range(1, 241, 40):
        ring.give(numbers(first, 40))
    assert (ring.queued, ring.dropped) == (80, 160)
    assert ring.take_all().tolist() == list(range(161, 241))


def test_a_ring_that_ran_dry_waits_for_its_cushion() -> None:
    ring = Ring(limit=1000, prefill=40)
    assert not ring.take(10).any()
    assert ring.underruns == 0  # nothing was there to run out
    ring.give(numbers(1, 30))
    assert not ring.take(10).any()
    ring.give(numbers(31, 15))
    assert ring.take(40).tolist() == list(range(1, 41))
    assert ring.take(10).tolist() == [41, 42, 43, 44, 45, 0, 0, 0, 0, 0]
    assert ring.underruns == 1
    ring.give(numbers(1, 39))
    assert not ring.take(10).any()
    assert ring.underruns == 1


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60),
    st.integers(0, 120),
    st.integers(0, 60),
)
def test_nothing_is_doubled_or_out_of_order(steps: list[tuple[bool, int]], limit: int, prefill: int) -> None:
    ring = Ring(limit=limit, prefill=prefill)
    given_count, taken = 0, np.zeros(0, np.int16)
    for gives, count in steps:
        if gives:
            ring.give(numbers(given_count + 1, count))
            given_count += count
        else:
            taken = np.concatenate([taken, ring.take(count)])
        assert 0 <= ring.queued <= limit
    sound = taken[taken != 0]
    assert (np.diff(sound) > 0).all()
    assert sound.size + ring.dropped + ring.queued == given_count


def test_two_threads() -> None:
    ring = Ring(limit=400)
    taken: list[Pcm] = []
    is_over = threading.Event()

    def card() -> None:
        while not is_over.is_set() or ring.queued:
            taken.append(ring.take(7))

    thread = threading.Thread(target=card)
    thread.start()
    for first in range(1, 30001, 10):
        ring.give(numbers(first, 10))
    is_over.set()
    thread.join()
    sound = np.concatenate(taken)
    sound = sound[sound != 0]
    assert (np.diff(sound) > 0).all()
    assert sound.size + ring.dropped == 30000


# ---- drift -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queued_ms", "changes"), [(60, False), (100, True), (20, True)])
def test_a_queue_near_its_target_is_left_alone(queued_ms: float, changes: bool) -> None:
    drift = Drift(8000, 60)
    for _ in range(1000):
        block = drift.adapt(numbers(0, 160), queued_ms)
        assert block[0] == 0
        assert block[-1] == 159
    assert bool(drift.removed) == (queued_ms > 60)
    assert bool(drift.inserted) == (queued_ms < 60)
    assert drift.removed + drift.inserted <= 0.005 * 160 * 1000


@dataclass
class Wire:
    """A call without a network."""

    codec: Codec = CODECS["PCMU"]
    playout: Playout = field(default_factory=lambda: Playout(CODECS["PCMU"]))


@pytest.mark.parametrize("ppm", [-1500, -300, 0, 300, 1500])
def test_three_minutes_with_clocks_that_differ(ppm: float) -> None:
    """At 1500 ppm they part by 270 ms, more than either direction may queue."""
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.int16)
    payload = CODECS["PCMU"].encode(tone[:160])
    device, wire = SkewedDevice(tone, ppm=ppm), Wire()
    talker = Talker(device)
    waiting: list[int] = []
    silent = 0
    for tick in range(1, 9001):
        device.run_until(tick * 0.02)
        talker.step(wire)
        talker.hear(wire, payload)
        frame = wire.playout.next_frame()
        silent += frame is None and tick > 10
        waiting.append(wire.playout.queued_ms)
    figures = talker.figures()
    for name in ("microphone", "speaker"):
        assert figures[name]["gaps"] == 0, name
        assert figures[name]["dropped_ms"] == 0, name
    assert silent == 0
    assert max(waiting[100:]) < 80
    changed = figures["microphone"]["samples_removed"] - figures["microphone"]["samples_inserted"]
    assert changed == pytest.approx(180 * 8000 * ppm / 1e6, abs=250)
    heard = np.concatenate(device.heard[50:])
    quiet = np.abs(heard.reshape(-1, 80)[: heard.size // 80].astype(int)).max(axis=1) < 100
    assert not quiet.any()


def test_a_call_that_does_not_send_holds_back_little() -> None:
    device, wire = SkewedDevice(numbers(1, 8000)), Wire()
    talker = Talker(device)
    for tick in range(1, 500):  # on hold: nobody takes frames
        device.run_until(tick * 0.02)
        talker.step(wire)
        assert wire.playout.queued_ms <= MICROPHONE_LIMIT_MS + 40
    assert talker.figures()["microphone"]["dropped_ms"] > 9000
    talker.step(wire)
    assert wire.playout.next_frame() is not None  # and what comes afterwards is sent again


def test_a_device_that_stands_still_holds_back_little() -> None:
    device, wire = SkewedDevice(numbers(1, 8000)), Wire()
    talker = Talker(device)
    for _ in range(500):
        talker.hear(wire, bytes(160))
    shortened_ms = 0.005 * 10_000
    assert talker.figures()["speaker"]["dropped_ms"] == pytest.approx(
        10_000 - SPEAKER_LIMIT_MS, abs=shortened_ms
    )
    device.run_until(10.0)
    assert sum(block.size for block in device.heard) == 80_000
    talker.close()
    assert device.is_closed


def test_another_leg_has_coders_of_its_own() -> None:
    """A call that goes on to the next trunk: what rang before was another stream, and perhaps another codec."""
    device = SkewedDevice(numbers(1, 8000), rate=16000)
    talker = Talker(device)
    for seconds, codec in ((5.0, CODECS["PCMU"]), (10.0, CODECS["G722"])):
        wire = Wire(codec, Playout(codec))
        talker.hear(wire, codec.silence * 160)
        talker.step(wire)
        device.run_until(seconds)
        talker.step(wire)
        assert wire.playout.queued_ms >= 200


def test_what_was_said_before_the_answer_is_nobodys() -> None:
    device, wire = SkewedDevice(numbers(1, 8000)), Wire()
    talker = Talker(device)
    device.run_until(3.0)
    talker.step(wire)
    assert wire.playout.queued_ms == 0
    device.run_until(3.02)
    talker.step(wire)
    assert wire.playout.queued_ms == 60  # a packet, and the cushion before it
