"""The control channel: a Unix socket (0600) in the state directory, one JSON request a line.

``{"command": "status"}`` is answered with one line; ``{"command": "watch"}`` streams the feed until the client goes
away. Commands that ask a running agent use ``ask``/``watch`` and say so when none runs. Handlers are given by the
composition root; this module knows no call logic.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from sipua.errors import LocalError
from sipua.feed import Feed

log = logging.getLogger(__name__)

SOCKET_NAME = "control.sock"
REQUEST_LIMIT = 64 * 1024  # bytes of one request line
SUN_PATH_LIMIT = 107  # sockaddr_un.sun_path less its NUL
CLIENT_LIMIT = 16

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        address = _short(self.path)
        if self.path.exists():
            if await _is_alive(address):
                raise LocalError(
                    f"another sipua serve uses {self.path.parent}: give this one a SIPUA_STATE_DIR of its own"
                )
            self.path.unlink()
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, address, limit=REQUEST_LIMIT)
        except OSError as error:
            raise LocalError(f"the control socket {self.path} cannot be made: {error.strerror}") from None
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        """Closes the socket and every client."""
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > CLIENT_LIMIT:
                await _send(writer, {"error": f"more than {CLIENT_LIMIT} control clients"})
                return
            while line := await reader.readline():
                await self._answer(line, writer)
        except ValueError:
            await _send(writer, {"error": f"request line over {REQUEST_LIMIT} bytes"})
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = orjson.loads(line)
            command = request["command"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            await _send(writer, {"error": 'a request is one JSON object a line with a "command"'})
            return
        if command == "watch":
            with self._feed.subscribe() as subscription:
                await _send(writer, {"watching": True})
                async for entry in subscription:
                    await _send(writer, entry)
            return
        handler = self._handlers.get(command)
        if handler is None:
            allowed = ", ".join([*self._handlers, "watch"])
            await _send(writer, {"error": f"unknown command {command!r}; allowed: {allowed}"})
            return
        await _send(writer, await handler(request))


async def ask(state_path: Path, request: Mapping[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
    """One request to the running agent. LocalError when none runs in this state directory."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await _connect(state_path)
        try:
            await _send(writer, request)
            answer: dict[str, Any] = orjson.loads(await reader.readline())
            return answer
        finally:
            writer.close()


async def watch(state_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The feed of the running agent, until it ends."""
    reader, writer = await _connect(state_path)
    try:
        await _send(writer, {"command": "watch"})
        while line := await reader.readline():
            yield orjson.loads(line)
    finally:
        writer.close()


async def _connect(state_path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    path = state_path / SOCKET_NAME
    try:
        return await asyncio.open_unix_connection(_short(path), limit=4 * 1024 * 1024)
    except (FileNotFoundError, ConnectionRefusedError):
        raise LocalError(
            f"no agent is running: nothing answers on {path} (start one with `sipua serve`)"
        ) from None


async def _is_alive(address: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(address)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


async def _send(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    writer.write(orjson.dumps(dict(message), option=orjson.OPT_APPEND_NEWLINE))
    await writer.drain()


def _short(path: Path) -> str:
    """The path, or a link to its folder in a short place when it is too long for a Unix socket."""
    text = str(path)
    if len(os.fsencode(text)) <= SUN_PATH_LIMIT:
        return text
    alias = (
        Path(tempfile.gettempdir())
        / f"sipua-{os.geteuid()}-{hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:12]}"
    )
    with contextlib.suppress(FileExistsError):
        alias.symlink_to(path.parent, target_is_directory=True)
    return str(alias / path.name)
