"""Recordings of the phrases by machine: ``python -m sipua.espeak FOLDER [CODE…]`` speaks what ``FOLDER`` says.

Needs the program espeak-ng, which nothing else in the product does. Writes ``FOLDER/languages/CODE/*.wav`` (8 kHz
µ-law, peak at -3 dBFS, silence cut at both ends) and ``spoken.json``. espeak-ng has no Kinyarwanda voice: the Swahili
one reads it, which is understood but wrong in tone and length; a person's voice should replace all of them.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtp.g711 import Pcm, encode_pcmu
from rtp.wav import MULAW, read_wav
from sipua.languages import FOLDER, load_languages
from sipua.recordings import PHRASES, RATE, SPOKEN

VOICES = {"en": "en-gb", "fr": "fr-fr", "sw": "sw", "rw": "sw"}
OTHER_VOICE = "en-gb"
WORDS_PER_MINUTE = 165
PEAK = 23_197  # -3 dBFS
SILENCE = 0.02  # of the peak: what is quieter at the ends is cut
MARGIN = RATE // 20  # left at both ends


def main(arguments: Sequence[str]) -> None:
    """Speaks every phrase of the named languages (default: all)."""
    conf_dir, *codes = arguments
    folder = Path(conf_dir)
    for code, language in load_languages(folder).by_code.items():
        if codes and code not in codes:
            continue
        voice = VOICES.get(code, OTHER_VOICE)
        into = folder / FOLDER / code
        into.mkdir(parents=True, exist_ok=True)
        texts: dict[str, str] = {phrase: getattr(language.phrases, phrase) for phrase in PHRASES}
        for phrase, text in texts.items():
            (into / f"{phrase}.wav").write_bytes(ulaw_wav(_trimmed(_speak(text, voice))))
        made = {"voice": f"espeak-ng {voice}", "texts": texts}
        (into / SPOKEN).write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", "utf-8")
        print(f"{into}: {len(texts)} phrases, espeak-ng {voice}")


def _speak(text: str, voice: str) -> Pcm:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(WORDS_PER_MINUTE), "-w", str(file), "--", text], check=True
        )
        return read_wav(file, RATE)


def _trimmed(pcm: Pcm) -> Pcm:
    """Without the silence at both ends, at our level."""
    wide = pcm.astype(np.float64)
    loud = np.flatnonzero(np.abs(wide) > SILENCE * np.abs(wide).max())
    cut = wide[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]
    level: Pcm = np.rint(cut * (PEAK / np.abs(cut).max())).astype(np.int16)
    return level


def ulaw_wav(pcm: Pcm) -> bytes:
    """A mono µ-law WAV file (RFC 2361: format 7, with the ``fact`` chunk that compressed formats have)."""
    data = encode_pcmu(pcm)
    fmt = struct.pack("<HHIIHHH", MULAW, 1, RATE, RATE, 1, 8, 0)
    chunks = [(b"fmt ", fmt), (b"fact", struct.pack("<I", len(data))), (b"data", data)]
    body = b"".join(
        name + struct.pack("<I", len(chunk)) + chunk + b"\0" * (len(chunk) % 2) for name, chunk in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


if __name__ == "__main__":
    main(sys.argv[1:])
