"""Carries packets from one end of the line to the other: reads, asks the impairment, writes, sleeps until the next."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rtp.impairment import Impairment
from sipua.line.capture import Capture
from sipua.line.ends import End

MTU = 65535
BATCH = 64  # packets read from one end before the other one has its turn
UDP = 17


@dataclass(slots=True)
class Way:
    """One direction. ``refused``: the kernel did not take a packet, as its end is going away."""

    source: End
    target: End
    impairment: Impairment | None  # None: everything passes at once
    captures: tuple[Capture | None, Capture | None] = (None, None)  # at the source, at the target
    refused: int = field(default=0, init=False)

    def read(self) -> None:
        """Takes what waits at the source."""
        for _ in range(BATCH):
            try:
                packet = os.read(self.source.tun, MTU)
            except BlockingIOError:
                return
            if self.captures[0] is not None:
                self.captures[0].add(packet)
            if self.impairment is not None and is_rtp(packet):
                self.impairment.push(packet, time.monotonic())
            else:
                self._write(packet)

    def deliver(self) -> float | None:
        """Hands over what is due; returns when the next packet is."""
        if self.impairment is None:
            return None
        for packet in self.impairment.due(time.monotonic()):
            self._write(packet)
        return self.impairment.next_at

    def _write(self, packet: bytes) -> None:
        try:
            os.write(self.target.tun, packet)
        except OSError:
            self.refused += 1
            return
        if self.captures[1] is not None:
            self.captures[1].add(packet)


def carry(ways: Sequence[Way], stop: int) -> None:
    """Until the descriptor ``stop`` becomes readable. select() waits to the microsecond, asyncio to the millisecond."""
    by_descriptor = {way.source.tun: way for way in ways}
    while True:
        due = [at for way in ways if (at := way.deliver()) is not None]
        wait_s = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select([*by_descriptor, stop], [], [], wait_s)
        if stop in readable:
            return
        for descriptor in readable:
            by_descriptor[descriptor].read()


def is_rtp(packet: bytes) -> bool:
    """An IP packet with a whole UDP datagram of version 2 that is no RTCP (RFC 5761 section 4)."""
    version = packet[0] >> 4 if len(packet) >= 20 else 0
    if version == 4:
        fragment = int.from_bytes(packet[6:8]) & 0x3FFF  # more fragments, or not the first
        start, is_udp = (packet[0] & 15) * 4 + 8, packet[9] == UDP and not fragment
    else:
        start, is_udp = 48, version == 6 and packet[6] == UDP
    return (
        is_udp
        and len(packet) >= start + 12
        and packet[start] >> 6 == 2
        and not 192 <= packet[start + 1] <= 223
    )
