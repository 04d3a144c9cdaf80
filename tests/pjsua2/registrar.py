"""A registrar and anything else that a trunk may be, on one UDP socket: digest by RFC 7616, answers by a list."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sipua.sip_message import SipMessage, parse_message

HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass
class Registrar(asyncio.DatagramProtocol):
    """``script`` is what successive authenticated requests get (code and headers); the last one for all that follow.

    Without ``algorithms`` nobody is asked who they are.
    """

    script: Sequence[tuple[int, tuple[str, ...]]] = ((200, ()),)
    algorithms: Sequence[str] = ()
    user: str = "impi@ims.test"
    realm: str = "ims.test"
    password: str = "geheim"
    nonce: str = "n"
    stale: int = 0  # so many right answers are refused because the nonce has become another one meanwhile
    is_silent: bool = False
    received: list[SipMessage] = field(default_factory=list)
    answers: asyncio.Queue[int] = field(default_factory=asyncio.Queue)  # codes that came to requests of ours
    answered: list[int] = field(default_factory=list)
    sources: list[tuple[str, int]] = field(default_factory=list)

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        message = parse_message(data.decode())
        if message.start_line.startswith("SIP/2.0"):
            self.answers.put_nowait(int(message.start_line.split()[1]))
            return
        self.received.append(message)
        self.sources.append(address)
        if not self.is_silent:
            self.transport.sendto(self._answer(message).encode(), address)

    def sent(self, method: str) -> list[SipMessage]:
        """The requests of that method that came, in order."""
        return [each for each in self.received if each.start_line.startswith(method + " ")]

    def request(self, method: str, headers: Sequence[str], body: str, to: tuple[str, int]) -> None:
        """One of ours, out of dialog."""
        lines = [
            f"{method} sip:sipua@{to[0]}:{to[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bK{to[1]}",
            "From: <sip:registrar@ims.test>;tag=r", "To: <sip:line1@ims.test>", f"Call-ID: {method}-{to[1]}@test",
            f"CSeq: 1 {method}", f"Contact: <sip:127.0.0.1:{self.port}>", *headers, f"Content-Length: {len(body)}",
        ]  # fmt: skip
        self.transport.sendto("\r\n".join([*lines, "", body]).encode(), to)

    def _answer(self, message: SipMessage) -> str:
        is_proven = not self.algorithms or self._is_proven(message)
        is_stale = is_proven and self.stale > 0
        if is_stale:
            self.stale, self.nonce = self.stale - 1, f"{self.nonce}n"
        asks = f'realm="{self.realm}", nonce="{self.nonce}", qop="auth"' + ", stale=true" * is_stale
        code, headers = (
            401,
            tuple(f"WWW-Authenticate: Digest {asks}, algorithm={each}" for each in self.algorithms),
        )
        if is_proven and not is_stale:
            done = len([each for each in self.answered if each != 401])
            code, headers = self.script[min(done, len(self.script) - 1)]
            if code == 200 and message.start_line.startswith("REGISTER"):
                headers = (
                    f"Contact: {message.header('contact')};expires={message.header('expires')}",
                    *headers,
                )
        self.answered.append(code)
        copied = [
            f"{name}: {value}"
            for name in ("Via", "From", "Call-ID", "CSeq")
            for value in message.headers[name.lower()]
        ]
        lines = [f"SIP/2.0 {code} Said", *copied, f"To: {message.header('to')};tag=t", *headers]
        return "\r\n".join([*lines, "Content-Length: 0", "", ""])

    def _is_proven(self, message: SipMessage) -> bool:
        """A digest of our user with our password (RFC 7616 section 3.4.1)."""
        header = message.header("authorization")
        if header is None:
            return False
        pairs = re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)
        values = {name: quoted or plain for name, quoted, plain in pairs}
        digest = HASHES[values.get("algorithm", "MD5")]

        def hashed(text: str) -> str:
            return digest(text.encode()).hexdigest()

        method = message.start_line.split()[0]
        secret = hashed(f"{self.user}:{self.realm}:{self.password}")
        about = hashed(f"{method}:{values['uri']}")
        parts = (secret, values["nonce"], values["nc"], values["cnonce"], values["qop"], about)
        return (values["username"], values["response"]) == (self.user, hashed(":".join(parts)))


async def started(make: Callable[[], Registrar], address: str = "127.0.0.1") -> Registrar:
    """Listening on any free port."""
    _, registrar = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=(address, 0))
    return registrar
