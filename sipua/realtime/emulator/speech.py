"""Speech for the script's lines: recorded WAV files, else espeak-ng; loaded once, before the ready line.

Does I/O (files, one espeak-ng process per missing line). Knows nothing of the protocol.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from importlib import resources
from pathlib import Path

import numpy as np

from sipua.errors import ConfigError

from .formats import Clip
from .script import Line, Script

_ESPEAK_TIMEOUT_S = 30.0
_WORDS_PER_MINUTE = 165


def load_speech(script: Script, folder: Path | None, name: str) -> dict[Line, Clip]:
    """A clip for every line. ``folder`` is where the script lies; the package's recordings come second."""
    return {line: _clip(line, script, folder, name) for line in script.lines()}


def _clip(line: Line, script: Script, folder: Path | None, name: str) -> Clip:
    if line.audio is None:
        return _synthesised(line, line.lang or script.language, name)
    own = folder / line.audio if folder is not None else None
    if own is not None and own.is_file():
        return read_wav(own.read_bytes(), f"{name}: audio = {line.audio!r}")
    recordings = resources.files(__package__).joinpath("speech")
    packaged = recordings.joinpath(line.audio)
    if not packaged.is_file():
        have = ", ".join(sorted(each.name for each in recordings.iterdir()))
        raise ConfigError(f"{name}: audio = {line.audio!r}: not beside the script; in the package are {have}")
    return read_wav(packaged.read_bytes(), line.audio)


def read_packaged(name: str) -> Clip:
    """One of the package's recordings."""
    return read_wav(
        resources.files(__package__).joinpath("speech").joinpath(Path(name).name).read_bytes(), name
    )


def read_wav(content: bytes, name: str) -> Clip:
    """Mono PCM of 16 bits at any rate; everything else is refused by name."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ConfigError(
                    f"{name}: {file.getnchannels()} channels of {8 * file.getsampwidth()} bits; "
                    "allowed: mono, 16 bits"
                )
            return Clip(
                np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate()
            )
    except (wave.Error, EOFError) as error:
        raise ConfigError(f"{name}: not a WAV file of PCM samples: {error}") from error


def _synthesised(line: Line, language: str, name: str) -> Clip:
    program = shutil.which("espeak-ng")
    if program is None:
        raise ConfigError(
            f"{name}: say = {line.say!r} has no audio, and espeak-ng, which would speak it, is not installed "
            '(apt-get install espeak-ng, or give audio = "some.wav")'
        )
    command = [program, "-v", language, "-s", str(_WORDS_PER_MINUTE), "--stdout", "--stdin"]
    try:
        made = subprocess.run(
            command, input=line.say.encode(), capture_output=True, timeout=_ESPEAK_TIMEOUT_S, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise ConfigError(
            f"{name}: say = {line.say!r}: espeak-ng cannot speak lang = {language!r}: {error}"
        ) from error
    return _piped_wav(made.stdout, name)


def _piped_wav(content: bytes, name: str) -> Clip:
    """espeak-ng cannot know the length when it writes to a pipe: the sizes in its header are not true."""
    if len(content) < 44 or content[:4] != b"RIFF":
        raise ConfigError(f"{name}: espeak-ng gave no audio")
    rate = int.from_bytes(content[24:28], "little")
    return Clip(np.frombuffer(content[44 : len(content) & ~1], "<i2").astype(np.int16), rate)
