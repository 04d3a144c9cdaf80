"""Two trunks on one TLS port, told apart by where they call from: each has its own codec and its own SRTP; two of one
source, told apart by the port.

The caller is Python's ssl: it offers both codecs, in the clear or with SDES keys, and reads the answer.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.certificates import Authority
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.ports import free_port
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer
SECURE, PLAIN = "127.0.0.2", "127.0.0.3"
KEY = base64.b64encode(bytes(range(30))).decode()


@dataclass(frozen=True, slots=True)
class Line:
    agent: Agent
    port: int
    authority: Path

    def answer(self, source: str, profile: str) -> str:
        """The final response to an INVITE from there; one that is a 200 is ended with BYE."""
        context = ssl.create_default_context(cafile=str(self.authority))
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=5, source_address=(source, 0))
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as wire:
            local = ":".join(map(str, wire.getsockname()[:2]))
            crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n" if "SAVP" in profile else ""
            sdp = (
                f"v=0\r\no=- 1 1 IN IP4 {source}\r\ns=-\r\nc=IN IP4 {source}\r\nt=0 0\r\n"
                f"m=audio 9 {profile} 0 8\r\n{crypto}"
            )
            wire.sendall(self._request("INVITE", local, 1, "", sdp))
            final = _final(wire)
            tag = re.search(r"^To:.*?(;tag=[^;\r]+)", final, re.M)
            assert tag is not None, final
            wire.sendall(self._request("ACK", local, 1, tag[1]))
            if final.startswith("SIP/2.0 200"):
                wire.sendall(self._request("BYE", local, 2, tag[1]))
                assert "BYE" in _final(wire)
        return final

    def _request(self, method: str, local: str, cseq: int, tag: str, sdp: str = "") -> bytes:
        about = "Content-Type: application/sdp\r\n" if sdp else ""
        return (
            f"{method} sip:agent@127.0.0.1:{self.port};transport=tls SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS {local};branch=z9hG4bK{uuid4().hex}\r\nFrom: <sip:+250788123456@{local}>;tag=t\r\n"
            f"To: <sip:agent@127.0.0.1>{tag}\r\nCall-ID: {local}@one-port\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:{local};transport=tls>\r\nMax-Forwards: 70\r\n{about}"
            f"Content-Length: {len(sdp)}\r\n\r\n{sdp}"
        ).encode()


def _final(wire: ssl.SSLSocket) -> str:
    """The next response that is no 1xx."""
    data = ""
    while True:
        data += wire.recv(65535).decode()
        while "\r\n\r\n" in data:
            head, _, rest = data.partition("\r\n\r\n")
            length = int(re.search(r"^Content-Length:\s*(\d+)", head, re.M)[1])  # type: ignore[index]
            if len(rest) < length:
                break
            message, data = f"{head}\r\n\r\n{rest[:length]}", rest[length:]
            if not message.startswith("SIP/2.0 1"):
                return message


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, postgres_server: str, template: str
) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("one-port")
    authority, port = Authority(folder), free_port()
    identity = authority.issue("127.0.0.1")
    shared = f'transport = "tls"\nbind_port = {port}\ntls_ca = "{authority.file}"'
    trunks = {
        "secure": f'["{SECURE}/32"]\n{shared}\nsrtp = "mandatory"\ncodecs = ["PCMA"]',
        "plain": f'["{PLAIN}/32"]\n{shared}\ncodecs = ["PCMU"]',
        "udp": '["127.0.0.0/8"]',
    }
    dsn = create_database(postgres_server, template)
    agent = Agent(
        folder / "agent", dsn, emulator.base_url, trunks=trunks,
        SIPUA_SIP__TLS_CERTIFICATE=str(identity.certificate), SIPUA_SIP__TLS_KEY=str(identity.key),
    )  # fmt: skip
    yield Line(agent, port, authority.file)
    agent.end()
    drop_database(postgres_server, dsn)


def test_each_gets_its_own_codec_and_its_own_security(line: Line) -> None:
    secure = line.answer(SECURE, "RTP/SAVP")
    assert re.search(r"^m=audio \d+ RTP/SAVP 8\r$", secure, re.M), secure
    assert re.search(r"^a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:[A-Za-z0-9+/]{40}\r$", secure, re.M)
    plain = line.answer(PLAIN, "RTP/AVP")
    assert re.search(r"^m=audio \d+ RTP/AVP 0\r$", plain, re.M), plain
    assert "a=crypto" not in plain
    for answer, name in ((secure, "secure"), (plain, "plain")):
        call_id = re.search(r"^Call-ID: ([^\r]+)", answer, re.M)
        assert call_id is not None
        assert line.agent.closed_call(call_id[1])["trunk"] == name


@pytest.mark.parametrize(("source", "profile"), [(SECURE, "RTP/AVP"), (PLAIN, "RTP/SAVP")])
def test_what_the_other_one_would_take_is_refused(line: Line, source: str, profile: str) -> None:
    assert line.answer(source, profile).startswith("SIP/2.0 488")


def test_a_source_of_no_trunk_with_tls_is_a_stranger_there(line: Line) -> None:
    """It is on the list of a trunk without."""
    assert line.answer("127.0.0.9", "RTP/AVP").startswith("SIP/2.0 403")


def test_of_two_trunks_of_one_source_the_port_decides(
    start_agent: Callable[..., Agent], emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    """The other way round; a call that pjsua refuses is its trunk's too."""
    port = free_port()
    trunks = {
        "here": '["127.0.0.1/32"]',
        "there": f'["127.0.0.1/32"]\nbind_port = {port}\nrel100 = "supported"',
    }
    agent = start_agent(emulator.base_url, trunks=trunks)
    there = f"127.0.0.1:{port}"
    for target, name in ((agent.sip, "here"), (there, "there")):
        refused = sipp(target, "refused", formats="18").wait()
        assert agent.closed_call(refused.call_id)["trunk"] == name
    plain = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=100).wait()
    reliable = sipp(there, "rel100", code=180, rtp_port=phone.port, duration_ms=100).wait()
    assert agent.closed_call(plain.call_id)["trunk"] == "here"
    assert agent.closed_call(reliable.call_id)["trunk"] == "there"
