"""Keys in the sound, from stream to stream: pressed where no events are negotiated, told as digits, not heard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rtp.codec import CODECS, Codec
from rtp.events import AudioFrame, DigitReceived, StreamConfig, StreamEvent
from rtp.packet import build_rtp, parse_rtp
from rtp.stream import RtpStream
from rtp.tones import KEYS, RATE, ToneDetector, tones_of

ALL = "".join(KEYS)
PHONE = ("192.0.2.1", 4000)
PCMU = CODECS["PCMU"]


def stream_of(
    codec: Codec, *, hears_tones: bool = False, app_codec: Codec | None = None, send_silence: bool = True
) -> RtpStream:
    stream = RtpStream(app_codec=app_codec, hears_tones=hears_tones, send_silence=send_silence)
    stream.configure(StreamConfig(codec, codec.payload_type, None, PHONE))
    return stream


def carried(
    phone: RtpStream,
    agent: RtpStream,
    ticks: int,
    is_lost: Callable[[int], bool] = lambda tick: False,
    begin: int = 0,
) -> list[StreamEvent]:
    """What the agent hears of so many ticks of the phone."""
    events: list[StreamEvent] = []
    for tick in range(begin, begin + ticks):
        now = tick * 0.02
        data = phone.next_packet(now)
        if data is not None and not is_lost(tick):
            events += agent.receive_rtp(data, PHONE, now)
        while (deadline := agent.deadline()) is not None and deadline <= now + 0.02:
            events += agent.on_timer(deadline)
    return events


def digits_of(events: list[StreamEvent]) -> str:
    return "".join(each.digit for each in events if isinstance(each, DigitReceived))


def sound_of(events: list[StreamEvent]) -> bytes:
    return b"".join(each.payload for each in events if isinstance(each, AudioFrame))


@pytest.mark.parametrize("name", CODECS)
def test_keys_are_told_and_not_heard(name: str) -> None:
    codec = CODECS[name]
    phone, agent = stream_of(codec), stream_of(codec, hears_tones=True)
    phone.send_digits(ALL)
    events = carried(phone, agent, 10 * len(ALL) + 10)
    assert digits_of(events) == ALL
    sound = sound_of(events)
    assert len(sound) == (10 * len(ALL) + 10) * codec.app_codec.frame_bytes(20)
    pcm = codec.app_codec.decoder(RATE)(sound)
    detector = ToneDetector()
    assert detector.receive(pcm) == []
    loud = [
        frame
        for frame in np.split(pcm[: len(pcm) // 160 * 160], len(pcm) // 160)
        if np.abs(frame).max() > 500
    ]
    assert len(loud) <= 2 * len(ALL)  # of 6 each; a coder or filter with a delay spreads one over two


def test_the_codec_of_the_listener_is_another() -> None:
    phone = stream_of(CODECS["G722"])
    agent = stream_of(CODECS["G722"], hears_tones=True, app_codec=PCMU)
    phone.send_digits(ALL)
    assert digits_of(carried(phone, agent, 10 * len(ALL) + 10)) == ALL


def test_who_does_not_listen_for_tones_hears_them() -> None:
    phone, agent = stream_of(PCMU), stream_of(PCMU)
    phone.send_digits("5")
    events = carried(phone, agent, 20)
    assert digits_of(events) == ""
    assert [digit.digit for digit in ToneDetector().receive(PCMU.decode(sound_of(events)))] == ["5"]


@pytest.mark.parametrize("lost", range(6))
def test_a_packet_lost_in_a_press_makes_no_second_one(lost: int) -> None:
    phone, agent = stream_of(PCMU), stream_of(PCMU, hears_tones=True)
    phone.send_digits(ALL)
    ticks = 10 * len(ALL) + 10
    events = carried(phone, agent, ticks, lambda tick: tick > 0 and tick % 10 == lost)
    assert digits_of(events) == ALL
    assert agent.uplink.concealed_frames >= len(ALL) - 1


def test_what_is_too_short_for_a_press_is_not_made_one_by_concealment() -> None:
    phone, agent = stream_of(PCMU), stream_of(PCMU, hears_tones=True)
    phone.send_digits("5", duration_ms=20)
    assert digits_of(carried(phone, agent, 20, lambda tick: tick in (1, 2))) == ""
    assert agent.uplink.concealed_frames == 2


@pytest.mark.parametrize("silent_ticks", [5, 30])
def test_the_same_key_again_after_nothing_was_sent_is_a_second_press(silent_ticks: int) -> None:
    """A phone with DTX: silence is made up between the two, which ends the first."""
    phone, agent = stream_of(PCMU, send_silence=False), stream_of(PCMU, hears_tones=True)
    phone.send_digits("5", pause_ms=0)
    events = carried(phone, agent, 6 + silent_ticks)
    phone.send_digits("5", pause_ms=0)
    events += carried(phone, agent, 60, begin=6 + silent_ticks)
    assert digits_of(events) == "55"


@pytest.mark.parametrize("hears_noise", [False, True])
def test_a_press_ends_with_the_pause_behind_it_whatever_that_sounds_like(hears_noise: bool) -> None:
    remote, codec = ("127.0.0.1", 4000), CODECS["PCMU"]
    stream = RtpStream(app_codec=codec, hears_tones=True, hears_noise=hears_noise)
    stream.configure(StreamConfig(codec, 0, None, remote))
    tone = codec.encode(tones_of("5", RATE, duration_ms=100, pause_ms=0))
    events: list[StreamEvent] = []
    for seq in range(5):
        packet = build_rtp(0, False, seq, seq * 160, 7, tone[seq * 160 :][:160])
        events += stream.receive_rtp(packet, remote, seq * 0.02)
    events += stream.receive_rtp(build_rtp(13, False, 5, 800, 7, bytes([40])), remote, 0.1)  # RFC 3389
    while (deadline := stream.deadline()) is not None and deadline < 1:
        events += stream.on_timer(deadline)
    assert [each.digit for each in events if isinstance(each, DigitReceived)] == ["5"]


def test_other_sound_is_handed_on_as_it_is() -> None:
    phone, agent = stream_of(PCMU), stream_of(PCMU, hears_tones=True)
    noise = np.random.default_rng(1).normal(0, 3000, 160 * 50).astype(np.int16)
    phone.playout.append("a", PCMU.encode(noise))
    phone.playout.end_item("a")
    assert sound_of(carried(phone, agent, 50)) == PCMU.encode(noise)


def test_sound_waits_while_keys_are_pressed() -> None:
    phone = stream_of(PCMU)
    said = bytes(range(1, 161))
    phone.playout.append("a", said)
    phone.playout.end_item("a")
    phone.send_digits("1", duration_ms=50, pause_ms=40)
    sent = [parse_rtp(data).payload for tick in range(7) if (data := phone.next_packet(tick * 0.02))]
    assert [payload == said for payload in sent] == [False] * 5 + [True, False]
    assert len(sent[4]) == 160  # the rest of the pause, completed
