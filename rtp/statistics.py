"""What the network did to the stream we receive (RFC 3550 §6.4.1, A.1, A.3, A.8).

A sequence number far away counts once the next packet continues it (A.1), without which one stray packet makes
thousands "lost"; when the source changes its totals are folded into the sums. No clock: ``now`` is in seconds.
"""

from __future__ import annotations

from .packet import RtpPacket

MAX_DROPOUT = 3000  # packets, RFC 3550 A.1
MAX_MISORDER = 100  # packets, RFC 3550 A.1
LEAST_LOST, MOST_LOST = -0x800000, 0x7FFFFF  # of a report block, RFC 3550 A.3


class ReceiveStatistics:
    """Counts of one direction; ``add`` per valid packet, ``restart`` when the source changes."""

    __slots__ = (
        "_base",
        "_clock_rate",
        "_expected_before",
        "_expected_prior",
        "_highest",
        "_jitter",
        "_received",
        "_received_before",
        "_received_prior",
        "_suspect",
        "_transit",
    )

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._expected_before = 0  # of former sources
        self._received_before = 0
        self._jitter = 0.0  # timestamp units
        self._begin()

    def _begin(self) -> None:
        self._base = 0
        self._highest: int | None = None  # sequence number, extended beyond 16 bits
        self._received = 0
        self._expected_prior = 0  # at the last report
        self._received_prior = 0
        self._transit: float | None = None
        self._suspect: int | None = None  # the sequence number that would prove a restart

    def add(self, packet: RtpPacket, now: float) -> None:
        """Count one packet that arrived at ``now`` seconds."""
        sequence_number = packet.sequence_number
        if self._highest is not None:
            ahead = (sequence_number - self._highest) & 0xFFFF
            if MAX_DROPOUT < ahead < 0x10000 - MAX_MISORDER:
                if sequence_number != self._suspect:
                    self._suspect = (sequence_number + 1) & 0xFFFF
                    return
                self.restart()
            elif ahead == 0 or ahead >= 0x10000 - MAX_MISORDER:
                self._received += 1
                return
            else:
                self._highest += ahead
        if self._highest is None:
            self._base = self._highest = sequence_number
        self._suspect = None
        self._received += 1
        self._add_jitter(packet.timestamp, now)

    def _add_jitter(self, timestamp: int, now: float) -> None:
        """RFC 3550 A.8 in 32-bit arithmetic; in-order packets only, as out-of-order ones say nothing."""
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            difference = (transit - self._transit + 0x80000000) % 0x100000000 - 0x80000000
            if abs(difference) < self._clock_rate * 10:  # a jump of the sender's clock is not jitter
                self._jitter += (abs(difference) - self._jitter) / 16
        self._transit = transit

    def change_clock(self, clock_rate: int) -> None:
        """The wire's clock is another from now on (a codec changed in the call)."""
        self._jitter *= clock_rate / self._clock_rate
        self._clock_rate = clock_rate
        self._transit = None

    def restart(self) -> None:
        """The source changed or began anew: keep the sums, start a new sequence."""
        self._expected_before += self._expected
        self._received_before += self._received
        self._begin()

    @property
    def _expected(self) -> int:
        return 0 if self._highest is None else self._highest - self._base + 1

    @property
    def received(self) -> int:
        """Packets received, duplicates included."""
        return self._received_before + self._received

    @property
    def expected(self) -> int:
        """Packets the sender sent, judging by its sequence numbers."""
        return self._expected_before + self._expected

    @property
    def lost(self) -> int:
        """Packets that never came; never below zero, although duplicates can hide losses."""
        return max(0, self.expected - self.received)

    @property
    def jitter(self) -> int:
        """Interarrival jitter in timestamp units, as an RTCP report block wants it."""
        return int(self._jitter)

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter in milliseconds."""
        return self._jitter * 1000 / self._clock_rate

    @property
    def highest_sequence(self) -> int:
        """Extended highest sequence number of the current source (RFC 3550 §6.4.1); 0 before any."""
        return (self._highest or 0) & 0xFFFFFFFF

    @property
    def cumulative_lost(self) -> int:
        """Loss of the current source as the report block wants it: 24 bits, negative with duplicates."""
        return max(LEAST_LOST, min(MOST_LOST, self._expected - self._received))

    def fraction_lost(self) -> int:
        """Loss since the last call in 1/256 (RFC 3550 A.3): a method, as each call starts a new interval."""
        expected, received = self._expected - self._expected_prior, self._received - self._received_prior
        self._expected_prior, self._received_prior = self._expected, self._received
        return min(255, max(0, expected - received) * 256 // expected) if expected > 0 else 0
