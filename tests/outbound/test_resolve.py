"""Targets of a trunk: what DNS answers mean, and the adapter against a name server of the test's own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest

from sipua.resolve import (
    Naptr,
    Place,
    Resolver,
    Srv,
    UnresolvedName,
    hosts_of,
    parse_place,
    resolve_trunks,
    srv_name,
)
from sipua.trunk import Trunk
from tests.outbound.name_server import Zone, start_name_server

UDP = Place("carrier.test", 0, "udp")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("carrier.test", "carrier.test", 0),
        ("carrier.test:5070", "carrier.test", 5070),
        ("192.0.2.1", "192.0.2.1", 0),
        ("192.0.2.1:5080", "192.0.2.1", 5080),
        ("[2001:db8::1]:5080", "2001:db8::1", 5080),
        ("[2001:db8::1]", "2001:db8::1", 0),
        ("2001:db8::1", "2001:db8::1", 0),
    ],
)
def test_places(text: str, host: str, port: int) -> None:
    assert parse_place(text, "udp") == Place(host, port, "udp")


@pytest.mark.parametrize(
    "text", ["", ":5060", "carrier.test:", "carrier.test:0", "carrier.test:65536", "[]:1"]
)
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected host"):
        parse_place(text, "udp")


def naptr(order: int, preference: int, service: str, replacement: str, flags: str = "s") -> Naptr:
    return Naptr(order, preference, flags, service, replacement)


@pytest.mark.parametrize(
    ("transport", "records", "name"),
    [
        ("udp", [], "_sip._udp.carrier.test"),
        ("tcp", [], "_sip._tcp.carrier.test"),
        ("tls", [], "_sips._tcp.carrier.test"),
        ("udp", [naptr(10, 5, "SIP+D2U", "u.test")], "u.test"),
        ("udp", [naptr(10, 5, "sip+d2u", "u.test")], "u.test"),
        ("tls", [naptr(10, 5, "SIPS+D2T", "s.test"), naptr(5, 5, "SIP+D2U", "u.test")], "s.test"),
        ("udp", [naptr(20, 1, "SIP+D2U", "b.test"), naptr(10, 9, "SIP+D2U", "a.test")], "a.test"),
        ("udp", [naptr(10, 9, "SIP+D2U", "b.test"), naptr(10, 1, "SIP+D2U", "a.test")], "a.test"),
        ("udp", [naptr(10, 1, "E2U+sip", "x.test", "u")], "_sip._udp.carrier.test"),
        ("tcp", [naptr(10, 1, "SIP+D2U", "u.test")], "_sip._tcp.carrier.test"),
    ],
)
def test_naptr_leads_to_the_srv_name_of_our_transport(
    transport: str, records: list[Naptr], name: str
) -> None:
    assert srv_name(Place("carrier.test", 0, transport), records) == name


@pytest.mark.parametrize(
    ("place", "records", "expected"),
    [
        (UDP, [], [(0, 0, 5060, "carrier.test")]),
        (Place("carrier.test", 0, "tls"), [], [(0, 0, 5061, "carrier.test")]),
        (Place("carrier.test", 5070, "udp"), [], [(0, 0, 5070, "carrier.test")]),
        (UDP, [Srv(20, 1, 5062, "b"), Srv(10, 1, 5061, "a")], [(10, 1, 5061, "a"), (20, 1, 5062, "b")]),
        (UDP, [Srv(0, 0, 0, "."), Srv(1, 0, 5060, "a")], [(1, 0, 5060, "a")]),
    ],
)
def test_srv(place: Place, records: list[Srv], expected: list[tuple[int, int, int, str]]) -> None:
    found = [(each.priority, each.weight, each.port, each.target) for each in hosts_of(place, records)]
    assert found == expected


def test_srv_that_says_no() -> None:
    with pytest.raises(UnresolvedName, match=r"carrier\.test.*no SIP over udp"):
        hosts_of(UDP, [Srv(0, 0, 0, ".")])


FULL: Zone = {
    ("carrier.test", "NAPTR"): [
        '10 5 "s" "SIP+D2U" "" _sip._udp.edge.test.',
        '5 5 "s" "SIPS+D2T" "" tls.test.',
    ],
    ("_sip._udp.edge.test", "SRV"): ["20 0 5062 second.test.", "10 7 5061 first.test."],
    ("first.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("first.test", "AAAA"): ["2001:db8::1"],
    ("second.test", "A"): ["192.0.2.3"],
    ("carrier.test", "A"): ["192.0.2.9"],
}


async def resolved(
    zone: Zone, place: Place, static: Mapping[str, Sequence[str]] | None = None, timeout_s: float = 3.0
) -> tuple[list[str], list[tuple[str, str]]]:
    """What comes out (label, priority, weight, name), and what the server was asked."""
    server = await start_name_server(zone)
    try:
        resolver = Resolver(static or {}, timeout_s=timeout_s, nameservers=[server.address])
        found = await resolver.addresses(place)
        return [f"{a.label} {a.priority}/{a.weight} {a.host}" for a in found], server.asked
    finally:
        server.transport.close()


async def test_naptr_srv_and_every_address() -> None:
    found, _ = await resolved(FULL, UDP)
    found[:2] = sorted(found[:2])  # the server of dnspython shuffles
    assert found == [
        "192.0.2.1:5061;udp 10/7 first.test",
        "192.0.2.2:5061;udp 10/7 first.test",
        "[2001:db8::1]:5061;udp 10/7 first.test",
        "192.0.2.3:5062;udp 20/0 second.test",
    ]


async def test_a_name_without_srv() -> None:
    zone: Zone = {("carrier.test", "A"): ["192.0.2.9", "192.0.2.10"]}
    found, asked = await resolved(zone, UDP)
    assert set(found) == {"192.0.2.9:5060;udp 0/0 carrier.test", "192.0.2.10:5060;udp 0/0 carrier.test"}
    assert ("_sip._udp.carrier.test", "SRV") in asked


@pytest.mark.parametrize(
    "place", [Place("carrier.test", 5070, "udp"), Place("carrier.test", 0, "udp", srv=False)]
)
async def test_a_port_or_srv_off_asks_for_addresses_alone(place: Place) -> None:
    found, asked = await resolved(FULL, place)
    assert found == [f"192.0.2.9:{place.port or 5060};udp 0/0 carrier.test"]
    assert {kind for _, kind in asked} == {"A", "AAAA"}


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
async def test_an_address_needs_no_dns(host: str) -> None:
    found, asked = await resolved({}, Place(host, 5080, "tcp"))
    shown = f"[{host}]" if ":" in host else host
    assert (found, asked) == ([f"{shown}:5080;tcp 0/0 {host}"], [])


async def test_static_hosts_come_before_dns() -> None:
    static = {"Carrier.Test": ["192.0.2.50", "192.0.2.51"]}
    found, asked = await resolved(FULL, UDP, static)
    assert [each.split(";")[0] for each in found] == ["192.0.2.50:5060", "192.0.2.51:5060"]
    assert asked == []


async def test_static_hosts_hold_for_the_targets_of_srv() -> None:
    found, asked = await resolved(FULL, UDP, {"first.test": ["192.0.2.50"]})
    assert [each.split(";")[0] for each in found] == ["192.0.2.50:5061", "192.0.2.3:5062"]
    assert ("first.test", "A") not in asked


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ({}, r"carrier\.test: DNS knows no A or AAAA record of carrier\.test"),
        ({("_sip._udp.carrier.test", "SRV"): ["0 0 5060 gone.test."]}, r"no A or AAAA record of gone\.test"),
        ({("_sip._udp.carrier.test", "SRV"): ["0 0 0 ."]}, "offers no SIP over udp"),
        ({("carrier.test", "NAPTR"): "SERVFAIL"}, r"carrier\.test: DNS query for NAPTR failed"),
        ({("_sip._udp.carrier.test", "SRV"): "REFUSED"}, "DNS query for SRV failed"),
    ],
)
async def test_names_that_lead_nowhere(zone: Zone, words: str) -> None:
    with pytest.raises(UnresolvedName, match=words):
        await resolved(zone, UDP)


async def test_a_server_that_is_silent() -> None:
    begun = time.monotonic()
    with pytest.raises(UnresolvedName, match=r"carrier\.test: no answer from DNS within 0\.3 s"):
        await resolved({("carrier.test", "NAPTR"): "silence"}, UDP, timeout_s=0.3)
    assert time.monotonic() - begun < 1.0


async def test_each_trunk_has_addresses_of_the_family_that_it_listens_in() -> None:
    server = await start_name_server(FULL)
    trunks = [
        Trunk.model_validate(
            {"schema": 1, "name": name, "provider": "p", "enabled": True, "direction": "both",
             "domain": "first.test:5060", "bind": bind}
        )
        for name, bind in (("four", "127.0.0.1"), ("six", "::1"), ("other", ""))
    ]  # fmt: skip
    four, six = ["192.0.2.1", "192.0.2.2"], ["2001:db8::1"]
    try:
        for default, expected in (("0.0.0.0", four), ("::", six)):
            found, faults = await resolve_trunks(trunks, bind=default, nameservers=[server.address])
            assert faults == {}
            assert {name: sorted(each.address for each in of) for name, of in found.items()} == {
                "four": four, "six": six, "other": expected
            }  # fmt: skip
    finally:
        server.transport.close()
