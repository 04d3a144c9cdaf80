"""Opus: as many bytes as its sound needs, another clock, a state; held to FFmpeg's decoder, which is not libopus."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import av
import numpy as np
import pytest

from rtp import opus
from rtp.codec import CODECS, PCM24, Codec
from rtp.errors import CodecError
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.g711 import Pcm
from rtp.packet import build_rtp, parse_rtp
from rtp.stream import RtpStream

OPUS, PCMU, G722 = CODECS["OPUS"], CODECS["PCMU"], CODECS["G722"]
PHONE = ("192.0.2.1", 4000)
RATE = opus.SAMPLE_RATE
FRAME = RATE // 50


def sweep(seconds: float, rate: int = RATE) -> Pcm:
    """From 300 to 1500 Hz: like itself at no other lag."""
    at = np.arange(int(rate * seconds)) / rate
    return np.asarray(np.rint(8000 * np.sin(2 * np.pi * (300 * at + 600 / seconds * at**2))), np.int16)


def likeness(one: Pcm, other: Pcm, most: int = 500) -> tuple[float, int]:
    """The best correlation and how much later ``other`` is, in samples."""
    window, most = one[2000:-3000].astype(float), min(most, len(other) - len(one) + 3000)
    region = other[2000 : 2000 + most + len(window)].astype(float)
    size = 1 << (len(region) + len(window)).bit_length()
    products = np.fft.irfft(np.fft.rfft(region, size) * np.conj(np.fft.rfft(window, size)), size)[:most]
    lag = int(np.argmax(products))
    return float(np.corrcoef(window, region[lag : lag + len(window)])[0, 1]), lag


def packets_of(sound: Pcm, ms: Sequence[int] = (20,)) -> list[bytes]:
    packets: list[bytes] = []
    encode, at = OPUS.new_encoder(), 0
    while at + RATE * ms[len(packets) % len(ms)] // 1000 <= len(sound):
        size = RATE * ms[len(packets) % len(ms)] // 1000
        packets.append(encode(sound[at : at + size]))
        at += size
    return packets


def test_sound_comes_back_late_by_the_look_ahead() -> None:
    sound = sweep(3)
    decode = OPUS.new_decoder()
    back = np.concatenate([decode(packet) for packet in packets_of(sound)])
    alike, lag = likeness(sound, back)
    assert alike > 0.98
    assert lag == pytest.approx(OPUS.delay_samples, abs=2)


def test_another_decoder_hears_what_was_sent() -> None:
    other = av.CodecContext.create("opus", "r")
    assert isinstance(other, av.AudioCodecContext)
    other.sample_rate, other.layout = opus.CLOCK_RATE, "mono"
    sound = sweep(3)
    heard = np.concatenate(
        [
            frame.to_ndarray().reshape(-1)
            for packet in packets_of(sound)
            for frame in other.decode(av.Packet(packet))
        ]
    )
    assert likeness(sound, np.asarray(np.rint(heard[::2] * 32767), np.int16))[0] > 0.98


@pytest.mark.parametrize(
    ("head", "ms"),
    [
        ("00", 10), ("0a", 40), ("18", 60), ("78", 20), ("80", 2.5), ("f8", 20), ("f9", 40), ("fa", 40),
        ("fb03", 60), ("fb06", 120), ("1b02", 120), ("83b0", 120),
    ],
)  # fmt: skip
def test_the_first_byte_tells_the_time(head: str, ms: float) -> None:
    assert opus.ticks_of(bytes.fromhex(head)) == ms * 48


@pytest.mark.parametrize("head", ["", "fb", "fb00", "fb07", "1b03", "83b1"])
def test_what_cannot_be_opus_has_no_time(head: str) -> None:
    with pytest.raises(CodecError, match="cannot last"):
        opus.ticks_of(bytes.fromhex(head))


def test_each_call_makes_one_packet_of_its_length() -> None:
    lengths = (20, 40, 60, 10, 20)
    packets = packets_of(sweep(1.5), lengths)
    assert [opus.ticks_of(packet) / 48 for packet in packets] == [
        lengths[n % len(lengths)] for n in range(len(packets))
    ]
    with pytest.raises(CodecError, match="10, 20, 40, 60 ms, not 30"):
        OPUS.new_encoder()(sweep(0.03))


# -- through the stream --------------------------------------------------------------------------------


def stream_of(wire: Codec, app_codec: Codec | None = None) -> RtpStream:
    stream = RtpStream(app_codec=app_codec)
    stream.configure(StreamConfig(wire, 96, None, PHONE))
    return stream


def heard(stream: RtpStream, packets: Sequence[tuple[int, int, bytes]]) -> bytes:
    """What the application hears of (sequence, timestamp, payload), one each 20 ms, and after."""
    events: list[StreamEvent] = []
    for n, (sequence_number, timestamp, payload) in enumerate(packets):
        while (deadline := stream.deadline()) is not None and deadline <= n * 0.02:
            events += stream.on_timer(deadline)
        data = build_rtp(96, False, sequence_number, timestamp & 0xFFFFFFFF, 7, payload)
        events += stream.receive_rtp(data, PHONE, n * 0.02)
    return b"".join(event.payload for event in events if isinstance(event, AudioFrame))


def numbered(payloads: Sequence[bytes], first: int = 0) -> list[tuple[int, int, bytes]]:
    at, packets = first, []
    for n, payload in enumerate(payloads):
        packets.append((n, at, payload))
        at += opus.ticks_of(payload)
    return packets


def test_the_application_holds_pcm24_and_hears_every_millisecond() -> None:
    stream = stream_of(OPUS)
    assert stream.app_codec is PCM24
    sound = sweep(3)
    packets = numbered(packets_of(sound), 2**32 - 20_000)  # through the wrap
    back = PCM24.decode(heard(stream, packets))
    assert len(back) == len(sound)
    alike, lag = likeness(sound, back)
    assert alike > 0.98
    assert 0 <= lag - OPUS.delay_samples <= RATE * 0.002  # the resampler's
    assert stream.snapshot().concealed_frames == 0


def test_packets_of_other_lengths_follow_each_other() -> None:
    payloads = packets_of(sweep(1.8), [20] * 30 + [60] * 10 + [10] * 60)
    back = PCM24.decode(heard(stream_of(OPUS), numbered(payloads)))
    decode = OPUS.new_decoder()
    expected = np.concatenate([decode(payload) for payload in payloads])
    assert len(back) == sum(opus.ticks_of(payload) for payload in payloads) // 2
    assert (back[len(back) - len(expected) :] == expected).all()


def test_swapped_packets_sound_as_if_they_had_not_been() -> None:
    """The decoder has a state, so it is fed after the order is restored."""
    packets = numbered(packets_of(sweep(2)))
    swapped = packets.copy()
    for n in range(10, 90, 7):
        swapped[n], swapped[n + 1] = swapped[n + 1], swapped[n]
    assert heard(stream_of(OPUS), swapped) == heard(stream_of(OPUS), packets)


def test_a_lost_packet_is_made_up() -> None:
    sound = sweep(3)
    packets = [each for n, each in enumerate(numbered(packets_of(sound))) if n % 20 != 10]
    stream = stream_of(OPUS)
    back = PCM24.decode(heard(stream, packets))
    assert len(back) == len(sound)
    assert stream.snapshot().concealed_frames == 7
    lost = [slice(FRAME * (n + 0) + 200, FRAME * (n + 1) + 200) for n in range(10, 150, 20)][:7]
    assert min(float(np.sqrt(np.mean(back[each].astype(float) ** 2))) for each in lost) > 3000


def test_broken_payload_is_counted_and_made_up() -> None:
    packets = numbered(packets_of(sweep(1)))
    broken: list[tuple[int, int, bytes]] = []
    for n, (sequence_number, timestamp, payload) in enumerate(packets):
        payload = {10: b"\xfb\x00", 20: b"\x03\x42\xff\xff", 30: b"\xff"}.get(n, payload)
        broken.append((sequence_number, timestamp, payload))
    stream = stream_of(OPUS)
    back = heard(stream, broken)
    assert len(back) == 48_000
    assert stream.dropped == {"undecodable": 3}


@pytest.mark.parametrize(("app_codec", "least"), [(PCMU, 0.92), (G722, 0.96)], ids=["PCMU", "G722"])
def test_a_session_in_another_codec_hears_and_speaks_opus(app_codec: Codec, least: float) -> None:
    stream = stream_of(OPUS, app_codec)
    back = app_codec.decode(heard(stream, numbered(packets_of(sweep(3)))))
    expected = sweep(3, app_codec.sample_rate)
    assert len(back) == len(expected)
    assert likeness(expected, back)[0] > least
    stream.playout.append("item", app_codec.encode(expected))
    assert likeness(sweep(3), said(stream, 150))[0] > least


def said(stream: RtpStream, ticks: int) -> Pcm:
    """What a phone hears; sequence and timestamps are looked at on the way."""
    sent = [data for n in range(ticks) if (data := stream.next_packet(n * 0.02))]
    packets = [parse_rtp(data) for data in sent]
    decode = OPUS.new_decoder()
    steps = {
        (after.sequence_number - before.sequence_number & 0xFFFF, after.timestamp - before.timestamp & MASK)
        for before, after in itertools.pairwise(packets)
    }
    assert steps == {(1, 960)}
    assert {opus.ticks_of(packet.payload) for packet in packets} == {960}
    return np.concatenate([decode(packet.payload) for packet in packets])


MASK = 0xFFFFFFFF


def test_what_is_said_is_heard_and_counted_in_milliseconds() -> None:
    stream = stream_of(OPUS)
    sound = sweep(2)
    stream.playout.append("item", PCM24.encode(sound))
    stream.playout.end_item("item")
    assert stream.playout.queued_ms == 2000
    back = said(stream, 50)
    assert stream.playout.sent_ms("item") == 1000
    back = np.concatenate((back, said(stream, 50)))
    assert stream.playout.sent_ms("item") == 2000
    assert likeness(sound[:RATE], back[:RATE])[0] > 0.97


@pytest.mark.parametrize(("wanted_ms", "ms"), [(10, 10), (20, 20), (30, 20), (50, 40), (60, 60)])
def test_a_packet_lasts_what_can_be_coded(wanted_ms: int, ms: int) -> None:
    assert OPUS.packet_ms(wanted_ms) == ms
    assert PCMU.packet_ms(wanted_ms) == wanted_ms


@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
def test_packets_are_as_long_as_agreed(ptime_ms: int) -> None:
    stream = RtpStream()
    stream.configure(StreamConfig(OPUS, 96, None, PHONE, ptime_ms=ptime_ms))
    packets = [parse_rtp(data) for n in range(20) if (data := stream.next_packet(n * ptime_ms / 1000))]
    assert len(packets) == 20
    assert {opus.ticks_of(packet.payload) for packet in packets} == {ptime_ms * 48}


def encoded_elsewhere(sound: Pcm, layout: str, options: dict[str, str]) -> list[bytes]:
    """As another phone may send it."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = RATE, layout, "s16"
    codec.options = options
    out = []
    for begin in range(0, len(sound), FRAME):
        piece = sound[begin : begin + FRAME]
        both = np.repeat(piece, 2 if layout == "stereo" else 1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout=layout)
        frame.sample_rate = RATE
        out += [bytes(packet) for packet in codec.encode(frame)]
    return out


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("mono", {"dtx": "1", "application": "voip"}),
        ("stereo", {"application": "audio"}),
        ("mono", {"fec": "1", "packet_loss": "10", "application": "voip"}),
    ],
    ids=["dtx", "stereo", "fec"],
)
def test_what_other_phones_send_is_taken(layout: str, options: dict[str, str]) -> None:
    sound = np.concatenate((sweep(2), np.zeros(RATE * 2, np.int16)))
    payloads = encoded_elsewhere(sound, layout, options)
    back = PCM24.decode(heard(stream_of(OPUS), numbered(payloads)))
    assert len(back) == sum(opus.ticks_of(payload) for payload in payloads) // 2
    assert likeness(sound[: RATE * 2], back[: RATE * 2 + 600])[0] > 0.95


def test_a_call_changes_to_opus_and_back() -> None:
    """PCMU, Opus and PCMU again from one source: the clock of the wire changes, the listener's goes on."""
    stream = RtpStream()
    stream.configure(StreamConfig(PCMU, 0, None, PHONE))
    total, n, now = 0, 0, 0.0
    for codec, payload_type in ((PCMU, 0), (OPUS, 96), (PCMU, 0)):
        stream.configure(StreamConfig(codec, payload_type, None, PHONE))
        payloads = packets_of(sweep(2)) if codec is OPUS else [bytes(160)] * 100
        for k, payload in enumerate(payloads):
            timestamp = n * 160 if codec is PCMU else 5_000_000 + k * 960
            data = build_rtp(payload_type, False, n, timestamp, 7, payload)
            events = stream.receive_rtp(data, PHONE, now)
            total += sum(len(each.payload) for each in events if isinstance(each, AudioFrame))
            n, now = n + 1, now + 0.02
    assert total == 6 * 8000
    assert stream.statistics.jitter_ms < 1
