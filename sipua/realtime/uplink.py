"""The caller's latest audio, kept to be said again to the next session. No I/O, no clock.

Positions are bytes since the call began. A session has a clock of its own, which begins with the first audio that it
was given; ``Position`` translates. Bounded: what is older than the ring is gone (30 s of G.711 are 240 KB).
"""

from __future__ import annotations

from collections import deque

RING_MS = 30_000
LOOK_BACK_MS = 10_000  # of silence, for a word that was lost with its session


class Uplink:
    """Every append of a call passes here."""

    def __init__(self, bytes_per_ms: int, ring_ms: int = RING_MS) -> None:
        self.position = 0
        self._bytes_per_ms = bytes_per_ms
        self._limit = ring_ms * bytes_per_ms
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._base = 0  # position at which the present session's clock began

    def append(self, audio: bytes) -> None:
        self._chunks.append(audio)
        self._held += len(audio)
        self.position += len(audio)
        while self._held - len(self._chunks[0]) >= self._limit:
            self._held -= len(self._chunks.popleft())

    def replay(self, from_ms: int, *, look_back_ms: int = LOOK_BACK_MS, is_speech: bool) -> bytes:
        """Audio since ``from_ms`` of the present session's clock, which becomes that of the next one.

        Without speech in it no more than ``look_back_ms``.
        """
        start = self._base + from_ms * self._bytes_per_ms
        if not is_speech:
            start = max(start, self.position - look_back_ms * self._bytes_per_ms)
        start = min(max(start, self.position - self._held), self.position)
        self._base = start
        kept = b"".join(self._chunks)
        return kept[len(kept) - (self.position - start) :]
