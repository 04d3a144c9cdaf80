"""The voice service of the benchmarks: says what it is told to, when it is told to, and writes down what it gets.

It speaks as much of the Realtime protocol as the agent needs, has no voice detection and answers nothing by itself;
the session's configuration is the emulator's. The recording is bounded by the length of the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import orjson
import pybase64
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sipua.bench.evaluate import Appended
from sipua.errors import LocalError
from sipua.http import bind_tcp
from sipua.realtime.emulator import session as configuration

CONNECT_TIMEOUT_S = 10.0
SESSION_LIFE_S = 3600
ECHO_PATH = "/echo"

Event = dict[str, Any]


class BenchSession:
    """One agent's session. ``appends`` are the raw messages with their arrival, decoded only afterwards."""

    def __init__(self, websocket: WebSocket) -> None:
        self.ready = asyncio.Event()  # the agent has been told its configuration
        self.controls: list[tuple[float, Event]] = []  # everything but appends
        self._appends: list[tuple[float, str]] = []
        self._websocket = websocket
        self._events = 0

    async def speak(self, item: int, audio: bytes) -> float:
        """A whole response with one item and one delta; time.monotonic() just before the delta's bytes left.

        The events before the delta leave in the same burst, as the service sends them.
        """
        before, delta, after = response(item, pybase64.b64encode(audio).decode())
        for event in before:
            await self.send(event)
        text = self._encoded(delta)
        at = time.monotonic()
        await self._put(text)
        for event in after:
            await self.send(event)
        return at

    async def send(self, event: Event) -> None:
        """One event; its event_id is added."""
        await self._put(self._encoded(event))

    def appended(self) -> list[Appended]:
        """All audio so far."""
        return [
            Appended(at, pybase64.b64decode(str(orjson.loads(text)["audio"]))) for at, text in self._appends
        ]

    async def serve(self, model: str) -> None:
        """Reads until the agent leaves."""
        session = configuration.defaults("sess_bench", model, int(time.time()) + SESSION_LIFE_S)
        await self.send({"type": "session.created", "session": session})
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                text = await self._websocket.receive_text()
                at = time.monotonic()
                if '"input_audio_buffer.append"' in text:
                    self._appends.append((at, text))
                    continue
                event = orjson.loads(text)
                self.controls.append((at, event))
                if event["type"] == "session.update":
                    session = configuration.updated(session, event["session"], voice_locked=False)
                    await self.send({"type": "session.updated", "session": session})
                    self.ready.set()

    async def _put(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except WebSocketDisconnect as error:
            raise LocalError(f"the agent left the voice session: close code {error.code}") from None

    def _encoded(self, event: Event) -> str:
        self._events += 1
        return orjson.dumps({"event_id": f"event_{self._events}", **event}).decode()


def response(item: int, audio: str) -> tuple[list[Event], Event, list[Event]]:
    """The events of one spoken response: before the delta, the delta, after it."""
    events = response_of(f"resp_{item}", {f"item_{item}": audio})
    at = next(i for i, event in enumerate(events) if event["type"] == "response.output_audio.delta")
    return events[:at], events[at], events[at + 1 :]


def response_of(response_id: str, items: Mapping[str, str]) -> list[Event]:
    """All events of a response whose items have this audio, in one delta each; the last is response.done."""
    said = {"id": response_id, "object": "realtime.response"}
    events: list[Event] = [
        {"type": "response.created", "response": {**said, "status": "in_progress", "output": []}}
    ]
    outputs: list[Event] = []
    for index, (item_id, audio) in enumerate(items.items()):
        output = {"response_id": response_id, "output_index": index}
        ids = {**output, "item_id": item_id, "content_index": 0}
        message = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
        begun = {**message, "status": "in_progress", "content": []}
        part = {"type": "audio", "transcript": ""}
        outputs.append({**message, "status": "completed", "content": [part]})
        events += [
            {"type": "response.output_item.added", **output, "item": begun},
            {"type": "conversation.item.added", "previous_item_id": None, "item": begun},
            {"type": "response.content_part.added", **ids, "part": part},
            {"type": "response.output_audio.delta", **ids, "delta": audio},
            {"type": "response.output_audio.done", **ids},
            {"type": "response.content_part.done", **ids, "part": part},
            {"type": "conversation.item.done", "previous_item_id": None, "item": outputs[-1]},
            {"type": "response.output_item.done", **output, "item": outputs[-1]},
        ]
    return [
        *events,
        {"type": "response.done", "response": {**said, "status": "completed", "output": outputs}},
    ]


class BenchService:
    """The server's address and the sessions that were opened."""

    def __init__(self) -> None:
        self.address = ("", 0)
        self._sessions: asyncio.Queue[BenchSession] = asyncio.Queue()  # one per call of the bench

    @property
    def base_url(self) -> str:
        """For OPENAI_BASE_URL."""
        return f"http://{self.address[0]}:{self.address[1]}/v1"

    @property
    def echo_url(self) -> str:
        """A WebSocket that answers every message with the time at which it arrived."""
        return f"ws://{self.address[0]}:{self.address[1]}{ECHO_PATH}"

    async def session(self) -> BenchSession:
        """The next session that an agent has opened and configured. LocalError if none comes."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                session = await self._sessions.get()
                await session.ready.wait()
                return session
        except TimeoutError:
            raise LocalError(f"the agent opened no voice session within {CONNECT_TIMEOUT_S:g} s") from None

    def application(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[WebSocketRoute("/v1/realtime", self._realtime), WebSocketRoute(ECHO_PATH, self._echo)]
        )

    async def _realtime(self, websocket: WebSocket) -> None:
        await websocket.accept()
        session = BenchSession(websocket)
        self._sessions.put_nowait(session)
        await session.serve(websocket.query_params["model"])

    async def _echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()
                await websocket.send_text(repr(time.monotonic()))


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has one place for signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def running_service() -> AsyncIterator[BenchService]:
    """Serves on a free loopback port while the context lasts."""
    service = BenchService()
    sock = bind_tcp("127.0.0.1", 0, "the benchmark's voice service")
    config = uvicorn.Config(
        service.application(),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="bench-service")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has a flag, no event
            await asyncio.sleep(0.005)
        if task.done():
            await task
            raise LocalError("the benchmark's voice service ended while starting")
        host, port = sock.getsockname()[:2]
        service.address = (host, port)
        yield service
    finally:
        server.should_exit = True
        await task
        sock.close()
