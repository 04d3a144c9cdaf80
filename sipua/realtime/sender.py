"""The sending half of a connection: straight into the socket while it takes data, a bounded queue when not.

Theory: waking a task for every 20 ms frame costs a turn of the event loop, which under load is the largest
part of the uplink's delay. ``broadcast`` is the library's only synchronous send, and it ignores
back-pressure; so it is used only while the socket's buffer is nearly empty, nothing waits in the outbox and
the send task is idle. Everything else goes through the outbox and the task, which waits for the peer. Order
is kept either way.
"""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from sipua.errors import RealtimeClosed
from sipua.realtime.connect import WRITE_LIMIT_BYTES
from sipua.realtime.counters import Counters
from sipua.realtime.outbox import Outbox


class Sender:
    """`append` and `control` are synchronous; `run` is the send task. Stopped by `stop`."""

    def __init__(
        self, ws: ClientConnection, counters: Counters, outbox: Outbox, *, host: str, timeout_s: float
    ) -> None:
        self._ws = ws
        self._counters = counters
        self._outbox = outbox
        self._host = host
        self._timeout_s = timeout_s
        self._is_sending = False
        self._is_stopped = False
        self._wake = asyncio.Event()

    def append(self, data: bytes) -> None:
        """Raises QueueFullError."""
        if not self._send_now(data, is_append=True):
            self._outbox.push_append(data)
            self._waits()

    def control(self, data: bytes) -> None:
        """Raises QueueFullError; a control event is never dropped."""
        if not self._send_now(data, is_append=False):
            self._outbox.push_control(data)
            self._waits()

    def _waits(self) -> None:
        self._counters.waiting = len(self._outbox)
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return; what still waits is dropped and counted. Idempotent."""
        self._is_stopped = True
        self._counters.appends_dropped += self._outbox.clear()
        self._counters.waiting = 0
        self._wake.set()

    async def run(self) -> None:
        """Send what `append` and `control` queued. Raises RealtimeClosed if the peer takes nothing."""
        try:
            while not self._is_stopped:
                self._wake.clear()
                while (entry := self._outbox.pop()) is not None:
                    self._counters.waiting = len(self._outbox)
                    await self._send(*entry)
                await self._wake.wait()
        except ConnectionClosed:
            return  # the receive task tells
        except TimeoutError as exc:
            raise RealtimeClosed(
                f"{self._host}: took no data for {self._timeout_s:g} s: connection given up"
            ) from exc

    async def _send(self, is_append: bool, data: bytes) -> None:
        self._is_sending = True
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ws.send(data, text=True)
        finally:
            self._is_sending = False
        self._count(data, is_append)

    def _send_now(self, data: bytes, *, is_append: bool) -> bool:
        ws = self._ws
        if self._is_sending or self._outbox or ws.state is not State.OPEN:
            return False
        if ws.transport.get_write_buffer_size() > WRITE_LIMIT_BYTES[0]:
            return False
        broadcast((ws,), data, text=True)
        self._count(data, is_append)
        return True

    def _count(self, data: bytes, is_append: bool) -> None:
        self._counters.bytes_sent += len(data)
        if is_append:
            self._counters.appends_sent += 1
        else:
            self._counters.controls_sent += 1
