"""What a phone hears while nobody speaks, if it is not to be digital silence: faint white noise as sound of the codec.

No comfort-noise packets (RFC 3389): our SDP never has payload type 13, so nobody expects any.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .codec import Codec

LENGTH_MS = 2000  # then it repeats, which no ear notices in white noise
RMS = 16  # of 16-bit samples: -60 dBm0, twice the least step of G.711


@cache
def noise_of(codec: Codec) -> bytes:
    """``LENGTH_MS`` of payload; the same at every call."""
    samples = np.random.default_rng(3389).normal(0, RMS, codec.sample_rate * LENGTH_MS // 1000)
    return codec.encode(np.rint(samples).astype(np.int16))
