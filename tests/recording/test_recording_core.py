"""The recording core: what stands where, whatever the network and the clocks do, and that its memory is bounded."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS, PCM24, Codec
from sipua.recording import AHEAD_MS, BLOCK_MS, LAG_MS, SLACK_MS, Block, Recording

PCMU = CODECS["PCMU"]
BEGAN = 1000.0
Event = tuple[float, str, bytes]  # when (seconds from the beginning), which side, what


class Kept:
    """The blocks of a recording, laid out."""

    def __init__(self, codec: Codec = PCMU) -> None:
        self.core = Recording(codec, BEGAN)
        self.blocks: list[Block] = []
        self.held = 0  # the most bytes that were held

    def play(self, events: Iterable[Event], until: float) -> tuple[bytes, bytes]:
        for at, side, payload in events:
            now = BEGAN + at
            if side == "agent":
                self._take(self.core.sent(now, payload))
            else:
                self._take(self.core.heard(now, payload, made_up=side == "made up"))
        return self.finish(until)

    def finish(self, until: float) -> tuple[bytes, bytes]:
        block, end = self.core.finish(BEGAN + until)
        self._take(block)
        sides = bytearray(self.core.codec.silence * end), bytearray(self.core.codec.silence * end)
        for each in self.blocks:
            assert len(each.caller) == len(each.agent)
            for side, payload in zip(sides, (each.caller, each.agent), strict=True):
                side[each.at : each.at + len(payload)] = payload
        return bytes(sides[0]), bytes(sides[1])

    def _take(self, block: Block | None) -> None:
        held = sum(len(track._pending) for track in (self.core._caller, self.core._agent))
        self.held = max(self.held, held)
        if block is not None:
            assert not self.blocks or block.at >= self.blocks[-1].at + len(self.blocks[-1].caller)
            self.blocks.append(block)


def frame(number: int, size: int = 160) -> bytes:
    """Sound that tells which frame it is; never silence."""
    return bytes((number % 100 + 1,)) * size


def frames(side: str, begin: float, count: int, ptime: float = 0.02) -> list[Event]:
    return [(begin + n * ptime, side, frame(n)) for n in range(count)]


def merged(*stories: list[Event]) -> list[Event]:
    return sorted((event for story in stories for event in story), key=lambda event: event[0])


def silence(ms: int) -> bytes:
    return PCMU.silence * 8 * ms


def sound(count: int, first: int = 0) -> bytes:
    return b"".join(frame(n) for n in range(first, first + count))


# ---- what was sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 10], ids=["shorter than a block", "many blocks"])
def test_both_sides_stand_where_they_were(seconds: float) -> None:
    count = round(seconds * 50)
    caller, agent = Kept().play(
        merged(frames("agent", 0.1, count), frames("caller", 0.04, count)), seconds + 0.2
    )
    assert len(caller) == len(agent) == round((seconds + 0.2) * 8000)
    assert agent == silence(100) + sound(count) + silence(100)
    assert caller == silence(40) + sound(count) + silence(160)


@pytest.mark.parametrize("pause_ms", [20, 40, 500, 1000, 5000])
def test_a_pause_of_ours_is_silence_of_its_length(pause_ms: int) -> None:
    story = frames("agent", 0, 5) + frames("agent", 0.1 + pause_ms / 1000, 5)
    _, agent = Kept().play(story, 0.2 + pause_ms / 1000)
    assert agent == sound(5) + silence(pause_ms) + sound(5)


def test_frames_of_another_ptime_go_on_without_a_hole() -> None:
    """A re-INVITE to 30 ms: its ticks are on a grid of their own, which may begin within the frame before."""
    story = frames("agent", 0, 5) + [(0.09 + n * 0.03, "agent", frame(n, 240)) for n in range(10)]
    _, agent = Kept().play(story, 0.5)
    assert agent[: 5 * 160 + 10 * 240] == sound(5) + b"".join(frame(n, 240) for n in range(10))


def test_scheduled_times_that_are_no_round_figures_leave_no_holes() -> None:
    story = [(0.0137 + n * 0.02 + 1e-9 * (n % 3), "agent", frame(n)) for n in range(500)]
    _, agent = Kept().play(story, 11.0)
    assert sound(500) in agent


# ---- what was heard --------------------------------------------------------------------------------------


def test_jitter_leaves_no_trace() -> None:
    """0 to 60 ms late, in order, the first one late too: whole, and at its place but for what the first was late."""
    rng = random.Random(1)
    arrivals, last = [], 0.0
    for n in range(1000):
        last = max(last, n * 0.02 + rng.uniform(0, 0.06))
        arrivals.append((last, "caller", frame(n)))
    caller, _ = Kept().play(arrivals, 21.0)
    begin = caller.index(frame(0))
    assert begin <= 60 * 8
    lost = 1000 * 160 - sum(byte != 0xFF for byte in caller)
    assert lost <= 60 * 8  # what the first was late, and no more
    assert abs(caller.rindex(frame(99)) - (999 * 160)) <= SLACK_MS * 8 + 8 * 8


def test_a_line_that_stands_still_loses_nothing() -> None:
    """0.9 s without a packet, then all of them at once."""
    story = [(n * 0.02 if not 100 <= n < 145 else 2.9, "caller", frame(n)) for n in range(500)]
    caller, _ = Kept().play(story, 10.0)
    assert caller == sound(500)


def test_made_up_silence_does_not_count_as_late_sound() -> None:
    """It comes in pieces of 100 ms, each at its end (``rtp.silence``), while the telephone sends nothing for 5 s."""
    story = frames("caller", 0, 50)
    story.append((1.38, "made up", silence(380)))
    story += [(1.48 + n * 0.1, "made up", silence(100)) for n in range(46)]
    story.append((6.0, "made up", silence(20)))
    story += frames("caller", 6.0, 200)
    caller, _ = Kept().play(story, 10.0)
    assert caller == sound(50) + silence(5000) + sound(200)


@pytest.mark.parametrize("hold_s", [2, 30, 600])
def test_nothing_for_long_is_silence_of_its_length(hold_s: int) -> None:
    kept = Kept()
    story = merged(
        frames("caller", 0, 100) + frames("caller", 2.0 + hold_s, 100),
        frames("agent", 0, 100) + frames("agent", 2.0 + hold_s, 100),
    )
    caller, agent = kept.play(story, 4.0 + hold_s)
    assert caller == agent == sound(100) + silence(hold_s * 1000) + sound(100)
    assert kept.held <= 2 * (LAG_MS + BLOCK_MS + 40) * 8
    assert sum(len(block.caller) for block in kept.blocks) < 9 * 8000  # of the hold only its edges


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_clock_that_is_off_does_not_add_up(ppm: int) -> None:
    """Four minutes; one mark a second, held against the time at which it passed."""
    step = 0.02 * (1 + ppm / 1e6)
    mark, rest = b"\x01" * 160, b"\x80" * 160
    story = [(n * step, "caller", rest if n % 50 else mark) for n in range(12_000)]
    caller, _ = Kept().play(story, 240.2)
    heard = np.frombuffer(caller, np.uint8)
    passed = [round(at * 1000) for at, _, payload in story if payload == mark]
    for at in passed:
        near = heard[max(0, at - 50) * 8 : (at + 70) * 8] == 1
        assert near.sum() >= 60, f"the mark of {at} ms is not within 50 ms"


def test_who_sends_ten_times_too_fast_fills_no_memory() -> None:
    kept = Kept()
    story = [(n * 0.002, "caller", frame(n)) for n in range(20_000)]
    caller, _ = kept.play(story, 40.0)
    assert kept.held <= (LAG_MS + BLOCK_MS + AHEAD_MS + 100) * 8
    assert len(caller) == 40 * 8000


# ---- any order -------------------------------------------------------------------------------------------

stories = st.lists(
    st.tuples(
        st.floats(0, 1.5), st.sampled_from(["agent", "caller", "made up"]), st.integers(0, 400), st.booleans()
    ),
    max_size=30,
)


@pytest.mark.parametrize("codec", [PCMU, CODECS["G722"], PCM24], ids=lambda codec: codec.name)
@given(story=stories)
def test_the_length_is_that_of_the_time_whatever_comes(
    codec: Codec, story: list[tuple[float, str, int, bool]]
) -> None:
    kept, now = Kept(codec), 0.0
    events: list[Event] = []
    for step, side, ms, is_at_once in story:
        now += 0 if is_at_once else step
        events.append((now, side, b"\x01" * codec.frame_bytes(ms)))
    caller, agent = kept.play(events, now)
    end = codec.frame_bytes(round(now * 1000))
    assert end <= len(caller) == len(agent)
    assert kept.held <= 2 * codec.frame_bytes(LAG_MS + BLOCK_MS + AHEAD_MS + 4000) + 60 * codec.frame_bytes(
        400
    )
