"""The HTTP server of ``serve``: ``/healthz``, ``/readyz``, ``/metrics``, and ``/whatsapp`` where it is wanted.

``/healthz`` says that the process lives; ``/readyz`` asks each part (SIP thread, database) and names the one that is
not ready with 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from sipua.errors import LocalError
from sipua.metrics import CONTENT_TYPE, Metrics
from sipua.webhook import BODY_MAX_BYTES, NOT_SIGNED, WhatsAppWebhook
from sipua.whatsapp import is_signature

Check = Callable[[], Awaitable[str]]  # "" when ready, else why not
READY_TIMEOUT_S = 2.0
BODY_TIMEOUT_S = 10.0  # of a webhook
HEAD_TIMEOUT_S = 5.0  # of any request
CONNECTIONS_MAX = 256  # the descriptors of the process are the calls'
SMALL_BODY_BYTES = (
    64 << 10
)  # as nearly all webhooks are; larger ones are signed for in a thread (3 MB: 2 ms) …
BODIES_MAX = 2  # … and so many of them read at once, for this loop carries audio


def build_app(
    metrics: Metrics,
    checks: Mapping[str, Check],
    refresh: Callable[[], None],
    *,
    check_timeout_s: float = READY_TIMEOUT_S,
    whatsapp: WhatsAppWebhook | None = None,
) -> Starlette:
    """The routes. ``refresh`` copies counters that are kept elsewhere into ``metrics`` before a scrape."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    known = {name: _Part(check, check_timeout_s) for name, check in checks.items()}

    async def readyz(_: Request) -> Response:
        texts = await asyncio.gather(*(part.told() for part in known.values()))
        parts = dict(zip(known, texts, strict=True))
        ready = all(text == "ok" for text in parts.values())
        return JSONResponse(
            {"status": "ready" if ready else "not ready", "checks": parts}, 200 if ready else 503
        )

    async def scrape(_: Request) -> Response:
        refresh()
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", scrape)]
    return Starlette(routes=routes if whatsapp is None else [*routes, _route(whatsapp)])


def _route(webhook: WhatsAppWebhook) -> Route:
    room = asyncio.Semaphore(BODIES_MAX)

    async def whatsapp(request: Request) -> Response:
        if request.method != "POST":
            status, text = webhook.verified(request.query_params)
            return PlainTextResponse(text, status)
        signature = request.headers.get("X-Hub-Signature-256", "")
        if not is_signature(signature):
            return PlainTextResponse(NOT_SIGNED[1], NOT_SIGNED[0], headers={"Connection": "close"})
        length = _length(request)
        if length is not None and length <= SMALL_BODY_BYTES:
            return await received(request, signature)
        if room.locked():
            return PlainTextResponse("busy", 503, headers={"Retry-After": "5"})
        async with room:
            return await received(request, signature)

    async def received(request: Request, signature: str) -> Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(request, BODY_MAX_BYTES)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("not complete", 408)
        if body is None:
            return PlainTextResponse(f"more than {BODY_MAX_BYTES} bytes", 413)
        if len(body) > SMALL_BODY_BYTES:
            signed = await asyncio.to_thread(webhook.is_signed, body, signature)
        else:
            signed = webhook.is_signed(body, signature)
        status, text = webhook.told(body) if signed else NOT_SIGNED
        return PlainTextResponse(text, status)

    return Route("/whatsapp", whatsapp, methods=["GET", "POST"])


def _length(request: Request) -> int | None:
    """None where it is not told."""
    length = request.headers.get("Content-Length", "")
    return int(length[:20]) if length.isdecimal() else None


async def _body(request: Request, most: int) -> bytes | None:
    """None if it is longer."""
    if (_length(request) or 0) > most:
        return None
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            return None
        await asyncio.sleep(0)  # what has come already is given without a pause
    return bytes(found)


class _Part:
    """One check, running once at most however many ask. Its answer is not waited for longer than ``timeout_s``,
    whatever it does when it is cancelled: psycopg waits ten seconds for a server that hangs.
    """

    def __init__(self, check: Check, timeout_s: float) -> None:
        self._check = check
        self._timeout_s = timeout_s
        self._task: asyncio.Future[str] | None = None

    async def told(self) -> str:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._check())
        task = self._task
        await asyncio.wait((task,), timeout=self._timeout_s)
        if task.done() and not task.cancelled():
            return task.result() or "ok"
        task.cancel()
        return f"no answer within {self._timeout_s:g} s"


def bind_tcp(host: str, port: int, what: str) -> socket.socket:
    """A listening-ready TCP socket, or a LocalError that names address and purpose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise LocalError(f"{what} cannot listen on tcp {host}:{port}: {error.strerror}") from None
    sock.set_inheritable(False)
    return sock


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has one place for signals."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # as uvicorn declares it
        yield


def _impatient(head_timeout_s: float, connections_max: int) -> type[H11Protocol]:
    """uvicorn waits for ever for the head of a request, from as many as there are descriptors."""

    class Impatient(H11Protocol):
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as above it
            super().connection_made(transport)
            if len(self.connections) > connections_max:
                transport.abort()
            self._look()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._calm()

        def _look(self) -> None:
            cycle: RequestResponseCycle | None = self.cycle
            if cycle is not None and not cycle.response_complete:
                self._calm()
            elif self._patience is None:
                self._patience = self.loop.call_later(head_timeout_s, self.timeout_keep_alive_handler)

        def _calm(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    return Impatient


@asynccontextmanager
async def running(
    app: Starlette,
    sock: socket.socket,
    *,
    head_timeout_s: float = HEAD_TIMEOUT_S,
    connections_max: int = CONNECTIONS_MAX,
) -> AsyncIterator[tuple[str, int]]:
    """Serves ``app`` on ``sock`` while the context lasts; yields its (address, port)."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False,
        http=_impatient(head_timeout_s, connections_max),
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has a flag, no event
            await asyncio.sleep(0.005)
        if task.done():
            await task
            raise LocalError("the HTTP server ended while starting")
        host, port = sock.getsockname()[:2]
        yield host, port
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
