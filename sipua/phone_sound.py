"""What a softphone says and hears: WAV files, or a person at a sound device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtp.codec import Decode
from rtp.errors import WavError
from rtp.g711 import Pcm
from rtp.wav import WavWriter, read_wav
from sipua.errors import LocalError
from sipua.media import MediaLeg
from sipua.phone_script import CallOptions
from sipua.sound.talker import SoundDevice, Talker

RATE = 8000  # of what is played, recorded and judged


class PhoneSound:
    """Of one call, whatever media legs it has. LocalError for files and devices that cannot be used."""

    def __init__(self, options: CallOptions, device: SoundDevice | None) -> None:
        self._said = _read(options.play) if options.play is not None else np.zeros(0, np.int16)
        self._recorder = _recorder(options.record) if options.record is not None else None
        self._decode: Decode | None = None
        self._talker: Talker | None = None
        if device is not None:
            try:
                self._talker = Talker(device)
            except LocalError:
                self.close()
                raise

    @property
    def said_s(self) -> float:
        """How long what is played lasts."""
        return self._said.size / RATE

    @property
    def recording(self) -> str | None:
        """Where it is."""
        return str(self._recorder.path.absolute()) if self._recorder is not None else None

    @property
    def fault(self) -> str:
        """Why the call cannot go on: the device stopped by itself."""
        return self._talker.fault if self._talker is not None else ""

    @property
    def figures(self) -> dict[str, Any] | None:
        """How the device kept up."""
        return self._talker.figures() if self._talker is not None else None

    def speak(self, media: MediaLeg) -> None:
        """Plays the file."""
        if self._said.size:
            media.playout.append("play", media.codec.encoder(RATE)(self._said))
            media.playout.end_item("play")

    def step(self, media: MediaLeg) -> None:
        """Every 20 ms of an answered call."""
        if self._talker is not None:
            self._talker.step(media)

    def hear(self, media: MediaLeg, payload: bytes) -> Pcm:
        """One piece of what the far end says, also before the answer; its samples at ``RATE``."""
        if self._decode is None:
            self._decode = media.codec.decoder(RATE)
        pcm = self._decode(payload)
        if self._recorder is not None:
            self._recorder.write(pcm)
        if self._talker is not None:
            self._talker.hear(media, payload)
        return pcm

    def close(self) -> None:
        """Ends the recording and gives the device back."""
        if self._recorder is not None:
            self._recorder.close()
        if self._talker is not None:
            self._talker.close()


def _read(path: Path) -> Pcm:
    try:
        return read_wav(path, RATE)
    except WavError as error:
        raise LocalError(f"--play {error}") from None


def _recorder(path: Path) -> WavWriter:
    try:
        return WavWriter(path, RATE)
    except WavError as error:
        raise LocalError(f"--record {error}") from None
