"""RTP sockets as a trunk wants them: its own range and address or those of the process, marked with its DSCP.

What is opened names the address for our SDP: the trunk's public one if it has any, else the local one. Thread-safe: the
pjsua2 thread asks for calls that come in, the loop for those that go out.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from rtp.ports import PortAllocator
from sipua.trunk import Trunk
from sipua.trunk_rules import fixed_address

Sockets = tuple[socket.socket, socket.socket]  # RTP, RTCP
ANY = ("0.0.0.0", "::")
EARLY_MAX = 4096  # datagrams that a socket holds at most


def discard(sockets: Sockets) -> None:
    """What has come before the answer is early media, a ringing tone or an announcement: nobody is to hear it."""
    for each in sockets:
        with contextlib.suppress(OSError):  # nothing more, or an ICMP error of something earlier
            for _ in range(EARLY_MAX):
                each.recv(1, socket.MSG_DONTWAIT | socket.MSG_TRUNC)


@dataclass(frozen=True, slots=True)
class Opened:
    """A pair and what the far end is told of it."""

    sockets: Sockets
    address: str
    port: int


class MediaPorts:
    """``default`` is the range of trunks without one, and its quiet time that of all ranges.

    ``bind`` is the address of trunks without one; "" is the one that leads to the peer. ``address_of`` is what a trunk
    is told of us; "" is the address that the socket has.
    """

    def __init__(
        self, default: PortAllocator, bind: str = "", address_of: Callable[[Trunk], str] = fixed_address
    ) -> None:
        self._default = default
        self._bind = bind
        self._address_of = address_of
        self._own: dict[tuple[int, int], PortAllocator] = {}
        # By bound address and RTP port; a pair may be out again before the release of the former comes.
        self._out: dict[tuple[str, int], list[PortAllocator]] = {}
        self._lock = threading.Lock()

    def open(self, trunk: Trunk, peer: str) -> Opened:
        """A bound pair for a call with ``peer``. RtpError if there is none, OSError if no way leads there."""
        bind = trunk.rtp_bind or self._bind or local_address_towards(peer)
        local = local_address_towards(peer) if bind in ANY else bind
        with self._lock:
            allocator = self._range_of(trunk)
            sockets = allocator.open_pair(bind)
            bound = bound_address(sockets)
            self._out.setdefault(bound, []).append(allocator)
        if trunk.dscp:
            for each in sockets:
                mark(each, trunk.dscp)
        return Opened(sockets, self._address_of(trunk) or local, bound[1])

    def counts(self) -> tuple[int, int]:
        """Pairs in use and pairs that there are, of all ranges; those of the system's choice only while in use."""
        with self._lock:
            ranges = [self._default, *self._own.values()]
            return sum(each.in_use for each in ranges), sum(each.size for each in ranges)

    def release(self, bound: tuple[str, int]) -> None:
        """The pair whose RTP socket had this address and port is closed; one that is not out is ignored."""
        with self._lock:
            allocators = self._out.get(bound, [])
            if allocators:
                allocators.pop(0).release(bound[1])
            if not allocators:
                self._out.pop(bound, None)

    def give_back(self, sockets: Sockets) -> None:
        """Of a call that came to nothing: closes the pair and releases it."""
        bound = bound_address(sockets)
        for each in sockets:
            each.close()
        self.release(bound)

    def _range_of(self, trunk: Trunk) -> PortAllocator:
        """One allocator per range, whichever trunks share it, for as long as the process lives."""
        if not trunk.rtp_port_min:
            return self._default
        wanted = trunk.rtp_port_min, trunk.rtp_port_max
        if wanted not in self._own:
            self._own[wanted] = PortAllocator(*wanted, quiet_s=self._default.quiet_s)
        return self._own[wanted]


def bound_address(sockets: Sockets) -> tuple[str, int]:
    """What the RTP socket of an open pair is bound to."""
    address, port = sockets[0].getsockname()[:2]
    return str(address), int(port)


def mark(sock: socket.socket, dscp: int) -> None:
    """Every packet of the socket bears the code point (RFC 2474: the upper six bits of the byte)."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


def local_address_towards(peer: str) -> str:
    """The address that the kernel would send from; connecting a UDP socket sends nothing."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        return str(probe.getsockname()[0])
