"""The bridge between the phone's codec and the voice session's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtp.codec import CODECS, Codec
from rtp.g711 import Pcm
from sipua.audio import PassThrough, Pcm24, bridge_for
from sipua.realtime.config import AudioFormat

PCMU, PCMA = CODECS["PCMU"], CODECS["PCMA"]
ALL = set(AudioFormat)


def tone(rate: int, seconds: float, hertz: float = 1000.0) -> Pcm:
    t = np.arange(int(rate * seconds)) / rate
    return np.asarray(np.rint(8000 * np.sin(2 * np.pi * hertz * t)), np.int16)


def peak_hz(pcm: Pcm, rate: int) -> float:
    window = pcm[rate // 10 :].astype(np.float64)  # after the filter has filled
    spectrum = np.abs(np.fft.rfft(window * np.hanning(window.size)))
    return float(np.argmax(spectrum)) * rate / window.size


def purity(pcm: Pcm, rate: int) -> float:
    """Share of the energy within 50 Hz of the peak."""
    window = pcm[rate // 10 :].astype(np.float64)
    power = np.abs(np.fft.rfft(window * np.hanning(window.size))) ** 2
    hertz = np.arange(power.size) * rate / window.size
    return float(power[np.abs(hertz - peak_hz(pcm, rate)) < 50].sum() / power.sum())


@pytest.mark.parametrize(
    ("codec", "formats", "format", "kind"),
    [
        (PCMU, ALL, AudioFormat.PCMU, PassThrough),
        (PCMA, ALL, AudioFormat.PCMA, PassThrough),
        (PCMU, {AudioFormat.PCM24}, AudioFormat.PCM24, Pcm24),
        (PCMA, {AudioFormat.PCM24}, AudioFormat.PCM24, Pcm24),
        (PCMA, {AudioFormat.PCM24, AudioFormat.PCMU}, AudioFormat.PCM24, Pcm24),
        (CODECS["G722"], ALL, AudioFormat.PCM24, Pcm24),
    ],
    ids=["pcmu", "pcma", "pcmu to 24 kHz", "pcma to 24 kHz", "a service without A-law", "g722"],
)
def test_the_session_speaks_the_phones_codec_or_24_khz(
    codec: Codec, formats: set[AudioFormat], format: AudioFormat, kind: type
) -> None:
    found, bridge = bridge_for(codec, formats)
    assert found is format
    assert isinstance(bridge, kind)


def test_a_match_touches_nothing() -> None:
    _, bridge = bridge_for(PCMU, ALL)
    assert bridge.to_service(b"abc") == b"abc"
    assert bridge.to_phone("i", b"abc") == b"abc"


@pytest.mark.parametrize("codec", [PCMU, PCMA], ids=lambda codec: codec.name)
def test_a_tone_comes_through_both_ways(codec: Codec) -> None:
    bridge = Pcm24(codec)
    sent = codec.encode(tone(8000, 1.0))
    up = b"".join(bridge.to_service(sent[i : i + 160]) for i in range(0, len(sent), 160))
    heard = np.frombuffer(up, "<i2").astype(np.int16)
    assert heard.size == pytest.approx(24000, abs=100)  # its filter keeps 2 ms
    assert peak_hz(heard, 24000) == pytest.approx(1000, abs=2)
    assert purity(heard, 24000) > 0.99
    down = b"".join(bridge.to_phone("i", up[i : i + 12000]) for i in range(0, len(up), 12000))
    back = codec.decode(down)
    assert back.size == pytest.approx(8000, abs=60)
    assert peak_hz(back, 8000) == pytest.approx(1000, abs=2)
    assert purity(back, 8000) > 0.99
    assert np.abs(back[1000:-200]).max() == pytest.approx(8000, rel=0.1)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12))
def test_deltas_of_any_length_sound_like_one(sizes: list[int]) -> None:
    data = tone(24000, 0.5).astype("<i2").tobytes()[: sum(sizes)]
    whole, cut, place = Pcm24(PCMU), Pcm24(PCMU), b""
    start = 0
    for size in sizes:
        place += cut.to_phone("i", data[start : start + size])
        start += size
    assert place == whole.to_phone("i", data)


def test_an_item_starts_afresh() -> None:
    bridge = Pcm24(PCMU)
    bridge.to_phone("a", tone(24000, 0.1).astype("<i2").tobytes() + b"\x7f")  # half a sample is left
    silent = bridge.to_phone("b", bytes(4800))
    assert np.abs(PCMU.decode(silent)).max() < 16  # nothing of the old item's sound, and no byte shifted


def test_nothing_is_nothing() -> None:
    bridge = Pcm24(PCMU)
    assert bridge.to_service(b"") == b""
    assert bridge.to_phone("a", b"") == b""
    assert bridge.to_phone("a", b"\x01") == b""
