"""What is heard while nobody speaks, if it is not to be digital silence: faint white noise as sound of the codec.

A phone may send comfort noise (RFC 3389), negotiated or not: the level is read, the spectrum is not. We send none: our
SDP never has payload type 13, so nobody expects any.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .codec import Codec

LENGTH_MS = 2000  # then it repeats, which no ear notices in white noise
RMS = 16  # of 16-bit samples: -60 dBm0, twice the least step of G.711


LEVEL_STEP = 3  # dB
LOUDEST, FAINTEST = 30, 84  # -dBov: nobody's room is louder, and below is silence
FULL_SCALE = 32768  # of 0 dBov


def rms_of(payload: bytes) -> float:
    """Of the noise that a comfort-noise packet asks for (RFC 3389 section 3.1); 0 is silence."""
    level = payload[0] & 0x7F if payload else 127
    level = max(LOUDEST, round(level / LEVEL_STEP) * LEVEL_STEP)
    return FULL_SCALE * 10 ** (-level / 20) if level <= FAINTEST else 0.0


@lru_cache(maxsize=64)
def noise_of(codec: Codec, rms: float = RMS) -> bytes:
    """``LENGTH_MS`` of payload; the same at every call."""
    samples = np.random.default_rng(3389).normal(0, rms, codec.sample_rate * LENGTH_MS // 1000)
    return codec.encode(np.rint(samples).astype(np.int16))
