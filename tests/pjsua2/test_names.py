"""Names and addresses at the library itself: a request goes where it was aimed at and shows the name it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipua.pj.resolver import PLACE_NUMBERS, NameResolver, system_addresses
from tests.certificates import Authority
from tests.peers.tls_carrier import TlsCarrier
from tests.pjsua2.conftest import run_python

NAME = "sip.carrier.test"
HEAD = """
import asyncio, sys
from uuid import uuid4
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.sip_account import Account, Listener, TlsFiles
from sipua.sip_events import Credential, LegChanged, LegState, OptionsAnswered, RegistrationAnswered, SdpPlan
ca, port = sys.argv[1], sys.argv[2]
account = Account(
    "carrier", "carrier", Listener("tls", "127.0.0.1", 0, tls=TlsFiles(ca)), "sip:me@sip.carrier.test", "me",
    Credential("*", "me", "secret"), f"sip:registrar.test:{port};transport=tls", tls_names=("sip.carrier.test",),
)
def route(address):
    return f"sip:sip.carrier.test:{port};transport=tls;maddr={address}"
asked = []
async def look_up(host, port, transport):
    asked.append((host, transport))
    return [("127.0.0.3", port)]
async def with_endpoint(work):
    events = asyncio.Queue()
    config = EndpointConfig("127.0.0.1", 0, ("PCMU",))
    endpoint = SipEndpoint(config, lambda *_: None, events.put_nowait, look_up=look_up)
    await endpoint.start()
    await endpoint.set_accounts([account])
    try:
        async with asyncio.timeout(20):
            await work(endpoint, events)
    finally:
        await endpoint.stop()
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_calls_at_once_to_two_addresses_of_one_name_each_stay_at_theirs(authority: Authority) -> None:
    """Their second INVITEs too, with which they answer a challenge."""
    code = """
async def work(endpoint, events):
    legs = [(uuid4(), f"127.0.0.{2 + n % 2}", f"sip:to-{2 + n % 2}@sip.carrier.test") for n in range(4)]
    for key, address, uri in legs:
        plan = SdpPlan(address="127.0.0.1", port=4000, codecs=("PCMU",), chosen=None)
        await endpoint.invite(uri, plan, key, route=route(address), account="carrier")
    up = set()
    while len(up) < len(legs):
        event = await events.get()
        if isinstance(event, LegChanged) and event.state is LegState.CONFIRMED:
            up.add(event.key)
    print(len(up), asked)
asyncio.run(with_endpoint(work))
"""
    identity = authority.issue(NAME)
    with (
        TlsCarrier("127.0.0.2", identity, challenges=True) as first,
        TlsCarrier("127.0.0.3", identity, challenges=True, port=first.port) as second,
    ):
        assert run_python(HEAD + code, str(authority.file), str(first.port)).strip() == "4 []"
        for carrier, user in ((first, "to-2"), (second, "to-3")):
            invites = carrier.got("INVITE")
            assert len(invites) == 4
            assert all(each.startswith(f"INVITE sip:{user}@{NAME} ") for each in invites)
            assert sum("\r\nAuthorization:" in each for each in invites) == 2
            assert set(carrier.server_names) == {NAME}


def test_options_and_register_over_tls(authority: Authority) -> None:
    """OPTIONS goes to the address that it names, REGISTER to where the name is looked up."""
    code = """
async def work(endpoint, events):
    token = uuid4()
    await endpoint.options(route("127.0.0.2"), token, "carrier")
    answered = await events.get()
    assert isinstance(answered, OptionsAnswered), answered
    await endpoint.register("carrier", 300)
    registered = await events.get()
    assert isinstance(registered, RegistrationAnswered), registered
    print(answered.code, registered.code, asked)
asyncio.run(with_endpoint(work))
"""
    with (
        TlsCarrier("127.0.0.2", authority.issue(NAME)) as carrier,
        TlsCarrier("127.0.0.3", authority.issue("registrar.test"), port=carrier.port) as registrar,
    ):
        said = run_python(HEAD + code, str(authority.file), str(carrier.port)).strip()
        assert said == "200 200 [('registrar.test', 'tls')]"
        assert (carrier.methods(), carrier.server_names) == (["OPTIONS"], [NAME])
        assert carrier.requests[0].startswith(f"OPTIONS sip:{NAME}:{carrier.port};transport=tls SIP/2.0")
        assert (registrar.methods()[0], set(registrar.server_names)) == ("REGISTER", {"registrar.test"})


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([NAME], 200),
        (["127.0.0.2"], 200),
        (["*.carrier.test"], 200),
        (["other.test"], 503),
        (["127.0.0.3"], 503),
    ],
)
def test_a_peer_at_a_bare_address_shows_that_address_or_a_name_of_a_trunk(
    authority: Authority, names: list[str], code: int
) -> None:
    """As a Contact or Record-Route has it, once the connection that a call came in by is closed."""
    code_of_options = """
async def work(endpoint, events):
    await endpoint.options(f"sip:127.0.0.2:{port};transport=tls", uuid4(), "carrier")
    print((await events.get()).code)
asyncio.run(with_endpoint(work))
"""
    with TlsCarrier("127.0.0.2", authority.issue(*names)) as peer:
        assert run_python(HEAD + code_of_options, str(authority.file), str(peer.port)).strip() == str(code)
        assert peer.methods() == (["OPTIONS"] if code == 200 else [])


def test_a_name_that_nobody_knows_is_an_answer_too() -> None:
    """Not a request that hangs."""
    code = """
account = Account("plain", "plain", Listener("udp", "127.0.0.1", 0), "sip:me@a.test", "me")
async def look_up(host, port, transport):
    return []
async def work(endpoint, events):
    token = uuid4()
    await endpoint.options("sip:nobody.invalid:5060", token, "plain")
    answered = await events.get()
    assert isinstance(answered, OptionsAnswered), answered
    print(answered.code, answered.headers)
asyncio.run(with_endpoint(work))
"""
    assert run_python(HEAD + code, "", "0").strip() == "502 None"


@pytest.mark.parametrize("found", [("fe80::1%eth0", 5060), ("127.0.0.1", 65_536)])
def test_an_address_that_cannot_be_told_ends_the_request(found: tuple[str, int]) -> None:
    """As does a look-up that finds nothing."""
    code = f"""
account = Account("plain", "plain", Listener("udp", "127.0.0.1", 0), "sip:me@a.test", "me")
async def look_up(host, port, transport):
    return [{found!r}]
async def work(endpoint, events):
    await endpoint.options("sip:nobody.invalid:5060", uuid4(), "plain")
    print((await events.get()).code)
asyncio.run(with_endpoint(work))
"""
    assert run_python(HEAD + code, "", "0").strip() == "502"


async def test_a_scope_is_no_part_of_what_the_system_finds() -> None:
    assert await system_addresses("fe80::1%lo", 5060, "udp") == [("fe80::1", 5060)]


def test_a_route_that_is_aimed_has_a_number_for_each_place() -> None:
    resolver = NameResolver(lambda host, port, transport, answer: None)

    def place(address: str, port: int = 5061) -> str:
        return resolver.place(f"sip:{NAME}:{port};transport=tls;maddr={address}")

    assert place("192.0.2.1") == f"sip:{NAME}:1;transport=tls"
    in_capitals = f"sip:{NAME.upper()}:5061;transport=tls;maddr=192.0.2.1"
    assert resolver.place(in_capitals) == place("192.0.2.1")
    assert [place("192.0.2.2"), place("192.0.2.1", 5071), place("[2001:db8::1]"), place("192.0.2.1")] == [
        f"sip:{NAME}:{number};transport=tls" for number in (2, 3, 4, 1)
    ]
    assert resolver.place("sip:192.0.2.1:5060;transport=udp") == "sip:192.0.2.1:5060;transport=udp"
    assert resolver.aim(f"sip:{NAME}:5061;transport=tls;maddr=192.0.2.1") == f"sip:{NAME}:5061;transport=tls"
    routes = {place(f"198.51.100.{n % 250}", 6000 + n) for n in range(2 * len(PLACE_NUMBERS))}
    assert len(routes) == len(PLACE_NUMBERS)  # the oldest are given up
