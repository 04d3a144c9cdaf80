"""One OPTIONS to one address, raw over UDP, TCP or TLS, without pjsua2: does something answer there, and how fast?

For ``sipua doctor``, beside whatever runs here: it sends from a port of its own. An OPTIONS outside a dialog needs no
more than a branch and a Call-ID (RFC 3261 section 11); over UDP it is repeated as section 17.1.2 has it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

from sipua.errors import RemoteError
from sipua.sip_message import SipMessage, parse_message
from sipua.trunks.answers import date_of
from sipua.trunks.routing import Address

T1_S, T2_S = 0.5, 4.0  # RFC 3261 section 17: first repetition, longest interval
HEAD_LIMIT = 64 * 1024  # bytes of a response on a stream


class Unanswered(RemoteError):
    """Nothing came back, or nothing that is SIP; says which."""

    retryable = True
    reason = "no_answer"


class Unsent(Unanswered):
    """It could not even leave this machine: a matter of our address or routes."""

    reason = "not_sent"


@dataclass(frozen=True, slots=True)
class Query:
    """What to ask whom. ``uri`` is the Request-URI, ``local`` an address of ours ("" = as routed)."""

    target: Address
    uri: str
    local: str = ""
    user: str = "sipua"
    user_agent: str = ""
    timeout_s: float = 4.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A final response. ``source`` is the address that we sent from, ``sent_at`` and ``latency_s`` by our clocks."""

    code: int
    phrase: str
    latency_s: float
    sent_at: datetime
    source: tuple[str, int]
    message: SipMessage

    @property
    def date(self) -> datetime | None:
        """What the other side takes for now (Date header), if it tells."""
        return date_of(self.message.header("date") or "")


def request(query: Query, source: tuple[str, int], branch: str) -> bytes:
    """The OPTIONS. The Call-ID and tag come from the branch, which is unique."""
    host = f"[{source[0]}]" if ":" in source[0] else source[0]
    transport = query.target.transport
    lines = [
        f"OPTIONS {query.uri} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {host}:{source[1]};branch={branch};rport",
        "Max-Forwards: 70",
        f"From: <sip:{query.user}@{host}>;tag={branch[-12:]}",
        f"To: <{query.uri}>",
        f"Call-ID: {branch[-24:]}@{host}",
        "CSeq: 1 OPTIONS",
        f"Contact: <sip:{query.user}@{host}:{source[1]};transport={transport}>",
        "Accept: application/sdp",
        *([f"User-Agent: {query.user_agent}"] if query.user_agent else []),
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def final_response(data: bytes, branch: str) -> tuple[int, str, SipMessage] | None:
    """Code, phrase and message if it is a final response to our request; None for a 1xx or a stranger's."""
    message = parse_message(data.decode("utf-8", "replace"))
    version, _, rest = message.start_line.partition(" ")
    code, _, phrase = rest.partition(" ")
    if version.upper() != "SIP/2.0" or not code.isdecimal():
        raise Unanswered("what came back is not SIP")
    ours = branch in (message.header("via") or "")
    return (int(code), phrase, message) if ours and int(code) >= 200 else None


async def options(query: Query, tls: ssl.SSLContext | None = None, tls_name: str = "") -> Answer:
    """Sends it and waits for the final response. ``tls`` verifies against ``tls_name``. Raises Unanswered."""
    target = query.target
    branch = f"z9hG4bK{uuid4().hex}"
    try:
        async with asyncio.timeout(query.timeout_s):
            if target.transport == "udp":
                return await _by_datagram(query, branch)
            return await _by_stream(query, branch, tls, tls_name)
    except TimeoutError:
        raise Unanswered(f"no answer within {query.timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise Unanswered(f"TLS: {error.reason or error}") from None
    except ConnectionRefusedError:
        raise Unanswered("refused: nothing listens there") from None
    except ConnectionError as error:
        raise Unanswered(f"the connection broke: {error.strerror or error}") from None
    except OSError as error:
        raise Unsent(f"cannot be sent from {query.local or 'here'}: {error.strerror or error}") from None


class _Exchange(asyncio.DatagramProtocol):
    """The datagrams of one request: the first that is to the point, or the error, ends it."""

    def __init__(self, accept: Callable[[bytes], tuple[int, str, SipMessage] | None]) -> None:
        self._accept = accept
        self.found: asyncio.Future[tuple[int, str, SipMessage]] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.found.done():
            return
        try:
            found = self._accept(data)
        except Unanswered as error:
            self.found.set_exception(error)
        else:
            if found is not None:
                self.found.set_result(found)

    def error_received(self, exc: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(exc)


async def _by_datagram(query: Query, branch: str) -> Answer:
    loop, target = asyncio.get_running_loop(), query.target
    transport, exchange = await loop.create_datagram_endpoint(
        lambda: _Exchange(lambda data: final_response(data, branch)),
        local_addr=(query.local, 0) if query.local else None,
        remote_addr=(target.address, target.port),
    )
    try:
        source = cast(tuple[str, int], transport.get_extra_info("sockname")[:2])
        text, began, sent_at = request(query, source, branch), time.monotonic(), datetime.now(UTC)
        wait_s = T1_S
        while not exchange.found.done():
            transport.sendto(text)
            await asyncio.wait((exchange.found,), timeout=wait_s)
            wait_s = min(2 * wait_s, T2_S)
        code, phrase, message = exchange.found.result()
        return Answer(code, phrase, time.monotonic() - began, sent_at, source, message)
    finally:
        transport.close()
        if exchange.found.done() and not exchange.found.cancelled():
            exchange.found.exception()  # looked at, whoever gave up before


async def _by_stream(query: Query, branch: str, tls: ssl.SSLContext | None, name: str) -> Answer:
    target = query.target
    reader, writer = await asyncio.open_connection(
        target.address, target.port, limit=HEAD_LIMIT, ssl=tls, server_hostname=name if tls else None,
        local_addr=(query.local, 0) if query.local else None,
    )  # fmt: skip
    try:
        source = cast(tuple[str, int], writer.get_extra_info("sockname")[:2])
        began, sent_at = time.monotonic(), datetime.now(UTC)
        writer.write(request(query, source, branch))
        while True:
            found = final_response(await _message(reader), branch)
            if found is not None:
                return Answer(*found[:2], time.monotonic() - began, sent_at, source, found[2])
    except asyncio.IncompleteReadError:
        raise Unanswered("the connection was closed without an answer") from None
    except asyncio.LimitOverrunError:
        raise Unanswered("what came back is not SIP") from None
    finally:
        writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One message of a stream, its body (Content-Length) included; keep-alives before it are left out."""
    head = b""
    while not head.strip():
        head = await reader.readuntil(b"\r\n\r\n")
    length = parse_message(head.decode("utf-8", "replace")).header("content-length") or "0"
    if not length.isdecimal() or int(length) > HEAD_LIMIT:
        raise Unanswered("what came back is not SIP")
    return head + await reader.readexactly(int(length))
