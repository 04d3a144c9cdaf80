"""RTP timestamps of one clock on another, through the wrap at 32 bits: the wire's may not be the application's."""

from __future__ import annotations

HALF = 1 << 31
MASK = (1 << 32) - 1


class Timeline:
    """Of one source; timestamps in any order."""

    __slots__ = ("_dst_rate", "_last", "src_rate")

    def __init__(self, src_rate: int, dst_rate: int) -> None:
        self.src_rate = src_rate
        self._dst_rate = dst_rate
        self._last: int | None = None  # extended beyond 32 bits

    def at(self, timestamp: int) -> int:
        """The 32-bit timestamp of the same moment on the other clock."""
        last = timestamp if self._last is None else self._last
        self._last = last + ((timestamp - last + HALF) & MASK) - HALF
        return self._last * self._dst_rate // self.src_rate & MASK
