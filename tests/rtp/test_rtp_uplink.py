"""Sound without holes: what was lost is made up in its length, silence goes on while the sender is silent."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtp.codec import CODECS, Codec
from rtp.conceal import Concealer
from rtp.events import AudioFrame
from rtp.g711 import Pcm
from rtp.silence import MAX_S, Silence
from rtp.uplink import Uplink

PCMU, PCMA = CODECS["PCMU"], CODECS["PCMA"]


def tone(hertz: float, samples: int, *, begin: int = 0, amplitude: float = 8000) -> Pcm:
    """With two harmonics, as a voice has."""
    phase = 2 * np.pi * hertz * (np.arange(samples) + begin) / 8000
    wave = np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.25 * np.sin(3 * phase)
    return (amplitude * wave / 1.75).astype(np.int16)


def concealed(codec: Codec, before: Pcm, after: Pcm, samples: int, packets: int = 1) -> Pcm:
    concealer = Concealer(codec)
    concealer.heard(codec.encode(before))
    return codec.decode(concealer.fill(samples, packets, codec.encode(after))).astype(np.int32)


def rms(wave: Pcm) -> float:
    return float(np.sqrt(np.mean(wave.astype(float) ** 2)))


# -- concealment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [PCMU, PCMA])
@pytest.mark.parametrize("hertz", [80, 110, 163, 190])
def test_a_lost_packet_of_a_voice_goes_on_at_its_pitch(codec: Codec, hertz: float) -> None:
    whole = tone(hertz, 1200)
    made_up = concealed(codec, whole[:600], whole[760:920], 160)
    error = rms(made_up - whole[600:760])
    assert error < 0.35 * rms(whole[600:760])  # silence in its place has 1.0
    joins = np.concatenate((whole[598:600], made_up, whole[760:762])).astype(int)
    assert np.abs(np.diff(joins)).max() < 2 * np.abs(np.diff(whole.astype(int))).max()


def test_a_long_loss_fades_out_and_in() -> None:
    made_up = concealed(PCMU, tone(120, 400), tone(120, 400), 2400, 15)
    level = [rms(made_up[begin : begin + 80]) for begin in range(0, 2400, 80)]
    assert level[0] > 0.8 * rms(tone(120, 400))
    assert level[:6] == sorted(level[:6], reverse=True)
    assert max(level[6:24]) < 10
    assert level[24:] == sorted(level[24:])


def test_without_sound_before_it_the_loss_is_filled_from_what_follows() -> None:
    made_up = concealed(PCMU, tone(120, 0), tone(120, 160), 160)
    assert rms(made_up[:20]) < rms(made_up[-80:])
    assert rms(made_up[-80:]) > 1000


def test_silence_and_noise_stay_what_they_are() -> None:
    quiet = np.zeros(400, dtype=np.int16)
    assert np.abs(concealed(PCMU, quiet, quiet, 160)).max() <= 8
    noise = np.random.default_rng(1).normal(0, 1000, 800).astype(np.int16)
    made_up = concealed(PCMU, noise[:400], noise[400:], 160)
    assert 0.4 * rms(noise) < rms(made_up) < 1.2 * rms(noise)


@given(
    before=st.binary(max_size=500),
    after=st.binary(max_size=500),
    samples=st.integers(0, 5000),
    packets=st.integers(0, 50),
)
def test_any_sound_is_continued_in_the_length_asked_for(
    before: bytes, after: bytes, samples: int, packets: int
) -> None:
    concealer = Concealer(PCMA)
    concealer.heard(before)
    assert len(concealer.fill(samples, packets, after)) == samples
    assert len(concealer.fill(samples, packets, after)) == samples


# -- silence -------------------------------------------------------------------------------------------

SILENCES: dict[str, tuple[list[tuple[float, str, int]], list[int]]] = {
    # at ms, what happens, samples → samples of silence handed on at each step ("rest": of a gap without loss)
    "sound goes on": ([(0, "sound", 160), (20, "sound", 160), (399, "expire", 0)], [0]),
    "not yet": ([(0, "sound", 160), (399, "expire", 0), (400, "expire", 0)], [0, 3040]),
    "while it lasts": (
        [(0, "sound", 160), (400, "expire", 0), (450, "expire", 0), (500, "expire", 0), (620, "rest", 4800)],
        [3040, 0, 800, 960],
    ),
    "announced": (
        [(0, "sound", 160), (20, "announced", 0), (80, "expire", 0), (180, "rest", 1280)],
        [480, 800],
    ),
    "announced again": (
        [
            (0, "sound", 160),
            (20, "announced", 0),
            (80, "expire", 0),
            (90, "announced", 0),
            (180, "expire", 0),
        ],
        [480, 800],
    ),
    "the line stood still: what was too much comes off the next silence": (
        [(0, "sound", 160), (400, "expire", 0), (410, "rest", 0), (410, "sound", 160), (500, "rest", 4000)],
        [3040, 0, 960],
    ),
    "sound that was lost is not shortened for it": (
        [(0, "sound", 160), (400, "expire", 0), (410, "rest", 0), (410, "sound", 160), (450, "lost", 160)],
        [3040, 0, 160],
    ),
    "no sound yet": ([(20, "announced", 0), (9000, "expire", 0)], [0]),
    "a stall is filled at once": ([(0, "sound", 160), (3000, "expire", 0)], [24_000 - 160]),
    "to a bound": ([(0, "sound", 160), (60_000, "expire", 0), (60_100, "rest", 480_640)], [79_840, 160]),
}


@pytest.mark.parametrize("name", SILENCES)
def test_silence(name: str) -> None:
    steps, expected = SILENCES[name]
    silence = Silence(8000)
    filled = []
    for at_ms, what, samples in steps:
        now = at_ms / 1000
        if what == "sound":
            silence.heard(samples, now)
        elif what == "announced":
            silence.announced(now)
        elif what == "expire":
            filled.append(silence.expire(now))
        else:
            filled.append(silence.rest(samples, int(what == "lost")))
    assert filled == expected


def test_after_the_bound_nothing_is_waited_for() -> None:
    silence = Silence(8000)
    silence.heard(160, 0.0)
    total = 0
    while (deadline := silence.deadline()) is not None:
        total += silence.expire(deadline)
    assert total == MAX_S * 8000 - 160


# -- together ------------------------------------------------------------------------------------------


def heard_of(uplink: Uplink, arrivals: list[tuple[float, int, int, bytes]]) -> list[AudioFrame]:
    """(seconds, sequence, timestamp, payload), with the timers between them."""
    heard: list[AudioFrame] = []
    for now, sequence, timestamp, payload in arrivals:
        while (deadline := uplink.deadline()) is not None and deadline <= now:
            heard += uplink.expire(deadline)
        heard += uplink.put(
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            payload,
            now,
            marker=False,
            announces_silence=not payload,
        )
    while (deadline := uplink.deadline()) is not None and deadline <= arrivals[-1][0] + 0.3:
        heard += uplink.expire(deadline)
    return heard


def test_lost_packets_are_counted_and_the_listeners_clock_stays_true() -> None:
    uplink = Uplink(PCMU, 200)
    arrivals = [(n * 0.02, n, n * 160, bytes([n % 256]) * 160) for n in range(500) if n not in (7, 8, 300)]
    heard = heard_of(uplink, arrivals)
    assert sum(frame.samples for frame in heard) == 500 * 160
    assert [frame.samples for frame in heard if frame.concealed] == [320, 160]
    assert (uplink.concealed_frames, uplink.concealed_samples) == (3, 480)


def test_a_silent_sender_is_heard_as_silence_in_time_and_in_length() -> None:
    uplink = Uplink(PCMU, 200)
    heard = heard_of(uplink, [(0.0, 0, 0, b"s" * 160), (0.02, 1, 160, b"")])
    while (deadline := uplink.deadline()) is not None and deadline <= 2.0:
        sound = uplink.expire(deadline)
        heard += sound
        assert (deadline - 0.12) * 8000 <= sum(frame.samples for frame in heard) <= deadline * 8000 + 1
    heard += heard_of(uplink, [(2.04, 2, 2 * 8000 + 160, b"s" * 160)])
    assert sum(frame.samples for frame in heard) == 2 * 8000 + 320
    assert uplink.concealed_frames == 0


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([80, 160, 240, 320, 480]), min_size=2, max_size=60),
    loss=st.floats(0, 0.4),
    duplication=st.floats(0, 0.4),
    jitter_ms=st.floats(0, 150),
    first=st.integers(0, 2**32 - 1),
)
@example(
    163, [80, 80, 80, 480, 480, 480, 480, 480], 0.375, 0.0, 62.0, 0
)  # silence would come before the gap ends
def test_no_duplicate_no_disorder_and_the_right_length(
    seed: int, sizes: list[int], loss: float, duplication: float, jitter_ms: float, first: int
) -> None:
    """Any permutation, loss, duplication and change of packet time."""
    chance = random.Random(seed)
    arrivals: list[tuple[float, int, int, bytes]] = []
    position = 0
    for n, size in enumerate(sizes):
        payload = bytes([n]) * size
        position += size
        last = n == len(sizes) - 1
        if n and not last and chance.random() < loss:
            continue
        for _ in range(1 + (chance.random() < duplication)):
            delay = (0 if n == 0 else jitter_ms if last else chance.random() * jitter_ms) / 1000
            arrivals.append((position / 8000 + delay, first + n, first + position - size, payload))
    arrivals.sort(key=lambda arrival: arrival[0])
    heard = heard_of(Uplink(PCMU, 200), arrivals)
    assert sum(frame.samples for frame in heard) == sum(sizes)
    position = 0
    used: list[int] = []
    for frame in heard:
        if not frame.concealed:
            number = frame.payload[0]
            assert frame.payload == bytes([number]) * sizes[number]
            assert position == sum(sizes[:number])  # in its place
            used.append(number)
        position += frame.samples
    assert used == sorted(set(used))


@pytest.mark.parametrize("ppm", [-300, 300])
def test_thirty_minutes_through_both_wraps_with_a_skewed_clock(ppm: float) -> None:
    """Half a second of skew in the end, jitter, loss, disorder: nothing accumulates, every millisecond is there."""
    chance = random.Random(1)
    count = 90_000
    arrivals = [
        (
            n * 0.02 * (1 + ppm / 1e6) + chance.random() * 0.03,
            60_000 + n,
            2**32 - 100_000 + n * 160,
            b"s" * 160,
        )
        for n in range(count)
        if n in (0, count - 1) or chance.random() > 0.01
    ]
    arrivals.sort(key=lambda arrival: arrival[0])
    uplink = Uplink(PCMU, 200)
    length = sum(frame.samples for frame in heard_of(uplink, arrivals))
    assert length == count * 160
    counters = uplink.reorder.counters
    assert counters.get == counters.put == len(arrivals) - counters.late
    assert counters.late <= 10
    assert counters.restarts == counters.overflow == 0
    assert uplink.reorder.network_delay.quantile_ms(1.0) <= 35
    assert uplink.reorder.added_delay.quantile_ms(0.99) <= 35
    assert uplink.silence.deadline() is not None
