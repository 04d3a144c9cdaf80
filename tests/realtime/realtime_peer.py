"""A voice service of the tests' own: a real websockets server on loopback, one script per connection."""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import SessionConfig

from .realtime_wire import CONFIG, created, updated

Script = Callable[["Peer", ServerConnection], Awaitable[None]]


@dataclass
class Peer:
    """What the server saw, and how to reach it."""

    port: int = 0
    received: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def backend(self, **options: Any) -> OpenAIBackend:
        return OpenAIBackend(f"http://127.0.0.1:{self.port}/v1", "sk-test", **options)

    def types(self) -> list[str]:
        return [event["type"] for event in self.received]

    async def expect(self, ws: ServerConnection, kind: str) -> dict[str, Any]:
        """Read until an event of this type comes."""
        while True:
            event: dict[str, Any] = orjson.loads(await ws.recv())
            self.received.append(event)
            if event["type"] == kind:
                return event

    async def greet(self, ws: ServerConnection, config: SessionConfig = CONFIG) -> None:
        """The opening as the service does it."""
        await ws.send(created(), text=True)
        await self.expect(ws, "session.update")
        await ws.send(updated(config), text=True)

    async def listen(self, ws: ServerConnection) -> None:
        """Read until the client leaves."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.received.append(orjson.loads(await ws.recv()))


@contextlib.asynccontextmanager
async def peer(
    script: Script, *, refuse: tuple[int, bytes, dict[str, str]] | None = None, **options: Any
) -> AsyncIterator[Peer]:
    """Serve ``script``; ``refuse`` answers the upgrade with (status, body, headers) instead."""
    state = Peer()

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        state.paths.append(request.path)
        state.headers = dict(request.headers.raw_items())
        if refuse is None:
            return None
        status, body, headers = refuse
        response = connection.respond(http.HTTPStatus(status), body.decode())
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def run(ws: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await script(state, ws)

    server: Server
    async with serve(
        run,
        "127.0.0.1",
        0,
        process_request=answer,
        compression=None,
        max_size=None,
        close_timeout=0.2,
        **options,
    ) as server:
        state.port = next(iter(server.sockets)).getsockname()[1]
        yield state


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what we wait for has no event of its own
            await asyncio.sleep(0.002)
