"""The table of codecs: what one more needs, and what of it the application sees."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.codec import CODECS, PCM24, Codec, codec_by_name, l16, register
from rtp.errors import CodecError
from rtp.events import AudioFrame, StreamConfig, StreamEvent
from rtp.g711 import Pcm
from rtp.packet import build_rtp, parse_rtp
from rtp.stream import RtpStream
from rtp.timeline import Timeline

PHONE = ("192.0.2.1", 4000)
TOY = '''
"""Eight bits of sixteen, at 16 kHz: a byte a sample."""
import numpy as np
from rtp.codec import Codec, register

def encode(pcm):
    return (pcm >> 8).astype(np.int8).tobytes()

def decode(payload):
    return np.frombuffer(payload, np.int8).astype(np.int16) << 8

TOY = register(Codec("TOY", 98, 16_000, b"\\0", lambda: encode, lambda: decode, 16_000))
'''


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Codec]:
    """A codec in a file of its own."""
    (tmp_path / "toy_codec.py").write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy_codec", tmp_path / "toy_codec.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_codec"] = module
    spec.loader.exec_module(module)
    yield codec_by_name("toy")
    del CODECS["TOY"], sys.modules["toy_codec"]


def tone(rate: int, seconds: float) -> Pcm:
    at = np.arange(int(rate * seconds)) / rate
    return np.asarray(np.rint(8000 * np.sin(2 * np.pi * 440 * at)), np.int16)


def converse(codec: Codec, app_codec: Codec | None = None) -> tuple[bytes, bytes]:
    """Two streams, 2 s of sound from one to the other: what was said and what was heard, as applications hold it."""
    speaker, listener = RtpStream(app_codec=app_codec), RtpStream(app_codec=app_codec)
    for stream in (speaker, listener):
        stream.configure(StreamConfig(codec, codec.payload_type, None, PHONE))
    said = speaker.playout.codec.encode(tone(speaker.playout.codec.sample_rate, 2))
    speaker.playout.append("item", said)
    events: list[StreamEvent] = []
    for n in range(100):
        data = speaker.next_packet(n * 0.02)
        assert data is not None
        assert codec.ticks_of(parse_rtp(data).payload) == codec.clock_rate // 50
        events += listener.receive_rtp(data, PHONE, n * 0.02)
    assert speaker.playout.sent_ms("item") == 2000
    assert listener.snapshot().concealed_frames == 0
    return said, b"".join(event.payload for event in events if isinstance(event, AudioFrame))


def test_a_codec_in_a_file_of_its_own_holds_a_call(toy: Codec) -> None:
    said, heard = converse(toy)
    assert heard == said
    assert len(said) == 32_000


def test_a_codec_in_a_file_of_its_own_meets_a_session_in_another(toy: Codec) -> None:
    pcmu = CODECS["PCMU"]
    said, heard = converse(toy, pcmu)
    assert len(heard) == len(said) == 16_000
    first, then = (pcmu.decode(each)[4000:12_000].astype(float) for each in (said, heard))
    assert max(float(np.corrcoef(first, np.roll(then, -lag))[0, 1]) for lag in range(64)) > 0.98


@pytest.mark.parametrize(
    ("name", "clock_rate"), [("PCMU", 8000), ("toy", 8000), ("TOY", 11_025)], ids=["taken", "small", "clock"]
)
def test_what_cannot_be_registered_is_refused(name: str, clock_rate: int) -> None:
    codec = Codec(name, 98, clock_rate, b"\0", lambda: bytes, lambda: lambda _: np.zeros(0, np.int16))
    with pytest.raises(CodecError, match=f"'{name}' at {clock_rate}"):
        register(codec)
    assert "TOY" not in CODECS


def test_the_application_holds_what_has_a_byte_for_each_tick() -> None:
    assert {name: codec.app_codec.name for name, codec in CODECS.items()} == {
        "PCMU": "PCMU",
        "PCMA": "PCMA",
        "G722": "G722",
        "OPUS": "PCM24",
    }


# -- L16 -----------------------------------------------------------------------------------------------


def test_l16_is_in_network_byte_order() -> None:
    codec = l16(8000)
    assert codec.encode(np.array([1, -2, 0x1234], np.int16)) == bytes.fromhex("0001fffe1234")
    assert codec.decode(bytes.fromhex("0001fffe123456")).tolist() == [1, -2, 0x1234]
    assert codec.ticks_of(bytes(7)) == 3
    assert PCM24.encode(np.array([0x1234], np.int16)) == b"\x34\x12"


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000])
def test_l16_holds_a_call(rate: int) -> None:
    said, heard = converse(l16(rate))
    first, then = (PCM24.decode(each).astype(float) for each in (said, heard))
    assert len(then) == len(first) == 48_000
    delayed = {
        lag: float(np.abs(then[4000 + lag : 44_000] - first[4000 : 44_000 - lag]).max()) for lag in range(120)
    }
    assert min(delayed.values()) < (1 if rate == 24_000 else 400)


def test_l16_of_half_a_sample_does_no_harm() -> None:
    stream = RtpStream()
    stream.configure(StreamConfig(l16(16_000), 97, None, PHONE))
    events: list[StreamEvent] = []
    for n in range(10):
        payload = bytes(640) if n % 2 else bytes(641)
        events += stream.receive_rtp(build_rtp(97, False, n, n * 320, 7, payload), PHONE, n * 0.02)
    assert sum(len(each.payload) for each in events if isinstance(each, AudioFrame)) == 9600


# -- two clocks ----------------------------------------------------------------------------------------


@given(
    st.sampled_from([8000, 16_000, 48_000]),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(-2000, 3000), min_size=1, max_size=200),
)
def test_a_timestamp_is_the_same_moment_on_either_clock(rate: int, first: int, steps: list[int]) -> None:
    timeline = Timeline(rate, 8000)
    at, begin = first, timeline.at(first)
    for step in steps:
        at += step * rate // 8000
        moved = timeline.at(at & 0xFFFFFFFF) - begin & 0xFFFFFFFF
        assert ((moved + 2**31) % 2**32 - 2**31) == at * 8000 // rate - first * 8000 // rate
