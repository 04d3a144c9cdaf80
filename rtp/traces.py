"""Traces of what a network does to one RTP stream, made from a seed or read from a file.

A trace is a list of packets as sent, each with the times at which it arrives: none if it was lost, two if it was
duplicated. Talk spurts follow ITU-T P.59 (mean 1.0 s of speech, 1.35 s of pause; packets are sent in both), because
a buffer with a constant playout delay may change it only between them. The same seed makes the same trace.

A file holds one entry a packet, separated by white space: a delay in milliseconds, ``L`` for a lost packet, or several
delays (``12+40``) for one that arrives as often.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import TraceError

CLOCK_RATE = 8000
BASE_DELAY_MS = 30.0  # of every packet; a receiver cannot see it
QUEUE_STEP_MS = 0.1  # between two packets that leave a queue, of an access line
DEFAULT_SECONDS = 120.0
SPEECH_S, PAUSE_S = 1.0, 1.35  # means, ITU-T P.59
LOST, AGAIN = "L", "+"  # in a file
MAX_FILE_DELAY_MS = 60_000.0

Delays = npt.NDArray[np.float64]  # milliseconds, one a packet; nan: lost
Impairment = Callable[[np.random.Generator, int, float], Delays]  # generator, packets, packet time in ms


@dataclass(frozen=True, slots=True)
class TracePacket:
    """One packet as sent, and when it arrives (seconds; empty: lost)."""

    sent_s: float
    sequence_number: int
    timestamp: int
    ssrc: int
    samples: int
    spurt: int
    arrivals: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """``has_jitter``: packets arrive at other intervals than they were sent, or in another order."""

    name: str
    packets: tuple[TracePacket, ...]
    has_jitter: bool

    def arrivals(self) -> list[tuple[float, int]]:
        """(time in seconds, index of the packet) of everything that arrives, in order of time."""
        return sorted((at, index) for index, packet in enumerate(self.packets) for at in packet.arrivals)


# ---- what the network does -------------------------------------------------------------------------------


def constant(random: np.random.Generator, count: int, ptime_ms: float) -> Delays:
    """Nothing."""
    return np.zeros(count)


def uniform(width_ms: float) -> Impairment:
    """Independent delays of ±``width_ms``, so that packets overtake each other where it exceeds the packet time."""
    return lambda random, count, ptime_ms: random.uniform(0, 2 * width_ms, count)


def gamma(shape: float, scale_ms: float) -> Impairment:
    """Independent delays with a long tail."""
    return lambda random, count, ptime_ms: random.gamma(shape, scale_ms, count)


def queued(impairment: Impairment) -> Impairment:
    """The same delays in a queue: nobody overtakes."""

    def delays(random: np.random.Generator, count: int, ptime_ms: float) -> Delays:
        sent = np.arange(count) * ptime_ms
        turn = np.arange(count) * QUEUE_STEP_MS
        left: Delays = np.maximum.accumulate(sent + impairment(random, count, ptime_ms) - turn)
        delayed: Delays = left + turn - sent
        return delayed

    return delays


def spikes(every_s: float, low_ms: float, high_ms: float) -> Impairment:
    """The line stands still for ``low_ms`` to ``high_ms`` and then delivers all at once, in order."""

    def delays(random: np.random.Generator, count: int, ptime_ms: float) -> Delays:
        stands: Delays = random.uniform(low_ms, high_ms, count)
        stands[random.random(count) >= ptime_ms / (1000 * every_s)] = 0.0
        return stands

    return queued(delays)


def strays(fraction: float, low_ms: float, high_ms: float) -> Impairment:
    """Single packets that take another way and are overtaken."""

    def delays(random: np.random.Generator, count: int, ptime_ms: float) -> Delays:
        strayed: Delays = random.uniform(low_ms, high_ms, count)
        strayed[random.random(count) >= fraction] = 0.0
        return strayed

    return delays


def bursts(fraction: float, longest: int = 4) -> Impairment:
    """Gilbert–Elliott: loss in bursts of 1 to ``longest`` packets, ``fraction`` of all packets."""

    def delays(random: np.random.Generator, count: int, ptime_ms: float) -> Delays:
        mean = (1 + longest) / 2
        start = 1 / (1 + mean * (1 - fraction) / fraction)
        lost = np.zeros(count)
        index = 0
        while index < count:
            if random.random() < start:
                length = int(random.integers(1, longest + 1))
                lost[index : index + length] = np.nan
                index += length
            else:
                index += 1
        return lost

    return delays


def both(first: Impairment, second: Impairment) -> Impairment:
    """The sum of two impairments."""
    return lambda random, count, ptime_ms: first(random, count, ptime_ms) + second(random, count, ptime_ms)


# ---- traces ----------------------------------------------------------------------------------------------


def make(
    name: str,
    seed: int,
    impairment: Impairment = constant,
    *,
    seconds: float = DEFAULT_SECONDS,
    ptimes_ms: Sequence[int] = (20,),
    skew_ppm: float = 0.0,
    sequence_number: int = 1000,
    timestamp: int = 16_000,
    has_jitter: bool = False,
) -> Trace:
    """``ptimes_ms`` are taken in turn for equal parts of the trace; ``skew_ppm`` > 0: the sender is slow."""
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    part_ms = seconds * 1000 / len(ptimes_ms)
    sizes = [ptime for ptime in ptimes_ms for _ in range(int(part_ms // ptime))]
    delays = impairment(random, len(sizes), sizes[0])
    spurts = _spurts(random, sizes)
    packets = []
    sent_ms = 0
    for index, (ptime_ms, delay_ms) in enumerate(zip(sizes, delays, strict=True)):
        sent_ms += ptime_ms  # a packet leaves when its sound is complete
        sent_s = sent_ms / 1000 * (1 + skew_ppm / 1e6)
        packets.append(
            TracePacket(
                sent_s=sent_s,
                sequence_number=(sequence_number + index) & 0xFFFF,
                timestamp=(timestamp + (sent_ms - ptime_ms) * CLOCK_RATE // 1000) & 0xFFFFFFFF,
                ssrc=1,
                samples=ptime_ms * CLOCK_RATE // 1000,
                spurt=spurts[index],
                arrivals=() if np.isnan(delay_ms) else (sent_s + (BASE_DELAY_MS + float(delay_ms)) / 1000,),
            )
        )
    if packets and not packets[0].arrivals:  # the first packet defines where a stream begins
        packets[0] = replace(packets[0], arrivals=(packets[0].sent_s + BASE_DELAY_MS / 1000,))
    return Trace(name, tuple(packets), has_jitter)


def _spurts(random: np.random.Generator, sizes_ms: Sequence[int]) -> list[int]:
    """The number of the talk spurt of each packet; a pause belongs to the spurt before it."""
    numbers, number, left_ms = [], 0, 0.0
    for size_ms in sizes_ms:
        if left_ms <= 0:
            number += 1
            left_ms += 1000 * (random.exponential(SPEECH_S) + random.exponential(PAUSE_S))
        left_ms -= size_ms
        numbers.append(number)
    return numbers


def with_duplicates(trace: Trace, seed: int, fraction: float, latest_ms: float) -> Trace:
    """Some packets arrive a second time, up to ``latest_ms`` later."""
    random = np.random.default_rng(seed)
    packets = [
        replace(packet, arrivals=(*packet.arrivals, packet.arrivals[0] + random.uniform(0, latest_ms) / 1000))
        if packet.arrivals and random.random() < fraction
        else packet
        for packet in trace.packets
    ]
    return replace(trace, packets=tuple(packets))


def with_new_ssrc(trace: Trace) -> Trace:
    """In the middle the sender begins a new stream: SSRC, sequence and timestamp are others."""
    middle = len(trace.packets) // 2
    packets = [
        replace(
            packet,
            ssrc=2,
            sequence_number=(packet.sequence_number + 31_000) & 0xFFFF,
            timestamp=(packet.timestamp + 0x9000_0000) & 0xFFFFFFFF,
        )
        for packet in trace.packets[middle:]
    ]
    return replace(trace, packets=(*trace.packets[:middle], *packets))


def with_timestamp_jump(trace: Trace, samples: int = 123_456_789) -> Trace:
    """In the middle the sender's clock is set: the timestamp jumps, the sequence goes on."""
    middle = len(trace.packets) // 2
    packets = [
        replace(packet, timestamp=(packet.timestamp + samples) & 0xFFFFFFFF)
        for packet in trace.packets[middle:]
    ]
    return replace(trace, packets=(*trace.packets[:middle], *packets))


def one_lost_of(count: int) -> Impairment:
    """Every ``count``-th packet is lost, alone."""

    def delays(random: np.random.Generator, total: int, ptime_ms: float) -> Delays:
        lost = np.zeros(total)
        lost[count - 1 :: count] = np.nan
        return lost

    return delays


def standard(seed: int, seconds: float = DEFAULT_SECONDS) -> list[Trace]:
    """The traces of ``sipua bench jitter``."""

    def plain(name: str, impairment: Impairment = constant, ptimes_ms: Sequence[int] = (20,)) -> Trace:
        return make(name, seed, impairment, seconds=seconds, ptimes_ms=ptimes_ms)

    def jitter(name: str, impairment: Impairment) -> Trace:
        return make(name, seed, impairment, seconds=seconds, has_jitter=True)

    def skewed(ppm: float) -> Trace:
        return make(f"skew {ppm:+.0f} ppm", seed, seconds=seconds, skew_ppm=ppm)

    return [
        plain("constant"),
        jitter("uniform ±5 ms", uniform(5)),
        jitter("uniform ±20 ms", uniform(20)),
        jitter("uniform ±50 ms", uniform(50)),
        jitter("gamma", gamma(2, 10)),
        jitter("gamma, queued", queued(gamma(2, 10))),
        jitter("spikes 100–300 ms", spikes(5, 100, 300)),
        jitter("strays 100–300 ms", strays(0.01, 100, 300)),
        jitter("reorder 1 %", strays(0.01, 25, 60)),
        jitter("uniform ±20 ms, loss 3 %", both(uniform(20), bursts(0.03))),
        jitter("gamma, loss 5 %", both(gamma(2, 10), bursts(0.05))),
        jitter("gamma, queued, loss 3 %", both(queued(gamma(2, 10)), bursts(0.03))),
        jitter("spikes, loss 3 %", both(spikes(5, 100, 300), bursts(0.03))),
        *(plain(f"loss {percent} %", bursts(percent / 100)) for percent in (1, 3, 5, 10)),
        plain("one lost of 60", one_lost_of(60)),
        with_duplicates(plain("duplicates"), seed, 0.05, 60),
        *(skewed(ppm) for ppm in (-300, -100, 100, 300)),
        with_new_ssrc(plain("SSRC change")),
        with_timestamp_jump(plain("timestamp jump")),
        *(plain(f"ptime {ptime} ms", ptimes_ms=(ptime,)) for ptime in (10, 30, 40, 60)),
        plain("ptime changes", ptimes_ms=(20, 60, 10, 30, 20)),
        make("wrap", seed, seconds=seconds, sequence_number=65_000, timestamp=2**32 - 80_000),
    ]


def read(path: Path) -> Trace:
    """The trace of a file (see above), one packet per 20 ms. Raises TraceError."""
    try:
        texts = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"trace {path}: {error}") from None
    entries = [_entry(path, number, text) for number, text in enumerate(texts, 1)]
    if not any(entries):
        raise TraceError(f"trace {path}: no packet arrives")
    firsts = np.array([entry[0] if entry else np.nan for entry in entries])
    trace = make(
        path.stem,
        0,
        lambda random, count, ptime_ms: firsts,
        seconds=len(entries) * 0.02,
        has_jitter=bool(np.nanmax(firsts) > np.nanmin(firsts)),
    )
    packets = tuple(
        replace(packet, arrivals=tuple(packet.sent_s + (BASE_DELAY_MS + delay) / 1000 for delay in entry))
        if len(entry) > 1
        else packet
        for packet, entry in zip(trace.packets, entries, strict=True)
    )
    return replace(trace, packets=packets)


def _entry(path: Path, number: int, text: str) -> list[float]:
    """Delays of the arrivals of one packet, in order."""
    if text == LOST:
        return []
    try:
        delays = sorted(float(part) for part in text.split(AGAIN))
    except ValueError:
        delays = [-1.0]
    if not all(0 <= delay_ms <= MAX_FILE_DELAY_MS for delay_ms in delays):
        raise TraceError(
            f"trace {path}: entry {number} is {text!r}; allowed: milliseconds from 0 to "
            f"{MAX_FILE_DELAY_MS:.0f}, several joined by {AGAIN}, or {LOST} for a lost packet"
        )
    return delays


def write(trace: Trace, path: Path) -> None:
    """A file that ``read`` takes: what happens to its packets, to the microsecond."""
    path.write_text(" ".join(_text(packet) for packet in trace.packets))


def _text(packet: TracePacket) -> str:
    delays = (max(0.0, (at - packet.sent_s) * 1000 - BASE_DELAY_MS) for at in packet.arrivals)
    return AGAIN.join(f"{delay_ms:.3f}" for delay_ms in delays) or LOST
