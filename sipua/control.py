"""The control channel: a Unix socket (0600) in the state directory, one JSON request a line.

``{"command": "status"}`` is answered with one line; ``{"command": "watch"}`` streams the feed until the client goes
away. Commands that ask a running agent use ``ask``/``watch`` and say so when none runs. Handlers are given by the
composition root; this module knows no call logic.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from sipua.errors import LocalError, SipuaError
from sipua.feed import Feed, Subscription

SOCKET_NAME = "control.sock"
REQUEST_LIMIT = 64 * 1024  # bytes of one request line
ANSWER_LIMIT = 4 * 1024 * 1024  # bytes of one line back
SUN_PATH_LIMIT = 107  # sockaddr_un.sun_path less its NUL
CLIENT_LIMIT = 16

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class NoAgent(LocalError):
    """No ``serve`` runs in this state directory."""

    reason = "no_agent"


class ControlServer:
    """Serves the socket. ``handlers`` maps a command to its coroutine; ``watch`` is built in."""

    def __init__(self, path: Path, feed: Feed, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._feed = feed
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Binds the socket; a stale file is replaced, a living server is a LocalError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _address(self.path) as address:
                if self.path.exists() and await _is_alive(address):
                    raise LocalError(
                        f"another sipua serve uses {self.path.parent}: give this one a SIPUA_STATE_DIR of its own"
                    )
                self.path.unlink(missing_ok=True)
                mask = os.umask(0o177)
                try:
                    self._server = await asyncio.start_unix_server(self._serve, address, limit=REQUEST_LIMIT)
                finally:
                    os.umask(mask)
        except OSError as error:
            raise LocalError(
                f"the control socket {self.path} cannot be made: {error.strerror}; "
                "SIPUA_STATE_DIR (state_dir) names the folder"
            ) from None

    async def stop(self) -> None:
        """Closes the socket and every client."""
        if self._server is None:
            return
        self.path.unlink(missing_ok=True)  # while it is surely ours: a successor may bind the next moment
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > CLIENT_LIMIT:
                await _send(writer, {"error": f"more than {CLIENT_LIMIT} control clients"})
            else:
                await self._converse(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests until the client goes away."""
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                await _send(writer, {"error": f"request line over {REQUEST_LIMIT} bytes"})
                return
            if not line:
                return
            request = _request(line)
            if request is None:
                await _send(writer, {"error": 'a request is one JSON object a line with a "command"'})
            elif request["command"] == "watch":
                await self._watched(reader, writer)
                return
            else:
                await _send(writer, await self._answer(request))

    async def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        handler = self._handlers.get(request["command"])
        if handler is None:
            allowed = ", ".join([*self._handlers, "watch"])
            return {"error": f"unknown command {request['command']!r}; allowed: {allowed}"}
        try:
            return await handler(request)
        except SipuaError as error:
            return {"error": str(error), "reason": error.reason}

    async def _watched(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The feed, until the client goes away (or says anything more): also while nothing happens."""
        with self._feed.subscribe() as subscription:
            await _send(writer, {"watching": True})
            gone = asyncio.create_task(reader.read(1))
            feeding = asyncio.create_task(_forward(subscription, writer))
            try:
                await asyncio.wait({gone, feeding}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                feeding.cancel()
                await asyncio.gather(gone, feeding, return_exceptions=True)


def _request(line: bytes) -> dict[str, Any] | None:
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return request if isinstance(request, dict) and isinstance(request.get("command"), str) else None


async def _forward(subscription: Subscription, writer: asyncio.StreamWriter) -> None:
    async for entry in subscription:
        await _send(writer, entry)


async def ask(state_path: Path, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
    """One request to the running agent. LocalError when none runs in this state directory, or it does not answer."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(state_path)
            try:
                await _send(writer, request)
                line = await reader.readline()
            finally:
                writer.close()
    except (TimeoutError, ConnectionError):
        raise LocalError(f"the agent on {state_path / SOCKET_NAME} does not answer") from None
    if not line.endswith(b"\n"):
        raise LocalError(f"the agent on {state_path / SOCKET_NAME} ended the conversation")
    answer: dict[str, Any] = orjson.loads(line)
    return answer


async def watch(state_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The feed of the running agent, until it ends."""
    reader, writer = await _connect(state_path)
    try:
        await _send(writer, {"command": "watch"})
        while (line := await reader.readline()).endswith(b"\n"):
            yield orjson.loads(line)
    finally:
        writer.close()


async def _connect(state_path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    path = state_path / SOCKET_NAME
    try:
        with _address(path) as address:
            return await asyncio.open_unix_connection(address, limit=ANSWER_LIMIT)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise NoAgent(
            f"no agent is running: nothing answers on {path} (start one with `sipua serve`)"
        ) from None
    except OSError as error:
        raise LocalError(f"the control socket {path} cannot be used: {error.strerror}") from None


async def _is_alive(address: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(address)
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


async def _send(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    writer.write(orjson.dumps(dict(message), option=orjson.OPT_APPEND_NEWLINE))
    await writer.drain()


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, or the way through its folder's descriptor where it is too long for a Unix socket."""
    text = str(path)
    if len(os.fsencode(text)) <= SUN_PATH_LIMIT:
        yield text
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
