"""Sample-rate conversion in a stream (8 ↔ 24 kHz, and any WAV file's rate).

libswresample by PyAV: constant delay of 2 ms and 18–27 µs per 20 ms chunk. Its filter needs a little of the
future, so the first chunks come out short by that delay and ``flush`` returns what is still inside.
(``soxr.ResampleStream`` is not used: its backlog swings by 12–73 ms.)
"""

from __future__ import annotations

import av
import numpy as np

from .g711 import Pcm

_EMPTY: Pcm = np.zeros(0, dtype=np.int16)


class Resampler:
    """Mono int16 from ``src_rate`` to ``dst_rate`` Hz; state is carried from chunk to chunk."""

    __slots__ = ("_resampler", "dst_rate", "src_rate")

    def __init__(self, src_rate: int, dst_rate: int) -> None:
        if src_rate <= 0 or dst_rate <= 0:
            raise ValueError(f"sample rates must be positive, not {src_rate} and {dst_rate}")
        self.src_rate = src_rate
        self.dst_rate = dst_rate
        self._resampler = self._new()

    def _new(self) -> av.AudioResampler:
        return av.AudioResampler(format="s16", layout="mono", rate=self.dst_rate)

    def push(self, pcm: Pcm) -> Pcm:
        """Feed any number of samples, get those that are ready (1-D, possibly none)."""
        if self.src_rate == self.dst_rate or not pcm.size:
            return pcm
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = self.src_rate
        return _joined(self._resampler.resample(frame))

    def flush(self) -> Pcm:
        """The samples still inside the filter; afterwards the resampler is new."""
        if self.src_rate == self.dst_rate:
            return _EMPTY
        tail = _joined(self._resampler.resample(None))
        self._resampler = self._new()
        return tail


def _joined(frames: list[av.AudioFrame]) -> Pcm:
    chunks: list[Pcm] = [frame.to_ndarray().reshape(-1).astype(np.int16, copy=False) for frame in frames]
    if not chunks:
        return _EMPTY
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
