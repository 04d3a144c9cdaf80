"""A telephone by hand: SIP over TLS, SDES and SRTP as ``tests.rfc3711`` has it, for what no decent phone would send.

It shares no code with the agent. Everything happens in the test's own thread, one step after the other.
"""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from tests.rfc3711 import Direction

FRAME = 160
SSRC = 0x1234
TIMEOUT_S = 10.0


def crypto(tag: int, suite: str, key: bytes, more: str = "") -> str:
    """An ``a=crypto`` line."""
    return f"a=crypto:{tag} {suite} inline:{base64.b64encode(key).decode()}{more}"


@dataclass(frozen=True, slots=True)
class Line:
    """One ``a=crypto`` line of the agent's."""

    tag: int
    suite: str
    key: bytes


@dataclass(slots=True)
class Message:
    text: str

    @property
    def status(self) -> int:
        return int(self.text.split(" ")[1])

    @property
    def body(self) -> str:
        return self.text.partition("\r\n\r\n")[2]

    @property
    def profile(self) -> str:
        match = re.search(r"^m=audio [1-9]\d* (\S+)", self.body, re.M)
        assert match is not None, self.body
        return match[1]

    @property
    def lines(self) -> list[Line]:
        found = re.findall(r"a=crypto:(\d+) (\S+) inline:(\S+)", self.body)
        return [Line(int(tag), suite, base64.b64decode(key)) for tag, suite, key in found]

    def header(self, name: str) -> str:
        match = re.search(rf"^{name}: *(.*?)\r$", self.text, re.M | re.I)
        assert match is not None, self.text
        return match[1]


@dataclass(slots=True)
class Heard:
    """RTP of the agent's that could be unprotected, and how many datagrams could not."""

    payloads: list[bytes] = field(default_factory=list)
    refused: int = 0


class SecurePhone:
    """One dialog with the agent at ``port``."""

    def __init__(self, port: int, authority: Path) -> None:
        context = ssl.create_default_context(cafile=authority)
        raw = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._tls = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self._tls.settimeout(TIMEOUT_S)
        self._media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._media.bind(("127.0.0.1", 0))
        self._here = f"127.0.0.1:{self._tls.getsockname()[1]}"
        self._uri = f"sip:agent@127.0.0.1:{port};transport=tls"
        self._to = f"<{self._uri}>"
        self._buffer = b""
        self._cseq = 0
        self._agent: tuple[str, int] = ("", 0)
        self.call_id = f"secure-{uuid4().hex}@peers"
        self.index = 1  # of the next RTP packet: rollover counter and sequence
        self.timestamp = 0
        self.heard = Heard()
        self._heard_index: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tls.close()
        self._media.close()

    # ---- signalling ----------------------------------------------------------------------------------------

    def offer(self, *lines: str, profile: str = "RTP/SAVP") -> str:
        port = self._media.getsockname()[1]
        return "\r\n".join(
            ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
             f"m=audio {port} {profile} 0", "a=rtpmap:0 PCMU/8000", *lines, "a=sendrecv", ""]
        )  # fmt: skip

    def request(self, method: str, body: str = "") -> Message:
        """A request of the dialog and its final response; that to an INVITE is not acknowledged yet."""
        self._cseq += 1
        self._send(method, self._cseq, body)
        while True:
            answer = self._receive()
            if answer.text.startswith("SIP/2.0 ") and answer.status >= 200:
                break
        assert answer.header("CSeq") == f"{self._cseq} {method}"
        if method == "INVITE":
            self._to = answer.header("To")
            if answer.status < 300:
                self._uri = answer.header("Contact").partition("<")[2].partition(">")[0]
                self._learn_place(answer.body)
        return answer

    def answer_invite(self, body: str) -> Message:
        """A re-INVITE of the agent's, answered with ``body`` and acknowledged."""
        found = self._until("INVITE")
        self._respond(found, body)
        self._until("ACK")
        return found

    def until_bye(self) -> None:
        """The agent ends the call."""
        self._respond(self._until("BYE"))

    def _until(self, method: str) -> Message:
        while not (found := self._receive()).text.startswith(f"{method} "):
            pass
        return found

    def _respond(self, request: Message, body: str = "") -> None:
        lines = [f"{name}: {request.header(name)}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
        lines += [f"Contact: <sip:phone@{self._here};transport=tls>", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/sdp"] if body else []
        self._tls.sendall(("\r\n".join(["SIP/2.0 200 OK", *lines]) + "\r\n\r\n" + body).encode())

    def acknowledge(self, body: str = "") -> None:
        self._send("ACK", self._cseq, body)

    def invite(self, body: str = "", answer: str = "") -> Message:
        """INVITE, its final response, ACK (with ``answer`` to an offer in the 200)."""
        found = self.request("INVITE", body)
        self.acknowledge(answer if found.status < 300 else "")
        return found

    def _send(self, method: str, cseq: int, body: str) -> None:
        lines = [
            f"{method} {self._uri} SIP/2.0",
            f"Via: SIP/2.0/TLS {self._here};rport;branch=z9hG4bK{uuid4().hex}",
            "From: <sip:+250788000333@127.0.0.1>;tag=phone",
            f"To: {self._to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:phone@{self._here};transport=tls>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self._tls.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _receive(self) -> Message:
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if end:
                length = int(Message(head.decode() + "\r\n").header("Content-Length"))
                if len(rest) >= length:
                    self._buffer = rest[length:]
                    return Message((head + end + rest[:length]).decode())
            data = self._tls.recv(65536)
            assert data, "the agent closed the connection"
            self._buffer += data

    def _learn_place(self, body: str) -> None:
        address, port = re.search(r"c=IN IP4 (\S+)", body), re.search(r"m=audio ([1-9]\d*)", body)
        assert address is not None
        assert port is not None
        self._agent = address[1], int(port[1])

    # ---- media ---------------------------------------------------------------------------------------------

    def talk(self, outbound: Direction | None, inbound: Direction | None, packets: int = 25) -> None:
        """Sends so many packets, one every 20 ms, and hears what comes meanwhile. None is plain RTP."""
        due = time.monotonic()
        for _ in range(packets):
            head = struct.pack("!BBHII", 0x80, 0, self.index & 0xFFFF, self.timestamp & 0xFFFFFFFF, SSRC)
            packet = head + b"\xff" * FRAME
            wire = packet if outbound is None else outbound.protect(packet, self.index >> 16)
            self._media.sendto(wire, self._agent)
            self.index, self.timestamp = self.index + 1, self.timestamp + FRAME
            due += 0.02
            self._hear(inbound, due)

    def _hear(self, inbound: Direction | None, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._media], [], [], left)[0]:
                return
            data = self._media.recv(4096)
            try:  # the agent's sequence begins below 2^15: no rollover here
                packet = data if inbound is None else inbound.unprotect(data, 0)
            except ValueError:
                self.heard.refused += 1
                continue
            self.heard.payloads.append(packet[12:])
