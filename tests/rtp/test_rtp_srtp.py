"""SRTP: against a second implementation (itself held to RFC 3711's vectors), over rollovers, keys and sources."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.errors import PacketError, RtpError
from rtp.events import AudioFrame, RemoteReport, SourceLatched, StreamConfig, StreamEvent
from rtp.packet import RtcpReceiverInfo, build_rtp, parse_rtcp, parse_rtp, receiver_report
from rtp.srtp import MAX_KEYS, MAX_SOURCES, SUITES, SrtpContext
from rtp.stream import RtpStream
from tests.rfc3711 import TAG_BYTES, Direction, derived, keystream

OURS, THEIRS = bytes(range(30)), bytes(range(100, 130))
SUITE_80, SUITE_32 = SUITES
PCMU = CODECS["PCMU"]
PHONE = ("192.0.2.1", 4000)
PHONE_RTCP = ("192.0.2.1", 4001)
STRANGER = ("203.0.113.66", 9)
SSRC = 77


@dataclass(frozen=True, slots=True)
class Keys:
    suite: str = SUITE_80
    local: bytes = OURS
    remote: bytes = THEIRS


KEYS = Keys()
CONFIG = StreamConfig(PCMU, 0, 101, PHONE, srtp=KEYS)
both_suites = pytest.mark.parametrize("suite", SUITES)


def rtp(sequence: int, payload: bytes = b"s" * 160, *, ssrc: int = SSRC) -> bytes:
    return build_rtp(0, False, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc, payload)


def kind_of(context: SrtpContext, data: bytes) -> str:
    with pytest.raises(PacketError) as caught:
        context.unprotect_rtp(data)
    return caught.value.kind


def audio(events: list[StreamEvent]) -> bytes:
    return b"".join(
        event.payload for event in events if isinstance(event, AudioFrame) and not event.concealed
    )


class FarEnd:
    """A phone: RFC 3711 as ``tests.rfc3711`` writes it, its index counted here."""

    def __init__(self, suite: str = SUITE_80, *, sends: bytes = THEIRS, hears: bytes = OURS) -> None:
        self.outbound, self.inbound = Direction.of(suite, sends), Direction.of(suite, hears)

    def says(self, index: int, payload: bytes = b"s" * 160, *, ssrc: int = SSRC) -> bytes:
        """The packet with this 48-bit index."""
        return self.outbound.protect(rtp(index, payload, ssrc=ssrc), index >> 16)


# -- the second implementation against the RFC ---------------------------------------------------------


def test_the_second_implementation_has_the_key_stream_of_the_rfc() -> None:
    """Appendix B.2: blocks 0, 1, 2 and 0xFEFF, 0xFF00, 0xFF01."""
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    stream = keystream(key, int("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000", 16), 0xFF02 * 16)
    assert stream[: 3 * 16].hex().upper() == (
        "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0"
    )
    assert stream[0xFEFF * 16 :].hex().upper() == (
        "EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE6A2CC3787889374FBEB4C81B17BA6C44"
    )


def test_the_second_implementation_derives_the_keys_of_the_rfc() -> None:
    """Appendix B.3."""
    key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derived(key, salt, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert derived(key, salt, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert derived(key, salt, 1, 94).hex().upper() == (
        "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF7227098"
        "6371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
    )


# -- packets against it --------------------------------------------------------------------------------


@both_suites
@given(payload=st.binary(max_size=480), sequence=st.integers(0, 2**15 - 1), ssrc=st.integers(0, 2**32 - 1))
def test_both_implementations_make_the_same_rtp(suite: str, payload: bytes, sequence: int, ssrc: int) -> None:
    packet = rtp(sequence, payload, ssrc=ssrc)
    context, far_end = SrtpContext(Keys(suite)), FarEnd(suite)
    assert context.protect_rtp(packet) == far_end.inbound.protect(packet, 0)
    assert context.unprotect_rtp(far_end.outbound.protect(packet, 0)) == packet


@both_suites
def test_both_implementations_make_the_same_rtcp_with_80_bits_whatever_the_suite(suite: str) -> None:
    compound = receiver_report(5, [RtcpReceiverInfo(SSRC, 1, 2, 3, 4, 5, 6)])
    context, far_end = SrtpContext(Keys(suite)), FarEnd(suite)
    for index in range(1, 4):
        wire = context.protect_rtcp(compound)
        assert len(wire) == len(compound) + 4 + 10
        assert far_end.inbound.unprotect_rtcp(wire) == (compound, index)
        assert context.unprotect_rtcp(far_end.outbound.protect_rtcp(compound, index)) == compound


@both_suites
def test_four_rollovers_are_counted_in_both_directions(suite: str) -> None:
    context, far_end = SrtpContext(Keys(suite)), FarEnd(suite)
    step = 999  # a gap far below 2^15: the other side is not to lose count
    for index in range(2**15 - 1, 4 * 2**16 + 2**15, step):
        packet = rtp(index, b"")
        assert far_end.inbound.unprotect(context.protect_rtp(packet), index >> 16) == packet
        assert context.unprotect_rtp(far_end.says(index, b"")) == packet


def test_packets_out_of_order_around_a_wrap_have_their_own_rollover_counter() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    wrap = 1 << 16
    for index in (wrap - 3, wrap + 1, wrap - 1, wrap + 2, wrap, wrap - 2):
        assert context.unprotect_rtp(far_end.says(index)) == rtp(index)


@given(st.randoms(use_true_random=False))
def test_whatever_comes_is_unprotected_once_or_turned_away(chance: random.Random) -> None:
    """Any order within the replay window, duplicates and bit errors: each packet once, unchanged, nothing else."""
    context, far_end = SrtpContext(KEYS), FarEnd()
    indices = [2**16 - 30 + n for n in range(60)]
    wire = [far_end.says(index, bytes([n])) for n, index in enumerate(indices)]
    heard = [
        context.unprotect_rtp(wire[0])
    ]  # who hears none before the wrap cannot know of it (RFC 3711 3.3.1)
    for datagram in sorted([*wire, *wire], key=lambda each: wire.index(each) + chance.randrange(40)):
        damaged = bytearray(datagram)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        for each in (bytes(damaged), datagram):
            try:
                heard.append(context.unprotect_rtp(each))
            except PacketError as error:
                assert error.kind in ("srtp_forged", "srtp_replayed", "srtp_too_old", "srtp_malformed")  # noqa: PT017
    assert sorted(heard, key=heard.index) == heard
    assert {*heard} == {rtp(index, bytes([n])) for n, index in enumerate(indices)}
    assert len(heard) == len(indices)


# -- what is turned away -------------------------------------------------------------------------------


def test_what_is_not_the_peers_has_a_kind_and_changes_nothing() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    assert context.unprotect_rtp(far_end.says(500)) == rtp(500)
    stranger = FarEnd(sends=OURS)
    rows = [
        ("srtp_replayed", far_end.says(500)),
        ("srtp_too_old", far_end.says(100)),
        ("srtp_forged", rtp(501)),  # plain
        ("srtp_forged", stranger.says(501)),
        ("srtp_forged", far_end.says(501)[:-1] + b"\0"),
        ("srtp_forged", FarEnd(SUITE_32).says(501)),
        ("srtp_malformed", b""),
        ("srtp_malformed", far_end.says(501)[:13]),
        ("srtp_oversized", far_end.says(501, bytes(1500))),
    ]
    assert [(kind_of(context, data), data) for _, data in rows] == rows
    assert context.unprotect_rtp(far_end.says(501)) == rtp(501)


def test_rtcp_that_is_not_the_peers_has_a_kind_of_its_own() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    compound = receiver_report(5)
    wire = far_end.outbound.protect_rtcp(compound, 1)
    assert context.unprotect_rtcp(wire) == compound
    forged = FarEnd(sends=OURS).outbound.protect_rtcp(compound, 2)
    for kind, data in (("srtcp_replayed", wire), ("srtcp_forged", forged), ("srtcp_malformed", compound)):
        with pytest.raises(PacketError) as caught:
            context.unprotect_rtcp(data)
        assert caught.value.kind == kind


def test_one_key_has_room_for_so_many_sources_only() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    for ssrc in range(MAX_SOURCES):
        assert kind_of(context, rtp(1, ssrc=1000 + ssrc)) == "srtp_forged"  # takes no place
        context.unprotect_rtp(far_end.says(1, ssrc=ssrc))
    assert kind_of(context, far_end.says(1, ssrc=MAX_SOURCES)) == "srtp_too_many_sources"
    assert context.unprotect_rtp(far_end.says(2, ssrc=0)) == rtp(2, ssrc=0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (Keys("AES_256_CM_HMAC_SHA1_80"), "SRTP suite AES_256_CM_HMAC_SHA1_80: allowed: AES_CM_128_HMAC_SHA1_80, "),
        (Keys(local=b"short"), "SRTP master key and salt have 5 bytes: 30 are needed"),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_run_are_named(keys: Keys, message: str) -> None:
    with pytest.raises(RtpError, match=message):
        SrtpContext(keys)


# -- offer/answer --------------------------------------------------------------------------------------


def test_the_same_keys_go_on_and_a_new_ssrc_begins_at_zero() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    for index in (2**16 - 1, 2**16, 2**16 + 2**15):
        context.unprotect_rtp(far_end.says(index))
        context.protect_rtp(rtp(index))
    context.renew(Keys())
    later = 2**16 + 2**15 + 1
    assert kind_of(context, far_end.says(later - 1)) == "srtp_replayed"
    assert context.unprotect_rtp(far_end.says(1, ssrc=SSRC + 1)) == rtp(1, ssrc=SSRC + 1)
    assert context.unprotect_rtp(far_end.says(later)) == rtp(
        later
    )  # the former SSRC kept its rollover counter
    assert far_end.inbound.unprotect(context.protect_rtp(rtp(later)), 1) == rtp(later)


def test_a_new_key_begins_anew_and_the_former_counts_until_the_new_one_is_heard() -> None:
    context, before = SrtpContext(KEYS), FarEnd()
    after = FarEnd(SUITE_32, sends=bytes(30), hears=OURS)
    for index in (2**16 - 1, 2**16, 2**16 + 5):
        context.unprotect_rtp(before.says(index))
    context.renew(Keys(SUITE_32, OURS, bytes(30)))
    assert context.unprotect_rtp(before.says(2**16 + 6)) == rtp(2**16 + 6)
    assert kind_of(context, before.says(2**16 + 6)) == "srtp_replayed"
    assert context.unprotect_rtp(after.says(7)) == rtp(7)
    assert kind_of(context, before.says(2**16 + 8)) == "srtp_forged"
    assert after.inbound.unprotect(context.protect_rtp(rtp(9)), 0) == rtp(9)


def test_a_key_that_comes_back_goes_on_where_it_was_and_repeats_no_key_stream() -> None:
    """A, B, A, with a wrap of the sequence under B: at 0 again, A would encrypt twice with one key stream."""
    context, far_end, between = SrtpContext(KEYS), FarEnd(), FarEnd(sends=bytes(30), hears=bytes(30))
    for index in (2**16 - 2, 2**16 - 1):
        assert far_end.inbound.unprotect(context.protect_rtp(rtp(index)), 0) == rtp(index)
    assert context.unprotect_rtp(far_end.says(9)) == rtp(9)
    context.renew(Keys(SUITE_80, bytes(30), bytes(30)))
    assert between.inbound.unprotect(context.protect_rtp(rtp(2**16)), 0) == rtp(2**16)
    assert context.unprotect_rtp(between.says(10)) == rtp(10)
    context.renew(KEYS)
    assert far_end.inbound.unprotect(context.protect_rtp(rtp(2**16 + 1)), 1) == rtp(2**16 + 1)
    assert kind_of(context, far_end.says(9)) == "srtp_replayed"  # recorded before
    assert context.unprotect_rtp(far_end.says(11)) == rtp(11)


def test_a_former_key_of_ours_follows_a_long_time_under_another() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    context.protect_rtp(rtp(0))
    context.renew(replace(KEYS, local=bytes(30)))
    for index in range(1, 2**16 + 2**15, 100):  # longer than a receiver could guess the counter
        context.protect_rtp(rtp(index))
    context.renew(KEYS)
    index = 2**16 + 2**15
    assert far_end.inbound.unprotect(context.protect_rtp(rtp(index)), 1) == rtp(index)


def test_only_so_many_keys_are_remembered() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    assert context.unprotect_rtp(far_end.says(1)) == rtp(1)
    for number in range(MAX_KEYS - 1):
        context.renew(replace(KEYS, remote=bytes([number] * 30)))
    context.renew(KEYS)
    assert kind_of(context, far_end.says(1)) == "srtp_replayed"
    for number in range(MAX_KEYS):
        context.renew(replace(KEYS, remote=bytes([number] * 30)))
    context.renew(KEYS)
    assert context.unprotect_rtp(far_end.says(1)) == rtp(1)


def test_what_is_under_way_while_both_sides_change_their_keys() -> None:
    """A re-INVITE with new keys: the peer's last packets under the old one come among its first under the new one."""
    stream, before, after = stream_of(), FarEnd(), FarEnd(sends=bytes(30), hears=bytes(30))
    assert audio(stream.receive_rtp(before.says(1), PHONE, 0.0)) == b"s" * 160
    stream.configure(replace(CONFIG, srtp=Keys(SUITE_80, bytes(30), bytes(30))))
    assert audio(stream.receive_rtp(before.says(2), PHONE, 0.02)) == b"s" * 160
    assert audio(stream.receive_rtp(after.says(3), PHONE, 0.04)) == b"s" * 160
    assert stream.receive_rtp(before.says(4), PHONE, 0.06) == []
    assert audio(stream.receive_rtp(after.says(4), PHONE, 0.08)) == b"s" * 160
    assert stream.dropped == {"srtp_forged": 1}


def test_a_new_ssrc_of_the_peer_within_a_call_is_heard() -> None:
    stream, far_end = stream_of(), FarEnd()
    for index in (2**16 - 1, 2**16):
        assert audio(stream.receive_rtp(far_end.says(index), PHONE, 0.0))
    for ssrc, index in ((SSRC + 1, 1), (SSRC, 2**16 + 1)):  # another, and its first again
        assert stream.receive_rtp(far_end.says(index, ssrc=ssrc), PHONE, 0.1) == []
        assert audio(stream.receive_rtp(far_end.says(index + 1, ssrc=ssrc), PHONE, 0.12)) == b"s" * 320
    assert stream.dropped == {}


def test_only_the_direction_whose_key_is_new_begins_anew() -> None:
    context, far_end = SrtpContext(KEYS), FarEnd()
    for index in (2**16 - 1, 2**16):
        context.protect_rtp(rtp(index))
    context.renew(replace(KEYS, remote=bytes(30)))
    assert far_end.inbound.unprotect(context.protect_rtp(rtp(2**16 + 1)), 1) == rtp(2**16 + 1)


# -- the stream ----------------------------------------------------------------------------------------


def stream_of(config: StreamConfig = CONFIG, *, sequence: int = 7) -> RtpStream:
    stream = RtpStream(1, sequence_number=sequence, timestamp=0)
    stream.configure(config)
    return stream


@both_suites
def test_a_stream_talks_srtp_and_is_heard_over_a_rollover(suite: str) -> None:
    stream = stream_of(replace(CONFIG, srtp=Keys(suite)), sequence=2**16 - 3)
    far_end = FarEnd(suite)
    stream.playout.append("item", bytes(range(160)) * 6)
    said = b""
    for n in range(6):
        index = 2**16 - 3 + n
        packet = stream.next_packet(n * 0.02)
        assert packet is not None
        assert len(packet) == 12 + 160 + TAG_BYTES[suite]
        said += parse_rtp(far_end.inbound.unprotect(packet, index >> 16)).payload
        assert (
            audio(stream.receive_rtp(far_end.says(index, bytes([n]) * 160), PHONE, n * 0.02))
            == bytes([n]) * 160
        )
    assert said == bytes(range(160)) * 6
    assert stream.dropped == {}


def test_with_srtp_nothing_but_the_peers_packets_latches_a_source_or_is_heard() -> None:
    stream, far_end = stream_of(), FarEnd()
    for sequence in range(50):  # plain RTP, a stranger's key, noise: before the peer's first packet
        for data in (rtp(sequence), FarEnd(sends=bytes(30)).says(sequence), bytes([0x80, 0]) + bytes(170)):
            assert stream.receive_rtp(data, STRANGER, sequence * 0.02) == []
    assert stream.destination == PHONE
    assert stream.last_received is None
    assert SourceLatched(PHONE) in stream.receive_rtp(far_end.says(1), PHONE, 1.0)
    assert stream.receive_rtp(far_end.says(1), STRANGER, 9.0) == []  # a replay after a long silence
    assert stream.destination == PHONE
    assert stream.dropped == {"srtp_forged": 150, "srtp_replayed": 1}
    assert stream.last_received == 1.0


def test_without_srtp_protected_packets_are_not_taken_for_sound() -> None:
    """A peer that protects what it was not asked to: the tag makes the payload longer, nothing more can be known."""
    stream = stream_of(replace(CONFIG, srtp=None))
    packet = stream.next_packet(0.0)
    assert packet is not None
    assert len(packet) == 12 + 160


@pytest.mark.parametrize("is_muxed", [False, True])
def test_reports_and_the_farewell_are_protected(is_muxed: bool) -> None:
    stream, far_end = stream_of(replace(CONFIG, remote_rtcp=PHONE if is_muxed else None)), FarEnd()
    stream.next_packet(0.0)
    assert stream.next_rtcp(0.0) is None
    report = stream.next_rtcp(10.0)
    farewell = stream.bye(10.0)
    assert report is not None
    assert farewell is not None
    for index, wire in enumerate((report, farewell), 1):
        compound, found = far_end.inbound.unprotect_rtcp(wire)
        assert found == index
        assert len(parse_rtcp(compound)) == 1 + index
    receive, source = (stream.receive_rtp, PHONE) if is_muxed else (stream.receive_rtcp, PHONE_RTCP)
    plain = receiver_report(5, [RtcpReceiverInfo(1, 64, 2, 3, 80, 0, 0)])
    assert receive(plain, source, 10.0) == []
    [heard] = receive(far_end.outbound.protect_rtcp(plain, 1), source, 10.0)
    assert isinstance(heard, RemoteReport)
    assert heard.fraction_lost == 0.25
    assert stream.dropped == {"srtcp_malformed": 1}  # no E flag, so not SRTCP


def test_a_re_invite_keeps_renews_or_ends_srtp() -> None:
    stream, far_end = stream_of(sequence=2**16 - 1), FarEnd()

    def sent(at: float) -> bytes:
        packet = stream.next_packet(at)
        assert packet is not None
        return packet

    far_end.inbound.unprotect(sent(0.0), 0)
    far_end.inbound.unprotect(sent(0.02), 1)
    stream.configure(replace(CONFIG, direction="sendonly"))
    far_end.inbound.unprotect(sent(0.04), 1)
    stream.configure(replace(CONFIG, srtp=replace(KEYS, local=bytes(30))))
    Direction.of(SUITE_80, bytes(30)).unprotect(sent(0.06), 0)
    stream.configure(replace(CONFIG, srtp=None))
    assert len(sent(0.08)) == 12 + 160


def test_the_same_keys_after_plain_rtp_never_repeat_a_key_stream() -> None:
    """The sequence went on, over a wrap before and one during the plain RTP: so did the rollover counter."""
    stream, far_end = stream_of(sequence=2**16 - 2), FarEnd()
    index = 2**16 - 2

    def sent() -> bytes:
        nonlocal index
        packet = stream.next_packet(index * 0.02)
        assert packet is not None
        index += 1
        return packet

    for _ in range(4):
        far_end.inbound.unprotect(sent(), (index - 1) >> 16)
    assert stream.receive_rtp(far_end.says(5), PHONE, 0.0)
    stream.configure(replace(CONFIG, srtp=None))
    for _ in range(2**16):
        assert len(sent()) == 12 + 160
    assert stream.receive_rtp(rtp(6), PHONE, 0.1)
    stream.configure(CONFIG)
    assert index >> 16 == 2
    far_end.inbound.unprotect(sent(), 2)
    assert stream.receive_rtp(far_end.says(5), PHONE, 0.2) == []
    assert stream.receive_rtp(far_end.says(7), PHONE, 0.2)
    assert stream.dropped == {"srtp_replayed": 1}


def test_a_sequence_begins_in_the_lower_half() -> None:
    """RFC 3711 section 3.3.1: or a receiver that misses the packets around an early wrap loses count for ever."""
    for _ in range(40):
        stream = RtpStream()
        stream.configure(replace(CONFIG, srtp=None))
        packet = stream.next_packet(0.0)
        assert packet is not None
        assert struct.unpack_from("!2xH", packet)[0] < 2**15
