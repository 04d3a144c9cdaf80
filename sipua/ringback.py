"""The tone that a caller hears as early media, while the voice service is being reached: 425 Hz, 1 s on, 4 s off.

That is the ring-back tone of most of Europe and Africa (ITU-T E.180 supplement 2). Pure.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rtp.codec import Codec

FREQUENCY_HZ = 425
TONE_S, PAUSE_S = 1.0, 4.0
LEVEL = 3277  # of 32768: -20 dBFS


@lru_cache(maxsize=8)  # G.722 takes 25 ms of the loop, and a call needs it before it is answered
def ringback(codec: Codec) -> bytes:
    """One ring and the pause after it, encoded."""
    rate = codec.sample_rate
    at = np.arange(int(TONE_S * rate)) / rate
    tone = (LEVEL * np.sin(2 * np.pi * FREQUENCY_HZ * at)).astype(np.int16)
    return codec.encode(np.concatenate([tone, np.zeros(int(PAUSE_S * rate), np.int16)]))
