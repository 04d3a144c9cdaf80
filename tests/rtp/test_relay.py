"""One leg's sound as another's: every pair of codecs, bad arrival, drifting clocks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest

from rtp.codec import CODECS, Codec
from rtp.g711 import Pcm
from rtp.playout import Playout
from rtp.relay import CUSHION_MS, LIMIT_MS, SPARE_MS, Relay

ITEM = "bridge"


def speech(seconds: float, rate: int) -> Pcm:
    """Syllables of 300 ms with pauses of 100, no two alike."""
    rng = np.random.default_rng(5)
    at = np.arange(int(seconds * rate)) / rate
    pitch = np.repeat(rng.uniform(120, 900, int(seconds / 0.4) + 1), int(0.4 * rate))[: at.size]
    loud = (at % 0.4) < 0.3
    return np.where(loud, 9000 * np.sin(2 * np.pi * np.cumsum(pitch) / rate), 0).astype(np.int16)


def relayed(
    source: Codec,
    sink: Codec,
    arrivals: Iterable[float],
    sound: bytes,
    ptime_ms: int = 20,
    drift: float = 1.0,
) -> tuple[Pcm, Playout, list[int]]:
    """What leaves for packets of 20 ms that come at these milliseconds, and what waited at each of them."""
    relay, playout = Relay(source, sink), Playout(sink, ptime_ms)
    size, waited, out = source.frame_bytes(20), list[int](), list[bytes]()
    happens = [(at, 0, number) for number, at in enumerate(arrivals)]
    tick_ms = drift * ptime_ms
    happens += [(10.0 + tick_ms * n, 1, n) for n in range(int(len(happens) * 20 / tick_ms))]
    for _, is_tick, number in sorted(happens):
        if is_tick:
            out.append(playout.next_frame() or sink.silence * sink.frame_bytes(ptime_ms))
        else:
            waited.append(playout.queued_ms)
            piece = sound[number * size : (number + 1) * size]
            playout.append(ITEM, relay.passed(piece, playout.queued_ms))
    return sink.decode(b"".join(out)), playout, waited


def likeness(heard: Pcm, said: Pcm) -> float:
    """Peak of the normalised cross-correlation."""
    size = 1 << (heard.size + said.size).bit_length()
    a, b = heard.astype(np.float64), said.astype(np.float64)
    product = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    return float(np.max(product) / np.sqrt(np.sum(a**2) * np.sum(b**2)))


NAMES = [name for name in CODECS if name != "OPUS"]


@pytest.mark.parametrize("to", [*NAMES, "OPUS"])
@pytest.mark.parametrize("name", [*NAMES, "OPUS"])
def test_sound_is_the_same_in_any_codec(name: str, to: str) -> None:
    source, sink = CODECS[name].app_codec, CODECS[to].app_codec
    said = speech(3.0, source.sample_rate)
    heard, playout, _ = relayed(source, sink, np.arange(150) * 20.0, source.encode(said))
    low = speech(3.0, sink.sample_rate)
    assert likeness(heard, low) > 0.9
    assert playout.counters.underruns == 0


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_packets_of_any_length_leave_without_a_gap(ptime_ms: int) -> None:
    pcmu = CODECS["PCMU"]
    said = speech(6.0, 8000)
    heard, playout, _ = relayed(pcmu, pcmu, np.arange(300) * 20.0, pcmu.encode(said), ptime_ms)
    assert playout.counters.underruns == 0
    assert likeness(heard, said) > 0.98


def test_a_cushion_is_there_from_the_first_packet_on() -> None:
    pcmu = CODECS["PCMU"]
    jitter = np.random.default_rng(1).uniform(0, CUSHION_MS - 10, 500)
    _, playout, _ = relayed(pcmu, pcmu, np.arange(500) * 20.0 + jitter, pcmu.encode(speech(10.0, 8000)))
    assert playout.counters.underruns == 0


def test_what_a_burst_has_left_goes_in_pauses() -> None:
    """300 ms late, all at once; after a few seconds nothing of it is left."""
    pcmu = CODECS["PCMU"]
    arrivals = np.arange(1000) * 20.0
    arrivals[200:215] = arrivals[215]
    _, _, waited = relayed(pcmu, pcmu, arrivals, pcmu.encode(speech(20.0, 8000)))
    assert max(waited[200:320]) > 250
    assert max(waited[-200:]) <= SPARE_MS + 20 + 20


@pytest.mark.parametrize("drift", [1.005, 0.995])
def test_clocks_that_differ_do_not_make_it_late(drift: float) -> None:
    """By 5000 ppm: a hundred times what telephones have."""
    pcmu = CODECS["PCMU"]
    _, _, waited = relayed(pcmu, pcmu, np.arange(3000) * 20.0, pcmu.encode(speech(60.0, 8000)), drift=drift)
    assert max(waited) < SPARE_MS + 100


def test_a_minute_leaves_nothing_behind() -> None:
    source, sink = CODECS["PCMU"], CODECS["PCMA"]
    relay, playout = Relay(source, sink), Playout(sink)
    sound = source.encode(speech(60.0, 8000))
    held: list[int] = []
    tracemalloc.start()
    try:
        for number in range(3000):
            playout.append(ITEM, relay.passed(sound[number * 160 : (number + 1) * 160], playout.queued_ms))
            playout.next_frame()
            if number in (500, 2999):
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 8_000


def test_a_leg_that_takes_nothing_does_not_gather() -> None:
    pcmu = CODECS["PCMU"]
    relay, playout = Relay(pcmu, pcmu), Playout(pcmu)
    loud = pcmu.encode(np.full(160, 9000, np.int16))
    for _ in range(500):
        playout.append(ITEM, relay.passed(loud, playout.queued_ms))
    assert LIMIT_MS <= playout.queued_ms <= LIMIT_MS + 40
