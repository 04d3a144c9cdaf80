"""The phrases as sound: played by us, where the voice service cannot speak or must not choose the words.

``languages/CODE/PHRASE.wav`` of the configuration folder, else the shipped one, else the English one. Any WAV that
``rtp.wav`` reads; held as 8 kHz PCM (all of what is shipped: 4 MB). ``spoken.json`` beside a recording says which words
it speaks, so that a text that was changed since is noticed; who replaces a WAV needs none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtp.codec import Codec
from rtp.errors import WavError
from rtp.g711 import Pcm
from rtp.wav import read_wav
from sipua.errors import ConfigError
from sipua.languages import FOLDER, Languages, Phrases
from sipua.locale import DEFAULT_LOCALE
from sipua.resources import shipped_conf

RATE = 8000
LONGEST_S = 30
QUIETEST_PEAK = 328  # -40 dBFS: below it nobody hears words
SPOKEN = "spoken.json"
PHRASES = tuple(Phrases.model_fields)


@dataclass(frozen=True, slots=True)
class Recordings:
    """By language and phrase. ``notes`` are for the operator."""

    sounds: Mapping[tuple[str, str], Pcm]
    notes: tuple[str, ...] = ()
    _ready: dict[tuple[str, str, str], bytes] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def of(self, code: str, phrase: str) -> Pcm:
        """8 kHz samples; English where that language has no recording."""
        sound = self.sounds.get((code, phrase))
        return sound if sound is not None else self.sounds[DEFAULT_LOCALE, phrase]

    def encoded(self, code: str, phrase: str, codec: Codec) -> bytes:
        """For the playout of a call in ``codec``, as one item."""
        key = code, phrase, codec.app_codec.name  # G.722 takes 7 ms of the loop for a second of speech: once
        if key not in self._ready:
            self._ready[key] = codec.app_codec.encoder(RATE)(self.of(code, phrase))
        return self._ready[key]


def load_recordings(conf_dir: Path, languages: Languages) -> Recordings:
    """Raises ConfigError naming the file that cannot be used."""
    folders = (conf_dir / FOLDER, shipped_conf() / FOLDER)
    sounds: dict[tuple[str, str], Pcm] = {}
    notes: list[str] = []
    for code, language in languages.by_code.items():
        for phrase in PHRASES:
            file = next((file for each in folders if (file := each / code / f"{phrase}.wav").exists()), None)
            if file is None:
                notes.append(f"{folders[0] / code}/{phrase}.wav: missing; the English recording is played")
                continue
            sounds[code, phrase] = _sound(file)
            spoken = _words(file.parent).get(phrase)
            if spoken is not None and spoken != getattr(language.phrases, phrase):
                notes.append(f"{file}: speaks other words than phrases.{phrase}: {spoken!r}")
    return Recordings(sounds, tuple(notes))


def _sound(file: Path) -> Pcm:
    try:
        pcm = read_wav(file, RATE)
    except WavError as error:
        raise ConfigError(str(error)) from None
    if not 0 < len(pcm) <= LONGEST_S * RATE:
        raise ConfigError(f"{file}: {len(pcm) / RATE:.1f} s; allowed: up to {LONGEST_S} s of sound")
    if int(np.abs(pcm.astype(np.int32)).max()) < QUIETEST_PEAK:
        raise ConfigError(f"{file}: holds silence; allowed: a peak of -40 dBFS or more")
    return pcm


def _words(folder: Path) -> Mapping[str, str]:
    """What the recordings of a folder speak, where it is said."""
    file = folder / SPOKEN
    if not file.exists():
        return {}
    try:
        words = json.loads(file.read_text("utf-8"))["texts"]
        return {str(key): str(value) for key, value in words.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file}: not as sipua.espeak writes it: {error}; remove it, or write it anew"
        ) from None
