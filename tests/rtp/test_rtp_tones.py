"""Digits as tones: what Q.24 wants accepted and refused, and human voices that are no digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtp.codec import CODECS
from rtp.dtmf import Digit
from rtp.g711 import Pcm
from rtp.resample import Resampler
from rtp.tones import COLUMNS_HZ, KEYS, RATE, ROWS_HZ, ToneDetector, tones_of
from rtp.wav import read_wav

ALL = "".join(KEYS)
PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")


def pressed(
    digits: str,
    *,
    press_ms: int = 50,
    pause_ms: int = 50,
    level_db: float = -12,
    offset: float = 0.0,
    twist_db: float = 0.0,
    noise_db: float | None = None,
    interrupted_ms: int = 0,
) -> Pcm:
    """``level_db`` of full scale each tone; ``offset`` of both frequencies; ``noise_db`` below a tone."""
    at = np.arange(press_ms * 8) / 8000
    level = 32768 * 10 ** (level_db / 20)
    parts = [np.zeros(pause_ms * 8)]
    for digit in digits:
        row = next(index for index, keys in enumerate(KEYS) if digit in keys)
        low = np.sin(2 * np.pi * ROWS_HZ[row] * (1 + offset) * at) * 10 ** (-twist_db / 40)
        high = np.sin(2 * np.pi * COLUMNS_HZ[KEYS[row].index(digit)] * (1 + offset) * at + 1) * 10 ** (
            twist_db / 40
        )
        tone = level * (low + high)
        if interrupted_ms:
            middle = len(tone) // 2
            tone[middle : middle + interrupted_ms * 8] = 0
        parts += [tone, np.zeros(pause_ms * 8)]
    sound = np.concatenate([*parts, np.zeros(800)])
    if noise_db is not None:
        sound += np.random.default_rng(1).normal(0, level * 10 ** (-noise_db / 20), len(sound))
    return np.asarray(np.clip(np.rint(sound), -32768, 32767), np.int16)


def heard(sound: Pcm, chunk: int = 160) -> list[Digit]:
    detector = ToneDetector()
    return [
        digit
        for begin in range(0, len(sound), chunk)
        for digit in detector.receive(sound[begin : begin + chunk])
    ]


ACCEPTED: dict[str, tuple[str, Pcm]] = {
    "the shortest press and pause": (ALL, pressed(ALL, press_ms=40, pause_ms=40)),
    "long presses": (ALL, pressed(ALL, press_ms=400)),
    "soft": (ALL, pressed(ALL, level_db=-32)),
    "loud": (ALL, pressed(ALL, level_db=-6.1)),
    "high by 1.5 %": (ALL, pressed(ALL, offset=0.015)),
    "low by 1.5 %": (ALL, pressed(ALL, offset=-0.015)),
    "column louder by 4 dB": (ALL, pressed(ALL, twist_db=4)),
    "row louder by 8 dB": (ALL, pressed(ALL, twist_db=-8)),
    "noise 15 dB below": (ALL * 3, pressed(ALL * 3, noise_db=15)),
    "the same key again and again": ("5" * 10, pressed("5" * 10, pause_ms=45)),
    "a hole of 10 ms": (ALL, pressed(ALL, press_ms=120, interrupted_ms=10)),
}
REFUSED: dict[str, Pcm] = {
    "20 ms are too short": pressed(ALL, press_ms=20),
    "high by 3.5 %": pressed(ALL, press_ms=100, offset=0.035),
    "low by 3.5 %": pressed(ALL, press_ms=100, offset=-0.035),
    "column louder by 12 dB": pressed(ALL, twist_db=12),
    "far too soft": pressed(ALL, level_db=-50),
    "noise": np.random.default_rng(2).normal(0, 6000, 80_000).astype(np.int16),
    "one tone": (8000 * np.sin(2 * np.pi * 770 * np.arange(8000) / 8000)).astype(np.int16),
    "dial tone": (8000 * np.sin(2 * np.pi * 425 * np.arange(8000) / 8000)).astype(np.int16),
    "silence": np.zeros(8000, np.int16),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("chunk", [160, 77])
def test_accepted(name: str, chunk: int) -> None:
    digits, sound = ACCEPTED[name]
    assert "".join(digit.digit for digit in heard(sound, chunk)) == digits


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    assert heard(REFUSED[name]) == []


@pytest.mark.parametrize("press_ms", [50, 100, 250, 1000])
def test_a_press_lasts_about_as_long_as_it_was(press_ms: int) -> None:
    (digit,) = heard(pressed("7", press_ms=press_ms))
    assert digit.duration_ms == pytest.approx(press_ms, abs=12)


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_digits_survive_g711(name: str) -> None:
    codec = CODECS[name]
    digits = heard(codec.decode(codec.encode(pressed(ALL, level_db=-20))))
    assert "".join(digit.digit for digit in digits) == ALL


def test_while_a_key_is_down_the_detector_says_so() -> None:
    detector = ToneDetector()
    sound = pressed("1", press_ms=200, pause_ms=100)
    down = []
    for begin in range(0, len(sound) - 160, 160):
        detector.receive(sound[begin : begin + 160])
        down.append(detector.is_heard)
    assert down.index(True) * 20 == pytest.approx(100 + 20, abs=20)
    assert sum(down) * 20 == pytest.approx(200, abs=40)
    assert not down[-1]


@pytest.mark.parametrize("rate", [8000, 16000])
def test_what_we_press_is_understood(rate: int) -> None:
    sound = tones_of(ALL.lower(), rate, duration_ms=120, pause_ms=80)
    assert len(sound) == len(ALL) * rate // 5
    digits = heard(Resampler(rate, RATE).push(np.concatenate((sound, sound[-400:]))))
    assert "".join(digit.digit for digit in digits) == ALL
    assert {digit.duration_ms for digit in digits} <= set(range(108, 133))


@pytest.mark.parametrize("digits", ["", "1X"])
def test_what_is_no_key_has_no_tones(digits: str) -> None:
    with pytest.raises(ValueError, match="digits must be of"):
        tones_of(digits, RATE, duration_ms=120, pause_ms=80)


def test_human_voices_press_no_keys() -> None:
    """Every sixth prompt; all 1,255 s of them have none."""
    if not PROMPTS.is_dir():
        pytest.skip("no recorded prompts: apt-get install asterisk-core-sounds-en-wav")
    for path in sorted(PROMPTS.glob("*.wav"))[::6]:
        assert heard(read_wav(path)) == [], path.name
