"""``sipua bench srtp``: what SRTP costs, as a ratio of plain RTP in the same run.

Two media legs on loopback send each other a packet per tick, through their sockets and this process's event loop: what
one call costs the media side of an agent, once on either end. The CPU time of a round is halved, so a figure is one
packet sent and one received. Plain RTP and the suites take turns, and each counts with its median round, so that a
machine that gets busy or warm does so for all of them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtp.codec import CODECS
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.ports import PortAllocator
from rtp.srtp import MASTER_BYTES, SUITES
from rtp.stream import RtpStream
from rtp.transport import MediaTransport
from sipua.bench.figures import machine, percentile
from sipua.bench.quiet import no_collection
from sipua.errors import LocalError, Stopped
from sipua.sip_events import SrtpKeys

ADDRESS = "127.0.0.1"
TICK_S = 0.020
ROUND_PACKETS = 200  # per leg: 4 s of a call
ROUND_TIMEOUT_S = 10.0
PLAIN = "plain"


async def run_srtp(rounds: int, stop: asyncio.Event) -> dict[str, Any]:
    """Measures; the document of ``sipua bench srtp --json``. LocalError if packets are lost."""
    facts = machine()
    calls = [_BenchCall(PLAIN), *(_BenchCall(suite) for suite in SUITES)]
    try:
        with no_collection():
            for number in range(rounds + 1):  # the first one fills caches
                for call in calls:
                    if stop.is_set():
                        raise Stopped("stopped")
                    cost = await call.round()
                    if number:
                        call.costs.append(cost)
    finally:
        for call in calls:
            call.close()
    medians = {call.name: percentile(call.costs, 50) for call in calls}
    return {
        "us_per_packet": {name: round(cost * 1e6, 2) for name, cost in medians.items()},
        "ratio": {name: round(cost / medians[PLAIN], 3) for name, cost in medians.items()},
        "percent_of_a_core_per_call": {name: round(cost / TICK_S * 100, 3) for name, cost in medians.items()},
        "packets": rounds * ROUND_PACKETS * 2,
        "machine": facts,
    }


@dataclass(frozen=True, slots=True)
class _Keys:
    one: SrtpKeys | None
    other: SrtpKeys | None

    @classmethod
    def of(cls, name: str) -> _Keys:
        if name == PLAIN:
            return cls(None, None)
        first, second = secrets.token_bytes(MASTER_BYTES), secrets.token_bytes(MASTER_BYTES)
        return cls(SrtpKeys(name, first, second), SrtpKeys(name, second, first))


class _BenchCall:
    """Two legs that talk to each other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.costs: list[float] = []  # CPU seconds per packet sent and received
        self._ticks = 0
        self._heard = 0
        self._changed = asyncio.Event()
        ports, keys = PortAllocator(0, 0), _Keys.of(name)
        pairs = [ports.open_pair(ADDRESS) for _ in range(2)]
        addresses: list[tuple[str, int]] = [sockets[0].getsockname() for sockets in pairs]
        self._legs = [
            MediaTransport(RtpStream(), sockets, self._on_events, release=ports.release) for sockets in pairs
        ]
        for leg, remote, key in zip(self._legs, reversed(addresses), (keys.one, keys.other), strict=True):
            leg.stream.configure(StreamConfig(CODECS["PCMU"], 0, None, remote, srtp=key))

    def _on_events(self, events: list[StreamEvent]) -> None:
        self._heard += sum(1 for event in events if isinstance(event, AudioFrame))
        self._changed.set()

    async def round(self) -> float:
        """The cost of a packet, out of so many."""
        begin = time.process_time()
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                for _ in range(ROUND_PACKETS):
                    self._ticks += 1
                    for leg in self._legs:
                        leg.tick(self._ticks * TICK_S)
                    while self._heard < 2 * self._ticks:
                        self._changed.clear()
                        await self._changed.wait()
        except TimeoutError:
            raise LocalError(
                f"{self.name}: {2 * self._ticks - self._heard} packets were lost on loopback"
            ) from None
        return (time.process_time() - begin) / (2 * ROUND_PACKETS)

    def close(self) -> None:
        for leg in self._legs:
            leg.close()


def rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, microseconds, ratio and share of a core, for people."""
    return [
        (
            name,
            f"{cost:.1f}",
            f"{document['ratio'][name]:.2f}",
            f"{document['percent_of_a_core_per_call'][name]:.2f}",
        )
        for name, cost in document["us_per_packet"].items()
    ]
