"""pjsua's call slots, counted by us: an INVITE that we abandon keeps its slot until Timer B.

pjsua reports such a call as disconnected at once, yet its slot stays taken for 32 s (33 s were measured), and a full
pjsua answers inbound calls with 486 by itself and fails outbound ones with an error. Counting here lets a call end
with a named reason and an inbound one get 503 with Retry-After instead. No I/O, no clock.
"""

from __future__ import annotations

TIMER_B_S = 34.0  # RFC 3261 section 17.1.1.2: 64 T1 = 32 s, and the second that was measured on top
HEADROOM = 1  # the INVITE that we refuse ourselves needs a slot as well


class Slots:
    """``limit`` is pjsua's number of calls (4 on the PyPI wheel, 1,024 on ours)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._since: dict[str, float] = {}
        self._until: dict[str, float] = {}  # of abandoned legs: when the slot is free at the latest
        self._unheard: set[str] = set()  # abandoned before any response: pjsua's report frees nothing

    def in_use(self, now: float) -> int:
        """Living legs and abandoned ones."""
        for leg in [leg for leg, until in self._until.items() if now >= until]:
            self._forget(leg)
        return len(self._since)

    def take(self, leg: str, now: float) -> bool:
        """A slot for a new leg, in or out; False if only the headroom is left."""
        if self.in_use(now) >= self.limit - HEADROOM:
            return False
        self._since[leg] = now
        return True

    def abandoned(self, leg: str, now: float, *, was_heard: bool) -> None:
        """We gave up an INVITE. ``was_heard``: CANCEL went out and its transaction bounds the wait; else Timer B."""
        if leg in self._since:
            self._until[leg] = (now if was_heard else self._since[leg]) + TIMER_B_S
            if not was_heard:
                self._unheard.add(leg)

    def disconnected(self, leg: str) -> None:
        """pjsua says that the leg is gone, which frees its slot unless it was given up before any response."""
        if leg not in self._unheard:
            self._forget(leg)

    def next_free_at(self) -> float | None:
        """When an abandoned leg gives its slot back at the latest; for Retry-After."""
        return min(self._until.values(), default=None)

    def _forget(self, leg: str) -> None:
        self._since.pop(leg, None)
        self._until.pop(leg, None)
        self._unheard.discard(leg)
