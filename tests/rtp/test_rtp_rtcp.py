"""RTCP against RFC 3550: when (6.2, A.7), what (6.4), what the far end's say, and what is tolerated or refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.errors import PacketError
from rtp.events import RemoteBye, RemoteReport, StreamConfig
from rtp.packet import (
    RtcpByePacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSrPacket,
    RtpPacket,
    build_rtp,
    bye,
    ntp_timestamp,
    parse_rtcp,
    receiver_report,
    sdes_cname,
    sender_report,
)
from rtp.rtcp import COMPENSATION, INTERVAL_S, RtcpSession
from rtp.statistics import ReceiveStatistics
from rtp.stream import RtpStream

OURS, THEIRS = 1, 77
PHONE, PHONE_RTCP = ("192.0.2.1", 4000), ("192.0.2.1", 4001)
CONFIG = StreamConfig(CODECS["PCMU"], 0, 101, PHONE)
TICK_S = 0.020


class Session:
    """A session with what its stream would tell it."""

    def __init__(self, ssrc: int = OURS) -> None:
        self.rtcp = RtcpSession(ssrc, "agent", 8000)
        self.statistics = ReceiveStatistics(8000)
        self.packets = 0
        self._sequence_number = 0

    def hear(self, packets: int = 1) -> None:
        for _ in range(packets):
            self._sequence_number += 1
            self.statistics.add(RtpPacket(sequence_number=self._sequence_number, ssrc=THEIRS), 0.0)

    def report(self, now: float) -> RtcpSrPacket | RtcpRrPacket:
        data = self.rtcp.report(
            now, rtp_timestamp=160, packets=self.packets, octets=160 * self.packets, remote_ssrc=THEIRS,
            statistics=self.statistics,
        )  # fmt: skip
        report, description = parse_rtcp(data)
        assert isinstance(description, RtcpSdesPacket)
        assert [chunk.items for chunk in description.chunks] == [[(1, b"agent")]]
        assert isinstance(report, RtcpSrPacket | RtcpRrPacket)
        return report

    def sent_at(self, seconds: float) -> list[float]:
        found = []
        for tick in range(int(seconds / TICK_S)):
            if self.rtcp.is_due(tick * TICK_S):
                found.append(tick * TICK_S)
                self.report(tick * TICK_S)
        return found


# -- when ----------------------------------------------------------------------------------------------


@given(ssrc=st.integers(0, 2**32 - 1))
def test_intervals_are_half_to_one_and_a_half_of_five_seconds_and_the_first_half_of_that(ssrc: int) -> None:
    """The bounds are divided by e − 3/2, as reconsideration makes intervals longer (6.3.1)."""
    shortest, longest = 0.5 * INTERVAL_S / COMPENSATION, 1.5 * INTERVAL_S / COMPENSATION
    first, *later = Session(ssrc).sent_at(40)
    assert shortest / 2 <= first <= longest / 2 + TICK_S
    assert all(shortest <= b - a <= longest + TICK_S for a, b in pairwise([first, *later]))


def test_the_mean_interval_is_five_seconds_and_calls_do_not_report_in_step() -> None:
    sent = [Session(ssrc).sent_at(1000) for ssrc in range(4)]
    for times in sent:
        assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(INTERVAL_S, rel=0.05)
    assert len({times[0] for times in sent}) == 4


def test_a_stall_is_not_made_up_for_by_a_burst() -> None:
    session = Session()
    assert not session.rtcp.is_due(0.0)
    assert session.rtcp.is_due(100.0)
    session.report(100.0)
    assert not session.rtcp.is_due(100.02)


# -- what ----------------------------------------------------------------------------------------------


def test_who_sends_tells_it_for_two_intervals_more_and_then_only_receives() -> None:
    session = Session()
    kinds = []
    for packets in (0, 100, 200, 200, 200, 200, 300):
        session.packets = packets
        kinds.append(type(session.report(0.0)).__name__)
    assert kinds == [
        "RtcpRrPacket", "RtcpSrPacket", "RtcpSrPacket", "RtcpSrPacket", "RtcpRrPacket", "RtcpRrPacket", "RtcpSrPacket",
    ]  # fmt: skip


def test_a_block_is_of_what_came_since_the_last_report() -> None:
    session = Session()
    assert session.report(0.0).reports == []
    session.hear(3)
    (block,) = session.report(5.0).reports
    assert (block.ssrc, block.highest_sequence, block.fraction_lost) == (THEIRS, 3, 0)
    assert session.report(10.0).reports == []


@pytest.mark.parametrize(
    ("sender", "lsr", "dlsr"), [(THEIRS, 0x00010000, 2 * 65536), (4711, 0, 0)], ids=["theirs", "another's"]
)
def test_lsr_and_dlsr_are_of_the_sources_own_report(sender: int, lsr: int, dlsr: int) -> None:
    session = Session()
    session.hear()
    report = sender_report(sender, ntp=1 << 32, rtp_timestamp=0, packets=1, octets=1)
    session.rtcp.receive(parse_rtcp(report), 10.0)
    (block,) = session.report(12.0).reports
    assert (block.lsr, block.dlsr) == (lsr, dlsr)


def middle(now: float) -> int:
    """Of the 64 bits of the time ``now`` those that LSR has."""
    return ntp_timestamp(now) >> 16 & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("lsr", "dlsr_s", "rtt_ms"),
    [
        (middle(9.0), 0.9, 100.0),
        (middle(9.0), 0.0, 1000.0),
        (0, 0.0, None),  # it never saw a report of ours
        (middle(10.0) + 3, 0.0, 0.0),  # below zero by rounding
        (middle(9.0), 1.5, 0.0),
        (middle(10.0) - 40 * 65536, 0.0, None),  # nobody is 40 s away
        (middle(10.0) + 40 * 65536, 0.0, None),  # a report that we shall send
        (0xDEADBEEF, 5000.0, None),
    ],
)
def test_the_round_trip_is_what_is_left_of_lsr_and_dlsr(
    lsr: int, dlsr_s: float, rtt_ms: float | None
) -> None:
    block = RtcpReceiverInfo(OURS, 64, 7, 0, 80, lsr, int(dlsr_s * 65536))
    (event,) = RtcpSession(OURS, "a", 8000).receive(parse_rtcp(receiver_report(THEIRS, [block])), 10.0)
    assert isinstance(event, RemoteReport)
    assert (event.fraction_lost, event.lost, event.jitter_ms) == (0.25, 7, 10.0)
    assert event.rtt_ms == (None if rtt_ms is None else pytest.approx(rtt_ms, abs=0.1))


def test_a_block_about_somebody_else_says_nothing_about_us() -> None:
    block = RtcpReceiverInfo(4711, 255, 7, 0, 80, 1, 1)
    assert RtcpSession(OURS, "a", 8000).receive(parse_rtcp(receiver_report(THEIRS, [block])), 10.0) == []


def test_no_farewell_of_who_never_sent_anything() -> None:
    stream = RtpStream(OURS)
    stream.configure(replace(CONFIG, direction="inactive"))
    assert stream.next_packet(0.0) is None
    assert stream.bye(0.04) is None
    stream.configure(CONFIG)
    stream.next_packet(0.02)
    farewell = stream.bye(0.04)
    assert farewell is not None
    report, description, last = parse_rtcp(farewell)
    assert isinstance(report, RtcpSrPacket)
    assert isinstance(description, RtcpSdesPacket)
    assert isinstance(last, RtcpByePacket)
    assert last.sources == [OURS]


# -- what comes ----------------------------------------------------------------------------------------


def part(
    packet_type: int, body: bytes, *, count: int = 0, version: int = 2, words: int | None = None
) -> bytes:
    """One packet of a compound; ``words`` is what it claims to have behind its first."""
    length = len(body) // 4 if words is None else words
    return struct.pack("!BBH", version << 6 | count, packet_type, length) + body


SSRC = struct.pack("!L", THEIRS)
RR = receiver_report(THEIRS)
SR = sender_report(THEIRS, ntp=1, rtp_timestamp=2, packets=3, octets=4)
XR = part(207, SSRC + struct.pack("!BBHLL", 5, 0, 2, OURS, 3))  # RFC 3611, a DLRR block
APP = part(204, SSRC + b"name" + b"data")
FEEDBACK = part(205, SSRC + SSRC + struct.pack("!HH", 1, 0), count=1)  # RFC 4585, generic NACK
REASON = part(203, SSRC + b"\x07goodbye", count=1)

TOLERATED = {
    "SR, SDES": SR + sdes_cname(THEIRS, "phone"),
    "RR alone": RR,
    "no RR first": sdes_cname(THEIRS, "phone"),
    "reduced size, feedback alone": FEEDBACK,
    "extended report": RR + XR,
    "extended report alone": XR,
    "application": SR + APP,
    "a type that nobody has heard of": RR + part(211, SSRC * 3),
    "feedback behind a report": RR + FEEDBACK,
    "two reports": SR + RR,
    "padding at the end": RR + struct.pack("!BBH", 0xA0 | 1, 203, 2) + SSRC + b"\0\0\0\4",
}


@pytest.mark.parametrize("data", TOLERATED.values(), ids=TOLERATED.keys())
@pytest.mark.parametrize("farewell", [b"", bye(THEIRS), REASON], ids=["", "BYE", "BYE with a reason"])
def test_tolerated(data: bytes, farewell: bytes) -> None:
    if data == TOLERATED["padding at the end"]:
        expected = [RemoteBye()] * (1 + bool(farewell))
    else:
        expected = [RemoteBye()] * bool(farewell)
    stream = RtpStream(OURS)
    stream.configure(CONFIG)
    assert stream.receive_rtcp(data + farewell, PHONE_RTCP, 1.0) == expected
    assert stream.dropped == {}


REFUSED = {
    "nothing": (b"", "rtcp_truncated"),
    "half a head": (RR[:3], "rtcp_truncated"),
    "more than there is": (part(201, SSRC, words=2), "rtcp_truncated"),
    "all that can be claimed": (part(201, SSRC, words=0xFFFF), "rtcp_truncated"),
    "the second part lies": (SR + part(201, SSRC, words=9), "rtcp_truncated"),
    "less than an SR has": (part(200, SSRC), "rtcp_malformed"),
    "more blocks than there are": (part(201, SSRC, count=31), "rtcp_malformed"),
    "less than its length, the rest is no packet": (part(200, SR[4:], words=1), "rtcp_malformed"),
    "BYE of more sources than there are": (RR + part(203, SSRC, count=2), "rtcp_malformed"),
    "version 1": (part(201, SSRC, version=1), "rtcp_bad_version"),
    "version 3 behind": (RR + part(202, b"", version=3), "rtcp_bad_version"),
    "padding longer than the packet": (
        struct.pack("!BBH", 0xA0, 201, 2) + SSRC + b"\0\0\0\xff", "rtcp_malformed",
    ),
    "no padding where some is claimed": (struct.pack("!BBH", 0xA0, 201, 1) + b"\0\0\0\0", "rtcp_malformed"),
    "a cut SDES item": (part(202, SSRC + b"\x01\xffab", count=1), "rtcp_malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "kind"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("is_muxed", [False, True], ids=["own port", "muxed"])
def test_lies_are_counted_by_kind_and_nothing_of_them_is_believed(
    data: bytes, kind: str, is_muxed: bool
) -> None:
    with pytest.raises(PacketError):
        parse_rtcp(data)
    stream = RtpStream(OURS)
    stream.configure(replace(CONFIG, remote_rtcp=PHONE if is_muxed else None))
    receive = stream.receive_rtp if is_muxed else stream.receive_rtcp
    if is_muxed and len(data) < 2:
        kind = "truncated"  # no way to tell what it was to be
    assert receive(data, PHONE if is_muxed else PHONE_RTCP, 1.0) == []
    assert stream.dropped == {kind: 1}
    assert stream.rtcp_destination == (PHONE if is_muxed else PHONE_RTCP)


def test_where_rtcp_goes_and_is_believed_from() -> None:
    """RFC 3605: a port, or address and port, of its own."""
    nat, elsewhere = ("198.51.100.7", 61000), ("192.0.2.50", 7001)
    rows = {
        None: PHONE_RTCP,
        PHONE: PHONE,
        ("192.0.2.1", 7001): ("192.0.2.1", 7001),
        elsewhere: elsewhere,
        ("0.0.0.0", 7001): ("192.0.2.1", 7001),
    }
    for signalled, expected in rows.items():
        stream = RtpStream(OURS)
        stream.configure(replace(CONFIG, remote_rtcp=signalled))
        assert stream.rtcp_destination == expected
        assert stream.receive_rtcp(RR + bye(THEIRS), ("203.0.113.66", expected[1]), 0.0) == []
        if signalled != PHONE:
            assert stream.receive_rtcp(RR + bye(THEIRS), expected, 0.0) == [RemoteBye()]
    stream = RtpStream(OURS)
    stream.configure(replace(CONFIG, remote_rtcp=elsewhere))
    for seq in (1, 2):  # behind NAT what the SDP says of RTCP is as wrong as the rest
        stream.receive_rtp(build_rtp(0, False, seq, seq * 160, THEIRS, b"s" * 160), nat, 0.0)
    assert stream.rtcp_destination == (nat[0], 7001)
