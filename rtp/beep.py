"""The beep of an answering machine: one steady sine for a while, then an end. No I/O and no clock.

Spectra of 40 ms, every 10. A window is a tone if nearly all of its power lies around one frequency between 490 and
2,020 Hz; a beep is a run of them at the same pitch. Speech holds no single sine for long (a vowel has its harmonics, a
key its second tone). Below lies what telephone exchanges send for ringing, busy and congestion (ITU-T E.180: 400 to
480 Hz). A tone that does not end is no beep either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .g711 import Pcm

RATE = 8000
WINDOW, STEP = 320, 80
STEP_MS = STEP * 1000 // RATE
BIN_HZ = RATE / WINDOW
LOWEST_HZ, HIGHEST_HZ = 490.0, 2020.0
LEAST_LEVEL = 32768 * 10 ** (-40 / 20)  # root mean square
SHARE = 0.85  # of the window's power, within two bins of the peak
STEADY_HZ = 12.0
LONGEST_MS = 3000
_TAPER = np.hanning(WINDOW)
_TAPER_POWER = float(np.mean(_TAPER**2))
_EDGE_MS = 20  # half a window: a tone is seen a little late, and its end as much


@dataclass(frozen=True, slots=True)
class Beep:
    """One that is over."""

    hz: float
    ms: int


class BeepDetector:
    """Of one stream of 8 kHz sound in any pieces. ``least_ms``: what is shorter is none."""

    __slots__ = ("_first_hz", "_least_ms", "_misses", "_rest", "_windows")

    def __init__(self, least_ms: int = 120) -> None:
        self._least_ms = least_ms
        self._rest: Pcm = np.zeros(0, dtype=np.int16)
        self._first_hz = 0.0
        self._windows = 0  # of the run at hand
        self._misses = 0

    def receive(self, pcm: Pcm) -> list[Beep]:
        """More sound; the beeps that ended in it."""
        sound = np.concatenate((self._rest, pcm))
        beeps = []
        begin = 0
        while begin + WINDOW <= len(sound):
            beep = self._step(pitch_of(sound[begin : begin + WINDOW]))
            if beep is not None:
                beeps.append(beep)
            begin += STEP
        self._rest = sound[begin:]
        return beeps

    def _step(self, hz: float) -> Beep | None:
        if self._windows and hz and abs(hz - self._first_hz) <= STEADY_HZ:
            self._windows += 1 + self._misses
            self._misses = 0
            return None
        self._misses += 1
        if self._windows and not hz and self._misses < 3:  # a click in it
            return None
        length_ms = self._windows * STEP_MS + _EDGE_MS
        is_beep = self._windows > 0 and self._least_ms <= length_ms <= LONGEST_MS
        found = Beep(self._first_hz, length_ms) if is_beep else None
        self._first_hz, self._windows, self._misses = hz, int(hz > 0), 0
        return found


def pitch_of(window: Pcm) -> float:
    """The frequency of the one sine that these 320 samples are; 0.0: they are something else."""
    sound = window.astype(np.float64) * _TAPER
    power = np.abs(np.fft.rfft(sound)) ** 2
    total = float(power.sum())
    if total < LEAST_LEVEL**2 * _TAPER_POWER * WINDOW * WINDOW / 2:
        return 0.0
    peak = int(power[1:-1].argmax()) + 1
    if float(power[max(0, peak - 2) : peak + 3].sum()) < SHARE * total:
        return 0.0
    below, at, above = np.log(power[peak - 1 : peak + 2] + 1e-9)
    hz = (peak + float((below - above) / (below - 2 * at + above) / 2)) * BIN_HZ
    return hz if LOWEST_HZ <= hz <= HIGHEST_HZ else 0.0
