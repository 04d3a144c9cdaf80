"""Sounds that are no speech, at a level and from a seed; 8 kHz int16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sipua.realtime.emulator.formats import Samples

RATE = 8000
Signal = NDArray[np.float64]


def _coloured(exponent: float, n: int, rng: np.random.Generator) -> Signal:
    """Gaussian noise whose power falls with f**exponent above 20 Hz; RMS 1."""
    f = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = rng.normal(size=len(f)) + 1j * rng.normal(size=len(f))
    signal = np.fft.irfft(spectrum * np.maximum(f, 20.0) ** (-exponent / 2), n)
    return np.asarray(signal / signal.std())


def _hum(hz: float, n: int, rng: np.random.Generator) -> Signal:
    """A mains tone with harmonics that begins somewhere in the first two seconds."""
    t = np.arange(n) / RATE
    signal = np.sum([np.sin(2 * np.pi * hz * k * t + rng.uniform(0, 6.28)) / k for k in range(1, 9)], axis=0)
    signal[: int(rng.uniform(0.1, 2.0) * RATE)] = 0.0
    return np.asarray(signal / signal.std())


def _clicks(n: int, rng: np.random.Generator) -> Signal:
    signal = np.zeros(n)
    for at in rng.integers(0, n - 200, 6 * n // RATE):
        signal[at : at + 80] += rng.normal(size=80) * np.exp(-np.arange(80) / 15) * 6
    return signal


def _gated(hz: float, n: int, rng: np.random.Generator) -> Signal:
    """1 or 0, ``hz`` times a second."""
    return (np.sin(2 * np.pi * hz * np.arange(n) / RATE + rng.uniform(0, 6.28)) > 0).astype(np.float64)


def _dial(n: int) -> Signal:
    t = np.arange(n) / RATE
    return np.asarray(np.sin(2 * np.pi * 350 * t) + np.sin(2 * np.pi * 440 * t))


KINDS: dict[str, Callable[[int, np.random.Generator], Signal]] = {
    "silence": lambda n, rng: np.zeros(n),
    "white": lambda n, rng: _coloured(0, n, rng),
    "pink": lambda n, rng: _coloured(1, n, rng),
    "brown": lambda n, rng: _coloured(2, n, rng),
    "hum 50 Hz": lambda n, rng: _hum(50, n, rng),
    "hum 60 Hz": lambda n, rng: _hum(60, n, rng),
    "hum 100 Hz": lambda n, rng: _hum(100, n, rng),
    "hum 120 Hz": lambda n, rng: _hum(120, n, rng),
    "hum 50 Hz and noise": lambda n, rng: _hum(50, n, rng) + 0.3 * rng.normal(size=n),
    "hum 100 Hz and noise": lambda n, rng: _hum(100, n, rng) + 0.1 * rng.normal(size=n),
    "hum 50 Hz in bursts": lambda n, rng: _hum(50, n, rng) * _gated(2, n, rng),
    "clicks": _clicks,
    "noise in bursts": lambda n, rng: rng.normal(size=n) * _gated(4, n, rng),
    "noise that swells": lambda n, rng: rng.normal(size=n) * (1 + np.sin(8 * np.pi * np.arange(n) / RATE)),
    "dial tone": lambda n, rng: _dial(n),
    "ringing": lambda n, rng: _dial(n) * _gated(0.25, n, rng),
}


def sound(kind: str, level_db: float, seed: int, seconds: float) -> Samples:
    rng = np.random.default_rng(seed)
    signal = KINDS[kind](int(seconds * RATE), rng) * 32768 * 10 ** (level_db / 20)
    clipped: Samples = np.clip(signal, -32768, 32767).astype(np.int16)
    return clipped


def comfort_noise(level_db: float, seed: int, seconds: float, shaped: bool) -> Samples:
    """RFC 3389 noise as a decoder of it plays it: white, or shaped by one reflection coefficient."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=int(seconds * RATE))
    if shaped:
        for i in range(1, len(signal)):
            signal[i] += 0.6 * signal[i - 1]
    scaled: Signal = signal / signal.std() * 32768 * 10 ** (level_db / 20)
    return np.clip(scaled, -32768, 32767).astype(np.int16)
