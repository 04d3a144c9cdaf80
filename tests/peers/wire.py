"""SIP by hand over one UDP socket, for what no decent user agent would send, and at the moment it should be sent."""

from __future__ import annotations

import re
import socket
from types import TracebackType
from typing import Self
from uuid import uuid4

from tests.peers.agent import Agent

INVITE = """\
{method} sip:agent@{host} SIP/2.0
Via: SIP/2.0/UDP {local};rport;branch=z9hG4bK{branch}
From: {caller};tag=wire
To: <sip:agent@{host}>{tag}
Call-ID: {call_id}MARK
CSeq: 1 {method}
Contact: <sip:peer@{local}>
Max-Forwards: 70
"""
SDP = """\
Content-Type: application/sdp
Content-Length: {length}

v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {rtp_port} RTP/AVP 0
"""


class Wire:
    """One dialog."""

    def __init__(
        self,
        agent: Agent,
        caller: bytes = b"<sip:+250788000111@127.0.0.1>",
        mark: bytes = b"",
        source: str = "127.0.0.1",
    ) -> None:
        self.call_id = f"wire-{uuid4().hex}@peers"
        self._host = agent.sip
        self._caller = caller
        self._mark = mark
        self._branch = uuid4().hex
        self._sequence = 1
        self._sent = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self._target = ("127.0.0.1", agent.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def request(self, method: str, *, tag: str = "", more_sdp: str = "", rtp_port: int = 9) -> bytes:
        """The request as bytes; ``more_sdp`` is appended to the offer of an INVITE."""
        local = ":".join(map(str, self.socket.getsockname()))
        head = INVITE.format(
            method=method, host=self._host, local=local, branch=self._branch, call_id=self.call_id,
            caller="CALLER", tag=tag,
        )  # fmt: skip
        sdp = SDP.format(length="{length}", rtp_port=rtp_port) + more_sdp
        body = sdp.format(length=len(sdp.partition("\n\n")[2].replace("\n", "\r\n")))
        text = head + (body if method == "INVITE" else "Content-Length: 0\n\n")
        return (
            text.replace("\n", "\r\n").encode().replace(b"CALLER", self._caller).replace(b"MARK", self._mark)
        )

    def send(self, data: bytes) -> None:
        self._sent = data
        self.socket.sendto(data, self._target)

    def send_again(self) -> None:
        """The last one, to the letter."""
        self.send(self._sent)

    def receive(self, status: str, method: str = "INVITE", timeout_s: float = 5.0) -> bytes:
        """The first answer of that status to that method; others are passed over."""
        self.socket.settimeout(timeout_s)
        while True:
            data = self.socket.recv(65535)
            if re.match(
                rb"SIP/2.0 %s .*^CSeq: \d+ %s" % (status.encode(), method.encode()), data, re.S | re.M
            ):
                return data

    def info(self, body: str, kind: str, *, tag: str, more: str = "") -> bytes:
        """An INFO with this body; its answer."""
        self._sequence += 1
        self._branch = uuid4().hex
        head = self.request("INFO", tag=tag).replace(b"CSeq: 1 ", f"CSeq: {self._sequence} ".encode())
        fields = f"{more}Content-Type: {kind}\r\n" if kind else more
        head = head.replace(b"Content-Length: 0", f"{fields}Content-Length: {len(body)}".encode())
        self.send(head + body.encode())
        while True:
            answer = self.receive(r"\d+", "INFO")
            if f"\r\nCSeq: {self._sequence} INFO".encode() in answer:
                return answer

    def reinvite(self, tag: str, *, more_sdp: str = "", rtp_port: int = 9) -> None:
        """Another offer; its 200 is acknowledged."""
        self._sequence += 1
        number = f"CSeq: {self._sequence} ".encode()
        for method in ("INVITE", "ACK"):
            self._branch = uuid4().hex
            request = self.request(method, tag=tag, more_sdp=more_sdp, rtp_port=rtp_port)
            self.send(request.replace(b"CSeq: 1 ", number))
            if method == "INVITE":
                self.receive("200")

    def acknowledge(self, answer: bytes) -> str:
        """ACK; returns the far end's tag as a parameter."""
        found = re.search(rb"^To:.*?;tag=([^;\r]+)", answer, re.M)
        assert found is not None
        tag = f";tag={found[1].decode()}"
        if answer.startswith(b"SIP/2.0 200"):
            self._branch = uuid4().hex  # a transaction of its own (RFC 3261 section 13.2.2.4)
        self.send(self.request("ACK", tag=tag))
        return tag

    def hang_up(self, answer: bytes) -> None:
        """ACK of the 200, BYE, and its 200."""
        self.end(self.acknowledge(answer))

    def end(self, tag: str) -> None:
        """BYE, and its 200."""
        for _ in range(20):  # Timer E of RFC 3261: the first may be lost in a storm of the test's own
            self.send(
                self.request("BYE", tag=tag).replace(b"CSeq: 1 ", f"CSeq: {self._sequence + 8} ".encode())
            )
            try:
                self.receive("200", "BYE", timeout_s=0.5)
            except TimeoutError:
                continue
            return
        raise AssertionError("the BYE was not answered")
