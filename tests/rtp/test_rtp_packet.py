"""RTP and RTCP on the wire: round trips, RFC corners, and that no bytes raise anything but PacketError."""

from __future__ import annotations

import struct
from collections.abc import Callable

import aiortc.rtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.errors import PacketError
from rtp.packet import (
    RtcpByePacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSrPacket,
    build_rtp,
    bye,
    is_rtcp,
    ntp_timestamp,
    parse_rtcp,
    parse_rtp,
    receiver_report,
    sdes_cname,
    sender_report,
)


def test_build_rtp_is_what_aiortc_serializes() -> None:
    packet = aiortc.rtp.RtpPacket(
        payload_type=8, marker=1, sequence_number=65535, timestamp=2**32 - 1, ssrc=7
    )
    packet.payload = b"sound"
    assert build_rtp(8, True, 65535, 2**32 - 1, 7, b"sound") == packet.serialize()


@given(st.binary(max_size=60), st.sampled_from([0x80, 0x90, 0xA0, 0xB0, 0x81, 0x93, 0xBF]))
def test_rtp_is_read_as_aiortc_reads_it(data: bytes, first: int) -> None:
    """But for header extensions that it cannot read: then we have the sound, and it nothing."""
    data = bytes([first]) + data
    try:
        theirs = aiortc.rtp.RtpPacket.parse(data)
    except ValueError:
        return
    ours = parse_rtp(data)
    assert (ours.payload_type, ours.marker, ours.sequence_number, ours.timestamp, ours.ssrc, ours.payload) == (
        theirs.payload_type, theirs.marker, theirs.sequence_number, theirs.timestamp, theirs.ssrc, theirs.payload,
    )  # fmt: skip


def test_csrc_extension_and_padding_are_removed() -> None:
    header = struct.pack("!BBHLL", 0x80 | 0x20 | 0x10 | 2, 0x80, 1, 2, 3)
    data = header + b"CSRCCSRC" + struct.pack("!HH", 0xBEDE, 1) + b"\x10\xffxx" + b"sound" + b"\0\0\3"
    packet = parse_rtp(data)
    assert packet.payload == b"sound"
    assert packet.marker == 1


def test_a_broken_header_extension_does_not_cost_the_sound() -> None:
    data = struct.pack("!BBHLL", 0x90, 0, 1, 2, 3) + struct.pack("!HH", 0xBEDE, 1) + b"\x1f\0\0\0" + b"sound"
    assert parse_rtp(data).payload == b"sound"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "truncated"),
        (b"\x80\x00\x00", "truncated"),
        (b"\x40" + bytes(20), "bad_version"),
        (b"\x82" + bytes(12), "malformed"),  # two CSRC announced
        (b"\x90" + bytes(12), "malformed"),  # extension announced
        (b"\xa0" + bytes(11) + b"\xff", "malformed"),  # 255 bytes of padding
        (b"\xa0" + bytes(12), "malformed"),  # 0 bytes of padding
    ],
)
def test_malformed_rtp_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(PacketError) as caught:
        parse_rtp(data)
    assert caught.value.kind == kind


KINDS = {"truncated", "bad_version", "malformed"}
KINDS |= {f"rtcp_{kind}" for kind in KINDS}


def kind_of(parse: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        parse(data)
    except PacketError as exc:
        return exc.kind
    return None


@given(st.binary(max_size=80))
def test_random_bytes_raise_nothing_but_packet_error(data: bytes) -> None:
    for parse in (parse_rtp, parse_rtcp):
        for prefix in (b"", b"\x80", b"\x90", b"\xbf", b"\x81\xc8", b"\x81\xca", b"\x9f\xcb"):
            assert kind_of(parse, prefix + data) in KINDS | {None}


@pytest.mark.parametrize(
    ("second_byte", "expected"),
    [
        *[(value, False) for value in (0, 8, 0x80, 101, 0x80 | 101, 191, 224)],
        *[(value, True) for value in (192, 200, 203, 207, 223)],
    ],
)
def test_rtcp_is_told_from_rtp_on_one_port(second_byte: int, expected: bool) -> None:
    assert is_rtcp(bytes([0x80, second_byte, 0, 0])) is expected


def test_a_compound_report_comes_back_as_it_was_built() -> None:
    block = RtcpReceiverInfo(
        ssrc=9, fraction_lost=12, packets_lost=-3, highest_sequence=70000, jitter=5, lsr=1, dlsr=2
    )
    data = sender_report(1, ntp=ntp_timestamp(0.5), rtp_timestamp=160, packets=3, octets=480, reports=[block])
    data += sdes_cname(1, "agent@host") + bye(1)
    report, description, farewell = parse_rtcp(data)
    assert isinstance(report, RtcpSrPacket)
    assert report.reports == [block]
    assert report.sender_info.ntp_timestamp == (2_208_988_800 << 32) + (1 << 31)
    assert isinstance(description, RtcpSdesPacket)
    assert description.chunks[0].items == [(1, b"agent@host")]
    assert isinstance(farewell, RtcpByePacket)
    assert farewell.sources == [1]


def test_a_profile_extension_behind_the_blocks_is_cut() -> None:
    plain = receiver_report(1)
    first, kind, words = struct.unpack_from("!BBH", plain)
    extended = struct.pack("!BBH", first, kind, words + 2) + plain[4:] + b"profile!"
    (report,) = parse_rtcp(extended)
    assert isinstance(report, RtcpRrPacket)
    assert report.ssrc == 1


def test_unknown_packet_types_are_left_out() -> None:
    app = struct.pack("!BBHL4s", 0x80, 204, 2, 1, b"test")
    assert len(parse_rtcp(receiver_report(1) + app)) == 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "rtcp_truncated"),
        (receiver_report(1) + b"\x80", "rtcp_truncated"),
        (b"\x80\xc9\xff\xff" + bytes(4), "rtcp_truncated"),  # lies about its length
        (b"\x40\xc9\x00\x01" + bytes(4), "rtcp_bad_version"),
        (b"\x85\xc9\x00\x01" + bytes(4), "rtcp_malformed"),  # five blocks announced
        (b"\x80\xc8\x00\x00", "rtcp_malformed"),
    ],
)
def test_malformed_rtcp_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(PacketError) as caught:
        parse_rtcp(data)
    assert caught.value.kind == kind
