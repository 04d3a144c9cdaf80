"""Calls that the service terminates itself: requests about them, their sidebands, and callers on request.

A caller is made by ``POST /emulator/calls`` and driven below it (say, key, hang up, lose the sideband); none of that is
in the service's interface. Requests about calls and their errors are derived from the specification, not observed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pybase64
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.websockets import WebSocket, WebSocketDisconnect

from sipua.errors import LocalError

from . import session as configuration
from .core import RealtimeSession, SessionSetup
from .faults import Fault, of_session
from .formats import Clip, encode
from .outputs import Close, Send
from .schema import unknown_language
from .speech import read_packaged
from .telephone import Line
from .validate import RequestError, mapping
from .webhooks import deliver, encoded, headers_of, incoming
from .wire import Event

FORMAT: Event = {"type": "audio/pcmu"}
FRAME_MS = 20
TAIL_MS = 900  # of silence behind an utterance: longer than any silence_duration_ms of ours
QUESTION = "question_en.wav"
LEAVES_S = 0.2  # after a REFER, for the person
CALLS_MAX = 1000  # remembered

Setup = Callable[[str, Event, list[Fault]], SessionSetup]  # model, what was accepted, faults


@dataclass(frozen=True, slots=True)
class Hook:
    """Where webhooks go."""

    url: str
    key: bytes


class Call:
    """One caller: ringing, up, over or rejected."""

    def __init__(self, number: int, faults: list[Fault], stays: bool) -> None:
        self.id = "rtc_u0_" + secrets.token_hex(10)
        self.number = number
        self.faults = faults
        self.stays = stays  # a REFER leads nowhere
        self.state = "ringing"
        self.story: dict[str, Any] = {}
        self.errors = next((int(each.number) for each in faults if each.name == "call_error"), 0)
        self.drops = next((int(each.number) for each in faults if each.name == "sideband_drop"), 0)
        self._core: RealtimeSession | None = None
        self._line: Line
        self._speed = 1.0
        self._sideband: WebSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._says: asyncio.Queue[bytes] = asyncio.Queue()

    def told(self) -> Event:
        return {"call_id": self.id, "state": self.state, **self.story}

    def has(self, name: str) -> bool:
        return any(each.name == name for each in self.faults)

    # the service's side

    def accept(self, setup: SessionSetup, accepted: Event) -> None:
        """RequestError, and it rings on, if what is asked cannot be."""
        loop = asyncio.get_running_loop()
        self._core = RealtimeSession(setup, now=loop.time())
        self.state, self._speed = "up", setup.speed
        self.story["accepted"] = accepted
        self._core.advance(loop.time())
        self._core.outputs(loop.time())  # session.created: nobody listens yet
        self._line = Line(self._core.ids, FORMAT, setup.speed)
        self._task = asyncio.create_task(self._run(), name=f"emulated {self.id}")

    async def over(self, state: str = "over", code: int = 1000) -> None:
        self.state = state
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        sideband, self._sideband = self._sideband, None
        if sideband is not None:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await sideband.close(code, "")

    async def join(self, websocket: WebSocket) -> None:
        """Until either side ends it; the latest counts."""
        assert self._core is not None
        self.story["joined"] = self.story.get("joined", 0) + 1
        self._sideband = websocket
        created = {
            "type": "session.created",
            "event_id": self._core.ids.new("event"),
            "session": self._core.session,
        }
        await self._tell(created)
        with contextlib.suppress(WebSocketDisconnect):
            while (message := await websocket.receive())["type"] == "websocket.receive":
                now = asyncio.get_running_loop().time()
                self._core.advance(now)
                self._core.receive(message.get("text") or message.get("bytes") or b"", now)
                self._wake.set()
        if self._sideband is websocket:
            self._sideband = None

    def drop(self) -> None:
        """The sideband's connection breaks, without a word."""
        sideband, self._sideband = self._sideband, None
        if sideband is not None:
            transport: Any = sideband.scope["state"]["transport"]
            transport.abort()

    # the caller's side

    def say(self, clip: Clip) -> None:
        spoken = encode(clip, FORMAT) + b"\xff" * (8 * TAIL_MS)
        self._says.put_nowait(spoken)
        self._wake.set()

    async def press(self, key: str) -> None:
        """Without an event_id: so the SDK has it."""
        await self._tell(
            {
                "type": "input_audio_buffer.dtmf_event_received",
                "event": key,
                "received_at": int(time.time()),
            }
        )

    async def _run(self) -> None:
        """The session and the line, until the call is over."""
        core, loop = self._core, asyncio.get_running_loop()
        assert core is not None
        speaking = asyncio.create_task(self._speak(core))
        try:
            while self.state == "up":
                now = loop.time()
                core.advance(now)
                for event in self._line.advance(now):
                    await self._tell(event)
                for output in core.outputs(now):
                    if isinstance(output, Send):
                        for event in self._line.sent(output.event, now, interrupts=core.interrupts):
                            await self._tell(event)
                    elif isinstance(output, Close):
                        await self.over(code=output.code)
                        return
                self._wake.clear()
                dues = [due for due in (core.deadline(), self._line.due()) if due is not None]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(dues) - loop.time()) if dues else None):
                        await self._wake.wait()
        finally:
            speaking.cancel()

    async def _speak(self, core: RealtimeSession) -> None:
        size = 8 * FRAME_MS
        while True:
            said = await self._says.get()
            for at in range(0, len(said), size):
                now = asyncio.get_running_loop().time()
                frame = pybase64.b64encode(said[at : at + size]).decode()
                core.advance(now)
                core.receive(orjson.dumps({"type": "input_audio_buffer.append", "audio": frame}), now)
                self._wake.set()
                await asyncio.sleep(FRAME_MS / 1000 / self._speed)

    async def _tell(self, event: Event) -> None:
        sideband = self._sideband
        if sideband is None:
            return  # nobody listens, and nobody is told later
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await sideband.send_text(orjson.dumps(event).decode())
        if self.drops:
            self.drops -= 1
            if not self.drops:
                self.drop()


class Calls:
    """All of them; ``routes`` for the application, ``join`` for a WebSocket with ``call_id``."""

    def __init__(
        self,
        setup: Setup,
        refused: Callable[[Request], Event | None],
        faults: list[Fault],
        hook: Hook | None,
    ) -> None:
        self._setup = setup
        self._refused = refused
        self._faults = faults
        self._hook = hook
        self._calls: dict[str, Call] = {}
        self._numbers = itertools.count(1)
        self._leaving: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        asked = [
            Route(f"/v1/realtime/calls/{{call_id}}/{name}", self._asked(work), methods=["POST"])
            for name, work in (
                ("accept", self._accept),
                ("reject", self._reject),
                ("refer", self._refer),
                ("hangup", self._hang_up),
            )
        ]
        driven = [
            Route("/emulator/calls", self._dial, methods=["POST"]),
            Route("/emulator/calls/{call_id}", self._look, methods=["GET"]),
            Route("/emulator/calls/{call_id}/{deed}", self._drive, methods=["POST"]),
        ]
        return asked + (driven if self._hook is not None else [])

    def joinable(self, call_id: str) -> Call | None:
        call = self._calls.get(call_id)
        return call if call is not None and call.state == "up" else None

    async def close(self) -> None:
        for call in self._calls.values():
            await call.over()

    # requests of the interface

    def _asked(self, work: Callable[[Call, Event], Any]) -> Callable[[Request], Any]:
        async def route(request: Request) -> Response:
            refused = self._refused(request)
            if refused is not None:
                return JSONResponse({"error": refused}, 401)
            call = self._calls.get(request.path_params["call_id"])
            if call is None or call.state in ("over", "rejected", "left") or call.has("call_gone"):
                return JSONResponse({"error": not_found().body(None)}, 404)
            if call.errors:
                call.errors -= 1
                error = RequestError(None, "The server had an error.", kind="server_error")
                return JSONResponse({"error": error.body(None)}, 500)
            try:
                body = mapping(orjson.loads(await request.body() or b"{}"), "body")
                await work(call, body)
            except orjson.JSONDecodeError as error:
                refusal = RequestError("invalid_json", f"Invalid body: {error}")
                return JSONResponse({"error": refusal.body(None)}, 400)
            except RequestError as refusal:
                return JSONResponse({"error": refusal.body(None)}, 400)
            return Response(status_code=200)

        return route

    async def _accept(self, call: Call, body: Event) -> None:
        _must_be(call, "ringing")
        if body.get("type") != "realtime":
            raise RequestError("missing_required_parameter", "Missing required parameter: 'type'.", "type")
        model = body.get("model")
        if not isinstance(model, str) or not configuration.known_model(model):
            raise RequestError("model_not_found", f"The model `{model}` does not exist.", "model")
        audio = mapping(body.get("audio", {}), "audio")
        heard, said = (mapping(audio.get(way, {}), f"audio.{way}") for way in ("input", "output"))
        refused = next((each.word for each in call.faults if each.name == "refuse_language"), None)
        if refused is not None and (heard.get("transcription") or {}).get("language") == refused:
            raise unknown_language(refused, "audio.input.transcription.language")
        agreed = {"input": {**heard, "format": FORMAT}, "output": {**said, "format": FORMAT}}
        call.accept(self._setup(model, {**body, "audio": agreed}, call.faults), body)

    async def _reject(self, call: Call, body: Event) -> None:
        _must_be(call, "ringing")
        code = body.get("status_code", 603)
        if not isinstance(code, int) or not 400 <= code <= 699:
            raise RequestError("invalid_value", "Invalid 'status_code': 400 to 699.", "status_code")
        call.story["status_code"] = code
        await call.over("rejected")

    async def _refer(self, call: Call, body: Event) -> None:
        _must_be(call, "up")
        target = body.get("target_uri")
        if not isinstance(target, str) or not target.startswith(("tel:", "sip:", "sips:")):
            raise RequestError("invalid_value", "Invalid 'target_uri': a tel: or sip: URI.", "target_uri")
        call.story["referred_to"] = target
        if not call.stays:
            self._start(self._leave(call))

    async def _leave(self, call: Call) -> None:
        await asyncio.sleep(LEAVES_S)
        await call.over("left")

    async def _hang_up(self, call: Call, body: Event) -> None:
        _must_be(call, "up")
        call.story["hung_up"] = "by us"
        await call.over()

    # callers on request

    async def _dial(self, request: Request) -> Response:
        assert self._hook is not None
        asked = orjson.loads(await request.body() or b"{}")
        number = next(self._numbers)
        call = Call(number, of_session(self._faults, number), bool(asked.get("stays")))
        if len(self._calls) >= CALLS_MAX:
            await self._calls.pop(next(iter(self._calls))).over()
        self._calls[call.id] = call
        headers: Mapping[str, str] = asked.get("headers") or {
            "From": f"<sip:{asked.get('from', 'anonymous')}@carrier.example.org>;tag={secrets.token_hex(4)}",
            "To": f"<sip:{asked.get('to', 'proj_emulated')}@sip.api.openai.com>",
            "Call-ID": secrets.token_hex(12),
        }
        now = int(time.time())
        event = incoming("evt_" + secrets.token_hex(12), call.id, headers, now)
        webhook_id = "wh_" + secrets.token_hex(12)
        body, answers = encoded(event), []
        signed = headers_of(self._hook.key, webhook_id, now, body)
        try:
            for _ in range(int(asked.get("deliveries", 1))):
                answers.append(await asyncio.to_thread(deliver, self._hook.url, signed, body))
        except LocalError as error:
            return JSONResponse({"error": str(error), **call.told()}, 502)
        return JSONResponse({**call.told(), "webhook_id": webhook_id, "answers": answers}, 201)

    async def _look(self, request: Request) -> Response:
        call = self._calls.get(request.path_params["call_id"])
        return JSONResponse(call.told()) if call is not None else JSONResponse({}, 404)

    async def _drive(self, request: Request) -> Response:
        call, deed = self._calls.get(request.path_params["call_id"]), request.path_params["deed"]
        if call is None or (call.state != "up" and deed != "hangup"):
            return JSONResponse({} if call is None else call.told(), 404)
        match deed:
            case "say":
                call.say(read_packaged(request.query_params.get("audio", QUESTION)))
            case "key":
                await call.press(request.query_params.get("key", "1"))
            case "drop":
                call.drop()
            case "hangup":
                await call.over()
            case _:
                return JSONResponse({"deeds": ["say", "key", "drop", "hangup"]}, 404)
        return JSONResponse(call.told())

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def not_found() -> RequestError:
    return RequestError("call_id_not_found", "No session found for the provided call_id", "call_id")


def _must_be(call: Call, state: str) -> None:
    if call.state != state:
        raise RequestError("invalid_request", f"The call is {call.state}, not {state}.", "call_id")
