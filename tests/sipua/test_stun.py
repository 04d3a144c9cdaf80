"""STUN: one answer is enough, a lost request is repeated, and whatever else comes back is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from aioice import stun

from sipua.stun import TRIES, StunError, mapped_address

Answer = Callable[[stun.Message, tuple[str, int]], list[bytes]]


class Server(asyncio.DatagramProtocol):
    """Answers requests by ``answer``, which is given the request and where it came from."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        for each in self._answer(stun.parse_message(data), addr):
            self.transport.sendto(each, addr)


def response(request: stun.Message, address: tuple[str, int], name: str = "XOR-MAPPED-ADDRESS") -> bytes:
    return bytes(
        stun.Message(
            message_method=stun.Method.BINDING, message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id, attributes={name: address},
        )
    )  # fmt: skip


async def asked(answer: Answer) -> tuple[str, int]:
    """What we learn from such a server, and how often it was asked."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Server(answer), local_addr=("127.0.0.1", 0)
    )
    try:
        address = await mapped_address(transport.get_extra_info("sockname"), "127.0.0.2", first_wait_s=0.05)
        return address, server.asked
    finally:
        transport.close()


@pytest.mark.parametrize("name", ["XOR-MAPPED-ADDRESS", "MAPPED-ADDRESS"])
async def test_the_address_that_the_server_saw(name: str) -> None:
    """RFC 8489, and a server that knows RFC 3489 alone."""
    assert await asked(lambda request, addr: [response(request, addr, name)]) == ("127.0.0.2", 1)


async def test_a_request_that_is_lost_is_repeated() -> None:
    seen: list[bytes] = []

    def answer(request: stun.Message, addr: tuple[str, int]) -> list[bytes]:
        seen.append(request.transaction_id)
        return [response(request, addr)] if len(seen) > 1 else []

    assert await asked(answer) == ("127.0.0.2", 2)
    assert len(set(seen)) == 1


async def test_what_is_no_answer_to_our_request_is_dropped() -> None:
    other = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)

    def answer(request: stun.Message, addr: tuple[str, int]) -> list[bytes]:
        return [b"garbage", response(other, ("203.0.113.9", 1)), response(request, addr)]

    assert await asked(answer) == ("127.0.0.2", 1)


async def test_a_server_that_is_silent() -> None:
    with pytest.raises(StunError, match=f"no answer to {TRIES} requests"):
        await asked(lambda request, addr: [])


async def test_a_server_that_refuses() -> None:
    def answer(request: stun.Message, addr: tuple[str, int]) -> list[bytes]:
        error = stun.Message(
            message_method=stun.Method.BINDING, message_class=stun.Class.ERROR,
            transaction_id=request.transaction_id, attributes={"ERROR-CODE": (400, "Bad Request")},
        )  # fmt: skip
        return [bytes(error)]

    with pytest.raises(StunError, match="the STUN server answered ERROR"):
        await asked(answer)


async def test_a_port_that_nobody_has_and_a_name_that_nobody_knows() -> None:
    with pytest.raises(StunError, match="cannot be reached"):
        await mapped_address(("127.0.0.1", 9), "127.0.0.1")
    with pytest.raises(StunError, match=r"STUN server nobody\.invalid:3478"):
        await mapped_address(("nobody.invalid", 3478), "127.0.0.1")
