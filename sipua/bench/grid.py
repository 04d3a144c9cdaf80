"""The agent's 20 ms tick seen from outside: from when its packets arrived. No I/O, no clock.

Packet n leaves at phase + n · 20 ms, or later. The phase is taken from the packets around the moment in question, as a
low quantile of (arrival − n · 20 ms): what a tick is late by is the agent's own time and not part of the wait for it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from math import ceil, floor

TICK_S = 0.020
SAMPLES_PER_TICK = 160  # of the 8 kHz RTP clock
WINDOW_S = 0.5  # on either side: 50 packets, and a clock that is 100 ppm off moves 0.05 ms
LOW_QUANTILE = 0.1
MIN_PACKETS = 10
GOLDEN = 0.618033988749895  # its multiples fill a unit most evenly, however many there are
EARLY = 0.1  # of a tick: so much earlier than the phase a packet may be and still belong to it


class NoGridError(ValueError):
    """Too few packets around a moment to tell where the ticks are."""


class TickGrid:
    """Built from all packets of one RTP stream: arrival in seconds and RTP timestamp, in order of arrival."""

    def __init__(self, packets: Sequence[tuple[float, int]]) -> None:
        self._arrivals = [at for at, _ in packets]
        ticks = _unwrapped([timestamp for _, timestamp in packets])
        self._residuals = [at - n * TICK_S for at, n in zip(self._arrivals, ticks, strict=True)]

    def phase(self, at: float) -> float:
        """Any one tick's time around ``at``; the others are multiples of 20 ms away. NoGridError."""
        first = bisect_left(self._arrivals, at - WINDOW_S)
        last = bisect_right(self._arrivals, at + WINDOW_S)
        around = sorted(self._residuals[first:last])
        if len(around) < MIN_PACKETS:
            raise NoGridError(f"{len(around)} packets around, {MIN_PACKETS} are needed")
        return around[int(len(around) * LOW_QUANTILE)]

    def wait(self, sent: float, heard: float) -> float:
        """Seconds from ``sent`` to the next tick, for what was heard at ``heard``.

        A packet that left late carries what came between its tick and itself: then the tick was already over and
        there was nothing to wait for.
        """
        phase = self.phase(sent)
        following = ceil((sent - phase) / TICK_S)
        carrying = floor((heard - phase) / TICK_S + EARLY)
        return max(0.0, phase + min(following, carrying) * TICK_S - sent)


def even_phases(start: float) -> Iterator[float]:
    """Fractions of a tick from ``start`` (0–1, random) on that fill it evenly: the spread of what is measured is then
    the agent's and not that of a small sample."""
    while True:
        yield start
        start = (start + GOLDEN) % 1


def at_phase(earliest: float, fraction: float) -> float:
    """The first moment from ``earliest`` on that is ``fraction`` of a tick behind a multiple of 20 ms of the clock."""
    return (ceil(earliest / TICK_S - fraction) + fraction) * TICK_S


def _unwrapped(timestamps: Sequence[int]) -> list[int]:
    """32-bit RTP timestamps as a count of ticks since the first."""
    counts: list[int] = []
    samples, before = 0, timestamps[0] if timestamps else 0
    for timestamp in timestamps:
        step = (timestamp - before) & 0xFFFFFFFF
        samples += step - (1 << 32) if step >> 31 else step
        before = timestamp
        counts.append(round(samples / SAMPLES_PER_TICK))
    return counts
