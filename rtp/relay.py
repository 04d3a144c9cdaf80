"""One way between two joined legs: the sound of one as the other's codec, and what waits there stays short. Pure.

Sound comes as the network brings it and leaves with the ticks of the other leg. A playout that runs dry is late by a
frame from then on, so that what waits grows by itself to what the jitter needs; a burst, keys that go first or a clock
that runs faster make it grow further. What was never needed for two seconds goes again, in pauses of speech.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from .codec import Codec

CUSHION_MS = 40  # waits from the beginning: two packets
SPARE_MS = 60  # least that may always wait: so much is not worth a cut
LOOK_BACK = 100  # packets: two seconds of 20 ms
LOUD_SPARE_MS = 100  # above it a packet of speech goes too, one in ``LOOK_BACK``
LIMIT_MS = 400  # what comes above it is not queued
QUIET_PEAK = 600  # of 32768: -35 dBFS


class Relay:
    """``source`` and ``sink`` are the application's codecs of the two legs."""

    __slots__ = ("_decode", "_encode", "_patience", "_rate", "_waited", "dropped_ms")

    def __init__(self, source: Codec, sink: Codec) -> None:
        self.dropped_ms = 0
        self._rate = sink.sample_rate
        self._decode = source.decoder(sink.sample_rate)
        self._encode = sink.new_encoder()
        self._waited: deque[int] | None = None  # at each packet, as if nothing had been dropped since
        self._patience = 0  # packets before the next one of speech may go

    def passed(self, payload: bytes, queued_ms: int) -> bytes:
        """What is to be queued for a piece of sound, of which ``queued_ms`` wait already."""
        pcm = self._decode(payload)
        if self._waited is None:
            self._waited = deque(maxlen=LOOK_BACK)
            pcm = np.concatenate((np.zeros(self._rate * CUSHION_MS // 1000, np.int16), pcm))
        elif self._is_too_much(self._waited, pcm.size * 1000 // self._rate, queued_ms, _is_quiet(pcm)):
            return b""
        return self._encode(pcm)

    def _is_too_much(self, waited: deque[int], ms: int, queued_ms: int, is_quiet: bool) -> bool:
        waited.append(queued_ms + self.dropped_ms)
        if queued_ms > LIMIT_MS:
            self.dropped_ms += ms
            return True
        self._patience -= 1
        spare_ms = min(waited) - self.dropped_ms - SPARE_MS
        may_go = is_quiet or (spare_ms >= LOUD_SPARE_MS and self._patience < 0)
        if len(waited) < LOOK_BACK or spare_ms < ms or not may_go:
            return False
        self.dropped_ms += ms
        if not is_quiet:
            self._patience = LOOK_BACK
        return True


def _is_quiet(pcm: np.ndarray) -> bool:
    return not pcm.size or int(np.abs(pcm.astype(np.int32)).max()) < QUIET_PEAK
