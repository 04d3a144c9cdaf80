"""Scenarios of one media leg, with hand-cranked time."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.dtmf import TelephoneEvent
from rtp.errors import RtpError
from rtp.events import (
    AudioFrame,
    DigitReceived,
    Direction,
    RemoteBye,
    RemoteReport,
    SourceLatched,
    SsrcChanged,
    StreamConfig,
    StreamEvent,
)
from rtp.g711 import PCMA_TO_PCMU, PCMU_TO_PCMA
from rtp.packet import (
    RtcpByePacket,
    RtcpSrPacket,
    RtpPacket,
    build_rtp,
    bye,
    parse_rtcp,
    parse_rtp,
    receiver_report,
)
from rtp.stream import RtpStream

PCMU, PCMA = CODECS["PCMU"], CODECS["PCMA"]
PHONE = ("192.0.2.1", 4000)
PHONE_RTCP = ("192.0.2.1", 4001)
NAT = ("198.51.100.7", 61000)
STRANGER = ("203.0.113.66", 9)
CONFIG = StreamConfig(PCMU, 0, 101, PHONE)


def stream_of(config: StreamConfig = CONFIG, *, send_silence: bool = True) -> RtpStream:
    stream = RtpStream(1, sequence_number=65535, timestamp=2**32 - 160, send_silence=send_silence)
    stream.configure(config)
    return stream


def rtp(
    seq: int, payload: bytes = b"s" * 160, *, pt: int = 0, ts: int | None = None, ssrc: int = 77
) -> bytes:
    return build_rtp(pt, False, seq & 0xFFFF, (seq * 160 if ts is None else ts) & 0xFFFFFFFF, ssrc, payload)


def prove(stream: RtpStream, source: tuple[str, int], *, ssrc: int = 77) -> None:
    """Two packets, the second with sequence number 1: the source is latched if nobody else is."""
    for seq in (0, 1):
        stream.receive_rtp(rtp(seq, ssrc=ssrc), source, 0.0)


def audio(events: list[StreamEvent]) -> bytes:
    return b"".join(event.payload for event in events if isinstance(event, AudioFrame))


def packet_of(data: bytes | None) -> RtpPacket:
    assert data is not None
    return parse_rtp(data)


# -- sources -------------------------------------------------------------------------------------------


def test_media_goes_to_the_signalled_address_until_a_packet_shows_the_real_one() -> None:
    stream = stream_of()
    assert stream.destination == PHONE
    assert stream.rtcp_destination == PHONE_RTCP
    assert stream.receive_rtp(rtp(1), NAT, 0.0) == []
    assert stream.destination == PHONE
    events = stream.receive_rtp(rtp(2), NAT, 0.02)
    assert events == [SourceLatched(NAT)] + [AudioFrame(b"s" * 160, 160, False)] * 2
    assert stream.dropped == {}
    assert stream.destination == NAT
    assert stream.rtcp_destination == (NAT[0], NAT[1] + 1)


def test_who_spoke_once_before_the_phone_proved_itself_is_counted_and_not_heard() -> None:
    stream = stream_of()
    for number in range(3):
        assert stream.receive_rtp(rtp(number, b"evil" * 40, ssrc=666), (STRANGER[0], number + 1), 0.0) == []
    prove(stream, NAT)
    assert stream.destination == NAT
    assert stream.dropped == {"wrong_source": 3}
    assert stream.snapshot().packets_received == 2


def test_a_third_party_is_never_heard_and_never_answered() -> None:
    stream = stream_of()
    prove(stream, NAT)
    for n in range(200):
        now = n * 0.02
        assert stream.receive_rtp(rtp(500 + n, b"evil" * 40, ssrc=666), STRANGER, now) == []
        assert audio(stream.receive_rtp(rtp(2 + n), NAT, now)) == b"s" * 160
    assert stream.destination == NAT
    assert stream.dropped == {"wrong_source": 200}


def test_a_nat_that_rebinds_in_mid_call_takes_over_after_two_seconds_of_silence() -> None:
    moved = (NAT[0], 62000)
    stream = stream_of()
    prove(stream, NAT)
    stream.receive_rtp(rtp(250), NAT, 5.0)
    assert stream.receive_rtp(rtp(251), moved, 6.9) == []
    assert stream.receive_rtp(rtp(252, bytes(4), pt=101), moved, 7.1) == []  # no sound
    assert SourceLatched(moved) in stream.receive_rtp(rtp(253), moved, 7.2)
    assert stream.destination == moved
    assert stream.dropped == {"wrong_source": 2}


def test_rtp_bleed_a_stranger_with_the_right_payload_type_never_takes_over_a_silent_source() -> None:
    """The attack: spray RTP at the port range and wait for two seconds of DTX or for a hold."""
    stream = stream_of()
    prove(stream, NAT)
    for n in range(500):
        assert stream.receive_rtp(rtp(n, b"evil" * 40, ssrc=666), STRANGER, n * 0.02) == []
    assert stream.destination == NAT
    assert audio(stream.receive_rtp(rtp(2), NAT, 10.0)) == b"s" * 160
    assert stream.dropped == {"wrong_source": 500}


@pytest.mark.parametrize("held_at", [PHONE, ("0.0.0.0", 4000)], ids=["direction", "old style"])
@pytest.mark.parametrize("direction", ["sendonly", "inactive", "recvonly"])
def test_rtp_bleed_hold_is_no_free_window(held_at: tuple[str, int], direction: Direction) -> None:
    stream = stream_of()
    prove(stream, NAT)
    stream.configure(replace(CONFIG, remote=held_at, direction=direction))
    assert stream.receive_rtp(rtp(1, ssrc=666), STRANGER, 60.0) == []
    stream.configure(CONFIG)
    assert stream.receive_rtp(rtp(2, ssrc=666), STRANGER, 61.0) == []
    assert stream.destination == NAT


def test_rtp_bleed_a_stranger_who_was_first_loses_to_the_signalled_address_at_once() -> None:
    stream = stream_of()
    prove(stream, STRANGER, ssrc=666)
    event = TelephoneEvent(1, True, 10, 800).serialize()
    assert stream.receive_rtp(rtp(1, event, pt=101), PHONE, 0.01) == []  # only sound takes over
    events = stream.receive_rtp(rtp(2), PHONE, 0.02)
    assert SourceLatched(PHONE) in events
    assert audio(events) == b"s" * 160
    assert stream.destination == PHONE
    assert stream.receive_rtp(rtp(2, ssrc=666), STRANGER, 0.03) == []
    assert stream.receive_rtp(rtp(3, ssrc=666), STRANGER, 10.0) == []


def test_the_signalled_address_takes_over_with_a_new_ssrc() -> None:
    """A B2BUA that let another box play the ringing tone."""
    stream = stream_of()
    prove(stream, NAT)
    assert {SourceLatched(PHONE), SsrcChanged(77, 78)} <= set(stream.receive_rtp(rtp(9, ssrc=78), PHONE, 0.1))


def test_media_that_moved_away_and_back_is_heard_at_once() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1), PHONE, 0.0)
    stream.configure(replace(CONFIG, remote=NAT))
    stream.configure(CONFIG)
    assert audio(stream.receive_rtp(rtp(2), PHONE, 0.02)) == b"s" * 160


def test_a_reinvite_that_moves_the_media_is_followed_and_the_old_source_does_not_win_it_back() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1), PHONE, 0.0)
    elsewhere = ("192.0.2.99", 5000)
    stream.configure(replace(CONFIG, remote=elsewhere))
    assert stream.destination == elsewhere
    assert stream.receive_rtp(rtp(2), PHONE, 0.02) == []
    assert SourceLatched(elsewhere) in stream.receive_rtp(rtp(1, ssrc=5), elsewhere, 0.04)
    assert stream.receive_rtp(rtp(3), PHONE, 0.06) == []


def test_the_old_source_is_right_if_nobody_speaks_at_the_new_address() -> None:
    """A phone behind NAT signals a new private port and keeps its real one."""
    stream = stream_of()
    prove(stream, NAT)
    stream.configure(replace(CONFIG, remote=(PHONE[0], 4002)))
    taken = [SourceLatched(NAT) in stream.receive_rtp(rtp(2 + n), NAT, 0.02 + n * 0.5) for n in range(6)]
    assert taken == [False, False, False, False, True, False]


def test_an_old_style_hold_address_is_not_sent_to_and_keeps_the_lock() -> None:
    stream = stream_of(replace(CONFIG, remote=("0.0.0.0", 4000)))
    assert stream.destination is None
    stream = stream_of()
    prove(stream, NAT)
    stream.configure(replace(CONFIG, remote=("0.0.0.0", 4000), direction="sendonly"))
    stream.configure(CONFIG)
    assert stream.destination == NAT
    assert stream.receive_rtp(rtp(2, ssrc=666), STRANGER, 0.1) == []


def test_after_a_key_press_the_source_can_still_be_rebound() -> None:
    stream = stream_of()
    prove(stream, NAT)
    stream.receive_rtp(rtp(2, TelephoneEvent(1, True, 10, 800).serialize(), pt=101), NAT, 0.1)
    moved = (NAT[0], 62000)
    assert SourceLatched(moved) in stream.receive_rtp(rtp(3), moved, 2.2)


@pytest.mark.parametrize(
    "remote",
    [
        ("0.0.0.0", 4000),
        ("::", 4000),
        ("224.0.0.1", 4000),
        ("phone.example", 4000),
        ("192.0.2.1", 0),
        ("", 1),
    ],
)
def test_an_address_that_is_nobodys_is_not_sent_to_but_its_phone_is_heard(remote: tuple[str, int]) -> None:
    stream = stream_of(replace(CONFIG, remote=remote))
    assert stream.destination is None
    assert stream.rtcp_destination is None
    prove(stream, NAT)
    assert stream.destination == NAT


# -- what must not come through ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "truncated"),
        (b"\x80", "truncated"),
        (b"INVITE sip:x SIP/2.0\r\n", "bad_version"),
        (rtp(1, pt=18), "wrong_payload_type"),
        (rtp(1, pt=8), "wrong_payload_type"),
        (rtp(1, bytes(2401)), "oversized"),
        (b"\x82" + rtp(1)[1:12], "malformed"),
        (b"\x80\xc8\xff\xff" + bytes(8), "rtcp_not_muxed"),
    ],
)
def test_bad_datagrams_are_counted_by_kind_and_latch_nothing(data: bytes, kind: str) -> None:
    stream = stream_of()
    assert stream.receive_rtp(data, PHONE, 0.0) == []
    assert stream.dropped == {kind: 1}
    assert stream.last_received is None
    assert stream.deadline() is None


def test_a_zero_length_packet_keeps_its_place_and_makes_no_sound() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1), PHONE, 0.0)
    events += stream.receive_rtp(rtp(2, b""), PHONE, 0.02)
    events += stream.receive_rtp(rtp(3, ts=320), PHONE, 0.04)
    assert audio(events) == b"s" * 320
    assert stream.dropped == {"empty": 1}
    assert stream.uplink.reorder.counters.lost == 0


def test_before_the_first_configuration_nothing_goes_in_or_out() -> None:
    stream = RtpStream()
    assert stream.receive_rtp(rtp(1), PHONE, 0.0) == []
    assert stream.receive_rtcp(receiver_report(1), PHONE, 0.0) == []
    assert [stream.next_packet(0.0), stream.next_rtcp(0.0), stream.bye(0.0), stream.destination] == [None] * 4
    assert stream.on_timer(0.0) == []
    assert not stream.is_timed_out(100.0, 1.0)
    assert stream.dropped == {"unconfigured": 2}
    assert stream.snapshot().packets_received == 0


@given(
    st.lists(st.binary(max_size=60), max_size=40),
    st.sampled_from([b"", b"\x80\x00", b"\x80\x65", b"\x81\xc8"]),
)
def test_garbage_never_raises_and_never_sounds_from_a_stranger(blobs: list[bytes], prefix: bytes) -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1), PHONE, 0.0)
    for n, blob in enumerate(blobs):
        now = n * 0.001
        assert stream.receive_rtp(prefix + blob, STRANGER, now) == []
        stream.receive_rtcp(prefix + blob, PHONE_RTCP, now)
        stream.receive_rtp(prefix + blob, PHONE, now)
        stream.on_timer(now)
    assert stream.destination == PHONE


def test_telephone_event_bytes_never_reach_the_sound() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1), PHONE, 0.0)
    for n in range(6):
        report = TelephoneEvent(5, n >= 3, 10, min(n + 1, 4) * 160)
        events += stream.receive_rtp(rtp(2 + n, report.serialize(), pt=101, ts=320), PHONE, 0.02 + n * 0.02)
    events += stream.receive_rtp(rtp(8), PHONE, 0.14)
    assert [event for event in events if isinstance(event, DigitReceived)] == [DigitReceived("5", 80)]
    # the model's clock: eight packets' time, the press as silence
    assert audio(events) == b"s" * 160 + PCMU.silence * 960 + b"s" * 160
    assert stream.uplink.reorder.counters.lost == 0


def test_recorded_digits_with_an_ssrc_of_their_own_do_not_disturb_the_sound() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1), PHONE, 0.0)
    for n in range(3):
        report = TelephoneEvent(1, True, 10, 800).serialize()
        events += stream.receive_rtp(rtp(9000 + n, report, pt=101, ts=5, ssrc=4711), PHONE, 0.01)
        events += stream.receive_rtp(rtp(2 + n), PHONE, 0.02 + n * 0.02)
    assert [event for event in events if not isinstance(event, AudioFrame)] == [
        SourceLatched(PHONE),
        DigitReceived("1", 100),
    ]
    assert audio(events) == b"s" * 640


def test_a_digit_whose_end_was_lost_comes_by_the_timer() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1, TelephoneEvent(3, False, 10, 160).serialize(), pt=101), PHONE, 1.0)
    deadline = stream.deadline()
    assert deadline is not None
    assert stream.on_timer(deadline) == [DigitReceived("3", 20)]


def test_comfort_noise_and_broken_events_are_no_sound() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1), PHONE, 0.0)
    events += stream.receive_rtp(rtp(2, b"\x40", pt=13), PHONE, 0.02)
    events += stream.receive_rtp(rtp(3, b"\x05", pt=101), PHONE, 0.04)
    events += stream.receive_rtp(rtp(4, b"\x05", pt=13, ssrc=1234), PHONE, 0.05)
    events += stream.receive_rtp(rtp(4), PHONE, 0.06)
    assert audio(events) == b"s" * 160 + PCMU.silence * 320 + b"s" * 160
    assert stream.dropped == {"comfort_noise": 2, "bad_event": 1}


# -- loss, restarts ------------------------------------------------------------------------------------


def test_a_lost_packet_is_concealed_in_its_length() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1), PHONE, 0.0)
    assert stream.receive_rtp(rtp(3), PHONE, 0.04) == []
    assert stream.deadline() == pytest.approx(0.1)
    events += stream.on_timer(0.1)
    assert [(e.samples, e.concealed) for e in events if isinstance(e, AudioFrame)] == [
        (160, False),
        (160, True),
        (160, False),
    ]
    assert stream.uplink.concealed_frames == 1
    assert stream.snapshot().packets_lost == 1


def test_concealment_fades_to_silence() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1, b"\x80" * 160), PHONE, 0.0)  # the loudest code
    stream.receive_rtp(rtp(12), PHONE, 0.22)
    (concealed, _) = stream.on_timer(0.5)
    assert isinstance(concealed, AudioFrame)
    assert concealed.samples == 1600
    loudness = abs(PCMU.decode(concealed.payload).astype(int))
    assert loudness[0] > 30_000
    assert (loudness[480:1120] == 0).all()
    assert (loudness[:479] >= loudness[1:480]).all()
    assert len(events) == 2


def test_a_listener_hears_silence_while_the_phone_sends_comfort_noise_or_keys() -> None:
    """Without it a voice service would never know that the caller has finished."""
    for quiet in (rtp(2, b"\x40", pt=13), rtp(2, b"\x05\x0a\x00\xa0", pt=101)):
        stream = stream_of()
        stream.receive_rtp(rtp(1), PHONE, 0.0)
        stream.receive_rtp(quiet, PHONE, 0.02)
        heard: list[StreamEvent] = []
        while (deadline := stream.deadline()) is not None and deadline <= 1.0:
            heard += [event for event in stream.on_timer(deadline) if isinstance(event, AudioFrame)]
        assert 7000 <= len(audio(heard)) <= 8000
        heard += stream.receive_rtp(rtp(3, ts=160 + 8000), PHONE, 1.02)
        assert audio(heard) == PCMU.silence * (8000 - 160) + b"s" * 160
        assert stream.snapshot().concealed_frames == 0


def test_a_long_silence_is_made_up_only_to_a_bound() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1, ts=0), PHONE, 0.0)
    events = stream.receive_rtp(rtp(2, ts=60 * 8000), PHONE, 60.0)
    assert len(audio(events)) == 10 * 8000 + 160
    assert stream.uplink.silence.cut == 50 * 8000 - 160


def test_an_ssrc_change_goes_on_with_the_new_stream_and_keeps_the_sums() -> None:
    stream = stream_of()
    events = stream.receive_rtp(rtp(1), PHONE, 0.0)
    events += stream.receive_rtp(rtp(3), PHONE, 0.04)  # held
    events += stream.receive_rtp(rtp(50_000, b"n" * 160, ssrc=78), PHONE, 0.06)
    events += stream.receive_rtp(rtp(50_001, b"m" * 160, ssrc=78), PHONE, 0.08)
    assert SsrcChanged(77, 78) in events
    payload = audio(events)
    assert len(payload) == 800
    assert payload.endswith(b"s" * 160 + b"n" * 160 + b"m" * 160)
    assert stream.snapshot().packets_received == 4
    assert stream.snapshot().packets_lost == 1
    assert stream.dropped == {}


def test_one_stray_packet_of_another_ssrc_disturbs_nothing() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1), PHONE, 0.0)
    assert stream.receive_rtp(rtp(50_000, b"n" * 160, ssrc=78), PHONE, 0.01) == []
    assert audio(stream.receive_rtp(rtp(2), PHONE, 0.02)) == b"s" * 160
    assert stream.receive_rtp(rtp(9, b"n" * 160, ssrc=79), PHONE, 0.03) == []
    assert stream.receive_rtp(rtp(50_001, b"n" * 160, ssrc=78), PHONE, 0.03) == []
    assert audio(stream.receive_rtp(rtp(3), PHONE, 0.04)) == b"s" * 160
    assert stream.dropped == {"stray_ssrc": 3}


def test_of_two_streams_mixed_at_one_port_the_first_is_heard() -> None:
    stream = stream_of()
    heard = b""
    for index in range(100):
        heard += audio(stream.receive_rtp(rtp(index), PHONE, index * 0.02))
        heard += audio(stream.receive_rtp(rtp(index + 700, b"n" * 160, ssrc=78), PHONE, index * 0.02 + 0.01))
    assert heard == b"s" * 16_000


# -- codecs and hold -----------------------------------------------------------------------------------


def test_a_codec_change_on_the_wire_keeps_the_applications_codec() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1), PHONE, 0.0)
    stream.configure(replace(CONFIG, codec=PCMA, payload_type=8))
    assert stream.app_codec is PCMU
    assert stream.codec is PCMA
    payload = bytes(range(160))
    assert audio(stream.receive_rtp(rtp(2, payload), PHONE, 0.02)) == payload  # still under way
    assert audio(stream.receive_rtp(rtp(3, payload, pt=8), PHONE, 0.04)) == payload.translate(PCMA_TO_PCMU)
    stream.playout.append("a", payload)
    stream.playout.end_item("a")
    sent = packet_of(stream.next_packet(0.06))
    assert sent.payload_type == 8
    assert sent.payload == payload.translate(PCMU_TO_PCMA)
    assert packet_of(stream.next_packet(0.08)).payload == PCMA.silence * 160


@pytest.mark.parametrize(
    ("direction", "sends", "hears"),
    [
        ("sendrecv", True, True),
        ("sendonly", True, False),
        ("recvonly", False, True),
        ("inactive", False, False),
    ],
)
def test_hold(direction: Direction, sends: bool, hears: bool) -> None:
    stream = stream_of(replace(CONFIG, direction=direction))
    stream.playout.append("a", b"a" * 160)
    assert (stream.next_packet(0.0) is not None) is sends
    assert (stream.playout.queued_ms == 0) is sends  # what is not sent waits
    assert bool(audio(stream.receive_rtp(rtp(1), PHONE, 0.0))) is hears
    assert stream.dropped == ({} if hears else {"on_hold": 1})
    assert stream.destination == PHONE


def test_media_times_out_but_never_on_hold() -> None:
    stream = stream_of()
    assert not stream.is_timed_out(10.0, 5.0)  # counts from the first question
    assert stream.is_timed_out(15.0, 5.0)
    stream.receive_rtp(rtp(1), PHONE, 16.0)
    assert not stream.is_timed_out(20.9, 5.0)
    stream.configure(replace(CONFIG, direction="recvonly"))
    assert not stream.is_timed_out(500.0, 5.0)
    stream.configure(CONFIG)
    assert not stream.is_timed_out(501.0, 5.0)  # resumed: a full time-out from now
    assert stream.is_timed_out(506.0, 5.0)


def test_resume_after_hold_has_a_marker_and_the_clock_ran_on() -> None:
    stream = stream_of()
    first = packet_of(stream.next_packet(0.0))
    stream.configure(replace(CONFIG, direction="inactive"))
    for tick in range(1, 50):
        assert stream.next_packet(tick * 0.02) is None
    stream.configure(CONFIG)
    second = packet_of(stream.next_packet(1.0))
    assert (first.marker, second.marker) == (1, 1)
    assert (second.timestamp - first.timestamp) % 2**32 == 8000
    assert second.sequence_number == (first.sequence_number + 1) % 65536


# -- the way out ---------------------------------------------------------------------------------------


def test_the_rtp_clock_runs_on_silence() -> None:
    stream = stream_of()
    packets = [packet_of(stream.next_packet(tick * 0.02)) for tick in range(5)]
    assert [p.sequence_number for p in packets] == [65535, 0, 1, 2, 3]
    assert [p.timestamp for p in packets] == [2**32 - 160, 0, 160, 320, 480]
    assert [p.marker for p in packets] == [1, 0, 0, 0, 0]
    assert {p.payload for p in packets} == {PCMU.silence * 160}
    assert (stream.packets_sent, stream.octets_sent) == (5, 800)


def test_without_silence_the_timestamp_advances_and_the_marker_shows_the_pause() -> None:
    stream = stream_of(send_silence=False)
    assert stream.next_packet(0.0) is None
    assert stream.next_packet(0.02) is None
    stream.playout.append("a", b"a" * 320)
    stream.playout.end_item("a")
    packets = [packet_of(stream.next_packet(tick * 0.02)) for tick in (2, 3)]
    assert [p.timestamp for p in packets] == [160, 320]
    assert [p.marker for p in packets] == [1, 0]
    assert stream.next_packet(0.08) is None
    stream.playout.append("a", b"a" * 160)
    assert packet_of(stream.next_packet(0.1)).marker == 1


def test_a_late_tick_does_not_move_the_clock_but_a_skipped_stretch_does() -> None:
    stream = stream_of()
    times = [0.0, 0.032, 0.040, 0.061, 0.061 + 1.0]
    stamps = [packet_of(stream.next_packet(now)).timestamp for now in times]
    assert [(b - a) % 2**32 for a, b in pairwise(stamps)] == [160, 160, 160, 8000]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_a_packet_lasts_for_the_ptime(ptime_ms: int) -> None:
    stream = stream_of(replace(CONFIG, ptime_ms=ptime_ms))
    stream.playout.append("a", b"a" * 8 * 240)
    packets = [packet_of(stream.next_packet(tick * ptime_ms / 1000)) for tick in range(240 // ptime_ms)]
    assert b"".join(packet.payload for packet in packets) == b"a" * 8 * 240
    assert {len(packet.payload) for packet in packets} == {8 * ptime_ms}
    assert {(b.timestamp - a.timestamp) % 2**32 for a, b in pairwise(packets)} == {8 * ptime_ms}


def test_a_new_ptime_begins_where_the_sound_before_it_ended() -> None:
    stream = stream_of(CONFIG)
    stream.playout.append("a", bytes(range(240)) * 10)
    packets, due = [], 5.0
    for ptime_ms in (20, 20, 60, 60, 10, 10, 30):
        stream.configure(replace(CONFIG, ptime_ms=ptime_ms))
        packets.append(packet_of(stream.next_packet(due + 0.007)))  # another ticker: another phase
        due += ptime_ms / 1000
    assert [len(packet.payload) for packet in packets] == [160, 160, 480, 480, 80, 80, 240]
    assert all((b.timestamp - a.timestamp) % 2**32 == len(a.payload) for a, b in pairwise(packets))
    assert b"".join(packet.payload for packet in packets) == (bytes(range(240)) * 10)[:1680]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("events", [101, None], ids=["events", "tones"])
def test_a_key_is_as_long_as_it_was_meant_whatever_the_ptime(ptime_ms: int, events: int | None) -> None:
    stream = stream_of(replace(CONFIG, ptime_ms=ptime_ms, telephone_event_pt=events))
    phone = RtpStream(app_codec=PCMU, hears_tones=events is None)
    phone.configure(replace(CONFIG, remote=NAT, rx_telephone_event_pt=101))
    stream.send_digits("5", duration_ms=120)
    heard: list[StreamEvent] = []
    for tick in range(600 // ptime_ms):
        now = tick * ptime_ms / 1000
        data = stream.next_packet(now)
        assert data is not None
        heard += phone.receive_rtp(data, NAT, now)
    (digit,) = [event for event in heard if isinstance(event, DigitReceived)]
    assert digit.digit == "5"
    assert 100 <= digit.duration_ms <= 140


def test_digits_go_out_while_the_sound_waits() -> None:
    stream, phone = stream_of(), stream_of(replace(CONFIG, remote=NAT))
    stream.playout.append("a", b"a" * 320)
    stream.playout.end_item("a")
    stream.send_digits("1#", duration_ms=60, pause_ms=40)
    events: list[StreamEvent] = []
    for tick in range(40):
        now = tick * 0.02
        data = stream.next_packet(now)
        assert data is not None
        events += phone.receive_rtp(data, NAT, now)
    assert [e.digit for e in events if isinstance(e, DigitReceived)] == ["1", "#"]
    assert audio(events).count(b"a") == 320
    assert phone.uplink.reorder.counters.lost == 0


def test_the_sound_around_a_key_press_is_contiguous() -> None:
    """RFC 4733 §2.5.1: one timestamp per press, marked once; sequence and clock run on beneath it."""
    stream = stream_of()
    stream.playout.append("a", b"a" * 800)
    before = [packet_of(stream.next_packet(tick * 0.02)) for tick in range(2)]
    stream.send_digits("5", duration_ms=60, pause_ms=20)
    press = [packet_of(stream.next_packet(tick * 0.02)) for tick in range(2, 7)]
    after = [packet_of(stream.next_packet(tick * 0.02)) for tick in range(7, 10)]
    packets = [*before, *press, *after]
    assert [(p.sequence_number + 1) % 2**16 for p in packets] == list(range(10))
    assert {p.timestamp for p in press} == {160}
    assert [p.marker for p in packets[1:]] == [0, 1, *[0] * 7]
    assert [(p.timestamp + 160) % 2**32 for p in [*before, *after]] == [at * 160 for at in (0, 1, 7, 8, 9)]
    assert {p.payload for p in [*before, *after]} == {b"a" * 160}
    reports = [TelephoneEvent.parse(p.payload) for p in press]
    assert [(r.end, r.duration) for r in reports] == [
        (False, 160), (False, 320), (True, 480), (True, 480), (True, 480),
    ]  # fmt: skip


@pytest.mark.parametrize("ssrc", [77, 78], ids=["of the stream", "of its own"])
def test_a_key_between_sound_leaves_the_sound_whole(ssrc: int) -> None:
    """Events amid the sound take its sequence numbers, or come with an SSRC and sequence of their own."""
    stream, events = stream_of(), list[StreamEvent]()
    for tick in range(30):
        is_event = 10 <= tick < 16
        if is_event:
            press = TelephoneEvent(9, tick >= 13, 10, min(tick - 9, 4) * 160).serialize()
            sequence = tick if ssrc == 77 else 7984 + tick
            events += stream.receive_rtp(rtp(sequence, press, pt=101, ts=1600, ssrc=ssrc), PHONE, tick * 0.02)
        if ssrc == 78 or not is_event:
            events += stream.receive_rtp(rtp(tick), PHONE, tick * 0.02)
    assert [e for e in events if isinstance(e, DigitReceived)] == [DigitReceived("9", 80)]
    made_up = [e for e in events if isinstance(e, AudioFrame) and e.concealed]
    sound = audio(events)
    assert sound.count(b"s") == (24 if ssrc == 77 else 30) * 160
    assert sum(e.samples for e in made_up) == (6 * 160 if ssrc == 77 else 0)
    assert not any(e.payload.strip(PCMU.silence) for e in made_up)  # silence: no tone is made up either


def test_digits_are_refused_before_the_negotiation() -> None:
    with pytest.raises(RtpError, match="before the media are negotiated"):
        RtpStream(app_codec=PCMU).send_digits("1")


@pytest.mark.parametrize("comes_as", [101, 96], ids=["our number", "its own number"])
def test_a_peer_that_answers_with_other_numbers_is_understood_and_gets_its_own(comes_as: int) -> None:
    """A late offer: we offer events as 101, the answer has them as 96."""
    stream = stream_of(replace(CONFIG, telephone_event_pt=96, rx_telephone_event_pt=101, rx_payload_type=0))
    press = TelephoneEvent(5, True, 10, 800).serialize()
    assert DigitReceived("5", 100) in stream.receive_rtp(rtp(1, press, pt=comes_as), PHONE, 0.0)
    stream.send_digits("1")
    assert packet_of(stream.next_packet(0.0)).payload_type == 96


def test_the_sound_is_sent_with_the_peers_number_and_received_with_ours() -> None:
    stream = stream_of(replace(CONFIG, payload_type=96, rx_payload_type=97, rx_telephone_event_pt=101))
    assert audio(stream.receive_rtp(rtp(1, pt=97), PHONE, 0.0)) == b"s" * 160
    assert packet_of(stream.next_packet(0.0)).payload_type == 96


def test_crossed_numbers_are_read_as_our_sdp_says() -> None:
    """The peer's number for sound is ours for events, and the other way round."""
    crossed = replace(
        CONFIG, payload_type=96, telephone_event_pt=97, rx_payload_type=97, rx_telephone_event_pt=96
    )
    stream = stream_of(crossed)
    assert audio(stream.receive_rtp(rtp(1, pt=97), PHONE, 0.0)) == b"s" * 160
    press = TelephoneEvent(5, True, 10, 800).serialize()
    assert DigitReceived("5", 100) in stream.receive_rtp(rtp(2, press, pt=96), PHONE, 0.02)


def test_a_peer_that_sends_events_and_takes_none() -> None:
    stream = stream_of(replace(CONFIG, telephone_event_pt=None, rx_telephone_event_pt=101))
    press = TelephoneEvent(5, True, 10, 800).serialize()
    assert DigitReceived("5", 100) in stream.receive_rtp(rtp(1, press, pt=101), PHONE, 0.0)
    stream.send_digits("1")
    assert packet_of(stream.next_packet(0.0)).payload_type == 0  # its tone


# -- RTCP ----------------------------------------------------------------------------------------------


def test_reports_go_out_about_every_five_seconds_and_tell_loss_and_round_trip() -> None:
    agent, phone = stream_of(), stream_of(replace(CONFIG, remote=NAT))
    phone.ssrc = 1
    reports: list[RemoteReport] = []
    sent_at: list[float] = []
    for tick in range(1500):
        now = tick * 0.02
        data = agent.next_packet(now)
        assert data is not None
        if tick % 10:
            phone.receive_rtp(data, NAT, now + 0.05)
        for here, there, addr in ((agent, phone, NAT), (phone, agent, PHONE)):
            report = here.next_rtcp(now)
            if report is not None:
                there_events = there.receive_rtcp(report, (addr[0], addr[1] + 1), now + 0.05)
                if here is phone:
                    sent_at.append(now)
                    reports += [e for e in there_events if isinstance(e, RemoteReport)]
    assert 4 <= len(sent_at) <= 11
    assert all(1.2 <= b - a <= 7.6 for a, b in pairwise(sent_at))
    assert reports[-1].fraction_lost == pytest.approx(0.1, abs=0.02)
    assert reports[-1].rtt_ms == pytest.approx(100, abs=1)
    assert phone.snapshot().packets_lost == pytest.approx(150, abs=1)


def test_an_sr_carries_what_was_sent() -> None:
    stream = stream_of()
    for tick in range(500):
        stream.next_packet(tick * 0.02)
        data = stream.next_rtcp(tick * 0.02)
        if data is not None:
            (report, _) = parse_rtcp(data)
            assert isinstance(report, RtcpSrPacket)
            assert report.sender_info.packet_count == tick + 1
            assert report.sender_info.octet_count == (tick + 1) * 160
            return
    pytest.fail("no report within ten seconds")


def test_the_farewell_reports_what_was_lost_up_to_the_end() -> None:
    stream = stream_of()
    stream.next_packet(0.0)
    for number in (1, 2, 5):
        stream.receive_rtp(rtp(number), PHONE, number * 0.02)
    farewell = stream.bye(0.2)
    assert farewell is not None
    report, _, last = parse_rtcp(farewell)
    assert isinstance(report, RtcpSrPacket)
    assert [(block.packets_lost, block.highest_sequence) for block in report.reports] == [(2, 5)]
    assert isinstance(last, RtcpByePacket)


def test_rtcp_is_believed_only_from_the_medias_host() -> None:
    stream = stream_of()
    prove(stream, NAT)
    assert stream.receive_rtcp(receiver_report(9) + bye(9), STRANGER, 0.0) == []
    assert stream.receive_rtcp(receiver_report(9) + bye(9), (NAT[0], 62001), 0.0) == [RemoteBye()]
    assert stream.rtcp_destination == (NAT[0], 62001)
    assert stream.dropped == {"rtcp_wrong_source": 1}


def test_muxed_rtcp_shares_the_port() -> None:
    stream = stream_of(replace(CONFIG, remote_rtcp=PHONE))
    assert stream.is_rtcp_muxed
    assert stream.rtcp_destination == PHONE
    assert stream.receive_rtp(receiver_report(9) + bye(9), PHONE, 0.0) == [RemoteBye()]
    assert stream.receive_rtp(b"\x80\xc8\xff\xff" + bytes(8), PHONE, 0.0) == []
    assert stream.dropped == {"rtcp_truncated": 1}


def test_rtcp_on_the_rtp_port_is_not_believed_unless_negotiated() -> None:
    stream = stream_of()
    stream.receive_rtp(rtp(1), PHONE, 0.0)
    assert stream.receive_rtp(receiver_report(9) + bye(9), PHONE, 0.0) == []
    assert stream.rtcp_destination == PHONE_RTCP
    assert stream.dropped == {"rtcp_not_muxed": 1}


def test_the_first_rtcp_source_stays_until_the_media_moves() -> None:
    stream = stream_of()
    prove(stream, NAT)
    first, second = (NAT[0], 62001), (NAT[0], 62009)
    assert stream.receive_rtcp(receiver_report(9) + bye(9), first, 0.0) == [RemoteBye()]
    assert stream.receive_rtcp(receiver_report(9) + bye(9), second, 0.1) == []
    assert stream.rtcp_destination == first
    stream.receive_rtp(rtp(2), (NAT[0], 62008), 3.0)  # the NAT has rebound
    assert stream.receive_rtcp(receiver_report(9) + bye(9), second, 3.1) == [RemoteBye()]
    assert stream.rtcp_destination == second


# -- two cores over a bad line -------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), loss=st.floats(0, 0.2), jitter_ms=st.floats(0, 80))
def test_two_streams_over_a_line_with_loss_jitter_and_duplicates(
    seed: int, loss: float, jitter_ms: float
) -> None:
    """What arrives is what was sent, in order and in time: each frame of the item says its own number."""
    chance = random.Random(seed)
    agent = stream_of()
    phone = RtpStream(2)
    phone.configure(replace(CONFIG, codec=PCMU, remote=NAT))
    count = 150
    agent.playout.append("item", b"".join(bytes([n]) * 160 for n in range(count)))
    agent.playout.end_item("item")
    flying: list[tuple[float, bytes]] = []
    for tick in range(count):
        data = agent.next_packet(tick * 0.02)
        assert data is not None
        if tick in (0, count - 1):  # the ends are defined
            flying.append((tick * 0.02 + (0.2 if tick else 0), data))
        elif chance.random() >= loss:
            copies = 1 + (chance.random() < 0.1)
            flying += [(tick * 0.02 + chance.random() * jitter_ms / 1000, data) for _ in range(copies)]
    heard: list[StreamEvent] = []
    for at, data in sorted(flying):
        while (deadline := phone.deadline()) is not None and deadline <= at:
            heard += phone.on_timer(deadline)
        heard += phone.receive_rtp(data, NAT, at)
    end = max(at for at, _ in flying) + 0.3  # before it becomes clear that the line is silent
    while (deadline := phone.deadline()) is not None and deadline < end:
        heard += phone.on_timer(deadline)
    frames = [event for event in heard if isinstance(event, AudioFrame)]
    assert sum(frame.samples for frame in frames) == count * 160
    position = 0
    for frame in frames:
        if not frame.concealed:
            assert frame.payload == bytes([position // 160]) * 160
        position += frame.samples
    assert agent.playout.sent_ms("item") == count * 20
