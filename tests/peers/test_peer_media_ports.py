"""What a trunk's file says of its media and marking, on the wire: ports, addresses, DSCP of SIP and RTP."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.ports import free_port

pytestmark = pytest.mark.peer

OPTIONS = (
    "OPTIONS sip:agent@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK-1\r\nFrom: <sip:x@{me}>;tag=1\r\n"
    "To: <sip:agent@{to}>\r\nCall-ID: dscp@test\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def observer() -> socket.socket:
    """A UDP socket that is told the TOS byte of what it receives."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    sock.settimeout(10)
    return sock


def received(sock: socket.socket) -> tuple[int, tuple[str, int]]:
    """Code point and source of the next packet."""
    _, [(_, _, data)], _, source = sock.recvmsg(4096, 100)
    return data[0] >> 2, source


def test_range_address_and_dscp_of_a_trunk(
    emulator: Emulator, sipp: StartSipp, start_agent: Callable[..., Agent]
) -> None:
    low = free_port()
    keys: dict[str, Any] = {
        "dscp": 46, "rtp_port_min": low, "rtp_port_max": low + 1, "rtp_bind": '"127.0.0.5"',
    }  # fmt: skip
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    agent = start_agent(emulator.base_url, trunks={"marked": f'["127.0.0.1/32"]\n{lines}'})
    with observer() as signalling, observer() as media:
        host, port = agent.sip.rsplit(":", 1)
        me = f"127.0.0.1:{signalling.getsockname()[1]}"
        signalling.sendto(OPTIONS.format(to=f"{host}:{port}", me=me).encode(), ("127.0.0.1", agent.port))
        assert received(signalling)[0] == 46
        caller = sipp(f"127.0.0.1:{agent.port}", "call", rtp_port=media.getsockname()[1], duration_ms=600)
        assert received(media) == (46, ("127.0.0.5", low))
        caller.wait()
    (answer,) = caller.received("200")[:1]
    assert re.findall(r"^c=.*$", answer.body, re.M) == ["c=IN IP4 127.0.0.5"]
    assert re.findall(r"^o=.*$", answer.body, re.M)[0].endswith("IN IP4 127.0.0.5")
    assert f"m=audio {low} " in answer.body


def test_a_pair_that_is_held_is_passed_over_and_one_that_was_used_rests(
    emulator: Emulator, sipp: StartSipp, start_agent: Callable[..., Agent]
) -> None:
    """Two pairs: another program has the one, the call gets the other, and nobody does right after it."""
    low = free_port()
    range_ = {
        "SIPUA_RTP__PORT_MIN": str(low),
        "SIPUA_RTP__PORT_MAX": str(low + 3),
        "SIPUA_RTP__PORT_QUIET_S": "60",
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another_program:
        another_program.bind(("127.0.0.1", low))
        agent = start_agent(emulator.base_url, **range_)
        first = sipp(agent.sip, "call", duration_ms=500).wait()
        assert f"m=audio {low + 2} " in first.received("200")[0].body
        agent.closed_call(first.call_id)
        second = sipp(agent.sip, "refused").wait()
    assert second.received("503")[0].header("retry-after") == "5"
    detail = agent.closed_call(second.call_id)["metadata"]["end_detail"]
    assert "0 in use, 1 resting after a call, 1 held by other programs" in detail
