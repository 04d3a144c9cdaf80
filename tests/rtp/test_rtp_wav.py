"""WAV in every accepted format, in broken ones, and a recording whose writer was killed."""

from __future__ import annotations

import os
import resource
import signal
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from rtp.errors import WavError
from rtp.g711 import Pcm, encode_pcma, encode_pcmu
from rtp.wav import WavWriter, read_wav


def tone(rate: int, seconds: float = 0.5) -> Pcm:
    return (12_000 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def riff(
    sound: bytes, *, tag: int, bits: int, channels: int = 1, rate: int = 8000, extensible: bool = False
) -> bytes:
    """A WAV file with an odd-sized chunk that nobody knows before the sound."""
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * align, align, bits)
    if extensible:
        fmt += struct.pack("<HHIH", 22, bits, 0, tag) + bytes(14)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def as_24_bit(pcm: Pcm) -> bytes:
    return b"".join((sample * 256).to_bytes(3, "little", signed=True) for sample in pcm.tolist())


PCM = tone(8000)
FORMATS: dict[str, tuple[bytes, int]] = {
    "pcm 8": (riff(((PCM.astype(int) >> 8) + 128).astype(np.uint8).tobytes(), tag=1, bits=8), 256),
    "pcm 16": (riff(PCM.tobytes(), tag=1, bits=16), 0),
    "pcm 16 extensible": (riff(PCM.tobytes(), tag=1, bits=16, extensible=True), 0),
    "pcm 24": (riff(as_24_bit(PCM), tag=1, bits=24), 0),
    "pcm 32": (riff((PCM.astype("<i4") << 16).tobytes(), tag=1, bits=32), 0),
    "float 32": (riff((PCM / 32767).astype("<f4").tobytes(), tag=3, bits=32), 1),
    "float 64": (riff((PCM / 32767).astype("<f8").tobytes(), tag=3, bits=64), 1),
    "a-law": (riff(encode_pcma(PCM), tag=6, bits=8), 512),
    "µ-law": (riff(encode_pcmu(PCM), tag=7, bits=8), 512),
    "stereo": (riff(np.repeat(PCM, 2).tobytes(), tag=1, bits=16, channels=2), 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_accepted_format(name: str, tmp_path: Path) -> None:
    data, tolerance = FORMATS[name]
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    pcm = read_wav(path)
    assert pcm.dtype == np.int16
    assert pcm.shape == PCM.shape
    assert np.abs(pcm.astype(int) - PCM.astype(int)).max() <= tolerance


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_any_rate_is_converted(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(riff(tone(rate, 1.0).tobytes(), tag=1, bits=16, rate=rate))
    pcm = read_wav(path, 8000)
    assert abs(len(pcm) - 8000) <= 2
    assert np.argmax(np.abs(np.fft.rfft(pcm.astype(float)))) == pytest.approx(440, abs=1)


def test_two_channels_are_mixed(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    pair = np.array([[1000, 3000], [-5, -7]], np.int16)
    path.write_bytes(riff(pair.tobytes(), tag=1, bits=16, channels=2))
    assert read_wav(path).tolist() == [2000, -6]


@pytest.mark.parametrize("told", [0, 0xFFFFFFFF])
def test_the_length_of_a_killed_writer_means_the_rest(told: int, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    data = riff(PCM.tobytes(), tag=1, bits=16)
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + struct.pack("<I", told) + data[at + 4 :] + b"\0")
    assert np.array_equal(read_wav(path), PCM)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a WAV file; accepted: PCM 8/16/24/32"),
        (b"ID3\x04" + bytes(100), "not a WAV file"),
        (riff(b"", tag=1, bits=16)[:30], "no 'data' chunk"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "no usable 'fmt ' chunk"),
        (riff(bytes(64), tag=0x11, bits=4), "format 0x0011 with 4 bits; accepted"),
        (riff(bytes(64), tag=1, bits=12), "format 0x0001 with 12 bits"),
        (riff(bytes(64), tag=1, bits=16, channels=0), "0 channels"),
        (riff(bytes(64), tag=1, bits=16, rate=0), "0 Hz"),
    ],
)
def test_an_unreadable_file_is_named_with_what_is_accepted(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(data)
    with pytest.raises(WavError, match=r"broken\.wav") as caught:
        read_wav(path)
    assert message in str(caught.value)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.wav", tmp_path):
        with pytest.raises(WavError, match=path.name):
            read_wav(path)
    with pytest.raises(WavError, match=r"x\.wav"):
        WavWriter(tmp_path / "no" / "x.wav")


def test_what_is_written_is_read_by_us_and_by_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    with WavWriter(path) as writer:
        for at in range(0, len(PCM), 160):
            writer.write(PCM[at : at + 160])
    writer.close()
    with wave.open(str(path)) as judge:
        assert (judge.getnchannels(), judge.getsampwidth(), judge.getframerate()) == (1, 2, 8000)
        assert judge.readframes(judge.getnframes()) == PCM.tobytes()
    assert np.array_equal(read_wav(path), PCM)
    with pytest.raises(WavError, match="already closed"):
        writer.write(PCM)


def test_a_killed_writer_leaves_a_valid_file_without_its_last_second(tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    second = tone(8000, 1.0)
    writer = WavWriter(path)
    for _ in range(3):
        writer.write(second)
    writer.write(second[:4000])
    left_behind = tmp_path / "left.wav"
    left_behind.write_bytes(path.read_bytes())  # what the disk has at this moment
    with wave.open(str(left_behind)) as judge:
        assert judge.getnframes() == 24000
    writer.close()
    assert len(read_wav(path)) == 28000


def test_a_full_disk_is_named_and_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WavError, match=r"/dev/full: No space left"):
        WavWriter("/dev/full")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_disk_that_is_full_at_the_end_is_named_and_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    writer = WavWriter(tmp_path / "recording.wav")
    writer.write(PCM[:100])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))  # the sound lies behind byte 44
    try:
        with pytest.raises(WavError, match=r"recording\.wav: File too large"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before
