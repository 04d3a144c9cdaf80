"""A carrier that speaks SIP over TLS, as far as a call needs it: answers INVITE, OPTIONS, REGISTER and BYE.

It shows what a client showed it: the name in the TLS handshake (SNI), what it sent and over how many connections.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from types import TracebackType

from tests.certificates import Identity

_SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"


class TlsCarrier:
    """Listens on ``address`` (port 0: any) until the block ends."""

    def __init__(
        self,
        address: str,
        identity: Identity,
        *,
        port: int = 0,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        contact: str = "",
        closes_after_answer: bool = False,
        challenges: bool = False,
    ) -> None:
        """``contact`` is host:port of its Contact (else its own).

        It may close the connection once its 200 is acknowledged, or ask who calls; whoever tries again is let in.
        """
        self.server_names: list[str | None] = []
        self.versions: list[str | None] = []
        self.requests: list[str] = []  # start line and headers
        self._closes_after_answer = closes_after_answer
        self._challenges = challenges
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.maximum_version = newest
        self._context.load_cert_chain(identity.certificate, identity.key)
        self._context.sni_callback = lambda sock, name, context: self.server_names.append(name)
        self._listener = socket.create_server((address, port))
        self.address, self.port = self._listener.getsockname()[:2]
        self._contact = f"<sip:carrier@{contact or f'{self.address}:{self.port}'};transport=tls>"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> TlsCarrier:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def methods(self) -> list[str]:
        return [text.partition(" ")[0] for text in self.requests]

    def got(self, method: str) -> list[str]:
        return [text for text in self.requests if text.startswith(f"{method} ")]

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(plain)
            thread = threading.Thread(target=self._talk, args=(plain,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as tls:
                self._open.append(tls)
                self.versions.append(tls.version())
                received = b""
                while data := tls.recv(65536):
                    received = self._answer_all(tls, received + data)
        except (OSError, ValueError):  # they hung up, or refused our certificate
            return

    def _answer_all(self, tls: ssl.SSLSocket, received: bytes) -> bytes:
        while True:
            head, end, rest = received.lstrip(b"\r\n").partition(b"\r\n\r\n")
            text = head.decode()
            length = re.search(r"^Content-Length:\s*(\d+)", text, re.I | re.M)
            size = int(length[1]) if length else 0
            if not end or len(rest) < size:
                return received
            received = rest[size:]
            self.requests.append(text)
            if not text.startswith("ACK "):
                tls.sendall(self._answer(text).encode())
            if text.startswith("ACK ") and self._closes_after_answer:
                self._closes_after_answer = False
                tls.shutdown(socket.SHUT_RDWR)
                return b""

    def _answer(self, request: str) -> str:
        kept = re.findall(r"^(?:Via|From|Call-ID|CSeq): .*$", request, re.M)
        to = re.findall(r"^To: .*$", request, re.M)[0].strip()
        to += "" if ";tag=" in to else ";tag=carrier"
        body = _SDP if request.startswith("INVITE ") else ""
        contact = (
            re.findall(r"^Contact: .*$", request, re.M)[0].strip()
            if request.startswith("REGISTER ")
            else f"Contact: {self._contact}"
        )
        status, more = "200 OK", ["Content-Type: application/sdp"] if body else []
        if self._challenges and request.startswith("INVITE ") and "\r\nAuthorization:" not in request:
            status, body = "401 Unauthorized", ""
            more = ['WWW-Authenticate: Digest realm="carrier", nonce="4711", algorithm=MD5, qop="auth"']
        lines = [*(each.strip() for each in kept), to, contact, *more, f"Content-Length: {len(body)}"]
        return "\r\n".join([f"SIP/2.0 {status}", *lines, "", body])
