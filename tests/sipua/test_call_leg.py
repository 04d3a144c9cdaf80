"""Hanging up: what waits to be said leaves first, where somebody hears it."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from rtp.codec import CODECS
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua.call_leg import CallLeg
from sipua.errors import MediaTimeout
from sipua.media import MediaLeg
from sipua.media_ports import MediaPorts
from sipua.outcome import Ending, Status
from sipua.ports import Moment, SipLegs
from sipua.sip_events import KeyPressed, LegChanged, LegState, MediaChanged, MediaDescription
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


class LateClock:
    """Long after everything."""

    def now(self) -> Moment:
        return Moment(time.monotonic() + 1e6, datetime.now(UTC))


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
        if what == "silent":
            assert not media.is_timed_out(time.monotonic(), 20.0)  # from now on nothing comes
            with pytest.raises(MediaTimeout):
                await leg.watch_media(LateClock(), lambda at, measure: None)
            media.playout.append("next", SPEECH)
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


async def test_keys_that_come_before_anybody_asks_for_them_are_heard() -> None:
    """The far end has the 200 before the call's coroutine goes on."""
    ports, key = PortAllocator(0, 0), uuid4()
    media = MediaLeg(ports.open_pair(HOST), MediaPorts(ports), Pacer(), PCMU)
    trunk = TRUNK.model_copy(update={"dtmf": "info"})
    leg = CallLeg(key, trunk, media, cast(SipLegs, Bye()), Ending(Status.COMPLETED, "caller_hangup"))
    heard: list[str] = []
    for digit in "12":
        leg.deliver(KeyPressed(key, digit))
    leg.catch_up()
    leg.hear_keys(heard.append)
    leg.deliver(KeyPressed(key, "#"))
    leg.catch_up()
    media.close()
    assert heard == ["1", "2", "#"]


@pytest.mark.parametrize(
    ("what", "unsaid_ms", "is_said"),
    [
        ("listening", [0], True),
        ("held", [130], False),
        ("broken", [130], False),
        ("silent", [130], True),
        ("gone", [], False),
    ],
)
def test_what_waits_to_be_said_leaves_before_the_bye(what: str, unsaid_ms: list[int], is_said: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((HOST, 0))
        phone.setblocking(False)
        found, sound = asyncio.run(ended(what, phone))
    assert found == unsaid_ms
    assert sound.count(b"s") == (len(SPEECH) if is_said else 0)
