"""RTP sockets per trunk: range, address, DSCP as a packet bears it, and that everything is given back."""

from __future__ import annotations

import socket
import struct

import pytest

from rtp.errors import NoPortError, RtpError
from rtp.ports import PortAllocator
from sipua.media_ports import MediaPorts, Opened
from sipua.trunk import Trunk
from tests.ports import free_port

PEER = "127.0.0.1"


def trunk(**values: object) -> Trunk:
    return Trunk.model_validate({"schema": 1, "name": "a", "provider": "p", **values})


def one_pair() -> dict[str, int]:
    """The keys of a trunk whose range holds one pair, which was free a moment ago."""
    first = free_port()
    return {"rtp_port_min": first, "rtp_port_max": first + 1}


def closed(ports: MediaPorts, *opened: Opened) -> None:
    for each in opened:
        ports.give_back(each.sockets)


def test_a_trunk_without_wishes_has_what_the_process_has() -> None:
    default = PortAllocator(0, 0)
    ports = MediaPorts(default, "127.0.0.2")
    opened = ports.open(trunk(), PEER)
    assert (opened.address, default.in_use) == ("127.0.0.2", 1)
    assert [each.getsockname() for each in opened.sockets] == [
        ("127.0.0.2", opened.port), ("127.0.0.2", opened.port + 1)
    ]  # fmt: skip
    closed(ports, opened)
    assert default.in_use == 0


@pytest.mark.parametrize("bind", ["", "0.0.0.0"])
def test_no_address_is_the_one_that_leads_to_the_peer(bind: str) -> None:
    ports = MediaPorts(PortAllocator(0, 0), bind)
    opened = ports.open(trunk(), "127.0.0.9")
    assert opened.address == "127.0.0.1"
    assert opened.sockets[0].getsockname()[0] == (bind or "127.0.0.1")
    closed(ports, opened)


def test_a_range_and_an_address_of_its_own() -> None:
    default = PortAllocator(0, 0)
    ports = MediaPorts(default, "127.0.0.1")
    own = trunk(rtp_bind="127.0.0.3", **one_pair())
    opened = ports.open(own, PEER)
    assert (opened.port, opened.address, default.in_use) == (own.rtp_port_min, "127.0.0.3", 0)
    with pytest.raises(NoPortError, match=f"{own.rtp_port_min}-{own.rtp_port_max} on 127.0.0.3: 1 in use"):
        ports.open(own.model_copy(update={"name": "b"}), PEER)  # another trunk with the same range shares it
    other = ports.open(trunk(), PEER)  # and one without is not concerned
    closed(ports, opened, other)
    with pytest.raises(NoPortError, match="0 in use, 1 resting"):
        ports.open(own, PEER)


def test_one_port_of_overlapping_ranges_goes_back_to_its_own() -> None:
    ports = MediaPorts(PortAllocator(0, 0))
    range_ = one_pair()
    first = trunk(rtp_bind="127.0.0.2", **range_)
    wider = {**range_, "rtp_port_max": range_["rtp_port_max"] + 1}
    second = trunk(name="b", rtp_bind="127.0.0.3", **wider)
    of_first, of_second = ports.open(first, PEER), ports.open(second, PEER)
    assert of_first.port == of_second.port
    closed(ports, of_second)
    with pytest.raises(NoPortError, match=r"on 127\.0\.0\.3: 0 in use, 1 resting"):
        ports.open(second, PEER)
    with pytest.raises(NoPortError, match=r"on 127\.0\.0\.2: 1 in use, 0 resting"):
        ports.open(first, PEER)
    closed(ports, of_first)


def test_an_address_that_is_not_ours_is_an_error_that_takes_no_port() -> None:
    default = PortAllocator(0, 0)
    with pytest.raises(RtpError, match=r"cannot bind 192\.0\.2\.1"):
        MediaPorts(default).open(trunk(rtp_bind="192.0.2.1"), PEER)
    assert default.in_use == 0


def test_the_public_address_is_told_and_the_local_one_bound() -> None:
    ports = MediaPorts(PortAllocator(0, 0), "127.0.0.1")
    opened = ports.open(trunk(public_ip="203.0.113.7"), PEER)
    assert (opened.address, opened.sockets[0].getsockname()[0]) == ("203.0.113.7", "127.0.0.1")
    closed(ports, opened)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_packet_bears_the_code_point(address: str) -> None:
    is_6 = ":" in address
    family = socket.AF_INET6 if is_6 else socket.AF_INET
    ports = MediaPorts(PortAllocator(0, 0), address)
    opened = ports.open(trunk(dscp=46), address)
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.settimeout(5)
        peer.bind((address, 0))
        if is_6:
            peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        for each in opened.sockets:  # RTP and RTCP
            each.sendto(b"x", peer.getsockname())
            _, [(_, _, data)], _, _ = peer.recvmsg(10, 100)
            assert (struct.unpack("i", data)[0] if is_6 else data[0]) == 46 << 2
    closed(ports, opened)
