"""Symmetric RTP: whose packets count, and where ours go.

Phones behind NAT signal addresses that do not work; their packets show the real one. So the signalled address counts
until a source has proven itself, then only that source, or a third party could speak into the call ("RTP bleed"):

| who speaks                        | nobody is latched     | within the window       | after it                       |
|-----------------------------------|-----------------------|-------------------------|--------------------------------|
| the signalled address             | latched at once       | takes over              | takes over                     |
| another port of its host          | by its second packet  | takes over a stranger's | foreign                        |
| who continues SSRC and sequence   | by its second packet  | takes over (rebinding)  | after ``relatch_after_s`` of   |
|                                   |                       |                         | silence                        |
| anybody else                      | by its second packet  | foreign                 | foreign                        |
| the source before signalling      | if nobody else speaks |                         |                                |
| moved the media                   | ``relatch_after_s``   |                         |                                |

* Two packets in sequence prove a source (RFC 3550 A.1): a datagram of random bytes looks like valid RTP once in some
  hundred, and who is latched by one would be deaf to the phone. The first is kept, nothing is lost.
* Only sound takes over; events and comfort noise may have an SSRC of their own.
* The window begins with each latch. A stranger who sprays RTP over the port range may be quicker than the phone, so
  what the SDP names has the better claim; the SSRC is 32 bits that a stranger cannot guess.
* After it a source that speaks is never replaced but by the signalled address itself. Silence, hold and a re-INVITE
  that repeats the address open nothing for a stranger. One that names another address opens the lock.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum

from .events import Address
from .packet import RtpPacket

RELATCH_WINDOW_S = 3.0
RELATCH_AFTER_S = 2.0
CANDIDATES = 16  # who has sent one packet; under a flood of 65,536/s some 10 come between two of a phone's
PROOF_SEQUENCE = 16  # packets that may lie between the two
MAX_DROPOUT = 3000  # packets, RFC 3550 A.1


class Verdict(Enum):
    """What to do with a packet."""

    KNOWN = "known"
    LATCHED = "latched"  # accepted, and the source is new
    UNPROVEN = "unproven"  # kept as ``SourceLock.first``, should the source prove itself; else FOREIGN
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A source that has spoken once."""

    packet: RtpPacket
    arrival: float


@dataclass(frozen=True, slots=True)
class Guests:
    """Who could be heard: datagrams of these addresses (port 0: any), and RTP with this SSRC."""

    addresses: tuple[Address, ...]
    ssrc: int | None = None


class SourceLock:
    """The remote end of one RTP stream."""

    __slots__ = (
        "_candidates",
        "_heard",
        "_latched",
        "_latched_at",
        "_moved_from",
        "_moved_heard",
        "_payload_type",
        "_relatch_after_s",
        "_relatch_window_s",
        "_remote",
        "_rtcp",
        "_sequence_number",
        "_signalled",
        "_signalled_rtcp",
        "first",
        "ssrc",
        "turned_away",
    )

    def __init__(
        self, relatch_window_s: float = RELATCH_WINDOW_S, relatch_after_s: float = RELATCH_AFTER_S
    ) -> None:
        self._relatch_window_s = relatch_window_s
        self._relatch_after_s = relatch_after_s
        self._signalled: Address | None = None
        self._signalled_rtcp: Address | None = None
        self._remote: Address | None = None  # of the last SDP, perhaps of hold
        self._rtcp: Address | None = None  # the first that spoke on a port of its own
        self._latched: Address | None = None
        self._latched_at = 0.0
        self._heard = 0.0
        self._payload_type: int | None = None  # the sound's; None: not known for this configuration
        self._sequence_number = 0  # of the last sound
        self._moved_from: Address | None = None
        self._moved_heard: float | None = None
        self._candidates: dict[Address, Candidate] = {}
        self.ssrc: int | None = None  # the sound's, or that of the packet which latched
        self.first: Candidate | None = None  # after LATCHED: the packet that waited for the proof
        self.turned_away = 0  # after LATCHED: packets of others that waited for theirs

    @property
    def latched(self) -> Address | None:
        """The source that is trusted, if any."""
        return self._latched

    @property
    def guests(self) -> Guests | None:
        """Whose packets may count from now on, for a filter; None: anybody's."""
        if self._latched is None:
            return None
        if self._signalled is None:
            return Guests((self._latched,), self.ssrc)
        host, port = self._signalled
        is_at_home = self._is_of_signalled_host(self._latched)  # else that host may take over, from any port
        return Guests((self._latched, (host, port if is_at_home else 0)), self.ssrc)

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
        """Where RTCP goes: its own source if one spoke, else as signalled (RFC 3605), else RTP's port plus one."""
        destination, rtcp = self.destination, self._signalled_rtcp
        if self._rtcp is not None or destination is None:
            return self._rtcp
        if self.is_rtcp_muxed:
            return destination
        if rtcp is None:
            return destination[0], destination[1] + 1
        return rtcp if destination == self._remote and _is_sendable(rtcp) else (destination[0], rtcp[1])

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
        self._candidates.clear()
        if self._latched is not None and remote != self._latched:
            self._moved_from, self._moved_heard = self._latched, None
            self._latched = None

    def judge(self, addr: Address, packet: RtpPacket, now: float, *, is_sound: bool = True) -> Verdict:
        """Decide on a valid packet from ``addr`` that arrived at ``now`` seconds."""
        if addr != self._latched:
            if self._latched is not None:
                if not is_sound or not self._may_take_over(addr, packet, now):
                    return Verdict.FOREIGN
            elif (verdict := self._may_be_first(addr, packet, now)) is not Verdict.LATCHED:
                return verdict
            self._latch(addr, packet, now)
            verdict = Verdict.LATCHED
        else:
            verdict = Verdict.KNOWN
        self._heard = now
        if is_sound:
            self.ssrc = packet.ssrc
            self._payload_type = packet.payload_type
            self._sequence_number = packet.sequence_number
        return verdict

    def _latch(self, addr: Address, packet: RtpPacket, now: float) -> None:
        self.first = self._candidates.pop(addr, None)
        self.turned_away = len(self._candidates)
        self._candidates.clear()
        self._latched, self._latched_at = addr, now
        self.ssrc, self._sequence_number = packet.ssrc, packet.sequence_number
        self._moved_from = None
        self._rtcp = None

    def _may_be_first(self, addr: Address, packet: RtpPacket, now: float) -> Verdict:
        if addr == self._signalled:
            self._candidates.pop(addr, None)
            return Verdict.LATCHED
        if addr == self._moved_from:
            return Verdict.FOREIGN if self._is_left_over(now) else Verdict.LATCHED
        known = self._candidates.get(addr)
        if known is not None and continues(packet, known.packet, PROOF_SEQUENCE):
            return Verdict.LATCHED
        is_full = known is None and len(self._candidates) >= CANDIDATES
        if is_full:
            del self._candidates[next(iter(self._candidates))]
        self._candidates[addr] = Candidate(packet, now)
        return Verdict.UNPROVEN if known is None and not is_full else Verdict.FOREIGN  # one for another

    def _may_take_over(self, addr: Address, packet: RtpPacket, now: float) -> bool:
        if addr == self._signalled:
            return True
        is_in_window = now - self._latched_at < self._relatch_window_s
        if (
            is_in_window
            and self._is_of_signalled_host(addr)
            and not self._is_of_signalled_host(self._latched)
        ):
            return True
        return (
            (is_in_window or now - self._heard >= self._relatch_after_s)
            and packet.ssrc == self.ssrc
            and 0 < (packet.sequence_number - self._sequence_number) & 0xFFFF <= MAX_DROPOUT
            and self._payload_type in (None, packet.payload_type)
        )

    def _is_of_signalled_host(self, addr: Address | None) -> bool:
        return addr is not None and self._signalled is not None and addr[0] == self._signalled[0]

    def _is_left_over(self, now: float) -> bool:
        """The old source after a move: ignored at first, but if nobody else speaks it is the right one."""
        if self._moved_heard is None:
            self._moved_heard = now
        return now - self._moved_heard < self._relatch_after_s

    def believes_rtcp(self, addr: Address) -> bool:
        """RTCP is the media host's; on a port of its own, the first source's there until the media's moves."""
        destination = self.rtcp_destination
        return destination is not None and addr[0] == destination[0] and self._rtcp in (None, addr)

    def heard_rtcp(self, addr: Address) -> None:
        """A valid compound came from there."""
        if not self.is_rtcp_muxed:
            self._rtcp = addr


def continues(packet: RtpPacket, before: RtpPacket, most: int) -> bool:
    ahead = (packet.sequence_number - before.sequence_number) & 0xFFFF
    return packet.ssrc == before.ssrc and 0 < ahead <= most


def _is_sendable(remote: Address) -> bool:
    """One machine's address. 0.0.0.0 means hold; a group's is nobody's; a name would block in the resolver."""
    host, port = remote
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return 0 < port <= 65535 and not address.is_unspecified and not address.is_multicast
