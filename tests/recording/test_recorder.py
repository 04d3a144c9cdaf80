"""Recordings on disk: what the file holds, also after a kill, on a full disk and with a disk that is too slow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtp.codec import CODECS, PCM24, Codec
from sipua.recorder import Recorder, Trouble
from tests.recording.parts import CALL, DAY, Counted, begun, files, stereo, talk, tone

LEFT, RIGHT = 32124, -32124  # G.711's loudest, 0x80 and 0x00


@pytest.fixture
def meter() -> Counted:
    return Counted()


async def test_a_bug_in_one_recording_does_not_end_the_others(tmp_path: Path, meter: Counted) -> None:
    def broken(payload: bytes) -> Any:
        raise RuntimeError("a bug")

    recorder, troubles = Recorder(tmp_path, meter), list[Trouble]()
    recorder.start()
    bad = begun(recorder, troubles, replace(CODECS["PCMU"], new_decoder=lambda: broken))
    talk(bad, 1)
    bad.finish(1.0)
    tape = begun(recorder, [])
    talk(tape, 1)
    tape.finish(1.0)
    await recorder.stop()
    assert sorted(file.stat().st_size > 8000 for file in files(tmp_path)) == [False, True]


async def test_both_sides_are_in_one_file(tmp_path: Path, meter: Counted) -> None:
    folder = tmp_path / "not there yet"
    recorder, told = Recorder(folder, meter), list[Trouble]()
    recorder.start()
    tape = begun(recorder, told)
    assert meter.active == 1
    talk(tape, 5)
    tape.finish(6.0)
    tape.finish(7.0)
    await recorder.stop()
    (file,) = files(folder)
    assert file.parent.name == "2026-01-02"
    assert file.name.startswith(str(CALL))
    assert file.stat().st_mode & 0o777 == 0o600
    assert {each.stat().st_mode & 0o777 for each in (folder, file.parent)} == {0o700}
    rate, left, right = stereo(file)
    assert (rate, len(left)) == (8000, 48000)
    assert (left[:40000] == LEFT).all()
    assert (right[:40000] == RIGHT).all()
    assert not left[40000:].any()
    assert not right[40000:].any()
    assert (told, meter.active, dict(meter.outcomes)) == ([], 0, {"kept": 1})


@pytest.mark.parametrize("codec", [CODECS["PCMA"], CODECS["G722"], PCM24], ids=lambda codec: codec.name)
async def test_each_codec_keeps_its_rate_and_length(codec: Codec, tmp_path: Path, meter: Counted) -> None:
    recorder = Recorder(tmp_path, meter)
    recorder.start()
    tape = begun(recorder, [], codec)
    for n, (low, high) in enumerate(zip(tone(codec, 400, 4), tone(codec, 1000, 4), strict=True)):
        tape.heard(n * 0.02, low, made_up=False)
        tape.sent(n * 0.02, high)
    tape.sent(10.0, tone(codec, 1000, 0.02)[0])  # after a pause
    tape.finish(10.5)
    await recorder.stop()
    rate, left, right = stereo(files(tmp_path)[0])
    assert (rate, len(left)) == (codec.sample_rate, round(10.5 * codec.sample_rate))
    for side, hertz in ((left, 400), (right, 1000)):
        spectrum = np.abs(np.fft.rfft(side[rate : 3 * rate].astype(np.float64)))
        assert spectrum.argmax() == 2 * hertz
    pause = np.abs(right[round(4.1 * rate) : round(9.98 * rate)])
    assert pause.max() < 64  # what the codec has for silence, or none at all
    assert np.abs(right[10 * rate : 10 * rate + rate // 50]).max() > 5000


async def test_a_discarded_one_leaves_nothing(tmp_path: Path, meter: Counted) -> None:
    recorder = Recorder(tmp_path, meter)
    recorder.start()
    tape = begun(recorder, [])
    talk(tape, 5)
    tape.discard()
    talk(tape, 5)  # a packet that was on its way
    tape.finish(9.0)
    await recorder.stop()
    assert files(tmp_path) == []
    assert dict(meter.outcomes) == {"deleted": 1}


async def test_a_disk_that_is_too_slow_costs_sound_and_not_the_place_of_what_follows(
    tmp_path: Path, meter: Counted
) -> None:
    """The queue is full from the first block on: it may hold none."""
    recorder, told = Recorder(tmp_path, meter, queue_blocks=0), list[Trouble]()
    recorder.start()
    tape = begun(recorder, told)
    talk(tape, 10)
    tape.finish(10.0)
    await recorder.stop()
    assert [trouble.reason for trouble in told] == ["disk_slow"]  # once, however often
    assert meter.faults["disk_slow"] > 5
    _, left, right = stereo(files(tmp_path)[0])
    assert len(left) == len(right) == 80000


async def test_too_little_room_is_told_and_nothing_is_written(tmp_path: Path, meter: Counted) -> None:
    recorder, told = Recorder(tmp_path, meter, min_free_mb=1 << 40), list[Trouble]()
    recorder.start()
    tape = begun(recorder, told)
    talk(tape, 5)
    tape.finish(5.0)
    await recorder.stop()
    assert [trouble.reason for trouble in told] == ["disk_full"]
    assert "recording.min_free_mb" in told[0].message
    assert files(tmp_path) == []
    assert (meter.active, dict(meter.outcomes)) == (0, {"failed": 1})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of 128 kB: four seconds."""
    if os.geteuid() != 0:
        pytest.skip("a file system of the test's own: run as root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_ends_the_recording_and_what_is_there_can_be_heard(
    small_disk: Path, meter: Counted
) -> None:
    recorder, told = Recorder(small_disk, meter), list[Trouble]()
    recorder.start()
    tape = begun(recorder, told)
    talk(tape, 30)
    tape.finish(30.0)
    await recorder.stop()
    assert [trouble.reason for trouble in told] == ["disk_full"]
    assert dict(meter.outcomes) == {"failed": 1}
    _, left, _ = stereo(files(small_disk)[0])
    assert 2 * 8000 <= len(left) < 5 * 8000
    assert (left == LEFT).all()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, meter: Counted) -> None:
    (tmp_path / "recordings").write_text("a file in the folder's place")
    recorder, told = Recorder(tmp_path / "recordings", meter), list[Trouble]()
    recorder.start()
    tape = begun(recorder, told)
    talk(tape, 3)
    tape.discard()
    await recorder.stop()
    assert [trouble.reason for trouble in told] == ["write_failed"]


async def test_what_may_not_be_recorded_is_not(tmp_path: Path, meter: Counted) -> None:
    recorder, told = Recorder(tmp_path, meter, refusal=lambda: "too much waits"), list[Trouble]()
    recorder.start()
    assert recorder.record(CALL, CALL, CODECS["PCMU"], 0.0, DAY, told.append) is None
    await recorder.stop()
    assert told == [Trouble("spool_full", "too much waits")]
    assert (meter.active, files(tmp_path)) == (0, [])


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from typing import Any
from sipua.recorder import Recorder
from tests.recording.parts import Counted, begun, files, talk

async def main():
    folder = Path(sys.argv[1])
    recorder = Recorder(folder, Counted())
    recorder.start()
    talk(begun(recorder, []), 12.5)
    while not files(folder) or files(folder)[0].stat().st_size < 9 * 32000:
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_killed_writer_leaves_a_valid_file(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (file,) = files(tmp_path)
    _, left, right = stereo(file)
    assert 8 * 8000 <= len(left) <= 12.5 * 8000
    assert (left == LEFT).all()
    assert (right == RIGHT).all()
