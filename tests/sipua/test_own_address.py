"""The watch over our own address: sources, what is told and how often, and that a failure to tell does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from sipua.errors import LocalError
from sipua.own_address import OwnAddress
from sipua.sip_events import OptionsAnswered, RegistrationAnswered
from sipua.trunk import Trunk
from tests.sipua.test_stun import Server, response

SEEN = {"via": ("SIP/2.0/UDP 10.0.0.1;received=203.0.113.7",)}


def trunk(name: str, **values: object) -> Trunk:
    return Trunk.model_validate({"schema": 1, "name": name, "provider": "p", **values})


AUTO, PLAIN, FIXED = trunk("auto", public_ip="auto"), trunk("plain"), trunk("fixed", public_ip="203.0.113.9")


def nowhere(name: str) -> Sequence[str]:
    return ()


async def test_each_trunk_is_told_its_own() -> None:
    subject = OwnAddress([AUTO, PLAIN, FIXED], "127.0.0.1", "")
    told: asyncio.Queue[set[str]] = asyncio.Queue()
    watching = asyncio.create_task(subject.watch(lambda name: ("127.0.0.9",), told.put))
    async with asyncio.timeout(5):
        assert await told.get() == {"auto"}  # the kernel's choice; the others are bound, or named in the file
    assert [subject.address_of(each) for each in (AUTO, PLAIN, FIXED)] == ["127.0.0.1", "", "203.0.113.9"]
    watching.cancel()


async def test_answers_of_the_trunk_count_whichever_account_asked() -> None:
    subject = OwnAddress([AUTO], "127.0.0.1", "")
    subject.on_sip_event(OptionsAnswered(uuid4(), 503, "no answer", None, "auto"))
    assert subject.address_of(AUTO) == ""
    subject.on_sip_event(RegistrationAnswered("auto/+250788000001", 401, "", SEEN))
    assert subject.address_of(AUTO) == "203.0.113.7"


async def test_stun_tells_until_the_trunk_does() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Server(lambda request, addr: [response(request, addr)]), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    subject = OwnAddress([AUTO], "127.0.0.2", f"127.0.0.1:{port}")
    told: asyncio.Queue[set[str]] = asyncio.Queue()
    watching = asyncio.create_task(subject.watch(nowhere, told.put))
    async with asyncio.timeout(5):
        assert await told.get() == {"auto"}
        assert subject.address_of(AUTO) == "127.0.0.2"
        subject.on_sip_event(OptionsAnswered(uuid4(), 200, "", SEEN, "auto"))
        assert await told.get() == {"auto"}
    assert subject.address_of(AUTO) == "203.0.113.7"
    watching.cancel()
    transport.close()


async def test_who_cannot_be_told_is_told_with_the_next_change_and_again() -> None:
    subject = OwnAddress([AUTO], "127.0.0.1", "")
    told: asyncio.Queue[str] = asyncio.Queue()

    async def changed(names: set[str]) -> None:
        await told.put(subject.address_of(AUTO))
        raise LocalError("the SIP thread has ended")

    watching = asyncio.create_task(subject.watch(nowhere, changed))
    async with asyncio.timeout(5):
        subject.on_sip_event(OptionsAnswered(uuid4(), 200, "", SEEN, "auto"))
        assert await told.get() == "203.0.113.7"
        other = {"via": ("SIP/2.0/UDP 10.0.0.1;received=203.0.113.8",)}
        for _ in range(2):
            subject.on_sip_event(OptionsAnswered(uuid4(), 200, "", other, "auto"))
        assert await told.get() == "203.0.113.8"
        assert await told.get() == "203.0.113.8"  # at the next look
    watching.cancel()
