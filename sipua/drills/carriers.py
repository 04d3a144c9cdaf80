"""A responder on loopback sockets: SIP over UDP, TCP or TLS, and RTP that comes back to whoever sent it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Hashable
from typing import cast

from sipua.drills.certificates import CertificateFiles
from sipua.drills.responder import Reply, Responder
from sipua.drills.script import Script
from sipua.errors import LocalError

MESSAGE_BYTES = 65_536


class Echo(asyncio.DatagramProtocol):
    """Sends every RTP packet back while ``is_on``."""

    def __init__(self) -> None:
        self.is_on = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.is_on:
            self._transport.sendto(data, addr)


class Carrier:
    """One carrier: a name, an address of its own and what it does. ``start`` it, ``close`` it in the end."""

    def __init__(
        self,
        name: str,
        host: str,
        script: Script,
        *,
        transport: str = "udp",
        certificate: CertificateFiles | None = None,
        contact_host: str = "",
    ) -> None:
        self.name = name
        self.host = host
        self.port = 0
        self.transport = transport
        self.echo = Echo()
        self._script = script
        self._certificate = certificate
        self._contact_host = contact_host or host
        self._breaks_handshakes = False
        self._responder: Responder | None = None
        self._media: asyncio.DatagramTransport | None = None
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def responder(self) -> Responder:
        """What it has seen."""
        if self._responder is None:
            raise LocalError(f"the carrier {self.name} was not started")
        return self._responder

    @property
    def place(self) -> str:
        """host:port, as a trunk file names it."""
        return f"{self.host}:{self.port}"

    def becomes(self, script: Script) -> None:
        """From now on it does this."""
        self.responder.script = script

    async def start(self, port: int = 0) -> None:
        """Listens, on a free port if none is named."""
        loop = asyncio.get_running_loop()
        self.port = port
        media, _ = await loop.create_datagram_endpoint(lambda: self.echo, local_addr=(self.host, 0))
        self._media = media
        await self.appear()
        contact = f"{self._contact_host}:{self.port};transport={self.transport}"
        media_port: int = media.get_extra_info("sockname")[1]
        self._responder = Responder(self._script, contact, (self.host, media_port), random.Random())

    async def appear(self) -> None:
        """Takes its port, the same as before if it had one. Does nothing where it listens."""
        if self._datagrams is not None or self._server is not None:
            return
        loop = asyncio.get_running_loop()
        if self.transport == "udp":
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(self.host, self.port)
            )
            self.port = self._datagrams.get_extra_info("sockname")[1]
            return
        context = None if self._breaks_handshakes else self._tls()
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, ssl=context, limit=MESSAGE_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Gives its port back: what is sent there is refused (ICMP, RST), connections are lost."""
        for listener in (self._datagrams, self._server):
            if listener is not None:
                listener.close()
        self._datagrams = self._server = None
        for writer in self._connections:
            writer.transport.abort()
        self._connections.clear()
        await asyncio.sleep(0)  # the socket of a datagram transport is closed in the next round of the loop

    async def presents(self, certificate: CertificateFiles | None) -> None:
        """Another certificate, to whoever connects from now on; None: the ClientHello is answered with no TLS."""
        self._breaks_handshakes = certificate is None
        self._certificate = certificate or self._certificate
        await self.vanish()
        await self.appear()

    async def close(self) -> None:
        await self.vanish()
        if self._timer is not None:
            self._timer.cancel()
        if self._media is not None:
            self._media.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    # ---- messages ----------------------------------------------------------------------------------------

    def received(self, data: bytes, peer: Hashable) -> None:
        self._send(self.responder.receive(data.decode("utf-8", "replace"), peer, time.monotonic()))

    def _send(self, replies: list[Reply]) -> None:
        for reply in replies:
            if isinstance(reply.to, asyncio.StreamWriter):
                if not reply.to.transport.is_closing():
                    reply.to.write(reply.data)
            elif self._datagrams is not None:
                self._datagrams.sendto(reply.data, cast(tuple[str, int], reply.to))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self.responder.next_at
        if due is not None:
            delay_s = max(0.0, due - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._send(self.responder.tick(time.monotonic()))

    def _tls(self) -> ssl.SSLContext | None:
        if self.transport != "tls":
            return None
        if self._certificate is None:
            raise LocalError(f"the carrier {self.name} speaks TLS and has no certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate.certificate, self._certificate.key)
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        self._connections.add(writer)
        try:
            if self._breaks_handshakes:
                await reader.read(1)
                writer.write(b"SIP/2.0 400 Speak plainly\r\n\r\n")
                return
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _content_length(head)
                body = await reader.readexactly(length) if length else b""
                if head.strip():  # else a keep-alive (RFC 5626 section 4.4.1)
                    self.received(head.lstrip(b"\r\n") + body, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            return
        finally:
            self._connections.discard(writer)
            with contextlib.suppress(OSError):
                writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.strip():
            self._carrier.received(data, addr)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip() in (b"content-length", b"l") and value.strip().isdigit():
            return int(value)
    return 0
