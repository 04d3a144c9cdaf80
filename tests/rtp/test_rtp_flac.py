"""FLAC recordings: what was written is what is read, also of a file that nobody closed."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from rtp.flac import FlacError, FlacWriter
from rtp.g711 import Pcm


def sound(seconds: float, rate: int) -> Pcm:
    """Two channels, interleaved, with a sound of their own."""
    at = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(1).normal(0, 200, (len(at), 2))
    tones = np.stack((8000 * np.sin(2500 * at), 3000 * np.sin(900 * at)), axis=1)
    return (tones + noise).astype(np.int16).reshape(-1)


def read(file: Path) -> tuple[int, Pcm]:
    """Rate and samples, as libavformat reads them."""
    with av.open(str(file)) as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        return container.streams.audio[0].rate, np.concatenate(frames).astype(np.int16)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_nothing_is_lost(rate: int, tmp_path: Path) -> None:
    written = sound(2.5, rate)
    file = tmp_path / "x.flac"
    writer = FlacWriter(file, rate, channels=2)
    for begin in range(0, len(written), 320):
        writer.write(written[begin : begin + 320])
    writer.close()
    writer.close()
    heard_rate, heard = read(file)
    assert (heard_rate, writer.samples) == (rate, len(written) // 2)
    assert np.array_equal(heard, written)
    assert file.stat().st_size < written.nbytes


def test_a_file_that_was_not_closed_is_heard_but_for_its_last_frames(tmp_path: Path) -> None:
    written = sound(10.0, 8000)
    writer = FlacWriter(tmp_path / "x.flac", 8000, channels=2)
    for begin in range(0, len(written), 320):
        writer.write(written[begin : begin + 320])
    shutil.copy(tmp_path / "x.flac", tmp_path / "killed.flac")
    _, heard = read(tmp_path / "killed.flac")
    assert len(written) - len(heard) < 2 * 2 * 8000
    assert np.array_equal(heard, written[: len(heard)])
    writer.close()


def test_what_the_disk_refuses_names_the_file() -> None:
    writer = FlacWriter("/dev/full", 8000, channels=2)
    with pytest.raises(FlacError, match=r"/dev/full: .*[Nn]o space"):
        writer.write(sound(10.0, 8000))
    with contextlib.suppress(FlacError):
        writer.close()


def test_a_folder_that_is_not_there_and_a_closed_file(tmp_path: Path) -> None:
    with pytest.raises(FlacError, match=r"not/x\.flac"):
        FlacWriter(tmp_path / "not" / "x.flac").write(np.zeros(9216, np.int16))
    writer = FlacWriter(tmp_path / "x.flac")
    writer.close()
    with pytest.raises(FlacError, match="already closed"):
        writer.write(np.zeros(1, np.int16))
