"""The three wire formats: bytes to samples for the VAD, recorded speech to bytes for the answer.

No I/O, no clock; imports numpy and the G.711 tables of ``rtp``. Answers are whole clips, so they are
resampled at once in the frequency domain; the caller's audio comes in pieces, so its decimation keeps state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtp.g711 import decode_pcma, decode_pcmu, encode_pcma, encode_pcmu

from .wire import Event

Samples = NDArray[np.int16]
_DECIMATION = 3  # 24 kHz to 8 kHz
_TAPS = 48


def bytes_per_ms(audio_format: Event) -> int:
    return 48 if audio_format["type"] == "audio/pcm" else 8


def wire_rate(audio_format: Event) -> int:
    return 24000 if audio_format["type"] == "audio/pcm" else 8000


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of recorded speech: mono, 16 bit."""

    samples: Samples
    rate: int

    @property
    def duration_ms(self) -> int:
        return len(self.samples) * 1000 // self.rate


def encode(clip: Clip, audio_format: Event) -> bytes:
    samples = resample(clip.samples, clip.rate, wire_rate(audio_format))
    if audio_format["type"] == "audio/pcmu":
        return bytes(encode_pcmu(samples))
    if audio_format["type"] == "audio/pcma":
        return bytes(encode_pcma(samples))
    return samples.astype("<i2").tobytes()


def silence(audio_format: Event, duration_ms: int) -> bytes:
    """Digital silence, as the service often appends to an answer."""
    zero = {"audio/pcmu": b"\xff", "audio/pcma": b"\xd5"}.get(audio_format["type"], b"\x00")
    return zero * (duration_ms * bytes_per_ms(audio_format))


def resample(samples: Samples, source: int, target: int) -> Samples:
    """A whole clip from one rate to another by zero padding or cutting its spectrum."""
    if source == target or not len(samples):
        return samples
    block = source // int(np.gcd(source, target))
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % block))
    length = len(padded) * target // source
    spectrum = np.fft.rfft(padded)
    kept = np.zeros(length // 2 + 1, np.complex128)
    kept[: min(len(kept), len(spectrum))] = spectrum[: len(kept)]
    return np.clip(np.rint(np.fft.irfft(kept, length) * target / source), -32768, 32767).astype(np.int16)


class Decoder:
    """Received bytes of one format to 8 kHz samples; odd bytes and decimation phase are carried over."""

    def __init__(self, audio_format: Event) -> None:
        self._kind = audio_format["type"]
        self._odd = b""
        self._history: NDArray[np.float64] = np.zeros(_TAPS - 1)
        self._phase = 0
        n = np.arange(_TAPS) - (_TAPS - 1) / 2
        taps = np.sinc(n / _DECIMATION * 0.9) * np.hamming(_TAPS)
        self._taps: NDArray[np.float64] = taps / taps.sum()

    def push(self, data: bytes) -> Samples:
        if self._kind == "audio/pcmu":
            return np.asarray(decode_pcmu(data), np.int16)
        if self._kind == "audio/pcma":
            return np.asarray(decode_pcma(data), np.int16)
        data = self._odd + data
        whole = len(data) & ~1
        self._odd = data[whole:]
        return self._decimate(np.frombuffer(data[:whole], "<i2").astype(np.float64))

    def _decimate(self, samples: NDArray[np.float64]) -> Samples:
        stream = np.concatenate((self._history, samples))
        self._history = stream[len(stream) - (_TAPS - 1) :].copy()
        if not len(samples):
            return np.zeros(0, np.int16)
        filtered = np.convolve(stream, self._taps, mode="valid")[self._phase :: _DECIMATION]
        self._phase = (self._phase - len(samples)) % _DECIMATION
        return np.clip(np.rint(filtered), -32768, 32767).astype(np.int16)
