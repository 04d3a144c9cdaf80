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
        self._until: dict[str, float] = {}  # leg → when its slot is free; infinity while it lives

    def in_use(self, now: float) -> int:
        """Living legs and abandoned ones."""
        self._until = {leg: until for leg, until in self._until.items() if now < until}
        return len(self._until)

    def take(self, leg: str, now: float) -> bool:
        """A slot for a new leg, in or out; False if only the headroom is left."""
        if self.in_use(now) >= self.limit - HEADROOM:
            return False
        self._until[leg] = float("inf")
        return True

    def abandoned(self, leg: str, now: float) -> None:
        """We gave up an INVITE without a final response: taken until Timer B at the latest."""
        if leg in self._until:
            self._until[leg] = min(self._until[leg], now + TIMER_B_S)

    def free(self, leg: str) -> None:
        """The leg had its final response or its BYE. Do not call it for a leg that never got any response."""
        self._until.pop(leg, None)

    def next_free_at(self, now: float) -> float | None:
        """When the first abandoned leg gives its slot back; for Retry-After."""
        return min((until for until in self._until.values() if now < until < float("inf")), default=None)
