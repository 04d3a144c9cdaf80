"""One stream's RTCP: when to report, what to report, and what the far end's reports say (RFC 3550 §6).

Reports go every 5 s, spread by 0.5–1.5 so that calls do not report in step (§6.2); the first after half of
that. The NTP time of an SR is ``now`` plus ``wallclock_offset_s``: with an offset of 0 it is the time since
an unknown moment, which §6.4.1 allows and which serves RTT and jitter as well.
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


class RtcpSession:
    """Reports of local source ``ssrc``; ``now`` in seconds everywhere."""

    __slots__ = (
        "_cname",
        "_last_sr",
        "_last_sr_arrival",
        "_next",
        "_offset",
        "_random",
        "_reported_packets",
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
        self._last_sr = 0  # middle 32 bits of the far end's NTP time
        self._last_sr_arrival = 0.0
        self._reported_packets = 0

    def is_due(self, now: float) -> bool:
        """Whether it is time for a report; the first call starts the interval."""
        if self._next is None:
            self._next = now + self._interval() / 2
        return now >= self._next

    def _interval(self) -> float:
        return INTERVAL_S * (0.5 + self._random.random())

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
        """SR if anything was sent since the last report, else RR; with SDES CNAME, as one compound packet."""
        self._next = now + self._interval()
        self.sent += 1
        blocks = [] if remote_ssrc is None else [self._block(now, remote_ssrc, statistics)]
        if packets != self._reported_packets:
            self._reported_packets = packets
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
        delay = (now - self._last_sr_arrival) * 65536 if self._last_sr else 0
        return RtcpReceiverInfo(
            ssrc=remote_ssrc,
            fraction_lost=statistics.fraction_lost(),
            packets_lost=statistics.cumulative_lost,
            highest_sequence=statistics.highest_sequence,
            jitter=statistics.jitter,
            lsr=self._last_sr,
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
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                events += [self._remote(block, now) for block in packet.reports if block.ssrc == self._ssrc]
            elif isinstance(packet, RtcpByePacket):
                events.append(RemoteBye())
        return events

    def _remote(self, block: RtcpReceiverInfo, now: float) -> RemoteReport:
        """Round trip as of RFC 3550 §6.4.1: A − LSR − DLSR in 1/65536 s."""
        rtt_ms = None
        if block.lsr:
            arrived = ntp_timestamp(now + self._offset) >> 16
            ticks = (arrived - block.lsr - block.dlsr) & 0xFFFFFFFF
            rtt_ms = ticks * 1000 / 65536 if ticks < 0x80000000 else 0.0
        return RemoteReport(
            block.fraction_lost / 256, block.packets_lost, block.jitter * 1000 / self.clock_rate, rtt_ms
        )
