"""Digits as tones in the sound (ITU-T Q.23, Q.24), for trunks without telephone events. No I/O and no clock.

Goertzel at the eight frequencies over windows of 205 samples (25.6 ms), every 80 (10 ms), all as one matrix product:
7 µs per 20 ms of silence, 40 of sound. A window shows a digit if one row and one column stand out from the others of
their group, are about as loud as each other (twist), hold most of the window's power, and speech does not betray itself
by a second harmonic of the column (twice a row is too near to a column). Three windows in succession make a press,
three others end it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .dtmf import Digit, keys_of
from .g711 import Pcm

RATE = 8000
ROWS_HZ = (697, 770, 852, 941)
COLUMNS_HZ = (1209, 1336, 1477, 1633)
KEYS = ("123A", "456B", "789C", "*0#D")
WINDOW = 205
STEP = 80
STEP_MS = STEP * 1000 // RATE
PRESS_WINDOWS = 3  # 25.6 + 20 ms; Q.24: presses of 40 ms are accepted, of 20 refused
END_WINDOWS = 3
LEAST_POWER = 10 ** (
    -36 / 10
)  # of a full-scale sine, each tone; Q.24 and the trunks: down to -25 dBm0 and below
PEAK = 10 ** (6 / 10)  # above the next of its group
SENT_LOW, SENT_HIGH = (
    10 ** (-13 / 20),
    10 ** (-11 / 20),
)  # of full scale: -10 and -8 dBm0, Q.23's usual levels
TWIST = 10 ** (9 / 10)  # column and row may differ by so much, either way
SHARE = 0.65  # of the window's power
HARMONIC = 0.15  # of the tone's power, at its double frequency

_Powers = npt.NDArray[np.float64]


def _bases() -> npt.NDArray[np.complex128]:
    frequencies = np.array([*ROWS_HZ, *COLUMNS_HZ, *(2 * each for each in COLUMNS_HZ)])
    taper = np.hamming(WINDOW)
    waves = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(WINDOW)) / RATE)
    return np.asarray(waves * taper / taper.sum() * 2)


_BASES = _bases()
_TAPER_POWER = np.hamming(WINDOW) ** 2 / np.sum(np.hamming(WINDOW)) ** 2 * 4
_GAIN = float(np.sum(_TAPER_POWER)) / 2  # of a sine: window power for a tone power of 1


class ToneDetector:
    """Of one stream of 8 kHz sound in any pieces."""

    __slots__ = ("_digit", "_misses", "_rest", "_seen", "_windows")

    def __init__(self) -> None:
        self._rest: Pcm = np.zeros(0, dtype=np.int16)
        self._digit = ""  # of the windows seen last
        self._seen = 0  # windows with it
        self._misses = 0
        self._windows = 0

    @property
    def is_heard(self) -> bool:
        """The sound at hand is a key's tone, be it long enough for a press or not."""
        return bool(self._digit)

    @property
    def _is_pressed(self) -> bool:
        return self._seen >= PRESS_WINDOWS

    def receive(self, pcm: Pcm) -> list[Digit]:
        """More sound; the presses that ended in it."""
        sound = np.concatenate((self._rest, pcm))
        digits = []
        begin = 0
        while begin + WINDOW <= len(sound):
            digit = self._step(digit_of(sound[begin : begin + WINDOW]))
            if digit is not None:
                digits.append(digit)
            begin += STEP
        self._rest = sound[begin:]
        return digits

    def _step(self, found: str) -> Digit | None:
        if found and found == self._digit:
            self._seen += 1 + self._misses  # a hole in a press belongs to it
            self._misses = 0
            return None
        self._misses += 1
        if self._is_pressed and self._misses < END_WINDOWS:
            return None
        ended = (
            Digit(self._digit, (self._seen - 1) * STEP_MS + WINDOW * 1000 // RATE)
            if self._is_pressed
            else None
        )
        self._digit, self._seen, self._misses = found, int(bool(found)), 0
        return ended


def tones_of(digits: str, rate: int, *, duration_ms: int, pause_ms: int) -> Pcm:
    """The sound of these key presses, a pause behind each. ValueError for what is no key."""
    at = np.arange(rate * duration_ms // 1000) * 2 * np.pi / rate
    pause: Pcm = np.zeros(rate * pause_ms // 1000, dtype=np.int16)
    presses: list[Pcm] = []
    for digit in keys_of(digits):
        row = next(index for index, keys in enumerate(KEYS) if digit in keys)
        column = KEYS[row].index(digit)
        wave = SENT_LOW * np.sin(ROWS_HZ[row] * at) + SENT_HIGH * np.sin(COLUMNS_HZ[column] * at)
        presses += [np.rint(32767 * wave).astype(np.int16), pause]
    return np.concatenate(presses)


def digit_of(window: Pcm) -> str:
    """The key whose tones are in these 205 samples; empty: none."""
    sound = window / 32768.0
    power = float(np.dot(sound * sound, _TAPER_POWER)) / _GAIN
    if power < LEAST_POWER:
        return ""
    tones: _Powers = np.abs(_BASES @ sound) ** 2
    row, column = int(np.argmax(tones[:4])), int(np.argmax(tones[4:8]))
    low, high = float(tones[row]), float(tones[4 + column])
    others = max(
        np.delete(tones[:4], row).max() * PEAK / low, np.delete(tones[4:8], column).max() * PEAK / high
    )
    is_digit = (
        min(low, high) >= LEAST_POWER
        and others <= 1
        and max(low / high, high / low) <= TWIST
        and low + high >= SHARE * power
        and tones[8 + column] <= HARMONIC * high
    )
    return KEYS[row][column] if is_digit else ""
