"""The bench's own floor: the same hops without an agent between them, in the same process and the same run.

A slow floor is a busy machine; a fast floor with slow figures is a slow agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator

from sipua.bench.code import encode_frame
from sipua.bench.figures import spread
from sipua.realtime.connect import connect, say_goodbye
from sipua.realtime.endpoint import Endpoint

INTERVAL_S = (0.05, 0.15)  # between two probes, random: they must not keep step with the 20 ms
MESSAGE = "x" * 300  # about the size of an append
CONNECT_TIMEOUT_S = 5.0


class Floor:
    """One way each, in seconds: UDP on loopback, and the agent's own WebSocket client to our server."""

    def __init__(self) -> None:
        self.udp: list[float] = []
        self.websocket: list[float] = []

    def figures(self) -> dict[str, dict[str, float]]:
        """p50 and p95 of both, without what no probe has measured."""
        measured = {"udp": self.udp, "websocket": self.websocket}
        return {name: spread(values) for name, values in measured.items() if values}


@contextlib.asynccontextmanager
async def measured_floor(echo_url: str) -> AsyncIterator[Floor]:
    """Probes in the background while the context lasts."""
    floor = Floor()
    probing = asyncio.create_task(_probe(floor, echo_url), name="floor")
    try:
        yield floor
    finally:
        probing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probing


async def _probe(floor: Floor, echo_url: str) -> None:
    loop = asyncio.get_running_loop()
    with _udp_socket() as sender, _udp_socket() as receiver:
        arrivals: asyncio.Queue[float] = asyncio.Queue()

        def arrived() -> None:
            at = time.monotonic()
            receiver.recv(4096)
            arrivals.put_nowait(at)

        loop.add_reader(receiver.fileno(), arrived)
        ws = await connect(Endpoint(echo_url, "the bench"), CONNECT_TIMEOUT_S)
        try:
            while True:
                await asyncio.sleep(random.uniform(*INTERVAL_S))
                at = time.monotonic()
                sender.sendto(encode_frame(0, 0), receiver.getsockname())
                floor.udp.append(await arrivals.get() - at)
                at = time.monotonic()
                await ws.send(MESSAGE)
                floor.websocket.append(float(await ws.recv()) - at)
        finally:
            loop.remove_reader(receiver.fileno())
            await say_goodbye(ws)


def _udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock
