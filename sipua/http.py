"""The HTTP server of ``serve``, around whatever application: sockets, connections, how long a client may take.

What it serves is ``sipua.web``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from sipua.errors import LocalError
from sipua.http_measure import App

HEAD_TIMEOUT_S = 5.0  # of any request
TAKE_TIMEOUT_S = 30.0  # for what waits to be taken, once it fills the socket
CONNECTIONS_MAX = 256  # the descriptors of the process are the calls'


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


def _impatient(head_timeout_s: float, take_timeout_s: float, connections_max: int) -> type[H11Protocol]:
    """uvicorn waits for ever for the head of a request and for an answer to be taken, from as many as there are
    descriptors.
    """

    class Impatient(H11Protocol):
        _patience: asyncio.TimerHandle | None = None
        _taking: asyncio.TimerHandle | None = None

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
            self._taken()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._taking = self.loop.call_later(take_timeout_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._taken()

        def _taken(self) -> None:
            if self._taking is not None:
                self._taking.cancel()
                self._taking = None

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
    app: App,
    sock: socket.socket,
    *,
    trusted_proxies: Sequence[str] = (),
    head_timeout_s: float = HEAD_TIMEOUT_S,
    take_timeout_s: float = TAKE_TIMEOUT_S,
    connections_max: int = CONNECTIONS_MAX,
) -> AsyncIterator[tuple[str, int]]:
    """Serves ``app`` on ``sock`` while the context lasts; yields its (address, port)."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False,
        proxy_headers=bool(trusted_proxies), forwarded_allow_ips=list(trusted_proxies),
        http=_impatient(head_timeout_s, take_timeout_s, connections_max),
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
