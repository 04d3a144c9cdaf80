"""The second leg of a bridged transfer, where the SIP side is another's."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from sipua.call_leg import CallLeg
from sipua.clock import SystemClock
from sipua.media_ports import Sockets
from sipua.outbound import Winner
from sipua.second_leg import SecondLeg


async def test_the_ringing_that_came_before_the_answer_is_not_heard_after_it() -> None:
    """A carrier's early media wait in the socket: seconds of them would go to the caller at once."""
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    waiting: list[int] = []

    def media_leg(sockets: Sockets, codec: object, trunk: object) -> Any:
        sockets[0].setblocking(False)
        try:
            waiting.append(len(sockets[0].recv(2048)))
        except BlockingIOError:
            waiting.append(0)
        return SimpleNamespace(wire_codec="PCMU")

    async def dial() -> Winner:
        return Winner(uuid4(), "carrier", near)

    call = SimpleNamespace(dial=dial, events=asyncio.Queue())
    dialler = SimpleNamespace(
        trunks={"carrier": SimpleNamespace(codecs=("PCMU",))}, call=lambda *_, **__: call
    )
    shared = SimpleNamespace(dialler=dialler, sip=None, legs=None, media_leg=media_leg, clock=SystemClock())
    try:
        near[0].bind(("127.0.0.1", 0))
        for _ in range(100):
            far.sendto(bytes(172), near[0].getsockname())
        second = SecondLeg(
            cast(Any, shared), cast(Any, None), cast(Any, SimpleNamespace(id=uuid4())), 40.0, ""
        )
        second.dial()
        assert isinstance(await second.news.get(), CallLeg)
    finally:
        for each in (*near, far):
            each.close()
    assert waiting == [0]
