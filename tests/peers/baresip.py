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


def talk(folder: Path, target: str, sound: Pcm, codec: str) -> Pcm:
    """Calls ``target``, plays ``sound`` and hangs up when that is over; returns what it recorded."""
    folder.mkdir()
    with WavWriter(folder / "microphone.wav", RATE) as writer:
        writer.write(sound)
    (folder / "config").write_text(CONFIG.format(sound=folder / "microphone.wav", folder=folder))
    (folder / "accounts").write_text(f"<sip:+250788999888@127.0.0.1>;regint=0;audio_codecs={codec}/8000/1\n")
    (folder / "contacts").touch()
    log = folder / "baresip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["baresip", "-f", str(folder), "-e", f"/dial {target}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        give_up = time.monotonic() + sound.size / RATE + 10
        while b"terminated (duration" not in log.read_bytes():  # it stays for the next call
            assert time.monotonic() < give_up, log.read_text(errors="replace")
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(10)
    recordings = list(folder.glob("dump-*-dec.wav"))
    assert len(recordings) == 1, log.read_text(errors="replace")
    return read_wav(recordings[0])
