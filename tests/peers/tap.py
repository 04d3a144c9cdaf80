"""A wire tap between the agent and its voice service: TCP passes as it is, resets included, and every event is kept.

What the agent sends is held to the types of the OpenAI SDK as it passes, without a field that they do not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, get_args

import orjson
import pydantic
from openai.types.realtime.realtime_client_event import RealtimeClientEvent

Event = dict[str, Any]
MODELS: dict[str, type[pydantic.BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(RealtimeClientEvent)[0])
}
TEXT = 1  # opcode, RFC 6455 5.2


def faults_of(event: Event) -> list[str]:
    """What the SDK has against an event of a client."""
    model = MODELS.get(event.get("type", ""))
    if model is None:
        return [f"no client event {event.get('type')!r}"]
    try:
        return [f"{event['type']}: {path} is unknown" for path in _surplus(model.model_validate(event), "")]
    except pydantic.ValidationError as error:
        return [f"{event['type']}: {error}"]


def _surplus(value: object, path: str) -> list[str]:
    if isinstance(value, pydantic.BaseModel):
        found = [f"{path}.{key}" for key in value.model_extra or {}]
        return found + [
            each for key in value.model_fields_set for each in _surplus(getattr(value, key), f"{path}.{key}")
        ]
    return [each for part in value for each in _surplus(part, path)] if isinstance(value, list) else []


class Frames:
    """The text messages of one direction, as bytes come; what has not come whole waits."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._is_upgraded = False

    def push(self, data: bytes) -> list[Event]:
        self._bytes += data
        if not self._is_upgraded:
            head, end, _ = self._bytes.partition(b"\r\n\r\n")
            if not end:
                return []
            del self._bytes[: len(head) + 4]
            self._is_upgraded = True
        found = []
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            with contextlib.suppress(orjson.JSONDecodeError):  # what a fault makes
                found += [orjson.loads(payload)] if opcode == TEXT else []
        return found

    def _frame(self) -> tuple[int, bytes] | None:
        """RFC 6455 5.2; neither side fragments."""
        data = self._bytes
        if len(data) < 2:
            return None
        length, at = data[1] & 0x7F, 2
        if length >= 126:
            at = 4 if length == 126 else 10
            length = int.from_bytes(data[2:at], "big")
        mask = bytes(data[at : at + 4]) if data[1] & 0x80 else b""
        at += 4 if data[1] & 0x80 else 0
        if len(data) < at + length:
            return None
        payload = bytes(data[at : at + length])
        if mask:
            key = (mask * (length // 4 + 1))[:length]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
        opcode = data[0] & 0x0F
        del data[: at + length]
        return opcode, payload


@dataclass
class Session:
    """One connection. Of audio only the count is kept."""

    sent: list[Event] = field(default_factory=list)  # by the agent
    received: list[Event] = field(default_factory=list)
    appends: int = 0
    faults: list[str] = field(default_factory=list)

    def types(self) -> list[str]:
        """Of what the agent sent."""
        return [event["type"] for event in self.sent]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.received if event["type"] == kind]

    def _sent(self, event: Event) -> None:
        self.faults += faults_of(event)
        if event["type"] == "input_audio_buffer.append":
            self.appends += 1
        else:
            self.sent.append(event)


class Tap:
    """Listens on a port of its own, in a thread; ``sessions`` in the order of their connections."""

    def __init__(self, target: str = "") -> None:
        """``target`` is host:port of the voice service; another one may follow."""
        self.sessions: list[Session] = []
        self.base_url = ""
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._port: Future[int] = Future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="tap")

    def __enter__(self) -> Self:
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._port.result(10)}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if error is None:
            assert [fault for session in self.sessions for fault in session.faults] == []

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session()
        self.sessions.append(session)
        host, _, port = self.target.rpartition(":")
        try:
            back, forth = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError):
            writer.transport.abort()
            return
        for source, sink, take in ((reader, forth, session._sent), (back, writer, session.received.append)):
            task = asyncio.create_task(_carry(source, sink, take))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, take: Callable[[Event], None]
) -> None:
    """One direction to its end, however that comes."""
    frames = Frames()
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            for event in frames.push(data):
                take(event)
            await sink.drain()
    except OSError:
        sink.transport.abort()
    finally:
        sink.close()
