"""Where the shipped files are: in an installed wheel beside the package, in a checkout at the top of the tree."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped_conf() -> Path:
    """The commented configuration that ``sipua init`` copies."""
    packaged = _PACKAGE / "_conf"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "conf"


def shipped_speech(name: str) -> Path:
    """A recorded utterance, 8 kHz or 24 kHz mono WAV."""
    return _PACKAGE / "realtime" / "emulator" / "speech" / name
