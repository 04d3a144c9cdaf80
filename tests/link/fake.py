"""Sessions of the client's core against the emulator's core over a link of memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import numpy as np
import orjson
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import TypeAdapter

from sipua.errors import RealtimeClosed, RealtimeError
from sipua.realtime import commands
from sipua.realtime.backend import Capabilities, VoiceSession
from sipua.realtime.config import SessionConfig
from sipua.realtime.counters import Counters
from sipua.realtime.emulator import core as emulator
from sipua.realtime.emulator.faults import parse_fault
from sipua.realtime.emulator.formats import Clip
from sipua.realtime.emulator.outputs import Abort, Close, Send
from sipua.realtime.emulator.script import Script
from sipua.realtime.events import AudioDelta, Event
from sipua.realtime.protocol import RealtimeProtocol
from tests.fleet.virtual import EPOCH

CLIENT_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)  # the judge of what we send
WORD_MS = 400  # of the emulator's speech, for each word of a line


def clips(script: Script) -> dict[Any, Clip]:
    """A tone as long as the words are many."""
    return {
        line: Clip(np.full(len(line.say.split()) * WORD_MS * 8, 1000, np.int16), 8000)
        for line in script.lines()
    }


class FakeSession:
    """``VoiceSession``: the protocol's core, whose bytes go straight to the emulator's core and back."""

    def __init__(self, backend: FakeBackend, config: SessionConfig, number: int) -> None:
        self.on_audio: Callable[[AudioDelta], None] | None = None
        self.sent: list[dict[str, Any]] = []
        self.is_open = False
        self._backend = backend
        self._core = RealtimeProtocol(config)
        self._loop = asyncio.get_running_loop()
        self._server = emulator.RealtimeSession(
            emulator.SessionSetup(
                model=config.model,
                script=backend.script,
                speech=backend.speech,
                unix_time=int(EPOCH.timestamp() + self._loop.time()),
                speed=4.0,
                session_cap_s=backend.cap_s,
                faults=[parse_fault(fault) for fault in backend.faults.get(number, ())],
                seed=number + 1,
                records=True,
            ),
            now=self._loop.time(),
        )
        self._events: asyncio.Queue[Event | RealtimeError | None] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        self._turn()
        self._send(*self._core.session_update())
        await asyncio.sleep(0.1)
        assert self._core.state.value == "ready", self._core.state
        self.is_open = True

    def tell(self, event: Event) -> None:
        """As if the service had sent it."""
        self._events.put_nowait(event)

    def break_off(self) -> None:
        """The network fails."""
        self._end(RealtimeClosed("connection lost without a close frame"))

    # the wire

    def _send(self, event_id: str, data: bytes) -> str:
        wire = orjson.loads(data)
        if wire["type"] != "input_audio_buffer.append":
            CLIENT_EVENT.validate_python(wire)
            self.sent.append(wire)
        now = self._loop.time()
        self._server.advance(now)
        self._server.receive(data, now)
        self._turn()
        return event_id

    def _turn(self) -> None:
        now = self._loop.time()
        self._server.advance(now)
        for output in self._server.outputs(now):
            match output:
                case Send(event):
                    self._deliver(orjson.dumps(event))
                case Close(code, reason):
                    self._end(
                        RealtimeClosed(f"closed by the service with {code} ({reason})", close_code=code)
                    )
                case Abort():
                    self.break_off()
        if self._timer is not None:
            self._timer.cancel()
        due = self._server.deadline()
        if due is not None and not self._server.closed:
            self._timer = self._loop.call_at(max(due, now), self._turn)

    def _deliver(self, data: bytes) -> None:
        for event in self._core.receive(data):
            if isinstance(event, AudioDelta) and self._events.empty():
                self._hear(event)
            else:
                self._events.put_nowait(event)

    def _hear(self, delta: AudioDelta) -> None:
        if self.on_audio is not None:
            self.on_audio(delta)

    def _end(self, error: RealtimeError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.is_open = False
        self._server.closed = True
        self._events.put_nowait(error)

    # VoiceSession

    @property
    def config(self) -> SessionConfig:
        return self._core.config

    @property
    def session_id(self) -> str:
        return self._core.session_id

    @property
    def echoed(self) -> Mapping[str, Any]:
        return self._core.echoed

    @property
    def counters(self) -> Counters:
        return self._core.counters

    @property
    def active_response_id(self) -> str | None:
        return self._core.active_response_id

    def heard(self) -> bytes:
        """What the service was told by the caller, as 16-bit samples."""
        return b"".join(samples.astype("<i2").tobytes() for samples in self._server.heard())

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The items as the service has them."""
        return [item.body for item in self._server.conversation]

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, RealtimeError):
                raise event
            if isinstance(event, AudioDelta):
                event = self._core.by_now(event)
            if isinstance(event, AudioDelta):
                self._hear(event)
            else:
                yield event

    async def close(self) -> None:
        if self.is_open:
            self._end(None)

    def _ready(self) -> RealtimeProtocol:
        if not self.is_open:
            raise RealtimeClosed("the session is not open")
        return self._core

    def append(self, audio: bytes) -> None:
        if self.is_open:
            self._send(*self._core.append(audio))

    def commit(self) -> str:
        return self._send(*self._ready().commit())

    def clear(self) -> str:
        return self._send(*self._ready().clear())

    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> str:
        return self._send(*self._ready().response_create(instructions, options=options))

    def response_cancel(self, response_id: str | None = None) -> str | None:
        sent = self._ready().response_cancel(response_id)
        return None if sent is None else self._send(*sent)

    def ignore_response(self, response_id: str) -> None:
        self._core.ignore_response(response_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> str:
        return self._send(*self._ready().truncate(item_id, content_index, audio_end_ms))

    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str:
        return self._send(*self._ready().item_create(item, previous_item_id))

    def item_delete(self, item_id: str) -> str:
        return self._send(*self._ready().item_delete(item_id))

    def function_call_output(self, call_id: str, output: str) -> str:
        return self.item_create(commands.function_output_item(call_id, output))

    def session_update(self, changes: Mapping[str, Any], *, required: bool = False) -> str:
        return self._send(*self._ready().session_update(changes, required=required))


class FakeBackend:
    """Opens a ``FakeSession`` each time; ``refusals`` by number of the try, ``faults`` by number of the session."""

    name = "fake"
    capabilities = Capabilities()

    def __init__(self, script: Script, *, cap_s: float = 3600.0) -> None:
        self.script = script
        self.speech = clips(script)
        self.cap_s = cap_s
        self.faults: dict[int, tuple[str, ...]] = {}
        self.refusals: dict[int, RealtimeError] = {}
        self.sessions: list[FakeSession] = []
        self.tries = 0

    async def open(
        self, config: SessionConfig, *, on_audio: Callable[[AudioDelta], None] | None = None
    ) -> VoiceSession:
        self.tries += 1
        if (refusal := self.refusals.get(self.tries)) is not None:
            raise refusal
        session = FakeSession(self, config, len(self.sessions))
        session.on_audio = on_audio
        await session.open()
        self.sessions.append(session)
        return session
