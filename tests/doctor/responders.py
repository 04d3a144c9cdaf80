"""Little SIP servers on loopback for what doctor asks: they answer OPTIONS as told, over UDP, TCP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from sipua.digest import parse_credentials, response_of
from sipua.sip_events import Credential
from sipua.sip_message import SipMessage, parse_message
from sipua.trunks.routing import Address
from tests.certificates import Identity

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Behaviour = Callable[[SipMessage], Sequence[bytes]]  # what to send back for a request


def response(asked: SipMessage, status: str, *headers: str, body: str = "", **changed: str) -> bytes:
    """A response to it (RFC 3261 section 8.2.6.2); ``changed`` replaces a header (``via``, ``cseq`` …)."""
    copied = {name: asked.header(name) or "" for name in ("via", "from", "to", "call-id", "cseq")} | changed
    lines = [f"SIP/2.0 {status}", *(f"{name}: {value}" for name, value in copied.items()), *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def answering(status: str, *headers: str, body: str = "") -> Behaviour:
    return lambda asked: [response(asked, status, *headers, body=body)]


def silent(_: SipMessage) -> Sequence[bytes]:
    return []


class Responder(asyncio.DatagramProtocol):
    """UDP. ``asked`` holds the requests, repetitions too."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.asked: list[SipMessage] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(parse_message(data.decode()))
        for each in self._behaviour(self.asked[-1]):
            self.transport.sendto(each, addr)


@asynccontextmanager
async def udp_responder(behaviour: Behaviour) -> AsyncIterator[tuple[Address, Responder]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Responder(behaviour), local_addr=("127.0.0.1", 0)
    )
    try:
        port = transport.get_extra_info("sockname")[1]
        yield Address("sip.example.test", "127.0.0.1", port, "udp"), protocol
    finally:
        transport.close()


@asynccontextmanager
async def stream_server(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port of 127.0.0.1, which it yields; gone, with its connections, on the way out."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await handler(reader, writer)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if tasks:
            async with asyncio.timeout(5):
                await asyncio.wait(tasks)


@asynccontextmanager
async def stream_responder(
    behaviour: Behaviour, identity: Identity | None = None, *, version: ssl.TLSVersion | None = None
) -> AsyncIterator[Address]:
    """TCP, or TLS with that certificate (of at most ``version``)."""
    context = None
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        if version is not None:
            context.maximum_version = version

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = parse_message((await reader.readuntil(b"\r\n\r\n")).decode())
        for each in behaviour(asked):
            writer.write(each)
        await reader.read()  # until the other side has gone

    async with stream_server(answer, context) as port:
        yield Address("sip.example.test", "127.0.0.1", port, "tcp" if identity is None else "tls")


class Registrar:
    """A behaviour: OPTIONS get 200, REGISTER digest (MD5) for one user. ``bindings`` is what it holds by contact."""

    def __init__(self, user: str, password: str, *, longest_s: int = 3600, shortest_s: int = 60) -> None:
        self._credential = Credential("test", user, password)
        self._longest_s, self._shortest_s = longest_s, shortest_s
        self.bindings: dict[str, int] = {}
        self.granted: list[int] = []

    def __call__(self, asked: SipMessage) -> Sequence[bytes]:
        if asked.start_line.startswith("OPTIONS "):
            return [response(asked, "200 OK")]
        given = parse_credentials(asked.header("authorization") or "")
        if not given or given["response"] != response_of("MD5", self._credential, "REGISTER", given):
            return [
                response(
                    asked,
                    "401 Unauthorized",
                    'WWW-Authenticate: Digest realm="test", nonce="abc", qop="auth"',
                )
            ]
        contact = (asked.header("contact") or "").partition(">")[0].lstrip("<")
        expires = int(asked.header("expires") or 0)
        if 0 < expires < self._shortest_s:
            return [response(asked, "423 Interval Too Brief", f"Min-Expires: {self._shortest_s}")]
        self.granted.append(min(expires, self._longest_s))
        self.bindings[contact] = self.granted[-1]
        listed = [
            f"Contact: <{each}>;expires={seconds}" for each, seconds in self.bindings.items() if seconds
        ]
        return [response(asked, "200 OK", *listed)]
