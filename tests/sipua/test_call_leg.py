"""Hanging up: what waits to be said leaves first, where somebody hears it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from rtp.codec import CODECS
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua.call_leg import CallLeg
from sipua.media import MediaLeg
from sipua.media_ports import MediaPorts
from sipua.outcome import Ending, Status
from sipua.ports import SipLegs
from sipua.sip_events import LegChanged, LegState, MediaChanged, MediaDescription
from sipua.trunk import Trunk

HOST = "127.0.0.1"
PCMU = CODECS["PCMU"]
SPEECH = b"s" * PCMU.frame_bytes(130)  # six packets and a half
TRUNK = Trunk.model_validate(
    {
        "schema": 1,
        "name": "t",
        "provider": "t",
        "direction": "inbound",
        "inbound_acl": ["127.0.0.1/32"],
    }
)


class Bye:
    """The SIP side: how much was still unsaid when it was told to hang up."""

    def __init__(self) -> None:
        self.leg: CallLeg | None = None
        self.unsaid_ms: list[int] = []

    async def hang_up(self, key: UUID, code: int = 0, **_: Any) -> None:
        assert self.leg is not None
        self.unsaid_ms.append(self.leg.media.playout.queued_ms)


async def ended(what: str, phone: socket.socket) -> tuple[list[int], bytes]:
    """What was unsaid at each BYE, and the sound that the phone got."""
    ports, pacer, bye, key = PortAllocator(0, 0), Pacer(), Bye(), uuid4()
    media = MediaLeg(ports.open_pair(HOST), MediaPorts(ports), pacer, PCMU)
    leg = bye.leg = CallLeg(key, TRUNK, media, cast(SipLegs, bye), Ending(Status.COMPLETED, "caller_hangup"))
    description = MediaDescription("PCMU", 0, 0, -1, -1, phone.getsockname(), ("", 0), "sendrecv")
    try:
        leg.deliver(MediaChanged(key, description))
        if what == "held":
            leg.deliver(MediaChanged(key, replace(description, direction="inactive")))
        leg.catch_up()
        media.start(on_audio=lambda payload: None)
        pacer.start()
        media.playout.append("item", SPEECH)
        media.playout.end_item("item")
        if what == "gone":
            leg.deliver(LegChanged(key, LegState.DISCONNECTED, 200, "", 0.0))
            leg.catch_up()
        if what == "broken":
            media.broken = ValueError("a bug")
        await leg.drain()
        await leg.hang_up(0)
    finally:
        media.close()
        pacer.stop()
    sound = b""
    while True:
        try:
            sound += phone.recv(2000)[12:]
        except BlockingIOError:
            return bye.unsaid_ms, sound


@pytest.mark.parametrize(
    ("what", "unsaid_ms", "is_said"),
    [("listening", [0], True), ("held", [130], False), ("broken", [130], False), ("gone", [], False)],
)
def test_what_waits_to_be_said_leaves_before_the_bye(what: str, unsaid_ms: list[int], is_said: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((HOST, 0))
        phone.setblocking(False)
        found, sound = asyncio.run(ended(what, phone))
    assert found == unsaid_ms
    assert sound.count(b"s") == (len(SPEECH) if is_said else 0)
