"""G.711 bit by bit against an independent implementation (CPython's audioop, gone in 3.13), and codecs."""

from __future__ import annotations

import warnings

import av
import numpy as np
import pytest

from rtp import g711
from rtp.codec import CODECS, codec_by_name, transcoder
from rtp.errors import CodecError
from rtp.resample import Resampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

EVERY_SAMPLE = np.arange(65536, dtype=np.uint16).astype(np.int16)
EVERY_CODE = bytes(range(256))


def test_every_sample_encodes_as_the_reference_does() -> None:
    linear = EVERY_SAMPLE.tobytes()
    assert g711.encode_pcmu(EVERY_SAMPLE) == audioop.lin2ulaw(linear, 2)
    assert g711.encode_pcma(EVERY_SAMPLE) == audioop.lin2alaw(linear, 2)


def test_every_code_decodes_as_the_reference_does() -> None:
    assert g711.decode_pcmu(EVERY_CODE).tobytes() == audioop.ulaw2lin(EVERY_CODE, 2)
    assert g711.decode_pcma(EVERY_CODE).tobytes() == audioop.alaw2lin(EVERY_CODE, 2)


def test_the_laws_translate_as_through_linear() -> None:
    assert audioop.lin2alaw(audioop.ulaw2lin(EVERY_CODE, 2), 2) == g711.PCMU_TO_PCMA
    assert audioop.lin2ulaw(audioop.alaw2lin(EVERY_CODE, 2), 2) == g711.PCMA_TO_PCMU


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_a_code_survives_decode_and_encode(name: str) -> None:
    codec = CODECS[name]
    again = codec.encode(codec.decode(EVERY_CODE))
    assert np.array_equal(codec.decode(again), codec.decode(EVERY_CODE))  # µ-law has two zeros


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_silence_is_silent(name: str) -> None:
    codec = CODECS[name]
    assert abs(int(codec.decode(codec.silence)[0])) <= 8


def test_transcoding_is_the_table_and_nothing_for_the_same_codec() -> None:
    pcmu, pcma = CODECS["PCMU"], CODECS["PCMA"]
    assert transcoder(pcmu, pcmu)(b"\xff\x00") == b"\xff\x00"
    assert transcoder(pcmu, pcma)(EVERY_CODE) == g711.PCMU_TO_PCMA
    assert transcoder(pcma, pcmu)(EVERY_CODE) == g711.PCMA_TO_PCMU


def test_an_unknown_codec_is_named_with_those_allowed() -> None:
    assert codec_by_name("pcmu") is CODECS["PCMU"]
    with pytest.raises(CodecError, match=r"'G729'.*PCMU, PCMA"):
        codec_by_name("G729")


@pytest.mark.parametrize(("src", "dst"), [(8000, 24000), (24000, 8000), (44100, 8000), (8000, 8000)])
def test_resampling_keeps_length_and_tone(src: int, dst: int) -> None:
    """One second of 440 Hz in uneven chunks: right length, right frequency, delay of at most 3 ms."""
    tone = (10_000 * np.sin(2 * np.pi * 440 * np.arange(src) / src)).astype(np.int16)
    resampler = Resampler(src, dst)
    parts = [resampler.push(chunk) for chunk in np.split(tone, [1, 160, 161, 1000, 5000])]
    assert sum(part.size for part in parts) >= dst - dst * 3 // 1000
    out = np.concatenate([*parts, resampler.flush()])
    assert abs(out.size - dst) <= 2
    spectrum = np.abs(np.fft.rfft(out.astype(np.float64)[: dst // 2 * 2]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=1)
    assert resampler.push(np.zeros(0, np.int16)).size == 0


def test_resampling_delay_is_constant() -> None:
    resampler = Resampler(8000, 24000)
    sizes = [resampler.push(np.ones(160, np.int16)).size for _ in range(50)]
    assert sizes[0] == 432  # 2 ms inside the filter
    assert set(sizes[1:]) == {480}


def test_another_implementation_rounds_otherwise_and_no_further_than_a_code() -> None:
    """FFmpeg's encoder takes the nearest value, the ITU's truncates below: they differ in few codes, by one step.

    Its decoder is the same table.
    """
    for name, ffmpeg in (("PCMU", "pcm_mulaw"), ("PCMA", "pcm_alaw")):
        codec = CODECS[name]
        ours, theirs = codec.encode(EVERY_SAMPLE), ffmpeg_encoded(ffmpeg, EVERY_SAMPLE)
        one, other = (codec.decode(each).astype(int) for each in (ours, theirs))
        differing = one != other
        assert 0.005 < differing.mean() < 0.05
        steps = np.unique(codec.decode(EVERY_CODE).astype(int))
        apart = np.abs(np.searchsorted(steps, one) - np.searchsorted(steps, other))
        assert apart.max() == 1
        assert ffmpeg_decoded(ffmpeg, EVERY_CODE) == codec.decode(EVERY_CODE).tolist()


def ffmpeg_encoded(name: str, sound: g711.Pcm) -> bytes:
    codec = av.CodecContext.create(name, "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in codec.encode(frame))


def ffmpeg_decoded(name: str, payload: bytes) -> list[int]:
    codec = av.CodecContext.create(name, "r")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout = 8000, "mono"
    return [
        int(each) for frame in codec.decode(av.Packet(payload)) for each in frame.to_ndarray().reshape(-1)
    ]
