"""What a phone hears while nobody speaks: silence, or faint noise if it is so wanted."""

from __future__ import annotations

import numpy as np
import pytest

from rtp.codec import CODECS, PCM24, Codec
from rtp.comfort_noise import rms_of
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.packet import RtpPacket, build_rtp, parse_rtp
from rtp.stream import RtpStream

PHONE = ("192.0.2.1", 4000)
EACH = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
CONSTANT = pytest.mark.parametrize(
    "codec", [each for each in CODECS.values() if each.has_byte_per_tick], ids=lambda each: each.name
)


def sent(codec: Codec, ticks: int, *, comfort_noise: bool, ptime_ms: int = 20) -> list[RtpPacket]:
    stream = RtpStream(comfort_noise=comfort_noise)
    stream.configure(StreamConfig(codec, codec.payload_type, None, PHONE, ptime_ms=ptime_ms))
    packets = [stream.next_packet(tick * ptime_ms / 1000) for tick in range(ticks)]
    return [parse_rtp(packet) for packet in packets if packet is not None]


@CONSTANT
@pytest.mark.parametrize("ptime_ms", [20, 60])
def test_noise_is_faint_and_does_not_hum(codec: Codec, ptime_ms: int) -> None:
    packets = sent(codec, 600, comfort_noise=True, ptime_ms=ptime_ms)
    assert {len(packet.payload) for packet in packets} == {codec.frame_bytes(ptime_ms)}
    assert {packet.payload_type for packet in packets} == {codec.payload_type}
    assert not any(packet.marker for packet in packets[1:])
    sound = codec.decode(b"".join(packet.payload for packet in packets)).astype(np.float64)
    sound = sound[codec.sample_rate // 10 :]  # the decoder's own beginning
    dbm0 = 20 * np.log10(np.sqrt(np.mean(sound**2)) / (32768 / np.sqrt(2))) + 3.17
    assert dbm0 == pytest.approx(-60, abs=3)
    spectrum = np.abs(np.fft.rfft(sound[: codec.sample_rate * 2])[200:6800]) ** 2  # 100 to 3,400 Hz
    assert spectrum.max() < 30 * spectrum.mean()


@CONSTANT
def test_without_it_there_is_digital_silence(codec: Codec) -> None:
    assert {packet.payload for packet in sent(codec, 50, comfort_noise=False)} == {codec.silence * 160}


@EACH
def test_silence_is_silent_and_noise_is_heard(codec: Codec) -> None:
    loud = []
    for comfort_noise in (False, True):
        decode = codec.new_decoder()
        packets = sent(codec, 100, comfort_noise=comfort_noise)
        sound = np.concatenate([decode(packet.payload) for packet in packets])[codec.sample_rate :]
        loud.append(float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))))
    assert loud[0] <= 8  # A-law has no zero
    assert 10 < loud[1] < 25


def test_speech_takes_its_place_unchanged() -> None:
    codec = CODECS["PCMU"]
    stream = RtpStream(comfort_noise=True)
    stream.configure(StreamConfig(codec, 0, None, PHONE))
    stream.playout.append("a", b"s" * 320)
    stream.playout.end_item("a")
    payloads = [parse_rtp(data).payload for tick in range(3) if (data := stream.next_packet(tick * 0.02))]
    assert payloads[:2] == [b"s" * 160] * 2
    assert payloads[2] not in (b"s" * 160, codec.silence * 160)


# -- what a phone's comfort noise sounds like ----------------------------------------------------------


def pause(codec: Codec, level: int | None, *, hears_noise: bool) -> list[AudioFrame]:
    """A word, a second of comfort noise at ``-level`` dBov every 100 ms, a word."""
    stream = RtpStream(app_codec=codec, hears_noise=hears_noise)
    stream.configure(StreamConfig(CODECS["PCMU"], 0, None, PHONE))
    frames: list[AudioFrame] = []
    for n in range(12):
        payload, payload_type = (b"\x90" * 160, 0) if n in (0, 11) else (bytes([level or 0]), 13)
        if n not in (0, 11) and level is None:
            payload = b""
        now = 0.02 if n == 0 else 0.04 + (n - 1) * 0.1
        while (deadline := stream.deadline()) is not None and deadline <= now:
            frames += [each for each in stream.on_timer(deadline) if isinstance(each, AudioFrame)]
        timestamp = 0 if n == 0 else 160 + (n - 1) * 800
        data = build_rtp(payload_type, n == 11, n, timestamp, 7, payload)
        frames += [each for each in stream.receive_rtp(data, PHONE, now) if isinstance(each, AudioFrame)]
    return frames


@pytest.mark.parametrize("codec", [CODECS["PCMU"], CODECS["G722"], PCM24], ids=lambda codec: codec.name)
@pytest.mark.parametrize("level", [30, 45, 60])
def test_a_phones_noise_is_heard_at_its_level_where_that_is_wanted(codec: Codec, level: int) -> None:
    sound = pause(codec, level, hears_noise=True)
    assert sum(each.samples for each in sound) == codec.frame_bytes(1040)
    quiet = codec.decode(b"".join(each.payload for each in sound if each.concealed)).astype(np.float64)
    heard = 20 * np.log10(np.sqrt(np.mean(quiet[codec.sample_rate // 10 :] ** 2)) / 32768)
    assert heard == pytest.approx(-level, abs=2)


@pytest.mark.parametrize(
    ("level", "hears_noise"),
    [(45, False), (100, True), (127, True), (None, True)],
    ids=["off", "faint", "least", "empty"],
)
def test_a_pause_is_silence_otherwise(level: int | None, hears_noise: bool) -> None:
    codec = CODECS["PCMU"]
    sound = pause(codec, level, hears_noise=hears_noise)
    assert sum(each.samples for each in sound) == 1040 * 8
    assert {each.payload.strip(codec.silence) for each in sound if each.concealed} == {b""}


def test_a_noise_that_is_too_loud_to_be_one_is_held_down() -> None:
    assert rms_of(b"\x00") == rms_of(b"\x80") == pytest.approx(32768 * 10**-1.5)


def test_a_noise_is_over_with_the_next_word() -> None:
    codec = CODECS["PCMU"]
    stream = RtpStream(app_codec=codec, hears_noise=True)
    stream.configure(StreamConfig(codec, 0, None, PHONE))
    frames: list[StreamEvent] = []
    for n, (payload_type, payload, now) in enumerate(
        [(0, b"\x90" * 160, 0.0), (13, b"\x2d", 0.02), (0, b"\x90" * 160, 0.5), (0, b"\x90" * 160, 1.5)]
    ):
        while (deadline := stream.deadline()) is not None and deadline <= now:
            frames += stream.on_timer(deadline)
        frames += stream.receive_rtp(
            build_rtp(payload_type, False, n, round(now * 8000), 7, payload), PHONE, now
        )
    sound = codec.decode(b"".join(each.payload for each in frames if isinstance(each, AudioFrame)))
    assert np.abs(sound[200:3900].astype(int)).max() > 200
    assert not sound[4200:11_900].any()
