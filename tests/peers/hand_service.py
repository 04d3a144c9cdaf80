"""A voice service by hand: what it does in a call, as it should or not, is said by the caller's number.

It holds every event that the agent sends to the types of the OpenAI SDK.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
import pybase64
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from rtp.g711 import Pcm, encode_pcmu
from tests.peers.tap import Event, faults_of

CHUNK = 2000  # bytes of PCMU in one delta
PCMU = {"format": {"type": "audio/pcmu"}}


@dataclass
class Talk:
    """One session. ``send`` an event, ``until`` one of some type comes."""

    ws: ServerConnection
    sent: list[Event] = field(default_factory=list)  # by the agent
    faults: list[str] = field(default_factory=list)
    instructions: str = ""
    number: int = 1  # of this caller's sessions
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    async def send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self._ids)}", **fields}
        await self.ws.send(orjson.dumps(event).decode())

    async def until(self, kind: str) -> Event:
        while True:
            event: Event = orjson.loads(await self.ws.recv())
            self.faults += faults_of(event)
            if event["type"] != "input_audio_buffer.append":
                self.sent.append(event)
            if event["type"] == kind:
                return event

    async def open(self) -> None:
        """The opening as the service does it."""
        await self.send(
            "session.created", session={"id": f"sess_{id(self)}", "type": "realtime", "audio": {}}
        )
        asked = (await self.until("session.update"))["session"]
        audio = {side: asked.get("audio", {}).get(side, {}) | PCMU for side in ("input", "output")}
        await self.send("session.updated", session=asked | {"id": f"sess_{id(self)}", "audio": audio})
        self.instructions = asked["instructions"]

    async def item(self, item: str, role: str, previous: str | None = None) -> None:
        body = {"id": item, "type": "message", "role": role, "status": "in_progress", "content": []}
        await self.send("conversation.item.added", previous_item_id=previous, item=body)

    async def begin(self, response: str, item: str) -> None:
        await self.send("response.created", response={"id": response, "status": "in_progress"})
        body = {"id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        await self.send("response.output_item.added", response_id=response, output_index=0, item=body)
        await self.item(item, "assistant")

    async def sound(self, response: str, item: str, sound: Pcm) -> None:
        data = encode_pcmu(sound)
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        for at in range(0, len(data), CHUNK):
            delta = pybase64.b64encode(data[at : at + CHUNK]).decode()
            await self.send("response.output_audio.delta", **place, delta=delta)

    async def words(self, response: str, item: str, words: str) -> None:
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        await self.send("response.output_audio_transcript.done", **place, transcript=words)

    async def end(self, response: str, item: str, status: str = "completed") -> None:
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        await self.send("response.output_audio.done", **place)
        await self.send("response.done", response={"id": response, "status": status, "output": []})

    async def say(self, response: str, item: str, sound: Pcm, words: str) -> None:
        """An answer as it should be."""
        await self.begin(response, item)
        await self.sound(response, item, sound)
        await self.words(response, item, words)
        await self.end(response, item)

    async def heard(self, item: str, words: str, **more: Any) -> None:
        """The caller's words."""
        kind = "conversation.item.input_audio_transcription.completed"
        await self.send(kind, item_id=item, content_index=0, transcript=words, **more)

    async def call_tool(self, response: str, item: str, call: str, name: str, arguments: str) -> None:
        kind = "response.function_call_arguments.done"
        place = {"response_id": response, "item_id": item, "output_index": 0, "call_id": call}
        await self.send(kind, **place, name=name, arguments=arguments)

    async def call(self, name: str, number: int, arguments: str = "{}") -> None:
        """A response that calls a tool and says nothing."""
        response = f"tool{number}"
        await self.send("response.created", response={"id": response, "status": "in_progress"})
        await self.call_tool(response, f"f{number}", f"call{number}", name, arguments)
        await self.send("response.done", response={"id": response, "status": "completed", "output": []})

    async def use(self, number: int, name: str, arguments: Event) -> Event:
        """The same; its result, once the next response is wanted."""
        await self.call(name, number, orjson.dumps(arguments).decode())
        item = (await self.until("conversation.item.create"))["item"]
        await self.send("conversation.item.added", previous_item_id=None, item=item)
        await self.until("response.create")
        result: Event = orjson.loads(item["output"])
        return result

    def items(self) -> list[Event]:
        """That the agent has created."""
        return [event["item"] for event in self.sent if event["type"] == "conversation.item.create"]


Manner = Callable[[Talk], Awaitable[None]]


class HandService:
    """Listens on a port of its own, in a thread; ``talks`` has the latest by the caller's number."""

    def __init__(self, manners: Mapping[str, Manner]) -> None:
        self.talks: dict[str, Talk] = {}
        self.base_url = ""
        self._manners = manners
        self._port: Future[int] = Future()
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="voice service")

    def __enter__(self) -> Self:
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._port.result(10)}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with serve(self._talk, "127.0.0.1", 0, compression=None, close_timeout=0.2) as server:
            self._port.set_result(next(iter(server.sockets)).getsockname()[1])
            await self._stop.wait()

    async def _talk(self, ws: ServerConnection) -> None:
        talk = Talk(ws)
        try:
            await talk.open()
            caller = re.search(r"\+\d+", talk.instructions)
            assert caller is not None
            if (former := self.talks.get(caller[0])) is not None:
                talk.number = former.number + 1
            self.talks[caller[0]] = talk
            await talk.until("response.create")
            await self._manners[caller[0]](talk)
            while True:
                await talk.until("")
        except ConnectionClosed:
            pass
