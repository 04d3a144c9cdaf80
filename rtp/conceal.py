"""What stands for sound that never came. The seam where the RTP issue puts G.711 Appendix I.

Now: after a loss the last 20 ms are repeated and faded to nothing within 60 ms, then silence; a stretch in
which the sender was silent by itself is silence. The model's millisecond clock stays true either way.
"""

from __future__ import annotations

import numpy as np

from .codec import Codec

REPEAT_MS = 20
FADE_MS = 60


class Concealer:
    """Fills gaps of one stream of ``codec`` payload."""

    __slots__ = ("_codec", "_fade_samples", "_last", "_repeat_bytes")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._last = b""
        self._repeat_bytes = codec.frame_bytes(REPEAT_MS)
        self._fade_samples = codec.frame_bytes(FADE_MS)

    def heard(self, payload: bytes) -> None:
        """Remember the sound that a following gap continues."""
        self._last = payload

    def fill(self, samples: int, packets: int) -> bytes:
        """``samples`` of payload for a gap in which ``packets`` were lost (0: the sender was silent)."""
        last, self._last = self._last[-self._repeat_bytes :], b""
        if not packets or not last:
            return self._codec.silence * samples
        length = min(samples, self._fade_samples)
        pcm = np.resize(self._codec.decode(last), length)
        fade = 1.0 - np.arange(1, length + 1) / self._fade_samples
        faded = self._codec.encode((pcm * fade).astype(np.int16))
        return faded + self._codec.silence * (samples - length)
