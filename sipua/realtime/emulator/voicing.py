"""What one 32 ms block of 8 kHz speech band looks like: level, periodicity, tonality, change.

No I/O, no clock; imports numpy only. The theory: voiced speech repeats itself every 2.5–12.5 ms, noise of
any colour does not. A first-order pre-emphasis flattens pink and brown noise and takes the weight off mains
hum, so the normalised autocorrelation of a 64 ms window stays below 0.5 for noise (measured: white, pink,
AM noise and bursts ≤ 0.37, brown ≤ 0.49 as a single outlier in 20 s) while voiced blocks of telephone speech
stand at 0.5–0.99. Tones (dial, ringing, DTMF, hum at 100 Hz and up) are periodic too; they give themselves
away by holding nearly all energy in one or two lines, or by not changing from block to block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 8000  # samples per second of the analysis
BLOCK_MS = 32  # the grid of the service's VAD, observed
BLOCK = RATE * BLOCK_MS // 1000  # 256 samples
_WINDOW = 2 * BLOCK  # 64 ms: at least four periods of the lowest pitch
_FFT = 1024
_LAG_MIN = RATE // 400  # highest pitch looked for, Hz
_LAG_MAX = RATE // 80  # lowest pitch looked for, Hz
_PRE_EMPHASIS = 0.95
_LINE_BINS = 5  # half width of one spectral line: the main lobe of the Hann window in the padded FFT
_BANDS_HZ = ((100, 350), (350, 700), (700, 1200), (1200, 1900), (1900, 2700), (2700, 3500))
_BAND_RANGE_DB = 30.0  # bands further below the strongest are quantisation noise and do not count

_HANN: NDArray[np.float64] = np.hanning(_WINDOW)
_HANN_ACF: NDArray[np.float64] = np.fft.irfft(np.abs(np.fft.rfft(_HANN, _FFT)) ** 2)
_HANN_ACF /= _HANN_ACF[0]
_BAND_BINS = tuple((int(lo * _FFT / RATE), int(hi * _FFT / RATE)) for lo, hi in _BANDS_HZ)


@dataclass(frozen=True, slots=True)
class Block:
    """Features of one block: ``level_db`` is dBFS of raw samples, ``flux_db`` the mean change per band."""

    level_db: float
    periodicity: float  # 0..1
    line_share: float  # 0..1: energy within the two strongest spectral lines
    flux_db: float


class Analyser:
    """Turns consecutive blocks of :data:`BLOCK` int16 samples into :class:`Block`."""

    def __init__(self) -> None:
        self._previous: NDArray[np.float64] = np.zeros(BLOCK)
        self._last_sample = 0.0
        self._bands: NDArray[np.float64] | None = None

    def push(self, samples: NDArray[np.int16]) -> Block:
        x = samples.astype(np.float64)
        level_db = 10.0 * float(np.log10(np.mean(x * x) + 1e-3)) - 90.3
        emphasised = x - _PRE_EMPHASIS * np.concatenate(((self._last_sample,), x[:-1]))
        self._last_sample = float(x[-1])
        window = np.concatenate((self._previous, emphasised)) * _HANN
        self._previous = emphasised
        power = np.abs(np.fft.rfft(window, _FFT)) ** 2
        return Block(level_db, _periodicity(power), _line_share(power), self._flux(power))

    def _flux(self, power: NDArray[np.float64]) -> float:
        bands = 10.0 * np.log10(np.array([power[lo:hi].sum() for lo, hi in _BAND_BINS]) + 1.0)
        before, self._bands = self._bands, bands
        if before is None:
            return 0.0
        strong = bands > bands.max() - _BAND_RANGE_DB
        return float(np.abs(bands - before)[strong].mean())


def _periodicity(power: NDArray[np.float64]) -> float:
    """Highest normalised autocorrelation at a pitch lag, corrected for the taper of the window."""
    acf = np.fft.irfft(power)
    if acf[0] <= 1.0:
        return 0.0
    lags = acf[_LAG_MIN:_LAG_MAX] / acf[0] / _HANN_ACF[_LAG_MIN:_LAG_MAX]
    return float(min(1.0, lags.max()))


def _line_share(power: NDArray[np.float64]) -> float:
    total = float(power.sum())
    if total <= 1.0:
        return 0.0
    rest = power.copy()
    share = 0.0
    for _ in range(2):
        peak = int(rest.argmax())
        line = slice(max(0, peak - _LINE_BINS), peak + _LINE_BINS + 1)
        share += float(rest[line].sum())
        rest[line] = 0.0
    return share / total
