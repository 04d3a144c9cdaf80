"""How much sound a packet has: what the peer asks for, else what the trunk says; in both directions of call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Heard, Phone
from tests.peers.processes import until
from tests.peers.test_peer_dial import Office, flags
from tests.peers.wire import Wire

pytestmark = pytest.mark.peer
PACKETS = 8


def packet_ms(heard: list[Heard]) -> int:
    """Of the packets; their timestamps go on by as much, and they come that far apart."""
    (size,) = {len(packet.payload) for packet in heard}
    first, last = heard[0], heard[-1]
    steps = (last.sequence - first.sequence) % 2**16
    assert (last.timestamp - first.timestamp) % 2**32 == steps * size
    assert 0.5 < (last.at - first.at) / (steps * size / 8000) < 1.5
    return size // 8


def asked(body: str) -> list[str]:
    return re.findall(r"^a=((?:max)?ptime:\d+)\r?$", body, re.M)


def test_callers_get_what_they_ask_for(emulator: Emulator, start_agent: Callable[..., Agent]) -> None:
    agent = start_agent(emulator.base_url, trunks={"thirty": '["127.0.0.1/32"]\nptime = 30'})
    got = []
    for wish in ("", "a=ptime:10\n", "a=ptime:60\na=maxptime:40\n"):
        with Wire(agent) as wire, Phone(mute=True) as phone:
            wire.send(wire.request("INVITE", more_sdp=wish, rtp_port=phone.port))
            answer = wire.receive("200")
            until(lambda heard=phone.heard: len(heard) > PACKETS, "RTP")
            wire.hang_up(answer)
            got.append((packet_ms(phone.heard), asked(answer.decode())))
    assert got == [(30, ["ptime:30"]), (10, ["ptime:30"]), (40, ["ptime:30"])]


def test_a_caller_who_asks_for_something_else_later(agent: Agent) -> None:
    with Wire(agent) as wire, Phone(mute=True) as phone:
        wire.send(wire.request("INVITE", rtp_port=phone.port))
        tag = wire.acknowledge(wire.receive("200"))
        until(lambda: len(phone.heard) > PACKETS, "RTP")
        offer = wire.request("INVITE", tag=tag, more_sdp="a=ptime:60\n", rtp_port=phone.port)
        wire.send(offer.replace(b"CSeq: 1", b"CSeq: 2"))
        wire.receive("200")
        wire.send(wire.request("ACK", tag=tag).replace(b"CSeq: 1", b"CSeq: 2"))
        until(lambda: len(phone.heard[-1].payload) == 480, "a packet of 60 ms")
        since = len(phone.heard) - 1
        until(lambda: len(phone.heard) > since + PACKETS, "more of them")
        wire.end(tag)
    before, after = phone.heard[:since], phone.heard[since:]
    assert (packet_ms(before), packet_ms(after)) == (20, 60)
    assert after[0].sequence == before[-1].sequence + 1
    assert (after[0].timestamp - before[-1].timestamp) % 2**32 == 160


@pytest.mark.parametrize(("wish", "ms"), [("", 40), ("\r\na=ptime:60", 60)])
def test_callees_get_what_they_ask_for(
    wish: str, ms: int, emulator: Emulator, start_agent: Callable[..., Agent], sipp: StartSipp
) -> None:
    office = Office(start_agent, emulator, lines="ptime = 40\n")
    with Phone(mute=True) as phone:
        keys = {"rtp_port": phone.port, "duration_ms": 900, "formats": f"0 101{wish}"}
        callee = sipp("", "uas_hangs_up", flags=flags(office.ports[0]), **keys)
        office.dial()
        callee.wait()
        sizes = Counter(len(packet.payload) for packet in phone.heard if packet.payload_type == 0)
    assert set(sizes) == {ms * 8}
    assert asked(callee.received("INVITE")[0].body) == ["ptime:40"]
