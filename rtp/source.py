"""Symmetric RTP: whose packets count, and where ours go.

Phones behind NAT signal addresses that do not work; their packets show the real one. So: the signalled
address until the first valid packet, then that packet's source, and from then on only that source, or a third
party could speak into the call. Three exceptions. Sound from the signalled address always wins: whoever was
quicker has no claim against it. After ``relatch_after_s`` without a packet from the source another one may take
over (NAT rebinding) if SSRC and payload type are the same: a phone keeps them, a stranger who waits for silence
or hold cannot know the SSRC. And when signalling moves the media, the lock opens; packets of the old source
that are still under way do not close it again.
"""

from __future__ import annotations

import ipaddress
from enum import Enum

from .events import Address

RELATCH_AFTER_S = 2.0


class Verdict(Enum):
    """What to do with a packet."""

    KNOWN = "known"
    LATCHED = "latched"  # accepted, and the source is new
    FOREIGN = "foreign"


class SourceLock:
    """The remote end of one RTP stream."""

    __slots__ = (
        "_heard",
        "_latched",
        "_moved_from",
        "_moved_heard",
        "_payload_type",
        "_relatch_after_s",
        "_remote",
        "_rtcp",
        "_signalled",
        "_signalled_rtcp",
        "_ssrc",
    )

    def __init__(self, relatch_after_s: float = RELATCH_AFTER_S) -> None:
        self._relatch_after_s = relatch_after_s
        self._signalled: Address | None = None
        self._signalled_rtcp: Address | None = None
        self._remote: Address | None = None  # of the last SDP, perhaps of hold
        self._rtcp: Address | None = None  # the first that spoke on a port of its own
        self._latched: Address | None = None
        self._heard = 0.0
        self._ssrc: int | None = None  # the sound's, or that of the packet which latched
        self._payload_type: int | None = None  # the sound's; None: not known for this configuration
        self._moved_from: Address | None = None
        self._moved_heard: float | None = None

    @property
    def latched(self) -> Address | None:
        """The source that is trusted, if any."""
        return self._latched

    @property
    def destination(self) -> Address | None:
        """Where to send; None while nothing but a hold address is known."""
        return self._latched or self._signalled

    @property
    def is_rtcp_muxed(self) -> bool:
        """RTCP shares the RTP port (RFC 5761)."""
        return self._signalled_rtcp is not None and self._signalled_rtcp == self._remote

    @property
    def rtcp_destination(self) -> Address | None:
        """Where RTCP goes: its own source if one spoke, else as signalled, else RTP's port plus one."""
        destination = self.destination
        if self._rtcp is not None or destination is None:
            return self._rtcp
        if self.is_rtcp_muxed:
            return destination
        return destination[0], destination[1] + 1 if self._signalled_rtcp is None else self._signalled_rtcp[1]

    def signal(self, remote: Address, rtcp: Address | None = None) -> None:
        """The addresses of an SDP. A remote as before, or one that cannot be sent to, leaves the lock as it is.

        ``rtcp``: None is the port above, the same address is multiplexed.
        """
        if (remote, rtcp) != (self._remote, self._signalled_rtcp):
            self._rtcp = None
        self._remote, self._signalled_rtcp = remote, rtcp
        self._payload_type = None
        if remote == self._signalled or not _is_sendable(remote):
            return
        self._signalled = remote
        if self._latched is not None and remote != self._latched:
            self._moved_from, self._moved_heard = self._latched, None
            self._latched = None

    def judge(
        self, addr: Address, ssrc: int, payload_type: int, now: float, *, is_sound: bool = True
    ) -> Verdict:
        """Decide on a valid packet from ``addr`` that arrived at ``now`` seconds.

        Only sound can take over; events and comfort noise say nothing about its type and SSRC.
        """
        if addr == self._latched:
            self._heard = now
            if is_sound:
                self._ssrc, self._payload_type = ssrc, payload_type
            return Verdict.KNOWN
        if not self._may_latch(addr, ssrc, payload_type, now, is_sound):
            return Verdict.FOREIGN
        self._latched = addr
        self._heard = now
        self._ssrc = ssrc
        if is_sound:
            self._payload_type = payload_type
        self._moved_from = None
        self._rtcp = None
        return Verdict.LATCHED

    def believes_rtcp(self, addr: Address) -> bool:
        """RTCP is the media host's; on a port of its own, the first source's there until the media's moves."""
        destination = self.destination
        return destination is not None and addr[0] == destination[0] and self._rtcp in (None, addr)

    def heard_rtcp(self, addr: Address) -> None:
        """A valid compound came from there."""
        if not self.is_rtcp_muxed:
            self._rtcp = addr

    def _may_latch(self, addr: Address, ssrc: int, payload_type: int, now: float, is_sound: bool) -> bool:
        if self._latched is None:
            return addr == self._signalled or addr != self._moved_from or not self._is_left_over(now)
        if not is_sound:
            return False
        if addr == self._signalled:
            return True
        return (
            now - self._heard >= self._relatch_after_s
            and ssrc == self._ssrc
            and (payload_type == self._payload_type or self._payload_type is None)
        )

    def _is_left_over(self, now: float) -> bool:
        """The old source after a move: ignored at first, but if nobody else speaks it is the right one."""
        if self._moved_heard is None:
            self._moved_heard = now
        return now - self._moved_heard < self._relatch_after_s


def _is_sendable(remote: Address) -> bool:
    """One machine's address. 0.0.0.0 means hold; a group's is nobody's; a name would block in the resolver."""
    host, port = remote
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return 0 < port <= 65535 and not address.is_unspecified and not address.is_multicast
