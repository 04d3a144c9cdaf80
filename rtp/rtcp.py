"""One stream's RTCP: when to report, what to report, and what the far end's reports say (RFC 3550 §6).

Reports go every 5 s, spread by 0.5–1.5 so that calls do not report in step, the first after half of that (§6.2, and
A.7 with its timer reconsideration). Two parties' share of the bandwidth would allow more, so the minimum decides. The
NTP time of an SR is ``now`` plus ``wallclock_offset_s``: with an offset of 0 it is the time since an unknown moment,
which §6.4.1 allows and which serves RTT and jitter as well.

Tolerated are RTCP that never comes, parts that we do not know (XR, feedback, APP) and compounds without an SR or RR
(RFC 5506).
"""

from __future__ import annotations

import random

from .events import RemoteBye, RemoteReport, StreamEvent
from .packet import (
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSrPacket,
    bye,
    ntp_timestamp,
    receiver_report,
    sdes_cname,
    sender_report,
)
from .statistics import ReceiveStatistics

INTERVAL_S = 5.0  # RFC 3550 §6.2, the recommended minimum
COMPENSATION = 1.21828  # e - 3/2, RFC 3550 §6.3.1: reconsideration alone makes intervals longer
MAX_RTT_S = 30.0  # more is no round trip: its LSR was not ours


class RtcpSession:
    """Reports of local source ``ssrc``; ``now`` in seconds everywhere."""

    __slots__ = (
        "_cname",
        "_last_sent",
        "_last_sr",
        "_last_sr_arrival",
        "_last_sr_ssrc",
        "_next",
        "_offset",
        "_random",
        "_reported_packets",
        "_reported_received",
        "_ssrc",
        "clock_rate",
        "received",
        "sent",
    )

    def __init__(self, ssrc: int, cname: str, clock_rate: int, wallclock_offset_s: float = 0.0) -> None:
        self.sent = 0
        self.received = 0
        self._ssrc = ssrc
        self._cname = cname
        self.clock_rate = clock_rate  # of the wire
        self._offset = wallclock_offset_s
        self._random = random.Random(ssrc)
        self._next: float | None = None
        self._last_sent = 0.0  # or since when the session exists
        self._last_sr = 0  # middle 32 bits of the far end's NTP time
        self._last_sr_arrival = 0.0
        self._last_sr_ssrc: int | None = None
        self._reported_packets = (0, 0)  # sent by the last report but one, and by the last
        self._reported_received = 0

    def is_due(self, now: float) -> bool:
        """Whether it is time for a report; the first call starts the interval."""
        if self._next is None:
            self._last_sent = now
            self._next = now + self._interval()
        if now < self._next:
            return False
        self._next = self._last_sent + self._interval()  # reconsidered
        return now >= self._next

    def _interval(self) -> float:
        minimum = INTERVAL_S if self.sent else INTERVAL_S / 2
        return minimum * (0.5 + self._random.random()) / COMPENSATION

    def report(
        self,
        now: float,
        *,
        rtp_timestamp: int,
        packets: int,
        octets: int,
        remote_ssrc: int | None,
        statistics: ReceiveStatistics,
    ) -> bytes:
        """SR if anything was sent in the last two intervals, else RR; with SDES CNAME, as one compound packet.

        A block is in it if anything was received since the last (RFC 3550 §6.4).
        """
        self.sent += 1
        self._last_sent, self._next = now, now + self._interval()
        blocks = []
        if remote_ssrc is not None and statistics.received != self._reported_received:
            self._reported_received = statistics.received
            blocks = [self._block(now, remote_ssrc, statistics)]
        before, last = self._reported_packets
        self._reported_packets = last, packets
        if packets != before:
            head = sender_report(
                self._ssrc,
                ntp=ntp_timestamp(now + self._offset),
                rtp_timestamp=rtp_timestamp,
                packets=packets,
                octets=octets,
                reports=blocks,
            )
        else:
            head = receiver_report(self._ssrc, blocks)
        return head + sdes_cname(self._ssrc, self._cname)

    def _block(self, now: float, remote_ssrc: int, statistics: ReceiveStatistics) -> RtcpReceiverInfo:
        has_report = self._last_sr_ssrc == remote_ssrc
        delay = (now - self._last_sr_arrival) * 65536 if has_report else 0
        return RtcpReceiverInfo(
            ssrc=remote_ssrc,
            fraction_lost=statistics.fraction_lost(),
            packets_lost=statistics.cumulative_lost,
            highest_sequence=statistics.highest_sequence,
            jitter=statistics.jitter,
            lsr=self._last_sr if has_report else 0,
            dlsr=int(delay) & 0xFFFFFFFF,
        )

    def goodbye(self) -> bytes:
        """What ends the last compound of a stream, behind a report (RFC 3550 §6.6)."""
        return bye(self._ssrc)

    def receive(self, packets: list[AnyRtcpPacket], now: float) -> list[StreamEvent]:
        """What the parts of a compound packet say about us."""
        self.received += 1
        events: list[StreamEvent] = []
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                self._last_sr = packet.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF
                self._last_sr_arrival = now
                self._last_sr_ssrc = packet.ssrc
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                events += [self._remote(block, now) for block in packet.reports if block.ssrc == self._ssrc]
            elif isinstance(packet, RtcpByePacket):
                events.append(RemoteBye())
        return events

    def _remote(self, block: RtcpReceiverInfo, now: float) -> RemoteReport:
        """Round trip as of RFC 3550 §6.4.1: A − LSR − DLSR in 1/65536 s; below zero by the clock's rounding is 0."""
        rtt_ms = None
        if block.lsr:
            arrived = ntp_timestamp(now + self._offset) >> 16
            ticks = (arrived - block.lsr - block.dlsr) & 0xFFFFFFFF
            if ticks > 0x100000000 - 0x10000:
                ticks = 0
            rtt_ms = ticks * 1000 / 65536 if ticks <= MAX_RTT_S * 65536 else None
        return RemoteReport(
            block.fraction_lost / 256, block.packets_lost, block.jitter * 1000 / self.clock_rate, rtt_ms
        )
