"""Samples from one thread to one other, without a lock; bounded, the oldest give way.

Blocks travel through a deque, whose ``append`` and ``popleft`` are atomic, and each count has one writer. So the thread
of a sound card never waits for ours.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from rtp.g711 import Pcm


class Ring:
    """``give`` belongs to one thread, ``take`` and ``take_all`` to one other. All lengths are in samples."""

    def __init__(self, *, limit: int, prefill: int = 0) -> None:
        """At most ``limit`` wait; when it has run dry the taker hears silence until ``prefill`` are there again."""
        self.dropped = 0  # given and never taken; the giver writes it
        self.underruns = 0  # times it ran dry while it was listened to; the taker writes this and the rest
        self._limit = limit
        self._prefill = prefill
        self._blocks: deque[Pcm] = deque()
        self._given = 0
        self._taken = 0
        self._rest: Pcm = np.zeros(0, np.int16)  # of a block that the taker has begun
        self._is_filling = True

    @property
    def queued(self) -> int:
        """What waits; exact for whoever asks from one of the two threads, up to what the other does just then."""
        return self._given - self._taken - self.dropped

    def give(self, block: Pcm) -> None:
        """Never waits; ``block`` must not change afterwards."""
        self._given += block.size
        self._blocks.append(block)
        while self.queued > self._limit:
            try:
                self.dropped += self._blocks.popleft().size
            except IndexError:  # the taker was quicker, or holds the rest
                break

    def take(self, count: int) -> Pcm:
        """Exactly ``count``, silence where there is nothing."""
        if self._is_filling and self.queued < self._prefill:
            return np.zeros(count, np.int16)
        self._is_filling = False
        taken = np.zeros(count, np.int16)
        filled = 0
        while filled < count:
            if not self._next_block():
                self._is_filling = True
                self.underruns += 1
                break
            part = self._rest[: count - filled]
            taken[filled : filled + part.size] = part
            self._rest = self._rest[part.size :]
            self._taken += part.size
            filled += part.size
        return taken

    def take_all(self) -> Pcm:
        """All that waits."""
        parts = []
        while self._next_block():
            parts.append(self._rest)
            self._taken += self._rest.size
            self._rest = self._rest[:0]
        return np.concatenate(parts) if parts else self._rest

    def _next_block(self) -> bool:
        """There is a rest to take from."""
        while not self._rest.size:
            try:
                self._rest = self._blocks.popleft()
            except IndexError:
                return False
        return True
