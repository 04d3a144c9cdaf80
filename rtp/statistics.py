"""What the network did to the stream we receive (RFC 3550 §6.4.1, A.3, A.8).

The only importer of ``aiortc.rtcrtpreceiver``; used from it is ``StreamStatistics`` (not in ``__all__``): its
sequence cycles, expected and lost counts and the fraction lost per interval. Three things are done here
instead: jitter, because aiortc reads ``time.time()`` by itself and jumps by 2³² when the timestamp wraps; the
sequence restart of RFC 3550 A.1, without which one stray packet makes thousands "lost"; and the fold of an
old source's totals into the sums when the SSRC changes.
"""

from __future__ import annotations

from aiortc.rtcrtpreceiver import StreamStatistics

from .packet import RtpPacket

MAX_DROPOUT = 3000  # packets, RFC 3550 A.1
MAX_MISORDER = 100  # packets, RFC 3550 A.1


class ReceiveStatistics:
    """Counts of one direction; ``add`` per valid packet, ``restart`` when the source changes."""

    __slots__ = (
        "_clock_rate",
        "_current",
        "_expected_before",
        "_jitter",
        "_received_before",
        "_suspect",
        "_transit",
    )

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._current = StreamStatistics(clock_rate)
        self._expected_before = 0
        self._received_before = 0
        self._jitter = 0.0  # timestamp units
        self._transit: float | None = None
        self._suspect: int | None = None  # the sequence number that would prove a restart

    def add(self, packet: RtpPacket, now: float) -> None:
        """Count one packet that arrived at ``now`` seconds."""
        highest = self._current.max_seq
        sequence_number = packet.sequence_number
        if highest is not None:
            ahead = (sequence_number - highest) & 0xFFFF
            if MAX_DROPOUT < ahead < 0x10000 - MAX_MISORDER:
                if sequence_number != self._suspect:
                    self._suspect = (sequence_number + 1) & 0xFFFF
                    return
                self.restart()
            elif ahead == 0 or ahead >= 0x10000 - MAX_MISORDER:
                self._current.add(packet)
                return
        self._suspect = None
        self._current.add(packet)
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
        if self._current.max_seq is not None:
            self._expected_before += self._current.packets_expected
            self._received_before += self._current.packets_received
        self._current = StreamStatistics(self._clock_rate)
        self._transit = None
        self._suspect = None

    @property
    def received(self) -> int:
        """Packets received, duplicates included."""
        return self._received_before + self._current.packets_received

    @property
    def expected(self) -> int:
        """Packets the sender sent, judging by its sequence numbers."""
        if self._current.max_seq is None:
            return self._expected_before
        return self._expected_before + self._current.packets_expected

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
        highest = self._current.max_seq
        return 0 if highest is None else (self._current.cycles + highest) & 0xFFFFFFFF

    @property
    def cumulative_lost(self) -> int:
        """Loss of the current source as the report block wants it: 24 bits, negative with duplicates."""
        return 0 if self._current.max_seq is None else self._current.packets_lost

    def fraction_lost(self) -> int:
        """Loss since the last call in 1/256 (RFC 3550 A.3): a method, as each call starts a new interval."""
        return 0 if self._current.max_seq is None else min(255, self._current.fraction_lost)
