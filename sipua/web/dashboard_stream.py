"""Server-sent events: what changes on the board, to every page that looks on.

Changes are put together four times a second and encoded once, however many look on. A page that comes back names the
last frame that it has: it gets those that it missed while they are still here, else everything. A page that reads too
slowly is let go, not waited for: it comes back and gets everything. Nothing is asked of the database, and nothing is
measured, while nobody looks on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import orjson
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sipua.feed import Feed, Subscription
from sipua.ports import Clock
from sipua.web.dashboard_board import Board
from sipua.web.problem import Problem

log = logging.getLogger(__name__)

FLUSH_S = 0.25
HEARTBEAT_S = 10.0  # a comment: proxies close what is silent; and the session is looked at
WAITING_MAX = 40  # frames of one page: 10 s
KEPT_MAX = 240  # frames for who comes back: a minute
KEPT_BYTES = 4 << 20
OF_ONE_LOGIN = 8
RETRY_MS = 1000

Look = Callable[[], Awaitable[None]]  # puts something on the board


class Stream:
    """One page."""

    def __init__(self, key: str) -> None:
        self.key = key  # of its session
        self.why = ""  # why it has ended
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()

    def put(self, frame: bytes) -> None:
        if len(self._frames) >= WAITING_MAX:
            self.end("slow")
        elif not self.why:
            self._frames.append(frame)
            self._wake.set()

    def end(self, why: str) -> None:
        self.why = self.why or why
        self._frames.clear()
        self._wake.set()

    async def next(self) -> bytes | None:
        """All that waits, a comment if nothing has come for long, None at the end."""
        if not self.why:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            self._wake.clear()
        if self.why:
            return None
        waiting = b"".join(self._frames) or b":\n\n"
        self._frames.clear()
        return waiting


class Hub:
    """One per process. ``looks``: what is looked at while somebody looks on, and how often (seconds)."""

    def __init__(
        self,
        board: Board,
        feed: Feed,
        clock: Clock,
        up: Callable[[], Collection[str]],
        looks: Iterable[tuple[float, Look]],
        streams_max: int,
    ) -> None:
        self._board = board
        self._feed = feed
        self._clock = clock
        self._up = up
        self._looks = tuple(looks)
        self._most = streams_max
        self._streams: set[Stream] = set()
        self._is_closed = False
        self._somebody = asyncio.Event()
        self._subscription: Subscription | None = None
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            with self._feed.subscribe(eager=bool(self._streams)) as subscription:
                self._subscription = subscription
                group.create_task(self._beat(), name="dashboard-beat")
                for every_s, look in self._looks:
                    group.create_task(self._watch(every_s, look), name="dashboard-look")
                await self._hear(subscription)

    async def open(self, key: str, last_id: str) -> Stream:
        """A page of the session ``key``, which has the frame ``last_id``. Problem 503, 429."""
        if self._is_closed:
            raise Problem(503, "the agent is ending", reason="draining", headers={"Retry-After": "5"})
        if len(self._streams) >= self._most:
            raise Problem(
                503, f"{self._most} pages look on already", reason="streams", headers={"Retry-After": "10"}
            )
        if sum(each.key == key for each in self._streams) >= OF_ONE_LOGIN:
            raise Problem(
                429, f"{OF_ONE_LOGIN} pages of this login look on already", headers={"Retry-After": "10"}
            )
        self._flush()
        stream = Stream(key)
        missed = self._since(last_id)
        stream.put(b"retry: %d\n\n" % RETRY_MS + (self._snapshot() if missed is None else missed))
        self._streams.add(stream)
        self._looked_on(True)
        return stream

    def leave(self, stream: Stream) -> None:
        if stream not in self._streams:
            return
        self._streams.discard(stream)
        if not self._streams:
            self._looked_on(False)
            self._board.forget_others()
            # what happens from now on is not kept: who comes back gets everything
            self._epoch = secrets.token_hex(4)
            self._kept.clear()
            self._kept_bytes = 0

    def end_session(self, key: str) -> None:
        for each in [each for each in self._streams if each.key == key]:
            each.end("session")

    def close(self) -> None:
        """The process ends: nobody looks on any more."""
        self._is_closed = True
        for each in list(self._streams):
            each.end("draining")

    def _looked_on(self, somebody: bool) -> None:
        (self._somebody.set if somebody else self._somebody.clear)()
        if self._subscription is not None:
            self._subscription.eager = somebody

    # ---- what runs -------------------------------------------------------------------------------------------

    async def _hear(self, subscription: Subscription) -> None:
        async for entry in subscription:
            if entry["event"] == "dropped":
                self._board.keep(self._up())
            else:
                self._board.hear(entry, self._now())
            if not self._streams:
                self._board.forget_changes()

    async def _beat(self) -> None:
        while True:
            await self._somebody.wait()
            await asyncio.sleep(FLUSH_S)
            self._flush()

    async def _watch(self, every_s: float, look: Look) -> None:
        while True:
            await self._somebody.wait()
            try:
                await look()
            except Exception:  # a bug in one part: the page has the others
                log.exception("the dashboard cannot look at a part")
            await asyncio.sleep(every_s)

    def _flush(self) -> None:
        changes = self._board.changes()
        if changes is None:
            return
        self._number += 1
        frame = self._frame("changes", changes)
        for each in list(self._streams):
            each.put(frame)
        if not self._streams:
            return
        self._kept.append((self._number, frame))
        self._kept_bytes += len(frame)
        while len(self._kept) > KEPT_MAX or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft()[1])

    def _snapshot(self) -> bytes:
        return self._frame("snapshot", self._board.snapshot() | {"now": self._now()})

    def _frame(self, event: str, document: Mapping[str, Any]) -> bytes:
        id = f"{self._epoch}-{self._number}"
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), event.encode(), orjson.dumps(document))

    def _since(self, last_id: str) -> bytes | None:
        """The frames after that one; None: they are not all here."""
        epoch, _, number = last_id.partition("-")
        if epoch != self._epoch or not number.isdecimal() or len(number) > 18:
            return None
        has = int(number)
        if has > self._number or (has < self._number and (not self._kept or self._kept[0][0] > has + 1)):
            return None
        return b"".join(frame for nr, frame in self._kept if nr > has)

    def _now(self) -> str:
        return self._clock.now().wall.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def frames(hub: Hub, stream: Stream, is_good: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The body of the answer. ``is_good``: whether the session lasts."""
    try:
        while (frame := await stream.next()) is not None:
            if not is_good():
                stream.end("session")
                break
            yield frame
        yield b"event: bye\ndata: %s\n\n" % stream.why.encode()
    finally:
        hub.leave(stream)


class Events(StreamingResponse):
    """The answer to one page. It leaves the hub however it ends: a page that goes before the first frame is asked for
    ends no generator.
    """

    def __init__(
        self, hub: Hub, stream: Stream, is_good: Callable[[], bool], headers: Mapping[str, str]
    ) -> None:
        super().__init__(frames(hub, stream, is_good), media_type="text/event-stream", headers=dict(headers))
        self._hub = hub
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave(self._stream)
