"""The adapter: a Starlette application on uvicorn that performs what the core says.

Does I/O and has the clock; every ``if`` about the protocol stands in the core. One reader task and one
writer per WebSocket; both end with the connection. Imports nothing of sipua but its errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from rtp.wav import WavWriter
from sipua.errors import LocalError

from . import session as configuration
from .calls import Calls, Hook, not_found
from .core import RealtimeSession, SessionSetup
from .faults import Fault, of_session
from .formats import Clip
from .outputs import Abort, Close, Output, Send, SendText
from .script import Line, Script, load_script
from .speech import load_speech
from .validate import RequestError, mapping
from .wire import Event

_MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # 15 MiB of audio as base64, and room to refuse more by an event
_SECRET_LIFETIME_S = 600
_SHUTDOWN_S = 2
_BACKLOG = 128  # connections waiting to be accepted
RECORDING_RATE = 8000
_MAX_BACKLOG = 1024  # events a client has not read before it is not read either


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """Settings of one emulator; ``api_key`` None accepts any non-empty Bearer.

    ``record`` is a folder for what the callers say, one WAV a session.
    """

    host: str = "127.0.0.1"
    port: int = 0
    script: Path | None = None
    faults: list[Fault] = field(default_factory=list)
    speed: float = 4.0
    session_cap_s: float = 3600.0
    api_key: str | None = None
    record: Path | None = None
    hook: Hook | None = None  # where webhooks go: then there are callers on request


async def serve_emulator(
    options: EmulatorOptions, *, ready: Callable[[str, int], None], stop: asyncio.Event
) -> None:
    """Serves until ``stop`` is set. ``ready`` is called once, when connections are accepted.

    Raises :class:`~sipua.errors.ConfigError` for a bad script and :class:`~sipua.errors.LocalError` for a
    port in use, both before ``ready``.
    """
    if options.record is not None and not options.record.is_dir():
        raise LocalError(f"--record {options.record}: no such folder")
    script = load_script(options.script)
    folder = options.script.parent if options.script else None
    speech = await asyncio.to_thread(load_speech, script, folder, str(options.script or "default.toml"))
    listener = _listen(options.host, options.port)
    try:
        emulator = _Emulator(options, script, speech)
        config = uvicorn.Config(
            emulator.application(),
            ws=_Protocol,
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        host, port = listener.getsockname()[:2]
        server = _Server(config, lambda: ready(host, port))
        watcher = asyncio.create_task(_stop_when(stop, server))
        try:
            await server.serve(sockets=[listener])
        finally:
            await emulator.close()
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise LocalError(f"emulator: cannot listen on {host}:{port}: {error}") from error


async def _stop_when(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers (the caller has them), and with a word when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


class _Protocol(WebSocketsSansIOProtocol):
    """Lets the application reach the TCP transport, which the ``drop`` fault breaks."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["state"]["transport"] = self.transport


class _Emulator:
    """Routes, keys and client secrets; one :class:`_Connection` per WebSocket."""

    def __init__(self, options: EmulatorOptions, script: Script, speech: dict[Line, Clip]) -> None:
        self._options = options
        self._script = script
        self._speech = speech
        self._secrets: dict[str, tuple[float, Event]] = {}
        self._connections = itertools.count(1)
        self._calls = Calls(
            self._setup_of, lambda request: self._authorised(request.headers), options.faults, options.hook
        )

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/realtime/client_secrets", self._client_secret, methods=["POST"]),
                *self._calls.routes(),
                WebSocketRoute("/v1/realtime", self._realtime),
            ]
        )

    async def close(self) -> None:
        await self._calls.close()

    def _authorised(self, headers: Headers) -> Event | None:
        """None if let in, else the error body; a client secret counts as a key until it expires."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")
        if not key:
            message = "Missing bearer or basic authentication in header"
        elif key.startswith("ek_"):
            if self._secret(key) is not None:
                return None
            message = "Incorrect or expired client secret provided."
        elif self._options.api_key is None or secrets.compare_digest(
            key.encode(), self._options.api_key.encode()
        ):
            return None
        else:
            message = "Incorrect API key provided."
        return {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}

    def _secret(self, key: str) -> Event | None:
        self._forget_expired()
        found = self._secrets.get(key)
        return found[1] if found else None

    def _forget_expired(self) -> None:
        now = time.time()
        self._secrets = {key: entry for key, entry in self._secrets.items() if entry[0] > now}

    async def _client_secret(self, request: Request) -> JSONResponse:
        refused = self._authorised(request.headers)
        if refused is not None:
            return JSONResponse({"error": refused}, 401)
        try:
            body = mapping(orjson.loads(await request.body() or b"{}"), "body")
            asked = mapping(body.get("session", {"type": "realtime"}), "session")
            model = _model(str(asked.get("model", "gpt-realtime")))
            lifetime_s = int(
                mapping(body.get("expires_after", {}), "expires_after").get("seconds", _SECRET_LIFETIME_S)
            )
            base = configuration.defaults("sess_" + secrets.token_hex(10), model, 0)
            session = configuration.updated(base, asked, voice_locked=False)
        except (orjson.JSONDecodeError, ValueError, TypeError) as error:
            return JSONResponse(
                {"error": RequestError("invalid_json", f"Invalid body: {error}").body(None)}, 400
            )
        except RequestError as refusal:
            return JSONResponse({"error": refusal.body(None)}, 400)
        self._forget_expired()
        value = "ek_" + secrets.token_hex(16)
        expires_at = int(time.time()) + max(10, min(7200, lifetime_s))
        self._secrets[value] = (expires_at, {**asked, "model": model})
        return JSONResponse({"value": value, "expires_at": expires_at, "session": session})

    async def _join(self, websocket: WebSocket, call_id: str) -> None:
        """The sideband of a call."""
        refused, call = self._authorised(websocket.headers), self._calls.joinable(call_id)
        if refused is not None:
            await _deny(websocket, 401, refused)
        elif call is None:
            await _deny(websocket, 404, not_found().body(None))
        else:
            await websocket.accept()
            await call.join(websocket)

    async def _realtime(self, websocket: WebSocket) -> None:
        if call_id := websocket.query_params.get("call_id"):
            await self._join(websocket, call_id)
            return
        number = next(self._connections)
        faults = of_session(self._options.faults, number)
        refused = self._authorised(websocket.headers)
        names = {fault.name for fault in faults}
        if "http_401" in names or refused is not None:
            invalid = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "param": None,
            }
            await _deny(websocket, 401, refused or {**invalid, "code": "invalid_api_key"})
            return
        if "http_500" in names:
            await _deny(
                websocket, 500, RequestError(None, "The server had an error.", kind="server_error").body(None)
            )
            return
        await websocket.accept()
        try:
            setup = self._setup(websocket, faults)
        except RequestError as refusal:
            with contextlib.suppress(WebSocketDisconnect):
                error = {
                    "type": "error",
                    "event_id": "event_" + secrets.token_hex(10),
                    "error": refusal.body(None),
                }
                await websocket.send_text(orjson.dumps(error).decode())
                await websocket.close(4000, f"{refusal.kind}.{refusal.code}")
            return
        slow = next((f.number / 1000.0 for f in faults if f.name == "slow_reader"), 0.0)
        with self._recorder(number) as record:
            await _Connection(websocket, setup, slow, record).run()

    def _recorder(self, number: int) -> contextlib.AbstractContextManager[WavWriter | None]:
        if self._options.record is None:
            return contextlib.nullcontext()
        return WavWriter(self._options.record / f"session-{number}.wav", RECORDING_RATE)

    def _setup(self, websocket: WebSocket, faults: list[Fault]) -> SessionSetup:
        if "realtime=v1" in websocket.headers.get("openai-beta", ""):
            raise RequestError(
                "beta_api_shape_disabled", "The Realtime Beta API is no longer supported. Use the GA API."
            )
        secret = self._secret(websocket.headers.get("authorization", "").partition(" ")[2].strip())
        model = websocket.query_params.get("model") or (secret or {}).get("model")
        if not model:
            raise RequestError("missing_model", "You must provide a model parameter.", "model")
        return self._setup_of(_model(model), secret, faults)

    def _setup_of(self, model: str, update: Event | None, faults: list[Fault]) -> SessionSetup:
        return SessionSetup(
            model=model,
            script=self._script,
            speech=self._speech,
            unix_time=int(time.time()),
            speed=self._options.speed,
            session_cap_s=self._options.session_cap_s,
            faults=faults,
            update=update,
            records=self._options.record is not None,
        )


def _model(model: str) -> str:
    if not configuration.known_model(model):
        raise RequestError(
            "model_not_found", f"The model `{model}` does not exist or you do not have access to it.", "model"
        )
    return model


async def _deny(websocket: WebSocket, status: int, error: Event) -> None:
    await websocket.send_denial_response(JSONResponse({"error": error}, status))


class _Connection:
    """Moves messages between one socket and one core until either ends."""

    def __init__(
        self, websocket: WebSocket, setup: SessionSetup, slow_reader_s: float, recorder: WavWriter | None
    ) -> None:
        self._websocket = websocket
        self._loop = asyncio.get_running_loop()
        self._core = RealtimeSession(setup, now=self._loop.time())
        self._slow_reader_s = slow_reader_s
        self._recorder = recorder
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._gone = False

    async def run(self) -> None:
        async with self._reading():
            with contextlib.suppress(WebSocketDisconnect):
                while not self._gone:
                    await self._turn()

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        reader = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(self) -> None:
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            now = self._loop.time()
            self._core.advance(now)
            self._core.receive(message.get("text") or message.get("bytes") or b"", now)
            self._core.advance(now)
            self._wake.set()
            for samples in self._core.heard():
                assert self._recorder is not None
                self._recorder.write(samples)
            await asyncio.sleep(self._slow_reader_s)
            while self._core.backlog > _MAX_BACKLOG:
                self._drained.clear()
                await self._drained.wait()
        self._gone = True
        self._wake.set()

    async def _turn(self) -> None:
        now = self._loop.time()
        self._wake.clear()
        self._core.advance(now)
        for output in self._core.outputs(now):
            await self._perform(output)
        self._drained.set()
        due = self._core.deadline()
        if due is None and self._core.closed:
            self._gone = True
        if self._gone:
            return
        delay_s = None if due is None else max(0.0, due - self._loop.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._wake.wait()

    async def _perform(self, output: Output) -> None:
        match output:
            case Send(event):
                await self._websocket.send_text(orjson.dumps(event).decode())
            case SendText(text):
                await self._websocket.send_text(text)
            case Close(code, reason):
                await self._websocket.close(code, reason)
            case Abort():
                transport: Any = self._websocket.scope["state"]["transport"]
                transport.abort()
                self._gone = True
