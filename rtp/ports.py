"""Port pairs for media: RTP on the even port, RTCP on the odd one above (RFC 3550 §11).

A range is a queue, least recently used first: a pair that was given back rests for ``quiet_s``, as the last
call's packets are still under way and must not be heard by the next one. A pair that somebody else on the
machine holds (the range may overlap the ephemeral ports) goes to the end of the queue and the next is tried.
The range 0–0 takes any free pair the operating system gives. Bound by the range; the clock is an argument.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import deque
from collections.abc import Callable

from .errors import NoPortError, RtpError

QUIET_S = 2.0
OS_ATTEMPTS = 64  # half of the ports offered are odd, some have a neighbour in use
RECEIVE_BUFFER_BYTES = 1 << 18  # 256 KiB: about 1 s of a 1,000 packets/s flood


class PortAllocator:
    """Hands out bound socket pairs of ``port_min``–``port_max`` (both 0: any)."""

    def __init__(
        self,
        port_min: int,
        port_max: int,
        *,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError for a range without a single even/odd pair."""
        self.port_min = port_min
        self.port_max = port_max
        self.quiet_s = quiet_s
        self._clock = clock
        self._any = port_min == 0 and port_max == 0
        first = port_min + port_min % 2
        if not self._any and not (0 < first < port_max <= 65535):
            raise ValueError(f"RTP port range {port_min}-{port_max} holds no even/odd pair within 1-65535")
        ports = () if self._any else range(first, port_max, 2)
        self._free: deque[tuple[int, float]] = deque((port, float("-inf")) for port in ports)
        self._used: set[int] = set()

    @property
    def in_use(self) -> int:
        """Pairs handed out and not given back."""
        return len(self._used)

    @property
    def size(self) -> int:
        """Pairs that there are in the range; 0: any that the system gives."""
        return len(self._used) + len(self._free) if not self._any else 0

    def open_pair(self, bind: str) -> tuple[socket.socket, socket.socket]:
        """Two non-blocking UDP sockets bound to an even port of ``bind`` and the one above.

        Raises NoPortError if every pair is used, resting or held by others, RtpError if ``bind`` is no
        address of this machine. Give the pair back with ``release`` after closing the sockets.
        """
        return self._open_any(bind) if self._any else self._open_of_range(bind)

    def _open_of_range(self, bind: str) -> tuple[socket.socket, socket.socket]:
        now = self._clock()
        resting = held = 0
        for _ in range(len(self._free)):
            port, released = self._free.popleft()
            if now - released < self.quiet_s:
                self._free.append((port, released))
                resting += 1
                continue
            try:
                pair = _bind_pair(bind, port)
            except RtpError:
                self._free.appendleft((port, released))
                raise
            if pair is not None:
                self._used.add(port)
                return pair
            self._free.append((port, released))
            held += 1
        raise NoPortError(
            f"no RTP port pair left in {self.port_min}-{self.port_max} on {bind}: {len(self._used)} in use, "
            f"{resting} resting after a call, {held} held by other programs"
        )

    def _open_any(self, bind: str) -> tuple[socket.socket, socket.socket]:
        for _ in range(OS_ATTEMPTS):
            pair = _bind_pair(bind, 0)
            if pair is not None:
                self._used.add(pair[0].getsockname()[1])
                return pair
        raise NoPortError(f"the operating system had no even/odd pair of UDP ports on {bind}")

    def release(self, port: int) -> None:
        """Give back the pair whose RTP port is ``port``; a port that was not handed out is ignored."""
        if port in self._used:
            self._used.remove(port)
            if not self._any:
                self._free.append((port, self._clock()))


def _bind_pair(bind: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    """The pair at ``port`` (0: wherever the system likes, if that is even), or None if it is not free."""
    rtp = _bind(bind, port)
    if rtp is None:
        return None
    rtp_port: int = rtp.getsockname()[1]
    rtcp = _bind(bind, rtp_port + 1) if rtp_port % 2 == 0 else None
    if rtcp is None:
        rtp.close()
        return None
    return rtp, rtcp


def _bind(bind: str, port: int) -> socket.socket | None:
    """A non-blocking UDP socket, or None if somebody has the port."""
    sock = socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((bind, port))
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            return None
        raise RtpError(f"cannot bind {bind}:{port}: {exc.strerror or exc}") from exc
    return sock
