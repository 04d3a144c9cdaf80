"""baresip as a headless telephone: one call, a WAV file as its microphone, a recording of what it heard."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np

from rtp.g711 import Pcm
from rtp.wav import WavWriter, read_wav

RATE = 8000
CONFIG = """\
sip_listen 127.0.0.1:0
net_interface 127.0.0.1
audio_source aufile,{sound}
audio_player aubridge,nobody
audio_alert aubridge,nobody
audio_srate 8000
audio_channels 1
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
snd_path {folder}
"""


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.int16)


def talk(folder: Path, target: str, sound: Pcm, codec: str, login: str = "") -> Pcm:
    """Calls ``target``, plays ``sound`` and hangs up when that is over; returns what it recorded.

    ``login`` (``;auth_user=…;auth_pass=…``) is what it answers a challenge with.
    """
    story = _call(folder, target, sound, codec, login, "terminated (duration")
    recordings = list(folder.glob("dump-*-dec.wav"))
    assert len(recordings) == 1, story
    return read_wav(recordings[0])


def be_refused(folder: Path, target: str, login: str) -> str:
    """Calls ``target``, which must end the call before it is answered; returns what baresip says of it."""
    return _call(folder, target, silence(1.0), "PCMU", login, "session closed")


def _call(folder: Path, target: str, sound: Pcm, codec: str, login: str, end: str) -> str:
    """A call of baresip's until its log says ``end``; returns the log."""
    folder.mkdir()
    with WavWriter(folder / "microphone.wav", RATE) as writer:
        writer.write(sound)
    (folder / "config").write_text(CONFIG.format(sound=folder / "microphone.wav", folder=folder))
    account = f"<sip:+250788999888@127.0.0.1>;regint=0;audio_codecs={codec}/8000/1{login}"
    (folder / "accounts").write_text(f"{account}\n")
    (folder / "contacts").touch()
    log = folder / "baresip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["baresip", "-f", str(folder), "-e", f"/dial {target}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        give_up = time.monotonic() + sound.size / RATE + 10
        while end not in (story := log.read_text(errors="replace")):  # it stays for the next call
            assert time.monotonic() < give_up, story
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(10)
    return story
