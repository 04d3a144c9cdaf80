"""G.722: a codec with a state and with a clock that is not its sample rate, through everything that carries sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rtp.codec import CODECS, Codec, transcoder
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.g711 import Pcm
from rtp.packet import build_rtp, parse_rtp
from rtp.stream import RtpStream

G722, PCMU, PCMA = CODECS["G722"], CODECS["PCMU"], CODECS["PCMA"]
PHONE = ("192.0.2.1", 4000)
DELAY = 22  # samples at 16 kHz, of encoder and decoder together


def tone(rate: int, seconds: float, hertz: float = 600.0, amplitude: float = 8000) -> Pcm:
    at = np.arange(int(rate * seconds)) / rate
    return np.asarray(np.rint(amplitude * np.sin(2 * np.pi * hertz * at)), np.int16)


def sweep(rate: int, seconds: float) -> Pcm:
    """From 300 to 1500 Hz: like itself at no other lag."""
    at = np.arange(int(rate * seconds)) / rate
    return np.asarray(np.rint(8000 * np.sin(2 * np.pi * (300 * at + 600 / seconds * at**2))), np.int16)


def likeness(one: Pcm, other: Pcm, most: int = 400) -> tuple[float, int]:
    """The best correlation and how much later ``other`` is, in samples."""
    window = one[2000:-2000].astype(float)
    found = [
        float(np.corrcoef(window, other[2000 + lag : 2000 + lag + len(window)])[0, 1]) for lag in range(most)
    ]
    return max(found), int(np.argmax(found))


@pytest.mark.parametrize("hertz", [300, 1000, 3000, 6000])
def test_sound_comes_back_also_above_what_a_telephone_has(hertz: float) -> None:
    sound = tone(16_000, 1, hertz)
    payload = G722.encode(sound)
    assert len(payload) == 8000  # a byte a tick of the 8 kHz clock
    back = G722.decode(payload)
    assert len(back) == 16_000
    error = back[2000 + DELAY : 14_000 + DELAY].astype(float) - sound[2000:14_000]
    assert np.sqrt(np.mean(error**2)) < 0.12 * np.sqrt(np.mean(sound.astype(float) ** 2))


@pytest.mark.parametrize("sizes", [[320] * 50, [1, 79, 80, 500, 17, 323], [160] * 100, []])
def test_a_stream_in_pieces_is_the_stream(sizes: list[int]) -> None:
    sound = tone(16_000, 1)
    encode, decode = G722.new_encoder(), G722.new_decoder()
    parts = np.split(sound, np.cumsum(sizes)[:-1]) if sizes else [sound]
    payloads = [encode(part) for part in parts]
    assert b"".join(payloads) == G722.encode(sound)
    back = np.concatenate([decode(payload) for payload in payloads])
    assert (back == G722.decode(b"".join(payloads))).all()


def test_what_is_no_whole_frame_waits_for_more() -> None:
    encode = G722.new_encoder()
    assert len(encode(tone(16_000, 1)[:200])) == 80
    assert len(encode(tone(16_000, 1)[:40])) == 40
    assert G722.decode(b"").size == 0


def test_silence_is_silent() -> None:
    assert not G722.decode(G722.silence * 1600).any()
    after_speech = G722.decode(G722.encode(tone(16_000, 0.5)) + G722.silence * 1600)
    assert np.abs(after_speech[-1600:].astype(int)).max() < 100


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000])
@pytest.mark.parametrize("codec", [G722, PCMU, PCMA], ids=lambda codec: codec.name)
def test_streams_of_any_rate_are_delayed_by_a_constant(codec: Codec, rate: int) -> None:
    """The resampler's 2 ms each way and the codec's own."""
    sound = sweep(rate, 2)
    encode, decode = codec.encoder(rate), codec.decoder(rate)
    chunks = [decode(encode(chunk)) for chunk in np.split(sound, len(sound) // (rate // 50))]
    assert len({chunk.size for chunk in chunks[5:]}) == 1
    back = np.concatenate(chunks)
    alike, lag = likeness(sound, np.concatenate((back, np.zeros(rate, np.int16))), rate // 100)
    assert alike > 0.995
    assert (
        lag / rate <= 0.0016
    )  # the resampler leaves its delay out at the beginning: only the filters' is heard
    assert (len(sound) - len(back)) / rate <= 0.0102


@pytest.mark.parametrize(("src", "dst"), [(G722, PCMU), (PCMA, G722), (G722, G722)])
def test_one_becomes_the_other(src: Codec, dst: Codec) -> None:
    convert = transcoder(src, dst)
    sound = sweep(src.sample_rate, 1)
    payload = src.encode(sound)
    out = b"".join(convert(payload[begin : begin + 160]) for begin in range(0, len(payload), 160))
    assert len(payload) - 60 <= len(out) <= len(payload)
    expected = sweep(dst.sample_rate, 1)
    back = np.concatenate((dst.decode(out), np.zeros(1000, np.int16)))
    alike, lag = likeness(expected, back)
    assert alike > 0.99
    assert lag / dst.sample_rate < 0.004


# -- through the stream --------------------------------------------------------------------------------


def stream_of(codec: Codec, app_codec: Codec) -> RtpStream:
    stream = RtpStream(app_codec=app_codec)
    stream.configure(StreamConfig(codec, codec.payload_type, None, PHONE))
    return stream


def heard(stream: RtpStream, codec: Codec, payload: bytes, is_lost: Callable[[int], bool]) -> bytes:
    events: list[StreamEvent] = []
    for n in range(len(payload) // 160):
        while (deadline := stream.deadline()) is not None and deadline <= n * 0.02:
            events += stream.on_timer(deadline)
        if not is_lost(n):
            data = build_rtp(codec.payload_type, False, n, n * 160, 7, payload[n * 160 : (n + 1) * 160])
            events += stream.receive_rtp(data, PHONE, n * 0.02)
    return b"".join(event.payload for event in events if isinstance(event, AudioFrame))


def test_a_call_in_g722_is_heard_and_lost_packets_are_concealed() -> None:
    sound = tone(16_000, 4, 150)
    payload = G722.encode(sound)
    assert heard(stream_of(G722, G722), G722, payload, lambda n: False) == payload
    stream = stream_of(G722, G722)
    concealed = heard(stream, G722, payload, lambda n: n % 20 == 10)
    assert len(concealed) == len(payload)
    assert stream.snapshot().concealed_frames == 10
    silent = bytearray(payload)
    for n in range(10, 200, 20):
        silent[n * 160 : (n + 1) * 160] = G722.silence * 160
    reference = G722.decode(payload).astype(float)
    errors = [
        float(np.sqrt(np.mean((G722.decode(bytes(each)) - reference) ** 2))) for each in (concealed, silent)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_a_call_that_changes_to_g722_is_heard_and_spoken_to_in_it() -> None:
    stream = stream_of(PCMU, PCMU)
    before = heard(stream, PCMU, PCMU.encode(tone(8000, 1)), lambda n: False)
    assert len(before) == 8000
    assert stream.config is not None
    stream.configure(replace(stream.config, codec=G722, payload_type=9))
    after: list[StreamEvent] = []
    payload = G722.encode(sweep(16_000, 2))
    for n in range(100):
        data = build_rtp(9, False, 50 + n, 8000 + n * 160, 7, payload[n * 160 : (n + 1) * 160])
        after += stream.receive_rtp(data, PHONE, 1 + n * 0.02)
    sound = PCMU.decode(b"".join(event.payload for event in after if isinstance(event, AudioFrame)))
    assert len(sound) == 16_000  # the listener's clock stays true
    assert likeness(sweep(8000, 2), np.concatenate((sound, np.zeros(1000, np.int16))))[0] > 0.98
    stream.playout.append("item", PCMU.encode(sweep(8000, 2)))
    sent = []
    for n in range(100):
        said_packet = stream.next_packet(n * 0.02)
        assert said_packet is not None
        packet = parse_rtp(said_packet)
        assert packet.payload_type == 9
        sent.append(packet.payload)
    assert [len(payload) for payload in sent[1:]] == [160] * 99
    said = G722.decode(b"".join(sent))
    assert likeness(sweep(16_000, 2), np.concatenate((said, np.zeros(1000, np.int16))))[0] > 0.98
