"""The asyncio adapter of one media leg: two sockets, one timer, no protocol.

It reads datagrams and feeds them to ``RtpStream``, hands on the events, sends what the stream gives on each
tick of the pacer, and keeps one timer for the stream's deadline. Whatever a peer or the kernel does (garbage,
ICMP errors, a full socket buffer) is counted and never raised out of a callback.

``add_reader`` and one ``recvfrom`` per wake-up: measured with 100 sockets at 50 packets/s each, that costs
12.3–13.0 µs of CPU per packet on uvloop and 19 on the standard loop; ``create_datagram_endpoint`` 12.5–13.8
and 48; reading until the socket is empty 18.5 and 26 (the empty read raises). It also lets every call have
its turn while one port is flooded. Only before a deadline is said to be over is the RTP socket read further: what came
while the process stood still is there, and uvloop runs timers before it reads.

Who sends ``SHUT_OUT_AFTER`` datagrams that are not the peer's is shut out by the kernel (``gate``), until signalling
moves the media.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from . import gate
from .events import Address, StreamEvent
from .source import Guests
from .stream import RtpStream

logger = logging.getLogger(__name__)

DATAGRAM_BYTES = 4096  # more than any RTP packet with audio; longer ones are cut and fall out as oversized
SHUT_OUT_AFTER = 200  # some 2.5 ms of reading; stray packets and an old stream's last ones are fewer
DRAIN_DATAGRAMS = 64  # more than a second of one call; a flood does not hold up the timers of the others

Receive = Callable[[bytes, Address, float], list[StreamEvent]]


class MediaTransport:
    """Sockets for one ``RtpStream``; a ``pacer.PacedSender``. Open within a running event loop."""

    __slots__ = (
        "_clock",
        "_closed",
        "_guests",
        "_loop",
        "_on_events",
        "_port",
        "_release",
        "_rtcp",
        "_rtp",
        "_strangers",
        "_timer",
        "_timer_at",
        "callback_errors",
        "receive_errors",
        "send_errors",
        "stream",
    )

    def __init__(
        self,
        stream: RtpStream,
        sockets: tuple[socket.socket, socket.socket],
        on_events: Callable[[list[StreamEvent]], None],
        *,
        release: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to read a pair of ``PortAllocator.open_pair``; ``release`` gets the RTP port after ``close``."""
        self.stream = stream
        self.send_errors = 0  # the kernel refused: full buffer, ICMP error, no route
        self.receive_errors = 0
        self.callback_errors = 0  # on_events raised: our own bug, logged
        self._on_events = on_events
        self._clock = clock
        self._release = release
        self._closed = False
        self._strangers = 0  # datagrams from elsewhere, since the gate was open
        self._guests: tuple[Guests, Guests] | None = None  # of RTP and RTCP, if the gates are shut
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._rtp, self._rtcp = sockets
        self._port: int = self._rtp.getsockname()[1]
        self._loop.add_reader(self._rtp.fileno(), self._read_rtp)
        self._loop.add_reader(self._rtcp.fileno(), self._read_rtcp)

    def _read_rtp(self) -> None:
        self._read(self._rtp, self.stream.receive_rtp)

    def _read_rtcp(self) -> None:
        self._read(self._rtcp, self.stream.receive_rtcp)

    def _read(self, sock: socket.socket, receive: Receive) -> None:
        if self._take(sock, receive):
            self._arm()

    def _take(self, sock: socket.socket, receive: Receive) -> bool:
        """One datagram; False: there is none."""
        try:
            data, addr = sock.recvfrom(DATAGRAM_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # an ICMP error of an earlier send shows up here
            self.receive_errors += 1
            return True
        events = receive(data, addr[:2], self._clock())
        if events:
            self._deliver(events)
        elif self._is_stranger(sock, addr):
            self._strangers += 1
        return True

    def _is_stranger(self, sock: socket.socket, addr: Address) -> bool:
        """Not where our packets go; of RTCP, which may come from any port, not that host."""
        ours = self.stream.destination if sock is self._rtp else self.stream.rtcp_destination
        return ours is None or addr[0] != ours[0] or (sock is self._rtp and addr[1] != ours[1])

    def _deliver(self, events: list[StreamEvent]) -> None:
        try:
            self._on_events(events)
        except Exception:
            self.callback_errors += 1
            logger.exception("the receiver of media events failed")

    def _arm(self) -> None:
        """One timer, moved only when the stream's deadline moved to an earlier time or the old one rang."""
        deadline = self.stream.deadline()
        if deadline is None or self._closed:
            return
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        for _ in range(DRAIN_DATAGRAMS):
            if self._closed or not self._take(self._rtp, self.stream.receive_rtp):
                break
        if self._closed:  # by the owner, for what was heard just now
            return
        events = self.stream.on_timer(self._clock())
        if events:
            self._deliver(events)
        self._arm()

    def tick(self, now: float) -> None:
        """Send what is due (the pacer calls this every 20 ms with the scheduled time)."""
        if self._closed:
            return
        if self._strangers >= SHUT_OUT_AFTER:
            self._guard()
        packet = self.stream.next_packet(now)
        if packet is not None:
            self.send(packet)
        report = self.stream.next_rtcp(self._clock())
        if report is not None:
            self._send_rtcp(report)
            self.count_kernel_drops()

    def _guard(self) -> None:
        """Shut strangers out, and follow whom the stream trusts."""
        guests, rtcp = self.stream.guests, self.stream.rtcp_destination
        wanted = None
        if guests is not None:
            addresses = guests.addresses if rtcp is None else (*guests.addresses, rtcp)
            wanted = guests, Guests(tuple((host, 0) for host, _ in addresses))
        if wanted == self._guests:
            return
        self._guests = wanted
        if wanted is None:
            self._strangers = 0
            for sock in (self._rtp, self._rtcp):
                gate.open_again(sock)
            return
        gate.shut(self._rtp, wanted[0])
        gate.shut(self._rtcp, wanted[1])

    def count_kernel_drops(self) -> None:
        """Note in the stream's ``dropped`` what never came up to us: shut out, or no room in the socket."""
        drops = 0 if self._closed else gate.kernel_drops(self._rtp) + gate.kernel_drops(self._rtcp)
        if drops:
            self.stream.dropped["kernel"] = drops

    def send(self, data: bytes) -> None:
        """One datagram to the stream's destination; errors are counted."""
        self._send(self._rtp, data, self.stream.destination)

    def _send_rtcp(self, data: bytes) -> None:
        sock = self._rtp if self.stream.is_rtcp_muxed else self._rtcp
        self._send(sock, data, self.stream.rtcp_destination)

    def _send(self, sock: socket.socket, data: bytes, addr: Address | None) -> None:
        if addr is None or self._closed:
            return
        try:
            sock.sendto(data, addr)
        except (OSError, OverflowError):  # OverflowError: a port above 65535
            self.send_errors += 1

    def close(self) -> None:
        """Say BYE, close the sockets, give the ports back. May be called twice."""
        if self._closed:
            return
        farewell = self.stream.bye(self._clock())
        if farewell is not None:
            self._send_rtcp(farewell)
        self.count_kernel_drops()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self._rtp, self._rtcp):
            self._loop.remove_reader(sock.fileno())
            sock.close()
        if self._release is not None:
            self._release(self._port)
