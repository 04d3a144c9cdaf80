"""Two clocks that differ: keeps what waits between them near a target, by making the sound a little longer or shorter.

A sound card's 8,000 samples a second are 7,998 or 8,003 of ours, and a far end's are others again. So what waits
between two of them grows or dries up: at 300 ppm by 18 ms a minute. The correction is proportional to the error of a
slow mean of the queue, at most 0.5 % (a twelfth of a semitone), and is made by linear interpolation of a block now and
then. No I/O and no clock: time is the length of the sound.
"""

from __future__ import annotations

import numpy as np

from rtp.g711 import Pcm

MEAN_S = 2.0  # of the queue: blocks of 20 ms and the network's jitter must not show in it
MOST = 0.005  # samples inserted or removed per sample
PER_MS = MOST / 40  # so much for each ms that the mean is off: 300 ppm are held with 2.4 ms


class Drift:
    """Of one direction. ``inserted`` and ``removed`` count samples."""

    def __init__(self, rate: int, target_ms: float) -> None:
        self.inserted = 0
        self.removed = 0
        self._rate = rate
        self._target_ms = target_ms
        self._mean_ms = target_ms
        self._owed = 0.0  # samples to remove; negative: to insert

    def adapt(self, block: Pcm, queued_ms: float) -> Pcm:
        """The block as it is to be queued behind ``queued_ms``."""
        if not block.size:
            return block
        weight = min(1.0, block.size / self._rate / MEAN_S)
        self._mean_ms += (queued_ms - self._mean_ms) * weight
        correction = (self._mean_ms - self._target_ms) * PER_MS
        self._owed += block.size * min(MOST, max(-MOST, correction))
        whole = int(self._owed)
        if not whole or block.size <= whole:
            return block
        self._owed -= whole
        self.removed += max(0, whole)
        self.inserted += max(0, -whole)
        places = np.linspace(0, block.size - 1, block.size - whole)
        return np.interp(places, np.arange(block.size), block).round().astype(np.int16)
