"""Port pairs: order of use, quiet time, ports that others hold, and what is said when none is left."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from rtp.errors import NoPortError, RtpError
from rtp.ports import PortAllocator
from tests.ports import free_port

HOST = "127.0.0.1"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def first_port() -> int:
    """The first of eight ports (even) that were free a moment ago."""
    return free_port(HOST)


@contextlib.contextmanager
def opened(ports: PortAllocator) -> Iterator[int]:
    """A pair that is closed and given back at the end."""
    rtp, rtcp = ports.open_pair(HOST)
    port: int = rtp.getsockname()[1]
    try:
        assert rtcp.getsockname() == (HOST, port + 1)
        assert port % 2 == 0
        assert not rtp.getblocking()
        yield port
    finally:
        rtp.close()
        rtcp.close()
        ports.release(port)


def test_pairs_are_used_in_turn_and_rest_after_a_call(first_port: int) -> None:
    clock = Clock()
    ports = PortAllocator(first_port, first_port + 3, clock=clock)
    with opened(ports) as one:
        assert ports.in_use == 1
    clock.now += 0.1
    with opened(ports) as two:
        assert [one, two] == [first_port, first_port + 2]
    with pytest.raises(NoPortError, match=r"0 in use, 2 resting"):
        ports.open_pair(HOST)
    clock.now += 1.95  # only the first has rested for 2 s
    with opened(ports) as three:
        assert three == one


def test_the_longest_unused_pair_comes_first(first_port: int) -> None:
    clock = Clock()
    ports = PortAllocator(first_port, first_port + 7, clock=clock)
    used = []
    for _ in range(8):
        clock.now += 2.0
        with opened(ports) as port:
            used.append(port)
    assert used == [first_port + 2 * (n % 4) for n in range(8)]


def test_a_pair_that_another_program_holds_is_passed_over(first_port: int) -> None:
    ports = PortAllocator(first_port, first_port + 3)
    for taken in (first_port, first_port + 1):  # its RTP or its RTCP port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((HOST, taken))
            fresh = PortAllocator(first_port, first_port + 3)
            with opened(fresh) as port:
                assert port == first_port + 2
    with opened(ports) as port:
        assert port == first_port


def test_no_pair_left_names_the_range(first_port: int) -> None:
    ports = PortAllocator(first_port, first_port + 1)
    with (
        opened(ports),
        pytest.raises(NoPortError, match=rf"{first_port}-{first_port + 1} on 127.0.0.1: 1 in use"),
    ):
        ports.open_pair(HOST)
    assert ports.in_use == 0


def test_an_odd_first_port_is_skipped(first_port: int) -> None:
    with opened(PortAllocator(first_port + 1, first_port + 4)) as port:
        assert port == first_port + 2


def test_zero_means_any_port_of_the_system() -> None:
    ports = PortAllocator(0, 0)
    with contextlib.ExitStack() as stack:
        numbers = [stack.enter_context(opened(ports)) for _ in range(20)]
        assert len(set(numbers)) == 20
        assert ports.in_use == 20
    assert ports.in_use == 0


@pytest.mark.parametrize(("low", "high"), [(5, 5), (4001, 4002), (0, 10), (60000, 70000), (20, 10)])
def test_a_range_without_a_pair_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match=f"{low}-{high}"):
        PortAllocator(low, high)


def test_an_address_that_is_not_ours_is_no_lack_of_ports(first_port: int) -> None:
    ports = PortAllocator(first_port, first_port + 3)
    with pytest.raises(RtpError, match=r"192\.0\.2\.1") as caught:
        ports.open_pair("192.0.2.1")
    assert not isinstance(caught.value, NoPortError)
    with opened(ports) as port:
        assert port == first_port


def test_releasing_a_foreign_port_does_nothing(first_port: int) -> None:
    ports = PortAllocator(first_port, first_port + 1)
    ports.release(12)
    ports.release(first_port)
    with opened(ports) as port:
        assert port == first_port
