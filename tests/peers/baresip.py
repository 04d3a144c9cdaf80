"""baresip as a headless telephone: one call, a WAV file as its microphone, a recording of what it heard.

Its SRTP is that of libre, not libsrtp: another implementation than ours.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rtp.g711 import Pcm
from rtp.resample import Resampler
from rtp.wav import WavWriter, read_wav
from tests.peers.processes import PATIENCE_S

RATE = 8000
NAMES = {"PCMU": "PCMU/8000/1", "PCMA": "PCMA/8000/1", "G722": "G722/16000/1", "OPUS": "opus/48000/2"}
CONFIG = """\
sip_listen {host}:{port}
net_interface {host}
audio_source aufile,{sound}
audio_player aubridge,nobody
audio_alert aubridge,nobody
audio_srate {rate}
audio_channels 1-2
ausrc_srate {rate}
ausrc_channels 1
auplay_channels 1
module_path /usr/lib/baresip/modules
module g711.so
module g722.so
module opus.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
snd_path {folder}
"""
SECURE_CONFIG = """\
sip_certificate {identity}
sip_cafile {authority}
module srtp.so
"""


@dataclass(frozen=True, slots=True)
class Secure:
    """TLS and SDES-SRTP. ``identity`` has certificate and key; ``media`` is baresip's word for how much SRTP it wants:
    RTP/AVP with a=crypto, RTP/SAVP, or "" for none.
    """

    identity: Path
    authority: Path
    media: Literal["srtp", "srtp-mand", ""]

    def account(self) -> str:
        return f";mediaenc={self.media}" if self.media else ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs: its address, and what stands before the command."""

    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


HERE = Place()


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.int16)


def talk(
    folder: Path,
    target: str,
    sound: Pcm,
    codec: str,
    login: str = "",
    secure: Secure | None = None,
    place: Place = HERE,
) -> Pcm:
    """Calls ``target``, plays ``sound`` and hangs up when that is over; returns what it recorded.

    ``login`` (``;auth_user=…;auth_pass=…``) is what it answers a challenge with.
    """
    story = _call(folder, target, sound, codec, login, "terminated (duration", secure, place)
    return _recorded(folder, story)


def be_refused(folder: Path, target: str, login: str = "", secure: Secure | None = None) -> str:
    """Calls ``target``, which must end the call before it is answered; returns what baresip says of it."""
    return _call(folder, target, silence(1.0), "PCMU", login, "session closed", secure)


class Answering:
    """A baresip that takes one call; ``heard`` once that is over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def story(self) -> str:
        return (self._folder / "baresip.log").read_text(errors="replace")

    def heard(self) -> Pcm:
        return _recorded(self._folder, _until(self.story, "terminated (duration", PATIENCE_S))


@contextmanager
def answering(folder: Path, port: int, sound: Pcm, codec: str, secure: Secure) -> Iterator[Answering]:
    """Takes calls by TLS on ``port`` at once and plays ``sound`` to the caller."""
    listening = port - 1  # where it has UDP and TCP: TLS is one above
    with _running(folder, [], listening, sound, codec, ";transport=tls;answermode=auto", secure):
        phone = Answering(folder)
        _until(phone.story, "baresip is ready", PATIENCE_S)
        yield phone


def _call(
    folder: Path,
    target: str,
    sound: Pcm,
    codec: str,
    login: str,
    end: str,
    secure: Secure | None,
    place: Place = HERE,
) -> str:
    """A call of baresip's until its log says ``end``; returns the log."""
    transport = ";transport=tls" if secure else ""
    command = ["-e", f"/dial {target}{transport}"]
    with _running(folder, command, 0, sound, codec, login, secure, place):
        return _until(  # it stays for the next call
            lambda: (folder / "baresip.log").read_text(errors="replace"), end, sound.size / RATE + PATIENCE_S
        )


@contextmanager
def _running(
    folder: Path,
    command: list[str],
    port: int,
    sound: Pcm,
    codec: str,
    account: str,
    secure: Secure | None,
    place: Place = HERE,
) -> Iterator[None]:
    folder.mkdir()
    rate = int(NAMES[codec].split("/")[1])
    with WavWriter(folder / "microphone.wav", rate) as writer:
        writer.write(Resampler(RATE, rate).push(sound))
    config = CONFIG.format(
        sound=folder / "microphone.wav", folder=folder, host=place.host, port=port, rate=rate
    )
    if secure is not None:
        config += SECURE_CONFIG.format(identity=secure.identity, authority=secure.authority)
        account += secure.account()
    (folder / "config").write_text(config)
    uri = f"sip:+250788999888@{place.host}"
    (folder / "accounts").write_text(f"<{uri}>;regint=0;audio_codecs={NAMES[codec]}{account}\n")
    (folder / "contacts").touch()
    with (folder / "baresip.log").open("wb") as output:
        process = subprocess.Popen(
            [*place.prefix, "baresip", "-s", "-f", str(folder), *command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _until(story: Callable[[], str], end: str, patience_s: float) -> str:
    give_up = time.monotonic() + patience_s
    while end not in (text := story()):
        assert time.monotonic() < give_up, text
        time.sleep(0.1)
    return text


def _recorded(folder: Path, story: str) -> Pcm:
    recordings = list(folder.glob("dump-*-dec.wav"))
    assert len(recordings) == 1, story
    return read_wav(recordings[0])
