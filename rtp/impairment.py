"""What a bad line does to the packets of one direction: it delays, loses, repeats them and lets them overtake.

A core without I/O and clock: ``push`` what was sent, ``due`` is what arrives by now, ``next_at`` when to ask again.
A trace (``rtp.traces``) says it of the n-th packet, and begins anew where it ends.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .traces import BASE_DELAY_MS, Trace

MAX_HELD = 10_000  # packets on the way: a stream of 50/s with the longest delay of a trace file has 3,000
RESOLUTION_DIGITS = 6  # microseconds: what a trace's sums are exact to

Fate = tuple[float, ...]  # seconds until each arrival; none: lost, two: it arrives twice


@dataclass(slots=True)
class Counts:
    """Of packets. ``reordered``: arrived after one that was sent later (first arrivals only)."""

    sent: int = 0
    arrived: int = 0  # with what arrived again
    lost: int = 0
    repeated: int = 0
    reordered: int = 0
    overflow: int = 0  # lost because too many were on the way


def fates_of(trace: Trace) -> tuple[Fate, ...]:
    """Of each packet; without the delay that a generated trace gives to all of them."""
    base_s = BASE_DELAY_MS / 1000
    return tuple(
        tuple(max(0.0, round(at - packet.sent_s - base_s, RESOLUTION_DIGITS)) for at in packet.arrivals)
        for packet in trace.packets
    )


class Impairment:
    """One direction of a line."""

    def __init__(self, fates: Sequence[Fate]) -> None:
        assert fates, "a trace has at least one packet"
        self.counts = Counts()
        self._fates = itertools.cycle(fates)
        self._held: list[tuple[float, int, int, bytes]] = []  # heap: when, number, which arrival, packet
        self._latest = 0  # number of the latest packet that has arrived

    def push(self, packet: bytes, now: float) -> None:
        """A packet was sent."""
        self.counts.sent += 1
        fate = next(self._fates)
        if not fate:
            self.counts.lost += 1
        elif len(self._held) + len(fate) > MAX_HELD:
            self.counts.overflow += 1
        else:
            for arrival, delay_s in enumerate(sorted(fate)):
                heapq.heappush(self._held, (now + delay_s, self.counts.sent, arrival, packet))

    def due(self, now: float) -> list[bytes]:
        """What has arrived by ``now``, in order."""
        arrived = []
        while self._held and self._held[0][0] <= now:
            _, number, arrival, packet = heapq.heappop(self._held)
            arrived.append(packet)
            self.counts.arrived += 1
            if arrival:
                self.counts.repeated += 1
            elif number < self._latest:
                self.counts.reordered += 1
            self._latest = max(self._latest, number)
        return arrived

    @property
    def next_at(self) -> float | None:
        """When the next packet arrives; None: nothing is on the way."""
        return self._held[0][0] if self._held else None
