"""A person at a sound device calls: both directions through a real call, and the real library on ALSA's files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from rtp.g711 import Pcm
from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.conftest import StartSipp, missing
from tests.peers.phone import Phone
from tests.peers.processes import clean_environment, run, similarity, until
from tests.ports import free_port

pytestmark = pytest.mark.peer
ROOT = Path(__file__).resolve().parents[2]


def person(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.peers.mic_call", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def document_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    assert found["device_closed"]
    return found


def likeness(heard: Pcm, said: Pcm) -> float:
    return fmean(similarity(heard, said[begin : begin + 2000]) for begin in range(6000, 16000, 2000))


@pytest.mark.parametrize("ppm", ["300", "-1000"])
def test_a_person_talks_and_listens_until_ctrl_c(
    sipp: StartSipp, phone: Phone, tmp_path: Path, ppm: str
) -> None:
    said, answer = shipped_speech("question_en.wav"), shipped_speech("moto_en.wav")
    port, heard = free_port(), tmp_path / "heard.wav"
    peer = sipp("", "uas", flags=("-p", str(port)), rtp_port=phone.port)
    phone.say(read_wav(answer))
    process = person(f"sip:peer@127.0.0.1:{port}", str(said), ppm, str(heard))
    seconds = max(read_wav(said).size, read_wav(answer).size) / 8000 + 0.7
    until(lambda: len(phone.heard) > seconds * 50, "said")
    process.send_signal(signal.SIGINT)
    document = document_of(process)
    peer.wait()
    assert (document["status"], document["reason"]) == ("completed", "hangup")
    assert len(peer.received("BYE")) == 1
    # a quarter of a second at a time: some samples are inserted or removed between the clocks
    at_phone, at_card = phone.audio(), read_wav(heard)
    assert likeness(at_phone, read_wav(said)) > 0.8
    assert likeness(at_card, read_wav(answer)) > 0.8
    assert likeness(at_card, read_wav(said)) < 0.5  # the judge can say no
    assert set(document["device"]) == {"microphone", "speaker"}


def test_a_device_that_is_unplugged_ends_the_call(sipp: StartSipp, phone: Phone, tmp_path: Path) -> None:
    port = free_port()
    peer = sipp("", "uas", flags=("-p", str(port)), rtp_port=phone.port)
    said = shipped_speech("question_en.wav")
    process = person(f"sip:peer@127.0.0.1:{port}", str(said), "0", str(tmp_path / "heard.wav"), "1.5")
    document = document_of(process)
    peer.wait()
    assert "has stopped" in document["error"]
    assert len(peer.received("BYE")) == 1


# ---- the real library ------------------------------------------------------------------------------------------

ALSA = """</usr/share/alsa/alsa.conf>
pcm.speaker {{ type file; slave.pcm "null"; file {folder}/speaker.raw; format raw }}
pcm.microphone {{ type file; slave.pcm "null"; file /dev/null; infile {folder}/microphone.raw; format raw }}
pcm.!default {{ type asym; playback.pcm speaker; capture.pcm microphone }}
"""
# ALSA's files have no clock: what PortAudio calls back waits, as a card would.
REAL = """
import sys, time
import numpy as np
from sipua.sound.portaudio import PortAudio
device = PortAudio("default", 8000)
assert (device.microphone_rate, device.speaker_rate) == (8000, 8000)
taken, given = [], []
def on_microphone(block):
    time.sleep(0.02)
    taken.append(block)
def for_speaker(count):
    time.sleep(0.02)
    block = np.arange(len(given) * count, (len(given) + 1) * count, dtype=np.int16)
    given.append(block)
    return block
device.start(on_microphone, for_speaker)
time.sleep(0.6)
assert device.fault == "", device.fault
device.close()
device.close()
assert device.fault == ""
np.save(sys.argv[1], np.concatenate(taken))
"""


@pytest.fixture
def portaudio() -> None:
    try:
        import sounddevice as _  # noqa: F401
    except OSError:
        missing("libportaudio2")


def alsa(folder: Path, text: str) -> dict[str, str]:
    (folder / "asound.conf").write_text(text)
    return clean_environment({"ALSA_CONFIG_PATH": str(folder / "asound.conf")})


def test_samples_go_through_the_real_library(portaudio: None, tmp_path: Path) -> None:
    spoken = np.arange(1, 30001, dtype=np.int16)
    (tmp_path / "microphone.raw").write_bytes(spoken.tobytes())
    environment = alsa(tmp_path, ALSA.format(folder=tmp_path))
    command = [sys.executable, "-c", REAL, str(tmp_path / "taken.npy")]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    taken = np.load(tmp_path / "taken.npy")
    assert taken.size >= 5 * 160
    assert (taken[: spoken.size] == spoken[: taken.size]).all()
    heard = np.frombuffer((tmp_path / "speaker.raw").read_bytes(), np.int16)
    begin = int(np.flatnonzero(heard == 160)[0])
    assert heard[begin : begin + 480].tolist() == list(range(160, 640))


def test_without_a_device_the_error_says_where_to_look(portaudio: None) -> None:
    result = run(["call", "sip:peer@127.0.0.1:9", "--mic", "--device", "tin can", "--json"])
    assert result.returncode == 1, result.stderr
    message = json.loads(result.stdout)["error"]["message"]
    assert "--device tin can: no microphone" in message
    assert "sipua call --list-devices" in message
    result = run(["call", "--list-devices"])
    assert result.returncode == 0
    assert result.stdout.strip()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        ("ImportError('no sounddevice')", 78, 'pip install "sipua[mic]"'),
        ("OSError('PortAudio library not found')", 1, "apt-get install libportaudio2"),
    ],
)
def test_what_is_not_installed_is_named(tmp_path: Path, error: str, code: int, words: str) -> None:
    (tmp_path / "sounddevice.py").write_text(f"raise {error}\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = run(["call", "sip:peer@127.0.0.1:9", "--mic", "--json"], env=environment)
    assert result.returncode == code, result.stderr
    assert words in json.loads(result.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--device", "1"], "belongs to --mic"), (["--mic", "--play", "a.wav"], "only one of them can speak")],
)
def test_what_does_not_go_together(flags: list[str], words: str) -> None:
    result = run(["call", "sip:peer@127.0.0.1:9", *flags, "--json"])
    assert result.returncode == 78
    assert words in json.loads(result.stdout)["error"]["message"]
